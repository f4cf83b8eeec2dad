//! Messages, and what is done to them: edits, deletions, reactions.

use protocol::group::constants::REACTIONS_PER_PERSON_MAX;
use protocol::group::event::content::{MessageDelete, MessageNew, MessageReact, MessageUpdate};
use protocol::group::event::{Event as Said, EventTag};
use protocol::group::identity::MemberRole;
use protocol::group::moderation::{Change, ChangeRefused, Item, permit_change};
use protocol::group::msg_id::SharedMessageId;
use protocol::group::signed::Statement;
use protocol::group::signing::{Reception, Verdict, verdict};
use protocol::timestamp::Timestamp;

use super::receive::{Accepted, Author, signature_of, verdict_of};
use super::step::{Done, Step, default_role};
use crate::event::{Event, EvidenceKind, Signature};
use crate::rows;
use crate::store::copy::HeldChange;
use crate::store::group::{Group, GroupId};
use crate::store::message::{Message, MessageRow, Place};
use crate::store::relay::RelayRow;
use crate::store::{Store, StoreError};

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
                if !held.record.edited {
                    held.record.text = text.clone();
                }
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
        self.note_unproven(id, by)?;
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
                return self.hold_change(id, target, by);
            }
            return self.note_unproven(id, by);
        };
        self.note_unproven(id, by)?;
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

    /// Notes what is to be judged again when its author's key is known.
    pub(super) fn note_unproven(&mut self, id: GroupId, by: &Accepted<'_>) -> Done<()> {
        match &by.author.id {
            Some(author) if by.verdict == Verdict::KeyUnknown => {
                Ok(self.store.note_unproven(id, author, &by.shared_id, by.sent_at)?)
            }
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
        let Ok(statement) = Statement::parse(&change.verbatim) else { return Ok(()) };
        let Ok(message) = statement.message() else { return Ok(()) };
        let Some(shared_id) = message.message_id else { return Ok(()) };
        let (author, verdict) = judge_anew(self.store, id, group, &change, &statement, message.event.tag())?;
        let by = Accepted {
            author,
            verdict,
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

    pub(super) fn tell_edited(
        &mut self,
        id: GroupId,
        group: &Group,
        message: &MessageRow,
        author: &Author,
    ) -> Done<()> {
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

/// Whose a change is that waited for its message, and what its signature is worth now. A change by one relay may come
/// before its author was introduced, and its message by another one after that.
fn judge_anew(
    store: &Store,
    id: GroupId,
    group: &Group,
    change: &HeldChange,
    statement: &Statement<'_>,
    event: EventTag,
) -> Result<(Author, Verdict), StoreError> {
    let Some(author) = change.author.clone() else {
        let author = Author { id: None, role: MemberRole::Owner, key: None, blocked: false };
        return Ok((author, verdict_of(change.signature)));
    };
    let member = store.member(id, &author)?;
    let (role, key) = member.map_or_else(|| (default_role(group), None), |member| (member.role, member.key));
    let verdict = match (verdict_of(change.signature), &key) {
        (Verdict::KeyUnknown, Some(_)) => verdict(Reception {
            event,
            signature: statement.check(&group.public_id, &author, key.as_ref()),
            as_channel: false,
            author_role: role,
            receiver_role: group.role,
        }),
        (as_it_came, _) => as_it_came,
    };
    Ok((Author { id: Some(author), role, key, blocked: false }, verdict))
}

/// What a change is; nothing for reactions, which need no say over the message.
fn kind_of_change(event: &Said, author: &Author) -> Option<Change> {
    match event {
        Said::MessageUpdate(_) => Some(Change::Edit),
        Said::MessageDelete(delete) => Some(Change::of_deletion(delete, author.id.as_ref())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use protocol::crypto::sign::Ed25519PrivateKey;
    use protocol::group::event::Message as SaidMessage;
    use protocol::group::identity::{MemberId, MemberKey};
    use protocol::group::signed::sign;
    use protocol::group::signing::DropReason;

    use super::*;
    use crate::store::group::tests::a_group;
    use crate::store::member::Member;

    #[test]
    fn a_change_that_came_before_its_author_was_introduced_is_verified_when_its_message_comes() {
        let mut store = Store::in_memory();
        let group = a_group("news");
        let id = store.add_group(&group).unwrap();
        let author = MemberId::new([4; 12]).unwrap();
        let [msg_id, said_id] = [[1; 12], [2; 12]].map(|id| SharedMessageId::new(id).unwrap());
        let delete =
            MessageDelete { msg_id: msg_id.clone(), member_id: None, scope: None, only_history: None };
        let said = SaidMessage::new(Some(said_id), Said::MessageDelete(delete));
        let [key, other] = [[7; 32], [8; 32]].map(|seed| Ed25519PrivateKey::from_seed(&seed));
        let change = HeldChange {
            author: Some(author.clone()),
            signature: Signature::KeyUnknown,
            sent_at_ms: 0,
            verbatim: sign(&key, &group.public_id, &author, &said.to_json()),
        };
        let judged = |store: &mut Store, change: &HeldChange| {
            store.hold_change(id, &msg_id, change).unwrap();
            let held = store.take_held_changes(id, &msg_id).unwrap().pop().unwrap();
            let statement = Statement::parse(&held.verbatim).unwrap();
            let tag = EventTag::MessageDelete;
            let (by, verdict) = judge_anew(store, id, &group, &held, &statement, tag).unwrap();
            let message = Item {
                author: Some(author.clone()),
                verdict: Verdict::Verified,
                sent_at: Timestamp(0),
                deleted: false,
            };
            let sent_at = Timestamp(held.sent_at_ms);
            (verdict, permit_change(Some(&message), Change::DeleteOwn, by.id.as_ref(), verdict, sent_at))
        };
        let unknown = (Verdict::KeyUnknown, Err(ChangeRefused::KeyUnknown));
        assert_eq!(judged(&mut store, &change), unknown);

        let mut member = Member::with_role(MemberRole::Member);
        store.save_member(id, &author, &member).unwrap();
        assert_eq!(judged(&mut store, &change), unknown, "the roster may name somebody without a key");
        member.key = Some(MemberKey(key.public_key()));
        store.save_member(id, &author, &member).unwrap();
        assert_eq!(judged(&mut store, &change), (Verdict::Verified, Ok(())));
        let forged = HeldChange {
            verbatim: sign(&other, &group.public_id, &author, &said.to_json()),
            ..change.clone()
        };
        let refused = (Verdict::Drop(DropReason::BadSignature), Err(ChangeRefused::Dropped));
        assert_eq!(judged(&mut store, &forged), refused);
        let unsigned = HeldChange { signature: Signature::Unsigned, ..change };
        assert_eq!(judged(&mut store, &unsigned), (Verdict::Unsigned, Err(ChangeRefused::BadSignature)));
    }
}
