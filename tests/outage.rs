//! A store that goes away and comes back, on a clock that stands still but for the waits.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, advance, sleep};
use tower_flags::Document;
use tower_flags::source::{Freshness, Live, Source};
use tower_flags::store::{BoxFuture, Error, ErrorKind, Feed, FeedContent, Notices};

/// A server that many processes are connected to, and that remembers when they came.
#[derive(Clone)]
struct Server {
    /// Whether it is up, and its content.
    state: watch::Sender<(bool, u32)>,
    loads: Arc<Mutex<Vec<Instant>>>,
    /// Whether nobody can listen for changes.
    is_deaf: Arc<AtomicBool>,
}

impl Server {
    fn new() -> Self {
        Self { state: watch::Sender::new((true, 0)), loads: Arc::default(), is_deaf: Arc::default() }
    }

    fn is_up(&self, is_up: bool) {
        self.state.send_modify(|state| state.0 = is_up);
    }

    /// Breaks all connections, and takes new ones at once.
    fn break_connections(&self) {
        self.state.send_modify(|_| {});
    }

    fn answer(&self) -> Result<u32, Error> {
        let (is_up, content) = *self.state.borrow();
        if !is_up {
            return Err(Error::new(ErrorKind::Unavailable, "nobody listens"));
        }
        self.loads.lock().unwrap().push(Instant::now());
        Ok(content)
    }

    fn loads(&self) -> Vec<Instant> {
        std::mem::take(&mut *self.loads.lock().unwrap())
    }
}

impl Feed for Server {
    fn name(&self) -> &str {
        "server"
    }

    fn load<'a>(&'a self, known: Option<&'a str>) -> BoxFuture<'a, Result<Option<FeedContent>, Error>> {
        Box::pin(async move {
            let revision = self.answer()?.to_string();
            if known == Some(revision.as_str()) {
                return Ok(None);
            }
            let document = Document::from_json(r#"{"flags": {"x": true}}"#).map_err(Error::refused)?;
            Ok(Some(FeedContent::new(document, revision)))
        })
    }

    fn subscribe(&self) -> BoxFuture<'_, Result<Box<dyn Notices>, Error>> {
        let (is_up, content) = *self.state.borrow();
        let connection = Connection { state: self.state.subscribe(), content };
        if self.is_deaf.load(Ordering::Relaxed) {
            return Box::pin(async { Err(Error::new(ErrorKind::Unavailable, "nobody can listen")) });
        }
        let refused = || Error::new(ErrorKind::Unavailable, "nobody listens");
        Box::pin(async move { is_up.then(|| Box::new(connection) as Box<dyn Notices>).ok_or_else(refused) })
    }
}

struct Connection {
    state: watch::Receiver<(bool, u32)>,
    content: u32,
}

impl Notices for Connection {
    fn next(&mut self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async {
            let has_changed = self.state.changed().await.is_ok();
            let (is_up, content) = *self.state.borrow_and_update();
            let is_new = has_changed && is_up && content != std::mem::replace(&mut self.content, content);
            is_new.then_some(()).ok_or_else(|| Error::new(ErrorKind::Unavailable, "the connection was reset"))
        })
    }
}

fn is_fresh(source: &Live) -> bool {
    source.status().freshness == Freshness::Fresh
}

#[tokio::test(start_paused = true)]
async fn a_fleet_that_lost_its_store_for_a_minute_comes_back_a_few_at_a_time() {
    const PROCESSES: usize = 1000;
    let server = Server::new();
    let mut fleet = Vec::new();
    for _ in 0..PROCESSES {
        fleet.push(Live::connect(server.clone()).await.unwrap());
    }
    server.is_up(false);
    sleep(Duration::from_secs(60)).await;
    assert!(fleet.iter().all(|source| !is_fresh(source) && source.status().flags == 1), "last good, and it shows");

    server.loads();
    let back = Instant::now();
    server.state.send_replace((true, 1));
    while !fleet.iter().all(is_fresh) {
        sleep(Duration::from_millis(100)).await;
        assert!(back.elapsed() < Duration::from_secs(60), "{}", fleet.iter().filter(|source| is_fresh(source)).count());
    }
    // The first answer each of them got; none needed two.
    let mut loads: Vec<Duration> = server.loads().iter().map(|load| *load - back).collect();
    loads.sort_unstable();
    loads.truncate(PROCESSES);
    let most = loads
        .iter()
        .map(|first| loads.iter().filter(|load| (*first..*first + Duration::from_secs(1)).contains(load)).count());
    let most = most.max().unwrap();
    assert!(most <= PROCESSES / 10, "{most} of them came within one second");
}

