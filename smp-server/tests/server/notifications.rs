//! smp.md §12 and §20.4: who is notified, and of what.

use std::collections::BTreeSet;

use protocol::crypto::dh::X25519PrivateKey;
use protocol::crypto::secretbox::BoxKey;
use protocol::net::rng::system_rng;
use protocol::smp::command::{Command, NotifierKeys};
use protocol::smp::error::{CommandError, ErrorType};
use protocol::smp::ids::{MessageId, NotifierId};
use protocol::smp::key::AuthPrivateKey;
use protocol::smp::message::NotificationMetadata;
use protocol::smp::response::{BrokerMessage, NotifierIds};

use crate::client::{Client, MESSAGING, Queue, ack, ed25519, message, new_queue};
use crate::host::Host;
use crate::program::{Program, init};

/// A pass every moment.
const SOON: &str = "[times]\nnotification_interval = \"5ms\"";

/// A notifier, and the recipient's secret that opens what it is told.
struct Notifier {
    id: NotifierId,
    key: AuthPrivateKey,
    secret: BoxKey,
}

struct NewNotifier {
    key: AuthPrivateKey,
    dh_key: X25519PrivateKey,
}

impl NewNotifier {
    fn draw() -> Self {
        Self { key: ed25519(), dh_key: X25519PrivateKey::generate(&mut system_rng()) }
    }

    fn keys(&self) -> NotifierKeys {
        NotifierKeys { notifier_key: self.key.public_key(), dh_key: self.dh_key.public_key() }
    }

    fn with(self, ids: &NotifierIds) -> Notifier {
        let secret = self.dh_key.box_key(&ids.server_dh_key);
        Notifier { id: ids.notifier_id, key: self.key, secret }
    }
}

impl Notifier {
    async fn set(client: &mut Client, queue: &Queue) -> Self {
        let new = NewNotifier::draw();
        match client.ask(Some(&queue.key), queue.recipient_id(), &Command::Nkey(new.keys())).await {
            BrokerMessage::Nid(ids) => new.with(&ids),
            other => panic!("{other:?} instead of ids"),
        }
    }

    async fn subscribe(&self, client: &mut Client) {
        let sok = client.ask(Some(&self.key), self.id, &Command::Nsub).await;
        assert_eq!(sok, if client.version < 16 { BrokerMessage::Ok } else { BrokerMessage::Sok(None) });
    }

    /// Which message the notification is about.
    fn open(&self, event: &BrokerMessage<'_>) -> MessageId {
        let BrokerMessage::Nmsg { nonce, metadata } = event else {
            panic!("{event:?} instead of a notification")
        };
        assert_eq!(metadata.len(), 144);
        NotificationMetadata::open(&self.secret, nonce, metadata).unwrap().message_id
    }

    /// The next event, a notification of this message.
    async fn tells(&self, client: &mut Client, message_id: MessageId) {
        let event = client.event(self.id).await;
        assert_eq!(self.open(&event), message_id);
    }
}

/// Sends a message and takes it as the recipient; gives its id.
async fn send(recipient: &mut Client, queue: &Queue, command: &Command<'_>) -> MessageId {
    recipient.ok(None, queue.ids.sender_id, command).await;
    let (id, _) = recipient.message(queue).await;
    recipient.ok(Some(&queue.key), queue.recipient_id(), &ack(&id)).await;
    id
}

