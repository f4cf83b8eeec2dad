//! One relay of a group, as its owner sees it (channels.md §11).
//!
//! ```text
//! New ──invitation sent──▶ Invited ──accept──▶ ReadingLink ──its link is right──▶ Connecting
//!  │                          │                     │                                │ connected
//!  │ nobody answers           │ reject,             │ mismatch, unreadable           ├──with roster──▶ AwaitingAck
//!  ▼                          ▼ nobody answers      ▼                                │                   │ ack
//! Rejected ◀──────────────────┴─────────────────────┴── ack with error, too late     ▼                   ▼
//!                                                                                 Listing        AcknowledgedRoster
//!                                                                                    └──── listed in link ────┘
//!     Inactive ◀── left, removed, unlisted, connection gone ── Active ◀────────────────────────┘
//! ```
//!
//! `ReadingLink`, `Connecting`, `AwaitingAck` and `Listing` are the steps of "accepted". Every state that waits has a
//! deadline and a next step, so none can hang: what can be asked again is asked again with growing pauses, and given
//! up after a day with a reason for people. From `Rejected` and `Inactive` the owner may start again.

use thiserror::Error;

use super::constants::{OWNER_RETRY_MS_MAX, OWNER_RETRY_MS_MIN, OWNER_STEP_MS_MAX};
use super::relay_end::Ended;
use crate::encoding::{Decode, DecodeError, Encode, Reader};
use crate::timestamp::Timestamp;

/// Where a relay stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayStatus {
    /// Chosen; the invitation is not on its way yet.
    New,
    /// Invited; its answer is awaited.
    Invited,
    /// Accepted; its relay link is being read.
    ReadingLink,
    /// Accepted, and its link is right; the connection is being made.
    Connecting,
    /// Accepted and connected; it is to acknowledge this version of the roster.
    AwaitingAck {
        /// The version sent last.
        version: i64,
    },
    /// Accepted and connected, by an older relay without roster; the group link is being written.
    Listing,
    /// It holds the roster; the group link is being written.
    AcknowledgedRoster,
    /// Listed in the group link: members come through it.
    Active,
    /// It was active and is not any more.
    Inactive(Ended),
    /// It never became active.
    Rejected(Ended),
}

/// What happens to a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayEvent {
    /// The contact request with x.grp.relay.inv was handed to the agent.
    InvitationSent,
    /// The relay address is gone, or does not belong to a relay.
    AddressUnusable,
    /// x.grp.relay.acpt came; its link is stored.
    Accept {
        /// Whether it is the link that was given before, if one was.
        same_link: bool,
    },
    /// x.grp.relay.reject came; its reason is stored.
    Reject,
    /// The relay link was read, and `linkEntityId` is the member id that we gave.
    LinkMatches,
    /// The relay link was read, and `linkEntityId` is another.
    LinkDiffers,
    /// The relay link is gone or malformed.
    LinkUnreadable,
    /// The connection stands.
    Connected {
        /// The current version of the roster (0 when there is none), if the relay's chat version has rosters.
        roster: Option<i64>,
    },
    /// A newer roster was sent to the relay.
    RosterSent {
        /// Its version.
        version: i64,
    },
    /// x.grp.roster.ack came.
    RosterAck {
        /// Of this version.
        version: i64,
        /// Whether without an error; the error is stored.
        ok: bool,
    },
    /// The group link was written.
    LinkWritten {
        /// Whether with this relay's link.
        listed: bool,
    },
    /// The relay's signed x.grp.leave came.
    Left,
    /// The owner removes the relay.
    Remove,
    /// Its queue is gone: sends are refused for good.
    ConnectionGone,
    /// The [deadline](RelayLife::deadline) has passed.
    Timeout,
    /// The owner tries again.
    Retry,
}

/// What the owner's client does next, in this order, once the record is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayEffect {
    /// Read the relay address and send x.grp.relay.inv. Earlier requests stay until one of them is answered.
    SendInvitation,
    /// Read the relay link.
    ReadRelayLink,
    /// Pin key and profile from the relay link, and let the connection be made.
    AllowConnection,
    /// Let the connection be made, so that a relay that declined can clean up.
    AllowToFinish,
    /// Send the current roster: header, then blob.
    SendRoster,
    /// Write the group link with all relays that are [publishable](RelayStatus::is_publishable).
    WriteGroupLink,
    /// The group has an active relay: it is no longer being created.
    ClearCreating,
    /// Tell members by the other active relays, if there are members: x.grp.relay.new.
    AnnounceRelay,
    /// Tell the relay and, by the others, the members: the signed x.grp.mem.del.
    SendRemoval,
    /// Delete the connection once what was sent is delivered.
    DeleteConnection,
    /// Show what happened.
    Show(Ended),
    /// Show that the relay gave another link than before, which was not taken.
    ShowChangedLink,
}

