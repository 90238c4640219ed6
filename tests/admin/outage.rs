//! Switching off while the store is away.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tower_flags::admin::Admin;
use tower_flags::engine::Query;
use tower_flags::source::{Layered, Live, Source};
use tower_flags::store::{
    Author, BoxFuture, Capabilities, Change, Commit, Error, ErrorKind, Feed, FeedContent, HistoryEntry, HistoryPage,
    MemoryStore, Notices, Store, StoreExt, Stored,
};
use tower_flags::{Context, Timestamp};

use super::api::{Api, json, problem, problem as problem_of, tokens};

/// A store that can be down, silent, or forgetful of its answers, and that others write past us.
#[derive(Clone, Default)]
pub(crate) struct Shaky {
    pub(crate) store: MemoryStore,
    fate: Arc<AtomicU8>,
    /// How often single flags were asked for.
    pub(crate) reads: Arc<AtomicU32>,
    /// How often something was to be written.
    pub(crate) commits: Arc<AtomicU32>,
    /// How often everything was loaded.
    pub(crate) loads: Arc<AtomicU32>,
    /// How often everything can still be loaded, where that is said.
    loads_left: Arc<Mutex<Option<u32>>>,
    /// Texts that were written past the store's own counting.
    past: Arc<Mutex<Vec<(String, String)>>>,
    /// A flag that is lost.
    lost: Arc<Mutex<Option<String>>>,
    /// Whether it is back as soon as somebody has looked for it.
    comes_back: Arc<AtomicBool>,
    /// Whether it is loaded as seldom as stores are by default.
    is_slow: bool,
}

pub(crate) const UP: u8 = 0;
/// Nothing can be read or written.
pub(crate) const DOWN: u8 = 1;
/// Nothing is answered.
pub(crate) const SILENT: u8 = 2;
/// Commits are made and not answered; the rest works.
pub(crate) const MUTE: u8 = 3;
/// Commits are rejected, as by a server that is out of memory; the rest works.
pub(crate) const FULL: u8 = 4;
/// Commits are rejected until somebody changes the set-up; the rest works.
pub(crate) const READ_ONLY: u8 = 5;

impl Shaky {
    pub(crate) fn is(&self, fate: u8) {
        self.fate.store(fate, Ordering::SeqCst);
    }

    pub(crate) fn write_past(&self, flag: &str, text: &str) {
        self.past.lock().unwrap().push((flag.to_owned(), text.to_owned()));
    }

    /// Loses a flag, and tells so by an edit of another one.
    async fn loses(&self, flag: &str, source: &Live) {
        *self.lost.lock().unwrap() = Some(flag.to_owned());
        self.store.change("another", Change::put_text("true"), &Author::new("setup")).await.unwrap();
        until(async || source.missing().len() == 1).await;
    }

    async fn gate(&self) -> Result<(), Error> {
        match self.fate.load(Ordering::SeqCst) {
            DOWN => Err(Error::new(ErrorKind::Unavailable, "the store is down")),
            SILENT => std::future::pending().await,
            _ => Ok(()),
        }
    }
}

impl Feed for Shaky {
    fn name(&self) -> &str {
        "shaky"
    }

    fn load<'a>(&'a self, known: Option<&'a str>) -> BoxFuture<'a, Result<Option<FeedContent>, Error>> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            self.gate().await?;
            if let Some(left) = &mut *self.loads_left.lock().unwrap() {
                *left = left.checked_sub(1).ok_or_else(|| Error::new(ErrorKind::Unavailable, "no more loads"))?;
            }
            let mut loaded = self.store.load(known).await?.map(FeedContent::records_removals);
            if let (Some(loaded), Some(lost)) = (&mut loaded, &*self.lost.lock().unwrap()) {
                loaded.document.remove(lost);
            }
            Ok(loaded)
        })
    }

    fn subscribe(&self) -> BoxFuture<'_, Result<Box<dyn Notices>, Error>> {
        Box::pin(async move {
            self.gate().await?;
            self.store.subscribe().await
        })
    }

    fn resync_every(&self) -> Duration {
        if self.is_slow { self.store.resync_every() } else { Duration::from_millis(50) }
    }
}

