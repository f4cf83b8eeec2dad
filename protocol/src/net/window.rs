//! How much may be on its way to one server: enough to keep server and line busy, and not so much that whoever comes
//! next waits long behind it.
//!
//! ```text
//!            answers come about as fast as the fastest, and the window is used ──▶ larger by one for each
//! window ──┤ one comes later than that by more than WAIT_MAX ──▶ smaller by a quarter, once in the time it took
//!            every PERIOD ──▶ small for a moment, to see again how fast the fastest is
//! ```
//!
//! A server far away is thus given as much more as its distance takes, and one that is busy no more than it gets done
//! in [`WAIT_MAX`]. Pure: times come in.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::timestamp::Timestamp;

/// What a window begins with.
const FIRST: usize = 64;
/// How much longer than the fastest answer others may take before the window gets smaller.
const WAIT_MAX: Duration = Duration::from_millis(10);
/// The fastest answer is that of this and the last period: the way to a server may change.
const PERIOD_MS: i64 = 20_000;

/// The window of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Window {
    size: usize,
    bounds: RangeInclusive<usize>,
    /// The fastest answers of this period and of the last one.
    fastest: [Option<Duration>; 2],
    period_ends: Timestamp,
    /// When it was made smaller last. What left before says nothing of the present size.
    shrunk: Timestamp,
}

impl Window {
    /// A window that stays within bounds.
    pub(super) fn new(bounds: RangeInclusive<usize>) -> Self {
        let size = FIRST.clamp(*bounds.start(), *bounds.end());
        let start = Timestamp::default();
        Self { size, bounds, fastest: [None; 2], period_ends: start, shrunk: start }
    }

    /// Most requests on their way. Never 0.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// An answer came that took so long. `is_full` says whether as much was on its way as may be.
    pub(super) fn answered(&mut self, took: Duration, is_full: bool, now: Timestamp) {
        // The second condition: the clock was set back.
        if now >= self.period_ends || now.plus_ms(PERIOD_MS) < self.period_ends {
            let is_first = self.fastest == [None; 2];
            self.period_ends = now.plus_ms(PERIOD_MS);
            self.fastest = [None, self.fastest[0]];
            if !is_first {
                self.shrink(self.size / 4, now);
            }
        }
        let [present, _] = &mut self.fastest;
        *present = Some(present.map_or(took, |fastest| fastest.min(took)));
        let fastest = self.fastest.iter().flatten().min().copied().unwrap_or(took);
        if took <= fastest.saturating_add(WAIT_MAX) {
            if is_full {
                self.size = self.size.saturating_add(1).min(*self.bounds.end());
            }
        } else if self.left_since_shrunk(took, now) {
            self.shrink(self.size - self.size / 4, now);
        }
    }

    fn left_since_shrunk(&self, took: Duration, now: Timestamp) -> bool {
        let took_ms = i64::try_from(took.as_millis()).unwrap_or(i64::MAX);
        now < self.shrunk || now.0.saturating_sub(self.shrunk.0) > took_ms
    }

    fn shrink(&mut self, size: usize, now: Timestamp) {
        self.size = size.clamp(*self.bounds.start(), *self.bounds.end());
        self.shrunk = now;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    const BOUNDS: RangeInclusive<usize> = 16..=256;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// A server that is `distance_ms` away and does one request in `each_us`, asked for as much as the window allows.
    struct Line {
        window: Window,
        distance_us: u64,
        each_us: u64,
        now_us: u64,
        free_at_us: u64,
        /// When each request left, and when its answer is there.
        flying: VecDeque<(u64, u64)>,
    }

    impl Line {
        fn new(distance_ms: u64, each_us: u64) -> Self {
            let window = Window::new(BOUNDS);
            let distance_us = distance_ms * 1000;
            Self { window, distance_us, each_us, now_us: 1, free_at_us: 0, flying: VecDeque::new() }
        }

        fn fill(&mut self) {
            while self.flying.len() < self.window.size() {
                let begun = self.free_at_us.max(self.now_us + self.distance_us / 2);
                self.free_at_us = begun + self.each_us;
                self.flying.push_back((self.now_us, self.free_at_us + self.distance_us / 2));
            }
        }

        /// Runs for so long; gives how many were answered, and how long the last one took.
        fn run(&mut self, for_ms: u64) -> (usize, Duration) {
            let end = self.now_us + for_ms * 1000;
            let (mut answered, mut last) = (0, Duration::ZERO);
            self.fill();
            while let Some((left, comes)) = self.flying.front().copied()
                && comes <= end
            {
                self.now_us = comes;
                let is_full = self.flying.len() >= self.window.size();
                self.flying.pop_front();
                last = Duration::from_micros(comes - left);
                let now = Timestamp(i64::try_from(self.now_us / 1000).unwrap());
                self.window.answered(last, is_full, now);
                self.fill();
                answered += 1;
            }
            self.now_us = end;
            (answered, last)
        }
    }

    #[test]
    fn a_server_far_away_gets_as_much_as_its_distance_takes() {
        let mut line = Line::new(100, 100);
        line.run(1000);
        assert_eq!(line.window.size(), *BOUNDS.end());
        let (answered, _) = line.run(10_000);
        assert!(answered > 24_000, "{answered}: 256 in 100 ms, but for the moments when it is tried anew");
    }

    #[test]
    fn a_server_nearby_is_busy_all_the_time_and_nobody_waits_long() {
        let mut line = Line::new(1, 200);
        line.run(1000);
        let (answered, took) = line.run(10_000);
        assert!(answered > 49_000, "{answered} of the 50,000 that it can do");
        assert!(took < ms(1) + WAIT_MAX * 2, "{took:?}");
    }

    #[test]
    fn a_way_that_gets_longer_is_learned() {
        let mut line = Line::new(1, 100);
        line.run(5000);
        line.distance_us = 80_000;
        line.run(2 * u64::try_from(PERIOD_MS).unwrap() + 2000);
        assert_eq!(line.window.size(), *BOUNDS.end());
    }

    #[test]
    fn a_window_that_is_not_used_does_not_grow() {
        let mut window = Window::new(BOUNDS);
        for _ in 0..1000 {
            window.answered(ms(1), false, Timestamp(1));
        }
        assert_eq!(window, Window { fastest: [Some(ms(1)), None], ..window.clone() });
        assert_eq!(window.size(), FIRST);
    }

    #[test]
    fn late_answers_that_left_together_count_once() {
        let mut window = Window::new(BOUNDS);
        window.answered(ms(1), true, Timestamp(1000));
        let size = window.size();
        for moment in 1100..1180 {
            window.answered(ms(100), true, Timestamp(moment));
        }
        assert_eq!(window.size(), size - size / 4);
        window.answered(ms(100), true, Timestamp(1202));
        assert!(window.size() < size - size / 4);
    }

    proptest! {
        /// Whatever answers and clocks do, something may always be on its way, and never too much.
        #[test]
        fn a_window_stays_within_its_bounds(
            answers in proptest::collection::vec((any::<u64>(), any::<bool>(), any::<i64>()), 0..200),
        ) {
            let mut window = Window::new(BOUNDS);
            for (took, is_full, now) in answers {
                window.answered(Duration::from_millis(took), is_full, Timestamp(now));
                prop_assert!(BOUNDS.contains(&window.size()));
            }
        }
    }
}