/// An event that has no place in this status: shown in the log and otherwise ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{event:?} has no place in status {status:?}")]
pub struct NotAllowedNow {
    /// The status.
    pub status: RelayStatus,
    /// The event.
    pub event: RelayEvent,
}

/// How patient an owner is; the default is that of [`constants`](super::constants).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnerPace {
    /// First pause before a step is repeated, in milliseconds; it doubles.
    pub retry_ms_min: i64,
    /// Longest pause before a step is repeated, in milliseconds.
    pub retry_ms_max: i64,
    /// How long a step may take before the relay is given up, in milliseconds.
    pub step_ms_max: i64,
}

impl Default for OwnerPace {
    fn default() -> Self {
        Self {
            retry_ms_min: OWNER_RETRY_MS_MIN,
            retry_ms_max: OWNER_RETRY_MS_MAX,
            step_ms_max: OWNER_STEP_MS_MAX,
        }
    }
}

/// The record of one relay: status, since when, and how often the step was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayLife {
    /// Where it stands.
    pub status: RelayStatus,
    /// When it came to this status.
    pub since: Timestamp,
    /// When the step was tried last.
    pub tried_at: Timestamp,
    /// How often the step was tried.
    pub tries: u32,
}

impl RelayStatus {
    /// The stored word of the reference; the steps of "accepted" share one.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Invited => "invited",
            Self::ReadingLink | Self::Connecting | Self::AwaitingAck { .. } | Self::Listing => "accepted",
            Self::AcknowledgedRoster => "acknowledged_roster",
            Self::Active => "active",
            Self::Inactive(_) => "inactive",
            Self::Rejected(_) => "rejected",
        }
    }

    /// Whether the group link lists a relay in this status.
    #[must_use]
    pub const fn is_publishable(self) -> bool {
        matches!(self, Self::Listing | Self::AcknowledgedRoster | Self::Active)
    }

    /// Whether group messages are sent to a relay in this status.
    #[must_use]
    pub const fn is_connected(self) -> bool {
        matches!(self, Self::AwaitingAck { .. } | Self::Listing | Self::AcknowledgedRoster | Self::Active)
    }

    /// Whether nothing more happens by itself, and the relay does not serve.
    #[must_use]
    pub const fn has_ended(self) -> bool {
        matches!(self, Self::Inactive(_) | Self::Rejected(_))
    }

    /// What is repeated when the deadline passes, and the end after a day; nothing for states that do not wait.
    const fn waiting(self) -> Option<(Option<RelayEffect>, Option<Ended>)> {
        match self {
            Self::New | Self::Invited => Some((Some(RelayEffect::SendInvitation), Some(Ended::NoAnswer))),
            Self::ReadingLink => Some((Some(RelayEffect::ReadRelayLink), Some(Ended::LinkUnreadable))),
            // The agent repeats what the handshake needs.
            Self::Connecting => Some((None, Some(Ended::NoConnection))),
            Self::AwaitingAck { .. } => Some((Some(RelayEffect::SendRoster), Some(Ended::NoRosterAck))),
            // The owner's own server: nobody else is to blame, so it is tried for as long as it takes.
            Self::Listing | Self::AcknowledgedRoster => Some((Some(RelayEffect::WriteGroupLink), None)),
            Self::Active | Self::Inactive(_) | Self::Rejected(_) => None,
        }
    }
}

impl RelayLife {
    /// A relay just chosen. The first effect is [`RelayEffect::SendInvitation`].
    #[must_use]
    pub const fn new(now: Timestamp) -> Self {
        Self { status: RelayStatus::New, since: now, tried_at: now, tries: 0 }
    }

