//! What a read of the group link says to the life of a served group (channels.md §12, §20). Pure.
//!
//! A read that fails for the network, that is damaged, or that shows older data than was seen before says nothing about
//! us: only a link that can be believed lists us or does not. How many misses in a row count is the
//! [life cycle's](protocol::group::served_group) matter.

use protocol::agent::signed_link_data::OpenedLink;
use protocol::group::identity::MemberId;
use protocol::group::served_group::ServedEvent;
use protocol::net::network::ReadLinkError;
use protocol::smp::short_link::ShortLink;

use crate::store::records::GroupIdentity;
use crate::validation::{Invalid, validate};

/// What was seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// What happened to the group.
    pub event: ServedEvent,
    /// What the link says now, when it can be believed.
    pub identity: Option<GroupIdentity>,
}

/// Looks for our own entry. `known` is what was seen of the group before.
///
/// # Errors
/// When the read says nothing: the cause, for the log.
pub fn look(
    group_link: &ShortLink,
    own_link: &ShortLink,
    owner: &MemberId,
    known: &GroupIdentity,
    read: Result<OpenedLink, ReadLinkError>,
) -> Result<Seen, Unbelievable> {
    let opened = match read {
        Ok(opened) => opened,
        Err(ReadLinkError::NotFound) => return Ok(Seen { event: ServedEvent::LinkGone, identity: None }),
        Err(error) => return Err(Unbelievable::Read(Box::new(error))),
    };
    let valid = validate(group_link, &opened, owner, Some(known)).map_err(Unbelievable::Invalid)?;
    let event = if valid.lists(own_link) { ServedEvent::Listed } else { ServedEvent::Unlisted };
    Ok(Seen { event, identity: Some(valid.into()) })
}

/// Why a read of the group link says nothing.
#[derive(Debug, thiserror::Error)]
pub enum Unbelievable {
    /// No data, or data that do not belong to the link.
    #[error(transparent)]
    Read(Box<ReadLinkError>),
    /// Data that are not those of this group, or older ones.
    #[error(transparent)]
    Invalid(Invalid),
}
