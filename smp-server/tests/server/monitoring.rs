//! What monitoring sees: metrics, health, readiness; and what it does not see.

use std::net::SocketAddr;

use protocol::smp::error::ErrorType;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::client::{Client, MESSAGING, message};
use crate::program::{Program, init};

/// Status and body of a page.
pub(crate) async fn page(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: monitoring\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// The value of one series.
fn value(metrics: &str, series: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in {metrics}")).parse().unwrap()
}

#[tokio::test]
async fn metrics_count_what_happens_and_name_nobody() {
    let place = tempfile::tempdir().unwrap();
    init(place.path(), &[]);
    let server = Program::start(place.path(), &["--monitoring-http", "127.0.0.1:0", "--queue-quota", "1"]);
    let at = server.monitoring();
    let mut client = Client::connect(&server).await;
    let queue = client.create(MESSAGING, true).await;
    client.ok(None, queue.ids.sender_id, &message(b"first")).await;
    assert_eq!(client.error(None, queue.ids.sender_id, &message(b"second")).await, ErrorType::Quota);
    client.message(&queue).await;
    client.error(None, [1; 24], &message(b"lost")).await;

    let (status, metrics) = page(at, "/metrics").await;
    assert_eq!(status, 200);
    for (series, expected) in [
        ("smp_server_connections", 1.0),
        ("smp_server_connections_accepted_total", 1.0),
        ("smp_server_handshakes_total{outcome=\"done\"}", 1.0),
        ("smp_server_commands_total{command=\"NEW\",outcome=\"ok\"}", 1.0),
        ("smp_server_commands_total{command=\"SEND\",outcome=\"ok\"}", 1.0),
        ("smp_server_commands_total{command=\"SEND\",outcome=\"quota\"}", 1.0),
        ("smp_server_refusals_total", 1.0),
        ("smp_server_subscriptions", 1.0),
    ] {
        assert_eq!(value(&metrics, series), expected, "{series}");
    }
    for (series, at_least) in [
        ("smp_server_messages_delivered_total", 1.0),
        ("smp_server_blocks_received_total", 4.0),
        ("smp_server_blocks_sent_total", 4.0),
        ("smp_server_commit_seconds_count", 3.0),
        ("smp_server_commit_steps_count", 3.0),
        ("process_resident_memory_bytes", 1e6),
    ] {
        assert!(value(&metrics, series) >= at_least, "{series} in {metrics}");
    }
    let ids = [queue.recipient_id().to_string(), queue.ids.sender_id.to_string()];
    for secret in ids.iter().map(String::as_str).chain(["127.0.0.1"]) {
        assert!(!metrics.contains(secret), "{secret} in {metrics}");
    }
}

#[tokio::test]
async fn what_is_stored_is_counted_when_the_server_starts() {
    let place = tempfile::tempdir().unwrap();
    init(place.path(), &[]);
    let server = Program::start(place.path(), &[]);
    let mut client = Client::connect(&server).await;
    let queue = client.create(MESSAGING, false).await;
    client.create(MESSAGING, false).await;
    client.ok(None, queue.ids.sender_id, &message(b"waits")).await;
    assert!(server.stop().status.success());
    let server = Program::start(place.path(), &["--monitoring-http", "127.0.0.1:0"]);
    loop {
        let (_, metrics) = page(server.monitoring(), "/metrics").await;
        if value(&metrics, "smp_server_stored_queues") == 2.0 {
            assert_eq!(value(&metrics, "smp_server_stored_messages"), 1.0);
            break;
        }
    }
}

#[tokio::test]
async fn health_and_readiness_are_told() {
    let place = tempfile::tempdir().unwrap();
    init(place.path(), &[]);
    let server = Program::start(place.path(), &["--monitoring-http", "127.0.0.1:0"]);
    let at = server.monitoring();
    assert_eq!(page(at, "/health").await, (200, "alive\n".to_owned()));
    assert_eq!(page(at, "/ready").await, (200, "ready\n".to_owned()));
    assert_eq!(page(at, "/elsewhere").await.0, 404);
    assert!(server.stop().status.success(), "monitoring does not hold the server");
}
