//! `docs/operating.md` and `docs/operating-relay.md` do what they say: their command blocks are run in their order, by a
//! user without privileges, in an empty directory.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use e2e::binaries::{Build, build};
use e2e::world::free_port;

const GUIDE: &str = include_str!("../../docs/operating.md");
const RELAY_GUIDE: &str = include_str!("../../docs/operating-relay.md");
/// The user to whom nothing belongs.
const NOBODY: u32 = 65534;
/// Ends a guide that hangs.
const SECONDS_MAX: &str = "900";

/// What stands in the blocks that are to be run.
fn commands(guide: &str) -> String {
    let blocks = guide.split("\n```sh\n").skip(1).filter_map(|rest| rest.split("\n```\n").next());
    blocks.collect::<Vec<_>>().join("\n")
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout.trim_ascii() == b"0"
}

/// The programs where anybody may run them.
fn install(directory: &Path) {
    let binaries = build(Build::Plain).unwrap();
    std::fs::create_dir(directory).unwrap();
    for program in [&binaries.server, &binaries.relay, &binaries.client] {
        std::fs::copy(program, directory.join(program.file_name().unwrap())).unwrap();
    }
}

/// Follows a guide to its end; gives what was said on stdout and on stderr.
fn follow(guide: &str) -> (String, String) {
    let place = tempfile::tempdir().unwrap();
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let (programs, home) = (place.path().join("bin"), place.path().join("home"));
    install(&programs);
    std::fs::create_dir(&home).unwrap();
    let script = place.path().join("guide.sh");
    // Whatever still runs in the background at the end goes with the script.
    let prelude = "set -eu\ntrap 'kill $(jobs -p) 2> /dev/null || true' EXIT\n";
    std::fs::write(&script, format!("{prelude}{}\nwait %1\n", commands(guide))).unwrap();

    let mut command = if is_root() {
        chown(&home, Some(NOBODY), Some(NOBODY)).unwrap();
        let (user, group) = (format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"));
        let mut command = Command::new("setpriv");
        command.args([
            user.as_str(),
            &group,
            "--clear-groups",
            "--no-new-privs",
            "timeout",
            SECONDS_MAX,
            "bash",
        ]);
        command
    } else {
        let mut command = Command::new("timeout");
        command.args([SECONDS_MAX, "bash"]);
        command
    };
    let path = format!("{}:/usr/bin:/bin", programs.display());
    command.arg(&script).current_dir(&home).env_clear().env("PATH", path).env("HOME", &home);
    // The guide's port may be taken on this machine.
    command.env("SMP_SERVER_PORT", free_port().unwrap().to_string()).env("SMP_SERVER_BIND", "127.0.0.1");
    let ended = command.process_group(0).stdin(Stdio::null()).output().unwrap();
    let (said, talk) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success(), "{}\n{said}\n{talk}", ended.status);
    (said.into_owned(), talk.into_owned())
}

#[test]
fn the_guide_leads_to_a_first_message() {
    let (said, talk) = follow(GUIDE);
    assert!(said.contains("Olga: Good morning"), "{said}\n{talk}");
    assert!(said.contains("The settings are sound."), "{said}");
}

#[test]
fn the_relays_guide_leads_to_an_active_relay_and_a_restored_one() {
    let (said, talk) = follow(RELAY_GUIDE);
    for wanted in ["The settings are sound.", "harbour", "the chess club", "Restored in", "All is sound"] {
        assert!(said.contains(wanted), "{wanted:?} in {said}\n{talk}");
    }
}

#[test]
fn blocks_that_are_not_to_be_run_are_left_out() {
    let guide = "a\n```sh\none\ntwo\n```\nb\n```text\nno\n```\n```sh\nthree\n```\n";
    assert_eq!(commands(guide), "one\ntwo\nthree");
}
