//! What was answered `OK` outlives the process, however it ends.

use std::process::Command as Process;

use protocol::smp::command::{Command, ContactLink, QueueRequest};
use protocol::smp::error::ErrorType;
use protocol::smp::ids::{LinkId, SenderId};
use protocol::smp::message::ReceivedMessage;
use protocol::smp::response::BrokerMessage;

use crate::client::{CORRELATION, Client, MESSAGING, Queue, body, ed25519, link_data, message};
use crate::program::{Program, init};

/// The bodies that wait in a queue, acknowledged one after the other; nothing stands for the marker.
pub(crate) async fn drain(client: &mut Client, queue: &Queue) -> Vec<Option<Vec<u8>>> {
    client.subscribe(queue).await;
    let mut bodies = Vec::new();
    let mut next = client.event(queue.ids.recipient_id).await;
    loop {
        let (id, content) = queue.open(&next);
        bodies.push(match content {
            ReceivedMessage::Message { body, .. } => Some(body),
            ReceivedMessage::Quota { .. } => None,
        });
        next = client.acknowledge(queue, &id).await;
        if next == BrokerMessage::Ok {
            return bodies;
        }
    }
}

#[tokio::test]
async fn a_killed_server_comes_back_with_all_that_it_confirmed() {
    let place = tempfile::tempdir().unwrap();
    init(place.path(), &["--queue-quota", "3"]);
    let server = Program::start(place.path(), &[]);
    let mut client = Client::connect(&server).await;

    let queue = client.create(MESSAGING, true).await;
    let sender = ed25519();
    let secure = Command::Skey { sender_key: sender.public_key() };
    client.ok(Some(&sender), queue.ids.sender_id, &secure).await;
    for text in ["one", "two", "three"] {
        client.ok(Some(&sender), queue.ids.sender_id, &message(text.as_bytes())).await;
    }
    let (first, content) = client.message(&queue).await;
    assert_eq!(body(content), b"one");
    let next = client.acknowledge(&queue, &first).await;
    assert_eq!(body(queue.open(&next).1), b"two");
    client.ok(Some(&sender), queue.ids.sender_id, &message(b"four")).await;
    let full = client.error(Some(&sender), queue.ids.sender_id, &message(b"five")).await;
    assert_eq!(full, ErrorType::Quota);

    let link_id = LinkId([3; 24]);
    let sender_id = SenderId::for_correlation(CORRELATION).0.to_vec().into();
    let link =
        ContactLink { link_id: link_id.0.to_vec().into(), sender_id, data: link_data(b"fixed", b"user") };
    let contact = client.create(Some(QueueRequest::Contact(Some(link))), false).await;
    let suspended = client.create(MESSAGING, false).await;
    client.ok(Some(&suspended.key), suspended.recipient_id(), &Command::Off).await;
    let deleted = client.create(MESSAGING, false).await;
    client.ok(Some(&deleted.key), deleted.recipient_id(), &Command::Del).await;
    server.kill();

    let server = Program::start(place.path(), &[]);
    let mut client = Client::connect(&server).await;
    let bare = client.error(None, queue.ids.sender_id, &message(b"bare")).await;
    assert_eq!(bare, ErrorType::Auth, "still secured");
    let waiting = ["two", "three", "four"].map(|text| Some(text.as_bytes().to_vec()));
    assert_eq!(drain(&mut client, &queue).await, [&waiting[..], &[None]].concat());
    client.ok(Some(&sender), queue.ids.sender_id, &message(b"six")).await;
    let lnk = BrokerMessage::Lnk { sender_id: contact.ids.sender_id, data: link_data(b"fixed", b"user") };
    assert_eq!(client.ask(None, link_id, &Command::Lget).await, lnk);
    assert_eq!(client.send_message(&suspended, b"x").await, BrokerMessage::Err(ErrorType::Auth));
    client.subscribe(&suspended).await;
    let gone = client.error(Some(&deleted.key), deleted.recipient_id(), &Command::Sub).await;
    assert_eq!(gone, ErrorType::Auth);
}

