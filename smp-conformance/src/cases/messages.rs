//! Delivery, acknowledgements and subscriptions (smp.md §10, §20.3).

use crate::case::{Case, case};
use crate::failure::{At as _, Outcome, equal};
use crate::peer::By::Nobody;
use crate::peer::commands::{Draft, ack, send, send_notifying, with_key};
use crate::peer::keys::{Key, random};
use crate::peer::queue::Content;
use crate::peer::same;
use crate::trial::Trial;

pub(super) const CASES: &[Case] = &[
    case!("messages/duplex", "§20.3.1", duplex),
    case!("messages/largest-body", "§19, §20.2.4", largest_body),
    case!("messages/flags-and-ids", "§11.1", flags_and_ids),
    case!("messages/order", "§10.2", order),
    case!("messages/one-unacknowledged", "§10.2", one_unacknowledged),
    case!("messages/acknowledgement-must-match", "§10.3", wrong_acknowledgements),
    case!("messages/empty-acknowledgement", "§10.3", empty_acknowledgement),
    case!("messages/subscribe-again", "§10.1", subscribe_again),
    case!("messages/reconnect-delivers-again", "§10.1", reconnect),
    case!("messages/subscription-moves", "§10.1, §20.3.2", moves),
    case!("messages/deleted-elsewhere", "§9.3, §20.3.2", deleted_elsewhere),
    case!("messages/get", "§10.3, §20.3.3", get),
    case!("messages/get-and-subscribe-exclude-each-other", "§10.1, §20.3.4", get_or_subscribe),
    case!("messages/get-beside-a-subscription", "§10.3, §20.3.4", get_beside),
    case!("messages/who-got-only-gets-no-events", "§10.1", get_no_events),
    case!("messages/two-senders", "§20.3.6", two_senders),
    case!("messages/created-without-subscription", "§6.1, §10.2", created_only),
];

async fn duplex(trial: Trial) -> Outcome {
    let (mut alice, mut bob) = (trial.connect().await?, trial.connect().await?);
    let (alice_key, bob_key) = (Key::new(), Key::new());
    let to_alice = alice.create().await?;
    bob.sender(Nobody, &to_alice, &send(&bob_key.public()), "OK").await?;
    let first = alice.message_of(&to_alice, &bob_key.public()).await?;
    alice.acknowledge(&to_alice, &first).await?;
    alice.recipient(&to_alice, &with_key("KEY", &bob_key), "OK").await?;
    let to_bob = bob.create().await?;
    bob.sender(&bob_key, &to_alice, &send(&to_bob.sender_id), "OK").await?;
    let second = alice.message_of(&to_alice, &to_bob.sender_id).await?;
    alice.acknowledge(&to_alice, &second).await?;
    alice.sender(&alice_key, &to_bob, &with_key("SKEY", &alice_key), "OK").await?;
    for round in 0..3_u8 {
        alice.sender(&alice_key, &to_bob, &send(&[round]), "OK").await?;
        let message = bob.message_of(&to_bob, &[round]).await?;
        bob.acknowledge(&to_bob, &message).await?;
        bob.sender(&bob_key, &to_alice, &send(&[round]), "OK").await?;
        let message = alice.message_of(&to_alice, &[round]).await?;
        alice.acknowledge(&to_alice, &message).await?;
    }
    alice.quiet().await?;
    bob.quiet().await
}

async fn largest_body(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let queue = peer.create().await?;
    let largest: Vec<u8> = (0..16_048_u32).map(|at| at.to_le_bytes()[0]).collect();
    peer.sender(Nobody, &queue, &send(&largest), "OK").await?;
    let message = peer.message_of(&queue, &largest).await?;
    peer.acknowledge(&queue, &message).await?;
    peer.sender(Nobody, &queue, &send(&[largest.as_slice(), b"x"].concat()), "ERR LARGE_MSG").await?;
    peer.expect(Nobody, &random::<24>(), &send(&[b'x'; 16_049]), "ERR AUTH")
        .await
        .at("authorisation comes first")?;
    peer.quiet().await
}

async fn flags_and_ids(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let queue = peer.create().await?;
    let mut seen = std::collections::BTreeSet::new();
    for (command, notify) in [(send(b"quiet"), false), (send_notifying(b"loud"), true)] {
        peer.sender(Nobody, &queue, &command, "OK").await?;
        let message = peer.message(&queue).await?;
        let body = command.get(7..).unwrap_or_default().to_vec();
        equal(&message.content, &Content::Sent { notify, body })?;
        equal((message.id.len(), seen.insert(message.id.clone())), (24, true)).at("a new id of 24 bytes")?;
        peer.acknowledge(&queue, &message).await?;
    }
    Ok(())
}

