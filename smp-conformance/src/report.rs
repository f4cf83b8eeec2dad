//! How results are told: a line for people, an object of JSON per line for programs, JUnit for build servers.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::json;

use crate::suite::{Result, Verdict};

/// The line of a case.
#[must_use]
pub fn line(result: &Result) -> String {
    let (word, detail) = words(&result.verdict);
    let mut line = format!("{word:<7} {} ({})", result.name(), result.case.section);
    if !detail.is_empty() {
        let _ = write!(line, ": {detail}");
    }
    for note in &result.notes {
        let _ = write!(line, " [{note}]");
    }
    line
}

fn words(verdict: &Verdict) -> (&'static str, &str) {
    match verdict {
        Verdict::Ok => ("ok", ""),
        Verdict::Failed(detail) => ("FAILED", detail),
        Verdict::Skipped(detail) => ("skipped", detail),
    }
}

/// The object of a case.
#[must_use]
pub fn object(result: &Result) -> serde_json::Value {
    let (word, detail) = words(&result.verdict);
    json!({
        "type": "case",
        "name": result.name(),
        "case": result.case.name,
        "version": result.version,
        "section": result.case.section,
        "outcome": word.to_lowercase(),
        "detail": detail,
        "notes": result.notes,
        "ms": u64::try_from(result.took.as_millis()).unwrap_or(u64::MAX),
    })
}

/// How many cases ended how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Conformant.
    pub ok: usize,
    /// Not.
    pub failed: usize,
    /// Not tried.
    pub skipped: usize,
}

impl Summary {
    /// Counts.
    #[must_use]
    pub fn of(results: &[Result]) -> Self {
        let mut summary = Self::default();
        for result in results {
            match result.verdict {
                Verdict::Ok => summary.ok += 1,
                Verdict::Failed(_) => summary.failed += 1,
                Verdict::Skipped(_) => summary.skipped += 1,
            }
        }
        summary
    }

    /// The object that ends the output for programs.
    #[must_use]
    pub fn object(self) -> serde_json::Value {
        json!({ "type": "summary", "ok": self.ok, "failed": self.failed, "skipped": self.skipped })
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { ok, failed, skipped } = self;
        write!(f, "{} cases: {ok} ok, {failed} failed, {skipped} skipped", ok + failed + skipped)
    }
}

/// JUnit's XML, a suite per area.
#[must_use]
pub fn junit(results: &[Result]) -> String {
    let mut areas: BTreeMap<&str, Vec<&Result>> = BTreeMap::new();
    for result in results {
        areas.entry(result.case.area()).or_default().push(result);
    }
    let mut out =
        String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"smp-conformance\">\n");
    for (area, mut results) in areas {
        results.sort_by_key(|result| result.name());
        let count = |wanted: &str| results.iter().filter(|result| words(&result.verdict).0 == wanted).count();
        let _ = writeln!(
            out,
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" skipped=\"{}\">",
            escaped(area),
            results.len(),
            count("FAILED"),
            count("skipped")
        );
        for result in results {
            let _ = write!(
                out,
                "    <testcase classname=\"{}\" name=\"{}\" time=\"{:.3}\"",
                escaped(area),
                escaped(&result.name()),
                result.took.as_secs_f64()
            );
            let _ = match &result.verdict {
                Verdict::Ok => writeln!(out, "/>"),
                Verdict::Failed(detail) => writeln!(
                    out,
                    "><failure message=\"{}\">{}</failure></testcase>",
                    escaped(detail),
                    escaped(result.case.section)
                ),
                Verdict::Skipped(detail) => {
                    writeln!(out, "><skipped message=\"{}\"/></testcase>", escaped(detail))
                }
            };
        }
        out.push_str("  </testsuite>\n");
    }
    out.push_str("</testsuites>\n");
    out
}

fn escaped(text: &str) -> String {
    let mut out = String::new();
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            control if control.is_control() => out.push(' '),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::case::Case;

    fn results() -> Vec<Result> {
        let case = Case::new("area/what", "§20.1", |_| Box::pin(async { Ok(()) }));
        let result = |verdict, notes: &[&str]| Result {
            case,
            version: 18,
            verdict,
            notes: notes.iter().map(ToString::to_string).collect(),
            took: Duration::from_millis(1500),
        };
        vec![
            result(Verdict::Ok, &["quirk: one"]),
            result(Verdict::Failed("expected `OK`, got <\"&\u{1b}".into()), &[]),
            result(Verdict::Skipped("needs --spawn".into()), &[]),
        ]
    }

    #[test]
    fn a_line_per_case() {
        let lines: Vec<String> = results().iter().map(line).collect();
        assert_eq!(lines[0], "ok      area/what@18 (§20.1) [quirk: one]");
        assert_eq!(lines[2], "skipped area/what@18 (§20.1): needs --spawn");
        assert_eq!(Summary::of(&results()).to_string(), "3 cases: 1 ok, 1 failed, 1 skipped");
    }

    #[test]
    fn programs_read_the_same() {
        let object = object(&results()[1]);
        assert_eq!((object["outcome"].as_str(), object["version"].as_u64()), (Some("failed"), Some(18)));
        let xml = junit(&results());
        assert!(xml.contains("tests=\"3\" failures=\"1\" skipped=\"1\""), "{xml}");
        assert!(xml.contains("<failure message=\"expected `OK`, got &lt;&quot;&amp; \">"), "{xml}");
        assert!(xml.contains("<testcase classname=\"area\" name=\"area/what@18\" time=\"1.500\"/>"), "{xml}");
    }
}
