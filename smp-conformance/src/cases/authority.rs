//! Who may do what (smp.md §5.3, §5.6).

use crate::case::{Case, case};
use crate::failure::{At as _, Outcome, equal};
use crate::peer::commands::{Draft, ack, lset, nkey, rkey, send, with_key};
use crate::peer::keys::{Key, KeyKind, random};
use crate::peer::wire::short;
use crate::peer::{By, Hello, same};
use crate::trial::Trial;

pub(super) const CASES: &[Case] = &[
    case!("authority/recipient-keys-of-every-kind", "§5.3", recipient_kinds),
    case!("authority/sender-keys-of-every-kind", "§5.3", sender_kinds),
    case!("authority/x25519-without-session-key", "§5.3", x25519_without_session_key),
    case!("authority/wrong-keys", "§5.6", wrong_keys),
    case!("authority/other-kinds-of-keys", "§5.3, §5.6", other_kinds),
    case!("authority/new-is-signed-by-the-key-inside", "§5.6", new_is_signed_by_its_key),
    case!("authority/ids-of-other-parties", "§5.6, §20.2.2", ids_of_other_parties),
    case!("authority/bytes-of-another-session", "§5.3", another_session),
    case!("authority/what-is-signed", "§5.3", what_is_signed),
    case!("authority/service-signature-without-service", "§5.6", service_signature).since(16),
    case!("authority/refusals-look-the-same", "§5.6", refusals_look_the_same),
];

async fn recipient_kinds(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    for kind in KeyKind::ALL {
        let key = Key::of(kind);
        let queue = peer.create_of(&Draft::messaging().with_key(key)).await.at(format!("{kind:?}"))?;
        peer.sender(By::Nobody, &queue, &send(b"hello"), "OK").await?;
        let message = peer.message_of(&queue, b"hello").await?;
        peer.acknowledge(&queue, &message).await.at(format!("{kind:?}"))?;
        peer.expect(&Key::of(kind), &queue.recipient_id, b"DEL", "ERR AUTH").await.at(format!("{kind:?}"))?;
        peer.recipient(&queue, b"DEL", "OK").await.at(format!("{kind:?}"))?;
    }
    Ok(())
}

async fn sender_kinds(trial: Trial) -> Outcome {
    let (mut recipient, mut sender) = (trial.connect().await?, trial.connect().await?);
    for kind in KeyKind::ALL {
        let at = format!("{kind:?}");
        let key = Key::of(kind);
        let queue = recipient.create().await?;
        recipient.recipient(&queue, &with_key("KEY", &key), "OK").await.at(at.clone())?;
        sender.sender(&key, &queue, &send(b"hello"), "OK").await.at(at.clone())?;
        recipient.message_of(&queue, b"hello").await?;
        sender.sender(&Key::of(kind), &queue, &send(b"hello"), "ERR AUTH").await.at(at.clone())?;
        let by_sender = recipient.create().await?;
        sender.sender(&key, &by_sender, &with_key("SKEY", &key), "OK").await.at(at.clone())?;
        sender.sender(&key, &by_sender, &send(b"hello"), "OK").await.at(at)?;
        recipient.message_of(&by_sender, b"hello").await?;
    }
    Ok(())
}

async fn x25519_without_session_key(trial: Trial) -> Outcome {
    let mut peer = trial.connect_as(&Hello::plain(trial.version)).await?;
    let queue = peer.create_of(&Draft::messaging().with_key(Key::of(KeyKind::X25519))).await?;
    peer.subscribe(&queue).await
}