#[tokio::test]
async fn notifiers_are_told_of_flagged_messages_until_they_are_replaced_or_deleted() {
    let host = Host::start(SOON).await;
    for version in [15, 18] {
        let mut recipient = Client::connect_as(&host, version, true).await;
        let (mut first, mut second) =
            (Client::connect_as(&host, version, true).await, Client::connect_as(&host, version, true).await);
        let queue = recipient.create(MESSAGING, true).await;
        let (key, id) = (Some(&queue.key), queue.recipient_id());
        let replaced = Notifier::set(&mut recipient, &queue).await;
        replaced.subscribe(&mut second).await;
        let notifier = Notifier::set(&mut recipient, &queue).await;
        assert_ne!(replaced.id, notifier.id);
        assert_eq!(second.event(replaced.id).await, BrokerMessage::Deld);
        let gone = second.error(Some(&replaced.key), replaced.id, &Command::Nsub).await;
        assert_eq!(gone, ErrorType::Auth);
        assert_eq!(first.error(Some(&replaced.key), notifier.id, &Command::Nsub).await, ErrorType::Auth);

        notifier.subscribe(&mut first).await;
        let flagged = send(&mut recipient, &queue, &message(b"one")).await;
        notifier.tells(&mut first, flagged).await;
        let silent = Command::Send { notify: false, body: b"two"[..].into() };
        send(&mut recipient, &queue, &silent).await;
        let third = send(&mut recipient, &queue, &message(b"three")).await;
        notifier.tells(&mut first, third).await;

        notifier.subscribe(&mut second).await;
        notifier.subscribe(&mut second).await;
        assert_eq!(first.event(notifier.id).await, BrokerMessage::End);
        let flagged = send(&mut recipient, &queue, &message(b"four")).await;
        notifier.tells(&mut second, flagged).await;

        recipient.ok(key, id, &Command::Ndel).await;
        assert_eq!(second.event(notifier.id).await, BrokerMessage::Deld);
        recipient.ok(key, id, &Command::Ndel).await;
        send(&mut recipient, &queue, &message(b"five")).await;

        let again = Notifier::set(&mut recipient, &queue).await;
        again.subscribe(&mut first).await;
        let flagged = send(&mut recipient, &queue, &message(b"six")).await;
        again.tells(&mut first, flagged).await;
        recipient.ok(key, id, &Command::Del).await;
        assert_eq!(first.event(again.id).await, BrokerMessage::Deld);
        first.nothing_else().await;
        second.nothing_else().await;
    }
    let metrics = &host.server().metrics;
    let counted = (metrics.notifications_created.value(), metrics.notifications_sent.value());
    assert_eq!(counted, (8, 8), "four of each client");
    assert_eq!(host.server().notifications.subscriber_count(), 0);
}

#[tokio::test]
async fn a_notifier_is_made_with_its_queue() {
    let host = Host::start(SOON).await;
    for version in [17, 18] {
        let mut client = Client::connect_as(&host, version, false).await;
        let (key, dh_key, new) = (ed25519(), X25519PrivateKey::from_bytes([5; 32]), NewNotifier::draw());
        let Command::New(mut command) = new_queue(&key, &dh_key, MESSAGING, true, None) else { panic!() };
        command.notifier = Some(new.keys());
        let BrokerMessage::Ids(ids) = client.ask(Some(&key), b"", &Command::New(command)).await else {
            panic!("no ids")
        };
        let notifier = new.with(&ids.notifier.unwrap());
        let queue = Queue { secret: dh_key.box_key(&ids.server_dh_key), key, ids };
        let BrokerMessage::Info(details) =
            client.ask(Some(&queue.key), queue.recipient_id(), &Command::Que).await
        else {
            panic!("no details")
        };
        assert!(details.has_notifier);
        let mut other = Client::connect_as(&host, version, false).await;
        notifier.subscribe(&mut other).await;
        let sent = send(&mut client, &queue, &message(b"one")).await;
        notifier.tells(&mut other, sent).await;
    }
}

#[tokio::test]
async fn notifiers_are_checked_like_queues() {
    let host = Host::start(SOON).await;
    let mut client = Client::connect(&host).await;
    let queue = client.create(MESSAGING, false).await;
    let notifier = Notifier::set(&mut client, &queue).await;
    let key = Some(&notifier.key);
    for (key, id) in [
        (key, queue.recipient_id().0),
        (key, queue.ids.sender_id.0),
        (key, [9; 24]),
        (Some(&queue.key), notifier.id.0),
    ] {
        assert_eq!(client.error(key, id, &Command::Nsub).await, ErrorType::Auth);
    }
    let no_auth = ErrorType::Command(CommandError::NoAuth);
    assert_eq!(client.error(None, notifier.id, &Command::Nsub).await, no_auth);
    assert_eq!(client.error(key, b"", &Command::Nsub).await, no_auth);
    assert_eq!(client.error(key, queue.recipient_id(), &Command::Ndel).await, ErrorType::Auth);
    let host = Host::start("[limits]\nconnection_subscriptions = 1").await;
    let mut client = Client::connect(&host).await;
    let queue = client.create(MESSAGING, false).await;
    let notifier = Notifier::set(&mut client, &queue).await;
    notifier.subscribe(&mut client).await;
    notifier.subscribe(&mut client).await;
    let full = client.error(Some(&queue.key), queue.recipient_id(), &Command::Sub).await;
    assert_eq!(full, ErrorType::Command(CommandError::Prohibited));
}

