//! What servers that share a store tell each other, and who of them has which subscription.

use std::time::Duration;

use protocol::smp::ids::{MessageId, NotifierId, RecipientId, ServiceId};
use protocol::timestamp::Timestamp;

use super::Result;

/// Something that a connection subscribes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

/// Orders the subscriptions to a topic among all nodes: the highest one holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claim(pub i64);

/// What happened at another node, for the one that has the subscription that it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeEvent {
    /// A message was stored in the queue.
    Arrived(RecipientId),
    /// A message was stored whose notifier is to be told.
    Notify(NotifierId, MessageId, Timestamp),
    /// Somebody subscribed there.
    Moved(Topic, Claim),
    /// The first, or what the second is of it, was deleted.
    Deleted(Topic, Topic),
    /// The topic is the service's no more.
    Lost(ServiceId, Topic),
    /// The queue, of which the topic is told, was blocked.
    Blocked(Topic, RecipientId),
    /// Events may have been missed: everything that is subscribed here is to be looked at again.
    Missed,
}

/// What the store knows of something that is subscribed here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Nobody has a later claim.
    Here {
        /// Whether it is a queue in which messages wait.
        waiting: bool,
    },
    /// Another node has it, by this claim.
    Elsewhere(Claim),
    /// It is no more.
    Gone,
}

/// This node's ear for the others. Used on a thread of its own.
pub trait NodeEar: Send {
    /// Waits up to `patience` for events, and keeps this node's lease. After an error it may be called again.
    ///
    /// # Errors
    /// When the store cannot be reached; then [`NodeEvent::Missed`] follows once it can.
    fn events(&mut self, patience: Duration) -> Result<Vec<NodeEvent>>;

    /// Looks at what is subscribed here, in the same order, and brings back what the store lost of it.
    ///
    /// # Errors
    /// When the store cannot be reached.
    fn look_again(&mut self, held: &[(Topic, Option<Claim>)]) -> Result<Vec<Seen>>;
}

/// This node's voice. Used on a thread of its own. What it says need not outlive the database's memory.
pub trait NodeVoice: Send {
    /// Makes this node the one that has these subscriptions; those that had them are told, and for notifications all.
    /// Gives the claims in the same order.
    ///
    /// # Errors
    /// When the store cannot be reached, or takes this node for dead.
    fn claim(&mut self, topics: &[Topic]) -> Result<Vec<Claim>>;

    /// Gives up subscriptions that ended, unless there are later claims.
    ///
    /// # Errors
    /// When the store cannot be reached.
    fn release(&mut self, held: &[(Topic, Claim)]) -> Result<()>;

    /// Tells those nodes that have the subscriptions. Whether there is another one, for each in the same order.
    ///
    /// # Errors
    /// When the store cannot be reached; then some may have been told.
    fn tell(&mut self, news: &[(Topic, NodeEvent)]) -> Result<Vec<bool>>;

    /// Has all nodes look at their subscriptions again.
    ///
    /// # Errors
    /// When the store cannot be reached.
    fn tell_missed(&mut self) -> Result<()>;

    /// Says that this node is gone, with all that it had.
    fn leave(&mut self);
}
