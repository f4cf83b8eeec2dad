//! `DEL`: deletes a queue with all it holds.

use protocol::smp::response::BrokerMessage;

use super::Outcome;
use crate::connection::Client;
use crate::store::QueueRecord;

pub(super) async fn delete(client: &Client, queue: &QueueRecord) -> Outcome {
    let number = queue.number;
    let deleted = client
        .server
        .store
        .write_to(queue, move |store| {
            let deleted = store.delete_queue(number)?;
            protocol::crash_point!("server.delete.written");
            Ok(deleted)
        })
        .await?;
    protocol::crash_point!("server.delete.committed");
    client.server.forget_queue(queue, deleted.notifier, Some(client.peer.id()));
    client.peer.forget_getting(queue.recipient_id);
    Ok(BrokerMessage::Ok)
}
