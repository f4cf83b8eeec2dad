//! Memory of connections that have a subscription and do nothing.

use tokio::task::JoinSet;

use super::Plan;
use crate::connection::{Connection, Target};
use crate::measure::{Measurement, Meter};
use crate::queue::{Keys, create_each, create_secured};
use crate::subject::Subject;
use crate::usage;

/// Connections that are opened at a time.
const OPENING: usize = 16;

#[expect(clippy::cast_precision_loss, reason = "bytes of memory fit")]
pub(super) async fn measure(
    subject: &Subject,
    target: &Target,
    plan: &Plan,
) -> anyhow::Result<Vec<Measurement>> {
    let Some(pid) = subject.pid() else { return Ok(Vec::new()) };
    let resident = || usage::resident_bytes(pid);
    let keys = Keys::generate(plan.keys, target.place.password.clone());
    // What only the first use takes is not a connection's.
    let mut first = Connection::open(target).await?;
    create_secured(&mut first, &keys, 1, true).await?;

    let before = resident()?;
    let meter = Meter::start(subject);
    let mut open = Vec::new();
    let mut tasks = JoinSet::new();
    for number in 0..plan.idle {
        if number >= OPENING
            && let Some(done) = tasks.join_next().await
        {
            open.push(done??);
        }
        let (target, kind) = (target.clone(), plan.keys);
        tasks.spawn(async move {
            let mut connection = Connection::open(&target).await?;
            let keys = Keys::generate(kind, target.place.password.clone());
            create_each(&mut connection, &keys, 1, true, |_, _, _| {}).await?;
            anyhow::Ok(connection)
        });
    }
    while let Some(done) = tasks.join_next().await {
        open.push(done??);
    }
    let per_connection = resident()?.saturating_sub(before) as f64 / plan.idle as f64;
    let connections = meter
        .stop(format!("idle: {} subscribed connections", plan.idle), plan.idle as u64, None)
        .with("bytes_per_connection", per_connection);
    drop(open);
    Ok(vec![connections])
}
