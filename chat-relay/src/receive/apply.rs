//! What an event changes in the relay's own picture of the group (channels.md §9.3, §9.4).

use protocol::group::event::Event;
use protocol::group::event::members::{MemberDelete, MemberRestrict, MemberRoleChange, Restriction};
use protocol::group::identity::{MemberId, MemberKey};
use protocol::group::roster::Roster;
use protocol::group::ruling::Ruling;
use protocol::group::served_group::ServedEvent;
use protocol::group::signed::Statement;
use protocol::net::engine::Fatal;
use protocol::timestamp::Timestamp;

use crate::steps::Step;
use crate::store::RelayStore;
use crate::store::records::{Member, MemberStatus, NewMember, ServedGroup};
use crate::turn::Turn;
use crate::{bulk, knocking, lanes, lifecycle, strangers};

/// What follows an event.
pub(super) enum Ending {
    /// Nothing.
    Nothing,
    /// This member is told, and cut off.
    MemberGoes(Box<Member>),
    /// The relay stops serving the group once all members have it.
    GroupGoes,
}

/// Applies an event that was judged, as it was said; says what follows.
pub(super) fn apply<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    mut group: ServedGroup,
    mut author: Member,
    event: &Event,
    (said, said_at): (&Statement<'_>, Timestamp),
) -> Result<Ending, Fatal> {
    match event {
        Event::Info(info) if info.profile.check().is_ok() => {
            author.profile = Some(info.profile.clone());
            turn.store.update_member(&author)?;
        }
        Event::Leave(_) => leaves(turn, author)?,
        Event::MemberRole(change) => {
            changes_role(turn, &group, change, None, Ruling::new(author.id, said_at, said))?;
        }
        Event::MemberRestrict(restrict) => {
            restricts(turn, &group, restrict, None, Ruling::new(author.id, said_at, said))?;
        }
        Event::MemberDelete(delete) => return removes(turn, &group, delete, None),
        Event::GroupDelete(_) => {
            lifecycle::advance(turn, group.id, ServedEvent::GroupDeleted)?;
            return Ok(Ending::GroupGoes);
        }
        Event::GroupInfo(info) => {
            if let Some(identity) = &mut group.identity {
                match info.group_profile.check_update_of(&identity.public_group_id) {
                    Ok(()) => identity.profile = info.group_profile.clone(),
                    Err(problem) => {
                        tracing::warn!(group = group.id.0, %problem, "a group profile is not taken");
                    }
                }
            }
            turn.store.update_group(&group)?;
        }
        Event::GroupPreferences(change) => {
            if let Some(identity) = &mut group.identity {
                identity.profile.group_preferences = Some(change.group_preferences.clone());
            }
            turn.store.update_group(&group)?;
        }
        _ => {}
    }
    Ok(Ending::Nothing)
}

/// Applies a ruling; `key` is that of the member whom it is about, for a relay that has not met it.
pub(super) fn rule<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: &ServedGroup,
    event: &Event,
    key: Option<MemberKey>,
    ruling: Ruling,
) -> Result<Ending, Fatal> {
    match event {
        Event::MemberRestrict(restrict) => restricts(turn, group, restrict, key, ruling)?,
        Event::MemberRole(change) => changes_role(turn, group, change, key, ruling)?,
        Event::MemberDelete(delete) => return removes(turn, group, delete, key),
        _ => {}
    }
    Ok(Ending::Nothing)
}

/// Blocks somebody, or no longer, unless something newer was said about it.
fn restricts<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: &ServedGroup,
    restrict: &MemberRestrict,
    key: Option<MemberKey>,
    ruling: Ruling,
) -> Result<(), Fatal> {
    let member = match turn.store.member_by_id(group.id, &restrict.member_id)? {
        Some(member) => Some(member),
        None => not_met(turn, group, &restrict.member_id, MemberStatus::Left)?,
    };
    let Some(member) = member else { return Ok(()) };
    let key = member.key.or(restrict.member_key.or(key).map(|key| key.0));
    if member.restriction.as_ref().is_some_and(|newest| !ruling.counts_over(newest)) {
        return Ok(());
    }
    let blocked = restrict.member_restrictions.restriction == Restriction::Blocked;
    Ok(turn.store.update_member(&Member { blocked, restriction: Some(ruling), key, ..member })?)
}

