//! The parameters of links (agent.md §0.7): `name=value&…`, escaped like a web form.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::encoding::DecodeError;

const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Escapes everything but letters, digits and `-_.~`; a space becomes `%20`.
pub(crate) fn escape(value: &str) -> Cow<'_, str> {
    utf8_percent_encode(value, RESERVED).into()
}

/// A query as read: parameters in any order, separated by `&` or `;`, unknown ones ignored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QueryString<'a>(pub(crate) &'a str);

impl QueryString<'_> {
    /// The value of the first parameter of this name, without its escapes.
    pub(crate) fn value(self, name: &str) -> Result<Option<String>, DecodeError> {
        let pairs = self.0.split(['&', ';']).filter_map(|pair| pair.split_once('='));
        let Some((_, value)) = pairs.into_iter().find(|(key, _)| *key == name) else { return Ok(None) };
        let spaced = value.replace('+', " ");
        let bytes = percent_decode_str(&spaced).decode_utf8();
        bytes
            .map(|text| Some(text.into_owned()))
            .map_err(|_| DecodeError::Invalid("link: a value is not text"))
    }

    /// As [`Self::value`], for a parameter that must be there.
    pub(crate) fn required(self, name: &str, missing: &'static str) -> Result<String, DecodeError> {
        self.value(name)?.ok_or(DecodeError::Invalid(missing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_and_unescaped() {
        let query = QueryString("a=1;b=x%20y+z&a=2&c=%253D&e=&f");
        assert_eq!(query.value("a"), Ok(Some("1".into())), "the first wins");
        assert_eq!(query.value("b"), Ok(Some("x y z".into())));
        assert_eq!(query.value("c"), Ok(Some("%3D".into())), "one layer at a time");
        assert_eq!(query.value("e"), Ok(Some(String::new())));
        assert_eq!((query.value("f"), query.value("d")), (Ok(None), Ok(None)));
        assert!(QueryString("a=%ff").value("a").is_err());
    }

    #[test]
    fn escapes_are_upper_case() {
        assert_eq!(escape("a-_.~Z9 =+,{é"), "a-_.~Z9%20%3D%2B%2C%7B%C3%A9");
    }
}
