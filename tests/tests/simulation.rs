//! A sample of simulated runs; `cargo run --release -p e2e --bin simulate` runs thousands.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use e2e::simulation::{self, Outcome};

/// The sample, by halves, which run side by side.
const SEEDS: [std::ops::Range<u64>; 2] = [1..6, 6..11];

fn holds(outcome: &Outcome) {
    assert!(
        outcome.failure.is_none(),
        "seed {}: {}\n{}\nrun `cargo run -p e2e --bin simulate -- --seed {} --trace` for all of it",
        outcome.seed,
        outcome.failure.as_deref().unwrap_or_default(),
        outcome.faults.join("\n"),
        outcome.seed
    );
}

fn sample(seeds: std::ops::Range<u64>) {
    let outcomes: Vec<Outcome> = seeds.map(|seed| simulation::run(seed, false)).collect();
    outcomes.iter().for_each(holds);
    let count = |figure: fn(&simulation::Figures) -> u64| -> u64 {
        outcomes.iter().map(|outcome| figure(&outcome.figures)).sum()
    };
    assert!(
        count(|it| it.acknowledged) > 0 && count(|it| it.owed) > 0,
        "somebody says something to somebody"
    );
    assert!(outcomes.iter().any(|outcome| outcome.faults.len() > 10), "much goes wrong");
}

#[test]
fn nothing_is_lost_or_shown_twice_whatever_goes_wrong() {
    sample(SEEDS[0].clone());
}

#[test]
fn nothing_is_lost_or_shown_twice_whatever_else_goes_wrong() {
    sample(SEEDS[1].clone());
}

#[test]
fn the_same_seed_is_the_same_run() {
    let (first, second) = (simulation::run(5, true), simulation::run(5, false));
    assert!(first.happenings > 500, "{} things happen", first.happenings);
    assert_eq!((first.hash, first.happenings), (second.hash, second.happenings));
    assert_eq!(first.faults, second.faults);
    assert_eq!(first.trace.len() as u64, first.happenings);
    let hashes: BTreeSet<u64> = [first.hash, simulation::run(6, false).hash].into();
    assert_eq!(hashes.len(), 2, "another seed is another run");
}
