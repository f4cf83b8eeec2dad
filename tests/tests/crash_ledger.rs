//! A queue server that is killed under load keeps its word; `cargo run -p e2e --bin crash-ledger` does it longer.

use e2e::binaries::tested;
use e2e::crash_ledger::{self, Sizes};

const KILLS: u32 = 8;

#[test]
fn a_server_that_is_killed_under_load_loses_nothing_and_repeats_nothing_acknowledged() -> anyhow::Result<()> {
    let tally = crash_ledger::run(&tested().server, KILLS, Sizes::default(), |_| {})?;
    assert_eq!(tally.kills, KILLS);
    assert!(tally.confirmed > 0 && tally.acknowledged > 0, "{tally:?}");
    Ok(())
}
