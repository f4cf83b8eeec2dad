//! Members: one sealed record each. Owners come from the group link, roles and keys from the roster, names from
//! relays, so that a name proves nothing.

use protocol::group::identity::{MemberId, MemberKey, MemberRole};
use protocol::group::profile::Profile;
use protocol::group::ruling::Ruling;
use rusqlite::params;
use serde::{Deserialize, Serialize};

use super::group::GroupId;
use super::{Store, StoreError};

const COLUMN: &str = "members.sealed";

/// A member as we know it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Member {
    /// The profile, when somebody told it.
    pub(crate) profile: Option<Profile>,
    /// The key, pinned at first sight.
    pub(crate) key: Option<MemberKey>,
    /// The role.
    pub(crate) role: MemberRole,
    /// How it stands.
    pub(crate) status: MemberStatus,
    /// Blocked for everybody.
    pub(crate) blocked: bool,
    /// The newest that was said about that.
    #[serde(default)]
    pub(crate) restriction: Option<Ruling>,
    /// The newest that was said about its role.
    #[serde(default)]
    pub(crate) appointment: Option<Ruling>,
    /// How it was removed.
    #[serde(default)]
    pub(crate) removal: Option<Ruling>,
    /// What we decided when it knocked.
    #[serde(default)]
    pub(crate) decision: Option<Decision>,
}

/// A moderator's word about somebody who knocks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Decision {
    /// Let in.
    Accepted,
    /// Not let in.
    Rejected {
        /// Why, as the joiner reads it.
        reason: String,
    },
}

/// How a member stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MemberStatus {
    /// In the group.
    Active,
    /// Went.
    Left,
    /// Was removed.
    Removed,
    /// Waits for a moderator.
    Knocking,
    /// Was not let in.
    Rejected,
}

impl MemberStatus {
    /// The word that people and scripts see.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Left => "left",
            Self::Removed => "removed",
            Self::Knocking => "pending_review",
            Self::Rejected => "rejected",
        }
    }
}

impl Member {
    /// Somebody of whom only the role is known.
    pub(crate) fn with_role(role: MemberRole) -> Self {
        Self {
            profile: None,
            key: None,
            role,
            status: MemberStatus::Active,
            blocked: false,
            restriction: None,
            appointment: None,
            removal: None,
            decision: None,
        }
    }

    /// Blocked for everybody, or no longer, unless something newer was said about it.
    pub(crate) fn restrict(&mut self, blocked: bool, ruling: Ruling) {
        if self.restriction.as_ref().is_none_or(|newest| ruling.counts_over(newest)) {
            self.blocked = blocked;
            self.restriction = Some(ruling);
        }
    }

    /// Has another role, unless something newer was said about it. Says whether it has.
    pub(crate) fn appoint(&mut self, role: MemberRole, ruling: Ruling) -> bool {
        let counts = self.appointment.as_ref().is_none_or(|newest| ruling.counts_over(newest));
        if counts {
            self.role = role;
            self.appointment = Some(ruling);
        }
        counts
    }

    /// What was decided about it and stands, but for what the roster tells.
    pub(crate) fn rulings(&self, joiner_role: MemberRole) -> impl Iterator<Item = &Ruling> {
        let is_beside = self.role.is_beside_roster(joiner_role);
        let [removal, restriction, appointment] = match self.status {
            MemberStatus::Removed => [self.removal.as_ref(), None, None],
            _ => [None, self.restriction.as_ref(), self.appointment.as_ref().filter(|_| is_beside)],
        };
        [removal, restriction, appointment].into_iter().flatten()
    }

    /// What to call the member.
    pub(crate) fn name(&self, id: &MemberId) -> String {
        self.profile.as_ref().map_or_else(|| id.stand_in_name(), |profile| profile.display_name.clone())
    }
}

