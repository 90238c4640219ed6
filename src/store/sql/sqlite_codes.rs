//! The meaning of SQLite's errors, by <https://www.sqlite.org/rescode.html>.
//!
//! SQLite is in this process: any error means that nothing was changed, except an error of the disk while an edit is
//! committed.

use sqlx::Sqlite;
use sqlx::error::DatabaseError;

use super::trouble::{Dialect, Verdict};
use crate::store::ErrorKind;

pub(super) fn is_busy(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| matches!(primary(error), BUSY | LOCKED))
}

const ERROR: u32 = 1;
const PERM: u32 = 3;
const BUSY: u32 = 5;
const LOCKED: u32 = 6;
const READONLY: u32 = 8;
const IOERR: u32 = 10;
const CORRUPT: u32 = 11;
const FULL: u32 = 13;
const CANTOPEN: u32 = 14;
const TOOBIG: u32 = 18;
const CONSTRAINT: u32 = 19;
const MISMATCH: u32 = 20;
const AUTH: u32 = 23;
const RANGE: u32 = 25;
const NOTADB: u32 = 26;

/// The code of an error without its details.
fn primary(error: &dyn DatabaseError) -> u32 {
    error.code().and_then(|code| code.parse::<u32>().ok()).unwrap_or_default() & 0xff
}

impl Dialect for Sqlite {
    fn kind(error: &dyn DatabaseError) -> ErrorKind {
        match primary(error) {
            // A wrong statement, or one about missing objects.
            ERROR | RANGE => ErrorKind::Configuration,
            PERM | READONLY | AUTH => ErrorKind::Denied,
            // Damaged, or no database.
            CORRUPT | NOTADB => ErrorKind::Refused,
            _ => ErrorKind::Unavailable,
        }
    }

    fn verdict(error: &dyn DatabaseError) -> Verdict {
        match primary(error) {
            READONLY | TOOBIG | CONSTRAINT | MISMATCH => Verdict::RejectedForGood,
            CANTOPEN => Verdict::Retry,
            _ => match Self::kind(error) {
                ErrorKind::Unavailable => Verdict::Rejected,
                kind => Verdict::Kind(kind),
            },
        }
    }

    /// After an error of the disk, part of a commit may be on it.
    fn is_answer(error: &dyn DatabaseError) -> bool {
        !matches!(primary(error), IOERR | CORRUPT)
    }

    fn is_missing_table(error: &dyn DatabaseError) -> bool {
        error.message().contains("no such table: tower_flags")
    }

    fn help(error: &dyn DatabaseError) -> Option<&'static str> {
        Some(match primary(error) {
            _ if Self::is_missing_table(error) => "run SqliteStore::MIGRATION, or let the store do it",
            BUSY | LOCKED => "another process is writing it, or has left a transaction open",
            READONLY => "the file or its folder may only be read by this process",
            CANTOPEN => "its folder has to exist, and this process needs permission to read and write in it",
            CORRUPT | NOTADB => "put a good copy in its place",
            FULL => "its disk is full, or its PRAGMA max_page_count is reached",
            IOERR => "its disk fails, or its folder has no room",
            _ => return None,
        })
    }
}
