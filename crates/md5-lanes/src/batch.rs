//! Messages side by side, hashed together with one value.

use fearless_simd::{Level, Simd, SimdBase, dispatch, u32x8, u32x16};
use md5::{Digest as _, Md5};

use super::md5::{INITIAL, Many, Number, compress};
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
    lanes: Lanes,
    /// What the lanes are for, batch after batch.
    items: Box<[T]>,
    /// Texts that leave no room for a value in two blocks.
    long: Box<[(T, Box<[u8]>)]>,
}

/// The texts of [`Batches`].
#[derive(Debug)]
struct Lanes {
    layout: Layout,
    level: Level,
    wide: Box<[Batch<16>]>,
    /// What is left over, where half as many lanes do.
    narrow: Option<Box<Batch<8>>>,
}

impl<T: Copy> Batches<T> {
    /// Lays out texts, of any number and length.
    #[must_use]
    pub fn new(layout: Layout, texts: impl IntoIterator<Item = (T, Vec<u8>)>) -> Self {
        let is_for_lanes = |text: &[u8]| !cfg!(debug_assertions) && text.len() < MAX_IN_LANES;
        let (mut texts, long): (Vec<_>, Vec<_>) = texts.into_iter().partition(|(_, text)| is_for_lanes(text));
        // The value stands at one place in texts whose lengths are in one word, which is done for all of them at
        // once: neighbours have similar lengths.
        texts.sort_by_key(|(_, text)| text.len());
        let level = Level::new();
        let (items, texts): (Vec<T>, Vec<Vec<u8>>) = texts.into_iter().unzip();
        let (wide, rest) = texts.split_at(match texts.len() % 16 {
            rest @ 1..=8 if !is_wide(level) => texts.len() - rest,
            _ => texts.len(),
        });
        let lanes = Lanes {
            layout,
            level,
            wide: wide.chunks(16).map(|texts| Batch::new(layout, texts)).collect(),
            narrow: (!rest.is_empty()).then(|| Box::new(Batch::new(layout, rest))),
        };
        Self {
            lanes,
            items: items.into_boxed_slice(),
            long: long.into_iter().map(|(item, text)| (item, text.into_boxed_slice())).collect(),
        }
    }

    /// Hashes every text with the value, and calls `each` once for each text with its item and digest, in no order.
    #[inline]
    pub fn digest_all(&self, value: &[u8], mut each: impl FnMut(T, Digest)) {
        self.fold(value, (), |(), item, digest| each(item, digest));
    }

    /// Like [`digest_all`](Self::digest_all). `each` receives what the call before returned, at first `initial`, so that
    /// a small result stays in registers; the last one is returned.
    ///
    /// ```
    /// use md5_lanes::{Batches, Layout};
    ///
    /// let batches = Batches::new(Layout::ValueLast, [(0, b"tea:".to_vec()), (1, b"coffee:".to_vec())]);
    /// let bits = batches.fold(b"alice", 0, |bits, at, digest| bits | u32::from(digest.remainder_of_100() < 50) << at);
    /// // The remainders are 52 and 15.
    /// assert_eq!(bits, 0b10);
    /// ```
    #[inline]
    pub fn fold<A>(&self, value: &[u8], initial: A, mut each: impl FnMut(A, T, Digest) -> A) -> A {
        let lanes = &self.lanes;
        let mut all = initial;
        for (item, text) in &self.long {
            all = each(all, *item, one(lanes.layout, text, value));
        }
        let laid_out = (value.len() <= MAX_IN_LANES).then(|| Value::new(value, lanes.layout));
        let beside = |longest: usize| laid_out.as_ref().filter(|value| longest + value.len <= MAX_IN_LANES);
        let (mut rest, mut items) = (&*lanes.wide, &*self.items);
        while !rest.is_empty() {
            // Batches are in the order of their lengths.
            let several = if lanes.is_wide() { rest.len().min(4) } else { 1 };
            let value_of_several = beside(rest[several - 1].longest);
            let done;
            (done, all) = match (rest, value_of_several) {
                ([a, b, c, d, ..], Some(value)) if several == 4 => {
                    (4, hand_out(&lanes.hash_several([a, b, c, d], value), items, all, &mut each))
                }
                ([a, b, c], Some(value)) if several == 3 => {
                    (3, hand_out(&lanes.hash_several([a, b, c], value), items, all, &mut each))
                }
                ([a, b], Some(value)) if several == 2 => {
                    (2, hand_out(&lanes.hash_several([a, b], value), items, all, &mut each))
                }
                ([batch, ..], _) => match beside(batch.longest) {
                    Some(value) => (1, hand_out(&lanes.hash_wide(batch, value), items, all, &mut each)),
                    None => {
                        (1, batch.digest_singly(lanes.layout, value, &items[..items.len().min(16)], all, &mut each))
                    }
                },
                ([], _) => break,
            };
            (rest, items) = (&rest[done..], &items[items.len().min(16 * done)..]);
        }
        match &lanes.narrow {
            None => all,
            Some(batch) => match beside(batch.longest) {
                Some(value) => hand_out(&lanes.hash_narrow(batch, value), items, all, &mut each),
                None => batch.digest_singly(lanes.layout, value, items, all, &mut each),
            },
        }
    }
}