    /// When [`RelayEvent::Timeout`] is due; nothing when nothing is awaited.
    #[must_use]
    pub fn deadline(&self, pace: &OwnerPace) -> Option<Timestamp> {
        let (_, end) = self.status.waiting()?;
        let doubled = pace.retry_ms_min.saturating_mul(1 << self.tries.min(16));
        let again = self.tried_at.plus_ms(doubled.min(pace.retry_ms_max));
        Some(if end.is_some() { again.min(self.since.plus_ms(pace.step_ms_max)) } else { again })
    }

    /// The next state and what is to be done.
    ///
    /// # Errors
    /// [`NotAllowedNow`] when the event has no place in this status; the record stays as it is.
    pub fn apply(
        self,
        event: RelayEvent,
        now: Timestamp,
        pace: &OwnerPace,
    ) -> Result<(Self, Vec<RelayEffect>), NotAllowedNow> {
        use RelayEffect as Do;
        use RelayEvent as On;
        use RelayStatus::{
            AcknowledgedRoster, Active, AwaitingAck, Connecting, Inactive, Invited, Listing, New,
            ReadingLink, Rejected,
        };

        let to = |status| Self { status, since: now, tried_at: now, tries: 0 };
        // A connected relay is told that it is not wanted; the others see that their connection is gone.
        let withdraw = |end| {
            let tell = self.status.is_connected().then_some(Do::SendRemoval);
            let effects = [Some(Do::Show(end)), tell, Some(Do::DeleteConnection)];
            (to(Rejected(end)), effects.into_iter().flatten().collect())
        };
        let gone = |end| (to(Rejected(end)), vec![Do::Show(end), Do::DeleteConnection]);
        let end = |end| (to(Inactive(end)), vec![Do::Show(end), Do::WriteGroupLink, Do::DeleteConnection]);

        Ok(match (self.status, event) {
            // Inviting.
            (New, On::InvitationSent) => (to(Invited), vec![]),
            (Invited, On::InvitationSent) => (self, vec![]),
            (New | Invited, On::AddressUnusable) => gone(Ended::NoSuchRelay),
            (New | Invited, On::Accept { .. }) => (to(ReadingLink), vec![Do::ReadRelayLink]),
            (New | Invited, On::Reject) => {
                (to(Rejected(Ended::Declined)), vec![Do::AllowToFinish, Do::Show(Ended::Declined)])
            }

            // Accepted: the link, the connection, the roster, the listing.
            (ReadingLink, On::LinkMatches) => (to(Connecting), vec![Do::AllowConnection]),
            (ReadingLink, On::LinkDiffers) => withdraw(Ended::LinkMismatch),
            (ReadingLink, On::LinkUnreadable) => withdraw(Ended::LinkUnreadable),
            (Connecting, On::Connected { roster: Some(version) }) => {
                (to(AwaitingAck { version }), vec![Do::SendRoster])
            }
            (Connecting, On::Connected { roster: None }) => (to(Listing), vec![Do::WriteGroupLink]),
            (AwaitingAck { .. }, On::RosterSent { version }) => (to(AwaitingAck { version }), vec![]),
            (AwaitingAck { version: sent }, On::RosterAck { version, ok }) if version == sent => {
                if ok {
                    (to(AcknowledgedRoster), vec![Do::WriteGroupLink])
                } else {
                    withdraw(Ended::RosterRefused)
                }
            }
            (Listing | AcknowledgedRoster, On::LinkWritten { listed: true }) => {
                (to(Active), vec![Do::ClearCreating, Do::AnnounceRelay])
            }
            // A write that began before this relay was publishable.
            (Listing | AcknowledgedRoster, On::LinkWritten { listed: false }) => {
                (self, vec![Do::WriteGroupLink])
            }

            // The end of service.
            (Active, On::LinkWritten { listed: false }) => {
                (to(Inactive(Ended::Unlisted)), vec![Do::Show(Ended::Unlisted)])
            }
            (Listing | AcknowledgedRoster | Active, On::Left) => end(Ended::Left),
            (Listing | AcknowledgedRoster | Active, On::ConnectionGone) => end(Ended::ConnectionGone),
            // The link first, then the message: whoever hears of the removal finds the link without the relay.
            (Listing | AcknowledgedRoster | Active, On::Remove) => (
                to(Inactive(Ended::Removed)),
                vec![Do::WriteGroupLink, Do::SendRemoval, Do::DeleteConnection],
            ),
            (Connecting | AwaitingAck { .. }, On::Left) => gone(Ended::Left),
            (New | Invited | ReadingLink | Connecting | AwaitingAck { .. }, On::ConnectionGone) => {
                gone(Ended::ConnectionGone)
            }
            (New | Invited | ReadingLink | Connecting | AwaitingAck { .. }, On::Remove) => {
                withdraw(Ended::Removed)
            }

            // Repeated answers to a repeated invitation.
            (
                ReadingLink | Connecting | AwaitingAck { .. } | Listing | AcknowledgedRoster | Active,
                On::Accept { same_link },
            ) => (self, if same_link { vec![] } else { vec![Do::ShowChangedLink] }),

            // Waiting.
            (status, On::Timeout) => match status.waiting() {
                Some((_, Some(reason))) if now >= self.since.plus_ms(pace.step_ms_max) => withdraw(reason),
                Some((repeat, _)) => {
                    let tried = Self { tried_at: now, tries: self.tries.saturating_add(1), ..self };
                    (tried, repeat.into_iter().collect())
                }
                None => (self, vec![]),
            },

            // What was declined ends once the relay has our x.ok.
            (Rejected(_), On::Connected { .. }) => (self, vec![Do::DeleteConnection]),

            // Starting again.
            (Inactive(_) | Rejected(_), On::Retry) => (to(New), vec![Do::SendInvitation]),

            // What comes late or twice changes nothing.
            (_, On::LinkWritten { .. })
            | (AwaitingAck { .. } | Listing | AcknowledgedRoster | Active, On::Connected { .. })
            | (
                AwaitingAck { .. } | AcknowledgedRoster | Active | Inactive(_) | Rejected(_),
                On::RosterAck { .. },
            )
            | (AcknowledgedRoster | Active | Inactive(_) | Rejected(_), On::RosterSent { .. })
            | (
                Inactive(_) | Rejected(_),
                On::InvitationSent
                | On::Accept { .. }
                | On::Reject
                | On::LinkMatches
                | On::LinkDiffers
                | On::LinkUnreadable
                | On::AddressUnusable
                | On::Connected { .. }
                | On::Left
                | On::Remove
                | On::ConnectionGone,
            ) => (self, vec![]),

            (
                status @ (New
                | Invited
                | ReadingLink
                | Connecting
                | AwaitingAck { .. }
                | Listing
                | AcknowledgedRoster
                | Active),
                event,
            ) => return Err(NotAllowedNow { status, event }),
        })
    }
}

