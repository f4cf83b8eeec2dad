//! The side listener for monitoring: `/metrics`, `/health`, `/ready`.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::Context as _;
use daemon::http::Bounds;
use daemon::monitoring::{Monitored, router};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::config::Settings;
use crate::server::Server;

/// A scraper and a few probes; each asks and goes.
const BOUNDS: Bounds = Bounds { connections: 32, lifetime: Duration::from_secs(30) };
/// A store that takes longer for an empty group serves nobody.
const STORE_PATIENCE: Duration = Duration::from_secs(2);

/// Opens the listener, if the settings name one.
pub(crate) async fn listen(settings: &Settings) -> anyhow::Result<Option<TcpListener>> {
    let Some(address) = settings.monitoring.http.0 else { return Ok(None) };
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("Unable to listen at {address} for monitoring: choose another --monitoring-http")
    })?;
    Ok(Some(listener))
}

/// Serves until the future is dropped.
pub(crate) async fn serve(server: Weak<Server>, listener: TcpListener) {
    daemon::http::serve(listener, router(Arc::new(Watched(server))), BOUNDS, std::future::pending()).await;
}

/// The address that was taken, for port 0.
pub(crate) fn address(listener: Option<&TcpListener>) -> Option<SocketAddr> {
    listener.and_then(|listener| listener.local_addr().ok())
}

/// A server for as long as it is there.
struct Watched(Weak<Server>);

impl Monitored for Watched {
    async fn metrics(self: Arc<Self>) -> String {
        let Some(server) = self.0.upgrade() else { return String::new() };
        let rendered = tokio::task::spawn_blocking(move || server.render_metrics());
        rendered.await.unwrap_or_default()
    }

    async fn readiness(self: Arc<Self>) -> Result<(), String> {
        let Some(server) = self.0.upgrade().filter(|server| !server.is_stopping()) else {
            return Err("stopping: takes no new connections".to_owned());
        };
        match timeout(STORE_PATIENCE, server.store.write_beside_records(|_| Ok(()))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(format!("not able to store: {error}")),
            Err(_) => Err("the store does not answer".to_owned()),
        }
    }
}
