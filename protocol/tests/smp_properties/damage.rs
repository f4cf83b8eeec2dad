//! What happens to bytes on a hostile way.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

/// What a stranger does to bytes.
#[derive(Debug, Clone)]
pub(crate) enum Damage {
    Cut(Index),
    Flip(Index, u8),
    Prolong(Vec<u8>),
    Double(Index),
}

impl Damage {
    pub(crate) fn apply(&self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        match self {
            Self::Cut(at) if !bytes.is_empty() => bytes.truncate(at.index(bytes.len())),
            Self::Flip(at, bit) if !bytes.is_empty() => {
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << bit;
            }
            Self::Prolong(more) => bytes.extend(more),
            Self::Double(at) if !bytes.is_empty() => {
                let at = at.index(bytes.len());
                bytes.insert(at, bytes[at]);
            }
            _ => {}
        }
        bytes
    }
}

pub(crate) fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        any::<Index>().prop_map(Damage::Cut),
        (any::<Index>(), 0_u8..8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        vec(any::<u8>(), 1..40).prop_map(Damage::Prolong),
        any::<Index>().prop_map(Damage::Double),
    ]
}
