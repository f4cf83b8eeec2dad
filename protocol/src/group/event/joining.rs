//! Between a joiner and a relay (channels.md §9.2, §13).

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::owner_relay::{Capabilities, MemberIdRole};
use crate::group::identity::{MemberId, MemberKey, MemberRole};
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
}

/// x.grp.link.inv: the relay's answer, in its confirmation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkInvitation {
    /// All of it.
    pub group_link_invitation: GroupLinkInvitation,
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
    /// How far the joiner is let in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<Value>,
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
}

/// x.grp.link.reject.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkReject {
    /// All of it.
    pub group_link_rejection: GroupLinkRejection,
}

/// Why somebody is not let in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupLinkRejection {
    /// The group's name.
    pub group_name: String,
    /// A word, or an object in later versions.
    pub rejection_reason: Value,
}

impl GroupLinkRejection {
    /// The reason for a person to read.
    #[must_use]
    pub fn explained(&self) -> String {
        match &self.rejection_reason {
            Value::String(word) => word.clone(),
            other => other.get("type").and_then(Value::as_str).unwrap_or("no reason was given").to_owned(),
        }
    }
}

/// x.grp.link.acpt: knocking was answered; not used with relays `[U]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkAccept {
    /// How far.
    pub acceptance: Value,
    /// As what.
    pub role: MemberRole,
    /// Who.
    pub member_id: MemberId,
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
