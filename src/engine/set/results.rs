//! The results of one decision: a bit a flag, and a byte a flag with variants.

use super::flag_set::FlagSet;

/// The results of one set for one caller.
#[derive(Clone, Debug)]
pub(crate) struct Results {
    /// How many words have results; those behind have variants.
    results: usize,
    words: Words,
}

/// The words in place for small sets, such as 256 flags with 32 of them in variants.
#[derive(Clone, Debug)]
enum Words {
    Few([u64; FEW]),
    Many(Box<[u64]>),
}

const FEW: usize = 8;

/// Stands in the byte of a variant where there is none; variant n stands as n + 1.
const NO_VARIANT: u8 = 0;

impl Results {
    /// Every flag of a set off.
    pub(crate) fn none(set: &FlagSet) -> Self {
        let results = set.len().div_ceil(64);
        let words = results + set.variant_slots().div_ceil(8);
        let words = if words <= FEW { Words::Few([0; FEW]) } else { Words::Many(vec![0; words].into_boxed_slice()) };
        Self { results, words }
    }

    #[inline]
    fn words(&self) -> &[u64] {
        match &self.words {
            Words::Few(words) => words,
            Words::Many(words) => words,
        }
    }

    #[inline]
    fn words_mut(&mut self) -> &mut [u64] {
        match &mut self.words {
            Words::Few(words) => words,
            Words::Many(words) => words,
        }
    }

    /// The results.
    pub(crate) fn on(&self) -> &[u64] {
        &self.words()[..self.results]
    }

    /// The results, and the variants.
    pub(super) fn split_mut(&mut self) -> (&mut [u64], &mut [u64]) {
        let results = self.results;
        self.words_mut().split_at_mut(results)
    }

    #[inline]
    pub(crate) fn is_on(&self, flag: u32) -> bool {
        self.words()[flag as usize / 64] >> (flag % 64) & 1 == 1
    }

    pub(crate) fn set(&mut self, flag: u32, is_on: bool) {
        let word = &mut self.words_mut()[flag as usize / 64];
        let bit = 1 << (flag % 64);
        if is_on {
            *word |= bit;
        } else {
            *word &= !bit;
        }
    }

    pub(crate) fn variant(&self, slot: usize) -> Option<u8> {
        let word = self.words()[self.results + slot / 8];
        ((word >> (slot % 8 * 8)) as u8).checked_sub(NO_VARIANT + 1)
    }

    pub(crate) fn set_variant(&mut self, slot: usize, variant: Option<u8>) {
        let at = self.results + slot / 8;
        let word = &mut self.words_mut()[at];
        let shift = slot % 8 * 8;
        let byte = variant.map_or(NO_VARIANT, |variant| variant + 1);
        *word = *word & !(0xFF << shift) | u64::from(byte) << shift;
    }
}
