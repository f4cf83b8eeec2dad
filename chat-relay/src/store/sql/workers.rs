//! Workers and what is whose: see `migrations/postgres/0011_workers.sql`.

use std::collections::BTreeSet;
use std::time::Duration;

use protocol::agent::store::ConnectionId;
use rusqlite::params;

use super::SqlStore;
use super::database::Database;
use crate::store::StoreError;
use crate::store::records::GroupId;
use crate::store::workers::{
    GROUP_WEIGHT, Moves, Weighed, WorkerId, WorkerOverview, WorkerStore, surplus, to_give_up, to_take,
};

/// The number of the only worker of a file.
const ONLY: i64 = 0;
/// Groups that are weighed against each other at once: the lighter ones have their turn later.
const LOOKED_AT_MAX: i64 = 1024;

/// This worker among others.
#[derive(Debug)]
pub(super) struct Membership {
    worker: i64,
    held: BTreeSet<GroupId>,
}

impl SqlStore {
    /// Becomes one of the workers on this database: whoever hears nothing of it for `lease` takes it for dead. Gives
    /// its number. Not for a file, which has one worker.
    ///
    /// # Errors
    /// What the database says.
    pub fn join(&mut self, name: &str, lease: Duration) -> Result<i64, StoreError> {
        let lease_ms = i64::try_from(lease.as_millis()).unwrap_or(i64::MAX);
        let worker = self.insert(
            "INSERT INTO workers (name, until) VALUES (?1, now() + CAST(?2 AS BIGINT) * interval '1 millisecond')
             RETURNING worker_id",
            params![name, lease_ms],
        )?;
        // Counts of workers that are gone, and of days that are over.
        self.run(
            "DELETE FROM account_days WHERE worker_id NOT IN (SELECT worker_id FROM workers)
             AND day < (SELECT max(day) FROM account_days)",
            params![],
        )?;
        if let Database::Postgres(database) = &mut self.database {
            database.fence(worker, lease);
        }
        self.membership = Some(Membership { worker, held: BTreeSet::new() });
        Ok(worker)
    }

    /// Says that a worker is gone, with all that it had: others may take it at once.
    ///
    /// # Errors
    /// What the database says.
    pub fn leave(&mut self, worker: i64) -> Result<(), StoreError> {
        self.run("DELETE FROM workers WHERE worker_id = ?1", params![worker])?;
        Ok(())
    }

    /// The number under which this one takes things; none for who only looks at a shared database.
    pub(super) fn worker(&self) -> Option<i64> {
        match (&self.database, &self.membership) {
            (Database::Sqlite(_), _) => Some(ONLY),
            (Database::Postgres(_), membership) => membership.as_ref().map(|membership| membership.worker),
        }
    }

    /// Remembers that a group came or went by this worker's own doing.
    pub(super) fn note_held(&mut self, group: GroupId, is_held: bool) {
        if let Some(membership) = &mut self.membership {
            match is_held {
                true => membership.held.insert(group),
                false => membership.held.remove(&group),
            };
        }
    }

    /// Whether a connection is another worker's, or nobody's.
    pub(super) fn is_elsewhere(&mut self, connection: ConnectionId) -> Result<bool, StoreError> {
        let Some(Membership { worker, .. }) = self.membership else { return Ok(false) };
        let sql = "SELECT coalesce(g.worker_id, p.worker_id) FROM purposes p
                   LEFT JOIN served_groups g USING (group_id) WHERE p.connection_id = ?1";
        let found: Option<Option<i64>> = self.one(sql, params![connection.0], |row| row.get(0))?;
        // Without a purpose it was made a moment ago, here.
        Ok(found.is_some_and(|owner| owner != Some(worker)))
    }