impl Encode for RelayLife {
    fn encode(&self, out: &mut Vec<u8>) {
        match self.status {
            RelayStatus::New => out.push(b'N'),
            RelayStatus::Invited => out.push(b'I'),
            RelayStatus::ReadingLink => out.push(b'L'),
            RelayStatus::Connecting => out.push(b'C'),
            RelayStatus::AwaitingAck { version } => {
                out.push(b'W');
                out.extend_from_slice(&version.to_be_bytes());
            }
            RelayStatus::Listing => out.push(b'P'),
            RelayStatus::AcknowledgedRoster => out.push(b'R'),
            RelayStatus::Active => out.push(b'A'),
            RelayStatus::Inactive(end) => out.extend([b'E', end.tag()]),
            RelayStatus::Rejected(end) => out.extend([b'X', end.tag()]),
        }
        out.extend_from_slice(&self.since.0.to_be_bytes());
        out.extend_from_slice(&self.tried_at.0.to_be_bytes());
        out.extend_from_slice(&self.tries.to_be_bytes());
    }
}

impl Decode for RelayLife {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let status = match reader.u8()? {
            b'N' => RelayStatus::New,
            b'I' => RelayStatus::Invited,
            b'L' => RelayStatus::ReadingLink,
            b'C' => RelayStatus::Connecting,
            b'W' => RelayStatus::AwaitingAck { version: reader.i64()? },
            b'P' => RelayStatus::Listing,
            b'R' => RelayStatus::AcknowledgedRoster,
            b'A' => RelayStatus::Active,
            b'E' => RelayStatus::Inactive(Ended::from_tag(reader.u8()?)?),
            b'X' => RelayStatus::Rejected(Ended::from_tag(reader.u8()?)?),
            _ => return Err(DecodeError::Invalid("relay status")),
        };
        let (since, tried_at) = (Timestamp(reader.i64()?), Timestamp(reader.i64()?));
        Ok(Self { status, since, tried_at, tries: reader.u32()? })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
        let expected = include_str!("../../tests/vectors/states/relay_status.txt");
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
}
