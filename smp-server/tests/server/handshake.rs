//! smp.md §4.5 and §20.8: who gets a session.

use std::sync::Arc;

use protocol::crypto::sign::Ed25519PrivateKey;
use protocol::encoding::Encode as _;
use protocol::net::rng::system_rng;
use protocol::transport::certified_key::{CertificateChain, CertifiedKey, SignedKey};
use protocol::transport::hello::{ClientHello, ServiceHello, ServiceRole};
use smp_conformance::tls::credulous;
use smp_server::identity::Identity;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::client::{Client, greet};
use crate::host::Host;

fn hello(host: &Host, version: u16) -> ClientHello {
    let key_hash = host.as_ref().key_hash.to_vec();
    ClientHello { version, key_hash, session_key: None, is_proxy: false, service: None }
}

#[tokio::test]
async fn the_hello_says_what_is_offered() {
    for (versions, offered) in [("15-18", "15-18"), ("16-17", "16-17"), ("18", "18")] {
        let host = Host::start(&format!("[listen]\nversions = \"{versions}\"")).await;
        let greeted = greet(&host).await;
        assert_eq!(greeted.hello.versions.to_string(), offered);
        assert_eq!(greeted.hello.session_id, greeted.session_id);
    }
}

#[tokio::test]
async fn versions_outside_the_offer_are_dropped() {
    let host = Host::start("[listen]\nversions = \"16-17\"").await;
    for version in [6, 15, 18, 19] {
        let mut greeted = greet(&host).await;
        greeted.answer(&hello(&host, version).to_bytes()).await;
        assert!(greeted.is_closed().await, "version {version}");
    }
    for version in [16, 17] {
        Client::connect_as(&host, version, true).await.nothing_else().await;
    }
}

#[tokio::test]
async fn hellos_for_another_server_or_malformed_are_dropped() {
    let host = Host::start("").await;
    let right = hello(&host, 18).to_bytes();
    let other = ClientHello { key_hash: vec![1; 32], ..hello(&host, 18) }.to_bytes();
    let none = ClientHello { key_hash: Vec::new(), ..hello(&host, 18) }.to_bytes();
    let no_service_field = right[..right.len() - 1].to_vec();
    let mut odd_key = right[..35].to_vec();
    odd_key.extend_from_slice(b"\x05aaaaaF0");
    for content in [other, none, no_service_field, odd_key, Vec::new(), vec![0]] {
        let mut greeted = greet(&host).await;
        greeted.answer(&content).await;
        assert!(greeted.is_closed().await, "{content:?}");
    }
    let mut later = right.clone();
    later.extend_from_slice(b"fields of a later version");
    let mut greeted = greet(&host).await;
    greeted.answer(&later).await;
    Client::connect(&host).await.nothing_else().await;
}

/// The key of an identity that was made here.
pub(crate) fn ed25519_of(identity: &Identity) -> Ed25519PrivateKey {
    Ed25519PrivateKey::from_der(identity.tls_key().secret_der()).unwrap()
}

#[tokio::test]
async fn a_service_is_told_no_and_closed() {
    let host = Host::start("").await;
    let mut greeted = greet(&host).await;
    let identity = Identity::generate("service").unwrap().identity;
    let session_key = Ed25519PrivateKey::generate(&mut system_rng()).public_key();
    let chain = CertificateChain::new(identity.chain.iter().map(|one| one.to_vec()).collect()).unwrap();
    let signed_key = SignedKey::sign_ed25519(&session_key, &ed25519_of(&identity));
    let certified_key = CertifiedKey { chain, signed_key };
    let service = Some(ServiceHello { role: ServiceRole::Messaging, certified_key });
    greeted.answer(&ClientHello { service, ..hello(&host, 18) }.to_bytes()).await;
    let mut block = [0; 16_384];
    greeted.stream.read_exact(&mut block).await.unwrap();
    assert!(block[2..].starts_with(b"EHANDSHAKE BAD_AUTH"));
    assert!(greeted.is_closed().await);
}

#[tokio::test]
async fn slow_hellos_are_cut() {
    let host = Host::start("[times]\nhandshake_timeout = \"100ms\"").await;
    let mut greeted = greet(&host).await;
    assert!(greeted.is_closed().await);
    // Another one: a machine may need longer than this for TLS itself.
    let host = Host::start("[times]\ntls_timeout = \"100ms\"").await;
    let mut silent = TcpStream::connect(host.as_ref().address).await.unwrap();
    assert!(matches!(silent.read(&mut [0]).await, Ok(0) | Err(_)));
}

#[tokio::test]
async fn too_many_connections_are_turned_away() {
    let host = Host::start("[limits]\nconnections = 1").await;
    let mut first = Client::connect(&host).await;
    let mut second = TcpStream::connect(host.as_ref().address).await.unwrap();
    assert!(matches!(second.read(&mut [0]).await, Ok(0) | Err(_)));
    first.nothing_else().await;
}

#[tokio::test]
async fn clients_of_port_443_are_served_and_those_without_alpn_closed() {
    let host = Host::start("").await;
    for (alpn, served) in [(Some(&b"http/1.1"[..]), true), (None, false), (Some(b"other"), false)] {
        assert_eq!(hello_arrives(&host, alpn).await, served, "{alpn:?}");
    }
}

/// Whether the server says its hello to a client that offers this protocol.
async fn hello_arrives(host: &Host, alpn: Option<&[u8]>) -> bool {
    let alpn: Vec<&[u8]> = alpn.into_iter().collect();
    let config = credulous(&alpn, rustls::crypto::aws_lc_rs::default_provider(), None).unwrap();
    let socket = TcpStream::connect(host.as_ref().address).await.unwrap();
    let name = rustls::pki_types::ServerName::try_from("server.invalid").unwrap();
    let Ok(mut stream) = TlsConnector::from(Arc::new(config)).connect(name, socket).await else {
        return false;
    };
    let mut block = [0; 16_384];
    stream.read_exact(&mut block).await.is_ok()
}
