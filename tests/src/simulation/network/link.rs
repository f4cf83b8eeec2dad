//! A program's way to one server: made when there is a reason, made again when it breaks, as
//! `protocol::net::network::server` does.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use protocol::agent::Lane;
use protocol::agent::request::Request;
use protocol::net::engine::LinkTag;
use protocol::net::error::{CallError, ConnectError};
use protocol::net::network::{
    NetworkEvent, Subscription, SubscriptionEnd, Subscriptions, Ticket, link_answer,
};
use protocol::smp::command::Command;
use protocol::smp::error::ErrorType;
use protocol::smp::ids::{RecipientId, ServiceId};
use protocol::smp::key::AuthPrivateKey;
use protocol::smp::response::BrokerMessage;
use protocol::smp::short_link::ShortLink;
use protocol::timestamp::Timestamp;

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
    Ticket {
        ticket: Ticket,
        then: Then,
        submitted: Moment,
    },
    Link {
        tag: LinkTag,
        link: ShortLink,
    },
    Subscribe {
        queue: RecipientId,
        asked: Moment,
    },
    /// To all queues of the program's service.
    SubscribeAll,
}

/// What a program wants of a server.
#[derive(Debug)]
pub(super) enum Instruction {
    Call(Purpose, Box<Request>),
    Subscribe(Vec<Subscription>, Ticket),
    SubscribeLater(Subscription),
    Unsubscribe(Vec<RecipientId>),
}

/// What a good answer changes.
#[derive(Debug)]
pub(super) enum Then {
    Nothing,
    Subscribed(Box<AuthPrivateKey>, Lane),
    Gone(RecipientId),
}

