//! Who takes part in a phase: a server, relays, and those who post and listen.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use chat_relay::config::Limits;
use chat_relay::identity::RelayIdentity;
use chat_relay::metrics::Metrics;
use chat_relay::relay::{Command, Relay};
use chat_relay::store::RelayStore as _;
use chat_relay::store::sql::SqlStore;
use protocol::agent::request::{OwnQueue, RequestOutcome, Work};
use protocol::agent::{Agent, Body, Lane};
use protocol::group::event::content::{Content, MessageNew};
use protocol::group::event::{Event, Message};
use protocol::group::msg_id::SharedMessageId;
use protocol::group::signed::sign;
use protocol::net::engine::{self, EngineHandle};
use protocol::net::network::{
    self, Network, NetworkEvent, NetworkEvents, NetworkSettings, Subscription, Ticket,
};
use protocol::net::rng::system_rng;
use protocol::smp::address::ServerAddressWithAuth;
use protocol::smp::ids::{MessageId, RecipientId};
use protocol::smp::key::AuthPrivateKey;
use protocol::smp::response::BrokerMessage;
use protocol::timestamp::Timestamp;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;

use crate::database::{Database, Engine};
use crate::phases::Plan;
use crate::seed::{self, Owner};
use crate::server::Server;
use crate::usage::{self, RelayThreads};

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(900);
/// How often what another thread or process does is looked at.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Threads of a relay's sessions, as in `chat-relay start`; and of the measuring side.
const WORKER_THREADS: usize = 2;

/// A server, and the measuring side's connections with it.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) network: Network,
    pub(crate) events: NetworkEvents,
    pub(crate) own: Runtime,
    /// What first members have and nobody has asked for yet.
    heard: BTreeMap<RecipientId, (Instant, MessageId)>,
    directory: TempDir,
    store: Engine,
}

/// A relay and what outlives it.
pub(crate) struct RelayHost {
    pub(crate) identity: RelayIdentity,
    database: Database,
    /// Its database, beside the relay.
    pub(crate) store: SqlStore,
    running: Option<Running>,
}

struct Running {
    threads: RelayThreads,
    metrics: Arc<Metrics>,
    handle: EngineHandle<Command>,
    runtime: Runtime,
    /// Its number among workers, where there may be several.
    worker: Option<i64>,
}

/// A group as the measuring side knows it.
pub(crate) struct Group {
    pub(crate) owner: Owner,
    /// The queue of the member who is served first.
    pub(crate) first: OwnQueue,
    pub(crate) members: u32,
}

impl World {
    pub(crate) fn start(plan: &Plan) -> anyhow::Result<Self> {
        let server = Server::start(&plan.program)?;
        let own = runtime("bench")?;
        let (network, events) = Network::new(network::Limits::BACKGROUND, own.handle().clone());
        let directory = TempDir::new().context("Unable to make a directory for the relay")?;
        Ok(Self { server, network, events, own, heard: BTreeMap::new(), directory, store: plan.store })
    }

    /// A relay that was initialised and does not run.
    pub(crate) fn relay(&self, name: &str, server: &ServerAddressWithAuth) -> anyhow::Result<RelayHost> {
        let database = Database::make(self.store, self.directory.path().join(format!("{name}.sqlite")))?;
        let mut store = database.open()?;
        let identity = seed::relay(&mut store, server)?;
        Ok(RelayHost { identity, database, store, running: None })
    }

    /// A relay at the server, and a group on it.
    pub(crate) fn relay_with(&mut self, name: &str, members: u32) -> anyhow::Result<(RelayHost, Group)> {
        let address = self.server.address.clone();
        let mut relay = self.relay(name, &address)?;
        let group = self.group(&mut relay, members, true)?;
        Ok((relay, group))
    }

    /// A group on a relay that does not run. With `listening`, the relay has a queue for each member, as one whose
    /// members have joined; else only the owner's.
    pub(crate) fn group(
        &mut self,
        relay: &mut RelayHost,
        members: u32,
        listening: bool,
    ) -> anyhow::Result<Group> {
        let address = self.server.address.clone();
        self.group_at(relay, &address, members, listening)
    }

    /// The same with the members' queues at another server.
    pub(crate) fn group_at(
        &mut self,
        relay: &mut RelayHost,
        members_at: &ServerAddressWithAuth,
        members: u32,
        listening: bool,
    ) -> anyhow::Result<Group> {
        let server = relay.identity.server.clone();
        let plan = seed::Plan { server: &server, members_at, members, listening };
        let group = self.own.block_on(seed::group(&self.network, &mut relay.store, &plan))?;
        let OwnQueue { server, recipient_id, key } = group.first.clone();
        let key = AuthPrivateKey::Ed25519(key);
        let subscription = Subscription { queue: recipient_id, key, lane: Lane::Bulk };
        self.network.subscribe(&server, vec![subscription], Ticket(0));
        Ok(group)
    }

    /// The owner sends posts to the relay; gives the bytes of each.
    pub(crate) fn post(&self, group: &mut Group, posts: u32, text_bytes: usize) -> anyhow::Result<usize> {
        self.own.block_on(async {
            let mut bytes = 0;
            for _ in 0..posts {
                bytes = post(&self.network, &mut group.owner, text_bytes).await?;
            }
            Ok(bytes)
        })
    }

