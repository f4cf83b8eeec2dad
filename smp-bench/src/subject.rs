//! The server that is measured: a process of ours in a directory of its own, or one at an address.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use protocol::smp::address::ServerAddressWithAuth;
use protocol::smp::password::BasicAuth;
use serde_json::Value;
use tempfile::TempDir;

use crate::traffic::Traffic;

/// Where a server is and how to know it.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) socket: SocketAddr,
    pub(crate) key_hash: [u8; 32],
    pub(crate) password: Option<BasicAuth>,
}

/// The server that is measured.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) place: Place,
    pub(crate) traffic: Arc<Traffic>,
    own: Option<OwnServer>,
}

/// A server that this program started; killed when dropped.
#[derive(Debug)]
struct OwnServer {
    program: PathBuf,
    flags: Vec<String>,
    within: Option<PathBuf>,
    directory: TempDir,
    child: Child,
}

impl Subject {
    /// A server that runs already. Its processor time and memory are not known.
    pub(crate) fn at(address: &str) -> anyhow::Result<Self> {
        let ServerAddressWithAuth { server, password } =
            address.parse().with_context(|| format!("Unable to understand the address {address}"))?;
        let key_hash = server.key_hash().sha256().context("The address has no fingerprint")?;
        let host = server.first_host().to_string();
        let socket = (host.as_str(), server.port_or_default())
            .to_socket_addrs()
            .with_context(|| format!("Unable to find {host}"))?
            .next()
            .with_context(|| format!("{host} has no address"))?;
        Ok(Self { place: Place { socket, key_hash, password }, traffic: Arc::default(), own: None })
    }

    /// Starts a server of our own.
    pub(crate) fn start(
        program: PathBuf,
        flags: Vec<String>,
        within: Option<&PathBuf>,
    ) -> anyhow::Result<Self> {
        let directory = match within {
            Some(within) => TempDir::new_in(within),
            None => TempDir::new(),
        }
        .context("Unable to make a directory for the server")?;
        let init = Command::new(&program)
            .arg("--directory")
            .arg(directory.path())
            .args(["init", "--host", "127.0.0.1", "--bind", "127.0.0.1", "--port", "0"])
            .output()
            .with_context(|| format!("Unable to run {}", program.display()))?;
        if !init.status.success() {
            bail!("{} init failed: {}", program.display(), String::from_utf8_lossy(&init.stderr));
        }
        let (child, place) = spawn(&program, &flags, &directory)?;
        let own = Some(OwnServer { program, flags, within: within.cloned(), directory, child });
        Ok(Self { place, traffic: Arc::default(), own })
    }

    /// Another server of ours, with these flags instead; nothing if the server is not ours.
    pub(crate) fn another(&self, flags: &[&str]) -> anyhow::Result<Option<Self>> {
        let Some(own) = &self.own else { return Ok(None) };
        let flags = flags.iter().map(ToString::to_string).collect();
        Self::start(own.program.clone(), flags, own.within.as_ref()).map(Some)
    }

    /// Its process, if it is ours.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.own.as_ref().map(|own| own.child.id())
    }

    /// Kills it as a power cut would and starts it again. How long it took until it listened.
    pub(crate) fn kill_and_restart(&mut self) -> anyhow::Result<Duration> {
        let Some(own) = &mut self.own else { bail!("only a server that smp-bench started can be restarted") };
        own.child.kill().context("Unable to kill the server")?;
        own.child.wait().context("Unable to wait for the server")?;
        let killed = Instant::now();
        (own.child, self.place) = spawn(&own.program, &own.flags, &own.directory)?;
        Ok(killed.elapsed())
    }

    /// Whether it can be restarted and looked at.
    pub(crate) fn is_own(&self) -> bool {
        self.own.is_some()
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(program: &PathBuf, flags: &[String], directory: &TempDir) -> anyhow::Result<(Child, Place)> {
    let mut child = Command::new(program)
        .arg("--directory")
        .arg(directory.path())
        .args(["--json", "start"])
        .args(flags)
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("Unable to run {}", program.display()))?;
    let mut line = String::new();
    let stdout = child.stdout.take().context("The server has no output")?;
    BufReader::new(stdout).read_line(&mut line)?;
    match listening(&line) {
        Ok(place) => Ok((child, place)),
        Err(error) => {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
            Err(error.context("The server did not start; what it says is above"))
        }
    }
}

/// What the server says once it listens.
fn listening(line: &str) -> anyhow::Result<Place> {
    let line: Value = serde_json::from_str(line).context("The server said nothing")?;
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let address = text(line.get("address")).context("The server did not say its address")?;
    let socket = text(line.pointer("/sockets/0")).context("The server did not say where it listens")?;
    let ServerAddressWithAuth { server, password } = address.parse()?;
    let key_hash = server.key_hash().sha256().context("The server's address has no fingerprint")?;
    Ok(Place { socket: socket.parse()?, key_hash, password })
}
