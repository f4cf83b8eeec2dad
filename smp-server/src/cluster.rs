//! Several servers on one store that serve one address together.
//!
//! ```text
//!   SEND at node A ──commit──▶ store; A's voice ──to the node that has the subscription──▶ B's ear ──MSG──▶ its client
//!   SUB  at node B ──claim───▶ store; B's voice ──to the node that had it───────────────▶ A's ear ──END──▶ its client
//! ```
//!
//! Each subscription, to a queue, a notifier or a service, claims its topic in the store, and the highest claim holds:
//! nodes agree on the one subscriber whatever order they hear things in. Whoever reads the head of a queue for its
//! subscriber, or acknowledges, asks the store at the same time whether another node has it: a node that did not hear,
//! or that stood still while others forgot it, delivers nothing that is no more its own.
//!
//! What the voice says is said once the commit that it is about is durable, and may be lost: with the node that was to
//! say it, or with the connection by which it was to be heard. So a node that could not hear looks at everything that is
//! subscribed at it again, and so do all when one ends other than by its own will.
//!
//! By nature each node has its own: limits and their counters, and the time at which news leave. Notifications wait at
//! the node at which the message was sent until their notifier subscribes anywhere.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use protocol::smp::ids::{MessageId, NotifierId, RecipientId, ServiceId};
use protocol::timestamp::Timestamp;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use crate::connection::Client;
use crate::news::{News, Topic};
use crate::notifications::{Away, Notification};
use crate::peer::Peer;
use crate::server::Server;
use crate::store::{Claim, NodeEar, NodeEvent, NodeVoice, QueueName, QueueRecord, Result, Seen, StoreError};
use crate::subscriptions::Reading;

/// How long the node listens before it sees whether the server stops.
const LISTEN_MS: u64 = 200;
/// Pause after a failure, while the store cannot be reached.
const RETRY_MS: u64 = 500;
/// Subscriptions that one question to the store is about.
const TOPICS_PER_PAGE: usize = 1000;
/// What waits to be said; with more, others are told that they missed something.
const WAITING_MAX: usize = 8192;
/// What is said at a time.
const CALLS_AT_ONCE: usize = 512;

/// This node among the others.
#[derive(Debug)]
pub(crate) struct Cluster {
    calls: mpsc::Sender<Call>,
    /// Whether something could not be said.
    missed: Arc<AtomicBool>,
}

/// What the voice is to do.
#[derive(Debug)]
enum Call {
    Claim(Topic, oneshot::Sender<Result<Claim>>),
    Release(Vec<(Topic, Claim)>),
    Tell(Topic, NodeEvent),
    Notify(Away),
}

impl Cluster {
    /// Tells whichever other node has the subscription, if one has.
    pub(crate) fn tell(&self, subscription: Topic, event: NodeEvent) {
        self.call(Call::Tell(subscription, event));
    }

    /// Tells whichever other node has the notifier; it waits here when none has.
    pub(crate) fn notify(&self, away: Away) {
        self.call(Call::Notify(away));
    }

    /// Gives up subscriptions that ended.
    pub(crate) fn release(&self, held: Vec<(Topic, Claim)>) {
        if !held.is_empty() {
            // Should it be left out, they are told of what is for nobody.
            let _ = self.calls.try_send(Call::Release(held));
        }
    }

    async fn claim(&self, topic: Topic) -> Result<Claim> {
        let (asker, answered) = oneshot::channel();
        self.calls.send(Call::Claim(topic, asker)).await.map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| StoreError::Closed)?
    }

    fn call(&self, call: Call) {
        if self.calls.try_send(call).is_err() {
            self.missed.store(true, Ordering::Relaxed);
        }
    }
}

/// Makes this node the one that has subscriptions which the connection just made here: to this topic, and to all queues
/// of its service.
///
/// # Errors
/// When the store cannot be written: then the connection has none of them.
pub(crate) async fn claim(client: &Client, topic: Option<Topic>) -> Result<()> {
    let Client { server, peer, service, .. } = client;
    let Some(cluster) = server.cluster() else { return Ok(()) };
    let service = service.map(|service| service.service_id);
    let service = service.filter(|service| server.services.needs_claim(*service, peer)).map(Topic::Service);
    for topic in topic.into_iter().chain(service) {
        match cluster.claim(topic).await {
            Ok(claim) if server.claimed(&topic, peer, claim) => {}
            Ok(claim) => cluster.release(vec![(topic, claim)]),
            Err(error) => {
                server.forget_subscription(&topic, peer);
                return Err(error);
            }
        }
    }
    Ok(())
}

