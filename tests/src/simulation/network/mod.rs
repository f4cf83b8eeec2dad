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

mod link;
mod session;

use std::collections::BTreeMap;

use protocol::agent::request::Request;
use protocol::net::engine::{Effects, LinkResult, Submission};
use protocol::net::error::ConnectError;
use protocol::net::network::{NetworkEvent, link_request};
use protocol::smp::address::ServerAddress;
use protocol::smp::command::Command;
use protocol::smp::ids::RecipientId;
use protocol::smp::response::BrokerMessage;

use self::link::{Instruction, Link, LinkState, Purpose, Then};
use self::session::{Session, SessionState};
use super::agenda::Moment;
use super::chance::Chance;
use super::server::Server;

/// Names a program.
pub(super) type ProgramId = usize;
/// Names a session; never used twice.
pub(super) type SessionId = u64;
/// Names a command in its session.
type CallId = u64;

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
    /// Of its own accord; about all queues of the service if about none.
    Told(Option<RecipientId>, BrokerMessage<'static>),
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

/// All of it.
pub(super) struct Network {
    pub(super) now: Moment,
    pub(super) servers: Vec<ServerHost>,
    links: BTreeMap<(ProgramId, usize), Link>,
    services: BTreeMap<ProgramId, Service>,
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

/// A running program as a service of its servers.
#[derive(Debug)]
struct Service {
    /// How many queues more servers have of it than it knows.
    surplus: BTreeMap<ServerAddress, i64>,
    /// Whether it knows all its queues.
    has_begun: bool,
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
            services: BTreeMap::new(),
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
        for Submission { ticket, request, lane } in effects.requests {
            let then = match (&request.command, &request.key) {
                (Command::New(queue), Some(key)) if queue.subscribe => {
                    Then::Subscribed(Box::new(key.clone()), lane)
                }
                (Command::Del, _) => {
                    RecipientId::try_from(request.entity.as_slice()).map_or(Then::Nothing, Then::Gone)
                }
                _ => Then::Nothing,
            };
            let submitted = self.now;
            self.call(program, Purpose::Ticket { ticket, then, submitted }, request);
        }
        for (address, queues) in effects.unsubscriptions {
            let Some(server) = self.server(&address) else { continue };
            self.instruct(program, server, Instruction::Unsubscribe(queues));
        }
        for (address, queues) in effects.subscriptions {
            let Some(server) = self.server(&address) else { continue };
            self.instruct(program, server, Instruction::Subscribe(queues, effects.asked));
        }
        for (address, queue) in effects.resubscriptions {
            let Some(server) = self.server(&address) else { continue };
            self.instruct(program, server, Instruction::SubscribeLater(queue));
        }
        for (tag, link) in effects.links {
            match link_request(&link) {
                Ok(request) => self.call(program, Purpose::Link { tag, link }, Box::new(request)),
                Err(error) => self.arrivals.push((program, Arrival::Link((tag, Err(error))))),
            }
        }
        if effects.all_subscribed {
            self.begin_service(program);
        }
    }

    fn call(&mut self, program: ProgramId, purpose: Purpose, request: Box<Request>) {
        match self.server(&request.server) {
            Some(server) => self.instruct(program, server, Instruction::Call(purpose, request)),
            None => self.answered(program, None, purpose, Err(ConnectError::NoUsableHost.into())),
        }
    }

    /// A program starts, which presents itself as a service, and remembers this of its servers.
    pub(super) fn serve(&mut self, program: ProgramId, surplus: BTreeMap<ServerAddress, i64>) {
        self.services.insert(program, Service { surplus, has_begun: false });
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
        self.services.remove(&program);
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

    fn server(&self, address: &ServerAddress) -> Option<usize> {
        self.servers.iter().position(|host| host.address == *address)
    }

    fn after(&mut self, ms: Moment, step: NetworkStep) {
        self.steps.push((self.now.saturating_add(ms), step));
    }
}
