//! Where queues and messages are kept.
//!
//! ```text
//! commands ──steps──▶ Store ──▶ writer thread: begin · step · step · … · commit ──▶ answers
//!          ──reads──▶       ──▶ reader threads, which see what is committed
//! ```
//!
//! A method of [`QueueStore`] is one step of the protocol and applies wholly or not at all. Steps of many
//! connections share one commit, and none is answered before that commit is durable ([`group_commit`]).

mod bulk;
mod cache;
pub(crate) mod columns;
#[cfg(test)]
mod contract;
mod failure;
mod group_commit;
mod log;
mod memory;
mod nodes;
mod postgres;
mod record;
mod service;
mod sqlite;
mod transfer;

use std::sync::Arc;

use protocol::smp::blocking::BlockingInfo;
use protocol::smp::command::LinkData;
use protocol::smp::ids::{LinkId, MessageId, NotifierId, ServiceId};
use protocol::smp::key::AuthPublicKey;
use protocol::timestamp::Timestamp;
use thiserror::Error;

pub use bulk::{Acknowledgement, Head, Sent};
pub use failure::{Failure, FailureKind};
pub use group_commit::{CommitWatch, Store, StoreThreads};
pub use memory::MemoryStore;
pub use nodes::{Claim, NodeEar, NodeEvent, NodeVoice, Seen, Topic};
pub use postgres::PostgresStore;
pub use record::{
    DhSecret, NewMessage, NewQueue, Notifier, QueueName, QueueNumber, QueueRecord, QueueStatus, StoreCounts,
    StoredMessage, WholeQueue, day_of,
};
pub use service::{BacklogPage, NewService, ServiceQueue, ServiceRecord, Stream};
pub use sqlite::{SqliteStore, Verified, back_up, verify};
pub use transfer::{Totals, export, import};

