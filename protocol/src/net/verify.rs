//! Who the peer is (smp.md §3.3–§3.5): an identity is the SHA-256 of a certificate, proven by a chain.
//!
//! ```text
//! 1 certificate    leaf = id             services only
//! 2 certificates   leaf ← id
//! 3 certificates   leaf ← id ← ca        operator certificate
//! 4 certificates   leaf ← id ← x ← ca    network certificate
//! ```
//!
//! The last certificate comes from the peer and proves nothing by itself. So the leaf must be signed by the key of
//! the identity certificate in every shape: a chain `[leaf by R, genuine id, R]` is refused although a path leads
//! from its leaf to its last certificate. Host names are not checked: the identity stands for the server.

use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};
use thiserror::Error as ThisError;

use super::certificate::{Certificate, certificate_key};
use crate::timestamp::Timestamp;
use crate::transport::certified_key::{CertificateChain, CertificateKey, fingerprint};

/// Why a chain does not prove an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum ChainError {
    /// The chain has no shape of smp.md §3.3.
    #[error("the chain has {0} certificates where 2 to 4 are expected")]
    Shape(usize),
    /// Not a certificate.
    #[error("a certificate is malformed")]
    Malformed,
    /// A key that is neither Ed25519 nor Ed448.
    #[error("a certificate has a key that is neither Ed25519 nor Ed448")]
    Algorithm,
    /// The leaf is not an X.509 v3 certificate.
    #[error("the leaf is not an X.509 v3 certificate")]
    Version,
    /// The identity certificate is not the one that the address names.
    #[error("the server is not the one that its address names")]
    Identity,
    /// No certificate of the chain is the issuer, by name.
    #[error("the issuer of a certificate is not in the chain")]
    IssuerNotFound,
    /// A certificate is not signed by its issuer's key.
    #[error("a certificate is not signed by its issuer")]
    Signature,
    /// A certificate in the middle may not issue others.
    #[error("a certificate in the middle of the chain may not issue others")]
    NotAuthority,
    /// The leaf's key may not sign a handshake.
    #[error("the leaf's key usage does not include signatures")]
    KeyUsage,
    /// A certificate is past its last day.
    #[error("a certificate has expired")]
    Expired,
    /// A certificate is before its first day.
    #[error("a certificate is not valid yet: check the clock")]
    NotValidYet,
}

/// The identity certificate of a chain, leaf first: the second, or the only one.
#[must_use]
pub fn identity<C: AsRef<[u8]>>(chain: &[C]) -> Option<&[u8]> {
    match chain {
        [only] => Some(only.as_ref()),
        [_, id, ..] => Some(id.as_ref()),
        [] => None,
    }
}

/// Checks a chain of 2 to 4 certificates against the identity that an address names.
///
/// # Errors
/// The first rule that is broken, in the order of smp.md §3.3.
pub fn check_server_chain<C: AsRef<[u8]>>(
    chain: &[C],
    key_hash: &[u8; 32],
    now: Timestamp,
) -> Result<(), ChainError> {
    match chain {
        [_, id, ..] if chain.len() <= CertificateChain::CERTIFICATES_MAX => {
            if fingerprint(id.as_ref()) != *key_hash {
                return Err(ChainError::Identity);
            }
            check_chain(chain, now)
        }
        _ => Err(ChainError::Shape(chain.len())),
    }
}

/// Checks that a chain of 1 to 4 certificates is consistent, whoever its identity is (service clients, §3.5).
///
/// # Errors
/// The first rule that is broken.
pub fn check_client_chain<C: AsRef<[u8]>>(chain: &[C], now: Timestamp) -> Result<(), ChainError> {
    match chain {
        [] => Err(ChainError::Shape(0)),
        _ if chain.len() > CertificateChain::CERTIFICATES_MAX => Err(ChainError::Shape(chain.len())),
        _ => check_chain(chain, now),
    }
}

