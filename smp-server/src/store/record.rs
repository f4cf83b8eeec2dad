//! What is stored of a queue and of a message (smp.md §9.1).

use protocol::crypto::secretbox::BoxKey;
use protocol::smp::command::LinkData;
use protocol::smp::ids::{LinkId, MessageId, RecipientId, SenderId};
use protocol::smp::key::AuthPublicKey;
use protocol::smp::queue_uri::QueueMode;
use protocol::timestamp::Timestamp;
use zeroize::ZeroizeOnDrop;

/// A queue's number in its store, never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueNumber(pub i64);

/// An id under which a command names a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum QueueName {
    /// By its recipient.
    Recipient(RecipientId),
    /// By a sender.
    Sender(SenderId),
    /// By whoever opens its link.
    Link(LinkId),
}

/// The raw X25519 secret between the recipient and the server, by which messages are encrypted.
#[derive(Clone, PartialEq, Eq, ZeroizeOnDrop)]
pub struct DhSecret(pub [u8; 32]);

impl DhSecret {
    /// The key of the boxes around messages.
    #[must_use]
    pub fn box_key(&self) -> BoxKey {
        BoxKey::new(&self.0)
    }
}

impl std::fmt::Debug for DhSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DhSecret([scrubbed])")
    }
}

/// Whether senders may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueStatus {
    /// They may.
    Active,
    /// The recipient suspended the queue, for good.
    Off,
}

/// A stored queue, without its link data and messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueRecord {
    /// Its number in the store.
    pub number: QueueNumber,
    /// Its name for the recipient.
    pub recipient_id: RecipientId,
    /// Its name for senders.
    pub sender_id: SenderId,
    /// Any of these authorises the recipient's commands.
    pub recipient_keys: Vec<AuthPublicKey>,
    /// Encrypts its messages to the recipient.
    pub dh_secret: DhSecret,
    /// Authorises senders, once the queue is secured.
    pub sender_key: Option<AuthPublicKey>,
    /// Its mode, if the recipient said one.
    pub mode: Option<QueueMode>,
    /// Whether senders may send.
    pub status: QueueStatus,
    /// The day on which it was last used, see [`day_of`].
    pub used_on: i64,
}

/// A queue to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewQueue {
    /// Its name for the recipient.
    pub recipient_id: RecipientId,
    /// Its name for senders.
    pub sender_id: SenderId,
    /// Authorises the recipient's commands.
    pub recipient_key: AuthPublicKey,
    /// Encrypts its messages to the recipient.
    pub dh_secret: DhSecret,
    /// Its mode, if the recipient said one.
    pub mode: Option<QueueMode>,
    /// Its link id and link data, if it has them.
    pub link: Option<(LinkId, LinkData<'static>)>,
    /// The day of its making.
    pub used_on: i64,
}

/// A message to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewMessage<'a> {
    /// Its id, or that of the marker when the queue is full.
    pub id: MessageId,
    /// When the server received it.
    pub received_at: Timestamp,
    /// Whether the notifier is told.
    pub notify: bool,
    /// As the sender encrypted it.
    pub body: &'a [u8],
}

/// A stored message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMessage {
    /// Its id.
    pub id: MessageId,
    /// When the server received it.
    pub received_at: Timestamp,
    /// Whether the notifier is told.
    pub notify: bool,
    /// As the sender encrypted it; nothing is the marker of a full queue.
    pub body: Option<Vec<u8>>,
}

/// The day of a moment, as Unix seconds of its 00:00 UTC.
#[must_use]
pub fn day_of(now: Timestamp) -> i64 {
    const DAY_SECONDS: i64 = 86_400;
    now.seconds().div_euclid(DAY_SECONDS).saturating_mul(DAY_SECONDS)
}
