//! What was decided about members and stands, for those who come later: see [`protocol::group::ruling`].

use protocol::group::permissions::{Actor, judge};
use protocol::net::engine::Fatal;

use crate::store::RelayStore;
use crate::store::records::{Member, ServedGroup};
use crate::turn::Turn;

/// The newest that was said about whether a member is blocked, as a forward element: for whoever is shown the member, or is
/// it. Nothing if its author could not say it any more: nobody would take it.
///
/// # Errors
/// When the store fails.
pub fn of_member<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: &ServedGroup,
    member: &Member,
) -> Result<Option<Vec<u8>>, Fatal> {
    let (Some(ruling), Some(identity)) = (&member.restriction, &group.identity) else { return Ok(None) };
    let Some(author) = turn.store.member_by_id(group.id, ruling.author())? else { return Ok(None) };
    let Some(Ok(said)) = ruling.statement().map(|said| said.message()) else { return Ok(None) };
    let actor = Actor { role: author.role, blocked: author.blocked };
    let preferences = identity.profile.preferences();
    let stands = judge(&said.event, &author.id, actor, &preferences, |_| Some(member.role)).is_ok();
    let name = author.profile.map_or_else(|| author.id.stand_in_name(), |profile| profile.display_name);
    Ok(ruling.forward(&name).filter(|_| stands))
}