    /// Every worker with what it has, and how many groups are nobody's.
    fn loads(&mut self) -> Result<(Vec<Weighed<WorkerId>>, u64), StoreError> {
        let mut free = 0;
        let loads = self.all(
            "SELECT w.worker_id, coalesce(sum(CASE WHEN g.group_id IS NULL THEN 0
                ELSE ?1 + greatest(coalesce(c.members, 0), 0) END)::bigint, 0),
             (SELECT count(*) FROM served_groups WHERE worker_id IS NULL)
             FROM workers w LEFT JOIN served_groups g USING (worker_id) LEFT JOIN group_counts c USING (group_id)
             GROUP BY w.worker_id",
            params![group_weight()],
            |row| {
                free = unsigned(row.get(2)?);
                Ok(Weighed { what: WorkerId(row.get(0)?), weight: unsigned(row.get(1)?) })
            },
        )?;
        Ok((loads, free))
    }

    /// The heaviest groups of a worker's, or of nobody's, that weigh no more than `heaviest`.
    fn groups_of(&mut self, worker: Option<i64>, heaviest: u64) -> Result<Vec<Weighed<GroupId>>, StoreError> {
        self.all(
            "SELECT group_id, ?1 + greatest(coalesce(members, 0), 0) AS weight
             FROM served_groups LEFT JOIN group_counts USING (group_id)
             WHERE worker_id IS NOT DISTINCT FROM ?2 AND ?1 + greatest(coalesce(members, 0), 0) <= ?3
             ORDER BY weight DESC, group_id LIMIT ?4",
            params![group_weight(), worker, signed(heaviest), LOOKED_AT_MAX],
            |row| Ok(Weighed { what: GroupId(row.get(0)?), weight: unsigned(row.get(1)?) }),
        )
    }

    /// Makes groups that are `from` one `to` another, or nobody; those that others reach for at this moment are left.
    fn hand_over(
        &mut self,
        groups: &[GroupId],
        from: Option<i64>,
        to: Option<i64>,
    ) -> Result<Vec<GroupId>, StoreError> {
        let list: Vec<String> = groups.iter().map(|group| group.0.to_string()).collect();
        self.all(
            "UPDATE served_groups SET worker_id = ?1 WHERE group_id IN (SELECT group_id FROM served_groups
             WHERE worker_id IS NOT DISTINCT FROM ?2 AND group_id = ANY (CAST(string_to_array(?3, ',') AS BIGINT[]))
             FOR UPDATE SKIP LOCKED) RETURNING group_id",
            params![to, from, list.join(",")],
            |row| row.get(0).map(GroupId),
        )
    }

    fn take(&mut self, worker: i64, loads: &[Weighed<WorkerId>]) -> Result<Vec<GroupId>, StoreError> {
        let free = self.groups_of(None, u64::MAX)?;
        let wanted = to_take(loads, &free, WorkerId(worker));
        if wanted.is_empty() { Ok(wanted) } else { self.hand_over(&wanted, None, Some(worker)) }
    }

    /// Gives up what this worker has too much of, unless another does so at this moment or what somebody gave up is not
    /// taken yet: each looks at what the one before it has left.
    fn give_up(&mut self, worker: i64) -> Result<Vec<GroupId>, StoreError> {
        let lock = "SELECT pg_try_advisory_xact_lock(hashtext(current_schema()), 3)";
        if !self.one(lock, params![], |row| row.get(0))?.unwrap_or(false) {
            return Ok(Vec::new());
        }
        let (loads, free) = self.loads()?;
        let Some(surplus) = surplus(&loads, WorkerId(worker)).filter(|_| free == 0) else {
            return Ok(Vec::new());
        };
        let own = self.groups_of(Some(worker), surplus.heaviest())?;
        let unwanted = to_give_up(surplus, &own);
        if unwanted.is_empty() { Ok(unwanted) } else { self.hand_over(&unwanted, Some(worker), None) }
    }

    /// The address, if it is nobody's; with it go connections of no group that are nobody's.
    fn take_address(&mut self, worker: i64, moves: &mut Moves) -> Result<(), StoreError> {
        let sql = "UPDATE relay_address SET worker_id = ?1 WHERE worker_id IS NULL";
        moves.has_address = self.run(sql, params![worker])? > 0;
        moves.adopted = self.all(
            "UPDATE purposes SET worker_id = ?1 WHERE group_id IS NULL AND worker_id IS NULL
             AND EXISTS (SELECT 1 FROM relay_address a WHERE a.worker_id = ?1) RETURNING connection_id",
            params![worker],
            |row| row.get(0).map(ConnectionId),
        )?;
        Ok(())
    }
}

