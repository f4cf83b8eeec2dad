//! Who the reference server is: its certificates and keys, which its address stands for.
//!
//! There `server.crt` holds the leaf alone; here it holds what clients are shown, the leaf and the identity.

use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use protocol::base64url;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use crate::identity::{CA_CERTIFICATE_FILE, CA_KEY_FILE, Identity, pem, write_new};

/// An identity with the key of its authority, if that is there.
pub(super) struct Certificates {
    pub(super) identity: Identity,
    ca_key: Option<Zeroizing<Vec<u8>>>,
}

impl Certificates {
    /// Reads and checks them: clients must find with them the server that they know.
    pub(super) fn read(directory: &Path) -> anyhow::Result<Self> {
        let certificate = |name: &str| {
            let path = directory.join(name);
            let mut all = CertificateDer::pem_file_iter(&path)
                .with_context(|| format!("Unable to read {}: run this as its user", path.display()))?;
            all.next()
                .and_then(Result::ok)
                .with_context(|| format!("{} holds no certificate in PEM", path.display()))
        };
        let chain = vec![certificate("server.crt")?, certificate(CA_CERTIFICATE_FILE)?];
        let identity = Identity::from_parts(chain, &directory.join("server.key"))?;
        identity.check().context("The certificates of the reference server do not fit together")?;
        let path = directory.join("fingerprint");
        let fingerprint =
            std::fs::read_to_string(&path).with_context(|| format!("Unable to read {}", path.display()))?;
        ensure!(
            base64url::decode(fingerprint.trim()).is_ok_and(|bytes| bytes == identity.key_hash()),
            "{} is not that of {CA_CERTIFICATE_FILE}: these files belong to two servers",
            path.display()
        );
        let path = directory.join(CA_KEY_FILE);
        let ca_key = match path.try_exists() {
            Ok(false) => None,
            _ => {
                let bytes = std::fs::read(&path)
                    .with_context(|| format!("Unable to read {}: run this as its user", path.display()))?;
                let bytes = Zeroizing::new(bytes);
                if PrivateKeyDer::from_pem_slice(&bytes).is_err() {
                    bail!("{} holds no private key in PEM", path.display());
                }
                Some(bytes)
            }
        };
        Ok(Self { identity, ca_key })
    }

    /// Whether the key of the authority is there.
    pub(super) fn has_ca_key(&self) -> bool {
        self.ca_key.is_some()
    }

    /// Writes them as `init` does.
    pub(super) fn write(&self, directory: &Path) -> anyhow::Result<()> {
        if let Some(ca_key) = &self.ca_key {
            write_new(&directory.join(CA_KEY_FILE), ca_key, 0o600)?;
        }
        let [leaf, ca] = self.identity.chain.as_slice() else { bail!("A chain has two certificates") };
        let key = Zeroizing::new(pem("PRIVATE KEY", self.identity.tls_key().secret_der()));
        write_new(&directory.join("server.key"), key.as_bytes(), 0o600)?;
        write_new(&directory.join(CA_CERTIFICATE_FILE), pem("CERTIFICATE", ca).as_bytes(), 0o644)?;
        let chain = pem("CERTIFICATE", leaf) + &pem("CERTIFICATE", ca);
        write_new(&directory.join("server.crt"), chain.as_bytes(), 0o644)
    }
}
