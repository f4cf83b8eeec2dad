//! TLS in both roles over in-memory pipes: session identifiers, identities, chains (smp.md §3, §22).
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::Arc;

use ed448_goldilocks_plus::SigningKey as Ed448Key;
use protocol::net::tls::{self, Secured, ServerTls, TlsError};
use protocol::net::verify::{ChainError, check_client_chain, check_server_chain, identity};
use protocol::timestamp::Timestamp;
use protocol::transport::certified_key::fingerprint;
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{SignatureAlgorithm, SignatureScheme};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// 2030-01-01.
const NOW: Timestamp = Timestamp::from_seconds(1_893_456_000);

fn file(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/certs/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn certificate(name: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(&file(&format!("{name}.pem"))).unwrap()
}

fn chain(names: &[&str]) -> Vec<CertificateDer<'static>> {
    names.iter().map(|name| certificate(name)).collect()
}

fn key(name: &str) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(&file(&format!("{name}.key"))).unwrap()
}

fn server(names: &[&str]) -> ServerTls {
    tls::server_config_der(chain(names), key(names[0])).unwrap()
}

async fn handshake(
    server: &ServerTls,
    key_hash: [u8; 32],
) -> (Result<Secured<DuplexStream>, TlsError>, Result<Secured<DuplexStream>, TlsError>) {
    // a pipe so narrow that the handshake yields in its middle, many times
    let (near, far) = duplex(64);
    tokio::join!(tls::connect(near, key_hash), server.accept(far))
}

async fn refusal(names: &[&str], key_hash: [u8; 32]) -> ChainError {
    let (client, server) = handshake(&server(names), key_hash).await;
    assert!(server.is_err(), "the server must learn that it was refused");
    match client {
        Err(TlsError::Chain(error)) => error,
        other => panic!("expected a refused chain, got {other:?}"),
    }
}

#[tokio::test]
async fn both_sides_know_the_same_identifier_and_the_stream_carries_bytes() {
    let server = server(&["ed25519-leaf", "ed25519-ca"]);
    let key_hash = fingerprint(identity(server.chain()).unwrap());
    let (client, server) = handshake(&server, key_hash).await;
    let (mut client, mut server) = (client.unwrap(), server.unwrap());
    assert_eq!(client.tls_unique, server.tls_unique);
    assert_eq!(client.tls_unique.as_bytes().len(), 32);
    assert_eq!(client.chain, chain(&["ed25519-leaf", "ed25519-ca"]));
    assert!(server.chain.is_empty());
    let (_, connection) = client.stream.get_ref();
    assert_eq!(connection.alpn_protocol(), Some(&b"smp/1"[..]));

    let block = [0x23; 16384];
    let mut received = [0; 16384];
    let (sent, got) = tokio::join!(
        async {
            client.stream.write_all(&block).await?;
            client.stream.flush().await
        },
        server.stream.read_exact(&mut received)
    );
    sent.unwrap();
    got.unwrap();
    assert_eq!(received, block);
}

#[tokio::test]
async fn concurrent_handshakes_on_one_thread_do_not_mix_their_identifiers() {
    let server = server(&["ed25519-leaf", "ed25519-ca"]);
    let key_hash = fingerprint(&certificate("ed25519-ca"));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..32 {
        let server = server.clone();
        tasks.spawn(async move { handshake(&server, key_hash).await });
    }
    let mut seen = std::collections::BTreeSet::new();
    while let Some(result) = tasks.join_next().await {
        let (client, server) = result.unwrap();
        let (client, server) = (client.unwrap(), server.unwrap());
        assert_eq!(client.tls_unique, server.tls_unique);
        assert!(seen.insert(client.tls_unique.as_bytes().to_vec()));
    }
}

