//! `smp-server backup`

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::{Value, json};

use super::{Place, say};
use crate::directory::{DATABASE_FILE, Directory, LOCK_FILE, MESSAGES_DIRECTORY};
use crate::identity::CA_KEY_FILE;
use crate::store::{back_up, verify};

/// What is written last: a backup without it is not complete. It names every file outside of the message log, whose
/// records have checksums of their own.
pub(super) const MANIFEST_FILE: &str = "backup.json";

/// Copy all that is stored, also while the server runs.
///
/// The copy is a directory that `restore` makes a server of: queues, messages, settings, certificates and the server's
/// key, as they were at one moment. Keep it as safe as the server itself. Message files that change no more are shared
/// with the server where the file system allows that: copy the backup to another disk. The CA key is not in it.
#[derive(Debug, Args)]
pub(super) struct BackupArgs {
    /// Directory to make; it must not exist.
    #[arg(value_name = "DIR")]
    into: PathBuf,
}

pub(super) fn run(place: &Place, args: &BackupArgs) -> anyhow::Result<()> {
    let (directory, into) = (place.directory(), &args.into);
    let database = directory.stored()?;
    if into.exists() {
        bail!("{} exists: choose another place, nothing is overwritten", into.display());
    }
    let mut builder = std::fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(into);
    made.with_context(|| format!("Unable to make {}", into.display()))?;
    let kept = back_up(&database, &into.join(DATABASE_FILE));
    kept.with_context(|| format!("Unable to copy {}", directory.path().display()))?;
    let mut files = vec![entry(&into.join(DATABASE_FILE))?];
    for path in small_files(&directory)? {
        let to = into.join(path.file_name().context("A file has a name")?);
        copy_private(&path, &to)?;
        files.push(entry(&to)?);
    }
    let verified = verify(&into.join(DATABASE_FILE))?;
    if let Some(problem) = verified.problems.first() {
        bail!("The copy is not sound, check the disks: {problem}");
    }
    let manifest = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "queues": verified.queues,
        "messages": verified.messages,
        "files": files,
    });
    write_private(&into.join(MANIFEST_FILE), serde_json::to_string_pretty(&manifest)?.as_bytes())?;
    File::open(into)?.sync_all()?;
    if directory.join(CA_KEY_FILE.as_ref()).exists() {
        eprintln!("note: {CA_KEY_FILE} is not in the backup: keep it elsewhere");
    }
    if place.json {
        return say(json!({
            "type": "backup", "directory": into, "queues": verified.queues, "messages": verified.messages,
        }));
    }
    say(format_args!(
        "Backup in {}: {} queues, {} messages",
        into.display(),
        verified.queues,
        verified.messages
    ))
}

/// The server's files that are neither its database, its log nor of this run.
fn small_files(directory: &Directory) -> anyhow::Result<Vec<PathBuf>> {
    let place = directory.path();
    let mut files = Vec::new();
    for entry in std::fs::read_dir(place).with_context(|| format!("Unable to read {}", place.display()))? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_other = name.starts_with(DATABASE_FILE)
            || [LOCK_FILE, CA_KEY_FILE, MESSAGES_DIRECTORY, MANIFEST_FILE].contains(&name.as_ref());
        if entry.file_type()?.is_file() && !is_other {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

/// What the manifest says about a file.
pub(super) fn entry(path: &Path) -> anyhow::Result<Value> {
    let bytes = std::fs::metadata(path)?.len();
    let mut crc = crc32fast::Hasher::new();
    let mut reader = File::open(path).with_context(|| format!("Unable to read {}", path.display()))?;
    std::io::copy(&mut reader, &mut Checksum(&mut crc))?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    Ok(json!({ "name": name, "bytes": bytes, "crc32": crc.finalize() }))
}

struct Checksum<'a>(&'a mut crc32fast::Hasher);

impl std::io::Write for Checksum<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Copies a file for the owner alone, to the disk.
pub(super) fn copy_private(from: &Path, to: &Path) -> anyhow::Result<()> {
    let copy = || -> std::io::Result<()> {
        let mut target = File::options().write(true).create_new(true).mode(0o600).open(to)?;
        std::io::copy(&mut File::open(from)?, &mut target)?;
        target.sync_all()
    };
    copy().with_context(|| format!("Unable to copy {} to {}", from.display(), to.display()))
}

fn write_private(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let write = || -> std::io::Result<()> {
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().with_context(|| format!("Unable to write {}", path.display()))
}
