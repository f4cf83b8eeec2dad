//! Identifiers: 24 bytes each, one type per role, so that a sender id is never taken for a recipient id.
//!
//! ```text
//! id = 24 (1 byte) id (24 bytes)
//! ```
//!
//! Ids that a *peer chooses freely* (correlation ids, entity ids, the id in `ACK`) may have any length on the wire
//! and stay byte strings there; see [`super::transmission`] and [`super::command`].

use std::borrow::Cow;

use rand_core::CryptoRng;

use crate::base64url;
use crate::crypto::{hash, random_bytes};
use crate::encoding::{Decode, DecodeError, Encode, Reader, put_short};

/// The length of every id that a server or this code makes.
pub const ID_BYTES: usize = 24;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; ID_BYTES]);

        impl $name {
            /// Draws an id.
            pub fn generate(rng: &mut dyn CryptoRng) -> Self {
                Self(random_bytes(rng))
            }

            /// The raw bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; ID_BYTES] {
                &self.0
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = DecodeError;

            fn try_from(bytes: &[u8]) -> Result<Self, DecodeError> {
                bytes.try_into().map(Self).map_err(|_| DecodeError::Invalid(stringify!($name)))
            }
        }

        impl From<$name> for Cow<'_, [u8]> {
            fn from(id: $name) -> Self {
                Cow::Owned(id.0.to_vec())
            }
        }

        impl Encode for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                put_short(out, &self.0);
            }
        }

        impl Decode for $name {
            fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                reader.short()?.try_into()
            }
        }

        /// Base64url, 32 characters.
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&base64url::encode(&self.0))
            }
        }

        impl std::str::FromStr for $name {
            type Err = DecodeError;

            fn from_str(text: &str) -> Result<Self, DecodeError> {
                base64url::decode(text)?.as_slice().try_into()
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    )+};
}

ids! {
    /// Names a queue to its recipient.
    RecipientId,
    /// Names a queue to its senders.
    SenderId,
    /// Names a queue to whoever opens its link.
    LinkId,
    /// Names a queue to its notifier.
    NotifierId,
    /// Names a message; also the nonce of its encryption by the server.
    MessageId,
    /// Ties a response to its command; also the nonce of its authenticator, so never used twice in a session.
    CorrelationId,
    /// Names a service: a client with a certificate that subscribes to many queues at once.
    ServiceId,
}

impl SenderId {
    /// The only sender id that a client may choose for a queue with link data: made from the correlation id of its
    /// `NEW`, so that nobody can ask a server which ids exist (smp.md §9.3).
    #[must_use]
    pub fn for_correlation(correlation_id: &[u8]) -> Self {
        Self(*hash::sha3_384(correlation_id).first_chunk().expect("a SHA3-384 is longer than an id"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_short_string_of_24_bytes() {
        let id = LinkId([7; 24]);
        assert_eq!(id.to_bytes(), [&[24][..], &[7; 24]].concat());
        assert_eq!(LinkId::from_bytes(&id.to_bytes()), Ok(id));
        assert_eq!(LinkId::from_bytes(&[1, 7]), Err(DecodeError::Invalid("LinkId")));
        assert_eq!(LinkId::try_from(&[7; 23][..]), Err(DecodeError::Invalid("LinkId")));
    }
}
