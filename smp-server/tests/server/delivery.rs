//! smp.md §10, the corners: acknowledgements, GET beside subscriptions, markers, moved subscriptions.

use std::time::{Duration, Instant};

use protocol::crypto::dh::X25519PrivateKey;
use protocol::smp::command::{Command, MessagingLink, NewQueue, QueueRequest};
use protocol::smp::error::{CommandError, ErrorType};
use protocol::smp::ids::SenderId;
use protocol::smp::message::ReceivedMessage;
use protocol::smp::response::BrokerMessage;

use crate::client::{Client, MESSAGING, Queue, ack, body, ed25519, link_data, message};
use crate::host::{Host, PATIENCE};

const NO_MESSAGE: BrokerMessage<'static> = BrokerMessage::Err(ErrorType::NoMessage);
const PROHIBITED: ErrorType = ErrorType::Command(CommandError::Prohibited);

fn empty_ack() -> Command<'static> {
    Command::Ack { message_id: b"".into() }
}

async fn bodies(client: &mut Client, queue: &Queue) -> Vec<u8> {
    let got = client.ask(Some(&queue.key), queue.recipient_id(), &Command::Get).await;
    body(queue.open(&got).1)
}

/// smp.md §10.3, row by row, for a connection that used GET.
#[tokio::test]
async fn acknowledging_after_get() {
    let host = Host::start("").await;
    let mut client = Client::connect(&host).await;
    let queue = client.create(MESSAGING, false).await;
    let (key, id) = (Some(&queue.key), queue.recipient_id());
    for text in ["one", "two"] {
        client.ok(None, queue.ids.sender_id, &message(text.as_bytes())).await;
    }
    assert_eq!(client.ask(key, id, &empty_ack()).await, NO_MESSAGE, "nothing was delivered");
    let got = client.ask(key, id, &Command::Get).await;
    let (one, _) = queue.open(&got);
    assert_eq!(client.ask(key, id, &Command::Ack { message_id: b"other".into() }).await, NO_MESSAGE);
    // An empty id matches, but deletes nothing; and the mark is used up.
    client.ok(key, id, &empty_ack()).await;
    assert_eq!(client.acknowledge(&queue, &one).await, NO_MESSAGE);
    assert_eq!(bodies(&mut client, &queue).await, b"one");
    client.ok(key, id, &ack(&one)).await;
    assert_eq!(client.acknowledge(&queue, &one).await, NO_MESSAGE);
    assert_eq!(bodies(&mut client, &queue).await, b"two");
}

#[tokio::test]
async fn get_and_sub_exclude_each_other_on_one_connection() {
    let host = Host::start("").await;
    let mut client = Client::connect(&host).await;
    let (subscribed, plain) = (client.create(MESSAGING, true).await, client.create(MESSAGING, false).await);
    let get = |queue: &Queue| (queue.key.clone(), queue.recipient_id());
    let (key, id) = get(&subscribed);
    assert_eq!(
        client.error(Some(&key), id, &Command::Get).await,
        PROHIBITED,
        "after NEW with a subscription"
    );
    let (key, id) = get(&plain);
    client.ok(Some(&key), id, &Command::Get).await;
    assert_eq!(
        client.error(Some(&key), id, &Command::Sub).await,
        PROHIBITED,
        "after a GET that found nothing"
    );
    client.ok(Some(&key), id, &Command::Get).await;
    // Nothing is pushed to a connection that only used GET.
    client.ok(None, plain.ids.sender_id, &message(b"one")).await;
    client.nothing_else().await;
    // Another connection may subscribe; the one that used GET hears nothing of it.
    let mut other = Client::connect(&host).await;
    other.subscribe(&plain).await;
    assert_eq!(other.take(&plain).await, b"one");
    let another = other.create(MESSAGING, true).await;
    client.subscribe(&another).await;
    assert_eq!(other.event(another.recipient_id()).await, BrokerMessage::End);
    client.nothing_else().await;
}

#[tokio::test]
async fn a_moved_subscription_takes_delivery_along_and_the_former_may_come_back() {
    let host = Host::start("[times]\nevent_interval = \"300ms\"").await;
    let (mut first, mut second) = (Client::connect(&host).await, Client::connect(&host).await);
    let mut sender = Client::connect(&host).await;
    let queue = first.create(MESSAGING, true).await;
    sender.ok(None, queue.ids.sender_id, &message(b"one")).await;
    let (one, _) = first.message(&queue).await;
    second.subscribe(&queue).await;
    assert_eq!(second.message(&queue).await.0, one);
    // At once, though END comes later.
    assert_eq!(first.acknowledge(&queue, &one).await, NO_MESSAGE);
    assert_eq!(first.ask(Some(&queue.key), queue.recipient_id(), &empty_ack()).await, NO_MESSAGE);
    assert_eq!(first.event(queue.recipient_id()).await, BrokerMessage::End);
    first.subscribe(&queue).await;
    assert_eq!(first.message(&queue).await.0, one);
    assert_eq!(second.event(queue.recipient_id()).await, BrokerMessage::End);
    assert_eq!(second.acknowledge(&queue, &one).await, NO_MESSAGE);
    sender.ok(None, queue.ids.sender_id, &message(b"two")).await;
    let next = first.acknowledge(&queue, &one).await;
    assert_eq!(body(queue.open(&next).1), b"two");
    second.nothing_else().await;
}

