//! What was switched off stays off until somebody says that it is to be on.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tower_flags::Source;
use tower_flags::document::Edit;
use tower_flags::store::{
    Author, BoxFuture, Capabilities, Change, Commit, Error, Feed, FeedContent, FileStore, HistoryEntry, HistoryPage,
    MemoryStore, Notices, Store, StoreExt, Stored,
};

use super::api::{Api, json, problem, store};
use super::outage::{DOWN, SILENT, Shaky, UP, is_on, until};

/// A store that tells nothing of changes, and in whose place another can be put.
#[derive(Clone)]
pub(crate) struct Deaf {
    store: Arc<Mutex<MemoryStore>>,
    every: Duration,
}

impl Deaf {
    pub(crate) fn over(store: MemoryStore, every: Duration) -> Self {
        Self { store: Arc::new(Mutex::new(store)), every }
    }

    pub(crate) fn becomes(&self, store: MemoryStore) {
        *self.store.lock().unwrap() = store;
    }

    fn inner(&self) -> MemoryStore {
        self.store.lock().unwrap().clone()
    }
}

impl Feed for Deaf {
    fn name(&self) -> &str {
        "deaf"
    }

    fn load<'a>(&'a self, known: Option<&'a str>) -> BoxFuture<'a, Result<Option<FeedContent>, Error>> {
        Box::pin(async move { self.inner().load(known).await })
    }

    fn subscribe(&self) -> BoxFuture<'_, Result<Box<dyn Notices>, Error>> {
        struct Never;
        impl Notices for Never {
            fn next(&mut self) -> BoxFuture<'_, Result<(), Error>> {
                Box::pin(std::future::pending())
            }
        }
        Box::pin(async { Ok(Box::new(Never) as Box<dyn Notices>) })
    }

    fn resync_every(&self) -> Duration {
        self.every
    }
}

impl Store for Deaf {
    fn capabilities(&self) -> Capabilities {
        self.inner().capabilities()
    }

    fn read<'a>(&'a self, flag: &'a str) -> BoxFuture<'a, Result<Stored, Error>> {
        Box::pin(async move { self.inner().read(flag).await })
    }

    fn commit<'a>(&'a self, commit: &'a Commit) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move { self.inner().commit(commit).await })
    }

    fn history<'a>(&'a self, page: &'a HistoryPage) -> BoxFuture<'a, Result<Vec<HistoryEntry>, Error>> {
        Box::pin(async move { self.inner().history(page).await })
    }
}

fn alice() -> Author {
    Author::new("alice")
}

#[tokio::test]
async fn a_kill_is_in_force_here_though_its_notice_is_lost() {
    let api = Api::over(Deaf::over(store(&[("a", "true")]).await, Duration::from_secs(3600))).await;
    let killed = json(&api.ask("POST", "flags/a/kill", &[], "").await);
    assert_eq!((&killed["stored"], &killed["in_force"]["enabled"]), (&json!(true), &json!(false)), "{killed}");
    assert!(!is_on(&api.source, "a"));
    assert_eq!(killed["local_kill"], Value::Null, "the store has it, and this process goes by the store");
    let restored = json(&api.ask("POST", "flags/a/restore", &[], "").await);
    assert_eq!(restored["in_force"]["enabled"], true);
}

