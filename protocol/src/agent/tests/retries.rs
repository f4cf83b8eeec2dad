//! What becomes of requests that fail (agent.md §6.1).

use super::world::{Name, World, server};
use crate::agent::event::{Event, Failure, SendFailure};
use crate::agent::link_data::UserLinkData;
use crate::agent::request::{Next, RequestOutcome, Work};
use crate::agent::store::{ConnectionId, JobId};
use crate::smp::command::Command;
use crate::smp::error::ErrorType;
use crate::smp::response::BrokerMessage;

const DAY_MS: i64 = 86_400_000;

fn work(world: &mut World, id: ConnectionId) -> JobId {
    match world.with(Name::Alice, |agent| agent.job(id).unwrap()) {
        Work::Run(job, _) => job,
        other => panic!("{other:?}"),
    }
}

fn finish(world: &mut World, id: ConnectionId, outcome: RequestOutcome) -> Next {
    let job = work(world, id);
    world.with(Name::Alice, |agent| agent.job_done(id, job, outcome).unwrap())
}

fn error(error: ErrorType) -> RequestOutcome {
    RequestOutcome::Answer(BrokerMessage::Err(error))
}

/// Alice, connected, with a message to send.
fn waiting(seed: u64) -> (World, ConnectionId) {
    let mut world = World::new(seed);
    let (alice, _) = world.connect();
    world.alice.take_events();
    world.send(Name::Alice, alice, b"0001");
    (world, alice)
}

#[test]
fn a_failed_request_waits_and_is_the_same_again() {
    let (mut world, alice) = waiting(31);
    let Work::Run(first, request) = world.with(Name::Alice, |agent| agent.job(alice).unwrap()) else {
        panic!()
    };
    let start = world.server.now;
    assert_eq!(finish(&mut world, alice, RequestOutcome::Temporary), Next::RetryAt(start.plus_ms(2_000)));
    let idle = world.with(Name::Alice, |agent| agent.job(alice).unwrap());
    assert_eq!(idle, Work::NotBefore(start.plus_ms(2_000)));
    world.server.now = start.plus_ms(2_000);
    let Work::Run(second, again) = world.with(Name::Alice, |agent| agent.job(alice).unwrap()) else {
        panic!()
    };
    assert_eq!((first, &request.entity, &request.key), (second, &again.entity, &again.key));
    assert_ne!(request.command, again.command, "the queue's box has a new nonce");
    // an outcome of another job, as after a crash, is passed over
    let stale = JobId(first.0 + 100);
    let done = RequestOutcome::Answer(BrokerMessage::Ok);
    let next = world.with(Name::Alice, |agent| agent.job_done(alice, stale, done).unwrap());
    assert_eq!(next, Next::Done);
    world.settle();
    assert_eq!(world.bob.messages().len(), 1);
}

#[test]
fn what_the_peer_has_answered_is_not_refused_any_more() {
    let mut world = World::new(41);
    let (_, request) = world.create_address();
    let bob = world.with(Name::Bob, |agent| agent.request(&request, &server(), b"").unwrap());
    world.settle();
    let (invitation, _) = world.alice.invitation();
    let alice = world.with(Name::Alice, |agent| agent.accept(&invitation, &server(), b"").unwrap());
    let confirming = loop {
        let Work::Run(job, request) = world.with(Name::Alice, |agent| agent.job(alice).unwrap()) else {
            panic!()
        };
        let answer = world.server.handle(&request);
        if matches!(request.command, Command::Send { .. }) {
            break job;
        }
        let outcome = RequestOutcome::Answer(answer);
        world.with(Name::Alice, |agent| agent.job_done(alice, job, outcome).unwrap());
    };
    while world.deliver_one(Name::Bob) {}
    world.with(Name::Bob, |agent| agent.allow(bob, b"").unwrap());
    while world.run_one_request(Name::Bob) {}
    while world.deliver_one(Name::Alice) {}
    assert_eq!(world.alice.events.last(), Some(&(alice, Event::Connected)));
    let refused = error(ErrorType::Quota);
    let next = world.with(Name::Alice, |agent| agent.job_done(alice, confirming, refused).unwrap());
    assert_eq!(next, Next::Done);
    assert_eq!(world.alice.events.last(), Some(&(alice, Event::Connected)));
    world.send(Name::Alice, alice, b"0001");
    world.settle();
    assert_eq!(world.bob.messages().len(), 1);
}

#[test]
fn the_network_is_back_ends_the_wait() {
    let (mut world, alice) = waiting(32);
    finish(&mut world, alice, RequestOutcome::HostUnusable);
    assert!(matches!(world.with(Name::Alice, |agent| agent.job(alice).unwrap()), Work::NotBefore(_)));
    world.with(Name::Alice, |agent| {
        agent.wake(alice).unwrap();
        assert!(agent.take_touched().contains_key(&alice));
    });
    work(&mut world, alice);
}

