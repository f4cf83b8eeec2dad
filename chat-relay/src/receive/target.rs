//! Which stored message is meant by an id (channels.md §17).
//!
//! Whoever hears a message by another relay first could send something of their own under its id before it comes here. So
//! an id counts per author: a second author's message is stored under an id that names the author too, and is passed on
//! with its own bytes all the same.

use protocol::crypto::hash::sha256;
use protocol::group::event::Event;
use protocol::group::identity::MemberId;
use protocol::group::msg_id::SharedMessageId;
use protocol::net::engine::Fatal;

use crate::store::RelayStore;
use crate::store::records::{GroupId, MemberNumber, NewMessage, StoredMessage};
use crate::turn::Turn;

/// Stores a message, unless its author has sent it before.
///
/// # Errors
/// When the store fails; so for every function here.
pub(super) fn store_once<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: GroupId,
    mut new: NewMessage,
) -> Result<Option<StoredMessage>, Fatal> {
    let now = turn.now();
    if let Some(id) = turn.store.store_message(group, &new, now)? {
        return Ok(Some(StoredMessage { id, message: new }));
    }
    let known = turn.store.message_by_id(group, &new.message_id)?;
    if let Some(known) = &known
        && known.id.0 < 0
        && known.message.author == new.author
    {
        // The owner has given it as history, and now it comes by itself: it is still to be passed on.
        turn.store.forget_filled(known.id)?;
        let stored = turn.store.store_message(group, &new, now)?;
        return Ok(stored.map(|id| StoredMessage { id, message: new }));
    }
    let known = known.map(|known| known.message);
    if known.as_ref().is_some_and(|known| known.author == new.author) {
        if known.is_some_and(|known| known.element != new.element) {
            tracing::warn!(group = group.0, "a message repeats the id of another one: it is dropped");
        }
        return Ok(None);
    }
    tracing::warn!(group = group.0, "two members used one message id");
    new.message_id = of_author(turn, new.author, &new.message_id)?;
    let stored = turn.store.store_message(group, &new, now)?;
    Ok(stored.map(|id| StoredMessage { id, message: new }))
}

/// What an author has said under an id, if it is stored.
///
/// # Errors
/// When the store fails.
pub(super) fn known_of<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: GroupId,
    author: MemberNumber,
    id: &SharedMessageId,
) -> Result<Option<StoredMessage>, Fatal> {
    let known = turn.store.message_by_id(group, id)?;
    if known.as_ref().is_none_or(|known| known.message.author == author) {
        return Ok(known);
    }
    let other = of_author(turn, author, id)?;
    Ok(turn.store.message_by_id(group, &other)?)
}

/// The stored id of the message that an event is about: by the author of the change, or by the one that it names.
pub(crate) fn of_change<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: GroupId,
    changer: MemberNumber,
    event: &Event,
) -> Result<Option<SharedMessageId>, Fatal> {
    let Some((id, named)) = named(event) else { return Ok(None) };
    let author = match named {
        Some(author) => turn.store.member_by_id(group, author)?.map(|author| author.number),
        None => Some(changer),
    };
    let known = turn.store.message_by_id(group, id)?;
    if let (Some(known), Some(author)) = (known, author)
        && known.message.author != author
    {
        let other = of_author(turn, author, id)?;
        if turn.store.message_by_id(group, &other)?.is_some() {
            return Ok(Some(other));
        }
    }
    Ok(Some(id.clone()))
}

/// The message that an event is about, and its author where the event says.
fn named(event: &Event) -> Option<(&SharedMessageId, Option<&MemberId>)> {
    match event {
        Event::MessageUpdate(update) => Some((&update.msg_id, None)),
        Event::MessageDelete(delete) => Some((&delete.msg_id, delete.member_id.as_ref())),
        Event::MessageReact(react) => Some((&react.msg_id, react.member_id.as_ref())),
        Event::FileDescription(description) => Some((&description.msg_id, None)),
        Event::FileCancel(cancel) => Some((&cancel.msg_id, None)),
        _ => None,
    }
}

/// The stored id of an author's message under an id that somebody else has used.
fn of_author<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    author: MemberNumber,
    id: &SharedMessageId,
) -> Result<SharedMessageId, Fatal> {
    let author = turn.store.member(author)?.ok_or("a stored message has an author")?;
    let named = [author.id.as_bytes(), id.as_bytes()].concat();
    Ok(SharedMessageId::new(sha256(&named))?)
}
