//! The ratchet of one connection (agent.md §5.1, §5.5, §5.8, §5.9).
//!
//! ```text
//! joiner:    sending ──first message of the peer──▶ sending and receiving ──peer's new key──▶ step
//! initiator: neither ──first message of the peer──▶ sending and receiving
//! ```
//!
//! The caller stores the state after every call, **also after a failed one**: a call that fails early changes
//! nothing, and one that fails on a body has spent that body's key, which must not come back.

use std::collections::BTreeMap;

use rand_core::CryptoRng;

use super::agreement::{ASSOCIATED_DATA_BYTES, AgreementKeys};
use super::chain_key::BodyKey;
use super::error::RatchetError;
use super::header::{Header, SealedMessage};
use super::message_key::MessageKey;
use super::parameters::{KemElement, RatchetParameters};
use super::secret::{ChainKey, HeaderKey, RootKey};
use super::skipped_keys::{GAP_MESSAGES_MAX, SkippedKeys};
use crate::crypto::aead;
use crate::crypto::dh::{X448PrivateKey, X448PublicKey};
use crate::encoding::{Decode, DecodeError, Encode, Reader, put_maybe};
use crate::version::VersionRange;

/// The ratchet versions spoken here.
pub const RATCHET_VERSIONS: VersionRange = VersionRange::new(2, 3).expect("not empty");

/// The state of a double ratchet with header encryption.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ratchet {
    pub(super) version: u16,
    pub(super) associated_data: [u8; ASSOCIATED_DATA_BYTES],
    pub(super) own_key: OwnKey,
    pub(super) root: RootKey,
    pub(super) sending: Option<KeyedChain>,
    pub(super) receiving: Option<KeyedChain>,
    pub(super) sent: u32,
    pub(super) received: u32,
    pub(super) previous: u32,
    pub(super) next_sending_header_key: HeaderKey,
    pub(super) next_receiving_header_key: HeaderKey,
    pub(super) skipped: SkippedKeys,
}

/// A chain and the key that hides its headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyedChain {
    pub(super) chain: ChainKey,
    pub(super) header_key: HeaderKey,
}

/// Our current key. Its public half is kept, since each header shows it and it costs more than all the rest of a
/// header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OwnKey {
    pub(super) private: X448PrivateKey,
    pub(super) public: X448PublicKey,
}

impl From<X448PrivateKey> for OwnKey {
    fn from(private: X448PrivateKey) -> Self {
        Self { public: private.public_key(), private }
    }
}

/// Which chain a header belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chain {
    Same,
    Next,
}

impl Ratchet {
    /// The ratchet of the party that used the link (or, in re-synchronisation, has the greater key hash). It can
    /// send at once. `peer` holds the agreed version.
    ///
    /// # Errors
    /// [`RatchetError::Parameters`] when version or keys cannot be used; [`RatchetError::UnexpectedKem`].
    pub fn new_joiner(
        own: &AgreementKeys,
        peer: &RatchetParameters,
        rng: &mut dyn CryptoRng,
    ) -> Result<Self, RatchetError> {
        let version = usable(peer)?;
        let agreement =
            own.agree_as_joiner(&peer.first, &peer.second).map_err(|_| RatchetError::Parameters)?;
        let own_key = X448PrivateKey::generate(rng);
        let step = agreement.root.step(&peer.second, &own_key).map_err(|_| RatchetError::Parameters)?;
        Ok(Self {
            version,
            associated_data: agreement.associated_data,
            own_key: own_key.into(),
            root: step.root,
            sending: Some(KeyedChain { chain: step.chain, header_key: agreement.header_key }),
            receiving: None,
            sent: 0,
            received: 0,
            previous: 0,
            next_sending_header_key: step.next_header_key,
            next_receiving_header_key: agreement.next_header_key,
            skipped: SkippedKeys::default(),
        })
    }

    /// The ratchet of the party that made the link. It can send after it has received. `peer` comes from the
    /// joiner's confirmation and holds the agreed version.
    ///
    /// # Errors
    /// As [`Ratchet::new_joiner`].
    pub fn new_initiator(own: &AgreementKeys, peer: &RatchetParameters) -> Result<Self, RatchetError> {
        let version = usable(peer)?;
        let agreement =
            own.agree_as_initiator(&peer.first, &peer.second).map_err(|_| RatchetError::Parameters)?;
        Ok(Self {
            version,
            associated_data: agreement.associated_data,
            own_key: own.second.clone().into(),
            root: agreement.root,
            sending: None,
            receiving: None,
            sent: 0,
            received: 0,
            previous: 0,
            next_sending_header_key: agreement.next_header_key,
            next_receiving_header_key: agreement.header_key,
            skipped: SkippedKeys::default(),
        })
    }