#[tokio::test]
async fn what_was_killed_before_the_store_came_back_older_is_not_switched_on_by_import_and_revert() {
    let flags = [("a", "true"), ("b", "true")];
    for what in ["import", "revert"] {
        let newer = store(&flags).await;
        newer.change("a", Change::edit(Edit::new().set("percentage", 90)), &alice()).await.unwrap();
        newer.change("a", Change::kill(), &alice()).await.unwrap();
        let place = Deaf::over(newer, Duration::from_millis(20));
        let api = Api::over(place.clone()).await;
        *place.store.lock().unwrap() = store(&flags).await;
        until(async || api.source.status().problems.len() > 1).await;
        assert!(!is_on(&api.source, "a"));
        let reply = match what {
            "import" => api.ask("POST", "import", &[], r#"{"flags": {"a": {"enabled": true, "owner": "me"}}}"#).await,
            _ => api.ask("POST", "flags/a/revert", &[], r#"{"to": 1}"#).await,
        };
        assert_eq!(reply.status, 200, "{what}: {}", reply.text());
        let shown = api.get("flags/a").await;
        assert_eq!(shown["flag"]["enabled"], false, "{what}: {shown}");
        assert!(!is_on(&api.source, "a"), "{what}");
        assert_eq!(json(&api.ask("POST", "flags/a/restore", &[], "").await)["in_force"]["enabled"], true, "{what}");
    }
}

#[tokio::test]
async fn what_was_removed_past_the_history_while_it_was_off_comes_back_off() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("flags.json");
    std::fs::write(&file, "{\"flags\": {\n\"a\": true,\n\"b\": true\n}}").unwrap();
    let api = Api::over(FileStore::new(&file).unwrap()).await;
    for edit in [r#"{"percentage": 50}"#, r#"{"enabled": false}"#] {
        assert_eq!(api.ask("PATCH", "flags/a", &[], edit).await.status, 200);
    }
    std::fs::write(&file, "{\"flags\": {\n\"b\": true\n}}").unwrap();
    let back = api.ask("POST", "flags/a/revert?create_again=true", &[], r#"{"to": 2}"#).await;
    assert_eq!(back.status, 200, "{}", back.text());
    assert_eq!(json(&back)["flag"], json!({"enabled": false, "percentage": 50}));
}

#[tokio::test]
async fn what_was_off_when_it_was_removed_is_imported_off() {
    let (api, _store) = Api::with(&[("a", "true")]).await;
    assert_eq!(api.ask("POST", "flags/a/kill", &[], "").await.status, 200);
    assert_eq!(api.ask("DELETE", "flags/a", &[("if-match", "*")], "").await.status, 200);
    let imported = api.ask("POST", "import?create_again=true", &[], r#"{"flags": {"a": true}}"#).await;
    assert_eq!(json(&imported)["flags"][0]["kept_off"], true, "{}", imported.text());
    assert_eq!(api.get("flags/a").await["flag"]["enabled"], false);
}

#[tokio::test]
async fn a_plan_that_was_rolled_back_gives_no_more_after_revert_or_import_and_restore() {
    let now = tower_flags::Timestamp::from(std::time::SystemTime::now()).unix_millis();
    let at = |millis: i64| tower_flags::Timestamp::from_unix_millis(now + millis).to_string();
    // By the time of the revert the plan has come to 100 %.
    let plan = format!(
        r#"{{"enabled":true,"schedule":[{{"at":"{}","percentage":1}},{{"at":"{}","percentage":100}}]}}"#,
        at(-1000),
        at(700)
    );
    for what in ["revert", "import"] {
        let (api, _store) = Api::with(&[("a", &plan)]).await;
        let stopped = json(&api.ask("POST", "flags/a/rollout/roll-back", &[], "").await);
        let share = stopped["percentage"].clone();
        until(async || tower_flags::Timestamp::from(std::time::SystemTime::now()).unix_millis() > now + 800).await;
        let reply = if what == "revert" {
            api.ask("POST", "flags/a/revert", &[], r#"{"to": 1}"#).await
        } else {
            let document = format!(r#"{{"flags": {{"a": {plan}}}}}"#);
            let first = api.ask("POST", "import", &[], &document).await;
            assert_eq!(json(&first)["flags"][0]["action"], "none", "{}", first.text());
            first
        };
        assert_eq!(reply.status, 200, "{what}: {}", reply.text());
        let restored = json(&api.ask("POST", "flags/a/restore", &[], "").await);
        assert_eq!((&restored["percentage"], &restored["flag"]["enabled"]), (&share, &json!(true)), "{what}");
        assert_eq!(restored["flag"]["paused_at"], stopped["flag"]["paused_at"], "{what}");
    }
}

#[tokio::test]
async fn a_kill_that_was_forgotten_while_the_store_was_silent_is_not_written() {
    let shaky = Shaky::default();
    for name in ["a", "b"] {
        shaky.store.change(name, Change::put_text("true"), &alice()).await.unwrap();
    }
    let api = Api::over(shaky.clone()).await;
    shaky.is(DOWN);
    for name in ["a", "b"] {
        assert_eq!(api.ask("POST", &format!("flags/{name}/kill"), &[], "").await.status, 202);
    }
    shaky.is(SILENT);
    // The next attempt to write them waits for the first one's answer, and then turns to the second.
    let reads = shaky.reads.load(Ordering::SeqCst);
    until(async || shaky.reads.load(Ordering::SeqCst) > reads).await;
    let forgotten = tokio::join!(api.ask("POST", "flags/b/forget-kill", &[], ""), async { shaky.is(UP) });
    assert_eq!(forgotten.0.status, 200, "{}", forgotten.0.text());
    until(async || api.source.local_kills().is_empty()).await;
    let stored = shaky.store.read("b").await.unwrap();
    assert_eq!((stored.version, stored.definition.as_deref()), (1, Some("true")));
    assert!(is_on(&api.source, "b") && !is_on(&api.source, "a"));
}

#[tokio::test]
async fn whoever_says_on_in_a_patch_or_a_definition_answers_for_a_kill_that_waits() {
    for (method, body) in [
        ("PATCH", r#"{"enabled": true}"#),
        ("PATCH", r#"{"on": true, "owner": "me"}"#),
        ("PUT", r#"{"enabled": true, "percentage": 20}"#),
    ] {
        let shaky = Shaky::default();
        shaky.store.change("a", Change::put_text(r#"{"enabled":true,"percentage":100}"#), &alice()).await.unwrap();
        let api = Api::over(shaky.clone()).await;
        shaky.is(DOWN);
        assert_eq!(api.ask("PATCH", "flags/a", &[], r#"{"enabled": false}"#).await.status, 202);
        shaky.is(UP);
        let etag = api.etag("a").await;
        let on = json(&api.ask(method, "flags/a", &[("if-match", &etag)], body).await);
        assert_eq!(
            (&on["in_force"]["enabled"], &on["local_kill"]),
            (&json!(true), &Value::Null),
            "{method} {body}: {on}"
        );
        assert!(api.source.local_kills().is_empty());
    }
}

#[tokio::test]
async fn a_definition_that_does_not_say_on_leaves_off_what_is_off() {
    const NOTE: &str = "the flag was off and stays off, since the definition does not say \"enabled\": true";
    for body in [r#"{"percentage":100}"#, r#"{"enabled":null,"percentage":100}"#, r#"{"rules":[],"percentage":100}"#] {
        // In the store.
        let (api, _store) = Api::with(&[("a", r#"{"percentage":100}"#)]).await;
        assert_eq!(api.ask("POST", "flags/a/kill", &[], "").await.status, 200);
        let put = json(&api.ask("PUT", "flags/a", &[("if-match", &api.etag("a").await)], body).await);
        assert_eq!((&put["flag"]["enabled"], &put["notes"]), (&json!(false), &json!([NOTE])), "{body}: {put}");
        assert!(!is_on(&api.source, "a"), "{body}");
    }
    // Nothing is said of a flag that was not off.
    let (api, _store) = Api::with(&[("a", "true")]).await;
    let put = json(&api.ask("PUT", "flags/a", &[("if-match", &api.etag("a").await)], r#"{"percentage":100}"#).await);
    assert_eq!((&put["flag"]["enabled"], &put["notes"]), (&json!(true), &json!([])), "{put}");
}

#[tokio::test]
async fn a_kill_of_a_flag_that_was_removed_meanwhile_can_be_forgotten() {
    for is_loaded in [true, false] {
        let shaky = Shaky::default();
        for name in ["a", "b", "c"] {
            shaky.store.change(name, Change::put_text("true"), &alice()).await.unwrap();
        }
        let api = Api::over(shaky.clone()).await;
        shaky.is(DOWN);
        assert_eq!(api.ask("POST", "flags/a/kill", &[], "").await.status, 202);
        shaky.store.change("a", Change::remove(), &alice()).await.unwrap();
        shaky.is(UP);
        if is_loaded {
            until(async || api.source.status().revision == "4").await;
        }
        let forgotten = api.ask("POST", "flags/a/forget-kill", &[], "").await;
        assert_eq!((forgotten.status, &json(&forgotten)["flag"]), (200, &Value::Null), "{}", forgotten.text());
        assert!(api.source.local_kills().is_empty());
        assert_eq!(problem(&api.ask("POST", "flags/a/forget-kill", &[], "").await), "no-local-kill");
        until(async || api.source.status().revision == "4").await;
        assert!(!is_on(&api.source, "a"), "loaded before: {is_loaded}");
        assert_eq!(api.ask("GET", "flags/a", &[], "").await.status, 404);
    }
}

#[tokio::test]
async fn nothing_that_is_wrong_with_a_stored_text_holds_up_a_kill_of_any_kind() {
    let broken = r#"{"percentage": 300, "metadata": {"a": 1}, "rollout_stages": [7]}"#;
    for (path, body) in [
        ("flags/a/kill", ""),
        ("flags/a/rollout/roll-back", ""),
        ("flags/a", r#"{"enabled": false}"#),
        ("flags/a", r#"{"enabled": false, "owner": "me"}"#),
    ] {
        let shaky = Shaky::default();
        shaky.store.change("a", Change::put_text(r#"{"percentage": 30}"#), &alice()).await.unwrap();
        let api = Api::over(shaky.clone()).await;
        shaky.write_past("a", broken);
        let method = if body.is_empty() { "POST" } else { "PATCH" };
        let reply = api.ask(method, path, &[], body).await;
        assert_eq!(reply.status, 200, "{path} {body}: {}", reply.text());
        let killed = json(&reply);
        let text = killed["text"].as_str().unwrap();
        assert!(text.contains(r#""enabled": false"#) || text.contains(r#""enabled":false"#), "{text}");
        assert!(text.contains("\"a\": 1") && text.contains("[7]"), "nothing is lost: {text}");
        let not_taken = if body.contains("owner") { json!(["owner"]) } else { Value::Null };
        assert_eq!(killed.get("not_taken").cloned().unwrap_or_default(), not_taken, "{path} {body}");
        assert!(!is_on(&api.source, "a"), "{path} {body}");
    }
    let (api, _store) = Api::with(&[("a", "true")]).await;
    let wrong = api.ask("PATCH", "flags/a", &[], r#"{"enabled": false, "percentage": 300}"#).await;
    assert_eq!(problem(&wrong), "refused", "what is wrong with the patch is said");
}
