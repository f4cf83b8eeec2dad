//! Envelopes, agent messages and the queue layer: agent.md A.6 and A.7.

use protocol::agent::connection_request::{ConnectionRequest, RequestData};
use protocol::agent::envelope::{Envelope, EnvelopeContent};
use protocol::agent::message::{AgentMessage, MessageBody, MessageReceipt};
use protocol::agent::queue_layer::{self, ClientMessage, PrivateHeader, SentBody};
use protocol::encoding::{Decode, Encode};
use protocol::smp::key::AuthPublicKey;
use protocol::smp::queue_uri::{QueueInfo, QueueLocation, QueueMode, QueueUri};

use crate::vectors::{
    CLIENT_MESSAGES, ENVELOPES, Script, ed25519, label, offer, parameters, queue, server,
    server_with_two_hosts, x25519,
};

fn assert_bytes<T: Encode + Decode + PartialEq + std::fmt::Debug>(name: &str, value: &T) {
    assert_eq!(value.to_bytes(), ENVELOPES.bytes(name), "{name}");
    assert_eq!(T::from_bytes(&ENVELOPES.bytes(name)).as_ref(), Ok(value), "{name}");
}

#[test]
fn envelopes() {
    let link = ConnectionRequest::Invitation {
        data: RequestData::new(QueueUri::new(queue(server(), Some(QueueMode::Messaging))), None).unwrap(),
        offer: offer(),
    };
    let ratchet_message = || b"ENC".to_vec();
    let some = Some(parameters());
    let contents = [
        (
            "AgentConfirmation(v7,params,'ENC')",
            EnvelopeContent::Confirmation { parameters: some, ratchet_message: ratchet_message() },
        ),
        (
            "AgentConfirmation(v7,none,'ENC')",
            EnvelopeContent::Confirmation { parameters: None, ratchet_message: ratchet_message() },
        ),
        ("AgentMsgEnvelope(v7,'ENC')", EnvelopeContent::Message { ratchet_message: ratchet_message() }),
        (
            "AgentInvitation(v7,inv,'INFO')",
            EnvelopeContent::Invitation { link: link.to_string(), info: b"INFO".to_vec() },
        ),
        (
            "AgentRatchetKey(v7,params,'R')",
            EnvelopeContent::RatchetKey { parameters: parameters(), info: b"R".to_vec() },
        ),
    ];
    for (name, content) in contents {
        assert_bytes(name, &Envelope { agent_version: 7, content });
    }
}

fn info(version: u16, mode: Option<QueueMode>) -> QueueInfo {
    QueueInfo { version, address: queue(server(), mode) }
}

#[test]
fn connection_info() {
    assert_bytes("AgentConnInfo('INFO')", &AgentMessage::Info(b"INFO".to_vec()));
    let queues = vec![info(4, Some(QueueMode::Messaging))];
    assert_bytes(
        "AgentConnInfoReply([q v4 M],'INFO')",
        &AgentMessage::InfoReply { queues, info: b"INFO".to_vec() },
    );
    assert_bytes("AgentRatchetInfo ''", &AgentMessage::RatchetInfo(vec![]));
}

#[test]
fn queue_infos() {
    use QueueMode::{Contact, Messaging};
    for (name, version, mode, read) in [
        ("v4 M", 4, Some(Messaging), Some(Messaging)),
        ("v4 none", 4, None, None),
        ("v3 M", 3, Some(Messaging), Some(Messaging)),
        ("v3 C", 3, Some(Contact), None),
        ("v2 M", 2, Some(Messaging), None),
        ("v1 M", 1, Some(Messaging), None),
    ] {
        let bytes = ENVELOPES.bytes(&format!("SMPQueueInfo {name}"));
        assert_eq!(info(version, mode).to_bytes(), bytes, "{name}");
        assert_eq!(QueueInfo::from_bytes(&bytes), Ok(info(version, read)), "{name}");
    }
}

/// The hash of the message before, as the vectors have it.
fn previous_hash() -> Vec<u8> {
    ENVELOPES.bytes("HELLO")[10..42].to_vec()
}

