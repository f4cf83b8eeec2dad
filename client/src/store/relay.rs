//! Relays of groups: one sealed record each, with the connection and the next moment to look at it.

use protocol::agent::store::ConnectionId;
use protocol::group::identity::{MemberId, MemberKey};
use rusqlite::{Row, params};
use serde::{Deserialize, Serialize};

use super::group::GroupId;
use super::{Store, StoreError};

const COLUMN: &str = "group_relays.sealed";
const COLUMNS: &str = "group_relay_id, group_id, connection_id, due_at_ms, sealed";

/// Names a relay of a group in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RelayId(pub(crate) i64);

/// A record with its columns.
#[derive(Debug, Clone)]
pub(crate) struct RelayRow {
    /// The row.
    pub(crate) id: RelayId,
    /// The group.
    pub(crate) group: GroupId,
    /// The connection to it, while there is one.
    pub(crate) connection: Option<ConnectionId>,
    /// When the engine looks at it again, unasked.
    pub(crate) due_at_ms: Option<i64>,
    /// The rest.
    pub(crate) record: Relay,
}

/// A relay of a group as we know it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Relay {
    /// How people call it; unique in its group.
    pub(crate) name: String,
    /// Its member id. The owner assigns it, a member takes it from the relay link.
    pub(crate) member_id: Option<MemberId>,
    /// The key in its relay link.
    pub(crate) key: Option<MemberKey>,
    /// The relay's own address, where the owner invites it.
    pub(crate) address: Option<String>,
    /// Its link for this group.
    pub(crate) link: Option<String>,
    /// How far it is.
    pub(crate) status: RelayState,
    /// Whether messages can be sent to it.
    pub(crate) connected: bool,
    /// Why it is where it is, where there is a reason to tell.
    pub(crate) reason: Option<String>,
    /// How often the present step was tried.
    pub(crate) tries: u32,
    /// The version of the roster that it was sent last.
    pub(crate) roster_sent: Option<i64>,
    /// A roster on its way from this relay.
    pub(crate) transfer: Option<Transfer>,
    /// What it presented in its answer and is not verified yet.
    pub(crate) offered: Option<String>,
}

/// How far a relay is: the owner goes through all of them, a member only through some.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RelayState {
    /// Owner: chosen, not invited yet. Member: listed, not asked yet.
    New,
    /// Owner: the invitation is out. Member: our request is out.
    Invited,
    /// It has answered; its link is being checked, the connection is being made.
    Accepted,
    /// Owner: it holds the roster; the group link is being written.
    AcknowledgedRoster,
    /// Owner: it stands in the group link. Member: we are connected.
    Active,
    /// It serves the group no more.
    Inactive,
    /// It refused.
    Rejected,
}

impl RelayState {
    /// The word that people and scripts see.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Invited => "invited",
            Self::Accepted => "accepted",
            Self::AcknowledgedRoster => "acknowledged_roster",
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Rejected => "rejected",
        }
    }

    /// Whether it will change only by somebody's action.
    pub(crate) fn is_settled(self) -> bool {
        matches!(self, Self::Active | Self::Inactive | Self::Rejected)
    }

    /// Whether it is gone for good.
    pub(crate) fn is_over(self) -> bool {
        matches!(self, Self::Inactive | Self::Rejected)
    }
}

/// A roster that arrives in pieces: the signed header first, then chunks in order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Transfer {
    /// The id that the chunks name.
    #[serde(with = "super::group::bytes")]
    pub(crate) message_id: Vec<u8>,
    /// The version in the header.
    pub(crate) version: i64,
    /// How many bytes the header promises; bounded when the header is read.
    pub(crate) size: usize,
    /// SHA-512 of the whole.
    #[serde(with = "super::group::bytes")]
    pub(crate) digest: Vec<u8>,
    /// The chunk that must come next.
    pub(crate) next_chunk: u8,
    /// What came so far.
    #[serde(with = "super::group::bytes")]
    pub(crate) received: Vec<u8>,
}

impl Store {
    /// Adds a relay to a group.
    pub(crate) fn add_relay(&mut self, group: GroupId, record: &Relay) -> Result<RelayId, StoreError> {
        let sealed = self.seal_record(COLUMN, record)?;
        let sql = "INSERT INTO group_relays (group_id, sealed) VALUES (?1, ?2)";
        self.insert(sql, params![group.0, sealed]).map(RelayId)
    }

    /// A relay.
    pub(crate) fn relay(&self, id: RelayId) -> Result<Option<RelayRow>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM group_relays WHERE group_relay_id = ?1");
        self.one(&sql, params![id.0], columns)?.map(|row| self.open_relay(row)).transpose()
    }

    /// The relay to which this connection leads.
    pub(crate) fn relay_of_connection(
        &self,
        connection: ConnectionId,
    ) -> Result<Option<RelayRow>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM group_relays WHERE connection_id = ?1");
        self.one(&sql, params![connection.0], columns)?.map(|row| self.open_relay(row)).transpose()
    }

    /// The relays of a group, in the order they were added.
    pub(crate) fn relays(&self, group: GroupId) -> Result<Vec<RelayRow>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM group_relays WHERE group_id = ?1 ORDER BY group_relay_id");
        let rows = self.all(&sql, params![group.0], columns)?;
        rows.into_iter().map(|row| self.open_relay(row)).collect()
    }

    /// The relays that are due.
    pub(crate) fn relays_due(&self, now_ms: i64) -> Result<Vec<RelayRow>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM group_relays WHERE due_at_ms <= ?1 ORDER BY due_at_ms");
        let rows = self.all(&sql, params![now_ms], columns)?;
        rows.into_iter().map(|row| self.open_relay(row)).collect()
    }

    /// When the next relay is due.
    pub(crate) fn next_relay_due_ms(&self) -> Result<Option<i64>, StoreError> {
        Ok(self.one("SELECT min(due_at_ms) FROM group_relays", [], |row| row.get(0))?.flatten())
    }

    /// Replaces everything about a relay.
    pub(crate) fn save_relay(&mut self, row: &RelayRow) -> Result<(), StoreError> {
        let sealed = self.seal_record(COLUMN, &row.record)?;
        self.change_one(
            "UPDATE group_relays SET connection_id = ?2, due_at_ms = ?3, sealed = ?4 WHERE group_relay_id = ?1",
            params![row.id.0, row.connection.map(|connection| connection.0), row.due_at_ms, sealed],
        )
    }

    fn open_relay(&self, columns: Columns) -> Result<RelayRow, StoreError> {
        let (id, group, connection, due_at_ms, sealed) = columns;
        Ok(RelayRow {
            id: RelayId(id),
            group: GroupId(group),
            connection: connection.map(ConnectionId),
            due_at_ms,
            record: self.open_record(COLUMN, &sealed)?,
        })
    }
}

type Columns = (i64, i64, Option<i64>, Option<i64>, Vec<u8>);

fn columns(row: &Row<'_>) -> rusqlite::Result<Columns> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
}
