//! What the operator does to queues: blocks, unblocks and deletes them, by the ids that others complain about
//! (smp.md §9.2, §18.4).
//!
//! A blocked queue refuses its senders, and its recipient everything but `OFF` and `DEL`. What waits in it stays, and
//! what the recipient wants stays, too: a queue that was suspended before or while it was blocked is off afterwards.

use std::sync::{Mutex, PoisonError};

use protocol::base64url;
use protocol::smp::error::BlockingInfo;
use protocol::smp::ids::{LinkId, SenderId};
use thiserror::Error;

use crate::server::Server;
use crate::store::{Deleted, QueueName, QueueNumber, QueueRecord, QueueStatus, StoreError};

/// Names a queue as those know it who do not own it: by its sender id or by its link id, which look the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownId(pub [u8; 24]);

impl std::str::FromStr for KnownId {
    type Err = ModerationError;

    /// Reads base64url.
    fn from_str(text: &str) -> Result<Self, ModerationError> {
        let bytes = base64url::decode(text).map_err(|_| ModerationError::Id)?;
        bytes.try_into().map(Self).map_err(|_| ModerationError::Id)
    }
}

/// Why the operator's will was not done.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ModerationError {
    /// The id is none.
    #[error("this is no id: give the sender id or the link id of a queue, 32 characters of base64url")]
    Id,
    /// No queue has the id.
    #[error("no queue has this id: give its sender id or its link id, as in an address or a link")]
    NoQueue,
    /// A queue that is not blocked cannot be unblocked.
    #[error("the queue is not blocked")]
    NotBlocked,
    /// So many queues were blocked today as may be.
    #[error("{0} queues were blocked today: raise blocks_per_day, or wait until 00:00 UTC")]
    TooMany(u32),
    /// The store failed.
    #[error("the store failed: {0}")]
    Store(#[from] StoreError),
}

/// Queues blocked on a day. A restart begins anew.
#[derive(Debug, Default)]
pub(crate) struct BlockedToday(Mutex<(i64, u32)>);

impl BlockedToday {
    /// Counts one more, unless there are `most`.
    fn take(&self, today: i64, most: u32) -> bool {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counted.0 != today {
            *counted = (today, 0);
        }
        let is_allowed = counted.1 < most;
        counted.1 = counted.1.saturating_add(u32::from(is_allowed));
        is_allowed
    }
}

impl Server {
    /// The queue with this id, if there is one.
    ///
    /// # Errors
    /// [`ModerationError::NoQueue`], or [`ModerationError::Store`] as for everything here.
    pub async fn known_queue(&self, id: KnownId) -> Result<QueueRecord, ModerationError> {
        let names = [QueueName::Sender(SenderId(id.0)), QueueName::Link(LinkId(id.0))];
        for name in names {
            if let Some(queue) = self.store.read(move |reader| reader.queue(&name)).await? {
                return Ok(queue);
            }
        }
        Err(ModerationError::NoQueue)
    }

    /// Blocks a queue, or changes why it is blocked, and tells its subscriber. Says what its status was.
    ///
    /// # Errors
    /// [`ModerationError::NoQueue`]; [`ModerationError::TooMany`] when the day's number is reached, which a queue
    /// that is blocked already does not count towards.
    pub async fn block(&self, id: KnownId, info: BlockingInfo) -> Result<QueueStatus, ModerationError> {
        let queue = self.known_queue(id).await?;
        let most = self.settings.limits.blocks_per_day;
        if queue.status.blocking().is_none() && !self.blocked_today.take(self.today(), most) {
            return Err(ModerationError::TooMany(most));
        }
        let former = self.store.write_to(&queue, move |store| store.block_queue(queue.number, info)).await?;
        self.subscriptions.blocked(queue.recipient_id, info);
        if let Some(service) = queue.recipient_service {
            self.services.blocked(service, queue.recipient_id, info);
        }
        self.tell_blocked(queue.recipient_id, queue.recipient_service);
        Ok(former)
    }

