//! The thread that drives a [`Core`]: waits for inputs, reads clock and randomness, and carries out what was decided.

use std::time::Duration;

use tokio::runtime::{Handle, Runtime};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::application::{Application, Fatal};
use super::core::{Core, Effects, Input, LinkResult, Submission};
use crate::net::clock;
use crate::net::network::{Network, NetworkEvent, NetworkEvents};

/// Most inputs of one batch.
const BATCH_MAX: usize = 256;
/// Most commands among them, so that a busy network does not keep people waiting, nor the other way round.
const BATCH_COMMANDS_MAX: usize = 16;
/// Moments are of the system clock, which may jump: it is looked at again at least this often.
const NAP_MAX: Duration = Duration::from_secs(60);
/// How long the end of a program waits for answers to what it has sent.
const SETTLE_LIMIT: Duration = Duration::from_secs(2);

/// The engine: lives on its thread.
pub(super) struct Engine<A: Application> {
    pub(super) core: Core<A>,
    pub(super) network: Network,
    pub(super) events: NetworkEvents,
    pub(super) commands: mpsc::Receiver<A::Command>,
    /// The handle is gone: the batch in hand is the last.
    pub(super) is_ending: bool,
    pub(super) links: mpsc::UnboundedReceiver<LinkResult>,
    /// For the tasks that read links.
    pub(super) link_sender: mpsc::UnboundedSender<LinkResult>,
    /// Where links are read.
    pub(super) runtime: Handle,
    /// What this thread waits with. Its own, so that it can finish its work while the program's runtime goes away.
    pub(super) waiting: Runtime,
}

impl<A: Application> Engine<A> {
    /// Runs until the handle is dropped, the application stops it, or something fails.
    pub(super) fn run(mut self) -> Result<(), Fatal> {
        self.batch(Vec::new())?;
        while !self.core.is_stopped()
            && let Some(inputs) = self.gather()
        {
            self.batch(inputs)?;
        }
        self.settle()
    }

    fn batch(&mut self, inputs: Vec<Input<A::Command>>) -> Result<(), Fatal> {
        let effects = self.core.take(inputs, clock::now())?;
        self.carry_out(effects);
        self.core.application().after_commit();
        Ok(())
    }

    /// Waits for something to do, and takes what there is. Nothing when the handle is gone.
    fn gather(&mut self) -> Option<Vec<Input<A::Command>>> {
        if self.is_ending {
            return None;
        }
        let mut inputs = Vec::new();
        if !self.core.has_work() {
            self.wait(&mut inputs);
        }
        for _ in 0..BATCH_COMMANDS_MAX {
            match self.commands.try_recv() {
                Ok(command) => inputs.push(Input::Command(command)),
                Err(mpsc::error::TryRecvError::Empty) => break,
                Err(mpsc::error::TryRecvError::Disconnected) => {
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
            inputs.push(Input::Network(event));
        }
        Some(inputs)
    }

    fn wait(&mut self, inputs: &mut Vec<Input<A::Command>>) {
        let left = self.core.next_moment().0.saturating_sub(clock::now().0);
        let nap = Duration::from_millis(u64::try_from(left).unwrap_or(0)).min(NAP_MAX);

        let (events, commands, links) = (&mut self.events, &mut self.commands, &mut self.links);
        let mut closed = self.is_ending;
        self.waiting.block_on(async {
            tokio::select! {
                event = events.next() => inputs.extend(event.map(Input::Network)),
                command = commands.recv() => match command {
                    Some(command) => inputs.push(Input::Command(command)),
                    None => closed = true,
                },
                link = links.recv() => inputs.extend(link.map(Input::Link)),
                () = tokio::time::sleep(nap) => {}
            }
        });
        self.is_ending = closed;
    }

    fn carry_out(&mut self, effects: Effects) {
        for Submission { ticket, request, lane } in effects.requests {
            self.network.submit(request, ticket, lane);
        }
        for (server, queues) in effects.unsubscriptions {
            self.network.unsubscribe(&server, queues);
        }
        for (server, queues) in effects.subscriptions {
            self.network.subscribe(&server, queues, effects.asked);
        }
        if effects.all_subscribed {
            self.network.all_subscribed();
        }
        for (server, subscription) in effects.resubscriptions {
            self.network.subscribe_later(&server, subscription);
        }
        for (tag, link) in effects.links {
            let (network, sender) = (self.network.clone(), self.link_sender.clone());
            self.runtime.spawn(async move {
                let result = network.read_link(&link).await;
                // the engine may have stopped meanwhile
                let _unheard = sender.send((tag, result));
            });
        }
    }

    /// Gives what is on its way a moment to be answered, and stores the outcomes. Without it requests would be
    /// repeated after the next start, and messages, too: harmless, but a waste.
    fn settle(&mut self) -> Result<(), Fatal> {
        let deadline = Instant::now() + SETTLE_LIMIT;
        let mut answers = Vec::new();
        while answers.len() < self.core.awaited() {
            let events = &mut self.events;
            let next =
                self.waiting.block_on(async { tokio::time::timeout_at(deadline, events.next()).await });
            let Ok(Some(event)) = next else { break };
            if matches!(event, NetworkEvent::Answer { .. }) {
                answers.push(event);
            }
        }
        if answers.is_empty() { Ok(()) } else { self.core.settle(answers, clock::now()) }
    }
}
