//! Bytes between a relay and its server for each message that a member gets.

use super::Plan;
use crate::report::{Measurement, Report};
use crate::wire::Counter;
use crate::world::World;

pub(super) fn run(plan: &Plan, report: &mut Report) -> anyhow::Result<()> {
    let mut world = World::start(plan)?;
    let counter = Counter::start(&world.own, &world.server.address)?;
    let mut relay = world.relay("relay", &counter.address)?;
    let members = plan.growth_members.div_euclid(3).max(1);
    let mut group = world.group_at(&mut relay, &counter.address, members, false)?;
    relay.start(&world, true)?;
    for posts in [1, plan.burst] {
        let before = counter.bytes();
        world.post(&mut group, posts, plan.text_bytes)?;
        let copy = world.first_copy(&group, std::time::Instant::now())?;
        relay.all_served()?;
        let bytes = counter.bytes() - before;
        let copies = f64::from(members) * f64::from(posts);
        report.add(
            Measurement::new(format!("wire: {posts} at once"), members)
                .with("bytes_per_delivered_message", bytes / copies)
                .with("text_bytes", plan.text_bytes as f64),
        );
        world.read_all(&group, &copy)?;
    }
    relay.stop(&world)
}
