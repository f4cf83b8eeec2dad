//! The rounds of SHA-512 over vectors of x86 processors.

use std::arch::x86_64::__m256i;

use pulp::bytemuck::cast;
use pulp::x86::{V3, V4};

use super::{Block, DIGEST_BYTES, LANES, Text};

const WORDS: usize = 16;
const STATE_WORDS: usize = 8;

#[rustfmt::skip]
const INITIAL: [u64; STATE_WORDS] = [
    0x6a09_e667_f3bc_c908, 0xbb67_ae85_84ca_a73b, 0x3c6e_f372_fe94_f82b, 0xa54f_f53a_5f1d_36f1,
    0x510e_527f_ade6_82d1, 0x9b05_688c_2b3e_6c1f, 0x1f83_d9ab_fb41_bd6b, 0x5be0_cd19_137e_2179,
];

#[rustfmt::skip]
const CONSTANTS: [u64; 80] = [
    0x428a_2f98_d728_ae22, 0x7137_4491_23ef_65cd, 0xb5c0_fbcf_ec4d_3b2f, 0xe9b5_dba5_8189_dbbc,
    0x3956_c25b_f348_b538, 0x59f1_11f1_b605_d019, 0x923f_82a4_af19_4f9b, 0xab1c_5ed5_da6d_8118,
    0xd807_aa98_a303_0242, 0x1283_5b01_4570_6fbe, 0x2431_85be_4ee4_b28c, 0x550c_7dc3_d5ff_b4e2,
    0x72be_5d74_f27b_896f, 0x80de_b1fe_3b16_96b1, 0x9bdc_06a7_25c7_1235, 0xc19b_f174_cf69_2694,
    0xe49b_69c1_9ef1_4ad2, 0xefbe_4786_384f_25e3, 0x0fc1_9dc6_8b8c_d5b5, 0x240c_a1cc_77ac_9c65,
    0x2de9_2c6f_592b_0275, 0x4a74_84aa_6ea6_e483, 0x5cb0_a9dc_bd41_fbd4, 0x76f9_88da_8311_53b5,
    0x983e_5152_ee66_dfab, 0xa831_c66d_2db4_3210, 0xb003_27c8_98fb_213f, 0xbf59_7fc7_beef_0ee4,
    0xc6e0_0bf3_3da8_8fc2, 0xd5a7_9147_930a_a725, 0x06ca_6351_e003_826f, 0x1429_2967_0a0e_6e70,
    0x27b7_0a85_46d2_2ffc, 0x2e1b_2138_5c26_c926, 0x4d2c_6dfc_5ac4_2aed, 0x5338_0d13_9d95_b3df,
    0x650a_7354_8baf_63de, 0x766a_0abb_3c77_b2a8, 0x81c2_c92e_47ed_aee6, 0x9272_2c85_1482_353b,
    0xa2bf_e8a1_4cf1_0364, 0xa81a_664b_bc42_3001, 0xc24b_8b70_d0f8_9791, 0xc76c_51a3_0654_be30,
    0xd192_e819_d6ef_5218, 0xd699_0624_5565_a910, 0xf40e_3585_5771_202a, 0x106a_a070_32bb_d1b8,
    0x19a4_c116_b8d2_d0c8, 0x1e37_6c08_5141_ab53, 0x2748_774c_df8e_eb99, 0x34b0_bcb5_e19b_48a8,
    0x391c_0cb3_c5c9_5a63, 0x4ed8_aa4a_e341_8acb, 0x5b9c_ca4f_7763_e373, 0x682e_6ff3_d6b2_b8a3,
    0x748f_82ee_5def_b2fc, 0x78a5_636f_4317_2f60, 0x84c8_7814_a1f0_ab72, 0x8cc7_0208_1a64_39ec,
    0x90be_fffa_2363_1e28, 0xa450_6ceb_de82_bde9, 0xbef9_a3f7_b2c6_7915, 0xc671_78f2_e372_532b,
    0xca27_3ece_ea26_619c, 0xd186_b8c7_21c0_c207, 0xeada_7dd6_cde0_eb1e, 0xf57d_4f7f_ee6e_d178,
    0x06f0_67aa_7217_6fba, 0x0a63_7dc5_a2c8_98a6, 0x113f_9804_bef9_0dae, 0x1b71_0b35_131c_471b,
    0x28db_77f5_2304_7d84, 0x32ca_ab7b_40c7_2493, 0x3c9e_be0a_15c9_bebc, 0x431d_67c4_9c10_0d4c,
    0x4cc5_d4be_cb3e_42b6, 0x597f_299c_fc65_7e2a, 0x5fcb_6fab_3ad6_faec, 0x6c44_198c_4a47_5817,
];

