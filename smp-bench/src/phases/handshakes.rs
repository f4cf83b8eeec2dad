//! Connections: how many a second, and whether a flood of them hurts who is connected already.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use protocol::smp::command::Command;
use tokio::task::JoinSet;

use super::Plan;
use crate::connection::{Connection, Target};
use crate::measure::{Latencies, Measurement, Meter};
use crate::queue::Signer;
use crate::subject::Subject;

/// Time between two questions of the honest client.
const HONEST_INTERVAL: Duration = Duration::from_millis(10);

pub(super) async fn connect(
    subject: &Subject,
    target: &Target,
    plan: &Plan,
) -> anyhow::Result<Vec<Measurement>> {
    let meter = Meter::start(subject);
    let mut tasks = JoinSet::new();
    for _ in 0..plan.connections {
        let (target, time) = (target.clone(), plan.time);
        tasks.spawn(async move {
            let (started, mut latencies) = (Instant::now(), Latencies::default());
            while started.elapsed() < time {
                let since = Instant::now();
                let mut connection = Connection::open(&target).await?;
                ping(&mut connection).await?;
                latencies.record(since);
            }
            anyhow::Ok(latencies)
        });
    }
    let mut latencies = Latencies::default();
    while let Some(done) = tasks.join_next().await {
        latencies.add(&done.context("A task failed")??);
    }
    let count = latencies.count();
    Ok(vec![meter.stop("connect: TLS, hellos, first answer", count, Some(latencies))])
}

pub(super) async fn flood(
    subject: &Subject,
    target: &Target,
    plan: &Plan,
) -> anyhow::Result<Vec<Measurement>> {
    let mut honest = Connection::open(target).await?;
    let calm = questions(&mut honest, plan.time / 2).await?;
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut tasks = JoinSet::new();
    let meter = Meter::start(subject);
    for _ in 0..plan.connections {
        let (target, stop, count) = (target.clone(), stop.clone(), count.clone());
        tasks.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                target.secure().await?;
                count.fetch_add(1, Ordering::Relaxed);
            }
            anyhow::Ok(())
        });
    }
    let flooded = questions(&mut honest, plan.time).await?;
    stop.store(true, Ordering::Relaxed);
    while let Some(done) = tasks.join_next().await {
        done.context("A task failed")??;
    }
    let measured = meter.stop("handshakes: TLS alone, then gone", count.load(Ordering::Relaxed), None);
    Ok(vec![
        measured
            .with("honest_calm_p99_ms", calm.quantile_ms(0.99))
            .with("honest_p50_ms", flooded.quantile_ms(0.5))
            .with("honest_p99_ms", flooded.quantile_ms(0.99)),
    ])
}

/// What an honest client feels: it asks now and then, and waits for each answer.
async fn questions(connection: &mut Connection, time: Duration) -> anyhow::Result<Latencies> {
    let (started, mut latencies) = (Instant::now(), Latencies::default());
    while started.elapsed() < time {
        let since = Instant::now();
        ping(connection).await?;
        latencies.record(since);
        tokio::time::sleep(HONEST_INTERVAL).await;
    }
    Ok(latencies)
}

async fn ping(connection: &mut Connection) -> anyhow::Result<()> {
    let command = Command::Ping.encode(connection.version());
    connection.push(&Signer::Nobody, &[], &command)?;
    connection.exchange(1).await?;
    Ok(())
}
