//! The network between programs and servers: sessions that take time, break, and come back.
//!
//! ```text
//! program ──Effects──▶ link (one for each server) ──session──▶ server
//!         ◀──Arrival── what `protocol::net::network` would have told, in the same order
//! ```
//!
//! A session keeps the order of what goes each way, as TCP does; sessions know nothing of each other. When one breaks,
//! whatever is on its way is lost, and the server may learn of it much later than the program, which then subscribes
//! again in another one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;

use protocol::agent::request::Request;
use protocol::net::engine::{Effects, LinkResult, LinkTag};
use protocol::net::error::{CallError, ConnectError};
use protocol::net::network::{
    NetworkEvent, Subscription, SubscriptionEnd, Ticket, link_answer, link_request,
};
use protocol::smp::address::ServerAddress;
use protocol::smp::command::Command;
use protocol::smp::error::ErrorType;
use protocol::smp::ids::RecipientId;
use protocol::smp::key::AuthPrivateKey;
use protocol::smp::response::BrokerMessage;
use protocol::smp::short_link::ShortLink;
use protocol::timestamp::Timestamp;

use super::agenda::Moment;
use super::chance::Chance;
use super::server::Server;

/// Names a program.
pub(super) type ProgramId = usize;
/// Names a session; never used twice.
pub(super) type SessionId = u64;
/// Names a command in its session.
type CallId = u64;

/// How long a program waits for an answer.
const ANSWER_LIMIT_MS: Moment = 30_000;
/// Commands without an answer after which a session is given up.
const TIMEOUTS_MAX: u32 = 3;
/// How long a failed attempt answers for the next commands.
const FAILURE_MEMORY_MS: Moment = 3_000;
/// Pauses between attempts: the first, and the longest.
const PAUSE_MS: (Moment, Moment) = (2_000, 180_000);
/// A subscription that was not answered is asked for again after this time.
const ASK_AGAIN_MS: Moment = 10_000;

/// What happens on the network.
#[derive(Debug)]
pub(super) enum NetworkStep {
    /// An attempt to make a session ends.
    Dialled { program: ProgramId, server: usize, attempt: u64 },
    /// It is time for another attempt.
    Retry { program: ProgramId, server: usize, attempt: u64 },
    /// A command reaches its server.
    Request { session: SessionId, call: CallId, request: Box<Request> },
    /// Something of the server reaches the program.
    Reply { session: SessionId, reply: Box<Reply> },
    /// The program learns that the session is gone.
    Lost { session: SessionId },
    /// The server learns that the session is gone.
    Forgotten { session: SessionId },
    /// An answer has taken too long.
    Deadline { session: SessionId, call: CallId },
    /// Subscriptions that were not answered are asked for again.
    AskAgain { program: ProgramId, server: usize },
}

