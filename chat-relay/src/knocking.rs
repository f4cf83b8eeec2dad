//! Joiners who wait for a moderator: what [`protocol::group::knocking`] decides is done here.
//!
//! ```text
//! x.member ─▶ x.grp.link.inv, pending_review ─▶ connected ─▶ x.grp.mem.new to moderators, scoped to the joiner
//! x.grp.link.acpt of a moderator   ─▶ x.grp.link.acpt to the joiner and the moderators ─▶ a member like any other
//! x.grp.link.reject of a moderator ─▶ x.grp.link.reject to them, with the reason       ─▶ connection deleted
//! ```

use protocol::agent::Body;
use protocol::agent::store::ConnectionId;
use protocol::group::event::Event;
use protocol::group::event::content::Scope;
use protocol::group::event::joining::{Acceptance, GroupLinkRejection, LinkAccept, LinkReject};
use protocol::group::event::members::MemberNew;
use protocol::group::identity::{MemberId, MemberKey};
use protocol::group::knocking::{KnockEffect, KnockEvent, KnockStatus};
use protocol::group::permissions::{Actor, judge};
use protocol::net::engine::Fatal;

use crate::cleaning;
use crate::intake;
use crate::metrics::{Count, Refused};
use crate::notices;
use crate::steps::Step;
use crate::store::RelayStore;
use crate::store::records::{GroupId, Member, MemberStatus, NewMember, Purpose, ServedGroup};
use crate::strangers;
use crate::turn::Turn;
use crate::welcome::{self, LEADING_ROLES};

/// What the joiner reads when nobody decided.
const EXPIRED: &str = "nobody has looked at the request in time: ask again";
/// What moderators read of somebody who is there no more.
const GONE: &str = "the joiner waits no more";

/// What a moderator says about somebody.
#[derive(Debug, Clone, Copy)]
pub enum Decision<'a> {
    /// Let in.
    Accept(&'a LinkAccept),
    /// Not let in.
    Reject(&'a LinkReject),
}

impl Decision<'_> {
    fn about(&self) -> (Option<&MemberId>, Option<MemberKey>) {
        match self {
            Self::Accept(accept) => (Some(&accept.member_id), accept.member_key),
            Self::Reject(reject) => (reject.member_id.as_ref(), reject.member_key),
        }
    }

    fn event(&self) -> KnockEvent {
        match self {
            Self::Accept(_) => KnockEvent::Accepted,
            Self::Reject(_) => KnockEvent::Rejected,
        }
    }

    fn reason(&self) -> Option<String> {
        match self {
            Self::Accept(_) => None,
            Self::Reject(reject) => Some(reject.group_link_rejection.explained()),
        }
    }
}

/// The connection of somebody who knocks stands.
///
/// # Errors
/// When the store fails; so for every function here.
pub fn connected<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    connection: ConnectionId,
    group: &ServedGroup,
    member: Member,
) -> Result<(), Fatal> {
    let until = turn.now().plus_ms(turn.limits.knock_ttl.ms());
    turn.store.set_purpose(connection, Purpose::Member(group.id, member.number), Some(until))?;
    turn.wake_at(until);
    advance(turn, group, member, KnockEvent::Connected, None)?;
    turn.reached(Step::JoinerShown);
    Ok(())
}

