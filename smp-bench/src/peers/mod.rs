//! Other stores of messages, with the same payload: Redis and NATS, if they are installed. They do neither TLS nor
//! any encryption here, so that the comparison favours them.

mod nats;
mod redis;

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::measure::Measurement;
use crate::phases::Plan;

/// How long a peer may take to start.
const START_LIMIT: Duration = Duration::from_secs(10);
/// Pause between two attempts to connect to it.
const START_PAUSE: Duration = Duration::from_millis(20);

pub(crate) async fn measure(plan: &Plan, within: Option<&Path>) -> anyhow::Result<Vec<Measurement>> {
    let mut results = redis::measure(plan, within).await.context("Redis could not be measured")?;
    results.extend(nats::measure(plan, within).await.context("NATS could not be measured")?);
    Ok(results)
}

/// A peer's process with its directory; killed when dropped.
struct PeerProcess {
    child: Child,
    directory: TempDir,
    socket: SocketAddr,
}

impl PeerProcess {
    /// Starts a peer with the arguments that its directory and port make. Nothing when it is not installed.
    async fn start(
        program: &str,
        within: Option<&Path>,
        arguments: impl FnOnce(&Path, u16) -> anyhow::Result<Vec<String>>,
    ) -> anyhow::Result<Option<Self>> {
        let directory = match within {
            Some(within) => TempDir::new_in(within),
            None => TempDir::new(),
        }?;
        // Free now; should somebody take it before the peer does, the peer says so.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = Command::new(program);
        command.args(arguments(directory.path(), port)?).stdout(Stdio::null()).stderr(Stdio::null());
        let child = match command.spawn() {
            Ok(child) => child,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                eprintln!("{program} is not installed: it is left out");
                return Ok(None);
            }
            Err(error) => return Err(error).with_context(|| format!("Unable to run {program}")),
        };
        let mut process = Self { child, directory, socket: SocketAddr::from(([127, 0, 0, 1], port)) };
        tokio::time::timeout(START_LIMIT, process.started())
            .await
            .with_context(|| format!("{program} does not start"))??;
        Ok(Some(process))
    }

    /// Waits until there can be a connection.
    async fn started(&mut self) -> anyhow::Result<()> {
        while let Err(error) = self.connect().await {
            if let Some(status) = self.child.try_wait()? {
                return Err(error.context(format!("It ended at once: {status}")));
            }
            tokio::time::sleep(START_PAUSE).await;
        }
        Ok(())
    }

    /// A connection to it.
    async fn connect(&self) -> anyhow::Result<TcpStream> {
        let socket = TcpStream::connect(self.socket).await?;
        socket.set_nodelay(true)?;
        Ok(socket)
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for PeerProcess {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = &self.directory;
    }
}
