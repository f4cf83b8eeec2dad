//! Every decoder of the queue protocol against every value, and against bytes that were cut, flipped or prolonged:
//! values survive a round trip, and nothing panics.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod damage;
mod values;

use std::fmt::Debug;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use protocol::crypto::dh::X25519PrivateKey;
use protocol::crypto::secretbox::BoxKey;
use protocol::encoding::{Decode as _, Encode as _};
use protocol::smp::batch::{Batch, BlockWriter};
use protocol::smp::command::Command;
use protocol::smp::error::ErrorType;
use protocol::smp::ids::{MessageId, ServiceId};
use protocol::smp::message::{NotificationMetadata, ReceivedMessage, seal_message};
use protocol::smp::response::BrokerMessage;
use protocol::smp::transmission::Transmission;
use protocol::timestamp::Timestamp;
use protocol::transport::block::{BLOCK_BYTES, BlockCipher, SEALED_CONTENT_BYTES_MAX};
use protocol::transport::certified_key::{CertifiedKey, SignedKey};
use protocol::transport::hello::{ClientHello, ServerHello, ServiceHello, ServiceResponse};

use damage::{Damage, damage};
use values::*;

/// Reads bytes with one of the decoders and, when they are a value, gives the bytes that we write for it.
type Rewrite = fn(&[u8], u16) -> Option<Vec<u8>>;

/// A value's bytes come back as they were; damaged bytes are refused, or are a value whose bytes come back.
fn check(rewrite: Rewrite, bytes: &[u8], version: u16, damages: &[Damage]) {
    assert_eq!(rewrite(bytes, version).as_deref(), Some(bytes), "a value comes back");
    let mut damaged = bytes.to_vec();
    for damage in damages {
        damaged = damage.apply(&damaged);
        if let Some(written) = rewrite(&damaged, version) {
            assert_eq!(rewrite(&written, version), Some(written), "what we write, we read alike");
        }
    }
}

fn same<T: PartialEq + Debug>(value: &T, read: &T) {
    assert_eq!(value, read);
}

fn command(bytes: &[u8], version: u16) -> Option<Vec<u8>> {
    Command::parse(bytes, version).ok().map(|command| command.encode(version))
}

fn message(bytes: &[u8], version: u16) -> Option<Vec<u8>> {
    BrokerMessage::parse(bytes, version).ok().map(|message| message.encode(version))
}

fn error(bytes: &[u8], version: u16) -> Option<Vec<u8>> {
    let error = ErrorType::parse(bytes).ok()?;
    let mut out = Vec::new();
    error.encode(version, &mut out);
    Some(out)
}

fn transmission(bytes: &[u8], version: u16) -> Option<Vec<u8>> {
    let transmission = Transmission::parse(bytes, version).ok()?;
    let mut out = Vec::new();
    transmission.encode_into(version, &mut out);
    Some(out)
}

fn batch(bytes: &[u8], _: u16) -> Option<Vec<u8>> {
    let mut writer = BlockWriter::new(SEALED_CONTENT_BYTES_MAX);
    for transmission in Batch::parse(bytes).ok()? {
        assert_eq!(writer.push(|out| out.extend(transmission)), Ok(None));
    }
    writer.take()
}

fn client_hello(bytes: &[u8], _: u16) -> Option<Vec<u8>> {
    ClientHello::parse(bytes).ok().map(|hello| hello.to_bytes())
}

fn server_hello(bytes: &[u8], _: u16) -> Option<Vec<u8>> {
    ServerHello::parse(bytes).ok().map(|hello| hello.to_bytes())
}

fn service_response(bytes: &[u8], _: u16) -> Option<Vec<u8>> {
    ServiceResponse::parse(bytes).ok().map(|response| response.to_bytes())
}

fn signed_key(bytes: &[u8], _: u16) -> Option<Vec<u8>> {
    SignedKey::from_der(bytes).ok().map(|key| key.to_der())
}

const DECODERS: [Rewrite; 9] =
    [command, message, error, transmission, batch, client_hello, server_hello, service_response, signed_key];

