use proptest::prelude::*;

use super::*;
use crate::encoding::{Decode as _, Encode as _};

const STATUSES: [ServedStatus; 13] = [
    ServedStatus::ReadingLink,
    ServedStatus::CreatingLink,
    ServedStatus::Accepted,
    ServedStatus::AcknowledgedRoster,
    ServedStatus::Active { misses: 0 },
    ServedStatus::Active { misses: 2 },
    ServedStatus::Delisted,
    ServedStatus::Unlinked,
    ServedStatus::Inactive(ServiceEnd::Unlisted),
    ServedStatus::Refused(Refusal::InvalidGroup),
    ServedStatus::Leaving,
    ServedStatus::Rejected,
    ServedStatus::Gone,
];

const EVENTS: [ServedEvent; 19] = [
    ServedEvent::Invited { same_member: true },
    ServedEvent::Invited { same_member: false },
    ServedEvent::LinkValid,
    ServedEvent::LinkInvalid,
    ServedEvent::NotAdmitted(Refusal::OwnerNotListed),
    ServedEvent::RelayLinkCreated,
    ServedEvent::MemberConnected,
    ServedEvent::OwnerConnected,
    ServedEvent::OwnerGone,
    ServedEvent::RosterApplied { version: 2 },
    ServedEvent::RosterFailed { version: 2 },
    ServedEvent::Listed,
    ServedEvent::Unlisted,
    ServedEvent::LinkGone,
    ServedEvent::Removed,
    ServedEvent::GroupDeleted,
    ServedEvent::NoticeDelivered,
    ServedEvent::OperatorLeaves,
    ServedEvent::Timeout,
];

fn life(status: ServedStatus) -> ServedLife {
    ServedLife { status, since: Timestamp(0), tried_at: Timestamp(0), tries: 0 }
}

/// One line per pair: the next status and the effects, `=` when nothing changes, `-` when it has no place.
fn table(now: Timestamp) -> String {
    let mut lines = String::new();
    for status in STATUSES {
        for event in EVENTS {
            let outcome = match life(status).apply(event, now, &RelayPace::default()) {
                Err(_) => "-".to_owned(),
                Ok((next, effects)) if next.status == status && effects.is_empty() => "=".to_owned(),
                Ok((next, effects)) if next.status == status => format!("= {effects:?}"),
                Ok((next, effects)) => format!("{:?} {effects:?}", next.status),
            };
            lines.push_str(&format!("{status:?} + {event:?}: {outcome}\n"));
        }
    }
    lines
}

#[test]
fn every_pair_of_status_and_event() {
    let expected = include_str!("../../../tests/vectors/states/served_group.txt");
    let table = table(Timestamp(1));
    for (line, wanted) in table.lines().zip(expected.lines()) {
        assert_eq!(line, wanted);
    }
    assert_eq!(table.len(), expected.len());
}

#[test]
fn every_waiting_state_has_a_deadline_and_an_end() {
    let pace = RelayPace::default();
    for status in STATUSES {
        let mut life = life(status);
        let rests = matches!(status, ServedStatus::Rejected | ServedStatus::Gone);
        assert_eq!(life.deadline(&pace).is_none(), rests, "{status:?}");
        let mut timeouts = 0;
        while let Some(deadline) = life.deadline(&pace) {
            timeouts += 1;
            if timeouts > 5_000 {
                break;
            }
            assert!(deadline > life.tried_at, "{status:?}: time moves on");
            life = life.apply(ServedEvent::Timeout, deadline, &pace).unwrap().0;
        }
        let serves_on = matches!(status, ServedStatus::Active { .. });
        assert_eq!(timeouts > 5_000, serves_on, "{status:?}: ended after {timeouts}");
    }
}

#[test]
fn one_bad_read_is_not_the_end() {
    let pace = RelayPace::default();
    let mut life = life(ServedStatus::Active { misses: 0 });
    for misses in 1..LINK_MISSES_MAX {
        let (missed, effects) = life.apply(ServedEvent::Unlisted, Timestamp(5), &pace).unwrap();
        assert_eq!((missed.status, effects.len()), (ServedStatus::Active { misses }, 0));
        assert_eq!(missed.deadline(&pace), Some(Timestamp(5 + LINK_RECHECK_MS)));
        let (found, _) = missed.apply(ServedEvent::Listed, Timestamp(6), &pace).unwrap();
        assert_eq!(found.status, ServedStatus::Active { misses: 0 });
        life = missed;
    }
    let (delisted, effects) = life.apply(ServedEvent::Unlisted, Timestamp(6), &pace).unwrap();
    assert_eq!((delisted.status, effects), (ServedStatus::Delisted, vec![]));
}

