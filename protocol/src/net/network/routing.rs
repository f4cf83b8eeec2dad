//! Which commands go to their server through another one, the proxy, and how (smp.md §14, §20.6).
//!
//! ```text
//!  a sender's command ──direct──▶ server
//!        └──mode says so──▶ path of the server: PRXY once, kept ──PFWD──▶ proxy
//!                              └── NO_SESSION: PRXY again, once
//! ```
//!
//! Failures are told apart: an error of the destination server is the answer to the command; one of the proxy says
//! nothing about the queue. Those that may pass are tried again later, through another proxy when this one is out of
//! reach; those that will not are a reason to go directly, if that is allowed: nobody can force us to show our address
//! by disturbing the network.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::Semaphore;
use tracing::debug;

use super::{Network, SERVERS_MAX};
use crate::agent::request::Request;
use crate::crypto::random_bytes;
use crate::net::error::CallError;
use crate::net::proxy::{Offer, check_offer};
use crate::net::rng::system_rng;
use crate::smp::address::{ServerAddress, ServerAddressWithAuth};
use crate::smp::command::Command;
use crate::smp::error::{ErrorType, ProxyError};
use crate::smp::ids::CorrelationId;
use crate::smp::proxy::client::DestinationSession;
use crate::smp::proxy::destination::ForwardedCommand;
use crate::smp::response::BrokerMessage;

/// Commands on their way through one proxy at a time: it does no more for one client (smp.md §14.3).
const IN_PROGRESS_MAX: usize = 32;
/// A proxy's failure to reach a server answers for this time.
const FAILURE_MEMORY: Duration = Duration::from_secs(3);
/// A command that met a session which is gone is sent once more in a new one.
const ATTEMPTS_MAX: u32 = 2;

/// Which servers are sent to through a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProxyMode {
    /// All.
    Always,
    /// Those that are not one's own.
    Unknown,
    /// None.
    #[default]
    Never,
}

/// Not a mode.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is none of `always`, `unknown` and `never`")]
pub struct ProxyModeError(String);

impl FromStr for ProxyMode {
    type Err = ProxyModeError;

    fn from_str(text: &str) -> Result<Self, ProxyModeError> {
        match text {
            "always" => Ok(Self::Always),
            "unknown" => Ok(Self::Unknown),
            "never" => Ok(Self::Never),
            _ => Err(ProxyModeError(text.to_owned())),
        }
    }
}

impl std::fmt::Display for ProxyMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Always => "always",
            Self::Unknown => "unknown",
            Self::Never => "never",
        })
    }
}

/// How a program sends. The default is: directly.
#[derive(Debug, Clone, Default)]
pub struct Routing {
    /// Which servers are sent to through a proxy.
    pub mode: ProxyMode,
    /// Whether a command goes directly when no proxy can ever forward it.
    pub direct_fallback: bool,
    /// One's own servers, with their passwords: they are known, and they are the proxies.
    pub servers: Vec<ServerAddressWithAuth>,
}

impl Routing {
    fn is_proxied(&self, request: &Request) -> bool {
        let is_sent = ForwardedCommand::may_be(&request.command);
        let to = |known: &ServerAddressWithAuth| is_same(&known.server, &request.server);
        is_sent
            && match self.mode {
                ProxyMode::Always => true,
                ProxyMode::Unknown => !self.servers.iter().any(to),
                ProxyMode::Never => false,
            }
    }

    /// The servers that may forward to `destination`: a server that forwards to itself hides nothing.
    fn proxies(&self, destination: &ServerAddress) -> Vec<ServerAddressWithAuth> {
        self.servers.iter().filter(|known| !is_same(&known.server, destination)).cloned().collect()
    }
}

/// Whether two addresses are of one server: it may be known by other hosts, and by the same identity.
fn is_same(one: &ServerAddress, other: &ServerAddress) -> bool {
    one.key_hash() == other.key_hash()
}

/// The paths to servers behind proxies.
#[derive(Debug)]
pub(super) struct Router {
    routing: Mutex<Routing>,
    paths: Mutex<BTreeMap<ServerAddress, Arc<Path>>>,
    in_progress: Mutex<BTreeMap<ServerAddress, Arc<Semaphore>>>,
}

/// The way to one server.
#[derive(Debug)]
struct Path {
    state: tokio::sync::Mutex<PathState>,
}

#[derive(Debug)]
struct PathState {
    open: Option<Arc<Open>>,
    /// The last attempt, if it failed.
    failure: Option<(Instant, CallError)>,
    /// Attempts since then, or since there was a session.
    failed: usize,
    /// Which proxy is next, when the present one is out of reach.
    turn: usize,
}

/// A session of a proxy with the server.
#[derive(Debug)]
struct Open {
    proxy: ServerAddress,
    session: DestinationSession,
}

impl Router {
    pub(super) fn new(routing: Routing) -> Self {
        Self { routing: Mutex::new(routing), paths: Mutex::default(), in_progress: Mutex::default() }
    }

