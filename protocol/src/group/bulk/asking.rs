//! The second connection to one relay, as an owner or member sees it. Pure.
//!
//! ```text
//!      the relay takes one          link read: request out      accepted        connected, begin: ready        go, quiet
//! Off ─────────────────────▶ Wanted ──────────────────▶ Asked ─────────▶ Admitted ──────────────▶ Ready ───────────▶ Double
//!                              ▲                          └── refused, gone, over, too late ───────┴───────────────────┘
//! ```
//!
//! `connected` and `begin` come in either order: `Connected` and `Begun` stand for the half. What we say in our turn goes
//! on the first connection until the relay has answered `go` to a `ready` after which we said nothing there: so it takes
//! what we say in the order in which we say it. Whatever ends the second connection puts all on the first again, and
//! the second is asked for anew, after a pause that grows.

use serde::{Deserialize, Serialize};

/// First pause before a second connection is asked for again, in milliseconds; it doubles.
const PAUSE_MS_MIN: i64 = 2_000;
/// Longest pause, in milliseconds.
const PAUSE_MS_MAX: i64 = 3_600_000;
/// How long an attempt may take, in milliseconds: the relay's queue holds the request all the while.
const ATTEMPT_MS_MAX: i64 = 600_000;

/// The record of a second connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskingBulk {
    /// How far it is.
    pub stage: AskingStage,
    /// How often it was tried in a row.
    pub tries: u32,
    /// The number of the last request; 0 before the first.
    pub number: i64,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AskingStage {
    /// The relay takes none, or there is no first connection.
    Off,
    /// The relay's link is to be read.
    Wanted,
    /// The request is out.
    Asked,
    /// Accepted; it is being made.
    Admitted,
    /// It stands; the relay still uses the first one alone.
    Connected,
    /// The relay uses it from now on; it does not stand for us yet.
    Begun,
    /// We have taken what came before. What we say goes on the first connection.
    Ready {
        /// Whether we said nothing in our turn since.
        quiet: bool,
    },
    /// Both are in use.
    Double,
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AskingEvent {
    /// The first connection stands, and its relay takes two.
    Offered,
    /// The moment of [`AskingBulk::wait_ms`] has come.
    Due,
    /// The relay's link was read: the request goes out, with the next number.
    Requested,
    /// The relay accepts.
    Accepted,
    /// The relay refuses.
    Refused,
    /// The second connection stands.
    Connected,
    /// The relay's `begin`, with our number.
    Begin,
    /// The relay's `go`, with our number.
    Go,
    /// We said something in our turn on the first connection.
    Said,
    /// The second connection cannot be used any more.
    Gone,
    /// The relay's `end`, with our number.
    Ended,
    /// The first connection is over: the second goes with it.
    FirstGone,
}

/// What is done, in this order, in the transaction that stores the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AskingEffect {
    /// Read the relay's link, to ask.
    ReadLink,
    /// Let the connection be made.
    Allow,
    /// Say `ready` on the first connection.
    SayReady,
    /// Close the second connection. What it has not delivered goes by the first.
    Close,
    /// Write nothing on the second connection any more, and read on what waits in our queue of it. What it has not
    /// delivered goes by the first.
    SetAside,
    /// Say `end` on the first connection.
    SayEnd,
}

impl AskingBulk {
    /// With no second connection.
    #[must_use]
    pub const fn off() -> Self {
        Self { stage: AskingStage::Off, tries: 0, number: 0 }
    }

