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
use serde::Serialize;

use super::percentage::Percentage;

/// How a user's bucket is computed; frozen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub enum Scheme {
    /// MD5 of `{salt}:{user}`, all 128 bits.
    #[default]
    #[serde(rename = "flag:user")]
    FlagUser,
    /// MD5 of `{user}-{salt}`, all 128 bits.
    #[serde(rename = "user-flag")]
    UserFlag,
    /// MD5 of `{salt}:{user}`, the first 32 bits.
    #[serde(rename = "flag:user/32")]
    FlagUser32,
    /// MD5 of `{user}` alone, the first 32 bits: every flag picks the same users first.
    #[serde(rename = "user/32")]
    User32,
}

impl Scheme {
    pub(crate) const NAMES: [(&'static str, Self); 4] = [
        ("flag:user", Self::FlagUser),
        ("user-flag", Self::UserFlag),
        ("flag:user/32", Self::FlagUser32),
        ("user/32", Self::User32),
    ];

    /// The bucket of a user under this scheme. The salt is the flag's name unless it has its own.
    ///
    /// ```
    /// use tower_flags::Percentage;
    /// use tower_flags::engine::Scheme;
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
            Self::FlagUser32 => Bucket::Top(top_32(md5([salt, b":", user]))),
            Self::User32 => Bucket::Top(top_32(md5([user, b"", b""]))),
        }
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

/// The bucket by which a user's variant is chosen, 0 to 99 999: independent of the rollout's.
pub(crate) fn variant_bucket(salt: &str, user: &[u8]) -> u32 {
    thousandths(md5([salt.as_bytes(), b":variant:", user]))
}

fn md5(parts: [&[u8]; 3]) -> [u8; 16] {
    let mut hasher = Md5::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// `(h % 100) * 1000 + (h / 100) % 1000`, which is `h % 100_000` with its digits regrouped.
fn thousandths(digest: [u8; 16]) -> u32 {
    let rest = remainder_of_100_000(digest);
    rest % 100 * 1000 + rest / 100
}

/// The digest modulo 100 000 by exact folding: 2^32, 2^64 and 2^96 leave these remainders.
fn remainder_of_100_000(digest: [u8; 16]) -> u32 {
    let word = |at: usize| u64::from(u32::from_be_bytes([digest[at], digest[at + 1], digest[at + 2], digest[at + 3]]));
    let folded = word(0) * 50_336 + word(4) * 51_616 + word(8) * 67_296 + word(12);
    (folded % 100_000) as u32
}

fn top_32(digest: [u8; 16]) -> u32 {
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folding_equals_the_128_bit_division() {
        let mut digest = [0xFF_u8; 16];
        for round in 0..10_000_u32 {
            let whole = u128::from_be_bytes(digest);
            assert_eq!(u128::from(remainder_of_100_000(digest)), whole % 100_000);
            assert_eq!(u128::from(thousandths(digest)), whole % 100 * 1000 + whole / 100 % 1000);
            digest = md5([&digest, &round.to_le_bytes(), b""]);
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
