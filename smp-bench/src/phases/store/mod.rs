//! A server with very many queues, all of one service, and as many messages: what it holds in memory, how costs grow
//! with the number of queues, how soon it serves again after `kill -9`, and how soon the service has its queues back.
//!
//! ```text
//! queues ─▶ N/100, N/10, N: memory, cost of NEW, SUB, SEND ─▶ service comes back: some messages
//!        ─▶ M messages ─▶ kill ─▶ start: first message ─▶ service comes back: a message in every queue
//! ```

mod growth;
mod held;
mod service;

use std::time::Instant;

use anyhow::Context as _;

use super::{Plan, Say};
use crate::connection::Target;
use crate::measure::{Measurement, Meter};
use crate::progress::Progress;
use crate::subject::Subject;
use crate::usage;
use held::Held;

pub(super) async fn measure(subject: &mut Subject, plan: &Plan, say: &mut Say<'_>) -> anyhow::Result<()> {
    if !subject.is_own() {
        return Ok(());
    }
    let target = Target::of(subject);
    let mut held = Held::new(&target)?;
    growth::measure(subject, &target, plan, &mut held, say).await?;
    held.sort();
    say(service::some(subject, &target, &held).await?);

    let meter = Meter::start(subject);
    let before = resident(subject)?;
    let progress = Progress::new("messages", plan.messages);
    held.send(&target, plan, plan.messages, &progress).await?;
    let per_message = resident(subject)?.saturating_sub(before) as f64 / plan.messages.max(1) as f64;
    let name = format!("store: {} messages into {} queues", plan.messages, held.queues.len());
    say(meter.stop(name, plan.messages as u64, None).with("bytes_per_message", per_message));

    say(restart(subject, plan, &held).await?);
    say(service::all(subject, &Target::of(subject), plan, &held).await?);
    Ok(())
}

/// Kills the server and waits until it gives out a message again.
async fn restart(subject: &mut Subject, plan: &Plan, held: &Held) -> anyhow::Result<Measurement> {
    let listening = subject.kill_and_restart()?;
    let (since, meter) = (Instant::now(), Meter::start(subject));
    service::first_message(&Target::of(subject), held).await?;
    let serving = listening.saturating_add(since.elapsed());
    Ok(meter
        .stop(format!("restart: {} queues, {} messages", held.queues.len(), plan.messages), 1, None)
        .with("listening_s", listening.as_secs_f64())
        .with("serving_s", serving.as_secs_f64()))
}

fn resident(subject: &Subject) -> anyhow::Result<u64> {
    usage::resident_bytes(subject.pid().context("The server is not ours")?)
}