/// What rustls does to our tap when it is updated shows here and in every other handshake: two MACs, no more.
#[tokio::test]
async fn a_hello_retry_request_leaves_the_identifier_known_and_other_suites_are_refused() {
    let server = server(&["ed25519-leaf", "ed25519-ca"]);
    for suite in default_provider().cipher_suites.into_iter().filter(|suite| suite.tls13().is_some()) {
        let is_ours = suite.suite() == rustls::CipherSuite::TLS13_CHACHA20_POLY1305_SHA256;
        let mut provider = default_provider();
        provider.cipher_suites = vec![suite];
        // the first group is the one of the key share; the server asks for the second
        provider.kx_groups = vec![kx_group::SECP256R1, kx_group::X25519];
        match accept_from(&server, provider, &[b"http/1.1"]).await {
            Ok(accepted) => assert!(is_ours && accepted.tls_unique.as_bytes().len() == 32),
            Err(error) => assert!(!is_ours && matches!(error, TlsError::Handshake(_)), "{error:?}"),
        }
    }
}

#[tokio::test]
async fn clients_of_port_443_are_taken_and_those_without_a_protocol_name_are_not() {
    let server = server(&["ed25519-leaf", "ed25519-ca"]);
    accept_from(&server, default_provider(), &[b"http/1.1"]).await.unwrap();
    let nothing = accept_from(&server, default_provider(), &[]).await;
    assert!(matches!(nothing, Err(TlsError::NoAlpn)), "{nothing:?}");
    let other = accept_from(&server, default_provider(), &[b"xftp/1"]).await;
    assert!(matches!(other, Err(TlsError::Handshake(_))), "{other:?}");
}

/// Services present a certificate; it must be their own (smp.md §3.5, and the trap of §3.3).
#[tokio::test]
async fn a_service_is_known_by_its_certificate_and_a_forged_one_refused() {
    let server = server(&["ed25519-leaf", "ed25519-ca"]);
    let present = |names: &'static [&str]| {
        let config = other_client(default_provider(), Some(names));
        accept_client(&server, config, &[b"smp/1"])
    };
    let service = ["operated-leaf", "operated-id", "operator"];
    let accepted = present(&["operated-leaf", "operated-id", "operator"]).await.unwrap();
    assert_eq!(accepted.chain, chain(&service));
    for refused in [
        &["attacker-leaf", "operated-id", "attacker-ca"][..],
        &["namesake-leaf", "ed25519-ca", "namesake-ca"],
        &["expired-leaf", "ed25519-ca"],
        &["operated-leaf"],
    ] {
        let result = present(refused).await;
        assert!(matches!(result, Err(TlsError::Handshake(_))), "{refused:?}: {result:?}");
    }
}

/// Accepts a client that is not ours and has no certificate.
async fn accept_from(
    server: &ServerTls,
    provider: rustls::crypto::CryptoProvider,
    alpn: &[&[u8]],
) -> Result<Secured<DuplexStream>, TlsError> {
    accept_client(server, other_client(provider, None), alpn).await
}

fn other_client(
    provider: rustls::crypto::CryptoProvider,
    certificates: Option<&[&str]>,
) -> rustls::ClientConfig {
    let builder = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer));
    match certificates {
        Some(names) => builder.with_client_auth_cert(chain(names), key(names[0])).unwrap(),
        None => builder.with_no_client_auth(),
    }
}

async fn accept_client(
    server: &ServerTls,
    mut config: rustls::ClientConfig,
    alpn: &[&[u8]],
) -> Result<Secured<DuplexStream>, TlsError> {
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let (near, far) = duplex(1024);
    let connector = TlsConnector::from(Arc::new(config));
    let (_client, accepted) =
        tokio::join!(connector.connect("localhost".try_into().unwrap(), near), server.accept(far));
    accepted
}

#[derive(Debug)]
struct AnyServer;

impl rustls::client::danger::ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