/// A moderator decides.
///
/// # Errors
/// When the store fails.
pub fn decided<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: &ServedGroup,
    author: &Member,
    event: &Event,
    bytes: usize,
) -> Result<(), Fatal> {
    let decision = match event {
        Event::LinkAccept(accept) if accept.acceptance == Acceptance::Accepted => Decision::Accept(accept),
        Event::LinkReject(reject) => Decision::Reject(reject),
        _ => return Ok(()),
    };
    let actor = Actor { role: author.role, blocked: author.blocked };
    let preferences =
        group.identity.as_ref().map(|identity| identity.profile.preferences()).unwrap_or_default();
    if let Err(reason) = judge(event, &author.id, actor, &preferences, |_| None) {
        tracing::info!(group = group.id.0, %reason, "a decision about a joiner is not allowed");
        return Ok(());
    }
    if let Err(too_much) = intake::admit(turn, author, bytes)? {
        turn.operation.metrics.refused(Refused::Message, too_much.word());
        return notices::tell_owners(turn, group.id, too_much.into(), None);
    }
    let (Some(about), key) = decision.about() else { return Ok(()) };
    match turn.store.member_by_id(group.id, about)? {
        Some(known) if key.is_some() && known.key.map(MemberKey) != key => {
            tracing::warn!(group = group.id.0, "a decision is about a joiner with another key");
            Ok(())
        }
        Some(mut known) if known.status.knock().is_some() => {
            known.reason = decision.reason();
            advance(turn, group, known, decision.event(), Some(&author.id))
        }
        // Gone since it was shown: it comes in when it asks again.
        Some(mut known) if known.status == MemberStatus::Left && matches!(decision, Decision::Accept(_)) => {
            known.status = MemberStatus::Known;
            turn.store.update_member(&known)?;
            turn.reached(Step::KnockDecided);
            Ok(())
        }
        Some(_) => Ok(()),
        None => remember(turn, group, about, key, decision),
    }
}

/// A decision about somebody who has not knocked here yet, but at another relay.
fn remember<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: &ServedGroup,
    about: &MemberId,
    key: Option<MemberKey>,
    decision: Decision<'_>,
) -> Result<(), Fatal> {
    let reviews = group.identity.as_ref().is_some_and(|identity| identity.profile.reviews_joiners());
    let Some(key) = key.filter(|_| reviews) else { return Ok(()) };
    let status = match decision {
        Decision::Accept(_) => MemberStatus::Known,
        Decision::Reject(_) => MemberStatus::Rejected,
    };
    let role = turn.joiner_role(group);
    let new = NewMember { id: about.clone(), role, status, profile: None, key: Some(key.0) };
    let Some(mut member) = strangers::meet(turn, group.id, &new)? else { return Ok(()) };
    member.reason = decision.reason();
    turn.store.update_member(&member)?;
    turn.reached(Step::KnockDecided);
    Ok(())
}

/// Something happens to a knock.
///
/// # Errors
/// When the store fails.
pub fn advance<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: &ServedGroup,
    mut member: Member,
    event: KnockEvent,
    by: Option<&MemberId>,
) -> Result<(), Fatal> {
    let Some(status) = member.status.knock() else { return Ok(()) };
    let (next, effects) = match status.apply(event) {
        Ok(applied) => applied,
        Err(misplaced) => {
            tracing::debug!(group = group.id.0, %misplaced, "an event is ignored");
            return Ok(());
        }
    };
    member.status = match next {
        KnockStatus::Asking => MemberStatus::Asking,
        KnockStatus::Waiting => MemberStatus::PendingReview,
        KnockStatus::Approved => MemberStatus::Approved,
        KnockStatus::Rejected => MemberStatus::Rejected,
        KnockStatus::Admitted => MemberStatus::Connected,
        KnockStatus::Invited => MemberStatus::Known,
        KnockStatus::Gone => MemberStatus::Left,
    };
    member.since = turn.now();
    turn.store.update_member(&member)?;
    let was_connected = status == KnockStatus::Waiting;
    for effect in effects {
        carry_out(turn, group, &mut member, effect, by, was_connected)?;
    }
    if next == KnockStatus::Gone {
        cleaning::forget_stranger(turn, &member)?;
    }
    turn.reached(Step::KnockDecided);
    tracing::info!(group = group.id.0, status = member.status.word(), "a knock goes on");
    Ok(())
}

