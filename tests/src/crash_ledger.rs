//! A queue server that is killed under load, again and again, and a [`ledger`](crate::ledger) that says whether it
//! kept its word.
//!
//! ```text
//! senders ──SEND SEND SEND…──▶ server ◀──ACK… MSG──  recipients      killed after so many answers,
//!     └──────────────▶ a book for each queue ◀───────────┘           started again on the same directory
//! ```
//!
//! Connections have many commands on the way at once. After the last kill the queues are drained, and every book is
//! closed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, bail, ensure};
use protocol::crypto::dh::X25519PrivateKey;
use protocol::crypto::secretbox::BoxKey;
use protocol::net::rng::system_rng;
use protocol::smp::address::ServerAddressWithAuth;
use protocol::smp::command::{self, NewQueue, QueueRequest};
use protocol::smp::ids::MessageId;
use protocol::smp::key::AuthPrivateKey;
use protocol::smp::message::ReceivedMessage;
use protocol::smp::response::{BrokerMessage, QueueIds};
use rand_core::Rng as _;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::ledger::QueueBook;
use crate::process::Process;
use crate::session::{Received, Session};

/// Queues that are drained at a time.
const DRAINED_AT_ONCE: usize = 64;
/// Commands that a sender has on the way.
const WINDOW: usize = 64;
/// Messages that wait in all queues together before senders hold back: recipients are slower, and what is left at the
/// end has to be drained.
const WAITING_MAX: usize = 4000;
/// And in each, however many there are.
const WAITING_MIN: u32 = 4;
/// Commands in one block: as many as fit with the smallest bodies.
const BATCH: usize = 8;
/// The server is killed after at most so many answers to senders and recipients together.
const ANSWERS_MAX: u32 = 1500;
/// A small and a large body, so that blocks hold many messages or one.
const BODY_BYTES: [usize; 2] = [300, 15_000];

/// The server that is killed.
#[derive(Debug, Clone)]
pub struct Subject {
    /// Its program.
    pub program: PathBuf,
    /// Connection string of the PostgreSQL that keeps its queues; they are in its directory otherwise.
    pub postgres: Option<String>,
}

impl Subject {
    fn command(&self, directory: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--directory").arg(directory);
        if let Some(postgres) = &self.postgres {
            command.env("SMP_SERVER_STORE", "postgres").env("SMP_SERVER_POSTGRES", postgres);
        }
        command
    }

    fn initialise(&self, directory: &Path) -> anyhow::Result<()> {
        let mut command = self.command(directory);
        command.args(["init", "--host", "127.0.0.1", "--bind", "127.0.0.1", "--port", "0"]);
        // Small segments, so that many begin and end.
        command.args(["--segment-mib", "1", "--queue-quota", "1000000"]);
        let output = command.output().context("Unable to run the server's init")?;
        ensure!(output.status.success(), "init failed: {output:?}");
        Ok(())
    }

    fn check(&self, directory: &Path) -> anyhow::Result<()> {
        let checked = self.command(directory).arg("check").output()?;
        ensure!(checked.status.success(), "the directory is not sound: {checked:?}");
        Ok(())
    }
}

/// How much load there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Queues, each with a book.
    pub queues: usize,
    /// Connections that send; each has its share of the queues.
    pub senders: usize,
    /// Connections that receive and acknowledge.
    pub recipients: usize,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { queues: 24, senders: 4, recipients: 2 }
    }
}

/// What was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// How often the server was killed.
    pub kills: u32,
    /// Messages answered `OK`.
    pub confirmed: u64,
    /// Acknowledgements that were answered.
    pub acknowledged: u64,
}

/// A queue and its book.
struct Queue {
    key: AuthPrivateKey,
    ids: QueueIds,
    secret: BoxKey,
    book: Mutex<QueueBook>,
}