#[tokio::test]
async fn the_wrong_identity_is_refused() {
    assert_eq!(refusal(&["ed25519-leaf", "ed25519-ca"], [7; 32]).await, ChainError::Identity);
    // the same name, another key
    let genuine = fingerprint(&certificate("ed25519-ca"));
    assert_eq!(refusal(&["namesake-leaf", "namesake-ca"], genuine).await, ChainError::Identity);
    assert_eq!(refusal(&["namesake-leaf", "ed25519-ca"], genuine).await, ChainError::Signature);
}

/// The trap of smp.md §3.3: a path leads from the leaf to the last certificate, past the genuine identity.
#[tokio::test]
async fn a_forged_chain_of_three_certificates_is_refused() {
    let genuine = fingerprint(&certificate("ed25519-ca"));
    let forged = ["attacker-leaf", "ed25519-ca", "attacker-ca"];
    assert_eq!(refusal(&forged, genuine).await, ChainError::IssuerNotFound);
    let forged = ["namesake-leaf", "ed25519-ca", "namesake-ca"];
    assert_eq!(refusal(&forged, genuine).await, ChainError::Signature);
    let forged = chain(&["namesake-leaf", "ed25519-ca", "operator", "namesake-ca"]);
    assert_eq!(check_server_chain(&forged, &genuine, NOW), Err(ChainError::Signature));
    // as a service's certificate it is refused as well
    let forged = chain(&["attacker-leaf", "ed25519-ca", "attacker-ca"]);
    assert_eq!(check_client_chain(&forged, NOW), Err(ChainError::IssuerNotFound));
}

#[tokio::test]
async fn an_expired_leaf_is_refused() {
    let genuine = fingerprint(&certificate("ed25519-ca"));
    assert_eq!(refusal(&["expired-leaf", "ed25519-ca"], genuine).await, ChainError::Expired);
    assert_eq!(refusal(&["future-leaf", "ed25519-ca"], genuine).await, ChainError::NotValidYet);
}

#[tokio::test]
async fn operator_and_network_certificates_are_accepted() {
    let key_hash = fingerprint(&certificate("operated-id"));
    for names in [
        &["operated-leaf", "operated-id"][..],
        &["operated-leaf", "operated-id", "operator"],
        &["operated-leaf", "operated-id", "operator", "network"],
    ] {
        let (client, server) = handshake(&server(names), key_hash).await;
        assert_eq!(client.unwrap().tls_unique, server.unwrap().tls_unique);
    }
}

#[test]
fn other_chains_are_refused() {
    let check = |names: &[&str], now| {
        let chain = chain(names);
        let key_hash = chain.get(1).map_or([0; 32], |id| fingerprint(id));
        check_server_chain(&chain, &key_hash, now)
    };
    let genuine = ["ed25519-leaf", "ed25519-ca"];
    assert_eq!(check(&genuine, NOW), Ok(()));
    assert_eq!(check(&["ed25519-ca"], NOW), Err(ChainError::Shape(1)));
    assert_eq!(
        check(&["operated-leaf", "operated-id", "operator", "operator", "network"], NOW),
        Err(ChainError::Shape(5))
    );
    // a self-signed leaf names itself as its issuer, not the second certificate
    assert_eq!(check(&["attacker-ca", "ed25519-ca"], NOW), Err(ChainError::IssuerNotFound));
    assert_eq!(check(&["encipher-leaf", "ed25519-ca"], NOW), Err(ChainError::KeyUsage));
    assert_eq!(check(&["powerless-leaf", "powerless-id", "operator"], NOW), Err(ChainError::NotAuthority));
    // of the anchor only the key counts
    assert_eq!(check(&["powerless-leaf", "powerless-id"], NOW), Ok(()));
    assert_eq!(check(&genuine, Timestamp::from_seconds(0)), Err(ChainError::NotValidYet));
    // valid until the year 4764, and not in the year 9999
    assert_eq!(check(&genuine, Timestamp::from_seconds(88_000_000_000)), Ok(()));
    assert_eq!(check(&genuine, Timestamp::from_seconds(253_402_300_000)), Err(ChainError::Expired));
    assert_eq!(check(&["future-leaf", "ed25519-ca"], Timestamp::from_seconds(253_402_300_000)), Ok(()));
}

