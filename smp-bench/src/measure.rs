//! What a phase measures, and how.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use crate::subject::Subject;
use crate::traffic::Traffic;
use crate::usage;

/// The longest latency that is told apart, in microseconds.
const LATENCY_US_MAX: u64 = 600_000_000;
/// Digits that latencies are kept with.
const LATENCY_DIGITS: u8 = 3;

/// Latencies of one kind of operation.
#[derive(Debug, Clone)]
pub(crate) struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        Self(Histogram::new_with_max(LATENCY_US_MAX, LATENCY_DIGITS).expect("the bounds are constants"))
    }
}

impl Latencies {
    /// Notes an operation that began at `since` and is over.
    pub(crate) fn record(&mut self, since: Instant) {
        let micros = u64::try_from(since.elapsed().as_micros()).unwrap_or(LATENCY_US_MAX);
        self.0.saturating_record(micros);
    }

    /// Adds what another connection noted.
    pub(crate) fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all histograms have the same bounds");
    }

    /// How many were noted.
    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// The latency that this part of all operations did not pass, in milliseconds.
    #[expect(clippy::cast_precision_loss, reason = "a latency fits")]
    pub(crate) fn quantile_ms(&self, part: f64) -> f64 {
        self.0.value_at_quantile(part) as f64 / 1000.0
    }
}

/// What came out of one phase.
#[derive(Debug, Default)]
pub(crate) struct Measurement {
    /// Which phase, and of what size.
    pub(crate) name: String,
    /// Operations done.
    pub(crate) operations: u64,
    /// Time that they took.
    pub(crate) seconds: f64,
    /// Latencies, where they were noted.
    pub(crate) latencies: Option<Latencies>,
    /// Processor time of the server for each operation, in milliseconds.
    pub(crate) server_cpu_ms: Option<f64>,
    /// Processor time of this program for each operation, in milliseconds.
    pub(crate) client_cpu_ms: Option<f64>,
    /// Bytes on the wire for each operation.
    pub(crate) wire_bytes: Option<f64>,
    /// Memory of the server at the end.
    pub(crate) resident_bytes: Option<u64>,
    /// Further figures, by name with unit.
    pub(crate) figures: Vec<(String, f64)>,
    /// Processes that wanted to run on this machine at the end: figures of a busy machine are to be read with care.
    pub(crate) load: f64,
}

impl Measurement {
    /// A measurement that is nothing but figures.
    pub(crate) fn of_figures(name: impl Into<String>, figures: Vec<(String, f64)>) -> Self {
        Self { name: name.into(), figures, load: usage::load(), ..Self::default() }
    }

    /// Operations in a second.
    #[expect(clippy::cast_precision_loss, reason = "a count of operations fits")]
    pub(crate) fn rate(&self) -> f64 {
        if self.seconds > 0.0 { self.operations as f64 / self.seconds } else { 0.0 }
    }

    /// Adds a figure.
    #[must_use]
    pub(crate) fn with(mut self, name: impl Into<String>, value: f64) -> Self {
        self.figures.push((name.into(), value));
        self
    }

    /// A further figure.
    pub(crate) fn figure(&self, name: &str) -> Option<f64> {
        self.figures.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }

    /// As one object of JSON.
    pub(crate) fn to_json(&self) -> Value {
        let mut object = Map::new();
        object.insert("phase".into(), json!(self.name));
        if self.seconds > 0.0 {
            object.insert("operations".into(), json!(self.operations));
            object.insert("seconds".into(), json!(self.seconds));
            object.insert("per_second".into(), json!(self.rate()));
        }
        if let Some(latencies) = &self.latencies {
            for (name, part) in [("p50_ms", 0.5), ("p90_ms", 0.9), ("p99_ms", 0.99), ("max_ms", 1.0)] {
                object.insert(name.into(), json!(latencies.quantile_ms(part)));
            }
        }
        let numbers = [
            ("server_cpu_ms", self.server_cpu_ms),
            ("client_cpu_ms", self.client_cpu_ms),
            ("wire_bytes", self.wire_bytes),
        ];
        for (name, value) in numbers {
            if let Some(value) = value {
                object.insert(name.into(), json!(value));
            }
        }
        if let Some(bytes) = self.resident_bytes {
            object.insert("resident_bytes".into(), json!(bytes));
        }
        for (name, value) in &self.figures {
            object.insert(name.clone(), json!(value));
        }
        object.insert("load".into(), json!(self.load));
        Value::Object(object)
    }
}

/// Measures from its making until [`Meter::stop`].
#[derive(Debug)]
pub(crate) struct Meter {
    pid: Option<u32>,
    server_cpu: Duration,
    client_cpu: Duration,
    traffic: Arc<Traffic>,
    wire_bytes: u64,
    started: Instant,
}

impl Meter {
    pub(crate) fn start(subject: &Subject) -> Self {
        let pid = subject.pid();
        Self {
            pid,
            server_cpu: cpu_of(pid),
            client_cpu: cpu_of(Some(std::process::id())),
            traffic: subject.traffic.clone(),
            wire_bytes: subject.traffic.total(),
            started: Instant::now(),
        }
    }

    /// The measurement of so many operations.
    pub(crate) fn stop(
        self,
        name: impl Into<String>,
        operations: u64,
        latencies: Option<Latencies>,
    ) -> Measurement {
        let seconds = self.started.elapsed().as_secs_f64();
        let each = |time: Duration| time.as_secs_f64() * 1000.0 / (operations.max(1) as f64);
        let server_cpu = cpu_of(self.pid).saturating_sub(self.server_cpu);
        let client_cpu = cpu_of(Some(std::process::id())).saturating_sub(self.client_cpu);
        let wire_bytes = self.traffic.total().saturating_sub(self.wire_bytes);
        Measurement {
            name: name.into(),
            operations,
            seconds,
            latencies: latencies.filter(|latencies| latencies.count() > 0),
            server_cpu_ms: self.pid.map(|_| each(server_cpu)),
            client_cpu_ms: Some(each(client_cpu)),
            wire_bytes: Some(wire_bytes as f64 / (operations.max(1) as f64)),
            resident_bytes: self.pid.and_then(|pid| usage::resident_bytes(pid).ok()),
            figures: Vec::new(),
            load: usage::load(),
        }
    }
}

/// Nothing where it cannot be told: then the figure is left out or 0.
fn cpu_of(pid: Option<u32>) -> Duration {
    pid.and_then(|pid| usage::cpu_time(pid).ok()).unwrap_or_default()
}
