//! The second connection of a member, for what is passed on (docs/protocol.md §5): what the pure machine of
//! [`serving`](protocol::group::bulk::serving) decides is done here, in the transaction that stores it.
//!
//! ```text
//! x.member.bulk ─▶ proven, newer ─▶ accepted ─▶ connected: begin ─▶ ready: go        the stream moves over
//!                       └─▶ x.grp.link.reject             gone, over, too late: the stream moves back
//! ```

use protocol::agent::Body;
use protocol::agent::invitation::Invitation;
use protocol::agent::store::ConnectionId;
use protocol::group::bulk::joining::{Attached, BulkRefused, check_request};
use protocol::group::bulk::serving::{ServedBulk, ServedBulkEffect, ServedBulkEvent};
use protocol::group::event::Event;
use protocol::group::event::bulk::{BulkEnd, BulkMark};
use protocol::group::event::content::Acknowledge;
use protocol::group::identity::{MemberId, MemberKey};
use protocol::group::signed::Statement;
use protocol::net::engine::Fatal;

use crate::delivery::{forwarding, outcome};
use crate::history::fill;
use crate::metrics::{Count, Refused};
use crate::steps::Step;
use crate::store::RelayStore;
use crate::store::records::{LinkState, Member, MemberNumber, MemberStatus, Purpose, ServedGroup};
use crate::turn::Turn;
use crate::{admission, welcome};

/// Whether the information of a request at a relay link asks for a second connection.
#[must_use]
pub fn is_request(info: &[u8]) -> bool {
    let said = Statement::parse(info).ok().and_then(|said| said.message().ok());
    said.is_some_and(|said| matches!(said.event, Event::BulkJoin(_)))
}

/// Somebody asks at the relay link of a group for a second connection.
///
/// # Errors
/// When the store fails; so for every function here.
pub fn requested<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: &ServedGroup,
    invitation: &Invitation,
    info: &[u8],
) -> Result<(), Fatal> {
    let (mut known, mut failed) = (None, None);
    let attached = |id: &MemberId| match turn.store.member_by_id(group.id, id) {
        Ok(found) => {
            known = found;
            known.as_ref().map(attached)
        }
        Err(error) => {
            failed = Some(error);
            None
        }
    };
    let checked = match group.identity.as_ref().filter(|_| group.life.status.serves()) {
        Some(identity) => check_request(info, &identity.public_group_id, &group.key.relay, attached),
        None => Err(BulkRefused::NoFirst),
    };
    if let Some(error) = failed {
        return Err(error.into());
    }
    match (checked, known) {
        (Ok(join), Some(mut member)) => {
            set_aside(turn, &mut member)?;
            let (stage, effects) = member.bulk.stage.apply(ServedBulkEvent::Asked);
            carry_out(turn, &mut member, stage, effects)?;
            accept(turn, member, invitation, join.number)
        }
        (Ok(_), None) => Ok(()),
        (Err(reason), _) => {
            turn.operation.metrics.refused(Refused::Join, reason.word());
            tracing::info!(group = group.id.0, %reason, "a second connection is refused");
            admission::reject(turn, group, invitation, None, &reason.to_string())
        }
    }
}

fn attached(member: &Member) -> Attached {
    let is_connected = member.status == MemberStatus::Connected
        && member.connection.is_some()
        && member.link != LinkState::Broken;
    Attached { key: member.key.map(MemberKey), is_connected, number: member.bulk.number }
}

fn accept<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    mut member: Member,
    invitation: &Invitation,
    number: i64,
) -> Result<(), Fatal> {
    let until = turn.now().plus_ms(turn.limits.joining_ttl.ms());
    let purpose = Purpose::Bulk(member.group, member.number);
    let answer = Event::Acknowledge(Acknowledge {});
    member.bulk.number = number;
    member.bulk.connection = turn.accept(invitation, answer, purpose, Some(until))?;
    if member.bulk.connection.is_none() {
        member.bulk.stage = ServedBulk::Single;
    }
    turn.store.update_member(&member)?;
    turn.reached(Step::BulkAdmitted);
    tracing::debug!(group = member.group.0, "a second connection is let in");
    Ok(())
}

