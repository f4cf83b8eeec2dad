//! One person in one group, as a relay, an owner or another member records it (channels.md §2, §13, §19).
//!
//! ```text
//! Unknown ──introduced──▶ Introduced ──asked to be let in──▶ Accepted ──connected──▶ Connected
//!    └────────────────────────┴───────────┐                     │                       │
//!                     removed, left ──▶ Removed, Left ◀─────────┴───────────────────────┘
//!                                           └──asks again: Accepted (who was removed needs an owner's word)
//! ```
//!
//! Only relays and those who talk to them have `Accepted` and `Connected` records; members hear of each other and stay
//! `Introduced`. The creator of a group stays `Creator`.

use thiserror::Error;

use super::identity::words;

words!(
    /// Where a member stands. The words are those of the reference.
    MemberStatus {
        /// Declined by a relay.
        Rejected = "rejected",
        /// Removed by an admin or owner.
        Removed = "removed",
        /// Gone by its own wish.
        Left = "left",
        /// The group was deleted.
        GroupDeleted = "deleted",
        /// Invited in person; not used with relays.
        Invited = "invited",
        /// Waits for an approval; not used with relays.
        PendingApproval = "pending_approval",
        /// Waits for a review; not used with relays.
        PendingReview = "pending_review",
        /// Heard of from a relay, the roster or the link.
        Introduced = "introduced",
        /// In-person introduction; not used with relays.
        IntroInvited = "intro-inv",
        /// Let in; its connection is being made.
        Accepted = "accepted",
        /// Announced; not used with relays.
        Announced = "announced",
        /// Connected.
        Connected = "connected",
        /// Connected to everybody; not used with relays.
        Complete = "complete",
        /// Made the group.
        Creator = "creator",
    } else Unknown
);

impl MemberStatus {
    /// Whether the person belongs to the group now: counted, and served by relays.
    #[must_use]
    pub const fn is_current(self) -> bool {
        matches!(
            self,
            Self::Introduced
                | Self::IntroInvited
                | Self::Accepted
                | Self::Announced
                | Self::Connected
                | Self::Complete
                | Self::Creator
        )
    }

    /// Whether the person was in the group and is not any more.
    #[must_use]
    pub const fn is_gone(self) -> bool {
        matches!(self, Self::Rejected | Self::Removed | Self::Left | Self::GroupDeleted)
    }
}

/// What happens to a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberEvent {
    /// A relay, the roster or the group link tells of the member.
    Heard,
    /// x.member came and was checked; the relay lets the member in.
    Join {
        /// Whether the roster or the group link lists the member, which is an owner's word.
        listed: bool,
    },
    /// The connection stands.
    Connected,
    /// The connection is gone for good.
    ConnectionGone,
    /// The member's x.grp.leave.
    Leave,
    /// Somebody entitled removed the member.
    Remove,
    /// A relay declined the member.
    Reject,
    /// The group was deleted.
    DeleteGroup,
}

/// What is done, in this order, once the record is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberEffect {
    /// Accept the connection.
    AcceptConnection,
    /// Introduce: what was missed to the member, the member to owners, admins and moderators.
    Introduce,
    /// Count members again; an owner writes the number into the group link.
    CountMembers,
    /// Deliver what is pending, then delete the connection.
    DeleteConnectionAfterDelivery,
    /// Delete the connection.
    DeleteConnection,
}

/// A member who was removed comes back only by an owner's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum JoinRefused {
    /// Removed before.
    #[error("this member was removed from the group")]
    WasRemoved,
    /// The group is gone.
    #[error("the group was deleted")]
    GroupDeleted,
}

