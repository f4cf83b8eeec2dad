//! `conclave export`

use std::path::PathBuf;

use clap::Args;

use crate::error::CommandError;
use crate::request::{ArchivePassphrase, Request};
use crate::session::Session;

/// Write the home, or the owner keys of one group, into a sealed file.
///
/// With the owner keys of a group another device can go on as its owner: keep such a file, or losing the device
/// loses the group. The file has a passphrase of its own (asked for, or CONCLAVE_ARCHIVE_PASSPHRASE).
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  conclave export backup.conclave
  conclave export --group news news-owner.conclave")]
pub(crate) struct ExportArgs {
    /// The file to write; it must not exist.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Only the owner keys of this group.
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
}

impl ExportArgs {
    /// Writes the file.
    ///
    /// # Errors
    /// When the file exists, or the group is not ours.
    pub(crate) fn run(self, session: &Session) -> Result<(), CommandError> {
        let path = crate::archive::absolute(&self.file)?;
        let passphrase = ArchivePassphrase(session.archive_passphrase(true)?);
        session.ask(match self.group {
            Some(group) => Request::ExportGroup { group, path, passphrase },
            None => Request::ExportHome { path, passphrase },
        })
    }
}
