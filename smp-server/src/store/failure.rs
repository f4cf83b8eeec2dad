//! What went wrong beneath a store, in words that hold for every engine.

use thiserror::Error;

/// A database or disk did not do what it was asked to.
#[derive(Debug, Clone, Error)]
#[error("{reason}")]
pub struct Failure {
    kind: FailureKind,
    reason: String,
}

/// What a failure means for those who wait and for whoever comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// It may work when tried again: the database was busy or could not be reached. Nothing was stored.
    Transient,
    /// There is no room. Nothing was stored.
    Full,
    /// The connection broke during a commit: what it held may be stored or not. The database itself is sound.
    InDoubt,
    /// The disk failed: its state is unknown until it is read anew.
    UnknownDisk,
    /// What is on the disk is not what was written.
    Damaged,
    /// An id that must be unique belongs to something else. Nothing was stored.
    Taken,
}

impl Failure {
    /// A failure for this reason, which must hold neither secrets nor ids.
    pub fn new(kind: FailureKind, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into() }
    }

    /// What it means.
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        self.kind
    }

    /// Whether nothing may be written until a restart has read the disk anew.
    #[must_use]
    pub fn forbids_writing(&self) -> bool {
        matches!(self.kind, FailureKind::UnknownDisk | FailureKind::Damaged)
    }
}
