//! Servers that the suite starts itself, by a command of the operator's (`--spawn`).
//!
//! ```text
//! environment ──▶ sh -c '<command>' ──▶ a line with the server's address on stdout ──▶ it listens
//!                                   └─▶ exit code 77: it cannot be as wanted; the cases are skipped
//! SIGINT to the process group ──▶ the server saves what it has and ends; after 30 s it is killed
//! ```
//!
//! What is wanted stands in the environment, see [`Wanted::environment`]; README.md of this crate has the contract in
//! words and a ready command.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use protocol::smp::address::ServerAddressWithAuth;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::failure::{Failure, Outcome};
use crate::place::Place;

/// How long a server may take to start, and to stop.
const PATIENCE: Duration = Duration::from_secs(90);
/// What a command exits with when its server cannot be as wanted.
const UNSUPPORTED: i32 = 77;
/// How often it is tried whether a server listens.
const RETRY: Duration = Duration::from_millis(20);

/// What a server is wanted to be. Times are in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    /// Messages that a queue holds.
    pub quota: u32,
    /// How long messages live.
    pub message_ttl: u64,
    /// How often expired messages are removed.
    pub expiry_interval: u64,
    /// Whether `SEND` removes the queue's expired messages first.
    pub expire_on_send: bool,
    /// Whether expired messages are removed when the server starts.
    pub expire_on_start: bool,
    /// How long `END` and `DELD` are collected.
    pub event_interval: u64,
    /// How long notifications are collected.
    pub notification_interval: u64,
    /// Silence after which a connection without subscriptions is closed; 0 for never.
    pub inactive_ttl: u64,
    /// How long a proxy waits for a destination, until it is connected and for each answer.
    pub proxy_timeout: u64,
    /// Whether queues can be created.
    pub new_queues: bool,
    /// The password for creating queues and for the proxy; empty for none.
    pub password: &'static str,
    /// Whether browsers are served at the same port.
    pub web: bool,
}

impl Default for Wanted {
    fn default() -> Self {
        const DAY: u64 = 24 * 60 * 60 * 1000;
        Self {
            quota: 128,
            message_ttl: 21 * DAY,
            expiry_interval: DAY,
            expire_on_send: false,
            expire_on_start: true,
            event_interval: 100,
            notification_interval: 100,
            inactive_ttl: 0,
            proxy_timeout: 30_000,
            new_queues: true,
            password: "",
            web: false,
        }
    }
}

impl Wanted {
    /// The variables of the command.
    #[must_use]
    pub fn environment(&self, directory: &Path, port: u16) -> Vec<(&'static str, String)> {
        let switch = |on: bool| if on { "on" } else { "off" }.to_owned();
        vec![
            ("CONFORMANCE_DIRECTORY", directory.display().to_string()),
            ("CONFORMANCE_PORT", port.to_string()),
            ("CONFORMANCE_QUOTA", self.quota.to_string()),
            ("CONFORMANCE_MESSAGE_TTL", self.message_ttl.to_string()),
            ("CONFORMANCE_EXPIRY_INTERVAL", self.expiry_interval.to_string()),
            ("CONFORMANCE_EXPIRE_ON_SEND", switch(self.expire_on_send)),
            ("CONFORMANCE_EXPIRE_ON_START", switch(self.expire_on_start)),
            ("CONFORMANCE_EVENT_INTERVAL", self.event_interval.to_string()),
            ("CONFORMANCE_NOTIFICATION_INTERVAL", self.notification_interval.to_string()),
            ("CONFORMANCE_INACTIVE_TTL", self.inactive_ttl.to_string()),
            ("CONFORMANCE_PROXY_TIMEOUT", self.proxy_timeout.to_string()),
            ("CONFORMANCE_NEW_QUEUES", switch(self.new_queues)),
            ("CONFORMANCE_PASSWORD", self.password.to_owned()),
            ("CONFORMANCE_WEB", switch(self.web)),
        ]
    }
}

/// What the operator of a running server does (`--operate`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Blocks a queue, for `spam` or `content`, with a notice for as many seconds, or for ever by `forever`.
    Block {
        /// The reason's word.
        reason: &'static str,
        /// The notice, or nothing.
        notice: &'static str,
    },
    /// Unblocks a queue.
    Unblock,
}

