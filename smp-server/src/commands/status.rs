//! `QUE`: the state of a queue, for debugging (smp.md §7.3).

use base64::Engine as _;
use protocol::smp::ids::MessageId;
use protocol::smp::queue_details::{
    Delivery as Shown, MessageDetails, MessageKind, QueueDetails, SubscriptionDetails,
};
use protocol::smp::response::BrokerMessage;
use protocol::timestamp::Timestamp;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Outcome;
use crate::connection::Client;
use crate::delivery::Delivery;
use crate::store::{QueueRecord, StoredMessage};

pub(super) async fn details(client: &Client, queue: &QueueRecord) -> Outcome {
    let number = queue.number;
    let (count, head) = client
        .server
        .store
        .read(move |reader| Ok((reader.message_count(number)?, reader.first_message(number)?)))
        .await?;
    Ok(BrokerMessage::Info(QueueDetails {
        secured: queue.sender_key.is_some(),
        has_notifier: queue.notifier.is_some(),
        subscription: subscription(client, queue),
        messages: count.into(),
        first_message: head.map(|message| message_details(&message)),
    }))
}

/// What this connection has of the queue.
fn subscription(client: &Client, queue: &QueueRecord) -> Option<SubscriptionDetails> {
    let (delivery, delivered) = match client.server.subscriptions.state_for(queue.recipient_id, &client.peer)
    {
        Some(Delivery::Ready | Delivery::Reading { .. }) => (Shown::SubPending, None),
        Some(delivery @ (Delivery::Idle | Delivery::Outstanding(_))) => {
            (Shown::NoSub, delivery.outstanding())
        }
        None if client.peer.is_getting(queue.recipient_id) => {
            (Shown::ProhibitSub, client.peer.got(queue.recipient_id))
        }
        None => return None,
    };
    Some(SubscriptionDetails { delivery, delivered: delivered.map(shown_id) })
}

fn message_details(message: &StoredMessage) -> MessageDetails {
    let kind = if message.body.is_some() { MessageKind::Message } else { MessageKind::Quota };
    MessageDetails { id: shown_id(message.id), received_at: shown_time(message.received_at), kind }
}

fn shown_id(id: MessageId) -> String {
    base64::engine::general_purpose::STANDARD.encode(id.as_bytes())
}

fn shown_time(moment: Timestamp) -> String {
    const NANOSECONDS_PER_MS: i128 = 1_000_000;
    let nanoseconds = i128::from(moment.0).saturating_mul(NANOSECONDS_PER_MS);
    let moment = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    moment.format(&Rfc3339).expect("a moment of these years has an RFC 3339 form")
}
