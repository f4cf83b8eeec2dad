//! Records of queues in memory: most commands then need not ask the database who may do what.
//!
//! ```text
//! queues ──found──▶ record
//!    └──missing──▶ read what is committed ──▶ remember, unless a change came between
//! step that changes a record: commit ──▶ forget it ──▶ answer
//! ```
//!
//! What is remembered is never older than the last answered change. A read that began before a change was committed
//! could bring the former record after it: so each part of the cache counts its changes, and what was read under
//! another count is not remembered.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{QueueName, QueueRecord};

/// Parts with a lock each: more than cores, so that connections seldom wait for each other.
const PARTS: usize = 64;

/// The records of queues that were used lately.
#[derive(Debug)]
pub(super) struct RecordCache {
    hasher: RandomState,
    parts: Vec<Mutex<Part>>,
    /// Records in a part; then it starts anew, which costs less than to know which was used last.
    part_records_max: usize,
}

#[derive(Debug, Default)]
struct Part {
    records: HashMap<QueueName, QueueRecord>,
    changes: u64,
}

/// How many changes a part had seen when a record was missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Missing(u64);

impl RecordCache {
    /// A cache of so many records.
    pub(super) fn new(records_max: usize) -> Self {
        Self {
            hasher: RandomState::new(),
            parts: (0..PARTS).map(|_| Mutex::default()).collect(),
            part_records_max: records_max.div_ceil(PARTS),
        }
    }

    fn part(&self, name: &QueueName) -> MutexGuard<'_, Part> {
        let count = self.parts.len() as u64;
        let index = usize::try_from(self.hasher.hash_one(name) % count).unwrap_or_default();
        let part = self.parts.get(index).expect("an index modulo the count lies within");
        part.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The record under this name, or the state in which it is missing.
    pub(super) fn find(&self, name: &QueueName) -> Result<QueueRecord, Missing> {
        let part = self.part(name);
        part.records.get(name).cloned().ok_or(Missing(part.changes))
    }

    /// Remembers a record that was read after it was missing.
    pub(super) fn remember(&self, name: QueueName, record: &QueueRecord, missing: Missing) {
        // Names that a change of the queue may change, too, are looked up each time.
        if !matches!(name, QueueName::Recipient(_) | QueueName::Sender(_)) {
            return;
        }
        let mut part = self.part(&name);
        if part.changes != missing.0 {
            return;
        }
        if part.records.len() >= self.part_records_max {
            part.records.clear();
        }
        part.records.insert(name, record.clone());
    }

    /// The record of this queue was changed.
    pub(super) fn forget(&self, queue: &[QueueName; 2]) {
        for name in queue {
            let mut part = self.part(name);
            part.changes = part.changes.wrapping_add(1);
            part.records.remove(name);
        }
    }
}

/// The names under which a queue's record is remembered; they are the queue's for ever.
pub(super) fn lasting_names(queue: &QueueRecord) -> [QueueName; 2] {
    [QueueName::Recipient(queue.recipient_id), QueueName::Sender(queue.sender_id)]
}

#[cfg(test)]
mod tests {
    use protocol::smp::ids::{RecipientId, SenderId};

    use super::*;
    use crate::store::{DhSecret, QueueNumber, QueueStatus};

    fn record(seed: u8) -> QueueRecord {
        QueueRecord {
            number: QueueNumber(seed.into()),
            recipient_id: RecipientId([seed; 24]),
            sender_id: SenderId([seed; 24]),
            recipient_keys: Vec::new(),
            dh_secret: DhSecret([seed; 32]),
            sender_key: None,
            mode: None,
            notifier: None,
            status: QueueStatus::Active,
            used_on: 0,
            recipient_service: None,
            notifier_service: None,
        }
    }

    #[test]
    fn what_was_read_before_a_change_is_not_remembered() {
        let (cache, queue) = (RecordCache::new(1000), record(1));
        let names = lasting_names(&queue);
        for name in names {
            let missing = cache.find(&name).unwrap_err();
            cache.forget(&names);
            cache.remember(name, &queue, missing);
            let missing = cache.find(&name).unwrap_err();
            cache.remember(name, &queue, missing);
            assert_eq!(cache.find(&name), Ok(queue.clone()));
            cache.forget(&names);
            assert!(cache.find(&name).is_err());
        }
    }

    #[test]
    fn it_stays_within_its_bound() {
        let cache = RecordCache::new(PARTS * 4);
        for number in 0..10_000u64 {
            let mut id = [0; 24];
            id[..8].copy_from_slice(&number.to_be_bytes());
            let name = if number % 2 == 0 {
                QueueName::Recipient(RecipientId(id))
            } else {
                QueueName::Sender(SenderId(id))
            };
            let missing = cache.find(&name).unwrap_err();
            cache.remember(name, &record(1), missing);
            assert!(cache.find(&name).is_ok());
        }
        let held: usize = cache.parts.iter().map(|part| part.lock().unwrap().records.len()).sum();
        assert!(held <= PARTS * 4, "{held}");
    }
}