#[test]
fn a_server_in_trouble_has_not_refused() {
    let (mut world, alice) = waiting(33);
    for trouble in [ErrorType::Internal, ErrorType::Store("disk".to_owned())] {
        assert!(matches!(finish(&mut world, alice, error(trouble)), Next::RetryAt(_)));
        world.with(Name::Alice, |agent| agent.wake(alice).unwrap());
    }
    world.settle();
    assert_eq!(world.bob.messages().len(), 1);
}

#[test]
fn what_cannot_be_sent_for_two_days_expires_with_all_that_is_as_old() {
    let (mut world, alice) = waiting(34);
    world.send(Name::Alice, alice, b"0002");
    world.server.now = world.server.now.plus_ms(DAY_MS);
    world.send(Name::Alice, alice, b"0003");
    world.server.now = world.server.now.plus_ms(DAY_MS);
    assert_eq!(finish(&mut world, alice, RequestOutcome::Temporary), Next::Done);
    let reason = SendFailure::Expired;
    let expected = [2, 3].map(|number| Event::SendFailed { number, reason });
    assert_eq!(world.alice.take_events(), expected);
    assert_eq!(world.alice.store.job_count(), 1);
    world.settle();
    let seen = world.bob.messages();
    assert_eq!(seen.len(), 1, "the younger one goes on, and tells of the gap");
    assert_eq!(seen[0].1, crate::agent::event::Integrity::Skipped { first: 2, last: 3 });
}

#[test]
fn a_full_queue_is_waited_for_until_the_peer_has_read_it() {
    let mut world = World::new(35);
    let (alice, bob) = world.connect();
    world.server.quota = 3;
    world.alice.take_events();
    for number in 0..6_u32 {
        world.send(Name::Alice, alice, &number.to_be_bytes());
    }
    while world.run_one_request(Name::Alice) {
        if world.alice.events.iter().any(|it| it.1 == Event::QuotaExceeded) {
            break;
        }
    }
    let Work::NotBefore(at) = world.with(Name::Alice, |agent| agent.job(alice).unwrap()) else { panic!() };
    assert_eq!(at, world.server.now.plus_ms(300_000));
    let before = world.server.now;
    world.settle();
    assert!(world.server.now < before.plus_ms(300_000), "nobody waited for the retry");
    assert_eq!(world.bob.messages().len(), 6);
    assert!(world.bob.messages().iter().all(|it| it.1 == crate::agent::event::Integrity::Ok));
    let events = world.alice.take_events();
    let exceeded = events.iter().position(|event| *event == Event::QuotaExceeded).unwrap();
    let resumed = events.iter().position(|event| *event == Event::QuotaResumed).unwrap();
    assert!(exceeded < resumed);
    assert_eq!(events.iter().filter(|event| matches!(event, Event::Sent { .. })).count(), 6);
    assert!(world.bob.events.iter().all(|it| it.0 == bob));
}

#[test]
fn a_queue_that_stays_full_for_seven_days_fails_the_message() {
    let (mut world, alice) = waiting(36);
    assert!(matches!(finish(&mut world, alice, error(ErrorType::Quota)), Next::RetryAt(_)));
    world.server.now = world.server.now.plus_ms(7 * DAY_MS);
    assert_eq!(finish(&mut world, alice, error(ErrorType::Quota)), Next::Done);
    let reason = SendFailure::QuotaExpired;
    let expected = [Event::QuotaExceeded, Event::SendFailed { number: 2, reason }];
    assert_eq!(world.alice.take_events(), expected);
}

fn blocked() -> RequestOutcome {
    error(ErrorType::Blocked("reason=spam".parse().unwrap()))
}

#[test]
fn what_is_sent_to_a_blocked_queue_waits_until_it_is_unblocked() {
    let (mut world, alice) = waiting(41);
    let start = world.server.now;
    assert_eq!(finish(&mut world, alice, blocked()), Next::RetryAt(start.plus_ms(2_000)));
    assert_eq!(world.alice.take_events(), [Event::QuotaExceeded]);
    world.server.now = start.plus_ms(2_000);
    assert!(matches!(finish(&mut world, alice, blocked()), Next::RetryAt(_)));
    assert_eq!(world.alice.take_events(), [], "told once");
    world.settle();
    assert_eq!(world.bob.messages().len(), 1);
    assert_eq!(world.alice.take_events(), [Event::QuotaResumed, Event::Sent { number: 2 }]);
}

#[test]
fn a_queue_that_stays_blocked_for_seven_days_fails_the_message() {
    let (mut world, alice) = waiting(42);
    let (start, mut attempts) = (world.server.now, 0);
    while let Next::RetryAt(at) = finish(&mut world, alice, blocked()) {
        (world.server.now, attempts) = (at, attempts + 1);
    }
    assert!(world.server.now >= start.plus_ms(7 * DAY_MS));
    assert!(attempts < 100, "ever more seldom: {attempts}");
    let reason = SendFailure::BlockedForLong;
    assert_eq!(world.alice.take_events(), [Event::QuotaExceeded, Event::SendFailed { number: 2, reason }]);
}

