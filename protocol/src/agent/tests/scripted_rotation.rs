//! The peer moves its queue (agent.md §6.5).

use super::peer::{Peer, connected, create};
use super::world::{Name, World, server};
use crate::agent::event::{Event, Refusal};
use crate::agent::message::MessageBody;
use crate::agent::queue::{PeerSecret, QueueSecret, ReceiveQueue};
use crate::encoding::Encode as _;
use crate::smp::address::{KeyHash, ServerAddress};
use crate::smp::command::Command;
use crate::smp::queue_uri::{QueueLocation, QueueUri};
use crate::smp::response::BrokerMessage;

/// A second queue of the peer.
fn second_queue(world: &mut World, peer: &mut Peer) -> ReceiveQueue {
    let mut queue = ReceiveQueue::new(server(), &mut peer.rng);
    create(world, &mut queue);
    queue
}

fn uri(queue: &ReceiveQueue) -> QueueUri {
    queue.uri(queue.created.as_ref().unwrap().sender_id)
}

fn old_location(peer: &Peer) -> QueueLocation {
    peer.receive.location().unwrap()
}

/// `QADD`, and the peer's work on the answer: the new queue is secured.
fn add(world: &mut World, peer: &mut Peer, queue: &mut ReceiveQueue) {
    let replaced = Some(old_location(peer));
    peer.say(world, MessageBody::QueueAdd(vec![(uri(queue), replaced)]));
    world.settle();
    let [MessageBody::QueueKey(keys)] = &peer.poll_messages(world)[..] else {
        panic!("keys for the new queue")
    };
    let (info, sender_key) = &keys[0];
    assert_eq!(info.address.sender_id, queue.created.as_ref().unwrap().sender_id);
    assert_ne!(info.address.dh_key, queue.dh_key.public_key(), "the sender's key stands in its place");
    let secret = QueueSecret::new(&queue.dh_key, &info.address.dh_key);
    queue.peer = Some(PeerSecret { secret, client_version: info.version });
    let request = queue.own_queue().unwrap().request(Command::Key { sender_key: *sender_key });
    assert_eq!(world.server.handle(&request), BrokerMessage::Ok);
}

#[test]
fn we_follow_the_peer_and_nothing_is_lost_on_the_way() {
    let (mut world, mut peer, alice) = connected(121);
    let mut queue = second_queue(&mut world, &mut peer);
    world.send(Name::Alice, alice, b"old1");
    world.settle();
    assert_eq!(peer.poll_messages(&mut world).len(), 1);
    add(&mut world, &mut peer, &mut queue);
    // still into the old queue
    world.send(Name::Alice, alice, b"old2");
    world.settle();
    assert_eq!(peer.poll_messages(&mut world), [MessageBody::Application(b"old2".to_vec())]);

    // what waits when the peer says "use" goes before the test, and all of it into the new queue
    world.send(Name::Alice, alice, b"new1");
    peer.say(&mut world, MessageBody::QueueUse(vec![(queue.location().unwrap(), true)]));
    while world.deliver_one(Name::Alice) {}
    world.send(Name::Alice, alice, b"new2");
    world.settle();
    assert!(peer.poll(&mut world).is_empty(), "nothing into the old queue");
    assert!(world.alice.take_events().contains(&Event::Switched));
    peer.receive = queue;
    let application = |text: &[u8]| MessageBody::Application(text.to_vec());
    let test = MessageBody::QueueTest(vec![peer.receive.location().unwrap()]);
    assert_eq!(peer.poll_messages(&mut world), [application(b"new1"), test, application(b"new2")]);
    let record = world.alice.record(alice);
    assert_eq!((record.send.unwrap().location, record.replacement), (peer.receive.location().unwrap(), None));
    // the peer repeats itself: the queue is no longer a new one
    let location = peer.receive.location().unwrap();
    peer.say(&mut world, MessageBody::QueueUse(vec![(location, true)]));
    world.settle();
    assert_eq!(world.alice.take_events(), [Event::Ignored(Refusal::Queue)]);
}

#[test]
fn a_new_queue_that_refuses_is_given_up_for_the_old_one() {
    let (mut world, mut peer, alice) = connected(122);
    let mut queue = second_queue(&mut world, &mut peer);
    add(&mut world, &mut peer, &mut queue);
    peer.say(&mut world, MessageBody::QueueUse(vec![(queue.location().unwrap(), true)]));
    while world.deliver_one(Name::Alice) {}
    let delete = queue.own_queue().unwrap().request(Command::Del);
    world.server.handle(&delete);
    world.send(Name::Alice, alice, b"kept");
    world.settle();
    assert_eq!(world.alice.record(alice).replacement, None);
    let messages = peer.poll(&mut world);
    assert_eq!(messages.len(), 1, "the test is void without its queue");
    let mut opened = messages.into_iter();
    assert_eq!(peer.open_message(opened.next().unwrap()), MessageBody::Application(b"kept".to_vec()));
}

