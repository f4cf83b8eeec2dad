//! Commands that wait for their answers, by correlation id.
//!
//! Every command of a session has the same time limit, so their deadlines come in the order of sending and a queue
//! of them is enough.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::smp::ids::CorrelationId;

/// The waiting commands of a session; `T` is what an answer is handed to.
#[derive(Debug)]
pub(super) struct Pending<T> {
    limit: Duration,
    waiting: HashMap<CorrelationId, (Instant, T)>,
    /// Holds answered commands too, until their time.
    deadlines: VecDeque<(Instant, CorrelationId)>,
}

impl<T> Pending<T> {
    /// Commands wait at most `limit`.
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, waiting: HashMap::new(), deadlines: VecDeque::new() }
    }

    /// Whether a command with this id waits.
    pub(super) fn contains(&self, id: &CorrelationId) -> bool {
        self.waiting.contains_key(id)
    }

    /// A command is about to be sent; its id must not be in use.
    pub(super) fn insert(&mut self, id: CorrelationId, waiter: T, now: Instant) {
        let deadline = now + self.limit;
        self.waiting.insert(id, (deadline, waiter));
        self.deadlines.push_back((deadline, id));
    }

    /// An answer came: who waits for it.
    pub(super) fn take(&mut self, id: &CorrelationId) -> Option<T> {
        self.waiting.remove(id).map(|(_, waiter)| waiter)
    }

    /// Who waited too long.
    pub(super) fn expired(&mut self, now: Instant) -> Vec<T> {
        let mut expired = Vec::new();
        while let Some((deadline, id)) = self.deadlines.front().copied() {
            // an id may have been answered and used again since
            let waits = self.waiting.get(&id).is_some_and(|(own, _)| *own == deadline);
            if waits && deadline > now {
                break;
            }
            self.deadlines.pop_front();
            if waits {
                expired.extend(self.take(&id));
            }
        }
        expired
    }

    /// When the next command has waited too long, or a little before.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.front().map(|(deadline, _)| *deadline)
    }

    /// How many commands wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Everybody who waits, when the session ends.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = T> + '_ {
        self.deadlines.clear();
        self.waiting.drain().map(|(_, (_, waiter))| waiter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[test]
    fn an_answer_finds_its_command_once() {
        let (mut pending, now) = (Pending::new(LIMIT), Instant::now());
        let (one, two) = (CorrelationId([1; 24]), CorrelationId([2; 24]));
        pending.insert(one, "one", now);
        pending.insert(two, "two", now);
        assert!(pending.contains(&one));
        assert_eq!(pending.take(&one), Some("one"));
        assert_eq!(pending.take(&one), None);
        assert_eq!(pending.len(), 1);
        assert_eq!(pending.drain().collect::<Vec<_>>(), ["two"]);
        assert_eq!(pending.next_deadline(), None);
    }

    #[test]
    fn only_those_who_still_wait_expire() {
        let (mut pending, start) = (Pending::new(LIMIT), Instant::now());
        for number in 1..=3 {
            let sent = start + Duration::from_secs(number);
            pending.insert(CorrelationId([number as u8; 24]), number, sent);
        }
        pending.take(&CorrelationId([1; 24]));
        assert!(pending.expired(start + LIMIT).is_empty());
        assert_eq!(
            pending.next_deadline(),
            Some(start + Duration::from_secs(12)),
            "the answered one is gone"
        );
        assert_eq!(pending.expired(start + Duration::from_secs(12)), [2]);
        assert_eq!(pending.len(), 1);
    }

    #[test]
    fn an_id_that_is_used_again_has_its_own_deadline() {
        let (mut pending, start) = (Pending::new(LIMIT), Instant::now());
        let id = CorrelationId([1; 24]);
        pending.insert(id, "first", start);
        pending.take(&id);
        pending.insert(id, "second", start + Duration::from_secs(5));
        assert!(pending.expired(start + LIMIT).is_empty());
        assert_eq!(pending.expired(start + Duration::from_secs(15)), ["second"]);
    }
}
