//! What a relay brings: taken apart, checked as its author's, compared with other relays' copies, and only then acted
//! on.
//!
//! ```text
//! container ─▶ elements ─▶ statement of the relay itself ─▶ direct
//!                       ─▶ forwarded statement ─▶ signature ─▶ copies ─▶ permission ─▶ apply
//!                       ─▶ piece of a roster
//! ```

use protocol::agent::event::Failure;
use protocol::agent::store::ConnectionId;
use protocol::group::batch::Element;
use protocol::group::constants::{HISTORY_HEADER_BYTES_MAX, MESSAGE_BYTES_MAX};
use protocol::group::container::{elements, unfold};
use protocol::group::dedup::{self, Comparison, Finding};
use protocol::group::event::content::Scope;
use protocol::group::event::members::MemberNew;
use protocol::group::event::owner_relay::RelayNotice;
use protocol::group::event::{Event as Said, Message};
use protocol::group::forward::Forward;
use protocol::group::identity::{MemberId, MemberKey, MemberRole};
use protocol::group::introduction::Manner;
use protocol::group::msg_id::SharedMessageId;
use protocol::group::permissions::{Actor, NotPermitted};
use protocol::group::relay_status::RelayEvent;
use protocol::group::ruling::Ruling;
use protocol::group::signed::Statement;
use protocol::group::signing::{DropReason, Reception, Verdict, verdict};
use protocol::timestamp::Timestamp;

use super::author_chain::Chained;
use super::step::{Done, Step, default_role};
use crate::event::{EvidenceKind, Signature};
use crate::store::copy::{HeldCopy, OURSELVES};
use crate::store::group::{Group, GroupId};
use crate::store::relay::{Joining, RelayId, RelayRow, Side};

/// Who said something, as far as we know.
#[derive(Debug, Clone)]
pub(super) struct Author {
    /// None for the group itself.
    pub(super) id: Option<MemberId>,
    /// The role; that of joiners when we have not met.
    pub(super) role: MemberRole,
    /// The key.
    pub(super) key: Option<MemberKey>,
    /// Blocked for all.
    pub(super) blocked: bool,
}

/// A forwarded statement that was found to be worth acting on.
#[derive(Debug, Clone)]
pub(super) struct Accepted<'a> {
    /// Who said it.
    pub(super) author: Author,
    /// What the signature is worth.
    pub(super) verdict: Verdict,
    /// When the author's server took it, as the relay says.
    pub(super) sent_at: Timestamp,
    /// Whether it was said before we came.
    pub(super) recalled: bool,
    /// Its author's number, if something came first that its author made later.
    pub(super) late: Option<u64>,
    /// The id under which copies are one.
    pub(super) shared_id: SharedMessageId,
    /// The bytes as they came.
    pub(super) verbatim: &'a [u8],
    /// A better copy of something that was acted on before.
    pub(super) again: bool,
}

impl Accepted<'_> {
    /// The same as it is kept for those who come later.
    pub(super) fn ruling(&self) -> Option<Ruling> {
        let statement = Statement::parse(self.verbatim).ok()?;
        Some(Ruling::new(self.author.id.clone()?, self.sent_at, &statement))
    }
}

/// How a relay brings a forwarded statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Came {
    /// Where it stands among all that is passed on.
    InTurn,
    /// A copy ahead of that.
    Ahead,
    /// In a page of history, which we asked for.
    InPage,
}

