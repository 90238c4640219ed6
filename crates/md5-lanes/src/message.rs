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

/// The value as words, ready to be put at any byte of a message.
#[derive(Debug)]
pub(super) struct Value {
    /// Moved by 0, 1, 2 and 3 bytes; one word more than the longest value in lanes takes.
    moved: [[u32; 32]; 4],
    pub(super) len: usize,
}

impl Value {
    /// With the end marker behind it, where the value stands last. At most [`MAX_IN_LANES`] bytes.
    #[inline]
    pub(super) fn new(value: &[u8], layout: Layout) -> Self {
        let mut bytes = [0; 2 * BLOCK];
        bytes[..value.len()].copy_from_slice(value);
        if layout == Layout::ValueLast {
            bytes[value.len()] = 0x80;
        }
        let plain: [u32; 32] = words(&bytes);
        let mut moved = [plain; 4];
        let used = (value.len() / 4 + 2).min(32);
        for (by, words) in moved.iter_mut().enumerate().skip(1) {
            let bits = 8 * by as u32;
            words[0] = plain[0] << bits;
            for at in 1..used {
                words[at] = plain[at] << bits | plain[at - 1] >> (32 - bits);
            }
        }
        Self { moved, len: value.len() }
    }

    /// Two blocks of words with nothing but the value, `start` bytes from their beginning, and the
    /// length of the whole in bits. At most [`MAX_IN_LANES`] bytes in all.
    #[inline(always)]
    pub(super) fn words_from(&self, start: usize) -> [u32; 32] {
        let mut words = [0; 32];
        for (word, &own) in words[start / 4..].iter_mut().zip(self.words_at(start)) {
            *word = own;
        }
        let len = start + self.len;
        words[if len > BLOCK - 9 { 30 } else { 14 }] = (len * 8) as u32;
        words
    }

    /// The words of the value, end marker included, when it starts `start` bytes into the message.
    #[inline]
    pub(super) fn words_at(&self, start: usize) -> &[u32] {
        let by = start % 4;
        &self.moved[by][..(self.len + by) / 4 + 1]
    }
}
