//! What one origin, and all together, may take: whoever exceeds it is slowed down or closed, others are served.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use protocol::net::service::ServiceIdentity;
use protocol::smp::command::Command;
use protocol::smp::error::ErrorType;
use protocol::smp::response::BrokerMessage;
use protocol::transport::hello::ServiceRole;
use smp_server::identity::Identity;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::client::{CORRELATION, Client, MESSAGING, ed25519, message};
use crate::host::Host;
use crate::raw::RawClient;

/// Connections of a test come from this machine, which counts as an address only when it is told to.
fn limited(limits: &str) -> String {
    format!("[limits]\nlimit_loopback = true\n{limits}")
}

/// A socket that says nothing.
async fn silent(host: &Host) -> TcpStream {
    TcpStream::connect(host.as_ref().address).await.unwrap()
}

async fn is_closed(socket: &mut TcpStream) -> bool {
    matches!(socket.read(&mut [0]).await, Ok(0) | Err(_))
}

/// A block's worth of `PING`.
fn pings(client: &Client, count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|_| client.transmission(None, CORRELATION, b"", b"PING")).collect()
}

#[tokio::test]
async fn an_address_has_so_many_connections() {
    let host = Host::start(&limited("address_connections = 2")).await;
    let mut first = Client::connect(&host).await;
    let second = Client::connect(&host).await;
    assert!(is_closed(&mut silent(&host).await).await);
    first.nothing_else().await;
    drop(second);
    host.until(|server| server.connection_count() == 1).await;
    Client::connect(&host).await.nothing_else().await;
    assert_eq!(host.server().metrics.connections_refused_by_address.value(), 1);

    // Without being told to, this machine is not counted.
    let host = Host::start("[limits]\naddress_connections = 1").await;
    let _first = Client::connect(&host).await;
    Client::connect(&host).await.nothing_else().await;
}

#[tokio::test]
async fn whoever_says_nothing_keeps_nobody_out() {
    let host = Host::start("[limits]\nhandshakes = 3").await;
    let mut honest = Client::connect(&host).await;
    let mut oldest = silent(&host).await;
    let mut others = Vec::new();
    for _ in 0..10 {
        others.push(silent(&host).await);
    }
    assert!(is_closed(&mut oldest).await);
    host.until(|server| server.metrics.handshakes_displaced.value() >= 8).await;
    Client::connect(&host).await.nothing_else().await;
    honest.nothing_else().await;
}

#[tokio::test]
async fn an_address_begins_so_many_handshakes() {
    let host = Host::start(&limited("address_handshakes = 1")).await;
    let waiting = silent(&host).await;
    host.until(|server| server.metrics.connections_accepted.value() == 1).await;
    assert!(is_closed(&mut silent(&host).await).await);
    drop(waiting);
    host.until(|server| server.metrics.handshakes_failed.value() == 1).await;
    Client::connect(&host).await.nothing_else().await;

    // And so many in a time: five seconds' worth at once.
    let host = Host::start(&limited("address_handshakes_per_second = 1")).await;
    let mut established = Client::connect(&host).await;
    for _ in 0..20 {
        drop(silent(&host).await);
    }
    host.until(|server| server.metrics.connections_refused_by_address.value() >= 3).await;
    established.nothing_else().await;
}

#[tokio::test]
async fn a_flood_of_connections_waits_to_be_accepted() {
    let host = Host::start("[limits]\nhandshakes_per_second = 20").await;
    let mut established = Client::connect(&host).await;
    let mut flood = Vec::new();
    for _ in 0..300 {
        flood.push(silent(&host).await);
    }
    established.nothing_else().await;
    let accepted = host.server().metrics.connections_accepted.value();
    assert!(accepted < 300, "{accepted} were accepted at once");
    host.until(|server| server.metrics.connections_accepted.value() > accepted).await;
}

#[tokio::test]
async fn commands_beyond_the_rate_are_answered_later() {
    let host = Host::start(&limited("address_commands_per_second = 20")).await;
    let mut client = Client::connect(&host).await;
    // Five seconds' worth is taken at once; these are more.
    let block = pings(&client, 105);
    client.send(&block).await;
    for _ in 0..105 {
        assert_eq!(client.receive().await.message, BrokerMessage::Pong);
    }
    assert!(host.server().metrics.blocks_delayed.value() > 0);
}

#[tokio::test]
async fn whoever_is_far_too_fast_is_closed() {
    let settings = limited("address_commands_per_second = 1\n[times]\nlimit_wait = \"1ms\"");
    let host = Host::start(&settings).await;
    let mut client = Client::connect(&host).await;
    client.nothing_else().await;
    let block = pings(&client, 50);
    client.send(&block).await;
    assert!(client.is_closed().await);
    assert_eq!(host.server().metrics.closed_too_fast.value(), 1);
}

