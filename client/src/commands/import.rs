//! `conclave import`

use std::path::{Path, PathBuf};

use clap::Args;

use crate::archive;
use crate::cli::TimeoutArgs;
use crate::error::CommandError;
use crate::event::Event;
use crate::request::{ArchivePassphrase, Request};
use crate::session::Session;

/// Take over what `conclave export` wrote.
///
/// A whole home goes to a place where there is none yet; its connections agree on new keys with their peers, because
/// an old copy of keys must not be used twice. Never use the exported home and the imported one side by side.
/// With --group, the owner keys of a group go into the home that is here.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  conclave --home new import backup.conclave
  conclave import --group news-owner.conclave")]
pub(crate) struct ImportArgs {
    /// The file that `export` wrote.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The file holds the owner keys of a group.
    #[arg(long)]
    group: bool,
    #[command(flatten)]
    timeout: TimeoutArgs,
}

impl ImportArgs {
    /// Reads the file.
    ///
    /// # Errors
    /// When a home is there already, or the file or its passphrase is not right.
    pub(crate) fn run(self, session: &Session) -> Result<(), CommandError> {
        let path = archive::absolute(&self.file)?;
        let passphrase = session.archive_passphrase(false)?;
        if self.group {
            let passphrase = ArchivePassphrase(passphrase);
            return session.ask(Request::ImportGroup { path, passphrase, timeout_ms: self.timeout.ms() });
        }
        archive::import_home(session.home(), Path::new(&path), passphrase)?;
        session.show(&Event::Done {
            what: "home restored at".into(),
            name: session.home().directory().display().to_string(),
        });
        session.output().talk("It opens with its old passphrase or key file. Next: `conclave listen`.");
        Ok(())
    }
}