/// What lanes come to.
#[repr(align(64))]
struct Digests<const L: usize> {
    state: [[u32; L]; 4],
    remainders: [u32; L],
}

/// Hands out what the lanes in use have come to.
#[inline(always)]
fn hand_out<T: Copy, A, const L: usize, const N: usize>(
    digests: &[Digests<L>; N],
    items: &[T],
    mut all: A,
    each: &mut impl FnMut(A, T, Digest) -> A,
) -> A {
    for (Digests { state: [a, b, c, d], remainders }, items) in digests.iter().zip(items.chunks(L)) {
        for (lane, item) in items.iter().enumerate().take(L) {
            all = each(
                all,
                *item,
                Digest { state: [a[lane], b[lane], c[lane], d[lane]], remainder_of_100: remainders[lane] },
            );
        }
    }
    all
}

impl Lanes {
    fn is_wide(&self) -> bool {
        is_wide(self.level)
    }

    /// Several batches at a time, with registers that take a batch each.
    #[inline(never)]
    fn hash_several<const N: usize>(&self, batches: [&Batch<16>; N], value: &Value) -> [Digests<16>; N] {
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        if let Level::Avx512(simd) = self.level {
            return simd.vectorize(
                #[inline(always)]
                || hash::<_, u32x16<_>, 16, N>(simd, self.layout, batches, value),
            );
        }
        batches.map(|batch| {
            let [digests] = self.hash_wide(batch, value);
            digests
        })
    }

    #[inline(never)]
    fn hash_wide(&self, batch: &Batch<16>, value: &Value) -> [Digests<16>; 1] {
        dispatch!(self.level, simd => hash::<_, u32x16<_>, 16, 1>(simd, self.layout, [batch], value))
    }

    #[inline(never)]
    fn hash_narrow(&self, batch: &Batch<8>, value: &Value) -> [Digests<8>; 1] {
        dispatch!(self.level, simd => hash::<_, u32x8<_>, 8, 1>(simd, self.layout, [batch], value))
    }
}

/// Whether a vector of sixteen words is one register, and there are enough of them for several batches.
#[inline(always)]
fn is_wide(level: Level) -> bool {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    return matches!(level, Level::Avx512(_));
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64")))]
    return false;
}

/// Blocks of each lane, transposed: a row holds one word of each. Aligned, since a vector across two cache
/// lines costs twice as much.
#[derive(Clone, Debug)]
#[repr(align(64))]
struct Rows<const L: usize>([[u32; L]; 16]);

impl<const L: usize> Rows<L> {
    const ZERO: Self = Self([[0; L]; 16]);
}

/// Texts in lanes.
#[derive(Debug)]
struct Batch<const L: usize> {
    /// The first block of each text, and the second where one has it, with zeros after the text. Texts
    /// before which the value stands have their end marker.
    first: Rows<L>,
    second: Option<Box<Rows<L>>>,
    /// The length of each text in bits, and by how many bits its end is in a word.
    lens: [u32; L],
    shifts: [u32; L],
    /// Lanes whose texts end in one word; ascending.
    ends: Box<[End<L>]>,
    /// The length of the longest text.
    longest: usize,
}

/// Lanes whose texts end in one word.
#[derive(Debug)]
struct End<const L: usize> {
    /// All ones in these lanes, zero in the others.
    lanes: [u32; L],
    row: usize,
}

