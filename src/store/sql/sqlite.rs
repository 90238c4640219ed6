//! Rules in an SQLite file.

use std::fmt;
use std::fs::OpenOptions;
use std::future::poll_fn;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteRow, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Row, Sqlite, SqlitePool};
use tokio::time::{Instant, sleep};

use super::lease::{ANSWER, Connections, Lease, WHOLE, late};
use super::notifications::Notifications;
use super::rows::{self, EntryRow, FlagRow, Rows, Text, from_column, text_of, to_column};
use super::sqlite_codes::is_busy;
use super::trouble::{Trouble, mending};
use super::watch::{FileId, Watch};
use crate::document::{MAX_FLAG, MAX_FLAGS, Problem};
use crate::store::for_owner::ForOwner as _;
use crate::store::parsing::Parsing;
use crate::store::traits::identity_of;
use crate::store::{
    BoxFuture, Capabilities, Commit, Condition, Error, ErrorKind, Feed, FeedContent, Head, HistoryEntry, HistoryKeys,
    HistoryPage, Notices, Store, Stored,
};

/// How long SQLite itself waits for others who write: a little less than we wait for SQLite, so that it can say so.
const BUSY: Duration = Duration::from_millis(1800);

/// A [`Store`] in an SQLite file; clones are one store. See the [module](super).
///
/// ```
/// use tower_flags::FlagLayer;
/// use tower_flags::source::Live;
/// use tower_flags::store::{Author, Change, SqliteStore, StoreExt};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("flags.db");
/// let store = SqliteStore::at(path);
/// let layer = FlagLayer::new(Live::connect(store.clone()).await?);
/// store.change("new_checkout", Change::put_text("true"), &Author::new("alice").because("launch")).await?;
/// # let _ = layer;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SqliteStore {
    file: File,
    makes_tables: bool,
    keys: Option<HistoryKeys>,
}

impl SqliteStore {
    /// What makes the tables: statements to run by hand, or by the application's own migrations. To run them again
    /// changes nothing.
    pub const MIGRATION: &str = include_str!("sqlite.sql");

    /// The store in the file of a URL, `sqlite://flags.db` or `sqlite:///var/lib/shop/flags.db`. Nothing is opened
    /// yet. A missing file is made, unless the URL has `?mode=rw` or `?mode=ro`. Only its owner may read and write it
    /// (mode 600). A file that is there keeps its permissions, and those beside it (`-wal`, `-shm`, `-journal`) have the same.
    ///
    /// # Errors
    ///
    /// This is not such a URL, or one of a database in memory.
    pub fn new(url: &str) -> Result<Self, Error> {
        File::new(url, true).map(Self::in_file)
    }

    /// The store in a file, which is made where it is missing, for its owner alone; see [`new`](Self::new). Nothing is
    /// opened yet.
    #[must_use]
    pub fn at(path: impl AsRef<Path>) -> Self {
        Self::in_file(File::at(path.as_ref(), true))
    }

    /// The store in the file of the application's pool. Changes are noticed through a connection beside the pool.
    #[must_use]
    pub fn from_pool(pool: SqlitePool) -> Self {
        Self::in_file(File::of(pool))
    }

    /// Makes no tables where they are missing, which then is an error: where [`MIGRATION`](Self::MIGRATION) is run by
    /// somebody else.
    #[must_use]
    pub fn without_migration(mut self) -> Self {
        self.makes_tables = false;
        self
    }

    /// Chains the history with keys, so that a client without them cannot rewrite it: see [`HistoryKeys`].
    /// Without them, unless set.
    #[must_use]
    pub fn with_history_keys(mut self, keys: HistoryKeys) -> Self {
        self.keys = Some(keys);
        self
    }

    fn in_file(file: File) -> Self {
        Self { file, makes_tables: true, keys: None }
    }

