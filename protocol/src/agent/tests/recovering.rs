//! Two agents whose homes are lost and restored from old backups, again and again, while they talk.

use proptest::prelude::*;

use super::world::{Name, Party, World};
use crate::agent::event::{Event, SyncState};
use crate::agent::memory::MemoryStore;
use crate::agent::store::ConnectionId;

/// Rounds in which two parties must have found together.
const ROUNDS_MAX: usize = 40;

struct Pair {
    world: World,
    ids: [ConnectionId; 2],
    backups: [MemoryStore; 2],
    /// Events before this one were looked at.
    seen: [usize; 2],
}

const NAMES: [Name; 2] = [Name::Alice, Name::Bob];

impl Pair {
    fn new(seed: u64) -> Self {
        let mut world = World::new(seed);
        let (alice, bob) = world.connect();
        let backups = [world.alice.store.clone(), world.bob.store.clone()];
        let seen = [world.alice.events.len(), world.bob.events.len()];
        Self { world, ids: [alice, bob], backups, seen }
    }

    /// What applications do: new keys as soon as they are needed.
    fn react(&mut self) -> bool {
        let mut has_acted = false;
        for (side, name) in NAMES.into_iter().enumerate() {
            let events: Vec<_> = self.world.party(name).events[self.seen[side]..].to_vec();
            self.seen[side] += events.len();
            let last = events.iter().rev().find_map(|(_, event)| match event {
                Event::RatchetSync(state) => Some(*state),
                _ => None,
            });
            if matches!(last, Some(SyncState::Required | SyncState::Allowed)) {
                self.world.with(name, |agent| agent.resync(self.ids[side]).unwrap());
                self.seen[side] = self.world.party(name).events.len();
                has_acted = true;
            }
        }
        has_acted
    }

    fn step(&mut self) {
        for name in NAMES {
            if self.world.happens(50) {
                self.world.run_one_request(name);
            }
            if self.world.happens(50) {
                self.world.deliver_one(name);
            }
        }
        self.react();
    }

    fn restore(&mut self, side: usize) {
        let name = NAMES[side];
        self.world.party(name).store = self.backups[side].clone();
        self.world.with(name, |agent| agent.restored(self.ids[side]).unwrap());
        self.seen[side] = self.world.party(name).events.len();
    }

    fn state(&mut self, side: usize) -> SyncState {
        self.world.party(NAMES[side]).record(self.ids[side]).sync
    }

    /// Lets everything come to rest; a side that waits for an answer in vain asks again, as after a while.
    fn come_together(&mut self) -> usize {
        for round in 0..ROUNDS_MAX {
            self.world.settle();
            if self.react() {
                continue;
            }
            let mut is_done = true;
            for (side, name) in NAMES.into_iter().enumerate() {
                if self.state(side) != SyncState::Ok {
                    is_done = false;
                    let id = self.ids[side];
                    self.world.with(name, |agent| agent.resync(id).unwrap());
                    break;
                }
            }
            if is_done {
                return round;
            }
        }
        panic!("{:?} and {:?} after {ROUNDS_MAX} rounds", self.state(0), self.state(1));
    }

    fn talk(&mut self) {
        for name in NAMES {
            self.world.party(name).take_events();
        }
        self.seen = [0, 0];
        for (name, id) in NAMES.into_iter().zip(self.ids) {
            self.world.send(name, id, &7_u32.to_be_bytes());
        }
        self.world.settle();
        let has_message = |party: &Party| party.messages().iter().any(|it| it.0 == 7);
        assert!(has_message(&self.world.alice) && has_message(&self.world.bob));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn they_always_find_together_again(seed in any::<u64>(), acts in proptest::collection::vec(0..12_u8, 1..40)) {
        let mut pair = Pair::new(seed);
        for act in acts {
            let side = usize::from(act % 2);
            let (name, id) = (NAMES[side], pair.ids[side]);
            match act {
                0 | 1 => pair.backups[side] = pair.world.party(name).store.clone(),
                2 | 3 => pair.restore(side),
                4 | 5 => {
                    // refused while the ratchets are out of step
                    let body = 1_u32.to_be_bytes();
                    let _ = pair.world.with(name, |agent| agent.send(id, crate::agent::Body::Inline(&body), false));
                }
                _ => pair.step(),
            }
        }
        pair.come_together();
        pair.talk();
    }
}
