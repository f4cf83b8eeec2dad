//! `smp-bench`: measures a queue server as its clients see it, with TLS, all encryption and durability on.
//!
//! ```text
//! cli ─▶ subject (a server of its own, or one at an address) ─▶ phases ─▶ report
//!                         limits (disk, ciphers)  peers (Redis, NATS) ──────┘
//! ```

mod cli;
mod connection;
mod limits;
mod measure;
mod pair;
mod peers;
mod phases;
mod progress;
mod queue;
mod report;
mod subject;
mod targets;
mod traffic;
mod usage;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    match cli::run(cli::Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