const GOODBYE: [ServedEffect; 2] = [ServedEffect::Notify(Notice::OwnLeave), ServedEffect::DeleteRelayLink];

#[test]
fn whoever_is_listed_again_in_time_goes_on() {
    let (pace, delisted) = (RelayPace::default(), life(ServedStatus::Delisted));
    assert!(delisted.status.serves() && !delisted.status.lets_in());
    let late = Timestamp(INACTIVE_TTL_MS);
    let (back, effects) = delisted.apply(ServedEvent::Listed, Timestamp(INACTIVE_TTL_MS - 1), &pace).unwrap();
    assert_eq!((back.status, effects), (ServedStatus::Active { misses: 0 }, vec![]));
    // Until then the link is looked at as often as ever, and at last no more.
    let (waiting, effects) = delisted.apply(ServedEvent::Timeout, Timestamp(LINK_CHECK_MS), &pace).unwrap();
    assert_eq!((waiting.status, effects), (ServedStatus::Delisted, vec![ServedEffect::CheckLink]));
    let (ended, effects) = waiting.apply(ServedEvent::Timeout, late, &pace).unwrap();
    assert_eq!((ended.status, effects), (ServedStatus::Inactive(ServiceEnd::Unlisted), GOODBYE.to_vec()));
}

#[test]
fn whoever_is_neither_listed_nor_spoken_to_says_goodbye() {
    let delisted = life(ServedStatus::Delisted);
    let gone = delisted.apply(ServedEvent::OwnerGone, Timestamp(1), &RelayPace::default());
    let (ended, effects) = gone.unwrap();
    assert_eq!((ended.status, effects), (ServedStatus::Inactive(ServiceEnd::Unlisted), GOODBYE.to_vec()));
}

#[test]
fn a_link_that_is_gone_may_come_again_and_so_may_the_owners_last_word() {
    let pace = RelayPace::default();
    let missed = life(ServedStatus::Active { misses: LINK_MISSES_MAX - 1 });
    let (unlinked, effects) = missed.apply(ServedEvent::LinkGone, Timestamp(0), &pace).unwrap();
    assert_eq!((unlinked.status, effects), (ServedStatus::Unlinked, vec![]));
    assert!(unlinked.status.serves() && !unlinked.status.lets_in());
    // Whoever has deleted a group listens no more, and its statement may be late.
    assert_eq!(unlinked.apply(ServedEvent::OwnerGone, Timestamp(1), &pace), Ok((unlinked, vec![])));
    let (deleted, _) = unlinked.apply(ServedEvent::GroupDeleted, Timestamp(1), &pace).unwrap();
    assert_eq!(deleted.status, ServedStatus::Inactive(ServiceEnd::GroupDeleted));
    let (back, _) = unlinked.apply(ServedEvent::Listed, Timestamp(1), &pace).unwrap();
    assert_eq!(back.status, ServedStatus::Active { misses: 0 });
    let late = Timestamp(INACTIVE_TTL_MS);
    let (ended, effects) = unlinked.apply(ServedEvent::Timeout, late, &pace).unwrap();
    assert_eq!((ended.status, effects), (ServedStatus::Inactive(ServiceEnd::LinkGone), GOODBYE.to_vec()));
}

proptest! {
    /// Whatever happens in whatever order: nobody is served without a checked link, joiners come to whoever is listed
    /// or waits to be, and what has ended comes back by an invitation alone.
    #[test]
    fn no_way_around_the_checks(events in prop::collection::vec(prop::sample::select(&EVENTS[..]), 0..60)) {
        let mut life = ServedLife::invited(Timestamp(0));
        let mut checked = false;
        for (at, event) in events.into_iter().enumerate() {
            let before = life.status;
            let now = Timestamp(i64::try_from(at).unwrap());
            if let Ok((next, effects)) = life.apply(event, now, &RelayPace::default()) {
                if before == ServedStatus::ReadingLink && next.status == ServedStatus::CreatingLink {
                    checked = true;
                } else if next.status == ServedStatus::ReadingLink {
                    checked = false;
                }
                prop_assert!(!next.status.serves() || checked);
                if !before.serves() && next.status.serves() {
                    prop_assert_eq!(event, ServedEvent::RelayLinkCreated);
                    prop_assert_eq!(&effects, &[ServedEffect::Accept]);
                }
                life = next;
            }
        }
    }

    #[test]
    fn records_round_trip_and_fail_softly(bytes: Vec<u8>, which in 0..STATUSES.len()) {
        let record = life(STATUSES[which]);
        prop_assert_eq!(ServedLife::from_bytes(&record.to_bytes()), Ok(record));
        let _ = ServedLife::from_bytes(&bytes);
    }
}
