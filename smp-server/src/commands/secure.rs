//! `KEY` and `SKEY`: set the sender's key, once. `RKEY`: replaces the recipient's keys.

use protocol::smp::error::ErrorType;
use protocol::smp::key::AuthPublicKey;
use protocol::smp::queue_uri::QueueMode;
use protocol::smp::response::BrokerMessage;

use super::{CommandFailure, Outcome};
use crate::connection::Client;
use crate::store::{QueueRecord, Secured};

pub(super) async fn secure(client: &Client, queue: &QueueRecord, sender_key: AuthPublicKey) -> Outcome {
    set_sender_key(client, queue, sender_key).await?;
    Ok(BrokerMessage::Ok)
}

/// Sets the key, or fails with `AUTH` when another one is set. The same key may be set again.
pub(super) async fn set_sender_key(
    client: &Client,
    queue: &QueueRecord,
    sender_key: AuthPublicKey,
) -> Result<(), CommandFailure> {
    let number = queue.number;
    let secured = client
        .server
        .store
        .write_to(queue, move |store| {
            let secured = store.secure_queue(number, &sender_key)?;
            protocol::crash_point!("server.secure.written");
            Ok(secured)
        })
        .await?;
    protocol::crash_point!("server.secure.committed");
    match secured {
        Secured::WithThisKey => Ok(()),
        Secured::WithAnother => Err(ErrorType::Auth.into()),
    }
}

pub(super) async fn replace_recipient_keys(
    client: &Client,
    queue: &QueueRecord,
    keys: Vec<AuthPublicKey>,
) -> Outcome {
    if queue.mode != Some(QueueMode::Contact) {
        return Err(ErrorType::Auth.into());
    }
    let number = queue.number;
    client.server.store.write_to(queue, move |store| store.replace_recipient_keys(number, &keys)).await?;
    Ok(BrokerMessage::Ok)
}
