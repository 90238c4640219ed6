//! Numbers of a TOML document that `toml_edit` does not read: whole ones beyond 63 bits, and floats beyond all bounds.
//! While a flag is edited, texts stand for them, so that a number costs no more than its own flag.

use crate::document::{Plain, unreadable_numbers};

/// Begins every text that stands for a number: a private-use character. A document that has it is left as it is.
const MARK: char = '\u{e000}';

/// What stands for what.
#[derive(Debug, Default)]
pub(super) struct Wide(Vec<String>);

impl Wide {
    /// The document with texts in place of such numbers.
    pub(super) fn hidden(text: &str) -> (String, Self) {
        let mut wide = Self::default();
        let places = if text.contains(MARK) { Vec::new() } else { unreadable_numbers(text) };
        let (mut hidden, mut end) = (String::with_capacity(text.len()), 0);
        for place in places {
            hidden.push_str(&text[end..place.start]);
            hidden.push_str(&format!("\"{}\"", Self::stand_in(wide.0.len())));
            end = place.end;
            wide.0.push(text[place].to_owned());
        }
        hidden.push_str(&text[end..]);
        (hidden, wide)
    }

    /// The text with the numbers again.
    pub(super) fn shown(&self, mut text: String) -> String {
        for (number, written) in self.0.iter().enumerate() {
            text = text.replace(&format!("\"{}\"", Self::stand_in(number)), written);
        }
        text
    }

    /// The tree with the numbers again.
    pub(super) fn show(&self, plain: Plain) -> Plain {
        self.mapped(plain, &|plain| match plain {
            Plain::Text(text) => match self.number_of(&text) {
                Some(number) => self.digits(number),
                None => Plain::Text(text),
            },
            other => other,
        })
    }

    /// The tree with texts in place of the numbers that the document has, spelt as in `before` if they are there.
    pub(super) fn hide(&self, plain: Plain, before: Option<&Plain>) -> Plain {
        let is_before = |number: &usize| before.is_some_and(|before| has(before, &Self::stand_in(*number)));
        let all = || 0..self.0.len();
        self.mapped(plain, &|plain| match &plain {
            Plain::Number(_) => {
                let same = |number: &usize| self.digits(*number) == plain;
                let number = all().filter(is_before).find(same).or_else(|| all().find(same));
                number.map_or(plain, |number| Plain::Text(Self::stand_in(number)))
            }
            _ => plain,
        })
    }

    fn mapped(&self, plain: Plain, map: &impl Fn(Plain) -> Plain) -> Plain {
        if self.0.is_empty() {
            return plain;
        }
        match plain {
            Plain::List(items) => Plain::List(items.into_iter().map(|item| self.mapped(item, map)).collect()),
            Plain::Map(members) => {
                Plain::Map(members.into_iter().map(|(key, member)| (key, self.mapped(member, map))).collect())
            }
            other => map(other),
        }
    }

    fn stand_in(number: usize) -> String {
        format!("{MARK}{number}")
    }

    fn number_of(&self, text: &str) -> Option<usize> {
        text.strip_prefix(MARK)?.parse().ok().filter(|number| *number < self.0.len())
    }

    /// The number as JSON writes it.
    fn digits(&self, number: usize) -> Plain {
        let written = self.0[number].trim_start_matches('+').replace('_', "");
        let radix = [("0x", 16), ("0o", 8), ("0b", 2)].into_iter().find_map(|(start, radix)| {
            written.strip_prefix(start).and_then(|digits| u128::from_str_radix(digits, radix).ok())
        });
        Plain::Number(radix.map_or(written, |value| value.to_string()))
    }
}

fn has(plain: &Plain, stand_in: &str) -> bool {
    match plain {
        Plain::Text(text) => text == stand_in,
        Plain::List(items) => items.iter().any(|item| has(item, stand_in)),
        Plain::Map(members) => members.iter().any(|(_, member)| has(member, stand_in)),
        _ => false,
    }
}
