//! One session per destination server, however many clients ask for it.
//!
//! ```text
//!  asked for ──▶ connecting (shared by all who ask) ──▶ connected ──idle or lost──▶ gone
//!                          └────────▶ failed, remembered for a while ──────────────▶ gone
//! ```
//!
//! Strangers choose destinations, so there is a bound: what has failed makes room first, then the session that was not
//! used for longest.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use protocol::net::dial::Dialer;
use protocol::net::network::Limits;
use protocol::net::proxy::ProxySession;
use protocol::smp::address::ServerAddress;
use protocol::smp::error::{BrokerError, NetworkError};
use tokio::sync::OnceCell;
use tokio::task::JoinSet;

use super::failure;

/// How sessions are made and kept.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) dialer: Dialer,
    pub(super) limits: Limits,
    pub(super) idle: Duration,
    pub(super) failure_memory: Duration,
    pub(super) sessions_max: usize,
}

/// The sessions with destination servers, and the attempts to make them.
#[derive(Debug)]
pub(super) struct Destinations {
    opening: Opening,
    known: Arc<Mutex<Known>>,
    /// What carries the sessions; they end with this.
    tasks: Mutex<JoinSet<()>>,
}

#[derive(Debug, Default)]
struct Known {
    by_server: BTreeMap<ServerAddress, Arc<Attempt>>,
    by_id: BTreeMap<Vec<u8>, Arc<Destination>>,
}

/// An attempt to have a session, and what became of it. Should whoever began it go, the next who waits goes on.
#[derive(Debug, Default)]
struct Attempt {
    outcome: OnceCell<Outcome>,
}

#[derive(Debug)]
enum Outcome {
    Connected(Arc<Destination>),
    Failed(Instant, BrokerError),
}

/// A session with a destination server.
#[derive(Debug)]
pub(super) struct Destination {
    pub(super) session: ProxySession,
    used_at: Mutex<Instant>,
    in_progress: AtomicUsize,
}

/// A command in progress: its session is not closed to make room for others.
#[derive(Debug)]
pub(super) struct InUse<'a>(&'a Destination);

impl Destinations {
    pub(super) fn new(opening: Opening) -> Self {
        Self { opening, known: Arc::default(), tasks: Mutex::default() }
    }

    /// The session with a server; asks for one when there is none.
    pub(super) async fn session(&self, server: &ServerAddress) -> Result<Arc<Destination>, BrokerError> {
        let attempt = self.attempt(server).ok_or(BrokerError::Network(NetworkError::Failed))?;
        match attempt.outcome.get_or_init(|| self.open(server, &attempt)).await {
            Outcome::Connected(destination) => {
                destination.touch();
                Ok(destination.clone())
            }
            Outcome::Failed(_, error) => Err(error.clone()),
        }
    }

    /// The session with this id, while it lives.
    pub(super) fn by_id(&self, session_id: &[u8]) -> Option<Arc<Destination>> {
        let known = lock(&self.known);
        known.by_id.get(session_id).filter(|destination| !destination.session.is_closed()).cloned()
    }

    /// How many sessions live.
    pub(super) fn count(&self) -> usize {
        lock(&self.known).by_id.len()
    }

    /// The attempt that answers for a server now; nothing when there is no room for another.
    fn attempt(&self, server: &ServerAddress) -> Option<Arc<Attempt>> {
        let mut known = lock(&self.known);
        let now = Instant::now();
        if let Some(attempt) = known.by_server.get(server)
            && attempt.answers(now, self.opening.failure_memory)
        {
            return Some(attempt.clone());
        }
        if !known.by_server.contains_key(server) && known.by_server.len() >= self.opening.sessions_max {
            known.make_room(now, self.opening.failure_memory)?;
        }
        let attempt = Arc::new(Attempt::default());
        known.by_server.insert(server.clone(), attempt.clone());
        Some(attempt)
    }

    async fn open(&self, server: &ServerAddress, attempt: &Arc<Attempt>) -> Outcome {
        let Opening { dialer, limits, idle, .. } = &self.opening;
        let (session, run) = match ProxySession::open(server, dialer, *limits, *idle).await {
            Ok(opened) => opened,
            Err(error) => {
                tracing::debug!(%error, "no session with a destination server");
                return Outcome::Failed(Instant::now(), failure::of_connecting(&error));
            }
        };
        let destination = Arc::new(Destination {
            session,
            used_at: Mutex::new(Instant::now()),
            in_progress: AtomicUsize::new(0),
        });
        let session_id = destination.session.offer().session_id.to_vec();
        lock(&self.known).by_id.insert(session_id.clone(), destination.clone());
        let (known, server, attempt) = (Arc::downgrade(&self.known), server.clone(), Arc::downgrade(attempt));
        let carry = async move {
            run.await;
            forget(&known, &server, &attempt, &session_id);
        };
        let mut tasks = lock(&self.tasks);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(carry);
        Outcome::Connected(destination)
    }
}

