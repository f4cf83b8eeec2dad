//! Several transmissions in a block (smp.md §5.1, §5.7, §10.1, §20.7).

use crate::case::{Case, case};
use crate::failure::{At as _, Failure, Outcome, equal};
use crate::peer::By::Nobody;
use crate::peer::commands::{Draft, send, with_key};
use crate::peer::keys::{Key, random};
use crate::peer::{Hello, same};
use crate::trial::Trial;

pub(super) const CASES: &[Case] = &[
    case!("batching/most-transmissions-of-a-block", "§5.1, §20.7", most),
    case!("batching/subscriptions-that-fill-a-block", "§20.7", full_of_subscriptions),
    case!("batching/answers-in-order", "§5.7", answers_in_order),
    case!("batching/order-of-execution", "§5.7", order_of_execution),
    case!("batching/first-message-with-few-answers", "§10.1, §20.7", first_message),
    case!("batching/first-messages-after-many-answers", "§10.1, §20.7", first_messages),
    case!("batching/one-bad-command-leaves-the-others", "§5.2, §5.7", one_bad),
    case!("batching/pipelined-blocks", "§5.7", pipelined),
    case!("batching/many-ends", "§10.1, §20.7", many_ends),
];

async fn most(trial: Trial) -> Outcome {
    for hello in [Hello::version(trial.version), Hello::plain(trial.version)] {
        let mut peer = trial.connect_as(&hello).await?;
        let ids: Vec<[u8; 2]> = (0..255_u8).map(|number| [7, number]).collect();
        let pings: Vec<Vec<u8>> = ids.iter().map(|id| peer.transmission(Nobody, id, b"", b"PING")).collect();
        peer.send(&pings).await?;
        for id in &ids {
            let answer = peer.receive().await?;
            equal(answer.correlation_id.as_slice(), &id[..]).at("order of the answers")?;
            equal(answer.entity_id.len(), 0).at("entity")?;
            same(&answer.message, b"PONG")?;
        }
        peer.quiet().await?;
    }
    Ok(())
}

async fn full_of_subscriptions(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let queue = peer.create_of(&Draft::messaging().unsubscribed()).await?;
    // 119 bytes each at version 16 and later (smp.md §21.2): 135 fit, with their lengths.
    let ids: Vec<[u8; 24]> = (0..135).map(|_| random()).collect();
    let subscribe = |id: &[u8; 24]| peer.transmission((&queue.key).into(), id, &queue.recipient_id, b"SUB");
    let block: Vec<Vec<u8>> = ids.iter().map(subscribe).collect();
    peer.send(&block).await?;
    let subscribed = peer.subscribed();
    for id in &ids {
        same(&peer.answer(id).await?.message, subscribed.as_bytes())?;
    }
    peer.quiet().await
}

async fn answers_in_order(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let mut queues = Vec::new();
    for _ in 0..8 {
        queues.push(peer.create_of(&Draft::messaging().unsubscribed()).await?);
    }
    let ids: Vec<[u8; 24]> = (0..8).map(|_| random()).collect();
    let each = ids.iter().zip(&queues);
    let block: Vec<Vec<u8>> = each
        .clone()
        .map(|(id, queue)| peer.transmission((&queue.key).into(), id, &queue.recipient_id, b"SUB"))
        .collect();
    peer.send(&block).await?;
    for (id, queue) in each {
        let answer = peer.receive().await?;
        equal(answer.correlation_id.as_slice(), &id[..]).at("order of the answers")?;
        equal(&answer.entity_id, &queue.recipient_id).at("entity")?;
        same(&answer.message, peer.subscribed().as_bytes())?;
    }
    peer.quiet().await
}

/// [Q] The reference executes the commands of a block from the last to the first.
async fn order_of_execution(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let queue = peer.create_of(&Draft::messaging().unsubscribed()).await?;
    let ids: Vec<[u8; 24]> = (0..5).map(|_| random()).collect();
    let commands = (0..5_u8).map(|number| send(&[number]));
    let block: Vec<Vec<u8>> = ids
        .iter()
        .zip(commands)
        .map(|(id, command)| peer.transmission(Nobody, id, &queue.sender_id, &command))
        .collect();
    peer.send(&block).await?;
    for id in &ids {
        let answer = peer.receive().await?;
        equal(answer.correlation_id.as_slice(), &id[..]).at("order of the answers")?;
        equal(&answer.entity_id, &queue.sender_id).at("entity")?;
        same(&answer.message, b"OK")?;
    }
    peer.subscribe(&queue).await?;
    let mut message = peer.message(&queue).await?;
    let mut stored = message.body()?.to_vec();
    for _ in 1..5 {
        let answer =
            peer.ask(&queue.key, &queue.recipient_id, &crate::peer::commands::ack(&message.id)).await?;
        message = queue.open(&answer)?;
        stored.extend(message.body()?);
    }
    peer.acknowledge(&queue, &message).await?;
    match stored.as_slice() {
        [0, 1, 2, 3, 4] => {}
        [4, 3, 2, 1, 0] => trial.quirk("the commands of a block are executed from the last to the first"),
        other => {
            return Err(Failure::differs("messages in order, or from last to first", format!("{other:?}")));
        }
    }
    // Of two keys in a block one wins, by the same order.
    let queue = peer.create_of(&Draft::messaging().unsubscribed()).await?;
    let keys = [Key::new(), Key::new()];
    let ids = [random::<24>(), random::<24>()];
    let block: Vec<Vec<u8>> = (ids.iter().zip(&keys))
        .map(|(id, key)| {
            peer.transmission((&queue.key).into(), id, &queue.recipient_id, &with_key("KEY", key))
        })
        .collect();
    peer.send(&block).await?;
    let [first_id, second_id] = &ids;
    let [first_key, second_key] = &keys;
    let (first, second) = (peer.answer(first_id).await?.message, peer.answer(second_id).await?.message);
    let (winner, won, lost) =
        if first == b"OK" { (first_key, first, second) } else { (second_key, second, first) };
    same(&lost, b"ERR AUTH").at("the key that loses")?;
    same(&won, b"OK").at("the key that wins")?;
    peer.sender(winner, &queue, &send(b"x"), "OK").await
}

