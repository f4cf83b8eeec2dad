//! Why the agent cannot do what it was asked to.

use thiserror::Error;

use crate::encoding::DecodeError;

use super::event::SyncState;
use super::signed_link_data::WriteLinkError;
use super::store::ConnectionId;

/// An error of a call. What goes wrong on a connection by itself is an [`Event`](super::event::Event) instead.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AgentError<E: std::error::Error> {
    /// The store failed: roll the transaction back.
    #[error("the store failed")]
    Store(#[source] E),
    /// There is no such connection.
    #[error("connection {} does not exist", .0.0)]
    NoConnection(ConnectionId),
    /// The connection's record or job does not read: the database was damaged or written by another program.
    #[error("the record of a connection does not read")]
    Record(#[source] DecodeError),
    /// The connection is not in a state that allows the call.
    #[error("connection {} cannot do this now", .0.0)]
    NotAllowedNow(ConnectionId),
    /// Nothing is sent while the ratchets are out of step: wait for `RatchetSync(Ok)`.
    #[error("the connection is being re-synchronised ({0:?}); wait until it is in step again")]
    OutOfSync(SyncState),
    /// The message or the words of introduction do not fit.
    #[error("{bytes} bytes do not fit; at most {bytes_max} do")]
    TooLarge {
        /// How many there are.
        bytes: usize,
        /// How many fit.
        bytes_max: usize,
    },
    /// The link is not of the kind that the call needs, or its versions have nothing in common with ours.
    #[error(
        "the other side's link cannot be used: it is of another kind, or its versions are not spoken here"
    )]
    Link,
    /// The link data do not fit, or their readers would refuse them.
    #[error("the link data cannot be written")]
    LinkData(#[source] WriteLinkError),
    /// The shared body is not in the store.
    #[error("the shared body does not exist any more")]
    NoBody,
}
