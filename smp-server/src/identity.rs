//! Who the server is: a certificate authority whose hash stands in the address, and a certificate for TLS that it
//! signed (smp.md §3.3, §3.4).
//!
//! ```text
//! ca.key ──signs──▶ ca.crt          its SHA-256 is the server's identity; the key is needed only to renew
//!    └─────signs──▶ server.crt      leaf, then CA
//!                   server.key      signs TLS handshakes and session keys
//! ```
//!
//! Keys are PKCS#8 of version 1, which OpenSSL reads too.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use protocol::crypto::hash::sha256;
use protocol::crypto::sign::Ed25519PrivateKey;
use protocol::net::certificate::certificate_key;
use protocol::net::clock::now;
use protocol::net::rng::system_rng;
use protocol::net::verify::check_server_chain;
use protocol::transport::leaf_key::LeafKey;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SerialNumber,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// The key of the identity, which belongs on another machine.
pub const CA_KEY_FILE: &str = "ca.key";
/// The certificate of the identity.
pub const CA_CERTIFICATE_FILE: &str = "ca.crt";

/// A server's chain and the key that signs its sessions.
pub struct Identity {
    /// Leaf, identity and what follows it.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's key.
    pub key: LeafKey,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("certificates", &self.chain.len()).finish_non_exhaustive()
    }
}

impl Identity {
    /// Draws keys and certificates for a server with this name.
    ///
    /// # Errors
    /// When a certificate cannot be made.
    pub fn generate(name: &str) -> anyhow::Result<NewIdentity> {
        let ca_key = Ed25519PrivateKey::generate(&mut system_rng());
        let key = Ed25519PrivateKey::generate(&mut system_rng());
        let ca_params = ca_params();
        let ca_pair = key_pair(&ca_key)?;
        let ca = ca_params.self_signed(&ca_pair).context("Unable to make the identity certificate")?;
        let leaf = leaf_params(name)
            .signed_by(&key_pair(&key)?, &Issuer::new(ca_params, ca_pair))
            .context("Unable to make the server certificate")?;
        Ok(NewIdentity { identity: Self { chain: vec![leaf.into(), ca.into()], key: key.into() }, ca_key })
    }

    /// Reads the chain and the key that `start` serves.
    ///
    /// # Errors
    /// When a file cannot be read or is of another kind; says what to do.
    pub fn read(chain_path: &Path, key_path: &Path) -> anyhow::Result<Self> {
        let hint = "create it by `smp-server init`, or name existing PEM files in the settings";
        let chain = CertificateDer::pem_file_iter(chain_path)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .with_context(|| format!("Unable to read certificates at {}: {hint}", chain_path.display()))?;
        if !(2..=4).contains(&chain.len()) {
            bail!(
                "{} holds {} certificates: clients want the server's own first and its identity after it, \
                 2 to 4 in all",
                chain_path.display(),
                chain.len()
            );
        }
        Self::from_parts(chain, key_path)
    }

    /// A chain with the key at a path.
    ///
    /// # Errors
    /// When the key cannot be read or is of another kind; says what to do.
    pub(crate) fn from_parts(chain: Vec<CertificateDer<'static>>, key_path: &Path) -> anyhow::Result<Self> {
        let key = PrivateKeyDer::from_pem_file(key_path).with_context(|| {
            format!("Unable to read the private key at {}: is it there, for this user?", key_path.display())
        })?;
        let key = leaf_key(key.secret_der()).with_context(|| {
            format!(
                "The private key at {} is neither Ed25519 nor Ed448: issue an Ed25519 server certificate with the \
                 same CA, the address stays",
                key_path.display()
            )
        })?;
        Ok(Self { chain, key })
    }

    /// The key hash of the server's address: SHA-256 of the identity certificate, the second of the chain.
    #[must_use]
    pub fn key_hash(&self) -> [u8; 32] {
        self.chain
            .get(1)
            .map(|certificate| sha256(certificate))
            .expect("a chain has two certificates or more")
    }

    /// Whether clients accept the chain, and the key belongs to it.
    ///
    /// # Errors
    /// When they would not; says what to do.
    pub fn check(&self) -> anyhow::Result<()> {
        let hint = "issue another by `smp-server cert`";
        check_server_chain(&self.chain, &self.key_hash(), now())
            .with_context(|| format!("Clients would refuse the server's certificates: {hint}"))?;
        let leaf = self.chain.first().context("A chain has a leaf")?;
        if certificate_key(leaf)? != self.key.public_key() {
            bail!("The private key does not belong to the server's certificate: {hint}");
        }
        Ok(())
    }

    /// The leaf's key for TLS.
    #[must_use]
    pub fn tls_key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.to_der()).into()
    }
}

/// An identity that was just made, with the key of its authority.
#[derive(Debug)]
pub struct NewIdentity {
    /// What the server needs.
    pub identity: Identity,
    /// What its owner keeps elsewhere.
    pub ca_key: Ed25519PrivateKey,
}

impl NewIdentity {
    /// Writes keys and certificates into `directory`; what is there stays, and makes this fail.
    ///
    /// # Errors
    /// When a file exists or cannot be written.
    pub fn write(&self, directory: &Path) -> anyhow::Result<()> {
        let [leaf, ca] = self.identity.chain.as_slice() else { bail!("A new chain has two certificates") };
        let files = [
            (CA_KEY_FILE, pem("PRIVATE KEY", &self.ca_key.to_der()), 0o600),
            ("server.key", pem("PRIVATE KEY", &self.identity.key.to_der()), 0o600),
            (CA_CERTIFICATE_FILE, pem("CERTIFICATE", ca), 0o644),
            ("server.crt", pem("CERTIFICATE", leaf) + &pem("CERTIFICATE", ca), 0o644),
        ];
        for (name, text, mode) in files {
            write_new(&directory.join(name), text.as_bytes(), mode)?;
        }
        Ok(())
    }
}