/// What a server says.
#[derive(Debug)]
pub(super) enum Reply {
    /// To a command, about this queue if about one of the program's.
    Answer(CallId, Option<RecipientId>, BrokerMessage<'static>),
    /// Of its own accord.
    Told(RecipientId, BrokerMessage<'static>),
}

/// What a program hears of its network.
#[derive(Debug)]
pub(super) enum Arrival {
    Event(NetworkEvent),
    Link(LinkResult),
}

/// How often what goes wrong, of 10,000 cases.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct NetworkFaults {
    /// The session breaks before a command is executed.
    pub(super) request_lost: u32,
    /// The session breaks after it was executed.
    pub(super) answer_lost: u32,
    /// The server stops talking in this session for longer than anybody waits.
    pub(super) stalls: u32,
    /// An attempt to connect fails.
    pub(super) not_connected: u32,
}

/// What a command is for.
#[derive(Debug)]
enum Purpose {
    Ticket { ticket: Ticket, then: Then },
    Link { tag: LinkTag, link: ShortLink },
    Subscribe(RecipientId),
}

/// What a good answer changes.
#[derive(Debug)]
enum Then {
    Nothing,
    Subscribed(Box<AuthPrivateKey>),
    Gone(RecipientId),
}

/// A program's way to one server.
#[derive(Debug, Default)]
struct Link {
    state: LinkState,
    /// Names the attempt or the pause that counts.
    attempt: u64,
    tries: u32,
    failed_at: Option<Moment>,
    is_told_down: bool,
    calls: VecDeque<(Purpose, Box<Request>)>,
    wanted: BTreeMap<RecipientId, AuthPrivateKey>,
    unanswered: BTreeSet<RecipientId>,
    asks_again: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum LinkState {
    #[default]
    Idle,
    Dialling,
    Up(SessionId),
    /// The last attempt failed, or the session broke: what is subscribed waits for the next one, commands do not.
    Pausing,
}

#[derive(Debug)]
struct Session {
    program: ProgramId,
    server: usize,
    state: SessionState,
    /// When the last thing that is on its way arrives, at the server and at the program.
    arrives: (Moment, Moment),
    pending: BTreeMap<CallId, Purpose>,
    timeouts: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SessionState {
    Whole,
    /// Nothing reaches the program any more; what is on its way to the server may.
    Broken {
        reaches_server: bool,
    },
}

/// All of it.
pub(super) struct Network {
    pub(super) now: Moment,
    pub(super) servers: Vec<ServerHost>,
    links: BTreeMap<(ProgramId, usize), Link>,
    sessions: BTreeMap<SessionId, Session>,
    last_session: SessionId,
    last_call: CallId,
    pub(super) faults: NetworkFaults,
    pub(super) chance: Chance,
    /// To be put on the agenda.
    pub(super) steps: Vec<(Moment, NetworkStep)>,
    /// To be given to programs.
    pub(super) arrivals: Vec<(ProgramId, Arrival)>,
    /// What went wrong.
    pub(super) told: Vec<String>,
}

/// A server and whether it runs.
pub(super) struct ServerHost {
    pub(super) address: ServerAddress,
    pub(super) server: Server,
    pub(super) is_up: bool,
}

impl Network {
    pub(super) fn new(servers: Vec<ServerHost>, faults: NetworkFaults, chance: Chance) -> Self {
        Self {
            now: 0,
            servers,
            links: BTreeMap::new(),
            sessions: BTreeMap::new(),
            last_session: 0,
            last_call: 0,
            faults,
            chance,
            steps: Vec::new(),
            arrivals: Vec::new(),
            told: Vec::new(),
        }
    }

    /// Carries out what a program decided.
    pub(super) fn carry_out(&mut self, program: ProgramId, effects: Effects) {
        for (ticket, request) in effects.requests {
            let then = match (&request.command, &request.key) {
                (Command::New(queue), Some(key)) if queue.subscribe => {
                    Then::Subscribed(Box::new(key.clone()))
                }
                (Command::Del, _) => {
                    RecipientId::try_from(request.entity.as_slice()).map_or(Then::Nothing, Then::Gone)
                }
                _ => Then::Nothing,
            };
            self.call(program, Purpose::Ticket { ticket, then }, request);
        }
        for (address, queues) in effects.subscriptions {
            let Some(server) = self.server(&address) else { continue };
            for Subscription { queue, key } in queues {
                self.links.entry((program, server)).or_default().wanted.insert(queue, key);
                if let Some(session) = self.session_of(program, server) {
                    self.subscribe(session, queue);
                }
            }
            self.connect(program, server);
        }
        for (address, Subscription { queue, key }) in effects.resubscriptions {
            let Some(server) = self.server(&address) else { continue };
            self.links.entry((program, server)).or_default().wanted.insert(queue, key);
            self.ask_later(program, server, queue);
            self.connect(program, server);
        }
        for (tag, link) in effects.links {
            match link_request(&link) {
                Ok(request) => self.call(program, Purpose::Link { tag, link }, Box::new(request)),
                Err(error) => self.arrivals.push((program, Arrival::Link((tag, Err(error))))),
            }
        }
    }

