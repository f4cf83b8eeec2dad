//! smp.md §20.3, 9, and §20.5, 1 to 3: messages that nobody fetched; and silent connections.

use std::time::{Duration, Instant};

use protocol::smp::command::Command;
use protocol::smp::response::BrokerMessage;
use smp_server::identity::Identity;

use crate::client::{Client, MESSAGING, message};
use crate::host::{Host, PATIENCE};

/// Waits until the server's clock shows that a message which was just sent is older than `ttl`. Times count in whole
/// seconds, so one more second passes.
async fn wait_for_expiry(ttl: Duration) {
    let start = Instant::now();
    let passed = || start.elapsed() > ttl + Duration::from_secs(1);
    while !passed() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn sending_removes_what_is_expired() {
    let host = Host::start("[times]\nmessage_ttl = \"1s\"\nexpire_on_send = true").await;
    let mut client = Client::connect(&host).await;
    let queue = client.create(MESSAGING, false).await;
    client.ok(None, queue.ids.sender_id, &message(b"old")).await;
    wait_for_expiry(Duration::from_secs(1)).await;
    client.ok(None, queue.ids.sender_id, &message(b"new")).await;
    client.subscribe(&queue).await;
    assert_eq!(client.take(&queue).await, b"new");
}

#[tokio::test]
async fn expired_messages_go_at_the_interval() {
    let host = Host::start("[times]\nmessage_ttl = \"1s\"\nexpiry_interval = \"100ms\"").await;
    let mut client = Client::connect(&host).await;
    let queue = client.create(MESSAGING, false).await;
    client.ok(None, queue.ids.sender_id, &message(b"old")).await;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let details = client.ask(Some(&queue.key), queue.recipient_id(), &Command::Que).await;
        let BrokerMessage::Info(details) = details else { panic!("{details:?}") };
        if details.messages == 0 {
            break;
        }
        assert!(Instant::now() < deadline, "the message never expired");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    client.subscribe(&queue).await;
    client.nothing_else().await;
}

#[tokio::test]
async fn before_the_interval_an_expired_message_is_still_delivered() {
    let host = Host::start("[times]\nmessage_ttl = \"1s\"").await;
    let mut client = Client::connect(&host).await;
    let queue = client.create(MESSAGING, false).await;
    client.ok(None, queue.ids.sender_id, &message(b"old")).await;
    wait_for_expiry(Duration::from_secs(1)).await;
    client.subscribe(&queue).await;
    assert_eq!(client.take(&queue).await, b"old");
}

#[tokio::test]
async fn a_start_removes_what_is_expired_unless_told_otherwise() {
    let directory = tempfile::tempdir().unwrap();
    let identity = Identity::generate("127.0.0.1").unwrap().identity;
    let host = Host::start_in(directory.path(), "", &identity).await;
    let mut client = Client::connect(&host).await;
    let queue = client.create(MESSAGING, false).await;
    client.ok(None, queue.ids.sender_id, &message(b"old")).await;
    drop(client);
    host.stop().await;
    wait_for_expiry(Duration::from_secs(1)).await;

    let kept = "[times]\nmessage_ttl = \"1s\"\nexpire_on_start = \"off\"";
    let host = Host::start_in(directory.path(), kept, &identity).await;
    let mut client = Client::connect(&host).await;
    let details = client.ask(Some(&queue.key), queue.recipient_id(), &Command::Que).await;
    assert!(matches!(details, BrokerMessage::Info(details) if details.messages == 1));
    drop(client);
    host.stop().await;

    let host = Host::start_in(directory.path(), "[times]\nmessage_ttl = \"1s\"", &identity).await;
    let mut client = Client::connect(&host).await;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let details = client.ask(Some(&queue.key), queue.recipient_id(), &Command::Que).await;
        if matches!(details, BrokerMessage::Info(details) if details.messages == 0) {
            break;
        }
        assert!(Instant::now() < deadline, "the message never expired");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn silent_connections_are_closed_unless_they_subscribe() {
    // Long enough for a command to follow the hello on a busy machine.
    let host = Host::start("[times]\ninactive_ttl = \"2s\"\ninactive_interval = \"50ms\"").await;
    let mut subscriber = Client::connect(&host).await;
    let queue = subscriber.create(MESSAGING, true).await;
    let mut silent = Client::connect(&host).await;
    silent.nothing_else().await;
    assert!(silent.is_closed().await);
    subscriber.ok(None, queue.ids.sender_id, &message(b"still here")).await;
    assert_eq!(subscriber.take(&queue).await, b"still here");
}
