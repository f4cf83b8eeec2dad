//! One X.509 certificate as the chain rules need it (smp.md §3.3): names as bytes, dates, key, signature.
//!
//! Dates up to the year 9999 are read: certificates made for 999,999 days are common. Keys are Ed25519 or, of
//! older servers, Ed448; nothing else signs here.

use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::X509Version;

use super::verify::ChainError;
use crate::timestamp::Timestamp;
use crate::transport::certified_key::CertificateKey;

/// Reads the key of a DER certificate.
///
/// # Errors
/// [`ChainError::Malformed`] when it is no certificate, [`ChainError::Algorithm`] when its key is another.
pub fn certificate_key(der: &[u8]) -> Result<CertificateKey, ChainError> {
    Certificate::parse(der)?.key()
}

/// A parsed certificate.
pub(super) struct Certificate<'a>(X509Certificate<'a>);

impl<'a> Certificate<'a> {
    pub(super) fn parse(der: &'a [u8]) -> Result<Self, ChainError> {
        let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| ChainError::Malformed)?;
        if !rest.is_empty() || certificate.signature_algorithm != certificate.tbs_certificate.signature {
            return Err(ChainError::Malformed);
        }
        Ok(Self(certificate))
    }

    pub(super) fn key(&self) -> Result<CertificateKey, ChainError> {
        CertificateKey::from_der(self.0.tbs_certificate.subject_pki.raw).map_err(|_| ChainError::Algorithm)
    }

    pub(super) fn is_version_3(&self) -> bool {
        self.0.tbs_certificate.version == X509Version::V3
    }

    /// Whether the issuer's name here is, byte for byte, the other's own name.
    pub(super) fn names_as_issuer(&self, issuer: &Certificate<'_>) -> bool {
        self.0.tbs_certificate.issuer.as_raw() == issuer.0.tbs_certificate.subject.as_raw()
    }

    pub(super) fn check_dates(&self, now: Timestamp) -> Result<(), ChainError> {
        let validity = &self.0.tbs_certificate.validity;
        if now.seconds() < validity.not_before.timestamp() {
            Err(ChainError::NotValidYet)
        } else if now.seconds() > validity.not_after.timestamp() {
            Err(ChainError::Expired)
        } else {
            Ok(())
        }
    }

    pub(super) fn check_signed_by(&self, issuer: &Certificate<'_>) -> Result<(), ChainError> {
        if !self.names_as_issuer(issuer) {
            return Err(ChainError::IssuerNotFound);
        }
        let signed = self.0.tbs_certificate.as_ref();
        issuer.key()?.verify(signed, &self.0.signature_value.data).map_err(|_| ChainError::Signature)
    }

    /// Whether this may stand between a leaf and the anchor, above `below` other intermediates.
    pub(super) fn check_may_issue(&self, below: u32) -> Result<(), ChainError> {
        let constraints = self.0.basic_constraints().map_err(|_| ChainError::Malformed)?;
        let constraints = constraints.ok_or(ChainError::NotAuthority)?.value;
        let long_enough = constraints.path_len_constraint.is_none_or(|length| length >= below);
        let usage = self.0.key_usage().map_err(|_| ChainError::Malformed)?;
        let signs = usage.is_none_or(|usage| usage.value.key_cert_sign());
        if constraints.ca && long_enough && signs { Ok(()) } else { Err(ChainError::NotAuthority) }
    }

    /// Whether the key usage, if any is stated, lets this key sign a handshake.
    pub(super) fn check_may_sign(&self) -> Result<(), ChainError> {
        let usage = self.0.key_usage().map_err(|_| ChainError::Malformed)?;
        if usage.is_none_or(|usage| usage.value.digital_signature()) {
            Ok(())
        } else {
            Err(ChainError::KeyUsage)
        }
    }
}
