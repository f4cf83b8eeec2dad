//! A raw client: it sends what a test says, also what no honest client would, and shows what comes back.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a test fails by panicking"
)]

use std::collections::VecDeque;
use std::time::Duration;

use protocol::crypto::dh::{X25519PrivateKey, X25519PublicKey};
use protocol::crypto::secretbox::BoxKey;
use protocol::encoding::Encode as _;
use protocol::net::certificate::certificate_key;
use protocol::net::error::ConnectError;
use protocol::net::rng::system_rng;
use protocol::net::service::{ServiceIdentity, ServiceSession, ServiceSigner};
use protocol::net::tls;
use protocol::smp::SMP_VERSIONS;
use protocol::smp::authorize::Authorizer;
use protocol::smp::batch::{Batch, BlockWriter};
use protocol::smp::command::{Command, LinkData, NewQueue, QueueRequest};
use protocol::smp::error::ErrorType;
use protocol::smp::ids::{MessageId, RecipientId, ServiceId};
use protocol::smp::key::AuthPrivateKey;
use protocol::smp::message::ReceivedMessage;
use protocol::smp::password::BasicAuth;
use protocol::smp::response::{BrokerMessage, QueueIds};
use protocol::smp::transmission::Transmission;
use protocol::transport::block::{BLOCK_BYTES, BlockCipher, BlockOpener, BlockSealer};
use protocol::transport::handshake::Session;
use protocol::transport::hello::{ClientHello, ServerHello, ServiceRole};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsStream;

use crate::place::Place;

/// How long anything may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(90);

/// The correlation id of most commands: the protocol allows any length.
pub const CORRELATION: &[u8] = b"abcd";

/// One connection.
pub struct Client {
    stream: TlsStream<TcpStream>,
    cipher: BlockCipher,
    /// The version of the session.
    pub version: u16,
    session_id: Vec<u8>,
    server_key: X25519PublicKey,
    /// Signs in the session of a service.
    service: Option<ServiceSigner>,
    waiting: VecDeque<Received>,
    blocks: usize,
}

/// One response or event.
#[derive(Debug, PartialEq)]
pub struct Received {
    /// The correlation id; empty for an event.
    pub correlation_id: Vec<u8>,
    /// What it is about.
    pub entity_id: Vec<u8>,
    /// What it says.
    pub message: BrokerMessage<'static>,
    /// In which block it came, counted from the first.
    pub block: usize,
}

/// TLS and the server's hello, before the client says anything.
pub struct Greeted {
    /// The stream after the server's hello.
    pub stream: TlsStream<TcpStream>,
    /// The server's hello.
    pub hello: ServerHello,
    /// tls-unique.
    pub session_id: Vec<u8>,
    /// The server's session key, checked.
    pub server_key: X25519PublicKey,
}

/// Connects up to the server's hello.
pub async fn greet(server: &impl AsRef<Place>) -> Greeted {
    let place = server.as_ref();
    let socket = TcpStream::connect(place.address).await.unwrap();
    let secured = tls::connect(socket, place.key_hash).await.unwrap();
    let (mut stream, session_id) = (secured.stream, secured.tls_unique.as_bytes().to_vec());
    let mut block = [0; BLOCK_BYTES];
    timeout(PATIENCE, stream.read_exact(&mut block)).await.unwrap().unwrap();
    let hello = ServerHello::parse(BlockOpener::plain().open(&mut block).unwrap()).unwrap();
    let leaf = certificate_key(&secured.chain[0]).unwrap();
    let server_key = hello.certified_key.as_ref().unwrap().signed_key.verify_x25519(&leaf).unwrap();
    Greeted { stream, hello, session_id, server_key }
}

impl Greeted {
    /// Answers the hello with one block of this content.
    pub async fn answer(&mut self, content: &[u8]) {
        let block = BlockSealer::plain().seal(content).unwrap();
        self.stream.write_all(&block).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Whether the server closes the connection without another word.
    pub async fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        matches!(timeout(PATIENCE, self.stream.read(&mut byte)).await.unwrap(), Ok(0) | Err(_))
    }
}

