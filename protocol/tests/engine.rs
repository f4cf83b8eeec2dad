//! The engine with real agents through a small queue server: what is committed, what is acknowledged, and what a
//! restart brings back.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod durable_store;
mod scripted_server;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use durable_store::{Disk, DurableStore};
use protocol::agent::Body;
use protocol::agent::address_draft::{AddressDraft, AddressPlan};
use protocol::agent::event::Event;
use protocol::agent::link_data::UserLinkData;
use protocol::agent::signed_link_data::OpenedLink;
use protocol::agent::store::ConnectionId;
use protocol::crypto::sign::Ed25519PrivateKey;
use protocol::net::engine::{
    self, Application, Context, EngineError, EngineHandle, Fatal, LinkTag, NetworkChange,
};
use protocol::net::network::{Limits, ReadLinkError};
use protocol::net::rng::system_rng;
use protocol::smp::address::ServerAddressWithAuth;
use protocol::smp::short_link::{LinkType, ShortLink};
use scripted_server::queues::QueueServer;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

const LIMITS: Limits =
    Limits { connect: Duration::from_secs(20), answer: Duration::from_secs(20), silence: Limits::SILENCE };

/// A program that does what it is told and reports everything, once it is durable.
struct Parrot {
    store: DurableStore,
    server: ServerAddressWithAuth,
    uncommitted: Vec<Report>,
    reports: mpsc::UnboundedSender<Report>,
    refuses_messages: Arc<AtomicBool>,
}

#[derive(Debug)]
enum Report {
    Event(ConnectionId, Event),
    Network(NetworkChange),
    Timer,
    Link(Box<Result<OpenedLink, ReadLinkError>>),
}

enum Order {
    CreateAddress(Box<AddressDraft>),
    Request(ShortLink),
    Send(ConnectionId, Vec<u8>),
    Delete(ConnectionId),
    WakeUp(i64),
    Stop,
}

impl Application for Parrot {
    type Store = DurableStore;
    type Command = Order;

    fn store(&mut self) -> &mut DurableStore {
        &mut self.store
    }

    fn on_event(
        &mut self,
        context: &mut Context<'_>,
        connection: ConnectionId,
        event: Event,
    ) -> Result<(), Fatal> {
        let server = self.server.clone();
        match &event {
            Event::Request { invitation, .. } => {
                context.agent(&mut self.store).accept(invitation, &server, b"welcome")?;
            }
            Event::Confirmation { .. } => context.agent(&mut self.store).allow(connection, b"thanks")?,
            Event::Message { .. } if self.refuses_messages.load(Ordering::SeqCst) => {
                return Err("the disk is full".into());
            }
            _ => {}
        }
        self.uncommitted.push(Report::Event(connection, event));
        Ok(())
    }

    fn on_link(
        &mut self,
        context: &mut Context<'_>,
        tag: LinkTag,
        result: Result<OpenedLink, ReadLinkError>,
    ) -> Result<(), Fatal> {
        assert_eq!(tag, LinkTag(b"the link".to_vec()));
        if let Ok(link) = &result {
            context.agent(&mut self.store).request(&link.request, &self.server, b"hello")?;
        }
        self.uncommitted.push(Report::Link(Box::new(result)));
        Ok(())
    }

    fn on_command(&mut self, context: &mut Context<'_>, order: Order) -> Result<(), Fatal> {
        match order {
            Order::CreateAddress(draft) => {
                let data = UserLinkData::direct(b"profile".to_vec());
                context.agent(&mut self.store).create_address(*draft, &data)?;
            }
            Order::Request(link) => context.read_link(LinkTag(b"the link".to_vec()), link),
            Order::Send(id, body) => {
                context.agent(&mut self.store).send(id, Body::Inline(&body), true)?;
            }
            Order::Delete(id) => context.agent(&mut self.store).delete(id, true)?,
            Order::WakeUp(ms) => {
                let moment = context.now().plus_ms(ms);
                context.wake_at(moment);
            }
            Order::Stop => context.stop(),
        }
        Ok(())
    }

    fn on_timer(&mut self, _: &mut Context<'_>) -> Result<(), Fatal> {
        self.uncommitted.push(Report::Timer);
        Ok(())
    }

    fn on_network(&mut self, _: &mut Context<'_>, change: NetworkChange) -> Result<(), Fatal> {
        self.uncommitted.push(Report::Network(change));
        Ok(())
    }

    fn after_commit(&mut self) {
        for report in self.uncommitted.drain(..) {
            // a test that has seen enough does not listen any more
            let _unheard = self.reports.send(report);
        }
    }
}

/// A running parrot and what outlives it.
struct Home {
    disk: Disk,
    server: ServerAddressWithAuth,
    refuses_messages: Arc<AtomicBool>,
    engine: Option<EngineHandle<Order>>,
    reports: mpsc::UnboundedReceiver<Report>,
}

impl Home {
    fn new(server: &QueueServer) -> Self {
        let (_, reports) = mpsc::unbounded_channel();
        let mut home = Self {
            disk: Disk::default(),
            server: server.address.clone().into(),
            refuses_messages: Arc::default(),
            engine: None,
            reports,
        };
        home.start();
        home
    }

