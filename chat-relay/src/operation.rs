//! What the operator allows: the file's settings, and over them what was said at run time through the control socket.

use std::collections::BTreeMap;
use std::sync::Arc;

use clap::ValueEnum;
use protocol::smp::address::ServerAddress;
use protocol::smp::ids::RecipientId;
use protocol::timestamp::Timestamp;
use serde::{Deserialize, Serialize};

use crate::access::Access;
use crate::config::Limits;
use crate::intake::Intake;
use crate::metrics::Metrics;
use crate::notices::Notices;
use crate::store::records::{GroupId, Purpose};

/// The setting that says whose groups are taken.
const ACCESS: &str = "access";
/// The setting that keeps everything back.
const PAUSED: &str = "paused";
/// Ahead of the names of quotas.
const QUOTA: &str = "quota.";

macro_rules! quotas {
    ($($(#[doc = $doc:literal])* $quota:ident = $word:literal from $limit:ident,)*) => {
        /// What is counted and bounded; 0 stands for no bound.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
        #[serde(rename_all = "snake_case")]
        #[value(rename_all = "snake_case")]
        pub enum Quota {
            $($(#[doc = $doc])* $quota,)*
        }

        impl Quota {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$quota,)*];

            /// The name in settings and on the command line.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$quota => $word,)* }
            }

            /// What the file says.
            fn of(self, limits: &Limits) -> u64 {
                match self { $(Self::$quota => limits.$limit.into(),)* }
            }
        }
    };
}

quotas! {
    /// Groups served at most.
    TotalGroups = "total_groups" from groups_max,
    /// Members of all groups at most.
    TotalMembers = "total_members" from total_members_max,
    /// Messages of all groups on one day (UTC).
    TotalMessagesPerDay = "total_messages_per_day" from total_messages_per_day,
    /// Bytes of all groups' messages on one day.
    TotalBytesPerDay = "total_bytes_per_day" from total_bytes_per_day,
    /// Groups of one owner or code.
    OwnerGroups = "owner_groups" from owner_groups_max,
    /// Members in all groups of one owner or code.
    OwnerMembers = "owner_members" from owner_members_max,
    /// Messages in all groups of one owner or code on one day.
    OwnerMessagesPerDay = "owner_messages_per_day" from owner_messages_per_day,
    /// Bytes of messages in all groups of one owner or code on one day.
    OwnerBytesPerDay = "owner_bytes_per_day" from owner_bytes_per_day,
    /// Messages of one member in a minute; owners are not bound by it.
    MemberMessagesPerMinute = "member_messages_per_minute" from member_messages_per_minute,
    /// Messages of all members of one group in a minute; owners are not bound by it.
    GroupMessagesPerMinute = "group_messages_per_minute" from group_messages_per_minute,
    /// Requests to join one group in a minute.
    GroupJoinsPerMinute = "group_joins_per_minute" from group_joins_per_minute,
}

/// The rules in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Whose groups are taken.
    pub access: Access,
    /// Whether all messages are kept back.
    pub paused: bool,
    quotas: BTreeMap<Quota, u64>,
}

impl Rules {
    /// The file's rules, and over them the operator's. What this version does not know is passed over.
    #[must_use]
    pub fn new(limits: &Limits, given: &[(String, String)]) -> Self {
        let quotas = Quota::ALL.iter().map(|quota| (*quota, quota.of(limits))).collect();
        let mut rules = Self { access: limits.access, paused: false, quotas };
        for (name, value) in given {
            match (name.as_str(), name.strip_prefix(QUOTA)) {
                (ACCESS, _) => rules.access = Access::from_word(value).unwrap_or(rules.access),
                (PAUSED, _) => rules.paused = true,
                (_, Some(word)) => {
                    let quota = Quota::ALL.iter().find(|quota| quota.word() == word);
                    if let (Some(quota), Ok(value)) = (quota, value.parse()) {
                        rules.quotas.insert(*quota, value);
                    }
                }
                _ => {}
            }
        }
        rules
    }

