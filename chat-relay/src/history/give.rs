//! History on request, page by page.
//!
//! What a member is given at its joining is recent posts alone (channels.md §17). Here it asks for everything that the
//! relay keeps, from the newest to the oldest, each item with its author's bytes and signature. Stock clients never ask.

use protocol::agent::Body;
use protocol::group::constants::{HISTORY_FILE_AGE_MS_MAX, HISTORY_PAGE_ITEMS_MAX};
use protocol::group::event::history::{HistoryGet, HistoryPosition};
use protocol::group::history_answer::{Item, bodies};
use protocol::group::identity::MemberRole;
use protocol::group::profile::HistoryKept;
use protocol::group::signed::Statement;
use protocol::net::engine::Fatal;

use super::fill;
use crate::admission::member_new;
use crate::delivery::forwarding::forwarded;
use crate::intake::{self, TooMuch};
use crate::metrics::Refused;
use crate::steps::Step;
use crate::store::RelayStore;
use crate::store::records::{LinkState, Member, ServedGroup, StoredMessage, StoredMessageId};
use crate::turn::Turn;

/// A member asks for a page.
///
/// # Errors
/// When the store fails.
pub fn requested<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: &ServedGroup,
    member: &Member,
    request: &HistoryGet,
) -> Result<(), Fatal> {
    // Whoever does not take what it asked for is given no more.
    let Some(connection) = member.connection.filter(|_| member.link == LinkState::Open) else {
        return Ok(());
    };
    if !intake::may_ask(turn, member) {
        turn.operation.metrics.refused(Refused::Message, TooMuch::MemberPace.word());
        return Ok(());
    }
    let limit = request.limit.clamp(1, HISTORY_PAGE_ITEMS_MAX);
    // A position that we never gave stands at the end.
    let position = |text: &str| text.parse().map_or(StoredMessageId(i64::MIN), StoredMessageId);
    let before = request.before.as_ref().map(|before| position(before.as_str()));
    let files_since = turn.now().plus_ms(-HISTORY_FILE_AGE_MS_MAX);
    let messages = match kept(turn, group) {
        Some(kept) => {
            let kept_from = turn.store.oldest_kept(group.id, &kept, turn.context.now())?;
            let after = request.after.as_ref().and_then(|after| after.as_str().parse::<i64>().ok());
            let oldest =
                after.map_or(kept_from, |after| kept_from.max(StoredMessageId(after.saturating_add(1))));
            turn.store.history_page(group.id, before, oldest, limit, files_since)?
        }
        None => Vec::new(),
    };
    let oldest = messages.last().filter(|_| messages.len() >= limit as usize);
    let next = oldest.map(|oldest| HistoryPosition::new(oldest.id.0.to_string())).transpose()?;
    let mut items = Vec::new();
    for message in messages {
        if let Some(item) = item(turn, member, &message)? {
            items.push(item);
        }
    }
    tracing::debug!(group = group.id.0, items = items.len(), "a page of history is given");
    for body in bodies(request.before.as_ref(), items, next.as_ref()) {
        if turn.send(connection, Body::Inline(&body))?.is_none() {
            break;
        }
    }
    turn.reached(Step::HistoryGiven);
    if request.ask_owner { fill::wanted(turn, group.id) } else { Ok(()) }
}

/// How much of a group's history is kept and given: what its owner wants, as far as the operator lets. Nothing when the
/// group has none.
pub fn kept<S: RelayStore>(turn: &Turn<'_, '_, S>, group: &ServedGroup) -> Option<HistoryKept> {
    let preferences = group.identity.as_ref()?.profile.preferences();
    let kept = preferences.history_kept();
    let items = kept.items.min(turn.limits.history_items_max);
    (preferences.gives_history() && items > 0).then_some(HistoryKept { items, ..kept })
}

/// A message as it is passed on, with its author's profile when the member has not met the author. Nothing of what was
/// for relays alone.
fn item<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    member: &Member,
    message: &StoredMessage,
) -> Result<Option<Item>, Fatal> {
    let said = Statement::parse(&message.message.element)?.message()?;
    let Some(author) = turn.store.member(message.message.author)? else { return Ok(None) };
    if !said.event.is_forwarded() {
        return Ok(None);
    }
    let is_stranger =
        author.role < MemberRole::Owner && !message.message.as_channel && author.number != member.number;
    Ok(Some(Item {
        position: HistoryPosition::new(message.id.0.to_string())?,
        author: author.id.clone(),
        introduction: is_stranger.then(|| turn.compose(member_new(&author))),
        forward: forwarded(&author, message)?,
    }))
}
