//! What follows an answer, or none (agent.md §6.1).
//!
//! | outcome | message | handshake | link data | deletion |
//! |---|---|---|---|---|
//! | done | `Sent` | next step | `LinkDataSet` | gone |
//! | refused | `SendFailed` | `Failed` | `Failed` | gone |
//! | queue full | again, slowly, for 7 days | again, slowly; a confirmation fails | – | – |
//! | queue blocked | again, ever more slowly, for 7 days | `Failed` | again, ever more slowly | gone |
//! | no answer | again, fast, for 2 days | again, fast, for 2 days | again, fast | again, fast, for 2 days |

use crate::crash_point;
use crate::encoding::Encode as _;
use crate::smp::error::ErrorType;
use crate::smp::response::{BrokerMessage, QueueIds};

use super::connection::{Phase, Step};
use super::error::AgentError;
use super::event::{Event, Failure, SendFailure};
use super::job::{Job, OutgoingMessage, Purpose, Task};
use super::record::{Connection, Opening};
use super::request::{Next, RequestOutcome};
use super::retry::Pace;
use super::store::{AgentStore, ConnectionId, JobId};
use super::{Agent, Outcome};

const DAY_MS: i64 = 86_400_000;
/// How long a server may be out of reach before what waits for it is given up.
const UNREACHABLE_MS_MAX: i64 = 2 * DAY_MS;
/// How long a peer's queue may stay full, or blocked by its operator, before what waits for it is given up.
const CLOSED_MS_MAX: i64 = 7 * DAY_MS;

