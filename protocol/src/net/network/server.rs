//! One server: connects when there is a reason, keeps its session, and starts again when it breaks.
//!
//! ```text
//!            ┌──────── reason: a command, a wanted queue, the next attempt ◀────────┐
//!  waiting ──┘──▶ connecting ──▶ serving ──lost──▶ waiting (2 s, growing to 180 s)  │
//!     │               └──failed (remembered 3 s: commands fail at once)─────────────┘
//!     └──unused for a while──▶ gone
//! ```

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, oneshot};
use tracing::debug;

use super::events::{Inbox, NetworkEvent, SubscriptionEnd, Ticket};
use super::services::{Acceptance, Taking};
use super::subscriptions::Subscriptions;
use super::{Limits, Registration, Subscription};
use crate::agent::Lane;
use crate::agent::request::Request;
use crate::net::backoff::Backoff;
use crate::net::clock;
use crate::net::dial::Dialer;
use crate::net::error::{CallError, ConnectError};
use crate::net::service::ServiceIdentity;
use crate::net::session::{Opening, Outgoing, Owner, Session, SessionEnd};
use crate::smp::SMP_VERSIONS;
use crate::smp::address::ServerAddress;
use crate::smp::command::Command;
use crate::smp::error::ErrorType;
use crate::smp::ids::{RecipientId, ServiceId};
use crate::smp::key::AuthPrivateKey;
use crate::smp::response::BrokerMessage;

/// A failed attempt answers for this time (agent.md §7.2).
const FAILURE_MEMORY: Duration = Duration::from_secs(3);
/// A server without session and purpose is forgotten after this time.
const LINGER: Duration = Duration::from_secs(60);
/// A subscription that was not answered is asked for again after this time.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(10);
/// Commands between this task and its session.
const QUEUE_MAX: usize = 256;

/// What a server task is asked to do.
#[derive(Debug)]
pub(super) enum Instruction {
    Call(Box<Request>, Reply),
    Subscribe(Vec<Subscription>, Ticket),
    SubscribeLater(Box<Subscription>),
    Unsubscribe(Vec<RecipientId>),
}

/// Who waits for an answer.
#[derive(Debug)]
pub(super) enum Reply {
    Caller(oneshot::Sender<Result<BrokerMessage<'static>, CallError>>),
    /// `lane` is that of the queue that is created, if one is.
    Ticket {
        ticket: Ticket,
        submitted: Instant,
        lane: Lane,
    },
}

impl Reply {
    pub(super) fn give(self, inbox: &Inbox, result: Result<BrokerMessage<'static>, CallError>) {
        match self {
            Self::Caller(sender) => {
                // the caller may have stopped waiting
                let _unheard = sender.send(result);
            }
            Self::Ticket { ticket, submitted, .. } => {
                inbox.put(NetworkEvent::Answer { ticket, result, took: submitted.elapsed() });
            }
        }
    }
}

/// The task of one server.
#[derive(Debug)]
pub(super) struct ServerTask {
    state: State,
    limits: Limits,
    dialer: Arc<Dialer>,
    /// The program as a service, and whether this server takes it.
    services: Option<Arc<Taking>>,
    acceptance: Acceptance,
    instructions: mpsc::UnboundedReceiver<Instruction>,
    registration: Registration,
    /// Commands that wait for a session.
    calls: VecDeque<(Box<Request>, Reply)>,
    /// The last attempt, if it failed.
    failure: Option<(Instant, ConnectError)>,
    /// When to try again for the sake of subscriptions.
    next_attempt: Option<Instant>,
    backoff: Backoff,
    /// What the world knows while there is no session.
    told: Option<Told>,
}

/// What was told about a session that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    /// The server is out of reach.
    Down,
    /// The server that is there cannot be used: it is another one, or speaks other versions. Worth telling even to
    /// those who know that the server is out of reach.
    Unusable,
}

/// What the task shares with its session.
#[derive(Debug)]
struct State {
    server: ServerAddress,
    inbox: Inbox,
    subscriptions: Mutex<Subscriptions>,
    /// A subscription has to be asked for again, or the last one is answered.
    changed: Notify,
}

