//! `SEND`: puts a message into a queue. `OK` means that it is on disk.

use std::borrow::Cow;

use protocol::net::clock::now;
use protocol::net::rng::system_rng;
use protocol::smp::error::ErrorType;
use protocol::smp::ids::MessageId;
use protocol::smp::response::BrokerMessage;
use protocol::smp::sent_body_bytes_max;

use super::Outcome;
use crate::connection::Client;
use crate::notifications::Notification;
use crate::store::{AppendRules, Appended, QueueRecord, Sent};

pub(super) async fn send(
    client: &Client,
    queue: &QueueRecord,
    version: u16,
    notify: bool,
    body: Cow<'static, [u8]>,
) -> Outcome {
    if body.len() > sent_body_bytes_max(version) {
        return Err(ErrorType::LargeMessage.into());
    }
    let server = &client.server;
    if server.limits.storage.is_used_up() {
        // Senders know what to do: the same as when the queue is full.
        server.metrics.storage_refusals.one();
        return Err(ErrorType::Quota.into());
    }
    let received_at = now();
    let rules = AppendRules {
        quota: server.settings.limits.queue_quota,
        expire_before: server.settings.times.expire_on_send.0.then(|| server.expires_before(received_at)),
    };
    let id = MessageId::generate(&mut system_rng());
    let appended =
        server.store.append(Sent { queue: queue.number, id, received_at, notify, body, rules }).await?;
    protocol::crash_point!("server.send.committed");
    if matches!(appended, Appended::Stored | Appended::Full { marked: true }) {
        server.arrived(queue);
    }
    if appended == Appended::Stored && notify {
        server.notify(queue, Notification { message_id: id, received_at });
    }
    match appended {
        Appended::Stored => Ok(BrokerMessage::Ok),
        Appended::Full { .. } => Err(ErrorType::Quota.into()),
        Appended::Suspended => Err(ErrorType::Auth.into()),
        Appended::Blocked(info) => Err(ErrorType::Blocked(info).into()),
    }
}
