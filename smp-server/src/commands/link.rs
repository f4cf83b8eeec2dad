//! `LSET`, `LDEL`, `LKEY`, `LGET`: the data behind a queue's link.

use protocol::smp::command::LinkData;
use protocol::smp::error::ErrorType;
use protocol::smp::ids::LinkId;
use protocol::smp::key::AuthPublicKey;
use protocol::smp::response::BrokerMessage;

use super::{Outcome, secure};
use crate::connection::Client;
use crate::store::{LinkSet, QueueRecord};

pub(super) async fn set(
    client: &Client,
    queue: &QueueRecord,
    link_id: &[u8],
    data: LinkData<'static>,
) -> Outcome {
    let link_id = LinkId::try_from(link_id).map_err(|_| ErrorType::Auth)?;
    let number = queue.number;
    let set = client
        .server
        .store
        .write_to(queue, move |store| {
            let set = store.set_link_data(number, link_id, &data)?;
            protocol::crash_point!("server.link.written");
            Ok(set)
        })
        .await?;
    protocol::crash_point!("server.link.committed");
    match set {
        LinkSet::Stored => Ok(BrokerMessage::Ok),
        LinkSet::Refused => Err(ErrorType::Auth.into()),
    }
}

pub(super) async fn delete(client: &Client, queue: &QueueRecord) -> Outcome {
    let number = queue.number;
    client.server.store.write_to(queue, move |store| store.delete_link_data(number)).await?;
    Ok(BrokerMessage::Ok)
}

/// Reading an invitation secures its queue with the reader's key: nobody else can use it.
pub(super) async fn secure_and_read(
    client: &Client,
    queue: &QueueRecord,
    sender_key: AuthPublicKey,
) -> Outcome {
    secure::set_sender_key(client, queue, sender_key).await?;
    read(client, queue).await
}

pub(super) async fn read(client: &Client, queue: &QueueRecord) -> Outcome {
    let number = queue.number;
    let data = client.server.store.read(move |reader| reader.link_data(number)).await?;
    let data = data.ok_or(ErrorType::Auth)?;
    Ok(BrokerMessage::Lnk { sender_id: queue.sender_id, data })
}
