//! What depends on a server's settings and outlives its restarts (smp.md §10.4 to §10.6, §20.2.11, §20.3, §20.5).

use std::sync::Arc;

use crate::case::{Case, case};
use crate::failure::{At as _, Failure, Outcome, equal, shown};
use crate::peer::By::{self, Nobody};
use crate::peer::commands::{Draft, ack, send, send_notifying, with_key};
use crate::peer::keys::Key;
use crate::peer::queue::{Content, Message, Queue};
use crate::peer::service::ServiceIdentity;
use crate::peer::wire::short;
use crate::peer::{self, Hello, Peer, same};
use crate::place::Place;
use crate::spawn::Wanted;
use crate::trial::Trial;

pub(super) const CASES: &[Case] = &[
    case!("settings/quota", "§10.4, §20.3.5", quota),
    case!("settings/quota-marker-is-not-notified", "§10.4", quota_notifications),
    case!("settings/new-queues-off", "§9.3, §20.2.11", new_queues_off),
    case!("settings/password", "§9.3", password),
    case!("settings/expire-on-send", "§10.5, §20.5.1", expire_on_send),
    case!("settings/expire-on-interval", "§10.5, §20.5.2", expire_on_interval),
    case!("settings/not-expired-before-the-interval", "§10.5, §20.5.3", not_expired_yet),
    case!("settings/inactive-connections-are-closed", "§10.6", inactive),
    case!("restart/queues-and-notifiers-stay", "§20.3.7", queues_stay),
    case!("restart/messages-stay-in-order", "§20.3.8", messages_stay),
    case!("restart/quota-marker-stays", "§20.3.8", marker_stays),
    case!("restart/link-data-stay", "§9.1", links_stay),
    case!("restart/expired-messages-go", "§10.5, §20.3.9", expire_on_start),
    case!("restart/services-stay", "§13, §20.4.3", services_stay).since(16),
];

async fn acknowledged(peer: &mut Peer, queue: &Queue, message: &Message) -> Outcome<Message> {
    let answer = peer.ask(&queue.key, &queue.recipient_id, &ack(&message.id)).await.at("ACK")?;
    queue.open(&answer).at("ACK")
}

async fn quota(trial: Trial) -> Outcome {
    let place = trial.server(&Wanted { quota: 2, ..Wanted::default() }).await?;
    let (mut recipient, mut sender) = (trial.connect_to(&place).await?, trial.connect_to(&place).await?);
    let queue = recipient.create().await?;
    sender.sender(Nobody, &queue, &send(b"one"), "OK").await?;
    sender.sender(Nobody, &queue, &send(b"two"), "OK").await?;
    sender.sender(Nobody, &queue, &send(b"three"), "ERR QUOTA").await?;
    let first = recipient.message_of(&queue, b"one").await?;
    sender.sender(Nobody, &queue, &send(b"three"), "ERR QUOTA").await.at("before any acknowledgement")?;
    let second = recipient.acknowledge_to(&queue, &first, b"two").await?;
    sender.sender(Nobody, &queue, &send(b"three"), "ERR QUOTA").await.at("until the queue is drained")?;
    let marker = acknowledged(&mut recipient, &queue, &second).await?;
    equal(&marker.content, &Content::Quota).at("the marker")?;
    sender
        .sender(Nobody, &queue, &send(b"three"), "ERR QUOTA")
        .await
        .at("until the marker is acknowledged")?;
    recipient.acknowledge(&queue, &marker).await?;
    sender.sender(Nobody, &queue, &send(b"four"), "OK").await?;
    let fourth = recipient.message_of(&queue, b"four").await?;
    recipient.acknowledge(&queue, &fourth).await?;
    recipient.quiet().await
}

