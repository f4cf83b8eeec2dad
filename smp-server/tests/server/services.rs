//! smp.md §13 and §20.4: services, which take back all their queues with one command.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use protocol::crypto::dh::X25519PrivateKey;
use protocol::net::error::ConnectError;
use protocol::net::rng::system_rng;
use protocol::net::service::ServiceIdentity;
use protocol::smp::command::{Command, NotifierKeys};
use protocol::smp::error::{BlockingInfo, CommandError, ErrorType};
use protocol::smp::ids::NotifierId;
use protocol::smp::key::AuthPrivateKey;
use protocol::smp::response::BrokerMessage;
use protocol::transport::error::{HandshakeFailure, TransportError};
use protocol::transport::handshake::HandshakeError;
use protocol::transport::hello::ServiceRole;

use crate::client::{Client, MESSAGING, Queue, message};
use crate::host::Host;
use smp_server::identity::Identity;
use smp_server::moderation::KnownId;

async fn messaging(host: &Host, identity: &ServiceIdentity) -> Client {
    Client::connect_service(host, identity, ServiceRole::Messaging).await.unwrap()
}

fn refused(result: Result<Client, ConnectError>) -> HandshakeFailure {
    match result.map(|_| "accepted") {
        Err(ConnectError::Hello(HandshakeError::ServiceRefused(TransportError::Handshake(failure)))) => {
            failure
        }
        other => panic!("{other:?}"),
    }
}

/// The queues of the service that are subscribed, which must be as many.
async fn subscribe_all(client: &mut Client, queues: i64) {
    assert_eq!(client.ask_for_all(&Command::Subs).await, BrokerMessage::Soks(queues));
}

async fn all_delivered(client: &mut Client) {
    assert_eq!(client.event(b"").await, BrokerMessage::Alls);
}

#[tokio::test]
async fn a_certificate_is_one_service_with_one_role_over_restarts() {
    let place = tempfile::tempdir().unwrap();
    let server = Identity::generate("127.0.0.1").unwrap().identity;
    let identity = ServiceIdentity::generate().unwrap();
    let host = Host::start_in(place.path(), "", &server).await;
    let id = messaging(&host, &identity).await.service_id();
    assert_eq!(messaging(&host, &identity).await.service_id(), id);
    let other = messaging(&host, &ServiceIdentity::generate().unwrap()).await.service_id();
    assert_ne!(other, id);
    host.stop().await;

    let host = Host::start_in(place.path(), "", &server).await;
    assert_eq!(messaging(&host, &identity).await.service_id(), id);
    for role in [ServiceRole::Notifier, ServiceRole::Proxy] {
        let refusal = refused(Client::connect_service(&host, &identity, role).await);
        assert_eq!(refusal, HandshakeFailure::BadService);
    }
}

#[tokio::test]
async fn without_the_setting_no_client_is_a_service() {
    let host = Host::start("[access]\naccept_service_credentials = false").await;
    let identity = ServiceIdentity::generate().unwrap();
    let refusal = refused(Client::connect_service(&host, &identity, ServiceRole::Messaging).await);
    assert_eq!(refusal, HandshakeFailure::BadAuth);
    Client::connect(&host).await.nothing_else().await;
}

#[tokio::test]
async fn a_role_bounds_the_commands_of_its_session() {
    let host = Host::start("").await;
    let prohibited = BrokerMessage::Err(ErrorType::Command(CommandError::Prohibited));
    let mut owner = Client::connect(&host).await;
    let queue = owner.create(MESSAGING, false).await;
    let (key, id) = (Some(&queue.key), queue.recipient_id());
    for role in [ServiceRole::Notifier, ServiceRole::Proxy] {
        let identity = ServiceIdentity::generate().unwrap();
        let mut client = Client::connect_service(&host, &identity, role).await.unwrap();
        assert_eq!(client.ask(key, id, &Command::Sub).await, prohibited);
        assert_eq!(client.ask(None, queue.ids.sender_id, &message(b"x")).await, prohibited);
        assert_eq!(client.ask_for_all(&Command::Subs).await, prohibited);
        assert_eq!(client.ask(None, b"", &Command::Ping).await, BrokerMessage::Pong);
    }
    let mut client = messaging(&host, &ServiceIdentity::generate().unwrap()).await;
    assert_eq!(client.ask_for_all(&Command::Nsubs).await, prohibited);
    let queue =
        client.create_with(AuthPrivateKey::generate_ed25519(&mut system_rng()), b"c", MESSAGING, false);
    assert_eq!(queue.await.err(), Some(ErrorType::Command(CommandError::Prohibited)), "a service subscribes");
}

