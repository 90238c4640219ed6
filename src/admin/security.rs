//! Security events of `tracing`. The table in the [module](crate::admin) is their description.
//!
//! Events that a client without credentials can cause are counted and bounded, so that they cannot fill a disk.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::header::HOST;
use http::request::Parts;
use tokio::time::Instant;
use tracing::field::{debug, display};

use super::peer::{Peer, peer};
use super::problem::{Failure, Kind};
use super::tokens::Identification;
use crate::document::quoted;
use crate::store::HistoryBreak;

/// The target of all of these events.
const TARGET: &str = "tower_flags::security";
/// How many events of one kind are logged in a minute.
const MAX_A_MINUTE: u32 = 60;
const MINUTE: Duration = Duration::from_secs(60);

/// Counts since the start, and how many events were logged lately.
#[derive(Debug, Default)]
pub(super) struct Security {
    failed_bearers: AtomicU64,
    bearers: Pace,
    waits: Pace,
    by_role: Pace,
    by_origin: Pace,
    by_host: Pace,
}

/// Lets [`MAX_A_MINUTE`] events through.
#[derive(Debug, Default)]
struct Pace(Mutex<Window>);

#[derive(Debug, Default)]
struct Window {
    began: Option<Instant>,
    logged: u32,
    suppressed: u64,
}

impl Pace {
    /// How many events were suppressed since the last one, if another may be logged now.
    fn next(&self, now: Instant) -> Option<u64> {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if window.began.is_none_or(|began| now.saturating_duration_since(began) >= MINUTE) {
            (window.began, window.logged) = (Some(now), 0);
        }
        if window.logged >= MAX_A_MINUTE {
            window.suppressed += 1;
            return None;
        }
        window.logged += 1;
        Some(std::mem::take(&mut window.suppressed))
    }
}

impl Security {
    /// How many requests had a rejected bearer token, since the start.
    pub(super) fn failed_bearers(&self) -> u64 {
        self.failed_bearers.load(Ordering::Relaxed)
    }

    /// A login that has to wait.
    pub(super) fn login_waits(&self, from: Peer, seconds: u64) {
        let Some(suppressed) = self.waits.next(Instant::now()) else { return };
        let from = from.map(display);
        tracing::warn!(target: TARGET, event = "login_wait", from, seconds, suppressed, "logging in has to wait");
    }

    /// A request whose credentials were rejected. Without credentials it is no event.
    pub(super) fn unauthorized(&self, parts: &Parts, known: Identification<'_>) {
        let (reason, name) = match known {
            Identification::Unknown => ("unknown", None),
            Identification::Expired { name, .. } => ("expired", Some(name)),
            Identification::Current { .. } | Identification::Nobody => return,
        };
        let count = self.failed_bearers.fetch_add(1, Ordering::Relaxed) + 1;
        let Some(suppressed) = self.bearers.next(Instant::now()) else { return };
        let from = peer(parts).map(display);
        tracing::warn!(target: TARGET, event = "bearer", from, name, reason, count, suppressed, "a token that lets nobody in");
    }

    /// A request that is rejected although it may be authentic: its role is too small, or it is for another host or
    /// from another site.
    pub(super) fn refused(&self, parts: &Parts, failure: &Failure, name: Option<&str>) {
        let pace = match failure.kind {
            Kind::Forbidden => &self.by_role,
            Kind::CrossOrigin => &self.by_origin,
            Kind::WrongHost => &self.by_host,
            _ => return,
        };
        let Some(suppressed) = pace.next(Instant::now()) else { return };
        let (from, kind, method) = (peer(parts).map(display), failure.kind.name(), parts.method.as_str());
        // Both are the client's, of any length.
        let path = quoted(parts.uri.path());
        let host = parts.headers.get(HOST).map(|host| quoted(&String::from_utf8_lossy(host.as_bytes())));
        let (path, host, name) = (display(path), host.map(display), name.map(debug));
        tracing::warn!(target: TARGET, event = "refused", kind, from, name, method = display(quoted(method)), path, host, suppressed, "a request was rejected");
    }
}

pub(super) fn logged_in(from: Peer, name: &str) {
    let from = from.map(display);
    tracing::info!(target: TARGET, event = "login", from, name, "a login");
}

/// A login that failed, with the number of failures in a row.
pub(super) fn login_failed(from: Peer, failures: u32, known: Identification<'_>) {
    let from = from.map(display);
    match known {
        Identification::Expired { name, .. } => {
            tracing::warn!(target: TARGET, event = "login_failed", from, name, failures, "a login with an expired token");
        }
        _ => tracing::warn!(target: TARGET, event = "login_failed", from, failures, "a login with an unknown token"),
    }
}

/// An edit that was made: in the store, which gave it a version, or in this process alone.
pub(super) fn edited(flag: &str, action: &str, actor: &str, version: Option<u64>) {
    let stored = version.is_some();
    tracing::info!(target: TARGET, event = "edit", flag, action, actor, version, stored, "an edit");
}

/// A break of the history that was found for the first time.
pub(super) fn broken(store: &str, broken: &HistoryBreak) {
    let HistoryBreak { number, through, problem, .. } = broken;
    let by = problem.name();
    tracing::error!(target: TARGET, event = "broken", store, number, through, by, "{broken}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_and_not_logged() {
        let (pace, start) = (Pace::default(), Instant::now());
        let passed = (0..1000).filter(|_| pace.next(start).is_some()).count();
        assert_eq!(passed, 60);
        assert_eq!(pace.next(start + MINUTE), Some(940));
        assert_eq!(pace.next(start + MINUTE), Some(0));
    }
}
