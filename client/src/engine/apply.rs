//! What accepted statements do to our picture of the group.

use protocol::group::event::Event as Said;
use protocol::group::event::members::{
    MemberDelete, MemberInfo, MemberRestrict, MemberRoleChange, Restriction, Restrictions,
};
use protocol::group::event::owner_relay::RelayNew;
use protocol::group::identity::{MemberId, MemberRole};
use protocol::group::introduction::{Known, Manner, Taken, take};
use protocol::group::opened::is_same_link;
use protocol::group::profile::{GroupProfile, Profile};
use protocol::smp::short_link::ShortLink;

use super::receive::{Accepted, Author};
use super::step::{Done, Step, default_role};
use crate::event::{Event, EvidenceKind};
use crate::rows;
use crate::store::group::{Group, GroupId, GroupStatus};
use crate::store::member::{Member, MemberStatus};
use crate::store::relay::{Joining, RelayRow, Side};

/// Members that are known at most, per group: a relay could make up any number.
pub(super) const MEMBERS_MAX: u64 = 100_000;

impl Step<'_, '_> {
    /// Acts on what was said.
    pub(super) fn apply(
        &mut self,
        relay: &RelayRow,
        group: &Group,
        event: Said,
        by: &Accepted<'_>,
    ) -> Done<()> {
        let id = relay.group;
        match event {
            Said::MessageNew(new) => self.new_message(relay, group, *new, by),
            Said::MessageUpdate(_) | Said::MessageDelete(_) | Said::MessageReact(_) => {
                self.change(id, group, Some(relay), &event, by)
            }
            Said::MemberNew(new) => self.introduced(relay, group, new.member_info, Manner::New, None),
            Said::MemberRole(change) => self.role_changed(relay, group, change, by),
            Said::MemberRestrict(restrict) => self.restricted(id, group, &restrict, by),
            Said::MemberDelete(delete) => self.member_removed(relay, group, delete, by),
            Said::Leave(_) => self.left(id, group, by),
            Said::Info(info) => self.renamed(id, group, &by.author, info.profile),
            Said::GroupInfo(info) => self.group_changed(relay, group, info.group_profile, by),
            Said::GroupPreferences(change) => {
                let mut profile = group.profile.clone();
                profile.group_preferences = Some(change.group_preferences);
                self.group_changed(relay, group, profile, by)
            }
            Said::GroupDelete(_) => self.end_group(id, GroupStatus::Deleted),
            Said::RelayNew(new) => self.relay_announced(id, &new),
            Said::Roster(header) => {
                let mut relay = relay.clone();
                self.roster_header(&mut relay, group, by.shared_id.clone(), header, by.verbatim)
            }
            // Files are not taken; the rest is not forwarded.
            _ => Ok(()),
        }
    }

    /// A relay tells of a member: a name, and for those without privileges a key. Roles above the joiners' come from
    /// the roster, owners from the group link.
    pub(super) fn introduced(
        &mut self,
        relay: &RelayRow,
        group: &Group,
        info: MemberInfo,
        manner: Manner,
        restrictions: Option<Restrictions>,
    ) -> Done<()> {
        let id = relay.group;
        if info.member_id == group.member_id || info.profile.check().is_err() {
            return Ok(());
        }
        let known = self.store.member(id, &info.member_id)?;
        if known.is_none() && self.store.count_members(id)? >= MEMBERS_MAX {
            return Ok(());
        }
        let taken = take(
            &info,
            manner,
            known.as_ref().map(|known| Known { role: known.role, key: known.key }),
            default_role(group),
        );
        let mut member = known.clone().unwrap_or_else(|| Member::with_role(default_role(group)));
        match taken {
            Taken::Nothing => return Ok(()),
            Taken::Record { role, key } => (member.role, member.key) = (role, key),
            Taken::Profile => {}
            Taken::ProfileAndKey(key) => member.key = Some(key),
            Taken::ProfileAndConflict => {
                let detail = format!("it names another key for {}; the first one stays", info.member_id);
                self.accuse(relay, EvidenceKind::NotAllowed, None, &detail, &[])?;
            }
        }
        // A relay's word does not bring back whom an admin removed.
        let is_back =
            matches!(member.status, MemberStatus::Left | MemberStatus::Knocking | MemberStatus::Rejected);
        let is_news = known.is_none() || is_back;
        if is_back {
            member.status = MemberStatus::Active;
        }
        member.profile = Some(info.profile);
        // A relay's word does not stand against what somebody has signed.
        if let Some(restrictions) = restrictions.filter(|_| member.restriction.is_none()) {
            member.blocked = restrictions.restriction == Restriction::Blocked;
        }
        self.store.save_member(id, &info.member_id, &member)?;
        if known.is_none_or(|known| known.key.is_none()) {
            self.author_introduced(id, &info.member_id)?;
        }
        if is_news {
            self.tell(Event::Member(rows::member_row(group, &info.member_id, &member)));
            self.member_count_changed(id, group)?;
        }
        Ok(())
    }

