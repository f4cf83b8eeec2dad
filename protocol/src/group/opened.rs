//! A group link, relay link or relay address that was opened, as the group layer understands it (channels.md §5).
//!
//! The agent has checked hash, signatures and the chain of owners when it opened the link; here the contents are
//! checked against what this layer expects, before anything is created.

use thiserror::Error;

use super::constants::{OWNERS_MAX, RELAYS_MAX};
use super::identity::{LinkText, MemberId, MemberKey, PublicGroupId};
use super::link::{
    GroupLinkData, GroupLinkProblem, LinkDataError, RelayLinkData, RelayLinkProblem, relay_link_member,
};
use super::profile::{Profile, ProfileProblem, PublicGroup};
use crate::agent::link_data::UserLinkData;
use crate::agent::owner_auth::OwnerAuth;
use crate::agent::signed_link_data::OpenedLink;
use crate::crypto::sign::{Ed25519PrivateKey, Ed25519PublicKey};
use crate::smp::short_link::ShortLink;

/// An owner, established by the group link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Who.
    pub member_id: MemberId,
    /// The key of everything that this owner signs.
    pub key: MemberKey,
}

/// A group link, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenedGroupLink {
    /// Which group.
    pub group: PublicGroupId,
    /// Profile, numbers and version.
    pub data: GroupLinkData,
    /// Owners in the order of the chain.
    pub owners: Vec<Owner>,
    /// The relays to connect to; none means: try again later.
    pub relays: Vec<ShortLink>,
    /// The key that began the chain of owners.
    pub root_key: Ed25519PublicKey,
}

/// A relay's link for one group, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenedRelayLink {
    /// The relay as a member of the group.
    pub member_id: MemberId,
    /// The relay's member key, which is the root key of its link.
    pub key: MemberKey,
    /// How it shows itself.
    pub profile: Profile,
}

/// A relay's address, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenedRelayAddress {
    /// The key that answers a relay test.
    pub key: Ed25519PublicKey,
    /// How it shows itself.
    pub profile: Profile,
}

