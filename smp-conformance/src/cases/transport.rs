//! TLS, hellos, blocks and transmissions (smp.md §3 to §5.2).

use std::sync::Arc;

use protocol::net::tls::ClientTls;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::pki_types::ServerName;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::case::{Case, case};
use crate::failure::{At as _, Failure, Outcome, equal, shown};
use crate::peer::By::{self, Nobody};
use crate::peer::commands::Draft;
use crate::peer::keys::{Key, KeyKind, random};
use crate::peer::wire::{BLOCK_BYTES, Fields, ed25519_spki, large, short, x25519_spki};
use crate::peer::{Greeted, Hello, PATIENCE, same};
use crate::tls::credulous;
use crate::trial::Trial;

pub(super) const CASES: &[Case] = &[
    case!("transport/server-hello", "§4.3", server_hello).once(),
    case!("transport/session-keys-are-fresh", "§4.3", fresh_keys).once(),
    case!("transport/application-protocols", "§3.2", application_protocols),
    case!("transport/unknown-application-protocol", "§3.2", unknown_protocol).once(),
    case!("transport/no-application-protocol", "§3.2", no_protocol).once(),
    case!("transport/hello-retry", "§3.1", hello_retry).once(),
    case!("transport/tls-1-2-or-refusal", "§3.1", old_tls).once(),
    case!("transport/no-resumption", "§3.1", no_resumption).once(),
    case!("transport/hellos-without-encryption", "§4.4, §4.6", plain_hellos),
    case!("transport/encrypted-blocks", "§4.6", encrypted),
    case!("transport/hello-with-later-fields", "§4.2", later_fields),
    case!("transport/hello-for-another-server", "§4.5", another_server),
    case!("transport/hello-malformed", "§4.4, §4.5", malformed_hellos),
    case!("transport/hello-of-a-version-not-offered", "§4.5", other_versions).once(),
    case!("transport/unreadable-blocks", "§4.1, §5.1", unreadable_blocks),
    case!("transport/unreadable-transmissions", "§5.2", unreadable_transmissions),
    case!("transport/authenticators-of-odd-length", "§5.2", odd_authenticators),
    case!("transport/service-signature-tag", "§5.2", service_tag).since(16),
    case!("transport/correlation-ids-of-any-length", "§5.2", correlation_ids),
    case!("transport/largest-transmission", "§5.1", largest_transmission),
    case!("transport/two-blocks-in-pieces", "§4.1", pieces),
];

async fn server_hello(trial: Trial) -> Outcome {
    let Greeted { peer, hello, chain, versions, .. } = trial.greet().await?;
    if versions.0 > versions.1 || versions.1 < 7 {
        return Err(Failure::differs("a range of versions", format!("{}-{}", versions.0, versions.1)));
    }
    equal(peer.session_id.len(), 32).at("length of the session id")?;
    let mut fields = Fields::of(&hello);
    fields.take(4)?;
    same(fields.short()?, &peer.session_id).at("session id")?;
    let count = fields.take(1)?;
    equal(count.first().copied().map(usize::from), Some(chain.len())).at("certificates")?;
    for certificate in &chain {
        same(fields.large()?, certificate).at("the chain of TLS")?;
    }
    let object = fields.large()?;
    // SEQUENCE { SEQUENCE { SPKI X25519 } algorithm, signature }, signed with Ed25519 or Ed448 (smp.md §2.4).
    let (start, algorithm): (&[u8], u8) = match object.len() {
        122 => (&[0x30, 0x78], 0x70),
        173 => (&[0x30, 0x81, 0xaa], 0x71),
        length => return Err(Failure::differs("a signed key of 122 or 173 bytes", length.to_string())),
    };
    let mut object = Fields::of(object);
    object.expect(start)?;
    object.expect(&[0x30, 0x2c, 0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x6e, 3, 0x21, 0])?;
    object.take(32)?;
    object.expect(&[0x30, 5, 6, 3, 0x2b, 0x65, algorithm, 3])?;
    Ok(())
}

async fn fresh_keys(trial: Trial) -> Outcome {
    let (one, other) = (trial.greet().await?, trial.greet().await?);
    if one.peer.server_key == other.peer.server_key || one.peer.session_id == other.peer.session_id {
        return Err(Failure::differs("a session key and id of each connection", "the same twice"));
    }
    Ok(())
}

