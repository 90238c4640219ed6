//! `kill -9` of the server under load, and back after 0 to 5 s. In the large dose the disk is busy all the time, so that
//! Redis holds back what it has acknowledged.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use tokio::task::block_in_place;
use tokio::time::sleep;
use tower_flags::store::Feed;

use crate::broken::NoResync;
use crate::counted::Counter;
use crate::dose::dose;
use crate::fleet::{Fleet, SOON};
use crate::places::{Kind, Server, assert_found, assert_good, on_each, on_each_of};
use crate::support::Random;

const PROCESSES: usize = 3;
const KINDS: [Kind; 3] = [Kind::Redis, Kind::NewerRedis, Kind::Postgres];

/// A process that writes to the disk and syncs it, again and again until this is dropped. With pauses: servers answer
/// nothing for minutes on a disk that has no time left.
struct BusyDisk {
    _folder: TempDir,
    writing: Child,
}

impl BusyDisk {
    fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("busy");
        let script = "while dd if=/dev/zero of=\"$0\" bs=1M count=32 conv=fsync 2>/dev/null; do sleep 0.2; done";
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(file).stdin(Stdio::null()).stdout(Stdio::null());
        Self { _folder: folder, writing: command.spawn().unwrap() }
    }
}

impl Drop for BusyDisk {
    fn drop(&mut self) {
        // The `dd` of now ends by itself, within its 32 MiB.
        let _ = self.writing.kill();
        let _ = self.writing.wait();
    }
}

async fn kills(kind: Kind, kills: usize, feed: fn(&dyn Server) -> Arc<dyn Feed>) -> Result<(), String> {
    let mut server = block_in_place(|| kind.start());
    let counter = Counter::start(kind, server.address());
    let feeds = (0..PROCESSES).map(|_| feed(&*server)).collect();
    let fleet = Fleet::start(server.open(None), feeds).await;
    let mut random = Random(kills as u64);
    let (mut lost, mut times) = (0, 0);
    for kill in 0..kills {
        fleet.edits(10).await?;
        // At any moment of a sync.
        sleep(Duration::from_millis(random.below(1000) as u64)).await;
        block_in_place(|| server.kill());
        let made = fleet.made();
        sleep(Duration::from_millis(random.below(5001) as u64)).await;
        block_in_place(|| server.start_again());
        // Before anybody writes them again, mostly.
        let found = fleet.found(&*server.open(None)).await;
        if let Some(missing) = found.and_then(|found| made.checked_sub(found)).filter(|missing| *missing > 0) {
            lost += missing;
            times += 1;
        }
        fleet.is_current_within(SOON).await.map_err(|late| format!("after kill {kill}: {late}"))?;
    }
    println!("{kind:?}: {kills} kills, {lost} acknowledged edits were lost by the server at {times} of them");
    fleet.end().await?;
    counter.end()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs Redis and PostgreSQL, which tests/run.sh installs"]
async fn a_killed_server_costs_no_request_and_no_edit_and_is_followed_again_at_once() {
    let (dose, busy) = (dose(10, 200), dose(0, 1));
    let _busy: Vec<BusyDisk> = (0..busy).map(|_| BusyDisk::start()).collect();
    assert_good(&on_each_of(&KINDS, move |kind| kills(kind, dose, |server| server.open(None))).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs Redis and PostgreSQL, which tests/run.sh installs"]
async fn processes_that_only_believe_in_notices_are_found_after_a_kill() {
    let outcomes = on_each(|kind| kills(kind, 2, |server| Arc::new(NoResync(server.open(None))))).await;
    assert_found(&outcomes);
}
