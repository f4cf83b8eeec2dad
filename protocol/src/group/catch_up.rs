//! Somebody reads another's history page by page (docs/protocol.md §5, "History by pages"): a member a relay's, a relay an
//! owner's.
//!
//! ```text
//! Unasked ──wanted──▶ Asking ──page, more is there and wanted──▶ Asking
//!                      ▲  │ │ no answer in time, or a new connection: asked again from where it was
//!                      │  │ └────────────────────────────────────────────────────────▶ Asking
//!                      │  └──all has come, or too many tries──▶ Resting ──time over, nothing wanted──▶ Over
//!                      ├───────time over, more is wanted───────────┘                                    │
//!                      └──────────────────────────────wanted────────────────────────────────────────────┘
//! ```
//!
//! When the other says that it passed something over for us, a reading begins at once that ends where that does.
//!
//! Without its connection a reading begins anew, there or elsewhere.
//!
//! There is one request at a time, and a pause after each reading which doubles while something is still wanted. The record
//! is stored with the items of each message, and the next request in the same transaction: a crash at any moment loses
//! nothing, and repeats at most what deduplication hides.

use serde::{Deserialize, Serialize};

use super::constants::{
    HISTORY_ANSWER_MS_MAX, HISTORY_ANSWERS_MAX, HISTORY_PAGE_ITEMS_MAX, HISTORY_PAUSE_MS_MAX,
    HISTORY_PAUSE_MS_MIN, HISTORY_TRIES_MAX,
};
use super::event::history::{HistoryGet, HistoryPage, HistoryPosition};
use crate::timestamp::Timestamp;

/// How far we are in one history.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CatchUp {
    /// Nothing was asked.
    #[default]
    Unasked,
    /// An answer is on its way.
    Asking(Asking),
    /// A reading is over; the next one waits.
    Resting {
        /// Until when, in milliseconds.
        until_ms: i64,
        /// How long the pause is, in milliseconds.
        pause_ms: i64,
        /// What is wanted then.
        wanted: Option<Want>,
    },
    /// What was wanted has come, or there is no more.
    Over,
}

/// A reading of a history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asking {
    /// What is read.
    want: Want,
    /// Where it ends: nothing older is asked for.
    #[serde(default)]
    after: Option<HistoryPosition>,
    /// What came with the welcome and is not asked for.
    #[serde(default)]
    welcomed: Option<HistoryPosition>,
    /// What the answer is about: all that is older.
    before: Option<HistoryPosition>,
    /// How much of it has come: older items begin here.
    reached: Option<HistoryPosition>,
    /// How many more answers are asked for after this one.
    answers_left: u32,
    /// When the answer was asked for last, in milliseconds.
    asked_at_ms: i64,
    /// How often it was asked for, after the first time.
    tries: u32,
    /// How long the pause after this reading is, in milliseconds.
    pause_ms: i64,
    /// Whether an owner is to be asked too.
    ask_owner: bool,
}

/// What is wanted of a history, always from the newest back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Want {
    /// All that is kept, as far as [`HISTORY_ANSWERS_MAX`] answers hold it.
    Everything,
    /// What is missing; at most as much.
    Missing,
}

/// What happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CatchUpEvent {
    /// History is wanted.
    Wanted(Want),
    /// We are let in for the first time; the newest posts come unasked, from this one on.
    Joined(Option<HistoryPosition>),
    /// The connection is a new one: what was asked on the former is not answered.
    Returned(Want),
    /// The other has passed over what is newer than this.
    PassedOver(HistoryPosition),
    /// The connection is gone.
    Lost,
    /// A message of an answer came.
    Page {
        /// Its header.
        page: HistoryPage,
        /// Whether nothing older is wanted.
        is_enough: bool,
    },
    /// [`CatchUp::deadline`] may be over.
    Timeout,
}

