//! `check`, `backup` and `restore`, and a server on a directory that is damaged or cannot be written.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;

use protocol::smp::command::Command;
use protocol::smp::error::ErrorType;
use protocol::smp::response::BrokerMessage;

use crate::client::{Client, MESSAGING, Queue};
use crate::durability::drain;
use crate::program::{Program, init, run};

pub(crate) const SMALL_SEGMENTS: &[&str] = &["--segment-mib", "1", "--queue-quota", "1000"];

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

pub(crate) fn succeed(directory: &Path, arguments: &[&str]) -> String {
    let output = run(directory, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    said(&output)
}

fn refuse(directory: &Path, arguments: &[&str], word: &str) -> Output {
    let output = run(directory, arguments);
    assert!(!output.status.success(), "{arguments:?}");
    assert!(said(&output).contains(word), "{word} in {}", said(&output));
    output
}

/// The segments of a directory, the oldest first.
pub(crate) fn segments(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory.join("messages")).unwrap().map(|entry| entry.unwrap().path());
    let mut segments: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|ending| ending == "log")).collect();
    segments.sort();
    segments
}

pub(crate) fn body(number: u32) -> Vec<u8> {
    [&number.to_be_bytes()[..], &[7; 15_000]].concat()
}

pub(crate) fn flip(path: &Path, position: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[position] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn a_backup_of_a_busy_server_becomes_a_server_with_all_that_was_confirmed_before() {
    let place = tempfile::tempdir().unwrap();
    init(place.path(), &[]);
    let server = Program::start(place.path(), SMALL_SEGMENTS);
    let mut client = Client::connect(&server).await;
    let queue = client.create(MESSAGING, false).await;
    let deleted = client.create(MESSAGING, false).await;
    assert_eq!(client.send_message(&deleted, b"goes").await, BrokerMessage::Ok);
    for number in 0..200 {
        assert_eq!(client.send_message(&queue, &body(number)).await, BrokerMessage::Ok);
    }
    assert!(segments(place.path()).len() > 2);

    // Sending, and deleting a queue, go on while the backup is made.
    let copy = place.path().with_extension("backup");
    let (from, into) = (place.path().to_owned(), copy.clone());
    let backup = tokio::task::spawn_blocking(move || succeed(&from, &["backup", into.to_str().unwrap()]));
    let mut number = 200;
    client.ok(Some(&deleted.key), deleted.recipient_id(), &Command::Del).await;
    while !backup.is_finished() {
        assert_eq!(client.send_message(&queue, &body(number)).await, BrokerMessage::Ok);
        number += 1;
    }
    assert!(backup.await.unwrap().contains("2 queues") || number > 200);
    server.kill();

    succeed(place.path(), &["check", copy.to_str().unwrap()]);
    let other = tempfile::tempdir().unwrap();
    succeed(other.path(), &["restore", copy.to_str().unwrap()]);
    refuse(other.path(), &["restore", copy.to_str().unwrap()], "not empty");
    succeed(other.path(), &["check"]);
    for secret in ["server.key", "smp-server.db", "messages/0000000001.log"] {
        let mode = std::fs::metadata(other.path().join(secret)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{secret}");
    }
    let server = Program::start(other.path(), SMALL_SEGMENTS);
    let mut client = Client::connect(&server).await;
    let bodies = drain(&mut client, &queue).await;
    let numbers: Vec<u32> =
        bodies.into_iter().map(|body| u32::from_be_bytes(*body.unwrap().first_chunk().unwrap())).collect();
    assert!((200..=number as usize).contains(&numbers.len()), "{}", numbers.len());
    assert_eq!(numbers, (0..u32::try_from(numbers.len()).unwrap()).collect::<Vec<_>>());
    std::fs::remove_dir_all(&copy).unwrap();
}

/// A stopped server with a queue, and messages in several segments.
pub(crate) async fn stopped(place: &Path) -> Queue {
    init(place, &[]);
    let server = Program::start(place, SMALL_SEGMENTS);
    let mut client = Client::connect(&server).await;
    let queue = client.create(MESSAGING, false).await;
    for number in 0..150 {
        assert_eq!(client.send_message(&queue, &body(number)).await, BrokerMessage::Ok);
    }
    drop(client);
    server.stop();
    queue
}

#[tokio::test]
async fn damage_is_found_told_and_never_served() {
    let place = tempfile::tempdir().unwrap();
    let queue = stopped(place.path()).await;
    assert!(succeed(place.path(), &["check"]).contains("1 queues, 150 messages"));
    let sealed = segments(place.path()).remove(0);
    let copy = place.path().with_extension("kept");
    succeed(place.path(), &["backup", copy.to_str().unwrap()]);
    // The files of a backup may be the server's own: what damages one must not damage the other here.
    std::fs::copy(&sealed, sealed.with_extension("own")).unwrap();
    std::fs::rename(sealed.with_extension("own"), &sealed).unwrap();
    flip(&sealed, 20_000);

    let output = refuse(place.path(), &["check"], "smp-server restore");
    assert_eq!(output.status.code(), Some(20));
    assert!(said(&output).contains("0000000001.log is damaged"), "{}", said(&output));
    let advice = format!("ctl drop-damaged {}", queue.ids.sender_id);
    assert!(said(&output).contains(&advice), "{}", said(&output));
    // The server starts: what is sound is served, and the damaged message is not.
    let server = Program::start(place.path(), SMALL_SEGMENTS);
    let mut client = Client::connect(&server).await;
    client.subscribe(&queue).await;
    let (id, _) = client.message(&queue).await;
    let answer = client.acknowledge(&queue, &id).await;
    assert!(matches!(answer, BrokerMessage::Err(ErrorType::Store(_))), "{answer:?}");
    client.nothing_else().await;
    let log = String::from_utf8(server.stop().stderr).unwrap();
    assert!(log.contains("a message is damaged"), "{log}");
    // At the head too: its subscriber is told, and keeps its other queues.
    flip(&sealed, 5_000);
    let server = Program::start(place.path(), SMALL_SEGMENTS);
    let mut client = Client::connect(&server).await;
    client.subscribe(&queue).await;
    let told = client.event(queue.ids.recipient_id).await;
    assert!(matches!(told, BrokerMessage::Err(ErrorType::Store(_))), "{told:?}");
    let other = client.create(MESSAGING, true).await;
    assert_eq!(client.send_message(&other, b"sound").await, BrokerMessage::Ok);
    assert_eq!(client.take(&other).await, b"sound");
    drop(client);
    server.stop();

    // Damage in the last segment, which is read wholly, keeps the server from starting.
    let last = segments(place.path()).pop().unwrap();
    flip(&last, 200);
    refuse(place.path(), &["start"], "smp-server check");
    // Neither is a damaged backup restored.
    let other = tempfile::tempdir().unwrap();
    flip(&copy.join("messages").join(last.file_name().unwrap()), 200);
    refuse(other.path(), &["restore", copy.to_str().unwrap()], "damaged");
    flip(&copy.join("messages").join(last.file_name().unwrap()), 200);
    flip(&copy.join("smp-server.db"), 5000);
    refuse(other.path(), &["restore", copy.to_str().unwrap()], "not as it was written");
    flip(&copy.join("smp-server.db"), 5000);
    std::fs::rename(copy.join("backup.json"), copy.join("away")).unwrap();
    refuse(other.path(), &["restore", copy.to_str().unwrap()], "no complete backup");
    std::fs::rename(copy.join("away"), copy.join("backup.json")).unwrap();
    assert!(std::fs::read_dir(other.path()).unwrap().next().is_none(), "nothing was made");
    succeed(other.path(), &["restore", copy.to_str().unwrap()]);
    std::fs::remove_dir_all(&copy).unwrap();
}

#[tokio::test]
async fn a_damaged_database_is_found() {
    let place = tempfile::tempdir().unwrap();
    stopped(place.path()).await;
    let copy = place.path().with_extension("database");
    succeed(place.path(), &["backup", copy.to_str().unwrap()]);
    let database = copy.join("smp-server.db");
    let length = usize::try_from(std::fs::metadata(&database).unwrap().len()).unwrap();
    // Over the trees of the database, behind its header.
    for page in 1..length / 4096 {
        flip(&database, page * 4096);
    }
    let output = refuse(place.path(), &["check", copy.to_str().unwrap()], "smp-server.db is damaged");
    assert_eq!(output.status.code(), Some(20));
    std::fs::remove_dir_all(&copy).unwrap();
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_is_refused() {
    let place = tempfile::tempdir().unwrap();
    stopped(place.path()).await;
    let messages = place.path().join("messages");
    let set = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    for segment in segments(place.path()) {
        set(&segment, 0o400);
    }
    set(&messages, 0o500);
    if std::fs::File::create(messages.join("probe")).is_ok() {
        // Nothing is forbidden to this user.
        set(&messages, 0o700);
        return;
    }
    refuse(place.path(), &["start"], "messages");
    set(&messages, 0o700);
}

#[test]
fn there_must_be_something_to_copy_and_room_to_copy_it_to() {
    let place = tempfile::tempdir().unwrap();
    let nowhere = place.path().join("nowhere");
    for arguments in [&["check"][..], &["backup", "/nonexistent/copy"]] {
        assert_eq!(refuse(&nowhere, arguments, "smp-server init").status.code(), Some(3));
    }
    init(&nowhere, &[]);
    assert!(Program::start(&nowhere, &[]).stop().status.success());
    refuse(&nowhere, &["backup", place.path().to_str().unwrap()], "exists");
    let running = Program::start(&nowhere, &[]);
    assert_eq!(refuse(&nowhere, &["check"], "Another smp-server").status.code(), Some(4));
    drop(running);
}
