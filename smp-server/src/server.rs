//! The server: listeners, connections, timers, and its end.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use protocol::net::clock::now;
use protocol::net::tls::ClientCertificates;
use protocol::smp::ids::NotifierId;
use protocol::smp::password::BasicAuth;
use protocol::timestamp::Timestamp;
use subtle::ConstantTimeEq as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::cluster::Cluster;
use crate::config::Settings;
use crate::connection;
use crate::credentials::{Credentials, Presented};
use crate::daily;
use crate::expiration;
use crate::hashes::Hashes;
use crate::identity::Identity;
use crate::limits::{Admission, Greeting, Limits, Refusal};
use crate::metrics::{Exposition, Metrics};
use crate::moderation::BlockedToday;
use crate::news::{News, Topic};
use crate::notifications::Notifications;
use crate::peer::{Peer, PeerId};
use crate::proxy::Proxy;
use crate::services::Services;
use crate::shutdown::{Shutdown, Stop};
use crate::store::{QueueRecord, Store, StoreThreads, day_of};
use crate::subscriptions::Subscriptions;
use crate::totals::{self, Totals};
use crate::web::{self, Door, Web};

/// Connections that the system holds until they are accepted (smp.md §3.7).
const BACKLOG: u32 = 1024;
/// A connection that holds no more has nothing on its way worth closing it for.
const HELD_AT_REST_BYTES: usize = 64 * 1024;
/// Pause after a failed accept, which mostly means too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often recorded times are sorted into their buckets; until then each takes eight bytes.
const METRICS_TIDY_INTERVAL: Duration = Duration::from_secs(5);

/// What all connections share.
#[derive(Debug)]
pub struct Server {
    /// The settings.
    pub settings: Settings,
    /// Queues and messages.
    pub store: Store,
    /// Who is told of which queue.
    pub subscriptions: Subscriptions,
    /// Which connections are told of all queues of a service.
    pub services: Services,
    /// Who is notified of messages.
    pub notifications: Arc<Notifications>,
    /// How many queues the operator blocked today.
    pub(crate) blocked_today: BlockedToday,
    /// What is counted.
    pub metrics: Metrics,
    /// What peers may take of the server.
    pub limits: Arc<Limits>,
    /// Where what authenticators cover is hashed.
    pub hashes: Hashes,
    /// The password for creating queues, if there is one.
    pub create_password: Option<BasicAuth>,
    /// What it proves its identity with.
    credentials: Credentials,
    /// Its sessions with other servers.
    pub(crate) proxy: Proxy,
    /// How much is stored.
    pub(crate) totals: Totals,
    /// What browsers see, if anything.
    web: OnceLock<Web>,
    peers: Mutex<BTreeMap<PeerId, Arc<Peer>>>,
    last_peer: AtomicU64,
    exposition: Arc<Exposition>,
    started_at: Timestamp,
    shutdown: Shutdown,
    /// Other servers that may serve the same address.
    cluster: OnceLock<Cluster>,
}

impl Server {
    /// A server with this identity over this store.
    ///
    /// # Errors
    /// When its certificates cannot be served.
    pub fn new(
        settings: Settings,
        identity: &Identity,
        store: Store,
        create_password: Option<BasicAuth>,
    ) -> anyhow::Result<Self> {
        let clients = match settings.access.accept_service_credentials.0 {
            true => ClientCertificates::Requested,
            false => ClientCertificates::NotRequested,
        };
        let credentials = Credentials::new(identity, settings.listen.versions.0, clients)?;
        let exposition = Arc::new(Exposition::default());
        store.watch_commits(exposition.clone());
        let proxy = Proxy::new(&settings);
        let limits = Limits::new(&settings.limits, &settings.times);
        Ok(Self {
            notifications: Arc::new(Notifications::new(&settings.limits)),
            blocked_today: BlockedToday::default(),
            settings,
            store,
            subscriptions: Subscriptions::default(),
            services: Services::default(),
            limits,
            hashes: Hashes::default(),
            metrics: Metrics::default(),
            exposition,
            started_at: now(),
            create_password,
            credentials,
            proxy,
            totals: Totals::default(),
            web: OnceLock::new(),
            peers: Mutex::default(),
            last_peer: AtomicU64::new(0),
            shutdown: Shutdown::default(),
            cluster: OnceLock::new(),
        })
    }

