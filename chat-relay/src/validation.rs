//! Is what an owner's invitation points at a group that we can serve? Everything is checked before anything is
//! created (channels.md §5, §12). Pure.
//!
//! The agent has checked by then that the link data belongs to the link, that the owner chain holds, and that an
//! owner or the root key signed it (§5.1).

use protocol::agent::link_data::UserLinkData;
use protocol::agent::signed_link_data::OpenedLink;
use protocol::crypto::sign::Ed25519PublicKey;
use protocol::group::constants::{OWNERS_MAX, RELAYS_MAX};
use protocol::group::identity::MemberId;
use protocol::group::link::{GroupLinkData, GroupLinkProblem, LinkDataError, RolledBack};
use protocol::smp::short_link::ShortLink;
use thiserror::Error;

use crate::store::records::GroupIdentity;

/// A group link that has passed every check.
#[derive(Debug, Clone, PartialEq)]
pub struct ValidGroup {
    /// What it says.
    pub identity: GroupIdentity,
    /// Its owners, with their keys.
    pub owners: Vec<(MemberId, Ed25519PublicKey)>,
}

/// Why a group is not served; the owner reads these words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Invalid {
    /// The blob.
    #[error(transparent)]
    Data(#[from] LinkDataError),
    /// Profile or identity.
    #[error(transparent)]
    Group(#[from] GroupLinkProblem),
    /// Older than what was seen.
    #[error(transparent)]
    RolledBack(#[from] RolledBack),
    /// A link whose queue is to be used directly is an address, not a group.
    #[error("the link leads to an address and not to a group with relays")]
    Direct,
    /// The profile's own link is another one.
    #[error("the profile names another group link than the one that leads to it")]
    AnotherLink,
    /// Nobody is listed.
    #[error("the link lists no owner")]
    NoOwner,
    /// More owners or relays than are served.
    #[error("the link lists more owners or relays than this relay can serve")]
    TooMany,
    /// An owner's id is not one.
    #[error("the link lists an owner without a usable id")]
    OwnerId,
    /// Whoever invites is not listed.
    #[error("whoever sent the invitation is not an owner of the group")]
    NotAnOwner,
    /// The group changed its identity, which never changes.
    #[error("the link belongs to another group than before")]
    AnotherGroup,
}

/// Checks an opened group link. `inviter` says to be an owner; `known` is what was seen of the group before.
///
/// # Errors
/// The first thing that is wrong.
pub fn validate(
    link: &ShortLink,
    opened: &OpenedLink,
    inviter: &MemberId,
    known: Option<&GroupIdentity>,
) -> Result<ValidGroup, Invalid> {
    let UserLinkData { direct, owners, relays, user_data, .. } = &opened.data;
    if *direct {
        return Err(Invalid::Direct);
    }
    let data = GroupLinkData::parse(user_data)?;
    let public_group = data.check(opened.link_entity_id.as_deref())?;
    if !names(public_group.group_link.as_str(), link) {
        return Err(Invalid::AnotherLink);
    }
    if owners.is_empty() {
        return Err(Invalid::NoOwner);
    }
    if owners.len() > OWNERS_MAX || relays.len() > RELAYS_MAX {
        return Err(Invalid::TooMany);
    }
    let read = |owner: &protocol::agent::owner_auth::OwnerAuth| {
        let id = MemberId::new(owner.owner_id()).map_err(|_| Invalid::OwnerId)?;
        Ok((id, *owner.owner_key()))
    };
    let owners = owners.iter().map(read).collect::<Result<Vec<_>, Invalid>>()?;
    if owners.iter().all(|(id, _)| id != inviter) {
        return Err(Invalid::NotAnOwner);
    }
    if known.is_some_and(|known| known.public_group_id != public_group.public_group_id) {
        return Err(Invalid::AnotherGroup);
    }
    data.compare_version(known.and_then(|known| known.link_version))?;
    let identity = GroupIdentity {
        public_group_id: public_group.public_group_id.clone(),
        root_key: opened.root_key,
        link_version: data.link_data_version,
        profile: data.group_profile.clone(),
    };
    Ok(ValidGroup { identity, owners })
}

/// Whether a text is this link, whatever its letter and the way it names its server.
fn names(text: &str, link: &ShortLink) -> bool {
    text.parse::<ShortLink>().is_ok_and(|named| is_same_link(&named, link))
}

/// Whether two links lead to the same data: the key of a link is the hash of what never changes in it.
#[must_use]
pub fn is_same_link(one: &ShortLink, other: &ShortLink) -> bool {
    one.link_key() == other.link_key()
}
