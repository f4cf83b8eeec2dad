//! `OFF`: refuses senders from now on.

use protocol::smp::response::BrokerMessage;

use super::Outcome;
use crate::connection::Client;
use crate::store::QueueRecord;

pub(super) async fn suspend(client: &Client, queue: &QueueRecord) -> Outcome {
    let number = queue.number;
    client.server.store.write_to(queue, move |store| store.suspend_queue(number)).await?;
    Ok(BrokerMessage::Ok)
}
