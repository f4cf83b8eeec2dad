//! One client, from its TLS handshake to its end.
//!
//! ```text
//! socket ─▶ TLS ─▶ hellos ─▶ reader ──contents──▶ session ──contents──▶ writer
//!                             (blocks opened)        │     (blocks sealed)
//!                                                    └─▶ a task per block: its commands, executed
//! ```
//!
//! Reader and writer are tasks of their own, so that a client that does not read is still read until its bounded
//! queues are full. All three end together.

mod backlog;
mod blocks;
mod channel;
mod execution;
mod forwarding;
mod keys;
mod output;
mod session;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use protocol::crypto::secretbox::BoxKey;
use protocol::net::certificate::certificate_key;
use protocol::net::rng::system_rng;
use protocol::net::tls::Secured;
use protocol::net::web_tls::{Arrival, WebTls};
use protocol::smp::error::CommandError;
use protocol::smp::message::{seal_message, seal_quota};
use protocol::smp::response::BrokerMessage;
use protocol::transport::certified_key::CertificateChain;
use protocol::transport::handshake::{
    AcceptedService, ServerConfig, ServerHandshake, ServerNext, Session, TlsClient,
};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsStream;

use crate::commands::CommandFailure;
use crate::limits::{Admission, Greeting};
use crate::peer::Peer;
use crate::server::Server;
use crate::services;
use crate::store::{DhSecret, StoredMessage};

pub(crate) use keys::SessionKeys;

/// Time for saying goodbye before a socket is closed (smp.md §3.7).
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest silence before keep-alive that systems take.
const KEEP_ALIVE_MAX: Duration = Duration::from_secs(32_767);

/// What commands need of their connection.
#[derive(Debug)]
pub struct Client {
    /// The server.
    pub server: Arc<Server>,
    /// The connection.
    pub peer: Arc<Peer>,
    /// The service that the client is, if it is one.
    pub service: Option<AcceptedService>,
    /// The keys of its session.
    pub(crate) keys: SessionKeys,
    /// Its place among all connections, and what it may take of the server.
    pub(crate) admission: Admission,
}

/// A browser that came to a port of clients, ready for its requests, and its place among all connections.
pub(crate) type Browser = (tokio_rustls::server::TlsStream<TcpStream>, Admission);

/// Serves a client until either side ends. With `shared`, browsers may come too: one is handed back.
///
/// # Errors
/// When there is no session: TLS or the hellos fail, or take too long.
pub(crate) async fn serve(
    server: Arc<Server>,
    peer: Arc<Peer>,
    socket: TcpStream,
    shared: Option<Arc<WebTls>>,
    admission: Admission,
    greeting: Greeting,
) -> anyhow::Result<Option<Browser>> {
    let mut stop = server.stopping();
    let (stream, session) = tokio::select! {
        // In a place of its own, given back when it is done: it needs far more than the session after it.
        greeted = Box::pin(greet(&server, &admission, socket, shared.as_deref())) => match greeted {
            Ok(Greeted::Client(stream, session)) => {
                server.metrics.handshakes_done.one();
                (stream, session)
            }
            Ok(Greeted::Browser(stream)) => return Ok(Some((*stream, admission))),
            Err(error) => {
                server.metrics.handshakes_failed.one();
                return Err(error);
            }
        },
        () = greeting.gives_way() => bail!("The handshake gave way to newer ones"),
        () = stop.requested() => return Ok(None),
    };
    drop(greeting);
    session::run(server, peer, admission, stream, session).await;
    Ok(None)
}

/// Serves a client over a stream that is secured already, from the hellos on. `session_id` stands for what TLS says of
/// itself.
///
/// # Errors
/// When there is no session.
pub(crate) async fn serve_secured(
    server: Arc<Server>,
    peer: Arc<Peer>,
    admission: Admission,
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    session_id: &[u8],
) -> anyhow::Result<()> {
    let presented = server.presented();
    let session =
        say_hello(&server, &admission, &presented.hello, &mut stream, session_id, Vec::new()).await?;
    session::run(server, peer, admission, stream, session).await;
    Ok(())
}

/// Who turned out to be there.
enum Greeted {
    Client(Box<TlsStream<TcpStream>>, Box<Session>),
    Browser(Box<tokio_rustls::server::TlsStream<TcpStream>>),
}

