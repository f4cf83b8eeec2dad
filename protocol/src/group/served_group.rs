//! One group, as a relay that serves it sees it (channels.md §12).
//!
//! ```text
//! invitation ──▶ ReadingLink ──all is right──▶ CreatingLink ──link made──▶ Accepted ──roster──▶ AcknowledgedRoster
//!                     │ not right, too late          │ too late               │ listed                │ listed
//!                     ▼                              ▼                        └───────▶ Active ◀──────┘
//!                  Refused ◀─────────────────────────┘                                    │ removed, group deleted,
//!                     │ the owner has heard                                               ▼ never listed
//!                     ▼                                                                Inactive
//!                   Gone ◀──────────────── notice delivered, or a day later ──────────────┘
//!
//! Active ──unlisted thrice──▶ Delisted ──a day later, or the owner's connection is gone──▶ Inactive
//! Active ──link gone thrice──▶ Unlinked ──a day later──▶ Inactive
//! Delisted, Unlinked ──listed again──▶ Active
//!
//! operator leaves: Leaving ──notice delivered──▶ Rejected (declines each invitation), until the operator forgets it
//! ```
//!
//! An invitation that is repeated for the same group gets the same answer. Each state that waits has a deadline and a
//! next step. One read of the group link that misses our entry changes nothing: it is read again first.

mod record;
#[cfg(test)]
mod tests;

use thiserror::Error;

use super::constants::{
    INACTIVE_TTL_MS, LINK_CHECK_MS, LINK_MISSES_MAX, LINK_RECHECK_MS, LISTING_WAIT_MS_MAX,
    REQUEST_AGE_MS_MAX, REQUEST_RETRY_MS_MAX, REQUEST_RETRY_MS_MIN, REQUEST_TRIES_MAX,
};
use super::served_end::{Refusal, ServiceEnd};
use crate::timestamp::Timestamp;

/// Where a served group stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServedStatus {
    /// Invited; the group link is being read and checked.
    ReadingLink,
    /// The group is right; the relay link is being made.
    CreatingLink,
    /// The owner has our relay link; its roster is awaited, and the listing.
    Accepted,
    /// We hold the roster; the listing is awaited.
    AcknowledgedRoster,
    /// Listed in the group link: members come.
    Active {
        /// How many reads of the group link in a row have missed our entry.
        misses: u32,
    },
    /// The group link does not list us any more, but the owner's connection stands: nobody new is let in, and we go on
    /// as before if we are listed again.
    Delisted,
    /// The group link is gone from its server. It may be made again, or the group has been deleted and what its owner
    /// said of that is still on its way, though the owner does not listen any more: as [`Self::Delisted`] otherwise.
    Unlinked,
    /// Over; members are being told.
    Inactive(ServiceEnd),
    /// Declined; the owner is being told.
    Refused(Refusal),
    /// The operator left; owners and members are being told.
    Leaving,
    /// The operator left: invitations are declined.
    Rejected,
    /// Nothing is left but the record.
    Gone,
}

/// What happens to a served group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServedEvent {
    /// x.grp.relay.inv for this group came again.
    Invited {
        /// Whether with the member id of our relay link.
        same_member: bool,
    },
    /// The group link was read, and everything is right.
    LinkValid,
    /// The group link was read, and something is not right; the problem is stored.
    LinkInvalid,
    /// The group link was read, and the relay's operator does not take this group.
    NotAdmitted(Refusal),
    /// The relay link exists; repeated after a crash without harm.
    RelayLinkCreated,
    /// A member has come over our relay link, which people find in the group link.
    MemberConnected,
    /// The connection of the owner stands.
    OwnerConnected,
    /// The owner's connection is gone.
    OwnerGone,
    /// An owner's roster was received in full, verified and stored.
    RosterApplied {
        /// Its version.
        version: i64,
    },
    /// An owner's roster could not be taken.
    RosterFailed {
        /// Its version.
        version: i64,
    },
    /// The group link lists us.
    Listed,
    /// The group link was read and does not list us.
    Unlisted,
    /// The group link is gone from its server.
    LinkGone,
    /// An owner's signed x.grp.mem.del names us.
    Removed,
    /// An owner's signed x.grp.del.
    GroupDeleted,
    /// Everything that was to be told is delivered.
    NoticeDelivered,
    /// The operator leaves the group.
    OperatorLeaves,
    /// The [deadline](ServedLife::deadline) has passed.
    Timeout,
}

