//! Nodes that die, stand still, or cannot hear.

use std::collections::BTreeMap;

use protocol::smp::command::Command;
use protocol::smp::response::BrokerMessage;

use super::{Address, secured};
use crate::client::{Client, MESSAGING, Queue, body, message};

#[tokio::test]
async fn a_node_that_dies_loses_nothing_and_its_clients_go_on_at_another() {
    let Some(mut address) = Address::make(&[]) else { return };
    let (a, b) = address.two();
    let (mut recipient, mut other) = (Client::connect(&a).await, Client::connect(&b).await);
    let queue = recipient.create(MESSAGING, true).await;
    let sender = secured(&mut other, &queue).await;
    other.ok(Some(&sender), queue.ids.sender_id, &message(b"delivered")).await;
    assert_eq!(recipient.take(&queue).await, b"delivered");
    other.ok(Some(&sender), queue.ids.sender_id, &message(b"not acknowledged")).await;
    recipient.message(&queue).await;
    a.kill();
    other.ok(Some(&sender), queue.ids.sender_id, &message(b"sent meanwhile")).await;
    let mut recipient = Client::connect(&b).await;
    recipient.subscribe(&queue).await;
    let (first, content) = recipient.message(&queue).await;
    assert_eq!(body(content), b"not acknowledged");
    let (second, content) = queue.open(&recipient.acknowledge(&queue, &first).await);
    assert_eq!(body(content), b"sent meanwhile");
    assert_eq!(recipient.acknowledge(&queue, &second).await, BrokerMessage::Ok);
    other.ok(Some(&sender), queue.ids.sender_id, &message(b"and on")).await;
    assert_eq!(recipient.take(&queue).await, b"and on");
}

#[tokio::test]
async fn a_node_that_could_not_hear_looks_at_its_subscriptions_again() {
    let Some(mut address) = Address::make(&[]) else { return };
    let (a, b) = address.two();
    let (mut recipient, mut other) = (Client::connect(&a).await, Client::connect(&b).await);
    let (arrives, moves, goes) = (
        recipient.create(MESSAGING, true).await,
        recipient.create(MESSAGING, true).await,
        recipient.create(MESSAGING, true).await,
    );
    // As if all that is told from here on were lost with the connection that hears it, and the table with a crash.
    let nodes = "UPDATE nodes SET channel = channel || '_deaf'";
    address.scratch.execute(nodes);
    other.ok(None, arrives.ids.sender_id, &message(b"unheard of")).await;
    other.subscribe(&moves).await;
    other.ok(Some(&goes.key), goes.recipient_id(), &Command::Del).await;
    recipient.nothing_else().await;
    address.scratch.end_sessions("LISTEN");
    assert_eq!(recipient.take(&arrives).await, b"unheard of");
    let mut told = std::collections::BTreeMap::new();
    for _ in 0..2 {
        let event = recipient.receive().await;
        told.insert(event.entity_id.clone(), event.message.clone());
    }
    assert_eq!(told.get(moves.ids.recipient_id.as_bytes().as_slice()), Some(&BrokerMessage::End));
    assert_eq!(told.get(goes.ids.recipient_id.as_bytes().as_slice()), Some(&BrokerMessage::Deld));
    // Both hear again.
    other.ok(None, arrives.ids.sender_id, &message(b"heard of")).await;
    assert_eq!(recipient.take(&arrives).await, b"heard of");
}

/// Says what a node would have said next when it died.
fn is_stored_unsaid(address: &Address, queue: &Queue, text: &str) {
    address.scratch.execute(&format!(
        "SELECT append_messages(ARRAY[number], ARRAY[decode(repeat('07', 24), 'hex')], ARRAY[0::bigint], ARRAY[false],
                                ARRAY['{text}'::bytea], ARRAY[9::bigint], ARRAY[NULL::bigint])
         FROM queues WHERE recipient_id = decode('{}', 'hex')",
        hex(queue.ids.recipient_id.as_bytes())
    ));
}