    /// Waits until the member of a group who is served first has something.
    pub(crate) fn first_copy(&mut self, group: &Group, since: Instant) -> anyhow::Result<Copy> {
        let (events, heard) = (&mut self.events, &mut self.heard);
        self.own.block_on(async {
            loop {
                if let Some((at, id)) = heard.remove(&group.first.recipient_id) {
                    return Ok(Copy { after: at.saturating_duration_since(since), id });
                }
                let event = tokio::time::timeout(PATIENCE, events.next()).await?;
                if let NetworkEvent::Message { queue, message_id, .. } =
                    event.context("The network is gone")?
                {
                    heard.insert(queue, (Instant::now(), message_id));
                }
            }
        })
    }

    /// That member acknowledges what it was sent.
    pub(crate) fn read_all(&self, group: &Group, copy: &Copy) -> anyhow::Result<()> {
        self.own.block_on(async {
            let mut next = Some(copy.id);
            while let Some(message) = next {
                next = match self.network.call(group.first.acknowledge(message)).await? {
                    BrokerMessage::Msg { message_id, .. } => Some(message_id),
                    _ => None,
                };
            }
            Ok(())
        })
    }
}

/// Something reached the first member's queue.
pub(crate) struct Copy {
    pub(crate) after: Duration,
    id: MessageId,
}

/// The owner signs a post, and the relay's server has it when this returns.
pub(crate) async fn post(network: &Network, owner: &mut Owner, text_bytes: usize) -> anyhow::Result<usize> {
    let event = Event::MessageNew(Box::new(MessageNew::new(Content::text("x".repeat(text_bytes)))));
    let id = SharedMessageId::generate(&mut system_rng());
    let said = sign(&owner.key, &owner.group, &owner.id, &Message::new(Some(id), event).to_json());
    let mut rng = system_rng();
    let mut agent = Agent::new(&mut owner.store, &mut rng, Timestamp(0));
    agent.send(owner.connection, Body::Inline(&said), false)?;
    let Work::Run(job, request) = agent.job(owner.connection)? else {
        bail!("The owner has nothing to send");
    };
    let answer = network.call(*request).await?;
    agent.job_done(owner.connection, job, RequestOutcome::Answer(answer))?;
    Ok(said.len())
}

impl RelayHost {
    /// Starts it, as a service of its server or not; returns when it can be invited and has all its queues.
    pub(crate) fn start(&mut self, world: &World, as_service: bool) -> anyhow::Result<()> {
        let ready = self.launch(as_service)?;
        world
            .own
            .block_on(async { tokio::time::timeout(PATIENCE, ready).await })??
            .context("The relay stopped")?;
        self.database.taken();
        Ok(())
    }

    /// Starts it; what is given resolves when it can be invited.
    pub(crate) fn launch(
        &mut self,
        as_service: bool,
    ) -> anyhow::Result<impl Future<Output = anyhow::Result<Option<()>>> + use<>> {
        let runtime = runtime(usage::RELAY_RUNTIME)?;
        let (notify, mut notices) = mpsc::unbounded_channel();
        let mut store = self.database.open()?;
        let worker = self.database.join(&mut store)?;
        // As in `chat-relay start`: workers of one database are no service.
        let services = if as_service && worker.is_none() { Some(store.services()?) } else { None };
        let settings = NetworkSettings { services, ..network::Limits::BACKGROUND.into() };
        let relay = Relay::new(store, self.identity.clone(), Limits::default(), notify);
        let metrics = relay.metrics();
        let others = usage::engines();
        let handle = engine::start(relay, settings, runtime.handle())?;
        self.running =
            Some(Running { threads: RelayThreads::beside(&others), metrics, handle, runtime, worker });
        Ok(async move { Ok(notices.recv().await.map(|_| ())) })
    }

    pub(crate) fn stop(&mut self, world: &World) -> anyhow::Result<()> {
        let Some(Running { handle, runtime, worker, .. }) = self.running.take() else { return Ok(()) };
        world.own.block_on(handle.stop()).context("The relay stopped")?;
        runtime.shutdown_background();
        worker.map_or(Ok(()), |worker| Ok(self.store.leave(worker)?))
    }

    /// Waits until all members' servers have everything.
    pub(crate) fn all_served(&mut self) -> anyhow::Result<()> {
        self.until("the members have it", |store| Ok(store.members_behind()? == 0))
    }

    /// Waits until something holds in the database of the running relay.
    pub(crate) fn until(
        &mut self,
        what: &str,
        mut holds: impl FnMut(&mut SqlStore) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !holds(&mut self.store)? {
            if Instant::now() > deadline {
                bail!("Waited {} s in vain until {what}", PATIENCE.as_secs());
            }
            // The database of another thread can only be looked at again.
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// Processor time in seconds of the running relay: of its thread with the database, and of its sessions.
    pub(crate) fn cpu(&self) -> [f64; 2] {
        self.running.as_ref().map_or([0.0; 2], |running| running.threads.seconds())
    }

    /// Copies of messages that it has handed out since it started.
    pub(crate) fn copies(&self) -> f64 {
        let snapshot = self.running.as_ref().map(|running| running.metrics.snapshot());
        let copies = snapshot.and_then(|snapshot| snapshot.get("copies_handed_out")?.as_f64());
        copies.unwrap_or_default()
    }

    /// Bytes of the database that hold something.
    pub(crate) fn stored_bytes(&self) -> anyhow::Result<f64> {
        self.database.stored_bytes()
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