    /// What was on the agenda happens.
    pub(super) fn step(&mut self, step: NetworkStep) {
        match step {
            NetworkStep::Dialled { program, server, attempt } => self.dialled(program, server, attempt),
            NetworkStep::Retry { program, server, attempt } => {
                let link = self.links.get_mut(&(program, server));
                if let Some(link) = link.filter(|it| it.attempt == attempt && it.state == LinkState::Pausing)
                {
                    link.state = LinkState::Idle;
                    self.connect(program, server);
                }
            }
            NetworkStep::Request { session, call, request } => self.requested(session, call, &request),
            NetworkStep::Reply { session, reply } => self.replied(session, *reply),
            NetworkStep::Lost { session } => self.lost(session),
            NetworkStep::Forgotten { session } => self.forgotten(session),
            NetworkStep::Deadline { session, call } => self.timed_out(session, call),
            NetworkStep::AskAgain { program, server } => self.ask_again(program, server),
        }
    }

    /// A program dies: it forgets everything, and servers hear of it sooner or later.
    pub(super) fn forget_program(&mut self, program: ProgramId) {
        self.links.retain(|(of, _), _| *of != program);
        self.arrivals.retain(|(of, _)| *of != program);
        for id in self.whole(|session| session.program == program) {
            self.break_session(id);
        }
    }

    /// A server stops: all sessions break, what is stored stays.
    pub(super) fn stop_server(&mut self, server: usize) {
        if let Some(host) = self.servers.get_mut(server) {
            host.is_up = false;
        }
        for id in self.whole(|session| session.server == server) {
            self.break_session(id);
        }
        let Some(host) = self.servers.get_mut(server) else { return };
        for (id, session) in self.sessions.iter_mut().filter(|(_, session)| session.server == server) {
            session.state = SessionState::Broken { reaches_server: false };
            host.server.forget(*id);
        }
    }

    /// One of the sessions in use breaks.
    pub(super) fn break_some_session(&mut self) {
        let whole = self.whole(|_| true);
        if let Some(id) = self.chance.pick(&whole) {
            self.break_session(id);
        }
    }

    fn whole(&self, wanted: impl Fn(&Session) -> bool) -> Vec<SessionId> {
        let whole = |session: &Session| session.state == SessionState::Whole && wanted(session);
        self.sessions.iter().filter(|(_, session)| whole(session)).map(|(id, _)| *id).collect()
    }

    fn server(&self, address: &ServerAddress) -> Option<usize> {
        self.servers.iter().position(|host| host.address == *address)
    }

    fn session_of(&self, program: ProgramId, server: usize) -> Option<SessionId> {
        match self.links.get(&(program, server))?.state {
            LinkState::Up(session) => Some(session),
            LinkState::Idle | LinkState::Dialling | LinkState::Pausing => None,
        }
    }

    fn after(&mut self, ms: Moment, step: NetworkStep) {
        self.steps.push((self.now.saturating_add(ms), step));
    }

    fn call(&mut self, program: ProgramId, purpose: Purpose, request: Box<Request>) {
        let Some(server) = self.server(&request.server) else {
            return self.answered(program, None, purpose, Err(ConnectError::NoUsableHost.into()));
        };
        if let Some(session) = self.session_of(program, server) {
            return self.send(session, purpose, request);
        }
        let link = self.links.entry((program, server)).or_default();
        let now = self.now;
        let is_fresh = link.failed_at.is_some_and(|at| now.saturating_sub(at) < FAILURE_MEMORY_MS);
        if link.state == LinkState::Pausing && is_fresh {
            return self.answered(program, Some(server), purpose, Err(unreachable().into()));
        }
        link.calls.push_back((purpose, request));
        self.connect(program, server);
    }

    fn send(&mut self, id: SessionId, purpose: Purpose, request: Box<Request>) {
        self.last_call += 1;
        let call = self.last_call;
        let latency = self.chance.latency(40);
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.pending.insert(call, purpose);
        session.arrives.0 = session.arrives.0.max(self.now.saturating_add(latency));
        let at = session.arrives.0;
        self.steps.push((at, NetworkStep::Request { session: id, call, request }));
        self.after(ANSWER_LIMIT_MS, NetworkStep::Deadline { session: id, call });
    }

