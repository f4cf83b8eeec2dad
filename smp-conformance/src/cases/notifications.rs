//! Notifications (smp.md §9.3, §12, §20.4).

use crate::case::{Case, case};
use crate::failure::{At as _, Failure, Outcome, equal};
use crate::peer::By::Nobody;
use crate::peer::commands::{Draft, nkey, send, send_notifying};
use crate::peer::keys::{Key, KeyKind, random};
use crate::peer::queue::{Notifier, Queue};
use crate::peer::wire::short;
use crate::peer::{Peer, same};
use crate::trial::Trial;

pub(super) const CASES: &[Case] = &[
    case!("notifications/notify", "§12, §20.4.1", notify),
    case!("notifications/credentials-in-new", "§6.1, §7.2", in_new).since(17),
    case!("notifications/nkey-makes-another-id", "§9.3, §20.4.1", nkey_again),
    case!("notifications/who-may", "§5.6, §9.3", who_may),
    case!("notifications/keys-of-every-kind", "§5.3", every_kind),
    case!("notifications/wait-for-a-subscriber", "§12", wait),
    case!("notifications/flag-decides", "§12", flag),
    case!("notifications/subscription-moves", "§12, §20.4.1", moves),
    case!("notifications/subscribe-again", "§12", subscribe_again),
    case!("notifications/ndel", "§9.3, §20.4.1", ndel),
    case!("notifications/replaced-notifier-is-told", "§9.3", replaced),
    case!("notifications/deleted-queue", "§9.3, §12", deleted_queue),
    case!("notifications/in-order", "§12", in_order),
    case!("notifications/suspended-queue", "§9.2", suspended),
    case!("notifications/service-signature-without-service", "§5.6, §20.4.1", service_signature).since(16),
];

/// The next notification of a notifier: which message it is about.
async fn notified(peer: &mut Peer, notifier: &Notifier) -> Outcome<(Vec<u8>, i64)> {
    notifier.open(&peer.event(&notifier.id).await.at("notification")?).at("notification")
}

/// One notified message goes through.
async fn passes(
    sender: &mut Peer,
    recipient: &mut Peer,
    queue: &Queue,
    at: &mut Peer,
    notifier: &Notifier,
) -> Outcome {
    sender.sender(Nobody, queue, &send_notifying(b"x"), "OK").await?;
    let message = recipient.message_of(queue, b"x").await?;
    equal(notified(at, notifier).await?, (message.id.clone(), message.seconds)).at("notification")?;
    recipient.acknowledge(queue, &message).await
}

/// A queue of this connection with a notifier, to which the other one is subscribed: what it says of it has passed
/// everything before it.
async fn fence(recipient: &mut Peer, notifier: &mut Peer) -> Outcome {
    let queue = recipient.create_of(&Draft::messaging().unsubscribed()).await?;
    let of_queue = recipient.add_notifier(&queue, Key::new()).await?;
    notifier.subscribe_notifier(&of_queue).await?;
    recipient.sender(Nobody, &queue, &send_notifying(b"fence"), "OK").await?;
    notified(notifier, &of_queue).await?;
    notifier.quiet().await
}

async fn notify(trial: Trial) -> Outcome {
    let (mut recipient, mut notifier) = (trial.connect().await?, trial.connect().await?);
    let mut sender = trial.connect().await?;
    let queue = recipient.create().await?;
    let of_queue = recipient.add_notifier(&queue, Key::new()).await?;
    notifier.subscribe_notifier(&of_queue).await?;
    for _ in 0..2 {
        passes(&mut sender, &mut recipient, &queue, &mut notifier, &of_queue).await?;
    }
    notifier.quiet().await?;
    recipient.quiet().await
}

