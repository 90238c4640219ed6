//! The cookie that stands for a token.
//!
//! `{expiry in milliseconds}.{HMAC-SHA256 of it}`, keyed with the digest of the token: it does not give the token
//! away, every process with the same tokens knows it, and taking a token away ends its sessions. Logging out is
//! known to this process alone, and lasts as long as the cookie would have.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use hmac::{Hmac, KeyInit, Mac};
use http::header::COOKIE;
use http::request::Parts;
use sha2::Sha256;

use crate::engine::Instant;

/// How long somebody stays logged in: a working day.
const SECONDS: u64 = 10 * 60 * 60;
/// So many sessions that were logged out are remembered; then those go that end first.
const MAX_FORGOTTEN: usize = 10_000;

pub(super) const COOKIE_NAME: &str = "tower_flags_admin";

/// The sessions that were logged out, with their end.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    forgotten: Mutex<BTreeSet<(i64, String)>>,
}

impl Sessions {
    /// The value of a cookie for the token with this digest, and how many seconds it is good for.
    pub(super) fn seal(digest: &str) -> (String, u64) {
        let until = now() + i64::try_from(SECONDS * 1000).unwrap_or_default();
        (format!("{until}.{}", mac(digest, until)), SECONDS)
    }

    /// The session of a request, unless it is over.
    pub(super) fn of<'a>(&self, request: &'a Parts) -> Option<Session<'a>> {
        let session = Session::of(request)?;
        let is_forgotten = self.forgotten().contains(&(session.until, session.code.to_owned()));
        (session.until > now() && !is_forgotten).then_some(session)
    }

    /// Ends the session of a request.
    pub(super) fn forget(&self, request: &Parts) {
        let Some(Session { until, code }) = Session::of(request) else { return };
        let mut forgotten = self.forgotten();
        forgotten.insert((until, code.to_owned()));
        let now = now();
        while forgotten.len() > MAX_FORGOTTEN || forgotten.first().is_some_and(|(end, _)| *end <= now) {
            forgotten.pop_first();
        }
    }

    fn forgotten(&self) -> std::sync::MutexGuard<'_, BTreeSet<(i64, String)>> {
        self.forgotten.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn now() -> i64 {
    Instant::from(SystemTime::now()).unix_millis()
}

/// What a cookie says.
pub(super) struct Session<'a> {
    until: i64,
    code: &'a str,
}

impl<'a> Session<'a> {
    /// That of the only cookie of ours; several are none.
    fn of(request: &'a Parts) -> Option<Self> {
        let lines = request.headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
        let mut found = lines.flat_map(|line| line.split(';')).filter_map(|pair| {
            let (name, value) = pair.trim().split_once('=')?;
            (name == COOKIE_NAME).then_some(value)
        });
        let (until, code) = found.next()?.split_once('.')?;
        // Only as it was written: one session has one text.
        let parsed: i64 = until.parse().ok()?;
        (found.next().is_none() && parsed.to_string() == until).then_some(Self { until: parsed, code })
    }

    /// Whether it stands for the token with this digest.
    pub(super) fn is_of(&self, digest: &str) -> bool {
        is_same(&mac(digest, self.until), self.code)
    }
}

/// Compares in a time that depends on the lengths alone.
pub(super) fn is_same(a: &str, b: &str) -> bool {
    let difference = a.bytes().zip(b.bytes()).fold(0, |difference, (a, b)| difference | (a ^ b));
    a.len() == b.len() && std::hint::black_box(difference) == 0
}

fn mac(digest: &str, until: i64) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(digest.as_bytes()).expect("HMAC takes keys of any length");
    let mac = mac.chain_update("tower-flags admin session\0").chain_update(until.to_string());
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}
