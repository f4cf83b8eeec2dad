//! Two servers on one PostgreSQL serve one address: real processes, killed like real ones.

mod failures;
mod load;
mod notifications;
mod services;

use std::path::Path;
use std::process::Command as Process;

use protocol::smp::command::Command;
use protocol::smp::error::ErrorType;
use protocol::smp::response::BrokerMessage;
use serde_json::Value;

use crate::client::{Client, MESSAGING, Queue, ed25519, message};
use crate::host::server_address;
use crate::program::{Program, init, program, run};
use crate::proxy::Sender;
use daemon::scratch::Scratch;

/// An address whose queues are in a schema of their own.
struct Address {
    places: Vec<tempfile::TempDir>,
    scratch: Scratch,
}

impl Address {
    /// Nothing when there is no PostgreSQL to test with.
    fn make(settings: &[&str]) -> Option<Self> {
        let scratch = Scratch::make()?;
        let first = tempfile::tempdir().unwrap();
        let soon = ["--store", "postgres", "--event-interval", "20ms", "--notification-interval", "20ms"];
        init(first.path(), &[&soon, settings].concat());
        std::fs::write(first.path().join("postgres"), scratch.connection()).unwrap();
        Some(Self { places: vec![first], scratch })
    }

    fn first(&self) -> &Path {
        self.places[0].path()
    }

    /// The directory of the node that was made last.
    fn last(&self) -> &Path {
        self.places.last().unwrap().path()
    }

    /// A server with the same identity and settings in a directory of its own.
    fn node(&mut self) -> Program {
        let place = tempfile::tempdir().unwrap();
        for file in ["smp-server.toml", "server.crt", "server.key", "ca.crt", "postgres"] {
            std::fs::copy(self.first().join(file), place.path().join(file)).unwrap();
        }
        self.places.push(place);
        Program::start(self.last(), &[])
    }

    fn two(&mut self) -> (Program, Program) {
        (self.node(), self.node())
    }
}

