//! Relays of groups: one sealed record each, with the connection and the next moment to look at it.

use protocol::agent::store::ConnectionId;
use protocol::group::catch_up::CatchUp;
use protocol::group::identity::{MemberId, MemberKey};
use protocol::group::relay_status::{RelayLife, RelayStatus};
use protocol::group::roster_transfer::RosterTransfer;
use protocol::timestamp::Timestamp;
use rusqlite::{Row, params};
use serde::{Deserialize, Serialize};

use super::group::GroupId;
use super::kept::KeptRelay;
use super::{Store, StoreError};

const COLUMN: &str = "group_relays.sealed";
const COLUMNS: &str = "group_relay_id, group_id, connection_id, due_at_ms, sealed,
    EXISTS (SELECT 1 FROM bulk_connections b WHERE b.group_relay_id = group_relays.group_relay_id AND b.in_use = 1)";

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
    /// Whether a second connection is in use, too: see `bulk`.
    pub(crate) two_connections: bool,
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
    /// The invitation code that its operator gave the owner.
    #[serde(default)]
    pub(crate) code: Option<String>,
    /// Its link for this group.
    pub(crate) link: Option<String>,
    /// How far it is.
    pub(crate) side: Side,
    /// Whether messages can be sent to it.
    pub(crate) connected: bool,
    /// Why it is where it is, where there is a reason to tell.
    pub(crate) reason: Option<String>,
    /// Why nothing is heard of it for now, though it is connected: what our own queue's server said since the start.
    #[serde(default)]
    pub(crate) unheard: Option<String>,
    /// What it last said that it refuses, to us as the owner.
    #[serde(default)]
    pub(crate) notice: Option<Notice>,
    /// When it ended: when the relay said so, as far as it did.
    #[serde(default)]
    pub(crate) ended_at_ms: Option<i64>,
    /// How often in a row it let nobody in for now.
    #[serde(default)]
    pub(crate) put_off: u32,
    /// A roster on its way from this relay.
    #[serde(with = "encoded")]
    pub(crate) transfer: RosterTransfer,
    /// Whether it serves rosters, as its chat versions say.
    pub(crate) has_roster: bool,
    /// Whether it takes a second connection.
    #[serde(default)]
    pub(crate) takes_two: bool,
    /// What is still to be done once the group link is written without it.
    pub(crate) farewell: Option<Farewell>,
    /// Whether it gives history by pages, as it said.
    #[serde(default)]
    pub(crate) gives_history: bool,
    /// How far we are in its history.
    #[serde(default)]
    pub(crate) catch_up: CatchUp,
}

/// What a relay says that it refuses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Notice {
    /// The stable word.
    pub(crate) word: String,
    /// What happens and what to do.
    pub(crate) text: String,
    /// When it came.
    pub(crate) at: i64,
}

/// A relay's life, as the owner who invites it or as a member who connects to it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Side {
    /// We invited it: see [`protocol::group::relay_status`].
    Owner(#[serde(with = "encoded")] RelayLife),
    /// We joined through it.
    Member {
        /// How far we are.
        step: Joining,
        /// How often this step was tried.
        tries: u32,
    },
}

/// A member's way to a relay.
///
/// ```text
/// Listed ──its link read, request out──▶ Asked ──let in──▶ Admitted ──connected──▶ Active ──▶ Gone
///                                          │ to be reviewed                          ▲
///                                          ├──▶ Knocking ──connected──▶ Waiting ─────┘ accepted
///                                          └──refused──▶ Refused ◀────────┘ rejected
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Joining {
    /// It stands in the group link.
    Listed,
    /// Our request is out.
    Asked,
    /// It lets us in; the connection is being made.
    Admitted,
    /// A moderator is to decide; the connection is being made.
    Knocking,
    /// Connected; a moderator is to decide.
    Waiting,
    /// Connected.
    Active,
    /// It serves the group no more.
    Gone,
    /// It does not let us in.
    Refused,
    /// It lets nobody in for now: it is asked again later.
    PutOff,
}

