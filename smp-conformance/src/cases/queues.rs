//! The life of a queue (smp.md §9, §20.2).

use crate::case::{Case, case};
use crate::failure::{At as _, Failure, Outcome, equal, shown};
use crate::peer::By::{self, Nobody};
use crate::peer::Peer;
use crate::peer::commands::{Draft, ack, rkey, send, with_key};
use crate::peer::keys::{Key, random};
use crate::peer::queue::Queue;
use crate::trial::Trial;

pub(super) const CASES: &[Case] = &[
    case!("queues/create-send-receive", "§9.3, §20.2.1", create_send_receive),
    case!("queues/ids", "§7.2", ids),
    case!("queues/new-is-not-idempotent", "§9.3", new_twice),
    case!("queues/unknown-mode", "§6.1, §9.2", unknown_mode),
    case!("queues/key-secures", "§9.3, §20.2.2, §20.2.3", key_secures),
    case!("queues/key-works-for-contact-queues", "§9.3", key_for_contact),
    case!("queues/skey-secures", "§9.3, §20.2.5", skey_secures),
    case!("queues/skey-not-for-contact-queues", "§9.3, §20.2.6", skey_contact),
    case!("queues/key-and-skey-are-one", "§9.2", key_and_skey),
    case!("queues/rkey", "§9.3, §20.2.7", rkey_replaces),
    case!("queues/rkey-not-for-messaging-queues", "§9.3", rkey_messaging),
    case!("queues/suspend-refuses-senders", "§9.2, §20.2.8", suspend),
    case!("queues/suspended-commands-still-work", "§9.2", suspended_commands),
    case!("queues/delete", "§9.3, §20.2.9", delete),
    case!("queues/fifty-with-empty-correlation-ids", "§20.2.10", fifty),
    case!("queues/information", "§7.3", information),
];

/// One message goes through, and nothing more.
async fn passes(sender: &mut Peer, by: By<'_>, recipient: &mut Peer, queue: &Queue, body: &[u8]) -> Outcome {
    sender.sender(by, queue, &send(body), "OK").await?;
    let message = recipient.message_of(queue, body).await?;
    recipient.acknowledge(queue, &message).await
}

async fn create_send_receive(trial: Trial) -> Outcome {
    let (mut recipient, mut sender) = (trial.connect().await?, trial.connect().await?);
    let queue = recipient.create().await?;
    sender.sender(Nobody, &queue, &send(b"hello"), "OK").await?;
    let message = recipient.message_of(&queue, b"hello").await?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(now.as_secs()).unwrap_or_default();
    if (message.seconds - now).abs() > 3600 {
        return Err(Failure::differs(
            "the time of now in the message",
            format!("{} s off", message.seconds - now),
        ));
    }
    recipient.acknowledge(&queue, &message).await?;
    recipient.recipient(&queue, &ack(&message.id), "ERR NO_MSG").await.at("again")?;
    sender
        .sender(&Key::new(), &queue, &send(b"signed"), "ERR AUTH")
        .await
        .at("signed, to a queue without key")?;
    passes(&mut sender, Nobody, &mut recipient, &queue, b"").await.at("an empty body")?;
    passes(&mut sender, Nobody, &mut recipient, &queue, b" a body with  spaces \n").await?;
    sender.quiet().await?;
    recipient.quiet().await
}

async fn ids(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let mut seen = std::collections::BTreeSet::new();
    for (draft, mode) in [(Draft::messaging(), b'M'), (Draft::contact(), b'C')] {
        for draft in [draft.clone(), draft.unsubscribed()] {
            let draft = Draft { key: Key::new(), correlation_id: random::<24>().to_vec(), ..draft };
            let queue = peer.create_of(&draft).await?;
            equal(queue.mode, Some(mode)).at("mode")?;
            equal((&queue.link_id, &queue.service_id), (&None, &None)).at("link id and service id")?;
            equal(queue.notifier.is_none(), true).at("no notifier was asked for")?;
            for id in [queue.recipient_id, queue.sender_id] {
                if !seen.insert(id) {
                    return Err(Failure::differs("random ids", "an id twice"));
                }
            }
        }
    }
    Ok(())
}

async fn new_twice(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let draft = Draft::messaging().unsubscribed();
    let first = peer.create_of(&draft).await?;
    let second = peer.create_of(&Draft { correlation_id: random::<24>().to_vec(), ..draft }).await?;
    if first.recipient_id == second.recipient_id || first.sender_id == second.sender_id {
        return Err(Failure::differs("another queue", "the same"));
    }
    peer.sender(Nobody, &first, &send(b"x"), "OK").await?;
    peer.recipient(&second, b"GET", "OK").await.at("the second queue is empty")
}

