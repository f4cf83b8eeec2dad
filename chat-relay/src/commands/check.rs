//! `chat-relay check`: reads all that is stored and says whether it is sound.

use anyhow::Context as _;
use serde::Serialize;

use crate::cli::GlobalArgs;
use crate::config::ConfigFile;
use crate::directory::Directory;
use crate::output;
use crate::store::sql::Verified;

#[derive(Serialize)]
struct Sound {
    r#type: &'static str,
    #[serde(flatten)]
    verified: Verified,
}

pub(super) fn run(global: &GlobalArgs) -> anyhow::Result<()> {
    let directory = Directory::choose(global.directory.as_deref())?;
    directory.open()?;
    let _lock = directory.lock()?;
    let mut store = ConfigFile::read(&directory)?.store.open(&directory)?;
    let verified = store
        .verify()
        .with_context(|| format!("Restore a backup: {} is not sound", directory.path().display()))?;
    output::print(global.json, &format!("All is sound: {verified}"), &Sound { r#type: "sound", verified })
}
