//! What is shipped beside the program fits the program.

#![allow(clippy::unwrap_used, reason = "a test ends when a program cannot be run")]

use std::path::{Path, PathBuf};
use std::process::Command;

fn shipped(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging").join(path)
}

#[test]
fn systemd_takes_the_unit() {
    let place = tempfile::tempdir().unwrap();
    let unit = std::fs::read_to_string(shipped("systemd/chat-relay.service")).unwrap();
    let path = place.path().join("chat-relay.service");
    // The program where it is now, not where a package puts it.
    std::fs::write(&path, unit.replace("/usr/bin/chat-relay", env!("CARGO_BIN_EXE_chat-relay"))).unwrap();
    // A machine without systemd cannot tell.
    let Ok(verified) = Command::new("systemd-analyze").arg("verify").arg(&path).output() else { return };
    let said = String::from_utf8(verified.stderr).unwrap();
    assert!(verified.status.success() && !said.contains("chat-relay.service"), "{said}");
}

#[test]
fn the_unit_and_the_scripts_of_the_package_agree_on_names() {
    let unit = std::fs::read_to_string(shipped("systemd/chat-relay.service")).unwrap();
    let script = std::fs::read_to_string(shipped("debian-chat-relay/postinst")).unwrap();
    assert!(unit.contains("User=chat-relay\n") && unit.contains("StateDirectory=chat-relay\n"));
    assert!(script.contains("--group --quiet --home /var/lib/chat-relay"));
    for name in ["postinst", "prerm"] {
        let checked =
            Command::new("sh").arg("-n").arg(shipped("debian-chat-relay").join(name)).status().unwrap();
        assert!(checked.success(), "{name}");
    }
}

#[test]
fn the_shipped_example_is_what_the_program_prints() {
    let printed =
        Command::new(env!("CARGO_BIN_EXE_chat-relay")).env_clear().arg("example-config").output().unwrap();
    let example = std::fs::read_to_string(shipped("chat-relay.example.toml")).unwrap();
    assert_eq!(String::from_utf8(printed.stdout).unwrap(), example);
}
