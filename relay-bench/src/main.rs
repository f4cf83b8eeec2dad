//! Measures a chat relay with a real queue server: TLS, a ratchet for each member, a database on disk.
//!
//! ```text
//! phases/   what is measured, a file each       world     server, relays, who posts and listens
//! seed      groups that stand: no handshakes    joiners   people who join, with handshakes
//! usage     processor time of the relay's threads, memory          ciphers   what encryption alone costs
//! wire      counts bytes between the relay and its server          targets   what is to be reached
//! ```

#![forbid(unsafe_code)]

mod ciphers;
mod database;
mod joiners;
mod phases;
mod report;
mod seed;
mod server;
mod targets;
mod usage;
mod wire;
mod world;

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Parser, ValueEnum as _};

use crate::database::Engine;
use crate::phases::{Phase, Plan};
use crate::report::Report;

/// Measures how fast and at what cost a chat relay hands messages out, takes members in and comes back after a restart.
///
/// Starts servers and relays of its own. A machine that does other work at the same time gives worse figures: processor
/// time is then the steadier measure; "load" tells how busy it was.
#[derive(Debug, Parser)]
struct Cli {
    /// Phases to run, joined by commas; all when not given
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PHASES")]
    phases: Vec<Phase>,
    /// Members of the group in `delivery`, and of the huge group in `fairness`
    #[arg(long, default_value_t = 10_000)]
    members: u32,
    /// Messages posted one after another, each when all have the one before
    #[arg(long, default_value_t = 3)]
    posts: u32,
    /// Short messages posted at once at the end
    #[arg(long, default_value_t = 20)]
    burst: u32,
    /// Bytes of a post's text
    #[arg(long, default_value_t = 500)]
    text_bytes: usize,
    /// People who join in `joins`, and at each size of `growth`
    #[arg(long, default_value_t = 1_000)]
    joiners: u32,
    /// Members at the largest size of `growth`, and of `storage`
    #[arg(long, default_value_t = 3_000)]
    growth_members: u32,
    /// Queues of the relay in `resubscription`
    #[arg(long, default_value_t = 20_000)]
    queues: u32,
    /// What keeps the relay's state; with both each phase runs on each, and their ratio is told
    #[arg(long, value_enum, value_delimiter = ',', value_name = "STORES", default_value = "sqlite")]
    store: Vec<Engine>,
    /// The server program [default: smp-server beside this program]
    #[arg(long)]
    server: Option<PathBuf>,
    /// Small sizes only: to see that it works
    #[arg(long)]
    quick: bool,
    /// One JSON object per line
    #[arg(long)]
    json: bool,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let program = match cli.server {
        Some(program) => program,
        None => std::env::current_exe().context("Unable to find this program")?.with_file_name("smp-server"),
    };
    let sized = |size: u32, quick: u32| if cli.quick { quick } else { size };
    let plan = |store: Engine| Plan {
        program: program.clone(),
        store,
        members: sized(cli.members, 20),
        posts: sized(cli.posts, 2),
        burst: sized(cli.burst, 5),
        text_bytes: cli.text_bytes,
        joiners: sized(cli.joiners, 3),
        growth_members: sized(cli.growth_members, 12),
        queues: sized(cli.queues, 10),
    };
    let mut report = Report::new(cli.json);
    let phases = if cli.phases.is_empty() { Phase::value_variants().to_vec() } else { cli.phases };
    for phase in phases {
        for store in cli.store.iter().filter(|store| phase.is_for(**store)) {
            report.begin(*store);
            phase.run(&plan(*store), &mut report).with_context(|| format!("The phase {phase:?} failed"))?;
        }
    }
    report.stores();
    report.targets();
    Ok(())
}