/// A node that ended without a word is forgotten.
const SOMEBODY_DIED: &str =
    "INSERT INTO nodes (channel, lease_until) VALUES ('nobody', now() - interval '1 hour')";

#[tokio::test]
async fn what_a_node_had_no_time_to_say_is_found_when_it_is_forgotten() {
    let Some(mut address) = Address::make(&["--node-lease", "300ms"]) else { return };
    let node = address.node();
    let mut recipient = Client::connect(&node).await;
    let queue = recipient.create(MESSAGING, true).await;
    is_stored_unsaid(&address, &queue, "unsaid");
    recipient.nothing_else().await;
    address.scratch.execute(SOMEBODY_DIED);
    assert_eq!(recipient.take(&queue).await, b"unsaid");
    address.scratch.until("SELECT count(*) = 1 FROM nodes");
}

#[tokio::test]
async fn a_node_that_stood_still_beyond_its_lease_delivers_nothing_that_is_no_more_its_own() {
    let Some(mut address) = Address::make(&["--node-lease", "3s"]) else { return };
    let (a, b) = address.two();
    let (mut stale, mut stale_sender) = (Client::connect(&a).await, Client::connect(&a).await);
    let (taken, kept) = (stale.create(MESSAGING, true).await, stale.create(MESSAGING, true).await);
    let acknowledged = stale.create(MESSAGING, true).await;
    for text in [b"one", b"two"] {
        stale_sender.ok(None, acknowledged.ids.sender_id, &message(text)).await;
    }
    let (delivered, _) = stale.message(&acknowledged).await;
    a.signal("STOP");
    address.scratch.until("SELECT count(*) = 1 FROM nodes");
    let (mut recipient, mut sender) = (Client::connect(&b).await, Client::connect(&b).await);
    recipient.subscribe(&taken).await;
    recipient.subscribe(&acknowledged).await;
    let (first, content) = recipient.message(&acknowledged).await;
    assert_eq!((first, body(content)), (delivered, b"one".to_vec()));
    sender.ok(None, taken.ids.sender_id, &message(b"first")).await;
    let (id, content) = recipient.message(&taken).await;
    assert_eq!(body(content), b"first");
    // What waits at the node when it goes on, before it hears of anything.
    let send = message(b"second").encode(18);
    let sent = stale_sender.transmission(None, b"send", taken.ids.sender_id.as_bytes(), &send);
    stale_sender.send(&[sent]).await;
    let ack = crate::client::ack(&delivered).encode(18);
    let ack =
        stale.transmission(Some(&acknowledged.key), b"ack", acknowledged.recipient_id().as_bytes(), &ack);
    stale.send(&[ack]).await;
    a.signal("CONT");
    assert_eq!(stale_sender.receive().await.message, BrokerMessage::Ok);
    let mut heard = BTreeMap::new();
    for _ in 0..3 {
        let received = stale.receive().await;
        heard.insert((received.entity_id, received.correlation_id), received.message);
    }
    let about = |queue: &Queue, correlation: &[u8]| {
        heard.get(&(queue.recipient_id().as_bytes().to_vec(), correlation.to_vec()))
    };
    assert_eq!(about(&taken, b""), Some(&BrokerMessage::End));
    assert_eq!(about(&acknowledged, b""), Some(&BrokerMessage::End));
    let refusal = BrokerMessage::Err(protocol::smp::error::ErrorType::NoMessage);
    assert_eq!(about(&acknowledged, b"ack"), Some(&refusal));
    // What nobody took meanwhile is its own again.
    sender.ok(None, kept.ids.sender_id, &message(b"kept")).await;
    assert_eq!(stale.take(&kept).await, b"kept");
    stale.nothing_else().await;
    let (id, content) = taken.open(&recipient.acknowledge(&taken, &id).await);
    assert_eq!(body(content), b"second");
    assert_eq!(recipient.acknowledge(&taken, &id).await, BrokerMessage::Ok);
    let (_, content) = acknowledged.open(&recipient.acknowledge(&acknowledged, &first).await);
    assert_eq!(body(content), b"two");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
