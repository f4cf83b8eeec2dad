//! What a running server answers its operator.

use serde_json::{Value, json};

use super::Request;
use crate::metrics::{gauges, snapshot};
use crate::moderation::{KnownId, ModerationError};
use crate::reload::Reload;
use crate::server::Server;
use crate::store::{QueueNumber, QueueReader, QueueStatus, StoreError};

/// Ids that one answer tells.
const DAMAGED_TOLD_MAX: usize = 1000;

/// A refusal; says what to do.
pub(super) fn error(reason: impl std::fmt::Display) -> Value {
    json!({ "error": reason.to_string() })
}

/// Does what is asked; draining begins when the answer is written.
pub(super) async fn answer(server: &Server, reload: &Reload, request: Request) -> Value {
    match request {
        Request::Stats => stats(server),
        Request::Sockets => sockets(server),
        Request::Reload => match reload.run(server) {
            Ok(()) => json!({ "done": "certificates and information were read again" }),
            Err(refused) => error(format_args!("what is in use stays: {refused:#}")),
        },
        Request::Drain => {
            json!({ "done": "draining: no new connections, and the end when what was begun is finished" })
        }
        Request::Status { id } => moderated(status(server, &id).await),
        Request::Block { id, reason, notice } => match reason.info(notice.as_deref()) {
            Ok(info) => moderated(block(server, &id, info).await),
            Err(reason) => error(reason),
        },
        Request::Unblock { id } => moderated(unblock(server, &id).await),
        Request::Delete { id } => moderated(delete(server, &id).await),
        Request::Damaged => moderated(damaged(server).await),
        Request::DropDamaged { id, .. } => moderated(drop_damaged(server, id.as_deref()).await),
    }
}

fn moderated(outcome: Result<Value, ModerationError>) -> Value {
    outcome.unwrap_or_else(error)
}

fn stats(server: &Server) -> Value {
    let counts = snapshot(&server.metrics).into_iter().map(|(name, value)| (name, json!(value)));
    let now =
        gauges(server).into_iter().map(|gauge| (gauge.name.to_owned(), json!(gauge.value.round() as u64)));
    counts.chain(now).collect::<serde_json::Map<_, _>>().into()
}

fn sockets(server: &Server) -> Value {
    let (accepted, refused) =
        (server.metrics.connections_accepted.value(), server.metrics.connections_refused.value());
    let active = server.connection_count() as u64;
    json!({ "accepted": accepted, "refused": refused, "active": active, "closed": accepted.saturating_sub(active) })
}

async fn status(server: &Server, id: &str) -> Result<Value, ModerationError> {
    let queue = server.known_queue(id.parse::<KnownId>()?).await?;
    let number = queue.number;
    let messages = match server.store.read(move |reader| reader.message_count(number)).await {
        Err(StoreError::NoQueue) => return Err(ModerationError::NoQueue),
        read => read?,
    };
    let damaged = server.store.read(move |reader| reader.damaged_messages(number)).await?;
    let mut answer = json!({
        "damaged": damaged,
        "mode": queue.mode.map(|mode| format!("{mode:?}").to_lowercase()),
        "secured": queue.sender_key.is_some(),
        "messages": messages,
        "used_on_day": queue.used_on,
    });
    if let Value::Object(fields) = &mut answer {
        fields.extend(described(queue.status));
    }
    Ok(answer)
}

/// A status with the reason of a block.
fn described(status: QueueStatus) -> Vec<(String, Value)> {
    let name = match status {
        QueueStatus::Active => "active",
        QueueStatus::Off => "off",
        QueueStatus::Blocked { .. } => "blocked",
    };
    let mut fields = vec![("status".to_owned(), json!(name))];
    if let Some(info) = status.blocking() {
        fields.push(("reason".to_owned(), json!(format!("{:?}", info.reason).to_lowercase())));
        if let Some(notice) = info.notice {
            fields.push(("notice_seconds".to_owned(), json!(notice.ttl_seconds)));
        }
    }
    fields
}

async fn block(
    server: &Server,
    id: &str,
    info: protocol::smp::error::BlockingInfo,
) -> Result<Value, ModerationError> {
    let former = server.block(id.parse()?, info).await?;
    Ok(changed("the queue is blocked", former))
}

async fn unblock(server: &Server, id: &str) -> Result<Value, ModerationError> {
    let former = server.unblock(id.parse()?).await?;
    Ok(changed("the queue is not blocked any more", former))
}

fn changed(done: &str, former: QueueStatus) -> Value {
    let former: serde_json::Map<_, _> = described(former).into_iter().collect();
    json!({ "done": done, "before": former })
}

async fn delete(server: &Server, id: &str) -> Result<Value, ModerationError> {
    let deleted = server.delete(id.parse()?).await?;
    Ok(json!({ "done": "the queue is deleted", "messages": deleted.messages }))
}

async fn damaged(server: &Server) -> Result<Value, ModerationError> {
    let mut found = server.damaged_queues().await?;
    let (queues, messages) = (found.len(), found.iter().map(|(_, count)| u64::from(*count)).sum::<u64>());
    found.truncate(DAMAGED_TOLD_MAX);
    let mut ids = Vec::with_capacity(found.len());
    for (number, _) in found {
        let read = move |reader: &mut dyn QueueReader| {
            reader.queues_after(QueueNumber(number.0.saturating_sub(1)), 1)
        };
        let page = server.store.read(read).await?;
        let queue = page.first().filter(|queue| queue.record.number == number);
        ids.extend(queue.map(|queue| queue.record.sender_id.to_string()));
    }
    Ok(json!({ "queues": queues, "messages": messages, "ids": ids }))
}

async fn drop_damaged(server: &Server, id: Option<&str>) -> Result<Value, ModerationError> {
    let dropped = match id {
        Some(id) => server.drop_damaged(id.parse()?).await?,
        None => server.drop_all_damaged().await?,
    };
    Ok(json!({ "done": "damaged messages are dropped", "messages": dropped }))
}
