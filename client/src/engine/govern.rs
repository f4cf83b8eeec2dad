//! What people do to groups, members and messages, as signed events to all relays.

use protocol::group::event::Event as Said;
use protocol::group::event::content::{Content, MessageDelete, MessageReact, MessageUpdate, Reaction};
use protocol::group::event::group::{GroupDelete, GroupInfo};
use protocol::group::event::members::{
    Leave, MemberDelete, MemberRestrict, MemberRoleChange, Restriction, Restrictions,
};
use protocol::group::identity::MemberId;
use protocol::group::moderation::may_still_change;
use protocol::group::msg_id::SharedMessageId;
use protocol::group::profile::HistoryKept;
use protocol::group::ruling::Ruling;
use protocol::group::signed::Statement;

use super::roster::parse_role;
use super::send::expired;
use super::step::{Done, Step, Stop, default_role};
use crate::error::CommandError;
use crate::event::{Event, Signature};
use crate::exit_code::ExitCode;
use crate::query;
use crate::request::{EntranceChange, ProfileChange};
use crate::rows;
use crate::store::group::{Group, GroupId, GroupStatus};
use crate::store::member::{Member, MemberStatus};
use crate::store::message::MessageRow;

/// Own reactions on one message, as far as others take them.
const OWN_REACTIONS_MAX: usize = protocol::group::constants::REACTIONS_PER_PERSON_MAX;

impl Step<'_, '_> {
    /// Changes the text of an own message.
    pub(super) fn edit(&mut self, id: GroupId, wanted: &str, text: &str) -> Done<SharedMessageId> {
        let group = self.store.group(id)?;
        let mut message = self.own_message(id, wanted, "changing")?;
        let update = MessageUpdate {
            msg_id: message.shared_id.clone(),
            content: Content::text(text),
            mentions: std::collections::BTreeMap::new(),
            ttl: None,
            live: None,
            scope: None,
            as_group: None,
            prefs: None,
        };
        let shared_id = self.send_event(id, &group, Said::MessageUpdate(Box::new(update)))?;
        message.record.text = text.to_owned();
        message.record.edited = true;
        self.store.save_message(message.row, &message.record)?;
        self.tell(Event::Edited {
            author: rows::author_name(self.store, id, &group, message.author.as_ref())?,
            author_id: group.member_id.to_string(),
            group: group.alias,
            message_id: message.shared_id.to_string(),
            text: text.to_owned(),
            signature: Signature::Own,
        });
        Ok(shared_id)
    }

    /// Deletes a message for everybody: an own one in time, another's as a moderator.
    pub(super) fn delete(&mut self, id: GroupId, wanted: &str) -> Done<SharedMessageId> {
        let group = self.store.group(id)?;
        let mut message = query::find_message(self.store, id, wanted)?;
        if message.record.deleted {
            return Err(Stop::refuse(ExitCode::MessageExpired, "This message was deleted before"));
        }
        if message.record.own && !may_still_change(message.sent_at, self.now()) {
            return Err(expired("deleting"));
        }
        let member_id = if message.record.own { None } else { message.author.clone() };
        let delete =
            MessageDelete { msg_id: message.shared_id.clone(), member_id, scope: None, only_history: None };
        let shared_id = self.send_event(id, &group, Said::MessageDelete(delete))?;
        message.record.text.clear();
        message.record.deleted = true;
        self.store.save_message(message.row, &message.record)?;
        // Nothing is left to be read.
        self.store.mark_shown(message.row)?;
        self.tell(Event::Deleted {
            by: rows::author_name(self.store, id, &group, Some(&group.member_id))?,
            by_id: group.member_id.to_string(),
            group: group.alias,
            message_id: message.shared_id.to_string(),
            signature: Signature::Own,
        });
        Ok(shared_id)
    }

    /// Puts a reaction on a message or takes it back.
    pub(super) fn react(
        &mut self,
        id: GroupId,
        wanted: &str,
        emoji: &str,
        add: bool,
    ) -> Done<SharedMessageId> {
        let group = self.store.group(id)?;
        let message = query::find_message(self.store, id, wanted)?;
        let reaction = Reaction::emoji(emoji);
        let known = reaction.as_ref().and_then(|reaction| reaction.as_emoji());
        let (Some(reaction), Some(emoji)) = (reaction.clone(), known) else {
            return Err(Stop::refuse(
                ExitCode::Usage,
                format_args!("\"{emoji}\" is no reaction that others show"),
            ));
        };
        if !self.store.react(id, &message.shared_id, &group.member_id, emoji, add, OWN_REACTIONS_MAX)? {
            let text =
                if add { "You have put this, or as many as there may be" } else { "You have not put this" };
            return Err(Stop::refuse(ExitCode::AlreadyThere, text));
        }
        let react = MessageReact {
            msg_id: message.shared_id.clone(),
            member_id: message.author,
            scope: None,
            reaction,
            add,
        };
        let shared_id = self.send_event(id, &group, Said::MessageReact(react))?;
        self.tell(Event::Reaction {
            by: rows::author_name(self.store, id, &group, Some(&group.member_id))?,
            by_id: group.member_id.to_string(),
            group: group.alias,
            message_id: message.shared_id.to_string(),
            emoji: emoji.to_owned(),
            added: add,
        });
        Ok(shared_id)
    }

