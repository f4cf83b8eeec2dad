//! From an address to a connection and back to nothing, between two agents.

use super::world::{Name, World, server};
use crate::agent::event::{Event, Failure, Integrity, Receipt, SendFailure};
use crate::agent::link_data::UserLinkData;
use crate::agent::request::{RequestOutcome, Work};
use crate::agent::store::{AgentStore as _, ConnectionId};
use crate::agent::{BODY_BYTES_MAX, Body, error::AgentError};
use crate::smp::command::Command;
use crate::smp::error::ErrorType;
use crate::smp::response::BrokerMessage;

#[test]
fn an_address_leads_to_a_connection_and_messages_both_ways() {
    let mut world = World::new(1);
    let (alice, bob) = world.connect();
    let first = world.send(Name::Alice, alice, b"0001");
    assert_eq!(first, 2, "the confirmation was the first item");
    assert_eq!(world.send(Name::Bob, bob, b"0002"), 2);
    assert_eq!(world.send(Name::Bob, bob, b"0003"), 3);
    world.settle();
    assert!(world.alice.events.contains(&(alice, Event::Sent { number: 2 })));
    let seen: Vec<_> = world.alice.messages().into_iter().map(|(_, integrity)| integrity).collect();
    assert_eq!(seen, [Integrity::Ok, Integrity::Ok]);
    assert_eq!(world.bob.messages(), [(u32::from_be_bytes(*b"0001"), Integrity::Ok)]);
}

#[test]
fn the_joiner_may_write_before_it_was_answered() {
    let mut world = World::new(2);
    let (_, request) = world.create_address();
    let bob = world.with(Name::Bob, |agent| agent.request(&request, &server(), b"").unwrap());
    world.settle();
    let (invitation, _) = world.alice.invitation();
    let alice = world.with(Name::Alice, |agent| agent.accept(&invitation, &server(), b"").unwrap());
    let early = world.with(Name::Alice, |agent| agent.send(alice, Body::Inline(b"0001"), false));
    assert!(matches!(early, Err(AgentError::NotAllowedNow(_))), "the peer has no keys yet");
    world.settle();
    world.send(Name::Alice, alice, b"0001");
    world.settle();
    let events: Vec<_> = world.bob.events.iter().filter(|(id, _)| *id == bob).map(|it| &it.1).collect();
    assert!(matches!(events[..], [Event::Confirmation { .. }, Event::Message { .. }]), "{events:?}");
    let too_early = world.with(Name::Bob, |agent| agent.send(bob, Body::Inline(b"0001"), false));
    assert!(matches!(too_early, Err(AgentError::NotAllowedNow(_))));
    world.with(Name::Bob, |agent| agent.allow(bob, b"").unwrap());
    let again = world.with(Name::Bob, |agent| agent.allow(bob, b""));
    assert!(matches!(again, Err(AgentError::NotAllowedNow(_))));
    world.settle();
    assert_eq!(world.bob.events.last(), Some(&(bob, Event::Connected)));
}

#[test]
fn the_same_request_is_told_once() {
    let mut world = World::new(3);
    let (_, request) = world.create_address();
    let bob = world.with(Name::Bob, |agent| agent.request(&request, &server(), b"").unwrap());
    // the answer to the request is lost, so it goes out again
    for _ in 0..4 {
        let Work::Run(job, wanted) = world.with(Name::Bob, |agent| agent.job(bob).unwrap()) else { break };
        let answer = world.server.handle(&wanted);
        let is_request = matches!(wanted.command, Command::Send { .. });
        let outcome = if is_request { RequestOutcome::Temporary } else { RequestOutcome::Answer(answer) };
        world.with(Name::Bob, |agent| agent.job_done(bob, job, outcome).unwrap());
        world.server.now = world.server.now.plus_ms(10_000);
    }
    world.settle();
    let requests = world.alice.events.iter().filter(|it| matches!(it.1, Event::Request { .. }));
    assert_eq!(requests.count(), 1);
    // another request by the same party is another one
    world.with(Name::Bob, |agent| agent.request(&request, &server(), b"").unwrap());
    world.settle();
    let requests = world.alice.events.iter().filter(|it| matches!(it.1, Event::Request { .. }));
    assert_eq!(requests.count(), 2);
}

