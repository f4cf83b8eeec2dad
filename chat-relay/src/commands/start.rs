//! `chat-relay start`: runs until SIGTERM or SIGINT. As one of several workers it begins anew when the database was away,
//! or when others took it for dead.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use daemon::supervision;
use protocol::net::engine::{self, EngineError, EngineHandle};
use protocol::net::network::NetworkSettings;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::{address_link, network_limits};
use crate::cli::GlobalArgs;
use crate::config::{ConfigArgs, ConfigFile, Settings};
use crate::control::CONTROL_SOCKET;
use crate::directory::Directory;
use crate::identity::RelayIdentity;
use crate::relay::{Command, Notice, Relay};
use crate::store::sql::{Access, SqlStore};
use crate::store::workers::WorkerStore as _;
use crate::store::{RelayStore as _, StoreError};
use crate::{control, monitoring, output, recovery, store_config};

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
    let _lock = directory.lock()?;
    let Some(access) = settings.store.access(&directory)? else {
        return serve(global, &directory, &settings, settings.store.open(&directory)?);
    };
    let (mut was_up, mut pause) = (false, PAUSE_MIN);
    loop {
        let begun = Instant::now();
        let ended = work(global, &directory, &settings, &access, &mut was_up);
        let Err(error) = ended else { return Ok(()) };
        if !was_up || !may_begin_anew(&error) {
            return Err(error);
        }
        if begun.elapsed() > PAUSE_MAX {
            pause = PAUSE_MIN;
        }
        tracing::error!(error = format!("{error:#}"), "the worker begins anew from what is stored");
        if wait(pause)? {
            return Ok(());
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Runs as one of several workers, and gives everything back at the end.
fn work(
    global: &GlobalArgs,
    directory: &Directory,
    settings: &Settings,
    access: &Access,
    was_up: &mut bool,
) -> anyhow::Result<()> {
    let mut store = store_config::connect(access)?;
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = format!("{}:{}", host.trim(), std::process::id());
    let worker = store.join(&name, settings.store.lease()).context("Unable to join the other workers")?;
    *was_up = true;
    serve(global, directory, settings, store)?;
    // Should this fail, others take over when they hear nothing for long enough.
    if let Err(error) = SqlStore::connect(access).and_then(|mut store| store.leave(worker)) {
        tracing::warn!(%error, "other workers will wait before they take over");
    }
    Ok(())
}

/// Whether the database, or the other workers, ended it.
fn may_begin_anew(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(EngineError::Failed(_)))
        || matches!(error.downcast_ref(), Some(StoreError::Postgres(_) | StoreError::Dispossessed))
}

/// Waits a while; says whether the program is to end meanwhile.
fn wait(time: Duration) -> anyhow::Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut signals = Signals::listen()?;
        Ok(tokio::time::timeout(time, signals.any()).await.is_ok())
    })
}

/// Runs until it is told to end, or something fails.
fn serve(
    global: &GlobalArgs,
    directory: &Directory,
    settings: &Settings,
    mut store: SqlStore,
) -> anyhow::Result<()> {
    let identity = RelayIdentity::from_settings(settings)?;
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
    // A service has one session with a server, so several workers are none: each subscribes its own queues.
    let services = (!store.is_shared()).then(|| store.services()).transpose();
    let services = services.context("Unable to read as whom the relay is known to its servers")?;
    let network = settings.network.settings(network_limits(&settings.limits), identity.server.clone())?;
    let network = NetworkSettings { services, ..network };
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
    // It is in the operator's hands now. Whether its server is reached, `/ready` tells: that may take as long as it likes.
    supervision::ready();
    runtime.block_on(run_engine(handle, notices, |notice| match notice {
        Notice::Ready => {
            let monitoring = monitored_at.map(|at| at.to_string());
            let at = monitoring.iter().map(|at| format!("Monitoring at http://{at}/metrics\n"));
            let text =
                format!("Relay address: {address}\n{}Ready: owners can invite it", at.collect::<String>());
            output::print(json, &text, &Ready { r#type: "ready", address: &address, monitoring })
        }
    }))
}

/// Pauses before a worker begins anew.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// How long the end may take: the batch in hand, and answers to what was sent.
const STOP_TIME: Duration = Duration::from_secs(10);
/// Sessions with servers: the database is on a thread of its own.
const WORKER_THREADS: usize = 2;

/// What asks a program to end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("Unable to listen for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("Unable to listen for SIGINT")?,
        })
    }

    async fn any(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

async fn run_engine(
    mut handle: EngineHandle<Command>,
    mut notices: mpsc::UnboundedReceiver<Notice>,
    tell: impl Fn(Notice) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    loop {
        tokio::select! {
            ended = handle.stopped() => return ended.context("The relay stopped"),
            Some(notice) = notices.recv() => tell(notice)?,
            () = signals.any() => break,
        }
    }
    tracing::info!("stopping");
    supervision::stopping(STOP_TIME);
    handle.stop().await.context("The relay stopped")
}