async fn order(trial: Trial) -> Outcome {
    let (mut recipient, mut sender) = (trial.connect().await?, trial.connect().await?);
    let queue = recipient.create_of(&Draft::messaging().unsubscribed()).await?;
    let bodies: Vec<[u8; 1]> = (0..10_u8).map(|number| [number]).collect();
    for body in &bodies {
        sender.sender(Nobody, &queue, &send(body), "OK").await?;
    }
    recipient.subscribe(&queue).await?;
    let mut message = recipient.message_of(&queue, &[0]).await?;
    for body in bodies.iter().skip(1) {
        message = recipient.acknowledge_to(&queue, &message, body).await?;
    }
    recipient.acknowledge(&queue, &message).await?;
    recipient.quiet().await
}

async fn one_unacknowledged(trial: Trial) -> Outcome {
    let (mut recipient, mut sender) = (trial.connect().await?, trial.connect().await?);
    let (queue, other) = (recipient.create().await?, recipient.create().await?);
    sender.sender(Nobody, &queue, &send(b"one"), "OK").await?;
    let first = recipient.message_of(&queue, b"one").await?;
    sender.sender(Nobody, &queue, &send(b"two"), "OK").await?;
    recipient.quiet().await?;
    sender.sender(Nobody, &other, &send(b"other"), "OK").await?;
    let of_other = recipient.message_of(&other, b"other").await.at("another queue does not wait")?;
    let second = recipient.acknowledge_to(&queue, &first, b"two").await?;
    recipient.acknowledge(&queue, &second).await?;
    recipient.acknowledge(&other, &of_other).await?;
    sender.sender(Nobody, &queue, &send(b"three"), "OK").await?;
    let third = recipient.message_of(&queue, b"three").await?;
    recipient.acknowledge(&queue, &third).await
}

async fn wrong_acknowledgements(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let queue = peer.create().await?;
    let no_message = "ERR NO_MSG";
    peer.recipient(&queue, &ack(&random::<24>()), no_message).await.at("nothing was delivered")?;
    peer.sender(Nobody, &queue, &send(b"one"), "OK").await?;
    peer.sender(Nobody, &queue, &send(b"two"), "OK").await?;
    let first = peer.message_of(&queue, b"one").await?;
    peer.recipient(&queue, &ack(&random::<24>()), no_message).await.at("another id")?;
    peer.recipient(&queue, &ack(&[first.id.as_slice(), b"x"].concat()), no_message)
        .await
        .at("a longer id")?;
    peer.recipient(&queue, &ack(first.id.get(..23).unwrap_or_default()), no_message)
        .await
        .at("a shorter id")?;
    let mut other = trial.connect().await?;
    other
        .recipient(&queue, &ack(&first.id), no_message)
        .await
        .at("a connection to which it was not delivered")?;
    let second = peer.acknowledge_to(&queue, &first, b"two").await?;
    peer.recipient(&queue, &ack(&first.id), no_message).await.at("again")?;
    peer.acknowledge(&queue, &second).await?;
    peer.recipient(&queue, &ack(&second.id), no_message).await.at("again")
}

/// [Q] An empty id matches any delivered message and deletes nothing, at the reference.
async fn empty_acknowledgement(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let queue = peer.create().await?;
    peer.sender(Nobody, &queue, &send(b"one"), "OK").await?;
    let first = peer.message_of(&queue, b"one").await?;
    let answer = peer.ask(&queue.key, &queue.recipient_id, &ack(b"")).await.at("ACK")?;
    if answer == b"ERR NO_MSG" {
        trial.quirk("an empty message id acknowledges nothing");
    } else {
        let again = queue.open(&answer).at("ACK")?;
        equal(&again.id, &first.id).at("nothing is deleted")?;
        trial.quirk("an empty message id matches any delivered message, which is delivered again");
    }
    peer.acknowledge(&queue, &first).await.at("it is still there")
}

