//! Handshakes with peers that do it another way: slow, older, with a KEM, or wrong (agent.md §2.4, §4.6–§4.9).

use super::peer::{Peer, application};
use super::world::{Name, World, server};
use crate::agent::envelope::{Envelope, EnvelopeContent};
use crate::agent::error::AgentError;
use crate::agent::event::{Event, Refusal};
use crate::agent::message::{AgentMessage, MessageBody};
use crate::agent::queue_layer::{ClientMessage, PrivateHeader};
use crate::agent::store::ConnectionId;
use crate::crypto::ratchet::parameters::KemElement;
use crate::encoding::Encode as _;
use crate::smp::ids::RecipientId;
use crate::smp::queue_uri::QueueMode;

const MESSAGING: Option<QueueMode> = Some(QueueMode::Messaging);

/// Alice accepts the request of a peer whose queue has this mode.
fn alice_joins(mode: Option<QueueMode>) -> (World, Peer, ConnectionId) {
    let mut world = World::new(61);
    let peer = Peer::new(&mut world, 61);
    let invitation = peer.invitation(mode, |link| link);
    let alice = world.with(Name::Alice, |agent| agent.accept(&invitation, &server(), b"Alice").unwrap());
    world.settle();
    (world, peer, alice)
}

/// Alice asks a peer for a connection, whose confirmation comes next.
fn alice_asks(ratchet_version: u16) -> (World, Peer, ConnectionId) {
    let mut world = World::new(62);
    // Bob's agent only lends its address; the peer answers in its place
    let plan_holder = Name::Bob;
    let (_, request) = world.create_address();
    let alice = world.with(plan_holder, |agent| agent.request(&request, &server(), b"").unwrap());
    world.settle();
    let (invitation, _) = world.alice.invitation();
    world.alice.take_events();
    let mut peer = Peer::new(&mut world, 62);
    peer.use_request(&invitation, ratchet_version);
    (world, peer, alice)
}

fn info(words: &[u8]) -> AgentMessage {
    AgentMessage::Info(words.to_vec())
}

fn reply(peer: &Peer, mode: Option<QueueMode>) -> AgentMessage {
    AgentMessage::InfoReply { queues: vec![peer.queue_info(4, mode)], info: b"peer".to_vec() }
}

#[test]
fn joiner_with_a_link_that_cannot_be_secured() {
    let (mut world, mut peer, alice) = alice_joins(None);
    let (words, header) = peer.take_joiner(&mut world);
    assert_eq!(words, b"Alice");
    peer.secure_own(&mut world, &header);
    peer.secure_party(&mut world);
    peer.confirm(&mut world, None, &info(b"peer"), false);
    world.settle();
    let expected = [Event::Info { info: b"peer".to_vec() }, Event::Connected];
    assert_eq!(world.alice.take_events(), expected);
    assert!(peer.poll(&mut world).is_empty(), "no hello where both could secure the reply queue");
    world.send(Name::Alice, alice, b"0001");
    world.settle();
    assert_eq!(peer.poll_messages(&mut world), [MessageBody::Application(b"0001".to_vec())]);
}

#[test]
fn joiner_whose_reply_queue_the_peer_does_not_secure() {
    for mode in [MESSAGING, None] {
        let (mut world, mut peer, alice) = alice_joins(mode);
        let (_, header) = peer.take_joiner(&mut world);
        if mode.is_none() {
            peer.secure_own(&mut world, &header);
        } else {
            assert_eq!(header, PrivateHeader::Empty);
        }
        peer.confirm(&mut world, None, &info(b"peer"), true);
        world.settle();
        assert_eq!(world.alice.take_events(), [Event::Info { info: b"peer".to_vec() }]);
        let key = peer.send.as_ref().unwrap().key.public_key();
        assert!(world.server.queues.values().any(|queue| queue.is_secured_by(&key)), "KEY came first");
        assert_eq!(peer.poll_messages(&mut world), [MessageBody::Hello]);
        let early =
            world.with(Name::Alice, |agent| agent.send(alice, crate::agent::Body::Inline(b""), false));
        assert!(matches!(early, Err(AgentError::NotAllowedNow(_))));
        peer.say(&mut world, MessageBody::Hello);
        world.settle();
        assert_eq!(world.alice.take_events(), [Event::Connected]);
        peer.say(&mut world, MessageBody::Hello);
        world.settle();
        assert_eq!(world.alice.take_events(), [Event::Ignored(Refusal::Prohibited)], "hello: active");
    }
}

