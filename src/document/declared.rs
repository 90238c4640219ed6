//! Flags that the code declares, so that the compiler knows their names.
//!
//! [`declare_flags!`](crate::declare_flags) makes a constant of each, and a list of them all.

use std::fmt;

use super::flag::Kind;
use super::name::FlagName;
use super::timestamp::{Day, Timestamp};

/// What the code says of one flag. In the list that [`declare_flags!`](crate::declare_flags) makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Declaration {
    /// The flag's name, as the definitions have it.
    pub name: &'static str,
    /// What it is there for.
    pub kind: Kind,
    /// The doc comment, its lines joined.
    pub description: &'static str,
    /// Who looks after it.
    pub owner: Option<&'static str>,
    /// The day at whose end it should be gone, as `2027-03-01`.
    pub expires_at: Option<&'static str>,
    /// The answer where no usable definition says one.
    pub default: bool,
    /// The variants that the code knows, the first of which is the default; none for plain flags.
    pub variants: &'static [&'static str],
    /// The source file that declares it.
    pub file: &'static str,
    /// The line where the block of declarations begins.
    pub line: u32,
}

impl Declaration {
    /// For the macro, which checks it all when it is compiled.
    ///
    /// # Panics
    ///
    /// If the name is none that a flag can have.
    #[doc(hidden)]
    #[must_use]
    pub const fn new(name: &'static str, description: &'static str, file: &'static str, line: u32) -> Self {
        assert!(can_be_name(name), "a flag's name matches [A-Za-z0-9][A-Za-z0-9._-]{{0,127}}");
        Self {
            name,
            kind: Kind::Release,
            description: description.trim_ascii(),
            owner: None,
            expires_at: None,
            default: false,
            variants: &[],
            file,
            line,
        }
    }

    #[doc(hidden)]
    #[must_use]
    pub const fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    #[doc(hidden)]
    #[must_use]
    pub const fn owner(mut self, owner: &'static str) -> Self {
        assert!(self.owner.is_none(), "`owner` stands twice");
        self.owner = Some(owner);
        self
    }

    /// # Panics
    ///
    /// If it is not written as a day.
    #[doc(hidden)]
    #[must_use]
    pub const fn expires_at(mut self, day: &'static str) -> Self {
        assert!(can_be_day(day), "`expires_at` is a day, as in \"2027-03-01\"");
        assert!(self.expires_at.is_none(), "`expires_at` stands twice");
        self.expires_at = Some(day);
        self
    }

    #[doc(hidden)]
    #[must_use]
    pub const fn default(mut self, default: bool) -> Self {
        assert!(self.variants.is_empty(), "the default of an enum is its first variant");
        self.default = default;
        self
    }

    /// # Panics
    ///
    /// If one of them is no name that a variant can have, or stands twice.
    #[doc(hidden)]
    #[must_use]
    pub const fn variants(mut self, variants: &'static [&'static str]) -> Self {
        let mut at = 0;
        while at < variants.len() {
            assert!(can_be_name(variants[at]), "a variant's name matches [A-Za-z0-9][A-Za-z0-9._-]{{0,127}}");
            let mut other = 0;
            while other < at {
                assert!(!are_equal(variants[other], variants[at]), "two variants have one name");
                other += 1;
            }
            at += 1;
        }
        self.variants = variants;
        self
    }

    /// Whether its last day is over.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.and_then(|day| day.parse::<Day>().ok()).is_some_and(|day| day.is_over_at(now))
    }
}

/// A list of a block, for the macro.
///
/// # Panics
///
/// If two of its flags have one name.
#[doc(hidden)]
#[must_use]
pub const fn distinct<const N: usize>(list: [&'static Declaration; N]) -> [&'static Declaration; N] {
    let mut at = 0;
    while at < N {
        let mut other = 0;
        while other < at {
            assert!(!are_equal(list[other].name, list[at].name), "two constants declare one flag");
            other += 1;
        }
        at += 1;
    }
    list
}

/// The same rule as for definitions, at compile time.
const fn can_be_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let is_fit = bytes[at].is_ascii_alphanumeric() || at > 0 && matches!(bytes[at], b'.' | b'_' | b'-');
        if !is_fit {
            return false;
        }
        at += 1;
    }
    !bytes.is_empty() && bytes.len() <= 128
}

const fn are_equal(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

const fn can_be_day(day: &str) -> bool {
    let bytes = day.as_bytes();
    if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
        return false;
    }
    let mut at = 0;
    while at < 10 {
        if at != 4 && at != 7 && !bytes[at].is_ascii_digit() {
            return false;
        }
        at += 1;
    }
    let year = digits(bytes, 0) as u32 * 100 + digits(bytes, 2) as u32;
    let last = match digits(bytes, 5) {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        _ => return false,
    };
    matches!(digits(bytes, 8), 1..=99) && digits(bytes, 8) <= last
}

const fn digits(text: &[u8], at: usize) -> u8 {
    (text[at] - b'0') * 10 + text[at + 1] - b'0'
}

/// The variants of a flag as the code knows them: an enum from [`declare_flags!`](crate::declare_flags).
pub trait Variants: Copy + 'static {
    /// Every variant with its name, the default first.
    const ALL: &'static [(&'static str, Self)];
}

/// A flag that the code declares, from [`declare_flags!`](crate::declare_flags): a name that the
/// compiler checks, and the type of its answer.
pub struct DeclaredFlag<T = bool> {
    declaration: &'static Declaration,
    of: std::marker::PhantomData<fn() -> T>,
}

impl<T> DeclaredFlag<T> {
    #[doc(hidden)]
    #[must_use]
    pub const fn new(declaration: &'static Declaration) -> Self {
        Self { declaration, of: std::marker::PhantomData }
    }

    /// What the code says of it.
    #[must_use]
    pub const fn declaration(&self) -> &'static Declaration {
        self.declaration
    }
}

impl<T> Clone for DeclaredFlag<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for DeclaredFlag<T> {}

impl<T> fmt::Debug for DeclaredFlag<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DeclaredFlag").field(&self.declaration.name).finish()
    }
}

impl FlagName for Declaration {
    fn name(&self) -> &str {
        self.name
    }

    fn default_answer(&self) -> bool {
        self.default
    }

    fn variants(&self) -> &'static [&'static str] {
        self.variants
    }
}

impl<T> FlagName for DeclaredFlag<T> {
    fn name(&self) -> &str {
        self.declaration.name
    }

    fn default_answer(&self) -> bool {
        self.declaration.default
    }

    fn variants(&self) -> &'static [&'static str] {
        self.declaration.variants
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::is_name;

    #[test]
    fn declarations_take_the_names_that_definitions_take() {
        let long = "a".repeat(128);
        for name in ["a", "A9._-", "9", "", "-a", ".a", "a b", "ä", long.as_str(), &format!("{long}b")] {
            assert_eq!(can_be_name(name), is_name(name), "{name:?}");
        }
    }

    #[test]
    fn declarations_take_the_days_that_definitions_take() {
        for day in [
            "2027-03-01",
            "2028-02-29",
            "2027-02-29",
            "2000-02-29",
            "2100-02-29",
            "2027-03-00",
            "2027-03-31",
            "2027-04-31",
            "2027-13-01",
            "2027-00-10",
            "2027-3-1",
            "soon",
            "",
        ] {
            assert_eq!(can_be_day(day), day.parse::<Day>().is_ok(), "{day:?}");
        }
    }
}
