//! Rules in PostgreSQL.

use std::fmt;

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{PgPool, Postgres, Row, ValueRef};

use super::lease::{ANSWER, WHOLE, late};
use super::postgres_server::Server;
use super::postgres_tables::{Access, Tables, check_before_making};
use super::rows::{self, EntryRow, FlagRow, Rows, Text, from_column, text_of, to_column};
use super::transaction::{Purpose, Transaction};
use super::trouble::{Trouble, mending};
use crate::document::{MAX_FLAGS, Problem};
use crate::store::traits::identity_of;
use crate::store::{
    BoxFuture, Capabilities, Commit, Condition, Error, Feed, FeedContent, Head, HistoryEntry, HistoryKeys, HistoryPage,
    Notices, Store, Stored,
};

/// Where the trigger of our table tells of changes.
const CHANNEL: &str = "tower_flags";

/// A [`Store`] in PostgreSQL; clones are one store. See the [module](super).
///
/// ```no_run
/// use tower_flags::FlagLayer;
/// use tower_flags::source::Live;
/// use tower_flags::store::{Author, Change, PostgresStore, StoreExt};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let store = PostgresStore::new("postgres://shop@db.example.com/shop?sslmode=verify-full")?;
/// let layer = FlagLayer::new(Live::connect(store.clone()).await?);
/// store.change("new_checkout", Change::kill(), &Author::new("alice").because("INC-17")).await?;
/// # let _ = layer;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct PostgresStore {
    server: Server,
    makes_tables: bool,
    keys: Option<HistoryKeys>,
}

impl PostgresStore {
    /// What makes the tables: statements to run by hand, or by the application's own migrations. To run them again
    /// changes nothing.
    pub const MIGRATION: &str = include_str!("postgres.sql");

    /// The store in the database of a URL, `postgres://user:password@host:port/database?sslmode=verify-full`. Nobody is
    /// connected to yet. The variables `PGHOST`, `PGPASSWORD` and so on, and `~/.pgpass`, give what the URL leaves out.
    ///
    /// # Errors
    ///
    /// This is not such a URL, or it has a parameter that is not known. The error never shows a value.
    pub fn new(url: &str) -> Result<Self, Error> {
        Server::new(url).map(Self::on)
    }

    /// The store in the database of the application's pool. Notices come through a connection beside the pool.
    #[must_use]
    pub fn from_pool(pool: PgPool) -> Self {
        Self::on(Server::of(pool))
    }

    /// Makes no tables where they are missing, which then is an error: for roles that may not, and where
    /// [`MIGRATION`](Self::MIGRATION) is run by somebody else.
    #[must_use]
    pub fn without_migration(mut self) -> Self {
        self.makes_tables = false;
        self
    }

    /// Says that password and flags may cross the network in plain text. Without it, and without `sslmode` in the URL, a
    /// host other than this machine is a problem in the status: see [TLS](super#postgresql-in-production). It changes
    /// nothing about the connection.
    ///
    /// ```
    /// use tower_flags::store::{Feed, PostgresStore};
    ///
    /// let store = PostgresStore::new("postgres://shop@db.internal/shop")?;
    /// assert_eq!(store.setup_problems().len(), 1);
    /// assert!(store.allow_plaintext().setup_problems().is_empty());
    /// # Ok::<(), tower_flags::Error>(())
    /// ```
    #[must_use]
    pub fn allow_plaintext(mut self) -> Self {
        self.server.plaintext = None;
        self
    }

    /// Chains the history with keys, so that a client without them cannot rewrite it: see [`HistoryKeys`].
    /// Without them, unless set.
    #[must_use]
    pub fn with_history_keys(mut self, keys: HistoryKeys) -> Self {
        self.keys = Some(keys);
        self
    }

    fn on(server: Server) -> Self {
        Self { server, makes_tables: true, keys: None }
    }