#[test]
fn initiator_with_a_reply_queue_that_cannot_be_secured() {
    let (mut world, mut peer, bob) = alice_asks(3);
    let parameters = Some(peer.keys.parameters(3));
    let message = reply(&peer, None);
    peer.confirm(&mut world, parameters, &message, true);
    world.settle();
    assert_eq!(world.bob.take_events(), [Event::Confirmation { info: b"peer".to_vec() }]);
    world.with(Name::Bob, |agent| agent.allow(bob, b"Bob").unwrap());
    world.settle();
    assert_eq!(world.bob.take_events(), [], "not connected before the peer's hello");
    let (words, header) = peer.take_initiator(&mut world);
    assert_eq!(words, b"Bob");
    peer.secure_own(&mut world, &header);
    peer.say(&mut world, MessageBody::Hello);
    world.settle();
    assert_eq!(world.bob.take_events(), [Event::Connected]);
    assert_eq!(peer.poll_messages(&mut world), [MessageBody::Hello]);
}

#[test]
fn initiator_with_a_key_for_a_queue_that_could_be_secured() {
    let (mut world, mut peer, bob) = alice_asks(3);
    let parameters = Some(peer.keys.parameters(3));
    let message = reply(&peer, MESSAGING);
    peer.confirm(&mut world, parameters, &message, true);
    world.settle();
    world.with(Name::Bob, |agent| agent.allow(bob, b"Bob").unwrap());
    world.settle();
    assert_eq!(world.bob.events.last(), Some(&(bob, Event::Connected)));
    assert_eq!(peer.take_initiator(&mut world).1, PrivateHeader::Empty);
    peer.say(&mut world, application(1));
    world.settle();
    assert_eq!(world.bob.messages().len(), 1);
}

#[test]
fn older_ratchets_move_on() {
    let (mut world, mut peer, bob) = alice_asks(2);
    let parameters = Some(peer.keys.parameters(2));
    let message = reply(&peer, MESSAGING);
    peer.secure_party(&mut world);
    peer.confirm(&mut world, parameters, &message, false);
    world.settle();
    world.with(Name::Bob, |agent| agent.allow(bob, b"").unwrap());
    world.settle();
    peer.take_initiator(&mut world);
    assert_eq!(peer.ratchet.as_ref().unwrap().version(), 3);
    peer.say(&mut world, application(1));
    world.settle();
    assert_eq!(world.bob.messages().len(), 1);
}

#[test]
fn a_link_of_ratchet_version_2_is_joined() {
    let mut world = World::new(63);
    let mut peer = Peer::new(&mut world, 63);
    let invitation = peer.invitation(MESSAGING, |link| link.replace("e2e=v%3D2-3", "e2e=v%3D2"));
    world.with(Name::Alice, |agent| agent.accept(&invitation, &server(), b"").unwrap());
    world.settle();
    peer.take_joiner(&mut world);
    peer.secure_party(&mut world);
    peer.confirm(&mut world, None, &info(b""), false);
    world.settle();
    assert!(world.alice.take_events().contains(&Event::Connected));
}

#[test]
fn versions_that_do_not_meet_are_refused() {
    let mut world = World::new(64);
    let peer = Peer::new(&mut world, 64);
    for (from, to) in [("?v=2-7", "?v=8-9"), ("v%3D1-4", "v%3D5-6"), ("e2e=v%3D2-3", "e2e=v%3D4-5")] {
        let invitation = peer.invitation(MESSAGING, |link| {
            assert!(link.contains(from), "{link}");
            link.replacen(from, to, 1)
        });
        let result = world.with(Name::Alice, |agent| agent.accept(&invitation, &server(), b""));
        assert!(matches!(result, Err(AgentError::Link)), "{to}");
    }
    let garbage = peer.invitation(MESSAGING, |_| "simplex:/contact".to_owned());
    let result = world.with(Name::Alice, |agent| agent.accept(&garbage, &server(), b""));
    assert!(matches!(result, Err(AgentError::Link)));
}

