//! One client: TLS, hellos, encrypted blocks; many commands on their way at once.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};

use anyhow::{Context as _, bail};
use protocol::crypto::dh::X25519PublicKey;
use protocol::net::certificate::certificate_key;
use protocol::net::rng::system_rng;
use protocol::net::service::{ServiceIdentity, ServiceSession, ServiceSigner};
use protocol::net::tls::{self, Secured};
use protocol::smp::SMP_VERSIONS;
use protocol::smp::batch::{Batch, BlockWriter};
use protocol::smp::command::Command;
use protocol::smp::key::AuthPrivateKey;
use protocol::smp::response::BrokerMessage;
use protocol::smp::transmission::Transmission;
use protocol::transport::block::{BLOCK_BYTES, BlockCipher};
use protocol::transport::handshake::{ClientConfig, ClientHandshake, ClientNext, Session};
use protocol::transport::hello::ServiceRole;
use tokio::io::{AsyncRead as _, AsyncReadExt as _, AsyncWrite as _, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsStream;

use crate::queue::Signer;
use crate::subject::{Place, Subject};
use crate::traffic::{Counted, Traffic};

/// Ties a response to its command: a number, made unique in its session by counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(pub(crate) u64);

/// Correlation ids have as many bytes as those of other clients, so that blocks are as full.
const CORRELATION_BYTES: usize = 24;

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    Sent,
    Received,
}

/// What is received ahead of its use, at most.
const INPUT_BYTES_MAX: usize = 1024 * BLOCK_BYTES;

impl Ticket {
    /// The correlation id.
    pub(crate) fn to_bytes(self) -> [u8; CORRELATION_BYTES] {
        let mut bytes = [0; CORRELATION_BYTES];
        if let Some(field) = bytes.first_chunk_mut() {
            *field = self.0.to_be_bytes();
        }
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self(u64::from_be_bytes(*bytes.first_chunk()?)))
    }
}

/// A response, or an event without a ticket.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) ticket: Option<Ticket>,
    pub(crate) entity_id: Vec<u8>,
    pub(crate) message: BrokerMessage<'static>,
}

/// Where clients connect to.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) place: Place,
    traffic: Arc<Traffic>,
    /// The address to come from, if not one that the system chooses.
    from: Option<Ipv4Addr>,
}

impl Target {
    pub(crate) fn of(subject: &Subject) -> Self {
        Self { place: subject.place.clone(), traffic: subject.traffic.clone(), from: None }
    }

    /// The same server, for a client with this address.
    pub(crate) fn seen_from(&self, address: Ipv4Addr) -> Self {
        Self { from: Some(address), ..self.clone() }
    }

    /// TCP, and nothing more.
    async fn connect(&self) -> anyhow::Result<Counted> {
        let socket = match self.from {
            None => TcpStream::connect(self.place.socket).await,
            Some(address) => {
                let socket = TcpSocket::new_v4()?;
                socket.bind((address, 0).into())?;
                socket.connect(self.place.socket).await
            }
        }
        .context("Unable to connect")?;
        socket.set_nodelay(true)?;
        Ok(Counted::new(socket, self.traffic.clone()))
    }

    /// TCP and TLS, and nothing more.
    pub(crate) async fn secure(&self) -> anyhow::Result<Secured<Counted>> {
        Ok(tls::connect(self.connect().await?, self.place.key_hash).await?)
    }
}

/// One connection. Commands are pushed into blocks, sent, and answered in any order.
pub(crate) struct Connection {
    stream: TlsStream<Counted>,
    cipher: BlockCipher,
    version: u16,
    session_id: Vec<u8>,
    server_key: X25519PublicKey,
    /// Signs for the service that this connection is of.
    service: Option<ServiceSigner>,
    block: BlockWriter,
    /// Sealed blocks on their way.
    out: Vec<u8>,
    /// How much of them was sent.
    sent: usize,
    /// What was received.
    input: Vec<u8>,
    /// How much of it was opened.
    opened: usize,
    last_ticket: u64,
}