    /// The next record, and what to do.
    #[must_use]
    pub fn apply(self, event: AskingEvent) -> (Self, &'static [AskingEffect]) {
        use AskingEffect as Do;
        use AskingEvent as On;
        use AskingStage::{Admitted, Asked, Begun, Connected, Double, Off, Ready, Wanted};
        let to = |stage| Self { stage, ..self };
        let again = Self { stage: Wanted, tries: self.tries.saturating_add(1), ..self };
        let off = Self { stage: Off, tries: 0, ..self };
        match (self.stage, event) {
            (Off, On::Offered) => (to(Wanted), &[Do::ReadLink]),
            (Wanted, On::Due) => (again, &[Do::ReadLink]),
            (Wanted, On::Requested) => (to(Asked), &[]),
            (Asked, On::Accepted) => (to(Admitted), &[Do::Allow]),

            (Admitted, On::Connected) => (to(Connected), &[]),
            (Admitted, On::Begin) => (to(Begun), &[]),
            (Connected, On::Begin) | (Begun, On::Connected) => (to(Ready { quiet: true }), &[Do::SayReady]),
            (Ready { .. }, On::Said) => (to(Ready { quiet: false }), &[]),
            (Ready { quiet: false }, On::Go) => (to(Ready { quiet: true }), &[Do::SayReady]),
            (Ready { quiet: true }, On::Go) => (Self { stage: Double, tries: 0, ..self }, &[]),

            (Asked, On::Refused | On::Due | On::Gone | On::Ended) => (again, &[Do::Close]),
            (Admitted | Connected | Begun, On::Ended) => (again, &[Do::Close]),
            (Admitted | Connected | Begun, On::Due | On::Gone) => (again, &[Do::Close, Do::SayEnd]),
            // The relay may have used it since it read of `ready`.
            (Ready { .. } | Double, On::Ended) => (again, &[Do::SetAside]),
            (Ready { .. } | Double, On::Gone) => (again, &[Do::SetAside, Do::SayEnd]),
            (Wanted, On::FirstGone) => (off, &[]),
            (Asked | Admitted | Connected | Begun | Ready { .. } | Double, On::FirstGone) => {
                (off, &[Do::Close])
            }

            // Late, or twice.
            (
                Off,
                On::Due
                | On::Requested
                | On::Accepted
                | On::Refused
                | On::Connected
                | On::Begin
                | On::Go
                | On::Said
                | On::Gone
                | On::Ended
                | On::FirstGone,
            )
            | (
                Wanted,
                On::Offered
                | On::Accepted
                | On::Refused
                | On::Connected
                | On::Begin
                | On::Go
                | On::Said
                | On::Gone
                | On::Ended,
            )
            | (Asked, On::Connected | On::Begin | On::Go | On::Said)
            | (Admitted | Connected | Begun, On::Go | On::Said)
            | (Connected | Ready { .. } | Double, On::Connected)
            | (Begun | Ready { .. } | Double, On::Begin)
            | (Double, On::Go | On::Said)
            | (Ready { .. } | Double, On::Due)
            | (Asked | Admitted | Connected | Begun | Ready { .. } | Double, On::Offered | On::Requested)
            | (Admitted | Connected | Begun | Ready { .. } | Double, On::Accepted | On::Refused) => {
                (self, &[])
            }
        }
    }

    /// How long the stage may last before [`AskingEvent::Due`], in milliseconds; for ever when nothing is given.
    #[must_use]
    pub fn wait_ms(&self) -> Option<i64> {
        match self.stage {
            AskingStage::Off | AskingStage::Ready { .. } | AskingStage::Double => None,
            AskingStage::Wanted => {
                Some(PAUSE_MS_MIN.saturating_mul(1 << self.tries.min(16)).min(PAUSE_MS_MAX))
            }
            AskingStage::Asked | AskingStage::Admitted | AskingStage::Connected | AskingStage::Begun => {
                Some(ATTEMPT_MS_MAX)
            }
        }
    }

