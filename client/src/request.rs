//! What a command asks of the engine. The same value crosses the control socket as one line of JSON.

use protocol::group::entrance::{Entrance, Shown};
use serde::{Deserialize, Serialize};

use crate::network::NetworkChange;

/// One request, as parsed from a command line. Groups, members and messages are named as people name them; the
/// engine resolves them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Request {
    /// Keep a queue server for new queues.
    ServerAdd { address: String },
    /// Show the kept servers.
    ServerList,
    /// Forget a server; queues that exist stay where they are.
    ServerRemove { address: String },
    /// Show or change how servers are reached.
    Network { change: NetworkChange },
    /// Keep a relay's address under a name.
    RelayAdd { name: String, link: String, code: Option<String> },
    /// Show the kept relays.
    RelayList,
    /// Forget a relay's address; groups keep theirs.
    RelayRemove { name: String },
    /// See whether a relay, by its name or link, answers and holds the key of its address.
    RelayTest { relay: String, timeout_ms: u64 },
    /// Make a group, or go on making one that is half made.
    GroupCreate(GroupCreate),
    /// Show all groups.
    GroupList,
    /// Show or change a group's profile.
    GroupProfile { group: String, change: Option<ProfileChange>, timeout_ms: u64 },
    /// Show a group's link.
    GroupLink { group: String },
    /// Show a group's relays.
    GroupRelays { group: String, follow: bool },
    /// Add one more relay.
    GroupRelayAdd { group: String, relay: String, code: Option<String>, timeout_ms: u64 },
    /// Take a relay out.
    GroupRelayRemove { group: String, relay: String, notice: bool, force: bool, timeout_ms: u64 },
    /// Read the group link again and connect to the relays it lists.
    GroupRestore { group: String, timeout_ms: u64 },
    /// End the group for everybody.
    GroupDelete { group: String, timeout_ms: u64 },
    /// Join by link.
    Join { link: String, timeout_ms: u64 },
    /// Go on joining, with what the group asks for.
    Enter { group: String, shown: Shown, timeout_ms: u64 },
    /// Post messages, in order.
    Send { group: String, texts: Vec<String>, reply_to: Option<String>, timeout_ms: u64 },
    /// Follow what happens, from the first message not yet shown.
    Listen { group: Option<String>, history: bool },
    /// Show messages that are here.
    History { group: String, limit: u32 },
    /// Count messages as read: all, or up to one.
    Read { group: String, message: Option<String> },
    /// Show members.
    Members { group: String },
    /// Show who knocks.
    Knocks { group: String },
    /// Let somebody in who knocks.
    Accept { group: String, member: String, timeout_ms: u64 },
    /// Do not let somebody in who knocks.
    Reject { group: String, member: String, reason: String, timeout_ms: u64 },
    /// Show what is kept against relays.
    Evidence { group: String },
    /// Give a member another role.
    Role { group: String, member: String, role: String, timeout_ms: u64 },
    /// Remove a member.
    Remove { group: String, member: String, messages: bool, timeout_ms: u64 },
    /// Stop or allow a member's posts for everybody.
    Restrict { group: String, member: String, blocked: bool, timeout_ms: u64 },
    /// Leave a group.
    Leave { group: String, timeout_ms: u64 },
    /// Change the text of an own message.
    Edit { group: String, message: String, text: String, timeout_ms: u64 },
    /// Delete a message for everybody.
    Delete { group: String, message: String, timeout_ms: u64 },
    /// Put a reaction on a message, or take it back.
    React { group: String, message: String, emoji: String, add: bool, timeout_ms: u64 },
    /// Wait until all that was begun is out, at most so long.
    Flush { timeout_ms: u64 },
    /// Write the whole home into a sealed file.
    ExportHome { path: String, passphrase: ArchivePassphrase },
    /// Write the owner keys of a group into a sealed file.
    ExportGroup { group: String, path: String, passphrase: ArchivePassphrase },
    /// Take over the owner keys of a group.
    ImportGroup { path: String, passphrase: ArchivePassphrase, timeout_ms: u64 },
    /// Look at the store for everything that could be wrong.
    Doctor,
}

/// What a new group is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GroupCreate {
    /// The name that everybody sees.
    pub(crate) name: String,
    /// A longer name.
    pub(crate) full_name: String,
    /// Shown to those who join.
    pub(crate) description: Option<String>,
    /// Names or links; all kept ones when empty.
    pub(crate) relays: Vec<String>,
    /// The server for the group link; a kept one when absent.
    pub(crate) server: Option<String>,
    /// Role of those who join: `observer` or `member`.
    pub(crate) joiner_role: String,
    /// Whether joiners wait for a moderator.
    #[serde(default)]
    pub(crate) review: bool,
    /// How long to wait for the relays.
    pub(crate) timeout_ms: u64,
}

/// What is to change in a group's profile; absent parts stay.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProfileChange {
    /// New name.
    pub(crate) name: Option<String>,
    /// New longer name.
    pub(crate) full_name: Option<String>,
    /// New description; empty takes it away.
    pub(crate) description: Option<String>,
    /// Whether joiners wait for a moderator.
    #[serde(default)]
    pub(crate) review: Option<bool>,
    /// How many of the newest posts relays keep.
    pub(crate) history_items: Option<u32>,
    /// How old they may be, in days; 0 for any age.
    pub(crate) history_days: Option<u32>,
    /// How many bytes they may have together; 0 for any number.
    pub(crate) history_bytes: Option<u64>,
    /// What joiners are asked for.
    #[serde(default)]
    pub(crate) entrance: Option<EntranceChange>,
}

/// What is to become of what joiners are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EntranceChange {
    /// Nothing is asked any more.
    Free,
    /// This is asked.
    Asks(Entrance),
}

/// The passphrase of an archive on its way to the process that holds the home.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct ArchivePassphrase(pub(crate) zeroize::Zeroizing<String>);

impl std::fmt::Debug for ArchivePassphrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ArchivePassphrase([scrubbed])")
    }
}

impl Request {
    /// Whether it changes which servers commands go through.
    pub(crate) fn changes_routes(&self) -> bool {
        matches!(self, Self::ServerAdd { .. } | Self::ServerRemove { .. } | Self::Network { .. })
    }

    /// Whether answering takes the network; the others are answered from the store alone.
    pub(crate) fn needs_network(&self) -> bool {
        !matches!(
            self,
            Self::ServerAdd { .. }
                | Self::ServerList
                | Self::ServerRemove { .. }
                | Self::Network { .. }
                | Self::RelayAdd { .. }
                | Self::RelayList
                | Self::RelayRemove { .. }
                | Self::GroupList
                | Self::GroupProfile { change: None, .. }
                | Self::GroupLink { .. }
                | Self::GroupRelays { follow: false, .. }
                | Self::History { .. }
                | Self::Read { .. }
                | Self::Members { .. }
                | Self::Knocks { .. }
                | Self::Evidence { .. }
                | Self::ExportHome { .. }
                | Self::ExportGroup { .. }
                | Self::Doctor
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_survives_the_socket_and_hides_its_passphrase() {
        let request = Request::ExportHome {
            path: "/x".into(),
            passphrase: ArchivePassphrase(zeroize::Zeroizing::new("hush".into())),
        };
        let line = serde_json::to_string(&request).unwrap();
        assert_eq!(serde_json::from_str::<Request>(&line).unwrap(), request);
        assert!(!format!("{request:?}").contains("hush"));
        assert!(serde_json::from_str::<Request>(r#"{"request":"unheard_of"}"#).is_err());
    }
}