#[test]
fn queues_that_are_not_the_peers_are_refused() {
    let (mut world, mut peer, alice) = connected(123);
    let queue = second_queue(&mut world, &mut peer);
    let other = second_queue(&mut world, &mut peer);
    let known = old_location(&peer);
    let own_uri = uri(&peer.receive);
    for (added, replaced) in
        [(uri(&queue), None), (uri(&queue), other.location()), (own_uri, Some(known.clone()))]
    {
        peer.say(&mut world, MessageBody::QueueAdd(vec![(added, replaced)]));
        world.settle();
        assert_eq!(world.alice.take_events(), [Event::Ignored(Refusal::Queue)]);
    }
    let mut future = uri(&queue);
    future.versions = crate::version::VersionRange::new(5, 6).unwrap();
    peer.say(&mut world, MessageBody::QueueAdd(vec![(future, Some(known))]));
    world.settle();
    assert_eq!(world.alice.take_events(), [Event::Ignored(Refusal::Version)]);
    assert_eq!(world.alice.record(alice).replacement, None);
}

#[test]
fn a_second_offer_takes_the_place_of_the_first() {
    let (mut world, mut peer, alice) = connected(124);
    let mut first = second_queue(&mut world, &mut peer);
    let mut second = second_queue(&mut world, &mut peer);
    add(&mut world, &mut peer, &mut first);
    add(&mut world, &mut peer, &mut second);
    peer.say(&mut world, MessageBody::QueueUse(vec![(first.location().unwrap(), true)]));
    world.settle();
    assert_eq!(world.alice.take_events().last(), Some(&Event::Ignored(Refusal::Queue)));
    peer.say(&mut world, MessageBody::QueueUse(vec![(second.location().unwrap(), true)]));
    world.settle();
    assert!(world.alice.take_events().contains(&Event::Switched));
    assert_eq!(world.alice.record(alice).send.unwrap().location, second.location().unwrap());
}

/// The longest list of hosts that a message can name: our answer would be longer than the peer's word, and is not
/// given.
#[test]
fn a_server_with_too_many_hosts_is_not_followed() {
    let (mut world, mut peer, alice) = connected(125);
    let queue = second_queue(&mut world, &mut peer);
    // a short name, and the key hash left out: it does not count when places are compared
    let short = |key_hash| ServerAddress::new(vec!["a".parse().unwrap()], None, key_hash).unwrap();
    let mut record = world.alice.record(alice);
    record.send.as_mut().unwrap().location.server = short(server().server.key_hash().clone());
    world.with(Name::Alice, |agent| agent.save(alice, &record).unwrap());
    let replaced = QueueLocation { server: short(KeyHash::absent()), ..old_location(&peer) };
    let message = |hosts: usize, last: usize| {
        let mut names: Vec<_> = (0..hosts).map(|at| format!("{at:0>250}")).collect();
        names.push("x".repeat(last));
        let mut added = uri(&queue);
        let names = names.into_iter().map(|name| name.parse().unwrap()).collect();
        let key_hash = added.address.server.key_hash().clone();
        added.address.server = ServerAddress::new(names, None, key_hash).unwrap();
        MessageBody::QueueAdd(vec![(added, Some(replaced.clone()))])
    };
    let room = 15_838 - 43;
    let size = |body: &MessageBody| body.to_bytes().len() - 1;
    let rest = room - size(&message(0, 1));
    let longest = message(rest / 251, rest % 251 + 1);
    assert_eq!(size(&longest), room);
    peer.say(&mut world, longest);
    world.settle();
    assert_eq!(world.alice.take_events(), [Event::Ignored(Refusal::Queue)]);
    assert_eq!(world.alice.record(alice).replacement, None);
}

#[test]
fn nobody_moves_while_the_ratchets_are_out_of_step() {
    let (mut world, mut peer, alice) = connected(126);
    let queue = second_queue(&mut world, &mut peer);
    world.with(Name::Alice, |agent| agent.resync(alice).unwrap());
    world.settle();
    world.alice.take_events();
    let replaced = Some(old_location(&peer));
    peer.say(&mut world, MessageBody::QueueAdd(vec![(uri(&queue), replaced)]));
    peer.say(&mut world, MessageBody::QueueUse(vec![(queue.location().unwrap(), true)]));
    world.settle();
    let refused = Event::Ignored(Refusal::Prohibited);
    assert_eq!(world.alice.take_events(), [refused.clone(), refused]);
}
