//! Is what an owner's invitation points at a group that we can serve? Everything is checked before anything is
//! created (channels.md §5, §12). Pure.
//!
//! ```text
//! agent   hash of the link, signatures, chain of owners
//! group   profile, sizes, identity of the group, owners, relays        (`OpenedGroupLink`)
//! here    the inviter is an owner; the same group as before; not older than what was seen
//! ```

use protocol::agent::signed_link_data::OpenedLink;
use protocol::group::identity::{LinkText, MemberId};
use protocol::group::link::RolledBack;
use protocol::group::opened::{OpenedGroupLink, OpenedLinkProblem};
use protocol::smp::short_link::ShortLink;
use thiserror::Error;

use crate::store::records::GroupIdentity;

/// Why a group is not served, or a read of its link not believed; the owner reads these words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Invalid {
    /// What the link says.
    #[error(transparent)]
    Link(#[from] OpenedLinkProblem),
    /// Older than what was seen.
    #[error(transparent)]
    RolledBack(#[from] RolledBack),
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
) -> Result<OpenedGroupLink, Invalid> {
    let group = OpenedGroupLink::read(link, opened)?;
    group.check_inviter(inviter)?;
    if let Some(known) = known {
        if known.public_group_id != group.group {
            return Err(Invalid::AnotherGroup);
        }
        group.data.compare_version(known.link_version)?;
    }
    Ok(group)
}

impl From<OpenedGroupLink> for GroupIdentity {
    fn from(link: OpenedGroupLink) -> Self {
        Self {
            public_group_id: link.group,
            root_key: link.root_key,
            link_version: link.data.link_data_version,
            profile: link.data.group_profile,
            relays: link.relays.iter().map(LinkText::from).collect(),
        }
    }
}
