//! From an agent message to the body of a `SEND` (agent.md A.10, without a KEM).

use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::agent::envelope::{Envelope, EnvelopeContent};
use crate::agent::message::{AgentMessage, MessageBody};
use crate::agent::queue_layer::{ClientMessage, PrivateHeader};
use crate::crypto::dh::{X448PrivateKey, X25519PrivateKey};
use crate::crypto::hash::{sha256, sha512};
use crate::crypto::ratchet::{AgreementKeys, Ratchet};
use crate::encoding::{Encode as _, put_maybe};
use crate::smp::ids::SenderId;
use crate::smp::queue_uri::{QueueAddress, QueueInfo, QueueMode};

const VECTORS: &str = include_str!("../../../tests/vectors/agent-a10-full-stack.txt");

fn text(name: &str) -> &'static str {
    VECTORS.lines().find(|line| line.starts_with(name)).expect(name)
}

fn hex(name: &str) -> Vec<u8> {
    let digits = text(name).split_once(" = ").unwrap().1;
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

fn is_digest(name: &str, bytes: &[u8]) {
    let (length, rest) = text(name).split_once('[').unwrap().1.split_once(']').unwrap();
    assert_eq!(length, bytes.len().to_string(), "{name}");
    let digest: String = sha256(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(rest.contains(&digest), "{name}: {digest}");
}

fn label<const N: usize>(label: &str) -> [u8; N] {
    sha512(label.as_bytes())[..N].try_into().unwrap()
}

fn body(with_key: bool, envelope: Vec<u8>) -> Vec<u8> {
    let (queue, sender) =
        (X25519PrivateKey::from_bytes(label("qdh")), X25519PrivateKey::from_bytes(label("sndE2E")));
    let nonce = label::<24>("nonce");
    let message = ClientMessage { header: PrivateHeader::Empty, envelope }.to_bytes();
    let size = if with_key { 15_904 } else { 16_000 };
    let sealed = sender.box_key(&queue.public_key()).seal_padded(&nonce, &message, size).unwrap();
    let mut out = vec![0, 4];
    put_maybe(&mut out, with_key.then(|| sender.public_key()), |out, key| key.encode(out));
    [out, nonce.to_vec(), sealed].concat()
}

#[test]
fn confirmation_and_first_message() {
    let keys = |one: &str, two: &str| {
        AgreementKeys::new(X448PrivateKey::from_bytes(label(one)), X448PrivateKey::from_bytes(label(two)))
    };
    let (alice, bob) = (keys("alice1", "alice2"), keys("bob1", "bob2"));
    let mut rng = OneKey(label("alice3"));
    let mut ratchet = Ratchet::new_joiner(&alice, &bob.parameters(3), &mut rng).unwrap();

    let address = QueueAddress {
        server: super::world::server().server,
        sender_id: SenderId(label("replyId")),
        dh_key: X25519PrivateKey::from_bytes(label("rdh")).public_key(),
        mode: Some(QueueMode::Messaging),
    };
    let queues = vec![QueueInfo { version: 4, address }];
    let confirmation = AgentMessage::InfoReply { queues, info: b"INFO".to_vec() }.to_bytes();
    assert_eq!(confirmation, hex("confirmation plaintext"));
    assert_eq!(sha256(&confirmation).to_vec(), hex("sha256 of it"));
    let sealed = ratchet
        .encrypt_header(confirmation.len(), crate::agent::outgoing::CONFIRMATION_PADDED_BYTES)
        .unwrap()
        .encrypt_body(&confirmation)
        .unwrap();
    assert_eq!(
        format!("PQ off: ratchet conf length = {}", sealed.len()),
        text("PQ off: ratchet conf length")
    );
    let parameters = Some(alice.parameters(3));
    let content = EnvelopeContent::Confirmation { parameters, ratchet_message: sealed };
    let envelope = Envelope { agent_version: 7, content }.to_bytes();
    is_digest("PQ off: AgentConfirmation", &envelope);
    is_digest("PQ off: SEND body 1", &body(true, envelope));

    let previous_hash = sha256(&confirmation).to_vec();
    let message = AgentMessage::Numbered {
        number: 2,
        previous_hash,
        body: MessageBody::Application(b"hello bob".to_vec()),
    };
    let message = message.to_bytes();
    assert_eq!(message, hex("message 2 plaintext"));
    let sealed = ratchet.encrypt_header(message.len(), 15_840).unwrap().encrypt_body(&message).unwrap();
    assert_eq!(format!("PQ off: ratchet message length = {}", sealed.len()), text("PQ off: ratchet message"));
    let content = EnvelopeContent::Message { ratchet_message: sealed };
    let envelope = Envelope { agent_version: 7, content }.to_bytes();
    is_digest("PQ off: AgentMsgEnvelope", &envelope);
    is_digest("PQ off: SEND body 2", &body(false, envelope));
}

/// A request with empty words takes what the vectors say, so that the rest is room for words.
#[test]
fn overhead_of_a_request() {
    let mut rng = StdRng::seed_from_u64(1);
    let receive = crate::agent::queue::ReceiveQueue::new(super::world::server(), &mut rng);
    let keys = AgreementKeys::generate(&mut rng);
    let sender_id = SenderId::generate(&mut rng);
    let envelope = crate::agent::handshake::request_envelope(&receive, sender_id, &keys, 7, b"").unwrap();
    let bytes = envelope.to_bytes().len();
    assert_eq!(
        text("AgentInvitation overhead"),
        format!("AgentInvitation overhead without / with KEM (one-host server) = ({bytes},2022)")
    );
}

/// Gives one key.
struct OneKey([u8; 56]);

impl rand_core::TryRng for OneKey {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        unreachable!("keys are drawn as bytes")
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        unreachable!("keys are drawn as bytes")
    }

    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), Self::Error> {
        to.copy_from_slice(&self.0);
        Ok(())
    }
}

impl rand_core::TryCryptoRng for OneKey {}
