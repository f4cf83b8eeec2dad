//! All events of channels.md §9 in one table: wire name, Rust name, parameters.

use serde_json::{Map, Value};

use super::{MessageError, bulk, content, group, history, joining, members, owner_relay};

/// An event that we do not know, kept as it came.
#[derive(Debug, Clone, PartialEq)]
pub struct UnknownEvent {
    /// Its name on the wire.
    pub name: String,
    /// Its parameters.
    pub params: Value,
}

macro_rules! catalogue {
    ($($(#[$doc:meta])* $variant:ident($params:ty) = $name:literal,)*) => {
        /// What a message says. Named after what happened; the wire name stands in the table of this file.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Event {
            $($(#[$doc])* $variant($params),)*
            /// An event that we do not know: ignored.
            Unknown(UnknownEvent),
        }

        /// Which event, without its parameters.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum EventTag {
            $($(#[$doc])* $variant,)*
            /// An event that we do not know.
            Unknown,
        }

        impl EventTag {
            /// All events, [`Self::Unknown`] last.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)* Self::Unknown];

            /// The name on the wire; empty for an unknown event.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                    Self::Unknown => "",
                }
            }
        }

        impl Event {
            /// Which event.
            #[must_use]
            pub const fn tag(&self) -> EventTag {
                match self {
                    $(Self::$variant(_) => EventTag::$variant,)*
                    Self::Unknown(_) => EventTag::Unknown,
                }
            }

            /// Reads the parameters of the event called `name`.
            pub(super) fn from_parts(name: String, params: Value) -> Result<Self, MessageError> {
                let params = if params.is_null() { Value::Object(Map::new()) } else { params };
                match name.as_str() {
                    $($name => serde_json::from_value(params)
                        .map(Self::$variant)
                        .map_err(|_| MessageError::Parameters($name)),)*
                    _ => Ok(Self::Unknown(UnknownEvent { name, params })),
                }
            }

            /// The name and parameters on the wire.
            pub(super) fn to_parts(&self) -> (String, Value) {
                match self {
                    $(Self::$variant(params) => (
                        $name.to_owned(),
                        serde_json::to_value(params).expect("parameters hold text, numbers and string keys only"),
                    ),)*
                    Self::Unknown(event) => (event.name.clone(), event.params.clone()),
                }
            }
        }
    };
}

catalogue! {
    // Owner ⇄ relay (§9.1).
    /// An owner asks a relay to serve a group.
    RelayInvite(Box<owner_relay::RelayInvite>) = "x.grp.relay.inv",
    /// A relay agrees, with its relay link.
    RelayAccept(owner_relay::RelayAccept) = "x.grp.relay.acpt",
    /// A relay declines.
    RelayReject(owner_relay::RelayReject) = "x.grp.relay.reject",
    /// A relay tells what it can do besides.
    RelayCapabilities(owner_relay::RelayCapabilities) = "x.grp.relay.cap",
    /// A relay tells an owner what it refuses: an extension.
    RelayNotice(owner_relay::RelayNotice) = "x.grp.relay.notice",
    /// An owner tells of a further relay.
    RelayNew(owner_relay::RelayNew) = "x.grp.relay.new",
    /// A relay proves that it holds the key of its address.
    RelayTest(owner_relay::RelayTest) = "x.grp.relay.test",
    /// A relay holds a roster, or could not take it.
    RosterAck(owner_relay::RosterAck) = "x.grp.roster.ack",

    // Joining (§9.2).
    /// Somebody asks a relay to be let in.
    Join(Box<joining::Join>) = "x.member",
    /// A relay lets a joiner in.
    LinkInvitation(Box<joining::LinkInvitation>) = "x.grp.link.inv",
    /// Somebody's profile.
    Info(Box<joining::Info>) = "x.info",
    /// The relay's own profile.
    LinkMember(Box<joining::LinkMember>) = "x.grp.link.mem",
    /// A relay does not let a joiner in, or a moderator does not.
    LinkReject(Box<joining::LinkReject>) = "x.grp.link.reject",
    /// A moderator accepts somebody who knocks.
    LinkAccept(joining::LinkAccept) = "x.grp.link.acpt",
    /// A direct request; ignored at a group link.
    Contact(Box<joining::Contact>) = "x.contact",

    // Members (§9.3).
    /// A member that the recipient has not met.
    MemberNew(Box<members::MemberNew>) = "x.grp.mem.new",
    /// An owner, admin or moderator, shown to a joiner.
    MemberIntro(Box<members::MemberIntro>) = "x.grp.mem.intro",
    /// A member's role changes.
    MemberRole(members::MemberRoleChange) = "x.grp.mem.role",
    /// A member is blocked for all, or no longer.
    MemberRestrict(members::MemberRestrict) = "x.grp.mem.restrict",
    /// A member is removed.
    MemberDelete(members::MemberDelete) = "x.grp.mem.del",
    /// What an owner tells a relay that comes: an extension.
    MemberRulings(members::MemberRulings) = "x.grp.mem.rulings",
    /// The author leaves.
    Leave(members::Leave) = "x.grp.leave",

    // Group (§9.4).
    /// The group's profile changes.
    GroupInfo(Box<group::GroupInfo>) = "x.grp.info",
    /// The group's preferences change.
    GroupPreferences(Box<group::GroupPreferencesChange>) = "x.grp.prefs",
    /// The group ends.
    GroupDelete(group::GroupDelete) = "x.grp.del",
    /// The header of a roster; its blob follows in chunks.
    Roster(group::Roster) = "x.grp.roster",
    /// A member missed a version of the roster.
    RosterRequest(group::RosterRequest) = "x.grp.roster.request",

    // History by pages: an extension.
    /// A member asks for older messages.
    HistoryGet(history::HistoryGet) = "x.grp.history.get",
    /// A relay says where the messages that follow stand.
    HistoryPage(history::HistoryPage) = "x.grp.history.page",
    /// A relay has passed over messages for which a member did not come in time.
    HistoryGap(history::HistoryGap) = "x.grp.history.gap",
    /// A relay asks another one of the group to let it read.
    HistoryPeer(history::HistoryPeer) = "x.grp.history.peer",

    // Two connections: an extension.
    /// A member asks for a second connection.
    BulkJoin(bulk::BulkJoin) = "x.member.bulk",
    /// Nothing more of bulk comes on the first connection.
    BulkBegin(bulk::BulkMark) = "x.grp.bulk.begin",
    /// What came on the first connection until then was taken.
    BulkReady(bulk::BulkMark) = "x.grp.bulk.ready",
    /// Both connections are in use.
    BulkGo(bulk::BulkMark) = "x.grp.bulk.go",
    /// The second connection is over.
    BulkEnd(bulk::BulkEnd) = "x.grp.bulk.end",
    /// What follows goes ahead of bulk.
    BulkAhead(bulk::BulkAhead) = "x.grp.bulk.ahead",

    // Content (§9.5).
    /// A post.
    MessageNew(Box<content::MessageNew>) = "x.msg.new",
    /// An edit.
    MessageUpdate(Box<content::MessageUpdate>) = "x.msg.update",
    /// A deletion, one's own or a moderator's.
    MessageDelete(content::MessageDelete) = "x.msg.del",
    /// A reaction comes or goes.
    MessageReact(content::MessageReact) = "x.msg.react",
    /// A part of a file's description.
    FileDescription(content::FileDescription) = "x.msg.file.descr",
    /// A file is withdrawn.
    FileCancel(content::FileCancel) = "x.file.cancel",
    /// Stands in history for what was deleted.
    Deleted(content::Deleted) = "x.msg.deleted",
    /// The older forward, as JSON.
    JsonForward(Box<content::JsonForward>) = "x.grp.msg.forward",
    /// Nothing but "received".
    Acknowledge(content::Acknowledge) = "x.ok",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct() {
        let names: std::collections::BTreeSet<_> = EventTag::ALL.iter().map(|tag| tag.name()).collect();
        assert_eq!(names.len(), EventTag::ALL.len());
    }
}
