//! The values of a line: words with one space between them, some with a name (`rk=…`).

use protocol::base64url;
use protocol::smp::ids::ID_BYTES;
use protocol::smp::key::AuthPublicKey;

use super::flaw::Flaw;

/// What is left of a line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Words<'a> {
    rest: Option<&'a str>,
}

impl<'a> Words<'a> {
    pub(super) fn new(line: &'a str) -> Self {
        Self { rest: Some(line) }
    }

    /// The next word, which may be empty.
    pub(super) fn word(&mut self, what: &'static str) -> Result<&'a str, Flaw> {
        let rest = self.rest.ok_or(Flaw::Value(what))?;
        let (word, rest) = match rest.split_once(' ') {
            Some((word, rest)) => (word, Some(rest)),
            None => (rest, None),
        };
        self.rest = rest;
        Ok(word)
    }

    /// The value of the next word, if that has this name, such as `rk=`.
    pub(super) fn optional(&mut self, name: &'static str) -> Option<&'a str> {
        let mut ahead = *self;
        let value = ahead.word(name).ok()?.strip_prefix(name)?;
        *self = ahead;
        Some(value)
    }

    /// The value of the next word, which has this name.
    pub(super) fn named(&mut self, name: &'static str) -> Result<&'a str, Flaw> {
        self.optional(name).ok_or(Flaw::Value(name))
    }

    /// The next word, an id.
    pub(super) fn id<T: From24>(&mut self, what: &'static str) -> Result<T, Flaw> {
        id(self.word(what)?, what)
    }

    /// Nothing is left.
    pub(super) fn end(self) -> Result<(), Flaw> {
        if self.rest.is_none() { Ok(()) } else { Err(Flaw::Surplus) }
    }
}

/// An id of 24 bytes.
pub(super) trait From24: Sized {
    fn from_24(bytes: [u8; ID_BYTES]) -> Self;
}

macro_rules! from_24 {
    ($($name:ident),+) => {$(
        impl From24 for protocol::smp::ids::$name {
            fn from_24(bytes: [u8; ID_BYTES]) -> Self {
                Self(bytes)
            }
        }
    )+};
}
from_24!(RecipientId, SenderId, LinkId, NotifierId, ServiceId, MessageId);

pub(super) fn id<T: From24>(text: &str, what: &'static str) -> Result<T, Flaw> {
    fixed(text, what).map(T::from_24)
}

pub(super) fn bytes(text: &str, what: &'static str) -> Result<Vec<u8>, Flaw> {
    base64url::decode(text).map_err(|_| Flaw::Value(what))
}

pub(super) fn fixed<const N: usize>(text: &str, what: &'static str) -> Result<[u8; N], Flaw> {
    bytes(text, what)?.try_into().map_err(|_| Flaw::Value(what))
}

pub(super) fn key(text: &str, what: &'static str) -> Result<AuthPublicKey, Flaw> {
    AuthPublicKey::from_der(&bytes(text, what)?).map_err(|_| Flaw::Value(what))
}

/// Keys joined by commas: one at least, and so many as a list on the wire can have.
pub(super) fn keys(text: &str) -> Result<Vec<AuthPublicKey>, Flaw> {
    const KEYS_MAX: usize = 255;
    let what = "recipient keys";
    let keys = text.split(',').map(|text| key(text, what)).collect::<Result<Vec<_>, _>>()?;
    if keys.len() > KEYS_MAX { Err(Flaw::Value(what)) } else { Ok(keys) }
}

/// Whole seconds since 1970.
pub(super) fn seconds(text: &str) -> Result<i64, Flaw> {
    text.parse().map_err(|_| Flaw::Value("time"))
}
