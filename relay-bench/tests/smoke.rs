//! The program as a whole, in small.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::process::Command;

use serde_json::Value;

#[test]
fn every_phase_runs_and_measures() {
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
    let figures = |phase: &str, figure: &str| -> Vec<f64> {
        let found =
            lines.iter().filter(|line| line["phase"].as_str().is_some_and(|it| it.starts_with(phase)));
        found.filter_map(|line| line[figure].as_f64()).collect()
    };
    for (phase, figure, count) in [
        ("delivery: post", "first_copy_ms", 2),
        ("delivery: 5 at once", "copies_per_s", 1),
        ("wire: ", "bytes_per_delivered_message", 2),
        ("storage: first", "bytes_per_item", 1),
        ("storage: further", "bytes_per_message", 1),
        ("joins: 3", "per_s", 1),
        ("growth, joins: ", "per_s", 3),
        ("fairness: ", "first_copy_ms", 2),
        ("resubscription: ", "seconds", 5),
    ] {
        let found = figures(phase, figure);
        assert!(found.len() == count && found.iter().all(|figure| *figure > 0.0), "{phase}: {found:?}");
    }
    // Processor time is counted in hundredths of a second, which so few members may not take.
    assert_eq!(figures("growth, ", "relay_us_per_copy").len(), 11);
    let targets: Vec<_> = lines.iter().filter_map(|line| line["target"].as_str()).collect();
    assert!(targets.contains(&"joins per second while posting"), "{targets:?}");
}

#[test]
fn stores_are_compared() {
    if daemon::scratch::server().is_none() {
        return;
    }
    let output = Command::new(env!("CARGO_BIN_EXE_relay-bench"))
        .args(["--quick", "--json", "--store", "sqlite,postgres", "--phases", "delivery,joins", "--server"])
        .arg(e2e::binaries::server().unwrap())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (phase, figure) in [
        ("delivery: post 2 (postgres)", "first_copy_ms"),
        ("delivery: post 2: postgres to sqlite", "copies_per_s"),
        ("joins: 3", "per_s"),
    ] {
        let found =
            lines.iter().filter(|line| line["phase"].as_str().is_some_and(|it| it.starts_with(phase)));
        let figures: Vec<_> = found.filter_map(|line| line[figure].as_f64()).collect();
        assert!(!figures.is_empty() && figures.iter().all(|figure| *figure > 0.0), "{phase}: {text}");
    }
}
