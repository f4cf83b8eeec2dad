//! `chat-relay backup`: a copy of all that is stored, also while the relay runs.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use protocol::base64url;
use protocol::crypto::hash::sha256;
use serde::{Deserialize, Serialize};

use crate::cli::{BackupArgs, GlobalArgs};
use crate::config::ConfigFile;
use crate::directory::Directory;
use crate::output;
use crate::store::sql::SqlStore;

/// What is written last: a backup without it is not complete.
pub(super) const MANIFEST_FILE: &str = "backup.json";

/// What a backup holds.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    /// The version of the program that wrote it.
    pub(super) version: String,
    /// Its files.
    pub(super) files: Vec<Entry>,
}

/// One file of a backup.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    /// Its name.
    pub(super) name: String,
    /// SHA-256 of its bytes, base64url.
    pub(super) sha256: String,
}

#[derive(Serialize)]
struct Made<'a> {
    r#type: &'static str,
    directory: &'a Path,
    groups: u64,
    members: u64,
}

pub(super) fn run(global: &GlobalArgs, args: &BackupArgs) -> anyhow::Result<()> {
    let directory = Directory::choose(global.directory.as_deref())?;
    directory.open()?;
    if ConfigFile::read(&directory)?.store.access(&directory)?.is_some() {
        bail!(
            "The state of this relay is in PostgreSQL: back it up by the means of PostgreSQL, such as \
             `pg_dump --format=custom`, and keep {} with it",
            directory.config().display()
        );
    }
    directory.has_database()?;
    let into = &args.into;
    if into.exists() {
        bail!("{} exists: choose another place, nothing is overwritten", into.display());
    }
    let made = DirBuilder::new().recursive(true).mode(0o700).create(into);
    made.with_context(|| format!("Unable to make {}", into.display()))?;
    let copy = Directory::at(into);
    SqlStore::copy(&directory.database(), &copy.database())
        .with_context(|| format!("Unable to copy {}", directory.database().display()))?;
    let config = std::fs::read(directory.config())
        .with_context(|| format!("Unable to read {}", directory.config().display()))?;
    Directory::write_new(&copy.config(), &config)?;
    let verified = SqlStore::open(&copy.database())
        .and_then(|mut copy| copy.verify())
        .context("The copy is not sound, check the disks")?;
    let files = [copy.database(), copy.config()].iter().map(|path| entry(path)).collect::<Result<_, _>>()?;
    let manifest = Manifest { version: env!("CARGO_PKG_VERSION").to_owned(), files };
    Directory::write_new(&into.join(MANIFEST_FILE), serde_json::to_string_pretty(&manifest)?.as_bytes())?;
    File::open(into)?.sync_all()?;
    let text = format!(
        "Backup in {}: {} groups, {} members. Keep it as safe as the relay: it holds the relay's keys.",
        into.display(),
        verified.groups,
        verified.members
    );
    let made = Made { r#type: "backup", directory: into, groups: verified.groups, members: verified.members };
    output::print(global.json, &text, &made)
}

/// What the manifest says about a file.
pub(super) fn entry(path: &Path) -> anyhow::Result<Entry> {
    let bytes = std::fs::read(path).with_context(|| format!("Unable to read {}", path.display()))?;
    let name = path.file_name().context("A file has a name")?.to_string_lossy().into_owned();
    Ok(Entry { name, sha256: base64url::encode_unpadded(&sha256(&bytes)) })
}
