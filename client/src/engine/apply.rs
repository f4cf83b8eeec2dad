//! What accepted statements do to our picture of the group.

use protocol::group::constants::REACTIONS_PER_PERSON_MAX;
use protocol::group::event::Event as Said;
use protocol::group::event::content::{MessageDelete, MessageNew, MessageReact, MessageUpdate};
use protocol::group::event::members::{
    MemberDelete, MemberInfo, MemberRoleChange, Restriction, Restrictions,
};
use protocol::group::event::owner_relay::RelayNew;
use protocol::group::identity::{MemberId, MemberRole};
use protocol::group::introduction::{Known, Manner, Taken, take};
use protocol::group::moderation::{Change, ChangeRefused, Item, permit_change};
use protocol::group::msg_id::SharedMessageId;
use protocol::group::opened::is_same_link;
use protocol::group::profile::{GroupProfile, Profile};
use protocol::group::signed::Statement;
use protocol::smp::short_link::ShortLink;

use super::receive::{Accepted, Author, signature_of, verdict_of};
use super::step::{Done, Step, default_role};
use crate::event::{Event, EvidenceKind, Signature};
use crate::query;
use crate::store::group::{Group, GroupId, GroupStatus};
use crate::store::member::{Member, MemberStatus};
use crate::store::message::{HeldChange, Message, MessageRow};
use crate::store::relay::{Joining, RelayRow, Side};

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
            Said::MemberRole(change) => self.role_changed(relay, group, change),
            Said::MemberRestrict(restrict) => {
                let blocked = restrict.member_restrictions.restriction == Restriction::Blocked;
                self.change_member(id, group, &restrict.member_id, |member| member.blocked = blocked)
            }
            Said::MemberDelete(delete) => self.member_removed(relay, group, delete),
            Said::Leave(_) => self.left(id, group, &by.author),
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

    fn new_message(
        &mut self,
        relay: &RelayRow,
        group: &Group,
        new: MessageNew,
        by: &Accepted<'_>,
    ) -> Done<()> {
        // Conversations of one member with the moderators are not shown among the others.
        let (None, Some(signature)) = (&new.scope, signature_of(by.verdict)) else { return Ok(()) };
        let id = relay.group;
        let text = new.content.as_text().to_owned();
        if let Some(mut held) = self.store.message(id, &by.shared_id)? {
            if by.again {
                held.record.text = text.clone();
                held.record.signature = signature;
                self.store.save_message(held.row, &held.record)?;
                self.tell_edited(id, group, &held, &by.author)?;
            }
            return Ok(());
        }
        let own = by.author.id.as_ref() == Some(&group.member_id);
        let record = Message {
            text,
            signature: if own { Signature::Own } else { signature },
            own,
            edited: false,
            deleted: false,
            reply_to: new.quote.and_then(|quote| quote.msg_ref.msg_id),
            delivered: own,
        };
        let shown = (self.followed)(&group.alias);
        let author = by.author.id.as_ref();
        self.store.add_message(id, &by.shared_id, author, by.sent_at, shown, &record)?;
        if signature == Signature::Unsigned && group.profile.preferences().signs_messages() && !own {
            let detail = "the group's posts are signed, and this one is not: the relay could have written it";
            let shared_id = Some(by.shared_id.to_string());
            self.accuse(relay, EvidenceKind::UnsignedPost, shared_id, detail, by.verbatim)?;
        }
        if let Some(message) = self.store.message(id, &by.shared_id)? {
            let row = query::message_row(self.store, id, group, &message)?;
            self.tell(Event::Message(row));
        }
        protocol::crash_point!("client.receive.message");
        for change in self.store.take_held_changes(id, &by.shared_id)? {
            self.make_held_change(id, group, change)?;
        }
        Ok(())
    }

    /// An edit, a deletion or a reaction; kept for later when its message has not come.
    fn change(
        &mut self,
        id: GroupId,
        group: &Group,
        relay: Option<&RelayRow>,
        event: &Said,
        by: &Accepted<'_>,
    ) -> Done<()> {
        let target = match event {
            Said::MessageUpdate(update) => &update.msg_id,
            Said::MessageDelete(delete) => &delete.msg_id,
            Said::MessageReact(react) => &react.msg_id,
            _ => return Ok(()),
        };
        let Some(message) = self.store.message(id, target)? else {
            let kind = kind_of_change(event, &by.author);
            if kind.is_none_or(|kind| {
                permit_change(None, kind, by.author.id.as_ref(), by.verdict, by.sent_at).is_ok()
            }) {
                self.hold_change(id, target, by)?;
            }
            return Ok(());
        };
        let permitted = match kind_of_change(event, &by.author) {
            None => Ok(()),
            Some(kind) => {
                let item = Item {
                    author: message.author.clone(),
                    verdict: verdict_of(message.record.signature),
                    sent_at: message.sent_at,
                    deleted: message.record.deleted,
                };
                permit_change(Some(&item), kind, by.author.id.as_ref(), by.verdict, by.sent_at)
            }
        };
        match permitted {
            Ok(()) => {}
            Err(ChangeRefused::BadSignature) => {
                if let Some(relay) = relay {
                    let reason = ChangeRefused::BadSignature.to_string();
                    let shared_id = Some(target.to_string());
                    self.accuse(relay, EvidenceKind::MissingSignature, shared_id, &reason, by.verbatim)?;
                }
                return Ok(());
            }
            Err(refused) => {
                tracing::debug!(%refused, "a change was not made");
                return Ok(());
            }
        }
        match event {
            Said::MessageUpdate(update) => self.edited(id, group, message, update, by),
            Said::MessageDelete(delete) => self.deleted(id, group, message, delete, by),
            Said::MessageReact(react) => self.reacted(id, group, react, by),
            _ => Ok(()),
        }
    }

    fn hold_change(&mut self, id: GroupId, target: &SharedMessageId, by: &Accepted<'_>) -> Done<()> {
        let Some(signature) = signature_of(by.verdict) else { return Ok(()) };
        let change = HeldChange {
            author: by.author.id.clone(),
            signature,
            sent_at_ms: by.sent_at.0,
            verbatim: by.verbatim.to_vec(),
        };
        Ok(self.store.hold_change(id, target, &change)?)
    }

    fn make_held_change(&mut self, id: GroupId, group: &Group, change: HeldChange) -> Done<()> {
        let Ok(message) = Statement::parse(&change.verbatim)
            .map_err(drop)
            .and_then(|statement| statement.message().map_err(drop))
        else {
            return Ok(());
        };
        let Some(shared_id) = message.message_id else { return Ok(()) };
        let role = match &change.author {
            Some(author) => {
                self.store.member(id, author)?.map_or_else(|| default_role(group), |member| member.role)
            }
            None => MemberRole::Owner,
        };
        let by = Accepted {
            author: Author { id: change.author, role, key: None, blocked: false },
            verdict: verdict_of(change.signature),
            sent_at: protocol::timestamp::Timestamp(change.sent_at_ms),
            shared_id,
            verbatim: &change.verbatim,
            again: false,
        };
        self.change(id, group, None, &message.event, &by)
    }

    fn edited(
        &mut self,
        id: GroupId,
        group: &Group,
        mut message: MessageRow,
        update: &MessageUpdate,
        by: &Accepted<'_>,
    ) -> Done<()> {
        message.record.text = update.content.as_text().to_owned();
        message.record.edited = true;
        self.store.save_message(message.row, &message.record)?;
        self.tell_edited(id, group, &message, &by.author)
    }

    fn tell_edited(&mut self, id: GroupId, group: &Group, message: &MessageRow, author: &Author) -> Done<()> {
        let event = Event::Edited {
            group: group.alias.clone(),
            message_id: message.shared_id.to_string(),
            author: query::author_name(self.store, id, group, author.id.as_ref())?,
            author_id: author.id.as_ref().map(ToString::to_string).unwrap_or_default(),
            text: message.record.text.clone(),
            signature: message.record.signature,
        };
        self.tell(event);
        Ok(())
    }

    fn deleted(
        &mut self,
        id: GroupId,
        group: &Group,
        mut message: MessageRow,
        delete: &MessageDelete,
        by: &Accepted<'_>,
    ) -> Done<()> {
        if delete.only_history.unwrap_or(false) {
            return Ok(());
        }
        message.record.text.clear();
        message.record.deleted = true;
        self.store.save_message(message.row, &message.record)?;
        let event = Event::Deleted {
            group: group.alias.clone(),
            message_id: message.shared_id.to_string(),
            by: query::author_name(self.store, id, group, by.author.id.as_ref())?,
            by_id: by.author.id.as_ref().map(ToString::to_string).unwrap_or_default(),
            signature: signature_of(by.verdict).unwrap_or(Signature::Unsigned),
        };
        self.tell(event);
        Ok(())
    }

    fn reacted(&mut self, id: GroupId, group: &Group, react: &MessageReact, by: &Accepted<'_>) -> Done<()> {
        let (Some(emoji), Some(author)) = (react.reaction.as_emoji(), &by.author.id) else { return Ok(()) };
        if self.store.react(id, &react.msg_id, author, emoji, react.add, REACTIONS_PER_PERSON_MAX)? {
            let event = Event::Reaction {
                group: group.alias.clone(),
                message_id: react.msg_id.to_string(),
                emoji: emoji.to_owned(),
                by: query::author_name(self.store, id, group, Some(author))?,
                by_id: author.to_string(),
                added: react.add,
            };
            self.tell(event);
        }
        Ok(())
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
        let is_news = known.is_none() || member.status != MemberStatus::Active;
        member.status = MemberStatus::Active;
        member.profile = Some(info.profile);
        if let Some(restrictions) = restrictions {
            member.blocked = restrictions.restriction == Restriction::Blocked;
        }
        self.store.save_member(id, &info.member_id, &member)?;
        if is_news {
            self.tell(Event::Member(query::member_row(group, &info.member_id, &member)));
            self.member_count_changed(id, group)?;
        }
        Ok(())
    }

    fn role_changed(&mut self, relay: &RelayRow, group: &Group, change: MemberRoleChange) -> Done<()> {
        if !self.roster_delta(relay, change.roster_version)? {
            return Ok(());
        }
        let id = relay.group;
        if change.member_id == group.member_id {
            self.store.change_group(id, |group| group.role = change.role)?;
        }
        self.change_member(id, group, &change.member_id, |member| {
            member.role = change.role;
            member.key = member.key.or(change.member_key);
        })
    }

    fn member_removed(&mut self, relay: &RelayRow, group: &Group, delete: MemberDelete) -> Done<()> {
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
        if !self.roster_delta(relay, delete.roster_version)? {
            return Ok(());
        }
        self.change_member(id, group, &delete.member_id, |member| member.status = MemberStatus::Removed)?;
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
        }
        Ok(())
    }

    fn left(&mut self, id: GroupId, group: &Group, author: &Author) -> Done<()> {
        let Some(member_id) = &author.id else { return Ok(()) };
        if author.role == MemberRole::Relay {
            let relays = self.store.relays(id)?;
            let relay = relays.into_iter().find(|relay| relay.record.member_id.as_ref() == Some(member_id));
            return relay.map_or(Ok(()), |relay| self.relay_left(relay));
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
        self.tell(Event::GroupProfile(query::profile_row(&group)));
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
        match self.store.relay(row)? {
            Some(relay) => self.connect(&relay),
            None => Ok(()),
        }
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
        self.tell(Event::Member(query::member_row(group, member_id, &member)));
        Ok(())
    }

    /// The owner tells joiners how many members there are.
    fn member_count_changed(&mut self, id: GroupId, group: &Group) -> Done<()> {
        if group.owner.is_some() && !group.status.is_over() { self.write_link(id) } else { Ok(()) }
    }
}

/// What a change is; nothing for reactions, which need no say over the message.
fn kind_of_change(event: &Said, author: &Author) -> Option<Change> {
    match event {
        Said::MessageUpdate(_) => Some(Change::Edit),
        Said::MessageDelete(delete)
            if delete.member_id.as_ref().is_some_and(|of| Some(of) != author.id.as_ref()) =>
        {
            Some(Change::Moderate)
        }
        Said::MessageDelete(_) => Some(Change::DeleteOwn),
        _ => None,
    }
}
