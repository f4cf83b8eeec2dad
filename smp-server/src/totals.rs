//! How much is stored, for monitoring: counted when the server starts, and then at an interval, by a thread that reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::interval;

use crate::server::Server;

/// Counting takes longer the more queues there are.
const INTERVAL: Duration = Duration::from_secs(10 * 60);

/// What was there when it was counted last.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    queues: AtomicU64,
    messages: AtomicU64,
}

impl Totals {
    /// Queues.
    pub(crate) fn queues(&self) -> u64 {
        self.queues.load(Ordering::Acquire)
    }

    /// Messages.
    pub(crate) fn messages(&self) -> u64 {
        self.messages.load(Ordering::Acquire)
    }
}

/// Counts until the server stops.
pub(crate) async fn run(server: Arc<Server>) {
    let mut stop = server.stopping();
    let mut ticks = interval(INTERVAL);
    loop {
        tokio::select! {
            _ = ticks.tick() => count(&server).await,
            () = stop.requested() => return,
        }
    }
}

async fn count(server: &Server) {
    match server.store.read(|reader| reader.counts()).await {
        Ok(counts) => {
            server.totals.messages.store(counts.messages, Ordering::Release);
            server.totals.queues.store(counts.queues, Ordering::Release);
        }
        Err(error) => tracing::warn!(%error, "what is stored could not be counted"),
    }
}
