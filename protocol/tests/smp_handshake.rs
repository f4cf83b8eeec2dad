//! Hellos of both sides against each other, and against what a peer must not say (smp.md §4.5, §13).
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use ed448_goldilocks_plus::{ScalarBytes, SigningKey as Ed448Key};
use protocol::crypto::dh::{X25519PrivateKey, X25519PublicKey};
use protocol::crypto::sign::{Ed448PublicKey, Ed25519PrivateKey};
use protocol::encoding::Encode as _;
use protocol::smp::SMP_VERSIONS;
use protocol::smp::error::{HandshakeFailure, TransportError};
use protocol::smp::ids::ServiceId;
use protocol::transport::block::{BLOCK_BYTES, BlockOpener, BlockSealer};
use protocol::transport::certified_key::{
    CertificateChain, CertificateKey, CertifiedKey, SignedKey, fingerprint,
};
use protocol::transport::handshake::{
    ClientConfig, ClientHandshake, ClientNext, ClientService, HandshakeError, ServerConfig, ServerHandshake,
    ServerNext, Session, TlsClient,
};
use protocol::transport::hello::{ClientHello, ServerHello, ServiceHello, ServiceRole};
use protocol::version::VersionRange;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

const SESSION: [u8; 32] = [0x11; 32];
const IDENTITY: &[u8] = b"identity certificate";

fn range(min: u16, max: u16) -> VersionRange {
    VersionRange::new(min, max).unwrap()
}

fn chain(certificates: &[&[u8]]) -> CertificateChain {
    CertificateChain::new(certificates.iter().map(|certificate| certificate.to_vec()).collect()).unwrap()
}

fn leaf_key() -> Ed25519PrivateKey {
    Ed25519PrivateKey::from_seed(&[1; 32])
}

fn leaf() -> CertificateKey {
    CertificateKey::Ed25519(leaf_key().public_key())
}

fn server_config(versions: VersionRange) -> ServerConfig {
    ServerConfig { versions, chain: chain(&[b"leaf certificate", IDENTITY]), leaf_key: leaf_key().into() }
}

fn client_config() -> ClientConfig {
    ClientConfig { versions: SMP_VERSIONS, key_hash: fingerprint(IDENTITY), is_proxy: false, service: None }
}

fn service() -> ClientService {
    ClientService {
        role: ServiceRole::Notifier,
        chain: chain(&[b"service leaf", b"service identity"]),
        leaf_key: Ed25519PrivateKey::from_seed(&[2; 32]),
        session_key: Ed25519PrivateKey::from_seed(&[3; 32]),
    }
}

fn block(bytes: Vec<u8>) -> [u8; BLOCK_BYTES] {
    bytes.try_into().unwrap()
}

fn plain(content: &[u8]) -> [u8; BLOCK_BYTES] {
    block(BlockSealer::plain().seal(content).unwrap())
}

/// A client with this configuration reads this hello.
fn client_reads(
    config: ClientConfig,
    hello: &ServerHello,
    leaf: CertificateKey,
) -> Result<ClientNext, HandshakeError> {
    let client = ClientHandshake::new(config, &SESSION, leaf);
    let reply = client.receive_hello(&mut plain(&hello.to_bytes()), &mut StdRng::seed_from_u64(1))?;
    Ok(reply.next)
}

/// A server with these versions reads this hello.
fn server_reads(versions: VersionRange, hello: &[u8]) -> Result<ServerNext, HandshakeError> {
    let mut rng = StdRng::seed_from_u64(2);
    let (server, _) = ServerHandshake::start(&server_config(versions), &SESSION, &mut rng).unwrap();
    server.receive_hello(&mut plain(hello), None)
}

fn server_hello() -> ServerHello {
    let mut rng = StdRng::seed_from_u64(3);
    let config = server_config(SMP_VERSIONS);
    let (_, hello) = ServerHandshake::start(&config, &SESSION, &mut rng).unwrap();
    ServerHello::parse(BlockOpener::plain().open(&mut block(hello)).unwrap()).unwrap()
}

