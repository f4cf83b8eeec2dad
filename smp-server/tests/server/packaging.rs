//! What is shipped beside the program fits the program.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::client::{Client, MESSAGING};
use crate::monitoring::page;
use crate::program::{Program, init};

fn shipped(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging").join(path)
}

/// The metrics of ours that a text names.
fn named_metrics(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("smp_server_") || word.starts_with("process_"))
        .collect()
}

#[tokio::test]
async fn every_metric_of_the_alerts_and_the_dashboard_is_told() {
    let place = tempfile::tempdir().unwrap();
    init(place.path(), &[]);
    let server = Program::start(place.path(), &["--monitoring-http", "127.0.0.1:0"]);
    Client::connect(&server).await.create(MESSAGING, true).await;
    let (_, metrics) = page(server.monitoring(), "/metrics").await;
    let told: BTreeSet<&str> = metrics
        .lines()
        .filter_map(|line| line.split(['{', ' ']).next())
        .filter(|name| *name != "#")
        .collect();
    for path in ["prometheus/alerts.yml", "grafana/smp-server.json"] {
        let text = std::fs::read_to_string(shipped(path)).unwrap();
        let named = named_metrics(&text);
        assert!(named.len() > 5, "{path} names {named:?}");
        let unknown: Vec<_> = named.difference(&told).collect();
        assert!(unknown.is_empty(), "{path} names {unknown:?}");
    }
    let dashboard = std::fs::read_to_string(shipped("grafana/smp-server.json")).unwrap();
    serde_json::from_str::<serde_json::Value>(&dashboard).unwrap();
}

#[tokio::test]
async fn every_metric_that_is_told_is_documented() {
    let place = tempfile::tempdir().unwrap();
    init(place.path(), &[]);
    let server = Program::start(place.path(), &["--monitoring-http", "127.0.0.1:0"]);
    Client::connect(&server).await.create(MESSAGING, true).await;
    let (_, metrics) = page(server.monitoring(), "/metrics").await;
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operating.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    for line in metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = line.split(' ').next().unwrap();
        assert!(guide.contains(&format!("`{name}`")), "docs/operating.md does not explain {name}");
    }
}

#[test]
fn systemd_takes_the_unit() {
    let place = tempfile::tempdir().unwrap();
    let unit = std::fs::read_to_string(shipped("systemd/smp-server.service")).unwrap();
    let path = place.path().join("smp-server.service");
    // The program where it is now, not where a package puts it.
    std::fs::write(&path, unit.replace("/usr/bin/smp-server", env!("CARGO_BIN_EXE_smp-server"))).unwrap();
    // A machine without systemd cannot tell.
    let Ok(verified) = Command::new("systemd-analyze").arg("verify").arg(&path).output() else { return };
    let said = String::from_utf8(verified.stderr).unwrap();
    assert!(verified.status.success() && !said.contains("smp-server.service"), "{said}");
}

#[test]
fn the_unit_and_the_scripts_of_the_package_agree_on_names() {
    let unit = std::fs::read_to_string(shipped("systemd/smp-server.service")).unwrap();
    let script = std::fs::read_to_string(shipped("debian/postinst")).unwrap();
    assert!(unit.contains("User=smp-server\n") && unit.contains("StateDirectory=smp-server\n"));
    assert!(script.contains("--group --quiet --home /var/lib/smp-server"));
    for name in ["postinst", "prerm"] {
        let checked = Command::new("sh").arg("-n").arg(shipped("debian").join(name)).status().unwrap();
        assert!(checked.success(), "{name}");
    }
}
