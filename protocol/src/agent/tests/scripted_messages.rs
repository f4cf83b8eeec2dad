//! Messages of a peer that does not hold to the rules (agent.md §4.1–§4.3, §6.2).

use super::peer::{MESSAGE_PADDED, application, connected};
use super::world::Name;
use crate::agent::envelope::{Envelope, EnvelopeContent};
use crate::agent::event::{Event, Integrity, Refusal, SyncState};
use crate::agent::message::{AgentMessage, MessageBody, MessageReceipt};
use crate::agent::queue_layer::{ClientMessage, PrivateHeader};
use crate::crypto::hash::sha256;
use crate::encoding::Encode as _;
use crate::smp::ids::SenderId;
use crate::smp::key::AuthPublicKey;
use crate::smp::queue_uri::QueueLocation;

/// The table of §4.3, and that number and hash are overwritten by whatever came last.
#[test]
fn integrity_is_told_and_nothing_is_dropped() {
    let (mut world, mut peer, _) = connected(71);
    let mut expected = Vec::new();
    let mut say = |number: i64, integrity: Integrity, world: &mut _, peer: &mut super::peer::Peer| {
        let message = peer.numbered(number, application(7));
        peer.send_content(world, EnvelopeContent::Message { ratchet_message: message });
        peer.sent.number = number;
        expected.push((7, integrity));
    };
    say(2, Integrity::Ok, &mut world, &mut peer);
    say(3, Integrity::Ok, &mut world, &mut peer);
    say(3, Integrity::Duplicate, &mut world, &mut peer);
    say(6, Integrity::Skipped { first: 4, last: 5 }, &mut world, &mut peer);
    say(1, Integrity::BadId, &mut world, &mut peer);
    say(2, Integrity::Ok, &mut world, &mut peer);
    peer.sent.hash = Some([9; 32]);
    say(3, Integrity::BadHash, &mut world, &mut peer);
    peer.sent.hash = None;
    say(4, Integrity::BadHash, &mut world, &mut peer);
    say(5, Integrity::Ok, &mut world, &mut peer);
    world.settle();
    assert_eq!(world.alice.messages(), expected);
}

#[test]
fn agent_versions_rise_and_never_fall() {
    let (mut world, mut peer, alice) = connected(72);
    let mut record = world.alice.record(alice);
    record.agent_version = 4;
    world.with(Name::Alice, |agent| agent.save(alice, &record).unwrap());
    for (version, expected) in [(1, 4), (6, 6), (5, 6), (8, 7), (2, 7)] {
        let ratchet_message = peer.next_message(application(1));
        let content = EnvelopeContent::Message { ratchet_message };
        peer.send_envelope(&mut world, &Envelope { agent_version: version, content });
        world.settle();
        assert_eq!(world.alice.record(alice).agent_version, expected);
    }
    assert_eq!(world.alice.messages().len(), 5);
}

#[test]
fn what_is_not_allowed_is_acknowledged_and_ignored() {
    let (mut world, mut peer, alice) = connected(73);
    let location = QueueLocation { server: super::world::server().server, sender_id: SenderId([3; 24]) };
    let info = peer.queue_info(4, None);
    let key = AuthPublicKey::Ed25519(peer.send.as_ref().unwrap().key.public_key());
    for (body, refusal) in [
        (MessageBody::Hello, Refusal::Prohibited),
        (MessageBody::QuotaResumed(location.clone()), Refusal::Queue),
        (MessageBody::QueueUse(vec![(location.clone(), true)]), Refusal::Queue),
        (MessageBody::QueueTest(vec![location]), Refusal::Queue),
        (MessageBody::QueueKey(vec![(info, key)]), Refusal::Queue),
    ] {
        peer.say(&mut world, body.clone());
        world.settle();
        assert_eq!(world.alice.take_events(), [Event::Ignored(refusal)], "{body:?}");
    }
    // inside the ratchet: no agent message, and messages of the handshake
    for plain in [b"X".to_vec(), AgentMessage::Info(b"late".to_vec()).to_bytes()] {
        let ratchet_message = peer.encrypt(&plain, MESSAGE_PADDED);
        peer.send_content(&mut world, EnvelopeContent::Message { ratchet_message });
    }
    // around it: no ratchet message, no envelope, another header, another kind
    peer.send_content(&mut world, EnvelopeContent::Message { ratchet_message: b"short".to_vec() });
    let garbage = ClientMessage { header: PrivateHeader::Empty, envelope: b"?".to_vec() };
    let body = peer.body(false, 4, &garbage);
    peer.send_body(&mut world, body, true);
    let ratchet_message = peer.encrypt(b"any", 15_000);
    let content = EnvelopeContent::Message { ratchet_message };
    let with_key = ClientMessage {
        header: PrivateHeader::SenderKey(key),
        envelope: Envelope { agent_version: 7, content }.to_bytes(),
    };
    let body = peer.body(false, 4, &with_key);
    peer.send_body(&mut world, body, true);
    peer.send_content(&mut world, EnvelopeContent::Invitation { link: String::new(), info: Vec::new() });
    world.settle();
    let refusals = [
        Refusal::Malformed,
        Refusal::Prohibited,
        Refusal::Malformed,
        Refusal::Malformed,
        Refusal::Prohibited,
        Refusal::Prohibited,
    ];
    assert_eq!(world.alice.take_events(), refusals.map(Event::Ignored));
    assert_eq!(world.alice.record(alice).sync, SyncState::Ok);
}

