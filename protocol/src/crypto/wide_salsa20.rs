//! The keystream of Salsa20, many blocks at a time: sixteen with AVX-512, eight with AVX2. Most of what a server does
//! is this, and one by one it takes five to eight times as long.
//!
//! Word `w` of all blocks stands in one vector, a lane for each block, so that each step of the cipher is one
//! instruction. At the end four words at a time are turned, so that each block lies in one piece again.
//!
//! `pulp` compiles the code for each kind of processor, and calls it only where there is such a one. Time does not
//! depend on the data: there are additions, rotations and exclusive ors alone.

#[cfg(target_arch = "x86_64")]
mod x86;

/// Shorter texts gain nothing.
pub(super) const BYTES_MIN: usize = 256;

/// Applies the keystream from block `first_block` on, if this processor can do it in this way; says whether it did.
pub(super) fn apply(key: &[u8; 32], nonce: &[u8; 8], first_block: u64, text: &mut [u8]) -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        let state = zeroize::Zeroizing::new(x86::initial_state(key, nonce));
        x86::apply_avx512(&state, first_block, text) || x86::apply_avx2(&state, first_block, text)
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = (key, nonce, first_block, text);
        false
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use proptest::prelude::*;
    use salsa20::Salsa20;
    use salsa20::cipher::{KeyIvInit as _, StreamCipher as _, StreamCipherSeek as _};

    use super::x86::{BLOCK_BYTES, BLOCK_WORDS, initial_state};
    use super::*;

    type Way = fn(&[u32; BLOCK_WORDS], u64, &mut [u8]) -> bool;

    /// The ways of this processor; a test of one that it does not have proves nothing, and passes.
    const WAYS: [Way; 2] = [x86::apply_avx512, x86::apply_avx2];

    /// One block at a time, by the crate.
    fn reference(key: &[u8; 32], nonce: &[u8; 8], first_block: u64, text: &mut [u8]) {
        let mut cipher = Salsa20::new(&(*key).into(), &(*nonce).into());
        cipher.seek(first_block * BLOCK_BYTES as u64);
        cipher.apply_keystream(text);
    }

    fn assert_all_agree(key: &[u8; 32], nonce: &[u8; 8], first_block: u64, text: &[u8]) {
        let mut expected = text.to_vec();
        reference(key, nonce, first_block, &mut expected);
        for way in WAYS {
            let mut wide = text.to_vec();
            if way(&initial_state(key, nonce), first_block, &mut wide) {
                assert_eq!(wide, expected, "{} bytes", text.len());
            }
        }
        let mut dispatched = text.to_vec();
        if apply(key, nonce, first_block, &mut dispatched) {
            assert_eq!(dispatched, expected, "{} bytes", text.len());
        }
    }

    #[test]
    fn the_first_block_is_that_of_the_estream_vectors() {
        // ECRYPT, Salsa20/20 with 256-bit keys, set 1, vector 0.
        let mut key = [0; 32];
        key[0] = 0x80;
        let begin =
            [0xe3, 0xbe, 0x8f, 0xdd, 0x8b, 0xec, 0xa2, 0xe3, 0xea, 0x8e, 0xf9, 0x47, 0x5b, 0x29, 0xa6, 0xe7];
        for way in WAYS {
            let mut text = [0; 64];
            if way(&initial_state(&key, &[0; 8]), 0, &mut text) {
                assert_eq!(text[..16], begin);
            }
        }
    }

    #[test]
    fn the_counter_carries_into_its_upper_word() {
        for before in 0..17 {
            assert_all_agree(&[1; 32], &[2; 8], u64::from(u32::MAX) - before, &[0; 2048]);
        }
    }

    #[test]
    fn every_length_around_the_borders_of_blocks_is_right() {
        let text: Vec<u8> = (0..3200u32).map(|number| (number % 251) as u8).collect();
        let borders = (0..=3136).step_by(BLOCK_BYTES);
        for length in borders.flat_map(|border: usize| border.saturating_sub(1)..=border + 1) {
            assert_all_agree(&[3; 32], &[4; 8], 1, &text[..length]);
        }
        assert_all_agree(&[3; 32], &[4; 8], 1, &[5; 16_384]);
    }

    proptest! {
        #[test]
        fn it_is_the_keystream_of_the_crate(
            key: [u8; 32],
            nonce: [u8; 8],
            first_block in 0u64..5,
            text in proptest::collection::vec(any::<u8>(), 0..3000),
        ) {
            assert_all_agree(&key, &nonce, first_block, &text);
        }
    }
}
