//! One connection to a server, as its client: what a case wants said, also what no honest client would say.
//!
//! ```text
//! greet ──server hello──▶ client hello ──▶ blocks ──▶ transmissions ──▶ commands and their answers
//! ```
//!
//! Each level can be spoken by itself. Nothing here panics about what the server says: it fails the case.

pub mod commands;
pub mod keys;
pub mod queue;
pub mod service;
pub mod wire;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use protocol::crypto::dh::{X25519PrivateKey, X25519PublicKey};
use protocol::crypto::sign::Ed25519PrivateKey;
use protocol::net::certificate::certificate_key;
use protocol::net::rng::system_rng;
use protocol::net::tls::{self, ClientTls};
use protocol::transport::block::BlockCipher;
use protocol::transport::certified_key::SignedKey;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsStream;

use self::keys::{Key, random};
use self::service::{ServiceIdentity, ServiceSession};
use self::wire::{BLOCK_BYTES, Fields, batch, large, short};
use crate::failure::{Failure, Outcome, shown};
use crate::observer::Observer;
use crate::place::Place;

/// How long a case waits for anything. Servers collect `END` and `DELD` for 15 seconds (smp.md §10.1), and wait 45
/// seconds for the destination of a proxy (§14.1).
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How a client presents itself.
#[derive(Debug, Clone)]
pub struct Hello {
    /// The version of the session.
    pub version: u16,
    /// Whether it sends a session key.
    pub session_key: bool,
    /// Whether it says that it is a proxy.
    pub is_proxy: bool,
    /// The service that it is: its role's letter and its certificates.
    pub service: Option<(u8, Arc<ServiceIdentity>)>,
}

impl Hello {
    /// A usual client of this version: blocks are encrypted.
    #[must_use]
    pub fn version(version: u16) -> Self {
        Self { version, session_key: true, is_proxy: false, service: None }
    }

    /// A client that sends no session key: blocks are padded alone.
    #[must_use]
    pub fn plain(version: u16) -> Self {
        Self { session_key: false, ..Self::version(version) }
    }

    /// A service of this role: `M`, `N` or `P`.
    #[must_use]
    pub fn service(version: u16, role: u8, identity: &Arc<ServiceIdentity>) -> Self {
        Self { service: Some((role, identity.clone())), ..Self::version(version) }
    }
}

/// Who authorises a transmission.
#[derive(Debug, Clone, Copy)]
pub enum By<'a> {
    /// Nobody.
    Nobody,
    /// A key of the queue.
    Key(&'a Key),
    /// A key of the queue, and the service of the session.
    KeyAndService(&'a Key),
    /// The service of the session alone.
    Service,
    /// These bytes in place of an authenticator.
    Bytes(&'a [u8]),
}

impl<'a> From<&'a Key> for By<'a> {
    fn from(key: &'a Key) -> Self {
        Self::Key(key)
    }
}

/// A response or an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The correlation id; empty for an event.
    pub correlation_id: Vec<u8>,
    /// What it is about.
    pub entity_id: Vec<u8>,
    /// Tag and parameters.
    pub message: Vec<u8>,
    /// In which block it came, counted from 0.
    pub block: usize,
}

/// One connection.
#[derive(Debug)]
pub struct Peer {
    stream: TlsStream<TcpStream>,
    cipher: BlockCipher,
    /// The version of the session.
    pub version: u16,
    /// tls-unique.
    pub session_id: Vec<u8>,
    /// The server's session key.
    pub server_key: X25519PublicKey,
    /// Ours, whether it was sent or not.
    pub own_key: X25519PrivateKey,
    /// The service that we are, once it is accepted.
    pub service: Option<ServiceSession>,
    observer: Arc<Observer>,
    waiting: VecDeque<Answer>,
    blocks: usize,
}

/// A connection at which the server said its hello.
#[derive(Debug)]
pub struct Greeted {
    /// The connection.
    pub peer: Peer,
    /// The content of the server's hello.
    pub hello: Vec<u8>,
    /// The server's certificates in TLS, leaf first.
    pub chain: Vec<Vec<u8>>,
    /// The lowest and the highest version that the server offers.
    pub versions: (u16, u16),
    key_hash: [u8; 32],
}

