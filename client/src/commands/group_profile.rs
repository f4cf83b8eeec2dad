//! `conclave group profile`

use clap::Args;

use crate::cli::TimeoutArgs;
use crate::commands::IntoRequest;
use crate::error::CommandError;
use crate::request::{ProfileChange, Request};

/// Show a group's profile, or change it.
///
/// Only the owner can change it: the change is signed and goes to the members and into the group link.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  conclave group profile news
  conclave group profile news --description 'What happens in town'
  conclave group profile news --review on
  conclave group profile news --history-items 1000 --history-days 90")]
pub(crate) struct GroupProfileArgs {
    /// The group, as `conclave group list` names it.
    #[arg(value_name = "GROUP")]
    group: String,
    /// A new name.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// A new longer name.
    #[arg(long, value_name = "TEXT")]
    full_name: Option<String>,
    /// A new description; an empty one takes it away.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Whether joiners wait until a moderator, admin or owner lets them in: see `conclave knocks`.
    #[arg(long, value_name = "SWITCH", value_parser = ["on", "off"])]
    review: Option<String>,
    /// How many of the newest posts relays keep and give to members: 100 at first; 0 for none.
    #[arg(long, value_name = "COUNT")]
    history_items: Option<u32>,
    /// How old those posts may be; 0 for any age.
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(..=36_500))]
    history_days: Option<u32>,
    /// How many bytes those posts may have together; 0 for any number.
    #[arg(long, value_name = "BYTES")]
    history_bytes: Option<u64>,
    #[command(flatten)]
    timeout: TimeoutArgs,
}

impl IntoRequest for GroupProfileArgs {
    fn request(self) -> Result<Request, CommandError> {
        let change = ProfileChange {
            name: self.name,
            full_name: self.full_name,
            description: self.description,
            review: self.review.map(|switch| switch == "on"),
            history_items: self.history_items,
            history_days: self.history_days,
            history_bytes: self.history_bytes,
            entrance: None,
        };
        let change = (change != ProfileChange::default()).then_some(change);
        Ok(Request::GroupProfile { group: self.group, change, timeout_ms: self.timeout.ms() })
    }
}
