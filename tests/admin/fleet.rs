//! From an edit over HTTP to the changed answer in another process.

use std::time::{Duration, Instant};

use serde_json::json;
use tower_flags::store::{Author, Change, StoreExt};

use super::api::{Api, json};
use super::process::Process;
use super::urls::open;

/// Edits of which the median is told.
const EDITS: usize = 50;
/// The latest that the stores promise, also where a notice is lost, and what a busy machine adds to it.
const LATEST: Duration = Duration::from_secs(30 + 3 + 2);
/// The median is that of notices, which take 50 ms at most: far from it is where they are all lost.
const USUALLY: Duration = Duration::from_secs(2);

async fn is_followed(url: &str) {
    let store = open(url);
    store.change("checkout", Change::put_text("true"), &Author::new("setup")).await.unwrap();
    let here = Api::over(store.clone()).await;
    let there = tokio::task::block_in_place(|| Process::start(url, None));
    assert!(there.is_on("checkout").await);
    let mut took = Vec::new();
    for number in 0..EDITS {
        let is_on = number % 2 == 1;
        let start = Instant::now();
        let edit = async {
            let patch = json!({"enabled": is_on}).to_string();
            let reply = here.ask("PATCH", "flags/checkout", &[], &patch).await;
            assert_eq!((reply.status, &json(&reply)["stored"]), (200, &json!(true)), "{}", reply.text());
        };
        let change = async {
            while there.is_on("checkout").await != is_on {
                assert!(start.elapsed() < LATEST, "edit {number} is not seen by another process within {LATEST:?}");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            start.elapsed()
        };
        took.push(tokio::join!(change, edit).0);
    }
    let shown = there.admin.get("flags/checkout").await;
    assert_eq!(shown["in_force"]["version"], EDITS + 1, "its admin API says the same");
    took.sort_unstable();
    let (median, last) = (took[EDITS / 2], took[EDITS - 1]);
    println!("{}: seen by another process after {median:?} (median of {EDITS}), {last:?} at the latest", store.name());
    assert!(median < USUALLY, "{median:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_patch_is_seen_by_another_process_through_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    is_followed(&format!("sqlite:{}", folder.path().join("flags.db").display())).await;
}

#[cfg(feature = "redis")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Redis, which tests/run.sh installs"]
async fn a_patch_is_seen_by_another_process_through_redis() {
    let redis = tokio::task::block_in_place(super::servers::Redis::start);
    is_followed(&redis.url()).await;
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL, which tests/run.sh installs"]
async fn a_patch_is_seen_by_another_process_through_postgresql() {
    let postgres = tokio::task::block_in_place(super::servers::Postgres::start);
    is_followed(&postgres.url()).await;
}
