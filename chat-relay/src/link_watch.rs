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

#[cfg(test)]
mod tests {
    use protocol::agent::address_draft::{AddressDraft, AddressPlan};
    use protocol::agent::link_data::UserLinkData;
    use protocol::agent::owner_auth::OwnerAuth;
    use protocol::crypto::sign::Ed25519PrivateKey;
    use protocol::group::identity::{LinkText, PublicGroupId};
    use protocol::group::link::GroupLinkData;
    use protocol::group::profile::{GroupProfile, GroupType, PublicGroup};
    use protocol::net::error::CallError;
    use protocol::net::rng::system_rng;
    use protocol::smp::address::ServerAddressWithAuth;
    use protocol::smp::short_link::LinkType;

    use super::*;

    /// A group link whose server may give what it likes.
    struct Link {
        draft: AddressDraft,
        owner: MemberId,
        owner_key: Ed25519PrivateKey,
    }

    impl Link {
        fn new() -> Self {
            let (owner, root_key) = (MemberId::generate(&mut system_rng()), key());
            let group = PublicGroupId::of_root_key(&root_key.public_key());
            let draft = draft(LinkType::Channel, root_key, Some(group.as_bytes().to_vec()));
            Self { draft, owner, owner_key: key() }
        }

        /// The link's data as its owner wrote them in this version, opened.
        fn read(&self, version: u64, relays: &[ShortLink]) -> Result<OpenedLink, ReadLinkError> {
            let link = self.draft.short_link();
            let public_group = PublicGroup {
                group_type: GroupType::Channel,
                group_link: LinkText::from(&link),
                public_group_id: PublicGroupId::of_root_key(&self.draft.root_key().public_key()),
                public_group_access: None,
                other: Default::default(),
            };
            let data = GroupLinkData {
                group_profile: GroupProfile::new("Tea", public_group),
                public_group_data: None,
                link_data_version: Some(version),
                other: Default::default(),
            };
            let owner =
                OwnerAuth::issue(self.owner.as_bytes(), self.owner_key.public_key(), self.draft.root_key());
            let data = UserLinkData::group(vec![owner.unwrap()], relays.to_vec(), data.to_blob());
            let user = self.draft.seal_user_data(&data, &mut system_rng()).unwrap();
            Ok(OpenedLink::open(&link, &self.draft.sender_id(), self.draft.fixed_blob(), &user)?)
        }

        fn known(&self, version: u64) -> GroupIdentity {
            let opened = self.read(version, &[]).unwrap();
            validate(&self.draft.short_link(), &opened, &self.owner, None).unwrap().into()
        }

        fn look(
            &self,
            own: &ShortLink,
            known: &GroupIdentity,
            read: Result<OpenedLink, ReadLinkError>,
        ) -> Option<ServedEvent> {
            let seen = look(&self.draft.short_link(), own, &self.owner, known, read);
            seen.ok().map(|seen| seen.event)
        }
    }

    fn key() -> Ed25519PrivateKey {
        Ed25519PrivateKey::generate(&mut system_rng())
    }

    fn draft(
        link_type: LinkType,
        root_key: Ed25519PrivateKey,
        link_entity_id: Option<Vec<u8>>,
    ) -> AddressDraft {
        let server = "smp://SJ-3QErjPY0_mrD9fMGu68OWOO5jXxjMC4H6nLva9EY=@a.example";
        let server: ServerAddressWithAuth = server.parse().unwrap();
        let plan = AddressPlan { server, link_type, root_key, link_entity_id, client_data: None };
        AddressDraft::new(plan, &mut system_rng()).unwrap()
    }

    fn relay_link() -> ShortLink {
        draft(LinkType::Group, key(), Some(vec![1; 12])).short_link()
    }

    #[test]
    fn our_entry_is_found_among_others() {
        let (link, own, other) = (Link::new(), relay_link(), relay_link());
        let known = link.known(1);
        let look = |relays: &[ShortLink]| link.look(&own, &known, link.read(2, relays));
        assert_eq!(look(&[other.clone(), own.clone()]), Some(ServedEvent::Listed));
        assert_eq!(look(&[other]), Some(ServedEvent::Unlisted));
        assert_eq!(look(&[]), Some(ServedEvent::Unlisted));
    }

    #[test]
    fn what_was_rolled_back_says_nothing() {
        let (link, own) = (Link::new(), relay_link());
        let known = link.known(5);
        assert_eq!(link.look(&own, &known, link.read(4, &[])), None);
        assert_eq!(link.look(&own, &known, link.read(5, &[])), Some(ServedEvent::Unlisted));
    }

    #[test]
    fn another_groups_data_say_nothing() {
        let (link, other, own) = (Link::new(), Link::new(), relay_link());
        let known = link.known(1);
        assert_eq!(link.look(&own, &known, other.read(2, &[])), None);
    }

    #[test]
    fn a_deleted_link_is_told_from_one_out_of_reach() {
        let (link, own) = (Link::new(), relay_link());
        let known = link.known(1);
        assert_eq!(link.look(&own, &known, Err(ReadLinkError::NotFound)), Some(ServedEvent::LinkGone));
        assert_eq!(link.look(&own, &known, Err(CallError::TimedOut.into())), None);
    }
}
