//! The queue server: a process of its own, killed with its handle.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use protocol::smp::address::{ServerAddress, ServerAddressWithAuth};
use serde_json::Value;
use tempfile::TempDir;

use crate::world::{LOOK_EVERY, PATIENCE};

/// Its gauges of what is subscribed one by one, and as a service's.
const ONE_BY_ONE: &str = "smp_server_subscriptions";
const AS_SERVICE: &str = "smp_server_service_queues";

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: ServerAddressWithAuth,
    monitoring: SocketAddr,
    child: Child,
    _directory: TempDir,
}

impl Server {
    /// Starts one on a free port.
    pub(crate) fn start(program: &Path) -> anyhow::Result<Self> {
        let directory = TempDir::new().context("Unable to make a directory for the server")?;
        let init = Command::new(program)
            .arg("--directory")
            .arg(directory.path())
            .args(["init", "--host", "127.0.0.1", "--bind", "127.0.0.1", "--port", "0"])
            .output()
            .with_context(|| format!("Unable to run {}", program.display()))?;
        ensure!(init.status.success(), "init failed: {}", String::from_utf8_lossy(&init.stderr));
        let mut child = Command::new(program)
            .arg("--directory")
            .arg(directory.path())
            .args(["--json", "start", "--monitoring-http", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("Unable to run {}", program.display()))?;
        let stdout = child.stdout.take().context("The server has no output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        match announced(&line) {
            Ok((address, monitoring)) => Ok(Self { address, monitoring, child, _directory: directory }),
            Err(error) => {
                // It may have ended already.
                let _ = child.kill();
                let _ = child.wait();
                Err(error.context("The server did not start"))
            }
        }
    }

    /// A gauge of its metrics.
    fn gauge(&self, name: &str) -> anyhow::Result<f64> {
        let mut stream = TcpStream::connect(self.monitoring).context("The server's metrics are not there")?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.context("The server has no such gauge")?.trim().parse().context("A gauge is a number")
    }

    /// Waits until so many queues are subscribed, as a service's or one by one.
    pub(crate) fn subscribed(&self, queues: u64) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.gauge(ONE_BY_ONE)? + self.gauge(AS_SERVICE)? < queues as f64 {
            ensure!(
                Instant::now() < deadline,
                "Not all queues are subscribed after {} s",
                PATIENCE.as_secs()
            );
            // Another process can only be looked at again.
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// Waits until nothing is subscribed: it notices a connection that ends a moment later.
    pub(crate) fn forsaken(&self) -> anyhow::Result<()> {
        while self.gauge(ONE_BY_ONE)? + self.gauge(AS_SERVICE)? > 0.0 {
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// Ends it without warning; its address leads nowhere then.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address that the server tells, at the port where it listens, and where its metrics are.
fn announced(line: &str) -> anyhow::Result<(ServerAddressWithAuth, SocketAddr)> {
    let line: Value = serde_json::from_str(line).context("The server said nothing")?;
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let told: ServerAddressWithAuth =
        text(line.get("address")).context("The server did not say its address")?.parse()?;
    let socket = text(line.pointer("/sockets/0")).context("The server did not say where it listens")?;
    let monitoring = text(line.get("monitoring")).context("The server has no metrics")?;
    Ok((at(&told, socket.parse()?)?, monitoring.parse()?))
}

/// The same server at another socket.
pub(crate) fn at(
    server: &ServerAddressWithAuth,
    socket: SocketAddr,
) -> anyhow::Result<ServerAddressWithAuth> {
    let (host, key_hash) = (socket.ip().to_string().parse()?, server.server.key_hash().clone());
    let moved = ServerAddress::new(vec![host], Some(socket.port()), key_hash);
    Ok(ServerAddressWithAuth { server: moved.context("The server's address is none")?, ..server.clone() })
}
