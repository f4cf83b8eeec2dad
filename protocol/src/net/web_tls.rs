//! TLS with browsers, on a port of their own or on one that they share with clients (smp.md §3.2).
//!
//! ```text
//! ClientHello ──names the server──▶ certificate of the web, HTTP
//!             └─names nobody──────▶ the server's chain, SMP      also with ALPN `http/1.1`, as clients on port 443 offer
//! ```
//!
//! Browsers are not asked for certificates: that would make them ask their users.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{Acceptor, NoServerSessionStorage};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};

use super::tap::tap;
use super::tls::{Secured, ServerConfigError, ServerTls, TlsError};

/// What is offered to browsers.
const ALPN_WEB: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// A server's side of TLS with browsers.
#[derive(Clone)]
pub struct WebTls {
    config: Arc<ServerConfig>,
}

impl std::fmt::Debug for WebTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebTls").finish_non_exhaustive()
    }
}

/// Who came to a port that is shared.
#[derive(Debug)]
pub enum Arrival<IO> {
    /// A client.
    Client(Secured<IO>),
    /// A browser.
    Browser(TlsStream<IO>),
}

impl WebTls {
    /// From PEM: `chain` leaf first, `key` the key of the leaf, of any usual algorithm.
    ///
    /// # Errors
    /// When either is not PEM, or the key does not belong to the leaf.
    pub fn new(chain_pem: &[u8], key_pem: &[u8]) -> Result<Self, ServerConfigError> {
        let chain = CertificateDer::pem_slice_iter(chain_pem).collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(key_pem)?;
        // Not the provider of sessions: nobody wants to know their identifiers here.
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = ALPN_WEB.iter().map(|name| name.to_vec()).collect();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        Ok(Self { config: Arc::new(config) })
    }

    /// Does the TLS handshake with a browser, within a limit.
    ///
    /// # Errors
    /// When the browser fails it, or takes too long.
    pub async fn accept_within<IO>(&self, io: IO, limit: Duration) -> Result<TlsStream<IO>, TlsError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let handshake = tokio_rustls::TlsAcceptor::from(self.config.clone()).accept(io);
        let accepted = tokio::time::timeout(limit, handshake).await.map_err(|_| TlsError::TimedOut)?;
        accepted.map_err(TlsError::Handshake)
    }

    /// Does the TLS handshake with whoever came to a port that browsers share with the `clients` of a server.
    ///
    /// # Errors
    /// When the peer fails it or takes too long; for clients as [`ServerTls::accept`].
    pub async fn accept_shared<IO>(
        &self,
        clients: &ServerTls,
        io: IO,
        limit: Duration,
    ) -> Result<Arrival<IO>, TlsError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let shared = async {
            let hello =
                LazyConfigAcceptor::new(Acceptor::default(), io).await.map_err(TlsError::Handshake)?;
            if hello.client_hello().server_name().is_some() {
                let browser = hello.into_stream(self.config.clone()).await.map_err(TlsError::Handshake)?;
                return Ok(Arrival::Browser(browser));
            }
            clients.answer(hello).await.map(Arrival::Client)
        };
        tokio::time::timeout(limit, shared).await.map_err(|_| TlsError::TimedOut)?
    }
}

impl ServerTls {
    /// Does the handshake of a client whose first message was read.
    async fn answer<IO>(&self, hello: StartHandshake<IO>) -> Result<Secured<IO>, TlsError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let config = self.config();
        // The server's Finished is computed as soon as the handshake goes on: that too must be under the tap.
        let handshake = pin!(async { hello.into_stream(config).await });
        let (stream, finished) = tap(handshake).await;
        Self::admit(stream, finished)
    }
}