fn client_hello() -> ClientHello {
    ClientHello {
        version: 18,
        key_hash: fingerprint(IDENTITY).to_vec(),
        session_key: Some(X25519PublicKey([9; 32])),
        is_proxy: false,
        service: None,
    }
}

/// Both sides to the end.
fn shake(client: ClientConfig, server: ServerConfig) -> (Box<Session>, Box<Session>) {
    let mut rng = StdRng::seed_from_u64(4);
    let (server, hello) = ServerHandshake::start(&server, &SESSION, &mut rng).unwrap();
    let client = ClientHandshake::new(client, &SESSION, leaf());
    let reply = client.receive_hello(&mut block(hello), &mut rng).unwrap();
    let next = server.receive_hello(&mut block(reply.hello), None).unwrap();
    match (reply.next, next) {
        (ClientNext::Ready(client), ServerNext::Ready(server)) => (client, server),
        other => panic!("{other:?}"),
    }
}

fn talk(from: &mut Session, to: &mut Session, content: &[u8]) {
    let mut sealed = block(from.cipher.send.seal(content).unwrap());
    assert_eq!(to.cipher.receive.open(&mut sealed), Ok(content));
}

#[test]
fn both_sides_agree_on_the_highest_common_version_and_talk() {
    for (client, server, version) in [
        (range(15, 18), range(15, 18), 18),
        (range(15, 18), range(15, 15), 15),
        (range(15, 16), range(15, 18), 16),
        (range(17, 18), range(6, 17), 17),
    ] {
        let config = ClientConfig { versions: client, ..client_config() };
        let (mut client, mut server) = shake(config, server_config(server));
        assert_eq!((client.version, server.version), (version, version));
        assert_eq!(client.peer_key, Some(server.own_key.public_key()));
        assert_eq!(server.peer_key, Some(client.own_key.public_key()));
        for content in [&b"one"[..], b"two", b""] {
            talk(&mut client, &mut server, content);
            talk(&mut server, &mut client, content);
        }
    }
}

#[test]
fn a_damaged_block_takes_its_step_and_the_next_one_opens() {
    let (mut client, mut server) = shake(client_config(), server_config(SMP_VERSIONS));
    let mut damaged = block(client.cipher.send.seal(b"lost").unwrap());
    damaged[100] ^= 1;
    assert!(server.cipher.receive.open(&mut damaged).is_err());
    talk(&mut client, &mut server, b"next");
}

#[test]
fn a_content_that_does_not_fit_uses_no_key() {
    let (mut client, mut server) = shake(client_config(), server_config(SMP_VERSIONS));
    assert_eq!(client.cipher.send.content_bytes_max(), 16_366);
    assert!(client.cipher.send.seal(&[0; 16_367]).is_err());
    talk(&mut client, &mut server, &[0; 16_366]);
}

#[test]
fn blocks_between_proxy_and_destination_server_are_plain() {
    let config = ClientConfig { is_proxy: true, ..client_config() };
    let (mut client, mut server) = shake(config, server_config(SMP_VERSIONS));
    assert!(server.is_proxy);
    assert_eq!(client.cipher.send.content_bytes_max(), 16_382);
    let mut sent = block(client.cipher.send.seal(b"plain").unwrap());
    assert_eq!(sent[..7], *b"\0\x05plain");
    assert_eq!(server.cipher.receive.open(&mut sent), Ok(&b"plain"[..]));
}

#[test]
fn blocks_are_plain_with_a_client_that_sent_no_key() {
    let hello = ClientHello { session_key: None, ..client_hello() };
    let Ok(ServerNext::Ready(session)) = server_reads(SMP_VERSIONS, &hello.to_bytes()) else { panic!() };
    assert_eq!(session.cipher.send.content_bytes_max(), 16_382);
    assert_eq!(session.peer_key, None);
}

/// §23, trap 1.
#[test]
fn a_client_leaves_a_server_that_sees_another_tls_session() {
    let hello = ServerHello { session_id: vec![0x12; 32], ..server_hello() };
    assert_eq!(client_reads(client_config(), &hello, leaf()).unwrap_err(), HandshakeError::SessionMismatch);
}

