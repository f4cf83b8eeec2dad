//! TCP and TLS to a server (smp.md §3.7, §17.1). The caller bounds the time.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::error::ConnectError;
use super::tls::{self, Secured};
use crate::smp::address::ServerAddress;
use crate::smp::host::Host;

/// Idle time before the first keep-alive probe.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
/// Time between probes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// Unanswered probes after which the connection is dead.
const KEEPALIVE_COUNT: u32 = 4;
/// The same patience for data that nobody acknowledges, which keep-alive does not cover.
const UNACKNOWLEDGED_LIMIT: Duration = Duration::from_secs(90);

/// The next address of a server is tried beside the one before, if that has not answered in this time.
const NEXT_ADDRESS_DELAY: Duration = Duration::from_millis(250);
/// Most addresses that are tried: names are resolved by strangers.
const ADDRESSES_MAX: usize = 16;

/// Connects to the first host that answers, and checks that it is the server.
pub(super) async fn dial(server: &ServerAddress) -> Result<Secured<TcpStream>, ConnectError> {
    let key_hash = server.key_hash().sha256().ok_or(ConnectError::NoFingerprint)?;
    let stream = connect(&resolve(server).await?).await.map_err(unreachable)?;
    configure(&stream).map_err(unreachable)?;
    Ok(tls::connect(stream, key_hash).await?)
}

fn unreachable(error: io::Error) -> ConnectError {
    ConnectError::Unreachable(Arc::new(error))
}

async fn resolve(server: &ServerAddress) -> Result<Vec<SocketAddr>, ConnectError> {
    let port = server.port_or_default();
    let mut addresses = Vec::new();
    let mut failure = ConnectError::NoUsableHost;
    for host in server.hosts() {
        match host {
            Host::Ipv4(address) => addresses.push((*address, port).into()),
            Host::Ipv6(address) => addresses.push((*address, port).into()),
            Host::Domain(name) => match tokio::net::lookup_host((name.as_str(), port)).await {
                Ok(found) => addresses.extend(found.take(ADDRESSES_MAX)),
                Err(error) => failure = unreachable(error),
            },
            Host::Onion(_) => {}
        }
        if addresses.len() >= ADDRESSES_MAX {
            break;
        }
    }
    addresses.truncate(ADDRESSES_MAX);
    if addresses.is_empty() { Err(failure) } else { Ok(addresses) }
}

/// Tries the addresses in order, each a little later than the one before; the first connection wins.
async fn connect(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut addresses = addresses.iter().copied();
    let mut attempts = JoinSet::new();
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        if let Some(address) = addresses.next() {
            attempts.spawn(TcpStream::connect(address));
        }
        let more = addresses.len() > 0;
        let finished = tokio::select! {
            finished = attempts.join_next() => finished,
            () = tokio::time::sleep(NEXT_ADDRESS_DELAY), if more => continue,
        };
        match finished {
            Some(Ok(Ok(stream))) => return Ok(stream),
            Some(Ok(Err(error))) => failure = error,
            Some(Err(error)) => failure = io::Error::other(error),
            None => return Err(failure),
        }
    }
}

fn configure(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_COUNT);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_LIMIT))?;
    Ok(())
}