impl Client {
    /// A client of version 18 that sends no session key, so that blocks are not encrypted.
    pub async fn connect(server: &impl AsRef<Place>) -> Self {
        Self::connect_as(server, 18, false).await
    }

    /// A client of this version, with or without a session key.
    pub async fn connect_as(server: &impl AsRef<Place>, version: u16, encrypted: bool) -> Self {
        let mut greeted = greet(server).await;
        let own_key = X25519PrivateKey::generate(&mut system_rng());
        let hello = ClientHello {
            version,
            key_hash: server.as_ref().key_hash.to_vec(),
            session_key: encrypted.then(|| own_key.public_key()),
            is_proxy: false,
            service: None,
        };
        greeted.answer(&hello.to_bytes()).await;
        let Greeted { stream, session_id, server_key, .. } = greeted;
        let cipher = if encrypted {
            BlockCipher::client(&session_id, &own_key, &server_key)
        } else {
            BlockCipher::plain()
        };
        let waiting = VecDeque::new();
        Self { stream, cipher, version, session_id, server_key, service: None, waiting, blocks: 0 }
    }

    /// A service with these certificates.
    ///
    /// # Errors
    /// When the server refuses it.
    pub async fn connect_service(
        server: &impl AsRef<Place>,
        identity: &ServiceIdentity,
        role: ServiceRole,
    ) -> Result<Self, ConnectError> {
        let place = server.as_ref();
        let socket = TcpStream::connect(place.address).await.unwrap();
        let opened = ServiceSession::open(socket, place.key_hash, SMP_VERSIONS, identity, role);
        let ServiceSession { stream, session, signer } = timeout(PATIENCE, opened).await.unwrap()?;
        let Session { version, session_id, cipher, peer_key, .. } = *session;
        let (server_key, waiting) = (peer_key.unwrap(), VecDeque::new());
        Ok(Self {
            stream,
            cipher,
            version,
            session_id,
            server_key,
            service: Some(signer),
            waiting,
            blocks: 0,
        })
    }

    /// The id of the service whose session this is.
    pub fn service_id(&self) -> ServiceId {
        self.service.as_ref().unwrap().service.service_id
    }

