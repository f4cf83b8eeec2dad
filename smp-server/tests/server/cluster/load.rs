//! Many senders at both nodes into the same queues: order, quota, and nothing lost or told twice, also when a node is
//! killed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use protocol::smp::command::Command;
use protocol::smp::error::ErrorType;
use protocol::smp::ids::SenderId;
use protocol::smp::message::ReceivedMessage;
use protocol::smp::response::BrokerMessage;
use tokio::task::JoinSet;

use super::Address;
use crate::client::{Client, MESSAGING, Queue, message};

/// Takes everything that waits in a queue; a marker is `None`.
async fn drain(recipient: &mut Client, queue: &Queue) -> Vec<Option<String>> {
    let mut all = Vec::new();
    recipient.subscribe(queue).await;
    let (mut id, mut content) = recipient.message(queue).await;
    loop {
        all.push(match content {
            ReceivedMessage::Message { body, .. } => Some(String::from_utf8(body).unwrap()),
            ReceivedMessage::Quota { .. } => None,
        });
        match recipient.acknowledge(queue, &id).await {
            BrokerMessage::Ok => return all,
            next => (id, content) = queue.open(&next),
        }
    }
}

#[tokio::test]
async fn the_quota_is_exact_however_many_send_at_however_many_nodes() {
    const QUOTA: usize = 10;
    let Some(mut address) = Address::make(&["--queue-quota", "10"]) else { return };
    let (a, b) = address.two();
    let mut recipient = Client::connect(&b).await;
    for _ in 0..3 {
        let queue = recipient.create(MESSAGING, false).await;
        let mut senders = JoinSet::new();
        for (number, node) in [&a, &b, &a, &b, &a, &b].into_iter().enumerate() {
            let (mut sender, id) = (Client::connect(node).await, queue.ids.sender_id);
            senders.spawn(async move {
                let mut stored = Vec::new();
                for turn in 0..QUOTA {
                    let text = format!("{number} {turn}");
                    match sender.ask(None, id, &message(text.as_bytes())).await {
                        BrokerMessage::Ok => stored.push(Some(text)),
                        BrokerMessage::Err(ErrorType::Quota) => {}
                        other => panic!("{other:?}"),
                    }
                }
                stored
            });
        }
        let mut stored: BTreeSet<_> = senders.join_all().await.into_iter().flatten().collect();
        assert_eq!(stored.len(), QUOTA);
        let drained = drain(&mut recipient, &queue).await;
        assert_eq!(drained.len(), QUOTA + 1, "and one marker");
        assert_eq!(drained.last(), Some(&None));
        stored.insert(None);
        assert_eq!(drained.into_iter().collect::<BTreeSet<_>>(), stored);
        recipient.ok(None, queue.ids.sender_id, &message(b"there is room again")).await;
        assert_eq!(recipient.take(&queue).await, b"there is room again");
    }
}

/// Sends numbered messages into queues in turn, until the node is gone or there were enough; gives how many were
/// answered with `OK` in each queue.
async fn send_on(
    mut sender: Client,
    name: usize,
    queues: Vec<SenderId>,
    most: usize,
    sent: Arc<AtomicUsize>,
) -> usize {
    for number in 0..most {
        for queue in &queues {
            let command = message(format!("{name} {number}").as_bytes()).encode(18);
            let bytes = sender.transmission(None, b"s", queue.as_bytes(), &command);
            match sender.try_ask(bytes).await {
                Some(received) => assert_eq!(received.message, BrokerMessage::Ok),
                None => return number,
            }
        }
        sent.fetch_add(1, Ordering::Relaxed);
    }
    most
}

#[tokio::test]
async fn what_was_answered_is_delivered_once_and_in_order_when_a_node_is_killed() {
    const SENDERS: usize = 3;
    const ENOUGH: usize = 20;
    let Some(mut address) = Address::make(&["--queue-quota", "100000"]) else { return };
    let (a, b) = address.two();
    let mut recipient = Client::connect(&a).await;
    let queues = [recipient.create(MESSAGING, false).await, recipient.create(MESSAGING, false).await];
    let ids: Vec<SenderId> = queues.iter().map(|queue| queue.ids.sender_id).collect();
    let sent = Arc::new(AtomicUsize::new(0));
    let mut senders = JoinSet::new();
    for number in 0..2 * SENDERS {
        // Those at the first node go on until it is gone.
        let (node, most) = if number < SENDERS { (&a, usize::MAX) } else { (&b, ENOUGH) };
        let (sender, ids, sent) = (Client::connect(node).await, ids.clone(), sent.clone());
        senders.spawn(async move { (number, send_on(sender, number, ids, most, sent).await) });
    }
    // It has its subscriber at the node that is killed.
    recipient.subscribe(&queues[0]).await;
    while sent.load(Ordering::Relaxed) < SENDERS * ENOUGH {
        tokio::task::yield_now().await;
    }
    a.kill();
    let answered: BTreeMap<usize, usize> = senders.join_all().await.into_iter().collect();
    assert!((SENDERS..2 * SENDERS).all(|number| answered[&number] == ENOUGH), "the other node goes on");
    let mut recipient = Client::connect(&b).await;
    for queue in &queues {
        let mut of_sender: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for text in drain(&mut recipient, queue).await.into_iter().flatten() {
            let (name, number) = text.split_once(' ').unwrap();
            of_sender.entry(name.parse().unwrap()).or_default().push(number.parse().unwrap());
        }
        for (number, answered) in &answered {
            let delivered = of_sender.remove(number).unwrap_or_default();
            assert!(delivered.iter().copied().eq(0..delivered.len()), "{delivered:?}");
            let unanswered = delivered.len() - answered;
            assert!(unanswered <= 1, "{answered} answered, {delivered:?}");
        }
    }
    recipient.ok(Some(&queues[0].key), queues[0].recipient_id(), &Command::Del).await;
}
