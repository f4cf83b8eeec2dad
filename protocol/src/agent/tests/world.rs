//! Parties that run agents, and the network between them and the server.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::server::Server;
use crate::agent::address_draft::{AddressDraft, AddressPlan};
use crate::agent::connection_request::ConnectionRequest;
use crate::agent::event::Event;
use crate::agent::invitation::Invitation;
use crate::agent::link_data::UserLinkData;
use crate::agent::memory::MemoryStore;
use crate::agent::record::Connection;
use crate::agent::request::{RequestOutcome, ServerMessage, Work};
use crate::agent::signed_link_data::OpenedLink;
use crate::agent::store::{AgentStore as _, ConnectionId};
use crate::agent::{Agent, Body};
use crate::crypto::sign::Ed25519PrivateKey;
use crate::encoding::{Decode as _, Encode as _};
use crate::smp::address::ServerAddressWithAuth;
use crate::smp::ids::RecipientId;
use crate::smp::short_link::LinkType;

/// Who takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Name {
    Alice,
    Bob,
}

/// A program: a store, what its application saw, and its own randomness.
pub(super) struct Party {
    pub(super) store: MemoryStore,
    pub(super) events: Vec<(ConnectionId, Event)>,
    rng: StdRng,
}

/// How often what goes wrong, in percent of the chances it has.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Faults {
    /// The request does not reach the server.
    pub(super) request_lost: u32,
    /// The server's answer does not reach the party.
    pub(super) answer_lost: u32,
    /// The party dies between the server's answer and its commit, or between commit and acknowledgement.
    pub(super) crash: u32,
}

