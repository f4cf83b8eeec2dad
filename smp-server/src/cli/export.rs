//! `smp-server export`

use std::fs::OpenOptions;
use std::io::BufWriter;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use super::{Place, engine, say};
use crate::config::SettingsLayer;
use crate::store::{Totals, export};

/// Write all queues, services and messages to a file, to take them to another store.
///
/// The file has one JSON object per line. It holds the secrets of all queues: keep it as safe as the server itself. No
/// server may run on the store meanwhile; certificates and settings are not in the file.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// File to make; it must not exist.
    #[arg(value_name = "FILE")]
    into: PathBuf,
    #[command(flatten)]
    settings: SettingsLayer,
}

pub(super) fn run(place: &Place, args: ExportArgs) -> anyhow::Result<()> {
    let ExportArgs { into, settings } = args;
    let directory = place.directory();
    let settings = place.settings(settings)?;
    let _lock = directory.lock()?;
    let store = engine::open(&settings, &directory)?;
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(&into);
    let file = file
        .with_context(|| format!("Unable to make {}: choose a place where nothing is yet", into.display()))?;
    let mut out = BufWriter::new(file);
    let totals = export(&mut *store.open_reader()?, &mut out, &mut |totals| tell("exported", totals))?;
    out.into_inner()
        .context("Unable to write the export")?
        .sync_all()
        .context("Unable to write the export")?;
    report(place, "exported", totals)
}

/// Says on a terminal how far it is.
pub(super) fn tell(what: &str, totals: Totals) {
    use std::io::{IsTerminal as _, Write as _};
    let mut stderr = std::io::stderr();
    if stderr.is_terminal() {
        // Whoever closed stderr does not want to know.
        let _ = write!(stderr, "\r{what}: {} queues, {} messages", totals.queues, totals.messages);
    }
}

/// Says how much there was.
pub(super) fn report(place: &Place, what: &str, totals: Totals) -> anyhow::Result<()> {
    let Totals { services, queues, messages } = totals;
    if place.json {
        return say(json!({
            "type": what, "services": services, "queues": queues, "messages": messages,
        }));
    }
    say(format_args!("{what}: {services} services, {queues} queues, {messages} messages"))
}
