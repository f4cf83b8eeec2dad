//! Notifiers at one node, while messages and what else they are told of come from another.

use protocol::net::service::ServiceIdentity;
use protocol::smp::command::{Command, NotifierKeys};
use protocol::smp::ids::NotifierId;
use protocol::smp::key::AuthPrivateKey;
use protocol::smp::response::BrokerMessage;
use protocol::transport::hello::ServiceRole;

use super::Address;
use crate::client::{Client, MESSAGING, Queue, ed25519};
use crate::program::Program;

/// A notifier of a queue: its id and key.
type Notifier = (NotifierId, AuthPrivateKey);

async fn notifier(owner: &mut Client, queue: &Queue) -> Notifier {
    let key = ed25519();
    let dh = protocol::crypto::dh::X25519PrivateKey::from_bytes([5; 32]);
    let set = Command::Nkey(NotifierKeys { notifier_key: key.public_key(), dh_key: dh.public_key() });
    match owner.ask(Some(&queue.key), queue.recipient_id(), &set).await {
        BrokerMessage::Nid(ids) => (ids.notifier_id, key),
        other => panic!("{other:?}"),
    }
}

async fn nsub(client: &mut Client, (id, key): &Notifier) {
    let sok = client.ask(Some(key), *id, &Command::Nsub).await;
    assert!(matches!(sok, BrokerMessage::Sok(_)), "{sok:?}");
}

async fn notified(client: &mut Client, notifier: &Notifier) {
    let event = client.event(notifier.0).await;
    assert!(matches!(event, BrokerMessage::Nmsg { .. }), "{event:?}");
}

async fn ring(client: &mut Client, queue: &Queue) {
    assert_eq!(client.send_message(queue, b"ring").await, BrokerMessage::Ok);
}

async fn notifying(node: &Program, identity: &ServiceIdentity) -> Client {
    Client::connect_service(node, identity, ServiceRole::Notifier).await.unwrap()
}

#[tokio::test]
async fn a_notifier_is_told_once_of_messages_sent_anywhere() {
    let Some(mut address) = Address::make(&[]) else { return };
    let (a, b) = address.two();
    let (mut owner, mut first) = (Client::connect(&a).await, Client::connect(&b).await);
    let queue = owner.create(MESSAGING, false).await;
    let one = notifier(&mut owner, &queue).await;
    // What was sent before somebody subscribed waits where it was sent.
    ring(&mut owner, &queue).await;
    nsub(&mut first, &one).await;
    notified(&mut first, &one).await;
    ring(&mut owner, &queue).await;
    notified(&mut first, &one).await;
    // It was told, so it does not wait.
    let mut second = Client::connect(&a).await;
    nsub(&mut second, &one).await;
    assert_eq!(first.event(one.0).await, BrokerMessage::End);
    let mut sender = Client::connect(&b).await;
    ring(&mut sender, &queue).await;
    notified(&mut second, &one).await;
    first.nothing_else().await;
    second.nothing_else().await;
}

#[tokio::test]
async fn notifiers_that_end_at_another_node_are_told_of() {
    let Some(mut address) = Address::make(&[]) else { return };
    let (a, b) = address.two();
    let (mut owner, mut plain) = (Client::connect(&a).await, Client::connect(&b).await);
    let mut service = notifying(&b, &ServiceIdentity::generate().unwrap()).await;
    for told in [&mut plain, &mut service] {
        let queue = owner.create(MESSAGING, false).await;
        let replaced = notifier(&mut owner, &queue).await;
        nsub(told, &replaced).await;
        let deleted = notifier(&mut owner, &queue).await;
        assert_eq!(told.event(replaced.0).await, BrokerMessage::Deld);
        nsub(told, &deleted).await;
        owner.ok(Some(&queue.key), queue.recipient_id(), &Command::Ndel).await;
        assert_eq!(told.event(deleted.0).await, BrokerMessage::Deld);
        let of_queue = notifier(&mut owner, &queue).await;
        nsub(told, &of_queue).await;
        owner.ok(Some(&queue.key), queue.recipient_id(), &Command::Del).await;
        assert_eq!(told.event(of_queue.0).await, BrokerMessage::Deld);
        told.nothing_else().await;
    }
}

#[tokio::test]
async fn a_notifier_service_has_one_connection_among_all_nodes() {
    let Some(mut address) = Address::make(&[]) else { return };
    let (a, b) = address.two();
    let identity = ServiceIdentity::generate().unwrap();
    let mut owner = Client::connect(&a).await;
    let queues = [owner.create(MESSAGING, false).await, owner.create(MESSAGING, false).await];
    let notifiers = [notifier(&mut owner, &queues[0]).await, notifier(&mut owner, &queues[1]).await];
    let mut first = notifying(&b, &identity).await;
    nsub(&mut first, &notifiers[0]).await;
    nsub(&mut first, &notifiers[1]).await;
    ring(&mut owner, &queues[0]).await;
    notified(&mut first, &notifiers[0]).await;
    drop(first);

    // What was sent while it was nowhere comes from wherever it waits.
    address.scratch.until("SELECT count(*) = 0 FROM subscriptions");
    let mut sender = Client::connect(&b).await;
    ring(&mut owner, &queues[0]).await;
    ring(&mut sender, &queues[1]).await;
    let mut first = notifying(&b, &identity).await;
    assert_eq!(first.ask_for_all(&Command::Nsubs).await, BrokerMessage::Soks(2));
    let mut told = [first.receive().await.entity_id, first.receive().await.entity_id];
    let mut expected = [notifiers[0].0.as_bytes().to_vec(), notifiers[1].0.as_bytes().to_vec()];
    told.sort();
    expected.sort();
    assert_eq!(told, expected);

    let mut second = notifying(&a, &identity).await;
    assert_eq!(second.ask_for_all(&Command::Nsubs).await, BrokerMessage::Soks(2));
    assert_eq!(first.event(first.service_id()).await, BrokerMessage::Ends(2));
    ring(&mut sender, &queues[1]).await;
    notified(&mut second, &notifiers[1]).await;
    first.nothing_else().await;
}

#[tokio::test]
async fn a_notifier_moves_between_services_and_others_at_different_nodes() {
    let Some(mut address) = Address::make(&[]) else { return };
    let (a, b) = address.two();
    let mut owner = Client::connect(&a).await;
    let queue = owner.create(MESSAGING, false).await;
    let one = notifier(&mut owner, &queue).await;
    let mut plain = Client::connect(&b).await;
    nsub(&mut plain, &one).await;
    let mut service = notifying(&a, &ServiceIdentity::generate().unwrap()).await;
    nsub(&mut service, &one).await;
    assert_eq!(plain.event(one.0).await, BrokerMessage::End);
    ring(&mut plain, &queue).await;
    notified(&mut service, &one).await;
    let mut other = notifying(&b, &ServiceIdentity::generate().unwrap()).await;
    nsub(&mut other, &one).await;
    assert_eq!(service.event(one.0).await, BrokerMessage::End);
    ring(&mut owner, &queue).await;
    notified(&mut other, &one).await;
    let mut plain = Client::connect(&a).await;
    nsub(&mut plain, &one).await;
    assert_eq!(other.event(one.0).await, BrokerMessage::End);
    let mut sender = Client::connect(&b).await;
    ring(&mut sender, &queue).await;
    notified(&mut plain, &one).await;
    service.nothing_else().await;
    other.nothing_else().await;
}
