//! Servers, relays and people, each a separate process in one temporary directory.
//!
//! Everything talks TLS on loopback, and keeps its state on disk, so each can be killed and started again.

use std::collections::BTreeSet;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use crate::binaries::Binaries;
use crate::process::{PATIENCE, Process};

/// Short intervals, so that what takes hours in life takes seconds here. No behaviour differs otherwise. A relay that goes
/// has no longer than its time to live to tell everybody, on a busy machine, too: who is not told looks for itself only after
/// a quarter of an hour.
const RELAY_SETTINGS: [(&str, &str); 6] = [
    ("CHAT_RELAY_WATCH_INTERVAL", "2s"),
    ("CHAT_RELAY_WATCH_JITTER", "500ms"),
    ("CHAT_RELAY_WATCH_CONFIRM_AFTER", "1s"),
    ("CHAT_RELAY_INACTIVE_TTL", "5s"),
    ("CHAT_RELAY_INVITATION_RETRY_FIRST", "500ms"),
    ("CHAT_RELAY_INVITATION_RETRY_MAX", "4s"),
];

/// A temporary directory and the programs that run in it.
#[derive(Debug)]
pub struct World {
    directory: tempfile::TempDir,
    binaries: Binaries,
}

impl World {
    /// An empty world.
    ///
    /// # Errors
    /// When no temporary directory can be made.
    pub fn new(binaries: &Binaries) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("conclave-").tempdir()?;
        Ok(Self { directory, binaries: binaries.clone() })
    }

    /// Where everything is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Keeps the directory when this value goes.
    pub fn keep(&mut self) {
        self.directory.disable_cleanup(true);
    }

    /// A queue server, made and started.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn server(&self, name: &str) -> anyhow::Result<Server> {
        self.server_at(name, free_port()?)
    }

    /// The same, on this port.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn server_at(&self, name: &str, port: u16) -> anyhow::Result<Server> {
        let directory = self.path().join(name);
        let program = self.binaries.server.clone();
        run_once(Command::new(&program).arg("--directory").arg(&directory).args([
            "init",
            "--host",
            "127.0.0.1",
        ]))?;
        let mut server =
            Server { name: name.to_owned(), directory, program, port, address: String::new(), process: None };
        server.start(&[])?;
        Ok(server)
    }

    /// A relay on `server`, made and started.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn relay(&self, name: &str, server: &Server) -> anyhow::Result<Relay> {
        let directory = self.path().join(name);
        let program = self.binaries.relay.clone();
        run_once(Command::new(&program).arg("--directory").arg(&directory).args([
            "init",
            "--display-name",
            name,
            "--server",
            server.address(),
        ]))?;
        Relay::started(name, directory, program)
    }

    /// A worker of the relay whose state is in a PostgreSQL database, made and started.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn worker(
        &self,
        name: &str,
        server: &Server,
        connection: &str,
        lease: &str,
    ) -> anyhow::Result<Relay> {
        let directory = self.path().join(name);
        std::fs::DirBuilder::new().mode(0o700).create(&directory)?;
        std::fs::write(directory.join("postgres"), connection)?;
        let program = self.binaries.relay.clone();
        let store = ["--store", "postgres", "--worker-lease", lease, "--postgres-patience", lease];
        run_once(
            Command::new(&program)
                .arg("--directory")
                .arg(&directory)
                .args(["init", "--display-name", "relay-1", "--server", server.address()])
                .args(store),
        )?;
        Relay::started(name, directory, program)
    }

    /// A person with a home, who uses `servers` for new queues.
    ///
    /// # Errors
    /// When the home cannot be made.
    pub fn person(&self, name: &str, servers: &[&Server]) -> anyhow::Result<Person> {
        let person = Person {
            name: name.to_owned(),
            home: self.path().join(name),
            key_file: self.path().join(format!("{name}.key")),
            program: self.binaries.client.clone(),
        };
        person.ok(&["init", "--name", name])?;
        for server in servers {
            person.ok(&["server", "add", server.address()])?;
        }
        Ok(person)
    }
}

