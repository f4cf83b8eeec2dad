//! Known answers, and the keys that they name by labels.

use std::collections::VecDeque;
use std::convert::Infallible;

use protocol::crypto::dh::{X448PrivateKey, X25519PrivateKey};
use protocol::crypto::hash::{sha256, sha512};
use protocol::crypto::ratchet::parameters::{RatchetOffer, RatchetParameters};
use protocol::crypto::sign::Ed25519PrivateKey;
use protocol::encoding::DecodeError;
use protocol::smp::address::{KeyHash, ServerAddress};
use protocol::smp::ids::SenderId;
use protocol::smp::queue_uri::{QueueAddress, QueueMode};
use protocol::version::VersionRange;
use rand_core::{TryCryptoRng, TryRng};

/// A file of lines `name = text`, `name [length] = hex`, `name [length] b64=base64url` and
/// `name [length] sha256=hex head=hex`.
pub(crate) struct Vectors(pub(crate) &'static str);

pub(crate) const ENVELOPES: Vectors = Vectors(include_str!("../vectors/agent-a6-envelopes.txt"));
pub(crate) const CLIENT_MESSAGES: Vectors = Vectors(include_str!("../vectors/agent-a7-client-message.txt"));
pub(crate) const LINKS: Vectors = Vectors(include_str!("../vectors/agent-a8-links.txt"));
pub(crate) const LINK_DATA: Vectors = Vectors(include_str!("../vectors/agent-a9-link-data.txt"));
pub(crate) const DERIVATION: Vectors = Vectors(include_str!("../vectors/smp-21.5-link-derivation.txt"));

impl Vectors {
    /// What stands behind the name and the length.
    fn value(&self, name: &str) -> &'static str {
        let rest = self.0.lines().find_map(|line| {
            let rest = line.strip_prefix(name)?;
            let rest = match rest.strip_prefix(" [") {
                Some(rest) => rest.split_once(']')?.1,
                None => rest,
            };
            rest.strip_prefix(" = ").or_else(|| rest.strip_prefix(' ').filter(|rest| rest.contains("=")))
        });
        rest.unwrap_or_else(|| panic!("there is no vector {name}"))
    }

    pub(crate) fn text(&self, name: &str) -> &'static str {
        self.value(name)
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        let value = self.value(name);
        match value.strip_prefix("b64=") {
            Some(text) => protocol::base64url::decode(text).unwrap(),
            None => unhex(value),
        }
    }

    /// Compares with a value of which only the hash and the first bytes are known.
    pub(crate) fn assert_is(&self, name: &str, bytes: &[u8]) {
        let value = self.value(name).strip_prefix("sha256=").unwrap();
        let (hash, head) = value.split_once(" head=").unwrap();
        assert!(bytes.starts_with(&unhex(head)), "{name}");
        assert_eq!(sha256(bytes).to_vec(), unhex(hash), "{name}");
    }
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// The first bytes of the label's SHA-512.
pub(crate) fn label<const N: usize>(label: &str) -> [u8; N] {
    sha512(label.as_bytes())[..N].try_into().unwrap()
}

pub(crate) fn x25519(name: &str) -> X25519PrivateKey {
    X25519PrivateKey::from_bytes(label(name))
}

pub(crate) fn ed25519(name: &str) -> Ed25519PrivateKey {
    Ed25519PrivateKey::from_seed(&label(name))
}

pub(crate) fn x448(name: &str) -> X448PrivateKey {
    X448PrivateKey::from_bytes(label(name))
}

/// The server with one host.
pub(crate) fn server() -> ServerAddress {
    server_at("smp.example.com", None).unwrap()
}

/// The server with two hosts and a port.
pub(crate) fn server_with_two_hosts() -> ServerAddress {
    server_at("smp.example.com,abcdefghijklmnop.onion", Some(5223)).unwrap()
}

fn server_at(hosts: &str, port: Option<u16>) -> Result<ServerAddress, DecodeError> {
    let hosts = hosts.split(',').map(str::parse).collect::<Result<_, _>>()?;
    ServerAddress::new(hosts, port, KeyHash::from(label("srv")))
}

pub(crate) fn queue(server: ServerAddress, mode: Option<QueueMode>) -> QueueAddress {
    QueueAddress { server, sender_id: SenderId(label("sndId")), dh_key: x25519("qdh").public_key(), mode }
}

/// What the initiator of the vectors offers in links.
pub(crate) fn offer() -> RatchetOffer {
    let versions = VersionRange::new(2, 3).unwrap();
    let (first, second) = (x448("bob1").public_key(), x448("bob2").public_key());
    RatchetOffer { versions, first, second, kem: None }
}

/// What the joiner of the vectors answers.
pub(crate) fn parameters() -> RatchetParameters {
    let (first, second) = (x448("alice1").public_key(), x448("alice2").public_key());
    RatchetParameters { version: 3, first, second, kem: None }
}

/// "Randomness" that is written down.
pub(crate) struct Script(VecDeque<u8>);

impl Script {
    pub(crate) fn new(parts: &[&[u8]]) -> Self {
        Self(parts.concat().into())
    }
}

impl TryRng for Script {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        unreachable!("only bytes are drawn")
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        unreachable!("only bytes are drawn")
    }

    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), Infallible> {
        for byte in to {
            *byte = self.0.pop_front().expect("the script gives what the test needs");
        }
        Ok(())
    }
}

impl TryCryptoRng for Script {}