#[tokio::test]
async fn service_signatures_are_demanded_and_bound_to_the_entity_key() {
    let host = Host::start("").await;
    let mut owner = Client::connect(&host).await;
    let queue = owner.create(MESSAGING, false).await;
    let id = queue.recipient_id();
    let service = BrokerMessage::Err(ErrorType::Service);
    let mut client = messaging(&host, &ServiceIdentity::generate().unwrap()).await;
    // Signed by the entity's key alone.
    let bare = client.transmission_without_service(&queue.key, id.as_bytes(), &Command::Sub);
    client.send(&[bare]).await;
    assert_eq!(client.receive().await.message, service);
    let sok = client.ask(Some(&queue.key), id, &Command::Sub).await;
    assert_eq!(sok, BrokerMessage::Sok(Some(client.service_id())));
    // The commands for all queues are those of the service, under its id and with its key.
    assert_eq!(client.ask(Some(&queue.key), [1; 24], &Command::Subs).await, service);
    assert_eq!(client.ask(Some(&queue.key), client.service_id(), &Command::Subs).await, service);
    assert_eq!(owner.ask(Some(&queue.key), client.service_id(), &Command::Subs).await, service);
}

#[tokio::test]
async fn a_service_takes_back_its_queues_with_one_command_over_restarts() {
    let place = tempfile::tempdir().unwrap();
    let server = Identity::generate("127.0.0.1").unwrap().identity;
    let identity = ServiceIdentity::generate().unwrap();
    let host = Host::start_in(place.path(), "", &server).await;
    let mut service = messaging(&host, &identity).await;
    let made = service.create(MESSAGING, true).await;
    assert_eq!(made.ids.service_id, Some(service.service_id()));
    let mut owner = Client::connect(&host).await;
    let given = owner.create(MESSAGING, false).await;
    let empty = owner.create(MESSAGING, false).await;
    let other = owner.create(MESSAGING, false).await;
    service.subscribe(&given).await;
    service.subscribe(&empty).await;
    drop(service);
    for queue in [&made, &given, &other] {
        owner.ok(None, queue.ids.sender_id, &message(b"first")).await;
        owner.ok(None, queue.ids.sender_id, &message(b"second")).await;
    }
    for round in 0..2 {
        let mut service = messaging(&host, &identity).await;
        subscribe_all(&mut service, 3).await;
        // In the order in which the queues were made, whichever way they became the service's; nothing of others.
        for queue in [&made, &given] {
            let (_, content) = service.message(queue).await;
            assert_eq!(crate::client::body(content), b"first", "round {round}");
        }
        all_delivered(&mut service).await;
        // Saying it twice says nothing new.
        subscribe_all(&mut service, 3).await;
        service.nothing_else().await;
    }
    host.stop().await;

    let host = Host::start_in(place.path(), "", &server).await;
    let mut service = messaging(&host, &identity).await;
    subscribe_all(&mut service, 3).await;
    for queue in [&made, &given] {
        let (id, _) = service.message(queue).await;
        let next = service.acknowledge(queue, &id).await;
        let (id, content) = queue.open(&next);
        assert_eq!(crate::client::body(content), b"second");
        assert_eq!(service.acknowledge(queue, &id).await, BrokerMessage::Ok);
        // And again when it has been empty.
        let mut sender = Client::connect(&host).await;
        sender.ok(None, queue.ids.sender_id, &message(b"third")).await;
    }
    let mut events = Vec::new();
    for _ in 0..3 {
        events.push(service.receive().await);
    }
    assert_eq!(events.iter().filter(|one| one.message == BrokerMessage::Alls).count(), 1);
    assert_eq!(events.iter().filter(|one| matches!(one.message, BrokerMessage::Msg { .. })).count(), 2);
}

