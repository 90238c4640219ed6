//! The meaning of PostgreSQL's errors, by <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
//!
//! Every error before `COMMIT`, and every error of level `ERROR` that answers it, means that nothing was changed. An edit
//! is in doubt only if its `COMMIT` was sent, and got no answer or the end of the connection.
//!
//! An error of reading that would reject an edit is marked as the server's answer: an edit that meets it is rejected.
//!
//! | SQLSTATE | where something is read | where an edit is not committed |
//! |---|---|---|
//! | `40001`, `40P01` | unavailable | another edit came first: tried again |
//! | `08…`, `57P0…`, `25P03`, `25P04`, `53300`, every `FATAL` | unavailable | tried again on another connection |
//! | `28…`, `42501` | denied | denied |
//! | `0A…`, `26…`, `3D…`, `3F…`, `42…` | configuration | configuration |
//! | `22…`: texts that no column or encoding holds | configuration | rejected for good |
//! | `25006`, `23…`, `27…`, `44…`, `54…`, `55000`, `P0…`, `XX001`, `XX002` | unavailable | rejected for good |
//! | `53…`, `55…`, `57014`, `58…`, `XX000`, and all others | unavailable | rejected |

use sqlx::Postgres;
use sqlx::error::DatabaseError;
use sqlx::postgres::{PgDatabaseError, PgSeverity};

use super::trouble::{Dialect, Verdict};
use crate::store::ErrorKind;

impl Dialect for Postgres {
    fn kind(error: &dyn DatabaseError) -> ErrorKind {
        let code = error.code().unwrap_or_default();
        match (&*code, code.get(..2).unwrap_or_default()) {
            // It cannot be done to what is used now.
            ("42501", _) | (_, "28") => ErrorKind::Denied,
            // No such database or schema; a wrong statement, or one about missing objects; texts that no column can
            // hold.
            (_, "0A" | "22" | "26" | "3D" | "3F" | "42") => ErrorKind::Configuration,
            _ => ErrorKind::Unavailable,
        }
    }

    fn verdict(error: &dyn DatabaseError) -> Verdict {
        let code = error.code().unwrap_or_default();
        match (&*code, code.get(..2).unwrap_or_default()) {
            ("25006" | "55000" | "XX001" | "XX002", _) => Verdict::RejectedForGood,
            (_, "22" | "23" | "27" | "44" | "54" | "P0") => Verdict::RejectedForGood,
            ("25P03" | "25P04" | "40001" | "40P01" | "53300", _) | (_, "08") => Verdict::Retry,
            (code, _) if code.starts_with("57P0") => Verdict::Retry,
            _ => match Self::kind(error) {
                ErrorKind::Unavailable if Self::is_answer(error) => Verdict::Rejected,
                ErrorKind::Unavailable => Verdict::Retry,
                kind => Verdict::Kind(kind),
            },
        }
    }

    fn is_answer(error: &dyn DatabaseError) -> bool {
        let severity = error.try_downcast_ref::<PgDatabaseError>().map(PgDatabaseError::severity);
        !matches!(severity, Some(PgSeverity::Fatal | PgSeverity::Panic))
            // The server itself does not know.
            && !matches!(error.code().as_deref(), Some("08007" | "40003"))
    }

    fn is_missing_table(error: &dyn DatabaseError) -> bool {
        error.code().is_some_and(|code| code == "42P01")
    }

    fn help(error: &dyn DatabaseError) -> Option<&'static str> {
        Some(match &*error.code()? {
            "42P01" if error.message().contains("tower_flags") => {
                "run PostgresStore::MIGRATION as a role that may make tables"
            }
            "42P17" if error.message().contains("tower_flags") => {
                "another role has made a part of the tables; nothing was changed; use a schema of its own"
            }
            "42501" => "grant the role what it needs; tower_flags::store::sql has a list",
            "3F000" => "make the schema that the search path of the URL names",
            "22P05" => {
                "the encoding of the database cannot hold a character of it; use other characters, or a database in UTF8"
            }
            "22021" => "PostgreSQL cannot hold a character of it; use other characters",
            "25006" => "this is a replica, or its transactions are read-only; edits need the primary",
            "26000" | "42P05" => {
                "a pooler in between mixes up connections; set its max_prepared_statements, or give the store a direct URL"
            }
            "53100" => "the disk of the server is full",
            "53300" => "the server has too many connections",
            "55P03" => "another transaction holds a lock on the row or the table; end it",
            "57014" => "the server did not finish in time, or the statement was cancelled",
            _ => return None,
        })
    }
}
