//! The chain key: one step per message (agent.md §5.6).

use zeroize::{ZeroizeOnDrop, Zeroizing};

use super::secret::ChainKey;
use crate::crypto::kdf::hkdf;
use crate::encoding::{Decode, DecodeError, Encode, Reader};

/// Key and IV of one message body.
#[derive(Clone, PartialEq, Eq, ZeroizeOnDrop)]
pub(super) struct BodyKey {
    pub(super) key: [u8; 32],
    pub(super) iv: [u8; 16],
}

impl std::fmt::Debug for BodyKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BodyKey([scrubbed])")
    }
}

impl Encode for BodyKey {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.key);
        out.extend_from_slice(&self.iv);
    }
}

impl Decode for BodyKey {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { key: reader.array()?, iv: reader.array()? })
    }
}

impl ChainKey {
    /// The chain after this message, the key of its body, and the IV of its header. The body's IV comes first.
    pub(super) fn step(&self) -> (ChainKey, BodyKey, [u8; 16]) {
        let derived = Zeroizing::new(hkdf::<96>(&[], &self.0, "SimpleXChainRatchet"));
        let (mut chain, mut key, mut iv, mut header_iv) = ([0; 32], [0; 32], [0; 16], [0; 16]);
        let mut rest = derived.as_slice();
        for part in [&mut chain[..], &mut key[..], &mut iv[..], &mut header_iv[..]] {
            let (taken, after) = rest.split_at(part.len());
            part.copy_from_slice(taken);
            rest = after;
        }
        (ChainKey(chain), BodyKey { key, iv }, header_iv)
    }
}
