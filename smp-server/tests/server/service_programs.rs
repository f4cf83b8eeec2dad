//! Programs that are services: what the sessions of `protocol::net` do with a real server (smp.md §13).

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::agent::Lane;
use protocol::agent::request::{OwnQueue, Request};
use protocol::agent::seeding::SeedQueue;
use protocol::net::network::{
    Limits, Network, NetworkEvent, NetworkEvents, NetworkSettings, Services, Subscription, Ticket,
};
use protocol::net::rng::system_rng;
use protocol::net::service::ServiceSeed;
use protocol::smp::command::Command;
use protocol::smp::ids::SenderId;
use protocol::smp::key::AuthPrivateKey;
use protocol::smp::response::BrokerMessage;
use smp_server::identity::Identity;
use tokio::runtime::Handle;

use crate::host::Host;

const LIMITS: Limits =
    Limits { connect: Duration::from_secs(20), answer: Duration::from_secs(20), ..Limits::BACKGROUND };
const SEED: ServiceSeed = ServiceSeed::new([5; 32]);

/// A program, and what its network says.
struct Program {
    network: Network,
    events: NetworkEvents,
}

/// A queue as its owner and its sender know it.
struct Made {
    own: OwnQueue,
    sender_id: SenderId,
}

impl Program {
    /// Begins with these queues, and with what was kept of the server's number.
    fn start(host: &Host, queues: &[Made], surplus: i64) -> Self {
        let services = Services { seed: SEED, surplus: BTreeMap::from([(host.server_address(), surplus)]) };
        Self::start_with(host, queues, Some(services))
    }

    fn start_with(host: &Host, queues: &[Made], services: Option<Services>) -> Self {
        let settings = NetworkSettings { services, ..LIMITS.into() };
        let (network, events) = Network::new(settings, Handle::current());
        let subscription = |made: &Made| Subscription {
            queue: made.own.recipient_id,
            key: AuthPrivateKey::Ed25519(made.own.key.clone()),
            lane: Lane::Bulk,
        };
        network.subscribe(&host.server_address(), queues.iter().map(subscription).collect(), Ticket(0));
        network.all_subscribed();
        Self { network, events }
    }

    async fn create(&self, host: &Host) -> Made {
        let mut seed = SeedQueue::new(host.server_address().into(), &mut system_rng());
        let mut request = seed.create();
        let Command::New(queue) = &mut request.command else { panic!("another command") };
        queue.subscribe = true;
        let BrokerMessage::Ids(ids) = self.network.call(request).await.unwrap() else { panic!("no queue") };
        seed.created(&ids);
        Made { own: seed.own_queue().unwrap(), sender_id: ids.sender_id }
    }

    /// Sends a message to each queue from elsewhere, which all must come.
    async fn hears_all(&mut self, host: &Host, queues: &[Made]) {
        let (elsewhere, _) = Network::new(LIMITS, Handle::current());
        for made in queues {
            let command = Command::Send { notify: false, body: b"body".as_slice().into() };
            let entity = made.sender_id.0.to_vec();
            let send =
                Request { server: host.server_address(), correlation_id: None, entity, key: None, command };
            assert_eq!(elsewhere.call(send).await.unwrap(), BrokerMessage::Ok);
        }
        // In any order: the server subscribes the queues of a block from the last to the first.
        let mut silent: Vec<_> = queues.iter().map(|made| &made.own).collect();
        while !silent.is_empty() {
            let NetworkEvent::Message { queue, message_id, .. } = self.next().await else { continue };
            let Some(place) = silent.iter().position(|own| own.recipient_id == queue) else { continue };
            let acknowledged = self.network.call(silent.remove(place).acknowledge(message_id)).await;
            assert_eq!(acknowledged.unwrap(), BrokerMessage::Ok);
        }
    }

    async fn surplus(&mut self) -> i64 {
        loop {
            if let NetworkEvent::Surplus { queues, .. } = self.next().await {
                return queues;
            }
        }
    }

    async fn next(&mut self) -> NetworkEvent {
        tokio::time::timeout(LIMITS.answer, self.events.next()).await.unwrap().unwrap()
    }
}

/// How many commands with this tag the server has executed.
fn commands(host: &Host, tag: &str) -> u64 {
    let samples = host.server().metrics.commands.samples();
    samples.iter().filter(|(known, ..)| *known == tag).map(|(.., count)| count).sum()
}

