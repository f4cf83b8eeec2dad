//! Own events on their way to the relays.
//!
//! An event is done for its author when one relay's server has it; it stays here until all relays that were connected
//! when it was written have it or will never have it. With no delivery at all it waits for a relay.

use protocol::agent::store::ConnectionId;
use protocol::group::msg_id::SharedMessageId;
use rusqlite::params;

use super::group::GroupId;
use super::relay::RelayId;
use super::{Store, StoreError};

const COLUMN: &str = "outbox.sealed";

/// Names an own event in the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct OutboxId(pub(crate) i64);

/// An own event.
#[derive(Debug, Clone)]
pub(crate) struct OutboxItem {
    /// The row.
    pub(crate) id: OutboxId,
    /// The container as it goes to each relay.
    pub(crate) container: Vec<u8>,
}

/// A delivery that is over.
#[derive(Debug, Clone)]
pub(crate) struct EndedDelivery {
    /// The group.
    pub(crate) group: GroupId,
    /// The relay.
    pub(crate) relay: RelayId,
    /// The event.
    pub(crate) shared_id: SharedMessageId,
    /// Whether this was the first server to take it.
    pub(crate) first: bool,
    /// Whether it is on its way to this relay on no other connection.
    pub(crate) is_over: bool,
}

impl Store {
    /// Adds an event.
    pub(crate) fn push_outbox(
        &mut self,
        group: GroupId,
        shared_id: &SharedMessageId,
        container: &[u8],
    ) -> Result<OutboxId, StoreError> {
        let sealed = self.seal(COLUMN, container);
        let sql = "INSERT INTO outbox (group_id, shared_id, durable, sealed) VALUES (?1, ?2, 0, ?3)";
        self.insert(sql, params![group.0, shared_id.as_bytes(), sealed]).map(OutboxId)
    }

