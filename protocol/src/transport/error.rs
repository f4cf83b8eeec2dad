//! Why two that speak this protocol have no session, in the words of the wire (smp.md §8.2, §13).
//!
//! ```text
//! transport = "BLOCK" / "VERSION" / "LARGE_MSG" / "SESSION" / "NO_AUTH" / "HANDSHAKE " handshake
//! handshake = "PARSE" / "IDENTITY" / "BAD_AUTH" / "BAD_SERVICE"
//! ```

use thiserror::Error;

use crate::encoding::{DecodeError, Reader};
use crate::smp::words::{after_space, put, word};

/// Why a connection of two that speak this protocol failed, also the answer to a refused service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TransportError {
    /// A block is malformed.
    #[error("malformed block")]
    Block,
    /// No version in common.
    #[error("no version in common")]
    Version,
    /// Too large for a block.
    #[error("too large for a block")]
    LargeMessage,
    /// The two ends see different TLS sessions.
    #[error("the two ends see different TLS sessions")]
    Session,
    /// The server presented no session key.
    #[error("the server presented no session key")]
    NoAuth,
    /// A hello was refused.
    #[error("handshake: {0}")]
    Handshake(HandshakeFailure),
}

/// What was wrong with a hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HandshakeFailure {
    /// Not readable.
    #[error("unreadable hello")]
    Parse,
    /// Meant for another server.
    #[error("meant for another server")]
    Identity,
    /// Certificates or the signature of the session key do not check.
    #[error("certificates or signature do not check")]
    BadAuth,
    /// The service is not accepted.
    #[error("the service is not accepted")]
    BadService,
}

impl TransportError {
    /// Reads an error from the front.
    ///
    /// # Errors
    /// [`DecodeError`] when it is not one we know.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match word(reader) {
            b"BLOCK" => Self::Block,
            b"VERSION" => Self::Version,
            b"LARGE_MSG" => Self::LargeMessage,
            b"SESSION" => Self::Session,
            b"NO_AUTH" => Self::NoAuth,
            b"HANDSHAKE" => Self::Handshake(match word(after_space(reader)?) {
                b"PARSE" => HandshakeFailure::Parse,
                b"IDENTITY" => HandshakeFailure::Identity,
                b"BAD_AUTH" => HandshakeFailure::BadAuth,
                b"BAD_SERVICE" => HandshakeFailure::BadService,
                _ => return Err(DecodeError::Invalid("handshake error")),
            }),
            _ => return Err(DecodeError::Invalid("transport error")),
        })
    }

    /// Appends the error.
    pub fn encode(self, out: &mut Vec<u8>) {
        put(
            out,
            match self {
                Self::Block => "BLOCK",
                Self::Version => "VERSION",
                Self::LargeMessage => "LARGE_MSG",
                Self::Session => "SESSION",
                Self::NoAuth => "NO_AUTH",
                Self::Handshake(HandshakeFailure::Parse) => "HANDSHAKE PARSE",
                Self::Handshake(HandshakeFailure::Identity) => "HANDSHAKE IDENTITY",
                Self::Handshake(HandshakeFailure::BadAuth) => "HANDSHAKE BAD_AUTH",
                Self::Handshake(HandshakeFailure::BadService) => "HANDSHAKE BAD_SERVICE",
            },
        );
    }
}
