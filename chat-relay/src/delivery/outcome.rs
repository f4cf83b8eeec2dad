//! What became of an item on its way to a member.

use protocol::agent::event::SendFailure;
use protocol::agent::store::ConnectionId;
use protocol::group::bulk::serving::ServedBulk;
use protocol::net::engine::Fatal;

use super::stage::StageEvent;
use crate::steps::Step;
use crate::store::RelayStore;
use crate::store::records::{Given, GroupId, MemberNumber, Reader};
use crate::turn::Turn;

/// The member's server has a message: if it is the item, the position moves. Says whether it was.
///
/// # Errors
/// When the store fails; so for every function here.
pub fn taken<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    connection: ConnectionId,
    (group, number): (GroupId, MemberNumber),
    message: i64,
) -> Result<bool, Fatal> {
    let Some((reader, given)) = waiting(turn, connection, (group, number), message)? else {
        return Ok(false);
    };
    move_to(turn, reader, given)?;
    turn.reached(Step::PositionMoved);
    Ok(true)
}

/// A message to a member was given up. Of the item nothing is lost: it is made anew, unless the server refused it as it
/// is. Says whether it was the item, and will be made anew.
///
/// # Errors
/// When the store fails.
pub fn failed<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    connection: ConnectionId,
    (group, number): (GroupId, MemberNumber),
    message: i64,
    reason: SendFailure,
) -> Result<bool, Fatal> {
    let Some((mut reader, given)) = waiting(turn, connection, (group, number), message)? else {
        return Ok(false);
    };
    match reason {
        SendFailure::Refused | SendFailure::NoQueue => {
            let first = turn.store.first_content(group, reader.position, given.through)?;
            move_to(turn, reader, given)?;
            if let (Some(first), Some(mut member)) = (first, turn.store.member(number)?) {
                member.note_gap(first);
                turn.store.update_member(&member)?;
            }
            turn.reached(Step::ItemGivenUp);
            Ok(false)
        }
        // Out of reach, full or blocked for long; or a part of it was passed over.
        SendFailure::Expired
        | SendFailure::QuotaExpired
        | SendFailure::BlockedForLong
        | SendFailure::TakenBack => {
            turn.store.forget_introduced(&reader)?;
            reader.given = None;
            reader.stage = reader.stage.apply(StageEvent::GivenUp);
            turn.store.update_reader(&reader)?;
            turn.deliver(group);
            turn.reached(Step::ItemMadeAnew);
            Ok(true)
        }
    }
}

/// A second connection that could not encrypt may do so again. What is held until its member is ready stays so.
///
/// # Errors
/// When the store fails.
pub fn renewed<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    connection: ConnectionId,
    (group, number): (GroupId, MemberNumber),
) -> Result<(), Fatal> {
    let stage = turn.store.member(number)?.map(|member| member.bulk.stage);
    if stage == Some(ServedBulk::Double) { recovered(turn, connection, (group, number)) } else { Ok(()) }
}

/// A connection that could not encrypt may do so again.
///
/// # Errors
/// When the store fails.
pub fn recovered<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    connection: ConnectionId,
    (group, number): (GroupId, MemberNumber),
) -> Result<(), Fatal> {
    let reader = turn.store.reader(group, number)?.filter(|reader| reader.connection == connection);
    let Some(mut reader) = reader else { return Ok(()) };
    let stage = reader.stage.apply(StageEvent::Recovered);
    if stage != reader.stage {
        reader.stage = stage;
        turn.store.update_reader(&reader)?;
        turn.deliver(group);
        turn.reached(Step::ItemReleased);
    }
    Ok(())
}

/// The reader whose item has this number, if it is on its way.
fn waiting<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    connection: ConnectionId,
    (group, number): (GroupId, MemberNumber),
    message: i64,
) -> Result<Option<(Reader, Given)>, Fatal> {
    let reader = turn.store.reader(group, number)?.filter(|reader| reader.connection == connection);
    Ok(reader.and_then(|reader| Some((reader, reader.given.filter(|given| given.number == message)?))))
}

fn move_to<S: RelayStore>(turn: &mut Turn<'_, '_, S>, mut reader: Reader, given: Given) -> Result<(), Fatal> {
    // It may have been taken further meanwhile.
    reader.position = reader.position.max(given.through);
    reader.given = None;
    let head = turn.store.stream(reader.group)?.map(|stream| stream.head);
    let behind = head.is_some_and(|head| head > reader.position);
    reader.stage = reader.stage.apply(StageEvent::Taken { behind });
    turn.store.update_reader(&reader)?;
    turn.deliver(reader.group);
    Ok(())
}
