//! A queue server, a relay that can be stopped and started, and peers that do what a test tells them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chat_relay::config::Tuning;
use chat_relay::identity::RelayIdentity;
use chat_relay::recovery;
use chat_relay::relay::{Command, Relay};
use chat_relay::store::RelayStore as _;
use chat_relay::store::records::RelayAddress;
use chat_relay::store::sql::SqlStore;
use protocol::agent::Body;
use protocol::agent::address_draft::{AddressDraft, AddressPlan};
use protocol::agent::event::Event;
use protocol::agent::link_data::UserLinkData;
use protocol::agent::signed_link_data::OpenedLink;
use protocol::agent::store::{AgentStore as _, ConnectionId};
use protocol::crypto::sign::Ed25519PrivateKey;
use protocol::encoding::Encode as _;
use protocol::group::profile::Profile;
use protocol::net::engine::{self, Application, Context, EngineHandle, Fatal, LinkTag};
use protocol::net::network::{Limits, NetworkSettings, ReadLinkError};
use protocol::net::rng::system_rng;
use protocol::smp::address::{KeyHash, ServerAddress, ServerAddressWithAuth};
use protocol::smp::short_link::{LinkType, ShortLink};
use smp_server::config::SettingsLayer;
use smp_server::identity::Identity;
use smp_server::server::{self, Server};
use smp_server::store::{MemoryStore, Store};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

const LIMITS: Limits =
    Limits { connect: Duration::from_secs(20), answer: Duration::from_secs(20), silence: Limits::SILENCE };
/// How long a test waits for anything before it fails.
const PATIENCE: Duration = Duration::from_secs(90);

/// Waits until a look at a database finds what is waited for; until then it says how things are.
pub(crate) async fn eventually(mut look: impl FnMut() -> Result<(), String>) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while let Err(problem) = look() {
        assert!(tokio::time::Instant::now() < deadline, "{problem}");
        // The database of another thread can only be looked at again.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Starts a queue server on a free port; it ends with the test's runtime. Its queues are short, so that one is soon
/// full.
pub(crate) async fn queue_server() -> ServerAddressWithAuth {
    const SETTINGS: &str = "[listen]\nbind = \"127.0.0.1\"\nports = 0\n[limits]\nqueue_quota = 8
[storage]\nengine = \"memory\"";
    let settings = toml::from_str::<SettingsLayer>(SETTINGS).unwrap().settle().unwrap();
    let identity = Identity::generate("127.0.0.1").unwrap().identity;
    let (store, threads) = Store::start(Box::new(MemoryStore::new()), &settings.storage).unwrap();
    let listeners = server::listen(&settings).unwrap();
    let port = listeners[0].local_addr().unwrap().port();
    let server = Arc::new(Server::new(settings, &identity, store, None).unwrap());
    tokio::spawn(server::run(server, listeners, threads));
    let key_hash = KeyHash::try_from(&identity.key_hash()[..]).unwrap();
    ServerAddress::new(vec!["127.0.0.1".parse().unwrap()], Some(port), key_hash).unwrap().into()
}

/// A relay and what outlives it.
pub(crate) struct RelayHost {
    directory: tempfile::TempDir,
    database: PathBuf,
    identity: RelayIdentity,
    tuning: Tuning,
    engine: Option<EngineHandle<Command>>,
    /// Its long-lived address.
    pub(crate) address: ShortLink,
}

impl RelayHost {
    /// A relay that looks at group links often.
    pub(crate) async fn start(server: &ServerAddressWithAuth, tuning: Tuning) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("relay.sqlite");
        let identity =
            RelayIdentity { server: server.clone(), profile: Profile::named("Rita"), joiner_role: None };
        let plan = AddressPlan {
            server: server.clone(),
            link_type: LinkType::Relay,
            root_key: Ed25519PrivateKey::generate(&mut system_rng()),
            link_entity_id: None,
            client_data: None,
        };
        let draft = AddressDraft::new(plan, &mut system_rng()).unwrap();
        let address =
            RelayAddress { draft: draft.to_bytes(), profile: identity.profile.clone(), connection: None };
        SqlStore::open(&database).unwrap().set_relay_address(&address).unwrap();
        let address = draft.short_link();
        let mut host = Self { directory, database, identity, tuning, engine: None, address };
        host.resume().await;
        host
    }

    /// Starts it again where it was; returns when it is ready.
    pub(crate) async fn resume(&mut self) {
        let (notify, mut notices) = mpsc::unbounded_channel();
        let limits = self.tuning.clone().or(quick()).limits();
        let mut store = self.store();
        recovery::renew_keys(&mut store).unwrap();
        let settings = NetworkSettings { services: Some(store.services().unwrap()), ..LIMITS.into() };
        let relay = Relay::new(store, self.identity.clone(), limits, notify);
        self.engine = Some(engine::start(relay, settings, &Handle::current()).unwrap());
        tokio::time::timeout(PATIENCE, notices.recv()).await.unwrap().unwrap();
    }

    /// Stops it; what it has not sent yet waits.
    pub(crate) async fn stop(&mut self) {
        self.engine.take().unwrap().stop().await.unwrap();
    }

    /// A backup, beside the running relay.
    pub(crate) fn back_up(&self) -> PathBuf {
        let backup = self.directory.path().join("backup.sqlite");
        SqlStore::copy(&self.database, &backup).unwrap();
        backup
    }

    /// Brings a backup back and starts it; the relay that it was made of is stopped.
    pub(crate) async fn restore(&mut self, backup: PathBuf) {
        self.database = backup;
        self.resume().await;
    }

    /// Its database, beside the running relay.
    pub(crate) fn store(&self) -> SqlStore {
        SqlStore::open(&self.database).unwrap()
    }
}

