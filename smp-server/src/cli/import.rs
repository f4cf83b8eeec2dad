//! `smp-server import`

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use clap::Args;

use super::export::{report, tell};
use super::{Place, engine};
use crate::config::{Engine, SettingsLayer};
use crate::store::import;

/// Store all queues, services and messages of an export in a store that holds nothing yet.
///
/// The store is the one that the settings name, so that `export`, another `--store` and `import` take a server from one
/// kind of store to another. What was stored is counted at the end. After a failure the store holds a part: empty it
/// before the next attempt.
#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// File that `export` made.
    #[arg(value_name = "FILE")]
    from: PathBuf,
    #[command(flatten)]
    settings: SettingsLayer,
}

pub(super) fn run(place: &Place, args: ImportArgs) -> anyhow::Result<()> {
    let ImportArgs { from, settings } = args;
    let directory = place.directory();
    let settings = place.settings(settings)?;
    ensure!(
        settings.storage.engine != Engine::Memory,
        "A store in memory keeps nothing: choose another --store"
    );
    let file = File::open(&from).with_context(|| format!("Unable to read {}", from.display()))?;
    let _lock = directory.lock()?;
    let mut store = engine::open(&settings, &directory)?;
    let totals = import(&mut *store, &mut BufReader::new(file), &mut |totals| tell("imported", totals))
        .with_context(|| {
            format!(
                "Unable to import {}; the store holds a part of it or what was there before",
                from.display()
            )
        })?;
    report(place, "imported", totals)
}
