//! Definitions that are too many bytes together: the shortest are used, and a kill among the others is taken.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![cfg(all(feature = "postgres", feature = "redis", feature = "sqlite"))]

#[path = "support/servers.rs"]
mod servers;

use servers::{Postgres, Redis};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use tempfile::TempDir;
use tower_flags::Document;
use tower_flags::store::{Author, Change, Feed, PostgresStore, PostgresTable, RedisStore, SqliteStore, SqliteTable};
use tower_flags::store::{Store, StoreExt};

/// Bytes of each large definition.
const SIZE: usize = 1_000_000;
/// How many there are: more than twice 64 MiB.
const COUNT: usize = 140;
/// How many of them, and one short definition, are at most 64 MiB.
const USED: usize = 67;

/// A definition of [`SIZE`] bytes.
fn large(enabled: bool) -> String {
    let (start, end) = (r#"{"metadata": {"x": ""#, format!(r#""}}, "enabled": {enabled:?}}}"#));
    format!("{start}{}{end}", "x".repeat(SIZE - start.len() - end.len()))
}

fn name(number: usize) -> String {
    format!("flag_{number:03}")
}

/// What each of these sources makes of a small flag and all the large ones, of which number 100 is written as given.
fn is_within_the_budget(before: &Document, full: Document, killed: Document) {
    let used = |document: &Document| document.flags().map(|(name, _)| name.to_owned()).collect::<Vec<_>>();
    let expected: Vec<String> = (0..USED).map(name).chain(["small".to_owned()]).collect();
    assert_eq!(used(&full), expected);
    let problems: Vec<String> = full.problems().iter().map(ToString::to_string).collect();
    assert_eq!(problems.len(), COUNT - USED, "{:#?}", &problems[..3]);
    assert_eq!(
        problems[0],
        format!(
            "flag {:?}: expected definitions of at most 67108864 bytes together, found 1000000 bytes of this one beside \
             those of the others; shorter definitions come before longer ones",
            name(USED)
        )
    );
    let full = full.after(before, false);
    assert!(full.flag(name(100)).unwrap().is_enabled(), "the earlier definition stays in effect");
    let killed = killed.after(&full, false);
    assert!(!killed.flag(name(100)).unwrap().is_enabled(), "a kill is taken");
    assert!(killed.flag("small").unwrap().is_enabled() && killed.flag(name(0)).unwrap().is_enabled());
}

async fn document(feed: &impl Feed) -> Document {
    feed.load(None).await.unwrap().unwrap().document
}

async fn put(store: &impl Store, flag: &str, text: String) {
    store.change(flag, Change::put_text(&text), &Author::new("alice")).await.unwrap();
}

/// SQL that writes all large definitions past the store, but for number 100: with the database's own words for a name, for
/// so many times `x`, and for the numbers `n`.
fn filling(name: &str, padding: impl Fn(usize) -> String, numbers: &str) -> String {
    let bare = large(true).replace('x', "");
    let (start, end) = bare.split_once(r#"": """#).unwrap();
    let (start, end) = (format!(r#"{start}x": ""#), format!("\"{end}"));
    let padding = padding(SIZE - start.len() - end.len());
    format!(
        "INSERT INTO tower_flags (name, definition) \
         SELECT 'flag_' || {name}, '{start}' || {padding} || '{end}' FROM {numbers} WHERE n <> 100"
    )
}

#[test]
fn texts_in_memory() {
    let (text, off) = (large(true), large(false));
    let names: Vec<String> = (0..COUNT).map(name).collect();
    let with = |hundredth: &str| {
        let each =
            names.iter().enumerate().map(|(at, name)| (name.as_str(), if at == 100 { hundredth } else { &text }));
        let all = each.chain([("small", "true")]).map(|(name, text)| (name, text.as_bytes()));
        Document::from_texts(all).unwrap()
    };
    let before = Document::from_texts([(name(100).as_str(), text.as_bytes())]).unwrap();
    is_within_the_budget(&before, with(&text), with(&off));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis, which tests/run.sh installs"]
async fn texts_in_redis() {
    let server = Redis::start();
    let store = RedisStore::new(&server.url()).unwrap();
    put(&store, &name(100), large(true)).await;
    let before = document(&store).await;
    put(&store, "small", "true".to_owned()).await;
    for number in (0..COUNT).filter(|number| *number != 100) {
        server.command(&[b"SET", format!("ff:{}", name(number)).as_bytes(), large(true).as_bytes()]);
    }
    let full = document(&store).await;
    put(&store, &name(100), large(false)).await;
    is_within_the_budget(&before, full, document(&store).await);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL, which tests/run.sh installs"]
async fn texts_in_postgres() {
    let server = Postgres::start();
    let url = server.fresh();
    let store = PostgresStore::new(&url).unwrap();
    let table = PostgresTable::new(&url, "SELECT name, definition FROM tower_flags").unwrap();
    put(&store, &name(100), large(true)).await;
    let before = document(&store).await;
    put(&store, "small", "true".to_owned()).await;
    let numbers = format!("generate_series(0, {}) n", COUNT - 1);
    server.sql(&url, &filling("lpad(n::text, 3, '0')", |count| format!("repeat('x', {count})"), &numbers));
    let (full, full_table) = (document(&store).await, document(&table).await);
    put(&store, &name(100), large(false)).await;
    is_within_the_budget(&before, full, document(&store).await);
    is_within_the_budget(&before, full_table, document(&table).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_in_sqlite() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("flags.db");
    let store = SqliteStore::at(path.clone());
    let table = SqliteTable::at(path.clone(), "SELECT name, definition FROM tower_flags");
    put(&store, &name(100), large(true)).await;
    let before = document(&store).await;
    put(&store, "small", "true".to_owned()).await;
    let mut theirs = SqliteConnectOptions::new().filename(&path).connect().await.unwrap();
    let numbers = "WITH RECURSIVE c (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM c WHERE n + 1 < ";
    let numbers = format!("({numbers}{COUNT}) SELECT n FROM c)");
    let filling = filling("printf('%03d', n)", |count| format!("printf('%.*c', {count}, 'x')"), &numbers);
    sqlx::raw_sql(AssertSqlSafe(filling)).execute(&mut theirs).await.unwrap();
    theirs.close().await.unwrap();
    let (full, full_table) = (document(&store).await, document(&table).await);
    put(&store, &name(100), large(false)).await;
    is_within_the_budget(&before, full, document(&store).await);
    is_within_the_budget(&before, full_table, document(&table).await);
}
