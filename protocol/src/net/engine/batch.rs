//! One batch: a transaction, and after its commit what was decided in it.

use std::collections::BTreeMap;
use std::time::Duration;

use rand_core::CryptoRng;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::application::{Application, Fatal, NetworkChange, Transactional as _};
use super::context::Context;
use super::input::Input;
use super::jobs::Wait;
use super::{Engine, Errand, Startup};
use crate::agent::request::{Next, OwnQueue, Request, RequestOutcome, ServerMessage, Work};
use crate::agent::store::{AgentStore as _, ConnectionId, JobId};
use crate::crash_point;
use crate::net::clock;
use crate::net::error::CallError;
use crate::net::network::{Subscription, SubscriptionEnd, Ticket};
use crate::net::rng::system_rng;
use crate::smp::address::ServerAddress;
use crate::smp::error::ErrorType;
use crate::smp::ids::{MessageId, RecipientId};
use crate::smp::key::AuthPrivateKey;
use crate::smp::response::BrokerMessage;
use crate::timestamp::Timestamp;

/// Queues that are subscribed between two batches at the start (agent.md §6.7).
const PAGE_MAX: usize = 1350;
/// Connections that are woken between two batches at the start.
const WOKEN_MAX: usize = 256;
/// Requests that one transaction makes.
const REQUESTS_MAX: usize = 256;
/// How long hashes of encrypted messages are remembered (agent.md §6.2).
const HASH_MEMORY_MS: i64 = 21 * 24 * 3_600_000;
/// How often older ones are forgotten.
const FORGET_EVERY_MS: i64 = 3_600_000;
/// How long the end of a program waits for answers to what it has sent.
const SETTLE_LIMIT: Duration = Duration::from_secs(2);

/// What leaves after the commit.
#[derive(Default)]
struct Outbox {
    acknowledgements: Vec<(OwnQueue, MessageId)>,
    requests: Vec<(ConnectionId, JobId, Box<Request>)>,
    subscriptions: BTreeMap<ServerAddress, Vec<Subscription>>,
    /// To be asked for again, but not at once.
    resubscriptions: Vec<OwnQueue>,
    /// Whether requests were finished.
    has_answers: bool,
}

impl<A: Application> Engine<A> {
    /// Runs until the handle is dropped, the application stops it, or something fails.
    pub(super) fn run(mut self) -> Result<(), Fatal> {
        self.transaction(|engine, _, now| {
            let mut rng = system_rng();
            let mut context = Context::new(now, &mut rng, &mut engine.wishes);
            engine.application.on_start(&mut context)
        })?;
        while !self.wishes.stop
            && let Some(inputs) = self.gather()
        {
            self.transaction(|engine, outbox, now| {
                for input in inputs {
                    engine.handle(input, outbox, now)?;
                }
                Ok(())
            })?;
        }
        self.settle()
    }

    /// One batch: `handle` decides, the commit makes it durable, and then it is carried out.
    fn transaction(
        &mut self,
        handle: impl FnOnce(&mut Self, &mut Outbox, Timestamp) -> Result<(), Fatal>,
    ) -> Result<(), Fatal> {
        let now = clock::now();
        let mut outbox = Outbox::default();
        self.application.store().begin()?;
        let handled = handle(self, &mut outbox, now).and_then(|()| self.go_on(&mut outbox, now));
        if let Err(error) = handled {
            if let Err(error) = self.application.store().rollback() {
                warn!(%error, "the transaction could not be rolled back");
            }
            return Err(error);
        }
        if !outbox.acknowledgements.is_empty() {
            crash_point!("engine.message.handled");
        }
        if outbox.has_answers {
            crash_point!("engine.answer.handled");
        }
        self.application.store().commit()?;
        if !outbox.acknowledgements.is_empty() {
            crash_point!("engine.message.committed");
        }
        if !outbox.requests.is_empty() {
            crash_point!("engine.request.committed");
        }
        self.set_timer();
        self.send(outbox);
        self.application.after_commit();
        Ok(())
    }

