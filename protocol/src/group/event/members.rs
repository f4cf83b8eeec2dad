//! Members come, change and go (channels.md §9.3).

use serde::{Deserialize, Serialize};

use super::content::Scope;
use crate::group::identity::{MemberId, MemberKey, MemberRole, words};
use crate::group::profile::Profile;

/// What is said about a member.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberInfo {
    /// Who.
    pub member_id: MemberId,
    /// The role claimed; a roster role counts only once the roster confirms it.
    pub member_role: MemberRole,
    /// The member's chat versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub v: Option<String>,
    /// The profile, not signed by anybody here.
    pub profile: Profile,
    /// The member's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_key: Option<MemberKey>,
}

/// x.grp.mem.new.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberNew {
    /// The member.
    pub member_info: MemberInfo,
    /// The sub-conversation in which the member appears.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
}

/// x.grp.mem.intro: to a joiner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberIntro {
    /// The member.
    pub member_info: MemberInfo,
    /// Whether it is blocked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_restrictions: Option<Restrictions>,
}

/// x.grp.mem.role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberRoleChange {
    /// Whose role.
    pub member_id: MemberId,
    /// The new role.
    pub role: MemberRole,
    /// The member's key, for those who have not met it `[U: key name]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_key: Option<MemberKey>,
    /// The version of the roster that this makes `[U: key name]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roster_version: Option<i64>,
}

/// x.grp.mem.restrict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberRestrict {
    /// Who.
    pub member_id: MemberId,
    /// How.
    pub member_restrictions: Restrictions,
    /// The member's key, as in [`MemberDelete`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_key: Option<MemberKey>,
}

/// How a member is restricted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restrictions {
    /// Blocked or not.
    pub restriction: Restriction,
}

words!(
    /// Whether what a member posts reaches others.
    Restriction {
        /// It does.
        Unrestricted = "unrestricted",
        /// It does not.
        Blocked = "blocked",
    } else Unknown
);

/// x.grp.mem.del.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberDelete {
    /// Who is removed.
    pub member_id: MemberId,
    /// Whether the member's messages go too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub messages: bool,
    /// The member's key, for those who have not met it: it is not to come in under another id. Ours (docs/protocol.md §5,
    /// "Rulings").
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_key: Option<MemberKey>,
    /// The version of the roster that this makes `[U: key name]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roster_version: Option<i64>,
}

/// x.grp.mem.rulings: what follows in this message are rulings that stand, and who said them about whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRulings {}

/// x.grp.leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Leave {}
