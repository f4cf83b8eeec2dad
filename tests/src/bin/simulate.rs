//! Runs seeds of the simulation, and tells of those that fail.
#![allow(clippy::print_stdout)]

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, bail};
use e2e::simulation::{self, Outcome};

const USAGE: &str = "usage: simulate [--first N] [--seeds COUNT] [--seed N] [--trace]

  --seeds COUNT  how many seeds to run [100]
  --first N      the first of them [1]
  --seed N       run this one alone
  --trace        with --seed: print everything that happens";

struct Wish {
    first: u64,
    count: u64,
    trace: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let wish = read(std::env::args().skip(1))?;
    let began = Instant::now();
    let mut failed = Vec::new();
    let mut posts = 0;
    for seed in wish.first..wish.first.saturating_add(wish.count) {
        let outcome = simulation::run(seed, wish.trace);
        for line in &outcome.trace {
            println!("{line}");
        }
        posts += outcome.figures.owed;
        if wish.count == 1 {
            println!(
                "seed {seed}: {} happenings, hash {:016x}, {:?}",
                outcome.happenings, outcome.hash, outcome.figures
            );
        }
        if (seed - wish.first) % 100 == 99 {
            println!("up to seed {seed}: {} failed, {:.0} s", failed.len(), began.elapsed().as_secs_f64());
        }
        if outcome.failure.is_some() {
            tell(&outcome);
            failed.push(seed);
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    println!("{} seeds in {seconds:.1} s, {posts} messages owed, failed: {failed:?}", wish.count);
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
    let mut wish = Wish { first: 1, count: 100, trace: false };
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        let mut number = || -> anyhow::Result<u64> {
            let text = arguments.next().with_context(|| format!("{argument} needs a number\n{USAGE}"))?;
            text.parse().with_context(|| format!("{text} is no number\n{USAGE}"))
        };
        match argument.as_str() {
            "--seeds" => wish.count = number()?,
            "--first" => wish.first = number()?,
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
