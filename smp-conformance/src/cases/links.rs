//! Link data (smp.md §9.3, §15, §20.5).

use crate::case::{Case, case};
use crate::failure::{At as _, Outcome, equal};
use crate::peer::By::Nobody;
use crate::peer::commands::{Draft, lset, send, sender_id_of, with_key};
use crate::peer::keys::{Key, KeyKind, random};
use crate::peer::wire::{large, short};
use crate::trial::Trial;

pub(super) const CASES: &[Case] = &[
    case!("links/sender-id-must-be-derived", "§9.3, §20.5.5, §20.5.6", derived),
    case!("links/invitation", "§9.3, §20.5.5", invitation),
    case!("links/invitation-ends-with-the-first-message", "§9.3", first_message),
    case!("links/lkey-keys-of-every-kind", "§5.6, §9.3", lkey_kinds),
    case!("links/lkey-respects-the-sender-key", "§9.3", lkey_secured),
    case!("links/address", "§9.3, §20.5.6", address),
    case!("links/secured-address-cannot-be-read-once-deleted", "§9.3", deleted_queue),
    case!("links/ids-are-taken-once", "§9.3", taken),
    case!("links/set-later", "§9.3", set_later),
    case!("links/unknown-mode", "§5.6, §9.3", unknown_mode),
    case!("links/full-size-data", "§15.2, §19", full_size),
];

const FIXED: &[u8] = b"fixed data";
const USER: &[u8] = b"user data";

async fn derived(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let parts = [short(&random::<24>()), large(FIXED), large(USER)].concat();
    let link_id = short(&random::<24>());
    for (request, base) in [
        ([b"M1", parts.as_slice()].concat(), Draft::messaging()),
        ([b"C1", link_id.as_slice(), &parts].concat(), Draft::contact()),
    ] {
        peer.refused(&Draft { request: Some(request), ..base }, "ERR CMD PROHIBITED").await?;
    }
    // The whole hash, or less of it, is no sender id either.
    let base = Draft::messaging();
    let whole = protocol::crypto::hash::sha3_384(&base.correlation_id);
    for length in [48, 23, 32] {
        let id = whole.get(..length).unwrap_or_default();
        let request = [b"M1", short(id).as_slice(), &large(FIXED), &large(USER)].concat();
        let draft = Draft { request: Some(request), ..base.clone() };
        peer.refused(&draft, "ERR CMD PROHIBITED").await.at(format!("{length} bytes of the hash"))?;
    }
    Ok(())
}

async fn invitation(trial: Trial) -> Outcome {
    let (mut owner, mut guest) = (trial.connect().await?, trial.connect().await?);
    let draft = Draft::invitation(FIXED, USER);
    let queue = owner.create_of(&draft).await?;
    equal(&queue.sender_id, &sender_id_of(&draft.correlation_id)).at("sender id")?;
    equal(queue.mode, Some(b'M')).at("mode")?;
    let link = queue.link_id.clone().unwrap_or_default();
    equal(link.len(), 24).at("link id of the server's")?;
    let (key, other) = (Key::new(), Key::new());
    guest.expect(Nobody, &link, b"LGET", "ERR AUTH").await?;
    owner.recipient(&queue, &lset(&link, FIXED, b"changed"), "OK").await.at("before it is secured")?;
    owner.recipient(&queue, &lset(&link, b"other", USER), "ERR AUTH").await.at("other fixed data")?;
    owner.recipient(&queue, &lset(&random::<24>(), FIXED, USER), "ERR AUTH").await.at("another link id")?;
    let lkey = with_key("LKEY", &key);
    guest.expect(Nobody, &link, &lkey, "ERR CMD NO_AUTH").await?;
    guest.expect(&other, &link, &lkey, "ERR AUTH").await.at("wrong signature")?;
    guest.expect(&key, &queue.recipient_id, &lkey, "ERR AUTH").await.at("recipient id")?;
    guest.expect(&key, &queue.sender_id, &lkey, "ERR AUTH").await.at("sender id")?;
    guest.link(&key, &link, &lkey, (&queue.sender_id, FIXED, b"changed")).await?;
    guest.expect(&other, &link, &with_key("LKEY", &other), "ERR AUTH").await.at("another key")?;
    guest.link(&key, &link, &lkey, (&queue.sender_id, FIXED, b"changed")).await.at("the same key again")?;
    owner.recipient(&queue, &lset(&link, FIXED, USER), "ERR AUTH").await.at("after it is secured")?;
    owner.recipient(&queue, b"LDEL", "OK").await?;
    owner.recipient(&queue, b"LDEL", "OK").await.at("again")?;
    guest.expect(&key, &link, &lkey, "ERR AUTH").await.at("the data are gone")?;
    guest.sender(&key, &queue, &send(b"hello"), "OK").await.at("the queue is secured")?;
    let message = owner.message_of(&queue, b"hello").await?;
    owner.acknowledge(&queue, &message).await
}