    fn routing(&self) -> MutexGuard<'_, Routing> {
        self.routing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn change(&self, routing: Routing) {
        *self.routing() = routing;
        // sessions of proxies that are none any more
        self.paths.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(super) fn is_proxied(&self, request: &Request) -> bool {
        self.routing().is_proxied(request)
    }

    fn path(&self, server: &ServerAddress) -> Arc<Path> {
        let mut paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        if paths.len() >= SERVERS_MAX && !paths.contains_key(server) {
            // strangers choose servers: those that nobody uses just now go
            paths.retain(|_, path| Arc::strong_count(path) > 1);
        }
        paths.entry(server.clone()).or_insert_with(|| Arc::new(Path::new())).clone()
    }

    /// The proxy's places for our commands.
    fn places(&self, proxy: &ServerAddress) -> Arc<Semaphore> {
        let mut places = self.in_progress.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Semaphore::new(IN_PROGRESS_MAX));
        places.entry(proxy.clone()).or_insert_with(new).clone()
    }
}

impl Network {
    /// Sends a command through a proxy, or directly where no proxy can and that is allowed.
    pub(super) async fn call_through_proxy(
        &self,
        request: Request,
    ) -> Result<BrokerMessage<'static>, CallError> {
        let result = self.forward(&request).await;
        match result {
            Err(error) if error.is_of_proxy() && !error.is_temporary() => {
                if !self.router().routing().direct_fallback {
                    return Err(error);
                }
                debug!(%error, "no proxy can forward: sent directly");
                self.call_directly(request).await
            }
            result => result,
        }
    }

    async fn forward(&self, request: &Request) -> Result<BrokerMessage<'static>, CallError> {
        let path = self.router().path(&request.server);
        let mut attempt = 0;
        loop {
            attempt += 1;
            let open = self.open(&path, &request.server).await?;
            let result = self.forward_in(&open, request).await;
            match &result {
                Err(CallError::Proxy(ProxyError::NoSession)) if attempt < ATTEMPTS_MAX => {
                    path.forget(&open).await;
                }
                // the two servers disagree about their session, or one of them is not honest
                Err(CallError::Proxy(ProxyError::NoSession | ProxyError::Protocol(_)))
                | Err(CallError::UnexpectedAnswer) => {
                    path.forget(&open).await;
                    return result;
                }
                Err(CallError::ProxyServer(error)) if matches!(**error, CallError::Connect(_)) => {
                    path.next_proxy(&open).await;
                    return result;
                }
                _ => return result,
            }
        }
    }

    async fn forward_in(&self, open: &Open, request: &Request) -> Result<BrokerMessage<'static>, CallError> {
        let id = request.correlation_id.unwrap_or_else(|| CorrelationId::generate(&mut system_rng()));
        let sealed = open
            .session
            .seal(id, request.key.as_ref(), &request.entity, &request.command, &mut system_rng())
            .map_err(|_| CallError::TooLarge)?;
        let forwarded = Request {
            server: open.proxy.clone(),
            correlation_id: Some(sealed.correlation_id),
            entity: open.session.session_id.clone(),
            key: None,
            command: sealed.command,
        };
        let places = self.router().places(&open.proxy);
        // never closed
        let _place = places.acquire_owned().await.ok();
        match self.call_directly(forwarded).await.map_err(CallError::by_proxy)? {
            BrokerMessage::Pres(answer) => match sealed.answer.open(&answer, &request.entity) {
                Ok(BrokerMessage::Err(error)) => Err(CallError::Refused(error)),
                Ok(message) => Ok(message),
                Err(error) => {
                    debug!(%error, "an answer through a proxy is of no use");
                    Err(CallError::UnexpectedAnswer)
                }
            },
            _ => Err(CallError::UnexpectedAnswer),
        }
    }

    /// The session with the server: the one that is there, or a new one, asked for once for all who wait.
    async fn open(&self, path: &Path, server: &ServerAddress) -> Result<Arc<Open>, CallError> {
        let mut state = path.state.lock().await;
        if let Some(open) = &state.open {
            return Ok(open.clone());
        }
        if let Some((moment, error)) = &state.failure
            && moment.elapsed() < FAILURE_MEMORY
        {
            return Err(error.clone());
        }
        let proxies = self.router().routing().proxies(server);
        let mut failure = CallError::NoProxy;
        for _ in 0..proxies.len() {
            let turn = state.turn.checked_rem(proxies.len()).and_then(|turn| proxies.get(turn));
            let Some(proxy) = turn else { break };
            match self.ask_for_session(proxy, server).await {
                Ok(open) => {
                    (state.failure, state.failed) = (None, 0);
                    return Ok(state.open.insert(Arc::new(open)).clone());
                }
                Err(error) => failure = error,
            }
            state.turn = state.turn.wrapping_add(1);
            state.failed = state.failed.saturating_add(1);
            if failure.is_temporary() {
                // the next attempt is another proxy's
                break;
            }
        }
        if state.failed >= proxies.len() {
            (state.failure, state.failed) = (Some((Instant::now(), failure.clone())), 0);
        }
        Err(failure)
    }

    async fn ask_for_session(
        &self,
        proxy: &ServerAddressWithAuth,
        server: &ServerAddress,
    ) -> Result<Open, CallError> {
        let request = Request {
            server: proxy.server.clone(),
            correlation_id: None,
            entity: Vec::new(),
            key: None,
            command: Command::Prxy { server: server.clone(), password: proxy.password.clone() },
        };
        match self.call_directly(request).await.map_err(CallError::by_proxy)? {
            BrokerMessage::Pkey { session_id, versions, certified_key } => {
                let offer = Offer { session_id: &session_id, versions, certified_key: &certified_key };
                let session = check_offer(server, offer).map_err(CallError::Offer)?;
                Ok(Open { proxy: proxy.server.clone(), session })
            }
            _ => Err(CallError::UnexpectedAnswer),
        }
    }
}

