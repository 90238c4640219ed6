//! The content of a signed text, and when it is accepted.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::key::{SealedText, SigningKey};
use crate::document::Timestamp;
use crate::engine::{Forced, ForcedBy};

/// The signed content. It is the same for both purposes, which the signature distinguishes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::request) struct Claims {
    /// Seconds since 1970, from which on it is void.
    pub(in crate::request) exp: i64,
    /// The one user whom an override is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::request) user: Option<String>,
    /// The service that decisions are for.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub(in crate::request) audience: Option<String>,
    /// The service that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::request) from: Option<String>,
    /// By which rules: their [revision](crate::Flags::revision).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::request) revision: Option<String>,
    pub(in crate::request) flags: BTreeMap<String, ForcedState>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(in crate::request) enum ForcedState {
    Switch(bool),
    Variant(String),
}

/// Longest text that is looked at, in bytes.
pub(in crate::request) const MAX_LEN: usize = 2048;

/// The signing side's clock may be ahead by this: a text may expire later than the longest life allows by as much.
/// There is no such allowance for expired texts; their life is to cover it.
pub(in crate::request) const CLOCK_SKEW: Duration = Duration::from_secs(5);

/// Why a text is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::request) enum Refusal {
    TooLong {
        most: usize,
    },
    /// Not signed by the key of that id, or changed since.
    Signature,
    /// Signed, but not what this version writes.
    Unreadable,
    Expired,
    OtherUser,
    /// Signed with the key of another service than the one that it names.
    OtherService,
    /// No accepted key has its id.
    UnknownKey,
    OtherAudience,
    /// It expires later than is allowed.
    LivesTooLong {
        most: Duration,
    },
}

impl Refusal {
    /// A number below 16.
    pub(in crate::request) fn number(self) -> u32 {
        match self {
            Self::TooLong { .. } => 0,
            Self::Signature => 1,
            Self::Unreadable => 2,
            Self::Expired => 3,
            Self::OtherUser => 4,
            Self::OtherService => 5,
            Self::UnknownKey => 6,
            Self::OtherAudience => 7,
            Self::LivesTooLong { .. } => 8,
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
            Self::OtherService => f.write_str("its key is not the key of the service that it says it is from"),
            Self::UnknownKey => f.write_str("no accepted key has the id that it names"),
            Self::OtherAudience => f.write_str("it is for another service"),
            Self::LivesTooLong { most } => {
                write!(f, "it expires later than {} from now; `longest_life` allows more", spelled(*most))
            }
        }
    }
}

/// The id of the key that a text says it is signed with, for the log: no text of any other form is repeated there.
pub(in crate::request) fn key_id(text: &[u8]) -> Option<&str> {
    SealedText::parse(std::str::from_utf8(text).ok()?).map(|sealed| sealed.id)
}

/// `30 days`, or else as `Duration` writes it: `60s`.
pub(in crate::request) fn spelled(duration: Duration) -> String {
    const DAY: u64 = 24 * 60 * 60;
    match (duration.as_secs(), duration.subsec_nanos()) {
        (seconds, 0) if seconds > DAY && seconds % DAY == 0 => format!("{} days", seconds / DAY),
        _ => format!("{duration:?}"),
    }
}

impl Claims {
    pub(in crate::request) fn until(exp: i64) -> Self {
        Self { exp, user: None, audience: None, from: None, revision: None, flags: BTreeMap::new() }
    }

    pub(in crate::request) fn seal(&self, purpose: &str, key: &SigningKey) -> String {
        key.seal(purpose, &self.payload())
    }

    pub(in crate::request) fn payload(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts, numbers and switches are JSON")
    }