#[tokio::test]
async fn killed_in_the_middle_of_load_it_loses_nothing_and_repeats_nothing_acknowledged() {
    const SENDERS: usize = 4;
    let place = tempfile::tempdir().unwrap();
    init(place.path(), &["--queue-quota", "100000"]);
    let mut server = Program::start(place.path(), &[]);
    let port = server.port();
    let mut creator = Client::connect(&server).await;
    let mut queues = Vec::new();
    for _ in 0..SENDERS {
        queues.push(creator.create(MESSAGING, false).await);
    }
    let mut confirmed = [0_u32; SENDERS];
    let mut attempted = [0_u32; SENDERS];
    for round in 1..=3_u32 {
        let mut clients = Vec::new();
        for _ in 0..SENDERS {
            clients.push(Client::connect(&server).await);
        }
        // Every sender has several messages on the way when the server dies.
        for ((client, queue), attempted) in clients.iter_mut().zip(&queues).zip(&mut attempted) {
            for _ in 0..40 {
                *attempted += 1;
                let command = message(&attempted.to_be_bytes()).encode(18);
                let id = attempted.to_be_bytes();
                let transmission = client.transmission(None, &id, queue.ids.sender_id.as_ref(), &command);
                client.send(&[transmission]).await;
            }
        }
        for (client, confirmed) in clients.iter_mut().zip(&mut confirmed) {
            for _ in 0..5 * round {
                let received = client.receive().await;
                assert_eq!(received.message, BrokerMessage::Ok);
                *confirmed = u32::from_be_bytes(received.correlation_id.try_into().unwrap());
            }
        }
        server.kill();
        server = Program::start(place.path(), &["--port", &port]);
        // What the next round sends stands behind what this one attempted.
        let mut client = Client::connect(&server).await;
        for ((queue, confirmed), attempted) in queues.iter().zip(&mut confirmed).zip(&attempted) {
            let bodies = drain(&mut client, queue).await;
            let numbers: Vec<u32> = bodies
                .into_iter()
                .map(|body| u32::from_be_bytes(body.unwrap().try_into().unwrap()))
                .collect();
            assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "in order: {numbers:?}");
            assert!(numbers.last() >= Some(confirmed), "{numbers:?} without {confirmed}");
            assert_eq!(numbers.first(), Some(&(attempted - 39)), "nothing of an earlier round comes again");
            *confirmed = *attempted;
        }
    }
}

#[tokio::test]
async fn a_disk_that_refuses_is_never_answered_ok() {
    let place = tempfile::tempdir().unwrap();
    init(place.path(), &["--queue-quota", "100000"]);
    // A limit on the size of files stands for a full disk: writes beyond it fail.
    let mut command = Process::new("sh");
    let script = r#"trap '' XFSZ; exec "$0" --directory "$1" --json start --segment-mib 1"#;
    command.args(["-c", script, env!("CARGO_BIN_EXE_smp-server")]).arg(place.path());
    let server = Program::spawn(command);
    let mut client = Client::connect(&server).await;
    let queue = client.create(MESSAGING, false).await;
    server.limit_files("600000");
    let numbered = |number: u32| [&number.to_be_bytes()[..], &[7; 15_000]].concat();
    let mut confirmed = 0_u32;
    let error = loop {
        match client.send_message(&queue, &numbered(confirmed)).await {
            BrokerMessage::Ok => confirmed += 1,
            BrokerMessage::Err(error) => break error,
            other => panic!("{other:?}"),
        }
        assert!(confirmed < 1000, "the limit was never met");
    };
    assert!(matches!(error, ErrorType::Store(_)), "{error:?}");
    assert!(confirmed > 0);
    client.nothing_else().await;
    // It goes on when there is room.
    server.limit_files("unlimited");
    for _ in 0..2 {
        assert_eq!(client.send_message(&queue, &numbered(confirmed)).await, BrokerMessage::Ok);
        confirmed += 1;
    }
    server.kill();

    let server = Program::start(place.path(), &[]);
    let mut client = Client::connect(&server).await;
    let bodies = drain(&mut client, &queue).await;
    let numbers: Vec<u32> =
        bodies.into_iter().map(|body| u32::from_be_bytes(*body.unwrap().first_chunk().unwrap())).collect();
    assert_eq!(numbers, (0..confirmed).collect::<Vec<_>>());
}
