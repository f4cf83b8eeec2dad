//! Services: clients of so many queues that they take them all back with one command (smp.md §13).
//!
//! ```text
//! ServiceIdentity ──TLS client certificates──▶ server
//!        └──role, session key signed by the leaf──▶ hello ──▶ service id ──▶ ServiceSession
//! ```
//!
//! The server knows a service by the SHA-256 of its identity certificate, so whoever loses the key loses the queues'
//! association, not the queues. A program has one [`ServiceSeed`], and by it another certificate for each server.

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsStream;

use super::certificate::certificate_key;
use super::clock::now;
use super::error::ConnectError;
use super::rng::system_rng;
use super::session::{Greeting, greet};
use super::tls::{self, ClientTls};
use super::verify::{ChainError, check_client_chain};
use crate::crypto::dh::X25519PublicKey;
use crate::crypto::kdf::hkdf;
use crate::crypto::random_bytes;
use crate::crypto::sign::Ed25519PrivateKey;
use crate::sensitive::Sensitive;
use crate::smp::address::ServerAddress;
use crate::smp::authorize::Authorizer;
use crate::smp::command::Command;
use crate::smp::key::AuthPrivateKey;
use crate::smp::transmission::Transmission;
use crate::transport::certified_key::{CertificateChain, CertificateKey};
use crate::transport::handshake::{AcceptedService, ClientConfig, ClientService, Session};
use crate::transport::hello::ServiceRole;
use crate::version::VersionRange;

/// The name in a certificate made here: it says nothing about who the service is.
const COMMON_NAME: &str = "SMP service";
/// Certificates made here never have to be renewed; some parsers stop at year 9999.
const VALID_YEARS: (i32, i32) = (2020, 9999);

/// Key derivation: from the seed, with a server's fingerprint as the salt.
const SEED_INFO: &str = "ConclaveServiceCertificate";

/// What a program's certificates are derived from: another one for each server, so that no two servers can tell by
/// them that they serve the same program. A secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceSeed(Sensitive<[u8; Self::BYTES]>);

impl ServiceSeed {
    /// Its length.
    pub const BYTES: usize = 32;

    /// A seed that was kept.
    #[must_use]
    pub const fn new(bytes: [u8; Self::BYTES]) -> Self {
        Self(Sensitive(bytes))
    }

    /// Draws one.
    #[must_use]
    pub fn generate() -> Self {
        Self::new(random_bytes(&mut system_rng()))
    }

    /// To be kept.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0.0
    }

    /// The program's certificate at a server, always the same one.
    ///
    /// # Errors
    /// When the certificate cannot be made.
    pub fn identity(&self, server: &ServerAddress) -> Result<ServiceIdentity, ServiceIdentityError> {
        let derived: [u8; 48] = hkdf(server.key_hash().as_bytes(), self.as_bytes(), SEED_INFO);
        let (mut key, mut serial) = ([0; 32], [0; 16]);
        key.copy_from_slice(&derived[..32]);
        serial.copy_from_slice(&derived[32..]);
        ServiceIdentity::self_signed(Ed25519PrivateKey::from_seed(&key), serial)
    }
}

/// The certificates of a service and the key of their leaf.
#[derive(Debug, Clone)]
pub struct ServiceIdentity {
    chain: CertificateChain,
    leaf_key: Ed25519PrivateKey,
}

