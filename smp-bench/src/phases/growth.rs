//! How the cost of a message grows with the connections that there are, and with what waits in its queue. For the
//! number of queues see [`store`](super::store).

use std::collections::BTreeMap;

use super::steady::{at_rate, run};
use super::{Plan, Say};
use crate::connection::Target;
use crate::measure::Measurement;
use crate::pair::Pace;
use crate::subject::Subject;

pub(super) async fn measure(
    subject: &Subject,
    target: &Target,
    plan: &Plan,
    say: &mut Say<'_>,
) -> anyhow::Result<()> {
    let plan = Plan { time: plan.time / 2, ..*plan };
    let mut costs = BTreeMap::new();
    // The same number of messages a second, between more and more connections.
    for connections in plan.grown_connections {
        let pairs = connections.div_ceil(2);
        let (meter, cycles) = run(subject, target, &plan, pairs, at_rate(&plan, pairs)).await?;
        let name = format!("growth: cycle at {}/s, {connections} connections", plan.rate);
        let measured = meter.stop(name, cycles.completed.count(), Some(cycles.delivered));
        say(with_ratio(measured, "connections", &mut costs));
    }
    for waiting in plan.grown_backlog {
        let pace = Pace::Window(plan.pair_queues.saturating_mul(waiting));
        let pairs = plan.connections.div_ceil(2);
        let (meter, cycles) = run(subject, target, &plan, pairs, pace).await?;
        let name = format!("growth: cycle, {waiting} on the way in each queue");
        let measured = meter.stop(name, cycles.completed.count(), Some(cycles.completed));
        say(with_ratio(measured, "backlog", &mut costs));
    }
    Ok(())
}

/// Adds the ratio of the server's processor time to that of the first of this kind.
pub(super) fn with_ratio(
    measured: Measurement,
    kind: &'static str,
    first: &mut BTreeMap<&'static str, f64>,
) -> Measurement {
    let Some(cost) = measured.server_cpu_ms.filter(|cost| *cost > 0.0) else { return measured };
    let smallest = *first.entry(kind).or_insert(cost);
    measured.with("ratio_to_smallest", cost / smallest)
}
