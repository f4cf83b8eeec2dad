//! A client made by hand from the specification: no codec of this project stands between a test and the bytes.
//! Its blocks are not encrypted, as those of the reference's own test client.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::time::Duration;

use protocol::crypto::dh::X25519PrivateKey;
use protocol::crypto::sign::Ed25519PrivateKey;
use protocol::net::rng::system_rng;
use protocol::net::tls;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsStream;

use crate::place::Place;

const BLOCK: usize = 16_384;
const PATIENCE: Duration = Duration::from_secs(90);

/// `short`: one byte of length.
pub fn short(bytes: &[u8]) -> Vec<u8> {
    [&[u8::try_from(bytes.len()).unwrap()], bytes].concat()
}

/// `large`: two bytes of length.
pub fn large(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

/// A key as it stands on the wire: `short(SPKI)`.
pub fn ed25519_key(key: &Ed25519PrivateKey) -> Vec<u8> {
    let raw = key.public_key().0;
    short(&[&[0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0], &raw[..]].concat())
}

/// As [`ed25519_key`]. The private key is 32 times `seed`.
pub fn x25519_key(seed: u8) -> Vec<u8> {
    let raw = X25519PrivateKey::from_bytes([seed; 32]).public_key().0;
    short(&[&[0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x6e, 3, 0x21, 0], &raw[..]].concat())
}

/// A new Ed25519 key.
pub fn key() -> Ed25519PrivateKey {
    Ed25519PrivateKey::generate(&mut system_rng())
}

/// Takes things off the front of bytes, for looking at responses.
pub struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    /// The next bytes.
    pub fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }

    /// Takes bytes that must be these.
    pub fn expect(&mut self, expected: &[u8]) {
        assert_eq!(self.take(expected.len()), expected);
    }

    /// Takes a `short`.
    pub fn short(&mut self) -> &'a [u8] {
        let length = self.take(1)[0];
        self.take(length.into())
    }
}

/// What a response or event consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raw {
    /// The correlation id; empty for an event.
    pub correlation_id: Vec<u8>,
    /// What it is about.
    pub entity_id: Vec<u8>,
    /// Tag and parameters.
    pub message: Vec<u8>,
}

/// One connection.
pub struct RawClient {
    stream: TlsStream<TcpStream>,
    session_id: Vec<u8>,
    version: u16,
}

/// Up to the server's hello: the stream, the session id, and what the server said.
pub async fn greeted(address: SocketAddr, key_hash: [u8; 32]) -> (RawClient, Vec<u8>) {
    let socket = TcpStream::connect(address).await.unwrap();
    let secured = tls::connect(socket, key_hash).await.unwrap();
    let session_id = secured.tls_unique.as_bytes().to_vec();
    let mut client = RawClient { stream: secured.stream, session_id, version: 0 };
    let hello = client.content().await.unwrap();
    (client, hello)
}

impl RawClient {
    /// A session without a session key.
    pub async fn connect(server: &impl AsRef<Place>, version: u16) -> Self {
        let place = server.as_ref();
        let (mut client, _) = greeted(place.address, place.key_hash).await;
        let service = if version >= 16 { &b"0"[..] } else { b"" };
        let hello = [&version.to_be_bytes()[..], &short(&place.key_hash), b"F", service].concat();
        client.send_content(&hello).await;
        client.version = version;
        client
    }

    /// tls-unique.
    pub fn session_id(&self) -> &[u8] {
        &self.session_id
    }

    /// Sends one padded block.
    pub async fn send_content(&mut self, content: &[u8]) {
        let mut block = large(content);
        block.resize(BLOCK, b'#');
        self.send_block(&block).await;
    }

    /// Sends bytes as they are. That the server has closed the connection shows when something is read.
    pub async fn send_block(&mut self, block: &[u8]) {
        if self.stream.write_all(block).await.is_ok() {
            let _ = self.stream.flush().await;
        }
    }