pub(super) struct World {
    pub(super) server: Server,
    pub(super) alice: Party,
    pub(super) bob: Party,
    pub(super) faults: Faults,
    chance: StdRng,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let rng = |stream: u64| StdRng::seed_from_u64(seed.wrapping_mul(31).wrapping_add(stream));
        let party = |stream| Party { store: MemoryStore::default(), events: Vec::new(), rng: rng(stream) };
        Self {
            server: Server::new(rng(1)),
            alice: party(2),
            bob: party(3),
            faults: Faults::default(),
            chance: rng(4),
        }
    }

    pub(super) fn party(&mut self, name: Name) -> &mut Party {
        match name {
            Name::Alice => &mut self.alice,
            Name::Bob => &mut self.bob,
        }
    }

    /// Runs one transaction of a party.
    pub(super) fn with<T>(&mut self, name: Name, call: impl FnOnce(&mut Agent<'_, MemoryStore>) -> T) -> T {
        let now = self.server.now;
        let party = self.party(name);
        let mut agent = Agent::new(&mut party.store, &mut party.rng, now);
        let value = call(&mut agent);
        let events = agent.take_events();
        party.events.extend(events);
        value
    }

    pub(super) fn happens(&mut self, percent: u32) -> bool {
        self.chance.random_range(0..100) < percent
    }

    pub(super) fn pick(&mut self, count: usize) -> usize {
        self.chance.random_range(0..count)
    }

    /// Runs a party's next request, if a connection has one; whether there was any.
    pub(super) fn run_one_request(&mut self, name: Name) -> bool {
        for id in self.party(name).store.connections_with_jobs().unwrap() {
            if self.run_request_of(name, id) {
                return true;
            }
        }
        false
    }

    fn run_request_of(&mut self, name: Name, id: ConnectionId) -> bool {
        let Work::Run(job, request) = self.with(name, |agent| agent.job(id).unwrap()) else { return false };
        self.with(name, |agent| agent.job_started(id, job, &request).unwrap());
        let outcome = if self.happens(self.faults.request_lost) {
            RequestOutcome::Temporary
        } else {
            let answer = self.server.handle(&request);
            if self.happens(self.faults.crash) {
                return true;
            }
            if self.happens(self.faults.answer_lost) {
                RequestOutcome::Temporary
            } else {
                RequestOutcome::Answer(answer)
            }
        };
        self.with(name, |agent| agent.job_done(id, job, outcome).unwrap());
        true
    }

    /// Delivers the first message of one of the party's queues; whether there was any.
    pub(super) fn deliver_one(&mut self, name: Name) -> bool {
        for (id, _, queue) in self.party(name).store.queues_after(None, 100).unwrap() {
            if self.server.head(queue).is_some() {
                self.deliver(name, id, queue);
                return true;
            }
        }
        false
    }

    fn deliver(&mut self, name: Name, id: ConnectionId, queue: RecipientId) {
        let (message, body) = self.server.head(queue).unwrap();
        let own = self.with(name, |agent| agent.own_queue(id).unwrap().unwrap());
        let before = self.party(name).store.clone();
        let seen = self.party(name).events.len();
        let server_message = ServerMessage { id: message, body: &body };
        let taken = self.with(name, |agent| agent.receive(&own.server, &queue, server_message).unwrap());
        assert_eq!(taken, Some(own));
        if self.happens(self.faults.crash) {
            // before the commit: nothing of it happened
            let party = self.party(name);
            party.store = before;
            party.events.truncate(seen);
            return;
        }
        if !self.happens(self.faults.crash) {
            self.server.acknowledge(queue, message);
        }
    }

    /// Lets everything happen that can.
    pub(super) fn settle(&mut self) {
        for _ in 0..100_000 {
            let first = if self.happens(50) { [Name::Alice, Name::Bob] } else { [Name::Bob, Name::Alice] };
            let mut is_quiet = true;
            for name in first {
                is_quiet &= !self.run_one_request(name);
                is_quiet &= !self.deliver_one(name);
            }
            if is_quiet {
                if self.is_idle() {
                    return;
                }
                self.server.now = self.server.now.plus_ms(1_000);
            }
        }
        panic!("the parties never come to rest");
    }

    fn is_idle(&mut self) -> bool {
        let is_without_jobs = |party: &mut Party| party.store.connections_with_jobs().unwrap().is_empty();
        is_without_jobs(&mut self.alice) && is_without_jobs(&mut self.bob)
    }

    /// Alice creates an address; Bob gets its request out of the server's link data.
    pub(super) fn create_address(&mut self) -> (ConnectionId, ConnectionRequest) {
        let plan = AddressPlan {
            server: server(),
            link_type: LinkType::Contact,
            root_key: Ed25519PrivateKey::from_seed(&[9; 32]),
            link_entity_id: None,
            client_data: None,
        };
        let draft = AddressDraft::new(plan, &mut self.alice.rng).unwrap();
        let draft = AddressDraft::from_bytes(&draft.to_bytes()).unwrap();
        let link = draft.short_link();
        let data = UserLinkData::direct(b"profile".to_vec());
        let id = self.with(Name::Alice, |agent| agent.create_address(draft, &data).unwrap());
        self.settle();
        let queue = self.server.queues.values().find(|queue| queue.link.is_some()).unwrap();
        let data = &queue.link.as_ref().unwrap().1;
        let opened = OpenedLink::open(&link, &queue.sender_id, &data.fixed, &data.user);
        (id, opened.unwrap().request)
    }

    /// Bob asks at Alice's address, Alice accepts, Bob allows.
    pub(super) fn connect(&mut self) -> (ConnectionId, ConnectionId) {
        let (_, request) = self.create_address();
        let bob = self.with(Name::Bob, |agent| agent.request(&request, &server(), b"I am Bob").unwrap());
        self.settle();
        let (invitation, info) = self.alice.invitation();
        assert_eq!(info, b"I am Bob");
        let alice =
            self.with(Name::Alice, |agent| agent.accept(&invitation, &server(), b"I am Alice").unwrap());
        self.settle();
        assert!(self.bob.events.contains(&(bob, Event::Confirmation { info: b"I am Alice".to_vec() })));
        self.with(Name::Bob, |agent| agent.allow(bob, b"welcome").unwrap());
        self.settle();
        assert!(self.alice.events.contains(&(alice, Event::Info { info: b"welcome".to_vec() })));
        for (name, id) in [(Name::Alice, alice), (Name::Bob, bob)] {
            let connected =
                self.party(name).events.iter().filter(|it| **it == (id, Event::Connected)).count();
            assert_eq!(connected, 1, "{name:?} is told once");
        }
        (alice, bob)
    }

    pub(super) fn send(&mut self, name: Name, id: ConnectionId, body: &[u8]) -> i64 {
        self.with(name, |agent| agent.send(id, Body::Inline(body), true).unwrap())
    }
}

impl Party {
    pub(super) fn invitation(&self) -> (Invitation, Vec<u8>) {
        let request = self.events.iter().find_map(|(_, event)| match event {
            Event::Request { invitation, info } => Some((invitation.clone(), info.clone())),
            _ => None,
        });
        let (invitation, info) = request.expect("a request came");
        (Invitation::from_bytes(&invitation.to_bytes()).unwrap(), info)
    }

    pub(super) fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events).into_iter().map(|(_, event)| event).collect()
    }

    /// The messages of the application, as numbers that the tests put into them, with their integrity.
    pub(super) fn messages(&self) -> Vec<(u32, crate::agent::event::Integrity)> {
        let events = self.events.iter();
        events
            .filter_map(|(_, event)| match event {
                Event::Message { body, integrity, .. } => {
                    Some((u32::from_be_bytes(body[..4].try_into().unwrap()), *integrity))
                }
                _ => None,
            })
            .collect()
    }

    pub(super) fn record(&mut self, id: ConnectionId) -> Connection {
        Connection::from_bytes(&self.store.connection(id).unwrap().unwrap()).unwrap()
    }
}

pub(super) fn server() -> ServerAddressWithAuth {
    let hash = "SJ-3QErjPY0_mrD9fMGu68OWOO5jXxjMC4H6nLva9EY=";
    format!("smp://{hash}:password@smp.example.com").parse().unwrap()
}
