//! One bit a flag.

/// One bit a flag.
#[derive(Clone, Debug)]
pub(crate) struct Bits(Box<[u64]>);

impl Bits {
    pub(crate) fn zero(flags: usize) -> Self {
        Self(vec![0; flags.div_ceil(64)].into_boxed_slice())
    }

    pub(crate) fn set(&mut self, flag: u32) {
        self.0[flag as usize / 64] |= 1 << (flag % 64);
    }

    pub(crate) fn get(&self, flag: u32) -> bool {
        self.0[flag as usize / 64] >> (flag % 64) & 1 == 1
    }

    pub(crate) fn words(&self) -> &[u64] {
        &self.0
    }
}

/// The positions of the bits that are set.
pub(crate) fn ones(words: &[u64]) -> impl Iterator<Item = u32> + '_ {
    words.iter().zip(0_u32..).flat_map(|(&word, at)| {
        let mut rest = word;
        std::iter::from_fn(move || {
            let bit = (rest != 0).then(|| rest.trailing_zeros())?;
            rest &= rest - 1;
            Some(at * 64 + bit)
        })
    })
}