/// Why an opened link is refused; for relays to tell owners, and for joiners to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OpenedLinkProblem {
    /// The data is not that of such a link.
    #[error(transparent)]
    Data(#[from] LinkDataError),
    /// Profile or identity.
    #[error(transparent)]
    Group(#[from] GroupLinkProblem),
    /// The relay's profile.
    #[error("the relay's profile is not valid: {0}")]
    Relay(#[from] ProfileProblem),
    /// The relay link names nobody.
    #[error(transparent)]
    RelayLink(#[from] RelayLinkProblem),
    /// The link wants to be used directly.
    #[error("the link is not that of a group with relays")]
    Direct,
    /// The link wants not to be used directly.
    #[error("the link is not that of a relay")]
    NotDirect,
    /// More owners than are read.
    #[error("the link lists more than {OWNERS_MAX} owners")]
    TooManyOwners,
    /// More relays than are read.
    #[error("the link lists more than {RELAYS_MAX} relays")]
    TooManyRelays,
    /// An owner without a member id.
    #[error("an owner in the link has no member id")]
    OwnerWithoutId,
    /// The profile names another link than the one it was read from.
    #[error("the profile in the link names another group link")]
    AnotherLink,
    /// Nobody's statements could be verified.
    #[error("the link lists no owner")]
    NoOwners,
    /// Whoever sent the invitation is not in the list.
    #[error("the sender of the invitation is not an owner in the group link")]
    NotAnOwner,
}

impl OpenedGroupLink {
    /// Checks everything that a group link says. `link` is the one that was opened.
    ///
    /// # Errors
    /// The first problem, in words for people.
    pub fn read(link: &ShortLink, opened: &OpenedLink) -> Result<Self, OpenedLinkProblem> {
        let UserLinkData { direct, owners, relays, user_data, .. } = &opened.data;
        if *direct {
            return Err(OpenedLinkProblem::Direct);
        }
        if owners.len() > OWNERS_MAX {
            return Err(OpenedLinkProblem::TooManyOwners);
        }
        if relays.len() > RELAYS_MAX {
            return Err(OpenedLinkProblem::TooManyRelays);
        }
        let data = GroupLinkData::parse(user_data)?;
        let public_group = data.check(opened.link_entity_id.as_deref())?;
        if !names_link(public_group, link) {
            return Err(OpenedLinkProblem::AnotherLink);
        }
        let group = public_group.public_group_id.clone();
        let owners = owners.iter().map(Owner::from_auth).collect::<Result<_, _>>()?;
        Ok(Self { group, data, owners, relays: relays.clone(), root_key: opened.root_key })
    }

    /// The key of an owner.
    #[must_use]
    pub fn owner_key(&self, member: &MemberId) -> Option<&MemberKey> {
        self.owners.iter().find(|owner| owner.member_id == *member).map(|owner| &owner.key)
    }

    /// What a relay asks besides, before it serves a group: that `inviter` is an owner.
    ///
    /// # Errors
    /// [`OpenedLinkProblem::NoOwners`] or [`OpenedLinkProblem::NotAnOwner`].
    pub fn check_inviter(&self, inviter: &MemberId) -> Result<&MemberKey, OpenedLinkProblem> {
        if self.owners.is_empty() {
            return Err(OpenedLinkProblem::NoOwners);
        }
        self.owner_key(inviter).ok_or(OpenedLinkProblem::NotAnOwner)
    }

    /// Whether the group link lists this relay link. Links are the same when their keys are: the key is the hash of
    /// what the link was made for, and hosts and letters may be written differently.
    #[must_use]
    pub fn lists(&self, relay_link: &ShortLink) -> bool {
        self.relays.iter().any(|listed| is_same_link(listed, relay_link))
    }
}

impl Owner {
    fn from_auth(auth: &OwnerAuth) -> Result<Self, OpenedLinkProblem> {
        let member_id = MemberId::new(auth.owner_id()).map_err(|_| OpenedLinkProblem::OwnerWithoutId)?;
        Ok(Self { member_id, key: MemberKey(*auth.owner_key()) })
    }

    /// The entry of the link's list, in the word of `signer`: the root key, or the key of an earlier owner.
    ///
    /// # Errors
    /// [`OpenedLinkProblem::OwnerWithoutId`] when the id is too long for the list.
    pub fn to_auth(&self, signer: &Ed25519PrivateKey) -> Result<OwnerAuth, OpenedLinkProblem> {
        OwnerAuth::issue(self.member_id.as_bytes(), self.key.0, signer)
            .map_err(|_| OpenedLinkProblem::OwnerWithoutId)
    }
}

impl OpenedRelayLink {
    /// Checks everything that a relay's link for a group says. An owner compares the member id with the one that it
    /// gave; a joiner takes it.
    ///
    /// # Errors
    /// The first problem, in words for people.
    pub fn read(opened: &OpenedLink) -> Result<Self, OpenedLinkProblem> {
        let profile = relay_profile(&opened.data)?;
        let member_id = relay_link_member(opened.link_entity_id.as_deref())?;
        Ok(Self { member_id, key: MemberKey(opened.root_key), profile })
    }
}

impl OpenedRelayAddress {
    /// Checks everything that a relay's address says.
    ///
    /// # Errors
    /// The first problem, in words for people.
    pub fn read(opened: &OpenedLink) -> Result<Self, OpenedLinkProblem> {
        Ok(Self { key: opened.root_key, profile: relay_profile(&opened.data)? })
    }
}

fn relay_profile(data: &UserLinkData) -> Result<Profile, OpenedLinkProblem> {
    if !data.direct {
        return Err(OpenedLinkProblem::NotDirect);
    }
    let profile = RelayLinkData::parse(&data.user_data)?.relay_profile;
    profile.check()?;
    Ok(profile)
}

fn names_link(public_group: &PublicGroup, link: &ShortLink) -> bool {
    let named = public_group.group_link.to_short_link();
    named.is_some_and(|named| is_same_link(&named, link))
}

/// Whether two links lead to the same data, however they are written.
#[must_use]
pub fn is_same_link(one: &ShortLink, other: &ShortLink) -> bool {
    one.link_key() == other.link_key()
}

impl LinkText {
    /// The link as a short link, if it is one.
    #[must_use]
    pub fn to_short_link(&self) -> Option<ShortLink> {
        self.as_str().parse().ok()
    }
}

/// The text form that is put into JSON.
impl From<&ShortLink> for LinkText {
    fn from(link: &ShortLink) -> Self {
        Self::new(link.to_string()).expect("hosts and keys of a short link are bounded")
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;
    use crate::agent::address_draft::{AddressDraft, AddressPlan};
    use crate::group::link::PublicGroupData;
    use crate::group::profile::{GroupProfile, GroupType};
    use crate::smp::short_link::LinkType;

    const SERVER: &str = "smp://LcJUMfVhwD8yxjAiSaDzzGF3-kLG4Uh0Fl_ZIjrRwjI=@smp1.example.org";

    fn draft(entity: Option<&[u8]>, root: u8) -> AddressDraft {
        let plan = AddressPlan {
            server: SERVER.parse().unwrap(),
            link_type: LinkType::Channel,
            root_key: Ed25519PrivateKey::from_seed(&[root; 32]),
            link_entity_id: entity.map(<[u8]>::to_vec),
            client_data: None,
        };
        AddressDraft::new(plan, &mut rand::rngs::StdRng::seed_from_u64(root.into())).unwrap()
    }

    fn group() -> PublicGroupId {
        PublicGroupId::of_root_key(&Ed25519PrivateKey::from_seed(&[1; 32]).public_key())
    }

    fn owner() -> Owner {
        let key = Ed25519PrivateKey::from_seed(&[2; 32]).public_key();
        Owner { member_id: MemberId::new([5; 12]).unwrap(), key: MemberKey(key) }
    }

    fn group_link() -> (ShortLink, OpenedLink) {
        let draft = draft(Some(group().as_bytes()), 1);
        let link = draft.short_link();
        let public_group = PublicGroup {
            group_type: GroupType::Channel,
            group_link: LinkText::from(&link),
            public_group_id: group(),
            public_group_access: None,
            other: Default::default(),
        };
        let data = GroupLinkData {
            group_profile: GroupProfile::new("Tea", public_group),
            public_group_data: Some(PublicGroupData { public_member_count: 1 }),
            link_data_version: Some(1),
            other: Default::default(),
        };
        let auth = owner().to_auth(draft.root_key()).unwrap();
        let user = UserLinkData::group(vec![auth], vec![relay_link().0], data.to_blob());
        (link, opened(&draft, &user))
    }

    fn relay_link() -> (ShortLink, OpenedLink) {
        let draft = draft(Some(&[6; 12]), 3);
        let blob = RelayLinkData { relay_profile: Profile::named("relay") }.to_blob();
        (draft.short_link(), opened(&draft, &UserLinkData::direct(blob)))
    }

    /// Through the sealed blobs, as from a server.
    fn opened(draft: &AddressDraft, user: &UserLinkData) -> OpenedLink {
        let mut rng = rand::rngs::StdRng::seed_from_u64(9);
        let sealed = draft.seal_user_data(user, &mut rng).unwrap();
        OpenedLink::open(&draft.short_link(), &draft.sender_id(), draft.fixed_blob(), &sealed).unwrap()
    }

    #[test]
    fn a_group_link_gives_group_owners_and_relays() {
        let (link, opened) = group_link();
        let read = OpenedGroupLink::read(&link, &opened).unwrap();
        assert_eq!((&read.group, &read.owners), (&group(), &vec![owner()]));
        assert!(read.group.is_of_root_key(&read.root_key));
        assert!(read.lists(&relay_link().0) && !read.lists(&link));
        assert_eq!(read.check_inviter(&owner().member_id), Ok(&owner().key));
        let stranger = MemberId::new([6; 12]).unwrap();
        assert_eq!(read.check_inviter(&stranger), Err(OpenedLinkProblem::NotAnOwner));
    }

    #[test]
    fn each_problem_of_a_group_link_is_named() {
        let (link, good) = group_link();
        let problem = |change: &dyn Fn(&mut OpenedLink)| {
            let mut opened = good.clone();
            change(&mut opened);
            OpenedGroupLink::read(&link, &opened).unwrap_err()
        };
        assert_eq!(problem(&|opened| opened.data.direct = true), OpenedLinkProblem::Direct);
        assert_eq!(
            problem(&|opened| opened.link_entity_id = Some(vec![1; 32])),
            OpenedLinkProblem::Group(GroupLinkProblem::AnotherGroup)
        );
        assert!(matches!(problem(&|opened| opened.data.user_data.clear()), OpenedLinkProblem::Data(_)));
        let auth = good.data.owners[0].clone();
        assert_eq!(
            problem(&|opened| opened.data.owners = vec![auth.clone(); OWNERS_MAX + 1]),
            OpenedLinkProblem::TooManyOwners
        );
        let relay = relay_link().0;
        assert_eq!(
            problem(&|opened| opened.data.relays = vec![relay.clone(); RELAYS_MAX + 1]),
            OpenedLinkProblem::TooManyRelays
        );
        assert_eq!(
            OpenedGroupLink::read(&relay, &good),
            Err(OpenedLinkProblem::AnotherLink),
            "a copy of somebody's profile behind another link"
        );
        let mut nobody = good.clone();
        nobody.data.owners.clear();
        let read = OpenedGroupLink::read(&link, &nobody).unwrap();
        assert_eq!(read.check_inviter(&owner().member_id), Err(OpenedLinkProblem::NoOwners));
    }

    #[test]
    fn a_relay_link_gives_member_key_and_profile() {
        let (_, opened) = relay_link();
        let read = OpenedRelayLink::read(&opened).unwrap();
        assert_eq!(read.member_id, MemberId::new([6; 12]).unwrap());
        assert_eq!(read.key.0, Ed25519PrivateKey::from_seed(&[3; 32]).public_key());
        assert_eq!(OpenedRelayAddress::read(&opened).unwrap().profile, read.profile);

        let mut nameless = opened.clone();
        nameless.link_entity_id = None;
        assert!(OpenedRelayAddress::read(&nameless).is_ok(), "an address serves no group yet");
        assert_eq!(
            OpenedRelayLink::read(&nameless),
            Err(OpenedLinkProblem::RelayLink(RelayLinkProblem::NoMemberId))
        );
        assert_eq!(OpenedRelayLink::read(&group_link().1), Err(OpenedLinkProblem::NotDirect));
        let mut unnamed = opened;
        unnamed.data.user_data = RelayLinkData { relay_profile: Profile::named(" ") }.to_blob();
        assert_eq!(OpenedRelayLink::read(&unnamed), Err(OpenedLinkProblem::Relay(ProfileProblem::NoName)));
    }
}