impl CatchUp {
    /// What follows: the new state, and what to ask now.
    #[must_use]
    pub fn apply(self, event: CatchUpEvent, now: Timestamp) -> (Self, Option<HistoryGet>) {
        match (self, event) {
            (Self::Unasked | Self::Over, CatchUpEvent::Wanted(want) | CatchUpEvent::Returned(want)) => {
                Asking::begin(want, HISTORY_PAUSE_MS_MIN, false).ask(now)
            }
            (Self::Unasked | Self::Over, CatchUpEvent::Joined(welcomed)) => {
                let begun = Asking::begin(Want::Everything, HISTORY_PAUSE_MS_MIN, false);
                Asking { welcomed, ..begun }.ask(now)
            }
            // It was in before, as far as we know.
            (state @ (Self::Asking(_) | Self::Resting { .. }), CatchUpEvent::Joined(_)) => {
                state.apply(CatchUpEvent::Returned(Want::Everything), now)
            }
            (Self::Unasked | Self::Over, CatchUpEvent::PassedOver(after)) => {
                Asking::of_gap(after, HISTORY_PAUSE_MS_MIN).ask(now)
            }
            (
                state @ (Self::Unasked | Self::Over),
                CatchUpEvent::Page { .. } | CatchUpEvent::Timeout | CatchUpEvent::Lost,
            ) => (state, None),
            (Self::Asking(_), CatchUpEvent::Lost) => (Self::Unasked, None),
            (Self::Resting { .. }, CatchUpEvent::Lost) => (Self::Over, None),

            // What has come since it began is missing at its end if it is: there is one request at a time.
            (Self::Asking(asking), CatchUpEvent::Wanted(want)) => {
                let after = asking.after.clone().filter(|_| want == Want::Missing);
                (Self::Asking(Asking { want: asking.want.and(want), after, ..asking }), None)
            }
            // It may be newer than where the reading is by now.
            (Self::Asking(asking), CatchUpEvent::PassedOver(after)) => asking.over_gap(after).ask(now),
            (Self::Asking(asking), CatchUpEvent::Returned(want)) => {
                let after = asking.after.clone().filter(|_| want == Want::Missing);
                // What came with the welcome may have come to another copy of us.
                let (want, welcomed) = (asking.want.and(want), None);
                Asking { want, after, welcomed, tries: 0, ..asking }.again().ask(now)
            }
            (Self::Asking(asking), CatchUpEvent::Page { page, is_enough }) => {
                asking.page(page, is_enough, now)
            }
            (Self::Asking(asking), CatchUpEvent::Timeout) if now < asking.deadline() => {
                (Self::Asking(asking), None)
            }
            (Self::Asking(asking), CatchUpEvent::Timeout) if asking.tries >= HISTORY_TRIES_MAX => {
                (asking.rest(now), None)
            }
            (Self::Asking(asking), CatchUpEvent::Timeout) => {
                Asking { tries: asking.tries.saturating_add(1), ..asking }.again().ask(now)
            }

            (Self::Resting { until_ms, pause_ms, wanted }, CatchUpEvent::Wanted(want)) => {
                let wanted = Some(wanted.map_or(want, |wanted| wanted.and(want)));
                (Self::Resting { until_ms, pause_ms, wanted }, None)
            }
            (Self::Resting { pause_ms, .. }, CatchUpEvent::Returned(want)) => {
                Asking::begin(want, pause_ms, false).ask(now)
            }
            (Self::Resting { pause_ms, .. }, CatchUpEvent::PassedOver(after)) => {
                Asking::of_gap(after, pause_ms).ask(now)
            }
            (state @ Self::Resting { .. }, CatchUpEvent::Page { .. }) => (state, None),
            (Self::Resting { until_ms, pause_ms, wanted }, CatchUpEvent::Timeout) => {
                if now.0 < until_ms {
                    return (Self::Resting { until_ms, pause_ms, wanted }, None);
                }
                match wanted {
                    Some(want) => {
                        let pause_ms = pause_ms.saturating_mul(2).min(HISTORY_PAUSE_MS_MAX);
                        Asking::begin(want, pause_ms, true).ask(now)
                    }
                    None => (Self::Over, None),
                }
            }
        }
    }

    /// When [`CatchUpEvent::Timeout`] is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        match self {
            Self::Unasked | Self::Over => None,
            Self::Asking(asking) => Some(asking.deadline()),
            Self::Resting { until_ms, .. } => Some(Timestamp(*until_ms)),
        }
    }

    /// What is being read.
    #[must_use]
    pub const fn reading(&self) -> Option<Want> {
        match self {
            Self::Asking(asking) => Some(asking.want),
            Self::Unasked | Self::Resting { .. } | Self::Over => None,
        }
    }

    /// Whether it would be asked at once.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        matches!(self, Self::Unasked | Self::Over)
    }

    /// Whether it was asked for the same in vain so often that it is not asked again by itself.
    #[must_use]
    pub const fn is_exhausted(&self) -> bool {
        matches!(self, Self::Resting { pause_ms: HISTORY_PAUSE_MS_MAX, .. })
    }
}

