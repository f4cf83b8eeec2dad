//! smp.md §10.1: one subscriber, and what the others hear.

use protocol::smp::command::Command;
use protocol::smp::error::ErrorType;
use protocol::smp::response::BrokerMessage;

use crate::client::{Client, MESSAGING, ack, body, message};
use crate::host::Host;

#[tokio::test]
async fn a_subscription_moves_and_the_former_subscriber_is_told() {
    let host = Host::start("").await;
    let (mut first, mut second) = (Client::connect(&host).await, Client::connect(&host).await);
    let mut sender = Client::connect(&host).await;
    let queue = first.create(MESSAGING, true).await;
    let (key, id) = (Some(&queue.key), queue.recipient_id());
    sender.ok(None, queue.ids.sender_id, &message(b"one")).await;
    let (one, _) = first.message(&queue).await;

    second.subscribe(&queue).await;
    let (again, content) = second.message(&queue).await;
    assert_eq!((again, body(content)), (one, b"one".to_vec()));
    assert_eq!(first.event(id).await, BrokerMessage::End);
    assert_eq!(first.acknowledge(&queue, &one).await, BrokerMessage::Err(ErrorType::NoMessage));
    assert_eq!(second.acknowledge(&queue, &one).await, BrokerMessage::Ok);
    sender.ok(None, queue.ids.sender_id, &message(b"two")).await;
    assert_eq!(second.take(&queue).await, b"two");
    first.nothing_else().await;

    first.ok(key, id, &Command::Del).await;
    assert_eq!(second.event(id).await, BrokerMessage::Deld);
    first.nothing_else().await;
    second.nothing_else().await;
}

#[tokio::test]
async fn a_connection_that_lost_its_subscription_may_get() {
    let host = Host::start("").await;
    let (mut first, mut second) = (Client::connect(&host).await, Client::connect(&host).await);
    let queue = first.create(MESSAGING, true).await;
    second.subscribe(&queue).await;
    assert_eq!(first.event(queue.recipient_id()).await, BrokerMessage::End);
    first.ok(Some(&queue.key), queue.recipient_id(), &Command::Get).await;
    // It used GET only: the end of the queue is no news to it.
    second.ok(Some(&queue.key), queue.recipient_id(), &Command::Del).await;
    let mut third = Client::connect(&host).await;
    let (other, another) = (third.create(MESSAGING, true).await, third.create(MESSAGING, true).await);
    second.subscribe(&other).await;
    assert_eq!(third.event(other.recipient_id()).await, BrokerMessage::End);
    first.nothing_else().await;
    second.nothing_else().await;
    third.subscribe(&another).await;
}

#[tokio::test]
async fn subscribing_again_brings_the_message_again() {
    let host = Host::start("").await;
    let mut client = Client::connect(&host).await;
    let queue = client.create(MESSAGING, true).await;
    client.ok(None, queue.ids.sender_id, &message(b"one")).await;
    let (one, _) = client.message(&queue).await;
    for _ in 0..3 {
        client.subscribe(&queue).await;
        assert_eq!(client.message(&queue).await.0, one);
    }
    client.ok(Some(&queue.key), queue.recipient_id(), &ack(&one)).await;
    client.subscribe(&queue).await;
    client.nothing_else().await;
}

#[tokio::test]
async fn a_connection_that_ends_loses_no_message() {
    let host = Host::start("").await;
    let mut first = Client::connect(&host).await;
    let queue = first.create(MESSAGING, true).await;
    first.ok(None, queue.ids.sender_id, &message(b"one")).await;
    first.message(&queue).await;
    drop(first);
    let mut second = Client::connect(&host).await;
    second.subscribe(&queue).await;
    assert_eq!(second.take(&queue).await, b"one");
}

#[tokio::test]
async fn create_without_subscribing_delivers_nothing() {
    let host = Host::start("").await;
    let mut client = Client::connect(&host).await;
    let queue = client.create(MESSAGING, false).await;
    client.ok(None, queue.ids.sender_id, &message(b"one")).await;
    client.nothing_else().await;
    client.subscribe(&queue).await;
    assert_eq!(client.take(&queue).await, b"one");
}

#[tokio::test]
async fn fifty_queues_with_empty_correlation_ids_pass_from_hand_to_hand() {
    let host = Host::start("").await;
    let mut client = Client::connect(&host).await;
    let mut queues = Vec::new();
    for _ in 0..50 {
        queues.push(client.create_with(crate::client::ed25519(), b"", MESSAGING, true).await.unwrap());
    }
    drop(client);
    for _ in 0..2 {
        let mut client = Client::connect(&host).await;
        for queue in &queues {
            client.subscribe(queue).await;
        }
    }
}

#[tokio::test]
async fn a_connection_may_use_only_so_many_queues() {
    let host = Host::start("[limits]\nconnection_subscriptions = 2").await;
    let mut client = Client::connect(&host).await;
    let (first, _) = (client.create(MESSAGING, true).await, client.create(MESSAGING, true).await);
    let refused = client.create_with(crate::client::ed25519(), b"c", MESSAGING, true).await;
    assert!(refused.is_err());
    client.ok(Some(&first.key), first.recipient_id(), &Command::Del).await;
    client.create(MESSAGING, true).await;
}

#[tokio::test]
async fn a_subscription_that_moves_in_the_middle_loses_and_repeats_nothing() {
    const MESSAGES: u8 = 60;
    /// How many messages a recipient takes before the other one subscribes.
    const TURN: usize = 7;
    let host = Host::start("[limits]\nqueue_quota = 100\n[times]\nevent_interval = \"1h\"").await;
    let mut sender = Client::connect(&host).await;
    let mut recipients = [Client::connect(&host).await, Client::connect(&host).await];
    let queue = recipients[0].create(MESSAGING, false).await;
    let sender_id = queue.ids.sender_id;
    let sending = tokio::spawn(async move {
        for number in 0..MESSAGES {
            sender.ok(None, sender_id, &message(&[number])).await;
        }
    });
    let mut acknowledged = Vec::new();
    let mut turn = 0;
    while acknowledged.len() < usize::from(MESSAGES) {
        let recipient = &mut recipients[turn % 2];
        // What the former turn was sent and did not acknowledge is this one's now.
        recipient.forget_messages().await;
        recipient.subscribe(&queue).await;
        let (mut id, mut content) = recipient.message(&queue).await;
        for taken in 1.. {
            acknowledged.push(body(content)[0]);
            let response = recipient.acknowledge(&queue, &id).await;
            if taken == TURN || acknowledged.len() == usize::from(MESSAGES) {
                break;
            }
            (id, content) = match response {
                BrokerMessage::Ok => recipient.message(&queue).await,
                next => queue.open(&next),
            };
        }
        turn += 1;
    }
    sending.await.unwrap();
    assert_eq!(acknowledged, (0..MESSAGES).collect::<Vec<_>>());
}
