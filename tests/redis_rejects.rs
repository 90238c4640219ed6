//! Edits that a Redis server rejects: the error says so at once, with the reason, and nothing was changed.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![cfg(feature = "redis")]

#[path = "support/servers.rs"]
mod servers;

use std::error::Error as _;
use std::time::Duration;

use servers::Redis;
use tower_flags::store::{
    Author, Change, ChangeError, Error, ErrorKind, Feed, HistoryPage, RedisStore, Store, StoreExt,
};

fn alice() -> Author {
    Author::new("alice").because("errors at checkout 😱")
}

/// Longer than any test runs: an edit that is tried again until its time is over is found by the test's own.
const LONG: Duration = Duration::from_secs(24 * 60 * 60);

/// The error of an edit that the server rejects; it must not be tried again.
async fn rejected(store: &RedisStore, flag: &str) -> Error {
    let by = alice();
    let edit = store.change(flag, Change::kill().within(LONG), &by);
    let outcome = tokio::time::timeout(Duration::from_secs(30), edit).await.expect("it is said at once");
    match outcome {
        Err(ChangeError::Store(error)) => *error,
        other => panic!("expected an error of the store, found {other:?}"),
    }
}

fn connections(server: &Redis) -> u32 {
    let info = server.value(&[b"INFO", b"stats"]).unwrap();
    let line = info.lines().find_map(|line| line.strip_prefix("total_connections_received:"));
    line.unwrap().trim().parse().unwrap()
}

/// A server with one flag, and what the store says of it.
async fn with_flag(server: &Redis) -> RedisStore {
    let store = RedisStore::new(&server.url()).unwrap();
    store.change("x", Change::put_text("true"), &alice()).await.unwrap();
    store
}

/// Does something to a server, so that it rejects edits for this reason; and undoes it.
async fn rejects_while(server: &Redis, done: &[&[&[u8]]], undone: &[&[&[u8]]], because: &str, code: &str) {
    let store = with_flag(server).await;
    let before = store.read("x").await.unwrap();
    done.iter().for_each(|command| _ = server.command(command));
    let error = rejected(&store, "x").await;
    assert_eq!(error.kind(), ErrorKind::Rejected, "{error}");
    assert!(!error.is_permanent(), "{error}");
    assert_eq!(error.to_string(), format!("{}: nothing was changed, because {because}", name(&store)));
    assert!(error.source().unwrap().to_string().contains(code), "{}", error.source().unwrap());

    // Nothing was changed, reading goes on, and the connection is used again.
    assert_eq!(store.read("x").await.unwrap(), before);
    assert!(store.load(None).await.unwrap().is_some());
    assert_eq!(store.history(&HistoryPage::newest()).await.unwrap().len(), 1);
    let connected = connections(server);
    for _ in 0..20 {
        rejected(&store, "x").await;
    }
    // The test's own is one of them.
    assert_eq!(connections(server), connected + 1);
    undone.iter().for_each(|command| _ = server.command(command));
    assert_eq!(store.change("x", Change::kill(), &alice()).await.unwrap().version, 2);
}

