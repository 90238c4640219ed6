//! A thousand edits over HTTP at once, over every store: none is lost, and the history has each of them once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tower_flags::admin::{self, Tokens};
use tower_flags::source::Live;
use tower_flags::store::{Author, Change, StoreExt};

use super::api::{Operator, json, request_over};
use super::outage::until;
use super::support::{Client, serve};
use super::urls::open;

const CLIENTS: [(&str, &str); 4] = [
    ("ann", "ann-0123456789abcdef0123456789abcdef"),
    ("ben", "ben-0123456789abcdef0123456789abcdef"),
    ("cay", "cay-0123456789abcdef0123456789abcdef"),
    ("dan", "dan-0123456789abcdef0123456789abcdef"),
];
/// Edits of each client: half of them of the flag that all edit, and half of its own flag.
const EDITS: usize = 250;
const SHARED: &str = "shared";

/// A process with the admin API over a store of its own.
async fn start(url: &str) -> SocketAddr {
    let mut tokens = Tokens::new();
    for (name, token) in CLIENTS {
        tokens = tokens.editor(name, token).unwrap();
    }
    let live = Live::connect(open(url)).await.unwrap();
    serve(admin::router(open(url), live, tokens)).await
}

/// What one client was told: of each of its edits the flag, and which version it made.
type Told = BTreeMap<String, (String, u64)>;

async fn edit(address: SocketAddr, name: &'static str, token: &str) -> Told {
    let (mut client, bearer) = (Client::open(address).await, format!("Bearer {token}"));
    let mut told = Told::new();
    for number in 0..EDITS {
        let (flag, key) = ([SHARED, name][number % 2], format!("{name}{number}"));
        // A key of its own each time: an edit that is lost is a key that is missing.
        let patch = format!(r#"{{"metadata": {{"{key}": {number}}}}}"#);
        let path = format!("/flags/{flag}?reason={key}");
        let headers = [("authorization", bearer.as_bytes())];
        let begin = Instant::now();
        let reply = loop {
            let reply = request_over(&mut client, "PATCH", &path, &headers, patch.as_bytes()).await;
            // A machine that is busy with others can take longer over an edit than its time. The answer says that nothing
            // was changed, so the client asks again.
            let is_late = reply.status == 503 && reply.text().contains("nothing was changed, because flag");
            if !is_late || begin.elapsed() > Duration::from_secs(60) {
                break reply;
            }
        };
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        let shown = json(&reply);
        assert_eq!((&shown["stored"], &shown["changed"]), (&json!(true), &json!(true)), "{path}");
        assert_eq!(shown["flag"]["metadata"][&key], number, "{path}: it is in what came out");
        told.insert(key, (flag.to_owned(), shown["version"].as_u64().unwrap()));
    }
    told
}

/// A thousand edits by four clients, who are spread over so many processes.
async fn nothing_is_lost(url: &str, processes: usize) {
    let store = open(url);
    let mut flags = vec![SHARED];
    flags.extend(CLIENTS.map(|(name, _)| name));
    for flag in &flags {
        let put = Change::put_text(r#"{"enabled":true,"metadata":{}}"#);
        store.change(*flag, put, &Author::new("setup")).await.unwrap();
    }
    let mut addresses = Vec::new();
    for _ in 0..processes {
        addresses.push(start(url).await);
    }
    let begin = Instant::now();
    let clients = CLIENTS.iter().enumerate().map(|(number, (name, token))| {
        let address = addresses[number % processes];
        (*name, tokio::spawn(edit(address, name, token)))
    });
    let mut told = BTreeMap::new();
    for (name, client) in clients.collect::<Vec<_>>() {
        told.extend(client.await.unwrap().into_iter().map(|(key, made)| (key, (name, made))));
    }
    let took = begin.elapsed();
    println!("{}, {processes} admin: {} edits in {took:?}", store.name(), told.len());

    // Every edit made a version of its own.
    let versions: BTreeSet<&(String, u64)> = told.values().map(|(_, made)| made).collect();
    assert_eq!(versions.len(), CLIENTS.len() * EDITS, "two edits were told the same version");
    // What everybody sees is all of it.
    for address in &addresses {
        let operator = Operator::at(*address, "", CLIENTS[0].1);
        for flag in &flags {
            let path = format!("flags/{flag}");
            let edits: Vec<_> = told.iter().filter(|(_, (_, (edited, _)))| edited == flag).collect();
            let version = edits.len() as u64 + 1;
            until(async || operator.get(&path).await["in_force"]["version"] == version).await;
            let shown = operator.get(&path).await;
            assert_eq!((&shown["version"], &shown["changed_outside"]), (&json!(version), &json!(false)), "{flag}");
            let keys: Vec<&String> = shown["flag"]["metadata"].as_object().unwrap().keys().collect();
            assert_eq!(keys, edits.iter().map(|(key, _)| *key).collect::<Vec<_>>(), "{flag}");
        }
    }
    // The history has each of them once, by whom and why, as the version that they were told.
    let operator = Operator::at(addresses[0], "", CLIENTS[0].1);
    let (mut before, mut number) = (String::new(), (CLIENTS.len() * EDITS + flags.len()) as u64);
    while number > 0 {
        let page = operator.get(&format!("history?limit=100{before}")).await;
        for entry in page["entries"].as_array().unwrap() {
            assert_eq!(entry["number"], number, "numbers have no gap");
            number -= 1;
            if entry["actor"] == "setup" {
                continue;
            }
            let (actor, (flag, version)) = told.remove(entry["reason"].as_str().unwrap()).expect("once");
            assert_eq!(
                (&entry["actor"], &entry["flag"], &entry["version"]),
                (&json!(actor), &json!(flag), &json!(version)),
                "{}",
                entry["reason"]
            );
        }
        before = format!("&before={}", page["next"]);
        assert_eq!(page["next"] == Value::Null, number == 0);
    }
    assert!(told.is_empty(), "acknowledged, and not in the history: {told:?}");
    let head = store.verify_history().await.unwrap().unwrap();
    assert_eq!(head.number, (CLIENTS.len() * EDITS + flags.len()) as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_thousand_patches_at_once_none_is_lost_in_sqlite() {
    for processes in [1, 2] {
        let folder = tempfile::tempdir().unwrap();
        nothing_is_lost(&format!("sqlite:{}", folder.path().join("flags.db").display()), processes).await;
    }
}

#[cfg(feature = "file")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_thousand_patches_at_once_none_is_lost_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flags.json");
    std::fs::write(&path, r#"{"flags": {}}"#).unwrap();
    nothing_is_lost(&format!("file:{}", path.display()), 1).await;
}

#[cfg(feature = "redis")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Redis, which tests/run.sh installs"]
async fn of_a_thousand_patches_at_once_none_is_lost_in_redis() {
    for processes in [1, 2] {
        let redis = tokio::task::block_in_place(super::servers::Redis::start);
        nothing_is_lost(&redis.url(), processes).await;
    }
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL, which tests/run.sh installs"]
async fn of_a_thousand_patches_at_once_none_is_lost_in_postgresql() {
    let postgres = tokio::task::block_in_place(super::servers::Postgres::start);
    for processes in [1, 2] {
        nothing_is_lost(&postgres.fresh(), processes).await;
    }
}
