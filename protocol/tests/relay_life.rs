//! An owner's record of a relay and that relay's record of the group, wired in memory: messages are late, reads of
//! links get lost in crashes, and either side may end it at any moment. Both must come to rest in agreement.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use protocol::group::relay_end::Ended;
use protocol::group::relay_status::{OwnerPace, RelayEffect, RelayEvent, RelayLife, RelayStatus};
use protocol::group::served_group::{Notice, RelayPace, ServedEffect, ServedEvent, ServedLife, ServedStatus};
use protocol::timestamp::Timestamp;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

const DAY_MS: i64 = 86_400_000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Scenario {
    Honest,
    /// The relay's link was made for something else.
    WrongLink,
    /// The owner's profile is not valid.
    InvalidGroup,
    /// The relay cannot take rosters.
    NoRoster,
    OwnerRemoves,
    /// The same, and the message gets lost with the connection.
    OwnerRemovesSilently,
    OperatorLeaves,
    /// The relay never comes up.
    RelayIsDown,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Owner(RelayEvent),
    Relay(ServedEvent),
    /// The group link's server takes what the owner wrote.
    LinkWritten,
}

struct World {
    scenario: Scenario,
    rng: StdRng,
    now: i64,
    owner: RelayLife,
    relay: Option<ServedLife>,
    /// Whether the group link lists the relay.
    is_listed: bool,
    /// By time and order.
    events: BTreeMap<(i64, u64), Event>,
    scheduled: u64,
    /// When the last thing was scheduled to arrive, for each direction: queues keep their order.
    last_to_owner: i64,
    last_to_relay: i64,
}

impl World {
    fn run(scenario: Scenario, seed: u64) -> (RelayStatus, Option<ServedStatus>) {
        let mut world = Self {
            scenario,
            rng: StdRng::seed_from_u64(seed),
            now: 0,
            owner: RelayLife::new(Timestamp(0)),
            relay: None,
            is_listed: false,
            events: BTreeMap::new(),
            scheduled: 0,
            last_to_owner: 0,
            last_to_relay: 0,
        };
        world.owner_does(RelayEffect::SendInvitation);
        let when = world.rng.random_range(0..DAY_MS / 4);
        match scenario {
            Scenario::OwnerRemoves | Scenario::OwnerRemovesSilently => {
                world.at(when, Event::Owner(RelayEvent::Remove));
            }
            Scenario::OperatorLeaves => world.at(when, Event::Relay(ServedEvent::OperatorLeaves)),
            _ => {}
        }
        while world.now < 4 * DAY_MS && world.step() {}
        (world.owner.status, world.relay.map(|relay| relay.status))
    }

    /// The next event or deadline, whichever is first.
    fn step(&mut self) -> bool {
        let owner = self.owner.deadline(&OwnerPace::default()).map(|at| (at.0, RelayEvent::Timeout));
        let relay = self.relay.and_then(|relay| relay.deadline(&RelayPace::default())).map(|at| at.0);
        let next = self.events.first_key_value().map(|((at, _), _)| *at);
        let Some(first) = [owner.map(|(at, _)| at), relay, next].into_iter().flatten().min() else {
            return false;
        };
        self.now = self.now.max(first);
        if next == Some(first) {
            match self.events.pop_first().unwrap().1 {
                Event::Owner(event) => self.owner_hears(event),
                Event::Relay(event) => self.relay_hears(event),
                Event::LinkWritten => {
                    self.is_listed = self.owner.status.is_publishable();
                    self.owner_hears(RelayEvent::LinkWritten { listed: self.is_listed });
                }
            }
        } else if relay == Some(first) {
            self.relay_hears(ServedEvent::Timeout);
        } else {
            self.owner_hears(RelayEvent::Timeout);
        }
        true
    }

    fn owner_hears(&mut self, event: RelayEvent) {
        let outcome = self.owner.apply(event, Timestamp(self.now), &OwnerPace::default());
        if let Ok((next, effects)) = outcome {
            self.owner = next;
            effects.into_iter().for_each(|effect| self.owner_does(effect));
        }
    }

    fn relay_hears(&mut self, event: ServedEvent) {
        let Some(relay) = self.relay else {
            if matches!(event, ServedEvent::Invited { .. }) {
                self.relay = Some(ServedLife::invited(Timestamp(self.now)));
                self.relay_does(ServedEffect::ReadGroupLink);
            }
            return;
        };
        if let Ok((next, effects)) = relay.apply(event, Timestamp(self.now), &RelayPace::default()) {
            self.relay = Some(next);
            effects.into_iter().for_each(|effect| self.relay_does(effect));
        }
    }

    fn owner_does(&mut self, effect: RelayEffect) {
        match effect {
            // Sending needs the address to be read first, which a crash may forget.
            RelayEffect::SendInvitation if self.is_lucky() => {
                self.tell_owner(RelayEvent::InvitationSent);
                self.tell_relay(ServedEvent::Invited { same_member: true });
            }
            RelayEffect::ReadRelayLink if self.is_lucky() => {
                let wrong = self.scenario == Scenario::WrongLink;
                self.tell_owner(if wrong { RelayEvent::LinkDiffers } else { RelayEvent::LinkMatches });
            }
            RelayEffect::SendInvitation | RelayEffect::ReadRelayLink => {}
            RelayEffect::AllowConnection | RelayEffect::AllowToFinish => {
                self.tell_relay(ServedEvent::OwnerConnected);
                self.tell_owner(RelayEvent::Connected { roster: Some(0) });
            }
            RelayEffect::SendRoster if self.scenario == Scenario::NoRoster => {
                self.tell_relay(ServedEvent::RosterFailed { version: 0 });
            }
            RelayEffect::SendRoster => self.tell_relay(ServedEvent::RosterApplied { version: 0 }),
            RelayEffect::WriteGroupLink => {
                let delay = self.rng.random_range(1..60_000);
                self.at(self.now + delay, Event::LinkWritten);
            }
            RelayEffect::SendRemoval if self.scenario == Scenario::OwnerRemovesSilently => {}
            RelayEffect::SendRemoval => self.tell_relay(ServedEvent::Removed),
            RelayEffect::DeleteConnection => self.tell_relay(ServedEvent::OwnerGone),
            RelayEffect::ClearCreating
            | RelayEffect::AnnounceRelay
            | RelayEffect::Show(_)
            | RelayEffect::ShowChangedLink => {}
        }
    }

