//! What operators see of the server.

use serde::Deserialize;

use super::section::section;
use super::value::{Endpoint, Switch};

section! {
    /// What operators see of the server.
    Monitoring / MonitoringLayer in "Monitoring" {
        /// Where /metrics (Prometheus), /health and /ready are served over plain HTTP, such as `127.0.0.1:9223`, or `off`. Whoever reaches it can read it: keep it on the loopback or a private network.
        http ("monitoring-http", "SMP_SERVER_MONITORING_HTTP"): Endpoint = Endpoint(None),
        /// Whether a line of statistics is logged each day at 00:00 UTC, and one when the server stops.
        daily_statistics ("daily-statistics", "SMP_SERVER_DAILY_STATISTICS"): Switch = Switch(true),
    }
}
