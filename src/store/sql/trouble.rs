//! What goes wrong with a database, as an error of ours.

use std::time::Duration;

use sqlx::error::DatabaseError;

use crate::store::{Error, ErrorKind};

/// Why something could not be done.
#[derive(Debug)]
pub(super) enum Trouble {
    Sql(sqlx::Error),
    /// There was no answer within this time.
    Late(Duration),
    /// An error that is ready.
    Ours(Error),
}

/// Runs something, and once more where `mend` has mended what it failed for.
pub(super) async fn mending<T, F, M>(run: impl Fn() -> F, mend: impl FnOnce(Trouble) -> M) -> Result<T, Trouble>
where
    F: Future<Output = Result<T, Trouble>>,
    M: Future<Output = Result<(), Trouble>>,
{
    match run().await {
        Err(trouble) => {
            mend(trouble).await?;
            run().await
        }
        done => done,
    }
}

impl From<sqlx::Error> for Trouble {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}

/// The meaning of an error in an edit that was not committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The connection was lost: the edit may succeed on another one.
    Retry,
    /// The database rejects it now.
    Rejected,
    /// The database rejects it until its set-up or the edit is changed.
    RejectedForGood,
    /// Nothing that this edit alone has.
    Kind(ErrorKind),
}

/// What the errors of one database mean.
pub(super) trait Dialect {
    /// Where something is read.
    fn kind(error: &dyn DatabaseError) -> ErrorKind;

    /// Where something is written and was not committed.
    fn verdict(error: &dyn DatabaseError) -> Verdict;

    /// Whether the connection survives the error, so that it is certain whether a commit was made.
    fn is_answer(error: &dyn DatabaseError) -> bool;

    fn is_missing_table(error: &dyn DatabaseError) -> bool;

    /// What to do about it, where that is known.
    fn help(error: &dyn DatabaseError) -> Option<&'static str>;
}

impl Trouble {
    /// `false`, but for silence.
    pub(super) fn unless_late(self) -> Result<bool, Self> {
        match self {
            Self::Late(_) => Err(self),
            _ => Ok(false),
        }
    }

    fn database(&self) -> Option<&dyn DatabaseError> {
        match self {
            Self::Sql(error) => error.as_database_error(),
            _ => None,
        }
    }

    #[cfg(feature = "postgres")]
    pub(super) fn has_code(&self, codes: &[&str]) -> bool {
        self.database().and_then(DatabaseError::code).is_some_and(|code| codes.contains(&&*code))
    }

    pub(super) fn is_missing_table<D: Dialect>(&self) -> bool {
        self.database().is_some_and(D::is_missing_table)
    }

    /// Whether it is the database's answer to the request.
    pub(super) fn is_answer<D: Dialect>(&self) -> bool {
        self.database().is_some_and(D::is_answer)
    }

    /// The reason, if the cause does not name it.
    fn reason<D: Dialect>(&self) -> Option<String> {
        match self {
            Self::Sql(sqlx::Error::PoolTimedOut) => {
                Some("the pool has no connection; is the server running, and the pool large enough?".to_owned())
            }
            Self::Sql(_) => self.database().and_then(D::help).map(str::to_owned),
            Self::Late(longest) => Some(format!("no answer within {longest:?}")),
            Self::Ours(_) => None,
        }
    }

    fn cause(self) -> Option<sqlx::Error> {
        match self {
            Self::Sql(error) if !matches!(error, sqlx::Error::PoolTimedOut) => Some(error),
            _ => None,
        }
    }

    /// An error that says which store, what could not be done, and why.
    pub(super) fn into_error<D: Dialect>(self, store: &str, what: &str) -> Error {
        let kind = match &self {
            Self::Ours(error) => error.kind(),
            Self::Sql(sqlx::Error::Configuration(_)) => ErrorKind::Configuration,
            Self::Sql(sqlx::Error::Database(error)) => D::kind(error.as_ref()),
            _ => ErrorKind::Unavailable,
        };
        let reason = self.reason::<D>().map(|reason| format!(": {reason}")).unwrap_or_default();
        match self {
            Self::Ours(error) => error,
            other => {
                let verdict = other.database().map(D::verdict);
                let is_answer = matches!(verdict, Some(Verdict::Rejected | Verdict::RejectedForGood));
                let error = caused_by(Error::new(kind, format!("{store}: {what}{reason}")), other.cause());
                if is_answer { error.answered() } else { error }
            }
        }
    }

    /// The error of an edit that was not committed, and will not be.
    pub(super) fn into_unmade<D: Dialect>(self, store: &str) -> Error {
        let verdict = match &self {
            Self::Sql(sqlx::Error::Database(error)) => D::verdict(error.as_ref()),
            Self::Sql(sqlx::Error::Configuration(_)) => Verdict::Kind(ErrorKind::Configuration),
            Self::Ours(error) if error.kind() != ErrorKind::Unavailable => Verdict::Kind(error.kind()),
            _ => Verdict::Retry,
        };
        let because = self.reason::<D>().unwrap_or_else(|| match verdict {
            Verdict::Retry => "the connection failed before the edit was complete".to_owned(),
            _ => "the database rejected the edit".to_owned(),
        });
        let rejected = Error::rejected(store, &because);
        let error = match verdict {
            Verdict::Rejected => rejected,
            Verdict::RejectedForGood => rejected.permanent(),
            Verdict::Retry => Error::new(ErrorKind::Unavailable, rejected.to_string()).unchanged(),
            Verdict::Kind(kind) => Error::new(kind, rejected.to_string()).unchanged(),
        };
        match self {
            Self::Ours(ours) => error.caused_by(ours),
            other => caused_by(error, other.cause()),
        }
    }

    /// The error of an edit whose commit was not answered.
    pub(super) fn into_doubt<D: Dialect>(self, store: &str) -> Error {
        let reason = self.reason::<D>().map(|reason| format!(": {reason}")).unwrap_or_default();
        let message = format!("{store}: the answer to an edit was lost{reason}");
        caused_by(Error::new(ErrorKind::Unavailable, message), self.cause())
    }
}

fn caused_by(error: Error, cause: Option<sqlx::Error>) -> Error {
    match cause {
        Some(cause) => error.caused_by(cause),
        None => error,
    }
}
