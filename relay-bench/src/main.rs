//! Measures a chat relay with a real queue server: TLS, a ratchet for each member, a database on disk.
//!
//! ```text
//! server     a process of smp-server in a directory of its own
//! seed       members' queues on it, and a group of them in the relay's database: no handshakes
//! run        the relay's engine; the owner posts; first copy, last answer, processor time
//! usage      processor time of the relay's threads, memory
//! ciphers    what encryption alone costs
//! ```

#![forbid(unsafe_code)]

mod ciphers;
mod run;
mod seed;
mod server;
mod usage;

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Parser;

/// Measures how fast and at what cost a chat relay hands a message out to all members of a group.
#[derive(Debug, Parser)]
struct Cli {
    /// Members of the group
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
    /// The server program [default: smp-server beside this program]
    #[arg(long)]
    server: Option<PathBuf>,
    /// A few members only: to see that it works
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
    let plan = run::Plan {
        members: if cli.quick { 40 } else { cli.members },
        posts: if cli.quick { 2 } else { cli.posts },
        burst: if cli.quick { 5 } else { cli.burst },
        text_bytes: cli.text_bytes,
    };
    run::run(&program, &plan, cli.json)
}