    /// Makes the tables where that is what is missing, so that trying again may help.
    async fn mended(&self, trouble: Trouble) -> Result<(), Trouble> {
        if !(self.makes_tables && trouble.is_missing_table::<Postgres>()) {
            return Err(trouble);
        }
        let mut transaction = Transaction::begin(&self.server.connections, Purpose::Reading).await?;
        let checked = check_before_making(self.name(), transaction.connection()).await;
        transaction.end(checked).await?;
        let mut lease = self.server.connections.lease().await?;
        match late(WHOLE, sqlx::raw_sql(Self::MIGRATION).execute(lease.connection())).await {
            Ok(_) => {
                lease.give_back();
                Ok(())
            }
            Err(failed) => {
                Transaction::over(lease).fail(&failed).await;
                // If the role may not make the tables, report that they are missing.
                Err(if failed.has_code(&["42501"]) { trouble } else { failed })
            }
        }
    }

    /// One statement, so that all of it is of one moment.
    async fn rows(&self) -> Result<Rows, Trouble> {
        let length = "pg_catalog.octet_length(f.definition)";
        let statement = format!(
            "SELECT NULL AS name, pg_catalog.convert_to(digest, 'UTF8') AS definition, NULL::bigint AS length, number AS version, \
             false AS removed FROM schema.tower_flags_head \
             UNION ALL \
             SELECT {}, {}, {length}::bigint, v.version, \
             v.content == '' FROM (SELECT name, definition FROM schema.tower_flags LIMIT {}) f \
             FULL JOIN schema.tower_flags_versions v ON v.name == f.name",
            as_bytes("coalesce(f.name, v.name)"),
            rows::read_column(&as_bytes("f.definition"), length, "f.name"),
            MAX_FLAGS + 1
        );
        let (mut transaction, tables) = self.begin(Purpose::ReadingAll, Access::ReadFlags).await?;
        let query = sqlx::query(tables.sql(&statement));
        let found = late(WHOLE, query.fetch_all(transaction.connection())).await;
        let found = transaction.end(found).await?;
        let mut rows = Rows { head: Some(Head::default()), ..Rows::default() };
        rows.flags.reserve(found.len());
        for row in &found {
            let (text, version) = (bytes(row, 1)?, row.try_get::<Option<i64>, _>(3)?);
            let Some(name) = bytes(row, 0)? else {
                rows.head = Some(Head::new(from_column(version), text_of(text.unwrap_or_default())));
                continue;
            };
            let is_removed = row.try_get::<Option<bool>, _>(4)?.unwrap_or_default();
            let edited = version.map(|version| (from_column(Some(version)), is_removed));
            rows.add(FlagRow { name, text: Text::new(text, row.try_get(2)?), edited });
        }
        Ok(rows)
    }

    async fn stored(&self, flag: &str) -> Result<Stored, Trouble> {
        // No text of the server has this character, so that no flag has it in its name.
        let flag = if flag.contains('\0') { "" } else { flag };
        let statement = "SELECT f.definition, v.version, v.content, h.number, h.digest FROM (SELECT 1) one \
             LEFT JOIN schema.tower_flags f ON f.name == $1 \
             LEFT JOIN schema.tower_flags_versions v ON v.name == $1 \
             LEFT JOIN schema.tower_flags_head h ON true";
        let (mut transaction, tables) = self.begin(Purpose::Reading, Access::ReadFlags).await?;
        let query = sqlx::query(tables.sql(statement)).bind(flag);
        let row = late(ANSWER, query.fetch_one(transaction.connection())).await;
        let row = transaction.end(row).await?;
        let digest = bytes(&row, 4)?.map(text_of).unwrap_or_default();
        Ok(Stored {
            definition: bytes(&row, 0)?.map(text_of),
            version: from_column(row.try_get(1)?),
            content: bytes(&row, 2)?.map(text_of).unwrap_or_default(),
            head: Head::new(from_column(row.try_get(3)?), digest),
            run: None,
        })
    }

    /// Begins a transaction on the tables.
    async fn begin(&self, what_for: Purpose, access: Access) -> Result<(Transaction, Tables), Trouble> {
        let mut transaction = Transaction::begin(&self.server.connections, what_for).await?;
        match Tables::locked(self.name(), transaction.connection(), access).await {
            Ok(tables) => Ok((transaction, tables)),
            Err(trouble) => {
                transaction.fail(&trouble).await;
                Err(trouble)
            }
        }
    }