impl Queue {
    fn book(&self) -> MutexGuard<'_, QueueBook> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What connections share.
struct Load {
    sizes: Sizes,
    queues: Vec<Queue>,
    tally: Mutex<Tally>,
    /// Answers in the present life of the server.
    answers: watch::Sender<u32>,
}

/// A running server.
struct Server {
    process: Process,
    address: std::net::SocketAddr,
    key_hash: [u8; 32],
}

/// Kills a server so many times under load, and checks what it kept. `said` hears how far it is.
///
/// # Errors
/// When the server lost, repeated or mixed up a message, or does not come back.
pub fn run(
    subject: &Subject,
    kills: u32,
    sizes: Sizes,
    mut said: impl FnMut(&Tally),
) -> anyhow::Result<Tally> {
    let place = tempfile::tempdir()?;
    let directory = place.path().join("server");
    subject.initialise(&directory)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut server = Server::start(subject, &directory)?;
    let load = Arc::new(runtime.block_on(Load::create(&server, sizes))?);
    for _ in 0..kills {
        let answers = 1 + system_rng().next_u32() % ANSWERS_MAX;
        runtime.block_on(load.clone().until_killed(&mut server, answers))?;
        load.tally().kills += 1;
        said(&load.tally());
        server = Server::start(subject, &directory)?;
    }
    runtime.block_on(load.clone().drain(&server))?;
    server.process.stop()?;
    if subject.postgres.is_none() {
        subject.check(&directory)?;
    }
    let tally = *load.tally();
    Ok(tally)
}

impl Server {
    fn start(subject: &Subject, directory: &Path) -> anyhow::Result<Self> {
        let mut command = subject.command(directory);
        command.args(["--json", "start"]);
        let mut process = Process::spawn("smp-server", &mut command)?;
        let line: Value = process.wait_for("listening line", |line| serde_json::from_str(line).ok())?;
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let address: ServerAddressWithAuth = text(line.get("address")).context("No address")?.parse()?;
        let socket = line.get("sockets").and_then(|sockets| sockets.get(0));
        Ok(Self {
            process,
            address: text(socket).context("No socket")?.parse()?,
            key_hash: address.server.key_hash().sha256().context("The address has a SHA-256 fingerprint")?,
        })
    }

