//! Every program is aborted at each of its named crash points, in the middle of a group's life. After a restart all
//! converges: nothing acknowledged is lost, nothing is shown twice.

use std::collections::BTreeSet;

use anyhow::ensure;
use e2e::troupe::{Part, Troupe};

/// Plays the whole life of a group once calmly, to see which points `part` reaches; then once per point, aborting
/// `part` there.
fn abort_at_each_point_of(part: Part) -> anyhow::Result<()> {
    let mut calm = Troupe::start(None)?;
    calm.play()?;
    ensure!(calm.deaths == 0, "a program died without being armed");
    let points = calm.reached(part)?;
    ensure!(!points.is_empty(), "{part:?} reaches no crash point");
    drop(calm);
    let mut failures = Vec::new();
    for point in &points {
        if let Err(error) = abort_at(part, point) {
            failures.push(format!("{part:?} aborted at {point}: {error:#}"));
        }
    }
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

fn abort_at(part: Part, point: &str) -> anyhow::Result<()> {
    let mut troupe = Troupe::start(Some((part, point)))?;
    troupe.play()?;
    ensure!(troupe.deaths > 0, "it did not abort");
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
    let mut troupe = Troupe::start(None)?;
    troupe.play()?;
    let mut reached = BTreeSet::new();
    for part in Part::ALL {
        reached.append(&mut troupe.reached(part)?);
    }
    let all =
        [smp_server::CRASH_POINTS, chat_relay::CRASH_POINTS, client::CRASH_POINTS, protocol::CRASH_POINTS];
    // Groups use no notifiers; the server's own test aborts at these points.
    let of_groups = all.into_iter().flatten().copied().filter(|point| !point.starts_with("server.notifier."));
    let missed: Vec<&str> = of_groups.filter(|point| !reached.contains(*point)).collect();
    ensure!(missed.is_empty(), "never reached: {missed:?}");
    Ok(())
}