/// The threads of a node.
#[derive(Debug)]
pub(crate) struct ClusterThreads {
    threads: Vec<JoinHandle<()>>,
}

impl ClusterThreads {
    /// Waits until everything is said. Ends when the server stopped and was dropped.
    pub(crate) fn join(self) {
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the node failed");
            }
        }
    }
}

/// Makes the server one of several nodes, before any client is accepted.
///
/// # Errors
/// When the system refuses a thread, or the others cannot be heard.
pub(crate) async fn join(
    server: &Arc<Server>,
    (ear, voice): (Box<dyn NodeEar>, Box<dyn NodeVoice>),
) -> anyhow::Result<ClusterThreads> {
    let (calls, waiting) = mpsc::channel(WAITING_MAX);
    let missed = Arc::new(AtomicBool::new(false));
    let speaker = Speaker { server: Arc::downgrade(server), voice, missed: missed.clone() };
    server.join_cluster(Cluster { calls, missed });
    let listener = Listener { server: server.clone(), runtime: Handle::current() };
    let (joined, has_joined) = oneshot::channel();
    let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
    let threads = vec![
        thread("cluster-ear").spawn(move || listener.run(ear, joined))?,
        thread("cluster-voice").spawn(move || speaker.run(waiting))?,
    ];
    has_joined.await.map_err(|_| StoreError::Closed)?;
    Ok(ClusterThreads { threads })
}

/// Says what is to be said, until the server is dropped.
struct Speaker {
    server: Weak<Server>,
    voice: Box<dyn NodeVoice>,
    missed: Arc<AtomicBool>,
}

impl Speaker {
    fn run(mut self, mut waiting: mpsc::Receiver<Call>) {
        let mut calls = Vec::new();
        while waiting.blocking_recv_many(&mut calls, CALLS_AT_ONCE) > 0 {
            self.make(&mut calls);
        }
        self.voice.leave();
    }

    fn make(&mut self, calls: &mut Vec<Call>) {
        let (mut topics, mut askers) = (Vec::new(), Vec::new());
        let (mut released, mut news, mut away) = (Vec::new(), Vec::new(), Vec::new());
        for call in calls.drain(..) {
            match call {
                Call::Claim(topic, asker) => {
                    topics.push(topic);
                    askers.push(asker);
                }
                Call::Release(held) => released.extend(held),
                Call::Tell(subscription, event) => news.push((subscription, event)),
                Call::Notify(one) => away.push(one),
            }
        }
        if !topics.is_empty() {
            self.claim(&topics, askers);
        }
        for held in released.chunks(TOPICS_PER_PAGE) {
            if let Err(error) = self.voice.release(held) {
                tracing::debug!(%error, "subscriptions that ended stay known to other nodes");
            }
        }
        if !news.is_empty() || !away.is_empty() {
            self.tell(news, away);
        }
        if self.missed.swap(false, Ordering::Relaxed)
            && let Err(error) = self.voice.tell_missed()
        {
            self.missed.store(true, Ordering::Relaxed);
            tracing::error!(%error, "other nodes could not be told of something; they are with the next word");
        }
    }

    fn claim(&mut self, topics: &[Topic], askers: Vec<oneshot::Sender<Result<Claim>>>) {
        match self.voice.claim(topics) {
            Ok(claims) => {
                for (asker, claim) in askers.into_iter().zip(claims) {
                    // A connection that is gone releases what it has.
                    let _ = asker.send(Ok(claim));
                }
            }
            Err(error) => {
                tracing::error!(%error, "subscriptions could not be claimed: their commands are refused");
                for asker in askers {
                    let _ = asker.send(Err(StoreError::Commit(error.to_string())));
                }
            }
        }
    }

    fn tell(&mut self, mut news: Vec<(Topic, NodeEvent)>, away: Vec<Away>) {
        let told = news.len();
        news.extend(away.iter().map(|one| {
            let Notification { message_id, received_at } = one.notification;
            let subscription = one.service.map_or(Topic::Notifier(one.notifier), Topic::Service);
            (subscription, NodeEvent::Notify(one.notifier, message_id, received_at))
        }));
        match self.voice.tell(&news) {
            Ok(heard) => {
                let unheard = away.into_iter().zip(heard.into_iter().skip(told)).filter(|(_, heard)| !heard);
                for (one, _) in unheard {
                    self.keep(one);
                }
            }
            Err(error) => {
                tracing::debug!(%error, "other nodes could not be told");
                self.missed.store(true, Ordering::Relaxed);
                away.into_iter().for_each(|one| self.keep(one));
            }
        }
    }

