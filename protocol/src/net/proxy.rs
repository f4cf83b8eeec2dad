//! A proxy's session with a destination server, and what a client makes of a proxy's offer (smp.md §14.1).
//!
//! ```text
//! proxy   ProxySession::open ──▶ offer() = PKEY            forward() = RFWD ──▶ RRES
//! client  check_offer(PKEY)  ──▶ DestinationSession
//! ```

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::certificate::certificate_key;
use super::clock::now;
use super::dial::Dialer;
use super::error::{CallError, ConnectError};
use super::network::Limits;
use super::rng::system_rng;
use super::session::{Opening, Outgoing, Owner, Session};
use super::verify::{ChainError, check_server_chain};
use crate::agent::request::Request;
use crate::crypto::CryptoError;
use crate::crypto::secretbox::BoxKey;
use crate::smp::SMP_VERSIONS;
use crate::smp::address::ServerAddress;
use crate::smp::command::Command;
use crate::smp::ids::CorrelationId;
use crate::smp::proxy::client::{DestinationError, DestinationSession};
use crate::smp::proxy::forward::{Forward, open_response};
use crate::smp::proxy::{PROXIED_VERSIONS, PROXY_SESSION_VERSIONS};
use crate::smp::response::BrokerMessage;
use crate::transport::certified_key::CertifiedKey;
use crate::transport::handshake::{HandshakeError, proxy_versions};
use crate::version::VersionRange;

/// Commands that wait to be sent to a destination server; those who have more wait.
const QUEUE_MAX: usize = 64;

type Answer = Result<BrokerMessage<'static>, CallError>;

/// Why a command was not forwarded, or has no answer.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ForwardError {
    /// The session or the destination server failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The destination's answer does not decrypt.
    #[error("the destination server's answer does not decrypt")]
    Crypto(#[from] CryptoError),
}

/// A session in which commands of others are forwarded. Copies are handles to the same session.
#[derive(Debug, Clone)]
pub struct ProxySession {
    server: ServerAddress,
    session_id: Vec<u8>,
    versions: VersionRange,
    certified_key: CertifiedKey,
    key: BoxKey,
    outgoing: mpsc::Sender<Outgoing<oneshot::Sender<Answer>>>,
}

/// What `PKEY` says of a session.
#[derive(Debug, Clone, Copy)]
pub struct Offer<'a> {
    /// Names the session.
    pub session_id: &'a [u8],
    /// Versions of forwarded commands.
    pub versions: VersionRange,
    /// The destination server's certificates and session key.
    pub certified_key: &'a CertifiedKey,
}

impl ProxySession {
    /// Connects and says hello, within `limits.connect`. The future beside the session carries its commands: it must
    /// be run, and ends when the connection breaks, was idle for `idle`, or all handles are gone.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn open(
        server: &ServerAddress,
        dialer: &Dialer,
        limits: Limits,
        idle: Duration,
    ) -> Result<(Self, impl Future<Output = ()> + Send + use<>), ConnectError> {
        let opening = Opening { dialer, versions: PROXY_SESSION_VERSIONS, is_proxy: true, service: None };
        let opened = tokio::time::timeout(limits.connect, Session::open(server, opening)).await;
        let session = opened.unwrap_or(Err(ConnectError::TimedOut))?;
        let theirs = session.server_versions;
        let versions = proxy_versions(PROXY_SESSION_VERSIONS, theirs)
            .meet(theirs)
            .and_then(|common| common.meet(PROXIED_VERSIONS))
            .ok_or(ConnectError::Version { offered: theirs })?;
        // the handshake has checked that there is one
        let peer_key = session.session.peer_key.ok_or(ConnectError::Hello(HandshakeError::NoServerKey))?;
        let (outgoing, mut commands) = mpsc::channel(QUEUE_MAX);
        let handle = Self {
            server: server.clone(),
            session_id: session.session.session_id.clone(),
            versions,
            certified_key: session.server_key.clone(),
            key: session.session.own_key.box_key(&peer_key),
            outgoing,
        };
        let run = async move {
            session.run(&Forwarder { idle }, &mut commands, limits).await;
        };
        Ok((handle, run))
    }

    /// What clients are told of the session.
    #[must_use]
    pub fn offer(&self) -> Offer<'_> {
        Offer { session_id: &self.session_id, versions: self.versions, certified_key: &self.certified_key }
    }

    /// Whether the session has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.outgoing.is_closed()
    }

    /// Forwards a command; gives what the destination server sealed for the client.
    ///
    /// # Errors
    /// [`ForwardError`]. After [`CallError::Disconnected`] and [`CallError::TimedOut`] the command may have been
    /// executed.
    pub async fn forward(&self, forward: &Forward<'_>) -> Result<Vec<u8>, ForwardError> {
        let id = CorrelationId::generate(&mut system_rng());
        let request = Request {
            server: self.server.clone(),
            correlation_id: Some(id),
            entity: Vec::new(),
            key: None,
            command: Command::Rfwd { sealed: forward.seal(&self.key, id.as_bytes()).into() },
        };
        let (tag, answer) = oneshot::channel();
        let sent = self.outgoing.send(Outgoing { request: Box::new(request), tag }).await;
        sent.map_err(|_| CallError::Disconnected)?;
        match answer.await.unwrap_or(Err(CallError::Disconnected))? {
            BrokerMessage::Rres(sealed) => Ok(open_response(&self.key, id.as_bytes(), &sealed)?),
            _ => Err(CallError::UnexpectedAnswer.into()),
        }
    }
}

/// Hands answers to those who wait for them.
struct Forwarder {
    idle: Duration,
}

impl Owner for Forwarder {
    type Tag = oneshot::Sender<Answer>;

    fn answered(&self, tag: Self::Tag, result: Answer) {
        // the client may have gone
        let _unheard = tag.send(result);
    }

    async fn told(&self, _entity_id: &[u8], _message: BrokerMessage<'_>) {
        // a proxy subscribes to nothing
    }

    fn is_subscribed(&self) -> bool {
        false
    }

    fn idle_after(&self) -> Duration {
        self.idle
    }
}

/// Why a proxy's offer is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OfferError {
    /// The address lacks the full fingerprint.
    #[error("the address does not say how to recognise the server: ask for the full address")]
    NoFingerprint,
    /// The certificates are not those of the server that was asked for: the proxy may be dishonest.
    #[error("the proxy's session is not with the server that the address names: {0}")]
    Chain(#[from] ChainError),
    /// The session is of no use.
    #[error(transparent)]
    Session(#[from] DestinationError),
}

/// Checks a proxy's offer as if the destination server had been met itself (smp.md §14.1).
///
/// # Errors
/// [`OfferError`].
pub fn check_offer(server: &ServerAddress, offer: Offer<'_>) -> Result<DestinationSession, OfferError> {
    let key_hash = server.key_hash().sha256().ok_or(OfferError::NoFingerprint)?;
    let chain = offer.certified_key.chain.certificates();
    check_server_chain(chain, &key_hash, now())?;
    let leaf = chain.first().ok_or(ChainError::Shape(0))?;
    let leaf = certificate_key(leaf)?;
    let Offer { session_id, versions, certified_key } = offer;
    Ok(DestinationSession::new(session_id, versions, certified_key, &key_hash, &leaf, SMP_VERSIONS)?)
}
