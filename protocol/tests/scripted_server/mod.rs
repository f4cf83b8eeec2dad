//! A queue server that does what a test says, over real TCP and TLS on loopback.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
#![allow(dead_code, unreachable_pub, reason = "shared by several test programs")]

pub mod queues;

use protocol::net::rng::system_rng;
use protocol::net::tls::{self, Secured, ServerTls};
use protocol::smp::SMP_VERSIONS;
use protocol::smp::address::ServerAddress;
use protocol::smp::authorize::{AuthorizedBy, Verifier};
use protocol::smp::batch::{Batch, BlockWriter};
use protocol::smp::command::Command;
use protocol::smp::error::ErrorType;
use protocol::smp::key::AuthPublicKey;
use protocol::smp::response::BrokerMessage;
use protocol::smp::transmission::Transmission;
use protocol::transport::block::{BLOCK_BYTES, BlockSealer};
use protocol::transport::certified_key::{CertificateChain, fingerprint};
use protocol::transport::handshake::{ServerConfig, ServerHandshake, ServerNext, Session};
use protocol::version::VersionRange;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsStream;

pub struct ScriptedServer {
    listener: TcpListener,
    tls: ServerTls,
    leaf_key: protocol::crypto::sign::Ed25519PrivateKey,
    pub address: ServerAddress,
    pub versions: VersionRange,
    /// Says another session id in its hello than TLS has.
    pub lies_about_session: bool,
}

/// A client's connection.
pub struct Peer {
    stream: TlsStream<TcpStream>,
    pub session: Box<Session>,
}

/// A command as it came.
pub struct Received {
    pub correlation_id: Vec<u8>,
    pub entity_id: Vec<u8>,
    pub command: Command<'static>,
    transmission: Vec<u8>,
}

impl ScriptedServer {
    pub async fn start() -> Self {
        Self::start_at(0).await
    }

