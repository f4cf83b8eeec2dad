//! Removes expired messages: when the server starts, and at an interval; and expired notifications (smp.md §10.5).

use std::sync::Arc;

use protocol::net::clock::now;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::server::{Server, every};
use crate::store::{ExpiryCursor, Result};

/// Messages that one step looks at, so that other steps do not wait for long.
const MESSAGES_PER_STEP: u32 = 256;

/// Removes what expired while the server was down, before any client can ask for it.
pub(crate) async fn at_start(server: &Server) {
    let mut stop = server.stopping();
    if server.settings.times.expire_on_start.0 {
        tokio::select! {
            expired = expire(server) => report(expired),
            () = stop.requested() => {}
        }
    }
}

/// Removes expired messages at the interval until the server stops.
pub(crate) async fn run(server: Arc<Server>) {
    let mut stop = server.stopping();
    let period = server.settings.times.expiry_interval.0;
    let mut ticks = interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => report(expire(&server).await),
            () = stop.requested() => return,
        }
    }
}

/// Forgets expired notifications at their interval until the server stops.
pub(crate) async fn notifications(server: Arc<Server>) {
    let forget = || match server.notifications.expire(server.notifications_expire_before()) {
        0 => {}
        count => {
            server.metrics.notifications_expired.add(count as u64);
            tracing::info!(count, "expired notifications were forgotten");
        }
    };
    every(&server, server.settings.times.notification_expiry_interval.0, forget).await;
}

async fn expire(server: &Server) -> Result<u64> {
    let before = server.expires_before(now());
    let (mut cursor, mut deleted) = (ExpiryCursor::default(), 0_u64);
    loop {
        let page = server
            .store
            .write_beside_records(move |store| store.expire_messages(before, cursor, MESSAGES_PER_STEP))
            .await?;
        server.metrics.messages_expired.add(page.deleted);
        deleted = deleted.saturating_add(page.deleted);
        match page.next {
            Some(next) => cursor = next,
            None => return Ok(deleted),
        }
    }
}

fn report(expired: Result<u64>) {
    match expired {
        Ok(0) => {}
        Ok(count) => tracing::info!(count, "expired messages were removed"),
        Err(error) => tracing::error!(%error, "expired messages could not be removed"),
    }
}