/// What a relay does next, in this order, once the record is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServedEffect {
    /// Read and check the group link to serve it.
    ReadGroupLink,
    /// Make the relay link, or take the one that was made before a crash.
    CreateRelayLink,
    /// Answer every open invitation with the relay link: x.grp.relay.acpt.
    Accept,
    /// Answer every open invitation with a reason: x.grp.relay.reject.
    Decline(Refusal),
    /// x.grp.roster.ack.
    AckRoster {
        /// Of this version.
        version: i64,
    },
    /// x.grp.roster.ack with an error.
    AckRosterError {
        /// Of this version.
        version: i64,
    },
    /// Read the group link to look for our entry.
    CheckLink,
    /// Deliver a last message to members and owners, ahead of which all other deliveries are dropped.
    Notify(Notice),
    /// Delete the relay link.
    DeleteRelayLink,
    /// Delete all connections of the group.
    DeleteConnections,
}

/// What members are told, so that they can verify it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// The owner's signed statement, verbatim.
    OwnersStatement,
    /// Our own x.grp.leave, signed with our member key.
    OwnLeave,
}

/// An event that has no place in this status: shown in the log and otherwise ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{event:?} has no place in status {status:?}")]
pub struct NotServedNow {
    /// The status.
    pub status: ServedStatus,
    /// The event.
    pub event: ServedEvent,
}

/// How patient a relay is; the default is that of [`constants`](super::constants).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayPace {
    /// First pause before a request is tried again, in milliseconds; it doubles.
    pub retry_ms_min: i64,
    /// Longest pause before a request is tried again, in milliseconds.
    pub retry_ms_max: i64,
    /// Age from which a request that was tried often enough is given up, in milliseconds.
    pub request_age_ms_max: i64,
    /// How often the group link is looked at, in milliseconds; the caller adds jitter.
    pub link_check_ms: i64,
    /// How soon it is looked at again after a miss, in milliseconds.
    pub link_recheck_ms: i64,
    /// How long an accepted relay waits to be listed, in milliseconds.
    pub listing_wait_ms_max: i64,
    /// How long a group that does not list us any more is waited for, and how long one that has ended keeps its
    /// connections, in milliseconds.
    pub inactive_ttl_ms: i64,
}

impl Default for RelayPace {
    fn default() -> Self {
        Self {
            retry_ms_min: REQUEST_RETRY_MS_MIN,
            retry_ms_max: REQUEST_RETRY_MS_MAX,
            request_age_ms_max: REQUEST_AGE_MS_MAX,
            link_check_ms: LINK_CHECK_MS,
            link_recheck_ms: LINK_RECHECK_MS,
            listing_wait_ms_max: LISTING_WAIT_MS_MAX,
            inactive_ttl_ms: INACTIVE_TTL_MS,
        }
    }
}

/// The record of one served group: status, since when, and how often its step was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServedLife {
    /// Where it stands.
    pub status: ServedStatus,
    /// When it came to this status.
    pub since: Timestamp,
    /// When the step was tried, or the link looked at, last.
    pub tried_at: Timestamp,
    /// How often the step was tried.
    pub tries: u32,
}

impl ServedStatus {
    /// The stored word of the reference; "accepted" begins with the relay link.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::ReadingLink | Self::CreatingLink => "invited",
            Self::Accepted => "accepted",
            Self::AcknowledgedRoster => "acknowledged_roster",
            Self::Active { .. } => "active",
            Self::Delisted | Self::Unlinked | Self::Inactive(_) | Self::Gone => "inactive",
            Self::Refused(_) | Self::Leaving | Self::Rejected => "rejected",
        }
    }

    /// Whether messages are taken and passed on.
    #[must_use]
    pub const fn serves(self) -> bool {
        matches!(
            self,
            Self::Accepted | Self::AcknowledgedRoster | Self::Active { .. } | Self::Delisted | Self::Unlinked
        )
    }

    /// Whether joiners are let in.
    #[must_use]
    pub const fn lets_in(self) -> bool {
        self.serves() && !matches!(self, Self::Delisted | Self::Unlinked)
    }

    /// Whether the group link has listed us, so that the owner's connection is the owner's.
    #[must_use]
    pub const fn was_listed(self) -> bool {
        matches!(self, Self::Active { .. } | Self::Delisted | Self::Unlinked)
    }
}

impl ServedLife {
    /// A group that we were invited to. The first effect is [`ServedEffect::ReadGroupLink`].
    #[must_use]
    pub const fn invited(now: Timestamp) -> Self {
        Self { status: ServedStatus::ReadingLink, since: now, tried_at: now, tries: 0 }
    }

