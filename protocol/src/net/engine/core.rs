//! What the loop decides: inputs become one transaction, and what is to be done on the network once it is durable.
//!
//! No socket, clock or thread is here: moments and inputs come in, [`Effects`] go out. The engine's thread drives it with
//! the real network; whoever drives it with another network and another clock runs the same decisions.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rand_core::CryptoRng;
use tracing::{debug, warn};

use super::application::{Application, Fatal, NetworkChange, Transactional as _};
use super::context::{Context, LinkTag, Wishes};
use super::jobs::{Jobs, Wait};
use crate::agent::Lane;
use crate::agent::request::{Next, OwnQueue, Request, RequestOutcome, ServerMessage, Work};
use crate::agent::signed_link_data::OpenedLink;
use crate::agent::store::{AgentStore as _, ConnectionId, JobId};
use crate::crash_point;
use crate::net::error::CallError;
use crate::net::network::{NetworkEvent, ReadLinkError, Subscription, SubscriptionEnd, Ticket};
use crate::smp::address::ServerAddress;
use crate::smp::command::Command;
use crate::smp::error::ErrorType;
use crate::smp::ids::{MessageId, RecipientId};
use crate::smp::key::AuthPrivateKey;
use crate::smp::response::BrokerMessage;
use crate::smp::short_link::ShortLink;
use crate::timestamp::Timestamp;

/// Queues that are subscribed between two batches at the start: whoever says something meanwhile waits for no more.
const PAGE_MAX: usize = 256;
/// Connections that are woken between two batches at the start, or let go of between two of them.
const WOKEN_MAX: usize = 256;
/// Requests that one transaction makes.
const REQUESTS_MAX: usize = 256;
/// How long hashes of encrypted messages are remembered (agent.md §6.2).
const HASH_MEMORY_MS: i64 = 21 * 24 * 3_600_000;
/// How often older ones are forgotten.
const FORGET_EVERY_MS: i64 = 3_600_000;

/// Something to handle.
#[derive(Debug)]
pub enum Input<C> {
    /// Something happened on the network.
    Network(NetworkEvent),
    /// A link was read, or could not be.
    Link(LinkResult),
    /// Another thread asks for something.
    Command(C),
}

/// What came of reading a link.
pub type LinkResult = (LinkTag, Result<OpenedLink, ReadLinkError>);

/// What is to be done on the network, now that the batch is durable. The order is that of the fields. Should it be lost
/// in a crash, the next start makes up for it.
#[derive(Debug, Default)]
pub struct Effects {
    /// Commands; each is answered by [`NetworkEvent::Answer`] with its ticket.
    pub requests: Vec<Submission>,
    /// Queues that another program asks for from now on.
    pub unsubscriptions: BTreeMap<ServerAddress, Vec<RecipientId>>,
    /// Queues to be subscribed.
    pub subscriptions: BTreeMap<ServerAddress, Vec<Subscription>>,
    /// Names all of these to the network.
    pub asked: Ticket,
    /// Queues to be subscribed again, but not at once.
    pub resubscriptions: Vec<(ServerAddress, Subscription)>,
    /// Links to be read; each is answered by [`Input::Link`] with its tag.
    pub links: Vec<(LinkTag, ShortLink)>,
    /// All queues that there were at the start have been among `subscriptions`.
    pub all_subscribed: bool,
}

/// A command on its way to the network.
#[derive(Debug)]
pub struct Submission {
    /// What the answer names.
    pub ticket: Ticket,
    /// The command.
    pub request: Box<Request>,
    /// How the queue is subscribed in later sessions that it creates, if it creates one.
    pub lane: Lane,
}

