//! `#[serde(with = "json_bytes")]`: bytes as base64url text in JSON (channels.md §4).

use std::borrow::Cow;

use serde::{Deserialize as _, Deserializer, Serializer};

use crate::base64url;

pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&base64url::encode(bytes))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = Cow::<str>::deserialize(deserializer)?;
    base64url::decode(&text).map_err(serde::de::Error::custom)
}

/// The same for a field that may be missing.
pub(super) mod optional {
    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::base64url;

    #[expect(clippy::ref_option, reason = "the signature is serde's")]
    pub(in crate::group) fn serialize<S: Serializer>(
        bytes: &Option<Vec<u8>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match bytes {
            Some(bytes) => super::serialize(bytes, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(in crate::group) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Vec<u8>>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| base64url::decode(&text)).transpose().map_err(serde::de::Error::custom)
    }
}
