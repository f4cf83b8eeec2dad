//! SHA-512 of four texts at a time, one in each lane of a vector. They take hardly longer than one: most steps wait for
//! the one before. Time depends on the lengths of the texts alone.

#[cfg(target_arch = "x86_64")]
mod x86;

use super::hash::sha512;

const BLOCK_BYTES: usize = 128;
const DIGEST_BYTES: usize = 64;
/// The length of the text in bits, at its end.
const LENGTH_BYTES: usize = 16;

/// Texts that are hashed at a time.
const LANES: usize = 4;

type Block = [u8; BLOCK_BYTES];

/// The hashes of texts, in their order.
pub(super) fn digests(texts: &[&[u8]]) -> Vec<[u8; DIGEST_BYTES]> {
    let mut digests = Vec::with_capacity(texts.len());
    for texts in texts.chunks(LANES) {
        let four = if texts.len() > 1 { together(texts) } else { None };
        match four {
            Some(four) => digests.extend(four.iter().take(texts.len())),
            None => digests.extend(texts.iter().map(|text| sha512(text))),
        }
    }
    digests
}

/// The hashes of at most four texts, if the processor can make them together.
#[cfg(target_arch = "x86_64")]
fn together(texts: &[&[u8]]) -> Option<[[u8; DIGEST_BYTES]; LANES]> {
    let mut four = [Text::NONE; LANES];
    four.iter_mut().zip(texts).for_each(|(to, from)| *to = Text::new(from));
    x86::by_avx512(&four).or_else(|| x86::by_avx2(&four))
}

#[cfg(not(target_arch = "x86_64"))]
fn together(_: &[&[u8]]) -> Option<[[u8; DIGEST_BYTES]; LANES]> {
    None
}

/// A text as blocks.
#[derive(Debug, Clone, Copy)]
struct Text<'a> {
    whole: &'a [Block],
    /// What follows the whole blocks, padded.
    tail: [Block; 2],
    tail_blocks: usize,
}

impl<'a> Text<'a> {
    const NONE: Self = Self { whole: &[], tail: [[0; BLOCK_BYTES]; 2], tail_blocks: 0 };

    fn new(text: &'a [u8]) -> Self {
        let (whole, rest) = text.as_chunks::<BLOCK_BYTES>();
        let mut tail = [[0; BLOCK_BYTES]; 2];
        let padded = rest.iter().copied().chain([0x80]);
        tail.as_flattened_mut().iter_mut().zip(padded).for_each(|(to, from)| *to = from);
        let tail_blocks = if rest.len() < BLOCK_BYTES - LENGTH_BYTES { 1 } else { 2 };
        let bits = (text.len() as u128).wrapping_mul(8);
        if let Some(end) = tail.get_mut(tail_blocks - 1).and_then(|block| block.last_chunk_mut()) {
            *end = bits.to_be_bytes();
        }
        Self { whole, tail, tail_blocks }
    }

    fn block_count(&self) -> usize {
        self.whole.len().saturating_add(self.tail_blocks)
    }

    /// The block with this number; zeros behind the last.
    fn block(&self, number: usize) -> &Block {
        const NOTHING: &Block = &[0; BLOCK_BYTES];
        let in_tail = || self.tail.get(number.checked_sub(self.whole.len())?);
        self.whole.get(number).or_else(in_tail).unwrap_or(NOTHING)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn assert_right(texts: &[&[u8]]) {
        let expected: Vec<_> = texts.iter().map(|text| sha512(text)).collect();
        assert_eq!(digests(texts), expected);
        #[cfg(target_arch = "x86_64")]
        for (texts, expected) in texts.chunks(LANES).zip(expected.chunks(LANES)) {
            let mut four = [Text::NONE; LANES];
            four.iter_mut().zip(texts).for_each(|(to, from)| *to = Text::new(from));
            for digests in [x86::by_avx512(&four), x86::by_avx2(&four)].into_iter().flatten() {
                assert_eq!(digests[..texts.len()], *expected);
            }
        }
    }

    /// FIPS 180-2, C.1 and C.2, in every lane.
    #[test]
    fn known_answers() {
        let abc = "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";
        let long = "8e959b75dae313da8cf4f72814fc143f8f7779c6eb9f7fa17299aeadb6889018501d289e4900f7e4331b99dec4b5433ac7d329eeb6dd26545e96e55b874be909";
        let text = b"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu";
        let hex = |digest: &[u8; 64]| digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        for (number, digest) in digests(&[&b"abc"[..], text].repeat(4)).iter().enumerate() {
            assert_eq!(hex(digest), [abc, long][number % 2]);
        }
    }

    #[test]
    fn every_length_around_the_borders_of_blocks_is_right() {
        let text: Vec<u8> = (0..700u32).map(|number| (number * 7 % 251) as u8).collect();
        let all: Vec<&[u8]> = (0..text.len()).map(|length| &text[..length]).collect();
        assert_right(&all);
        let far: Vec<&[u8]> = (0..64).map(|number| &text[..number * 389 % 700]).collect();
        for count in 0..=far.len() {
            assert_right(&far[..count]);
        }
    }

    proptest! {
        #[test]
        fn they_are_those_of_the_crate(
            texts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..1000), 0..20),
        ) {
            assert_right(&texts.iter().map(Vec::as_slice).collect::<Vec<_>>());
        }
    }
}
