//! How loading goes.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::document::{Problem, Timestamp};
use crate::store::Error;

/// How loading from one source goes. What changes is logged.
#[derive(Debug)]
pub(super) struct Health {
    source: String,
    now: Mutex<HealthState>,
}

#[derive(Debug, Default)]
pub(super) struct HealthState {
    pub(super) stale_since: Option<Timestamp>,
    pub(super) last_error: Option<String>,
    /// The problem of a document that was refused as a whole.
    pub(super) refused: Option<Problem>,
}

impl Health {
    pub(super) fn new(source: &str) -> Self {
        Self { source: source.to_owned(), now: Mutex::default() }
    }

    pub(super) fn now(&self) -> MutexGuard<'_, HealthState> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn succeeded(&self) {
        let mut health = self.now();
        if health.last_error.is_some() {
            tracing::info!(source = self.source, "rules are current again");
        }
        *health = HealthState::default();
    }

    /// Notices have ended: what is in effect may be old from now on.
    pub(super) fn unheard_from_now_on(&self, error: &Error) {
        let message = error.chain();
        tracing::warn!(source = self.source, "changes are no longer heard of: {message}");
        let mut health = self.now();
        health.last_error = Some(message);
        health.stale_since.get_or_insert_with(Timestamp::now);
    }

    /// Rules are loaded, and there are no notices.
    pub(super) fn unheard(&self, error: &Error) {
        let message = error.chain();
        let mut health = self.now();
        if health.last_error.as_ref() != Some(&message) {
            tracing::warn!(source = self.source, "changes are seen late: {message}");
        }
        *health = HealthState { last_error: Some(message), ..HealthState::default() };
    }

    /// Rules are not loaded. `has_rules` says whether there are earlier ones.
    pub(super) fn failed(&self, error: &Error, has_rules: bool) {
        let message = error.chain();
        let mut health = self.now();
        if health.last_error.as_ref() != Some(&message) {
            let meanwhile = if has_rules { "earlier ones stay in force" } else { "there are none yet" };
            tracing::error!(source = self.source, "rules could not be loaded, {meanwhile}: {message}");
        }
        health.last_error = Some(message);
        health.refused = error.problem().cloned();
        health.stale_since.get_or_insert_with(Timestamp::now);
    }
}
