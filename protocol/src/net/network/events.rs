//! What happens on the network, in the order in which it happened.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::net::error::CallError;
use crate::smp::address::ServerAddress;
use crate::smp::error::ErrorType;
use crate::smp::ids::{MessageId, RecipientId};
use crate::smp::response::BrokerMessage;

/// Most messages that wait to be handled: 16 KiB each at most.
pub const EVENTS_MAX: usize = 512;

/// Names a command of [`submit`](super::Network::submit), or queues of [`subscribe`](super::Network::subscribe): the later, the
/// greater.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Something that happened on the network.
#[derive(Debug)]
pub enum NetworkEvent {
    /// A message of a subscribed queue. The next one comes only after this one is acknowledged.
    Message {
        /// The server.
        server: ServerAddress,
        /// The queue.
        queue: RecipientId,
        /// What the acknowledgement names.
        message_id: MessageId,
        /// Encrypted by the server for the recipient.
        body: Vec<u8>,
    },
    /// The answer to a submitted command, or why there is none.
    Answer {
        /// As it was submitted.
        ticket: Ticket,
        /// The answer.
        result: Result<BrokerMessage<'static>, CallError>,
        /// How long it took, from the moment when the command was submitted.
        took: Duration,
    },
    /// A queue is not subscribed any more, and will not be again by itself.
    SubscriptionEnded {
        /// The server.
        server: ServerAddress,
        /// The queue.
        queue: RecipientId,
        /// Why.
        reason: SubscriptionEnd,
    },
    /// A queue is there, and its server refuses to subscribe it, as when its operator has blocked it: nothing comes from
    /// it meanwhile. It is asked for again with growing pauses. Told once, until [`NetworkEvent::RefusalOver`].
    QueueRefused {
        /// The server.
        server: ServerAddress,
        /// The queue.
        queue: RecipientId,
        /// What the server says.
        error: ErrorType,
    },
    /// A queue is not refused any more.
    RefusalOver {
        /// The server.
        server: ServerAddress,
        /// The queue.
        queue: RecipientId,
        /// Whether it is subscribed; else it is gone, or another connection's.
        is_subscribed: bool,
    },
    /// Another connection took over all queues that are subscribed as a service's: nothing of the server's queues is
    /// subscribed any more.
    ServiceMoved(ServerAddress),
    /// The server was asked for so many more queues of our service than we know; less is a negative number. Until
    /// this changes, so many more are expected (see [`super::Services`]).
    Surplus {
        /// The server.
        server: ServerAddress,
        /// How many more.
        queues: i64,
    },
    /// There is a session with this server.
    Up(ServerAddress),
    /// What is subscribed before all others (see [`Lane`](crate::agent::Lane)) has been answered in the present session
    /// with this server; other queues may follow. Told once in each session, and again when more of it was asked for.
    Listening {
        /// The server.
        server: ServerAddress,
        /// Of the last queues that it is said about: later ones may be on their way to be asked for.
        asked: Option<Ticket>,
    },
    /// The session broke, or could not be made. Told once, and again when what is found in the server's place cannot
    /// be used; further attempts follow if queues are subscribed.
    Down {
        /// The server.
        server: ServerAddress,
        /// Why.
        reason: CallError,
    },
}

/// Why a queue is not subscribed any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubscriptionEnd {
    /// Another connection subscribed to it: somebody has a copy of its key.
    #[error("another program subscribed to the queue")]
    Moved,
    /// The queue was deleted.
    #[error("the queue was deleted")]
    Deleted,
    /// The server knows no queue that we have the key of.
    #[error("the server does not know the queue")]
    Unknown,
    /// Too many servers are in use.
    #[error("too many servers are in use at once")]
    TooManyServers,
}

/// Where all tasks put what happens.
#[derive(Debug, Clone)]
pub(super) struct Inbox {
    sender: mpsc::UnboundedSender<Entry>,
    room: Arc<Semaphore>,
}

#[derive(Debug)]
struct Entry {
    event: NetworkEvent,
    /// Given back when the event is taken.
    _room: Option<OwnedSemaphorePermit>,
}

impl Inbox {
    pub(super) fn new() -> (Self, NetworkEvents) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self { sender, room: Arc::new(Semaphore::new(EVENTS_MAX)) }, NetworkEvents(receiver))
    }

    /// For what is bounded by commands that were sent, and for rare changes.
    pub(super) fn put(&self, event: NetworkEvent) {
        // nobody listens any more when the program ends
        let _unheard = self.sender.send(Entry { event, _room: None });
    }

    /// For what servers say of their own accord: waits for room.
    pub(super) async fn put_bounded(&self, event: NetworkEvent) {
        let room = self.room.clone().acquire_owned().await.ok();
        let _unheard = self.sender.send(Entry { event, _room: room });
    }
}

/// What happens on a [`Network`](super::Network).
#[derive(Debug)]
pub struct NetworkEvents(mpsc::UnboundedReceiver<Entry>);

impl NetworkEvents {
    /// The next event; nothing when all handles of the network are gone.
    pub async fn next(&mut self) -> Option<NetworkEvent> {
        self.0.recv().await.map(|entry| entry.event)
    }

    /// The next event, if there is one already.
    pub fn try_next(&mut self) -> Option<NetworkEvent> {
        self.0.try_recv().ok().map(|entry| entry.event)
    }
}