    async fn write(&self, commit: &Commit) -> Result<bool, Error> {
        commit.begin_preparing();
        let unmade = |trouble: Trouble| trouble.into_unmade::<Postgres>(self.name());
        let (mut transaction, tables) = self.begin(Purpose::Writing, Access::Write).await.map_err(unmade)?;
        let trouble = match write_all(transaction.connection(), &tables, commit).await {
            Ok(true) if commit.begin_sending() => match transaction.commit().await {
                Ok(()) => return Ok(true),
                Err(trouble) if trouble.is_answer::<Postgres>() => trouble,
                Err(trouble) => return Err(trouble.into_doubt::<Postgres>(self.name())),
            },
            Ok(_) => {
                transaction.roll_back().await;
                return Ok(false);
            }
            Err(trouble) => {
                transaction.fail(&trouble).await;
                trouble
            }
        };
        // Another transaction came first and the server has undone this one, or this one waited while others edited.
        if trouble.has_code(&["40001", "40P01"])
            || trouble.has_code(&["55P03", "57014"]) && self.is_behind(commit).await
        {
            return Ok(false);
        }
        Err(unmade(trouble))
    }

    /// Whether other edits were made since the state that a commit expects.
    async fn is_behind(&self, commit: &Commit) -> bool {
        self.stored(&commit.flag).await.is_ok_and(|stored| stored.head != commit.expected.head)
    }

    async fn entries(&self, page: &HistoryPage) -> Result<Vec<HistoryEntry>, Trouble> {
        let (before, limit) = (page.before.map_or(i64::MAX, to_column), page.limit.min(1000) as i64);
        let (mut transaction, tables) = self.begin(Purpose::ReadingAll, Access::ReadHistory).await?;
        let query = match &page.flag {
            Some(flag) => sqlx::query(tables.sql(
                "SELECT number, version, at, flag, actor, reason, before, after, previous \
                 FROM schema.tower_flags_history \
                 WHERE flag == $1 AND number OPERATOR(pg_catalog.<) $2 \
                 ORDER BY number DESC LIMIT $3",
            ))
            .bind(flag),
            None => sqlx::query(tables.sql(
                "SELECT number, version, at, flag, actor, reason, before, after, previous \
                 FROM schema.tower_flags_history WHERE number OPERATOR(pg_catalog.<) $1 ORDER BY number DESC LIMIT $2",
            )),
        };
        let found = late(WHOLE, query.bind(before).bind(limit).fetch_all(transaction.connection())).await;
        let found = transaction.end(found).await?;
        let entry = |row: &PgRow| {
            let mut entry = EntryRow { numbers: [None; 3], texts: Default::default() };
            for (at, number) in entry.numbers.iter_mut().enumerate() {
                *number = row.try_get(at)?;
            }
            for (at, text) in entry.texts.iter_mut().enumerate() {
                *text = bytes(row, at + 3)?;
            }
            Ok(entry.entry())
        };
        found.iter().map(entry).collect()
    }

    fn error<T>(&self, what: &str) -> impl FnOnce(Trouble) -> Result<T, Error> {
        move |trouble| Err(trouble.into_error::<Postgres>(self.name(), what))
    }
}