    /// The oldest event of a group that is on its way to no relay and is with no relay's server.
    pub(crate) fn first_waiting(&self, group: GroupId) -> Result<Option<OutboxItem>, StoreError> {
        let sql = "SELECT outbox_id, sealed FROM outbox WHERE group_id = ?1 AND waits = 1
                   ORDER BY outbox_id LIMIT 1";
        let row: Option<(i64, Vec<u8>)> =
            self.one(sql, params![group.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let open = |(id, sealed): (i64, Vec<u8>)| {
            Ok(OutboxItem { id: OutboxId(id), container: self.sealer.open(COLUMN, &sealed)?.to_vec() })
        };
        row.map(open).transpose()
    }

    /// Whether an event of ours is on its way to no relay, and with no relay's server.
    pub(crate) fn waits(&self, group: GroupId, shared_id: &SharedMessageId) -> Result<bool, StoreError> {
        let sql = "SELECT count(*) FROM outbox WHERE group_id = ?1 AND shared_id = ?2 AND waits = 1";
        Ok(self.count(sql, params![group.0, shared_id.as_bytes()])? > 0)
    }

    /// How many events of a group no relay's server has yet.
    pub(crate) fn count_undelivered(&self, group: GroupId) -> Result<u64, StoreError> {
        self.count("SELECT count(*) FROM outbox WHERE group_id = ?1 AND durable = 0", params![group.0])
    }

    /// Whether some relay's server has the event; also when the event is long gone from the outbox.
    pub(crate) fn is_durable(&self, group: GroupId, shared_id: &SharedMessageId) -> Result<bool, StoreError> {
        let sql = "SELECT count(*) FROM outbox WHERE group_id = ?1 AND shared_id = ?2 AND durable = 0";
        Ok(self.count(sql, params![group.0, shared_id.as_bytes()])? == 0)
    }

    /// The relays whose servers do not have the event yet though it was handed to their connections.
    pub(crate) fn relays_undelivered(
        &self,
        group: GroupId,
        shared_id: &SharedMessageId,
    ) -> Result<Vec<RelayId>, StoreError> {
        let sql = "SELECT DISTINCT group_relay_id FROM deliveries JOIN outbox USING (outbox_id)
                   WHERE group_id = ?1 AND shared_id = ?2 ORDER BY group_relay_id";
        self.all(sql, params![group.0, shared_id.as_bytes()], |row| row.get(0).map(RelayId))
    }

    /// Says that an event was handed to the connection of a relay, which gave it this number.
    pub(crate) fn add_delivery(
        &mut self,
        id: OutboxId,
        relay: RelayId,
        connection: ConnectionId,
        number: i64,
    ) -> Result<(), StoreError> {
        self.change_one(
            "INSERT INTO deliveries (outbox_id, group_relay_id, connection_id, number) VALUES (?1, ?2, ?3, ?4)",
            params![id.0, relay.0, connection.0, number],
        )?;
        self.change_one("UPDATE outbox SET waits = 0 WHERE outbox_id = ?1", params![id.0])
    }

    /// The relay's server has the event, or never will: the delivery is over. Gives the event, and whether it was
    /// the first time that a server took it.
    pub(crate) fn end_delivery(
        &mut self,
        connection: ConnectionId,
        number: i64,
        durable: bool,
    ) -> Result<Option<EndedDelivery>, StoreError> {
        let sql = "SELECT outbox_id, group_id, group_relay_id, shared_id, durable
                   FROM deliveries JOIN outbox USING (outbox_id) WHERE connection_id = ?1 AND number = ?2";
        let found: Option<(i64, i64, i64, Vec<u8>, bool)> =
            self.one(sql, params![connection.0, number], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
            })?;
        let Some((id, group, relay, shared_id, was_durable)) = found else { return Ok(None) };
        if durable {
            // On whichever connection it is there first: the relay has it.
            let sql = "DELETE FROM deliveries WHERE outbox_id = ?1 AND group_relay_id = ?2";
            self.run(sql, params![id, relay])?;
            self.run("UPDATE outbox SET durable = 1 WHERE outbox_id = ?1", params![id])?;
        } else {
            let sql = "DELETE FROM deliveries WHERE connection_id = ?1 AND number = ?2";
            self.run(sql, params![connection.0, number])?;
        }
        let sql = "SELECT count(*) FROM deliveries WHERE outbox_id = ?1 AND group_relay_id = ?2";
        let is_over = self.count(sql, params![id, relay])? == 0;
        self.settle(id)?;
        Ok(Some(EndedDelivery {
            group: GroupId(group),
            relay: RelayId(relay),
            shared_id: SharedMessageId::new(shared_id)?,
            first: durable && !was_durable,
            is_over,
        }))
    }

    /// A connection is gone: what it did not deliver waits for another relay.
    pub(crate) fn end_deliveries_of(&mut self, connection: ConnectionId) -> Result<(), StoreError> {
        let sql = "DELETE FROM deliveries WHERE connection_id = ?1 RETURNING outbox_id";
        let ids: Vec<i64> = self.all(sql, params![connection.0], |row| row.get(0))?;
        ids.into_iter().try_for_each(|id| self.settle(id))
    }

    /// What is on its way nowhere any more is done, or waits.
    fn settle(&mut self, id: i64) -> Result<(), StoreError> {
        if self.count("SELECT count(*) FROM deliveries WHERE outbox_id = ?1", params![id])? > 0 {
            return Ok(());
        }
        self.run("DELETE FROM outbox WHERE outbox_id = ?1 AND durable = 1", params![id])?;
        self.run("UPDATE outbox SET waits = 1 WHERE outbox_id = ?1", params![id])?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::group::tests::a_group;
    use super::super::relay::Relay;
    use super::*;

    struct Fixture {
        store: Store,
        group: GroupId,
        relays: Vec<RelayId>,
    }

    fn fixture() -> Fixture {
        let mut store = Store::in_memory();
        let group = store.add_group(&a_group("news")).unwrap();
        let relays = ["r1", "r2"]
            .map(|name| store.add_relay(group, &Relay::listed(name.to_owned(), String::new())).unwrap())
            .to_vec();
        Fixture { store, group, relays }
    }

    impl Fixture {
        /// An event that is on its way to both relays.
        fn send(&mut self) -> SharedMessageId {
            let shared_id = SharedMessageId::new(b"event".to_vec()).unwrap();
            let item = self.store.push_outbox(self.group, &shared_id, b"container").unwrap();
            for (relay, connection) in self.relays.clone().into_iter().zip(1..) {
                self.store.add_delivery(item, relay, ConnectionId(connection), 7).unwrap();
            }
            shared_id
        }

        fn end(&mut self, connection: i64, durable: bool) -> Option<bool> {
            let ended = self.store.end_delivery(ConnectionId(connection), 7, durable).unwrap();
            ended.map(|ended| ended.first)
        }

        fn waiting(&self) -> u64 {
            self.store.count("SELECT count(*) FROM outbox WHERE waits = 1", []).unwrap()
        }
    }

    #[test]
    fn the_first_server_makes_it_durable_and_the_last_delivery_clears_it() {
        let mut fixture = fixture();
        let id = fixture.send();
        assert!(!fixture.store.is_durable(fixture.group, &id).unwrap());
        assert_eq!(fixture.end(1, true), Some(true));
        assert!(fixture.store.is_durable(fixture.group, &id).unwrap());
        assert_eq!(fixture.store.relays_undelivered(fixture.group, &id).unwrap(), [fixture.relays[1]]);
        assert_eq!((fixture.end(2, true), fixture.end(2, true)), (Some(false), None));
        assert_eq!((fixture.waiting(), fixture.store.count_undelivered(fixture.group).unwrap()), (0, 0));
    }

    #[test]
    fn one_of_two_connections_is_enough() {
        let mut fixture = fixture();
        let ends = |fixture: &mut Fixture, connection, durable| {
            let ended = fixture.store.end_delivery(ConnectionId(connection), 7, durable).unwrap();
            ended.map(|ended| (ended.first, ended.is_over))
        };
        for (failed, taken) in [(1, 9), (9, 1)] {
            fixture.send();
            let shared_id = SharedMessageId::new(b"twice".to_vec()).unwrap();
            let item = fixture.store.push_outbox(fixture.group, &shared_id, b"container").unwrap();
            for connection in [1, 9] {
                let (relay, id) = (fixture.relays[0], ConnectionId(connection + 10));
                fixture.store.add_delivery(item, relay, id, 7).unwrap();
            }
            assert_eq!(ends(&mut fixture, failed + 10, false), Some((false, false)));
            assert_eq!(ends(&mut fixture, taken + 10, true), Some((true, true)));
            assert!(fixture.store.is_durable(fixture.group, &shared_id).unwrap());
            fixture.end(1, true);
            fixture.end(2, true);
        }
        assert_eq!(fixture.store.count_undelivered(fixture.group).unwrap(), 0);
    }

    #[test]
    fn what_no_relay_took_waits_for_the_next() {
        let mut fixture = fixture();
        fixture.send();
        assert_eq!(fixture.waiting(), 0, "it is on its way");
        assert_eq!(fixture.end(1, false), Some(false));
        fixture.store.end_deliveries_of(ConnectionId(2)).unwrap();
        assert_eq!((fixture.waiting(), fixture.store.count_undelivered(fixture.group).unwrap()), (1, 1));
        let first = fixture.store.first_waiting(fixture.group).unwrap().unwrap();
        assert_eq!(first.container, b"container");
    }

    #[test]
    fn what_one_server_has_does_not_wait_when_another_relay_goes() {
        let mut fixture = fixture();
        fixture.send();
        fixture.end(1, true);
        fixture.store.end_deliveries_of(ConnectionId(2)).unwrap();
        assert_eq!(fixture.waiting(), 0);
    }
}
