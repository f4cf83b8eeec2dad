//! `smp-server start`

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use protocol::base64url;
use protocol::smp::password::BasicAuth;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use daemon::supervision;

use super::{Place, engine, identity, say, server_address};
use crate::cluster;
use crate::config::{Engine, Settings, SettingsLayer};
use crate::control;
use crate::error::CommandError;
use crate::identity::Identity;
use crate::monitoring;
use crate::reload::Reload;
use crate::saved_notifications;
use crate::server::{self, Server};
use crate::store::{QueueStore, Store};
use crate::web::{Door, Web};

/// Serve until SIGINT or SIGTERM.
///
/// Logs go to stderr. Once it listens, a line on stdout says where.
#[derive(Debug, Args)]
pub(super) struct StartArgs {
    #[command(flatten)]
    settings: SettingsLayer,
}

pub(super) fn run(place: &Place, args: StartArgs) -> anyhow::Result<()> {
    let StartArgs { settings } = args;
    log_to_stderr(place)?;
    let layer = settings.clone();
    let settings = place.settings(settings)?;
    let directory = place.directory();
    let identity = identity(&settings, &directory)?;
    let create_password = directory.create_password(&settings.access)?;
    let _lock = directory.lock()?;
    let engine = engine::open(&settings, &directory)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(start(place, layer, settings, &identity, create_password, engine))
}

async fn start(
    place: &Place,
    flags: SettingsLayer,
    settings: Settings,
    identity: &Identity,
    create_password: Option<BasicAuth>,
    engine: Box<dyn QueueStore>,
) -> anyhow::Result<()> {
    let directory = place.directory();
    let keeps_queues = settings.storage.engine != Engine::Memory;
    let nodes = engine.join_nodes(settings.storage.node_lease.0);
    let (store, threads) = Store::start(engine, &settings.storage)?;
    let listeners = server::listen(&settings)?;
    let monitoring = monitoring::listen(&settings).await?;
    let server = Arc::new(Server::new(settings, identity, store, create_password)?);
    let address = address(&server, identity.key_hash(), &listeners)?;
    if server.settings.web.is_on() {
        server.show(Web::open(&server, &directory, &address)?);
    }
    if keeps_queues {
        server.limits.storage.watch(directory.path());
    }
    let joined = match nodes {
        Some(nodes) => Some(cluster::join(&server, nodes).await?),
        None => None,
    };
    let saved = directory.saved_notifications();
    let keeps_notifications = server.settings.storage.save_notifications.0 && keeps_queues;
    if keeps_notifications && let Err(error) = saved_notifications::restore(&server, &saved).await {
        tracing::error!("notifications of before are lost: {error:#}");
    }
    let notifications = server.notifications.clone();
    // Before anybody is told that the server runs: from then on it can be asked to stop.
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut hang_up = signal(SignalKind::hangup())?;
    let control_socket = control::open(&directory.join(control::CONTROL_SOCKET.as_ref()));
    announce(place, &server, &address, identity.key_hash(), &listeners, monitoring.as_ref())?;
    supervision::ready();
    let again = place.clone();
    let reload = Arc::new(Reload::new(directory, move || again.settings(flags.clone()), address));

    // `run` closes the store when nobody else holds the server: beside it there are weak holders only.
    let seen = Arc::downgrade(&server);
    let watched = async {
        match monitoring {
            Some(listener) => monitoring::serve(seen.clone(), listener).await,
            None => std::future::pending().await,
        }
    };
    let controlled = async {
        match control_socket {
            Some(socket) => control::serve(socket, seen.clone(), reload.clone()).await,
            None => std::future::pending().await,
        }
    };
    let (begun, stop_timeout) = (server.stopping(), server.settings.times.stop_timeout.0);
    let running = server::run(server, listeners, threads);
    let stopping = async {
        loop {
            tokio::select! {
                _ = interrupt.recv() => break,
                _ = terminate.recv() => break,
                _ = hang_up.recv() => {
                    if let Some(server) = seen.upgrade() {
                        // What went wrong is in the log.
                        let _ = reload.run(&server);
                    }
                }
            }
        }
        if let Some(server) = seen.upgrade() {
            server.stop();
        }
        // From here on the server itself ends.
        std::future::pending::<()>().await;
    };
    let (mut begun, patience) = (begun, stop_timeout);
    let supervised = async {
        begun.requested().await;
        tracing::info!("stopping");
        supervision::stopping(patience);
        std::future::pending::<()>().await;
    };
    // Monitoring sees the server to its end.
    tokio::select! {
        () = running => {}
        () = stopping => {}
        () = supervised => {}
        () = watched => {}
        () = controlled => {}
    }
    if let Some(threads) = joined
        && tokio::task::spawn_blocking(|| threads.join()).await.is_err()
    {
        tracing::error!("the node did not leave the others properly");
    }
    if keeps_notifications {
        saved_notifications::save(&notifications, &saved)?;
    }
    tracing::info!("stopped");
    Ok(())
}

/// What clients are given.
fn address(server: &Server, key_hash: [u8; 32], listeners: &[TcpListener]) -> anyhow::Result<String> {
    let first = listeners.first().context("At least one port is needed")?;
    let address = server_address(&server.settings, key_hash, first.local_addr()?.port(), None)?;
    Ok(address.to_string())
}

/// Says on stdout where the server listens, for people and for programs that started it.
fn announce(
    place: &Place,
    server: &Server,
    address: &str,
    key_hash: [u8; 32],
    listeners: &[TcpListener],
    monitoring: Option<&TcpListener>,
) -> anyhow::Result<()> {
    let sockets: Vec<SocketAddr> = listeners.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?;
    let port = sockets.first().map(SocketAddr::port).context("At least one port is needed")?;
    let web = server.web().map(Web::sockets).unwrap_or_default();
    let key_hash = base64url::encode(&key_hash);
    if place.json {
        let sockets: Vec<String> = sockets.iter().map(SocketAddr::to_string).collect();
        let line = json!({
            "type": "listening",
            "address": address,
            "fingerprint": key_hash,
            "port": port,
            "sockets": sockets,
            "monitoring": monitoring::address(monitoring).map(|address| address.to_string()),
            "web": web.iter().map(|(_, socket)| socket.to_string()).collect::<Vec<_>>(),
        });
        say(line)?;
    } else {
        say(format_args!("Server address: {address}"))?;
        for socket in sockets {
            say(format_args!("Listening on {socket}"))?;
        }
        for (door, socket) in web {
            let scheme = if *door == Door::Https { "https" } else { "http" };
            say(format_args!("Web pages at {scheme}://{socket}/"))?;
        }
        if let Some(address) = monitoring::address(monitoring) {
            say(format_args!("Monitoring at http://{address}/metrics"))?;
        }
    }
    Ok(())
}

fn log_to_stderr(place: &Place) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&place.log).map_err(|_| CommandError::Setting {
        name: "log",
        reason: format!("cannot be {:?}: write it like `info` or `smp_server=debug`", place.log),
    })?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if place.log_json {
        log.json().init();
    } else {
        // No colours where they are not wanted: https://no-color.org
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        log.with_ansi(std::io::stderr().is_terminal() && !plain).init();
    }
    Ok(())
}