    async fn connect(&self) -> anyhow::Result<Session> {
        Session::connect(self.address, self.key_hash).await
    }
}

impl Load {
    async fn create(server: &Server, sizes: Sizes) -> anyhow::Result<Self> {
        let mut session = server.connect().await?;
        let mut queues = Vec::new();
        for _ in 0..sizes.queues {
            let key = AuthPrivateKey::generate_ed25519(&mut system_rng());
            let dh_key = X25519PrivateKey::generate(&mut system_rng());
            let new = NewQueue {
                recipient_key: key.public_key(),
                dh_key: dh_key.public_key(),
                password: None,
                subscribe: false,
                request: Some(QueueRequest::Messaging(None)),
                notifier: None,
            };
            let command = command::Command::New(Box::new(new));
            session.send(&[session.transmission(Some(&key), b"new", b"", &command)]).await?;
            let received = session.receive().await?;
            let BrokerMessage::Ids(ids) = received.message else { bail!("{received:?} instead of ids") };
            let secret = dh_key.box_key(&ids.server_dh_key);
            queues.push(Queue { key, ids, secret, book: Mutex::default() });
        }
        Ok(Self { sizes, queues, tally: Mutex::default(), answers: watch::Sender::new(0) })
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The queues of one of several connections.
    fn share(&self, which: usize, of: usize) -> impl Iterator<Item = &Queue> + Clone {
        self.queues.iter().skip(which).step_by(of)
    }

    /// Sends and receives until the server has given so many answers, then kills it.
    async fn until_killed(self: Arc<Self>, server: &mut Server, answers: u32) -> anyhow::Result<()> {
        self.answers.send_replace(0);
        self.begin_sessions();
        // All are there before any begins: on a slow machine the first would have sent for long otherwise.
        let (mut receiving, mut sending) = (Vec::new(), Vec::new());
        for _ in 0..self.sizes.recipients {
            receiving.push(server.connect().await?);
        }
        for _ in 0..self.sizes.senders {
            sending.push(server.connect().await?);
        }
        let mut connections: JoinSet<anyhow::Result<()>> = JoinSet::new();
        for (which, session) in receiving.into_iter().enumerate() {
            let load = self.clone();
            connections.spawn(async move { load.receive_all(session, which).await });
        }
        for (which, session) in sending.into_iter().enumerate() {
            let load = self.clone();
            connections.spawn(async move { load.send_all(session, which).await });
        }
        let mut heard = self.answers.subscribe();
        tokio::select! {
            heard = heard.wait_for(|heard| *heard >= answers) => drop(heard?),
            // A connection ends before the server is killed: that is a fault.
            Some(ended) = connections.join_next() => bail!("a connection ended: {:?}", ended?),
        }
        server.process.kill()?;
        while let Some(ended) = connections.join_next().await {
            ended??;
        }
        Ok(())
    }

    fn begin_sessions(&self) {
        for queue in &self.queues {
            queue.book().begin_session();
        }
    }

    /// Takes what is left, and closes the books.
    async fn drain(self: Arc<Self>, server: &Server) -> anyhow::Result<()> {
        self.begin_sessions();
        let mut tasks: JoinSet<anyhow::Result<()>> = JoinSet::new();
        for number in 0..self.queues.len() {
            if number >= DRAINED_AT_ONCE
                && let Some(done) = tasks.join_next().await
            {
                done??;
            }
            let (load, session) = (self.clone(), server.connect().await?);
            tasks.spawn(async move {
                let queue = load.queues.get(number).context("There is no such queue")?;
                load.drain_queue(session, queue, number).await.with_context(|| format!("queue {number}"))
            });
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        Ok(())
    }

    /// Takes what is left in one queue, and closes its book.
    async fn drain_queue(&self, mut session: Session, queue: &Queue, number: usize) -> anyhow::Result<()> {
        subscribe(&mut session, queue, number).await?;
        // What waits comes in the block of the response or right after it; the answer to `PING` after that.
        let ping = session.transmission(None, b"ping", b"", &command::Command::Ping);
        session.send(&[ping]).await?;
        let mut waits = None;
        loop {
            match session.receive().await? {
                Received { message: BrokerMessage::Msg { message_id, body }, .. } => {
                    waits = Some((message_id, body));
                }
                Received { message: BrokerMessage::Pong, .. } => break,
                Received { message: BrokerMessage::Sok(_), .. } => {}
                other => bail!("{other:?} while draining"),
            }
        }
        while let Some((id, body)) = waits.take() {
            let acknowledged = self.delivered(queue, &id, &body)?;
            send_acknowledgement(&mut session, queue, number, &id, acknowledged).await?;
            let answer = session.receive().await?;
            self.acknowledged(queue, acknowledged);
            match answer.message {
                BrokerMessage::Ok => {}
                BrokerMessage::Msg { message_id, body } => waits = Some((message_id, body)),
                other => bail!("{other:?} to an acknowledgement"),
            }
        }
        queue.book().close()
    }

    /// Sends as fast as answers come, until the server is gone.
    async fn send_all(&self, mut session: Session, which: usize) -> anyhow::Result<()> {
        let each = u32::try_from(WAITING_MAX / self.queues.len().max(1))?.max(WAITING_MIN);
        let mut waiting: BTreeMap<Vec<u8>, (&Queue, u32)> = BTreeMap::new();
        let mut turn = 0_usize;
        loop {
            while waiting.len() < WINDOW {
                let length = BODY_BYTES.get(turn % BODY_BYTES.len()).copied().unwrap_or_default();
                let count = if length > 1000 { 1 } else { BATCH };
                let mut block = Vec::new();
                let queues = self.share(which, self.sizes.senders).cycle().skip(turn).take(count);
                for queue in queues.filter(|queue| queue.book().outstanding() < each) {
                    let number = queue.book().attempt();
                    let mut body = number.to_be_bytes().to_vec();
                    body.resize(length, 7);
                    let correlation_id =
                        [queue.ids.sender_id.as_bytes().as_slice(), &number.to_be_bytes()].concat();
                    let send = command::Command::Send { notify: false, body: body.into() };
                    block.push(session.transmission(
                        None,
                        &correlation_id,
                        queue.ids.sender_id.as_bytes(),
                        &send,
                    ));
                    waiting.insert(correlation_id, (queue, number));
                }
                turn = turn.wrapping_add(1);
                if block.is_empty() {
                    break;
                }
                if session.send(&block).await.is_err() {
                    return Ok(());
                }
            }
            if waiting.is_empty() {
                // The queues are full. The next look at them comes after a while, or never when the server is gone.
                let ping = session.transmission(None, b"ping", b"", &command::Command::Ping);
                if session.send(&[ping]).await.is_err() || session.receive().await.is_err() {
                    return Ok(());
                }
                continue;
            }
            let Ok(received) = session.receive().await else { return Ok(()) };
            let (queue, number) = waiting.remove(&received.correlation_id).context("An answer to nothing")?;
            ensure!(received.message == BrokerMessage::Ok, "{:?} to a message", received.message);
            queue.book().confirm(number);
            self.tally().confirmed += 1;
            self.answers.send_modify(|answers| *answers = answers.saturating_add(1));
        }
    }

    /// Subscribes to its queues and acknowledges what comes, until the server is gone.
    async fn receive_all(&self, mut session: Session, which: usize) -> anyhow::Result<()> {
        let queues: Vec<&Queue> = self.share(which, self.sizes.recipients).collect();
        for (number, queue) in queues.iter().enumerate() {
            if subscribe(&mut session, queue, number).await.is_err() {
                return Ok(());
            }
        }
        loop {
            let Ok(received) = session.receive().await else { return Ok(()) };
            let entity_id = received.entity_id.as_slice();
            let found =
                queues.iter().enumerate().find(|(_, queue)| entity_id == queue.ids.recipient_id.as_bytes());
            let (number, queue) = found.context("An answer about no queue")?;
            if let Some(acknowledged) = acknowledged_by(&received) {
                self.acknowledged(queue, acknowledged);
            }
            match &received.message {
                BrokerMessage::Msg { message_id, body } => {
                    let delivered =
                        self.delivered(queue, message_id, body).with_context(|| format!("queue {number}"))?;
                    if send_acknowledgement(&mut session, queue, number, message_id, delivered).await.is_err()
                    {
                        return Ok(());
                    }
                }
                BrokerMessage::Ok | BrokerMessage::Sok(_) => {}
                other => bail!("{other:?} to a recipient"),
            }
        }
    }

    /// A message came: its number, about to be acknowledged.
    fn delivered(&self, queue: &Queue, id: &MessageId, body: &[u8]) -> anyhow::Result<u32> {
        let ReceivedMessage::Message { body, .. } = ReceivedMessage::open(&queue.secret, id, body)? else {
            bail!("a marker of a full queue that has no bound");
        };
        let (number, rest) = body.split_first_chunk().context("A body without a number")?;
        ensure!(rest.iter().all(|byte| *byte == 7), "a body is not as it was sent");
        let number = u32::from_be_bytes(*number);
        let mut book = queue.book();
        book.deliver(number)?;
        book.acknowledge(number);
        Ok(number)
    }

    fn acknowledged(&self, queue: &Queue, number: u32) {
        queue.book().acknowledged(number);
        self.tally().acknowledged += 1;
        self.answers.send_modify(|answers| *answers = answers.saturating_add(1));
    }
}

const ACKNOWLEDGEMENT: &[u8] = b"ack ";

async fn subscribe(session: &mut Session, queue: &Queue, number: usize) -> anyhow::Result<()> {
    let correlation_id = format!("sub {number}");
    let recipient_id = queue.ids.recipient_id.as_bytes();
    let transmission = session.transmission(
        Some(&queue.key),
        correlation_id.as_bytes(),
        recipient_id,
        &command::Command::Sub,
    );
    session.send(&[transmission]).await
}

/// Its correlation id holds the number of the message, and that of the queue.
async fn send_acknowledgement(
    session: &mut Session,
    queue: &Queue,
    number: usize,
    id: &MessageId,
    message: u32,
) -> anyhow::Result<()> {
    let correlation_id = [ACKNOWLEDGEMENT, &message.to_be_bytes(), &number.to_be_bytes()].concat();
    let ack = command::Command::Ack { message_id: id.as_bytes().to_vec().into() };
    let recipient_id = queue.ids.recipient_id.as_bytes();
    let transmission = session.transmission(Some(&queue.key), &correlation_id, recipient_id, &ack);
    session.send(&[transmission]).await
}

/// Which message's acknowledgement this answers.
fn acknowledged_by(received: &Received) -> Option<u32> {
    let rest = received.correlation_id.strip_prefix(ACKNOWLEDGEMENT)?;
    rest.first_chunk().map(|number| u32::from_be_bytes(*number))
}
