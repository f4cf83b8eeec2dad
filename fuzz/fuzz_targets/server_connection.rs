//! A server's connection as a whole, above TLS: hellos, blocks, commands that are authorised and commands that are not.
//!
//! ```text
//! input = head(1) [content of the client's hello] step*
//! head  = version (two bits), blocks encrypted (one), the hello is the fuzzer's (one)
//! step  = kind(1) length(2) bytes      a block, a content, or a command with a key and an id of a queue that exists
//! ```
//!
//! Whatever comes, the server does not panic, says nothing that cannot be read, and either ends the connection or
//! answers to the last.

#![no_main]

use std::cell::RefCell;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use protocol::crypto::dh::X25519PrivateKey;
use protocol::crypto::sign::Ed25519PrivateKey;
use protocol::encoding::{Encode as _, Reader};
use protocol::net::certificate::certificate_key;
use protocol::smp::authorize::Authorizer;
use protocol::smp::batch::{Batch, BlockWriter};
use protocol::smp::command::LinkData;
use protocol::smp::ids::{LinkId, NotifierId, RecipientId, SenderId};
use protocol::smp::key::AuthPrivateKey;
use protocol::smp::queue_uri::QueueMode;
use protocol::smp::response::BrokerMessage;
use protocol::smp::transmission::Transmission;
use protocol::transport::block::{BLOCK_BYTES, BlockCipher, BlockOpener, BlockSealer};
use protocol::transport::hello::{ClientHello, ServerHello};
use smp_server::config::{Engine, Settings, Switch};
use smp_server::identity::Identity;
use smp_server::server::{Server, serve_secured};
use smp_server::store::{DhSecret, MemoryStore, NewQueue, Notifier, Store};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, split};
use tokio::runtime::Runtime;
use tokio::time::timeout;

/// What TLS would say of itself.
const SESSION: &[u8] = &[5; 32];
/// The correlation id of the last command.
const LAST: &[u8] = b"the last command";
/// How long a server that is not stuck may take; far more than any input needs.
const PATIENCE: Duration = Duration::from_secs(20);
/// Room for all that a server may say to an input, so that it never waits for this client.
const PIPE_BYTES: usize = 64 << 20;

static IDENTITY: LazyLock<Identity> =
    LazyLock::new(|| Identity::generate("localhost").expect("an identity").identity);

thread_local! {
    static RUNTIME: RefCell<Runtime> = RefCell::new(
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime"),
    );
}

fuzz_target!(|data: &[u8]| {
    RUNTIME.with_borrow(|runtime| runtime.block_on(converse(data)));
});

/// A server of one queue of each mode, with this client's keys.
async fn server() -> (Arc<Server>, smp_server::store::StoreThreads) {
    let mut settings = Settings::default();
    settings.storage.engine = Engine::Memory;
    settings.limits.queue_quota = 3;
    // No other servers: a fuzzer must not talk to whoever it happens to name.
    settings.proxy.forward = Switch(false);
    let (store, threads) = Store::start(Box::new(MemoryStore::new()), &settings.storage).expect("a store");
    for (seed, mode) in [(1, Some(QueueMode::Messaging)), (2, Some(QueueMode::Contact)), (3, None)] {
        let key = key(seed).public_key();
        let queue = NewQueue {
            link: Some((
                LinkId([seed; 24]),
                LinkData { fixed: b"fixed"[..].into(), user: b"user"[..].into() },
            )),
            notifier: Some(Notifier { id: NotifierId([seed; 24]), key, dh_secret: DhSecret([seed; 32]) }),
            recipient_id: RecipientId([seed; 24]),
            sender_id: SenderId([seed; 24]),
            recipient_key: key,
            dh_secret: DhSecret([seed; 32]),
            mode,
            used_on: 0,
            recipient_service: None,
        };
        store.write_beside_records(move |store| store.create_queue(&queue)).await.expect("a queue");
    }
    (Arc::new(Server::new(settings, &IDENTITY, store, None).expect("a server")), threads)
}

fn key(seed: u8) -> AuthPrivateKey {
    AuthPrivateKey::Ed25519(Ed25519PrivateKey::from_seed(&[seed; 32]))
}

async fn converse(data: &[u8]) {
    let (server, threads) = server().await;
    let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
    let serving = serve_secured(server.clone(), theirs, SESSION);
    let talking = timeout(PATIENCE, talk(ours, data));
    let (_, talked) = tokio::join!(serving, talking);
    talked.expect("the server fell silent");
    server.stop();
    drop(server);
    // Apart, so that tasks which hold the store get their turn to end.
    let ended = timeout(PATIENCE, tokio::task::spawn_blocking(|| threads.join())).await;
    ended.expect("something holds the store").expect("its threads end well");
}