impl Want {
    /// Both.
    const fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Missing, Self::Missing) => Self::Missing,
            (Self::Everything, _) | (_, Self::Everything) => Self::Everything,
        }
    }
}

impl Asking {
    const fn begin(want: Want, pause_ms: i64, ask_owner: bool) -> Self {
        let answers_left = HISTORY_ANSWERS_MAX - 1;
        let (after, welcomed, before, reached) = (None, None, None, None);
        Self {
            want,
            after,
            welcomed,
            before,
            reached,
            answers_left,
            asked_at_ms: 0,
            tries: 0,
            pause_ms,
            ask_owner,
        }
    }

    /// A reading of all that is newer than a position.
    fn of_gap(after: HistoryPosition, pause_ms: i64) -> Self {
        Self { after: Some(after), ..Self::begin(Want::Everything, pause_ms, false) }
    }

    /// The same from the newest on, over what was passed over. Which of two positions is the older nobody but the other
    /// knows.
    fn over_gap(self, after: HistoryPosition) -> Self {
        let is_covered = match (self.want, &self.after) {
            (Want::Everything, None) => false,
            (Want::Everything, Some(known)) => *known == after,
            (Want::Missing, _) => true,
        };
        let begun = Self::begin(Want::Everything, self.pause_ms, self.ask_owner);
        Self { after: Some(after).filter(|_| is_covered), ..begun }
    }

    /// The same from where it is.
    fn again(self) -> Self {
        Self { before: self.reached.clone(), ..self }
    }

    fn ask(self, now: Timestamp) -> (CatchUp, Option<HistoryGet>) {
        let (before, ask_owner) = (self.before.clone(), self.ask_owner);
        let (after, welcomed) = (self.after.clone(), self.welcomed.clone());
        let get = HistoryGet { before, after, welcomed, limit: HISTORY_PAGE_ITEMS_MAX, ask_owner };
        (CatchUp::Asking(Self { reached: self.before.clone(), asked_at_ms: now.0, ..self }), Some(get))
    }

    fn page(self, page: HistoryPage, is_enough: bool, now: Timestamp) -> (CatchUp, Option<HistoryGet>) {
        if page.before != self.before {
            // Of an answer that was asked for before.
            return (CatchUp::Asking(self), None);
        }
        let is_wanted = self.answers_left > 0 && !is_enough;
        match (page.last, page.next) {
            (false, next) => {
                (CatchUp::Asking(Self { reached: next.or(self.reached), asked_at_ms: now.0, ..self }), None)
            }
            (true, Some(next)) if is_wanted && Some(&next) != self.before.as_ref() => {
                let answers_left = self.answers_left.saturating_sub(1);
                Self { before: Some(next), answers_left, tries: 0, ask_owner: false, ..self }.ask(now)
            }
            (true, _) => (self.rest(now), None),
        }
    }

    fn rest(self, now: Timestamp) -> CatchUp {
        let (until_ms, pause_ms) = (now.plus_ms(self.pause_ms).0, self.pause_ms);
        CatchUp::Resting { until_ms, pause_ms, wanted: None }
    }

