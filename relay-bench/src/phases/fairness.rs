//! A small group beside a huge one that has just been posted to.

use std::time::Instant;

use super::Plan;
use crate::report::{Measurement, Report};
use crate::world::World;

/// Members of the small group.
const FEW: u32 = 10;
/// Posts to the small group.
const ROUNDS: u32 = 5;

pub(super) fn run(plan: &Plan, report: &mut Report) -> anyhow::Result<()> {
    let mut world = World::start(plan)?;
    let (mut relay, mut huge) = world.relay_with("relay", plan.members)?;
    let mut small = world.group(&mut relay, FEW, true)?;
    relay.start(&world, true)?;
    for (phase, is_beside) in [("fairness: alone", false), ("fairness: beside a huge group", true)] {
        let mut firsts = Vec::new();
        for _ in 0..ROUNDS {
            if is_beside {
                let started = Instant::now();
                world.post(&mut huge, 1, plan.text_bytes)?;
                let copy = world.first_copy(&huge, started)?;
                world.read_all(&huge, &copy)?;
            }
            let started = Instant::now();
            world.post(&mut small, 1, plan.text_bytes)?;
            let copy = world.first_copy(&small, started)?;
            firsts.push(copy.after.as_secs_f64() * 1e3);
            world.read_all(&small, &copy)?;
            relay.all_served()?;
        }
        firsts.sort_by(f64::total_cmp);
        let (worst, median) = (firsts.last().copied(), firsts.get(firsts.len() / 2).copied());
        let measured = Measurement::new(phase, plan.members);
        report.add(
            measured
                .with("first_copy_ms", worst.unwrap_or_default())
                .with("median_first_copy_ms", median.unwrap_or_default()),
        );
    }
    relay.stop(&world)
}
