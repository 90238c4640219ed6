//! All names of a set in one text, from which those of neighbours are copied at once.

use std::sync::Arc;

/// The names in ascending order, with commas between them.
#[derive(Debug)]
pub(crate) struct JoinedNames {
    /// With [`SLACK`](Self::SLACK) bytes after the last name.
    text: Box<[u8]>,
    /// Where each name ends.
    ends: Box<[u32]>,
}

impl JoinedNames {
    /// Readers may copy this many bytes at a time, past the end of the names they want: a copy of known length takes no
    /// call.
    pub(crate) const SLACK: usize = 64;

    pub(super) fn of(names: &[Arc<str>]) -> Self {
        let (mut text, mut ends) = (Vec::new(), Vec::with_capacity(names.len()));
        for name in names {
            text.extend_from_slice(name.as_bytes());
            // A set has at most 10,000 names, none longer than a few hundred bytes.
            ends.push(text.len() as u32);
            text.push(b',');
        }
        text.resize(text.len() + Self::SLACK, 0);
        Self { text: text.into_boxed_slice(), ends: ends.into_boxed_slice() }
    }

    /// The names of neighbours: a text that begins with them, and their length.
    #[inline]
    pub(crate) fn between(&self, first: u32, last: u32) -> (&[u8], usize) {
        let start = first.checked_sub(1).map_or(0, |before| self.ends[before as usize] as usize + 1);
        (&self.text[start..], self.ends[last as usize] as usize - start)
    }
}
