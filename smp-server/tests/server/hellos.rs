//! smp.md §3.2, §3.5, §4.1–§4.6 and §13: every way into a session, and those that lead nowhere.

use std::sync::Arc;

use protocol::crypto::sign::Ed25519PrivateKey;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use smp_conformance::tls::credulous;
use smp_server::identity::Identity;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::handshake::ed25519_of;
use crate::host::Host;
use crate::raw::{Bytes, RawClient, greeted, key, large, short, x25519_key};

const PING: &[u8] = b"\x01\x00\x0b\x00\x04corr\x00PING";
const PONG: &[u8] = b"\x01\x00\x0b\x00\x04corr\x00PONG";

/// Whether the server goes on, with blocks that are not encrypted, after a hello of this content.
async fn goes_on(host: &Host, hello: &[u8]) -> bool {
    let place = host.as_ref();
    let (mut client, _) = greeted(place.address, place.key_hash).await;
    client.send_content(hello).await;
    client.send_content(PING).await;
    match client.content().await {
        Some(content) => {
            assert_eq!(content, PONG);
            true
        }
        None => false,
    }
}

#[tokio::test]
async fn the_server_speaks_first() {
    let host = Host::start("").await;
    let place = host.as_ref();
    let (client, hello) = greeted(place.address, place.key_hash).await;
    let mut bytes = Bytes(&hello);
    bytes.expect(&[0, 15, 0, 18]);
    assert_eq!(bytes.short(), client.session_id());
    assert_eq!(client.session_id().len(), 32);
    bytes.expect(&[2]);
    for _ in 0..2 {
        let length = bytes.take(2);
        let certificate = bytes.take(u16::from_be_bytes([length[0], length[1]]).into());
        assert_eq!(certificate[0], 0x30);
    }
    bytes.expect(&[0, 0x7a, 0x30, 0x78, 0x30, 0x2c, 0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x6e, 3, 0x21, 0]);
    bytes.take(32);
    bytes.expect(&[0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x41, 0]);
    assert_eq!(bytes.0.len(), 64, "a signature and nothing more");
}

#[tokio::test]
async fn hellos_that_lead_to_plain_blocks() {
    let host = Host::start("").await;
    let hash = short(&host.as_ref().key_hash);
    let session_key = x25519_key(9);
    for (what, content, expected) in [
        ("no session key", [b"\x00\x12", &hash[..], b"F0"].concat(), true),
        ("a proxy without one", [b"\x00\x12", &hash[..], b"T0"].concat(), true),
        ("a proxy", [b"\x00\x12", &hash[..], &session_key, b"T0"].concat(), true),
        ("bytes of a later version", [b"\x00\x12", &hash[..], b"F0more"].concat(), true),
        ("version 15 has no service", [b"\x00\x0f", &hash[..], b"F"].concat(), true),
        ("version 15, and more", [b"\x00\x0f", &hash[..], b"FX"].concat(), true),
        ("no service field", [b"\x00\x10", &hash[..], b"F"].concat(), false),
        ("no proxy field", [b"\x00\x0f", &hash[..]].concat(), false),
        ("another letter", [b"\x00\x12", &hash[..], b"X0"].concat(), false),
        ("another service tag", [b"\x00\x12", &hash[..], b"F2"].concat(), false),
        ("an unknown role", [b"\x00\x12", &hash[..], b"F1X"].concat(), false),
        ("a service cut short", [b"\x00\x12", &hash[..], b"F1M"].concat(), false),
        ("version 14", [b"\x00\x0e", &hash[..], b"F"].concat(), false),
        ("version 6", [b"\x00\x06", &hash[..]].concat(), false),
        ("version 19", [b"\x00\x13", &hash[..], b"F0"].concat(), false),
        ("another server", [b"\x00\x12", &short(&[1; 32])[..], b"F0"].concat(), false),
        ("no server", b"\x00\x12\x00F0".to_vec(), false),
        ("nothing", Vec::new(), false),
    ] {
        assert_eq!(goes_on(&host, &content).await, expected, "{what}");
    }
    let inner = &session_key[1..];
    let odd_keys =
        [short(&[inner, b"x"].concat()), short(&inner[..43]), crate::raw::ed25519_key(&key()), short(b"")];
    for odd in odd_keys {
        assert!(!goes_on(&host, &[b"\x00\x12", &hash[..], &odd, b"F0"].concat()).await, "{odd:?}");
    }
}

#[tokio::test]
async fn a_hello_without_padding_length_is_dropped() {
    let host = Host::start("").await;
    let place = host.as_ref();
    let (mut client, _) = greeted(place.address, place.key_hash).await;
    client.send_block(&[0xff; 16_384]).await;
    assert_eq!(client.content().await, None);
}