#[test]
fn a_proposed_kem_goes_unanswered() {
    let (mut world, mut peer, bob) = alice_asks(3);
    let mut parameters = peer.keys.parameters(3);
    parameters.kem = Some(KemElement::Proposed { public_key: vec![7; 1_158] });
    let message = reply(&peer, MESSAGING);
    peer.secure_party(&mut world);
    peer.confirm(&mut world, Some(parameters), &message, false);
    world.settle();
    world.with(Name::Bob, |agent| agent.allow(bob, b"").unwrap());
    world.settle();
    peer.take_initiator(&mut world);
    assert_eq!(world.bob.events.last(), Some(&(bob, Event::Connected)));
}

/// Each is acknowledged and leaves all as it was, so that a good one succeeds after them.
#[test]
fn bad_confirmations_change_nothing() {
    let (mut world, mut peer, bob) = alice_asks(3);
    peer.secure_party(&mut world);
    let before = world.bob.record(bob);
    let parameters = peer.keys.parameters(3);
    let good = reply(&peer, MESSAGING);
    let confirmation = |peer: &mut Peer, message: &AgentMessage, parameters| {
        let ratchet_message = peer.encrypt(&message.to_bytes(), 11_106);
        EnvelopeContent::Confirmation { parameters, ratchet_message }
    };
    let mut wrong_kem = parameters.clone();
    wrong_kem.kem = Some(KemElement::Accepted { ciphertext: vec![1; 1_039], public_key: vec![2; 1_158] });
    let mut wrong_version = parameters.clone();
    wrong_version.version = 4;
    let info_only = info(b"");
    let cases: Vec<(u16, u16, EnvelopeContent, Refusal)> = vec![
        (8, 4, confirmation(&mut peer, &good, Some(parameters.clone())), Refusal::Version),
        (7, 5, confirmation(&mut peer, &good, Some(parameters.clone())), Refusal::Version),
        (7, 4, confirmation(&mut peer, &good, Some(wrong_version)), Refusal::Version),
        (7, 4, confirmation(&mut peer, &good, Some(wrong_kem)), Refusal::Ratchet),
        (7, 4, confirmation(&mut peer, &good, None), Refusal::Prohibited),
        (7, 4, confirmation(&mut peer, &info_only, Some(parameters.clone())), Refusal::Prohibited),
        (
            7,
            4,
            EnvelopeContent::Confirmation {
                parameters: Some(parameters.clone()),
                ratchet_message: vec![0; 9],
            },
            Refusal::Ratchet,
        ),
        (7, 4, EnvelopeContent::Message { ratchet_message: peer.encrypt(b"M", 11_106) }, Refusal::Prohibited),
        (
            7,
            4,
            EnvelopeContent::Invitation { link: "simplex:/x".to_owned(), info: Vec::new() },
            Refusal::Prohibited,
        ),
        (
            7,
            4,
            EnvelopeContent::RatchetKey { parameters: parameters.clone(), info: b"R".to_vec() },
            Refusal::Prohibited,
        ),
    ];
    for (agent_version, client_version, content, refusal) in cases {
        let shown = format!("{content:?}");
        peer.send_first(&mut world, client_version, &Envelope { agent_version, content }, false);
        world.settle();
        assert_eq!(world.bob.take_events(), [Event::Ignored(refusal)], "{shown}");
        let mut after = world.bob.record(bob);
        after.receive.last_message = before.receive.last_message;
        assert_eq!(after, before, "{shown}");
    }
    // what is no envelope, what is under another key, and what brings no key at all
    let garbage = ClientMessage { header: PrivateHeader::Empty, envelope: b"\0\x07X".to_vec() };
    let no_key = peer.body(false, 4, &garbage);
    let mut altered = peer.body(true, 4, &garbage);
    *altered.last_mut().unwrap() ^= 1;
    let malformed = peer.body(true, 4, &garbage);
    for (body, refusal) in
        [(malformed, Refusal::Malformed), (no_key, Refusal::Prohibited), (altered, Refusal::Box)]
    {
        peer.send_body(&mut world, body, true);
        world.settle();
        assert_eq!(world.bob.take_events(), [Event::Ignored(refusal)]);
    }
    // the good one has a number above zero, since the peer encrypted the bad ones before it
    peer.confirm(&mut world, Some(parameters.clone()), &good, false);
    world.settle();
    assert_eq!(world.bob.take_events(), [Event::Confirmation { info: b"peer".to_vec() }]);
    assert_eq!(world.bob.record(bob).ratchet.unwrap().skipped_keys(), 0);
    // and once more, as when its sender did not learn that it had arrived
    peer.confirm(&mut world, Some(parameters), &good, false);
    world.settle();
    assert_eq!(world.bob.take_events(), []);
}

