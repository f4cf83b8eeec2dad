//! `ACK`: the recipient has a message safe; the next one comes with the response (smp.md §10.3).

use protocol::smp::error::ErrorType;
use protocol::smp::ids::MessageId;
use protocol::smp::response::BrokerMessage;

use super::{CommandFailure, Outcome};
use crate::connection::Client;
use crate::delivery::AfterReading;
use crate::store::{Acknowledgement, Head, QueueNumber, QueueRecord, StoredMessage};

pub(super) async fn acknowledge(client: &Client, queue: &QueueRecord, message_id: &[u8]) -> Outcome {
    let (server, peer) = (&client.server, &client.peer);
    if server.subscriptions.state_for(queue.recipient_id, peer).is_none() {
        return acknowledge_got(client, queue, message_id).await;
    }
    let acknowledged =
        server.subscriptions.acknowledge(queue.recipient_id, peer, message_id).ok_or(ErrorType::NoMessage)?;
    let reading = acknowledged.reading;
    let removed = (!message_id.is_empty()).then_some(acknowledged.message_id);
    let mut next = remove(client, queue.number, removed).await.inspect_err(|_| {
        server.subscriptions.failed(&reading, peer);
    })?;
    loop {
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
                let number = queue.number;
                next = server.store.read(move |reader| reader.first_message(number)).await.inspect_err(
                    |_| {
                        server.subscriptions.failed(&reading, peer);
                    },
                )?;
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
    remove(client, queue.number, (!message_id.is_empty()).then_some(got)).await?;
    client.peer.set_got(queue.recipient_id, None);
    Ok(BrokerMessage::Ok)
}

/// Deletes the head if it is this message; gives the head after that, once the deletion is durable.
async fn remove(
    client: &Client,
    queue: QueueNumber,
    message_id: Option<MessageId>,
) -> Result<Option<StoredMessage>, CommandFailure> {
    let head = Head { queue, subscription: None };
    let next = client.server.store.acknowledge(Acknowledgement { message_id, head }).await?;
    protocol::crash_point!("server.ack.committed");
    Ok(next)
}
