//! The compression function of MD5 (RFC 1321), generic over what a word is.

use fearless_simd::{Simd, u32x8, u32x16};

/// A 32-bit word, or several side by side.
pub(super) trait Word: Copy {
    fn add(self, other: Self) -> Self;
    fn add_constant(self, constant: u32) -> Self;
    fn and(self, other: Self) -> Self;
    fn or(self, other: Self) -> Self;
    fn xor(self, other: Self) -> Self;
    fn not(self) -> Self;
    fn rotated_left<const BITS: u32, const REST: u32>(self) -> Self;
}

/// A word that is also counted with.
pub(super) trait Number: Word {
    fn sub(self, other: Self) -> Self;
    fn times(self, constant: u32) -> Self;
    fn and_constant(self, constant: u32) -> Self;
    /// By less than 32 bits, as the one below.
    fn shifted_left(self, bits: u32) -> Self;
    fn shifted_right(self, bits: u32) -> Self;
    /// Each lane by its own number of bits, less than 32, as the one below.
    fn shifted_left_by(self, bits: Self) -> Self;
    fn shifted_right_by(self, bits: Self) -> Self;
}

macro_rules! vector_word {
    ($($vector:ident)*) => {
        $(impl<S: Simd> Word for $vector<S> {
            #[inline(always)]
            fn add(self, other: Self) -> Self {
                self + other
            }

            #[inline(always)]
            fn add_constant(self, constant: u32) -> Self {
                self + constant
            }

            #[inline(always)]
            fn and(self, other: Self) -> Self {
                self & other
            }

            #[inline(always)]
            fn or(self, other: Self) -> Self {
                self | other
            }

            #[inline(always)]
            fn xor(self, other: Self) -> Self {
                self ^ other
            }

            #[inline(always)]
            fn not(self) -> Self {
                !self
            }

            #[inline(always)]
            fn rotated_left<const BITS: u32, const REST: u32>(self) -> Self {
                (self << BITS) | (self >> REST)
            }
        }

        impl<S: Simd> Number for $vector<S> {
            #[inline(always)]
            fn sub(self, other: Self) -> Self {
                self - other
            }

            #[inline(always)]
            fn times(self, constant: u32) -> Self {
                self * constant
            }

            #[inline(always)]
            fn and_constant(self, constant: u32) -> Self {
                self & constant
            }

            #[inline(always)]
            fn shifted_left(self, bits: u32) -> Self {
                self << bits
            }

            #[inline(always)]
            fn shifted_right(self, bits: u32) -> Self {
                self >> bits
            }

            #[inline(always)]
            fn shifted_left_by(self, bits: Self) -> Self {
                self << bits
            }

            #[inline(always)]
            fn shifted_right_by(self, bits: Self) -> Self {
                self >> bits
            }
        })*
    };
}

vector_word!(u32x8 u32x16);

/// Words whose steps alternate: a step waits for the one before, and the other words' fill the gap.
#[derive(Clone, Copy)]
pub(super) struct Many<W, const N: usize>(pub(super) [W; N]);

// Loops, since the closures of `array::from_fn` are not inlined everywhere, and calls pass vectors by memory.
impl<W: Word, const N: usize> Many<W, N> {
    #[inline(always)]
    fn with(mut self, other: Self, work: impl Fn(W, W) -> W) -> Self {
        for at in 0..N {
            self.0[at] = work(self.0[at], other.0[at]);
        }
        self
    }

    #[inline(always)]
    fn each(mut self, work: impl Fn(W) -> W) -> Self {
        for at in 0..N {
            self.0[at] = work(self.0[at]);
        }
        self
    }
}

impl<W: Word, const N: usize> Word for Many<W, N> {
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.with(other, W::add)
    }

    #[inline(always)]
    fn add_constant(self, constant: u32) -> Self {
        self.each(
            #[inline(always)]
            |word| word.add_constant(constant),
        )
    }

    #[inline(always)]
    fn and(self, other: Self) -> Self {
        self.with(other, W::and)
    }

    #[inline(always)]
    fn or(self, other: Self) -> Self {
        self.with(other, W::or)
    }

    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        self.with(other, W::xor)
    }

    #[inline(always)]
    fn not(self) -> Self {
        self.each(W::not)
    }

    #[inline(always)]
    fn rotated_left<const BITS: u32, const REST: u32>(self) -> Self {
        self.each(W::rotated_left::<BITS, REST>)
    }
}

