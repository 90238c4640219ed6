//! From a name and a user to a bucket: frozen, byte for byte.
//!
//! A changed bucket moves users in and out of every rollout that is running, so nothing here may be
//! "improved". `tests/data/bucketing.json` holds golden vectors, computed in Python.
//!
//! | scheme | input (UTF-8 bytes) | bucket in thousandths, h = MD5 digest as a big-endian integer |
//! |---|---|---|
//! | `flag:user` | `{salt}:{user}` | `(h % 100) * 1000 + (h / 100) % 1000` |
//! | `user-flag` | `{user}-{salt}` | the same |
//! | `flag:user/32` | `{salt}:{user}` | top 32 bits t: on when `t * 100_000 < p * 0xFFFF_FFFF` |
//! | `user/32` | `{user}` | the same; the flag plays no part, so all such flags pick the same users |
//! | variants | `{salt}:variant:{user}` | as `flag:user` |
//!
//! The whole percentages of the first two agree exactly with Python services that compute
//! `int(md5(f"{flag}:{user}").hexdigest(), 16) % 100 < percentage`.

use md5::{Digest, Md5};

use crate::document::{Percentage, Scheme};

impl Scheme {
    /// The bucket of a user under this scheme. The salt is the flag's name unless it has its own.
    ///
    /// ```
    /// use tower_flags::Percentage;
    /// use tower_flags::document::Scheme;
    ///
    /// let bucket = Scheme::FlagUser.bucket("new_search", "alice");
    /// assert!(bucket.is_within(Percentage::HUNDRED));
    /// assert!(!bucket.is_within(Percentage::ZERO));
    /// ```
    #[must_use]
    pub fn bucket(self, salt: &str, user: &str) -> Bucket {
        self.bucket_of(salt, user.as_bytes())
    }

    pub(crate) fn bucket_of(self, salt: &str, user: &[u8]) -> Bucket {
        let salt = salt.as_bytes();
        match self {
            Self::FlagUser => Bucket::Fine(thousandths(md5([salt, b":", user]))),
            Self::UserFlag => Bucket::Fine(thousandths(md5([user, b"-", salt]))),
            Self::FlagUser32 => Bucket::Top(md5([salt, b":", user])[0]),
            Self::User32 => Bucket::Top(md5([user, b"", b""])[0]),
        }
    }
}

/// How far a partial rollout reaches, laid out for one comparison a digest: the same answer as
/// [`Bucket::is_within`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limit {
    /// Whole percent, or the least 32 bits that are not taken in.
    first: u32,
    /// Thousandths beyond the whole percent.
    rest: u32,
}

impl Limit {
    /// The percentage is neither 0 nor 100.
    pub(crate) fn of(scheme: Scheme, percentage: Percentage) -> Self {
        let share = percentage.thousandths();
        match scheme {
            Scheme::FlagUser | Scheme::UserFlag => Self { first: share / 1000, rest: share % 1000 },
            Scheme::FlagUser32 | Scheme::User32 => {
                let limit = (u64::from(share) * 0xFFFF_FFFF).div_ceil(100_000);
                Self { first: u32::try_from(limit).unwrap_or(u32::MAX), rest: 0 }
            }
        }
    }

    /// For the schemes that use the whole digest; `whole` is its remainder of 100.
    #[inline(always)]
    pub(crate) fn takes_in(self, whole: u32, digest: impl FnOnce() -> Words) -> bool {
        // The thousandths matter to one user in a hundred.
        if whole == self.first { thousandths(digest()) % 1000 < self.rest } else { whole < self.first }
    }

    /// For the schemes that use the first 32 bits.
    #[inline(always)]
    pub(crate) fn takes_in_top(self, digest: Words) -> bool {
        digest[0] < self.first
    }
}

/// Where a user falls among all users of a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bucket {
    /// Thousandths of a percent, 0 to 99 999.
    Fine(u32),
    /// The first 32 bits of the digest.
    Top(u32),
}

impl Bucket {
    /// Whether a rollout of this percentage takes the user in. Nobody is within 0 and everybody
    /// within 100, whatever the arithmetic would say.
    #[must_use]
    pub fn is_within(self, percentage: Percentage) -> bool {
        let share = percentage.thousandths();
        if percentage == Percentage::HUNDRED {
            return true;
        }
        match self {
            Self::Fine(bucket) => bucket < share,
            Self::Top(top) => u64::from(top) * 100_000 < u64::from(share) * 0xFFFF_FFFF,
        }
    }