    /// The content of a text that one of the keys has signed for the purpose, and that key. It has not expired, and expires
    /// within the longest life.
    pub(in crate::request) fn open<'k, K: Borrow<SigningKey>>(
        purpose: &str,
        keys: &'k [K],
        text: &str,
        now: Timestamp,
        longest_life: Duration,
    ) -> Result<(&'k K, Self), Refusal> {
        if text.len() > MAX_LEN {
            return Err(Refusal::TooLong { most: MAX_LEN });
        }
        let sealed = SealedText::parse(text).ok_or(Refusal::Signature)?;
        // Users name ids, so that several keys may have one.
        let mut keys = keys.iter().filter(|key| (*key).borrow().id() == sealed.id).peekable();
        if keys.peek().is_none() {
            return Err(Refusal::UnknownKey);
        }
        let key = keys.find(|key| (*key).borrow().has_sealed(purpose, &sealed)).ok_or(Refusal::Signature)?;
        // Serde would read a list too, its items in the order of the members.
        let is_object = sealed.payload.trim_ascii_start().starts_with(b"{");
        let claims: Option<Self> = serde_json::from_slice(&sealed.payload).ok().filter(|_| is_object);
        let claims = claims.ok_or(Refusal::Unreadable)?;
        if now >= claims.expiry() {
            return Err(Refusal::Expired);
        }
        if claims.lives_longer(now, longest_life.saturating_add(CLOCK_SKEW)) {
            return Err(Refusal::LivesTooLong { most: longest_life });
        }
        Ok((key, claims))
    }

    pub(in crate::request) fn expiry(&self) -> Timestamp {
        Timestamp::from_unix_millis(self.exp.saturating_mul(1000))
    }

    /// Whether it expires later than this duration from now on. No number overflows: an instant that is held to the
    /// year 9999 would make every later one equal.
    pub(in crate::request) fn lives_longer(&self, now: Timestamp, life: Duration) -> bool {
        let left = i128::from(self.exp) * 1000 - i128::from(now.unix_millis());
        left > i128::try_from(life.as_millis()).unwrap_or(i128::MAX)
    }

    pub(in crate::request) fn forced(self, by: ForcedBy) -> impl Iterator<Item = Forced> {
        // A request keeps what its caller has decided; a tester's word ends with the token, also on long sockets.
        let is_token = by == ForcedBy::Override;
        let until = is_token.then(|| self.expiry());
        let only_for = self.user.filter(|_| is_token);
        self.flags.into_iter().map(move |(flag, wanted)| {
            let (enabled, variant) = match wanted {
                ForcedState::Switch(enabled) => (enabled, None),
                ForcedState::Variant(variant) => (true, Some(variant)),
            };
            Forced { flag, enabled, variant, by, only_for: only_for.clone(), until }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PURPOSE: &str = "tower-flags test";
    const MINUTE: Duration = Duration::from_secs(60);

    fn now() -> Timestamp {
        Timestamp::from_unix_millis(0)
    }

    fn key() -> SigningKey {
        SigningKey::new("a key for tests, of 32 bytes or more").unwrap()
    }

    fn open(text: &str) -> Result<Claims, Refusal> {
        Claims::open(PURPOSE, &[key()], text, now(), MINUTE).map(|(_, claims)| claims)
    }

    fn open_payload(payload: &str) -> Result<Claims, Refusal> {
        open(&key().seal(PURPOSE, payload.as_bytes()))
    }

    /// Signed claims of that many bytes, give or take three.
    fn sealed(len: usize) -> String {
        let empty = Claims { user: Some(String::new()), ..Claims::until(60) };
        let missing = (len - empty.seal(PURPOSE, &key()).len()) * 3 / 4;
        Claims { user: Some("x".repeat(missing)), ..empty }.seal(PURPOSE, &key())
    }

    #[test]
    fn a_text_that_is_too_long_is_refused_though_it_is_signed() {
        let (longest, longer) = (sealed(MAX_LEN), sealed(MAX_LEN + 2));
        assert!(longest.len() <= MAX_LEN && longest.len() > MAX_LEN - 4 && longer.len() > MAX_LEN);
        assert!(open(&longest).is_ok());
        assert_eq!(open(&longer).unwrap_err(), Refusal::TooLong { most: MAX_LEN });
    }

    #[test]
    fn the_length_of_a_sealed_text_is_known_before() {
        for key in [key(), key().with_id("a").unwrap(), key().with_id("x".repeat(32)).unwrap()] {
            for len in 0..100 {
                assert_eq!(key.seal(PURPOSE, &vec![b'x'; len]).len(), key.sealed_len(len));
            }
        }
    }

    #[test]
    fn what_is_signed_and_says_something_else_is_refused() {
        assert!(open_payload(r#"{"exp":60,"flags":{"a":true,"b":"x"}}"#).is_ok());
        for payload in [
            "",
            "null",
            "[]",
            r#"{"exp":60}"#,
            r#"[60,null,null,null,null,{"a":true}]"#,
            r#"{"flags":{}}"#,
            r#"{"exp":60,"flags":{"a":1}}"#,
            r#"{"exp":60,"flags":{},"new":1}"#,
            r#"{"exp":60,"flags":{},"audience":"shop"}"#,
            r#"{"exp":60,"for":"a","for":"b","flags":{}}"#,
            r#"{"exp":1e9,"flags":{}}"#,
        ] {
            assert_eq!(open_payload(payload).unwrap_err(), Refusal::Unreadable, "{payload}");
        }
    }

    #[test]
    fn what_expires_too_early_or_too_late_is_refused_without_overflow() {
        let at = |exp: i64| open_payload(&format!(r#"{{"exp":{exp},"flags":{{}}}}"#));
        for exp in [0, -1, i64::MIN] {
            assert_eq!(at(exp).unwrap_err(), Refusal::Expired, "{exp}");
        }
        for exp in [1, 60, 65] {
            assert!(at(exp).is_ok(), "{exp}: within the life, and what clocks differ by");
        }
        for exp in [66, 253_402_300_800, 1 << 62, i64::MAX] {
            assert_eq!(at(exp).unwrap_err(), Refusal::LivesTooLong { most: MINUTE }, "{exp}");
        }
        let forever = key().seal(PURPOSE, br#"{"exp":9223372036854775807,"flags":{}}"#);
        assert!(Claims::open(PURPOSE, &[key()], &forever, now(), Duration::MAX).is_ok(), "where that is allowed");
        assert_eq!(
            Claims::open(PURPOSE, &[key()], &forever, Timestamp::MIN, Duration::ZERO).unwrap_err(),
            Refusal::LivesTooLong { most: Duration::ZERO }
        );
    }

    #[test]
    fn a_key_is_found_by_its_id_and_not_believed_for_it() {
        let other = SigningKey::new("another key for tests, also long enough").unwrap();
        let (one, two) = (key().with_id("one").unwrap(), other.with_id("two").unwrap());
        let claims = Claims::until(60);
        let open = |keys: &[SigningKey], text: &str| {
            Claims::open(PURPOSE, keys, text, now(), MINUTE).map(|(key, _)| key.id().to_owned())
        };
        let keys = [one.clone(), two.clone()];
        assert_eq!(open(&keys, &claims.seal(PURPOSE, &one)), Ok("one".to_owned()));
        assert_eq!(open(&keys, &claims.seal(PURPOSE, &two)), Ok("two".to_owned()));
        assert_eq!(open(&keys[1..], &claims.seal(PURPOSE, &one)), Err(Refusal::UnknownKey));
        // The id is signed too: a text does not become one of the other key, nor of the same key under another id.
        let renamed = claims.seal(PURPOSE, &one).replacen("one", "two", 1);
        assert_eq!(open(&keys, &renamed), Err(Refusal::Signature));
        assert_eq!(open(&[one.clone().with_id("two").unwrap()], &renamed), Err(Refusal::Signature));
        let alike = [two.with_id("one").unwrap(), one.clone()];
        assert_eq!(open(&alike, &claims.seal(PURPOSE, &one)), Ok("one".to_owned()), "two keys of one id");
    }

    #[test]
    fn every_refusal_has_its_words() {
        let texts = [
            (Refusal::TooLong { most: 1024 }, "it is longer than 1024 bytes"),
            (Refusal::Signature, "no accepted key has signed it as it is"),
            (Refusal::Unreadable, "it is signed, but says something else than this version writes"),
            (Refusal::Expired, "it has expired"),
            (Refusal::OtherUser, "it is for another user"),
            (Refusal::OtherService, "its key is not the key of the service that it says it is from"),
            (Refusal::UnknownKey, "no accepted key has the id that it names"),
            (Refusal::OtherAudience, "it is for another service"),
            (Refusal::LivesTooLong { most: MINUTE }, "it expires later than 60s from now; `longest_life` allows more"),
            (
                Refusal::LivesTooLong { most: 30 * 24 * 60 * MINUTE },
                "it expires later than 30 days from now; `longest_life` allows more",
            ),
        ];
        let mut numbers: Vec<u32> = texts.iter().map(|(refusal, _)| refusal.number()).collect();
        for (refusal, text) in texts {
            assert_eq!(refusal.to_string(), text);
        }
        numbers.dedup();
        assert_eq!(numbers, (0..9).collect::<Vec<_>>(), "each has a number of its own");
    }
}
