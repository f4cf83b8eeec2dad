//! Between an owner and a relay, setting up (channels.md §9.1).

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::group::constants::REASON_BYTES_MAX;
use crate::group::identity::{LinkText, MemberId, MemberRole};
use crate::group::json_bytes;
use crate::group::profile::Profile;

/// x.grp.relay.inv: the information of the contact request to a relay address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RelayInvite {
    /// All of it.
    pub group_relay_invitation: RelayInvitation,
}

/// What an owner offers a relay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RelayInvitation {
    /// The owner.
    pub from_member: MemberIdRole,
    /// The owner's profile.
    pub from_member_profile: Profile,
    /// The id that the relay must use, and write into its relay link.
    pub relay_member_id: MemberId,
    /// Where the group's profile, owners and relays are to be read.
    pub group_link: LinkText,
    /// What the relay's operator gave the owner: an addition of ours, which other relays ignore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invitation_code: Option<String>,
    /// Whether the owner's client gives history by pages: an addition of ours too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<bool>,
}

/// A member with its role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberIdRole {
    /// Who.
    pub member_id: MemberId,
    /// As what.
    pub member_role: MemberRole,
}

/// x.grp.relay.acpt: in the confirmation of the owner's request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RelayAccept {
    /// The relay link, made for this group.
    pub relay_link: LinkText,
    /// What the relay can do besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay_cap: Option<Capabilities>,
}

/// What a relay can do besides forwarding.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Capabilities {
    /// The domain of its web previews.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub web_domain: Option<String>,
    /// Whether it gives history by pages: an extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<bool>,
    /// Whether it takes a second connection of an owner or member: an extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub two_connections: Option<bool>,
}

impl Capabilities {
    /// Of our relays.
    #[must_use]
    pub fn of_our_relays() -> Self {
        Self { web_domain: None, history: Some(true), two_connections: Some(true) }
    }

    /// Whether a second connection may be asked for.
    #[must_use]
    pub fn takes_two_connections(&self) -> bool {
        self.two_connections.unwrap_or(false)
    }
}

/// x.grp.relay.reject: in the same place as the acceptance.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RelayReject {
    /// A word, perhaps followed by `: ` and words for people `[U: key name]`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "any_as_text")]
    pub reason: Option<String>,
}

impl RelayReject {
    /// The stock word for a group that the operator has left.
    pub const REJOIN_REJECTED: &str = "rejoin_rejected";

    /// A refusal: a stable word for programs, and the cause for people.
    #[must_use]
    pub fn new(word: &str, cause: &dyn std::fmt::Display) -> Self {
        let mut reason = format!("{word}: {cause}");
        truncate(&mut reason);
        Self { reason: Some(reason) }
    }

    /// The reason, bounded, for the owner to read.
    #[must_use]
    pub fn explained(&self) -> String {
        let mut reason = match self.reason.as_deref() {
            None | Some("") => "the relay gave no reason".to_owned(),
            Some(Self::REJOIN_REJECTED) => {
                "the relay's operator has left this group: ask the operator, or choose another relay"
                    .to_owned()
            }
            Some(reason) => reason.to_owned(),
        };
        truncate(&mut reason);
        reason
    }
}

/// Text, or the JSON text of anything else: a reason in a form that we do not know must not hide the refusal.
fn any_as_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let value = Option::<Value>::deserialize(deserializer)?;
    Ok(value.map(|value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    }))
}

/// Cuts at [`REASON_BYTES_MAX`], on a character.
fn truncate(text: &mut String) {
    text.truncate(text.floor_char_boundary(REASON_BYTES_MAX));
}

/// x.grp.relay.notice: a relay tells an owner what it refuses, in its own signed words; and a joiner, in the answer to its
/// request, that this relay does not let it in. An extension.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RelayNotice {
    /// A stable word for programs.
    pub notice: String,
    /// What happens and what to do, for people.
    pub text: String,
    /// How many were refused since the last notice of this kind.
    #[serde(default)]
    pub count: u64,
    /// Whom it is about, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_id: Option<MemberId>,
    /// To a joiner: after so many seconds it may be otherwise; absent when asking again is of no use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask_again_after: Option<u32>,
}

impl RelayNotice {
    /// The relay hears nothing on this connection any more, though what it says still arrives: whoever is told asks it for
    /// another connection.
    pub const UNHEARD: &str = "unheard";

    /// The text, bounded, for people to read.
    #[must_use]
    pub fn explained(&self) -> String {
        let mut text = self.text.clone();
        truncate(&mut text);
        text
    }
}

/// x.grp.relay.cap: told to owners when it changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RelayCapabilities {
    /// What the relay can do besides.
    pub relay_cap: Capabilities,
}

/// x.grp.relay.new: told to members by way of the other relays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RelayNew {
    /// The new relay's link.
    pub relay_link: LinkText,
}

/// x.grp.relay.test: a challenge, and the same with its signature back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayTest {
    /// 32 random bytes.
    #[serde(with = "json_bytes")]
    pub challenge: Vec<u8>,
    /// By the root key of the relay address.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "json_bytes::optional")]
    pub signature: Option<Vec<u8>>,
}

/// x.grp.roster.ack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RosterAck {
    /// Which version the relay now serves, or could not take.
    pub version: i64,
    /// Why it could not.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "any_as_text")]
    pub error: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_in_any_form_is_a_refusal() {
        let reject = |json| serde_json::from_str::<RelayReject>(json).unwrap().explained();
        assert_eq!(reject("{}"), "the relay gave no reason");
        assert_eq!(
            reject(r#"{"reason":"rejoin_rejected"}"#),
            "the relay's operator has left this group: ask the operator, or choose another relay"
        );
        assert_eq!(reject(r#"{"reason":"later_word"}"#), "later_word");
        assert_eq!(reject(r#"{"reason":{"type":"later"}}"#), r#"{"type":"later"}"#);
        let ack = |json| serde_json::from_str::<RosterAck>(json).unwrap().error;
        assert_eq!(ack(r#"{"version":1}"#), None);
        assert_eq!(ack(r#"{"version":1,"error":null}"#), None);
        assert_eq!(ack(r#"{"version":1,"error":["digest"]}"#).as_deref(), Some(r#"["digest"]"#));
    }
}
