//! A SOCKS5 proxy that remembers who was connected to where.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

/// One connection that somebody asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    /// The user name, which tells circuits apart.
    pub circuit: Vec<u8>,
    /// The host as it was named.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// A running proxy; it ends with the test's process.
#[derive(Debug)]
pub struct Socks {
    address: SocketAddr,
    asked: Arc<Mutex<BTreeSet<Asked>>>,
}

impl Socks {
    /// Starts it on a free port of the loopback.
    ///
    /// # Errors
    /// When there is none.
    pub fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let (address, asked) = (listener.local_addr()?, Arc::new(Mutex::default()));
        let seen = Arc::clone(&asked);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let seen = Arc::clone(&seen);
                // a client that breaks off is its own matter
                std::thread::spawn(move || serve(client, &seen));
            }
        });
        Ok(Self { address, asked })
    }

    /// Where it listens, as the programs take it.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// What was asked for so far.
    #[must_use]
    pub fn asked(&self) -> BTreeSet<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The ports that were asked for so far.
    #[must_use]
    pub fn ports(&self) -> BTreeSet<u16> {
        self.asked().iter().map(|asked| asked.port).collect()
    }
}

fn serve(mut client: TcpStream, seen: &Mutex<BTreeSet<Asked>>) -> io::Result<()> {
    let [_, count] = array(&mut client)?;
    let mut methods = vec![0; count.into()];
    client.read_exact(&mut methods)?;
    client.write_all(&[5, 2])?;
    let [_, length] = array(&mut client)?;
    let mut circuit = vec![0; length.into()];
    client.read_exact(&mut circuit)?;
    let [length] = array(&mut client)?;
    let mut password = vec![0; length.into()];
    client.read_exact(&mut password)?;
    client.write_all(&[1, 0])?;
    let [_, _, _, kind] = array(&mut client)?;
    let host = match kind {
        1 => Ipv4Addr::from(array::<4>(&mut client)?).to_string(),
        3 => {
            let [length] = array(&mut client)?;
            let mut name = vec![0; length.into()];
            client.read_exact(&mut name)?;
            String::from_utf8_lossy(&name).into_owned()
        }
        _ => return client.write_all(&[5, 8, 0, 1, 0, 0, 0, 0, 0, 0]),
    };
    let port = u16::from_be_bytes(array(&mut client)?);
    let asked = Asked { circuit, host: host.clone(), port };
    seen.lock().unwrap_or_else(PoisonError::into_inner).insert(asked);
    let Ok(server) = TcpStream::connect((host.as_str(), port)) else {
        return client.write_all(&[5, 5, 0, 1, 0, 0, 0, 0, 0, 0]);
    };
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
    let (from_client, to_server) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || pass(from_client, to_server));
    pass(server, client)
}

fn pass(mut from: TcpStream, mut to: TcpStream) -> io::Result<()> {
    let copied = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Both);
    copied.map(drop)
}

fn array<const N: usize>(stream: &mut TcpStream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}
