//! History by pages: an extension, which peers that do not know it pass over (docs/protocol.md §5).
//!
//! ```text
//! member ──x.grp.history.get { before?, limit }──▶ relay
//! member ◀──[ x.grp.history.page { before?, next?, last }, forwards… ]── relay      one or more messages
//! member ◀──x.grp.history.gap { after }── relay              it passed over what follows: ask for it
//! relay ──x.grp.history.peer { memberId, viaRelay, linkData }, signed──▶ another relay's link      then as a member
//! ```
//!
//! Pages go from the newest item to the oldest; within a message the oldest comes first. `next` is what to ask `before`
//! of to go on, and stands in the same message as the items above it: whoever stores both together goes on after a
//! crash where it was.

use serde::{Deserialize, Serialize};

use crate::encoding::DecodeError;
use crate::group::constants::HISTORY_POSITION_BYTES_MAX;
use crate::group::identity::MemberId;
use crate::group::json_bytes;

/// A place in a relay's history; what it says is the relay's own affair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HistoryPosition(String);

impl HistoryPosition {
    /// From its text.
    ///
    /// # Errors
    /// [`DecodeError::Invalid`] when it is empty or longer than [`HISTORY_POSITION_BYTES_MAX`].
    pub fn new(text: impl Into<String>) -> Result<Self, DecodeError> {
        let text = text.into();
        if text.is_empty() || text.len() > HISTORY_POSITION_BYTES_MAX {
            return Err(DecodeError::Invalid("history position"));
        }
        Ok(Self(text))
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for HistoryPosition {
    type Error = DecodeError;

    fn try_from(text: String) -> Result<Self, DecodeError> {
        Self::new(text)
    }
}

impl From<HistoryPosition> for String {
    fn from(position: HistoryPosition) -> Self {
        position.0
    }
}

/// x.grp.history.get: a member asks its relay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryGet {
    /// Only what is older than this; the newest when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<HistoryPosition>,
    /// Only what is newer than this; the oldest when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<HistoryPosition>,
    /// As x.grp.link.mem said: posts that came with it are left out, with their edits and files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub welcomed: Option<HistoryPosition>,
    /// At most so many items; a relay gives fewer as it sees fit.
    pub limit: u32,
    /// Whether the relay shall ask an owner for what it may lack itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ask_owner: bool,
}

/// x.grp.history.gap: a relay has passed over messages for which a member did not come in time. They are in its history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryGap {
    /// All that was passed over is newer than this.
    pub after: HistoryPosition,
}

/// x.grp.history.page: goes ahead of the items in each message of the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryPage {
    /// As it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<HistoryPosition>,
    /// Where older items begin; absent when there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<HistoryPosition>,
    /// Whether the answer ends with this message.
    pub last: bool,
}

/// x.grp.history.peer: the information of a contact request to a relay link, signed by the key of the asking relay's own
/// link. The other relay lets it read the group's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryPeer {
    /// Which relay asks.
    pub member_id: MemberId,
    /// The relay that is asked, so that it cannot replay the request to another.
    pub via_relay: MemberId,
    /// The sealed fixed data of the asking relay's link: the link, which the group link lists, is the hash of them.
    #[serde(with = "json_bytes")]
    pub link_data: Vec<u8>,
}
