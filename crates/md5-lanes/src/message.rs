//! What is hashed: a text that is known beforehand, and a value before or after it.

/// Bytes of an MD5 block.
pub(super) const BLOCK: usize = 64;
/// Longest input that lanes hash: two blocks less the end marker and the length.
pub(super) const MAX_IN_LANES: usize = 2 * BLOCK - 9;

/// Where the value stands in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layout {
    /// `{text}{value}`
    ValueLast,
    /// `{value}{text}`
    ValueFirst,
}

/// Bytes as little-endian words, with zeros after them.
pub(super) fn words<const N: usize>(bytes: &[u8]) -> [u32; N] {
    let mut words = [0; N];
    for (word, chunk) in words.iter_mut().zip(bytes.chunks(4)) {
        let mut four = [0; 4];
        four[..chunk.len()].copy_from_slice(chunk);
        *word = u32::from_le_bytes(four);
    }
    words
}

/// The value, with zeros around it.
#[derive(Debug)]
pub(super) struct Value {
    /// A word before it, and one more than the longest value in lanes takes after it.
    bytes: [u8; 4 + 2 * BLOCK + 4],
    pub(super) len: usize,
}

impl Value {
    /// With the end marker behind it, where the value stands last. At most [`MAX_IN_LANES`] bytes.
    #[inline]
    pub(super) fn new(value: &[u8], layout: Layout) -> Self {
        let mut bytes = [0; 4 + 2 * BLOCK + 4];
        bytes[4..4 + value.len()].copy_from_slice(value);
        if layout == Layout::ValueLast {
            bytes[4 + value.len()] = 0x80;
        }
        Self { bytes, len: value.len() }
    }

    /// One word; zero after the end.
    #[inline(always)]
    pub(super) fn word(&self, at: usize) -> u32 {
        self.bytes.as_chunks().0.get(at + 1).map_or(0, |word| u32::from_le_bytes(*word))
    }

    /// Its words after the first `skipped`, end marker included, each with the word before it: a word whose bytes are
    /// moved takes some of both.
    #[inline(always)]
    pub(super) fn pairs(&self, skipped: usize) -> impl Iterator<Item = [u32; 2]> {
        let words = &self.bytes.as_chunks().0[..self.len / 4 + 3];
        words.windows(2).skip(skipped).map(|pair| [u32::from_le_bytes(pair[0]), u32::from_le_bytes(pair[1])])
    }
}