#[test]
fn a_joiner_refuses_what_only_an_initiator_takes() {
    let (mut world, mut peer, alice) = alice_joins(MESSAGING);
    peer.take_joiner(&mut world);
    peer.secure_party(&mut world);
    let before = world.alice.record(alice);
    let wrong = reply(&peer, MESSAGING);
    peer.confirm(&mut world, None, &wrong, false);
    let parameters = Some(peer.keys.parameters(3));
    peer.confirm(&mut world, parameters, &info(b""), false);
    world.settle();
    let refused = Event::Ignored(Refusal::Prohibited);
    assert_eq!(world.alice.take_events(), [refused.clone(), refused]);
    assert_eq!(world.alice.record(alice).ratchet, before.ratchet);
    peer.confirm(&mut world, None, &info(b"peer"), false);
    world.settle();
    assert!(world.alice.take_events().contains(&Event::Connected));
}

#[test]
fn strangers_at_an_address_are_ignored() {
    let mut world = World::new(65);
    let (id, _) = world.create_address();
    world.alice.take_events();
    let own = world.with(Name::Alice, |agent| agent.own_queue(id).unwrap().unwrap());
    let mut peer = Peer::new(&mut world, 65);
    let record = world.alice.record(id);
    let info = record.receive.info(record.receive.location().unwrap().sender_id, 4);
    peer.send = Some(crate::agent::queue::SendQueue::new(&info, &mut peer.rng));
    let invitation = |link: String| EnvelopeContent::Invitation { link, info: b"hi".to_vec() };
    let link = peer.invitation(MESSAGING, |link| link).link;
    let contact = link.replace("/invitation", "/contact");
    for (content, with_key, expected) in [
        (invitation("nonsense".to_owned()), false, Event::Ignored(Refusal::Malformed)),
        (invitation(contact), false, Event::Ignored(Refusal::Malformed)),
        (invitation(link), true, Event::Ignored(Refusal::Prohibited)),
        (
            EnvelopeContent::Confirmation { parameters: None, ratchet_message: vec![0; 200] },
            false,
            Event::Ignored(Refusal::Prohibited),
        ),
    ] {
        let header = match with_key {
            true => PrivateHeader::SenderKey(crate::smp::key::AuthPublicKey::Ed25519(
                peer.send.as_ref().unwrap().key.public_key(),
            )),
            false => PrivateHeader::Empty,
        };
        let envelope = Envelope { agent_version: 7, content }.to_bytes();
        let body = peer.body(true, 4, &ClientMessage { header, envelope });
        world.server.inject(own.recipient_id, body);
        world.settle();
        assert_eq!(world.alice.take_events(), [expected]);
    }
    for body in [vec![], vec![1, 2, 3], vec![0; 16_043]] {
        world.server.inject(own.recipient_id, body);
        world.settle();
        assert!(matches!(world.alice.take_events()[..], [Event::Ignored(_)]));
    }
    let nobody = RecipientId([7; 24]);
    let message =
        crate::agent::request::ServerMessage { id: crate::smp::ids::MessageId([1; 24]), body: &[0; 16_122] };
    let taken = world.with(Name::Alice, |agent| agent.receive(&own.server, &nobody, message).unwrap());
    assert_eq!(taken, None);
    let forged = crate::agent::request::ServerMessage { body: &[0; 16_122], ..message };
    world.with(Name::Alice, |agent| agent.receive(&own.server, &own.recipient_id, forged).unwrap());
    assert_eq!(world.alice.take_events(), [Event::Ignored(Refusal::Box)]);
}
