//! Several workers on one store: whose each group is.
//!
//! ```text
//! worker ──joins──▶ row with a deadline, renewed with its work ──clean stop, or deadline passed──▶ row gone
//! group  ──taken──▶ that worker's ──given up, or the worker's row is gone──▶ nobody's ──▶ taken by another
//! ```
//!
//! Each transaction of a worker holds its row: whoever takes it for dead waits for the transaction, and then it has
//! none any more. So a worker that stood still commits nothing after its groups went to another.

use protocol::agent::store::ConnectionId;

use super::StoreError;
use super::records::GroupId;

/// Groups that one worker takes or gives up in one transaction at most.
pub const MOVES_MAX: u64 = 64;

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
    /// Takes what is nobody's and gives up what is more than an even share, a few groups at a time; forgets workers whose
    /// deadline has passed. Nothing when there is one worker.
    fn share(&mut self) -> Result<Moves, StoreError>;
    /// All workers.
    fn workers(&mut self) -> Result<Vec<WorkerOverview>, StoreError>;
}

/// What a worker does about its share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Rest,
    /// Takes so many groups of nobody's.
    Take(u64),
    /// Gives up so many.
    GiveUp(u64),
}

/// What a worker that has `own` of `groups` does, of which `free` are nobody's. An even share, rounded up, is what each
/// may have: so every group has room, and nobody gives up what nobody else may take.
#[must_use]
pub fn step(workers: u64, groups: u64, free: u64, own: u64) -> Step {
    let share = groups.div_ceil(workers.max(1));
    match own.cmp(&share) {
        std::cmp::Ordering::Less if free > 0 => Step::Take((share - own).min(free).min(MOVES_MAX)),
        std::cmp::Ordering::Greater => Step::GiveUp((own - share).min(MOVES_MAX)),
        _ => Step::Rest,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whoever has what, and whoever's turn it is: a few turns later all groups are taken, evenly, and rest.
        #[test]
        fn shares_become_even_and_stay_so(mut own in prop::collection::vec(0_u64..300, 1..6), mut free in 0_u64..300) {
            let groups = own.iter().sum::<u64>() + free;
            let workers = own.len() as u64;
            let mut moves = 0;
            for _ in 0..200 {
                for one in &mut own {
                    match step(workers, groups, free, *one) {
                        Step::Rest => {}
                        Step::Take(count) => {
                            prop_assert!(count > 0 && count <= free && count <= MOVES_MAX);
                            (*one, free, moves) = (*one + count, free - count, moves + count);
                        }
                        Step::GiveUp(count) => {
                            prop_assert!(count > 0 && count <= *one && count <= MOVES_MAX);
                            (*one, free) = (*one - count, free + count);
                        }
                    }
                }
            }
            prop_assert_eq!(free, 0);
            let share = groups.div_ceil(workers);
            prop_assert!(own.iter().all(|one| *one <= share), "{:?}", own);
            prop_assert!(moves <= groups, "no group moves twice");
            prop_assert!(own.iter().all(|one| step(workers, groups, free, *one) == Step::Rest));
        }
    }
}
