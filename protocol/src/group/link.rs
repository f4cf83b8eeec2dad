//! What group links, relay links and relay addresses say about themselves (channels.md §5).
//!
//! ```text
//! user blob = json / "X" zstd(json)            compressed when the JSON exceeds 10,240 bytes
//! group link     { "groupProfile": { … }, "publicGroupData": { "publicMemberCount": n }, "linkDataVersion": n }
//! relay link, relay address     { "relayProfile": { … } }
//! ```
//!
//! `linkDataVersion` is an addition of ours that other readers ignore: it grows with each write by the owner, inside
//! what the owner signs, so that a server cannot bring back an older list of relays to somebody who has seen a
//! newer one. A reader keeps the highest that it saw per group and refuses a lower one. Whoever reads the link for
//! the first time cannot tell.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use super::compress::{CompressedError, compress, decompress};
use super::constants::{DECOMPRESSED_BYTES_MAX, LINK_JSON_PLAIN_BYTES_MAX};
use super::identity::{MemberId, PublicGroupId};
use super::profile::{GroupProfile, Profile, ProfileProblem, PublicGroup};

const COMPRESSED_TAG: u8 = b'X';

/// What a group link says: written by the owner, read by relays and joiners.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupLinkData {
    /// The group.
    pub group_profile: GroupProfile,
    /// Numbers for joiners.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_group_data: Option<PublicGroupData>,
    /// Grows with each write; links that other programs write have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_data_version: Option<u64>,
    /// Fields that we do not know.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// Numbers for joiners.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PublicGroupData {
    /// How many members, without relays.
    pub public_member_count: i64,
}

/// What a relay link or a relay address says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RelayLinkData {
    /// The relay.
    pub relay_profile: Profile,
}

/// The client data of a group link's connection request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum ClientData {
    /// A group link.
    Group {
        /// Tells links of one owner apart.
        group_link_id: String,
    },
}

/// Why the blob of a link is not what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LinkDataError {
    /// Compressed, and damaged or too large.
    #[error("the link's data cannot be unfolded: {0}")]
    Compressed(#[from] CompressedError),
    /// More than 65,536 bytes.
    #[error("the link's data is too large")]
    TooLarge,
    /// Not the JSON of such a link.
    #[error("the link's data is not that of {0}")]
    Json(&'static str),
}

/// Why a group link is refused; a text that its owner can act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GroupLinkProblem {
    /// The profile.
    #[error(transparent)]
    Profile(#[from] ProfileProblem),
    /// The fixed part of the link names no group.
    #[error("the link does not name a group")]
    NoEntityId,
    /// The fixed part names another group than the profile.
    #[error("the link names another group than its profile does")]
    AnotherGroup,
}

/// The server gave link data that is older than what was seen before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "the server gave version {found} of the group link, after version {seen} was seen: data was rolled back"
)]
pub struct RolledBack {
    /// The version found; 0 when there is none.
    pub found: u64,
    /// The highest version seen.
    pub seen: u64,
}

/// How link data stands to what was seen before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkDataAge {
    /// Not seen before: remember this version.
    Newer(u64),
    /// Seen before.
    Same,
    /// The link does not say.
    Unversioned,
}

impl GroupLinkData {
    /// Reads the blob of a group link.
    ///
    /// # Errors
    /// When it cannot be unfolded or is not the JSON of a group link.
    pub fn parse(blob: &[u8]) -> Result<Self, LinkDataError> {
        parse(blob, "a group link")
    }

    /// The blob to be written.
    #[must_use]
    pub fn to_blob(&self) -> Vec<u8> {
        to_blob(self)
    }

    /// Checks profile and identity against the link's `linkEntityId`. Whether the id is the hash of the root key is
    /// not asked, on purpose.
    ///
    /// # Errors
    /// The first problem, in words for people.
    pub fn check(&self, link_entity_id: Option<&[u8]>) -> Result<&PublicGroup, GroupLinkProblem> {
        let entity_id = link_entity_id.ok_or(GroupLinkProblem::NoEntityId)?;
        let public_group = self.group_profile.check()?;
        if public_group.public_group_id.as_bytes() == entity_id {
            Ok(public_group)
        } else {
            Err(GroupLinkProblem::AnotherGroup)
        }
    }