async fn subscribe_again(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let queue = peer.create().await?;
    peer.subscribe(&queue).await?;
    peer.quiet().await.at("an empty queue")?;
    peer.sender(Nobody, &queue, &send(b"one"), "OK").await?;
    let first = peer.message_of(&queue, b"one").await?;
    peer.subscribe(&queue).await?;
    let again = peer.message_of(&queue, b"one").await?;
    equal(&again.id, &first.id).at("the message is the same")?;
    peer.acknowledge(&queue, &again).await?;
    peer.subscribe(&queue).await?;
    peer.quiet().await
}

async fn reconnect(trial: Trial) -> Outcome {
    let mut sender = trial.connect().await?;
    let mut first = trial.connect().await?;
    let queue = first.create().await?;
    sender.sender(Nobody, &queue, &send(b"one"), "OK").await?;
    let message = first.message_of(&queue, b"one").await?;
    drop(first);
    sender.sender(Nobody, &queue, &send(b"two"), "OK").await?;
    let mut second = trial.connect().await?;
    second.recipient(&queue, &ack(&message.id), "ERR NO_MSG").await.at("before SUB")?;
    second.subscribe(&queue).await?;
    let again = second.message_of(&queue, b"one").await?;
    equal(&again, &message).at("the message is the same")?;
    let next = second.acknowledge_to(&queue, &again, b"two").await?;
    second.acknowledge(&queue, &next).await
}

async fn moves(trial: Trial) -> Outcome {
    let (mut first, mut second) = (trial.connect().await?, trial.connect().await?);
    let mut sender = trial.connect().await?;
    let queue = first.create().await?;
    sender.sender(Nobody, &queue, &send(b"one"), "OK").await?;
    let message = first.message_of(&queue, b"one").await?;
    second.subscribe(&queue).await?;
    let again = second.message_of(&queue, b"one").await?;
    equal(&again.id, &message.id).at("the message is the same")?;
    first.recipient(&queue, &ack(&message.id), "ERR NO_MSG").await.at("at the first connection")?;
    same(&first.event(&queue.recipient_id).await.at("END at the first connection")?, b"END")?;
    second.acknowledge(&queue, &again).await?;
    sender.sender(Nobody, &queue, &send(b"two"), "OK").await?;
    let next = second.message_of(&queue, b"two").await?;
    first.quiet().await.at("the first connection gets no more messages")?;
    second.acknowledge(&queue, &next).await?;
    first.subscribe(&queue).await.at("back")?;
    same(&second.event(&queue.recipient_id).await.at("END at the second connection")?, b"END")?;
    sender.sender(Nobody, &queue, &send(b"three"), "OK").await?;
    let last = first.message_of(&queue, b"three").await?;
    first.acknowledge(&queue, &last).await?;
    second.quiet().await
}

async fn deleted_elsewhere(trial: Trial) -> Outcome {
    let (mut first, mut second) = (trial.connect().await?, trial.connect().await?);
    let queue = first.create().await?;
    second.subscribe(&queue).await?;
    same(&first.event(&queue.recipient_id).await?, b"END")?;
    first.recipient(&queue, b"DEL", "OK").await?;
    same(&second.event(&queue.recipient_id).await.at("DELD at the subscriber")?, b"DELD")?;
    second.recipient(&queue, b"SUB", "ERR AUTH").await?;
    first.quiet().await?;
    second.quiet().await
}

async fn get(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let queue = peer.create_of(&Draft::messaging().unsubscribed()).await?;
    let id = queue.recipient_id.as_slice();
    peer.recipient(&queue, b"GET", "OK").await.at("empty")?;
    peer.sender(Nobody, &queue, &send(b"one"), "OK").await?;
    peer.sender(Nobody, &queue, &send(b"two"), "OK").await?;
    peer.quiet().await.at("nothing is pushed")?;
    for body in [&b"one"[..], b"two"] {
        let first = queue.open(&peer.ask(&queue.key, id, b"GET").await?)?;
        same(first.body()?, body)?;
        let again = queue.open(&peer.ask(&queue.key, id, b"GET").await?)?;
        equal(&again, &first).at("GET again gives the same")?;
        peer.acknowledge(&queue, &first).await.at("OK, without the next message")?;
        peer.recipient(&queue, &ack(&first.id), "ERR NO_MSG").await.at("again")?;
    }
    peer.recipient(&queue, b"GET", "OK").await.at("empty")
}