impl<const L: usize> Batch<L> {
    /// At most `L` texts, each shorter than [`MAX_IN_LANES`], in the order of their lengths.
    fn new(layout: Layout, texts: &[Vec<u8>]) -> Self {
        let mut batch = Self {
            first: Rows::ZERO,
            second: None,
            lens: [0; L],
            shifts: [0; L],
            ends: Box::default(),
            longest: texts.iter().map(Vec::len).max().unwrap_or_default(),
        };
        let mut second = Rows::<L>::ZERO;
        let mut ends: Vec<End<L>> = Vec::new();
        for (lane, text) in texts.iter().enumerate() {
            (batch.lens[lane], batch.shifts[lane]) = (text.len() as u32 * 8, text.len() as u32 % 4 * 8);
            let row = text.len() / 4;
            if ends.last().is_none_or(|end| end.row != row) {
                ends.push(End { row, lanes: [0; L] });
            }
            if let Some(end) = ends.last_mut() {
                end.lanes[lane] = u32::MAX;
            }
            let mut text = text.clone();
            if layout == Layout::ValueFirst {
                text.push(0x80);
            }
            for (row, word) in batch.first.0.iter_mut().chain(&mut second.0).zip(words::<32>(&text)) {
                row[lane] = word;
            }
        }
        batch.ends = ends.into();
        batch.second = (second.0 != Rows::ZERO.0).then(|| Box::new(second));
        batch
    }

    /// The rows of a block of the texts.
    #[inline(always)]
    fn block(&self, block: usize) -> &[[u32; L]; 16] {
        let second = self.second.as_deref().unwrap_or(const { &Rows::ZERO });
        if block == 0 { &self.first.0 } else { &second.0 }
    }

    /// Writes one block of the texts with the value and end markers.
    #[inline(always)]
    fn write<S: Simd, V, const N: usize>(
        &self,
        simd: S,
        layout: Layout,
        value: &Value,
        block: usize,
        words: &mut [Many<V, N>; 16],
        n: usize,
    ) where
        V: Number + SimdBase<S, Element = u32>,
    {
        match layout {
            Layout::ValueLast => self.write_value_last(simd, value, block, words, n),
            Layout::ValueFirst => self.write_value_first(simd, value, block, words, n),
        }
    }

    /// The lengths in bits that stand in one block, of `blocks`: a message has its own at the end of its last.
    #[inline(always)]
    fn lens<S: Simd, V>(&self, simd: S, value: &Value, block: usize, blocks: usize) -> V
    where
        V: Number + SimdBase<S, Element = u32>,
    {
        let bits = V::from_slice(simd, &self.lens).add_constant(value.len as u32 * 8);
        if blocks == 1 {
            return bits;
        }
        let takes_two: V = self.takes_two(simd, value);
        bits.and(if block == 0 { takes_two.not() } else { takes_two })
    }

    /// The value and its end marker behind the texts: each word once for all texts that end in one word.
    #[inline(always)]
    fn write_value_last<S: Simd, V, const N: usize>(
        &self,
        simd: S,
        value: &Value,
        block: usize,
        words: &mut [Many<V, N>; 16],
        n: usize,
    ) where
        V: Number + SimdBase<S, Element = u32>,
    {
        for (word, row) in words.iter_mut().zip(self.block(block)) {
            word.0[n] = V::from_slice(simd, row);
        }
        let shifts = V::from_slice(simd, &self.shifts);
        let others = Number::sub(V::splat(simd, 31), shifts);
        for end in &self.ends {
            let lanes = V::from_slice(simd, &end.lanes);
            let skipped = (16 * block).saturating_sub(end.row);
            let from = (end.row + skipped - 16 * block).min(16);
            for (word, [before, own]) in words[from..].iter_mut().zip(value.pairs(skipped)) {
                let own = V::splat(simd, own).shifted_left_by(shifts);
                let before = V::splat(simd, before >> 1).shifted_right_by(others);
                word.0[n] = word.0[n].or(own.or(before).and(lanes));
            }
        }
    }

