//! One group: post after post, and some at once.

use std::time::Instant;

use super::{Plan, posted};
use crate::report::{Measurement, Report};
use crate::usage;
use crate::world::World;

pub(super) fn run(plan: &Plan, report: &mut Report) -> anyhow::Result<()> {
    let mut world = World::start(plan)?;
    let started = Instant::now();
    let (mut relay, group) = world.relay_with("relay", plan.members)?;
    let seeded = Measurement::new("delivery: seed", plan.members);
    report.add(
        seeded
            .with("seconds", started.elapsed().as_secs_f64())
            .with("stored_bytes_per_member", relay.stored_bytes()? / f64::from(plan.members)),
    );
    usage::forget_peak();
    let mut groups = [group];
    relay.start(&world, true)?;
    for number in 1..=plan.posts {
        let phase = format!("delivery: post {number}");
        let result = posted(&mut world, &mut relay, &mut groups, (1, plan.text_bytes), &phase)?;
        report.add(result.with("peak_mib", usage::peak_mib()));
    }
    let (burst, phase) = ((plan.burst, plan.text_bytes), format!("delivery: {} at once", plan.burst));
    let result = posted(&mut world, &mut relay, &mut groups, burst, &phase)?;
    report.add(result.with("peak_mib", usage::peak_mib()));
    relay.stop(&world)
}