/// Hashes four texts, if the processor has AVX-512.
pub(super) fn by_avx512(texts: &[Text<'_>; LANES]) -> Option<[[u8; DIGEST_BYTES]; LANES]> {
    let processor = V4::try_new()?;
    Some(processor.vectorize(Digests { processor, texts }))
}

/// Hashes four texts, if the processor has AVX2.
pub(super) fn by_avx2(texts: &[Text<'_>; LANES]) -> Option<[[u8; DIGEST_BYTES]; LANES]> {
    let processor = V3::try_new()?;
    Some(processor.vectorize(Digests { processor, texts }))
}

/// What processors do in different ways with vectors of four words, one of each text.
trait Processor: Copy {
    fn avx2(self) -> V3;

    fn xor(self, one: __m256i, two: __m256i, three: __m256i) -> __m256i;

    /// Of each bit the one of `yes` where `by` has a 1, else that of `no`.
    fn choose(self, by: __m256i, yes: __m256i, no: __m256i) -> __m256i;

    /// Of each bit what most of them have.
    fn majority(self, one: __m256i, two: __m256i, three: __m256i) -> __m256i;

    /// Rotates each word to the right; both shifts together are 64.
    fn rotate<const RIGHT: i32, const LEFT: i32>(self, vector: __m256i) -> __m256i;
}

struct Digests<'a, P> {
    processor: P,
    texts: &'a [Text<'a>; LANES],
}

impl<P: Processor> pulp::NullaryFnOnce for Digests<'_, P> {
    type Output = [[u8; DIGEST_BYTES]; LANES];

    #[inline(always)]
    fn call(self) -> Self::Output {
        let Self { processor, texts } = self;
        let mut digests = [[0; DIGEST_BYTES]; LANES];
        let mut state = [splat(processor, 0); STATE_WORDS];
        for (vector, word) in state.iter_mut().zip(INITIAL) {
            *vector = splat(processor, word);
        }
        let count = texts.iter().map(Text::block_count).max().unwrap_or_default();
        for number in 0..count {
            // A text that ended before goes on with zeros, to no end.
            let [a, b, c, d] = texts;
            let blocks = [a.block(number), b.block(number), c.block(number), d.block(number)];
            state = compress(processor, state, load(processor, blocks));
            for (lane, (text, digest)) in texts.iter().zip(&mut digests).enumerate() {
                if text.block_count() == number.saturating_add(1) {
                    let (words, _) = digest.as_chunks_mut();
                    for (bytes, vector) in words.iter_mut().zip(state) {
                        let word = cast::<_, [u64; LANES]>(vector).get(lane).copied();
                        *bytes = word.unwrap_or_default().to_be_bytes();
                    }
                }
            }
        }
        digests
    }
}

