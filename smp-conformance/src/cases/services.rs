//! Services (smp.md §13, §20.4).

use std::sync::Arc;

use protocol::net::tls::ClientTls;

use crate::case::{Case, case};
use crate::failure::{At as _, Failure, Outcome, equal};
use crate::peer::By::{self, Nobody};
use crate::peer::commands::{Draft, send, send_notifying};
use crate::peer::keys::{Key, random};
use crate::peer::queue::{Notifier, Queue};
use crate::peer::service::ServiceIdentity;
use crate::peer::wire::{Fields, short};
use crate::peer::{Hello, Peer, same};
use crate::trial::Trial;

pub(super) const CASES: &[Case] = &[
    case!("services/hello", "§13", hello).since(16),
    case!("services/one-certificate", "§3.5, §13", one_certificate).since(16),
    case!("services/one-certificate-one-role", "§13", one_role).since(16),
    case!("services/forged-hellos", "§13", forged).since(16),
    case!("services/certificate-without-service", "§3.5", certificate_alone),
    case!("services/chains-that-prove-nothing", "§3.5", bad_chains).once(),
    case!("services/identity-of-another", "§3.3", stolen_identity).since(16),
    case!("services/roles", "§5.6", roles).since(16),
    case!("services/nsub", "§13, §20.4.2", nsub).since(16),
    case!("services/entity-key-signs-for-the-service", "§5.3", signs_for_service).since(16),
    case!("services/signature-only-where-it-belongs", "§5.6", signature_out_of_place).since(16),
    case!("services/notifications", "§13, §20.4.2", notifications).since(16),
    case!("services/second-connection-takes-over", "§13, §20.4.2", takes_over).since(16),
    case!("services/nsubs", "§13, §20.4.2", nsubs).since(16),
    case!("services/subscriber-without-service-takes-back", "§13", takes_back).since(16),
    case!("services/another-service-takes-over", "§13", another_service).since(16),
    case!("services/deleted-notifiers", "§13, §20.4.2", deleted).since(16),
    case!("services/commands-of-services-are-signed-by-them", "§5.6", service_commands).since(16),
    case!("services/messaging", "§13", messaging).since(16),
];

const NOTIFIER: u8 = b'N';
const MESSAGING: u8 = b'M';

async fn service(trial: &Trial, role: u8, identity: &Arc<ServiceIdentity>) -> Outcome<Peer> {
    trial.connect_as(&Hello::service(trial.version, role, identity)).await
}

fn new_service() -> Outcome<Arc<ServiceIdentity>> {
    ServiceIdentity::new().map(Arc::new)
}

fn id_of(peer: &Peer) -> Vec<u8> {
    peer.service.as_ref().map(|service| service.id.clone()).unwrap_or_default()
}

/// The answer of `SUB` and `NSUB` in the session of a service.
fn of_service(peer: &Peer) -> Vec<u8> {
    [b"SOK 1", short(&id_of(peer)).as_slice()].concat()
}

fn count(tag: &str, count: i64) -> Vec<u8> {
    [tag.as_bytes(), b" ", &count.to_be_bytes()].concat()
}

async fn queue_with_notifier(recipient: &mut Peer) -> Outcome<(Queue, Notifier)> {
    let queue = recipient.create().await?;
    let notifier = recipient.add_notifier(&queue, Key::new()).await?;
    Ok((queue, notifier))
}

async fn nsub_of(peer: &mut Peer, notifier: &Notifier) -> Outcome {
    let expected = of_service(peer);
    peer.expect(By::KeyAndService(&notifier.key), &notifier.id, b"NSUB", expected).await
}

/// One notified message goes through.
async fn passes(recipient: &mut Peer, queue: &Queue, at: &mut Peer, notifier: &Notifier) -> Outcome {
    recipient.sender(Nobody, queue, &send_notifying(b"x"), "OK").await?;
    let message = recipient.message_of(queue, b"x").await?;
    let told = notifier.open(&at.event(&notifier.id).await.at("notification")?)?;
    equal(told, (message.id.clone(), message.seconds)).at("notification")?;
    recipient.acknowledge(queue, &message).await
}