#[test]
fn a_version_gap_names_both_sides() {
    let hello = ServerHello { versions: range(6, 14), ..server_hello() };
    let error = client_reads(client_config(), &hello, leaf()).unwrap_err();
    assert_eq!(error, HandshakeError::IncompatibleVersions { ours: range(15, 18), theirs: range(6, 14) });
    assert_eq!(
        error.to_string(),
        "no version in common: we speak SMP 15-18, the other side 6-14; update the older one"
    );
    assert_eq!(error.to_transport_error(), TransportError::Version);
}

#[test]
fn a_client_checks_session_before_versions_before_certificates() {
    let wrong = ServerHello { versions: range(6, 14), session_id: vec![], certified_key: None };
    assert_eq!(client_reads(client_config(), &wrong, leaf()).unwrap_err(), HandshakeError::SessionMismatch);
    let wrong = ServerHello { session_id: SESSION.to_vec(), ..wrong };
    let error = client_reads(client_config(), &wrong, leaf()).unwrap_err();
    assert!(matches!(error, HandshakeError::IncompatibleVersions { .. }));
    let wrong = ServerHello { versions: SMP_VERSIONS, ..wrong };
    assert_eq!(client_reads(client_config(), &wrong, leaf()).unwrap_err(), HandshakeError::NoServerKey);
}

#[test]
fn a_client_refuses_certificates_that_are_not_the_addresses_or_did_not_sign() {
    let good = server_hello();
    let with_chain = |certificates: &[&[u8]]| {
        let mut out = vec![u8::try_from(certificates.len()).unwrap()];
        for certificate in certificates {
            protocol::encoding::put_large(&mut out, certificate);
        }
        let chain = protocol::encoding::Decode::from_bytes(&out).unwrap();
        let signed_key = good.certified_key.clone().unwrap().signed_key;
        ServerHello { certified_key: Some(CertifiedKey { chain, signed_key }), ..good.clone() }
    };
    let read = |hello: &ServerHello| client_reads(client_config(), hello, leaf()).map(|_| ());
    // Another leaf in the hello and appended certificates are accepted: TLS checked what it presented.
    for certificates in
        [&[&b"other leaf"[..], IDENTITY][..], &[b"l", IDENTITY, b"operator"], &[b"l", IDENTITY, b"x", b"net"]]
    {
        assert_eq!(read(&with_chain(certificates)), Ok(()));
    }
    for certificates in [
        &[IDENTITY][..],
        &[IDENTITY, b"other identity"],
        &[b"l", b"other identity", IDENTITY],
        &[b"l", IDENTITY, b"x", b"y", b"z"],
    ] {
        assert_eq!(read(&with_chain(certificates)), Err(HandshakeError::BadAuth));
    }
    let other_leaf = CertificateKey::Ed25519(Ed25519PrivateKey::from_seed(&[7; 32]).public_key());
    assert_eq!(client_reads(client_config(), &good, other_leaf).unwrap_err(), HandshakeError::BadAuth);
}

#[test]
fn a_signed_key_of_another_kind_is_no_session_key() {
    let mut hello = server_hello();
    hello.certified_key.as_mut().unwrap().signed_key =
        SignedKey::sign_ed25519(&leaf_key().public_key(), &leaf_key());
    assert_eq!(client_reads(client_config(), &hello, leaf()).unwrap_err(), HandshakeError::BadAuth);
}

/// Former default of servers; smp.md §21.6.
#[test]
fn a_session_key_signed_with_ed448_is_accepted() {
    let secret: [u8; 57] = std::array::from_fn(|at| at as u8);
    let signer = Ed448Key::from(ScalarBytes::from(secret));
    let key = X25519PrivateKey::from_bytes(std::array::from_fn(|at| at as u8 + 1)).public_key();
    let wrapper = [&[0x30, 0x2c][..], &key.to_der()].concat();
    let signature = signer.sign_raw(&wrapper).to_bytes();
    let algorithm = [0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x71, 0x03, 0x73, 0x00];
    let der = [&[0x30, 0x81, 0xaa][..], &wrapper, &algorithm, &signature].concat();
    assert_eq!(der.len(), 173);

    let signed_key = SignedKey::from_der(&der).unwrap();
    assert_eq!(signed_key.to_der(), der);
    let leaf = CertificateKey::Ed448(Ed448PublicKey(signer.verifying_key().to_bytes()));
    assert_eq!(signed_key.verify_x25519(&leaf), Ok(key));
    assert!(signed_key.verify_x25519(&self::leaf()).is_err(), "the leaf's algorithm must be the object's");

    let chain = server_hello().certified_key.unwrap().chain;
    let hello = ServerHello { certified_key: Some(CertifiedKey { chain, signed_key }), ..server_hello() };
    assert!(client_reads(client_config(), &hello, leaf).is_ok());
}