    /// The content of the next block; nothing when the server closed the connection.
    pub async fn content(&mut self) -> Option<Vec<u8>> {
        let mut block = vec![0; BLOCK];
        let read = timeout(PATIENCE, self.stream.read_exact(&mut block)).await.expect("the server is silent");
        read.ok()?;
        let length = usize::from(u16::from_be_bytes([block[0], block[1]]));
        assert!(block[2 + length..].iter().all(|byte| *byte == b'#'), "padded");
        Some(block[2..2 + length].to_vec())
    }

    /// The transmissions of the next block.
    pub async fn block(&mut self) -> Vec<Raw> {
        let content = self.content().await.expect("the server closed the connection");
        let mut bytes = Bytes(&content);
        let count = bytes.take(1)[0];
        let transmissions = (0..count).map(|_| {
            let length = bytes.take(2);
            let length = u16::from_be_bytes([length[0], length[1]]);
            let mut bytes = Bytes(bytes.take(length.into()));
            bytes.expect(&[0]);
            let (correlation_id, entity_id) = (bytes.short().to_vec(), bytes.short().to_vec());
            Raw { correlation_id, entity_id, message: bytes.0.to_vec() }
        });
        let transmissions = transmissions.collect();
        assert!(bytes.0.is_empty(), "nothing after the last transmission");
        transmissions
    }

    /// The only transmission of the next block.
    pub async fn one(&mut self) -> Raw {
        let mut block = self.block().await;
        assert_eq!(block.len(), 1, "{block:?}");
        block.remove(0)
    }

    /// What a key signs.
    pub fn authorized(&self, correlation_id: &[u8], entity_id: &[u8], command: &[u8]) -> Vec<u8> {
        [short(&self.session_id), short(correlation_id), short(entity_id), command.to_vec()].concat()
    }

    /// A transmission with this authenticator.
    pub fn transmission(
        &self,
        authenticator: &[u8],
        correlation_id: &[u8],
        entity_id: &[u8],
        command: &[u8],
    ) -> Vec<u8> {
        let service = if self.version >= 16 && !authenticator.is_empty() { &b"0"[..] } else { b"" };
        let ids = [short(correlation_id), short(entity_id)].concat();
        [&short(authenticator), service, &ids, command].concat()
    }

    /// A signed transmission.
    pub fn signed(
        &self,
        key: &Ed25519PrivateKey,
        correlation_id: &[u8],
        entity_id: &[u8],
        command: &[u8],
    ) -> Vec<u8> {
        let signature = key.sign(&self.authorized(correlation_id, entity_id, command));
        self.transmission(&signature, correlation_id, entity_id, command)
    }

    /// Sends transmissions in one block.
    pub async fn send(&mut self, transmissions: &[Vec<u8>]) {
        let mut content = vec![u8::try_from(transmissions.len()).unwrap()];
        for transmission in transmissions {
            content.extend(large(transmission));
        }
        self.send_content(&content).await;
    }

    /// Sends one transmission and takes the block that answers it, of one response.
    pub async fn ask(&mut self, transmission: Vec<u8>) -> Raw {
        self.send(&[transmission]).await;
        self.one().await
    }

    /// The answer to a signed command with the correlation id `corr`, whose entity must be the command's.
    pub async fn answer(&mut self, key: &Ed25519PrivateKey, entity_id: &[u8], command: &[u8]) -> Vec<u8> {
        let raw = self.ask(self.signed(key, b"corr", entity_id, command)).await;
        assert_eq!((raw.correlation_id.as_slice(), raw.entity_id.as_slice()), (&b"corr"[..], entity_id));
        raw.message
    }

    /// As [`Self::answer`], of a command that nobody signs.
    pub async fn bare_answer(&mut self, entity_id: &[u8], command: &[u8]) -> Vec<u8> {
        let raw = self.ask(self.transmission(b"", b"corr", entity_id, command)).await;
        assert_eq!((raw.correlation_id.as_slice(), raw.entity_id.as_slice()), (&b"corr"[..], entity_id));
        raw.message
    }
}