/// Connects, up to the server's hello, and checks it.
///
/// # Errors
/// When there is no connection, or the hello is not as smp.md §4.3 has it.
pub async fn greet(place: &Place, tls: ClientTls, observer: &Arc<Observer>) -> Outcome<Greeted> {
    let unreachable = |error: &dyn std::fmt::Display| Failure::differs("a connection", error.to_string());
    let connecting = async {
        let socket = TcpStream::connect(place.address).await.map_err(|error| unreachable(&error))?;
        let _ = socket.set_nodelay(true);
        tls::connect_with(socket, place.key_hash, tls).await.map_err(|error| unreachable(&error))
    };
    let secured =
        timeout(PATIENCE, connecting).await.map_err(|_| Failure::differs("a connection", "silence"))??;
    let chain: Vec<Vec<u8>> = secured.chain.iter().map(|one| one.to_vec()).collect();
    let mut peer = Peer {
        stream: secured.stream,
        cipher: BlockCipher::plain(),
        version: 0,
        session_id: secured.tls_unique.as_bytes().to_vec(),
        server_key: X25519PublicKey([0; 32]),
        own_key: X25519PrivateKey::generate(&mut system_rng()),
        service: None,
        observer: observer.clone(),
        waiting: VecDeque::new(),
        blocks: 0,
    };
    let hello = peer.content().await?;
    let mut fields = Fields::of(&hello);
    let versions = (fields.u16()?, fields.u16()?);
    if fields.short()? != peer.session_id {
        return Err(Failure::differs("tls-unique of the client as session id", "another session id"));
    }
    let count = fields.take(1)?.first().copied().unwrap_or_default();
    for _ in 0..count {
        fields.large()?;
    }
    let leaf = chain.first().ok_or_else(|| Failure::differs("certificates", "none"))?;
    let signed = SignedKey::from_der(fields.large()?)
        .map_err(|error| Failure::differs("a signed key", error.to_string()))?;
    peer.server_key = certificate_key(leaf)
        .ok()
        .and_then(|leaf| signed.verify_x25519(&leaf).ok())
        .ok_or_else(|| Failure::differs("an X25519 key signed by the leaf certificate", "another"))?;
    Ok(Greeted { peer, hello, chain, versions, key_hash: place.key_hash })
}

impl Greeted {
    /// The content of a client hello.
    #[must_use]
    pub fn hello_content(&self, hello: &Hello, service_key: Option<&Ed25519PrivateKey>) -> Vec<u8> {
        let mut content = hello.version.to_be_bytes().to_vec();
        content.extend(short(&self.key_hash));
        if hello.session_key {
            content.extend(wire::x25519_spki(&self.peer.own_key.public_key().0));
        }
        content.push(if hello.is_proxy { b'T' } else { b'F' });
        if hello.version >= 16 {
            match (&hello.service, service_key) {
                (Some((role, identity)), Some(key)) => {
                    content.extend([b'1', *role]);
                    content.extend(identity.certified(&key.public_key().0));
                }
                _ => content.push(b'0'),
            }
        }
        content
    }

    /// Answers the hello; the session is there when the server accepts it, which shows at the first answer.
    ///
    /// # Errors
    /// When a service is refused.
    pub async fn accept(mut self, hello: &Hello) -> Outcome<Peer> {
        let service_key = hello.service.as_ref().map(|_| Ed25519PrivateKey::generate(&mut system_rng()));
        let content = self.hello_content(hello, service_key.as_ref());
        self.peer.send_content(&content).await?;
        let mut peer = self.peer;
        peer.version = hello.version;
        if let (Some((_, identity)), Some(key), true) = (&hello.service, service_key, hello.version >= 16) {
            let response = peer.content().await?;
            let mut fields = Fields::of(&response);
            if fields.take(1)? != b"R" {
                return Err(Failure::differs("an accepted service", shown(&response)));
            }
            let id = fields.short()?.to_vec();
            peer.service = Some(ServiceSession { id, key, fingerprint: identity.fingerprint() });
        }
        if hello.session_key && !hello.is_proxy {
            peer.cipher = BlockCipher::client(&peer.session_id, &peer.own_key, &peer.server_key);
        }
        Ok(peer)
    }
}

/// A session as `hello` says.
///
/// # Errors
/// When there is none.
pub async fn connect(place: &Place, hello: &Hello, observer: &Arc<Observer>) -> Outcome<Peer> {
    let certificate = hello.service.as_ref().map(|(_, identity)| identity.tls());
    greet(place, ClientTls { certificate, ..ClientTls::default() }, observer).await?.accept(hello).await
}