/// What a command in the session is for.
#[derive(Debug)]
enum Tag {
    Subscribe { queue: RecipientId, asked: Instant },
    SubscribeAll(oneshot::Sender<Result<BrokerMessage<'static>, CallError>>),
    Call { reply: Reply, then: Then },
}

/// What a good answer changes.
#[derive(Debug)]
enum Then {
    Nothing,
    /// `NEW` with a subscription: the queue is ours with this key.
    Subscribed(Box<AuthPrivateKey>, Lane),
    /// `DEL`.
    Gone(RecipientId),
}

impl ServerTask {
    pub(super) fn new(
        server: ServerAddress,
        limits: Limits,
        dialer: Arc<Dialer>,
        services: Option<Arc<Taking>>,
        inbox: Inbox,
        instructions: mpsc::UnboundedReceiver<Instruction>,
        registration: Registration,
    ) -> Self {
        let surplus = services.as_ref().map_or(0, |services| services.surplus(&server));
        let subscriptions = Mutex::new(Subscriptions::new(surplus));
        Self {
            state: State { server, inbox, subscriptions, changed: Notify::new() },
            limits,
            dialer,
            services,
            acceptance: Acceptance::default(),
            instructions,
            registration,
            calls: VecDeque::new(),
            failure: None,
            next_attempt: None,
            backoff: Backoff::new(),
            told: None,
        }
    }

    pub(super) async fn run(mut self) {
        while self.wait_for_reason().await {
            match self.open().await {
                Err(error) => self.failed(error),
                Ok(session) => {
                    self.failure = None;
                    self.backoff = Backoff::new();
                    self.next_attempt = None;
                    self.told = None;
                    self.state.inbox.put(NetworkEvent::Up(self.state.server.clone()));
                    match self.serve(session).await {
                        SessionEnd::Closed => return,
                        SessionEnd::Idle => {}
                        SessionEnd::Lost => {
                            self.next_attempt = Some(Instant::now() + self.backoff.next());
                            self.down(CallError::Disconnected);
                        }
                    }
                }
            }
        }
    }

    /// As a service where we have queues, or are about to, and the server takes services.
    async fn open(&mut self) -> Result<Session, ConnectError> {
        if let Some(services) = self.services.clone() {
            services.begun().await;
            self.take_instructions();
            if self.has_queues()
                && let Some(identity) = self.acceptance.identity(&services, &self.state.server)
            {
                match self.connect(Some(&identity)).await {
                    Ok(session) => {
                        self.acceptance.succeeded(true);
                        return Ok(session);
                    }
                    Err(error) if !self.acceptance.failed(&error) => return Err(error),
                    Err(error) => debug!(%error, "the server does not take services"),
                }
            }
        }
        let session = self.connect(None).await?;
        self.acceptance.succeeded(false);
        Ok(session)
    }

    async fn connect(&self, service: Option<&ServiceIdentity>) -> Result<Session, ConnectError> {
        let opening = Opening { dialer: &self.dialer, versions: SMP_VERSIONS, is_proxy: false, service };
        let opening = Session::open(&self.state.server, opening);
        tokio::time::timeout(self.limits.connect, opening).await.unwrap_or(Err(ConnectError::TimedOut))
    }

    /// Takes what waits, without a session.
    fn take_instructions(&mut self) {
        while let Ok(instruction) = self.instructions.try_recv() {
            self.calls.extend(self.state.take(instruction));
        }
    }

    fn has_queues(&self) -> bool {
        let creates = |(request, _): &(Box<Request>, Reply)| matches!(request.command, Command::New(_));
        !self.state.subscriptions().is_empty() || self.calls.iter().any(creates)
    }

    /// Waits until a session is needed. Says no when the task has ended.
    async fn wait_for_reason(&mut self) -> bool {
        loop {
            if !self.calls.is_empty() {
                return true;
            }
            let idle = self.state.subscriptions().is_empty();
            let wake = match self.next_attempt {
                Some(moment) if !idle => moment,
                None if !idle => return true,
                _ => Instant::now() + LINGER,
            };
            tokio::select! {
                instruction = self.instructions.recv() => {
                    let Some(instruction) = instruction else { return false };
                    match (self.state.take(instruction), self.fresh_failure()) {
                        (Some((_, reply)), Some(error)) => reply.give(&self.state.inbox, Err(error.into())),
                        (call, _) => self.calls.extend(call),
                    }
                }
                () = tokio::time::sleep_until(wake.into()) => {
                    if !idle {
                        return true;
                    }
                    if self.registration.retire(&self.instructions) {
                        return false;
                    }
                }
            }
        }
    }