/// Why certificates cannot be those of a service.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServiceIdentityError {
    /// Servers would refuse the chain.
    #[error("servers would refuse the service's certificates: {0}")]
    Chain(#[from] ChainError),
    /// The key is not the leaf's.
    #[error("the key does not belong to the first certificate of the service")]
    Key,
    /// A certificate could not be made.
    #[error("a certificate could not be made: {0}")]
    Make(#[from] rcgen::Error),
}

impl ServiceIdentity {
    /// Draws a key and makes its one, self-signed certificate.
    ///
    /// # Errors
    /// When the certificate cannot be made.
    pub fn generate() -> Result<Self, ServiceIdentityError> {
        let mut rng = system_rng();
        Self::self_signed(Ed25519PrivateKey::generate(&mut rng), random_bytes(&mut rng))
    }

    fn self_signed(leaf_key: Ed25519PrivateKey, serial: [u8; 16]) -> Result<Self, ServiceIdentityError> {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, COMMON_NAME);
        params.not_before = rcgen::date_time_ymd(VALID_YEARS.0, 1, 1);
        params.not_after = rcgen::date_time_ymd(VALID_YEARS.1, 1, 1);
        let [first, rest @ ..] = serial;
        // a serial number is positive
        params.serial_number = Some(rcgen::SerialNumber::from_slice(&[&[first & 0x7f][..], &rest].concat()));
        params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
        let pair =
            rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&leaf_key.to_der().into(), &rcgen::PKCS_ED25519)?;
        let certificate = params.self_signed(&pair)?;
        Self::new(vec![certificate.der().to_vec()], leaf_key)
    }

    /// A service with these certificates in DER, leaf first, and the key of the leaf.
    ///
    /// # Errors
    /// When servers would refuse them.
    pub fn new(chain: Vec<Vec<u8>>, leaf_key: Ed25519PrivateKey) -> Result<Self, ServiceIdentityError> {
        check_client_chain(&chain, now())?;
        let leaf = chain.first().ok_or(ChainError::Shape(0))?;
        if certificate_key(leaf)? != CertificateKey::Ed25519(leaf_key.public_key()) {
            return Err(ServiceIdentityError::Key);
        }
        let chain = CertificateChain::new(chain).map_err(|error| ChainError::Shape(error.0))?;
        Ok(Self { chain, leaf_key })
    }

    /// The certificates in DER, leaf first: to be kept together with [`Self::leaf_key`].
    #[must_use]
    pub fn chain(&self) -> &CertificateChain {
        &self.chain
    }

    /// The key of the leaf.
    #[must_use]
    pub fn leaf_key(&self) -> &Ed25519PrivateKey {
        &self.leaf_key
    }

    /// How the service presents itself in the hello of one session: with a fresh key.
    #[must_use]
    pub fn client_service(&self, role: ServiceRole) -> ClientService {
        ClientService {
            role,
            chain: self.chain.clone(),
            leaf_key: self.leaf_key.clone(),
            session_key: Ed25519PrivateKey::generate(&mut system_rng()),
        }
    }

    /// Our side of TLS with these certificates.
    #[must_use]
    pub fn client_tls(&self) -> ClientTls {
        let chain = self.chain.certificates().iter().map(|one| CertificateDer::from(one.clone())).collect();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.leaf_key.to_der()));
        ClientTls { certificate: Some((chain, key)), ..ClientTls::default() }
    }
}

/// A session that a server opened for a service.
#[derive(Debug)]
pub struct ServiceSession<IO> {
    /// The encrypted stream.
    pub stream: TlsStream<IO>,
    /// What both hellos agreed on; [`Session::service`] is the accepted service.
    pub session: Box<Session>,
    /// What signs for the service.
    pub signer: ServiceSigner,
}

/// Signs transmissions of one session for its service.
#[derive(Debug)]
pub struct ServiceSigner {
    /// The service as the server accepted it.
    pub service: AcceptedService,
    session_id: Vec<u8>,
    server_key: X25519PublicKey,
    session_key: Ed25519PrivateKey,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> ServiceSession<IO> {
    /// Does TLS and both hellos as a service. The caller bounds the time.
    ///
    /// # Errors
    /// When the server is another one, speaks no version with services, or refuses the service.
    pub async fn open(
        io: IO,
        key_hash: [u8; 32],
        versions: VersionRange,
        identity: &ServiceIdentity,
        role: ServiceRole,
    ) -> Result<Self, ConnectError> {
        let secured = tls::connect_with(io, key_hash, identity.client_tls()).await?;
        let service = identity.client_service(role);
        let session_key = service.session_key.clone();
        let config = ClientConfig { versions, key_hash, is_proxy: false, service: Some(service) };
        let Greeting { stream, session, server_versions, .. } = greet(secured, config).await?;
        let signer = ServiceSigner::new(&session, session_key)
            .ok_or(ConnectError::Version { offered: server_versions })?;
        Ok(Self { stream, session, signer })
    }
}

impl ServiceSigner {
    /// What signs in a session; nothing when the server's version knows no services.
    pub(super) fn new(session: &Session, session_key: Ed25519PrivateKey) -> Option<Self> {
        Some(Self {
            service: session.service?,
            session_id: session.session_id.clone(),
            server_key: session.peer_key?,
            session_key,
        })
    }

