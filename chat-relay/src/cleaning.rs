//! What is deleted when its time is over.

use protocol::group::bulk::serving::ServedBulkEvent;
use protocol::group::knocking::KnockEvent;
use protocol::group::roster::Roster;
use protocol::net::engine::Fatal;
use protocol::timestamp::Timestamp;

use crate::bulk;
use crate::history::give::kept;
use crate::knocking;
use crate::metrics::Count;
use crate::steps::Step;
use crate::store::RelayStore;
use crate::store::records::{Bounds, LinkState, Member, MemberStatus, Purpose, StoredMessageId};
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
        turn.reached(Step::ConnectionExpired);
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
    // A higher role was given by an owner; for a lower one, what was decided about the key is kept elsewhere.
    if member.role > turn.joiner_role(&group) {
        return Ok(());
    }
    if let Some(live) = turn.store.roster(member.group)?
        && Roster::parse(&live.blob)?.entry(&member.id).is_some()
    {
        return Ok(());
    }
    Ok(turn.store.forget_stranger(member.number)?)
}

/// Content that somebody could not be reached for waits no longer when there is too much of it, or it is too old: who
/// misses it is told so, and asks history for it. Whatever else was said waits for everybody. Says whether more is to be done.
fn pass_over<S: RelayStore>(turn: &mut Turn<'_, '_, S>, before: Timestamp) -> Result<bool, Fatal> {
    let backlog_max = turn.limits.member_backlog_max;
    let mut has_more = false;
    for id in turn.store.groups_with_deliveries()? {
        // What is left of a stream may wait for nobody: whoever had not got it yet is gone.
        turn.deliver(id);
        let Some(group) = turn.store.group(id)? else { continue };
        let oldest_kept = match kept(turn, &group) {
            Some(kept) => turn.store.oldest_kept(id, &kept, turn.context.now())?,
            None => StoredMessageId(i64::MAX),
        };
        let bounds = Bounds { before, backlog_max, oldest_kept, limit: MEMBERS_PER_TURN };
        let passed = turn.store.pass_over(id, &bounds)?;
        has_more = has_more || passed.has_more;
        if passed.members > 0 {
            turn.reached(Step::MembersPassedOver);
            tracing::warn!(
                group = id.0,
                members = passed.members,
                "members are passed over: they are told to ask for history"
            );
            let members = u64::try_from(passed.members).unwrap_or(u64::MAX);
            turn.operation.metrics.add(Count::PassedOver, members);
        }
    }
    Ok(has_more)
}

/// Forgets messages, members and requests that nobody needs any more. Says whether more is to be done.
///
/// # Errors
/// When the store fails.
pub(crate) fn forget_old<S: RelayStore>(turn: &mut Turn<'_, '_, S>) -> Result<bool, Fatal> {
    let now = turn.now();
    let before = now.plus_ms(turn.limits.message_retention.ms().saturating_neg());
    let has_more = pass_over(turn, before)?;
    turn.store.forget_unsent()?;
    turn.store.forget_messages(before, now, turn.limits.history_items_max)?;
    turn.store.forget_left(before, MEMBERS_PER_TURN)?;
    turn.store.forget_requests(now.plus_ms(-REQUEST_MEMORY_MS))?;
    turn.reached(Step::OldForgotten);
    Ok(has_more)
}
