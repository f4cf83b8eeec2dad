//! The roster on its way through (channels.md §14): taken from an owner, acknowledged, served to members.
//!
//! Version, header and blob move together when the blob is complete; until then the previous roster is served.

use protocol::agent::Body;
use protocol::encoding::Encode as _;
use protocol::group::chunk::Chunk;
use protocol::group::constants::ROSTER_CHAT_VERSION;
use protocol::group::event::Event;
use protocol::group::event::owner_relay::RosterAck;
use protocol::group::forward::{ForwardSender, forward};
use protocol::group::identity::MemberRole;
use protocol::group::roster::chunks;
use protocol::group::roster_transfer::{
    CompleteRoster, RosterTransfer, TransferStep, VerifiedHeader, serves_request,
};
use protocol::group::served_group::ServedEvent;
use protocol::group::signed::Statement;
use protocol::net::engine::Fatal;
use protocol::timestamp::Timestamp;

use crate::steps::Step;
use crate::store::RelayStore;
use crate::store::records::{GroupId, LiveRoster, Member, MemberStatus, NewMember, ServedGroup};
use crate::turn::{Turn, stored};
use crate::{lanes, lifecycle, strangers};

/// A verified header of an owner.
///
/// # Errors
/// When the store fails; so for every function here.
pub fn header_came<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: ServedGroup,
    owner: &Member,
    header: VerifiedHeader,
    server_time: Timestamp,
) -> Result<(), Fatal> {
    let held = turn.store.roster(group.id)?.map(|roster| roster.version);
    // An owner that did not get our acknowledgement sends the same again: tell it once more.
    if held == Some(header.header.version) {
        acknowledge(turn, &group, header.header.version, None)?;
    }
    // An owner that came back from an old backup would wait for an acknowledgement for good.
    if let Some(held) = held.filter(|held| header.header.version < *held) {
        let cause = format!("a newer roster is held: version {held}");
        return acknowledge(turn, &group, header.header.version, Some(cause));
    }
    let (transfer, step) = transfer(turn, group.id)?.header(header, held);
    took(turn, group, owner, &transfer, step, server_time)
}

/// A chunk that an owner sent.
///
/// # Errors
/// When the store fails.
pub fn chunk_came<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: ServedGroup,
    owner: &Member,
    chunk: &Chunk<'_>,
    server_time: Timestamp,
) -> Result<(), Fatal> {
    let (transfer, step) = transfer(turn, group.id)?.chunk(chunk);
    took(turn, group, owner, &transfer, step, server_time)
}

fn transfer<S: RelayStore>(turn: &mut Turn<'_, '_, S>, group: GroupId) -> Result<RosterTransfer, Fatal> {
    match turn.store.roster_transfer(group)? {
        Some(record) => stored(&record),
        None => Ok(RosterTransfer::Idle),
    }
}

fn took<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: ServedGroup,
    owner: &Member,
    transfer: &RosterTransfer,
    step: TransferStep,
    server_time: Timestamp,
) -> Result<(), Fatal> {
    let record = matches!(transfer, RosterTransfer::Receiving(_)).then(|| transfer.to_bytes());
    match step {
        TransferStep::Ignored => Ok(()),
        TransferStep::Progress | TransferStep::Cancelled => {
            turn.store.set_roster_transfer(group.id, record.as_deref())?;
            turn.reached(Step::RosterProgress);
            Ok(())
        }
        TransferStep::Failed { version, error } => {
            turn.store.set_roster_transfer(group.id, record.as_deref())?;
            tracing::warn!(group = group.id.0, %error, "a roster was not taken");
            lifecycle::advance_because(turn, group.id, ServedEvent::RosterFailed { version }, Some(&error))
        }
        TransferStep::Complete(roster) => live(turn, group, owner, roster, server_time),
    }
}

fn live<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: ServedGroup,
    owner: &Member,
    complete: CompleteRoster,
    server_time: Timestamp,
) -> Result<(), Fatal> {
    apply(turn, &group, &complete)?;
    let version = complete.version;
    let roster = LiveRoster {
        version,
        author: owner.number,
        broker_time: server_time,
        message_id: complete.message_id,
        header: complete.header,
        blob: complete.blob,
    };
    turn.store.set_roster(group.id, &roster)?;
    lifecycle::advance(turn, group.id, ServedEvent::RosterApplied { version })?;
    turn.reached(Step::RosterLive);
    tracing::info!(group = group.id.0, entries = complete.roster.len(), "the roster is live");
    Ok(())
}