    /// The present day, see [`day_of`].
    #[must_use]
    pub fn today(&self) -> i64 {
        day_of(now())
    }

    /// Messages received before this moment are expired at `moment`. Times count in whole seconds (smp.md §10.5).
    #[must_use]
    pub fn expires_before(&self, moment: Timestamp) -> Timestamp {
        let before = Timestamp(moment.0.saturating_sub(self.settings.times.message_ttl.as_ms()));
        Timestamp::from_seconds(before.seconds())
    }

    /// Notifications of messages received before this moment are expired now.
    #[must_use]
    pub fn notifications_expire_before(&self) -> Timestamp {
        Timestamp(now().0.saturating_sub(self.settings.times.notification_ttl.as_ms()))
    }

    /// Forgets who is told of a queue that `by` deleted, and of its notifications; others hear so.
    pub(crate) fn forget_queue(&self, queue: &QueueRecord, notifier: Option<NotifierId>, by: Option<PeerId>) {
        self.release(self.subscriptions.remove(queue.recipient_id, by).into_iter().collect());
        self.tell_deleted(Topic::Queue(queue.recipient_id), queue.recipient_service);
        if let Some(service) = queue.recipient_service {
            self.services.lost(service, Topic::Queue(queue.recipient_id), News::Deleted, by);
        }
        if let Some(notifier) = notifier {
            self.forget_notifier(queue, notifier, by);
        }
    }

    /// Forgets who is notified of a queue's messages: `by` deleted or replaced its notifier. Others hear so.
    pub(crate) fn forget_notifier(&self, queue: &QueueRecord, notifier: NotifierId, by: Option<PeerId>) {
        self.release(self.notifications.remove(notifier, by).into_iter().collect());
        self.tell_deleted(Topic::Notifier(notifier), queue.notifier_service);
        if let Some(service) = queue.notifier_service {
            self.services.lost(service, Topic::Notifier(notifier), News::Deleted, by);
        }
    }

    /// Whether a client gave the password for creating queues, or there is none.
    pub(crate) fn is_create_password(&self, given: Option<&BasicAuth>) -> bool {
        self.create_password.as_ref().is_none_or(|password| {
            let given = given.map(BasicAuth::as_bytes).unwrap_or_default();
            bool::from(password.as_bytes().ct_eq(given))
        })
    }

    /// What a new connection is shown.
    pub(crate) fn presented(&self) -> Arc<Presented> {
        self.credentials.presented()
    }

    /// Shows new certificates of the same identity to connections that begin from now on.
    ///
    /// # Errors
    /// When they are of another identity or clients would refuse them: then nothing changes.
    pub fn renew_certificates(&self, identity: &Identity) -> anyhow::Result<()> {
        self.credentials.replace(identity)
    }

    /// Other servers on the same store that may serve the same address, if there can be any.
    pub(crate) fn cluster(&self) -> Option<&Cluster> {
        self.cluster.get()
    }

    /// Becomes one of them, before any client is accepted.
    pub(crate) fn join_cluster(&self, cluster: Cluster) {
        // It stays in the first.
        let _ = self.cluster.set(cluster);
    }

    /// What browsers see, if anything.
    pub(crate) fn web(&self) -> Option<&Web> {
        self.web.get()
    }

    /// Has it show this to browsers, before any is accepted.
    pub(crate) fn show(&self, web: Web) {
        if self.web.set(web).is_err() {
            tracing::error!("the web pages were given twice: the first stay");
        }
    }

    /// Hears when the server stops.
    #[must_use]
    pub fn stopping(&self) -> Stop {
        self.shutdown.listener()
    }

    /// Asks the server to stop: [`run`] returns when its connections have ended.
    pub fn stop(&self) {
        self.shutdown.request();
    }