    fn relay_does(&mut self, effect: ServedEffect) {
        match effect {
            ServedEffect::ReadGroupLink if self.is_lucky() => {
                let invalid = self.scenario == Scenario::InvalidGroup;
                self.tell_relay(if invalid { ServedEvent::LinkInvalid } else { ServedEvent::LinkValid });
            }
            ServedEffect::CheckLink if self.is_lucky() => {
                let listed = self.is_listed;
                self.tell_relay(if listed { ServedEvent::Listed } else { ServedEvent::Unlisted });
            }
            ServedEffect::ReadGroupLink | ServedEffect::CheckLink => {}
            ServedEffect::CreateRelayLink => self.tell_relay(ServedEvent::RelayLinkCreated),
            ServedEffect::Accept => self.tell_owner(RelayEvent::Accept { same_link: true }),
            ServedEffect::Decline(_) => self.tell_owner(RelayEvent::Reject),
            ServedEffect::AckRoster { version } => {
                self.tell_owner(RelayEvent::RosterAck { version, ok: true });
            }
            ServedEffect::AckRosterError { version } => {
                self.tell_owner(RelayEvent::RosterAck { version, ok: false });
            }
            ServedEffect::Notify(notice) => {
                if notice == Notice::OwnLeave {
                    self.tell_owner(RelayEvent::Left);
                }
                self.tell_relay(ServedEvent::NoticeDelivered);
            }
            ServedEffect::DeleteConnections => self.tell_owner(RelayEvent::ConnectionGone),
            ServedEffect::DeleteRelayLink => {}
        }
    }

    fn tell_owner(&mut self, event: RelayEvent) {
        self.last_to_owner = self.last_to_owner.max(self.now) + self.rng.random_range(1..20_000);
        self.at(self.last_to_owner, Event::Owner(event));
    }

    fn tell_relay(&mut self, event: ServedEvent) {
        if self.scenario == Scenario::RelayIsDown {
            return;
        }
        self.last_to_relay = self.last_to_relay.max(self.now) + self.rng.random_range(1..20_000);
        self.at(self.last_to_relay, Event::Relay(event));
    }

    fn at(&mut self, time: i64, event: Event) {
        self.scheduled += 1;
        self.events.insert((time, self.scheduled), event);
    }

    fn is_lucky(&mut self) -> bool {
        self.rng.random_bool(0.6)
    }
}

fn every_seed(scenario: Scenario, wanted: impl Fn(RelayStatus, Option<ServedStatus>) -> bool) {
    for seed in 0..200 {
        let (owner, relay) = World::run(scenario, seed);
        assert!(wanted(owner, relay), "{scenario:?} with seed {seed}: {owner:?}, {relay:?}");
    }
}

#[test]
fn an_honest_pair_becomes_active() {
    every_seed(Scenario::Honest, |owner, relay| {
        owner == RelayStatus::Active && relay == Some(ServedStatus::Active { misses: 0 })
    });
}

#[test]
fn a_wrong_link_ends_in_a_reason_and_an_empty_relay() {
    every_seed(Scenario::WrongLink, |owner, relay| {
        owner == RelayStatus::Rejected(Ended::LinkMismatch) && relay == Some(ServedStatus::Gone)
    });
}

#[test]
fn an_invalid_group_is_declined() {
    every_seed(Scenario::InvalidGroup, |owner, relay| {
        owner == RelayStatus::Rejected(Ended::Declined) && relay == Some(ServedStatus::Gone)
    });
}

#[test]
fn a_relay_that_cannot_take_the_roster_is_given_up() {
    every_seed(Scenario::NoRoster, |owner, relay| {
        owner == RelayStatus::Rejected(Ended::RosterRefused) && relay == Some(ServedStatus::Gone)
    });
}

#[test]
fn a_removed_relay_goes_whether_it_is_told_or_not() {
    for scenario in [Scenario::OwnerRemoves, Scenario::OwnerRemovesSilently] {
        every_seed(scenario, |owner, relay| {
            owner.has_ended() && matches!(relay, None | Some(ServedStatus::Gone))
        });
    }
}

#[test]
fn a_relay_whose_operator_leaves_is_unlisted() {
    every_seed(Scenario::OperatorLeaves, |owner, relay| match relay {
        // The operator was there before the first invitation, which then went on.
        Some(ServedStatus::Active { .. }) => owner == RelayStatus::Active,
        relay => owner.has_ended() && relay == Some(ServedStatus::Rejected),
    });
}

#[test]
fn a_relay_that_is_down_is_given_up() {
    every_seed(Scenario::RelayIsDown, |owner, relay| {
        owner == RelayStatus::Rejected(Ended::NoAnswer) && relay.is_none()
    });
}
