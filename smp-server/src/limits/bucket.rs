//! How much may be done in a time: a bucket that fills at a rate and may be drawn on ahead of time, for a wait.

use std::time::{Duration, Instant};

/// How fast a bucket fills and how much it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rate {
    /// Nanoseconds per unit; 0 for no limit.
    interval_ns: u64,
    /// How long the whole bucket takes to fill.
    burst_ns: u64,
}

/// A bucket. It keeps one number: when it will be full.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Bucket {
    /// Nanoseconds since the start of the clock.
    full_at: u64,
}

/// More was wanted than can be had in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMuch;

/// Counts time from its making.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock(Instant);

impl Rate {
    /// So many units in a period, all of which may be used at once; 0 units for no limit.
    pub(super) fn new(units: u64, period: Duration) -> Self {
        let burst_ns = nanoseconds(period);
        let interval_ns = burst_ns.checked_div(units).map_or(0, |interval_ns| interval_ns.max(1));
        Self { interval_ns, burst_ns }
    }

    /// The same rate, with so many periods' worth to use at once.
    pub(super) fn with_burst(self, periods: u64) -> Self {
        Self { burst_ns: self.burst_ns.saturating_mul(periods), ..self }
    }
}

impl Bucket {
    /// Takes units, also such as will only be there after a wait, which is at most `longest`. Says how long to wait.
    pub(super) fn take(
        &mut self,
        rate: Rate,
        units: u64,
        now: u64,
        longest: Duration,
    ) -> Result<Duration, TooMuch> {
        let full_at = self.full_at.max(now).saturating_add(rate.interval_ns.saturating_mul(units));
        let wait = Duration::from_nanos(full_at.saturating_sub(now).saturating_sub(rate.burst_ns));
        if wait > longest {
            return Err(TooMuch);
        }
        if rate.interval_ns > 0 && units > 0 {
            self.full_at = full_at;
        }
        Ok(wait)
    }

    /// How long until one unit can be had. Takes none.
    pub(super) fn wait(&self, rate: Rate, now: u64) -> Duration {
        let mut copy = *self;
        copy.take(rate, 1, now, Duration::MAX).unwrap_or_default()
    }

    /// Whether it is full: then it need not be remembered.
    pub(super) fn is_full(&self, now: u64) -> bool {
        self.full_at <= now
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Clock {
    pub(super) fn now(self) -> u64 {
        nanoseconds(self.0.elapsed())
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const SECOND_NS: u64 = 1_000_000_000;

    #[test]
    fn what_is_taken_ahead_of_time_is_waited_for() {
        let rate = Rate::new(10, SECOND);
        let mut bucket = Bucket::default();
        assert_eq!(bucket.take(rate, 10, 0, SECOND), Ok(Duration::ZERO));
        assert_eq!(bucket.wait(rate, 0), SECOND / 10);
        assert_eq!(bucket.take(rate, 5, 0, SECOND), Ok(SECOND / 2));
        assert_eq!(bucket.take(rate, 6, 0, SECOND), Err(TooMuch), "refused, and nothing taken");
        assert_eq!(bucket.take(rate, 5, 0, SECOND), Ok(SECOND));
        assert!(!bucket.is_full(SECOND_NS));
        assert_eq!(bucket.take(rate, 1, SECOND_NS, SECOND), Ok(SECOND / 10), "it fills while nobody takes");
        assert!(bucket.is_full(4 * SECOND_NS));
        assert_eq!(
            bucket.take(rate, 10, 9 * SECOND_NS, SECOND),
            Ok(Duration::ZERO),
            "and not beyond its size"
        );
        assert_eq!(bucket.take(rate, 1, 9 * SECOND_NS, SECOND), Ok(SECOND / 10));
    }

    #[test]
    fn no_rate_is_no_limit_and_a_burst_is_used_at_once() {
        let mut bucket = Bucket::default();
        assert_eq!(bucket.take(Rate::new(0, SECOND), u64::MAX, 0, Duration::ZERO), Ok(Duration::ZERO));
        let rate = Rate::new(10, SECOND).with_burst(3);
        assert_eq!(bucket.take(rate, 30, 0, SECOND), Ok(Duration::ZERO));
        assert_eq!(bucket.take(rate, 1, 0, SECOND), Ok(SECOND / 10));
    }
}