    /// Compares with the highest version seen for this group. A link without a version counts as version 0.
    ///
    /// # Errors
    /// [`RolledBack`] when a higher one was seen.
    pub fn compare_version(&self, highest_seen: Option<u64>) -> Result<LinkDataAge, RolledBack> {
        let found = self.link_data_version.unwrap_or(0);
        match highest_seen {
            Some(seen) if found < seen => Err(RolledBack { found, seen }),
            Some(seen) if found == seen => Ok(LinkDataAge::Same),
            _ => Ok(self.link_data_version.map_or(LinkDataAge::Unversioned, LinkDataAge::Newer)),
        }
    }
}

impl RelayLinkData {
    /// Reads the blob of a relay link or a relay address.
    ///
    /// # Errors
    /// When it cannot be unfolded or is not the JSON of such a link.
    pub fn parse(blob: &[u8]) -> Result<Self, LinkDataError> {
        parse(blob, "a relay")
    }

    /// The blob to be written.
    #[must_use]
    pub fn to_blob(&self) -> Vec<u8> {
        to_blob(self)
    }
}

impl ClientData {
    /// The JSON text.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("text in an object always serializes")
    }

    /// Reads the JSON text; other types than `group` give nothing.
    #[must_use]
    pub fn parse(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }
}

/// The member id that a relay link was made for: its `linkEntityId` (§5.5).
///
/// # Errors
/// [`RelayLinkProblem`] when it is missing or not an id.
pub fn relay_link_member(link_entity_id: Option<&[u8]>) -> Result<MemberId, RelayLinkProblem> {
    MemberId::new(link_entity_id.unwrap_or_default()).map_err(|_| RelayLinkProblem::NoMemberId)
}

/// Checks that a relay link was made for the member id that the owner gave.
///
/// # Errors
/// [`RelayLinkProblem`].
pub fn check_relay_link(link_entity_id: Option<&[u8]>, assigned: &MemberId) -> Result<(), RelayLinkProblem> {
    if relay_link_member(link_entity_id)? == *assigned {
        Ok(())
    } else {
        Err(RelayLinkProblem::AnotherMember)
    }
}

/// Why a relay link is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RelayLinkProblem {
    /// The link names no member.
    #[error("the relay's link does not say for which member it was made")]
    NoMemberId,
    /// The link was made for something else.
    #[error("the relay's link was made for another member or group")]
    AnotherMember,
}

/// Whether a group's link names the group that is meant, when it is read again later (§13).
#[must_use]
pub fn is_same_group(link_entity_id: Option<&[u8]>, group: &PublicGroupId) -> bool {
    link_entity_id == Some(group.as_bytes())
}

fn parse<T: DeserializeOwned>(blob: &[u8], what: &'static str) -> Result<T, LinkDataError> {
    let unfolded;
    let json = match blob.split_first() {
        Some((&COMPRESSED_TAG, frame)) => {
            unfolded = decompress(frame)?;
            &unfolded
        }
        _ => blob,
    };
    if json.len() > DECOMPRESSED_BYTES_MAX {
        return Err(LinkDataError::TooLarge);
    }
    serde_json::from_slice(json).map_err(|_| LinkDataError::Json(what))
}