/// The head first: whoever edits waits there for whoever edits, and others never do, so that nobody waits in a
/// circle. `false` where something is not as expected.
async fn write_all(connection: &mut PgConnection, tables: &Tables, commit: &Commit) -> Result<bool, Trouble> {
    let Commit { flag, expected, definition, version, content, entries, head, .. } = commit;
    macro_rules! changes_a_row {
        ($statement:literal $(, $value:expr)*) => {
            late(ANSWER, sqlx::query(tables.sql($statement))$(.bind($value))*.execute(&mut *connection))
                .await?
                .rows_affected()
                > 0
        };
    }
    let number = to_column(head.number);
    let is_written = if expected.head == Head::default() {
        changes_a_row!(
            "INSERT INTO schema.tower_flags_head (number, digest) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            number,
            &head.digest
        )
    } else {
        changes_a_row!(
            "UPDATE schema.tower_flags_head SET number = $1, digest = $2 WHERE number == $3 AND digest == $4",
            number,
            &head.digest,
            to_column(expected.head.number),
            &expected.head.digest
        )
    };
    let is_written = is_written
        && match (&expected.definition, definition) {
            (None, Some(text)) => changes_a_row!(
                "INSERT INTO schema.tower_flags (name, definition) VALUES ($1, $2) ON CONFLICT DO NOTHING",
                flag,
                text
            ),
            (Some(before), Some(text)) => changes_a_row!(
                "UPDATE schema.tower_flags SET definition = $3 WHERE name == $1 AND definition == $2",
                flag,
                before,
                text
            ),
            (Some(before), None) => {
                changes_a_row!("DELETE FROM schema.tower_flags WHERE name == $1 AND definition == $2", flag, before)
            }
            (None, None) => !changes_a_row!("SELECT FROM schema.tower_flags WHERE name == $1", flag),
        };
    let is_written = is_written
        && if (expected.version, &*expected.content) == (0, "") {
            changes_a_row!(
                "INSERT INTO schema.tower_flags_versions (name, version, content) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
                flag,
                to_column(*version),
                content
            )
        } else {
            changes_a_row!(
                "UPDATE schema.tower_flags_versions SET version = $2, content = $3 \
                 WHERE name == $1 AND version == $4 AND content == $5",
                flag,
                to_column(*version),
                content,
                to_column(expected.version),
                &expected.content
            )
        };
    if !is_written {
        return Ok(false);
    }
    for entry in entries {
        let is_written = changes_a_row!(
            "INSERT INTO schema.tower_flags_history (number, flag, version, at, actor, reason, before, after, previous) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
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
        if !is_written {
            return Ok(false);
        }
    }
    Ok(true)
}

impl Feed for PostgresStore {
    fn name(&self) -> &str {
        &self.server.name
    }

    fn load<'a>(&'a self, known: Option<&'a str>) -> BoxFuture<'a, Result<Option<FeedContent>, Error>> {
        Box::pin(async move {
            let rows = mending(|| self.rows(), |trouble| self.mended(trouble)).await;
            let rows = rows.or_else(self.error("flags cannot be read"))?;
            rows::load(self.name(), &self.server.parsing, rows, known).await
        })
    }

    fn subscribe(&self) -> BoxFuture<'_, Result<Box<dyn Notices>, Error>> {
        Box::pin(self.server.listen(CHANNEL))
    }

    fn condition(&self) -> BoxFuture<'_, Result<Condition, Error>> {
        Box::pin(self.server.condition(true))
    }

    fn setup_problems(&self) -> Vec<Problem> {
        self.server.plaintext.iter().cloned().collect()
    }

    fn identity(&self) -> BoxFuture<'_, Result<Option<String>, Error>> {
        Box::pin(identity_of(self))
    }
}

impl Store for PostgresStore {
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

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, makes_tables, keys } = self;
        let mut shown = f.debug_struct("PostgresStore");
        shown.field("name", &server.name).field("makes_tables", makes_tables).field("keys", keys).finish()
    }
}

/// A text as bytes of UTF-8. A database without an encoding may hold anything, and refuses to show all rows where one
/// is no UTF-8. Without the schema, a function of another role could be the better match.
pub(super) fn as_bytes(text: &str) -> String {
    format!(
        "pg_catalog.convert_to({text}, CASE WHEN pg_catalog.getdatabaseencoding() OPERATOR(pg_catalog.=) 'SQL_ASCII' \
         THEN 'SQL_ASCII' ELSE 'UTF8' END)"
    )
}

/// A column as it came, of texts or bytes.
pub(super) fn bytes(row: &PgRow, column: usize) -> Result<Option<Vec<u8>>, Trouble> {
    let value = row.try_get_raw(column)?;
    if value.is_null() {
        return Ok(None);
    }
    value.as_bytes().map(|bytes| Some(bytes.to_vec())).map_err(|error| sqlx::Error::Decode(error).into())
}