#[test]
fn a_service_may_have_one_certificate_and_none_that_is_cut_or_changed() {
    assert_eq!(check_client_chain(&chain(&["attacker-ca"]), NOW), Ok(()));
    assert_eq!(check_client_chain(&chain(&["ed25519-leaf"]), NOW), Err(ChainError::IssuerNotFound));
    let none: [CertificateDer<'_>; 0] = [];
    assert_eq!(check_client_chain(&none, NOW), Err(ChainError::Shape(0)));
    let whole = certificate("attacker-ca");
    for length in 0..whole.len() {
        assert_eq!(check_client_chain(&[&whole[..length]], NOW), Err(ChainError::Malformed));
    }
    // all but the name of the algorithm, which stands outside of what is signed
    let signature_field = whole.len() - 67;
    for place in (0..signature_field - 7).chain(signature_field..whole.len()) {
        let mut changed = whole.to_vec();
        changed[place] ^= 1;
        assert!(check_client_chain(&[changed], NOW).is_err(), "byte {place}");
    }
}

#[test]
fn a_server_key_must_belong_to_the_leaf() {
    let chain = chain(&["ed25519-leaf", "ed25519-ca"]);
    assert!(tls::server_config_der(chain.clone(), key("operated-leaf")).is_err());
    assert!(tls::server_config_der(chain[..1].to_vec(), key("ed25519-leaf")).is_err());
    let pem = [file("ed25519-leaf.pem"), file("ed25519-ca.pem")].concat();
    assert_eq!(tls::server_config(&pem, &file("ed25519-leaf.key")).unwrap().chain(), chain);
}

/// Servers whose certificates are Ed448 (smp.md §3.1): made here, as rustls cannot sign with such keys.
#[tokio::test]
async fn a_server_with_ed448_certificates_is_accepted() {
    let accept = |lie: bool| {
        let resolver = Arc::new(Ed448Server(Arc::new(CertifiedKey::new(
            chain(&["ed448-leaf", "ed448-ca"]),
            Arc::new(Ed448Signing { key: ed448_key("ed448-leaf"), lie }),
        ))));
        let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"smp/1".to_vec()];
        TlsAcceptor::from(Arc::new(config))
    };
    let key_hash = fingerprint(&certificate("ed448-ca"));

    let (near, far) = duplex(1024);
    let (client, server) = tokio::join!(tls::connect(near, key_hash), accept(false).accept(far));
    server.unwrap();
    assert_eq!(client.unwrap().chain, chain(&["ed448-leaf", "ed448-ca"]));

    // a server that does not have the leaf's key
    let (near, far) = duplex(1024);
    let (client, server) = tokio::join!(tls::connect(near, key_hash), accept(true).accept(far));
    assert!(matches!(client, Err(TlsError::Handshake(_))), "{client:?}");
    server.unwrap_err();
}

fn ed448_key(name: &str) -> Arc<Ed448Key> {
    let PrivateKeyDer::Pkcs8(pkcs8) = key(name) else { panic!("PKCS#8 expected") };
    let raw: [u8; 57] = pkcs8.secret_pkcs8_der()[16..].try_into().unwrap();
    Arc::new(Ed448Key::try_from(&raw[..]).unwrap())
}

#[derive(Debug)]
struct Ed448Server(Arc<CertifiedKey>);

impl ResolvesServerCert for Ed448Server {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

#[derive(Debug, Clone)]
struct Ed448Signing {
    key: Arc<Ed448Key>,
    lie: bool,
}

impl SigningKey for Ed448Signing {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&SignatureScheme::ED448).then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ED448
    }
}

impl Signer for Ed448Signing {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let message = if self.lie { b"something else" } else { message };
        Ok(self.key.sign_raw(message).to_bytes().to_vec())
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ED448
    }
}
