//! Steps and reads that come in great number: as data, so that an engine may do many of them at once.

use std::borrow::Cow;

use protocol::smp::ids::MessageId;
use protocol::timestamp::Timestamp;

use super::{AppendRules, NewMessage, QueueNumber, Topic};

/// A message on its way into a queue.
#[derive(Debug, Clone)]
pub struct Sent {
    /// The queue.
    pub queue: QueueNumber,
    /// The name of the message, which is the nonce of its delivery.
    pub id: MessageId,
    /// When the server received it.
    pub received_at: Timestamp,
    /// Whether the sender wants the notifier to be told.
    pub notify: bool,
    /// As the sender encrypted it.
    pub body: Cow<'static, [u8]>,
    /// How the queue takes it.
    pub rules: AppendRules,
}

impl Sent {
    /// What is stored of it.
    #[must_use]
    pub fn message(&self) -> NewMessage<'_> {
        NewMessage { id: self.id, received_at: self.received_at, notify: self.notify, body: &self.body }
    }
}

/// The head of a queue is to be read, for whoever is its subscriber or for anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The queue.
    pub queue: QueueNumber,
    /// By which subscription of this node; with another node's in its place the answer is
    /// [`super::StoreError::Elsewhere`].
    pub subscription: Option<Topic>,
}

/// A message is acknowledged: the head goes if it is this one, and the head after that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acknowledgement {
    /// Which message; none goes without.
    pub message_id: Option<MessageId>,
    /// Where.
    pub head: Head,
}