impl Store for Shaky {
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    fn read<'a>(&'a self, flag: &'a str) -> BoxFuture<'a, Result<Stored, Error>> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            self.gate().await?;
            let mut stored = self.store.read(flag).await?;
            let past = self.past.lock().unwrap();
            if let Some((_, text)) = past.iter().rfind(|(name, _)| name == flag) {
                stored.definition = Some(text.clone());
            }
            if self.lost.lock().unwrap().as_deref() == Some(flag) {
                stored.definition = None;
                if self.comes_back.load(Ordering::SeqCst) {
                    *self.lost.lock().unwrap() = None;
                }
            }
            Ok(stored)
        })
    }

    fn commit<'a>(&'a self, commit: &'a Commit) -> BoxFuture<'a, Result<bool, Error>> {
        self.commits.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            self.gate().await?;
            match self.fate.load(Ordering::SeqCst) {
                FULL => return Err(Error::rejected("shaky", "the server is out of memory")),
                READ_ONLY => return Err(Error::rejected("shaky", "the server is read-only").permanent()),
                _ => {}
            }
            let mut commit = commit.clone();
            let is_past = self.past.lock().unwrap().iter().any(|(name, _)| *name == commit.flag);
            if is_past {
                commit.expected.definition = self.store.read(&commit.flag).await?.definition;
            }
            let is_made = self.store.commit(&commit).await?;
            self.past.lock().unwrap().retain(|(name, _)| !is_made || *name != commit.flag);
            if self.fate.load(Ordering::SeqCst) == MUTE {
                std::future::pending::<()>().await;
            }
            Ok(is_made)
        })
    }

    fn history<'a>(&'a self, page: &'a HistoryPage) -> BoxFuture<'a, Result<Vec<HistoryEntry>, Error>> {
        Box::pin(async move {
            self.gate().await?;
            self.store.history(page).await
        })
    }
}

pub(crate) fn is_on(source: &Live, name: &str) -> bool {
    let flags = source.answer(&Query::new(&Context::user("u"), Timestamp::MIN));
    flags.is_enabled(name)
}

