//! `GET`: reads the head without a subscription.

use protocol::smp::error::CommandError;
use protocol::smp::response::BrokerMessage;

use super::Outcome;
use crate::connection::Client;
use crate::store::QueueRecord;

pub(super) async fn get(client: &Client, queue: &QueueRecord) -> Outcome {
    let (server, peer) = (&client.server, &client.peer);
    let is_told_by_service =
        queue.recipient_service.is_some_and(|service| server.services.is_subscriber(service, peer));
    if is_told_by_service || server.subscriptions.state_for(queue.recipient_id, peer).is_some() {
        return Err(CommandError::Prohibited.into());
    }
    if !peer.is_getting(queue.recipient_id) {
        client.check_room_for_subscription()?;
    }
    let number = queue.number;
    let head = server.store.read(move |reader| reader.first_message(number)).await?;
    peer.set_got(queue.recipient_id, head.as_ref().map(|message| message.id));
    Ok(match head {
        Some(message) => client.message(&queue.dh_secret, &message),
        None => BrokerMessage::Ok,
    })
}
