//! Two connections between a relay and one owner or member: an extension, which peers that do not know it pass over
//! (docs/protocol.md §5).
//!
//! ```text
//! member ──x.member.bulk { memberId, viaRelay, number }, signed──▶ relay link       the request for the connection
//! relay  ──x.grp.bulk.begin { number }──▶ member ──x.grp.bulk.ready { number }──▶ relay ──x.grp.bulk.go { number }──▶
//! either ──x.grp.bulk.end { number? }──▶ the other                                   all on the first connection
//! either ──[ x.grp.bulk.ahead {}, statement or forward ]──▶ the other               a copy that goes ahead
//! ```

use serde::{Deserialize, Serialize};

use crate::group::identity::MemberId;

/// x.member.bulk: the information of the contact request to a relay link, signed by the member key that the relay knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BulkJoin {
    /// Who asks.
    pub member_id: MemberId,
    /// The relay that is asked, so that it cannot replay the request to another.
    pub via_relay: MemberId,
    /// Grows with each attempt of this member at this relay: the last attempt counts.
    pub number: i64,
}

/// The attempt that a message on the first connection is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BulkMark {
    /// As in the request.
    pub number: i64,
}

/// x.grp.bulk.end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BulkEnd {
    /// The last attempt that is over; any when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<i64>,
}

impl BulkEnd {
    /// Whether it ends the attempt of this number.
    #[must_use]
    pub fn ends(self, number: i64) -> bool {
        self.number.is_none_or(|last| number <= last)
    }
}

/// x.grp.bulk.ahead: what follows in this message is a copy; the one that counts for the order comes on the bulk
/// connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BulkAhead {}