async fn get_or_subscribe(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let created = peer.create().await?;
    peer.recipient(&created, b"GET", "ERR CMD PROHIBITED").await.at("after NEW with a subscription")?;
    let subscribed = peer.create_of(&Draft::messaging().unsubscribed()).await?;
    peer.subscribe(&subscribed).await?;
    peer.recipient(&subscribed, b"GET", "ERR CMD PROHIBITED").await.at("after SUB")?;
    let got = peer.create_of(&Draft::messaging().unsubscribed()).await?;
    peer.recipient(&got, b"GET", "OK").await?;
    peer.recipient(&got, b"SUB", "ERR CMD PROHIBITED").await.at("after GET")?;
    let mut other = trial.connect().await?;
    other.subscribe(&got).await.at("another connection")?;
    other.recipient(&created, b"GET", "OK").await.at("another connection")
}

async fn get_beside(trial: Trial) -> Outcome {
    let (mut subscriber, mut getter) = (trial.connect().await?, trial.connect().await?);
    let mut sender = trial.connect().await?;
    let queue = subscriber.create().await?;
    let id = queue.recipient_id.as_slice();
    sender.sender(Nobody, &queue, &send(b"one"), "OK").await?;
    let first = subscriber.message_of(&queue, b"one").await?;
    let got = queue.open(&getter.ask(&queue.key, id, b"GET").await?)?;
    equal(&got, &first).at("both see the first")?;
    subscriber.recipient(&queue, b"GET", "ERR CMD PROHIBITED").await?;
    getter.recipient(&queue, b"SUB", "ERR CMD PROHIBITED").await?;
    sender.sender(Nobody, &queue, &send(b"two"), "OK").await?;
    let second = subscriber.acknowledge_to(&queue, &first, b"two").await?;
    getter.recipient(&queue, &ack(&random::<24>()), "ERR NO_MSG").await.at("a wrong id")?;
    getter.acknowledge(&queue, &got).await.at("a message that the other has acknowledged")?;
    let got = queue.open(&getter.ask(&queue.key, id, b"GET").await?)?;
    equal(&got, &second).at("both see the second")?;
    sender.sender(Nobody, &queue, &send(b"three"), "OK").await?;
    getter.acknowledge(&queue, &got).await.at("OK, though there is a next message")?;
    let third = subscriber.acknowledge_to(&queue, &second, b"three").await?;
    subscriber.acknowledge(&queue, &third).await?;
    getter.recipient(&queue, b"GET", "OK").await.at("empty")?;
    subscriber.quiet().await
}

async fn get_no_events(trial: Trial) -> Outcome {
    let (mut getter, mut subscriber) = (trial.connect().await?, trial.connect().await?);
    let mut third = trial.connect().await?;
    let queue = getter.create_of(&Draft::messaging().unsubscribed()).await?;
    getter.recipient(&queue, b"GET", "OK").await?;
    subscriber.subscribe(&queue).await?;
    third.subscribe(&queue).await?;
    same(&subscriber.event(&queue.recipient_id).await?, b"END")?;
    subscriber.recipient(&queue, b"GET", "OK").await.at("who lost the subscription may GET")?;
    subscriber.recipient(&queue, b"DEL", "OK").await?;
    same(&third.event(&queue.recipient_id).await?, b"DELD")?;
    getter.quiet().await.at("neither END nor DELD")
}

async fn two_senders(trial: Trial) -> Outcome {
    let mut recipient = trial.connect().await?;
    let (mut one, mut two) = (trial.connect().await?, trial.connect().await?);
    let queue = recipient.create().await?;
    for round in 0..50_u8 {
        let (first, second) = (send(&[1, round]), send(&[2, round]));
        let (sent, also) = tokio::join!(
            one.sender(Nobody, &queue, &first, "OK"),
            two.sender(Nobody, &queue, &second, "OK"),
        );
        sent?;
        also?;
        let first = recipient.message(&queue).await?;
        let expected: &[u8] = if first.body()? == [1, round] { &[2, round] } else { &[1, round] };
        let second = recipient.acknowledge_to(&queue, &first, expected).await?;
        recipient.acknowledge(&queue, &second).await?;
    }
    recipient.quiet().await
}

async fn created_only(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let queue = peer.create_of(&Draft::messaging().unsubscribed()).await?;
    peer.sender(Nobody, &queue, &send(b"one"), "OK").await?;
    peer.quiet().await.at("not subscribed")?;
    peer.subscribe(&queue).await?;
    let message = peer.message_of(&queue, b"one").await?;
    peer.acknowledge(&queue, &message).await
}
