//! Ed448 certificates on the server's side of TLS, which rustls cannot sign with by itself (smp.md §3.1).

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::server::ResolvesServerCert;
use rustls::sign::{CertifiedKey, Signer, SigningKey, SingleCertAndKey};
use rustls::{Error, InconsistentKeys, SignatureAlgorithm, SignatureScheme};

use super::certificate::certificate_key;
use crate::crypto::sign::Ed448PrivateKey;
use crate::transport::certified_key::CertificateKey;

/// A server that presents this chain, whose leaf has this key.
pub(super) fn resolver(
    chain: Vec<CertificateDer<'static>>,
    key: Ed448PrivateKey,
) -> Result<Arc<dyn ResolvesServerCert>, Error> {
    let leaf = chain.first().ok_or(Error::NoCertificatesPresented)?;
    if certificate_key(leaf)? != CertificateKey::Ed448(key.public_key()) {
        return Err(InconsistentKeys::KeyMismatch.into());
    }
    let key = Arc::new(Ed448Signing(Arc::new(key)));
    Ok(Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain, key))))
}

#[derive(Debug, Clone)]
struct Ed448Signing(Arc<Ed448PrivateKey>);

impl SigningKey for Ed448Signing {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&SignatureScheme::ED448).then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ED448
    }
}

impl Signer for Ed448Signing {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(self.0.sign(message).to_vec())
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ED448
    }
}
