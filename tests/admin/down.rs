//! Switching off while a real store is away: killed, frozen, cut off; and the process that did it is killed, too.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection};
use tower_flags::store::{Author, Change, HistoryPage, StoreExt};

use super::api::{json, problem};
use super::outage::until;
use super::places::{Kind, Server};
use super::process::Process;
use super::proxy::{Line, Proxy};
use super::servers::Postgres;

/// How the server of the store goes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Away {
    Killed,
    Frozen,
    /// It is there for others.
    Cut,
}

impl Away {
    const ALL: [Self; 3] = [Self::Killed, Self::Frozen, Self::Cut];
}

/// A store on a server, a line to it, and a process behind that with a backup file.
struct Place {
    server: Box<dyn Server>,
    proxy: Proxy,
    folder: tempfile::TempDir,
    url: String,
}

impl Place {
    async fn with(kind: Kind, flags: &[&str]) -> Self {
        let server = tokio::task::block_in_place(|| kind.start());
        let proxy = Proxy::start(server.address()).await;
        for flag in flags {
            let put = Change::put_text(r#"{"enabled":true,"owner":"me"}"#);
            server.open(None).change(*flag, put, &Author::new("setup")).await.unwrap();
        }
        let url = kind.url(proxy.address());
        Self { server, proxy, folder: tempfile::tempdir().unwrap(), url }
    }

    /// The process; again with what it has left in its backup file.
    fn start(&self) -> Process {
        tokio::task::block_in_place(|| Process::start(&self.url, Some(&self.folder.path().join("backup"))))
    }

    fn goes(&mut self, away: Away) {
        tokio::task::block_in_place(|| match away {
            Away::Killed => self.server.kill(),
            Away::Frozen => self.server.freeze(),
            Away::Cut => self.proxy.set(Line::Reset),
        });
    }

    fn comes_back(&mut self, away: Away) {
        tokio::task::block_in_place(|| match away {
            Away::Killed => self.server.start_again(),
            Away::Frozen => self.server.thaw(),
            Away::Cut => self.proxy.set(Line::Good),
        });
    }
}

async fn local_kills(process: &Process) -> Value {
    process.admin.get("status").await["local_kills"].clone()
}

/// Switches a flag off by the one line that everybody remembers, while the store is away. How long before the answer
/// requests saw it.
async fn kill(process: &Process, flag: &str) -> Duration {
    assert!(process.is_on(flag).await);
    let path = format!("flags/{flag}?reason=INC-17");
    let asked = async {
        let reply = process.admin.ask("PATCH", &path, &[], r#"{"enabled": false}"#).await;
        (reply, Instant::now())
    };
    let seen = async {
        until(async || !process.is_on(flag).await).await;
        Instant::now()
    };
    let ((reply, answered), seen) = tokio::join!(asked, seen);
    let body = json(&reply);
    assert_eq!(reply.status, 202, "{body}");
    assert_eq!((&body["stored"], &body["scope"]), (&json!(false), &json!("this process")), "{body}");
    assert_eq!(body["in_force"]["enabled"], false, "{body}");
    assert!(!process.is_on(flag).await);
    answered.saturating_duration_since(seen)
}

fn is_of(kill: &Value, flag: &str, question: bool) -> bool {
    (&kill["flag"], &kill["by"], &kill["reason"]) == (&json!(flag), &json!("alice"), &json!("INC-17"))
        && (&kill["version"], &kill["question"]) == (&json!(1), &json!(question))
}

async fn is_written_later(kind: Kind, away: Away) {
    let mut place = Place::with(kind, &["a", "b"]).await;
    let first = place.start();
    place.goes(away);
    let before = kill(&first, "a").await;
    assert!(away != Away::Frozen || before > Duration::from_millis(500), "it waited for the store: {before:?}");
    assert!(first.is_on("b").await);
    let kills = local_kills(&first).await;
    assert!(kills.as_array().unwrap().len() == 1 && is_of(&kills[0], "a", false), "{kills}");
    // By `kill -9`, right after the answer.
    drop(first);

    let second = place.start();
    assert!(!second.is_on("a").await && second.is_on("b").await, "it knows from its backup file");
    let kills = local_kills(&second).await;
    assert!(kills.as_array().unwrap().len() == 1 && is_of(&kills[0], "a", false), "{kills}");
    let edit = second.admin.ask("PATCH", "flags/b", &[], r#"{"percentage": 5}"#).await;
    assert_eq!((edit.status, problem(&edit).as_str()), (503, "store-unavailable"));

    place.comes_back(away);
    until(async || local_kills(&second).await == json!([])).await;
    assert!(!second.is_on("a").await && second.is_on("b").await);
    let shown = second.admin.get("flags/a").await;
    assert_eq!((&shown["flag"]["enabled"], &shown["flag"]["owner"]), (&json!(false), &json!("me")), "{shown}");
    let store = place.server.open(None);
    let entries = store.history(&HistoryPage::newest().of("a")).await.unwrap();
    assert_eq!((entries.len(), entries[0].version), (2, 2), "once");
    assert_eq!((entries[0].actor.as_deref(), entries[0].reason.as_deref()), (Some("alice"), Some("INC-17")));
    assert!(store.verify_history().await.unwrap().is_ok());
    // Nothing of it is left in the backup file.
    drop(second);
    assert_eq!(local_kills(&place.start()).await, json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Redis, which tests/run.sh installs"]
async fn a_kill_outlives_redis_and_the_process_and_is_written_by_whoever_asked() {
    for away in Away::ALL {
        is_written_later(Kind::Redis, away).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL, which tests/run.sh installs"]
async fn a_kill_outlives_postgresql_and_the_process_and_is_written_by_whoever_asked() {
    for away in Away::ALL {
        is_written_later(Kind::Postgres, away).await;
    }
}

async fn is_a_question(kind: Kind) {
    let mut place = Place::with(kind, &["a", "b", "c"]).await;
    let first = place.start();
    let store = place.server.open(None);
    place.goes(Away::Cut);
    for flag in ["a", "b", "c"] {
        kill(&first, flag).await;
    }
    // Somebody who still reaches the store.
    for flag in ["a", "b"] {
        store.change(flag, Change::put_text(r#"{"percentage":100}"#), &Author::new("carol")).await.unwrap();
    }
    drop(first);
    let second = place.start();
    assert!(!second.is_on("a").await && !second.is_on("b").await && !second.is_on("c").await);
    place.comes_back(Away::Cut);
    // What is no question is written, which comes last of the three.
    until(async || local_kills(&second).await.as_array().unwrap().len() == 2).await;
    until(async || {
        let kills = local_kills(&second).await;
        is_of(&kills[0], "a", true) && is_of(&kills[1], "b", true)
    })
    .await;
    assert_eq!(store.read("c").await.unwrap().version, 2);
    for flag in ["a", "b"] {
        assert_eq!(store.read(flag).await.unwrap().version, 2, "nothing is written");
        assert!(!second.is_on(flag).await, "off until somebody says");
    }

    let reply = second.admin.ask("POST", "flags/a/kill?reason=still", &[], "").await;
    assert_eq!((reply.status, &json(&reply)["stored"]), (200, &json!(true)), "{}", reply.text());
    let reply = second.admin.ask("POST", "flags/b/forget-kill", &[], "").await;
    assert_eq!((reply.status, &json(&reply)["local_kill"]), (200, &Value::Null), "{}", reply.text());
    until(async || local_kills(&second).await == json!([])).await;
    assert!(!second.is_on("a").await && second.is_on("b").await);
    for flag in ["a", "b"] {
        let again = second.admin.ask("POST", &format!("flags/{flag}/forget-kill"), &[], "").await;
        assert_eq!(problem(&again), "no-local-kill", "it is answered once");
    }
    let entry = store.history(&HistoryPage::newest().of("a")).await.unwrap().remove(0);
    assert_eq!((entry.version, entry.actor.as_deref(), entry.reason.as_deref()), (3, Some("alice"), Some("still")));
    let entry = store.history(&HistoryPage::newest().of("b")).await.unwrap().remove(0);
    assert_eq!((entry.version, entry.actor.as_deref()), (2, Some("carol")));
    assert!(store.verify_history().await.unwrap().is_ok());
    // Nor does it come back with another process.
    drop(second);
    let third = place.start();
    assert!(!third.is_on("a").await && third.is_on("b").await);
    assert_eq!(local_kills(&third).await, json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Redis, which tests/run.sh installs"]
async fn a_kill_of_what_was_edited_meanwhile_is_a_question_that_is_answered_once_in_redis() {
    is_a_question(Kind::Redis).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL, which tests/run.sh installs"]
async fn a_kill_of_what_was_edited_meanwhile_is_a_question_that_is_answered_once_in_postgresql() {
    is_a_question(Kind::Postgres).await;
}

/// Somebody leaves a lock in psql, and the kill that everybody then tries takes no connection from others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL, which tests/run.sh installs"]
async fn a_kill_at_a_locked_table_is_in_effect_and_leaves_nothing_waiting_in_the_server() {
    let server = tokio::task::block_in_place(|| Postgres::start_with(&["max_connections=40"]));
    let store = Server::open(&server, None);
    for flag in ["a", "b"] {
        store.change(flag, Change::put_text("true"), &Author::new("setup")).await.unwrap();
    }
    let processes: Vec<_> =
        (0..4).map(|_| tokio::task::block_in_place(|| Process::start(&server.url(), None))).collect();
    let mut theirs = PgConnection::connect(&server.url()).await.unwrap();
    theirs.execute("BEGIN; LOCK TABLE tower_flags IN ACCESS EXCLUSIVE MODE").await.unwrap();

    kill(&processes[0], "a").await;
    let start = Instant::now();
    // Of each process and of this one at most what the docs promise: four, and one that listens.
    let most = (processes.len() + 1) * 5 + 1;
    // Long enough for ten statements that would each stay behind.
    while start.elapsed() < Duration::from_secs(20) {
        let backends = tokio::task::block_in_place(|| server.backends());
        assert!(backends <= most, "{backends} connections after {:?}, expected {most} at most", start.elapsed());
        assert!(!processes[0].is_on("a").await && processes[0].is_on("b").await);
    }
    assert_eq!(local_kills(&processes[0]).await.as_array().map(Vec::len), Some(1), "it waits");

    theirs.execute("ROLLBACK").await.unwrap();
    for process in &processes {
        until(async || !process.is_on("a").await && local_kills(process).await == json!([])).await;
    }
    assert_eq!(store.read("a").await.unwrap().version, 2, "once");
}
