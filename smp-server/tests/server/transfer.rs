//! A server's queues go from one kind of store to another and back, and live on.

use std::path::Path;

use protocol::smp::command::Command;

use crate::client::{Client, MESSAGING, ed25519, message};
use crate::program::{Program, init, run};
use daemon::scratch::Scratch;

fn done(directory: &Path, arguments: &[&str]) {
    let output = run(directory, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn refused(directory: &Path, arguments: &[&str], because: &str) {
    let output = run(directory, arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(because), "{said}");
}

#[tokio::test]
async fn an_export_is_imported_into_another_store_and_back_without_a_difference() {
    let place = tempfile::tempdir().unwrap();
    init(place.path(), &[]);
    let server = Program::start(place.path(), &[]);
    let mut client = Client::connect(&server).await;
    let queue = client.create(MESSAGING, false).await;
    let sender = ed25519();
    client.ok(Some(&sender), queue.ids.sender_id, &Command::Skey { sender_key: sender.public_key() }).await;
    for text in ["one", "two"] {
        client.ok(Some(&sender), queue.ids.sender_id, &message(text.as_bytes())).await;
    }
    let suspended = client.create(MESSAGING, false).await;
    client.ok(Some(&suspended.key), suspended.recipient_id(), &Command::Off).await;
    drop(client);
    assert!(server.stop().status.success());

    let file = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
    let (first, second, third) = (file("first"), file("second"), file("third"));
    done(place.path(), &["export", &first]);
    refused(place.path(), &["export", &first], "nothing is yet");
    refused(place.path(), &["import", &first], "not empty");
    let whole = std::fs::read_to_string(&first).unwrap();
    assert_eq!(whole.lines().count(), 6, "export, 2 queues, 2 messages, end");

    // Cut off: refused at its end.
    let other = tempfile::tempdir().unwrap();
    let cut = file("cut");
    std::fs::write(&cut, whole.rsplit_once("{\"type\":\"end\"").unwrap().0).unwrap();
    init(other.path(), &[]);
    refused(other.path(), &["import", &cut], "cut off");

    // By PostgreSQL, where there is one.
    let mut last = first.clone();
    if let Some(scratch) = Scratch::make() {
        std::fs::write(place.path().join("postgres"), scratch.connection()).unwrap();
        done(place.path(), &["import", &first, "--store", "postgres"]);
        refused(place.path(), &["import", &first, "--store", "postgres"], "not empty");
        done(place.path(), &["export", &second, "--store", "postgres"]);
        assert_eq!(std::fs::read_to_string(&second).unwrap(), whole);
        last = second;
    }

    let target = tempfile::tempdir().unwrap();
    for name in ["smp-server.toml", "server.crt", "server.key", "ca.crt"] {
        std::fs::copy(place.path().join(name), target.path().join(name)).unwrap();
    }
    done(target.path(), &["import", &last]);
    done(target.path(), &["export", &third]);
    assert_eq!(std::fs::read_to_string(&third).unwrap(), whole);
    let server = Program::start(target.path(), &[]);
    let mut client = Client::connect(&server).await;
    client.subscribe(&queue).await;
    let (id, content) = client.message(&queue).await;
    assert_eq!(crate::client::body(content), b"one");
    let (_, content) = queue.open(&client.acknowledge(&queue, &id).await);
    assert_eq!(crate::client::body(content), b"two");
}
