//! Sessions and the network against a scripted server: what is sent, what comes back, and what breaks.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod scripted_server;

use std::collections::BTreeSet;
use std::time::Duration;

use protocol::agent::Lane;
use protocol::agent::address_draft::{AddressDraft, AddressPlan};
use protocol::agent::link_data::UserLinkData;
use protocol::agent::request::Request;
use protocol::agent::signed_link_data::OpenLinkError;
use protocol::crypto::dh::X25519PublicKey;
use protocol::crypto::sign::Ed25519PrivateKey;
use protocol::net::error::{CallError, ConnectError};
use protocol::net::network::{
    Limits, Network, NetworkEvent, NetworkEvents, ReadLinkError, Subscription, SubscriptionEnd, Ticket,
};
use protocol::net::rng::system_rng;
use protocol::smp::address::{KeyHash, ServerAddress};
use protocol::smp::command::{Command, LinkData, NewQueue};
use protocol::smp::error::ErrorType;
use protocol::smp::ids::{CorrelationId, MessageId, RecipientId, SenderId};
use protocol::smp::key::AuthPrivateKey;
use protocol::smp::response::{BrokerMessage, QueueIds};
use protocol::smp::short_link::LinkType;
use protocol::version::VersionRange;
use scripted_server::{Peer, ScriptedServer};
use tokio::runtime::Handle;

const LIMITS: Limits =
    Limits { connect: Duration::from_secs(20), answer: Duration::from_secs(20), silence: Limits::SILENCE };

fn network() -> (Network, NetworkEvents) {
    Network::new(LIMITS, Handle::current())
}

fn key(seed: u8) -> AuthPrivateKey {
    AuthPrivateKey::Ed25519(Ed25519PrivateKey::from_seed(&[seed; 32]))
}

fn request(server: &ScriptedServer, entity: &[u8], command: Command<'static>) -> Request {
    Request {
        server: server.address.clone(),
        correlation_id: None,
        entity: entity.to_vec(),
        key: Some(key(1)),
        command,
    }
}

fn message(id: u8, body: &[u8]) -> BrokerMessage<'_> {
    BrokerMessage::Msg { message_id: MessageId([id; 24]), body: body.into() }
}

async fn next(events: &mut NetworkEvents) -> NetworkEvent {
    tokio::time::timeout(Duration::from_secs(90), events.next()).await.unwrap().unwrap()
}

/// A session in which nothing is to be asked for first.
async fn expect_up(events: &mut NetworkEvents) {
    let event = next(events).await;
    assert!(matches!(event, NetworkEvent::Up(_)), "{event:?}");
    let event = next(events).await;
    assert!(matches!(event, NetworkEvent::Listening { .. }), "{event:?}");
}

async fn expect_down(events: &mut NetworkEvents) -> CallError {
    match next(events).await {
        NetworkEvent::Down { reason, .. } => reason,
        other => panic!("expected the end of a session, got {other:?}"),
    }
}

async fn expect_message(events: &mut NetworkEvents) -> (RecipientId, Vec<u8>) {
    match next(events).await {
        NetworkEvent::Message { queue, body, .. } => (queue, body),
        other => panic!("expected a message, got {other:?}"),
    }
}

#[tokio::test]
async fn a_command_is_authorized_and_its_answer_comes_back() {
    let server = ScriptedServer::start().await;
    let (network, _events) = network();
    let x25519 = AuthPrivateKey::generate_x25519(&mut system_rng());
    let script = async {
        let mut peer = server.accept().await;
        assert_eq!(peer.session.version, 18);
        let command = peer.command().await;
        assert_eq!(command.command, Command::Que);
        assert_eq!(command.entity_id, [5; 24]);
        assert!(peer.is_authorized(&command, key(1).public_key()));
        assert!(!peer.is_authorized(&command, key(2).public_key()));
        peer.answer(&command, BrokerMessage::Ok).await;

        let command = peer.command().await;
        assert!(peer.is_authorized(&command, x25519.public_key()));
        peer.answer(&command, BrokerMessage::Ok).await;
        peer
    };
    let calls = async {
        let signed = network.call(request(&server, &[5; 24], Command::Que)).await;
        let authenticated = Request { key: Some(x25519.clone()), ..request(&server, &[5; 24], Command::Que) };
        (signed, network.call(authenticated).await)
    };
    let ((signed, authenticated), _peer) = tokio::join!(calls, script);
    assert_eq!(signed.unwrap(), BrokerMessage::Ok);
    assert_eq!(authenticated.unwrap(), BrokerMessage::Ok);
}

