//! What the relay keeps, and the engine that keeps it.

pub mod sqlite;

use protocol::encoding::DecodeError;
use thiserror::Error;

/// What can go wrong in a store. Nothing that a peer sends causes it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The database failed.
    #[error("the database failed")]
    Sqlite(#[from] rusqlite::Error),
    /// A row that must be there is not, or belongs to another.
    #[error("the database misses a row that it must have")]
    Missing,
    /// A stored value cannot be read.
    #[error("a stored value cannot be read: {0}")]
    Damaged(#[from] DecodeError),
    /// The file was written by a later version.
    #[error("the database was written by a later version of chat-relay: run that version")]
    Newer,
}