async fn application_protocols(trial: Trial) -> Outcome {
    let offered = trial.greet().await?.versions;
    let lists: [&[&[u8]]; 5] =
        [&[b"smp/1"], &[b"http/1.1"], &[b"h2"], &[b"h2", b"smp/1"], &[b"other", b"smp/1"]];
    for list in lists {
        let names: Vec<String> = list.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        let alpn = list.iter().map(|name| name.to_vec()).collect();
        let greeted =
            trial.greet_with(ClientTls { alpn, ..ClientTls::default() }).await.at(names.join(", "))?;
        equal(greeted.versions, offered).at(names.join(", "))?;
        greeted.accept(&Hello::version(trial.version)).await?.quiet().await.at(names.join(", "))?;
    }
    Ok(())
}

async fn unknown_protocol(trial: Trial) -> Outcome {
    let tls = ClientTls { alpn: vec![b"other".to_vec()], ..ClientTls::default() };
    match trial.greet_with(tls).await {
        Err(_) => Ok(()),
        Ok(greeted) => Err(Failure::differs("the end of TLS", shown(&greeted.hello))),
    }
}

/// A server without version 6 has nothing to say to such a client, and may close.
async fn no_protocol(trial: Trial) -> Outcome {
    let Ok(mut stream) = tls_stream(&trial, tls_config(&[], default_provider())?).await else {
        trial.quirk("TLS without application protocol is refused");
        return Ok(());
    };
    let mut block = [0; BLOCK_BYTES];
    match timeout(PATIENCE, stream.read_exact(&mut block)).await {
        Ok(Ok(_)) => same(block.get(2..6).unwrap_or_default(), &[0, 6, 0, 6]).at("versions"),
        Ok(Err(_)) => {
            trial.quirk("a connection without application protocol is closed");
            Ok(())
        }
        Err(_) => Err(Failure::differs("a hello or the end", "silence")),
    }
}

/// A client whose first group is another but that knows X25519 is asked again.
async fn hello_retry(trial: Trial) -> Outcome {
    let mut provider = default_provider();
    provider.kx_groups = vec![kx_group::SECP256R1, kx_group::X25519];
    let mut stream = tls_stream(&trial, tls_config(&[b"smp/1"], provider)?).await?;
    let mut block = [0; BLOCK_BYTES];
    match timeout(PATIENCE, stream.read_exact(&mut block)).await {
        Ok(Ok(_)) => Ok(()),
        _ => Err(Failure::differs("a hello", "none")),
    }
}

/// With other suites a server of SMP alone refuses; one that shares its port with a web page may not.
async fn old_tls(trial: Trial) -> Outcome {
    let mut provider = default_provider();
    provider.cipher_suites = vec![cipher_suite::TLS13_AES_256_GCM_SHA384];
    if tls_stream(&trial, tls_config(&[b"smp/1"], provider)?).await.is_ok() {
        trial.note("AES-GCM is accepted, as on a port shared with a web page");
    }
    let mut provider = default_provider();
    provider.cipher_suites = vec![cipher_suite::TLS13_CHACHA20_POLY1305_SHA256];
    tls_stream(&trial, tls_config(&[b"smp/1"], provider)?).await.at("ChaCha20-Poly1305")?;
    Ok(())
}

async fn no_resumption(trial: Trial) -> Outcome {
    let config = Arc::new(tls_config(&[b"smp/1"], default_provider())?);
    for _ in 0..2 {
        let mut stream = tls_stream_of(&trial, config.clone()).await?;
        let mut block = [0; BLOCK_BYTES];
        let read = timeout(PATIENCE, stream.read_exact(&mut block)).await;
        read.ok().and_then(Result::ok).ok_or_else(|| Failure::differs("a hello", "none"))?;
        let kind = stream.get_ref().1.handshake_kind();
        if kind == Some(rustls::HandshakeKind::Resumed) {
            return Err(Failure::differs("a full handshake", "a resumed one"));
        }
    }
    Ok(())
}

type Tls = tokio_rustls::client::TlsStream<TcpStream>;

fn tls_config(alpn: &[&[u8]], provider: rustls::crypto::CryptoProvider) -> Outcome<rustls::ClientConfig> {
    credulous(alpn, provider, None).map_err(|error| Failure::differs("TLS", error.to_string()))
}