/// Something happened to the second connection of a member; ignored when it is another one by now.
///
/// # Errors
/// When the store fails.
pub fn happened<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    connection: ConnectionId,
    number: MemberNumber,
    event: ServedBulkEvent,
) -> Result<(), Fatal> {
    let Some(mut member) = with_second(turn, connection, number)? else { return Ok(()) };
    let (stage, effects) = member.bulk.stage.apply(event);
    carry_out(turn, &mut member, stage, effects)
}

/// The member, if this is its second connection still.
fn with_second<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    connection: ConnectionId,
    number: MemberNumber,
) -> Result<Option<Member>, Fatal> {
    Ok(turn.store.member(number)?.filter(|member| member.bulk.connection == Some(connection)))
}

/// The member's queue of its second connection is gone: whoever leaves takes it along.
///
/// # Errors
/// When the store fails.
pub fn unwritable<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    connection: ConnectionId,
    number: MemberNumber,
) -> Result<(), Fatal> {
    let Some(mut member) = with_second(turn, connection, number)? else { return Ok(()) };
    set_aside(turn, &mut member)?;
    let (stage, effects) = member.bulk.stage.apply(ServedBulkEvent::Gone);
    carry_out(turn, &mut member, stage, effects)
}

/// The member has taken what came on the first connection until `begin`.
///
/// # Errors
/// When the store fails.
pub fn ready<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    mut member: Member,
    mark: BulkMark,
) -> Result<(), Fatal> {
    if mark.number != member.bulk.number {
        return Ok(());
    }
    let (stage, effects) = member.bulk.stage.apply(ServedBulkEvent::Ready);
    carry_out(turn, &mut member, stage, effects)
}

/// The member says that its second connection is over.
///
/// # Errors
/// When the store fails.
pub fn ended<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    mut member: Member,
    end: BulkEnd,
) -> Result<(), Fatal> {
    if !end.ends(member.bulk.number) {
        return Ok(());
    }
    set_aside(turn, &mut member)?;
    let (stage, effects) = member.bulk.stage.apply(ServedBulkEvent::Gone);
    carry_out(turn, &mut member, stage, effects)
}

/// Another first connection takes the place of the one that the member had, whose second goes with it. What a connected member
/// said on either may still wait in our queues: both are read on for a while. One that did not come about yet is closed, so that
/// a member that has just let us in there learns that it is not used. The caller stores the member.
///
/// # Errors
/// When the store fails.
pub fn replace_first<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    member: &mut Member,
    connection: ConnectionId,
) -> Result<(), Fatal> {
    set_aside(turn, member)?;
    first_gone(turn, member)?;
    let Some(old) = member.connection.replace(connection) else { return Ok(()) };
    if member.status == MemberStatus::Connected { read_on(turn, old, member) } else { turn.close(old, false) }
}

/// The first connection was replaced or closed: the second goes with it. Stores the member.
///
/// # Errors
/// When the store fails.
pub fn first_gone<S: RelayStore>(turn: &mut Turn<'_, '_, S>, member: &mut Member) -> Result<(), Fatal> {
    let (stage, effects) = member.bulk.stage.apply(ServedBulkEvent::FirstGone);
    carry_out(turn, member, stage, effects)
}

/// The keys of the first connection were agreed on anew: one of the two came back from a backup, perhaps from before the
/// second connection that the other knows. It is made anew. What came since on keys or a queue that a backup does not know
/// cannot be read: the owner has it.
///
/// # Errors
/// When the store fails.
pub fn first_renewed<S: RelayStore>(turn: &mut Turn<'_, '_, S>, number: MemberNumber) -> Result<(), Fatal> {
    let Some(mut member) = turn.store.member(number)? else { return Ok(()) };
    set_aside(turn, &mut member)?;
    let (stage, effects) = member.bulk.stage.apply(ServedBulkEvent::FirstGone);
    let had = member.bulk.stage != stage;
    carry_out(turn, &mut member, stage, effects)?;
    if had {
        owe_history(turn, &mut member)?;
    }
    tell(turn, &member, Event::BulkEnd(BulkEnd { number: None }))?;
    // Behind the word of the end: all that the owner says later comes on the first connection.
    fill::keys_renewed(turn, &member)
}

