//! The keystream of Salsa20, eight blocks at a time, on processors with AVX2: three times as fast as one by one, and
//! most of what a server does is this.
//!
//! Word `w` of all eight blocks stands in one array, so that each step of the cipher is one vector instruction; which
//! instructions those are is left to the compiler. `pulp` compiles the code for AVX2 and calls it only where there is
//! such a processor. Time does not depend on the data: there are additions, rotations and exclusive ors alone.

use zeroize::Zeroize as _;

/// Shorter texts gain nothing.
pub(super) const BYTES_MIN: usize = BLOCK_BYTES * LANES;

const BLOCK_BYTES: usize = 64;
const BLOCK_WORDS: usize = 16;
/// Blocks at a time: words of 32 bits in a vector of 256.
const LANES: usize = 8;
/// Salsa20/20: each of these is a round over columns and one over rows.
const DOUBLE_ROUNDS: usize = 10;
/// "expand 32-byte k".
const CONSTANTS: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];

/// Applies the keystream from block `first_block` on, if this processor can do it in this way; says whether it did.
pub(super) fn apply(key: &[u8; 32], nonce: &[u8; 8], first_block: u64, text: &mut [u8]) -> bool {
    #[cfg(target_arch = "x86_64")]
    if let Some(processor) = pulp::x86::V3::try_new() {
        let mut state = initial_state(key, nonce);
        pulp::Simd::vectorize(processor, Apply { state: &state, first_block, text });
        state.zeroize();
        return true;
    }
    let _ = (key, nonce, first_block, text);
    false
}

#[cfg(target_arch = "x86_64")]
struct Apply<'a> {
    state: &'a [u32; BLOCK_WORDS],
    first_block: u64,
    text: &'a mut [u8],
}

#[cfg(target_arch = "x86_64")]
impl pulp::WithSimd for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        apply_wide(self.state, self.first_block, self.text);
    }
}

/// The state before the rounds, its block counter 0.
fn initial_state(key: &[u8; 32], nonce: &[u8; 8]) -> [u32; BLOCK_WORDS] {
    let [k0, k1, k2, k3, k4, k5, k6, k7] = words(key);
    let [n0, n1] = words(nonce);
    let [c0, c1, c2, c3] = CONSTANTS;
    [c0, k0, k1, k2, k3, c1, n0, n1, 0, 0, c2, k4, k5, k6, k7, c3]
}

fn words<const N: usize>(bytes: &[u8]) -> [u32; N] {
    let mut words = [0; N];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    words
}

#[inline(always)]
fn apply_wide(state: &[u32; BLOCK_WORDS], first_block: u64, text: &mut [u8]) {
    let mut keystream = [[0; BLOCK_WORDS]; LANES];
    let mut block = first_block;
    for part in text.chunks_mut(BLOCK_BYTES * LANES) {
        blocks(state, block, &mut keystream);
        block = block.wrapping_add(LANES as u64);
        for (text, keystream) in part.chunks_mut(BLOCK_BYTES).zip(&keystream) {
            match text.as_chunks_mut::<4>() {
                (whole, []) => {
                    for (bytes, word) in whole.iter_mut().zip(keystream) {
                        *bytes = (u32::from_le_bytes(*bytes) ^ word).to_le_bytes();
                    }
                }
                _ => {
                    let keystream = keystream.iter().flat_map(|word| word.to_le_bytes());
                    text.iter_mut().zip(keystream).for_each(|(byte, key)| *byte ^= key);
                }
            }
        }
    }
    keystream.as_flattened_mut().zeroize();
}