#[test]
fn an_invitation_can_be_used_once() {
    let mut world = World::new(4);
    let (_, request) = world.create_address();
    world.with(Name::Bob, |agent| agent.request(&request, &server(), b"").unwrap());
    world.settle();
    let (invitation, _) = world.alice.invitation();
    world.with(Name::Alice, |agent| agent.accept(&invitation, &server(), b"").unwrap());
    world.settle();
    let second = world.with(Name::Alice, |agent| agent.accept(&invitation, &server(), b"").unwrap());
    world.settle();
    let reason = Failure::NotAvailable;
    assert!(world.alice.events.contains(&(second, Event::Failed { reason })));
    world.with(Name::Alice, |agent| agent.delete(second, true).unwrap());
    world.settle();
    assert!(world.alice.events.contains(&(second, Event::Deleted)));
}

#[test]
fn link_data_are_replaced_in_order() {
    let mut world = World::new(5);
    let (id, _) = world.create_address();
    let before = world.server.queues.values().next().unwrap().link.clone().unwrap();
    for text in ["one", "two"] {
        let data = UserLinkData::direct(text.as_bytes().to_vec());
        world.with(Name::Alice, |agent| agent.set_link_data(id, &data).unwrap());
    }
    world.settle();
    let after = world.server.queues.values().next().unwrap().link.clone().unwrap();
    assert_eq!(before.1.fixed, after.1.fixed, "the fixed part is the same to the byte");
    assert_ne!(before.1.user, after.1.user);
    let told = world.alice.events.iter().filter(|it| it.1 == Event::LinkDataSet).count();
    assert_eq!(told, 2);
    let refused = world.with(Name::Alice, |agent| {
        agent.set_link_data(id, &UserLinkData::direct(vec![0; 14_000])).map_err(|error| error.to_string())
    });
    assert!(refused.is_err());
}

#[test]
fn a_lost_answer_to_the_creation_of_an_address_is_told_apart_from_a_refusal() {
    for (lost, expected) in [(true, Failure::AnswerLost), (false, Failure::QueueRefused)] {
        let mut world = World::new(6);
        let (id, _) = world.create_address();
        world.with(Name::Alice, |agent| agent.delete(id, false).unwrap());
        world.settle();
        assert!(world.server.queues.is_empty());
        let draft = super::roundtrips::draft(&mut rand::SeedableRng::seed_from_u64(1));
        let data = UserLinkData::direct(Vec::new());
        let id = world.with(Name::Alice, |agent| agent.create_address(draft, &data).unwrap());
        let work = world.with(Name::Alice, |agent| agent.job(id).unwrap());
        let Work::Run(job, request) = work else { panic!("a queue to create") };
        // asked for, and put off for want of room: no attempt
        assert!(matches!(world.with(Name::Alice, |agent| agent.job(id).unwrap()), Work::Run(..)));
        world.with(Name::Alice, |agent| agent.job_started(id, job, &request).unwrap());
        if lost {
            world.server.handle(&request);
            let outcome = RequestOutcome::Temporary;
            world.with(Name::Alice, |agent| agent.job_done(id, job, outcome).unwrap());
            world.settle();
        } else {
            let outcome = RequestOutcome::Answer(BrokerMessage::Err(ErrorType::Auth));
            world.with(Name::Alice, |agent| agent.job_done(id, job, outcome).unwrap());
        }
        assert_eq!(world.alice.events.last(), Some(&(id, Event::Failed { reason: expected })));
    }
}

#[test]
fn sizes_are_checked_before_anything_is_spent() {
    let mut world = World::new(7);
    let (alice, bob) = world.connect();
    let before = world.alice.record(alice);
    let large = vec![b'x'; BODY_BYTES_MAX + 1];
    let refused = world.with(Name::Alice, |agent| agent.send(alice, Body::Inline(&large), false));
    let expected = (BODY_BYTES_MAX + 1, BODY_BYTES_MAX);
    assert!(
        matches!(refused, Err(AgentError::TooLarge { bytes, bytes_max }) if (bytes, bytes_max) == expected)
    );
    assert_eq!(world.alice.record(alice), before);
    assert_eq!(BODY_BYTES_MAX, 15_795);
    world.send(Name::Alice, alice, &large[..BODY_BYTES_MAX]);
    world.settle();
    let body = large[..BODY_BYTES_MAX].to_vec();
    assert!(
        world
            .bob
            .events
            .iter()
            .any(|(id, event)| *id == bob && matches!(event, Event::Message { body: it, .. } if *it == body))
    );
}

