//! The words and spaces that commands, messages and errors consist of.

use crate::encoding::{DecodeError, Reader};

/// Takes the next word: everything up to a space or the end.
pub(crate) fn word<'a>(reader: &mut Reader<'a>) -> &'a [u8] {
    let rest = reader.rest();
    let length = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
    reader.take(length).unwrap_or_default()
}

/// Takes the one space that stands before parameters.
pub(crate) fn after_space<'r, 'a>(reader: &'r mut Reader<'a>) -> Result<&'r mut Reader<'a>, DecodeError> {
    reader.expect(b" ", "space")?;
    Ok(reader)
}

/// Appends a word, or several with their spaces.
pub(crate) fn put(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}
