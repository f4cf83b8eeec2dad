//! A SOCKS5 proxy that remembers who was connected to where, and a network that can be cut.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use socket2::SockRef;

/// How the way to a server is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Connections are reset, and new ones refused.
    Reset,
    /// Nothing arrives any more, and nobody is told: connections stay half-open, also when the way is open again for
    /// new ones.
    Swallow,
}

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
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    asked: BTreeSet<Asked>,
    cuts: BTreeMap<u16, Cut>,
    ways: Vec<Way>,
}

/// A connection to a port and what has become of it.
#[derive(Debug)]
struct Way {
    port: u16,
    fate: Arc<OnceLock<Cut>>,
    ends: [TcpStream; 2],
}

impl Way {
    fn cut(&self, cut: Cut) -> io::Result<()> {
        // Of a way that was cut before nothing more can become.
        let _ = self.fate.set(cut);
        if cut == Cut::Reset {
            for end in &self.ends {
                SockRef::from(end).set_linger(Some(Duration::ZERO))?;
                // Wakes whoever reads here: the peer hears of it when the last handle is closed.
                end.shutdown(Shutdown::Read)?;
            }
        }
        Ok(())
    }
}

impl Socks {
    /// Starts it on a free port of the loopback.
    ///
    /// # Errors
    /// When there is none.
    pub fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let (address, state) = (listener.local_addr()?, Arc::new(Mutex::default()));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                // a client that breaks off is its own matter
                std::thread::spawn(move || serve(client, &shared));
            }
        });
        Ok(Self { address, state })
    }

    /// Where it listens, as the programs take it.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// What was asked for so far.
    #[must_use]
    pub fn asked(&self) -> BTreeSet<Asked> {
        locked(&self.state).asked.clone()
    }

    /// Cuts the way to a port, until it is [healed](Self::heal).
    ///
    /// # Errors
    /// When a connection cannot be reset.
    pub fn cut(&self, port: u16, cut: Cut) -> io::Result<()> {
        let mut state = locked(&self.state);
        state.cuts.insert(port, cut);
        state.ways.extract_if(.., |way| way.port == port).try_for_each(|way| way.cut(cut))
    }

    /// Lets new connections to a port through again.
    pub fn heal(&self, port: u16) {
        locked(&self.state).cuts.remove(&port);
    }

    /// The ports that were asked for so far.
    #[must_use]
    pub fn ports(&self) -> BTreeSet<u16> {
        self.asked().iter().map(|asked| asked.port).collect()
    }
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(mut client: TcpStream, state: &Mutex<State>) -> io::Result<()> {
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
    let cut = {
        let mut state = locked(state);
        state.asked.insert(asked);
        state.cuts.get(&port).copied()
    };
    match cut {
        None => {}
        Some(Cut::Reset) => return client.write_all(&[5, 5, 0, 1, 0, 0, 0, 0, 0, 0]),
        Some(Cut::Swallow) => return io::copy(&mut client, &mut io::sink()).map(drop),
    }
    let Ok(server) = TcpStream::connect((host.as_str(), port)) else {
        return client.write_all(&[5, 5, 0, 1, 0, 0, 0, 0, 0, 0]);
    };
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
    let fate = Arc::new(OnceLock::new());
    let ends = [client.try_clone()?, server.try_clone()?];
    let way = Way { port, fate: Arc::clone(&fate), ends };
    {
        let mut state = locked(state);
        // It may have been cut while this connected.
        match state.cuts.get(&port) {
            Some(cut) => way.cut(*cut)?,
            None => state.ways.push(way),
        }
    }
    let (from_client, to_server, shared) = (client.try_clone()?, server.try_clone()?, Arc::clone(&fate));
    std::thread::spawn(move || pass(from_client, to_server, &shared));
    pass(server, client, &fate)
}

fn pass(mut from: TcpStream, mut to: TcpStream, fate: &OnceLock<Cut>) -> io::Result<()> {
    let mut buffer = vec![0; 32 * 1024];
    loop {
        let read = from.read(&mut buffer);
        match fate.get() {
            Some(Cut::Reset) => return Ok(()),
            Some(Cut::Swallow) if matches!(read, Ok(count) if count > 0) => continue,
            Some(Cut::Swallow) => return Ok(()),
            None => {}
        }
        let passed = match read {
            Ok(count @ 1..) => to.write_all(buffer.get(..count).unwrap_or_default()),
            Ok(0) => return to.shutdown(Shutdown::Both),
            Err(error) => Err(error),
        };
        if passed.is_err() {
            let _ = to.shutdown(Shutdown::Both);
            return passed;
        }
    }
}

fn array<const N: usize>(stream: &mut TcpStream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}
