//! Drives the life of each served group: an event comes, the pure machine of
//! [`served_group`](protocol::group::served_group) decides, and its effects are carried out in the same transaction.

use protocol::agent::address_draft::AddressDraft;
use protocol::agent::signed_link_data::OpenedLink;
use protocol::group::catch_up::CatchUp;
use protocol::group::identity::MemberRole;
use protocol::group::peer_reading::PeerEvent;
use protocol::group::served_group::{Notice, ServedEffect, ServedEvent, ServedStatus};
use protocol::net::engine::Fatal;
use protocol::net::network::ReadLinkError;
use protocol::smp::short_link::ShortLink;
use protocol::timestamp::Timestamp;

use crate::history::{fill, give, peers};
use crate::invitation;
use crate::link_watch;
use crate::steps::Step;
use crate::store::RelayStore;
use crate::store::records::{GroupId, LinkState, Member, MemberStatus, ServedGroup};
use crate::turn::{LinkRead, Turn, stored};
use crate::validation::validate;
use crate::{closing, roster};

/// Groups whose deadline is looked at in one turn.
const GROUPS_PER_TURN: usize = 64;

/// Something happened to a group.
///
/// # Errors
/// When the store fails; so for every function here.
pub fn advance<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    id: GroupId,
    event: ServedEvent,
) -> Result<(), Fatal> {
    advance_because(turn, id, event, None)
}

/// Something happened to a group, for a reason that its owner is told if this ends in a refusal.
///
/// # Errors
/// When the store fails.
pub fn advance_because<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    id: GroupId,
    event: ServedEvent,
    problem: Option<&dyn std::fmt::Display>,
) -> Result<(), Fatal> {
    let Some(mut group) = turn.store.group(id)? else { return Ok(()) };
    let (now, pace) = (turn.now(), turn.limits.pace());
    let (life, effects) = match group.life.apply(event, now, &pace) {
        Ok(applied) => applied,
        Err(misplaced) => {
            tracing::debug!(group = id.0, %misplaced, "an event is ignored");
            return Ok(());
        }
    };
    let before = group.life.status;
    group.life = life;
    group.due_at = life.deadline(&pace);
    if let (ServedStatus::Active { misses: 0 } | ServedStatus::Delisted | ServedStatus::Unlinked, Some(due)) =
        (life.status, group.due_at)
    {
        group.due_at = Some(due.plus_ms(turn.jitter_ms(turn.limits.watch_jitter.ms())));
    }
    turn.store.update_group(&group)?;
    if let Some(due) = group.due_at {
        turn.wake_at(due);
    }
    if before.word() != life.status.word() {
        tracing::info!(group = id.0, from = before.word(), to = life.status.word(), "a served group changes");
    }
    match (before, life.status) {
        (ServedStatus::Active { .. }, ServedStatus::Active { .. }) => {}
        (ServedStatus::Active { .. } | ServedStatus::Unlinked, ServedStatus::Delisted) => {
            turn.reached(Step::GroupDelisted);
            if !is_owner_reached(turn, id)? {
                return advance(turn, id, ServedEvent::OwnerGone);
            }
        }
        (_, ServedStatus::Active { .. }) => {
            turn.reached(Step::GroupActive);
            peers::begin(turn, id)?;
        }
        (before, ServedStatus::Inactive(_)) if before.serves() => turn.reached(Step::GroupClosing),
        _ => {}
    }
    for effect in effects {
        carry_out(turn, id, effect, problem)?;
    }
    Ok(())
}

/// Whether an owner's connection stands.
fn is_owner_reached<S: RelayStore>(turn: &mut Turn<'_, '_, S>, id: GroupId) -> Result<bool, Fatal> {
    let owners = turn.store.members_with_roles(id, &[MemberRole::Owner])?;
    let is_reached = |owner: &Member| {
        owner.status == MemberStatus::Connected
            && owner.connection.is_some()
            && owner.link != LinkState::Broken
    };
    Ok(owners.iter().any(is_reached))
}

fn carry_out<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    id: GroupId,
    effect: ServedEffect,
    problem: Option<&dyn std::fmt::Display>,
) -> Result<(), Fatal> {
    let Some(group) = turn.store.group(id)? else { return Ok(()) };
    match effect {
        ServedEffect::ReadGroupLink | ServedEffect::CheckLink => {
            let link = group_link(&group)?;
            turn.read_link(LinkRead::Group(id), &link);
            Ok(())
        }
        ServedEffect::CreateRelayLink => invitation::make_link(turn, group),
        ServedEffect::Accept => invitation::answer_all(turn, &group),
        ServedEffect::Decline(refusal) => {
            invitation::decline_all(turn, id, refusal, problem)?;
            // Nothing is kept of a group that is not served: the answers travel by themselves.
            advance(turn, id, ServedEvent::OwnerGone)
        }
        ServedEffect::AckRoster { version } => roster::acknowledge(turn, &group, version, None),
        ServedEffect::AckRosterError { version } => {
            let cause = problem.map_or_else(|| "the roster is not valid".to_owned(), ToString::to_string);
            roster::acknowledge(turn, &group, version, Some(cause))
        }
        // The statement is on its way as a delivery like any other, the last one.
        ServedEffect::Notify(Notice::OwnersStatement) => Ok(()),
        ServedEffect::Notify(Notice::OwnLeave) => closing::tell_of_own_leave(turn, group),
        ServedEffect::DeleteRelayLink => closing::delete_relay_link(turn, id),
        ServedEffect::DeleteConnections => closing::close(turn, id),
    }
}

