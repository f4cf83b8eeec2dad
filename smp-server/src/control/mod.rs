//! Control of a running server: `smp-server ctl` over the unix socket in its directory (smp.md §18.4).
//!
//! ```text
//! ctl ──{"command":"block","id":…}──▶ control ──▶ moderation, metrics, shutdown
//!     ◀──{"done":true,…} or {"error":…}──
//! ```

mod answer;
mod request;

use std::path::Path;
use std::sync::{Arc, Weak};

use daemon::control::{Answer, ControlSocket};

pub use request::{Reason, Request};

use crate::reload::Reload;
use crate::server::Server;

/// The socket's name in the directory.
pub const CONTROL_SOCKET: &str = "control";

/// Opens the socket of a server that holds its directory. A server without one serves all the same.
pub(crate) fn open(path: &Path) -> Option<ControlSocket> {
    ControlSocket::open(path)
        .inspect_err(|error| {
            tracing::warn!(%error, "no control socket, so `smp-server ctl` will not work: its path may be too long");
        })
        .ok()
}

/// Answers requests until the future is dropped.
pub(crate) async fn serve(socket: ControlSocket, server: Weak<Server>, reload: Arc<Reload>) {
    let handler = move |line: String| {
        let (server, reload) = (server.clone(), reload.clone());
        async move {
            let (answer, drains) = match (serde_json::from_str(&line), server.upgrade()) {
                (Err(_), _) => {
                    (answer::error("this request is not known: use the same version of smp-server"), false)
                }
                (Ok(_), None) => (answer::error("the server has stopped"), false),
                (Ok(request), Some(server)) => {
                    let drains = request == Request::Drain;
                    (answer::answer(&server, &reload, request).await, drains)
                }
            };
            let stop = move || {
                if let Some(server) = server.upgrade() {
                    server.stop();
                }
            };
            Answer { text: answer.to_string(), afterwards: drains.then(|| Box::new(stop) as Box<_>) }
        }
    };
    socket.serve(handler).await;
}
