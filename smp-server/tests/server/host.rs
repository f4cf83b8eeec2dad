//! A server inside the test, on a free port of the loopback.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::smp::address::ServerAddress;
use protocol::smp::host::Host as ProtocolHost;
use protocol::smp::password::BasicAuth;
use smp_server::config::{Engine, SettingsLayer};
use smp_server::identity::Identity;
use smp_server::server::{self, Server};
use smp_server::store::{MemoryStore, QueueStore, SqliteStore, Store};
use tokio::task::JoinHandle;

pub(crate) use smp_conformance::place::Place;

/// What tests have unless they say otherwise: short waits, as the suites of other implementations.
const BASE: &str = r#"
[listen]
bind = "127.0.0.1"
ports = 0
[limits]
queue_quota = 4
[times]
event_interval = "20ms"
"#;

/// How long anything may take before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// A running server.
pub(crate) struct Host {
    place: Place,
    server: Arc<Server>,
    running: JoinHandle<()>,
}

impl Host {
    /// A server in memory with more settings.
    pub(crate) async fn start(settings: &str) -> Self {
        let identity = Identity::generate("127.0.0.1").unwrap().identity;
        Self::start_with(&format!("{settings}\n[storage]\nengine = \"memory\""), &identity, None, None).await
    }

    /// The same with a password for creating queues.
    pub(crate) async fn start_closed(password: &BasicAuth) -> Self {
        let identity = Identity::generate("127.0.0.1").unwrap().identity;
        Self::start_with("[storage]\nengine = \"memory\"", &identity, None, Some(password.clone())).await
    }

    /// Its address.
    pub(crate) fn server_address(&self) -> ServerAddress {
        server_address(&self.place)
    }

    /// A server whose queues are in a directory, and outlive it.
    pub(crate) async fn start_in(directory: &Path, settings: &str, identity: &Identity) -> Self {
        Self::start_with(settings, identity, Some(directory), None).await
    }

    async fn start_with(
        settings: &str,
        identity: &Identity,
        directory: Option<&Path>,
        password: Option<BasicAuth>,
    ) -> Self {
        let layer = |text: &str| toml::from_str::<SettingsLayer>(text).unwrap();
        let settings = layer(settings).over(layer(BASE)).settle().unwrap();
        let engine: Box<dyn QueueStore> = match (settings.storage.engine, directory) {
            (Engine::Embedded, Some(directory)) => {
                Box::new(SqliteStore::open(&directory.join("queues.db"), &settings.storage).unwrap())
            }
            _ => Box::new(MemoryStore::new()),
        };
        let (store, threads) = Store::start(engine, &settings.storage).unwrap();
        let listeners = server::listen(&settings).unwrap();
        let address = listeners[0].local_addr().unwrap();
        let server = Arc::new(Server::new(settings, identity, store, password).unwrap());
        if let Some(directory) = directory {
            server.limits.storage.watch(directory);
        }
        let running = tokio::spawn(server::run(server.clone(), listeners, threads));
        Self { place: Place { address, key_hash: identity.key_hash() }, server, running }
    }

    /// The server itself, for what its operator does.
    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    /// Waits until this holds.
    pub(crate) async fn until(&self, holds: impl Fn(&Server) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(&self.server) {
            assert!(Instant::now() < deadline, "it never came to that");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Stops it gracefully.
    pub(crate) async fn stop(self) {
        let Self { server, running, .. } = self;
        server.stop();
        drop(server);
        running.await.unwrap();
    }
}

/// The address of a server by its IP address.
pub(crate) fn server_address(server: &impl AsRef<Place>) -> ServerAddress {
    let Place { address, key_hash } = *server.as_ref();
    let host = match address.ip() {
        IpAddr::V4(ip) => ProtocolHost::Ipv4(ip),
        IpAddr::V6(ip) => ProtocolHost::Ipv6(ip),
    };
    ServerAddress::new(vec![host], Some(address.port()), key_hash.into()).unwrap()
}

impl AsRef<Place> for Host {
    fn as_ref(&self) -> &Place {
        &self.place
    }
}
