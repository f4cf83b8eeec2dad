//! `conclave`: private groups over queue servers and replaceable relays, from the command line.
//!
//! ```text
//! commands ── request ──▶ session ──▶ control socket of a listening process, or
//!                                     engine: protocol::agent + protocol::group + store, driven by protocol::net
//! output   ◀── events ─────────────────┘
//! ```
//!
//! The engine knows no terminal, the commands know no protocol; between them stand [`request`] and [`event`].

#![forbid(unsafe_code)]

/// Points at which a test build can be made to abort; see `protocol::crash`.
pub const CRASH_POINTS: &[&str] = &[
    "client.bulk.asked",
    "client.bulk.double",
    "client.bulk.ready",
    "client.group.ended",
    "client.group.link_created",
    "client.group.stored",
    "client.history.asked",
    "client.history.gap",
    "client.history.given",
    "client.history.page",
    "client.join.admitted",
    "client.join.waiting",
    "client.join.asked",
    "client.join.connected",
    "client.join.stored",
    "client.link.writing",
    "client.link.written",
    "client.receive.applied",
    "client.receive.message",
    "client.relay.accepted",
    "client.relay.acknowledged",
    "client.relay.active",
    "client.relay.chosen",
    "client.relay.connected",
    "client.relay.invited",
    "client.relay.left",
    "client.relay.removed",
    "client.relay.removing",
    "client.relay.verified",
    "client.restore.followed",
    "client.roster.sent",
    "client.roster.taken",
    "client.send.durable",
    "client.send.stored",
];

mod archive;
mod cli;
mod commands;
mod control;
mod engine;
mod entrance;
mod error;
mod event;
mod exit_code;
pub mod headless;
mod home;
mod network;
mod output;
mod probe;
mod query;
mod render;
mod request;
mod rows;
mod seal;
mod secrets;
mod session;
mod store;

use std::io::IsTerminal as _;

use clap::Parser as _;
use tracing_subscriber::EnvFilter;

/// Runs the command line and says how it ended.
#[must_use]
pub fn run() -> std::process::ExitCode {
    let cli = cli::Cli::parse();
    let output = output::Output::new(cli.global.json);
    match start_logging(cli.global.log.as_deref()).and_then(|()| commands::run(cli)) {
        Ok(()) => exit_code::ExitCode::Success.into(),
        Err(error) => {
            output.error(&error);
            error.kind.into()
        }
    }
}

fn start_logging(filter: Option<&str>) -> Result<(), error::CommandError> {
    let Some(text) = filter else { return Ok(()) };
    let filter = EnvFilter::try_new(text).map_err(|_| {
        let message = format!("{text:?} says not what to log");
        error::CommandError::new(exit_code::ExitCode::Usage, message)
            .hint("Write --log like `info`, `debug` or `protocol::net=debug`.")
    })?;
    // No colours where they are not wanted: https://no-color.org
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    log.with_ansi(std::io::stderr().is_terminal() && !plain).init();
    Ok(())
}
