//! All queues of a relay after a restart: asked for one by one, and as a service's by one command.

use std::time::Instant;

use super::Plan;
use crate::report::{Measurement, Report};
use crate::world::{RelayHost, World};
use crate::{seed, usage};

pub(super) fn run(plan: &Plan, report: &mut Report) -> anyhow::Result<()> {
    let world = World::start(plan)?;
    let address = world.server.address.clone();
    let mut relay = world.relay("relay", &address)?;
    let queues = plan.queues;
    world.own.block_on(seed::queues(&world.network, &mut relay.store, &address, queues))?;
    let mut taken = |phase: &str, as_service: bool| -> anyhow::Result<()> {
        report.add(start(&world, &mut relay, queues, as_service, phase)?);
        Ok(())
    };
    taken("resubscription: one by one", false)?;
    taken("resubscription: one by one, again", false)?;
    taken("resubscription: one by one, to become a service's", true)?;
    taken("resubscription: by one command", true)?;
    taken("resubscription: by one command, again", true)
}

fn start(
    world: &World,
    relay: &mut RelayHost,
    queues: u32,
    as_service: bool,
    phase: &str,
) -> anyhow::Result<Measurement> {
    // The seeding side has a subscription of none of them; the relay before this one is gone.
    world.server.forsaken()?;
    let before = usage::process_seconds(world.server.pid());
    let started = Instant::now();
    let ready = relay.launch(as_service)?;
    world.server.subscribed(queues.into())?;
    let seconds = started.elapsed().as_secs_f64();
    let (relay_cpu, server_cpu) = (relay.cpu(), usage::process_seconds(world.server.pid()) - before);
    world.own.block_on(ready)?;
    relay.stop(world)?;
    let each = 1e6 / f64::from(queues);
    Ok(Measurement::new(phase, 0)
        .with("queues", f64::from(queues))
        .with("seconds", seconds)
        .with("relay_us_per_queue", (relay_cpu[0] + relay_cpu[1]) * each)
        .with("server_us_per_queue", server_cpu * each))
}
