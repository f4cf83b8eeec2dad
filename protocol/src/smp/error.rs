//! What a server answers instead of a result (smp.md §8).
//!
//! ```text
//! error   = "BLOCK" / "SESSION" / "CMD " command / "PROXY " proxy / "AUTH" / "BLOCKED " blocking / "SERVICE"
//!         / "CRYPTO" / "QUOTA" / "STORE " text / "NO_MSG" / "LARGE_MSG" / "EXPIRED" / "INTERNAL" / "DUPLICATE_"
//! command = "UNKNOWN" / "SYNTAX" / "PROHIBITED" / "NO_AUTH" / "HAS_AUTH" / "NO_ENTITY"
//! ```
//!
//! An error tells the peer no more than it already knows: `AUTH` is the answer to a wrong key, to a missing queue
//! and to a command that this queue's mode does not allow.

use thiserror::Error;

use crate::encoding::{DecodeError, Reader};
use crate::smp::words::{after_space, put, word};

pub use crate::smp::blocking::{BlockingInfo, BlockingReason, ClientNotice};
pub use crate::smp::proxy_error::{BrokerError, NetworkError, ProxyError};
pub use crate::transport::error::{HandshakeFailure, TransportError};

/// From here on blocked queues are told from missing ones.
const BLOCKED_VERSION: u16 = 12;

/// The error of a response `ERR`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ErrorType {
    /// A block, a transmission or the length of an authenticator is malformed.
    #[error("the server could not read the block")]
    Block,
    /// The session id is not this connection's.
    #[error("the command belongs to another session")]
    Session,
    /// The command is malformed or not allowed.
    #[error("command refused: {0}")]
    Command(#[from] CommandError),
    /// A proxy or the server behind it failed.
    #[error("through a proxy: {0}")]
    Proxy(#[from] ProxyError),
    /// Not authorised, or there is no such queue.
    #[error("not authorised, or there is no such queue")]
    Auth,
    /// The operator blocked the queue.
    #[error("the server's operator blocked this queue")]
    Blocked(BlockingInfo),
    /// A service signature is missing, wrong or out of place.
    #[error("the service signature is missing or wrong")]
    Service,
    /// A forwarded command does not decrypt.
    #[error("a forwarded command does not decrypt")]
    Crypto,
    /// The queue is full until its recipient reads it.
    #[error("the queue is full until its recipient reads it")]
    Quota,
    /// The server's storage failed; the text is for people only.
    #[error("the server's storage failed: {0}")]
    Store(String),
    /// There is nothing to acknowledge.
    #[error("there is no such message to acknowledge")]
    NoMessage,
    /// The body is longer than allowed.
    #[error("the message is too large")]
    LargeMessage,
    /// A forwarding key has expired; read, never written.
    #[error("the server's key has expired")]
    Expired,
    /// The server failed.
    #[error("the server failed")]
    Internal,
    /// Internal to servers; read, never written.
    #[error("duplicate")]
    Duplicate,
}

/// Why a command was refused before anything was looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CommandError {
    /// There is no such command.
    #[error("unknown command")]
    Unknown,
    /// The parameters are malformed.
    #[error("malformed parameters")]
    Syntax,
    /// Not allowed in this session or state.
    #[error("not allowed in this session or state")]
    Prohibited,
    /// The command needs an authenticator and an entity id.
    #[error("an authenticator or entity id is missing")]
    NoAuth,
    /// The command must have no authenticator or no entity id.
    #[error("an authenticator or entity id is out of place")]
    HasAuth,
    /// The command needs an entity id.
    #[error("the entity id is missing")]
    NoEntity,
}

impl ErrorType {
    /// Reads an error that takes all of `bytes`.
    ///
    /// # Errors
    /// [`DecodeError`] when it is not one we know.
    pub fn parse(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let error = Self::read(&mut reader, 0)?;
        reader.end()?;
        Ok(error)
    }

    pub(super) fn read(reader: &mut Reader<'_>, depth: u8) -> Result<Self, DecodeError> {
        Ok(match word(reader) {
            b"BLOCK" => Self::Block,
            b"SESSION" => Self::Session,
            b"CMD" => Self::Command(CommandError::read(after_space(reader)?)?),
            b"PROXY" => Self::Proxy(ProxyError::read(after_space(reader)?, depth)?),
            b"AUTH" => Self::Auth,
            b"BLOCKED" => Self::Blocked(BlockingInfo::read(after_space(reader)?)?),
            b"SERVICE" => Self::Service,
            b"CRYPTO" => Self::Crypto,
            b"QUOTA" => Self::Quota,
            b"STORE" => Self::Store(String::from_utf8_lossy(after_space(reader)?.tail()).into_owned()),
            b"NO_MSG" => Self::NoMessage,
            b"LARGE_MSG" => Self::LargeMessage,
            b"EXPIRED" => Self::Expired,
            b"INTERNAL" => Self::Internal,
            b"DUPLICATE_" => Self::Duplicate,
            _ => return Err(DecodeError::Invalid("error")),
        })
    }

    /// Appends the error as peers of `version` read it.
    pub fn encode(&self, version: u16, out: &mut Vec<u8>) {
        match self {
            Self::Block => put(out, "BLOCK"),
            Self::Session => put(out, "SESSION"),
            Self::Command(error) => {
                put(out, "CMD ");
                put(out, error.tag());
            }
            Self::Proxy(error) => {
                put(out, "PROXY ");
                error.encode(version, out);
            }
            Self::Auth => put(out, "AUTH"),
            // only forwarded commands are of versions that do not know the word
            Self::Blocked(_) if version < BLOCKED_VERSION => put(out, "AUTH"),
            Self::Blocked(info) => {
                put(out, "BLOCKED ");
                info.encode(version, out);
            }
            Self::Service => put(out, "SERVICE"),
            Self::Crypto => put(out, "CRYPTO"),
            Self::Quota => put(out, "QUOTA"),
            Self::Store(text) => {
                put(out, "STORE ");
                put(out, text);
            }
            Self::NoMessage => put(out, "NO_MSG"),
            Self::LargeMessage => put(out, "LARGE_MSG"),
            Self::Expired => put(out, "EXPIRED"),
            Self::Internal => put(out, "INTERNAL"),
            Self::Duplicate => put(out, "DUPLICATE_"),
        }
    }
}

impl CommandError {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match word(reader) {
            b"UNKNOWN" => Self::Unknown,
            b"SYNTAX" => Self::Syntax,
            b"PROHIBITED" => Self::Prohibited,
            b"NO_AUTH" => Self::NoAuth,
            b"HAS_AUTH" => Self::HasAuth,
            // Older servers said NO_QUEUE.
            b"NO_ENTITY" | b"NO_QUEUE" => Self::NoEntity,
            _ => return Err(DecodeError::Invalid("command error")),
        })
    }

    fn tag(self) -> &'static str {
        match self {
            Self::Unknown => "UNKNOWN",
            Self::Syntax => "SYNTAX",
            Self::Prohibited => "PROHIBITED",
            Self::NoAuth => "NO_AUTH",
            Self::HasAuth => "HAS_AUTH",
            Self::NoEntity => "NO_ENTITY",
        }
    }
}
