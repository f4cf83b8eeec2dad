//! Carries deliveries forward, one step per group and turn, so that a large group does not hold up what comes in.

use protocol::agent::Body;
use protocol::agent::store::BodyId;
use protocol::group::constants::BATCH_ELEMENTS_MAX;
use protocol::group::identity::MemberRole;
use protocol::group::served_group::ServedEvent;
use protocol::net::engine::Fatal;

use super::job::{Handout, introduced, is_sendable, step};
use super::task::pack;
use crate::admission::{self, member_new};
use crate::lifecycle;
use crate::metrics::Count;
use crate::steps::Step;
use crate::store::RelayStore;
use crate::store::records::{DeliveryJob, Ending, GroupId, Member, Recipient};
use crate::turn::Turn;

/// Groups that one turn carries forward at most.
const GROUPS_PER_TURN: usize = 64;

/// One step for each group that has something to deliver, those after `after` first; gives the last one served. Asks to
/// be woken when more is left.
///
/// # Errors
/// When the store fails; so for every function here.
pub fn carry_on<S: RelayStore>(turn: &mut Turn<'_, '_, S>, after: GroupId) -> Result<GroupId, Fatal> {
    if turn.operation.rules.paused {
        return Ok(after);
    }
    let groups = turn.store.groups_with_deliveries(after, GROUPS_PER_TURN)?;
    let last = groups.last().copied().unwrap_or(after);
    for group in groups {
        match turn.store.job(group)? {
            Some(job) => serve_page(turn, job)?,
            None => start_job(turn, group)?,
        }
    }
    if !turn.store.groups_with_deliveries(last, 1)?.is_empty() {
        let now = turn.now();
        turn.wake_at(now);
    }
    Ok(last)
}

fn start_job<S: RelayStore>(turn: &mut Turn<'_, '_, S>, group: GroupId) -> Result<(), Fatal> {
    let tasks = turn.store.tasks(group, BATCH_ELEMENTS_MAX)?;
    let Some(first) = tasks.first() else { return Ok(()) };
    let author = turn.store.member(first.message.message.author)?.ok_or("a stored message has an author")?;
    let packed = pack(group, &author, &tasks)?;
    if packed.too_large > 0 {
        tracing::warn!(
            group = group.0,
            messages = packed.too_large,
            "messages are too large to be forwarded"
        );
    }
    match packed.job {
        Some(job) => {
            let id = turn.store.start_job(&packed.taken, &job)?;
            turn.operation.fan_outs.insert(id, first.message.message.broker_time);
            tracing::debug!(group = group.0, messages = packed.taken.len(), "a delivery job starts");
        }
        None => turn.store.drop_tasks(&packed.taken)?,
    }
    turn.reached(Step::JobStarted);
    Ok(())
}

fn serve_page<S: RelayStore>(turn: &mut Turn<'_, '_, S>, job: DeliveryJob) -> Result<(), Fatal> {
    let (page_members, backlog_max) = (turn.limits.page_members, turn.limits.member_backlog_max);
    let author = turn.store.member(job.author)?.ok_or("a delivery job has an author")?;
    let introduces = author.role != MemberRole::Relay && author.role < MemberRole::Owner;
    let page = turn.store.page(&job, page_members, backlog_max)?;
    let step = step(job.cursor, page, page_members, backlog_max, introduces);
    let mut bodies = Bodies::default();
    for (recipient, handout) in &step.handouts {
        hand_out(turn, &job, &author, &mut bodies, recipient, *handout)?;
    }
    if step.is_last {
        turn.store.finish_job(job.id)?;
        if let Some(came) = turn.operation.fan_outs.remove(&job.id) {
            let took_ms = turn.now().0.saturating_sub(came.0).max(0).unsigned_abs();
            turn.operation.metrics.fanned_out(std::time::Duration::from_millis(took_ms));
        }
        end(turn, &job)?;
    } else {
        turn.store.move_cursor(job.id, step.cursor)?;
    }
    turn.reached(Step::PageServed);
    tracing::debug!(
        group = job.group.0,
        members = step.handouts.len(),
        is_last = step.is_last,
        "a page is served"
    );
    Ok(())
}

/// The shared bodies of a page, stored when the first member needs them.
#[derive(Default)]
struct Bodies {
    plain: Option<BodyId>,
    introduced: Option<Vec<BodyId>>,
}

fn hand_out<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    job: &DeliveryJob,
    author: &Member,
    bodies: &mut Bodies,
    recipient: &Recipient,
    handout: Handout,
) -> Result<(), Fatal> {
    let sent = match handout {
        Handout::PassedOver => false,
        // A removal that no body could announce.
        _ if !is_sendable(&job.body) => true,
        Handout::CaughtUp { introduced } => {
            admission::catch_up(turn, job.group, recipient.number)?;
            let next = if introduced { Handout::Introduced } else { Handout::Body };
            return hand_out(turn, job, author, bodies, recipient, next);
        }
        Handout::Body => {
            let body = match bodies.plain {
                Some(body) => body,
                None => *bodies.plain.insert(turn.shared_body(&job.body)?),
            };
            turn.send(recipient.connection, Body::Shared(body))?
        }
        Handout::Introduced => {
            let ids = match bodies.introduced.take() {
                Some(ids) => ids,
                None => {
                    let profile = turn.compose(member_new(author));
                    let parts = introduced(&profile, &job.body);
                    parts.iter().map(|part| turn.shared_body(part)).collect::<Result<Vec<_>, _>>()?
                }
            };
            let mut sent = true;
            for id in &ids {
                sent &= turn.send(recipient.connection, Body::Shared(*id))?;
            }
            bodies.introduced = Some(ids);
            if sent {
                turn.store.introduce(author.number, recipient.number)?;
            }
            sent
        }
    };
    if sent {
        turn.operation.metrics.one(Count::Copies);
    } else {
        pass_over(turn, recipient)?;
    }
    Ok(())
}

/// A member that cannot take this message now is owed the roster and history.
fn pass_over<S: RelayStore>(turn: &mut Turn<'_, '_, S>, recipient: &Recipient) -> Result<(), Fatal> {
    let Some(mut member) = turn.store.member(recipient.number)? else { return Ok(()) };
    if !member.passed_over {
        member.passed_over = true;
        turn.store.update_member(&member)?;
        turn.operation.metrics.one(Count::PassedOver);
        tracing::info!("a member is passed over until it takes what waits for it");
    }
    Ok(())
}

/// What a job brings about once everybody has it.
fn end<S: RelayStore>(turn: &mut Turn<'_, '_, S>, job: &DeliveryJob) -> Result<(), Fatal> {
    match job.ending {
        Ending::Nothing => Ok(()),
        Ending::MemberGoes(number) => {
            let Some(mut member) = turn.store.member(number)? else { return Ok(()) };
            let connection = member.connection.take();
            turn.store.update_member(&member)?;
            connection.map_or(Ok(()), |connection| turn.close(connection, true))
        }
        Ending::GroupGoes => lifecycle::advance(turn, job.group, ServedEvent::NoticeDelivered),
    }
}