/// An application, and what the loop remembers between its batches. After an error it must be dropped: nothing of the
/// batch was acknowledged then.
pub struct Core<A: Application> {
    application: A,
    rng: Box<dyn CryptoRng + Send>,
    wishes: Wishes,
    jobs: Jobs,
    /// Commands without an answer yet.
    tickets: BTreeMap<Ticket, Errand>,
    next_ticket: u64,
    /// The last queues that go first and that a server was not heard about.
    unheard: BTreeMap<ServerAddress, Ticket>,
    wake_at: Option<Timestamp>,
    /// The application has more to send when there is room.
    has_more: bool,
    startup: Startup,
    /// Connections that are to be taken up after those that go first, page by page between the batches.
    adopted: VecDeque<ConnectionId>,
    /// Connections of another program whose queues may still be asked for: let go of page by page, too.
    released: BTreeSet<ConnectionId>,
    forget_at: Timestamp,
    /// Only outcomes are stored from now on.
    is_settling: bool,
}

/// What a command on its way is for.
enum Errand {
    Job {
        connection: ConnectionId,
        job: JobId,
        server: ServerAddress,
    },
    Acknowledge(Box<OwnQueue>),
    /// A job of a connection that is another program's by now.
    Released {
        server: ServerAddress,
    },
}

/// What of the start is still to be done, page by page between the batches.
enum Startup {
    /// The application has to be told.
    Telling,
    /// Queues after this one are to be subscribed, but for those of connections that went before all others.
    Subscribing {
        after: Option<(ConnectionId, RecipientId)>,
        first: BTreeSet<ConnectionId>,
    },
    /// Connections that had requests when the program ended are to be woken.
    Waking(Vec<ConnectionId>),
    Done,
}

/// What leaves after the commit.
#[derive(Default)]
struct Outbox {
    acknowledgements: Vec<(OwnQueue, MessageId)>,
    unsubscriptions: BTreeMap<ServerAddress, Vec<RecipientId>>,
    requests: Vec<(ConnectionId, JobId, Box<Request>, Lane)>,
    subscriptions: BTreeMap<ServerAddress, Vec<Subscription>>,
    /// To be asked for again, but not at once.
    resubscriptions: Vec<OwnQueue>,
    /// Whether these or earlier ones are all of the start.
    all_subscribed: bool,
    /// Whether requests were finished.
    has_answers: bool,
}

impl<A: Application> Core<A> {
    /// An application that has not been told yet that it starts: the first batch does so, whatever its inputs.
    #[must_use]
    pub fn new(application: A, rng: impl CryptoRng + Send + 'static) -> Self {
        Self {
            application,
            rng: Box::new(rng),
            wishes: Wishes::default(),
            jobs: Jobs::default(),
            tickets: BTreeMap::new(),
            next_ticket: 0,
            unheard: BTreeMap::new(),
            wake_at: None,
            has_more: false,
            startup: Startup::Telling,
            adopted: VecDeque::new(),
            released: BTreeSet::new(),
            forget_at: Timestamp::default(),
            is_settling: false,
        }
    }

    /// The application.
    pub fn application(&mut self) -> &mut A {
        &mut self.application
    }

