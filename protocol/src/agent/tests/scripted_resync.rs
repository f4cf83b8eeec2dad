//! Ratchets that start anew: by us, by the peer, by both, and after an old backup (agent.md §6.4).

use super::peer::{Peer, application, connected};
use super::world::{Name, World};
use crate::agent::Body;
use crate::agent::envelope::EnvelopeContent;
use crate::agent::error::AgentError;
use crate::agent::event::{Event, Integrity, Refusal, SyncState};
use crate::agent::message::MessageBody;
use crate::agent::store::ConnectionId;
use crate::crypto::hash::sha256;
use crate::crypto::ratchet::parameters::{KemElement, RatchetParameters};
use crate::crypto::ratchet::{AgreementKeys, Ratchet};

fn states(events: &[Event]) -> Vec<SyncState> {
    let states = events.iter().filter_map(|event| match event {
        Event::RatchetSync(state) => Some(*state),
        _ => None,
    });
    states.collect()
}

fn send_keys(world: &mut World, peer: &mut Peer, keys: &AgreementKeys) {
    peer.sent.advance(sha256(b"R"));
    let content = EnvelopeContent::RatchetKey { parameters: keys.parameters(3), info: b"R".to_vec() };
    peer.send_content(world, content);
    world.settle();
}

fn take_keys(world: &mut World, peer: &mut Peer) -> RatchetParameters {
    let [received] = <[_; 1]>::try_from(peer.poll(world)).ok().expect("keys and nothing after them");
    let content = &received.envelope.content;
    let EnvelopeContent::RatchetKey { parameters, info } = content else { panic!("{content:?}") };
    assert_eq!(info, b"R");
    parameters.clone()
}

/// The peer's new ratchet; whether the peer is its receiving side.
fn agree(peer: &mut Peer, own: &AgreementKeys, other: &RatchetParameters) -> bool {
    let is_receiving = own.parameters(3).hash() <= other.hash();
    let ratchet = if is_receiving {
        Ratchet::new_initiator(own, other)
    } else {
        Ratchet::new_joiner(own, other, &mut peer.rng)
    };
    peer.ratchet = Some(ratchet.unwrap());
    is_receiving
}

/// Finishes on the peer's side, and lets both sides talk.
fn talk(world: &mut World, peer: &mut Peer, alice: ConnectionId, is_receiving: bool) {
    if !is_receiving {
        peer.say(world, MessageBody::RatchetReady(1));
        world.settle();
        assert_eq!(peer.poll_messages(world), [MessageBody::RatchetReady(1)], "what was last before it");
    }
    assert_eq!(states(&world.alice.take_events()).last(), Some(&SyncState::Ok));
    world.send(Name::Alice, alice, b"0001");
    world.settle();
    assert_eq!(peer.poll_messages(world), [MessageBody::Application(b"0001".to_vec())]);
    peer.say(world, application(5));
    world.settle();
    assert_eq!(world.alice.messages().len(), 1);
}

#[test]
fn the_peer_starts_with_either_outcome() {
    let mut outcomes = std::collections::BTreeSet::new();
    for seed in 80..90 {
        let (mut world, mut peer, alice) = connected(seed);
        let keys = AgreementKeys::generate(&mut peer.rng);
        send_keys(&mut world, &mut peer, &keys);
        assert_eq!(states(&world.alice.take_events()), [SyncState::Agreed]);
        let blocked = world.with(Name::Alice, |agent| agent.send(alice, Body::Inline(b""), false));
        assert!(matches!(blocked, Err(AgentError::OutOfSync(SyncState::Agreed))));
        let mut received = peer.poll(&mut world);
        let EnvelopeContent::RatchetKey { parameters, .. } = received.remove(0).envelope.content else {
            panic!()
        };
        let is_receiving = agree(&mut peer, &keys, &parameters);
        outcomes.insert(is_receiving);
        if is_receiving {
            // Alice is the joiner of the new ratchet, and said so at once
            let ready = received.pop().unwrap();
            assert_eq!(peer.open_message(ready), MessageBody::RatchetReady(1));
            peer.say(&mut world, MessageBody::RatchetReady(1));
            world.settle();
        }
        assert!(received.is_empty());
        talk(&mut world, &mut peer, alice, is_receiving);
        // the same keys again mean nothing
        send_keys(&mut world, &mut peer, &keys);
        assert_eq!(states(&world.alice.take_events()), []);
        assert!(peer.poll(&mut world).is_empty());
        if outcomes.len() == 2 {
            return;
        }
    }
    panic!("ten seeds give both outcomes");
}

