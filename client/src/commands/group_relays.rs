//! `conclave group relays`

use clap::Args;

use crate::commands::IntoRequest;
use crate::error::CommandError;
use crate::request::Request;

/// Show a group's relays and how far each is.
///
/// At the owner: new, invited, accepted, acknowledged_roster, active; or inactive, rejected. Only active relays
/// stand in the group link, where members find them.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  conclave group relays news
  conclave group relays news --follow")]
pub(crate) struct GroupRelaysArgs {
    /// The group, as `conclave group list` names it.
    #[arg(value_name = "GROUP")]
    group: String,
    /// Stay and show each change.
    #[arg(long)]
    follow: bool,
}

impl IntoRequest for GroupRelaysArgs {
    fn request(self) -> Result<Request, CommandError> {
        Ok(Request::GroupRelays { group: self.group, follow: self.follow })
    }
}
