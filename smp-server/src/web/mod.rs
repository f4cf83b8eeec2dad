//! What browsers see (smp.md §16.3, §18.5): the information page, the pages of links, files of the operator's.
//!
//! ```text
//! shared port ──TLS, with the server's name──┐
//! port of HTTPS ──TLS────────────────────────┼─▶ handed over ──▶ router ──▶ information │ links │ files
//! port of HTTP ──────────────────────────────┘
//! ```
//!
//! Whoever comes is counted among the connections of the server and of its address until it is gone.

mod html;
mod information;
mod links;
mod router;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Context as _, bail};
use daemon::http::{Bounds, Handed, handed};
use protocol::net::web_tls::WebTls;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::config::{Information, Settings, Web as WebSettings};
use crate::directory::Directory;
use crate::limits::{Admission, Greeting};
use crate::server::{Server, listen_at};

/// Browsers at a time, and how long one may take for all that it wants.
const BOUNDS: Bounds = Bounds { connections: 512, lifetime: Duration::from_secs(120) };
/// Browsers that wait for their turn.
const WAITING: usize = 64;

/// A browser's connection.
trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

type Arrivals = Handed<Box<dyn Wire>, Visit>;

/// What a browser's connection holds until it ends.
#[derive(Debug)]
struct Visit {
    open: Arc<AtomicUsize>,
    _admission: Admission,
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is spoken at a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// SMP over TLS, whatever the peer says.
    Clients,
    /// The same, and HTTPS with those that name the server.
    Shared,
    /// HTTPS.
    Https,
    /// HTTP without TLS.
    Http,
}

/// The web pages of a server.
pub(crate) struct Web {
    files: PathBuf,
    tls: RwLock<Option<Arc<WebTls>>>,
    information_page: RwLock<Arc<str>>,
    listeners: Mutex<Vec<(Door, TcpListener)>>,
    door: mpsc::Sender<(Box<dyn Wire>, Visit)>,
    arrivals: Mutex<Option<Arrivals>>,
    open: Arc<AtomicUsize>,
    sockets: Vec<(Door, SocketAddr)>,
}

impl std::fmt::Debug for Web {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Web").field("sockets", &self.sockets).finish_non_exhaustive()
    }
}

impl Web {
    /// Opens the ports of the web alone, and reads the certificate for browsers. `address` is what clients are given.
    ///
    /// # Errors
    /// When a port cannot be had, or the certificate cannot be read; says what to do.
    pub(crate) fn open(server: &Server, directory: &Directory, address: &str) -> anyhow::Result<Self> {
        let settings = &server.settings;
        let mut listeners = Vec::new();
        let alone = settings.web.https.0.filter(|port| !settings.listen.ports.0.contains(port));
        for (door, port) in [(Door::Http, settings.web.http.0), (Door::Https, alone)] {
            if let Some(port) = port {
                let listener = listen_at(settings.listen.bind, port)?;
                listeners.push((door, listener));
            }
        }
        let sockets = listeners
            .iter()
            .map(|(door, listener)| Ok((*door, listener.local_addr()?)))
            .collect::<std::io::Result<_>>()?;
        let (door, arrivals) = handed(WAITING);
        let page = information::page(server, &settings.information, address);
        Ok(Self {
            files: directory.join(&settings.web.files),
            tls: RwLock::new(read_tls(&settings.web, directory)?),
            information_page: RwLock::new(page.into()),
            listeners: Mutex::new(listeners),
            door,
            arrivals: Mutex::new(Some(arrivals)),
            open: Arc::default(),
            sockets,
        })
    }

    /// Where it listens beside the ports of clients.
    pub(crate) fn sockets(&self) -> &[(Door, SocketAddr)] {
        &self.sockets
    }