#[test]
fn we_start_with_either_outcome() {
    let mut outcomes = std::collections::BTreeSet::new();
    for seed in 90..100 {
        let (mut world, mut peer, alice) = connected(seed);
        world.with(Name::Alice, |agent| agent.resync(alice).unwrap());
        world.settle();
        assert_eq!(states(&world.alice.take_events()), [SyncState::Started]);
        // a message under the old ratchet is still taken, and changes nothing of it
        peer.say(&mut world, application(3));
        world.settle();
        assert!(matches!(world.alice.take_events()[..], [Event::Message { .. }]));
        let parameters = take_keys(&mut world, &mut peer);
        let keys = AgreementKeys::generate(&mut peer.rng);
        let is_receiving = agree(&mut peer, &keys, &parameters);
        outcomes.insert(is_receiving);
        send_keys(&mut world, &mut peer, &keys);
        assert_eq!(states(&world.alice.take_events()), [SyncState::Agreed]);
        if is_receiving {
            assert_eq!(peer.poll_messages(&mut world), [MessageBody::RatchetReady(2)]);
            peer.say(&mut world, MessageBody::RatchetReady(1));
            world.settle();
        } else {
            peer.say(&mut world, MessageBody::RatchetReady(1));
            world.settle();
            assert_eq!(peer.poll_messages(&mut world), [MessageBody::RatchetReady(2)]);
        }
        assert_eq!(states(&world.alice.take_events()), [SyncState::Ok]);
        peer.say(&mut world, application(4));
        world.settle();
        assert_eq!(
            world.alice.messages(),
            [(4, Integrity::Ok)],
            "the keys took a number, the ready absorbed it"
        );
        if outcomes.len() == 2 {
            return;
        }
    }
    panic!("ten seeds give both outcomes");
}

#[test]
fn other_keys_after_agreement_start_over() {
    let (mut world, mut peer, alice) = connected(101);
    let first = AgreementKeys::generate(&mut peer.rng);
    send_keys(&mut world, &mut peer, &first);
    peer.poll(&mut world);
    world.alice.take_events();
    let second = AgreementKeys::generate(&mut peer.rng);
    send_keys(&mut world, &mut peer, &second);
    let expected = [Event::RatchetSync(SyncState::Required), Event::Ignored(Refusal::Ratchet)];
    assert_eq!(world.alice.take_events(), expected);
    assert!(peer.poll(&mut world).is_empty(), "no answer");
    let third = AgreementKeys::generate(&mut peer.rng);
    send_keys(&mut world, &mut peer, &third);
    assert_eq!(states(&world.alice.take_events()), [SyncState::Agreed]);
    let mut received = peer.poll(&mut world);
    let EnvelopeContent::RatchetKey { parameters, .. } = received.remove(0).envelope.content else {
        panic!()
    };
    let is_receiving = agree(&mut peer, &third, &parameters);
    if is_receiving {
        peer.open_message(received.remove(0));
        peer.say(&mut world, MessageBody::RatchetReady(1));
        world.settle();
    }
    talk(&mut world, &mut peer, alice, is_receiving);
}