    /// When [`ServedEvent::Timeout`] is due; nothing when nothing is awaited.
    #[must_use]
    pub fn deadline(&self, pace: &RelayPace) -> Option<Timestamp> {
        match self.status {
            ServedStatus::ReadingLink | ServedStatus::CreatingLink => {
                let doubled = pace.retry_ms_min.saturating_mul(1 << self.tries.min(16));
                Some(self.tried_at.plus_ms(doubled.min(pace.retry_ms_max)))
            }
            ServedStatus::Active { misses } if misses > 0 => {
                Some(self.tried_at.plus_ms(pace.link_recheck_ms))
            }
            // The listing mostly follows soon, and members should not wait for the long interval.
            ServedStatus::Accepted | ServedStatus::AcknowledgedRoster => {
                let doubled = pace.link_recheck_ms.saturating_mul(1 << self.tries.min(16));
                Some(self.tried_at.plus_ms(doubled.min(pace.link_check_ms)))
            }
            ServedStatus::Active { .. } => Some(self.tried_at.plus_ms(pace.link_check_ms)),
            ServedStatus::Delisted | ServedStatus::Unlinked => {
                let next = self.tried_at.plus_ms(pace.link_check_ms);
                Some(next.min(self.since.plus_ms(pace.inactive_ttl_ms)))
            }
            ServedStatus::Inactive(_) | ServedStatus::Refused(_) | ServedStatus::Leaving => {
                Some(self.since.plus_ms(pace.inactive_ttl_ms))
            }
            ServedStatus::Rejected | ServedStatus::Gone => None,
        }
    }

