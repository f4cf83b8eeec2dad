//! What the seed decides: one stream of numbers for everything that is left to chance.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::agenda::Moment;

/// The dice of a run.
#[derive(Debug)]
pub(super) struct Chance(StdRng);

impl Chance {
    /// Of a seed.
    pub(super) fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// Keys and ids of one actor.
    pub(super) fn fork(&mut self) -> StdRng {
        StdRng::from_rng(&mut self.0)
    }

    /// A number from `low` to `high`, both included.
    pub(super) fn between(&mut self, low: i64, high: i64) -> i64 {
        self.0.random_range(low..=high)
    }

    /// An index below `count`, which is not zero.
    pub(super) fn below(&mut self, count: usize) -> usize {
        self.0.random_range(0..count.max(1))
    }

    /// One of several.
    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        if from.is_empty() { None } else { from.get(self.below(from.len())).copied() }
    }

    /// Whether something happens that does so in so many of 10,000 cases.
    pub(super) fn happens(&mut self, of_10_000: u32) -> bool {
        of_10_000 > 0 && self.0.random_range(0..10_000) < of_10_000
    }

    /// How long something takes: mostly about `usual`, now and then much longer.
    pub(super) fn latency(&mut self, usual: Moment) -> Moment {
        match self.0.random_range(0..100) {
            0 => self.between(usual, usual.saturating_mul(50)),
            1..=9 => self.between(usual, usual.saturating_mul(5)),
            _ => self.between(usual / 4, usual),
        }
    }
}
