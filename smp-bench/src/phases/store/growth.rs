//! What commands cost as queues become more, and what queues take of memory.

use std::collections::BTreeMap;

use anyhow::Context as _;
use protocol::crypto::random_bytes;
use protocol::net::rng::system_rng;
use protocol::smp::command::Command;

use super::held::{Held, HeldQueue};
use super::resident;
use crate::connection::{Connection, Target};
use crate::measure::Meter;
use crate::phases::{Plan, Say, growth};
use crate::progress::Progress;
use crate::queue::{COMMANDS_AT_ONCE, is_ok, pipeline};
use crate::subject::Subject;

/// Parts of all queues at which costs are measured.
const PARTS: [usize; 3] = [100, 10, 1];

pub(super) async fn measure(
    subject: &Subject,
    target: &Target,
    plan: &Plan,
    held: &mut Held,
    say: &mut Say<'_>,
) -> anyhow::Result<()> {
    // What only the first use takes is not a queue's.
    drop(Connection::open_service(target, &held.identity).await?);
    let progress = Progress::new("queues", plan.stored_queues);
    // Memory that grew while queues were made, and not by what is done with them.
    let mut grown = 0_u64;
    let mut costs = BTreeMap::new();
    for part in PARTS {
        let size = plan.stored_queues.div_ceil(part);
        let wanted = size.saturating_sub(held.queues.len());
        let sample = plan.sample.min(wanted);
        let before = resident(subject)?;
        held.create(target, wanted.saturating_sub(sample), &progress).await?;
        let meter = Meter::start(subject);
        held.create(target, sample, &progress).await?;
        grown = grown.saturating_add(resident(subject)?.saturating_sub(before));
        let per_queue = grown as f64 / size as f64;
        let created = meter.stop(format!("growth: NEW at {size} queues"), sample as u64, None);
        say(growth::with_ratio(created, "NEW", &mut costs).with("bytes_per_queue", per_queue));

        let some = held.some(plan.sample)?;
        let mut service = Connection::open_service(target, &held.identity).await?;
        let meter = Meter::start(subject);
        let push = |connection: &mut Connection, position| {
            let queue: &HeldQueue = some.get(position).context("There is no such queue")?;
            connection.push_of_service(&held.keys.recipient, queue.recipient_id.as_bytes(), &Command::Sub)
        };
        pipeline(&mut service, plan.sample, COMMANDS_AT_ONCE, push, is_ok).await?;
        let subscribed = meter.stop(format!("growth: SUB at {size} queues"), plan.sample as u64, None);
        say(growth::with_ratio(subscribed, "SUB", &mut costs));
        drop(service);

        let receivers = held.some(plan.sample)?.into_iter().map(|queue| queue.sender_id).collect();
        let meter = Meter::start(subject);
        held.send_to(target, plan, receivers, &Progress::silent()).await?;
        let sent = meter.stop(format!("growth: SEND at {size} queues"), plan.sample as u64, None);
        say(growth::with_ratio(sent, "SEND", &mut costs));
    }
    Ok(())
}

impl Held {
    /// So many of the queues, by chance: nothing that is remembered of a few helps.
    fn some(&self, count: usize) -> anyhow::Result<Vec<HeldQueue>> {
        let pick = |_| {
            let chance = usize::try_from(u64::from_be_bytes(random_bytes(&mut system_rng())))?;
            let position = chance.checked_rem(self.queues.len()).context("There is no queue")?;
            self.queues.get(position).copied().context("There is no such queue")
        };
        (0..count).map(pick).collect()
    }
}
