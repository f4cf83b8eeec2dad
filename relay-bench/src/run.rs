//! Posts, and what became of them.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use chat_relay::config::Limits;
use chat_relay::relay::{Notice, Relay};
use chat_relay::store::RelayStore as _;
use chat_relay::store::sql::SqlStore;
use protocol::agent::request::{OwnQueue, RequestOutcome, Work};
use protocol::agent::{Agent, Body};
use protocol::group::event::content::{Content, MessageNew};
use protocol::group::event::{Event, Message};
use protocol::group::msg_id::SharedMessageId;
use protocol::group::signed::sign;
use protocol::net::engine;
use protocol::net::network::{self, Network, NetworkEvent, NetworkEvents, Subscription};
use protocol::net::rng::system_rng;
use protocol::smp::ids::MessageId;
use protocol::smp::key::AuthPrivateKey;
use protocol::smp::response::BrokerMessage;
use protocol::timestamp::Timestamp;
use serde_json::json;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;

use crate::seed::{self, Owner, Seeded};
use crate::server::Server;
use crate::{ciphers, usage};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(600);
/// How often the relay's database is asked whether all members' servers have a message.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Threads of the relay's sessions, as in `chat-relay start`.
const WORKER_THREADS: usize = 2;

/// What is measured.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) members: u32,
    pub(crate) posts: u32,
    pub(crate) burst: u32,
    pub(crate) text_bytes: usize,
}

/// Everything that takes part.
struct Bench<'a> {
    plan: &'a Plan,
    server: &'a Server,
    network: &'a Network,
    events: &'a mut NetworkEvents,
    /// The queue of the member who is served first.
    first: OwnQueue,
    /// The relay's database, beside the relay.
    watched: SqlStore,
    database: &'a Path,
    json: bool,
}

/// Measures and prints.
pub(crate) fn run(program: &Path, plan: &Plan, json: bool) -> anyhow::Result<()> {
    let directory = tempfile::TempDir::new().context("Unable to make a directory for the relay")?;
    let database = directory.path().join("relay.sqlite");
    let server = Server::start(program)?;
    let own = runtime("bench")?;
    let (network, mut events) = Network::new(network::Limits::BACKGROUND, own.handle().clone());
    let mut store = SqlStore::open(&database)?;
    let identity = seed::relay(&mut store, &server.address)?;
    let started = Instant::now();
    let Seeded { mut owner, first } =
        own.block_on(seed::group(&network, &mut store, &server.address, plan.members))?;
    say(
        json,
        &json!({
            "phase": "seed", "members": plan.members, "seconds": round(started.elapsed().as_secs_f64()),
            "database_mib": mib(&database), "relay_process_mib": round(usage::peak_mib()),
        }),
    );

    let relay_runtime = runtime(usage::RELAY_RUNTIME)?;
    let (notify, mut notices) = mpsc::unbounded_channel();
    let relay = Relay::new(store, identity, Limits::default(), notify);
    let handle = engine::start(relay, network::Limits::BACKGROUND, relay_runtime.handle())?;
    let ready: Option<Notice> =
        own.block_on(async { tokio::time::timeout(PATIENCE, notices.recv()).await })?;
    ready.context("The relay stopped")?;

    let watched = SqlStore::open(&database)?;
    let mut bench = Bench {
        plan,
        server: &server,
        network: &network,
        events: &mut events,
        first,
        watched,
        database: &database,
        json,
    };
    own.block_on(async {
        bench.listen();
        for number in 1..=plan.posts {
            bench.post(&mut owner, &format!("post {number}"), 1).await?;
        }
        bench.post(&mut owner, "burst", plan.burst).await
    })?;
    let ciphers = ciphers::micros_per_copy()?;
    say(json, &json!({ "phase": "ciphers", "us_per_copy": round(ciphers) }));
    own.block_on(handle.stop()).context("The relay stopped")
}

