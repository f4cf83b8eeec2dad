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

mod client;
mod server;

use thiserror::Error;

use crate::crypto::dh::{X25519PrivateKey, X25519PublicKey};
use crate::crypto::sign::Ed25519PublicKey;
use crate::smp::ids::ServiceId;
use crate::transport::block::{BLOCK_BYTES, BlockCipher, BlockOpener, BlockSealer};
use crate::transport::error::{HandshakeFailure, TransportError};
use crate::transport::hello::ServiceRole;
use crate::version::VersionRange;

pub use client::{
    AwaitService, ClientConfig, ClientHandshake, ClientNext, ClientReply, ClientService, proxy_versions,
};
pub use server::{PendingService, ServerConfig, ServerHandshake, ServerNext, TlsClient};

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

fn agree(ours: VersionRange, theirs: VersionRange) -> Result<u16, HandshakeError> {
    ours.agree(theirs).ok_or(HandshakeError::IncompatibleVersions { ours, theirs })
}

fn plain_block(content: &[u8]) -> Result<Vec<u8>, HandshakeError> {
    BlockSealer::plain().seal(content).map_err(|_| HandshakeError::TooLarge)
}

fn plain_content(block: &mut [u8; BLOCK_BYTES]) -> Result<&[u8], HandshakeError> {
    BlockOpener::plain().open(block).map_err(|_| HandshakeError::Malformed)
}