async fn some_queues(program: &Program, host: &Host) -> Vec<Made> {
    let mut queues = Vec::new();
    for _ in 0..3 {
        queues.push(program.create(host).await);
    }
    queues
}

#[tokio::test]
async fn all_queues_come_back_by_one_command_after_restarts() {
    let place = tempfile::tempdir().unwrap();
    let identity = Identity::generate("127.0.0.1").unwrap().identity;
    let host = Host::start_in(place.path(), "", &identity).await;
    let program = Program::start(&host, &[], 0);
    let queues = some_queues(&program, &host).await;
    drop(program);
    let mut program = Program::start(&host, &queues, 0);
    program.hears_all(&host, &queues).await;
    assert_eq!((commands(&host, "SUBS"), commands(&host, "SUB")), (1, 0));
    drop(program);
    host.stop().await;

    let host = Host::start_in(place.path(), "", &identity).await;
    // at another port
    let moved = |made: Made| Made { own: OwnQueue { server: host.server_address(), ..made.own }, ..made };
    let queues: Vec<_> = queues.into_iter().map(moved).collect();
    let mut program = Program::start(&host, &queues, 0);
    program.hears_all(&host, &queues).await;
    assert_eq!((commands(&host, "SUBS"), commands(&host, "SUB")), (1, 0));
}

#[tokio::test]
async fn queues_from_before_become_the_services_one_by_one() {
    let host = Host::start("").await;
    let before = Program::start_with(&host, &[], None);
    let mut queues = some_queues(&before, &host).await;
    drop(before);
    let mut program = Program::start(&host, &queues, 0);
    program.hears_all(&host, &queues).await;
    assert_eq!(commands(&host, "SUB"), 3);
    host.until(|server| {
        server.metrics.commands.samples().iter().any(|(tag, _, n)| *tag == "SUBS" && *n == 2)
    })
    .await;
    queues.push(program.create(&host).await);
    drop(program);
    let mut program = Program::start(&host, &queues, 0);
    program.hears_all(&host, &queues).await;
    assert_eq!((commands(&host, "SUBS"), commands(&host, "SUB")), (3, 3), "now they are");
}

#[tokio::test]
async fn queues_that_are_not_known_here_cost_one_round_and_are_expected_then() {
    let host = Host::start("").await;
    let program = Program::start(&host, &[], 0);
    let queues = some_queues(&program, &host).await;
    let _lost = program.create(&host).await;
    drop(program);
    let mut program = Program::start(&host, &queues, 0);
    assert_eq!(program.surplus().await, 1);
    program.hears_all(&host, &queues).await;
    assert_eq!(commands(&host, "SUB"), 3);
    drop(program);
    let mut program = Program::start(&host, &queues, 1);
    program.hears_all(&host, &queues).await;
    assert_eq!(commands(&host, "SUB"), 3, "none more");
}

#[tokio::test]
async fn a_server_that_takes_no_services_subscribes_queue_by_queue() {
    let host = Host::start("[access]\naccept_service_credentials = false").await;
    let program = Program::start(&host, &[], 0);
    let queues = some_queues(&program, &host).await;
    drop(program);
    let mut program = Program::start(&host, &queues, 0);
    program.hears_all(&host, &queues).await;
    assert_eq!((commands(&host, "SUBS"), commands(&host, "SUB")), (0, 3));
}

#[tokio::test]
async fn a_copy_of_the_program_takes_all_queues_and_this_is_told() {
    let host = Host::start("").await;
    let mut program = Program::start(&host, &[], 0);
    let queues = some_queues(&program, &host).await;
    let mut copy = Program::start(&host, &queues, 0);
    copy.hears_all(&host, &queues).await;
    loop {
        if let NetworkEvent::ServiceMoved(server) = program.next().await {
            assert_eq!(server, host.server_address());
            break;
        }
    }
}

#[tokio::test]
async fn servers_without_queues_of_the_program_see_no_certificate() {
    let host = Host::start("").await;
    let program = Program::start(&host, &[], 0);
    program.network.ping(&host.server_address()).await.unwrap();
    let subs = Request {
        server: host.server_address(),
        correlation_id: None,
        entity: vec![1; 24],
        key: None,
        command: Command::Subs,
    };
    assert!(program.network.call(subs).await.is_err(), "its session is that of no service");
}
