//! Messages side by side, hashed together for one caller.

use fearless_simd::{Level, Simd, SimdBase, dispatch, u32x8, u32x16};
use md5::{Digest as _, Md5};

use super::md5::{INITIAL, Word, compress};
use super::message::{BLOCK, Layout, MAX_IN_LANES, Value, words};
use crate::engine::bucketing::words_of;

/// A digest as its four words, of which the first is the most significant.
pub(crate) type Digest = [u32; 4];

/// Texts that are hashed together with a value that is not known yet, each with what its digest is
/// for.
#[derive(Debug)]
pub(crate) struct Batches<T> {
    layout: Layout,
    level: Level,
    wide: Box<[Batch<T, 16>]>,
    /// What is left over, where half as many lanes do.
    narrow: Option<Box<Batch<T, 8>>>,
    /// Texts that leave no room for a value in two blocks.
    long: Box<[(T, Box<[u8]>)]>,
}

impl<T: Copy + Default> Batches<T> {
    /// Lays out texts.
    pub(crate) fn new(layout: Layout, texts: impl IntoIterator<Item = (T, Vec<u8>)>) -> Self {
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

    /// Hashes every text with the value and hands out the digests, in no order.
    #[inline]
    pub(crate) fn digest_all(&self, value: &[u8], mut each: impl FnMut(T, Digest)) {
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
        for batch in &self.wide {
            batch.digest::<S, u32x16<S>>(simd, self.layout, value, bytes, each);
        }
        if let Some(batch) = &self.narrow {
            batch.digest::<S, u32x8<S>>(simd, self.layout, value, bytes, each);
        }
    }
}

/// Texts in lanes, transposed: a row holds one word of each.
#[derive(Debug)]
struct Batch<T, const L: usize> {
    /// The first block of each text, and the second where one has it. Texts before which the value
    /// stands have their end marker.
    first: [[u32; L]; 16],
    second: Option<Box<[[u32; L]; 16]>>,
    lens: [u32; L],
    shortest: u32,
    longest: u32,
    items: [T; L],
    /// Lanes in use.
    used: usize,
}

impl<T: Copy + Default, const L: usize> Batch<T, L> {
    /// At most `L` texts, each shorter than [`MAX_IN_LANES`].
    fn new(layout: Layout, texts: &[(T, Vec<u8>)]) -> Self {
        let mut rows = [[0; L]; 32];
        let mut batch = Self {
            first: [[0; L]; 16],
            second: None,
            lens: [0; L],
            shortest: u32::MAX,
            longest: 0,
            items: [T::default(); L],
            used: texts.len(),
        };
        for (lane, (item, text)) in texts.iter().enumerate() {
            let len = u32::try_from(text.len()).expect("a text in lanes is shorter than two blocks");
            let mut text = text.clone();
            if layout == Layout::ValueFirst {
                text.push(0x80);
            }
            for (row, word) in rows.iter_mut().zip(words::<32>(&text)) {
                row[lane] = word;
            }
            batch.lens[lane] = len;
            batch.items[lane] = *item;
            batch.shortest = batch.shortest.min(len);
            batch.longest = batch.longest.max(len);
        }
        batch.first.copy_from_slice(&rows[..16]);
        if rows[16..].iter().flatten().any(|&word| word != 0) {
            let mut second = Box::new([[0; L]; 16]);
            second.copy_from_slice(&rows[16..]);
            batch.second = Some(second);
        }
        batch
    }

    /// Hashes all lanes at once, or one by one where an input takes more than two blocks.
    #[inline(always)]
    fn digest<S: Simd, V>(&self, simd: S, layout: Layout, value: &Value, bytes: &[u8], each: &mut impl FnMut(T, Digest))
    where
        V: Word + SimdBase<S, Element = u32> + Into<[u32; L]>,
    {
        let longest = self.longest as usize + value.len;
        if longest > MAX_IN_LANES {
            return self.digest_singly(layout, bytes, each);
        }
        let blocks = if longest <= BLOCK - 9 { 1 } else { 2 };
        // One length, one place for the value: then its words are the same for all lanes.
        let alike = (self.shortest == self.longest && layout == Layout::ValueLast)
            .then(|| value.words_from(self.longest as usize));
        let mut rows = [self.first, [[0; L]; 16]];
        if alike.is_none() {
            self.fill(layout, value, &mut rows);
        } else if let (2, Some(second)) = (blocks, &self.second) {
            rows[1] = **second;
        }
        let mut state = INITIAL.map(|word| V::splat(simd, word));
        for (block, rows) in rows.iter().enumerate().take(blocks) {
            let words = match &alike {
                Some(words) => {
                    std::array::from_fn(|at| V::from_slice(simd, &rows[at]).or(V::splat(simd, words[16 * block + at])))
                }
                None => std::array::from_fn(|at| V::from_slice(simd, &rows[at])),
            };
            let next = compress(state, &words);
            state = if block == 0 || alike.is_some() { next } else { self.where_two_blocks(simd, value, next, state) };
        }
        let [a, b, c, d]: [[u32; L]; 4] = state.map(Into::into);
        for lane in 0..self.used {
            each(self.items[lane], [a[lane], b[lane], c[lane], d[lane]].map(u32::swap_bytes));
        }
    }

