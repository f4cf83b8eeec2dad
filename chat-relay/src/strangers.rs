//! People who have not asked to join here, and of whom others have told: by rulings, by the roster, as authors of history.
//! The relay keeps what was said about them for when they come. Whoever tells can make up as many as it likes, so they are
//! bounded; what is kept is never forgotten for more of it.

use protocol::group::constants::ROSTER_ENTRIES_MAX;
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
    keep(turn, group, stranger, max)
}

/// The same for somebody on the roster: as many as it lists have room beside all others, so that nobody who tells of others
/// keeps from those who lead the keys and roles that an owner gave them.
///
/// # Errors
/// When the store fails.
pub(crate) fn meet_listed<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: GroupId,
    listed: &NewMember,
) -> Result<Option<Member>, Fatal> {
    let room = u32::try_from(ROSTER_ENTRIES_MAX).unwrap_or(u32::MAX);
    let max = turn.limits.strangers_max.saturating_add(room);
    keep(turn, group, listed, max)
}

fn keep<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: GroupId,
    stranger: &NewMember,
    max: u32,
) -> Result<Option<Member>, Fatal> {
    if turn.store.count_strangers(group, max)? >= max {
        turn.operation.metrics.refused(Refused::Message, "strangers");
        tracing::info!(group = group.0, "no more is kept about people who have not joined here");
        notices::tell_owners(turn, group, Concern::StrangersFull, Some(&stranger.id))?;
        return Ok(None);
    }
    let now = turn.now();
    Ok(Some(turn.store.insert_member(group, stranger, now)?))
}
