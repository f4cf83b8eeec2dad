//! `chat-relay init`: the directory with its configuration and its database.

use crate::cli::GlobalArgs;
use crate::config::{ConfigArgs, ConfigFile};
use crate::directory::Directory;
use crate::store::sqlite::SqliteStore;

pub(super) fn run(global: &GlobalArgs, args: ConfigArgs) -> anyhow::Result<()> {
    let directory = Directory::choose(global.directory.as_deref())?;
    let config = args.over(ConfigFile::default())?;
    config.settings()?;
    directory.create()?;
    let _lock = directory.lock()?;
    let _store = SqliteStore::open(&directory.database())?;
    // Last, because a directory counts as initialised by this file.
    Directory::write_new(&directory.config(), config.to_toml()?.as_bytes())?;
    Ok(())
}
