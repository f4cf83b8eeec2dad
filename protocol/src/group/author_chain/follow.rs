//! The reading side of [`author_chain`](super): what a member makes of each statement of one author in one epoch, by
//! whichever relay it came.
//!
//! ```text
//!            recalled            said
//! Unseen ──▶ Recalled ────────▶ Followed ──contradiction──▶ Forked
//!    └──────────said──────────────▲  │ next: nothing · beyond: gap · after later ones: late
//!                                 └──┘
//! ```
//!
//! *Recalled* is what was said before we came, out of a relay's history, which holds posts and not all statements: it
//! claims nothing about what lies between. The first statement said to us is the *base*; history may fill in below it.
//! What was said to us and comes after it from below it is late: two relays let us in at two moments.

use serde::{Deserialize, Serialize};

use super::{ChainLink, Digest};

/// Ranges of missing numbers that are kept for one author and epoch; of more, the lowest are let go.
pub const MISSING_RANGES_MAX: usize = 64;

/// What is known of one author's chain in one epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthorChain {
    /// Nothing came.
    Unseen {
        /// Whether we follow another epoch of this author: then this one began while we listened, at number 1.
        restarts: bool,
    },
    /// Only what was said before we came.
    Recalled,
    /// From the base on every number either came or is missing.
    Followed(Followed),
    /// The author has signed two statements that cannot both be in one chain. Nothing more is claimed.
    Forked(Followed),
}

/// The numbers that came, from the base on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Followed {
    base: u64,
    head: u64,
    /// In order, apart from each other, between base and head.
    missing: Vec<Range>,
}

/// Numbers, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// The first.
    pub from: u64,
    /// The last, not below the first.
    pub to: u64,
}

/// A verified statement that we hold, at its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Its digest.
    pub digest: Digest,
    /// What it names as the digest before it.
    pub previous: Option<Digest>,
}

/// What is held around a statement that comes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Neighbours {
    /// At the number before.
    pub before: Option<Held>,
    /// At the same number.
    pub same: Option<Held>,
    /// At the number after.
    pub after: Option<Held>,
}

/// A verified statement comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// It is held already.
    Again,
    /// Said before we came.
    Recalled(u64),
    /// Said to us.
    Said(u64),
    /// It and the statement held at `with` cannot both be in one chain.
    Contradiction {
        /// Its number.
        number: u64,
        /// The number of the other one: the same, or next to it.
        with: u64,
    },
}

/// What a statement shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// All is as it should be, or was told before.
    Nothing,
    /// These numbers were left out.
    Gap(Range),
    /// It came after one that its author made later, whether it was known to be missing or not.
    Late,
    /// The author has begun a new epoch; these numbers of it were left out.
    Restarted(Option<Range>),
    /// The author has signed both this statement and the one held at `with`.
    Forked {
        /// The number of the other one.
        with: u64,
    },
}

/// What arrives, given what is held. `recalled` says that it was said before we came.
#[must_use]
pub fn arrival(link: &ChainLink, digest: &Digest, recalled: bool, held: &Neighbours) -> Arrival {
    let number = link.number();
    let against = |with| Arrival::Contradiction { number, with };
    match (held.same, held.before, held.after) {
        (Some(same), _, _) if same.digest == *digest => Arrival::Again,
        (Some(_), _, _) => against(number),
        (None, Some(before), _) if link.previous() != Some(&before.digest) => {
            against(number.saturating_sub(1))
        }
        (None, _, Some(after)) if after.previous != Some(*digest) => against(number.saturating_add(1)),
        (None, _, _) if recalled => Arrival::Recalled(number),
        (None, _, _) => Arrival::Said(number),
    }
}