#[tokio::test]
async fn a_service_that_comes_back_hears_which_queues_are_blocked() {
    let host = Host::start("").await;
    let identity = ServiceIdentity::generate().unwrap();
    let mut service = messaging(&host, &identity).await;
    let [waiting, empty, free] = [
        service.create(MESSAGING, true).await,
        service.create(MESSAGING, true).await,
        service.create(MESSAGING, true).await,
    ];
    drop(service);
    let mut sender = Client::connect(&host).await;
    for queue in [&waiting, &free] {
        sender.ok(None, queue.ids.sender_id, &message(b"first")).await;
    }
    let known = |queue: &Queue| KnownId(queue.ids.sender_id.0);
    let spam: BlockingInfo = "reason=spam".parse().unwrap();
    for queue in [&waiting, &empty] {
        host.server().block(known(queue), spam).await.unwrap();
    }
    let mut service = messaging(&host, &identity).await;
    subscribe_all(&mut service, 3).await;
    let mut told = BTreeMap::new();
    while told.len() < 4 {
        let received = service.receive().await;
        told.insert(received.entity_id, received.message);
    }
    for queue in [&waiting, &empty] {
        let about = told.remove(queue.recipient_id().as_bytes().as_slice());
        assert_eq!(about, Some(BrokerMessage::Err(ErrorType::Blocked(spam))));
    }
    assert_eq!(told.remove(&[][..]), Some(BrokerMessage::Alls));
    let free = told.remove(free.recipient_id().as_bytes().as_slice());
    assert!(matches!(free, Some(BrokerMessage::Msg { .. })), "{free:?}");

    host.server().unblock(known(&waiting)).await.unwrap();
    let (_, content) = service.message(&waiting).await;
    assert_eq!(crate::client::body(content), b"first", "it was not given before");
    host.server().unblock(known(&empty)).await.unwrap();
    sender.ok(None, empty.ids.sender_id, &message(b"second")).await;
    let (_, content) = service.message(&empty).await;
    assert_eq!(crate::client::body(content), b"second");
    service.nothing_else().await;
}

/// Queues beyond the first page, delivered in their order with a client that reads slowly.
#[tokio::test]
async fn a_large_backlog_is_delivered_with_patience() {
    const QUEUES: usize = 60;
    let host = Host::start("[limits]\nconnection_blocks = 2").await;
    let identity = ServiceIdentity::generate().unwrap();
    let mut service = messaging(&host, &identity).await;
    let mut queues: Vec<Queue> = Vec::new();
    for _ in 0..QUEUES {
        queues.push(service.create(MESSAGING, true).await);
    }
    drop(service);
    let mut sender = Client::connect(&host).await;
    for queue in queues.iter().step_by(2) {
        sender.ok(None, queue.ids.sender_id, &message(&[7; 16_000])).await;
    }
    let mut service = messaging(&host, &identity).await;
    subscribe_all(&mut service, i64::try_from(QUEUES).unwrap()).await;
    // Other commands are answered meanwhile.
    assert_eq!(service.ask(None, b"", &Command::Ping).await, BrokerMessage::Pong);
    for queue in queues.iter().step_by(2) {
        let (id, _) = service.message(queue).await;
        assert_eq!(service.acknowledge(queue, &id).await, BrokerMessage::Ok);
    }
    all_delivered(&mut service).await;
    service.nothing_else().await;
}

#[tokio::test]
async fn a_service_has_one_connection() {
    let host = Host::start("").await;
    let identity = ServiceIdentity::generate().unwrap();
    let mut first = messaging(&host, &identity).await;
    let queue = first.create(MESSAGING, true).await;
    let other = first.create(MESSAGING, true).await;
    first.ok(None, queue.ids.sender_id, &message(b"one")).await;
    let (id, _) = first.message(&queue).await;

    // Subscribing to one queue takes them all.
    let mut second = messaging(&host, &identity).await;
    second.subscribe(&other).await;
    assert_eq!(first.event(first.service_id()).await, BrokerMessage::Ends(2));
    assert_eq!(first.acknowledge(&queue, &id).await, BrokerMessage::Err(ErrorType::NoMessage));
    second.ok(None, other.ids.sender_id, &message(b"two")).await;
    assert_eq!(second.take(&other).await, b"two");

    subscribe_all(&mut first, 2).await;
    assert_eq!(first.take(&queue).await, b"one");
    all_delivered(&mut first).await;
    assert_eq!(second.event(second.service_id()).await, BrokerMessage::Ends(1));
    first.ok(None, other.ids.sender_id, &message(b"three")).await;
    assert_eq!(first.take(&other).await, b"three");
    second.nothing_else().await;
}

