//! SOCKS5 as a client (RFC 1928, RFC 1929; smp.md §17.1): the proxy resolves names, and is told which connections
//! shall not share a circuit.
//!
//! ```text
//! greeting   05 02 00 02                    ◀ 05 method       00: no authentication, 02: user and password
//! user       01 short(circuit) 00           ◀ 01 00           the password is empty
//! connect    05 01 00 address port(2)       ◀ 05 reply 00 address port(2)
//! address    01 IPv4(4) / 03 short(name) / 04 IPv6(16)
//! ```
//!
//! Own code because the usual crate refuses empty passwords, which Tor's convention for circuits has.

use std::io;
use std::net::SocketAddr;
use std::str::FromStr;

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::rng::system_rng;
use crate::base64url;
use crate::crypto::{hash, random_bytes};
use crate::encoding::put_short;
use crate::smp::address::ServerAddress;
use crate::smp::host::Host;

const VERSION: u8 = 5;
const USER_VERSION: u8 = 1;
const NO_AUTHENTICATION: u8 = 0;
const USER_PASSWORD: u8 = 2;
const CONNECT: u8 = 1;
const ADDRESS_IPV4: u8 = 1;
const ADDRESS_NAME: u8 = 3;
const ADDRESS_IPV6: u8 = 4;
const SUCCEEDED: u8 = 0;

/// Which hosts are reached through the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocksMode {
    /// Onion hosts only.
    Onion,
    /// All hosts.
    Always,
}

/// Where a SOCKS proxy listens: `127.0.0.1:9050`, `[::1]:9050` or `localhost:9050`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocksAddress {
    host: String,
    port: u16,
}

/// Not the address of a SOCKS proxy.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is not a SOCKS proxy: write host and port, such as 127.0.0.1:9050")]
pub struct SocksAddressError(String);

impl FromStr for SocksAddress {
    type Err = SocksAddressError;

    fn from_str(text: &str) -> Result<Self, SocksAddressError> {
        let wrong = || SocksAddressError(text.to_owned());
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self { host: address.ip().to_string(), port: address.port() });
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        match host.parse() {
            Ok(Host::Domain(host)) if !host.contains('[') => {
                Ok(Self { host, port: port.parse().map_err(|_| wrong())? })
            }
            _ => Err(wrong()),
        }
    }
}

impl std::fmt::Display for SocksAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A SOCKS proxy, and what tells the circuits of this run of the program from others.
#[derive(Debug, Clone)]
pub struct SocksProxy {
    pub(super) mode: SocksMode,
    address: SocksAddress,
    run: [u8; 16],
}

impl SocksProxy {
    /// A proxy, with circuits of its own.
    #[must_use]
    pub fn new(address: SocksAddress, mode: SocksMode) -> Self {
        Self { mode, address, run: random_bytes(&mut system_rng()) }
    }

    /// The user name that keeps the connections with one server apart from others: Tor gives it circuits of its own.
    pub(super) fn circuit(&self, server: &ServerAddress) -> String {
        let run = base64url::encode(&self.run);
        base64url::encode(&hash::sha256(format!("{run}@{server}").as_bytes()))
    }

    /// A connection through the proxy; the proxy resolves the host.
    pub(super) async fn connect(&self, host: &Host, port: u16, circuit: &str) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect((self.address.host.as_str(), self.address.port)).await?;
        stream.set_nodelay(true)?;
        request(&mut stream, host, port, circuit).await?;
        Ok(stream)
    }
}

