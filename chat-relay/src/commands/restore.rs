//! `chat-relay restore`: a relay's directory out of a backup that is sound.

use std::fs::File;
use std::path::Path;

use anyhow::{Context as _, bail};
use serde::Serialize;

use super::backup::{MANIFEST_FILE, Manifest, entry};
use crate::cli::{GlobalArgs, RestoreArgs};
use crate::directory::Directory;
use crate::output;
use crate::store::sql::SqlStore;

#[derive(Serialize)]
struct Restored<'a> {
    r#type: &'static str,
    directory: &'a Path,
    groups: u64,
    members: u64,
}

pub(super) fn run(global: &GlobalArgs, args: &RestoreArgs) -> anyhow::Result<()> {
    let target = Directory::choose(global.directory.as_deref())?;
    let from = Directory::at(&args.from);
    verify_files(&args.from)?;
    target.create()?;
    if target.database().exists() {
        bail!("{} is not empty: restore into another directory", target.path().display());
    }
    let _lock = target.lock()?;
    let copy = |from: &Path, to: &Path| {
        let bytes = std::fs::read(from).with_context(|| format!("Unable to read {}", from.display()))?;
        Directory::write_new(to, &bytes)
    };
    copy(&from.database(), &target.database())?;
    let verified = SqlStore::open(&target.database())
        .and_then(|mut store| store.verify())
        .context("The copy is not sound: use another backup, and check the disks")?;
    // Last, because a directory counts as a relay's by this file.
    copy(&from.config(), &target.config())?;
    File::open(target.path())?.sync_all()?;
    let text = format!(
        "Restored in {}: {} groups, {} members. Do not start the relay that the backup was made of again: \
         at its first start this one agrees on new keys with everybody.",
        target.path().display(),
        verified.groups,
        verified.members
    );
    let restored = Restored {
        r#type: "restored",
        directory: target.path(),
        groups: verified.groups,
        members: verified.members,
    };
    output::print(global.json, &text, &restored)
}

/// Checks that a backup is complete and as it was written.
fn verify_files(from: &Path) -> anyhow::Result<()> {
    let path = from.join(MANIFEST_FILE);
    let text = std::fs::read_to_string(&path).with_context(|| {
        format!("Unable to read {}: {} is no complete backup", path.display(), from.display())
    })?;
    let manifest: Manifest = serde_json::from_str(&text)
        .with_context(|| format!("{} is damaged: use another backup", path.display()))?;
    let expected = [Directory::at(from).database(), Directory::at(from).config()];
    for path in expected {
        if !manifest.files.contains(&entry(&path)?) {
            bail!("{} is not as it was written: use another backup", path.display());
        }
    }
    Ok(())
}