async fn first_message(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let mut queues = Vec::new();
    for _ in 0..4 {
        queues.push(peer.create_of(&Draft::messaging().unsubscribed()).await?);
    }
    let Some(queue) = queues.first() else { return Ok(()) };
    peer.sender(Nobody, queue, &send(b"first"), "OK").await?;
    let ids: Vec<[u8; 4]> = (0..4).map(|_| random()).collect();
    let block: Vec<Vec<u8>> = (ids.iter().zip(&queues))
        .map(|(id, queue)| peer.transmission((&queue.key).into(), id, &queue.recipient_id, b"SUB"))
        .collect();
    peer.send(&block).await?;
    let mut answered_in = 0;
    for id in &ids {
        let answer = peer.receive().await?;
        equal(answer.correlation_id.as_slice(), &id[..]).at("all answers come first")?;
        same(&answer.message, peer.subscribed().as_bytes())?;
        answered_in = answer.block;
    }
    let event = peer.receive().await?;
    equal((&event.correlation_id, &event.entity_id), (&Vec::new(), &queue.recipient_id)).at("event")?;
    same(queue.open(&event.message)?.body()?, b"first")?;
    if event.block != answered_in {
        trial.note("the first message comes in a block of its own");
    }
    peer.quiet().await
}

async fn first_messages(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let mut queues = Vec::new();
    for number in 0..6_u8 {
        let queue = peer.create_of(&Draft::messaging().unsubscribed()).await?;
        peer.sender(Nobody, &queue, &send(&[number]), "OK").await?;
        queues.push(queue);
    }
    let ids: Vec<[u8; 24]> = (0..6).map(|_| random()).collect();
    let block: Vec<Vec<u8>> = (ids.iter().zip(&queues))
        .map(|(id, queue)| peer.transmission((&queue.key).into(), id, &queue.recipient_id, b"SUB"))
        .collect();
    peer.send(&block).await?;
    for id in &ids {
        let answer = peer.receive().await?;
        equal(answer.correlation_id.as_slice(), &id[..]).at("all answers come first")?;
        same(&answer.message, peer.subscribed().as_bytes())?;
    }
    let mut blocks = std::collections::BTreeSet::new();
    for _ in &queues {
        let event = peer.receive().await?;
        equal(event.correlation_id.len(), 0).at("event")?;
        blocks.insert(event.block);
        let mut of = queues.iter().zip(0_u8..).filter(|(queue, _)| queue.recipient_id == event.entity_id);
        let (queue, number) =
            of.next().ok_or_else(|| Failure::differs("a message of a queue", "another event"))?;
        let message = queue.open(&event.message)?;
        same(message.body()?, &[number])?;
        peer.acknowledge(queue, &message).await?;
    }
    equal(blocks.len(), 6).at("blocks with one message each")?;
    peer.quiet().await
}

async fn one_bad(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let queue = peer.create_of(&Draft::messaging().unsubscribed()).await?;
    let id = queue.recipient_id.as_slice();
    let block = [
        peer.transmission((&queue.key).into(), b"one", id, b"SUB"),
        peer.transmission(Nobody, b"two", id, b"NONE"),
        peer.transmission((&Key::new()).into(), b"three", id, b"OFF"),
        b"\xffcannot be read".to_vec(),
        peer.transmission(Nobody, b"four", b"", b"PING"),
    ];
    peer.send(&block).await?;
    same(&peer.answer(b"one").await?.message, peer.subscribed().as_bytes())?;
    same(&peer.answer(b"two").await?.message, b"ERR CMD UNKNOWN")?;
    same(&peer.answer(b"three").await?.message, b"ERR AUTH")?;
    same(&peer.answer(b"four").await?.message, b"PONG")?;
    same(&peer.event(b"").await?, b"ERR BLOCK")?;
    peer.quiet().await
}

async fn pipelined(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let queue = peer.create_of(&Draft::messaging().unsubscribed()).await?;
    let ids: Vec<[u8; 24]> = (0..20).map(|_| random()).collect();
    for (id, number) in ids.iter().zip(0_u8..) {
        let transmission = peer.transmission(Nobody, id, &queue.sender_id, &send(&[number]));
        peer.send(&[transmission]).await?;
    }
    for id in &ids {
        same(&peer.answer(id).await?.message, b"OK")?;
    }
    peer.subscribe(&queue).await?;
    let mut message = peer.message_of(&queue, &[0]).await?;
    for number in 1..20 {
        message = peer.acknowledge_to(&queue, &message, &[number]).await?;
    }
    peer.acknowledge(&queue, &message).await
}

async fn many_ends(trial: Trial) -> Outcome {
    let (mut first, mut second) = (trial.connect().await?, trial.connect().await?);
    let mut queues = Vec::new();
    for _ in 0..20 {
        queues.push(first.create().await?);
    }
    for queue in &queues {
        second.subscribe(queue).await?;
    }
    for queue in &queues {
        same(&first.event(&queue.recipient_id).await?, b"END")?;
    }
    first.quiet().await?;
    second.quiet().await
}
