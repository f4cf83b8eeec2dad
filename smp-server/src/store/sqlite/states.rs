//! How queues take messages, remembered: a message must not cost a look into the file.
//!
//! SQLite says which rows change, whoever changes them; those are looked up anew.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension as _};

use super::rows::LINK_IS_USED;
use crate::store::columns::status_from;
use crate::store::{QueueNumber, QueueStatus, Result, StoreError};

/// Queues that are remembered, twice over: some 10 MB.
const REMEMBERED_MAX: usize = 65_536;

/// What decides about a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct State {
    pub(super) status: QueueStatus,
    /// Whether the queue has link data that go with the next message.
    pub(super) drops_link: bool,
}

/// The queues that were used last. When `young` is full it becomes `old`, and what was old is forgotten.
#[derive(Debug, Default)]
struct Remembered {
    young: HashMap<QueueNumber, State>,
    old: HashMap<QueueNumber, State>,
}

/// Remembers the states of queues of one file.
#[derive(Debug)]
pub(super) struct States {
    remembered: Arc<Mutex<Remembered>>,
}

impl States {
    /// Through a connection, the only one that writes.
    pub(super) fn watching(connection: &mut Connection) -> Result<Self> {
        let states = Self { remembered: Arc::default() };
        let remembered = states.remembered.clone();
        connection.update_hook(Some(move |_, _: &str, table: &str, row| {
            if matches!(table, "queues" | "links") {
                let mut remembered = lock(&remembered);
                remembered.young.remove(&QueueNumber(row));
                remembered.old.remove(&QueueNumber(row));
            }
        }))?;
        Ok(states)
    }

    /// The state of a queue.
    ///
    /// # Errors
    /// When there is no such queue, or the file cannot be read.
    pub(super) fn get(&mut self, queue: QueueNumber, connection: &Connection) -> Result<State> {
        if let Some(state) = lock(&self.remembered).get(queue) {
            return Ok(state);
        }
        let found: Option<(bool, String, Option<String>)> = connection
            .prepare_cached(LINK_IS_USED)?
            .query_row([queue.0], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        let (is_used, status, blocking) = found.ok_or(StoreError::NoQueue)?;
        let has_link =
            connection.prepare_cached("SELECT 1 FROM links WHERE queue = ?1")?.exists([queue.0])?;
        let state =
            State { status: status_from(&status, blocking.as_deref())?, drops_link: is_used && has_link };
        lock(&self.remembered).put(queue, state);
        Ok(state)
    }

    /// After a group that was undone.
    pub(super) fn forget_all(&mut self) {
        *lock(&self.remembered) = Remembered::default();
    }
}

impl Remembered {
    fn get(&mut self, queue: QueueNumber) -> Option<State> {
        if let Some(state) = self.young.get(&queue) {
            return Some(*state);
        }
        let state = self.old.remove(&queue)?;
        self.put(queue, state);
        Some(state)
    }

    fn put(&mut self, queue: QueueNumber, state: State) {
        if self.young.len() >= REMEMBERED_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(queue, state);
    }
}

fn lock(remembered: &Mutex<Remembered>) -> MutexGuard<'_, Remembered> {
    remembered.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_are_remembered_and_the_used_ones_stay() {
        let state = State { status: QueueStatus::Active, drops_link: false };
        let mut remembered = Remembered::default();
        for number in 0..3 * REMEMBERED_MAX as i64 {
            remembered.put(QueueNumber(number), state);
            assert!(remembered.get(QueueNumber(0)).is_some(), "used again and again");
        }
        assert!(remembered.young.len().max(remembered.old.len()) <= REMEMBERED_MAX);
        assert!(remembered.get(QueueNumber(1)).is_none(), "used once, long ago");
    }
}