    /// What is due whatever came in.
    fn go_on(&mut self, outbox: &mut Outbox, now: Timestamp) -> Result<(), Fatal> {
        if self.is_settling {
            return Ok(());
        }
        self.timers(now)?;
        self.start_up(outbox, now)?;
        self.dispatch(now)?;
        self.offer_room(now)?;
        self.make_requests(outbox, now)
    }

    /// Lets the application send of what it has much of, as far as there is room for it.
    fn offer_room(&mut self, now: Timestamp) -> Result<(), Fatal> {
        let room = self.jobs.room();
        if room == 0 {
            return Ok(());
        }
        let mut rng = system_rng();
        let mut context = Context::new(now, &mut rng, &mut self.wishes);
        self.has_more = self.application.on_room(&mut context, room)?;
        self.dispatch(now)
    }

    fn handle(&mut self, input: Input<A::Command>, outbox: &mut Outbox, now: Timestamp) -> Result<(), Fatal> {
        let mut rng = system_rng();
        match input {
            Input::Message { server, queue, message_id, body } => {
                self.receive(&server, queue, message_id, &body, outbox, now)?;
            }
            Input::Answered { connection, job, server, result } => {
                outbox.has_answers = true;
                let wait = self.finish_job(connection, job, &server, result, now)?;
                self.jobs.finish(connection, &server, wait);
            }
            Input::Acknowledged { queue, result } => match result {
                Ok(BrokerMessage::Msg { message_id, body }) => {
                    self.receive(&queue.server, queue.recipient_id, message_id, &body, outbox, now)?;
                }
                Ok(_) | Err(CallError::Refused(ErrorType::NoMessage)) => {}
                // the next session delivers the message again
                Err(CallError::Disconnected | CallError::Connect(_)) => {}
                // so does another subscription; or the server says why not
                Err(error) => {
                    debug!(%error, "an acknowledgement failed");
                    outbox.resubscriptions.push(*queue);
                }
            },
            Input::SubscriptionEnded { server, queue, reason } => match reason {
                SubscriptionEnd::Moved => {
                    warn!("another program took over a queue of ours");
                    let change = NetworkChange::TakenOver { server, queue };
                    let mut context = Context::new(now, &mut rng, &mut self.wishes);
                    self.application.on_network(&mut context, change)?;
                }
                SubscriptionEnd::Deleted | SubscriptionEnd::Refused(_) => {
                    self.queue_gone(&server, &queue, &mut rng, now)?;
                }
                SubscriptionEnd::TooManyServers => warn!("too many servers: a queue is not subscribed"),
            },
            Input::Change(change) => {
                if let NetworkChange::Up(server) = &change {
                    for id in self.jobs.waiting_for(server) {
                        self.wake(id, &mut rng, now)?;
                    }
                }
                let mut context = Context::new(now, &mut rng, &mut self.wishes);
                self.application.on_network(&mut context, change)?;
            }
            Input::Link((tag, result)) => {
                let mut context = Context::new(now, &mut rng, &mut self.wishes);
                self.application.on_link(&mut context, tag, result)?;
            }
            Input::Command(command) => {
                let mut context = Context::new(now, &mut rng, &mut self.wishes);
                self.application.on_command(&mut context, command)?;
            }
        }
        self.dispatch(now)
    }

    fn receive(
        &mut self,
        server: &ServerAddress,
        queue: RecipientId,
        message_id: MessageId,
        body: &[u8],
        outbox: &mut Outbox,
        now: Timestamp,
    ) -> Result<(), Fatal> {
        let mut rng = system_rng();
        let mut context = Context::new(now, &mut rng, &mut self.wishes);
        let message = ServerMessage { id: message_id, body };
        let own = context.agent(self.application.store()).receive(server, &queue, message)?;
        match own {
            Some(own) => outbox.acknowledgements.push((own, message_id)),
            None => debug!(server = %server.first_host(), "a message of a queue that is not ours any more"),
        }
        Ok(())
    }

