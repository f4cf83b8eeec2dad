//! A running server as its operator sees and changes it: `smp-server ctl`, and word to the service manager.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use protocol::smp::error::ErrorType;
use serde_json::Value;

use crate::client::{Client, MESSAGING, message};
use crate::program::{Program, init, program, run};

fn ctl(directory: &Path, arguments: &[&str]) -> Value {
    let output = run(directory, &[&["--json", "ctl"], arguments].concat());
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Why `ctl` did not do it.
fn refused(directory: &Path, arguments: &[&str]) -> String {
    let output = run(directory, &[&["ctl"], arguments].concat());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test]
async fn queues_are_looked_at_blocked_unblocked_and_deleted() {
    let place = tempfile::tempdir().unwrap();
    init(place.path(), &[]);
    let server = Program::start(place.path(), &[]);
    let mut client = Client::connect(&server).await;
    let queue = client.create(MESSAGING, false).await;
    let id = queue.ids.sender_id.to_string();
    client.ok(None, queue.ids.sender_id, &message(b"waits")).await;

    let status = ctl(place.path(), &["status", &id]);
    assert_eq!((&status["status"], &status["messages"]), (&"active".into(), &1.into()));
    let blocked = ctl(place.path(), &["block", &id, "--reason", "spam", "--notice", "1h"]);
    assert_eq!(blocked["before"]["status"], "active");
    let error = client.error(None, queue.ids.sender_id, &message(b"more")).await;
    assert!(matches!(error, ErrorType::Blocked(_)), "{error:?}");
    let status = ctl(place.path(), &["status", &id]);
    assert_eq!((&status["status"], &status["reason"]), (&"blocked".into(), &"spam".into()));
    assert_eq!(status["notice_seconds"], 3600);
    let unblocked = ctl(place.path(), &["unblock", &id]);
    assert_eq!(unblocked["before"]["reason"], "spam");
    client.ok(None, queue.ids.sender_id, &message(b"more")).await;
    assert!(refused(place.path(), &["unblock", &id]).contains("not blocked"));

    assert_eq!(ctl(place.path(), &["delete", &id])["messages"], 2);
    assert!(refused(place.path(), &["status", &id]).contains("no queue has this id"));
    assert!(refused(place.path(), &["status", "-nonsense"]).contains("no id"));
    assert!(
        refused(place.path(), &["block", &id, "--reason", "spam", "--notice", "1"])
            .contains("length of time")
    );
}

#[tokio::test]
async fn what_there_is_is_told_to_people_and_to_scripts() {
    let place = tempfile::tempdir().unwrap();
    init(place.path(), &[]);
    let server = Program::start(place.path(), &[]);
    let mode = std::fs::metadata(place.path().join("control")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut client = Client::connect(&server).await;
    client.create(MESSAGING, true).await;
    let stats = ctl(place.path(), &["stats"]);
    assert_eq!((&stats["NEW_ok"], &stats["smp_server_subscriptions"]), (&1.into(), &1.into()));
    let sockets = ctl(place.path(), &["sockets"]);
    assert_eq!(
        (&sockets["accepted"], &sockets["active"], &sockets["closed"]),
        (&1.into(), &1.into(), &0.into())
    );
    let shown = run(place.path(), &["ctl", "stats"]);
    assert!(String::from_utf8(shown.stdout).unwrap().lines().any(|line| line == "NEW_ok: 1"));
}

#[tokio::test]
async fn a_drained_server_ends_well_and_keeps_what_it_said_ok_to() {
    let place = tempfile::tempdir().unwrap();
    init(place.path(), &[]);
    let server = Program::start(place.path(), &[]);
    let mut client = Client::connect(&server).await;
    let queue = client.create(MESSAGING, false).await;
    client.ok(None, queue.ids.sender_id, &message(b"kept")).await;
    let certificate = std::fs::read(place.path().join("server.crt")).unwrap();
    std::fs::write(place.path().join("server.crt"), "damaged").unwrap();
    assert!(refused(place.path(), &["reload"]).contains("in use stay"));
    std::fs::write(place.path().join("server.crt"), certificate).unwrap();
    ctl(place.path(), &["reload"]);
    assert!(ctl(place.path(), &["drain"])["done"].is_string());
    let ended = server.wait_for_end();
    assert!(ended.status.success(), "{ended:?}");
    let log = String::from_utf8(ended.stderr).unwrap();
    assert!(log.contains("statistics") && log.contains("SEND_ok"), "{log}");
    assert!(!place.path().join("control").exists());
    assert!(refused(place.path(), &["stats"]).contains("No server runs"));

    let again = Program::start(place.path(), &[]);
    let mut client = Client::connect(&again).await;
    client.subscribe(&queue).await;
}

#[test]
fn the_service_manager_hears_of_the_beginning_and_the_end() {
    let place = tempfile::tempdir().unwrap();
    init(place.path(), &[]);
    let heard = UnixDatagram::bind(place.path().join("notify")).unwrap();
    let mut command = program();
    command.env("NOTIFY_SOCKET", place.path().join("notify"));
    command.arg("--directory").arg(place.path()).args(["--json", "start"]);
    let server = Program::spawn(command);
    let hear = || {
        let mut word = [0; 256];
        let length = heard.recv(&mut word).unwrap();
        String::from_utf8_lossy(&word[..length]).into_owned()
    };
    assert!(hear().contains("READY=1"));
    server.signal("HUP");
    assert!(hear().contains("RELOADING=1"));
    assert!(hear().contains("READY=1"));
    assert!(server.stop().status.success());
    assert!(hear().contains("STOPPING=1"));
}

#[test]
fn completions_and_the_manual_come_from_the_command_line() {
    for (arguments, words) in
        [(&["completions", "bash"][..], "check-config"), (&["manual"], ".TH smp-server")]
    {
        let output = program().args(arguments).output().unwrap();
        assert!(String::from_utf8(output.stdout).unwrap().contains(words), "{arguments:?}");
    }
}