#[test]
fn receipts_for_what_was_not_sent_are_passed_over() {
    let (mut world, mut peer, alice) = connected(74);
    world.with(Name::Alice, |agent| agent.expect_receipts(alice).unwrap());
    let number = world.send(Name::Alice, alice, b"0001");
    world.settle();
    peer.poll_messages(&mut world);
    let receipt = |number, hash: &[u8]| MessageReceipt { number, hash: hash.to_vec(), info: Vec::new() };
    let receipts = vec![receipt(99, &[1; 32]), receipt(number, &[2; 32]), receipt(-1, &[])];
    peer.say(&mut world, MessageBody::Receipts(receipts));
    world.settle();
    let expected = crate::agent::event::Receipt { number, intact: false };
    let events = world.alice.take_events();
    assert_eq!(events.last(), Some(&Event::Receipts(vec![expected])));
}

#[test]
fn a_message_whose_body_does_not_decrypt_is_spent() {
    let (mut world, mut peer, alice) = connected(75);
    let good = peer.next_message(application(1));
    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    for ratchet_message in [bad, good] {
        peer.send_content(&mut world, EnvelopeContent::Message { ratchet_message });
    }
    peer.say(&mut world, application(2));
    world.settle();
    let events = world.alice.take_events();
    assert_eq!(
        events[..3],
        [
            Event::RatchetSync(SyncState::Allowed),
            Event::Ignored(Refusal::Ratchet),
            Event::Ignored(Refusal::Duplicate)
        ]
    );
    // the next one is told as one after a gap, and shows that the ratchets are in step
    assert_eq!(events[3], Event::RatchetSync(SyncState::Ok));
    let gap = Integrity::Skipped { first: 2, last: 2 };
    assert!(matches!(events[4], Event::Message { number: 3, integrity, .. } if integrity == gap));
    assert_eq!(world.alice.record(alice).sync, SyncState::Ok);
}

#[test]
fn a_message_whose_header_does_not_decrypt_is_not_spent() {
    let (mut world, mut peer, _) = connected(76);
    let good = peer.next_message(application(1));
    let mut bad = good.clone();
    bad[60] ^= 1;
    for ratchet_message in [bad.clone(), bad, good] {
        peer.send_content(&mut world, EnvelopeContent::Message { ratchet_message });
    }
    world.settle();
    let required = [Event::RatchetSync(SyncState::Required), Event::Ignored(Refusal::Ratchet)];
    let events = world.alice.take_events();
    assert_eq!(events[..4], [required.clone(), required].concat(), "told again for each message");
    assert_eq!(events[4], Event::RatchetSync(SyncState::Ok));
    assert!(matches!(events[5], Event::Message { integrity: Integrity::Ok, .. }));
}

#[test]
fn a_confirmation_as_third_message_counts_as_the_first() {
    let (mut world, mut peer, alice) = connected(77);
    let record = world.alice.record(alice);
    assert_eq!(record.received.number, 1);
    let plain = AgentMessage::Info(Vec::new()).to_bytes();
    assert_eq!(record.received.hash, Some(sha256(&plain)));
    peer.sent.number = 3;
    peer.say(&mut world, application(1));
    world.settle();
    let gap = Integrity::Skipped { first: 2, last: 3 };
    assert_eq!(world.alice.messages(), [(1, gap)]);
}
