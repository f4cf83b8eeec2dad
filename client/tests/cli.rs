//! The program as people and scripts see it, without a network.

#![allow(clippy::unwrap_used, reason = "a test ends when a program cannot be run")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// A server's address that is well formed; nothing listens there.
const SERVER: &str = "smp://AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=@127.0.0.1:1";
/// A relay's address on that server.
const RELAY: &str = "https://127.0.0.1/r#AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\
                     ?p=1&c=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

struct Home {
    _place: tempfile::TempDir,
    path: PathBuf,
}

impl Home {
    fn none() -> Self {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("home");
        Self { _place: place, path }
    }

    fn made() -> Self {
        let home = Self::none();
        assert_eq!(code(&home.run(&["init", "--name", "Ann"])), 0);
        home
    }

    fn run(&self, arguments: &[&str]) -> Output {
        conclave(&self.path).args(arguments).output().unwrap()
    }

    fn json(&self, arguments: &[&str]) -> (i32, Vec<Value>) {
        let output = conclave(&self.path).arg("--json").args(arguments).output().unwrap();
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        (code(&output), text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
    }
}

fn conclave(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_conclave"));
    command.env_clear().env("CONCLAVE_HOME", home).env("CONCLAVE_PASSPHRASE", "correct horse");
    command.env("CONCLAVE_ARCHIVE_PASSPHRASE", "battery staple").stdin(std::process::Stdio::null());
    command
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn talk(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_home_is_made_once_and_opens_with_its_passphrase_only() {
    let home = Home::none();
    let output = home.run(&["group", "list"]);
    assert_eq!(code(&output), 3);
    assert!(talk(&output).contains("conclave init"), "{}", talk(&output));
    assert_eq!(code(&home.run(&["init", "--name", "Ann"])), 0);
    assert_eq!(code(&home.run(&["init", "--name", "Ann"])), 7);
    assert_eq!(code(&home.run(&["group", "list"])), 0);
    let wrong =
        conclave(&home.path).env("CONCLAVE_PASSPHRASE", "wrong").args(["group", "list"]).output().unwrap();
    assert_eq!(code(&wrong), 5);
}

#[test]
fn a_key_file_is_made_and_then_needed() {
    let home = Home::none();
    let key = home.path.with_file_name("key");
    let with_key = |arguments: &[&str]| {
        conclave(&home.path)
            .env_remove("CONCLAVE_PASSPHRASE")
            .env("CONCLAVE_KEY_FILE", &key)
            .args(arguments)
            .output()
    };
    assert_eq!(code(&with_key(&["init", "--name", "Ann"]).unwrap()), 0);
    assert!(key.exists());
    assert_eq!(code(&with_key(&["group", "list"]).unwrap()), 0);
    assert_eq!(code(&home.run(&["group", "list"])), 5, "a passphrase does not open it");
}

#[test]
fn servers_and_relays_are_kept_shown_and_forgotten() {
    let home = Home::made();
    assert_eq!(home.json(&["server", "add", SERVER]).0, 0);
    assert_eq!(home.json(&["server", "add", SERVER]).0, 0, "again is no mistake");
    let (_, rows) = home.json(&["server", "list"]);
    assert_eq!(rows.len(), 1);
    assert_eq!((&rows[0]["type"], &rows[0]["address"]), (&"server".into(), &SERVER.into()));
    assert_eq!(home.json(&["relay", "add", "r1", RELAY]).0, 0);
    let (_, rows) = home.json(&["relay", "list"]);
    assert_eq!((&rows[0]["type"], &rows[0]["name"]), (&"relay".into(), &"r1".into()));
    assert_eq!(home.json(&["relay", "remove", "r1"]).0, 0);
    let (code, rows) = home.json(&["relay", "remove", "r1"]);
    assert_eq!((code, &rows[0]["kind"]), (6, &"not_found".into()));
}

#[test]
fn each_kind_of_wrong_link_is_named() {
    let home = Home::made();
    let (code, rows) = home.json(&["join", RELAY]);
    assert_eq!((code, &rows[0]["type"], &rows[0]["kind"]), (8, &"error".into(), &"wrong_link".into()));
    assert!(rows[0]["message"].as_str().unwrap().contains("of a relay's address"));
    assert_eq!(home.json(&["join", "nonsense"]).0, 8);
    assert_eq!(home.json(&["server", "add", "nonsense"]).0, 8);
    assert_eq!(home.json(&["relay", "add", "r1", &RELAY.replace("/r#", "/c#")]).0, 8);
}

#[test]
fn a_server_out_of_reach_loses_nothing() {
    let home = Home::made();
    assert_eq!(home.json(&["server", "test", SERVER]).0, 11);
    home.json(&["server", "add", SERVER]);
    home.json(&["relay", "add", "r1", RELAY]);
    let (code, rows) = home.json(&["group", "create", "news", "--timeout", "1"]);
    assert_eq!(code, 17, "{rows:?}");
    let (_, rows) = home.json(&["group", "list"]);
    assert_eq!((&rows[0]["group"], &rows[0]["status"]), (&"news".into(), &"creating".into()));
    assert_eq!(home.json(&["group", "create", "news", "--timeout", "1"]).0, 17, "the same group goes on");
    assert_eq!(home.json(&["group", "list"]).1.len(), 1);
    let (code, rows) = home.json(&["send", "news", "hello", "--timeout", "1"]);
    assert_eq!((code, &rows.last().unwrap()["kind"]), (13, &"no_active_relay".into()));
    let (_, rows) = home.json(&["history", "news"]);
    assert_eq!((&rows[0]["text"], &rows[0]["delivered"]), (&"hello".into(), &false.into()));
    assert_eq!(home.json(&["group", "list"]).1[0]["waiting"], 1);
}

#[test]
fn a_home_moves_in_a_sealed_file() {
    let home = Home::made();
    home.json(&["server", "add", SERVER]);
    let file = home.path.with_file_name("backup");
    assert_eq!(home.json(&["export", file.to_str().unwrap()]).0, 0);
    assert_eq!(home.json(&["export", file.to_str().unwrap()]).0, 7, "never overwritten");
    let other = Home::none();
    assert_eq!(other.json(&["import", file.to_str().unwrap()]).0, 0);
    assert_eq!(other.json(&["server", "list"]).1.len(), 1);
    assert_eq!(other.json(&["import", file.to_str().unwrap()]).0, 7, "a home is there");
}

#[test]
fn one_process_holds_a_home() {
    let home = Home::made();
    home.json(&["server", "add", SERVER]);
    let mut listening =
        conclave(&home.path).args(["--json", "listen"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(listening.stdout.take().unwrap()));
    assert!(lines.next().unwrap().unwrap().contains("listening"));
    // Through the socket: no passphrase is asked for.
    let through =
        conclave(&home.path).env_remove("CONCLAVE_PASSPHRASE").args(["server", "list"]).output().unwrap();
    assert_eq!(String::from_utf8(through.stdout).unwrap().trim(), SERVER);
    listening.kill().unwrap();
    listening.wait().unwrap();
    assert_eq!(code(&home.run(&["server", "list"])), 0, "a socket left behind is no hindrance");
}

#[test]
fn mistakes_on_the_command_line_end_with_two() {
    let home = Home::made();
    for arguments in [&["send"][..], &["unheard-of"], &["react", "g", "m", "x"], &["role", "g", "m", "owner"]]
    {
        assert_eq!(code(&home.run(arguments)), 2, "{arguments:?}");
    }
    assert_eq!(code(&home.run(&["--help"])), 0);
}

#[test]
fn what_cannot_work_is_refused_at_once() {
    let home = Home::made();
    let group = RELAY.replace("/r#", "/c#");
    let (code, rows) = home.json(&["join", &group]);
    assert_eq!((code, &rows[0]["kind"]), (6, &"not_found".into()), "no server for our queue: {rows:?}");
    assert!(rows[0]["hints"][0].as_str().unwrap().contains("server add"));
    assert_eq!(home.json(&["relay", "add", "r1", RELAY]).0, 0);
    assert_eq!(home.json(&["relay", "add", "r2", RELAY]).0, 7, "one relay under two names");
    assert_eq!(code_of_log(&home, "=,="), 2);
    assert_eq!(code_of_log(&home, "protocol::net=debug"), 0);
    let binary = home.path.with_file_name("binary");
    std::fs::write(&binary, [0xff, 0xfe]).unwrap();
    let (code, rows) = home.json(&["send", "news", "--file", binary.to_str().unwrap()]);
    assert_eq!(code, 2, "{rows:?}");
    assert!(rows[0]["message"].as_str().unwrap().contains("UTF-8"));
    assert_eq!(home.json(&["join", &group, "--timeout", "5 minutes"]).0, 2);
}

#[test]
fn what_is_wrong_with_an_archive_is_said() {
    let home = Home::made();
    let archive = home.path.with_file_name("archive");
    let archive = archive.to_str().unwrap();
    assert_eq!(home.json(&["export", archive]).0, 0);
    let import = |file: &str, passphrase: &str| {
        let place = tempfile::tempdir().unwrap();
        let mut command = conclave(&place.path().join("new"));
        let output = command.env("CONCLAVE_ARCHIVE_PASSPHRASE", passphrase).args(["import", file]).output();
        let output = output.unwrap();
        (code(&output), talk(&output))
    };
    let (code, said) = import(archive, "wrong");
    assert!(code == 5 && said.contains("CONCLAVE_ARCHIVE_PASSPHRASE"), "{code} {said}");
    let other = home.path.join("key.toml");
    let (code, said) = import(other.to_str().unwrap(), "wrong");
    assert!(code == 2 && said.contains("conclave export"), "{code} {said}");
}

fn code_of_log(home: &Home, filter: &str) -> i32 {
    code(&home.run(&["--log", filter, "group", "list"]))
}

#[test]
fn passwords_come_by_stdin_and_never_as_arguments() {
    let home = Home::made();
    let address = SERVER.replace("=@", "=:secret@");
    for arguments in [
        &["server", "add", &address][..],
        &["server", "test", &address],
        &["group", "create", "x", "--server", &address],
    ] {
        let output = home.run(arguments);
        assert_eq!(code(&output), 2, "{arguments:?}");
        assert!(!talk(&output).contains("secret"), "{}", talk(&output));
    }
    let file = home.path.with_file_name("address");
    std::fs::write(&file, format!("{address}\n")).unwrap();
    let stdin = std::fs::File::open(&file).unwrap();
    let added = conclave(&home.path).args(["server", "add", "-"]).stdin(stdin).output().unwrap();
    assert_eq!(code(&added), 0, "{}", talk(&added));
    assert!(!String::from_utf8_lossy(&added.stdout).contains("secret"));
    let (_, rows) = home.json(&["server", "list"]);
    assert_eq!((&rows[0]["address"], &rows[0]["password"]), (&SERVER.into(), &true.into()));
}

#[test]
fn the_files_of_a_home_are_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = Home::made();
    for file in std::fs::read_dir(&home.path).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o077, 0, "{}", file.path().display());
    }
}

#[test]
fn an_empty_list_says_what_to_do_to_people_only() {
    let home = Home::made();
    for (list, hint) in [
        (["server", "list"], "server add"),
        (["relay", "list"], "relay add"),
        (["group", "list"], "conclave join"),
    ] {
        let output = home.run(&list);
        assert!(output.stdout.is_empty() && talk(&output).contains(hint), "{}", talk(&output));
        assert_eq!(home.json(&list), (0, Vec::new()));
    }
}
