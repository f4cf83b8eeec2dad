//! `chat-relay check`: reads all that is stored and says whether it is sound.

use anyhow::Context as _;
use serde::Serialize;

use crate::cli::GlobalArgs;
use crate::config::ConfigFile;
use crate::directory::Directory;
use crate::output;

#[derive(Serialize)]
struct Sound {
    r#type: &'static str,
    groups: u64,
    members: u64,
    messages: u64,
}

pub(super) fn run(global: &GlobalArgs) -> anyhow::Result<()> {
    let directory = Directory::choose(global.directory.as_deref())?;
    directory.open()?;
    let _lock = directory.lock()?;
    let mut store = ConfigFile::read(&directory)?.store.open(&directory)?;
    let verified = store
        .verify()
        .with_context(|| format!("Restore a backup: {} is not sound", directory.path().display()))?;
    let text = format!(
        "All is sound: {} groups, {} members, {} messages",
        verified.groups, verified.members, verified.messages
    );
    let sound = Sound {
        r#type: "sound",
        groups: verified.groups,
        members: verified.members,
        messages: verified.messages,
    };
    output::print(global.json, &text, &sound)
}