impl Step<'_, '_> {
    /// Takes a message of a relay.
    pub(super) fn receive(
        &mut self,
        connection: ConnectionId,
        server_time: Timestamp,
        body: &[u8],
    ) -> Done<()> {
        let Some(relay) = self.current_relay(connection)? else { return Ok(()) };
        let unfolded = match unfold(body) {
            Ok(unfolded) => unfolded,
            Err(problem) => {
                return self.accuse(&relay, EvidenceKind::Malformed, None, &problem.to_string(), body);
            }
        };
        let elements = match elements(&unfolded) {
            Ok(elements) => elements,
            Err(problem) => {
                return self.accuse(&relay, EvidenceKind::Malformed, None, &problem.to_string(), body);
            }
        };
        let whole: Vec<_> = elements.iter().flatten().cloned().collect();
        let page = self.page_of(relay.group, &whole)?;
        let mut came = if page.is_some() { Came::InPage } else { Came::InTurn };
        for element in elements {
            // An element before may have ended the relay or the group.
            let Some(mut relay) = self.current_relay(connection)? else { return Ok(()) };
            let group = self.store.group(relay.group)?;
            if group.status.is_over() {
                return Ok(());
            }
            match element {
                Ok(Element::Statement(statement)) if is_ahead_mark(&statement) => came = Came::Ahead,
                Ok(Element::Statement(statement)) => self.direct(relay, &group, server_time, &statement)?,
                Ok(Element::Forward(forward)) => self.forwarded(relay, &group, &forward, came)?,
                Ok(Element::Chunk(chunk)) => self.roster_chunk(&mut relay, &chunk)?,
                Err(problem) => {
                    self.accuse(&relay, EvidenceKind::Malformed, None, &problem.to_string(), &unfolded)?;
                }
            }
        }
        if let (Some(page), Some(relay)) = (page, self.current_relay(connection)?) {
            self.page_taken(relay, page)?;
        }
        protocol::crash_point!("client.receive.applied");
        Ok(())
    }

    /// The relay to which this connection leads, if it is heard there.
    fn current_relay(&self, connection: ConnectionId) -> Done<Option<RelayRow>> {
        let relay = self.store.relay_of_connection(connection)?;
        let Some(relay) = relay else { return Ok(None) };
        let is_heard = relay.connection == Some(connection)
            || self.store.bulk(relay.id)?.connection == Some(connection)
            || self.store.is_aside(connection)?;
        Ok(is_heard.then_some(relay))
    }

    /// The relay itself says something.
    fn direct(
        &mut self,
        relay: RelayRow,
        group: &Group,
        server_time: Timestamp,
        statement: &Statement<'_>,
    ) -> Done<()> {
        let message = match statement.message() {
            Ok(message) => message,
            Err(problem) => {
                let detail = problem.to_string();
                return self.accuse(&relay, EvidenceKind::Malformed, None, &detail, statement.verbatim());
            }
        };
        let Some(relay_id) = relay.record.member_id.clone() else { return Ok(()) };
        let verdict = verdict(Reception {
            event: message.event.tag(),
            signature: statement.check(&group.public_id, &relay_id, relay.record.key.as_ref()),
            as_channel: false,
            author_role: MemberRole::Relay,
            receiver_role: group.role,
        });
        if let Verdict::Drop(reason) = verdict {
            return self.accuse(&relay, kind_of(reason), None, &reason.to_string(), statement.verbatim());
        }
        match message.event {
            Said::RosterAck(ack) if group.owner.is_some() => self.roster_acknowledged(relay, ack),
            Said::MemberNew(new) if is_knock(&new) => self.knocked(&relay, group, new.member_info),
            Said::HistoryGet(get) if group.owner.is_some() => self.give_history(&relay, group, &get),
            Said::MemberNew(new) => self.introduced(&relay, group, new.member_info, Manner::New, None),
            Said::RelayNotice(notice)
                if verdict == Verdict::Verified && notice.notice == RelayNotice::UNHEARD =>
            {
                self.unheard(relay, &notice)
            }
            Said::RelayNotice(notice) if group.owner.is_some() && verdict == Verdict::Verified => {
                self.notice_came(relay, group, &notice)
            }
            // Not the relay's own signed word, or not for us.
            Said::RelayNotice(_) => Ok(()),
            Said::LinkAccept(accept) => self.acceptance_came(relay, group, accept),
            Said::LinkReject(reject) => self.rejection_came(relay, group, &reject),
            Said::MemberIntro(intro) => {
                self.introduced(&relay, group, intro.member_info, Manner::Intro, intro.member_restrictions)
            }
            Said::Leave(_) => self.relay_left(relay, server_time),
            Said::LinkMember(own) => self.relay_introduced(relay, group, own.relay_cap, own.history_from),
            Said::RelayCapabilities(told) => self.relay_introduced(relay, group, Some(told.relay_cap), None),
            Said::HistoryGap(gap) => self.passed_over(relay, gap.after),
            said @ (Said::BulkBegin(_) | Said::BulkGo(_) | Said::BulkEnd(_)) => self.bulk_said(&relay, &said),
            // Its profile is in its link; a page counts when its items were taken; the rest asks nothing of us.
            Said::Info(_) | Said::HistoryPage(_) | Said::Acknowledge(_) => Ok(()),
            Said::Unknown(event) => {
                tracing::debug!(name = event.name, "an event that this version does not know");
                Ok(())
            }
            other => {
                let detail = format!("a relay has no say in {}", other.tag().name());
                self.accuse(&relay, EvidenceKind::NotAllowed, None, &detail, statement.verbatim())
            }
        }
    }

