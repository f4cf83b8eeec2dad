//! A message as the reference server writes it, in its message log and in its journals.
//!
//! ```text
//! ‹message id› ‹seconds› [flags=T|F] ‹body›       ‹message id› ‹seconds› quota
//! ```

use protocol::timestamp::Timestamp;

use super::flaw::Flaw;
use super::words::{Words, bytes, seconds};
use crate::store::StoredMessage;

/// The longest body that any version took (smp.md §19).
pub(super) const BODY_BYTES_MAX: usize = 16_088;

/// Reads a message to its end.
pub(super) fn message(mut words: Words<'_>) -> Result<StoredMessage, Flaw> {
    let id = words.id("message id")?;
    let received_at = Timestamp::from_seconds(seconds(words.word("time")?)?);
    let (mut notify, mut body) = (false, None);
    let mut ahead = words;
    if ahead.word("body") == Ok("quota") {
        words = ahead;
    } else {
        if let Some(flags) = words.optional("flags=") {
            // Flags that are not known yet may follow.
            notify = match flags.as_bytes().first() {
                Some(b'T') => true,
                Some(b'F') => false,
                _ => return Err(Flaw::Value("flags")),
            };
        }
        body = Some(bytes(words.word("body")?, "body")?);
    }
    words.end()?;
    if body.as_ref().is_some_and(|body| body.len() > BODY_BYTES_MAX) {
        return Err(Flaw::Value("body"));
    }
    Ok(StoredMessage { id, received_at, notify, body })
}
