//! `cargo run -p e2e --bin crash-ledger -- --kills 300`: kills a queue server under load, and proves that it lost no
//! message that it confirmed, delivered none again that was acknowledged, and kept the order of every queue.

use std::path::PathBuf;

use anyhow::Context as _;
use e2e::binaries::{Build, build};
use e2e::crash_ledger::{self, Sizes, Subject};

const USAGE: &str = "\
Usage: crash-ledger [--kills N] [--queues N] [--senders N] [--recipients N] [--server PROGRAM] [--store STORE]

--kills N         how often the server is killed (100)
--queues N        queues that messages are sent to (24)
--senders N       connections that send (4)
--recipients N    connections that receive (2)
--server PROGRAM  the smp-server to kill; built from this directory when none is given
--store STORE     `embedded`, or `postgres`: at the connection string in TEST_POSTGRES_URL,
                  in a database or schema without queues (embedded)";

struct Arguments {
    kills: u32,
    sizes: Sizes,
    server: Option<PathBuf>,
    postgres: Option<String>,
}

fn main() -> std::process::ExitCode {
    let arguments = match arguments(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("{error}\n\n{USAGE}");
            return std::process::ExitCode::from(2);
        }
    };
    match kill(arguments) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("The server broke its word: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn arguments(mut given: impl Iterator<Item = String>) -> anyhow::Result<Arguments> {
    let mut arguments = Arguments { kills: 100, sizes: Sizes::default(), server: None, postgres: None };
    while let Some(name) = given.next() {
        let value = given.next().with_context(|| format!("`{name}` needs a value"))?;
        let number = || -> anyhow::Result<u32> {
            let number: u32 = value.parse().with_context(|| format!("`{name}` takes a number"))?;
            anyhow::ensure!(number > 0, "`{name}` takes a number from 1");
            Ok(number)
        };
        match name.as_str() {
            "--kills" => arguments.kills = number()?,
            "--queues" => arguments.sizes.queues = number()? as usize,
            "--senders" => arguments.sizes.senders = number()? as usize,
            "--recipients" => arguments.sizes.recipients = number()? as usize,
            "--server" => arguments.server = Some(PathBuf::from(value)),
            "--store" if value == "embedded" => arguments.postgres = None,
            "--store" if value == "postgres" => {
                let url = std::env::var("TEST_POSTGRES_URL");
                arguments.postgres = Some(url.context("TEST_POSTGRES_URL is to say where PostgreSQL is")?);
            }
            "--store" => anyhow::bail!("`--store` takes `embedded` or `postgres`"),
            _ => anyhow::bail!("`{name}` is not known"),
        }
    }
    let Sizes { queues, senders, recipients } = arguments.sizes;
    anyhow::ensure!(queues >= senders.max(recipients), "each connection needs a queue: give more `--queues`");
    Ok(arguments)
}

fn kill(Arguments { kills, sizes, server, postgres }: Arguments) -> anyhow::Result<()> {
    let program = match server {
        Some(server) => server,
        None => build(Build::Plain)?.server,
    };
    let tally = crash_ledger::run(&Subject { program, postgres }, kills, sizes, |tally| {
        eprintln!(
            "{} of {kills} kills: {} messages confirmed, {} acknowledged",
            tally.kills, tally.confirmed, tally.acknowledged
        );
    })?;
    println!(
        "{} kills, {} messages confirmed, {} acknowledged: none lost, none repeated, all in order",
        tally.kills, tally.confirmed, tally.acknowledged
    );
    Ok(())
}
