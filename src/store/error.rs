//! What goes wrong outside of deciding.

use std::error::Error as StdError;
use std::fmt;

use crate::engine::Problem;

/// What went wrong with a store or a source. Deciding itself cannot fail.
///
/// The message says what and where; the cause, if there is one, is in
/// [`source()`](std::error::Error::source) and not repeated in the message.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    problem: Option<Problem>,
    cause: Option<Box<dyn StdError + Send + Sync>>,
}

/// What the caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The set-up is wrong: trying again changes nothing.
    Configuration,
    /// The store cannot be reached or read now; trying again may help.
    Unavailable,
    /// The store refuses our credentials; somebody has to give us others, or let these in.
    Denied,
    /// The answer was lost in the midst of an edit: it may be in force, and the history will tell.
    InDoubt,
    /// What the store holds was refused as a whole: somebody has to mend it there.
    Refused,
}

impl Error {
    /// An error with a message in lower case and without full stop.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), problem: None, cause: None }
    }

    /// Adds what caused it.
    #[must_use]
    pub fn caused_by(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// A document that was refused as a whole.
    #[must_use]
    pub fn refused(problem: Problem) -> Self {
        let message = problem.to_string();
        Self { problem: Some(problem), ..Self::new(ErrorKind::Refused, message) }
    }

    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What was wrong with the document, where it was refused.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        self.problem.as_ref()
    }

    /// The message with the messages of all causes, for status pages and logs.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.message.clone();
        let mut cause = self.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.as_deref().map(|cause| cause as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_kept_and_not_said_twice() {
        let error = Error::new(ErrorKind::Unavailable, "flags.json cannot be read")
            .caused_by(std::io::Error::other("the disk is gone"));
        assert_eq!(error.to_string(), "flags.json cannot be read");
        assert_eq!(error.source().unwrap().to_string(), "the disk is gone");
        assert_eq!(error.chain(), "flags.json cannot be read: the disk is gone");
    }
}
