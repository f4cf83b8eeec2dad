//! The server aborts at each of its crash points: what it had answered stays, what it had not may or may not, and
//! the client goes on by repeating.

use protocol::crypto::dh::X25519PrivateKey;
use protocol::smp::command::{Command, ContactLink, NotifierKeys, QueueRequest};
use protocol::smp::error::ErrorType;
use protocol::smp::ids::{LinkId, SenderId};
use protocol::smp::key::AuthPrivateKey;
use protocol::smp::response::BrokerMessage;
use smp_server::CRASH_POINTS;

use crate::client::{
    CORRELATION, Client, MESSAGING, Queue, ack, body, ed25519, link_data, message, new_queue,
};
use crate::program::{Program, init, program};

fn start_with_crash(directory: &std::path::Path, point: &str) -> Program {
    let mut command = program();
    command.env("CONCLAVE_CRASH_POINT", point).arg("--directory").arg(directory).args(["--json", "start"]);
    Program::spawn(command)
}

#[tokio::test]
async fn every_crash_point_is_reached_and_survived() {
    for point in CRASH_POINTS {
        let place = tempfile::tempdir().unwrap();
        init(place.path(), &[]);
        let prepared = prepare(&Program::start(place.path(), &[])).await;
        let server = start_with_crash(place.path(), point);
        let mut client = Client::connect(&server).await;
        let (_, step) = point.split_once('.').unwrap();
        let (command, _) = step.split_once('.').unwrap();
        provoke(&mut client, &prepared, command).await;
        assert!(client.is_closed().await, "{point}: no answer before the abort");
        assert!(!server.wait().success(), "{point}");

        let server = Program::start(place.path(), &[]);
        let mut client = Client::connect(&server).await;
        check(&mut client, &prepared, command, point.ends_with("committed")).await;
    }
}

/// A queue with one confirmed message.
async fn prepare(server: &Program) -> Queue {
    let mut client = Client::connect(server).await;
    let queue = client.create(MESSAGING, false).await;
    client.ok(None, queue.ids.sender_id, &message(b"one")).await;
    queue
}

const LINK: LinkId = LinkId([3; 24]);
const NEW_CORRELATION: &[u8] = b"of a new queue";

fn lset() -> Command<'static> {
    Command::Lset { link_id: LINK.0.to_vec().into(), data: link_data(b"f", b"u") }
}

fn nkey(key: &AuthPrivateKey) -> Command<'static> {
    let dh_key = X25519PrivateKey::from_bytes([6; 32]).public_key();
    Command::Nkey(NotifierKeys { notifier_key: key.public_key(), dh_key })
}

fn new_request() -> Option<QueueRequest<'static>> {
    let sender_id = SenderId::for_correlation(NEW_CORRELATION).0.to_vec().into();
    let link = ContactLink { link_id: LINK.0.to_vec().into(), sender_id, data: link_data(b"f", b"u") };
    Some(QueueRequest::Contact(Some(link)))
}

/// Sends the command during which the server aborts.
async fn provoke(client: &mut Client, queue: &Queue, command: &str) {
    let recipient_id = queue.recipient_id().0.to_vec();
    let signed = Some(&queue.key);
    let (key, correlation_id, entity_id, command) = match command {
        "new" => {
            let dh_key = X25519PrivateKey::from_bytes([5; 32]);
            (signed, NEW_CORRELATION, Vec::new(), new_queue(&queue.key, &dh_key, new_request(), false, None))
        }
        "send" => (None, CORRELATION, queue.ids.sender_id.0.to_vec(), message(b"two")),
        "secure" => (signed, CORRELATION, recipient_id, Command::Key { sender_key: queue.key.public_key() }),
        "link" => (signed, CORRELATION, recipient_id, lset()),
        "delete" => (signed, CORRELATION, recipient_id, Command::Del),
        "notifier" => (signed, CORRELATION, recipient_id, nkey(&queue.key)),
        "ack" => {
            client.subscribe(queue).await;
            let (id, _) = client.message(queue).await;
            (signed, CORRELATION, recipient_id, ack(&id))
        }
        other => panic!("no command reaches {other}"),
    };
    let transmission = client.transmission(key, correlation_id, &entity_id, &command.encode(18));
    client.send(&[transmission]).await;
}

/// What the restarted server has, `done` when the step was committed; repeating the step leads on in either case.
async fn check(client: &mut Client, queue: &Queue, command: &str, done: bool) {
    let (key, recipient_id) = (Some(&queue.key), queue.recipient_id());
    match command {
        "new" => {
            let repeated = client.create_with(ed25519(), NEW_CORRELATION, new_request(), false).await;
            assert_eq!(repeated.err(), done.then_some(ErrorType::Auth));
        }
        "send" => {
            client.subscribe(queue).await;
            let (id, content) = client.message(queue).await;
            assert_eq!(body(content), b"one");
            match client.acknowledge(queue, &id).await {
                BrokerMessage::Ok => assert!(!done),
                next => {
                    assert!(done);
                    assert_eq!(body(queue.open(&next).1), b"two");
                }
            }
        }
        "secure" => {
            let unsigned = client.send_message(queue, b"two").await;
            assert_eq!(unsigned == BrokerMessage::Err(ErrorType::Auth), done);
            client.ok(key, recipient_id, &Command::Key { sender_key: queue.key.public_key() }).await;
        }
        "link" => client.ok(key, recipient_id, &lset()).await,
        "delete" => {
            let again = client.ask(key, recipient_id, &Command::Del).await;
            let expected = if done { BrokerMessage::Err(ErrorType::Auth) } else { BrokerMessage::Ok };
            assert_eq!(again, expected);
        }
        "notifier" => {
            let details = client.ask(key, recipient_id, &Command::Que).await;
            let BrokerMessage::Info(details) = details else { panic!("{details:?}") };
            assert_eq!(details.has_notifier, done);
            let again = client.ask(key, recipient_id, &nkey(&queue.key)).await;
            assert!(matches!(again, BrokerMessage::Nid(_)), "{again:?}");
        }
        "ack" => {
            client.subscribe(queue).await;
            if done {
                client.nothing_else().await;
            } else {
                assert_eq!(client.take(queue).await, b"one");
            }
        }
        other => panic!("no command reaches {other}"),
    }
}