    /// The ratchet version in use; rises by itself when the peer speaks a higher one.
    #[must_use]
    pub fn version(&self) -> u16 {
        self.version
    }

    /// Whether anything can be encrypted yet.
    #[must_use]
    pub fn can_send(&self) -> bool {
        self.sending.is_some()
    }

    /// How many keys of overtaken messages are kept.
    #[must_use]
    pub fn skipped_keys(&self) -> usize {
        self.skipped.len()
    }

    /// Drops the keys of overtaken messages: after the handshake nobody waits for them.
    pub fn forget_skipped_keys(&mut self) {
        self.skipped.clear();
    }

    /// Takes the next key of the sending chain, for a message of `message_bytes` that will be padded to
    /// `padded_bytes`. The header is finished here; the body is encrypted with what this gives.
    ///
    /// # Errors
    /// [`RatchetError::TooLarge`] before anything is spent; [`RatchetError::NoSendingChain`].
    pub fn encrypt_header(
        &mut self,
        message_bytes: usize,
        padded_bytes: u16,
    ) -> Result<MessageKey, RatchetError> {
        const LENGTH_BYTES: usize = 2;
        if message_bytes.saturating_add(LENGTH_BYTES) > usize::from(padded_bytes) {
            return Err(RatchetError::TooLarge);
        }
        let sending = self.sending.as_mut().ok_or(RatchetError::NoSendingChain)?;
        let next_number = self.sent.checked_add(1).ok_or(RatchetError::Exhausted)?;
        let (chain, body, header_iv) = sending.chain.step();
        let header = Header {
            max_version: RATCHET_VERSIONS.max(),
            ratchet_key: self.own_key.public,
            kem: None,
            previous: self.previous,
            number: self.sent,
        };
        let header = header.seal(self.version, &sending.header_key, &header_iv, &self.associated_data)?;
        sending.chain = chain;
        self.sent = next_number;
        Ok(MessageKey {
            version: self.version,
            body,
            associated_data: self.associated_data,
            header,
            padded_bytes,
        })
    }

    /// Decrypts a ratchet message. Store the state whatever the outcome.
    ///
    /// # Errors
    /// See [`RatchetError`]. The state is unchanged, except that a message whose header is good and whose number
    /// or body is not has moved the ratchet on, as the protocol demands.
    pub fn decrypt(&mut self, message: &[u8], rng: &mut dyn CryptoRng) -> Result<Vec<u8>, RatchetError> {
        let message = SealedMessage::read(message)?;
        let (header, chain) = match self.open_overtaken(&message)? {
            Overtaken::Key(key) => return self.decrypt_body(&key, &message),
            Overtaken::Header(header, chain) => (header, chain),
            Overtaken::No => self.open_current(&message)?,
        };
        let version = self.version.max(header.max_version.min(RATCHET_VERSIONS.max()));
        if chain == Chain::Next {
            let mut next = self.clone();
            next.version = version;
            next.skip_until(header.previous)?;
            next.step(&header, rng)?;
            *self = next;
        }
        self.version = version;
        self.skip_until(header.number)?;
        let receiving = self.receiving.as_mut().ok_or(RatchetError::Header)?;
        let next_number = self.received.checked_add(1).ok_or(RatchetError::Exhausted)?;
        let (chain, key, _) = receiving.chain.step();
        receiving.chain = chain;
        self.received = next_number;
        self.decrypt_body(&key, &message)
    }

    fn open_overtaken(&mut self, message: &SealedMessage<'_>) -> Result<Overtaken, RatchetError> {
        let mut found = None;
        for key in self.skipped.header_keys() {
            if let Some(header) = message.header.open(key, &self.associated_data)? {
                found = Some((key.clone(), header));
                break;
            }
        }
        let Some((header_key, header)) = found else { return Ok(Overtaken::No) };
        if let Some(key) = self.skipped.take(&header_key, header.number) {
            return Ok(Overtaken::Key(key));
        }
        let receiving = self.receiving.as_ref().map(|receiving| &receiving.header_key);
        if receiving == Some(&header_key) {
            Ok(Overtaken::Header(header, Chain::Same))
        } else if self.next_receiving_header_key == header_key {
            Ok(Overtaken::Header(header, Chain::Next))
        } else {
            Err(RatchetError::Header)
        }
    }

    fn open_current(&self, message: &SealedMessage<'_>) -> Result<(Header, Chain), RatchetError> {
        if let Some(receiving) = &self.receiving
            && let Some(header) = message.header.open(&receiving.header_key, &self.associated_data)?
        {
            return Ok((header, Chain::Same));
        }
        match message.header.open(&self.next_receiving_header_key, &self.associated_data)? {
            Some(header) => Ok((header, Chain::Next)),
            None => Err(RatchetError::Header),
        }
    }