async fn hello(trial: Trial) -> Outcome {
    let mut ids = Vec::new();
    for role in [MESSAGING, NOTIFIER, b'P'] {
        let identity = new_service()?;
        let mut first = service(&trial, role, &identity).await?;
        first.quiet().await?;
        let id = id_of(&first);
        equal(id.len(), 24).at("length of the service id")?;
        drop(first);
        let mut again = service(&trial, role, &identity).await?;
        again.quiet().await?;
        equal(id_of(&again), id.clone()).at("the same service again")?;
        if ids.contains(&id) {
            return Err(Failure::differs("an id of each service", "the same id"));
        }
        ids.push(id);
    }
    Ok(())
}

async fn one_certificate(trial: Trial) -> Outcome {
    let identity = Arc::new(ServiceIdentity::self_signed()?);
    let mut first = service(&trial, NOTIFIER, &identity).await?;
    first.quiet().await?;
    let again = service(&trial, NOTIFIER, &identity).await?;
    equal(id_of(&again), id_of(&first))
}

/// The service response of a hello, after which the server closes.
async fn refused(
    trial: &Trial,
    tls: ClientTls,
    content: impl FnOnce(&crate::peer::Greeted) -> Vec<u8>,
    error: &str,
) -> Outcome {
    let mut greeted = trial.greet_with(tls).await?;
    let content = content(&greeted);
    greeted.peer.send_content(&content).await?;
    same(&greeted.peer.content().await?, format!("EHANDSHAKE {error}").as_bytes())?;
    greeted.peer.closed().await
}

fn tls_of(identity: &ServiceIdentity) -> ClientTls {
    ClientTls { certificate: Some(identity.tls()), ..ClientTls::default() }
}

async fn one_role(trial: Trial) -> Outcome {
    let identity = new_service()?;
    service(&trial, NOTIFIER, &identity).await?.quiet().await?;
    for role in [MESSAGING, b'P'] {
        let other = Hello { session_key: false, ..Hello::service(trial.version, role, &identity) };
        let key = service_key();
        refused(
            &trial,
            tls_of(&identity),
            |greeted| greeted.hello_content(&other, Some(&key)),
            "BAD_SERVICE",
        )
        .await?;
    }
    service(&trial, NOTIFIER, &identity).await?.quiet().await
}

fn service_key() -> protocol::crypto::sign::Ed25519PrivateKey {
    protocol::crypto::sign::Ed25519PrivateKey::generate(&mut protocol::net::rng::system_rng())
}

async fn forged(trial: Trial) -> Outcome {
    let (identity, other) = (new_service()?, new_service()?);
    let key = service_key();
    let hello = |identity: &Arc<ServiceIdentity>| Hello::service(trial.version, NOTIFIER, identity);
    let bad = "BAD_AUTH";
    let of_other = hello(&other);
    refused(&trial, tls_of(&identity), |greeted| greeted.hello_content(&of_other, Some(&key)), bad)
        .await
        .at("the chain of another service")?;
    let own = hello(&identity);
    refused(&trial, ClientTls::default(), |greeted| greeted.hello_content(&own, Some(&key)), bad)
        .await
        .at("no certificate in TLS")?;
    let foreign = hello(&Arc::new(other.with_chain(identity.chain.clone())));
    refused(&trial, tls_of(&identity), |greeted| greeted.hello_content(&foreign, Some(&key)), bad)
        .await
        .at("a session key signed by another leaf")?;
    let x25519 = |greeted: &crate::peer::Greeted| {
        let plain = greeted.hello_content(&Hello::plain(trial.version), None);
        let start = plain.get(..plain.len().saturating_sub(1)).unwrap_or_default();
        let signed = identity.signed(0x6e, &[9; 32]);
        let certified = identity.certified(&[9; 32]);
        let chain = certified.get(..certified.len().saturating_sub(124)).unwrap_or_default();
        [start, b"1N", chain, &crate::peer::wire::large(&signed)].concat()
    };
    refused(&trial, tls_of(&identity), x25519, bad).await.at("an X25519 session key")?;
    service(&trial, NOTIFIER, &identity).await?.quiet().await.at("the service itself")
}

