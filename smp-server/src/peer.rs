//! What the server keeps of a connection for others: subscriptions, what is ready for it, news to tell it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use protocol::smp::ids::{MessageId, RecipientId};
use protocol::timestamp::Timestamp;
use tokio::sync::Notify;

/// Names a connection within this process, also in logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u64);

/// News about a queue that a connection subscribed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// Another connection has the subscription now.
    Moved,
    /// The queue was deleted.
    Deleted,
}

/// One connection as the rest of the server sees it.
#[derive(Debug)]
pub struct Peer {
    id: PeerId,
    state: Mutex<PeerState>,
    wake: Notify,
    closing: AtomicBool,
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
    /// News that wait for the timer; of each queue the latest.
    news: BTreeMap<RecipientId, News>,
    /// News that the timer released.
    released: BTreeMap<RecipientId, News>,
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

    /// How many queues it subscribes to or used GET on.
    #[must_use]
    pub fn queue_count(&self) -> usize {
        let state = self.lock();
        state.subscribed.len().saturating_add(state.getting.len())
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
    pub fn add_news(&self, queue: RecipientId, news: News) -> bool {
        let mut state = self.lock();
        let is_first = state.news.is_empty();
        state.news.insert(queue, news);
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
    pub fn take_news(&self) -> BTreeMap<RecipientId, News> {
        std::mem::take(&mut self.lock().released)
    }

    /// Asks the connection to end.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
        self.wake.notify_one();
    }

    /// Whether it was asked to end.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// Notes that a block came or went.
    pub fn touch(&self, now: Timestamp) {
        self.active_at.store(now.0, Ordering::Relaxed);
    }

    /// Whether it has no subscriptions and no block came or went since `moment` (smp.md §10.6).
    #[must_use]
    pub fn is_inactive_since(&self, moment: Timestamp) -> bool {
        self.active_at.load(Ordering::Relaxed) < moment.0 && self.lock().subscribed.is_empty()
    }
}