impl Connection {
    /// Connects and says hello, with the newest version and encrypted blocks.
    pub(crate) async fn open(target: &Target) -> anyhow::Result<Self> {
        let Secured { mut stream, tls_unique, chain } = target.secure().await?;
        let leaf = certificate_key(chain.first().context("The server shows no certificate")?)?;
        let config = ClientConfig {
            versions: SMP_VERSIONS,
            key_hash: target.place.key_hash,
            is_proxy: false,
            service: None,
        };
        let handshake = ClientHandshake::new(config, tls_unique.as_bytes(), leaf);
        let mut block = Box::new([0; BLOCK_BYTES]);
        stream.read_exact(block.as_mut_slice()).await.context("The server says no hello")?;
        let reply = handshake.receive_hello(&mut block, &mut system_rng())?;
        let ClientNext::Ready(session) = reply.next else { bail!("The server takes us for a service") };
        stream.write_all(&reply.hello).await?;
        stream.flush().await?;
        Self::new(stream, *session, None)
    }

    /// Connects as a service that takes messages.
    pub(crate) async fn open_service(target: &Target, identity: &ServiceIdentity) -> anyhow::Result<Self> {
        let socket = target.connect().await?;
        let role = ServiceRole::Messaging;
        let opened =
            ServiceSession::open(socket, target.place.key_hash, SMP_VERSIONS, identity, role).await?;
        Self::new(opened.stream, *opened.session, Some(opened.signer))
    }

    fn new(
        stream: TlsStream<Counted>,
        session: Session,
        service: Option<ServiceSigner>,
    ) -> anyhow::Result<Self> {
        let Session { version, session_id, cipher, peer_key, .. } = session;
        Ok(Self {
            stream,
            block: BlockWriter::new(cipher.send.content_bytes_max()),
            cipher,
            version,
            session_id,
            server_key: peer_key.context("The server has no session key")?,
            service,
            out: Vec::new(),
            sent: 0,
            input: Vec::new(),
            opened: 0,
            last_ticket: 0,
        })
    }

    /// Whether it is a service's.
    pub(crate) fn is_of_service(&self) -> bool {
        self.service.is_some()
    }

    /// The version that was agreed on.
    pub(crate) fn version(&self) -> u16 {
        self.version
    }

    /// The key by which authenticators of this session are made.
    pub(crate) fn server_key(&self) -> &X25519PublicKey {
        &self.server_key
    }

    /// Adds a command to the open block. Under its ticket the response comes.
    pub(crate) fn push(
        &mut self,
        signer: &Signer,
        entity_id: &[u8],
        command: &[u8],
    ) -> anyhow::Result<Ticket> {
        let ticket = self.next_ticket();
        let correlation_id = ticket.to_bytes();
        let transmission = Transmission {
            authenticator: signer.authenticate(&self.session_id, &correlation_id, entity_id, command),
            ..Transmission::unauthorized(&correlation_id, entity_id, command)
        };
        let full = push(&mut self.block, &transmission, self.version)?;
        self.seal(full)?;
        Ok(ticket)
    }

    /// The same on a connection of a service: it signs too, where the command is one that it signs.
    pub(crate) fn push_of_service(
        &mut self,
        key: &AuthPrivateKey,
        entity_id: &[u8],
        command: &Command<'_>,
    ) -> anyhow::Result<Ticket> {
        let ticket = self.next_ticket();
        let (correlation_id, encoded) = (ticket.to_bytes(), command.encode(self.version));
        let signer = self.service.as_ref().context("This is no connection of a service")?;
        let transmission = signer.authorize(Some(key), &correlation_id, entity_id, command, &encoded);
        let full = push(&mut self.block, &transmission, self.version)?;
        self.seal(full)?;
        Ok(ticket)
    }

    /// Adds a command for all queues of the service.
    pub(crate) fn push_for_all(&mut self, command: &Command<'_>) -> anyhow::Result<Ticket> {
        let ticket = self.next_ticket();
        let (correlation_id, encoded) = (ticket.to_bytes(), command.encode(self.version));
        let signer = self.service.as_ref().context("This is no connection of a service")?;
        let full = push(&mut self.block, &signer.for_all(&correlation_id, &encoded), self.version)?;
        self.seal(full)?;
        Ok(ticket)
    }

    fn next_ticket(&mut self) -> Ticket {
        self.last_ticket = self.last_ticket.wrapping_add(1);
        Ticket(self.last_ticket)
    }

    fn seal(&mut self, full: Option<Vec<u8>>) -> anyhow::Result<()> {
        if let Some(content) = full {
            self.cipher.send.seal_into(&content, &mut self.out)?;
        }
        Ok(())
    }

