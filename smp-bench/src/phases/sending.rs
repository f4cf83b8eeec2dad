//! Messages into queues as fast as they are durable, then out of them as fast as they are acknowledged.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use protocol::smp::command::Command;
use protocol::smp::message::ReceivedMessage;
use protocol::smp::response::BrokerMessage;
use tokio::task::JoinSet;

use super::Plan;
use crate::connection::{Connection, Target, Ticket};
use crate::measure::{Latencies, Measurement, Meter};
use crate::pair::random_body;
use crate::queue::{Keys, Queue, Signer, create_secured};
use crate::subject::Subject;

/// Queues that each connection sends to in turn.
const QUEUES_PER_CONNECTION: usize = 16;

pub(super) async fn measure(
    subject: &Subject,
    target: &Target,
    plan: &Plan,
) -> anyhow::Result<Vec<Measurement>> {
    let mut senders = Vec::new();
    for _ in 0..plan.connections {
        let mut connection = Connection::open(target).await?;
        let keys = Keys::generate(plan.keys, target.place.password.clone());
        let queues = create_secured(&mut connection, &keys, QUEUES_PER_CONNECTION, false).await?;
        senders.push((connection, queues));
    }
    let meter = Meter::start(subject);
    let mut tasks = JoinSet::new();
    for (connection, queues) in senders {
        let Plan { time, window, body_bytes, .. } = *plan;
        tasks.spawn(send(connection, queues, window, time, body_bytes));
    }
    let (mut latencies, mut filled) = (Latencies::default(), Vec::new());
    while let Some(done) = tasks.join_next().await {
        let (sent, queues) = done.context("A task failed")??;
        filled.push((queues, sent.count()));
        latencies.add(&sent);
    }
    let count = latencies.count();
    let sent = meter.stop("send: SEND to OK", count, Some(latencies));

    let meter = Meter::start(subject);
    let mut tasks = JoinSet::new();
    for (queues, count) in filled {
        tasks.spawn(drain(target.clone(), queues, count));
    }
    let mut latencies = Latencies::default();
    while let Some(done) = tasks.join_next().await {
        latencies.add(&done.context("A task failed")??);
    }
    let received = meter.stop("receive: MSG and ACK of a backlog", latencies.count(), Some(latencies));
    Ok(vec![sent, received])
}

async fn send(
    mut connection: Connection,
    queues: Vec<Queue>,
    window: usize,
    time: Duration,
    body_bytes: usize,
) -> anyhow::Result<(Latencies, Vec<Queue>)> {
    let key = &queues.first().context("There is no queue")?.sender_key;
    let signer = Signer::new(key, connection.server_key());
    let body = random_body(body_bytes);
    let command = Command::Send { notify: false, body: body.as_slice().into() }.encode(connection.version());
    let (started, mut latencies) = (Instant::now(), Latencies::default());
    let mut waiting: BTreeMap<Ticket, Instant> = BTreeMap::new();
    let mut turns = queues.iter().cycle();
    loop {
        while waiting.len() < window && started.elapsed() < time {
            let queue = turns.next().context("There is no queue")?;
            let ticket = connection.push(&signer, queue.sender_id.as_bytes(), &command)?;
            waiting.insert(ticket, Instant::now());
        }
        connection.flush().await?;
        if waiting.is_empty() {
            return Ok((latencies, queues));
        }
        for received in connection.receive().await? {
            let since = received.ticket.and_then(|ticket| waiting.remove(&ticket));
            match (since, received.message) {
                (Some(since), BrokerMessage::Ok) => latencies.record(since),
                (_, other) => bail!("the server does not take a message: {other:?}"),
            }
        }
    }
}

/// Takes so many messages out of queues; a latency is the time from an `ACK` to the next message.
async fn drain(target: Target, queues: Vec<Queue>, count: u64) -> anyhow::Result<Latencies> {
    let mut connection = Connection::open(&target).await?;
    let key = &queues.first().context("There is no queue")?.recipient_key;
    let signer = Signer::new(key, connection.server_key());
    let secrets: BTreeMap<&[u8], &Queue> =
        queues.iter().map(|queue| (queue.recipient_id.as_bytes().as_slice(), queue)).collect();
    let subscription = Command::Sub.encode(connection.version());
    for queue in &queues {
        connection.push(&signer, queue.recipient_id.as_bytes(), &subscription)?;
    }
    let mut latencies = Latencies::default();
    let mut waiting: BTreeMap<Ticket, Instant> = BTreeMap::new();
    let mut taken = 0u64;
    while taken < count {
        connection.flush().await?;
        for received in connection.receive().await? {
            if let Some(since) = received.ticket.and_then(|ticket| waiting.remove(&ticket)) {
                latencies.record(since);
                taken = taken.saturating_add(1);
            }
            match received.message {
                BrokerMessage::Msg { message_id, body } => {
                    let queue = secrets
                        .get(received.entity_id.as_slice())
                        .context("A message of an unknown queue")?;
                    ReceivedMessage::open(&queue.secret, &message_id, &body)?;
                    let command = Command::Ack { message_id: message_id.as_bytes().as_slice().into() };
                    let command = command.encode(connection.version());
                    let ticket = connection.push(&signer, queue.recipient_id.as_bytes(), &command)?;
                    waiting.insert(ticket, Instant::now());
                }
                BrokerMessage::Ok | BrokerMessage::Sok(_) => {}
                other => bail!("the server does not deliver: {other:?}"),
            }
        }
    }
    Ok(latencies)
}