    /// The value before the texts, which move down by its length and bring their end marker.
    #[inline(always)]
    fn write_value_first<S: Simd, V, const N: usize>(
        &self,
        simd: S,
        value: &Value,
        block: usize,
        words: &mut [Many<V, N>; 16],
        n: usize,
    ) where
        V: Number + SimdBase<S, Element = u32>,
    {
        let (start, by) = (value.len / 4, value.len as u32 % 4 * 8);
        let text = |at: Option<usize>| match at {
            Some(at) if at < 32 => V::from_slice(simd, &self.block(at / 16)[at % 16]),
            _ => V::splat(simd, 0),
        };
        for (row, word) in (16 * block..).zip(words) {
            let own = text(row.checked_sub(start)).shifted_left(by);
            // What a word loses at its end goes into the row below; a text moved by whole words loses nothing.
            let lost = text(row.checked_sub(start + 1)).shifted_right(1).shifted_right(31 - by);
            word.0[n] = V::splat(simd, value.word(row)).or(own).or(lost);
        }
    }

    /// All ones in the lanes that need a second block for the end marker and the length.
    #[inline(always)]
    fn takes_two<S: Simd, V>(&self, simd: S, value: &Value) -> V
    where
        V: Number + SimdBase<S, Element = u32>,
    {
        // The sign of what is left of the first block.
        let limit = V::splat(simd, (8 * (BLOCK as u32 - 9)).wrapping_sub(value.len as u32 * 8));
        Number::sub(V::splat(simd, 0), Number::sub(limit, V::from_slice(simd, &self.lens)).shifted_right(31))
    }

    #[cold]
    fn digest_singly<T: Copy, A>(
        &self,
        layout: Layout,
        value: &[u8],
        items: &[T],
        mut all: A,
        each: &mut impl FnMut(A, T, Digest) -> A,
    ) -> A {
        for (lane, (item, len)) in items.iter().zip(self.lens).enumerate() {
            let mut bytes = [0; 2 * BLOCK];
            let rows = self.block(0).iter().chain(self.block(1));
            for (four, row) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(rows) {
                *four = row[lane].to_le_bytes();
            }
            all = each(all, *item, one(layout, &bytes[..len as usize / 8], value));
        }
        all
    }
}

/// Hashes batches in turn, step by step, whose inputs take at most two blocks.
#[inline(always)]
fn hash<S: Simd, V, const L: usize, const N: usize>(
    simd: S,
    layout: Layout,
    batches: [&Batch<L>; N],
    value: &Value,
) -> [Digests<L>; N]
where
    V: Number + SimdBase<S, Element = u32> + Into<[u32; L]>,
{
    let mut longest = 0;
    for batch in batches {
        longest = longest.max(batch.longest + value.len);
    }
    let blocks = if longest > BLOCK - 9 { 2 } else { 1 };
    let mut state = INITIAL.map(|word| Many([V::splat(simd, word); N]));
    for block in 0..blocks {
        let mut words = [Many([V::splat(simd, 0); N]); 16];
        for (n, batch) in batches.into_iter().enumerate() {
            batch.write(simd, layout, value, block, &mut words, n);
            words[14].0[n] = words[14].0[n].or(batch.lens(simd, value, block, blocks));
        }
        let next = compress(state, &words, is_wide(simd.level()));
        if block == 0 {
            state = next;
        } else {
            for (n, batch) in batches.into_iter().enumerate() {
                let takes_two: V = batch.takes_two(simd, value);
                for (word, next) in state.iter_mut().zip(next) {
                    word.0[n] = next.0[n].and(takes_two).or(word.0[n].and(takes_two.not()));
                }
            }
        }
    }
    let mut digests = [const { Digests { state: [[0; L]; 4], remainders: [0; L] } }; N];
    for (n, digests) in digests.iter_mut().enumerate() {
        let state = state.map(|word| word.0[n]);
        digests.remainders = remainder_of_100(state).into();
        digests.state = state.map(Into::into);
    }
    digests
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

    #[test]
    fn the_tests_of_this_workspace_hash_in_lanes() {
        let batches = Batches::new(Layout::ValueLast, [((), text(0, 5))]);
        assert!(batches.long.is_empty(), "[profile.dev.package.md5-lanes] has to say debug-assertions = false");
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
                batches.lanes.level = level;
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
        for count in 0..140 {
            let texts: Vec<_> = (0..count).map(|number| (number, text(number, 10 + number as usize % 3))).collect();
            compare(&texts, &[0, 12, 36, 110]);
        }
    }
}
