//! Messages side by side, hashed together with one value.

use fearless_simd::{Level, Simd, SimdBase, dispatch, u32x8, u32x16};
use md5::{Digest as _, Md5};

use super::md5::{INITIAL, Number, Pair, Word, compress};
use super::message::{BLOCK, Layout, MAX_IN_LANES, Value, words};

/// The MD5 digest of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    /// The state as the last step leaves it: each word has its bytes in the order of the digest.
    state: [u32; 4],
    remainder_of_100: u32,
}

impl Digest {
    /// The digest as a big-endian integer of four words, of which the first is the most significant.
    #[inline(always)]
    #[must_use]
    pub fn words(self) -> [u32; 4] {
        self.state.map(u32::swap_bytes)
    }

    /// The remainder of 100 that the digest leaves as a big-endian integer, 0 to 99. The lanes have computed it.
    #[inline(always)]
    #[must_use]
    pub fn remainder_of_100(self) -> u32 {
        self.remainder_of_100
    }

    /// The 16 bytes of the digest.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        let words = self.words().map(u128::from);
        words.into_iter().fold(0, |digest, word| digest << 32 | word).to_be_bytes()
    }
}

/// Texts that are hashed together with a value that is not known yet, each with an item that says what its digest is for.
///
/// The [crate documentation](crate) has an example.
#[derive(Debug)]
pub struct Batches<T> {
    layout: Layout,
    level: Level,
    wide: Box<[Batch<T, 16>]>,
    /// What is left over, where half as many lanes do.
    narrow: Option<Box<Batch<T, 8>>>,
    /// Texts that leave no room for a value in two blocks.
    long: Box<[(T, Box<[u8]>)]>,
}

impl<T: Copy + Default> Batches<T> {
    /// Lays out texts, of any number and length.
    #[must_use]
    pub fn new(layout: Layout, texts: impl IntoIterator<Item = (T, Vec<u8>)>) -> Self {
        let (mut texts, long): (Vec<_>, Vec<_>) = texts.into_iter().partition(|(_, text)| text.len() < MAX_IN_LANES);
        // Texts of one length put the value at one place, which is done for all lanes at once: full
        // batches of one length come first, and what is left over of each length shares the others.
        texts.sort_by_key(|(_, text)| text.len());
        let by_length = texts.chunk_by(|(_, a), (_, b)| a.len() == b.len());
        let (full, rest): (Vec<_>, Vec<_>) = by_length.map(|texts| texts.split_at(texts.len() / 16 * 16)).unzip();
        let texts = [full.concat(), rest.concat()].concat();
        let (wide, rest) = texts.split_at(match texts.len() % 16 {
            rest @ 1..=8 => texts.len() - rest,
            _ => texts.len(),
        });
        Self {
            layout,
            level: Level::new(),
            wide: wide.chunks(16).map(|texts| Batch::new(layout, texts)).collect(),
            narrow: (!rest.is_empty()).then(|| Box::new(Batch::new(layout, rest))),
            long: long.into_iter().map(|(item, text)| (item, text.into_boxed_slice())).collect(),
        }
    }

    /// Hashes every text with the value, and calls `each` once for each text with its item and digest, in no order.
    #[inline]
    pub fn digest_all(&self, value: &[u8], mut each: impl FnMut(T, Digest)) {
        for (item, text) in &self.long {
            each(*item, one(self.layout, text, value));
        }
        if value.len() > MAX_IN_LANES {
            self.wide.iter().for_each(|batch| batch.digest_singly(self.layout, value, &mut each));
            self.narrow.iter().for_each(|batch| batch.digest_singly(self.layout, value, &mut each));
        } else if !self.wide.is_empty() || self.narrow.is_some() {
            let laid_out = Value::new(value, self.layout);
            dispatch!(self.level, simd => self.digest_lanes(simd, &laid_out, value, &mut each));
        }
    }