    fn subscribe(&mut self, session: SessionId, queue: RecipientId) {
        let Some((program, server)) = self.sessions.get(&session).map(|it| (it.program, it.server)) else {
            return;
        };
        let Some(key) = self.links.get(&(program, server)).and_then(|link| link.wanted.get(&queue)) else {
            return;
        };
        let Some(host) = self.servers.get(server) else { return };
        let request = Request {
            server: host.address.clone(),
            correlation_id: None,
            entity: queue.0.to_vec(),
            key: Some(key.clone()),
            command: Command::Sub,
        };
        self.send(session, Purpose::Subscribe(queue), Box::new(request));
    }

    /// Makes a session, if there is none and there is a reason for one.
    fn connect(&mut self, program: ProgramId, server: usize) {
        let latency = self.chance.latency(120);
        let Some(link) = self.links.get_mut(&(program, server)) else { return };
        let has_reason = match link.state {
            LinkState::Idle => !link.calls.is_empty() || !link.wanted.is_empty(),
            LinkState::Pausing => !link.calls.is_empty(),
            LinkState::Dialling | LinkState::Up(_) => false,
        };
        if !has_reason {
            return;
        }
        link.state = LinkState::Dialling;
        link.attempt += 1;
        let attempt = link.attempt;
        self.after(latency, NetworkStep::Dialled { program, server, attempt });
    }

    fn dialled(&mut self, program: ProgramId, server: usize, attempt: u64) {
        let is_up = self.servers.get(server).is_some_and(|host| host.is_up);
        let fails = !is_up || self.chance.happens(self.faults.not_connected);
        let Some(link) = self.links.get_mut(&(program, server)) else { return };
        if link.attempt != attempt || link.state != LinkState::Dialling {
            return;
        }
        if fails {
            link.failed_at = Some(self.now);
            let calls: Vec<_> = link.calls.drain(..).collect();
            self.pause(program, server);
            for (purpose, _) in calls {
                self.answered(program, Some(server), purpose, Err(unreachable().into()));
            }
            return self.down(program, server, unreachable().into());
        }
        self.last_session += 1;
        let id = self.last_session;
        link.state = LinkState::Up(id);
        link.tries = 0;
        link.failed_at = None;
        link.is_told_down = false;
        link.unanswered.clear();
        let (wanted, calls): (Vec<RecipientId>, Vec<_>) =
            (link.wanted.keys().copied().collect(), link.calls.drain(..).collect());
        let session = Session {
            program,
            server,
            state: SessionState::Whole,
            arrives: (self.now, self.now),
            pending: BTreeMap::new(),
            timeouts: 0,
        };
        self.sessions.insert(id, session);
        if let Some(host) = self.servers.get(server) {
            self.arrivals.push((program, Arrival::Event(NetworkEvent::Up(host.address.clone()))));
        }
        for (purpose, request) in calls {
            self.send(id, purpose, request);
        }
        for queue in wanted {
            self.subscribe(id, queue);
        }
    }

    fn pause(&mut self, program: ProgramId, server: usize) {
        let Some(link) = self.links.get_mut(&(program, server)) else { return };
        link.state = LinkState::Pausing;
        link.tries += 1;
        link.attempt += 1;
        let attempt = link.attempt;
        let grown = (5..link.tries).fold(PAUSE_MS.0, |ms, _| (ms * 3 / 2).min(PAUSE_MS.1));
        self.after(grown, NetworkStep::Retry { program, server, attempt });
    }

    fn down(&mut self, program: ProgramId, server: usize, reason: CallError) {
        let Some(link) = self.links.get_mut(&(program, server)) else { return };
        if !std::mem::replace(&mut link.is_told_down, true)
            && let Some(host) = self.servers.get(server)
        {
            let event = NetworkEvent::Down { server: host.address.clone(), reason };
            self.arrivals.push((program, Arrival::Event(event)));
        }
    }

