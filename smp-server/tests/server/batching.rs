//! smp.md §20.7 and §10.1: what shares a block.

use protocol::smp::command::Command;
use protocol::smp::response::BrokerMessage;

use crate::client::{Client, MESSAGING, Queue, message};
use crate::host::Host;

async fn queues(client: &mut Client, count: usize, with_message: bool) -> Vec<Queue> {
    let mut queues = Vec::new();
    for _ in 0..count {
        let queue = client.create(MESSAGING, false).await;
        if with_message {
            client.ok(None, queue.ids.sender_id, &message(&[b'x'; 16_048])).await;
        }
        queues.push(queue);
    }
    queues
}

fn subscribe_all(client: &Client, queues: &[Queue]) -> Vec<Vec<u8>> {
    let command = Command::Sub.encode(18);
    let transmission = |(number, queue): (usize, &Queue)| {
        let correlation_id = [u8::try_from(number % 256).unwrap(), 1];
        client.transmission(Some(&queue.key), &correlation_id, queue.recipient_id().as_ref(), &command)
    };
    queues.iter().enumerate().map(transmission).collect()
}

#[tokio::test]
async fn the_first_message_shares_the_block_of_up_to_four_responses() {
    let host = Host::start("").await;
    for (count, shares) in [(1, true), (4, true), (5, false)] {
        let mut creator = Client::connect(&host).await;
        let queues = queues(&mut creator, count, true).await;
        let mut client = Client::connect_as(&host, 18, true).await;
        let subscriptions = subscribe_all(&client, &queues);
        client.send(&subscriptions).await;
        for queue in &queues {
            let received = client.receive().await;
            assert_eq!((received.message, received.block), (BrokerMessage::Sok(None), 0));
            assert_eq!(received.entity_id, queue.recipient_id().as_ref());
        }
        for (number, queue) in queues.iter().enumerate() {
            let received = client.receive().await;
            assert_eq!(received.entity_id, queue.recipient_id().as_ref());
            assert_eq!(received.correlation_id, b"");
            assert_eq!(received.block, if shares { number } else { number + 1 }, "{count} subscriptions");
        }
        client.nothing_else().await;
    }
}

#[tokio::test]
async fn refused_commands_do_not_count_among_the_responses() {
    let host = Host::start("").await;
    let mut client = Client::connect(&host).await;
    let queues = queues(&mut client, 4, true).await;
    let mut client = Client::connect(&host).await;
    let mut transmissions = subscribe_all(&client, &queues);
    transmissions.push(client.transmission(None, b"bad", b"", b"HELLO"));
    client.send(&transmissions).await;
    let refused = client.receive().await;
    assert_eq!((refused.correlation_id.as_slice(), refused.block), (b"bad".as_slice(), 0));
    for _ in 0..4 {
        assert_eq!(client.receive().await.block, 1);
    }
    assert!(matches!(client.receive().await.message, BrokerMessage::Msg { .. }));
}

#[tokio::test]
async fn a_queue_named_twice_is_delivered_twice() {
    let host = Host::start("").await;
    let mut client = Client::connect(&host).await;
    let queue = &queues(&mut client, 1, true).await[0];
    let mut client = Client::connect(&host).await;
    let sub = |id: &[u8], client: &Client| {
        client.transmission(Some(&queue.key), id, queue.recipient_id().as_ref(), b"SUB")
    };
    let both = [sub(b"a", &client), sub(b"b", &client)];
    client.send(&both).await;
    for correlation_id in [b"a", b"b"] {
        assert_eq!(client.receive().await.correlation_id, correlation_id);
    }
    let (first, _) = client.message(queue).await;
    assert_eq!(client.message(queue).await.0, first);
    client.nothing_else().await;
}

#[tokio::test]
async fn a_block_holds_135_subscriptions_and_255_ends() {
    let host = Host::start("[times]\nevent_interval = \"1s\"").await;
    let mut first = Client::connect(&host).await;
    let queues = queues(&mut first, 256, false).await;
    for client in [&mut first, &mut Client::connect_as(&host, 18, true).await] {
        for part in queues.chunks(135) {
            let subscriptions: Vec<_> = subscribe_all(client, part);
            // 24-byte ids, as honest clients use: 121 bytes each in a block.
            let long = |number: usize, queue: &Queue| {
                let correlation_id = [u8::try_from(number).unwrap(); 24];
                client.transmission(Some(&queue.key), &correlation_id, queue.recipient_id().as_ref(), b"SUB")
            };
            let long: Vec<_> = part.iter().enumerate().map(|(number, queue)| long(number, queue)).collect();
            assert_eq!(long.len(), subscriptions.len());
            client.send(&long).await;
            for _ in part {
                assert_eq!(client.receive().await.message, BrokerMessage::Sok(None));
            }
        }
    }
    let mut blocks = Vec::new();
    for _ in 0..256 {
        let event = first.receive().await;
        assert_eq!(event.message, BrokerMessage::End);
        blocks.push(event.block);
    }
    let in_block = |block: usize| blocks.iter().filter(|one| **one == block).count();
    assert!(blocks.windows(2).all(|pair| pair[0] <= pair[1]));
    assert!(blocks.last().unwrap() - blocks[0] <= 2, "batched: {blocks:?}");
    assert!(in_block(blocks[0]) <= 255);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_delivered_everything_later() {
    let host = Host::start("[limits]\nconnection_blocks = 2").await;
    let mut sender = Client::connect(&host).await;
    let queues = queues(&mut sender, 60, true).await;
    let mut client = Client::connect(&host).await;
    let subscriptions = subscribe_all(&client, &queues);
    client.send(&subscriptions).await;
    // The server goes on for others while this client reads nothing.
    for _ in 0..100 {
        sender.nothing_else().await;
    }
    let (mut responses, mut messages) = (0, 0);
    while messages < queues.len() {
        match client.receive().await.message {
            BrokerMessage::Sok(None) => responses += 1,
            BrokerMessage::Msg { .. } => messages += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(responses, queues.len());
}
