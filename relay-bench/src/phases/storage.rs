//! Bytes in the relay's database while the server of all members is away.

use chat_relay::store::RelayStore as _;
use chat_relay::store::operation::OperationStore as _;

use super::Plan;
use crate::report::{Measurement, Report};
use crate::server::Server;
use crate::world::World;

/// Bytes of a post's text: large beside what rows and pages cost.
const TEXT_BYTES: usize = 10_000;
/// Further messages that wait.
const FURTHER: u32 = 10;

pub(super) fn run(plan: &Plan, report: &mut Report) -> anyhow::Result<()> {
    let mut world = World::start(plan)?;
    let mut members_at = Server::start(&plan.program)?;
    let address = world.server.address.clone();
    let mut relay = world.relay("relay", &address)?;
    let members = plan.growth_members;
    let mut group = world.group_at(&mut relay, &members_at.address.clone(), members, false)?;
    relay.start(&world, true)?;
    members_at.kill()?;
    let count = f64::from(members);

    let empty = relay.stored_bytes()?;
    let message = world.post(&mut group, 1, TEXT_BYTES)? as f64;
    let served = group.owner.served;
    // Each member has an item on its way when the round is over.
    relay.until("the round is over", |store| {
        let is_over = store.stream(served)?.is_some_and(|stream| stream.cursor.is_none());
        Ok(is_over && store.totals()?.messages >= 1)
    })?;
    let first = relay.stored_bytes()?;
    report.add(
        Measurement::new("storage: first message, an item in flight for each member", members)
            .with("message_bytes", message)
            .with("bytes_per_item", (first - empty - message) / count),
    );
    world.post(&mut group, FURTHER, TEXT_BYTES)?;
    relay.until("the messages are stored", |store| {
        let is_over = store.stream(served)?.is_some_and(|stream| stream.cursor.is_none());
        Ok(is_over && store.totals()?.messages > u64::from(FURTHER))
    })?;
    let more = (relay.stored_bytes()? - first) / f64::from(FURTHER);
    report.add(
        Measurement::new("storage: further messages", members)
            .with("bytes_per_message", more)
            .with("ratio_to_message", more / message)
            .with("bytes_per_waiting_member", ((more - 1.1 * message) / count).max(0.0)),
    );
    relay.stop(&world)
}
