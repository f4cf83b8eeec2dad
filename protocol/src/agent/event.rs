//! What a connection tells the application (agent.md §4.10).

use crate::timestamp::Timestamp;

use super::invitation::Invitation;

/// Something that happened on a connection. Every event belongs to the transaction in which it was taken: the
/// application stores its effect there, and commits.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The server has created the queue of a contact address, with its link data.
    AddressCreated,
    /// The server has stored link data; one event per `set_link_data`, in the order of the calls.
    LinkDataSet,
    /// Somebody asks at a contact address for a connection: accept the invitation or drop it.
    Request {
        /// What `accept` takes.
        invitation: Invitation,
        /// The requester's words, not encrypted by a ratchet.
        info: Vec<u8>,
    },
    /// The peer has answered our request: `allow` it, or delete the connection.
    Confirmation {
        /// The peer's words.
        info: Vec<u8>,
    },
    /// The peer has allowed us.
    Info {
        /// The peer's words.
        info: Vec<u8>,
    },
    /// Both directions work.
    Connected,
    /// A message for the application.
    Message {
        /// The sender's number of it.
        number: i64,
        /// SHA-256 of the whole agent message, for a receipt.
        hash: [u8; 32],
        /// When the peer's server took it.
        server_time: Timestamp,
        /// Whether it follows the message before it.
        integrity: Integrity,
        /// The application's bytes.
        body: Vec<u8>,
    },
    /// The server of the peer's queue has our message.
    Sent {
        /// As `send` gave it.
        number: i64,
    },
    /// Our message will not be sent; it is given up.
    SendFailed {
        /// As `send` gave it.
        number: i64,
        /// Why.
        reason: SendFailure,
    },
    /// The peer's queue is full, or its operator has blocked it; what is sent waits, in order.
    QuotaExceeded,
    /// The peer's queue takes messages again; sending goes on.
    QuotaResumed,
    /// The peer's application has taken messages of ours.
    Receipts(Vec<Receipt>),
    /// The ratchets went out of step, or back into it.
    RatchetSync(SyncState),
    /// The peer moved to another queue, and we with it.
    Switched,
    /// A message was acknowledged and ignored. Nothing changed; for logs and evidence.
    Ignored(Refusal),
    /// The connection cannot be established or used any more: delete it. After a failure to write link data or new
    /// ratchet keys it stays as it was.
    Failed {
        /// Why.
        reason: Failure,
    },
    /// The own queue of a connection that stood is gone from its server: nothing is heard any more, though what is sent
    /// still reaches the peer. Told again at each start, until the connection is deleted.
    QueueGone,
    /// The connection and its queue are gone.
    Deleted,
}

/// How a message follows the one before it (agent.md §4.3). Reported only: nothing is dropped for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Integrity {
    /// The next number, and the hash of the message before.
    Ok,
    /// A number below the last one.
    BadId,
    /// The last number again.
    Duplicate,
    /// Numbers are missing, both ends included.
    Skipped {
        /// The first missing one.
        first: i64,
        /// The last missing one.
        last: i64,
    },
    /// The next number, but the hash is not that of the message before.
    BadHash,
}

/// Why a message was given up (agent.md §6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum SendFailure {
    /// The server could not be reached for two days.
    #[error("the peer's server was out of reach for too long")]
    Expired,
    /// The peer's queue stayed full for seven days.
    #[error("the peer's queue stayed full for too long")]
    QuotaExpired,
    /// The operator of the peer's server kept its queue blocked for seven days.
    #[error("the peer's queue stayed blocked for too long")]
    BlockedForLong,
    /// The peer's queue does not exist any more, or does not know our key.
    #[error("the peer's queue does not take messages from us any more")]
    NoQueue,
    /// What it was to be made of was taken back before it was sent.
    #[error("the message was taken back")]
    TakenBack,
    /// The server refused for another reason.
    #[error("the peer's server refused the message")]
    Refused,
}

/// A peer's word that it has a message of ours (agent.md §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// The number of our message.
    pub number: i64,
    /// Whether the peer saw the bytes that we sent.
    pub intact: bool,
}

/// Whether the two ratchets are in step (agent.md §6.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SyncState {
    /// In step.
    Ok,
    /// A message could not be decrypted: re-synchronisation is worth a try.
    Allowed,
    /// Nothing can be decrypted: re-synchronise. Sending is refused.
    Required,
    /// Our new keys are on their way. Sending is refused.
    Started,
    /// New keys were exchanged, but not used yet. Sending is refused.
    Agreed,
}

impl SyncState {
    /// Whether messages may be sent.
    #[must_use]
    pub fn may_send(self) -> bool {
        matches!(self, Self::Ok | Self::Allowed)
    }
}

/// Why an incoming message was acknowledged and ignored (agent.md §2.4, §6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Refusal {
    /// The server's or the queue's box does not open.
    #[error("the box does not open")]
    Box,
    /// The bytes are no envelope or agent message.
    #[error("not an agent message")]
    Malformed,
    /// Well formed, but not allowed in this state of the connection.
    #[error("not allowed in this state of the connection")]
    Prohibited,
    /// A version that we do not speak.
    #[error("a version that is not supported")]
    Version,
    /// The ratchet cannot decrypt it.
    #[error("the ratchet cannot decrypt it")]
    Ratchet,
    /// A second copy of a message that could not be decrypted before.
    #[error("a copy of a message that is known")]
    Duplicate,
    /// A rotation message that names no queue of ours, or an unknown one.
    #[error("it names a queue that this connection does not have")]
    Queue,
}

/// Why a connection cannot be established or used any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Failure {
    /// Our server refuses to create the queue: new queues are off, or the create password is wrong.
    #[error("the server refuses to create a queue; check its create password")]
    QueueRefused,
    /// The address exists already: an earlier answer of the server was lost. Start from a new draft.
    #[error("the answer to the creation of this address was lost; create a new address")]
    AnswerLost,
    /// The server's answer does not fit what was asked.
    #[error("the server's answer does not fit the request")]
    BadAnswer,
    /// The peer's queue does not exist, or another has secured it.
    #[error("the other side's queue is not available; ask for a new link")]
    NotAvailable,
    /// The server could not be reached for two days.
    #[error("the server was out of reach for too long")]
    Expired,
    /// Our own queue is gone from its server, before the connection stood. An address may be created again under the same link.
    #[error("the own queue is gone from its server")]
    QueueGone,
    /// The link data could not be written.
    #[error("the server refuses the link data")]
    LinkDataRefused,
}
