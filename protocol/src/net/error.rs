//! Why there is no connection to a server, or no answer from it. The words are for the people who use a program.

use std::io;
use std::sync::Arc;

use thiserror::Error;

use super::proxy::OfferError;
use super::tls::TlsError;
use super::verify::ChainError;
use crate::smp::SMP_VERSIONS;
use crate::smp::error::{BrokerError, ErrorType, ProxyError};
use crate::transport::handshake::HandshakeError;
use crate::version::VersionRange;

/// Why there is no session with a server. Cheap to copy: one failed attempt answers all who waited for it.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The address lacks the full fingerprint of the server.
    #[error("the address does not say how to recognise the server: ask for the full address")]
    NoFingerprint,
    /// All hosts are Tor services.
    #[error("the server has only a Tor address, which needs a proxy")]
    NoUsableHost,
    /// No host of the address is of the kind that the settings require.
    #[error("no host of the server is of the kind that is required here")]
    HostMode,
    /// Its addresses are not public, and only public ones are allowed.
    #[error("the server's address is not a public one, which is required here")]
    PrivateAddress,
    /// No name resolved, or nothing listened.
    #[error("the server cannot be reached: {0}")]
    Unreachable(Arc<io::Error>),
    /// Not connected in time.
    #[error("the server did not answer in time")]
    TimedOut,
    /// The server is another one than the address names.
    #[error(
        "the server is not the one that its address names: its identity is unknown. \
         Somebody may be in between; compare the address with its operator"
    )]
    UnknownIdentity,
    /// The server's certificates are wrong in another way.
    #[error("the server's certificates are refused: {0}")]
    Certificates(ChainError),
    /// TLS failed otherwise.
    #[error("no secure connection to the server: {0}")]
    Tls(Arc<TlsError>),
    /// The server speaks other versions.
    #[error("the server speaks SMP versions {offered}, this program {SMP_VERSIONS}: {}", older(*.offered))]
    Version {
        /// What the server offers.
        offered: VersionRange,
    },
    /// What the server says in its hello is malformed or contradicts its certificates.
    #[error("the server's greeting is wrong: {0}")]
    Hello(HandshakeError),
    /// The server closed the connection instead of greeting.
    #[error("the server closed the connection during the greeting")]
    Closed,
    /// Too many servers are in use.
    #[error("too many servers are in use at once")]
    TooManyServers,
}

fn older(offered: VersionRange) -> &'static str {
    if offered.max() < SMP_VERSIONS.min() {
        "the server is too old and must be updated"
    } else {
        "this program is too old and must be updated"
    }
}

impl ConnectError {
    /// Whether a later attempt may succeed without anybody doing anything; otherwise the server, its address or
    /// this program has to change.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(
            self,
            Self::Unreachable(_) | Self::TimedOut | Self::Closed | Self::Tls(_) | Self::TooManyServers
        )
    }
}

impl From<HandshakeError> for ConnectError {
    fn from(error: HandshakeError) -> Self {
        match error {
            HandshakeError::IncompatibleVersions { theirs, .. } => Self::Version { offered: theirs },
            error => Self::Hello(error),
        }
    }
}

impl From<TlsError> for ConnectError {
    fn from(error: TlsError) -> Self {
        match error {
            TlsError::Chain(ChainError::Identity) => Self::UnknownIdentity,
            TlsError::Chain(error) => Self::Certificates(error),
            error => Self::Tls(Arc::new(error)),
        }
    }
}

/// Why a command has no good answer. Whether it was executed is known only after [`CallError::Refused`].
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum CallError {
    /// There is no session.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The session ended before the answer came.
    #[error("the connection to the server was lost")]
    Disconnected,
    /// No answer came in time.
    #[error("the server did not answer in time")]
    TimedOut,
    /// The server answered with an error.
    #[error("the server refuses: {0}")]
    Refused(ErrorType),
    /// The answer is of another kind, or about something else.
    #[error("the server's answer does not fit the command")]
    UnexpectedAnswer,
    /// The answer cannot be read at all.
    #[error("the server's answer cannot be read")]
    UnreadableAnswer,
    /// The command does not fit a block.
    #[error("the command is too large")]
    TooLarge,
    /// The correlation id is in use: the same command still waits for its answer.
    #[error("the same command waits for its answer already")]
    InProgress,
    /// No server is there to forward the command.
    #[error("none of your servers can forward to this server: add another server, or allow sending directly")]
    NoProxy,
    /// The proxy could not forward the command, or does not want to.
    #[error("{0}")]
    Proxy(ProxyError),
    /// The proxy itself cannot be used, or refuses the command.
    #[error("the proxy server: {0}")]
    ProxyServer(Box<CallError>),
    /// What the proxy offers is not a session with the destination server.
    #[error("the proxy server: {0}")]
    Offer(OfferError),
}

impl CallError {
    /// Whether the same command may succeed later without anybody doing anything: the network failed, not the
    /// server's opinion of the command.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Connect(error) => error.is_temporary(),
            Self::Disconnected | Self::TimedOut | Self::InProgress => true,
            Self::Proxy(ProxyError::Broker(BrokerError::Host | BrokerError::Transport(_))) => false,
            Self::Proxy(ProxyError::BasicAuth) => false,
            Self::Proxy(ProxyError::NoSession | ProxyError::Protocol(_) | ProxyError::Broker(_)) => true,
            Self::ProxyServer(error) => match &**error {
                Self::Refused(error) => matches!(error, ErrorType::Internal | ErrorType::Store(_)),
                error => error.is_temporary(),
            },
            Self::Refused(_)
            | Self::UnexpectedAnswer
            | Self::UnreadableAnswer
            | Self::TooLarge
            | Self::NoProxy
            | Self::Offer(_) => false,
        }
    }

    /// Whether it is the proxy that failed or refused: it says nothing about the queue at the destination server.
    #[must_use]
    pub fn is_of_proxy(&self) -> bool {
        matches!(self, Self::NoProxy | Self::Proxy(_) | Self::ProxyServer(_) | Self::Offer(_))
    }
}