async fn first_message(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let queue = peer.create_of(&Draft::invitation(FIXED, USER).unsubscribed()).await?;
    let link = queue.link_id.clone().unwrap_or_default();
    let key = Key::new();
    let lkey = with_key("LKEY", &key);
    peer.sender(Nobody, &queue, &send(b"before it is secured"), "OK").await?;
    peer.link(&key, &link, &lkey, (&queue.sender_id, FIXED, USER)).await.at("the data are still there")?;
    peer.sender(&key, &queue, &send(b"after"), "OK").await?;
    peer.expect(&key, &link, &lkey, "ERR AUTH").await.at("the first message has deleted the data")?;
    peer.sender(&key, &queue, &send(b"more"), "OK").await
}

async fn lkey_kinds(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    for kind in KeyKind::ALL {
        let queue = peer.create_of(&Draft::invitation(FIXED, USER).unsubscribed()).await?;
        let link = queue.link_id.clone().unwrap_or_default();
        let key = Key::of(kind);
        let lkey = with_key("LKEY", &key);
        peer.link(&key, &link, &lkey, (&queue.sender_id, FIXED, USER)).await.at(format!("{kind:?}"))?;
        peer.sender(&key, &queue, &send(b"x"), "OK").await.at(format!("{kind:?}"))?;
    }
    Ok(())
}

async fn lkey_secured(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let queue = peer.create_of(&Draft::invitation(FIXED, USER).unsubscribed()).await?;
    let link = queue.link_id.clone().unwrap_or_default();
    let (key, other) = (Key::new(), Key::new());
    peer.recipient(&queue, &with_key("KEY", &key), "OK").await?;
    peer.expect(&other, &link, &with_key("LKEY", &other), "ERR AUTH").await?;
    peer.link(&key, &link, &with_key("LKEY", &key), (&queue.sender_id, FIXED, USER)).await
}

async fn address(trial: Trial) -> Outcome {
    let (mut owner, mut guest) = (trial.connect().await?, trial.connect().await?);
    let link = random::<24>();
    let draft = Draft::address(&link, FIXED, USER);
    let queue = owner.create_of(&draft).await?;
    equal(&queue.sender_id, &sender_id_of(&draft.correlation_id)).at("sender id")?;
    equal((queue.mode, queue.link_id.as_deref()), (Some(b'C'), Some(&link[..]))).at("mode and link id")?;
    let key = Key::new();
    guest.expect(&key, &link, &with_key("LKEY", &key), "ERR AUTH").await?;
    guest.expect(&key, &link, b"LGET", "ERR CMD HAS_AUTH").await?;
    guest.expect(Nobody, &queue.recipient_id, b"LGET", "ERR AUTH").await.at("recipient id")?;
    guest.expect(Nobody, &queue.sender_id, b"LGET", "ERR AUTH").await.at("sender id")?;
    for _ in 0..2 {
        guest.link(Nobody, &link, b"LGET", (&queue.sender_id, FIXED, USER)).await?;
    }
    owner.recipient(&queue, &lset(&link, FIXED, b"changed"), "OK").await?;
    guest.link(Nobody, &link, b"LGET", (&queue.sender_id, FIXED, b"changed")).await?;
    owner.recipient(&queue, &lset(&random::<24>(), FIXED, USER), "ERR AUTH").await.at("another link id")?;
    owner.recipient(&queue, &lset(&link, b"other", USER), "ERR AUTH").await.at("other fixed data")?;
    owner.recipient(&queue, &with_key("KEY", &key), "OK").await?;
    owner.recipient(&queue, &lset(&link, FIXED, b"again"), "OK").await.at("a secured contact queue")?;
    guest.sender(&key, &queue, &send(b"x"), "OK").await?;
    owner.message_of(&queue, b"x").await?;
    guest.link(Nobody, &link, b"LGET", (&queue.sender_id, FIXED, b"again")).await.at("messages leave it")?;
    owner.recipient(&queue, b"LDEL", "OK").await?;
    owner.recipient(&queue, b"LDEL", "OK").await.at("again")?;
    guest.expect(Nobody, &link, b"LGET", "ERR AUTH").await.at("the data are gone")
}

