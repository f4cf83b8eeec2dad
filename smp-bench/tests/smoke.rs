//! The program as a whole, in small: every phase runs against a real server and says what it measured.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::process::Command;

use serde_json::Value;

#[test]
fn every_phase_runs() {
    let output = Command::new(env!("CARGO_BIN_EXE_smp-bench"))
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
    let of = |start: &str| {
        let found =
            lines.iter().find(|line| line["phase"].as_str().is_some_and(|name| name.starts_with(start)));
        found.unwrap_or_else(|| panic!("no {start} in {lines:?}"))
    };
    for phase in [
        "connect:",
        "handshakes: TLS",
        "create:",
        "subscribe:",
        "send:",
        "receive:",
        "cycle:",
        "steady:",
        "growth: cycle at 50/s, 6 connections",
        "growth: cycle, 3 on the way",
        "growth: SEND at 50 queues",
    ] {
        assert!(of(phase)["operations"].as_u64().unwrap() > 0, "{phase}");
        assert!(of(phase)["server_cpu_ms"].is_number(), "{phase}");
    }
    assert_eq!(of("send:")["operations"], of("receive:")["operations"], "what is sent is received");
    assert!(of("steady:")["p99_ms"].as_f64().unwrap() > 0.0);
    for flood in ["handshakes: TLS", "handshakes: one address", "handshakes: many"] {
        assert!(of(flood)["refused_per_second"].is_number());
        assert!(of(flood)["honest_p99_ms"].as_f64().unwrap() > 0.0);
        assert!(of(flood)["honest_connect_p99_ms"].as_f64().unwrap() > 0.0);
    }
    assert!(of("idle: 4 subscribed")["bytes_per_connection"].is_number());
    assert!(of("growth: NEW at 50 queues")["bytes_per_queue"].is_number());
    assert_eq!(of("service: 50 queues, 15 messages in some")["operations"], 15, "sent at three sizes");
    assert!(of("restart: 50 queues, 50 messages")["serving_s"].as_f64().unwrap() > 0.0);
    assert!(of("service: 50 queues, a message in each")["operations"].as_u64().unwrap() > 0);
    assert!(of("refusals: queue Ed25519, stranger X25519")["difference_percent"].is_number());
    assert!(of("limit: fdatasync")["per_second"].as_f64().unwrap() > 0.0);
    assert!(lines.iter().any(|line| line["ratio_of"] == "send"), "{lines:?}");
    let targets = lines.iter().filter(|line| line["target"].is_string());
    assert_eq!(targets.count(), 13, "every target is measured: {lines:?}");
}
