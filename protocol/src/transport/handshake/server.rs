//! The server's side: says its hello, then checks the client's (smp.md §4.5, §13).

use rand_core::CryptoRng;

use super::{AcceptedService, HandshakeError, Session, agree, plain_block, plain_content};
use crate::crypto::dh::X25519PrivateKey;
use crate::crypto::sign::Ed25519PublicKey;
use crate::encoding::Encode as _;
use crate::smp::ids::ServiceId;
use crate::transport::block::{BLOCK_BYTES, BlockCipher};
use crate::transport::certified_key::{
    CertificateChain, CertificateKey, CertifiedKey, SignedKey, fingerprint,
};
use crate::transport::error::{HandshakeFailure, TransportError};
use crate::transport::hello::{ClientHello, ServerHello, ServiceHello, ServiceResponse, ServiceRole};
use crate::transport::leaf_key::LeafKey;
use crate::version::VersionRange;

/// What a server brings to every handshake.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// The versions it offers.
    pub versions: VersionRange,
    /// The certificates that TLS presents.
    pub chain: CertificateChain,
    /// The key of their leaf.
    pub leaf_key: LeafKey,
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

fn refusal(failure: HandshakeFailure) -> Result<Vec<u8>, HandshakeError> {
    plain_block(&ServiceResponse::Refused(TransportError::Handshake(failure)).to_bytes())
}