    /// Browsers that are connected.
    pub(crate) fn open_count(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// TLS with browsers that come from now on.
    pub(crate) fn tls(&self) -> Option<Arc<WebTls>> {
        self.tls.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is opened for it alone; nothing when somebody has taken it before.
    pub(crate) fn take_listeners(&self) -> Vec<(Door, TcpListener)> {
        std::mem::take(&mut *self.listeners.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Shows other pages, with another certificate, to who comes from now on.
    pub(crate) fn replace(&self, renewed: Renewed) {
        *self.tls.write().unwrap_or_else(PoisonError::into_inner) = renewed.tls;
        *self.information_page.write().unwrap_or_else(PoisonError::into_inner) = renewed.page.into();
    }

    /// Serves a browser, if there is room for it.
    fn hand_over(&self, stream: impl Wire + 'static, admission: Admission) -> bool {
        self.open.fetch_add(1, Ordering::Relaxed);
        let visit = Visit { open: self.open.clone(), _admission: admission };
        self.door.try_send((Box::new(stream), visit)).is_ok()
    }

    fn information_page(&self) -> Arc<str> {
        self.information_page.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Server {
    /// Serves a browser whose connection is ready for its requests.
    pub(crate) fn receive_browser(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        by: Admission,
    ) {
        self.metrics.web_connections.one();
        if !self.web().is_some_and(|web| web.hand_over(stream, by)) {
            self.metrics.web_refusals.one();
        }
    }

    /// What is spoken at each of the ports for clients, in their order.
    pub(crate) fn doors(&self) -> impl Iterator<Item = Door> {
        let shared = self.settings.web.https.0.filter(|_| self.web().is_some());
        let door = move |port: &u16| if shared == Some(*port) { Door::Shared } else { Door::Clients };
        self.settings.listen.ports.0.iter().map(door)
    }
}

/// What a reload makes anew.
pub(crate) struct Renewed {
    tls: Option<Arc<WebTls>>,
    page: String,
}

impl Renewed {
    /// Reads the certificate again, and renders the page with this information.
    pub(crate) fn read(
        server: &Server,
        directory: &Directory,
        information: &Information,
        address: &str,
    ) -> anyhow::Result<Self> {
        let page = information::page(server, information, address);
        Ok(Self { tls: read_tls(&server.settings.web, directory)?, page })
    }
}

/// The certificate for browsers, if there is a port for it.
///
/// # Errors
/// When it cannot be read or used; says what to do.
pub(crate) fn read_tls(settings: &WebSettings, directory: &Directory) -> anyhow::Result<Option<Arc<WebTls>>> {
    if settings.https.0.is_none() {
        return Ok(None);
    }
    let (chain, key) = (directory.join(&settings.certificate), directory.join(&settings.private_key));
    let read = |path: &PathBuf| {
        let hint = "put a certificate for browsers and its key there, or set `https` of [web] to off";
        std::fs::read(path).with_context(|| format!("Unable to read {}: {hint}", path.display()))
    };
    match WebTls::new(&read(&chain)?, &read(&key)?) {
        Ok(tls) => Ok(Some(Arc::new(tls))),
        Err(error) => bail!("Unable to serve {} with {}: {error}", chain.display(), key.display()),
    }
}

/// Serves browsers until the server stops.
pub(crate) async fn serve(server: Arc<Server>) {
    let Some(web) = server.web() else { return };
    let arrivals = web.arrivals.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(arrivals) = arrivals else { return };
    let router = router::router(&server, web);
    let mut stop = server.stopping();
    daemon::http::serve(arrivals, router, BOUNDS, async move { stop.requested().await }).await;
}

/// Takes a browser at a port of its own.
pub(crate) async fn greet(
    server: &Server,
    door: Door,
    socket: TcpStream,
    admission: Admission,
    greeting: Greeting,
) {
    let tls = match door {
        Door::Http => return server.receive_browser(socket, admission),
        _ => server.web().and_then(Web::tls),
    };
    let Some(tls) = tls else { return };
    let mut stop = server.stopping();
    tokio::select! {
        accepted = tls.accept_within(socket, server.settings.times.tls_timeout.0) => match accepted {
            Ok(stream) => server.receive_browser(stream, admission),
            Err(error) => tracing::debug!(%error, "no connection with a browser"),
        },
        () = greeting.gives_way() => {}
        () = stop.requested() => {}
    }
}

/// What an operator may have forgotten.
pub(crate) fn advice(settings: &Settings) -> Option<String> {
    let Settings { web, information, .. } = settings;
    if !web.is_on() && !information.is_empty() {
        return Some("[information] is shown nowhere: set `http` or `https` of [web]".to_owned());
    }
    None
}
