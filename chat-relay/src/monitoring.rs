//! The side listener for monitoring: `/metrics`, `/health`, `/ready`.
//!
//! ```text
//! scrape ──▶ counts, copied     ──▶ engine's thread: what there is now ──▶ text
//! ```

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use daemon::http::Bounds;
use daemon::monitoring::{Monitored, router};
use protocol::smp::address::ServerAddress;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

use crate::metrics::{Metrics, Text};
use crate::operation::ServerHealth;
use crate::relay::Command;
use crate::store::operation::{Totals, WaitingJobs};
use crate::store::records::GroupId;

/// A scraper and a few probes; each asks and goes.
const BOUNDS: Bounds = Bounds { connections: 32, lifetime: Duration::from_secs(30) };

/// What there is at a moment.
#[derive(Debug)]
pub struct Survey {
    /// Numbers of everything.
    pub totals: Totals,
    /// Messages that were not handed out to everybody yet.
    pub waiting: u64,
    /// Members whose servers have not all of it.
    pub members_behind: u64,
    /// Requests to servers that wait.
    pub requests: Vec<WaitingJobs>,
    /// Queues of this relay that their servers do not let it hear.
    pub queues_refused: usize,
    /// Whether all messages are kept back.
    pub paused: bool,
    /// What is missing until owners are served; nothing when they are.
    pub missing: Option<&'static str>,
    /// The largest groups, if they were asked for: members that are in, messages that wait.
    pub groups: Vec<(GroupId, GroupNumbers)>,
    /// Servers, and whether each is reached, if that was tried; with queues, and those that were not tried, if asked for.
    pub servers: Vec<(ServerAddress, u64, Option<ServerHealth>)>,
}

/// What metrics say of one group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GroupNumbers {
    /// Members that are in.
    pub members: u64,
    /// Messages that were not handed out to everybody yet.
    pub waiting: u64,
}

/// Groups that metrics may show one by one at most: each is a series of every metric of groups, at every scrape.
pub const GROUPS_SHOWN_MAX: u32 = 1000;

/// Which labels were asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Labels {
    /// Hosts of servers.
    pub servers: bool,
    /// Numbers of so many groups, those with most members.
    pub groups: u32,
}

/// Opens the listener.
///
/// # Errors
/// When the address is taken.
pub async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let taken = || format!("Unable to listen at {address} for monitoring: choose another --monitoring-http");
    TcpListener::bind(address).await.with_context(taken)
}

/// Serves until the future is dropped.
pub async fn serve(
    listener: TcpListener,
    commands: mpsc::WeakSender<Command>,
    metrics: Arc<Metrics>,
    labels: Labels,
) {
    let watched = Arc::new(Watched { commands, metrics, labels });
    daemon::http::serve(listener, router(watched), BOUNDS, std::future::pending()).await;
}

struct Watched {
    commands: mpsc::WeakSender<Command>,
    metrics: Arc<Metrics>,
    labels: Labels,
}

impl Watched {
    async fn survey(&self) -> Option<Survey> {
        let (answer, answered) = oneshot::channel();
        let command = Command::Survey { labels: self.labels, answer };
        self.commands.upgrade()?.send(command).await.ok()?;
        answered.await.ok()
    }

    async fn missing(&self) -> Option<Option<&'static str>> {
        let (answer, answered) = oneshot::channel();
        self.commands.upgrade()?.send(Command::Readiness { answer }).await.ok()?;
        answered.await.ok()
    }
}

impl Monitored for Watched {
    async fn metrics(self: Arc<Self>) -> String {
        let now = self.survey().await.map(|survey| render(&survey, self.labels)).unwrap_or_default();
        self.metrics.render() + &now + &daemon::process::render()
    }

    async fn readiness(self: Arc<Self>) -> Result<(), String> {
        match self.missing().await {
            None => Err("the relay has stopped".to_owned()),
            Some(Some(missing)) => Err(missing.to_owned()),
            Some(None) => Ok(()),
        }
    }
}

