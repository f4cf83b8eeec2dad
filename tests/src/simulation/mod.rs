//! Whole runs from a seed, in one thread: the real engine with the real relay and client, their stores, ratchets and
//! keys; simulated are time, the network, and the sockets of the queue servers.
//!
//! ```text
//! script ── commands, absences, removals ──▶ programs ── Effects ──▶ network ──▶ servers (smp-server's store)
//!    │                                          ▲                       │
//!    ├── ledger: what was said, to whom owed    └────── Arrivals ◀──────┘
//!    └── invariants, at each step and after a quiet period              all of it on one agenda
//! ```
//!
//! Everything that is left to chance comes from the seed: the same seed is the same run, which [`Outcome::hash`] proves.
//!
//! Checked: nobody is shown a message twice, everything that came is shown once somebody looks, and what was shown is not
//! unread; posts of one author stand in order, whenever they came; whoever is
//! connected to a relay when an author who is connected to it says something, gets it, if both stay; whoever was removed,
//! or is blocked, is passed over by a relay that knew when it was said; whoever was not let in gets nothing; in the end
//! whoever hears of the owner has the same profile and roles, shows posts as their authors changed them, and knows that the
//! group has ended; programs hold in memory what is under way and no more; and nothing waits anywhere.

#![expect(clippy::indexing_slicing, reason = "what a JSON value has not, is null")]

mod agenda;
mod agreement;
mod chance;
mod invariants;
mod ledger;
mod network;
mod program;
mod script;
mod server;
#[cfg(test)]
mod tests;
mod trace;
mod world;

use self::agenda::Moment;
pub use self::script::Figures;
use self::script::Script;

/// How long people are given to do what they want.
const ACTIVE_MS_MAX: Moment = 24 * 3_600_000;
/// How long everything may take to come to rest when nothing goes wrong any more: longer than the longest pause between
/// two attempts to send to a full queue.
const QUIET_MS_MAX: Moment = 36 * 3_600_000;
/// When it is looked first whether it has; each wait after that is longer by a quarter.
const LOOK_MS: Moment = 60_000;

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// Of which seed.
    pub seed: u64,
    /// The same for the same run.
    pub hash: u64,
    /// How many things happened.
    pub happenings: u64,
    /// How much happened of what counts.
    pub figures: Figures,
    /// What went wrong on purpose.
    pub faults: Vec<String>,
    /// Everything, if it was to be kept.
    pub trace: Vec<String>,
    /// What should not have happened.
    pub failure: Option<String>,
}

/// Runs one seed.
#[must_use]
pub fn run(seed: u64, keep_trace: bool) -> Outcome {
    let mut outcome = Outcome {
        seed,
        hash: 0,
        happenings: 0,
        figures: Figures::default(),
        faults: Vec::new(),
        trace: Vec::new(),
        failure: None,
    };
    let mut script = match Script::new(seed, keep_trace) {
        Ok(script) => script,
        Err(error) => {
            outcome.failure = Some(format!("{error:#}"));
            return outcome;
        }
    };
    outcome.failure = play(&mut script).err().map(|error| format!("{error:#}"));
    let trace = &mut script.world.trace;
    outcome.hash = trace.hash();
    outcome.happenings = trace.count;
    outcome.faults = std::mem::take(&mut trace.faults);
    outcome.trace = trace.lines.take().unwrap_or_default();
    outcome.figures = script.figures;
    outcome
}

fn play(script: &mut Script) -> anyhow::Result<()> {
    let end = script.world.now() + ACTIVE_MS_MAX;
    while !script.is_over()
        && let Some(happening) = script.world.agenda.next(end)
    {
        script.happen(happening)?;
    }
    script.calm_down()?;
    let end = script.world.now() + QUIET_MS_MAX;
    let mut wait = LOOK_MS;
    loop {
        let look_at = script.world.now() + wait;
        wait += wait / 4;
        while let Some(happening) = script.world.agenda.next(look_at) {
            script.happen(happening)?;
        }
        match script.unsettled()? {
            None => break,
            Some(problem) if script.world.now() >= end => anyhow::bail!("no rest: {problem}"),
            Some(_) => {}
        }
    }
    script.check()
}
