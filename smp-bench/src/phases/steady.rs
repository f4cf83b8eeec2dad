//! Whole cycles: as many as there can be, and at a fixed rate.

use std::time::Duration;

use anyhow::Context as _;
use tokio::task::JoinSet;

use super::Plan;
use crate::connection::Target;
use crate::measure::{Measurement, Meter};
use crate::pair::{Cycles, Pace, Pair};
use crate::subject::Subject;

/// Pairs that are opened at a time.
const OPENING: usize = 8;

pub(super) async fn cycle(
    subject: &Subject,
    target: &Target,
    plan: &Plan,
) -> anyhow::Result<Vec<Measurement>> {
    let pairs = plan.connections.div_ceil(2);
    let (meter, cycles) = run(subject, target, plan, pairs, Pace::Window(plan.window)).await?;
    let count = cycles.completed.count();
    let measured = meter.stop("cycle: SEND OK MSG ACK OK", count, Some(cycles.completed));
    Ok(vec![with_delivery(measured, &cycles.accepted, &cycles.delivered)])
}

pub(super) async fn steady(
    subject: &Subject,
    target: &Target,
    plan: &Plan,
) -> anyhow::Result<Vec<Measurement>> {
    let pairs = plan.connections.div_ceil(2);
    let (meter, cycles) = run(subject, target, plan, pairs, at_rate(plan, pairs)).await?;
    let count = cycles.completed.count();
    let name = format!("steady: SEND to MSG at {}/s", plan.rate);
    let measured = meter.stop(name, count, Some(cycles.delivered.clone()));
    Ok(vec![
        measured
            .with("send_to_ok_p50_ms", cycles.accepted.quantile_ms(0.5))
            .with("send_to_ok_p99_ms", cycles.accepted.quantile_ms(0.99)),
    ])
}

/// The pace of each pair at which all together send at the rate of the plan.
pub(super) fn at_rate(plan: &Plan, pairs: usize) -> Pace {
    Pace::Every(Duration::from_secs(pairs as u64) / plan.rate)
}

fn with_delivery(
    measured: Measurement,
    accepted: &crate::measure::Latencies,
    delivered: &crate::measure::Latencies,
) -> Measurement {
    measured
        .with("send_to_ok_p99_ms", accepted.quantile_ms(0.99))
        .with("send_to_msg_p50_ms", delivered.quantile_ms(0.5))
        .with("send_to_msg_p99_ms", delivered.quantile_ms(0.99))
}

/// Runs pairs of connections, one after another in their first turn so that messages at a rate are spread evenly.
pub(super) async fn run(
    subject: &Subject,
    target: &Target,
    plan: &Plan,
    pairs: usize,
    pace: Pace,
) -> anyhow::Result<(Meter, Cycles)> {
    let (mut open, mut opening) = (Vec::with_capacity(pairs), JoinSet::new());
    for number in 0..pairs {
        if number >= OPENING
            && let Some(done) = opening.join_next().await
        {
            open.push(done.context("A task failed")??);
        }
        let (target, Plan { keys, pair_queues, body_bytes, .. }) = (target.clone(), *plan);
        opening.spawn(async move { Pair::open(&target, keys, pair_queues, body_bytes).await });
    }
    while let Some(done) = opening.join_next().await {
        open.push(done.context("A task failed")??);
    }
    let meter = Meter::start(subject);
    let mut tasks = JoinSet::new();
    for (number, pair) in (0u32..).zip(open) {
        let first_after = match pace {
            Pace::Window(_) => Duration::ZERO,
            Pace::Every(interval) => interval / u32::try_from(pairs)? * number,
        };
        tasks.spawn(pair.run(pace, first_after, plan.time));
    }
    let mut cycles = Cycles::default();
    while let Some(done) = tasks.join_next().await {
        cycles.add(&done.context("A task failed")??);
    }
    Ok((meter, cycles))
}