    /// Unblocks a queue: what waits in it goes to its subscriber. Says what its status was.
    ///
    /// # Errors
    /// [`ModerationError::NoQueue`], [`ModerationError::NotBlocked`].
    pub async fn unblock(&self, id: KnownId) -> Result<QueueStatus, ModerationError> {
        let queue = self.known_queue(id).await?;
        let former = self.store.write_to(&queue, move |store| store.unblock_queue(queue.number)).await?;
        if former.blocking().is_none() {
            return Err(ModerationError::NotBlocked);
        }
        self.arrived(&queue);
        Ok(former)
    }

    /// Deletes a queue with all it holds, and tells its subscriber and its notifier.
    ///
    /// # Errors
    /// [`ModerationError::NoQueue`].
    pub async fn delete(&self, id: KnownId) -> Result<Deleted, ModerationError> {
        let queue = self.known_queue(id).await?;
        let deleted = self.store.write_to(&queue, move |store| store.delete_queue(queue.number)).await?;
        self.forget_queue(&queue, deleted.notifier, None);
        Ok(deleted)
    }

    /// Queues with damaged messages, and how many those are. Reads all that is stored, a few queues at a time.
    ///
    /// # Errors
    /// [`ModerationError::Store`].
    pub async fn damaged_queues(&self) -> Result<Vec<(QueueNumber, u32)>, ModerationError> {
        /// Their messages take some ten milliseconds to be read.
        const QUEUES_PER_READ: u32 = 8;
        let (mut found, mut after) = (Vec::new(), Some(QueueNumber(0)));
        while let Some(from) = after {
            let page = self.store.read(move |reader| reader.damaged_queues(from, QUEUES_PER_READ)).await?;
            found.extend(page.queues);
            after = page.next;
        }
        Ok(found)
    }

    /// Drops the damaged messages of a queue, and has its subscriber get what was behind them. Says how many they were.
    ///
    /// # Errors
    /// [`ModerationError::NoQueue`].
    pub async fn drop_damaged(&self, id: KnownId) -> Result<u64, ModerationError> {
        let queue = self.known_queue(id).await?;
        self.drop_damaged_of(&queue).await
    }

    /// The same in all queues.
    ///
    /// # Errors
    /// [`ModerationError::Store`].
    pub async fn drop_all_damaged(&self) -> Result<u64, ModerationError> {
        let mut dropped = 0_u64;
        for (number, _) in self.damaged_queues().await? {
            let before = QueueNumber(number.0.saturating_sub(1));
            let page = self.store.read(move |reader| reader.queues_after(before, 1)).await?;
            if let Some(queue) =
                page.first().map(|queue| &queue.record).filter(|queue| queue.number == number)
            {
                match self.drop_damaged_of(queue).await {
                    // Its recipient deleted it meanwhile.
                    Err(ModerationError::Store(StoreError::NoQueue)) => {}
                    of_queue => dropped = dropped.saturating_add(of_queue?),
                }
            }
        }
        Ok(dropped)
    }

    async fn drop_damaged_of(&self, queue: &QueueRecord) -> Result<u64, ModerationError> {
        let number = queue.number;
        let dropped = self.store.write_beside_records(move |store| store.drop_damaged(number)).await?;
        let dropped = u64::from(dropped);
        if dropped > 0 {
            tracing::warn!(dropped, "damaged messages of a queue were dropped");
            self.metrics.damaged_messages_dropped.add(dropped);
            self.arrived(queue);
            self.subscriptions.look_again(queue.recipient_id);
        }
        Ok(dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_has_so_many_blocks() {
        let blocked = BlockedToday::default();
        let today: Vec<bool> = (0..3).map(|_| blocked.take(86_400, 2)).collect();
        assert_eq!(today, [true, true, false]);
        assert!(blocked.take(172_800, 2), "another day");
        assert!(!BlockedToday::default().take(0, 0));
    }

    #[test]
    fn an_id_has_32_characters() {
        assert_eq!("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".parse::<KnownId>().unwrap(), KnownId([0; 24]));
        for text in ["", "AAAA", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA!", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"] {
            assert!(matches!(text.parse::<KnownId>(), Err(ModerationError::Id)), "{text}");
        }
    }
}