/// Eight blocks of keystream, the first with this counter.
#[inline(always)]
#[expect(
    clippy::indexing_slicing,
    clippy::needless_range_loop,
    reason = "the indices are constants within the arrays; such loops become vector instructions"
)]
fn blocks(state: &[u32; BLOCK_WORDS], first_block: u64, keystream: &mut [[u32; BLOCK_WORDS]; LANES]) {
    let mut start = [[0; LANES]; BLOCK_WORDS];
    for word in 0..BLOCK_WORDS {
        start[word] = [state[word]; LANES];
    }
    for lane in 0..LANES {
        let counter = first_block.wrapping_add(lane as u64);
        [start[8][lane], start[9][lane]] = [counter as u32, (counter >> 32) as u32];
    }
    let mut x = start;
    for _ in 0..DOUBLE_ROUNDS {
        quarter_round(&mut x, 0, 4, 8, 12);
        quarter_round(&mut x, 5, 9, 13, 1);
        quarter_round(&mut x, 10, 14, 2, 6);
        quarter_round(&mut x, 15, 3, 7, 11);
        quarter_round(&mut x, 0, 1, 2, 3);
        quarter_round(&mut x, 5, 6, 7, 4);
        quarter_round(&mut x, 10, 11, 8, 9);
        quarter_round(&mut x, 15, 12, 13, 14);
    }
    for word in 0..BLOCK_WORDS {
        for lane in 0..LANES {
            keystream[lane][word] = x[word][lane].wrapping_add(start[word][lane]);
        }
    }
}

#[inline(always)]
#[expect(
    clippy::indexing_slicing,
    clippy::needless_range_loop,
    reason = "the indices are constants within the arrays; such loops become vector instructions"
)]
fn quarter_round(x: &mut [[u32; LANES]; BLOCK_WORDS], a: usize, b: usize, c: usize, d: usize) {
    for lane in 0..LANES {
        x[b][lane] ^= x[a][lane].wrapping_add(x[d][lane]).rotate_left(7);
    }
    for lane in 0..LANES {
        x[c][lane] ^= x[b][lane].wrapping_add(x[a][lane]).rotate_left(9);
    }
    for lane in 0..LANES {
        x[d][lane] ^= x[c][lane].wrapping_add(x[b][lane]).rotate_left(13);
    }
    for lane in 0..LANES {
        x[a][lane] ^= x[d][lane].wrapping_add(x[c][lane]).rotate_left(18);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use salsa20::Salsa20;
    use salsa20::cipher::{KeyIvInit as _, StreamCipher as _, StreamCipherSeek as _};

    use super::*;

    /// One block at a time, by the crate.
    fn reference(key: &[u8; 32], nonce: &[u8; 8], first_block: u64, text: &mut [u8]) {
        let mut cipher = Salsa20::new(&(*key).into(), &(*nonce).into());
        cipher.seek(first_block * BLOCK_BYTES as u64);
        cipher.apply_keystream(text);
    }

    #[test]
    fn the_first_block_is_that_of_the_estream_vectors() {
        // ECRYPT, Salsa20/20 with 256-bit keys, set 1, vector 0.
        let mut key = [0; 32];
        key[0] = 0x80;
        let mut text = [0; 64];
        apply_wide(&initial_state(&key, &[0; 8]), 0, &mut text);
        let begin =
            [0xe3, 0xbe, 0x8f, 0xdd, 0x8b, 0xec, 0xa2, 0xe3, 0xea, 0x8e, 0xf9, 0x47, 0x5b, 0x29, 0xa6, 0xe7];
        assert_eq!(text[..16], begin);
    }

    #[test]
    fn the_counter_carries_into_its_upper_word() {
        let first_block = u64::from(u32::MAX) - 3;
        let (mut wide, mut one_by_one) = (vec![0; BYTES_MIN], vec![0; BYTES_MIN]);
        apply_wide(&initial_state(&[1; 32], &[2; 8]), first_block, &mut wide);
        reference(&[1; 32], &[2; 8], first_block, &mut one_by_one);
        assert_eq!(wide, one_by_one);
    }

    proptest! {
        #[test]
        fn it_is_the_keystream_of_the_crate(
            key: [u8; 32],
            nonce: [u8; 8],
            first_block in 0u64..5,
            text in proptest::collection::vec(any::<u8>(), 0..3000),
        ) {
            let mut expected = text.clone();
            reference(&key, &nonce, first_block, &mut expected);
            let mut wide = text.clone();
            apply_wide(&initial_state(&key, &nonce), first_block, &mut wide);
            prop_assert_eq!(&wide, &expected);
            let mut dispatched = text;
            if apply(&key, &nonce, first_block, &mut dispatched) {
                prop_assert_eq!(&dispatched, &expected);
            }
        }
    }
}