    /// Gives a member another role: the roster first, so that relays hold it before they pass on the change.
    pub(super) fn give_role(&mut self, id: GroupId, name: &str, word: &str) -> Done<SharedMessageId> {
        let role = parse_role(word)?;
        let group = self.store.group(id)?;
        let (member_id, mut member) = self.find_let_in(id, name)?;
        if role.is_roster_role() && member.key.is_none() {
            return Err(CommandError::new(
                ExitCode::NotAllowed,
                "The key of this member is not known here yet",
            )
            .hint("It comes when the member joins through a relay that you are connected to.")
            .into());
        }
        let member_key = member.key;
        let change = |roster_version| {
            let member_id = member_id.clone();
            Said::MemberRole(MemberRoleChange { member_id, role, member_key, roster_version })
        };
        self.check_may(id, &group, &change(None))?;
        let on_roster = role.is_roster_role() || member.role.is_roster_role();
        let before = std::mem::replace(&mut member.role, role);
        self.store.save_member(id, &member_id, &member)?;
        let version = if on_roster { Some(self.next_roster(id)?) } else { None };
        tracing::debug!(%before, %role, ?version, "role given");
        let shared_id = self.send_unchecked(id, &group, change(version), |_| true)?;
        member.appointment = self.own_ruling(id, &group, &shared_id)?;
        self.store.save_member(id, &member_id, &member)?;
        self.tell(Event::Member(rows::member_row(&group, &member_id, &member)));
        Ok(shared_id)
    }

    /// Removes a member.
    pub(super) fn remove_member(&mut self, id: GroupId, name: &str, messages: bool) -> Done<SharedMessageId> {
        let group = self.store.group(id)?;
        let (member_id, mut member) = query::find_member(self.store, id, name)?;
        if member_id == group.member_id {
            return Err(CommandError::new(ExitCode::NotAllowed, "This is you")
                .hint("Leave with `conclave leave`, or end the group with `conclave group delete`.")
                .into());
        }
        let removal = |roster_version| {
            let (member_id, member_key) = (member_id.clone(), member.key);
            Said::MemberDelete(MemberDelete { member_id, messages, member_key, roster_version })
        };
        self.check_may(id, &group, &removal(None))?;
        let on_roster = member.role.is_roster_role();
        member.status = MemberStatus::Removed;
        member.role = member.role.min(default_role(&group));
        self.store.save_member(id, &member_id, &member)?;
        let version = if on_roster && group.owner.is_some() { Some(self.next_roster(id)?) } else { None };
        let shared_id = self.send_unchecked(id, &group, removal(version), |_| true)?;
        member.removal = self.own_ruling(id, &group, &shared_id)?;
        self.store.save_member(id, &member_id, &member)?;
        if messages {
            self.delete_messages_of(id, &member_id)?;
        }
        self.tell(Event::Member(rows::member_row(&group, &member_id, &member)));
        if group.owner.is_some() {
            self.write_link(id)?;
        }
        Ok(shared_id)
    }

    /// A member who does not wait to be let in: whoever waits hears of no change, and is let in as it asked.
    fn find_let_in(&self, id: GroupId, name: &str) -> Done<(MemberId, Member)> {
        let (member_id, member) = query::find_member(self.store, id, name)?;
        if member.status == MemberStatus::Knocking && member.decision.is_none() {
            let group = self.store.group(id)?.alias;
            let hint = format!(
                "Let it in first, with `conclave accept {group} {member_id}`, and then do this; or turn it away, with \
                 `conclave reject {group} {member_id}`."
            );
            return Err(CommandError::new(ExitCode::NotAllowed, "This one waits to be let in")
                .hint(hint)
                .into());
        }
        Ok((member_id, member))
    }

    /// Blocks a member for everybody, or no longer.
    pub(super) fn restrict(&mut self, id: GroupId, name: &str, blocked: bool) -> Done<SharedMessageId> {
        let group = self.store.group(id)?;
        let (member_id, member) = self.find_let_in(id, name)?;
        let restriction = if blocked { Restriction::Blocked } else { Restriction::Unrestricted };
        let restrict = MemberRestrict {
            member_id: member_id.clone(),
            member_restrictions: Restrictions { restriction },
            member_key: member.key,
        };
        let shared_id = self.send_event(id, &group, Said::MemberRestrict(restrict))?;
        let ruling = self.own_ruling(id, &group, &shared_id)?;
        self.change_member(id, &group, &member_id, |member| {
            member.blocked = blocked;
            member.restriction = ruling;
        })?;
        Ok(shared_id)
    }

    /// What we have just said about somebody, for those who come later.
    fn own_ruling(&self, id: GroupId, group: &Group, shared_id: &SharedMessageId) -> Done<Option<Ruling>> {
        let Some((_, said)) = self.store.held_copy(id, shared_id)? else { return Ok(None) };
        let statement = Statement::parse(&said.verbatim).ok();
        Ok(statement.map(|statement| Ruling::new(group.member_id.clone(), self.now(), &statement)))
    }