#[test]
fn a_server_drops_clients_of_other_servers_and_other_versions() {
    for key_hash in [vec![], vec![7; 32], fingerprint(IDENTITY)[..31].to_vec()] {
        let hello = ClientHello { key_hash, ..client_hello() };
        let outcome = server_reads(SMP_VERSIONS, &hello.to_bytes());
        assert_eq!(outcome.unwrap_err(), HandshakeError::Identity);
    }
    for version in [0, 6, 14, 15, 18, 19, u16::MAX] {
        let hello = ClientHello { version, ..client_hello() };
        let outcome = server_reads(range(16, 17), &hello.to_bytes());
        let theirs = VersionRange::single(version);
        assert_eq!(
            outcome.unwrap_err(),
            HandshakeError::IncompatibleVersions { ours: range(16, 17), theirs }
        );
    }
    for version in [16, 17] {
        let hello = ClientHello { version, ..client_hello() };
        assert!(matches!(server_reads(range(16, 17), &hello.to_bytes()), Ok(ServerNext::Ready(_))));
    }
    assert_eq!(server_reads(SMP_VERSIONS, b"GET / HTTP/1.1").unwrap_err(), HandshakeError::Malformed);
}

/// The outcome of a service's handshake with a server that sees these certificates in TLS.
fn serve(hello: &ClientHello, tls_client: Option<TlsClient<'_>>) -> ServerNext {
    let mut rng = StdRng::seed_from_u64(5);
    let (server, _) = ServerHandshake::start(&server_config(SMP_VERSIONS), &SESSION, &mut rng).unwrap();
    server.receive_hello(&mut plain(&hello.to_bytes()), tls_client).unwrap()
}

#[test]
fn a_service_is_accepted_under_its_id() {
    let mut rng = StdRng::seed_from_u64(6);
    let service = service();
    let (server, hello) = ServerHandshake::start(&server_config(SMP_VERSIONS), &SESSION, &mut rng).unwrap();
    let config = ClientConfig { service: Some(service.clone()), ..client_config() };
    let reply =
        ClientHandshake::new(config, &SESSION, leaf()).receive_hello(&mut block(hello), &mut rng).unwrap();
    let ClientNext::AwaitService(waiting) = reply.next else { panic!("the response comes first") };
    let tls_leaf = CertificateKey::Ed25519(service.leaf_key.public_key());
    let tls_client = TlsClient { chain: &service.chain, leaf: tls_leaf };
    let next = server.receive_hello(&mut block(reply.hello), Some(tls_client)).unwrap();
    let ServerNext::Service(pending) = next else { panic!("{next:?}") };
    assert_eq!(pending.role, ServiceRole::Notifier);
    assert_eq!(pending.fingerprint, fingerprint(b"service identity"));

    let (mut server, response) = pending.accept(ServiceId([4; 24])).unwrap();
    // The response is plain and takes no step of the chains.
    let mut client = waiting.receive_response(&mut block(response)).unwrap();
    assert_eq!(client.service, server.service);
    assert_eq!(client.service.unwrap().service_id, ServiceId([4; 24]));
    talk(&mut client, &mut server, b"first");
    talk(&mut server, &mut client, b"first");
}

#[test]
fn a_service_presents_itself_from_version_16_on() {
    let config = ClientConfig { service: Some(service()), ..client_config() };
    let (client, server) = shake(config, server_config(range(15, 15)));
    assert_eq!((client.service, server.service), (None, None));
}