fn ctl(directory: &Path, arguments: &[&str]) -> Value {
    let output = run(directory, &[&["--json", "ctl"], arguments].concat());
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn is_blocked(event: &BrokerMessage<'_>) -> bool {
    matches!(event, BrokerMessage::Err(ErrorType::Blocked(_)))
}

async fn secured(client: &mut Client, queue: &Queue) -> protocol::smp::key::AuthPrivateKey {
    let sender = ed25519();
    let secure = Command::Skey { sender_key: sender.public_key() };
    client.ok(Some(&sender), queue.ids.sender_id, &secure).await;
    sender
}

#[tokio::test]
async fn a_message_sent_at_one_node_reaches_the_subscriber_at_another() {
    let Some(mut address) = Address::make(&[]) else { return };
    let (a, b) = address.two();
    let (mut recipient, mut other) = (Client::connect(&a).await, Client::connect(&b).await);
    let queue = recipient.create(MESSAGING, true).await;
    let sender = secured(&mut other, &queue).await;
    for text in ["one", "two", "three"] {
        other.ok(Some(&sender), queue.ids.sender_id, &message(text.as_bytes())).await;
        assert_eq!(recipient.take(&queue).await, text.as_bytes());
    }
    // And at the same node, as ever.
    recipient.ok(Some(&sender), queue.ids.sender_id, &message(b"four")).await;
    assert_eq!(recipient.take(&queue).await, b"four");
}

#[tokio::test]
async fn a_queue_has_one_subscriber_among_all_nodes() {
    let Some(mut address) = Address::make(&[]) else { return };
    let (a, b) = address.two();
    let (mut first, mut second) = (Client::connect(&a).await, Client::connect(&b).await);
    let queue = first.create(MESSAGING, true).await;
    let sender = secured(&mut first, &queue).await;
    for _ in 0..3 {
        second.subscribe(&queue).await;
        assert_eq!(first.event(queue.ids.recipient_id).await, BrokerMessage::End);
        first.ok(Some(&sender), queue.ids.sender_id, &message(b"hello")).await;
        assert_eq!(second.take(&queue).await, b"hello");
        first.nothing_else().await;
        std::mem::swap(&mut first, &mut second);
    }
}

#[tokio::test]
async fn what_the_recipient_or_the_operator_does_at_one_node_is_told_to_the_subscriber_at_another() {
    let Some(mut address) = Address::make(&[]) else { return };
    let (a, b) = address.two();
    let (mut recipient, mut other) = (Client::connect(&a).await, Client::connect(&b).await);
    let queue = recipient.create(MESSAGING, true).await;
    other.ok(Some(&queue.key), queue.recipient_id(), &Command::Del).await;
    assert_eq!(recipient.event(queue.ids.recipient_id).await, BrokerMessage::Deld);

    let queue = recipient.create(MESSAGING, true).await;
    let id = queue.ids.sender_id.to_string();
    other.ok(None, queue.ids.sender_id, &message(b"waits")).await;
    let (waiting, _) = recipient.message(&queue).await;
    ctl(address.last(), &["block", &id, "--reason", "spam"]);
    assert!(is_blocked(&recipient.event(queue.ids.recipient_id).await));
    for client in [&mut recipient, &mut other] {
        let refused = client.error(None, queue.ids.sender_id, &message(b"more")).await;
        assert!(matches!(refused, ErrorType::Blocked(_)), "{refused:?}");
    }
    ctl(address.last(), &["unblock", &id]);
    assert_eq!(recipient.acknowledge(&queue, &waiting).await, BrokerMessage::Ok);
    other.ok(None, queue.ids.sender_id, &message(b"goes on")).await;
    assert_eq!(recipient.take(&queue).await, b"goes on");
    assert_eq!(ctl(address.last(), &["status", &id])["messages"], 0);
    ctl(address.last(), &["delete", &id]);
    assert_eq!(recipient.event(queue.ids.recipient_id).await, BrokerMessage::Deld);
    assert!(ctl(address.last(), &["stats"]).is_object());
}

#[tokio::test]
async fn one_node_forwards_to_another() {
    let Some(mut address) = Address::make(&[]) else { return };
    let (a, b) = address.two();
    let mut recipient = Client::connect(&a).await;
    let queue = recipient.create(MESSAGING, true).await;
    let key = ed25519();
    for destination in [&b, &a] {
        let mut sender = Sender::connect(&a, &server_address(destination)).await;
        let secure = Command::Skey { sender_key: key.public_key() };
        assert_eq!(sender.ask(Some(&key), queue.ids.sender_id, &secure).await, BrokerMessage::Ok);
        let sent = sender.ask(Some(&key), queue.ids.sender_id, &message(b"forwarded")).await;
        assert_eq!(sent, BrokerMessage::Ok);
        assert_eq!(recipient.take(&queue).await, b"forwarded");
    }
}

#[tokio::test]
async fn what_changes_at_one_node_is_known_at_another_at_once() {
    let Some(mut address) = Address::make(&[]) else { return };
    let (a, b) = address.two();
    let (mut one, mut other) = (Client::connect(&a).await, Client::connect(&b).await);
    let queue = one.create(MESSAGING, false).await;
    other.ok(None, queue.ids.sender_id, &message(b"anybody may")).await;
    let sender = secured(&mut one, &queue).await;
    assert_eq!(other.error(None, queue.ids.sender_id, &message(b"no more")).await, ErrorType::Auth);
    other.ok(Some(&sender), queue.ids.sender_id, &message(b"but the sender")).await;
    one.ok(Some(&queue.key), queue.recipient_id(), &Command::Off).await;
    assert_eq!(other.error(Some(&sender), queue.ids.sender_id, &message(b"off")).await, ErrorType::Auth);
    one.ok(Some(&queue.key), queue.recipient_id(), &Command::Del).await;
    assert_eq!(other.error(Some(&queue.key), queue.recipient_id(), &Command::Sub).await, ErrorType::Auth);
}

#[test]
fn a_server_says_what_to_do_when_postgresql_is_not_there() {
    let place = tempfile::tempdir().unwrap();
    init(place.path(), &["--store", "postgres"]);
    let start = |command: &mut Process| {
        let output = command.arg("--directory").arg(place.path()).arg("start").output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let said = start(&mut program());
    assert!(said.contains("SMP_SERVER_POSTGRES") && said.contains("connection string"), "{said}");
    let nowhere = "host=/nowhere user=smp password=hunter2";
    let said = start(program().env("SMP_SERVER_POSTGRES", nowhere));
    assert!(said.contains("Unable to use PostgreSQL") && !said.contains("hunter2"), "{said}");
}