/// A directory and a port in which a server lives, also over restarts.
#[derive(Debug)]
pub struct Home {
    command: Arc<str>,
    directory: tempfile::TempDir,
    port: u16,
}

/// A server that runs; it is killed when dropped.
#[derive(Debug)]
pub struct Spawned {
    /// Where it is.
    pub place: Place,
    child: Child,
}

impl Home {
    /// A home for servers that this command starts.
    ///
    /// # Errors
    /// When there is no directory or no port for it.
    pub async fn new(command: &Arc<str>) -> Outcome<Self> {
        let directory = tempfile::Builder::new().prefix("smp-conformance-").tempdir();
        let directory =
            directory.map_err(|error| Failure::differs("a temporary directory", error.to_string()))?;
        Ok(Self { command: command.clone(), directory, port: free_port().await? })
    }

    /// Starts the server and waits until it listens.
    ///
    /// # Errors
    /// When it does not; [`Failure::unavailable`] when the command says that its server cannot be as wanted.
    pub async fn start(&self, wanted: &Wanted) -> Outcome<Spawned> {
        let error = |error: std::io::Error| Failure::differs("a server by --spawn", error.to_string());
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.directory.path().join("conformance.log"))
            .map_err(error)?;
        let state = self.directory.path().join("state");
        std::fs::create_dir_all(&state).map_err(error)?;
        let (certificate, key) = self.certificate_for_browsers();
        if wanted.web && !key.exists() {
            make_certificate(&certificate, &key)?;
        }
        let mut child = Command::new("sh")
            .args(["-c", &self.command])
            .envs(wanted.environment(&state, self.port))
            .env("CONFORMANCE_WEB_CERTIFICATE", &certificate)
            .env("CONFORMANCE_WEB_KEY", &key)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(error)?;
        let Some(stdout) = child.stdout.take() else { return Err(Failure::differs("stdout", "none")) };
        let mut lines = BufReader::new(stdout).lines();
        let address = timeout(PATIENCE, async {
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(address) = address_in(&line) {
                    return Some(address);
                }
            }
            None
        });
        let address = address.await.map_err(|_| self.failure("it printed no address in 30 s"))?;
        let Some(address) = address else {
            let status = child.wait().await.map_err(error)?;
            return Err(if status.code() == Some(UNSUPPORTED) {
                Failure::unavailable("a server with other settings than --spawn can give it")
            } else {
                self.failure(&format!("it ended with {status} before it printed an address"))
            });
        };
        // What it prints later must not block it.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let key_hash = address.server.key_hash().sha256();
        let key_hash = key_hash.ok_or_else(|| self.failure("its address has no fingerprint of 32 bytes"))?;
        let place = Place { address: ([127, 0, 0, 1], self.port).into(), key_hash };
        let listening = async {
            while TcpStream::connect(place.address).await.is_err() {
                sleep(RETRY).await;
            }
        };
        timeout(PATIENCE, listening).await.map_err(|_| self.failure("it does not listen on its port"))?;
        Ok(Spawned { place, child })
    }

    /// Has the operator's command do something to the queue with this sender id, at the server that runs here.
    ///
    /// # Errors
    /// When it does not; [`Failure::unavailable`] when it says that it cannot.
    pub async fn operate(&self, command: &str, operation: Operation, sender_id: &[u8]) -> Outcome {
        let (action, reason, notice) = match operation {
            Operation::Block { reason, notice } => ("block", reason, notice),
            Operation::Unblock => ("unblock", "", ""),
        };
        let output = Command::new("sh")
            .args(["-c", command])
            .envs(Wanted::default().environment(&self.state(), self.port))
            .env("CONFORMANCE_ACTION", action)
            .env("CONFORMANCE_QUEUE", protocol::base64url::encode(sender_id))
            .env("CONFORMANCE_REASON", reason)
            .env("CONFORMANCE_NOTICE", notice)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let late = |_| Failure::differs("an operation by --operate", "none in 30 s");
        let output = timeout(PATIENCE, output).await.map_err(late)?;
        let output =
            output.map_err(|error| Failure::differs("an operation by --operate", error.to_string()))?;
        match output.status.code() {
            Some(0) => Ok(()),
            Some(UNSUPPORTED) => Err(Failure::unavailable("an operator who can do more than --operate")),
            _ => {
                let said = String::from_utf8_lossy(&output.stderr);
                let said = said.lines().last().unwrap_or_default();
                Err(Failure::differs("an operation by --operate", format!("{}: {said}", output.status)))
            }
        }
    }

    /// Where a certificate for browsers and its key are, when one is wanted.
    fn certificate_for_browsers(&self) -> (PathBuf, PathBuf) {
        let place = self.directory.path();
        (place.join("web.crt"), place.join("web.key"))
    }

    fn failure(&self, what: &str) -> Failure {
        let log = std::fs::read_to_string(self.directory.path().join("conformance.log")).unwrap_or_default();
        let last: Vec<&str> = log.lines().rev().take(3).collect();
        let said: Vec<&str> = last.into_iter().rev().collect();
        Failure::differs("a server by --spawn", format!("{what}; it said: {}", said.join(" / ")))
    }

    /// The port on which its server listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where its server keeps its state.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }
}

