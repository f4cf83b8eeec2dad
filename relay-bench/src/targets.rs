//! What a relay is to reach on two cores, server and load generator included, with its state in a file.

use crate::report::Measurement;

/// One target.
#[derive(Debug)]
pub(crate) struct Target {
    /// What it is about, with its unit.
    pub(crate) what: &'static str,
    /// How the name of the measurement begins; the worst such counts.
    phase: &'static str,
    /// The number of members that it is about; any when 0.
    members: u32,
    figure: &'static str,
    limit: Limit,
}

#[derive(Debug, Clone, Copy)]
enum Limit {
    AtLeast(f64),
    AtMost(f64),
}

/// A target beside what was measured.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) target: &'static Target,
    /// The name of the measurement.
    pub(crate) at: String,
    pub(crate) measured: f64,
    pub(crate) is_met: bool,
}

use Limit::{AtLeast, AtMost};

const TARGETS: &[Target] = &[
    target("10,000 members: first copy, ms", "delivery: post", 10_000, "first_copy_ms", AtMost(50.0)),
    target("10,000 members: last `OK`, s", "delivery: post", 10_000, "last_answer_s", AtMost(5.0)),
    target("100,000 members: last `OK`, s", "delivery: post", 100_000, "last_answer_s", AtMost(60.0)),
    target("100,000 members: memory at most, MiB", "delivery:", 100_000, "peak_mib", AtMost(256.0)),
    target("joins per second while posting", "joins:", 0, "per_s", AtLeast(60.0)),
    target("relay's processor time of a join, ms", "joins:", 0, "relay_ms", AtMost(7.0)),
    target(
        "a waiting member, bytes beside 1.1 × the message",
        "storage: further",
        0,
        "bytes_per_waiting_member",
        AtMost(16.0),
    ),
    target("an item in flight, bytes more", "storage: first", 0, "bytes_per_item", AtMost(528.0)),
    target(
        "small group beside a huge one: first copy, ms",
        "fairness: beside",
        0,
        "first_copy_ms",
        AtMost(50.0),
    ),
    target("growth with members, ratio", "growth, members in all", 0, "ratio_worst", AtMost(2.0)),
    target("growth of joins with members, ratio", "growth, joins in all", 0, "ratio_worst", AtMost(2.0)),
    target("growth with groups, ratio", "growth, groups in all", 0, "ratio_worst", AtMost(2.0)),
    target("growth with relays, ratio", "growth, relays in all", 0, "ratio_worst", AtMost(2.0)),
    target("growth with backlog, ratio", "growth, backlog in all", 0, "ratio_worst", AtMost(2.0)),
];

const fn target(
    what: &'static str,
    phase: &'static str,
    members: u32,
    figure: &'static str,
    limit: Limit,
) -> Target {
    Target { what, phase, members, figure, limit }
}

impl Target {
    /// The bound in words.
    pub(crate) fn bound(&self) -> String {
        match self.limit {
            AtLeast(bound) => format!("≥ {bound}"),
            AtMost(bound) => format!("≤ {bound}"),
        }
    }

    fn is_met(&self, measured: f64) -> bool {
        match self.limit {
            AtLeast(bound) => measured >= bound,
            AtMost(bound) => measured <= bound,
        }
    }

    /// The worst of what was measured of it.
    fn judge(&'static self, results: &[Measurement]) -> Option<Verdict> {
        let found = results.iter().filter(|result| {
            !result.phase.contains("postgres")
                && result.phase.starts_with(self.phase)
                && (self.members == 0 || result.members == self.members)
        });
        let figures = found.filter_map(|result| Some((result, result.figure(self.figure)?)));
        let worse = |one: &(_, f64), other: &(_, f64)| match self.limit {
            AtLeast(_) => other.1.total_cmp(&one.1),
            AtMost(_) => one.1.total_cmp(&other.1),
        };
        let (result, measured) = figures.max_by(worse)?;
        Some(Verdict { target: self, at: result.phase.clone(), measured, is_met: self.is_met(measured) })
    }
}

/// The targets about which something was measured.
pub(crate) fn judge(results: &[Measurement]) -> Vec<Verdict> {
    TARGETS.iter().filter_map(|target| target.judge(results)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_of_the_right_size_counts() {
        let post =
            |members, seconds| Measurement::new("delivery: post 1", members).with("last_answer_s", seconds);
        let results = [post(10_000, 2.0), post(10_000, 5.5), post(500, 9.0)];
        let verdicts: Vec<_> = judge(&results).iter().map(|one| (one.measured, one.is_met)).collect();
        assert_eq!(verdicts, [(5.5, false)]);
    }

    #[test]
    fn a_rate_must_be_reached_and_a_time_must_not_be_passed() {
        let result = |per_s| Measurement::new("joins: 10", 60).with("per_s", per_s).with("relay_ms", 7.0);
        let met = |results: &[Measurement]| judge(results).iter().map(|one| one.is_met).collect::<Vec<_>>();
        assert_eq!(met(&[result(60.0)]), [true, true]);
        assert_eq!(met(&[result(80.0), result(59.9)]), [false, true]);
    }
}