async fn certificate_alone(trial: Trial) -> Outcome {
    let identity = new_service()?;
    let greeted = trial.greet_with(tls_of(&identity)).await?;
    let mut peer = greeted.accept(&Hello::version(trial.version)).await?;
    let queue = peer.create().await?;
    equal(queue.service_id, None)
}

async fn bad_chains(trial: Trial) -> Outcome {
    let (identity, other) = (new_service()?, new_service()?);
    let certificates = |chain: &[&[u8]]| chain.iter().map(|one| one.to_vec()).collect::<Vec<_>>();
    let (leaf, ca) = (identity.leaf(), identity.authority());
    for (what, chain) in [
        ("the leaf alone", certificates(&[leaf])),
        ("an authority that did not sign", certificates(&[leaf, other.authority()])),
        ("five certificates", certificates(&[leaf, ca, ca, ca, ca])),
    ] {
        let forged = identity.with_chain(chain);
        // In TLS 1.3 a client learns of the refusal when it reads.
        if let Ok(mut greeted) = trial.greet_with(tls_of(&forged)).await {
            greeted.peer.closed().await.at(what)?;
        }
    }
    trial.greet_with(tls_of(&identity)).await.at("a good chain").map(drop)
}

/// [Q] The reference accepts a chain whose leaf another root signed as the identity of its second certificate.
async fn stolen_identity(trial: Trial) -> Outcome {
    let (victim, thief) = (new_service()?, new_service()?);
    let id = id_of(&service(&trial, NOTIFIER, &victim).await?);
    let chain = vec![thief.leaf().to_vec(), victim.authority().to_vec(), thief.authority().to_vec()];
    let forged = Arc::new(thief.with_chain(chain));
    match service(&trial, NOTIFIER, &forged).await {
        Ok(peer) if id_of(&peer) == id => {
            trial.quirk("DANGEROUS: who knows a service's certificate is taken for the service");
            Ok(())
        }
        Ok(_) => Err(Failure::differs("a refusal", "another service")),
        Err(_) => Ok(()),
    }
}

async fn roles(trial: Trial) -> Outcome {
    let mut recipient = trial.connect().await?;
    let (queue, notifier) = queue_with_notifier(&mut recipient).await?;
    let prohibited = "ERR CMD PROHIBITED";
    let id = queue.recipient_id.as_slice();
    let prxy = [b"PRXY \x01".as_slice(), &short(b"127.0.0.1"), &short(b"1"), &short(&[7; 32]), b"0"].concat();
    for role in [NOTIFIER, b'P'] {
        let at = if role == NOTIFIER { "notifier" } else { "proxy" };
        let mut peer = service(&trial, role, &new_service()?).await?;
        peer.expect(Nobody, b"", b"PING", "PONG").await.at(at)?;
        peer.expect(By::KeyAndService(&queue.key), id, b"SUB", prohibited).await.at(at)?;
        peer.expect(&queue.key, id, b"OFF", prohibited).await.at(at)?;
        peer.expect(&Key::new(), id, b"OFF", prohibited).await.at("role before authorisation").at(at)?;
        peer.expect(&Key::new(), &random::<24>(), b"OFF", "ERR AUTH")
            .await
            .at("no such queue comes first")
            .at(at)?;
        peer.expect(Nobody, &queue.sender_id, &send(b"x"), prohibited).await.at(at)?;
        peer.expect(Nobody, b"", &prxy, prohibited).await.at(at)?;
        let of_rfwd = if role == NOTIFIER { prohibited } else { "ERR CRYPTO" };
        peer.expect(Nobody, b"", b"RFWD abc", of_rfwd).await.at(at)?;
        let draft = Draft::messaging();
        let command = peer.new_command(&draft);
        peer.expect(By::KeyAndService(&draft.key), b"", &command, prohibited).await.at(at)?;
    }
    let mut messaging = service(&trial, MESSAGING, &new_service()?).await?;
    messaging.expect(By::KeyAndService(&notifier.key), &notifier.id, b"NSUB", prohibited).await?;
    messaging.expect(Nobody, b"", b"RFWD abc", prohibited).await?;
    messaging.expect(Nobody, &queue.sender_id, &send(b"x"), "OK").await?;
    recipient.message_of(&queue, b"x").await.map(drop)
}