async fn quota_notifications(trial: Trial) -> Outcome {
    let place = trial.server(&Wanted { quota: 2, ..Wanted::default() }).await?;
    let (mut recipient, mut notifier) = (trial.connect_to(&place).await?, trial.connect_to(&place).await?);
    let queue = recipient.create_of(&Draft::messaging().unsubscribed()).await?;
    let of_queue = recipient.add_notifier(&queue, Key::new()).await?;
    for _ in 0..2 {
        recipient.sender(Nobody, &queue, &send_notifying(b"x"), "OK").await?;
    }
    for _ in 0..2 {
        recipient.sender(Nobody, &queue, &send_notifying(b"x"), "ERR QUOTA").await?;
    }
    let later = recipient.create_of(&Draft::messaging().unsubscribed()).await?;
    let of_later = recipient.add_notifier(&later, Key::new()).await?;
    notifier.subscribe_notifier(&of_queue).await?;
    notifier.subscribe_notifier(&of_later).await?;
    for _ in 0..2 {
        of_queue.open(&notifier.event(&of_queue.id).await?)?;
    }
    recipient.sender(Nobody, &later, &send_notifying(b"x"), "OK").await?;
    of_later.open(&notifier.event(&of_later.id).await?)?;
    notifier.quiet().await.at("only messages that were taken are told")
}

async fn new_queues_off(trial: Trial) -> Outcome {
    let place = trial.server(&Wanted { new_queues: false, ..Wanted::default() }).await?;
    let mut peer = trial.connect_to(&place).await?;
    peer.refused(&Draft::messaging(), "ERR AUTH").await?;
    peer.refused(&Draft::contact().unsubscribed(), "ERR AUTH").await?;
    peer.expect(&Key::new(), b"", b"NEW", "ERR CMD SYNTAX").await.at("syntax comes first")?;
    peer.quiet().await
}

async fn password(trial: Trial) -> Outcome {
    let place = trial.server(&Wanted { password: "right-password", ..Wanted::default() }).await?;
    let mut peer = trial.connect_to(&place).await?;
    let with =
        |password: Option<&[u8]>| Draft { password: password.map(<[u8]>::to_vec), ..Draft::messaging() };
    for wrong in [None, Some(&b""[..]), Some(b"wrong"), Some(b"right-passwor"), Some(b"right-password!")] {
        peer.refused(&with(wrong), "ERR AUTH").await?;
    }
    let right = with(Some(b"right-password"));
    peer.expect(&Key::new(), b"", &right.command(trial.version), "ERR AUTH")
        .await
        .at("signed by another key")?;
    peer.create_of(&right).await?;
    Ok(())
}

/// Waits until messages of this moment are older than a time to live of one second, by the seconds of the clock.
async fn outlive() {
    tokio::time::sleep(std::time::Duration::from_millis(2_200)).await;
}

const SHORT_TTL: u64 = 1_000;

async fn expire_on_send(trial: Trial) -> Outcome {
    let wanted = Wanted { message_ttl: SHORT_TTL, expire_on_send: true, ..Wanted::default() };
    let place = trial.server(&wanted).await?;
    let mut peer = trial.connect_to(&place).await?;
    let queue = peer.create_of(&Draft::messaging().unsubscribed()).await?;
    peer.sender(Nobody, &queue, &send(b"old"), "OK").await?;
    outlive().await;
    peer.sender(Nobody, &queue, &send(b"new"), "OK").await?;
    peer.subscribe(&queue).await?;
    let message = peer.message_of(&queue, b"new").await?;
    peer.acknowledge(&queue, &message).await
}

