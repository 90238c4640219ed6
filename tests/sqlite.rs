//! The store in an SQLite file, and somebody else's table as a feed, beside other writers of the file.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![cfg(all(feature = "sqlite", feature = "testing"))]

#[path = "support/chain.rs"]
mod chain;
#[path = "support/servers.rs"]
mod servers;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use chain::chain;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, SqlitePool};
use tempfile::TempDir;
use tokio::time::timeout;
use tower_flags::source::{Changes, FlagChange, Freshness, Live, Status};
use tower_flags::store::{
    AppliedChange, Author, Change, ChangeError, Error, ErrorKind, Feed, HistoryPage, SqliteStore, SqliteTable, Store,
    StoreExt,
};
use tower_flags::testing::{StoreFixture, check_store};
use tower_flags::{Document, Source};

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Files in a temporary folder.
struct Files {
    folder: TempDir,
    count: AtomicU32,
}

impl Files {
    fn new() -> Self {
        Self { folder: TempDir::new().unwrap(), count: AtomicU32::new(0) }
    }

    fn path(&self) -> PathBuf {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        self.folder.path().join(format!("{number}.db"))
    }
}

fn path_of(store: &SqliteStore) -> PathBuf {
    PathBuf::from(store.name().strip_prefix("sqlite ").unwrap())
}

/// Somebody else's connection.
async fn open(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path).create_if_missing(true).connect().await.unwrap()
}

async fn sql(path: &Path, statements: &str) {
    let mut theirs = open(path).await;
    sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut theirs).await.unwrap();
    theirs.close().await.unwrap();
}

impl StoreFixture for Files {
    type Store = SqliteStore;

    async fn fresh(&self) -> SqliteStore {
        SqliteStore::at(self.path())
    }

    async fn another(&self, store: &SqliteStore) -> SqliteStore {
        SqliteStore::at(path_of(store))
    }

    async fn restarted(&self, store: SqliteStore) -> SqliteStore {
        let path = path_of(&store);
        drop(store);
        SqliteStore::at(path)
    }

    async fn write_past(&self, store: &SqliteStore, flag: &str, text: Option<&[u8]>) {
        let mut theirs = open(&path_of(store)).await;
        let query = match text {
            Some(text) => sqlx::query(
                "INSERT INTO tower_flags VALUES (?1, CAST(?2 AS TEXT)) \
                 ON CONFLICT (name) DO UPDATE SET definition = excluded.definition",
            )
            .bind(flag)
            .bind(text.to_vec()),
            None => sqlx::query("DELETE FROM tower_flags WHERE name = ?").bind(flag),
        };
        query.execute(&mut theirs).await.unwrap();
        theirs.close().await.unwrap();
    }
}

fn alice() -> Author {
    Author::new("alice")
}

async fn put(store: &impl Store, flag: &str, text: &str) {
    store.change(flag, Change::put_text(text).within(PATIENCE), &alice()).await.unwrap();
}

async fn document(feed: &impl Feed) -> Document {
    feed.load(None).await.unwrap().unwrap().document
}

async fn next(changes: &mut Changes) -> FlagChange {
    timeout(PATIENCE, changes.next()).await.expect("a change is seen").unwrap().unwrap()
}

