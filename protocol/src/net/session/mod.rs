//! One session with a server: hellos, block encryption, batches, correlation, time limits (smp.md §4, §5, §17.2).
//!
//! ```text
//! owner ──Outgoing──▶ write ──blocks──▶ server ──blocks──▶ read ──▶ owner.answered / owner.told
//!                        └── pending commands, by correlation id ──┘
//! ```
//!
//! Reading and writing go on at the same time in one task: a server that is slow to read may itself wait for us.

mod pending;
mod reader;
mod writer;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio_rustls::TlsStream;

use super::certificate::certificate_key;
use super::dial::Dialer;
use super::error::{CallError, ConnectError};
use super::network::Limits;
use super::rng::system_rng;
use super::service::{ServiceIdentity, ServiceSigner};
use super::tls::{ClientTls, Secured};
use super::verify::ChainError;
use crate::agent::request::Request;
use crate::smp::address::ServerAddress;
use crate::smp::ids::ServiceId;
use crate::smp::response::BrokerMessage;
use crate::transport::block::BLOCK_BYTES;
use crate::transport::certified_key::CertifiedKey;
use crate::transport::handshake::{self, ClientConfig, ClientHandshake, ClientNext};
use crate::transport::hello::ServiceRole;
use crate::version::VersionRange;
use pending::Pending;

/// Most commands that wait for their answers at once; more wait to be sent. A page of subscriptions (agent.md §6.7).
const OUTSTANDING_MAX: usize = 1350;

/// A command on its way, and the owner's note of what it is for.
#[derive(Debug)]
pub(super) struct Outgoing<T> {
    pub(super) request: Box<Request>,
    pub(super) tag: T,
}

/// Whoever has the session and wants to hear what the server says.
pub(super) trait Owner: Sync {
    /// A note that comes back with the answer.
    type Tag: Send;

    /// A command has its answer, or never will. Called exactly once for each command; must not block.
    fn answered(&self, tag: Self::Tag, result: Result<BrokerMessage<'static>, CallError>);

    /// The server says something of its own accord. Reading stops until this is taken.
    fn told(&self, entity_id: &[u8], message: BrokerMessage<'_>) -> impl Future<Output = ()> + Send;

    /// Whether the session has a purpose even in silence.
    fn is_subscribed(&self) -> bool;

    /// How long a session without subscriptions and commands is kept.
    fn idle_after(&self) -> Duration {
        writer::IDLE_AFTER
    }
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SessionEnd {
    /// The connection broke, or the server does not follow the protocol.
    Lost,
    /// Nobody needed it for a while.
    Idle,
    /// The owner closed it.
    Closed,
}

/// How a session is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Opening<'a> {
    pub(super) dialer: &'a Dialer,
    pub(super) versions: VersionRange,
    /// Whether commands of others are forwarded in it.
    pub(super) is_proxy: bool,
    /// As whom the client presents itself, if it is a service (smp.md §13).
    pub(super) service: Option<&'a ServiceIdentity>,
}

/// A session after both hellos.
#[derive(Debug)]
pub(super) struct Session {
    stream: TlsStream<TcpStream>,
    pub(super) session: Box<handshake::Session>,
    /// The versions that the server offered.
    pub(super) server_versions: VersionRange,
    /// The server's certificates and session key.
    pub(super) server_key: CertifiedKey,
    /// What signs for the service that the server accepted.
    signer: Option<ServiceSigner>,
}

/// What both sides have said.
pub(super) struct Greeting<IO> {
    pub(super) stream: TlsStream<IO>,
    pub(super) session: Box<handshake::Session>,
    pub(super) server_versions: VersionRange,
    pub(super) server_key: CertifiedKey,
}

/// Both hellos, and a service's answer.
pub(super) async fn greet<IO: AsyncRead + AsyncWrite + Unpin>(
    secured: Secured<IO>,
    config: ClientConfig,
) -> Result<Greeting<IO>, ConnectError> {
    let Secured { mut stream, tls_unique, chain } = secured;
    let leaf = chain.first().ok_or(ConnectError::Certificates(ChainError::Shape(0)))?;
    let leaf = certificate_key(leaf).map_err(ConnectError::Certificates)?;
    let handshake = ClientHandshake::new(config, tls_unique.as_bytes(), leaf);
    let mut block = Box::new([0; BLOCK_BYTES]);
    stream.read_exact(block.as_mut_slice()).await.map_err(closed)?;
    let reply = handshake.receive_hello(&mut block, &mut system_rng())?;
    stream.write_all(&reply.hello).await.map_err(closed)?;
    stream.flush().await.map_err(closed)?;
    let session = match reply.next {
        ClientNext::Ready(session) => session,
        ClientNext::AwaitService(awaiting) => {
            stream.read_exact(block.as_mut_slice()).await.map_err(closed)?;
            awaiting.receive_response(&mut block)?
        }
    };
    let handshake::ClientReply { server_versions, server_key, .. } = reply;
    Ok(Greeting { stream, session, server_versions, server_key })
}

fn closed(error: std::io::Error) -> ConnectError {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => ConnectError::Closed,
        _ => ConnectError::Unreachable(Arc::new(error)),
    }
}

impl Session {
    /// Connects and says hello. The caller bounds the time.
    pub(super) async fn open(server: &ServerAddress, opening: Opening<'_>) -> Result<Self, ConnectError> {
        let key_hash = server.key_hash().sha256().ok_or(ConnectError::NoFingerprint)?;
        let own = opening.service.map_or_else(ClientTls::default, ServiceIdentity::client_tls);
        let secured = opening.dialer.dial(server, own).await?;
        let service = opening.service.map(|identity| identity.client_service(ServiceRole::Messaging));
        let session_key = service.as_ref().map(|service| service.session_key.clone());
        let config =
            ClientConfig { versions: opening.versions, key_hash, is_proxy: opening.is_proxy, service };
        let Greeting { stream, session, server_versions, server_key } = greet(secured, config).await?;
        let signer = session_key.and_then(|key| ServiceSigner::new(&session, key));
        Ok(Self { stream, session, server_versions, server_key, signer })
    }