    /// Sends a command for all queues of the service, and takes the response.
    pub async fn ask_for_all(&mut self, command: &Command<'_>) -> BrokerMessage<'static> {
        let encoded = command.encode(self.version);
        let mut bytes = Vec::new();
        let service = self.service.as_ref().unwrap();
        service.for_all(CORRELATION, &encoded).encode_into(self.version, &mut bytes);
        let id = self.service_id();
        self.send(&[bytes]).await;
        self.response(CORRELATION, id.as_bytes()).await
    }

    /// The bytes of a transmission that `key` authorises, or nobody.
    pub fn transmission(
        &self,
        key: Option<&AuthPrivateKey>,
        correlation_id: &[u8],
        entity_id: &[u8],
        command: &[u8],
    ) -> Vec<u8> {
        let authorizer = Authorizer { session_id: &self.session_id, server_key: &self.server_key };
        let transmission = match (key, &self.service) {
            (key, Some(service)) if key.is_some() => {
                let parsed = Command::parse(command, self.version).unwrap();
                service.authorize(key, correlation_id, entity_id, &parsed, command)
            }
            (Some(key), _) => authorizer.authorize(key, correlation_id, entity_id, command),
            (None, _) => Transmission::unauthorized(correlation_id, entity_id, command),
        };
        let mut bytes = Vec::new();
        transmission.encode_into(self.version, &mut bytes);
        bytes
    }

    /// The same in the session of a service, without the service's signature.
    pub fn transmission_without_service(
        &self,
        key: &AuthPrivateKey,
        entity_id: &[u8],
        command: &Command<'_>,
    ) -> Vec<u8> {
        let authorizer = Authorizer { session_id: &self.session_id, server_key: &self.server_key };
        let (command, mut bytes) = (command.encode(self.version), Vec::new());
        authorizer.authorize(key, CORRELATION, entity_id, &command).encode_into(self.version, &mut bytes);
        bytes
    }

    /// Sends transmissions in one block.
    pub async fn send(&mut self, transmissions: &[Vec<u8>]) {
        let mut writer = BlockWriter::new(self.cipher.send.content_bytes_max());
        for transmission in transmissions {
            let full = writer.push(|out| out.extend_from_slice(transmission)).unwrap();
            assert_eq!(full, None, "they fit one block");
        }
        self.send_content(&writer.take().unwrap()).await;
    }

    /// Sends a block of this content.
    pub async fn send_content(&mut self, content: &[u8]) {
        let block = self.cipher.send.seal(content).unwrap();
        self.send_block(&block).await;
    }

    /// Sends these bytes as they are.
    pub async fn send_block(&mut self, block: &[u8]) {
        self.stream.write_all(block).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Sends a transmission, and takes what comes next; nothing when the connection ends instead.
    pub async fn try_ask(&mut self, transmission: Vec<u8>) -> Option<Received> {
        let mut writer = BlockWriter::new(self.cipher.send.content_bytes_max());
        assert_eq!(writer.push(|out| out.extend_from_slice(&transmission)).unwrap(), None, "it fits a block");
        let block = self.cipher.send.seal(&writer.take().unwrap()).unwrap();
        self.stream.write_all(&block).await.ok()?;
        self.stream.flush().await.ok()?;
        while self.waiting.is_empty() {
            if !self.read_block().await {
                return None;
            }
        }
        self.waiting.pop_front()
    }

    /// The next response or event.
    pub async fn receive(&mut self) -> Received {
        while self.waiting.is_empty() {
            assert!(self.read_block().await, "the server closed the connection");
        }
        self.waiting.pop_front().unwrap()
    }

    /// Reads one block; whether there was one.
    async fn read_block(&mut self) -> bool {
        let mut block = [0; BLOCK_BYTES];
        let read = timeout(PATIENCE, self.stream.read_exact(&mut block)).await.expect("the server is silent");
        if read.is_err() {
            return false;
        }
        let content = self.cipher.receive.open(&mut block).unwrap();
        for bytes in Batch::parse(content).unwrap() {
            let transmission = Transmission::parse(bytes, self.version).unwrap();
            self.waiting.push_back(Received {
                correlation_id: transmission.correlation_id.to_vec(),
                entity_id: transmission.entity_id.to_vec(),
                message: BrokerMessage::parse(transmission.command, self.version).unwrap().into_owned(),
                block: self.blocks,
            });
        }
        self.blocks += 1;
        true
    }

    /// Whether the server closes the connection without another word.
    pub async fn is_closed(&mut self) -> bool {
        assert!(self.waiting.is_empty());
        !self.read_block().await
    }

    /// Sends command bytes and takes the response, which must bear the same ids.
    pub async fn ask_raw(
        &mut self,
        key: Option<&AuthPrivateKey>,
        entity_id: &[u8],
        command: &[u8],
    ) -> BrokerMessage<'static> {
        self.ask_with(CORRELATION, key, entity_id, command).await
    }

    /// As [`Self::ask_raw`], with this correlation id.
    pub async fn ask_with(
        &mut self,
        correlation_id: &[u8],
        key: Option<&AuthPrivateKey>,
        entity_id: &[u8],
        command: &[u8],
    ) -> BrokerMessage<'static> {
        let transmission = self.transmission(key, correlation_id, entity_id, command);
        self.send(&[transmission]).await;
        self.response(correlation_id, entity_id).await
    }

