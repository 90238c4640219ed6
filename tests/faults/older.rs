//! Redis that is restored from an older dump: what was switched off since stays off until somebody says otherwise.

use std::time::Duration;

use tempfile::TempDir;
use tokio::task::block_in_place;
use tokio::time::{Instant, sleep};
use tower_flags::engine::Query;
use tower_flags::source::{Freshness, Live, Source};
use tower_flags::store::{Author, Change, RedisStore, StoreExt};
use tower_flags::{Context, Timestamp as Now};

use crate::dose::dose;
use crate::servers::Redis;

fn is_on(source: &Live, name: &str) -> bool {
    source.answer(&Query::new(&Context::user("somebody"), Now::from_unix_millis(0))).is_enabled(name)
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        sleep(Duration::from_millis(2)).await;
    }
}

async fn restored_from_an_older_dump() {
    // Only what is saved by hand survives: the dump.
    let mut redis = block_in_place(|| Redis::start_with(&["--save", "", "--appendonly", "no"]));
    let (folder, by) = (TempDir::new().unwrap(), Author::new("alice"));
    let (backup, its_backup) = (folder.path().join("backup"), folder.path().join("its_backup"));
    // Of a process that is gone when the dump is restored, so that nobody writes its last edits again.
    let editor = RedisStore::new(&redis.url()).unwrap();
    for name in ["checkout", "search", "mail"] {
        editor.change(name, Change::put_text("true"), &by).await.unwrap();
    }
    let source = Live::builder(RedisStore::new(&redis.url()).unwrap()).backup(&backup).connect().await.unwrap();
    assert!(is_on(&source, "checkout"));
    block_in_place(|| redis.command(&[b"SAVE"]));
    let dump = std::fs::read(redis.folder().join("dump.rdb")).unwrap();

    editor.change("mail", Change::kill(), &by).await.unwrap();
    editor.change("mail", Change::restore(), &by).await.unwrap();
    editor.change("checkout", Change::kill(), &by).await.unwrap();
    drop(editor);
    until("the kill arrives", || !is_on(&source, "checkout") && is_on(&source, "mail")).await;
    // An earlier one has `mail` off and `checkout` on.
    until("the kill is in the backup", || {
        let text = std::fs::read_to_string(&backup).unwrap_or_default();
        let flags = serde_json::from_str::<serde_json::Value>(&text).map(|backup| backup["flags"].clone());
        let is_off = |flag: &serde_json::Value| *flag == false || flag["enabled"] == false;
        flags.is_ok_and(|flags| is_off(&flags["checkout"]) && !is_off(&flags["mail"]))
    })
    .await;

    block_in_place(|| redis.kill());
    until("it is noticed", || source.status().freshness != Freshness::Fresh).await;
    std::fs::copy(&backup, &its_backup).unwrap();
    let other = Live::builder(RedisStore::new(&redis.url()).unwrap()).backup(&its_backup).connect().await.unwrap();
    assert!(!is_on(&other, "checkout") && is_on(&other, "search"), "as its backup says");
    std::fs::write(redis.folder().join("dump.rdb"), dump).unwrap();
    block_in_place(|| redis.start_again());

    for source in [&source, &other] {
        until("the old store is followed", || source.status().freshness == Freshness::Fresh).await;
        assert!(!is_on(source, "checkout") && is_on(source, "search") && is_on(source, "mail"));
        let problems: Vec<String> = source.status().problems.iter().map(ToString::to_string).collect();
        assert!(problems.iter().any(|problem| problem.contains("older copy")), "{problems:#?}");
        assert!(problems.iter().any(|problem| problem.contains("checkout")), "{problems:#?}");
    }
    // It says that the flag is on already, and that somebody means it is what counts.
    let store = RedisStore::new(&redis.url()).unwrap();
    let restored = store.change("checkout", Change::restore(), &by).await.unwrap();
    assert_eq!(restored.version, 2);
    until("the restore takes effect", || is_on(&source, "checkout") && is_on(&other, "checkout")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs Redis, which tests/run.sh installs"]
async fn a_store_that_comes_back_older_switches_on_nothing_that_was_seen_switched_off() {
    for _ in 0..dose(5, 50) {
        restored_from_an_older_dump().await;
    }
}
