//! What the server proves its identity with, replaced while it runs when its certificate is renewed.

use std::sync::{Arc, PoisonError, RwLock};

use anyhow::{Context as _, bail};
use protocol::net::tls::{ClientCertificates, ServerTls, server_config_for};
use protocol::transport::certified_key::CertificateChain;
use protocol::transport::handshake::ServerConfig;
use protocol::version::VersionRange;

use crate::identity::Identity;

/// Certificates and key as TLS and the hello show them; both are of one certificate.
#[derive(Debug)]
pub(crate) struct Presented {
    /// The server's side of TLS.
    pub(crate) tls: ServerTls,
    /// What the server says first.
    pub(crate) hello: ServerConfig,
}

/// The present credentials. A connection keeps those with which it began.
#[derive(Debug)]
pub(crate) struct Credentials {
    presented: RwLock<Arc<Presented>>,
    key_hash: [u8; 32],
    versions: VersionRange,
    clients: ClientCertificates,
}

impl Credentials {
    pub(crate) fn new(
        identity: &Identity,
        versions: VersionRange,
        clients: ClientCertificates,
    ) -> anyhow::Result<Self> {
        let presented = RwLock::new(Arc::new(present(identity, versions, clients)?));
        Ok(Self { presented, key_hash: identity.key_hash(), versions, clients })
    }

    pub(crate) fn presented(&self) -> Arc<Presented> {
        self.presented.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Shows this identity's certificates from now on. Another identity is refused: clients know the server by it.
    pub(crate) fn replace(&self, identity: &Identity) -> anyhow::Result<()> {
        if identity.key_hash() != self.key_hash {
            bail!("The certificates are of another identity: restore those of this server");
        }
        identity.check()?;
        let presented = Arc::new(present(identity, self.versions, self.clients)?);
        *self.presented.write().unwrap_or_else(PoisonError::into_inner) = presented;
        Ok(())
    }
}

fn present(
    identity: &Identity,
    versions: VersionRange,
    clients: ClientCertificates,
) -> anyhow::Result<Presented> {
    let chain =
        CertificateChain::new(identity.chain.iter().map(|certificate| certificate.to_vec()).collect())?;
    let tls = server_config_for(identity.chain.clone(), identity.tls_key(), clients)
        .context("Unable to serve the certificates")?;
    Ok(Presented { tls, hello: ServerConfig { versions, chain, leaf_key: identity.key.clone() } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SUPPORTED_VERSIONS;

    #[test]
    fn another_identity_is_refused_and_changes_nothing() {
        let identity = || Identity::generate("localhost").unwrap().identity;
        let credentials =
            Credentials::new(&identity(), SUPPORTED_VERSIONS, ClientCertificates::Requested).unwrap();
        let before = credentials.presented();
        let error = credentials.replace(&identity()).unwrap_err();
        assert!(error.to_string().contains("another identity"), "{error}");
        assert!(Arc::ptr_eq(&before, &credentials.presented()));
    }
}