impl Path {
    /// Begins with any of the proxies, so that they share the load.
    fn new() -> Self {
        let turn = u16::from_be_bytes(random_bytes(&mut system_rng())).into();
        Self { state: tokio::sync::Mutex::new(PathState { open: None, failure: None, failed: 0, turn }) }
    }

    /// The session is gone.
    async fn forget(&self, gone: &Arc<Open>) {
        self.state.lock().await.open.take_if(|open| Arc::ptr_eq(open, gone));
    }

    /// The proxy is out of reach: the next command tries another.
    async fn next_proxy(&self, gone: &Arc<Open>) {
        let mut state = self.state.lock().await;
        if state.open.take_if(|open| Arc::ptr_eq(open, gone)).is_some() {
            state.turn = state.turn.wrapping_add(1);
        }
    }
}

impl CallError {
    /// An error of the proxy: what it refuses of its own, it says about itself.
    fn by_proxy(self) -> Self {
        match self {
            Self::Refused(ErrorType::Proxy(error)) => Self::Proxy(error),
            error => Self::ProxyServer(Box::new(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smp::ids::SenderId;

    fn server(number: u8, host: &str) -> ServerAddress {
        format!("smp://{}@{host}", crate::base64url::encode(&[number; 32])).parse().unwrap()
    }

    fn request(server: ServerAddress, command: Command<'static>) -> Request {
        let entity = SenderId([1; 24]).0.to_vec();
        Request { server, correlation_id: None, entity, key: None, command }
    }

    fn send(server: ServerAddress) -> Request {
        request(server, Command::Send { notify: false, body: Vec::new().into() })
    }

    fn routing(mode: ProxyMode) -> Routing {
        let servers = vec![server(1, "a.example").into(), server(2, "b.example").into()];
        Routing { mode, direct_fallback: false, servers }
    }

    #[test]
    fn the_mode_says_which_servers_are_reached_through_a_proxy() {
        let (own, moved, other) = (server(1, "a.example"), server(1, "c.example"), server(3, "a.example"));
        for (mode, proxied) in [
            (ProxyMode::Always, [true, true, true]),
            (ProxyMode::Unknown, [false, false, true]),
            (ProxyMode::Never, [false, false, false]),
        ] {
            let is = |server: &ServerAddress| routing(mode).is_proxied(&send(server.clone()));
            assert_eq!([is(&own), is(&moved), is(&other)], proxied, "{mode}");
            assert!(
                !routing(mode).is_proxied(&request(other.clone(), Command::Sub)),
                "recipients go directly"
            );
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
        assert!("sometimes".parse::<ProxyMode>().is_err());
    }

    #[test]
    fn no_server_forwards_to_itself() {
        let proxies = |to| -> Vec<ServerAddress> {
            routing(ProxyMode::Always).proxies(&to).into_iter().map(|known| known.server).collect()
        };
        assert_eq!(proxies(server(1, "x.example")), [server(2, "b.example")]);
        assert_eq!(proxies(server(3, "x.example")).len(), 2);
    }

    #[test]
    fn what_the_proxy_says_is_told_from_what_the_destination_says() {
        use crate::smp::error::{BrokerError, CommandError, NetworkError, TransportError};
        let of_proxy = |error: ErrorType| CallError::Refused(error).by_proxy();
        let broker = |error| ErrorType::Proxy(ProxyError::Broker(error));
        for (error, is_temporary) in [
            (of_proxy(broker(BrokerError::Network(NetworkError::Failed))), true),
            (of_proxy(broker(BrokerError::Timeout)), true),
            (of_proxy(ErrorType::Proxy(ProxyError::NoSession)), true),
            (of_proxy(ErrorType::Proxy(ProxyError::Protocol(Box::new(ErrorType::Crypto)))), true),
            (of_proxy(ErrorType::Internal), true),
            (of_proxy(broker(BrokerError::Host)), false),
            (of_proxy(broker(BrokerError::Transport(TransportError::Version))), false),
            (of_proxy(ErrorType::Proxy(ProxyError::BasicAuth)), false),
            (of_proxy(ErrorType::Command(CommandError::Unknown)), false),
            (CallError::NoProxy, false),
            (CallError::Disconnected.by_proxy(), true),
        ] {
            assert!(error.is_of_proxy(), "{error}");
            assert_eq!(error.is_temporary(), is_temporary, "{error}");
        }
        assert!(!CallError::Refused(ErrorType::Auth).is_of_proxy());
    }
}
