//! The rounds of Salsa20 over vectors of x86 processors.

use std::arch::x86_64::{__m256i, __m512i};

use pulp::bytemuck::cast;
use pulp::x86::{V3, V4};
use zeroize::Zeroize as _;

pub(super) const BLOCK_BYTES: usize = 64;
pub(super) const BLOCK_WORDS: usize = 16;
/// "expand 32-byte k".
const CONSTANTS: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];

/// Salsa20/20: each of these is a round over columns and one over rows.
const DOUBLE_ROUNDS: usize = 10;
/// The most blocks that are computed at a time.
const LANES_MAX: usize = 16;

/// The state before the rounds, its block counter 0.
pub(super) fn initial_state(key: &[u8; 32], nonce: &[u8; 8]) -> [u32; BLOCK_WORDS] {
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

/// Applies the keystream where the processor has AVX-512; says whether it does.
pub(super) fn apply_avx512(state: &[u32; BLOCK_WORDS], first_block: u64, text: &mut [u8]) -> bool {
    let Some(processor) = V4::try_new() else { return false };
    processor.vectorize(Apply { lanes: processor, state, first_block, text });
    true
}

/// Applies the keystream where the processor has AVX2; says whether it does.
pub(super) fn apply_avx2(state: &[u32; BLOCK_WORDS], first_block: u64, text: &mut [u8]) -> bool {
    let Some(processor) = V3::try_new() else { return false };
    processor.vectorize(Apply { lanes: processor, state, first_block, text });
    true
}

/// Vectors of 32-bit words.
trait Lanes: Copy {
    /// A word of each block.
    type Vector: Copy;
    /// Words in a vector: blocks at a time.
    const COUNT: usize;

    /// The same word in all lanes.
    fn splat(self, word: u32) -> Self::Vector;

    /// Blocks' numbers, which rise by one from lane to lane: their lower words, and their upper ones.
    fn numbers(self, first: u64) -> [Self::Vector; 2];

    fn add(self, left: Self::Vector, right: Self::Vector) -> Self::Vector;

    fn xor(self, left: Self::Vector, right: Self::Vector) -> Self::Vector;

    /// Rotates each word; both shifts together are 32.
    fn rotate<const LEFT: i32, const RIGHT: i32>(self, vector: Self::Vector) -> Self::Vector;

    /// Turns each four lanes: of them the `n`th result has lane `n` of all four vectors.
    fn turn(self, vectors: [Self::Vector; 4]) -> [Self::Vector; 4];

    /// Applies a keystream to as many blocks as there are lanes. `turned[q][n]` has, in its `l`th four lanes, the words
    /// `4q` to `4q + 3` of block `4l + n`.
    fn apply(self, turned: [[Self::Vector; 4]; 4], blocks: &mut [[u8; BLOCK_BYTES]]);
}

struct Apply<'a, L> {
    lanes: L,
    state: &'a [u32; BLOCK_WORDS],
    first_block: u64,
    text: &'a mut [u8],
}

impl<L: Lanes> pulp::NullaryFnOnce for Apply<'_, L> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { lanes, state, first_block, text } = self;
        let mut number = first_block;
        let (whole, _) = text.as_chunks_mut::<BLOCK_BYTES>();
        let mut done = 0usize;
        for blocks in whole.chunks_exact_mut(L::COUNT) {
            apply_to(lanes, state, number, blocks);
            number = number.wrapping_add(L::COUNT as u64);
            done = done.saturating_add(L::COUNT.saturating_mul(BLOCK_BYTES));
        }
        let rest = text.get_mut(done..).unwrap_or_default();
        if !rest.is_empty() {
            let mut last = [[0; BLOCK_BYTES]; LANES_MAX];
            last.as_flattened_mut().iter_mut().zip(&*rest).for_each(|(to, from)| *to = *from);
            apply_to(lanes, state, number, last.get_mut(..L::COUNT).unwrap_or_default());
            rest.iter_mut().zip(last.as_flattened()).for_each(|(to, from)| *to = *from);
            // Behind the text it has keystream.
            last.as_flattened_mut().zeroize();
        }
    }
}

