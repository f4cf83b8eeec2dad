//! `conclave group create`

use clap::Args;

use crate::cli::TimeoutArgs;
use crate::commands::IntoRequest;
use crate::commands::server_add::server_address;
use crate::error::CommandError;
use crate::request::{GroupCreate, Request};

/// Make a group and invite relays to it.
///
/// The group's link is known at once; members can join as soon as one relay is active. If the time runs out, run the
/// same command again: it goes on where it stopped.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  conclave group create news                      all kept relays, members only read
  conclave group create team --joiner-role member everybody may post
  conclave group create news --relay r1 --relay r2 --timeout 1m")]
pub(crate) struct GroupCreateArgs {
    /// The name that everybody sees.
    #[arg(value_name = "NAME")]
    name: String,
    /// A longer name.
    #[arg(long, value_name = "TEXT", default_value = "")]
    full_name: String,
    /// Shown to those who join.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// A relay by name or link; may be given more than once. All kept relays when absent.
    #[arg(long = "relay", value_name = "RELAY")]
    relays: Vec<String>,
    /// The server that keeps the group link; the first kept one when absent.
    #[arg(long, value_name = "ADDRESS")]
    server: Option<String>,
    /// What those who join may do: `observer` reads, `member` posts.
    #[arg(long, value_name = "ROLE", default_value = "observer", value_parser = ["observer", "member"])]
    joiner_role: String,
    /// Joiners wait until a moderator, admin or owner lets them in: see `conclave knocks`.
    #[arg(long)]
    review: bool,
    #[command(flatten)]
    timeout: TimeoutArgs,
}

impl IntoRequest for GroupCreateArgs {
    fn request(self) -> Result<Request, CommandError> {
        Ok(Request::GroupCreate(GroupCreate {
            name: self.name,
            full_name: self.full_name,
            description: self.description,
            relays: self.relays,
            server: self.server.map(server_address).transpose()?,
            joiner_role: self.joiner_role,
            review: self.review,
            timeout_ms: self.timeout.ms(),
        }))
    }
}
