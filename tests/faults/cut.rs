//! Subscribers whose line is cut while others edit: what they have missed they read.

use std::sync::Arc;

use tower_flags::store::Feed;

use crate::broken::NoResync;
use crate::counted::Counter;
use crate::dose::dose;
use crate::fleet::{Fleet, SOON};
use crate::places::{Kind, Server, assert_found, assert_good, on_each};
use crate::proxy::Proxy;

/// Edits while one cut heals.
const EDITS: u64 = 50;

async fn cuts(kind: Kind, cuts: usize, feed: fn(&dyn Server, &Proxy) -> Arc<dyn Feed>) -> Result<(), String> {
    let server = tokio::task::block_in_place(|| kind.start());
    let proxy = Proxy::start(server.address()).await;
    let counter = Counter::start(kind, server.address());
    let fleet = Fleet::start(server.open(None), vec![feed(&*server, &proxy)]).await;
    for cut in 0..cuts {
        proxy.cut();
        fleet.edits(EDITS).await?;
        fleet.is_current_within(SOON).await.map_err(|late| format!("after cut {cut}: {late}"))?;
    }
    fleet.end().await?;
    counter.end()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs Redis and PostgreSQL, which tests/run.sh installs"]
async fn edits_whose_notices_are_lost_are_seen_when_the_line_is_back() {
    let dose = dose(20, 1000);
    assert_good(&on_each(move |kind| cuts(kind, dose, |server, proxy| server.open(Some(proxy.address())))).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs Redis and PostgreSQL, which tests/run.sh installs"]
async fn processes_that_only_believe_in_notices_are_found_after_a_cut() {
    let outcomes =
        on_each(|kind| cuts(kind, 2, |server, proxy| Arc::new(NoResync(server.open(Some(proxy.address()))))));
    assert_found(&outcomes.await);
}