    /// The next state and what is to be done.
    ///
    /// # Errors
    /// [`NotServedNow`] when the event has no place in this status; the record stays as it is.
    pub fn apply(
        self,
        event: ServedEvent,
        now: Timestamp,
        pace: &RelayPace,
    ) -> Result<(Self, Vec<ServedEffect>), NotServedNow> {
        use ServedEffect as Do;
        use ServedEvent as On;
        use ServedStatus::{
            Accepted, AcknowledgedRoster, Active, CreatingLink, Delisted, Gone, Inactive, Leaving,
            ReadingLink, Refused, Rejected, Unlinked,
        };

        let to = |status| Self { status, since: now, tried_at: now, tries: 0 };
        let again = Self { tried_at: now, tries: self.tries.saturating_add(1), ..self };
        let end = |end, notice| (to(Inactive(end)), vec![Do::Notify(notice), Do::DeleteRelayLink]);
        let refuse = |refusal| (to(Refused(refusal)), vec![Do::Decline(refusal)]);
        let given_up = self.tries >= REQUEST_TRIES_MAX && now >= self.since.plus_ms(pace.request_age_ms_max);
        let waited = now >= self.since.plus_ms(pace.listing_wait_ms_max);
        let expired = now >= self.since.plus_ms(pace.inactive_ttl_ms);

        Ok(match (self.status, event) {
            // Invitations, the first as well as repeated ones.
            (ReadingLink | CreatingLink, On::Invited { same_member: true }) => (self, vec![]),
            (ReadingLink | Refused(_) | Gone, On::Invited { .. }) => {
                (to(ReadingLink), vec![Do::ReadGroupLink])
            }
            (
                Accepted | AcknowledgedRoster | Active { .. } | Delisted | Unlinked,
                On::Invited { same_member: true },
            ) => (self, vec![Do::Accept]),
            // Nobody is listed yet, so whoever asked last may be the true owner; the group link tells.
            (CreatingLink | Accepted | AcknowledgedRoster, On::Invited { same_member: false }) => {
                (to(ReadingLink), vec![Do::DeleteRelayLink, Do::ReadGroupLink])
            }
            (Active { .. } | Delisted | Unlinked, On::Invited { same_member: false }) => {
                (self, vec![Do::Decline(Refusal::ServedAlready)])
            }
            (Inactive(_), On::Invited { .. }) => {
                (to(ReadingLink), vec![Do::DeleteConnections, Do::ReadGroupLink])
            }
            (Leaving | Rejected, On::Invited { .. }) => (self, vec![Do::Decline(Refusal::RejoinRejected)]),

            // Accepting.
            (ReadingLink, On::LinkValid) => (to(CreatingLink), vec![Do::CreateRelayLink]),
            (ReadingLink, On::LinkInvalid) => refuse(Refusal::InvalidGroup),
            (ReadingLink, On::NotAdmitted(refusal)) => refuse(refusal),
            (ReadingLink, On::LinkGone) => refuse(Refusal::LinkUnreadable),
            (CreatingLink, On::RelayLinkCreated) => (to(Accepted), vec![Do::Accept]),
            (ReadingLink, On::Timeout) if given_up => refuse(Refusal::LinkUnreadable),
            (CreatingLink, On::Timeout) if given_up => refuse(Refusal::NoRelayLink),
            (ReadingLink, On::Timeout) => (again, vec![Do::ReadGroupLink]),
            (CreatingLink, On::Timeout) => (again, vec![Do::CreateRelayLink]),

            // The roster, also each later one.
            (Accepted, On::RosterApplied { version }) => {
                (to(AcknowledgedRoster), vec![Do::AckRoster { version }])
            }
            (AcknowledgedRoster | Active { .. } | Delisted | Unlinked, On::RosterApplied { version }) => {
                (self, vec![Do::AckRoster { version }])
            }
            (
                Accepted | AcknowledgedRoster | Active { .. } | Delisted | Unlinked,
                On::RosterFailed { version },
            ) => (self, vec![Do::AckRosterError { version }]),

            // The listing.
            (Accepted | AcknowledgedRoster | Delisted | Unlinked, On::Listed) => {
                (to(Active { misses: 0 }), vec![])
            }
            (Active { .. }, On::Listed) => {
                (Self { status: Active { misses: 0 }, tried_at: now, tries: 0, ..self }, vec![])
            }
            (Accepted | AcknowledgedRoster, On::Timeout) if waited => {
                end(ServiceEnd::NeverListed, Notice::OwnLeave)
            }
            (Delisted, On::Timeout) if expired => end(ServiceEnd::Unlisted, Notice::OwnLeave),
            (Unlinked, On::Timeout) if expired => end(ServiceEnd::LinkGone, Notice::OwnLeave),
            (Accepted | AcknowledgedRoster | Active { .. } | Delisted | Unlinked, On::Timeout) => {
                (again, vec![Do::CheckLink])
            }
            (Accepted | AcknowledgedRoster | Delisted, On::Unlisted | On::LinkGone)
            | (Unlinked, On::LinkGone) => (self, vec![]),
            (Unlinked, On::Unlisted) => (to(Delisted), vec![]),
            (Active { misses }, On::Unlisted | On::LinkGone) => {
                let misses = misses.saturating_add(1);
                if misses < LINK_MISSES_MAX {
                    (Self { status: Active { misses }, tried_at: now, ..self }, vec![])
                } else if event == On::LinkGone {
                    (to(Unlinked), vec![])
                } else {
                    (to(Delisted), vec![])
                }
            }
            // Whoever does not list us and does not speak to us either has done with us: only an invitation begins anew.
            (Delisted, On::OwnerGone) => end(ServiceEnd::Unlisted, Notice::OwnLeave),
            (Accepted | AcknowledgedRoster, On::MemberConnected)
            | (Accepted | AcknowledgedRoster | Active { .. }, On::OwnerGone) => (again, vec![Do::CheckLink]),

            // The end.
            (Accepted | AcknowledgedRoster | Active { .. } | Delisted | Unlinked, On::Removed) => {
                end(ServiceEnd::Removed, Notice::OwnersStatement)
            }
            (Accepted | AcknowledgedRoster | Active { .. } | Delisted | Unlinked, On::GroupDeleted) => {
                end(ServiceEnd::GroupDeleted, Notice::OwnersStatement)
            }
            (Inactive(_), On::NoticeDelivered | On::Timeout) => (to(Gone), vec![Do::DeleteConnections]),
            (Refused(_), On::OwnerConnected | On::OwnerGone | On::Timeout) => {
                (to(Gone), vec![Do::DeleteConnections])
            }

            // The operator.
            (Accepted | AcknowledgedRoster | Active { .. } | Delisted | Unlinked, On::OperatorLeaves) => {
                (to(Leaving), vec![Do::Notify(Notice::OwnLeave), Do::DeleteRelayLink])
            }
            (ReadingLink | CreatingLink, On::OperatorLeaves) => {
                (to(Rejected), vec![Do::Decline(Refusal::RejoinRejected), Do::DeleteRelayLink])
            }
            (Inactive(_), On::OperatorLeaves) => (to(Leaving), vec![]),
            (Refused(_) | Gone, On::OperatorLeaves) => (to(Rejected), vec![Do::DeleteConnections]),
            (Leaving, On::NoticeDelivered | On::Timeout) => (to(Rejected), vec![Do::DeleteConnections]),
            // An owner that was declined has sent its x.ok.
            (Rejected, On::OwnerConnected) => (self, vec![Do::DeleteConnections]),

            // What comes late or twice changes nothing.
            (_, On::MemberConnected | On::OwnerConnected | On::OwnerGone | On::NoticeDelivered)
            | (Leaving | Rejected, On::OperatorLeaves)
            | (Rejected | Gone, On::Timeout)
            | (
                Accepted | AcknowledgedRoster | Active { .. } | Delisted | Unlinked,
                On::LinkValid | On::LinkInvalid | On::NotAdmitted(_) | On::RelayLinkCreated,
            )
            | (CreatingLink, On::LinkValid)
            | (
                Inactive(_) | Refused(_) | Leaving | Rejected | Gone,
                On::LinkValid
                | On::LinkInvalid
                | On::NotAdmitted(_)
                | On::RelayLinkCreated
                | On::RosterApplied { .. }
                | On::RosterFailed { .. }
                | On::Listed
                | On::Unlisted
                | On::LinkGone
                | On::Removed
                | On::GroupDeleted,
            ) => (self, vec![]),

            (status @ (ReadingLink | CreatingLink), event) => return Err(NotServedNow { status, event }),
        })
    }
}
