//! The queue server: a process of its own, killed with its handle.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, ensure};
use protocol::smp::address::ServerAddressWithAuth;
use serde_json::Value;
use tempfile::TempDir;

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: ServerAddressWithAuth,
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
            .args(["--json", "start"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("Unable to run {}", program.display()))?;
        let stdout = child.stdout.take().context("The server has no output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        match address(&line) {
            Ok(address) => Ok(Self { address, child, _directory: directory }),
            Err(error) => {
                // It may have ended already.
                let _ = child.kill();
                let _ = child.wait();
                Err(error.context("The server did not start"))
            }
        }
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

/// The address that the server tells, at the port where it listens.
fn address(line: &str) -> anyhow::Result<ServerAddressWithAuth> {
    let line: Value = serde_json::from_str(line).context("The server said nothing")?;
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let mut told: ServerAddressWithAuth =
        text(line.get("address")).context("The server did not say its address")?.parse()?;
    let socket: std::net::SocketAddr =
        text(line.pointer("/sockets/0")).context("The server did not say where it listens")?.parse()?;
    let host = socket.ip().to_string().parse()?;
    let key_hash = told.server.key_hash().clone();
    told.server = protocol::smp::address::ServerAddress::new(vec![host], Some(socket.port()), key_hash)
        .context("The server's address is none")?;
    Ok(told)
}
