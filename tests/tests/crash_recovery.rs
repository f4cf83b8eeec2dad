//! Every program is aborted at each of its named crash points, in the middle of a group's life. After a restart all
//! converges: nothing acknowledged is lost, nothing is shown twice.
//!
//! A life has several deaths. Those of one life lie far from each other: whatever the one left behind has to be put
//! right before the next is reached, so that no restart hides what another one broke.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context as _, anyhow, ensure};
use e2e::troupe::{Part, Troupe};

/// Lives of one part at a time: they wait more than they work.
const LIVES_AT_ONCE: usize = 4;

/// Deaths of one life at most. The server's points all lie where the life begins, and each death costs all its clients
/// the pauses of their retries: it dies once.
const fn deaths_max(part: Part) -> usize {
    match part {
        Part::Server => 1,
        Part::Relay | Part::Owner | Part::Member => 6,
    }
}

/// Which of two queues brings a statement first is a race between two sessions' messages, and a life has no hold on one of
/// the two alone: whatever keeps the one queue back is an event of the other, too. Nobody is armed with what only one
/// outcome reaches; in the relay's own tests (`two_connections`) the copy ahead comes first, surely.
fn is_by_chance(point: &str) -> bool {
    point.starts_with("relay.turn.taken")
}

/// The points that each part reaches in a calm life, in their order. It is played once for all tests.
fn reached() -> anyhow::Result<&'static BTreeMap<Part, Vec<String>>> {
    static REACHED: OnceLock<Result<BTreeMap<Part, Vec<String>>, String>> = OnceLock::new();
    let play = || -> anyhow::Result<_> {
        let mut calm = Troupe::start(None)?;
        calm.play()?;
        ensure!(calm.deaths == 0, "a program died without being armed");
        let reached = |part| -> anyhow::Result<_> {
            let mut points = calm.reached(part)?;
            points.retain(|point| !is_by_chance(point));
            Ok((part, points))
        };
        Part::ALL.into_iter().map(reached).collect()
    };
    let played = REACHED.get_or_init(|| play().map_err(|error| format!("{error:#}")));
    played.as_ref().map_err(|error| anyhow!("the calm life: {error}"))
}

fn abort_at_each_point_of(part: Part) -> anyhow::Result<()> {
    let points = reached()?.get(&part).context("Every part has its points")?;
    ensure!(!points.is_empty(), "{part:?} reaches no crash point");
    let count = points.len().div_ceil(deaths_max(part));
    let lives: Vec<Vec<String>> =
        (0..count).map(|life| points.iter().skip(life).step_by(count).cloned().collect()).collect();
    let next = AtomicUsize::new(0);
    // What went wrong in the lives that a thread takes, one after the other.
    let live = || {
        let mut failures = Vec::new();
        while let Some(deaths) = lives.get(next.fetch_add(1, Ordering::Relaxed)) {
            let played = Troupe::start(Some((part, deaths.clone()))).and_then(|mut troupe| troupe.play());
            if let Err(error) = played {
                failures.push(format!("{part:?} aborted at {deaths:?}: {error:#}"));
            }
        }
        failures
    };
    let failures: Vec<String> = thread::scope(|scope| -> anyhow::Result<Vec<String>> {
        let threads: Vec<_> = (0..LIVES_AT_ONCE).map(|_| scope.spawn(live)).collect();
        let ended = threads.into_iter().map(|thread| thread.join().map_err(|_| anyhow!("a life panicked")));
        Ok(ended.collect::<anyhow::Result<Vec<_>>>()?.concat())
    })?;
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

#[test]
fn the_server_may_die_at_any_point() -> anyhow::Result<()> {
    abort_at_each_point_of(Part::Server)
}

#[test]
fn the_relay_may_die_at_any_point() -> anyhow::Result<()> {
    abort_at_each_point_of(Part::Relay)
}

#[test]
fn the_owner_may_die_at_any_point() -> anyhow::Result<()> {
    abort_at_each_point_of(Part::Owner)
}

#[test]
fn the_member_may_die_at_any_point() -> anyhow::Result<()> {
    abort_at_each_point_of(Part::Member)
}

#[test]
fn every_point_is_reached_by_the_life_of_a_group() -> anyhow::Result<()> {
    let reached: BTreeSet<&str> = reached()?.values().flatten().map(String::as_str).collect();
    let all =
        [smp_server::CRASH_POINTS, chat_relay::CRASH_POINTS, client::CRASH_POINTS, protocol::CRASH_POINTS];
    // Groups use no notifiers; the server's own test aborts at these points.
    let is_of_groups = |point: &&str| !point.starts_with("server.notifier.") && !is_by_chance(point);
    let of_groups = all.into_iter().flatten().copied().filter(is_of_groups);
    let missed: Vec<&str> = of_groups.filter(|point| !reached.contains(point)).collect();
    ensure!(missed.is_empty(), "never reached: {missed:?}");
    Ok(())
}
