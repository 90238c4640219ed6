//! A server that is there and does not answer: stopped, behind a line that is half open, reset, or slow.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use tower_flags::store::Feed;

use crate::broken::NoResync;
use crate::counted::Counter;
use crate::dose::dose;
use crate::fleet::{Fleet, SOON};
use crate::hasty::Hasty;
use crate::places::{Kind, Server, assert_found, assert_good, on_each};
use crate::proxy::{Line, Proxy};

/// How soon it shows.
const SHOWN_WITHIN: Duration = Duration::from_secs(10);
/// From then on waits are longer than two seconds: 4 s after 10 s. They go on doubling in the next outage, unless a
/// minute of health lies between, up to 30 s.
const LONG: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(30);
/// Often enough that every place of a store is taken by a connection that is silent.
const OFTEN: Duration = Duration::from_millis(300);

#[derive(Clone, Copy, Debug)]
enum Fault {
    /// `SIGSTOP`.
    Stopped,
    Line(Line),
}

const FAULTS: [(Fault, Duration); 6] = [
    (Fault::Stopped, Duration::from_secs(1)),
    (Fault::Stopped, Duration::from_secs(8)),
    (Fault::Stopped, Duration::from_secs(15)),
    (Fault::Line(Line::Silent), Duration::from_secs(12)),
    (Fault::Line(Line::Reset), Duration::from_secs(3)),
    (Fault::Line(Line::Slow), Duration::from_secs(12)),
];

async fn freezes(
    kind: Kind,
    fault: Fault,
    lasts: Duration,
    times: usize,
    feed: fn(&dyn Server, &Proxy) -> Arc<dyn Feed>,
) -> Result<(), String> {
    let server = tokio::task::block_in_place(|| kind.start());
    let proxy = Proxy::start(server.address()).await;
    let counter = Counter::start(kind, server.address());
    let feeds = (0..2).map(|_| feed(&*server, &proxy)).collect();
    let fleet = Fleet::start(server.open(None), feeds).await;
    for time in 0..times {
        fleet.edits(10).await?;
        let start = Instant::now();
        match fault {
            Fault::Stopped => server.freeze(),
            Fault::Line(line) => proxy.set(line),
        }
        if lasts >= SHOWN_WITHIN {
            fleet.is_stale_within(SHOWN_WITHIN).await?;
        }
        sleep_until(start + lasts).await;
        match fault {
            Fault::Stopped => server.thaw(),
            Fault::Line(_) => proxy.set(Line::Good),
        }
        let doubled = SOON.saturating_mul(1 << (time + 1).min(8)).min(LONGEST);
        let soon = if lasts < LONG { SOON } else { doubled + Duration::from_secs(1) };
        fleet.is_current_within(soon).await.map_err(|late| format!("time {time}: {late}"))?;
        fleet.is_fresh_within(soon).await?;
    }
    // Edits of the time go on where the server does.
    sleep(Duration::from_millis(10)).await;
    fleet.end().await?;
    counter.end()
}

async fn all(kind: Kind, times: usize) -> Result<(), String> {
    let running = FAULTS.map(|(fault, lasts)| {
        let run = freezes(kind, fault, lasts, times, |server, proxy| server.open(Some(proxy.address())));
        (fault, lasts, tokio::spawn(run))
    });
    let mut wrong = Vec::new();
    for (fault, lasts, running) in running {
        if let Err(message) = running.await.unwrap_or_else(|panic| Err(panic.to_string())) {
            wrong.push(format!("{fault:?} for {lasts:?}: {message}"));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(format!("{wrong:#?}")) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs Redis and PostgreSQL, which tests/run.sh installs"]
async fn a_server_that_does_not_answer_costs_no_request_and_shows_within_ten_seconds() {
    let dose = dose(2, 50);
    assert_good(&on_each(move |kind| all(kind, dose)).await);
}

/// A host that goes away without a word, and another one in its place while everybody waits for the first.
async fn moves(kind: Kind, times: usize) -> Result<(), String> {
    let server = tokio::task::block_in_place(|| kind.start());
    let proxy = Proxy::start(server.address()).await;
    let feeds = (0..2).map(|_| Arc::new(Hasty(server.open(Some(proxy.address())), OFTEN)) as Arc<dyn Feed>).collect();
    let fleet = Fleet::start(server.open(None), feeds).await;
    for _ in 0..times {
        fleet.edits(10).await?;
        proxy.set(Line::Silent);
        sleep(LONG * 2).await;
        proxy.move_away();
        proxy.set(Line::Good);
        // Silent connections are given up after the longest pause, and another one follows.
        fleet.is_current_within(LONGEST * 2).await?;
        fleet.is_fresh_within(LONGEST).await?;
    }
    fleet.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs Redis and PostgreSQL, which tests/run.sh installs"]
async fn a_server_that_has_moved_is_found_though_the_old_one_never_answers() {
    let dose = dose(1, 10);
    assert_good(&on_each(move |kind| moves(kind, dose)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs Redis and PostgreSQL, which tests/run.sh installs"]
async fn processes_that_only_believe_in_notices_are_found_behind_a_dead_line() {
    let silent = Fault::Line(Line::Silent);
    let outcomes = on_each(move |kind| {
        freezes(kind, silent, Duration::from_secs(12), 1, |server, proxy| {
            Arc::new(NoResync(server.open(Some(proxy.address()))))
        })
    });
    assert_found(&outcomes.await);
}
