//! `kill -9` of the server under load, and back after 0 to 5 s.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::block_in_place;
use tokio::time::sleep;
use tower_flags::store::Feed;

use crate::broken::NoResync;
use crate::counted::Counter;
use crate::dose;
use crate::fleet::{Fleet, SOON};
use crate::places::{Kind, Server, assert_found, assert_good, on_each};
use crate::support::Random;

const PROCESSES: usize = 3;

async fn kills(kind: Kind, kills: usize, feed: fn(&dyn Server) -> Arc<dyn Feed>) -> Result<(), String> {
    let mut server = block_in_place(|| kind.start());
    let counter = Counter::start(kind, server.address());
    let feeds = (0..PROCESSES).map(|_| feed(&*server)).collect();
    let fleet = Fleet::start(server.open(None), feeds).await;
    let mut random = Random(kills as u64);
    for kill in 0..kills {
        fleet.edits(10).await?;
        block_in_place(|| server.kill());
        sleep(Duration::from_millis(random.below(5001) as u64)).await;
        block_in_place(|| server.start_again());
        fleet.is_current_within(SOON).await.map_err(|late| format!("after kill {kill}: {late}"))?;
    }
    fleet.end().await?;
    counter.end()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs Redis and PostgreSQL, which tests/run.sh installs"]
async fn a_killed_server_costs_no_request_and_no_edit_and_is_followed_again_at_once() {
    let dose = dose(10, 200);
    assert_good(&on_each(move |kind| kills(kind, dose, |server| server.open(None))).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs Redis and PostgreSQL, which tests/run.sh installs"]
async fn processes_that_only_believe_in_notices_are_found_after_a_kill() {
    let outcomes = on_each(|kind| kills(kind, 2, |server| Arc::new(NoResync(server.open(None))))).await;
    assert_found(&outcomes);
}
