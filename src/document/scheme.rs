//! The schemes of bucketing, by name; `engine::bucketing` has their arithmetic.

use serde::Serialize;

/// How a user's bucket is computed; frozen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
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
}