async fn wrong_keys(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let queue = peer.create_of(&Draft::messaging().unsubscribed()).await?;
    let sender_key = Key::new();
    peer.recipient(&queue, &with_key("KEY", &sender_key), "OK").await?;
    let commands = [
        b"SUB".to_vec(),
        b"GET".to_vec(),
        b"OFF".to_vec(),
        b"DEL".to_vec(),
        b"QUE".to_vec(),
        b"LDEL".to_vec(),
        b"NDEL".to_vec(),
        ack(&[1; 24]),
        with_key("KEY", &sender_key),
        rkey(&[&sender_key]),
        nkey(&sender_key, &peer.own_key),
        lset(&[1; 24], b"fixed", b"user"),
    ];
    for command in &commands {
        for kind in KeyKind::ALL {
            peer.expect(&Key::of(kind), &queue.recipient_id, command, "ERR AUTH").await?;
        }
        peer.expect(&sender_key, &queue.recipient_id, command, "ERR AUTH")
            .await
            .at("signed by the sender")?;
        peer.expect(By::Bytes(&[0; 64]), &queue.recipient_id, command, "ERR AUTH")
            .await
            .at("no signature")?;
    }
    peer.sender(&queue.key, &queue, &send(b"x"), "ERR AUTH").await.at("signed by the recipient")?;
    peer.sender(&sender_key, &queue, &send(b"x"), "OK").await.at("nothing has changed")?;
    peer.subscribe(&queue).await.at("nothing has changed")?;
    peer.message_of(&queue, b"x").await.map(drop)
}

async fn other_kinds(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    for of_queue in KeyKind::ALL {
        let queue = peer.create_of(&Draft::messaging().with_key(Key::of(of_queue)).unsubscribed()).await?;
        for used in KeyKind::ALL {
            let at = format!("{of_queue:?} queue, {used:?} key");
            peer.expect(&Key::of(used), &queue.recipient_id, b"SUB", "ERR AUTH").await.at(at.clone())?;
            peer.expect(&Key::of(used), &random::<24>(), b"SUB", "ERR AUTH").await.at(at)?;
        }
    }
    Ok(())
}

async fn new_is_signed_by_its_key(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let draft = Draft::messaging();
    let command = peer.new_command(&draft);
    for kind in KeyKind::ALL {
        peer.expect(&Key::of(kind), b"", &command, "ERR AUTH").await?;
    }
    peer.create_of(&draft).await?;
    Ok(())
}

async fn ids_of_other_parties(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let queue = peer.create_of(&Draft::messaging().unsubscribed()).await?;
    let sender_key = Key::new();
    for command in [&b"SUB"[..], b"OFF", b"DEL", b"GET", b"QUE", &with_key("KEY", &sender_key)] {
        peer.expect(&queue.key, &queue.sender_id, command, "ERR AUTH").await.at("by sender id")?;
    }
    peer.expect(&sender_key, &queue.recipient_id, &with_key("SKEY", &sender_key), "ERR AUTH").await?;
    peer.expect(By::Nobody, &queue.recipient_id, &send(b"x"), "ERR AUTH").await.at("by recipient id")?;
    peer.expect(&queue.key, &queue.recipient_id, b"NSUB", "ERR AUTH").await?;
    peer.expect(By::Nobody, &queue.recipient_id, b"LGET", "ERR AUTH").await?;
    peer.subscribe(&queue).await
}

async fn another_session(trial: Trial) -> Outcome {
    let (mut one, mut other) = (trial.connect().await?, trial.connect().await?);
    let queue = one.create_of(&Draft::messaging().unsubscribed()).await?;
    for kind in [KeyKind::Ed25519, KeyKind::X25519] {
        let queue = if kind == KeyKind::Ed25519 {
            queue.clone()
        } else {
            one.create_of(&Draft::messaging().unsubscribed().with_key(Key::of(kind))).await?
        };
        let correlation_id = random::<24>();
        let transmission =
            one.transmission((&queue.key).into(), &correlation_id, &queue.recipient_id, b"SUB");
        other.send(&[transmission]).await?;
        same(&other.answer(&correlation_id).await?.message, b"ERR AUTH").at("signed for another session")?;
    }
    one.subscribe(&queue).await
}