    /// Whether it was asked to stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.shutdown.is_requested()
    }

    /// When it was made.
    #[must_use]
    pub fn started_at(&self) -> Timestamp {
        self.started_at
    }

    /// Connections that are open.
    #[must_use]
    pub fn connection_count(&self) -> usize {
        self.peers().len()
    }

    /// All metrics, in the text format of Prometheus.
    #[must_use]
    pub fn render_metrics(&self) -> String {
        self.exposition.render(self)
    }

    fn peers(&self) -> MutexGuard<'_, BTreeMap<PeerId, Arc<Peer>>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes connections, those first that hold most memory, until there would be room again.
    fn shed_load(&self) {
        let memory = &self.limits.memory;
        let target = memory.most() / 10 * 9;
        let mut excess = memory.used().saturating_sub(target);
        let mut holders: Vec<(usize, Arc<Peer>)> =
            self.peers().values().map(|peer| (peer.held(), peer.clone())).collect();
        holders.sort_unstable_by_key(|(held, _)| std::cmp::Reverse(*held));
        let mut closed = 0;
        for (held, peer) in holders {
            if excess == 0 || held <= HELD_AT_REST_BYTES {
                break;
            }
            excess = excess.saturating_sub(held);
            peer.cut();
            closed += 1;
        }
        self.metrics.closed_for_memory.add(closed);
        tracing::warn!(
            closed,
            used = memory.used(),
            "memory is used up: connections that hold most are closed"
        );
    }

    fn turned_away(&self, refusal: Refusal) {
        self.metrics.connections_refused.one();
        match refusal {
            Refusal::Connections => {}
            Refusal::OriginConnections | Refusal::OriginHandshakes => {
                self.metrics.connections_refused_by_address.one();
            }
            Refusal::Memory => self.metrics.connections_refused_for_memory.one(),
        }
        tracing::debug!(?refusal, "a client was turned away");
    }

    /// Closes connections without subscriptions that have been silent for long.
    fn close_inactive(&self) {
        let since = Timestamp(now().0.saturating_sub(self.settings.times.inactive_ttl.as_ms()));
        for peer in self.peers().values().filter(|peer| peer.is_inactive_since(since)) {
            peer.close();
        }
    }
}

/// Opens the ports that the settings name.
///
/// # Errors
/// When one cannot be had; says which.
pub fn listen(settings: &Settings) -> anyhow::Result<Vec<TcpListener>> {
    settings.listen.ports.0.iter().map(|port| listen_at(settings.listen.bind, *port)).collect()
}

pub(crate) fn listen_at(address: IpAddr, port: u16) -> anyhow::Result<TcpListener> {
    let open = |address: IpAddr| {
        let socket = if address.is_ipv6() { TcpSocket::new_v6() } else { TcpSocket::new_v4() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::new(address, port))?;
        socket.listen(BACKLOG)
    };
    let opened = match open(address) {
        // A machine without IPv6: all its addresses are of IPv4.
        Err(error) if address == Ipv6Addr::UNSPECIFIED && error.kind() != ErrorKind::AddrInUse => {
            open(Ipv4Addr::UNSPECIFIED.into())
        }
        opened => opened,
    };
    opened.with_context(|| {
        format!("Unable to listen at {}: choose another --port or --bind", SocketAddr::new(address, port))
    })
}

/// Serves until [`Server::stop`], then lets connections finish what they do and waits for the last commit.
pub async fn run(server: Arc<Server>, listeners: Vec<TcpListener>, threads: StoreThreads) {
    expiration::at_start(&server).await;
    let mut tasks = JoinSet::new();
    let doors: Vec<Door> = server.doors().collect();
    let alone = server.web().map(Web::take_listeners).unwrap_or_default();
    for (door, listener) in doors.into_iter().zip(listeners).chain(alone) {
        tasks.spawn(accept(server.clone(), door, listener));
    }
    tasks.spawn(web::serve(server.clone()));
    tasks.spawn(release_news(server.clone()));
    tasks.spawn(notify(server.clone()));
    tasks.spawn(tidy_metrics(server.clone()));
    if server.settings.monitoring.daily_statistics.0 {
        tasks.spawn(daily::run(server.clone()));
    }
    tasks.spawn(totals::run(server.clone()));
    tasks.spawn(look_at_room(server.clone()));
    tasks.spawn(expiration::run(server.clone()));
    tasks.spawn(expiration::notifications(server.clone()));
    if server.settings.times.disconnect_inactive.0 {
        tasks.spawn(watch_inactive(server.clone()));
    }
    server.stopping().requested().await;
    if timeout(server.settings.times.stop_timeout.0, tasks.join_all()).await.is_err() {
        tracing::warn!("connections did not finish in time and were cut");
    }
    drop(server);
    let joined = tokio::task::spawn_blocking(|| threads.join());
    if joined.await.is_err() {
        tracing::error!("the store did not end properly");
    }
}