    fn fresh_failure(&self) -> Option<ConnectError> {
        let (moment, error) = self.failure.as_ref()?;
        (moment.elapsed() < FAILURE_MEMORY).then(|| error.clone())
    }

    /// No session: those who waited for it are told, and the world if it did not know.
    fn failed(&mut self, error: ConnectError) {
        debug!(server = %self.state.server.first_host(), %error, "no session");
        self.take_instructions();
        for (_, reply) in self.calls.drain(..) {
            reply.give(&self.state.inbox, Err(error.clone().into()));
        }
        self.failure = Some((Instant::now(), error.clone()));
        self.next_attempt = Some(Instant::now() + self.backoff.next());
        self.down(error.into());
    }

    fn down(&mut self, reason: CallError) {
        let news = Some(if reason.is_temporary() { Told::Down } else { Told::Unusable });
        if self.told < news {
            self.told = news;
            self.state.inbox.put(NetworkEvent::Down { server: self.state.server.clone(), reason });
        }
    }

    /// Runs a session: commands as they come, and all that shall be subscribed.
    async fn serve(&mut self, session: Session) -> SessionEnd {
        self.state.subscriptions().begin();
        let (to_session, mut outgoing) = mpsc::channel(QUEUE_MAX);
        let (state, instructions, calls) = (&self.state, &mut self.instructions, &mut self.calls);
        let feeding = feed(state, session.service(), instructions, calls, to_session);
        let running = session.run(state, &mut outgoing, self.limits);
        tokio::pin!(feeding, running);
        tokio::select! {
            end = &mut running => end,
            () = &mut feeding => running.await,
        }
    }
}

/// Hands commands to the session. Ends with the session, at the latest, or when the network is dropped.
async fn feed(
    state: &State,
    service: Option<ServiceId>,
    instructions: &mut mpsc::UnboundedReceiver<Instruction>,
    calls: &mut VecDeque<(Box<Request>, Reply)>,
    to_session: mpsc::Sender<Outgoing<Tag>>,
) {
    // first of all: the number is right only while no queue comes or goes
    if let Some(service) = service.filter(|_| state.is_subscribed())
        && let Some(queues) = state.subscribe_to_all(service, &to_session).await
    {
        state.subscriptions().counted(queues);
    }
    state.tell_when_listening();
    while let Some((request, reply)) = calls.pop_front() {
        state.forward(&to_session, call(request, reply)).await;
    }
    // not put off by the commands meanwhile
    let mut ask_at = None;
    loop {
        let (may_ask, has_unanswered, holds, recounts, refused_at) = {
            let mut all = state.subscriptions();
            let refused_at = all.ask_refused(Instant::now());
            (all.may_ask(), all.has_unanswered(), all.is_recount_near(), all.is_recount_due(), refused_at)
        };
        if let Some(service) = service.filter(|_| recounts) {
            let queues = state.subscribe_to_all(service, &to_session).await;
            state.recounted(queues);
            continue;
        }
        let moment = ask_at.unwrap_or_else(|| Instant::now() + ASK_AGAIN_AFTER);
        ask_at = has_unanswered.then_some(moment);
        let refused_at = refused_at.filter(|_| !may_ask);
        tokio::select! {
            biased;
            instruction = instructions.recv(), if !holds => {
                let Some(instruction) = instruction else { return };
                match state.take(instruction) {
                    Some((request, reply)) => state.forward(&to_session, call(request, reply)).await,
                    // an answer that was waited for may not be any more
                    None => state.tell_when_listening(),
                }
            }
            room = to_session.reserve(), if may_ask => {
                // the session has ended: what is due is asked for in the next one
                let Ok(room) = room else { return };
                let next = {
                    let mut subscriptions = state.subscriptions();
                    subscriptions.next_due().inspect(|_| subscriptions.sent())
                };
                if let Some((queue, key)) = next {
                    room.send(Outgoing {
                        request: Box::new(subscribe(&state.server, queue, key)),
                        tag: Tag::Subscribe { queue, asked: Instant::now() },
                    });
                }
            }
            () = state.changed.notified() => {}
            () = tokio::time::sleep_until(moment.into()), if !may_ask && has_unanswered => {
                state.subscriptions().ask_again();
                ask_at = None;
            }
            // what is due is taken up at the beginning
            () = tokio::time::sleep_until(refused_at.unwrap_or(moment).into()), if refused_at.is_some() => {}
        }
    }
}

fn call(request: Box<Request>, reply: Reply) -> Outgoing<Tag> {
    let lane = match &reply {
        Reply::Ticket { lane, .. } => *lane,
        Reply::Caller(_) => Lane::Bulk,
    };
    let then = match (&request.command, &request.key) {
        (Command::New(queue), Some(key)) if queue.subscribe => Then::Subscribed(Box::new(key.clone()), lane),
        (Command::Del, _) => {
            RecipientId::try_from(request.entity.as_slice()).map_or(Then::Nothing, Then::Gone)
        }
        _ => Then::Nothing,
    };
    Outgoing { request, tag: Tag::Call { reply, then } }
}

fn subscribe(server: &ServerAddress, queue: RecipientId, key: AuthPrivateKey) -> Request {
    Request {
        server: server.clone(),
        correlation_id: None,
        entity: queue.0.to_vec(),
        key: Some(key),
        command: Command::Sub,
    }
}

impl State {
    fn subscriptions(&self) -> MutexGuard<'_, Subscriptions> {
        self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what is about subscriptions. Gives back a command.
    fn take(&self, instruction: Instruction) -> Option<(Box<Request>, Reply)> {
        match instruction {
            Instruction::Subscribe(queues, ticket) => self.subscriptions().want(queues, ticket),
            Instruction::SubscribeLater(queue) => self.subscriptions().want_later(*queue),
            Instruction::Unsubscribe(queues) => {
                for queue in queues {
                    self.forget(queue);
                }
            }
            Instruction::Call(request, reply) => return Some((request, reply)),
        }
        None
    }

