//! Who is who: ids, keys and roles as they stand in JSON and in binary elements (channels.md §2–§4).

use rand_core::CryptoRng;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::constants::{MEMBER_ID_BYTES, public_group_id_input};
use super::json_bytes;
use crate::crypto::hash::sha256;
use crate::crypto::random_bytes;
use crate::crypto::sign::Ed25519PublicKey;
use crate::encoding::{Decode, DecodeError, Encode, Reader};

/// Ids that we make in one length and read in any: 1..=255 bytes.
macro_rules! opaque_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Vec<u8>);

        impl $name {
            /// From its bytes.
            ///
            /// # Errors
            /// [`DecodeError::Invalid`] when there are none, or more than 255.
            pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, DecodeError> {
                let bytes = bytes.into();
                if bytes.is_empty() || bytes.len() > $crate::group::constants::OPAQUE_ID_BYTES_MAX {
                    return Err(DecodeError::Invalid($what));
                }
                Ok(Self(bytes))
            }

            /// Its bytes.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8] {
                &self.0
            }
        }

        /// base64url with padding.
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&$crate::base64url::encode(&self.0))
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        /// Reads what `Display` writes.
        impl std::str::FromStr for $name {
            type Err = DecodeError;

            fn from_str(text: &str) -> Result<Self, DecodeError> {
                Self::new($crate::base64url::decode(text)?)
            }
        }

        /// A short string.
        impl $crate::encoding::Encode for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                $crate::encoding::put_short(out, &self.0);
            }
        }

        impl $crate::encoding::Decode for $name {
            fn decode(reader: &mut $crate::encoding::Reader<'_>) -> Result<Self, DecodeError> {
                Self::new(reader.short()?)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                $crate::group::json_bytes::serialize(&self.0, serializer)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::new($crate::group::json_bytes::deserialize(deserializer)?).map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(super) use opaque_id;

opaque_id!(
    /// Names a member within one group. We make 12 random bytes.
    MemberId,
    "member id"
);

impl MemberId {
    /// A fresh id.
    pub fn generate(rng: &mut dyn CryptoRng) -> Self {
        Self(random_bytes::<MEMBER_ID_BYTES>(rng).to_vec())
    }

    /// How a member is called before a profile is known: the first 7 characters of the text form.
    #[must_use]
    pub fn stand_in_name(&self) -> String {
        self.to_string().chars().take(7).collect()
    }
}

opaque_id!(
    /// Names a group for good: `linkEntityId` of its link and `publicGroupId` of its profile.
    ///
    /// Readers compare the two and never recompute the hash, to leave room for key rotation (channels.md §3).
    PublicGroupId,
    "public group id"
);

impl PublicGroupId {
    /// The id that we write for a new group: SHA-256 of the raw 32-byte root key `[U]`.
    #[must_use]
    pub fn of_root_key(root_key: &Ed25519PublicKey) -> Self {
        Self(sha256(public_group_id_input(root_key)).to_vec())
    }

    /// Whether the id is what we would write for `root_key`. A `false` is worth a warning at most.
    #[must_use]
    pub fn is_of_root_key(&self, root_key: &Ed25519PublicKey) -> bool {
        *self == Self::of_root_key(root_key)
    }
}

/// A member's public key; in JSON base64url of the 44-byte DER form `[U]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberKey(pub Ed25519PublicKey);

impl Encode for MemberKey {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }
}

impl Decode for MemberKey {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ed25519PublicKey::decode(reader).map(Self)
    }
}

impl Serialize for MemberKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        json_bytes::serialize(&self.0.to_der(), serializer)
    }
}

impl<'de> Deserialize<'de> for MemberKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let der = json_bytes::deserialize(deserializer)?;
        Ed25519PublicKey::from_der(&der).map(Self).map_err(serde::de::Error::custom)
    }
}