fn check_chain<C: AsRef<[u8]>>(chain: &[C], now: Timestamp) -> Result<(), ChainError> {
    let chain = chain.iter().map(|der| Certificate::parse(der.as_ref())).collect::<Result<Vec<_>, _>>()?;
    let (leaf, above) = chain.split_first().ok_or(ChainError::Shape(0))?;
    if !leaf.is_version_3() {
        return Err(ChainError::Version);
    }
    leaf.check_dates(now)?;
    leaf.check_signed_by(above.first().unwrap_or(leaf))?;
    if let Some((anchor, intermediates)) = above.split_last() {
        let mut walked = intermediates.iter();
        let mut below = 0;
        while let Some(certificate) = walked.next() {
            certificate.check_dates(now)?;
            certificate.check_may_issue(below)?;
            if certificate.names_as_issuer(anchor) {
                certificate.check_signed_by(anchor)?;
                break;
            }
            // `walked` is what follows: the next intermediate, or none, and then the issuer is missing
            let issuer = walked.as_slice().first().ok_or(ChainError::IssuerNotFound)?;
            certificate.check_signed_by(issuer)?;
            below += 1;
        }
    }
    leaf.check_may_sign()
}

impl From<ChainError> for Error {
    /// With the alerts that peers of this network send (smp.md §3.3).
    fn from(error: ChainError) -> Self {
        Self::InvalidCertificate(match error {
            ChainError::Identity | ChainError::IssuerNotFound => CertificateError::UnknownIssuer,
            ChainError::Expired => CertificateError::Expired,
            ChainError::NotValidYet => CertificateError::NotValidYet,
            ChainError::KeyUsage => CertificateError::BadEncoding,
            error => CertificateError::Other(OtherError(Arc::new(error))),
        })
    }
}

/// Accepts the one server whose identity certificate has this SHA-256. Made anew for each connection: it keeps the
/// reason of a refusal, which an alert alone does not tell.
#[derive(Debug)]
pub(super) struct PinnedIdentity {
    key_hash: [u8; 32],
    refusal: OnceLock<ChainError>,
}

impl PinnedIdentity {
    pub(super) fn new(key_hash: [u8; 32]) -> Self {
        Self { key_hash, refusal: OnceLock::new() }
    }

    /// Why the chain was refused, if it was.
    pub(super) fn refusal(&self) -> Option<ChainError> {
        self.refusal.get().copied()
    }
}

impl ServerCertVerifier for PinnedIdentity {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        check_server_chain(&joined(end_entity, intermediates), &self.key_hash, moment(now)).inspect_err(
            |error| {
                let _first_wins = self.refusal.set(*error);
            },
        )?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("only TLS 1.3 is spoken here".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        check_handshake_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SCHEMES.to_vec()
    }
}

/// Accepts clients without a certificate, and those with a consistent chain (smp.md §3.5).
#[derive(Debug)]
pub(super) struct OptionalService;

impl ClientCertVerifier for OptionalService {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        check_client_chain(&joined(end_entity, intermediates), moment(now))?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("only TLS 1.3 is spoken here".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        check_handshake_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SCHEMES.to_vec()
    }
}

/// The schemes that peers of this network accept (smp.md §3.1).
const SCHEMES: [SignatureScheme; 2] = [SignatureScheme::ED448, SignatureScheme::ED25519];

fn check_handshake_signature(
    message: &[u8],
    cert: &CertificateDer<'_>,
    dss: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let key = certificate_key(cert)?;
    let expected = match key {
        CertificateKey::Ed25519(_) => SignatureScheme::ED25519,
        CertificateKey::Ed448(_) => SignatureScheme::ED448,
    };
    if dss.scheme != expected || key.verify(message, dss.signature()).is_err() {
        return Err(CertificateError::BadSignature.into());
    }
    Ok(HandshakeSignatureValid::assertion())
}

fn joined<'a>(leaf: &'a CertificateDer<'a>, rest: &'a [CertificateDer<'a>]) -> Vec<&'a [u8]> {
    std::iter::once(leaf).chain(rest).map(AsRef::as_ref).collect()
}

fn moment(now: UnixTime) -> Timestamp {
    Timestamp::from_seconds(i64::try_from(now.as_secs()).unwrap_or(i64::MAX))
}