proptest! {
    #[test]
    fn commands(value in some_command(), version in 17_u16..=18, damages in vec(damage(), 1..6)) {
        let bytes = value.encode(version);
        same(&value, &Command::parse(&bytes, version).unwrap());
        check(command, &bytes, version, &damages);
    }

    #[test]
    fn commands_of_earlier_versions(value in some_command(), version in 15_u16..17, damages in vec(damage(), 1..6)) {
        check(command, &value.encode(version), version, &damages);
    }

    #[test]
    fn messages(value in some_message(), damages in vec(damage(), 1..6)) {
        let bytes = value.encode(18);
        same(&value, &BrokerMessage::parse(&bytes, 18).unwrap());
        check(message, &bytes, 18, &damages);
    }

    #[test]
    fn messages_of_earlier_versions(value in some_message(), version in 15_u16..18, damages in vec(damage(), 1..6)) {
        check(message, &value.encode(version), version, &damages);
    }

    #[test]
    fn errors(value in some_error(), damages in vec(damage(), 1..6)) {
        let mut bytes = Vec::new();
        value.encode(18, &mut bytes);
        same(&value, &ErrorType::parse(&bytes).unwrap());
        check(error, &bytes, 18, &damages);
    }

    #[test]
    fn transmissions(
        authenticator in some_authenticator(),
        service_signature in option::of(any::<[u8; 32]>()),
        ids in (vec(any::<u8>(), 0..=255), vec(any::<u8>(), 0..=255)),
        content in vec(any::<u8>(), 0..100),
        version in 15_u16..=18,
        damages in vec(damage(), 1..6),
    ) {
        let has_field = version >= 16 && !authenticator.is_none();
        let service_signature = service_signature
            .filter(|_| has_field)
            .map(|half| [half, half].concat().try_into().unwrap());
        let (correlation_id, entity_id) = (&ids.0[..], &ids.1[..]);
        let value = Transmission { authenticator, service_signature, correlation_id, entity_id, command: &content };
        let mut bytes = Vec::new();
        value.encode_into(version, &mut bytes);
        same(&value, &Transmission::parse(&bytes, version).unwrap());
        check(transmission, &bytes, version, &damages);
    }

    #[test]
    fn batches(transmissions in vec(vec(any::<u8>(), 0..60), 1..=255), damages in vec(damage(), 1..6)) {
        let mut writer = BlockWriter::new(SEALED_CONTENT_BYTES_MAX);
        for transmission in &transmissions {
            prop_assert_eq!(writer.push(|out| out.extend(transmission)), Ok(None));
        }
        let bytes = writer.take().unwrap();
        prop_assert_eq!(Batch::parse(&bytes).unwrap().collect::<Vec<_>>(), transmissions);
        check(batch, &bytes, 18, &damages);
    }

    #[test]
    fn long_queues_of_transmissions_keep_their_order(lengths in vec(0_usize..6000, 1..40)) {
        let mut writer = BlockWriter::new(SEALED_CONTENT_BYTES_MAX);
        let mut blocks = Vec::new();
        for (number, length) in lengths.iter().enumerate() {
            let put = |out: &mut Vec<u8>| out.resize(out.len() + length, u8::try_from(number).unwrap());
            blocks.extend(writer.push(put).unwrap());
        }
        blocks.extend(writer.take());
        let mut written = Vec::new();
        for block in &blocks {
            prop_assert!(block.len() <= SEALED_CONTENT_BYTES_MAX);
            written.extend(Batch::parse(block).unwrap().map(<[u8]>::to_vec));
        }
        let expected: Vec<_> = lengths.iter().enumerate()
            .map(|(number, length)| vec![u8::try_from(number).unwrap(); *length])
            .collect();
        prop_assert_eq!(written, expected);
    }

    #[test]
    fn client_hellos(
        version in 15_u16..=18,
        key_hash in vec(any::<u8>(), 0..40),
        session_key in option::of(dh_key()),
        is_proxy: bool,
        service in option::of((some_role(), some_certified_key())),
        damages in vec(damage(), 1..6),
    ) {
        let service = service.filter(|_| version >= 16);
        let service = service.map(|(role, certified_key)| ServiceHello { role, certified_key });
        let value = ClientHello { version, key_hash, session_key, is_proxy, service };
        same(&value, &ClientHello::parse(&value.to_bytes()).unwrap());
        check(client_hello, &value.to_bytes(), 18, &damages);
    }

    #[test]
    fn server_hellos(
        versions in some_versions(),
        session_id in vec(any::<u8>(), 0..60),
        certified_key in option::of(some_certified_key()),
        damages in vec(damage(), 1..6),
    ) {
        let certified_key = certified_key.filter(|_| versions.max() >= 7);
        let value = ServerHello { versions, session_id, certified_key };
        same(&value, &ServerHello::parse(&value.to_bytes()).unwrap());
        check(server_hello, &value.to_bytes(), 18, &damages);
    }

    #[test]
    fn service_responses(
        value in prop_oneof![
            any::<[u8; 24]>().prop_map(|id| ServiceResponse::Accepted(ServiceId(id))),
            some_transport_error().prop_map(ServiceResponse::Refused),
        ],
        damages in vec(damage(), 1..6),
    ) {
        same(&value, &ServiceResponse::parse(&value.to_bytes()).unwrap());
        check(service_response, &value.to_bytes(), 18, &damages);
    }

    #[test]
    fn signed_keys(value in some_certified_key(), damages in vec(damage(), 1..6)) {
        same(&value, &CertifiedKey::from_bytes(&value.to_bytes()).unwrap());
        check(signed_key, &value.signed_key.to_der(), 18, &damages);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..300), version: u16) {
        for rewrite in DECODERS {
            rewrite(&bytes, version);
        }
    }

    #[test]
    fn any_parameters_are_read_or_refused(
        tag in select(vec![
            "NEW", "KEY", "RKEY", "LSET", "NKEY", "ACK", "SEND", "LKEY", "PRXY", "PFWD", "RFWD", "IDS", "LNK", "SOK",
            "SOKS", "MSG", "NID", "NMSG", "PKEY", "ENDS", "INFO", "ERR PROXY BROKER", "ERR BLOCKED reason=spam,notice=",
        ]),
        parameters in vec(any::<u8>(), 0..300),
        version in 15_u16..=18,
    ) {
        let bytes = [tag.as_bytes(), b" ", &parameters].concat();
        for rewrite in [command as Rewrite, message] {
            if let Some(written) = rewrite(&bytes, version) {
                prop_assert_eq!(rewrite(&written, version), Some(written));
            }
        }
    }

    #[test]
    fn delivered_messages(
        key: [u8; 32],
        id: [u8; 24],
        seconds in -1_000_000_000_000_i64..1_000_000_000_000,
        notify: bool,
        body in vec(any::<u8>(), 0..400),
        damage in damage(),
    ) {
        let (key, id, received_at) = (BoxKey::new(&key), MessageId(id), Timestamp::from_seconds(seconds));
        let sealed = seal_message(&key, &id, received_at, notify, &body).unwrap();
        prop_assert_eq!(sealed.len(), 16_122);
        let value = ReceivedMessage::Message { received_at, notify, body };
        same(&value, &ReceivedMessage::open(&key, &id, &sealed).unwrap());
        let damaged = damage.apply(&sealed);
        prop_assert!(damaged == sealed || ReceivedMessage::open(&key, &id, &damaged).is_err());

        let metadata = NotificationMetadata { message_id: id, received_at };
        let sealed = metadata.seal(&key, &id.0).unwrap();
        same(&metadata, &NotificationMetadata::open(&key, &id.0, &sealed).unwrap());
        let damaged = damage.apply(&sealed);
        prop_assert!(damaged == sealed || NotificationMetadata::open(&key, &id.0, &damaged).is_err());
    }

    #[test]
    fn what_a_stranger_sealed_is_read_or_refused(key: [u8; 32], id: [u8; 24], plain in vec(any::<u8>(), 0..40)) {
        // The right key, but any content: a hostile server, or a hostile sender.
        let (key, id) = (BoxKey::new(&key), MessageId(id));
        let sealed = key.seal_padded(&id.0, &plain, 128).unwrap();
        let _ = ReceivedMessage::open(&key, &id, &sealed);
        let _ = NotificationMetadata::open(&key, &id.0, &sealed);
        let unpadded = key.seal(&id.0, &plain);
        let _ = ReceivedMessage::open(&key, &id, &unpadded);
    }

    #[test]
    fn blocks(contents in vec((vec(any::<u8>(), 0..500), option::of(damage())), 1..5), session: [u8; 32]) {
        let (client, server) = (X25519PrivateKey::from_bytes([1; 32]), X25519PrivateKey::from_bytes([2; 32]));
        let mut sender = BlockCipher::client(&session, &client, &server.public_key());
        let mut receiver = BlockCipher::server(&session, &server, &client.public_key());
        for (content, damage) in contents {
            let sealed = sender.send.seal(&content).unwrap();
            let damaged = damage.map_or(sealed.clone(), |damage| damage.apply(&sealed));
            // Blocks of another size never reach the cipher.
            let mut block = <[u8; BLOCK_BYTES]>::try_from(&damaged[..]).unwrap_or([0; BLOCK_BYTES]);
            let opened = receiver.receive.open(&mut block);
            prop_assert_eq!(opened.ok(), (damaged == sealed).then_some(&content[..]));
        }
    }
}