fn to_blob(data: &impl Serialize) -> Vec<u8> {
    let json = serde_json::to_vec(data).expect("profiles hold text, numbers and string keys only");
    if json.len() <= LINK_JSON_PLAIN_BYTES_MAX {
        return json;
    }
    let mut blob = vec![COMPRESSED_TAG];
    blob.extend(compress(&json));
    blob
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::group::identity::LinkText;
    use crate::group::profile::GroupType;

    fn link_data(description: &str) -> GroupLinkData {
        let public_group = PublicGroup {
            group_type: GroupType::Channel,
            group_link: LinkText::new("simplex:/c#x").unwrap(),
            public_group_id: PublicGroupId::new([7; 32]).unwrap(),
            public_group_access: None,
            other: BTreeMap::new(),
        };
        let mut group_profile = GroupProfile::new("Tea", public_group);
        group_profile.description = Some(description.to_owned());
        GroupLinkData {
            group_profile,
            public_group_data: Some(PublicGroupData { public_member_count: 3 }),
            link_data_version: Some(4),
            other: BTreeMap::new(),
        }
    }

    #[test]
    fn the_json_is_as_written_and_large_json_is_compressed() {
        let blob = link_data("hi").to_blob();
        let json: Value = serde_json::from_slice(&blob).unwrap();
        assert_eq!(json["publicGroupData"]["publicMemberCount"], 3);
        assert_eq!(json["linkDataVersion"], 4);
        assert_eq!(GroupLinkData::parse(&blob), Ok(link_data("hi")));

        let long = link_data(&"x".repeat(LINK_JSON_PLAIN_BYTES_MAX));
        assert_eq!(long.to_blob().first(), Some(&b'X'));
        assert_eq!(GroupLinkData::parse(&long.to_blob()), Ok(long));
    }

    #[test]
    fn the_group_of_link_and_profile_must_be_the_same() {
        let data = link_data("");
        assert!(data.check(Some(&[7; 32])).is_ok());
        assert_eq!(data.check(Some(&[8; 32])), Err(GroupLinkProblem::AnotherGroup));
        assert_eq!(data.check(None), Err(GroupLinkProblem::NoEntityId));
        assert!(is_same_group(Some(&[7; 32]), &PublicGroupId::new([7; 32]).unwrap()));
    }

    #[test]
    fn a_lower_version_is_a_rollback() {
        let mut data = link_data("");
        assert_eq!(data.compare_version(None), Ok(LinkDataAge::Newer(4)));
        assert_eq!(data.compare_version(Some(3)), Ok(LinkDataAge::Newer(4)));
        assert_eq!(data.compare_version(Some(4)), Ok(LinkDataAge::Same));
        assert_eq!(data.compare_version(Some(5)), Err(RolledBack { found: 4, seen: 5 }));
        data.link_data_version = None;
        assert_eq!(data.compare_version(None), Ok(LinkDataAge::Unversioned));
        assert_eq!(data.compare_version(Some(5)), Err(RolledBack { found: 0, seen: 5 }));
    }

    #[test]
    fn relay_links_name_their_member() {
        let id = MemberId::new([1; 12]).unwrap();
        assert_eq!(check_relay_link(Some(&[1; 12]), &id), Ok(()));
        assert_eq!(check_relay_link(Some(&[7; 32]), &id), Err(RelayLinkProblem::AnotherMember));
        assert_eq!(check_relay_link(None, &id), Err(RelayLinkProblem::NoMemberId));
        let blob = br#"{"relayProfile":{"displayName":"r","fullName":""}}"#;
        assert_eq!(RelayLinkData::parse(blob).unwrap().to_blob(), blob);
    }

    #[test]
    fn client_data_is_as_written() {
        let data = ClientData::Group { group_link_id: "abc".to_owned() };
        assert_eq!(data.to_json(), r#"{"type":"group","groupLinkId":"abc"}"#);
        assert_eq!(ClientData::parse(&data.to_json()), Some(data));
        assert_eq!(ClientData::parse(r#"{"type":"later"}"#), None);
    }

    #[test]
    fn bombs_and_other_json_are_refused() {
        let bomb = [b"X", &compress(&vec![b' '; 1_000_000])[..]].concat();
        assert_eq!(GroupLinkData::parse(&bomb), Err(LinkDataError::Compressed(CompressedError::TooLarge)));
        assert_eq!(GroupLinkData::parse(&vec![b' '; 70_000]), Err(LinkDataError::TooLarge));
        assert_eq!(GroupLinkData::parse(b"{}"), Err(LinkDataError::Json("a group link")));
        assert_eq!(GroupLinkData::parse(b""), Err(LinkDataError::Json("a group link")));
    }

    proptest! {
        #[test]
        fn cut_and_changed_blobs_fail_softly(cut in 0_usize..400, at in 0_usize..400, flip in 1_u8.., long: bool) {
            let description = if long { "x".repeat(LINK_JSON_PLAIN_BYTES_MAX) } else { String::new() };
            let mut blob = link_data(&description).to_blob();
            if let Some(byte) = blob.get_mut(at) {
                *byte ^= flip;
            }
            let _ = GroupLinkData::parse(&blob);
            blob.truncate(cut);
            let _ = GroupLinkData::parse(&blob);
        }
    }
}
