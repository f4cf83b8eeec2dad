//! A member reads a relay's history page by page (docs/protocol.md §5, "History by pages").
//!
//! ```text
//! Unasked ──wanted──▶ Asking ──page, more is there and wanted──▶ Asking ──page, last──▶ Over
//!                        ▲ wanted: asked again from where it was                         │
//!                        └──────────────────────── wanted ───────────────────────────────┘
//! ```
//!
//! The record is stored with the items of each message, and the next request in the same transaction: a crash at any
//! moment loses nothing, and repeats at most what deduplication hides.

use serde::{Deserialize, Serialize};

use super::constants::HISTORY_PAGE_ITEMS_MAX;
use super::event::history::{HistoryGet, HistoryPage, HistoryPosition};

/// How far a member is in one relay's history.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CatchUp {
    /// Nothing was asked of this relay.
    #[default]
    Unasked,
    /// An answer is on its way.
    Asking {
        /// What the answer is about: all that is older.
        before: Option<HistoryPosition>,
        /// How much of it has come: older items begin here.
        reached: Option<HistoryPosition>,
        /// How many more answers are asked for after this one.
        answers_left: u32,
    },
    /// What was wanted has come, or the relay has no more.
    Over,
}

/// What happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CatchUpEvent {
    /// History is wanted, from the newest back, in at most so many answers.
    Wanted {
        /// At least one.
        answers: u32,
    },
    /// A message of an answer came.
    Page(HistoryPage),
}

impl CatchUp {
    /// What follows: the new state, and what to ask now.
    #[must_use]
    pub fn apply(self, event: CatchUpEvent) -> (Self, Option<HistoryGet>) {
        match (self, event) {
            (Self::Unasked | Self::Over, CatchUpEvent::Wanted { answers }) => {
                ask(None, answers.saturating_sub(1))
            }
            // The answer may have been lost on the relay's side, or more is wanted than was.
            (Self::Asking { reached, answers_left, .. }, CatchUpEvent::Wanted { answers }) => {
                ask(reached, answers_left.max(answers.saturating_sub(1)))
            }
            (state @ (Self::Unasked | Self::Over), CatchUpEvent::Page(_)) => (state, None),
            (Self::Asking { before, reached, answers_left }, CatchUpEvent::Page(page)) => {
                if page.before != before {
                    // Of an answer that was asked for before.
                    return (Self::Asking { before, reached, answers_left }, None);
                }
                match (page.last, page.next) {
                    (false, next) => (Self::Asking { before, reached: next.or(reached), answers_left }, None),
                    (true, Some(next)) if answers_left > 0 && Some(&next) != before.as_ref() => {
                        ask(Some(next), answers_left.saturating_sub(1))
                    }
                    (true, _) => (Self::Over, None),
                }
            }
        }
    }
}

fn ask(before: Option<HistoryPosition>, answers_left: u32) -> (CatchUp, Option<HistoryGet>) {
    let get = HistoryGet { before: before.clone(), limit: HISTORY_PAGE_ITEMS_MAX };
    (CatchUp::Asking { reached: before.clone(), before, answers_left }, Some(get))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(number: u32) -> Option<HistoryPosition> {
        Some(HistoryPosition::new(number.to_string()).unwrap())
    }

    fn asking(
        before: Option<HistoryPosition>,
        reached: Option<HistoryPosition>,
        answers_left: u32,
    ) -> CatchUp {
        CatchUp::Asking { before, reached, answers_left }
    }

    fn page(before: Option<HistoryPosition>, next: Option<HistoryPosition>, last: bool) -> CatchUpEvent {
        CatchUpEvent::Page(HistoryPage { before, next, last })
    }

    #[test]
    fn every_state_and_every_event() {
        let wanted = |answers| CatchUpEvent::Wanted { answers };
        let get = |before| Some(HistoryGet { before, limit: HISTORY_PAGE_ITEMS_MAX });
        let middle = || asking(at(50), at(40), 1);
        let cases = [
            (CatchUp::Unasked, wanted(3), asking(None, None, 2), get(None)),
            (CatchUp::Unasked, page(None, at(5), true), CatchUp::Unasked, None),
            (CatchUp::Over, wanted(1), asking(None, None, 0), get(None)),
            (CatchUp::Over, page(None, at(5), false), CatchUp::Over, None),
            (middle(), wanted(1), asking(at(40), at(40), 1), get(at(40))),
            (middle(), wanted(9), asking(at(40), at(40), 8), get(at(40))),
            (middle(), page(at(50), at(30), false), asking(at(50), at(30), 1), None),
            (middle(), page(at(50), None, false), middle(), None),
            (middle(), page(at(50), at(30), true), asking(at(30), at(30), 0), get(at(30))),
            (middle(), page(at(50), None, true), CatchUp::Over, None),
            (middle(), page(at(50), at(50), true), CatchUp::Over, None),
            (middle(), page(at(60), at(30), true), middle(), None),
            (asking(at(50), at(40), 0), page(at(50), at(30), true), CatchUp::Over, None),
        ];
        for (state, event, to, asked) in cases {
            assert_eq!(state.clone().apply(event.clone()), (to, asked), "{state:?} {event:?}");
        }
    }

    #[test]
    fn a_relay_that_always_has_more_is_asked_so_often() {
        let (mut state, mut asked) = CatchUp::Unasked.apply(CatchUpEvent::Wanted { answers: 5 });
        let mut answers = 0;
        while let Some(get) = asked {
            answers += 1;
            (state, asked) = state.apply(page(get.before, at(1000 - answers), true));
        }
        assert_eq!((answers, state), (5, CatchUp::Over));
    }
}