#[tokio::test]
async fn a_queue_leaves_its_service_with_the_next_subscription() {
    let host = Host::start("").await;
    let (identity, other_identity) =
        (ServiceIdentity::generate().unwrap(), ServiceIdentity::generate().unwrap());
    let mut service = messaging(&host, &identity).await;
    let queue = service.create(MESSAGING, true).await;
    let kept = service.create(MESSAGING, true).await;
    let mut other = messaging(&host, &other_identity).await;
    other.subscribe(&queue).await;
    assert_eq!(service.event(queue.recipient_id()).await, BrokerMessage::End);
    let mut plain = Client::connect(&host).await;
    plain.subscribe(&queue).await;
    assert_eq!(other.event(queue.recipient_id()).await, BrokerMessage::End);
    plain.ok(None, queue.ids.sender_id, &message(b"one")).await;
    assert_eq!(plain.take(&queue).await, b"one");
    drop(plain);
    subscribe_all(&mut other, 0).await;
    all_delivered(&mut other).await;
    subscribe_all(&mut service, 1).await;
    all_delivered(&mut service).await;

    // Deleted by another connection, also when nothing of it was ever delivered here.
    let mut owner = Client::connect(&host).await;
    owner.ok(Some(&kept.key), kept.recipient_id(), &Command::Del).await;
    assert_eq!(service.event(kept.recipient_id()).await, BrokerMessage::Deld);
    let mut again = messaging(&host, &identity).await;
    subscribe_all(&mut again, 0).await;
    all_delivered(&mut again).await;
    assert_eq!(service.event(service.service_id()).await, BrokerMessage::Ends(0));
}

#[tokio::test]
async fn getting_and_a_service_exclude_each_other() {
    let host = Host::start("").await;
    let identity = ServiceIdentity::generate().unwrap();
    let mut service = messaging(&host, &identity).await;
    let queue = service.create(MESSAGING, true).await;
    let mut service = messaging(&host, &identity).await;
    subscribe_all(&mut service, 1).await;
    all_delivered(&mut service).await;
    let prohibited = ErrorType::Command(CommandError::Prohibited);
    assert_eq!(service.error(Some(&queue.key), queue.recipient_id(), &Command::Get).await, prohibited);
}

/// A notifier of a queue: its id and key.
async fn notifier(owner: &mut Client, queue: &Queue) -> (NotifierId, AuthPrivateKey) {
    let key = AuthPrivateKey::generate_ed25519(&mut system_rng());
    let dh_key = X25519PrivateKey::generate(&mut system_rng()).public_key();
    let keys = NotifierKeys { notifier_key: key.public_key(), dh_key };
    match owner.ask(Some(&queue.key), queue.recipient_id(), &Command::Nkey(keys)).await {
        BrokerMessage::Nid(ids) => (ids.notifier_id, key),
        other => panic!("{other:?}"),
    }
}

async fn notifying(host: &Host, identity: &ServiceIdentity) -> Client {
    Client::connect_service(host, identity, ServiceRole::Notifier).await.unwrap()
}

async fn nsub(client: &mut Client, notifier: &(NotifierId, AuthPrivateKey)) {
    let expected = BrokerMessage::Sok(Some(client.service_id()));
    assert_eq!(client.ask(Some(&notifier.1), notifier.0, &Command::Nsub).await, expected);
}

async fn notified(client: &mut Client, notifier: &(NotifierId, AuthPrivateKey)) {
    let event = client.event(notifier.0).await;
    assert!(matches!(event, BrokerMessage::Nmsg { .. }), "{event:?}");
}

const SOON: &str = "[times]\nnotification_interval = \"5ms\"";