    fn start(&mut self) {
        let (sender, reports) = mpsc::unbounded_channel();
        self.reports = reports;
        let parrot = Parrot {
            store: DurableStore::open(self.disk.clone()),
            server: self.server.clone(),
            uncommitted: Vec::new(),
            reports: sender,
            refuses_messages: self.refuses_messages.clone(),
        };
        self.engine = Some(engine::start(parrot, LIMITS, &Handle::current()).unwrap());
    }

    /// The engine's end, whatever it was; nothing is lost but what was not durable.
    async fn stop(&mut self) -> Result<(), EngineError> {
        self.engine.take().unwrap().stop().await
    }

    async fn order(&self, order: Order) {
        self.engine.as_ref().unwrap().command(order).await.unwrap();
    }

    async fn send(&self, id: ConnectionId, body: &str) {
        self.order(Order::Send(id, body.as_bytes().to_vec())).await;
    }

    /// The next report for which `wanted` gives something.
    async fn until<T>(&mut self, mut wanted: impl FnMut(Report) -> Option<T>) -> T {
        loop {
            let report = tokio::time::timeout(Duration::from_secs(90), self.reports.recv()).await.unwrap();
            if let Some(found) = wanted(report.expect("the engine runs")) {
                return found;
            }
        }
    }

    async fn event(&mut self, wanted: impl Fn(&Event) -> bool) -> ConnectionId {
        self.until(|report| match report {
            Report::Event(id, event) if wanted(&event) => Some(id),
            _ => None,
        })
        .await
    }

    async fn message(&mut self) -> String {
        self.until(|report| match report {
            Report::Event(_, Event::Message { body, .. }) => Some(String::from_utf8(body).unwrap()),
            _ => None,
        })
        .await
    }
}

