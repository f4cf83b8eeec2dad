//! How the relay's processor time for one copy, and for one join, grows with what there is.

use super::{Plan, joins, posted};
use crate::report::Report;
use crate::usage;
use crate::world::{Group, World};

/// Groups that the members are spread over.
const GROUPS: [u32; 3] = [1, 10, 40];
/// Relays that the same members have.
const RELAYS: [u32; 2] = [1, 3];
/// Messages that wait for each member.
const BACKLOG: [u32; 3] = [1, 10, 50];
/// The figure that is compared.
const COST: &str = "relay_us_per_copy";

pub(super) fn run(plan: &Plan, report: &mut Report) -> anyhow::Result<()> {
    members(plan, report)?;
    joins(plan, report)?;
    groups(plan, report)?;
    relays(plan, report)?;
    backlog(plan, report)
}

fn members(plan: &Plan, report: &mut Report) -> anyhow::Result<()> {
    for part in [10, 3, 1] {
        let members = plan.growth_members.div_euclid(part).max(1);
        one(plan, report, 1, (members, 1), format!("growth, members: {members}"))?;
    }
    report.growth("growth, members", COST);
    Ok(())
}

fn joins(plan: &Plan, report: &mut Report) -> anyhow::Result<()> {
    for part in [100, 10, 1] {
        joins::one_size(plan, report, plan.growth_members.div_euclid(part).max(1))?;
    }
    report.growth("growth, joins", "relay_ms");
    Ok(())
}

fn groups(plan: &Plan, report: &mut Report) -> anyhow::Result<()> {
    for groups in GROUPS {
        let members = plan.growth_members.div_euclid(groups).max(1);
        one(plan, report, groups, (members, 1), format!("growth, groups: {groups}"))?;
    }
    report.growth("growth, groups", COST);
    Ok(())
}

fn backlog(plan: &Plan, report: &mut Report) -> anyhow::Result<()> {
    let members = plan.growth_members.div_euclid(3).max(1);
    for posts in BACKLOG {
        one(plan, report, 1, (members, posts), format!("growth, backlog: {posts}"))?;
    }
    report.growth("growth, backlog", COST);
    Ok(())
}

fn one(
    plan: &Plan,
    report: &mut Report,
    groups: u32,
    (members, posts): (u32, u32),
    phase: String,
) -> anyhow::Result<()> {
    let mut world = World::start(plan)?;
    let mut relay = world.relay("relay", &world.server.address.clone())?;
    let made: anyhow::Result<Vec<Group>> =
        (0..groups).map(|_| world.group(&mut relay, members, false)).collect();
    relay.start(&world, true)?;
    let mut made = made?;
    // What is done once, such as reading a statement, is not compared.
    posted(&mut world, &mut relay, &mut made, (1, plan.text_bytes), "warm")?;
    report.add(posted(&mut world, &mut relay, &mut made, (posts, plan.text_bytes), &phase)?);
    relay.stop(&world)
}

/// Relays of the same size at once: the cost of each copy, whoever makes it.
fn relays(plan: &Plan, report: &mut Report) -> anyhow::Result<()> {
    let members = plan.growth_members.div_euclid(3).max(1);
    for relays in RELAYS {
        let mut world = World::start(plan)?;
        let mut all = Vec::new();
        for number in 0..relays {
            let mut relay = world.relay(&format!("relay {number}"), &world.server.address.clone())?;
            let group = world.group(&mut relay, members, false)?;
            relay.start(&world, true)?;
            all.push((relay, group));
        }
        // Sessions of all relays are counted as one relay's: each database thread is added to the first.
        let cpu = |all: &[(crate::world::RelayHost, Group)]| {
            let engines: f64 = all.iter().map(|(relay, _)| relay.cpu()[0]).sum();
            engines + all.first().map_or(0.0, |(relay, _)| relay.cpu()[1])
        };
        let before = (cpu(&all), usage::process_seconds(world.server.pid()));
        for (_, group) in &mut all {
            world.post(group, 1, plan.text_bytes)?;
        }
        for (relay, _) in &mut all {
            relay.until("a post is there", |store| {
                Ok(chat_relay::store::operation::OperationStore::totals(store)?.messages > 0)
            })?;
            relay.all_served()?;
        }
        let copies = f64::from(members) * f64::from(relays);
        let server = usage::process_seconds(world.server.pid()) - before.1;
        report.add(
            crate::report::Measurement::new(format!("growth, relays: {relays}"), members)
                .with(COST, (cpu(&all) - before.0) * 1e6 / copies)
                .with("server_us_per_copy", server * 1e6 / copies),
        );
        for (relay, _) in &mut all {
            relay.stop(&world)?;
        }
    }
    report.growth("growth, relays", COST);
    Ok(())
}