    /// Makes the tables where that is what is missing, so that trying again may help.
    async fn mended(&self, trouble: Trouble) -> Result<(), Trouble> {
        if !(self.makes_tables && trouble.is_missing_table::<Sqlite>()) {
            return Err(trouble);
        }
        let deadline = Instant::now() + ANSWER;
        loop {
            let mut lease = self.file.lease().await?;
            match late(WHOLE, sqlx::raw_sql(Self::MIGRATION).execute(lease.connection())).await {
                Ok(_) => {
                    lease.give_back();
                    return Ok(());
                }
                // To become a file that is read and written at once it is locked without waiting for others,
                // who may be doing the same.
                Err(Trouble::Sql(error)) if is_busy(&error) && Instant::now() < deadline => {}
                Err(trouble) => return Err(trouble),
            }
            drop(lease);
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// One statement, so that all of it is of one moment. Columns may hold anything, whatever their type says.
    async fn rows(&self) -> Result<Rows, Trouble> {
        let statement = format!(
            "SELECT NULL AS name, CAST(digest AS BLOB) AS definition, NULL AS length, CAST(number AS INTEGER) AS version, \
             0 AS removed FROM tower_flags_head \
             UNION ALL \
             SELECT CAST(CASE typeof(name) WHEN 'blob' THEN quote(name) ELSE name END AS BLOB), \
             CASE WHEN length(definition) <= {MAX_FLAG} THEN definition END, length(definition), version, removed FROM (\
             SELECT coalesce(f.name, v.name) AS name, CAST(f.definition AS BLOB) AS definition, \
             CAST(v.version AS INTEGER) AS version, v.content = '' AS removed \
             FROM (SELECT name, definition FROM tower_flags LIMIT {}) f \
             FULL JOIN tower_flags_versions v ON v.name = f.name)",
            MAX_FLAGS + 1
        );
        let mut rows = Rows { head: Some(Head::default()), ..Rows::default() };
        self.file
            .each_row(statement, |row| {
                let (text, version) = (bytes(row, 1)?, row.try_get_unchecked::<Option<i64>, _>(3)?);
                let Some(name) = bytes(row, 0)? else {
                    rows.head = Some(Head::new(from_column(version), text_of(text.unwrap_or_default())));
                    return Ok(());
                };
                let is_removed = row.try_get_unchecked::<Option<bool>, _>(4)?.unwrap_or_default();
                let edited = version.map(|version| (from_column(Some(version)), is_removed));
                rows.add(FlagRow { name, text: Text::new(text, row.try_get_unchecked(2)?), edited });
                Ok(())
            })
            .await?;
        Ok(rows)
    }

    async fn stored(&self, flag: &str) -> Result<Stored, Trouble> {
        let mut lease = self.file.lease().await?;
        let stored = stored(lease.connection(), flag).await?;
        lease.give_back();
        Ok(stored)
    }

    async fn write(&self, commit: &Commit) -> Result<bool, Error> {
        commit.begin_preparing();
        let unmade = |trouble: Trouble| trouble.into_unmade::<Sqlite>(self.name());
        let mut lease = self.file.lease().await.map_err(unmade)?;
        let trouble = match write_in(lease.connection(), commit).await {
            Ok(true) if commit.begin_sending() => {
                match late(ANSWER, sqlx::raw_sql("COMMIT").execute(lease.connection())).await {
                    Ok(_) => {
                        lease.give_back();
                        return Ok(true);
                    }
                    Err(trouble) if trouble.is_answer::<Sqlite>() => trouble,
                    Err(trouble) => return Err(trouble.into_doubt::<Sqlite>(self.name())),
                }
            }
            Ok(_) => {
                if late(ANSWER, sqlx::raw_sql("ROLLBACK").execute(lease.connection())).await.is_ok() {
                    lease.give_back();
                }
                return Ok(false);
            }
            Err(trouble) => trouble,
        };
        // Closing the connection undoes what was written.
        drop(lease);
        // It waited while others edited.
        let is_busy = matches!(&trouble, Trouble::Sql(error) if is_busy(error));
        let is_behind =
            async || self.stored(&commit.flag).await.is_ok_and(|stored| stored.head != commit.expected.head);
        if is_busy && is_behind().await { Ok(false) } else { Err(unmade(trouble)) }
    }

    async fn entries(&self, page: &HistoryPage) -> Result<Vec<HistoryEntry>, Trouble> {
        let mut lease = self.file.lease().await?;
        let (before, limit) = (page.before.map_or(i64::MAX, to_column), page.limit.min(1000) as i64);
        let query = match &page.flag {
            Some(flag) => sqlx::query(
                "SELECT number, version, at, flag, actor, reason, before, after, previous FROM tower_flags_history \
                 WHERE flag = ? AND number < ? ORDER BY number DESC LIMIT ?",
            )
            .bind(flag),
            None => sqlx::query(
                "SELECT number, version, at, flag, actor, reason, before, after, previous FROM tower_flags_history \
                 WHERE number < ? ORDER BY number DESC LIMIT ?",
            ),
        };
        let found = late(WHOLE, query.bind(before).bind(limit).fetch_all(lease.connection())).await?;
        lease.give_back();
        let entry = |row: &SqliteRow| {
            let mut entry = EntryRow { numbers: [None; 3], texts: Default::default() };
            for (at, number) in entry.numbers.iter_mut().enumerate() {
                *number = row.try_get_unchecked(at)?;
            }
            for (at, text) in entry.texts.iter_mut().enumerate() {
                *text = bytes(row, at + 3)?;
            }
            Ok(entry.entry())
        };
        found.iter().map(entry).collect()
    }

    /// Checks settings of the file and of its connections: the application's pool has its own.
    async fn ask(&self) -> Result<Condition, Trouble> {
        let mut lease = self.file.lease().await?;
        let journal = late(ANSWER, sqlx::query("PRAGMA journal_mode").fetch_one(lease.connection())).await?;
        let synchronous = late(ANSWER, sqlx::query("PRAGMA synchronous").fetch_one(lease.connection())).await?;
        lease.give_back();
        let mut condition = Condition::default();
        let journal: String = journal.try_get_unchecked(0)?;
        if journal != "wal" {
            let problem = Problem::new("the journal mode wal", journal);
            let help = "readers and writers lock each other out; run PRAGMA journal_mode = WAL";
            condition.problems.push(problem.with_help(help));
        }
        if let level @ 0..=1 = synchronous.try_get_unchecked::<i64, _>(0)? {
            let problem = Problem::new("synchronous = FULL", if level == 0 { "OFF" } else { "NORMAL" });
            let help =
                "acknowledged edits can be lost when the machine crashes; set it for the connections of the pool";
            condition.problems.push(problem.with_help(help));
        }
        Ok(condition)
    }

    fn error<T>(&self, what: &str) -> impl FnOnce(Trouble) -> Result<T, Error> {
        move |trouble| Err(trouble.into_error::<Sqlite>(self.name(), what))
    }
}

async fn stored(connection: &mut SqliteConnection, flag: &str) -> Result<Stored, Trouble> {
    let statement = "SELECT CAST(f.definition AS BLOB), CAST(v.version AS INTEGER), CAST(v.content AS BLOB), \
         CAST(h.number AS INTEGER), CAST(h.digest AS BLOB) FROM (SELECT 1) \
         LEFT JOIN tower_flags f ON f.name = ?1 \
         LEFT JOIN tower_flags_versions v ON v.name = ?1 \
         LEFT JOIN tower_flags_head h ON true";
    let row = late(ANSWER, sqlx::query(statement).bind(flag).fetch_one(connection)).await?;
    let digest = bytes(&row, 4)?.map(text_of).unwrap_or_default();
    Ok(Stored {
        definition: bytes(&row, 0)?.map(text_of),
        version: from_column(row.try_get_unchecked(1)?),
        content: bytes(&row, 2)?.map(text_of).unwrap_or_default(),
        head: Head::new(from_column(row.try_get_unchecked(3)?), digest),
        run: None,
    })
}

/// Begins, and writes all of it. `false` where something is not as expected.
async fn write_in(connection: &mut SqliteConnection, commit: &Commit) -> Result<bool, Trouble> {
    // No other process writes from here on, so what is read is what is replaced.
    late(ANSWER, sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut *connection)).await?;
    let is_as_expected = stored(connection, &commit.flag).await? == commit.expected;
    if is_as_expected {
        write_all(connection, commit).await?;
    }
    Ok(is_as_expected)
}

async fn write_all(connection: &mut SqliteConnection, commit: &Commit) -> Result<(), Trouble> {
    let Commit { flag, definition, version, content, entries, head, .. } = commit;
    macro_rules! run {
        ($statement:literal $(, $value:expr)*) => {
            late(ANSWER, sqlx::query($statement)$(.bind($value))*.execute(&mut *connection)).await?
        };
    }
    match definition {
        Some(text) => run!(
            "INSERT INTO tower_flags (name, definition) VALUES (?, ?) \
             ON CONFLICT (name) DO UPDATE SET definition = excluded.definition",
            flag,
            text
        ),
        None => run!("DELETE FROM tower_flags WHERE name = ?", flag),
    };
    run!(
        "INSERT OR REPLACE INTO tower_flags_versions (name, version, content) VALUES (?, ?, ?)",
        flag,
        to_column(*version),
        content
    );
    for entry in entries {
        run!(
            "INSERT INTO tower_flags_history (number, flag, version, at, actor, reason, before, after, previous) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            to_column(entry.number),
            &entry.flag,
            to_column(entry.version),
            entry.at.unix_millis(),
            &entry.actor,
            &entry.reason,
            &entry.before,
            &entry.after,
            &entry.previous
        );
    }
    run!(
        "INSERT OR REPLACE INTO tower_flags_head (is_only, number, digest) VALUES (1, ?, ?)",
        to_column(head.number),
        &head.digest
    );
    Ok(())
}

impl Feed for SqliteStore {
    fn name(&self) -> &str {
        &self.file.name
    }

