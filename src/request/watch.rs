//! Watches one request until its end, for the observers of its layer.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http::request::Parts;
use http::{Method, StatusCode};

use super::caught::Code;
use super::config::Config;
use super::flags::Flags;
use crate::engine::{Answers, Entry, Evaluation};
use crate::observe::{Failure, Outcome, Reads};

/// How a request began.
pub(super) struct Start {
    at: Instant,
    is_head: bool,
}

/// A request on its way. When it is dropped, the observers are notified.
pub(super) struct Watch {
    config: Arc<Config>,
    flags: Flags,
    start: Start,
    status: Option<StatusCode>,
    to_response: Option<Duration>,
    failure: Option<Failure>,
    /// Whether a drop is the end, with nothing missing.
    is_complete: AtomicBool,
}

impl Watch {
    /// When the request came, where there is an observer.
    pub(super) fn start(config: &Config, request: &Parts) -> Option<Start> {
        if config.observers.is_empty() {
            return None;
        }
        Some(Start { at: Instant::now(), is_head: request.method == Method::HEAD })
    }

    /// Watches a request from its start, where there is an observer.
    pub(super) fn of(start: Option<Start>, config: &Arc<Config>, flags: &Flags) -> Option<Box<Self>> {
        Some(Box::new(Self {
            start: start?,
            config: Arc::clone(config),
            flags: flags.clone(),
            status: None,
            to_response: None,
            failure: None,
            is_complete: AtomicBool::new(false),
        }))
    }

    /// The head of the response is there. `seen` are the answers that the handler read.
    pub(super) fn respond(&mut self, status: StatusCode, seen: &Flags) {
        self.status = Some(status);
        self.to_response = Some(self.start.at.elapsed());
        self.flags = seen.clone();
        // Servers ask for no body (RFC 9110, sections 9.3.2, 15.3.5 and 15.4.5).
        if self.start.is_head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            self.complete();
        }
    }

    /// Nothing is missing: a drop is the end from here on.
    pub(super) fn complete(&self) {
        self.is_complete.store(true, Ordering::Relaxed);
    }

    /// The service or the body has failed.
    pub(super) fn fail(&mut self, failure: Failure) {
        self.failure = Some(failure);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let failure = match self.failure {
            None if self.is_complete.load(Ordering::Relaxed) => None,
            None if std::thread::panicking() => Some(Failure::Panicked),
            None => Some(Failure::Dropped),
            failure => failure,
        };
        let outcome = Outcome::new(&self.flags, self.status, self.to_response, self.start.at.elapsed(), failure);
        for observer in &self.config.observers {
            self.config.counters.caught(Code::Observer, || observer.observe(&outcome));
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("status", &self.status).finish_non_exhaustive()
    }
}

impl Reads for Flags {
    fn reads(&self) -> Vec<Entry<'_>> {
        let read = self.read();
        self.entries().filter(|entry| read.binary_search(&entry.name).is_ok()).collect()
    }

    fn explain(&self, name: &str) -> Option<Evaluation> {
        self.find(name).map(|(level, number)| level.answers.evaluation_at(number))
    }

    fn answers(&self) -> &Answers {
        &self.level().answers
    }
}
