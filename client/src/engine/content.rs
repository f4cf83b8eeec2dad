//! Messages, and what is done to them: edits, deletions, reactions.

use protocol::group::constants::REACTIONS_PER_PERSON_MAX;
use protocol::group::event::Event as Said;
use protocol::group::event::content::{MessageDelete, MessageNew, MessageReact, MessageUpdate};
use protocol::group::identity::MemberRole;
use protocol::group::moderation::{Change, ChangeRefused, Item, permit_change};
use protocol::group::msg_id::SharedMessageId;
use protocol::group::signed::Statement;
use protocol::timestamp::Timestamp;

use super::receive::{Accepted, Author, signature_of, verdict_of};
use super::step::{Done, Step, default_role};
use crate::event::{Event, EvidenceKind, Signature};
use crate::rows;
use crate::store::group::{Group, GroupId};
use crate::store::message::{HeldChange, Message, MessageRow, Place};
use crate::store::relay::RelayRow;

impl Step<'_, '_> {
    pub(super) fn new_message(
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
        let shown = own || (self.followed)(&group.alias);
        let place = Place { shown, recalled: by.recalled, late: by.late };
        let author = by.author.id.as_ref();
        self.store.add_message(id, &by.shared_id, author, by.sent_at, place, &record)?;
        if signature == Signature::Unsigned && group.profile.preferences().signs_messages() && !own {
            let detail = "the group's posts are signed, and this one is not: the relay could have written it";
            let shared_id = Some(by.shared_id.to_string());
            self.accuse(relay, EvidenceKind::UnsignedPost, shared_id, detail, by.verbatim)?;
        }
        if let Some(message) = self.store.message(id, &by.shared_id)? {
            let row = rows::message_row(self.store, id, group, &message)?;
            self.tell(Event::Message(row));
        }
        protocol::crash_point!("client.receive.message");
        for change in self.store.take_held_changes(id, &by.shared_id)? {
            self.make_held_change(id, group, change)?;
        }
        Ok(())
    }

    /// An edit, a deletion or a reaction; kept for later when its message has not come.
    pub(super) fn change(
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
            sent_at: Timestamp(change.sent_at_ms),
            shared_id,
            recalled: false,
            late: None,
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
            author: rows::author_name(self.store, id, group, author.id.as_ref())?,
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
        // Nothing is left to be read.
        self.store.mark_shown(message.row)?;
        let event = Event::Deleted {
            group: group.alias.clone(),
            message_id: message.shared_id.to_string(),
            by: rows::author_name(self.store, id, group, by.author.id.as_ref())?,
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
                by: rows::author_name(self.store, id, group, Some(author))?,
                by_id: author.to_string(),
                added: react.add,
            };
            self.tell(event);
        }
        Ok(())
    }
}

/// What a change is; nothing for reactions, which need no say over the message.
fn kind_of_change(event: &Said, author: &Author) -> Option<Change> {
    match event {
        Said::MessageUpdate(_) => Some(Change::Edit),
        Said::MessageDelete(delete) => Some(Change::of_deletion(delete, author.id.as_ref())),
        _ => None,
    }
}