    fn keep(&self, away: Away) {
        if let Some(server) = self.server.upgrade() {
            let Away { notifier, secret, service, notification } = away;
            server.keep(notifier, &secret, service, notification);
        }
    }
}

/// Hears what other nodes say, until the server stops.
struct Listener {
    server: Arc<Server>,
    runtime: Handle,
}

impl Listener {
    fn run(self, mut ear: Box<dyn NodeEar>, joined: oneshot::Sender<()>) {
        let mut joined = Some(joined);
        let mut failing = false;
        while !self.server.is_stopping() {
            match ear.events(Duration::from_millis(LISTEN_MS)) {
                Ok(events) => {
                    if std::mem::take(&mut failing) {
                        tracing::info!("other nodes are heard again");
                    }
                    if let Some(joined) = joined.take() {
                        // Whoever waited for it stopped.
                        let _ = joined.send(());
                    }
                    for event in events {
                        if let Err(error) = self.act(event, &mut *ear) {
                            tracing::error!(%error, "an event of another node could not be followed");
                        }
                    }
                }
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::error!(%error, "other nodes are not heard");
                    }
                    std::thread::sleep(Duration::from_millis(RETRY_MS));
                }
            }
        }
    }

    fn act(&self, event: NodeEvent, ear: &mut dyn NodeEar) -> Result<()> {
        let server = &self.server;
        match event {
            NodeEvent::Arrived(id) => {
                // Without a subscription it may be for a service that is connected here, or elsewhere by now.
                if !server.subscriptions.arrived(id)
                    && let Some(queue) = self.queue(QueueName::Recipient(id))?
                {
                    server.arrived(&queue);
                }
            }
            NodeEvent::Notify(id, message_id, received_at) => self.notify(id, message_id, received_at)?,
            NodeEvent::Moved(topic, claim) => {
                server.moved_away(&topic, claim);
                if let Some(cluster) = server.cluster() {
                    server.notifications.take_for(&topic).into_iter().for_each(|one| cluster.notify(one));
                }
            }
            NodeEvent::Deleted(of, what) => server.deleted_elsewhere(of, what),
            NodeEvent::Lost(service, what) => {
                if let Topic::Queue(id) = what {
                    server.subscriptions.lost_by(id, service);
                }
                server.services.lost(service, what, News::Moved, None);
            }
            NodeEvent::Blocked(of, id) => {
                let queue = self.queue(QueueName::Recipient(id))?;
                if let Some(info) = queue.and_then(|queue| queue.status.blocking()) {
                    match of {
                        Topic::Service(service) => server.services.blocked(service, id, info),
                        Topic::Queue(_) | Topic::Notifier(_) => server.subscriptions.blocked(id, info),
                    }
                }
            }
            NodeEvent::Missed => self.look_again(ear)?,
        }
        Ok(())
    }

    fn queue(&self, name: QueueName) -> Result<Option<QueueRecord>> {
        self.runtime.block_on(self.server.store.read(move |reader| reader.queue(&name)))
    }

    fn notify(&self, id: NotifierId, message_id: MessageId, received_at: Timestamp) -> Result<()> {
        if let Some(queue) = self.queue(QueueName::Notifier(id))? {
            self.server.notify(&queue, Notification { message_id, received_at });
        }
        Ok(())
    }

    /// Looks at everything that is subscribed here: what was told meanwhile was not heard.
    fn look_again(&self, ear: &mut dyn NodeEar) -> Result<()> {
        let server = &self.server;
        let mut held = server.subscriptions.all();
        held.extend(server.notifications.all());
        held.extend(server.services.all());
        for page in held.chunks(TOPICS_PER_PAGE) {
            for ((topic, _), seen) in page.iter().zip(ear.look_again(page)?) {
                match seen {
                    Seen::Elsewhere(claim) => server.moved_away(topic, claim),
                    Seen::Gone => server.deleted_elsewhere(*topic, *topic),
                    Seen::Here { waiting } => match topic {
                        Topic::Queue(id) if waiting => drop(server.subscriptions.arrived(*id)),
                        Topic::Service(service) => server.services.look_again(*service),
                        Topic::Queue(_) | Topic::Notifier(_) => {}
                    },
                }
            }
        }
        Ok(())
    }
}

