//! People who have not asked to join here, and of whom others have told: by rulings, by the roster, as authors of history.
//! The relay keeps what was said about them for when they come. Whoever tells can make up as many as it likes, so they are
//! bounded; what is kept is never forgotten for more of it.

use protocol::net::engine::Fatal;

use crate::metrics::Refused;
use crate::notices::{self, Concern};
use crate::store::RelayStore;
use crate::store::records::{GroupId, Member, NewMember};
use crate::turn::Turn;

/// Keeps one more, if there is room; else the owners are told that there is none.
///
/// # Errors
/// When the store fails.
pub(crate) fn meet<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: GroupId,
    stranger: &NewMember,
) -> Result<Option<Member>, Fatal> {
    let max = turn.limits.strangers_max;
    if turn.store.count_strangers(group, max)? >= max {
        turn.operation.metrics.refused(Refused::Message, "strangers");
        tracing::info!(group = group.0, "no more is kept about people who have not joined here");
        notices::tell_owners(turn, group, Concern::StrangersFull, Some(&stranger.id))?;
        return Ok(None);
    }
    let now = turn.now();
    Ok(Some(turn.store.insert_member(group, stranger, now)?))
}
