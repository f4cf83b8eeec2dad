//! The hellos of both sides, without I/O (smp.md §4.5, §13).
//!
//! ```text
//! client  ClientHandshake ──server hello──▶ Session                       (sends its hello)
//!                                └────────▶ AwaitService ──response──▶ Session
//! server  ServerHandshake ──client hello──▶ Session                       (sent its hello first)
//!                                ├────────▶ PendingService ──accept──▶ Session
//!                                └────────▶ Refused (a last block, then disconnect)
//! ```
//!
//! What TLS knows, the session id and the leaf certificate's key, is given by the caller. Every error here means:
//! disconnect.

use rand_core::CryptoRng;
use thiserror::Error;

use crate::crypto::dh::{X25519PrivateKey, X25519PublicKey};
use crate::crypto::sign::{Ed25519PrivateKey, Ed25519PublicKey};
use crate::encoding::Encode as _;
use crate::smp::SERVICES_VERSION;
use crate::smp::error::{HandshakeFailure, TransportError};
use crate::smp::ids::ServiceId;
use crate::transport::block::{BLOCK_BYTES, BlockCipher, BlockOpener, BlockSealer};
use crate::transport::certified_key::{
    CertificateChain, CertificateKey, CertifiedKey, SignedKey, fingerprint,
};
use crate::transport::hello::{ClientHello, ServerHello, ServiceHello, ServiceResponse, ServiceRole};
use crate::version::VersionRange;

/// Why there is no session.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// A hello cannot be read.
    #[error("the other side's hello is unreadable; does it speak SMP?")]
    Malformed,
    /// The two ends see different TLS sessions: someone may stand between them.
    #[error("the server sees another TLS session than we do; someone may stand between")]
    SessionMismatch,
    /// No version in common. As a server: the client chose one that was not offered.
    #[error("no version in common: we speak SMP {ours}, the other side {theirs}; update the older one")]
    IncompatibleVersions {
        /// What we speak.
        ours: VersionRange,
        /// What the other side speaks or chose.
        theirs: VersionRange,
    },
    /// The server presented no session key.
    #[error("the server presented no session key")]
    NoServerKey,
    /// The certificates of a hello are not those of the address, or did not sign the session key.
    #[error("the server's certificates do not match its address, or did not sign its session key")]
    BadAuth,
    /// The client means to talk to another server.
    #[error("the client means to talk to another server")]
    Identity,
    /// The server does not accept the service.
    #[error("the server does not accept this service: {0}")]
    ServiceRefused(TransportError),
    /// A hello does not fit a block: our own certificates are too long.
    #[error("the hello does not fit a block: use shorter certificates")]
    TooLarge,
}

impl HandshakeError {
    /// The error as a proxy reports it to its client.
    #[must_use]
    pub fn to_transport_error(&self) -> TransportError {
        match self {
            Self::Malformed => TransportError::Handshake(HandshakeFailure::Parse),
            Self::SessionMismatch => TransportError::Session,
            Self::IncompatibleVersions { .. } => TransportError::Version,
            Self::NoServerKey => TransportError::NoAuth,
            Self::BadAuth => TransportError::Handshake(HandshakeFailure::BadAuth),
            Self::Identity => TransportError::Handshake(HandshakeFailure::Identity),
            Self::ServiceRefused(error) => *error,
            Self::TooLarge => TransportError::LargeMessage,
        }
    }
}

/// A session that both sides agreed on.
#[derive(Debug)]
pub struct Session {
    /// The version.
    pub version: u16,
    /// The TLS session, part of everything that is authorised.
    pub session_id: Vec<u8>,
    /// Both directions of blocks.
    pub cipher: BlockCipher,
    /// Our session key. A server's also checks X25519 authenticators and opens forwarded commands.
    pub own_key: X25519PrivateKey,
    /// The other side's session key. A server always has one; a client may have sent none.
    pub peer_key: Option<X25519PublicKey>,
    /// Whether the client is a proxy.
    pub is_proxy: bool,
    /// The service that the client is, if the server accepted one.
    pub service: Option<AcceptedService>,
}

/// A service that has a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcceptedService {
    /// What it serves.
    pub role: ServiceRole,
    /// The server's id for it.
    pub service_id: ServiceId,
    /// SHA-256 of its identity certificate: part of what entity keys sign in this session.
    pub fingerprint: [u8; 32],
    /// Its key for service signatures in this session.
    pub session_key: Ed25519PublicKey,
}

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
        let version = agree(config.versions, hello.versions)?;
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

/// What a server brings to every handshake.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// The versions it offers.
    pub versions: VersionRange,
    /// The certificates that TLS presents.
    pub chain: CertificateChain,
    /// The key of their leaf.
    pub leaf_key: Ed25519PrivateKey,
}

/// The certificates that a client presented in TLS.
#[derive(Debug, Clone, Copy)]
pub struct TlsClient<'a> {
    /// The chain, whose signatures TLS checked.
    pub chain: &'a CertificateChain,
    /// The key of its leaf.
    pub leaf: CertificateKey,
}

/// A server that has said its hello.
#[derive(Debug)]
pub struct ServerHandshake {
    versions: VersionRange,
    identity: [u8; 32],
    session_id: Vec<u8>,
    own_key: X25519PrivateKey,
}

