//! A port that clients share with browsers (smp.md §3.2, §18.5, §20.8.3).

use std::sync::Arc;

use protocol::net::tls::ClientTls;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::case::{Case, case};
use crate::failure::{At as _, Failure, Outcome, equal};
use crate::peer::By::Nobody;
use crate::peer::{self, Hello, PATIENCE, same};
use crate::place::Place;
use crate::spawn::Wanted;
use crate::tls::credulous;
use crate::trial::Trial;

pub(super) const CASES: &[Case] = &[
    case!("web/browsers-on-a-shared-port", "§3.2, §20.8.3", browsers).once(),
    case!("web/clients-on-a-shared-port", "§3.2, §20.8.3", clients),
];

/// What opens an HTTP/2 connection (RFC 9113 §3.4), with an empty SETTINGS frame.
const HTTP_2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// The type of a SETTINGS frame, the fourth byte of its head of nine.
const SETTINGS: u8 = 4;

async fn shared_port(trial: &Trial) -> Outcome<Place> {
    trial.server(&Wanted { web: true, ..Wanted::default() }).await
}

async fn browsers(trial: Trial) -> Outcome {
    let place = shared_port(&trial).await?;
    let mut browser = browser(&place, b"http/1.1").await?;
    let certificate = leaf(&browser)?;
    let identity = peer::greet(&place, ClientTls::default(), trial.observer()).await?.chain;
    if identity.contains(&certificate) {
        return Err(Failure::differs("the certificate for browsers", "that for clients"));
    }
    let failed = |error: std::io::Error| Failure::differs("an answer over HTTP", error.to_string());
    let request = b"GET / HTTP/1.1\r\nHost: smp.example.org\r\nConnection: close\r\n\r\n";
    browser.write_all(request).await.map_err(failed)?;
    let mut answer = vec![0; 12];
    timeout(PATIENCE, browser.read_exact(&mut answer))
        .await
        .map_err(|_| Failure::differs("an answer over HTTP", "silence"))?
        .map_err(failed)?;
    same(&answer, b"HTTP/1.1 200").at("the information page")?;

    let mut browser = self::browser(&place, b"h2").await?;
    same(&leaf(&browser)?, &certificate).at("the certificate with h2")?;
    browser.write_all(HTTP_2_PREFACE).await.map_err(failed)?;
    let mut head = [0; 9];
    timeout(PATIENCE, browser.read_exact(&mut head))
        .await
        .map_err(|_| Failure::differs("an answer over HTTP/2", "silence"))?
        .map_err(failed)?;
    equal(head.get(3).copied(), Some(SETTINGS)).at("the first frame of HTTP/2")
}

async fn clients(trial: Trial) -> Outcome {
    let place = shared_port(&trial).await?;
    for alpn in [&b"smp/1"[..], b"http/1.1"] {
        let tls = ClientTls { alpn: vec![alpn.to_vec()], ..ClientTls::default() };
        let greeted = peer::greet(&place, tls, trial.observer()).await?;
        let mut peer = greeted.accept(&Hello::version(trial.version)).await?;
        same(&peer.ask(Nobody, b"", b"PING").await?, b"PONG")?;
    }
    Ok(())
}

/// A connection that names the server, as browsers do.
async fn browser(place: &Place, alpn: &[u8]) -> Outcome<TlsStream<TcpStream>> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::differs("a TLS connection that names the server", error.to_string())
    };
    let mut config = credulous(&[alpn], default_provider(), None).map_err(|error| failed(&error))?;
    config.enable_sni = true;
    let socket = TcpStream::connect(place.address).await.map_err(|error| failed(&error))?;
    let name = ServerName::try_from("smp.example.org").map_err(|error| failed(&error))?;
    let connected = timeout(PATIENCE, TlsConnector::from(Arc::new(config)).connect(name, socket));
    let stream = connected.await.map_err(|_| failed(&"silence"))?.map_err(|error| failed(&error))?;
    same(stream.get_ref().1.alpn_protocol().unwrap_or_default(), alpn).at("application protocol")?;
    Ok(stream)
}

fn leaf(stream: &TlsStream<TcpStream>) -> Outcome<Vec<u8>> {
    let leaf = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    leaf.map(|certificate| certificate.to_vec()).ok_or_else(|| Failure::differs("a certificate", "none"))
}
