//! What a server answers instead of a result (smp.md §8).
//!
//! ```text
//! error  = "BLOCK" / "SESSION" / "CMD " command / "PROXY " proxy / "AUTH" / "BLOCKED " blocking / "SERVICE"
//!        / "CRYPTO" / "QUOTA" / "STORE " text / "NO_MSG" / "LARGE_MSG" / "EXPIRED" / "INTERNAL" / "DUPLICATE_"
//! proxy  = "PROTOCOL " error / "BROKER " broker / "BASIC_AUTH" / "NO_SESSION"
//! broker = "RESPONSE " short / "UNEXPECTED " short / "NETWORK" [" " network] / "HOST" / "NO_SERVICE"
//!        / "TRANSPORT " transport / "TIMEOUT"
//! ```
//!
//! An error tells the peer no more than it already knows: `AUTH` is the answer to a wrong key, to a missing queue
//! and to a command that this queue's mode does not allow.

use thiserror::Error;

use crate::encoding::{DecodeError, Reader, put_short};
use crate::smp::BLOCKING_NOTICE_VERSION;

/// How many `PROXY PROTOCOL` may stand before an error. One proxy makes one; the rest is a stranger's nesting.
const NESTED_ERRORS_MAX: u8 = 3;

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

/// Why the operator blocked a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockingInfo {
    /// The reason.
    pub reason: BlockingReason,
    /// What clients are to show, from version 18 on.
    pub notice: Option<ClientNotice>,
}

/// The reason of a blocking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockingReason {
    /// `spam`
    Spam,
    /// `content`
    Content,
}

/// A notice to the users of a blocked queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ClientNotice {
    /// For how many seconds it holds; indefinitely when absent.
    #[serde(rename = "ttl", skip_serializing_if = "Option::is_none", default)]
    pub ttl_seconds: Option<i64>,
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

    fn read(reader: &mut Reader<'_>, depth: u8) -> Result<Self, DecodeError> {
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

impl ProxyError {
    fn read(reader: &mut Reader<'_>, depth: u8) -> Result<Self, DecodeError> {
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

    fn encode(&self, version: u16, out: &mut Vec<u8>) {
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

impl BlockingInfo {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let invalid = DecodeError::Invalid("blocking info");
        let text = reader.tail().strip_prefix(b"reason=").ok_or(invalid)?;
        let (reason, rest) = if let Some(rest) = text.strip_prefix(b"spam") {
            (BlockingReason::Spam, rest)
        } else {
            (BlockingReason::Content, text.strip_prefix(b"content").ok_or(invalid)?)
        };
        let notice = match rest {
            [] => None,
            rest => {
                let json = rest.strip_prefix(b",notice=").ok_or(invalid)?;
                Some(serde_json::from_slice(json).map_err(|_| invalid)?)
            }
        };
        Ok(Self { reason, notice })
    }

    fn encode(self, version: u16, out: &mut Vec<u8>) {
        put(out, "reason=");
        put(
            out,
            match self.reason {
                BlockingReason::Spam => "spam",
                BlockingReason::Content => "content",
            },
        );
        if version < BLOCKING_NOTICE_VERSION {
            return;
        }
        if let Some(notice) = self.notice {
            put(out, ",notice=");
            match notice.ttl_seconds {
                Some(seconds) => put(out, &format!("{{\"ttl\":{seconds}}}")),
                None => put(out, "{}"),
            }
        }
    }
}

/// Takes the next word: everything up to a space or the end.
pub(super) fn word<'a>(reader: &mut Reader<'a>) -> &'a [u8] {
    let rest = reader.rest();
    let length = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
    reader.take(length).unwrap_or_default()
}

/// Takes the one space that stands before parameters.
pub(super) fn after_space<'r, 'a>(reader: &'r mut Reader<'a>) -> Result<&'r mut Reader<'a>, DecodeError> {
    reader.expect(b" ", "space")?;
    Ok(reader)
}

fn put(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

/// Appends a text, cut to the 255 bytes that a short string can hold.
fn put_text(out: &mut Vec<u8>, text: &str) {
    put_short(out, text.get(..text.floor_char_boundary(255)).unwrap_or(text).as_bytes());
}
