//! Runs cases, several at a time, and deletes the queues that they made.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::case::{Case, VERSIONS};
use crate::failure::Failure;
use crate::observer::Observer;
use crate::peer::{self, Hello};
use crate::trial::{Servers, Trial};

/// How long one case may take: those that wait for `END` of a server with the usual interval take half a minute.
const CASE_LIMIT: Duration = Duration::from_secs(180);

/// Which cases are run, and how.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Only cases whose name, with its version, holds this.
    pub only: Option<String>,
    /// Only these versions.
    pub versions: RangeInclusive<u16>,
    /// Cases that run at a time: bounds the load of the server.
    pub jobs: usize,
}

impl Default for Plan {
    fn default() -> Self {
        Self { only: None, versions: VERSIONS, jobs: 4 }
    }
}

/// What became of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The server does what the specification says.
    Ok,
    /// It does not.
    Failed(String),
    /// It could not be tried.
    Skipped(String),
}

/// One case at one version, done.
#[derive(Debug, Clone)]
pub struct Result {
    /// The case.
    pub case: Case,
    /// The version.
    pub version: u16,
    /// What became of it.
    pub verdict: Verdict,
    /// What else is to be told.
    pub notes: Vec<String>,
    /// How long it took.
    pub took: Duration,
}

impl Result {
    /// The name of the case at its version, which stays the same.
    #[must_use]
    pub fn name(&self) -> String {
        name(&self.case, self.version)
    }
}

/// The name of a case at a version.
#[must_use]
pub fn name(case: &Case, version: u16) -> String {
    format!("{}@{version}", case.name)
}

impl Plan {
    /// The cases of `all` that are to be run, with their versions.
    #[must_use]
    pub fn select(&self, all: &[Case]) -> Vec<(Case, u16)> {
        let selected = all.iter().flat_map(|case| {
            let first = case.versions.0.max(*self.versions.start());
            let last = case.versions.1.min(*self.versions.end());
            let first = if case.is_once { last.max(first) } else { first };
            (first..=last).map(|version| (*case, version))
        });
        let is_wanted = |(case, version): &(Case, u16)| {
            self.only.as_ref().is_none_or(|only| name(case, *version).contains(only.as_str()))
        };
        selected.filter(is_wanted).collect()
    }

    /// Runs the cases; each result is told as soon as it is there.
    pub async fn run(
        &self,
        servers: &Arc<Servers>,
        offered: (u16, u16),
        cases: Vec<(Case, u16)>,
        mut tell: impl FnMut(&Result),
    ) -> Vec<Result> {
        let (alone, together): (Vec<_>, Vec<_>) = cases.into_iter().partition(|(case, _)| case.is_alone);
        let queue = Arc::new(Mutex::new(VecDeque::from(together)));
        let (send, mut results) = mpsc::unbounded_channel();
        let mut workers = JoinSet::new();
        for _ in 0..self.jobs.max(1) {
            let (queue, send, servers) = (queue.clone(), send.clone(), servers.clone());
            workers.spawn(async move {
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some((case, version)) = next else { break };
                    let _ = send.send(run_one(case, version, offered, &servers).await);
                }
            });
        }
        drop(send);
        let mut done = Vec::new();
        while let Some(result) = results.recv().await {
            tell(&result);
            done.push(result);
        }
        while workers.join_next().await.is_some() {}
        for (case, version) in alone {
            let result = run_one(case, version, offered, servers).await;
            tell(&result);
            done.push(result);
        }
        done
    }
}

async fn run_one(case: Case, version: u16, offered: (u16, u16), servers: &Arc<Servers>) -> Result {
    let started = Instant::now();
    if !(offered.0..=offered.1).contains(&version) {
        let verdict = Verdict::Skipped(format!("needs a server that speaks version {version}"));
        return Result { case, version, verdict, notes: Vec::new(), took: started.elapsed() };
    }
    let observer = Arc::new(Observer::new(servers.password.clone()));
    let outcome = try_case(case, version, servers, &observer).await;
    let mut notes = observer.take_notes();
    if let Some(left) = clean(servers, version, &observer).await {
        notes.push(left);
    }
    let verdict = match outcome {
        Ok(()) => Verdict::Ok,
        Err(failure) if failure.needs().is_some() => Verdict::Skipped(failure.to_string()),
        Err(failure) => Verdict::Failed(failure.to_string()),
    };
    Result { case, version, verdict, notes, took: started.elapsed() }
}

/// Runs a case once, within its time.
///
/// # Errors
/// What the case says.
pub async fn try_case(
    case: Case,
    version: u16,
    servers: &Arc<Servers>,
    observer: &Arc<Observer>,
) -> crate::failure::Outcome {
    let trial = Trial::new(version, servers.clone(), observer.clone());
    match timeout(CASE_LIMIT, case.run(trial)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Failure::differs("an end", format!("none within {} s", CASE_LIMIT.as_secs()))),
    }
}

/// Deletes the queues that a case left at the server under test; tells if that did not work.
pub async fn clean(servers: &Servers, version: u16, observer: &Observer) -> Option<String> {
    let queues = observer.take_queues();
    if queues.is_empty() {
        return None;
    }
    let unobserved = Arc::new(Observer::default());
    let deleting = async {
        let mut peer = peer::connect(&servers.place, &Hello::version(version), &unobserved).await?;
        for (key, recipient_id) in &queues {
            // `AUTH`: it was deleted by the case, or is of another server.
            peer.ask(key, recipient_id, b"DEL").await?;
        }
        Ok::<_, Failure>(())
    };
    let failure = deleting.await.err()?;
    Some(format!("queues were left at the server: {failure}"))
}