impl Bench<'_> {
    /// Posts so many messages at once, and waits until all members' servers have them.
    async fn post(&mut self, owner: &mut Owner, name: &str, messages: u32) -> anyhow::Result<()> {
        let before = (usage::relay_seconds(), usage::process_seconds(self.server.pid()));
        let mib_before = mib(self.database);
        let started = Instant::now();
        for _ in 0..messages {
            self.send(owner).await?;
        }
        let (first, message) = self.first_copy(started).await?;
        let deadline = started + PATIENCE;
        while self.watched.members_behind()? > 0 {
            if Instant::now() > deadline {
                bail!("The members do not have it after {} s", PATIENCE.as_secs());
            }
            // The database of another thread can only be looked at again.
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let seconds = started.elapsed().as_secs_f64();
        let after = (usage::relay_seconds(), usage::process_seconds(self.server.pid()));
        let pairs = f64::from(self.plan.members) * f64::from(messages);
        let mut threads = serde_json::Map::new();
        let mut cpu = 0.0;
        for ((name, before), (_, after)) in before.0.iter().zip(&after.0) {
            cpu += after - before;
            threads.insert((*name).to_owned(), json!(round((after - before) * 1e6 / pairs)));
        }
        self.read_all(message).await?;
        let ciphers = ciphers::micros_per_copy()?;
        say(
            self.json,
            &json!({
                "phase": name, "members": self.plan.members, "messages": messages,
                "first_copy_ms": round(first.as_secs_f64() * 1e3),
                "last_answer_s": round(seconds),
                "copies_per_s": round(pairs / seconds),
                "relay_cpu_us_per_message_and_member": round(cpu * 1e6 / pairs),
                "of_which": threads,
                "ratio_to_ciphers": round(cpu * 1e6 / pairs / ciphers),
                "server_cpu_us_per_message_and_member": round((after.1 - before.1) * 1e6 / pairs),
                "database_growth_bytes_per_member": round((mib(self.database) - mib_before) * 1048576.0 / f64::from(self.plan.members)),
                "peak_mib": round(usage::peak_mib()),
            }),
        );
        Ok(())
    }

    /// The owner sends a post to the relay.
    async fn send(&self, owner: &mut Owner) -> anyhow::Result<()> {
        let text = "x".repeat(self.plan.text_bytes);
        let event = Event::MessageNew(Box::new(MessageNew::new(Content::text(&text))));
        let id = SharedMessageId::generate(&mut system_rng());
        let said = sign(&owner.key, &owner.group, &owner.id, &Message::new(Some(id), event).to_json());
        let mut rng = system_rng();
        let mut agent = Agent::new(&mut owner.store, &mut rng, Timestamp(0));
        agent.send(owner.connection, Body::Inline(&said), false)?;
        let Work::Run(job, request) = agent.job(owner.connection)? else {
            bail!("The owner has nothing to send");
        };
        let answer = self.network.call(*request).await?;
        agent.job_done(owner.connection, job, RequestOutcome::Answer(answer))?;
        Ok(())
    }

    /// Waits until the first member has something.
    async fn first_copy(&mut self, started: Instant) -> anyhow::Result<(Duration, MessageId)> {
        loop {
            let event = tokio::time::timeout(PATIENCE, self.events.next()).await?;
            if let NetworkEvent::Message { message_id, .. } = event.context("The network is gone")? {
                return Ok((started.elapsed(), message_id));
            }
        }
    }

    fn listen(&self) {
        let OwnQueue { server, recipient_id, key } = self.first.clone();
        let subscription = Subscription { queue: recipient_id, key: AuthPrivateKey::Ed25519(key) };
        self.network.subscribe(&server, vec![subscription]);
    }

    /// The first member acknowledges what it was sent.
    async fn read_all(&self, message: MessageId) -> anyhow::Result<()> {
        let mut next = Some(message);
        while let Some(message) = next {
            next = match self.network.call(self.first.acknowledge(message)).await? {
                BrokerMessage::Msg { message_id, .. } => Some(message_id),
                _ => None,
            };
        }
        Ok(())
    }
}

fn runtime(name: &str) -> anyhow::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .thread_name(name)
        .enable_all()
        .build()
        .context("Unable to start a runtime")
}

/// Bytes of the database and its log, MiB.
fn mib(database: &Path) -> f64 {
    let log = database.with_extension("sqlite-wal");
    let bytes = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let all = u32::try_from((bytes(database) + bytes(&log)) / 1024).unwrap_or(u32::MAX);
    f64::from(all) / 1024.0
}

fn round(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

fn say(json: bool, line: &serde_json::Value) {
    if json {
        println!("{line}");
        return;
    }
    let fields = line.as_object().into_iter().flatten();
    let words: Vec<_> = fields.map(|(name, value)| format!("{name} {value}")).collect();
    println!("{}", words.join("  "));
}
