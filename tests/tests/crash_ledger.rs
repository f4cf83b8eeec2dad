//! A queue server that is killed under load keeps its word; `cargo run -p e2e --bin crash-ledger` does it longer.

use daemon::scratch::Scratch;
use e2e::binaries::tested;
use e2e::crash_ledger::{self, Sizes, Subject};

const KILLS: u32 = 8;

fn keeps_its_word(postgres: Option<String>) -> anyhow::Result<()> {
    let subject = Subject { program: tested().server.clone(), postgres };
    let tally = crash_ledger::run(&subject, KILLS, Sizes::default(), |_| {})?;
    assert_eq!(tally.kills, KILLS);
    assert!(tally.confirmed > 0 && tally.acknowledged > 0, "{tally:?}");
    Ok(())
}

#[test]
fn a_server_that_is_killed_under_load_loses_nothing_and_repeats_nothing_acknowledged() -> anyhow::Result<()> {
    keeps_its_word(None)
}

#[test]
fn so_does_one_that_keeps_its_queues_in_postgresql() -> anyhow::Result<()> {
    let Some(scratch) = Scratch::make() else { return Ok(()) };
    keeps_its_word(Some(scratch.connection()))
}
