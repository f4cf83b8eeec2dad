//! Settings checked and shown, and certificates renewed, as an operator does it.

use std::path::Path;

use crate::client::{Client, MESSAGING, greet, message};
use crate::program::{Program, init, program, run};

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The server's own certificate, as its hello shows it.
async fn leaf(server: &Program) -> Vec<u8> {
    greet(server).await.hello.certified_key.unwrap().chain.certificates()[0].clone()
}

#[test]
fn check_config_says_what_start_would_refuse() {
    let place = tempfile::tempdir().unwrap();
    let code = |arguments: &[&str]| run(place.path(), arguments).status.code().unwrap();
    assert_eq!(code(&["check-config"]), 3);
    init(place.path(), &[]);
    let sound = run(place.path(), &["check-config"]);
    assert!(sound.status.success(), "{sound:?}");
    assert!(text(&sound.stderr).contains("ca.key is still on this machine"), "{sound:?}");
    std::fs::remove_file(place.path().join("ca.key")).unwrap();
    assert_eq!(text(&run(place.path(), &["check-config"]).stderr), "");

    assert_eq!(code(&["check-config", "--queue-quota", "0"]), 2);
    assert_eq!(code(&["check-config", "--config", "/nonexistent/smp-server.toml"]), 1);
    let settings = place.path().join("smp-server.toml");
    std::fs::write(&settings, "[times]\nmessage_ttl = \"21\"\n").unwrap();
    let wrong = run(place.path(), &["check-config"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong.stderr).contains("not a length of time"), "{wrong:?}");
    std::fs::remove_file(&settings).unwrap();
    std::fs::remove_file(place.path().join("server.key")).unwrap();
    assert_eq!(code(&["check-config"]), 1);
}

#[test]
fn the_manual_of_settings_is_the_shipped_example() {
    let shown = text(&program().arg("example-config").output().unwrap().stdout);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/smp-server.example.toml");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &shown).unwrap();
    }
    assert_eq!(
        shown,
        std::fs::read_to_string(&path).unwrap(),
        "after a change on purpose: UPDATE_GOLDEN=1 cargo test -p smp-server the_manual"
    );
}

#[test]
fn the_example_is_sound_and_takes_what_flags_say() {
    let place = tempfile::tempdir().unwrap();
    init(place.path(), &[]);
    let example = run(place.path(), &["example-config", "--host", "smp.example.org"]);
    assert!(text(&example.stdout).contains("\nhosts = \"smp.example.org\"\n"), "{example:?}");
    std::fs::write(place.path().join("smp-server.toml"), &example.stdout).unwrap();
    assert!(run(place.path(), &["check-config"]).status.success());
}

#[tokio::test]
async fn a_running_server_takes_up_a_renewed_certificate() {
    let place = tempfile::tempdir().unwrap();
    let made = init(place.path(), &[]);
    let server = Program::start(place.path(), &[]);
    let mut old = Client::connect(&server).await;
    let queue = old.create(MESSAGING, true).await;
    let first = leaf(&server).await;

    let renewed = run(place.path(), &["--json", "cert"]);
    assert!(renewed.status.success(), "{renewed:?}");
    let said: serde_json::Value = serde_json::from_slice(&renewed.stdout).unwrap();
    assert_eq!(said["fingerprint"], made["fingerprint"]);
    assert_eq!(leaf(&server).await, first, "not before it is told");
    server.signal("HUP");
    while leaf(&server).await == first {
        tokio::task::yield_now().await;
    }
    // The address holds, and who was connected still is.
    let mut new = Client::connect(&server).await;
    new.ok(None, queue.ids.sender_id, &message(b"hello")).await;
    assert_eq!(old.take(&queue).await, b"hello");
    assert!(server.stop().status.success());
}

#[test]
fn a_certificate_is_not_renewed_without_the_key_of_the_identity() {
    let place = tempfile::tempdir().unwrap();
    init(place.path(), &[]);
    let elsewhere = tempfile::tempdir().unwrap();
    let moved = elsewhere.path().join("ca.key");
    std::fs::rename(place.path().join("ca.key"), &moved).unwrap();
    let before = std::fs::read(place.path().join("server.crt")).unwrap();
    let refused = run(place.path(), &["cert"]);
    assert!(!refused.status.success());
    assert!(text(&refused.stderr).contains("--ca-key"), "{refused:?}");
    assert_eq!(std::fs::read(place.path().join("server.crt")).unwrap(), before);
    assert!(run(place.path(), &["cert", "--ca-key", moved.to_str().unwrap()]).status.success());
    assert_ne!(std::fs::read(place.path().join("server.crt")).unwrap(), before);
}