    async fn forward(&self, to_session: &mpsc::Sender<Outgoing<Tag>>, command: Outgoing<Tag>) {
        if !matches!(command.tag, Tag::Call { then: Then::Nothing, .. } | Tag::SubscribeAll(_)) {
            self.subscriptions().sent();
        }
        if let Err(unsent) = to_session.send(command).await {
            self.answered(unsent.0.tag, Err(CallError::Disconnected));
        }
    }

    /// Subscribes to all queues of the service. Says how many they are, if the server does that.
    async fn subscribe_to_all(
        &self,
        service: ServiceId,
        to_session: &mpsc::Sender<Outgoing<Tag>>,
    ) -> Option<i64> {
        let (sender, answer) = oneshot::channel();
        let request = Request {
            server: self.server.clone(),
            correlation_id: None,
            entity: service.as_bytes().to_vec(),
            key: None,
            command: Command::Subs,
        };
        let tag = Tag::SubscribeAll(sender);
        self.forward(to_session, Outgoing { request: Box::new(request), tag }).await;
        match answer.await {
            Ok(Ok(BrokerMessage::Soks(queues))) => Some(queues),
            Ok(Err(CallError::Disconnected)) | Err(_) => None,
            Ok(answer) => {
                debug!(?answer, "the server does not subscribe a service");
                None
            }
        }
    }

    /// The server said how many queues are our service's, now that each was asked for; or did not say.
    fn recounted(&self, queues: Option<i64>) {
        let mut subscriptions = self.subscriptions();
        let Some(queues) = queues else { return subscriptions.give_up_count() };
        if let Some(queues) = subscriptions.recounted(queues) {
            self.inbox.put(NetworkEvent::Surplus { server: self.server.clone(), queues });
        }
    }

    /// A queue that was asked for is on its way no more: maybe there is room to ask for others.
    fn returned(&self, asked: Instant) {
        let mut subscriptions = self.subscriptions();
        let could_ask = subscriptions.may_ask();
        subscriptions.returned(asked.elapsed(), clock::now());
        if !could_ask && subscriptions.may_ask() {
            self.changed.notify_one();
        }
    }

    /// Once all that is asked for first is answered.
    fn tell_when_listening(&self) {
        let mut subscriptions = self.subscriptions();
        if subscriptions.begins_to_listen() {
            let (server, asked) = (self.server.clone(), subscriptions.newest());
            self.inbox.put(NetworkEvent::Listening { server, asked });
        }
    }

    /// A command that changes what the server has of us is answered.
    fn settled(&self) {
        let mut subscriptions = self.subscriptions();
        subscriptions.answered();
        if subscriptions.is_recount_due() {
            self.changed.notify_one();
        }
    }

    fn ended(&self, queue: RecipientId, reason: SubscriptionEnd) {
        if self.forget(queue) {
            let server = self.server.clone();
            self.inbox.put(NetworkEvent::SubscriptionEnded { server, queue, reason });
        }
    }