    /// On this port, or on any free one if it is 0.
    pub async fn start_at(port: u16) -> Self {
        let read =
            |name: &str| std::fs::read(format!("{}/tests/certs/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let chain = [read("ed25519-leaf.pem"), read("ed25519-ca.pem")].concat();
        let key = read("ed25519-leaf.key");
        let tls = tls::server_config(&chain, &key).unwrap();
        let pkcs8 = PrivatePkcs8KeyDer::from_pem_slice(&key).unwrap();
        let leaf_key = protocol::crypto::sign::Ed25519PrivateKey::from_der(pkcs8.secret_pkcs8_der()).unwrap();

        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let identity = CertificateDer::from_pem_slice(&read("ed25519-ca.pem")).unwrap();
        let address = ServerAddress::new(
            vec!["127.0.0.1".parse().unwrap()],
            Some(listener.local_addr().unwrap().port()),
            fingerprint(&identity).into(),
        )
        .unwrap();
        Self { listener, tls, leaf_key, address, versions: SMP_VERSIONS, lies_about_session: false }
    }

    /// The next connection, after both hellos.
    pub async fn accept(&self) -> Peer {
        let (tcp, _) = self.listener.accept().await.unwrap();
        let Secured { mut stream, tls_unique, .. } = self.tls.accept(tcp).await.unwrap();
        let chain = self.tls.chain().iter().map(|certificate| certificate.to_vec()).collect();
        let config = ServerConfig {
            versions: self.versions,
            chain: CertificateChain::new(chain).unwrap(),
            leaf_key: self.leaf_key.clone().into(),
        };
        let session_id = if self.lies_about_session { &[7; 32] } else { tls_unique.as_bytes() };
        let (handshake, hello) = ServerHandshake::start(&config, session_id, &mut system_rng()).unwrap();
        stream.write_all(&hello).await.unwrap();
        stream.flush().await.unwrap();
        let mut block = [0; BLOCK_BYTES];
        stream.read_exact(&mut block).await.unwrap();
        let ServerNext::Ready(session) = handshake.receive_hello(&mut block, None).unwrap() else {
            panic!("our client is no service")
        };
        Peer { stream, session }
    }

    /// The next TCP connection, which is closed at once or refuses to greet.
    pub async fn drop_next(&self) {
        drop(self.listener.accept().await.unwrap());
    }

    /// As [`Self::accept`], for clients that will not like the hello.
    pub async fn greet_in_vain(&self) {
        let (tcp, _) = self.listener.accept().await.unwrap();
        let Ok(Secured { mut stream, tls_unique, .. }) = self.tls.accept(tcp).await else { return };
        let chain = self.tls.chain().iter().map(|certificate| certificate.to_vec()).collect();
        let config = ServerConfig {
            versions: self.versions,
            chain: CertificateChain::new(chain).unwrap(),
            leaf_key: self.leaf_key.clone().into(),
        };
        let session_id = if self.lies_about_session { &[7; 32] } else { tls_unique.as_bytes() };
        let (_, hello) = ServerHandshake::start(&config, session_id, &mut system_rng()).unwrap();
        stream.write_all(&hello).await.unwrap();
        stream.flush().await.unwrap();
        let answer = stream.read(&mut [0; 1]).await;
        assert!(!matches!(answer, Ok(1)), "the client must not go on");
    }

    /// Whether a connection waits to be accepted.
    pub async fn has_connection(&self) -> bool {
        tokio::time::timeout(std::time::Duration::from_millis(50), self.listener.accept()).await.is_ok()
    }
}

impl Peer {
    /// All commands of the next block; none when the client has gone.
    pub async fn block(&mut self) -> Vec<Received> {
        let mut block = [0; BLOCK_BYTES];
        if self.stream.read_exact(&mut block).await.is_err() {
            return Vec::new();
        }
        received(self.session.cipher.receive.open(&mut block).unwrap(), self.session.version)
    }

    /// The only command of the next block.
    pub async fn command(&mut self) -> Received {
        let mut block = self.block().await;
        assert_eq!(block.len(), 1);
        block.remove(0)
    }

    pub fn is_authorized(&self, received: &Received, key: AuthPublicKey) -> bool {
        let Session { session_id, own_key, version, .. } = &*self.session;
        let transmission = Transmission::parse(&received.transmission, *version).unwrap();
        let verifier = Verifier { session_id, own_key, service: None };
        verifier.verify(&transmission, AuthorizedBy::Keys(&[key])).is_authorized
    }

    /// Sends messages in as few blocks as possible: correlation id, entity id, message.
    pub async fn send(&mut self, messages: &[(&[u8], &[u8], BrokerMessage<'_>)]) {
        for content in contents(messages, &self.session.cipher.send, self.session.version) {
            self.send_raw(&content).await;
        }
    }

    pub async fn send_raw(&mut self, content: &[u8]) {
        let block = self.session.cipher.send.seal(content).unwrap();
        self.stream.write_all(&block).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Sends a block that does not open.
    pub async fn send_garbage(&mut self) {
        self.stream.write_all(&[1; BLOCK_BYTES]).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    pub async fn answer(&mut self, to: &Received, message: BrokerMessage<'_>) {
        self.send(&[(&to.correlation_id, &to.entity_id, message)]).await;
    }

    pub async fn refuse(&mut self, to: &Received, error: ErrorType) {
        self.answer(to, BrokerMessage::Err(error)).await;
    }

    /// Says something of its own accord.
    pub async fn tell(&mut self, entity_id: &[u8], message: BrokerMessage<'_>) {
        self.send(&[(&[], entity_id, message)]).await;
    }
}

/// The commands of a block.
fn received(content: &[u8], version: u16) -> Vec<Received> {
    let received = |bytes: &[u8]| {
        let transmission = Transmission::parse(bytes, version).unwrap();
        Received {
            correlation_id: transmission.correlation_id.to_vec(),
            entity_id: transmission.entity_id.to_vec(),
            command: Command::parse(transmission.command, version).unwrap().into_owned(),
            transmission: bytes.to_vec(),
        }
    };
    Batch::parse(content).unwrap().map(received).collect()
}

/// The contents of blocks with these messages.
fn contents(
    messages: &[(&[u8], &[u8], BrokerMessage<'_>)],
    sealer: &BlockSealer,
    version: u16,
) -> Vec<Vec<u8>> {
    let mut writer = BlockWriter::new(sealer.content_bytes_max());
    let mut contents = Vec::new();
    for (correlation_id, entity_id, message) in messages {
        let bytes = message.encode(version);
        let transmission = Transmission::unauthorized(correlation_id, entity_id, &bytes);
        contents.extend(writer.push(|out| transmission.encode_into(version, out)).unwrap());
    }
    contents.extend(writer.take());
    contents
}
