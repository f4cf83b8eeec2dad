//! What is refused by its form, and in which order (smp.md §5.4, §5.5, §20.1).

use crate::case::{Case, case};
use crate::failure::{At as _, Outcome};
use crate::peer::By::Nobody;
use crate::peer::commands::{Draft, ack, lset, nkey, rkey, send, with_key};
use crate::peer::keys::{Key, random};
use crate::peer::wire::{short, x448_spki, x25519_spki};
use crate::trial::Trial;

pub(super) const CASES: &[Case] = &[
    case!("syntax/unknown-tags", "§5.5, §20.1.1, §20.1.8", unknown_tags),
    case!("syntax/new", "§6.1, §20.1.2", new),
    case!("syntax/new-keys", "§2.1, §6.1", new_keys),
    case!("syntax/new-password", "§6.1", new_password),
    case!("syntax/key", "§6.2, §20.1.3", key),
    case!("syntax/commands-without-parameters", "§5.5, §20.1.4", without_parameters),
    case!("syntax/send", "§6.3, §20.1.5", send_forms),
    case!("syntax/send-flags-of-later-versions", "§6.3", later_flags),
    case!("syntax/ack", "§6.2, §20.1.6", ack_forms),
    case!("syntax/ping", "§5.4, §20.1.7", ping),
    case!("syntax/rkey", "§6.2", rkey_forms),
    case!("syntax/link-commands", "§5.4, §6.2, §6.4", link_commands),
    case!("syntax/notifier-commands", "§5.4, §6.2, §6.5", notifier_commands),
    case!("syntax/proxy-commands", "§5.4, §6.6", proxy_commands),
    case!("syntax/service-commands", "§5.4, §6.5, §6.6", service_commands),
    case!("syntax/order-of-errors", "§5.5", order_of_errors),
];

async fn unknown_tags(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let (key, id) = (Key::new(), random::<24>());
    let tags: [&[u8]; 11] =
        [b"HELLO", b"OK", b"SUB=", b"", b"PONG", b"END", b"MSG", b"sub", b" SUB", b"SUBS=", b"CSUB"];
    for tag in tags {
        peer.expect(&key, &id, tag, "ERR CMD UNKNOWN").await?;
        peer.expect(Nobody, b"", tag, "ERR CMD UNKNOWN").await?;
    }
    peer.quiet().await
}

async fn new(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let draft = Draft::messaging().unsubscribed();
    let good = peer.new_command(&draft);
    let parameters = good.get(4..).unwrap_or_default();
    let syntax = "ERR CMD SYNTAX";
    for form in [
        b"NEW".to_vec(),
        b"NEW ".to_vec(),
        [b"NEW \x01A", parameters].concat(),
        [&good[..], b"x"].concat(),
        good.get(..good.len().saturating_sub(1)).unwrap_or_default().to_vec(),
        [b"NEW  ", parameters].concat(),
    ] {
        peer.expect(&draft.key, b"", &form, syntax).await?;
    }
    let start = [b"NEW ".as_slice(), &draft.key.public(), &x25519_spki(&[9; 32])].concat();
    let end: &[u8] = if trial.version >= 17 { b"0" } else { b"" };
    for odd in [&b"0XM0"[..], b"2SM0", b"0S1X0", b"0S1M2", b"0S2M0"] {
        peer.expect(&draft.key, b"", &[&start, odd, end].concat(), syntax).await?;
    }
    peer.expect(Nobody, b"", &good, "ERR CMD NO_AUTH").await?;
    peer.expect(Nobody, &random::<24>(), &good, "ERR CMD NO_AUTH")
        .await
        .at("no authenticator, and an entity")?;
    peer.expect(&draft.key, &random::<24>(), &good, "ERR CMD HAS_AUTH").await?;
    peer.expect(&Key::new(), b"", &good, "ERR AUTH").await.at("signed by another key than the one inside")?;
    peer.create_of(&draft).await?;
    peer.quiet().await
}

