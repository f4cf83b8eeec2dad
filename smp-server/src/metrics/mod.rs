//! What the server counts, for `/metrics`, `ctl stats` and the daily line. No ids and no addresses are in here.
//!
//! Counts are plain atomics, so that counting costs next to nothing and everybody may read them.

mod commands;
mod exposition;
mod gauges;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

pub use commands::{CommandCounts, Outcome};
pub use exposition::Exposition;
pub use gauges::{Gauge, gauges};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// One more.
    pub fn one(&self) {
        self.add(1);
    }

    /// So many more.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// How many until now.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Every count under the name of its series, without the program's prefix: for people and for the daily line.
#[must_use]
pub fn snapshot(metrics: &Metrics) -> BTreeMap<String, u64> {
    let named = |name: &str, label: &str| format!("{}{label}", name.trim_start_matches("smp_server_"));
    let counts = metrics.samples().into_iter().map(|sample| {
        let label = sample.label.map(|(_, value)| format!("_{value}")).unwrap_or_default();
        (named(sample.name, &label), sample.value)
    });
    let commands = metrics.commands.samples().into_iter();
    counts.chain(commands.map(|(tag, outcome, value)| (format!("{tag}_{}", outcome.name()), value))).collect()
}

/// One time series with its present value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// The metric's name.
    pub name: &'static str,
    /// What tells it from others of that name; empty when it is the only one.
    pub label: Option<(&'static str, &'static str)>,
    /// What it counts.
    pub help: &'static str,
    /// How many.
    pub value: u64,
}

macro_rules! counts {
    ($( #[doc = $help:literal] $field:ident: $name:literal $({ $key:literal = $label:literal })?, )+) => {
        /// Everything that the server counts.
        #[derive(Debug, Default)]
        pub struct Metrics {
            $( #[doc = $help] pub $field: Count, )+
            /// Commands that were executed, by tag and outcome.
            pub commands: CommandCounts,
        }

        impl Metrics {
            /// The counts beside those of commands, in the order of this file.
            #[must_use]
            pub fn samples(&self) -> Vec<Sample> {
                vec![ $( Sample {
                    name: $name,
                    label: [ $( Some(($key, $label)), )? None ].first().copied().flatten(),
                    help: $help.trim_ascii(),
                    value: self.$field.value(),
                }, )+ ]
            }
        }
    };
}

counts! {
    /// Connections accepted.
    connections_accepted: "smp_server_connections_accepted_total",
    /// Connections turned away before their handshake.
    connections_refused: "smp_server_connections_refused_total",
    /// Connections turned away because of their address: too many, or too fast.
    connections_refused_by_address: "smp_server_connections_refused_by_address_total",
    /// Connections turned away for lack of memory.
    connections_refused_for_memory: "smp_server_connections_refused_for_memory_total",
    /// Handshakes that gave way to newer ones because there were too many.
    handshakes_displaced: "smp_server_handshakes_displaced_total",
    /// Blocks that were looked at later because their sender is too fast.
    blocks_delayed: "smp_server_blocks_delayed_total",
    /// Connections closed by a limit, by cause.
    closed_too_fast: "smp_server_connections_closed_total" { "cause" = "too_fast" },
    /// Connections closed by a limit, by cause.
    closed_slow_reader: "smp_server_connections_closed_total" { "cause" = "slow_reader" },
    /// Connections closed by a limit, by cause.
    closed_slow_writer: "smp_server_connections_closed_total" { "cause" = "slow_writer" },
    /// Connections closed by a limit, by cause.
    closed_for_memory: "smp_server_connections_closed_total" { "cause" = "memory" },
    /// Messages and queues refused for lack of room on disk.
    storage_refusals: "smp_server_storage_refusals_total",
    /// Handshakes (TLS and hellos) by outcome.
    handshakes_done: "smp_server_handshakes_total" { "outcome" = "done" },
    /// Handshakes (TLS and hellos) by outcome.
    handshakes_failed: "smp_server_handshakes_total" { "outcome" = "failed" },
    /// Blocks received and opened, 16384 bytes each.
    blocks_received: "smp_server_blocks_received_total",
    /// Blocks written, 16384 bytes each.
    blocks_sent: "smp_server_blocks_sent_total",
    /// Transmissions refused before execution: malformed, without authority, or of no queue.
    refusals: "smp_server_refusals_total",
    /// Messages handed to a recipient's connection, markers of full queues included.
    messages_delivered: "smp_server_messages_delivered_total",
    /// Messages that were damaged on disk and dropped by the operator.
    damaged_messages_dropped: "smp_server_damaged_messages_dropped_total",
    /// Connections of browsers, for the web pages.
    web_connections: "smp_server_web_connections_total",
    /// Connections of browsers that were closed because there were too many.
    web_refusals: "smp_server_web_refusals_total",
    /// Notifications that began to wait for their notifiers.
    notifications_created: "smp_server_notifications_created_total",
    /// Notifications by what became of them.
    notifications_sent: "smp_server_notifications_total" { "outcome" = "sent" },
    /// Notifications by what became of them.
    notifications_lost: "smp_server_notifications_total" { "outcome" = "lost" },
    /// Notifications by what became of them.
    notifications_expired: "smp_server_notifications_total" { "outcome" = "expired" },
    /// Sessions with other servers that clients asked for, by outcome.
    proxy_sessions_done: "smp_server_proxy_sessions_total" { "outcome" = "done" },
    /// Sessions with other servers that clients asked for, by outcome.
    proxy_sessions_unreachable: "smp_server_proxy_sessions_total" { "outcome" = "unreachable" },
    /// Sessions with other servers that clients asked for, by outcome.
    proxy_sessions_incompatible: "smp_server_proxy_sessions_total" { "outcome" = "incompatible" },
    /// Sessions with other servers that clients asked for, by outcome.
    proxy_sessions_other: "smp_server_proxy_sessions_total" { "outcome" = "other" },
    /// Commands forwarded to other servers, by outcome.
    proxy_commands_done: "smp_server_proxy_commands_total" { "outcome" = "done" },
    /// Commands forwarded to other servers, by outcome.
    proxy_commands_unreachable: "smp_server_proxy_commands_total" { "outcome" = "unreachable" },
    /// Commands forwarded to other servers, by outcome.
    proxy_commands_incompatible: "smp_server_proxy_commands_total" { "outcome" = "incompatible" },
    /// Commands forwarded to other servers, by outcome.
    proxy_commands_other: "smp_server_proxy_commands_total" { "outcome" = "other" },
    /// Messages removed because they waited too long.
    messages_expired: "smp_server_messages_expired_total",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_name_each_series_once_with_its_value() {
        let metrics = Metrics::default();
        metrics.handshakes_failed.add(3);
        let samples = metrics.samples();
        let mut series: Vec<_> = samples.iter().map(|sample| (sample.name, sample.label)).collect();
        series.sort_unstable();
        series.dedup();
        assert_eq!(series.len(), samples.len());
        let failed = samples.iter().find(|sample| sample.label == Some(("outcome", "failed"))).unwrap();
        assert_eq!((failed.name, failed.value), ("smp_server_handshakes_total", 3));
        assert!(samples.iter().all(|sample| sample.name.starts_with("smp_server_")));
    }
}