fn render(survey: &Survey, labels: Labels) -> String {
    let mut out = Text::default();
    out.family("groups", "gauge", "Groups, by state.");
    for (state, count) in &survey.totals.groups {
        out.sample("groups", &[("state", state)], count);
    }
    let gauges = [
        ("groups_paused", "Groups whose messages are kept back.", survey.totals.paused_groups),
        ("members", "Members of all groups that are in.", survey.totals.members),
        ("knocks_waiting", "Joiners who wait for a moderator of their group.", survey.totals.knocks),
        ("messages_kept", "Messages in the store.", survey.totals.messages),
        ("messages_waiting", "Messages that were not handed out to everybody yet.", survey.waiting),
        ("members_behind", "Members whose servers have not all that was passed on.", survey.members_behind),
        (
            "queues_refused",
            "Queues of this relay that their servers do not let it hear, as when they are blocked.",
            survey.queues_refused as u64,
        ),
        ("paused", "1 while all messages are kept back.", survey.paused.into()),
        ("ready", "1 while owners and members are served.", survey.missing.is_none().into()),
    ];
    for (name, help, value) in gauges {
        out.family(name, "gauge", help);
        out.sample(name, &[], value);
    }
    out.family("requests_waiting", "gauge", "Requests to servers that wait, by kind.");
    for request in &survey.requests {
        out.sample("requests_waiting", &[("kind", request.kind)], request.waiting);
    }
    out.family("requests_retried", "gauge", "Requests that failed and are tried again, by kind.");
    for request in &survey.requests {
        out.sample("requests_retried", &[("kind", request.kind)], request.retrying);
    }
    out.family(
        "servers",
        "gauge",
        "Servers of this relay's queues and of its peers, by whether they are reached.",
    );
    for (state, wanted) in [("reached", ServerHealth::Up), ("lost", ServerHealth::Down)] {
        let count = survey.servers.iter().filter(|(_, _, health)| *health == Some(wanted)).count();
        out.sample("servers", &[("state", state)], count);
    }
    if labels.servers {
        out.family("server_reached", "gauge", "1 while a server is reached.");
        for (server, _, health) in &survey.servers {
            let Some(health) = health else { continue };
            let host = server.first_host().to_string();
            out.sample("server_reached", &[("server", &host)], u8::from(*health == ServerHealth::Up));
        }
        out.family("server_queues", "gauge", "This relay's queues on a server.");
        for (server, queues, _) in &survey.servers {
            out.sample("server_queues", &[("server", &server.first_host().to_string())], queues);
        }
    }
    if labels.groups > 0 {
        out.family("group_members", "gauge", "Members of a group that are in; of the largest groups.");
        for (group, numbers) in &survey.groups {
            out.sample("group_members", &[("group", &group.0.to_string())], numbers.members);
        }
        let about = "Messages of a group that were not handed out to everybody yet; of the largest groups.";
        out.family("group_messages_waiting", "gauge", about);
        for (group, numbers) in &survey.groups {
            out.sample("group_messages_waiting", &[("group", &group.0.to_string())], numbers.waiting);
        }
    }
    out.family("build_info", "gauge", "The running version; always 1.");
    out.sample("build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    out.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survey() -> Survey {
        let server = "smp://SJ-3QErjPY0_mrD9fMGu68OWOO5jXxjMC4H6nLva9EY=@a.example";
        Survey {
            totals: Totals { groups: vec![("active", 2)], members: 7, ..Totals::default() },
            waiting: 3,
            members_behind: 2,
            requests: vec![WaitingJobs { kind: "message", waiting: 4, retrying: 1 }],
            queues_refused: 1,
            paused: false,
            missing: None,
            groups: vec![(GroupId(5), GroupNumbers { members: 6, waiting: 2 })],
            servers: vec![(server.parse().unwrap(), 9, Some(ServerHealth::Up))],
        }
    }

    #[test]
    fn hosts_and_groups_are_labels_only_when_asked_for() {
        let plain = render(&survey(), Labels::default());
        for line in [
            "chat_relay_groups{state=\"active\"} 2",
            "chat_relay_messages_waiting 3",
            "chat_relay_members_behind 2",
            "chat_relay_queues_refused 1",
            "chat_relay_requests_retried{kind=\"message\"} 1",
            "chat_relay_servers{state=\"reached\"} 1",
            "chat_relay_ready 1",
        ] {
            assert!(plain.lines().any(|found| found == line), "{line} in\n{plain}");
        }
        assert!(!plain.contains("a.example") && !plain.contains("group=\""));
        let asked = render(&survey(), Labels { servers: true, groups: 0 });
        assert!(!asked.contains("group=\""));
        let groups = render(&survey(), Labels { servers: false, groups: 1 });
        for line in
            ["chat_relay_group_members{group=\"5\"} 6", "chat_relay_group_messages_waiting{group=\"5\"} 2"]
        {
            assert!(groups.lines().any(|found| found == line), "{line} in\n{groups}");
        }
        assert!(asked.contains("chat_relay_server_queues{server=\"a.example\"} 9"), "{asked}");
    }
}