    /// The service that the server accepted.
    pub(super) fn service(&self) -> Option<ServiceId> {
        self.signer.as_ref().map(|signer| signer.service.service_id)
    }

    /// Carries commands and answers until the session ends. Every command that was taken from `outgoing`, or still
    /// waits there, has then been answered.
    pub(super) async fn run<O: Owner>(
        self,
        owner: &O,
        outgoing: &mut mpsc::Receiver<Outgoing<O::Tag>>,
        limits: Limits,
    ) -> SessionEnd {
        let handshake::Session { version, session_id, cipher, peer_key, .. } = *self.session;
        let (read_half, write_half) = tokio::io::split(self.stream);
        let shared = Shared {
            owner,
            version,
            pending: Mutex::new(Pending::new()),
            silence: Mutex::new(Silence { heard: Instant::now(), timeouts: 0 }),
            room: Notify::new(),
        };
        let end = {
            let reading = reader::read(&shared, read_half, cipher.receive);
            let authority = writer::Authority { session_id, server_key: peer_key, service: self.signer };
            let writing = writer::Writer::new(&shared, write_half, cipher.send, authority, limits);
            tokio::select! {
                end = reading => end,
                end = writing.write(outgoing) => end,
            }
        };
        for waiting in shared.pending().drain() {
            owner.answered(waiting.tag, Err(CallError::Disconnected));
        }
        outgoing.close();
        while let Some(unsent) = outgoing.recv().await {
            owner.answered(unsent.tag, Err(CallError::Disconnected));
        }
        end
    }
}

type ReadStream = ReadHalf<TlsStream<TcpStream>>;
type WriteStream = WriteHalf<TlsStream<TcpStream>>;

/// What reading and writing have in common.
struct Shared<'a, O: Owner> {
    owner: &'a O,
    version: u16,
    pending: Mutex<Pending<Waiting<O::Tag>>>,
    silence: Mutex<Silence>,
    /// Told when an answer makes room for further commands.
    room: Notify,
}

/// A command that was sent.
#[derive(Debug)]
struct Waiting<T> {
    tag: T,
    entity_id: Vec<u8>,
}

/// What tells a dead connection.
#[derive(Debug, Clone, Copy)]
struct Silence {
    /// When the server was heard last.
    heard: Instant,
    /// Commands without an answer since.
    timeouts: u32,
}

impl<O: Owner> Shared<'_, O> {
    fn pending(&self) -> MutexGuard<'_, Pending<Waiting<O::Tag>>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn silence(&self) -> MutexGuard<'_, Silence> {
        self.silence.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