#[test]
fn numbered_messages() {
    let replaced =
        QueueLocation { server: server_with_two_hosts(), sender_id: queue(server(), None).sender_id };
    let location = QueueLocation { server: server(), sender_id: queue(server(), None).sender_id };
    let uri = QueueUri::new(queue(server(), Some(QueueMode::Messaging)));
    let sender_key = AuthPublicKey::Ed25519(ed25519("snd").public_key());
    let receipt = ENVELOPES.bytes("A_RCVD");
    let bodies = [
        ("HELLO", MessageBody::Hello),
        ("A_MSG 'body'", MessageBody::Application(b"body".to_vec())),
        (
            "A_RCVD",
            MessageBody::Receipts(vec![MessageReceipt {
                number: 5,
                hash: receipt[53..85].to_vec(),
                info: vec![],
            }]),
        ),
        ("A_QCONT", MessageBody::QuotaResumed(location.clone())),
        ("QADD", MessageBody::QueueAdd(vec![(uri, Some(replaced))])),
        ("QKEY", MessageBody::QueueKey(vec![(info(4, Some(QueueMode::Messaging)), sender_key)])),
        ("QUSE", MessageBody::QueueUse(vec![(location.clone(), true)])),
        ("QTEST", MessageBody::QueueTest(vec![location])),
        ("EREADY 7", MessageBody::RatchetReady(7)),
    ];
    for (name, body) in bodies {
        let message = AgentMessage::Numbered { number: 2, previous_hash: previous_hash(), body };
        assert_bytes(name, &message);
    }
}

#[test]
fn client_messages() {
    let envelope = b"agent-envelope".to_vec();
    let sender_key = AuthPublicKey::Ed25519(ed25519("snd").public_key());
    let empty = ClientMessage { header: PrivateHeader::Empty, envelope: envelope.clone() };
    let confirmation = ClientMessage { header: PrivateHeader::SenderKey(sender_key), envelope };
    for (name, message) in [("PHEmpty", &empty), ("PHConfirmation", &confirmation)] {
        let bytes = CLIENT_MESSAGES.bytes(&format!("ClientMessage {name}"));
        assert_eq!(message.to_bytes(), bytes);
        assert_eq!(ClientMessage::from_bytes(&bytes).as_ref(), Ok(message));
    }

    let (recipient, sender) = (x25519("qdh"), x25519("sndE2E"));
    let secret = sender.diffie_hellman(&recipient.public_key());
    assert_eq!(secret.to_vec(), CLIENT_MESSAGES.bytes("e2e dh secret"));
    let key = sender.box_key(&recipient.public_key());
    let rng = || Script::new(&[&label::<24>("nonce")]);
    let body = queue_layer::seal(4, None, &key, &empty, &mut rng()).unwrap();
    CLIENT_MESSAGES.assert_is("message SEND body", &body);
    assert_eq!(SentBody::parse(&body).unwrap().open(&key), Ok(empty));
    let body = queue_layer::seal(4, Some(&sender.public_key()), &key, &confirmation, &mut rng()).unwrap();
    CLIENT_MESSAGES.assert_is("confirmation SEND body", &body);
    assert_eq!(body[..100], CLIENT_MESSAGES.bytes("confirmation SEND body first 100"));
    let sent = SentBody::parse(&body).unwrap();
    assert_eq!(sent.sender_key, Some(sender.public_key()));
    let key = recipient.box_key(&sent.sender_key.unwrap());
    assert_eq!(sent.open(&key), Ok(confirmation));
}

/// Trap: where free bytes follow an address without a mode, they may be taken for one.
#[test]
fn an_address_without_a_mode_swallows_what_looks_like_one() {
    let message =
        AgentMessage::InfoReply { queues: vec![info(2, Some(QueueMode::Messaging))], info: b"Tim".to_vec() };
    let read = AgentMessage::from_bytes(&message.to_bytes());
    let queues = vec![info(2, Some(QueueMode::Messaging))];
    assert_eq!(read, Ok(AgentMessage::InfoReply { queues, info: b"im".to_vec() }));
}
