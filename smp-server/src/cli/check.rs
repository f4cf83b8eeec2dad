//! `smp-server check`

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use super::{Place, say};
use crate::directory::Directory;
use crate::error::CommandError;
use crate::store::{Verified, verify};

/// Verify all that is stored; the server must be stopped.
///
/// Reads every page of the database and every record of the message log, and compares their checksums. Says what is
/// damaged, and ends with 20 when something is. Changes nothing. A backup is verified in the same way: give its
/// directory with --directory, or name it.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// A backup to verify, instead of the server's directory.
    #[arg(value_name = "BACKUP")]
    backup: Option<PathBuf>,
}

pub(super) fn run(place: &Place, args: CheckArgs) -> anyhow::Result<()> {
    let (directory, lock) = match args.backup {
        Some(backup) => (Directory::new(&backup), None),
        None => (place.directory(), Some(place.directory().lock_existing()?)),
    };
    let verified = report(place, &directory)?;
    drop(lock);
    if place.json {
        return say(json!({
            "type": "sound", "queues": verified.queues, "messages": verified.messages, "segments": verified.segments,
        }));
    }
    say(format_args!(
        "All is sound: {} queues, {} messages in {} files",
        verified.queues, verified.messages, verified.segments
    ))
}

/// Verifies a directory and says what is wrong with it, if anything is.
///
/// # Errors
/// When something is wrong, or it cannot be read.
pub(super) fn report(place: &Place, directory: &Directory) -> anyhow::Result<Verified> {
    let database = directory.stored()?;
    let verified =
        verify(&database).with_context(|| format!("Unable to read {}", directory.path().display()))?;
    for remark in &verified.remarks {
        eprintln!("note: {remark}");
    }
    for problem in &verified.problems {
        if place.json {
            say(json!({ "type": "problem", "message": problem }))?;
        } else {
            say(problem)?;
        }
    }
    if verified.problems.is_empty() {
        return Ok(verified);
    }
    let (directory, count) = (directory.path().to_owned(), verified.problems.len());
    Err(CommandError::Damaged { directory, count }.into())
}