impl Spawned {
    /// Stops it as its operator would.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn stop(mut self) -> Outcome {
        self.signal("INT").await;
        if timeout(PATIENCE, self.child.wait()).await.is_ok() {
            return Ok(());
        }
        self.signal("KILL").await;
        Err(Failure::differs("a server that ends after SIGINT", "one that runs for 30 s more"))
    }

    /// Ends it as a power cut would.
    pub async fn kill(mut self) {
        self.signal("KILL").await;
        let _ = self.child.wait().await;
    }

    async fn signal(&self, signal: &str) {
        if let Some(id) = self.child.id() {
            let group = format!("-{id}");
            let _ =
                Command::new("kill").args(["-s", signal, "--", &group]).stderr(Stdio::null()).status().await;
        }
    }
}

/// A certificate as servers want it for browsers: some take RSA of 4096 bits alone (smp.md §18.1).
fn make_certificate(certificate: &Path, key: &Path) -> Outcome {
    let made = || -> anyhow::Result<()> {
        let pair = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_4096)?;
        let params = rcgen::CertificateParams::new(vec!["smp.example.org".to_owned()])?;
        std::fs::write(certificate, params.self_signed(&pair)?.pem())?;
        std::fs::write(key, pair.serialize_pem())?;
        Ok(())
    };
    made().map_err(|error| Failure::differs("a certificate for browsers", error.to_string()))
}

/// The address in what a server prints.
fn address_in(line: &str) -> Option<ServerAddressWithAuth> {
    let start = line.get(line.find("smp://")?..)?;
    let end = start
        .find(|character: char| character.is_whitespace() || matches!(character, '"' | '\'' | '<' | '>'));
    start.get(..end.unwrap_or(start.len()))?.trim_end_matches([',', '.']).parse().ok()
}

/// A port below those that systems give to clients, so that none takes it while its server restarts.
async fn free_port() -> Outcome<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    let start = u16::try_from(std::process::id() % u32::from(COUNT)).unwrap_or_default();
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + start.wrapping_add(step) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).await.is_ok() {
            return Ok(port);
        }
    }
    Err(Failure::differs("a free port", "none"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: &str = "smp://LcJUMfVhwD8yxjAiSaDzzGF3-kLG4Uh0Fl_ZIjrRwjI=@127.0.0.1:5001";

    #[test]
    fn an_address_is_found_in_what_servers_print() {
        let lines = [
            format!("Server address: {ADDRESS}"),
            format!("{{\"type\":\"listening\",\"address\":\"{ADDRESS}\"}}"),
            ADDRESS.replace('@', ":password@"),
        ];
        for line in lines {
            assert_eq!(address_in(&line).unwrap().server.port(), Some(5001), "{line}");
        }
        assert!(address_in("starting").is_none());
        assert!(address_in("smp://nonsense").is_none());
    }

    #[tokio::test]
    async fn a_command_that_cannot_says_so_by_its_exit_code() {
        let start = async |command: &str| {
            let home = Home::new(&Arc::from(command)).await.unwrap();
            home.start(&Wanted::default()).await.map(|_| ()).unwrap_err()
        };
        assert!(start("exit 77").await.needs().is_some());
        let failed = start("echo no such thing >&2; exit 1").await;
        assert!(failed.needs().is_none());
        assert!(failed.to_string().contains("no such thing"), "{failed}");
    }
}
