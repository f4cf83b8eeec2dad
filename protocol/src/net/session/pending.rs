//! Commands that wait for their answers, by correlation id and by deadline.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use crate::smp::ids::CorrelationId;

/// The waiting commands of a session; `T` is what an answer is handed to.
#[derive(Debug)]
pub(super) struct Pending<T> {
    waiting: HashMap<CorrelationId, (Instant, T)>,
    deadlines: BTreeSet<(Instant, CorrelationId)>,
}

impl<T> Pending<T> {
    pub(super) fn new() -> Self {
        Self { waiting: HashMap::new(), deadlines: BTreeSet::new() }
    }

    /// Whether a command with this id waits.
    pub(super) fn contains(&self, id: &CorrelationId) -> bool {
        self.waiting.contains_key(id)
    }

    /// A command is about to be sent; its id must not be in use.
    pub(super) fn insert(&mut self, id: CorrelationId, waiter: T, deadline: Instant) {
        self.waiting.insert(id, (deadline, waiter));
        self.deadlines.insert((deadline, id));
    }

    /// An answer came: who waits for it.
    pub(super) fn take(&mut self, id: &CorrelationId) -> Option<T> {
        let (deadline, waiter) = self.waiting.remove(id)?;
        self.deadlines.remove(&(deadline, *id));
        Some(waiter)
    }

    /// Who waited too long.
    pub(super) fn expired(&mut self, now: Instant) -> Vec<T> {
        let mut expired = Vec::new();
        while let Some((_, id)) = self.deadlines.first().copied().filter(|(deadline, _)| *deadline <= now) {
            expired.extend(self.take(&id));
        }
        expired
    }

    /// When the next command has waited too long.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
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
    use std::time::Duration;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[test]
    fn an_answer_finds_its_command_once() {
        let (mut pending, now) = (Pending::new(), Instant::now());
        let (one, two) = (CorrelationId([1; 24]), CorrelationId([2; 24]));
        pending.insert(one, "one", now + LIMIT);
        pending.insert(two, "two", now + LIMIT);
        assert!(pending.contains(&one));
        assert_eq!(pending.take(&one), Some("one"));
        assert_eq!(pending.take(&one), None);
        assert_eq!(pending.len(), 1);
        assert_eq!(pending.drain().collect::<Vec<_>>(), ["two"]);
        assert_eq!(pending.next_deadline(), None);
    }

    #[test]
    fn only_those_who_still_wait_expire() {
        let (mut pending, start) = (Pending::new(), Instant::now());
        for number in 1..=3 {
            let sent = start + Duration::from_secs(number);
            pending.insert(CorrelationId([number as u8; 24]), number, sent + LIMIT);
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
        let (mut pending, start) = (Pending::new(), Instant::now());
        let id = CorrelationId([1; 24]);
        pending.insert(id, "first", start + LIMIT);
        pending.take(&id);
        pending.insert(id, "second", start + Duration::from_secs(15));
        assert!(pending.expired(start + LIMIT).is_empty());
        assert_eq!(pending.expired(start + Duration::from_secs(15)), ["second"]);
    }

    #[test]
    fn who_waits_longer_does_not_hold_up_the_others() {
        let (mut pending, start) = (Pending::new(), Instant::now());
        pending.insert(CorrelationId([1; 24]), "patient", start + 2 * LIMIT);
        pending.insert(CorrelationId([2; 24]), "other", start + LIMIT);
        assert_eq!(pending.next_deadline(), Some(start + LIMIT));
        assert_eq!(pending.expired(start + LIMIT), ["other"]);
        assert_eq!(pending.next_deadline(), Some(start + 2 * LIMIT));
    }
}
