//! smp.md §20.3 and §10: delivery, acknowledgement, GET, quota.

use protocol::smp::command::Command;
use protocol::smp::error::{CommandError, ErrorType};
use protocol::smp::message::ReceivedMessage;
use protocol::smp::response::BrokerMessage;

use crate::client::{CORRELATION, Client, MESSAGING, ack, body, message};
use crate::host::Host;

#[tokio::test]
async fn one_message_at_a_time_in_the_order_of_acceptance() {
    let host = Host::start("").await;
    let (mut recipient, mut sender) = (Client::connect(&host).await, Client::connect(&host).await);
    let queue = recipient.create(MESSAGING, true).await;
    for text in ["one", "two", "three"] {
        sender.ok(None, queue.ids.sender_id, &message(text.as_bytes())).await;
    }
    let (first, content) = recipient.message(&queue).await;
    assert_eq!(body(content), b"one");
    recipient.nothing_else().await;
    let second = recipient.acknowledge(&queue, &first).await;
    let (second, content) = queue.open(&second);
    assert_eq!(body(content), b"two");
    assert_eq!(recipient.acknowledge(&queue, &first).await, BrokerMessage::Err(ErrorType::NoMessage));
    let third = recipient.acknowledge(&queue, &second).await;
    let (third, content) = queue.open(&third);
    assert_eq!(body(content), b"three");
    assert_eq!(recipient.acknowledge(&queue, &third).await, BrokerMessage::Ok);
    recipient.nothing_else().await;
}

#[tokio::test]
async fn commands_of_one_block_are_executed_in_order() {
    let host = Host::start("").await;
    let mut client = Client::connect(&host).await;
    let queue = client.create(MESSAGING, true).await;
    let send = |text: &str| message(text.as_bytes()).encode(18);
    let sends: Vec<_> = ["one", "two", "three"]
        .iter()
        .map(|text| client.transmission(None, text.as_bytes(), queue.ids.sender_id.as_ref(), &send(text)))
        .collect();
    client.send(&sends).await;
    let mut responses = Vec::new();
    let mut first = None;
    while responses.len() < 3 || first.is_none() {
        let received = client.receive().await;
        if received.correlation_id.is_empty() {
            first = Some(queue.open(&received.message));
        } else {
            assert_eq!(received.message, BrokerMessage::Ok);
            responses.push(received.correlation_id);
        }
    }
    assert_eq!(responses, [b"one".to_vec(), b"two".to_vec(), b"three".to_vec()]);
    let (mut id, content) = first.unwrap();
    assert_eq!(body(content), b"one");
    for expected in ["two", "three"] {
        let next = client.acknowledge(&queue, &id).await;
        let (next, content) = queue.open(&next);
        assert_eq!(body(content), expected.as_bytes());
        id = next;
    }
}

#[tokio::test]
async fn a_key_and_another_in_one_block_the_first_wins() {
    let host = Host::start("").await;
    let mut client = Client::connect(&host).await;
    let queue = client.create(MESSAGING, false).await;
    let keys = [crate::client::ed25519(), crate::client::ed25519()];
    let commands: Vec<_> = keys
        .iter()
        .map(|key| {
            let command = Command::Key { sender_key: key.public_key() }.encode(18);
            client.transmission(Some(&queue.key), CORRELATION, queue.recipient_id().as_ref(), &command)
        })
        .collect();
    client.send(&commands).await;
    assert_eq!(client.receive().await.message, BrokerMessage::Ok);
    assert_eq!(client.receive().await.message, BrokerMessage::Err(ErrorType::Auth));
    client.ok(Some(&keys[0]), queue.ids.sender_id, &message(b"hello")).await;
}

#[tokio::test]
async fn get_reads_without_a_subscription() {
    let host = Host::start("").await;
    let (mut recipient, mut sender) = (Client::connect(&host).await, Client::connect(&host).await);
    let queue = recipient.create(MESSAGING, false).await;
    let (key, id) = (Some(&queue.key), queue.recipient_id());
    recipient.ok(key, id, &Command::Get).await;
    sender.ok(None, queue.ids.sender_id, &message(b"one")).await;
    recipient.nothing_else().await;
    for _ in 0..2 {
        let got = recipient.ask(key, id, &Command::Get).await;
        assert_eq!(body(queue.open(&got).1), b"one");
    }
    let got = recipient.ask(key, id, &Command::Get).await;
    let (one, _) = queue.open(&got);
    recipient.ok(key, id, &ack(&one)).await;
    assert_eq!(recipient.acknowledge(&queue, &one).await, BrokerMessage::Err(ErrorType::NoMessage));
    recipient.ok(key, id, &Command::Get).await;
    let prohibited = ErrorType::Command(CommandError::Prohibited);
    assert_eq!(recipient.error(key, id, &Command::Sub).await, prohibited);
}