    /// A relay hears nothing of us any more: it is asked for another connection.
    fn unheard(&mut self, relay: RelayRow, notice: &RelayNotice) -> Done<()> {
        match (&relay.record.side, relay.connection) {
            (Side::Member { step: Joining::Active, .. }, _) => {
                self.gone(relay, Joining::Gone, notice.explained())
            }
            (Side::Owner(_), Some(connection)) => self.invited_failed(relay, connection, Failure::QueueGone),
            (Side::Member { .. } | Side::Owner(_), _) => Ok(()),
        }
    }

    /// A relay that we know has left the group, in its own signed words.
    pub(super) fn relay_left(&mut self, mut relay: RelayRow, at: Timestamp) -> Done<()> {
        if relay.record.is_over() {
            return Ok(());
        }
        relay.record.ended_at_ms = Some(at.0);
        self.store.save_relay(&relay)?;
        match relay.record.side {
            Side::Owner(_) => self.relay_event(relay.id, RelayEvent::Left)?,
            Side::Member { .. } => self.gone(relay, Joining::Gone, "the relay has left the group".into())?,
        }
        protocol::crash_point!("client.relay.left");
        Ok(())
    }

    /// The relay passes on what somebody said: in its turn, ahead of it, or in a page of history.
    fn forwarded(&mut self, relay: RelayRow, group: &Group, forward: &Forward<'_>, came: Came) -> Done<()> {
        let verbatim = forward.statement.verbatim();
        let malformed = |detail: String| (EvidenceKind::Malformed, detail);
        let parsed = match forward.statement.message() {
            Ok(Message { message_id: Some(id), event, chain, .. }) if event.tag().is_forwardable() => {
                Ok((id, event, chain))
            }
            // Files are not taken.
            Ok(Message { message_id: None, event, .. }) if event.tag().may_lack_id() => return Ok(()),
            Ok(Message { message_id: None, .. }) => Err(malformed("a forwarded message has no id".into())),
            Ok(Message { event, .. }) => {
                Err((EvidenceKind::NotAllowed, format!("{} is not to be forwarded", name_of(&event))))
            }
            Err(problem) => Err(malformed(problem.to_string())),
        };
        let (shared_id, event, chain) = match parsed {
            Ok(parsed) => parsed,
            Err((kind, detail)) => return self.accuse(&relay, kind, None, &detail, verbatim),
        };
        let relays = self.store.relays(relay.group)?;
        let is_relay =
            |member: &MemberId| relays.iter().any(|relay| relay.record.member_id.as_ref() == Some(member));
        let about = event.goes_ahead_about(is_relay).cloned();
        if came == Came::Ahead && about.is_none() {
            return Ok(());
        }
        let mut author = self.author(&relay, group, forward.sender.member())?;
        if came != Came::Ahead {
            self.as_in_turn(&relay, &mut author)?;
        }
        let key = author.key.as_ref();
        let signature = match &author.id {
            Some(id) => forward.statement.check(&group.public_id, id, key),
            None => protocol::group::signed::SignatureState::Absent,
        };
        let verdict = verdict(Reception {
            event: event.tag(),
            signature,
            as_channel: author.id.is_none(),
            author_role: author.role,
            receiver_role: group.role,
        });
        // How the group stood before we came is told by its link and roster. A copy that is still on its way to us counts.
        // An item that leaves no room for the header of its page comes by itself.
        let is_long = verbatim.len() > MESSAGE_BYTES_MAX - 2 * HISTORY_HEADER_BYTES_MAX;
        let is_asked_for = came == Came::InPage || (is_long && relay.record.catch_up.reading().is_some());
        let chained = match (verdict, &chain, &author.id, key) {
            (Verdict::Verified, Some(link), Some(author), Some(key)) => {
                Some(Chained { author, key, link, shared_id: &shared_id })
            }
            _ => None,
        };
        let recalled = self.is_recalled(group, relay.group, forward.sent_at, chained)?;
        let is_past = is_asked_for && recalled && is_of_state(&event);
        let compared = if is_past {
            None
        } else {
            self.compare_copies(&relay, &shared_id, &author, verdict, forward, came == Came::InPage)?
        };
        let mut is_late = false;
        // Where a copy that came ahead stands among the others, the one in its turn says.
        if let Some(said) = chained.filter(|_| came != Came::Ahead) {
            is_late = self.chain_came(&relay, group, forward, said, recalled)?;
        }
        if about.is_some() && came == Came::InTurn {
            self.comes_in_turn(&relay, &shared_id)?;
        }
        let Some(again) = compared else { return Ok(()) };
        if let Verdict::Drop(reason) = verdict {
            let id = Some(shared_id.to_string());
            return self.accuse(&relay, kind_of(reason), id, &reason.to_string(), verbatim);
        }
        match self.permitted(&relay, group, &author, &event)? {
            Ok(()) => {}
            // Nothing to hold against anybody.
            Err(NotPermitted::Blocked | NotPermitted::NoSuchMember | NotPermitted::Preference) => {
                return Ok(());
            }
            // The author's role may have been another when it was said.
            Err(_) if came == Came::InPage => return Ok(()),
            // Whoever is not introduced yet may have another role.
            Err(_) if verdict == Verdict::KeyUnknown && !is_of_state(&event) => {
                return match &author.id {
                    Some(author) => {
                        Ok(self.store.note_unproven(relay.group, author, &shared_id, forward.sent_at)?)
                    }
                    None => Ok(()),
                };
            }
            Err(reason) => {
                let (kind, id) = (EvidenceKind::NotAllowed, Some(shared_id.to_string()));
                return self.accuse(&relay, kind, id, &reason.to_string(), verbatim);
            }
        }
        if is_late && matches!(event, Said::GroupInfo(_) | Said::GroupPreferences(_)) {
            // A later profile may have come before it; the group link has the last.
            return self.restore_soon(relay.group);
        }
        if let Some(about) = about.filter(|about| came == Came::Ahead && *about != group.member_id) {
            self.overtakes(&relay, group, &shared_id, &about, &event)?;
        }
        let late = chained.filter(|_| is_late).map(|said| said.link.number());
        let sent_at = forward.sent_at;
        let accepted = Accepted { author, verdict, sent_at, recalled, late, shared_id, verbatim, again };
        self.apply(&relay, group, event, &accepted)
    }

