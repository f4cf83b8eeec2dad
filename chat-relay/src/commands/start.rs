//! `chat-relay start`: runs until SIGTERM or SIGINT.

use std::time::Duration;

use anyhow::Context as _;
use daemon::supervision;
use protocol::net::engine::{self, EngineHandle};
use protocol::net::network::NetworkSettings;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::{address_link, network_limits};
use crate::cli::GlobalArgs;
use crate::config::{ConfigArgs, ConfigFile};
use crate::control::CONTROL_SOCKET;
use crate::directory::Directory;
use crate::identity::RelayIdentity;
use crate::relay::{Command, Notice, Relay};
use crate::store::RelayStore as _;
use crate::store::sql::SqlStore;
use crate::{control, monitoring, output, recovery};

/// The line on stdout that says: owners can invite now.
#[derive(Serialize)]
struct Ready<'a> {
    r#type: &'static str,
    address: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    monitoring: Option<String>,
}

pub(super) fn run(global: &GlobalArgs, args: ConfigArgs) -> anyhow::Result<()> {
    let directory = Directory::choose(global.directory.as_deref())?;
    directory.open()?;
    let settings = args.over(ConfigFile::read(&directory)?)?.settings()?;
    let identity = RelayIdentity::from_settings(&settings)?;
    let lock = directory.lock()?;
    let mut store = SqlStore::open(&directory.database())
        .with_context(|| format!("Unable to open {}", directory.database().display()))?;
    let address = address_link(&mut store)?.to_string();
    let renewed = recovery::renew_keys(&mut store)
        .map_err(anyhow::Error::from_boxed)
        .context("Unable to begin with new keys after a restore")?;
    if renewed > 0 {
        tracing::warn!(
            connections = renewed,
            "a backup was brought back: agreeing on new keys with everybody"
        );
    }

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .enable_all()
        .build()
        .context("Unable to start the runtime")?;
    let services = store.services().context("Unable to read as whom the relay is known to its servers")?;
    let network = settings.network.settings(network_limits(&settings.limits), identity.server.clone())?;
    let network = NetworkSettings { services: Some(services), ..network };
    let (notify, notices) = mpsc::unbounded_channel();
    let monitored = settings.monitoring_http.map(monitoring::listen);
    let monitored = monitored.map(|listening| runtime.block_on(listening)).transpose()?;
    let monitored_at = monitored.as_ref().map(TcpListener::local_addr).transpose()?;
    let labels = settings.monitoring_labels;
    let relay = Relay::new(store, identity, settings.limits, notify);
    let metrics = relay.metrics();
    let handle =
        engine::start(relay, network, runtime.handle()).context("Unable to start the relay's thread")?;
    let json = global.json;
    let control = runtime.block_on(async { control::open(&directory.path().join(CONTROL_SOCKET)) });
    if let Some(socket) = control {
        runtime.spawn(control::serve(socket, handle.commands()));
    }
    if let Some(listener) = monitored {
        runtime.spawn(monitoring::serve(listener, handle.commands(), metrics, labels));
    }
    let ended = runtime.block_on(serve(handle, notices, |notice| match notice {
        Notice::Ready => {
            supervision::ready();
            let monitoring = monitored_at.map(|at| at.to_string());
            let at = monitoring.iter().map(|at| format!("Monitoring at http://{at}/metrics\n"));
            let text =
                format!("Relay address: {address}\n{}Ready: owners can invite it", at.collect::<String>());
            output::print(json, &text, &Ready { r#type: "ready", address: &address, monitoring })
        }
    }));
    drop(lock);
    ended
}

/// How long the end may take: the batch in hand, and answers to what was sent.
const STOP_TIME: Duration = Duration::from_secs(10);
/// Sessions with servers: the database is on a thread of its own.
const WORKER_THREADS: usize = 2;

async fn serve(
    mut handle: EngineHandle<Command>,
    mut notices: mpsc::UnboundedReceiver<Notice>,
    tell: impl Fn(Notice) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("Unable to listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("Unable to listen for SIGINT")?;
    loop {
        tokio::select! {
            ended = handle.stopped() => return ended.context("The relay stopped"),
            Some(notice) = notices.recv() => tell(notice)?,
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    tracing::info!("stopping");
    supervision::stopping(STOP_TIME);
    handle.stop().await.context("The relay stopped")
}