#[tokio::test]
async fn an_address_makes_so_many_queues_and_services() {
    let host = Host::start(&limited("address_queues_per_minute = 3\n[times]\nlimit_wait = \"1ms\"")).await;
    let mut client = Client::connect(&host).await;
    let queue = client.create(MESSAGING, true).await;
    client.create(MESSAGING, false).await;
    let identity = ServiceIdentity::generate().unwrap();
    drop(Client::connect_service(&host, &identity, ServiceRole::Messaging).await.unwrap());
    // Everything else goes on.
    client.ok(None, queue.ids.sender_id, &message(b"hello")).await;
    assert_eq!(client.take(&queue).await, b"hello");
    Client::connect_service(&host, &identity, ServiceRole::Messaging).await.unwrap().nothing_else().await;
    let stranger = ServiceIdentity::generate().unwrap();
    assert!(Client::connect_service(&host, &stranger, ServiceRole::Messaging).await.is_err());
    let new = b"NEW whatever it says, it counts";
    let transmission = client.transmission(Some(&ed25519()), CORRELATION, b"", new);
    client.send(&[transmission]).await;
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn bytes_beyond_the_rate_are_read_later() {
    let host = Host::start(&limited("address_mib_per_second = 1")).await;
    let mut client = Client::connect(&host).await;
    for _ in 0..20 {
        for _ in 0..40 {
            let ping = pings(&client, 1);
            client.send(&ping).await;
        }
        for _ in 0..40 {
            assert_eq!(client.receive().await.message, BrokerMessage::Pong);
        }
    }
    assert!(host.server().metrics.blocks_delayed.value() > 0);
}

#[tokio::test]
async fn a_block_that_was_begun_must_end() {
    let host = Host::start("[times]\nread_timeout = \"50ms\"").await;
    let mut idle = Client::connect(&host).await;
    let mut slow = RawClient::connect(&host, 18).await;
    slow.send_block(&[0; 100]).await;
    assert_eq!(slow.content().await, None);
    assert_eq!(host.server().metrics.closed_slow_writer.value(), 1);
    idle.nothing_else().await;
}

#[tokio::test]
async fn whoever_reads_nothing_is_closed() {
    let host = Host::start("[limits]\nconnection_blocks = 2\n[times]\nwrite_timeout = \"100ms\"").await;
    let mut greedy = RawClient::connect(&host, 18).await;
    let flood = tokio::spawn(async move { flood_without_reading(&mut greedy).await });
    host.until(|server| server.metrics.closed_slow_reader.value() == 1).await;
    flood.abort();
    Client::connect(&host).await.nothing_else().await;
}

/// Sends blocks of `PING` and reads no answer.
async fn flood_without_reading(client: &mut RawClient) {
    let pings: Vec<Vec<u8>> = (0..255).map(|_| client.transmission(b"", &[7; 24], b"", b"PING")).collect();
    loop {
        client.send(&pings).await;
    }
}

#[tokio::test]
async fn load_is_shed_when_memory_is_used_up() {
    let host = Host::start("[limits]\nmemory_mib = 1\n[times]\nroom_interval = \"10ms\"").await;
    let mut honest = Client::connect(&host).await;
    let mut greedy = RawClient::connect(&host, 18).await;
    let flood = tokio::spawn(async move { flood_without_reading(&mut greedy).await });
    host.until(|server| server.metrics.closed_for_memory.value() > 0).await;
    // Whoever holds nothing stays, and there is room again.
    host.until(|server| !server.limits.memory.is_full()).await;
    honest.nothing_else().await;
    Client::connect(&host).await.nothing_else().await;
    flood.abort();
}

#[tokio::test]
async fn without_memory_nobody_is_taken() {
    let host = Host::start("[limits]\nmemory_mib = 1").await;
    let mut honest = Client::connect(&host).await;
    let account = std::sync::Arc::default();
    let charge = host.server().limits.memory.charge(1 << 20, &account);
    assert!(is_closed(&mut silent(&host).await).await);
    assert_eq!(host.server().metrics.connections_refused_for_memory.value(), 1);
    drop(charge);
    honest.nothing_else().await;
    Client::connect(&host).await.nothing_else().await;
}

#[tokio::test]
async fn senders_wait_while_the_disk_is_full() {
    let place = tempfile::tempdir().unwrap();
    let identity = Identity::generate("127.0.0.1").unwrap().identity;
    let host = Host::start_in(place.path(), "", &identity).await;
    let mut client = Client::connect(&host).await;
    let queue = client.create(MESSAGING, false).await;
    client.ok(None, queue.ids.sender_id, &message(b"before")).await;
    drop(client);
    host.stop().await;

    let host =
        Host::start_in(place.path(), "[limits]\nstored_mib = 1\nfree_mib = 4294967295", &identity).await;
    host.until(|server| server.limits.storage.is_used_up()).await;
    let mut client = Client::connect(&host).await;
    assert_eq!(client.error(None, queue.ids.sender_id, &message(b"after")).await, ErrorType::Quota);
    assert!(matches!(
        client.create_with(ed25519(), CORRELATION, MESSAGING, false).await,
        Err(ErrorType::Store(_))
    ));
    // What frees room works.
    client.subscribe(&queue).await;
    assert_eq!(client.take(&queue).await, b"before");
    client.ok(Some(&queue.key), queue.recipient_id(), &Command::Del).await;
}
