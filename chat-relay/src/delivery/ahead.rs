//! Copies that go ahead of bulk: roles, restrictions and removals, on the first connection of members who have two.
//!
//! ```text
//! statement ─▶ a round over the members with two connections, page by page ─▶ [ x.grp.bulk.ahead, forward ]
//! ```
//!
//! The statement stands in the stream as well, or will: a copy that is not handed out is late and not lost.

use protocol::agent::Body;
use protocol::agent::store::ConnectionId;
use protocol::group::batch::{Added, BatchWriter};
use protocol::group::event::bulk::BulkAhead;
use protocol::group::event::{Event, Message};
use protocol::net::engine::Fatal;

use super::forwarding::forwarded;
use crate::steps::Step;
use crate::store::RelayStore;
use crate::store::bulk::AheadRound;
use crate::store::records::{GroupId, StoredMessage};
use crate::turn::Turn;

/// Requests of a connection that may wait for its server before copies are left out: then nothing goes ahead there.
const WAITING_MAX: u32 = 32;

/// Hands copies to at most `limit` members; says how many, and whether more is to be done.
///
/// # Errors
/// When the store fails; so for every function here.
pub fn serve<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: GroupId,
    limit: usize,
) -> Result<(usize, bool), Fatal> {
    let Some(round) = turn.store.ahead_round(group)? else { return Ok((0, false)) };
    let members = turn.store.members_ahead(group, round.cursor, limit)?;
    if let Some(body) = body(turn, &round.message)? {
        for (number, first) in &members {
            if *number != round.message.message.author {
                give(turn, *first, &body)?;
            }
        }
    }
    let AheadRound { id, .. } = round;
    let cursor = members.last().filter(|_| members.len() == limit).map(|(number, _)| *number);
    turn.store.move_ahead(id, cursor)?;
    if !members.is_empty() {
        turn.reached(Step::AheadServed);
    }
    Ok((members.len(), cursor.is_some() || turn.store.ahead_round(group)?.is_some()))
}

fn give<S: RelayStore>(turn: &mut Turn<'_, '_, S>, first: ConnectionId, body: &[u8]) -> Result<(), Fatal> {
    if !turn.store.has_waiting(first, WAITING_MAX)? {
        // For each by itself: what many share is bulk to the engine.
        turn.send(first, Body::Inline(body))?;
    }
    Ok(())
}

/// Nothing when it does not fit beside the word that it goes ahead.
fn body<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    message: &StoredMessage,
) -> Result<Option<Vec<u8>>, Fatal> {
    let Some(author) = turn.store.member(message.message.author)? else { return Ok(None) };
    let mut writer = BatchWriter::new();
    let mark = Message::new(None, Event::BulkAhead(BulkAhead {})).to_json();
    for element in [mark, forwarded(&author, message)?] {
        if writer.add(&element) != Added::Added {
            return Ok(None);
        }
    }
    Ok(writer.finish())
}