async fn nsub(trial: Trial) -> Outcome {
    let mut recipient = trial.connect().await?;
    let (_, notifier) = queue_with_notifier(&mut recipient).await?;
    let mut peer = service(&trial, NOTIFIER, &new_service()?).await?;
    peer.expect(&notifier.key, &notifier.id, b"NSUB", "ERR SERVICE").await.at("without service signature")?;
    peer.expect(&Key::new(), &notifier.id, b"NSUB", "ERR SERVICE").await.at("without any good signature")?;
    peer.expect(&notifier.key, &random::<24>(), b"NSUB", "ERR AUTH")
        .await
        .at("no such notifier comes first")?;
    peer.expect(By::KeyAndService(&Key::new()), &notifier.id, b"NSUB", "ERR AUTH").await.at("another key")?;
    for _ in 0..2 {
        nsub_of(&mut peer, &notifier).await?;
    }
    peer.quiet().await
}

/// The key of the queue signs the service's fingerprint, too; the service does not.
async fn signs_for_service(trial: Trial) -> Outcome {
    let mut recipient = trial.connect().await?;
    let (_, notifier) = queue_with_notifier(&mut recipient).await?;
    let mut peer = service(&trial, NOTIFIER, &new_service()?).await?;
    let id = notifier.id.as_slice();
    let Some(session) = &peer.service else { return Err(Failure::differs("a service", "none")) };
    let (key, fingerprint) = (session.key.clone(), session.fingerprint);
    for (what, entity_signs_it, service_signs_it, other_fingerprint, expected) in [
        ("the entity key without fingerprint", false, false, false, "ERR AUTH"),
        ("the fingerprint of another", true, false, true, "ERR AUTH"),
        ("the service with fingerprint", true, true, false, "ERR SERVICE"),
    ] {
        let correlation_id = random::<24>();
        let authorized = peer.authorized(&correlation_id, id, b"NSUB");
        let print = if other_fingerprint { [7; 32] } else { fingerprint };
        let with = [print.as_slice(), &authorized].concat();
        let own = if entity_signs_it { &with } else { &authorized };
        let own = notifier.key.authenticator(&peer.server_key, &correlation_id, own);
        let second = key.sign(if service_signs_it { &with } else { &authorized });
        let ids = [short(&correlation_id), short(id)].concat();
        peer.send(&[[short(&own).as_slice(), b"1", &short(&second), &ids, b"NSUB"].concat()]).await?;
        same(&peer.answer(&correlation_id).await?.message, expected.as_bytes()).at(what)?;
    }
    nsub_of(&mut peer, &notifier).await
}

async fn signature_out_of_place(trial: Trial) -> Outcome {
    let mut peer = service(&trial, MESSAGING, &new_service()?).await?;
    let queue = peer.create().await?;
    let id = queue.recipient_id.as_slice();
    for command in [&b"OFF"[..], b"GET", b"DEL", b"QUE"] {
        peer.expect(By::KeyAndService(&queue.key), id, command, "ERR SERVICE").await?;
    }
    peer.expect(&queue.key, id, b"SUB", "ERR SERVICE").await.at("without service signature")?;
    peer.expect(&Key::new(), id, b"SUB", "ERR SERVICE").await?;
    peer.expect(By::KeyAndService(&queue.key), &random::<24>(), b"SUB", "ERR AUTH").await?;
    peer.expect(&queue.key, id, b"OFF", "OK").await.at("only the key of the queue")
}

async fn notifications(trial: Trial) -> Outcome {
    let mut recipient = trial.connect().await?;
    let (queue, notifier) = queue_with_notifier(&mut recipient).await?;
    let mut peer = service(&trial, NOTIFIER, &new_service()?).await?;
    nsub_of(&mut peer, &notifier).await?;
    for _ in 0..2 {
        passes(&mut recipient, &queue, &mut peer, &notifier).await?;
    }
    peer.quiet().await
}

