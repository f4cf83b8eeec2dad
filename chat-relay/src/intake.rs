//! What bounds the messages that are taken, ahead of anything being stored.
//!
//! ```text
//! message ─▶ the member's bucket ─▶ the group's bucket ─▶ the owner's day ─▶ everybody's day ─▶ taken
//!                  └──────────────────────┴──────────────────┴──────────────────┴─▶ refused, counted
//! ```
//!
//! Buckets hold a minute's worth and are kept in memory: after a restart they are full. Days are kept in the store.
//! Owners are not bound by buckets.

use std::collections::BTreeMap;

use protocol::group::identity::MemberRole;
use protocol::net::engine::Fatal;
use protocol::timestamp::Timestamp;

use crate::operation::{Quota, Rules};
use crate::store::RelayStore;
use crate::store::operation::Taken;
use crate::store::records::{GroupId, Member, MemberNumber};
use crate::turn::Turn;

/// Buckets that are kept at most, about 100 bytes each; beyond them those that are full again go first.
const BUCKETS_MAX: usize = 100_000;
/// A bucket is full again after this.
const MINUTE_MS: i64 = 60_000;
/// Days begin at midnight UTC.
const DAY_MS: i64 = 86_400_000;

/// Why a message is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooMuch {
    /// One member, too fast.
    #[error("the member sends faster than this relay allows")]
    MemberPace,
    /// All members of a group, too fast.
    #[error("the group's members send faster than this relay allows")]
    GroupPace,
    /// The day's messages or bytes of the owner are used up.
    #[error("the owner's quota of messages for today is used up")]
    OwnerDay,
    /// The day's messages or bytes of everybody are used up.
    #[error("this relay's quota of messages for today is used up")]
    TotalDay,
}

impl TooMuch {
    /// The stable word for programs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::MemberPace => "member_pace",
            Self::GroupPace => "group_pace",
            Self::OwnerDay => "owner_day",
            Self::TotalDay => "total_day",
        }
    }
}

/// Who is kept to a pace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Paced {
    Member(MemberNumber),
    Questions(MemberNumber),
    Group(GroupId),
    Joins(GroupId),
    Relays(GroupId),
}

/// What is left in a bucket, in messages times the milliseconds of a minute: no fraction is lost, however often it is looked
/// at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bucket {
    left: u64,
    at: Timestamp,
}

/// The buckets.
#[derive(Debug, Default)]
pub struct Intake {
    buckets: BTreeMap<Paced, Bucket>,
}

impl Intake {
    /// Takes one from a bucket that holds `per_minute`; says whether there was one.
    fn take(&mut self, who: Paced, per_minute: Option<u64>, now: Timestamp) -> bool {
        let Some(per_minute) = per_minute else { return true };
        let minute = MINUTE_MS.unsigned_abs();
        let capacity = per_minute.saturating_mul(minute);
        if self.buckets.len() >= BUCKETS_MAX && !self.buckets.contains_key(&who) {
            self.buckets.retain(|_, bucket| now.0.saturating_sub(bucket.at.0) < MINUTE_MS);
            if self.buckets.len() >= BUCKETS_MAX {
                self.buckets.clear();
            }
        }
        let bucket = self.buckets.entry(who).or_insert(Bucket { left: capacity, at: now });
        let elapsed = now.0.saturating_sub(bucket.at.0).clamp(0, MINUTE_MS).unsigned_abs();
        let refilled = per_minute.saturating_mul(elapsed);
        let left = bucket.left.saturating_add(refilled).min(capacity);
        *bucket = Bucket { left, at: bucket.at.max(now) };
        match left.checked_sub(minute) {
            Some(left) => {
                bucket.left = left;
                true
            }
            None => false,
        }
    }

    /// Whether one more request to join a group keeps the pace: whatever it costs to look at it, this bounds how often.
    pub fn takes_join(&mut self, rules: &Rules, group: GroupId, now: Timestamp) -> bool {
        self.take(Paced::Joins(group), rules.quota(Quota::GroupJoinsPerMinute), now)
    }

    /// Whether one more message of a member keeps the pace.
    fn keeps_pace(
        &mut self,
        rules: &Rules,
        group: GroupId,
        member: MemberNumber,
        now: Timestamp,
    ) -> Result<(), TooMuch> {
        if !self.take(Paced::Member(member), rules.quota(Quota::MemberMessagesPerMinute), now) {
            return Err(TooMuch::MemberPace);
        }
        if !self.take(Paced::Group(group), rules.quota(Quota::GroupMessagesPerMinute), now) {
            return Err(TooMuch::GroupPace);
        }
        Ok(())
    }
}

/// Whether so much more fits into a day.
fn fits(taken: Taken, more: Taken, messages_max: Option<u64>, bytes_max: Option<u64>) -> bool {
    messages_max.is_none_or(|max| taken.messages.saturating_add(more.messages) <= max)
        && bytes_max.is_none_or(|max| taken.bytes.saturating_add(more.bytes) <= max)
}