async fn in_new(trial: Trial) -> Outcome {
    let (mut recipient, mut notifier) = (trial.connect().await?, trial.connect().await?);
    let mut sender = trial.connect().await?;
    for draft in [Draft::messaging(), Draft::contact(), Draft::invitation(b"fixed", b"user")] {
        let queue = recipient.create_of(&draft.with_notifier(Key::new())).await?;
        let of_queue = queue.notifier.clone().ok_or_else(|| Failure::differs("a notifier in IDS", "none"))?;
        equal(of_queue.id.len(), 24).at("length of the notifier id")?;
        notifier.subscribe_notifier(&of_queue).await?;
        passes(&mut sender, &mut recipient, &queue, &mut notifier, &of_queue).await?;
    }
    Ok(())
}

async fn nkey_again(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let queue = peer.create_of(&Draft::messaging().unsubscribed()).await?;
    let key = Key::new();
    let first = peer.add_notifier(&queue, key.clone()).await?;
    let second = peer.add_notifier(&queue, key).await?;
    if first.id == second.id || [&queue.recipient_id, &queue.sender_id].contains(&&first.id) {
        return Err(Failure::differs("another id", "the same"));
    }
    peer.expect(&first.key, &first.id, b"NSUB", "ERR AUTH").await.at("the first id is gone")?;
    peer.subscribe_notifier(&second).await
}

async fn who_may(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let queue = peer.create_of(&Draft::messaging().unsubscribed()).await?;
    let key = Key::new();
    let command = nkey(&key, &peer.own_key);
    peer.expect(&key, &queue.recipient_id, &command, "ERR AUTH").await.at("signed by another key")?;
    peer.expect(&queue.key, &queue.sender_id, &command, "ERR AUTH").await.at("sender id")?;
    let notifier = peer.add_notifier(&queue, key).await?;
    peer.expect(&queue.key, &notifier.id, b"NSUB", "ERR AUTH").await.at("signed by the recipient")?;
    peer.expect(&Key::new(), &notifier.id, b"NSUB", "ERR AUTH").await.at("signed by another key")?;
    peer.expect(&notifier.key, &queue.recipient_id, b"NSUB", "ERR AUTH").await.at("recipient id")?;
    peer.expect(&notifier.key, &queue.sender_id, b"NSUB", "ERR AUTH").await.at("sender id")?;
    for command in [&b"SUB"[..], b"NDEL", b"GET"] {
        peer.expect(&notifier.key, &notifier.id, command, "ERR AUTH").await.at("by the notifier")?;
        peer.expect(&notifier.key, &queue.recipient_id, command, "ERR AUTH").await.at("by the notifier")?;
    }
    peer.expect(&notifier.key, &queue.recipient_id, b"NDEL", "ERR AUTH").await?;
    peer.subscribe_notifier(&notifier).await
}

async fn every_kind(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    for kind in KeyKind::ALL {
        let queue = peer.create_of(&Draft::messaging().unsubscribed()).await?;
        let notifier = peer.add_notifier(&queue, Key::of(kind)).await.at(format!("{kind:?}"))?;
        peer.expect(&Key::of(kind), &notifier.id, b"NSUB", "ERR AUTH").await.at(format!("{kind:?}"))?;
        peer.subscribe_notifier(&notifier).await.at(format!("{kind:?}"))?;
    }
    Ok(())
}

async fn wait(trial: Trial) -> Outcome {
    let (mut recipient, mut notifier) = (trial.connect().await?, trial.connect().await?);
    let queue = recipient.create().await?;
    let of_queue = recipient.add_notifier(&queue, Key::new()).await?;
    recipient.sender(Nobody, &queue, &send_notifying(b"one"), "OK").await?;
    let message = recipient.message_of(&queue, b"one").await?;
    recipient.acknowledge(&queue, &message).await?;
    notifier.subscribe_notifier(&of_queue).await?;
    equal(notified(&mut notifier, &of_queue).await?.0, message.id).at("the notification waited")?;
    drop(notifier);
    recipient.sender(Nobody, &queue, &send_notifying(b"two"), "OK").await?;
    let message = recipient.message_of(&queue, b"two").await?;
    let mut notifier = trial.connect().await?;
    notifier.subscribe_notifier(&of_queue).await?;
    equal(notified(&mut notifier, &of_queue).await?.0, message.id).at("the notification waited")
}

