//! Whole cycles: as many as there can be, and at a fixed rate.

use std::time::Duration;

use anyhow::Context as _;
use tokio::task::JoinSet;

use super::Plan;
use crate::connection::Target;
use crate::measure::{Measurement, Meter};
use crate::pair::{Cycles, Pace, Pair};
use crate::subject::Subject;

/// Queues between the two connections of a pair.
const QUEUES_PER_PAIR: usize = 16;

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
    let each = Duration::from_secs(pairs as u64) / plan.rate;
    let (meter, cycles) = run(subject, target, plan, pairs, Pace::Every(each)).await?;
    let count = cycles.completed.count();
    let name = format!("steady: SEND to MSG at {}/s", plan.rate);
    let measured = meter.stop(name, count, Some(cycles.delivered.clone()));
    Ok(vec![
        measured
            .with("send_to_ok_p50_ms", cycles.accepted.quantile_ms(0.5))
            .with("send_to_ok_p99_ms", cycles.accepted.quantile_ms(0.99)),
    ])
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

async fn run(
    subject: &Subject,
    target: &Target,
    plan: &Plan,
    pairs: usize,
    pace: Pace,
) -> anyhow::Result<(Meter, Cycles)> {
    let mut open = Vec::new();
    for _ in 0..pairs {
        open.push(Pair::open(target, plan.keys, QUEUES_PER_PAIR, plan.body_bytes).await?);
    }
    let meter = Meter::start(subject);
    let mut tasks = JoinSet::new();
    for pair in open {
        tasks.spawn(pair.run(pace, plan.time));
    }
    let mut cycles = Cycles::default();
    while let Some(done) = tasks.join_next().await {
        cycles.add(&done.context("A task failed")??);
    }
    Ok((meter, cycles))
}