    fn load<'a>(&'a self, known: Option<&'a str>) -> BoxFuture<'a, Result<Option<FeedContent>, Error>> {
        Box::pin(async move {
            let rows = mending(|| self.rows(), |trouble| self.mended(trouble)).await;
            let rows = rows.or_else(self.error("flags cannot be read"))?;
            rows::load(self.name(), &self.file.parsing, rows, known).await
        })
    }

    fn subscribe(&self) -> BoxFuture<'_, Result<Box<dyn Notices>, Error>> {
        Box::pin(self.file.watch())
    }

    fn condition(&self) -> BoxFuture<'_, Result<Condition, Error>> {
        Box::pin(async move { self.ask().await.or_else(self.error("its condition cannot be read")) })
    }

    fn identity(&self) -> BoxFuture<'_, Result<Option<String>, Error>> {
        Box::pin(identity_of(self))
    }
}

impl Store for SqliteStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities { is_shared: true, is_durable: true, has_notices: true, has_foreign_writers: true }
    }

    fn read<'a>(&'a self, flag: &'a str) -> BoxFuture<'a, Result<Stored, Error>> {
        Box::pin(async move {
            let stored = mending(|| self.stored(flag), |trouble| self.mended(trouble)).await;
            stored.or_else(self.error("a flag cannot be read"))
        })
    }

    fn commit<'a>(&'a self, commit: &'a Commit) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(self.write(commit))
    }

    fn history<'a>(&'a self, page: &'a HistoryPage) -> BoxFuture<'a, Result<Vec<HistoryEntry>, Error>> {
        Box::pin(async move {
            let entries = mending(|| self.entries(page), |trouble| self.mended(trouble)).await;
            entries.or_else(self.error("the history cannot be read"))
        })
    }

    fn history_keys(&self) -> Option<&HistoryKeys> {
        self.keys.as_ref()
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, makes_tables, keys } = self;
        let mut shown = f.debug_struct("SqliteStore");
        shown.field("name", &file.name).field("makes_tables", makes_tables).field("keys", keys).finish()
    }
}