async fn takes_over(trial: Trial) -> Outcome {
    let mut recipient = trial.connect().await?;
    let (queue, notifier) = queue_with_notifier(&mut recipient).await?;
    let identity = new_service()?;
    let mut first = service(&trial, NOTIFIER, &identity).await?;
    nsub_of(&mut first, &notifier).await?;
    let mut second = service(&trial, NOTIFIER, &identity).await?;
    nsub_of(&mut second, &notifier).await?;
    same(&first.event(&id_of(&first)).await?, &count("ENDS", 1))?;
    passes(&mut recipient, &queue, &mut second, &notifier).await?;
    first.quiet().await
}

async fn nsubs(trial: Trial) -> Outcome {
    let mut recipient = trial.connect().await?;
    let (queue, notifier) = queue_with_notifier(&mut recipient).await?;
    let (other_queue, other_notifier) = queue_with_notifier(&mut recipient).await?;
    let identity = new_service()?;
    let mut first = service(&trial, NOTIFIER, &identity).await?;
    let id = id_of(&first);
    first.expect(By::Service, &id, b"NSUBS", count("SOKS", 0)).await.at("nothing yet")?;
    nsub_of(&mut first, &notifier).await?;
    nsub_of(&mut first, &other_notifier).await?;
    first.expect(By::Service, &id, b"NSUBS", count("SOKS", 2)).await.at("again on the same connection")?;
    let mut second = service(&trial, NOTIFIER, &identity).await?;
    second.expect(By::Service, &id, b"NSUBS", count("SOKS", 2)).await?;
    same(&first.event(&id).await?, &count("ENDS", 2))?;
    passes(&mut recipient, &queue, &mut second, &notifier).await?;
    passes(&mut recipient, &other_queue, &mut second, &other_notifier).await?;
    drop(second);
    let mut third = service(&trial, NOTIFIER, &identity).await?;
    third.expect(By::Service, &id, b"NSUBS", count("SOKS", 2)).await.at("after a connection ended")?;
    passes(&mut recipient, &queue, &mut third, &notifier).await?;
    first.quiet().await?;
    third.quiet().await
}

async fn takes_back(trial: Trial) -> Outcome {
    let mut recipient = trial.connect().await?;
    let (queue, notifier) = queue_with_notifier(&mut recipient).await?;
    let mut peer = service(&trial, NOTIFIER, &new_service()?).await?;
    nsub_of(&mut peer, &notifier).await?;
    let mut direct = trial.connect().await?;
    direct.subscribe_notifier(&notifier).await.at("in a session without service")?;
    same(&peer.event(&notifier.id).await?, b"END")?;
    passes(&mut recipient, &queue, &mut direct, &notifier).await?;
    let id = id_of(&peer);
    peer.expect(By::Service, &id, b"NSUBS", count("SOKS", 0))
        .await
        .at("no notifier is associated any more")?;
    nsub_of(&mut peer, &notifier).await.at("back to the service")?;
    same(&direct.event(&notifier.id).await?, b"END")?;
    passes(&mut recipient, &queue, &mut peer, &notifier).await
}

async fn another_service(trial: Trial) -> Outcome {
    let mut recipient = trial.connect().await?;
    let (queue, notifier) = queue_with_notifier(&mut recipient).await?;
    let mut first = service(&trial, NOTIFIER, &new_service()?).await?;
    nsub_of(&mut first, &notifier).await?;
    let mut second = service(&trial, NOTIFIER, &new_service()?).await?;
    nsub_of(&mut second, &notifier).await?;
    same(&first.event(&notifier.id).await?, b"END")?;
    passes(&mut recipient, &queue, &mut second, &notifier).await?;
    let id = id_of(&first);
    first.expect(By::Service, &id, b"NSUBS", count("SOKS", 0)).await?;
    first.quiet().await
}

