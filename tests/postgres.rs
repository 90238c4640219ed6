//! The store in PostgreSQL, and somebody else's table as a feed, on a server that is killed, frozen and written by
//! others.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![cfg(all(feature = "postgres", feature = "testing"))]

#[path = "support/chain.rs"]
mod chain;
#[path = "support/hasty.rs"]
mod hasty;
#[path = "support/servers.rs"]
mod servers;

use std::sync::Arc;
use std::time::{Duration, Instant};

use chain::chain;
use hasty::Hasty;
use servers::Postgres;
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection, Executor, PgPool};
use tokio::time::timeout;
use tower_flags::source::{Changes, FlagChange, Freshness, Live, Status};
use tower_flags::store::{
    AppliedChange, Author, Change, ChangeError, Error, ErrorKind, Feed, HistoryPage, PostgresStore, PostgresTable,
    Store, StoreExt,
};
use tower_flags::testing::{StoreFixture, check_store};
use tower_flags::{Document, Percentage, Source};

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn server() -> Arc<Postgres> {
    Postgres::shared("")
}

/// Databases of their own.
struct Databases {
    server: Arc<Postgres>,
}

impl Databases {
    fn url_of(&self, store: &PostgresStore) -> String {
        format!("postgres://postgres@{}", store.name().strip_prefix("postgres ").unwrap())
    }
}

impl StoreFixture for Databases {
    type Store = PostgresStore;

    async fn fresh(&self) -> PostgresStore {
        PostgresStore::new(&self.server.fresh()).unwrap()
    }

    async fn another(&self, store: &PostgresStore) -> PostgresStore {
        PostgresStore::new(&self.url_of(store)).unwrap()
    }

    async fn restarted(&self, store: PostgresStore) -> PostgresStore {
        // The server itself is killed in a test of its own.
        let url = self.url_of(&store);
        drop(store);
        PostgresStore::new(&url).unwrap()
    }