    #[inline(always)]
    fn digest_lanes<S: Simd>(&self, simd: S, value: &Value, bytes: &[u8], each: &mut impl FnMut(T, Digest)) {
        if !self.wide.is_empty() {
            let (pairs, rest) = if has_wide_registers(simd) { self.wide.as_chunks() } else { (&[][..], &*self.wide) };
            let mut space = [Blocks::ZERO, Blocks::ZERO];
            for pair in pairs {
                Batch::digest_pair(pair, simd, self.layout, value, bytes, &mut space, each);
            }
            for batch in rest {
                batch.digest::<S, u32x16<S>>(simd, self.layout, value, bytes, &mut space[0], each);
            }
        }
        if let Some(batch) = &self.narrow {
            let mut space = Blocks::ZERO;
            batch.digest::<S, u32x8<S>>(simd, self.layout, value, bytes, &mut space, each);
        }
    }
}

/// Whether a vector of sixteen words is one register, and there are enough of them for two batches.
#[inline(always)]
fn has_wide_registers<S: Simd>(simd: S) -> bool {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    return matches!(simd.level(), Level::Avx512(_));
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64")))]
    return false;
}

/// Blocks of each lane, transposed: a row holds one word of each. Aligned, since a vector across two cache
/// lines costs twice as much.
#[derive(Clone, Debug)]
#[repr(align(64))]
struct Blocks<const L: usize, const N: usize>([[[u32; L]; 16]; N]);

impl<const L: usize, const N: usize> Blocks<L, N> {
    const ZERO: Self = Self([[[0; L]; 16]; N]);
}

/// Texts in lanes.
#[derive(Debug)]
struct Batch<T, const L: usize> {
    /// The first block of each text, and the second where one has it, with zeros after the text. Texts
    /// before which the value stands have their end marker.
    first: Blocks<L, 1>,
    second: Option<Box<Blocks<L, 1>>>,
    /// Lanes side by side whose texts have one length; ascending.
    runs: Box<[Run<L>]>,
    items: [T; L],
    /// Lanes in use.
    used: usize,
}

/// Lanes whose texts have one length.
#[derive(Debug)]
struct Run<const L: usize> {
    len: usize,
    /// All ones in these lanes, zero in the others.
    lanes: [u32; L],
}

impl<T: Copy + Default, const L: usize> Batch<T, L> {
    /// At most `L` texts, each shorter than [`MAX_IN_LANES`].
    fn new(layout: Layout, texts: &[(T, Vec<u8>)]) -> Self {
        let mut blocks = Blocks::<L, 2>::ZERO;
        let mut batch = Self {
            first: Blocks::ZERO,
            second: None,
            runs: Box::default(),
            items: [T::default(); L],
            used: texts.len(),
        };
        let mut runs: Vec<Run<L>> = Vec::new();
        for (lane, (item, text)) in texts.iter().enumerate() {
            if runs.last().is_none_or(|run| run.len != text.len()) {
                runs.push(Run { len: text.len(), lanes: [0; L] });
            }
            if let Some(run) = runs.last_mut() {
                run.lanes[lane] = u32::MAX;
            }
            let mut text = text.clone();
            if layout == Layout::ValueFirst {
                text.push(0x80);
            }
            for (row, word) in blocks.0.as_flattened_mut().iter_mut().zip(words::<32>(&text)) {
                row[lane] = word;
            }
            batch.items[lane] = *item;
        }
        batch.runs = runs.into();
        let [first, second] = blocks.0;
        batch.first = Blocks([first]);
        batch.second = (second != Blocks::<L, 1>::ZERO.0[0]).then(|| Box::new(Blocks([second])));
        batch
    }

    /// The rows of the texts, as many as there are.
    fn rows(&self) -> impl Iterator<Item = &[u32; L]> {
        self.first.0[0].iter().chain(self.second.iter().flat_map(|second| &second.0[0]))
    }

    fn longest(&self) -> usize {
        self.runs.last().map_or(0, |run| run.len)
    }

    fn lens(&self) -> impl Iterator<Item = usize> {
        self.runs.iter().flat_map(|run| run.lanes.iter().filter(|&&lane| lane != 0).map(|_| run.len))
    }

