//! `ACK`: the recipient has a message safe; the next one comes with the response (smp.md §10.3).

use protocol::smp::error::ErrorType;
use protocol::smp::ids::MessageId;
use protocol::smp::response::BrokerMessage;

use super::Outcome;
use crate::connection::Client;
use crate::delivery::AfterReading;
use crate::store::{Acknowledgement, Head, QueueRecord, StoreError, StoredMessage};

pub(super) async fn acknowledge(client: &Client, queue: &QueueRecord, message_id: &[u8]) -> Outcome {
    let (server, peer) = (&client.server, &client.peer);
    if server.subscriptions.state_for(queue.recipient_id, peer).is_none() {
        return acknowledge_got(client, queue, message_id).await;
    }
    let acknowledged =
        server.subscriptions.acknowledge(queue.recipient_id, peer, message_id).ok_or(ErrorType::NoMessage)?;
    let reading = acknowledged.reading;
    let removed = (!message_id.is_empty()).then_some(acknowledged.message_id);
    let mut found = remove(client, reading.head(), removed).await;
    loop {
        let next = match found {
            Ok(next) => next,
            // Another connection has the subscription, and the message with it.
            Err(StoreError::Elsewhere(rival)) => {
                server.read_elsewhere(&reading, peer, rival);
                return Err(ErrorType::NoMessage.into());
            }
            Err(error) => {
                server.subscriptions.failed(&reading, peer);
                return Err(error.into());
            }
        };
        match server.subscriptions.read(&reading, peer, next.as_ref().map(|message| message.id)) {
            AfterReading::Deliver => {
                return Ok(match next {
                    Some(message) => client.message(&reading.source.dh_secret, &message),
                    None => BrokerMessage::Ok,
                });
            }
            // The subscription moved on, and the next message with it; the acknowledgement stands.
            AfterReading::Stale => return Ok(BrokerMessage::Ok),
            AfterReading::ReadAgain => {
                let head = server.store.heads(vec![reading.head()]).await.map(|mut heads| heads.pop());
                found = head.and_then(|head| head.unwrap_or(Ok(None)));
            }
        }
    }
}

/// After `GET`: no next message comes with the response.
async fn acknowledge_got(client: &Client, queue: &QueueRecord, message_id: &[u8]) -> Outcome {
    let got = client.peer.got(queue.recipient_id).ok_or(ErrorType::NoMessage)?;
    if !message_id.is_empty() && message_id != got.as_bytes() {
        return Err(ErrorType::NoMessage.into());
    }
    let head = Head { queue: queue.number, subscription: None };
    remove(client, head, (!message_id.is_empty()).then_some(got)).await?;
    client.peer.set_got(queue.recipient_id, None);
    Ok(BrokerMessage::Ok)
}

/// Deletes the head if it is this message; gives the head after that, once the deletion is durable.
async fn remove(
    client: &Client,
    head: Head,
    message_id: Option<MessageId>,
) -> Result<Option<StoredMessage>, StoreError> {
    let next = client.server.store.acknowledge(Acknowledgement { message_id, head }).await?;
    protocol::crash_point!("server.ack.committed");
    Ok(next)
}