#[inline(always)]
fn compress<P: Processor>(
    p: P,
    before: [__m256i; STATE_WORDS],
    mut words: [__m256i; WORDS],
) -> [__m256i; STATE_WORDS] {
    let mut state = before;
    let (constants, _) = CONSTANTS.as_chunks::<WORDS>();
    for (number, constants) in constants.iter().enumerate() {
        if number > 0 {
            extend::<_, 0>(p, &mut words);
            extend::<_, 1>(p, &mut words);
            extend::<_, 2>(p, &mut words);
            extend::<_, 3>(p, &mut words);
            extend::<_, 4>(p, &mut words);
            extend::<_, 5>(p, &mut words);
            extend::<_, 6>(p, &mut words);
            extend::<_, 7>(p, &mut words);
            extend::<_, 8>(p, &mut words);
            extend::<_, 9>(p, &mut words);
            extend::<_, 10>(p, &mut words);
            extend::<_, 11>(p, &mut words);
            extend::<_, 12>(p, &mut words);
            extend::<_, 13>(p, &mut words);
            extend::<_, 14>(p, &mut words);
            extend::<_, 15>(p, &mut words);
        }
        round::<_, 0>(p, &mut state, &words, constants);
        round::<_, 1>(p, &mut state, &words, constants);
        round::<_, 2>(p, &mut state, &words, constants);
        round::<_, 3>(p, &mut state, &words, constants);
        round::<_, 4>(p, &mut state, &words, constants);
        round::<_, 5>(p, &mut state, &words, constants);
        round::<_, 6>(p, &mut state, &words, constants);
        round::<_, 7>(p, &mut state, &words, constants);
        round::<_, 8>(p, &mut state, &words, constants);
        round::<_, 9>(p, &mut state, &words, constants);
        round::<_, 10>(p, &mut state, &words, constants);
        round::<_, 11>(p, &mut state, &words, constants);
        round::<_, 12>(p, &mut state, &words, constants);
        round::<_, 13>(p, &mut state, &words, constants);
        round::<_, 14>(p, &mut state, &words, constants);
        round::<_, 15>(p, &mut state, &words, constants);
    }
    for (word, before) in state.iter_mut().zip(before) {
        *word = add(p, *word, before);
    }
    state
}

/// The word with this number of the next sixteen.
#[inline(always)]
#[expect(clippy::indexing_slicing, reason = "the indices are constants within the array")]
fn extend<P: Processor, const N: usize>(p: P, words: &mut [__m256i; WORDS]) {
    let (near, far) = (words[(N + 1) % WORDS], words[(N + 14) % WORDS]);
    let near =
        p.xor(p.rotate::<1, 63>(near), p.rotate::<8, 56>(near), p.avx2().avx2._mm256_srli_epi64::<7>(near));
    let far =
        p.xor(p.rotate::<19, 45>(far), p.rotate::<61, 3>(far), p.avx2().avx2._mm256_srli_epi64::<6>(far));
    words[N] = add(p, add(p, words[N], near), add(p, words[(N + 9) % WORDS], far));
}

/// The round with this number of sixteen. The state is not moved: the names are.
#[inline(always)]
#[expect(clippy::indexing_slicing, reason = "the indices are constants within the arrays")]
fn round<P: Processor, const N: usize>(
    p: P,
    state: &mut [__m256i; STATE_WORDS],
    words: &[__m256i; WORDS],
    constants: &[u64; WORDS],
) {
    let place = |letter: usize| (letter + 2 * STATE_WORDS - N) % STATE_WORDS;
    let [a, b, c, d, e, f, g, h] = [0, 1, 2, 3, 4, 5, 6, 7].map(place);
    let added = add(p, splat(p, constants[N]), words[N]);
    let e_turned =
        p.xor(p.rotate::<14, 50>(state[e]), p.rotate::<18, 46>(state[e]), p.rotate::<41, 23>(state[e]));
    let chosen = p.choose(state[e], state[f], state[g]);
    let first = add(p, add(p, state[h], added), add(p, e_turned, chosen));
    let a_turned =
        p.xor(p.rotate::<28, 36>(state[a]), p.rotate::<34, 30>(state[a]), p.rotate::<39, 25>(state[a]));
    let second = add(p, a_turned, p.majority(state[a], state[b], state[c]));
    state[d] = add(p, state[d], first);
    state[h] = add(p, first, second);
}

#[inline(always)]
fn splat(p: impl Processor, word: u64) -> __m256i {
    p.avx2().avx._mm256_set1_epi64x(word.cast_signed())
}

