//! `chat-relay start`: runs until SIGTERM or SIGINT.

use anyhow::Context as _;
use protocol::net::engine::{self, EngineHandle};
use protocol::net::network;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::address_link;
use crate::cli::GlobalArgs;
use crate::config::{ConfigArgs, ConfigFile, Limits};
use crate::control::CONTROL_SOCKET;
use crate::directory::Directory;
use crate::identity::RelayIdentity;
use crate::relay::{Command, Notice, Relay};
use crate::store::sqlite::SqliteStore;
use crate::{control, output};

/// The line on stdout that says: owners can invite now.
#[derive(Serialize)]
struct Ready<'a> {
    r#type: &'static str,
    address: &'a str,
}

pub(super) fn run(global: &GlobalArgs, args: ConfigArgs) -> anyhow::Result<()> {
    let directory = Directory::choose(global.directory.as_deref())?;
    directory.open()?;
    let settings = args.over(ConfigFile::read(&directory)?)?.settings()?;
    let identity = RelayIdentity::from_settings(&settings)?;
    let lock = directory.lock()?;
    let mut store = SqliteStore::open(&directory.database())
        .with_context(|| format!("Unable to open {}", directory.database().display()))?;
    let address = address_link(&mut store)?.to_string();

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .enable_all()
        .build()
        .context("Unable to start the runtime")?;
    let network = settings.network.settings(network_limits(&settings.limits), identity.server.clone())?;
    let (notify, notices) = mpsc::unbounded_channel();
    let relay = Relay::new(store, identity, settings.limits, notify);
    let handle =
        engine::start(relay, network, runtime.handle()).context("Unable to start the relay's thread")?;
    let json = global.json;
    let control = runtime.block_on(async { control::open(&directory.path().join(CONTROL_SOCKET)) });
    if let Some(socket) = control {
        runtime.spawn(control::serve(socket, handle.commands()));
    }
    let ended = runtime.block_on(serve(handle, notices, |notice| match notice {
        Notice::Ready => {
            let text = format!("Relay address: {address}\nReady: owners can invite it");
            output::print(json, &text, &Ready { r#type: "ready", address: &address })
        }
    }));
    drop(lock);
    ended
}

/// Sessions with servers: the database is on a thread of its own.
const WORKER_THREADS: usize = 2;

fn network_limits(limits: &Limits) -> network::Limits {
    network::Limits { connect: limits.connect_timeout.to_std(), answer: limits.answer_timeout.to_std() }
}

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
    handle.stop().await.context("The relay stopped")
}
