//! How a store says how it is doing itself, and how the status shows it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tokio::time::sleep;
use tower_flags::source::{Freshness, Live, Source};
use tower_flags::store::{
    Author, BoxFuture, Change, Condition, Error, ErrorKind, Feed, FeedContent, MemoryStore, Notices, StoreExt,
};
use tower_flags::{Problem, Timestamp};

/// A store in memory that says whatever the test wants of itself.
#[derive(Clone)]
struct Patient {
    store: MemoryStore,
    /// `None` where it cannot be asked.
    condition: Arc<Mutex<Option<Condition>>>,
    /// Whether it does not answer when it is asked.
    is_silent: Arc<AtomicBool>,
}

impl Feed for Patient {
    fn name(&self) -> &str {
        "patient"
    }

    fn load<'a>(&'a self, known: Option<&'a str>) -> BoxFuture<'a, Result<Option<FeedContent>, Error>> {
        self.store.load(known)
    }

    fn subscribe(&self) -> BoxFuture<'_, Result<Box<dyn Notices>, Error>> {
        self.store.subscribe()
    }

    fn condition(&self) -> BoxFuture<'_, Result<Condition, Error>> {
        let condition = self.condition.lock().unwrap().clone();
        if self.is_silent.load(Ordering::SeqCst) {
            return Box::pin(std::future::pending());
        }
        Box::pin(async { condition.ok_or_else(|| Error::new(ErrorKind::Unavailable, "no answer")) })
    }
}

impl Patient {
    async fn new() -> Self {
        let store = MemoryStore::new();
        store.change("search", Change::put_text("true"), &Author::new("alice")).await.unwrap();
        Self { store, condition: Arc::new(Mutex::new(Some(Condition::default()))), is_silent: Arc::default() }
    }

    fn set(&self, change: impl FnOnce(&mut Condition)) {
        let mut condition = Condition::default();
        change(&mut condition);
        *self.condition.lock().unwrap() = Some(condition);
    }
}

/// Time stands still but for waiting, so this is past the next resync.
async fn resync() {
    sleep(Duration::from_secs(34)).await;
}

fn problems(live: &Live) -> Vec<String> {
    live.status().problems.iter().map(ToString::to_string).collect()
}

#[tokio::test(start_paused = true)]
async fn what_a_store_reports_of_itself_is_in_the_status_until_the_next_resync_without_it() {
    let patient = Patient::new().await;
    patient.set(|condition| condition.problems.push(Problem::new("noeviction", "allkeys-lru")));
    // Behind a pointer it is the same.
    let live = Live::connect(Arc::new(patient.clone())).await.unwrap();
    sleep(Duration::from_millis(1)).await;
    assert_eq!(problems(&live), ["patient: expected noeviction, found allkeys-lru"]);
    assert_eq!(live.status().freshness, Freshness::Fresh);

    // While it cannot be asked, the previous answer stays.
    *patient.condition.lock().unwrap() = None;
    resync().await;
    assert_eq!(problems(&live).len(), 1);

    patient.set(|_| {});
    resync().await;
    assert_eq!(problems(&live), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_edited_all_the_time_is_asked_how_it_is_doing() {
    let patient = Patient::new().await;
    let live = Live::connect(patient.clone()).await.unwrap();
    sleep(Duration::from_millis(1)).await;
    patient.set(|condition| condition.problems.push(Problem::new("noeviction", "allkeys-lru")));
    let start = tokio::time::Instant::now();
    for percentage in 1.. {
        let share = Change::put_text(format!(r#"{{"percentage": {percentage}}}"#));
        patient.store.change("search", share, &Author::new("alice")).await.unwrap();
        sleep(Duration::from_secs(10)).await;
        if !problems(&live).is_empty() {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "it was never asked");
    }
}

#[tokio::test(start_paused = true)]
async fn an_edit_is_in_effect_at_once_while_the_store_does_not_say_how_it_is_doing() {
    let patient = Patient::new().await;
    patient.is_silent.store(true, Ordering::SeqCst);
    let live = Live::connect(patient.clone()).await.unwrap();
    for round in 1..=3 {
        let start = tokio::time::Instant::now();
        let version = live.status().version;
        let share = Change::put_text(format!(r#"{{"percentage": {round}}}"#));
        patient.store.change("search", share, &Author::new("alice")).await.unwrap();
        while live.status().version == version {
            sleep(Duration::from_millis(1)).await;
        }
        assert!(start.elapsed() < Duration::from_millis(500), "{:?} in round {round}", start.elapsed());
        // Each resync asks again.
        resync().await;
    }
    patient.is_silent.store(false, Ordering::SeqCst);
    patient.set(|condition| condition.problems.push(Problem::new("noeviction", "allkeys-lru")));
    resync().await;
    assert_eq!(problems(&live).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_cut_off_makes_its_source_stale_since_then() {
    let patient = Patient::new().await;
    let live = Live::connect(patient.clone()).await.unwrap();
    sleep(Duration::from_millis(1)).await;
    assert_eq!(live.status().freshness, Freshness::Fresh);

    let since = Timestamp::from_unix_millis(1_790_000_000_000);
    patient.set(|condition| condition.stale_since = Some(since));
    resync().await;
    assert_eq!(live.status().freshness, Freshness::StaleSince(since));

    patient.set(|_| {});
    resync().await;
    assert_eq!(live.status().freshness, Freshness::Fresh);
}

#[tokio::test(start_paused = true)]
async fn a_clock_more_than_30_seconds_away_is_a_problem() {
    let patient = Patient::new().await;
    let live = Live::connect(patient.clone()).await.unwrap();
    let now = || Timestamp::from(SystemTime::now()).unix_millis();
    for (skew, expected) in [
        (0, None),
        (25_000, None),
        (-25_000, None),
        (90_500, Some("ahead of it")),
        (-90_500, Some("behind it")),
        (i64::MAX / 2, Some("ahead of it")),
        (-(i64::MAX / 2), Some("behind it")),
    ] {
        patient.set(|condition| condition.clock = Some(Timestamp::from_unix_millis(now().saturating_add(skew))));
        resync().await;
        let problems = problems(&live);
        match expected {
            None => assert_eq!(problems, [""; 0], "{skew} ms"),
            Some(part) => assert!(problems.len() == 1 && problems[0].contains(part), "{skew} ms: {problems:?}"),
        }
    }
}
