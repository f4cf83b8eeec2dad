//! TLS 1.3 as SMP uses it (smp.md §3): no SNI, no resumption, identity by certificate hash, tls-unique as session id.
//!
//! Both sides come out of a handshake with a [`Secured`] stream. A connection whose session identifier cannot be
//! known for certain is refused, see `tap`.

use std::io;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::NoServerSessionStorage;
use rustls::{ClientConfig, ServerConfig};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::ed448;
use super::tap::{Finished, TlsUnique, provider, tap};
use super::verify::{ChainError, OptionalService, PinnedIdentity};
use crate::crypto::sign::Ed448PrivateKey;
use crate::transport::certified_key::CertificateChain;

/// The protocol name that our client offers (smp.md §3.2).
const ALPN_SMP: &[u8] = b"smp/1";

/// What a server accepts: clients on port 443 offer `http/1.1`, without SNI (smp.md §3.2, §22.6).
const ALPN_SERVER: [&[u8]; 3] = [ALPN_SMP, b"h2", b"http/1.1"];

/// A server gives up on a TLS handshake after this time (smp.md §3.7).
pub const TLS_SETUP_LIMIT: Duration = Duration::from_secs(60);

/// A connection after its TLS handshake.
#[derive(Debug)]
pub struct Secured<IO> {
    /// The encrypted stream.
    pub stream: TlsStream<IO>,
    /// tls-unique: the session identifier of the SMP layer.
    pub tls_unique: TlsUnique,
    /// The peer's certificates, leaf first; a client's may be empty.
    pub chain: Vec<CertificateDer<'static>>,
}

/// Why there is no secured connection.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The peer's certificates do not prove the identity that was asked for.
    #[error("the server's certificates are refused: {0}")]
    Chain(#[from] ChainError),
    /// The peer offered no ALPN: it speaks only versions that are too old.
    #[error("the peer offers no application protocol: it is too old")]
    NoAlpn,
    /// The session identifier is not known for certain.
    #[error("the TLS handshake was not a full one, so the session has no identifier")]
    NoSessionIdentifier,
    /// The TLS handshake failed.
    #[error("the TLS handshake failed: {0}")]
    Handshake(#[source] io::Error),
    /// It took too long.
    #[error("the TLS handshake took too long")]
    TimedOut,
}

/// Why a server cannot use these certificates.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServerConfigError {
    /// Not PEM, or nothing of the kind inside.
    #[error("cannot read PEM: {0}")]
    Pem(#[from] rustls::pki_types::pem::Error),
    /// The chain has no shape that clients accept.
    #[error("clients would refuse the certificate chain: {0}")]
    Chain(#[from] ChainError),
    /// The key is of another algorithm or does not belong to the leaf.
    #[error("cannot use the server key: {0}")]
    Key(#[from] rustls::Error),
}

/// A server's side of TLS: its chain and its key.
#[derive(Clone)]
pub struct ServerTls {
    acceptor: TlsAcceptor,
    chain: Arc<[CertificateDer<'static>]>,
}

impl ServerTls {
    /// The chain that clients see, leaf first; the second is the identity.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// Does the TLS handshake with a client, within [`TLS_SETUP_LIMIT`].
    ///
    /// # Errors
    /// When the client fails it, offers no ALPN, shows a chain that is not consistent, or takes too long.
    pub async fn accept<IO>(&self, io: IO) -> Result<Secured<IO>, TlsError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        self.accept_within(io, TLS_SETUP_LIMIT).await
    }

    /// As [`Self::accept`], within a limit of the caller's.
    ///
    /// # Errors
    /// As [`Self::accept`].
    pub async fn accept_within<IO>(&self, io: IO, limit: Duration) -> Result<Secured<IO>, TlsError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let handshake = tap(self.acceptor.accept(io));
        let (stream, finished) =
            tokio::time::timeout(limit, handshake).await.map_err(|_| TlsError::TimedOut)?;
        Self::admit(stream, finished)
    }

    /// Takes a client whose handshake is over.
    pub(super) fn admit<IO>(
        stream: io::Result<tokio_rustls::server::TlsStream<IO>>,
        finished: Finished,
    ) -> Result<Secured<IO>, TlsError> {
        let stream = stream.map_err(TlsError::Handshake)?;
        if stream.get_ref().1.alpn_protocol().is_none() {
            return Err(TlsError::NoAlpn);
        }
        secured(TlsStream::Server(stream), finished)
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.acceptor.config().clone()
    }
}

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerTls").finish_non_exhaustive()
    }
}