#[test]
fn a_service_without_its_tls_certificates_or_with_a_bad_key_is_refused() {
    let service = service();
    let signed_key = SignedKey::sign_ed25519(&service.session_key.public_key(), &service.leaf_key);
    let hello = |chain: &CertificateChain, signed_key: &SignedKey| {
        let certified_key = CertifiedKey { chain: chain.clone(), signed_key: signed_key.clone() };
        let service = Some(ServiceHello { role: ServiceRole::Notifier, certified_key });
        ClientHello { service, ..client_hello() }
    };
    let tls_leaf = CertificateKey::Ed25519(service.leaf_key.public_key());
    let tls = TlsClient { chain: &service.chain, leaf: tls_leaf };
    let good = hello(&service.chain, &signed_key);
    assert!(matches!(serve(&good, Some(tls)), ServerNext::Service(_)));

    let other_chain = chain(&[b"other leaf", b"service identity"]);
    let by_other = SignedKey::sign_ed25519(&service.session_key.public_key(), &leaf_key());
    let of_other_kind = SignedKey::sign_x25519(&X25519PublicKey([9; 32]), &service.leaf_key.clone().into());
    for (hello, tls) in [
        (good, None),
        (hello(&other_chain, &signed_key), Some(tls)),
        (hello(&service.chain, &by_other), Some(tls)),
        (hello(&service.chain, &of_other_kind), Some(tls)),
    ] {
        let ServerNext::Refused { response } = serve(&hello, tls) else { panic!("accepted") };
        let mut response = block(response);
        assert_eq!(BlockOpener::plain().open(&mut response), Ok(&b"EHANDSHAKE BAD_AUTH"[..]));
    }
}

#[test]
fn a_service_of_one_certificate_has_it_as_identity() {
    let service = ClientService { chain: chain(&[b"alone"]), ..service() };
    let signed_key = SignedKey::sign_ed25519(&service.session_key.public_key(), &service.leaf_key);
    let certified_key = CertifiedKey { chain: service.chain.clone(), signed_key };
    let hello = ClientHello {
        service: Some(ServiceHello { role: ServiceRole::Messaging, certified_key }),
        ..client_hello()
    };
    let leaf = CertificateKey::Ed25519(service.leaf_key.public_key());
    let next = serve(&hello, Some(TlsClient { chain: &service.chain, leaf }));
    let ServerNext::Service(pending) = next else { panic!("{next:?}") };
    assert_eq!(pending.fingerprint, fingerprint(b"alone"));
}

#[test]
fn a_refused_service_learns_why() {
    let mut rng = StdRng::seed_from_u64(7);
    let config = ClientConfig { service: Some(service()), ..client_config() };
    let client = ClientHandshake::new(config, &SESSION, leaf());
    let reply = client.receive_hello(&mut plain(&server_hello().to_bytes()), &mut rng).unwrap();
    let ClientNext::AwaitService(waiting) = reply.next else { panic!() };
    let service = service();
    let leaf = CertificateKey::Ed25519(service.leaf_key.public_key());
    let (server, _) = ServerHandshake::start(&server_config(SMP_VERSIONS), &SESSION, &mut rng).unwrap();
    let tls = TlsClient { chain: &service.chain, leaf };
    let next = server.receive_hello(&mut block(reply.hello), Some(tls)).unwrap();
    let ServerNext::Service(pending) = next else { panic!("{next:?}") };
    let error = waiting.receive_response(&mut block(pending.refuse().unwrap())).unwrap_err();
    let refused = TransportError::Handshake(HandshakeFailure::BadService);
    assert_eq!(error, HandshakeError::ServiceRefused(refused));
}

#[test]
fn secrets_of_a_session_do_not_show() {
    let (client, server) = shake(client_config(), server_config(SMP_VERSIONS));
    for shown in [format!("{client:?}"), format!("{server:?}")] {
        assert!(shown.contains("own_key: X25519PrivateKey([scrubbed])"), "{shown}");
        assert!(shown.contains("ChainKey([scrubbed])"), "{shown}");
    }
}
