//! What people and programs see of the results.

use serde_json::json;

use crate::measure::Measurement;
use crate::targets::{self, Verdict};

/// Widths of the columns.
const NAME: usize = 50;

/// The head of the table.
pub(crate) fn head(as_json: bool) {
    if !as_json {
        println!(
            "{:<NAME$} {:>9} {:>9} {:>8} {:>8} {:>8} {:>8} {:>8} {:>9} {:>8} {:>5}",
            "phase",
            "count",
            "per s",
            "p50 ms",
            "p99 ms",
            "max ms",
            "srv ms",
            "cli ms",
            "wire B",
            "RSS MB",
            "load"
        );
    }
}

/// One result.
pub(crate) fn line(result: &Measurement, as_json: bool) {
    if as_json {
        println!("{}", result.to_json());
        return;
    }
    let latency = |part: f64| result.latencies.as_ref().map(|latencies| latencies.quantile_ms(part));
    let number = |value: Option<f64>, digits: usize| match value {
        Some(value) => format!("{value:.digits$}"),
        None => "-".to_owned(),
    };
    let counted = result.seconds > 0.0;
    println!(
        "{:<NAME$} {:>9} {:>9} {:>8} {:>8} {:>8} {:>8} {:>8} {:>9} {:>8} {:>5.1}",
        result.name,
        if counted { result.operations.to_string() } else { "-".to_owned() },
        number(counted.then(|| result.rate()), 0),
        number(latency(0.5), 2),
        number(latency(0.99), 2),
        number(latency(1.0), 2),
        number(result.server_cpu_ms, 4),
        number(result.client_cpu_ms, 4),
        number(result.wire_bytes, 0),
        number(result.resident_bytes.map(|bytes| bytes as f64 / 1e6), 1),
        result.load,
    );
    for (name, value) in &result.figures {
        println!("    {name:<46} {value:>9.2}");
    }
}

/// How far the server is from the limits and the peers that were measured in the same run.
pub(crate) fn ratios(results: &[Measurement], as_json: bool) {
    let rate_of = |start: &str| {
        results
            .iter()
            .find(|result| result.name.starts_with(start))
            .map(Measurement::rate)
            .filter(|rate| *rate > 0.0)
    };
    for subject in ["send:", "cycle:"] {
        let Some(rate) = rate_of(subject) else { continue };
        for other in results {
            let is_other = ["limit:", "peer:"].iter().any(|start| other.name.starts_with(start));
            if !is_other || other.rate() <= 0.0 {
                continue;
            }
            let ratio = rate / other.rate();
            if as_json {
                println!(
                    "{}",
                    json!({"ratio_of": subject.trim_end_matches(':'), "to": other.name, "ratio": ratio})
                );
            } else {
                println!("{:<8} to {:<60} {ratio:>7.3}", subject.trim_end_matches(':'), other.name);
            }
        }
    }
}

/// The targets with what was measured, as a table for `docs/performance.md`.
pub(crate) fn targets(results: &[Measurement], as_json: bool) {
    let verdicts = targets::judge(results);
    if !as_json && !verdicts.is_empty() {
        println!("\n| what | measured | target | met | phase |\n|---|---|---|---|---|");
    }
    for Verdict { target, at, measured, is_met } in verdicts {
        let bound = target.bound();
        if as_json {
            println!(
                "{}",
                json!({"target": target.what, "phase": at, "measured": measured, "bound": bound, "met": is_met})
            );
        } else {
            let met = if is_met { "yes" } else { "**no**" };
            println!("| {} | {} | {bound} | {met} | {at} |", target.what, targets::number(measured));
        }
    }
}
