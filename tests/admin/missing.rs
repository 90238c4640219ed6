//! Flags that the store has lost: seen, killed, removed and written back.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sqlx::Connection;
use tower_flags::source::{Live, Source};
use tower_flags::store::{Author, Change, HistoryPage, SqliteStore, Store, StoreExt};

use super::api::{Api, json, problem};
use super::outage::{is_on, until};

/// A plan-less flag with keys that are only carried along, a killed one, and one for all.
const FLAGS: [(&str, &str); 4] = [
    ("a", "true"),
    ("k", r#"{"enabled": false, "percentage": 100}"#),
    ("p", r#"{"enabled": true, "percentage": 100, "owner": "pay", "rollout_stages": [1, 2.0]}"#),
    ("z", "true"),
];

struct Place {
    api: Api,
    store: SqliteStore,
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Place {
    async fn with(flags: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("flags.db");
        let store = SqliteStore::at(&path);
        for (name, text) in flags {
            store.change(*name, Change::put_text(*text), &Author::new("setup")).await.unwrap();
        }
        Self { api: Api::over(store.clone()).await, store, path, _folder: folder }
    }

    async fn sql(&self, statements: &str) {
        sql(&self.path, statements).await;
    }

    async fn loses(&self, statements: &str, count: usize) {
        self.sql(statements).await;
        until(async || self.api.source.missing().len() == count).await;
    }
}

async fn sql(path: &Path, statements: &str) {
    let mut theirs = sqlx::sqlite::SqliteConnection::connect(&format!("sqlite:{}", path.display())).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(statements.to_owned())).execute(&mut theirs).await.unwrap();
    theirs.close().await.unwrap();
}

/// Everything gone, as after `FLUSHALL`; and the definitions alone, as after `TRUNCATE`.
const ALL: &str = "DELETE FROM tower_flags; DELETE FROM tower_flags_versions; DELETE FROM tower_flags_history; \
                   DELETE FROM tower_flags_head";
const DEFINITIONS: &str = "DELETE FROM tower_flags";

async fn listed(api: &Api) -> Vec<Value> {
    api.get("flags").await["flags"].as_array().unwrap().clone()
}

fn names(flags: &[Value]) -> Vec<&str> {
    flags.iter().map(|flag| flag["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn every_flag_in_force_is_listed_killed_and_written_back_though_the_store_is_empty() {
    for lost in [ALL, DEFINITIONS] {
        let place = Place::with(&FLAGS).await;
        let api = &place.api;
        place.sql(lost).await;
        // At once, whether the source has noticed or not.
        let flags = listed(api).await;
        assert_eq!(names(&flags), ["a", "k", "p", "z"], "{lost}");
        for flag in &flags {
            assert_eq!(flag["missing"]["in_force"], true, "{flag}");
            assert_eq!(flag["in_force"]["enabled"], flag["name"] != "k", "{flag}");
        }
        assert_eq!(flags[2]["flag"]["owner"], "pay", "the definition in force");
        until(async || api.source.missing().len() == 4).await;
        assert!(is_on(&api.source, "a") && is_on(&api.source, "p"));
        let status = api.get("status").await;
        assert_eq!(status["missing"], json!({"count": 4, "flags": ["a", "k", "p", "z"]}));
        let shown = api.get("flags/p").await;
        assert_eq!(
            (&shown["from"], &shown["etag"], &shown["text"]),
            (&json!("this process"), &Value::Null, &Value::Null)
        );

        // A kill is in force here at once, and in the store where the operator confirms that.
        let killed = api.ask("POST", "flags/a/kill?reason=INC-17", &[], "").await;
        let body = json(&killed);
        assert_eq!(killed.status, 202, "{body}");
        assert!(!is_on(&api.source, "a"));
        assert_eq!(
            (&body["missing"]["in_force"], &body["local_kill"]["missing"]),
            (&json!(true), &json!(true)),
            "{body}"
        );
        assert!(body["error"].as_str().unwrap().contains("lost"), "{body}");
        assert_eq!(place.store.read("a").await.unwrap().definition, None, "nothing is written by itself");
        let confirmed = api.ask("POST", "flags/a/kill?reason=INC-17&write_back=true", &[], "").await;
        assert_eq!(confirmed.status, 200, "{}", confirmed.text());
        let stored = place.store.read("a").await.unwrap().definition.unwrap();
        assert!(stored.contains(r#""enabled":false"#), "{stored}");
        until(async || api.source.local_kills().is_empty()).await;
        assert!(!is_on(&api.source, "a") && is_on(&api.source, "p"), "the others stay in force meanwhile");

        // What needs a definition in the store says so.
        for (method, path, body) in [
            ("PATCH", "flags/p", r#"{"percentage": 5}"#),
            ("POST", "flags/k/restore", ""),
            ("POST", "flags/p/rollout/pause", ""),
        ] {
            let refused = api.ask(method, path, &[], body).await;
            assert_eq!((refused.status, problem(&refused).as_str()), (409, "missing"), "{method} {path}");
            assert!(json(&refused)["detail"].as_str().unwrap().contains("nothing was changed"), "{}", refused.text());
        }
        let wrong = api.as_viewer().ask("POST", "write-back", &[], "").await;
        assert_eq!(problem(&wrong), "forbidden");

        let back = api.ask("POST", "write-back?reason=after+FLUSHALL", &[], "").await;
        let body = json(&back);
        assert_eq!((back.status, &body["complete"]), (200, &json!(true)), "{body}");
        let written = body["flags"].as_array().unwrap();
        assert_eq!(names(written), ["k", "p", "z"]);
        assert_eq!((&written[0]["kept_off"], &written[1]["kept_off"]), (&json!(true), &json!(false)), "{body}");
        until(async || api.source.missing().is_empty()).await;
        assert!(
            !is_on(&api.source, "k") && !is_on(&api.source, "a") && is_on(&api.source, "p") && is_on(&api.source, "z")
        );
        let entry = place.store.history(&HistoryPage::newest().of("p")).await.unwrap().remove(0);
        assert_eq!((entry.actor.as_deref(), entry.reason.as_deref()), (Some("alice"), Some("after FLUSHALL")));
        let text = place.store.read("p").await.unwrap().definition.unwrap();
        assert_eq!(text.contains("[1, 2.0]"), lost == DEFINITIONS, "as the history has it: {text}");
        assert!(place.store.verify_history().await.unwrap().is_ok());
        let flags = listed(api).await;
        assert!(flags.iter().all(|flag| flag["missing"] == Value::Null), "{flags:?}");
        // Once more there is nothing to do.
        assert_eq!(json(&api.ask("POST", "write-back", &[], "").await)["flags"], json!([]));
        assert_eq!(json(&api.ask("POST", "flags/p/write-back", &[], "").await)["changed"], false);
    }
}

#[tokio::test]
async fn one_lost_flag_of_many_is_listed_as_missing_and_can_be_killed_and_written_back() {
    let place = Place::with(&FLAGS).await;
    let api = &place.api;
    place.loses("DELETE FROM tower_flags WHERE name = 'p'", 1).await;
    // As it is for every program that reads the store.
    until(async || !is_on(&api.source, "p")).await;
    let flags = listed(api).await;
    assert_eq!(names(&flags), ["a", "k", "p", "z"]);
    assert_eq!(
        (&flags[2]["missing"]["in_force"], &flags[2]["in_force"]),
        (&json!(false), &Value::Null),
        "{}",
        flags[2]
    );
    assert_eq!((&flags[2]["flag"]["owner"], &flags[2]["version"]), (&json!("pay"), &json!(1)), "{}", flags[2]);
    let found: Vec<String> = api.source.status().problems.iter().map(ToString::to_string).collect();
    assert!(found.len() == 1 && found[0].contains("flag \"p\"") && found[0].contains("no edit removed"), "{found:?}");

    let back = json(&api.ask("POST", "flags/p/write-back?reason=by+mistake", &[], "").await);
    assert_eq!((&back["changed"], &back["in_force"]["enabled"]), (&json!(true), &json!(true)), "{back}");
    assert_eq!(back["text"], FLAGS[2].1, "byte for byte");
    assert_eq!(api.source.status().problems, []);

    // Killed while it is lost, it stays off when somebody else brings it back.
    place.loses("DELETE FROM tower_flags WHERE name = 'p'", 1).await;
    assert_eq!(api.ask("POST", "flags/p/kill", &[], "").await.status, 202);
    place.sql("INSERT INTO tower_flags VALUES ('p', 'true')").await;
    until(async || api.source.missing().is_empty()).await;
    assert!(!is_on(&api.source, "p"));
}

/// The kill is made while the database is locked, by the same transaction that loses the flag.
#[tokio::test]
async fn forgetting_the_kill_of_a_lost_flag_leaves_it_off_where_the_store_has_none() {
    for (lost, count) in [("DELETE FROM tower_flags WHERE name = 'p'", 1), (DEFINITIONS, 4)] {
        let place = Place::with(&FLAGS).await;
        let api = &place.api;
        let mut theirs =
            sqlx::sqlite::SqliteConnection::connect(&format!("sqlite:{}", place.path.display())).await.unwrap();
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut theirs).await.unwrap();
        assert_eq!(api.ask("POST", "flags/p/kill", &[], "").await.status, 202);
        assert!(!is_on(&api.source, "p"));
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("{lost}; COMMIT"))).execute(&mut theirs).await.unwrap();
        until(async || api.source.missing().len() == count).await;
        let forgotten = api.ask("POST", "flags/p/forget-kill", &[], "").await;
        assert_eq!(forgotten.status, 200, "{}", forgotten.text());
        // More than half of the flags stay in effect, and so does what the kill was over.
        let shown = api.get("flags/p").await;
        assert_eq!(shown["missing"]["in_force"], count == 4, "{shown}");
        assert_eq!(is_on(&api.source, "p"), count == 4, "{shown}");
    }
}

#[tokio::test]
async fn a_lost_flag_can_be_removed_so_that_the_store_remembers_it() {
    for (lost, count) in [(ALL, 4), ("DELETE FROM tower_flags WHERE name = 'p'", 1)] {
        let place = Place::with(&FLAGS).await;
        let api = &place.api;
        place.loses(lost, count).await;
        let wrong = api.ask("DELETE", "flags/p", &[("if-match", "\"1-0\"")], "").await;
        assert_eq!(problem(&wrong), "stale");
        let removed = api.ask("DELETE", "flags/p?reason=retired", &[("if-match", "*")], "").await;
        assert_eq!(removed.status, 200, "{}", removed.text());
        until(async || api.source.missing().len() == count - 1).await;
        assert!(!is_on(&api.source, "p"));
        assert!(!names(&listed(api).await).contains(&"p"));
        let entries = place.store.history(&HistoryPage::newest().of("p")).await.unwrap();
        assert_eq!((entries[0].after.as_deref(), entries[0].reason.as_deref()), (None, Some("retired")));
        assert!(entries[1].after.as_ref().unwrap().contains("false"), "it was never on in between");
        let gone = api.ask("GET", "flags/p", &[], "").await;
        assert_eq!((gone.status, problem(&gone).as_str()), (404, "no-such-flag"));
    }
}

#[tokio::test]
async fn a_lost_flag_can_be_put_anew_and_a_removed_one_cannot() {
    let place = Place::with(&FLAGS).await;
    let api = &place.api;
    place.loses("DELETE FROM tower_flags WHERE name = 'p'", 1).await;
    let new = [("if-none-match", "*")];
    assert_eq!(api.ask("PUT", "flags/p", &new, r#"{"percentage": 5}"#).await.status, 201);
    assert_eq!(api.ask("DELETE", "flags/p", &[("if-match", "*")], "").await.status, 200);
    assert_eq!(problem(&api.ask("PUT", "flags/p", &new, r#"{"percentage": 5}"#).await), "removed");
    assert_eq!(problem(&api.ask("POST", "flags/p/write-back", &[], "").await), "no-such-flag");
}

/// A name is `removed` where an edit removed it, and nowhere else.
#[tokio::test]
async fn a_lost_flag_that_was_killed_here_stays_off_where_its_new_definition_does_not_say_on() {
    for lost in [ALL, DEFINITIONS] {
        let place = Place::with(&FLAGS).await;
        let api = &place.api;
        place.loses(lost, 4).await;
        assert_eq!(api.ask("POST", "flags/a/kill", &[], "").await.status, 202);
        let put = api.ask("PUT", "flags/a", &[("if-none-match", "*")], r#"{"percentage":100}"#).await;
        assert_eq!(put.status, 201, "{}", put.text());
        let put = json(&put);
        assert_eq!(put["flag"]["enabled"], false, "{put}");
        assert!(put["notes"][0].as_str().unwrap().contains("stays off"), "{put}");
        until(async || api.source.local_kills().is_empty()).await;
        assert!(!is_on(&api.source, "a"));
        assert_eq!(api.get("flags/a").await["flag"]["enabled"], false);
    }
}

#[tokio::test]
async fn what_no_edit_removed_is_imported_again_and_reverting_it_says_that_it_is_missing() {
    let place = Place::with(&FLAGS).await;
    let api = &place.api;
    let export = api.ask("GET", "export", &[], "").await.text().to_owned();
    place.loses("DELETE FROM tower_flags WHERE name IN ('k', 'p')", 2).await;
    let reverted = api.ask("POST", "flags/p/revert", &[], r#"{"to": 1}"#).await;
    assert_eq!((reverted.status, problem(&reverted).as_str()), (409, "missing"), "{}", reverted.text());
    assert!(reverted.text().contains("write-back"), "{}", reverted.text());

    let dry = json(&api.ask("POST", "import?dry_run=true", &[], &export).await);
    let actions: Vec<&Value> = dry["flags"].as_array().unwrap().iter().map(|flag| &flag["action"]).collect();
    assert_eq!(dry["complete"], true, "{dry}");
    assert_eq!(actions, ["none", "create", "create", "none"]);
    let imported = api.ask("POST", "import?reason=DEL", &[], &export).await;
    assert_eq!(imported.status, 200, "{}", imported.text());
    until(async || api.source.missing().is_empty()).await;
    assert!(is_on(&api.source, "p") && !is_on(&api.source, "k"), "what was off stays off");

    // One that an edit removed is that, beside them.
    assert_eq!(api.ask("DELETE", "flags/z", &[("if-match", "*")], "").await.status, 200);
    place.loses("DELETE FROM tower_flags WHERE name = 'p'", 1).await;
    let imported = api.ask("POST", "import", &[], &export).await;
    assert_eq!(problem(&imported), "removed");
    let body = json(&imported);
    let refused = body["flags"].as_array().unwrap().iter().filter(|flag| flag["action"] == "refused").count();
    assert_eq!(refused, 1, "{body}");
    assert_eq!(problem(&api.ask("POST", "flags/z/revert", &[], r#"{"to": 1}"#).await), "removed");
}

#[tokio::test]
async fn a_kill_with_a_plan_is_written_back_standing_still() {
    let at = |hours: i64| {
        let now = tower_flags::Timestamp::from(std::time::SystemTime::now()).unix_millis();
        tower_flags::Timestamp::from_unix_millis(now + hours * 3_600_000).to_string()
    };
    let plan = format!(
        r#"{{"enabled":true,"schedule":[{{"at":"{}","percentage":5}},{{"at":"{}","percentage":100}}]}}"#,
        at(-1),
        at(1)
    );
    let place = Place::with(&[("x", &plan)]).await;
    place.loses(ALL, 1).await;
    let killed = json(&place.api.ask("POST", "flags/x/kill?write_back=true", &[], "").await);
    assert_eq!((&killed["stored"], &killed["flag"]["enabled"]), (&json!(true), &json!(false)), "{killed}");
    assert!(killed["rollout"]["paused_since"].is_string(), "{killed}");
}

#[tokio::test]
async fn what_was_lost_before_this_process_started_is_listed_and_comes_back_from_the_history() {
    let place = Place::with(&FLAGS).await;
    place.loses("DELETE FROM tower_flags WHERE name IN ('k', 'p')", 2).await;
    let started = Api::over(place.store.clone()).await;
    let flags = listed(&started).await;
    assert_eq!(names(&flags), ["a", "k", "p", "z"]);
    assert_eq!((&flags[2]["flag"], &flags[2]["missing"]["in_force"]), (&Value::Null, &json!(false)));
    let back = json(&started.ask("POST", "write-back", &[], "").await);
    assert_eq!(back["complete"], true, "{back}");
    assert_eq!(place.store.read("p").await.unwrap().definition.as_deref(), Some(FLAGS[2].1));
    until(async || is_on(&started.source, "p")).await;
    assert!(!is_on(&started.source, "k"), "killed when it was there last");
}

#[cfg(feature = "file")]
#[tokio::test]
async fn a_file_that_was_cut_is_written_back_and_one_flag_taken_out_by_hand_is_not_missing() {
    use tower_flags::store::FileStore;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flags.json");
    std::fs::write(&path, "{\"flags\": {\n\"a\": true,\n\"b\": true,\n\"c\": {\"percentage\": 100},\n\"d\": true\n}}")
        .unwrap();
    let api = Api::over(FileStore::new(&path).unwrap()).await;
    std::fs::write(&path, "{\"flags\": {\n\"a\": true\n}}").unwrap();
    until(async || api.source.missing().len() == 3).await;
    assert!(is_on(&api.source, "c"));
    let back = json(&api.ask("POST", "write-back?reason=cut", &[], "").await);
    assert_eq!((&back["complete"], back["flags"].as_array().unwrap().len()), (&json!(true), 3), "{back}");
    until(async || api.source.missing().is_empty()).await;
    let written: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(written["flags"].as_object().unwrap().len(), 4, "{written}");
    assert_eq!(api.get("history").await["entries"].as_array().unwrap().len(), 3);

    std::fs::write(&path, "{\"flags\": {\n\"a\": true,\n\"b\": true,\n\"c\": true\n}}").unwrap();
    until(async || !is_on(&api.source, "d")).await;
    assert_eq!((names(&listed(&api).await), api.source.missing().len()), (vec!["a", "b", "c"], 0));
    assert_eq!(api.ask("GET", "flags/d", &[], "").await.status, 404);
}

#[tokio::test]
async fn whoever_listens_is_told_of_missing_flags() {
    let place = Place::with(&FLAGS).await;
    let mut client = super::support::Client::open(place.api.address).await;
    let bearer = format!("Bearer {}", super::api::EDITOR);
    client.ask("GET", "/events", &[("authorization", bearer.as_bytes())]).await;
    client.head().await;
    let mut told = String::new();
    place.loses("DELETE FROM tower_flags WHERE name = 'p'", 1).await;
    while !told.contains(r#""missing":{"count":1,"flags":["p"]}"#) {
        told = String::from_utf8(client.frame().await.expect("it goes on")).unwrap();
    }
}

#[cfg(feature = "redis")]
async fn redis_with_flags() -> (super::servers::Redis, tower_flags::store::RedisStore) {
    let server = tokio::task::block_in_place(super::servers::Redis::start);
    let store = tower_flags::store::RedisStore::new(&server.url()).unwrap();
    for (name, text) in FLAGS {
        store.change(name, Change::put_text(text), &Author::new("setup")).await.unwrap();
    }
    (server, store)
}

#[cfg(feature = "redis")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Redis, which tests/run.sh installs"]
async fn what_redis_has_lost_is_seen_killed_and_written_back() {
    use tower_flags::store::RedisStore;

    let (server, store) = redis_with_flags().await;
    let command = |parts: &[&[u8]]| tokio::task::block_in_place(|| server.command(parts));
    let api = Api::over(store.clone()).await;
    // One is deleted, and one expires.
    command(&[b"DEL", b"ff:a"]);
    command(&[b"PEXPIRE", b"ff:z", b"20"]);
    until(async || api.source.missing().len() == 2).await;
    let reverted = api.ask("POST", "flags/a/revert", &[], r#"{"to": 1}"#).await;
    assert_eq!(problem(&reverted), "missing", "{}", reverted.text());
    let imported = api.ask("POST", "import?dry_run=true", &[], r#"{"flags": {"a": true}}"#).await;
    assert_eq!(json(&imported)["flags"][0]["action"], "create", "{}", imported.text());
    assert!(!is_on(&api.source, "a") && !is_on(&api.source, "z") && is_on(&api.source, "p"));
    let found: Vec<String> = api.source.status().problems.iter().map(ToString::to_string).collect();
    assert!(found.iter().filter(|problem| problem.contains("no edit removed")).count() == 2, "{found:?}");
    assert_eq!(json(&api.ask("POST", "write-back", &[], "").await)["complete"], true);
    until(async || is_on(&api.source, "a") && is_on(&api.source, "z")).await;

    command(&[b"FLUSHALL"]);
    until(async || api.source.missing().len() == 4).await;
    assert_eq!(names(&listed(&api).await), ["a", "k", "p", "z"]);
    assert!(is_on(&api.source, "a"));
    assert_eq!(api.ask("POST", "flags/a/kill", &[], "").await.status, 202);
    assert!(!is_on(&api.source, "a"));
    assert_eq!(json(&api.ask("POST", "write-back?reason=FLUSHALL", &[], "").await)["complete"], true);
    until(async || api.source.missing().is_empty() && api.source.local_kills().is_empty()).await;
    assert!(!is_on(&api.source, "a") && !is_on(&api.source, "k") && is_on(&api.source, "p"));
    let killed = store.read("a").await.unwrap().definition.unwrap();
    assert!(killed.contains(r#""enabled":false"#), "{killed}");
    // Another process goes by what was written back.
    let another = Live::connect(RedisStore::new(&server.url()).unwrap()).await.unwrap();
    assert!(!is_on(&another, "a") && is_on(&another, "z"));
}

/// A host without a volume starts Redis and the application again.
#[cfg(feature = "redis")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Redis, which tests/run.sh installs"]
async fn what_redis_has_lost_when_a_process_starts_is_written_back_from_its_backup_file() {
    use super::process::Process;

    let (server, _) = redis_with_flags().await;
    let folder = tempfile::tempdir().unwrap();
    let start = || tokio::task::block_in_place(|| Process::start(&server.url(), Some(&folder.path().join("backup"))));
    let process = start();
    until(async || process.is_on("a").await && folder.path().join("backup").exists()).await;
    drop(process);
    tokio::task::block_in_place(|| server.command(&[b"FLUSHALL"]));

    // Twice, since the first start writes the file, too.
    for _ in 0..2 {
        let process = start();
        let status = process.admin.get("status").await;
        assert_eq!(status["missing"]["flags"], json!(["a", "k", "p", "z"]), "{status}");
        assert!(!process.is_on("a").await);
        let p = process.admin.get("flags/p").await;
        assert_eq!((&p["flag"]["owner"], &p["missing"]["in_force"]), (&json!("pay"), &json!(false)), "{p}");
    }
    let process = start();
    let written = json(&process.admin.ask("POST", "write-back?reason=reboot", &[], "").await);
    assert_eq!(written["complete"], true, "{written}");
    until(async || process.is_on("a").await && process.is_on("p").await && process.is_on("z").await).await;
    assert!(!process.is_on("k").await);
    assert_eq!(process.admin.get("status").await["missing"]["count"], 0);
}

#[cfg(feature = "redis")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Redis, which tests/run.sh installs"]
async fn forgetting_the_kill_of_a_flag_that_redis_has_lost_leaves_it_off() {
    let (server, store) = redis_with_flags().await;
    let command = |parts: &[&[u8]]| tokio::task::block_in_place(|| server.command(parts));
    let api = Api::over(store.clone()).await;
    // Edits are rejected, and DEL is not.
    command(&[b"CONFIG", b"SET", b"maxmemory", b"1"]);
    assert_eq!(api.ask("POST", "flags/a/kill", &[], "").await.status, 202);
    command(&[b"DEL", b"ff:a"]);
    until(async || api.source.missing().len() == 1).await;
    assert_eq!(api.ask("POST", "flags/a/forget-kill", &[], "").await.status, 200);
    assert!(!is_on(&api.source, "a"));
    assert_eq!(api.get("flags/a").await["missing"]["in_force"], false);
}