async fn flag(trial: Trial) -> Outcome {
    let (mut recipient, mut notifier) = (trial.connect().await?, trial.connect().await?);
    let queue = recipient.create_of(&Draft::messaging().unsubscribed()).await?;
    let of_queue = recipient.add_notifier(&queue, Key::new()).await?;
    notifier.subscribe_notifier(&of_queue).await?;
    recipient.sender(Nobody, &queue, &send(b"quiet"), "OK").await?;
    recipient.sender(Nobody, &queue, &send_notifying(b"loud"), "OK").await?;
    let told = notified(&mut notifier, &of_queue).await?;
    recipient.subscribe(&queue).await?;
    let quiet = recipient.message_of(&queue, b"quiet").await?;
    let loud = recipient.acknowledge_to(&queue, &quiet, b"loud").await?;
    equal(told, (loud.id.clone(), loud.seconds))
        .at("only the flagged message, though it waits in the queue")?;
    fence(&mut recipient, &mut notifier).await
}

async fn moves(trial: Trial) -> Outcome {
    let (mut recipient, mut first) = (trial.connect().await?, trial.connect().await?);
    let (mut second, mut sender) = (trial.connect().await?, trial.connect().await?);
    let queue = recipient.create().await?;
    let of_queue = recipient.add_notifier(&queue, Key::new()).await?;
    first.subscribe_notifier(&of_queue).await?;
    second.subscribe_notifier(&of_queue).await?;
    same(&first.event(&of_queue.id).await.at("END at the first connection")?, b"END")?;
    passes(&mut sender, &mut recipient, &queue, &mut second, &of_queue).await?;
    fence(&mut recipient, &mut first).await.at("the first connection gets nothing more")
}

async fn subscribe_again(trial: Trial) -> Outcome {
    let (mut recipient, mut notifier) = (trial.connect().await?, trial.connect().await?);
    let mut sender = trial.connect().await?;
    let queue = recipient.create().await?;
    let of_queue = recipient.add_notifier(&queue, Key::new()).await?;
    for _ in 0..3 {
        notifier.subscribe_notifier(&of_queue).await?;
    }
    passes(&mut sender, &mut recipient, &queue, &mut notifier, &of_queue).await?;
    fence(&mut recipient, &mut notifier).await.at("no END, and nothing twice")
}

async fn ndel(trial: Trial) -> Outcome {
    let (mut recipient, mut notifier) = (trial.connect().await?, trial.connect().await?);
    let mut sender = trial.connect().await?;
    let queue = recipient.create().await?;
    recipient.recipient(&queue, b"NDEL", "OK").await.at("there is none")?;
    let of_queue = recipient.add_notifier(&queue, Key::new()).await?;
    notifier.subscribe_notifier(&of_queue).await?;
    recipient.recipient(&queue, b"NDEL", "OK").await?;
    same(&notifier.event(&of_queue.id).await?, b"DELD")?;
    notifier.expect(&of_queue.key, &of_queue.id, b"NSUB", "ERR AUTH").await?;
    sender.sender(Nobody, &queue, &send_notifying(b"x"), "OK").await?;
    let message = recipient.message_of(&queue, b"x").await?;
    recipient.acknowledge(&queue, &message).await?;
    fence(&mut recipient, &mut notifier).await.at("nothing is told any more")?;
    recipient.recipient(&queue, b"NDEL", "OK").await.at("again")?;
    let next = recipient.add_notifier(&queue, of_queue.key).await?;
    notifier.subscribe_notifier(&next).await?;
    passes(&mut sender, &mut recipient, &queue, &mut notifier, &next).await.at("a new notifier")
}

