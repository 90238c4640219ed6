//! Processes that serve requests from one store, an editor, and what they all saw.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tower_flags::source::{Freshness, Live, Source};
use tower_flags::store::{AppliedChange, Author, Change, ChangeError, ErrorKind, Feed, HistoryPage, Store, StoreExt};
use tower_flags::{FlagLayer, Flags};

use crate::support::{Client, serve};

/// The flag that carries a number, one higher with every edit.
const FLAG: &str = "counter";
/// How long after its store is back every process has its newest rules.
pub(crate) const SOON: Duration = Duration::from_secs(2);
/// What two busy cores may add to it; `TOWER_FLAGS_NOISE` says how many seconds, where a machine has other work.
fn noise() -> Duration {
    match std::env::var("TOWER_FLAGS_NOISE") {
        Ok(seconds) => Duration::from_secs(seconds.parse().unwrap()),
        Err(_) => Duration::from_millis(700),
    }
}

/// One process of the fleet, with somebody who asks it all the time.
struct Process {
    source: Live,
    asking: JoinHandle<()>,
    seen: Arc<Seen>,
}

/// What its answers were.
#[derive(Default)]
struct Seen {
    newest: AtomicU64,
    all: Mutex<BTreeSet<u64>>,
    requests: AtomicU64,
    wrong: Mutex<Vec<String>>,
}

impl Seen {
    fn take(&self, status: u16, body: &str) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let Some(number) = body.parse().ok().filter(|_| status == 200) else {
            return self.wrong.lock().unwrap().push(format!("{status} {body}"));
        };
        let before = self.newest.swap(number, Ordering::Relaxed);
        if number < before {
            self.wrong.lock().unwrap().push(format!("{number} after {before}"));
        }
        self.all.lock().unwrap().insert(number);
    }
}

impl Process {
    async fn start(feed: impl Feed) -> Self {
        let source = Live::connect(feed).await.unwrap();
        let handler = |flags: Flags| async move { flags.value::<u64>(FLAG).unwrap().unwrap_or_default().to_string() };
        let router = Router::new().route("/", get(handler)).layer(FlagLayer::new(source.clone()));
        let address = serve(router).await;
        let seen = Arc::new(Seen::default());
        let asking = tokio::spawn(ask(address, Arc::clone(&seen)));
        Self { source, asking, seen }
    }

    fn newest(&self) -> u64 {
        self.seen.newest.load(Ordering::Relaxed)
    }
}

async fn ask(address: SocketAddr, seen: Arc<Seen>) {
    let mut client = Client::open(address).await;
    loop {
        let reply = client.get("/", &[("X-User-ID", "somebody")]).await;
        seen.take(reply.status, reply.text());
        sleep(Duration::from_millis(10)).await;
    }
}

/// Somebody who edits the flag all the time.
struct Editor {
    editing: JoinHandle<()>,
    state: Arc<EditorState>,
}

#[derive(Default)]
struct EditorState {
    is_paused: AtomicBool,
    is_idle: AtomicBool,
    made: AtomicU64,
    outcomes: Mutex<Outcomes>,
}

impl EditorState {
    fn take(&self, number: u64, outcome: Result<AppliedChange, ChangeError>) {
        let mut outcomes = self.outcomes.lock().unwrap();
        match outcome {
            Ok(_) => {
                outcomes.made.insert(number);
                self.made.store(number, Ordering::Relaxed);
            }
            Err(ChangeError::Store(error)) if error.kind() == ErrorKind::InDoubt => {
                outcomes.in_doubt.insert(number);
            }
            // Both say that nothing was changed.
            Err(ChangeError::Store(error)) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Rejected) => {}
            Err(error) => outcomes.wrong.push(format!("{number}: {error}")),
        }
    }
}

#[derive(Default)]
struct Outcomes {
    made: BTreeSet<u64>,
    in_doubt: BTreeSet<u64>,
    wrong: Vec<String>,
}