/// Creates a directory that only its owner enters; one that exists is taken as it is.
///
/// # Errors
/// When it cannot be created.
pub fn create_directory(path: &Path) -> anyhow::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).with_context(|| {
        format!("Unable to create {}; name another directory with --directory", path.display())
    })
}

/// Writes a file that must not exist yet, durably.
///
/// # Errors
/// When it exists or cannot be written.
pub fn write_new(path: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
    let context = || format!("Unable to create {}", path.display());
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(mode).open(path).with_context(context)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).with_context(context)
}

fn ca_params() -> CertificateParams {
    let mut params = lasting_params();
    params.distinguished_name.push(DnType::CommonName, "SMP server CA");
    params.distinguished_name.push(DnType::OrganizationName, "SimpleX");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

pub(crate) fn leaf_params(name: &str) -> CertificateParams {
    let mut params = lasting_params();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::ContentCommitment,
        KeyUsagePurpose::KeyAgreement,
    ];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

/// Certificates that never have to be renewed: the identity is a hash, not a date. Some parsers stop at year 9999.
fn lasting_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(9999, 1, 1);
    let mut serial: [u8; 16] = protocol::crypto::random_bytes(&mut system_rng());
    if let Some(first) = serial.first_mut() {
        *first &= 0x7f; // a serial number is positive
    }
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params
}

pub(crate) fn key_pair(key: &Ed25519PrivateKey) -> anyhow::Result<KeyPair> {
    KeyPair::from_pkcs8_der_and_sign_algo(&key.to_der().into(), &rcgen::PKCS_ED25519)
        .context("Unable to use a new key")
}

/// The key of a leaf, of today's algorithm or of the former default of other servers.
fn leaf_key(der: &[u8]) -> Option<LeafKey> {
    ed25519_key(der).map(LeafKey::from).or_else(|| LeafKey::from_der(der).ok())
}

/// An Ed25519 key from PKCS#8 of version 1 or 2: the second has the public key behind the seed.
pub(crate) fn ed25519_key(der: &[u8]) -> Option<Ed25519PrivateKey> {
    const SEED: std::ops::Range<usize> = 16..48;
    const VERSION_1: [u8; 2] = [0x30, 0x2e];
    const ALGORITHM_AND_SEED: [u8; 11] = [0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
    let algorithm = der.get(5..16)?;
    let known = der.starts_with(&VERSION_1) || der.get(2..5) == Some(&[0x02, 0x01, 0x01]);
    if !known || algorithm != ALGORITHM_AND_SEED {
        return None;
    }
    Some(Ed25519PrivateKey::from_seed(der.get(SEED)?.try_into().ok()?))
}

pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    /// PEM lines have 64 characters (RFC 7468 §2), which hold this many bytes.
    const LINE_BYTES: usize = 48;
    let lines: String = der
        .chunks(LINE_BYTES)
        .map(|line| base64::engine::general_purpose::STANDARD.encode(line) + "\n")
        .collect();
    format!("-----BEGIN {label}-----\n{lines}-----END {label}-----\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_and_is_served() {
        let directory = tempfile::tempdir().unwrap();
        let made = Identity::generate("smp.example.org").unwrap();
        made.write(directory.path()).unwrap();
        let read = Identity::read(&directory.path().join("server.crt"), &directory.path().join("server.key"))
            .unwrap();
        assert_eq!(read.key_hash(), made.identity.key_hash());
        assert!(read.key == made.identity.key);
        protocol::net::tls::server_config_der(read.chain.clone(), read.tls_key()).unwrap();
        assert!(made.write(directory.path()).is_err(), "keys are never overwritten");
    }

    #[test]
    fn keys_are_pkcs8_version_1_and_only_for_their_owner() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        Identity::generate("localhost").unwrap().write(directory.path()).unwrap();
        for name in ["ca.key", "server.key"] {
            let path = directory.path().join(name);
            let key = PrivateKeyDer::from_pem_file(&path).unwrap();
            assert_eq!(key.secret_der().len(), 48);
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn other_algorithms_are_refused_with_advice() {
        let directory = tempfile::tempdir().unwrap();
        Identity::generate("localhost").unwrap().write(directory.path()).unwrap();
        let key = directory.path().join("other.key");
        let x25519 = protocol::crypto::dh::X25519PrivateKey::from_bytes([7; 32]).to_der();
        write_new(&key, pem("PRIVATE KEY", &x25519).as_bytes(), 0o600).unwrap();
        let error = Identity::read(&directory.path().join("server.crt"), &key).unwrap_err();
        assert!(error.to_string().contains("neither Ed25519 nor Ed448"), "{error}");
    }

    #[test]
    fn both_versions_of_pkcs8_are_read() {
        let key = Ed25519PrivateKey::from_seed(&[9; 32]);
        assert!(ed25519_key(&key.to_der()) == Some(key.clone()));
        let mut second = key.to_der();
        second[1] = 0x51;
        second[4] = 1;
        second.extend_from_slice(&[0x81, 0x21, 0x00]);
        second.extend_from_slice(&key.public_key().0);
        assert!(ed25519_key(&second) == Some(key));
        assert!(ed25519_key(&[0x30]).is_none());
    }
}
