//! What the relay counts, for `/metrics` and `ctl stats`. No group, member, connection or address is named in here.
//!
//! Counts are kept by the engine's thread and copied when they are asked for.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use protocol::agent::event::SendFailure;
use serde_json::{Value, json};

/// Bounds of the buckets of times, seconds: from at once to the time that 100,000 members may take.
const SECONDS_BUCKETS: [f64; 11] = [0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0];

/// What is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refused {
    /// An owner's invitation.
    Invitation,
    /// A joiner's request.
    Join,
    /// A message.
    Message,
}

impl Refused {
    /// The word of the label.
    const fn word(self) -> &'static str {
        match self {
            Self::Invitation => "invitation",
            Self::Join => "join",
            Self::Message => "message",
        }
    }
}

macro_rules! counts {
    ($($(#[doc = $doc:literal])* $count:ident = $name:literal,)*) => {
        /// What only grows.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Count {
            $($(#[doc = $doc])* $count,)*
        }

        impl Count {
            /// All of them.
            const ALL: &'static [Self] = &[$(Self::$count,)*];

            const fn name(self) -> &'static str {
                match self { $(Self::$count => $name,)* }
            }

            const fn help(self) -> &'static str {
                match self { $(Self::$count => concat!($($doc),*),)* }
            }
        }
    };
}

counts! {
    /// Groups that were taken.
    GroupsTaken = "groups_taken",
    /// Members who were let in.
    Joins = "joins",
    /// Joiners whose request waits, or waited, for a moderator.
    Knocks = "knocks",
    /// Members whose connection came to stand.
    Connected = "members_connected",
    /// Second connections of members that came into use.
    SecondConnections = "second_connections",
    /// Messages of members and owners that were taken.
    Messages = "messages_taken",
    /// Copies of messages that were handed to connections of members.
    Copies = "copies_handed_out",
    /// Members that could not take a message at once, and are served it later.
    PassedOver = "members_passed_over",
    /// Connections whose keys were agreed on anew.
    Resyncs = "resyncs",
    /// Queues of the relay that their servers have lost.
    QueuesLost = "queues_lost",
    /// Sessions with servers that ended or did not come about.
    ServersLost = "servers_lost",
}

#[derive(Debug, Default)]
struct Counted {
    counts: BTreeMap<Count, u64>,
    refusals: BTreeMap<(Refused, &'static str), u64>,
    given_up: BTreeMap<&'static str, u64>,
    fan_out: Times,
}

/// Times sorted into buckets.
#[derive(Debug, Default)]
struct Times {
    /// How many were at most as long as the bucket's bound; longer ones are only in `count`.
    buckets: [u64; SECONDS_BUCKETS.len()],
    seconds: f64,
    count: u64,
}

/// Everything that the relay counts.
#[derive(Debug, Default)]
pub struct Metrics(Mutex<Counted>);

impl Metrics {
    /// So many more.
    pub fn add(&self, count: Count, more: u64) {
        self.with(|counted| grow(&mut counted.counts, count, more));
    }

    /// One more.
    pub fn one(&self, count: Count) {
        self.add(count, 1);
    }

    /// Something was refused for a reason.
    pub fn refused(&self, what: Refused, reason: &'static str) {
        self.with(|counted| grow(&mut counted.refusals, (what, reason), 1));
    }

    /// A message to a member was given up.
    pub fn gave_up(&self, reason: SendFailure) {
        if let Some(word) = word(reason) {
            self.with(|counted| grow(&mut counted.given_up, word, 1));
        }
    }

    /// A message was handed out to the last of its recipients so long after it came.
    pub fn fanned_out(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        self.with(|counted| {
            let times = &mut counted.fan_out;
            for (bucket, bound) in times.buckets.iter_mut().zip(SECONDS_BUCKETS) {
                *bucket = bucket.saturating_add(u64::from(seconds <= bound));
            }
            times.seconds += seconds;
            times.count = times.count.saturating_add(1);
        });
    }

    /// Messages that were given up, by reason.
    #[must_use]
    pub fn given_up(&self) -> Value {
        self.with(|counted| json!(counted.given_up))
    }

    /// Every count under its name, for people.
    #[must_use]
    pub fn snapshot(&self) -> serde_json::Map<String, Value> {
        self.with(|counted| {
            let count = |count: &Count| counted.counts.get(count).copied().unwrap_or(0);
            let mut out: serde_json::Map<_, _> =
                Count::ALL.iter().map(|each| (each.name().to_owned(), json!(count(each)))).collect();
            let refusals: serde_json::Map<_, _> = counted
                .refusals
                .iter()
                .map(|((what, reason), count)| (format!("{}_{reason}", what.word()), json!(count)))
                .collect();
            out.insert("refusals".to_owned(), refusals.into());
            out.insert("given_up".to_owned(), json!(counted.given_up));
            out
        })
    }

    /// Every count in the text format of Prometheus.
    #[must_use]
    pub fn render(&self) -> String {
        self.with(|counted| {
            let mut out = Text::default();
            for count in Count::ALL {
                let name = format!("{}_total", count.name());
                out.family(&name, "counter", count.help());
                out.sample(&name, &[], counted.counts.get(count).copied().unwrap_or(0));
            }
            out.family("refusals_total", "counter", "What was refused, by reason.");
            for ((what, reason), count) in &counted.refusals {
                out.sample("refusals_total", &[("what", what.word()), ("reason", reason)], *count);
            }
            out.family("given_up_total", "counter", "Messages to members that were given up, by reason.");
            // Each from the start: a rate sees the first of a kind too.
            for reason in FAILURES.into_iter().filter_map(word) {
                let count = counted.given_up.get(reason).copied().unwrap_or(0);
                out.sample("given_up_total", &[("reason", reason)], count);
            }
            let times = &counted.fan_out;
            let name = "fan_out_seconds";
            out.family(name, "histogram", "From a message's arrival to its last recipient.");
            for (bucket, bound) in times.buckets.iter().zip(SECONDS_BUCKETS) {
                out.sample("fan_out_seconds_bucket", &[("le", &bound.to_string())], *bucket);
            }
            out.sample("fan_out_seconds_bucket", &[("le", "+Inf")], times.count);
            out.sample("fan_out_seconds_sum", &[], times.seconds);
            out.sample("fan_out_seconds_count", &[], times.count);
            out.0
        })
    }

    fn with<R>(&self, change: impl FnOnce(&mut Counted) -> R) -> R {
        // Counts are whole at every moment, also where a thread died.
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Why messages are given up.
const FAILURES: [SendFailure; 5] = [
    SendFailure::Expired,
    SendFailure::QuotaExpired,
    SendFailure::BlockedForLong,
    SendFailure::NoQueue,
    SendFailure::Refused,
];

/// The word of the label.
fn word(reason: SendFailure) -> Option<&'static str> {
    match reason {
        SendFailure::Expired => Some("expired"),
        SendFailure::QuotaExpired => Some("quota_expired"),
        SendFailure::BlockedForLong => Some("blocked"),
        SendFailure::NoQueue => Some("no_queue"),
        // What was passed over is given by history.
        SendFailure::TakenBack => None,
        SendFailure::Refused => Some("refused"),
    }
}

fn grow<K: Ord>(counts: &mut BTreeMap<K, u64>, key: K, more: u64) {
    let count = counts.entry(key).or_default();
    *count = count.saturating_add(more);
}

/// The text format of Prometheus, with the program's prefix ahead of each name.
#[derive(Debug, Default)]
pub(crate) struct Text(pub(crate) String);

impl Text {
    /// Begins a metric.
    pub(crate) fn family(&mut self, name: &str, kind: &str, help: &str) {
        let help = help.trim();
        self.0.push_str(&format!("# HELP chat_relay_{name} {help}\n# TYPE chat_relay_{name} {kind}\n"));
    }

    /// One series of it.
    pub(crate) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let labels: Vec<String> =
            labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        self.0.push_str(&format!("chat_relay_{name}{labels} {value}\n"));
    }
}

/// A label's value as the format wants it.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_come_out_as_text_and_for_people() {
        let metrics = Metrics::default();
        metrics.add(Count::Copies, 3);
        metrics.refused(Refused::Join, "full");
        metrics.gave_up(SendFailure::NoQueue);
        metrics.fanned_out(Duration::from_millis(200));
        metrics.fanned_out(Duration::from_secs(1000));
        let text = metrics.render();
        for line in [
            "# TYPE chat_relay_joins_total counter",
            "chat_relay_joins_total 0",
            "chat_relay_copies_handed_out_total 3",
            "chat_relay_refusals_total{what=\"join\",reason=\"full\"} 1",
            "chat_relay_given_up_total{reason=\"no_queue\"} 1",
            "chat_relay_given_up_total{reason=\"refused\"} 0",
            "chat_relay_fan_out_seconds_bucket{le=\"0.1\"} 0",
            "chat_relay_fan_out_seconds_bucket{le=\"0.25\"} 1",
            "chat_relay_fan_out_seconds_bucket{le=\"+Inf\"} 2",
            "chat_relay_fan_out_seconds_sum 1000.2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        assert_eq!(metrics.snapshot()["copies_handed_out"], 3);
        assert_eq!(metrics.snapshot()["refusals"], json!({ "join_full": 1 }));
    }

    #[test]
    fn labels_cannot_break_the_format() {
        let mut text = Text::default();
        text.sample("x", &[("server", "a\"b\\c\nd")], 1);
        assert_eq!(text.0, "chat_relay_x{server=\"a\\\"b\\\\c\\nd\"} 1\n");
    }
}