    /// The bucket in thousandths of a percent, 0 to 100 000, cut down to a whole number.
    #[must_use]
    pub fn thousandths(self) -> u32 {
        match self {
            Self::Fine(bucket) => bucket,
            Self::Top(top) => (u64::from(top) * 100_000 / 0xFFFF_FFFF) as u32,
        }
    }
}

/// What is hashed for the variant of a user, before the user.
pub(crate) fn variant_text(salt: &str) -> String {
    format!("{salt}:variant:")
}

/// The bucket by which a user's variant is chosen, 0 to 99 999: independent of the rollout's.
pub(crate) fn variant_bucket(salt: &str, user: &[u8]) -> u32 {
    thousandths(md5([salt.as_bytes(), b":variant:", user]))
}

/// The digest of a value alone.
pub(crate) fn digest_of_value(value: &[u8]) -> Words {
    md5([value, b"", b""])
}

/// A digest as four big-endian words, the most significant first.
type Words = [u32; 4];

fn md5(parts: [&[u8]; 3]) -> Words {
    let mut hasher = Md5::new();
    for part in parts {
        hasher.update(part);
    }
    words_of(hasher.finalize().into())
}

pub(crate) fn words_of(digest: [u8; 16]) -> Words {
    let (words, _) = digest.as_chunks::<4>();
    std::array::from_fn(|word| u32::from_be_bytes(words[word]))
}

/// `(h % 100) * 1000 + (h / 100) % 1000`, which is `h % 100_000` with its digits regrouped.
#[inline]
pub(crate) fn thousandths(digest: Words) -> u32 {
    let rest = (folded(digest) % 100_000) as u32;
    rest % 100 * 1000 + rest / 100
}

/// A number below 2^64 with the digest's remainder of 100 000, and so of 100: 2^32, 2^64 and 2^96
/// leave these remainders.
#[inline(always)]
fn folded(digest: Words) -> u64 {
    let [a, b, c, d] = digest.map(u64::from);
    a * 50_336 + b * 51_616 + c * 67_296 + d
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folding_equals_the_128_bit_division() {
        let mut digest = [0xFF_u8; 16];
        for round in 0..10_000_u32 {
            let whole = u128::from_be_bytes(digest);
            assert_eq!(u128::from(folded(words_of(digest)) % 100_000), whole % 100_000);
            assert_eq!(u128::from(thousandths(words_of(digest))), whole % 100 * 1000 + whole / 100 % 1000);
            digest = Md5::new().chain_update(digest).chain_update(round.to_le_bytes()).finalize().into();
        }
    }

    #[test]
    fn a_limit_decides_as_the_bucket_does() {
        let mut digest = [7_u8; 16];
        for share in 1..100_000 {
            let percentage = Percentage::from_thousandths(share).unwrap();
            digest = Md5::new().chain_update(digest).finalize().into();
            let mut words = words_of(digest);
            let limit = Limit::of(Scheme::FlagUser, percentage);
            let bucket = thousandths(words);
            assert_eq!(limit.takes_in(bucket / 1000, || words), Bucket::Fine(bucket).is_within(percentage), "{share}");
            let limit = Limit::of(Scheme::User32, percentage);
            for top in [limit.first - 1, limit.first, words[0]] {
                words[0] = top;
                assert_eq!(limit.takes_in_top(words), Bucket::Top(top).is_within(percentage), "{share} {top}");
            }
        }
        // At the edge itself: digests of small numbers, whose thousandths are known.
        for hash in 0..100_000_u32 {
            let words = [0, 0, 0, hash];
            let own = thousandths(words);
            for share in [own, own + 1].into_iter().filter(|share| (1..100_000).contains(share)) {
                let percentage = Percentage::from_thousandths(share).unwrap();
                assert_eq!(
                    Limit::of(Scheme::UserFlag, percentage).takes_in(own / 1000, || words),
                    own < share,
                    "{hash} {share}"
                );
            }
        }
    }

    #[test]
    fn the_edges_of_the_32_bit_schemes_are_everybody_and_nobody() {
        assert!(!Bucket::Top(0).is_within(Percentage::ZERO));
        assert!(Bucket::Top(u32::MAX).is_within(Percentage::HUNDRED));
        assert!(!Bucket::Top(u32::MAX).is_within(Percentage::from_thousandths(99_999).unwrap()));
        assert_eq!(Bucket::Top(u32::MAX).thousandths(), 100_000);
    }
}
