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

mod record;
#[cfg(test)]
mod tests;

use thiserror::Error;

use super::constants::{OWNER_RETRY_MS_MAX, OWNER_RETRY_MS_MIN, OWNER_STEP_MS_MAX};
use super::relay_end::Ended;
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
