//! One of several workers on one database: takes up the groups that became its own, and leaves alone those that are
//! another's now. See [`crate::store::workers`].

use protocol::net::engine::Fatal;

use crate::lifecycle;
use crate::store::RelayStore;
use crate::store::records::GroupId;
use crate::store::workers::Moves;
use crate::turn::Turn;
use protocol::group::served_group::ServedEvent;

/// How often a worker looks at its share.
pub(crate) const SHARE_EVERY_MS: i64 = 1000;

/// Goes along with what moved.
///
/// # Errors
/// When the store fails.
pub(crate) fn follow<S: RelayStore>(turn: &mut Turn<'_, '_, S>, moves: Moves) -> Result<(), Fatal> {
    for group in moves.given_up {
        let connections = turn.store.connections_of_group(group)?;
        turn.context.release(connections.into_iter().map(|(connection, _)| connection));
        turn.turns.forget(group);
        turn.reading.retain(|read| read.group() != group);
        tracing::info!(group = group.0, "a group goes to another worker");
    }
    for group in moves.taken {
        let connections = turn.store.connections_of_group(group)?;
        turn.context.adopt(connections.into_iter().map(|(connection, _)| connection));
        turn.deliver(group);
        tracing::info!(group = group.0, "a group is this worker's");
    }
    turn.context.adopt(moves.adopted);
    for group in moves.invited {
        lifecycle::advance(turn, group, ServedEvent::Invited { same_member: true })?;
    }
    Ok(())
}

/// What operators are told who ask the wrong worker about a group.
pub(crate) fn elsewhere(group: GroupId) -> String {
    format!("group {} is another worker's: ask that one, `ctl workers` shows which there are", group.0)
}