#[tokio::test]
async fn get_and_a_subscription_of_another_connection_see_the_same_messages() {
    let host = Host::start("").await;
    let (mut subscriber, mut getter) = (Client::connect(&host).await, Client::connect(&host).await);
    let mut sender = Client::connect(&host).await;
    let queue = subscriber.create(MESSAGING, true).await;
    let (key, id) = (Some(&queue.key), queue.recipient_id());
    for text in ["1", "2", "3", "4"] {
        sender.ok(None, queue.ids.sender_id, &message(text.as_bytes())).await;
    }
    let (one, _) = subscriber.message(&queue).await;
    let got = getter.ask(key, id, &Command::Get).await;
    assert_eq!(queue.open(&got).0, one);
    let prohibited = ErrorType::Command(CommandError::Prohibited);
    assert_eq!(subscriber.error(key, id, &Command::Get).await, prohibited);
    assert_eq!(getter.error(key, id, &Command::Sub).await, prohibited);

    let next = subscriber.acknowledge(&queue, &one).await;
    let (two, content) = queue.open(&next);
    assert_eq!(body(content), b"2");
    assert_eq!(getter.acknowledge(&queue, &two).await, BrokerMessage::Err(ErrorType::NoMessage));
    getter.ok(key, id, &ack(&one)).await;
    let got = getter.ask(key, id, &Command::Get).await;
    assert_eq!(body(queue.open(&got).1), b"2");
    getter.ok(key, id, &ack(&two)).await;
    let next = subscriber.acknowledge(&queue, &two).await;
    let (three, content) = queue.open(&next);
    assert_eq!(body(content), b"3");
    let got = getter.ask(key, id, &Command::Get).await;
    assert_eq!(queue.open(&got).0, three);
    getter.ok(key, id, &ack(&three)).await;
    let next = subscriber.acknowledge(&queue, &three).await;
    let (four, content) = queue.open(&next);
    assert_eq!(body(content), b"4");
    subscriber.ok(key, id, &ack(&four)).await;
    getter.ok(key, id, &Command::Get).await;
    subscriber.nothing_else().await;
}

#[tokio::test]
async fn a_full_queue_tells_its_recipient_and_opens_when_drained() {
    let host = Host::start("[limits]\nqueue_quota = 2").await;
    let (mut recipient, mut sender) = (Client::connect(&host).await, Client::connect(&host).await);
    let queue = recipient.create(MESSAGING, true).await;
    let quota = BrokerMessage::Err(ErrorType::Quota);
    for (text, expected) in
        [("1", &BrokerMessage::Ok), ("2", &BrokerMessage::Ok), ("3", &quota), ("4", &quota)]
    {
        assert_eq!(sender.send_message(&queue, text.as_bytes()).await, *expected);
    }
    let (one, content) = recipient.message(&queue).await;
    assert_eq!(body(content), b"1");
    let next = recipient.acknowledge(&queue, &one).await;
    let (two, content) = queue.open(&next);
    assert_eq!(body(content), b"2");
    assert_eq!(sender.send_message(&queue, b"5").await, quota);
    let next = recipient.acknowledge(&queue, &two).await;
    let (marker, content) = queue.open(&next);
    assert!(matches!(content, ReceivedMessage::Quota { .. }));
    assert_eq!(sender.send_message(&queue, b"6").await, quota);
    assert_eq!(recipient.acknowledge(&queue, &marker).await, BrokerMessage::Ok);
    assert_eq!(sender.send_message(&queue, b"7").await, BrokerMessage::Ok);
    assert_eq!(recipient.take(&queue).await, b"7");
}

#[tokio::test]
async fn an_empty_id_acknowledges_nothing_and_brings_the_head_again() {
    let host = Host::start("").await;
    let mut client = Client::connect(&host).await;
    let queue = client.create(MESSAGING, true).await;
    let empty = Command::Ack { message_id: b"".into() };
    let (key, id) = (Some(&queue.key), queue.recipient_id());
    assert_eq!(client.error(key, id, &empty).await, ErrorType::NoMessage);
    client.ok(None, queue.ids.sender_id, &message(b"one")).await;
    let (one, _) = client.message(&queue).await;
    let again = client.ask(key, id, &empty).await;
    assert_eq!(queue.open(&again).0, one);
    client.ok(key, id, &ack(&one)).await;
}

#[tokio::test]
async fn two_senders_and_a_recipient_at_once_lose_nothing() {
    let host = Host::start("").await;
    let mut recipient = Client::connect(&host).await;
    let queue = recipient.create(MESSAGING, true).await;
    let mut senders = [Client::connect(&host).await, Client::connect(&host).await];
    for round in 0..50_u8 {
        for (number, sender) in (0_u8..).zip(&mut senders) {
            let command = message(&[number, round]).encode(18);
            let transmission = sender.transmission(None, CORRELATION, queue.ids.sender_id.as_ref(), &command);
            sender.send(&[transmission]).await;
        }
        let mut bodies = Vec::new();
        let (mut id, content) = recipient.message(&queue).await;
        bodies.push(body(content));
        // The second comes with the acknowledgement, or by itself when it was stored later.
        let (second, content) = match recipient.acknowledge(&queue, &id).await {
            BrokerMessage::Ok => recipient.message(&queue).await,
            next => queue.open(&next),
        };
        id = second;
        bodies.push(body(content));
        assert_eq!(recipient.acknowledge(&queue, &id).await, BrokerMessage::Ok);
        bodies.sort();
        assert_eq!(bodies, [[0, round].to_vec(), [1, round].to_vec()]);
        for sender in &mut senders {
            assert_eq!(sender.receive().await.message, BrokerMessage::Ok);
        }
    }
}

#[tokio::test]
async fn many_queues_in_one_block_share_it() {
    let host = Host::start("").await;
    let mut client = Client::connect(&host).await;
    let mut queues = Vec::new();
    for _ in 0..20 {
        queues.push(client.create(MESSAGING, false).await);
    }
    let sends: Vec<_> = queues
        .iter()
        .map(|queue| client.transmission(None, b"", queue.ids.sender_id.as_ref(), &message(b"x").encode(18)))
        .collect();
    client.send(&sends).await;
    for (number, queue) in queues.iter().enumerate() {
        let received = client.receive().await;
        assert_eq!((received.message, received.block), (BrokerMessage::Ok, 20));
        assert_eq!(received.entity_id, queue.ids.sender_id.as_ref(), "{number}");
    }
}
