//! Poly1305 of long texts, eight blocks at a time where the processor multiplies vectors of 52-bit numbers (AVX-512
//! IFMA): a quarter of the time that four blocks take with AVX2, as the crate has it.
//!
//! ```text
//! text = blocks m of 16 bytes, each with a 1 behind it            h = (…((m₁·r + m₂)·r + m₃)·r + …)·r   mod 2¹³⁰ − 5
//! lane i = mᵢ, mᵢ₊₈, mᵢ₊₁₆ …   all lanes · r⁸ at each step, in the last one · r⁸, r⁷ … r¹, then their sum
//! ```
//!
//! A number stands in three limbs of 44, 44 and 42 bits. 2¹³² = 4·2¹³⁰ = 4·5 modulo the prime, so that what goes beyond
//! the third limb comes back twentyfold in the first. Time does not depend on the data.

use poly1305::Poly1305;
use poly1305::universal_hash::{KeyInit as _, UniversalHash as _};

#[cfg(target_arch = "x86_64")]
mod limbs;
#[cfg(target_arch = "x86_64")]
mod x86;

/// The authenticator of a text under a key that is used for no other.
pub(super) fn authenticate(key: &[u8; 32], text: &[u8]) -> [u8; 16] {
    #[cfg(target_arch = "x86_64")]
    if let Some(tag) = x86::authenticate(key, text) {
        return tag;
    }
    by_the_crate(key, text)
}

/// In its own best way, which takes several blocks at once.
fn by_the_crate(key: &[u8; 32], text: &[u8]) -> [u8; 16] {
    let mut state = Poly1305::new(&(*key).into());
    let (blocks, rest) = poly1305::Block::slice_as_chunks(text);
    state.update(blocks);
    state.compute_unpadded(rest).into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn assert_all_agree(key: &[u8; 32], text: &[u8]) {
        let expected: [u8; 16] = Poly1305::new(&(*key).into()).compute_unpadded(text).into();
        assert_eq!(by_the_crate(key, text), expected, "{} bytes", text.len());
        assert_eq!(authenticate(key, text), expected, "{} bytes", text.len());
        #[cfg(target_arch = "x86_64")]
        assert_eq!(limbs::authenticate(key, text), expected, "{} bytes", text.len());
    }

    fn from_hex<const N: usize>(hex: &str) -> [u8; N] {
        let byte = |number: usize| u8::from_str_radix(&hex[2 * number..][..2], 16).unwrap();
        std::array::from_fn(byte)
    }

    /// RFC 8439, 2.5.2 and A.3: vectors 7 to 11 are numbers around the prime.
    #[test]
    fn known_answers() {
        let key = from_hex("85d6be7857556d337f4452fe42d506a80103808afb0db2fd4abff6af4149f51b");
        let tag: [u8; 16] = from_hex("a8061dc1305136c6c22b8baf0c0127a9");
        assert_eq!(authenticate(&key, b"Cryptographic Forum Research Group"), tag);
        let one = "01000000000000000000000000000000";
        let two = "02000000000000000000000000000000";
        let (none, all) = ("00".repeat(16), "ff".repeat(16));
        let four = "01000000000000000400000000000000";
        let cases = [
            (two, &*none, all.clone(), "03000000000000000000000000000000"),
            (two, &*all, two.to_owned(), "03000000000000000000000000000000"),
            (
                one,
                &*none,
                [&*all, "f0ffffffffffffffffffffffffffffff", "11000000000000000000000000000000"].concat(),
                "05000000000000000000000000000000",
            ),
            (
                one,
                &*none,
                [&*all, "fbfefefefefefefefefefefefefefefe", "01010101010101010101010101010101"].concat(),
                "00000000000000000000000000000000",
            ),
            (two, &*none, "fdffffffffffffffffffffffffffffff".to_owned(), "faffffffffffffffffffffffffffffff"),
            (
                four,
                &*none,
                [
                    "e33594d7505e43b900000000000000003394d7505e4379cd01000000000000000",
                    "0000000000000000000000000000000",
                    "01000000000000000000000000000000",
                ]
                .concat(),
                "14000000000000005500000000000000",
            ),
            (
                four,
                &*none,
                [
                    "e33594d7505e43b900000000000000003394d7505e4379cd01000000000000000",
                    "0000000000000000000000000000000",
                ]
                .concat(),
                "13000000000000000000000000000000",
            ),
        ];
        for (factor, addend, text, tag) in cases {
            let key: [u8; 32] = from_hex(&[factor, addend].concat());
            let bytes: Vec<u8> = (0..text.len() / 2).map(|at| from_hex::<1>(&text[2 * at..])[0]).collect();
            assert_eq!(authenticate(&key, &bytes), from_hex::<16>(tag), "{text}");
            assert_all_agree(&key, &bytes);
        }
    }

    #[test]
    fn every_length_around_the_borders_of_blocks_and_groups_is_right() {
        let text: Vec<u8> = (0..700u32).map(|number| (number * 7 % 251) as u8).collect();
        for length in 0..text.len() {
            assert_all_agree(&[0x5a; 32], &text[..length]);
        }
        assert_all_agree(&[0x5a; 32], &[3; 16_368]);
    }

    #[test]
    fn the_largest_and_the_smallest_numbers_are_right() {
        for key in [[0; 32], [0xff; 32], [1; 32], [0x0f; 32]] {
            for byte in [0, 1, 0xfe, 0xff] {
                for length in [16, 128, 256, 400, 1024, 16_384] {
                    assert_all_agree(&key, &vec![byte; length]);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn it_is_the_authenticator_of_the_crate(
            key: [u8; 32],
            text in proptest::collection::vec(any::<u8>(), 0..1500),
        ) {
            assert_all_agree(&key, &text);
        }
    }
}
