//! Secrets that are too short or easy to guess, for signatures and for the chain of a history.

use std::fmt;

/// Fewest bytes of a key, and of a pattern before it repeats.
const MIN_LEN: usize = 32;
/// Fewest different bytes of a key. Of 32 random digits in hex, fewer occur once in 10^15 keys.
const MIN_VALUES: usize = 5;

/// A key that is too short or easy to guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WeakKey {
    /// The key's length in bytes.
    len: usize,
    weakness: Weakness,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weakness {
    Short,
    /// A pattern of this many bytes, repeated.
    Repeats(usize),
    /// The number of different bytes.
    FewValues(usize),
    Counts,
}

impl WeakKey {
    /// Why these bytes are no key, if they are none.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        Weakness::of(bytes).map(|weakness| Self { len: bytes.len(), weakness })
    }
}

impl Weakness {
    fn of(bytes: &[u8]) -> Option<Self> {
        let len = bytes.len();
        if len < MIN_LEN {
            return Some(Self::Short);
        }
        // A random key does not repeat half of itself; of a shorter repetition that cannot be said.
        let repeats = |period: &usize| bytes[*period..] == bytes[..len - *period];
        if let Some(period) = (1..MIN_LEN).take_while(|period| *period <= len / 2).find(repeats) {
            return Some(Self::Repeats(period));
        }
        let values = (0..=u8::MAX).filter(|byte| bytes.contains(byte)).count();
        if values < MIN_VALUES {
            return Some(Self::FewValues(values));
        }
        let steps = bytes.windows(2).filter(|pair| matches!(pair[1].wrapping_sub(pair[0]), 0 | 1 | u8::MAX)).count();
        (steps * 8 >= (len - 1) * 7).then_some(Self::Counts)
    }
}

impl fmt::Display for WeakKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let len = self.len;
        match self.weakness {
            Weakness::Short => write!(f, "expected a key of at least {MIN_LEN} bytes, found {len}")?,
            Weakness::Repeats(period) => write!(
                f,
                "expected a key of at least {MIN_LEN} bytes that do not repeat, found {len} bytes that repeat \
                 after {period}"
            )?,
            Weakness::FewValues(values) => {
                write!(f, "expected a random key, found {len} bytes of only {values} different values")?;
            }
            Weakness::Counts => write!(f, "expected a random key, found {len} bytes that count up or down")?,
        }
        f.write_str("; `openssl rand -hex 32` makes one")
    }
}

#[cfg(feature = "overrides")]
impl From<WeakKey> for crate::error::Error {
    fn from(weak: WeakKey) -> Self {
        Self::configuration(weak.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejection(bytes: impl AsRef<[u8]>) -> String {
        WeakKey::of(bytes.as_ref()).unwrap().to_string()
    }

    fn is_accepted(bytes: impl AsRef<[u8]>) -> bool {
        WeakKey::of(bytes.as_ref()).is_none()
    }

    #[test]
    fn keys_that_are_easy_to_guess_are_rejected_with_the_reason() {
        let repeats = |len: usize, period: usize| {
            format!(
                "expected a key of at least 32 bytes that do not repeat, found {len} bytes that repeat after \
                 {period}; `openssl rand -hex 32` makes one"
            )
        };
        let short = "expected a key of at least 32 bytes, found 31; `openssl rand -hex 32` makes one";
        assert_eq!(rejection([0; 31]), short);
        for byte in 0..=u8::MAX {
            assert_eq!(rejection([byte; 32]), repeats(32, 1));
            assert_eq!(rejection([byte; 100]), repeats(100, 1));
        }
        for period in 2..=16 {
            let pattern: Vec<u8> = (0..period).map(|at| (at * 37 + 11) as u8).collect();
            for len in [32, 33, 47, 64] {
                let key: Vec<u8> = pattern.iter().copied().cycle().take(len).collect();
                assert_eq!(rejection(key), repeats(len, period), "a last repetition may be cut short");
            }
        }
        assert_eq!(rejection("changeme".repeat(4)), repeats(32, 8));
        let half = "fdc1d0a6c3b24ae0b0b4a7a0a1f3f5a";
        assert_eq!(rejection(half.repeat(2)), repeats(62, 31));

        let few = "expected a random key, found 33 bytes of only 4 different values; \
                   `openssl rand -hex 32` makes one";
        assert_eq!(rejection("aaaaabbbbbbbcccccccccddddddddddab"), few);
        let counts = |len: usize| {
            format!("expected a random key, found {len} bytes that count up or down; `openssl rand -hex 32` makes one")
        };
        let up: Vec<u8> = (0..32).collect();
        let down: Vec<u8> = (100..200).rev().collect();
        let around: Vec<u8> = (0..40_u8).map(|at| at.wrapping_add(240)).collect();
        assert_eq!((rejection(up), rejection(down), rejection(around)), (counts(32), counts(100), counts(40)));
        assert_eq!(rejection("abcdefghijklmnopqrstuvwxyz0123456789"), counts(36));
    }

    #[test]
    fn random_keys_are_accepted_as_bytes_and_as_text() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = || {
            // Xorshift (Marsaglia 2003).
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        };
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..32).map(|_| random()).collect();
            assert!(is_accepted(&bytes), "{bytes:?}");
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            assert!(is_accepted(&hex[..32]) && is_accepted(&hex), "{hex}");
            assert!(is_accepted(hex.repeat(2)), "a pattern of 64 bytes is as long as it has to be");
        }
    }
}
