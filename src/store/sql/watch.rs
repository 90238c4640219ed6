//! Noticing that an SQLite file has changed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Row};
use tokio::time::{Instant, sleep_until};

use super::lease::{ANSWER, late};
use super::notifications::Notifier;
use super::trouble::Trouble;
use crate::store::{Error, ErrorKind};

/// How often the counter of changes is asked for.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// After how many looks it is asked whether the file is still the one that was opened.
const FILE_EVERY: u32 = 10;

/// Which file it is, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId([u64; 2]);

impl FileId {
    /// `None` where there is no such file.
    pub(super) async fn of(path: &Path) -> Result<Option<Self>, Error> {
        let shown = path.to_owned();
        let path = path.to_owned();
        let metadata = tokio::task::spawn_blocking(move || std::fs::metadata(path)).await;
        match metadata.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
            Ok(metadata) => Ok(Some(Self::in_metadata(&metadata))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => {
                let message = format!("sqlite {}: the file cannot be looked at", shown.display());
                Err(Error::new(ErrorKind::Unavailable, message).caused_by(error))
            }
        }
    }

    #[cfg(unix)]
    fn in_metadata(metadata: &std::fs::Metadata) -> Self {
        use std::os::unix::fs::MetadataExt as _;

        Self([metadata.dev(), metadata.ino()])
    }

    /// Elsewhere a file that is open is not replaced.
    #[cfg(not(unix))]
    fn in_metadata(_: &std::fs::Metadata) -> Self {
        Self([0; 2])
    }
}

/// A connection that only asks for SQLite's counter of changes. The counter is one of this connection, and counts
/// what others do: nothing is ever written through it.
pub(super) struct Watch {
    connection: SqliteConnection,
    path: PathBuf,
    file: Option<FileId>,
    counter: i64,
}

impl Watch {
    pub(super) async fn start(options: SqliteConnectOptions) -> Result<Self, Trouble> {
        let path = options.get_filename().to_owned();
        let file = FileId::of(&path).await?;
        let options = options.create_if_missing(false).disable_statement_logging();
        let mut connection = late(ANSWER, options.connect()).await?;
        let counter = counter(&mut connection).await?;
        Ok(Self { connection, path, file, counter })
    }

    /// Tells of every change until the file is another or cannot be read.
    pub(super) async fn run(mut self, teller: &Notifier) -> Trouble {
        match self.look(teller).await {
            Ok(()) => {
                let message =
                    format!("sqlite {}: the file was removed, or another put in its place", self.path.display());
                Error::new(ErrorKind::Unavailable, message).into()
            }
            Err(trouble) => trouble,
        }
    }

    async fn look(&mut self, teller: &Notifier) -> Result<(), Trouble> {
        for look in 1_u32.. {
            // Late looks are not made up for.
            sleep_until(Instant::now() + LOOK_EVERY).await;
            let counter = counter(&mut self.connection).await?;
            if counter != self.counter {
                self.counter = counter;
                teller.changed();
            }
            if look % FILE_EVERY == 0 && FileId::of(&self.path).await? != self.file {
                break;
            }
        }
        Ok(())
    }
}

async fn counter(connection: &mut SqliteConnection) -> Result<i64, Trouble> {
    let row = late(ANSWER, sqlx::query("PRAGMA data_version").fetch_one(connection)).await?;
    Ok(row.try_get(0)?)
}