    /// Keeps the keys of the receiving chain up to, and without, message `number`.
    fn skip_until(&mut self, number: u32) -> Result<(), RatchetError> {
        let Some(receiving) = self.receiving.as_mut() else { return Ok(()) };
        if let Some(after) = self.received.checked_sub(number)
            && after > 0
        {
            let behind = after - 1;
            return Err(match behind {
                0 => RatchetError::Duplicate,
                behind => RatchetError::Earlier { behind },
            });
        }
        let missing = number.saturating_sub(self.received);
        if missing > GAP_MESSAGES_MAX {
            return Err(RatchetError::TooManySkipped { missing: missing.saturating_add(1) });
        }
        let mut keys = BTreeMap::new();
        for skipped in self.received..number {
            let (chain, key, _) = receiving.chain.step();
            receiving.chain = chain;
            keys.insert(skipped, key);
        }
        self.received = number;
        self.skipped.keep(&receiving.header_key, keys);
        Ok(())
    }

    /// A turn of the ratchet: the peer has a new key, so both chains start anew.
    fn step(&mut self, header: &Header, rng: &mut dyn CryptoRng) -> Result<(), RatchetError> {
        if matches!(header.kem, Some(KemElement::Accepted { .. })) {
            return Err(RatchetError::UnexpectedKem);
        }
        let peer: &X448PublicKey = &header.ratchet_key;
        let receiving = self.root.step(peer, &self.own_key.private).map_err(|_| RatchetError::Header)?;
        let own_key = X448PrivateKey::generate(rng);
        let sending = receiving.root.step(peer, &own_key).map_err(|_| RatchetError::Header)?;
        self.receiving =
            Some(KeyedChain { chain: receiving.chain, header_key: self.next_receiving_header_key.clone() });
        self.sending =
            Some(KeyedChain { chain: sending.chain, header_key: self.next_sending_header_key.clone() });
        self.next_receiving_header_key = receiving.next_header_key;
        self.next_sending_header_key = sending.next_header_key;
        self.root = sending.root;
        self.own_key = own_key.into();
        self.previous = self.sent;
        self.sent = 0;
        self.received = 0;
        Ok(())
    }

    fn decrypt_body(&self, key: &BodyKey, message: &SealedMessage<'_>) -> Result<Vec<u8>, RatchetError> {
        let bound = [&self.associated_data[..], message.header_bytes].concat();
        aead::decrypt_padded(&key.key, &key.iv, &bound, &message.tag, message.ciphertext)
            .map_err(|_| RatchetError::Body)
    }
}

/// What the kept header keys say of a message.
enum Overtaken {
    No,
    Key(BodyKey),
    Header(Header, Chain),
}

/// The version of parameters that can be used: neither foreign, nor an answer to a KEM that was not offered.
fn usable(parameters: &RatchetParameters) -> Result<u16, RatchetError> {
    if matches!(parameters.kem, Some(KemElement::Accepted { .. })) {
        return Err(RatchetError::UnexpectedKem);
    }
    if RATCHET_VERSIONS.contains(parameters.version) {
        Ok(parameters.version)
    } else {
        Err(RatchetError::Parameters)
    }
}

/// The form at rest; holds secrets.
impl Encode for Ratchet {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.version.to_be_bytes());
        out.extend_from_slice(&self.associated_data);
        self.own_key.private.encode(out);
        out.extend_from_slice(&self.own_key.public.0);
        self.root.encode(out);
        put_maybe(out, self.sending.as_ref(), |out, chain| chain.encode(out));
        put_maybe(out, self.receiving.as_ref(), |out, chain| chain.encode(out));
        for number in [self.sent, self.received, self.previous] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        self.next_sending_header_key.encode(out);
        self.next_receiving_header_key.encode(out);
        self.skipped.encode(out);
    }
}

impl Decode for Ratchet {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            version: reader.u16()?,
            associated_data: reader.array()?,
            own_key: OwnKey {
                private: X448PrivateKey::decode(reader)?,
                public: X448PublicKey(reader.array()?),
            },
            root: RootKey::decode(reader)?,
            sending: reader.maybe(KeyedChain::decode)?,
            receiving: reader.maybe(KeyedChain::decode)?,
            sent: reader.u32()?,
            received: reader.u32()?,
            previous: reader.u32()?,
            next_sending_header_key: HeaderKey::decode(reader)?,
            next_receiving_header_key: HeaderKey::decode(reader)?,
            skipped: SkippedKeys::decode(reader)?,
        })
    }
}

impl Encode for KeyedChain {
    fn encode(&self, out: &mut Vec<u8>) {
        self.chain.encode(out);
        self.header_key.encode(out);
    }
}

impl Decode for KeyedChain {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { chain: ChainKey::decode(reader)?, header_key: HeaderKey::decode(reader)? })
    }
}