    /// Reports an outcome to the agent; gives how long the connection has to wait, if it has to.
    fn finish_job(
        &mut self,
        connection: ConnectionId,
        job: JobId,
        server: &ServerAddress,
        result: Result<BrokerMessage<'static>, CallError>,
        now: Timestamp,
    ) -> Result<Option<Wait>, Fatal> {
        let is_network_failure = result.as_ref().is_err_and(CallError::is_temporary);
        let outcome = match result {
            Ok(answer) => RequestOutcome::Answer(answer),
            Err(CallError::Refused(error)) => RequestOutcome::Answer(BrokerMessage::Err(error)),
            Err(CallError::Connect(error)) if !error.is_temporary() => RequestOutcome::HostUnusable,
            Err(CallError::TooLarge) => RequestOutcome::Answer(BrokerMessage::Err(ErrorType::LargeMessage)),
            // an answer that does not fit says no more than none
            Err(_) => RequestOutcome::Temporary,
        };
        let mut rng = system_rng();
        let mut context = Context::new(now, &mut rng, &mut self.wishes);
        let next = context.agent(self.application.store()).job_done(connection, job, outcome)?;
        Ok(match next {
            Next::Done => None,
            Next::RetryAt(moment) => {
                Some(Wait { moment, server: is_network_failure.then(|| server.clone()) })
            }
        })
    }

    fn queue_gone(
        &mut self,
        server: &ServerAddress,
        queue: &RecipientId,
        rng: &mut dyn CryptoRng,
        now: Timestamp,
    ) -> Result<(), Fatal> {
        let mut context = Context::new(now, rng, &mut self.wishes);
        Ok(context.agent(self.application.store()).queue_gone(server, queue)?)
    }

    fn wake(&mut self, id: ConnectionId, rng: &mut dyn CryptoRng, now: Timestamp) -> Result<(), Fatal> {
        let mut context = Context::new(now, rng, &mut self.wishes);
        Ok(context.agent(self.application.store()).wake(id)?)
    }

    /// Hands the agent's events to the application, and those that come of it, too.
    fn dispatch(&mut self, now: Timestamp) -> Result<(), Fatal> {
        while let Some((connection, event)) = self.wishes.events.pop_front() {
            let mut rng = system_rng();
            let mut context = Context::new(now, &mut rng, &mut self.wishes);
            self.application.on_event(&mut context, connection, event)?;
        }
        Ok(())
    }

    fn timers(&mut self, now: Timestamp) -> Result<(), Fatal> {
        self.jobs.advance(now);
        self.set_timer();
        if self.wake_at.is_some_and(|moment| moment <= now) {
            self.wake_at = None;
            let mut rng = system_rng();
            let mut context = Context::new(now, &mut rng, &mut self.wishes);
            self.application.on_timer(&mut context)?;
        }
        if self.forget_at <= now {
            self.application.store().forget_before(now.plus_ms(-HASH_MEMORY_MS))?;
            self.forget_at = now.plus_ms(FORGET_EVERY_MS);
        }
        Ok(())
    }

    /// Takes over what handlers asked for.
    fn set_timer(&mut self) {
        self.wake_at = [self.wake_at, self.wishes.wake_at.take()].into_iter().flatten().min();
    }