async fn deleted_queue(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let link = random::<24>();
    let queue = peer.create_of(&Draft::address(&link, FIXED, USER)).await?;
    peer.recipient(&queue, b"DEL", "OK").await?;
    peer.expect(Nobody, &link, b"LGET", "ERR AUTH").await
}

async fn taken(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let link = random::<24>();
    let draft = Draft::address(&link, FIXED, USER);
    let queue = peer.create_of(&draft).await?;
    peer.refused(&draft, "ERR AUTH").await.at("the same again")?;
    let invitation = Draft::invitation(FIXED, USER);
    peer.create_of(&invitation).await?;
    peer.refused(&Draft { key: Key::new(), ..invitation }, "ERR AUTH").await.at("the same sender id")?;
    peer.refused(&Draft::address(&link, b"other", b"other"), "ERR AUTH").await.at("the same link id")?;
    peer.link(Nobody, &link, b"LGET", (&queue.sender_id, FIXED, USER)).await.at("nothing has changed")
}

async fn set_later(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let (link, key) = (random::<24>(), Key::new());
    let contact = peer.create_of(&Draft::contact().unsubscribed()).await?;
    peer.recipient(&contact, &lset(&link, FIXED, USER), "OK").await?;
    peer.link(Nobody, &link, b"LGET", (&contact.sender_id, FIXED, USER)).await?;
    let link = random::<24>();
    let messaging = peer.create_of(&Draft::messaging().unsubscribed()).await?;
    peer.recipient(&messaging, &lset(&link, FIXED, USER), "OK").await?;
    peer.link(&key, &link, &with_key("LKEY", &key), (&messaging.sender_id, FIXED, USER)).await?;
    let secured = peer.create_of(&Draft::messaging().unsubscribed()).await?;
    peer.recipient(&secured, &with_key("KEY", &key), "OK").await?;
    peer.recipient(&secured, &lset(&random::<24>(), FIXED, USER), "ERR AUTH").await.at("already secured")
}

/// A queue of no mode is as a contact queue until it is secured, and as a messaging queue from then on.
async fn unknown_mode(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let (link, key) = (random::<24>(), Key::new());
    let queue = peer.create_of(&Draft { request: None, ..Draft::messaging().unsubscribed() }).await?;
    peer.recipient(&queue, &lset(&link, FIXED, USER), "OK").await?;
    peer.link(Nobody, &link, b"LGET", (&queue.sender_id, FIXED, USER)).await?;
    peer.expect(&key, &link, &with_key("LKEY", &key), "ERR AUTH").await?;
    peer.recipient(&queue, &with_key("KEY", &key), "OK").await?;
    peer.expect(Nobody, &link, b"LGET", "ERR AUTH").await.at("once it is secured")?;
    peer.recipient(&queue, &lset(&link, FIXED, USER), "ERR AUTH").await.at("once it is secured")
}

async fn full_size(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let (fixed, user) = ([3; 2048], [4; 13_824]);
    let link = random::<24>();
    let queue = peer.create_of(&Draft::address(&link, &fixed, &user).unsubscribed()).await?;
    peer.link(Nobody, &link, b"LGET", (&queue.sender_id, &fixed, &user)).await?;
    peer.recipient(&queue, &lset(&link, &fixed, &[5; 13_824]), "OK").await?;
    peer.link(Nobody, &link, b"LGET", (&queue.sender_id, &fixed, &[5; 13_824])).await?;
    let queue = peer.create_of(&Draft::invitation(&fixed, &user).unsubscribed()).await?;
    let (link, key) = (queue.link_id.clone().unwrap_or_default(), Key::new());
    peer.link(&key, &link, &with_key("LKEY", &key), (&queue.sender_id, &fixed, &user)).await
}