/// Without `queueReq` a queue has no mode: it can be secured by its recipient alone.
async fn unknown_mode(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let queue = peer.create_of(&Draft { request: None, ..Draft::messaging().unsubscribed() }).await?;
    equal(queue.mode, None).at("mode")?;
    let key = Key::new();
    peer.sender(&key, &queue, &with_key("SKEY", &key), "ERR AUTH").await?;
    peer.recipient(&queue, &rkey(&[&Key::new()]), "ERR AUTH").await?;
    peer.recipient(&queue, &with_key("KEY", &key), "OK").await?;
    peer.sender(&key, &queue, &send(b"x"), "OK").await
}

async fn key_secures(trial: Trial) -> Outcome {
    let (mut recipient, mut sender) = (trial.connect().await?, trial.connect().await?);
    let queue = recipient.create().await?;
    let (key, other) = (Key::new(), Key::new());
    let command = with_key("KEY", &key);
    recipient.expect(&other, &queue.recipient_id, &command, "ERR AUTH").await.at("wrong signature")?;
    recipient.expect(&queue.key, &queue.sender_id, &command, "ERR AUTH").await.at("sender id")?;
    passes(&mut sender, Nobody, &mut recipient, &queue, b"before").await?;
    recipient.recipient(&queue, &command, "OK").await?;
    recipient.recipient(&queue, &command, "OK").await.at("the same key again")?;
    recipient.recipient(&queue, &with_key("KEY", &other), "ERR AUTH").await.at("another key")?;
    passes(&mut sender, By::Key(&key), &mut recipient, &queue, b"signed").await?;
    sender.sender(Nobody, &queue, &send(b"unsigned"), "ERR AUTH").await?;
    sender.sender(&other, &queue, &send(b"other"), "ERR AUTH").await?;
    recipient.quiet().await
}

async fn key_for_contact(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let queue = peer.create_of(&Draft::contact().unsubscribed()).await?;
    let key = Key::new();
    peer.recipient(&queue, &with_key("KEY", &key), "OK").await?;
    peer.sender(&key, &queue, &send(b"x"), "OK").await?;
    peer.sender(Nobody, &queue, &send(b"x"), "ERR AUTH").await
}

async fn skey_secures(trial: Trial) -> Outcome {
    let (mut recipient, mut sender) = (trial.connect().await?, trial.connect().await?);
    let queue = recipient.create().await?;
    let (key, other) = (Key::new(), Key::new());
    let command = with_key("SKEY", &key);
    sender.expect(&other, &queue.sender_id, &command, "ERR AUTH").await.at("signed by another key")?;
    sender.expect(&key, &queue.recipient_id, &command, "ERR AUTH").await.at("recipient id")?;
    sender.sender(&key, &queue, &command, "OK").await?;
    sender.sender(&other, &queue, &with_key("SKEY", &other), "ERR AUTH").await.at("another key")?;
    sender.sender(&key, &queue, &command, "OK").await.at("the same key again")?;
    passes(&mut sender, By::Key(&key), &mut recipient, &queue, b"signed").await?;
    passes(&mut sender, By::Key(&key), &mut recipient, &queue, &[b'x'; 16_048]).await?;
    sender.sender(&key, &queue, &send(&[b'x'; 16_049]), "ERR LARGE_MSG").await?;
    sender.sender(Nobody, &queue, &send(b"unsigned"), "ERR AUTH").await
}

async fn skey_contact(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let queue = peer.create_of(&Draft::contact().unsubscribed()).await?;
    let key = Key::new();
    peer.sender(&key, &queue, &with_key("SKEY", &key), "ERR AUTH").await?;
    peer.sender(Nobody, &queue, &send(b"x"), "OK").await.at("it is not secured")
}

async fn key_and_skey(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let (key, other) = (Key::new(), Key::new());
    let by_recipient = peer.create_of(&Draft::messaging().unsubscribed()).await?;
    peer.recipient(&by_recipient, &with_key("KEY", &key), "OK").await?;
    peer.sender(&key, &by_recipient, &with_key("SKEY", &key), "OK").await?;
    peer.sender(&other, &by_recipient, &with_key("SKEY", &other), "ERR AUTH").await?;
    let by_sender = peer.create_of(&Draft::messaging().unsubscribed()).await?;
    peer.sender(&key, &by_sender, &with_key("SKEY", &key), "OK").await?;
    peer.recipient(&by_sender, &with_key("KEY", &key), "OK").await?;
    peer.recipient(&by_sender, &with_key("KEY", &other), "ERR AUTH").await
}