/// Two homes with a connection between them; each side's id of it.
async fn connected(server: &QueueServer) -> (Home, ConnectionId, Home, ConnectionId) {
    let (mut alice, mut bob) = (Home::new(server), Home::new(server));
    let mut rng = system_rng();
    let plan = AddressPlan {
        server: server.address.clone().into(),
        link_type: LinkType::Contact,
        root_key: Ed25519PrivateKey::generate(&mut rng),
        link_entity_id: None,
        client_data: None,
    };
    let draft = AddressDraft::new(plan, &mut rng).unwrap();
    let link = draft.short_link();
    alice.order(Order::CreateAddress(Box::new(draft))).await;
    alice.event(|event| matches!(event, Event::AddressCreated)).await;
    bob.order(Order::Request(link)).await;
    let to_alice = bob.event(|event| matches!(event, Event::Connected)).await;
    let to_bob = alice.event(|event| matches!(event, Event::Connected)).await;
    (alice, to_bob, bob, to_alice)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_programs_connect_by_a_link_and_talk_in_order() {
    let server = QueueServer::start().await;
    let (mut alice, to_bob, mut bob, to_alice) = connected(&server).await;
    for number in 0..20 {
        alice.send(to_bob, &format!("message {number}")).await;
    }
    bob.send(to_alice, "hello").await;
    for number in 0..20 {
        assert_eq!(bob.message().await, format!("message {number}"));
    }
    let (mut sent, mut heard) = (0, 0);
    alice
        .until(|report| {
            match report {
                Report::Event(_, Event::Sent { .. }) => sent += 1,
                Report::Event(_, Event::Message { body, .. }) => {
                    assert_eq!(body, b"hello");
                    heard += 1;
                }
                _ => {}
            }
            ((sent, heard) == (20, 1)).then_some(())
        })
        .await;
    alice.stop().await.unwrap();
    bob.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_cannot_be_stored_is_not_acknowledged_and_comes_again() {
    let server = QueueServer::start().await;
    let (alice, to_bob, mut bob, _) = connected(&server).await;
    bob.refuses_messages.store(true, Ordering::SeqCst);
    alice.send(to_bob, "precious").await;
    let mut engine = bob.engine.take().unwrap();
    let error = engine.stopped().await.unwrap_err();
    assert!(matches!(&error, EngineError::Failed(cause) if cause.to_string() == "the disk is full"));

    // an acknowledged message would be gone from the server
    bob.refuses_messages.store(false, Ordering::SeqCst);
    bob.start();
    assert_eq!(bob.message().await, "precious");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_commit_acknowledges_nothing() {
    let server = QueueServer::start().await;
    let (mut alice, to_bob, mut bob, _) = connected(&server).await;
    // what the handshake left to say must be over before the disk breaks
    alice.send(to_bob, "before").await;
    assert_eq!(bob.message().await, "before");
    alice.event(|event| matches!(event, Event::Sent { .. })).await;

    bob.disk.break_down(true);
    alice.send(to_bob, "precious").await;
    let error = bob.engine.take().unwrap().stopped().await.unwrap_err();
    assert!(matches!(&error, EngineError::Failed(cause) if cause.to_string() == "the disk is broken"));

    bob.disk.break_down(false);
    bob.start();
    assert_eq!(bob.message().await, "precious");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_sent_is_sent_after_a_restart() {
    let server = QueueServer::start().await;
    let (mut alice, to_bob, mut bob, _) = connected(&server).await;
    // the server takes the message, and Alice stops before she hears of it
    server.swallow_answers_to(Some("SEND"));
    alice.send(to_bob, "once").await;
    assert_eq!(bob.message().await, "once");
    alice.send(to_bob, "later").await;
    alice.stop().await.unwrap();
    server.swallow_answers_to(None);

    alice.start();
    for _ in 0..2 {
        alice.event(|event| matches!(event, Event::Sent { .. })).await;
    }
    // the second copy of the first message is not shown
    assert_eq!(bob.message().await, "later");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_broken_connection_messages_flow_again() {
    let server = QueueServer::start().await;
    let (mut alice, to_bob, mut bob, to_alice) = connected(&server).await;
    server.drop_connections();
    for home in [&mut alice, &mut bob] {
        home.until(|report| match report {
            Report::Network(NetworkChange::Down { .. }) => Some(()),
            _ => None,
        })
        .await;
    }
    alice.send(to_bob, "still there?").await;
    bob.send(to_alice, "yes").await;
    assert_eq!(bob.message().await, "still there?");
    assert_eq!(alice.message().await, "yes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_network_breaks_nothing_is_lost_doubled_or_reordered() {
    const MESSAGES: usize = 30;
    let server = QueueServer::start().await;
    let (alice, to_bob, mut bob, to_alice) = connected(&server).await;
    for number in 0..MESSAGES {
        alice.send(to_bob, &format!("message {number}")).await;
    }
    for number in 0..MESSAGES {
        // in the middle of sending, receiving and acknowledging
        if number % 8 == 5 {
            server.drop_connections();
            // makes Bob connect at once instead of after a while
            bob.send(to_alice, "are you there?").await;
        }
        assert_eq!(bob.message().await, format!("message {number}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_connection_and_a_deleted_queue_are_reported() {
    let server = QueueServer::start().await;
    let (mut alice, to_bob, mut bob, to_alice) = connected(&server).await;
    alice.order(Order::Delete(to_bob)).await;
    assert_eq!(alice.event(|event| matches!(event, Event::Deleted)).await, to_bob);
    server.delete_queues();
    let gone = |event: &Event| matches!(event, Event::QueueGone);
    assert_eq!(bob.event(gone).await, to_alice);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timers_and_unreadable_links_come_back_and_an_application_can_stop() {
    let server = QueueServer::start().await;
    let mut home = Home::new(&server);
    home.order(Order::WakeUp(3_600_000)).await;
    home.order(Order::WakeUp(1)).await;
    home.until(|report| matches!(report, Report::Timer).then_some(())).await;

    let link: ShortLink = {
        let mut rng = system_rng();
        let plan = AddressPlan {
            server: server.address.clone().into(),
            link_type: LinkType::Group,
            root_key: Ed25519PrivateKey::generate(&mut rng),
            link_entity_id: None,
            client_data: None,
        };
        AddressDraft::new(plan, &mut rng).unwrap().short_link()
    };
    home.order(Order::Request(link)).await;
    let result = home
        .until(|report| match report {
            Report::Link(result) => Some(*result),
            _ => None,
        })
        .await;
    assert!(matches!(result, Err(ReadLinkError::NotFound)));

    home.order(Order::Stop).await;
    home.engine.as_mut().unwrap().stopped().await.unwrap();
}

/// One connection's messages stay in order however many connections there are, and none is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_connections_share_a_server_without_loss() {
    const MEMBERS: usize = 8;
    const MESSAGES: usize = 10;
    let server = QueueServer::start().await;
    let (mut alice, _, _first, _) = connected(&server).await;
    let mut members = Vec::new();
    let mut rng = system_rng();
    let plan = AddressPlan {
        server: server.address.clone().into(),
        link_type: LinkType::Relay,
        root_key: Ed25519PrivateKey::generate(&mut rng),
        link_entity_id: None,
        client_data: None,
    };
    let draft = AddressDraft::new(plan, &mut rng).unwrap();
    let link = draft.short_link();
    alice.order(Order::CreateAddress(Box::new(draft))).await;
    alice.event(|event| matches!(event, Event::AddressCreated)).await;
    for _ in 0..MEMBERS {
        let mut member = Home::new(&server);
        member.order(Order::Request(link.clone())).await;
        member.event(|event| matches!(event, Event::Connected)).await;
        let id = alice.event(|event| matches!(event, Event::Connected)).await;
        members.push((id, member));
    }
    for number in 0..MESSAGES {
        for (id, _) in &members {
            alice.send(*id, &format!("{number} for {}", id.0)).await;
        }
    }
    for (id, member) in &mut members {
        for number in 0..MESSAGES {
            assert_eq!(member.message().await, format!("{number} for {}", id.0));
        }
    }
    let mut sent = BTreeMap::<ConnectionId, usize>::new();
    while sent.values().sum::<usize>() < MEMBERS * MESSAGES {
        *sent.entry(alice.event(|event| matches!(event, Event::Sent { .. })).await).or_default() += 1;
    }
    assert!(sent.values().all(|count| *count == MESSAGES));
}
