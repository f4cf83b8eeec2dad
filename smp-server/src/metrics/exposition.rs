//! Metrics in the text format of Prometheus. Counts and gauges are copied when they are asked for; only the sizes and
//! times of commits are recorded as they happen.

use std::time::Duration;

use metrics::{Histogram, Key, Label, Level, Metadata, Recorder as _};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use super::gauges;
use crate::server::Server;
use crate::store::CommitWatch;

const METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, None);

const COMMIT_SECONDS: &str = "smp_server_commit_seconds";
const COMMIT_STEPS: &str = "smp_server_commit_steps";
const COMMANDS: &str = "smp_server_commands_total";
const BUILD_INFO: &str = "smp_server_build_info";

/// Bounds of the buckets, seconds: a good disk takes less than a millisecond, a second is an outage.
const SECONDS_BUCKETS: [f64; 11] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];
/// Bounds of the buckets, steps: powers of four up to more than a group holds.
const STEPS_BUCKETS: [f64; 6] = [1.0, 4.0, 16.0, 64.0, 256.0, 1024.0];

/// Renders metrics.
pub struct Exposition {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    commit_seconds: Histogram,
    commit_steps: Histogram,
    failed_commits: metrics::Counter,
}

impl std::fmt::Debug for Exposition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exposition").finish_non_exhaustive()
    }
}

impl Default for Exposition {
    fn default() -> Self {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Full(COMMIT_SECONDS.to_owned()), &SECONDS_BUCKETS)
            .and_then(|builder| {
                builder.set_buckets_for_metric(Matcher::Full(COMMIT_STEPS.to_owned()), &STEPS_BUCKETS)
            })
            .expect("constant buckets are not empty")
            .build_recorder();
        let histogram = |name: &'static str, help: &'static str| {
            recorder.describe_histogram(name.into(), None, help.into());
            recorder.register_histogram(&Key::from_static_name(name), &METADATA)
        };
        let commit_seconds = histogram(COMMIT_SECONDS, "Time of a commit to disk that many changes share.");
        let commit_steps = histogram(COMMIT_STEPS, "Changes that shared a commit to disk.");
        let failed = "smp_server_commits_failed_total";
        recorder.describe_counter(failed.into(), None, "Commits that the disk refused.".into());
        let failed_commits = recorder.register_counter(&Key::from_static_name(failed), &METADATA);
        Self { handle: recorder.handle(), recorder, commit_seconds, commit_steps, failed_commits }
    }
}

impl CommitWatch for Exposition {
    fn committed(&self, steps: usize, took: Duration) {
        self.commit_seconds.record(took.as_secs_f64());
        self.commit_steps.record(u32::try_from(steps).unwrap_or(u32::MAX));
    }

    fn failed(&self) {
        self.failed_commits.increment(1);
    }
}

impl Exposition {
    /// Sorts what was recorded into buckets; to be called now and then, so that it does not pile up.
    pub fn tidy(&self) {
        self.handle.run_upkeep();
    }

    /// All metrics of `server` as text.
    #[must_use]
    pub fn render(&self, server: &Server) -> String {
        for sample in server.metrics.samples() {
            let labels = sample.label.map(|(key, value)| Label::from_static_parts(key, value));
            self.recorder.describe_counter(sample.name.into(), None, sample.help.into());
            let key = Key::from_parts(sample.name, labels.into_iter().collect::<Vec<_>>());
            self.recorder.register_counter(&key, &METADATA).absolute(sample.value);
        }
        let help = "Commands executed, by tag and outcome.";
        self.recorder.describe_counter(COMMANDS.into(), None, help.into());
        for (tag, outcome, value) in server.metrics.commands.samples() {
            let labels = vec![
                Label::from_static_parts("command", tag),
                Label::from_static_parts("outcome", outcome.name()),
            ];
            let key = Key::from_parts(COMMANDS, labels);
            self.recorder.register_counter(&key, &METADATA).absolute(value);
        }
        for gauge in gauges(server) {
            self.recorder.describe_gauge(gauge.name.into(), None, gauge.help.into());
            self.recorder.register_gauge(&Key::from_static_name(gauge.name), &METADATA).set(gauge.value);
        }
        self.recorder.describe_gauge(BUILD_INFO.into(), None, "The running version; always 1.".into());
        let version = vec![Label::from_static_parts("version", env!("CARGO_PKG_VERSION"))];
        self.recorder.register_gauge(&Key::from_parts(BUILD_INFO, version), &METADATA).set(1.0);
        self.handle.render()
    }
}