    fn requested(&mut self, id: SessionId, call: CallId, request: &Request) {
        let Some(session) = self.sessions.get(&id) else { return };
        if session.state == (SessionState::Broken { reaches_server: false }) {
            return;
        }
        let server = session.server;
        if self.chance.happens(self.faults.request_lost) {
            self.told.push(format!("session {id} breaks before {}", request.command.tag()));
            return self.break_session(id);
        }
        if self.chance.happens(self.faults.stalls) {
            self.told.push(format!("session {id} stalls at {}", request.command.tag()));
            let stall = self.chance.between(ANSWER_LIMIT_MS / 2, 4 * ANSWER_LIMIT_MS);
            if let Some(session) = self.sessions.get_mut(&id) {
                session.arrives.1 = session.arrives.1.max(self.now.saturating_add(stall));
            }
        }
        let Some(host) = self.servers.get_mut(server) else { return };
        let (answer, told) = host.server.execute(id, request, Timestamp(self.now));
        let queue = RecipientId::try_from(request.entity.as_slice()).ok();
        self.reply(id, Reply::Answer(call, queue, answer));
        for (session, queue, message) in told {
            self.reply(session, Reply::Told(queue, message));
        }
        if self.chance.happens(self.faults.answer_lost) {
            self.told.push(format!("session {id} breaks after {}", request.command.tag()));
            self.break_session(id);
        }
    }

    fn reply(&mut self, id: SessionId, reply: Reply) {
        let latency = self.chance.latency(40);
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.arrives.1 = session.arrives.1.max(self.now.saturating_add(latency));
        let at = session.arrives.1;
        self.steps.push((at, NetworkStep::Reply { session: id, reply: Box::new(reply) }));
    }

    fn replied(&mut self, id: SessionId, reply: Reply) {
        let session = self.sessions.get_mut(&id).filter(|session| session.state == SessionState::Whole);
        let Some(session) = session else { return };
        session.timeouts = 0;
        let (program, server) = (session.program, session.server);
        match reply {
            Reply::Answer(call, queue, message) => match (session.pending.remove(&call), queue) {
                (Some(purpose), _) => {
                    let result = match message {
                        BrokerMessage::Err(error) => Err(CallError::Refused(error)),
                        message => Ok(message),
                    };
                    self.answered(program, Some(server), purpose, result);
                }
                // to a command that was given up: a message is outstanding all the same
                (None, Some(queue)) => self.event(program, server, queue, message),
                (None, None) => {}
            },
            Reply::Told(queue, message) => self.event(program, server, queue, message),
        }
    }

    fn event(
        &mut self,
        program: ProgramId,
        server: usize,
        queue: RecipientId,
        message: BrokerMessage<'static>,
    ) {
        match message {
            BrokerMessage::Msg { message_id, body } => {
                let Some(host) = self.servers.get(server) else { return };
                let (server, body) = (host.address.clone(), body.into_owned());
                let event = NetworkEvent::Message { server, queue, message_id, body };
                self.arrivals.push((program, Arrival::Event(event)));
            }
            BrokerMessage::End => self.ended(program, server, queue, SubscriptionEnd::Moved),
            BrokerMessage::Deld => self.ended(program, server, queue, SubscriptionEnd::Deleted),
            _ => {}
        }
    }

    fn ended(&mut self, program: ProgramId, server: usize, queue: RecipientId, reason: SubscriptionEnd) {
        let Some(link) = self.links.get_mut(&(program, server)) else { return };
        if link.wanted.remove(&queue).is_some()
            && let Some(host) = self.servers.get(server)
        {
            let event = NetworkEvent::SubscriptionEnded { server: host.address.clone(), queue, reason };
            self.arrivals.push((program, Arrival::Event(event)));
        }
    }

