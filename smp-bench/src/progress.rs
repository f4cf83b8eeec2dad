//! How far a phase is that takes minutes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What takes seconds only needs no word.
const LONG: usize = 100_000;

/// Counts, and says every tenth on stderr.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    what: &'static str,
    total: usize,
    done: Arc<AtomicUsize>,
}

impl Progress {
    pub(crate) fn new(what: &'static str, total: usize) -> Self {
        Self { what, total, done: Arc::default() }
    }

    /// Says nothing.
    pub(crate) fn silent() -> Self {
        Self::new("", 0)
    }

    /// So many more are done.
    pub(crate) fn add(&self, count: usize) {
        let before = self.done.fetch_add(count, Ordering::Relaxed);
        let tenths = |done: usize| done.saturating_mul(10).checked_div(self.total).unwrap_or_default();
        let now = before.saturating_add(count);
        if self.total >= LONG && tenths(now) > tenths(before) {
            eprintln!("{now} of {} {}", self.total, self.what);
        }
    }
}
