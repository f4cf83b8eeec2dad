//! Making a group: its link is known before anything is created, so it stands in the profile that the link leads to.
//!
//! ```text
//! keys, link, profile, link data ──one NEW──▶ created ──▶ each relay: see owner_relays.rs
//! ```

use std::collections::BTreeMap;

use protocol::agent::address_draft::{AddressDraft, AddressPlan};
use protocol::crypto::random_bytes;
use protocol::crypto::sign::Ed25519PrivateKey;
use protocol::group::identity::{LinkText, MemberId, MemberKey, MemberRole, PublicGroupId};
use protocol::group::link::ClientData;
use protocol::group::profile::{GroupProfile, GroupType, PublicGroup};
use protocol::smp::address::ServerAddressWithAuth;
use protocol::smp::short_link::LinkType;

use super::step::{Done, Step, Stop};
use crate::error::CommandError;
use crate::event::Event;
use crate::exit_code::ExitCode;
use crate::query;
use crate::request::GroupCreate;
use crate::store::group::{Entering, Group, GroupId, GroupStatus, OwnerKeys, Restore, Roster, Seed};
use crate::store::kept::KeptRelay;
use crate::store::member::Member;
use crate::store::owner_archive::free_alias;
use crate::store::relay::Relay;

impl Step<'_, '_> {
    /// Begins a group, or finds the one that was begun under this name.
    pub(super) fn create_group(&mut self, wish: &GroupCreate) -> Done<GroupId> {
        let name = super::checked_name(&wish.name)?;
        let groups = self.store.groups()?;
        let mut own =
            groups.iter().filter(|group| group.record.owner.is_some() && !group.record.status.is_over());
        if let Some(group) = own.find(|group| group.record.profile.display_name == name) {
            if group.record.status == GroupStatus::Creating {
                return Ok(group.id);
            }
            return Err(CommandError::new(
                ExitCode::AlreadyThere,
                format_args!("You have a group \"{name}\" already"),
            )
            .hint("Choose another name, or add relays with `conclave group relay add`.")
            .into());
        }
        let server = match &wish.server {
            Some(address) => self.known_server(query::parse_server(address)?)?,
            None => self.own_server()?,
        };
        let relays = self.wanted_relays(&wish.relays)?;

        let (root, key) = (
            Ed25519PrivateKey::generate(self.context.rng()),
            Ed25519PrivateKey::generate(self.context.rng()),
        );
        let member_id = MemberId::generate(self.context.rng());
        let public_id = PublicGroupId::of_root_key(&root.public_key());
        let draft = self.draft_link(&server, &root, &public_id)?;
        let link = draft.short_link().to_string();
        let kind = if wish.joiner_role == "member" { GroupType::Group } else { GroupType::Channel };
        let public_group = PublicGroup {
            group_type: kind,
            group_link: LinkText::new(link.clone()).map_err(|_| unusable_server())?,
            public_group_id: public_id.clone(),
            public_group_access: None,
            other: BTreeMap::new(),
        };
        let mut profile = GroupProfile::new(name.clone(), public_group);
        profile.full_name.clone_from(&wish.full_name);
        profile.description = wish.description.clone().filter(|text| !text.is_empty());
        profile.set_review(wish.review);
        profile
            .check()
            .map_err(|problem| Stop::refuse(ExitCode::Usage, format_args!("Unusable profile: {problem}")))?;

        let group = Group {
            alias: free_alias(&groups, &name),
            public_id,
            link,
            profile,
            status: GroupStatus::Creating,
            member_id: member_id.clone(),
            key: Seed::of(&key),
            role: MemberRole::Owner,
            root_key: MemberKey(root.public_key()),
            owner: Some(OwnerKeys {
                root: Seed::of(&root),
                link_created: false,
                writing: None,
                write_again: false,
            }),
            link_counter: None,
            roster: Roster::default(),
            restore: Restore::default(),
            joined_at_ms: None,
            entrance: Entering::Free,
        };
        let id = self.store.add_group(&group)?;
        let mut me = Member::with_role(MemberRole::Owner);
        me.key = Some(MemberKey(key.public_key()));
        me.profile = Some(self.own_profile()?);
        self.store.save_member(id, &member_id, &me)?;
        self.create_link(id, draft)?;
        for relay in relays {
            self.choose_relay(id, relay)?;
        }
        protocol::crash_point!("client.group.stored");
        Ok(id)
    }

    /// Prepares the group link.
    pub(super) fn draft_link(
        &mut self,
        server: &ServerAddressWithAuth,
        root: &Ed25519PrivateKey,
        public_id: &PublicGroupId,
    ) -> Done<AddressDraft> {
        let link_id = random_bytes::<GROUP_LINK_ID_BYTES>(self.context.rng());
        let client_data = ClientData::Group { group_link_id: protocol::base64url::encode(&link_id) };
        let plan = AddressPlan {
            server: server.clone(),
            link_type: LinkType::Channel,
            root_key: root.clone(),
            link_entity_id: Some(public_id.as_bytes().to_vec()),
            client_data: Some(client_data.to_json()),
        };
        AddressDraft::new(plan, self.context.rng()).map_err(|_| unusable_server().into())
    }

