//! What is measured, one file for each kind.

mod growth;
mod handshakes;
mod idle;
mod queues;
mod refusals;
mod sending;
mod steady;
mod store;

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
    /// TLS handshakes as fast as they go, and beyond limits, and what an honest client feels of it.
    Handshakes,
    /// New queues, subscriptions to them, and subscriptions again by a new connection.
    Queues,
    /// Messages into queues, and then out of them.
    Send,
    /// Whole cycles: SEND, OK, MSG, ACK, OK.
    Cycle,
    /// Messages at a fixed rate.
    Steady,
    /// Memory of connections that do nothing.
    Idle,
    /// Whether refusals tell by their time if a queue exists.
    Refusals,
    /// How the cost of a message grows with connections and with what waits.
    Growth,
    /// Very many queues and messages: memory, growth of costs, restart after a kill, a service that comes back.
    Store,
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
    /// Queues between two connections that exchange messages.
    pub(crate) pair_queues: usize,
    /// Queues of the phase with very many.
    pub(crate) stored_queues: usize,
    /// Messages that wait in them.
    pub(crate) messages: usize,
    /// Operations by which a cost is told at one of several sizes.
    pub(crate) sample: usize,
    /// Connections that do nothing.
    pub(crate) idle: usize,
    /// Numbers of connections at which costs are compared.
    pub(crate) grown_connections: [usize; 3],
    /// Messages that wait in a queue, at which costs are compared.
    pub(crate) grown_backlog: [usize; 3],
    /// Messages per second of the steady phase.
    pub(crate) rate: u32,
    /// Handshakes a second that a server takes of one address, when that floods it.
    pub(crate) address_handshakes: u32,
    /// The same of all together: less than the default, which takes more than one machine to exceed.
    pub(crate) handshakes: u32,
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
        time: Duration::from_millis(100),
        connections: 2,
        window: 4,
        queues: 20,
        pair_queues: 4,
        stored_queues: 50,
        messages: 50,
        sample: 5,
        idle: 4,
        grown_connections: [2, 4, 6],
        grown_backlog: [1, 2, 3],
        rate: 50,
        address_handshakes: 10,
        handshakes: 50,
        refusals: 2,
        ..Self::STANDARD
    };
    /// A few minutes.
    pub(crate) const STANDARD: Self = Self {
        time: Duration::from_secs(10),
        connections: 16,
        window: 8,
        queues: 20_000,
        pair_queues: 16,
        stored_queues: 20_000,
        messages: 20_000,
        sample: 10_000,
        idle: 2_000,
        grown_connections: [100, 1_000, 4_000],
        grown_backlog: [1, 32, 128],
        rate: 1_000,
        address_handshakes: 200,
        handshakes: 1_000,
        refusals: 400,
        body_bytes: protocol::smp::SENT_BODY_BYTES_MAX,
        keys: KeyKind::X25519,
    };
    /// A million queues and messages: some ten minutes.
    pub(crate) const FULL: Self = Self { stored_queues: 1_000_000, messages: 1_000_000, ..Self::STANDARD };
}

/// Hears of results as they come.
pub(crate) type Say<'a> = dyn FnMut(Measurement) + 'a;

/// Runs one phase against a fresh server.
pub(crate) async fn run(
    phase: Phase,
    subject: &mut Subject,
    target: &Target,
    plan: &Plan,
    say: &mut Say<'_>,
) -> anyhow::Result<()> {
    let measured = match phase {
        Phase::Connect => handshakes::connect(subject, target, plan).await?,
        Phase::Handshakes => handshakes::flood(subject, target, plan).await?,
        Phase::Queues => queues::measure(subject, target, plan).await?,
        Phase::Send => sending::measure(subject, target, plan).await?,
        Phase::Cycle => steady::cycle(subject, target, plan).await?,
        Phase::Steady => steady::steady(subject, target, plan).await?,
        Phase::Idle => idle::measure(subject, target, plan).await?,
        Phase::Refusals => refusals::measure(target, plan).await?,
        // They take minutes.
        Phase::Growth => return growth::measure(subject, target, plan, say).await,
        Phase::Store => return store::measure(subject, plan, say).await,
    };
    measured.into_iter().for_each(say);
    Ok(())
}
