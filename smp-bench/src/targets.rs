//! What a server is to reach on two cores, load generator included.

use crate::measure::Measurement;

/// One target.
#[derive(Debug)]
pub(crate) struct Target {
    /// What it is about, with its unit.
    pub(crate) what: &'static str,
    /// How the name of the measurement begins; the last such counts, which is the largest.
    phase: &'static str,
    /// How the figure is found in it.
    figure: Figure,
    limit: Limit,
}

#[derive(Debug)]
enum Figure {
    Rate,
    P50,
    P99,
    ServerCpu,
    Named(&'static str),
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

use Figure::{Named, P50, P99, Rate, ServerCpu};
use Limit::{AtLeast, AtMost};

const TARGETS: &[Target] = &[
    target("durable `SEND` to `OK`, 16 KB, per second", "send:", Rate, AtLeast(8000.0)),
    target("the same, p99, ms", "send:", P99, AtMost(25.0)),
    target("whole cycles `SEND`, `MSG`, `ACK`, per second", "cycle:", Rate, AtLeast(4000.0)),
    target("the same, server's processor time of each, ms", "cycle:", ServerCpu, AtMost(0.12)),
    target("`SEND` to `MSG` at a fixed rate, p50, ms", "steady:", P50, AtMost(8.0)),
    target("the same, p99, ms", "steady:", P99, AtMost(25.0)),
    target(
        "idle subscribed connection, bytes resident",
        "idle:",
        Named("bytes_per_connection"),
        AtMost(16_384.0),
    ),
    target("idle queue, bytes resident", "growth: NEW", Named("bytes_per_queue"), AtMost(200.0)),
    target("a service has its queues back, s", "service:", Named("complete_s"), AtMost(30.0)),
    target("serving again after `kill -9`, s", "restart:", Named("serving_s"), AtMost(5.0)),
    target("TLS handshakes per second", "handshakes: TLS alone", Rate, AtLeast(2000.0)),
    target(
        "honest client in that flood, p99, ms",
        "handshakes: TLS alone",
        Named("honest_p99_ms"),
        AtMost(25.0),
    ),
    target(
        "refusals, largest difference of times, %",
        "refusals:",
        Named("difference_percent"),
        AtMost(30.0),
    ),
];

const fn target(what: &'static str, phase: &'static str, figure: Figure, limit: Limit) -> Target {
    Target { what, phase, figure, limit }
}

impl Target {
    /// The bound in words.
    pub(crate) fn bound(&self) -> String {
        match self.limit {
            AtLeast(bound) => format!("≥ {}", number(bound)),
            AtMost(bound) => format!("≤ {}", number(bound)),
        }
    }

    fn is_met(&self, measured: f64) -> bool {
        match self.limit {
            AtLeast(bound) => measured >= bound,
            AtMost(bound) => measured <= bound,
        }
    }

    fn figure_of(&self, measurement: &Measurement) -> Option<f64> {
        match self.figure {
            Rate => Some(measurement.rate()),
            P50 => measurement.latencies.as_ref().map(|latencies| latencies.quantile_ms(0.5)),
            P99 => measurement.latencies.as_ref().map(|latencies| latencies.quantile_ms(0.99)),
            ServerCpu => measurement.server_cpu_ms,
            Named(name) => measurement.figure(name),
        }
    }
}

/// The targets about which something was measured. Of several measurements the worst counts, but of several sizes the
/// largest, which was measured last.
pub(crate) fn judge(results: &[Measurement]) -> Vec<Verdict> {
    let judge = |target: &'static Target| {
        let mut found = results
            .iter()
            .filter(|result| result.name.starts_with(target.phase))
            .filter_map(|result| Some((result, target.figure_of(result)?)));
        let (result, measured) = match target.phase {
            "refusals:" => found.max_by(|(_, one), (_, other)| one.total_cmp(other)),
            _ => found.next_back(),
        }?;
        let is_met = target.is_met(measured);
        Some(Verdict { target, at: result.name.clone(), measured, is_met })
    };
    TARGETS.iter().filter_map(judge).collect()
}

/// With as many digits as tell something.
pub(crate) fn number(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 1.0 => format!("{value:.2}"),
        value => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(name: &str, figure: &str, value: f64) -> Measurement {
        Measurement { name: name.to_owned(), ..Measurement::default() }.with(figure, value)
    }

    #[test]
    fn the_largest_size_and_the_worst_refusal_count() {
        let results = [
            figure("growth: NEW at 10 queues", "bytes_per_queue", 900.0),
            figure("growth: NEW at 1000 queues", "bytes_per_queue", 190.0),
            figure("refusals: one", "difference_percent", 31.0),
            figure("refusals: other", "difference_percent", 2.0),
        ];
        let verdicts: Vec<(f64, bool)> =
            judge(&results).iter().map(|verdict| (verdict.measured, verdict.is_met)).collect();
        assert_eq!(verdicts, [(190.0, true), (31.0, false)]);
    }

    #[test]
    fn a_rate_must_be_reached_and_a_time_must_not_be_passed() {
        let fast =
            Measurement { name: "cycle: x".into(), operations: 4000, seconds: 1.0, ..Measurement::default() };
        let slow = Measurement { operations: 3999, server_cpu_ms: Some(0.12), ..Measurement::default() };
        let slow = Measurement { name: "cycle: x".into(), seconds: 1.0, ..slow };
        let met = |result| judge(&[result]).iter().map(|verdict| verdict.is_met).collect::<Vec<_>>();
        assert_eq!(met(fast), [true]);
        assert_eq!(met(slow), [false, true]);
    }
}
