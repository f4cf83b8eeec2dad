//! What is looked at when it is asked for: how much there is of something now.

use daemon::process::{open_files, resident_bytes};

use crate::server::Server;
use crate::web::Web;

/// A number that goes up and down.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gauge {
    /// The metric's name.
    pub name: &'static str,
    /// What it tells, with its unit.
    pub help: &'static str,
    /// How much.
    pub value: f64,
}

/// Everything that can be told without asking the store.
#[must_use]
pub fn gauges(server: &Server) -> Vec<Gauge> {
    let gauge = |name, help, value| Gauge { name, help, value };
    vec![
        gauge("smp_server_connections", "Connections open now.", count(server.connection_count())),
        gauge(
            "smp_server_web_connections",
            "Browsers connected now.",
            count(server.web().map_or(0, Web::open_count)),
        ),
        gauge(
            "smp_server_subscriptions",
            "Queues that a connection is subscribed to now.",
            count(server.subscriptions.count()),
        ),
        gauge(
            "smp_server_stored_queues",
            "Queues that are stored, when they were counted last.",
            count(usize::try_from(server.totals.queues()).unwrap_or(usize::MAX)),
        ),
        gauge(
            "smp_server_stored_messages",
            "Messages that are stored, when they were counted last.",
            count(usize::try_from(server.totals.messages()).unwrap_or(usize::MAX)),
        ),
        gauge(
            "smp_server_notifier_subscriptions",
            "Notifiers that a connection is subscribed to now.",
            count(server.notifications.subscriber_count()),
        ),
        gauge(
            "smp_server_notifications_waiting",
            "Notifications that wait for their notifiers.",
            count(server.notifications.count()),
        ),
        gauge(
            "smp_server_services",
            "Services that are connected and told of their queues now.",
            count(server.services.counts().services),
        ),
        gauge(
            "smp_server_service_queues",
            "Queues and notifiers that those services are told of.",
            count(server.services.counts().queues),
        ),
        gauge(
            "smp_server_proxy_sessions",
            "Sessions with other servers that are open now.",
            count(server.proxy.session_count()),
        ),
        gauge(
            "smp_server_counted_memory_bytes",
            "Memory of connections and of what is on its way, as far as it is counted.",
            count(server.limits.memory.used()),
        ),
        gauge(
            "smp_server_counted_memory_limit_bytes",
            "Counted memory at which load is shed.",
            count(server.limits.memory.most()),
        ),
        gauge(
            "smp_server_storage_used_up",
            "1 when there is no room on disk for more messages, 0 otherwise.",
            if server.limits.storage.is_used_up() { 1.0 } else { 0.0 },
        ),
        gauge(
            "smp_server_store_waiting_steps",
            "Changes that wait to be written now.",
            count(server.store.waiting_steps()),
        ),
        gauge(
            "smp_server_draining",
            "1 when the server stops and takes no new connections, 0 otherwise.",
            if server.is_stopping() { 1.0 } else { 0.0 },
        ),
        gauge(
            "process_start_time_seconds",
            "When the server started, Unix time.",
            seconds(server.started_at().seconds()),
        ),
        gauge(
            "process_resident_memory_bytes",
            "Memory that the process holds.",
            resident_bytes().map_or(0.0, |bytes| count(usize::try_from(bytes).unwrap_or(usize::MAX))),
        ),
        gauge("process_open_fds", "Files and sockets that the process holds open.", count(open_files())),
    ]
}

#[expect(clippy::cast_precision_loss, reason = "metrics are floating point numbers")]
fn count(count: usize) -> f64 {
    count as f64
}

#[expect(clippy::cast_precision_loss, reason = "metrics are floating point numbers")]
fn seconds(seconds: i64) -> f64 {
    seconds as f64
}