impl<S: AgentStore> Agent<'_, S> {
    pub(super) fn finish_job(
        &mut self,
        id: ConnectionId,
        job_id: JobId,
        outcome: RequestOutcome,
    ) -> Outcome<Next, S> {
        let Some(mut connection) = self.load_if_there(id)? else { return Ok(Next::Done) };
        let Some((first, mut job)) = self.first_job(id)? else { return Ok(Next::Done) };
        if first != job_id {
            return Ok(Next::Done);
        }
        let was_done = matches!(outcome, RequestOutcome::Answer(BrokerMessage::Ok | BrokerMessage::Ids(_)));
        if !was_done && !connection.wants(&job.task) {
            // Meanwhile the peer has shown that it was done before, or nobody wants it any more.
            self.drop_job(job_id)?;
            return Ok(Next::Done);
        }
        let answer = match outcome {
            RequestOutcome::Answer(BrokerMessage::Err(ErrorType::Internal | ErrorType::Store(_)))
            | RequestOutcome::Temporary
            | RequestOutcome::HostUnusable => return self.no_answer(id, connection, job_id, job),
            RequestOutcome::Answer(BrokerMessage::Err(ErrorType::Quota)) if job.task.waits_for_room() => {
                return self.queue_closed(id, connection, job_id, job, Closed::Full);
            }
            // A new queue that does not take messages is done without.
            RequestOutcome::Answer(BrokerMessage::Err(ErrorType::Blocked(_)))
                if job.task.waits_for_unblocking() && !connection.has_secured_replacement() =>
            {
                return self.queue_closed(id, connection, job_id, job, Closed::Blocked);
            }
            RequestOutcome::Answer(answer) => answer,
        };
        if job.task == Task::DeleteQueue {
            crash_point!("agent.queue.deleted");
            self.remove(id)?;
            return Ok(Next::Done);
        }
        match answer {
            BrokerMessage::Err(error) => {
                if matches!(job.task, Task::Message(_) | Task::RatchetKey { .. })
                    && connection.replacement.take_if(|queue| queue.is_secured).is_some()
                {
                    // The new queue does not take messages: stay with the old one.
                    job.retry.wake();
                    self.store.update_job(job_id, &job.to_bytes()).map_err(AgentError::Store)?;
                    self.save(id, &connection)?;
                    return Ok(Next::Done);
                }
                self.refused(id, &mut connection, &job, &error)?;
            }
            BrokerMessage::Ids(ids) => self.created(id, &mut connection, &job, &ids)?,
            BrokerMessage::Ok => {
                let is_unchanged = job.is_application_message() && !connection.is_quota_exceeded;
                self.done(id, &mut connection, &job)?;
                if is_unchanged {
                    self.drop_job(job_id)?;
                    return Ok(Next::Done);
                }
            }
            _ => self.refused(id, &mut connection, &job, &ErrorType::Internal)?,
        }
        self.drop_job(job_id)?;
        self.save(id, &connection)?;
        Ok(Next::Done)
    }

    fn created(
        &mut self,
        id: ConnectionId,
        connection: &mut Connection,
        job: &Job,
        ids: &QueueIds,
    ) -> Outcome<(), S> {
        let is_as_asked = match (&job.task, &connection.address) {
            (Task::CreateQueue { .. }, None) => true,
            (Task::CreateQueue { .. }, Some(address)) => {
                ids.sender_id == address.sender_id() && ids.link_id == Some(address.link_id())
            }
            _ => false,
        };
        if !is_as_asked {
            return self.step(id, connection, Step::Broken(Failure::BadAnswer), Vec::new());
        }
        crash_point!("agent.queue.created");
        connection.receive.set_created(ids);
        if connection.phase == Phase::Deleting {
            return Ok(());
        }
        self.store
            .add_queue(id, &connection.receive.server.server, &ids.recipient_id)
            .map_err(AgentError::Store)?;
        self.step(id, connection, Step::QueueCreated, Vec::new())
    }

    fn done(&mut self, id: ConnectionId, connection: &mut Connection, job: &Job) -> Outcome<(), S> {
        match &job.task {
            Task::CreateQueue { .. } => {
                self.step(id, connection, Step::Broken(Failure::BadAnswer), Vec::new())
            }
            Task::SetLinkData { .. } => {
                crash_point!("agent.link.written");
                self.tell(id, Event::LinkDataSet);
                Ok(())
            }
            Task::Invite => {
                crash_point!("agent.request.sent");
                connection.opening = Opening::Nothing;
                self.step(id, connection, Step::InvitationSent, Vec::new())
            }
            Task::Confirm { .. } => {
                crash_point!("agent.confirmation.sent");
                self.step(id, connection, Step::ConfirmationSent, Vec::new())
            }
            Task::Message(message) => {
                crash_point!("agent.message.sent");
                self.message_sent(id, connection, message)
            }
            Task::SecurePeerQueue => {
                crash_point!("agent.peer.secured");
                Ok(())
            }
            Task::SecureOwnQueue { .. } | Task::RatchetKey { .. } | Task::DeleteQueue => Ok(()),
        }
    }

    fn message_sent(
        &mut self,
        id: ConnectionId,
        connection: &mut Connection,
        message: &OutgoingMessage,
    ) -> Outcome<(), S> {
        self.quota_resumed(id, connection);
        match message.purpose {
            Purpose::Application { .. } => self.tell(id, Event::Sent { number: message.number }),
            Purpose::Hello => return self.step(id, connection, Step::HelloSent, Vec::new()),
            Purpose::QueueTest => self.rotation_finished(id, connection),
            Purpose::Receipt | Purpose::QuotaContinue | Purpose::QueueKey | Purpose::Ready => {}
        }
        Ok(())
    }

    fn refused(
        &mut self,
        id: ConnectionId,
        connection: &mut Connection,
        job: &Job,
        error: &ErrorType,
    ) -> Outcome<(), S> {
        let failure = match &job.task {
            // The server refuses ids that exist: then an earlier attempt has created the address after all.
            Task::CreateQueue { user_data: Some(_) } if job.attempts > 1 && *error == ErrorType::Auth => {
                Failure::AnswerLost
            }
            Task::CreateQueue { .. } => Failure::QueueRefused,
            Task::SetLinkData { .. } => {
                self.tell(id, Event::Failed { reason: Failure::LinkDataRefused });
                return Ok(());
            }
            Task::RatchetKey { .. } => {
                self.tell(id, Event::Failed { reason: Failure::NotAvailable });
                return Ok(());
            }
            Task::Message(OutgoingMessage { purpose: Purpose::Application { .. }, number, .. }) => {
                let reason = match error {
                    ErrorType::Auth => SendFailure::NoQueue,
                    _ => SendFailure::Refused,
                };
                self.tell(id, Event::SendFailed { number: *number, reason });
                return Ok(());
            }
            Task::Message(OutgoingMessage { purpose: Purpose::Hello, .. })
            | Task::SecurePeerQueue
            | Task::SecureOwnQueue { .. }
            | Task::Invite
            | Task::Confirm { .. } => Failure::NotAvailable,
            Task::Message(_) | Task::DeleteQueue => return Ok(()),
        };
        self.step(id, connection, Step::Broken(failure), Vec::new())
    }

    fn queue_closed(
        &mut self,
        id: ConnectionId,
        mut connection: Connection,
        job_id: JobId,
        job: Job,
        closed: Closed,
    ) -> Outcome<Next, S> {
        let (pace, reason) = match closed {
            Closed::Full => (Pace::Slow, SendFailure::QuotaExpired),
            Closed::Blocked => (Pace::Growing, SendFailure::BlockedForLong),
        };
        let is_old = job.created.plus_ms(CLOSED_MS_MAX) <= self.now;
        if is_old && !matches!(job.task, Task::SetLinkData { .. }) {
            return self.give_up(id, connection, job_id, job, reason, CLOSED_MS_MAX);
        }
        if matches!(job.task, Task::Message(_)) && !connection.is_quota_exceeded {
            connection.is_quota_exceeded = true;
            self.save(id, &connection)?;
            self.tell(id, Event::QuotaExceeded);
        }
        self.put_off(job_id, job, pace)
    }

    fn no_answer(
        &mut self,
        id: ConnectionId,
        connection: Connection,
        job_id: JobId,
        job: Job,
    ) -> Outcome<Next, S> {
        let is_old = job.created.plus_ms(UNREACHABLE_MS_MAX) <= self.now;
        if is_old && !matches!(job.task, Task::SetLinkData { .. }) {
            return self.give_up(id, connection, job_id, job, SendFailure::Expired, UNREACHABLE_MS_MAX);
        }
        self.put_off(job_id, job, Pace::Fast)
    }

    fn put_off(&mut self, job_id: JobId, mut job: Job, pace: Pace) -> Outcome<Next, S> {
        let drawn = rand_core::Rng::next_u64(self.rng);
        let at = job.retry.put_off(pace, self.now, drawn);
        self.store.update_job(job_id, &job.to_bytes()).map_err(AgentError::Store)?;
        Ok(Next::RetryAt(at))
    }

    /// Gives up a job that is too old, and all that are as old behind it.
    fn give_up(
        &mut self,
        id: ConnectionId,
        mut connection: Connection,
        job_id: JobId,
        job: Job,
        reason: SendFailure,
        age_ms_max: i64,
    ) -> Outcome<Next, S> {
        let (mut job_id, mut job) = (job_id, job);
        loop {
            match &job.task {
                Task::DeleteQueue => {
                    self.remove(id)?;
                    return Ok(Next::Done);
                }
                Task::Message(OutgoingMessage { purpose: Purpose::Application { .. }, number, .. }) => {
                    self.tell(id, Event::SendFailed { number: *number, reason });
                }
                Task::Message(OutgoingMessage { purpose: Purpose::Hello, .. })
                | Task::CreateQueue { .. }
                | Task::SecurePeerQueue
                | Task::SecureOwnQueue { .. }
                | Task::Invite
                | Task::Confirm { .. } => {
                    self.step(id, &mut connection, Step::Broken(Failure::Expired), Vec::new())?;
                }
                Task::Message(_) | Task::RatchetKey { .. } | Task::SetLinkData { .. } => {}
            }
            self.drop_job(job_id)?;
            match self.first_job(id)? {
                Some((next_id, next))
                    if next.created.plus_ms(age_ms_max) <= self.now && next.task.is_sent_to_peer() =>
                {
                    (job_id, job) = (next_id, next);
                }
                _ => break,
            }
        }
        self.save(id, &connection)?;
        Ok(Next::Done)
    }
}

/// Why a queue takes nothing now.
#[derive(Debug, Clone, Copy)]
enum Closed {
    /// It is full: its owner says when it is not.
    Full,
    /// Its operator has blocked it: nobody says when that is over.
    Blocked,
}

impl Task {
    /// Whether it is worth waiting until the operator of the server unblocks a queue: one that took messages before, or our
    /// own.
    fn waits_for_unblocking(&self) -> bool {
        matches!(
            self,
            Self::Message(_)
                | Self::RatchetKey { .. }
                | Self::SetLinkData { .. }
                | Self::SecureOwnQueue { .. }
        )
    }

    /// Whether a full queue is worth waiting for. A confirmation is the first message of its queue: that it is
    /// full says that the queue is not what it should be.
    fn waits_for_room(&self) -> bool {
        matches!(self, Self::Message(_) | Self::RatchetKey { .. } | Self::Invite)
    }

    fn is_sent_to_peer(&self) -> bool {
        matches!(self, Self::Message(_) | Self::RatchetKey { .. } | Self::Invite | Self::Confirm { .. })
    }
}