/// One file and how to open it.
#[derive(Clone)]
pub(super) struct File {
    pub(super) name: Arc<str>,
    path: Arc<Path>,
    /// Whether a missing file is made.
    creates: bool,
    connections: Arc<Connections<Sqlite>>,
    /// Which file the open connections are to.
    opened: Arc<Mutex<Option<FileId>>>,
    pub(super) parsing: Parsing,
}

impl File {
    pub(super) fn new(url: &str, creates: bool) -> Result<Self, Error> {
        let wrong = |message: &str| Error::new(ErrorKind::Configuration, message);
        if !url.starts_with("sqlite:") {
            return Err(wrong("expected a URL that starts with sqlite: for SQLite, found another one"));
        }
        // A user and a password of another kind of URL would be a part of the path, which messages show.
        let path = url.trim_start_matches("sqlite:").trim_start_matches("//");
        let first = path.split(['/', '?']).next().unwrap_or_default();
        if first.contains(':') && path.contains('@') {
            return Err(wrong(
                "expected the path of a file, as in sqlite://flags.db, found a user and a password, which SQLite does not have; \
                 a file with such a name is sqlite://./name",
            ));
        }
        // Without the error of `sqlx`, which repeats names and values of parameters.
        let options = SqliteConnectOptions::from_str(url).map_err(|_| {
            wrong(
                "expected a URL like sqlite://flags.db for SQLite, with no parameters but mode=ro|rw|rwc, \
                 cache=private|shared, immutable=true|false and vfs=…, found another one",
            )
        })?;
        if url.contains(":memory:") || url.contains("mode=memory") {
            return Err(wrong(
                "expected the file of a database, found one in memory; MemoryStore is a store in memory",
            ));
        }
        if options.get_filename().as_os_str().is_empty() {
            return Err(wrong("expected the file of a database, as in sqlite://flags.db, found none"));
        }
        let parameters = url.split_once('?').map(|(_, parameters)| parameters).unwrap_or_default();
        let mode = parameters.split('&').rev().find_map(|parameter| parameter.strip_prefix("mode="));
        let creates = mode.map_or(creates, |mode| mode == "rwc");
        Ok(Self::with(options.get_filename().to_owned(), creates, Connections::own(ours(options))))
    }