#[tokio::test]
async fn what_nobody_heard_is_told_to_the_next_subscriber_eighty_per_block() {
    let host = Host::start(&format!("[limits]\nqueue_quota = 200\nnotifier_quota = 100\n{SOON}")).await;
    let mut client = Client::connect(&host).await;
    let queue = client.create(MESSAGING, false).await;
    let notifier = Notifier::set(&mut client, &queue).await;
    let mut gone = Client::connect(&host).await;
    notifier.subscribe(&mut gone).await;
    drop(gone);
    for _ in 0..101 {
        client.ok(None, queue.ids.sender_id, &message(b"x")).await;
    }
    let mut other = Client::connect(&host).await;
    notifier.subscribe(&mut other).await;
    let (mut messages, mut blocks) = (BTreeSet::new(), Vec::new());
    // Unless the first connection was still there for some.
    while messages.len() < 100 {
        let received = other.receive().await;
        assert_eq!(received.entity_id, notifier.id.0);
        messages.insert(notifier.open(&received.message));
        blocks.push(received.block);
    }
    let fullest = blocks.iter().map(|block| blocks.iter().filter(|other| *other == block).count()).max();
    assert_eq!(fullest, Some(80));
    other.nothing_else().await;
}

#[tokio::test]
async fn notifications_of_a_busy_connection_wait_for_room() {
    let limits = "[limits]\nconnection_blocks = 1\nqueue_quota = 4000\nnotifier_quota = 4000";
    let host = Host::start(&format!("{limits}\n{SOON}")).await;
    let (mut client, mut slow) = (Client::connect(&host).await, Client::connect(&host).await);
    let queue = client.create(MESSAGING, false).await;
    let notifier = Notifier::set(&mut client, &queue).await;
    notifier.subscribe(&mut slow).await;
    let mut sent = 0;
    let send = client.transmission(None, b"abcd", queue.ids.sender_id.as_bytes(), b"SEND T x");
    while sent < 3000 {
        client.send(&vec![send.clone(); 200]).await;
        for _ in 0..200 {
            assert_eq!(client.receive().await.message, BrokerMessage::Ok);
        }
        sent += 200;
    }
    let mut messages = BTreeSet::new();
    for _ in 0..sent {
        assert!(messages.insert(notifier.open(&slow.event(notifier.id).await)), "told once");
    }
    slow.nothing_else().await;
}

#[tokio::test]
async fn expired_notifications_are_not_told() {
    let times = "notification_ttl = \"1ms\"\nnotification_expiry_interval = \"5ms\"";
    let host = Host::start(&format!("{SOON}\n{times}")).await;
    let mut client = Client::connect(&host).await;
    let queue = client.create(MESSAGING, true).await;
    let notifier = Notifier::set(&mut client, &queue).await;
    send(&mut client, &queue, &message(b"one")).await;
    host.until(|server| server.notifications.count() == 0).await;
    notifier.subscribe(&mut client).await;
    client.nothing_else().await;
}

#[tokio::test]
async fn waiting_notifications_outlive_a_stop_but_not_a_crash() {
    let place = tempfile::tempdir().unwrap();
    init(place.path(), &[]);
    let soon = &["--notification-interval", "5ms"];
    let server = Program::start(place.path(), soon);
    let mut client = Client::connect(&server).await;
    let queue = client.create(MESSAGING, true).await;
    let notifier = Notifier::set(&mut client, &queue).await;
    let sent = send(&mut client, &queue, &message(b"one")).await;
    assert!(server.stop().status.success());
    let saved = place.path().join("notifications.saved");
    assert!(saved.exists());

    let server = Program::start(place.path(), soon);
    assert!(!saved.exists());
    let mut other = Client::connect(&server).await;
    notifier.subscribe(&mut other).await;
    notifier.tells(&mut other, sent).await;
    assert!(server.stop().status.success());
    assert!(!saved.exists(), "nothing waits");

    let server = Program::start(place.path(), soon);
    let mut client = Client::connect(&server).await;
    client.subscribe(&queue).await;
    send(&mut client, &queue, &message(b"two")).await;
    server.kill();
    let server = Program::start(place.path(), soon);
    let (mut client, mut other) = (Client::connect(&server).await, Client::connect(&server).await);
    notifier.subscribe(&mut other).await;
    client.subscribe(&queue).await;
    let third = send(&mut client, &queue, &message(b"three")).await;
    notifier.tells(&mut other, third).await;
    other.nothing_else().await;

    send(&mut client, &queue, &message(b"four")).await;
    assert!(server.stop().status.success());
    let server = Program::start(place.path(), &["--save-notifications", "off"]);
    assert!(server.stop().status.success());
}