async fn new_keys(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let key = Key::new();
    let rest: &[u8] = if trial.version >= 17 { b"0C1M00" } else { b"0C1M0" };
    let dh = x25519_spki(&[9; 32]);
    let spki = key.public().get(1..).unwrap_or_default().to_vec();
    let bad_keys = [
        x448_spki(&[5; 56]),
        short(b""),
        short(&[spki.as_slice(), b"x"].concat()),
        short(spki.get(..43).unwrap_or_default()),
        short(&[&[0x31], spki.get(1..).unwrap_or_default()].concat()),
    ];
    for bad in &bad_keys {
        let command = [b"NEW ", bad.as_slice(), &dh, rest].concat();
        peer.expect(&key, b"", &command, "ERR CMD SYNTAX").await.at("recipient key")?;
    }
    for bad in bad_keys.iter().chain([&key.public()]) {
        let command = [b"NEW ", key.public().as_slice(), bad, rest].concat();
        peer.expect(&key, b"", &command, "ERR CMD SYNTAX").await.at("DH key")?;
    }
    Ok(())
}

async fn new_password(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let draft =
        |password: &[u8]| Draft { password: Some(password.to_vec()), ..Draft::messaging().unsubscribed() };
    for bad in [&b"a b"[..], b"a@b", b"a:b", b"a/b", b"a\x1f", b"\x7f", b"\xa0", b"\xad", b"a\n"] {
        let draft = draft(bad);
        peer.expect(&draft.key, b"", &draft.command(trial.version), "ERR CMD SYNTAX").await?;
    }
    for good in [&b"!"[..], b"\xa1\xff", b"", b"pass-word~"] {
        let draft = draft(good);
        if trial.observer().password().is_some_and(|password| password != good) {
            peer.refused(&draft, "ERR AUTH").await?;
        } else {
            peer.create_of(&draft).await.at("no password is wanted, so any is good")?;
        }
    }
    Ok(())
}

async fn key(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let (key, id) = (Key::new(), random::<24>());
    for tag in ["KEY", "SKEY", "LKEY"] {
        let good = with_key(tag, &key);
        peer.expect(&key, &id, &good, "ERR AUTH").await?;
        for bad in [tag.as_bytes().to_vec(), [tag.as_bytes(), b" "].concat(), [&good[..], b"x"].concat()] {
            peer.expect(&key, &id, &bad, "ERR CMD SYNTAX").await?;
        }
        let of_x448 = [tag.as_bytes(), b" ", &x448_spki(&[5; 56])].concat();
        peer.expect(&key, &id, &of_x448, "ERR CMD SYNTAX").await?;
        peer.expect(Nobody, &id, &good, "ERR CMD NO_AUTH").await?;
        peer.expect(&key, b"", &good, "ERR CMD NO_AUTH").await?;
        peer.expect(Nobody, b"", &good, "ERR CMD NO_AUTH").await?;
    }
    Ok(())
}

async fn without_parameters(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let (key, id) = (Key::new(), random::<24>());
    for tag in ["SUB", "OFF", "DEL", "GET", "QUE", "LDEL", "NDEL", "NSUB"] {
        let tag_bytes = tag.as_bytes();
        peer.expect(&key, &id, tag_bytes, "ERR AUTH").await?;
        peer.expect(Nobody, &id, tag_bytes, "ERR CMD NO_AUTH").await?;
        peer.expect(&key, b"", tag_bytes, "ERR CMD NO_AUTH").await?;
        peer.expect(&key, &id, &[tag_bytes, b" "].concat(), "ERR CMD SYNTAX").await?;
        peer.expect(&key, &id, &[tag_bytes, b" x"].concat(), "ERR CMD SYNTAX").await?;
        peer.expect(&key, &id, &[tag_bytes, b"="].concat(), "ERR CMD UNKNOWN").await?;
    }
    Ok(())
}

