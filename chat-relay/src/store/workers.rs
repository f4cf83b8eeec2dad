//! Several workers on one store: whose each group is.
//!
//! ```text
//! worker ──joins──▶ row with a deadline, renewed with its work ──clean stop, or deadline passed──▶ row gone
//! group  ──taken──▶ that worker's ──given up, or the worker's row is gone──▶ nobody's ──▶ taken by another
//! ```
//!
//! Load is told in members: [`to_take`], [`surplus`] and [`to_give_up`] share it.
//!
//! Each transaction of a worker holds its row: whoever takes it for dead waits for the transaction, and then it has
//! none any more. So a worker that stood still commits nothing after its groups went to another.

use std::cmp::Reverse;

use protocol::agent::store::ConnectionId;

use super::StoreError;
use super::records::GroupId;

/// Groups that one worker takes or gives up in one transaction at most.
pub const MOVES_MAX: usize = 64;
/// What a group weighs without its members, in members: its owner, its link, its watch.
pub const GROUP_WEIGHT: u64 = 16;

/// The number of a worker. Never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct WorkerId(pub i64);

/// What became of a worker's share.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Moves {
    /// Groups that are its own now.
    pub taken: Vec<GroupId>,
    /// Groups that are not any more.
    pub given_up: Vec<GroupId>,
    /// Whether the relay's address is its own now.
    pub has_address: bool,
    /// Connections of no group, left by others, that are its own now.
    pub adopted: Vec<ConnectionId>,
    /// Groups of its own with invitations that another worker stored.
    pub invited: Vec<GroupId>,
}

/// A worker as operators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerOverview {
    /// Its number. Never reused.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Groups that are its own.
    pub groups: u64,
    /// Members that are in these groups.
    pub members: u64,
    /// Whether the relay's address is.
    pub has_address: bool,
    /// Whether it is the one that was asked.
    pub is_asked: bool,
}

/// What a store knows of workers. Every method may fail when the database does.
#[expect(clippy::missing_errors_doc, reason = "said once above")]
pub trait WorkerStore {
    /// Whether this is one of several workers.
    fn is_shared(&self) -> bool;
    /// Whether a group is this worker's.
    fn holds(&self, group: GroupId) -> bool;
    /// Takes of what is nobody's, or gives up what another worker had better have, a few groups at a time; forgets workers
    /// whose deadline has passed. Nothing when there is one worker.
    fn share(&mut self) -> Result<Moves, StoreError>;
    /// All workers.
    fn workers(&mut self) -> Result<Vec<WorkerOverview>, StoreError>;
}

/// Something of which there is so much: a worker with its load, a group with its weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weighed<T> {
    /// What.
    pub what: T,
    /// How much, in members.
    pub weight: u64,
}

/// Says which groups of nobody's a worker takes: each free group, the heaviest first, goes to whoever has least by then.
/// All workers that see the same say the same, so none reaches for what another takes.
#[must_use]
pub fn to_take(workers: &[Weighed<WorkerId>], free: &[Weighed<GroupId>], own: WorkerId) -> Vec<GroupId> {
    let mut workers = workers.to_vec();
    let mut free = free.to_vec();
    free.sort_by_key(|group| (Reverse(group.weight), group.what.0));
    let mut taken = Vec::new();
    for group in free {
        let Some(least) = workers.iter_mut().min_by_key(|worker| (worker.weight, worker.what)) else { break };
        least.weight = least.weight.saturating_add(group.weight);
        if least.what == own {
            taken.push(group.what);
        }
    }
    taken.truncate(MOVES_MAX);
    taken
}

/// How much more a worker has than whoever has least, when that is worth a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Surplus {
    more: u64,
    /// A difference that nothing is moved for.
    tolerance: u64,
}

impl Surplus {
    /// The heaviest group that may go. With a heavier one the other would have about what this one has now.
    #[must_use]
    pub fn heaviest(self) -> u64 {
        self.more / 4 * 3
    }
}

/// What a worker has too much of: nothing up to an eighth of all that it has. To be asked when no group is free, and by
/// one worker at a time.
#[must_use]
pub fn surplus(workers: &[Weighed<WorkerId>], own: WorkerId) -> Option<Surplus> {
    let load = workers.iter().find(|worker| worker.what == own)?.weight;
    let least = workers.iter().map(|worker| worker.weight).min()?;
    let surplus = Surplus { more: load.checked_sub(least)?, tolerance: load / 8 };
    (surplus.more > surplus.tolerance).then_some(surplus)
}