#[tokio::test]
async fn a_block_that_cannot_be_read_does_not_end_the_session() {
    let host = Host::start("").await;
    let mut client = RawClient::connect(&host, 18).await;
    const BLOCK_ERROR: &[u8] = b"\x01\x00\x0c\x00\x00\x00ERR BLOCK";
    client.send_block(&[0xff; 16_384]).await;
    assert_eq!(client.content().await.unwrap(), BLOCK_ERROR);
    for content in
        [&b"\x00"[..], b"", b"\x02\x00\x0b\x00\x04corr\x00PING", b"\x01\x00\x0b\x00\x04corr\x00PING!"]
    {
        client.send_content(content).await;
        assert_eq!(client.content().await.unwrap(), BLOCK_ERROR);
    }
    client.send_content(PING).await;
    assert_eq!(client.content().await.unwrap(), PONG);
    // 255 in one block: the most that its count can say.
    let many = [&[255][..], &PING[1..].repeat(255)].concat();
    client.send_content(&many).await;
    assert_eq!(client.content().await.unwrap(), [&[255][..], &PONG[1..].repeat(255)].concat());
}

/// A TLS client that looks at no certificate and may present its own.
async fn tls_client(
    host: &Host,
    alpn: &[&[u8]],
    sni: Option<&str>,
    certificate: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
) -> Option<TlsStream<TcpStream>> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let mut config = credulous(alpn, provider, certificate).unwrap();
    config.enable_sni = sni.is_some();
    let socket = TcpStream::connect(host.as_ref().address).await.unwrap();
    let name = ServerName::try_from(sni.unwrap_or("server.invalid").to_owned()).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, socket).await.ok()
}

/// The content of the next block, unless the connection ends.
async fn content(stream: &mut TlsStream<TcpStream>) -> Option<Vec<u8>> {
    let mut block = vec![0; 16_384];
    stream.read_exact(&mut block).await.ok()?;
    let length = usize::from(u16::from_be_bytes([block[0], block[1]]));
    Some(block[2..2 + length].to_vec())
}

async fn send(stream: &mut TlsStream<TcpStream>, content: &[u8]) {
    let mut block = large(content);
    block.resize(16_384, b'#');
    stream.write_all(&block).await.unwrap();
    stream.flush().await.unwrap();
}

#[tokio::test]
async fn any_known_protocol_gets_all_versions_and_a_server_name_changes_nothing() {
    let host = Host::start("").await;
    let cases: [(&[&[u8]], Option<&str>); 6] = [
        (&[b"smp/1"], None),
        (&[b"http/1.1"], None),
        (&[b"h2"], None),
        (&[b"h2", b"smp/1"], None),
        (&[b"other", b"smp/1"], None),
        (&[b"http/1.1"], Some("smp.example.org")),
    ];
    for (alpn, sni) in cases {
        let mut stream = tls_client(&host, alpn, sni, None).await.unwrap();
        let hello = content(&mut stream).await.unwrap();
        assert_eq!(hello[..5], [0, 15, 0, 18, 32], "{alpn:?}");
        send(&mut stream, &[b"\x00\x12", &short(&host.as_ref().key_hash)[..], b"F0"].concat()).await;
        send(&mut stream, PING).await;
        assert_eq!(content(&mut stream).await.unwrap(), PONG);
    }
}

/// The service part of a hello: role, chain and a key that the chain's leaf signed.
fn service(identity: &Identity, signer: &Ed25519PrivateKey) -> Vec<u8> {
    let raw = key().public_key().0;
    let wrapped = [&[0x30, 0x2c, 0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0], &raw[..]].concat();
    let signature = signer.sign(&wrapped);
    let object =
        [&[0x30, 0x78], &wrapped[..], &[0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x41, 0], &signature].concat();
    let chain: Vec<u8> = identity.chain.iter().flat_map(|certificate| large(certificate)).collect();
    [b"1M", &[u8::try_from(identity.chain.len()).unwrap()][..], &chain, &large(&object)].concat()
}

