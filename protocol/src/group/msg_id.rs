//! The id under which all copies of a message are one (channels.md §4).
//!
//! ```text
//! 12 random bytes ── base64url ──▶ 16 ASCII characters = the id's bytes ── base64url ──▶ 24 characters in JSON
//! ```
//!
//! The doubled encoding is the real application's; others' ids are opaque, 1 to 255 bytes.

use rand_core::CryptoRng;

use super::constants::MESSAGE_ID_RANDOM_BYTES;
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
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn ids_are_encoded_twice() {
        let id = SharedMessageId::generate(&mut rand::rngs::StdRng::seed_from_u64(1));
        assert_eq!(id.as_bytes().len(), 16);
        assert!(id.as_bytes().iter().all(u8::is_ascii));
        assert_eq!(id.to_string().len(), 24);
        assert_eq!(id.to_string().parse::<SharedMessageId>().unwrap(), id);
    }
}