    /// As the network task of a server does.
    fn answered(
        &mut self,
        program: ProgramId,
        server: Option<usize>,
        purpose: Purpose,
        result: Result<BrokerMessage<'static>, CallError>,
    ) {
        let link = server.and_then(|server| self.links.get_mut(&(program, server)));
        match (purpose, link) {
            (Purpose::Link { tag, link }, _) => {
                self.arrivals.push((program, Arrival::Link((tag, link_answer(&link, result)))));
            }
            (Purpose::Ticket { ticket, then }, link) => {
                match (&result, then, link) {
                    (Ok(BrokerMessage::Ids(ids)), Then::Subscribed(key), Some(link)) => {
                        link.wanted.insert(ids.recipient_id, *key);
                    }
                    (Ok(_) | Err(CallError::Refused(ErrorType::Auth)), Then::Gone(queue), Some(link)) => {
                        link.wanted.remove(&queue);
                    }
                    _ => {}
                }
                self.arrivals.push((program, Arrival::Event(NetworkEvent::Answer { ticket, result })));
            }
            (Purpose::Subscribe(queue), _) => {
                let Some(server) = server else { return };
                match result {
                    Ok(message) => self.event(program, server, queue, message),
                    Err(CallError::Refused(error @ (ErrorType::Auth | ErrorType::Command(_)))) => {
                        self.ended(program, server, queue, SubscriptionEnd::Refused(error));
                    }
                    Err(CallError::Disconnected) => {}
                    Err(_) => self.ask_later(program, server, queue),
                }
            }
        }
    }

    fn ask_later(&mut self, program: ProgramId, server: usize, queue: RecipientId) {
        let Some(link) = self.links.get_mut(&(program, server)) else { return };
        link.unanswered.insert(queue);
        if !std::mem::replace(&mut link.asks_again, true) {
            self.after(ASK_AGAIN_MS, NetworkStep::AskAgain { program, server });
        }
    }

    fn ask_again(&mut self, program: ProgramId, server: usize) {
        let Some(link) = self.links.get_mut(&(program, server)) else { return };
        link.asks_again = false;
        let queues = std::mem::take(&mut link.unanswered);
        if let LinkState::Up(session) = link.state {
            for queue in queues {
                self.subscribe(session, queue);
            }
        }
    }

    fn timed_out(&mut self, id: SessionId, call: CallId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let Some(purpose) = session.pending.remove(&call) else { return };
        session.timeouts += 1;
        let (program, server, is_dead) = (session.program, session.server, session.timeouts >= TIMEOUTS_MAX);
        self.answered(program, Some(server), purpose, Err(CallError::TimedOut));
        if is_dead {
            self.break_session(id);
        }
    }

    /// A session breaks: the program hears of it soon, the server perhaps much later.
    fn break_session(&mut self, id: SessionId) {
        let reaches_server = self.chance.happens(5_000);
        let Some(session) = self.sessions.get_mut(&id).filter(|it| it.state == SessionState::Whole) else {
            return;
        };
        session.state = SessionState::Broken { reaches_server };
        let soon = self.chance.latency(30);
        self.after(soon, NetworkStep::Lost { session: id });
        let late = if self.chance.happens(3_000) { 60_000 } else { 300 };
        let later = soon.saturating_add(self.chance.between(100, late));
        self.after(later, NetworkStep::Forgotten { session: id });
    }

    fn lost(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let (program, server) = (session.program, session.server);
        let pending = std::mem::take(&mut session.pending);
        let link = self.links.get(&(program, server));
        if !link.is_some_and(|link| link.state == LinkState::Up(id)) {
            return;
        }
        self.pause(program, server);
        for purpose in pending.into_values() {
            self.answered(program, Some(server), purpose, Err(CallError::Disconnected));
        }
        self.down(program, server, CallError::Disconnected);
    }

    fn forgotten(&mut self, id: SessionId) {
        let Some(session) = self.sessions.remove(&id) else { return };
        if let Some(host) = self.servers.get_mut(session.server) {
            host.server.forget(id);
        }
    }
}

fn unreachable() -> ConnectError {
    ConnectError::Unreachable(Arc::new(io::Error::from(io::ErrorKind::ConnectionRefused)))
}