    fn deadline(&self) -> Timestamp {
        let wait = HISTORY_ANSWER_MS_MAX.saturating_mul(1 << self.tries.min(HISTORY_TRIES_MAX));
        Timestamp(self.asked_at_ms).plus_ms(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000_000);

    fn at(number: u32) -> Option<HistoryPosition> {
        Some(HistoryPosition::new(number.to_string()).unwrap())
    }

    /// A reading that was begun so long ago.
    fn begun(want: Want, ago_ms: i64) -> Asking {
        Asking { asked_at_ms: NOW.0 - ago_ms, ..Asking::begin(want, HISTORY_PAUSE_MS_MIN, false) }
    }

    fn middle() -> Asking {
        Asking { before: at(50), reached: at(40), answers_left: 1, tries: 2, ..begun(Want::Missing, 1) }
    }

    fn asked(asking: Asking) -> Asking {
        Asking { asked_at_ms: NOW.0, ..asking }
    }

    fn page(before: Option<HistoryPosition>, next: Option<HistoryPosition>, last: bool) -> CatchUpEvent {
        CatchUpEvent::Page { page: HistoryPage { before, next, last }, is_enough: false }
    }

    fn enough(event: CatchUpEvent) -> CatchUpEvent {
        match event {
            CatchUpEvent::Page { page, .. } => CatchUpEvent::Page { page, is_enough: true },
            event => event,
        }
    }

    fn resting(pause_ms: i64, wanted: Option<Want>) -> CatchUp {
        CatchUp::Resting { until_ms: NOW.0 + pause_ms, pause_ms, wanted }
    }

    fn rested(pause_ms: i64, wanted: Option<Want>) -> CatchUp {
        CatchUp::Resting { until_ms: NOW.0, pause_ms, wanted }
    }

    #[test]
    fn every_state_and_every_event() {
        use CatchUp::{Over, Unasked};
        use CatchUpEvent::{Joined, Lost, PassedOver, Returned, Timeout, Wanted};
        use Want::{Everything, Missing};
        let limit = HISTORY_PAGE_ITEMS_MAX;
        let get = |before| Some(HistoryGet { before, after: None, limit, welcomed: None, ask_owner: false });
        let get_of_owner =
            || Some(HistoryGet { before: None, after: None, limit, welcomed: None, ask_owner: true });
        let get_gap =
            |before| Some(HistoryGet { before, after: at(20), limit, welcomed: None, ask_owner: false });
        let gap = || PassedOver(at(20).unwrap());
        let of_gap = || Asking { after: at(20), ..begun(Everything, 0) };
        let first = |want| CatchUp::Asking(begun(want, 0));
        let is = |asking| CatchUp::Asking(asking);
        let next =
            || Asking { before: at(30), reached: at(30), answers_left: 0, tries: 0, ..asked(middle()) };
        let again = || Asking { before: at(40), ..asked(middle()) };
        let late = || Asking { asked_at_ms: NOW.0 - 4 * HISTORY_ANSWER_MS_MAX, ..middle() };
        let last_try = || Asking { tries: HISTORY_TRIES_MAX, asked_at_ms: 0, ..middle() };
        let (short, long) = (HISTORY_PAUSE_MS_MIN, 2 * HISTORY_PAUSE_MS_MIN);
        let mut cases = Vec::new();
        for state in [|| Unasked, || Over] {
            cases.extend([
                (state(), Wanted(Missing), first(Missing), get(None)),
                (state(), Returned(Everything), first(Everything), get(None)),
                (state(), page(None, at(5), true), state(), None),
                (
                    state(),
                    Joined(at(9)),
                    is(Asking { welcomed: at(9), ..begun(Everything, 0) }),
                    get(None).map(|get| HistoryGet { welcomed: at(9), ..get }),
                ),
                (state(), Timeout, state(), None),
                (state(), Lost, state(), None),
                (state(), gap(), is(of_gap()), get_gap(None)),
            ]);
        }
        cases.extend([
            (is(middle()), Wanted(Missing), is(middle()), None),
            (is(middle()), Wanted(Everything), is(Asking { want: Everything, ..middle() }), None),
            (is(middle()), Joined(at(9)), is(Asking { want: Everything, tries: 0, ..again() }), get(at(40))),
            (resting(short, None), Joined(at(9)), first(Everything), get(None)),
            (is(middle()), Returned(Missing), is(Asking { tries: 0, ..again() }), get(at(40))),
            (
                is(Asking { welcomed: at(9), ..middle() }),
                Returned(Missing),
                is(Asking { tries: 0, ..again() }),
                get(at(40)),
            ),
            (is(Asking { welcomed: at(9), ..middle() }), gap(), is(Asking { ..of_gap() }), get_gap(None)),
            (
                is(middle()),
                page(at(50), at(30), false),
                is(Asking { reached: at(30), ..asked(middle()) }),
                None,
            ),
            (is(middle()), page(at(50), None, false), is(asked(middle())), None),
            (is(middle()), page(at(50), at(30), true), is(next()), get(at(30))),
            (is(middle()), enough(page(at(50), at(30), true)), resting(short, None), None),
            (is(middle()), page(at(50), None, true), resting(short, None), None),
            (is(middle()), page(at(50), at(50), true), resting(short, None), None),
            (is(middle()), page(at(60), at(30), true), is(middle()), None),
            (
                is(Asking { answers_left: 0, ..middle() }),
                page(at(50), at(30), true),
                resting(short, None),
                None,
            ),
            (is(middle()), Timeout, is(middle()), None),
            (is(late()), Timeout, is(Asking { tries: 3, ..again() }), get(at(40))),
            (is(last_try()), Timeout, resting(short, None), None),
            (is(middle()), Lost, Unasked, None),
            (is(middle()), gap(), is(of_gap()), get_gap(None)),
            (is(of_gap()), gap(), is(of_gap()), get_gap(None)),
            (is(of_gap()), PassedOver(at(25).unwrap()), first(Everything), get(None)),
            (is(Asking { want: Everything, ..middle() }), gap(), first(Everything), get(None)),
            (is(of_gap()), Wanted(Missing), is(of_gap()), None),
            (is(of_gap()), Wanted(Everything), first(Everything), None),
            (is(of_gap()), Returned(Missing), is(of_gap()), get_gap(None)),
            (
                is(of_gap()),
                page(None, at(30), true),
                is(Asking {
                    before: at(30),
                    reached: at(30),
                    answers_left: HISTORY_ANSWERS_MAX - 2,
                    ..of_gap()
                }),
                get_gap(at(30)),
            ),
            (resting(short, Some(Missing)), gap(), is(of_gap()), get_gap(None)),
            (resting(short, Some(Missing)), Lost, Over, None),
            (resting(short, None), Wanted(Missing), resting(short, Some(Missing)), None),
            (resting(short, Some(Everything)), Wanted(Missing), resting(short, Some(Everything)), None),
            (resting(short, None), Returned(Missing), first(Missing), get(None)),
            (resting(short, None), page(None, at(5), true), resting(short, None), None),
            (resting(short, None), Timeout, resting(short, None), None),
            (rested(short, None), Timeout, Over, None),
            (
                rested(short, Some(Missing)),
                Timeout,
                is(Asking { pause_ms: long, ask_owner: true, ..begun(Missing, 0) }),
                get_of_owner(),
            ),
        ]);
        for (state, event, to, asked) in cases {
            assert_eq!(state.clone().apply(event.clone(), NOW), (to, asked), "{state:?} {event:?}");
        }
    }

    #[test]
    fn who_always_has_more_is_asked_so_often() {
        let (mut state, mut asked) = CatchUp::Unasked.apply(CatchUpEvent::Wanted(Want::Everything), NOW);
        let mut answers = 0;
        while let Some(get) = asked {
            answers += 1;
            (state, asked) = state.apply(page(get.before, at(1000 - answers), true), NOW);
        }
        assert_eq!((answers, state), (HISTORY_ANSWERS_MAX, resting(HISTORY_PAUSE_MS_MIN, None)));
    }

    /// However often more is wanted, and whatever is answered, requests grow rare.
    #[test]
    fn what_is_wanted_in_vain_is_asked_for_ever_later() {
        let (mut state, mut asks, mut now) = (CatchUp::Unasked, Vec::new(), NOW);
        while now.0 < NOW.0 + 10 * HISTORY_PAUSE_MS_MAX {
            let mut get;
            (state, get) = state.apply(CatchUpEvent::Wanted(Want::Missing), now);
            if get.is_none() {
                now = state.deadline().unwrap();
                (state, get) = state.apply(CatchUpEvent::Timeout, now);
            }
            if get.is_some() {
                asks.push(now.0);
                (state, _) = state.apply(page(None, None, true), now);
            }
        }
        let pauses: Vec<i64> = asks.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(pauses.is_sorted(), "{pauses:?}");
        assert_eq!(pauses.last(), Some(&HISTORY_PAUSE_MS_MAX));
        assert!(state.is_exhausted());
        // Silence is forgotten.
        let quiet = state.deadline().unwrap();
        assert_eq!(state.apply(CatchUpEvent::Timeout, quiet).0, CatchUp::Over);
    }
}
