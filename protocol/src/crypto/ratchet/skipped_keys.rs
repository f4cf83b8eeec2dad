//! Keys of messages that were overtaken by later ones (agent.md §5.9).
//!
//! The wire's rule bounds one gap only. A peer could open gap after gap, so the total has a bound as well: beyond
//! it the oldest keys go, and their messages, should they ever come, are refused as earlier ones.

use std::collections::BTreeMap;

use super::chain_key::BodyKey;
use super::secret::HeaderKey;
use crate::encoding::{Decode, DecodeError, Encode, Reader};

/// Messages that may be missing between two of one chain, by the protocol.
pub const GAP_MESSAGES_MAX: u32 = 512;

/// Keys kept in all: four full gaps, about 100 KB in a connection's record.
pub const SKIPPED_KEYS_MAX: usize = 2_048;

/// The kept keys, chain by chain, the oldest chain first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct SkippedKeys {
    chains: Vec<SkippedChain>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct SkippedChain {
    header_key: HeaderKey,
    keys: BTreeMap<u32, BodyKey>,
}

impl SkippedKeys {
    /// The header keys worth a try.
    pub(super) fn header_keys(&self) -> impl Iterator<Item = &HeaderKey> {
        self.chains.iter().map(|chain| &chain.header_key)
    }

    /// Takes the key of one message out.
    pub(super) fn take(&mut self, header_key: &HeaderKey, number: u32) -> Option<BodyKey> {
        let index = self.chains.iter().position(|chain| chain.header_key == *header_key)?;
        let chain = self.chains.get_mut(index)?;
        let key = chain.keys.remove(&number)?;
        if chain.keys.is_empty() {
            self.chains.remove(index);
        }
        Some(key)
    }

    /// Keeps keys of the chain with this header key; the oldest of all go when there are too many.
    pub(super) fn keep(&mut self, header_key: &HeaderKey, keys: BTreeMap<u32, BodyKey>) {
        if keys.is_empty() {
            return;
        }
        match self.chains.iter_mut().find(|chain| chain.header_key == *header_key) {
            Some(chain) => chain.keys.extend(keys),
            None => self.chains.push(SkippedChain { header_key: header_key.clone(), keys }),
        }
        let mut excess = self.len().saturating_sub(SKIPPED_KEYS_MAX);
        while excess > 0 {
            let Some(oldest) = self.chains.first_mut() else { break };
            while excess > 0 && oldest.keys.pop_first().is_some() {
                excess -= 1;
            }
            if oldest.keys.is_empty() {
                self.chains.remove(0);
            }
        }
    }

    /// How many keys are kept.
    pub(super) fn len(&self) -> usize {
        self.chains.iter().map(|chain| chain.keys.len()).sum()
    }

    /// Drops all.
    pub(super) fn clear(&mut self) {
        self.chains.clear();
    }
}

/// `count(2) { header key, count(2) { number(4) key } }`: counts stay below the bound, so two bytes do.
impl Encode for SkippedKeys {
    fn encode(&self, out: &mut Vec<u8>) {
        put_count(out, self.chains.len());
        for chain in &self.chains {
            chain.header_key.encode(out);
            put_count(out, chain.keys.len());
            for (number, key) in &chain.keys {
                out.extend_from_slice(&number.to_be_bytes());
                key.encode(out);
            }
        }
    }
}

impl Decode for SkippedKeys {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut skipped = Self::default();
        for _ in 0..reader.u16()? {
            let header_key = HeaderKey::decode(reader)?;
            let mut keys = BTreeMap::new();
            for _ in 0..reader.u16()? {
                keys.insert(reader.u32()?, BodyKey::decode(reader)?);
            }
            skipped.keep(&header_key, keys);
        }
        Ok(skipped)
    }
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    let count = u16::try_from(count).expect("no more keys are kept than the bound");
    out.extend_from_slice(&count.to_be_bytes());
}
