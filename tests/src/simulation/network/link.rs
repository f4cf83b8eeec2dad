//! A program's way to one server: made when there is a reason, made again when it breaks, as
//! `protocol::net::network::server` does.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use protocol::agent::request::Request;
use protocol::net::engine::LinkTag;
use protocol::net::error::{CallError, ConnectError};
use protocol::net::network::{NetworkEvent, SubscriptionEnd, Ticket, link_answer};
use protocol::smp::command::Command;
use protocol::smp::error::ErrorType;
use protocol::smp::ids::RecipientId;
use protocol::smp::key::AuthPrivateKey;
use protocol::smp::response::BrokerMessage;
use protocol::smp::short_link::ShortLink;

use super::session::Session;
use super::{Arrival, Moment, Network, NetworkStep, ProgramId, SessionId};

/// How long a failed attempt answers for the next commands.
const FAILURE_MEMORY_MS: Moment = 3_000;
/// Pauses between attempts: the first, and the longest.
const PAUSE_MS: (Moment, Moment) = (2_000, 180_000);
/// A subscription that was not answered is asked for again after this time.
const ASK_AGAIN_MS: Moment = 10_000;

/// What a command is for.
#[derive(Debug)]
pub(super) enum Purpose {
    Ticket { ticket: Ticket, then: Then, submitted: Moment },
    Link { tag: LinkTag, link: ShortLink },
    Subscribe(RecipientId),
}

/// What a good answer changes.
#[derive(Debug)]
pub(super) enum Then {
    Nothing,
    Subscribed(Box<AuthPrivateKey>),
    Gone(RecipientId),
}

/// A program's way to one server.
#[derive(Debug, Default)]
pub(super) struct Link {
    pub(super) state: LinkState,
    /// Names the attempt or the pause that counts.
    pub(super) attempt: u64,
    tries: u32,
    failed_at: Option<Moment>,
    is_told_down: bool,
    calls: VecDeque<(Purpose, Box<Request>)>,
    pub(super) wanted: BTreeMap<RecipientId, AuthPrivateKey>,
    unanswered: BTreeSet<RecipientId>,
    asks_again: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum LinkState {
    #[default]
    Idle,
    Dialling,
    Up(SessionId),
    /// The last attempt failed, or the session broke: what is subscribed waits for the next one, commands do not.
    Pausing,
}

impl Network {
    pub(super) fn session_of(&self, program: ProgramId, server: usize) -> Option<SessionId> {
        match self.links.get(&(program, server))?.state {
            LinkState::Up(session) => Some(session),
            LinkState::Idle | LinkState::Dialling | LinkState::Pausing => None,
        }
    }

    pub(super) fn call(&mut self, program: ProgramId, purpose: Purpose, request: Box<Request>) {
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

    pub(super) fn subscribe(&mut self, session: SessionId, queue: RecipientId) {
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
    pub(super) fn connect(&mut self, program: ProgramId, server: usize) {
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

    pub(super) fn dialled(&mut self, program: ProgramId, server: usize, attempt: u64) {
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
        self.sessions.insert(id, Session::new(program, server, self.now));
        if let Some(host) = self.servers.get(server) {
            // Nobody is asked for before others here: what is to be heard is heard at once.
            for event in
                [NetworkEvent::Up(host.address.clone()), NetworkEvent::Listening(host.address.clone())]
            {
                self.arrivals.push((program, Arrival::Event(event)));
            }
        }
        for (purpose, request) in calls {
            self.send(id, purpose, request);
        }
        for queue in wanted {
            self.subscribe(id, queue);
        }
    }

    pub(super) fn pause(&mut self, program: ProgramId, server: usize) {
        let Some(link) = self.links.get_mut(&(program, server)) else { return };
        link.state = LinkState::Pausing;
        link.tries += 1;
        link.attempt += 1;
        let attempt = link.attempt;
        let grown = (5..link.tries).fold(PAUSE_MS.0, |ms, _| (ms * 3 / 2).min(PAUSE_MS.1));
        self.after(grown, NetworkStep::Retry { program, server, attempt });
    }

    pub(super) fn down(&mut self, program: ProgramId, server: usize, reason: CallError) {
        let Some(link) = self.links.get_mut(&(program, server)) else { return };
        if !std::mem::replace(&mut link.is_told_down, true)
            && let Some(host) = self.servers.get(server)
        {
            let event = NetworkEvent::Down { server: host.address.clone(), reason };
            self.arrivals.push((program, Arrival::Event(event)));
        }
    }

    pub(super) fn event(
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
    pub(super) fn answered(
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
            (Purpose::Ticket { ticket, then, submitted }, link) => {
                match (&result, then, link) {
                    (Ok(BrokerMessage::Ids(ids)), Then::Subscribed(key), Some(link)) => {
                        link.wanted.insert(ids.recipient_id, *key);
                    }
                    (Ok(_) | Err(CallError::Refused(ErrorType::Auth)), Then::Gone(queue), Some(link)) => {
                        link.wanted.remove(&queue);
                    }
                    _ => {}
                }
                let took_ms = self.now.saturating_sub(submitted).unsigned_abs();
                let answer = NetworkEvent::Answer { ticket, result, took: Duration::from_millis(took_ms) };
                self.arrivals.push((program, Arrival::Event(answer)));
            }
            (Purpose::Subscribe(queue), _) => {
                let Some(server) = server else { return };
                match result {
                    Ok(message) => self.event(program, server, queue, message),
                    Err(CallError::Refused(ErrorType::Auth)) => {
                        self.ended(program, server, queue, SubscriptionEnd::Unknown);
                    }
                    Err(CallError::Disconnected) => {}
                    Err(_) => self.ask_later(program, server, queue),
                }
            }
        }
    }

    pub(super) fn ask_later(&mut self, program: ProgramId, server: usize, queue: RecipientId) {
        let Some(link) = self.links.get_mut(&(program, server)) else { return };
        link.unanswered.insert(queue);
        if !std::mem::replace(&mut link.asks_again, true) {
            self.after(ASK_AGAIN_MS, NetworkStep::AskAgain { program, server });
        }
    }

    pub(super) fn ask_again(&mut self, program: ProgramId, server: usize) {
        let Some(link) = self.links.get_mut(&(program, server)) else { return };
        link.asks_again = false;
        let queues = std::mem::take(&mut link.unanswered);
        if let LinkState::Up(session) = link.state {
            for queue in queues {
                self.subscribe(session, queue);
            }
        }
    }
}

fn unreachable() -> ConnectError {
    ConnectError::Unreachable(Arc::new(io::Error::from(io::ErrorKind::ConnectionRefused)))
}
