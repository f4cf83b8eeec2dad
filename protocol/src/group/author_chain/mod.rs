//! An author's statements in one group, numbered and chained, so that whoever misses one knows it.
//!
//! ```text
//! "params": { …, "authorChain": { "epoch": b64 of 12 bytes, "number": 1.., "previous": b64 of 32 bytes } }
//!
//! digest   = SHA-256( "G" short(publicGroupId) short(memberId) json )      the bytes that a signature covers
//! previous = digest of the statement numbered one less in this epoch; absent in number 1
//! ```
//!
//! The field stands inside the signed body, among the parameters, where every reader passes over keys that it does not
//! know (channels.md §6). The digest is of the signed bytes without the signatures: a relay can take a signature away,
//! or write the same one twice, and must not be able to break the author's chain by that.
//!
//! Only what goes to *all* relays and *must or may be signed* is numbered: see [`EventTag::is_chained`]. A number is
//! given in the transaction that stores the statement to be sent, so none is given to a statement that was never sent.
//!
//! An *epoch* is one run of numbers. Whoever may have forgotten a number, after a restore from a backup or on another
//! device, begins an epoch with a random id instead of using a number twice; each owner and each device has a chain of
//! its own. Authors whose clients know nothing of this have no chain, and nothing is claimed of them.
//!
//! [`follow`] has the reader's side.

pub mod follow;
pub mod proof;
#[cfg(test)]
mod tests;

use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};

use super::event::EventTag;
use super::json_bytes;
use super::signing::Signing;
use crate::crypto::random_bytes;
use crate::encoding::DecodeError;

/// The key of the field among the parameters of an event.
pub(super) const AUTHOR_CHAIN_KEY: &str = "authorChain";
/// Bytes of an epoch's id.
pub const EPOCH_BYTES: usize = 12;
/// The highest number: what every reader of JSON can hold exactly.
pub const NUMBER_MAX: u64 = (1 << 53) - 1;
/// The most bytes that the field adds to a statement.
pub const AUTHOR_CHAIN_BYTES_MAX: usize = 144;

/// SHA-256 of the signed bytes of a statement.
pub type Digest = [u8; 32];

/// One run of an author's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epoch(pub [u8; EPOCH_BYTES]);

/// A statement's place in its author's chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Field", into = "Field")]
pub struct ChainLink {
    /// The run of numbers.
    pub epoch: Epoch,
    /// From 1 to [`NUMBER_MAX`].
    number: u64,
    /// The digest of the statement before; none in the first.
    previous: Option<Digest>,
}

/// The field as JSON.
#[derive(Serialize, Deserialize)]
struct Field {
    #[serde(with = "json_bytes")]
    epoch: Vec<u8>,
    number: u64,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "json_bytes::optional")]
    previous: Option<Vec<u8>>,
}

impl ChainLink {
    /// A place: the first has number 1 and nothing before it, every other a number above and a statement before it.
    ///
    /// # Errors
    /// [`DecodeError::Invalid`] when the two do not agree, or the number is too high.
    pub fn new(epoch: Epoch, number: u64, previous: Option<Digest>) -> Result<Self, DecodeError> {
        let is_first = number == 1;
        if number == 0 || number > NUMBER_MAX || is_first != previous.is_none() {
            return Err(DecodeError::Invalid("author chain"));
        }
        Ok(Self { epoch, number, previous })
    }

    /// The number.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// The digest of the statement before.
    #[must_use]
    pub const fn previous(&self) -> Option<&Digest> {
        self.previous.as_ref()
    }
}

impl TryFrom<Field> for ChainLink {
    type Error = DecodeError;

    fn try_from(field: Field) -> Result<Self, DecodeError> {
        let wrong = |_| DecodeError::Invalid("author chain");
        let epoch = Epoch(field.epoch.as_slice().try_into().map_err(wrong)?);
        let previous = field.previous.map(|bytes| bytes.as_slice().try_into().map_err(wrong)).transpose()?;
        Self::new(epoch, field.number, previous)
    }
}

impl From<ChainLink> for Field {
    fn from(link: ChainLink) -> Self {
        Self {
            epoch: link.epoch.0.to_vec(),
            number: link.number,
            previous: link.previous.map(|digest| digest.to_vec()),
        }
    }
}

impl EventTag {
    /// Whether our clients number this event: it is signed, it is forwarded, and all relays get it. A roster's header
    /// goes to each relay when it is due and has versions of its own; a new relay is announced to the others alone.
    #[must_use]
    pub const fn is_chained(self) -> bool {
        let is_signed = !matches!(self.signing(), Signing::Never);
        is_signed && self.is_forwardable() && !matches!(self, Self::Roster | Self::RelayNew)
    }
}

/// The writing side: what the next statement of ours is linked to. Stored with each statement that it numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnChain {
    next: ChainLink,
}

impl OwnChain {
    /// Begins an epoch.
    pub fn begin(rng: &mut dyn CryptoRng) -> Self {
        Self { next: ChainLink { epoch: Epoch(random_bytes(rng)), number: 1, previous: None } }
    }

    /// The place of the next statement.
    #[must_use]
    pub const fn next(&self) -> ChainLink {
        self.next
    }

    /// The chain after the statement that took the next place. Once the numbers are used up, an epoch begins.
    #[must_use]
    pub fn followed_by(self, digest: Digest, rng: &mut dyn CryptoRng) -> Self {
        let ChainLink { epoch, number, .. } = self.next;
        match ChainLink::new(epoch, number.saturating_add(1), Some(digest)) {
            Ok(next) => Self { next },
            Err(_) => Self::begin(rng),
        }
    }
}
