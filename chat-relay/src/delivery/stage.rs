//! How one member is served. Pure.
//!
//! ```text
//!        ┌────────────── the server has it ──────────────┐
//!        ▼                                               │
//!      Free ──round: all that it has not fits one body──▶ Busy ──round comes by──▶ Passed ◀──┐
//!        │                                                 │ given up                │       │ more is left
//!        │                                                 ▼                         │ has it, or given up
//!        │                                    ┌──────────▶ Due ◀─────────────────────┘       │
//!        │ cannot be written to               │ can be written to again  └──served───────────┘
//!        └─────────────────▶ Held ────────────┘
//! ```
//!
//! Whoever is not where the stream ends is thus in the present or next round (free), or has something on its way whose
//! outcome makes it due, or is due, or held.

/// Where a member stands between two steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Nothing is on its way; rounds serve it.
    Free,
    /// Something is on its way, and rounds have not missed it since.
    Busy,
    /// Something is on its way, and more is left than the next round brings.
    Passed,
    /// To be served besides the rounds.
    Due,
    /// Its connection cannot encrypt now.
    Held,
}

/// What happens to a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StageEvent {
    /// A round comes to it, and something went by while it was busy.
    RoundPassed,
    /// An item was handed to the agent.
    Served {
        /// Whether it reaches the end of the stream.
        all: bool,
    },
    /// There was nothing for it up to the end of the stream.
    NothingLeft,
    /// The agent did not take an item.
    Unwritable,
    /// Its server has the item.
    Taken {
        /// Whether there is more in the stream.
        behind: bool,
    },
    /// The item was given up: it is to be made anew.
    GivenUp,
    /// The connection may take items again.
    Recovered,
}

const NUMBERS: [(i64, Stage); 5] =
    [(0, Stage::Free), (1, Stage::Busy), (2, Stage::Passed), (3, Stage::Due), (4, Stage::Held)];

impl Stage {
    /// Its number in the database.
    #[must_use]
    pub const fn number(self) -> i64 {
        match self {
            Self::Free => 0,
            Self::Busy => 1,
            Self::Passed => 2,
            Self::Due => 3,
            Self::Held => 4,
        }
    }

    /// Reads [`Self::number`].
    #[must_use]
    pub fn from_number(number: i64) -> Option<Self> {
        NUMBERS.iter().find(|(known, _)| *known == number).map(|(_, stage)| *stage)
    }

    /// The next stage; the same when the event has no place here.
    #[must_use]
    pub const fn apply(self, event: StageEvent) -> Self {
        match (self, event) {
            (Self::Busy, StageEvent::RoundPassed) => Self::Passed,
            (Self::Free | Self::Due, StageEvent::Served { all: true }) => Self::Busy,
            (Self::Free | Self::Due, StageEvent::Served { all: false }) => Self::Passed,
            (Self::Free | Self::Due, StageEvent::NothingLeft) => Self::Free,
            (Self::Free | Self::Due, StageEvent::Unwritable) => Self::Held,
            (Self::Busy, StageEvent::Taken { .. }) | (Self::Passed, StageEvent::Taken { behind: false }) => {
                Self::Free
            }
            (Self::Passed, StageEvent::Taken { behind: true })
            | (Self::Busy | Self::Passed, StageEvent::GivenUp)
            | (Self::Held, StageEvent::Recovered) => Self::Due,
            (Self::Free | Self::Passed | Self::Due | Self::Held, StageEvent::RoundPassed)
            | (
                Self::Busy | Self::Passed | Self::Held,
                StageEvent::Served { .. } | StageEvent::NothingLeft | StageEvent::Unwritable,
            )
            | (Self::Free | Self::Due | Self::Held, StageEvent::Taken { .. } | StageEvent::GivenUp)
            | (Self::Free | Self::Busy | Self::Passed | Self::Due, StageEvent::Recovered) => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: [StageEvent; 9] = [
        StageEvent::RoundPassed,
        StageEvent::Served { all: true },
        StageEvent::Served { all: false },
        StageEvent::NothingLeft,
        StageEvent::Unwritable,
        StageEvent::Taken { behind: true },
        StageEvent::Taken { behind: false },
        StageEvent::GivenUp,
        StageEvent::Recovered,
    ];

    /// A row for each stage, a column for each event.
    #[test]
    fn every_stage_and_event() {
        use Stage::{Busy, Due, Free, Held, Passed};
        let table = [
            (Free, [Free, Busy, Passed, Free, Held, Free, Free, Free, Free]),
            (Busy, [Passed, Busy, Busy, Busy, Busy, Free, Free, Due, Busy]),
            (Passed, [Passed, Passed, Passed, Passed, Passed, Due, Free, Due, Passed]),
            (Due, [Due, Busy, Passed, Free, Held, Due, Due, Due, Due]),
            (Held, [Held, Held, Held, Held, Held, Held, Held, Held, Due]),
        ];
        for (stage, row) in table {
            for (event, expected) in EVENTS.into_iter().zip(row) {
                assert_eq!(stage.apply(event), expected, "{stage:?} {event:?}");
            }
        }
    }

    #[test]
    fn stages_read_back() {
        for (number, stage) in NUMBERS {
            assert_eq!((stage.number(), Stage::from_number(number)), (number, Some(stage)));
        }
        assert_eq!(Stage::from_number(5), None);
    }
}