    async fn write_past(&self, store: &PostgresStore, flag: &str, text: Option<&[u8]>) {
        let statement = match text {
            Some(text) => {
                let text = String::from_utf8(text.to_vec()).unwrap().replace('\'', "''");
                format!(
                    "INSERT INTO tower_flags VALUES ('{flag}', '{text}') \
                     ON CONFLICT (name) DO UPDATE SET definition = excluded.definition"
                )
            }
            None => format!("DELETE FROM tower_flags WHERE name = '{flag}'"),
        };
        self.server.sql(&self.url_of(store), &statement);
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

/// An edit that was not made, as is certain.
#[track_caller]
fn rejected(outcome: Result<AppliedChange, ChangeError>) -> Error {
    let Err(ChangeError::Store(error)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(error.kind(), ErrorKind::Rejected, "{}", chain(&error));
    assert!(error.to_string().contains(": nothing was changed, because "), "{error}");
    *error
}

/// Connections of a store whose URL names it, as the server counts them.
struct Counted {
    asking: sqlx::PgConnection,
    most: i64,
}

impl Counted {
    async fn on(url: &str) -> Self {
        Self { asking: sqlx::PgConnection::connect(url).await.unwrap(), most: 0 }
    }

    async fn count(&mut self) -> i64 {
        // Reads no catalogue, which may be locked.
        let statement = "SELECT count(*) FROM pg_stat_get_activity(NULL) WHERE application_name = 'counted'";
        let count = sqlx::query_scalar(statement).fetch_one(&mut self.asking).await.unwrap();
        self.most = self.most.max(count);
        count
    }

    /// Counts until something is over.
    async fn during<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            if let Ok(done) = timeout(Duration::from_millis(20), &mut work).await {
                return done;
            }
            self.count().await;
        }
    }
}

/// The URL with a name by which the server tells the connections of one store.
fn counted(url: &str) -> String {
    format!("{url}?application_name=counted")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL, which tests/run.sh installs"]
async fn the_store_keeps_the_contract() {
    let report = check_store(&Databases { server: server() }).await;
    print!("{report}");
    report.assert_passed();
    assert_eq!(report.skipped().count(), 0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL, which tests/run.sh installs"]
async fn what_psql_changes_is_in_force_before_anybody_looks_up() {
    let server = server();
    let url = server.fresh();
    let store = PostgresStore::new(&url).unwrap();
    for name in ["a", "b", "c"] {
        put(&store, name, r#"{"percentage": 5, "owner": "pay"}"#).await;
    }
    let source = Live::builder(store).allow_shrink(true).connect().await.unwrap();
    let mut changes = source.subscribe();
    let sql = |statement: &str| {
        server.sql(&url, statement);
        Instant::now()
    };
    // As the docs say how to change a part by hand.
    let changed = sql("UPDATE tower_flags SET definition = jsonb_set(definition::jsonb, '{percentage}', '50')::text \
         WHERE name = 'a'");
    let change = next(&mut changes).await;
    assert!(changed.elapsed() < Duration::from_secs(2), "a notice, and no resync");
    let now = "2026-12-01T12:00:00Z".parse().unwrap();
    assert_eq!((&*change.flag, change.after.unwrap().percentage_at(now)), ("a", "50".parse::<Percentage>().unwrap()));
    sql("DELETE FROM tower_flags WHERE name = 'b'");
    let change = next(&mut changes).await;
    assert!((change.flag == "b") && change.after.is_none(), "{change:?}");
    sql("INSERT INTO tower_flags VALUES ('new', 'true')");
    let change = next(&mut changes).await;
    assert!((change.flag == "new") && change.before.is_none() && change.flag_version.is_none(), "{change:?}");
    let changed = sql("TRUNCATE tower_flags");
    for name in ["a", "c", "new"] {
        let change = next(&mut changes).await;
        assert!((change.flag == name) && change.after.is_none(), "{change:?}");
    }
    assert!(changed.elapsed() < Duration::from_secs(2), "a notice, and no resync");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL, which tests/run.sh installs"]
async fn what_was_changed_while_nobody_listened_is_found_after_the_cut() {
    let server = server();
    let url = server.fresh();
    let store = PostgresStore::new(&url).unwrap();
    put(&store, "x", "false").await;
    let source = Live::connect(PostgresStore::new(&url).unwrap()).await.unwrap();
    let mut changes = source.subscribe();
    for round in 1..=5 {
        // One transaction after the cut, so that nobody can have listened to the notice of the change.
        let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid()";
        let text = format!(r#"{{"percentage": {round}}}"#);
        server.sql(&url, &format!("{cut}; UPDATE tower_flags SET definition = '{text}' WHERE name = 'x'"));
        let cut = Instant::now();
        let change = next(&mut changes).await;
        assert_eq!(*change.after.unwrap(), text.parse().unwrap());
        assert!(cut.elapsed() < Duration::from_secs(10), "when it is connected again, and not by the resync");
    }
    becomes(&source, "it recovers", is_fresh).await;
}

/// Connections of this process to that server.
fn connections_to(server: &Postgres) -> usize {
    let port = format!(":{:04X}", server.address().port());
    let sockets: Vec<String> = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|fd| {
            std::fs::read_link(fd.unwrap().path()).ok()?.to_str()?.strip_prefix("socket:[").map(str::to_owned)
        })
        .map(|inode| inode.trim_end_matches(']').to_owned())
        .collect();
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let is_ours = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields[2].ends_with(&port) && sockets.iter().any(|inode| inode == fields[9])
    };
    table.lines().skip(1).filter(is_ours).count()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL, which tests/run.sh installs"]
async fn a_frozen_server_is_noticed_and_holds_nothing_that_is_dropped() {
    let server = Postgres::start();
    let url = server.fresh();
    put(&PostgresStore::new(&url).unwrap(), "x", "true").await;
    let source = Live::connect(PostgresStore::new(&url).unwrap()).await.unwrap();
    let dropped = Live::connect(PostgresStore::new(&url).unwrap()).await.unwrap();
    assert_eq!((source.status().flags, dropped.status().flags), (1, 1));
    server.freeze();
    let frozen = Instant::now();
    drop(dropped);
    assert!(frozen.elapsed() < Duration::from_millis(200), "dropping does not wait");
    becomes(&source, "it is stale", |status| matches!(status.freshness, Freshness::StaleSince(_))).await;
    assert!(frozen.elapsed() < Duration::from_secs(10), "{:?}", frozen.elapsed());
    assert_eq!(source.status().flags, 1, "what was in force is");
    server.thaw();
    let thawed = Instant::now();
    becomes(&source, "it recovers", is_fresh).await;
    assert!(thawed.elapsed() < Duration::from_secs(5), "{:?}", thawed.elapsed());
    server.freeze();
    drop(source);
    let deadline = Instant::now() + Duration::from_secs(10);
    while connections_to(&server) > 0 {
        assert!(Instant::now() < deadline, "{} connections are left", connections_to(&server));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.thaw();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL, which tests/run.sh installs"]
async fn edits_survive_a_killed_server_and_come_as_soon_as_it_is_back() {
    let mut server = Postgres::start();
    let url = server.fresh();
    let store = PostgresStore::new(&url).unwrap();
    put(&store, "x", "true").await;
    let source = Live::connect(store.clone()).await.unwrap();
    server.kill();
    let is_refused =
        |status: &Status| status.last_error.as_ref().is_some_and(|said| said.contains("onnection refused"));
    becomes(&source, "it is asked in vain", is_refused).await;
    assert!(matches!(source.status().freshness, Freshness::StaleSince(_)));
    let failed = store.change("x", Change::kill().within(Duration::from_millis(300)), &alice()).await;
    assert!(matches!(failed, Err(ChangeError::Store(_))), "{failed:?}");
    let mut changes = source.subscribe();
    server.start_again();
    let back = Instant::now();
    let killed = store.change("x", Change::kill().at_version(1), &alice()).await.unwrap();
    assert_eq!(killed.version, 2);
    assert!(next(&mut changes).await.after.is_some_and(|flag| !flag.is_enabled()));
    assert!(back.elapsed() < Duration::from_secs(3), "{:?}", back.elapsed());
    assert!(store.verify_history().await.unwrap().is_ok());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL, which tests/run.sh installs"]
async fn a_fleet_that_starts_on_an_empty_database_makes_the_tables_once() {
    let server = server();
    for _ in 0..5 {
        let url = server.fresh();
        let fleet: Vec<_> = (0..8)
            .map(|number| {
                let store = PostgresStore::new(&url).unwrap();
                tokio::spawn(async move {
                    store.load(None).await.unwrap();
                    put(&store, &format!("flag_{number}"), "true").await;
                })
            })
            .collect();
        for process in fleet {
            process.await.unwrap();
        }
        let store = PostgresStore::new(&url).unwrap();
        assert_eq!(document(&store).await.flags().count(), 8);
        assert_eq!(store.verify_history().await.unwrap().unwrap().number, 8);
        server.sql(&url, PostgresStore::MIGRATION);
        assert_eq!(document(&store).await.flags().count(), 8, "again changes nothing");
    }
}

fn as_role(url: &str, role: &str) -> String {
    url.replace("postgres@", &format!("{role}@"))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL, which tests/run.sh installs"]
async fn roles_need_what_the_docs_grant_them_and_no_more() {
    let server = server();
    let url = server.fresh();
    server.sql(
        &url,
        "CREATE ROLE flags_reader LOGIN; CREATE ROLE flags_editor LOGIN; CREATE ROLE flags_by_hand LOGIN; \
         CREATE ROLE flags_nobody LOGIN",
    );
    let of = |role| PostgresStore::new(&as_role(&url, role)).unwrap();
    let reader = of("flags_reader");
    let error = reader.load(None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().ends_with("run PostgresStore::MIGRATION as a role that may make tables"), "{error}");

    server.sql(&url, PostgresStore::MIGRATION);
    let documented = include_str!("../src/store/sql/mod.rs");
    let grants: Vec<&str> = documented.lines().filter_map(|line| line.strip_prefix("//! GRANT ")).collect();
    assert_eq!(grants.len(), 6, "{grants:?}");
    for grant in grants {
        server.sql(&url, &format!("GRANT {grant}"));
    }
    let editor = of("flags_editor");
    put(&editor, "x", "true").await;
    assert_eq!(document(&reader).await.flags().count(), 1);
    let source = Live::connect(reader.clone()).await.unwrap();
    let mut changes = source.subscribe();
    server.sql(&as_role(&url, "flags_by_hand"), "UPDATE tower_flags SET definition = 'false'");
    assert!(next(&mut changes).await.after.is_some_and(|flag| !flag.is_enabled()), "a reader hears of changes");
    editor.change("x", Change::remove(), &alice()).await.unwrap();
    assert!(editor.verify_history().await.unwrap().is_ok());

    let refused = reader.change("y", Change::put_text("true"), &alice()).await.unwrap_err();
    let ChangeError::Store(error) = refused else { panic!("{refused}") };
    assert_eq!(error.kind(), ErrorKind::Denied);
    for role in ["flags_nobody", "flags_missing"] {
        let error = of(role).load(None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    }
    let error = of("flags_nobody").load(None).await.unwrap_err();
    assert!(chain(&error).contains("grant the role what it needs"), "{}", chain(&error));
    assert!(chain(&error).contains("permission denied for table tower_flags"), "{}", chain(&error));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL, which tests/run.sh installs"]
async fn schemas_keep_environments_apart() {
    let server = server();
    let url = server.fresh();
    let staging = PostgresStore::new(&format!("{url}?options=-csearch_path%3Dstaging")).unwrap();
    assert!(staging.name().ends_with(" staging"), "{}", staging.name());
    let error = staging.load(None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("make the schema"), "{error}");
    server.sql(&url, "CREATE SCHEMA staging");
    let production = PostgresStore::new(&url).unwrap();
    put(&staging, "x", "true").await;
    put(&production, "x", "false").await;
    let is_on = async |store: &PostgresStore| document(store).await.flag("x").unwrap().is_enabled();
    assert!(is_on(&staging).await && !is_on(&production).await);
    assert_eq!(server.sql(&url, "SELECT definition FROM staging.tower_flags"), "true");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL, which tests/run.sh installs"]
async fn a_pool_of_one_connection_is_enough_for_everything() {
    let server = server();
    let pool = PgPoolOptions::new().max_connections(1).connect(&server.fresh()).await.unwrap();
    let store = PostgresStore::from_pool(pool.clone());
    let source = Live::connect(store.clone()).await.unwrap();
    let mut changes = source.subscribe();
    put(&store, "x", "true").await;
    assert_eq!(next(&mut changes).await.flag, "x");
    let one: i32 = sqlx::query_scalar("SELECT 1").fetch_one(&pool).await.unwrap();
    assert_eq!((one, pool.size()), (1, 1), "the application's statements go on");
    // A connection that the application keeps is waited for, and not for ever.
    let kept = pool.acquire().await.unwrap();
    let asked = Instant::now();
    let error = store.load(None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().ends_with("is the server running, and the pool large enough?"), "{error}");
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
    drop(kept);
    store.load(None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL, which tests/run.sh installs"]
async fn a_transaction_that_somebody_leaves_open_holds_up_one_flag_and_not_the_others() {
    let server = server();
    let url = server.fresh();
    let store = PostgresStore::new(&url).unwrap();
    put(&store, "held", "true").await;
    let pool = PgPool::connect(&url).await.unwrap();
    let mut theirs = pool.begin().await.unwrap();
    sqlx::query("UPDATE tower_flags SET definition = '{\"percentage\": 7}'").execute(&mut *theirs).await.unwrap();
    let held = rejected(store.change("held", Change::kill(), &alice()).await);
    assert!(!held.is_permanent() && chain(&held).contains("another transaction holds a lock"), "{}", chain(&held));
    put(&store, "other", "true").await;
    theirs.commit().await.unwrap();
    let killed = store.change("held", Change::kill(), &alice()).await.unwrap();
    assert_eq!(killed.definition.as_deref(), Some(r#"{"percentage": 7,"enabled": false}"#), "theirs is not lost");
    assert!(store.verify_history().await.unwrap().is_ok());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL, which tests/run.sh installs"]
async fn an_edit_that_is_given_up_leaves_no_lock_and_its_connection_is_not_used_again() {
    let server = server();
    let url = server.fresh();
    let pool = PgPoolOptions::new().max_connections(2).connect(&url).await.unwrap();
    for store in [PostgresStore::new(&url).unwrap(), PostgresStore::from_pool(pool)] {
        put(&store, "x", "true").await;
        for step in 0..40 {
            let change = Change::edit(tower_flags::document::Edit::new().set("percentage", step));
            // Given up at another moment each time.
            let _ = timeout(Duration::from_micros(step * 100), store.change("x", change, &alice())).await;
            put(&store, "x", &format!(r#"{{"percentage": {step}, "enabled": true}}"#)).await;
        }
        assert!(store.verify_history().await.unwrap().is_ok());
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL, which tests/run.sh installs"]
async fn what_no_column_can_hold_is_refused_with_the_reason() {
    let store = PostgresStore::new(&server().fresh()).unwrap();
    let by = Author::new("alice").because("a\0b");
    let error = rejected(store.change("x", Change::put_text("true"), &by).await);
    assert!(error.is_permanent(), "{}", chain(&error));
    assert_eq!(store.read("x\0").await.unwrap().definition, None);
    put(&store, "x", "true").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL, which tests/run.sh installs"]
async fn texts_that_are_no_utf_8_cost_their_flag_alone() {
    let server = server();
    server.sql(&server.url(), "CREATE DATABASE no_encoding TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'");
    let url = server.url().replace("/postgres", "/no_encoding").replace("//no_encoding", "//postgres");
    let store = PostgresStore::new(&url).unwrap();
    put(&store, "good", "true").await;
    server.sql(
        &url,
        r#"INSERT INTO tower_flags VALUES ('bad', E'{"enabled": true, "description": "\xff"}'), (E'n\xff', 'true')"#,
    );
    let found = document(&store).await;
    assert_eq!(found.flags().map(|(name, _)| name).collect::<Vec<_>>(), ["good"]);
    assert_eq!(found.problems().len(), 2, "{:?}", found.problems());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL, which tests/run.sh installs"]
async fn tables_are_not_made_where_somebody_else_does_it() {
    let server = server();
    let url = server.fresh();
    let store = PostgresStore::new(&url).unwrap().without_migration();
    let error = store.history(&HistoryPage::newest()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().ends_with("run PostgresStore::MIGRATION as a role that may make tables"), "{error}");
    assert_eq!(server.sql(&url, "SELECT count(*) FROM pg_tables WHERE tablename LIKE 'tower_flags%'"), "0");
    server.sql(&url, PostgresStore::MIGRATION);
    put(&store, "x", "true").await;
}

#[tokio::test]
async fn errors_say_where_and_never_the_password() {
    let absent = "postgres://shop:secret@127.0.0.1:1/flags?application_name=secret";
    let store = PostgresStore::new(absent).unwrap();
    assert_eq!(store.name(), "postgres 127.0.0.1:1/flags");
    let asked = Instant::now();
    let error = store.load(None).await.unwrap_err();
    assert!(asked.elapsed() < Duration::from_secs(1), "nobody listening is said at once");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let said = format!("{} {error:?} {store:?} {:?}", chain(&error), PostgresTable::new(absent, "SELECT").unwrap());
    assert!(said.contains("flags cannot be read") && said.contains("onnection refused"), "{said}");
    assert!(!said.contains("secret"), "{said}");
    for url in ["", "flags", "redis://:secret@localhost", "postgres://x:secret@host:port/", "mysql://secret@host/"] {
        let error: Error = PostgresStore::new(url).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(!format!("{} {error:?}", chain(&error)).contains("secret"), "{error:?}");
    }
}

/// The statements of a code block of the docs that follows this line.
fn documented(title: &str) -> String {
    let docs = include_str!("../src/store/sql/mod.rs");
    let after = docs.split_once(title).unwrap_or_else(|| panic!("the docs have no {title:?}")).1;
    let block = after.split("//! ```").nth(1).unwrap();
    block.lines().skip(1).map(|line| line.trim_start_matches("//!").trim_start().to_owned() + "\n").collect()
}

/// Four flags as such tables have them, as the documents they have to come to.
const EXPECTED: &str = r#"{"flags": {
    "everybody": {"enabled": true},
    "killed": {"enabled": false, "rollout_percentage": 50},
    "partly": {"enabled": true, "rollout_percentage": 12.5, "allowed_users": ["alice", "bob"]},
    "staff": {"enabled": true, "rollout_percentage": 0, "allowed_users": ["o'neill"], "metadata": {"team": "pay"}}
}}"#;

async fn assert_expected(feed: &impl Feed) {
    let found = document(feed).await;
    assert_eq!(found.problems(), []);
    let expected = Document::from_json(EXPECTED).unwrap();
    assert_eq!(found.flags().map(|(name, _)| name).collect::<Vec<_>>(), ["everybody", "killed", "partly", "staff"]);
    let now = "2026-12-01T12:00:00Z".parse().unwrap();
    for (name, flag) in expected.flags() {
        let found = found.flag(name).unwrap();
        let users = |flag: &tower_flags::Flag| flag.allowed_users().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(
            (found.is_enabled(), found.percentage_at(now), users(found)),
            (flag.is_enabled(), flag.percentage_at(now), users(flag)),
            "{name}"
        );
        let metadata = |flag: &tower_flags::Flag| flag.bookkeeping().metadata.clone().unwrap_or_default();
        assert_eq!(metadata(found), metadata(flag), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL, which tests/run.sh installs"]
async fn tables_of_the_usual_shapes_are_read_by_the_documented_queries() {
    let server = server();
    let shapes = [
        (
            "PostgreSQL, users as an array",
            "CREATE TABLE feature_flags (id serial PRIMARY KEY, name varchar(100) UNIQUE NOT NULL, \
             enabled boolean NOT NULL DEFAULT false, rollout_percentage integer_or_numeric, allowed_users text[], \
             metadata jsonb DEFAULT '{}', created_at timestamptz DEFAULT now()); \
             INSERT INTO feature_flags (name, enabled, rollout_percentage, allowed_users, metadata) VALUES \
             ('everybody', true, NULL, NULL, '{}'), ('killed', false, 50, '{}', NULL), \
             ('partly', true, 12.5, '{alice,bob}', '{}'), ('staff', true, 0, ARRAY['o''neill'], '{\"team\": \"pay\"}')",
        ),
        (
            "PostgreSQL, users as JSON",
            "CREATE TABLE feature_flags (key text PRIMARY KEY, enabled boolean NOT NULL, \
             rollout_percentage real, enabled_for_users json, metadata json); \
             INSERT INTO feature_flags VALUES \
             ('everybody', true, NULL, NULL, NULL), ('killed', false, 50, '[]', NULL), \
             ('partly', true, 12.5, '[\"alice\", \"bob\"]', NULL), ('staff', true, 0, '[\"o''neill\"]', '{\"team\": \"pay\"}')",
        ),
    ];
    for (title, table) in shapes {
        let url = server.fresh();
        server.sql(&url, &table.replace("integer_or_numeric", "numeric(5, 2)"));
        assert_expected(&PostgresTable::new(&url, documented(title) + ";\n").unwrap()).await;
        let pool = PgPool::connect(&url).await.unwrap();
        assert_expected(&PostgresTable::from_pool(pool, documented(title) + " -- all")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL, which tests/run.sh installs"]
async fn a_table_of_the_application_is_heard_of_by_the_documented_trigger_or_read_from_time_to_time() {
    let server = server();
    let url = server.fresh();
    server.sql(&url, "CREATE TABLE feature_flags (name text PRIMARY KEY, definition jsonb)");
    server.sql(&url, &documented("tell of every change"));
    let query = "SELECT * FROM feature_flags";
    let told = PostgresTable::new(&url, query).unwrap().listen("feature_flags");
    assert_eq!(told.resync_every(), Duration::from_secs(30));
    let told = Live::connect(told).await.unwrap();
    let untold = PostgresTable::new(&url, query).unwrap();
    assert_eq!(untold.resync_every(), Duration::from_secs(5));
    let untold = Live::connect(untold.read_every(Duration::from_millis(100))).await.unwrap();
    let (mut told_changes, mut untold_changes) = (told.subscribe(), untold.subscribe());
    for percentage in 1..=3 {
        server.sql(
            &url,
            &format!(
                "INSERT INTO feature_flags VALUES ('x', '{{\"percentage\": {percentage}}}') \
             ON CONFLICT (name) DO UPDATE SET definition = excluded.definition"
            ),
        );
        let changed = Instant::now();
        next(&mut told_changes).await;
        assert!(changed.elapsed() < Duration::from_secs(2), "a notice, and no resync");
        next(&mut untold_changes).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL, which tests/run.sh installs"]
async fn rows_that_are_no_flags_cost_themselves_alone_and_a_wrong_query_says_so() {
    let server = server();
    let url = server.fresh();
    let feed = |query: &str| PostgresTable::new(&url, query).unwrap();
    let query = "SELECT * FROM (VALUES ('good', '{\"percentage\": 5}'), (NULL, 'true'), ('empty', NULL), ('twice', 'true'), \
         ('twice', 'true'), ('a b', 'true'), ('large', repeat(' ', 5000000))) AS q (name, definition)";
    let found = document(&feed(query)).await;
    assert_eq!(found.flags().map(|(name, _)| name).collect::<Vec<_>>(), ["good"]);
    let problems: Vec<String> = found.problems().iter().map(ToString::to_string).collect();
    assert_eq!(problems.len(), 4, "{problems:#?}");
    assert!(problems.iter().any(|problem| problem.contains("one of 5000000")), "{problems:#?}");
    for wrong in ["SELECT", "SELECT 1 AS name", "SELECT name, definition FROM missing"] {
        let error = feed(wrong).load(None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{}", chain(&error));
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL, which tests/run.sh installs"]
async fn edits_that_are_given_up_at_a_locked_table_leave_no_connection_in_the_server() {
    let server = server();
    let url = server.fresh();
    let store = PostgresStore::new(&counted(&url)).unwrap();
    put(&store, "x", "true").await;
    let (mut counted, mut theirs) = (Counted::on(&url).await, sqlx::PgConnection::connect(&url).await.unwrap());
    for lock in ["tower_flags", "tower_flags_head"] {
        let lock = format!("BEGIN; LOCK TABLE {lock} IN ACCESS EXCLUSIVE MODE");
        theirs.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(lock))).await.unwrap();
        for _ in 0..100 {
            let by = alice();
            let given_up = timeout(Duration::from_millis(30), store.change("x", Change::kill(), &by));
            assert!(counted.during(given_up).await.is_err());
        }
        theirs.execute("ROLLBACK").await.unwrap();
        store.change("x", Change::restore().within(PATIENCE), &alice()).await.unwrap();
    }
    assert!((1..=4).contains(&counted.most), "{} connections", counted.most);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL, which tests/run.sh installs"]
async fn a_locked_table_of_the_application_takes_no_connection_that_is_not_promised() {
    let server = server();
    let url = server.fresh();
    server.sql(
        &url,
        "CREATE TABLE feature_flags (name text, definition text); INSERT INTO feature_flags VALUES ('x', 'true')",
    );
    let query = "SELECT * FROM feature_flags";
    let table = PostgresTable::new(&counted(&url), query).unwrap().listen("feature_flags");
    let source = Live::connect(table.read_every(Duration::from_millis(50))).await.unwrap();
    let pool = PgPoolOptions::new().max_connections(2).connect(&counted(&url)).await.unwrap();
    let pooled = PostgresTable::from_pool(pool.clone(), query).read_every(Duration::from_millis(50));
    let pooled = Live::connect(pooled).await.unwrap();
    let (mut counted, mut theirs) = (Counted::on(&url).await, sqlx::PgConnection::connect(&url).await.unwrap());
    theirs.execute(sqlx::raw_sql("BEGIN; LOCK TABLE feature_flags IN ACCESS EXCLUSIVE MODE")).await.unwrap();
    for source in [&source, &pooled] {
        counted
            .during(becomes(source, "it is stale", |status| matches!(status.freshness, Freshness::StaleSince(_))))
            .await;
        let said = source.status().last_error.unwrap();
        assert!(said.contains("another transaction holds a lock"), "{said}");
    }
    // Some more attempts.
    let _ = counted.during(timeout(Duration::from_secs(6), std::future::pending::<()>())).await;
    assert!((1..=5 + 2).contains(&counted.most), "{} connections", counted.most);
    theirs.execute("ROLLBACK").await.unwrap();
    becomes(&source, "it recovers", is_fresh).await;
    becomes(&pooled, "it recovers", is_fresh).await;
    let settings = "SELECT current_setting('statement_timeout') || current_setting('lock_timeout') || \
         current_setting('idle_in_transaction_session_timeout') || current_setting('transaction_read_only')";
    for _ in 0..4 {
        let found: String = sqlx::query_scalar(settings).fetch_one(&pool).await.unwrap();
        assert_eq!(found, "000off", "limits stay in their transactions");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL, which tests/run.sh installs"]
async fn making_the_tables_and_connecting_wait_for_nobody_for_ever() {
    let server = Postgres::start();
    let url = server.fresh();
    let store = PostgresStore::new(&counted(&url)).unwrap();
    let (mut counted, mut theirs) = (Counted::on(&url).await, sqlx::PgConnection::connect(&url).await.unwrap());
    theirs.execute("SELECT pg_advisory_lock(8391162112114)").await.unwrap();
    for _ in 0..3 {
        let error = counted.during(store.load(None)).await.unwrap_err();
        assert!(chain(&error).contains("lock timeout"), "{}", chain(&error));
    }
    theirs.execute("SELECT pg_advisory_unlock(8391162112114)").await.unwrap();
    put(&store, "x", "true").await;

    // A server in which nobody can begin.
    let end = "BEGIN; LOCK TABLE pg_catalog.pg_authid IN ACCESS EXCLUSIVE MODE; \
         SELECT pg_terminate_backend(pid) FROM pg_stat_get_activity(NULL) WHERE application_name = 'counted'";
    theirs.execute(sqlx::raw_sql(end)).await.unwrap();
    for _ in 0..3 {
        assert_eq!(store.load(None).await.unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(store.subscribe().await.err().unwrap().kind(), ErrorKind::Unavailable);
    }
    let backends = tokio::task::block_in_place(|| server.backends());
    assert!(backends <= 5 + 2, "{backends} connections");
    theirs.execute("ROLLBACK").await.unwrap();
    put(&store, "x", "false").await;
    counted.during(store.subscribe()).await.unwrap();
    assert!(counted.most <= 5, "{} connections", counted.most);
}

/// Errors of one server, each raised by a trigger while an edit is written.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL, which tests/run.sh installs"]
async fn whatever_the_server_says_before_the_end_of_an_edit_is_certain() {
    let server = server();
    let url = server.fresh();
    let store = PostgresStore::new(&url).unwrap();
    put(&store, "x", "true").await;
    let before = store.history(&HistoryPage::newest()).await.unwrap();
    server.sql(
        &url,
        "CREATE TABLE code (code text); INSERT INTO code VALUES (''); \
         CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             RAISE EXCEPTION 'as the test says' USING ERRCODE = (SELECT code FROM code); END $$; \
         CREATE TRIGGER fail BEFORE INSERT ON tower_flags_history FOR EACH ROW EXECUTE FUNCTION fail()",
    );
    let at_the_end = "DROP TRIGGER fail ON tower_flags_history; \
         CREATE CONSTRAINT TRIGGER fail AFTER INSERT ON tower_flags_history \
         DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION fail()";
    let (now, for_good) = (|kind| (kind, false), |kind| (kind, true));
    for trigger in ["", at_the_end] {
        server.sql(&url, trigger);
        for (code, (kind, is_permanent)) in [
            ("53100", now(ErrorKind::Rejected)),
            ("53200", now(ErrorKind::Rejected)),
            ("53400", now(ErrorKind::Rejected)),
            ("55P03", now(ErrorKind::Rejected)),
            ("57014", now(ErrorKind::Rejected)),
            ("58030", now(ErrorKind::Rejected)),
            ("XX000", now(ErrorKind::Rejected)),
            ("22P05", for_good(ErrorKind::Rejected)),
            ("23514", for_good(ErrorKind::Rejected)),
            ("25006", for_good(ErrorKind::Rejected)),
            ("54000", for_good(ErrorKind::Rejected)),
            ("P0001", for_good(ErrorKind::Rejected)),
            ("XX001", for_good(ErrorKind::Rejected)),
            ("42501", for_good(ErrorKind::Denied)),
            ("28000", for_good(ErrorKind::Denied)),
            ("42703", for_good(ErrorKind::Configuration)),
            ("0A000", for_good(ErrorKind::Configuration)),
            // Another connection may do it: it is tried again as long as the edit has time.
            ("08006", now(ErrorKind::Unavailable)),
            ("53300", now(ErrorKind::Unavailable)),
            ("57P01", now(ErrorKind::Unavailable)),
            ("40001", now(ErrorKind::Unavailable)),
        ] {
            server.sql(&url, &format!("UPDATE code SET code = '{code}'"));
            let mut tries = 0;
            let error = loop {
                let kill = Change::kill().within(Duration::from_millis(400));
                let Err(ChangeError::Store(error)) = store.change("x", kill, &alice()).await else { panic!("{code}") };
                // It is tried again until its time ends, on a slow machine while the server is asked to commit.
                let has_run_out = code == "40001" && error.kind() == ErrorKind::InDoubt;
                tries += 1;
                if !has_run_out || tries == 20 {
                    break error;
                }
            };
            assert_eq!((error.kind(), error.is_permanent()), (kind, is_permanent), "{code}: {}", chain(&error));
            assert!(error.to_string().contains(": nothing was changed, because "), "{code}: {error}");
            // That it is tried again is the only reason to have no cause.
            assert!(code == "40001" || chain(&error).contains("as the test says"), "{code}: {}", chain(&error));
            assert!(is_on(&store, "x").await, "{code}");
        }
    }
    assert_eq!(store.history(&HistoryPage::newest()).await.unwrap(), before);
    server.sql(&url, "DROP TRIGGER fail ON tower_flags_history");
    store.change("x", Change::kill(), &alice()).await.unwrap();
    assert!(store.verify_history().await.unwrap().is_ok());
}

async fn is_on(store: &PostgresStore, flag: &str) -> bool {
    document(store).await.flag(flag).unwrap().is_enabled()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL, which tests/run.sh installs"]
async fn a_connection_that_ends_before_the_edit_does_leaves_no_doubt() {
    let server = server();
    let kinds = [
        ("BEFORE INSERT ON tower_flags_history", true),
        ("AFTER INSERT ON tower_flags_history DEFERRABLE INITIALLY DEFERRED", false),
    ];
    for (when, is_certain) in kinds {
        let url = server.fresh();
        let store = PostgresStore::new(&url).unwrap();
        put(&store, "x", "true").await;
        let constraint = if is_certain { "" } else { "CONSTRAINT" };
        // Every other time; a sequence is not rolled back.
        server.sql(
            &url,
            &format!(
                "CREATE SEQUENCE times; CREATE FUNCTION ends() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                     IF nextval('times') % 2 = 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF; \
                     RETURN NEW; END $$; \
                 CREATE {constraint} TRIGGER ends {when} FOR EACH ROW EXECUTE FUNCTION ends()"
            ),
        );
        for _ in 0..3 {
            // Made on the second attempt, and once.
            let killed = store.change("x", Change::kill(), &alice()).await.unwrap();
            let restored = store.change("x", Change::restore(), &alice()).await.unwrap();
            assert_eq!(restored.version, killed.version + 1, "{when}");
        }
        assert_eq!(store.verify_history().await.unwrap().unwrap().number, 7, "{when}");
        // Each time.
        server.sql(
            &url,
            "CREATE OR REPLACE FUNCTION ends() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                 PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$",
        );
        let kill = Change::kill().within(Duration::from_millis(300));
        let Err(ChangeError::Store(error)) = store.change("x", kill, &alice()).await else { panic!("{when}") };
        assert!(is_on(&store, "x").await, "{when}");
        let expected = if is_certain { ErrorKind::Unavailable } else { ErrorKind::InDoubt };
        assert_eq!(error.kind(), expected, "{when}: {}", chain(&error));
        assert_eq!(error.is_unchanged(), is_certain, "{when}: {}", chain(&error));
    }
}

/// The time of an edit ends while a statement of it waits, before `COMMIT`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL, which tests/run.sh installs"]
async fn an_edit_whose_time_ends_before_it_is_sent_leaves_no_doubt() {
    let server = server();
    for (lock, what) in [
        ("tower_flags IN ACCESS EXCLUSIVE", "it cannot even be read"),
        ("tower_flags_head IN SHARE", "it waits to be written"),
        ("tower_flags_history IN SHARE", "a part of it is written"),
    ] {
        let url = server.fresh();
        let store = PostgresStore::new(&url).unwrap();
        put(&store, "x", "true").await;
        let mut theirs = sqlx::PgConnection::connect(&url).await.unwrap();
        let lock = format!("BEGIN; LOCK TABLE {lock} MODE");
        theirs.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(lock))).await.unwrap();
        let kill = Change::kill().within(Duration::from_millis(300));
        let Err(ChangeError::Store(error)) = store.change("x", kill, &alice()).await else { panic!("{what}") };
        assert_eq!((error.kind(), error.is_unchanged()), (ErrorKind::Unavailable, true), "{what}: {}", chain(&error));
        // And the server agrees, also once the lock is gone.
        theirs.execute("ROLLBACK").await.unwrap();
        put(&store, "y", "true").await;
        assert_eq!(store.read("x").await.unwrap().version, 1, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL, which tests/run.sh installs"]
async fn an_edit_that_cannot_read_a_locked_table_is_rejected_at_once() {
    let server = server();
    let url = server.fresh();
    let store = PostgresStore::new(&url).unwrap();
    put(&store, "x", "true").await;
    let mut theirs = sqlx::PgConnection::connect(&url).await.unwrap();
    theirs.execute(sqlx::raw_sql("BEGIN; LOCK TABLE tower_flags IN ACCESS EXCLUSIVE MODE")).await.unwrap();
    let by = alice();
    let edit = store.change("x", Change::kill().within(Duration::from_secs(24 * 60 * 60)), &by);
    let error = rejected(timeout(PATIENCE, edit).await.expect("at once"));
    assert!(error.to_string().contains("another transaction holds a lock"), "{error}");
    assert!(chain(&error).contains("lock timeout"), "{}", chain(&error));
    theirs.execute("ROLLBACK").await.unwrap();
    assert_eq!(store.change("x", Change::kill(), &by).await.unwrap().version, 2);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL, which tests/run.sh installs"]
async fn an_encoding_that_cannot_hold_the_reason_is_named() {
    let server = server();
    let database = "CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'";
    server.sql(&server.url(), database);
    let url = server.url().replace("/postgres", "/latin").replace("//latin", "//postgres");
    let store = PostgresStore::new(&url).unwrap();
    put(&store, "x", "true").await;
    store
        .change("x", Change::edit(tower_flags::document::Edit::new().set("percentage", 5)), &alice().because("größer"))
        .await
        .unwrap();
    for by in [Author::new("alice").because("🔥 at checkout"), Author::new("Алиса")] {
        let asked = Instant::now();
        let error = rejected(store.change("x", Change::kill(), &by).await);
        assert!(error.is_permanent() && error.to_string().contains("encoding of the database"), "{}", chain(&error));
        assert!(asked.elapsed() < Duration::from_secs(4), "at once");
    }
    store.change("x", Change::kill(), &alice()).await.unwrap();
    assert_eq!(store.verify_history().await.unwrap().unwrap().number, 3);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL, which tests/run.sh installs"]
async fn a_read_only_database_rejects_edits_and_is_not_overruled() {
    let server = server();
    let url = server.fresh();
    let store = PostgresStore::new(&url).unwrap();
    put(&store, "x", "true").await;
    server.sql(&url, "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database()); END $$");
    // Settings of a database hold for new connections.
    let store = PostgresStore::new(&url).unwrap();
    let error = rejected(store.change("x", Change::kill(), &alice()).await);
    assert!(error.is_permanent() && error.to_string().contains("its transactions are read-only"), "{}", chain(&error));
    assert!(is_on(&store, "x").await);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL, which tests/run.sh installs"]
async fn a_full_disk_rejects_edits_until_there_is_room() {
    // Of its own: a server whose disk is full may end.
    let server = Postgres::start();
    let Some(disk) = servers::SmallDisk::mount("16m") else {
        return println!("not run: this process may not mount a disk");
    };
    let tablespace = disk.path().join("tablespace");
    std::fs::create_dir(&tablespace).unwrap();
    server.give(&tablespace);
    let location = tablespace.display();
    server.sql(&server.url(), &format!("CREATE TABLESPACE small LOCATION '{location}'"));
    server.sql(&server.url(), "CREATE DATABASE on_small TABLESPACE small");
    let url = server.url().replace("/postgres", "/on_small").replace("//on_small", "//postgres");
    let store = PostgresStore::new(&url).unwrap();
    put(&store, "x", "true").await;
    let filler = disk.fill();
    // Pages that are there already take some edits.
    let error = loop {
        let text = format!(r#"{{"percentage": 5, "description": "{}"}}"#, "no room ".repeat(500));
        let edited = store.change("x", Change::put_text(text), &alice()).await;
        match edited {
            Ok(_) => drop(store.change("x", Change::put_text("true"), &alice()).await),
            Err(_) => break rejected(edited),
        }
    };
    assert!(!error.is_permanent() && error.to_string().contains("the disk of the server is full"), "{}", chain(&error));
    std::fs::remove_file(filler).unwrap();
    store.change("x", Change::kill(), &alice()).await.unwrap();
    assert!(store.verify_history().await.unwrap().is_ok());
    drop(store);
    server.sql(&server.url(), "DROP DATABASE on_small WITH (FORCE)");
    server.sql(&server.url(), "DROP TABLESPACE small");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL, which tests/run.sh installs"]
async fn a_server_without_a_free_connection_has_changed_nothing() {
    let server = Postgres::start_with(&["max_connections=8"]);
    let url = server.fresh();
    put(&PostgresStore::new(&url).unwrap(), "x", "true").await;
    let mut others = Vec::new();
    while let Ok(other) = sqlx::PgConnection::connect(&url).await {
        others.push(other);
    }
    let store = PostgresStore::new(&url).unwrap();
    let change = store.change("x", Change::kill().within(Duration::from_millis(300)), &alice()).await;
    let Err(ChangeError::Store(error)) = change else { panic!("{change:?}") };
    assert!(error.kind() == ErrorKind::Unavailable && error.is_unchanged(), "{}", chain(&error));
    assert!(chain(&error).contains("the server has too many connections"), "{}", chain(&error));
    drop(others);
    let killed = store.change("x", Change::kill(), &alice()).await.unwrap();
    assert_eq!(killed.version, 2);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL, which tests/run.sh installs"]
async fn the_condition_has_the_clock_and_what_was_done_to_the_tables() {
    let server = server();
    let url = server.fresh();
    let store = PostgresStore::new(&url).unwrap();
    put(&store, "x", "true").await;
    let now = || tower_flags::Timestamp::from(std::time::SystemTime::now());
    let found = async || {
        let (before, condition, after) = (now(), store.condition().await.unwrap(), now());
        let clock = condition.clock.unwrap().unix_millis();
        assert!((before.unix_millis() - 1..=after.unix_millis()).contains(&clock), "{before} {clock} {after}");
        assert_eq!(condition.stale_since, None);
        condition.problems.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    // The servers of these tests sync nothing.
    let unsynced = found().await;
    assert!(unsynced.len() == 1 && unsynced[0].contains("expected fsync = on, found fsync = off"), "{unsynced:?}");
    server.sql(
        &url,
        "ALTER TABLE tower_flags_history SET UNLOGGED; ALTER TABLE tower_flags DISABLE TRIGGER tower_flags_notify",
    );
    let wrong = found().await;
    assert_eq!(wrong.len(), 3, "{wrong:?}");
    assert!(wrong.iter().any(|said| said.contains("ALTER TABLE tower_flags_history SET LOGGED")), "{wrong:?}");
    assert!(wrong.iter().any(|said| said.contains("the trigger tower_flags_notify on tower_flags")), "{wrong:?}");
    server.sql(&url, "ALTER TABLE tower_flags_history SET LOGGED; DROP TRIGGER tower_flags_notify ON tower_flags");
    assert_eq!(found().await.len(), 2);
    server.sql(&url, PostgresStore::MIGRATION);
    assert_eq!(found().await, unsynced);
    // A table of the application's needs none of it, and a reader may ask.
    server.sql(&url, "CREATE ROLE condition_reader LOGIN");
    let table =
        PostgresTable::new(&as_role(&url, "condition_reader"), "SELECT 'x' AS name, 'true' AS definition").unwrap();
    assert!(table.condition().await.unwrap().clock.is_some());
}

/// How often conditions are asked for here.
const OFTEN: Duration = Duration::from_millis(200);

/// A primary with the flag `x`, and a standby of it, with the URLs of one database in both.
async fn replicated(settings: &[&str]) -> (Postgres, Postgres, String, String) {
    let primary = tokio::task::block_in_place(Postgres::start);
    let url = primary.fresh();
    put(&PostgresStore::new(&url).unwrap(), "x", "true").await;
    let standby = tokio::task::block_in_place(|| primary.standby(settings));
    let on_standby = url.replace(&primary.address().to_string(), &standby.address().to_string());
    (primary, standby, url, on_standby)
}

fn stale_since(status: &Status) -> Option<tower_flags::Timestamp> {
    match status.freshness {
        Freshness::StaleSince(since) => Some(since),
        _ => None,
    }
}

fn has_problem(status: &Status, part: &str) -> bool {
    status.problems.iter().any(|problem| problem.to_string().contains(part))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL, which tests/run.sh installs"]
async fn a_standby_is_stale_since_it_stopped_following_and_fresh_when_it_follows_again() {
    let (mut primary, standby, url, on_standby) = replicated(&[]).await;
    let now = || tower_flags::Timestamp::from(std::time::SystemTime::now());
    let (editor, replica) = (PostgresStore::new(&url).unwrap(), PostgresStore::new(&on_standby).unwrap());
    let source = Live::connect(Hasty(replica.clone(), OFTEN)).await.unwrap();
    let is_fresh = |status: &Status| status.freshness == Freshness::Fresh && !has_problem(status, "a standby");
    becomes(&source, "it follows", is_fresh).await;
    let rejected = rejected(replica.change("x", Change::kill(), &alice()).await);
    assert!(rejected.is_permanent() && rejected.to_string().contains("this is a replica"), "{}", chain(&rejected));

    let mut changes = source.subscribe();
    let before = now();
    server_sql(&standby, &on_standby, "SELECT pg_wal_replay_pause()");
    becomes(&source, "a pause shows", |status| stale_since(status).is_some()).await;
    let since = stale_since(&source.status()).unwrap();
    assert!(before.checked_sub(Duration::from_secs(5)).unwrap() < since && since <= now(), "{since} {before}");
    assert!(has_problem(&source.status(), "pg_wal_replay_resume()"), "{:?}", source.status());
    editor.change("x", Change::kill(), &alice()).await.unwrap();
    // A process that starts now does not know when it began; the last edit that is there tells.
    let later = Live::connect(Hasty(PostgresStore::new(&on_standby).unwrap(), OFTEN)).await.unwrap();
    becomes(&later, "a pause shows at the start", |status| stale_since(status).is_some()).await;
    assert!(stale_since(&later.status()).unwrap() <= now());
    assert_eq!(stale_since(&source.status()), Some(since), "since then, and not since the last look");
    server_sql(&standby, &on_standby, "SELECT pg_wal_replay_resume()");
    assert!(next(&mut changes).await.after.is_some_and(|flag| !flag.is_enabled()));
    becomes(&source, "it follows again", is_fresh).await;

    let before = now();
    tokio::task::block_in_place(|| primary.kill());
    becomes(&source, "a killed primary shows", |status| stale_since(status).is_some()).await;
    let since = stale_since(&source.status()).unwrap();
    assert!(before.checked_sub(Duration::from_secs(5)).unwrap() < since && since <= now(), "{since} {before}");
    assert!(has_problem(&source.status(), "receives nothing"), "{:?}", source.status());
    tokio::task::block_in_place(|| primary.start_again());
    becomes(&source, "it follows the primary that is back", is_fresh).await;
    editor.change("x", Change::restore().within(PATIENCE), &alice()).await.unwrap();
    assert!(next(&mut changes).await.after.is_some_and(|flag| flag.is_enabled()));
}

fn server_sql(server: &Postgres, url: &str, statement: &str) {
    tokio::task::block_in_place(|| server.sql(url, statement));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL, which tests/run.sh installs"]
async fn a_primary_that_is_silent_shows_on_its_standby() {
    let (primary, _standby, url, on_standby) = replicated(&["wal_receiver_timeout=4s"]).await;
    server_sql(&primary, &url, "CREATE ROLE replica_reader LOGIN");
    let store = PostgresStore::new(&on_standby).unwrap();
    let source = Live::connect(Hasty(store, OFTEN)).await.unwrap();
    becomes(&source, "it follows", |status| status.freshness == Freshness::Fresh).await;
    // A role that may not see when the receiver heard of the primary sees that there is one.
    let query = "SELECT 'x' AS name, 'true' AS definition";
    let reader = PostgresTable::new(&as_role(&on_standby, "replica_reader"), query).unwrap();
    assert_eq!(reader.condition().await.unwrap().stale_since, None);
    primary.freeze();
    becomes(&source, "it is stale", |status| stale_since(status).is_some()).await;
    let deadline = Instant::now() + PATIENCE;
    while reader.condition().await.unwrap().stale_since.is_none() {
        assert!(Instant::now() < deadline, "a reader sees it too");
    }
    primary.thaw();
    becomes(&source, "it follows again", |status| status.freshness == Freshness::Fresh).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL, which tests/run.sh installs"]
async fn a_standby_that_replays_late_is_stale_since_the_last_edit_that_it_has() {
    let (_primary, _standby, url, on_standby) = replicated(&["recovery_min_apply_delay=1h"]).await;
    let source = Live::connect(Hasty(PostgresStore::new(&on_standby).unwrap(), OFTEN)).await.unwrap();
    becomes(&source, "it is there", |status| status.flags == 1).await;
    PostgresStore::new(&url).unwrap().change("x", Change::kill(), &alice()).await.unwrap();
    becomes(&source, "it is stale", |status| stale_since(status).is_some()).await;
    assert!(has_problem(&source.status(), "recovery_min_apply_delay"), "{:?}", source.status());
}
