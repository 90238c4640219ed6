//! Rules in a table of the application, as they are.

use std::fmt;
#[cfg(feature = "sqlite")]
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "postgres")]
use sqlx::AssertSqlSafe;
#[cfg(feature = "postgres")]
use sqlx::PgPool;
use sqlx::Row;
#[cfg(feature = "sqlite")]
use sqlx::SqlitePool;
#[cfg(feature = "sqlite")]
use sqlx::sqlite::SqliteRow;

#[cfg(feature = "postgres")]
use super::lease::{WHOLE, late};
#[cfg(feature = "postgres")]
use super::postgres;
#[cfg(feature = "postgres")]
use super::postgres_server::Server;
use super::rows::{self, FlagRow, Rows, Text};
#[cfg(feature = "sqlite")]
use super::sqlite::{self, File};
#[cfg(feature = "postgres")]
use super::transaction::{Purpose, Transaction};
use super::trouble::Trouble;
#[cfg(feature = "sqlite")]
use crate::document::MAX_FLAG;
use crate::document::MAX_FLAGS;
#[cfg(feature = "postgres")]
use crate::document::Problem;
#[cfg(feature = "postgres")]
use crate::store::Condition;
use crate::store::{BoxFuture, Error, Feed, FeedContent, Notices};

/// How often a table is read that nobody tells of.
#[cfg(feature = "postgres")]
const UNTOLD: Duration = Duration::from_secs(5);
/// How often a table is read whose changes are noticed.
const NOTICED: Duration = Duration::from_secs(30);
/// What messages say.
const UNREAD: &str = "the query for flags cannot be run";

/// A query as a table, whatever its author ended it with.
fn as_table(query: &str) -> String {
    // The line break ends a comment.
    format!("({}\n) AS q LIMIT {}", query.trim_end().trim_end_matches(';'), MAX_FLAGS + 1)
}

/// A row as a flag; one without a definition is none, like the JSON `null`.
fn row(name: Option<Vec<u8>>, text: Option<Vec<u8>>, length: Option<i64>) -> FlagRow {
    FlagRow { name: name.unwrap_or_default(), text: Text::new(text, length), edited: None }
}

/// A [`Feed`] of a table of yours in PostgreSQL, which is only read. See the [module](super#a-table-of-yours).
///
/// ```no_run
/// use tower_flags::source::Live;
/// use tower_flags::store::PostgresTable;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let query = "SELECT name, jsonb_build_object(
///         'enabled', enabled,
///         'rollout_percentage', rollout_percentage,
///         'allowed_users', allowed_users
///     ) AS definition
///     FROM feature_flags";
/// let table = PostgresTable::new("postgres://shop@db.example.com/shop", query)?.listen("feature_flags");
/// let source = Live::connect(table).await?;
/// # let _ = source;
/// # Ok(())
/// # }
/// ```
#[cfg(feature = "postgres")]
#[derive(Clone)]
pub struct PostgresTable {
    server: Server,
    query: Arc<str>,
    channel: Option<Arc<str>>,
    every: Option<Duration>,
}

#[cfg(feature = "postgres")]
impl PostgresTable {
    /// What a query gives in the database of a URL: the columns `name` and `definition`, of any types whose text is
    /// a flag's name and its definition in JSON. Nobody is connected to yet.
    ///
    /// The query runs as it is, in a transaction that only reads. It is part of the program: never build it from users'
    /// input.
    ///
    /// # Errors
    ///
    /// This is not such a URL, or it has a parameter that is not known. The error never shows a value.
    pub fn new(url: &str, query: impl Into<String>) -> Result<Self, Error> {
        Server::new(url).map(|server| Self::on(server, query.into()))
    }

    /// What a query gives in the database of the application's pool; see [`new`](Self::new).
    #[must_use]
    pub fn from_pool(pool: PgPool, query: impl Into<String>) -> Self {
        Self::on(Server::of(pool), query.into())
    }

    fn on(server: Server, query: String) -> Self {
        Self { server, query: query.into(), channel: None, every: None }
    }

    /// Reads the table when `NOTIFY` says anything on this channel. The name is taken as it is: a `NOTIFY` without
    /// quotes means one in lower case.
    #[must_use]
    pub fn listen(mut self, channel: impl Into<String>) -> Self {
        self.channel = Some(channel.into().into());
        self
    }

    /// How often to read the table; 5 s unless set, and 30 s where there is a channel to [`listen`](Self::listen)
    /// to.
    #[must_use]
    pub fn read_every(mut self, interval: Duration) -> Self {
        self.every = Some(interval);
        self
    }

    /// Says that password and flags may cross the network in plain text; see
    /// [`PostgresStore::allow_plaintext`](super::PostgresStore::allow_plaintext).
    #[must_use]
    pub fn allow_plaintext(mut self) -> Self {
        self.server.plaintext = None;
        self
    }

    async fn rows(&self) -> Result<Rows, Trouble> {
        let length = "pg_catalog.octet_length(definition)";
        let statement = format!(
            "SELECT {}, {}, {length}::bigint FROM (\
             SELECT q.name::pg_catalog.text AS name, q.definition::pg_catalog.text AS definition FROM {}) q",
            postgres::as_bytes("name"),
            rows::read_column(&postgres::as_bytes("definition"), length, "name"),
            as_table(&self.query)
        );
        let mut transaction = Transaction::begin(&self.server.connections, Purpose::ReadingAll).await?;
        let found = late(WHOLE, sqlx::query(AssertSqlSafe(statement)).fetch_all(transaction.connection())).await;
        let found = transaction.end(found).await?;
        let mut rows = Rows::default();
        for found in &found {
            rows.add(row(postgres::bytes(found, 0)?, postgres::bytes(found, 1)?, found.try_get(2)?));
        }
        Ok(rows)
    }
}