async fn rkey_replaces(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let queue = peer.create_of(&Draft::contact().unsubscribed()).await?;
    let (old, new, third) = (queue.key.clone(), Key::new(), Key::new());
    let id = queue.recipient_id.as_slice();
    for key in [&new, &third] {
        trial.observer().keep_key(key, id);
    }
    peer.expect(&new, id, &rkey(&[&new]), "ERR AUTH").await.at("by a key that is not one of the queue")?;
    peer.expect(&old, id, &rkey(&[&old, &new]), "OK").await?;
    for key in [&old, &new] {
        peer.expect(key, id, b"GET", "OK").await.at("both work")?;
    }
    peer.expect(&new, id, &rkey(&[&new]), "OK").await?;
    peer.expect(&old, id, b"GET", "ERR AUTH").await.at("the old key is gone")?;
    peer.expect(&new, id, &rkey(&[&new, &old]), "OK").await?;
    peer.expect(&old, id, b"GET", "OK").await.at("the old key is back")?;
    peer.expect(&old, id, &rkey(&[&third]), "OK").await.at("a key removes itself")?;
    for key in [&old, &new] {
        peer.expect(key, id, b"GET", "ERR AUTH").await?;
    }
    peer.expect(&third, id, b"DEL", "OK").await
}

async fn rkey_messaging(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let queue = peer.create_of(&Draft::messaging().unsubscribed()).await?;
    peer.recipient(&queue, &rkey(&[&queue.key, &Key::new()]), "ERR AUTH").await?;
    peer.subscribe(&queue).await
}

async fn suspend(trial: Trial) -> Outcome {
    let (mut recipient, mut sender) = (trial.connect().await?, trial.connect().await?);
    let queue = recipient.create().await?;
    let key = Key::new();
    recipient.recipient(&queue, &with_key("KEY", &key), "OK").await?;
    sender.sender(&key, &queue, &send(b"one"), "OK").await?;
    sender.sender(&key, &queue, &send(b"two"), "OK").await?;
    let first = recipient.message_of(&queue, b"one").await?;
    recipient.quiet().await.at("the second waits for the acknowledgement")?;
    let second = recipient.acknowledge_to(&queue, &first, b"two").await?;
    recipient.expect(&Key::new(), &queue.recipient_id, b"OFF", "ERR AUTH").await.at("wrong signature")?;
    recipient.expect(&queue.key, &queue.sender_id, b"OFF", "ERR AUTH").await.at("sender id")?;
    sender.sender(&key, &queue, &send(b"three"), "OK").await.at("it is not suspended yet")?;
    recipient.recipient(&queue, b"OFF", "OK").await?;
    sender.sender(&key, &queue, &send(b"four"), "ERR AUTH").await?;
    sender.sender(Nobody, &queue, &send(b"four"), "ERR AUTH").await?;
    sender.sender(&key, &queue, &send(&[b'x'; 16_049]), "ERR LARGE_MSG").await.at("too large comes first")?;
    recipient.recipient(&queue, b"OFF", "OK").await.at("again")?;
    recipient.subscribe(&queue).await?;
    let again = recipient.message_of(&queue, b"two").await?;
    equal(&again.id, &second.id).at("the message is the same")?;
    let third = recipient.acknowledge_to(&queue, &again, b"three").await?;
    recipient.acknowledge(&queue, &third).await
}

async fn suspended_commands(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let queue = peer.create_of(&Draft::messaging().unsubscribed()).await?;
    let key = Key::new();
    peer.recipient(&queue, b"OFF", "OK").await?;
    peer.sender(&key, &queue, &with_key("SKEY", &key), "OK").await?;
    peer.recipient(&queue, &with_key("KEY", &key), "OK").await?;
    peer.sender(&key, &queue, &send(b"x"), "ERR AUTH").await.at("there is no way back")?;
    peer.recipient(&queue, b"GET", "OK").await?;
    peer.recipient(&queue, b"LDEL", "OK").await?;
    peer.recipient(&queue, b"NDEL", "OK").await?;
    peer.recipient(&queue, b"DEL", "OK").await
}