#[test]
fn words_of_introduction_have_their_bounds() {
    let mut world = World::new(8);
    let (_, request) = world.create_address();
    let bytes_max = |result: Result<ConnectionId, AgentError<_>>| match result {
        Err(AgentError::TooLarge { bytes_max, .. }) => bytes_max,
        other => panic!("{other:?}"),
    };
    let large = vec![0; 16_000];
    let fits = bytes_max(world.with(Name::Bob, |agent| agent.request(&request, &server(), &large)));
    assert!(fits > 14_694, "{fits}");
    let info = vec![0; fits];
    let bob = world.with(Name::Bob, |agent| agent.request(&request, &server(), &info).unwrap());
    world.settle();
    let (invitation, info) = world.alice.invitation();
    assert_eq!(info.len(), fits);
    let fits = bytes_max(world.with(Name::Alice, |agent| agent.accept(&invitation, &server(), &large)));
    assert!(fits >= 14_694, "{fits}");
    let info = vec![0; fits];
    world.with(Name::Alice, |agent| agent.accept(&invitation, &server(), &info).unwrap());
    world.settle();
    let refused = world.with(Name::Bob, |agent| agent.allow(bob, &vec![0; 14_830]));
    assert!(matches!(refused, Err(AgentError::TooLarge { bytes_max: 14_829, .. })));
    world.with(Name::Bob, |agent| agent.allow(bob, &vec![0; 14_829]).unwrap());
    world.settle();
    assert_eq!(world.bob.events.last(), Some(&(bob, Event::Connected)));
}

#[test]
fn a_shared_body_goes_to_many_and_then_away() {
    let mut world = World::new(9);
    let (alice, bob) = world.connect();
    let body = world.with(Name::Alice, |agent| agent.store.put_body(b"0007 shared").unwrap());
    for _ in 0..3 {
        world.with(Name::Alice, |agent| agent.send(alice, Body::Shared(body), false).unwrap());
    }
    assert_eq!(world.alice.store.body_count(), 1);
    world.settle();
    assert_eq!(world.alice.store.body_count(), 0);
    let received = world.bob.events.iter().filter(|(id, event)| {
        *id == bob && matches!(event, Event::Message { body, integrity: Integrity::Ok, .. } if body == b"0007 shared")
    });
    assert_eq!(received.count(), 3);
    let gone = world.with(Name::Alice, |agent| agent.send(alice, Body::Shared(body), false));
    assert!(matches!(gone, Err(AgentError::NoBody)));
}

#[test]
fn receipts_name_what_arrived() {
    let mut world = World::new(10);
    let (alice, bob) = world.connect();
    world.send(Name::Alice, alice, b"0001");
    world.with(Name::Alice, |agent| agent.expect_receipts(alice).unwrap());
    let wanted = world.send(Name::Alice, alice, b"0002");
    world.settle();
    let hashes: Vec<_> = world
        .bob
        .events
        .iter()
        .filter_map(|(_, event)| match event {
            Event::Message { number, hash, .. } => Some((*number, *hash)),
            _ => None,
        })
        .collect();
    for (number, hash) in hashes.iter().chain(&hashes) {
        world.with(Name::Bob, |agent| agent.send_receipt(bob, *number, hash).unwrap());
    }
    world.settle();
    let receipts: Vec<_> =
        world.alice.events.iter().filter(|it| matches!(it.1, Event::Receipts(_))).collect();
    let expected = Event::Receipts(vec![Receipt { number: wanted, intact: true }]);
    assert_eq!(receipts, [&(alice, expected)], "once, and only where it was asked for");
}