fn carry_out<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: &ServedGroup,
    member: &mut Member,
    effect: KnockEffect,
    by: Option<&MemberId>,
    was_connected: bool,
) -> Result<(), Fatal> {
    let reason = member.reason.clone().unwrap_or_default();
    match effect {
        // A request is answered where it came: see `admission`.
        KnockEffect::AnswerPending | KnockEffect::AnswerAdmitted | KnockEffect::AnswerRejected => Ok(()),
        KnockEffect::ShowModerators => {
            let element = turn.compose(shown(member));
            tell_leaders(turn, group.id, &element)
        }
        KnockEffect::TellAccepted => tell(turn, member, acceptance(member, None)),
        KnockEffect::TellRejected => tell(turn, member, rejection(group, member, &reason, None)),
        KnockEffect::TellExpired => tell(turn, member, rejection(group, member, EXPIRED, None)),
        KnockEffect::Welcome => {
            let Some(connection) = member.connection else { return Ok(()) };
            let purpose = Purpose::Member(group.id, member.number);
            turn.store.set_purpose(connection, purpose, None)?;
            turn.operation.metrics.one(Count::Joins);
            welcome::welcomed(turn, connection, group, member)
        }
        KnockEffect::ReportAccepted => {
            let element = turn.compose(acceptance(member, by));
            tell_leaders(turn, group.id, &element)
        }
        KnockEffect::ReportRejected => {
            turn.operation.metrics.refused(Refused::Join, "rejected");
            let element = turn.compose(rejection(group, member, &reason, by));
            tell_leaders(turn, group.id, &element)
        }
        KnockEffect::ReportGone => {
            let element = turn.compose(rejection(group, member, GONE, None));
            tell_leaders(turn, group.id, &element)
        }
        KnockEffect::CutOff => {
            let Some(connection) = member.connection.take() else { return Ok(()) };
            turn.store.update_member(member)?;
            turn.close(connection, was_connected)
        }
    }
}

/// Shows everybody who waits to somebody who may decide and was not there, or could not be told, before.
///
/// # Errors
/// When the store fails.
pub fn show_waiting<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: GroupId,
    leader: &Member,
) -> Result<(), Fatal> {
    let Some(connection) = leader.connection.filter(|_| LEADING_ROLES.contains(&leader.role)) else {
        return Ok(());
    };
    let waiting = turn.store.waiting_members(group, turn.limits.knocks_max)?;
    let elements: Vec<_> = waiting.iter().map(|member| turn.compose(shown(member))).collect();
    turn.send_elements(connection, &elements)
}

/// A joiner, as those see it who may decide.
fn shown(member: &Member) -> Event {
    let scope = Some(Scope::Member { member_id: member.id.clone() });
    Event::MemberNew(Box::new(MemberNew { member_info: welcome::member_info(member), scope }))
}

fn acceptance(member: &Member, by: Option<&MemberId>) -> Event {
    Event::LinkAccept(LinkAccept {
        acceptance: Acceptance::Accepted,
        role: member.role,
        member_id: member.id.clone(),
        member_key: None,
        decided_by: by.cloned(),
    })
}

fn rejection(group: &ServedGroup, member: &Member, reason: &str, by: Option<&MemberId>) -> Event {
    let name = group.identity.as_ref().map(|identity| identity.profile.display_name.as_str());
    Event::LinkReject(Box::new(LinkReject {
        group_link_rejection: GroupLinkRejection::new(name.unwrap_or_default(), reason),
        member_id: Some(member.id.clone()),
        member_key: None,
        decided_by: by.cloned(),
    }))
}

fn tell<S: RelayStore>(turn: &mut Turn<'_, '_, S>, member: &Member, event: Event) -> Result<(), Fatal> {
    let Some(connection) = member.connection else { return Ok(()) };
    let element = turn.compose(event);
    turn.send(connection, Body::Inline(&element))?;
    Ok(())
}

fn tell_leaders<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: GroupId,
    element: &[u8],
) -> Result<(), Fatal> {
    for leader in turn.store.members_with_roles(group, &LEADING_ROLES)? {
        if let Some(connection) = leader.connection.filter(|_| leader.status == MemberStatus::Connected) {
            turn.send(connection, Body::Inline(element))?;
        }
    }
    Ok(())
}