    /// Sends all that was pushed. What comes meanwhile is read: a server that waits until it is read does not read.
    pub(crate) async fn flush(&mut self) -> anyhow::Result<()> {
        if let Some(content) = self.block.take() {
            self.cipher.send.seal_into(&content, &mut self.out)?;
        }
        poll_fn(|context| self.poll(context, Until::Sent)).await.context("The server does not read any more")
    }

    /// What the next block holds. What was pushed is sent meanwhile as far as the server reads it, in blocks as full as
    /// they get: for clients of so many messages that nobody can wait until each acknowledgement is out.
    pub(crate) async fn converse(&mut self) -> anyhow::Result<Vec<Received>> {
        if self.out.is_empty()
            && let Some(content) = self.block.take()
        {
            self.cipher.send.seal_into(&content, &mut self.out)?;
        }
        poll_fn(|context| self.poll(context, Until::Received)).await?;
        self.open_block()
    }

    /// Sends and receives until one of them is done.
    fn poll(&mut self, context: &mut task::Context<'_>, until: Until) -> Poll<io::Result<()>> {
        loop {
            let mut stream = Pin::new(&mut self.stream);
            if let Some(rest) = self.out.get(self.sent..).filter(|rest| !rest.is_empty()) {
                if let Poll::Ready(count) = stream.as_mut().poll_write(context, rest) {
                    self.sent = self.sent.saturating_add(count?);
                    continue;
                }
            } else if !self.out.is_empty()
                && let Poll::Ready(flushed) = stream.as_mut().poll_flush(context)
            {
                flushed?;
                self.out.clear();
                self.sent = 0;
            }
            let received = self.input.len().saturating_sub(self.opened);
            let is_done = match until {
                Until::Sent => self.out.is_empty(),
                Until::Received => received >= BLOCK_BYTES,
            };
            if is_done {
                return Poll::Ready(Ok(()));
            }
            if received >= INPUT_BYTES_MAX {
                return Poll::Pending;
            }
            let mut space = [0; BLOCK_BYTES];
            let mut buffer = ReadBuf::new(&mut space);
            match stream.poll_read(context, &mut buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(read) => read?,
            }
            if buffer.filled().is_empty() {
                return Poll::Ready(Err(ErrorKind::UnexpectedEof.into()));
            }
            self.input.drain(..std::mem::take(&mut self.opened));
            self.input.extend_from_slice(buffer.filled());
        }
    }

    /// What the next block holds. May be given up while waiting: nothing is lost.
    pub(crate) async fn receive(&mut self) -> anyhow::Result<Vec<Received>> {
        poll_fn(|context| self.poll(context, Until::Received)).await?;
        self.open_block()
    }

    fn open_block(&mut self) -> anyhow::Result<Vec<Received>> {
        let block = self.input.get_mut(self.opened..).and_then(<[u8]>::first_chunk_mut::<BLOCK_BYTES>);
        self.opened = self.opened.saturating_add(BLOCK_BYTES);
        let content = self.cipher.receive.open(block.context("A block is complete")?)?;
        let mut received = Vec::new();
        for bytes in Batch::parse(content)? {
            let transmission =
                Transmission::parse(bytes, self.version).ok().context("A malformed response")?;
            let message =
                BrokerMessage::parse(transmission.command, self.version).context("A malformed response")?;
            received.push(Received {
                ticket: Ticket::from_bytes(transmission.correlation_id),
                entity_id: transmission.entity_id.to_vec(),
                message: message.into_owned(),
            });
        }
        Ok(received)
    }

    /// Sends what was pushed and takes so many responses; events between them are dropped.
    pub(crate) async fn exchange(&mut self, responses: usize) -> anyhow::Result<Vec<Received>> {
        self.flush().await?;
        let mut all = Vec::with_capacity(responses);
        while all.len() < responses {
            all.extend(self.receive().await?.into_iter().filter(|one| one.ticket.is_some()));
        }
        Ok(all)
    }
}

/// Adds a transmission to a block; gives the block before, when that is full.
fn push(
    block: &mut BlockWriter,
    transmission: &Transmission<'_>,
    version: u16,
) -> anyhow::Result<Option<Vec<u8>>> {
    Ok(block.push(|out| transmission.encode_into(version, out))?)
}
