//! One of several workers on one database: takes up the groups that became its own, and leaves alone those that are
//! another's now. See [`crate::store::workers`].

use std::collections::BTreeSet;

use protocol::agent::Lane;
use protocol::agent::store::ConnectionId;
use protocol::group::served_group::ServedEvent;
use protocol::net::engine::Fatal;

use crate::store::RelayStore;
use crate::store::records::{GroupId, Purpose};
use crate::store::workers::Moves;
use crate::turn::Turn;
use crate::{lanes, lifecycle};

/// How often a worker looks at its share.
pub(crate) const SHARE_EVERY_MS: i64 = 1000;

/// Goes along with what moved. Says whether the relay's own server is asked for queues that go before all others.
///
/// # Errors
/// When the store fails.
pub(crate) fn follow<S: RelayStore>(turn: &mut Turn<'_, '_, S>, moves: Moves) -> Result<bool, Fatal> {
    let mut asks = false;
    for group in moves.given_up {
        let connections = turn.store.connections_of_group(group)?;
        turn.context.release(connections.into_iter().map(|(connection, _)| connection));
        turn.turns.forget(group);
        turn.reading.retain(|read| read.group() != group);
        turn.operation.refused.retain(|_, purpose| purpose.and_then(Purpose::group) != Some(group));
        tracing::info!(group = group.0, "a group goes to another worker");
    }
    for group in moves.taken {
        let first = lanes::first_of_group(turn.store, group)?;
        let connections = turn.store.connections_of_group(group)?;
        asks |= adopt(turn, first, connections.into_iter().map(|(connection, _)| connection))?;
        turn.deliver(group);
        tracing::info!(group = group.0, "a group is this worker's");
    }
    let address = lanes::address(turn.store)?.filter(|address| moves.adopted.contains(address));
    asks |= adopt(turn, address, moves.adopted)?;
    for group in moves.invited {
        lifecycle::advance(turn, group, ServedEvent::Invited { same_member: true })?;
    }
    Ok(asks)
}

/// Takes up connections, the `first` of them before all others. Says whether a queue of the first is on the relay's own
/// server.
fn adopt<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    first: impl IntoIterator<Item = ConnectionId>,
    all: impl IntoIterator<Item = ConnectionId>,
) -> Result<bool, Fatal> {
    let first: BTreeSet<ConnectionId> = first.into_iter().collect();
    let others = all.into_iter().filter(|connection| !first.contains(connection));
    turn.context.adopt(others, Lane::Bulk);
    turn.context.adopt(first.iter().copied(), Lane::Control);
    for connection in first {
        let queue = turn.agent(|agent| agent.own_queue(connection))?;
        if queue.is_some_and(|queue| queue.server == turn.identity.server.server) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What operators are told who ask the wrong worker about a group.
pub(crate) fn elsewhere(group: GroupId) -> String {
    format!("group {} is another worker's: ask that one, `ctl workers` shows which there are", group.0)
}
