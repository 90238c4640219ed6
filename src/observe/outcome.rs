//! What became of a request.

use std::fmt;
use std::time::Duration;

use http::StatusCode;

use crate::context::Context;
use crate::document::{FlagName, Timestamp};
use crate::engine::{Answers, Entry, Evaluation};

/// The answers of a request, and which of them were read.
pub(crate) trait Reads {
    /// The flags that were read, in ascending byte order of names.
    fn reads(&self) -> Vec<Entry<'_>>;

    /// One answer with its reason, without a mark.
    fn explain(&self, name: &str) -> Option<Evaluation>;

    /// The answers of the innermost layer.
    fn answers(&self) -> &Answers;
}

/// What became of a request.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Outcome<'a> {
    reads: &'a dyn Reads,
    /// The status of the response; `None` if there was none.
    pub status: Option<StatusCode>,
    /// The time from the call of the layer to the head of the response; `None` if there was no response.
    pub to_response: Option<Duration>,
    /// The time from the call of the layer to the end of the body.
    pub to_end: Duration,
    /// What went wrong on the way, other than the status.
    pub failure: Option<Failure>,
}

/// What went wrong with a request, other than its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Failure {
    /// The service inside returned an error instead of a response.
    Service,
    /// The body ended with an error.
    Body,
    /// Future or body were dropped before their end: by a client that went away, or by a timeout.
    Dropped,
    /// Future or body were dropped by a panic.
    Panicked,
}

impl<'a> Outcome<'a> {
    pub(crate) fn new(
        reads: &'a dyn Reads,
        status: Option<StatusCode>,
        to_response: Option<Duration>,
        to_end: Duration,
        failure: Option<Failure>,
    ) -> Self {
        Self { reads, status, to_response, to_end, failure }
    }

    /// Whether the service failed: a status of 500 or above, an error of the service or of the body, or a panic. A request
    /// that was dropped does not count, since a client may have gone away.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        self.status.is_some_and(|status| status.is_server_error())
            || matches!(self.failure, Some(Failure::Service | Failure::Body | Failure::Panicked))
    }

    /// The flags that were read, each with its answer, in ascending byte order of names.
    #[must_use]
    pub fn reads(&self) -> Vec<Entry<'a>> {
        self.reads.reads()
    }

    /// One answer with its reason; `None` for names that no flag has.
    #[must_use]
    pub fn evaluation(&self, name: impl FlagName) -> Option<Evaluation> {
        self.reads.explain(name.name())
    }

    /// Who asked.
    #[must_use]
    pub fn context(&self) -> &'a Context {
        self.reads.answers().context()
    }

    /// The instant that the answers were decided for.
    #[must_use]
    pub fn instant(&self) -> Timestamp {
        self.reads.answers().instant()
    }

    /// The number of the flag set in this process.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.reads.answers().version()
    }

    /// The store's own version or digest of the flag set.
    #[must_use]
    pub fn revision(&self) -> &'a str {
        self.reads.answers().revision()
    }
}

impl fmt::Debug for Outcome<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, to_response, to_end, failure, .. } = self;
        f.debug_struct("Outcome")
            .field("status", status)
            .field("to_response", to_response)
            .field("to_end", to_end)
            .field("failure", failure)
            .field("reads", &self.reads())
            .finish()
    }
}