async fn send_forms(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let (key, id) = (Key::new(), random::<24>());
    let good = send(b"body");
    peer.expect(Nobody, &id, &good, "ERR AUTH").await?;
    peer.expect(&key, &id, &good, "ERR AUTH").await?;
    for bad in [&b"SEND"[..], b"SEND ", b"SEND T", b"SEND X body", b"SEND  body", b"SEND t body"] {
        peer.expect(&key, &id, bad, "ERR CMD SYNTAX").await?;
    }
    peer.expect(Nobody, b"", &good, "ERR CMD NO_ENTITY").await?;
    peer.expect(&key, b"", &good, "ERR CMD NO_ENTITY").await
}

async fn later_flags(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let queue = peer.create().await?;
    peer.sender(Nobody, &queue, b"SEND Txyz123 body", "OK").await?;
    let message = peer.message_of(&queue, b"body").await?;
    peer.acknowledge(&queue, &message).await
}

async fn ack_forms(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let (key, id) = (Key::new(), random::<24>());
    let good = ack(&random::<24>());
    peer.expect(&key, &id, &good, "ERR AUTH").await?;
    peer.expect(&key, &id, b"ACK", "ERR CMD SYNTAX").await?;
    peer.expect(&key, &id, b"ACK ", "ERR CMD SYNTAX").await?;
    peer.expect(&key, &id, b"ACK \x05abc", "ERR CMD SYNTAX").await?;
    peer.expect(&key, &id, &[&good[..], b"x"].concat(), "ERR CMD SYNTAX").await?;
    peer.expect(&key, b"", &good, "ERR CMD NO_AUTH").await?;
    peer.expect(Nobody, &id, &good, "ERR CMD NO_AUTH").await
}

async fn ping(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let (key, id) = (Key::new(), random::<24>());
    peer.expect(Nobody, b"", b"PING", "PONG").await?;
    peer.expect(&key, b"", b"PING", "ERR CMD HAS_AUTH").await?;
    peer.expect(Nobody, &id, b"PING", "ERR CMD HAS_AUTH").await?;
    peer.expect(Nobody, b"", b"PING ", "ERR CMD SYNTAX").await
}

async fn rkey_forms(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let (key, id) = (Key::new(), random::<24>());
    let good = rkey(&[&key, &Key::new()]);
    peer.expect(&key, &id, &good, "ERR AUTH").await?;
    for bad in [b"RKEY".to_vec(), b"RKEY ".to_vec(), b"RKEY \x00".to_vec(), [&good[..], b"x"].concat()] {
        peer.expect(&key, &id, &bad, "ERR CMD SYNTAX").await?;
    }
    peer.expect(Nobody, &id, &good, "ERR CMD NO_AUTH").await?;
    peer.expect(&key, b"", &good, "ERR CMD NO_AUTH").await
}

async fn link_commands(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let (key, id) = (Key::new(), random::<24>());
    peer.expect(Nobody, &id, b"LGET", "ERR AUTH").await?;
    peer.expect(Nobody, b"", b"LGET", "ERR CMD NO_ENTITY").await?;
    peer.expect(&key, &id, b"LGET", "ERR CMD HAS_AUTH").await?;
    peer.expect(&key, b"", b"LGET", "ERR CMD NO_ENTITY").await.at("no entity, and an authenticator")?;
    peer.expect(Nobody, &id, b"LGET ", "ERR CMD SYNTAX").await?;
    let good = lset(&[1; 24], b"fixed", b"user");
    peer.expect(&key, &id, &good, "ERR AUTH").await?;
    for bad in
        [b"LSET".to_vec(), b"LSET ".to_vec(), b"LSET \x01a\x00\x01b".to_vec(), [&good[..], b"x"].concat()]
    {
        peer.expect(&key, &id, &bad, "ERR CMD SYNTAX").await?;
    }
    peer.expect(Nobody, &id, &good, "ERR CMD NO_AUTH").await?;
    peer.expect(&key, b"", &good, "ERR CMD NO_AUTH").await
}

