//! TCP and TLS to a server (smp.md §3.7, §17.1): which of its hosts, by which way. The caller bounds the time.
//!
//! ```text
//! hosts of the address ─▶ those of the wanted kind, else all ─▶ TCP, or SOCKS with the name unresolved ─▶ TLS
//! ```

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::error::ConnectError;
use super::public_address::is_public;
use super::socks::{SocksMode, SocksProxy};
use super::tls::{self, ClientTls, Secured};
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

/// Which hosts of a server are preferred; the others are used when there is none of this kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HostMode {
    /// Onion hosts when connections go through a SOCKS proxy, else public ones.
    #[default]
    OnionViaSocks,
    /// Onion hosts.
    Onion,
    /// Public hosts.
    Public,
}

/// How connections leave this machine. The default is: directly, to any address.
#[derive(Debug, Clone, Default)]
pub struct Dialer {
    /// The SOCKS proxy, if there is one.
    pub socks: Option<SocksProxy>,
    /// Which hosts are preferred.
    pub host_mode: HostMode,
    /// Whether hosts of the other kind are refused instead.
    pub host_mode_required: bool,
    /// Whether addresses that are not public, such as loopback and private networks, are refused. Names that a SOCKS
    /// proxy resolves are not known here; addresses that stand for themselves are.
    pub public_only: bool,
}

/// One way to a server.
enum Way {
    Direct(SocketAddr),
    Socks(Host),
}

impl Dialer {
    /// Connects to the first host that answers, and checks that it is the server.
    pub(super) async fn dial(
        &self,
        server: &ServerAddress,
        own: ClientTls,
    ) -> Result<Secured<TcpStream>, ConnectError> {
        let key_hash = server.key_hash().sha256().ok_or(ConnectError::NoFingerprint)?;
        let ways = self.ways(server).await?;
        let stream = self.connect(ways, server).await?;
        configure(&stream).map_err(unreachable)?;
        Ok(tls::connect_with(stream, key_hash, own).await?)
    }

    /// The hosts of the wanted kind, or all when there is none.
    fn hosts<'s>(&self, server: &'s ServerAddress) -> Result<Vec<&'s Host>, ConnectError> {
        let onion = match self.host_mode {
            HostMode::OnionViaSocks => self.socks.is_some(),
            HostMode::Onion => true,
            HostMode::Public => false,
        };
        let preferred: Vec<&Host> = server.hosts().iter().filter(|host| host.is_onion() == onion).collect();
        match preferred.is_empty() {
            false => Ok(preferred),
            true if self.host_mode_required => Err(ConnectError::HostMode),
            true => Ok(server.hosts().iter().collect()),
        }
    }

    async fn ways(&self, server: &ServerAddress) -> Result<Vec<Way>, ConnectError> {
        let port = server.port_or_default();
        let mut ways = Vec::new();
        let mut failure = ConnectError::NoUsableHost;
        for host in self.hosts(server)? {
            if self.goes_through_socks(host) {
                match literal(host) {
                    Some(address) if self.public_only && !is_public(address) => {
                        failure = ConnectError::PrivateAddress;
                    }
                    _ => ways.push(Way::Socks(host.clone())),
                }
            } else {
                match resolve(host, port).await {
                    Ok(found) => {
                        for address in found {
                            if self.public_only && !is_public(address.ip()) {
                                failure = ConnectError::PrivateAddress;
                            } else {
                                ways.push(Way::Direct(address));
                            }
                        }
                    }
                    Err(error) => failure = error,
                }
            }
            if ways.len() >= ADDRESSES_MAX {
                break;
            }
        }
        ways.truncate(ADDRESSES_MAX);
        if ways.is_empty() { Err(failure) } else { Ok(ways) }
    }

    fn goes_through_socks(&self, host: &Host) -> bool {
        self.socks.as_ref().is_some_and(|socks| socks.mode == SocksMode::Always || host.is_onion())
    }

    /// Tries the ways in order, each a little later than the one before; the first connection wins.
    async fn connect(&self, ways: Vec<Way>, server: &ServerAddress) -> Result<TcpStream, ConnectError> {
        let port = server.port_or_default();
        let mut ways = ways.into_iter();
        let mut attempts = JoinSet::new();
        let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
        loop {
            match ways.next() {
                Some(Way::Direct(address)) => drop(attempts.spawn(TcpStream::connect(address))),
                Some(Way::Socks(host)) => {
                    // a way through SOCKS exists only with a proxy
                    let Some(socks) = self.socks.clone() else { return Err(ConnectError::NoUsableHost) };
                    let circuit = socks.circuit(server);
                    attempts.spawn(async move { socks.connect(&host, port, &circuit).await });
                }
                None => {}
            }
            let more = ways.len() > 0;
            let finished = tokio::select! {
                finished = attempts.join_next() => finished,
                () = tokio::time::sleep(NEXT_ADDRESS_DELAY), if more => continue,
            };
            match finished {
                Some(Ok(Ok(stream))) => return Ok(stream),
                Some(Ok(Err(error))) => failure = error,
                Some(Err(error)) => failure = io::Error::other(error),
                None => return Err(unreachable(failure)),
            }
        }
    }
}