/// Enums that are words on the wire; a word that is not known is read as the last variant.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* } else $unknown:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            /// A word that we do not know.
            $unknown,
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// The word on the wire.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self {
                    Self::$unknown => "unknown",
                    $(Self::$variant => $word,)*
                }
            }

            /// Reads the word; never fails.
            #[must_use]
            pub fn from_word(word: &str) -> Self {
                match word {
                    $($word => Self::$variant,)*
                    _ => Self::$unknown,
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.word())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.word())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let word = std::borrow::Cow::<str>::deserialize(deserializer)?;
                Ok(Self::from_word(&word))
            }
        }
    };
}
pub(super) use words;

words!(
    /// Roles in ascending order (channels.md §2). An unknown word stands below all others.
    MemberRole {
        /// A chat relay: forwards, never authors.
        Relay = "relay",
        /// Reads and reacts; the role of a channel's joiners.
        Observer = "observer",
        /// Reserved.
        Author = "author",
        /// Posts.
        Member = "member",
        /// Deletes others' messages, blocks.
        Moderator = "moderator",
        /// Removes those who are not on the roster.
        Admin = "admin",
        /// Everything; established by the group link.
        Owner = "owner",
    } else Unknown
);

impl MemberRole {
    /// Whether the roster lists this role: member, moderator and admin.
    #[must_use]
    pub const fn is_roster_role(self) -> bool {
        matches!(self, Self::Member | Self::Moderator | Self::Admin)
    }

    /// Whether it is one of those below the roster's that people are given: observer and author.
    #[must_use]
    pub const fn is_minor_role(self) -> bool {
        matches!(self, Self::Observer | Self::Author)
    }

    /// Whether nobody has it unless it was given, and no roster tells: it is below the roster's, and not that of joiners.
    #[must_use]
    pub fn is_beside_roster(self, joiner_role: Self) -> bool {
        self.is_minor_role() && self != joiner_role
    }

    /// Whether the holder may post in the main scope.
    #[must_use]
    pub fn may_post(self) -> bool {
        self > Self::Observer
    }
}

/// A link as text, bounded; parsed where it is used, so that a link of a kind we do not know is still kept.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct LinkText(String);

impl LinkText {
    /// Bounds the text at [`super::constants::LINK_TEXT_BYTES_MAX`].
    ///
    /// # Errors
    /// [`DecodeError::Invalid`] when it is empty or longer.
    pub fn new(text: impl Into<String>) -> Result<Self, DecodeError> {
        let text = text.into();
        if text.is_empty() || text.len() > super::constants::LINK_TEXT_BYTES_MAX {
            return Err(DecodeError::Invalid("link"));
        }
        Ok(Self(text))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Links open groups to whoever reads them, so logs do not show them.
impl std::fmt::Debug for LinkText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LinkText([scrubbed])")
    }
}

impl<'de> Deserialize<'de> for LinkText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::constants::OPAQUE_ID_BYTES_MAX;

    #[test]
    fn ids_are_base64url_in_json_and_short_strings_in_binary() {
        let id = MemberId::new([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]).unwrap();
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"AQIDBAUGBwgJCgsM\"");
        assert_eq!(serde_json::from_str::<MemberId>("\"AQIDBAUGBwgJCgsM\"").unwrap(), id);
        assert_eq!(id.to_bytes(), [&[12_u8][..], id.as_bytes()].concat());
        assert_eq!(id.stand_in_name(), "AQIDBAU");
        assert!(MemberId::new([]).is_err());
        assert!(MemberId::new([0; OPAQUE_ID_BYTES_MAX + 1]).is_err());
    }

    #[test]
    fn an_unknown_role_stands_below_all() {
        let roles = ["commenter", "relay", "observer", "author", "member", "moderator", "admin", "owner"]
            .map(MemberRole::from_word);
        assert!(roles.is_sorted() && roles[0] == MemberRole::Unknown);
        assert!(!MemberRole::Unknown.may_post() && MemberRole::Author.may_post());
    }

    #[test]
    fn keys_are_der_in_json() {
        let key = MemberKey(Ed25519PublicKey([7; 32]));
        let json = serde_json::to_string(&key).unwrap();
        assert_eq!(json.len(), 62, "44 bytes are 60 characters");
        assert_eq!(serde_json::from_str::<MemberKey>(&json).unwrap(), key);
        assert!(serde_json::from_str::<MemberKey>("\"AQID\"").is_err());
    }
}
