//! The second connection of one member, as the relay sees it. Pure.
//!
//! ```text
//!            asked              connected: begin            ready: go
//! Single ─────────────▶ Joining ────────────────▶ Switching ─────────▶ Double
//!   ▲                      │                          │                   │
//!   └── it, or the first connection, is gone; too late ───────────────────┘      asked anew: Joining, from anywhere
//! ```
//!
//! From `Switching` on the stream stands on the second connection; it is held until the member is `ready`, so that
//! nothing overtakes what is still on its way on the first. Whatever ends it puts the stream back on the first.

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServedBulk {
    /// There is none.
    Single,
    /// Let in; it is being made.
    Joining,
    /// It stands; the member has yet to take what came on the first connection.
    Switching,
    /// Both are in use.
    Double,
}

/// What happens to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServedBulkEvent {
    /// The member asks for it, with a proof and a number that was not used before.
    Asked,
    /// It stands.
    Connected,
    /// The member has taken what came on the first connection until `begin`.
    Ready,
    /// It cannot be used any more, the member says that it is over, or its time to come about is.
    Gone,
    /// The first connection was replaced or closed: the second goes with it.
    FirstGone,
}

/// What the relay does, in this order, in the transaction that stores the stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServedBulkEffect {
    /// Close it. The stream stands on the first connection again: what the member's server does not have is given there.
    Close,
    /// Put into the stream what the member has said ahead and not in its turn yet.
    TakeTurns,
    /// Recent history is owed: what the server had and the member had not is lost with the queue.
    OweHistory,
    /// Tell the member on the first connection that it is over.
    TellEnd,
    /// Accept the request.
    Accept,
    /// Send `begin` on the first connection. The stream stands on the second, held.
    Begin,
    /// Give what was held, and answer `go` on the first connection.
    Go,
}

impl ServedBulk {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Single, Self::Joining, Self::Switching, Self::Double];

    /// The next stage, and what to do.
    #[must_use]
    pub const fn apply(self, event: ServedBulkEvent) -> (Self, &'static [ServedBulkEffect]) {
        use ServedBulkEffect as Do;
        use ServedBulkEvent as On;
        match (self, event) {
            (Self::Single, On::Asked) => (Self::Joining, &[Do::Accept]),
            (Self::Joining | Self::Switching, On::Asked) => (Self::Joining, &[Do::Close, Do::Accept]),
            // Whoever asks anew has lost the old one.
            (Self::Double, On::Asked) => {
                (Self::Joining, &[Do::Close, Do::TakeTurns, Do::OweHistory, Do::Accept])
            }
            (Self::Joining, On::Connected) => (Self::Switching, &[Do::Begin]),
            (Self::Switching | Self::Double, On::Ready) => (Self::Double, &[Do::Go]),
            (Self::Joining | Self::Switching, On::Gone) => (Self::Single, &[Do::Close, Do::TellEnd]),
            (Self::Double, On::Gone) => {
                (Self::Single, &[Do::Close, Do::TakeTurns, Do::OweHistory, Do::TellEnd])
            }
            (Self::Joining | Self::Switching, On::FirstGone) => (Self::Single, &[Do::Close]),
            (Self::Double, On::FirstGone) => (Self::Single, &[Do::Close, Do::TakeTurns]),

            // Late, or twice.
            (Self::Single, On::Connected | On::Ready | On::Gone | On::FirstGone)
            | (Self::Joining, On::Ready)
            | (Self::Switching | Self::Double, On::Connected) => (self, &[]),
        }
    }

    /// Whether the stream stands on the second connection.
    #[must_use]
    pub const fn carries_bulk(self) -> bool {
        match self {
            Self::Single | Self::Joining => false,
            Self::Switching | Self::Double => true,
        }
    }

    /// Its number at rest.
    #[must_use]
    pub const fn number(self) -> i64 {
        match self {
            Self::Single => 0,
            Self::Joining => 1,
            Self::Switching => 2,
            Self::Double => 3,
        }
    }

    /// Reads [`Self::number`].
    #[must_use]
    pub fn from_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.number() == number)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use ServedBulkEffect::{Accept, Begin, Close, Go, OweHistory, TakeTurns, TellEnd};

    const EVENTS: [ServedBulkEvent; 5] = [
        ServedBulkEvent::Asked,
        ServedBulkEvent::Connected,
        ServedBulkEvent::Ready,
        ServedBulkEvent::Gone,
        ServedBulkEvent::FirstGone,
    ];

    /// A row for each stage, a column for each event.
    #[test]
    fn every_stage_and_event() {
        use ServedBulk::{Double, Joining, Single, Switching};
        type Outcome = (ServedBulk, &'static [ServedBulkEffect]);
        let table: [(ServedBulk, [Outcome; 5]); 4] = [
            (Single, [(Joining, &[Accept]), (Single, &[]), (Single, &[]), (Single, &[]), (Single, &[])]),
            (
                Joining,
                [
                    (Joining, &[Close, Accept]),
                    (Switching, &[Begin]),
                    (Joining, &[]),
                    (Single, &[Close, TellEnd]),
                    (Single, &[Close]),
                ],
            ),
            (
                Switching,
                [
                    (Joining, &[Close, Accept]),
                    (Switching, &[]),
                    (Double, &[Go]),
                    (Single, &[Close, TellEnd]),
                    (Single, &[Close]),
                ],
            ),
            (
                Double,
                [
                    (Joining, &[Close, TakeTurns, OweHistory, Accept]),
                    (Double, &[]),
                    (Double, &[Go]),
                    (Single, &[Close, TakeTurns, OweHistory, TellEnd]),
                    (Single, &[Close, TakeTurns]),
                ],
            ),
        ];
        for (stage, row) in table {
            for (event, expected) in EVENTS.into_iter().zip(row) {
                assert_eq!(stage.apply(event), expected, "{stage:?} {event:?}");
            }
        }
    }

    #[test]
    fn stages_read_back() {
        for stage in ServedBulk::ALL {
            assert_eq!(ServedBulk::from_number(stage.number()), Some(stage));
        }
        assert_eq!(ServedBulk::from_number(4), None);
    }

    proptest! {
        /// There is a second connection exactly when the stage says so, and at most one.
        #[test]
        fn connections_are_closed_as_often_as_accepted(events in prop::collection::vec(0_usize..5, 0..40)) {
            let (mut stage, mut open) = (ServedBulk::Single, 0_i32);
            for event in events {
                let (next, effects) = stage.apply(EVENTS[event]);
                for effect in effects {
                    match effect {
                        Accept => open += 1,
                        Close => open -= 1,
                        TakeTurns | OweHistory | TellEnd | Begin | Go => {}
                    }
                }
                stage = next;
                prop_assert_eq!(open, i32::from(stage != ServedBulk::Single));
            }
        }
    }
}
