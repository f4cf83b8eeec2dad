//! `chat-relay init`: the directory with its configuration, its keys and its address.

use anyhow::Context as _;
use protocol::encoding::Encode as _;
use protocol::net::rng::system_rng;
use serde::Serialize;

use super::address_link;
use crate::cli::GlobalArgs;
use crate::config::{ConfigArgs, ConfigFile};
use crate::directory::Directory;
use crate::identity::RelayIdentity;
use crate::store::RelayStore as _;
use crate::store::records::RelayAddress;
use crate::store::sql::SqlStore;
use crate::{address, output, store_config};

#[derive(Serialize)]
struct Initialised<'a> {
    r#type: &'static str,
    directory: &'a std::path::Path,
    address: String,
}

pub(super) fn run(global: &GlobalArgs, args: ConfigArgs) -> anyhow::Result<()> {
    let directory = Directory::choose(global.directory.as_deref())?;
    let config = args.over(ConfigFile::default())?;
    let identity = RelayIdentity::from_settings(&config.settings()?)?;
    directory.create()?;
    let _lock = directory.lock()?;
    let (mut store, is_worker) = match config.store.access(&directory)? {
        Some(access) => {
            let mut store = store_config::connect(&access)?;
            let is_there = store.relay_address()?.is_some();
            (store, is_there)
        }
        None => {
            let store = SqlStore::open(&directory.prepare_database()?)
                .with_context(|| format!("Unable to open {}", directory.database().display()))?;
            (store, false)
        }
    };
    let link = if is_worker {
        address_link(&mut store)?
    } else {
        let draft = address::draft(&identity, &mut system_rng()).context("Unable to make an address")?;
        store.set_relay_address(&RelayAddress {
            draft: draft.to_bytes(),
            profile: identity.profile,
            connection: None,
        })?;
        draft.short_link()
    };
    let link = link.to_string();
    // Last, because a directory counts as initialised by this file.
    Directory::write_new(&directory.config(), config.to_toml()?.as_bytes())?;
    let made = if is_worker { "Another worker of a relay" } else { "A relay" };
    let text = format!(
        "{made} was made in {}.\nIts address, once it runs (`chat-relay start`):\n{link}",
        directory.path().display()
    );
    let value = Initialised { r#type: "initialised", directory: directory.path(), address: link };
    output::print(global.json, &text, &value)
}
