//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Parser, ValueEnum as _};
use protocol::smp::SENT_BODY_BYTES_MAX;
use tokio::signal::unix::{SignalKind, signal};

use crate::connection::Target;
use crate::measure::Measurement;
use crate::phases::{self, Phase, Plan};
use crate::queue::KeyKind;
use crate::subject::Subject;
use crate::{limits, peers, report};

/// Measure a queue server as its clients see it: TLS, all encryption and durability on.
///
/// Starts a server in a directory of its own, the `smp-server` beside this program unless told otherwise, and runs
/// one phase after another against it. A machine that does other work at the same time gives worse figures: processor
/// time per operation is then the steadier measure. The column "load" tells how busy it was.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Arguments {
    /// The server program to start.
    #[arg(long, value_name = "FILE", conflicts_with = "address")]
    server: Option<PathBuf>,
    /// A further flag for `smp-server start`; may be given several times.
    #[arg(long, value_name = "FLAG", allow_hyphen_values = true)]
    server_flag: Vec<String>,
    /// Measure the server at this address (smp://…) instead: without its processor time, memory and restart.
    #[arg(long, value_name = "ADDRESS")]
    address: Option<String>,
    /// Where the server's directory is made: on the disk that is to be measured.
    #[arg(long, value_name = "DIRECTORY")]
    within: Option<PathBuf>,
    /// Phases to run, joined by commas; all when not given.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PHASES")]
    phases: Vec<Phase>,
    /// Small sizes: a look whether everything works, in seconds.
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// The sizes of the targets, with a million queues and messages: some ten minutes, and 18 GB of disk for `store`.
    #[arg(long)]
    full: bool,
    /// Time of each phase that runs by time, in seconds.
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<u64>,
    /// Connections that send or receive at a time.
    #[arg(long, value_name = "COUNT")]
    connections: Option<usize>,
    /// Commands that each connection has on their way at once.
    #[arg(long, value_name = "COUNT")]
    window: Option<usize>,
    /// Queues that are made: by `queues` and by `store`.
    #[arg(long, value_name = "COUNT")]
    queues: Option<usize>,
    /// Messages that wait when `store` kills the server: 16 KB of disk each.
    #[arg(long, value_name = "COUNT")]
    messages: Option<usize>,
    /// Connections that do nothing, for their memory.
    #[arg(long, value_name = "COUNT")]
    idle: Option<usize>,
    /// Messages per second of the steady phase.
    #[arg(long, value_name = "COUNT")]
    rate: Option<u32>,
    /// Bytes of a message's body, at most 16,048.
    #[arg(long, value_name = "BYTES", default_value_t = SENT_BODY_BYTES_MAX)]
    body: usize,
    /// Keys of recipients and senders.
    #[arg(long, value_enum, default_value = "x25519")]
    keys: KeyKind,
    /// Measure Redis and NATS with the same payload too, if they are installed.
    #[arg(long)]
    peers: bool,
    /// One line of JSON for each phase instead of a table.
    #[arg(long)]
    json: bool,
}

/// Phases fill queues, and do everything as fast as they can, on purpose.
const WITHOUT_LIMITS: &[&str] = &[
    "--queue-quota=1000000",
    "--connections=100000",
    "--handshakes-per-second=0",
    "--commands-per-second=0",
    "--queues-per-minute=0",
];

impl Arguments {
    fn plan(&self) -> Plan {
        let standard = match (self.quick, self.full) {
            (true, _) => Plan::QUICK,
            (false, true) => Plan::FULL,
            (false, false) => Plan::STANDARD,
        };
        Plan {
            time: self.seconds.map_or(standard.time, Duration::from_secs),
            connections: self.connections.unwrap_or(standard.connections).max(1),
            window: self.window.unwrap_or(standard.window).max(1),
            queues: self.queues.unwrap_or(standard.queues).max(1),
            stored_queues: self.queues.unwrap_or(standard.stored_queues).max(1),
            messages: self.messages.unwrap_or(standard.messages),
            idle: self.idle.unwrap_or(standard.idle).max(1),
            rate: self.rate.unwrap_or(standard.rate).max(1),
            body_bytes: self.body.clamp(8, SENT_BODY_BYTES_MAX),
            keys: self.keys,
            ..standard
        }
    }

    fn subject(&self) -> anyhow::Result<Subject> {
        if let Some(address) = &self.address {
            return Subject::at(address);
        }
        let program = match &self.server {
            Some(program) => program.clone(),
            None => beside_this_program()?,
        };
        let mut flags = self.server_flag.clone();
        flags.extend(WITHOUT_LIMITS.iter().map(ToString::to_string));
        Subject::start(program, flags, self.within.as_ref())
    }
}

pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let plan = arguments.plan();
    let chosen = if arguments.phases.is_empty() { Phase::value_variants() } else { &arguments.phases };
    let mut results: Vec<Measurement> = Vec::new();
    let mut say = |result: Measurement| {
        report::line(&result, arguments.json);
        results.push(result);
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    report::head(arguments.json);
    for phase in chosen {
        // Each phase has a server of its own, so that none finds what another left.
        let mut subject = arguments.subject()?;
        let target = Target::of(&subject);
        runtime
            .block_on(unless_stopped(phases::run(*phase, &mut subject, &target, &plan, &mut say)))
            .with_context(|| format!("The phase {phase} failed"))?;
    }
    for result in limits::measure(&plan, arguments.within.as_deref())? {
        say(result);
    }
    if arguments.peers {
        for result in runtime.block_on(unless_stopped(peers::measure(&plan, arguments.within.as_deref())))? {
            say(result);
        }
    }
    report::ratios(&results, arguments.json);
    report::targets(&results, arguments.json);
    Ok(())
}

/// Ends early when the program is told to stop, so that servers are killed and their directories removed.
async fn unless_stopped<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        done = work => done,
        _ = tokio::signal::ctrl_c() => bail!("Interrupted"),
        _ = terminate.recv() => bail!("Terminated"),
    }
}

fn beside_this_program() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("Unable to find this program")?;
    let server = own.with_file_name("smp-server");
    if !server.exists() {
        bail!("There is no smp-server beside smp-bench: build it, or name one by --server");
    }
    Ok(server)
}
