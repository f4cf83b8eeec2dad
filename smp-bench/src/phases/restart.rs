//! `kill -9` with queues and messages in store, and the time until the server serves again.

use std::time::Instant;

use super::Plan;
use super::sending::{fill, first_message, subscribe_all};
use crate::connection::Target;
use crate::measure::{Measurement, Meter};
use crate::subject::Subject;

pub(super) async fn measure(subject: &mut Subject, plan: &Plan) -> anyhow::Result<Vec<Measurement>> {
    if !subject.is_own() {
        return Ok(Vec::new());
    }
    let per_connection = plan.queues.div_ceil(plan.connections);
    let meter = Meter::start(subject);
    let all = fill(&Target::of(subject), plan, per_connection).await?;
    let filled = meter.stop(
        format!("restart: filled with {} queues, {} messages", plan.queues, plan.messages),
        plan.messages as u64,
        None,
    );
    let listening = subject.kill_and_restart()?;
    let since = Instant::now();
    let target = Target::of(subject);
    let meter = Meter::start(subject);
    let queues = all.first().map(Vec::as_slice).unwrap_or_default();
    if plan.messages > 0 {
        first_message(&target, queues).await?;
    }
    let served = listening.saturating_add(since.elapsed());
    let restarted = meter
        .stop("restart: until the first stored message is out", 1, None)
        .with("listening_s", listening.as_secs_f64())
        .with("serving_s", served.as_secs_f64());
    let meter = Meter::start(subject);
    let mut connections = Vec::new();
    for queues in &all {
        connections.push(subscribe_all(&target, queues).await?);
    }
    let count = all.iter().map(Vec::len).sum::<usize>() as u64;
    let back = meter.stop("restart: all subscribed again", count, None);
    Ok(vec![filled, restarted, back])
}