#[tokio::test(start_paused = true)]
async fn a_fleet_whose_connections_break_does_not_come_back_as_one() {
    const PROCESSES: usize = 1000;
    let server = Server::new();
    let mut fleet = Vec::new();
    for _ in 0..PROCESSES {
        fleet.push(Live::connect(server.clone()).await.unwrap());
    }
    server.loads();
    let broken = Instant::now();
    server.break_connections();
    sleep(Duration::from_millis(2500)).await;
    assert!(fleet.iter().all(is_fresh), "all are back within two seconds");
    let loads: Vec<Duration> = server.loads().iter().map(|load| *load - broken).collect();
    for tenth in 0..20_u32 {
        let tenth = Duration::from_millis(100) * tenth;
        let came = loads.iter().filter(|load| (tenth..tenth + Duration::from_millis(100)).contains(load)).count();
        assert!((20..90).contains(&came), "{came} came in the tenth of a second from {tenth:?} on");
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_whose_notices_end_says_at_once_that_it_may_be_old() {
    let server = Server::new();
    let source = Live::connect(server.clone()).await.unwrap();
    assert!(is_fresh(&source));
    server.is_up(false);
    while is_fresh(&source) {
        tokio::task::yield_now().await;
    }
    assert_eq!(source.status().last_error.as_deref(), Some("the connection was reset"));
    advance(Duration::from_secs(3)).await;
    while source.status().last_error.as_deref() == Some("the connection was reset") {
        tokio::task::yield_now().await;
    }
    server.state.send_replace((true, 7));
    let mut waited = Duration::ZERO;
    while !is_fresh(&source) {
        sleep(Duration::from_millis(10)).await;
        waited += Duration::from_millis(10);
    }
    assert!(waited <= Duration::from_millis(2010), "{waited:?} after it is back");
    assert_eq!(source.status().last_error, None);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_could_load_and_not_listen_tries_to_listen_again_soon() {
    let server = Server::new();
    server.is_deaf.store(true, Ordering::Relaxed);
    let source = Live::connect(server.clone()).await.unwrap();
    assert!(is_fresh(&source));
    assert_eq!(source.status().last_error.as_deref(), Some("nobody can listen"));
    server.is_deaf.store(false, Ordering::Relaxed);
    sleep(Duration::from_millis(2010)).await;
    assert_eq!(source.status().last_error, None);
    // And hears what comes, without the wait for a resync.
    let before = source.status().revision;
    server.state.send_replace((true, 7));
    sleep(Duration::from_millis(100)).await;
    assert_ne!(source.status().revision, before);
}

/// Panics the second time that it is read.
#[derive(Clone)]
struct Panics(Server, Arc<AtomicU32>);

impl Feed for Panics {
    fn name(&self) -> &str {
        "panics"
    }

    fn load<'a>(&'a self, known: Option<&'a str>) -> BoxFuture<'a, Result<Option<FeedContent>, Error>> {
        Box::pin(async move {
            assert!(self.1.fetch_add(1, Ordering::Relaxed) != 1, "a defect of the feed");
            self.0.load(known).await
        })
    }

    fn subscribe(&self) -> BoxFuture<'_, Result<Box<dyn Notices>, Error>> {
        self.0.subscribe()
    }
}

#[tokio::test(start_paused = true)]
async fn a_feed_that_panics_is_asked_again_within_two_seconds() {
    let server = Server::new();
    let source = Live::connect(Panics(server.clone(), Arc::default())).await.unwrap();
    server.state.send_replace((true, 1));
    let start = Instant::now();
    while source.status().revision != "1" {
        sleep(Duration::from_millis(10)).await;
    }
    assert!(start.elapsed() <= Duration::from_millis(2020), "{:?}", start.elapsed());
    // At the start as well, which goes on without it.
    let source = Live::connect(Panics(server.clone(), Arc::new(AtomicU32::new(1)))).await.unwrap();
    assert_eq!(source.status().freshness, Freshness::NeverLoaded);
    assert!(source.status().last_error.unwrap().contains("panicked"));
    sleep(Duration::from_millis(2010)).await;
    assert!(is_fresh(&source));
}