pub(crate) async fn until(condition: impl AsyncFn() -> bool) {
    let start = std::time::Instant::now();
    while !condition().await {
        assert!(start.elapsed().as_secs() < 30, "not in 30 s");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn shaky(flags: &[(&str, &str)]) -> (Api, Shaky) {
    let store = Shaky::default();
    for (name, text) in flags {
        store.store.change(*name, Change::put_text(*text), &Author::new("setup")).await.unwrap();
    }
    (Api::over(store.clone()).await, store)
}

#[tokio::test]
async fn a_kill_is_in_force_here_and_written_when_the_store_is_back() {
    for fate in [DOWN, SILENT] {
        let (api, store) = shaky(&[("a", "true"), ("b", "true")]).await;
        store.is(fate);
        let patch = api.ask("PATCH", "flags/a?reason=INC-17", &[], r#"{"enabled": false, "owner": "x"}"#).await;
        let body = json(&patch);
        assert_eq!(patch.status, 202, "{body}");
        assert_eq!((&body["stored"], &body["scope"]), (&json!(false), &json!("this process")));
        assert_eq!((&body["in_doubt"], &body["not_taken"]), (&json!(false), &json!(["owner"])));
        assert_eq!((&body["local_kill"]["by"], &body["local_kill"]["question"]), (&json!("alice"), &json!(false)));
        assert!(!is_on(&api.source, "a") && is_on(&api.source, "b"));
        assert_eq!(api.ask("POST", "flags/b/kill", &[], "").await.status, 202);
        assert!(!is_on(&api.source, "b"));
        let shown = api.get("flags/a").await;
        assert_eq!((&shown["from"], &shown["in_force"]["enabled"]), (&json!("this process"), &json!(false)));
        assert_eq!(shown["problems"], json!([]), "the kill is told by itself");
        assert_eq!(api.get("flags").await["from"], "this process");
        assert_eq!(api.get("status").await["local_kills"].as_array().unwrap().len(), 2);
        // What is no kill is not taken.
        let reply = api.ask("PATCH", "flags/a", &[], r#"{"percentage": 5}"#).await;
        assert_eq!((reply.status, problem(&reply).as_str()), (503, "store-unavailable"));

        store.is(UP);
        until(async || api.source.local_kills().is_empty()).await;
        assert!(!is_on(&api.source, "a") && !is_on(&api.source, "b"));
        let entry = store.history(&HistoryPage::newest().of("a")).await.unwrap().remove(0);
        assert_eq!((entry.actor.as_deref(), entry.reason.as_deref()), (Some("alice"), Some("INC-17")));
        assert_eq!(entry.version, 2, "once");
    }
}

#[tokio::test]
async fn a_kill_of_a_flag_that_was_edited_meanwhile_is_a_question() {
    let (api, store) = shaky(&[("a", "true"), ("b", "true")]).await;
    store.is(DOWN);
    for flag in ["a", "b"] {
        assert_eq!(api.ask("POST", &format!("flags/{flag}/kill"), &[], "").await.status, 202);
        // Somebody else still reaches it.
        store.store.change(flag, Change::put_text(r#"{"percentage":7}"#), &Author::new("carol")).await.unwrap();
    }
    store.is(UP);
    until(async || api.source.status().revision == store.store.read("").await.unwrap().head.number.to_string()).await;
    until(async || api.get("flags/a").await["local_kill"]["question"] == true).await;
    assert!(!is_on(&api.source, "a"), "and off until somebody says");
    // Longer than it takes to write what is no question.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(store.read("a").await.unwrap().version, 2, "nothing is written");
    let kills = api.get("status").await["local_kills"].clone();
    assert!(kills.as_array().unwrap().iter().all(|kill| kill["question"] == true), "{kills}");

    let reply = api.ask("POST", "flags/a/kill", &[], "").await;
    assert_eq!((reply.status, &json(&reply)["flag"]["enabled"]), (200, &json!(false)));
    assert_eq!(api.ask("POST", "flags/b/forget-kill", &[], "").await.status, 200);
    until(async || api.source.local_kills().is_empty()).await;
    assert!(!is_on(&api.source, "a"));
    assert_eq!(api.get("flags/b").await["in_force"]["percentage"], 7);
    assert_eq!(api.get("flags/b").await["in_force"]["enabled"], true);
    assert_eq!(problem(&api.ask("POST", "flags/b/forget-kill", &[], "").await), "no-local-kill");
}

#[tokio::test]
async fn a_restore_answers_the_question_too() {
    let (api, store) = shaky(&[("a", "true")]).await;
    store.is(DOWN);
    assert_eq!(api.ask("POST", "flags/a/kill", &[], "").await.status, 202);
    store.store.change("a", Change::put_text(r#"{"percentage":100}"#), &Author::new("carol")).await.unwrap();
    store.is(UP);
    until(async || api.get("flags/a").await["local_kill"]["question"] == true).await;
    let reply = json(&api.ask("POST", "flags/a/restore", &[], "").await);
    assert_eq!((&reply["in_force"]["enabled"], &reply["local_kill"]), (&json!(true), &json!(null)), "{reply}");
    assert!(is_on(&api.source, "a"));
}

#[tokio::test]
async fn what_nobody_knows_is_said_to_be_in_doubt() {
    let (api, store) = shaky(&[("a", "true"), ("b", "true")]).await;
    store.is(MUTE);
    let kill = api.ask("POST", "flags/a/kill", &[], "").await;
    assert_eq!((kill.status, &json(&kill)["in_doubt"]), (202, &json!(true)), "{}", kill.text());
    assert!(!is_on(&api.source, "a"));
    let reply = api.ask("PATCH", "flags/b", &[], r#"{"percentage": 5}"#).await;
    assert_eq!((reply.status, problem(&reply).as_str()), (503, "in-doubt"));
    assert!(json(&reply)["detail"].as_str().unwrap().contains("history"), "{}", reply.text());
    store.is(UP);
    until(async || api.source.local_kills().is_empty()).await;
    assert_eq!(store.read("a").await.unwrap().version, 2, "it was made once");
    assert!(store.verify_history().await.unwrap().is_ok());
}

#[tokio::test]
async fn a_slow_store_does_not_hold_up_a_kill() {
    let (api, store) = shaky(&[("a", "true")]).await;
    store.is(SILENT);
    let asking = tokio::spawn({
        let api = api.clone();
        async move { api.ask("POST", "flags/a/kill", &[], "").await.status }
    });
    let start = std::time::Instant::now();
    until(async || !is_on(&api.source, "a")).await;
    assert!(start.elapsed() < Duration::from_millis(1500), "{:?}", start.elapsed());
    // It answers after all, before the time is over.
    assert!(!asking.is_finished());
    assert_eq!(asking.await.unwrap(), 202);
}

#[cfg(feature = "file")]
#[tokio::test]
async fn a_kill_that_waits_outlives_a_restart() {
    let store = Shaky::default();
    store.store.change("a", Change::put_text("true"), &Author::new("setup")).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let start = async || {
        let source = Live::builder(store.clone()).backup(folder.path().join("backup")).connect().await.unwrap();
        Api::at("", Admin::new(store.clone(), source.clone(), tokens()).router(), source).await
    };
    let first = start().await;
    store.is(DOWN);
    assert_eq!(first.ask("POST", "flags/a/kill?reason=INC-17", &[], "").await.status, 202);
    let second = start().await;
    assert!(!is_on(&second.source, "a"));
    assert_eq!(second.get("flags/a").await["local_kill"]["reason"], "INC-17");
    store.is(UP);
    until(async || second.source.local_kills().is_empty() && first.source.local_kills().is_empty()).await;
    let entries = store.history(&HistoryPage::newest()).await.unwrap();
    assert_eq!((entries.len(), entries[0].reason.as_deref()), (2, Some("INC-17")), "written once by one of them");
}

/// Another process keeps the lock: the file was certainly not changed, and the kill is written when it can be, once.
#[cfg(feature = "file")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_that_a_file_rejects_is_not_in_doubt_and_written_later() {
    use tower_flags::store::FileStore;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flags.json");
    let store = FileStore::create(&path).await.unwrap();
    store.change("a", Change::put_text("true"), &Author::new("setup")).await.unwrap();
    store.change("b", Change::put_text("true"), &Author::new("setup")).await.unwrap();
    let api = Api::over(store.clone()).await;
    let lock = std::fs::File::open(folder.path().join("flags.json.lock")).unwrap();
    lock.lock().unwrap();
    let history = folder.path().join("flags.json.history");
    let before = std::fs::read(&history).unwrap();
    let answer = api.ask("POST", "flags/a/kill", &[], "").await;
    let body = json(&answer);
    assert_eq!((answer.status, &body["in_doubt"]), (202, &json!(false)), "{body}");
    assert!(body["error"].as_str().unwrap().contains("nothing was changed, because another process"), "{body}");
    assert!(!is_on(&api.source, "a"));
    let patch = api.ask("PATCH", "flags/b", &[], r#"{"percentage": 5}"#).await;
    assert_eq!((patch.status, problem(&patch).as_str()), (503, "store-rejected"), "{}", patch.text());
    assert_eq!(json(&patch)["permanent"], false);
    assert_eq!(std::fs::read(&history).unwrap(), before, "no line for what was not made");
    lock.unlock().unwrap();
    until(async || api.source.local_kills().is_empty()).await;
    assert_eq!(store.read("a").await.unwrap().version, 2, "once");
    assert!(store.verify_history().await.unwrap().is_ok());
}

/// A backup file that cannot be written, one that can, and none: the answer to a kill and the status say which it is.
#[cfg(feature = "file")]
#[tokio::test]
async fn the_answer_to_a_kill_says_whether_it_survives_a_restart() {
    let store = Shaky::default();
    store.store.change("a", Change::put_text("true"), &Author::new("setup")).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let backup = folder.path().join("missing/backup");
    let start = async |backup: Option<&std::path::Path>| {
        let builder = Live::builder(store.clone());
        let builder = if let Some(path) = backup { builder.backup(path) } else { builder };
        let source = builder.connect().await.unwrap();
        Api::at("", Admin::new(store.clone(), source.clone(), tokens()).router(), source).await
    };
    let (kept, without) = (start(Some(&backup)).await, start(None).await);
    store.is(DOWN);
    let kill = async |api: &Api| json(&api.ask("POST", "flags/a/kill", &[], "").await);
    let path = backup.display().to_string();
    for (api, because) in [(&kept, &*path), (&without, "no backup file")] {
        let answer = kill(api).await;
        let warning = answer["warning"].as_str().unwrap();
        assert!(warning.contains("does not survive a restart") && warning.contains(because), "{warning}");
        assert_eq!(answer["local_kill"]["survives_restart"], false, "{answer}");
    }
    let problems = kept.get("status").await["source"]["problems"].to_string();
    assert!(problems.contains(&path), "{problems}");

    // As soon as the file can be written, also while the store is still away.
    std::fs::create_dir(folder.path().join("missing")).unwrap();
    until(async || kept.get("status").await["local_kills"][0]["survives_restart"] == true).await;
    let problems = kept.get("status").await["source"]["problems"].to_string();
    assert!(!problems.contains(&path), "{problems}");
    let answer = kill(&kept).await;
    assert_eq!((&answer["warning"], &answer["local_kill"]["survives_restart"]), (&json!(null), &json!(true)));
    drop(kept);
    assert!(!is_on(&start(Some(&backup)).await.source, "a"));
}

#[tokio::test]
async fn the_task_that_writes_kills_ends_with_the_router() {
    let store = Shaky::default();
    store.store.change("a", Change::put_text("true"), &Author::new("setup")).await.unwrap();
    let source = Live::connect(store.clone()).await.unwrap();
    let held = Arc::new(store.clone());
    let shared: Arc<dyn Store> = held.clone();
    let router = Admin::new(shared, source, tokens()).router();
    tokio::task::yield_now().await;
    assert_eq!(Arc::strong_count(&held), 2);
    drop(router);
    until(async || Arc::strong_count(&held) == 1).await;
}

#[tokio::test]
async fn a_kill_that_the_store_rejects_is_not_in_doubt_and_says_whether_it_can_be_written_later() {
    for (fate, because, is_permanent) in [(FULL, "out of memory", false), (READ_ONLY, "read-only", true)] {
        let (api, store) = shaky(&[("a", "true"), ("b", "true")]).await;
        store.is(fate);
        let killed = json(&api.ask("POST", "flags/a/kill?reason=INC-17", &[], "").await);
        let error = killed["error"].as_str().unwrap();
        assert!(error.contains("nothing was changed, because") && error.contains(because), "{killed}");
        assert_eq!((&killed["in_doubt"], &killed["permanent"]), (&json!(false), &json!(is_permanent)), "{killed}");
        assert!(!is_on(&api.source, "a"));
        // In the list of kills, and in the status that health endpoints show.
        let waits = api.get("status").await["local_kills"][0].clone();
        assert_eq!((&waits["error"], &waits["permanent"]), (&json!(error), &json!(is_permanent)), "{waits}");
        let problem = api.source.status().problems[0].to_string();
        let layered = Layered::over(api.source.clone()).status().problems[0].to_string();
        assert!(layered.ends_with(problem.split_once("; ").unwrap().1), "{layered}, not as {problem}");
        assert!(problem.contains(because), "{problem}");
        assert_eq!(problem.contains("does not go away by itself"), is_permanent, "{problem}");
        // What is no kill is an answer of its own.
        let reply = api.ask("PATCH", "flags/b", &[], r#"{"percentage": 5}"#).await;
        assert_eq!((reply.status, problem_of(&reply).as_str()), (503, "store-rejected"));
        assert_eq!(json(&reply)["permanent"], is_permanent);
        assert_eq!(store.read("b").await.unwrap().version, 1);

        store.is(UP);
        // An edit that is made tells that the kill can be.
        assert_eq!(api.ask("PATCH", "flags/b", &[], r#"{"percentage": 5}"#).await.status, 200);
        until(async || api.source.local_kills().is_empty()).await;
        let entry = store.history(&HistoryPage::newest().of("a")).await.unwrap().remove(0);
        assert_eq!((entry.version, entry.reason.as_deref()), (2, Some("INC-17")));
    }
}

#[tokio::test]
async fn an_edit_that_never_got_to_the_store_says_that_nothing_was_changed() {
    for fate in [DOWN, SILENT, FULL] {
        let (api, store) = shaky(&[("a", "true")]).await;
        let etag = api.etag("a").await;
        store.is(fate);
        for (method, path, body) in [
            ("PATCH", "flags/a", r#"{"percentage": 5}"#),
            ("POST", "flags/a/rollout/start", r#"{"stages": [{"percentage": 100}]}"#),
            ("POST", "flags/a/restore", ""),
        ] {
            let reply = json(&api.ask(method, path, &[("if-match", &etag)], body).await);
            let detail = reply["detail"].as_str().unwrap();
            assert!(detail.contains("nothing was changed, because"), "{method} {path}: {detail}");
        }
        assert_eq!(store.store.read("a").await.unwrap().version, 1);
    }
}

/// How often a kill that waits is tried to be written in two minutes.
async fn attempts_in_two_minutes(fate: u8) -> u32 {
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    let store = Shaky::default();
    store.store.change("a", Change::put_text("true"), &Author::new("setup")).await.unwrap();
    let source = Live::connect(store.clone()).await.unwrap();
    let router = Admin::new(store.clone(), source.clone(), tokens()).router();
    store.is(fate);
    let request =
        http::Request::post("/flags/a/kill").header("authorization", format!("Bearer {}", super::api::EDITOR));
    let reply = router.clone().oneshot(request.body(axum::body::Body::empty()).unwrap()).await.unwrap();
    assert_eq!(reply.status(), 202, "{:?}", reply.into_body().collect().await);
    let before = store.commits.load(Ordering::SeqCst) + store.reads.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(120)).await;
    let attempts = store.commits.load(Ordering::SeqCst) + store.reads.load(Ordering::SeqCst) - before;
    // And it is written soon after the store takes it.
    store.is(UP);
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert_eq!(source.local_kills(), []);
    attempts
}

#[tokio::test(start_paused = true)]
async fn a_kill_that_waits_keeps_the_waits_of_an_outage() {
    // Each attempt reads the flag three times and writes it once.
    let full = attempts_in_two_minutes(FULL).await;
    assert!((4..80).contains(&full), "{full} while the store is full");
    let read_only = attempts_in_two_minutes(READ_ONLY).await;
    assert!((4..48).contains(&read_only), "{read_only} while the store is read-only");
    // There the first read fails.
    let down = attempts_in_two_minutes(DOWN).await;
    assert!((1..20).contains(&down), "{down} while the store is down");
}

async fn slow(flags: &[&str]) -> (Shaky, Live) {
    let store = Shaky { is_slow: true, ..Shaky::default() };
    for name in flags {
        store.store.change(*name, Change::put_text("true"), &Author::new("setup")).await.unwrap();
    }
    let source = Live::connect(store.clone()).await.unwrap();
    (store, source)
}

#[tokio::test(start_paused = true)]
async fn a_kill_that_waits_for_a_person_asks_nothing_of_the_store_but_at_the_pace_of_resyncs() {
    for is_lost in [true, false] {
        let (store, source) = slow(&["a", "b", "c"]).await;
        let router = Admin::new(store.clone(), source.clone(), tokens()).router();
        if is_lost {
            store.loses("a", &source).await;
        }
        source.kill_here("a", &Author::new("alice")).await.unwrap();
        if !is_lost {
            let share = Change::put_text(r#"{"percentage": 100}"#);
            store.store.change("a", share, &Author::new("bob")).await.unwrap();
        }
        let before = (store.loads.load(Ordering::SeqCst), store.reads.load(Ordering::SeqCst));
        tokio::time::sleep(Duration::from_secs(300)).await;
        let loads = store.loads.load(Ordering::SeqCst) - before.0;
        let reads = store.reads.load(Ordering::SeqCst) - before.1;
        // Every 30 s, by the source itself and by the writer of kills.
        assert!((9..=13).contains(&loads) && (8..=13).contains(&reads), "lost: {is_lost}, {loads} and {reads}");
        assert!(!is_on(&source, "a"));

        // Another kill is written at once, and so is this one where somebody else brings the flag back.
        source.kill_here("b", &Author::new("alice")).await.unwrap();
        if is_lost {
            *store.lost.lock().unwrap() = None;
            store.store.change("c", Change::kill(), &Author::new("bob")).await.unwrap();
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
        let waiting: Vec<String> = source.local_kills().into_iter().map(|kill| kill.flag).collect();
        assert_eq!(waiting, if is_lost { vec![] } else { vec!["a"] });
        drop(router);
    }
}

#[tokio::test]
async fn a_kill_of_a_lost_flag_is_in_force_and_said_to_be_though_the_store_cannot_be_read_any_more() {
    for path in ["flags/a/kill", "flags/a/kill?write_back=true"] {
        let (store, source) = slow(&["a", "b"]).await;
        let router = Admin::new(store.clone(), source.clone(), tokens()).router();
        let api = Api::at("", router, source).await;
        store.loses("a", &api.source).await;
        *store.loads_left.lock().unwrap() = Some(1);
        let killed = api.ask("POST", path, &[], "").await;
        let body = json(&killed);
        assert_eq!((killed.status, &body["stored"], &body["changed"]), (202, &json!(false), &json!(true)), "{body}");
        assert_eq!(body["local_kill"]["by"], "alice", "{body}");
        assert!(api.source.local_kills().len() == 1 && !is_on(&api.source, "a"));
    }
}

/// A flag that is lost, and back between the look for it and the look for what is missing.
async fn coming_back() -> (Shaky, Api) {
    let store = Shaky { is_slow: true, ..Shaky::default() };
    store.store.change("a", Change::put_text("true"), &Author::new("setup")).await.unwrap();
    let api = Api::over(store.clone()).await;
    store.loses("a", &api.source).await;
    store.comes_back.store(true, Ordering::SeqCst);
    (store, api)
}

#[tokio::test]
async fn a_lost_flag_that_comes_back_between_two_looks_is_shown() {
    let (_store, api) = coming_back().await;
    let reply = api.ask("GET", "flags/a", &[], "").await;
    assert_eq!((reply.status, &json(&reply)["from"], &json(&reply)["missing"]), (200, &json!("store"), &Value::Null));
}

#[tokio::test]
async fn a_lost_flag_that_comes_back_between_two_looks_is_killed() {
    let (store, api) = coming_back().await;
    let reply = api.ask("POST", "flags/a/kill", &[], "").await;
    assert_eq!((reply.status, &json(&reply)["flag"]["enabled"]), (200, &json!(false)), "{}", reply.text());
    let stored = store.store.read("a").await.unwrap().definition;
    assert_eq!(stored.as_deref(), Some(r#"{"enabled":false,"percentage":100}"#));
}
