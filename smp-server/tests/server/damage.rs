//! A queue with damaged messages goes on without them, at the operator's word.

use std::path::Path;

use protocol::smp::error::ErrorType;
use protocol::smp::response::BrokerMessage;
use serde_json::Value;

use crate::backups::{SMALL_SEGMENTS, body, flip, segments, stopped, succeed};
use crate::client::{self, Client};
use crate::program::{Program, run};

fn ctl(directory: &Path, arguments: &[&str]) -> Value {
    let output = run(directory, &[&["--json", "ctl"], arguments].concat());
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn what_is_damaged_is_dropped_and_what_is_behind_it_is_delivered() {
    let place = tempfile::tempdir().unwrap();
    let queue = stopped(place.path()).await;
    let sender_id = queue.ids.sender_id.to_string();
    // The first, and one in the middle.
    let sealed = segments(place.path()).remove(0);
    for position in [5_000, 320_000] {
        flip(&sealed, position);
    }
    let server = Program::start(place.path(), SMALL_SEGMENTS);
    let mut client = Client::connect(&server).await;
    client.subscribe(&queue).await;
    let told = client.event(queue.ids.recipient_id).await;
    assert!(matches!(told, BrokerMessage::Err(ErrorType::Store(_))), "{told:?}");

    let found = ctl(place.path(), &["damaged"]);
    assert_eq!((&found["queues"], &found["messages"]), (&1.into(), &2.into()));
    assert_eq!(found["ids"], Value::from(vec![sender_id.as_str()]));
    let status = ctl(place.path(), &["status", &sender_id]);
    assert_eq!((&status["damaged"], &status["messages"]), (&2.into(), &150.into()));
    assert_eq!(run(place.path(), &["ctl", "drop-damaged"]).status.code(), Some(2), "of which queue?");
    assert_eq!(ctl(place.path(), &["drop-damaged", &sender_id])["messages"], 2);
    assert_eq!(ctl(place.path(), &["drop-damaged", "--all"])["messages"], 0);
    assert_eq!(ctl(place.path(), &["stats"])["damaged_messages_dropped_total"], 2);

    // Who waited gets the rest, without asking again.
    let (mut id, mut content) = client.message(&queue).await;
    let mut taken = Vec::new();
    for _ in 0..75 {
        taken.push(client::body(content));
        (id, content) = queue.open(&client.acknowledge(&queue, &id).await);
    }
    drop(client);
    server.kill();
    // Also after a restart.
    let server = Program::start(place.path(), SMALL_SEGMENTS);
    let mut client = Client::connect(&server).await;
    client.subscribe(&queue).await;
    let again = client.message(&queue).await;
    assert_eq!(again.0, id);
    (id, content) = again;
    loop {
        taken.push(client::body(content));
        match client.acknowledge(&queue, &id).await {
            BrokerMessage::Ok => break,
            next => (id, content) = queue.open(&next),
        }
    }
    let sent: Vec<Vec<u8>> = (0..150).map(body).collect();
    assert_eq!((taken.len(), &taken[0]), (148, &sent[1]));
    assert!(sent.iter().filter(|body| taken.contains(body)).eq(taken.iter()), "in their order");
    drop(client);
    let log = String::from_utf8(server.stop().stderr).unwrap();
    assert!(!log.contains(&sender_id), "{log}");
    succeed(place.path(), &["check"]);
}

#[tokio::test]
async fn all_queues_go_on_at_one_word() {
    let place = tempfile::tempdir().unwrap();
    let queue = stopped(place.path()).await;
    flip(&segments(place.path()).remove(0), 5_000);
    let server = Program::start(place.path(), SMALL_SEGMENTS);
    assert_eq!(ctl(place.path(), &["drop-damaged", "--all"])["messages"], 1);
    let mut client = Client::connect(&server).await;
    client.subscribe(&queue).await;
    assert_eq!(client::body(client.message(&queue).await.1), body(1));
    let log = String::from_utf8(server.stop().stderr).unwrap();
    assert!(log.contains("damaged messages of a queue were dropped"), "{log}");
}