async fn tls_stream(trial: &Trial, config: rustls::ClientConfig) -> Outcome<Tls> {
    tls_stream_of(trial, Arc::new(config)).await
}

async fn tls_stream_of(trial: &Trial, config: Arc<rustls::ClientConfig>) -> Outcome<Tls> {
    let failed = |error: &dyn std::fmt::Display| Failure::differs("a TLS connection", error.to_string());
    let socket = TcpStream::connect(trial.place().address).await.map_err(|error| failed(&error))?;
    let name = ServerName::try_from("server.invalid").map_err(|error| failed(&error))?;
    match timeout(PATIENCE, TlsConnector::from(config).connect(name, socket)).await {
        Ok(stream) => stream.map_err(|error| failed(&error)),
        Err(_) => Err(failed(&"silence")),
    }
}

async fn plain_hellos(trial: Trial) -> Outcome {
    let plain = Hello::plain(trial.version);
    for hello in [
        plain.clone(),
        Hello { is_proxy: true, ..plain.clone() },
        Hello { is_proxy: true, session_key: true, ..plain },
    ] {
        let mut peer = trial.connect_as(&hello).await?;
        peer.quiet().await.at(format!("session key: {}, proxy: {}", hello.session_key, hello.is_proxy))?;
        peer.create().await?;
    }
    Ok(())
}

async fn encrypted(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    for _ in 0..3 {
        peer.expect(Nobody, b"", b"PING", "PONG").await?;
    }
    peer.send_content(&[1, 0, 11, 0, 4, b'c', b'o', b'r', b'r', 0, b'P', b'I', b'N', b'G']).await?;
    let content = peer.content().await?;
    same(&content, b"\x01\x00\x0b\x00\x04corr\x00PONG").at("the content without padding")
}

async fn later_fields(trial: Trial) -> Outcome {
    let mut greeted = trial.greet().await?;
    let content = greeted.hello_content(&Hello::plain(trial.version), None);
    greeted.peer.send_content(&[content.as_slice(), b"fields of a later version"].concat()).await?;
    greeted.peer.version = trial.version;
    greeted.peer.quiet().await
}

/// The server closes the connection after a hello of this content.
async fn dropped(trial: &Trial, content: &[u8]) -> Outcome {
    let mut greeted = trial.greet().await?;
    greeted.peer.send_content(content).await?;
    greeted.peer.send(&[b"\x00\x04corr\x00PING".to_vec()]).await?;
    greeted.peer.closed().await
}

async fn another_server(trial: Trial) -> Outcome {
    let service: &[u8] = if trial.version >= 16 { b"0" } else { b"" };
    let hello = |hash: &[u8]| [&trial.version.to_be_bytes(), short(hash).as_slice(), b"F", service].concat();
    let own = trial.place().key_hash;
    for (what, hash) in [
        ("another hash", vec![1; 32]),
        ("no hash", Vec::new()),
        ("a shorter hash", own.get(..31).unwrap_or_default().to_vec()),
        ("a longer hash", [own.as_slice(), &[0]].concat()),
    ] {
        dropped(&trial, &hello(&hash)).await.at(what)?;
    }
    Ok(())
}

async fn malformed_hellos(trial: Trial) -> Outcome {
    let hash = short(&trial.place().key_hash);
    let start = [&trial.version.to_be_bytes(), hash.as_slice()].concat();
    let key = x25519_spki(&[9; 32]);
    let inner = key.get(1..).unwrap_or_default();
    let end: &[u8] = if trial.version >= 16 { b"F0" } else { b"F" };
    let mut cases = vec![
        ("nothing", Vec::new()),
        ("one byte", vec![0]),
        ("no hash", trial.version.to_be_bytes().to_vec()),
        ("no proxy flag", start.clone()),
        ("another letter", [start.as_slice(), b"X0"].concat()),
        ("a key with more inside", [start.as_slice(), &short(&[inner, b"x"].concat()), end].concat()),
        ("a key cut short", [start.as_slice(), &short(inner.get(..43).unwrap_or_default()), end].concat()),
        ("an Ed25519 key", [start.as_slice(), &ed25519_spki(&[9; 32]), end].concat()),
        ("an empty key", [start.as_slice(), &short(b""), end].concat()),
    ];
    if trial.version >= 16 {
        cases.extend([
            ("no service field", [start.as_slice(), b"F"].concat()),
            ("another service tag", [start.as_slice(), b"F2"].concat()),
            ("an unknown role", [start.as_slice(), b"F1X"].concat()),
            ("a service cut short", [start.as_slice(), b"F1M"].concat()),
            ("a service of no certificates", [start.as_slice(), b"F1M\x00"].concat()),
        ]);
    }
    for (what, content) in cases {
        dropped(&trial, &content).await.at(what)?;
    }
    let mut greeted = trial.greet().await?;
    greeted.peer.send_bytes(&[0xff; BLOCK_BYTES]).await;
    greeted.peer.closed().await.at("a block that is not padded")
}