/// A program's way to one server.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) state: LinkState,
    /// Names the attempt or the pause that counts.
    pub(super) attempt: u64,
    tries: u32,
    failed_at: Option<Moment>,
    is_told_down: bool,
    /// Commands that wait for a session.
    calls: VecDeque<(Purpose, Box<Request>)>,
    /// What the session has yet to take.
    instructions: VecDeque<Instruction>,
    queues: Subscriptions,
    asks_again: bool,
    /// The server is asked how many queues it has of the service: for the first time in a session, or once more.
    counts: Option<Count>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Count {
    First,
    Again,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum LinkState {
    Idle,
    Dialling,
    Up(SessionId),
    /// The last attempt failed, or the session broke: what is subscribed waits for the next one, commands do not.
    Pausing,
}

impl Link {
    fn new(surplus: i64) -> Self {
        Self {
            state: LinkState::Idle,
            attempt: 0,
            tries: 0,
            failed_at: None,
            is_told_down: false,
            calls: VecDeque::new(),
            instructions: VecDeque::new(),
            queues: Subscriptions::new(surplus),
            asks_again: false,
            counts: None,
        }
    }

    fn unsubscribe(&mut self, queues: &[RecipientId]) {
        for queue in queues {
            self.queues.forget(queue);
        }
    }
}

impl Network {
    pub(super) fn session_of(&self, program: ProgramId, server: usize) -> Option<SessionId> {
        match self.links.get(&(program, server))?.state {
            LinkState::Up(session) => Some(session),
            LinkState::Idle | LinkState::Dialling | LinkState::Pausing => None,
        }
    }

    pub(super) fn instruct(&mut self, program: ProgramId, server: usize, instruction: Instruction) {
        let link = self.link(program, server);
        if matches!(link.state, LinkState::Up(_)) {
            link.instructions.push_back(instruction);
            self.feed(program, server);
        } else {
            self.keep(program, server, instruction);
        }
    }

    /// A program's way to a server, which knows what its service left there.
    fn link(&mut self, program: ProgramId, server: usize) -> &mut Link {
        let (services, servers) = (&self.services, &self.servers);
        self.links.entry((program, server)).or_insert_with(|| {
            let address = servers.get(server).map(|host| &host.address);
            let service = services.get(&program).zip(address);
            let surplus = service.and_then(|(service, address)| service.surplus.get(address));
            Link::new(surplus.copied().unwrap_or_default())
        })
    }

    /// Takes an instruction without a session.
    fn keep(&mut self, program: ProgramId, server: usize, instruction: Instruction) {
        let now = self.now;
        let link = self.link(program, server);
        match instruction {
            Instruction::Subscribe(queues, ticket) => link.queues.want(queues, ticket),
            Instruction::SubscribeLater(queue) => link.queues.want_later(queue),
            Instruction::Unsubscribe(queues) => link.unsubscribe(&queues),
            Instruction::Call(purpose, request) => {
                let is_fresh = link.failed_at.is_some_and(|at| now.saturating_sub(at) < FAILURE_MEMORY_MS);
                if link.state == LinkState::Pausing && is_fresh {
                    return self.answered(program, Some(server), purpose, Err(unreachable().into()));
                }
                link.calls.push_back((purpose, request));
            }
        }
        self.connect(program, server);
    }

    /// Hands the session what there is for it, in the order in which the task of a server does.
    fn feed(&mut self, program: ProgramId, server: usize) {
        while let Some(id) = self.session_of(program, server) {
            let service = self.sessions.get(&id).and_then(|session| session.service);
            let Some(link) = self.links.get_mut(&(program, server)) else { return };
            if link.counts.is_some() {
                return;
            }
            if let Some((purpose, request)) = link.calls.pop_front() {
                self.submit(id, program, server, purpose, request);
                continue;
            }
            if let Some(service) = service.filter(|_| link.queues.is_recount_due()) {
                link.counts = Some(Count::Again);
                return self.subscribe_to_all(id, server, service);
            }
            if !link.queues.is_recount_near()
                && let Some(instruction) = link.instructions.pop_front()
            {
                match instruction {
                    Instruction::Subscribe(queues, ticket) => link.queues.want(queues, ticket),
                    Instruction::SubscribeLater(queue) => link.queues.want_later(queue),
                    Instruction::Unsubscribe(queues) => {
                        link.unsubscribe(&queues);
                        self.tell_when_listening(program, server);
                    }
                    Instruction::Call(purpose, request) => {
                        self.submit(id, program, server, purpose, request);
                    }
                }
                continue;
            }
            if let Some((queue, key)) = link.queues.next_due() {
                link.queues.sent();
                self.subscribe(id, server, queue, key);
                continue;
            }
            if link.queues.has_unanswered() && !std::mem::replace(&mut link.asks_again, true) {
                self.after(ASK_AGAIN_MS, NetworkStep::AskAgain { program, server });
            }
            return;
        }
    }

    fn submit(
        &mut self,
        id: SessionId,
        program: ProgramId,
        server: usize,
        purpose: Purpose,
        request: Box<Request>,
    ) {
        if purpose.changes_queues() {
            self.link(program, server).queues.sent();
        }
        self.send(id, purpose, request);
    }

    fn subscribe(&mut self, id: SessionId, server: usize, queue: RecipientId, key: AuthPrivateKey) {
        let Some(host) = self.servers.get(server) else { return };
        let request = Request {
            server: host.address.clone(),
            correlation_id: None,
            entity: queue.0.to_vec(),
            key: Some(key),
            command: Command::Sub,
        };
        self.send(id, Purpose::Subscribe { queue, asked: self.now }, Box::new(request));
    }

    fn subscribe_to_all(&mut self, id: SessionId, server: usize, service: ServiceId) {
        let Some(host) = self.servers.get(server) else { return };
        let request = Request {
            server: host.address.clone(),
            correlation_id: None,
            entity: service.as_bytes().to_vec(),
            key: None,
            command: Command::Subs,
        };
        self.send(id, Purpose::SubscribeAll, Box::new(request));
    }

    /// A service knows all its queues: it makes its sessions now.
    pub(super) fn begin_service(&mut self, program: ProgramId) {
        let Some(service) = self.services.get_mut(&program) else { return };
        service.has_begun = true;
        let servers: Vec<usize> =
            self.links.keys().filter(|(of, _)| *of == program).map(|(_, server)| *server).collect();
        for server in servers {
            self.connect(program, server);
        }
    }

    /// Makes a session, if there is none and there is a reason for one.
    pub(super) fn connect(&mut self, program: ProgramId, server: usize) {
        let latency = self.chance.latency(120);
        if self.services.get(&program).is_some_and(|service| !service.has_begun) {
            return;
        }
        let Some(link) = self.links.get_mut(&(program, server)) else { return };
        let has_reason = match link.state {
            LinkState::Idle => !link.calls.is_empty() || !link.queues.is_empty(),
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
        link.queues.begin();
        let creates = |(_, request): &(Purpose, Box<Request>)| matches!(request.command, Command::New(_));
        let has_queues = !link.queues.is_empty();
        let is_service =
            self.services.contains_key(&program) && (has_queues || link.calls.iter().any(creates));
        let service = is_service.then(|| service_of(program));
        link.counts = service.filter(|_| has_queues).map(|_| Count::First);
        let counts = link.counts.is_some();
        self.sessions.insert(id, Session::new(program, server, service, self.now));
        if let Some(host) = self.servers.get(server) {
            self.arrivals.push((program, Arrival::Event(NetworkEvent::Up(host.address.clone()))));
        }
        match service.filter(|_| counts) {
            Some(service) => self.subscribe_to_all(id, server, service),
            None => {
                self.tell_when_listening(program, server);
                self.feed(program, server);
            }
        }
    }

    /// Once all that is asked for first is answered.
    fn tell_when_listening(&mut self, program: ProgramId, server: usize) {
        let queues = &mut self.link(program, server).queues;
        let (begins, asked) = (queues.begins_to_listen(), queues.newest());
        if let Some(host) = self.servers.get(server).filter(|_| begins) {
            let event = NetworkEvent::Listening { server: host.address.clone(), asked };
            self.arrivals.push((program, Arrival::Event(event)));
        }
    }

    /// There is no session any more: what it did not take waits for the next one.
    pub(super) fn take_back(&mut self, program: ProgramId, server: usize) {
        let link = self.link(program, server);
        link.counts = None;
        for instruction in std::mem::take(&mut link.instructions) {
            self.keep(program, server, instruction);
        }
        self.connect(program, server);
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

    /// Another session has all queues of the service.
    pub(super) fn service_moved(&mut self, program: ProgramId, server: usize) {
        self.link(program, server).queues.forget_all();
        if let Some(host) = self.servers.get(server) {
            let event = NetworkEvent::ServiceMoved(host.address.clone());
            self.arrivals.push((program, Arrival::Event(event)));
        }
    }

    fn ended(&mut self, program: ProgramId, server: usize, queue: RecipientId, reason: SubscriptionEnd) {
        let Some(link) = self.links.get_mut(&(program, server)) else { return };
        if link.queues.forget(&queue)
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
        let changes = purpose.changes_queues();
        let mut link = server.and_then(|server| self.links.get_mut(&(program, server)));
        if let Some(link) = link.as_mut().filter(|_| changes) {
            link.queues.answered();
        }
        match (purpose, link) {
            (Purpose::Link { tag, link }, _) => {
                self.arrivals.push((program, Arrival::Link((tag, link_answer(&link, result)))));
            }
            (Purpose::Ticket { ticket, then, submitted }, link) => {
                match (&result, then, link) {
                    (Ok(BrokerMessage::Ids(ids)), Then::Subscribed(key, lane), Some(link)) => {
                        let subscription = Subscription { queue: ids.recipient_id, key: *key, lane };
                        link.queues.has(subscription);
                    }
                    (Ok(_) | Err(CallError::Refused(ErrorType::Auth)), Then::Gone(queue), Some(link)) => {
                        link.queues.forget(&queue);
                    }
                    _ => {}
                }
                let took_ms = self.now.saturating_sub(submitted).unsigned_abs();
                let answer = NetworkEvent::Answer { ticket, result, took: Duration::from_millis(took_ms) };
                self.arrivals.push((program, Arrival::Event(answer)));
            }
            (Purpose::SubscribeAll, Some(_)) => {
                let Some(server) = server else { return };
                self.counted(program, server, result);
            }
            (Purpose::Subscribe { queue, asked }, Some(link)) => {
                let took_ms = self.now.saturating_sub(asked).unsigned_abs();
                link.queues.returned(Duration::from_millis(took_ms), Timestamp(self.now));
                if result.is_ok() {
                    link.queues.subscribed(&queue);
                }
                let Some(server) = server else { return };
                match result {
                    Ok(message) => self.event(program, server, queue, message),
                    Err(CallError::Refused(ErrorType::Auth)) => {
                        self.ended(program, server, queue, SubscriptionEnd::Unknown);
                    }
                    Err(CallError::Disconnected) => {}
                    Err(_) => link.queues.retry(queue),
                }
                self.tell_when_listening(program, server);
            }
            (Purpose::SubscribeAll | Purpose::Subscribe { .. }, None) => {}
        }
        if let Some(server) = server {
            self.feed(program, server);
        }
    }

    /// A server said how many queues it has of a service, or did not.
    fn counted(
        &mut self,
        program: ProgramId,
        server: usize,
        result: Result<BrokerMessage<'static>, CallError>,
    ) {
        let queues = match result {
            Ok(BrokerMessage::Soks(queues)) => Some(queues),
            _ => None,
        };
        let link = self.link(program, server);
        match (link.counts.take(), queues) {
            (Some(Count::First), queues) => {
                if let Some(queues) = queues {
                    link.queues.counted(queues);
                }
                self.tell_when_listening(program, server);
            }
            (Some(Count::Again), Some(queues)) => {
                if let Some(queues) = link.queues.recounted(queues)
                    && let Some(host) = self.servers.get(server)
                {
                    let event = NetworkEvent::Surplus { server: host.address.clone(), queues };
                    self.arrivals.push((program, Arrival::Event(event)));
                }
            }
            (Some(Count::Again), None) => link.queues.give_up_count(),
            (None, _) => {}
        }
    }

    pub(super) fn ask_again(&mut self, program: ProgramId, server: usize) {
        let Some(link) = self.links.get_mut(&(program, server)) else { return };
        link.asks_again = false;
        if matches!(link.state, LinkState::Up(_)) {
            link.queues.ask_again();
            self.feed(program, server);
        }
    }
}

impl Purpose {
    /// Whether the server has another number of queues of ours by it.
    fn changes_queues(&self) -> bool {
        match self {
            Self::Subscribe { .. } => true,
            Self::Ticket { then, .. } => !matches!(then, Then::Nothing),
            Self::Link { .. } | Self::SubscribeAll => false,
        }
    }
}

/// How servers name a program as a service.
fn service_of(program: ProgramId) -> ServiceId {
    let mut id = [0xA5; 24];
    id[..8].copy_from_slice(&(program as u64).to_be_bytes());
    ServiceId(id)
}

fn unreachable() -> ConnectError {
    ConnectError::Unreachable(Arc::new(io::Error::from(io::ErrorKind::ConnectionRefused)))
}