    /// A transmission of this session: with the service's signature where the command takes one, and with the
    /// entity's key, if it has one. The entity of `SUBS` and `NSUBS` is the service.
    #[must_use]
    pub fn authorize<'t>(
        &self,
        key: Option<&AuthPrivateKey>,
        correlation_id: &'t [u8],
        entity_id: &'t [u8],
        command: &Command<'_>,
        encoded: &'t [u8],
    ) -> Transmission<'t> {
        let authorizer = self.authorizer();
        match key {
            None if matches!(command, Command::Subs | Command::Nsubs) => {
                let key = AuthPrivateKey::Ed25519(self.session_key.clone());
                authorizer.authorize(&key, correlation_id, entity_id, encoded)
            }
            None => Transmission::unauthorized(correlation_id, entity_id, encoded),
            Some(key) if command.takes_service_signature() => authorizer.authorize_with_service(
                key,
                &self.service.fingerprint,
                &self.session_key,
                correlation_id,
                entity_id,
                encoded,
            ),
            Some(key) => authorizer.authorize(key, correlation_id, entity_id, encoded),
        }
    }

    /// A transmission of a command for all queues of the service: `SUBS` or `NSUBS`. The service's key is its
    /// authenticator.
    #[must_use]
    pub fn for_all<'t>(&'t self, correlation_id: &'t [u8], encoded: &'t [u8]) -> Transmission<'t> {
        let service_id = self.service.service_id.as_bytes();
        self.authorize(None, correlation_id, service_id, &Command::Subs, encoded)
    }

    fn authorizer(&self) -> Authorizer<'_> {
        Authorizer { session_id: &self.session_id, server_key: &self.server_key }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base64url;
    use crate::crypto::hash::sha256;

    fn server(number: u8) -> ServerAddress {
        format!("smp://{}@a.example", base64url::encode(&[number; 32])).parse().unwrap()
    }

    fn fingerprint(seed: ServiceSeed, server: &ServerAddress) -> [u8; 32] {
        sha256(&seed.identity(server).unwrap().chain().certificates()[0])
    }

    #[test]
    fn each_server_sees_another_certificate_and_always_the_same_one() {
        let seed = ServiceSeed::new([1; 32]);
        let first = fingerprint(seed, &server(1));
        assert_eq!(first, fingerprint(seed, &server(1)));
        let moved: ServerAddress = server(1).to_string().replace("a.example", "b.example").parse().unwrap();
        assert_eq!(first, fingerprint(seed, &moved), "a server keeps its fingerprint under another name");
        assert_ne!(first, fingerprint(seed, &server(2)));
        assert_ne!(first, fingerprint(ServiceSeed::new([2; 32]), &server(1)));
        let one = seed.identity(&server(1)).unwrap();
        assert_ne!(one.leaf_key().public_key(), seed.identity(&server(2)).unwrap().leaf_key().public_key());
    }

    /// Servers know a service by this: another certificate would have to take all queues over one by one.
    #[test]
    fn certificates_stay_as_they_were_made_first() {
        let known = "6XOZa9eTkXD36stnQgkDNdL5OZuClcqldngQAD2qR38=";
        assert_eq!(base64url::encode(&fingerprint(ServiceSeed::new([1; 32]), &server(1))), known);
    }

    #[test]
    fn seeds_are_not_shown() {
        assert!(!format!("{:?}", ServiceSeed::new([171; 32])).contains("171"));
    }
}