/// Why a step or a read has no result.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The queue was deleted in the meantime.
    #[error("there is no such queue")]
    NoQueue,
    /// The database or the disk refused; its kind says what that means.
    #[error("the database refused: {0}")]
    Database(#[from] Failure),
    /// What is stored does not have the form that this program writes.
    #[error("a stored {0} is damaged: stop the server and restore its directory from a backup")]
    Damaged(&'static str),
    /// The database was written by a newer version of this program.
    #[error("the database was written by a newer smp-server: use that version or a later one")]
    Newer,
    /// The commit that this step shared with others failed. Nothing of the step was stored, unless the connection to
    /// the database broke meanwhile ([`FailureKind::InDoubt`]).
    #[error("a commit failed: {0}")]
    Commit(String),
    /// After a failed commit that leaves the state of the disk unknown, nothing more is written.
    #[error("writing was stopped after a failure of the disk: check it and start the server again")]
    Halted,
    /// Another node has the subscriber of the queue, by this claim.
    #[error("another server has the subscriber of the queue")]
    Elsewhere(Claim),
    /// The server is stopping.
    #[error("the store is closed")]
    Closed,
}

/// The result of a read or step.
pub type Result<T> = std::result::Result<T, StoreError>;

/// What can be seen of stored queues.
pub trait QueueReader: Send {
    /// How many reads of different connections one visit may do: more than one when a visit takes long and reads cost
    /// little.
    fn reads_per_visit(&self) -> usize {
        1
    }

    /// The queue under one of its ids.
    ///
    /// # Errors
    /// [`StoreError::Database`] or [`StoreError::Damaged`], as for every read.
    fn queue(&mut self, name: &QueueName) -> Result<Option<QueueRecord>>;

    /// Many of [`Self::queue`], answered in the same order.
    fn queues(&mut self, names: &[QueueName]) -> Vec<Result<Option<QueueRecord>>> {
        names.iter().map(|name| self.queue(name)).collect()
    }

    /// Many of [`Self::first_message`], answered in the same order.
    fn heads(&mut self, heads: &[Head]) -> Vec<Result<Option<StoredMessage>>> {
        heads.iter().map(|head| self.first_message(head.queue)).collect()
    }

    /// The queue's link data.
    ///
    /// # Errors
    /// As for every read.
    fn link_data(&mut self, queue: QueueNumber) -> Result<Option<LinkData<'static>>>;

    /// The message at the head of the queue.
    ///
    /// # Errors
    /// As for every read.
    fn first_message(&mut self, queue: QueueNumber) -> Result<Option<StoredMessage>>;

    /// How many messages wait, a marker included.
    ///
    /// # Errors
    /// As for every read.
    fn message_count(&mut self, queue: QueueNumber) -> Result<u32>;

    /// Up to `limit` queues with a number above `after`, by their numbers: all queues, page by page.
    ///
    /// # Errors
    /// As for every read.
    fn queues_after(&mut self, after: QueueNumber, limit: u32) -> Result<Vec<WholeQueue>>;

    /// All messages of a queue, the head first. Their number is bounded by the quota.
    ///
    /// # Errors
    /// As for every read.
    fn messages(&mut self, queue: QueueNumber) -> Result<Vec<StoredMessage>>;

    /// How many messages of the queue are not as they were written, and so are not delivered. A store that leaves checksums
    /// to others has none.
    ///
    /// # Errors
    /// As for every read.
    fn damaged_messages(&mut self, queue: QueueNumber) -> Result<u32> {
        let _ = queue;
        Ok(0)
    }

    /// Those of the next `limit` queues with messages, in the order of their numbers behind `after`, that have damaged
    /// ones. Reads all that waits in them.
    ///
    /// # Errors
    /// As for every read.
    fn damaged_queues(&mut self, after: QueueNumber, limit: u32) -> Result<DamagedPage> {
        let _ = (after, limit);
        Ok(DamagedPage::default())
    }

    /// How much there is. Takes longer the more there is.
    ///
    /// # Errors
    /// As for every read.
    fn counts(&mut self) -> Result<StoreCounts>;

    /// The service with an identity certificate of this SHA-256.
    ///
    /// # Errors
    /// As for every read.
    fn service(&mut self, fingerprint: &[u8; 32]) -> Result<Option<ServiceRecord>>;

    /// Up to `limit` services with a fingerprint above `after`, by their fingerprints: all services, page by page.
    ///
    /// # Errors
    /// As for every read.
    fn services_after(&mut self, after: &[u8; 32], limit: u32) -> Result<Vec<NewService>>;

    /// How many queues give their messages, or their notifications, to a service of this role. Must not take longer
    /// than to count what is its own.
    ///
    /// # Errors
    /// As for every read.
    fn service_queue_count(&mut self, service: ServiceRecord) -> Result<u64>;

    /// Looks at the next `limit` queues that give their messages to the service, in the order of their numbers,
    /// beginning after `after`, and gives those in which messages wait or that are blocked. Pages together must not take
    /// longer than to go through what is its own.
    ///
    /// # Errors
    /// As for every read.
    fn service_backlog(&mut self, service: ServiceId, after: QueueNumber, limit: u32) -> Result<BacklogPage>;
}

/// What can be seen of stored queues without a wait for disk or network, on any thread.
pub trait PromptReader: Send + Sync {
    /// The message at the head of the queue, as [`QueueReader::first_message`]; nothing when that one must be asked.
    fn first_message(&self, queue: QueueNumber) -> Option<Option<StoredMessage>>;
}

/// The steps by which stored queues change. Each fails with [`StoreError::NoQueue`] when the queue is gone.
pub trait QueueStore: Send {
    /// Whether nobody else changes what is stored while this process runs: then records may be remembered.
    fn is_ours_alone(&self) -> bool {
        false
    }

    /// A view of what is committed, for another thread.
    ///
    /// # Errors
    /// When the database cannot be opened once more.
    fn open_reader(&self) -> Result<Box<dyn QueueReader>>;

    /// A view of what is in memory, if some of what is committed is.
    fn prompt_reader(&self) -> Option<Arc<dyn PromptReader>> {
        None
    }

    /// Ear and voice of one of several servers on the same store, which hold leases of this length; nothing when there
    /// can be one only.
    fn join_nodes(&self, lease: std::time::Duration) -> Option<(Box<dyn NodeEar>, Box<dyn NodeVoice>)> {
        let _ = lease;
        None
    }

    /// Another writer on the same store that may work at the same time; nothing when there can be one only.
    fn second_writer(&self) -> Option<Box<dyn QueueStore>> {
        None
    }

    /// Opens a group of steps.
    ///
    /// # Errors
    /// When the database refuses.
    fn begin(&mut self) -> Result<()>;

    /// Opens a group of steps that are about these queues, each named at least once, and about new ones.
    ///
    /// # Errors
    /// When the database refuses.
    fn begin_on(&mut self, queues: &[QueueNumber]) -> Result<()> {
        let _ = queues;
        self.begin()
    }

    /// Makes the steps since [`Self::begin`] durable, all of them.
    ///
    /// # Errors
    /// When the database refuses: then none of them is stored.
    fn commit(&mut self) -> Result<()>;

    /// Stores a new queue.
    ///
    /// # Errors
    /// As every step.
    fn create_queue(&mut self, queue: &NewQueue) -> Result<Created>;

    /// Sets the sender's key, once.
    ///
    /// # Errors
    /// As every step.
    fn secure_queue(&mut self, queue: QueueNumber, sender_key: &AuthPublicKey) -> Result<Secured>;

    /// Replaces all recipient keys.
    ///
    /// # Errors
    /// As every step.
    fn replace_recipient_keys(&mut self, queue: QueueNumber, keys: &[AuthPublicKey]) -> Result<()>;

    /// Sets link data, or changes the user part of those that are there.
    ///
    /// # Errors
    /// As every step.
    fn set_link_data(&mut self, queue: QueueNumber, link_id: LinkId, data: &LinkData<'_>) -> Result<LinkSet>;

    /// Deletes link data, if there are any.
    ///
    /// # Errors
    /// As every step.
    fn delete_link_data(&mut self, queue: QueueNumber) -> Result<()>;

    /// Puts a message at the end of the queue, or the marker when it is full (smp.md §10.4). Deletes the link data of a
    /// secured queue that is not a contact queue: its invitation has been used.
    ///
    /// # Errors
    /// As every step.
    fn append_message(
        &mut self,
        queue: QueueNumber,
        message: &NewMessage<'_>,
        rules: AppendRules,
    ) -> Result<Appended>;

    /// Deletes the head if it is this message, and gives the head after that.
    ///
    /// # Errors
    /// As every step.
    fn acknowledge(
        &mut self,
        queue: QueueNumber,
        message_id: Option<MessageId>,
    ) -> Result<Option<StoredMessage>>;

    /// Many of [`Self::create_queue`], answered in the same order.
    fn create_queues(&mut self, new: &[NewQueue]) -> Vec<Result<Created>> {
        new.iter().map(|one| self.create_queue(one)).collect()
    }

    /// Many of [`Self::append_message`], answered in the same order.
    fn append_messages(&mut self, sent: &[Sent]) -> Vec<Result<Appended>> {
        sent.iter().map(|one| self.append_message(one.queue, &one.message(), one.rules)).collect()
    }

    /// Many of [`Self::acknowledge`], answered in the same order.
    fn acknowledge_messages(
        &mut self,
        acknowledged: &[Acknowledgement],
    ) -> Vec<Result<Option<StoredMessage>>> {
        acknowledged.iter().map(|one| self.acknowledge(one.head.queue, one.message_id)).collect()
    }

    /// Removes the damaged messages of the queue; the others stay in their order. Says how many they were.
    ///
    /// # Errors
    /// As every step.
    fn drop_damaged(&mut self, queue: QueueNumber) -> Result<u32> {
        let _ = queue;
        Ok(0)
    }

    /// Refuses senders from now on. Suspending twice is allowed; a block stays.
    ///
    /// # Errors
    /// As every step.
    fn suspend_queue(&mut self, queue: QueueNumber) -> Result<()>;

    /// Deletes the queue with its messages, link data and notifier.
    ///
    /// # Errors
    /// As every step.
    fn delete_queue(&mut self, queue: QueueNumber) -> Result<Deleted>;

    /// Sets the queue's notifier, in place of the one that is there.
    ///
    /// # Errors
    /// As every step.
    fn set_notifier(&mut self, queue: QueueNumber, notifier: &Notifier) -> Result<NotifierSet>;

    /// Deletes the queue's notifier and says which it was, if there was one.
    ///
    /// # Errors
    /// As every step.
    fn delete_notifier(&mut self, queue: QueueNumber) -> Result<Option<NotifierId>>;

    /// Blocks the queue, or changes why it is blocked. Says what its status was.
    ///
    /// # Errors
    /// As every step.
    fn block_queue(&mut self, queue: QueueNumber, info: BlockingInfo) -> Result<QueueStatus>;

    /// Unblocks the queue, if it is blocked. Says what its status was.
    ///
    /// # Errors
    /// As every step.
    fn unblock_queue(&mut self, queue: QueueNumber) -> Result<QueueStatus>;

    /// Stores a service, unless one with this fingerprint is there. Gives the one that is stored, whose role may be
    /// another.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    fn add_service(&mut self, new: &NewService) -> Result<ServiceRecord>;

    /// Gives a stream of the queue to a stored service, or to none, and says which had it before.
    ///
    /// # Errors
    /// As every step; [`StoreError::NoQueue`] also when the queue has another notifier, or none.
    fn associate(
        &mut self,
        queue: QueueNumber,
        stream: Stream,
        service: Option<ServiceId>,
    ) -> Result<Option<ServiceId>>;

    /// Notes the day on which queues were used. Queues that are gone are passed over.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    fn mark_used(&mut self, queues: &[QueueNumber], day: i64) -> Result<()>;

    /// Stores a queue of another store as it is, under a new number. Its services must have been added before.
    ///
    /// # Errors
    /// As every step.
    fn restore_queue(&mut self, queue: &WholeQueue) -> Result<Created>;

    /// Puts a message of another store at the end of the queue as it is, without regard to quota and status.
    ///
    /// # Errors
    /// As every step.
    fn restore_message(&mut self, queue: QueueNumber, message: &StoredMessage) -> Result<()>;

    /// Deletes expired messages from the heads of queues, looking at `limit` messages from `cursor` on.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    fn expire_messages(&mut self, before: Timestamp, cursor: ExpiryCursor, limit: u32) -> Result<ExpiryPage>;
}

/// What became of a new queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// It is stored.
    Stored(QueueNumber),
    /// One of its ids belongs to another queue. Nothing was stored.
    IdTaken,
}

/// What was deleted with a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deleted {
    /// Its notifier, if it had one.
    pub notifier: Option<NotifierId>,
    /// How many messages waited in it, a marker included.
    pub messages: u32,
}

