//! What a signed text says, and the tokens that testers are given.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::key::SigningKey;
use crate::engine::{FlagName, Forced, ForcedBy, Instant};

/// What is signed. The same for both purposes, which the signature tells apart.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Claims {
    /// Seconds since 1970, from which on it is void.
    pub(super) exp: i64,
    /// The one user whom an override is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<String>,
    /// The service that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) from: Option<String>,
    /// By which rules: their [origin](crate::Flags::origin).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) origin: Option<String>,
    pub(super) flags: BTreeMap<String, Wanted>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Wanted {
    Switch(bool),
    Variant(String),
}

/// Longest text that is looked at, in bytes.
pub(super) const MAX_LEN: usize = 2048;
/// Longest token of a tester, in bytes. It comes back as a cookie beside `X-Active-Flags` and
/// `X-Flag-Overrides`, and nginx takes less than 4 000 bytes of headers unless told otherwise.
pub(super) const MAX_TOKEN: usize = 1024;

/// Why a text is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    TooLong {
        most: usize,
    },
    /// Not signed by a key that is accepted, or changed since.
    Signature,
    /// Signed, but not what this version writes.
    Unreadable,
    Expired,
    OtherUser,
    OtherService,
}

impl Refusal {
    /// A number below 16.
    pub(super) fn number(self) -> u32 {
        match self {
            Self::TooLong { .. } => 0,
            Self::Signature => 1,
            Self::Unreadable => 2,
            Self::Expired => 3,
            Self::OtherUser => 4,
            Self::OtherService => 5,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { most } => write!(f, "it is longer than {most} bytes"),
            Self::Signature => f.write_str("no accepted key has signed it as it is"),
            Self::Unreadable => f.write_str("it is signed, but says something else than this version writes"),
            Self::Expired => f.write_str("it has expired"),
            Self::OtherUser => f.write_str("it is for another user"),
            Self::OtherService => f.write_str("it is from a service that is not accepted"),
        }
    }
}

impl Claims {
    pub(super) fn seal(&self, purpose: &str, key: &SigningKey) -> String {
        key.seal(purpose, &self.payload())
    }

    pub(super) fn payload(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts, numbers and switches are JSON")
    }

    pub(super) fn open(purpose: &str, keys: &[SigningKey], sealed: &str, now: Instant) -> Result<Self, Refusal> {
        if sealed.len() > MAX_LEN {
            return Err(Refusal::TooLong { most: MAX_LEN });
        }
        let payload = keys.iter().find_map(|key| key.open(purpose, sealed)).ok_or(Refusal::Signature)?;
        // Serde would read a list too, its items in the order of the members.
        let is_object = payload.trim_ascii_start().starts_with(b"{");
        let claims: Self = serde_json::from_slice(&payload).ok().filter(|_| is_object).ok_or(Refusal::Unreadable)?;
        if now >= claims.expiry() { Err(Refusal::Expired) } else { Ok(claims) }
    }

    fn expiry(&self) -> Instant {
        Instant::from_unix_millis(self.exp.saturating_mul(1000))
    }

    pub(super) fn forced(self, by: ForcedBy) -> impl Iterator<Item = Forced> {
        // A request keeps what its caller has decided; a tester's word ends with the token, also on long sockets.
        let is_token = by == ForcedBy::Override;
        let until = is_token.then(|| self.expiry());
        let only_for = self.user.filter(|_| is_token);
        self.flags.into_iter().map(move |(flag, wanted)| {
            let (enabled, variant) = match wanted {
                Wanted::Switch(enabled) => (enabled, None),
                Wanted::Variant(variant) => (true, Some(variant)),
            };
            Forced { flag, enabled, variant, by, only_for: only_for.clone(), until }
        })
    }
}

pub(super) const OVERRIDE: &str = "tower-flags override 1";

/// What a tester may force, to be signed: until when, for whom, and which flags.
///
/// The text travels as `?flag_override=`, as a cookie or as the header `X-Flag-Override`; see
/// [`Overrides`](super::Overrides).
///
/// ```
/// use tower_flags::request::{OverrideToken, SigningKey};
///
/// let key = SigningKey::new("fdc1d0a6c3b24ae0b0b4a7a0a1f3f5a7c9e2")?;
/// let until = "2026-12-01T18:00:00Z".parse()?;
/// let token = OverrideToken::until(until).for_user("alice").on("new_checkout").variant("pricing_page", "higher");
/// let link = format!("https://shop.example/?flag_override={}", token.sign(&key)?);
/// # let _ = link;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "a token is of use once it is signed"]
pub struct OverrideToken(Claims);

impl OverrideToken {
    /// A token that is void from this instant on, to the second.
    pub fn until(expires_at: Instant) -> Self {
        let exp = expires_at.unix_millis().div_euclid(1000);
        Self(Claims { exp, user: None, from: None, origin: None, flags: BTreeMap::new() })
    }