#[tokio::test]
async fn a_client_certificate_alone_is_no_service_and_a_hello_must_be_of_the_same() {
    let host = Host::start("").await;
    let identity = Identity::generate("service").unwrap().identity;
    let certificate = || Some((identity.chain.clone(), identity.tls_key()));
    let hash = short(&host.as_ref().key_hash);

    let mut stream = tls_client(&host, &[b"smp/1"], None, certificate()).await.unwrap();
    content(&mut stream).await.unwrap();
    send(&mut stream, &[b"\x00\x12", &hash[..], b"F0"].concat()).await;
    send(&mut stream, PING).await;
    assert_eq!(content(&mut stream).await.unwrap(), PONG);

    let good = service(&identity, &ed25519_of(&identity));
    let forged = service(&identity, &key());
    let other = service(&Identity::generate("other").unwrap().identity, &ed25519_of(&identity));
    let present = async |service: Vec<u8>| {
        let mut stream = tls_client(&host, &[b"smp/1"], None, certificate()).await.unwrap();
        content(&mut stream).await.unwrap();
        send(&mut stream, &[b"\x00\x12", &hash[..], b"F", &service].concat()).await;
        let response = content(&mut stream).await.unwrap();
        (stream, response)
    };
    let (mut stream, response) = present(good.clone()).await;
    assert_eq!((response.len(), &response[..2]), (26, &b"R\x18"[..]));
    send(&mut stream, PING).await;
    assert_eq!(content(&mut stream).await.unwrap(), PONG);
    assert_eq!(present(good).await.1, response, "the same service");
    for service in [forged, other] {
        let (mut stream, response) = present(service).await;
        assert_eq!(response, b"EHANDSHAKE BAD_AUTH");
        assert_eq!(content(&mut stream).await, None);
    }
}

#[tokio::test]
async fn a_client_chain_that_proves_nothing_ends_tls() {
    let host = Host::start("").await;
    let identity = Identity::generate("service").unwrap().identity;
    let other = Identity::generate("service").unwrap().identity;
    let leaf = identity.chain[0].clone();
    for chain in [
        vec![leaf.clone()],
        vec![leaf.clone(), other.chain[1].clone()],
        vec![leaf.clone(), identity.chain[1].clone(), identity.chain[1].clone(), other.chain[1].clone()],
        vec![
            leaf,
            identity.chain[1].clone(),
            identity.chain[1].clone(),
            identity.chain[1].clone(),
            other.chain[1].clone(),
        ],
    ] {
        let count = chain.len();
        // In TLS 1.3 a client only learns of the refusal when it reads.
        if let Some(mut stream) =
            tls_client(&host, &[b"smp/1"], None, Some((chain, identity.tls_key()))).await
        {
            assert_eq!(content(&mut stream).await, None, "{count} certificates");
        }
    }
}

/// The chain of an older server, as the fixtures of the reference's tests: Ed448 all through.
#[tokio::test]
async fn a_server_with_ed448_certificates_keeps_its_address() {
    let place = tempfile::tempdir().unwrap();
    let certificates = concat!(env!("CARGO_MANIFEST_DIR"), "/../protocol/tests/certs/");
    let file = |name: &str| std::fs::read(format!("{certificates}{name}")).unwrap();
    let (chain_path, key_path) = (place.path().join("chain.pem"), place.path().join("leaf.key"));
    std::fs::write(&chain_path, [file("ed448-leaf.pem"), file("ed448-ca.pem")].concat()).unwrap();
    std::fs::write(&key_path, file("ed448-leaf.key")).unwrap();
    let identity = Identity::read(&chain_path, &key_path).unwrap();
    let host = Host::start_in(place.path(), "", &identity).await;
    let place = host.as_ref();
    assert_eq!(place.key_hash, protocol::crypto::hash::sha256(&identity.chain[1]));
    let (_, hello) = greeted(place.address, place.key_hash).await;
    let object = &hello[hello.len() - 175..];
    assert_eq!(object[..10], [0, 173, 0x30, 0x81, 0xaa, 0x30, 0x2c, 0x30, 0x2a, 0x30]);
    assert_eq!(object[51..61], [0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x71, 0x03, 0x73, 0]);
    for encrypted in [false, true] {
        let mut client = crate::client::Client::connect_as(&host, 18, encrypted).await;
        let queue = client.create(crate::client::MESSAGING, true).await;
        client.ok(None, queue.ids.sender_id, &crate::client::message(b"hello")).await;
        assert_eq!(client.take(&queue).await, b"hello");
    }

    // The key of another leaf is refused before anything listens.
    std::fs::write(&key_path, pem_of_another_ed448_key()).unwrap();
    let wrong = Identity::read(&chain_path, &key_path).unwrap();
    assert!(protocol::net::tls::server_config_der(wrong.chain.clone(), wrong.tls_key()).is_err());
}

fn pem_of_another_ed448_key() -> String {
    use base64::Engine as _;
    let der =
        [&[0x30, 0x47, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x71, 4, 0x3b, 4, 0x39], &[7; 57][..]].concat();
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
}