fn definition(number: u64) -> String {
    format!(r#"{{"enabled": true, "variants": {{"number": {{"weight": 100, "value": {number}}}}}}}"#)
}

fn number(definition: &str) -> Option<u64> {
    definition.rsplit(": ").next()?.trim_end_matches('}').parse().ok()
}

async fn edit(store: Arc<dyn Store>, state: Arc<EditorState>) {
    let by = Author::new("editor");
    for number in 1.. {
        while state.is_paused.load(Ordering::Relaxed) {
            state.is_idle.store(true, Ordering::Relaxed);
            sleep(Duration::from_millis(1)).await;
        }
        state.is_idle.store(false, Ordering::Relaxed);
        let outcome = store.change(FLAG, Change::put_text(definition(number)), &by).await;
        state.take(number, outcome);
        sleep(Duration::from_millis(5)).await;
    }
}

/// Processes over one store, with an editor.
pub(crate) struct Fleet {
    store: Arc<dyn Store>,
    editor: Editor,
    processes: Vec<Process>,
}

impl Fleet {
    /// The processes read from feeds of their own, the editor from the store.
    pub(crate) async fn start(store: Arc<dyn Store>, feeds: Vec<Arc<dyn Feed>>) -> Self {
        store.change(FLAG, Change::put_text(definition(0)), &Author::new("editor")).await.unwrap();
        let mut processes = Vec::new();
        for feed in feeds {
            processes.push(Process::start(feed).await);
        }
        let state = Arc::new(EditorState::default());
        let editing = tokio::spawn(edit(Arc::clone(&store), Arc::clone(&state)));
        Self { store, editor: Editor { editing, state }, processes }
    }

    /// The newest number whose edit was acknowledged.
    pub(crate) fn made(&self) -> u64 {
        self.editor.state.made.load(Ordering::Relaxed)
    }

    /// The number that a store has just now, where it answers.
    pub(crate) async fn found(&self, store: &dyn Store) -> Option<u64> {
        number(store.read(FLAG).await.ok()?.definition.as_deref()?)
    }

    /// Waits until this many more edits were acknowledged.
    pub(crate) async fn edits(&self, more: u64) -> Result<(), String> {
        let wanted = self.made() + more;
        self.until(Duration::from_secs(60), "edits go on", || self.made() >= wanted).await
    }

    /// Waits until every process answers with the newest number of now, at least.
    pub(crate) async fn is_current_within(&self, longest: Duration) -> Result<(), String> {
        let newest = self.made();
        let what = format!("every process has edit {newest}");
        self.until(longest + noise(), &what, || self.processes.iter().all(|process| process.newest() >= newest)).await
    }

    /// Waits until every process says that its rules may be old.
    pub(crate) async fn is_stale_within(&self, longest: Duration) -> Result<(), String> {
        let is_stale = |process: &Process| matches!(process.source.status().freshness, Freshness::StaleSince(_));
        self.until(longest, "every process says that it is stale", || self.processes.iter().all(is_stale)).await
    }

    /// Waits until every process says that its rules are current.
    pub(crate) async fn is_fresh_within(&self, longest: Duration) -> Result<(), String> {
        let is_fresh = |process: &Process| process.source.status().freshness == Freshness::Fresh;
        self.until(longest, "every process says that it is fresh", || self.processes.iter().all(is_fresh)).await
    }

    async fn until(&self, longest: Duration, what: &str, is_so: impl Fn() -> bool) -> Result<(), String> {
        let start = Instant::now();
        while !is_so() {
            if start.elapsed() > longest {
                let newest: Vec<u64> = self.processes.iter().map(Process::newest).collect();
                let states: Vec<_> = self.processes.iter().map(|process| process.source.status()).collect();
                let states: Vec<_> = states.iter().map(|status| (status.freshness, &status.last_error)).collect();
                let made = self.made();
                return Err(format!("not within {longest:?}: {what}; made {made}, seen {newest:?}, {states:?}"));
            }
            sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    /// Ends everything, and says what was not as it should be.
    pub(crate) async fn end(self) -> Result<(), String> {
        // A last edit may be under way.
        self.editor.state.is_paused.store(true, Ordering::Relaxed);
        let is_idle = || self.editor.state.is_idle.load(Ordering::Relaxed);
        self.until(Duration::from_secs(30), "the editor ends", is_idle).await?;
        self.is_current_within(SOON).await?;
        self.editor.editing.abort();
        for process in &self.processes {
            if process.asking.is_finished() {
                return Err("a request got no answer".to_owned());
            }
            process.asking.abort();
        }
        let outcomes = std::mem::take(&mut *self.editor.state.outcomes.lock().unwrap());
        if !outcomes.wrong.is_empty() {
            return Err(format!("edits failed: {:?}", outcomes.wrong));
        }

        // What was made, by the history: each of the acknowledged edits once, and nothing that nobody made.
        let checked = self.store.verify_history().await.map_err(|error| error.to_string())?;
        checked.map_err(|broken| broken.to_string())?;
        let mut recorded = Vec::new();
        let mut page = HistoryPage::newest().limit(1000);
        loop {
            let entries = self.store.history(&page).await.map_err(|error| error.to_string())?;
            let Some(last) = entries.last() else { break };
            page = page.before(last.number);
            recorded.extend(entries.iter().filter_map(|entry| number(entry.after.as_deref()?)));
        }
        let held: BTreeSet<u64> = recorded.iter().copied().collect();
        if held.len() != recorded.len() {
            return Err(format!("{} edits are in the history twice", recorded.len() - held.len()));
        }
        let lost: Vec<_> = outcomes.made.difference(&held).collect();
        let invented = held.iter().filter(|number| **number > 0 && !outcomes.made.contains(number));
        let invented: Vec<_> = invented.filter(|number| !outcomes.in_doubt.contains(number)).collect();
        if !lost.is_empty() || !invented.is_empty() {
            return Err(format!("acknowledged and lost: {lost:?}; made and denied: {invented:?}"));
        }

        for process in &self.processes {
            let wrong = process.seen.wrong.lock().unwrap();
            if !wrong.is_empty() {
                return Err(format!("{} answers were wrong, as {:?}", wrong.len(), &wrong[..wrong.len().min(5)]));
            }
            let seen = process.seen.all.lock().unwrap();
            // An edit in doubt may have been read before a killed server lost it. What is neither made nor in doubt was
            // never to be seen.
            let never: Vec<_> = seen.difference(&held).filter(|number| !outcomes.in_doubt.contains(number)).collect();
            if !never.is_empty() {
                return Err(format!("answers that no edit has made: {never:?}; in doubt {:?}", outcomes.in_doubt));
            }
        }
        let requests = self.processes.iter().map(|process| process.seen.requests.load(Ordering::Relaxed));
        let (made, in_doubt) = (outcomes.made.len(), outcomes.in_doubt.len());
        let (name, requests) = (self.store.name(), requests.sum::<u64>());
        println!("{name}: {made} edits acknowledged, {in_doubt} in doubt, {requests} requests: all well");
        Ok(())
    }
}
