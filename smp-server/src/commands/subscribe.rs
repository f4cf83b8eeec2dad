//! `SUB`: makes the connection the subscriber of a queue. Its first message follows the response.
//!
//! In the session of a service the queue becomes the service's; in another session it is nobody's any more, so that a
//! recipient who gives up a service gets its messages (smp.md §13).

use protocol::smp::error::CommandError;
use protocol::smp::response::BrokerMessage;

use super::{Outcome, service};
use crate::cluster;
use crate::connection::Client;
use crate::delivery::Delivery;
use crate::news::Topic;
use crate::store::{QueueRecord, Stream};
use crate::subscriptions::Source;

pub(super) async fn subscribe(client: &Client, queue: &QueueRecord) -> Outcome {
    if client.peer.is_getting(queue.recipient_id) {
        return Err(CommandError::Prohibited.into());
    }
    if client.server.subscriptions.state_for(queue.recipient_id, &client.peer).is_none() {
        client.check_room_for_subscription()?;
    }
    let service = service::associate(client, queue, Stream::Messages, queue.recipient_service).await?;
    let source = Source { queue: queue.number, dh_secret: queue.dh_secret.clone(), service };
    // Ready: the first message is looked for once the response is on its way.
    client.server.subscriptions.subscribe(queue.recipient_id, &client.peer, source, Delivery::Ready);
    cluster::claim(client, Some(Topic::Queue(queue.recipient_id))).await?;
    Ok(BrokerMessage::Sok(service))
}
