//! One connection to a queue server, for load: it says when the server is gone, and panics at nothing.

use std::collections::VecDeque;
use std::net::SocketAddr;

use anyhow::{Context as _, anyhow, ensure};
use protocol::crypto::dh::X25519PublicKey;
use protocol::encoding::Encode as _;
use protocol::net::certificate::certificate_key;
use protocol::net::tls;
use protocol::smp::authorize::Authorizer;
use protocol::smp::batch::{Batch, BlockWriter};
use protocol::smp::command::Command;
use protocol::smp::key::AuthPrivateKey;
use protocol::smp::response::BrokerMessage;
use protocol::smp::transmission::Transmission;
use protocol::transport::block::{BLOCK_BYTES, BlockCipher, BlockOpener, BlockSealer};
use protocol::transport::hello::{ClientHello, ServerHello};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsStream;

use crate::process::PATIENCE;

const VERSION: u16 = 18;

/// A connection of version 18 whose blocks TLS alone encrypts.
#[derive(Debug)]
pub struct Session {
    stream: TlsStream<TcpStream>,
    cipher: BlockCipher,
    session_id: Vec<u8>,
    server_key: X25519PublicKey,
    waiting: VecDeque<Received>,
}

/// One response or event.
#[derive(Debug)]
pub struct Received {
    /// Of the command; empty for an event.
    pub correlation_id: Vec<u8>,
    /// Of the queue.
    pub entity_id: Vec<u8>,
    /// What is said.
    pub message: BrokerMessage<'static>,
}

impl Session {
    /// Connects and exchanges hellos.
    ///
    /// # Errors
    /// When the server is not there, or another one.
    pub async fn connect(address: SocketAddr, key_hash: [u8; 32]) -> anyhow::Result<Self> {
        let secured = tls::connect(TcpStream::connect(address).await?, key_hash).await?;
        let (mut stream, session_id) = (secured.stream, secured.tls_unique.as_bytes().to_vec());
        let mut block = [0; BLOCK_BYTES];
        timeout(PATIENCE, stream.read_exact(&mut block)).await??;
        let hello = ServerHello::parse(BlockOpener::plain().open(&mut block)?)?;
        let leaf = certificate_key(secured.chain.first().context("A chain has a first certificate")?)?;
        let certified = hello.certified_key.as_ref().context("The hello has a key")?;
        let server_key = certified.signed_key.verify_x25519(&leaf)?;
        let hello = ClientHello {
            version: VERSION,
            key_hash: key_hash.to_vec(),
            session_key: None,
            is_proxy: false,
            service: None,
        };
        stream.write_all(&BlockSealer::plain().seal(&hello.to_bytes())?).await?;
        stream.flush().await?;
        Ok(Self { stream, cipher: BlockCipher::plain(), session_id, server_key, waiting: VecDeque::new() })
    }

    /// The bytes of a transmission that `key` authorises, or nobody.
    #[must_use]
    pub fn transmission(
        &self,
        key: Option<&AuthPrivateKey>,
        correlation_id: &[u8],
        entity_id: &[u8],
        command: &Command<'_>,
    ) -> Vec<u8> {
        let command = command.encode(VERSION);
        let authorizer = Authorizer { session_id: &self.session_id, server_key: &self.server_key };
        let transmission = match key {
            Some(key) => authorizer.authorize(key, correlation_id, entity_id, &command),
            None => Transmission::unauthorized(correlation_id, entity_id, &command),
        };
        let mut bytes = Vec::new();
        transmission.encode_into(VERSION, &mut bytes);
        bytes
    }

    /// Sends transmissions in one block.
    ///
    /// # Errors
    /// When they do not fit one, or the server is gone.
    pub async fn send(&mut self, transmissions: &[Vec<u8>]) -> anyhow::Result<()> {
        let mut writer = BlockWriter::new(self.cipher.send.content_bytes_max());
        for transmission in transmissions {
            let full = writer.push(|out| out.extend_from_slice(transmission))?;
            ensure!(full.is_none(), "the transmissions do not fit one block");
        }
        let content = writer.take().context("There is something to send")?;
        self.stream.write_all(&self.cipher.send.seal(&content)?).await?;
        Ok(self.stream.flush().await?)
    }

    /// The next response or event.
    ///
    /// # Errors
    /// When the server is gone, silent for long, or says what nobody understands.
    pub async fn receive(&mut self) -> anyhow::Result<Received> {
        loop {
            if let Some(received) = self.waiting.pop_front() {
                return Ok(received);
            }
            let mut block = [0; BLOCK_BYTES];
            timeout(PATIENCE, self.stream.read_exact(&mut block)).await??;
            let opened = self.cipher.receive.open(&mut block);
            let content = opened.map_err(unreadable)?;
            for bytes in Batch::parse(content).map_err(unreadable)? {
                let transmission = Transmission::parse(bytes, VERSION).map_err(unreadable)?;
                let message = BrokerMessage::parse(transmission.command, VERSION).map_err(unreadable)?;
                self.waiting.push_back(Received {
                    correlation_id: transmission.correlation_id.to_vec(),
                    entity_id: transmission.entity_id.to_vec(),
                    message: message.into_owned(),
                });
            }
        }
    }
}

/// Errors of parsing may hold the bytes, which do not outlive the block.
fn unreadable(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("the server says what cannot be read: {error}")
}