/// The second connection is about to end. What the member said on it may still wait in our queue, so that is read for as long
/// as a connection may take to come about; nothing is written there any more.
fn set_aside<S: RelayStore>(turn: &mut Turn<'_, '_, S>, member: &mut Member) -> Result<(), Fatal> {
    // Members say nothing on it before.
    if member.bulk.stage != ServedBulk::Double {
        return Ok(());
    }
    let Some(second) = member.bulk.connection.take() else { return Ok(()) };
    read_on(turn, second, member)
}

/// A connection that is the member's first and second no more is read until its time is over.
fn read_on<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    connection: ConnectionId,
    member: &Member,
) -> Result<(), Fatal> {
    let until = turn.now().plus_ms(turn.limits.joining_ttl.ms());
    turn.store.set_purpose(connection, Purpose::Bulk(member.group, member.number), Some(until))?;
    turn.wake_at(until);
    Ok(())
}

fn carry_out<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    member: &mut Member,
    stage: ServedBulk,
    effects: &[ServedBulkEffect],
) -> Result<(), Fatal> {
    let before = std::mem::replace(&mut member.bulk.stage, stage);
    let second = match effects.contains(&ServedBulkEffect::Close) {
        true => member.bulk.connection.take(),
        false => None,
    };
    // The stream stands where the stage says before anything is closed.
    turn.store.update_member(member)?;
    for effect in effects {
        match effect {
            ServedBulkEffect::Close => {
                if let Some(second) = second {
                    turn.close(second, false)?;
                }
                turn.deliver(member.group);
            }
            ServedBulkEffect::TakeTurns => forwarding::take_turns(turn, member)?,
            ServedBulkEffect::OweHistory => owe_history(turn, member)?,
            ServedBulkEffect::TellEnd => {
                tell(turn, member, Event::BulkEnd(BulkEnd { number: Some(member.bulk.number) }))?;
            }
            // The request is at hand where this is called.
            ServedBulkEffect::Accept => {}
            ServedBulkEffect::Begin => {
                tell(turn, member, Event::BulkBegin(BulkMark { number: member.bulk.number }))?;
                turn.reached(Step::BulkBegun);
            }
            ServedBulkEffect::Go => go(turn, member)?,
        }
    }
    if before != ServedBulk::Single && stage == ServedBulk::Single {
        turn.reached(Step::BulkEnded);
    }
    if before != stage {
        tracing::debug!(group = member.group.0, ?before, ?stage, "a second connection changes");
    }
    Ok(())
}

fn go<S: RelayStore>(turn: &mut Turn<'_, '_, S>, member: &Member) -> Result<(), Fatal> {
    let Some(second) = member.bulk.connection else { return Ok(()) };
    // It stays for as long as the first.
    turn.store.set_purpose(second, Purpose::Bulk(member.group, member.number), None)?;
    outcome::recovered(turn, second, (member.group, member.number))?;
    tell(turn, member, Event::BulkGo(BulkMark { number: member.bulk.number }))?;
    turn.operation.metrics.one(Count::SecondConnections);
    turn.reached(Step::BulkDouble);
    Ok(())
}

fn owe_history<S: RelayStore>(turn: &mut Turn<'_, '_, S>, member: &mut Member) -> Result<(), Fatal> {
    member.passed_over = true;
    turn.store.update_member(member)?;
    welcome::catch_up(turn, member.group, member.number)?;
    if let Some(stored) = turn.store.member(member.number)? {
        *member = stored;
    }
    Ok(())
}

/// Says something about the second connection on the first.
fn tell<S: RelayStore>(turn: &mut Turn<'_, '_, S>, member: &Member, event: Event) -> Result<(), Fatal> {
    let Some(first) = member.connection else { return Ok(()) };
    let element = turn.compose(event);
    turn.send(first, Body::Inline(&element))?;
    Ok(())
}