#[test]
fn a_deleted_connection_leaves_nothing_behind() {
    for after_pending_sends in [false, true] {
        let mut world = World::new(11);
        let (alice, bob) = world.connect();
        world.send(Name::Alice, alice, b"0001");
        world.with(Name::Alice, |agent| agent.delete(alice, after_pending_sends).unwrap());
        world.with(Name::Alice, |agent| agent.delete(alice, after_pending_sends).unwrap());
        world.settle();
        assert_eq!(world.alice.events.last(), Some(&(alice, Event::Deleted)));
        assert_eq!(world.bob.messages().len(), usize::from(after_pending_sends));
        assert_eq!(world.server.queues.len(), 2, "the address and Bob's");
        // what Bob sends now finds no queue
        let number = world.send(Name::Bob, bob, b"0002");
        world.settle();
        let reason = SendFailure::NoQueue;
        assert_eq!(world.bob.events.last(), Some(&(bob, Event::SendFailed { number, reason })));
        assert_eq!(world.alice.store.connection(alice).unwrap(), None);
    }
}

#[test]
fn whoever_has_lost_its_queue_still_speaks() {
    let mut world = World::new(12);
    let (_, bob) = world.connect();
    let own = world.with(Name::Bob, |agent| agent.own_queue(bob).unwrap().unwrap());
    world.server.queues.remove(&own.recipient_id);
    for _start in 0..2 {
        world.bob.take_events();
        world.with(Name::Bob, |agent| agent.queue_gone(&own.server, &own.recipient_id).unwrap());
        assert_eq!(world.bob.take_events(), [Event::QueueGone]);
    }
    world.send(Name::Bob, bob, b"I hear nothing");
    world.settle();
    assert_eq!(world.alice.messages().len(), 1);
    world.with(Name::Bob, |agent| agent.delete(bob, false).unwrap());
    world.settle();
    assert_eq!(world.bob.events.last(), Some(&(bob, Event::Deleted)));
}

#[test]
fn an_address_that_its_server_has_lost_is_created_again_under_the_same_link() {
    let mut world = World::new(62);
    let (id, request) = world.create_address();
    let data = UserLinkData::direct(b"anew".to_vec());
    let again = |world: &mut World| world.with(Name::Alice, |agent| agent.create_address_again(id, &data));
    assert!(matches!(again(&mut world), Err(AgentError::NotAllowedNow(_))), "it is there");
    let own = world.with(Name::Alice, |agent| agent.own_queue(id).unwrap().unwrap());
    world.server.queues.clear();
    world.with(Name::Alice, |agent| agent.queue_gone(&own.server, &own.recipient_id).unwrap());
    assert_eq!(world.alice.events.last(), Some(&(id, Event::Failed { reason: Failure::QueueGone })));
    again(&mut world).unwrap();
    world.settle();
    assert_eq!(world.alice.events.last(), Some(&(id, Event::AddressCreated)));
    // whoever has the link asks as before
    world.with(Name::Bob, |agent| agent.request(&request, &server(), b"I am Bob").unwrap());
    world.settle();
    assert_eq!(world.alice.invitation().1, b"I am Bob");
}

#[test]
fn seeded_connections_carry_messages_both_ways() {
    use crate::agent::seeding::{Agreement, SeedQueue};
    let mut world = World::new(61);
    let mut rng = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(61);
    let agreement = Agreement::new(&mut rng).unwrap();
    let mut queue = || {
        let mut queue = SeedQueue::new(server(), &mut rng);
        let BrokerMessage::Ids(ids) = world.server.handle(&queue.create()) else { panic!("a queue") };
        queue.created(&ids);
        queue
    };
    let (of_alice, of_bob) = (queue(), queue());
    let (alice, bob) = agreement.connect(&of_alice, &of_bob, &mut rng).unwrap();
    for end in [&alice, &bob] {
        assert_eq!(world.server.handle(&end.secure().unwrap()), BrokerMessage::Ok);
    }
    let alice = alice.insert(&mut world.alice.store, true).unwrap();
    let bob = bob.insert(&mut world.bob.store, true).unwrap();
    world.send(Name::Alice, alice, b"0001");
    world.settle();
    assert_eq!(world.bob.messages().len(), 1);
    world.send(Name::Bob, bob, b"0002");
    world.settle();
    assert_eq!(world.alice.messages().len(), 1);
}
