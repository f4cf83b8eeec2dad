//! `smp-server restore`

use std::fs::File;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::{Value, json};

use super::backup::{MANIFEST_FILE, copy_private, entry};
use super::{Place, check, say};
use crate::directory::{Directory, MESSAGES_DIRECTORY};

/// Make a server's directory from a backup.
///
/// The backup is verified first: every file, every page of the database, every message. A backup that is not sound is
/// refused, and so is a directory that is not empty. Recipients get messages again that they acknowledged after the
/// backup was made; what was sent after it is lost.
#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// Directory that `backup` made.
    #[arg(value_name = "BACKUP")]
    from: PathBuf,
}

pub(super) fn run(place: &Place, args: &RestoreArgs) -> anyhow::Result<()> {
    let (from, target) = (&args.from, place.directory());
    refuse_used(target.path())?;
    let files = verified_files(from)?;
    check::report(place, &Directory::new(from))?;

    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    for directory in [target.path().to_owned(), target.path().join(MESSAGES_DIRECTORY)] {
        builder.create(&directory).with_context(|| format!("Unable to make {}", directory.display()))?;
    }
    copy_directory(&from.join(MESSAGES_DIRECTORY), &target.path().join(MESSAGES_DIRECTORY))?;
    for name in files {
        copy_private(&from.join(&name), &target.path().join(&name))?;
    }
    File::open(target.path())?.sync_all()?;
    let restored = check::report(place, &target).context("The copy is not sound, check the disks")?;
    if place.json {
        return say(json!({
            "type": "restored", "directory": target.path(), "queues": restored.queues, "messages": restored.messages,
        }));
    }
    say(format_args!(
        "Restored in {}: {} queues, {} messages",
        target.path().display(),
        restored.queues,
        restored.messages
    ))
}

fn refuse_used(directory: &Path) -> anyhow::Result<()> {
    let mut entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.with_context(|| format!("Unable to read {}", directory.display()))?,
    };
    if entries.next().is_some() {
        bail!("{} is not empty: restore into another directory, nothing is overwritten", directory.display());
    }
    Ok(())
}

/// The files that the manifest names, which are as it says.
fn verified_files(from: &Path) -> anyhow::Result<Vec<String>> {
    let manifest = from.join(MANIFEST_FILE);
    let text = std::fs::read_to_string(&manifest).with_context(|| {
        format!("Unable to read {}: {} is no complete backup", manifest.display(), from.display())
    })?;
    let manifest: Value = serde_json::from_str(&text)
        .with_context(|| format!("{} is damaged: use another backup", manifest.display()))?;
    let entries = manifest.get("files").and_then(Value::as_array).context("The manifest names no files")?;
    let mut names = Vec::new();
    for expected in entries {
        let name = expected.get("name").and_then(Value::as_str).context("The manifest names no files")?;
        if name.contains('/') {
            bail!("The manifest names {name:?}, which is outside of the backup: use another backup");
        }
        let path = from.join(name);
        if entry(&path)? != *expected {
            bail!("{} is not as it was written: use another backup", path.display());
        }
        names.push(name.to_owned());
    }
    Ok(names)
}

fn copy_directory(from: &Path, to: &Path) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(from).with_context(|| format!("Unable to read {}", from.display()))?;
    for entry in entries {
        let entry = entry?;
        copy_private(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(File::open(to)?.sync_all()?)
}
