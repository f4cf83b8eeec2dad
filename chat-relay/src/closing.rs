//! The end of a group at this relay (channels.md §19): members are told, then everything of it is deleted.
//!
//! ```text
//! x.grp.mem.del names us ─┐                                            ┌▶ our own x.grp.leave, signed ─┐
//! x.grp.del ──────────────┼▶ the owner's notice, verbatim, the last ─┐ │                               │
//! not listed, nobody told us ────────────────────────────────────────┼─┘                               │
//!                                 connections deleted after what waits was sent ◀─ all have it ◀───────┘
//!                                 relay link deleted, rows deleted
//! ```

use protocol::agent::address_draft::AddressDraft;
use protocol::group::event::members::Leave;
use protocol::group::event::{Event, Message};
use protocol::group::served_group::ServedEvent;
use protocol::group::signed::sign;
use protocol::net::engine::Fatal;

use crate::lifecycle;
use crate::steps::Step;
use crate::store::RelayStore;
use crate::store::records::{Content, GroupId, NewDelivery, Purpose, ServedGroup};
use crate::turn::{Turn, stored};

/// Tells members and owners in our own name that we leave. What waited to be handed out goes first.
///
/// # Errors
/// When the store fails; so for every function here.
pub fn tell_of_own_leave<S: RelayStore>(turn: &mut Turn<'_, '_, S>, group: ServedGroup) -> Result<(), Fatal> {
    let own = turn.store.member_by_id(group.id, &group.key.relay)?;
    let (Some(identity), Some(draft), Some(own)) = (&group.identity, &group.draft, own) else {
        return lifecycle::advance(turn, group.id, ServedEvent::NoticeDelivered);
    };
    let draft: AddressDraft = stored(draft)?;
    let json = Message::new(Some(turn.message_id()), Event::Leave(Leave {})).to_json();
    let delivery = NewDelivery {
        group: group.id,
        author: own.number,
        support_of: None,
        introduces: false,
        content: Content::Body(sign(draft.root_key(), &identity.public_group_id, &group.key.relay, &json)),
        ends_group: true,
    };
    turn.store.add_delivery(&delivery)?;
    turn.reached(Step::LeaveTold);
    turn.deliver_after_commit(group.id);
    Ok(())
}

/// Deletes the link at which members joined.
///
/// # Errors
/// When the store fails.
pub fn delete_relay_link<S: RelayStore>(turn: &mut Turn<'_, '_, S>, group: GroupId) -> Result<(), Fatal> {
    for (connection, purpose) in turn.store.connections_of_group(group)? {
        if matches!(purpose, Purpose::RelayLink(_)) {
            turn.close(connection, false)?;
        }
    }
    Ok(())
}

/// Deletes everything of a group. Connections go when what waits on them was sent.
///
/// # Errors
/// When the store fails.
pub fn close<S: RelayStore>(turn: &mut Turn<'_, '_, S>, group: GroupId) -> Result<(), Fatal> {
    for (connection, purpose) in turn.store.connections_of_group(group)? {
        turn.close(connection, !matches!(purpose, Purpose::RelayLink(_)))?;
    }
    turn.store.delete_group(group)?;
    turn.reached(Step::GroupClosed);
    tracing::info!(group = group.0, "a group is closed");
    Ok(())
}
