//! Acknowledged edits and Redis servers that are killed: what is lost there is written again, and newer servers are
//! waited for until they have an edit on their disk.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![cfg(feature = "redis")]

#[path = "support/servers.rs"]
mod servers;

use std::time::Duration;

use servers::Redis;
use tower_flags::source::{Freshness, Live, Source};
use tower_flags::store::{Author, Change, ChangeError, ErrorKind, Feed, HistoryPage, RedisStore, Store, StoreExt};

/// Keeps only what is saved by hand, so that it is known what a killed server loses.
const SAVED_BY_HAND: [&str; 4] = ["--appendonly", "no", "--save", ""];

fn store(server: &Redis) -> RedisStore {
    RedisStore::new(&server.url()).unwrap()
}

fn alice() -> Author {
    Author::new("alice").because("INC-17")
}

async fn put(store: &RedisStore, flag: &str, text: &str) {
    store.change(flag, Change::put_text(text).within(Duration::from_secs(60)), &alice()).await.unwrap();
}

async fn history(store: &RedisStore) -> Vec<tower_flags::store::HistoryEntry> {
    store.history(&HistoryPage::newest().limit(1000)).await.unwrap_or_default()
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let start = std::time::Instant::now();
    while !is_so().await {
        assert!(start.elapsed() < Duration::from_secs(30), "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis, which tests/run.sh installs"]
async fn a_process_that_only_edits_writes_again_what_a_killed_server_has_lost() {
    let mut server = Redis::start_with(&SAVED_BY_HAND);
    let (editor, reader) = (store(&server), store(&server));
    put(&editor, "x", "true").await;
    for _ in 0..3 {
        server.command(&[b"SAVE"]);
        put(&editor, "y", r#"{"percentage": 5}"#).await;
        editor.change("x", Change::kill(), &alice()).await.unwrap();
        editor.change("y", Change::remove(), &alice()).await.unwrap();
        let made = history(&reader).await;
        server.kill();
        server.start_again();
        until("everything is written again", async || history(&reader).await == made).await;
        assert!(reader.verify_history().await.unwrap().is_ok());
        editor.change("x", Change::restore(), &alice()).await.unwrap();
        put_again(&editor).await;
    }
}

async fn put_again(store: &RedisStore) {
    store.change("y", Change::put_text("true").create_again(), &alice()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis, which tests/run.sh installs"]
async fn other_processes_do_not_go_back_to_older_rules_meanwhile() {
    let mut server = Redis::start_with(&SAVED_BY_HAND);
    let editor = store(&server);
    put(&editor, "x", r#"{"percentage": 1}"#).await;
    server.command(&[b"SAVE"]);
    let source = Live::connect(store(&server)).await.unwrap();
    for percentage in 2..6 {
        put(&editor, "x", &format!(r#"{{"percentage": {percentage}}}"#)).await;
    }
    let newest = store(&server).read("x").await.unwrap().head;
    until("the newest rules", async || source.status().revision == revision(&server).await).await;
    let mut changes = source.subscribe();
    server.kill();
    until("the outage shows", async || source.status().freshness != Freshness::Fresh).await;
    server.start_again();
    until("it is over", async || source.status().freshness == Freshness::Fresh).await;
    assert_eq!(store(&server).read("x").await.unwrap().head, newest);
    // The next change that arrives is the next edit: nothing came between.
    editor.change("x", Change::kill(), &alice()).await.unwrap();
    let change = changes.next().await.unwrap().unwrap();
    assert!(change.after.is_some_and(|flag| !flag.is_enabled()));
    assert_eq!(change.flag_version, Some(6));
    assert!(source.status().problems.iter().all(|problem| !problem.to_string().contains("older copy")));
}

async fn revision(server: &Redis) -> String {
    store(server).load(None).await.unwrap().unwrap().revision
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis, which tests/run.sh installs"]
async fn what_somebody_flushes_stays_away() {
    let server = Redis::start();
    let editor = store(&server);
    put(&editor, "x", "true").await;
    server.command(&[b"FLUSHALL"]);
    // Twice as long as the editor takes to look.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(history(&editor).await, []);
    put(&editor, "y", "true").await;
    assert_eq!(history(&editor).await.len(), 1);
    assert!(editor.verify_history().await.unwrap().is_ok());
}

/// Kills the server, which comes back with what it had when it was saved last, and with what is changed in that: by
/// someone who is faster than each process that looks.
async fn comes_back(server: &mut Redis, change: impl AsyncFnOnce(&Redis)) {
    server.kill();
    let mut other = Redis::start_with(&SAVED_BY_HAND);
    other.kill();
    std::fs::copy(server.folder().join("dump.rdb"), other.folder().join("dump.rdb")).unwrap();
    other.start_again();
    change(&other).await;
    other.command(&[b"SAVE"]);
    std::fs::copy(other.folder().join("dump.rdb"), server.folder().join("dump.rdb")).unwrap();
    server.start_again();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis, which tests/run.sh installs"]
async fn a_kill_that_a_newer_edit_has_overtaken_is_named_in_the_status() {
    let mut server = Redis::start_with(&SAVED_BY_HAND);
    let editor = store(&server);
    put(&editor, "x", "true").await;
    server.command(&[b"SAVE"]);
    editor.change("x", Change::kill(), &alice()).await.unwrap();
    comes_back(&mut server, async |other| put(&store(other), "x", r#"{"percentage": 50}"#).await).await;

    let source = Live::connect(editor.clone()).await.unwrap();
    // At once, and not only at the next resync.
    let is_named = || {
        let problems = source.status().problems;
        problems.iter().map(ToString::to_string).any(|problem| {
            problem.contains("flag \"x\": expected the kill by alice at ") && problem.contains("version 2")
        })
    };
    until("the kill is named", async || is_named()).await;
    assert_eq!(editor.read("x").await.unwrap().definition.as_deref(), Some(r#"{"percentage": 50}"#));
    editor.change("x", Change::kill(), &alice()).await.unwrap();
    until("it is made again", async || !is_named()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis, which tests/run.sh installs"]
async fn what_redis_cli_writes_after_a_loss_is_newer_than_the_lost_edits() {
    let mut server = Redis::start_with(&SAVED_BY_HAND);
    let editor = store(&server);
    let lost = [
        // With the text that is there when the server is back.
        ("killed", r#"{"enabled":false}"#),
        ("lowered", r#"{"percentage":1}"#),
    ];
    for (flag, _) in lost {
        put(&editor, flag, r#"{"percentage": 5}"#).await;
    }
    put(&editor, "raised", r#"{"percentage": 5}"#).await;
    server.command(&[b"SAVE"]);
    for (flag, _) in lost {
        put(&editor, flag, r#"{"enabled":true,"percentage":100}"#).await;
    }
    editor.change("raised", Change::kill(), &alice()).await.unwrap();
    comes_back(&mut server, async |other| {
        for (flag, text) in lost {
            other.command(&[b"SET", format!("ff:{flag}").as_bytes(), text.as_bytes()]);
        }
        other.command(&[b"SET", b"ff:raised", br#"{"percentage":100}"#]);
    })
    .await;

    let text = async |flag: &str| editor.read(flag).await.ok().and_then(|stored| stored.definition);
    let off = r#"{"percentage":100,"enabled":false}"#;
    until("the kill is written again", async || text("raised").await.as_deref() == Some(off)).await;
    let source = Live::connect(editor.clone()).await.unwrap();
    for (flag, expected) in lost {
        let is_named = |problem: &tower_flags::Problem| {
            problem.to_string().starts_with(&format!("flag {flag:?}: expected the edit by alice at "))
        };
        until("the edit is named", async || source.status().problems.iter().any(is_named)).await;
        assert_eq!(text(flag).await.as_deref(), Some(expected));
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis, which tests/run.sh installs"]
async fn of_many_lost_edits_the_first_load_names_the_kill_first() {
    let mut server = Redis::start_with(&SAVED_BY_HAND);
    let editor = store(&server);
    put(&editor, "x", "true").await;
    server.command(&[b"SAVE"]);
    editor.change("x", Change::kill(), &alice()).await.unwrap();
    let flags: Vec<String> = (0..130).map(|flag| format!("flag_{flag}")).collect();
    for flag in &flags {
        put(&editor, flag, "true").await;
    }
    comes_back(&mut server, async |other| {
        for flag in &flags {
            other.command(&[b"SET", format!("ff:{flag}").as_bytes(), b"false"]);
        }
        put(&store(other), "x", r#"{"percentage": 50}"#).await;
    })
    .await;
    let loaded = editor.load(None).await.unwrap().unwrap();
    let problems: Vec<String> = loaded.document.problems().iter().map(ToString::to_string).collect();
    assert!(problems[0].starts_with("flag \"x\": expected the kill by alice at "), "{}", problems[0]);
    assert_eq!(problems.len(), 101, "the kill, and the last hundred others");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis, which tests/run.sh installs"]
async fn a_password_that_is_rejected_is_not_tried_again_and_again() {
    let server = Redis::start_with(&SAVED_BY_HAND);
    server.command(&[b"ACL", b"SETUSER", b"editor", b"on", b">secret", b"~*", b"&*", b"+@all"]);
    let editor = RedisStore::new(&server.url().replace("redis://", "redis://editor:secret@")).unwrap();
    put(&editor, "x", "true").await;
    // Its connections end with its permission to log in.
    server.command(&[b"ACL", b"SETUSER", b"editor", b"resetpass", b">another"]);
    server.command(&[b"CLIENT", b"KILL", b"USER", b"editor"]);
    let connections = || {
        let info = server.value(&[b"INFO", b"stats"]).unwrap();
        let line = info.lines().find_map(|line| line.strip_prefix("total_connections_received:")).unwrap();
        line.trim().parse::<u64>().unwrap()
    };
    let before = connections();
    tokio::time::sleep(Duration::from_secs(10)).await;
    // One is the test's own.
    let made = connections() - before - 1;
    assert!(made <= 3, "{made} connections in 10 s");
}

/// Keeps the server from syncing: nothing is synced while a child writes a snapshot, which takes for ever.
fn disk_hangs(server: &Redis) {
    server.command(&[b"CONFIG", b"SET", b"no-appendfsync-on-rewrite", b"yes"]);
    server.command(&[b"CONFIG", b"SET", b"rdb-key-save-delay", b"100000000"]);
    server.command(&[b"BGSAVE"]);
}

fn disk_goes_on(server: &Redis) {
    server.command(&[b"CONFIG", b"SET", b"no-appendfsync-on-rewrite", b"no"]);
}

const EVERYSEC: [&str; 6] = ["--appendonly", "yes", "--appendfsync", "everysec", "--save", ""];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Valkey, which tests/run.sh installs"]
async fn an_edit_is_acknowledged_when_the_server_has_it_on_its_disk() {
    let server = Redis::start_newer_with(&EVERYSEC);
    let editor = store(&server);
    put(&editor, "x", "true").await;
    disk_hangs(&server);
    // Syncs happen at most once a second: until then one may be under way that has it.
    let mut doubts = 0;
    until("an edit is in doubt", async || match editor.change("x", Change::restore(), &alice()).await {
        Ok(_) => false,
        Err(ChangeError::Store(error)) => {
            assert_eq!(error.kind(), ErrorKind::InDoubt, "{error}");
            let cause = std::error::Error::source(&error).unwrap().to_string();
            assert!(cause.contains("the edit was made, but is not on the server's disk after 4s"), "{cause}");
            doubts += 1;
            true
        }
        Err(error) => panic!("{error}"),
    })
    .await;
    let made = history(&editor).await.len();
    disk_goes_on(&server);
    put(&editor, "x", "false").await;
    assert_eq!(history(&editor).await.len(), made + 1, "what was in doubt was made, and once");
    assert!(editor.verify_history().await.unwrap().is_ok());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Valkey, which tests/run.sh installs"]
async fn a_server_that_never_syncs_is_not_waited_for() {
    let server = Redis::start_newer_with(&["--appendonly", "yes", "--appendfsync", "no", "--save", ""]);
    put(&store(&server), "x", "true").await;
    let server = Redis::start_newer_with(&SAVED_BY_HAND);
    put(&store(&server), "x", "true").await;
    // Who may not wait is not kept from editing.
    let server = Redis::start_newer_with(&EVERYSEC);
    server.command(&[b"ACL", b"SETUSER", b"default", b"-waitaof"]);
    put(&store(&server), "x", "true").await;
}

async fn doubts(store: &RedisStore, text: &str) -> Option<String> {
    match store.change("x", Change::put_text(text), &alice()).await {
        Ok(_) => None,
        Err(ChangeError::Store(error)) if error.kind() == ErrorKind::InDoubt => Some(error.to_string()),
        Err(error) => panic!("{error}"),
    }
}

async fn condition(store: &RedisStore) -> Vec<String> {
    store.condition().await.unwrap().problems.iter().map(ToString::to_string).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Valkey, which tests/run.sh installs"]
async fn a_server_that_never_syncs_is_waited_for_once_where_the_policy_is_not_known() {
    let server = Redis::start_newer_with(&["--appendonly", "yes", "--appendfsync", "no", "--save", ""]);
    let editor = RedisStore::new(&server.url_of_documented("editor", &["+waitaof"])).unwrap();
    let reader = RedisStore::new(&server.url_of_documented("app", &[])).unwrap();
    assert!(doubts(&editor, "true").await.is_some());
    for text in ["false", "true", "false"] {
        assert_eq!(doubts(&editor, text).await, None);
    }
    // Nor on other connections.
    server.command(&[b"CLIENT", b"KILL", b"USER", b"editor"]);
    assert_eq!(doubts(&editor, "true").await, None);
    let told = condition(&editor).await;
    let problem = "expected a server that keeps acknowledged edits when it is killed, found an edit that was not on its \
                   disk after 4s, and an appendfsync that this user may not read; CONFIG SET appendfsync always";
    assert!(told.len() == 1 && told[0].starts_with(problem), "{told:?}");
    assert_eq!(condition(&reader).await, [""; 0]);

    // Set as the line says, the problem ends with the next edits, and they wait again.
    server.command(&[b"CONFIG", b"SET", b"appendfsync", b"always"]);
    for text in ["false", "true", "false"] {
        assert_eq!(doubts(&editor, text).await, None);
    }
    assert_eq!(condition(&editor).await, [""; 0]);
    server.command(&[b"CONFIG", b"SET", b"appendfsync", b"everysec"]);
    disk_hangs(&server);
    until("an edit is in doubt", async || {
        doubts(&editor, "true").await.is_some() || doubts(&editor, "false").await.is_some()
    })
    .await;
    disk_goes_on(&server);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Valkey, which tests/run.sh installs"]
async fn a_newer_server_that_is_killed_at_once_has_what_it_has_acknowledged() {
    let mut server = Redis::start_newer_with(&EVERYSEC);
    for number in 1..20 {
        // Of a process that is gone, so that nobody writes anything again.
        let editor = store(&server);
        put(&editor, "x", &format!(r#"{{"percentage": {number}}}"#)).await;
        drop(editor);
        server.kill();
        server.start_again();
        assert_eq!(store(&server).read("x").await.unwrap().version, number);
    }
}