/// A session has ended.
fn forget(known: &Weak<Mutex<Known>>, server: &ServerAddress, attempt: &Weak<Attempt>, session_id: &[u8]) {
    let Some(known) = known.upgrade() else { return };
    let mut known = lock(&known);
    known.by_id.remove(session_id);
    let is_this = known.by_server.get(server).is_some_and(|present| Arc::as_ptr(present) == attempt.as_ptr());
    if is_this {
        known.by_server.remove(server);
    }
}

impl Attempt {
    /// Whether it still says how things are.
    fn answers(&self, now: Instant, failure_memory: Duration) -> bool {
        match self.outcome.get() {
            None => true,
            Some(Outcome::Connected(destination)) => !destination.session.is_closed(),
            Some(Outcome::Failed(at, _)) => now.saturating_duration_since(*at) < failure_memory,
        }
    }
}

impl Known {
    /// Forgets what is of no use any more, or else the oldest failure, or else the session that was not used for
    /// longest. Nothing when all are in use.
    fn make_room(&mut self, now: Instant, failure_memory: Duration) -> Option<()> {
        let before = self.by_server.len();
        self.by_server.retain(|_, attempt| attempt.answers(now, failure_memory));
        if self.by_server.len() < before {
            return Some(());
        }
        let oldest = self
            .by_server
            .iter()
            .filter_map(|(server, attempt)| match attempt.outcome.get()? {
                Outcome::Failed(at, _) => Some(((false, *at), server)),
                Outcome::Connected(destination) => Some(((true, destination.unused_since()?), server)),
            })
            .min_by_key(|(age, _)| *age)?;
        let server = oldest.1.clone();
        let attempt = self.by_server.remove(&server)?;
        if let Some(Outcome::Connected(destination)) = attempt.outcome.get() {
            // its last handle, so that the connection ends
            self.by_id.remove(destination.session.offer().session_id);
        }
        Some(())
    }
}

impl Destination {
    /// Marks a command as in progress.
    pub(super) fn begin_use(&self) -> InUse<'_> {
        self.in_progress.fetch_add(1, Ordering::Relaxed);
        self.touch();
        InUse(self)
    }

    fn touch(&self) {
        *lock(&self.used_at) = Instant::now();
    }

    fn unused_since(&self) -> Option<Instant> {
        (self.in_progress.load(Ordering::Relaxed) == 0).then(|| *lock(&self.used_at))
    }
}

impl Drop for InUse<'_> {
    fn drop(&mut self) {
        self.0.in_progress.fetch_sub(1, Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(number: u8) -> ServerAddress {
        let hash = protocol::base64url::encode(&[number; 32]);
        // nobody listens at the discard port of loopback
        format!("smp://{hash}@127.0.0.1:9").parse().unwrap()
    }

    fn destinations(sessions_max: usize, failure_memory: Duration) -> Destinations {
        let (dialer, limits) = (Dialer::default(), Limits::INTERACTIVE);
        Destinations::new(Opening { dialer, limits, idle: Duration::MAX, failure_memory, sessions_max })
    }

    fn attempts(destinations: &Destinations) -> Vec<ServerAddress> {
        lock(&destinations.known).by_server.keys().cloned().collect()
    }

    #[tokio::test]
    async fn a_failure_answers_from_memory_until_its_time() {
        let remembering = destinations(8, Duration::from_secs(3600));
        assert!(remembering.session(&server(1)).await.is_err());
        let first = remembering.attempt(&server(1)).unwrap();
        assert!(remembering.session(&server(1)).await.is_err());
        assert!(Arc::ptr_eq(&first, &remembering.attempt(&server(1)).unwrap()), "no second attempt");

        let forgetting = destinations(8, Duration::ZERO);
        assert!(forgetting.session(&server(1)).await.is_err());
        let first = forgetting.attempt(&server(1)).unwrap();
        assert!(first.outcome.get().is_none(), "a new attempt");
    }

    #[tokio::test]
    async fn failures_make_room_and_attempts_in_progress_do_not() {
        let destinations = destinations(2, Duration::from_secs(3600));
        for number in 1..=3 {
            assert!(destinations.session(&server(number)).await.is_err());
        }
        assert_eq!(attempts(&destinations), [server(2), server(3)], "the oldest failure went");
        let (four, five) = (destinations.attempt(&server(4)), destinations.attempt(&server(5)));
        assert!(four.is_some() && five.is_some());
        assert!(destinations.attempt(&server(6)).is_none(), "both places are being connected");
        assert!(destinations.session(&server(6)).await.is_err());
    }
}