/// Seconds instead of minutes.
fn quick() -> Tuning {
    let duration = |text: &str| Some(text.parse().unwrap());
    Tuning {
        watch_interval: duration("200ms"),
        watch_jitter: duration("50ms"),
        watch_confirm_after: duration("100ms"),
        invitation_retry_first: duration("200ms"),
        ..Tuning::default()
    }
}

/// What a test tells a peer to do.
pub(crate) enum Order {
    /// Create a contact address.
    CreateAddress(Box<AddressDraft>, UserLinkData),
    /// Write its link data anew.
    SetLinkData(ConnectionId, UserLinkData),
    /// Read a link.
    ReadLink(ShortLink),
    /// Ask for a connection.
    Request(Box<OpenedLink>, Vec<u8>),
    /// Let the other side in.
    Allow(ConnectionId, Vec<u8>),
    /// Send a message.
    Send(ConnectionId, Vec<u8>),
    /// Delete a connection.
    Delete(ConnectionId),
}

/// What a peer tells the test.
pub(crate) enum Report {
    /// Something happened.
    Event(ConnectionId, Event),
    /// A connection was begun for [`Order::CreateAddress`] or [`Order::Request`].
    Began(ConnectionId),
    /// A link was read.
    Link(Box<Result<OpenedLink, ReadLinkError>>),
}

/// The peer's side of the engine.
struct Puppet {
    store: SqlStore,
    server: ServerAddressWithAuth,
    uncommitted: Vec<Report>,
    reports: mpsc::UnboundedSender<Report>,
}

impl Application for Puppet {
    type Store = SqlStore;
    type Command = Order;

    fn store(&mut self) -> &mut SqlStore {
        &mut self.store
    }

    fn on_event(&mut self, _: &mut Context<'_>, connection: ConnectionId, event: Event) -> Result<(), Fatal> {
        self.uncommitted.push(Report::Event(connection, event));
        Ok(())
    }

    fn on_link(
        &mut self,
        _: &mut Context<'_>,
        _: LinkTag,
        result: Result<OpenedLink, ReadLinkError>,
    ) -> Result<(), Fatal> {
        self.uncommitted.push(Report::Link(Box::new(result)));
        Ok(())
    }

    fn on_command(&mut self, context: &mut Context<'_>, order: Order) -> Result<(), Fatal> {
        let mut agent = context.agent(&mut self.store);
        match order {
            Order::CreateAddress(draft, data) => {
                self.uncommitted.push(Report::Began(agent.create_address(*draft, &data)?));
            }
            Order::SetLinkData(id, data) => agent.set_link_data(id, &data)?,
            Order::Request(link, info) => {
                self.uncommitted.push(Report::Began(agent.request(&link.request, &self.server, &info)?));
            }
            Order::Allow(id, info) => agent.allow(id, &info)?,
            Order::Send(id, body) => {
                agent.send(id, Body::Inline(&body), false)?;
            }
            Order::Delete(id) => agent.delete(id, false)?,
            Order::ReadLink(link) => {
                drop(agent);
                context.read_link(LinkTag(Vec::new()), link);
            }
        }
        Ok(())
    }

