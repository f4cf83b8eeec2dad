//! What is stored of a queue and of a message (smp.md §9.1).

use protocol::crypto::secretbox::BoxKey;
use protocol::smp::blocking::BlockingInfo;
use protocol::smp::command::LinkData;
use protocol::smp::ids::{LinkId, MessageId, NotifierId, RecipientId, SenderId, ServiceId};
use protocol::smp::key::AuthPublicKey;
use protocol::smp::queue_uri::QueueMode;
use protocol::timestamp::Timestamp;
use zeroize::ZeroizeOnDrop;

/// A queue's number in its store, never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueNumber(pub i64);

/// An id under which a command names a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QueueName {
    /// By its recipient.
    Recipient(RecipientId),
    /// By a sender.
    Sender(SenderId),
    /// By whoever opens its link.
    Link(LinkId),
    /// By its notifier.
    Notifier(NotifierId),
}

/// A raw X25519 secret between the recipient and the server, by which messages or notifications are encrypted.
#[derive(Clone, PartialEq, Eq, ZeroizeOnDrop)]
pub struct DhSecret(pub [u8; 32]);

impl DhSecret {
    /// The key of the boxes.
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

/// Whether senders may send (smp.md §9.2).
///
/// ```text
///    Active ──suspend──▶ Off          suspending is for good
///    │    ▲              │  ▲
///  block unblock       block unblock  blocking is the operator's, and leaves the recipient's will as it is
///    ▼    │              ▼  │
///    Blocked ──suspend──▶ Blocked, suspended
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueStatus {
    /// They may.
    Active,
    /// The recipient suspended the queue, for good.
    Off,
    /// The operator blocked the queue.
    Blocked {
        /// Why, as clients are told.
        info: BlockingInfo,
        /// Whether the recipient suspended it, too: then unblocking leaves it off.
        suspended: bool,
    },
}

impl QueueStatus {
    /// The status of a queue of which is stored whether it is suspended, and why it is blocked if it is.
    #[must_use]
    pub fn from_parts(suspended: bool, blocking: Option<BlockingInfo>) -> Self {
        match (blocking, suspended) {
            (Some(info), suspended) => Self::Blocked { info, suspended },
            (None, true) => Self::Off,
            (None, false) => Self::Active,
        }
    }

    /// After the recipient suspends the queue. A block stays.
    #[must_use]
    pub fn suspended(self) -> Self {
        Self::from_parts(true, self.blocking())
    }

    /// After the operator blocks the queue, or blocks it for another reason.
    #[must_use]
    pub fn blocked(self, info: BlockingInfo) -> Self {
        Self::from_parts(self.is_suspended(), Some(info))
    }

    /// After the operator unblocks the queue.
    #[must_use]
    pub fn unblocked(self) -> Self {
        Self::from_parts(self.is_suspended(), None)
    }

    /// Whether the recipient suspended the queue.
    #[must_use]
    pub fn is_suspended(self) -> bool {
        matches!(self, Self::Off | Self::Blocked { suspended: true, .. })
    }

    /// Why the queue is blocked, if it is.
    #[must_use]
    pub fn blocking(self) -> Option<BlockingInfo> {
        match self {
            Self::Blocked { info, .. } => Some(info),
            Self::Active | Self::Off => None,
        }
    }
}

/// Who is notified of a queue's messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notifier {
    /// The queue's name for the notifier.
    pub id: NotifierId,
    /// Authorises the notifier.
    pub key: AuthPublicKey,
    /// Encrypts notifications to the recipient.
    pub dh_secret: DhSecret,
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
    /// Who is notified of its messages, if anybody is.
    pub notifier: Option<Notifier>,
    /// Whether senders may send.
    pub status: QueueStatus,
    /// The day on which it was last used, see [`day_of`].
    pub used_on: i64,
    /// The service to which its messages go, if they go to one.
    pub recipient_service: Option<ServiceId>,
    /// The service to which its notifications go, if they go to one.
    pub notifier_service: Option<ServiceId>,
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
    /// Who is notified of its messages, if anybody is.
    pub notifier: Option<Notifier>,
    /// The day of its making.
    pub used_on: i64,
    /// The service to which its messages go, if they go to one.
    pub recipient_service: Option<ServiceId>,
}

impl NewQueue {
    /// The queue as it is at first, without its number.
    #[must_use]
    pub fn whole(&self) -> WholeQueue {
        let record = QueueRecord {
            number: QueueNumber(0),
            recipient_id: self.recipient_id,
            sender_id: self.sender_id,
            recipient_keys: vec![self.recipient_key],
            dh_secret: self.dh_secret.clone(),
            sender_key: None,
            mode: self.mode,
            notifier: self.notifier.clone(),
            status: QueueStatus::Active,
            used_on: self.used_on,
            recipient_service: self.recipient_service,
            notifier_service: None,
        };
        WholeQueue { record, link: self.link.clone() }
    }
}

/// A stored queue with its link, to be taken to another store. Its messages go beside it, since there may be many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WholeQueue {
    /// The queue. Its number holds in the store that it comes from.
    pub record: QueueRecord,
    /// Its link id and link data, if it has them.
    pub link: Option<(LinkId, LinkData<'static>)>,
}

/// How much a store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoreCounts {
    /// Queues.
    pub queues: u64,
    /// Messages, markers of full queues included.
    pub messages: u64,
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