#[inline(always)]
fn add(p: impl Processor, left: __m256i, right: __m256i) -> __m256i {
    p.avx2().avx2._mm256_add_epi64(left, right)
}

/// The words of blocks, one for each lane.
#[inline(always)]
#[expect(clippy::indexing_slicing, reason = "the indices lie within the arrays")]
fn load(p: impl Processor, blocks: [&Block; LANES]) -> [__m256i; WORDS] {
    /// Where the bytes of two words come from when they are turned.
    const BIG_ENDIAN: [u8; 16] = [7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8];

    let f = p.avx2().avx2;
    let order = cast([BIG_ENDIAN; 2]);
    let mut words = [splat(p, 0); WORDS];
    for quarter in 0..4 {
        let mut rows = [splat(p, 0); LANES];
        for (row, block) in rows.iter_mut().zip(blocks) {
            let quarters: [__m256i; 4] = cast(*block);
            *row = f._mm256_shuffle_epi8(quarters[quarter], order);
        }
        let [a, b, c, d] = rows;
        let (even, even_high) = (f._mm256_unpacklo_epi64(a, b), f._mm256_unpacklo_epi64(c, d));
        let (odd, odd_high) = (f._mm256_unpackhi_epi64(a, b), f._mm256_unpackhi_epi64(c, d));
        words[4 * quarter] = f._mm256_permute2x128_si256::<0x20>(even, even_high);
        words[4 * quarter + 1] = f._mm256_permute2x128_si256::<0x20>(odd, odd_high);
        words[4 * quarter + 2] = f._mm256_permute2x128_si256::<0x31>(even, even_high);
        words[4 * quarter + 3] = f._mm256_permute2x128_si256::<0x31>(odd, odd_high);
    }
    words
}

/// Processors with AVX-512 turn words, and combine three of them, in one instruction.
impl Processor for V4 {
    #[inline(always)]
    fn avx2(self) -> V3 {
        *self
    }

    #[inline(always)]
    fn xor(self, one: __m256i, two: __m256i, three: __m256i) -> __m256i {
        self.avx512f._mm256_ternarylogic_epi64::<0x96>(one, two, three)
    }

    #[inline(always)]
    fn choose(self, by: __m256i, yes: __m256i, no: __m256i) -> __m256i {
        self.avx512f._mm256_ternarylogic_epi64::<0xca>(by, yes, no)
    }

    #[inline(always)]
    fn majority(self, one: __m256i, two: __m256i, three: __m256i) -> __m256i {
        self.avx512f._mm256_ternarylogic_epi64::<0xe8>(one, two, three)
    }

    #[inline(always)]
    fn rotate<const RIGHT: i32, const LEFT: i32>(self, vector: __m256i) -> __m256i {
        self.avx512f._mm256_ror_epi64::<RIGHT>(vector)
    }
}

impl Processor for V3 {
    #[inline(always)]
    fn avx2(self) -> V3 {
        self
    }

    #[inline(always)]
    fn xor(self, one: __m256i, two: __m256i, three: __m256i) -> __m256i {
        self.avx2._mm256_xor_si256(self.avx2._mm256_xor_si256(one, two), three)
    }

    #[inline(always)]
    fn choose(self, by: __m256i, yes: __m256i, no: __m256i) -> __m256i {
        let f = self.avx2;
        f._mm256_xor_si256(no, f._mm256_and_si256(by, f._mm256_xor_si256(yes, no)))
    }

    #[inline(always)]
    fn majority(self, one: __m256i, two: __m256i, three: __m256i) -> __m256i {
        let f = self.avx2;
        let both = f._mm256_and_si256(one, two);
        f._mm256_or_si256(both, f._mm256_and_si256(three, f._mm256_or_si256(one, two)))
    }

    #[inline(always)]
    fn rotate<const RIGHT: i32, const LEFT: i32>(self, vector: __m256i) -> __m256i {
        let f = self.avx2;
        f._mm256_or_si256(f._mm256_srli_epi64::<RIGHT>(vector), f._mm256_slli_epi64::<LEFT>(vector))
    }
}
