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

/// What the errors of one database mean.
pub(super) trait Dialect {
    fn kind(error: &dyn DatabaseError) -> ErrorKind;

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

    /// An error that says which store, what could not be done, and why.
    pub(super) fn into_error<D: Dialect>(self, store: &str, what: &str) -> Error {
        let help = self.database().and_then(D::help).map(|help| format!("; {help}")).unwrap_or_default();
        let kind = match &self {
            Self::Sql(sqlx::Error::Configuration(_)) => ErrorKind::Configuration,
            Self::Sql(sqlx::Error::Database(error)) => D::kind(error.as_ref()),
            _ => ErrorKind::Unavailable,
        };
        match self {
            Self::Sql(sqlx::Error::PoolTimedOut) => {
                let message = format!(
                    "{store}: {what}: the pool has no connection; is the server there, and the pool large enough?"
                );
                Error::new(kind, message)
            }
            Self::Sql(error) => Error::new(kind, format!("{store}: {what}{help}")).caused_by(error),
            Self::Late(longest) => Error::new(kind, format!("{store}: {what}: no answer within {longest:?}")),
            Self::Ours(error) => error,
        }
    }
}