async fn expire_on_interval(trial: Trial) -> Outcome {
    let wanted = Wanted { message_ttl: SHORT_TTL, expiry_interval: 200, ..Wanted::default() };
    let place = trial.server(&wanted).await?;
    let mut peer = trial.connect_to(&place).await?;
    let queue = peer.create_of(&Draft::messaging().unsubscribed()).await?;
    let kept = peer.create_of(&Draft::messaging().unsubscribed()).await?;
    peer.sender(Nobody, &queue, &send(b"old"), "OK").await?;
    peer.sender(Nobody, &queue, &send(b"old"), "OK").await?;
    // GET shows the queue without a subscription that would deliver; it is empty after a while.
    let begun = std::time::Instant::now();
    loop {
        let answer = peer.ask(&queue.key, &queue.recipient_id, b"GET").await.at("GET")?;
        if answer == b"OK" {
            break;
        }
        same(queue.open(&answer)?.body()?, b"old").at("GET")?;
        if begun.elapsed() > peer::PATIENCE {
            return Err(Failure::differs("no message after its time", "messages"));
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    // Delivered at once: a slow machine has no time to lose it between two commands.
    peer.subscribe(&kept).await?;
    peer.sender(Nobody, &kept, &send(b"new"), "OK").await?;
    let message = peer.message_of(&kept, b"new").await.at("a new message stays")?;
    let mut other = trial.connect_to(&place).await?;
    other.subscribe(&queue).await?;
    other.quiet().await?;
    // It may expire before this.
    let answer = peer.ask(&kept.key, &kept.recipient_id, &ack(&message.id)).await?;
    equal([&b"OK"[..], b"ERR NO_MSG"].contains(&answer.as_slice()), true).at("ACK")
}

async fn not_expired_yet(trial: Trial) -> Outcome {
    let place = trial.server(&Wanted { message_ttl: SHORT_TTL, ..Wanted::default() }).await?;
    let mut peer = trial.connect_to(&place).await?;
    let queue = peer.create_of(&Draft::messaging().unsubscribed()).await?;
    peer.sender(Nobody, &queue, &send(b"old"), "OK").await?;
    outlive().await;
    peer.sender(Nobody, &queue, &send(b"new"), "OK").await.at("sending does not expire here")?;
    peer.subscribe(&queue).await?;
    let message = peer.message_of(&queue, b"old").await?;
    let message = peer.acknowledge_to(&queue, &message, b"new").await?;
    peer.acknowledge(&queue, &message).await
}

async fn inactive(trial: Trial) -> Outcome {
    let place = trial.server(&Wanted { inactive_ttl: 3_000, ..Wanted::default() }).await?;
    let mut subscriber = trial.connect_to(&place).await?;
    let queue = subscriber.create().await?;
    let mut silent = trial.connect_to(&place).await?;
    silent.quiet().await?;
    silent.closed().await.at("a silent connection without subscriptions")?;
    let mut sender = trial.connect_to(&place).await?;
    sender.sender(Nobody, &queue, &send(b"still there"), "OK").await?;
    let message = subscriber.message_of(&queue, b"still there").await.at("one with a subscription stays")?;
    subscriber.acknowledge(&queue, &message).await
}

/// A connection to a server that this case starts and stops.
async fn at(trial: &Trial, place: Place) -> Outcome<Peer> {
    trial.connect_to(&place).await
}

async fn queues_stay(trial: Trial) -> Outcome {
    let (home, wanted) = (trial.home().await?, Wanted::default());
    let server = home.start(&wanted).await?;
    let place = server.place;
    let mut peer = at(&trial, place).await?;
    let (key, link) = (Key::new(), Key::new());
    let queue = peer.create_of(&Draft::messaging().unsubscribed()).await?;
    peer.recipient(&queue, &with_key("KEY", &key), "OK").await?;
    let notifier = peer.add_notifier(&queue, Key::new()).await?;
    let deleted = peer.create_of(&Draft::messaging().unsubscribed()).await?;
    peer.recipient(&deleted, b"DEL", "OK").await?;
    let suspended = peer.create_of(&Draft::messaging().unsubscribed()).await?;
    peer.recipient(&suspended, b"OFF", "OK").await?;
    let unnotified = peer.create_of(&Draft::messaging().unsubscribed()).await?;
    let gone = peer.add_notifier(&unnotified, Key::new()).await?;
    peer.recipient(&unnotified, b"NDEL", "OK").await?;
    drop(peer);
    server.stop().await?;
    let server = home.start(&wanted).await?;
    equal(server.place.key_hash, place.key_hash).at("its identity")?;
    let mut peer = at(&trial, server.place).await?;
    let mut at_notifier = at(&trial, server.place).await?;
    at_notifier.subscribe_notifier(&notifier).await?;
    at_notifier.expect(&gone.key, &gone.id, b"NSUB", "ERR AUTH").await.at("a deleted notifier")?;
    peer.subscribe(&queue).await?;
    peer.sender(Nobody, &queue, &send(b"x"), "ERR AUTH").await.at("it is still secured")?;
    peer.sender(&link, &queue, &send(b"x"), "ERR AUTH").await?;
    peer.sender(&key, &queue, &send_notifying(b"hello"), "OK").await?;
    let message = peer.message_of(&queue, b"hello").await?;
    equal(notifier.open(&at_notifier.event(&notifier.id).await?)?.0, message.id.clone())?;
    peer.acknowledge(&queue, &message).await?;
    peer.recipient(&deleted, b"SUB", "ERR AUTH").await.at("a deleted queue")?;
    peer.sender(Nobody, &suspended, &send(b"x"), "ERR AUTH").await.at("a suspended queue")?;
    peer.subscribe(&suspended).await
}

async fn messages_stay(trial: Trial) -> Outcome {
    let (home, wanted) = (trial.home().await?, Wanted::default());
    let server = home.start(&wanted).await?;
    let mut peer = at(&trial, server.place).await?;
    let queue = peer.create().await?;
    for number in 0..5_u8 {
        peer.sender(Nobody, &queue, &send(&[number]), "OK").await?;
    }
    let first = peer.message_of(&queue, &[0]).await?;
    let second = peer.acknowledge_to(&queue, &first, &[1]).await?;
    drop(peer);
    server.stop().await?;
    let server = home.start(&wanted).await?;
    let mut peer = at(&trial, server.place).await?;
    peer.subscribe(&queue).await?;
    let again = peer.message_of(&queue, &[1]).await?;
    equal(&again, &second).at("the unacknowledged message comes again")?;
    let third = peer.acknowledge_to(&queue, &again, &[2]).await?;
    drop(peer);
    server.stop().await?;
    let server = home.start(&wanted).await?;
    let mut peer = at(&trial, server.place).await?;
    peer.subscribe(&queue).await?;
    let again = peer.message_of(&queue, &[2]).await?;
    equal(&again, &third).at("and again")?;
    let fourth = peer.acknowledge_to(&queue, &again, &[3]).await?;
    let fifth = peer.acknowledge_to(&queue, &fourth, &[4]).await?;
    peer.acknowledge(&queue, &fifth).await?;
    peer.quiet().await
}

async fn marker_stays(trial: Trial) -> Outcome {
    let (home, wanted) = (trial.home().await?, Wanted { quota: 2, ..Wanted::default() });
    let server = home.start(&wanted).await?;
    let mut peer = at(&trial, server.place).await?;
    let queue = peer.create_of(&Draft::messaging().unsubscribed()).await?;
    for (body, expected) in [(&b"one"[..], "OK"), (b"two", "OK"), (b"three", "ERR QUOTA")] {
        peer.sender(Nobody, &queue, &send(body), expected).await?;
    }
    drop(peer);
    server.stop().await?;
    let server = home.start(&wanted).await?;
    let mut peer = at(&trial, server.place).await?;
    peer.sender(Nobody, &queue, &send(b"three"), "ERR QUOTA").await?;
    peer.subscribe(&queue).await?;
    let first = peer.message_of(&queue, b"one").await?;
    let second = peer.acknowledge_to(&queue, &first, b"two").await?;
    peer.sender(Nobody, &queue, &send(b"three"), "ERR QUOTA").await?;
    let marker = acknowledged(&mut peer, &queue, &second).await?;
    equal(&marker.content, &Content::Quota).at("the marker")?;
    peer.acknowledge(&queue, &marker).await?;
    peer.sender(Nobody, &queue, &send(b"three"), "OK").await
}

async fn links_stay(trial: Trial) -> Outcome {
    let (home, wanted) = (trial.home().await?, Wanted::default());
    let server = home.start(&wanted).await?;
    let mut peer = at(&trial, server.place).await?;
    let link = crate::peer::keys::random::<24>();
    let address = peer.create_of(&Draft::address(&link, b"fixed", b"user").unsubscribed()).await?;
    let invitation = peer.create_of(&Draft::invitation(b"fixed", b"user").unsubscribed()).await?;
    drop(peer);
    server.stop().await?;
    let server = home.start(&wanted).await?;
    let mut peer = at(&trial, server.place).await?;
    peer.link(Nobody, &link, b"LGET", (&address.sender_id, b"fixed", b"user")).await?;
    let (id, key) = (invitation.link_id.clone().unwrap_or_default(), Key::new());
    peer.link(&key, &id, &with_key("LKEY", &key), (&invitation.sender_id, b"fixed", b"user")).await
}

async fn expire_on_start(trial: Trial) -> Outcome {
    let home = trial.home().await?;
    let lasting = Wanted::default();
    let server = home.start(&lasting).await?;
    let mut peer = at(&trial, server.place).await?;
    let queue = peer.create_of(&Draft::messaging().unsubscribed()).await?;
    let empty = peer.create_of(&Draft::messaging().unsubscribed()).await?;
    peer.sender(Nobody, &queue, &send(b"old"), "OK").await?;
    peer.sender(Nobody, &empty, &send(b"old"), "OK").await?;
    drop(peer);
    outlive().await;
    server.stop().await?;
    // A time to live that passes only while the server was down.
    let server = home.start(&Wanted { message_ttl: SHORT_TTL, ..lasting }).await?;
    let mut peer = at(&trial, server.place).await?;
    peer.sender(Nobody, &queue, &send(b"new"), "OK").await?;
    peer.subscribe(&queue).await?;
    let message = peer.message_of(&queue, b"new").await?;
    peer.acknowledge(&queue, &message).await?;
    peer.subscribe(&empty).await?;
    peer.quiet().await
}

async fn services_stay(trial: Trial) -> Outcome {
    let (home, wanted) = (trial.home().await?, Wanted::default());
    let identity = Arc::new(ServiceIdentity::new()?);
    let hello = Hello::service(trial.version, b'N', &identity);
    let server = home.start(&wanted).await?;
    let mut recipient = at(&trial, server.place).await?;
    let queue = recipient.create_of(&Draft::messaging().unsubscribed()).await?;
    let notifier = recipient.add_notifier(&queue, Key::new()).await?;
    let mut service = peer::connect(&server.place, &hello, trial.observer()).await?;
    let id = service.service.as_ref().map(|service| service.id.clone()).unwrap_or_default();
    let associated = [b"SOK 1", short(&id).as_slice()].concat();
    service.expect(By::KeyAndService(&notifier.key), &notifier.id, b"NSUB", associated).await?;
    drop((recipient, service));
    server.stop().await?;
    for _ in 0..2 {
        let server = home.start(&wanted).await?;
        let mut service = peer::connect(&server.place, &hello, trial.observer()).await?;
        let same_id = service.service.as_ref().map(|service| service.id.clone());
        equal(same_id.as_ref(), Some(&id)).at("the same service")?;
        let count = [b"SOKS ", 1_i64.to_be_bytes().as_slice()].concat();
        service.expect(By::Service, &id, b"NSUBS", count).await?;
        let mut recipient = at(&trial, server.place).await?;
        recipient.sender(Nobody, &queue, &send_notifying(b"x"), "OK").await?;
        let event = service.event(&notifier.id).await?;
        notifier.open(&event).at(shown(&event))?;
        drop((recipient, service));
        server.stop().await?;
    }
    Ok(())
}
