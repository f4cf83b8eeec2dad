//! Messages that are not as they were written: found, and dropped when the operator wants that.
//!
//! A removal is of all messages up to one. So the sound ones of the queue are written once more behind it, in the same
//! group: either all of that is durable or nothing of it.

use std::ops::Bound;

use super::waiting::{LogReader, Waiting};
use super::{MessageLog, RECORD_HEADER_BYTES};
use crate::store::{DamagedPage, NewMessage, QueueNumber, Result, StoreError};

impl LogReader {
    /// How many messages of the queue are damaged.
    ///
    /// # Errors
    /// When one cannot be read at all.
    pub(crate) fn damaged_messages(&self, queue: QueueNumber) -> Result<u32> {
        let all = self.shared.queues().get(&queue).cloned().unwrap_or_default();
        let mut damaged = 0_u32;
        for waiting in all.iter().filter(|waiting| !waiting.is_marker) {
            match self.shared.read(queue, waiting) {
                Ok(_) => {}
                // It may have moved meanwhile, or be gone.
                Err(_) if !self.stands(queue, waiting) => {}
                Err(StoreError::Damaged(_)) => damaged = damaged.saturating_add(1),
                Err(error) => return Err(error),
            }
        }
        Ok(damaged)
    }

    /// Those of the next `limit` queues with messages, behind `after`, that have damaged ones.
    ///
    /// # Errors
    /// As for each of them.
    pub(crate) fn damaged_queues(&self, after: QueueNumber, limit: usize) -> Result<DamagedPage> {
        let behind = (Bound::Excluded(after), Bound::Unbounded);
        let numbers: Vec<QueueNumber> =
            self.shared.queues().range(behind).take(limit).map(|(number, _)| *number).collect();
        let next = numbers.last().copied().filter(|_| numbers.len() == limit);
        let mut queues = Vec::new();
        for number in numbers {
            let damaged = self.damaged_messages(number)?;
            if damaged > 0 {
                queues.push((number, damaged));
            }
        }
        Ok(DamagedPage { queues, next })
    }

    /// Whether the message is still where it was.
    fn stands(&self, queue: QueueNumber, waiting: &Waiting) -> bool {
        let queues = self.shared.queues();
        queues.get(&queue).is_some_and(|messages| messages.contains(waiting))
    }
}

impl MessageLog {
    /// Removes the damaged messages of a queue; the others stay in their order. Says how many were damaged.
    ///
    /// # Errors
    /// When one cannot be read at all, or there is no room. Then nothing of the queue changes.
    pub(crate) fn drop_damaged(&mut self, queue: QueueNumber) -> Result<u32> {
        let count = self.view(queue, |view| view.count());
        let (mut sound, mut damaged, mut bytes) = (Vec::new(), 0_u32, 0_usize);
        let mut is_in_active = false;
        for position in 0..count {
            match self.message_at(queue, position) {
                Ok(Some(message)) => {
                    bytes = bytes.saturating_add(message.body.as_ref().map_or(0, Vec::len));
                    sound.push(message);
                }
                Ok(None) => {}
                Err(StoreError::Damaged(_)) => {
                    damaged = damaged.saturating_add(1);
                    let place = self.view(queue, |view| view.at(position)).map(|(waiting, _)| waiting.place);
                    is_in_active |= place.is_some_and(|place| place.segment == self.active.header.number);
                }
                Err(error) => return Err(error),
            }
        }
        if damaged == 0 {
            return Ok(0);
        }
        // For the messages and at most as many removals: behind the first of them nothing may fail.
        let headers = RECORD_HEADER_BYTES.saturating_mul(count.saturating_add(sound.len()));
        let needed = u32::try_from(bytes.saturating_add(headers)).unwrap_or(u32::MAX);
        if is_in_active {
            // The next start reads the last segment wholly and would refuse it: as a sealed one it has an index.
            let next = match self.next.take() {
                Some(next) => next,
                None => self.create_next(needed)?,
            };
            self.go_on_with(next)?;
        }
        self.make_room(needed)?;
        self.remove(queue, count);
        for message in &sound {
            let body = message.body.as_deref();
            let (id, received_at, notify) = (message.id, message.received_at, message.notify);
            let message = NewMessage { id, received_at, notify, body: body.unwrap_or_default() };
            self.append(queue, &message, body.is_none())?;
        }
        Ok(damaged)
    }
}
