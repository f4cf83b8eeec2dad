//! Eight blocks at a time, by the vectors of AVX-512.

use std::arch::x86_64::__m512i;

use pulp::bytemuck::cast;
use zeroize::Zeroizing;

use super::limbs::{BLOCK_BYTES, Limbs, MASK_42, MASK_44, WHOLE, factor_and_addend, finish};

/// Blocks at a time.
const LANES: usize = 8;
const GROUP_BYTES: usize = LANES * BLOCK_BYTES;
/// Which block of a group stands in which lane: they are taken apart in the order that costs least.
const BLOCK_OF_LANE: [usize; LANES] = [0, 4, 1, 5, 2, 6, 3, 7];

pulp::simd_type! {
    /// Processors with AVX-512 that multiply numbers of 52 bits.
    struct Ifma {
        avx512f: "avx512f",
        avx512ifma: "avx512ifma",
    }
}

/// The authenticator, if this processor can make it in this way.
pub(super) fn authenticate(key: &[u8; 32], text: &[u8]) -> Option<[u8; 16]> {
    let processor = Ifma::try_new()?;
    Some(processor.vectorize(Authenticate { processor, key, text }))
}

struct Authenticate<'a> {
    processor: Ifma,
    key: &'a [u8; 32],
    text: &'a [u8],
}

impl pulp::NullaryFnOnce for Authenticate<'_> {
    type Output = [u8; 16];

    #[inline(always)]
    fn call(self) -> [u8; 16] {
        let Self { processor, key, text } = self;
        let (factor, addend) = factor_and_addend(key);
        let (groups, rest) = text.as_chunks::<GROUP_BYTES>();
        let sum = match groups.split_last() {
            Some((last, groups)) => sum_of_groups(processor, factor, groups, last),
            None => Limbs::ZERO,
        };
        finish(sum, factor, addend, rest)
    }
}

/// The sum after whole groups.
#[inline(always)]
fn sum_of_groups(
    processor: Ifma,
    factor: Limbs,
    groups: &[[u8; GROUP_BYTES]],
    last: &[u8; GROUP_BYTES],
) -> Limbs {
    // From r⁸ to r, as the blocks of the last group want them.
    let mut powers = Zeroizing::new([factor; LANES]);
    let mut power = factor;
    for place in powers.iter_mut().rev().skip(1) {
        power = power.times(factor);
        *place = power;
    }
    let [low, middle, high] = power.0;
    let eighth = [splat(processor, low), splat(processor, middle), splat(processor, high)];
    let mut lanes = [splat(processor, 0); 3];
    for group in groups {
        lanes = step(processor, lanes, eighth, group);
    }
    let of_block = |block: usize| powers.get(block).copied().unwrap_or(Limbs::ZERO).0;
    let [low, middle, high] = transposed(BLOCK_OF_LANE.map(of_block));
    let lanes = step(processor, lanes, [cast(low), cast(middle), cast(high)], last);
    // Eight limbs of 45 bits each.
    let sum = lanes.map(|limb| cast::<__m512i, [u64; LANES]>(limb).iter().sum());
    Limbs(sum).carried()
}

/// Adds a group of blocks and multiplies. Both factors have limbs of 44, 44 and 42 bits, the first with up to seven bits
/// more in its second limb's lowest place; so has the product.
#[inline(always)]
fn step(p: Ifma, lanes: [__m512i; 3], factor: [__m512i; 3], group: &[u8; GROUP_BYTES]) -> [__m512i; 3] {
    let (f, ifma) = (p.avx512f, p.avx512ifma);
    let (mask_44, mask_42) = (splat(p, MASK_44), splat(p, MASK_42));
    let add = |a, b| f._mm512_add_epi64(a, b);
    let keep = |a, mask| f._mm512_and_si512(a, mask);

    let [first, second]: [__m512i; 2] = cast(*group);
    let lower = f._mm512_unpacklo_epi64(first, second);
    let upper = f._mm512_unpackhi_epi64(first, second);
    let middle = f._mm512_or_si512(f._mm512_srli_epi64::<44>(lower), f._mm512_slli_epi64::<20>(upper));
    let high = f._mm512_or_si512(f._mm512_srli_epi64::<24>(upper), splat(p, WHOLE));
    let [a0, a1, a2] = lanes;
    let (a0, a1, a2) = (add(a0, keep(lower, mask_44)), add(a1, keep(middle, mask_44)), add(a2, high));

    let twentyfold = |a| add(f._mm512_slli_epi64::<4>(a), f._mm512_slli_epi64::<2>(a));
    let [b0, b1, b2] = factor;
    let (c1, c2) = (twentyfold(b1), twentyfold(b2));

    // The sums of three products each, with 45 + 49 bits at most: their lower 52 bits, and the upper ones, which have
    // 40 at most and count 2⁵² times as much as the limb, that is 2⁸ times as much as the next one.
    let low = |a, b, sum| ifma._mm512_madd52lo_epu64(sum, a, b);
    let up = |a, b, sum| ifma._mm512_madd52hi_epu64(sum, a, b);
    let none = splat(p, 0);
    let low0 = low(a0, b0, low(a1, c2, low(a2, c1, none)));
    let low1 = low(a0, b1, low(a1, b0, low(a2, c2, none)));
    let low2 = low(a0, b2, low(a1, b1, low(a2, b0, none)));
    let up0 = up(a0, b0, up(a1, c2, up(a2, c1, none)));
    let up1 = up(a0, b1, up(a1, b0, up(a2, c2, none)));
    let up2 = up(a0, b2, up(a1, b1, up(a2, b0, none)));

    let p1 = add(low1, add(f._mm512_slli_epi64::<8>(up0), f._mm512_srli_epi64::<44>(low0)));
    let p2 = add(low2, add(f._mm512_slli_epi64::<8>(up1), f._mm512_srli_epi64::<44>(p1)));
    // Beyond the third limb, which has two bits less: at most 49 bits, five times of which fit.
    let beyond = add(f._mm512_slli_epi64::<10>(up2), f._mm512_srli_epi64::<42>(p2));
    let p0 = add(keep(low0, mask_44), add(beyond, f._mm512_slli_epi64::<2>(beyond)));
    [keep(p0, mask_44), add(keep(p1, mask_44), f._mm512_srli_epi64::<44>(p0)), keep(p2, mask_42)]
}

#[inline(always)]
fn splat(processor: Ifma, limb: u64) -> __m512i {
    processor.avx512f._mm512_set1_epi64(limb.cast_signed())
}

/// Of each limb its eight lanes.
#[inline(always)]
fn transposed(lanes: [[u64; 3]; LANES]) -> [[u64; LANES]; 3] {
    [lanes.map(|[limb, _, _]| limb), lanes.map(|[_, limb, _]| limb), lanes.map(|[_, _, limb]| limb)]
}
