//! Is our relay link still in the group link? What a read of it decides (channels.md §12, §20). Pure.
//!
//! ```text
//!              listed                              missing twice
//! waiting ─────────────▶ active ◀──── listed ────┐ ──────────────▶ inactive ── for too long, ──▶ given up
//!    └── unlisted for too long ─▶ given up       └─────────────────────┘       or the owner is gone
//! ```
//!
//! One bad read decides nothing: a read that misses our entry is repeated soon, and only the second in a row counts. A
//! read that fails, or that shows older data than was seen before, says nothing about us at all.

use protocol::timestamp::Timestamp;

use crate::config::Limits;

/// What a read of the group link showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sighting {
    /// Our entry is there.
    Listed,
    /// It is not, or the link itself was deleted.
    Missing,
    /// Nothing that can be believed: no answer, a damaged one, or one that was rolled back.
    Unreadable,
}

/// Where the group stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Accepted, not listed yet.
    Waiting,
    /// Listed when last seen.
    Active,
    /// Not listed any more.
    Inactive,
}

/// What is known before a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watch {
    /// Where the group stands.
    pub standing: Standing,
    /// Since when.
    pub since: Timestamp,
    /// Reads in a row that missed our entry.
    pub misses: u32,
    /// Whether the owner's connection works as far as we know.
    pub owner_is_there: bool,
}

/// What changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    Nothing,
    /// The group becomes active.
    Activate,
    /// The group becomes inactive; it may be listed again.
    Deactivate,
    /// The members are told and the group is dropped.
    GiveUp,
}

/// What follows a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// What changes.
    pub change: Change,
    /// Misses in a row by now.
    pub misses: u32,
    /// When to read next.
    pub next_at: Timestamp,
}

/// Misses in a row that are believed.
const MISSES_BELIEVED: u32 = protocol::group::constants::LINK_MISSES_MAX;

