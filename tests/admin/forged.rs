//! What somebody writes into the history past the API shows: on its page, in the status, in the log, and in the check of all
//! of it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use tower::ServiceExt;
use tower_flags::admin::Admin;
use tower_flags::document::Timestamp;
use tower_flags::source::Live;
use tower_flags::store::{
    Author, BoxFuture, Capabilities, Change, Commit, Error, Feed, FeedContent, Head, HistoryEntry, HistoryKeys,
    HistoryPage, MemoryStore, Notices, SqliteStore, Store, StoreExt, Stored,
};

use super::api::{Api, EDITOR, json, problem, tokens};
use super::kept_off::Deaf;
use super::outage::until;
use super::support::Log;

fn keys() -> HistoryKeys {
    "2026a:6f0e5c1f4b7d4a0f9c3b2e1d0a9f8e7d".parse().unwrap()
}

/// A store, and somebody who writes it by its own tools.
enum Target {
    Sqlite(tempfile::TempDir),
    #[cfg(feature = "file")]
    File(tempfile::TempDir),
    #[cfg(feature = "postgres")]
    Postgres(super::servers::Postgres, String),
    #[cfg(feature = "redis")]
    Redis(super::servers::Redis),
}

#[cfg(feature = "redis")]
const STREAM: &[u8] = b"tower-flags:{ff:}:history";

fn quoted(text: Option<&String>) -> String {
    text.map_or_else(|| "NULL".to_owned(), |text| format!("'{}'", text.replace('\'', "''")))
}

impl Target {
    fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().unwrap())
    }

    #[cfg(feature = "file")]
    fn file() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("flags.json"), r#"{"flags": {}}"#).unwrap();
        Self::File(folder)
    }

    #[cfg(feature = "postgres")]
    fn postgres() -> Self {
        let server = super::servers::Postgres::start();
        let url = server.fresh();
        Self::Postgres(server, url)
    }

    fn is_named(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "sqlite",
            #[cfg(feature = "file")]
            Self::File(_) => "file",
            #[cfg(feature = "postgres")]
            Self::Postgres(..) => "postgres",
            #[cfg(feature = "redis")]
            Self::Redis(_) => "redis",
        }
    }

    /// As another process opens it.
    fn open(&self, keys: Option<HistoryKeys>) -> Arc<dyn Store> {
        macro_rules! with {
            ($store:expr) => {{
                let store = $store;
                match keys {
                    Some(keys) => Arc::new(store.with_history_keys(keys)),
                    None => Arc::new(store),
                }
            }};
        }
        match self {
            Self::Sqlite(_) => with!(SqliteStore::at(self.path())),
            #[cfg(feature = "file")]
            Self::File(_) => with!(tower_flags::store::FileStore::new(self.path()).unwrap()),
            #[cfg(feature = "postgres")]
            Self::Postgres(_, url) => with!(tower_flags::store::PostgresStore::new(url).unwrap()),
            #[cfg(feature = "redis")]
            Self::Redis(server) => {
                let builder = tower_flags::store::RedisStore::builder(&server.url());
                Arc::new(keys.into_iter().fold(builder, |builder, keys| builder.history_keys(keys)).build().unwrap())
            }
        }
    }

    fn path(&self) -> PathBuf {
        match self {
            Self::Sqlite(folder) => folder.path().join("flags.db"),
            #[cfg(feature = "file")]
            Self::File(folder) => folder.path().join("flags.json"),
            #[cfg(any(feature = "postgres", feature = "redis"))]
            _ => unreachable!("servers have no path"),
        }
    }

    async fn sql(&self, statements: &str) {
        match self {
            Self::Sqlite(_) => {
                let options = sqlx::sqlite::SqliteConnectOptions::new().filename(self.path());
                let mut theirs = options.connect().await.unwrap();
                sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut theirs).await.unwrap();
                theirs.close().await.unwrap();
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(server, url) => drop(server.sql(url, statements)),
            #[cfg(any(feature = "file", feature = "redis"))]
            _ => unreachable!("no SQL"),
        }
    }

    /// Puts these entries, oldest first, in place of the history.
    async fn rewrite(&self, entries: &[HistoryEntry], head: &Head) {
        match self {
            #[cfg(feature = "file")]
            Self::File(_) => self.rewrite_file(entries, head),
            #[cfg(feature = "redis")]
            Self::Redis(server) => {
                server.command(&[b"DEL", STREAM]);
                for entry in entries {
                    let (id, text) = (format!("{}-0", entry.number), serde_json::to_string(entry).unwrap());
                    server.command(&[b"XADD", STREAM, id.as_bytes(), b"entry", text.as_bytes()]);
                }
                let text = format!("{} {}", head.number, head.digest);
                server.command(&[b"SET", b"tower-flags:{ff:}:head", text.as_bytes()]);
            }
            _ => {
                let mut statements = "DELETE FROM tower_flags_history;".to_owned();
                for entry in entries {
                    let HistoryEntry { number, flag, version, at, .. } = entry;
                    let (actor, reason) = (quoted(entry.actor.as_ref()), quoted(entry.reason.as_ref()));
                    let (before, after) = (quoted(entry.before.as_ref()), quoted(entry.after.as_ref()));
                    let at = at.unix_millis();
                    statements += &format!(
                        "INSERT INTO tower_flags_history \
                         (number, flag, version, at, actor, reason, before, after, previous) VALUES \
                         ({number}, '{flag}', {version}, {at}, {actor}, {reason}, {before}, {after}, '{}');",
                        entry.previous
                    );
                }
                let Head { number, digest, .. } = head;
                statements += &format!("UPDATE tower_flags_head SET number = {number}, digest = '{digest}';");
                self.sql(&statements).await;
            }
        }
    }

    #[cfg(feature = "file")]
    fn rewrite_file(&self, entries: &[HistoryEntry], head: &Head) {
        let path = self.path().with_extension("json.history");
        let kept = path.with_extension("kept");
        if !kept.exists() {
            std::fs::copy(&path, &kept).unwrap();
        }
        let lines = std::fs::read_to_string(kept).unwrap();
        let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let mut text = String::new();
        for (at, entry) in entries.iter().enumerate() {
            let is_its = |line: &&Value| line["edit"]["entries"][0]["number"] == entry.number;
            let mut line = lines.iter().find(is_its).unwrap().clone();
            let digest = entries.get(at + 1).map_or(&head.digest, |next| &next.previous);
            line["edit"]["entries"][0] = json!(entry);
            line["edit"]["digest"] = json!(digest);
            text += &format!("{line}\n{}\n", json!({"applied": {"number": entry.number, "digest": digest}}));
        }
        std::fs::write(path, text).unwrap();
    }
}