#[tokio::test]
async fn answers_find_their_commands_in_any_order() {
    let server = ScriptedServer::start().await;
    let (network, _events) = network();
    let script = async {
        let mut peer = server.accept().await;
        let (one, two) = (peer.command().await, peer.command().await);
        assert_ne!(one.correlation_id, two.correlation_id);
        peer.send(&[
            (&two.correlation_id, &two.entity_id, message(2, &two.entity_id)),
            (&[9; 24], &one.entity_id, BrokerMessage::Ok),
            (&one.correlation_id, &one.entity_id, message(1, &one.entity_id)),
        ])
        .await;
        peer
    };
    let get = |entity: u8| network.call(request(&server, &[entity; 24], Command::Get));
    let (one, two, _peer) = tokio::join!(get(1), get(2), script);
    assert_eq!(one.unwrap(), message(1, &[1; 24]));
    assert_eq!(two.unwrap(), message(2, &[2; 24]));
}

#[tokio::test]
async fn errors_and_answers_about_something_else_are_told_apart() {
    let server = ScriptedServer::start().await;
    let (network, _events) = network();
    let script = async {
        let mut peer = server.accept().await;
        for error in [ErrorType::Auth, ErrorType::Quota] {
            let command = peer.command().await;
            peer.refuse(&command, error).await;
        }
        let command = peer.command().await;
        peer.send(&[(&command.correlation_id, &[6; 24], BrokerMessage::Ok)]).await;
        // at transmission level errors name no entity
        let command = peer.command().await;
        peer.send(&[(&command.correlation_id, &[], BrokerMessage::Err(ErrorType::Block))]).await;
        peer
    };
    let calls = async {
        let mut results = Vec::new();
        for _ in 0..4 {
            results.push(network.call(request(&server, &[5; 24], Command::Off)).await.unwrap_err());
        }
        results
    };
    let (results, _peer) = tokio::join!(calls, script);
    assert!(matches!(
        &results[..],
        [
            CallError::Refused(ErrorType::Auth),
            CallError::Refused(ErrorType::Quota),
            CallError::UnexpectedAnswer,
            CallError::Refused(ErrorType::Block),
        ]
    ));
    assert!(!results[0].is_temporary());
}

#[tokio::test]
async fn what_does_not_fit_a_block_is_not_sent() {
    let server = ScriptedServer::start().await;
    let (network, _events) = network();
    let send = |length: usize| {
        let body = vec![0; length].into();
        network.call(request(&server, &[5; 24], Command::Send { notify: false, body }))
    };
    let script = async {
        let mut peer = server.accept().await;
        let command = peer.command().await;
        assert!(matches!(&command.command, Command::Send { body, .. } if body.len() == 16_048));
        peer.answer(&command, BrokerMessage::Ok).await;
        peer
    };
    let calls = async { (send(17_000).await, send(16_048).await) };
    let ((large, fitting), _peer) = tokio::join!(calls, script);
    assert!(matches!(large, Err(CallError::TooLarge)));
    fitting.unwrap();
}

#[tokio::test]
async fn a_command_without_answer_times_out_and_the_session_goes_on() {
    let server = ScriptedServer::start().await;
    let limits = Limits { answer: Duration::from_secs(2), ..LIMITS };
    let (network, mut events) = Network::new(limits, Handle::current());
    let script = async {
        let mut peer = server.accept().await;
        let unanswered = peer.command().await;
        let command = peer.command().await;
        peer.answer(&command, BrokerMessage::Ok).await;
        // too late for the caller, but the server counts it as delivered
        peer.answer(&unanswered, message(3, b"late")).await;
        peer
    };
    let calls = async {
        let first = network.call(request(&server, &[5; 24], Command::Get)).await;
        (first, network.call(request(&server, &[6; 24], Command::Que)).await)
    };
    let ((first, second), _peer) = tokio::join!(calls, script);
    assert!(matches!(first, Err(CallError::TimedOut)));
    second.unwrap();
    expect_up(&mut events).await;
    assert_eq!(expect_message(&mut events).await, (RecipientId([5; 24]), b"late".to_vec()));
}