impl WorkerStore for SqlStore {
    fn is_shared(&self) -> bool {
        matches!(self.database, Database::Postgres(_))
    }

    fn holds(&self, group: GroupId) -> bool {
        self.membership.as_ref().is_none_or(|membership| membership.held.contains(&group))
    }

    fn share(&mut self) -> Result<Moves, StoreError> {
        let Some(Membership { worker, .. }) = self.membership else { return Ok(Moves::default()) };
        // Whoever stands still in the middle of a transaction is looked at again when that is over.
        self.run(
            "DELETE FROM workers WHERE worker_id IN (SELECT worker_id FROM workers
             WHERE until < now() AND worker_id <> ?1 FOR UPDATE SKIP LOCKED)",
            params![worker],
        )?;
        let mut moves = Moves::default();
        self.take_address(worker, &mut moves)?;
        let (loads, free) = self.loads()?;
        if free > 0 {
            moves.taken = self.take(worker, &loads)?;
        } else if surplus(&loads, WorkerId(worker)).is_some() {
            moves.given_up = self.give_up(worker)?;
        }
        for group in &moves.taken {
            self.note_held(*group, true);
        }
        for group in &moves.given_up {
            self.note_held(*group, false);
        }
        let invited: BTreeSet<i64> = self
            .all(
                "UPDATE invitations SET handed_over = 0 WHERE handed_over = 1 AND group_id IN
                 (SELECT group_id FROM served_groups WHERE worker_id = ?1) RETURNING group_id",
                params![worker],
                |row| row.get(0),
            )?
            .into_iter()
            .collect();
        moves.invited = invited.into_iter().map(GroupId).collect();
        Ok(moves)
    }

    fn workers(&mut self) -> Result<Vec<WorkerOverview>, StoreError> {
        let Some(Membership { worker, .. }) = self.membership else { return Ok(Vec::new()) };
        self.all(
            "SELECT w.worker_id, w.name, count(g.group_id), coalesce(sum(c.members)::bigint, 0),
             EXISTS (SELECT 1 FROM relay_address a WHERE a.worker_id = w.worker_id)
             FROM workers w LEFT JOIN served_groups g USING (worker_id) LEFT JOIN group_counts c USING (group_id)
             GROUP BY w.worker_id, w.name ORDER BY w.worker_id",
            params![],
            |row| {
                let id = row.get(0)?;
                Ok(WorkerOverview {
                    id,
                    name: row.get(1)?,
                    groups: unsigned(row.get(2)?),
                    members: unsigned(row.get(3)?),
                    has_address: row.get(4)?,
                    is_asked: id == worker,
                })
            },
        )
    }
}