/// Each part of what is signed matters: session, correlation id, entity, command.
async fn what_is_signed(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let queue = peer.create_of(&Draft::messaging().unsubscribed()).await?;
    let id = queue.recipient_id.as_slice();
    let correlation_id = random::<24>();
    let good = peer.authorized(&correlation_id, id, b"SUB");
    let session = short(&peer.session_id).len();
    let others = [
        ("another correlation id", peer.authorized(&random::<24>(), id, b"SUB")),
        ("another entity", peer.authorized(&correlation_id, &queue.sender_id, b"SUB")),
        ("another command", peer.authorized(&correlation_id, id, b"OFF")),
        ("without the session", good.get(session..).unwrap_or_default().to_vec()),
        ("more at the end", [good.as_slice(), b" "].concat()),
    ];
    for (what, other) in others {
        let signature = queue.key.authenticator(&peer.server_key, &correlation_id, &other);
        let answer = peer.ask_with(&correlation_id, By::Bytes(&signature), id, b"SUB").await?;
        same(&answer, b"ERR AUTH").at(what)?;
    }
    let signature = queue.key.authenticator(&peer.server_key, &correlation_id, &good);
    let answer = peer.ask_with(&correlation_id, By::Bytes(&signature), id, b"SUB").await?;
    same(&answer, peer.subscribed().as_bytes())
}

async fn service_signature(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let queue = peer.create_of(&Draft::messaging().unsubscribed()).await?;
    let service = Key::new();
    for (key, id, tag, expected) in [
        (&queue.key, queue.recipient_id.as_slice(), "SUB", "ERR SERVICE"),
        (&Key::new(), &queue.recipient_id, "SUB", "ERR SERVICE"),
        (&queue.key, &queue.recipient_id, "OFF", "ERR SERVICE"),
        (&queue.key, &queue.recipient_id, "DEL", "ERR SERVICE"),
        (&queue.key, &[7; 24], "SUB", "ERR AUTH"),
    ] {
        let correlation_id = random::<24>();
        let authorized = peer.authorized(&correlation_id, id, tag.as_bytes());
        let own = key.authenticator(&peer.server_key, &correlation_id, &authorized);
        let second = service.authenticator(&peer.server_key, &correlation_id, &authorized);
        let transmission =
            [short(&own), b"1".to_vec(), short(&second), short(&correlation_id), short(id), tag.into()]
                .concat();
        peer.send(&[transmission]).await?;
        let answer = peer.answer(&correlation_id).await?;
        equal(answer.entity_id.as_slice(), id).at("entity")?;
        same(&answer.message, expected.as_bytes()).at(tag)?;
    }
    peer.subscribe(&queue).await.at("nothing has changed")
}

/// A refusal does not tell whether there is such a queue.
async fn refusals_look_the_same(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let queue = peer.create_of(&Draft::messaging().unsubscribed()).await?;
    let secured = peer.create_of(&Draft::messaging().unsubscribed()).await?;
    peer.recipient(&secured, &with_key("KEY", &Key::new()), "OK").await?;
    let nobody = random::<24>();
    for (what, id) in [("no queue", nobody.as_slice()), ("another's queue", &queue.recipient_id)] {
        for command in [&b"SUB"[..], b"DEL", b"OFF", b"QUE", b"GET"] {
            peer.expect(&Key::new(), id, command, "ERR AUTH").await.at(what)?;
        }
    }
    for (what, id) in [("no queue", nobody.as_slice()), ("a secured queue", &secured.sender_id)] {
        peer.expect(By::Nobody, id, &send(b"x"), "ERR AUTH").await.at(what)?;
        peer.expect(&Key::new(), id, &send(b"x"), "ERR AUTH").await.at(what)?;
        let key = Key::new();
        peer.expect(&key, id, &with_key("SKEY", &key), "ERR AUTH").await.at(what)?;
    }
    Ok(())
}