    /// Changes the group's profile, for members and in the group link.
    pub(super) fn change_profile(&mut self, id: GroupId, change: &ProfileChange) -> Done<SharedMessageId> {
        let group = self.store.group(id)?;
        let mut profile = group.profile.clone();
        if let Some(name) = &change.name {
            profile.display_name = super::checked_name(name)?;
        }
        if let Some(full_name) = &change.full_name {
            profile.full_name.clone_from(full_name);
        }
        if let Some(description) = &change.description {
            profile.description = Some(description.clone()).filter(|text| !text.is_empty());
        }
        if let Some(review) = change.review {
            profile.set_review(review);
        }
        let mut preferences = profile.preferences();
        let kept = kept_after(preferences.history_kept(), change);
        if kept != preferences.history_kept() {
            preferences.keep_history(kept);
            profile.group_preferences = Some(preferences);
        }
        match &change.entrance {
            Some(EntranceChange::Asks(entrance)) => {
                entrance.check().map_err(|problem| {
                    Stop::refuse(ExitCode::Usage, format_args!("Unusable entrance: {problem}"))
                })?;
                profile.set_entrance(Some(entrance));
            }
            Some(EntranceChange::Free) => profile.set_entrance(None),
            None => {}
        }
        profile
            .check_update_of(&group.public_id)
            .map_err(|problem| Stop::refuse(ExitCode::Usage, format_args!("Unusable profile: {problem}")))?;
        let info = Said::GroupInfo(Box::new(GroupInfo { group_profile: profile.clone() }));
        let shared_id = self.send_event(id, &group, info)?;
        let group = self.store.change_group(id, |group| group.profile = profile)?;
        self.tell(Event::GroupProfile(rows::profile_row(&group)));
        self.write_link(id)?;
        Ok(shared_id)
    }

    /// Leaves a group.
    pub(super) fn leave(&mut self, id: GroupId) -> Done<SharedMessageId> {
        let group = self.store.group(id)?;
        if group.owner.is_some() {
            return Err(CommandError::new(
                ExitCode::NotAllowed,
                "An owner cannot leave: nobody could look after the group",
            )
            .hint("End it with `conclave group delete`.")
            .into());
        }
        if group.status == GroupStatus::Left {
            return Err(Stop::refuse(ExitCode::AlreadyThere, "You have left this group before"));
        }
        let shared_id = self.send_event(id, &group, Said::Leave(Leave {}))?;
        self.end_group(id, GroupStatus::Left)?;
        Ok(shared_id)
    }

    /// Ends a group for everybody.
    pub(super) fn delete_group(&mut self, id: GroupId) -> Done<SharedMessageId> {
        let group = self.store.group(id)?;
        let shared_id = self.send_event(id, &group, Said::GroupDelete(GroupDelete {}))?;
        if let Some(link) = self.store.link_of_group(id)? {
            self.end_connection(link, true)?;
        }
        self.end_group(id, GroupStatus::Deleted)?;
        Ok(shared_id)
    }

    fn own_message(&self, id: GroupId, wanted: &str, what: &str) -> Done<MessageRow> {
        let message = query::find_message(self.store, id, wanted)?;
        if !message.record.own {
            return Err(Stop::refuse(ExitCode::NotAllowed, "This message is not yours"));
        }
        if message.record.deleted {
            return Err(Stop::refuse(ExitCode::MessageExpired, "This message was deleted before"));
        }
        if !may_still_change(message.sent_at, self.now()) {
            return Err(expired(what));
        }
        Ok(message)
    }
}

/// How much of the history relays keep after a change.
fn kept_after(before: HistoryKept, change: &ProfileChange) -> HistoryKept {
    let unless_zero = |days: u32| (days > 0).then(|| days.saturating_mul(DAY_SECONDS));
    HistoryKept {
        items: change.history_items.unwrap_or(before.items),
        age_seconds: change.history_days.map_or(before.age_seconds, unless_zero),
        bytes: change.history_bytes.map_or(before.bytes, |bytes| (bytes > 0).then_some(bytes)),
    }
}

const DAY_SECONDS: u32 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_of_the_history_stays_and_zero_is_no_bound() {
        let none = ProfileChange::default();
        let kept = HistoryKept { items: 7, age_seconds: Some(5), bytes: Some(9) };
        assert_eq!(kept_after(kept, &none), kept);
        let change = ProfileChange { history_days: Some(2), history_bytes: Some(0), ..none.clone() };
        assert_eq!(
            kept_after(kept, &change),
            HistoryKept { items: 7, age_seconds: Some(2 * DAY_SECONDS), bytes: None }
        );
        let change = ProfileChange { history_items: Some(0), history_days: Some(0), ..none };
        assert_eq!(kept_after(kept, &change), HistoryKept { items: 0, age_seconds: None, bytes: Some(9) });
    }
}
