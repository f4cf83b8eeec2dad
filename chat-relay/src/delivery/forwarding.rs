//! A message becomes part of its group's stream.

use protocol::encoding::DecodeError;
use protocol::group::batch::{Added, BatchRoom};
use protocol::group::forward::{ForwardSender, forward, forward_head};
use protocol::group::identity::{MemberId, MemberRole};
use protocol::group::profile::Profile;
use protocol::group::signed::Statement;
use protocol::net::engine::Fatal;
use protocol::timestamp::Timestamp;

use crate::store::RelayStore;
use crate::store::records::{Content, GroupId, Member, NewDelivery, StoredMessage};
use crate::turn::Turn;

/// Passes a stored message on to the members of its group.
///
/// # Errors
/// When the store fails.
pub fn pass_on<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: GroupId,
    author: &Member,
    message: &StoredMessage,
    ends_group: bool,
) -> Result<(), Fatal> {
    let said = &message.message;
    let head = head_of(&author.id, author.profile.as_ref(), said.as_channel, said.broker_time);
    let bytes = head.len().saturating_add(said.element.len());
    let content = if BatchRoom::new().add(bytes) == Added::Added {
        Content::Message(message.id, head)
    } else {
        tracing::warn!(group = group.0, "a message is too large to be forwarded");
        if !ends_group {
            return Ok(());
        }
        // The group ends although it cannot be announced.
        Content::Body(Vec::new())
    };
    let delivery = NewDelivery {
        group,
        author: author.number,
        support_of: said.support_of.clone(),
        introduces: author.role != MemberRole::Relay && author.role < MemberRole::Owner,
        content,
        ends_group,
    };
    turn.store.add_delivery(&delivery)?;
    turn.operation.fan_outs.entry(group).or_insert(said.broker_time);
    turn.deliver_after_commit(group);
    Ok(())
}

/// What an author has said ahead takes its turn now: nothing else will say where it stands.
///
/// # Errors
/// When the store fails.
pub fn take_turns<S: RelayStore>(turn: &mut Turn<'_, '_, S>, author: &Member) -> Result<(), Fatal> {
    for stored in turn.store.ahead_of(author.number)? {
        turn.store.take_turn(stored.id)?;
        pass_on(turn, author.group, author, &stored, false)?;
    }
    Ok(())
}

/// A stored message as a forward element: its author's bytes, with the author and the time that we vouch for.
///
/// # Errors
/// When the stored element does not read: the database is damaged.
pub fn forwarded(author: &Member, message: &StoredMessage) -> Result<Vec<u8>, DecodeError> {
    let said = &message.message;
    let statement = Statement::parse(&said.element)?;
    Ok(forward(&sender(&author.id, author.profile.as_ref(), said.as_channel), said.broker_time, &statement))
}

/// What stands ahead of the author's bytes then.
#[must_use]
pub fn head_of(
    id: &MemberId,
    profile: Option<&Profile>,
    as_channel: bool,
    broker_time: Timestamp,
) -> Vec<u8> {
    forward_head(&sender(id, profile, as_channel), broker_time)
}

fn sender(id: &MemberId, profile: Option<&Profile>, as_channel: bool) -> ForwardSender {
    if as_channel {
        return ForwardSender::Channel;
    }
    let name = profile.map(|profile| profile.display_name.clone());
    ForwardSender::Member { id: id.clone(), name: name.unwrap_or_else(|| id.stand_in_name()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_and_the_bytes_of_the_author_are_the_forward() {
        let said = br#"{"event" : "x.ok"}"#;
        let id = MemberId::new([1; 12]).unwrap();
        let (profile, time) = (Profile::named("Olga"), Timestamp::from_seconds(5));
        for as_channel in [false, true] {
            let head = head_of(&id, Some(&profile), as_channel, time);
            let whole =
                forward(&sender(&id, Some(&profile), as_channel), time, &Statement::parse(said).unwrap());
            assert_eq!([&head[..], said].concat(), whole);
        }
    }
}
