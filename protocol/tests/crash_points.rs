//! Crash points abort as the environment says, and tell which were reached.
#![cfg(feature = "crash-points")]
#![allow(clippy::unwrap_used)]

use std::process::{Command, ExitStatus};

/// The points of this test.
pub const CRASH_POINTS: &[&str] = &["test.first", "test.second"];

/// Run as a process of its own by the other tests; by itself it only passes the points.
#[test]
fn steps() {
    for _ in 0..3 {
        protocol::crash_point!("test.first");
    }
    protocol::crash_point!("test.second");
}

fn run(point: Option<&str>, trace: &std::path::Path) -> ExitStatus {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "steps"]).env("CONCLAVE_CRASH_TRACE", trace);
    if let Some(point) = point {
        command.env("CONCLAVE_CRASH_POINT", point);
    }
    command.output().unwrap().status
}

#[test]
fn the_environment_names_point_and_visit() {
    let trace = std::env::temp_dir().join(format!("conclave-crash-trace-{}", std::process::id()));
    let reached = || {
        let names = std::fs::read_to_string(&trace).unwrap();
        std::fs::remove_file(&trace).unwrap();
        names
    };
    for (point, survives, names) in [
        (None, true, "test.first\ntest.second\n"),
        (Some("test.first"), false, "test.first\n"),
        (Some("test.first:3"), false, "test.first\n"),
        (Some("test.first:4"), true, "test.first\ntest.second\n"),
        (Some("test.second"), false, "test.first\ntest.second\n"),
        (Some("test.other"), true, "test.first\ntest.second\n"),
    ] {
        assert_eq!(run(point, &trace).success(), survives, "{point:?}");
        assert_eq!(reached(), names, "{point:?}");
    }
}
