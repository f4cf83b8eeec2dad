//! Messages and parameters of a ratchet, from a peer that may say anything. The first byte says how much of a sound
//! message of the peer's comes before the fuzzer's own bytes.

#![no_main]

use std::sync::LazyLock;

use conclave_fuzz::binary;
use libfuzzer_sys::fuzz_target;
use protocol::crypto::dh::X448PrivateKey;
use protocol::crypto::ratchet::parameters::{RatchetOffer, RatchetParameters};
use protocol::crypto::ratchet::{AgreementKeys, Ratchet, RatchetError};
use protocol::encoding::Decode as _;
use protocol::net::rng::system_rng;

/// A ratchet, and the first two messages of its peer's. Making them is slow, so it is done once.
struct Scene {
    own: Ratchet,
    sound: Vec<u8>,
    later: Vec<u8>,
}

static SCENE: LazyLock<Scene> = LazyLock::new(|| {
    let secret = |seed| X448PrivateKey::from_bytes([seed; 56]);
    let keys = |seed| AgreementKeys::new(secret(seed), secret(seed + 1));
    let (ours, theirs) = (keys(1), keys(3));
    let mut peer =
        Ratchet::new_joiner(&theirs, &ours.parameters(3), &mut system_rng()).expect("sound parameters");
    let mut say = |words: &[u8]| {
        peer.encrypt_header(words.len(), 100).and_then(|key| key.encrypt_body(words)).expect("it can send")
    };
    let (sound, later) = (say(b"hello"), say(b"later"));
    Scene {
        own: Ratchet::new_initiator(&ours, &theirs.parameters(3)).expect("sound parameters"),
        sound,
        later,
    }
});

fuzz_target!(|data: &[u8]| {
    binary::<RatchetParameters>(data);
    binary::<RatchetOffer>(data);
    let _ = Ratchet::from_bytes(data);
    let Some((&kept, rest)) = data.split_first() else { return };
    let Scene { own, sound, later } = &*SCENE;
    let forged: Vec<u8> = sound.iter().take(kept.into()).chain(rest).copied().collect();
    if forged == *sound {
        return;
    }
    let mut own = own.clone();
    let refused = own.decrypt(&forged, &mut system_rng()).expect_err("nobody but the peer can write it");
    // Before its header opens, a message changes nothing; then its number is spent, and nothing else.
    if refused == RatchetError::Body {
        assert_eq!(own.decrypt(sound, &mut system_rng()), Err(RatchetError::Duplicate));
        assert_eq!(own.decrypt(later, &mut system_rng()).expect("the conversation goes on"), b"later");
    } else {
        assert_eq!(own.skipped_keys(), 0);
        assert!(!own.can_send(), "it has not moved on");
    }
});
