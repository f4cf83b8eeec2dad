//! How long to wait before the next attempt to reconnect (agent.md §6.7).

use std::time::Duration;

/// The first wait.
const DELAY_FIRST: Duration = Duration::from_secs(2);
/// Waits grow by half once this much time was waited with one of them.
const GROWTH_AFTER: Duration = Duration::from_secs(10);
/// The longest wait.
const DELAY_MAX: Duration = Duration::from_secs(180);

/// The waits of one series of failures.
#[derive(Debug, Clone)]
pub(super) struct Backoff {
    delay: Duration,
    waited: Duration,
}

impl Backoff {
    pub(super) fn new() -> Self {
        Self { delay: DELAY_FIRST, waited: Duration::ZERO }
    }

    /// The next wait.
    pub(super) fn next(&mut self) -> Duration {
        if self.waited >= GROWTH_AFTER {
            self.delay = (self.delay * 3 / 2).min(DELAY_MAX);
        }
        self.waited = self.waited.saturating_add(self.delay);
        self.delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_stay_short_for_ten_seconds_and_then_grow_to_three_minutes() {
        let mut backoff = Backoff::new();
        for _ in 0..5 {
            assert_eq!(backoff.next(), Duration::from_secs(2));
        }
        assert_eq!(backoff.next(), Duration::from_secs(3));
        assert_eq!(backoff.next(), Duration::from_millis(4500));
        let last = (0..20).map(|_| backoff.next()).last();
        assert_eq!(last, Some(DELAY_MAX));
    }
}
