//! stdout is data, stderr is talk. People get text, scripts get one JSON object per line.

use std::io::{ErrorKind, IsTerminal, Write};

use serde_json::json;

use crate::error::CommandError;
use crate::event::Event;
use crate::render;

/// Where a command's results go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
}

/// Nobody reads any more: the command has done its work and ends well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReaderGone;

impl Output {
    /// Text for people, or NDJSON.
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether scripts read.
    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// Shows one event.
    ///
    /// # Errors
    /// [`ReaderGone`] when the pipe is closed.
    pub(crate) fn event(self, event: &Event) -> Result<(), ReaderGone> {
        let line = if self.json {
            serde_json::to_string(event).expect("events hold nothing that JSON cannot say")
        } else {
            render::human(event)
        };
        self.data(&line)
    }

    /// Writes one line of data.
    ///
    /// # Errors
    /// [`ReaderGone`] when the pipe is closed.
    pub(crate) fn data(self, line: &str) -> Result<(), ReaderGone> {
        let mut stdout = std::io::stdout().lock();
        match writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(ReaderGone),
            // A full disk behind stdout cannot be told there; the work itself is done.
            _ => Ok(()),
        }
    }

    /// Says something to a person, not to a script.
    pub(crate) fn talk(self, text: &str) {
        if !self.json || std::io::stderr().is_terminal() {
            // Nothing to be done when nobody listens.
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    }

    /// Says why the command failed and what to do next.
    pub(crate) fn error(self, error: &CommandError) {
        if self.json {
            let line = json!({
                "type": "error", "kind": error.kind, "code": error.kind as u8,
                "message": error.message, "hints": error.hints,
            });
            // The exit code says the rest when stdout is closed.
            let _ = self.data(&line.to_string());
        }
        let mut stderr = std::io::stderr().lock();
        let _ = writeln!(stderr, "error: {}", protocol::sanitize::lines(&error.message));
        for hint in &error.hints {
            let _ = writeln!(stderr, "  hint: {}", protocol::sanitize::lines(hint));
        }
    }
}
