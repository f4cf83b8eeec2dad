//! Why a command could not be forwarded (smp.md §8.2).
//!
//! ```text
//! proxy   = "PROTOCOL " error / "BROKER " broker / "BASIC_AUTH" / "NO_SESSION"
//! broker  = "RESPONSE " short / "UNEXPECTED " short / "NETWORK" [" " network] / "HOST" / "NO_SERVICE"
//!         / "TRANSPORT " transport / "TIMEOUT"
//! network = "CONNECT " short / "TLS " short / "UNKNOWNCA" / "FAILED" / "TIMEOUT" / "SUBSCRIBE " short
//! ```

use thiserror::Error;

use crate::encoding::{DecodeError, Reader, put_short};
use crate::smp::error::ErrorType;
use crate::smp::words::{after_space, put, word};
use crate::transport::error::TransportError;

/// How many `PROXY PROTOCOL` may stand before an error. One proxy makes one; the rest is a stranger's nesting.
const NESTED_ERRORS_MAX: u8 = 3;

/// Why a proxy could not forward.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProxyError {
    /// The destination server answered with this error.
    #[error("the destination server answered: {0}")]
    Protocol(Box<ErrorType>),
    /// The proxy could not talk to the destination server.
    #[error("{0}")]
    Broker(#[from] BrokerError),
    /// The proxy wants another password, or proxies nothing.
    #[error("the proxy refuses this password")]
    BasicAuth,
    /// The proxy has no such session with a destination server: connect again.
    #[error("the proxy has no such session")]
    NoSession,
}

/// Why one server could not talk to another.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BrokerError {
    /// An answer that could not be read.
    #[error("unreadable answer: {0}")]
    Response(String),
    /// An answer of another kind than the command's.
    #[error("unexpected answer: {0}")]
    Unexpected(String),
    /// No connection.
    #[error("no connection to the destination server ({0})")]
    Network(NetworkError),
    /// No host of the address may be used.
    #[error("no usable host in the address")]
    Host,
    /// No such service; read, never written.
    #[error("no such service")]
    NoService,
    /// The connection was made, and its handshake failed.
    #[error("{0}")]
    Transport(#[from] TransportError),
    /// No answer in time.
    #[error("the destination server does not answer")]
    Timeout,
}

/// Details of [`BrokerError::Network`]. Read where a server sends them; we write none.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NetworkError {
    /// TCP failed.
    #[error("{0}")]
    Connect(String),
    /// TLS failed.
    #[error("TLS: {0}")]
    Tls(String),
    /// The certificate is not the address's.
    #[error("the certificate is not the address's")]
    UnknownCertificate,
    /// No details.
    #[error("failed")]
    Failed,
    /// Not connected in time.
    #[error("timed out")]
    Timeout,
    /// Connected, but not subscribed.
    #[error("not subscribed: {0}")]
    Subscribe(String),
}

impl ProxyError {
    pub(super) fn read(reader: &mut Reader<'_>, depth: u8) -> Result<Self, DecodeError> {
        Ok(match word(reader) {
            b"PROTOCOL" if depth < NESTED_ERRORS_MAX => {
                Self::Protocol(Box::new(ErrorType::read(after_space(reader)?, depth.saturating_add(1))?))
            }
            b"BROKER" => Self::Broker(BrokerError::read(after_space(reader)?)?),
            b"BASIC_AUTH" => Self::BasicAuth,
            b"NO_SESSION" => Self::NoSession,
            _ => return Err(DecodeError::Invalid("proxy error")),
        })
    }

    pub(super) fn encode(&self, version: u16, out: &mut Vec<u8>) {
        match self {
            Self::Protocol(error) => {
                put(out, "PROTOCOL ");
                error.encode(version, out);
            }
            Self::Broker(error) => {
                put(out, "BROKER ");
                error.encode(out);
            }
            Self::BasicAuth => put(out, "BASIC_AUTH"),
            Self::NoSession => put(out, "NO_SESSION"),
        }
    }
}

impl BrokerError {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match word(reader) {
            b"RESPONSE" => Self::Response(after_space(reader)?.text()?.to_owned()),
            b"UNEXPECTED" => Self::Unexpected(after_space(reader)?.text()?.to_owned()),
            b"NETWORK" if reader.is_empty() => Self::Network(NetworkError::Failed),
            b"NETWORK" => Self::Network(NetworkError::read(after_space(reader)?)?),
            b"HOST" => Self::Host,
            b"NO_SERVICE" => Self::NoService,
            b"TRANSPORT" => Self::Transport(TransportError::read(after_space(reader)?)?),
            b"TIMEOUT" => Self::Timeout,
            _ => return Err(DecodeError::Invalid("broker error")),
        })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Response(text) => {
                put(out, "RESPONSE ");
                put_text(out, text);
            }
            Self::Unexpected(text) => {
                put(out, "UNEXPECTED ");
                put_text(out, text);
            }
            // Details would tell a client about the proxy's network.
            Self::Network(_) => put(out, "NETWORK"),
            Self::Host => put(out, "HOST"),
            Self::NoService => put(out, "NO_SERVICE"),
            Self::Transport(error) => {
                put(out, "TRANSPORT ");
                error.encode(out);
            }
            Self::Timeout => put(out, "TIMEOUT"),
        }
    }
}

impl NetworkError {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match word(reader) {
            b"CONNECT" => Self::Connect(after_space(reader)?.text()?.to_owned()),
            b"TLS" => Self::Tls(after_space(reader)?.text()?.to_owned()),
            b"UNKNOWNCA" => Self::UnknownCertificate,
            b"FAILED" => Self::Failed,
            b"TIMEOUT" => Self::Timeout,
            b"SUBSCRIBE" => Self::Subscribe(after_space(reader)?.text()?.to_owned()),
            _ => return Err(DecodeError::Invalid("network error")),
        })
    }
}

/// Appends a text, cut to the 255 bytes that a short string can hold.
fn put_text(out: &mut Vec<u8>, text: &str) {
    put_short(out, text.get(..text.floor_char_boundary(255)).unwrap_or_default().as_bytes());
}
