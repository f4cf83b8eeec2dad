//! What an agent message holds, by its first byte (channels.md §6).
//!
//! | byte | form |
//! |---|---|
//! | `{` `/` `>` `F` | one element |
//! | `[` | JSON array of messages, by older groups |
//! | `=` | binary batch |
//! | `X` | any of these, compressed; read, never written |

use std::borrow::Cow;

use serde_json::value::RawValue;
use thiserror::Error;

use super::batch::{BATCH_TAG, Element, split};
use super::compress::{CompressedError, decompress_declared};
use super::constants::{BATCH_ELEMENTS_MAX, STORED_ITEM_BYTES_MAX};
use crate::encoding::{DecodeError, Reader};

const COMPRESSED_TAG: u8 = b'X';
const ARRAY_TAG: u8 = b'[';

/// Why a container could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ContainerError {
    /// Not of any form, or cut.
    #[error("not a valid container: {0}")]
    Malformed(#[from] DecodeError),
    /// The compressed part is not valid or too large.
    #[error(transparent)]
    Compressed(#[from] CompressedError),
    /// Not a JSON array, or one of more than 255 messages.
    #[error("not a valid JSON batch")]
    Array,
}

/// Takes off the compression, if there is any.
///
/// # Errors
/// When the compressed container is malformed, does not declare its size, or unfolds to more than 65,536 bytes.
pub fn unfold(body: &[u8]) -> Result<Cow<'_, [u8]>, ContainerError> {
    let mut reader = Reader::new(body);
    if reader.peek() != Some(COMPRESSED_TAG) {
        return Ok(Cow::Borrowed(body));
    }
    reader.expect(&[COMPRESSED_TAG], "compressed container")?;
    reader.expect(&[1], "number of compressed items")?;
    let unfolded = match reader.u8()? {
        b'0' => {
            let bytes = reader.short()?;
            if bytes.len() > STORED_ITEM_BYTES_MAX {
                return Err(DecodeError::Invalid("stored item").into());
            }
            bytes.to_vec()
        }
        b'1' => decompress_declared(reader.large()?)?,
        _ => return Err(DecodeError::Invalid("compressed item").into()),
    };
    reader.end()?;
    Ok(Cow::Owned(unfolded))
}

/// The elements of an [unfolded](unfold) container, in order. An element that is malformed by itself does not
/// spoil the others.
///
/// # Errors
/// When the container as a whole is malformed; a compressed container inside another is.
pub fn elements(unfolded: &[u8]) -> Result<Vec<Result<Element<'_>, DecodeError>>, ContainerError> {
    match unfolded.first() {
        Some(&BATCH_TAG) => Ok(split(unfolded)?),
        Some(&ARRAY_TAG) => {
            let items: Vec<&RawValue> =
                serde_json::from_slice(unfolded).map_err(|_| ContainerError::Array)?;
            if items.len() > BATCH_ELEMENTS_MAX {
                return Err(ContainerError::Array);
            }
            Ok(items.into_iter().map(|item| Element::parse(item.get().as_bytes())).collect())
        }
        Some(_) => Ok(vec![Ok(Element::parse(unfolded)?)]),
        None => Err(DecodeError::Truncated.into()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::batch::pack;
    use super::super::compress::compress;
    use super::*;
    use crate::encoding::{put_large, put_short};

    const JSON: &[u8] = br#"{"event":"x.ok","params":{}}"#;

    fn bodies(unfolded: &[u8]) -> Vec<Vec<u8>> {
        let elements = elements(unfolded).unwrap();
        let statement = |element| match element {
            Ok(Element::Statement(statement)) => Statement::verbatim(&statement).to_vec(),
            other => panic!("{other:?}"),
        };
        elements.into_iter().map(statement).collect()
    }

    use super::super::signed::Statement;

    #[test]
    fn each_form_is_known_by_its_first_byte() {
        assert_eq!(bodies(JSON), [JSON]);
        assert_eq!(bodies(&pack([JSON, JSON]).0[0]), [JSON, JSON]);
        assert_eq!(
            bodies(&[b"[", JSON, b" , ", JSON, b"]"].concat()),
            [JSON, JSON],
            "the bytes of each item"
        );
        for other in [&b""[..], b"?", b"X", b"[1", b"S\x01"] {
            assert!(elements(other).is_err(), "{other:?}");
        }
        assert!(elements(b"[1]").unwrap()[0].is_err());
        assert!(elements(format!("[{}{{}}]", "{},".repeat(255)).as_bytes()).is_err());
    }

    #[test]
    fn compressed_containers_are_unfolded_once() {
        let mut stored = b"X\x010".to_vec();
        put_short(&mut stored, JSON);
        assert_eq!(&*unfold(&stored).unwrap(), JSON);

        let mut packed = b"X\x011".to_vec();
        put_large(&mut packed, &compress(&pack([JSON, JSON]).0[0]));
        assert_eq!(bodies(&unfold(&packed).unwrap()), [JSON, JSON]);

        let mut twice = b"X\x011".to_vec();
        put_large(&mut twice, &compress(&packed));
        assert!(elements(&unfold(&twice).unwrap()).is_err());

        let mut bomb = b"X\x011".to_vec();
        put_large(&mut bomb, &compress(&vec![b' '; 1_000_000]));
        assert_eq!(unfold(&bomb), Err(ContainerError::Compressed(CompressedError::TooLarge)));

        let mut long = b"X\x010".to_vec();
        put_short(&mut long, &[b' '; 181]);
        assert!(unfold(&long).is_err());
        assert!(unfold(b"X\x00").is_err());
        assert!(unfold(b"X\x02").is_err());
        assert!(unfold(&[&stored[..], b"x"].concat()).is_err());
        assert_eq!(unfold(JSON).unwrap(), JSON);
    }

    proptest! {
        #[test]
        fn any_bytes_fail_softly(bytes: Vec<u8>, first in prop::sample::select(&b"{[=XF/>"[..])) {
            let bytes = [&[first], &bytes[..]].concat();
            if let Ok(unfolded) = unfold(&bytes) {
                let _ = elements(&unfolded);
            }
        }

        #[test]
        fn cut_and_changed_containers_fail_softly(cut in 0_usize..70, at in 0_usize..70, flip in 1_u8..) {
            let mut packed = b"X\x011".to_vec();
            put_large(&mut packed, &compress(&pack([JSON, JSON]).0[0]));
            for mut bytes in [packed, pack([JSON, JSON]).0.remove(0)] {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= flip;
                }
                if let Ok(unfolded) = unfold(&bytes) {
                    let _ = elements(&unfolded);
                }
                bytes.truncate(cut);
                if let Ok(unfolded) = unfold(&bytes) {
                    let _ = elements(&unfolded);
                }
            }
        }
    }
}
