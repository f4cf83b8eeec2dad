//! What servers that share a store tell each other.

use std::time::Duration;

use protocol::smp::ids::{MessageId, NotifierId, RecipientId, ServiceId};
use protocol::timestamp::Timestamp;

use super::{QueueNumber, Result};

/// Orders the subscriptions of a queue among all nodes: the highest one holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claim(pub i64);

/// Something that a connection subscribes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// A queue.
    Queue(RecipientId),
    /// The notifications of a queue.
    Notifier(NotifierId),
    /// All queues of a service.
    Service(ServiceId),
}

impl Topic {
    /// The id under which clients know it.
    #[must_use]
    pub fn entity_id(&self) -> &[u8] {
        match self {
            Self::Queue(id) => id.as_bytes(),
            Self::Notifier(id) => id.as_bytes(),
            Self::Service(id) => id.as_bytes(),
        }
    }
}

/// What happened at another node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeEvent {
    /// A message was stored in the queue.
    Arrived(RecipientId),
    /// A message was stored whose notifier is to be told.
    Notify(RecipientId, MessageId, Timestamp),
    /// Somebody subscribed there.
    Moved(RecipientId, Claim),
    /// The queue was deleted.
    Deleted(RecipientId),
    /// The queue was blocked.
    Blocked(RecipientId),
    /// Events may have been missed: everything that is subscribed here is to be looked at again.
    Missed,
}

/// What the store knows of a queue that is subscribed here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubscribedQueue {
    /// The queue.
    pub recipient_id: RecipientId,
    /// Its number.
    pub number: QueueNumber,
    /// Who has its subscriber, as far as is known.
    pub subscriber: SubscriberNode,
}

/// At which node a queue has its subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubscriberNode {
    /// At this one.
    Here,
    /// At another one, by this claim.
    Elsewhere(Claim),
    /// Nobody knows: it is to be claimed anew.
    Unknown,
}

/// A node's ear for the others. Used on a thread of its own.
pub trait NodeLink: Send {
    /// Waits up to `patience` for events, and keeps this node's lease. After an error it may be called again.
    ///
    /// # Errors
    /// When the store cannot be reached; then [`NodeEvent::Missed`] follows once it can.
    fn events(&mut self, patience: Duration) -> Result<Vec<NodeEvent>>;

    /// Those of the queues that exist.
    ///
    /// # Errors
    /// When the store cannot be reached.
    fn subscribed(&mut self, queues: &[RecipientId]) -> Result<Vec<SubscribedQueue>>;

    /// Says that this node is gone.
    fn leave(&mut self);
}
