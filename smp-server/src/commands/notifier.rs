//! `NKEY` and `NDEL`: who is notified of a queue's messages. `NSUB`: makes the connection the one that is told.

use protocol::crypto::dh::X25519PrivateKey;
use protocol::net::rng::system_rng;
use protocol::smp::command::NotifierKeys;
use protocol::smp::error::ErrorType;
use protocol::smp::ids::NotifierId;
use protocol::smp::response::{BrokerMessage, NotifierIds};

use super::new::ATTEMPTS_MAX;
use super::{Outcome, service};
use crate::cluster;
use crate::connection::Client;
use crate::news::Topic;
use crate::store::{DhSecret, Notifier, NotifierSet, QueueRecord, Stream};

/// A new notifier for these keys, and what its recipient is told of it.
pub(super) fn draw(keys: &NotifierKeys) -> (Notifier, NotifierIds) {
    let server_key = X25519PrivateKey::generate(&mut system_rng());
    let notifier = Notifier {
        id: NotifierId::generate(&mut system_rng()),
        key: keys.notifier_key,
        dh_secret: DhSecret(server_key.diffie_hellman(&keys.dh_key)),
    };
    let ids = NotifierIds { notifier_id: notifier.id, server_dh_key: server_key.public_key() };
    (notifier, ids)
}

/// Every time with a new id, so that a notifier that was replaced can do nothing more.
pub(super) async fn set(client: &Client, queue: &QueueRecord, keys: &NotifierKeys) -> Outcome {
    let number = queue.number;
    for _ in 0..ATTEMPTS_MAX {
        let (notifier, ids) = draw(keys);
        let set = client
            .server
            .store
            .write_to(queue, move |store| {
                let set = store.set_notifier(number, &notifier)?;
                protocol::crash_point!("server.notifier.written");
                Ok(set)
            })
            .await?;
        protocol::crash_point!("server.notifier.committed");
        if let NotifierSet::Stored { replaced } = set {
            if let Some(replaced) = replaced {
                client.server.forget_notifier(queue, replaced, Some(client.peer.id()));
            }
            return Ok(BrokerMessage::Nid(ids));
        }
    }
    Err(ErrorType::Internal.into())
}

pub(super) async fn delete(client: &Client, queue: &QueueRecord) -> Outcome {
    let number = queue.number;
    let deleted = client.server.store.write_to(queue, move |store| store.delete_notifier(number)).await?;
    if let Some(id) = deleted {
        client.server.forget_notifier(queue, id, Some(client.peer.id()));
    }
    Ok(BrokerMessage::Ok)
}

/// In the session of a service the notifications become the service's; in another session they are nobody's any more
/// but this connection's (smp.md §13).
pub(super) async fn subscribe(client: &Client, queue: &QueueRecord, notifier: &Notifier) -> Outcome {
    let notifications = &client.server.notifications;
    if client.service.is_none() && !notifications.is_subscriber(notifier.id, &client.peer) {
        client.check_room_for_subscription()?;
    }
    let stream = Stream::Notifications(notifier.id);
    let service = service::associate(client, queue, stream, queue.notifier_service).await?;
    match service {
        Some(service) => notifications.give_to_service(notifier.id, service, &client.peer),
        None => notifications.subscribe(notifier.id, &client.peer),
    }
    cluster::claim(client, Some(Topic::Notifier(notifier.id))).await?;
    Ok(BrokerMessage::Sok(service))
}