    /// The queue is gone, or somebody else has it. Says whether it was wanted.
    fn forget(&self, queue: RecipientId) -> bool {
        self.not_refused(queue, false);
        self.subscriptions().forget(&queue)
    }

    fn not_refused(&self, queue: RecipientId, is_subscribed: bool) {
        if self.subscriptions().take(&queue) {
            let server = self.server.clone();
            self.inbox.put(NetworkEvent::RefusalOver { server, queue, is_subscribed });
        }
    }

    /// The server refuses a queue: it does not know it, or does not subscribe it for now.
    fn refused(&self, queue: RecipientId, error: ErrorType) {
        if error == ErrorType::Auth {
            return self.ended(queue, SubscriptionEnd::Unknown);
        }
        if self.subscriptions().refuse(queue, Instant::now()) {
            let server = self.server.clone();
            self.inbox.put(NetworkEvent::QueueRefused { server, queue, error });
        }
        self.changed.notify_one();
    }

    fn subscribed(&self, queue: RecipientId, result: Result<BrokerMessage<'static>, CallError>) {
        if result.is_ok() {
            self.subscriptions().subscribed(&queue);
            self.not_refused(queue, true);
        }
        match result {
            // older servers answer with the first message (smp.md §10.1)
            Ok(BrokerMessage::Msg { message_id, body }) => self.inbox.put(NetworkEvent::Message {
                server: self.server.clone(),
                queue,
                message_id,
                body: body.into_owned(),
            }),
            Ok(_) => {}
            Err(CallError::Refused(error)) if !is_for_now(&error) => self.refused(queue, error),
            // with the next session everything is asked for again anyway
            Err(CallError::Disconnected) => {}
            Err(_) => {
                self.subscriptions().retry(queue);
                self.changed.notify_one();
            }
        }
    }
}

impl Owner for State {
    type Tag = Tag;

    fn answered(&self, tag: Tag, result: Result<BrokerMessage<'static>, CallError>) {
        match tag {
            Tag::Subscribe { queue, asked } => {
                self.returned(asked);
                self.subscribed(queue, result);
                self.settled();
                self.tell_when_listening();
            }
            Tag::SubscribeAll(sender) => {
                // whoever asked went with the session
                let _unheard = sender.send(result);
            }
            Tag::Call { reply, then } => {
                let changes = !matches!(then, Then::Nothing);
                match (&result, then) {
                    (Ok(BrokerMessage::Ids(ids)), Then::Subscribed(key, lane)) => {
                        let subscription = Subscription { queue: ids.recipient_id, key: *key, lane };
                        self.subscriptions().has(subscription);
                    }
                    (Ok(_) | Err(CallError::Refused(ErrorType::Auth)), Then::Gone(queue)) => {
                        self.forget(queue);
                    }
                    _ => {}
                }
                if changes {
                    self.settled();
                }
                reply.give(&self.inbox, result);
            }
        }
    }

    async fn told(&self, entity_id: &[u8], message: BrokerMessage<'_>) {
        if let BrokerMessage::Ends(_) = message {
            let refused = self.subscriptions().forget_all();
            for queue in refused {
                let server = self.server.clone();
                self.inbox.put(NetworkEvent::RefusalOver { server, queue, is_subscribed: false });
            }
            return self.inbox.put(NetworkEvent::ServiceMoved(self.server.clone()));
        }
        let Ok(queue) = RecipientId::try_from(entity_id) else { return };
        match message {
            BrokerMessage::Msg { message_id, body } => {
                let (server, body) = (self.server.clone(), body.into_owned());
                self.inbox.put_bounded(NetworkEvent::Message { server, queue, message_id, body }).await;
            }
            BrokerMessage::End => self.ended(queue, SubscriptionEnd::Moved),
            BrokerMessage::Deld => self.ended(queue, SubscriptionEnd::Deleted),
            BrokerMessage::Err(error) => self.refused(queue, error),
            _ => {}
        }
    }

    fn is_subscribed(&self) -> bool {
        !self.subscriptions().is_empty()
    }
}

/// Whether the server has not said yes or no, and may do so soon. Else it does not know the queue, its operator has
/// blocked it, or the server does not allow the command.
fn is_for_now(error: &ErrorType) -> bool {
    !matches!(error, ErrorType::Auth | ErrorType::Blocked(_) | ErrorType::Command(_) | ErrorType::Service)
}
