//! The cookie that stands for a token.
//!
//! `{expiry in milliseconds}.{HMAC-SHA256 of it}`, keyed with the digest of the token: it does not give the token
//! away, every process with the same tokens knows it, and taking a token away ends its sessions. Logging out is
//! known to this process alone, and lasts as long as the cookie would have.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hmac::{Hmac, KeyInit, Mac};
use http::header::COOKIE;
use http::request::Parts;
use sha2::Sha256;

use crate::document::Timestamp;

/// How long somebody stays logged in: a working day.
const SECONDS: i64 = 10 * 60 * 60;
/// So many sessions of one token that were logged out are remembered; of more, all that end earlier are over.
const MAX_ENDED: usize = 1_000;
/// So many cookies of our name are looked at: a browser sends those of other paths and hosts along.
const MAX_COOKIES: usize = 8;

pub(super) const COOKIE_NAME: &str = "tower_flags_admin";

/// The sessions that were logged out, by the digests of their tokens.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<BTreeMap<String, EndedSessions>>);

/// The sessions of one token that are over before their time.
#[derive(Debug, Default)]
struct EndedSessions {
    ends: BTreeSet<i64>,
    /// Those that end up to here are over too.
    up_to: i64,
}

impl Sessions {
    /// The value of a cookie for the token with this digest, and how many seconds it is good for: a working day, and no
    /// longer than the token.
    pub(super) fn seal(digest: &str, now: Timestamp, end: Option<Timestamp>) -> (String, u64) {
        let now = now.unix_millis();
        let left = end.map_or(i64::MAX, |end| end.unix_millis().saturating_sub(now).max(0));
        let millis = left.min(SECONDS * 1000);
        let until = now.saturating_add(millis);
        (format!("{until}.{}", mac(digest, until)), u64::try_from(millis / 1000).unwrap_or_default())
    }

    /// Whether a session is that of the token with this digest, and goes on.
    pub(super) fn is_open(&self, session: &Session<'_>, digest: &str) -> bool {
        let is_its = is_same(mac(digest, session.until).as_bytes(), session.code);
        let is_ended = self.ended().get(digest).is_some_and(|ended| ended.has(session.until));
        is_its && !is_ended && session.until > now()
    }

    /// Ends a session that [is open](Self::is_open).
    pub(super) fn end(&self, session: &Session<'_>, digest: &str) {
        self.ended().entry(digest.to_owned()).or_default().add(session.until);
    }

    fn ended(&self) -> MutexGuard<'_, BTreeMap<String, EndedSessions>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EndedSessions {
    fn has(&self, until: i64) -> bool {
        until <= self.up_to || self.ends.contains(&until)
    }

    fn add(&mut self, until: i64) {
        self.ends.insert(until);
        let now = now();
        while self.ends.len() > MAX_ENDED || self.ends.first().is_some_and(|end| *end <= now) {
            self.up_to = self.ends.pop_first().unwrap_or(self.up_to).max(self.up_to);
        }
    }
}

/// What a cookie says.
pub(super) struct Session<'a> {
    until: i64,
    code: &'a [u8],
}

impl<'a> Session<'a> {
    /// Those of a request. Cookies of others may be any bytes.
    pub(super) fn all_of(request: &'a Parts) -> impl Iterator<Item = Self> {
        let lines = request.headers.get_all(COOKIE).iter().map(http::HeaderValue::as_bytes);
        let pairs = lines.flat_map(|line| line.split(|byte| *byte == b';').map(<[u8]>::trim_ascii));
        let values = pairs.filter_map(|pair| pair.strip_prefix(COOKIE_NAME.as_bytes())?.strip_prefix(b"="));
        values.take(MAX_COOKIES).filter_map(Self::parse)
    }

    fn parse(value: &'a [u8]) -> Option<Self> {
        let dot = value.iter().position(|byte| *byte == b'.')?;
        let until = std::str::from_utf8(&value[..dot]).ok()?;
        // Only as it was written: one session has one text.
        let parsed: i64 = until.parse().ok()?;
        (parsed.to_string() == until).then_some(Self { until: parsed, code: &value[dot + 1..] })
    }
}

/// Compares in a time that depends on the lengths alone.
pub(super) fn is_same(a: &[u8], b: &[u8]) -> bool {
    let difference = a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b));
    a.len() == b.len() && std::hint::black_box(difference) == 0
}

fn now() -> i64 {
    Timestamp::now().unix_millis()
}

fn mac(digest: &str, until: i64) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(digest.as_bytes()).expect("HMAC takes keys of any length");
    let mac = mac.chain_update("tower-flags admin session\0").chain_update(until.to_string());
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_over_from_its_end_on() {
        let sessions = Sessions::default();
        let is_open = |until: i64| {
            let code = mac("a", until);
            sessions.is_open(&Session { until, code: code.as_bytes() }, "a")
        };
        assert!(is_open(now() + 60_000));
        assert!(!is_open(now()) && !is_open(now() - 1) && !is_open(0));
    }

    #[test]
    fn however_many_log_out_nobody_comes_back() {
        let sessions = Sessions::default();
        // None of them ends before this test does.
        let first = now() + 60 * 60 * 1000;
        let codes: Vec<(i64, String)> =
            (0..3 * 1000).map(|ms| (first + ms * 1000, mac("a", first + ms * 1000))).collect();
        let session = |(until, code): &'static (i64, String)| Session { until: *until, code: code.as_bytes() };
        let codes: &'static [(i64, String)] = codes.leak();
        for code in codes {
            assert!(sessions.is_open(&session(code), "a"));
            sessions.end(&session(code), "a");
        }
        assert!(codes.iter().all(|code| !sessions.is_open(&session(code), "a")));
        assert!(sessions.ended()["a"].ends.len() <= MAX_ENDED);
        let other: &'static (i64, String) = Box::leak(Box::new((first, mac("b", first))));
        assert!(sessions.is_open(&session(other), "b"), "those of another token go on");
    }
}