    /// Compares with the copy that is held. Gives nothing when this copy is to be dropped, else whether it takes the
    /// place of another. A copy with a bad signature is never held, but compared all the same.
    fn compare_copies(
        &mut self,
        relay: &RelayRow,
        shared_id: &SharedMessageId,
        author: &Author,
        verdict: Verdict,
        forward: &Forward<'_>,
        in_page: bool,
    ) -> Done<Option<bool>> {
        let (verbatim, sent_at) = (forward.statement.verbatim(), forward.sent_at);
        let id = relay.group;
        let hold = |step: &mut Self| -> Done<()> {
            let Some(signature) = signature_of(verdict) else { return Ok(()) };
            let copy = HeldCopy { author: author.id.clone(), signature, verbatim: verbatim.to_vec() };
            Ok(step.store.hold_copy(id, shared_id, relay.id, sent_at, &copy)?)
        };
        let Some((held_by, held)) = self.store.held_copy(id, shared_id)? else {
            hold(self)?;
            return Ok(Some(false));
        };
        let nobody = author.id.clone().unwrap_or_else(placeholder);
        let held_copy = dedup::Copy {
            relay: &nobody,
            author: held.author.as_ref(),
            verdict: verdict_of(held.signature),
            verbatim: &held.verbatim,
        };
        let new_copy = dedup::Copy { relay: &nobody, author: author.id.as_ref(), verdict, verbatim };
        let (finding, better) = match dedup::compare(&held_copy, &new_copy) {
            // Its author was introduced meanwhile.
            Comparison::Same if verdict == Verdict::Verified && held.signature == Signature::KeyUnknown => {
                hold(self)?;
                return Ok(Some(true));
            }
            // We asked for it ourselves, or it was in what we asked for and comes by itself as well.
            Comparison::Same
                if in_page
                    || (!relay.record.catch_up.is_ready()
                        && self.store.has_brought(id, shared_id, relay.id)?) =>
            {
                self.store.note_bringer(id, shared_id, relay.id)?;
                return Ok(None);
            }
            Comparison::Same => {
                self.store.count_copy(id, shared_id, relay.id, false)?;
                return Ok(None);
            }
            Comparison::Keep(Finding::OneWasChanged) if self.is_as_edited(id, shared_id, forward)? => {
                self.store.count_copy(id, shared_id, relay.id, false)?;
                return Ok(None);
            }
            Comparison::Separate => {
                self.warn(Some(id), "two members used one message id; the second message is not shown")?;
                return Ok(None);
            }
            Comparison::Keep(finding) => (finding, false),
            Comparison::Upgrade(finding) | Comparison::Replace(finding) => (finding, true),
        };
        self.store.count_copy(id, shared_id, relay.id, true)?;
        self.accuse_of_difference(relay, held_by, shared_id, finding, &held.verbatim, verbatim)?;
        if !better {
            return Ok(None);
        }
        hold(self)?;
        Ok(Some(true))
    }

