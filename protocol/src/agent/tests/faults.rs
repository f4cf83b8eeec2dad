//! Two agents over a bad network and through crashes, from a seed.

use proptest::prelude::*;

use super::server::Stored;
use super::world::{Faults, Name, World};
use crate::agent::event::{Event, Integrity, Refusal};
use crate::agent::store::{AgentStore as _, ConnectionId};

/// What a sender numbered, as the receiver of an undisturbed queue sees it.
fn all_in_order(count: u32) -> Vec<(u32, Integrity)> {
    (0..count).map(|number| (number, Integrity::Ok)).collect()
}

fn send_numbered(world: &mut World, name: Name, id: ConnectionId, number: u32) {
    world.send(name, id, &number.to_be_bytes());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// Lost requests, lost answers and crashes at any point, from the first request to the last message: all that
    /// was sent arrives once, in order, and both agents agree that it is whole.
    #[test]
    fn nothing_is_lost_or_doubled_by_network_and_crashes(seed in any::<u64>()) {
        let mut world = World::new(seed);
        let (_, request) = world.create_address();
        world.faults = Faults { request_lost: 15, answer_lost: 15, crash: 15 };
        let bob = world.with(Name::Bob, |agent| agent.request(&request, &super::world::server(), b"").unwrap());
        world.settle();
        let (invitation, _) = world.alice.invitation();
        let server = super::world::server();
        let alice = world.with(Name::Alice, |agent| agent.accept(&invitation, &server, b"").unwrap());
        world.settle();
        world.with(Name::Bob, |agent| agent.allow(bob, b"").unwrap());
        world.settle();
        const COUNT: u32 = 12;
        for number in 0..COUNT {
            send_numbered(&mut world, Name::Alice, alice, number);
            send_numbered(&mut world, Name::Bob, bob, number);
            for _ in 0..world.pick(4) {
                world.run_one_request(Name::Alice);
                world.deliver_one(Name::Bob);
                world.run_one_request(Name::Bob);
            }
        }
        world.settle();
        for party in [&world.alice, &world.bob] {
            prop_assert_eq!(party.messages(), all_in_order(COUNT));
            prop_assert_eq!(party.events.iter().filter(|it| it.1 == Event::Connected).count(), 1);
            let sent = party.events.iter().filter(|it| matches!(it.1, Event::Sent { .. })).count();
            prop_assert_eq!(sent, COUNT as usize);
            let bad = |event: &Event| matches!(
                event,
                Event::RatchetSync(_) | Event::Failed { .. } | Event::SendFailed { .. } | Event::Ignored(_)
            );
            prop_assert!(!party.events.iter().any(|it| bad(&it.1)), "{:?}", party.events);
        }
    }

    /// A server that drops, repeats and reorders: what it delivers is taken once, and each message says truly how
    /// it follows the one before it.
    #[test]
    fn a_hostile_server_cannot_double_a_message_or_hide_a_gap(
        seed in any::<u64>(),
        acts in proptest::collection::vec(0..5_u8, 5..40),
    ) {
        let mut world = World::new(seed);
        let (alice, bob) = world.connect();
        let own = world.with(Name::Bob, |agent| agent.own_queue(bob).unwrap().unwrap());
        let mut count = 0_u32;
        let mut dropped = std::collections::BTreeSet::new();
        let mut copies: Vec<(u32, Vec<u8>)> = Vec::new();
        for act in acts {
            send_numbered(&mut world, Name::Alice, alice, count);
            while world.run_one_request(Name::Alice) {}
            let queue = world.server.queues.get_mut(&own.recipient_id).unwrap();
            let Some((_, Stored::Message { body, .. })) = queue.messages.back().cloned() else { panic!() };
            copies.push((count, body));
            match act {
                0 => {
                    queue.messages.pop_back();
                    dropped.insert(count);
                }
                1 => {
                    let copy = copies[seed as usize % copies.len()].clone();
                    dropped.remove(&copy.0);
                    world.server.inject(own.recipient_id, copy.1);
                }
                2 if queue.messages.len() > 1 => {
                    let last = queue.messages.len() - 1;
                    queue.messages.swap(last, last - 1);
                }
                3 => while world.deliver_one(Name::Bob) {},
                _ => {}
            }
            count += 1;
        }
        while world.deliver_one(Name::Bob) {}
        let seen = world.bob.messages();
        let numbers: std::collections::BTreeSet<_> = seen.iter().map(|it| it.0).collect();
        prop_assert_eq!(numbers.len(), seen.len(), "nothing twice");
        let expected: std::collections::BTreeSet<_> = (0..count).filter(|it| !dropped.contains(it)).collect();
        prop_assert_eq!(numbers, expected, "nothing but what was dropped is missing");
        let mut last = -1_i64;
        for (number, integrity) in seen {
            let number = i64::from(number);
            // the confirmation was item 1
            let expected = match number - last {
                1 => Integrity::Ok,
                ..=0 => Integrity::BadId,
                _ => Integrity::Skipped { first: last + 3, last: number + 1 },
            };
            prop_assert_eq!(integrity, expected);
            last = number;
        }
        // copies of what was taken are silent
        let refusals: Vec<_> = world.bob.events.iter().filter(|it| matches!(it.1, Event::Ignored(_))).collect();
        prop_assert!(refusals.is_empty(), "{refusals:?}");
    }
}

#[test]
fn a_message_that_was_altered_is_reported_and_its_copy_is_a_duplicate() {
    let mut world = World::new(21);
    let (alice, bob) = world.connect();
    let own = world.with(Name::Bob, |agent| agent.own_queue(bob).unwrap().unwrap());
    send_numbered(&mut world, Name::Alice, alice, 0);
    while world.run_one_request(Name::Alice) {}
    let queue = world.server.queues.get_mut(&own.recipient_id).unwrap();
    let Some((_, Stored::Message { body, .. })) = queue.messages.back_mut() else { panic!("a message") };
    *body.last_mut().unwrap() ^= 1;
    world.settle();
    assert_eq!(world.bob.events.last(), Some(&(bob, Event::Ignored(Refusal::Box))));
    assert!(world.bob.messages().is_empty());
    assert!(
        !world.bob.events.iter().any(|it| matches!(it.1, Event::RatchetSync(_))),
        "the box guards the ratchet"
    );
}

#[test]
fn hashes_are_forgotten_by_age() {
    let mut world = World::new(22);
    let (alice, bob) = world.connect();
    let own = world.with(Name::Bob, |agent| agent.own_queue(bob).unwrap().unwrap());
    send_numbered(&mut world, Name::Alice, alice, 0);
    while world.run_one_request(Name::Alice) {}
    let queue = &world.server.queues[&own.recipient_id];
    let Some((_, Stored::Message { body, .. })) = queue.messages.back().cloned() else { panic!("a message") };
    world.settle();
    world.server.inject(own.recipient_id, body.clone());
    world.settle();
    assert!(!world.bob.events.iter().any(|it| matches!(it.1, Event::Ignored(_))));
    let later = world.server.now.plus_ms(1);
    world.bob.store.forget_before(later).unwrap();
    world.server.inject(own.recipient_id, body);
    world.settle();
    assert_eq!(world.bob.events.last(), Some(&(bob, Event::Ignored(Refusal::Duplicate))));
}
