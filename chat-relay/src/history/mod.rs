//! History on request, page by page: an extension of the protocol (docs/protocol.md §5).
//!
//! What a member is given at its joining is recent posts alone (channels.md §17). Here it asks for everything that the
//! relay keeps, from the newest to the oldest, each item with its author's bytes and signature. Stock clients never ask.

mod page;

use protocol::agent::Body;
use protocol::group::constants::{HISTORY_FILE_AGE_MS_MAX, HISTORY_PAGE_ITEMS_MAX};
use protocol::group::event::history::{HistoryGet, HistoryPosition};
use protocol::group::identity::MemberRole;
use protocol::group::signed::Statement;
use protocol::net::engine::Fatal;

use self::page::Item;
use crate::admission::member_new;
use crate::delivery::forwarding::forwarded;
use crate::steps::Step;
use crate::store::RelayStore;
use crate::store::records::{Member, ServedGroup, StoredMessage, StoredMessageId};
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
    let Some(connection) = member.connection else { return Ok(()) };
    let gives =
        group.identity.as_ref().is_some_and(|identity| identity.profile.preferences().gives_history());
    let limit = request.limit.clamp(1, HISTORY_PAGE_ITEMS_MAX);
    // A position that we never gave stands at the end.
    let position = |text: &str| text.parse().map_or(StoredMessageId(0), StoredMessageId);
    let before = request.before.as_ref().map(|before| position(before.as_str()));
    let files_since = turn.now().plus_ms(-HISTORY_FILE_AGE_MS_MAX);
    let messages =
        if gives { turn.store.history_page(group.id, before, limit, files_since)? } else { Vec::new() };
    let is_end = messages.len() < limit as usize;
    let mut items = Vec::new();
    for message in messages {
        if let Some(item) = item(turn, member, &message)? {
            items.push(item);
        }
    }
    tracing::debug!(group = group.id.0, items = items.len(), "a page of history is given");
    for body in page::bodies(request.before.as_ref(), items, is_end) {
        if turn.send(connection, Body::Inline(&body))?.is_none() {
            break;
        }
    }
    turn.reached(Step::HistoryGiven);
    Ok(())
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
        author: author.number,
        introduction: is_stranger.then(|| turn.compose(member_new(&author))),
        forward: forwarded(&author, message)?,
    }))
}
