//! A new certificate and key for a server whose identity stays (smp.md §3.3).
//!
//! ```text
//! ca.key ──signs──▶ new leaf ─┐
//! ca.crt ─────────────────────┴─▶ server.crt (replaced)      server.key (replaced)
//! ```

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use protocol::crypto::sign::Ed25519PrivateKey;
use protocol::net::certificate::certificate_key;
use protocol::net::rng::system_rng;
use protocol::transport::certified_key::CertificateKey;
use rcgen::Issuer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;

use crate::identity::{Identity, ed25519_key, key_pair, leaf_params, pem, write_new};

impl Identity {
    /// The same identity with a new leaf, an Ed25519 key, for a server of this name. `ca_key` is where the key of the
    /// identity is.
    ///
    /// # Errors
    /// When that key cannot be read, is of another algorithm or of another identity.
    pub fn renew(&self, ca_key: &Path, name: &str) -> anyhow::Result<Self> {
        let signer = read_ca_key(ca_key)?;
        let [_, ca, ..] = self.chain.as_slice() else { bail!("A chain has an identity") };
        if certificate_key(ca)? != CertificateKey::Ed25519(signer.public_key()) {
            bail!(
                "The key at {} is not the key of this server's identity: name the right one with --ca-key",
                ca_key.display()
            );
        }
        let key = Ed25519PrivateKey::generate(&mut system_rng());
        let issuer = Issuer::from_ca_cert_der(ca, key_pair(&signer)?)
            .context("Unable to issue with the identity certificate")?;
        let leaf = leaf_params(name)
            .signed_by(&key_pair(&key)?, &issuer)
            .context("Unable to make the server certificate")?;
        let mut chain = self.chain.clone();
        if let Some(first) = chain.first_mut() {
            *first = leaf.into();
        }
        let renewed = Self { chain, key: key.into() };
        renewed.check()?;
        Ok(renewed)
    }

    /// Puts chain and key in the place of those that are there. Each file is replaced wholly or not at all.
    ///
    /// # Errors
    /// When a file cannot be written; what was there before is still there then, or `cert` is to be run again.
    pub fn replace(&self, chain: &Path, key: &Path) -> anyhow::Result<()> {
        let certificates: String = self.chain.iter().map(|der| pem("CERTIFICATE", der)).collect();
        let prepared_key = prepare(key, pem("PRIVATE KEY", &self.key.to_der()).as_bytes(), 0o600)?;
        let prepared_chain = prepare(chain, certificates.as_bytes(), 0o644)?;
        for (prepared, path) in [(prepared_key, key), (prepared_chain, chain)] {
            std::fs::rename(&prepared, path)
                .with_context(|| format!("Unable to replace {}: run this again", path.display()))?;
        }
        sync_directory(chain)?;
        sync_directory(key)
    }
}

fn read_ca_key(path: &Path) -> anyhow::Result<Ed25519PrivateKey> {
    let key = PrivateKeyDer::from_pem_file(path).with_context(|| {
        format!(
            "Unable to read the key of the identity at {}: bring it back from its safe place, or name it with --ca-key",
            path.display()
        )
    })?;
    ed25519_key(key.secret_der()).with_context(|| {
        format!(
            "The key at {} is not Ed25519: issue an Ed25519 server certificate with OpenSSL, see docs/operating.md",
            path.display()
        )
    })
}

/// Writes a file beside `path`, durably; one that an interrupted run left goes.
fn prepare(path: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<PathBuf> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let prepared = PathBuf::from(name);
    if prepared.exists() {
        std::fs::remove_file(&prepared)
            .with_context(|| format!("Unable to remove {}", prepared.display()))?;
    }
    write_new(&prepared, bytes, mode)?;
    Ok(prepared)
}

/// Makes a replacement durable: a name is an entry of its directory.
fn sync_directory(path: &Path) -> anyhow::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(directory)
        .and_then(|mut directory| {
            directory.flush()?;
            directory.sync_all()
        })
        .with_context(|| format!("Unable to make the change of {} durable", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_renewed_server_has_another_key_and_the_same_identity() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        Identity::generate("localhost").unwrap().write(place.path()).unwrap();
        let before = Identity::read(&at("server.crt"), &at("server.key")).unwrap();
        std::fs::write(at("server.key.new"), "left by a crash").unwrap();
        before
            .renew(&at("ca.key"), "smp.example.org")
            .unwrap()
            .replace(&at("server.crt"), &at("server.key"))
            .unwrap();
        let after = Identity::read(&at("server.crt"), &at("server.key")).unwrap();
        after.check().unwrap();
        assert_eq!(after.key_hash(), before.key_hash());
        assert!(after.key != before.key && after.chain[0] != before.chain[0]);
        for (name, mode) in [("server.key", 0o600), ("server.crt", 0o644)] {
            assert_eq!(std::fs::metadata(at(name)).unwrap().permissions().mode() & 0o777, mode, "{name}");
        }
        assert!(!at("server.key.new").exists() && !at("server.crt.new").exists());
    }

    #[test]
    fn the_key_of_another_identity_issues_nothing() {
        let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let made = Identity::generate("localhost").unwrap();
        made.write(ours.path()).unwrap();
        Identity::generate("localhost").unwrap().write(theirs.path()).unwrap();
        let error = made.identity.renew(&theirs.path().join("ca.key"), "localhost").unwrap_err();
        assert!(error.to_string().contains("not the key of this server's identity"), "{error}");
        let error = made.identity.renew(&ours.path().join("absent"), "localhost").unwrap_err();
        assert!(error.to_string().contains("--ca-key"), "{error}");
    }

    #[test]
    fn a_key_that_does_not_belong_to_the_certificate_is_noticed() {
        let first = Identity::generate("localhost").unwrap().identity;
        let second = Identity::generate("localhost").unwrap().identity;
        first.check().unwrap();
        let mixed = Identity { chain: first.chain, key: second.key };
        assert!(mixed.check().unwrap_err().to_string().contains("does not belong"));
    }
}
