//! `conclave history`

use clap::Args;

use crate::commands::IntoRequest;
use crate::error::CommandError;
use crate::request::Request;

/// Show messages that are here, oldest first.
///
/// Second copies of a message, by other relays, are compared and counted, not shown.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  conclave history news --limit 20")]
pub(crate) struct HistoryArgs {
    /// The group, as `conclave group list` names it.
    #[arg(value_name = "GROUP")]
    group: String,
    /// At most so many, the newest.
    #[arg(long, value_name = "COUNT", default_value_t = 1000)]
    limit: u32,
}

impl IntoRequest for HistoryArgs {
    fn request(self) -> Result<Request, CommandError> {
        Ok(Request::History { group: self.group, limit: self.limit })
    }
}
