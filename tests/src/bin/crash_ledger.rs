//! `cargo run -p e2e --bin crash-ledger -- --kills 300`: kills a queue server under load, and proves that it lost no
//! message that it confirmed, delivered none again that was acknowledged, and kept the order of every queue.

use std::path::PathBuf;

use anyhow::Context as _;
use e2e::binaries::{Build, build};
use e2e::crash_ledger;

const USAGE: &str = "\
Usage: crash-ledger [--kills N] [--server PROGRAM]

--kills N         how often the server is killed (100)
--server PROGRAM  the smp-server to kill; built from this directory when none is given";

fn main() -> std::process::ExitCode {
    let (kills, server) = match arguments(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("{error}\n\n{USAGE}");
            return std::process::ExitCode::from(2);
        }
    };
    match kill(kills, server) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("The server broke its word: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn arguments(mut given: impl Iterator<Item = String>) -> anyhow::Result<(u32, Option<PathBuf>)> {
    let (mut kills, mut server) = (100, None);
    while let Some(name) = given.next() {
        let value = given.next().with_context(|| format!("`{name}` needs a value"));
        match name.as_str() {
            "--kills" => kills = value?.parse().context("`--kills` takes a number")?,
            "--server" => server = Some(PathBuf::from(value?)),
            _ => anyhow::bail!("`{name}` is not known"),
        }
    }
    Ok((kills, server))
}

fn kill(kills: u32, server: Option<PathBuf>) -> anyhow::Result<()> {
    let server = match server {
        Some(server) => server,
        None => build(Build::Plain)?.server,
    };
    let tally = crash_ledger::run(&server, kills, |tally| {
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
