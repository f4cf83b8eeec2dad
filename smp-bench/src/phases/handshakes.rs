//! Connections: how many a second, and whether a flood of them hurts who is connected already or means it well.

use std::net::Ipv4Addr;
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
/// Where the honest client is, when addresses matter.
const HONEST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// Time between two connections of the honest client.
const CONNECT_INTERVAL: Duration = Duration::from_millis(50);
/// Addresses from which a flood comes that no limit of one address stops, for each connection of other floods.
const ADDRESSES: usize = 4;
/// A limit of the rate begins to hold after so many seconds' worth of handshakes.
const BURST_SECONDS: u32 = 5;

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
    let attackers = vec![target.clone(); plan.connections];
    let flood = Flood { name: "TLS alone, then gone", attackers, burst: 0, is_refused: false };
    let mut results = vec![flood.run(subject, target, plan).await?];
    // Time enough for what a limit does.
    let plan = Plan { time: plan.time / 2, ..*plan };
    let limit = format!("--address-handshakes-per-second={}", plan.address_handshakes);
    if let Some(server) = subject.another(&["--limit-loopback=on", &limit])? {
        let target = Target::of(&server);
        let attackers = vec![target.seen_from(Ipv4Addr::LOCALHOST); plan.connections];
        let burst = u64::from(plan.address_handshakes.saturating_mul(BURST_SECONDS));
        let flood = Flood { name: "one address beyond its limit", attackers, burst, is_refused: true };
        results.push(flood.run(&server, &target.seen_from(HONEST), &plan).await?);
    }
    let limit = format!("--handshakes-per-second={}", plan.handshakes);
    if let Some(server) = subject.another(&["--limit-loopback=on", &limit])? {
        let target = Target::of(&server);
        let address = |host| target.seen_from(Ipv4Addr::new(127, 0, 1, host));
        let attackers = (1..=u8::MAX).map(address).take(plan.connections.saturating_mul(ADDRESSES)).collect();
        let burst = u64::from(plan.handshakes.saturating_mul(BURST_SECONDS));
        let name = "many addresses beyond the limit of all";
        let flood = Flood { name, attackers, burst, is_refused: false };
        results.push(flood.run(&server, &target.seen_from(HONEST), &plan).await?);
    }
    Ok(results)
}

/// Clients that do nothing but handshakes.
struct Flood {
    name: &'static str,
    attackers: Vec<Target>,
    /// Handshakes before it is measured.
    burst: u64,
    /// Whether the server then refuses some: what is beyond the limit of all waits instead.
    is_refused: bool,
}

/// What became of their handshakes.
#[derive(Debug, Default)]
struct Outcome {
    done: AtomicU64,
    refused: AtomicU64,
    is_over: AtomicBool,
}

impl Flood {
    /// Floods a server that an honest client uses as well.
    async fn run(self, subject: &Subject, honest: &Target, plan: &Plan) -> anyhow::Result<Measurement> {
        let mut connection = Connection::open(honest).await?;
        let calm = questions(&mut connection, plan.time / 2).await?;
        let outcome = Arc::new(Outcome::default());
        let mut tasks = JoinSet::new();
        for target in self.attackers {
            tasks.spawn(attack(target, outcome.clone()));
        }
        let counts = || (outcome.done.load(Ordering::Relaxed), outcome.refused.load(Ordering::Relaxed));
        let is_limited = |(done, refused)| done >= self.burst && (refused > 0 || !self.is_refused);
        while !is_limited(counts()) {
            ping(&mut connection).await?;
            tokio::time::sleep(HONEST_INTERVAL).await;
        }
        let (before, meter) = (counts(), Meter::start(subject));
        let (asked, connected) =
            tokio::join!(questions(&mut connection, plan.time), connections(honest, plan.time));
        let after = counts();
        let done = after.0.saturating_sub(before.0);
        let measured = meter.stop(format!("handshakes: {}", self.name), done, None);
        outcome.is_over.store(true, Ordering::Relaxed);
        while let Some(done) = tasks.join_next().await {
            done.context("A task failed")?;
        }
        let (asked, connected) = (asked?, connected?);
        let refused = after.1.saturating_sub(before.1) as f64 / measured.seconds;
        Ok(measured
            .with("refused_per_second", refused)
            .with("honest_calm_p50_ms", calm.quantile_ms(0.5))
            .with("honest_calm_p99_ms", calm.quantile_ms(0.99))
            .with("honest_p50_ms", asked.quantile_ms(0.5))
            .with("honest_p99_ms", asked.quantile_ms(0.99))
            .with("honest_connect_p50_ms", connected.quantile_ms(0.5))
            .with("honest_connect_p99_ms", connected.quantile_ms(0.99)))
    }
}

/// One handshake after another, until the flood is over.
async fn attack(target: Target, outcome: Arc<Outcome>) {
    while !outcome.is_over.load(Ordering::Relaxed) {
        let counter = match target.secure().await {
            Ok(_) => &outcome.done,
            Err(_) => &outcome.refused,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
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

/// What honest clients feel that come now: each connects and asks once.
async fn connections(target: &Target, time: Duration) -> anyhow::Result<Latencies> {
    let (started, mut latencies) = (Instant::now(), Latencies::default());
    while started.elapsed() < time {
        let since = Instant::now();
        ping(&mut Connection::open(target).await?).await?;
        latencies.record(since);
        tokio::time::sleep(CONNECT_INTERVAL).await;
    }
    Ok(latencies)
}

async fn ping(connection: &mut Connection) -> anyhow::Result<()> {
    let command = Command::Ping.encode(connection.version());
    connection.push(&Signer::Nobody, &[], &command)?;
    connection.exchange(1).await?;
    Ok(())
}