async fn request(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    host: &Host,
    port: u16,
    circuit: &str,
) -> io::Result<()> {
    stream.write_all(&[VERSION, 2, NO_AUTHENTICATION, USER_PASSWORD]).await?;
    match array(stream).await? {
        [VERSION, USER_PASSWORD] => {
            let mut user = vec![USER_VERSION];
            put_short(&mut user, circuit.as_bytes());
            user.push(0);
            stream.write_all(&user).await?;
            let [_, status] = array(stream).await?;
            if status != 0 {
                return Err(refused("refuses the user name"));
            }
        }
        [VERSION, NO_AUTHENTICATION] => {}
        [VERSION, _] => return Err(refused("wants another authentication")),
        _ => return Err(refused("does not speak SOCKS5")),
    }
    let mut wish = vec![VERSION, CONNECT, 0];
    match host {
        Host::Ipv4(address) => {
            wish.push(ADDRESS_IPV4);
            wish.extend_from_slice(&address.octets());
        }
        Host::Ipv6(address) => {
            wish.push(ADDRESS_IPV6);
            wish.extend_from_slice(&address.octets());
        }
        Host::Onion(_) | Host::Domain(_) => {
            wish.push(ADDRESS_NAME);
            put_short(&mut wish, host.to_string().as_bytes());
        }
    }
    wish.extend_from_slice(&port.to_be_bytes());
    stream.write_all(&wish).await?;
    let [version, reply, _, kind] = array(stream).await?;
    if version != VERSION {
        return Err(refused("does not speak SOCKS5"));
    }
    if reply != SUCCEEDED {
        return Err(refused(reason(reply)));
    }
    // where the proxy connects from: of no interest, but it must be read
    let bytes = match kind {
        ADDRESS_IPV4 => 4,
        ADDRESS_IPV6 => 16,
        ADDRESS_NAME => usize::from(stream.read_u8().await?),
        _ => return Err(refused("does not speak SOCKS5")),
    };
    let mut from = vec![0; bytes.saturating_add(2)];
    stream.read_exact(&mut from).await?;
    Ok(())
}

async fn array<const N: usize>(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

fn refused(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionRefused, format!("the SOCKS proxy {what}"))
}

fn reason(reply: u8) -> &'static str {
    match reply {
        2 => "does not allow the connection",
        3 => "cannot reach the network",
        4 => "cannot reach the host",
        5 => "found nothing listening at the host",
        6 => "gave up on the host",
        8 => "does not know this kind of address",
        _ => "failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_host_and_port() {
        for text in ["127.0.0.1:9050", "[::1]:9050", "localhost:9050", "tor.example:1"] {
            assert_eq!(text.parse::<SocksAddress>().unwrap().to_string(), text);
        }
        for text in ["", "localhost", "9050", ":9050", "::1:9050x", "a:b", "user@host:1:2", "localhost:70000"]
        {
            assert!(text.parse::<SocksAddress>().is_err(), "{text}");
        }
    }

    #[test]
    fn each_server_and_each_run_has_circuits_of_its_own() {
        let server = |number: u8| -> ServerAddress {
            format!("smp://{}@a.example", base64url::encode(&[number; 32])).parse().unwrap()
        };
        let proxy = || SocksProxy::new("127.0.0.1:9050".parse().unwrap(), SocksMode::Always);
        let (one, other) = (proxy(), proxy());
        assert_eq!(one.circuit(&server(1)), one.clone().circuit(&server(1)));
        assert_ne!(one.circuit(&server(1)), one.circuit(&server(2)));
        assert_ne!(one.circuit(&server(1)), other.circuit(&server(1)));
        assert!(one.circuit(&server(1)).len() <= 255);
    }

    /// What the client writes when the proxy's side of the talk is `answers`.
    async fn talk(host: &str, answers: &[u8]) -> (io::Result<()>, Vec<u8>) {
        let (mut ours, mut theirs) = tokio::io::duplex(1024);
        theirs.write_all(answers).await.unwrap();
        let result = request(&mut ours, &host.parse().unwrap(), 5223, "me").await;
        drop(ours);
        let mut written = Vec::new();
        theirs.read_to_end(&mut written).await.unwrap();
        (result, written)
    }

    #[tokio::test]
    async fn names_are_left_to_the_proxy_and_the_circuit_is_named() {
        let (result, written) =
            talk("abc.onion", b"\x05\x02\x01\x00\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00").await;
        result.unwrap();
        assert_eq!(written, b"\x05\x02\x00\x02\x01\x02me\x00\x05\x01\x00\x03\x09abc.onion\x14\x67");
        let (result, written) = talk("192.0.2.1", b"\x05\x00\x05\x00\x00\x03\x01x\x00\x00").await;
        result.unwrap();
        assert_eq!(written, b"\x05\x02\x00\x02\x05\x01\x00\x01\xc0\x00\x02\x01\x14\x67");
    }

    #[tokio::test]
    async fn refusals_and_strangers_are_told() {
        for (answers, why) in [
            (&b"\x05\xff"[..], "another authentication"),
            (b"\x05\x02\x01\x01", "user name"),
            (b"\x05\x00\x05\x05\x00\x01", "nothing listening"),
            (b"HT", "does not speak SOCKS5"),
        ] {
            let error = talk("a.example", answers).await.0.unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
        }
    }
}