#[test]
fn link_data_wait_for_as_long_as_the_address_is_blocked() {
    let mut world = World::new(43);
    let (alice, _) = world.create_address();
    world.settle();
    world.alice.take_events();
    world.with(Name::Alice, |agent| agent.set_link_data(alice, &UserLinkData::direct(vec![1])).unwrap());
    let start = world.server.now;
    while world.server.now < start.plus_ms(8 * DAY_MS) {
        let Next::RetryAt(at) = finish(&mut world, alice, blocked()) else { panic!("it is given up") };
        world.server.now = at;
    }
    assert_eq!(world.alice.take_events(), []);
    world.settle();
    assert_eq!(world.alice.take_events(), [Event::LinkDataSet]);
}

#[test]
fn refusals_fail_the_message_and_the_next_one_is_tried() {
    let (mut world, alice) = waiting(37);
    world.send(Name::Alice, alice, b"0002");
    finish(&mut world, alice, error(ErrorType::Auth));
    finish(&mut world, alice, error(ErrorType::LargeMessage));
    let failed = |number, reason| Event::SendFailed { number, reason };
    let expected = [failed(2, SendFailure::NoQueue), failed(3, SendFailure::Refused)];
    assert_eq!(world.alice.take_events(), expected);
}

/// Each request of both handshakes, refused or given up: the connection fails, and says why.
#[test]
fn every_request_of_the_handshake_can_fail() {
    for (refusal, age_ms, expected) in
        [(error(ErrorType::Auth), 0, None), (RequestOutcome::Temporary, 2 * DAY_MS, Some(Failure::Expired))]
    {
        for failing in 0..7 {
            let mut world = World::new(38);
            let (_, request) = world.create_address();
            let server = super::world::server();
            let bob = world.with(Name::Bob, |agent| agent.request(&request, &server, b"").unwrap());
            let mut alice = None;
            let mut steps = Vec::new();
            // requests in their order: NEW SEND | SKEY NEW SEND | SKEY SEND
            while steps.len() <= failing {
                let (name, id) = match steps.len() {
                    0 | 1 => (Name::Bob, bob),
                    2..=4 => (
                        Name::Alice,
                        *alice.get_or_insert_with(|| {
                            let (invitation, _) = world.alice.invitation();
                            world.with(Name::Alice, |agent| agent.accept(&invitation, &server, b"").unwrap())
                        }),
                    ),
                    _ => (Name::Bob, bob),
                };
                let Work::Run(job, wanted) = world.with(name, |agent| agent.job(id).unwrap()) else {
                    panic!()
                };
                steps.push(wanted.command.tag());
                let outcome = if steps.len() > failing {
                    world.server.now = world.server.now.plus_ms(age_ms);
                    refusal.clone()
                } else {
                    RequestOutcome::Answer(world.server.handle(&wanted))
                };
                let is_new = matches!(wanted.command, Command::New(_));
                world.with(name, |agent| agent.job_done(id, job, outcome).unwrap());
                if steps.len() > failing {
                    let default = if is_new { Failure::QueueRefused } else { Failure::NotAvailable };
                    let reason = expected.unwrap_or(default);
                    let last = world.party(name).events.last().cloned();
                    assert_eq!(last, Some((id, Event::Failed { reason })), "{steps:?}");
                    let idle = world.with(name, |agent| agent.job(id).unwrap());
                    assert_eq!(idle, Work::Idle, "nothing follows a failure");
                } else {
                    while world.deliver_one(Name::Alice) {}
                    while world.deliver_one(Name::Bob) {}
                    if steps.len() == 5 {
                        world.with(Name::Bob, |agent| agent.allow(bob, b"").unwrap());
                    }
                }
            }
            let order = ["NEW", "SEND", "SKEY", "NEW", "SEND", "SKEY", "SEND"];
            assert_eq!(steps, order[..=failing]);
        }
    }
}

#[test]
fn deletion_ends_even_if_the_server_does_not_answer() {
    let (mut world, alice) = waiting(39);
    world.with(Name::Alice, |agent| agent.delete(alice, false).unwrap());
    assert!(matches!(finish(&mut world, alice, RequestOutcome::Temporary), Next::RetryAt(_)));
    world.server.now = world.server.now.plus_ms(2 * DAY_MS);
    assert_eq!(finish(&mut world, alice, RequestOutcome::Temporary), Next::Done);
    assert_eq!(world.alice.take_events(), [Event::Deleted]);
}

#[test]
fn an_answer_that_fits_no_request_is_a_refusal() {
    let (mut world, alice) = waiting(40);
    finish(&mut world, alice, RequestOutcome::Answer(BrokerMessage::Pong));
    let reason = SendFailure::Refused;
    assert_eq!(world.alice.take_events(), [Event::SendFailed { number: 2, reason }]);
}
