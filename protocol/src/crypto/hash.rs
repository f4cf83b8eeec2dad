//! Hashes (smp.md §2.3).

use sha2::Digest as _;

use super::wide_sha512;

/// SHA-256: certificate fingerprints, message hashes.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    sha2::Sha256::digest(bytes).into()
}

/// SHA-512: what a command authenticator seals, the roster's digest.
#[must_use]
pub fn sha512(bytes: &[u8]) -> [u8; 64] {
    sha2::Sha512::digest(bytes).into()
}

/// SHA-512 of each of these texts: four at a time where the processor has vectors for it, which takes hardly longer than
/// one.
#[must_use]
pub fn sha512_each(texts: &[&[u8]]) -> Vec<[u8; 64]> {
    wide_sha512::digests(texts)
}

/// SHA3-256: the link key of fixed link data.
#[must_use]
pub fn sha3_256(bytes: &[u8]) -> [u8; 32] {
    sha3::Sha3_256::digest(bytes).into()
}

/// SHA3-384: its first 24 bytes make a client-chosen sender id.
#[must_use]
pub fn sha3_384(bytes: &[u8]) -> [u8; 48] {
    sha3::Sha3_384::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    /// agent.md A.1.
    #[test]
    fn sha3_known_answers() {
        let [first, .., last] = super::sha3_256(b"abc");
        assert_eq!((first, last), (0x3a, 0x32));
        let [first, .., last] = super::sha3_384(b"abc");
        assert_eq!((first, last), (0xec, 0x25));
    }
}
