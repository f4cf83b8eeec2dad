//! The program: its commands, its settings, its end.

use std::os::unix::fs::PermissionsExt as _;

use protocol::smp::error::ErrorType;
use protocol::smp::password::BasicAuth;

use crate::client::{Client, MESSAGING, ed25519, greet, message};
use crate::program::{Program, init, program, run};

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn init_makes_a_server_once() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("server");
    let output = run(&directory, &["init", "--host", "smp.example.org,abc.onion"]);
    assert!(output.status.success(), "{output:?}");
    let (said, talk) = (text(&output.stdout), text(&output.stderr));
    let address = said.lines().find_map(|line| line.strip_prefix("Server address: ")).unwrap();
    assert!(address.starts_with("smp://") && address.ends_with("@smp.example.org,abc.onion"), "{address}");
    assert!(talk.contains("Move") && talk.contains("ca.key"), "{talk}");
    for (name, mode) in [("ca.key", 0o600), ("server.key", 0o600), ("server.crt", 0o644), ("ca.crt", 0o644)] {
        let permissions = std::fs::metadata(directory.join(name)).unwrap().permissions();
        assert_eq!(permissions.mode() & 0o777, mode, "{name}");
    }
    let shown = text(&run(&directory, &["address"]).stdout);
    assert_eq!(shown.trim(), address);
    let fingerprint = text(&run(&directory, &["address", "--fingerprint"]).stdout);
    assert!(address.contains(fingerprint.trim()));

    let again = run(&directory, &["init"]);
    assert!(!again.status.success());
    assert!(text(&again.stderr).contains("a server lives here"), "{again:?}");
}

#[test]
fn openssl_reads_the_keys_and_certificates() {
    let place = tempfile::tempdir().unwrap();
    init(place.path(), &[]);
    let openssl = |arguments: &[&str]| {
        std::process::Command::new("openssl").args(arguments).current_dir(place.path()).output()
    };
    // A machine without OpenSSL cannot tell.
    let Ok(verified) = openssl(&["verify", "-CAfile", "ca.crt", "server.crt"]) else { return };
    assert!(verified.status.success(), "{verified:?}");
    for key in ["ca.key", "server.key"] {
        assert!(openssl(&["pkey", "-in", key, "-noout"]).unwrap().status.success());
    }
}

#[test]
fn start_without_a_server_says_what_to_do() {
    let place = tempfile::tempdir().unwrap();
    let output = run(place.path(), &["start"]);
    assert!(!output.status.success());
    assert!(text(&output.stderr).contains("smp-server init"), "{output:?}");
}

#[test]
fn the_exit_code_and_a_line_of_json_tell_scripts_what_is_wrong() {
    let place = tempfile::tempdir().unwrap();
    let outcome = |arguments: &[&str]| {
        let output = run(place.path(), arguments);
        let line: Option<serde_json::Value> = serde_json::from_slice(&output.stdout).ok();
        (output.status.code().unwrap(), line.map(|line| line["kind"].clone()))
    };
    assert_eq!(outcome(&["--json", "start"]), (3, Some("no_directory".into())));
    init(place.path(), &[]);
    assert_eq!(outcome(&["--json", "init"]), (7, Some("already_there".into())));
    assert_eq!(outcome(&["--json", "start", "--queue-quota", "0"]), (2, Some("usage".into())));
    assert_eq!(outcome(&["--json", "--log", "=,=", "start"]), (2, Some("usage".into())));
    assert_eq!(outcome(&["start", "--message-ttl", "21"]), (2, None));
    let settings = place.path().join("smp-server.toml");
    std::fs::write(&settings, "[times]\nmessage_ttl = \"21\"\n").unwrap();
    assert_eq!(outcome(&["--json", "start"]), (2, Some("usage".into())));
    let mut command = program();
    std::fs::remove_file(&settings).unwrap();
    command.arg("--directory").arg(place.path()).args(["--json", "start", "--port", "0"]);
    let server = Program::spawn(command);
    assert_eq!(outcome(&["--json", "start", "--port", "0"]), (4, Some("directory_busy".into())));
    for name in ["smp-server.db", "smp-server.db-wal", "lock"] {
        let permissions = std::fs::metadata(place.path().join(name)).unwrap().permissions();
        assert_eq!(permissions.mode() & 0o777, 0o600, "{name}");
    }
    server.stop();
}

#[test]
fn a_damaged_database_is_refused() {
    let place = tempfile::tempdir().unwrap();
    init(place.path(), &[]);
    std::fs::write(place.path().join("smp-server.db"), [7; 8192]).unwrap();
    let output = run(place.path(), &["start"]);
    assert!(!output.status.success());
    assert!(text(&output.stderr).contains("restore the directory from a backup"), "{output:?}");
}