    /// The state after the second block in the lanes that need one, and after the first in the others.
    #[inline(always)]
    fn where_two_blocks<S: Simd, V>(&self, simd: S, value: &Value, second: [V; 4], first: [V; 4]) -> [V; 4]
    where
        V: Word + SimdBase<S, Element = u32>,
    {
        let takes_two: [u32; L] =
            std::array::from_fn(|lane| if self.lens[lane] as usize + value.len > BLOCK - 9 { u32::MAX } else { 0 });
        let takes_two = V::from_slice(simd, &takes_two);
        std::array::from_fn(|word| second[word].and(takes_two).or(first[word].and(takes_two.not())))
    }

    /// The words of all lanes' inputs, over the first blocks of the texts: value, end marker, length.
    #[allow(clippy::needless_range_loop, reason = "lanes are columns, across rows")]
    #[inline(always)]
    fn fill(&self, layout: Layout, value: &Value, rows: &mut [[[u32; L]; 16]; 2]) {
        match layout {
            Layout::ValueLast => {
                if let Some(second) = &self.second {
                    rows[1] = **second;
                }
                // Word by word down a column: one step is a row.
                let cells = rows.as_flattened_mut().as_flattened_mut();
                for (lane, &start) in self.lens[..self.used].iter().enumerate() {
                    let start = start as usize;
                    let column = cells[start / 4 * L + lane..].iter_mut().step_by(L);
                    for (cell, &word) in column.zip(value.words_at(start)) {
                        *cell |= word;
                    }
                }
            }
            Layout::ValueFirst => {
                let (start, by) = (value.len / 4, value.len as u32 % 4 * 8);
                rows[0] = [[0; L]; 16];
                for (at, &word) in (0..32).zip(value.words_at(0)) {
                    rows[at / 16][at % 16].fill(word);
                }
                let zeros = [0; L];
                let texts = self.first.iter().chain(self.second.iter().flat_map(|second| second.iter()));
                // One row more: what the last word loses on one side goes into it.
                let texts = texts.chain([&zeros]);
                let mut before = &zeros;
                for (at, text) in (start..32).zip(texts) {
                    for lane in 0..L {
                        // A text moved by whole words takes nothing over from the word before.
                        let carried = if by == 0 { 0 } else { before[lane] >> (32 - by) };
                        rows[at / 16][at % 16][lane] |= text[lane] << by | carried;
                    }
                    before = text;
                }
            }
        }
        for lane in 0..self.used {
            let len = self.lens[lane] as usize + value.len;
            rows[usize::from(len > BLOCK - 9)][14][lane] = (len * 8) as u32;
        }
    }

    #[cold]
    fn digest_singly(&self, layout: Layout, value: &[u8], each: &mut impl FnMut(T, Digest)) {
        for lane in 0..self.used {
            let mut bytes = [0; 2 * BLOCK];
            let rows = self.first.iter().chain(self.second.iter().flat_map(|second| second.iter()));
            for (four, row) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(rows) {
                *four = row[lane].to_le_bytes();
            }
            each(self.items[lane], one(layout, &bytes[..self.lens[lane] as usize], value));
        }
    }
}

/// One digest by the reference implementation.
pub(super) fn one(layout: Layout, text: &[u8], value: &[u8]) -> Digest {
    let (before, after) = match layout {
        Layout::ValueLast => (text, value),
        Layout::ValueFirst => (value, text),
    };
    words_of(Md5::new().chain_update(before).chain_update(after).finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(number: u32, len: usize) -> Vec<u8> {
        (0..len).map(|at| (number as usize * 31 + at * 7 + at * at) as u8).collect()
    }

    /// Hashes the texts with values of these lengths, in lanes and one by one.
    fn compare(texts: &[(u32, Vec<u8>)], values: &[usize]) {
        for layout in [Layout::ValueLast, Layout::ValueFirst] {
            let mut batches = Batches::new(layout, texts.to_vec());
            for level in [Level::new(), Level::baseline()] {
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
    fn every_number_of_lanes_is_hashed_once() {
        for count in 0..50 {
            let texts: Vec<_> = (0..count).map(|number| (number, text(number, 10 + number as usize % 3))).collect();
            compare(&texts, &[0, 12, 36, 110]);
        }
    }
}
