//! A session between a program and a server: what goes either way keeps its order, until it breaks.

use std::collections::BTreeMap;

use protocol::agent::request::Request;
use protocol::net::error::CallError;
use protocol::smp::ids::{RecipientId, ServiceId};
use protocol::smp::response::BrokerMessage;
use protocol::timestamp::Timestamp;

use super::link::{LinkState, Purpose};
use super::{CallId, Moment, Network, NetworkStep, ProgramId, Reply, SessionId};

/// How long a program waits for an answer.
const ANSWER_LIMIT_MS: Moment = 30_000;
/// Commands without an answer after which a session is given up.
const TIMEOUTS_MAX: u32 = 3;

/// A session, until its server has forgotten it.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) program: ProgramId,
    pub(super) server: usize,
    /// As which service the program presented itself.
    pub(super) service: Option<ServiceId>,
    pub(super) state: SessionState,
    /// When the last thing that is on its way arrives, at the server and at the program.
    arrives: (Moment, Moment),
    pending: BTreeMap<CallId, Purpose>,
    timeouts: u32,
}

/// Whether it still carries anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SessionState {
    Whole,
    /// Nothing reaches the program any more; what is on its way to the server may.
    Broken {
        reaches_server: bool,
    },
}

impl Session {
    /// A new one.
    pub(super) fn new(program: ProgramId, server: usize, service: Option<ServiceId>, now: Moment) -> Self {
        let (state, pending) = (SessionState::Whole, BTreeMap::new());
        Self { program, server, service, state, arrives: (now, now), pending, timeouts: 0 }
    }
}

impl Network {
    pub(super) fn whole(&self, wanted: impl Fn(&Session) -> bool) -> Vec<SessionId> {
        let whole = |session: &Session| session.state == SessionState::Whole && wanted(session);
        self.sessions.iter().filter(|(_, session)| whole(session)).map(|(id, _)| *id).collect()
    }

    pub(super) fn send(&mut self, id: SessionId, purpose: Purpose, request: Box<Request>) {
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

    pub(super) fn requested(&mut self, id: SessionId, call: CallId, request: &Request) {
        let Some(session) = self.sessions.get(&id) else { return };
        if session.state == (SessionState::Broken { reaches_server: false }) {
            return;
        }
        let (server, service) = (session.server, session.service);
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
        let (answer, told) = host.server.execute((id, service), request, Timestamp(self.now));
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

    pub(super) fn replied(&mut self, id: SessionId, reply: Reply) {
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
            Reply::Told(Some(queue), message) => self.event(program, server, queue, message),
            Reply::Told(None, _) => self.service_moved(program, server),
        }
    }

    pub(super) fn timed_out(&mut self, id: SessionId, call: CallId) {
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
    pub(super) fn break_session(&mut self, id: SessionId) {
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

    pub(super) fn lost(&mut self, id: SessionId) {
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
        self.take_back(program, server);
    }

    pub(super) fn forgotten(&mut self, id: SessionId) {
        let Some(session) = self.sessions.remove(&id) else { return };
        if let Some(host) = self.servers.get_mut(session.server) {
            host.server.forget(id);
        }
    }
}