    /// How much is allowed; nothing when any amount is.
    #[must_use]
    pub fn quota(&self, quota: Quota) -> Option<u64> {
        self.quotas.get(&quota).copied().filter(|allowed| *allowed > 0)
    }
}

/// The stored form of a rule: its name and its value, none to take it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Under which it is stored.
    pub name: String,
    /// What is stored.
    pub value: Option<String>,
}

impl Change {
    /// Whose groups are taken from now on.
    #[must_use]
    pub fn access(access: Access) -> Self {
        Self { name: ACCESS.to_owned(), value: Some(access.word().to_owned()) }
    }

    /// Whether all messages are kept back from now on.
    #[must_use]
    pub fn paused(paused: bool) -> Self {
        Self { name: PAUSED.to_owned(), value: paused.then(|| "yes".to_owned()) }
    }

    /// How much is allowed from now on; without a value what the file says.
    #[must_use]
    pub fn quota(quota: Quota, value: Option<u64>) -> Self {
        Self { name: format!("{QUOTA}{}", quota.word()), value: value.map(|value| value.to_string()) }
    }
}

/// How a server is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerHealth {
    /// There is a session.
    Up,
    /// The last session ended, or none came about.
    Down,
}

/// What the engine's thread remembers of its operation.
#[derive(Debug)]
pub struct Operation {
    /// The rules in force.
    pub rules: Rules,
    /// What bounds the pace of members.
    pub intake: Intake,
    /// What owners were told of refusals.
    pub notices: Notices,
    /// Servers that were reached or lost since the start.
    pub servers: BTreeMap<ServerAddress, ServerHealth>,
    /// Queues of ours that their servers do not let us hear, as when they are blocked, and what those of connections are
    /// for.
    pub refused: BTreeMap<(ServerAddress, RecipientId), Option<Purpose>>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// When the oldest message came that a group's round hands out.
    pub fan_outs: BTreeMap<GroupId, Timestamp>,
    /// When a relay that drains ends at the latest.
    pub drain_until: Option<Timestamp>,
}

impl Operation {
    /// By the file alone, until the store was asked.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self {
            rules: Rules::new(limits, &[]),
            intake: Intake::default(),
            notices: Notices::default(),
            servers: BTreeMap::new(),
            refused: BTreeMap::new(),
            metrics: Arc::default(),
            fan_outs: BTreeMap::new(),
            drain_until: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(changes: &[Change]) -> Rules {
        let given: Vec<_> =
            changes.iter().filter_map(|change| Some((change.name.clone(), change.value.clone()?))).collect();
        Rules::new(&Limits { owner_groups_max: 3, ..Limits::default() }, &given)
    }

    #[test]
    fn what_is_said_at_run_time_wins_over_the_file() {
        let file = given(&[]);
        assert_eq!((file.access, file.paused), (Access::Everyone, false));
        assert_eq!((file.quota(Quota::OwnerGroups), file.quota(Quota::OwnerMembers)), (Some(3), None));
        let changed = given(&[
            Change::access(Access::Codes),
            Change::paused(true),
            Change::quota(Quota::OwnerGroups, Some(0)),
            Change::quota(Quota::OwnerMembers, Some(9)),
        ]);
        assert_eq!((changed.access, changed.paused), (Access::Codes, true));
        assert_eq!((changed.quota(Quota::OwnerGroups), changed.quota(Quota::OwnerMembers)), (None, Some(9)));
        assert_eq!(given(&[Change::paused(false), Change::quota(Quota::OwnerGroups, None)]), file);
    }

    #[test]
    fn what_is_not_known_is_passed_over() {
        let unknown = [("quota.later".to_owned(), "1".to_owned()), ("access".to_owned(), "some".to_owned())];
        assert_eq!(Rules::new(&Limits::default(), &unknown), Rules::new(&Limits::default(), &[]));
    }

    #[test]
    fn quotas_are_named_as_on_the_command_line() {
        for quota in Quota::ALL {
            let named = quota.to_possible_value().map(|value| value.get_name().to_owned());
            assert_eq!(named.as_deref(), Some(quota.word()));
        }
    }
}