/// A queue server.
#[derive(Debug)]
pub struct Server {
    /// Its name in this world.
    pub name: String,
    /// Its directory.
    pub directory: PathBuf,
    program: PathBuf,
    port: u16,
    address: String,
    process: Option<Process>,
}

impl Server {
    /// `smp://hash@127.0.0.1:port`; the port stays the same over restarts.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Starts it, on its former port if it had one, with more environment.
    ///
    /// # Errors
    /// When it does not say that it is ready.
    pub fn start(&mut self, environment: &[(&str, &str)]) -> anyhow::Result<()> {
        let mut command = Command::new(&self.program);
        command.arg("--directory").arg(&self.directory).args([
            "--json",
            "start",
            "--port",
            &self.port.to_string(),
        ]);
        command.envs(environment.iter().copied());
        let mut process = Process::spawn(&self.name, &mut command)?;
        let ready = process.wait_for("`listening`", |line| event(line, "listening"))?;
        self.address = text(&ready, "address")?;
        self.port =
            u16::try_from(ready.get("port").and_then(Value::as_u64).context("The ready line has a port")?)?;
        self.process = Some(process);
        Ok(())
    }

    /// What the running server does for its operator.
    ///
    /// # Errors
    /// When it refuses, with its words.
    pub fn ctl(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let mut command = Command::new(&self.program);
        command.arg("--directory").arg(&self.directory).arg("ctl").args(arguments);
        run_once(&mut command)
    }

    /// How many messages wait in the queue of a sender id, asked of the running server; none in one that is gone.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn waiting_in(&self, sender_id: &str) -> anyhow::Result<u64> {
        let mut command = Command::new(&self.program);
        command.arg("--directory").arg(&self.directory).args(["--json", "ctl", "status", sender_id]);
        let output = command.stdin(Stdio::null()).output()?;
        if !output.status.success() {
            let talk = String::from_utf8_lossy(&output.stderr).into_owned();
            ensure!(talk.contains("no queue"), "{}: {talk}", self.name);
            return Ok(0);
        }
        let answer: Value = serde_json::from_slice(&output.stdout)?;
        answer.get("messages").and_then(Value::as_u64).with_context(|| format!("No count in {answer}"))
    }

    /// Kills it as a power cut would.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.process.take().context("The server runs")?.kill().map(drop)
    }

    /// The running process.
    ///
    /// # Errors
    /// When it does not run.
    pub fn process(&mut self) -> anyhow::Result<&mut Process> {
        self.process.as_mut().context("The server runs")
    }
}

/// A chat relay.
#[derive(Debug)]
pub struct Relay {
    /// Its name: the display name too.
    pub name: String,
    /// Its directory.
    pub directory: PathBuf,
    program: PathBuf,
    link: String,
    monitoring: Option<String>,
    process: Option<Process>,
}

impl Relay {
    fn started(name: &str, directory: PathBuf, program: PathBuf) -> anyhow::Result<Self> {
        let mut relay = Self {
            name: name.to_owned(),
            directory,
            program,
            link: String::new(),
            monitoring: None,
            process: None,
        };
        relay.start(&[])?;
        Ok(relay)
    }

    /// Where its monitoring answers, when it was told to have one.
    ///
    /// # Errors
    /// When it was not.
    pub fn monitoring(&self) -> anyhow::Result<&str> {
        self.monitoring.as_deref().context("The relay has monitoring")
    }

    /// Its long-lived address.
    #[must_use]
    pub fn link(&self) -> &str {
        &self.link
    }

    /// Starts it with more environment.
    ///
    /// # Errors
    /// When it does not say that it is ready.
    pub fn start(&mut self, environment: &[(&str, &str)]) -> anyhow::Result<()> {
        let mut command = Command::new(&self.program);
        command.arg("--directory").arg(&self.directory).args(["--json", "start"]);
        command.envs(RELAY_SETTINGS).envs(environment.iter().copied());
        let mut process = Process::spawn(&self.name, &mut command)?;
        let ready = process.wait_for("ready line", |line| event(line, "ready"))?;
        self.link = text(&ready, "address")?;
        self.monitoring = text(&ready, "monitoring").ok();
        self.process = Some(process);
        Ok(())
    }