async fn becomes(source: &Live, what: &str, is_so: impl Fn(&Status) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so(&source.status()) {
        assert!(Instant::now() < deadline, "{what}: {:?}", source.status());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn is_fresh(status: &Status) -> bool {
    status.freshness == Freshness::Fresh && status.last_error.is_none()
}

fn is_stale(status: &Status) -> bool {
    matches!(status.freshness, Freshness::StaleSince(_))
}

/// An edit that was not made, as is certain.
#[track_caller]
fn rejected(outcome: Result<AppliedChange, ChangeError>) -> Error {
    let Err(ChangeError::Store(error)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(error.kind(), ErrorKind::Rejected, "{}", chain(&error));
    assert!(error.to_string().contains(": nothing was changed, because "), "{error}");
    *error
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_keeps_the_contract() {
    let report = check_store(&Files::new()).await;
    print!("{report}");
    report.assert_passed();
    assert_eq!(report.skipped().count(), 0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_program_writes_into_the_file_is_in_force_at_once() {
    let files = Files::new();
    let store = SqliteStore::at(files.path());
    let path = path_of(&store);
    for name in ["a", "b", "c"] {
        put(&store, name, r#"{"percentage": 5, "owner": "pay"}"#).await;
    }
    let source = Live::builder(store).allow_shrink(true).connect().await.unwrap();
    let mut changes = source.subscribe();
    // As the docs say how to kill a flag by hand and keep its settings.
    sql(&path, "UPDATE tower_flags SET definition = json_set(definition, '$.enabled', json('false')) WHERE name = 'a'")
        .await;
    let changed = Instant::now();
    let change = next(&mut changes).await;
    assert!(changed.elapsed() < Duration::from_secs(2), "a notice, and no resync");
    let after = change.after.unwrap();
    assert_eq!((&*change.flag, after.is_enabled(), after.bookkeeping().owner.as_deref()), ("a", false, Some("pay")));
    sql(&path, "INSERT INTO tower_flags VALUES ('new', 'true'); DELETE FROM tower_flags WHERE name = 'b'").await;
    let (first, second) = (next(&mut changes).await, next(&mut changes).await);
    let mut seen = [(first.flag, first.after.is_some()), (second.flag, second.after.is_some())];
    seen.sort();
    assert_eq!(seen, [("b".to_owned(), false), ("new".to_owned(), true)]);
    sql(&path, "DELETE FROM tower_flags").await;
    for name in ["a", "c", "new"] {
        assert_eq!(next(&mut changes).await.flag, name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_another_process_keeps_locked_rejects_edits_and_waits_for_short_locks() {
    let files = Files::new();
    let store = SqliteStore::at(files.path());
    put(&store, "x", "true").await;
    let mut theirs = open(&path_of(&store)).await;
    sqlx::raw_sql("BEGIN IMMEDIATE; DELETE FROM tower_flags").execute(&mut theirs).await.unwrap();
    assert_eq!(document(&store).await.flags().count(), 1, "readers do not wait");
    let short = Change::kill().within(Duration::from_millis(300));
    let Err(ChangeError::Store(late)) = store.change("x", short, &alice()).await else { panic!("it is locked") };
    assert_eq!((late.kind(), late.is_unchanged()), (ErrorKind::Unavailable, true), "its time ends first: {late}");
    let asked = Instant::now();
    let locked = rejected(store.change("x", Change::kill(), &alice()).await);
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
    assert!(!locked.is_permanent(), "{locked}");
    assert!(
        chain(&locked).contains("another process is writing it, or has left a transaction open"),
        "{}",
        chain(&locked)
    );
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { store.change("x", Change::kill().within(PATIENCE), &alice()).await }
    });
    sqlx::raw_sql("ROLLBACK").execute(&mut theirs).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().version, 2);
    assert!(store.verify_history().await.unwrap().is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_file_in_its_place_is_read_and_a_removed_one_is_reported() {
    let files = Files::new();
    let (path, copy) = (files.path(), files.path());
    let store = SqliteStore::at(&path);
    put(&store, "x", r#"{"percentage": 5}"#).await;
    sql(&path, &format!("VACUUM INTO '{}'", copy.display())).await;
    put(&store, "x", "false").await;
    let source = Live::connect(store.clone()).await.unwrap();
    let mut changes = source.subscribe();

    std::fs::remove_file(&path).unwrap();
    becomes(&source, "it is stale", is_stale).await;
    let status = source.status();
    assert!(status.last_error.as_ref().unwrap().contains("the file was removed"), "{status:?}");
    assert!(!path.exists(), "no empty one is made in its place");
    for leftover in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{leftover}", path.display()));
    }
    std::fs::rename(&copy, &path).unwrap();
    becomes(&source, "the copy is read", |status| status.freshness == Freshness::Fresh && !status.problems.is_empty())
        .await;
    let problems = source.status().problems;
    assert!(problems.iter().any(|problem| problem.to_string().contains("revision 2")), "{problems:?}");
    // The copy lacks the kill, which stays until somebody edits the flag.
    assert!(next(&mut changes).await.after.is_some_and(|flag| !flag.is_enabled()));
    store.change("x", Change::edit(tower_flags::document::Edit::new().set("percentage", 50)), &alice()).await.unwrap();
    assert!(next(&mut changes).await.after.is_some_and(|flag| flag.is_enabled()));
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_start_at_once_make_the_file_and_the_tables_once() {
    let files = Files::new();
    for _ in 0..10 {
        let path = files.path();
        let fleet: Vec<_> = (0..8)
            .map(|number| {
                let store = SqliteStore::at(&path);
                tokio::spawn(async move {
                    store.load(None).await.unwrap();
                    put(&store, &format!("flag_{number}"), "true").await;
                })
            })
            .collect();
        for process in fleet {
            process.await.unwrap();
        }
        let store = SqliteStore::at(&path);
        assert_eq!(document(&store).await.flags().count(), 8);
        assert_eq!(store.verify_history().await.unwrap().unwrap().number, 8);
        sql(&path, SqliteStore::MIGRATION).await;
        assert_eq!(document(&store).await.flags().count(), 8, "again changes nothing");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_made_in_a_file_that_another_process_is_writing_when_it_has_done() {
    let files = Files::new();
    let path = files.path();
    let mut theirs = open(&path).await;
    sqlx::raw_sql("CREATE TABLE theirs (x); BEGIN IMMEDIATE; INSERT INTO theirs VALUES (1)")
        .execute(&mut theirs)
        .await
        .unwrap();
    let store = SqliteStore::at(&path);
    let mut loading = tokio::spawn(async move { store.load(None).await });
    let waiting = timeout(Duration::from_millis(300), &mut loading).await;
    assert!(waiting.is_err(), "SQLite refuses at once to change such a file: {waiting:?}");
    sqlx::raw_sql("COMMIT").execute(&mut theirs).await.unwrap();
    assert_eq!(loading.await.unwrap().unwrap().unwrap().document.flags().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_that_hold_something_else_cost_their_flag_alone() {
    let files = Files::new();
    let store = SqliteStore::at(files.path());
    put(&store, "good", "true").await;
    sql(
        &path_of(&store),
        r#"INSERT INTO tower_flags VALUES ('blob', CAST('{"percentage": 5}' AS BLOB)), ('number', 7), ('bad', x'ff00'),
           (x'676f6f64', 'false'), (8, 'true'), ('a b', 'true'), (CAST(x'ff' AS TEXT), 'true')"#,
    )
    .await;
    let found = document(&store).await;
    // A name that is no text is none, so that it cannot pass for another flag.
    assert_eq!(found.flags().map(|(name, _)| name).collect::<Vec<_>>(), ["8", "blob", "good"]);
    assert!(found.flag("good").unwrap().is_enabled());
    let mut named: Vec<&str> = found.problems().iter().filter_map(|problem| problem.flag.as_deref()).collect();
    named.sort_unstable();
    assert_eq!(named, ["X'676F6F64'", "a b", "bad", "number", "\u{fffd}"]);
    // A good definition mends what no text was.
    put(&store, "bad", "true").await;
    put(&store, "number", "true").await;
    assert_eq!(document(&store).await.flags().count(), 5);
    assert!(store.verify_history().await.unwrap().is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_of_one_connection_is_enough_for_everything() {
    let files = Files::new();
    let options = SqliteConnectOptions::new().filename(files.path()).create_if_missing(true);
    let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await.unwrap();
    let store = SqliteStore::from_pool(pool.clone());
    let source = Live::connect(store.clone()).await.unwrap();
    let mut changes = source.subscribe();
    put(&store, "x", "true").await;
    assert_eq!(next(&mut changes).await.flag, "x");
    let one: i32 = sqlx::query_scalar("SELECT 1").fetch_one(&pool).await.unwrap();
    assert_eq!((one, pool.size()), (1, 1), "the application's statements go on");
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_say_what_to_do() {
    let files = Files::new();
    let said = async |store: SqliteStore| {
        let error = store.load(None).await.unwrap_err();
        (error.kind(), chain(&error))
    };
    let missing = files.folder.path().join("no folder/flags.db");
    let (kind, message) = said(SqliteStore::at(&missing)).await;
    assert!(kind == ErrorKind::Unavailable && message.contains("its folder has to exist"), "{message}");
    assert!(message.starts_with(&format!("sqlite {}: flags cannot be read", missing.display())), "{message}");

    let text = files.path();
    std::fs::write(&text, "these are no flags, and long enough to be no database either".repeat(100)).unwrap();
    let (kind, message) = said(SqliteStore::at(&text)).await;
    assert!(kind == ErrorKind::Refused && message.contains("put a good copy in its place"), "{message}");

    let (kind, message) = said(SqliteStore::at(files.path()).without_migration()).await;
    assert!(kind == ErrorKind::Configuration && message.contains("run SqliteStore::MIGRATION"), "{message}");

    let readable = files.path();
    put(&SqliteStore::at(&readable), "x", "true").await;
    let readable = SqliteStore::new(&format!("sqlite://{}?mode=ro", readable.display())).unwrap();
    assert_eq!(document(&readable).await.flags().count(), 1);
    let refused = rejected(readable.change("x", Change::kill(), &alice()).await);
    assert!(refused.is_permanent(), "{refused}");
    assert!(chain(&refused).contains("may only be read by this process"), "{}", chain(&refused));

    for url in [
        "flags.db",
        "sqlite:",
        "sqlite://",
        "postgres://x",
        "sqlite::memory:",
        "sqlite://x?mode=memory",
        "sqlite://x?mode=x",
    ] {
        assert_eq!(SqliteStore::new(url).unwrap_err().kind(), ErrorKind::Configuration, "{url}");
    }
    let url = format!("sqlite://{}?mode=rw", files.path().display());
    assert_eq!(said(SqliteStore::new(&url).unwrap()).await.0, ErrorKind::Unavailable, "it is not made");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_that_is_given_up_leaves_no_lock() {
    let files = Files::new();
    let store = SqliteStore::at(files.path());
    put(&store, "x", "true").await;
    for step in 0..40 {
        let change = Change::edit(tower_flags::document::Edit::new().set("percentage", step));
        // Given up at another moment each time.
        let _ = timeout(Duration::from_micros(step * 50), store.change("x", change, &alice())).await;
        put(&store, "x", &format!(r#"{{"percentage": {step}, "enabled": true}}"#)).await;
    }
    assert!(store.verify_history().await.unwrap().is_ok());
    let history = store.history(&HistoryPage::newest().limit(1000)).await.unwrap();
    assert!(history.len() >= 41, "{}", history.len());
}

/// The statements of a code block of the docs that follows this line.
fn documented(title: &str) -> String {
    let docs = include_str!("../src/store/sql/mod.rs");
    let after = docs.split_once(title).unwrap_or_else(|| panic!("the docs have no {title:?}")).1;
    let block = after.split("//! ```").nth(1).unwrap();
    block.lines().skip(1).map(|line| line.trim_start_matches("//!").trim_start().to_owned() + "\n").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_the_application_is_read_by_the_documented_query_and_watched() {
    let files = Files::new();
    let path = files.path();
    let query = documented("SQLite, users as JSON");
    let absent = SqliteTable::at(&path, query.clone());
    assert_eq!(absent.load(None).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(!path.exists(), "a feed makes no file");
    sql(
        &path,
        r#"CREATE TABLE feature_flags (id INTEGER PRIMARY KEY, name TEXT UNIQUE, enabled BOOLEAN NOT NULL DEFAULT 0,
               rollout_percentage REAL, allowed_users TEXT, metadata TEXT, created_at TIMESTAMP);
           INSERT INTO feature_flags (name, enabled, rollout_percentage, allowed_users, metadata) VALUES
               ('everybody', 1, NULL, NULL, NULL), ('killed', 0, 50, '[]', NULL), ('partly', 1, 12.5, '["alice"]', NULL),
               ('staff', 1, 0, '["o''neill"]', '{"team": "pay"}')"#,
    )
    .await;
    let table = SqliteTable::new(&format!("sqlite://{}", path.display()), query.clone()).unwrap();
    let found = document(&table).await;
    assert_eq!(found.problems(), []);
    let now = "2026-12-01T12:00:00Z".parse().unwrap();
    let shown = |(name, flag): (&str, &tower_flags::Flag)| {
        let users: Vec<&str> = flag.allowed_users().collect();
        format!("{name} {} {} {users:?}", flag.is_enabled(), flag.percentage_at(now))
    };
    assert_eq!(
        found.flags().map(shown).collect::<Vec<_>>(),
        ["everybody true 100 []", "killed false 50 []", r#"partly true 12.5 ["alice"]"#, r#"staff true 0 ["o'neill"]"#]
    );
    assert!(found.flag("staff").unwrap().bookkeeping().metadata.as_ref().unwrap().contains_key("team"));

    let pool = SqlitePool::connect(&format!("sqlite://{}", path.display())).await.unwrap();
    let source = Live::connect(SqliteTable::from_pool(pool, query)).await.unwrap();
    becomes(&source, "it is read", is_fresh).await;
    let mut changes = source.subscribe();
    sql(&path, "UPDATE feature_flags SET enabled = 1 WHERE name = 'killed'").await;
    let changed = Instant::now();
    assert!(next(&mut changes).await.after.unwrap().is_enabled());
    assert!(changed.elapsed() < Duration::from_secs(2), "a notice, and no resync");
}

#[tokio::test]
async fn more_rows_than_there_may_be_flags_are_refused_and_not_taken_in_part() {
    let files = Files::new();
    let path = files.path();
    let store = SqliteStore::at(&path);
    store.change("x", Change::put_text("true"), &Author::new("alice")).await.unwrap();
    let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) \
                INSERT INTO tower_flags (name, definition) SELECT 'f' || i, 'true' FROM n; \
                INSERT INTO tower_flags (name, definition) VALUES ('0 is no name', 'true')";
    sql(&path, many).await;
    let refused = store.load(None).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Refused);
    assert!(refused.to_string().contains("at most 10000 rows"), "{refused}");
}

/// A flag that needs some pages, with a text that differs each time.
fn large(number: usize) -> String {
    format!(r#"{{"percentage": 5, "description": "{}"}}"#, format!("{number} and more ").repeat(1000))
}

/// Edits until one of them is rejected.
async fn until_rejected(store: &SqliteStore) -> Error {
    for number in 0..1000 {
        let edited = store.change("x", Change::put_text(large(number)), &alice()).await;
        if edited.is_err() {
            return rejected(edited);
        }
    }
    panic!("there is always room")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_rejects_edits_until_there_is_room() {
    let Some(disk) = servers::SmallDisk::mount("600k") else {
        return println!("not run: this process may not mount a disk");
    };
    let store = SqliteStore::at(disk.path().join("flags.db"));
    put(&store, "x", "true").await;
    let filler = disk.fill();
    let error = until_rejected(&store).await;
    assert!(!error.is_permanent() && chain(&error).contains("disk is full"), "{}", chain(&error));
    let before = document(&store).await.flag("x").cloned();
    std::fs::remove_file(filler).unwrap();
    assert_eq!(document(&store).await.flag("x").cloned(), before);
    store.change("x", Change::kill(), &alice()).await.unwrap();
    assert!(store.verify_history().await.unwrap().is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_at_its_limit_of_pages_rejects_edits() {
    let files = Files::new();
    let path = files.path();
    put(&SqliteStore::at(&path), "x", "true").await;
    let options = SqliteConnectOptions::new().filename(&path).pragma("max_page_count", "40");
    let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await.unwrap();
    let store = SqliteStore::from_pool(pool);
    let error = until_rejected(&store).await;
    assert!(!error.is_permanent() && chain(&error).contains("max_page_count"), "{}", chain(&error));
    // Without the limit it goes on.
    let store = SqliteStore::at(&path);
    store.change("x", Change::kill(), &alice()).await.unwrap();
    assert!(store.verify_history().await.unwrap().is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_sqlite_says_is_certain() {
    let files = Files::new();
    let path = files.path();
    let store = SqliteStore::at(&path);
    put(&store, "x", "true").await;
    let edit = async || rejected(store.change("x", Change::kill(), &alice()).await);
    // A trigger of somebody else's, and a check at the end of the transaction.
    sql(
        &path,
        "CREATE TRIGGER theirs BEFORE INSERT ON tower_flags_history BEGIN SELECT RAISE(ABORT, 'not today'); END",
    )
    .await;
    let error = edit().await;
    assert!(error.is_permanent() && chain(&error).contains("not today"), "{}", chain(&error));
    sql(
        &path,
        "DROP TRIGGER theirs; CREATE TABLE parents (id INTEGER PRIMARY KEY); \
         CREATE TABLE children (id INTEGER REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED); \
         CREATE TRIGGER theirs AFTER INSERT ON tower_flags_history BEGIN INSERT INTO children VALUES (7); END",
    )
    .await;
    let error = edit().await;
    assert!(error.is_permanent() && chain(&error).contains("FOREIGN KEY constraint failed"), "{}", chain(&error));
    assert!(document(&store).await.flag("x").unwrap().is_enabled());
    sql(&path, "DROP TRIGGER theirs").await;
    store.change("x", Change::kill(), &alice()).await.unwrap();
    assert_eq!(store.verify_history().await.unwrap().unwrap().number, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_condition_names_what_can_lose_edits_or_lock_readers_out() {
    let files = Files::new();
    let path = files.path();
    let store = SqliteStore::at(&path);
    put(&store, "x", "true").await;
    let found = async |store: &SqliteStore| {
        let condition = store.condition().await.unwrap();
        assert_eq!((condition.clock, condition.stale_since), (None, None));
        condition.problems.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(found(&store).await, [""; 0]);
    let options = SqliteConnectOptions::new().filename(&path).synchronous(SqliteSynchronous::Normal);
    let pool = SqlitePool::connect_with(options).await.unwrap();
    let wrong = found(&SqliteStore::from_pool(pool)).await;
    assert!(wrong.len() == 1 && wrong[0].contains("expected synchronous = FULL, found NORMAL"), "{wrong:?}");
    let path = files.path();
    sql(&path, &SqliteStore::MIGRATION.replace("PRAGMA journal_mode = WAL;", "")).await;
    let wrong = found(&SqliteStore::at(&path)).await;
    assert!(wrong.len() == 1 && wrong[0].contains("PRAGMA journal_mode = WAL"), "{wrong:?}");
    let source = Live::connect(SqliteStore::at(&path)).await.unwrap();
    becomes(&source, "the status says so", |status| !status.problems.is_empty()).await;
}
