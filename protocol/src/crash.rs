//! Named points at which a test build aborts the process, as `kill -9` would, to prove that restarts converge.
//!
//! ```text
//! CONCLAVE_CRASH_POINT=relay.task.stored      abort when this point is reached
//! CONCLAVE_CRASH_POINT=relay.task.stored:3    abort when it is reached for the third time
//! CONCLAVE_CRASH_POINT=one.point,another      abort at each of them
//! CONCLAVE_CRASH_SPENT=/path/to/file          append the point before aborting, and abort at none that stands there
//! CONCLAVE_CRASH_TRACE=/path/to/file          append the name of each point when it is first reached
//! ```
//!
//! Each crate lists its names once, as `CRASH_POINTS` at its root, so that a harness can try them all:
//!
//! ```
//! pub const CRASH_POINTS: &[&str] = &["relay.task.stored"];
//! # fn main() {
//! protocol::crash_point!("relay.task.stored");
//! # }
//! ```
//!
//! A name that is not in its crate's list does not compile. Without the feature `crash-points` nothing remains of
//! a point but that check.

/// Whether `list` holds `name`; evaluated when [`crash_point!`](crate::crash_point) is compiled.
#[must_use]
pub const fn is_declared(list: &[&str], name: &str) -> bool {
    let mut left = list;
    while let [first, rest @ ..] = left {
        if same(first.as_bytes(), name.as_bytes()) {
            return true;
        }
        left = rest;
    }
    false
}

/// `==` on slices is not available in constants.
const fn same(mut left: &[u8], mut right: &[u8]) -> bool {
    loop {
        match (left, right) {
            ([], []) => return true,
            ([a, left_rest @ ..], [b, right_rest @ ..]) if *a == *b => {
                (left, right) = (left_rest, right_rest)
            }
            _ => return false,
        }
    }
}

/// Marks a step after which a crash must be survived; see [`crash`](mod@crate::crash).
#[allow(clippy::crate_in_macro_def, reason = "the list is the calling crate's")]
#[cfg(feature = "crash-points")]
#[macro_export]
macro_rules! crash_point {
    ($name:literal) => {{
        const { assert!($crate::crash::is_declared(crate::CRASH_POINTS, $name), "add this name to CRASH_POINTS") };
        $crate::crash::reached([$name]);
    }};
}

/// Marks a step after which a crash must be survived; see [`crash`](mod@crate::crash).
#[allow(clippy::crate_in_macro_def, reason = "the list is the calling crate's")]
#[cfg(not(feature = "crash-points"))]
#[macro_export]
macro_rules! crash_point {
    ($name:literal) => {
        const { assert!($crate::crash::is_declared(crate::CRASH_POINTS, $name), "add this name to CRASH_POINTS") }
    };
}

#[cfg(feature = "crash-points")]
pub use armed::reached;

/// Marks the points of steps that one commit made durable: what is reached at once is traced whole, and a crash there is
/// spent for all of them.
#[cfg(not(feature = "crash-points"))]
pub fn reached(_names: impl IntoIterator<Item = &'static str>) {}

#[cfg(feature = "crash-points")]
mod armed {
    use std::collections::{BTreeMap, BTreeSet};
    use std::ffi::OsStr;
    use std::io::Write as _;
    use std::sync::{Mutex, OnceLock, PoisonError};

    /// Marks points that are reached at once, each of them declared: counts the visits and writes the trace, then aborts if
    /// the environment says so, which is spent for all of them. Called by `crash_point!` with one.
    pub fn reached(names: impl IntoIterator<Item = &'static str>) {
        static VISITS: Mutex<BTreeMap<&str, u64>> = Mutex::new(BTreeMap::new());
        static TARGETS: OnceLock<BTreeMap<String, u64>> = OnceLock::new();

        let armed = || std::env::var("CONCLAVE_CRASH_POINT").map(|text| targets(&text)).unwrap_or_default();
        let targets = TARGETS.get_or_init(armed);
        let mut at_target = BTreeSet::new();
        for name in names {
            let visit = {
                let mut visits = VISITS.lock().unwrap_or_else(PoisonError::into_inner);
                let visit = visits.entry(name).or_default();
                *visit = visit.saturating_add(1);
                *visit
            };
            if visit == 1 {
                trace(name);
            }
            if targets.get(name) == Some(&visit) {
                at_target.insert(name);
            }
        }
        let fresh = at_target.into_iter().filter(|name| spend(name)).count();
        if fresh > 0 {
            std::process::abort();
        }
    }

    /// Names with visits, joined by commas.
    pub(super) fn targets(text: &str) -> BTreeMap<String, u64> {
        text.split(',').map(target).collect()
    }

    /// Whether the point was not spent by an earlier run; it is from now on.
    fn spend(name: &str) -> bool {
        let Some(path) = std::env::var_os("CONCLAVE_CRASH_SPENT") else { return true };
        let spent = std::fs::read_to_string(&path).unwrap_or_default();
        let is_fresh = spent.lines().all(|line| line != name);
        if is_fresh {
            append(&path, name);
        }
        is_fresh
    }

    /// `name` or `name:n`.
    fn target(text: &str) -> (String, u64) {
        let counted = text.rsplit_once(':').and_then(|(name, at)| Some((name, at.parse().ok()?)));
        match counted {
            Some((name, at)) => (name.to_owned(), at),
            None => (text.to_owned(), 1),
        }
    }

    fn trace(name: &str) {
        if let Some(path) = std::env::var_os("CONCLAVE_CRASH_TRACE") {
            append(&path, name);
        }
    }

    /// A trace that cannot be written must not pass for a point that was not reached.
    fn append(path: &OsStr, name: &str) {
        let written = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .and_then(|mut file| file.write_all(format!("{name}\n").as_bytes()));
        if let Err(error) = written {
            eprintln!("Unable to append to {}: {error}", path.display());
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_names_are_declared() {
        let list = &["a.b", "a.bc"];
        assert!(is_declared(list, "a.bc"));
        assert!(!is_declared(list, "a.") && !is_declared(list, "a.bcd") && !is_declared(&[], "a.b"));
    }

    #[cfg(feature = "crash-points")]
    #[test]
    fn targets_may_be_many_and_name_the_visit() {
        let expected = [("a.b".to_owned(), 1), ("a.c".to_owned(), 3)];
        assert_eq!(armed::targets("a.c:3,a.b"), expected.into());
    }
}