async fn notifier_commands(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let (key, id) = (Key::new(), random::<24>());
    let good = nkey(&key, &peer.own_key);
    peer.expect(&key, &id, &good, "ERR AUTH").await?;
    let only_one = [b"NKEY ", key.public().as_slice()].concat();
    let x448 = [b"NKEY ", x448_spki(&[5; 56]).as_slice(), &x25519_spki(&[9; 32])].concat();
    let no_dh = [b"NKEY ", key.public().as_slice(), &key.public()].concat();
    for bad in [b"NKEY".to_vec(), b"NKEY ".to_vec(), only_one, x448, no_dh, [&good[..], b"x"].concat()] {
        peer.expect(&key, &id, &bad, "ERR CMD SYNTAX").await?;
    }
    peer.expect(Nobody, &id, &good, "ERR CMD NO_AUTH").await?;
    peer.expect(&key, b"", &good, "ERR CMD NO_AUTH").await
}

async fn proxy_commands(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let (key, id) = (Key::new(), random::<24>());
    let server = [b"\x01".as_slice(), &short(b"127.0.0.1"), &short(b"1"), &short(&[7; 32])].concat();
    let prxy = [b"PRXY ", server.as_slice(), b"0"].concat();
    peer.expect(&key, b"", &prxy, "ERR CMD HAS_AUTH").await?;
    peer.expect(Nobody, &id, &prxy, "ERR CMD HAS_AUTH").await?;
    for bad in [b"PRXY".to_vec(), b"PRXY ".to_vec(), b"PRXY \x000".to_vec(), [&prxy[..], b"x"].concat()] {
        peer.expect(Nobody, b"", &bad, "ERR CMD SYNTAX").await?;
    }
    let pfwd = [b"PFWD \x00\x11", x25519_spki(&[9; 32]).as_slice(), &[7; 100]].concat();
    peer.expect(Nobody, b"", &pfwd, "ERR CMD NO_ENTITY").await?;
    peer.expect(&key, b"", &pfwd, "ERR CMD NO_ENTITY").await?;
    peer.expect(&key, &id, &pfwd, "ERR CMD HAS_AUTH").await?;
    for bad in [&b"PFWD"[..], b"PFWD ", b"PFWD \x00", b"PFWD \x00\x11\x05abcde"] {
        peer.expect(Nobody, &id, bad, "ERR CMD SYNTAX").await?;
    }
    peer.expect(&key, b"", b"RFWD abc", "ERR CMD HAS_AUTH").await?;
    peer.expect(Nobody, &id, b"RFWD abc", "ERR CMD HAS_AUTH").await?;
    peer.expect(Nobody, b"", b"RFWD", "ERR CMD SYNTAX").await
}

async fn service_commands(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let (key, id) = (Key::new(), random::<24>());
    for tag in [&b"SUBS"[..], b"NSUBS"] {
        peer.expect(Nobody, &id, tag, "ERR CMD NO_AUTH").await?;
        peer.expect(&key, b"", tag, "ERR CMD NO_AUTH").await?;
        peer.expect(&key, &id, &[tag, b" "].concat(), "ERR CMD SYNTAX").await?;
    }
    Ok(())
}

async fn order_of_errors(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let queue = peer.create_of(&Draft::messaging().unsubscribed()).await?;
    let other = Key::new();
    peer.expect(Nobody, b"", b"KEY", "ERR CMD SYNTAX").await.at("syntax before credentials")?;
    peer.expect(Nobody, b"", b"KEYS", "ERR CMD UNKNOWN").await.at("tag before credentials")?;
    peer.expect(&other, b"", b"SUB", "ERR CMD NO_AUTH").await.at("credentials before authorisation")?;
    peer.expect(&other, &queue.recipient_id, b"SUB ", "ERR CMD SYNTAX")
        .await
        .at("syntax before authorisation")?;
    peer.expect(&other, &queue.recipient_id, b"SUB", "ERR AUTH").await?;
    peer.subscribe(&queue).await
}
