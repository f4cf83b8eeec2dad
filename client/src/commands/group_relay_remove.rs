//! `conclave group relay remove`

use clap::Args;

use crate::cli::TimeoutArgs;
use crate::commands::IntoRequest;
use crate::error::CommandError;
use crate::request::Request;

/// Take a relay out of a group you own.
///
/// Its link leaves the group link, and a signed notice goes through all relays, so that members can verify it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  conclave group relay remove news r1
  conclave group relay remove news r1 --without-notice

The last relay goes with --force alone: nobody hears the group then, until another one is added.")]
pub(crate) struct GroupRelayRemoveArgs {
    /// The group, as `conclave group list` names it.
    #[arg(value_name = "GROUP")]
    group: String,
    /// The relay, as `conclave group relays` names it.
    #[arg(value_name = "RELAY")]
    relay: String,
    /// Tell nobody: the relay finds out when it reads the group link.
    #[arg(long)]
    without_notice: bool,
    /// Take it out even if it is the last one: nobody hears the group then.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    timeout: TimeoutArgs,
}

impl IntoRequest for GroupRelayRemoveArgs {
    fn request(self) -> Result<Request, CommandError> {
        Ok(Request::GroupRelayRemove {
            group: self.group,
            relay: self.relay,
            notice: !self.without_notice,
            force: self.force,
            timeout_ms: self.timeout.ms(),
        })
    }
}