    fn after_commit(&mut self) {
        for report in self.uncommitted.drain(..) {
            // A test that has seen enough does not listen any more.
            let _unheard = self.reports.send(report);
        }
    }
}

/// Somebody with connections.
pub(crate) struct Peer {
    directory: tempfile::TempDir,
    server: ServerAddressWithAuth,
    engine: Option<EngineHandle<Order>>,
    reports: mpsc::UnboundedReceiver<Report>,
    /// Reports that nobody has waited for yet.
    unseen: Vec<Report>,
}

impl Peer {
    pub(crate) fn start(server: &ServerAddressWithAuth) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (_, reports) = mpsc::unbounded_channel();
        let mut peer = Self { directory, server: server.clone(), engine: None, reports, unseen: Vec::new() };
        peer.resume();
        peer
    }

    /// Goes on where it was.
    pub(crate) fn resume(&mut self) {
        let (sender, reports) = mpsc::unbounded_channel();
        self.reports = reports;
        let puppet = Puppet {
            store: SqlStore::open(&self.directory.path().join("peer.sqlite")).unwrap(),
            server: self.server.clone(),
            uncommitted: Vec::new(),
            reports: sender,
        };
        self.engine = Some(engine::start(puppet, LIMITS, &Handle::current()).unwrap());
    }

    /// Goes away; what comes for it waits on its server.
    pub(crate) async fn pause(&mut self) {
        self.engine.take().unwrap().stop().await.unwrap();
    }

    pub(crate) async fn order(&self, order: Order) {
        self.engine.as_ref().unwrap().command(order).await.unwrap();
    }

    /// Waits until nothing waits to be sent.
    pub(crate) async fn until_sent(&self) {
        let mut store = SqlStore::open(&self.directory.path().join("peer.sqlite")).unwrap();
        eventually(|| {
            let waiting = store.connections_with_jobs().unwrap();
            if waiting.is_empty() { Ok(()) } else { Err(format!("{waiting:?} have something to send")) }
        })
        .await;
    }

    /// The first report for which `wanted` gives something; the others are kept for later.
    pub(crate) async fn until<T>(&mut self, what: &str, wanted: impl Fn(&Report) -> Option<T>) -> T {
        if let Some((at, found)) =
            self.unseen.iter().enumerate().find_map(|(at, report)| Some((at, wanted(report)?)))
        {
            self.unseen.remove(at);
            return found;
        }
        loop {
            let report = match tokio::time::timeout(PATIENCE, self.reports.recv()).await {
                Ok(report) => report.expect("the peer runs"),
                Err(_) => panic!("waited too long for {what}"),
            };
            if let Some(found) = wanted(&report) {
                return found;
            }
            self.unseen.push(report);
        }
    }

    /// Orders something that begins a connection.
    pub(crate) async fn begin(&mut self, order: Order) -> ConnectionId {
        self.order(order).await;
        self.until("a connection", |report| match report {
            Report::Began(id) => Some(*id),
            _ => None,
        })
        .await
    }

    /// Waits for an event of a connection.
    pub(crate) async fn event<T>(
        &mut self,
        id: ConnectionId,
        what: &str,
        wanted: impl Fn(&Event) -> Option<T>,
    ) -> T {
        self.until(what, |report| match report {
            Report::Event(from, event) if *from == id => wanted(event),
            _ => None,
        })
        .await
    }

    /// Waits until a connection works in both directions.
    pub(crate) async fn connected(&mut self, id: ConnectionId) {
        self.event(id, "a connection that works", |event| matches!(event, Event::Connected).then_some(()))
            .await;
    }

    /// Reads a link.
    pub(crate) async fn read(&mut self, link: &ShortLink) -> Result<OpenedLink, ReadLinkError> {
        self.order(Order::ReadLink(link.clone())).await;
        let taken = self
            .until("link data", |report| match report {
                Report::Link(result) => Some(match result.as_ref() {
                    Ok(opened) => Ok(opened.clone()),
                    Err(error) => Err(error.to_string()),
                }),
                _ => None,
            })
            .await;
        taken.map_err(|_| ReadLinkError::NotFound)
    }
}