/// TLS and the hellos, each within its time limit.
async fn greet(
    server: &Server,
    admission: &Admission,
    socket: TcpStream,
    shared: Option<&WebTls>,
) -> anyhow::Result<Greeted> {
    let times = &server.settings.times;
    socket.set_nodelay(true).context("Unable to configure the socket")?;
    let silence = times.keep_alive.0.clamp(Duration::from_secs(1), KEEP_ALIVE_MAX);
    let keep_alive = TcpKeepalive::new().with_time(silence);
    SockRef::from(&socket).set_tcp_keepalive(&keep_alive).context("Unable to configure the socket")?;
    let presented = server.presented();
    let limit = times.tls_timeout.0;
    let secured = match shared {
        None => presented.tls.accept_within(socket, limit).await?,
        Some(web) => match web.accept_shared(&presented.tls, socket, limit).await? {
            Arrival::Client(secured) => secured,
            Arrival::Browser(stream) => return Ok(Greeted::Browser(Box::new(stream))),
        },
    };
    let Secured { stream, tls_unique, chain } = secured;
    let mut stream = Box::new(stream);
    let certificates = chain.iter().map(|certificate| certificate.to_vec()).collect();
    let hellos =
        say_hello(server, admission, &presented.hello, &mut stream, tls_unique.as_bytes(), certificates);
    match timeout(times.handshake_timeout.0, hellos).await.context("The hellos took too long").flatten() {
        Ok(session) => Ok(Greeted::Client(stream, session)),
        Err(error) => {
            goodbye(&mut stream).await;
            Err(error)
        }
    }
}

/// Both hellos, and the answer to a client that is a service.
async fn say_hello(
    server: &Server,
    admission: &Admission,
    config: &ServerConfig,
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    session_id: &[u8],
    certificates: Vec<Vec<u8>>,
) -> anyhow::Result<Box<Session>> {
    let (handshake, hello) = ServerHandshake::start(config, session_id, &mut system_rng())?;
    stream.write_all(&hello).await?;
    stream.flush().await?;
    let mut block =
        blocks::next_block(stream, &server.limits.memory, server.settings.times.handshake_timeout.0).await?;
    let chain = CertificateChain::new(certificates).ok();
    let leaf = chain.as_ref().and_then(|chain| certificate_key(chain.certificates().first()?).ok());
    let tls_client = chain.as_ref().zip(leaf).map(|(chain, leaf)| TlsClient { chain, leaf });
    let (session, response) = match handshake.receive_hello(&mut block, tls_client)? {
        ServerNext::Ready(session) => return Ok(session),
        ServerNext::Service(service) => match services::admit(server, admission, &service).await? {
            Some(id) => service.accept(id).map(|(session, response)| (Some(session), response))?,
            None => (None, service.refuse()?),
        },
        ServerNext::Refused { response } => (None, response),
    };
    stream.write_all(&response).await?;
    stream.flush().await?;
    session.context("The client is no service that can be accepted")
}

/// Ends TLS properly, within a bound: a peer that is gone must not hold the connection.
async fn goodbye(stream: &mut (impl AsyncWrite + Unpin)) {
    // Neither a failure nor a delay changes anything: the socket is closed in any case.
    let _ = timeout(CLOSE_TIMEOUT, stream.shutdown()).await;
}

impl Client {
    /// Whether this connection may use one more queue.
    ///
    /// # Errors
    /// `CMD PROHIBITED` when it may not.
    pub fn check_room_for_subscription(&self) -> Result<(), CommandFailure> {
        let most = self.server.settings.limits.connection_subscriptions;
        if u32::try_from(self.peer.queue_count()).is_ok_and(|count| count < most) {
            Ok(())
        } else {
            Err(CommandError::Prohibited.into())
        }
    }

    /// A stored message as its recipient gets it.
    #[must_use]
    pub fn message(&self, secret: &DhSecret, message: &StoredMessage) -> BrokerMessage<'static> {
        self.server.metrics.messages_delivered.one();
        let key: BoxKey = secret.box_key();
        let sealed = match &message.body {
            Some(body) => seal_message(&key, &message.id, message.received_at, message.notify, body),
            None => seal_quota(&key, &message.id, message.received_at),
        };
        let body = sealed.expect("bodies are bounded when they are sent");
        BrokerMessage::Msg { message_id: message.id, body: body.into() }
    }
}
