//! What is measured. Each phase has servers and relays of its own.

mod delivery;
mod fairness;
mod growth;
mod joins;
mod resubscription;
mod storage;
mod wire;

use std::path::PathBuf;
use std::time::Instant;

use clap::ValueEnum;

use crate::database::Engine;
use crate::report::{Measurement, Report};
use crate::world::{Group, RelayHost, World};
use crate::{ciphers, usage};

/// A phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Phase {
    /// One group: first copy, last answer, processor time, memory
    Delivery,
    /// Bytes between the relay and its server for each message that a member gets
    Wire,
    /// Bytes in the relay's database while members cannot be reached
    Storage,
    /// People who join while the owner posts
    Joins,
    /// A small group beside a huge one
    Fairness,
    /// Costs with more members, groups, relays and messages that wait
    Growth,
    /// All queues after a restart, with service certificates and without
    Resubscription,
}

/// Sizes.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The server program.
    pub(crate) program: PathBuf,
    /// What keeps the relays' state.
    pub(crate) store: Engine,
    pub(crate) members: u32,
    pub(crate) posts: u32,
    pub(crate) burst: u32,
    pub(crate) text_bytes: usize,
    pub(crate) joiners: u32,
    pub(crate) growth_members: u32,
    pub(crate) queues: u32,
}

impl Phase {
    /// Whether it says anything about a store: the size of tables, and services, are a file's alone.
    pub(crate) fn is_for(self, store: Engine) -> bool {
        store == Engine::Sqlite || !matches!(self, Self::Storage | Self::Resubscription)
    }

    pub(crate) fn run(self, plan: &Plan, report: &mut Report) -> anyhow::Result<()> {
        match self {
            Self::Delivery => delivery::run(plan, report),
            Self::Wire => wire::run(plan, report),
            Self::Storage => storage::run(plan, report),
            Self::Joins => joins::run(plan, report),
            Self::Fairness => fairness::run(plan, report),
            Self::Growth => growth::run(plan, report),
            Self::Resubscription => resubscription::run(plan, report),
        }
    }
}

/// Posts so many messages at once to all groups of a relay, waits until all members' servers have them, and adds what it
/// cost.
fn posted(
    world: &mut World,
    relay: &mut RelayHost,
    groups: &mut [Group],
    (posts, text_bytes): (u32, usize),
    phase: &str,
) -> anyhow::Result<Measurement> {
    let members = groups.iter().map(|group| group.members).fold(0, u32::saturating_add);
    let before = (relay.cpu(), usage::process_seconds(world.server.pid()), relay.stored_bytes()?);
    let started = Instant::now();
    for group in &mut *groups {
        world.post(group, posts, text_bytes)?;
    }
    let mut first = None;
    for group in &*groups {
        let copy = world.first_copy(group, started)?;
        first.get_or_insert(copy.after);
        world.read_all(group, &copy)?;
    }
    relay.all_served()?;
    let seconds = started.elapsed().as_secs_f64();
    let after = (relay.cpu(), usage::process_seconds(world.server.pid()), relay.stored_bytes()?);
    let copies = f64::from(members) * f64::from(posts);
    let [engine, sessions] = between(before.0, after.0).map(|seconds| seconds * 1e6 / copies);
    Ok(Measurement::new(phase, members)
        .with("posts", f64::from(posts))
        .with("first_copy_ms", first.map_or(0.0, |first| first.as_secs_f64() * 1e3))
        .with("last_answer_s", seconds)
        .with("copies_per_s", copies / seconds)
        .with("relay_us_per_copy", engine + sessions)
        .with("of_which_database_thread", engine)
        .with("of_which_sessions", sessions)
        .with("ratio_to_ciphers", (engine + sessions) / ciphers::micros_per_copy()?)
        .with("server_us_per_copy", (after.1 - before.1) * 1e6 / copies)
        .with("stored_bytes_more_per_member", (after.2 - before.2) / f64::from(members)))
}

/// Processor time between two looks: of the thread with the database, and of the sessions.
fn between(before: [f64; 2], after: [f64; 2]) -> [f64; 2] {
    let ([engine_before, sessions_before], [engine, sessions]) = (before, after);
    [engine - engine_before, sessions - sessions_before]
}
