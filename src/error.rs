//! What goes wrong outside of deciding.

use std::error::Error as StdError;
use std::fmt;

use crate::document::Problem;

/// What went wrong in setting up, reading and editing: with a store, a source, a key, a token or a list of hosts. Deciding
/// itself cannot fail.
///
/// The message says what and where; the cause, if there is one, is in
/// [`source()`](std::error::Error::source) and not repeated in the message.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    problem: Option<Problem>,
    is_permanent: bool,
    is_unchanged: bool,
    is_answer: bool,
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
    /// The store answered that it did not make an edit: it is full, locked or read-only, for example. Nothing was
    /// changed. [`Error::is_permanent`] says whether the same edit can succeed later.
    Rejected,
    /// What the store holds was refused as a whole: somebody has to mend it there.
    Refused,
    /// There is no such flag.
    Missing,
}

impl Error {
    /// An error with a message in lower case and without full stop.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            problem: None,
            is_permanent: false,
            is_unchanged: false,
            is_answer: false,
            cause: None,
        }
    }

    /// A set-up that cannot be used.
    pub(crate) fn configuration(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Configuration, message)
    }

    /// Adds what caused it.
    #[must_use]
    pub fn caused_by(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// An edit that the store rejected: the message says that nothing was changed, and why.
    ///
    /// ```
    /// use tower_flags::store::{Error, ErrorKind};
    ///
    /// let error = Error::rejected("redis localhost:6379", "the server is out of memory");
    /// assert_eq!(error.kind(), ErrorKind::Rejected);
    /// assert_eq!(
    ///     error.to_string(),
    ///     "redis localhost:6379: nothing was changed, because the server is out of memory"
    /// );
    /// ```
    #[must_use]
    pub fn rejected(store: &str, because: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Rejected, format!("{store}: nothing was changed, because {because}"))
    }

    /// There is no flag of this name in effect: nothing was changed.
    pub(crate) fn missing_flag(source: &str, flag: &str) -> Self {
        let message =
            format!("{source}: nothing was changed: expected a flag that is in force, found no flag {flag:?}");
        Self::new(ErrorKind::Missing, message).unchanged()
    }

    /// Marks an error that does not go away by itself: the same call fails until somebody changes the store's
    /// set-up or the edit.
    #[must_use]
    pub fn permanent(mut self) -> Self {
        self.is_permanent = true;
        self
    }

    /// Whether the same call fails until the store's set-up or the edit is changed.
    ///
    /// `true` for [`Configuration`](ErrorKind::Configuration), [`Denied`](ErrorKind::Denied),
    /// [`Refused`](ErrorKind::Refused) and [`Missing`](ErrorKind::Missing), and for errors marked by
    /// [`permanent`](Self::permanent).
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        use ErrorKind::{Configuration, Denied, Missing, Refused};
        self.is_permanent || matches!(self.kind, Configuration | Denied | Refused | Missing)
    }

    /// Marks an error of [`Store::commit`](crate::store::Store::commit) as certain: nothing was changed, although the store
    /// gave no answer. For example, the connection was lost before the edit was complete.
    /// [`StoreExt::change`](crate::store::StoreExt::change) tries again, and is not in doubt.
    #[must_use]
    pub fn unchanged(mut self) -> Self {
        self.is_unchanged = true;
        self
    }

    /// Whether it is certain that an edit was not made.
    ///
    /// `true` for [`Rejected`](ErrorKind::Rejected), and for errors marked by [`unchanged`](Self::unchanged).
    #[must_use]
    pub fn is_unchanged(&self) -> bool {
        self.is_unchanged || self.kind == ErrorKind::Rejected
    }

    /// Marks an error of [`Store::read`](crate::store::Store::read) or [`Store::history`](crate::store::Store::history) as the store's
    /// own answer: the store was reached and rejected the call, for a lock on what it reads, for example.
    /// [`StoreExt::change`](crate::store::StoreExt::change) then ends at once, as [`Rejected`](ErrorKind::Rejected), and does
    /// not try again until its time is over.
    #[must_use]
    pub fn answered(mut self) -> Self {
        self.is_answer = true;
        self
    }

    /// Whether the store itself rejected the call, rather than being out of reach.
    ///
    /// `false` for [`Unavailable`](ErrorKind::Unavailable) that is not marked by [`answered`](Self::answered), and for
    /// [`InDoubt`](ErrorKind::InDoubt); `true` for all others.
    #[must_use]
    pub fn is_answer(&self) -> bool {
        self.is_answer || !matches!(self.kind, ErrorKind::Unavailable | ErrorKind::InDoubt)
    }

    /// The error of an edit that was not sent because of this one.
    pub(crate) fn into_rejected(self, store: &str) -> Self {
        let because =
            self.message.strip_prefix(store).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(&self.message);
        let message = Self::rejected(store, because).message;
        Self { kind: ErrorKind::Rejected, message, ..self }
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

/// Why a text is not what was expected, without its values, which the messages of `serde` quote: a record of a definition may
/// name users, and the message reaches callers from whom they are hidden.
#[cfg(any(feature = "file", feature = "redis"))]
pub(crate) fn without_values(error: &serde_json::Error) -> String {
    match error.classify() {
        serde_json::error::Category::Data => {
            format!("JSON of another form at line {} column {}", error.line(), error.column())
        }
        _ => error.to_string(),
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

    #[cfg(any(feature = "file", feature = "redis"))]
    #[test]
    fn a_record_that_cannot_be_read_is_not_quoted() {
        let because = |text: &str| without_values(&serde_json::from_str::<u8>(text).unwrap_err());
        assert_eq!(because(r#""mallory""#), "JSON of another form at line 1 column 9");
        assert_eq!(because("mallory"), "expected value at line 1 column 1");
    }

    #[test]
    fn the_cause_is_kept_and_not_said_twice() {
        let error = Error::new(ErrorKind::Unavailable, "flags.json cannot be read")
            .caused_by(std::io::Error::other("the disk is gone"));
        assert_eq!(error.to_string(), "flags.json cannot be read");
        assert_eq!(error.source().unwrap().to_string(), "the disk is gone");
        assert_eq!(error.chain(), "flags.json cannot be read: the disk is gone");
    }
}
