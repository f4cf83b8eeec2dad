//! The program as operators and scripts see it, without a network.

#![allow(clippy::unwrap_used, reason = "a test ends when a program cannot be run")]

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

/// A server's address that is well formed; nothing listens there.
const SERVER: &str = "smp://AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=@127.0.0.1:1";

fn run(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chat-relay"));
    command.env_clear().arg("--directory").arg(directory).args(arguments).output().unwrap()
}

/// The exit code, and the line of JSON on stdout.
fn json(directory: &Path, arguments: &[&str]) -> (i32, Value) {
    let output = run(directory, &[&["--json"], arguments].concat());
    (output.status.code().unwrap(), serde_json::from_slice(&output.stdout).unwrap_or_default())
}

#[test]
fn a_relay_is_made_once_and_shows_its_address() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("relay");
    let (code, line) = json(&directory, &["start"]);
    assert_eq!((code, &line["type"], &line["kind"]), (3, &"error".into(), &"no_directory".into()));
    let init = ["init", "--server", SERVER, "--display-name", "relay one", "--watch-interval", "5m"];
    let (code, made) = json(&directory, &init);
    assert_eq!((code, &made["type"]), (0, &"initialised".into()));
    assert_eq!(json(&directory, &init).0, 7);
    let (_, shown) = json(&directory, &["address"]);
    assert_eq!((&shown["type"], &shown["address"]), (&"address".into(), &made["address"]));
    let plain = run(&directory, &["address"]).stdout;
    assert_eq!(String::from_utf8(plain).unwrap().trim(), made["address"], "a pipe gets the link alone");
    for name in ["relay.sqlite", "relay.toml", "lock"] {
        let permissions = std::fs::metadata(directory.join(name)).unwrap().permissions();
        assert_eq!(permissions.mode() & 0o777, 0o600, "{name}");
    }
    let settings = std::fs::read_to_string(directory.join("relay.toml")).unwrap();
    assert!(settings.contains("\nwatch_interval = \"5m\"\n"), "{settings}");
    assert!(settings.contains("\n# history_items = 100\n"), "{settings}");
}

#[test]
fn wrong_settings_are_named_and_end_with_one_code() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("relay");
    let with_password = SERVER.replace("=@", "=:secret@");
    for (arguments, named) in [
        (&["init"][..], "server"),
        (&["init", "--server", "nonsense", "--display-name", "x"], "server"),
        (&["init", "--server", SERVER], "display_name"),
        (&["init", "--server", SERVER, "--display-name", "x", "--page-members", "0"], "page_members"),
        (&["init", "--server", SERVER, "--display-name", "x", "--watch-jitter", "5"], "watch-jitter"),
        (&["init", "--server", &with_password, "--display-name", "x"], "--server-password-file"),
        (&["--log", "=,=", "start"], "log"),
    ] {
        let output = run(&directory, arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.starts_with("error: ") && said.contains(named), "{arguments:?}: {said}");
        assert!(!said.contains("secret"), "{said}");
    }
    assert!(!directory.exists(), "nothing is made of wrong settings");
}

#[test]
fn the_manual_is_as_in_the_golden_file() {
    let mut shown = String::new();
    for arguments in [&["--help"][..], &["init", "--help"], &["start", "--help"], &["address", "--help"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chat-relay"));
        let output = command.env_clear().args(arguments).output().unwrap();
        shown.push_str(&format!("$ chat-relay {}\n", arguments.join(" ")));
        shown.push_str(&String::from_utf8(output.stdout).unwrap());
        shown.push('\n');
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/help.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &shown).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    assert_eq!(
        shown, golden,
        "after a change on purpose: UPDATE_GOLDEN=1 cargo test -p chat-relay --test cli"
    );
}

#[test]
fn a_relay_whose_server_is_away_is_in_its_operators_hands_all_the_same() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("relay");
    assert_eq!(json(&directory, &["init", "--server", SERVER, "--display-name", "x"]).0, 0);
    let notify = UnixDatagram::bind(place.path().join("notify")).unwrap();
    notify.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut relay = Command::new(env!("CARGO_BIN_EXE_chat-relay"))
        .env_clear()
        .env("NOTIFY_SOCKET", place.path().join("notify"))
        .arg("--directory")
        .arg(&directory)
        .arg("start")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = [0; 64];
    let told = notify.recv(&mut said);
    let (code, used) = json(&directory, &["ctl", "quotas", "used"]);
    relay.kill().unwrap();
    relay.wait().unwrap();
    assert_eq!(&said[..told.unwrap()], b"READY=1\n");
    assert_eq!((code, &used["used"][0]["account"]), (0, &"all".into()));
}
