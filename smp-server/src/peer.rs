//! What the server keeps of a connection for others: subscriptions, what is ready for it, news to tell it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use protocol::smp::ids::{MessageId, NotifierId, RecipientId};
use protocol::timestamp::Timestamp;
use tokio::sync::Notify;

use crate::news::{News, Topic};

/// Names a connection within this process, also in logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u64);

/// One connection as the rest of the server sees it.
#[derive(Debug)]
pub struct Peer {
    id: PeerId,
    state: Mutex<PeerState>,
    wake: Notify,
    closing: AtomicBool,
    /// Asks the connection to end at once, whatever is on its way.
    cut: Notify,
    /// Memory that it holds.
    held: Arc<AtomicUsize>,
    /// Whether it is told of all queues of a service.
    serving: AtomicBool,
    /// Whether what waits for its service is to be looked at again.
    looks_again: AtomicBool,
    /// When a block last came or went, Unix milliseconds.
    active_at: AtomicI64,
}

#[derive(Debug, Default)]
struct PeerState {
    /// Queues that this connection is the subscriber of.
    subscribed: BTreeSet<RecipientId>,
    /// Queues that it used GET on, with the message that it has not acknowledged.
    getting: BTreeMap<RecipientId, Option<MessageId>>,
    /// Queues with a message to deliver; each at most once, so bounded by the subscriptions.
    ready: VecDeque<RecipientId>,
    /// Notifiers that this connection is the subscriber of.
    notifies: BTreeSet<NotifierId>,
    /// Notifiers with something to tell that waits for the next pass; each at most once, as everything below.
    notified: BTreeSet<NotifierId>,
    /// Notifiers that the pass released.
    notified_now: BTreeSet<NotifierId>,
    /// News that wait for the timer; of each topic the latest.
    news: BTreeMap<Topic, News>,
    /// News that the timer released.
    released: BTreeMap<Topic, News>,
}

