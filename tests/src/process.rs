//! One child process: what it prints, how it ends. Killed when dropped.

use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

/// How long a test waits for anything before it fails. Generous: the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// A running program whose standard output is read line by line.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    lines: Receiver<String>,
    talk: Arc<Mutex<Vec<String>>>,
}

impl Process {
    /// Starts `command`; `name` stands in error messages.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(name: &str, command: &mut Command) -> anyhow::Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("Unable to start {name}"))?;
        let (sender, lines) = channel();
        let stdout = child.stdout.take().context("The child's output is piped")?;
        std::thread::spawn(move || each_line(stdout, |line| sender.send(line).is_ok()));
        let talk = Arc::new(Mutex::new(Vec::new()));
        let stderr = child.stderr.take().context("The child's errors are piped")?;
        let kept = Arc::clone(&talk);
        std::thread::spawn(move || {
            each_line(stderr, |line| kept.lock().map(|mut talk| talk.push(line)).is_ok());
        });
        Ok(Self { name: name.to_owned(), child, lines, talk })
    }

    /// The next line that `wanted` takes; lines before it are dropped.
    ///
    /// # Errors
    /// When the output ends, or nothing suitable comes within [`PATIENCE`].
    pub fn wait_for<T>(
        &mut self,
        what: &str,
        mut wanted: impl FnMut(&str) -> Option<T>,
    ) -> anyhow::Result<T> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    if let Some(found) = wanted(&line) {
                        return Ok(found);
                    }
                }
                Err(RecvTimeoutError::Timeout) => bail!("{}: no {what} in time\n{}", self.name, self.talk()),
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("{}: ended before {what}\n{}", self.name, self.talk())
                }
            }
        }
    }

    /// Kills it at once (`SIGKILL`), as a power cut would.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn kill(&mut self) -> anyhow::Result<ExitStatus> {
        let _ = self.child.kill();
        self.child.wait().with_context(|| format!("Unable to wait for {}", self.name))
    }

    /// Stops its clock (`SIGSTOP`): it holds what it has, and says nothing.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn freeze(&self) -> anyhow::Result<()> {
        self.signal("-STOP")
    }

    /// Lets it go on (`SIGCONT`).
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn thaw(&self) -> anyhow::Result<()> {
        self.signal("-CONT")
    }

    fn signal(&self, signal: &str) -> anyhow::Result<()> {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        ensure!(sent.context("Unable to run kill")?.success(), "{}: {signal} was not taken", self.name);
        Ok(())
    }

    /// Asks it to stop (`SIGTERM`) and waits.
    ///
    /// # Errors
    /// When it does not stop within [`PATIENCE`].
    pub fn stop(&mut self) -> anyhow::Result<ExitStatus> {
        self.signal("-TERM")?;
        self.wait()
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// When it does not within [`PATIENCE`].
    pub fn wait(&mut self) -> anyhow::Result<ExitStatus> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("{} did not end in time\n{}", self.name, self.talk());
            }
            // A closed output comes shortly before the end; there is no portable way to wait with a limit.
            let _ = self.lines.recv_timeout(Duration::from_millis(20));
        }
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether a line with `words` was written to standard error so far.
    #[must_use]
    pub fn has_said(&self, words: &str) -> bool {
        self.talk.lock().is_ok_and(|talk| talk.iter().any(|line| line.contains(words)))
    }

    /// What it wrote to standard error so far, the last lines.
    #[must_use]
    pub fn talk(&self) -> String {
        let talk = self.talk.lock().map(|talk| talk.clone()).unwrap_or_default();
        let from = talk.len().saturating_sub(30);
        talk.get(from..).unwrap_or_default().join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn each_line(source: impl Read, mut keep: impl FnMut(String) -> bool) {
    for line in BufReader::new(source).lines() {
        let Ok(line) = line else { return };
        if !keep(line) {
            return;
        }
    }
}
