//! What travels in queues between agents, inside their boxes and ratchets; and the records that programs keep.

#![no_main]

use conclave_fuzz::{binary, settled};
use libfuzzer_sys::fuzz_target;
use protocol::agent::envelope::Envelope;
use protocol::agent::invitation::Invitation;
use protocol::agent::message::{AgentMessage, MessageReceipt};
use protocol::agent::queue_layer::{ClientMessage, PrivateHeader, SentBody};
use protocol::crypto::secretbox::BoxKey;
use protocol::encoding::Decode as _;

fuzz_target!(|data: &[u8]| {
    settled::<Envelope>(data);
    // How a reply with queues of older versions was written cannot be seen from it: it is read only.
    if !matches!(AgentMessage::from_bytes(data), Ok(AgentMessage::InfoReply { .. })) {
        settled::<AgentMessage>(data);
    }
    binary::<MessageReceipt>(data);
    binary::<PrivateHeader>(data);
    binary::<ClientMessage>(data);
    settled::<Invitation>(data);
    if let Ok(body) = SentBody::parse(data) {
        let _ = body.open(&BoxKey::new(&[1; 32]));
    }
});