impl Peer {
    /// Sends bytes as they are. That the server has closed the connection shows when something is read.
    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        if self.stream.write_all(bytes).await.is_ok() {
            let _ = self.stream.flush().await;
        }
    }

    /// Sends a block of this content.
    ///
    /// # Errors
    /// When it does not fit one: the case is wrong then.
    pub async fn send_content(&mut self, content: &[u8]) -> Outcome {
        let block = self.cipher.send.seal(content);
        let block =
            block.map_err(|error| Failure::differs("a content that fits a block", error.to_string()))?;
        self.send_bytes(&block).await;
        Ok(())
    }

    /// Sends transmissions in one block.
    ///
    /// # Errors
    /// When they do not fit one.
    pub async fn send(&mut self, transmissions: &[Vec<u8>]) -> Outcome {
        self.send_content(&batch(transmissions)).await
    }

    /// The content of the next block, or nothing when the server closed the connection.
    ///
    /// # Errors
    /// When the server is silent, or the block cannot be read.
    pub async fn next_content(&mut self) -> Outcome<Option<Vec<u8>>> {
        let mut block = [0; BLOCK_BYTES];
        let Ok(read) = timeout(PATIENCE, self.stream.read_exact(&mut block)).await else {
            return Err(Failure::differs("a block", format!("silence for {} s", PATIENCE.as_secs())));
        };
        if read.is_err() {
            return Ok(None);
        }
        match self.cipher.receive.open(&mut block) {
            Ok(content) => Ok(Some(content.to_vec())),
            Err(_) => Err(Failure::differs("a block of this session", "one that cannot be opened")),
        }
    }

    /// The content of the next block.
    ///
    /// # Errors
    /// As [`Self::next_content`], and when the server closed the connection.
    pub async fn content(&mut self) -> Outcome<Vec<u8>> {
        self.next_content().await?.ok_or_else(|| Failure::differs("a block", "the end of the connection"))
    }

    async fn read_answers(&mut self) -> Outcome {
        let content = self.content().await?;
        let mut fields = Fields::of(&content);
        let count = fields.take(1)?.first().copied().unwrap_or_default();
        if count == 0 {
            return Err(Failure::differs("transmissions", "a block of none"));
        }
        for _ in 0..count {
            let mut transmission = Fields::of(fields.large()?);
            transmission.expect(&[0])?;
            let answer = Answer {
                correlation_id: transmission.short()?.to_vec(),
                entity_id: transmission.short()?.to_vec(),
                message: transmission.tail().to_vec(),
                block: self.blocks,
            };
            self.waiting.push_back(self.observer.observe(answer));
        }
        fields.end()?;
        self.blocks += 1;
        Ok(())
    }

    /// The next response or event.
    ///
    /// # Errors
    /// When there is none.
    pub async fn receive(&mut self) -> Outcome<Answer> {
        loop {
            if let Some(answer) = self.waiting.pop_front() {
                return Ok(answer);
            }
            self.read_answers().await?;
        }
    }

    /// The answer to the command with this correlation id; events that come before it wait.
    ///
    /// # Errors
    /// When there is none.
    pub async fn answer(&mut self, correlation_id: &[u8]) -> Outcome<Answer> {
        loop {
            let position = self.waiting.iter().position(|answer| answer.correlation_id == correlation_id);
            if let Some(answer) = position.and_then(|position| self.waiting.remove(position)) {
                return Ok(answer);
            }
            self.read_answers().await?;
        }
    }

    /// The next event about this entity; answers and events about others wait.
    ///
    /// # Errors
    /// When there is none.
    pub async fn event(&mut self, entity_id: &[u8]) -> Outcome<Vec<u8>> {
        loop {
            let is_event =
                |answer: &Answer| answer.correlation_id.is_empty() && answer.entity_id == entity_id;
            let position = self.waiting.iter().position(is_event);
            if let Some(answer) = position.and_then(|position| self.waiting.remove(position)) {
                return Ok(answer.message);
            }
            self.read_answers().await?;
        }
    }

    /// The server closes the connection without another word.
    ///
    /// # Errors
    /// When it says something, or does not close.
    pub async fn closed(&mut self) -> Outcome {
        match (self.waiting.pop_front(), self.next_content().await?) {
            (None, None) => Ok(()),
            (Some(answer), _) => Err(Failure::differs("the end of the connection", shown(&answer.message))),
            (None, Some(content)) => Err(Failure::differs("the end of the connection", shown(&content))),
        }
    }

    /// What keys authorise.
    #[must_use]
    pub fn authorized(&self, correlation_id: &[u8], entity_id: &[u8], command: &[u8]) -> Vec<u8> {
        [short(&self.session_id), short(correlation_id), short(entity_id), command.to_vec()].concat()
    }

    /// A transmission.
    #[must_use]
    pub fn transmission(
        &self,
        by: By<'_>,
        correlation_id: &[u8],
        entity_id: &[u8],
        command: &[u8],
    ) -> Vec<u8> {
        let authorized = || self.authorized(correlation_id, entity_id, command);
        let service_signature = || {
            let sign = |service: &ServiceSession| service.key.sign(&authorized()).to_vec();
            self.service.as_ref().map(sign).unwrap_or_default()
        };
        let mut second = b"0".to_vec();
        let authenticator = match by {
            By::Nobody => Vec::new(),
            By::Bytes(bytes) => bytes.to_vec(),
            By::Key(key) => key.authenticator(&self.server_key, correlation_id, &authorized()),
            By::Service => service_signature(),
            By::KeyAndService(key) => {
                second = wire::maybe(Some(short(&service_signature())));
                let fingerprint =
                    self.service.as_ref().map(|service| service.fingerprint).unwrap_or_default();
                let both = [fingerprint.as_slice(), &authorized()].concat();
                key.authenticator(&self.server_key, correlation_id, &both)
            }
        };
        if authenticator.is_empty() || self.version < 16 {
            second.clear();
        }
        [short(&authenticator), second, short(correlation_id), short(entity_id), command.to_vec()].concat()
    }

    /// Sends a command and gives its answer, which must bear its ids.
    ///
    /// # Errors
    /// When there is none, or it is about something else.
    pub async fn ask(&mut self, by: impl Into<By<'_>>, entity_id: &[u8], command: &[u8]) -> Outcome<Vec<u8>> {
        let correlation_id: [u8; 24] = random();
        self.ask_with(&correlation_id, by, entity_id, command).await
    }

    /// As [`Self::ask`], with this correlation id.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub async fn ask_with(
        &mut self,
        correlation_id: &[u8],
        by: impl Into<By<'_>>,
        entity_id: &[u8],
        command: &[u8],
    ) -> Outcome<Vec<u8>> {
        let transmission = self.transmission(by.into(), correlation_id, entity_id, command);
        self.send(&[transmission]).await?;
        let answer = self.answer(correlation_id).await?;
        if answer.entity_id != entity_id {
            let got = format!("{} with entity {}", shown(&answer.message), shown(&answer.entity_id));
            return Err(Failure::differs("an answer with the entity of the command", got));
        }
        Ok(answer.message)
    }

    /// Sends a command that must be answered by exactly `expected`.
    ///
    /// # Errors
    /// When it is not.
    pub async fn expect(
        &mut self,
        by: impl Into<By<'_>>,
        entity_id: &[u8],
        command: &[u8],
        expected: impl AsRef<[u8]>,
    ) -> Outcome {
        let got = self.ask(by, entity_id, command).await.map_err(|failure| step(failure, command))?;
        same(&got, expected.as_ref()).map_err(|failure| step(failure, command))
    }

    /// Nothing was said that the case has not taken.
    ///
    /// # Errors
    /// When something was.
    pub async fn quiet(&mut self) -> Outcome {
        self.expect(By::Nobody, b"", b"PING", "PONG").await?;
        match self.waiting.pop_front() {
            None => Ok(()),
            Some(answer) => Err(Failure::differs("nothing more", shown(&answer.message))),
        }
    }

    /// Whether something was said that the case has not taken, which is dropped.
    ///
    /// # Errors
    /// When the session is over.
    pub async fn said_more(&mut self) -> Outcome<bool> {
        self.expect(By::Nobody, b"", b"PING", "PONG").await?;
        let said = !self.waiting.is_empty();
        self.waiting.clear();
        Ok(said)
    }

    /// Takes the next step of our chain of keys, as if a block had been sealed.
    ///
    /// # Errors
    /// None: an empty content fits any block.
    pub fn skip_sealed(&mut self) -> Outcome {
        let sealed = self.cipher.send.seal(b"");
        sealed.map(drop).map_err(|error| Failure::differs("a block", error.to_string()))
    }

    /// Sends one transmission in a block, whatever bytes it is.
    ///
    /// # Errors
    /// When it does not fit.
    pub async fn send_one(&mut self, transmission: &[u8]) -> Outcome {
        self.send_content(&[&[1], large(transmission).as_slice()].concat()).await
    }
}

/// Fails unless an answer is as expected.
///
/// # Errors
/// With both.
pub fn same(got: &[u8], expected: &[u8]) -> Outcome {
    if got == expected { Ok(()) } else { Err(Failure::differs(shown(expected), shown(got))) }
}

fn step(failure: Failure, command: &[u8]) -> Failure {
    use crate::failure::At as _;
    let tag: Vec<u8> = command.iter().copied().take_while(u8::is_ascii_uppercase).collect();
    match Err::<(), _>(failure).at(String::from_utf8_lossy(&tag).into_owned()) {
        Err(failure) => failure,
        Ok(()) => Failure::differs("a failure", "none"),
    }
}