    /// The response with these ids.
    async fn response(&mut self, correlation_id: &[u8], entity_id: &[u8]) -> BrokerMessage<'static> {
        // A message that the command caused may come before the response.
        let is_response = |one: &Received| one.correlation_id == correlation_id && one.entity_id == entity_id;
        loop {
            if let Some(position) = self.waiting.iter().position(is_response) {
                return self.waiting.remove(position).unwrap().message;
            }
            assert!(self.read_block().await, "the server closed the connection");
        }
    }

    /// Sends a command and takes the response.
    pub async fn ask(
        &mut self,
        key: Option<&AuthPrivateKey>,
        entity_id: impl AsRef<[u8]>,
        command: &Command<'_>,
    ) -> BrokerMessage<'static> {
        let bytes = command.encode(self.version);
        self.ask_raw(key, entity_id.as_ref(), &bytes).await
    }

    /// The error of a command that must fail.
    pub async fn error(
        &mut self,
        key: Option<&AuthPrivateKey>,
        entity_id: impl AsRef<[u8]>,
        command: &Command<'_>,
    ) -> ErrorType {
        match self.ask(key, entity_id, command).await {
            BrokerMessage::Err(error) => error,
            other => panic!("{other:?} instead of an error"),
        }
    }

    /// Sends a command that must succeed with `OK`.
    pub async fn ok(
        &mut self,
        key: Option<&AuthPrivateKey>,
        entity_id: impl AsRef<[u8]>,
        command: &Command<'_>,
    ) {
        assert_eq!(self.ask(key, entity_id, command).await, BrokerMessage::Ok);
    }

    /// The next event, which must be about this entity.
    pub async fn event(&mut self, entity_id: impl AsRef<[u8]>) -> BrokerMessage<'static> {
        let received = self.receive().await;
        assert_eq!(received.correlation_id, b"", "{received:?}");
        assert_eq!(received.entity_id, entity_id.as_ref());
        received.message
    }

    /// Nothing was sent to this client that it has not taken.
    pub async fn nothing_else(&mut self) {
        assert_eq!(self.ask(None, b"", &Command::Ping).await, BrokerMessage::Pong);
        assert_eq!(self.waiting, []);
    }

    /// Drops what came and was not taken.
    pub async fn forget_messages(&mut self) {
        assert_eq!(self.ask(None, b"", &Command::Ping).await, BrokerMessage::Pong);
        self.waiting.clear();
    }

    /// A new queue of this client.
    pub async fn create(&mut self, request: Option<QueueRequest<'static>>, subscribe: bool) -> Queue {
        let key = AuthPrivateKey::generate_ed25519(&mut system_rng());
        self.create_with(key, CORRELATION, request, subscribe).await.unwrap()
    }

    /// A new queue with this key.
    pub async fn create_with(
        &mut self,
        key: AuthPrivateKey,
        correlation_id: &[u8],
        request: Option<QueueRequest<'static>>,
        subscribe: bool,
    ) -> Result<Queue, ErrorType> {
        self.create_for(key, correlation_id, request, subscribe, None).await
    }

    /// A new queue with this password.
    pub async fn create_for(
        &mut self,
        key: AuthPrivateKey,
        correlation_id: &[u8],
        request: Option<QueueRequest<'static>>,
        subscribe: bool,
        password: Option<BasicAuth>,
    ) -> Result<Queue, ErrorType> {
        let dh_key = X25519PrivateKey::generate(&mut system_rng());
        let command = new_queue(&key, &dh_key, request, subscribe, password);
        let bytes = command.encode(self.version);
        match self.ask_with(correlation_id, Some(&key), b"", &bytes).await {
            BrokerMessage::Ids(ids) => Ok(Queue { secret: dh_key.box_key(&ids.server_dh_key), key, ids }),
            BrokerMessage::Err(error) => Err(error),
            other => panic!("{other:?} instead of ids"),
        }
    }

    /// Subscribes; gives nothing but the response.
    pub async fn subscribe(&mut self, queue: &Queue) {
        let service = self.service.as_ref().map(|signer| signer.service.service_id);
        let sok = if self.version < 16 { BrokerMessage::Ok } else { BrokerMessage::Sok(service) };
        assert_eq!(self.ask(Some(&queue.key), queue.ids.recipient_id, &Command::Sub).await, sok);
    }

    /// Sends a message without authorisation.
    pub async fn send_message(&mut self, queue: &Queue, body: &[u8]) -> BrokerMessage<'static> {
        self.ask(None, queue.ids.sender_id, &message(body)).await
    }

    /// The next message of a queue, as an event: its id and content.
    pub async fn message(&mut self, queue: &Queue) -> (MessageId, ReceivedMessage) {
        let event = self.event(queue.ids.recipient_id).await;
        queue.open(&event)
    }

    /// The next message of a queue, as an event: its body, acknowledged, with nothing after it.
    pub async fn take(&mut self, queue: &Queue) -> Vec<u8> {
        let (id, content) = self.message(queue).await;
        self.ok(Some(&queue.key), queue.ids.recipient_id, &ack(&id)).await;
        body(content)
    }

    /// Acknowledges, and gives the response.
    pub async fn acknowledge(&mut self, queue: &Queue, id: &MessageId) -> BrokerMessage<'static> {
        self.ask(Some(&queue.key), queue.ids.recipient_id, &ack(id)).await
    }
}