    /// Whether an unsigned copy of a post has the words that the post was edited to: so do stock relays give history.
    fn is_as_edited(&self, id: GroupId, shared_id: &SharedMessageId, copy: &Forward<'_>) -> Done<bool> {
        let Some(held) = self.store.message(id, shared_id)?.filter(|held| held.record.edited) else {
            return Ok(false);
        };
        let said = copy.statement.message().map(|message| message.event);
        Ok(matches!(said, Ok(Said::MessageNew(new)) if new.content.as_text() == held.record.text))
    }

    fn accuse_of_difference(
        &mut self,
        relay: &RelayRow,
        held_by: RelayId,
        shared_id: &SharedMessageId,
        finding: Finding,
        held: &[u8],
        new: &[u8],
    ) -> Done<()> {
        let first = if held_by == OURSELVES { None } else { self.store.relay(held_by)? };
        let held_name = first.as_ref().map_or("yourself", |first| first.record.name.as_str());
        let detail = finding.explain(held_name, &relay.record.name);
        let blames_first = matches!(finding, Finding::HeldWasStripped | Finding::HeldWasChanged);
        let (blamed, bytes) = match &first {
            Some(first) if blames_first => (first, held),
            _ => (relay, new),
        };
        let id = Some(shared_id.to_string());
        self.accuse(&blamed.clone(), EvidenceKind::DifferentCopies, id, &detail, bytes)
    }