/// As many blocks as there are lanes, the first with this number.
#[inline(always)]
fn apply_to<L: Lanes>(
    lanes: L,
    state: &[u32; BLOCK_WORDS],
    first_block: u64,
    blocks: &mut [[u8; BLOCK_BYTES]],
) {
    let mut start = [lanes.splat(0); BLOCK_WORDS];
    for (vector, word) in start.iter_mut().zip(state) {
        *vector = lanes.splat(*word);
    }
    [start[8], start[9]] = lanes.numbers(first_block);
    let mut x = start;
    for _ in 0..DOUBLE_ROUNDS {
        quarter_round::<_, 0, 4, 8, 12>(lanes, &mut x);
        quarter_round::<_, 5, 9, 13, 1>(lanes, &mut x);
        quarter_round::<_, 10, 14, 2, 6>(lanes, &mut x);
        quarter_round::<_, 15, 3, 7, 11>(lanes, &mut x);
        quarter_round::<_, 0, 1, 2, 3>(lanes, &mut x);
        quarter_round::<_, 5, 6, 7, 4>(lanes, &mut x);
        quarter_round::<_, 10, 11, 8, 9>(lanes, &mut x);
        quarter_round::<_, 15, 12, 13, 14>(lanes, &mut x);
    }
    for (word, start) in x.iter_mut().zip(start) {
        *word = lanes.add(*word, start);
    }
    let [a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3] = x;
    // Not by `map`: what it calls is not compiled for the processor.
    let turned = [
        lanes.turn([a0, a1, a2, a3]),
        lanes.turn([b0, b1, b2, b3]),
        lanes.turn([c0, c1, c2, c3]),
        lanes.turn([d0, d1, d2, d3]),
    ];
    lanes.apply(turned, blocks);
}

#[inline(always)]
#[expect(clippy::indexing_slicing, reason = "the indices are constants within the array")]
fn quarter_round<L: Lanes, const A: usize, const B: usize, const C: usize, const D: usize>(
    lanes: L,
    x: &mut [L::Vector; BLOCK_WORDS],
) {
    x[B] = lanes.xor(x[B], lanes.rotate::<7, 25>(lanes.add(x[A], x[D])));
    x[C] = lanes.xor(x[C], lanes.rotate::<9, 23>(lanes.add(x[B], x[A])));
    x[D] = lanes.xor(x[D], lanes.rotate::<13, 19>(lanes.add(x[C], x[B])));
    x[A] = lanes.xor(x[A], lanes.rotate::<18, 14>(lanes.add(x[D], x[C])));
}

/// The numbers of blocks: lower and upper words.
#[inline(always)]
fn numbers<const N: usize>(first: u64) -> [[u32; N]; 2] {
    let numbers: [u64; N] = std::array::from_fn(|lane| first.wrapping_add(lane as u64));
    [numbers.map(|number| number as u32), numbers.map(|number| (number >> 32) as u32)]
}

impl Lanes for V4 {
    type Vector = __m512i;
    const COUNT: usize = 16;

    #[inline(always)]
    fn splat(self, word: u32) -> __m512i {
        self.avx512f._mm512_set1_epi32(word.cast_signed())
    }

    #[inline(always)]
    fn numbers(self, first: u64) -> [__m512i; 2] {
        let [lower, upper] = numbers::<{ Self::COUNT }>(first);
        [cast(lower), cast(upper)]
    }

    #[inline(always)]
    fn add(self, left: __m512i, right: __m512i) -> __m512i {
        self.avx512f._mm512_add_epi32(left, right)
    }

    #[inline(always)]
    fn xor(self, left: __m512i, right: __m512i) -> __m512i {
        self.avx512f._mm512_xor_si512(left, right)
    }

    #[inline(always)]
    fn rotate<const LEFT: i32, const RIGHT: i32>(self, vector: __m512i) -> __m512i {
        self.avx512f._mm512_rol_epi32::<LEFT>(vector)
    }

