//! Two servers on one PostgreSQL serve one address: real processes, killed like real ones.

use std::path::{Path, PathBuf};
use std::process::Command as Process;

use protocol::smp::command::{Command, NotifierKeys};
use protocol::smp::error::{BlockingInfo, BlockingReason, ErrorType};
use protocol::smp::response::{BrokerMessage, NotifierIds};

use crate::client::{Client, MESSAGING, Queue, body, ed25519, message};
use crate::postgres::Scratch;
use crate::program::{Program, init, program};

/// An address whose queues are in a schema of their own.
struct Address {
    places: Vec<tempfile::TempDir>,
    scratch: Scratch,
}

impl Address {
    /// Nothing when there is no PostgreSQL to test with.
    fn make() -> Option<Self> {
        let scratch = Scratch::make()?;
        let first = tempfile::tempdir().unwrap();
        init(first.path(), &["--store", "postgres", "--event-interval", "50ms"]);
        std::fs::write(first.path().join("postgres"), scratch.connection()).unwrap();
        Some(Self { places: vec![first], scratch })
    }

    fn first(&self) -> &Path {
        self.places[0].path()
    }

    /// A server with the same identity and settings in a directory of its own.
    fn node(&mut self) -> Program {
        let place = tempfile::tempdir().unwrap();
        for file in ["smp-server.toml", "server.crt", "server.key", "ca.crt", "postgres"] {
            std::fs::copy(self.first().join(file), place.path().join(file)).unwrap();
        }
        let path: PathBuf = place.path().to_owned();
        self.places.push(place);
        let node = Program::start(&path, &[]);
        let expected = i64::try_from(self.places.len() - 1).unwrap();
        self.scratch.until(&format!("SELECT count(*) >= {expected} FROM nodes"));
        node
    }
}

async fn secured(client: &mut Client, queue: &Queue) -> protocol::smp::key::AuthPrivateKey {
    let sender = ed25519();
    let secure = Command::Skey { sender_key: sender.public_key() };
    client.ok(Some(&sender), queue.ids.sender_id, &secure).await;
    sender
}