    /// Whether the author may say this, as far as roles are known here.
    fn permitted(
        &self,
        relay: &RelayRow,
        group: &Group,
        author: &Author,
        event: &Said,
    ) -> Done<Result<(), NotPermitted>> {
        let actor = Actor { role: author.role, blocked: author.blocked };
        let author_id = author.id.clone().unwrap_or_else(placeholder);
        self.judge(relay.group, group, &author_id, actor, event)
    }

    /// What a relay brings in its turn is judged as its author stood then: changes that came ahead of it do not count yet.
    fn as_in_turn(&self, relay: &RelayRow, author: &mut Author) -> Done<()> {
        let Some(id) = &author.id else { return Ok(()) };
        if let Some((role, blocked)) = self.store.bulk(relay.id)?.record.overtaken.standing(id, self.now()) {
            author.role = author.role.max(role);
            author.blocked &= blocked;
        }
        Ok(())
    }

    /// Who a forward says its author is.
    fn author(&self, relay: &RelayRow, group: &Group, id: Option<&MemberId>) -> Done<Author> {
        let Some(id) = id else {
            // In the group's name: only an owner may, and only the relay says so.
            return Ok(Author { id: None, role: MemberRole::Owner, key: None, blocked: false });
        };
        if let Some(member) = self.store.member(relay.group, id)? {
            return Ok(Author {
                id: Some(id.clone()),
                role: member.role,
                key: member.key,
                blocked: member.blocked,
            });
        }
        let relays = self.store.relays(relay.group)?;
        if let Some(relay) = relays.into_iter().find(|relay| relay.record.member_id.as_ref() == Some(id)) {
            let key = relay.record.key;
            return Ok(Author { id: Some(id.clone()), role: MemberRole::Relay, key, blocked: false });
        }
        Ok(Author { id: Some(id.clone()), role: default_role(group), key: None, blocked: false })
    }
}

/// Whether what follows goes ahead of its turn.
fn is_ahead_mark(statement: &Statement<'_>) -> bool {
    statement.message().is_ok_and(|message| matches!(message.event, Said::BulkAhead(_)))
}

/// How far an author is proven, for people; nothing for what is dropped.
pub(super) fn signature_of(verdict: Verdict) -> Option<Signature> {
    match verdict {
        Verdict::Verified => Some(Signature::Verified),
        Verdict::KeyUnknown => Some(Signature::KeyUnknown),
        Verdict::Unsigned => Some(Signature::Unsigned),
        Verdict::Drop(_) => None,
    }
}

/// The other way; what we said ourselves is as good as verified.
pub(super) fn verdict_of(signature: Signature) -> Verdict {
    match signature {
        Signature::Verified | Signature::Own => Verdict::Verified,
        Signature::KeyUnknown => Verdict::KeyUnknown,
        Signature::Unsigned => Verdict::Unsigned,
    }
}

fn kind_of(reason: DropReason) -> EvidenceKind {
    match reason {
        DropReason::BadSignature => EvidenceKind::BadSignature,
        DropReason::Missing | DropReason::KeyUnknown => EvidenceKind::MissingSignature,
    }
}

/// Whether it changes how the group stands, and not what was said in it.
fn is_of_state(event: &Said) -> bool {
    !matches!(
        event,
        Said::MessageNew(_)
            | Said::MessageUpdate(_)
            | Said::MessageDelete(_)
            | Said::MessageReact(_)
            | Said::MemberNew(_)
    )
}

/// Whether a relay shows a member in its own conversation with the moderators: it waits to be let in.
fn is_knock(new: &MemberNew) -> bool {
    new.scope.as_ref().is_some_and(|Scope::Member { member_id }| *member_id == new.member_info.member_id)
}

fn name_of(event: &Said) -> &str {
    match event {
        Said::Unknown(event) => &event.name,
        event => event.tag().name(),
    }
}

/// An id that no member has: for posts in the group's name.
fn placeholder() -> MemberId {
    MemberId::new([0]).expect("one byte is an id")
}
