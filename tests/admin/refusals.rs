//! Edits that a real server rejects: whichever request makes them, the answer is of one type, says that nothing was
//! changed, and comes at once.

use std::time::Duration;

use serde_json::json;
use tokio::time::timeout;
use tower_flags::store::{Author, Change, Store, StoreExt};

use super::api::{Api, json, problem};

/// Edits of the flag `x`, by every way that leads to the store.
const EDITS: [(&str, &str, &str); 8] = [
    ("PATCH", "flags/x", r#"{"percentage": 5}"#),
    ("PATCH", "flags/x", r#"{"requires": []}"#),
    ("PUT", "flags/x", r#"{"percentage": 5}"#),
    ("DELETE", "flags/x", ""),
    ("POST", "flags/x/restore", ""),
    ("POST", "flags/x/revert", r#"{"to": 1}"#),
    ("POST", "flags/x/rollout/start", r#"{"stages": [{"percentage": 100}]}"#),
    ("POST", "flags/x/write-back", ""),
];

/// A flag in its second version.
async fn fill(store: &impl Store) {
    for text in [r#"{"percentage": 1}"#, r#"{"percentage": 2}"#] {
        store.change("x", Change::put_text(text), &Author::new("setup")).await.unwrap();
    }
}

/// Every edit is rejected, for this reason; a kill is in effect in this process.
async fn all_are_rejected(api: &Api, etag: &str, because: &str, is_permanent: bool) {
    for (method, path, body) in EDITS {
        let headers = [("if-match", etag)];
        let asked = api.ask(method, path, &headers, body);
        let reply = timeout(Duration::from_millis(4500), asked).await.expect("before an edit's own time is over");
        // There is nothing to write back, which every server can say that reads.
        if path.ends_with("write-back") && reply.status == 200 {
            continue;
        }
        assert_eq!((reply.status, problem(&reply).as_str()), (503, "store-rejected"), "{path}: {}", reply.text());
        assert_eq!(reply.header("retry-after"), None, "{path}");
        let body = json(&reply);
        let detail = body["detail"].as_str().unwrap();
        assert!(detail.contains("nothing was changed, because ") && detail.contains(because), "{path}: {detail}");
        assert_eq!(body["permanent"], is_permanent, "{path}: {body}");
    }
    let reply = api.ask("POST", "import", &[], r#"{"flags": {"x": {"percentage": 5}}}"#).await;
    let body = json(&reply);
    // A server that reads says no to the first flag of the import, another one to the import as a whole.
    let error = if problem(&reply) == "incomplete" { &body["flags"][0]["error"] } else { &body };
    assert_eq!(error["type"], "urn:tower-flags:store-rejected", "{body}");
    assert_eq!(error["permanent"], is_permanent, "{body}");

    let killed = api.ask("POST", "flags/x/kill", &[], "").await;
    let body = json(&killed);
    assert_eq!((killed.status, &body["in_doubt"]), (202, &json!(false)), "{body}");
    assert_eq!(body["permanent"], is_permanent, "{body}");
    let error = body["error"].as_str().unwrap();
    assert!(error.contains("nothing was changed, because ") && error.contains(because), "{error}");
}

#[cfg(feature = "redis")]
mod redis {
    use tower_flags::store::RedisStore;

    use super::super::outage::until;
    use super::super::servers::Redis;
    use super::*;

    fn command(server: &Redis, words: &[&str]) -> String {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        tokio::task::block_in_place(|| server.command(&words))
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "needs Redis, which tests/run.sh installs"]
    async fn a_user_who_may_not_do_it_is_told_so_in_every_way() {
        let server = tokio::task::block_in_place(Redis::start);
        fill(&RedisStore::new(&server.url()).unwrap()).await;
        for (user, lost) in
            [("writes_nothing", "-@write"), ("runs_no_scripts", "-@scripting"), ("reads_nothing", "-getrange")]
        {
            command(&server, &["ACL", "SETUSER", user, "on", ">secret", "~*", "&*", "+@all"]);
            let theirs = RedisStore::new(&format!("redis://{user}:secret@{}", server.address())).unwrap();
            let api = Api::over(theirs).await;
            let etag = api.etag("x").await;
            command(&server, &["ACL", "SETUSER", user, lost]);
            all_are_rejected(&api, &etag, "not allowed", true).await;
        }
        assert_eq!(RedisStore::new(&server.url()).unwrap().read("x").await.unwrap().version, 2);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "needs Redis, which tests/run.sh installs"]
    async fn a_server_without_memory_rejects_every_edit() {
        let server = tokio::task::block_in_place(Redis::start);
        let store = RedisStore::new(&server.url()).unwrap();
        fill(&store).await;
        let api = Api::over(store.clone()).await;
        let etag = api.etag("x").await;
        command(&server, &["CONFIG", "SET", "maxmemory", "1"]);
        all_are_rejected(&api, &etag, "out of memory", false).await;
        assert_eq!(store.read("x").await.unwrap().version, 2);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "needs Redis, which tests/run.sh installs"]
    async fn a_replica_rejects_every_edit_for_good() {
        let primary = tokio::task::block_in_place(Redis::start);
        fill(&RedisStore::new(&primary.url()).unwrap()).await;
        let (host, port) = (primary.address().ip().to_string(), primary.address().port().to_string());
        let replica = tokio::task::block_in_place(|| Redis::start_with(&["--replicaof", &host, &port]));
        let store = RedisStore::new(&replica.url()).unwrap();
        until(async || store.read("x").await.is_ok_and(|stored| stored.version == 2)).await;
        let api = Api::over(store.clone()).await;
        let etag = api.etag("x").await;
        all_are_rejected(&api, &etag, "replica", true).await;
    }
}

#[cfg(feature = "postgres")]
mod postgres {
    use sqlx::{Connection, Executor};
    use tower_flags::store::PostgresStore;

    use super::super::servers::Postgres;
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "needs PostgreSQL, which tests/run.sh installs"]
    async fn a_role_that_may_not_do_it_is_told_so_in_every_way() {
        let server = tokio::task::block_in_place(Postgres::start);
        let url = server.fresh();
        let store = PostgresStore::new(&url).unwrap();
        fill(&store).await;
        server.sql(&url, "CREATE ROLE theirs LOGIN; GRANT ALL ON ALL TABLES IN SCHEMA public TO theirs");
        let theirs = PostgresStore::new(&url.replace("postgres@", "theirs@")).unwrap();
        let api = Api::over(theirs).await;
        let etag = api.etag("x").await;
        for lost in ["INSERT, UPDATE, DELETE", "SELECT"] {
            server.sql(&url, &format!("REVOKE {lost} ON ALL TABLES IN SCHEMA public FROM theirs"));
            all_are_rejected(&api, &etag, "grant the role what it needs", true).await;
        }
        assert_eq!(store.read("x").await.unwrap().version, 2);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "needs PostgreSQL, which tests/run.sh installs"]
    async fn a_lock_that_somebody_holds_rejects_every_edit() {
        let server = tokio::task::block_in_place(Postgres::start);
        for lock in ["tower_flags IN ACCESS EXCLUSIVE", "tower_flags_head IN SHARE"] {
            let url = server.fresh();
            let store = PostgresStore::new(&url).unwrap();
            fill(&store).await;
            let api = Api::over(store.clone()).await;
            let etag = api.etag("x").await;
            let mut theirs = sqlx::PgConnection::connect(&url).await.unwrap();
            let lock = format!("BEGIN; LOCK TABLE {lock} MODE");
            theirs.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(lock))).await.unwrap();
            all_are_rejected(&api, &etag, "another transaction holds a lock", false).await;
            theirs.execute("ROLLBACK").await.unwrap();
            // What follows is the kill, once.
            super::super::outage::until(async || api.source.local_kills().is_empty()).await;
            assert_eq!(store.read("x").await.unwrap().version, 3);
        }
    }
}
