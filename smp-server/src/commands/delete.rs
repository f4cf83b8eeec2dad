//! `DEL`: deletes a queue with all it holds.

use protocol::smp::response::BrokerMessage;

use super::Outcome;
use crate::connection::Client;
use crate::store::QueueRecord;

pub(super) async fn delete(client: &Client, queue: &QueueRecord) -> Outcome {
    let number = queue.number;
    client
        .server
        .store
        .write(move |store| {
            store.delete_queue(number)?;
            protocol::crash_point!("server.delete.written");
            Ok(())
        })
        .await?;
    protocol::crash_point!("server.delete.committed");
    client.server.subscriptions.remove(queue.recipient_id, &client.peer);
    client.peer.forget_getting(queue.recipient_id);
    Ok(BrokerMessage::Ok)
}
