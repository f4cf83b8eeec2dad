//! Services: certificates that a client presents in TLS and in its hello (smp.md §13).

use protocol::crypto::hash::sha256;
use protocol::crypto::sign::Ed25519PrivateKey;
use protocol::net::rng::system_rng;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::wire::large;
use crate::failure::{Failure, Outcome};

/// The certificates of a service and the key of their leaf.
#[derive(Debug)]
pub struct ServiceIdentity {
    /// Leaf first.
    pub chain: Vec<Vec<u8>>,
    leaf_key: Ed25519PrivateKey,
}

/// The service of an accepted session.
#[derive(Debug)]
pub struct ServiceSession {
    /// The server's id for the service.
    pub id: Vec<u8>,
    /// Signs for the service in this session.
    pub key: Ed25519PrivateKey,
    /// SHA-256 of the identity certificate.
    pub fingerprint: [u8; 32],
}

impl ServiceIdentity {
    /// A leaf certificate and its authority.
    ///
    /// # Errors
    /// When certificates cannot be made here.
    pub fn new() -> Outcome<Self> {
        let (ca_key, leaf_key) = (ed25519(), ed25519());
        let make = || -> Result<Vec<Vec<u8>>, rcgen::Error> {
            let mut ca = params("conformance service CA");
            ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let ca_pair = pair(&ca_key)?;
            let ca_certificate = ca.self_signed(&ca_pair)?;
            let leaf = leaf_params().signed_by(&pair(&leaf_key)?, &Issuer::new(ca, ca_pair))?;
            Ok(vec![leaf.der().to_vec(), ca_certificate.der().to_vec()])
        };
        let chain = make().map_err(|error| Failure::differs("certificates", error.to_string()))?;
        Ok(Self { chain, leaf_key })
    }

    /// One certificate that is its own authority.
    ///
    /// # Errors
    /// When it cannot be made here.
    pub fn self_signed() -> Outcome<Self> {
        let leaf_key = ed25519();
        let make = || leaf_params().self_signed(&pair(&leaf_key)?);
        let certificate = make().map_err(|error| Failure::differs("a certificate", error.to_string()))?;
        Ok(Self { chain: vec![certificate.der().to_vec()], leaf_key })
    }

    /// The same leaf with another chain after it, whoever made that.
    #[must_use]
    pub fn with_chain(&self, chain: Vec<Vec<u8>>) -> Self {
        Self { chain, leaf_key: self.leaf_key.clone() }
    }

    /// The certificate of the service itself.
    #[must_use]
    pub fn leaf(&self) -> &[u8] {
        self.chain.first().map(Vec::as_slice).unwrap_or_default()
    }

    /// The identity certificate: the second, or the only one.
    #[must_use]
    pub fn authority(&self) -> &[u8] {
        self.chain.get(1).map_or_else(|| self.leaf(), Vec::as_slice)
    }

    /// SHA-256 of the identity certificate.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        sha256(self.authority())
    }

    /// `certkey`: the chain, and a session key that the leaf signs.
    #[must_use]
    pub fn certified(&self, session_key: &[u8; 32]) -> Vec<u8> {
        let mut out = vec![u8::try_from(self.chain.len()).unwrap_or(u8::MAX)];
        for certificate in &self.chain {
            out.extend(large(certificate));
        }
        out.extend(large(&self.signed(0x70, session_key)));
        out
    }

    /// A signed key object (smp.md §2.4), by the last byte of the key's algorithm: 0x6e X25519, 0x70 Ed25519.
    #[must_use]
    pub fn signed(&self, algorithm: u8, key: &[u8; 32]) -> Vec<u8> {
        let spki = [&[0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, algorithm, 3, 0x21, 0], key.as_slice()].concat();
        let wrapped = [&[0x30, 0x2c], spki.as_slice()].concat();
        let signature = self.leaf_key.sign(&wrapped);
        [&[0x30, 0x78], wrapped.as_slice(), &[0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x41, 0], &signature]
            .concat()
    }

    /// Chain and key for TLS.
    #[must_use]
    pub fn tls(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let chain = self.chain.iter().cloned().map(CertificateDer::from).collect();
        (chain, PrivatePkcs8KeyDer::from(self.leaf_key.to_der()).into())
    }
}

fn ed25519() -> Ed25519PrivateKey {
    Ed25519PrivateKey::generate(&mut system_rng())
}

fn pair(key: &Ed25519PrivateKey) -> Result<KeyPair, rcgen::Error> {
    KeyPair::from_pkcs8_der_and_sign_algo(&key.to_der().into(), &rcgen::PKCS_ED25519)
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2999, 1, 1);
    params
}

fn leaf_params() -> CertificateParams {
    let mut params = params("conformance service");
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params
}
