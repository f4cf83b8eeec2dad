//! The id under which all copies of a message are one (channels.md §4).
//!
//! ```text
//! 12 random bytes ── base64url ──▶ 16 ASCII characters = the id's bytes ── base64url ──▶ 24 characters in JSON
//! ```
//!
//! The doubled encoding is the real application's; others' ids are opaque, 1 to 255 bytes.

use rand_core::CryptoRng;

use super::constants::{MESSAGE_ID_RANDOM_BYTES, ROSTER_MESSAGE_ID_BYTES};
use super::identity::opaque_id;
use crate::base64url;
use crate::crypto::random_bytes;
use crate::encoding::DecodeError;

opaque_id!(
    /// Names a message within one group, the same at every relay.
    SharedMessageId,
    "message id"
);

impl SharedMessageId {
    /// A fresh id.
    pub fn generate(rng: &mut dyn CryptoRng) -> Self {
        Self(base64url::encode(&random_bytes::<MESSAGE_ID_RANDOM_BYTES>(rng)).into_bytes())
    }

    /// A fresh id for the header of a roster: short, since it stands in each of the [chunks](super::roster::chunks).
    pub fn for_roster(rng: &mut dyn CryptoRng) -> Self {
        Self(random_bytes::<ROSTER_MESSAGE_ID_BYTES>(rng).to_vec())
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;
    use crate::agent::BODY_BYTES_MAX;
    use crate::group::chunk::Chunk;
    use crate::group::constants::CHUNK_BYTES_MAX;

    /// Stock receivers count pieces of a roster by their size, so a piece must have its full size.
    #[test]
    fn a_whole_piece_of_a_roster_fits_beside_its_id() {
        let id = SharedMessageId::for_roster(&mut rand::rngs::StdRng::seed_from_u64(1));
        let piece =
            |message_id| Chunk { message_id, number: 1, bytes: &[0; CHUNK_BYTES_MAX] }.to_bytes().len();
        assert!(piece(id) <= BODY_BYTES_MAX);
        let usual = SharedMessageId::generate(&mut rand::rngs::StdRng::seed_from_u64(1));
        assert!(piece(usual) > BODY_BYTES_MAX);
    }

    #[test]
    fn ids_are_encoded_twice() {
        let id = SharedMessageId::generate(&mut rand::rngs::StdRng::seed_from_u64(1));
        assert_eq!(id.as_bytes().len(), 16);
        assert!(id.as_bytes().iter().all(u8::is_ascii));
        assert_eq!(id.to_string().len(), 24);
        assert_eq!(id.to_string().parse::<SharedMessageId>().unwrap(), id);
    }
}
