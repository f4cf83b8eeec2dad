//! What is measured, one file for each kind.

mod handshakes;
mod idle;
mod queues;
mod refusals;
mod restart;
mod sending;
mod steady;

use std::time::Duration;

use clap::ValueEnum;

use crate::connection::Target;
use crate::measure::Measurement;
use crate::queue::KeyKind;
use crate::subject::Subject;

/// One kind of measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Phase {
    /// Connections with their hellos, one after another on a few tasks.
    Connect,
    /// TLS handshakes as fast as they go, and what an honest client feels of it.
    Handshakes,
    /// New queues, subscriptions to them, and subscriptions again by a new connection.
    Queues,
    /// Messages into queues, and then out of them.
    Send,
    /// Whole cycles: SEND, OK, MSG, ACK, OK.
    Cycle,
    /// Messages at a fixed rate.
    Steady,
    /// Memory of connections and of queues that do nothing.
    Idle,
    /// Kill, and serve again.
    Restart,
    /// Whether refusals tell by their time if a queue exists.
    Refusals,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let value = self.to_possible_value();
        f.write_str(value.as_ref().map_or("", |value| value.get_name()))
    }
}

/// Sizes of all phases.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Time of phases that run by time.
    pub(crate) time: Duration,
    /// Connections that work at once.
    pub(crate) connections: usize,
    /// Commands of each on their way at once.
    pub(crate) window: usize,
    /// Queues to make and subscribe.
    pub(crate) queues: usize,
    /// Messages that are stored at a restart.
    pub(crate) messages: usize,
    /// Connections that do nothing.
    pub(crate) idle: usize,
    /// Messages per second of the steady phase.
    pub(crate) rate: u32,
    /// Refusals of each kind that are timed.
    pub(crate) refusals: usize,
    /// Bytes of a message's body.
    pub(crate) body_bytes: usize,
    /// Keys of queues.
    pub(crate) keys: KeyKind,
}

impl Plan {
    /// Seconds in all, in a build without optimisation.
    pub(crate) const QUICK: Self = Self {
        time: Duration::from_millis(500),
        connections: 2,
        window: 4,
        queues: 50,
        messages: 50,
        idle: 20,
        rate: 50,
        refusals: 4,
        ..Self::STANDARD
    };
    /// A few minutes.
    pub(crate) const STANDARD: Self = Self {
        time: Duration::from_secs(10),
        connections: 16,
        window: 8,
        queues: 20_000,
        messages: 20_000,
        idle: 2_000,
        rate: 1_000,
        refusals: 400,
        body_bytes: protocol::smp::SENT_BODY_BYTES_MAX,
        keys: KeyKind::X25519,
    };
}

/// Runs one phase against a fresh server.
pub(crate) async fn run(
    phase: Phase,
    subject: &mut Subject,
    target: &Target,
    plan: &Plan,
) -> anyhow::Result<Vec<Measurement>> {
    match phase {
        Phase::Connect => handshakes::connect(subject, target, plan).await,
        Phase::Handshakes => handshakes::flood(subject, target, plan).await,
        Phase::Queues => queues::measure(subject, target, plan).await,
        Phase::Send => sending::measure(subject, target, plan).await,
        Phase::Cycle => steady::cycle(subject, target, plan).await,
        Phase::Steady => steady::steady(subject, target, plan).await,
        Phase::Idle => idle::measure(subject, target, plan).await,
        Phase::Restart => restart::measure(subject, plan).await,
        Phase::Refusals => refusals::measure(target, plan).await,
    }
}
