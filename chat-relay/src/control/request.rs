//! What an operator asks of a running relay; one JSON object per line.

use clap::Subcommand;
use serde::{Deserialize, Serialize};

use crate::access::Access;
use crate::operation::Quota;

/// One request. The doc comments are the manual of `chat-relay ctl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Subcommand)]
#[serde(tag = "command", rename_all = "lowercase", deny_unknown_fields)]
pub enum Request {
    /// Show what the relay counted since it started, and what there is now
    Stats,
    /// List groups: state, members, joiners who wait for a moderator, messages that wait
    Groups {
        /// Those after this number
        #[arg(long, value_name = "GROUP", default_value_t = 0)]
        after: i64,
        /// So many at most
        #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// Show one group
    Group {
        /// Its number, as `groups` shows it
        group: i64,
    },
    /// Show the workers that share this relay's groups: how many each has, and which has the relay's address
    Workers,
    /// Show this relay's queues by server, and which servers are reached
    Queues,
    /// Show requests to servers that wait, and which of them failed and are tried again
    Jobs,
    /// Keep messages back, of one group or of all: everything is taken and kept, nothing is handed out
    Pause {
        /// Its number; all groups when absent
        #[serde(skip_serializing_if = "Option::is_none", default)]
        group: Option<i64>,
    },
    /// Hand out what was kept back
    Resume {
        /// Its number; all groups when absent
        #[serde(skip_serializing_if = "Option::is_none", default)]
        group: Option<i64>,
    },
    /// Stop serving a group: owners and members are told, and its invitations are refused until `allow`
    Reject {
        /// Its number, or the link of a group that is not served yet
        group: String,
    },
    /// List the groups that are rejected
    Rejections,
    /// Show or change whose groups are taken
    Access {
        /// From now on, also after a restart
        #[serde(skip_serializing_if = "Option::is_none", default)]
        mode: Option<Access>,
    },
    /// Put an owner on the list, or forget a rejection: that group's next invitation is looked at again
    Allow {
        /// The key that a refused owner was shown, or the number of a rejection, as `rejections` shows it, or the link
        /// of its group
        #[arg(value_name = "KEY|REJECTION|LINK")]
        whom: String,
        /// Words of your own, about an owner
        #[arg(long, value_name = "TEXT", default_value = "")]
        note: String,
    },
    /// Take an owner off the list; groups that are served stay
    Disallow {
        /// The owner's key
        key: String,
    },
    /// List the owners on the list
    Allowed,
    /// Issue, list and revoke invitation codes
    Codes {
        /// What to do
        #[command(subcommand)]
        codes: Codes,
    },
    /// Show or set quotas
    Quotas {
        /// What to do
        #[command(subcommand)]
        quotas: Quotas,
    },
    /// Hand out what waits, and end
    Drain,
}

/// `codes …`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Subcommand)]
#[serde(tag = "action", rename_all = "lowercase", deny_unknown_fields)]
pub enum Codes {
    /// Draw a code. It is shown once, and only its digest is kept
    Issue {
        /// Words of your own
        #[arg(long, value_name = "TEXT", default_value = "")]
        note: String,
        /// Groups that it lets in
        #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        groups: u32,
        /// How long it holds, such as 30d; without end when absent
        #[arg(long, value_name = "TIME")]
        #[serde(skip_serializing_if = "Option::is_none", default)]
        expires: Option<crate::duration::Duration>,
    },
    /// List the codes that were issued
    List,
    /// Take a code back; groups that it let in stay
    Revoke {
        /// Its number
        code: i64,
    },
}

/// `quotas …`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Subcommand)]
#[serde(tag = "action", rename_all = "lowercase", deny_unknown_fields)]
pub enum Quotas {
    /// Show the quotas in force; 0 is no bound
    Show,
    /// Show how much of them is used: of all, and by owner or code, those with most messages today (UTC) first
    Used {
        /// So many owners and codes at most
        #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// Set one, also for after a restart
    Set {
        /// Which
        quota: Quota,
        /// How much; 0 for no bound, nothing for what the file says
        #[serde(skip_serializing_if = "Option::is_none", default)]
        value: Option<u64>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_lines_of_json_and_unknown_ones_are_refused() {
        let cases = [
            (Request::Pause { group: None }, r#"{"command":"pause"}"#),
            (Request::Reject { group: "3".into() }, r#"{"command":"reject","group":"3"}"#),
            (
                Request::Quotas { quotas: Quotas::Set { quota: Quota::OwnerGroups, value: Some(2) } },
                r#"{"command":"quotas","quotas":{"action":"set","quota":"owner_groups","value":2}}"#,
            ),
            (
                Request::Codes {
                    codes: Codes::Issue { note: "Ann".into(), groups: 2, expires: "30d".parse().ok() },
                },
                r#"{"command":"codes","codes":{"action":"issue","note":"Ann","groups":2,"expires":"30d"}}"#,
            ),
        ];
        for (request, line) in cases {
            assert_eq!(serde_json::to_string(&request).unwrap(), line);
            assert_eq!(serde_json::from_str::<Request>(line).unwrap(), request);
        }
        for wrong in [r#"{"command":"explode"}"#, r#"{"command":"allow"}"#, "stats"] {
            assert!(serde_json::from_str::<Request>(wrong).is_err(), "{wrong}");
        }
    }
}