/// What a relay that is taken out still gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Farewell {
    /// The signed notice of its removal, then the end of the connection.
    Notice,
    /// Only the end of the connection.
    Silence,
}

impl Relay {
    /// A relay that stands in the group link.
    pub(crate) fn listed(name: String, link: String) -> Self {
        let side = Side::Member { step: Joining::Listed, tries: 0 };
        Self { link: Some(link), ..Self::new(name, side) }
    }

    /// A relay that the owner has chosen, with the member id that it gets.
    pub(crate) fn chosen(name: String, kept: KeptRelay, member_id: MemberId, now: Timestamp) -> Self {
        let side = Side::Owner(RelayLife::new(now));
        let (address, member_id) = (Some(kept.link), Some(member_id));
        Self { address, code: kept.code, member_id, ..Self::new(name, side) }
    }

    fn new(name: String, side: Side) -> Self {
        Self {
            name,
            member_id: None,
            key: None,
            address: None,
            code: None,
            link: None,
            side,
            connected: false,
            reason: None,
            unheard: None,
            notice: None,
            ended_at_ms: None,
            put_off: 0,
            transfer: RosterTransfer::Idle,
            has_roster: false,
            takes_two: false,
            farewell: None,
            gives_history: false,
            catch_up: CatchUp::Unasked,
        }
    }

    /// The word that people and scripts see.
    pub(crate) fn word(&self) -> &'static str {
        match &self.side {
            Side::Owner(life) => life.status.word(),
            Side::Member { step, .. } => match step {
                Joining::Listed => "new",
                Joining::Asked => "invited",
                Joining::Admitted => "accepted",
                Joining::Knocking | Joining::Waiting => "pending_review",
                Joining::Active => "active",
                Joining::Gone => "inactive",
                Joining::Refused => "rejected",
                Joining::PutOff => "put_off",
            },
        }
    }

    /// Whether members come, or we came, through it.
    pub(crate) fn is_active(&self) -> bool {
        match &self.side {
            Side::Owner(life) => life.status == RelayStatus::Active,
            Side::Member { step, .. } => *step == Joining::Active,
        }
    }

    /// Whether it serves the group no more, or never did.
    pub(crate) fn is_over(&self) -> bool {
        match &self.side {
            Side::Owner(life) => life.status.has_ended(),
            Side::Member { step, .. } => matches!(step, Joining::Gone | Joining::Refused),
        }
    }

    /// Whether it never became active.
    pub(crate) fn is_refused(&self) -> bool {
        match &self.side {
            Side::Owner(life) => matches!(life.status, RelayStatus::Rejected(_)),
            Side::Member { step, .. } => *step == Joining::Refused,
        }
    }

    /// Whether the owner lists it in the group link: those invited when they are ready, those found there all along.
    pub(crate) fn is_publishable(&self) -> bool {
        match &self.side {
            Side::Owner(life) => life.status.is_publishable(),
            Side::Member { .. } => !self.is_over(),
        }
    }

    /// Whether a moderator of the group is to let us in.
    pub(crate) fn is_waiting(&self) -> bool {
        matches!(self.side, Side::Member { step: Joining::Waiting, .. })
    }

    /// Whether it lets nobody in for now.
    pub(crate) fn is_put_off(&self) -> bool {
        matches!(self.side, Side::Member { step: Joining::PutOff, .. })
    }

    /// Whether it will change only by somebody's action, or much later.
    pub(crate) fn is_settled(&self) -> bool {
        self.is_active() || self.is_over() || self.is_put_off()
    }
}

/// Values with a binary form inside a sealed record.
mod encoded {
    use protocol::encoding::{Decode, Encode};
    use serde::{Deserializer, Serializer, de::Error};