#[test]
fn keys_with_a_kem_or_of_another_version() {
    let (mut world, mut peer, alice) = connected(102);
    let keys = AgreementKeys::generate(&mut peer.rng);
    let mut parameters = keys.parameters(4);
    let content = |parameters| EnvelopeContent::RatchetKey { parameters, info: b"R".to_vec() };
    peer.send_content(&mut world, content(parameters.clone()));
    world.settle();
    assert_eq!(world.alice.take_events(), [Event::Ignored(Refusal::Version)]);
    assert_eq!(world.alice.record(alice).sync, SyncState::Ok);
    parameters.version = 3;
    parameters.kem = Some(KemElement::Proposed { public_key: vec![5; 1_158] });
    peer.send_content(&mut world, content(parameters));
    world.settle();
    assert_eq!(states(&world.alice.take_events()), [SyncState::Agreed]);
}

/// Both at once: each takes the other's keys as the answer to its own.
#[test]
fn both_agents_start_at_once() {
    for seed in 110..114 {
        let mut world = World::new(seed);
        let (alice, bob) = world.connect();
        world.with(Name::Alice, |agent| agent.resync(alice).unwrap());
        world.with(Name::Bob, |agent| agent.resync(bob).unwrap());
        world.settle();
        in_step(&mut world, alice, bob);
    }
}

/// Both are in step, and messages go both ways.
fn in_step(world: &mut World, alice: ConnectionId, bob: ConnectionId) {
    for (name, id) in [(Name::Alice, alice), (Name::Bob, bob)] {
        assert_eq!(world.party(name).record(id).sync, SyncState::Ok, "{name:?}");
        world.party(name).take_events();
    }
    world.send(Name::Alice, alice, b"0001");
    world.send(Name::Bob, bob, b"0002");
    world.settle();
    assert_eq!((world.alice.messages().len(), world.bob.messages().len()), (1, 1));
}

/// A home is lost and an old backup of it comes back: by forcing new keys on each connection it talks again, and
/// the other side shows nothing twice.
#[test]
fn an_old_backup_comes_back() {
    for restored in [Name::Alice, Name::Bob] {
        let mut world = World::new(115);
        let (alice, bob) = world.connect();
        let backup = world.party(restored).store.clone();
        for number in 0..5_u32 {
            world.send(Name::Alice, alice, &number.to_be_bytes());
            world.send(Name::Bob, bob, &number.to_be_bytes());
            world.settle();
        }
        world.alice.take_events();
        world.bob.take_events();
        world.party(restored).store = backup;
        let id = if restored == Name::Alice { alice } else { bob };
        world.with(restored, |agent| agent.restored(id).unwrap());
        world.settle();
        assert!(world.alice.messages().is_empty() && world.bob.messages().is_empty());
        in_step(&mut world, alice, bob);
    }
}

/// The same, seen from the side that kept its state: it cannot decrypt, and starts by itself.
#[test]
fn the_side_that_kept_its_state_can_start_as_well() {
    let mut world = World::new(116);
    let (alice, bob) = world.connect();
    let backup = world.bob.store.clone();
    for number in 0..5_u32 {
        world.send(Name::Bob, bob, &number.to_be_bytes());
        world.settle();
        world.send(Name::Alice, alice, &number.to_be_bytes());
        world.settle();
    }
    world.bob.store = backup;
    world.alice.take_events();
    // Bob writes with an old key: Alice has no such chain any more
    world.send(Name::Bob, bob, b"0099");
    world.settle();
    assert_eq!(states(&world.alice.take_events()), [SyncState::Required]);
    let blocked = world.with(Name::Alice, |agent| agent.send(alice, Body::Inline(b""), false));
    assert!(matches!(blocked, Err(AgentError::OutOfSync(SyncState::Required))));
    world.with(Name::Alice, |agent| agent.resync(alice).unwrap());
    world.settle();
    in_step(&mut world, alice, bob);
}

#[test]
fn resync_needs_a_connection_that_is_up() {
    let mut world = World::new(117);
    let (id, _) = world.create_address();
    let result = world.with(Name::Alice, |agent| agent.resync(id));
    assert!(matches!(result, Err(AgentError::NotAllowedNow(_))));
}