async fn deleted(trial: Trial) -> Outcome {
    let mut recipient = trial.connect().await?;
    let (queue, notifier) = queue_with_notifier(&mut recipient).await?;
    let (other_queue, other_notifier) = queue_with_notifier(&mut recipient).await?;
    let mut peer = service(&trial, NOTIFIER, &new_service()?).await?;
    nsub_of(&mut peer, &notifier).await?;
    nsub_of(&mut peer, &other_notifier).await?;
    recipient.recipient(&queue, b"NDEL", "OK").await?;
    same(&peer.event(&notifier.id).await.at("after NDEL")?, b"DELD")?;
    recipient.recipient(&other_queue, b"DEL", "OK").await?;
    same(&peer.event(&other_notifier.id).await.at("after DEL")?, b"DELD")?;
    let id = id_of(&peer);
    peer.expect(By::Service, &id, b"NSUBS", count("SOKS", 0)).await
}

async fn service_commands(trial: Trial) -> Outcome {
    let mut plain = trial.connect().await?;
    for tag in [&b"NSUBS"[..], b"SUBS"] {
        plain
            .expect(&Key::new(), &random::<24>(), tag, "ERR SERVICE")
            .await
            .at("in a session without service")?;
    }
    let mut peer = service(&trial, NOTIFIER, &new_service()?).await?;
    let id = id_of(&peer);
    peer.expect(&Key::new(), &id, b"NSUBS", "ERR SERVICE").await.at("another key")?;
    peer.expect(By::Service, &random::<24>(), b"NSUBS", "ERR SERVICE").await.at("another service id")?;
    peer.expect(By::KeyAndService(&Key::new()), &id, b"NSUBS", "ERR SERVICE").await.at("two signatures")?;
    peer.expect(By::Service, &id, b"NSUBS", count("SOKS", 0)).await
}

/// [U] The reference leaves this role unfinished: `SUBS` is refused there.
async fn messaging(trial: Trial) -> Outcome {
    let identity = new_service()?;
    let mut peer = service(&trial, MESSAGING, &identity).await?;
    let id = id_of(&peer);
    let draft = Draft::messaging().unsubscribed();
    let command = peer.new_command(&draft);
    peer.expect(By::KeyAndService(&draft.key), b"", &command, "ERR CMD PROHIBITED")
        .await
        .at("without subscription")?;
    let draft = Draft::messaging();
    let command = peer.new_command(&draft);
    peer.expect(&draft.key, b"", &command, "ERR SERVICE").await.at("without service signature")?;
    let queue = peer.create().await?;
    equal(queue.service_id.as_ref(), Some(&id)).at("service id in IDS")?;
    peer.sender(Nobody, &queue, &send(b"one"), "OK").await?;
    let message = peer.message_of(&queue, b"one").await?;
    peer.acknowledge(&queue, &message).await?;
    let expected = of_service(&peer);
    peer.expect(By::KeyAndService(&queue.key), &queue.recipient_id, b"SUB", expected).await?;
    drop(peer);
    let mut peer = service(&trial, MESSAGING, &identity).await?;
    peer.sender(Nobody, &queue, &send(b"two"), "OK").await?;
    let answer = peer.ask(By::Service, &id, b"SUBS").await.at("SUBS")?;
    if answer == b"ERR CMD PROHIBITED" {
        trial.quirk("services of recipients cannot take back their queues at once (SUBS)");
        let expected = of_service(&peer);
        peer.expect(By::KeyAndService(&queue.key), &queue.recipient_id, b"SUB", expected).await?;
        return peer.message_of(&queue, b"two").await.map(drop);
    }
    let mut fields = Fields::after("SOKS", &answer).at("SUBS")?;
    equal(fields.i64()?, 1).at("SUBS")?;
    let message = peer.message_of(&queue, b"two").await?;
    peer.acknowledge(&queue, &message).await?;
    // Of the service, or of nobody in particular: no released server says it yet.
    let all = peer.receive().await.at("ALLS")?;
    equal(all.correlation_id.len(), 0).at("ALLS")?;
    equal(all.entity_id.is_empty() || all.entity_id == id, true).at("entity of ALLS")?;
    same(&all.message, b"ALLS")
}
