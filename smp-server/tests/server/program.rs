//! The real program as a child process, in a directory of its own.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use protocol::smp::address::ServerAddressWithAuth;
use serde_json::Value;

use crate::host::Place;

/// The program, not started yet.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_smp-server"));
    command.env_clear();
    command
}

/// Runs the program to its end.
pub(crate) fn run(directory: &Path, arguments: &[&str]) -> Output {
    program().arg("--directory").arg(directory).args(arguments).output().unwrap()
}

/// Makes a server in `directory`, which must not be used yet.
pub(crate) fn init(directory: &Path, arguments: &[&str]) -> Value {
    let mut all = vec!["--json", "init", "--host", "127.0.0.1", "--bind", "127.0.0.1", "--port", "0"];
    all.extend_from_slice(arguments);
    let output = run(directory, &all);
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A server that runs; killed when dropped.
pub(crate) struct Program {
    child: Child,
    place: Place,
    monitoring: Option<SocketAddr>,
    web: Vec<SocketAddr>,
}

impl AsRef<Place> for Program {
    fn as_ref(&self) -> &Place {
        &self.place
    }
}

impl Program {
    /// Starts the server of `directory` and waits until it listens.
    pub(crate) fn start(directory: &Path, arguments: &[&str]) -> Self {
        let mut command = program();
        command.arg("--directory").arg(directory).args(["--json", "start"]).args(arguments);
        Self::spawn(command)
    }

    /// Starts the server by a command of the caller's.
    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let Ok(listening) = serde_json::from_str::<Value>(&line) else {
            panic!("{:?} instead of a server", child.wait_with_output());
        };
        let address: ServerAddressWithAuth = listening["address"].as_str().unwrap().parse().unwrap();
        let place = Place {
            address: listening["sockets"][0].as_str().unwrap().parse().unwrap(),
            key_hash: address.server.key_hash().sha256().unwrap(),
        };
        let monitoring = listening["monitoring"].as_str().map(|address| address.parse().unwrap());
        let web = listening["web"].as_array().into_iter().flatten();
        let web = web.map(|address| address.as_str().unwrap().parse().unwrap()).collect();
        Self { child, place, monitoring, web }
    }

    /// Where its monitoring is.
    pub(crate) fn monitoring(&self) -> SocketAddr {
        self.monitoring.unwrap()
    }

    /// Where its web pages are, beside the ports of clients.
    pub(crate) fn web(&self) -> &[SocketAddr] {
        &self.web
    }

    /// The port that it took.
    pub(crate) fn port(&self) -> String {
        self.place.address.port().to_string()
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// Sets the largest size that its files may reach from now on, in bytes.
    pub(crate) fn limit_files(&self, bytes_max: &str) {
        let pid = self.child.id().to_string();
        let limit = format!("--fsize={bytes_max}:unlimited");
        assert!(Command::new("prlimit").args(["--pid", &pid, &limit]).status().unwrap().success());
    }

    /// Asks it to stop; gives how it ended and what it said.
    pub(crate) fn stop(self) -> Output {
        self.signal("TERM");
        self.wait_for_end()
    }

    /// Waits until it ends by itself; gives how it ended and what it said.
    pub(crate) fn wait_for_end(mut self) -> Output {
        let mut stderr = Vec::new();
        std::io::Read::read_to_end(self.child.stderr.as_mut().unwrap(), &mut stderr).unwrap();
        Output { status: self.child.wait().unwrap(), stdout: Vec::new(), stderr }
    }

    /// Waits until it ended by itself.
    #[cfg(feature = "crash-points")]
    pub(crate) fn wait(mut self) -> std::process::ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