async fn replaced(trial: Trial) -> Outcome {
    let (mut recipient, mut notifier) = (trial.connect().await?, trial.connect().await?);
    let mut sender = trial.connect().await?;
    let queue = recipient.create().await?;
    let first = recipient.add_notifier(&queue, Key::new()).await?;
    notifier.subscribe_notifier(&first).await?;
    let second = recipient.add_notifier(&queue, Key::new()).await?;
    same(&notifier.event(&first.id).await?, b"DELD")?;
    notifier.subscribe_notifier(&second).await?;
    passes(&mut sender, &mut recipient, &queue, &mut notifier, &second).await
}

async fn deleted_queue(trial: Trial) -> Outcome {
    let (mut recipient, mut notifier) = (trial.connect().await?, trial.connect().await?);
    let queue = recipient.create().await?;
    let of_queue = recipient.add_notifier(&queue, Key::new()).await?;
    notifier.subscribe_notifier(&of_queue).await?;
    recipient.recipient(&queue, b"DEL", "OK").await?;
    same(&notifier.event(&of_queue.id).await?, b"DELD")?;
    notifier.expect(&of_queue.key, &of_queue.id, b"NSUB", "ERR AUTH").await?;
    fence(&mut recipient, &mut notifier).await
}

async fn in_order(trial: Trial) -> Outcome {
    let (mut recipient, mut notifier) = (trial.connect().await?, trial.connect().await?);
    let queue = recipient.create_of(&Draft::messaging().unsubscribed()).await?;
    let of_queue = recipient.add_notifier(&queue, Key::new()).await?;
    for number in 0..30_u8 {
        recipient.sender(Nobody, &queue, &send_notifying(&[number]), "OK").await?;
    }
    notifier.subscribe_notifier(&of_queue).await?;
    let mut told = Vec::new();
    for _ in 0..30 {
        told.push(notified(&mut notifier, &of_queue).await?);
    }
    recipient.subscribe(&queue).await?;
    let mut message = recipient.message_of(&queue, &[0]).await?;
    let mut stored = vec![(message.id.clone(), message.seconds)];
    for number in 1..30 {
        message = recipient.acknowledge_to(&queue, &message, &[number]).await?;
        stored.push((message.id.clone(), message.seconds));
    }
    // They are told in the order of their time, which has seconds.
    let times: Vec<i64> = told.iter().map(|(_, seconds)| *seconds).collect();
    equal(times.is_sorted(), true).at("in the order of time")?;
    told.sort();
    stored.sort();
    equal(told, stored).at("each message is told once")?;
    notifier.quiet().await
}

async fn suspended(trial: Trial) -> Outcome {
    let (mut peer, mut notifier) = (trial.connect().await?, trial.connect().await?);
    let queue = peer.create_of(&Draft::messaging().unsubscribed()).await?;
    let first = peer.add_notifier(&queue, Key::new()).await?;
    peer.recipient(&queue, b"OFF", "OK").await?;
    notifier.subscribe_notifier(&first).await?;
    let next = peer.add_notifier(&queue, Key::new()).await?;
    same(&notifier.event(&first.id).await?, b"DELD")?;
    notifier.subscribe_notifier(&next).await
}

async fn service_signature(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let queue = peer.create_of(&Draft::messaging().unsubscribed()).await?;
    let notifier = peer.add_notifier(&queue, Key::new()).await?;
    let correlation_id = random::<24>();
    let authorized = peer.authorized(&correlation_id, &notifier.id, b"NSUB");
    let own = notifier.key.authenticator(&peer.server_key, &correlation_id, &authorized);
    let second = Key::new().authenticator(&peer.server_key, &correlation_id, &authorized);
    let ids = [short(&correlation_id), short(&notifier.id)].concat();
    peer.send(&[[short(&own).as_slice(), b"1", &short(&second), &ids, b"NSUB"].concat()]).await?;
    same(&peer.answer(&correlation_id).await?.message, b"ERR SERVICE")?;
    peer.subscribe_notifier(&notifier).await
}