#[tokio::test]
async fn a_queue_subscribed_twice_in_a_long_block_is_delivered_twice() {
    let host = Host::start("").await;
    let mut sender = Client::connect(&host).await;
    let mut queues = Vec::new();
    for _ in 0..5 {
        let queue = sender.create(MESSAGING, false).await;
        sender.ok(None, queue.ids.sender_id, &message(b"hello")).await;
        queues.push(queue);
    }
    let mut client = Client::connect(&host).await;
    let twice: Vec<&Queue> = queues.iter().chain([&queues[2]]).collect();
    let subscriptions: Vec<_> = (0_u8..)
        .zip(&twice)
        .map(|(number, queue)| {
            client.transmission(Some(&queue.key), &[number], queue.recipient_id().as_ref(), b"SUB")
        })
        .collect();
    client.send(&subscriptions).await;
    for (number, queue) in (0_u8..).zip(&twice) {
        let response = client.receive().await;
        assert_eq!((response.correlation_id, response.block), (vec![number], 0));
        assert_eq!(response.entity_id, queue.recipient_id().as_ref());
        assert_eq!(response.message, BrokerMessage::Sok(None));
    }
    let mut delivered = Vec::new();
    for block in 1..=twice.len() {
        let event = client.receive().await;
        assert!(event.correlation_id.is_empty() && event.block == block);
        delivered.push(event.entity_id);
    }
    delivered.sort();
    let mut expected: Vec<_> = twice.iter().map(|queue| queue.recipient_id().as_ref().to_vec()).collect();
    expected.sort();
    assert_eq!(delivered, expected);
    client.nothing_else().await;
}

#[tokio::test]
async fn subscribing_again_takes_no_more_room() {
    let host = Host::start("[limits]\nconnection_subscriptions = 1").await;
    let mut client = Client::connect(&host).await;
    let queue = client.create(MESSAGING, true).await;
    for _ in 0..2 {
        client.subscribe(&queue).await;
    }
    client.ok(None, queue.ids.sender_id, &message(b"hello")).await;
    assert_eq!(client.take(&queue).await, b"hello");
}

#[tokio::test]
async fn a_marker_outlives_the_messages_before_it() {
    // Not before the queue is full, on a busy machine either.
    let settings = "[limits]\nqueue_quota = 1\n[times]\nmessage_ttl = \"3s\"\nexpire_on_send = true";
    let host = Host::start(settings).await;
    let mut client = Client::connect(&host).await;
    let queue = client.create(MESSAGING, false).await;
    client.ok(None, queue.ids.sender_id, &message(b"one")).await;
    let quota = BrokerMessage::Err(ErrorType::Quota);
    assert_eq!(client.send_message(&queue, b"two").await, quota);
    // The message before it expires at some sending; the queue stays closed all the while.
    let (key, deadline) = (Some(&queue.key), Instant::now() + PATIENCE);
    loop {
        assert_eq!(client.send_message(&queue, b"three").await, quota);
        let details = client.ask(key, queue.recipient_id(), &Command::Que).await;
        if matches!(details, BrokerMessage::Info(details) if details.messages == 1) {
            break;
        }
        assert!(Instant::now() < deadline, "the message never expired");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    client.subscribe(&queue).await;
    let (marker, content) = client.message(&queue).await;
    assert!(matches!(content, ReceivedMessage::Quota { .. }));
    client.ok(key, queue.recipient_id(), &ack(&marker)).await;
    client.ok(None, queue.ids.sender_id, &message(b"four")).await;
    assert_eq!(client.take(&queue).await, b"four");
}

/// The sender id of a queue with link data is known before the queue is: who sends at the first moment must not be
/// heard before the queue is, nor be forgotten.
#[tokio::test]
async fn a_message_that_comes_with_its_queue_follows_the_ids() {
    let host = Host::start("").await;
    let (mut creator, mut sender) = (Client::connect(&host).await, Client::connect(&host).await);
    for round in 0..20_u8 {
        let correlation_id = [round; 24];
        let sender_id = SenderId::for_correlation(&correlation_id);
        let link = MessagingLink { sender_id: sender_id.0.to_vec().into(), data: link_data(b"f", b"u") };
        let key = ed25519();
        let command = Command::New(Box::new(NewQueue {
            recipient_key: key.public_key(),
            dh_key: X25519PrivateKey::from_bytes([5; 32]).public_key(),
            password: None,
            subscribe: true,
            request: Some(QueueRequest::Messaging(Some(link))),
            notifier: None,
        }));
        let new = creator.transmission(Some(&key), &correlation_id, b"", &command.encode(18));
        creator.send(&[new]).await;
        while sender.ask(None, sender_id, &message(b"early")).await != BrokerMessage::Ok {}
        let response = creator.receive().await;
        let BrokerMessage::Ids(ids) = response.message else { panic!("{response:?} instead of ids") };
        let event = creator.event(ids.recipient_id).await;
        assert!(matches!(event, BrokerMessage::Msg { .. }));
        creator.nothing_else().await;
    }
}

/// The recipient is subscribed and holds the first message when everything expires: what comes next waits for it.
#[tokio::test]
async fn an_expired_message_is_acknowledged_all_the_same() {
    let host = Host::start("[times]\nmessage_ttl = \"1s\"\nexpiry_interval = \"50ms\"").await;
    let mut client = Client::connect(&host).await;
    let queue = client.create(MESSAGING, true).await;
    client.ok(None, queue.ids.sender_id, &message(b"one")).await;
    let (one, _) = client.message(&queue).await;
    let (key, deadline) = (Some(&queue.key), Instant::now() + PATIENCE);
    loop {
        let details = client.ask(key, queue.recipient_id(), &Command::Que).await;
        if matches!(details, BrokerMessage::Info(details) if details.messages == 0) {
            break;
        }
        assert!(Instant::now() < deadline, "the message never expired");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    client.ok(key, queue.recipient_id(), &ack(&one)).await;
    client.ok(None, queue.ids.sender_id, &message(b"two")).await;
    assert_eq!(client.take(&queue).await, b"two");
}
