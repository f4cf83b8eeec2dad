//! What became of every message, as its sender and its recipient were told: the proof that a server that dies loses
//! nothing that it confirmed.
//!
//! ```text
//! sender     attempted ──OK──▶ confirmed
//! recipient  delivered ──ACK──▶ acknowledging ──answered──▶ acknowledged
//! ```
//!
//! Messages of a queue have numbers, from 1. An attempt without an answer may have been stored or not, and likewise an
//! acknowledgement: every other case is a fault of the server, and is told as one.

use std::collections::BTreeSet;

use anyhow::{bail, ensure};

/// One queue's book.
#[derive(Debug, Default, Clone)]
pub struct QueueBook {
    /// The last number that was sent.
    attempted: u32,
    /// Numbers answered `OK` that no acknowledgement has left behind yet.
    confirmed: BTreeSet<u32>,
    /// The last number that was acknowledged, answered or not.
    acknowledging: u32,
    /// The last number whose acknowledgement was answered.
    acknowledged: u32,
    /// The last number that the present session delivered; 0 at its beginning.
    delivered: u32,
}

impl QueueBook {
    /// A number for the next message, which is sent after this.
    pub fn attempt(&mut self) -> u32 {
        self.attempted = self.attempted.saturating_add(1);
        self.attempted
    }

    /// How many messages may be on their way or wait, at most.
    #[must_use]
    pub fn outstanding(&self) -> u32 {
        self.attempted.saturating_sub(self.acknowledging)
    }

    /// The server answered `OK` to a message.
    pub fn confirm(&mut self, number: u32) {
        // The recipient may have been quicker.
        if number > self.acknowledging {
            self.confirmed.insert(number);
        }
    }

    /// The server delivered a message.
    ///
    /// # Errors
    /// When it must not have, or must have delivered another one.
    pub fn deliver(&mut self, number: u32) -> anyhow::Result<()> {
        ensure!(number <= self.attempted, "message {number} was never sent");
        ensure!(
            number > self.acknowledged,
            "message {number} came again after {} was acknowledged",
            self.acknowledged
        );
        ensure!(number >= self.delivered, "message {number} came after {}: not in order", self.delivered);
        if let Some(lost) = self.confirmed.iter().find(|confirmed| **confirmed < number) {
            bail!(
                "message {lost} was confirmed and did not come before {number}: it is lost or not in order"
            );
        }
        self.delivered = number;
        Ok(())
    }

    /// An acknowledgement is sent after this.
    pub fn acknowledge(&mut self, number: u32) {
        self.acknowledging = self.acknowledging.max(number);
        self.confirmed = self.confirmed.split_off(&number.saturating_add(1));
    }

    /// The server answered an acknowledgement.
    pub fn acknowledged(&mut self, number: u32) {
        self.acknowledged = self.acknowledged.max(number);
    }

    /// The connection is gone, and another one begins.
    pub fn begin_session(&mut self) {
        self.delivered = 0;
    }

    /// The queue was drained.
    ///
    /// # Errors
    /// When a confirmed message never came.
    pub fn close(&self) -> anyhow::Result<()> {
        ensure!(self.confirmed.is_empty(), "these were confirmed and never came: {:?}", self.confirmed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book(attempted: u32, confirmed: &[u32]) -> QueueBook {
        let mut book = QueueBook { attempted, ..QueueBook::default() };
        confirmed.iter().for_each(|number| book.confirm(*number));
        book
    }

    #[test]
    fn what_was_confirmed_must_come_and_what_was_only_sent_may() {
        let mut lost = book(3, &[1, 3]);
        assert!(lost.clone().close().is_err());
        lost.deliver(1).unwrap();
        lost.acknowledge(1);
        lost.acknowledged(1);
        assert_eq!(lost.outstanding(), 2);
        lost.clone().deliver(2).unwrap();
        lost.deliver(3).unwrap();
        assert!(book(3, &[1]).deliver(2).is_err(), "1 is lost");
        assert!(book(3, &[]).deliver(4).is_err(), "never sent");
    }

    #[test]
    fn what_was_acknowledged_must_not_come_again() {
        let mut book = book(3, &[1, 2, 3]);
        book.deliver(1).unwrap();
        book.begin_session();
        book.deliver(1).unwrap();
        book.acknowledge(1);
        book.begin_session();
        book.clone().deliver(1).unwrap();
        book.clone().deliver(2).unwrap();
        book.acknowledged(1);
        assert!(book.clone().deliver(1).is_err());
        book.deliver(2).unwrap();
        book.acknowledge(3);
        book.close().unwrap();
    }

    #[test]
    fn a_session_delivers_in_order() {
        let mut book = book(3, &[]);
        book.deliver(3).unwrap();
        assert!(book.deliver(2).is_err());
    }
}