impl Peer {
    /// A new connection.
    #[must_use]
    pub fn new(id: PeerId, now: Timestamp) -> Self {
        Self {
            id,
            state: Mutex::default(),
            wake: Notify::new(),
            closing: AtomicBool::new(false),
            cut: Notify::new(),
            held: Arc::default(),
            serving: AtomicBool::new(false),
            looks_again: AtomicBool::new(false),
            active_at: AtomicI64::new(now.0),
        }
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> PeerId {
        self.id
    }

    fn lock(&self) -> MutexGuard<'_, PeerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something is ready, news are released, or the connection is to be closed.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Notes that it is the subscriber of a queue.
    pub fn subscribed(&self, queue: RecipientId) {
        self.lock().subscribed.insert(queue);
    }

    /// Notes that it is the subscriber no more.
    pub fn unsubscribed(&self, queue: RecipientId) {
        self.lock().subscribed.remove(&queue);
    }

    /// Takes all its subscriptions, for their removal.
    pub fn take_subscriptions(&self) -> BTreeSet<RecipientId> {
        std::mem::take(&mut self.lock().subscribed)
    }

    /// How many queues it subscribes to, used GET on, or hears notifications of.
    #[must_use]
    pub fn queue_count(&self) -> usize {
        let state = self.lock();
        state.subscribed.len().saturating_add(state.getting.len()).saturating_add(state.notifies.len())
    }

    /// Notes that it is the subscriber of a notifier.
    pub fn notifies(&self, notifier: NotifierId) {
        self.lock().notifies.insert(notifier);
    }

    /// Notes that it is the subscriber of a notifier no more.
    pub fn stop_notifying(&self, notifier: NotifierId) {
        let mut state = self.lock();
        state.notifies.remove(&notifier);
        state.notified.remove(&notifier);
        state.notified_now.remove(&notifier);
    }

    /// Takes all notifiers that it subscribes to, for their removal.
    pub fn take_notifiers(&self) -> BTreeSet<NotifierId> {
        std::mem::take(&mut self.lock().notifies)
    }

    /// A notifier has something to tell. Whether it is the first that waits for the pass.
    pub fn add_notification(&self, notifier: NotifierId) -> bool {
        let mut state = self.lock();
        let is_first = state.notified.is_empty();
        state.notified.insert(notifier) && is_first
    }

    /// Lets the waiting notifications go out.
    pub fn release_notifications(&self) {
        let mut state = self.lock();
        let mut waiting = std::mem::take(&mut state.notified);
        state.notified_now.append(&mut waiting);
        self.wake.notify_one();
    }

    /// Takes the next notifiers that have something to tell now.
    pub fn take_notified(&self, count: usize) -> Vec<NotifierId> {
        let mut state = self.lock();
        (0..count).map_while(|_| state.notified_now.pop_first()).collect()
    }

    /// A notifier has more to tell than there was room for.
    pub fn notified_again(&self, notifier: NotifierId) {
        self.lock().notified_now.insert(notifier);
    }

    /// A queue has a message for it.
    pub fn ready(&self, queue: RecipientId) {
        self.lock().ready.push_back(queue);
        self.wake.notify_one();
    }

    /// The next queues with a message for it.
    pub fn take_ready(&self, count: usize) -> Vec<RecipientId> {
        let mut state = self.lock();
        let count = count.min(state.ready.len());
        state.ready.drain(..count).collect()
    }

    /// Whether GET was used on the queue.
    #[must_use]
    pub fn is_getting(&self, queue: RecipientId) -> bool {
        self.lock().getting.contains_key(&queue)
    }

    /// The message that GET delivered and that is not acknowledged.
    #[must_use]
    pub fn got(&self, queue: RecipientId) -> Option<MessageId> {
        self.lock().getting.get(&queue).copied().flatten()
    }

    /// Notes what GET delivered last.
    pub fn set_got(&self, queue: RecipientId, message: Option<MessageId>) {
        self.lock().getting.insert(queue, message);
    }

    /// Forgets that GET was used on a queue that is gone.
    pub fn forget_getting(&self, queue: RecipientId) {
        self.lock().getting.remove(&queue);
    }

    /// Adds news. Whether they are the first that wait.
    pub fn add_news(&self, topic: Topic, news: News) -> bool {
        let mut state = self.lock();
        let is_first = state.news.is_empty();
        state.news.insert(topic, news);
        is_first
    }

    /// Lets the waiting news go out.
    pub fn release_news(&self) {
        let mut state = self.lock();
        let mut waiting = std::mem::take(&mut state.news);
        state.released.append(&mut waiting);
        self.wake.notify_one();
    }

    /// Takes the news that go out now.
    pub fn take_news(&self) -> BTreeMap<Topic, News> {
        std::mem::take(&mut self.lock().released)
    }

    /// Asks the connection to end.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
        self.wake.notify_one();
    }

    /// The same, with the account of the memory that it holds.
    #[must_use]
    pub fn holding(self, held: Arc<AtomicUsize>) -> Self {
        Self { held, ..self }
    }

    /// Memory that it holds, bytes.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Ends the connection at once, whatever is on its way.
    pub fn cut(&self) {
        self.close();
        self.cut.notify_one();
    }

    /// Waits until it is cut.
    pub async fn is_cut(&self) {
        self.cut.notified().await;
    }

    /// Whether it was asked to end.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// Notes whether it is told of all queues of a service, which is a subscription that has no queue yet.
    pub fn set_serving(&self, serving: bool) {
        self.serving.store(serving, Ordering::Relaxed);
    }

    /// Asks the connection of a service to look again at what waits in its queues.
    pub fn look_again(&self) {
        self.looks_again.store(true, Ordering::Relaxed);
        self.wake.notify_one();
    }

    /// Whether it was asked to, since the last time.
    pub fn takes_another_look(&self) -> bool {
        self.looks_again.swap(false, Ordering::Relaxed)
    }

    /// Notes that a block came or went.
    pub fn touch(&self, now: Timestamp) {
        self.active_at.store(now.0, Ordering::Relaxed);
    }

    /// Whether it has no subscriptions and no block came or went since `moment` (smp.md §10.6).
    #[must_use]
    pub fn is_inactive_since(&self, moment: Timestamp) -> bool {
        let is_subscriber = || {
            let state = self.lock();
            !(state.subscribed.is_empty() && state.notifies.is_empty())
                || self.serving.load(Ordering::Relaxed)
        };
        self.active_at.load(Ordering::Relaxed) < moment.0 && !is_subscriber()
    }
}