    /// For this user alone: nobody else's token of it counts. Without, whoever has the link has the flags.
    pub fn for_user(mut self, user_id: impl Into<String>) -> Self {
        self.0.user = Some(user_id.into());
        self
    }

    /// The flag is on; where it has variants, the weights choose.
    pub fn on(self, flag: impl FlagName) -> Self {
        self.with(flag, Wanted::Switch(true))
    }

    /// The flag is off.
    pub fn off(self, flag: impl FlagName) -> Self {
        self.with(flag, Wanted::Switch(false))
    }

    /// The flag is on with this variant; where it has no such variant, the weights choose.
    pub fn variant(self, flag: impl FlagName, variant: impl AsRef<str>) -> Self {
        self.with(flag, Wanted::Variant(variant.as_ref().to_owned()))
    }

    fn with(mut self, flag: impl FlagName, wanted: Wanted) -> Self {
        self.0.flags.insert(flag.name().to_owned(), wanted);
        self
    }

    /// The token's text: letters, digits, `-`, `_` and one `.`, which a URL takes as they are.
    ///
    /// # Errors
    ///
    /// More than 1 024 bytes, which no layer would take: some thirty flags.
    pub fn sign(&self, key: &SigningKey) -> Result<String, TokenTooLong> {
        let token = self.0.seal(OVERRIDE, key);
        if token.len() > MAX_TOKEN { Err(TokenTooLong { len: token.len() }) } else { Ok(token) }
    }
}

/// A token of too many flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenTooLong {
    /// How long it would be, in bytes.
    pub len: usize,
}

impl fmt::Display for TokenTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected a token of at most {MAX_TOKEN} bytes, found {}; name fewer flags", self.len)
    }
}

impl std::error::Error for TokenTooLong {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Signed claims of that many bytes, give or take three.
    fn sealed(key: &SigningKey, len: usize) -> String {
        let empty = Claims { exp: 60, user: Some(String::new()), from: None, origin: None, flags: BTreeMap::new() };
        let missing = (len - empty.seal(OVERRIDE, key).len()) * 3 / 4;
        Claims { user: Some("x".repeat(missing)), ..empty }.seal(OVERRIDE, key)
    }

    #[test]
    fn a_text_that_is_too_long_is_refused_though_it_is_signed() {
        let key = SigningKey::new("a key for tests, of 32 bytes or more").unwrap();
        let open = |text: &str| Claims::open(OVERRIDE, std::slice::from_ref(&key), text, Instant::from_unix_millis(0));
        let (longest, longer) = (sealed(&key, MAX_LEN), sealed(&key, MAX_LEN + 2));
        assert!(longest.len() <= MAX_LEN && longest.len() > MAX_LEN - 4 && longer.len() > MAX_LEN);
        assert!(open(&longest).is_ok());
        assert_eq!(open(&longer).unwrap_err(), Refusal::TooLong { most: MAX_LEN });
    }

    #[test]
    fn what_is_signed_and_says_something_else_is_refused() {
        let key = SigningKey::new("a key for tests, of 32 bytes or more").unwrap();
        let now = Instant::from_unix_millis(0);
        let open = |payload: &str| {
            Claims::open(OVERRIDE, std::slice::from_ref(&key), &key.seal(OVERRIDE, payload.as_bytes()), now)
        };
        assert!(open(r#"{"exp":60,"flags":{"a":true,"b":"x"}}"#).is_ok());
        for payload in [
            "",
            "null",
            "[]",
            r#"{"exp":60}"#,
            r#"[60,null,null,null,{"a":true}]"#,
            r#"{"flags":{}}"#,
            r#"{"exp":60,"flags":{"a":1}}"#,
            r#"{"exp":60,"flags":{},"new":1}"#,
            r#"{"exp":1e9,"flags":{}}"#,
        ] {
            assert_eq!(open(payload).unwrap_err(), Refusal::Unreadable, "{payload}");
        }
        assert_eq!(open(r#"{"exp":0,"flags":{}}"#).unwrap_err(), Refusal::Expired);
        assert_eq!(open(r#"{"exp":-9223372036854775808,"flags":{}}"#).unwrap_err(), Refusal::Expired);
        assert!(open(r#"{"exp":9223372036854775807,"flags":{}}"#).is_ok(), "no overflow");
    }

    #[test]
    fn every_refusal_has_its_words() {
        let texts = [
            (Refusal::TooLong { most: 1024 }, "it is longer than 1024 bytes"),
            (Refusal::Signature, "no accepted key has signed it as it is"),
            (Refusal::Unreadable, "it is signed, but says something else than this version writes"),
            (Refusal::Expired, "it has expired"),
            (Refusal::OtherUser, "it is for another user"),
            (Refusal::OtherService, "it is from a service that is not accepted"),
        ];
        for (refusal, text) in texts {
            assert_eq!(refusal.to_string(), text);
        }
    }
}
