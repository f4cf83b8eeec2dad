use proptest::prelude::*;

use super::*;
use crate::encoding::{Decode as _, Encode as _};

const STATUSES: [RelayStatus; 10] = [
    RelayStatus::New,
    RelayStatus::Invited,
    RelayStatus::ReadingLink,
    RelayStatus::Connecting,
    RelayStatus::AwaitingAck { version: 2 },
    RelayStatus::Listing,
    RelayStatus::AcknowledgedRoster,
    RelayStatus::Active,
    RelayStatus::Inactive(Ended::Left),
    RelayStatus::Rejected(Ended::Declined),
];

const EVENTS: [RelayEvent; 21] = [
    RelayEvent::InvitationSent,
    RelayEvent::AddressUnusable,
    RelayEvent::Accept { same_link: true },
    RelayEvent::Accept { same_link: false },
    RelayEvent::Reject,
    RelayEvent::LinkMatches,
    RelayEvent::LinkDiffers,
    RelayEvent::LinkUnreadable,
    RelayEvent::Connected { roster: Some(2) },
    RelayEvent::Connected { roster: None },
    RelayEvent::RosterSent { version: 3 },
    RelayEvent::RosterAck { version: 2, ok: true },
    RelayEvent::RosterAck { version: 2, ok: false },
    RelayEvent::RosterAck { version: 1, ok: true },
    RelayEvent::LinkWritten { listed: true },
    RelayEvent::LinkWritten { listed: false },
    RelayEvent::Left,
    RelayEvent::Remove,
    RelayEvent::ConnectionGone,
    RelayEvent::Timeout,
    RelayEvent::Retry,
];

fn life(status: RelayStatus) -> RelayLife {
    RelayLife { status, since: Timestamp(0), tried_at: Timestamp(0), tries: 0 }
}

/// One line per pair: the next status and the effects, `=` when nothing changes, `-` when it has no place.
fn table(now: Timestamp) -> String {
    let mut lines = String::new();
    for status in STATUSES {
        for event in EVENTS {
            let outcome = match life(status).apply(event, now, &OwnerPace::default()) {
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
    let expected = include_str!("../../../tests/vectors/states/relay_status.txt");
    let table = table(Timestamp(1));
    for (line, wanted) in table.lines().zip(expected.lines()) {
        assert_eq!(line, wanted);
    }
    assert_eq!(table.len(), expected.len());
}

#[test]
fn every_waiting_state_has_a_deadline_and_an_end() {
    for status in STATUSES {
        let mut life = life(status);
        let waits = !matches!(status, RelayStatus::Active) && !status.has_ended();
        assert_eq!(life.deadline(&OwnerPace::default()).is_some(), waits, "{status:?}");
        let mut timeouts = 0;
        while let Some(deadline) = life.deadline(&OwnerPace::default()) {
            timeouts += 1;
            if timeouts > 100 {
                break;
            }
            assert!(deadline > life.tried_at, "{status:?}: time moves on");
            life = life.apply(RelayEvent::Timeout, deadline, &OwnerPace::default()).unwrap().0;
        }
        let own_server = matches!(status, RelayStatus::Listing | RelayStatus::AcknowledgedRoster);
        assert_eq!(timeouts > 100, own_server, "{status:?}: given up after {timeouts}");
        assert!(!waits || own_server || life.status.has_ended());
    }
}

#[test]
fn reasons_are_for_people_and_stored() {
    for end in Ended::ALL {
        assert!(end.to_string().len() > 10);
        for status in [RelayStatus::Inactive(end), RelayStatus::Rejected(end)] {
            assert_eq!(RelayLife::from_bytes(&life(status).to_bytes()), Ok(life(status)));
        }
    }
    for status in STATUSES {
        assert_eq!(RelayLife::from_bytes(&life(status).to_bytes()), Ok(life(status)));
    }
}

proptest! {
    /// Whatever happens in whatever order: only a relay that was in the written link is active, and an ended one
    /// comes back by the owner's wish alone.
    #[test]
    fn no_way_around_the_listing(events in prop::collection::vec(prop::sample::select(&EVENTS[..]), 0..60)) {
        let mut life = RelayLife::new(Timestamp(0));
        for (at, event) in events.into_iter().enumerate() {
            let before = life.status;
            if let Ok((next, _)) = life.apply(event, Timestamp(i64::try_from(at).unwrap()), &OwnerPace::default()) {
                if next.status == RelayStatus::Active && before != RelayStatus::Active {
                    prop_assert_eq!(event, RelayEvent::LinkWritten { listed: true });
                    prop_assert!(before.is_publishable());
                }
                if before.has_ended() && !next.status.has_ended() {
                    prop_assert_eq!(event, RelayEvent::Retry);
                }
                life = next;
            }
        }
    }

    #[test]
    fn records_fail_softly(bytes: Vec<u8>) {
        let _ = RelayLife::from_bytes(&bytes);
    }
}