    /// Whether the application has asked for the end.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.wishes.stop
    }

    /// Whether there is something to do without any input.
    #[must_use]
    pub fn has_work(&self) -> bool {
        !matches!(self.startup, Startup::Done)
            || self.jobs.has_next()
            || !self.adopted.is_empty()
            || !self.released.is_empty()
            || !self.wishes.touched.is_empty()
            || (self.has_more && self.jobs.room() > 0)
    }

    /// When there is something to do at the latest, without any input.
    #[must_use]
    pub fn next_moment(&self) -> Timestamp {
        [self.wake_at, self.jobs.next_moment()].into_iter().flatten().fold(self.forget_at, Ord::min)
    }

    /// How many commands have no answer yet.
    #[must_use]
    pub fn awaited(&self) -> usize {
        self.tickets.len()
    }

    /// What is kept in memory for connections and commands, as a number of entries: bounded by what is under way, however
    /// much waits in the store.
    #[must_use]
    pub fn entries(&self) -> usize {
        let wishes = self.wishes.events.len().saturating_add(self.wishes.touched.len());
        let moved = self.adopted.len().saturating_add(self.released.len());
        self.tickets.len().saturating_add(self.jobs.entries()).saturating_add(wishes).saturating_add(moved)
    }

    /// One batch: what `inputs` bring is decided and made durable. Carry out the effects, then call
    /// [`Application::after_commit`].
    ///
    /// # Errors
    /// [`Fatal`]: nothing of the batch is durable.
    pub fn take(&mut self, inputs: Vec<Input<A::Command>>, now: Timestamp) -> Result<Effects, Fatal> {
        self.transaction(inputs, now)
    }

    /// The last batch of a program that ends: of the inputs only answers count, and nothing new is begun.
    ///
    /// # Errors
    /// As [`Core::take`].
    pub fn settle(&mut self, answers: Vec<NetworkEvent>, now: Timestamp) -> Result<(), Fatal> {
        self.is_settling = true;
        let is_answer = |event: &NetworkEvent| matches!(event, NetworkEvent::Answer { .. });
        let inputs = answers.into_iter().filter(is_answer).map(Input::Network).collect();
        self.transaction(inputs, now).map(drop)
    }

    /// Decides, makes it durable, and says what follows.
    fn transaction(&mut self, inputs: Vec<Input<A::Command>>, now: Timestamp) -> Result<Effects, Fatal> {
        let mut outbox = Outbox::default();
        self.application.store().begin()?;
        if let Err(error) = self.decide(inputs, &mut outbox, now) {
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
        Ok(self.effects(outbox))
    }

    fn decide(
        &mut self,
        inputs: Vec<Input<A::Command>>,
        outbox: &mut Outbox,
        now: Timestamp,
    ) -> Result<(), Fatal> {
        if matches!(self.startup, Startup::Telling) {
            let mut context = Context::new(now, &mut *self.rng, &mut self.wishes);
            self.application.on_start(&mut context)?;
            self.startup = match self.application.shares_store() {
                true => Startup::Done,
                false => {
                    let first = self.wishes.adopted.iter().map(|(connection, _)| *connection).collect();
                    Startup::Subscribing { after: None, first }
                }
            };
        }
        for input in inputs {
            self.handle(input, outbox, now)?;
        }
        self.go_on(outbox, now)
    }

    /// What is due whatever came in.
    fn go_on(&mut self, outbox: &mut Outbox, now: Timestamp) -> Result<(), Fatal> {
        if self.is_settling {
            return Ok(());
        }
        self.timers(now)?;
        self.release();
        self.adopt(outbox, now)?;
        self.let_go(outbox, now)?;
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
        let mut context = Context::new(now, &mut *self.rng, &mut self.wishes);
        self.has_more = self.application.on_room(&mut context, room)?;
        self.dispatch(now)
    }

    fn handle(&mut self, input: Input<A::Command>, outbox: &mut Outbox, now: Timestamp) -> Result<(), Fatal> {
        match input {
            Input::Network(event) => self.happened(event, outbox, now)?,
            Input::Link((tag, result)) => {
                let mut context = Context::new(now, &mut *self.rng, &mut self.wishes);
                self.application.on_link(&mut context, tag, result)?;
            }
            Input::Command(command) => {
                let mut context = Context::new(now, &mut *self.rng, &mut self.wishes);
                self.application.on_command(&mut context, command)?;
            }
        }
        self.dispatch(now)
    }

    fn happened(&mut self, event: NetworkEvent, outbox: &mut Outbox, now: Timestamp) -> Result<(), Fatal> {
        match event {
            NetworkEvent::Message { server, queue, message_id, body } => {
                self.receive(&server, queue, message_id, &body, outbox, now)
            }
            NetworkEvent::Answer { ticket, result, took } => match self.tickets.remove(&ticket) {
                Some(Errand::Job { connection, job, server }) => {
                    outbox.has_answers = true;
                    let wait = self.finish_job(connection, job, &server, result, now)?;
                    self.jobs.finish(connection, &server, wait, took, now);
                    Ok(())
                }
                Some(Errand::Acknowledge(queue)) => self.acknowledged(*queue, result, outbox, now),
                Some(Errand::Released { server }) => {
                    let answers = !result.is_err_and(|error| error.is_temporary());
                    self.jobs.answered(&server, answers, took, now);
                    Ok(())
                }
                // of a command that nobody remembers
                None => Ok(()),
            },
            NetworkEvent::SubscriptionEnded { server, queue, reason } => match reason {
                SubscriptionEnd::Moved => {
                    debug!("another program took over a queue of ours");
                    self.changed(NetworkChange::TakenOver { server, queue }, now)
                }
                SubscriptionEnd::Deleted | SubscriptionEnd::Unknown => self.queue_gone(&server, &queue, now),
                SubscriptionEnd::TooManyServers => {
                    warn!("too many servers: a queue is not subscribed");
                    Ok(())
                }
            },
            NetworkEvent::QueueRefused { server, queue, error } => {
                self.changed(NetworkChange::QueueRefused { server, queue, error }, now)
            }
            NetworkEvent::RefusalOver { server, queue, is_subscribed: is_heard } => {
                self.changed(NetworkChange::RefusalOver { server, queue, is_heard }, now)
            }
            NetworkEvent::ServiceMoved(server) => {
                warn!("another program took over all our queues at a server");
                self.changed(NetworkChange::AllTakenOver(server), now)
            }
            NetworkEvent::Surplus { server, queues } => {
                self.changed(NetworkChange::Surplus { server, queues }, now)
            }
            NetworkEvent::Up(server) => {
                for id in self.jobs.waiting_for(&server) {
                    self.wake(id, now)?;
                }
                self.changed(NetworkChange::Up(server), now)
            }
            NetworkEvent::Listening { server, asked } => {
                if self.unheard.get(&server).is_some_and(|last| asked < Some(*last)) {
                    // what was asked for since is heard of later
                    return Ok(());
                }
                self.unheard.remove(&server);
                self.changed(NetworkChange::Listening(server), now)
            }
            NetworkEvent::Down { server, reason } => {
                self.changed(NetworkChange::Down { server, reason }, now)
            }
        }
    }

    fn changed(&mut self, change: NetworkChange, now: Timestamp) -> Result<(), Fatal> {
        let mut context = Context::new(now, &mut *self.rng, &mut self.wishes);
        self.application.on_network(&mut context, change)
    }

    fn acknowledged(
        &mut self,
        queue: OwnQueue,
        result: Result<BrokerMessage<'static>, CallError>,
        outbox: &mut Outbox,
        now: Timestamp,
    ) -> Result<(), Fatal> {
        match result {
            // the server repeats a message that comes too late to be handled
            _ if self.is_settling => {}
            Ok(BrokerMessage::Msg { message_id, body }) => {
                self.receive(&queue.server, queue.recipient_id, message_id, &body, outbox, now)?;
            }
            Ok(_) | Err(CallError::Refused(ErrorType::NoMessage)) => {}
            // the next session delivers the message again
            Err(CallError::Disconnected | CallError::Connect(_)) => {}
            // so does another subscription; or the server says why not
            Err(error) => {
                debug!(%error, "an acknowledgement failed");
                outbox.resubscriptions.push(queue);
            }
        }
        Ok(())
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
        let mut context = Context::new(now, &mut *self.rng, &mut self.wishes);
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
        let mut context = Context::new(now, &mut *self.rng, &mut self.wishes);
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
        now: Timestamp,
    ) -> Result<(), Fatal> {
        let mut context = Context::new(now, &mut *self.rng, &mut self.wishes);
        Ok(context.agent(self.application.store()).queue_gone(server, queue)?)
    }

    fn wake(&mut self, id: ConnectionId, now: Timestamp) -> Result<(), Fatal> {
        let mut context = Context::new(now, &mut *self.rng, &mut self.wishes);
        Ok(context.agent(self.application.store()).wake(id)?)
    }

    /// Hands the agent's events to the application, and those that come of it, too.
    fn dispatch(&mut self, now: Timestamp) -> Result<(), Fatal> {
        while let Some((connection, event)) = self.wishes.events.pop_front() {
            let mut context = Context::new(now, &mut *self.rng, &mut self.wishes);
            self.application.on_event(&mut context, connection, event)?;
        }
        Ok(())
    }

    fn timers(&mut self, now: Timestamp) -> Result<(), Fatal> {
        self.jobs.advance(now);
        self.set_timer();
        if self.wake_at.is_some_and(|moment| moment <= now) {
            self.wake_at = None;
            let mut context = Context::new(now, &mut *self.rng, &mut self.wishes);
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
        match &mut self.startup {
            Startup::Telling | Startup::Done => {}
            Startup::Subscribing { after, first } => {
                let page = self.application.store().queues_after(*after, PAGE_MAX)?;
                match page.last() {
                    Some((connection, _, queue)) => *after = Some((*connection, *queue)),
                    None => {
                        outbox.all_subscribed = true;
                        let with_jobs = self.application.store().connections_with_jobs()?;
                        self.startup = Startup::Waking(with_jobs);
                        return Ok(());
                    }
                }
                let page: Vec<_> = page.into_iter().filter(|(id, ..)| !first.contains(id)).collect();
                for (connection, _, queue) in page {
                    self.subscribe(connection, Some(queue), Lane::Bulk, outbox, now)?;
                }
            }
            Startup::Waking(with_jobs) => {
                let rest = with_jobs.len().saturating_sub(WOKEN_MAX);
                let page = with_jobs.split_off(rest);
                if with_jobs.is_empty() {
                    self.startup = Startup::Done;
                }
                for id in page {
                    self.wake(id, now)?;
                }
            }
        }
        Ok(())
    }

    /// Has the queue of a connection subscribed; nothing when another one than `queue` is its own.
    fn subscribe(
        &mut self,
        connection: ConnectionId,
        queue: Option<RecipientId>,
        lane: Lane,
        outbox: &mut Outbox,
        now: Timestamp,
    ) -> Result<(), Fatal> {
        let mut context = Context::new(now, &mut *self.rng, &mut self.wishes);
        let own = context.agent(self.application.store()).own_queue(connection)?;
        if let Some(own) = own.filter(|own| queue.is_none_or(|queue| own.recipient_id == queue)) {
            let key = AuthPrivateKey::Ed25519(own.key);
            let subscription = Subscription { queue: own.recipient_id, key, lane };
            outbox.subscriptions.entry(own.server).or_default().push(subscription);
        }
        Ok(())
    }

    /// Takes up connections that became this program's: all that go first, and one page of the others.
    fn adopt(&mut self, outbox: &mut Outbox, now: Timestamp) -> Result<(), Fatal> {
        let mut page = Vec::new();
        for (id, lane) in self.wishes.adopted.drain(..) {
            self.released.remove(&id);
            match lane {
                Lane::Control => page.push((id, lane)),
                Lane::Bulk => self.adopted.push_back(id),
            }
        }
        let others = self.adopted.len().min(WOKEN_MAX);
        page.extend(self.adopted.drain(..others).map(|id| (id, Lane::Bulk)));
        for (id, lane) in page {
            self.subscribe(id, None, lane, outbox, now)?;
            self.wake(id, now)?;
        }
        Ok(())
    }

    /// Forgets what was remembered of connections that are another program's now.
    fn release(&mut self) {
        let released: BTreeSet<ConnectionId> = self.wishes.released.drain(..).collect();
        if released.is_empty() {
            return;
        }
        self.adopted.retain(|id| !released.contains(id));
        self.wishes.adopted.retain(|(id, _)| !released.contains(id));
        self.wishes.touched.retain(|id, _| !released.contains(id));
        for id in &released {
            self.jobs.forget(*id);
        }
        for errand in self.tickets.values_mut() {
            if let Errand::Job { connection, server, .. } = errand
                && released.contains(connection)
            {
                *errand = Errand::Released { server: server.clone() };
            }
        }
        self.released.extend(released);
    }

    /// Has one page of released queues asked for no more.
    fn let_go(&mut self, outbox: &mut Outbox, now: Timestamp) -> Result<(), Fatal> {
        for _ in 0..WOKEN_MAX {
            let Some(id) = self.released.pop_first() else { break };
            let mut context = Context::new(now, &mut *self.rng, &mut self.wishes);
            if let Some(own) = context.agent(self.application.store()).own_queue(id)? {
                outbox.unsubscriptions.entry(own.server).or_default().push(own.recipient_id);
            }
        }
        Ok(())
    }

    /// Asks connections for their next requests, as far as there is room for them on the network.
    fn make_requests(&mut self, outbox: &mut Outbox, now: Timestamp) -> Result<(), Fatal> {
        for (id, lane) in std::mem::take(&mut self.wishes.touched) {
            self.jobs.touch(id, lane);
        }
        while outbox.requests.len() < REQUESTS_MAX
            && let Some(id) = self.jobs.next()
        {
            let mut context = Context::new(now, &mut *self.rng, &mut self.wishes);
            let has_room = |server: &ServerAddress| self.jobs.may_start(id, server);
            let work = context.agent(self.application.store()).job_within(id, has_room)?;
            match work {
                Work::Idle => self.jobs.rest(id),
                Work::NotBefore(moment) => self.jobs.wait(id, Wait { moment, server: None }),
                Work::NoRoom(server) => self.jobs.park(id, &server),
                Work::Run(job, request) => {
                    self.jobs.start(id, &request.server, now);
                    context.agent(self.application.store()).job_started(id, job, &request)?;
                    let lane = match &request.command {
                        Command::New(_) => self.application.lane(id)?,
                        _ => Lane::Bulk,
                    };
                    outbox.requests.push((id, job, request, lane));
                }
            }
            // who is touched by these events is asked in the next batch, which follows at once
            self.dispatch(now)?;
        }
        Ok(())
    }

    /// Turns what is durable now into what is to be done.
    fn effects(&mut self, outbox: Outbox) -> Effects {
        let mut requests = Vec::with_capacity(outbox.acknowledgements.len() + outbox.requests.len());
        for (queue, message_id) in outbox.acknowledgements {
            let request = Box::new(queue.acknowledge(message_id));
            let ticket = self.ticket(Errand::Acknowledge(Box::new(queue)));
            requests.push(Submission { ticket, request, lane: Lane::Bulk });
        }
        for (connection, job, request, lane) in outbox.requests {
            let server = request.server.clone();
            let ticket = self.ticket(Errand::Job { connection, job, server });
            requests.push(Submission { ticket, request, lane });
        }
        let asked = self.next_ticket();
        for (server, queues) in &outbox.subscriptions {
            if queues.iter().any(|queue| queue.lane == Lane::Control) {
                self.unheard.insert(server.clone(), asked);
            }
        }
        let again = |queue: OwnQueue| {
            let key = AuthPrivateKey::Ed25519(queue.key);
            (queue.server, Subscription { queue: queue.recipient_id, key, lane: Lane::Bulk })
        };
        Effects {
            requests,
            unsubscriptions: outbox.unsubscriptions,
            subscriptions: outbox.subscriptions,
            asked,
            resubscriptions: outbox.resubscriptions.into_iter().map(again).collect(),
            links: std::mem::take(&mut self.wishes.links),
            all_subscribed: outbox.all_subscribed,
        }
    }

    fn ticket(&mut self, errand: Errand) -> Ticket {
        let ticket = self.next_ticket();
        self.tickets.insert(ticket, errand);
        ticket
    }

    fn next_ticket(&mut self) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket = self.next_ticket.wrapping_add(1);
        ticket
    }
}