    /// Hands the group link with its first data to the agent.
    pub(super) fn create_link(&mut self, id: GroupId, draft: AddressDraft) -> Done<()> {
        let (data, counter) = self.link_data(id, &[])?;
        let created = self.ask_agent(|agent| agent.create_address(draft, &data))?;
        let connection = created.map_err(|error| {
            Stop::refuse(
                ExitCode::Usage,
                format_args!("The group link cannot be made: {}", super::step::chain(&error)),
            )
        })?;
        self.store.set_link_of_group(id, connection)?;
        self.store.change_group(id, |group| group.link_counter = Some(counter))?;
        Ok(())
    }

    /// The server has the group link: relays can be invited, because they will read it.
    pub(super) fn link_created(&mut self, id: GroupId) -> Done<()> {
        if self.store.group(id)?.owner.is_some_and(|owner| owner.link_created) {
            // It was there before, and its server had lost it.
            return self.link_written(id);
        }
        let group = self.store.change_group(id, |group| {
            if let Some(owner) = &mut group.owner {
                owner.link_created = true;
            }
        })?;
        protocol::crash_point!("client.group.link_created");
        self.tell(Event::GroupLink { group: group.alias, link: group.link });
        for relay in self.store.relays(id)? {
            self.invite(&relay)?;
        }
        Ok(())
    }

    /// The answer to the creation was lost: nobody has seen the link yet, so another one takes its place.
    pub(super) fn link_lost(&mut self, id: GroupId) -> Done<()> {
        let group = self.store.group(id)?;
        let (Some(owner), Some(connection)) = (&group.owner, self.store.link_of_group(id)?) else {
            return Ok(());
        };
        if owner.link_created {
            return self.warn(Some(id), "the group link does not work any more");
        }
        let server = self.own_server()?;
        let draft = self.draft_link(&server, &owner.root.key(), &group.public_id)?;
        let link = draft.short_link().to_string();
        let text = LinkText::new(link.clone()).map_err(|_| unusable_server())?;
        self.store.change_group(id, |group| {
            group.link = link;
            if let Some(public) = &mut group.profile.public_group {
                public.group_link = text;
            }
        })?;
        self.store.drop_link_of_group(id)?;
        self.end_connection(connection, false)?;
        self.create_link(id, draft)
    }

    /// Adds a relay to a group of ours and invites it as soon as the group link is there.
    pub(super) fn choose_relay(
        &mut self,
        id: GroupId,
        relay: KeptRelay,
    ) -> Done<crate::store::relay::RelayId> {
        let group = self.store.group(id)?;
        let present = self.store.relays(id)?;
        let member_id = MemberId::generate(self.context.rng());
        let name = free_name(&relay.name, |name| present.iter().any(|other| other.record.name == name));
        let row = self.store.add_relay(id, &Relay::chosen(name, relay, member_id, self.now()))?;
        if let Some(relay) = self.store.relay(row)? {
            self.tell_relay(&relay)?;
            if group.owner.is_some_and(|owner| owner.link_created) {
                self.invite(&relay)?;
            }
        }
        protocol::crash_point!("client.relay.chosen");
        Ok(row)
    }

    /// The relays that people mean by these names and links; all kept ones when there are none.
    pub(super) fn wanted_relays(&self, names: &[String]) -> Done<Vec<KeptRelay>> {
        let kept = self.store.kept_relays()?;
        if names.is_empty() {
            if kept.is_empty() {
                return Err(CommandError::new(ExitCode::NotFound, "No relay is kept")
                    .hint("Keep one with `conclave relay add NAME LINK`, or name one with --relay.")
                    .into());
            }
            return Ok(kept);
        }
        let mut wanted: Vec<KeptRelay> = Vec::with_capacity(names.len());
        for name in names {
            let relay = wanted_relay(&kept, name)?;
            if !wanted.iter().any(|other| other.link == relay.link) {
                wanted.push(relay);
            }
        }
        Ok(wanted)
    }
}

fn wanted_relay(kept: &[KeptRelay], name: &str) -> Done<KeptRelay> {
    if name.contains(':') {
        let link = query::parse_link(name, LinkType::Relay)?;
        let known = kept.iter().find(|kept| kept.link == link.to_string()).cloned();
        let unknown = || KeptRelay { name: "relay".to_owned(), link: link.to_string(), code: None };
        return Ok(known.unwrap_or_else(unknown));
    }
    let found = kept.iter().find(|kept| kept.name == name).cloned();
    found.ok_or_else(|| CommandError::not_found("kept relay", name, "relay list").into())
}

/// `wanted`, or with a number behind it if that is taken.
pub(super) fn free_name(wanted: &str, taken: impl Fn(&str) -> bool) -> String {
    let numbered = (2_u32..).map(|number| format!("{wanted}-{number}"));
    std::iter::once(wanted.to_owned()).chain(numbered).find(|name| !taken(name)).unwrap_or_default()
}

fn unusable_server() -> CommandError {
    CommandError::new(ExitCode::WrongLink, "The server's address cannot stand in a link")
}

/// Tells links of one owner apart; as long as stock clients make it.
const GROUP_LINK_ID_BYTES: usize = 16;