fn group_weight() -> i64 {
    signed(GROUP_WEIGHT)
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use daemon::scratch::Scratch;
    use protocol::agent::store::AgentStore as _;
    use protocol::group::identity::{LinkText, MemberId};
    use protocol::net::engine::Transactional as _;
    use protocol::smp::address::ServerAddress;
    use protocol::smp::ids::RecipientId;
    use protocol::timestamp::Timestamp;

    use super::super::Access;
    use super::*;
    use crate::config::Limits;
    use crate::store::RelayStore as _;
    use crate::store::operation::{OperationStore as _, Taken};
    use crate::store::records::{GroupKey, Purpose};

    const NOW: Timestamp = Timestamp(1000);
    const LEASE: Duration = Duration::from_secs(60);

    fn worker(scratch: &Scratch) -> SqlStore {
        let mut store = looking(scratch);
        store.join("one", LEASE).unwrap();
        store
    }

    fn looking(scratch: &Scratch) -> SqlStore {
        SqlStore::connect(&Access::new(&scratch.connection(), Duration::from_secs(10)).unwrap()).unwrap()
    }

    fn make_group(store: &mut SqlStore, number: u8) -> GroupId {
        let id = |byte| MemberId::new([byte; 12]).unwrap();
        let link = LinkText::new(format!("simplex:/c#{number}")).unwrap();
        let key = GroupKey { group_link: link, owner: id(1), relay: id(2) };
        store.group_for_invitation(&key, NOW, &Limits::default()).unwrap().unwrap().0.id
    }

    fn shares(one: &mut SqlStore, other: &mut SqlStore) -> (usize, usize) {
        // Each looks twice: who is first may have to wait for what the other gives up.
        for _ in 0..2 {
            one.share().unwrap();
            other.share().unwrap();
        }
        let held = |store: &SqlStore| store.membership.as_ref().unwrap().held.len();
        (held(one), held(other))
    }

    #[test]
    fn groups_are_shared_evenly_and_all_go_to_who_is_left() {
        let Some(scratch) = Scratch::make() else { return };
        let mut one = worker(&scratch);
        let groups: Vec<_> = (0..9).map(|number| make_group(&mut one, number)).collect();
        assert_eq!(one.share().unwrap().taken, []);
        let mut other = worker(&scratch);
        assert_eq!(shares(&mut one, &mut other), (5, 4));
        assert_eq!(one.share().unwrap(), Moves::default(), "it rests");
        let rows = other.workers().unwrap();
        assert_eq!(
            rows.iter().map(|row| (row.groups, row.is_asked)).collect::<Vec<_>>(),
            [(5, false), (4, true)]
        );

        let gone = one.worker().unwrap();
        looking(&scratch).leave(gone).unwrap();
        let taken = other.share().unwrap().taken;
        assert_eq!(taken.len(), 5);
        assert!(groups.iter().all(|group| other.holds(*group)));
        assert!(matches!(one.begin().unwrap_err().downcast_ref(), Some(StoreError::Dispossessed)));
    }

    #[test]
    fn members_weigh_more_than_groups() {
        let Some(scratch) = Scratch::make() else { return };
        let mut one = worker(&scratch);
        let groups: Vec<_> = (0..8).map(|number| make_group(&mut one, number)).collect();
        let mut fill = |group: &GroupId, members: i64| {
            let set = "INSERT INTO group_counts (group_id, members) VALUES (?1, ?2)
                       ON CONFLICT (group_id) DO UPDATE SET members = excluded.members";
            one.run(set, params![group.0, members]).unwrap();
        };
        groups.iter().take(2).for_each(|group| fill(group, 50_000));
        let mut other = worker(&scratch);
        shares(&mut one, &mut other);
        assert!(one.holds(groups[0]) != one.holds(groups[1]), "each has a huge one");
        let members: Vec<u64> = one.workers().unwrap().iter().map(|row| row.members).collect();
        assert_eq!(members, [50_000, 50_000]);
        assert_eq!((one.share().unwrap(), other.share().unwrap()), (Moves::default(), Moves::default()));

        let mut third = worker(&scratch);
        one.begin().unwrap();
        assert_ne!(one.share().unwrap().given_up, []);
        assert_eq!(other.share().unwrap(), Moves::default(), "one at a time");
        one.commit().unwrap();
        assert_eq!(other.share().unwrap(), Moves::default(), "what was given up is taken first");
        assert_ne!(third.share().unwrap().taken, []);
    }

    #[test]
    fn who_is_taken_for_dead_ends_its_transaction_and_has_no_other() {
        let Some(scratch) = Scratch::make() else { return };
        let (mut slow, mut other) = (worker(&scratch), worker(&scratch));
        let group = make_group(&mut slow, 1);
        let number = slow.worker().unwrap();
        slow.begin().unwrap();
        slow.set_paused(group, true).unwrap();
        scratch.execute(&format!(
            "UPDATE workers SET until = now() - interval '1 second' WHERE worker_id = {number}"
        ));
        assert_eq!(other.share().unwrap().taken, [], "it is in the middle of something");
        slow.commit().unwrap();
        assert_eq!(other.share().unwrap().taken, [group]);
        assert!(slow.begin().is_err());
    }

    #[test]
    fn a_deadline_moves_with_the_work() {
        let Some(scratch) = Scratch::make() else { return };
        let mut one = looking(&scratch);
        one.join("one", Duration::from_secs(2)).unwrap();
        scratch.execute("CREATE TABLE first AS SELECT until FROM workers");
        // Over, but nobody took it for dead.
        scratch.until("SELECT until < now() FROM workers");
        one.begin().unwrap();
        one.commit().unwrap();
        scratch.until("SELECT workers.until > first.until FROM workers, first");
    }

    #[test]
    fn connections_are_whose_their_group_is_and_the_rest_goes_with_the_address() {
        let Some(scratch) = Scratch::make() else { return };
        let (mut one, mut other) = (worker(&scratch), worker(&scratch));
        let group = make_group(&mut one, 1);
        let server: ServerAddress =
            "smp://AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=@localhost".parse().unwrap();
        let mut connection = |byte, purpose| {
            let id = one.insert_connection(b"record").unwrap();
            one.add_queue(id, &server, &RecipientId([byte; 24])).unwrap();
            one.set_purpose(id, purpose, Some(NOW)).unwrap();
            id
        };
        let (link, answer) = (connection(1, Purpose::RelayLink(group)), connection(2, Purpose::Answer));
        let whose = |store: &mut SqlStore, byte| {
            store.connection_of_queue(&server, &RecipientId([byte; 24])).unwrap()
        };
        assert_eq!((whose(&mut one, 1), whose(&mut one, 2)), (Some(link), Some(answer)));
        assert_eq!((whose(&mut other, 1), whose(&mut other, 2)), (None, None));
        assert_eq!(one.expired_connections(NOW, 9).unwrap().len(), 2);
        assert_eq!(other.expired_connections(NOW, 9).unwrap(), []);
        assert_eq!(other.next_expiry().unwrap(), None);

        scratch.execute("INSERT INTO relay_address (\"only\", draft, profile) VALUES (1, '', '{}')");
        assert!(one.share().unwrap().has_address);
        assert!(!other.share().unwrap().has_address);
        looking(&scratch).leave(one.worker().unwrap()).unwrap();
        let moves = other.share().unwrap();
        assert_eq!((moves.taken, moves.has_address, moves.adopted), (vec![group], true, vec![answer]));
        assert_eq!((whose(&mut other, 1), whose(&mut other, 2)), (Some(link), Some(answer)));
        assert_eq!((whose(&mut one, 1), whose(&mut one, 2)), (None, None));
    }

    #[test]
    fn an_invitation_to_a_group_of_another_worker_finds_it() {
        use protocol::group::profile::Profile;
        let Some(scratch) = Scratch::make() else { return };
        let (mut one, mut other) = (worker(&scratch), worker(&scratch));
        let group = make_group(&mut one, 1);
        other.add_invitation(group, b"again", &Profile::named("Olga")).unwrap();
        assert_eq!(one.share().unwrap().invited, [group]);
        assert_eq!(one.share().unwrap().invited, [], "once");
        one.add_invitation(group, b"own", &Profile::named("Olga")).unwrap();
        assert_eq!(one.share().unwrap().invited, []);
    }

    #[test]
    fn each_counts_what_it_takes_and_all_count_together() {
        let Some(scratch) = Scratch::make() else { return };
        let (mut one, mut other) = (worker(&scratch), worker(&scratch));
        one.begin().unwrap();
        one.add_taken("", 1, Taken { messages: 1, bytes: 10 }).unwrap();
        // Does not wait for the other's transaction.
        other.add_taken("", 1, Taken { messages: 2, bytes: 20 }).unwrap();
        one.commit().unwrap();
        assert_eq!(one.taken("", 1).unwrap(), Taken { messages: 3, bytes: 30 });
    }
}