    /// What the running relay answers its operator.
    ///
    /// # Errors
    /// When it refuses, with its words; when it does not run.
    pub fn ctl(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        self.run(&[&["ctl"], arguments].concat())
    }

    /// What a command on its directory says.
    ///
    /// # Errors
    /// When it fails, with its words.
    pub fn run(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let mut command = Command::new(&self.program);
        command.arg("--directory").arg(&self.directory).arg("--json").args(arguments);
        let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output()?;
        let talk = String::from_utf8_lossy(&stderr).into_owned();
        ensure!(status.success(), "{}: {arguments:?} ended with {status}: {talk}", self.name);
        Ok(serde_json::from_slice(&stdout)?)
    }

    /// Waits until it has seen itself listed in a group's link. A relay that was taken out of the link before it
    /// ever saw itself there goes on waiting for its listing.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn finds_itself_listed(&mut self) -> anyhow::Result<()> {
        let name = self.name.clone();
        let process = self.process()?;
        eventually(&format!("{name} is listed"), || Ok(process.has_said(r#"to="active""#).then_some(())))
    }

    /// Kills it as a power cut would.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.process.take().context("The relay runs")?.kill().map(drop)
    }

    /// The running process.
    ///
    /// # Errors
    /// When it does not run.
    pub fn process(&mut self) -> anyhow::Result<&mut Process> {
        self.process.as_mut().context("The relay runs")
    }
}

/// Somebody with a home of `conclave`.
#[derive(Debug, Clone)]
pub struct Person {
    /// The name: the display name too.
    pub name: String,
    /// The home.
    pub home: PathBuf,
    key_file: PathBuf,
    program: PathBuf,
}

/// What a command printed and how it ended.
#[derive(Debug)]
pub struct Answer {
    /// The lines of standard output.
    pub lines: Vec<Value>,
    /// The exit code; -1 when it was killed.
    pub code: i32,
    /// Standard error.
    pub talk: String,
}

impl Answer {
    /// The lines of one type.
    pub fn of_type<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.lines.iter().filter(move |line| line.get("type").and_then(Value::as_str) == Some(kind))
    }
}