/// Says what the input says, then reads until the server has answered the last command or has gone.
async fn talk(stream: DuplexStream, data: &[u8]) {
    let (mut from_server, mut to_server) = split(stream);
    let mut input = Reader::new(data);
    let head = input.u8().unwrap_or_default();
    let version = 15 + u16::from(head & 3);
    let mut block = [0; BLOCK_BYTES];
    from_server.read_exact(&mut block).await.expect("the server speaks first");
    let hello = ServerHello::parse(BlockOpener::plain().open(&mut block).expect("a block")).expect("a hello");
    let certified = hello.certified_key.expect("certificates");
    let leaf = certificate_key(&certified.chain.certificates()[0]).expect("a certificate");
    let server_key = certified.signed_key.verify_x25519(&leaf).expect("a session key");
    let own_key = X25519PrivateKey::from_bytes([6; 32]);
    let is_encrypted = head & 4 != 0;
    let content = if head & 8 != 0 {
        input.large().unwrap_or_default().to_vec()
    } else {
        let key_hash = IDENTITY.key_hash().to_vec();
        let session_key = is_encrypted.then(|| own_key.public_key());
        ClientHello { version, key_hash, session_key, is_proxy: false, service: None }.to_bytes()
    };
    let Ok(block) = BlockSealer::plain().seal(&content) else { return };
    to_server.write_all(&block).await.expect("room");
    let BlockCipher { mut send, receive } = if is_encrypted && head & 8 == 0 {
        BlockCipher::client(SESSION, &own_key, &server_key)
    } else {
        BlockCipher::plain()
    };
    let authorizer = Authorizer { session_id: SESSION, server_key: &server_key };
    // A server that has gone takes nothing more, which is its right.
    while let Some(content) = step(&mut input, &authorizer, version, send.content_bytes_max()) {
        let Ok(block) = send.seal(&content) else { continue };
        if to_server.write_all(&block).await.is_err() {
            break;
        }
    }
    let ping = transmission(&authorizer, None, LAST, &[], b"PING", version);
    let mut writer = BlockWriter::new(send.content_bytes_max());
    let _ = writer.push(|out| out.extend_from_slice(&ping));
    if let Some(Ok(block)) = writer.take().map(|content| send.seal(&content)) {
        let _ = to_server.write_all(&block).await;
    }
    // A hello of the fuzzer's may have agreed on a version and an encryption that this side knows nothing of.
    if head & 8 == 0 {
        listen(from_server, receive, version).await;
    }
}

/// Reads what the server says, which can always be understood.
async fn listen(mut stream: ReadHalf<DuplexStream>, mut opener: BlockOpener, version: u16) {
    let mut block = [0; BLOCK_BYTES];
    while stream.read_exact(&mut block).await.is_ok() {
        let content = opener.open(&mut block).expect("a block");
        for bytes in Batch::parse(content).expect("transmissions") {
            let transmission = Transmission::parse(bytes, version).expect("a transmission");
            let message = BrokerMessage::parse(transmission.command, version).expect("a message");
            if transmission.correlation_id == LAST && message == BrokerMessage::Pong {
                return;
            }
        }
    }
}

/// The content of the next block.
fn step(
    input: &mut Reader<'_>,
    authorizer: &Authorizer<'_>,
    version: u16,
    bytes_max: usize,
) -> Option<Vec<u8>> {
    let kind = input.u8().ok()?;
    let bytes = input.large().unwrap_or_default();
    if kind == 0 {
        return Some(bytes.to_vec());
    }
    // Kind: which queue's key, which id, and whether the command is there twice.
    let seed = 1 + (kind & 3);
    let signer = key(seed);
    let entity = [seed; 24];
    let entity: &[u8] = if kind & 4 == 0 { &entity } else { &[] };
    let signer = (kind & 8 == 0).then_some(&signer);
    let mut writer = BlockWriter::new(bytes_max);
    for number in 0..=(kind >> 4) {
        let one = transmission(authorizer, signer, &[number], entity, bytes, version);
        if !matches!(writer.push(|out| out.extend_from_slice(&one)), Ok(None)) {
            break;
        }
    }
    writer.take()
}

fn transmission(
    authorizer: &Authorizer<'_>,
    key: Option<&AuthPrivateKey>,
    correlation_id: &[u8],
    entity_id: &[u8],
    command: &[u8],
    version: u16,
) -> Vec<u8> {
    let transmission = match key {
        Some(key) => authorizer.authorize(key, correlation_id, entity_id, command),
        None => Transmission::unauthorized(correlation_id, entity_id, command),
    };
    let mut bytes = Vec::new();
    transmission.encode_into(version, &mut bytes);
    bytes
}