    /// Somebody is blocked, or no longer, unless something newer was said about it.
    fn restricted(
        &mut self,
        id: GroupId,
        group: &Group,
        restrict: &MemberRestrict,
        by: &Accepted<'_>,
    ) -> Done<()> {
        let Some(ruling) = by.ruling() else { return Ok(()) };
        let blocked = restrict.member_restrictions.restriction == Restriction::Blocked;
        self.change_member(id, group, &restrict.member_id, |member| {
            member.restrict(blocked, ruling);
            member.key = member.key.or(restrict.member_key);
        })?;
        self.author_introduced(id, &restrict.member_id)
    }

    /// Somebody has another role, unless something newer was said about it.
    fn role_changed(
        &mut self,
        relay: &RelayRow,
        group: &Group,
        change: MemberRoleChange,
        by: &Accepted<'_>,
    ) -> Done<()> {
        let id = relay.group;
        let Some(ruling) = by.ruling() else { return Ok(()) };
        let is_late = !self.roster_delta(relay, change.roster_version)?;
        // Of whom it does not list, a later roster says nothing below the joiners' role.
        let is_below = change.role <= default_role(group) && !self.roster_lists(id, &change.member_id)?;
        if is_late && (group.owner.is_some() || !is_below) {
            return Ok(());
        }
        let mut counts = false;
        self.change_member(id, group, &change.member_id, |member| {
            counts = member.appoint(change.role, ruling);
            member.key = member.key.or(change.member_key);
        })?;
        if counts && change.member_id == group.member_id {
            self.store.change_group(id, |group| group.role = change.role)?;
        }
        self.author_introduced(id, &change.member_id)
    }

    fn member_removed(
        &mut self,
        relay: &RelayRow,
        group: &Group,
        delete: MemberDelete,
        by: &Accepted<'_>,
    ) -> Done<()> {
        let id = relay.group;
        let relays = self.store.relays(id)?;
        if let Some(removed) =
            relays.into_iter().find(|relay| relay.record.member_id.as_ref() == Some(&delete.member_id))
        {
            return match removed.record.side {
                // Our own notice by way of another relay.
                Side::Owner(_) => Ok(()),
                Side::Member { .. } if removed.record.is_over() => Ok(()),
                Side::Member { .. } => self.gone(removed, Joining::Gone, "the owner has removed it".into()),
            };
        }
        if delete.member_id == group.member_id {
            return self.end_group(id, GroupStatus::Removed);
        }
        let is_late = !self.roster_delta(relay, delete.roster_version)?;
        // A removal that was overtaken by a later change still counts, unless the owner has taken the member back.
        if is_late && (group.owner.is_some() || self.roster_lists(id, &delete.member_id)?) {
            return Ok(());
        }
        self.change_member(id, group, &delete.member_id, |member| {
            member.status = MemberStatus::Removed;
            member.removal = by.ruling();
            member.key = member.key.or(delete.member_key);
            // Whoever was removed leads nothing any more.
            member.role = member.role.min(default_role(group));
        })?;
        self.author_introduced(id, &delete.member_id)?;
        if delete.messages {
            self.delete_messages_of(id, &delete.member_id)?;
        }
        self.member_count_changed(id, group)
    }

    /// Deletes everything that a removed member has posted.
    pub(super) fn delete_messages_of(&mut self, id: GroupId, author: &MemberId) -> Done<()> {
        for mut message in self.store.messages_of(id, author)? {
            message.record.text.clear();
            message.record.deleted = true;
            self.store.save_message(message.row, &message.record)?;
            self.store.mark_shown(message.row)?;
        }
        Ok(())
    }