/// A server's side of TLS from PEM: `chain` leaf first, `key` the PKCS#8 key of the leaf.
///
/// # Errors
/// When either is not PEM, clients would refuse the chain, or the key does not belong to it.
pub fn server_config(chain_pem: &[u8], key_pem: &[u8]) -> Result<ServerTls, ServerConfigError> {
    let chain = CertificateDer::pem_slice_iter(chain_pem).collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(key_pem)?;
    server_config_der(chain, key)
}

/// As [`server_config`], from DER.
///
/// # Errors
/// As [`server_config`].
pub fn server_config_der(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerTls, ServerConfigError> {
    server_config_for(chain, key, ClientCertificates::Requested)
}

/// Whether a server asks its clients for certificates, which only services have (smp.md §3.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCertificates {
    /// It asks, and accepts clients that have none.
    Requested,
    /// It does not ask: no client can be a service.
    NotRequested,
}

/// As [`server_config_der`], with or without services.
///
/// # Errors
/// As [`server_config`].
pub fn server_config_for(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    clients: ClientCertificates,
) -> Result<ServerTls, ServerConfigError> {
    if !(2..=CertificateChain::CERTIFICATES_MAX).contains(&chain.len()) {
        return Err(ChainError::Shape(chain.len()).into());
    }
    let builder =
        ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&rustls::version::TLS13])?;
    let builder = match clients {
        ClientCertificates::Requested => builder.with_client_cert_verifier(Arc::new(OptionalService)),
        ClientCertificates::NotRequested => builder.with_no_client_auth(),
    };
    let config = match Ed448PrivateKey::from_der(key.secret_der()) {
        Ok(key) => builder.with_cert_resolver(ed448::resolver(chain.clone(), key)?),
        Err(_) => builder.with_single_cert(chain.clone(), key)?,
    };
    Ok(ServerTls { acceptor: TlsAcceptor::from(Arc::new(without_resumption(config))), chain: chain.into() })
}

fn without_resumption(mut config: ServerConfig) -> ServerConfig {
    config.alpn_protocols = ALPN_SERVER.iter().map(|name| name.to_vec()).collect();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config
}

/// Does the TLS handshake with the server whose identity certificate has this SHA-256. The caller bounds the time.
///
/// # Errors
/// When the server fails it or is another one.
pub async fn connect<IO>(io: IO, key_hash: [u8; 32]) -> Result<Secured<IO>, TlsError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    connect_with(io, key_hash, ClientTls::default()).await
}

/// A client's side of TLS where it is not the usual one.
#[derive(Debug)]
pub struct ClientTls {
    /// The application protocols that it offers: `smp/1`, unless it tries something else.
    pub alpn: Vec<Vec<u8>>,
    /// The server's name, if it is told; SMP clients do not tell it.
    pub sni: Option<ServerName<'static>>,
    /// The certificates of a service, leaf first, and the leaf's key (smp.md §13).
    pub certificate: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

impl Default for ClientTls {
    fn default() -> Self {
        Self { alpn: vec![ALPN_SMP.to_vec()], sni: None, certificate: None }
    }
}

/// As [`connect`], with another side of ours.
///
/// # Errors
/// As [`connect`], and when our own certificate and key do not belong together.
pub async fn connect_with<IO>(io: IO, key_hash: [u8; 32], own: ClientTls) -> Result<Secured<IO>, TlsError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let verifier = Arc::new(PinnedIdentity::new(key_hash));
    let name = own.sni.clone().unwrap_or_else(|| PLACEHOLDER_NAME.clone());
    let connector = TlsConnector::from(Arc::new(client_config(verifier.clone(), own)?));
    let (stream, finished) = tap(connector.connect(name, io)).await;
    let stream = stream.map_err(|error| match verifier.refusal() {
        Some(refusal) => TlsError::Chain(refusal),
        None => TlsError::Handshake(error),
    })?;
    secured(TlsStream::Client(stream), finished)
}

/// rustls wants a name; it is neither sent (no SNI) nor checked.
static PLACEHOLDER_NAME: LazyLock<ServerName<'static>> =
    LazyLock::new(|| ServerName::try_from("server.invalid").expect("a constant DNS name"));

fn client_config(verifier: Arc<PinnedIdentity>, own: ClientTls) -> Result<ClientConfig, TlsError> {
    let unusable = |error| TlsError::Handshake(io::Error::other(error));
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(unusable)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match own.certificate {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(unusable)?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = own.alpn;
    config.enable_sni = own.sni.is_some();
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

fn secured<IO>(stream: TlsStream<IO>, finished: Finished) -> Result<Secured<IO>, TlsError> {
    let (_, connection) = stream.get_ref();
    let tls_unique = finished.tls_unique(connection.handshake_kind()).ok_or(TlsError::NoSessionIdentifier)?;
    let chain = connection.peer_certificates().unwrap_or_default().to_vec();
    Ok(Secured { stream, tls_unique, chain })
}
