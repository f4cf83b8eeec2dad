//! Writing the group link's data: one write at a time, each with a higher counter, relays listed one by one.

use protocol::agent::link_data::UserLinkData;
use protocol::group::identity::MemberKey;
use protocol::group::link::{GroupLinkData, PublicGroupData};
use protocol::group::opened::Owner;
use protocol::group::relay_status::{RelayEvent, RelayStatus};

use super::step::{Done, Step};
use crate::store::StoreError;
use crate::store::group::{GroupId, LinkWrite};
use crate::store::member::MemberStatus;
use crate::store::relay::{RelayRow, Side};

impl Step<'_, '_> {
    /// The data with these relays listed, and its counter: higher than any that was written or seen.
    pub(super) fn link_data(&mut self, id: GroupId, listed: &[RelayRow]) -> Done<(UserLinkData, u64)> {
        let group = self.store.group(id)?;
        let owner = group.owner.as_ref().ok_or(StoreError::Missing)?;
        let counter = group.link_counter.unwrap_or(0).saturating_add(1);
        let me = Owner { member_id: group.member_id.clone(), key: MemberKey(group.key.key().public_key()) };
        let owner_auth = me.to_auth(&owner.root.key()).map_err(|_| StoreError::Missing)?;
        let relays = listed.iter().filter_map(|relay| relay.record.link.as_ref()?.parse().ok()).collect();
        let members = self.store.members(id)?;
        let present = members.iter().filter(|(_, member)| member.status == MemberStatus::Active).count();
        let data = GroupLinkData {
            group_profile: group.profile,
            public_group_data: Some(PublicGroupData {
                public_member_count: i64::try_from(present).unwrap_or(i64::MAX),
            }),
            link_data_version: Some(counter),
            other: std::collections::BTreeMap::new(),
        };
        Ok((UserLinkData::group(vec![owner_auth], relays, data.to_blob()), counter))
    }

    /// Writes the group link's data, or has it written again after the write that is under way.
    pub(super) fn write_link(&mut self, id: GroupId) -> Done<()> {
        let group = self.store.group(id)?;
        let (Some(owner), Some(connection)) = (&group.owner, self.store.link_of_group(id)?) else {
            return Ok(());
        };
        if owner.writing.is_some() || !owner.link_created {
            self.store.change_group(id, |group| {
                if let Some(owner) = &mut group.owner {
                    owner.write_again = true;
                }
            })?;
            return Ok(());
        }
        let relays = self.store.relays(id)?;
        let listed = one_more(relays);
        let (data, counter) = self.link_data(id, &listed)?;
        match self.ask_agent(|agent| agent.set_link_data(connection, &data))? {
            Ok(()) => {}
            Err(error) => return self.warn(Some(id), super::step::chain(&error)),
        }
        self.writing(id, &listed, counter)?;
        protocol::crash_point!("client.link.writing");
        Ok(())
    }

    /// The server does not know the group link any more, as when it has lost its data: it is created again, the same link
    /// with what was to be written.
    pub(super) fn link_gone(&mut self, id: GroupId) -> Done<()> {
        let Some(connection) = self.store.link_of_group(id)? else { return Ok(()) };
        let listed = one_more(self.store.relays(id)?);
        let (data, counter) = self.link_data(id, &listed)?;
        if let Err(error) = self.ask_agent(|agent| agent.create_address_again(connection, &data))? {
            return self.warn(Some(id), super::step::chain(&error));
        }
        self.writing(id, &listed, counter)?;
        self.warn(Some(id), "the server has lost the group link; it is created again, and stays the same")
    }

    /// A write with these relays is under way.
    fn writing(&mut self, id: GroupId, listed: &[RelayRow], counter: u64) -> Done<()> {
        let write = LinkWrite { listed: listed.iter().map(|relay| relay.id.0).collect(), counter };
        self.store.change_group(id, |group| {
            group.link_counter = Some(counter);
            if let Some(owner) = &mut group.owner {
                owner.writing = Some(write);
                owner.write_again = false;
            }
        })?;
        Ok(())
    }

    /// The server has the data of the write that was under way.
    pub(super) fn link_written(&mut self, id: GroupId) -> Done<()> {
        let mut again = false;
        let mut written = None;
        self.store.change_group(id, |group| {
            if let Some(owner) = &mut group.owner {
                again = std::mem::take(&mut owner.write_again);
                written = owner.writing.take();
            }
        })?;
        protocol::crash_point!("client.link.written");
        let Some(write) = written else { return Ok(()) };
        // Those that are listed now come first: another relay's event may begin the next write, which keeps only
        // relays that are known to be active.
        let is_listed = |relay: &RelayRow| write.listed.contains(&relay.id.0);
        let (listed, others): (Vec<_>, Vec<_>) = self.store.relays(id)?.into_iter().partition(is_listed);
        for relay in listed.into_iter().chain(others) {
            let listed = is_listed(&relay);
            self.relay_event(relay.id, RelayEvent::LinkWritten { listed })?;
            if !listed && let Some(relay) = self.store.relay(relay.id)? {
                self.say_farewell(relay)?;
            }
        }
        if again { self.write_link(id) } else { Ok(()) }
    }

    /// The server refuses the data. Relays that wait to be listed ask for another write when they are due.
    pub(super) fn link_refused(&mut self, id: GroupId) -> Done<()> {
        self.forget_write(id)?;
        self.warn(Some(id), "the server refuses the data of the group link; it is tried again")
    }

    /// Whatever write was under way is not any more.
    pub(super) fn forget_write(&mut self, id: GroupId) -> Done<()> {
        self.store.change_group(id, |group| {
            if let Some(owner) = &mut group.owner {
                owner.writing = None;
                owner.write_again = false;
            }
        })?;
        Ok(())
    }
}

/// Relays that are listed already, and one that is to be: the link is written relay by relay.
fn one_more(relays: Vec<RelayRow>) -> Vec<RelayRow> {
    let is_new = |relay: &RelayRow| match &relay.record.side {
        Side::Owner(life) => life.status != RelayStatus::Active,
        Side::Member { .. } => false,
    };
    let mut room = 1;
    let publishable = relays.into_iter().filter(|relay| relay.record.is_publishable());
    let listed = publishable.filter(|relay| {
        let new = is_new(relay);
        let fits = !new || room > 0;
        if new && fits {
            room -= 1;
        }
        fits
    });
    listed.collect()
}