#[cfg(feature = "postgres")]
impl Feed for PostgresTable {
    fn name(&self) -> &str {
        &self.server.name
    }

    fn load<'a>(&'a self, known: Option<&'a str>) -> BoxFuture<'a, Result<Option<FeedContent>, Error>> {
        Box::pin(async move {
            let error = |trouble: Trouble| trouble.into_error::<sqlx::Postgres>(self.name(), UNREAD);
            rows::load(self.name(), &self.server.parsing, self.rows().await.map_err(error)?, known).await
        })
    }

    fn subscribe(&self) -> BoxFuture<'_, Result<Box<dyn Notices>, Error>> {
        Box::pin(async {
            match &self.channel {
                Some(channel) => self.server.listen(channel).await,
                None => Ok(Box::new(NoNotices) as Box<dyn Notices>),
            }
        })
    }

    fn condition(&self) -> BoxFuture<'_, Result<Condition, Error>> {
        Box::pin(self.server.condition(false))
    }

    fn setup_problems(&self) -> Vec<Problem> {
        self.server.plaintext.iter().cloned().collect()
    }

    fn resync_every(&self) -> Duration {
        self.every.unwrap_or(if self.channel.is_some() { NOTICED } else { UNTOLD })
    }
}

#[cfg(feature = "postgres")]
impl fmt::Debug for PostgresTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, query, channel, every } = self;
        let mut shown = f.debug_struct("PostgresTable");
        shown.field("name", &server.name).field("query", query).field("channel", channel).field("every", every);
        shown.finish()
    }
}

/// Where nobody tells of changes.
#[cfg(feature = "postgres")]
struct NoNotices;

#[cfg(feature = "postgres")]
impl Notices for NoNotices {
    fn next(&mut self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(std::future::pending())
    }
}

/// A [`Feed`] of a table of yours in SQLite, which is only read. See the [module](super#a-table-of-yours).
///
/// ```no_run
/// use tower_flags::source::Live;
/// use tower_flags::store::SqliteTable;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let query = "SELECT name, json_object(
///         'enabled', json(iif(enabled, 'true', 'false')),
///         'rollout_percentage', rollout_percentage,
///         'allowed_users', json(allowed_users)
///     ) AS definition
///     FROM feature_flags";
/// let source = Live::connect(SqliteTable::new("sqlite:///var/lib/shop/shop.db", query)?).await?;
/// # let _ = source;
/// # Ok(())
/// # }
/// ```
#[cfg(feature = "sqlite")]
#[derive(Clone)]
pub struct SqliteTable {
    file: File,
    query: Arc<str>,
    every: Option<Duration>,
}

#[cfg(feature = "sqlite")]
impl SqliteTable {
    /// What a query gives in the file of a URL: the columns `name` and `definition`, whose text is a flag's name and
    /// its definition in JSON. Nothing is opened yet, and no file is made.
    ///
    /// The query is run as it is: it is a part of the program, and never made of what users enter.
    ///
    /// # Errors
    ///
    /// This is not such a URL, or one of a database in memory.
    pub fn new(url: &str, query: impl Into<String>) -> Result<Self, Error> {
        File::new(url, false).map(|file| Self::on(file, query.into()))
    }

    /// What a query gives in a file; see [`new`](Self::new).
    #[must_use]
    pub fn at(path: impl AsRef<Path>, query: impl Into<String>) -> Self {
        Self::on(File::at(path.as_ref(), false), query.into())
    }

    /// What a query gives in the file of the application's pool; see [`new`](Self::new).
    #[must_use]
    pub fn from_pool(pool: SqlitePool, query: impl Into<String>) -> Self {
        Self::on(File::of(pool), query.into())
    }

    fn on(file: File, query: String) -> Self {
        Self { file, query: query.into(), every: None }
    }

    /// How often to read the table without a notice; 30 s unless set.
    #[must_use]
    pub fn read_every(mut self, interval: Duration) -> Self {
        self.every = Some(interval);
        self
    }

    async fn rows(&self) -> Result<Rows, Trouble> {
        let statement = format!(
            "SELECT name, CASE WHEN length(definition) <= {MAX_FLAG} THEN definition END, length(definition) FROM (\
             SELECT CAST(q.name AS BLOB) AS name, CAST(q.definition AS BLOB) AS definition FROM {})",
            as_table(&self.query)
        );
        let mut rows = Rows::default();
        let add = |found: &SqliteRow| {
            rows.add(row(sqlite::bytes(found, 0)?, sqlite::bytes(found, 1)?, found.try_get_unchecked(2)?));
            Ok(())
        };
        self.file.each_row(statement, add).await?;
        Ok(rows)
    }
}

#[cfg(feature = "sqlite")]
impl Feed for SqliteTable {
    fn name(&self) -> &str {
        &self.file.name
    }

    fn load<'a>(&'a self, known: Option<&'a str>) -> BoxFuture<'a, Result<Option<FeedContent>, Error>> {
        Box::pin(async move {
            let error = |trouble: Trouble| trouble.into_error::<sqlx::Sqlite>(self.name(), UNREAD);
            rows::load(self.name(), &self.file.parsing, self.rows().await.map_err(error)?, known).await
        })
    }

    fn subscribe(&self) -> BoxFuture<'_, Result<Box<dyn Notices>, Error>> {
        Box::pin(self.file.watch())
    }

    fn resync_every(&self) -> Duration {
        self.every.unwrap_or(NOTICED)
    }
}

#[cfg(feature = "sqlite")]
impl fmt::Debug for SqliteTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, query, every } = self;
        f.debug_struct("SqliteTable").field("name", &file.name).field("query", query).field("every", every).finish()
    }
}
