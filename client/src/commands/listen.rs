//! `conclave listen`

use clap::Args;

use crate::error::CommandError;
use crate::request::Request;
use crate::session::Session;

/// Follow what happens, beginning with what was not shown yet.
///
/// While this runs, other commands go through it and answer at once. It also looks after your groups: it sends what
/// waits, reconnects, and finds new relays when old ones go.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  conclave listen
  conclave listen news --history
  conclave --json listen      one object per line, for bots")]
pub(crate) struct ListenArgs {
    /// Only this group.
    #[arg(value_name = "GROUP")]
    group: Option<String>,
    /// Show all messages that are here first, not only new ones.
    #[arg(long)]
    history: bool,
}

impl ListenArgs {
    /// Listens until interrupted.
    ///
    /// # Errors
    /// When another process holds the home, or the store fails.
    pub(crate) fn run(self, session: &Session) -> Result<(), CommandError> {
        session.listen(Request::Listen { group: self.group, history: self.history })
    }
}