    /// One page of what has to be done after the start.
    fn start_up(&mut self, outbox: &mut Outbox, now: Timestamp) -> Result<(), Fatal> {
        let mut rng = system_rng();
        match &mut self.startup {
            Startup::Done => {}
            Startup::Subscribing { after } => {
                let page = self.application.store().queues_after(*after, PAGE_MAX)?;
                match page.last() {
                    Some((connection, _, queue)) => *after = Some((*connection, *queue)),
                    None => {
                        let with_jobs = self.application.store().connections_with_jobs()?;
                        self.startup = Startup::Waking(with_jobs);
                        return Ok(());
                    }
                }
                for (connection, _, queue) in page {
                    let mut context = Context::new(now, &mut rng, &mut self.wishes);
                    let own = context.agent(self.application.store()).own_queue(connection)?;
                    if let Some(own) = own.filter(|own| own.recipient_id == queue) {
                        let subscription = Subscription { queue, key: AuthPrivateKey::Ed25519(own.key) };
                        outbox.subscriptions.entry(own.server).or_default().push(subscription);
                    }
                }
            }
            Startup::Waking(with_jobs) => {
                let rest = with_jobs.len().saturating_sub(WOKEN_MAX);
                let page = with_jobs.split_off(rest);
                if with_jobs.is_empty() {
                    self.startup = Startup::Done;
                }
                for id in page {
                    self.wake(id, &mut rng, now)?;
                }
            }
        }
        Ok(())
    }

    /// Asks connections for their next requests, as far as there is room for them on the network.
    fn make_requests(&mut self, outbox: &mut Outbox, now: Timestamp) -> Result<(), Fatal> {
        let mut rng = system_rng();
        for (id, lane) in std::mem::take(&mut self.wishes.touched) {
            self.jobs.touch(id, lane);
        }
        while outbox.requests.len() < REQUESTS_MAX
            && let Some(id) = self.jobs.next()
        {
            let mut context = Context::new(now, &mut rng, &mut self.wishes);
            let work = context.agent(self.application.store()).job(id)?;
            match work {
                Work::Idle => self.jobs.rest(id),
                Work::NotBefore(moment) => self.jobs.wait(id, Wait { moment, server: None }),
                Work::Run(job, request) => {
                    if self.jobs.start(id, &request.server) {
                        context.agent(self.application.store()).job_started(id, job, &request)?;
                        outbox.requests.push((id, job, request));
                    }
                }
            }
            // who is touched by these events is asked in the next batch, which follows at once
            self.dispatch(now)?;
        }
        Ok(())
    }

    /// Carries out what is durable now.
    fn send(&mut self, outbox: Outbox) {
        for (queue, message_id) in outbox.acknowledgements {
            let request = queue.acknowledge(message_id);
            let ticket = self.ticket(Errand::Acknowledge(Box::new(queue)));
            self.network.submit(request, ticket);
        }
        for (connection, job, request) in outbox.requests {
            let server = request.server.clone();
            let ticket = self.ticket(Errand::Job { connection, job, server });
            self.network.submit(request, ticket);
        }
        for (server, queues) in outbox.subscriptions {
            self.network.subscribe(&server, queues);
        }
        for OwnQueue { server, recipient_id, key } in outbox.resubscriptions {
            self.network.subscribe_later(
                &server,
                Subscription { queue: recipient_id, key: AuthPrivateKey::Ed25519(key) },
            );
        }
        for (tag, link) in std::mem::take(&mut self.wishes.links) {
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
        self.is_settling = true;
        let deadline = Instant::now() + SETTLE_LIMIT;
        let mut inputs = Vec::new();
        while !self.tickets.is_empty() {
            let events = &mut self.events;
            let next =
                self.waiting.block_on(async { tokio::time::timeout_at(deadline, events.next()).await });
            let Ok(Some(event)) = next else { break };
            if let Some(input @ Input::Answered { .. }) = self.input_of(event) {
                inputs.push(input);
            }
        }
        if inputs.is_empty() {
            return Ok(());
        }
        self.transaction(|engine, outbox, now| {
            inputs.into_iter().try_for_each(|input| engine.handle(input, outbox, now))
        })
    }

    fn ticket(&mut self, errand: Errand) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket = self.next_ticket.wrapping_add(1);
        self.tickets.insert(ticket, errand);
        ticket
    }
}