async fn other_versions(trial: Trial) -> Outcome {
    let (first, last) = trial.greet().await?.versions;
    let hash = short(&trial.place().key_hash);
    for version in [first.wrapping_sub(1), last.wrapping_add(1), 0, 1000, u16::MAX] {
        if (first..=last).contains(&version) {
            continue;
        }
        let content = [&version.to_be_bytes(), hash.as_slice(), b"F0"].concat();
        dropped(&trial, &content).await.at(format!("version {version} of {first}-{last}"))?;
    }
    Ok(())
}

const BLOCK_ERROR: &[u8] = b"\x01\x00\x0c\x00\x00\x00ERR BLOCK";

async fn unreadable_blocks(trial: Trial) -> Outcome {
    for hello in [Hello::plain(trial.version), Hello::version(trial.version)] {
        let mut peer = trial.connect_as(&hello).await?;
        let what = if hello.session_key { "encrypted" } else { "plain" };
        peer.send_bytes(&[0xff; BLOCK_BYTES]).await;
        same(&peer.content().await?, BLOCK_ERROR).at("a block that cannot be opened").at(what)?;
        if hello.session_key {
            // The chain of keys advanced on the server's side: so it must here.
            let content = peer.transmission(Nobody, b"corr", b"", b"PING");
            peer.skip_sealed()?;
            peer.send_one(&content).await?;
            same(&peer.content().await?, b"\x01\x00\x0b\x00\x04corr\x00PONG")
                .at("the chain of keys advanced")?;
        }
        for content in [
            &b"\x00"[..],
            b"",
            b"\x02\x00\x0b\x00\x04corr\x00PING",
            b"\x01\x00\x0b\x00\x04corr\x00PING!",
            b"\x01\x00\x0c\x00\x04corr\x00PING",
        ] {
            peer.send_content(content).await?;
            same(&peer.content().await?, BLOCK_ERROR).at(shown(content)).at(what)?;
        }
        peer.quiet().await.at("the session goes on").at(what)?;
    }
    Ok(())
}

async fn unreadable_transmissions(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    for bad in [&b""[..], b"\x00", b"\x00\x04cor", b"\x00\x04corr\x05id", b"\x40short"] {
        peer.send_one(bad).await?;
        same(&peer.content().await?, BLOCK_ERROR).at(shown(bad))?;
    }
    let good = peer.transmission(Nobody, b"good", b"", b"PING");
    peer.send(&[b"\x00\x04c".to_vec(), good.clone(), b"\xff".to_vec()]).await?;
    let mut answers = [peer.receive().await?, peer.receive().await?, peer.receive().await?];
    answers.sort_by(|one, other| one.correlation_id.cmp(&other.correlation_id));
    let said: Vec<(&[u8], &[u8])> =
        answers.iter().map(|answer| (answer.correlation_id.as_slice(), answer.message.as_slice())).collect();
    equal(said, vec![(&b""[..], &b"ERR BLOCK"[..]), (b"", b"ERR BLOCK"), (b"good", b"PONG")])?;
    peer.quiet().await
}

async fn odd_authenticators(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let queue = peer.create_of(&Draft::messaging().unsubscribed()).await?;
    for length in [1, 32, 63, 65, 79, 81, 113, 115, 255] {
        let bytes = vec![7; length];
        let transmission = peer.transmission(By::Bytes(&bytes), b"odd", &queue.recipient_id, b"SUB");
        peer.send(&[transmission]).await?;
        let answer = peer.answer(b"odd").await.at(format!("{length} bytes"))?;
        equal(answer.entity_id.len(), 0).at("an empty entity")?;
        same(&answer.message, b"ERR BLOCK").at(format!("{length} bytes"))?;
    }
    for (kind, length) in KeyKind::ALL.iter().zip([64, 114, 80]) {
        let bytes = vec![7; length];
        let at = format!("{length} bytes, of {kind:?}");
        peer.expect(By::Bytes(&bytes), &queue.recipient_id, b"SUB", "ERR AUTH").await.at(at)?;
    }
    Ok(())
}

