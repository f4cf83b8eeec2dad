//! Why a link is read: kept with the request, so that the answer finds its way.

use serde::{Deserialize, Serialize};

/// What the data of a link is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Tag {
    /// A command wants to join by this link.
    Join {
        /// The command.
        request: u64,
        /// The link.
        link: String,
    },
    /// A command wants to test the relay of this address.
    Test {
        /// The command.
        request: u64,
    },
    /// A group's own link, to see which relays it lists now.
    Group {
        /// The group.
        group: i64,
    },
    /// The address of a relay that the owner wants to invite.
    Address {
        /// The relay's row.
        relay: i64,
    },
    /// The link that a relay offers for our group, to be checked.
    Offered {
        /// The relay's row.
        relay: i64,
    },
    /// The link of a relay that we want to connect to.
    Relay {
        /// The relay's row.
        relay: i64,
    },
    /// The link of a relay to which we want a second connection.
    Bulk {
        /// The relay's row.
        relay: i64,
    },
}

impl Tag {
    /// As the network carries it.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a tag is text and numbers")
    }

    /// Reads what [`Tag::to_bytes`] wrote; nothing for what others wrote.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}
