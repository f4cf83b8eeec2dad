//! What a case works with: the server, connections to it, and, by `--spawn`, servers with other settings.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::net::tls::ClientTls;
use tokio::sync::{Mutex, OnceCell};

use crate::failure::{Failure, Outcome};
use crate::observer::Observer;
use crate::peer::{self, Greeted, Hello, Peer};
use crate::place::Place;
use crate::spawn::{Home, Operation, Spawned, Wanted};

/// Where the suite finds servers.
#[derive(Debug)]
pub struct Servers {
    /// The server under test.
    pub place: Place,
    /// The password for creating queues there.
    pub password: Option<Vec<u8>>,
    command: Option<Arc<str>>,
    operator: Option<Arc<str>>,
    shared: Mutex<BTreeMap<(Wanted, &'static str), Shared>>,
}

/// A server that several cases use, once it was asked for.
type Shared = Arc<OnceCell<Outcome<Running>>>;

/// A server that runs, and its home.
#[derive(Debug)]
struct Running {
    // Dropped first: the server ends before its directory goes.
    server: Spawned,
    _home: Home,
}

impl Servers {
    /// The server at `place`, and others by `command`.
    #[must_use]
    pub fn new(place: Place, password: Option<Vec<u8>>, command: Option<Arc<str>>) -> Self {
        Self { place, password, command, operator: None, shared: Mutex::default() }
    }

    /// The same, with a command that does what their operator can.
    #[must_use]
    pub fn operated_by(self, operator: Option<Arc<str>>) -> Self {
        Self { operator, ..self }
    }

    /// Whether servers can be started.
    #[must_use]
    pub fn can_spawn(&self) -> bool {
        self.command.is_some()
    }

    async fn home(&self) -> Outcome<Home> {
        match &self.command {
            Some(command) => Home::new(command).await,
            None => Err(Failure::unavailable("--spawn")),
        }
    }

    /// A server as wanted, which other cases use, too; `name` tells apart several with the same settings.
    async fn shared(&self, wanted: &Wanted, name: &'static str) -> Outcome<Place> {
        let cell = self.shared.lock().await.entry((wanted.clone(), name)).or_default().clone();
        let start = async {
            let home = self.home().await?;
            let server = home.start(wanted).await?;
            Ok(Running { server, _home: home })
        };
        match cell.get_or_init(|| start).await {
            Ok(running) => Ok(running.server.place),
            Err(failure) => Err(failure.clone()),
        }
    }
}

/// One run of a case at one version.
#[derive(Debug, Clone)]
pub struct Trial {
    /// The version.
    pub version: u16,
    servers: Arc<Servers>,
    observer: Arc<Observer>,
}

impl Trial {
    /// A run with this observer.
    #[must_use]
    pub fn new(version: u16, servers: Arc<Servers>, observer: Arc<Observer>) -> Self {
        Self { version, servers, observer }
    }

    /// Where the server under test is.
    #[must_use]
    pub fn place(&self) -> Place {
        self.servers.place
    }

    /// What sees every answer.
    #[must_use]
    pub fn observer(&self) -> &Arc<Observer> {
        &self.observer
    }

    /// A usual connection to the server under test.
    ///
    /// # Errors
    /// When there is none.
    pub async fn connect(&self) -> Outcome<Peer> {
        self.connect_to(&self.place()).await
    }

    /// A usual connection to this server.
    ///
    /// # Errors
    /// When there is none.
    pub async fn connect_to(&self, place: &Place) -> Outcome<Peer> {
        peer::connect(place, &Hello::version(self.version), &self.observer).await
    }

    /// A connection as `hello` says.
    ///
    /// # Errors
    /// When there is none.
    pub async fn connect_as(&self, hello: &Hello) -> Outcome<Peer> {
        peer::connect(&self.place(), hello, &self.observer).await
    }

    /// A connection up to the server's hello.
    ///
    /// # Errors
    /// When there is none.
    pub async fn greet(&self) -> Outcome<Greeted> {
        self.greet_with(ClientTls::default()).await
    }

    /// As [`Self::greet`], with another side of ours in TLS.
    ///
    /// # Errors
    /// When there is none.
    pub async fn greet_with(&self, tls: ClientTls) -> Outcome<Greeted> {
        peer::greet(&self.place(), tls, &self.observer).await
    }

    /// A server with these settings that other cases may use, too.
    ///
    /// # Errors
    /// When it does not start, or none can be started.
    pub async fn server(&self, wanted: &Wanted) -> Outcome<Place> {
        self.servers.shared(wanted, "server").await
    }

    /// A second server beside the one of [`Self::server`].
    ///
    /// # Errors
    /// As [`Self::server`].
    pub async fn second_server(&self, wanted: &Wanted) -> Outcome<Place> {
        self.servers.shared(wanted, "second server").await
    }

    /// A home for a server that this case alone starts, stops and starts again.
    ///
    /// # Errors
    /// When none can be started.
    pub async fn home(&self) -> Outcome<Home> {
        self.servers.home().await
    }

    /// Has the operator do something to the queue with this sender id, at the server of this home.
    ///
    /// # Errors
    /// When it is not done, or nobody can do it.
    pub async fn operate(&self, home: &Home, operation: Operation, sender_id: &[u8]) -> Outcome {
        match &self.servers.operator {
            Some(command) => home.operate(command, operation, sender_id).await,
            None => Err(Failure::unavailable("--operate")),
        }
    }

    /// The case needs a server on this machine, which can reach what the case starts here.
    ///
    /// # Errors
    /// Without `--spawn`.
    pub fn needs_spawn(&self) -> Outcome {
        if self.servers.can_spawn() { Ok(()) } else { Err(Failure::unavailable("--spawn")) }
    }

    /// Tells of something that is allowed, but that people should know.
    pub fn note(&self, note: impl Into<String>) {
        self.observer.note(note.into());
    }

    /// Tells of a quirk: `named` is what the server does where the specification allows both.
    pub fn quirk(&self, named: &str) {
        self.note(format!("quirk: {named}"));
    }
}
