//! What a server sends. The first byte chooses the version.

#![no_main]

use conclave_fuzz::{binary, text};
use libfuzzer_sys::fuzz_target;
use protocol::crypto::secretbox::BoxKey;
use protocol::smp::error::{BlockingInfo, ErrorType};
use protocol::smp::ids::MessageId;
use protocol::smp::message::{NotificationMetadata, ReceivedMessage};
use protocol::smp::response::{BrokerMessage, NotifierIds};
use protocol::smp::transmission::Transmission;

fuzz_target!(|data: &[u8]| {
    let Some((&version, bytes)) = data.split_first() else { return };
    let version = 15 + u16::from(version % 4);
    message(bytes, version);
    if let Ok(transmission) = Transmission::parse(bytes, version) {
        message(transmission.command, version);
    }
    let _ = ErrorType::parse(bytes);
    binary::<NotifierIds>(bytes);
    if let Ok(info) = std::str::from_utf8(bytes) {
        text::<BlockingInfo>(info);
    }
    let (key, nonce) = (BoxKey::new(&[1; 32]), [2; 24]);
    let _ = NotificationMetadata::open(&key, &nonce, bytes);
    let _ = ReceivedMessage::open(&key, &MessageId(nonce), bytes);
    // The box would keep the fuzzer out: so what is inside is sealed for it.
    if let Ok(sealed) = key.seal_padded(&nonce, bytes, 16_106) {
        let _ = ReceivedMessage::open(&key, &MessageId(nonce), &sealed);
    }
    if let Ok(sealed) = key.seal_padded(&nonce, bytes, 128) {
        let _ = NotificationMetadata::open(&key, &nonce, &sealed);
    }
});

fn message(bytes: &[u8], version: u16) {
    if let Ok(message) = BrokerMessage::parse(bytes, version) {
        let again = message.encode(version);
        let read = BrokerMessage::parse(&again, version).expect("what is written can be read");
        assert_eq!(read.encode(version), again);
    }
}