    #[inline(always)]
    fn turn(self, [a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
        let f = self.avx512f;
        let (ab, cd) = (f._mm512_unpacklo_epi32(a, b), f._mm512_unpacklo_epi32(c, d));
        let (ab_high, cd_high) = (f._mm512_unpackhi_epi32(a, b), f._mm512_unpackhi_epi32(c, d));
        [
            f._mm512_unpacklo_epi64(ab, cd),
            f._mm512_unpackhi_epi64(ab, cd),
            f._mm512_unpacklo_epi64(ab_high, cd_high),
            f._mm512_unpackhi_epi64(ab_high, cd_high),
        ]
    }

    #[inline(always)]
    #[expect(clippy::indexing_slicing, reason = "the indices lie within the arrays")]
    fn apply(self, [a, b, c, d]: [[__m512i; 4]; 4], blocks: &mut [[u8; BLOCK_BYTES]]) {
        let f = self.avx512f;
        let Ok(blocks) = <&mut [[u8; BLOCK_BYTES]; Self::COUNT]>::try_from(blocks) else { return };
        for n in 0..4 {
            let ab = f._mm512_shuffle_i32x4::<0x44>(a[n], b[n]);
            let cd = f._mm512_shuffle_i32x4::<0x44>(c[n], d[n]);
            let ab_high = f._mm512_shuffle_i32x4::<0xee>(a[n], b[n]);
            let cd_high = f._mm512_shuffle_i32x4::<0xee>(c[n], d[n]);
            let keystream = [
                f._mm512_shuffle_i32x4::<0x88>(ab, cd),
                f._mm512_shuffle_i32x4::<0xdd>(ab, cd),
                f._mm512_shuffle_i32x4::<0x88>(ab_high, cd_high),
                f._mm512_shuffle_i32x4::<0xdd>(ab_high, cd_high),
            ];
            for l in 0..4 {
                let block = &mut blocks[4 * l + n];
                *block = cast(f._mm512_xor_si512(cast(*block), keystream[l]));
            }
        }
    }
}

impl Lanes for V3 {
    type Vector = __m256i;
    const COUNT: usize = 8;

    #[inline(always)]
    fn splat(self, word: u32) -> __m256i {
        self.avx._mm256_set1_epi32(word.cast_signed())
    }

    #[inline(always)]
    fn numbers(self, first: u64) -> [__m256i; 2] {
        let [lower, upper] = numbers::<{ Self::COUNT }>(first);
        [cast(lower), cast(upper)]
    }

    #[inline(always)]
    fn add(self, left: __m256i, right: __m256i) -> __m256i {
        self.avx2._mm256_add_epi32(left, right)
    }

    #[inline(always)]
    fn xor(self, left: __m256i, right: __m256i) -> __m256i {
        self.avx2._mm256_xor_si256(left, right)
    }

    #[inline(always)]
    fn rotate<const LEFT: i32, const RIGHT: i32>(self, vector: __m256i) -> __m256i {
        let f = self.avx2;
        f._mm256_or_si256(f._mm256_slli_epi32::<LEFT>(vector), f._mm256_srli_epi32::<RIGHT>(vector))
    }

    #[inline(always)]
    fn turn(self, [a, b, c, d]: [__m256i; 4]) -> [__m256i; 4] {
        let f = self.avx2;
        let (ab, cd) = (f._mm256_unpacklo_epi32(a, b), f._mm256_unpacklo_epi32(c, d));
        let (ab_high, cd_high) = (f._mm256_unpackhi_epi32(a, b), f._mm256_unpackhi_epi32(c, d));
        [
            f._mm256_unpacklo_epi64(ab, cd),
            f._mm256_unpackhi_epi64(ab, cd),
            f._mm256_unpacklo_epi64(ab_high, cd_high),
            f._mm256_unpackhi_epi64(ab_high, cd_high),
        ]
    }

    #[inline(always)]
    #[expect(clippy::indexing_slicing, reason = "the indices lie within the arrays")]
    fn apply(self, [a, b, c, d]: [[__m256i; 4]; 4], blocks: &mut [[u8; BLOCK_BYTES]]) {
        let f = self.avx2;
        let Ok(blocks) = <&mut [[u8; BLOCK_BYTES]; Self::COUNT]>::try_from(blocks) else { return };
        let (halves, _) = blocks.as_flattened_mut().as_chunks_mut::<{ BLOCK_BYTES / 2 }>();
        for n in 0..4 {
            let keystream = [
                f._mm256_permute2x128_si256::<0x20>(a[n], b[n]),
                f._mm256_permute2x128_si256::<0x20>(c[n], d[n]),
                f._mm256_permute2x128_si256::<0x31>(a[n], b[n]),
                f._mm256_permute2x128_si256::<0x31>(c[n], d[n]),
            ];
            for part in 0..4 {
                let half = &mut halves[2 * (4 * (part / 2) + n) + part % 2];
                *half = cast(f._mm256_xor_si256(cast(*half), keystream[part]));
            }
        }
    }
}
