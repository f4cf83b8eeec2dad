//! A service that comes back: one command for all its queues, then what waits in them (smp.md §13).

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::bail;
use protocol::smp::command::Command;
use protocol::smp::ids::MessageId;
use protocol::smp::message::ReceivedMessage;
use protocol::smp::response::BrokerMessage;

use super::held::Held;
use crate::connection::{Connection, Received, Target, Ticket};
use crate::measure::{Measurement, Meter};
use crate::phases::Plan;
use crate::subject::Subject;

/// What a service that came back saw, and how long after it connected.
#[derive(Debug, Default)]
struct TakenBack {
    /// How many queues the server says it has.
    queues: i64,
    answered: Duration,
    /// Messages that came and were acknowledged.
    messages: u64,
    /// When all had come that waited, if it was waited for.
    complete: Option<Duration>,
}

/// Messages wait in some of the queues: until all of them came.
pub(super) async fn some(subject: &Subject, target: &Target, held: &Held) -> anyhow::Result<Measurement> {
    let meter = Meter::start(subject);
    let taken = take_back(target, held, Duration::MAX).await?;
    let name = format!("service: {} queues, {} messages in some", taken.queues, taken.messages);
    let complete = taken.complete.unwrap_or_default();
    Ok(meter
        .stop(name, taken.messages, None)
        .with("answered_s", taken.answered.as_secs_f64())
        .with("complete_s", complete.as_secs_f64()))
}

/// Messages wait in all of the queues: how fast they come.
pub(super) async fn all(
    subject: &Subject,
    target: &Target,
    plan: &Plan,
    held: &Held,
) -> anyhow::Result<Measurement> {
    let meter = Meter::start(subject);
    let taken = take_back(target, held, plan.time).await?;
    let name = format!("service: {} queues, a message in each", taken.queues);
    Ok(meter.stop(name, taken.messages, None).with("answered_s", taken.answered.as_secs_f64()))
}

/// Subscribes to all queues and takes what waits in them until all of it came, or for so long, but one message at least.
async fn take_back(target: &Target, held: &Held, longest: Duration) -> anyhow::Result<TakenBack> {
    let started = Instant::now();
    let mut connection = Connection::open_service(target, &held.identity).await?;
    let asked = connection.push_for_all(&Command::Subs)?;
    let (mut taken, mut unanswered) = (TakenBack::default(), BTreeSet::new());
    while taken.messages == 0 || started.elapsed() < longest {
        for Received { ticket, entity_id, message } in connection.converse().await? {
            let is_answer = ticket.is_some_and(|ticket| unanswered.remove(&ticket));
            match message {
                BrokerMessage::Soks(queues) if ticket == Some(asked) => {
                    (taken.queues, taken.answered) = (queues, started.elapsed());
                }
                BrokerMessage::Msg { message_id, body } => {
                    unanswered.insert(acknowledge(&mut connection, held, &entity_id, &message_id, &body)?);
                    taken.messages = taken.messages.saturating_add(1);
                }
                BrokerMessage::Alls => taken.complete = Some(started.elapsed()),
                BrokerMessage::Ok if is_answer => {}
                other => bail!("the server does not serve a service: {other:?}"),
            }
        }
        if taken.complete.is_some() && unanswered.is_empty() {
            break;
        }
    }
    if taken.queues != i64::try_from(held.queues.len())? {
        bail!("the service has {} queues, and the server says {}", held.queues.len(), taken.queues);
    }
    Ok(taken)
}

fn acknowledge(
    connection: &mut Connection,
    held: &Held,
    recipient_id: &[u8],
    message_id: &MessageId,
    body: &[u8],
) -> anyhow::Result<Ticket> {
    let queue = held.find(recipient_id)?;
    ReceivedMessage::open(&held.keys.secret(&queue.server_key), message_id, body)?;
    let command = Command::Ack { message_id: message_id.as_bytes().as_slice().into() };
    connection.push_of_service(&held.keys.recipient, recipient_id, &command)
}

/// Waits for the message of one queue.
pub(super) async fn first_message(target: &Target, held: &Held) -> anyhow::Result<()> {
    let mut connection = Connection::open_service(target, &held.identity).await?;
    let Some(queue) = held.queues.first() else { return Ok(()) };
    connection.push_of_service(&held.keys.recipient, queue.recipient_id.as_bytes(), &Command::Sub)?;
    connection.flush().await?;
    loop {
        for received in connection.receive().await? {
            match received.message {
                BrokerMessage::Msg { message_id, body } => {
                    ReceivedMessage::open(&held.keys.secret(&queue.server_key), &message_id, &body)?;
                    return Ok(());
                }
                BrokerMessage::Sok(_) => {}
                other => bail!("the server does not deliver: {other:?}"),
            }
        }
    }
}