/// What became of a new notifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotifierSet {
    /// It is stored.
    Stored {
        /// The notifier in whose place it is.
        replaced: Option<NotifierId>,
    },
    /// Its id belongs to another queue. Nothing changed.
    IdTaken,
}

/// What became of the attempt to secure a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secured {
    /// The queue is secured with this key, now or before.
    WithThisKey,
    /// The queue was secured with another key. Nothing changed.
    WithAnother,
}

/// What became of new link data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkSet {
    /// They are stored.
    Stored,
    /// The queue is secured and no contact queue, or it has another link id or other fixed data, or the link id
    /// belongs to another queue. Nothing changed.
    Refused,
}

/// How a queue takes messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppendRules {
    /// Messages that fit.
    pub quota: u32,
    /// Messages received before this moment are removed from the head first.
    pub expire_before: Option<Timestamp>,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// It is stored.
    Stored,
    /// The queue is full. `marked` when this attempt put the marker at its end.
    Full {
        /// Whether there is a new marker to deliver.
        marked: bool,
    },
    /// The queue is suspended. Nothing changed.
    Suspended,
    /// The queue is blocked. Nothing changed.
    Blocked(BlockingInfo),
}

/// Where a look for expired messages goes on. The default is its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExpiryCursor {
    /// The time of the last message looked at.
    pub received_at: i64,
    /// Its number.
    pub number: i64,
}

/// What one look for damaged messages found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DamagedPage {
    /// Queues, and how many of their messages are damaged.
    pub queues: Vec<(QueueNumber, u32)>,
    /// Where to go on; nothing when all were looked at.
    pub next: Option<QueueNumber>,
}

/// What one look for expired messages did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpiryPage {
    /// Messages deleted.
    pub deleted: u64,
    /// Where to go on; nothing when all were looked at.
    pub next: Option<ExpiryCursor>,
}