#[test]
fn unknown_settings_are_refused_by_name() {
    let place = tempfile::tempdir().unwrap();
    init(place.path(), &[]);
    std::fs::write(place.path().join("smp-server.toml"), "[limits]\nqueue_kwota = 1\n").unwrap();
    let output = run(place.path(), &["start"]);
    assert!(!output.status.success());
    assert!(text(&output.stderr).contains("queue_kwota"), "{output:?}");
}

#[tokio::test]
async fn flags_win_over_variables_over_the_file() {
    let place = tempfile::tempdir().unwrap();
    init(place.path(), &["--versions", "15-16"]);
    let offered = |server: Program| async move { greet(&server).await.hello.versions.to_string() };
    assert_eq!(offered(Program::start(place.path(), &[])).await, "15-16");
    let with_variable = |arguments: &[&str]| {
        let mut command = program();
        command.env("SMP_SERVER_VERSIONS", "16-17").env("SMP_SERVER_DIRECTORY", place.path());
        command.args(["--json", "start"]).args(arguments);
        Program::spawn(command)
    };
    assert_eq!(offered(with_variable(&[])).await, "16-17");
    assert_eq!(offered(with_variable(&["--versions", "18"])).await, "18");
}

#[test]
fn one_server_per_directory_and_a_graceful_end() {
    let place = tempfile::tempdir().unwrap();
    init(place.path(), &[]);
    let first = Program::start(place.path(), &[]);
    let second = run(place.path(), &["start"]);
    assert!(!second.status.success());
    assert!(text(&second.stderr).contains("Another smp-server"), "{second:?}");
    let ended = first.stop();
    assert!(ended.status.success(), "{ended:?}");
    assert!(Program::start(place.path(), &[]).stop().status.success());
}

#[tokio::test]
async fn a_password_guards_new_queues() {
    let place = tempfile::tempdir().unwrap();
    let made = init(place.path(), &["--create-password"]);
    let shown = text(&run(place.path(), &["address", "--with-password"]).stdout);
    assert_eq!(shown.trim(), made["address"].as_str().unwrap());
    let address: protocol::smp::address::ServerAddressWithAuth = shown.trim().parse().unwrap();
    let server = Program::start(place.path(), &[]);
    let mut client = Client::connect(&server).await;
    for wrong in [None, Some(BasicAuth::new(b"wrong").unwrap()), Some(BasicAuth::new(b"").unwrap())] {
        let refused = client.create_for(ed25519(), b"c", MESSAGING, true, wrong).await;
        assert_eq!(refused.err(), Some(ErrorType::Auth));
    }
    assert!(client.create_for(ed25519(), b"c", MESSAGING, true, address.password).await.is_ok());
}

#[tokio::test]
async fn logs_tell_no_ids_and_no_addresses() {
    let place = tempfile::tempdir().unwrap();
    init(place.path(), &[]);
    let mut command = program();
    command.env("SMP_SERVER_LOG", "trace").arg("--directory").arg(place.path()).args(["--json", "start"]);
    let server = Program::spawn(command);
    let mut client = Client::connect(&server).await;
    let queue = client.create(MESSAGING, true).await;
    client.ok(None, queue.ids.sender_id, &message(b"a secret body")).await;
    client.take(&queue).await;
    client.error(None, [1; 24], &message(b"lost")).await;
    drop(client);
    let log = text(&server.stop().stderr);
    assert!(log.contains("stopped"), "{log}");
    let ids = [queue.recipient_id().to_string(), queue.ids.sender_id.to_string()];
    for secret in ids.iter().map(String::as_str).chain(["127.0.0.1", "a secret body"]) {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
}

#[test]
fn the_manual_is_as_in_the_golden_file() {
    let mut shown = String::new();
    let whole = [
        &["--help"][..],
        &["init", "--help"],
        &["start", "--help"],
        &["address", "--help"],
        &["check", "--help"],
        &["backup", "--help"],
        &["restore", "--help"],
    ];
    for arguments in whole {
        let output = program().args(arguments).output().unwrap();
        shown.push_str(&format!("$ smp-server {}\n{}\n", arguments.join(" "), text(&output.stdout)));
    }
    for command in ["check-config", "example-config", "cert", "export", "import"] {
        let help = text(&program().args([command, "--help"]).output().unwrap().stdout);
        // Behind it the same settings as of `start`.
        let (own, _) = help.split_once("\nListening:").unwrap();
        shown.push_str(&format!("$ smp-server {command} --help\n{own}\n"));
    }
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/help.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &shown).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    assert_eq!(
        shown, golden,
        "after a change on purpose: UPDATE_GOLDEN=1 cargo test -p smp-server the_manual"
    );
}