fn unreachable(error: io::Error) -> ConnectError {
    ConnectError::Unreachable(Arc::new(error))
}

fn literal(host: &Host) -> Option<IpAddr> {
    match host {
        Host::Ipv4(address) => Some((*address).into()),
        Host::Ipv6(address) => Some((*address).into()),
        Host::Domain(_) | Host::Onion(_) => None,
    }
}

async fn resolve(host: &Host, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
    match host {
        Host::Ipv4(address) => Ok(vec![(*address, port).into()]),
        Host::Ipv6(address) => Ok(vec![(*address, port).into()]),
        Host::Onion(_) => Err(ConnectError::NoUsableHost),
        Host::Domain(name) => {
            let found = tokio::net::lookup_host((name.as_str(), port)).await.map_err(unreachable)?;
            Ok(found.take(ADDRESSES_MAX).collect())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn server(hosts: &str) -> ServerAddress {
        format!("smp://{}@{hosts}", crate::base64url::encode(&[1; 32])).parse().unwrap()
    }

    fn socks(mode: SocksMode) -> Option<SocksProxy> {
        Some(SocksProxy::new("127.0.0.1:9050".parse().unwrap(), mode))
    }

    async fn ways(dialer: &Dialer, hosts: &str) -> Result<Vec<String>, ConnectError> {
        let ways = dialer.ways(&server(hosts)).await?;
        Ok(ways
            .into_iter()
            .map(|way| match way {
                Way::Direct(address) => address.ip().to_string(),
                Way::Socks(host) => format!("socks {host}"),
            })
            .collect())
    }

    /// smp.md §17.1.
    #[tokio::test]
    async fn hosts_of_the_wanted_kind_come_first_and_the_others_when_there_is_none() {
        let both = "192.0.2.1,abc.onion";
        let direct = Dialer::default();
        assert_eq!(ways(&direct, both).await.unwrap(), ["192.0.2.1"]);
        assert!(matches!(ways(&direct, "abc.onion").await, Err(ConnectError::NoUsableHost)));
        let tor = Dialer { socks: socks(SocksMode::Onion), ..Dialer::default() };
        assert_eq!(ways(&tor, both).await.unwrap(), ["socks abc.onion"]);
        assert_eq!(ways(&tor, "192.0.2.1").await.unwrap(), ["192.0.2.1"], "only onion hosts need it");
        let all =
            Dialer { socks: socks(SocksMode::Always), host_mode: HostMode::Public, ..Dialer::default() };
        assert_eq!(ways(&all, both).await.unwrap(), ["socks 192.0.2.1"]);
        assert_eq!(ways(&all, "abc.onion").await.unwrap(), ["socks abc.onion"]);
        assert_eq!(ways(&all, "name.example").await.unwrap(), ["socks name.example"], "not resolved here");
        let strict = Dialer { host_mode: HostMode::Public, host_mode_required: true, ..all };
        assert!(matches!(ways(&strict, "abc.onion").await, Err(ConnectError::HostMode)));
    }

    #[tokio::test]
    async fn private_addresses_are_refused_where_only_public_ones_are_wanted() {
        let public = Dialer { public_only: true, ..Dialer::default() };
        for hosts in ["127.0.0.1", "localhost", "10.1.2.3", "[::1]"] {
            assert!(matches!(ways(&public, hosts).await, Err(ConnectError::PrivateAddress)), "{hosts}");
        }
        assert_eq!(ways(&public, "127.0.0.1,192.0.3.1").await.unwrap(), ["192.0.3.1"]);
        let through = Dialer { socks: socks(SocksMode::Always), host_mode: HostMode::Public, ..public };
        assert!(matches!(ways(&through, "127.0.0.1").await, Err(ConnectError::PrivateAddress)));
    }
}
