//! Tests of servers, whether they are kept or not: connect, look, and say what was found.

use anyhow::Context as _;
use protocol::net::network::{Limits, Network, NetworkSettings, Routing};

use crate::engine::{call_error_kind, chain};
use crate::error::CommandError;
use crate::event::Event;
use crate::network::NetworkChoice;
use crate::query;

/// Connects to a server, by the way out of the machine that was chosen, and checks its identity and versions.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn server(address: &str, choice: &NetworkChoice) -> Result<Event, CommandError> {
    let server = query::parse_server(address)?.server;
    let runtime = runtime()?;
    let settings = NetworkSettings {
        limits: Limits::INTERACTIVE,
        dialer: choice.dialer()?,
        // The server itself is tested, not another one that forwards to it.
        routing: Routing::default(),
        services: None,
    };
    let (network, _events) = Network::new(settings, runtime.handle().clone());
    runtime
        .block_on(network.ping(&server))
        .map_err(|error| CommandError::new(call_error_kind(&error), chain(&error)))?;
    let detail = "reached; its identity is the one that the address names".to_owned();
    Ok(Event::Check { name: server.to_string(), ok: true, detail })
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("Unable to start")
}