    fn left(&mut self, id: GroupId, group: &Group, by: &Accepted<'_>) -> Done<()> {
        let author = &by.author;
        let Some(member_id) = &author.id else { return Ok(()) };
        if author.role == MemberRole::Relay {
            let relays = self.store.relays(id)?;
            let relay = relays.into_iter().find(|relay| relay.record.member_id.as_ref() == Some(member_id));
            return relay.map_or(Ok(()), |relay| self.relay_left(relay, by.sent_at));
        }
        self.change_member(id, group, member_id, |member| member.status = MemberStatus::Left)?;
        self.member_count_changed(id, group)
    }

    fn renamed(&mut self, id: GroupId, group: &Group, author: &Author, profile: Profile) -> Done<()> {
        let Some(member_id) = &author.id else { return Ok(()) };
        if profile.check().is_err() {
            return Ok(());
        }
        self.change_member(id, group, member_id, |member| member.profile = Some(profile))
    }

    fn group_changed(
        &mut self,
        relay: &RelayRow,
        group: &Group,
        profile: GroupProfile,
        by: &Accepted<'_>,
    ) -> Done<()> {
        if let Err(problem) = profile.check_update_of(&group.public_id) {
            let shared_id = Some(by.shared_id.to_string());
            return self.accuse(
                relay,
                EvidenceKind::NotAllowed,
                shared_id,
                &problem.to_string(),
                by.verbatim,
            );
        }
        if group.owner.is_some() {
            return Ok(());
        }
        let group = self.store.change_group(relay.group, |group| group.profile = profile)?;
        self.tell(Event::GroupProfile(rows::profile_row(&group)));
        Ok(())
    }

    fn relay_announced(&mut self, id: GroupId, new: &RelayNew) -> Done<()> {
        if self.store.group(id)?.owner.is_some() {
            return Ok(());
        }
        let Ok(link) = new.relay_link.as_str().parse::<ShortLink>() else { return Ok(()) };
        for mut relay in self.store.relays(id)? {
            let known = relay.record.link.as_deref().and_then(|text| text.parse::<ShortLink>().ok());
            if known.is_some_and(|known| is_same_link(&known, &link)) {
                if let Side::Member { step: Joining::Gone, .. } = relay.record.side {
                    relay.record.side = Side::Member { step: Joining::Listed, tries: 0 };
                    self.save_relay(&relay)?;
                    self.connect(&relay)?;
                }
                return Ok(());
            }
        }
        let row = self.add_listed(id, &link)?;
        if let Some(relay) = self.store.relay(row)? {
            self.connect(&relay)?;
        }
        // The list was written before it was announced. Who has read it cannot be shown an older one.
        self.restore(id)
    }

    /// Ends a group for us: nothing more is sent or received.
    pub(super) fn end_group(&mut self, id: GroupId, status: GroupStatus) -> Done<()> {
        for relay in self.store.relays(id)? {
            self.part_with(relay, true)?;
        }
        let group = self.store.change_group(id, |group| {
            group.status = status;
            group.restore.due_at_ms = None;
        })?;
        self.tell(Event::GroupEnded { group: group.alias, status: status.word().into() });
        protocol::crash_point!("client.group.ended");
        Ok(())
    }

    /// Changes a member that is known, or one of whom nothing but this is known yet.
    pub(super) fn change_member(
        &mut self,
        id: GroupId,
        group: &Group,
        member_id: &MemberId,
        change: impl FnOnce(&mut Member),
    ) -> Done<()> {
        let mut member =
            self.store.member(id, member_id)?.unwrap_or_else(|| Member::with_role(default_role(group)));
        change(&mut member);
        self.store.save_member(id, member_id, &member)?;
        self.tell(Event::Member(rows::member_row(group, member_id, &member)));
        Ok(())
    }

    /// The owner tells joiners how many members there are.
    pub(super) fn member_count_changed(&mut self, id: GroupId, group: &Group) -> Done<()> {
        if group.owner.is_some() && !group.status.is_over() { self.write_link(id) } else { Ok(()) }
    }
}