/// Decides what a read means. `jitter_ms` was drawn up to the setting.
#[must_use]
pub fn decide(watch: Watch, sighting: Sighting, now: Timestamp, jitter_ms: i64, limits: &Limits) -> Decision {
    let regular = now.plus_ms(limits.watch_interval.ms()).plus_ms(jitter_ms);
    let waited = |ms: i64| now >= watch.since.plus_ms(ms);
    let patience_ends = match watch.standing {
        Standing::Waiting => waited(limits.unlisted_ttl.ms()),
        Standing::Inactive => waited(limits.inactive_ttl.ms()) || !watch.owner_is_there,
        Standing::Active => false,
    };
    let misses = match sighting {
        Sighting::Listed => 0,
        Sighting::Missing => watch.misses.saturating_add(1),
        Sighting::Unreadable => watch.misses,
    };
    let is_believed = misses >= MISSES_BELIEVED;
    let change = match (sighting, watch.standing) {
        (Sighting::Listed, Standing::Active) => Change::Nothing,
        (Sighting::Listed, Standing::Waiting | Standing::Inactive) => Change::Activate,
        // Both were told apart from a bad read before, or never listed at all: only time counts.
        (Sighting::Missing | Sighting::Unreadable, Standing::Waiting | Standing::Inactive)
            if patience_ends =>
        {
            Change::GiveUp
        }
        (Sighting::Missing, Standing::Active) if is_believed => {
            // An owner who is gone and has taken us off the list does not bring us back.
            if watch.owner_is_there { Change::Deactivate } else { Change::GiveUp }
        }
        (Sighting::Missing | Sighting::Unreadable, _) => Change::Nothing,
    };
    let unconfirmed = sighting == Sighting::Missing && watch.standing == Standing::Active && !is_believed;
    let soon = now.plus_ms(limits.watch_confirm_after.ms());
    let next_at = match watch.standing {
        _ if unconfirmed => soon.min(regular),
        // The end of patience is not missed by a whole interval.
        Standing::Waiting => {
            regular.min(watch.since.plus_ms(limits.unlisted_ttl.ms())).max(soon.min(regular))
        }
        Standing::Inactive => {
            regular.min(watch.since.plus_ms(limits.inactive_ttl.ms())).max(soon.min(regular))
        }
        Standing::Active => regular,
    };
    Decision { change, misses, next_at }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000_000);
    const STANDINGS: [Standing; 3] = [Standing::Waiting, Standing::Active, Standing::Inactive];

    fn watch(standing: Standing, misses: u32) -> Watch {
        Watch { standing, since: NOW.plus_ms(-1000), misses, owner_is_there: true }
    }

    fn change(watch: Watch, sighting: Sighting) -> Change {
        decide(watch, sighting, NOW, 0, &Limits::default()).change
    }

    #[test]
    fn one_bad_read_decides_nothing_and_is_confirmed_soon() {
        let limits = Limits::default();
        let first = decide(watch(Standing::Active, 0), Sighting::Missing, NOW, 0, &limits);
        assert_eq!((first.change, first.misses), (Change::Nothing, 1));
        assert_eq!(first.next_at, NOW.plus_ms(limits.watch_confirm_after.ms()));
        let second = decide(watch(Standing::Active, first.misses), Sighting::Missing, NOW, 0, &limits);
        assert_eq!((second.change, second.misses), (Change::Deactivate, 2));
    }

    #[test]
    fn a_good_read_in_between_starts_the_count_again() {
        let decision = decide(watch(Standing::Active, 1), Sighting::Listed, NOW, 0, &Limits::default());
        assert_eq!((decision.change, decision.misses), (Change::Nothing, 0));
    }

    #[test]
    fn an_unreadable_link_says_nothing() {
        for standing in STANDINGS {
            assert_eq!(change(watch(standing, 1), Sighting::Unreadable), Change::Nothing, "{standing:?}");
        }
    }

    #[test]
    fn being_listed_again_brings_the_group_back() {
        assert_eq!(change(watch(Standing::Inactive, 5), Sighting::Listed), Change::Activate);
        assert_eq!(change(watch(Standing::Waiting, 0), Sighting::Listed), Change::Activate);
    }

    #[test]
    fn patience_ends() {
        let limits = Limits::default();
        let old = |standing, ms: i64| Watch { since: NOW.plus_ms(-ms), ..watch(standing, 9) };
        for sighting in [Sighting::Missing, Sighting::Unreadable] {
            let waiting = limits.unlisted_ttl.ms();
            assert_eq!(change(old(Standing::Waiting, waiting), sighting), Change::GiveUp);
            assert_eq!(change(old(Standing::Waiting, waiting - 1), sighting), Change::Nothing);
            let inactive = limits.inactive_ttl.ms();
            assert_eq!(change(old(Standing::Inactive, inactive), sighting), Change::GiveUp);
            assert_eq!(change(old(Standing::Inactive, inactive - 1), sighting), Change::Nothing);
        }
        assert_eq!(change(old(Standing::Active, i64::MAX / 2), Sighting::Unreadable), Change::Nothing);
    }

    #[test]
    fn without_an_owner_nobody_waits() {
        let gone = |standing, misses| Watch { owner_is_there: false, ..watch(standing, misses) };
        assert_eq!(
            change(gone(Standing::Active, 0), Sighting::Missing),
            Change::Nothing,
            "still unconfirmed"
        );
        assert_eq!(change(gone(Standing::Active, 1), Sighting::Missing), Change::GiveUp);
        assert_eq!(change(gone(Standing::Inactive, 2), Sighting::Missing), Change::GiveUp);
        assert_eq!(change(gone(Standing::Active, 1), Sighting::Listed), Change::Nothing);
    }

    #[test]
    fn the_end_of_patience_is_looked_at_in_time() {
        let limits = Limits { inactive_ttl: "1m".parse().unwrap(), ..Limits::default() };
        let decision = decide(watch(Standing::Inactive, 2), Sighting::Missing, NOW, 5000, &limits);
        assert_eq!(decision.next_at, NOW.plus_ms(59_000));
        let active = decide(watch(Standing::Active, 0), Sighting::Listed, NOW, 5000, &limits);
        assert_eq!(active.next_at, NOW.plus_ms(limits.watch_interval.ms() + 5000));
    }
}