/// Six edits of two flags in turn, and what the store has of them, oldest first.
async fn filled(store: &Arc<dyn Store>) -> (Vec<HistoryEntry>, Head) {
    for number in 1..=6 {
        let flag = if number % 2 == 1 { "a" } else { "b" };
        let put = Change::put_text(format!(r#"{{"percentage": {number}}}"#));
        store.change(flag, put, &Author::new("alice").because("it's a test")).await.unwrap();
    }
    let mut entries = store.history(&HistoryPage::newest()).await.unwrap();
    entries.reverse();
    (entries, store.read("").await.unwrap().head)
}

/// Of a check of all of the history: how each break is called, and its entries.
async fn verified(api: &Api) -> Value {
    let answer = api.get("history/verify?fresh=true").await;
    assert_eq!((&answer["running"], &answer["error"]), (&json!(false), &Value::Null), "{answer}");
    let breaks = answer["verified"]["breaks"].as_array().unwrap();
    assert_eq!(answer["verified"]["broken"], breaks.len());
    breaks.iter().map(|one| json!([one["by"], one["number"], one["through"]])).collect()
}

/// The entries of a page that are not what was written.
async fn marked(api: &Api, path: &str) -> Vec<u64> {
    let page = api.get(path).await;
    let entries = page["entries"].as_array().unwrap().iter();
    entries.filter(|entry| entry["breaks"] != json!([])).map(|entry| entry["number"].as_u64().unwrap()).collect()
}

async fn reported(api: &Api) -> Vec<String> {
    let status = api.get("status").await;
    let problems = status["store"]["problems"].as_array().unwrap().iter();
    let ours = problems.filter(|problem| problem["expected"] == "a history as it was written");
    ours.map(|problem| problem["found"].as_str().unwrap().to_owned()).collect()
}

type Forge = fn(&mut Vec<HistoryEntry>);

/// What is done to the entries, what the check says, and which entries the page of all marks.
fn forgeries() -> [(&'static str, Forge, Value, &'static [u64]); 7] {
    let changed = |first: u64, last: u64| json!([["changed", first, last]]);
    [
        ("another actor", |entries| entries[2].actor = Some("mallory".to_owned()), changed(3, 3), &[3]),
        ("another time", |entries| entries[2].at = Timestamp::from_unix_millis(0), changed(3, 3), &[3]),
        ("another definition", |entries| entries[4].after = Some("true".to_owned()), changed(5, 5), &[5]),
        ("the newest entry", |entries| entries[5].reason = None, changed(6, 6), &[6]),
        ("no first entry", |entries| drop(entries.remove(0)), json!([["missing", 1, 1]]), &[2]),
        ("a missing entry", |entries| drop(entries.remove(2)), json!([["missing", 3, 3]]), &[4]),
        (
            "two in each other's place",
            |entries| {
                entries.swap(2, 3);
                (entries[2].number, entries[3].number) = (3, 4);
            },
            changed(2, 4),
            &[4, 3, 2],
        ),
    ]
}

/// Every forgery is found with a key and without, and is gone when the store is as it was.
async fn forgeries_are_found(target: Target, keys: Option<HistoryKeys>) {
    let log = Log::open();
    let store = target.open(keys.clone());
    let (entries, head) = filled(&store).await;
    let api = Api::over(Arc::clone(&store)).await;
    assert_eq!(verified(&api).await, json!([]));
    for (what, forge, found, marks) in forgeries() {
        let what = format!("{}: {what}", target.is_named());
        let mut forged = entries.clone();
        forge(&mut forged);
        // The head and the links are as they were.
        target.rewrite(&forged, &head).await;
        assert_eq!(marked(&api, "history").await, marks, "{what}");
        // The page has shown it before the check of all.
        assert!(!reported(&api).await.is_empty(), "{what}");
        let newest = marks[0];
        assert_eq!(marked(&api, &format!("history?limit=1&before={}", newest + 1)).await, [newest], "{what}: alone");
        if let [newest] = marks {
            let flag = if newest % 2 == 1 { "a" } else { "b" };
            // Of an entry that is missing, the one before it is marked, too, since its digest is nowhere.
            assert!(marked(&api, &format!("flags/{flag}/history")).await.contains(newest), "{what}: of its flag");
        }
        assert_eq!(verified(&api).await, found, "{what}");
        assert_eq!(reported(&api).await.len(), 1, "{what}");
        target.rewrite(&entries, &head).await;
        assert_eq!((verified(&api).await, reported(&api).await.len()), (json!([]), 0), "{what}: put back");
        assert_eq!(marked(&api, "history").await, [0; 0], "{what}: put back");
    }
    let logged = log.lines("tower_flags::security");
    assert!(logged.iter().all(|line| line.contains("ERROR")), "{logged:?}");
    let of_the_actor = logged.iter().filter(|line| line.contains("entry 3 of the history was changed"));
    // Once for the actor and once for the time: in between it was as it should be.
    assert_eq!(of_the_actor.count(), 2, "{logged:?}");
}

#[tokio::test]
async fn a_forged_entry_is_shown_as_broken_in_sqlite() {
    forgeries_are_found(Target::sqlite(), None).await;
    forgeries_are_found(Target::sqlite(), Some(keys())).await;
}

#[cfg(feature = "file")]
#[tokio::test]
async fn a_forged_entry_is_shown_as_broken_in_a_file() {
    forgeries_are_found(Target::file(), None).await;
    forgeries_are_found(Target::file(), Some(keys())).await;
}

#[cfg(feature = "postgres")]
#[tokio::test]
#[ignore = "needs PostgreSQL, which tests/run.sh installs"]
async fn a_forged_entry_is_shown_as_broken_in_postgresql() {
    forgeries_are_found(Target::postgres(), None).await;
    forgeries_are_found(Target::postgres(), Some(keys())).await;
}

#[cfg(feature = "redis")]
#[tokio::test]
#[ignore = "needs Redis, which tests/run.sh installs"]
async fn a_forged_entry_is_shown_as_broken_in_redis() {
    forgeries_are_found(Target::Redis(super::servers::Redis::start()), None).await;
    forgeries_are_found(Target::Redis(super::servers::Redis::start()), Some(keys())).await;
}

/// The case as it was reported: one statement, and then the page.
async fn an_actor_by_sql(target: Target) {
    let store = target.open(None);
    filled(&store).await;
    let api = Api::over(store).await;
    target.sql("UPDATE tower_flags_history SET actor = 'mallory' WHERE number = 2").await;
    let page = api.get("flags/b/history").await;
    let entry = &page["entries"][2];
    assert_eq!((&entry["number"], &entry["actor"]), (&json!(2), &json!("mallory")));
    let words = "entry 2 of the history was changed after it was written";
    assert_eq!(entry["breaks"], json!([{"number": 2, "through": 2, "by": "changed", "words": words}]));
    assert_eq!(reported(&api).await, [words]);
    // It is not gone back to, either.
    let refused = api.ask("POST", "flags/b/revert", &[], r#"{"to": 1}"#).await;
    assert_eq!((refused.status, problem(&refused).as_str()), (422, "refused"));
    assert!(json(&refused)["detail"].as_str().unwrap().starts_with(&format!("{words}: nothing was changed")));
    let lines = api.ask("GET", "history/export?format=jsonl", &[], "").await;
    let broken = lines.text().lines().filter(|line| line.contains(words));
    assert_eq!(broken.count(), 1);
    let csv = api.ask("GET", "history/export", &[], "").await;
    assert_eq!(csv.text().lines().filter(|line| line.ends_with(&format!("\"{words}\""))).count(), 1, "{}", csv.text());
}

#[tokio::test]
async fn an_actor_that_was_changed_by_sql_shows_in_sqlite() {
    an_actor_by_sql(Target::sqlite()).await;
}

#[cfg(feature = "postgres")]
#[tokio::test]
#[ignore = "needs PostgreSQL, which tests/run.sh installs"]
async fn an_actor_that_was_changed_by_sql_shows_in_postgresql() {
    an_actor_by_sql(Target::postgres()).await;
}

/// A whole chain after a changed entry, as it can be computed without a key.
fn computed_again(entries: &[HistoryEntry]) -> (Vec<HistoryEntry>, Head) {
    let mut entries = entries.to_vec();
    entries[2].actor = Some("mallory".to_owned());
    for at in 3..entries.len() {
        entries[at].previous = entries[at - 1].digest();
    }
    let head = Head::of(entries.last().unwrap());
    (entries, head)
}

/// What no look at the store alone can find: a process that has seen the history does, and the key.
async fn a_history_that_is_whole_is_not_believed(target: Target) {
    let what = target.is_named();
    let plain = target.open(None);
    let (entries, head) = filled(&plain).await;
    let api = Api::over(Arc::clone(&plain)).await;
    assert_eq!(verified(&api).await, json!([]));

    // The end is cut off.
    let (four, end) = (&entries[..4], Head::new(4, entries[4].previous.clone()));
    target.rewrite(four, &end).await;
    assert_eq!(verified(&Api::over(target.open(None)).await).await, json!([]), "{what}: it is a history");
    assert_eq!(verified(&api).await, json!([["cut-off", 5, 6]]), "{what}");
    assert_eq!(reported(&api).await.len(), 1, "{what}");
    // The chain is computed again.
    let (forged, end) = computed_again(&entries);
    target.rewrite(&forged, &end).await;
    assert_eq!(verified(&Api::over(target.open(None)).await).await, json!([]), "{what}: it is a chain");
    assert_eq!(verified(&api).await, json!([["replaced", 6, 6]]), "{what}");
    target.rewrite(&entries, &head).await;
    assert_eq!(verified(&api).await, json!([]), "{what}");

    // From here on there is a key. What was written before is protected by it, too.
    let keyed = target.open(Some(keys()));
    let by = Author::new("alice");
    keyed.change("a", Change::kill(), &by).await.unwrap();
    keyed.change("a", Change::restore(), &by).await.unwrap();
    let mut entries = keyed.history(&HistoryPage::newest()).await.unwrap();
    entries.reverse();
    let head = keyed.read("").await.unwrap().head;
    assert!(head.digest.starts_with("2026a:"), "{what}: {head:?}");
    let new = async || Api::over(target.open(Some(keys()))).await;
    let api = new().await;
    assert_eq!(verified(&api).await, json!([]), "{what}");
    assert_eq!(api.get("history/verify").await["verified"]["keyed_from"], 7, "{what}");
    assert_eq!(marked(&api, "history").await, [0; 0], "{what}");
    let (forged, end) = computed_again(&entries);
    target.rewrite(&forged, &end).await;
    // The digest of entry 7 is none of a key any more.
    assert_eq!(verified(&api).await, json!([["replaced", 8, 8], ["unkeyed", 7, 8]]), "{what}");
    let mut kept = forged.clone();
    (kept[6].previous, kept[7].previous) = (entries[6].previous.clone(), entries[7].previous.clone());
    target.rewrite(&kept, &head).await;
    assert_eq!(verified(&new().await).await, json!([["changed", 6, 6]]), "{what}: the key finds it");

    // Somebody without the key goes on where it ends.
    target.rewrite(&entries, &head).await;
    plain.change("b", Change::kill(), &Author::new("mallory")).await.unwrap();
    let api = new().await;
    assert_eq!(verified(&api).await, json!([["unkeyed", 9, 9]]), "{what}");
    assert_eq!(marked(&api, "history?limit=1").await, [9], "{what}");
    // A page on which no entry has a key is judged by the check of all, or by what is configured.
    plain.change("b", Change::restore(), &Author::new("mallory")).await.unwrap();
    assert_eq!(marked(&new().await, "history?limit=1").await, [0; 0], "{what}: it knows of no key");
    assert_eq!(marked(&api, "history?limit=1").await, [10], "{what}");
    let strict = Api::over(target.open(Some(keys().keyed_from(7)))).await;
    assert_eq!(marked(&strict, "history?limit=1").await, [10], "{what}");
    let lacks = Api::over(target.open(None)).await;
    assert_eq!(verified(&lacks).await, json!([["unkeyed", 9, 10], ["unknown-key", 7, 8]]), "{what}");
}

#[tokio::test]
async fn an_entry_after_the_head_is_found() {
    let target = Target::sqlite();
    let store = target.open(None);
    filled(&store).await;
    let api = Api::over(store).await;
    let copy = "SELECT 7, flag, version + 1, at, actor, reason, before, after, previous FROM tower_flags_history";
    target.sql(&format!("INSERT INTO tower_flags_history {copy} WHERE number = 6")).await;
    assert_eq!(verified(&api).await, json!([["head", 6, 6]]));
    assert_eq!(marked(&api, "history?limit=1").await, [7]);
}

#[tokio::test]
async fn a_history_that_was_computed_again_is_not_believed_in_sqlite() {
    a_history_that_is_whole_is_not_believed(Target::sqlite()).await;
}

#[cfg(feature = "postgres")]
#[tokio::test]
#[ignore = "needs PostgreSQL, which tests/run.sh installs"]
async fn a_history_that_was_computed_again_is_not_believed_in_postgresql() {
    a_history_that_is_whole_is_not_believed(Target::postgres()).await;
}

#[cfg(feature = "redis")]
#[tokio::test]
#[ignore = "needs Redis, which tests/run.sh installs"]
async fn a_history_that_was_computed_again_is_not_believed_in_redis() {
    a_history_that_is_whole_is_not_believed(Target::Redis(super::servers::Redis::start())).await;
}

/// A store in memory that counts checks of the whole history, and holds them up.
#[derive(Clone, Debug, Default)]
struct Watched {
    store: MemoryStore,
    checks: Arc<AtomicUsize>,
    holds: Arc<tokio::sync::RwLock<()>>,
}

impl Feed for Watched {
    fn name(&self) -> &str {
        self.store.name()
    }

    fn load<'a>(&'a self, known: Option<&'a str>) -> BoxFuture<'a, Result<Option<FeedContent>, Error>> {
        self.store.load(known)
    }

    fn subscribe(&self) -> BoxFuture<'_, Result<Box<dyn Notices>, Error>> {
        self.store.subscribe()
    }
}

impl Store for Watched {
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    fn read<'a>(&'a self, flag: &'a str) -> BoxFuture<'a, Result<Stored, Error>> {
        self.store.read(flag)
    }

    fn commit<'a>(&'a self, commit: &'a Commit) -> BoxFuture<'a, Result<bool, Error>> {
        self.store.commit(commit)
    }

    fn history<'a>(&'a self, page: &'a HistoryPage) -> BoxFuture<'a, Result<Vec<HistoryEntry>, Error>> {
        Box::pin(async move {
            // A check begins with the newest entry alone.
            if page.flag.is_none() && page.before.is_none() && page.limit == 1 {
                self.checks.fetch_add(1, Ordering::SeqCst);
                drop(self.holds.read().await);
            }
            self.store.history(page).await
        })
    }
}

async fn watched() -> (Watched, Router) {
    let store = Watched::default();
    for number in 1..=200 {
        let put = Change::put_text(format!(r#"{{"percentage": 1, "description": "{number}"}}"#));
        store.change("a", put, &Author::new("alice")).await.unwrap();
    }
    let live = Live::connect(store.clone()).await.unwrap();
    let router = Admin::new(store.clone(), live, tokens()).router();
    (store, router)
}

async fn ask(router: Router, path: &str) -> Value {
    let request = Request::get(format!("/{path}")).header("authorization", format!("Bearer {EDITOR}"));
    let response = router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    assert!(response.status().is_success(), "{}", response.status());
    serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_history_is_checked_soon_after_the_start_and_then_once_a_day() {
    let (store, router) = watched().await;
    let checks = || store.checks.load(Ordering::SeqCst);
    assert_eq!(ask(router.clone(), "history/verify").await["verified"], Value::Null);
    let ended = async |many: usize| {
        for _ in 0..1000 {
            if checks() >= many && ask(router.clone(), "history/verify").await["verified"] != Value::Null {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{} checks", checks());
    };
    tokio::time::sleep(Duration::from_secs(59)).await;
    assert_eq!(checks(), 0, "not in the first minute");
    tokio::time::sleep(Duration::from_secs(242)).await;
    ended(1).await;
    let found = ask(router.clone(), "status").await["history"].clone();
    assert_eq!((&found["verified"]["entries"], &found["verified"]["broken"]), (&json!(200), &json!(0)), "{found}");
    tokio::time::sleep(Duration::from_secs(21 * 60 * 60)).await;
    assert_eq!(checks(), 1);
    tokio::time::sleep(Duration::from_secs(6 * 60 * 60)).await;
    ended(2).await;
    assert_eq!(checks(), 2);
}

#[tokio::test]
async fn one_check_is_made_at_a_time_and_others_share_its_result() {
    let (store, router) = watched().await;
    let held = store.holds.clone().write_owned().await;
    let asking: Vec<_> = (0..8).map(|_| tokio::spawn(ask(router.clone(), "history/verify?fresh=true"))).collect();
    until(async || store.checks.load(Ordering::SeqCst) == 1).await;
    until(async || ask(router.clone(), "history/verify").await["running"] == true).await;
    drop(held);
    let mut ends = Vec::new();
    for answer in asking {
        ends.push(answer.await.unwrap()["verified"]["at"].clone());
    }
    assert_eq!(store.checks.load(Ordering::SeqCst), 1, "{ends:?}");
    assert!(ends.iter().all(|at| at.is_string() && *at == ends[0]), "{ends:?}");
}

#[tokio::test(start_paused = true)]
async fn a_check_that_is_requested_waits_nine_times_as_long_as_the_last_one_took() {
    let (store, router) = watched().await;
    let held = store.holds.clone().write_owned().await;
    let first = tokio::spawn(ask(router.clone(), "history/verify?fresh=true"));
    tokio::time::sleep(Duration::from_secs(2)).await;
    drop(held);
    first.await.unwrap();
    let start = tokio::time::Instant::now();
    ask(router, "history/verify?fresh=true").await;
    assert_eq!(store.checks.load(Ordering::SeqCst), 2);
    let waited = start.elapsed();
    assert!((17..20).contains(&waited.as_secs()), "{waited:?}");
}

/// Between two checks of all, the head alone is read.
#[tokio::test(start_paused = true)]
async fn an_end_that_goes_back_is_found_within_minutes() {
    let filled = async |edits: u64| {
        let store = MemoryStore::new();
        for number in 1..=edits {
            let put = Change::put_text(format!(r#"{{"percentage": {number}}}"#));
            store.change("a", put, &Author::new("alice")).await.unwrap();
        }
        store
    };
    // The second has other times.
    for (edits, by, first) in [(4, "cut-off", 5), (6, "replaced", 6)] {
        let store = Deaf::over(filled(6).await, Duration::from_secs(24 * 60 * 60));
        let live = Live::connect(store.clone()).await.unwrap();
        let router = Admin::new(store.clone(), live, tokens()).router();
        let whole = ask(router.clone(), "history/verify?fresh=true").await;
        assert_eq!(whole["verified"]["broken"], 0, "{whole}");
        std::thread::sleep(Duration::from_millis(2));
        store.becomes(filled(edits).await);
        tokio::time::sleep(Duration::from_secs(6 * 60)).await;
        let found = ask(router, "history/verify").await["verified"]["breaks"].clone();
        assert_eq!((&found[0]["by"], &found[0]["number"]), (&json!(by), &json!(first)), "{found}");
    }
}

#[tokio::test]
async fn a_check_ends_with_the_router() {
    let (store, router) = watched().await;
    let held = store.holds.clone().write_owned().await;
    let asking = tokio::spawn(ask(router.clone(), "history/verify?fresh=true"));
    until(async || store.checks.load(Ordering::SeqCst) == 1).await;
    asking.abort();
    assert!(asking.await.is_err());
    drop(router);
    // Ours, and none of the check's, which still waits for its answer.
    until(async || Arc::strong_count(&store.checks) == 1).await;
    drop(held);
}

/// The highest memory of this process, in KiB, since it was reset.
fn highest_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Set for the process that runs the next test alone.
const ALONE: &str = "TOWER_FLAGS_TEST_ALONE";

/// In a process of its own, since the memory of all other tests would count.
#[test]
fn a_history_of_a_hundred_thousand_entries_takes_the_memory_of_a_page() {
    let name = "forged::a_history_of_a_hundred_thousand_entries_takes_the_memory_of_a_page";
    if std::env::var_os(ALONE).is_some() {
        return tokio::runtime::Runtime::new().unwrap().block_on(verify_a_hundred_thousand_entries());
    }
    let program = std::env::current_exe().unwrap();
    let ended =
        std::process::Command::new(program).args([name, "--exact", "--nocapture"]).env(ALONE, "1").output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&ended.stderr));
}

async fn verify_a_hundred_thousand_entries() {
    const ENTRIES: u64 = 100_000;
    let target = Target::sqlite();
    let store = target.open(Some(keys()));
    store.change("a", Change::put_text("true"), &Author::new("alice")).await.unwrap();
    let (keys, mut entry) = (keys(), store.history(&HistoryPage::newest()).await.unwrap().remove(0));
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(target.path());
    let mut theirs = options.connect().await.unwrap();
    sqlx::raw_sql("BEGIN").execute(&mut theirs).await.unwrap();
    let mut rows = Vec::new();
    for number in 2..=ENTRIES {
        entry.previous = keys.digest(&entry);
        (entry.number, entry.version) = (number, number);
        entry.before = entry.after.replace(format!(r#"{{"percentage":1,"description":"{number:0500}"}}"#));
        let (at, before, after) = (entry.at.unix_millis(), quoted(entry.before.as_ref()), quoted(entry.after.as_ref()));
        rows.push(format!("({number}, 'a', {number}, {at}, 'alice', NULL, {before}, {after}, '{}')", entry.previous));
        if rows.len() == 500 || number == ENTRIES {
            let statement = format!("INSERT INTO tower_flags_history VALUES {}", rows.join(","));
            sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut theirs).await.unwrap();
            rows.clear();
        }
    }
    let head = format!("UPDATE tower_flags_head SET number = {ENTRIES}, digest = '{}'; COMMIT", keys.digest(&entry));
    sqlx::raw_sql(AssertSqlSafe(head)).execute(&mut theirs).await.unwrap();
    theirs.close().await.unwrap();
    let api = Api::over(Arc::clone(&store)).await;
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let (before, start) = (highest_memory(), std::time::Instant::now());
    let found = store.verification().await.unwrap();
    let (took, grown) = (start.elapsed(), highest_memory() - before);
    println!("{ENTRIES} entries, {took:?}, {grown} KiB more");
    assert_eq!((found.entries, found.is_intact(), found.keyed_from), (ENTRIES, true, Some(1)));
    // All of it would be more than 100 MB.
    assert!(grown < 50 * 1024, "{grown} KiB");
    // A page far down takes no longer than the newest.
    let page = api.get("history?before=50000").await;
    assert_eq!(page["entries"][0]["number"], 49_999);
}
