//! `chat-relay to-postgres`: the state of a relay that is stopped goes from its file to PostgreSQL.

use std::path::Path;

use anyhow::{Context as _, bail};
use serde::Serialize;

use crate::cli::GlobalArgs;
use crate::config::ConfigFile;
use crate::directory::Directory;
use crate::store::RelayStore as _;
use crate::store::sql::{SqlStore, Verified};
use crate::store_config::{Engine, StoreConfig};
use crate::{output, store_config};

#[derive(Serialize)]
struct Moved {
    r#type: &'static str,
    #[serde(flatten)]
    moved: Verified,
}

pub(super) fn run(global: &GlobalArgs) -> anyhow::Result<()> {
    let directory = Directory::choose(global.directory.as_deref())?;
    directory.open()?;
    let _lock = directory.lock()?;
    let config = ConfigFile::read(&directory)?;
    let store = StoreConfig { engine: Some(Engine::Postgres), ..config.store.clone() };
    if config.store == store {
        bail!("The state of this relay is in PostgreSQL already");
    }
    directory.has_database()?;
    let settings = std::fs::read_to_string(directory.config())
        .with_context(|| format!("Unable to read {}", directory.config().display()))?;
    let settings = with_postgres(&settings).with_context(|| {
        format!("Write engine = \"postgres\" below [store] in {}", directory.config().display())
    })?;
    let access = store.access(&directory)?.context("PostgreSQL is where it goes")?;
    let mut target = store_config::connect(&access)?;
    if target.relay_address()?.is_some() {
        bail!("There is a relay in that database already: use another one, or drop its tables");
    }
    let mut file = SqlStore::open(&directory.database())
        .with_context(|| format!("Unable to open {}", directory.database().display()))?;
    let moved = file.move_into(&mut target).context("Nothing was moved: the relay is as it was")?;
    drop(file);

    replace(&directory.config(), &settings)?;
    // Its keys are used elsewhere from now on.
    let left = directory.database().with_extension("sqlite.moved");
    std::fs::rename(directory.database(), &left).with_context(|| {
        format!("Unable to put {} aside: do not use it again", directory.database().display())
    })?;
    let text =
        format!("Moved to PostgreSQL: {moved}. Start the relay, and delete {} once it runs.", left.display());
    output::print(global.json, &text, &Moved { r#type: "moved", moved })
}

/// The same settings with the other store.
fn with_postgres(settings: &str) -> anyhow::Result<String> {
    let mut out = Vec::new();
    let mut section = "";
    for line in settings.lines() {
        if line.starts_with('[') {
            section = line.trim();
        }
        let is_engine =
            section == "[store]" && line.split('=').next().is_some_and(|name| name.trim() == "engine");
        if !is_engine {
            out.push(line);
        }
        if line.trim() == "[store]" {
            out.push(ENGINE);
        }
    }
    if !out.contains(&ENGINE) {
        out.extend(["", "[store]", ENGINE]);
    }
    let out = out.join("\n") + "\n";
    let understood: ConfigFile = toml::from_str(&out)?;
    if understood.store.engine == Some(Engine::Postgres) {
        Ok(out)
    } else {
        bail!("The settings are not understood")
    }
}

/// The line that names the store.
const ENGINE: &str = "engine = \"postgres\"";

/// The file is the old one or the new one at every moment.
fn replace(path: &Path, text: &str) -> anyhow::Result<()> {
    let new = path.with_extension("toml.new");
    // Left by an attempt that was cut off.
    let _ = std::fs::remove_file(&new);
    Directory::write_new(&new, text.as_bytes())?;
    std::fs::rename(&new, path).with_context(|| format!("Unable to replace {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_name_the_other_store_and_keep_the_rest() {
        let written =
            ConfigFile { display_name: Some("x".to_owned()), ..ConfigFile::default() }.to_toml().unwrap();
        let sqlite = "display_name = \"x\"\n[store]\nengine = \"sqlite\"\nworker_lease = \"20s\"\n[tuning]\n";
        for text in [written.as_str(), sqlite, "display_name = \"x\"\n"] {
            let changed = with_postgres(text).unwrap();
            let read = |text: &str| toml::from_str::<ConfigFile>(text).unwrap();
            let mut expected = read(text);
            expected.store.engine = Some(Engine::Postgres);
            assert_eq!(read(&changed), expected);
            assert_eq!(text.matches('#').count(), changed.matches('#').count(), "comments stay");
        }
    }
}
