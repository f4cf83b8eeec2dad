//! Second connections to relays: one sealed record each, once the relay takes one.

use protocol::agent::store::ConnectionId;
use protocol::group::bulk::asking::AskingBulk;
use protocol::group::bulk::overtaken::Overtaken;
use rusqlite::params;
use serde::{Deserialize, Serialize};

use super::relay::RelayId;
use super::{Store, StoreError};

const COLUMN: &str = "bulk_connections.sealed";

/// A record with its columns.
#[derive(Debug, Clone)]
pub(crate) struct BulkRow {
    /// To which relay.
    pub(crate) relay: RelayId,
    /// The connection, from its request on.
    pub(crate) connection: Option<ConnectionId>,
    /// When the engine looks at it again, unasked.
    pub(crate) due_at_ms: Option<i64>,
    /// The rest.
    pub(crate) record: Bulk,
}

/// A second connection as we know it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Bulk {
    /// How far it is.
    pub(crate) asking: AskingBulk,
    /// Changes that came ahead by this relay, and not in their turn yet.
    pub(crate) overtaken: Overtaken,
}

impl BulkRow {
    /// The connection for what is said in turn, when both are in use.
    pub(crate) fn in_use(&self) -> Option<ConnectionId> {
        self.connection.filter(|_| self.record.asking.carries_bulk())
    }
}

impl Store {
    /// The second connection to a relay, if only that there is none.
    pub(crate) fn bulk(&self, relay: RelayId) -> Result<BulkRow, StoreError> {
        let sql = "SELECT connection_id, due_at_ms, sealed FROM bulk_connections WHERE group_relay_id = ?1";
        let found: Option<(Option<i64>, Option<i64>, Vec<u8>)> =
            self.one(sql, params![relay.0], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let (connection, due_at_ms, record) = match found {
            Some((connection, due, sealed)) => (connection, due, self.open_record(COLUMN, &sealed)?),
            None => (None, None, Bulk { asking: AskingBulk::off(), overtaken: Overtaken::default() }),
        };
        Ok(BulkRow { relay, connection: connection.map(ConnectionId), due_at_ms, record })
    }

    /// Replaces everything about it.
    pub(crate) fn save_bulk(&mut self, row: &BulkRow) -> Result<(), StoreError> {
        let sealed = self.seal_record(COLUMN, &row.record)?;
        self.change_one(
            "INSERT INTO bulk_connections (group_relay_id, connection_id, due_at_ms, in_use, sealed)
             VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO UPDATE SET connection_id = excluded.connection_id,
             due_at_ms = excluded.due_at_ms, in_use = excluded.in_use, sealed = excluded.sealed",
            params![
                row.relay.0,
                row.connection.map(|connection| connection.0),
                row.due_at_ms,
                row.in_use().is_some(),
                sealed
            ],
        )
    }

    /// A second connection has ended: it is only read from now on.
    pub(crate) fn set_aside(&mut self, connection: ConnectionId) -> Result<(), StoreError> {
        let sql = "UPDATE relay_connections SET aside = 1 WHERE connection_id = ?1";
        self.change_one(sql, params![connection.0])
    }

    /// Whether a connection is only read.
    pub(crate) fn is_aside(&self, connection: ConnectionId) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM relay_connections WHERE connection_id = ?1 AND aside = 1";
        Ok(self.one(sql, params![connection.0], |_| Ok(()))?.is_some())
    }

    /// The connections to one relay, or to all, that are only read, the latest first.
    pub(crate) fn asides(&self, relay: Option<RelayId>) -> Result<Vec<ConnectionId>, StoreError> {
        let sql = "SELECT connection_id FROM relay_connections
                   WHERE aside = 1 AND group_relay_id = coalesce(?1, group_relay_id) ORDER BY connection_id DESC";
        self.all(sql, params![relay.map(|relay| relay.0)], |row| row.get(0).map(ConnectionId))
    }

    /// The relays whose second connection is due.
    pub(crate) fn bulks_due(&self, now_ms: i64) -> Result<Vec<RelayId>, StoreError> {
        let sql = "SELECT group_relay_id FROM bulk_connections WHERE due_at_ms <= ?1 ORDER BY due_at_ms";
        self.all(sql, params![now_ms], |row| row.get(0).map(RelayId))
    }

    /// When the next second connection is due.
    pub(crate) fn next_bulk_due_ms(&self) -> Result<Option<i64>, StoreError> {
        Ok(self.one("SELECT min(due_at_ms) FROM bulk_connections", [], |row| row.get(0))?.flatten())
    }
}

#[cfg(test)]
mod tests {
    use protocol::group::bulk::asking::AskingStage;

    use super::super::group::tests::a_group;
    use super::super::relay::Relay;
    use super::*;

    #[test]
    fn it_reads_back_and_shows_when_both_are_in_use() {
        let mut store = Store::in_memory();
        let group = store.add_group(&a_group("news")).unwrap();
        let relay = store.add_relay(group, &Relay::listed("r".to_owned(), String::new())).unwrap();
        let mut row = store.bulk(relay).unwrap();
        assert_eq!((row.record.asking, row.connection), (AskingBulk::off(), None));
        row.connection = Some(ConnectionId(7));
        row.due_at_ms = Some(20);
        row.record.asking.stage = AskingStage::Asked;
        store.save_bulk(&row).unwrap();
        let shown = |store: &Store| store.relay(relay).unwrap().unwrap().two_connections;
        assert!(!shown(&store));
        assert_eq!((store.bulks_due(19).unwrap(), store.bulks_due(20).unwrap()), (vec![], vec![relay]));
        assert_eq!(store.next_bulk_due_ms().unwrap(), Some(20));
        row.record.asking.stage = AskingStage::Double;
        row.due_at_ms = None;
        store.save_bulk(&row).unwrap();
        let again = store.bulk(relay).unwrap();
        assert_eq!((again.record.asking, again.in_use()), (row.record.asking, Some(ConnectionId(7))));
        assert!(shown(&store) && store.next_bulk_due_ms().unwrap().is_none());
    }

    #[test]
    fn what_is_only_read_is_told_from_what_is_in_use() {
        let mut store = Store::in_memory();
        let group = store.add_group(&a_group("news")).unwrap();
        let [one, other] = ["r", "s"]
            .map(|name| store.add_relay(group, &Relay::listed(name.to_owned(), String::new())).unwrap());
        for (relay, connection) in [(one, 1), (one, 2), (one, 3), (other, 4)] {
            store.add_relay_connection(relay, ConnectionId(connection)).unwrap();
        }
        for connection in [2, 3, 4] {
            store.set_aside(ConnectionId(connection)).unwrap();
        }
        assert_eq!(store.relay_connections(one).unwrap(), [ConnectionId(1)]);
        assert_eq!(store.asides(Some(one)).unwrap(), [3, 2].map(ConnectionId));
        assert_eq!(store.asides(None).unwrap(), [4, 3, 2].map(ConnectionId));
        assert!(store.is_aside(ConnectionId(2)).unwrap() && !store.is_aside(ConnectionId(1)).unwrap());
        assert_eq!(store.relay_of_connection(ConnectionId(4)).unwrap().unwrap().id, other);
        store.drop_relay_connection(ConnectionId(3)).unwrap();
        assert_eq!(store.asides(Some(one)).unwrap(), [ConnectionId(2)]);
    }
}
