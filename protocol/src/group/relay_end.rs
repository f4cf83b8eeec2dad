//! Why a relay does not serve a group, in words for its owner, with what to do next.

use thiserror::Error;

use crate::encoding::DecodeError;

/// Why a relay is inactive or rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Ended {
    /// Its own words are kept beside the status.
    #[error("the relay declined; see its reason, or choose another relay")]
    Declined,
    /// The relay address cannot be used.
    #[error("the relay address does not exist or is not that of a relay: check the address")]
    NoSuchRelay,
    /// No answer within a day.
    #[error("the relay did not answer: ask its operator, or choose another relay")]
    NoAnswer,
    /// `linkEntityId` of its link is not the member id that we gave it.
    #[error("the relay's link was not made for this group: the relay is faulty or dishonest, choose another")]
    LinkMismatch,
    /// Its link cannot be read.
    #[error("the relay's link cannot be read: try again, or choose another relay")]
    LinkUnreadable,
    /// No connection within a day.
    #[error("the relay accepted, but no connection came about: try again")]
    NoConnection,
    /// It could not take the roster; its own words are kept beside the status.
    #[error("the relay could not take the roster: see its reason, and try again")]
    RosterRefused,
    /// No acknowledgement of the roster within a day.
    #[error("the relay did not acknowledge the roster: try again, or choose another relay")]
    NoRosterAck,
    /// The relay's operator left the group.
    #[error("the relay left the group: choose another relay")]
    Left,
    /// The owner removed it.
    #[error("the owner removed the relay")]
    Removed,
    /// The group link was written without it.
    #[error("the group link was written without the relay: add it again if it should serve the group")]
    Unlisted,
    /// Its queue is gone.
    #[error("the relay deleted its connection: add it again, or choose another relay")]
    ConnectionGone,
}

impl Ended {
    /// All reasons, in the order of their stored tags.
    pub const ALL: [Self; 12] = [
        Self::Declined,
        Self::NoSuchRelay,
        Self::NoAnswer,
        Self::LinkMismatch,
        Self::LinkUnreadable,
        Self::NoConnection,
        Self::RosterRefused,
        Self::NoRosterAck,
        Self::Left,
        Self::Removed,
        Self::Unlisted,
        Self::ConnectionGone,
    ];

    pub(super) fn tag(self) -> u8 {
        (b'a'..).zip(Self::ALL).find(|(_, end)| *end == self).map_or(b'a', |(tag, _)| tag)
    }

    pub(super) fn from_tag(tag: u8) -> Result<Self, DecodeError> {
        let known = (b'a'..).zip(Self::ALL).find(|(known, _)| *known == tag);
        known.map(|(_, end)| end).ok_or(DecodeError::Invalid("reason of the end"))
    }
}