/// What a digest starts from.
pub(super) const INITIAL: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// `floor(2^32 * abs(sin(i + 1)))`, i from 0 to 63.
#[rustfmt::skip]
static SINES: [u32; 64] = [
    0xd76a_a478, 0xe8c7_b756, 0x2420_70db, 0xc1bd_ceee, 0xf57c_0faf, 0x4787_c62a, 0xa830_4613, 0xfd46_9501,
    0x6980_98d8, 0x8b44_f7af, 0xffff_5bb1, 0x895c_d7be, 0x6b90_1122, 0xfd98_7193, 0xa679_438e, 0x49b4_0821,
    0xf61e_2562, 0xc040_b340, 0x265e_5a51, 0xe9b6_c7aa, 0xd62f_105d, 0x0244_1453, 0xd8a1_e681, 0xe7d3_fbc8,
    0x21e1_cde6, 0xc337_07d6, 0xf4d5_0d87, 0x455a_14ed, 0xa9e3_e905, 0xfcef_a3f8, 0x676f_02d9, 0x8d2a_4c8a,
    0xfffa_3942, 0x8771_f681, 0x6d9d_6122, 0xfde5_380c, 0xa4be_ea44, 0x4bde_cfa9, 0xf6bb_4b60, 0xbebf_bc70,
    0x289b_7ec6, 0xeaa1_27fa, 0xd4ef_3085, 0x0488_1d05, 0xd9d4_d039, 0xe6db_99e5, 0x1fa2_7cf8, 0xc4ac_5665,
    0xf429_2244, 0x432a_ff97, 0xab94_23a7, 0xfc93_a039, 0x655b_59c3, 0x8f0c_cc92, 0xffef_f47d, 0x8584_5dd1,
    0x6fa8_7e4f, 0xfe2c_e6e0, 0xa301_4314, 0x4e08_11a1, 0xf753_7e82, 0xbd3a_f235, 0x2ad7_d2bb, 0xeb86_d391,
];

// Without optimisation an inlined vector operation keeps all its temporaries, and hundreds of them
// would not fit the stack of a thread; a call is slow there, as everything is.

/// One step: `a` takes in a message word and the mix of the other three, and is rotated.
#[cfg_attr(not(debug_assertions), inline(always))]
fn step<W: Word, const BITS: u32, const REST: u32>(a: W, b: W, mix: W, word: W, sine: u32) -> W {
    a.add(word.add_constant(sine)).add(mix).rotated_left::<BITS, REST>().add(b)
}

/// A phase of sixteen steps, as four times four, with the mixing function, the rotations and the
/// order of the message words that belong to it.
macro_rules! phase {
    ($state:ident, $words:ident, $sines:ident, $from:literal, $mix:expr, $first:literal + $stride:literal, $($bits:literal $rest:literal),*) => {
        for group in 0..4 {
            let at = |step: usize| ($from + 4 * group + step, ($first + $stride * (4 * group + step)) % 16);
            let [mut a, mut b, mut c, mut d] = $state;
            let mix = $mix;
            phase!(@steps (a b c d) at $words $sines mix 0 $($bits $rest),*);
            $state = [a, b, c, d];
        }
    };
    (@steps ($a:ident $b:ident $c:ident $d:ident) $at:ident $words:ident $sines:ident $mix:ident $n:literal
     $b0:literal $r0:literal, $b1:literal $r1:literal, $b2:literal $r2:literal, $b3:literal $r3:literal) => {
        let (k, w) = $at(0);
        $a = step::<W, $b0, $r0>($a, $b, $mix($b, $c, $d), $words[w], $sines[k]);
        let (k, w) = $at(1);
        $d = step::<W, $b1, $r1>($d, $a, $mix($a, $b, $c), $words[w], $sines[k]);
        let (k, w) = $at(2);
        $c = step::<W, $b2, $r2>($c, $d, $mix($d, $a, $b), $words[w], $sines[k]);
        let (k, w) = $at(3);
        $b = step::<W, $b3, $r3>($b, $c, $mix($c, $d, $a), $words[w], $sines[k]);
    };
}

/// The state after one more block.
#[cfg_attr(not(debug_assertions), inline(always))]
pub(super) fn compress<W: Word>(before: [W; 4], words: &[W; 16], is_wide: bool) -> [W; 4] {
    // A constant is what the compiler adds last before the rotation, where everything waits for it. With wide
    // registers nothing else is short, so there it is kept from knowing; otherwise a load would cost more.
    let sines: &[u32; 64] = if is_wide { std::hint::black_box(&SINES) } else { &SINES };
    let mut state = before;
    phase!(state, words, sines, 0, |b: W, c: W, d: W| d.xor(b.and(c.xor(d))), 0 + 1, 7 25, 12 20, 17 15, 22 10);
    phase!(state, words, sines, 16, |b: W, c: W, d: W| c.xor(d.and(b.xor(c))), 1 + 5, 5 27, 9 23, 14 18, 20 12);
    phase!(state, words, sines, 32, |b: W, c: W, d: W| b.xor(c).xor(d), 5 + 3, 4 28, 11 21, 16 16, 23 9);
    phase!(state, words, sines, 48, |b: W, c: W, d: W| c.xor(b.or(d.not())), 0 + 7, 6 26, 10 22, 15 17, 21 11);
    let [a, b, c, d] = state;
    [a.add(before[0]), b.add(before[1]), c.add(before[2]), d.add(before[3])]
}
