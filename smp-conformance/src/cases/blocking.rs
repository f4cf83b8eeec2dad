//! Queues that the operator blocks (smp.md §8.1, §9.2, §20.5.4).

use crate::case::{Case, case};
use crate::failure::{At as _, Outcome};
use crate::peer::By::Nobody;
use crate::peer::commands::{Draft, ack, lset, nkey, rkey, send, with_key};
use crate::peer::keys::{Key, random};
use crate::peer::same;
use crate::spawn::{Operation, Wanted};
use crate::trial::Trial;

pub(super) const CASES: &[Case] = &[
    case!("blocking/commands-are-refused", "§9.2, §20.5.4", refused),
    case!("blocking/links-are-refused", "§9.2", links),
    case!("blocking/subscriber-is-told", "§7.1, §18.4", told),
    case!("blocking/notices", "§8.1", notices),
    case!("blocking/off-and-delete-work", "§9.2", off_and_delete),
    case!("blocking/stays-over-a-restart", "§18.2", stays),
];

const SPAM: Operation = Operation::Block { reason: "spam", notice: "" };
const CONTENT: Operation = Operation::Block { reason: "content", notice: "" };

async fn refused(trial: Trial) -> Outcome {
    let home = trial.home().await?;
    let server = home.start(&Wanted::default()).await?;
    let mut peer = trial.connect_to(&server.place).await?;
    let queue = peer.create_of(&Draft::messaging().unsubscribed()).await?;
    let notifier = peer.add_notifier(&queue, Key::new()).await?;
    trial.operate(&home, CONTENT, &queue.sender_id).await?;
    let blocked = "ERR BLOCKED reason=content";
    let key = Key::new();
    peer.sender(Nobody, &queue, &send(b"x"), blocked).await?;
    peer.sender(Nobody, &queue, &send(&[b'x'; 16_049]), "ERR LARGE_MSG").await.at("too large comes first")?;
    peer.sender(&key, &queue, &send(b"x"), "ERR AUTH").await.at("authorisation comes first")?;
    peer.sender(&key, &queue, &with_key("SKEY", &key), blocked).await?;
    for command in [
        b"SUB".to_vec(),
        b"GET".to_vec(),
        b"QUE".to_vec(),
        b"LDEL".to_vec(),
        b"NDEL".to_vec(),
        ack(&[1; 24]),
        with_key("KEY", &key),
        rkey(&[&key]),
        nkey(&key, &peer.own_key),
        lset(&[1; 24], b"fixed", b"user"),
    ] {
        peer.recipient(&queue, &command, blocked).await?;
        peer.expect(&key, &queue.recipient_id, &command, "ERR AUTH").await.at("authorisation comes first")?;
    }
    peer.subscribe_notifier(&notifier).await.at("the notifier is not concerned")?;
    trial.operate(&home, Operation::Unblock, &queue.sender_id).await?;
    peer.sender(Nobody, &queue, &send(b"back"), "OK").await?;
    peer.subscribe(&queue).await?;
    let message = peer.message_of(&queue, b"back").await?;
    peer.acknowledge(&queue, &message).await
}

async fn links(trial: Trial) -> Outcome {
    let home = trial.home().await?;
    let server = home.start(&Wanted::default()).await?;
    let mut peer = trial.connect_to(&server.place).await?;
    let link = random::<24>();
    let address = peer.create_of(&Draft::address(&link, b"fixed", b"user").unsubscribed()).await?;
    let invitation = peer.create_of(&Draft::invitation(b"fixed", b"user").unsubscribed()).await?;
    for queue in [&address, &invitation] {
        trial.operate(&home, SPAM, &queue.sender_id).await?;
    }
    let blocked = "ERR BLOCKED reason=spam";
    peer.expect(Nobody, &link, b"LGET", blocked).await?;
    let (id, key) = (invitation.link_id.clone().unwrap_or_default(), Key::new());
    peer.expect(&key, &id, &with_key("LKEY", &key), blocked).await?;
    for queue in [&address, &invitation] {
        trial.operate(&home, Operation::Unblock, &queue.sender_id).await?;
    }
    peer.link(Nobody, &link, b"LGET", (&address.sender_id, b"fixed", b"user")).await?;
    peer.link(&key, &id, &with_key("LKEY", &key), (&invitation.sender_id, b"fixed", b"user")).await
}

async fn told(trial: Trial) -> Outcome {
    let home = trial.home().await?;
    let server = home.start(&Wanted::default()).await?;
    let (mut peer, mut other) =
        (trial.connect_to(&server.place).await?, trial.connect_to(&server.place).await?);
    let queue = peer.create().await?;
    trial.operate(&home, SPAM, &queue.sender_id).await?;
    same(&peer.event(&queue.recipient_id).await?, b"ERR BLOCKED reason=spam")?;
    peer.quiet().await?;
    other.quiet().await
}

async fn notices(trial: Trial) -> Outcome {
    let home = trial.home().await?;
    let server = home.start(&Wanted::default()).await?;
    let mut peer = trial.connect_to(&server.place).await?;
    for (reason, notice, shown) in [
        ("spam", "3600", "reason=spam,notice={\"ttl\":3600}"),
        ("content", "forever", "reason=content,notice={}"),
        ("content", "", "reason=content"),
    ] {
        let queue = peer.create_of(&Draft::messaging().unsubscribed()).await?;
        trial.operate(&home, Operation::Block { reason, notice }, &queue.sender_id).await?;
        let shown = if trial.version >= 18 { shown.to_owned() } else { format!("reason={reason}") };
        peer.sender(Nobody, &queue, &send(b"x"), &format!("ERR BLOCKED {shown}")).await?;
    }
    Ok(())
}

async fn off_and_delete(trial: Trial) -> Outcome {
    let home = trial.home().await?;
    let server = home.start(&Wanted::default()).await?;
    let mut peer = trial.connect_to(&server.place).await?;
    let queue = peer.create_of(&Draft::messaging().unsubscribed()).await?;
    trial.operate(&home, SPAM, &queue.sender_id).await?;
    peer.recipient(&queue, b"OFF", "OK").await?;
    let answer = peer.ask(Nobody, &queue.sender_id, &send(b"x")).await?;
    if answer == b"ERR AUTH" {
        trial.quirk("suspending a blocked queue takes the block away");
    } else {
        same(&answer, b"ERR BLOCKED reason=spam").at("SEND after OFF")?;
    }
    let deleted = peer.create_of(&Draft::messaging().unsubscribed()).await?;
    trial.operate(&home, SPAM, &deleted.sender_id).await?;
    peer.recipient(&deleted, b"DEL", "OK").await?;
    peer.sender(Nobody, &deleted, &send(b"x"), "ERR AUTH").await
}

async fn stays(trial: Trial) -> Outcome {
    let (home, wanted) = (trial.home().await?, Wanted::default());
    let server = home.start(&wanted).await?;
    let mut peer = trial.connect_to(&server.place).await?;
    let queue = peer.create_of(&Draft::messaging().unsubscribed()).await?;
    trial.operate(&home, SPAM, &queue.sender_id).await?;
    drop(peer);
    server.stop().await?;
    let server = home.start(&wanted).await?;
    let mut peer = trial.connect_to(&server.place).await?;
    peer.sender(Nobody, &queue, &send(b"x"), "ERR BLOCKED reason=spam").await?;
    peer.recipient(&queue, b"SUB", "ERR BLOCKED reason=spam").await
}
