//! When a request that failed is tried again (agent.md §6.1).

use crate::encoding::{Decode, DecodeError, Encode, Reader};
use crate::timestamp::Timestamp;

/// How a request failed, as far as the next attempt cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// The network or the server: soon.
    Fast,
    /// The peer's queue is full: seldom, since its owner says when it is not.
    Slow,
    /// The peer's queue is blocked: soon at first, and the longer the block lasts the more seldom, since nobody says when it
    /// is over.
    Growing,
}

/// A pace's delays, in milliseconds.
struct Schedule {
    first: i64,
    /// The delay stays the first one for so long.
    grows_after: i64,
    max: i64,
}

const FAST: Schedule = Schedule { first: 2_000, grows_after: 10_000, max: 120_000 };
const SLOW: Schedule = Schedule { first: 300_000, grows_after: 60_000, max: 6 * 3_600_000 };
const GROWING: Schedule = Schedule { max: SLOW.max, ..FAST };

/// A wait is longer by at most this part of what it has grown by.
const SPREAD: i64 = 4;

/// A job's place in its schedules; stored with the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Retry {
    fast: Progress,
    slow: Progress,
    /// Not to be tried before this moment.
    pub(super) not_before: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Progress {
    delay: i64,
    elapsed: i64,
}

impl Retry {
    /// Puts the next attempt off; gives its moment. Waits that have grown are spread by a number drawn at random: those
    /// who failed together need not come back together.
    pub(super) fn put_off(&mut self, pace: Pace, now: Timestamp, drawn: u64) -> Timestamp {
        let (schedule, progress) = match pace {
            Pace::Fast => (FAST, &mut self.fast),
            Pace::Slow => (SLOW, &mut self.slow),
            Pace::Growing => (GROWING, &mut self.fast),
        };
        let delay = progress.next(&schedule);
        let spread = delay.saturating_sub(schedule.first).div_euclid(SPREAD).unsigned_abs();
        let later = drawn.checked_rem(spread.saturating_add(1)).and_then(|ms| i64::try_from(ms).ok());
        let at = now.plus_ms(delay.saturating_add(later.unwrap_or(0)));
        self.not_before = Some(at);
        at
    }

    /// Whether an attempt failed before.
    pub(super) fn was_put_off(&self) -> bool {
        *self != Self::default()
    }

    /// Lets the next attempt come at once, without forgetting how many there were.
    pub(super) fn wake(&mut self) {
        self.not_before = None;
    }
}

impl Progress {
    fn next(&mut self, schedule: &Schedule) -> i64 {
        if self.delay < schedule.first {
            self.delay = schedule.first;
        } else if self.elapsed >= schedule.grows_after {
            self.delay = self.delay.saturating_mul(3).div_euclid(2).min(schedule.max);
        }
        self.elapsed = self.elapsed.saturating_add(self.delay);
        self.delay
    }
}

impl Encode for Retry {
    fn encode(&self, out: &mut Vec<u8>) {
        for number in [self.fast.delay, self.fast.elapsed, self.slow.delay, self.slow.elapsed] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        crate::encoding::put_maybe(out, self.not_before, |out, at| {
            out.extend_from_slice(&at.0.to_be_bytes())
        });
    }
}

impl Decode for Retry {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            fast: Progress { delay: reader.i64()?, elapsed: reader.i64()? },
            slow: Progress { delay: reader.i64()?, elapsed: reader.i64()? },
            not_before: reader.maybe(|reader| reader.i64().map(Timestamp))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delays(pace: Pace, count: usize) -> Vec<i64> {
        let mut retry = Retry::default();
        (0..count).map(|_| retry.put_off(pace, Timestamp(0), 0).0).collect()
    }

    #[test]
    fn delays_grow_after_a_while_up_to_their_bound() {
        assert_eq!(delays(Pace::Fast, 8), [2_000, 2_000, 2_000, 2_000, 2_000, 3_000, 4_500, 6_750]);
        assert_eq!(delays(Pace::Fast, 40).last(), Some(&120_000));
        assert_eq!(delays(Pace::Slow, 3), [300_000, 450_000, 675_000]);
        assert_eq!(delays(Pace::Slow, 40).last(), Some(&21_600_000));
        assert_eq!(delays(Pace::Growing, 8), delays(Pace::Fast, 8));
        assert_eq!(delays(Pace::Growing, 40).last(), Some(&21_600_000));
    }

    #[test]
    fn a_restart_goes_on_where_it_was() {
        let mut retry = Retry::default();
        for _ in 0..7 {
            retry.put_off(Pace::Fast, Timestamp(5), 0);
        }
        let mut read = Retry::from_bytes(&retry.to_bytes()).unwrap();
        assert_eq!(read, retry);
        read.wake();
        assert_eq!(read.not_before, None);
        assert_eq!(read.put_off(Pace::Fast, Timestamp(5), 0), retry.put_off(Pace::Fast, Timestamp(5), 0));
    }

    #[test]
    fn waits_that_have_grown_are_spread() {
        let mut retry = Retry::default();
        let waits: Vec<_> = (0..7).map(|_| retry.put_off(Pace::Fast, Timestamp(0), u64::MAX).0).collect();
        assert_eq!(waits[..5], [2_000; 5]);
        for (wait, grown) in waits[5..].iter().zip([3_000, 4_500]) {
            assert!((grown..=grown + (grown - 2_000) / 4).contains(wait), "{wait}");
        }
    }
}
