//! The group itself changes (channels.md §9.4).

use serde::{Deserialize, Serialize};

use crate::group::json_bytes;
use crate::group::profile::{GroupPreferences, GroupProfile};

/// x.grp.info.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupInfo {
    /// The new profile; `publicGroup` stays the same.
    pub group_profile: GroupProfile,
}

/// x.grp.prefs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupPreferencesChange {
    /// The new preferences.
    pub group_preferences: GroupPreferences,
}

/// x.grp.del.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GroupDelete {}

/// x.grp.roster: the signed header. The blob follows in chunks under this message's id. `version` and `fileInv`
/// stand at the top of `params` `[U]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Roster {
    /// Grows with each change.
    pub version: i64,
    /// What the blob must be.
    pub file_inv: RosterFile,
}

/// Size and digest of a roster blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RosterFile {
    /// Bytes.
    pub file_size: i64,
    /// SHA-512.
    #[serde(with = "json_bytes")]
    pub file_digest: Vec<u8>,
}

/// x.grp.roster.request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RosterRequest {
    /// The version held before the gap; none when no roster has come yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
}