/// Says which of its groups a worker with a surplus gives up: those that bring it and whoever has least closest together.
/// A group comes back only when loads have changed by a sixteenth since it went.
#[must_use]
pub fn to_give_up(mut surplus: Surplus, groups: &[Weighed<GroupId>]) -> Vec<GroupId> {
    let mut groups = groups.to_vec();
    groups.sort_by_key(|group| (Reverse(group.weight), group.what.0));
    let mut given_up = Vec::new();
    while surplus.more > surplus.tolerance && given_up.len() < MOVES_MAX {
        let off = |group: &Weighed<GroupId>| (surplus.more / 2).abs_diff(group.weight);
        let may_go = groups.iter().enumerate().filter(|(_, group)| group.weight <= surplus.heaviest());
        let Some((at, _)) = may_go.min_by_key(|(_, group)| off(group)) else { break };
        let group = groups.remove(at);
        given_up.push(group.what);
        surplus.more = surplus.more.saturating_sub(group.weight.saturating_mul(2));
    }
    given_up
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Turns in which all that moves has come to rest, whatever the properties below begin with.
    const TURNS: usize = 400;

    /// Workers on one table: whose each group is, and what it weighs.
    #[derive(Debug, Clone)]
    struct Table {
        workers: Vec<WorkerId>,
        groups: BTreeMap<i64, (u64, Option<WorkerId>)>,
        /// How often each group was given up.
        given_up: BTreeMap<i64, usize>,
    }

    impl Table {
        fn loads(&self) -> Vec<Weighed<WorkerId>> {
            let load = |worker| self.of(Some(worker)).iter().map(|group| group.weight).sum();
            self.workers.iter().map(|worker| Weighed { what: *worker, weight: load(*worker) }).collect()
        }

        fn of(&self, whose: Option<WorkerId>) -> Vec<Weighed<GroupId>> {
            let own = self.groups.iter().filter(|(_, (_, worker))| *worker == whose);
            own.map(|(id, (weight, _))| Weighed { what: GroupId(*id), weight: *weight }).collect()
        }

        fn heaviest_load(&self) -> u64 {
            self.loads().iter().map(|worker| worker.weight).max().unwrap_or(0)
        }

        /// A worker looks, as `share` of the store does; says whether it moved anything.
        fn turn(&mut self, worker: WorkerId) -> bool {
            let (loads, free) = (self.loads(), self.of(None));
            let (moved, whose) = if free.is_empty() {
                let Some(surplus) = surplus(&loads, worker) else { return false };
                (to_give_up(surplus, &self.of(Some(worker))), None)
            } else {
                (to_take(&loads, &free, worker), Some(worker))
            };
            assert!(moved.len() <= MOVES_MAX);
            for group in &moved {
                let entry = self.groups.get_mut(&group.0).unwrap();
                assert_eq!(entry.1, if whose.is_none() { Some(worker) } else { None });
                entry.1 = whose;
                *self.given_up.entry(group.0).or_default() += usize::from(whose.is_none());
            }
            !moved.is_empty()
        }

        /// Turns until nobody moves anything.
        fn settle(&mut self) -> bool {
            let workers = self.workers.clone();
            (0..TURNS).any(|_| {
                let moved: Vec<bool> = workers.iter().map(|worker| self.turn(*worker)).collect();
                !moved.contains(&true)
            })
        }
    }

    /// Few huge groups among many small ones, in any hands.
    fn tables() -> impl Strategy<Value = Table> {
        let weight = prop_oneof![
            8 => GROUP_WEIGHT..GROUP_WEIGHT + 50,
            2 => GROUP_WEIGHT..5_000_u64,
            1 => 50_000..100_000_u64,
        ];
        (1_i64..6).prop_flat_map(move |workers| {
            prop::collection::vec((weight.clone(), 0..=workers), 0..120).prop_map(move |groups| Table {
                workers: (1..=workers).map(WorkerId).collect(),
                // Worker 0 is nobody.
                groups: (1..)
                    .zip(groups)
                    .map(|(id, (weight, worker))| (id, (weight, (worker > 0).then_some(WorkerId(worker)))))
                    .collect(),
                given_up: BTreeMap::new(),
            })
        })
    }

    proptest! {
        /// Whoever has what, and whoever's turn it is: all groups are taken, and then rest.
        #[test]
        fn everything_is_taken_and_comes_to_rest(mut table in tables()) {
            prop_assert!(table.settle(), "{table:?}");
            prop_assert_eq!(table.of(None), []);
        }

        /// Who has most has more than who has least only by a little, or by a group that nobody else is to have.
        #[test]
        fn no_worker_has_what_another_had_better_have(mut table in tables()) {
            prop_assert!(table.settle());
            let loads = table.loads();
            let least = loads.iter().map(|worker| worker.weight).min().unwrap();
            for worker in &loads {
                let lightest = table.of(Some(worker.what)).iter().map(|group| group.weight).min().unwrap_or(0);
                let more = worker.weight - least;
                prop_assert!(more <= worker.weight / 8 || lightest > more / 4 * 3, "{table:?}");
            }
        }

        /// What is dealt out anew is within a group of even, and never moves again for it.
        #[test]
        fn free_groups_are_dealt_out_evenly(mut table in tables()) {
            table.groups.values_mut().for_each(|group| group.1 = None);
            prop_assert!(table.settle());
            let loads = table.loads();
            let heaviest = table.groups.values().map(|(weight, _)| *weight).max().unwrap_or(0);
            let even = loads.iter().map(|worker| worker.weight).sum::<u64>() / loads.len() as u64;
            prop_assert!(table.heaviest_load() <= even + heaviest);
        }

        /// Moving is never in vain: no group passes through more hands than there are.
        #[test]
        fn a_move_never_makes_the_heaviest_load_heavier(mut table in tables()) {
            let first = WorkerId(1);
            table.groups.values_mut().for_each(|group| { group.1.get_or_insert(first); });
            let before = table.heaviest_load();
            prop_assert!(table.settle());
            prop_assert!(table.heaviest_load() <= before);
            let workers = table.workers.len();
            prop_assert!(table.given_up.values().all(|times| *times < workers.max(2)), "{:?}", table.given_up);
        }

        /// Members come and go a little, all the time: nothing is handed to and fro.
        #[test]
        fn small_changes_do_not_make_groups_wander(
            mut table in tables(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), 0_u64..=32), 1..200),
        ) {
            prop_assert!(table.settle());
            prop_assume!(!table.groups.is_empty());
            let weights: BTreeMap<i64, u64> = table.groups.iter().map(|(id, (weight, _))| (*id, *weight)).collect();
            table.given_up.clear();
            for (which, change) in changes {
                let id = *which.get(&weights.keys().copied().collect::<Vec<_>>());
                // Between 31 and 33 thirty-seconds of what it was: no load changes by a sixteenth.
                table.groups.get_mut(&id).unwrap().0 = weights[&id] * (1008 + change) / 1024;
                prop_assert!(table.settle());
            }
            prop_assert!(table.given_up.values().all(|times| *times <= 1), "{:?}", table.given_up);
        }
    }

    #[test]
    fn huge_groups_are_not_all_one_workers() {
        let workers = [1, 2].map(WorkerId);
        let huge = [1, 2, 3, 4].map(|id| (id, (100_000, Some(WorkerId(1)))));
        let small = (5..45).map(|id| (id, (20, Some(WorkerId(2)))));
        let groups = huge.into_iter().chain(small).collect();
        let mut table = Table { workers: workers.to_vec(), groups, given_up: BTreeMap::new() };
        assert!(table.settle());
        let huge_of = |worker| table.of(Some(worker)).iter().filter(|group| group.weight > 20).count();
        assert_eq!(workers.map(huge_of), [2, 2]);
        assert_eq!(table.given_up.len(), 2, "the small ones stay where they are");
    }

    #[test]
    fn a_worker_with_one_huge_group_keeps_it_and_the_others_share_the_rest() {
        let small = (2..62).map(|id| (id, (1000, Some(WorkerId(2)))));
        let groups = [(1, (500_000, Some(WorkerId(1))))].into_iter().chain(small).collect();
        let workers = [1, 2, 3].map(WorkerId).to_vec();
        let mut table = Table { workers, groups, given_up: BTreeMap::new() };
        assert!(table.settle());
        let counts = [1, 2, 3].map(|worker| table.of(Some(WorkerId(worker))).len());
        assert_eq!(counts[0], 1);
        assert!(counts[1].abs_diff(counts[2]) <= 4, "{counts:?}");
    }
}