/// Gives everybody on the roster its role, and takes it from those who are not on it any more. Keys stay as they were
/// first seen.
fn apply<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: &ServedGroup,
    complete: &CompleteRoster,
) -> Result<(), Fatal> {
    let default_role = turn.joiner_role(group);
    let roster_roles = [MemberRole::Member, MemberRole::Moderator, MemberRole::Admin];
    for mut member in turn.store.members_with_roles(group.id, &roster_roles)? {
        if complete.roster.entry(&member.id).is_none() && member.role != default_role {
            member.role = default_role;
            turn.store.update_member(&member)?;
        }
    }
    for (id, entry) in complete.roster.entries() {
        match turn.store.member_by_id(group.id, id)? {
            Some(member) if matches!(member.role, MemberRole::Owner | MemberRole::Relay) => {}
            Some(mut member) => {
                if member.key.is_some_and(|pinned| pinned != entry.key.0) {
                    tracing::warn!(
                        group = group.id.0,
                        "the roster names another key for a member: the first stays"
                    );
                }
                member.key = member.key.or(Some(entry.key.0));
                let before = std::mem::replace(&mut member.role, entry.role);
                turn.store.update_member(&member)?;
                lanes::has_role(turn, before, &member);
            }
            None => {
                let new = NewMember {
                    id: id.clone(),
                    role: entry.role,
                    status: MemberStatus::Known,
                    profile: None,
                    key: Some(entry.key.0),
                };
                strangers::meet_listed(turn, group.id, &new)?;
            }
        }
    }
    Ok(())
}

/// Tells the owner that its roster is live here, or why it is not.
///
/// # Errors
/// When the store fails.
pub fn acknowledge<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: &ServedGroup,
    version: i64,
    error: Option<String>,
) -> Result<(), Fatal> {
    let owner = turn.store.member_by_id(group.id, &group.key.owner)?;
    let Some(connection) = owner.and_then(|owner| owner.connection) else { return Ok(()) };
    let element = turn.compose(Event::RosterAck(RosterAck { version, error }));
    turn.send(connection, Body::Inline(&element))?;
    Ok(())
}

/// The live roster for a member: its header as a forward, then its chunks; nothing for a member of a chat version that
/// knows no rosters. Remembers on the record that it was served.
///
/// # Errors
/// When the store fails.
pub fn elements_for<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: GroupId,
    member: &mut Member,
) -> Result<Vec<Vec<u8>>, Fatal> {
    if member.chat_version < ROSTER_CHAT_VERSION {
        return Ok(Vec::new());
    }
    let Some(roster) = turn.store.roster(group)? else { return Ok(Vec::new()) };
    let Some(owner) = turn.store.member(roster.author)? else { return Ok(Vec::new()) };
    let name = owner.profile.map(|profile| profile.display_name).unwrap_or_else(|| owner.id.stand_in_name());
    let sender = ForwardSender::Member { id: owner.id, name };
    let mut elements = vec![forward(&sender, roster.broker_time, &Statement::parse(&roster.header)?)];
    elements.extend(chunks(&roster.message_id, &roster.blob));
    member.roster_served = roster.version;
    Ok(elements)
}

/// A member missed a version.
///
/// # Errors
/// When the store fails.
pub fn requested<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: GroupId,
    mut member: Member,
    held: Option<i64>,
) -> Result<(), Fatal> {
    let Some(live) = turn.store.roster(group)?.map(|roster| roster.version) else { return Ok(()) };
    let served = (member.roster_served >= 0).then_some(member.roster_served);
    let Some(connection) = member.connection.filter(|_| serves_request(live, held, served)) else {
        return Ok(());
    };
    let elements = elements_for(turn, group, &mut member)?;
    turn.store.update_member(&member)?;
    turn.reached(Step::RosterServed);
    turn.send_elements(connection, &elements)
}
