//! What a reader remembers of changes that went ahead of bulk: how their subjects stood, until the change comes in its
//! turn. Pure.
//!
//! A post that its author had a right to, and that the relay took before the change, comes after the copy that goes ahead.
//! It is judged as the relay had to judge it. A relay that keeps the change's second copy back gains nothing that it
//! would not gain by keeping the change back; and after a day the change counts for whatever comes.

use serde::{Deserialize, Serialize};

use crate::group::identity::{MemberId, MemberRole};
use crate::group::msg_id::SharedMessageId;
use crate::timestamp::Timestamp;

/// Changes that are remembered of one relay; of more, the oldest are let go.
pub const OVERTAKEN_MAX: usize = 64;
/// How long a change is remembered, in milliseconds.
pub const OVERTAKEN_MS_MAX: i64 = 86_400_000;

/// Changes of one relay that came ahead and not in their turn yet, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Overtaken(Vec<Former>);

/// How somebody stood before a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Former {
    /// The change.
    pub change: SharedMessageId,
    /// Whom it is about.
    pub member: MemberId,
    /// The role before it.
    pub role: MemberRole,
    /// Whether blocked before it.
    pub blocked: bool,
    /// Whether all that the member has posted goes with it.
    pub erases: bool,
    /// When it came, in milliseconds since 1970.
    pub came_ms: i64,
}

impl Overtaken {
    /// Remembers how somebody stood.
    pub fn note(&mut self, former: Former) {
        self.0.push(former);
        let surplus = self.0.len().saturating_sub(OVERTAKEN_MAX);
        self.0.drain(..surplus);
    }

    /// A change came in its turn.
    pub fn arrived(&mut self, change: &SharedMessageId) -> Option<Former> {
        let place = self.0.iter().position(|former| former.change == *change)?;
        Some(self.0.remove(place))
    }

    /// How a member stood before all changes that have not come in their turn: the role, and whether blocked.
    #[must_use]
    pub fn standing(&self, member: &MemberId, now: Timestamp) -> Option<(MemberRole, bool)> {
        let counts = |former: &&Former| {
            former.member == *member && now.0.saturating_sub(former.came_ms) < OVERTAKEN_MS_MAX
        };
        self.0.iter().find(counts).map(|former| (former.role, former.blocked))
    }

    /// Whether nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(number: u8) -> SharedMessageId {
        SharedMessageId::new([number]).unwrap()
    }

    fn ann() -> MemberId {
        MemberId::new([1; 12]).unwrap()
    }

    fn former(number: u8, role: MemberRole) -> Former {
        Former { change: change(number), member: ann(), role, blocked: false, erases: false, came_ms: 0 }
    }

    #[test]
    fn the_earliest_standing_counts_until_its_change_comes_in_turn() {
        let mut overtaken = Overtaken::default();
        overtaken.note(former(1, MemberRole::Admin));
        overtaken.note(former(2, MemberRole::Member));
        let role = |overtaken: &Overtaken| overtaken.standing(&ann(), Timestamp(5)).map(|(role, _)| role);
        assert_eq!(role(&overtaken), Some(MemberRole::Admin));
        assert_eq!(overtaken.arrived(&change(1)), Some(former(1, MemberRole::Admin)));
        assert_eq!(overtaken.arrived(&change(1)), None);
        assert_eq!(role(&overtaken), Some(MemberRole::Member));
        assert!(overtaken.arrived(&change(2)).is_some());
        assert!(overtaken.is_empty());
        assert_eq!(role(&overtaken), None);
    }

    #[test]
    fn others_and_old_changes_do_not_count() {
        let mut overtaken = Overtaken::default();
        overtaken.note(former(1, MemberRole::Admin));
        assert_eq!(overtaken.standing(&MemberId::new([2; 12]).unwrap(), Timestamp(0)), None);
        assert!(overtaken.standing(&ann(), Timestamp(OVERTAKEN_MS_MAX - 1)).is_some());
        assert_eq!(overtaken.standing(&ann(), Timestamp(OVERTAKEN_MS_MAX)), None);
    }

    #[test]
    fn only_so_many_are_remembered() {
        let mut overtaken = Overtaken::default();
        for number in 0..=OVERTAKEN_MAX {
            overtaken.note(former(u8::try_from(number).unwrap(), MemberRole::Member));
        }
        assert_eq!(overtaken.arrived(&change(0)), None);
        assert!(overtaken.arrived(&change(1)).is_some());
    }
}