/// As messages call it.
fn name(store: &RedisStore) -> &str {
    store.name().rsplit_once(' ').unwrap().0
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis, which tests/run.sh installs"]
async fn a_server_that_is_out_of_memory_rejects_edits() {
    let because = "the server is out of memory: raise maxmemory or free memory";
    let full: &[&[u8]] = &[b"CONFIG", b"SET", b"maxmemory", b"1"];
    let roomy: &[&[u8]] = &[b"CONFIG", b"SET", b"maxmemory", b"0"];
    rejects_while(&Redis::start(), &[full], &[roomy], because, "OOM").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis, which tests/run.sh installs"]
async fn a_server_without_enough_replicas_rejects_edits() {
    let because = "the server has fewer good replicas than min-replicas-to-write";
    let needs: &[&[u8]] = &[b"CONFIG", b"SET", b"min-replicas-to-write", b"1"];
    let alone: &[&[u8]] = &[b"CONFIG", b"SET", b"min-replicas-to-write", b"0"];
    rejects_while(&Redis::start(), &[needs], &[alone], because, "NOREPLICAS").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis, which tests/run.sh installs"]
async fn a_server_that_cannot_write_to_its_disk_rejects_edits() {
    // Snapshots that fail stop all writing, as a full disk does.
    let server = Redis::start_with(&["--appendonly", "no", "--save", "3600 1000000"]);
    let store = with_flag(&server).await;
    // A folder stands where the file is to be.
    std::fs::create_dir(server.folder().join("dump.rdb")).unwrap();
    server.command(&[b"BGSAVE"]);
    while !server.value(&[b"INFO", b"persistence"]).unwrap().contains("rdb_last_bgsave_status:err") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let error = rejected(&store, "x").await;
    assert_eq!((error.kind(), error.is_permanent()), (ErrorKind::Rejected, false), "{error}");
    assert!(error.to_string().ends_with("because the server cannot write to its disk"), "{error}");
    assert!(error.source().unwrap().to_string().contains("MISCONF"), "{}", error.source().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis, which tests/run.sh installs"]
async fn a_replica_rejects_edits_for_good() {
    let primary = Redis::start();
    with_flag(&primary).await;
    let (host, port) = (primary.address().ip().to_string(), primary.address().port().to_string());
    for settings in [&[][..], &["--replica-serve-stale-data", "no"]] {
        let replica = Redis::start_with(&[&["--replicaof", &host, &port][..], settings].concat());
        let store = RedisStore::new(&replica.url()).unwrap();
        while store.read("x").await.is_ok_and(|stored| stored.version == 0) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        while store.read("x").await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let error = rejected(&store, "x").await;
        assert_eq!((error.kind(), error.is_permanent()), (ErrorKind::Rejected, true), "{error}");
        let because = "because the server is a replica: edits have to go to its primary";
        assert!(error.to_string().ends_with(because), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis, which tests/run.sh installs"]
async fn who_may_not_edit_is_denied_and_told_that_nothing_was_changed() {
    let server = Redis::start();
    let store = with_flag(&server).await;
    let before = store.read("x").await.unwrap();
    for (user, rules) in [
        ("reader", "+@all -@write"),
        ("writes_elsewhere", "+@all"),
        ("runs_no_scripts", "+@all -@scripting"),
        ("adds_no_history", "+@all -xadd"),
    ] {
        let keys = if user == "writes_elsewhere" { "%R~*" } else { "~*" };
        let mut words = vec!["ACL", "SETUSER", user, "on", ">secret", keys, "&*"];
        words.extend(rules.split(' '));
        server.command(&words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>());
        let theirs = RedisStore::new(&format!("redis://{user}:secret@{}", server.address())).unwrap();
        let error = rejected(&theirs, "x").await;
        assert_eq!((error.kind(), error.is_permanent()), (ErrorKind::Denied, true), "{user}: {error}");
        assert!(error.to_string().contains("nothing was changed, because this is not allowed"), "{user}: {error}");
        assert_eq!(store.read("x").await.unwrap(), before, "{user}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis, which tests/run.sh installs"]
async fn a_server_that_is_busy_is_waited_for_and_leaves_no_doubt() {
    let server = Redis::start_with(&["--busy-reply-threshold", "1"]);
    let store = with_flag(&server).await;
    let address = server.address();
    // Without choosing a database first, which a busy server does not do.
    let say = move |words: &str| {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.write_all(format!("{words}\r\n").as_bytes()).unwrap();
        let _ = stream.read(&mut [0; 100]).unwrap();
    };
    let busy = std::thread::spawn(move || say("EVAL \"while true do end\" 0"));
    while store.read("x").await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let outcome = store.change("x", Change::kill().within(Duration::from_millis(300)), &alice()).await;
    let Err(ChangeError::Store(error)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.source().unwrap().to_string().contains("does not do it now"), "{}", error.source().unwrap());
    say("SCRIPT KILL");
    busy.join().unwrap();
    assert_eq!(store.change("x", Change::kill(), &alice()).await.unwrap().version, 2);
}