#[tokio::test]
async fn a_wrong_identity_is_named_and_remembered() {
    let server = ScriptedServer::start().await;
    let (network, mut events) = network();
    let other =
        ServerAddress::new(server.address.hosts().to_vec(), server.address.port(), KeyHash::from([7; 32]))
            .unwrap();
    let (result, ()) = tokio::join!(network.ping(&other), server.greet_in_vain());
    let error = result.unwrap_err();
    assert!(matches!(error, CallError::Connect(ConnectError::UnknownIdentity)), "{error:?}");
    assert!(!error.is_temporary());
    assert!(matches!(expect_down(&mut events).await, CallError::Connect(ConnectError::UnknownIdentity)));
    // the next call fails without another attempt
    let again = network.ping(&other).await;
    assert!(matches!(again, Err(CallError::Connect(ConnectError::UnknownIdentity))));
    assert!(!server.has_connection().await);
}

#[tokio::test]
async fn a_version_gap_is_told_in_words() {
    for (offered, words) in [((6, 14), "the server is too old"), ((19, 20), "this program is too old")] {
        let mut server = ScriptedServer::start().await;
        server.versions = VersionRange::new(offered.0, offered.1).unwrap();
        let (network, _events) = network();
        let (result, ()) = tokio::join!(network.ping(&server.address), server.greet_in_vain());
        let error = result.unwrap_err();
        assert!(matches!(error, CallError::Connect(ConnectError::Version { .. })), "{error:?}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[tokio::test]
async fn bad_greetings_are_refused() {
    let mut server = ScriptedServer::start().await;
    server.lies_about_session = true;
    let (network, _events) = network();
    let (result, ()) = tokio::join!(network.ping(&server.address), server.greet_in_vain());
    assert!(matches!(result, Err(CallError::Connect(ConnectError::Hello(_)))), "{result:?}");

    let closing = ScriptedServer::start().await;
    let (result, ()) = tokio::join!(network.ping(&closing.address), closing.drop_next());
    assert!(matches!(result, Err(CallError::Connect(ConnectError::Tls(_)))), "{result:?}");

    let address = ScriptedServer::start().await.address;
    let result = network.ping(&address).await;
    assert!(matches!(result, Err(CallError::Connect(ConnectError::Unreachable(_)))), "{result:?}");
    assert!(result.unwrap_err().is_temporary());
}

#[tokio::test]
async fn concurrent_first_calls_share_one_session() {
    let server = ScriptedServer::start().await;
    let (network, _events) = network();
    let script = async {
        let mut peer = server.accept().await;
        for _ in 0..3 {
            let command = peer.command().await;
            peer.answer(&command, BrokerMessage::Pong).await;
        }
        assert!(!server.has_connection().await);
        peer
    };
    let ping = || network.ping(&server.address);
    let (one, two, three, _peer) = tokio::join!(ping(), ping(), ping(), script);
    assert!(one.is_ok() && two.is_ok() && three.is_ok());
}

fn subscriptions(count: u16) -> Vec<Subscription> {
    (0..count).map(|number| Subscription { queue: queue(number), key: key(1), lane: Lane::Bulk }).collect()
}

fn queue(number: u16) -> RecipientId {
    let mut id = [0; 24];
    id[..2].copy_from_slice(&number.to_be_bytes());
    RecipientId(id)
}

/// Answers `SUB`s until `count` came; gives the sizes of their blocks.
async fn take_subscriptions(peer: &mut Peer, count: usize) -> (BTreeSet<Vec<u8>>, Vec<usize>) {
    let (mut queues, mut sizes) = (BTreeSet::new(), Vec::new());
    while queues.len() < count {
        let block = peer.block().await;
        assert!(!block.is_empty(), "the client has gone");
        sizes.push(block.len());
        for command in &block {
            assert_eq!(command.command, Command::Sub);
            assert!(queues.insert(command.entity_id.clone()));
        }
        let answers: Vec<_> = block
            .iter()
            .map(|command| (&command.correlation_id[..], &command.entity_id[..], BrokerMessage::Sok(None)))
            .collect();
        peer.send(&answers).await;
    }
    (queues, sizes)
}

#[tokio::test]
async fn subscriptions_fill_blocks_and_are_repeated_in_the_next_session() {
    const COUNT: u16 = 3000;
    let server = ScriptedServer::start().await;
    let (network, mut events) = network();
    network.subscribe(&server.address, subscriptions(COUNT), Ticket(0));
    let mut peer = server.accept().await;
    let (queues, sizes) = take_subscriptions(&mut peer, COUNT.into()).await;
    assert_eq!(sizes.iter().max(), Some(&135), "as many as fit, with Ed25519 at version 18");
    assert!(sizes.len() < 60, "{} blocks", sizes.len());
    expect_up(&mut events).await;

    // one is lost to another program, one is deleted
    peer.tell(&queue(3).0, BrokerMessage::End).await;
    peer.tell(&queue(4).0, BrokerMessage::Deld).await;
    for (number, expected) in [(3, SubscriptionEnd::Moved), (4, SubscriptionEnd::Deleted)] {
        match next(&mut events).await {
            NetworkEvent::SubscriptionEnded { queue: ended, reason, .. } => {
                assert_eq!((ended, reason), (queue(number), expected));
            }
            other => panic!("{other:?}"),
        }
    }
    peer.tell(&queue(5).0, message(1, b"hello")).await;
    assert_eq!(expect_message(&mut events).await, (queue(5), b"hello".to_vec()));

    drop(peer);
    assert!(matches!(expect_down(&mut events).await, CallError::Disconnected));
    let mut peer = server.accept().await;
    let (again, _) = take_subscriptions(&mut peer, usize::from(COUNT) - 2).await;
    let lost = queues.difference(&again).cloned().collect::<Vec<_>>();
    assert_eq!(lost, [queue(3).0.to_vec(), queue(4).0.to_vec()]);
    expect_up(&mut events).await;
}

#[tokio::test]
async fn what_goes_first_is_subscribed_first_and_its_answer_is_told() {
    let server = ScriptedServer::start().await;
    let (network, mut events) = network();
    let mut wanted = subscriptions(3);
    wanted[2].lane = Lane::Control;
    network.subscribe(&server.address, wanted, Ticket(0));
    let mut peer = server.accept().await;
    let event = next(&mut events).await;
    assert!(matches!(event, NetworkEvent::Up(_)), "{event:?}");
    let block = peer.block().await;
    let order: Vec<_> = block.iter().map(|command| command.entity_id.clone()).collect();
    assert_eq!(order, [2, 0, 1].map(|number| queue(number).0.to_vec()));
    peer.refuse(&block[1], ErrorType::Auth).await;
    let event = next(&mut events).await;
    assert!(matches!(event, NetworkEvent::SubscriptionEnded { .. }), "{event:?}");
    peer.answer(&block[0], BrokerMessage::Sok(None)).await;
    let event = next(&mut events).await;
    assert!(matches!(event, NetworkEvent::Listening { .. }), "{event:?}");
}

async fn expect_listening(events: &mut NetworkEvents) -> Option<Ticket> {
    match next(events).await {
        NetworkEvent::Listening { asked, .. } => asked,
        other => panic!("expected to hear that all are heard, got {other:?}"),
    }
}

#[tokio::test]
async fn what_is_told_names_the_last_queues_that_it_is_about() {
    let server = ScriptedServer::start().await;
    let (network, mut events) = network();
    let [first, second] = [0, 1].map(|number| {
        let [.., last] = &mut subscriptions(number + 1)[..] else { panic!("there is one") };
        vec![Subscription { lane: Lane::Control, ..last.clone() }]
    });
    // the session begins before its queues are asked for
    network.submit(request(&server, &[], Command::Ping), Ticket(1), Lane::Bulk);
    network.subscribe(&server.address, first, Ticket(2));
    let mut peer = server.accept().await;
    let event = next(&mut events).await;
    assert!(matches!(event, NetworkEvent::Up(_)), "{event:?}");
    assert_eq!(expect_listening(&mut events).await, None);
    let mut commands = peer.block().await;
    if commands.len() == 1 {
        commands.extend(peer.block().await);
    }
    peer.answer(&commands[1], BrokerMessage::Sok(None)).await;
    assert_eq!(expect_listening(&mut events).await, Some(Ticket(2)));
    network.subscribe(&server.address, second, Ticket(3));
    let command = peer.command().await;
    peer.answer(&command, BrokerMessage::Sok(None)).await;
    assert_eq!(expect_listening(&mut events).await, Some(Ticket(3)));
}

#[tokio::test]
async fn a_server_that_goes_before_it_answers_was_not_listened_to() {
    let server = ScriptedServer::start().await;
    let (network, mut events) = network();
    let mut wanted = subscriptions(1);
    wanted[0].lane = Lane::Control;
    network.subscribe(&server.address, wanted, Ticket(0));
    let mut peer = server.accept().await;
    let event = next(&mut events).await;
    assert!(matches!(event, NetworkEvent::Up(_)), "{event:?}");
    assert_eq!(peer.block().await.len(), 1);
    drop(peer);
    assert!(matches!(expect_down(&mut events).await, CallError::Disconnected));
}

#[tokio::test]
async fn a_server_that_comes_late_is_subscribed_by_itself() {
    let address = ScriptedServer::start().await.address;
    let (network, mut events) = network();
    network.subscribe(&address, subscriptions(1), Ticket(0));
    let reason = expect_down(&mut events).await;
    assert!(matches!(reason, CallError::Connect(ConnectError::Unreachable(_))), "{reason:?}");
    let server = ScriptedServer::start_at(address.port().unwrap()).await;
    let mut peer = server.accept().await;
    take_subscriptions(&mut peer, 1).await;
    expect_up(&mut events).await;
}

#[tokio::test]
async fn an_unusable_server_is_told_of_also_where_one_was_out_of_reach() {
    let address = ScriptedServer::start().await.address;
    let (network, mut events) = network();
    network.subscribe(&address, subscriptions(1), Ticket(0));
    assert!(expect_down(&mut events).await.is_temporary());
    let mut server = ScriptedServer::start_at(address.port().unwrap()).await;
    server.versions = VersionRange::new(6, 14).unwrap();
    server.greet_in_vain().await;
    let reason = expect_down(&mut events).await;
    assert!(matches!(reason, CallError::Connect(ConnectError::Version { .. })), "{reason:?}");
}

#[tokio::test]
async fn a_subscription_that_fails_for_now_is_asked_for_again_in_a_quiet_session() {
    let server = ScriptedServer::start().await;
    let (network, mut events) = network();
    network.subscribe(&server.address, subscriptions(1), Ticket(0));
    let mut peer = server.accept().await;
    expect_up(&mut events).await;
    let first = peer.command().await;
    peer.refuse(&first, ErrorType::Internal).await;
    let again = tokio::time::timeout(Duration::from_secs(60), peer.command()).await.unwrap();
    assert_eq!((&again.command, &again.entity_id), (&Command::Sub, &first.entity_id));
}

#[tokio::test]
async fn a_refused_subscription_is_reported_and_an_odd_answer_taken() {
    let server = ScriptedServer::start().await;
    let (network, mut events) = network();
    network.subscribe(&server.address, subscriptions(2), Ticket(0));
    let mut peer = server.accept().await;
    expect_up(&mut events).await;
    let block = peer.block().await;
    peer.refuse(&block[0], ErrorType::Auth).await;
    // older servers answer with the message itself
    peer.answer(&block[1], message(1, b"first")).await;
    match next(&mut events).await {
        NetworkEvent::SubscriptionEnded { queue: ended, reason, .. } => {
            assert_eq!((ended, reason), (queue(0), SubscriptionEnd::Unknown));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(expect_message(&mut events).await, (queue(1), b"first".to_vec()));
}

#[tokio::test]
async fn a_blocked_queue_is_told_of_once_and_asked_for_until_it_is_taken() {
    let server = ScriptedServer::start().await;
    let (network, mut events) = network();
    network.subscribe(&server.address, subscriptions(1), Ticket(0));
    let mut peer = server.accept().await;
    take_subscriptions(&mut peer, 1).await;
    expect_up(&mut events).await;
    // of the server's own accord, then as an answer
    let blocked = || ErrorType::Blocked("reason=spam".parse().unwrap());
    peer.tell(&queue(0).0, BrokerMessage::Err(blocked())).await;
    match next(&mut events).await {
        NetworkEvent::QueueRefused { queue: refused, error, .. } => {
            assert_eq!((refused, error), (queue(0), blocked()));
        }
        other => panic!("{other:?}"),
    }
    for _ in 0..2 {
        let again = peer.command().await;
        assert_eq!((&again.command, &again.entity_id[..]), (&Command::Sub, &queue(0).0[..]));
        peer.refuse(&again, blocked()).await;
    }
    let again = peer.command().await;
    peer.answer(&again, BrokerMessage::Sok(None)).await;
    match next(&mut events).await {
        NetworkEvent::RefusalOver { queue: taken, is_subscribed: true, .. } => assert_eq!(taken, queue(0)),
        other => panic!("{other:?}"),
    }
    peer.tell(&queue(0).0, message(1, b"hello")).await;
    assert_eq!(expect_message(&mut events).await, (queue(0), b"hello".to_vec()));
}

#[tokio::test]
async fn a_queue_that_another_program_asks_for_is_not_asked_for_any_more() {
    let server = ScriptedServer::start().await;
    let (network, mut events) = network();
    network.subscribe(&server.address, subscriptions(3), Ticket(0));
    let mut peer = server.accept().await;
    expect_up(&mut events).await;
    let block = peer.block().await;
    peer.refuse(&block[0], ErrorType::Blocked("reason=spam".parse().unwrap())).await;
    let event = next(&mut events).await;
    assert!(matches!(event, NetworkEvent::QueueRefused { .. }), "{event:?}");
    network.unsubscribe(&server.address, vec![queue(0), queue(1)]);
    match next(&mut events).await {
        NetworkEvent::RefusalOver { queue: left, is_subscribed: false, .. } => assert_eq!(left, queue(0)),
        other => panic!("{other:?}"),
    }
    drop(peer);
    expect_down(&mut events).await;
    let mut peer = server.accept().await;
    let again = peer.command().await;
    assert_eq!(again.entity_id, queue(2).0.to_vec());
}

#[tokio::test]
async fn nobody_waits_to_hear_of_what_another_program_asks_for() {
    let server = ScriptedServer::start().await;
    let (network, mut events) = network();
    let wanted = subscriptions(1).into_iter().map(|it| Subscription { lane: Lane::Control, ..it });
    network.subscribe(&server.address, wanted.collect(), Ticket(1));
    let mut peer = server.accept().await;
    let event = next(&mut events).await;
    assert!(matches!(event, NetworkEvent::Up(_)), "{event:?}");
    peer.command().await;
    network.unsubscribe(&server.address, vec![queue(0)]);
    assert_eq!(expect_listening(&mut events).await, Some(Ticket(1)));
}

fn new_queue() -> Command<'static> {
    Command::New(Box::new(NewQueue {
        recipient_key: key(1).public_key(),
        dh_key: X25519PublicKey([3; 32]),
        password: None,
        subscribe: true,
        request: None,
        notifier: None,
    }))
}

fn ids(number: u16) -> BrokerMessage<'static> {
    BrokerMessage::Ids(QueueIds {
        recipient_id: queue(number),
        sender_id: SenderId([1; 24]),
        server_dh_key: X25519PublicKey([4; 32]),
        mode: None,
        link_id: None,
        service_id: None,
        notifier: None,
    })
}

#[tokio::test]
async fn a_created_queue_is_subscribed_in_its_lane_from_the_next_session_on() {
    let server = ScriptedServer::start().await;
    let (network, mut events) = network();
    network.subscribe(&server.address, subscriptions(1), Ticket(0));
    let mut peer = server.accept().await;
    expect_up(&mut events).await;
    take_subscriptions(&mut peer, 1).await;
    for (number, lane) in [(1, Lane::Bulk), (2, Lane::Control)] {
        network.submit(request(&server, &[], new_queue()), Ticket(number.into()), lane);
        let command = peer.command().await;
        peer.send(&[(&command.correlation_id, &[], ids(number))]).await;
        let event = next(&mut events).await;
        assert!(matches!(event, NetworkEvent::Answer { .. }), "{event:?}");
    }
    drop(peer);
    expect_down(&mut events).await;
    let block = server.accept().await.block().await;
    let order: Vec<_> = block.iter().map(|command| command.entity_id.clone()).collect();
    assert_eq!(order, [2, 0, 1].map(|number| queue(number).0.to_vec()));
}

#[tokio::test]
async fn a_created_queue_is_subscribed_and_a_deleted_one_is_not() {
    let server = ScriptedServer::start().await;
    let (network, mut events) = network();
    let new = new_queue();
    let script = async {
        let mut peer = server.accept().await;
        for number in [1, 2] {
            let command = peer.command().await;
            peer.send(&[(&command.correlation_id, &[], ids(number))]).await;
        }
        let command = peer.command().await;
        peer.answer(&command, BrokerMessage::Ok).await;
        peer
    };
    let calls = async {
        // a correlation id that means something is used as it is
        let named =
            Request { correlation_id: Some(CorrelationId([8; 24])), ..request(&server, &[], new.clone()) };
        network.call(named).await.unwrap();
        network.call(request(&server, &[], new.clone())).await.unwrap();
        network.call(request(&server, &queue(1).0, Command::Del)).await.unwrap();
    };
    let ((), peer) = tokio::join!(calls, script);
    expect_up(&mut events).await;
    drop(peer);
    expect_down(&mut events).await;
    let mut peer = server.accept().await;
    let command = peer.command().await;
    assert_eq!((command.command, command.entity_id), (Command::Sub, queue(2).0.to_vec()));
}

#[tokio::test]
async fn when_a_session_breaks_every_command_is_answered() {
    let server = ScriptedServer::start().await;
    let (network, mut events) = network();
    for number in 0..5 {
        network.submit(request(&server, &[5; 24], Command::Que), Ticket(number), Lane::Bulk);
    }
    let mut peer = server.accept().await;
    for _ in 0..5 {
        peer.command().await;
    }
    peer.send_garbage().await;
    expect_up(&mut events).await;
    let mut tickets = BTreeSet::new();
    for _ in 0..5 {
        match next(&mut events).await {
            NetworkEvent::Answer { ticket, result: Err(CallError::Disconnected), .. } => {
                tickets.insert(ticket);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(tickets.len(), 5);
    expect_down(&mut events).await;
    // without subscriptions nobody reconnects, until the next command
    let script = async {
        let mut peer = server.accept().await;
        let command = peer.command().await;
        peer.answer(&command, BrokerMessage::Pong).await;
        peer
    };
    let (pong, _peer) = tokio::join!(network.ping(&server.address), script);
    pong.unwrap();
}

#[tokio::test]
async fn malformed_contents_end_the_session() {
    for content in [&b""[..], b"\x00", b"\x02\x00\x01x", b"\x01\xff\xffx"] {
        let server = ScriptedServer::start().await;
        let (network, mut events) = network();
        network.subscribe(&server.address, subscriptions(1), Ticket(0));
        let mut peer = server.accept().await;
        expect_up(&mut events).await;
        peer.send_raw(content).await;
        expect_down(&mut events).await;
    }
}

#[tokio::test]
async fn a_malformed_transmission_does_not_hide_the_others_in_its_block() {
    let server = ScriptedServer::start().await;
    let (network, mut events) = network();
    network.subscribe(&server.address, subscriptions(1), Ticket(0));
    let mut peer = server.accept().await;
    expect_up(&mut events).await;
    // an authenticator of 255 bytes that are not there; an event of an unknown kind; a good message
    let good = [&b"\0\0\x18"[..], &queue(0).0, &message(1, b"good").encode(18)].concat();
    let mut content = b"\x03\x00\x01\xff\x00\x06\0\0\0NEW".to_vec();
    content.extend_from_slice(&u16::try_from(good.len()).unwrap().to_be_bytes());
    content.extend_from_slice(&good);
    peer.send_raw(&content).await;
    assert_eq!(expect_message(&mut events).await, (queue(0), b"good".to_vec()));
}

#[tokio::test]
async fn a_flood_of_messages_waits_at_the_server() {
    const COUNT: usize = 2000;
    let server = ScriptedServer::start().await;
    let (network, mut events) = network();
    network.subscribe(&server.address, subscriptions(1), Ticket(0));
    let mut peer = server.accept().await;
    expect_up(&mut events).await;
    let flood = tokio::spawn(async move {
        let body = vec![7; 16_000];
        for _ in 0..COUNT {
            peer.tell(&queue(0).0, message(1, &body)).await;
        }
        peer
    });
    // nobody takes events yet; when somebody does, all are there
    for _ in 0..COUNT {
        expect_message(&mut events).await;
    }
    flood.await.unwrap();
}

#[tokio::test]
async fn links_are_read_and_checked() {
    let server = ScriptedServer::start().await;
    let (network, _events) = network();
    let mut rng = system_rng();
    let root_key = Ed25519PrivateKey::from_seed(&[9; 32]);
    let plan = AddressPlan {
        server: server.address.clone().into(),
        link_type: LinkType::Relay,
        root_key: root_key.clone(),
        link_entity_id: None,
        client_data: None,
    };
    let draft = AddressDraft::new(plan, &mut rng).unwrap();
    let data = UserLinkData::direct(b"profile".to_vec());
    let user = draft.seal_user_data(&data, &mut rng).unwrap();
    let link = draft.short_link();

    let script = async {
        let mut peer = server.accept().await;
        let answer = |fixed: &[u8], user: &[u8], sender_id| BrokerMessage::Lnk {
            sender_id,
            data: LinkData { fixed: fixed.to_vec().into(), user: user.to_vec().into() },
        };
        let command = peer.command().await;
        assert_eq!(command.command, Command::Lget);
        assert_eq!(command.entity_id, link.link_id().0);
        peer.answer(&command, answer(draft.fixed_blob(), &user, draft.sender_id())).await;

        let command = peer.command().await;
        let mut changed = user.clone();
        changed[100] ^= 1;
        peer.answer(&command, answer(draft.fixed_blob(), &changed, draft.sender_id())).await;

        let command = peer.command().await;
        peer.answer(&command, answer(draft.fixed_blob(), &user, SenderId([0; 24]))).await;

        let command = peer.command().await;
        peer.refuse(&command, ErrorType::Auth).await;
        peer
    };
    let reads = async {
        let opened = network.read_link(&link).await.unwrap();
        assert_eq!((opened.data, opened.root_key), (data.clone(), root_key.public_key()));
        let refused = network.read_link(&link).await;
        assert!(matches!(refused, Err(ReadLinkError::Data(OpenLinkError::Decrypt(_)))), "{refused:?}");
        let refused = network.read_link(&link).await;
        assert!(matches!(refused, Err(ReadLinkError::Data(OpenLinkError::DifferentAddress))), "{refused:?}");
        let missing = network.read_link(&link).await;
        assert!(matches!(missing, Err(ReadLinkError::NotFound)), "{missing:?}");
    };
    let ((), _peer) = tokio::join!(reads, script);
}

#[tokio::test]
async fn sessions_end_with_the_last_handle() {
    let server = ScriptedServer::start().await;
    let (network, _events) = network();
    network.subscribe(&server.address, subscriptions(1), Ticket(0));
    let mut peer = server.accept().await;
    peer.command().await;
    drop(network);
    assert!(peer.block().await.is_empty());
}