#[tokio::test]
async fn a_message_sent_at_one_node_reaches_the_subscriber_at_another() {
    let Some(mut address) = Address::make() else { return };
    let (a, b) = (address.node(), address.node());
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
    let Some(mut address) = Address::make() else { return };
    let (a, b) = (address.node(), address.node());
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
async fn deleted_and_blocked_queues_are_told_to_the_subscriber_at_another_node() {
    let Some(mut address) = Address::make() else { return };
    let (a, b) = (address.node(), address.node());
    let (mut recipient, mut other) = (Client::connect(&a).await, Client::connect(&b).await);
    let deleted = recipient.create(MESSAGING, true).await;
    other.ok(Some(&deleted.key), deleted.recipient_id(), &Command::Del).await;
    assert_eq!(recipient.event(deleted.ids.recipient_id).await, BrokerMessage::Deld);

    let blocked = recipient.create(MESSAGING, true).await;
    // As the operator's command at another node does it.
    address.scratch.execute(&format!(
        "SELECT set_blocking(number, 'reason=spam', 0) FROM queues WHERE recipient_id = '\\x{}'",
        hex(blocked.ids.recipient_id.as_bytes())
    ));
    let info = BlockingInfo { reason: BlockingReason::Spam, notice: None };
    let told = recipient.event(blocked.ids.recipient_id).await;
    assert_eq!(told, BrokerMessage::Err(ErrorType::Blocked(info)));
}

#[tokio::test]
async fn a_node_that_dies_loses_nothing_and_its_clients_go_on_at_another() {
    let Some(mut address) = Address::make() else { return };
    let (a, b) = (address.node(), address.node());
    let (mut recipient, mut other) = (Client::connect(&a).await, Client::connect(&b).await);
    let queue = recipient.create(MESSAGING, true).await;
    let sender = secured(&mut other, &queue).await;
    other.ok(Some(&sender), queue.ids.sender_id, &message(b"delivered")).await;
    assert_eq!(recipient.take(&queue).await, b"delivered");
    other.ok(Some(&sender), queue.ids.sender_id, &message(b"not acknowledged")).await;
    recipient.message(&queue).await;
    a.kill();
    other.ok(Some(&sender), queue.ids.sender_id, &message(b"sent meanwhile")).await;
    let mut recipient = Client::connect(&b).await;
    recipient.subscribe(&queue).await;
    let (first, content) = recipient.message(&queue).await;
    assert_eq!(body(content), b"not acknowledged");
    let (second, content) = queue.open(&recipient.acknowledge(&queue, &first).await);
    assert_eq!(body(content), b"sent meanwhile");
    assert_eq!(recipient.acknowledge(&queue, &second).await, BrokerMessage::Ok);
    other.ok(Some(&sender), queue.ids.sender_id, &message(b"and on")).await;
    assert_eq!(recipient.take(&queue).await, b"and on");
}

#[tokio::test]
async fn a_node_that_could_not_hear_looks_at_its_subscriptions_again() {
    let Some(mut address) = Address::make() else { return };
    let (a, b) = (address.node(), address.node());
    let (mut recipient, mut other) = (Client::connect(&a).await, Client::connect(&b).await);
    let (arrives, moves, goes) = (
        recipient.create(MESSAGING, true).await,
        recipient.create(MESSAGING, true).await,
        recipient.create(MESSAGING, true).await,
    );
    // As if all that is told from here on were lost with the connection that hears it, and the table with a crash.
    let nodes = "UPDATE nodes SET channel = channel || '_deaf'";
    address.scratch.execute(nodes);
    other.ok(None, arrives.ids.sender_id, &message(b"unheard of")).await;
    other.subscribe(&moves).await;
    other.ok(Some(&goes.key), goes.recipient_id(), &Command::Del).await;
    recipient.nothing_else().await;
    address.scratch.end_sessions("LISTEN");
    assert_eq!(recipient.take(&arrives).await, b"unheard of");
    let mut told = std::collections::BTreeMap::new();
    for _ in 0..2 {
        let event = recipient.receive().await;
        told.insert(event.entity_id.clone(), event.message.clone());
    }
    assert_eq!(told.get(moves.ids.recipient_id.as_bytes().as_slice()), Some(&BrokerMessage::End));
    assert_eq!(told.get(goes.ids.recipient_id.as_bytes().as_slice()), Some(&BrokerMessage::Deld));
    // Both hear again.
    other.ok(None, arrives.ids.sender_id, &message(b"heard of")).await;
    assert_eq!(recipient.take(&arrives).await, b"heard of");
}

#[tokio::test]
async fn a_notifier_is_told_of_messages_sent_at_another_node() {
    let Some(mut address) = Address::make() else { return };
    let (a, b) = (address.node(), address.node());
    let (mut recipient, mut notifier) = (Client::connect(&a).await, Client::connect(&b).await);
    let queue = recipient.create(MESSAGING, false).await;
    let key = ed25519();
    let dh = protocol::crypto::dh::X25519PrivateKey::from_bytes([5; 32]);
    let set = Command::Nkey(NotifierKeys { notifier_key: key.public_key(), dh_key: dh.public_key() });
    let BrokerMessage::Nid(NotifierIds { notifier_id, .. }) =
        recipient.ask(Some(&queue.key), queue.recipient_id(), &set).await
    else {
        panic!("another answer")
    };
    let subscribed = notifier.ask(Some(&key), notifier_id, &Command::Nsub).await;
    assert!(matches!(subscribed, BrokerMessage::Sok(_) | BrokerMessage::Ok), "{subscribed:?}");
    let send = Command::Send { notify: true, body: b"ring".as_slice().into() };
    recipient.ok(None, queue.ids.sender_id, &send).await;
    assert!(matches!(notifier.event(notifier_id).await, BrokerMessage::Nmsg { .. }));
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

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
