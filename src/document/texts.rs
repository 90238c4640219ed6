//! Lists of names, as a flag holds them.

/// Texts in one piece of memory, in the order in which they were given: one text with the ends of its entries, about four
/// bytes an entry more than the ids themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Texts {
    bytes: Box<str>,
    ends: Box<[u32]>,
}

impl Texts {
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn get(&self, number: usize) -> &str {
        let start = match number.checked_sub(1) {
            Some(before) => self.ends[before],
            None => 0,
        };
        &self.bytes[start as usize..self.ends[number] as usize]
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> + Clone {
        (0..self.len()).map(|number| self.get(number))
    }
}

impl<T: AsRef<str>> FromIterator<T> for Texts {
    /// # Panics
    ///
    /// Above 4 GiB of text; a document has at most 4 MiB.
    fn from_iter<I: IntoIterator<Item = T>>(texts: I) -> Self {
        let mut bytes = String::new();
        let ends = texts
            .into_iter()
            .map(|text| {
                bytes.push_str(text.as_ref());
                u32::try_from(bytes.len()).expect("a list is far below 4 GiB")
            })
            .collect();
        Self { bytes: bytes.into_boxed_str(), ends }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back_in_order() {
        let texts: Texts = ["alice", "", "ünal"].into_iter().collect();
        assert_eq!(texts.iter().collect::<Vec<_>>(), ["alice", "", "ünal"]);
    }
}