    /// Hashes all lanes at once, or one by one where an input takes more than two blocks.
    #[inline(always)]
    fn digest<S: Simd, V>(
        &self,
        simd: S,
        layout: Layout,
        value: &Value,
        bytes: &[u8],
        space: &mut Blocks<L, 2>,
        each: &mut impl FnMut(T, Digest),
    ) where
        V: Number + SimdBase<S, Element = u32> + Into<[u32; L]>,
    {
        let longest = self.longest() + value.len;
        if longest > MAX_IN_LANES {
            return self.digest_singly(layout, bytes, each);
        }
        let blocks = if takes_two(longest) { 2 } else { 1 };
        let mut state = INITIAL.map(|word| V::splat(simd, word));
        if let ([run], Layout::ValueLast) = (&*self.runs, layout) {
            // One length, one place for the value: its words are the same for all lanes.
            let words = value.words_from(run.len);
            let second = self.second.as_deref().unwrap_or(const { &Blocks::ZERO });
            let rows = [&self.first.0[0], &second.0[0]];
            for (rows, words) in rows.into_iter().zip(words.as_chunks::<16>().0).take(blocks) {
                let words = std::array::from_fn(|at| V::from_slice(simd, &rows[at]).or(V::splat(simd, words[at])));
                state = compress(state, &words);
            }
        } else {
            self.write::<S, V>(simd, layout, value, blocks, space);
            for (block, rows) in space.0.iter().enumerate().take(blocks) {
                let next = compress(state, &std::array::from_fn(|at| V::from_slice(simd, &rows[at])));
                state = if block == 0 { next } else { self.where_two_blocks(simd, value, next, state) };
            }
        }
        self.hand_out(state, each);
    }

    /// Writes the texts with the value, end markers and lengths: one block where all fit in, else two.
    #[inline(always)]
    fn write<S: Simd, V>(&self, simd: S, layout: Layout, value: &Value, blocks: usize, message: &mut Blocks<L, 2>)
    where
        V: Number + SimdBase<S, Element = u32> + Into<[u32; L]>,
    {
        match layout {
            Layout::ValueLast => self.write_value_last::<S, V>(simd, value, blocks, message),
            Layout::ValueFirst => self.write_value_first::<S, V>(simd, value, message),
        }
        for run in &self.runs {
            let len = run.len + value.len;
            let row = &mut message.0[usize::from(takes_two(len))][14];
            Self::put(simd, row, V::from_slice(simd, &run.lanes), (len * 8) as u32);
        }
    }

    /// Hands out what the lanes in use have come to.
    #[inline(always)]
    fn hand_out<V: Number + Into<[u32; L]>>(&self, state: [V; 4], each: &mut impl FnMut(T, Digest)) {
        let remainders: [u32; L] = remainder_of_100(state).into();
        let [a, b, c, d]: [[u32; L]; 4] = state.map(Into::into);
        for lane in 0..self.used {
            each(
                self.items[lane],
                Digest { state: [a[lane], b[lane], c[lane], d[lane]], remainder_of_100: remainders[lane] },
            );
        }
    }

    /// The state after the second block in the lanes that need one, and after the first in the others.
    #[inline(always)]
    fn where_two_blocks<S: Simd, V>(&self, simd: S, value: &Value, second: [V; 4], first: [V; 4]) -> [V; 4]
    where
        V: Word + SimdBase<S, Element = u32>,
    {
        let takes_two = self
            .runs
            .iter()
            .filter(|run| takes_two(run.len + value.len))
            .fold(V::splat(simd, 0), |all, run| all.or(V::from_slice(simd, &run.lanes)));
        std::array::from_fn(|word| second[word].and(takes_two).or(first[word].and(takes_two.not())))
    }

    /// Puts a word into some lanes of a row, which have nothing there yet.
    #[inline(always)]
    fn put<S: Simd, V>(simd: S, row: &mut [u32; L], lanes: V, word: u32)
    where
        V: Word + SimdBase<S, Element = u32> + Into<[u32; L]>,
    {
        *row = V::from_slice(simd, row).or(V::splat(simd, word).and(lanes)).into();
    }

    /// The value and its end marker behind the texts: each word once for all texts of one length.
    #[inline(always)]
    fn write_value_last<S: Simd, V>(&self, simd: S, value: &Value, blocks: usize, message: &mut Blocks<L, 2>)
    where
        V: Word + SimdBase<S, Element = u32> + Into<[u32; L]>,
    {
        message.0[0] = self.first.0[0];
        if blocks == 2 {
            message.0[1] = self.second.as_deref().unwrap_or(const { &Blocks::ZERO }).0[0];
        }
        for run in &self.runs {
            let lanes = V::from_slice(simd, &run.lanes);
            for (row, &word) in message.0.as_flattened_mut()[run.len / 4..].iter_mut().zip(value.words_at(run.len)) {
                Self::put(simd, row, lanes, word);
            }
        }
    }