fn leaves<S: RelayStore>(turn: &mut Turn<'_, '_, S>, mut author: Member) -> Result<(), Fatal> {
    author.status = MemberStatus::Left;
    author.since = turn.now();
    bulk::first_gone(turn, &mut author)?;
    let connection = author.connection.take();
    turn.store.update_member(&author)?;
    turn.reached(Step::MemberLeft);
    connection.map_or(Ok(()), |connection| turn.close(connection, true))
}

/// Gives somebody a role, unless something newer was said about it.
fn changes_role<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: &ServedGroup,
    change: &MemberRoleChange,
    key: Option<MemberKey>,
    ruling: Ruling,
) -> Result<(), Fatal> {
    if is_stale(turn, group, change)? {
        return Ok(());
    }
    let known = turn.store.member_by_id(group.id, &change.member_id)?;
    let told_key = change.member_key.or(key).map(|key| key.0);
    let key = known.as_ref().and_then(|known| known.key).or(told_key);
    let joiner_role = turn.joiner_role(group);
    let is_away = known.as_ref().is_none_or(|known| known.connection.is_none());
    let mut member = match known {
        // Whoever comes first under an id of which no key is known gets no privileges with it.
        _ if is_away && key.is_none() && change.role > joiner_role => return Ok(()),
        Some(known) => known,
        None if change.role == joiner_role => return Ok(()),
        // Not met yet: it comes in with this role, with its key if that is told.
        None => {
            let status = if key.is_some() { MemberStatus::Known } else { MemberStatus::Left };
            match not_met(turn, group, &change.member_id, status)? {
                Some(stranger) => stranger,
                None => return Ok(()),
            }
        }
    };
    if member.appointment.as_ref().is_some_and(|newest| !ruling.counts_over(newest)) {
        return Ok(());
    }
    let before = std::mem::replace(&mut member.role, change.role);
    member.key = key;
    member.appointment = Some(ruling);
    turn.store.update_member(&member)?;
    lanes::has_role(turn, before, &member);
    if member.status == MemberStatus::Connected {
        knocking::show_waiting(turn, group.id, &member)?;
    }
    Ok(())
}

/// Whether a change belongs to a roster older than the live one, which says it better: it is passed on, and that is all. Of whom
/// it does not list, a roster says nothing below the joiners' role.
fn is_stale<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: &ServedGroup,
    change: &MemberRoleChange,
) -> Result<bool, Fatal> {
    let Some(live) = turn.store.roster(group.id)? else { return Ok(false) };
    if change.roster_version.is_none_or(|version| version >= live.version) {
        return Ok(false);
    }
    let lists = || Roster::parse(&live.blob).is_ok_and(|roster| roster.entry(&change.member_id).is_some());
    Ok(change.role > turn.joiner_role(group) || lists())
}

fn removes<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: &ServedGroup,
    delete: &MemberDelete,
    key: Option<MemberKey>,
) -> Result<Ending, Fatal> {
    if delete.member_id == group.key.relay {
        lifecycle::advance(turn, group.id, ServedEvent::Removed)?;
        return Ok(Ending::GroupGoes);
    }
    let member = match turn.store.member_by_id(group.id, &delete.member_id)? {
        Some(member) => Some(member),
        None => not_met(turn, group, &delete.member_id, MemberStatus::Removed)?,
    };
    let Some(mut member) = member else { return Ok(Ending::Nothing) };
    member.key = member.key.or(delete.member_key.or(key).map(|key| key.0));
    member.status = MemberStatus::Removed;
    member.since = turn.now();
    // Whoever was removed leads nothing any more.
    if member.role.is_roster_role() {
        member.role = turn.joiner_role(group);
    }
    turn.store.update_member(&member)?;
    if delete.messages {
        turn.store.hide_messages_of(member.number)?;
    }
    Ok(Ending::MemberGoes(Box::new(member)))
}

/// Somebody of whom nothing but this is known: connected to other relays, it may ask here later. Nothing when as many are
/// kept as may be.
fn not_met<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: &ServedGroup,
    id: &MemberId,
    status: MemberStatus,
) -> Result<Option<Member>, Fatal> {
    let role = turn.joiner_role(group);
    strangers::meet(turn, group.id, &NewMember { id: id.clone(), role, status, profile: None, key: None })
}