/// smp.md §20.4.2.
#[tokio::test]
async fn a_service_is_notified_of_its_queues_on_one_connection() {
    let host = Host::start(SOON).await;
    let mut owner = Client::connect(&host).await;
    let queue = owner.create(MESSAGING, true).await;
    let (id, key) = notifier(&mut owner, &queue).await;
    let identity = ServiceIdentity::generate().unwrap();
    let mut first = notifying(&host, &identity).await;
    let bare = first.transmission_without_service(&key, id.as_bytes(), &Command::Nsub);
    first.send(&[bare]).await;
    assert_eq!(first.receive().await.message, BrokerMessage::Err(ErrorType::Service));
    let one = (id, key);
    nsub(&mut first, &one).await;
    nsub(&mut first, &one).await;
    owner.send_message(&queue, b"hello").await;
    notified(&mut first, &one).await;

    let mut second = notifying(&host, &identity).await;
    nsub(&mut second, &one).await;
    assert_eq!(first.event(first.service_id()).await, BrokerMessage::Ends(1));
    owner.ok(Some(&queue.key), queue.recipient_id(), &Command::Ndel).await;
    assert_eq!(second.event(one.0).await, BrokerMessage::Deld);

    let one = notifier(&mut owner, &queue).await;
    let other_queue = owner.create(MESSAGING, true).await;
    let other = notifier(&mut owner, &other_queue).await;
    nsub(&mut second, &one).await;
    nsub(&mut second, &other).await;
    assert_eq!(first.ask_for_all(&Command::Nsubs).await, BrokerMessage::Soks(2));
    assert_eq!(second.event(second.service_id()).await, BrokerMessage::Ends(2));
    assert_eq!(first.ask_for_all(&Command::Nsubs).await, BrokerMessage::Soks(2));
    for (queue, notifier) in [(&queue, &one), (&other_queue, &other)] {
        owner.send_message(queue, b"again").await;
        notified(&mut first, notifier).await;
    }
    second.nothing_else().await;
    // A message without the flag, or an association that ended, tells nobody.
    let quiet = Command::Send { notify: false, body: b"quiet".to_vec().into() };
    owner.ok(None, queue.ids.sender_id, &quiet).await;
    let mut plain = Client::connect(&host).await;
    assert_eq!(plain.ask(Some(&other.1), other.0, &Command::Nsub).await, BrokerMessage::Sok(None));
    assert_eq!(first.event(other.0).await, BrokerMessage::End);
    owner.send_message(&other_queue, b"for another").await;
    notified(&mut plain, &other).await;
    first.nothing_else().await;
}

/// smp.md §20.4.3.
#[tokio::test]
async fn a_notifier_keeps_its_queues_over_restarts() {
    let place = tempfile::tempdir().unwrap();
    let server = Identity::generate("127.0.0.1").unwrap().identity;
    let identity = ServiceIdentity::generate().unwrap();
    let host = Host::start_in(place.path(), SOON, &server).await;
    let mut owner = Client::connect(&host).await;
    let queue = owner.create(MESSAGING, false).await;
    let one = notifier(&mut owner, &queue).await;
    nsub(&mut notifying(&host, &identity).await, &one).await;
    // What waits while the service is away is told when it is back.
    owner.send_message(&queue, b"while nobody is there").await;
    let mut service = notifying(&host, &identity).await;
    assert_eq!(service.ask_for_all(&Command::Nsubs).await, BrokerMessage::Soks(1));
    notified(&mut service, &one).await;
    let mut host = host;
    for _ in 0..2 {
        host.stop().await;
        host = Host::start_in(place.path(), SOON, &server).await;
        let mut service = notifying(&host, &identity).await;
        assert_eq!(service.ask_for_all(&Command::Nsubs).await, BrokerMessage::Soks(1));
        Client::connect(&host).await.send_message(&queue, b"hello").await;
        notified(&mut service, &one).await;
    }
}

#[tokio::test]
async fn a_notifier_moves_to_a_service_and_is_replaced() {
    let host = Host::start(SOON).await;
    let mut owner = Client::connect(&host).await;
    let queue = owner.create(MESSAGING, true).await;
    let one = notifier(&mut owner, &queue).await;
    let mut plain = Client::connect(&host).await;
    assert_eq!(plain.ask(Some(&one.1), one.0, &Command::Nsub).await, BrokerMessage::Sok(None));
    let mut service = notifying(&host, &ServiceIdentity::generate().unwrap()).await;
    nsub(&mut service, &one).await;
    assert_eq!(plain.event(one.0).await, BrokerMessage::End);
    let new = notifier(&mut owner, &queue).await;
    assert_eq!(service.event(one.0).await, BrokerMessage::Deld);
    owner.send_message(&queue, b"hello").await;
    nsub(&mut service, &new).await;
    notified(&mut service, &new).await;
    owner.ok(Some(&queue.key), queue.recipient_id(), &Command::Del).await;
    assert_eq!(service.event(new.0).await, BrokerMessage::Deld);
}
