//! The index that finds, for one name, the lists it is in.
//!
//! It adds ten to twelve bytes an entry to the lists, whether ids recur or not, and one look answers for all lists of the
//! set.

use std::hash::BuildHasher;

/// Where one text stands: entry `entry` of the list of flag `flag`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Place {
    pub(crate) flag: u32,
    pub(crate) entry: u32,
}

/// A hash table over texts that are kept elsewhere: the places of all texts with the same hash
/// prefix stand side by side.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// Start of each bucket in `places`, and the end of the last; empty when there are no places.
    starts: Box<[u32]>,
    places: Box<[Place]>,
}

impl Index {
    /// Builds the index of `entries`, walking them twice.
    pub(crate) fn build<'a>(entries: impl Iterator<Item = (Place, &'a str)> + Clone) -> Self {
        let count = entries.clone().count();
        if count == 0 {
            return Self::default();
        }
        let buckets = (count / 2).next_power_of_two();
        let mut starts = vec![0_u32; buckets + 1];
        let hashes: Vec<u32> = entries.clone().map(|(_, text)| bucket(text.as_bytes(), buckets)).collect();
        for &hash in &hashes {
            starts[hash as usize + 1] += 1;
        }
        for bucket in 0..buckets {
            starts[bucket + 1] += starts[bucket];
        }
        let mut free = starts.clone();
        let mut places = vec![Place::default(); count];
        for (&hash, (place, _)) in hashes.iter().zip(entries) {
            let next = &mut free[hash as usize];
            places[*next as usize] = place;
            *next += 1;
        }
        Self { starts: starts.into_boxed_slice(), places: places.into_boxed_slice() }
    }

    /// The places whose text may be `text`; the caller compares.
    #[inline]
    pub(crate) fn candidates(&self, text: &[u8]) -> &[Place] {
        if self.starts.is_empty() {
            return &[];
        }
        let bucket = bucket(text, self.starts.len() - 1) as usize;
        &self.places[self.starts[bucket] as usize..self.starts[bucket + 1] as usize]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

/// `buckets` is a power of two below 2^32.
#[inline]
fn bucket(text: &[u8], buckets: usize) -> u32 {
    let hash = foldhash::fast::FixedState::default().hash_one(text);
    (hash & (buckets as u64 - 1)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Texts;

    #[test]
    fn one_look_finds_every_list_a_text_is_in() {
        let lists: Vec<Texts> = (0..50_u32)
            .map(|list| (0..100_u32).filter(|n| n % (list + 1) == 0).map(|n| format!("user-{n}")).collect())
            .collect();
        let entries = lists
            .iter()
            .zip(0..)
            .flat_map(|(list, flag)| list.iter().zip(0..).map(move |(text, entry)| (Place { flag, entry }, text)));
        let index = Index::build(entries);
        for n in 0..120_u32 {
            let text = format!("user-{n}");
            let mut found: Vec<u32> = index
                .candidates(text.as_bytes())
                .iter()
                .filter(|place| lists[place.flag as usize].get(place.entry as usize) == text)
                .map(|place| place.flag)
                .collect();
            found.sort_unstable();
            let expected: Vec<u32> = (0..50).filter(|list| n < 100 && n % (list + 1) == 0).collect();
            assert_eq!(found, expected, "{text}");
        }
        assert!(Index::build(std::iter::empty()).candidates(b"x").is_empty());
    }
}