impl AuthorChain {
    /// The chain after a statement, and what the statement shows.
    #[must_use]
    pub fn apply(self, arrival: Arrival) -> (Self, Told) {
        match (self, arrival) {
            (state, Arrival::Again) => (state, Told::Nothing),

            (Self::Unseen { .. } | Self::Recalled, Arrival::Recalled(_)) => (Self::Recalled, Told::Nothing),
            (Self::Unseen { restarts: false } | Self::Recalled, Arrival::Said(number)) => {
                (Self::Followed(Followed::from(number)), Told::Nothing)
            }
            (Self::Unseen { restarts: true }, Arrival::Said(number)) => {
                let mut followed = Followed::from(1);
                let gap = followed.restart_at(number);
                (Self::Followed(followed), Told::Restarted(gap))
            }
            (Self::Unseen { .. } | Self::Recalled, Arrival::Contradiction { number, with }) => {
                (Self::Forked(Followed::from(number)), Told::Forked { with })
            }

            (Self::Followed(mut followed), Arrival::Recalled(number)) => {
                let told = followed.take(number).unwrap_or(Told::Nothing);
                (Self::Followed(followed), told)
            }
            (Self::Followed(mut followed), Arrival::Said(number)) => {
                let told = followed.take(number).unwrap_or(Told::Late);
                (Self::Followed(followed), told)
            }
            (Self::Followed(mut followed), Arrival::Contradiction { number, with }) => {
                let _: Option<Told> = followed.take(number);
                (Self::Forked(followed), Told::Forked { with })
            }

            (
                Self::Forked(mut followed),
                Arrival::Recalled(number) | Arrival::Said(number) | Arrival::Contradiction { number, .. },
            ) => {
                let _: Option<Told> = followed.take(number);
                (Self::Forked(followed), Told::Nothing)
            }
        }
    }

    /// The numbers that are missing, lowest first. Of a forked chain nothing is claimed.
    #[must_use]
    pub fn missing(&self) -> &[Range] {
        match self {
            Self::Followed(followed) => &followed.missing,
            Self::Unseen { .. } | Self::Recalled | Self::Forked(_) => &[],
        }
    }

    /// Whether a number is not below the first that was said to us.
    #[must_use]
    pub const fn covers(&self, number: u64) -> bool {
        match self {
            Self::Followed(followed) | Self::Forked(followed) => number >= followed.base,
            Self::Unseen { .. } | Self::Recalled => false,
        }
    }

    /// Whether it was said to us, so that another epoch of the same author began while we listened.
    #[must_use]
    pub const fn is_followed(&self) -> bool {
        match self {
            Self::Followed(_) | Self::Forked(_) => true,
            Self::Unseen { .. } | Self::Recalled => false,
        }
    }
}

impl Followed {
    /// The base alone.
    const fn from(number: u64) -> Self {
        Self { base: number, head: number, missing: Vec::new() }
    }

    /// Number 1 is the base of an epoch that began while we listened, whether it came or not.
    fn restart_at(&mut self, number: u64) -> Option<Range> {
        self.head = number;
        let gap = (number > 1).then(|| Range { from: 1, to: number.saturating_sub(1) });
        self.missing.extend(gap);
        gap
    }

    /// What a number shows; nothing if it lies below the base, or in a range that was let go.
    fn take(&mut self, number: u64) -> Option<Told> {
        if number > self.head {
            let gap = Range { from: self.head.saturating_add(1), to: number.saturating_sub(1) };
            self.head = number;
            if gap.from > gap.to {
                return Some(Told::Nothing);
            }
            self.missing.push(gap);
            self.bound();
            return Some(Told::Gap(gap));
        }
        let place = self.missing.iter().position(|range| range.holds(number))?;
        let range = self.missing.remove(place);
        let above = Range { from: number.saturating_add(1), to: range.to };
        let below = Range { from: range.from, to: number.saturating_sub(1) };
        for part in [above, below] {
            if part.from <= part.to {
                self.missing.insert(place, part);
            }
        }
        self.bound();
        Some(Told::Late)
    }

    fn bound(&mut self) {
        if self.missing.len() > MISSING_RANGES_MAX
            && let Some(lowest) = self.missing.first().copied()
        {
            self.missing.remove(0);
            self.base = lowest.to.saturating_add(1);
        }
    }
}

impl Range {
    /// Whether a number is in it.
    #[must_use]
    pub const fn holds(&self, number: u64) -> bool {
        self.from <= number && number <= self.to
    }

    /// How many numbers it has.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.to.saturating_sub(self.from).saturating_add(1)
    }
}
