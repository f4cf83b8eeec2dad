//! Queues: made, subscribed to, and subscribed to again from a new connection.

use std::time::Instant;

use anyhow::Context as _;
use tokio::task::JoinSet;

use super::Plan;
use crate::connection::{Connection, Target};
use crate::measure::{Measurement, Meter};
use crate::queue::{Keys, Queue, create_secured, subscribe};
use crate::subject::Subject;

pub(super) async fn measure(
    subject: &Subject,
    target: &Target,
    plan: &Plan,
) -> anyhow::Result<Vec<Measurement>> {
    let per_connection = plan.queues.div_ceil(plan.connections);
    let count = (per_connection.saturating_mul(plan.connections)) as u64;
    let meter = Meter::start(subject);
    let mut tasks = JoinSet::new();
    for _ in 0..plan.connections {
        let (target, kind) = (target.clone(), plan.keys);
        tasks.spawn(async move {
            let mut connection = Connection::open(&target).await?;
            let keys = Keys::generate(kind, target.place.password.clone());
            create_secured(&mut connection, &keys, per_connection, false).await
        });
    }
    let mut all: Vec<Vec<Queue>> = Vec::new();
    while let Some(done) = tasks.join_next().await {
        all.push(done.context("A task failed")??);
    }
    let mut results = vec![meter.stop("create: NEW and SKEY", count, None)];
    for name in ["subscribe: SUB in full blocks", "resubscribe: by new connections"] {
        let meter = Meter::start(subject);
        let mut tasks = JoinSet::new();
        for queues in all.drain(..) {
            let target = target.clone();
            tasks.spawn(async move {
                let mut connection = Connection::open(&target).await?;
                subscribe(&mut connection, &queues).await?;
                anyhow::Ok((queues, connection))
            });
        }
        let mut connections = Vec::new();
        while let Some(done) = tasks.join_next().await {
            let (queues, connection) = done.context("A task failed")??;
            all.push(queues);
            connections.push(connection);
        }
        results.push(meter.stop(name, count, None));
        drop(connections);
    }
    results.push(one_connection(subject, target, &all).await?);
    Ok(results)
}

/// All queues from one connection, as a relay or a service has them.
async fn one_connection(
    subject: &Subject,
    target: &Target,
    all: &[Vec<Queue>],
) -> anyhow::Result<Measurement> {
    let meter = Meter::start(subject);
    let mut connection = Connection::open(target).await?;
    let since = Instant::now();
    let mut count = 0u64;
    for queues in all {
        subscribe(&mut connection, queues).await?;
        count = count.saturating_add(queues.len() as u64);
    }
    let seconds = since.elapsed().as_secs_f64();
    Ok(meter
        .stop("resubscribe: all by one connection", count, None)
        .with("million_queues_s", seconds * 1e6 / count.max(1) as f64))
}
