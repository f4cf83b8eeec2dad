//! What a subscription has done with the head of its queue: at most one message is out until it is acknowledged
//! (smp.md §10.2, §10.3).
//!
//! ```text
//!            arrived                take                 found
//!   Idle ─────────────▶ Ready ─────────────▶ Reading ─────────────▶ Outstanding
//!    ▲                    ▲                   │  ▲  │                    │
//!    └──────nothing───────┼───────────────────┘  │  └──arrived: again    │
//!                         └──subscribe (always)  └─────acknowledge───────┘
//! ```
//!
//! A reading has a ticket, and a result counts only with the ticket of the present reading: what was read before
//! the subscription moved on must not be delivered after it.

use protocol::smp::ids::MessageId;

/// Where a subscription stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// The queue was empty when it was last looked at.
    Idle,
    /// There may be a message; the connection is to read it when it has room.
    Ready,
    /// The head is being read.
    Reading {
        /// Which reading.
        ticket: Ticket,
        /// Whether a message arrived after it began.
        again: bool,
    },
    /// This message was delivered.
    Outstanding(MessageId),
}

/// Names one reading of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ticket(u64);

impl Ticket {
    /// Tickets that follow this number.
    #[must_use]
    pub fn after(number: u64) -> Self {
        Self(number)
    }

    /// A ticket that was not given out before.
    pub fn draw(&mut self) -> Self {
        self.0 = self.0.wrapping_add(1);
        *self
    }
}

/// What follows from a reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterReading {
    /// Deliver what was found, or say that there is nothing.
    Deliver,
    /// Nothing was found, but a message arrived meanwhile: read again under the same ticket.
    ReadAgain,
    /// The subscription moved on: forget what was found.
    Stale,
}

impl Delivery {
    /// A message arrived. Whether the connection is to be told.
    pub fn arrived(&mut self) -> bool {
        match self {
            Self::Idle => {
                *self = Self::Ready;
                true
            }
            Self::Reading { again, .. } => {
                *again = true;
                false
            }
            Self::Ready | Self::Outstanding(_) => false,
        }
    }

    /// The connection has room: begins to read. Whether there is something to read.
    pub fn take(&mut self, ticket: Ticket) -> bool {
        match self {
            Self::Ready => {
                *self = Self::Reading { ticket, again: false };
                true
            }
            Self::Idle | Self::Reading { .. } | Self::Outstanding(_) => false,
        }
    }

    /// The recipient acknowledges. Whether this message, or any for an empty id, is outstanding; then the next head is
    /// being read.
    pub fn acknowledge(&mut self, message_id: &[u8], ticket: Ticket) -> Option<MessageId> {
        match *self {
            Self::Outstanding(id) if message_id.is_empty() || message_id == id.as_bytes() => {
                *self = Self::Reading { ticket, again: false };
                Some(id)
            }
            _ => None,
        }
    }

    /// A reading ended.
    pub fn read(&mut self, ticket: Ticket, found: Option<MessageId>) -> AfterReading {
        match *self {
            Self::Reading { ticket: present, again } if present == ticket => match found {
                Some(id) => {
                    *self = Self::Outstanding(id);
                    AfterReading::Deliver
                }
                None if again => {
                    *self = Self::Reading { ticket, again: false };
                    AfterReading::ReadAgain
                }
                None => {
                    *self = Self::Idle;
                    AfterReading::Deliver
                }
            },
            _ => AfterReading::Stale,
        }
    }

    /// A reading failed: `before` is where it began.
    pub fn failed(&mut self, ticket: Ticket, before: Self) {
        if matches!(*self, Self::Reading { ticket: present, .. } if present == ticket) {
            *self = before;
        }
    }

    /// The message that waits for its acknowledgement.
    #[must_use]
    pub fn outstanding(&self) -> Option<MessageId> {
        match self {
            Self::Outstanding(id) => Some(*id),
            Self::Idle | Self::Ready | Self::Reading { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: MessageId = MessageId([1; 24]);
    const NEXT: MessageId = MessageId([2; 24]);

    fn reading(ticket: u64, again: bool) -> Delivery {
        Delivery::Reading { ticket: Ticket(ticket), again }
    }

    fn all() -> [Delivery; 5] {
        [Delivery::Idle, Delivery::Ready, reading(1, false), reading(1, true), Delivery::Outstanding(ID)]
    }

    #[test]
    fn every_state_meets_every_event() {
        fn after<T>(act: impl Fn(&mut Delivery) -> T) -> [Delivery; 5] {
            all().map(|mut state| {
                act(&mut state);
                state
            })
        }
        let [idle, ready, fresh, again, outstanding] = all();
        assert_eq!(after(|s| s.arrived()), [ready, ready, again, again, outstanding]);
        assert_eq!(after(|s| s.take(Ticket(1))), [idle, fresh, fresh, again, outstanding]);
        assert_eq!(
            after(|s| s.read(Ticket(1), Some(ID))),
            [idle, ready, outstanding, outstanding, outstanding]
        );
        assert_eq!(after(|s| s.read(Ticket(1), None)), [idle, ready, idle, fresh, outstanding]);
        assert_eq!(after(|s| s.read(Ticket(2), Some(ID))), all(), "another ticket");
        assert_eq!(after(|s| s.acknowledge(&ID.0, Ticket(1))), [idle, ready, fresh, again, fresh]);
        assert_eq!(after(|s| s.acknowledge(&NEXT.0, Ticket(1))), all(), "another message");
        assert_eq!(after(|s| s.failed(Ticket(1), ready)), [idle, ready, ready, ready, outstanding]);
    }

    #[test]
    fn a_message_that_arrives_during_a_reading_is_read() {
        let mut state = reading(1, false);
        assert!(!state.arrived());
        assert_eq!(state.read(Ticket(1), None), AfterReading::ReadAgain);
        assert_eq!(state.read(Ticket(1), Some(NEXT)), AfterReading::Deliver);
        assert_eq!(state.outstanding(), Some(NEXT));
    }

    #[test]
    fn what_was_read_before_a_new_subscription_is_not_delivered() {
        let mut state = Delivery::Ready;
        assert!(state.take(Ticket(2)));
        assert_eq!(state.read(Ticket(1), Some(ID)), AfterReading::Stale);
        assert_eq!(state.read(Ticket(2), Some(ID)), AfterReading::Deliver);
    }

    #[test]
    fn an_empty_id_acknowledges_any_message() {
        let mut state = Delivery::Outstanding(ID);
        assert_eq!(state.acknowledge(b"", Ticket(1)), Some(ID));
        assert_eq!(state.acknowledge(b"", Ticket(2)), None);
    }
}