    /// The value before the texts, which move down by its length and bring their end marker.
    #[inline(always)]
    fn write_value_first<S: Simd, V>(&self, simd: S, value: &Value, message: &mut Blocks<L, 2>)
    where
        V: Number + SimdBase<S, Element = u32> + Into<[u32; L]>,
    {
        let (start, by) = (value.len / 4, value.len as u32 % 4 * 8);
        message.0 = Blocks::ZERO.0;
        let rows = message.0.as_flattened_mut();
        for (row, &word) in rows.iter_mut().zip(value.words_at(0)) {
            *row = V::splat(simd, word).into();
        }
        // What a word loses at its end goes into the row below; a text moved by whole words loses nothing.
        let mut lost = V::splat(simd, 0);
        for (row, text) in rows[start..].iter_mut().zip(self.rows().chain([&[0; L]])) {
            let text = V::from_slice(simd, text);
            *row = V::from_slice(simd, row).or(text.shifted_left(by)).or(lost).into();
            lost = text.shifted_right(1).shifted_right(31 - by);
        }
    }

    #[cold]
    fn digest_singly(&self, layout: Layout, value: &[u8], each: &mut impl FnMut(T, Digest)) {
        for (lane, len) in self.lens().enumerate() {
            let mut bytes = [0; 2 * BLOCK];
            for (four, row) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(self.rows()) {
                *four = row[lane].to_le_bytes();
            }
            each(self.items[lane], one(layout, &bytes[..len], value));
        }
    }
}

impl<T: Copy + Default> Batch<T, 16> {
    /// Hashes two batches at a time.
    #[inline(always)]
    fn digest_pair<S: Simd>(
        pair: &[Self; 2],
        simd: S,
        layout: Layout,
        value: &Value,
        bytes: &[u8],
        space: &mut [Blocks<16, 2>; 2],
        each: &mut impl FnMut(T, Digest),
    ) {
        let [one, other] = pair;
        let longest = one.longest().max(other.longest()) + value.len;
        if longest > MAX_IN_LANES {
            for batch in pair {
                batch.digest::<S, u32x16<S>>(simd, layout, value, bytes, &mut space[0], each);
            }
            return;
        }
        let blocks = if takes_two(longest) { 2 } else { 1 };
        for (batch, space) in pair.iter().zip(&mut *space) {
            batch.write::<S, u32x16<S>>(simd, layout, value, blocks, space);
        }
        let splat = |word| u32x16::splat(simd, word);
        let mut state = INITIAL.map(|word| Pair(splat(word), splat(word)));
        for block in 0..blocks {
            let words = std::array::from_fn(|at| {
                let [one, other] = [&space[0].0[block][at], &space[1].0[block][at]];
                Pair(u32x16::from_slice(simd, one), u32x16::from_slice(simd, other))
            });
            let next = compress(state, &words);
            state = if block == 0 {
                next
            } else {
                let first = one.where_two_blocks(simd, value, next.map(|word| word.0), state.map(|word| word.0));
                let second = other.where_two_blocks(simd, value, next.map(|word| word.1), state.map(|word| word.1));
                std::array::from_fn(|word| Pair(first[word], second[word]))
            };
        }
        one.hand_out(state.map(|word| word.0), each);
        other.hand_out(state.map(|word| word.1), each);
    }
}

/// One digest by the reference implementation.
pub(super) fn one(layout: Layout, text: &[u8], value: &[u8]) -> Digest {
    let (before, after) = match layout {
        Layout::ValueLast => (text, value),
        Layout::ValueFirst => (value, text),
    };
    let digest: [u8; 16] = Md5::new().chain_update(before).chain_update(after).finalize().into();
    let state: [u32; 4] = std::array::from_fn(|at| u32::from_le_bytes(digest.as_chunks().0[at]));
    // 2^32, 2^64 and 2^96 leave these remainders.
    let [a, b, c, d] = state.map(|word| u64::from(word.swap_bytes()));
    Digest { state, remainder_of_100: ((a * 36 + b * 16 + c * 96 + d) % 100) as u32 }
}