/// What a server does after the client's hello.
#[derive(Debug)]
pub enum ServerNext {
    /// The session is there.
    Ready(Box<Session>),
    /// The client is a service: look up its fingerprint, then accept or refuse it.
    Service(Box<PendingService>),
    /// Send this block, then disconnect.
    Refused {
        /// The last block.
        response: Vec<u8>,
    },
}

/// A service whose certificates and key were checked, before the server knows its id.
#[derive(Debug)]
pub struct PendingService {
    session: Box<Session>,
    /// What it serves.
    pub role: ServiceRole,
    /// SHA-256 of its identity certificate.
    pub fingerprint: [u8; 32],
    session_key: Ed25519PublicKey,
}

impl ServerHandshake {
    /// Starts a handshake in a TLS session with this id (tls-unique): the state, and the block to send.
    ///
    /// # Errors
    /// [`HandshakeError::TooLarge`] or [`HandshakeError::BadAuth`] when our certificates cannot be used.
    pub fn start(
        config: &ServerConfig,
        session_id: &[u8],
        rng: &mut dyn CryptoRng,
    ) -> Result<(Self, Vec<u8>), HandshakeError> {
        let own_key = X25519PrivateKey::generate(rng);
        let hello = ServerHello {
            versions: config.versions,
            session_id: session_id.to_vec(),
            certified_key: Some(CertifiedKey {
                chain: config.chain.clone(),
                signed_key: SignedKey::sign_x25519(&own_key.public_key(), &config.leaf_key),
            }),
        };
        let identity = config.chain.server_identity().map_err(|_| HandshakeError::BadAuth)?;
        let state = Self {
            versions: config.versions,
            identity: fingerprint(identity),
            session_id: session_id.to_vec(),
            own_key,
        };
        Ok((state, plain_block(&hello.to_bytes())?))
    }

    /// Checks the client's hello. `tls_client` are the certificates that the client presented in TLS, if any.
    ///
    /// # Errors
    /// [`HandshakeError`]: disconnect and send nothing.
    pub fn receive_hello(
        self,
        block: &mut [u8; BLOCK_BYTES],
        tls_client: Option<TlsClient<'_>>,
    ) -> Result<ServerNext, HandshakeError> {
        let hello = ClientHello::parse(plain_content(block)?).map_err(|_| HandshakeError::Malformed)?;
        if hello.key_hash != self.identity {
            return Err(HandshakeError::Identity);
        }
        let version = agree(self.versions, VersionRange::single(hello.version))?;
        let cipher = match &hello.session_key {
            Some(key) if !hello.is_proxy => BlockCipher::server(&self.session_id, &self.own_key, key),
            _ => BlockCipher::plain(),
        };
        let session = Box::new(Session {
            version,
            session_id: self.session_id,
            cipher,
            own_key: self.own_key,
            peer_key: hello.session_key,
            is_proxy: hello.is_proxy,
            service: None,
        });
        let Some(service) = hello.service else { return Ok(ServerNext::Ready(session)) };
        match check_service(&service, tls_client) {
            Some((fingerprint, session_key)) => Ok(ServerNext::Service(Box::new(PendingService {
                session,
                role: service.role,
                fingerprint,
                session_key,
            }))),
            None => Ok(ServerNext::Refused { response: refusal(HandshakeFailure::BadAuth)? }),
        }
    }
}

impl PendingService {
    /// Accepts the service under this id: the session, and the block to send before all others.
    ///
    /// # Errors
    /// [`HandshakeError::TooLarge`] never happens in practice: the response is short.
    pub fn accept(self, service_id: ServiceId) -> Result<(Box<Session>, Vec<u8>), HandshakeError> {
        let Self { mut session, role, fingerprint, session_key } = self;
        session.service = Some(AcceptedService { role, service_id, fingerprint, session_key });
        Ok((session, plain_block(&ServiceResponse::Accepted(service_id).to_bytes())?))
    }

    /// Refuses the service: send this block, then disconnect.
    ///
    /// # Errors
    /// As [`Self::accept`].
    pub fn refuse(self) -> Result<Vec<u8>, HandshakeError> {
        refusal(HandshakeFailure::BadService)
    }
}

/// The fingerprint and session key of a service whose hello is good.
fn check_service(
    service: &ServiceHello,
    tls_client: Option<TlsClient<'_>>,
) -> Option<([u8; 32], Ed25519PublicKey)> {
    let tls_client = tls_client?;
    let CertifiedKey { chain, signed_key } = &service.certified_key;
    if chain != tls_client.chain {
        return None;
    }
    let identity = chain.service_identity().ok()?;
    let session_key = signed_key.verify_ed25519(&tls_client.leaf).ok()?;
    Some((fingerprint(identity), session_key))
}

fn agree(ours: VersionRange, theirs: VersionRange) -> Result<u16, HandshakeError> {
    ours.agree(theirs).ok_or(HandshakeError::IncompatibleVersions { ours, theirs })
}

fn refusal(failure: HandshakeFailure) -> Result<Vec<u8>, HandshakeError> {
    plain_block(&ServiceResponse::Refused(TransportError::Handshake(failure)).to_bytes())
}

fn plain_block(content: &[u8]) -> Result<Vec<u8>, HandshakeError> {
    BlockSealer::plain().seal(content).map_err(|_| HandshakeError::TooLarge)
}

fn plain_content(block: &mut [u8; BLOCK_BYTES]) -> Result<&[u8], HandshakeError> {
    BlockOpener::plain().open(block).map_err(|_| HandshakeError::Malformed)
}
