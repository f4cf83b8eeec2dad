//! Simulated time: what is going to happen, in order.

use std::collections::BTreeMap;

/// Milliseconds of simulated time.
pub(super) type Moment = i64;

/// What will happen. Of two things at one moment the one that was put in first comes first.
#[derive(Debug)]
pub(super) struct Agenda<T> {
    now: Moment,
    count: u64,
    entries: BTreeMap<(Moment, u64), T>,
}

impl<T> Agenda<T> {
    /// Nothing, from this moment on.
    pub(super) fn new(now: Moment) -> Self {
        Self { now, count: 0, entries: BTreeMap::new() }
    }

    /// The present moment.
    pub(super) fn now(&self) -> Moment {
        self.now
    }

    /// Puts something in, not before now.
    pub(super) fn at(&mut self, moment: Moment, what: T) {
        self.count += 1;
        self.entries.insert((moment.max(self.now), self.count), what);
    }

    /// Puts something in, so many milliseconds from now.
    pub(super) fn after(&mut self, ms: Moment, what: T) {
        self.at(self.now.saturating_add(ms), what);
    }

    /// The next thing up to `limit`, whose moment becomes the present.
    pub(super) fn next(&mut self, limit: Moment) -> Option<T> {
        let (&(moment, _), _) = self.entries.first_key_value()?;
        if moment > limit {
            self.now = limit;
            return None;
        }
        self.now = moment;
        self.entries.pop_first().map(|(_, what)| what)
    }
}
