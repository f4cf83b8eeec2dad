//! The program as a whole, in small.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::process::Command;

use serde_json::Value;

#[test]
fn every_member_gets_every_post() {
    let output = Command::new(env!("CARGO_BIN_EXE_relay-bench"))
        .args(["--quick", "--json", "--server"])
        .arg(e2e::binaries::server().unwrap())
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
