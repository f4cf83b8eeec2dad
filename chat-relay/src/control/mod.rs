//! Control of a running relay: `chat-relay ctl` over the unix socket in its directory.
//!
//! ```text
//! ctl ──{"command":"pause","group":3}──▶ socket ──▶ engine's thread: one transaction ──▶ commit
//!     ◀──{"done":…} or {"error":…}───────────────────────────────────────────────────────┘
//! ```

mod answer;
mod request;

use std::path::Path;

use daemon::control::{Answer, ControlSocket};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

pub(crate) use answer::{JOBS_MAX, answer};
pub use request::{Codes, Quotas, Request};

use crate::relay::Command;

/// The socket's name in the directory.
pub const CONTROL_SOCKET: &str = "control";

/// A refusal; says what to do.
fn refusal(reason: impl std::fmt::Display) -> Value {
    json!({ "error": reason.to_string() })
}

/// Opens the socket of a relay that holds its directory. A relay without one serves all the same.
#[must_use]
pub fn open(path: &Path) -> Option<ControlSocket> {
    ControlSocket::open(path)
        .inspect_err(|error| {
            tracing::warn!(%error, "no control socket, so `chat-relay ctl` will not work: its path may be too long");
        })
        .ok()
}

/// Answers requests until the future is dropped.
pub async fn serve(socket: ControlSocket, commands: mpsc::WeakSender<Command>) {
    let handler = move |line: String| {
        let commands = commands.clone();
        async move { Answer::from(ask(&commands, &line).await.to_string()) }
    };
    socket.serve(handler).await;
}

async fn ask(commands: &mpsc::WeakSender<Command>, line: &str) -> Value {
    let Ok(request) = serde_json::from_str(line) else {
        return refusal("this request is not known: use the same version of chat-relay");
    };
    let (answer, answered) = oneshot::channel();
    let stopped = || refusal("the relay has stopped");
    let Some(commands) = commands.upgrade() else { return stopped() };
    if commands.send(Command::Control { request, answer }).await.is_err() {
        return stopped();
    }
    drop(commands);
    answered.await.unwrap_or_else(|_| stopped())
}
