//! The client's side: checks the server's hello and answers it (smp.md §4.5).

use rand_core::CryptoRng;

use super::{AcceptedService, HandshakeError, Session, agree, plain_block, plain_content};
use crate::crypto::dh::X25519PrivateKey;
use crate::crypto::sign::{Ed25519PrivateKey, Ed25519PublicKey};
use crate::encoding::Encode as _;
use crate::smp::SERVICES_VERSION;
use crate::transport::block::{BLOCK_BYTES, BlockCipher};
use crate::transport::certified_key::{
    CertificateChain, CertificateKey, CertifiedKey, SignedKey, fingerprint,
};
use crate::transport::hello::{
    ClientHello, PROXY_FLAG_VERSION, ServerHello, ServiceHello, ServiceResponse, ServiceRole,
};
use crate::version::VersionRange;

/// The last version whose blocks are never encrypted.
const PLAIN_VERSION_MAX: u16 = 10;

/// What a client wants of a session.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// The versions it speaks.
    pub versions: VersionRange,
    /// The fingerprint in the server's address.
    pub key_hash: [u8; 32],
    /// Whether it is a proxy.
    pub is_proxy: bool,
    /// The service that it is, if any; used from version 16 on.
    pub service: Option<ClientService>,
}

/// A service as it presents itself.
#[derive(Debug, Clone)]
pub struct ClientService {
    /// What it serves.
    pub role: ServiceRole,
    /// The certificates that TLS presented.
    pub chain: CertificateChain,
    /// The key of their leaf.
    pub leaf_key: Ed25519PrivateKey,
    /// The key for service signatures, fresh for each session.
    pub session_key: Ed25519PrivateKey,
}

/// A client before the server's hello.
#[derive(Debug)]
pub struct ClientHandshake {
    config: ClientConfig,
    session_id: Vec<u8>,
    leaf: CertificateKey,
}

/// A client after the server's hello.
#[derive(Debug)]
pub struct ClientReply {
    /// The block to send.
    pub hello: Vec<u8>,
    /// The server's certificates and key, which a proxy hands to its clients.
    pub server_key: CertifiedKey,
    /// The versions that the server offers.
    pub server_versions: VersionRange,
    /// What comes next.
    pub next: ClientNext,
}

/// What a client does after its hello.
#[derive(Debug)]
pub enum ClientNext {
    /// The session is there.
    Ready(Box<Session>),
    /// A block with the service response comes first.
    AwaitService(AwaitService),
}

/// A client that waits for the service response.
#[derive(Debug)]
pub struct AwaitService {
    session: Box<Session>,
    role: ServiceRole,
    fingerprint: [u8; 32],
    session_key: Ed25519PublicKey,
}

impl ClientHandshake {
    /// A client of a TLS session with this id (tls-unique), whose server presented a leaf certificate with this key.
    #[must_use]
    pub fn new(config: ClientConfig, session_id: &[u8], leaf: CertificateKey) -> Self {
        Self { config, session_id: session_id.to_vec(), leaf }
    }

    /// Checks the server's hello and answers it.
    ///
    /// # Errors
    /// [`HandshakeError`]; nothing is to be sent then.
    pub fn receive_hello(
        self,
        block: &mut [u8; BLOCK_BYTES],
        rng: &mut dyn CryptoRng,
    ) -> Result<ClientReply, HandshakeError> {
        let Self { config, session_id, leaf } = self;
        let hello = ServerHello::parse(plain_content(block)?).map_err(|_| HandshakeError::Malformed)?;
        if hello.session_id != session_id {
            return Err(HandshakeError::SessionMismatch);
        }
        let ours = match config.is_proxy {
            true => proxy_versions(config.versions, hello.versions),
            false => config.versions,
        };
        let version = agree(ours, hello.versions)?;
        let server_key = hello.certified_key.ok_or(HandshakeError::NoServerKey)?;
        let identity = server_key.chain.server_identity().map_err(|_| HandshakeError::BadAuth)?;
        if fingerprint(identity) != config.key_hash {
            return Err(HandshakeError::BadAuth);
        }
        let peer_key = server_key.signed_key.verify_x25519(&leaf).map_err(|_| HandshakeError::BadAuth)?;

        let own_key = X25519PrivateKey::generate(rng);
        let service = config.service.filter(|_| version >= SERVICES_VERSION);
        let client_hello = ClientHello {
            version,
            key_hash: config.key_hash.to_vec(),
            session_key: Some(own_key.public_key()),
            is_proxy: config.is_proxy,
            service: service.as_ref().map(ClientService::hello),
        };
        let cipher = if config.is_proxy {
            BlockCipher::plain()
        } else {
            BlockCipher::client(&session_id, &own_key, &peer_key)
        };
        let session = Box::new(Session {
            version,
            session_id,
            cipher,
            own_key,
            peer_key: Some(peer_key),
            is_proxy: config.is_proxy,
            service: None,
        });
        let next = match service {
            None => ClientNext::Ready(session),
            Some(service) => ClientNext::AwaitService(AwaitService {
                session,
                role: service.role,
                fingerprint: service.fingerprint()?,
                session_key: service.session_key.public_key(),
            }),
        };
        let hello_block = plain_block(&client_hello.to_bytes())?;
        Ok(ClientReply { hello: hello_block, server_key, server_versions: hello.versions, next })
    }
}

/// The versions that a proxy speaks with a server that offers `theirs`: servers that do not know of proxies would
/// encrypt blocks from version 11 on, so the proxy stays below it with them (smp.md §4.5).
#[must_use]
pub fn proxy_versions(ours: VersionRange, theirs: VersionRange) -> VersionRange {
    if theirs.max() >= PROXY_FLAG_VERSION {
        return ours;
    }
    let max = ours.max().min(PLAIN_VERSION_MAX).max(ours.min());
    VersionRange::new(ours.min(), max).unwrap_or(ours)
}

impl AwaitService {
    /// Reads the service response.
    ///
    /// # Errors
    /// [`HandshakeError::ServiceRefused`], or [`HandshakeError::Malformed`].
    pub fn receive_response(self, block: &mut [u8; BLOCK_BYTES]) -> Result<Box<Session>, HandshakeError> {
        let response =
            ServiceResponse::parse(plain_content(block)?).map_err(|_| HandshakeError::Malformed)?;
        let service_id = match response {
            ServiceResponse::Accepted(id) => id,
            ServiceResponse::Refused(error) => return Err(HandshakeError::ServiceRefused(error)),
        };
        let Self { mut session, role, fingerprint, session_key } = self;
        session.service = Some(AcceptedService { role, service_id, fingerprint, session_key });
        Ok(session)
    }
}

impl ClientService {
    /// SHA-256 of the identity certificate.
    ///
    /// # Errors
    /// [`HandshakeError::BadAuth`] when the chain has none.
    pub fn fingerprint(&self) -> Result<[u8; 32], HandshakeError> {
        self.chain.service_identity().map(fingerprint).map_err(|_| HandshakeError::BadAuth)
    }

    fn hello(&self) -> ServiceHello {
        let signed_key = SignedKey::sign_ed25519(&self.session_key.public_key(), &self.leaf_key);
        ServiceHello {
            role: self.role,
            certified_key: CertifiedKey { chain: self.chain.clone(), signed_key },
        }
    }
}