/// Accepts peers at one port until the server stops, then waits for them to end.
async fn accept(server: Arc<Server>, door: Door, listener: TcpListener) {
    let mut stop = server.stopping();
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            accepted = accept_in_turn(&server, &listener) => match accepted {
                Ok((socket, address)) => match server.limits.admit(address.ip()) {
                    Ok((admission, greeting, displaced)) => {
                        server.metrics.connections_accepted.one();
                        server.metrics.handshakes_displaced.add(displaced.into());
                        clients.spawn(serve(server.clone(), door, socket, admission, greeting));
                    }
                    // Dropping the socket closes it.
                    Err(refusal) => server.turned_away(refusal),
                },
                Err(error) => {
                    tracing::warn!(%error, "a client could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = clients.join_next() => {}
            () = stop.requested() => break,
        }
    }
    drop(listener);
    while clients.join_next().await.is_some() {}
}

/// The next connection, when it is time for one: those that are established come first.
async fn accept_in_turn(server: &Server, listener: &TcpListener) -> std::io::Result<(TcpStream, SocketAddr)> {
    server.limits.turn().await;
    listener.accept().await
}

/// Serves one client over a stream that is secured already, to its end: the server without sockets and TLS, as fuzzers
/// and simulations drive it.
///
/// # Errors
/// When there is no session.
pub async fn serve_secured(
    server: Arc<Server>,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    session_id: &[u8],
) -> anyhow::Result<()> {
    let id = PeerId(server.last_peer.fetch_add(1, Ordering::Relaxed));
    let admission = server.limits.admit_internal();
    let peer = Arc::new(Peer::new(id, now()).holding(admission.held.clone()));
    connection::serve_secured(server, peer, admission, stream, session_id).await
}

async fn serve(server: Arc<Server>, door: Door, socket: TcpStream, admission: Admission, greeting: Greeting) {
    let shared = match door {
        Door::Clients => None,
        Door::Shared => server.web().and_then(Web::tls),
        Door::Https | Door::Http => return web::greet(&server, door, socket, admission, greeting).await,
    };
    let id = PeerId(server.last_peer.fetch_add(1, Ordering::Relaxed));
    let peer = Arc::new(Peer::new(id, now()).holding(admission.held.clone()));
    server.peers().insert(id, peer.clone());
    let served = connection::serve(server.clone(), peer, socket, shared, admission, greeting).await;
    server.peers().remove(&id);
    match served {
        Ok(Some((browser, admission))) => server.receive_browser(browser, admission),
        Ok(None) => tracing::debug!(connection = id.0, "ended"),
        Err(error) => tracing::debug!(connection = id.0, "no session: {error:#}"),
    }
}

async fn release_news(server: Arc<Server>) {
    let release = || {
        server.subscriptions.release_news();
        server.services.release_news();
        server.notifications.release_news();
    };
    every(&server, server.settings.times.event_interval.0, release).await;
}

async fn notify(server: Arc<Server>) {
    every(&server, server.settings.times.notification_interval.0, || server.notifications.pass()).await;
}

async fn tidy_metrics(server: Arc<Server>) {
    every(&server, METRICS_TIDY_INTERVAL, || server.exposition.tidy()).await;
}

/// Keeps an eye on memory and disk, and forgets what need not be remembered of addresses.
async fn look_at_room(server: Arc<Server>) {
    let mut was_full = false;
    let look = || {
        server.limits.memory.count_standing(server.subscriptions.count(), server.notifications.count());
        let is_full = server.limits.memory.is_full();
        if is_full && was_full {
            server.shed_load();
        }
        was_full = is_full;
        server.limits.tidy();
        let limits = server.limits.clone();
        // Nobody waits for it: the next look comes in any case.
        drop(tokio::task::spawn_blocking(move || limits.look_at_storage()));
    };
    every(&server, server.settings.times.room_interval.0, look).await;
}

async fn watch_inactive(server: Arc<Server>) {
    every(&server, server.settings.times.inactive_interval.0, || server.close_inactive()).await;
}

/// Acts at an interval until the server stops.
pub(crate) async fn every(server: &Server, period: Duration, mut act: impl FnMut()) {
    let mut stop = server.stopping();
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => act(),
            () = stop.requested() => return,
        }
    }
}