/// Whether an input of this length needs a second block for its end marker and length.
#[inline]
fn takes_two(len: usize) -> bool {
    len > BLOCK - 9
}

/// The remainder of 100 that each lane's digest leaves, as a big-endian number of 128 bits.
///
/// Its eight pieces of 16 bits are multiplied by what their place leaves (2^112, 2^96 and so on), which
/// sums to less than 2^25. 1024 leaves 24, which twice brings that below 2^14, where a multiplication
/// replaces the division exactly.
#[inline(always)]
fn remainder_of_100<V: Number>(state: [V; 4]) -> V {
    let [a, b, c, d] = state;
    let rest = weighed(a, 96, 36).add(weighed(b, 76, 16));
    let mut rest = rest.add(weighed(c, 56, 96).add(weighed(d, 36, 1)));
    for _ in 0..2 {
        rest = rest.shifted_right(10).times(24).add(rest.and_constant(1023));
    }
    rest.sub(rest.times(5243).shifted_right(19).times(100))
}

/// The two halves of a word, as the digest has them, each times what its place leaves.
#[inline(always)]
fn weighed<V: Number>(word: V, high: u32, low: u32) -> V {
    // The two bytes of each half change places.
    let halves = word.and_constant(0x00FF_00FF).shifted_left(8);
    let halves = halves.or(word.shifted_right(8).and_constant(0x00FF_00FF));
    halves.and_constant(0xFFFF).times(high).add(halves.shifted_right(16).times(low))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(number: u32, len: usize) -> Vec<u8> {
        (0..len).map(|at| (number as usize * 31 + at * 7 + at * at) as u8).collect()
    }

    /// What can be chosen at run time on this machine.
    fn levels() -> Vec<Level> {
        let mut levels = vec![Level::new(), Level::baseline()];
        #[cfg(target_arch = "x86_64")]
        {
            levels.extend(Level::new().as_sse4_2().map(Level::Sse4_2));
            levels.extend(Level::new().as_avx2().map(Level::Avx2));
        }
        levels
    }

    /// Hashes the texts with values of these lengths, in lanes and one by one.
    fn compare(texts: &[(u32, Vec<u8>)], values: &[usize]) {
        for layout in [Layout::ValueLast, Layout::ValueFirst] {
            let mut batches = Batches::new(layout, texts.to_vec());
            for level in levels() {
                batches.level = level;
                for &len in values {
                    let value = text(99, len);
                    let mut digests = vec![None; texts.len()];
                    batches.digest_all(&value, |number, digest| {
                        assert!(digests[number as usize].replace(digest).is_none(), "twice: {number}");
                    });
                    for (number, text) in texts {
                        let expected = Some(one(layout, text, &value));
                        assert_eq!(digests[*number as usize], expected, "{layout:?} {} + {len}", text.len());
                    }
                }
            }
        }
    }

    #[test]
    fn lanes_of_every_length_agree_with_md_5() {
        let texts: Vec<_> = (0..301).map(|number| (number, text(number, number as usize))).collect();
        let values: Vec<usize> = (0..=130).chain([150, 200, 255, 256, 300]).collect();
        compare(&texts, &values);
    }

    #[test]
    fn lanes_of_one_length_agree_with_md_5() {
        for len in [0, 1, 2, 3, 4, 13, 30, 54, 55, 56, 63, 64, 65, 100, 118, 119, 120] {
            let texts: Vec<_> = (0..33).map(|number| (number, text(number, len))).collect();
            let values: Vec<usize> = (0..=130).step_by(3).collect();
            compare(&texts, &values);
        }
    }

    #[test]
    fn every_length_is_right_in_every_lane() {
        for len in 0..=MAX_IN_LANES + 1 {
            let texts: Vec<_> = (0..33).map(|number| (number, text(number, len))).collect();
            compare(&texts, &[0, 1, 12, 36, 55, 64, 100, 119]);
        }
    }

    #[test]
    fn every_number_of_lanes_is_hashed_once() {
        for count in 0..50 {
            let texts: Vec<_> = (0..count).map(|number| (number, text(number, 10 + number as usize % 3))).collect();
            compare(&texts, &[0, 12, 36, 110]);
        }
    }
}