/// A group that we were invited to for the first time.
///
/// # Errors
/// When the store fails.
pub fn begin<S: RelayStore>(turn: &mut Turn<'_, '_, S>, mut group: ServedGroup) -> Result<(), Fatal> {
    group.due_at = group.life.deadline(&turn.limits.pace());
    turn.store.update_group(&group)?;
    if let Some(due) = group.due_at {
        turn.wake_at(due);
    }
    carry_out(turn, group.id, ServedEffect::ReadGroupLink, None)
}

/// Deadlines that have passed.
///
/// # Errors
/// When the store fails.
pub fn deadlines<S: RelayStore>(turn: &mut Turn<'_, '_, S>) -> Result<(), Fatal> {
    let now = turn.now();
    for group in turn.store.groups_due(now, GROUPS_PER_TURN)? {
        let is_due = |moment: Option<Timestamp>| moment.is_some_and(|moment| moment <= now);
        if is_due(group.fill.as_ref().and_then(CatchUp::deadline)) {
            fill::timeout(turn, group.id)?;
        }
        if is_due(group.peers.deadline()) {
            peers::happened(turn, group.id, PeerEvent::Timeout)?;
        }
        if is_due(group.due_at) {
            advance(turn, group.id, ServedEvent::Timeout)?;
        }
    }
    // Those of one turn may be fewer than are due.
    if !turn.store.groups_due(now, 1)?.is_empty() {
        turn.wake_at(now);
    }
    if let Some(due) = turn.store.next_due(now)? {
        turn.wake_at(due);
    }
    Ok(())
}

/// A group link was read.
///
/// # Errors
/// When the store fails.
pub fn link_read<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    id: GroupId,
    read: Result<OpenedLink, ReadLinkError>,
) -> Result<(), Fatal> {
    let Some(group) = turn.store.group(id)? else { return Ok(()) };
    if group.life.status == ServedStatus::ReadingLink {
        read_for_invitation(turn, group, read)
    } else {
        read_for_watch(turn, group, read)
    }
}

fn read_for_invitation<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: ServedGroup,
    read: Result<OpenedLink, ReadLinkError>,
) -> Result<(), Fatal> {
    let id = group.id;
    let opened = match read {
        Ok(opened) => opened,
        Err(ReadLinkError::NotFound) => {
            let problem = ReadLinkError::NotFound;
            return advance_because(turn, id, ServedEvent::LinkGone, Some(&problem));
        }
        Err(ReadLinkError::Call(error)) if error.is_temporary() => {
            tracing::info!(group = id.0, %error, "the link of a group cannot be read now");
            return Ok(());
        }
        Err(problem) => return advance_because(turn, id, ServedEvent::LinkInvalid, Some(&problem)),
    };
    match validate(&group_link(&group)?, &opened, &group.key.owner, None) {
        Ok(valid) => {
            if let Err((refusal, words)) = invitation::judge(turn, &group, &valid)? {
                let problem = words.as_ref().map(|words| words as &dyn std::fmt::Display);
                return advance_because(turn, id, ServedEvent::NotAdmitted(refusal), problem);
            }
            invitation::remember(turn, group, valid)?;
            advance(turn, id, ServedEvent::LinkValid)
        }
        Err(problem) => advance_because(turn, id, ServedEvent::LinkInvalid, Some(&problem)),
    }
}

fn read_for_watch<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    mut group: ServedGroup,
    read: Result<OpenedLink, ReadLinkError>,
) -> Result<(), Fatal> {
    let (Some(known), Some(draft)) = (&group.identity, &group.draft) else { return Ok(()) };
    let draft: AddressDraft = stored(draft)?;
    let looked = link_watch::look(&group_link(&group)?, &draft.short_link(), &group.key.owner, known, read);
    match looked {
        Err(cause) => {
            tracing::info!(group = group.id.0, %cause, "a look at the group link says nothing");
            Ok(())
        }
        Ok(seen) => {
            if let Some(identity) = seen.identity {
                let listed_before = group.identity.replace(identity).map(|before| before.relays);
                turn.store.update_group(&group)?;
                if listed_before.as_ref() != group.identity.as_ref().map(|identity| &identity.relays) {
                    give::close_readers(turn, group.id)?;
                }
            }
            advance(turn, group.id, seen.event)
        }
    }
}

fn group_link(group: &ServedGroup) -> Result<ShortLink, Fatal> {
    Ok(group.key.group_link.as_str().parse()?)
}