async fn service_tag(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let queue = peer.create_of(&Draft::messaging().unsubscribed()).await?;
    let id = queue.recipient_id.as_slice();
    let authorized = peer.authorized(b"corr", id, b"SUB");
    let own = short(&queue.key.authenticator(&peer.server_key, b"corr", &authorized));
    let ids = [short(b"corr"), short(id)].concat();
    for (what, tag) in [
        ("no tag", Vec::new()),
        ("another tag", b"2".to_vec()),
        ("a signature of 63 bytes", [b"1", short(&[7; 63]).as_slice()].concat()),
        ("an empty signature", b"1\x00".to_vec()),
        ("an authenticator of X25519", [b"1", short(&[7; 80]).as_slice()].concat()),
    ] {
        peer.send(&[[own.as_slice(), &tag, &ids, b"SUB"].concat()]).await?;
        let answer = peer.receive().await.at(what)?;
        equal((answer.correlation_id.len(), answer.entity_id.len()), (0, 0)).at("empty ids").at(what)?;
        same(&answer.message, b"ERR BLOCK").at(what)?;
    }
    peer.send(&[[own.as_slice(), b"0", &ids, b"SUB"].concat()]).await?;
    same(&peer.answer(b"corr").await?.message, peer.subscribed().as_bytes()).at("tag 0")
}

async fn correlation_ids(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    let queue = peer.create_of(&Draft::messaging().unsubscribed()).await?;
    for length in [0, 1, 23, 24, 25, 255] {
        let correlation_id = vec![b'c'; length];
        let answer = peer.ask_with(&correlation_id, Nobody, b"", b"PING").await?;
        same(&answer, b"PONG").at(format!("{length} bytes"))?;
        let answer = peer.ask_with(&correlation_id, &queue.key, &queue.recipient_id, b"SUB").await?;
        same(&answer, peer.subscribed().as_bytes()).at(format!("{length} bytes"))?;
    }
    peer.expect(&queue.key, &[7; 255], b"SUB", "ERR AUTH").await.at("an entity id of 255 bytes")?;
    peer.expect(&queue.key, &[7], b"SUB", "ERR AUTH").await.at("an entity id of 1 byte")
}

/// A single transmission may fill a block, and is answered, not dropped.
async fn largest_transmission(trial: Trial) -> Outcome {
    for (hello, content_bytes_max) in
        [(Hello::version(trial.version), 16_366), (Hello::plain(trial.version), 16_382)]
    {
        let mut peer = trial.connect_as(&hello).await?;
        let queue = peer.create_of(&Draft::messaging().unsubscribed()).await?;
        let start = peer.transmission(Nobody, b"corr", &queue.sender_id, b"SEND F ");
        let body = vec![b'x'; content_bytes_max - 3 - start.len()];
        peer.send_one(&[start, body].concat()).await?;
        let answer = peer.answer(b"corr").await?;
        same(&answer.message, b"ERR LARGE_MSG")?;
        equal(&answer.entity_id, &queue.sender_id)?;
        peer.quiet().await?;
    }
    Ok(())
}

/// Blocks are read whole, however they arrive.
async fn pieces(trial: Trial) -> Outcome {
    let mut peer = trial.connect_as(&Hello::plain(trial.version)).await?;
    let mut both = Vec::new();
    for id in [b"corr", b"next"] {
        let transmission = peer.transmission(Nobody, id, b"", b"PING");
        let mut block = large(&[&[1], large(&transmission).as_slice()].concat());
        block.resize(BLOCK_BYTES, b'#');
        both.extend(block);
    }
    for piece in both.chunks(5000) {
        peer.send_bytes(piece).await;
    }
    same(&peer.answer(b"corr").await?.message, b"PONG")?;
    same(&peer.answer(b"next").await?.message, b"PONG")?;
    let key = Key::new();
    peer.expect(&key, &random::<24>(), b"SUB", "ERR AUTH").await
}
