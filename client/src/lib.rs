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

mod archive;
mod cli;
mod commands;
mod control;
mod engine;
mod entropy;
mod error;
mod event;
mod exit_code;
mod home;
mod output;
mod probe;
mod query;
mod render;
mod request;
mod sanitize;
mod seal;
mod secrets;
mod session;
mod store;

use clap::Parser as _;
use tracing_subscriber::EnvFilter;

/// Runs the command line and says how it ended.
#[must_use]
pub fn run() -> std::process::ExitCode {
    let cli = cli::Cli::parse();
    if let Some(filter) = &cli.global.log {
        let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    }
    let output = output::Output::new(cli.global.json);
    match commands::run(cli) {
        Ok(()) => exit_code::ExitCode::Success.into(),
        Err(error) => {
            output.error(&error);
            error.kind.into()
        }
    }
}
