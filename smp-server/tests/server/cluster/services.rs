//! Services whose connection is at one node, while the cause of what they are told is at another.

use protocol::net::service::ServiceIdentity;
use protocol::smp::command::Command;
use protocol::smp::response::BrokerMessage;
use protocol::transport::hello::ServiceRole;

use super::{Address, ctl, is_blocked};
use crate::client::{Client, MESSAGING, message};
use crate::program::Program;

async fn messaging(node: &Program, identity: &ServiceIdentity) -> Client {
    Client::connect_service(node, identity, ServiceRole::Messaging).await.unwrap()
}

async fn subscribe_all(client: &mut Client, queues: i64) {
    assert_eq!(client.ask_for_all(&Command::Subs).await, BrokerMessage::Soks(queues));
    assert_eq!(client.event(b"").await, BrokerMessage::Alls);
}

#[tokio::test]
async fn a_service_gets_messages_that_were_sent_anywhere() {
    let Some(mut address) = Address::make(&[]) else { return };
    let (a, b) = address.two();
    let identity = ServiceIdentity::generate().unwrap();
    let mut service = messaging(&a, &identity).await;
    let queues = [service.create(MESSAGING, true).await, service.create(MESSAGING, true).await];
    // A new connection has no entries for its queues.
    let mut service = messaging(&a, &identity).await;
    subscribe_all(&mut service, 2).await;
    let mut sender = Client::connect(&b).await;
    for text in [b"one", b"two"] {
        for queue in &queues {
            sender.ok(None, queue.ids.sender_id, &message(text)).await;
            assert_eq!(service.take(queue).await, text);
        }
    }
}

#[tokio::test]
async fn a_service_has_one_connection_among_all_nodes() {
    let Some(mut address) = Address::make(&[]) else { return };
    let (a, b) = address.two();
    let identity = ServiceIdentity::generate().unwrap();
    let mut first = messaging(&a, &identity).await;
    let queue = first.create(MESSAGING, true).await;
    let other = first.create(MESSAGING, true).await;
    first.ok(None, queue.ids.sender_id, &message(b"one")).await;
    let (id, _) = first.message(&queue).await;

    // Subscribing to one queue takes them all.
    let mut second = messaging(&b, &identity).await;
    second.subscribe(&other).await;
    assert_eq!(first.event(first.service_id()).await, BrokerMessage::Ends(2));
    let refused = BrokerMessage::Err(protocol::smp::error::ErrorType::NoMessage);
    assert_eq!(first.acknowledge(&queue, &id).await, refused);
    first.ok(None, other.ids.sender_id, &message(b"two")).await;
    assert_eq!(second.take(&other).await, b"two");

    assert_eq!(first.ask_for_all(&Command::Subs).await, BrokerMessage::Soks(2));
    assert_eq!(first.take(&queue).await, b"one");
    assert_eq!(first.event(b"").await, BrokerMessage::Alls);
    assert_eq!(second.event(second.service_id()).await, BrokerMessage::Ends(1));
    second.ok(None, other.ids.sender_id, &message(b"three")).await;
    assert_eq!(first.take(&other).await, b"three");
    second.nothing_else().await;
    first.nothing_else().await;
}

#[tokio::test]
async fn queues_come_to_a_service_and_leave_it_at_another_node() {
    let Some(mut address) = Address::make(&[]) else { return };
    let (a, b) = address.two();
    let identity = ServiceIdentity::generate().unwrap();
    let (mut service, mut plain) = (messaging(&a, &identity).await, Client::connect(&b).await);
    let taken = plain.create(MESSAGING, true).await;
    service.subscribe(&taken).await;
    assert_eq!(plain.event(taken.recipient_id()).await, BrokerMessage::End);
    plain.ok(None, taken.ids.sender_id, &message(b"for the service")).await;
    assert_eq!(service.take(&taken).await, b"for the service");
    let (back, deleted) = (service.create(MESSAGING, true).await, service.create(MESSAGING, true).await);
    let (blocked, delivered) = (service.create(MESSAGING, true).await, service.create(MESSAGING, true).await);

    // A new connection has no entries for its queues.
    let mut service = messaging(&a, &identity).await;
    subscribe_all(&mut service, 5).await;
    plain.subscribe(&back).await;
    assert_eq!(service.event(back.recipient_id()).await, BrokerMessage::End);
    plain.ok(Some(&deleted.key), deleted.recipient_id(), &Command::Del).await;
    assert_eq!(service.event(deleted.recipient_id()).await, BrokerMessage::Deld);
    ctl(address.last(), &["block", &blocked.ids.sender_id.to_string(), "--reason", "content"]);
    assert!(is_blocked(&service.event(blocked.recipient_id()).await));
    // Also while one of its messages is out.
    plain.ok(None, delivered.ids.sender_id, &message(b"out")).await;
    service.message(&delivered).await;
    let mut other = messaging(&b, &ServiceIdentity::generate().unwrap()).await;
    other.subscribe(&delivered).await;
    assert_eq!(service.event(delivered.recipient_id()).await, BrokerMessage::End);
    assert_eq!(other.take(&delivered).await, b"out");
    service.ok(None, back.ids.sender_id, &message(b"for its owner")).await;
    assert_eq!(plain.take(&back).await, b"for its owner");
    ctl(address.last(), &["unblock", &blocked.ids.sender_id.to_string()]);
    let mut again = messaging(&b, &identity).await;
    subscribe_all(&mut again, 2).await;
    assert_eq!(service.event(service.service_id()).await, BrokerMessage::Ends(2));
    service.nothing_else().await;
}

#[tokio::test]
async fn the_connection_of_a_service_that_could_not_hear_looks_for_what_waits() {
    let Some(mut address) = Address::make(&[]) else { return };
    let (a, b) = address.two();
    let identity = ServiceIdentity::generate().unwrap();
    let mut service = messaging(&a, &identity).await;
    let queue = service.create(MESSAGING, true).await;
    let mut service = messaging(&a, &identity).await;
    subscribe_all(&mut service, 1).await;
    address.scratch.execute("UPDATE nodes SET channel = channel || '_deaf'");
    let mut sender = Client::connect(&b).await;
    sender.ok(None, queue.ids.sender_id, &message(b"unheard of")).await;
    service.nothing_else().await;
    address.scratch.end_sessions("LISTEN");
    assert_eq!(service.take(&queue).await, b"unheard of");
    service.nothing_else().await;
}
