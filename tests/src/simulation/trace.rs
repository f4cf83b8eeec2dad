//! What happened, as lines, and as one number by which two runs are compared.

use std::collections::hash_map::DefaultHasher;
use std::fmt::{Arguments, Write as _};
use std::hash::Hasher as _;

use super::agenda::Moment;

/// The lines of a run.
#[derive(Debug)]
pub(super) struct Trace {
    hasher: DefaultHasher,
    began: Moment,
    line: String,
    /// Kept when wanted.
    pub(super) lines: Option<Vec<String>>,
    /// What was done to the programs and their network: kept always.
    pub(super) faults: Vec<String>,
    /// Lines so far, kept or not.
    pub(super) count: u64,
}

impl Trace {
    /// An empty one, whose times count from `began`.
    pub(super) fn new(began: Moment, keep: bool) -> Self {
        let lines = keep.then(Vec::new);
        // fixed keys: the number is the same on every machine
        let hasher = DefaultHasher::new();
        Self { hasher, began, line: String::new(), lines, faults: Vec::new(), count: 0 }
    }

    /// Something happened.
    pub(super) fn note(&mut self, now: Moment, what: Arguments<'_>) {
        self.line.clear();
        let ms = now.saturating_sub(self.began);
        let _cannot_fail = write!(self.line, "{:>5}.{:03} {what}", ms / 1000, ms % 1000);
        self.hasher.write(self.line.as_bytes());
        self.count += 1;
        if let Some(lines) = &mut self.lines {
            lines.push(self.line.clone());
        }
    }

    /// Something was done to them.
    pub(super) fn fault(&mut self, now: Moment, what: Arguments<'_>) {
        self.note(now, what);
        self.faults.push(self.line.clone());
    }

    /// The number.
    pub(super) fn hash(&self) -> u64 {
        self.hasher.finish()
    }
}