impl Person {
    /// A command line of this person's, with its output as JSON.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.env("CONCLAVE_HOME", &self.home).env("CONCLAVE_KEY_FILE", &self.key_file);
        command.env("CONCLAVE_ARCHIVE_PASSPHRASE", "an archive in a test");
        command.arg("--json").args(arguments).stdin(Stdio::null());
        command
    }

    /// What a command that must succeed shows to people.
    ///
    /// # Errors
    /// When it does not succeed.
    pub fn shown(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new(&self.program);
        command.env("CONCLAVE_HOME", &self.home).env("CONCLAVE_KEY_FILE", &self.key_file);
        let Output { status, stdout, stderr } = command.args(arguments).stdin(Stdio::null()).output()?;
        let (shown, talk) = (String::from_utf8(stdout)?, String::from_utf8_lossy(&stderr).into_owned());
        ensure!(status.success(), "{}: {arguments:?} ended with {status}: {talk}", self.name);
        Ok(shown)
    }

    /// The beginning of a command line that somebody can type.
    #[must_use]
    pub fn by_hand(&self) -> String {
        let (key, home) = (self.key_file.display(), self.home.display());
        format!("{} --home {home} --key-file {key}", self.program.display())
    }

    /// Runs a command and gives its answer, whatever it is.
    ///
    /// # Errors
    /// When it cannot be started, or prints something that is not JSON.
    pub fn run(&self, arguments: &[&str]) -> anyhow::Result<Answer> {
        let Output { status, stdout, stderr } = self.command(arguments).output()?;
        let lines = String::from_utf8(stdout)?
            .lines()
            .map(|line| serde_json::from_str(line).with_context(|| format!("Not JSON: {line}")))
            .collect::<anyhow::Result<_>>()?;
        let talk = String::from_utf8_lossy(&stderr).into_owned();
        Ok(Answer { lines, code: status.code().unwrap_or(-1), talk })
    }

    /// Runs a command that must succeed.
    ///
    /// # Errors
    /// When it does not; with what it said.
    pub fn ok(&self, arguments: &[&str]) -> anyhow::Result<Answer> {
        let answer = self.run(arguments)?;
        ensure!(answer.code == 0, "{}: {arguments:?} ended with {}: {}", self.name, answer.code, answer.talk);
        Ok(answer)
    }

    /// Starts `listen` in the background; ready when this returns.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn listen(&self) -> anyhow::Result<Process> {
        self.listen_with(&[])
    }

    /// As [`Self::listen`], with more environment.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn listen_with(&self, environment: &[(&str, &str)]) -> anyhow::Result<Process> {
        let mut command = self.command(&["listen"]);
        command.envs(environment.iter().copied());
        let mut process = Process::spawn(&self.name, &mut command)?;
        process.wait_for("`listening`", |line| event(line, "listening"))?;
        Ok(process)
    }

    /// The messages of a group as this person has them, oldest first.
    ///
    /// # Errors
    /// When the command fails.
    pub fn history(&self, group: &str) -> anyhow::Result<Vec<Value>> {
        Ok(self.ok(&["history", group])?.of_type("message").cloned().collect())
    }

    /// The texts of a group as this person has them, oldest first.
    ///
    /// # Errors
    /// When the command fails.
    pub fn texts(&self, group: &str) -> anyhow::Result<Vec<String>> {
        self.history(group)?.iter().map(|message| text(message, "text")).collect()
    }

    /// The relays of a group with their statuses.
    ///
    /// # Errors
    /// When the command fails.
    pub fn relays(&self, group: &str) -> anyhow::Result<Vec<(String, String)>> {
        let answer = self.ok(&["group", "relays", group])?;
        answer.of_type("group_relay").map(|row| Ok((text(row, "relay")?, text(row, "status")?))).collect()
    }

    /// The link of a group.
    ///
    /// # Errors
    /// When the command fails.
    pub fn group_link(&self, group: &str) -> anyhow::Result<String> {
        let answer = self.ok(&["group", "link", group])?;
        let row = answer.of_type("group_link").next().context("The answer has the link")?;
        text(row, "link")
    }
}

/// Asks again and again until `found` gives a value; each question is a real command, so nothing spins.
///
/// # Errors
/// When it does not within [`PATIENCE`], or a question fails.
pub fn eventually<T>(what: &str, mut found: impl FnMut() -> anyhow::Result<Option<T>>) -> anyhow::Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = found()? {
            return Ok(value);
        }
        if Instant::now() > deadline {
            bail!("{what}: not in time");
        }
        std::thread::yield_now();
    }
}

/// The line as JSON when its `type` is `kind`.
#[must_use]
pub fn event(line: &str, kind: &str) -> Option<Value> {
    let value: Value = serde_json::from_str(line).ok()?;
    (value.get("type")?.as_str()? == kind).then_some(value)
}

/// A text field of a JSON line.
///
/// # Errors
/// When it is not there.
pub fn text(row: &Value, field: &str) -> anyhow::Result<String> {
    let value = row.get(field).and_then(Value::as_str);
    value.map(str::to_owned).with_context(|| format!("No text `{field}` in {row}"))
}

/// A free port below those that the system gives to outgoing connections, and never twice in a process: a server that is
/// killed finds it free when it comes back.
///
/// # Errors
/// When none is found.
pub fn free_port() -> anyhow::Result<u16> {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    const FIRST: u16 = 12_000;
    const COUNT: u16 = 20_000;
    for _ in 0..100 {
        let drawn = u16::try_from(getrandom::u32()? % u32::from(COUNT))?;
        let port = FIRST.saturating_add(drawn);
        let is_new = GIVEN.lock().unwrap_or_else(PoisonError::into_inner).insert(port);
        if is_new && std::net::TcpListener::bind(("0.0.0.0", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port found")
}

fn run_once(command: &mut Command) -> anyhow::Result<()> {
    let output = command.stdin(Stdio::null()).output().context("Unable to start a program")?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