async fn delete(trial: Trial) -> Outcome {
    let (mut recipient, mut sender) = (trial.connect().await?, trial.connect().await?);
    let queue = recipient.create().await?;
    let key = Key::new();
    recipient.recipient(&queue, &with_key("KEY", &key), "OK").await?;
    sender.sender(&key, &queue, &send(b"one"), "OK").await?;
    sender.sender(&key, &queue, &send(b"two"), "OK").await?;
    let message = recipient.message_of(&queue, b"one").await?;
    recipient.expect(&Key::new(), &queue.recipient_id, b"DEL", "ERR AUTH").await.at("wrong signature")?;
    recipient.expect(&queue.key, &queue.sender_id, b"DEL", "ERR AUTH").await.at("sender id")?;
    recipient.recipient(&queue, b"DEL", "OK").await?;
    sender.sender(&key, &queue, &send(b"x"), "ERR AUTH").await?;
    sender.sender(Nobody, &queue, &send(b"x"), "ERR AUTH").await?;
    recipient.recipient(&queue, &ack(&message.id), "ERR AUTH").await?;
    for command in [&b"OFF"[..], b"SUB", b"GET", b"QUE", b"DEL"] {
        recipient.recipient(&queue, command, "ERR AUTH").await?;
    }
    recipient.quiet().await.at("who deletes gets no event")
}

async fn fifty(trial: Trial) -> Outcome {
    let mut first = trial.connect().await?;
    let mut queues = Vec::new();
    for _ in 0..50 {
        queues.push(first.create_of(&Draft { correlation_id: Vec::new(), ..Draft::messaging() }).await?);
    }
    drop(first);
    for _ in 0..2 {
        let mut next = trial.connect().await?;
        for queue in &queues {
            next.subscribe(queue).await?;
        }
        next.quiet().await?;
    }
    Ok(())
}

async fn information(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let queue = peer.create_of(&Draft::messaging().unsubscribed()).await?;
    let ask = async |peer: &mut Peer| -> Outcome<serde_json::Value> {
        let answer = peer.ask(&queue.key, &queue.recipient_id, b"QUE").await.at("QUE")?;
        let json = answer.strip_prefix(b"INFO ").ok_or_else(|| Failure::differs("INFO", shown(&answer)))?;
        serde_json::from_slice(json).map_err(|error| Failure::differs("JSON", error.to_string()))
    };
    let info = ask(&mut peer).await?;
    equal(&info, &serde_json::json!({ "qiSnd": false, "qiNtf": false, "qiSize": 0 })).at("a new queue")?;
    peer.recipient(&queue, &with_key("KEY", &queue.key), "OK").await?;
    peer.sender(&queue.key, &queue, &send(b"x"), "OK").await?;
    peer.subscribe(&queue).await?;
    let message = peer.message_of(&queue, b"x").await?;
    let info = ask(&mut peer).await?;
    equal((&field(&info, "/qiSnd"), &field(&info, "/qiNtf")), (&true.into(), &false.into()))
        .at("qiSnd, qiNtf")?;
    equal(&field(&info, "/qiSize"), &1.into()).at("qiSize")?;
    equal(&field(&info, "/qiMsg/msgType"), &"message".into()).at("msgType")?;
    let id = base64_of(&message.id);
    equal(&field(&info, "/qiMsg/msgId"), &id.as_str().into()).at("msgId")?;
    equal(&field(&info, "/qiSub/qDelivered"), &id.as_str().into()).at("qDelivered")?;
    let thread = field(&info, "/qiSub/qSubThread").as_str().unwrap_or_default().to_owned();
    if !["noSub", "subPending", "subThread"].contains(&thread.as_str()) {
        return Err(Failure::differs("a state of a subscription", thread));
    }
    let time = field(&info, "/qiMsg/msgTs");
    let time = time.as_str().unwrap_or_default();
    if !(time.len() >= 20 && time.ends_with('Z') && time.as_bytes().get(10) == Some(&b'T')) {
        return Err(Failure::differs("a time like 2026-11-21T07:14:52.28Z", time));
    }
    peer.acknowledge(&queue, &message).await?;
    let info = ask(&mut peer).await?;
    equal((&field(&info, "/qiSize"), info.get("qiMsg")), (&0.into(), None)).at("an empty queue")?;
    let mut other = trial.connect().await?;
    let info = ask(&mut other).await?;
    equal(info.get("qiSub"), None).at("the subscription is of another connection")?;
    other.recipient(&queue, b"GET", "OK").await?;
    let info = ask(&mut other).await?;
    equal(field(&info, "/qiSub/qSubThread"), "prohibitSub".into()).at("after GET")?;
    Ok(())
}

/// A field of a JSON object, or null.
fn field(object: &serde_json::Value, path: &str) -> serde_json::Value {
    object.pointer(path).cloned().unwrap_or_default()
}

/// Standard base64 with padding (smp.md §7.3).
fn base64_of(bytes: &[u8]) -> String {
    protocol::base64url::encode(bytes).replace('-', "+").replace('_', "/")
}