    pub(super) fn serialize<T: Encode, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
        crate::store::group::bytes::serialize(&value.to_bytes(), to)
    }

    pub(super) fn deserialize<'de, T: Decode, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
        T::from_bytes(&crate::store::group::bytes::deserialize(from)?).map_err(D::Error::custom)
    }
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

    /// The relay to which this connection leads, or one of its requests that is not answered yet.
    pub(crate) fn relay_of_connection(
        &self,
        connection: ConnectionId,
    ) -> Result<Option<RelayRow>, StoreError> {
        let sql = "SELECT group_relay_id FROM relay_connections WHERE connection_id = ?1";
        let relay: Option<i64> = self.one(sql, params![connection.0], |row| row.get(0))?;
        Ok(relay.map(|relay| self.relay(RelayId(relay))).transpose()?.flatten())
    }

    /// Says that this connection is one to the relay, or a request for one.
    pub(crate) fn add_relay_connection(
        &mut self,
        relay: RelayId,
        connection: ConnectionId,
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO relay_connections (connection_id, group_relay_id) VALUES (?1, ?2)";
        self.change_one(sql, params![connection.0, relay.0])
    }

    /// Forgets a connection.
    pub(crate) fn drop_relay_connection(&mut self, connection: ConnectionId) -> Result<(), StoreError> {
        self.run("DELETE FROM relay_connections WHERE connection_id = ?1", params![connection.0])?;
        Ok(())
    }

    /// All connections and requests to a relay, but for those that were set aside.
    pub(crate) fn relay_connections(&self, relay: RelayId) -> Result<Vec<ConnectionId>, StoreError> {
        let sql = "SELECT connection_id FROM relay_connections WHERE group_relay_id = ?1 AND aside = 0
                   ORDER BY connection_id";
        self.all(sql, params![relay.0], |row| row.get(0).map(ConnectionId))
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

    /// The relays of whose histories a reading is due.
    pub(crate) fn histories_due(&self, now_ms: i64) -> Result<Vec<RelayRow>, StoreError> {
        let sql =
            format!("SELECT {COLUMNS} FROM group_relays WHERE history_due_ms <= ?1 ORDER BY history_due_ms");
        let rows = self.all(&sql, params![now_ms], columns)?;
        rows.into_iter().map(|row| self.open_relay(row)).collect()
    }

    /// When the next relay, or the next reading of a history, is due.
    pub(crate) fn next_relay_due_ms(&self) -> Result<Option<i64>, StoreError> {
        let sql = "SELECT min(due) FROM (SELECT min(due_at_ms) AS due FROM group_relays
                   UNION ALL SELECT min(history_due_ms) FROM group_relays)";
        Ok(self.one(sql, [], |row| row.get(0))?.flatten())
    }

    /// Replaces everything about a relay.
    pub(crate) fn save_relay(&mut self, row: &RelayRow) -> Result<(), StoreError> {
        let sealed = self.seal_record(COLUMN, &row.record)?;
        self.change_one(
            "UPDATE group_relays SET connection_id = ?2, due_at_ms = ?3, history_due_ms = ?4, sealed = ?5
             WHERE group_relay_id = ?1",
            params![
                row.id.0,
                row.connection.map(|connection| connection.0),
                row.due_at_ms,
                row.record.catch_up.deadline().map(|deadline| deadline.0),
                sealed,
            ],
        )
    }

    fn open_relay(&self, columns: Columns) -> Result<RelayRow, StoreError> {
        let (id, group, connection, due_at_ms, sealed, two_connections) = columns;
        Ok(RelayRow {
            id: RelayId(id),
            group: GroupId(group),
            connection: connection.map(ConnectionId),
            due_at_ms,
            two_connections,
            record: self.open_record(COLUMN, &sealed)?,
        })
    }
}

type Columns = (i64, i64, Option<i64>, Option<i64>, Vec<u8>, bool);

fn columns(row: &Row<'_>) -> rusqlite::Result<Columns> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?))
}