/// Whether a member asks no faster than it may send. What it asks leaves it as many messages as before.
pub fn may_ask<S: RelayStore>(turn: &mut Turn<'_, '_, S>, member: &Member) -> bool {
    let now = turn.now();
    let per_minute = turn.operation.rules.quota(Quota::MemberMessagesPerMinute);
    turn.operation.intake.take(Paced::Questions(member.number), per_minute, now)
}

/// Whether the other relays of a group ask no faster than one member may.
pub fn may_relays_ask<S: RelayStore>(turn: &mut Turn<'_, '_, S>, group: GroupId) -> bool {
    let now = turn.now();
    let per_minute = turn.operation.rules.quota(Quota::MemberMessagesPerMinute);
    turn.operation.intake.take(Paced::Relays(group), per_minute, now)
}

/// Takes a message of so many bytes into account, or says why it is not taken.
///
/// # Errors
/// When the store fails.
pub fn admit<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    author: &Member,
    bytes: usize,
) -> Result<Result<(), TooMuch>, Fatal> {
    let now = turn.now();
    let (rules, intake) = (&turn.operation.rules, &mut turn.operation.intake);
    if author.role < MemberRole::Owner
        && let Err(too_much) = intake.keeps_pace(rules, author.group, author.number, now)
    {
        return Ok(Err(too_much));
    }
    let quota = |messages, bytes| (rules.quota(messages), rules.quota(bytes));
    let owners = quota(Quota::OwnerMessagesPerDay, Quota::OwnerBytesPerDay);
    let total = quota(Quota::TotalMessagesPerDay, Quota::TotalBytesPerDay);
    let more = Taken { messages: 1, bytes: u64::try_from(bytes).unwrap_or(u64::MAX) };
    let day = day(now);
    // Counted only where there is a bound: no other message costs a write.
    let mut counted = Vec::new();
    if owners != (None, None)
        && let Some(account) = turn.store.account(author.group)?
    {
        if !fits(turn.store.taken(&account, day)?, more, owners.0, owners.1) {
            return Ok(Err(TooMuch::OwnerDay));
        }
        counted.push(account);
    }
    if total != (None, None) {
        if !fits(turn.store.taken("", day)?, more, total.0, total.1) {
            return Ok(Err(TooMuch::TotalDay));
        }
        counted.push(String::new());
    }
    for account in counted {
        turn.store.add_taken(&account, day, more)?;
    }
    Ok(Ok(()))
}

/// The day of a moment, in UTC.
pub(crate) fn day(moment: Timestamp) -> i64 {
    moment.0.div_euclid(DAY_MS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Limits;

    const ANN: MemberNumber = MemberNumber(1);
    const BEN: MemberNumber = MemberNumber(2);
    const GROUP: GroupId = GroupId(1);

    fn rules(member: u32, group: u32) -> Rules {
        let limits = Limits {
            member_messages_per_minute: member,
            group_messages_per_minute: group,
            ..Limits::default()
        };
        Rules::new(&limits, &[])
    }

    #[test]
    fn a_minutes_worth_at_once_and_then_the_pace() {
        let (mut intake, rules) = (Intake::default(), rules(6, 0));
        let mut send = |ms, who| intake.keeps_pace(&rules, GROUP, who, Timestamp(ms));
        for _ in 0..6 {
            assert_eq!(send(0, ANN), Ok(()));
        }
        assert_eq!(send(0, ANN), Err(TooMuch::MemberPace));
        assert_eq!(send(0, BEN), Ok(()), "others have buckets of their own");
        assert_eq!(send(9_999, ANN), Err(TooMuch::MemberPace));
        assert_eq!(send(10_000, ANN), Ok(()));
        assert_eq!(send(10_000, ANN), Err(TooMuch::MemberPace));
        assert_eq!(send(5_000, ANN), Err(TooMuch::MemberPace), "a clock that is set back gives nothing");
    }

    #[test]
    fn a_group_has_a_pace_of_its_own() {
        let (mut intake, rules) = (Intake::default(), rules(0, 2));
        let mut send = |who| intake.keeps_pace(&rules, GROUP, who, Timestamp(0));
        assert_eq!((send(ANN), send(BEN), send(ANN)), (Ok(()), Ok(()), Err(TooMuch::GroupPace)));
    }

    #[test]
    fn requests_to_join_have_a_pace_of_each_group() {
        let limits = Limits { group_joins_per_minute: 2, ..Limits::default() };
        let (mut intake, rules) = (Intake::default(), Rules::new(&limits, &[]));
        let mut join = |group, ms| intake.takes_join(&rules, GroupId(group), Timestamp(ms));
        assert_eq!([join(1, 0), join(1, 0), join(1, 0), join(2, 0)], [true, true, false, true]);
        assert_eq!([join(1, 29_999), join(1, 30_000)], [false, true]);
    }

    #[test]
    fn days_are_bounded_by_messages_and_by_bytes() {
        let (taken, more) = (Taken { messages: 2, bytes: 20 }, Taken { messages: 1, bytes: 10 });
        assert!(fits(taken, more, None, None) && fits(taken, more, Some(3), Some(30)));
        assert!(!fits(taken, more, Some(2), None) && !fits(taken, more, None, Some(29)));
    }
}
