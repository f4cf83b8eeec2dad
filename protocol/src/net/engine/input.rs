//! What an engine waits for.

use std::time::Duration;

use super::context::LinkTag;
use super::{Application, Engine, Errand, NetworkChange, Startup};
use crate::agent::request::OwnQueue;
use crate::agent::signed_link_data::OpenedLink;
use crate::agent::store::{ConnectionId, JobId};
use crate::net::clock;
use crate::net::error::CallError;
use crate::net::network::{NetworkEvent, ReadLinkError, SubscriptionEnd};
use crate::smp::address::ServerAddress;
use crate::smp::ids::{MessageId, RecipientId};
use crate::smp::response::BrokerMessage;

/// Most inputs of one batch.
const BATCH_MAX: usize = 256;
/// Most commands among them, so that a busy network does not keep people waiting, nor the other way round.
const BATCH_COMMANDS_MAX: usize = 16;
/// Moments are of the system clock, which may jump: it is looked at again at least this often.
const NAP_MAX: Duration = Duration::from_secs(60);

/// Something to handle.
pub(super) enum Input<C> {
    Message { server: ServerAddress, queue: RecipientId, message_id: MessageId, body: Vec<u8> },
    Answered { connection: ConnectionId, job: JobId, server: ServerAddress, result: Answer },
    Acknowledged { queue: Box<OwnQueue>, result: Answer },
    SubscriptionEnded { server: ServerAddress, queue: RecipientId, reason: SubscriptionEnd },
    Change(NetworkChange),
    Link(LinkResult),
    Command(C),
}

type Answer = Result<BrokerMessage<'static>, CallError>;

/// What came of reading a link.
pub(super) type LinkResult = (LinkTag, Result<OpenedLink, ReadLinkError>);

impl<A: Application> Engine<A> {
    /// Waits for something to do, and takes what there is. Nothing when the handle is gone.
    pub(super) fn gather(&mut self) -> Option<Vec<Input<A::Command>>> {
        if self.is_ending {
            return None;
        }
        let mut inputs = Vec::new();
        if !self.has_work() {
            self.wait(&mut inputs);
        }
        for _ in 0..BATCH_COMMANDS_MAX {
            match self.commands.try_recv() {
                Ok(command) => inputs.push(Input::Command(command)),
                Err(tokio::sync::mpsc::error::TryRecvError::Empty) => break,
                Err(tokio::sync::mpsc::error::TryRecvError::Disconnected) => {
                    self.is_ending = true;
                    break;
                }
            }
        }
        while let Ok(result) = self.links.try_recv() {
            inputs.push(Input::Link(result));
        }
        while inputs.len() < BATCH_MAX
            && let Some(event) = self.events.try_next()
        {
            inputs.extend(self.input_of(event));
        }
        Some(inputs)
    }

    /// Whether there is something to do without any input.
    fn has_work(&self) -> bool {
        !matches!(self.startup, Startup::Done)
            || self.jobs.has_next()
            || !self.wishes.touched.is_empty()
            || (self.has_more && self.jobs.room() > 0)
            || self.is_ending
    }

    fn wait(&mut self, inputs: &mut Vec<Input<A::Command>>) {
        let now = clock::now();
        let moments = [self.wake_at, self.jobs.next_moment(), Some(self.forget_at)];
        let next = moments.into_iter().flatten().min().unwrap_or(now);
        let nap = u64::try_from(next.0.saturating_sub(now.0)).unwrap_or(0);
        let nap = Duration::from_millis(nap).min(NAP_MAX);

        let (events, commands, links) = (&mut self.events, &mut self.commands, &mut self.links);
        let (mut event, mut closed) = (None, false);
        self.waiting.block_on(async {
            tokio::select! {
                next = events.next() => event = next,
                command = commands.recv() => match command {
                    Some(command) => inputs.push(Input::Command(command)),
                    None => closed = true,
                },
                link = links.recv() => inputs.extend(link.map(Input::Link)),
                () = tokio::time::sleep(nap) => {}
            }
        });
        self.is_ending |= closed;
        inputs.extend(event.and_then(|event| self.input_of(event)));
    }

    /// Nothing for the answer to a command that nobody remembers.
    pub(super) fn input_of(&mut self, event: NetworkEvent) -> Option<Input<A::Command>> {
        Some(match event {
            NetworkEvent::Message { server, queue, message_id, body } => {
                Input::Message { server, queue, message_id, body }
            }
            NetworkEvent::Answer { ticket, result } => match self.tickets.remove(&ticket)? {
                Errand::Job { connection, job, server } => {
                    Input::Answered { connection, job, server, result }
                }
                Errand::Acknowledge(queue) => Input::Acknowledged { queue, result },
            },
            NetworkEvent::SubscriptionEnded { server, queue, reason } => {
                Input::SubscriptionEnded { server, queue, reason }
            }
            NetworkEvent::Up(server) => Input::Change(NetworkChange::Up(server)),
            NetworkEvent::Down { server, reason } => Input::Change(NetworkChange::Down { server, reason }),
        })
    }
}
