//! Between a joiner and a relay (channels.md §9.2, §13).

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::history::HistoryPosition;
use super::owner_relay::{Capabilities, MemberIdRole};
use crate::group::constants::REASON_BYTES_MAX;
use crate::group::entrance::Shown;
use crate::group::identity::{MemberId, MemberKey, MemberRole, words};
use crate::group::profile::{GroupProfile, Profile};

/// x.member: the information of the contact request to a relay link, signed by the new member key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Join {
    /// The joiner's profile.
    pub profile: Profile,
    /// One id for the group, the same at every relay.
    pub new_member_id: MemberId,
    /// One key for the group, the same at every relay.
    pub new_member_key: MemberKey,
    /// The relay that is asked, so that it cannot replay the request to another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via_relay: Option<MemberId>,
    /// What the group asks of joiners: an addition of ours. In another form it is none.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "if_known")]
    pub entrance: Option<Shown>,
}

fn if_known<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Shown>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(Shown::deserialize(&value).ok())
}

words!(
    /// How far a joiner is let in.
    Acceptance {
        /// All the way.
        Accepted = "accepted",
        /// The host is to approve.
        PendingApproval = "pending",
        /// Moderators are to decide.
        PendingReview = "pending_review",
    } else Unknown
);

/// x.grp.link.inv: the relay's answer, in its confirmation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkInvitation {
    /// All of it.
    pub group_link_invitation: GroupLinkInvitation,
    /// What the relay can do besides: an extension, in the form that owners are told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay_cap: Option<Capabilities>,
}

/// What a relay tells somebody whom it lets in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupLinkInvitation {
    /// The relay.
    pub from_member: MemberIdRole,
    /// The relay's name.
    pub from_member_name: String,
    /// The joiner, with the role it gets.
    pub invited_member: MemberIdRole,
    /// The group; its `publicGroupId` must be that of the group being joined.
    pub group_profile: GroupProfile,
    /// How far the joiner is let in; all the way when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<Acceptance>,
    /// Not used with relays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub business: Option<Value>,
    /// How many members.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_size: Option<i64>,
}

/// x.info: a member's profile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Info {
    /// The author's.
    pub profile: Profile,
}

/// x.grp.link.mem: the relay's own profile, after the connection stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkMember {
    /// The relay's.
    pub profile: Profile,
    /// What the relay can do besides: an extension, in the form that owners are told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay_cap: Option<Capabilities>,
    /// The oldest post of those that follow unasked: an extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history_from: Option<HistoryPosition>,
}

/// x.grp.link.reject: a relay's answer to a joiner. With the additions below, which stock clients pass over, it is also a
/// moderator's decision, and a relay's word about it to moderators.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkReject {
    /// All of it.
    pub group_link_rejection: GroupLinkRejection,
    /// Who knocked: an addition of ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_id: Option<MemberId>,
    /// Who knocked, for relays at which nobody has knocked yet: an addition of ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_key: Option<MemberKey>,
    /// Who decided, for moderators; absent when nobody did: an addition of ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<MemberId>,
}

/// Why somebody is not let in. Stock clients ask for the two members and the profile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupLinkRejection {
    /// The relay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_member: Option<MemberIdRole>,
    /// The joiner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invited_member: Option<MemberIdRole>,
    /// The group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_profile: Option<GroupProfile>,
    /// The group's name.
    #[serde(default)]
    pub group_name: String,
    /// A word, or an object in later versions.
    pub rejection_reason: Value,
}

impl GroupLinkRejection {
    /// A reason, and whose it is.
    #[must_use]
    pub fn new(group_name: impl Into<String>, reason: &str) -> Self {
        let reason = reason.get(..reason.floor_char_boundary(REASON_BYTES_MAX)).unwrap_or_default();
        Self {
            from_member: None,
            invited_member: None,
            group_profile: None,
            group_name: group_name.into(),
            rejection_reason: reason.into(),
        }
    }

    /// The reason for a person to read, of at most [`REASON_BYTES_MAX`].
    #[must_use]
    pub fn explained(&self) -> String {
        let mut reason = match &self.rejection_reason {
            Value::String(word) => word.clone(),
            other => other.get("type").and_then(Value::as_str).unwrap_or_default().to_owned(),
        };
        if reason.is_empty() {
            return "no reason was given".to_owned();
        }
        reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
        reason
    }
}

/// x.grp.link.acpt: a moderator accepts somebody who knocks; a relay tells the joiner and the moderators.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkAccept {
    /// How far.
    pub acceptance: Acceptance,
    /// As what. A relay takes no role from here: privileges come from the roster.
    pub role: MemberRole,
    /// Who.
    pub member_id: MemberId,
    /// Who, for relays at which nobody has knocked yet: an addition of ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_key: Option<MemberKey>,
    /// Who decided, for moderators: an addition of ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<MemberId>,
}

/// x.contact: a direct request to an address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Contact {
    /// Whose.
    pub profile: Profile,
    /// The message, if one came with the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Value>,
}