    /// Whether what we say in our turn goes on the second connection.
    #[must_use]
    pub const fn carries_bulk(&self) -> bool {
        matches!(self.stage, AskingStage::Double)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use AskingStage::{Admitted, Asked, Begun, Connected, Double, Off, Ready, Wanted};

    const STAGES: [AskingStage; 9] = [
        Off,
        Wanted,
        Asked,
        Admitted,
        Connected,
        Begun,
        Ready { quiet: true },
        Ready { quiet: false },
        Double,
    ];

    const EVENTS: [AskingEvent; 12] = [
        AskingEvent::Offered,
        AskingEvent::Due,
        AskingEvent::Requested,
        AskingEvent::Accepted,
        AskingEvent::Refused,
        AskingEvent::Connected,
        AskingEvent::Begin,
        AskingEvent::Go,
        AskingEvent::Said,
        AskingEvent::Gone,
        AskingEvent::Ended,
        AskingEvent::FirstGone,
    ];

    fn at(stage: AskingStage) -> AskingBulk {
        AskingBulk { stage, tries: 3, number: 7 }
    }

    /// What changes; every other pair changes nothing.
    #[test]
    fn every_stage_and_event() {
        let mut table = String::new();
        for stage in STAGES {
            for event in EVENTS {
                let (next, effects) = at(stage).apply(event);
                assert_eq!(next.number, 7);
                if next != at(stage) || !effects.is_empty() {
                    let AskingBulk { stage: to, tries, .. } = next;
                    table.push_str(&format!("{stage:?} + {event:?}: {to:?} {tries} {effects:?}\n"));
                }
            }
        }
        let expected = "\
Off + Offered: Wanted 3 [ReadLink]
Wanted + Due: Wanted 4 [ReadLink]
Wanted + Requested: Asked 3 []
Wanted + FirstGone: Off 0 []
Asked + Due: Wanted 4 [Close]
Asked + Accepted: Admitted 3 [Allow]
Asked + Refused: Wanted 4 [Close]
Asked + Gone: Wanted 4 [Close]
Asked + Ended: Wanted 4 [Close]
Asked + FirstGone: Off 0 [Close]
Admitted + Due: Wanted 4 [Close, SayEnd]
Admitted + Connected: Connected 3 []
Admitted + Begin: Begun 3 []
Admitted + Gone: Wanted 4 [Close, SayEnd]
Admitted + Ended: Wanted 4 [Close]
Admitted + FirstGone: Off 0 [Close]
Connected + Due: Wanted 4 [Close, SayEnd]
Connected + Begin: Ready { quiet: true } 3 [SayReady]
Connected + Gone: Wanted 4 [Close, SayEnd]
Connected + Ended: Wanted 4 [Close]
Connected + FirstGone: Off 0 [Close]
Begun + Due: Wanted 4 [Close, SayEnd]
Begun + Connected: Ready { quiet: true } 3 [SayReady]
Begun + Gone: Wanted 4 [Close, SayEnd]
Begun + Ended: Wanted 4 [Close]
Begun + FirstGone: Off 0 [Close]
Ready { quiet: true } + Go: Double 0 []
Ready { quiet: true } + Said: Ready { quiet: false } 3 []
Ready { quiet: true } + Gone: Wanted 4 [SetAside, SayEnd]
Ready { quiet: true } + Ended: Wanted 4 [SetAside]
Ready { quiet: true } + FirstGone: Off 0 [Close]
Ready { quiet: false } + Go: Ready { quiet: true } 3 [SayReady]
Ready { quiet: false } + Gone: Wanted 4 [SetAside, SayEnd]
Ready { quiet: false } + Ended: Wanted 4 [SetAside]
Ready { quiet: false } + FirstGone: Off 0 [Close]
Double + Gone: Wanted 4 [SetAside, SayEnd]
Double + Ended: Wanted 4 [SetAside]
Double + FirstGone: Off 0 [Close]
";
        assert_eq!(table, expected);
    }

    #[test]
    fn pauses_grow_to_their_bound() {
        let wait = |stage, tries| AskingBulk { stage, tries, number: 0 }.wait_ms();
        assert_eq!(wait(Wanted, 0), Some(PAUSE_MS_MIN));
        assert_eq!(wait(Wanted, u32::MAX), Some(PAUSE_MS_MAX));
        assert_eq!(wait(Asked, 0), Some(ATTEMPT_MS_MAX));
        assert_eq!((wait(Double, 0), wait(Off, 0)), (None, None));
    }

    #[test]
    fn what_is_said_before_the_relay_is_ready_keeps_us_on_one_connection() {
        let (busy, _) = at(Ready { quiet: true }).apply(AskingEvent::Said);
        let (again, effects) = busy.apply(AskingEvent::Go);
        assert_eq!(effects, [AskingEffect::SayReady]);
        assert!(!again.carries_bulk());
        assert!(again.apply(AskingEvent::Go).0.carries_bulk());
    }

    proptest! {
        /// A connection is closed or set aside exactly when one was asked for, and never used after.
        #[test]
        fn what_is_asked_for_is_closed_once(events in prop::collection::vec(0_usize..12, 0..60)) {
            let (mut bulk, mut open) = (AskingBulk::off(), false);
            for event in events {
                let was = bulk.stage;
                let (next, effects) = bulk.apply(EVENTS[event]);
                for effect in effects {
                    match effect {
                        AskingEffect::Close | AskingEffect::SetAside => {
                            prop_assert!(open);
                            open = false;
                        }
                        AskingEffect::Allow => prop_assert!(open),
                        AskingEffect::ReadLink | AskingEffect::SayReady | AskingEffect::SayEnd => {}
                    }
                }
                open |= was == Wanted && next.stage == Asked;
                bulk = next;
                prop_assert_eq!(open, !matches!(bulk.stage, Off | Wanted));
            }
        }
    }
}
