//! What is deleted when its time is over.

use protocol::group::bulk::serving::ServedBulkEvent;
use protocol::group::knocking::KnockEvent;
use protocol::group::roster::Roster;
use protocol::net::engine::Fatal;
use protocol::timestamp::Timestamp;

use crate::bulk;
use crate::knocking;
use crate::metrics::Count;
use crate::steps::Step;
use crate::store::RelayStore;
use crate::store::records::{LinkState, Member, MemberStatus, Purpose};
use crate::turn::Turn;

/// Connections that one turn closes at most.
const CONNECTIONS_PER_TURN: usize = 256;
/// Members who left that are forgotten, or of a group that are passed over, in one turn at most.
const MEMBERS_PER_TURN: usize = 1000;
/// How long a request is remembered, so that a second copy of it is recognised; servers keep messages for 21 days.
const REQUEST_MEMORY_MS: i64 = 22 * 86_400_000;

/// Closes connections whose time is over: answers nobody fetched, and joiners who never finished connecting.
///
/// # Errors
/// When the store fails; so for every function here.
pub(crate) fn close_expired<S: RelayStore>(turn: &mut Turn<'_, '_, S>) -> Result<(), Fatal> {
    let now = turn.now();
    for (connection, purpose) in turn.store.expired_connections(now, CONNECTIONS_PER_TURN)? {
        if let Purpose::Bulk(_, number) = purpose {
            bulk::happened(turn, connection, number, ServedBulkEvent::Gone)?;
        }
        let member = match purpose {
            Purpose::Member(_, number) => turn.store.member(number)?,
            _ => None,
        };
        if let Some(member) = &member
            && member.connection == Some(connection)
            && member.status.knock().is_some()
            && let Some(group) = turn.store.group(member.group)?
        {
            knocking::advance(turn, &group, member.clone(), KnockEvent::Expired, None)?;
            continue;
        }
        turn.close(connection, false)?;
        let Some(mut member) = member else { continue };
        if member.connection == Some(connection) && member.status == MemberStatus::Accepted {
            member.connection = None;
            member.status = MemberStatus::Known;
            member.link = LinkState::Open;
            turn.store.update_member(&member)?;
            forget_stranger(turn, &member)?;
        }
    }
    if let Some(next) = turn.store.next_expiry()? {
        turn.wake_at(next);
    }
    Ok(())
}

/// Whoever asked to be let in and never came leaves nothing behind: anybody can ask, as often as they like.
///
/// # Errors
/// When the store fails.
pub(crate) fn forget_stranger<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    member: &Member,
) -> Result<(), Fatal> {
    let Some(group) = turn.store.group(member.group)? else { return Ok(()) };
    // Another role than a joiner's was given by an owner.
    if member.role != turn.joiner_role(&group) {
        return Ok(());
    }
    if let Some(live) = turn.store.roster(member.group)?
        && Roster::parse(&live.blob)?.entry(&member.id).is_some()
    {
        return Ok(());
    }
    Ok(turn.store.forget_stranger(member.number)?)
}

/// Whoever could not be reached for so long that too many messages wait, or too old ones, goes on after them, with the
/// roster and recent history first: nothing is kept for ever for those who may never come back.
fn pass_over<S: RelayStore>(turn: &mut Turn<'_, '_, S>, before: Timestamp) -> Result<(), Fatal> {
    let backlog_max = turn.limits.member_backlog_max;
    for group in turn.store.groups_with_deliveries()? {
        let members = turn.store.pass_over(group, before, backlog_max, MEMBERS_PER_TURN)?;
        if members > 0 {
            turn.reached(Step::MembersPassedOver);
            tracing::warn!(
                group = group.0,
                members,
                "members are passed over: they are given history instead"
            );
            turn.operation.metrics.add(Count::PassedOver, u64::try_from(members).unwrap_or(u64::MAX));
            turn.deliver(group);
        }
    }
    Ok(())
}

/// Forgets messages, members and requests that nobody needs any more.
///
/// # Errors
/// When the store fails.
pub(crate) fn forget_old<S: RelayStore>(turn: &mut Turn<'_, '_, S>) -> Result<(), Fatal> {
    let now = turn.now();
    let before = now.plus_ms(turn.limits.message_retention.ms().saturating_neg());
    pass_over(turn, before)?;
    turn.store.forget_messages(before, now, turn.limits.history_items_max)?;
    turn.store.forget_left(before, MEMBERS_PER_TURN)?;
    turn.store.forget_requests(now.plus_ms(-REQUEST_MEMORY_MS))?;
    turn.reached(Step::OldForgotten);
    Ok(())
}
