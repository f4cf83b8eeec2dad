//! The program as a whole, in small: every phase runs against a real server and says what it measured.

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
fn every_phase_runs() {
    let output = Command::new(env!("CARGO_BIN_EXE_smp-bench"))
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
    let of = |start: &str| {
        let found =
            lines.iter().find(|line| line["phase"].as_str().is_some_and(|name| name.starts_with(start)));
        found.unwrap_or_else(|| panic!("no {start} in {lines:?}"))
    };
    for phase in
        ["connect:", "handshakes:", "create:", "subscribe:", "send:", "receive:", "cycle:", "steady:"]
    {
        assert!(of(phase)["operations"].as_u64().unwrap() > 0, "{phase}");
        assert!(of(phase)["server_cpu_ms"].is_number(), "{phase}");
    }
    assert_eq!(of("send:")["operations"], of("receive:")["operations"], "what is sent is received");
    assert!(of("steady:")["p99_ms"].as_f64().unwrap() > 0.0);
    assert!(of("idle: 20 subscribed")["bytes_per_connection"].is_number());
    assert!(of("restart: until")["serving_s"].as_f64().unwrap() > 0.0);
    assert_eq!(of("restart: all")["operations"], 50);
    assert!(of("refusals: queue Ed25519, stranger X25519")["difference_percent"].is_number());
    assert!(of("limit: fdatasync")["per_second"].as_f64().unwrap() > 0.0);
    assert!(lines.iter().any(|line| line["ratio_of"] == "send"), "{lines:?}");
}
