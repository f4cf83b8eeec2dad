//! zstd with a firm bound on what comes out (channels.md §5.2, §6).

use thiserror::Error;
use zstd::zstd_safe::get_frame_content_size;

use super::constants::{DECOMPRESSED_BYTES_MAX, LINK_JSON_ZSTD_LEVEL};

/// Why compressed bytes were refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CompressedError {
    /// Not a zstd frame, or a damaged one.
    #[error("not a valid zstd frame")]
    Frame,
    /// A container's frame must say how much comes out of it.
    #[error("the zstd frame does not declare its size")]
    NoSize,
    /// More than 65,536 bytes would come out.
    #[error("the zstd frame holds more than is allowed")]
    TooLarge,
}

/// Unfolds a frame that declares its size, as containers need.
pub(super) fn decompress_declared(frame: &[u8]) -> Result<Vec<u8>, CompressedError> {
    match get_frame_content_size(frame) {
        Ok(Some(size)) if size > DECOMPRESSED_BYTES_MAX as u64 => Err(CompressedError::TooLarge),
        Ok(Some(_)) => decompress(frame),
        Ok(None) => Err(CompressedError::NoSize),
        Err(_) => Err(CompressedError::Frame),
    }
}

/// Unfolds a frame, whether it declares its size or not. The buffer has the size of our bound, not a claimed one.
pub(super) fn decompress(frame: &[u8]) -> Result<Vec<u8>, CompressedError> {
    match get_frame_content_size(frame) {
        Ok(Some(size)) if size > DECOMPRESSED_BYTES_MAX as u64 => return Err(CompressedError::TooLarge),
        Ok(_) => {}
        Err(_) => return Err(CompressedError::Frame),
    }
    let mut bytes = vec![0; DECOMPRESSED_BYTES_MAX];
    let length = zstd::bulk::decompress_to_buffer(frame, &mut bytes).map_err(|_| CompressedError::Frame)?;
    bytes.truncate(length);
    bytes.shrink_to_fit();
    Ok(bytes)
}

/// One frame that declares its size.
pub(super) fn compress(bytes: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(bytes, LINK_JSON_ZSTD_LEVEL).expect("compressing into a buffer of sufficient size")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_out_is_bounded() {
        let fits = compress(&vec![b'a'; DECOMPRESSED_BYTES_MAX]);
        assert_eq!(decompress_declared(&fits).unwrap().len(), DECOMPRESSED_BYTES_MAX);
        let bomb = compress(&vec![b'a'; DECOMPRESSED_BYTES_MAX + 1]);
        assert_eq!(decompress_declared(&bomb), Err(CompressedError::TooLarge));
        assert_eq!(decompress(&bomb), Err(CompressedError::TooLarge));
        let two = [compress(&vec![b'a'; 40_000]), compress(&vec![b'a'; 40_000])].concat();
        assert_eq!(decompress(&two), Err(CompressedError::Frame), "a second frame does not widen the bound");
    }

    #[test]
    fn a_container_must_declare_its_size() {
        let mut frame = Vec::new();
        let mut encoder = zstd::stream::write::Encoder::new(&mut frame, 3).unwrap();
        std::io::Write::write_all(&mut encoder, &[b'a'; 1000]).unwrap();
        encoder.finish().unwrap();
        assert_eq!(decompress_declared(&frame), Err(CompressedError::NoSize));
        assert_eq!(decompress(&frame).unwrap().len(), 1000);
    }

    #[test]
    fn damaged_frames_fail_softly() {
        let frame = compress(&[b'a'; 1000]);
        for cut in 0..frame.len() {
            assert!(decompress(&frame[..cut]).is_err());
        }
        assert_eq!(decompress(b"not a frame"), Err(CompressedError::Frame));
    }
}
