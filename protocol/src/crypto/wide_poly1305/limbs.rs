//! Numbers modulo 2¹³⁰ − 5 in three limbs, and a text block by block.

/// Bytes of a block.
pub(super) const BLOCK_BYTES: usize = 16;
/// The lower two limbs' bits.
pub(super) const MASK_44: u64 = (1 << 44) - 1;
/// The third limb's bits.
pub(super) const MASK_42: u64 = (1 << 42) - 1;
/// The 1 behind a whole block, in the third limb: bit 128 of the number.
pub(super) const WHOLE: u64 = 1 << 40;

/// A number below 2¹³¹ in limbs of 44, 44 and 42 bits, of which the upper two may have a bit more.
#[derive(Clone, Copy, zeroize::Zeroize)]
pub(super) struct Limbs(pub(super) [u64; 3]);

impl Limbs {
    pub(super) const ZERO: Self = Self([0; 3]);

    /// A block, and what stands behind it.
    #[inline(always)]
    pub(super) fn of(block: [u8; BLOCK_BYTES], behind: u64) -> Self {
        let number = u128::from_le_bytes(block);
        let (lower, upper) = (number as u64, (number >> 64) as u64);
        Self([lower & MASK_44, ((lower >> 44) | (upper << 20)) & MASK_44, (upper >> 24) | behind])
    }

    /// The last block, of fewer than 16 bytes: the 1 stands behind them.
    fn of_part(part: &[u8]) -> Self {
        let mut block = [0; BLOCK_BYTES];
        let padded = part.iter().copied().chain([1]);
        block.iter_mut().zip(padded).for_each(|(to, from)| *to = from);
        Self::of(block, 0)
    }

    #[inline(always)]
    pub(super) fn plus(self, other: Self) -> Self {
        let ([a0, a1, a2], [b0, b1, b2]) = (self.0, other.0);
        Self([a0 + b0, a1 + b1, a2 + b2])
    }

    /// Products of limbs have at most 45 + 49 bits, so that sums of three and a carry fit.
    #[inline(always)]
    pub(super) fn times(self, other: Self) -> Self {
        let ([a0, a1, a2], [b0, b1, b2]) = (self.0.map(u128::from), other.0.map(u128::from));
        let (c1, c2) = (b1 * 20, b2 * 20);
        let p0 = a0 * b0 + a1 * c2 + a2 * c1;
        let p1 = a0 * b1 + a1 * b0 + a2 * c2 + (p0 >> 44);
        let p2 = a0 * b2 + a1 * b1 + a2 * b0 + (p1 >> 44);
        // 2¹³⁰ is 5 modulo the prime.
        let first = (p0 as u64 & MASK_44) + (p2 >> 42) as u64 * 5;
        Self([first & MASK_44, (p1 as u64 & MASK_44) + (first >> 44), p2 as u64 & MASK_42])
    }

    /// The same number, its carries passed on.
    #[inline(always)]
    pub(super) fn carried(self) -> Self {
        let [a0, a1, a2] = self.0;
        let a1 = a1 + (a0 >> 44);
        let a2 = a2 + (a1 >> 44);
        let a0 = (a0 & MASK_44) + (a2 >> 42) * 5;
        Self([a0 & MASK_44, (a1 & MASK_44) + (a0 >> 44), a2 & MASK_42])
    }

    /// The least number that is the same modulo the prime, without its upper two bits.
    fn reduced(self) -> u128 {
        // After the first time it is less than 2¹³⁰ and a little; after the second no limb has a bit too many.
        let [a0, a1, a2] = self.carried().carried().0;
        // Minus the prime: plus 5, minus 2¹³⁰.
        let b0 = a0 + 5;
        let b1 = a1 + (b0 >> 44);
        let b2 = a2 + (b1 >> 44);
        let is_larger = (b2 >> 42).wrapping_neg();
        let choose = |a: u64, b: u64| u128::from((a & !is_larger) | (b & is_larger));
        choose(a0, b0 & MASK_44) | choose(a1, b1 & MASK_44) << 44 | choose(a2, b2 & MASK_42) << 88
    }
}

/// What a key says: the factor of all steps, and what is added at the end.
pub(super) fn factor_and_addend(key: &[u8; 32]) -> (Limbs, u128) {
    const CLAMP: u128 = 0x0fff_fffc_0fff_fffc_0fff_fffc_0fff_ffff;
    let halves = key.as_chunks::<BLOCK_BYTES>().0;
    let [factor, addend] = [0, 1].map(|half| halves.get(half).copied().unwrap_or_default());
    let factor = u128::from_le_bytes(factor) & CLAMP;
    (Limbs::of(factor.to_le_bytes(), 0), u128::from_le_bytes(addend))
}

/// One block after the other.
#[cfg(test)]
pub(super) fn authenticate(key: &[u8; 32], text: &[u8]) -> [u8; 16] {
    let (factor, addend) = factor_and_addend(key);
    finish(Limbs::ZERO, factor, addend, text)
}

/// Goes on with the rest of a text, block by block, to its end.
#[inline(always)]
pub(super) fn finish(sum: Limbs, factor: Limbs, addend: u128, rest: &[u8]) -> [u8; 16] {
    let (blocks, part) = rest.as_chunks::<BLOCK_BYTES>();
    let step = |sum: Limbs, block| sum.plus(block).times(factor);
    let mut sum = blocks.iter().fold(sum, |sum, block| step(sum, Limbs::of(*block, WHOLE)));
    if !part.is_empty() {
        sum = step(sum, Limbs::of_part(part));
    }
    sum.reduced().wrapping_add(addend).to_le_bytes()
}
