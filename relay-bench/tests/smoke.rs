//! The program as a whole, in small.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

/// The server program, built if need be: `cargo test` does not build the programs of other packages.
fn server() -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .current_dir(root)
        .args(["build", "--quiet", "-p", "smp-server", "--bins", "--message-format=json-render-diagnostics"])
        .output()
        .unwrap();
    assert!(built.status.success(), "{built:?}");
    let messages = String::from_utf8(built.stdout).unwrap();
    let executable = messages.lines().find_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        Some(PathBuf::from(message.get("executable")?.as_str()?))
    });
    executable.unwrap()
}

#[test]
fn every_member_gets_every_post() {
    let output = Command::new(env!("CARGO_BIN_EXE_relay-bench"))
        .args(["--quick", "--json", "--server"])
        .arg(server())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let lines: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let phases: Vec<_> = lines.iter().filter_map(|line| line["phase"].as_str()).collect();
    assert_eq!(phases, ["seed", "post 1", "post 2", "burst", "ciphers"]);
    for line in lines.iter().filter(|line| line["messages"].is_number()) {
        assert!(line["first_copy_ms"].as_f64().unwrap() > 0.0, "{line}");
        assert!(line["copies_per_s"].as_f64().unwrap() > 0.0, "{line}");
    }
}
