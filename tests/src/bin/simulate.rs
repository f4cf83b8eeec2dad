//! Runs seeds of the simulation, and tells of those that fail.
#![allow(clippy::print_stdout)]

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, bail};
use e2e::simulation::{self, Outcome};

const USAGE: &str = "usage: simulate [--first N] [--seeds COUNT] [--threads COUNT] [--seed N] [--trace]

  --seeds COUNT    how many seeds to run [100]
  --first N        the first of them [1]
  --threads COUNT  how many of them at a time [one for each processor]
  --seed N         run this one alone
  --trace          with --seed: print everything that happens";

struct Wish {
    first: u64,
    count: u64,
    threads: u64,
    trace: bool,
}

/// What came of the seeds so far.
#[derive(Default)]
struct Done {
    seeds: u64,
    owed: u64,
    failed: Vec<u64>,
}

fn main() -> anyhow::Result<ExitCode> {
    let wish = read(std::env::args().skip(1))?;
    let began = Instant::now();
    let (next, done) = (AtomicU64::new(0), Mutex::new(Done::default()));
    std::thread::scope(|scope| {
        for _ in 0..wish.threads.min(wish.count) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= wish.count {
                        return;
                    }
                    let outcome = simulation::run(wish.first.saturating_add(number), wish.trace);
                    let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                    count(&wish, &mut done, &outcome);
                    if done.seeds % 100 == 0 {
                        let seconds = began.elapsed().as_secs_f64();
                        println!("{} seeds: {} failed, {seconds:.0} s", done.seeds, done.failed.len());
                    }
                }
            });
        }
    });
    let Done { owed, mut failed, .. } = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    failed.sort_unstable();
    let seconds = began.elapsed().as_secs_f64();
    println!("{} seeds in {seconds:.1} s, {owed} messages owed, failed: {failed:?}", wish.count);
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn count(wish: &Wish, done: &mut Done, outcome: &Outcome) {
    done.seeds += 1;
    done.owed += outcome.figures.owed;
    for line in &outcome.trace {
        println!("{line}");
    }
    if wish.count == 1 {
        let Outcome { seed, happenings, hash, figures, .. } = outcome;
        println!("seed {seed}: {happenings} happenings, hash {hash:016x}, {figures:?}");
    }
    if outcome.failure.is_some() {
        tell(outcome);
        done.failed.push(outcome.seed);
    }
}

fn tell(outcome: &Outcome) {
    println!("seed {} FAILED: {}", outcome.seed, outcome.failure.as_deref().unwrap_or_default());
    println!("  what went wrong on purpose:");
    for line in &outcome.faults {
        println!("  {line}");
    }
    println!(
        "  again, with everything: cargo run --release -p e2e --bin simulate -- --seed {} --trace",
        outcome.seed
    );
}

fn read(arguments: impl Iterator<Item = String>) -> anyhow::Result<Wish> {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut wish = Wish { first: 1, count: 100, threads: u64::try_from(processors)?, trace: false };
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        let mut number = || -> anyhow::Result<u64> {
            let text = arguments.next().with_context(|| format!("{argument} needs a number\n{USAGE}"))?;
            text.parse().with_context(|| format!("{text} is no number\n{USAGE}"))
        };
        match argument.as_str() {
            "--seeds" => wish.count = number()?,
            "--first" => wish.first = number()?,
            "--threads" => wish.threads = number()?.max(1),
            "--seed" => (wish.first, wish.count) = (number()?, 1),
            "--trace" => wish.trace = true,
            "--help" => {
                println!("{USAGE}");
                wish.count = 0;
                return Ok(wish);
            }
            other => bail!("{other} is not known\n{USAGE}"),
        }
    }
    Ok(wish)
}