    pub(super) fn at(path: &Path, creates: bool) -> Self {
        let options = SqliteConnectOptions::new().filename(path);
        Self::with(path.to_owned(), creates, Connections::own(ours(options)))
    }

    pub(super) fn of(pool: SqlitePool) -> Self {
        Self::with(pool.connect_options().get_filename().to_owned(), false, Connections::pool(pool))
    }

    fn with(path: PathBuf, creates: bool, connections: Connections<Sqlite>) -> Self {
        let name = format!("sqlite {}", path.display()).into();
        let (connections, opened, parsing) = (Arc::new(connections), Arc::default(), Parsing::default());
        Self { name, path: path.into(), creates, connections, opened, parsing }
    }

    fn opened(&self) -> Option<FileId> {
        *self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes each row of a statement as it comes, so that not all are in memory at once.
    pub(super) async fn each_row(
        &self,
        statement: String,
        mut take: impl FnMut(&SqliteRow) -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        let mut lease = self.lease().await?;
        let reading = async {
            let mut rows = sqlx::query(AssertSqlSafe(statement)).fetch(lease.connection());
            while let Some(row) = poll_fn(|context| rows.as_mut().poll_next(context)).await {
                take(&row?)?;
            }
            Ok::<(), Trouble>(())
        };
        late(WHOLE, reading).await?;
        lease.give_back();
        Ok(())
    }

    /// A connection to the file that is there now: what is open goes on with a file that was removed.
    pub(super) async fn lease(&self) -> Result<Lease<Sqlite>, Trouble> {
        let (opened, mut file) = (self.opened(), FileId::of(&self.path).await?);
        if opened.is_some() && file != opened {
            let unavailable = |message: &str| Error::new(ErrorKind::Unavailable, format!("{}: {message}", self.name));
            if file.is_none() {
                // To make an empty one in its place would lose what somebody may still put back.
                return Err(unavailable("the file was removed; put it back, or start again without").into());
            }
            if self.connections.is_pool() {
                let message = "another file was put in its place; the pool that was handed in goes on with the old one";
                return Err(unavailable(message).into());
            }
            self.connections.forget_open();
        }
        if file.is_none() && self.creates {
            self.create().await?;
        }
        let lease = self.connections.lease().await?;
        if file.is_none() {
            file = FileId::of(&self.path).await?;
        }
        *self.opened.lock().unwrap_or_else(PoisonError::into_inner) = file;
        Ok(lease)
    }

    /// Makes an empty file for its owner alone, unless another process is faster. SQLite would make one that others may
    /// read. It gives the files beside it, `-wal` and so on, the permissions of this one.
    async fn create(&self) -> Result<(), Trouble> {
        let path = Arc::clone(&self.path);
        let made = tokio::task::spawn_blocking(move || {
            match OpenOptions::new().write(true).for_owner().open(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && !path.exists() => Some(error),
                // Another process has made it; or it cannot be made, for which SQLite has its own error.
                _ => None,
            }
        });
        let Some(error) = made.await.unwrap_or_else(|error| Some(io::Error::other(error))) else { return Ok(()) };
        let message = format!(
            "{}: expected a file, or none, found a link to a file that does not exist; nothing was changed; make that \
             file or remove the link",
            self.name
        );
        Err(Error::new(ErrorKind::Configuration, message).caused_by(error).into())
    }

    pub(super) async fn watch(&self) -> Result<Box<dyn Notices>, Error> {
        let watch = async {
            // Makes the file where it is missing.
            self.lease().await?.give_back();
            Watch::start(self.connections.options()).await
        };
        let error = |name: &str, what, trouble: Trouble| trouble.into_error::<Sqlite>(name, what);
        let watch = watch.await.map_err(|trouble| error(&self.name, "changes cannot be noticed", trouble))?;
        let name = Arc::clone(&self.name);
        Ok(Box::new(Notifications::start(move |teller| async move {
            error(&name, "changes are no longer noticed", watch.run(&teller).await)
        })))
    }
}

/// What connections have that are not of the application's pool. A missing file is made by [`File::create`].
fn ours(options: SqliteConnectOptions) -> SqliteConnectOptions {
    let options = options.create_if_missing(false);
    options.busy_timeout(BUSY).synchronous(SqliteSynchronous::Full).disable_statement_logging()
}

/// A column as it came; only blobs and texts are asked for.
pub(super) fn bytes(row: &SqliteRow, column: usize) -> Result<Option<Vec<u8>>, Trouble> {
    Ok(row.try_get_unchecked(column)?)
}
