//! The floor: MD5 in lanes over blocks that lie ready, remainder included, and nothing else. Once with
//! the crate that the library uses, once with one that chooses its instructions at compile time.

use std::ops::{Add, BitAnd, BitOr, BitXor, Not, Shl, Shr};

use fearless_simd::{Level, Simd, SimdBase, dispatch};

/// Messages of one block side by side, a row for each word.
pub type Block<const L: usize> = [[u32; L]; 16];

const INITIAL: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
const TURNS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];

/// Words side by side, whichever crate's.
pub trait Word:
    Copy
    + Add<Output = Self>
    + Add<u32, Output = Self>
    + BitAnd<Output = Self>
    + BitOr<Output = Self>
    + BitXor<Output = Self>
    + Not<Output = Self>
    + Shl<u32, Output = Self>
    + Shr<u32, Output = Self>
{
}

impl<W> Word for W where
    W: Copy
        + Add<Output = Self>
        + Add<u32, Output = Self>
        + BitAnd<Output = Self>
        + BitOr<Output = Self>
        + BitXor<Output = Self>
        + Not<Output = Self>
        + Shl<u32, Output = Self>
        + Shr<u32, Output = Self>
{
}

/// Lays out messages of at most 55 bytes, a lane each.
pub fn blocks<const L: usize>(messages: &[Vec<u8>]) -> Vec<Block<L>> {
    let block = |messages: &[Vec<u8>]| {
        let mut block: Block<L> = [[0; L]; 16];
        for (lane, message) in messages.iter().enumerate() {
            assert!(message.len() <= 55, "{} bytes", message.len());
            let mut bytes = [0; 64];
            bytes[..message.len()].copy_from_slice(message);
            bytes[message.len()] = 0x80;
            bytes[56..].copy_from_slice(&(message.len() as u64 * 8).to_le_bytes());
            for (row, word) in block.iter_mut().zip(bytes.as_chunks::<4>().0) {
                row[lane] = u32::from_le_bytes(*word);
            }
        }
        block
    };
    messages.chunks(L).map(block).collect()
}

/// The digests of all messages modulo 100 000, with instructions chosen at run time.
pub fn sixteen(level: Level, blocks: &[Block<16>], out: &mut [[u32; 16]]) {
    dispatch!(level, simd => chosen::<_, fearless_simd::u32x16<_>, 16>(simd, blocks, out));
}

/// The same in half as many lanes.
pub fn eight(level: Level, blocks: &[Block<8>], out: &mut [[u32; 8]]) {
    dispatch!(level, simd => chosen::<_, fearless_simd::u32x8<_>, 8>(simd, blocks, out));
}

/// The same with the instructions this program is compiled for.
pub fn compiled<W: Word + From<[u32; L]> + Into<[u32; L]>, const L: usize>(blocks: &[Block<L>], out: &mut [[u32; L]]) {
    all(blocks, INITIAL.map(|word| W::from([word; L])), |row| W::from(*row), out);
}

#[inline(always)]
fn chosen<S: Simd, W: Word + SimdBase<S, Element = u32> + Into<[u32; L]>, const L: usize>(
    simd: S,
    blocks: &[Block<L>],
    out: &mut [[u32; L]],
) {
    let initial = INITIAL.map(|word| W::splat(simd, word));
    all(
        blocks,
        initial,
        #[inline(always)]
        |row| W::from_slice(simd, row),
        out,
    );
}

#[inline(always)]
fn all<W: Word + Into<[u32; L]>, const L: usize>(
    blocks: &[Block<L>],
    initial: [W; 4],
    load: impl Fn(&[u32; L]) -> W,
    out: &mut [[u32; L]],
) {
    for (block, out) in blocks.iter().zip(out) {
        let words = std::array::from_fn(
            #[inline(always)]
            |at| load(&block[at]),
        );
        let digests: [[u32; L]; 4] = digest(&words, initial).map(Into::into);
        *out = std::array::from_fn(|lane| {
            let [a, b, c, d] = digests.map(|words| u64::from(words[lane].swap_bytes()));
            // 2^96, 2^64 and 2^32 modulo 100 000.
            ((a * 50_336 + b * 51_616 + c * 67_296 + d) % 100_000) as u32
        });
    }
}

/// The sixty-four steps, unrolled: the numbers of step, word and turn are constants in each.
#[inline(always)]
fn digest<W: Word>(words: &[W; 16], [a0, b0, c0, d0]: [W; 4]) -> [W; 4] {
    let (mut a, mut b, mut c, mut d) = (a0, b0, c0, d0);
    macro_rules! round {
        ($round:literal, $first:literal, $stride:literal, $mix:expr; $($n:literal)*) => {
            $({
                let mixed = $mix(b, c, d);
                let sum = a + mixed + (words[($first + $stride * $n) % 16] + SINES[$round * 16 + $n]);
                let turn = const { TURNS[$round][$n % 4] };
                (a, d, c, b) = (d, c, b, ((sum << turn) | (sum >> (32 - turn))) + b);
            })*
        };
    }
    round!(0, 0, 1, |b: W, c: W, d: W| d ^ (b & (c ^ d)); 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
    round!(1, 1, 5, |b: W, c: W, d: W| c ^ (d & (b ^ c)); 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
    round!(2, 5, 3, |b: W, c: W, d: W| b ^ c ^ d; 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
    round!(3, 0, 7, |b: W, c: W, d: W| c ^ (b | !d); 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
    [a + a0, b + b0, c + c0, d + d0]
}

/// `floor(2^32 * abs(sin(n + 1)))`, by RFC 1321.
#[rustfmt::skip]
const SINES: [u32; 64] = [
    0xd76a_a478, 0xe8c7_b756, 0x2420_70db, 0xc1bd_ceee, 0xf57c_0faf, 0x4787_c62a, 0xa830_4613, 0xfd46_9501,
    0x6980_98d8, 0x8b44_f7af, 0xffff_5bb1, 0x895c_d7be, 0x6b90_1122, 0xfd98_7193, 0xa679_438e, 0x49b4_0821,
    0xf61e_2562, 0xc040_b340, 0x265e_5a51, 0xe9b6_c7aa, 0xd62f_105d, 0x0244_1453, 0xd8a1_e681, 0xe7d3_fbc8,
    0x21e1_cde6, 0xc337_07d6, 0xf4d5_0d87, 0x455a_14ed, 0xa9e3_e905, 0xfcef_a3f8, 0x676f_02d9, 0x8d2a_4c8a,
    0xfffa_3942, 0x8771_f681, 0x6d9d_6122, 0xfde5_380c, 0xa4be_ea44, 0x4bde_cfa9, 0xf6bb_4b60, 0xbebf_bc70,
    0x289b_7ec6, 0xeaa1_27fa, 0xd4ef_3085, 0x0488_1d05, 0xd9d4_d039, 0xe6db_99e5, 0x1fa2_7cf8, 0xc4ac_5665,
    0xf429_2244, 0x432a_ff97, 0xab94_23a7, 0xfc93_a039, 0x655b_59c3, 0x8f0c_cc92, 0xffef_f47d, 0x8584_5dd1,
    0x6fa8_7e4f, 0xfe2c_e6e0, 0xa301_4314, 0x4e08_11a1, 0xf753_7e82, 0xbd3a_f235, 0x2ad7_d2bb, 0xeb86_d391,
];
