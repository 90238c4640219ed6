//! What a Redis server says of itself, and what the status makes of it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![cfg(feature = "redis")]

#[path = "support/hasty.rs"]
mod hasty;
#[path = "support/servers.rs"]
mod servers;

use std::time::{Duration, SystemTime};

use hasty::Hasty;
use servers::Redis;
use tower_flags::Timestamp;
use tower_flags::source::{Freshness, Live, Source};
use tower_flags::store::{Author, Change, Condition, Feed, RedisStore, StoreExt};

const ALWAYS: [&str; 6] = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""];
const EVERYSEC: [&str; 6] = ["--appendonly", "yes", "--appendfsync", "everysec", "--save", ""];

fn store(server: &Redis) -> RedisStore {
    RedisStore::new(&server.url()).unwrap()
}

fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}

async fn problems(store: &RedisStore) -> Vec<String> {
    store.condition().await.unwrap().problems.iter().map(ToString::to_string).collect()
}

fn set(server: &Redis, setting: &str, value: &str) {
    server.command(&[b"CONFIG", b"SET", setting.as_bytes(), value.as_bytes()]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis, which tests/run.sh installs"]
async fn a_policy_that_evicts_keys_is_a_problem_as_long_as_it_is_set() {
    let server = Redis::start_with(&ALWAYS);
    let store = store(&server);
    assert_eq!(problems(&store).await, [""; 0]);
    set(&server, "maxmemory", "100mb");
    for policy in ["allkeys-lru", "allkeys-random", "volatile-ttl"] {
        // The connection is the same all the time: nothing is asked on connecting alone.
        set(&server, "maxmemory-policy", policy);
        let problems = problems(&store).await;
        let problem = format!("expected maxmemory-policy noeviction, found maxmemory-policy {policy}");
        assert!(problems.len() == 1 && problems[0].starts_with(&problem), "{problems:?}");
        assert!(problems[0].ends_with("CONFIG SET maxmemory-policy noeviction"), "{problems:?}");
    }
    set(&server, "maxmemory", "0");
    assert!(problems(&store).await[0].contains("as soon as maxmemory is set"));
    set(&server, "maxmemory-policy", "noeviction");
    assert_eq!(problems(&store).await, [""; 0]);

    // A managed server refuses CONFIG.
    set(&server, "maxmemory-policy", "allkeys-lfu");
    server.command(&[b"ACL", b"SETUSER", b"default", b"-config"]);
    assert!(problems(&self::store(&server)).await[0].contains("allkeys-lfu"));
}

/// Whether it is Redis 7.2 or newer.
fn has_waitaof(server: &Redis) -> bool {
    let info = server.value(&[b"INFO", b"server"]).unwrap();
    let version = info.lines().find_map(|line| line.strip_prefix("redis_version:")).unwrap();
    let numbers: Vec<u32> = version.trim().split('.').map(|number| number.parse().unwrap()).collect();
    numbers >= vec![7, 2]
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis, which tests/run.sh installs"]
async fn settings_that_lose_acknowledged_edits_are_a_problem_with_the_line_to_set() {
    let server = Redis::start_with(&EVERYSEC);
    let store = store(&server);
    let found = async |found: &str, help: &str| {
        let problems = problems(&store).await;
        let problem =
            format!("expected a server that keeps acknowledged edits when it is killed, found {found}; {help}");
        assert!(problems.len() == 1 && problems[0].starts_with(&problem), "{problems:?}");
    };
    // Debian's may be new enough to need nothing.
    let is_old = !has_waitaof(&server);
    if is_old {
        found("appendfsync everysec", "CONFIG SET appendfsync always").await;
    }
    set(&server, "appendfsync", "no");
    found("appendfsync no", "CONFIG SET appendfsync always").await;
    set(&server, "appendonly", "no");
    found("appendonly no", "CONFIG SET appendonly yes and CONFIG SET appendfsync always").await;
    // What is set is what the line says.
    set(&server, "appendonly", "yes");
    set(&server, "appendfsync", "always");
    assert_eq!(problems(&store).await, [""; 0]);

    // Who may not ask is told of it where edits can be made there: before the first of them.
    set(&server, "appendfsync", "everysec");
    let reader = RedisStore::new(&server.url_of_documented("app", &[])).unwrap();
    assert_eq!(problems(&reader).await, [""; 0]);
    let editor = RedisStore::new(&server.url_of_documented("editor", &[])).unwrap();
    if is_old {
        let problems = problems(&editor).await;
        assert!(problems[0].contains("an appendfsync that this user may not "), "{problems:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Valkey, which tests/run.sh installs"]
async fn a_server_that_tells_when_edits_are_on_its_disk_needs_no_other_policy() {
    let server = Redis::start_newer_with(&EVERYSEC);
    let store = store(&server);
    assert_eq!(problems(&store).await, [""; 0]);
    store.change("x", Change::put_text("true"), &Author::new("alice")).await.unwrap();
    assert_eq!(problems(&store).await, [""; 0]);

    server.command(&[b"ACL", b"SETUSER", b"default", b"-waitaof"]);
    let store = self::store(&server);
    store.change("x", Change::kill(), &Author::new("alice")).await.unwrap();
    let problems = problems(&store).await;
    assert!(problems.len() == 1 && problems[0].contains("a user who may not call WAITAOF; "), "{problems:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis, which tests/run.sh installs"]
async fn the_clock_of_the_server_is_known() {
    let server = Redis::start_with(&ALWAYS);
    let before = now();
    let clock = store(&server).condition().await.unwrap().clock.unwrap();
    // They are one machine's; both are cut off to milliseconds.
    assert!((before.unix_millis() - 1..=now().unix_millis()).contains(&clock.unix_millis()), "{before} {clock}");
    server.command(&[b"ACL", b"SETUSER", b"default", b"-time", b"-info", b"-config"]);
    let condition = store(&server).condition().await.unwrap();
    assert_eq!(condition, Condition::default());
}

/// How often conditions are asked for here.
const OFTEN: Duration = Duration::from_millis(200);

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    Killed,
    /// The line stays open, and nothing comes.
    Frozen,
}

async fn cut_off(fault: Fault) {
    let mut primary = Redis::start_with(&[&ALWAYS[..], &["--repl-ping-replica-period", "1"]].concat());
    store(&primary).change("x", Change::put_text("true"), &Author::new("alice")).await.unwrap();
    let (host, port) = (primary.address().ip().to_string(), primary.address().port().to_string());
    let settings = ["--replicaof", &host, &port, "--save", "", "--repl-ping-replica-period", "1"];
    let replica = Redis::start_with(&settings);
    let source = Live::connect(Hasty(store(&replica), OFTEN)).await.unwrap();
    until("the replica has the flag", || source.status().flags == 1).await;
    until("it is fresh", || source.status().freshness == Freshness::Fresh).await;
    assert_eq!(source.status().problems, [], "a replica need not keep anything");

    let lost = now();
    match fault {
        Fault::Killed => primary.kill(),
        Fault::Frozen => primary.freeze(),
    }
    let since = || match source.status().freshness {
        Freshness::StaleSince(since) => Some(since),
        _ => None,
    };
    until("it is stale", || since().is_some()).await;
    // The server counts seconds, and a beginning one too.
    let since = since().unwrap();
    let range = lost.unix_millis() - 3000..=now().unix_millis();
    assert!(range.contains(&since.unix_millis()), "{since} is not within {fault:?} at {lost}");
    let problems: Vec<String> = source.status().problems.iter().map(ToString::to_string).collect();
    assert!(problems[0].contains("expected a replica that its primary reaches, found master_l"), "{problems:?}");
    assert_eq!(source.status().last_error, None, "the replica itself answers");

    match fault {
        Fault::Killed => primary.start_again(),
        Fault::Frozen => primary.thaw(),
    }
    until("it is fresh again", || source.status().freshness == Freshness::Fresh).await;
    assert_eq!(source.status().problems, []);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis, which tests/run.sh installs"]
async fn a_replica_whose_primary_is_killed_is_stale_since_then() {
    cut_off(Fault::Killed).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis, which tests/run.sh installs"]
async fn a_replica_whose_primary_is_frozen_is_stale_since_then() {
    cut_off(Fault::Frozen).await;
}
