//! What came before its author's key is judged again when the key is known.
//!
//! ```text
//! signed, key unknown ─▶ taken as that, or left undone ─▶ the author is introduced ─▶ verified: shown as such, done
//!                                                                                 └▶ forged: taken back, kept as evidence
//! ```

use protocol::group::event::Event as Said;
use protocol::group::forward::{Forward, ForwardSender};
use protocol::group::identity::MemberId;
use protocol::group::msg_id::SharedMessageId;
use protocol::group::permissions::Actor;
use protocol::group::signed::Statement;
use protocol::group::signing::{Reception, Verdict, verdict};
use protocol::timestamp::Timestamp;

use super::author_chain::Chained;
use super::receive::{Accepted, Author};
use super::step::{Done, Step};
use crate::event::{Event, EvidenceKind, Signature};
use crate::store::group::{Group, GroupId};
use crate::store::message::MessageRow;
use crate::store::relay::RelayRow;

impl Step<'_, '_> {
    /// Somebody's key may be known now.
    pub(super) fn author_introduced(&mut self, id: GroupId, author: &MemberId) -> Done<()> {
        if self.store.member(id, author)?.is_none_or(|member| member.key.is_none()) {
            return Ok(());
        }
        for (shared_id, sent_at) in self.store.take_unproven(id, author)? {
            self.judge_again(id, author, shared_id, sent_at)?;
        }
        Ok(())
    }

    fn judge_again(
        &mut self,
        id: GroupId,
        author_id: &MemberId,
        shared_id: SharedMessageId,
        sent_at: Timestamp,
    ) -> Done<()> {
        let group = self.store.group(id)?;
        let (Some((held_by, mut copy)), Some(member)) =
            (self.store.held_copy(id, &shared_id)?, self.store.member(id, author_id)?)
        else {
            return Ok(());
        };
        let (Some(relay), Some(key)) = (self.store.relay(held_by)?, member.key) else { return Ok(()) };
        if copy.author.as_ref() != Some(author_id) {
            return Ok(());
        }
        let verbatim = copy.verbatim.clone();
        let Ok(statement) = Statement::parse(&verbatim) else { return Ok(()) };
        let Ok(message) = statement.message() else { return Ok(()) };
        let verdict = verdict(Reception {
            event: message.event.tag(),
            signature: statement.check(&group.public_id, author_id, Some(&key)),
            as_channel: false,
            author_role: member.role,
            receiver_role: group.role,
        });
        let author = Author {
            id: Some(author_id.clone()),
            role: member.role,
            key: Some(key),
            blocked: member.blocked,
        };
        if let Verdict::Drop(reason) = verdict {
            let detail = reason.to_string();
            let about = Some(shared_id.to_string());
            self.accuse(&relay, EvidenceKind::BadSignature, about, &detail, &verbatim)?;
            return self.take_back(id, &group, &relay, (&author, &shared_id), &message.event);
        }
        if verdict != Verdict::Verified {
            return Ok(());
        }
        copy.signature = Signature::Verified;
        self.store.hold_copy(id, &shared_id, held_by, sent_at, &copy)?;
        let chained = message.chain.as_ref();
        let chained =
            chained.map(|link| Chained { author: author_id, key: &key, link, shared_id: &shared_id });
        let recalled = self.is_recalled(&group, id, sent_at, chained)?;
        if let Some(said) = chained {
            let sender = ForwardSender::Member { id: author_id.clone(), name: member.name(author_id) };
            let forward = Forward { sender, sent_at, statement: statement.clone() };
            self.chain_came(&relay, &group, &forward, said, recalled)?;
        }
        let actor = Actor { role: member.role, blocked: member.blocked };
        if self.judge(id, &group, author_id, actor, &message.event)?.is_err() {
            // Its author's role may come later than the key.
            return Ok(self.store.note_unproven(id, author_id, &shared_id, sent_at)?);
        }
        let verbatim = &verbatim;
        let by =
            Accepted { author, verdict, sent_at, recalled, late: None, shared_id, verbatim, again: false };
        match message.event {
            Said::MessageNew(new) => match self.store.message(id, &by.shared_id)? {
                Some(held) => self.is_verified(id, &group, held, &by),
                None => self.new_message(&relay, &group, *new, &by),
            },
            event => self.change(id, &group, Some(&relay), &event, &by),
        }
    }

    /// A message is its author's after all.
    fn is_verified(
        &mut self,
        id: GroupId,
        group: &Group,
        mut held: MessageRow,
        by: &Accepted<'_>,
    ) -> Done<()> {
        if held.record.signature != Signature::KeyUnknown {
            return Ok(());
        }
        held.record.signature = Signature::Verified;
        self.store.save_message(held.row, &held.record)?;
        if held.record.deleted { Ok(()) } else { self.tell_edited(id, group, &held, &by.author) }
    }

    /// What nobody has said is undone: a message goes, and an edited one says again what its author said.
    fn take_back(
        &mut self,
        id: GroupId,
        group: &Group,
        relay: &RelayRow,
        (author, shared_id): (&Author, &SharedMessageId),
        event: &Said,
    ) -> Done<()> {
        match event {
            Said::MessageNew(_) => {
                self.store.forget_message(id, shared_id)?;
                self.tell(Event::Deleted {
                    group: group.alias.clone(),
                    message_id: shared_id.to_string(),
                    by: relay.record.name.clone(),
                    by_id: String::new(),
                    signature: Signature::Unsigned,
                });
                Ok(())
            }
            Said::MessageUpdate(update) => {
                let Some(mut held) = self.store.message(id, &update.msg_id)? else { return Ok(()) };
                let Some((_, copy)) = self.store.held_copy(id, &update.msg_id)? else { return Ok(()) };
                let said = Statement::parse(&copy.verbatim).ok().and_then(|said| said.message().ok());
                if let Some(Said::MessageNew(new)) = said.map(|said| said.event)
                    && !held.record.deleted
                    && held.record.text == update.content.as_text()
                {
                    held.record.text = new.content.as_text().to_owned();
                    held.record.edited = false;
                    self.store.save_message(held.row, &held.record)?;
                    self.tell_edited(id, group, &held, author)?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