/// A queue as its recipient knows it.
pub struct Queue {
    /// The recipient's key.
    pub key: AuthPrivateKey,
    /// What `IDS` said.
    pub ids: QueueIds,
    /// Opens its messages.
    pub secret: BoxKey,
}

impl Queue {
    /// Opens a `MSG`.
    pub fn open(&self, message: &BrokerMessage<'_>) -> (MessageId, ReceivedMessage) {
        let BrokerMessage::Msg { message_id, body } = message else {
            panic!("{message:?} instead of a message")
        };
        (*message_id, ReceivedMessage::open(&self.secret, message_id, body).unwrap())
    }

    /// The queue's id for its recipient.
    pub fn recipient_id(&self) -> RecipientId {
        self.ids.recipient_id
    }
}

/// A messaging queue without link data.
pub const MESSAGING: Option<QueueRequest<'static>> = Some(QueueRequest::Messaging(None));
/// A contact queue without link data.
pub const CONTACT: Option<QueueRequest<'static>> = Some(QueueRequest::Contact(None));

/// A `NEW`.
pub fn new_queue(
    key: &AuthPrivateKey,
    dh_key: &X25519PrivateKey,
    request: Option<QueueRequest<'static>>,
    subscribe: bool,
    password: Option<BasicAuth>,
) -> Command<'static> {
    let (recipient_key, dh_key) = (key.public_key(), dh_key.public_key());
    Command::New(Box::new(NewQueue { recipient_key, dh_key, password, subscribe, request, notifier: None }))
}

/// A `SEND` that asks to tell the notifier.
pub fn message(body: &[u8]) -> Command<'static> {
    Command::Send { notify: true, body: body.to_vec().into() }
}

/// An `ACK`.
pub fn ack(id: &MessageId) -> Command<'static> {
    Command::Ack { message_id: id.as_bytes().to_vec().into() }
}

/// The body of a message that is no quota marker.
pub fn body(content: ReceivedMessage) -> Vec<u8> {
    match content {
        ReceivedMessage::Message { body, .. } => body,
        quota @ ReceivedMessage::Quota { .. } => panic!("{quota:?} instead of a message"),
    }
}

/// A new Ed25519 key.
pub fn ed25519() -> AuthPrivateKey {
    AuthPrivateKey::generate_ed25519(&mut system_rng())
}

/// Link data of these bytes.
pub fn link_data(fixed: &'static [u8], user: &'static [u8]) -> LinkData<'static> {
    LinkData { fixed: fixed.into(), user: user.into() }
}
