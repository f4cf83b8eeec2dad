//! What an operator asks of a running server; one JSON object per line.

use clap::{Subcommand, ValueEnum};
use protocol::smp::error::{BlockingInfo, BlockingReason, ClientNotice};
use serde::{Deserialize, Serialize};

use crate::config::Period;

/// One request. The doc comments are the manual of `smp-server ctl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Subcommand)]
#[serde(tag = "command", rename_all = "lowercase", deny_unknown_fields)]
pub enum Request {
    /// Show what the server counted since it started, and what there is now.
    Stats,
    /// Show how many connections there are and were.
    Sockets,
    /// Show whether a queue is active, blocked or off, and how much waits in it.
    Status {
        /// Sender id or link id of the queue, base64url.
        #[arg(allow_hyphen_values = true)]
        id: String,
    },
    /// Block a queue: its senders and its recipient are refused, and told why.
    Block {
        /// Sender id or link id of the queue, base64url.
        #[arg(allow_hyphen_values = true)]
        id: String,
        /// Why.
        #[arg(long)]
        reason: Reason,
        /// Have clients show a notice for so long, such as 30d, or `forever`.
        #[arg(long, value_name = "TTL")]
        #[serde(skip_serializing_if = "Option::is_none", default)]
        notice: Option<String>,
    },
    /// Unblock a queue.
    Unblock {
        /// Sender id or link id of the queue, base64url.
        #[arg(allow_hyphen_values = true)]
        id: String,
    },
    /// Delete a queue with all that waits in it.
    Delete {
        /// Sender id or link id of the queue, base64url.
        #[arg(allow_hyphen_values = true)]
        id: String,
    },
    /// Look for damaged messages in all queues, and tell the sender ids of those that have some. Reads all that is stored.
    Damaged,
    /// Drop the damaged messages of a queue, and no others: what is behind them is delivered again.
    #[serde(rename = "drop-damaged")]
    DropDamaged {
        /// Sender id or link id of the queue, base64url.
        #[arg(allow_hyphen_values = true, required_unless_present = "all", conflicts_with = "all")]
        #[serde(skip_serializing_if = "Option::is_none", default)]
        id: Option<String>,
        /// In all queues that have some.
        #[arg(long)]
        #[serde(skip_serializing_if = "std::ops::Not::not", default)]
        all: bool,
    },
    /// Take up renewed certificates and the [information] of the settings.
    Reload,
    /// Take no new connections, finish what was begun, and end.
    Drain,
}

/// Why a queue is blocked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// Unwanted messages.
    Spam,
    /// Content that may not be.
    Content,
}

impl Reason {
    /// The reason as clients are told, with a notice for so long, or `forever`.
    ///
    /// # Errors
    /// When the notice is no length of time.
    pub fn info(self, notice: Option<&str>) -> Result<BlockingInfo, String> {
        let reason = match self {
            Self::Spam => BlockingReason::Spam,
            Self::Content => BlockingReason::Content,
        };
        let notice = match notice {
            None => None,
            Some("forever") => Some(ClientNotice { ttl_seconds: None }),
            Some(text) => {
                let ttl: Period =
                    text.parse().map_err(|error| format!("the notice: {error}, or `forever`"))?;
                Some(ClientNotice { ttl_seconds: Some(ttl.as_ms() / 1000) })
            }
        };
        Ok(BlockingInfo { reason, notice })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_lines_of_json_and_unknown_ones_are_refused() {
        let request = Request::Block { id: "a".into(), reason: Reason::Spam, notice: None };
        let line = r#"{"command":"block","id":"a","reason":"spam"}"#;
        assert_eq!(serde_json::to_string(&request).unwrap(), line);
        assert_eq!(serde_json::from_str::<Request>(line).unwrap(), request);
        for wrong in [r#"{"command":"explode"}"#, r#"{"command":"block","id":"a"}"#, "stats"] {
            assert!(serde_json::from_str::<Request>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_notice_has_a_length_or_none() {
        let notice =
            |text| Reason::Content.info(text).map(|info| info.notice.map(|notice| notice.ttl_seconds));
        assert_eq!(notice(None), Ok(None));
        assert_eq!(notice(Some("forever")), Ok(Some(None)));
        assert_eq!(notice(Some("1h")), Ok(Some(Some(3600))));
        assert!(notice(Some("3600")).is_err());
    }
}
