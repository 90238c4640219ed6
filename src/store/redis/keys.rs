//! The names of the keys, and the texts of the store's own records.

use crate::error::{Error, ErrorKind};
use crate::store::history::Head;

/// The prefixes that a store reads below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Prefixes {
    /// Of definitions.
    pub(super) flags: String,
    /// Of plain switches, where they are read.
    pub(super) switches: Option<String>,
}

impl Default for Prefixes {
    fn default() -> Self {
        Self { flags: "ff:".to_owned(), switches: Some("feature:".to_owned()) }
    }
}

/// Where everything is.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefixes: Prefixes,
    pub(super) versions: String,
    pub(super) head: String,
    pub(super) history: String,
    pub(super) entries: String,
    pub(super) changes: String,
}

impl Keys {
    /// # Errors
    ///
    /// A prefix does not end with `:`, which no flag's name has: `ff.` would edit what belongs to `ff.prod.`. Or a prefix
    /// is below another, or the store's own keys would be below one: then keys would be flags that are
    /// none, and the server refuses to track them.
    pub(super) fn new(prefixes: Prefixes) -> Result<Self, Error> {
        for prefix in [Some(&prefixes.flags), prefixes.switches.as_ref()].into_iter().flatten() {
            if !prefix.ends_with(':') {
                let message = format!(
                    "expected a prefix that ends with ':', such as \"ff:\", found {prefix:?}: names of flags have no ':', \
                     so that such a prefix matches no key of another store"
                );
                return Err(Error::new(ErrorKind::Configuration, message));
            }
        }
        let own = |what: &str| format!("tower-flags:{{{}}}:{what}", prefixes.flags);
        let keys = Self {
            versions: own("versions"),
            head: own("head"),
            history: own("history"),
            entries: own("entries"),
            changes: own("changes"),
            prefixes,
        };
        let all: Vec<&str> = keys.tracked().collect();
        for (at, one) in all.iter().enumerate() {
            for other in &all[at + 1..] {
                if one.starts_with(other) || other.starts_with(one) {
                    let message =
                        format!("expected prefixes of which none begins with another, found {one:?} and {other:?}");
                    return Err(Error::new(ErrorKind::Configuration, message));
                }
            }
        }
        Ok(keys)
    }

    /// The prefix of definitions.
    pub(super) fn prefix(&self) -> &str {
        &self.prefixes.flags
    }

    /// The prefix of plain switches.
    pub(super) fn switch_prefix(&self) -> Option<&str> {
        self.prefixes.switches.as_deref()
    }

    pub(super) fn flag(&self, name: &str) -> String {
        format!("{}{name}", self.prefixes.flags)
    }

    pub(super) fn switch(&self, name: &str) -> Option<String> {
        self.prefixes.switches.as_ref().map(|prefix| format!("{prefix}{name}"))
    }

    /// What the server is asked to report changes of. Every edit writes the head; the other keys of ours
    /// would only double the notices.
    pub(super) fn tracked(&self) -> impl Iterator<Item = &str> {
        [self.prefix()].into_iter().chain(self.switch_prefix()).chain([&*self.head])
    }
}

/// A pattern that everything below a prefix matches, and nothing else.
pub(super) fn pattern(prefix: &str) -> String {
    let mut pattern = String::with_capacity(prefix.len() + 1);
    for character in prefix.chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '\\' | '^' | '-') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern + "*"
}

/// The head as it is stored: number and digest. An empty history has none.
pub(super) fn head_text(head: &Head) -> String {
    if *head == Head::default() { String::new() } else { format!("{} {}", head.number, head.digest) }
}

pub(super) fn head_of(text: Option<&str>) -> Option<Head> {
    let Some(text) = text else { return Some(Head::default()) };
    let (number, digest) = text.split_once(' ')?;
    Some(Head::new(number.parse().ok()?, digest))
}

/// The record of a flag's version: the version, and the digest of the text that the last edit left.
pub(super) fn version_text(version: u64, content: &str) -> String {
    if version == 0 { String::new() } else { format!("{version} {content}") }
}

pub(super) fn version_of(text: Option<&str>) -> Option<(u64, &str)> {
    let Some(text) = text else { return Some((0, "")) };
    let (version, content) = text.split_once(' ')?;
    Some((version.parse().ok()?, content))
}

/// The member of the sorted set that finds the entries of a flag; in the order of bytes it is the order of
/// numbers. Names have no spaces.
pub(super) fn entry_of(flag: &str, number: u64) -> String {
    format!("{flag} {number:020}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(flags: &str, switches: Option<&str>) -> Result<Keys, Error> {
        Keys::new(Prefixes { flags: flags.to_owned(), switches: switches.map(str::to_owned) })
    }

    #[test]
    fn records_are_read_as_they_were_written() {
        for head in [Head::default(), Head::new(7, "abc")] {
            let text = head_text(&head);
            assert_eq!(head_of(Some(text.as_str()).filter(|text| !text.is_empty())), Some(head));
        }
        assert_eq!(version_of(Some(&version_text(3, ""))), Some((3, "")));
        assert_eq!(version_of(Some(&version_text(3, "abc"))), Some((3, "abc")));
        assert_eq!((version_of(None), head_of(Some("7"))), (Some((0, "")), None));
        for broken in ["", "x", "x y", "3"] {
            assert_eq!((version_of(Some(broken)), head_of(Some(broken))), (None, None), "{broken:?}");
        }
        assert!(entry_of("x", 9) < entry_of("x", 10));
    }

    #[test]
    fn patterns_match_the_prefix_alone() {
        assert_eq!(pattern("ff:"), "ff:*");
        assert_eq!(pattern("a*[b]?\\"), "a\\*\\[b\\]\\?\\\\*");
    }

    #[test]
    fn prefixes_that_cover_each_other_are_refused() {
        let default = Keys::new(Prefixes::default()).unwrap();
        assert_eq!((default.flag("x"), default.switch("x")), ("ff:x".to_owned(), Some("feature:x".to_owned())));
        assert_eq!(default.head, "tower-flags:{ff:}:head");
        let refused = |flags: &str| keys(flags, None).unwrap_err().to_string();
        assert!(refused("ff.").starts_with("expected a prefix that ends with ':', such as \"ff:\", found \"ff.\""));
        assert!(keys("ff.prod:", Some("ff:")).is_ok(), "ff.prod:x is no flag of the other");
        for (flags, switches) in [
            ("ff:", Some("ff:x:")),
            ("tower-flags:", None),
            ("ff.", None),
            ("ff:", Some("feature.")),
            ("", None),
            ("", Some("feature:")),
            ("tower", None),
            ("f", Some("ff:")),
            ("ff:", Some("ff:")),
            ("a", Some("")),
        ] {
            assert!(keys(flags, switches).is_err(), "{flags:?} {switches:?}");
        }
        assert!(keys("f:", Some("ff:")).is_ok());
    }
}