impl MemberStatus {
    /// The next status and what is to be done; total over every status and event.
    ///
    /// # Errors
    /// [`JoinRefused`] for a [`MemberEvent::Join`] that is not let in.
    pub fn apply(self, event: MemberEvent) -> Result<(Self, Vec<MemberEffect>), JoinRefused> {
        use MemberEffect as Do;
        use MemberEvent as On;

        Ok(match (self, event) {
            (Self::GroupDeleted, On::Join { .. }) => return Err(JoinRefused::GroupDeleted),
            (Self::Removed, On::Join { listed: false }) => return Err(JoinRefused::WasRemoved),
            // Who lost its state and joins again keeps its record.
            (_, On::Join { .. }) => (Self::Accepted, vec![Do::AcceptConnection]),

            (Self::Accepted, On::Connected) => (Self::Connected, vec![Do::Introduce, Do::CountMembers]),
            (Self::Creator, On::Connected) => (Self::Creator, vec![]),
            (status, On::Connected) if status.is_gone() => (status, vec![Do::DeleteConnection]),
            (Self::Connected | Self::Complete, On::Connected) => (self, vec![]),
            (_, On::Connected) => (Self::Connected, vec![Do::Introduce, Do::CountMembers]),

            (Self::Unknown, On::Heard) => (Self::Introduced, vec![]),
            (_, On::Heard) => (self, vec![]),

            // The person stays a member, unreachable until it joins again.
            (Self::Accepted | Self::Connected | Self::Complete, On::ConnectionGone) => {
                (Self::Introduced, vec![Do::DeleteConnection, Do::CountMembers])
            }
            (_, On::ConnectionGone) => (self, vec![Do::DeleteConnection]),

            (status, On::Leave) if status.is_gone() => (status, vec![]),
            (_, On::Leave) => (Self::Left, vec![Do::CountMembers, Do::DeleteConnectionAfterDelivery]),
            // Removing who has left already keeps them from coming back.
            (Self::Removed | Self::GroupDeleted, On::Remove) => (self, vec![]),
            (_, On::Remove) => (Self::Removed, vec![Do::CountMembers, Do::DeleteConnectionAfterDelivery]),
            (status, On::Reject) if status.is_gone() => (status, vec![]),
            (_, On::Reject) => (Self::Rejected, vec![Do::DeleteConnectionAfterDelivery]),
            (Self::Removed | Self::Left | Self::Rejected | Self::GroupDeleted, On::DeleteGroup) => {
                (self, vec![])
            }
            (_, On::DeleteGroup) => (Self::GroupDeleted, vec![Do::DeleteConnectionAfterDelivery]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUSES: [MemberStatus; 8] = [
        MemberStatus::Unknown,
        MemberStatus::Introduced,
        MemberStatus::Accepted,
        MemberStatus::Connected,
        MemberStatus::Creator,
        MemberStatus::Left,
        MemberStatus::Removed,
        MemberStatus::GroupDeleted,
    ];

    const EVENTS: [MemberEvent; 9] = [
        MemberEvent::Heard,
        MemberEvent::Join { listed: false },
        MemberEvent::Join { listed: true },
        MemberEvent::Connected,
        MemberEvent::ConnectionGone,
        MemberEvent::Leave,
        MemberEvent::Remove,
        MemberEvent::Reject,
        MemberEvent::DeleteGroup,
    ];

    #[test]
    fn every_pair_of_status_and_event() {
        let mut table = String::new();
        for status in STATUSES {
            for event in EVENTS {
                let outcome = match status.apply(event) {
                    Err(error) => format!("- {error}"),
                    Ok((next, effects)) if next == status && effects.is_empty() => "=".to_owned(),
                    Ok((next, effects)) => format!("{next:?} {effects:?}"),
                };
                table.push_str(&format!("{status:?} + {event:?}: {outcome}\n"));
            }
        }
        let expected = include_str!("../../tests/vectors/states/membership.txt");
        for (line, wanted) in table.lines().zip(expected.lines()) {
            assert_eq!(line, wanted);
        }
        assert_eq!(table.len(), expected.len());
    }

    #[test]
    fn who_is_gone_is_not_current() {
        for status in STATUSES {
            assert!(!(status.is_current() && status.is_gone()), "{status}");
        }
        assert_eq!(MemberStatus::from_word("intro-inv"), MemberStatus::IntroInvited);
        assert_eq!(MemberStatus::from_word("later"), MemberStatus::Unknown);
    }

    #[test]
    fn who_was_removed_needs_an_owners_word_to_come_back() {
        assert_eq!(
            MemberStatus::Removed.apply(MemberEvent::Join { listed: false }),
            Err(JoinRefused::WasRemoved)
        );
        assert!(MemberStatus::Removed.apply(MemberEvent::Join { listed: true }).is_ok());
        assert!(MemberStatus::Left.apply(MemberEvent::Join { listed: false }).is_ok());
    }
}
