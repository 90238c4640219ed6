//! The store in PostgreSQL, and somebody else's table as a feed, on a server that is killed, frozen and written by
//! others.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![cfg(all(feature = "postgres", feature = "testing"))]

#[path = "support/servers.rs"]
mod servers;

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use servers::Postgres;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::time::timeout;
use tower_flags::source::{Changes, FlagChange, Freshness, Live, Status};
use tower_flags::store::{
    Author, Change, ChangeError, Error, ErrorKind, Feed, HistoryPage, PostgresStore, PostgresTable, Store, StoreExt,
};
use tower_flags::testing::{StoreFixture, check_store};
use tower_flags::{Document, Percentage, Source};

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The server of all tests that do it no harm; the last one ends it.
fn server() -> Arc<Postgres> {
    static SERVER: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());
    let mut server = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
    server.upgrade().unwrap_or_else(|| {
        let started = Arc::new(Postgres::start());
        *server = Arc::downgrade(&started);
        started
    })
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

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
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
    assert!(error.to_string().ends_with("is the server there, and the pool large enough?"), "{error}");
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
    let held = store.change("held", Change::kill().within(Duration::from_secs(3)), &alice()).await.unwrap_err();
    assert!(chain(&held).contains("somebody's open transaction holds the row"), "{}", chain(&held));
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
            let change = Change::edit(tower_flags::engine::Edit::new().set("percentage", step));
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
    let error = store.change("x", Change::put_text("true"), &by).await.unwrap_err();
    let ChangeError::Store(error) = error else { panic!("{error}") };
    assert_eq!(error.kind(), ErrorKind::Configuration, "{}", chain(&error));
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