impl Store {
    /// A member.
    pub(crate) fn member(&self, group: GroupId, id: &MemberId) -> Result<Option<Member>, StoreError> {
        let sql = "SELECT sealed FROM members WHERE group_id = ?1 AND member_id = ?2";
        let sealed: Option<Vec<u8>> = self.one(sql, params![group.0, id.as_bytes()], |row| row.get(0))?;
        sealed.map(|sealed| self.open_record(COLUMN, &sealed)).transpose()
    }

    /// All members, by id.
    pub(crate) fn members(&self, group: GroupId) -> Result<Vec<(MemberId, Member)>, StoreError> {
        let sql = "SELECT member_id, sealed FROM members WHERE group_id = ?1 ORDER BY member_id";
        let rows: Vec<(Vec<u8>, Vec<u8>)> =
            self.all(sql, params![group.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let open =
            |(id, sealed): (Vec<u8>, Vec<u8>)| Ok((MemberId::new(id)?, self.open_record(COLUMN, &sealed)?));
        rows.into_iter().map(open).collect()
    }

    /// Adds or replaces a member.
    pub(crate) fn save_member(
        &mut self,
        group: GroupId,
        id: &MemberId,
        record: &Member,
    ) -> Result<(), StoreError> {
        let sealed = self.seal_record(COLUMN, record)?;
        self.change_one(
            "INSERT INTO members (group_id, member_id, sealed) VALUES (?1, ?2, ?3)
             ON CONFLICT DO UPDATE SET sealed = excluded.sealed",
            params![group.0, id.as_bytes(), sealed],
        )
    }

    /// How many members are known.
    pub(crate) fn count_members(&self, group: GroupId) -> Result<u64, StoreError> {
        self.count("SELECT count(*) FROM members WHERE group_id = ?1", params![group.0])
    }
}

#[cfg(test)]
mod tests {
    use protocol::group::author_chain::{ChainLink, Epoch};
    use protocol::group::event::content::Acknowledge;
    use protocol::group::event::{Event, Message};
    use protocol::group::signed::Statement;
    use protocol::timestamp::Timestamp;

    use super::*;

    fn ruling(number: u64) -> Ruling {
        let link = ChainLink::new(Epoch([1; 12]), number, Some([7; 32])).unwrap();
        let said = Message::new(None, Event::Acknowledge(Acknowledge {})).chained(link).to_json();
        Ruling::new(MemberId::new([1; 12]).unwrap(), Timestamp(0), &Statement::parse(&said).unwrap())
    }

    #[test]
    fn an_older_block_that_comes_after_its_lifting_does_not_block() {
        let mut member = Member::with_role(MemberRole::Member);
        member.restrict(false, ruling(8));
        member.restrict(true, ruling(7));
        assert!(!member.blocked);
        member.restrict(true, ruling(9));
        member.restrict(false, ruling(8));
        assert!(member.blocked);
    }

    #[test]
    fn an_older_role_that_comes_later_is_not_had_and_what_the_roster_does_not_tell_stands() {
        let mut member = Member::with_role(MemberRole::Member);
        assert!(member.appoint(MemberRole::Observer, ruling(8)));
        assert!(!member.appoint(MemberRole::Admin, ruling(7)));
        assert_eq!(member.role, MemberRole::Observer);
        assert_eq!(member.rulings(MemberRole::Member).collect::<Vec<_>>(), [&ruling(8)]);
        assert_eq!(member.rulings(MemberRole::Observer).count(), 0);
        member.restrict(true, ruling(9));
        assert_eq!(member.rulings(MemberRole::Member).collect::<Vec<_>>(), [&ruling(9), &ruling(8)]);
        assert!(member.appoint(MemberRole::Member, ruling(10)));
        assert!(!member.appoint(MemberRole::Observer, ruling(8)));
        assert_eq!(member.rulings(MemberRole::Member).collect::<Vec<_>>(), [&ruling(9)]);
        (member.status, member.removal) = (MemberStatus::Removed, Some(ruling(11)));
        assert_eq!(member.rulings(MemberRole::Member).collect::<Vec<_>>(), [&ruling(11)]);
    }
}