impl Server {
    /// The store gave a subscription of `peer` its place among those of other nodes. Whether `peer` has it still.
    fn claimed(&self, topic: &Topic, peer: &Peer, claim: Claim) -> bool {
        match topic {
            Topic::Queue(id) => self.subscriptions.claimed(*id, peer, claim),
            Topic::Notifier(id) => self.notifications.claimed(*id, peer, claim),
            Topic::Service(id) => {
                if let Some(lost) = self.services.claimed(*id, peer, claim) {
                    self.release(self.subscriptions.disconnect(&lost));
                }
                self.services.is_subscriber(*id, peer)
            }
        }
    }

    /// A subscription of `peer` could not be claimed: it has none.
    fn forget_subscription(&self, topic: &Topic, peer: &Peer) {
        match topic {
            Topic::Queue(id) => self.subscriptions.forget(*id, peer),
            Topic::Notifier(id) => self.notifications.forget(*id, peer),
            Topic::Service(id) => drop(self.services.disconnect(*id, peer)),
        }
    }

    /// Somebody subscribed at another node.
    fn moved_away(&self, topic: &Topic, rival: Claim) {
        match topic {
            Topic::Queue(id) => drop(self.subscriptions.moved_away(*id, rival)),
            Topic::Notifier(id) => self.notifications.moved_away(*id, rival),
            Topic::Service(id) => {
                if let Some(lost) = self.services.moved_away(*id, rival) {
                    self.release(self.subscriptions.disconnect(&lost));
                }
            }
        }
    }

    /// Something was deleted at another node: `of` itself, or `what` is one of a service's.
    fn deleted_elsewhere(&self, of: Topic, what: Topic) {
        match what {
            Topic::Queue(id) => self.release(self.subscriptions.remove(id, None).into_iter().collect()),
            Topic::Notifier(id) => self.release(self.notifications.remove(id, None).into_iter().collect()),
            Topic::Service(_) => {}
        }
        if let Topic::Service(service) = of {
            self.services.lost(service, what, News::Deleted, None);
        }
    }

    /// A reading of `peer` found that another node has the subscription. Whether that is so; then that node hears that
    /// something waits.
    pub(crate) fn read_elsewhere(&self, reading: &Reading, peer: &Peer, rival: Claim) -> bool {
        let id = reading.recipient_id;
        let is_lost = match reading.source.service {
            None => self.subscriptions.read_elsewhere(reading, peer, rival),
            Some(service) => {
                let of_service = Topic::Service(service);
                self.moved_away(&of_service, rival);
                let is_lost = !self.services.is_subscriber(service, peer);
                if is_lost {
                    self.subscriptions.forget(id, peer);
                } else {
                    self.subscriptions.read_again(reading, peer);
                }
                is_lost
            }
        };
        if is_lost && let Some(cluster) = self.cluster() {
            let subscriber = reading.source.service.map_or(Topic::Queue(id), Topic::Service);
            cluster.tell(subscriber, NodeEvent::Arrived(id));
        }
        is_lost
    }

    /// Gives up claims of subscriptions that ended here.
    pub(crate) fn release(&self, held: Vec<(Topic, Claim)>) {
        if let Some(cluster) = self.cluster() {
            cluster.release(held);
        }
    }

    /// Tells the subscriber of a queue at another node, and its service's connection, of its end.
    pub(crate) fn tell_deleted(&self, topic: Topic, service: Option<ServiceId>) {
        if let Some(cluster) = self.cluster() {
            cluster.tell(topic, NodeEvent::Deleted(topic, topic));
            if let Some(service) = service.map(Topic::Service) {
                cluster.tell(service, NodeEvent::Deleted(service, topic));
            }
        }
    }

    /// Tells the subscriber of a queue at another node, or its service's connection, that it is blocked.
    pub(crate) fn tell_blocked(&self, id: RecipientId, service: Option<ServiceId>) {
        if let Some(cluster) = self.cluster() {
            let topic = service.map_or(Topic::Queue(id), Topic::Service);
            cluster.tell(topic, NodeEvent::Blocked(topic, id));
        }
    }
}
