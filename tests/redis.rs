//! Flags in Redis, on real servers.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![cfg(all(feature = "redis", feature = "testing"))]

#[path = "support/servers.rs"]
mod servers;

#[path = "support/rewound.rs"]
mod rewound;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rewound::is_on;

use servers::{Redis, documented_rules};
use tower_flags::source::{Freshness, Live, Source};
use tower_flags::store::{Author, Change, ChangeError, ErrorKind, Feed, HistoryPage, RedisStore, Store, StoreExt};
use tower_flags::testing::{StoreFixture, check_store};

struct OnRedis {
    server: Mutex<Redis>,
    databases: AtomicU32,
}

/// The number of a store's database, from its name.
fn database(store: &RedisStore) -> String {
    store.name().split(['/', ' ']).nth(2).unwrap().to_owned()
}

impl OnRedis {
    fn store(&self, database: &str) -> RedisStore {
        RedisStore::new(&format!("{}/{database}", self.server.lock().unwrap().url())).unwrap()
    }
}

impl StoreFixture for OnRedis {
    type Store = RedisStore;

    async fn fresh(&self) -> RedisStore {
        self.store(&self.databases.fetch_add(1, Ordering::Relaxed).to_string())
    }

    async fn another(&self, store: &RedisStore) -> RedisStore {
        self.store(&database(store))
    }

    async fn restarted(&self, store: RedisStore) -> RedisStore {
        let mut server = self.server.lock().unwrap();
        server.kill();
        server.start_again();
        store
    }

    async fn write_past(&self, store: &RedisStore, flag: &str, text: Option<&[u8]>) {
        let key = format!("ff:{flag}");
        let server = self.server.lock().unwrap();
        match text {
            Some(text) => server.command_in(&database(store), &[b"SET", key.as_bytes(), text]),
            None => server.command_in(&database(store), &[b"DEL", key.as_bytes()]),
        };
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis, which tests/run.sh installs"]
async fn contract() {
    let arguments = ["--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--databases", "100"];
    let fixture = OnRedis { server: Mutex::new(Redis::start_with(&arguments)), databases: AtomicU32::new(0) };
    let report = check_store(&fixture).await;
    print!("{report}");
    report.assert_passed();
    assert_eq!(report.skipped().count(), 0, "{report}");
}

/// Less than the source waits before it looks by itself.
const SOON: Duration = Duration::from_secs(20);

/// Waits for what is heard of, and not only found some time.
async fn soon(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < SOON, "{what}: not within {SOON:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn store(server: &Redis) -> RedisStore {
    RedisStore::new(&server.url()).unwrap()
}

fn alice() -> Author {
    Author::new("alice")
}

async fn change(store: &RedisStore, flag: &str, change: Change) -> u64 {
    store.change(flag, change, &alice()).await.unwrap().version
}

async fn put(store: &RedisStore, flag: &str, text: &str) -> u64 {
    change(store, flag, Change::put_text(text).create_again()).await
}

fn set(server: &Redis, key: &str, value: &str) {
    server.command(&[b"SET", key.as_bytes(), value.as_bytes()]);
}

fn del(server: &Redis, key: &str) {
    server.command(&[b"DEL", key.as_bytes()]);
}

/// The value of a key; `None` where there is none.
fn value(server: &Redis, key: &str) -> Option<String> {
    server.value(&[b"GET", key.as_bytes()])
}

fn problems(source: &Live) -> String {
    source.status().problems.iter().map(|problem| format!("{problem}\n")).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis, which tests/run.sh installs"]
async fn what_anybody_changes_is_in_force_at_once() {
    let server = Redis::start();
    let (store, another) = (store(&server), store(&server));
    for flag in ["a", "b", "c", "d", "e", "f"] {
        put(&store, flag, "false").await;
    }
    let source = Live::connect(store).await.unwrap();
    let is_on = |flag: &str| is_on(&source, flag);

    set(&server, "ff:a", r#"{"enabled": true}"#);
    soon("SET", || is_on("a")).await;
    del(&server, "ff:a");
    soon("DEL", || !is_on("a")).await;
    set(&server, "elsewhere", "true");
    server.command(&[b"RENAME", b"elsewhere", b"ff:a"]);
    soon("RENAME", || is_on("a")).await;
    server.command(&[b"PEXPIRE", b"ff:a", b"20"]);
    soon("expiry", || !is_on("a")).await;
    set(&server, "ff:new", "true");
    soon("a new flag", || is_on("new")).await;
    put(&another, "b", "true").await;
    soon("an edit of another process", || is_on("b")).await;
    set(&server, "feature:b", "false");
    soon("a plain switch", || !is_on("b")).await;
    del(&server, "feature:b");
    soon("a plain switch that is gone", || is_on("b")).await;
    set(&server, "feature:plain", "true");
    soon("a plain switch alone", || is_on("plain")).await;

    server.command(&[b"FLUSHDB"]);
    soon("FLUSHDB", || problems(&source).contains("at least half of the 7 flags in force")).await;
    assert!(is_on("b"), "what is all gone at once stays in force");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis, which tests/run.sh installs"]
async fn a_false_in_either_key_is_off_and_an_edit_brings_both_into_line() {
    let server = Redis::start();
    let store = store(&server);
    for (key, text) in [
        ("ff:both", r#"{"enabled": true, "percentage": 100, "owner": "pay"}"#),
        ("feature:both", "False\n"),
        ("feature:on", "true"),
        ("feature:off", "false"),
        ("feature:odd", "True"),
        ("ff:odd_beside", "true"),
        ("feature:odd_beside", "yes"),
    ] {
        set(&server, key, text);
    }
    let source = Live::connect(store.clone()).await.unwrap();
    let on: Vec<&str> =
        ["both", "on", "off", "odd", "odd_beside"].into_iter().filter(|flag| is_on(&source, flag)).collect();
    assert_eq!(on, ["on", "odd_beside"]);
    let told = problems(&source);
    for problem in [
        r#"feature:both: flag "both": expected what ff:both says, found false"#,
        r#"feature:odd: flag "odd": expected true or false, found "True""#,
        r#"feature:odd_beside: flag "odd_beside": expected true or false, found "yes"; ff:odd_beside decides alone"#,
    ] {
        assert!(told.contains(problem), "{told}");
    }

    // Somebody else's kill is an entry of the history, and a restore undoes it with all settings.
    change(&store, "both", Change::restore()).await;
    soon("a restore", || is_on(&source, "both")).await;
    assert_eq!(value(&server, "feature:both").as_deref(), Some("true"));
    let history = store.history(&HistoryPage::newest().of("both")).await.unwrap();
    let said: Vec<_> = history.iter().map(|entry| (entry.actor.as_deref(), entry.after.as_deref().unwrap())).collect();
    let text = |enabled| format!(r#"{{"enabled": {enabled}, "percentage": 100, "owner": "pay"}}"#);
    assert_eq!(said, [(Some("alice"), &*text(true)), (None, &*text(false))]);
    assert_eq!(value(&server, "ff:both"), Some(text(true)));

    // A kill of a switch makes a definition beside it, and is seen by those who know switches alone.
    change(&store, "on", Change::kill()).await;
    soon("a kill", || !is_on(&source, "on")).await;
    assert_eq!(value(&server, "feature:on").as_deref(), Some("false"));
    assert_eq!(value(&server, "ff:on").as_deref(), Some(r#"{"enabled":false,"percentage":100}"#));
    // On for some: nobody else is switched on by it, and nothing keeps the flag off.
    change(&store, "on", Change::put_text(r#"{"percentage": 100, "requires": ["odd_beside"]}"#)).await;
    soon("a restore for some", || is_on(&source, "on")).await;
    assert_eq!(value(&server, "feature:on"), None);
    change(&store, "odd", Change::put_text("true")).await;
    soon("an odd switch put right", || is_on(&source, "odd")).await;
    assert_eq!(value(&server, "feature:odd").as_deref(), Some("true"));
    change(&store, "off", Change::remove()).await;
    assert_eq!((value(&server, "ff:off"), value(&server, "feature:off")), (None, None));
    assert_eq!(value(&server, "feature:new"), None);
    put(&store, "new", "true").await;
    assert_eq!(value(&server, "feature:new"), None, "no switch is made");
    assert!(store.verify_history().await.unwrap().is_ok());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis, which tests/run.sh installs"]
async fn values_that_are_no_definitions_cost_their_flag_alone() {
    let server = Redis::start();
    let store = store(&server);
    put(&store, "good", "true").await;
    server.command(&[b"HSET", b"ff:hash", b"a", b"b"]);
    server.command(&[b"RPUSH", b"feature:list", b"a"]);
    server.command(&[b"SET", b"ff:binary", b"\xff\xfe"]);
    server.command(&[b"SET", b"ff:\xff", b"true"]);
    server.command(&[b"SET", b"ff:cache:1", b"true"]);
    server.command(&[b"SETRANGE", b"ff:large", b"2000000", b"x"]);
    server.command(&[b"HSET", b"ff:beside", b"a", b"b"]);
    set(&server, "feature:beside", "true");
    let source = Live::connect(store.clone()).await.unwrap();
    assert_eq!(source.status().flags, 6);
    assert!(is_on(&source, "good"));
    let told = problems(&source);
    for problem in [
        r#"ff:hash: flag "hash": expected a string, found a hash"#,
        r#"feature:list: flag "list": expected true or false, found a list"#,
        r#"flag "binary": expected UTF-8, found the byte 0xff"#,
        r#"expected keys that name flags below the prefixes, found "ff:cache:1""#,
        r#"expected keys that name flags below the prefixes, found "ff:�""#,
        r#"ff:large: flag "large": expected a flag of at most 1048576 bytes, found one of 2000001"#,
        r#"ff:beside: flag "beside": expected a string, found a hash"#,
    ] {
        assert!(told.contains(problem), "{problem}\n{told}");
    }

    // An edit destroys nothing of another type; texts it replaces.
    for (flag, key) in [("hash", "ff:hash"), ("list", "feature:list"), ("beside", "ff:beside")] {
        let refused = store.change(flag, Change::put_text("true"), &alice()).await;
        let Err(ChangeError::Store(error)) = refused else { panic!("{refused:?}") };
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.to_string().contains(&format!("DEL {key}")), "{error}");
    }
    assert_eq!(server.command(&[b"TYPE", b"ff:hash"]), "+hash");
    put(&store, "binary", "true").await;
    put(&store, "large", "true").await;
    soon("good definitions", || is_on(&source, "binary") && is_on(&source, "large")).await;
    let history = store.history(&HistoryPage::newest().of("large")).await.unwrap();
    assert!(history[0].before.as_ref().is_some_and(|before| before.len() == 1024 * 1024 + 1), "as far as it is read");
    assert!(store.verify_history().await.unwrap().is_ok());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis, which tests/run.sh installs"]
async fn flags_go_on_where_the_records_of_the_store_are_broken() {
    for (key, what) in [("versions", "HGET"), ("head", "GET"), ("history", "XADD"), ("entries", "ZADD")] {
        let server = Redis::start();
        let store = store(&server);
        put(&store, "x", "true").await;
        let key = format!("tower-flags:{{ff:}}:{key}");
        del(&server, &key);
        server.command(&[b"RPUSH", key.as_bytes(), b"a"]);
        set(&server, "ff:y", "true");
        let loaded = store.load(None).await.unwrap().unwrap();
        assert_eq!(loaded.document.flags().count(), 2, "{what}");
        let before = loaded.revision;
        let outcome = store.change("x", Change::kill(), &alice()).await;
        let Err(ChangeError::Store(error)) = outcome else { panic!("{what}: {outcome:?}") };
        assert_eq!(error.kind(), ErrorKind::Refused, "{what}: {error}");
        let after = store.load(None).await.unwrap().unwrap();
        assert_eq!(after.revision, before, "{what}: all of an edit or nothing");
        let told: String = after.document.problems().iter().map(ToString::to_string).collect();
        if matches!(what, "HGET" | "GET") {
            assert!(told.contains(&key), "{told}");
        }
    }
    let server = Redis::start();
    let store = store(&server);
    put(&store, "x", "true").await;
    del(&server, "tower-flags:{ff:}:head");
    let lost = store.change("y", Change::put_text("true"), &alice()).await;
    assert!(matches!(&lost, Err(ChangeError::Store(error)) if error.kind() == ErrorKind::Refused), "{lost:?}");
    assert_eq!(store.read("y").await.unwrap().definition, None);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis, which tests/run.sh installs"]
async fn an_edit_is_published_and_takes_an_expiry_away() {
    use std::io::{Read, Write};
    let server = Redis::start();
    let store = store(&server);
    let mut listener = std::net::TcpStream::connect(server.address()).unwrap();
    listener.set_read_timeout(Some(SOON)).unwrap();
    listener.write_all(b"SUBSCRIBE tower-flags:{ff:}:changes\r\n").unwrap();
    let mut heard = [0; 1000];
    assert!(listener.read(&mut heard).unwrap() > 0);
    server.command(&[b"SET", b"ff:x", b"true", b"EX", b"100"]);
    assert_eq!(change(&store, "x", Change::kill()).await, 2);
    assert_eq!(server.command(&[b"TTL", b"ff:x"]), ":-1");
    let length = listener.read(&mut heard).unwrap();
    assert!(heard[..length].ends_with(b"\r\nx 2\r\n"), "{}", String::from_utf8_lossy(&heard[..length]));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis, which tests/run.sh installs"]
async fn edits_of_different_flags_at_once_are_one_chain() {
    let server = Redis::start();
    let racers: Vec<_> = (0..4)
        .map(|racer| {
            let store = store(&server);
            tokio::spawn(async move {
                for percentage in 0..50 {
                    let text = format!(r#"{{"percentage": {percentage}}}"#);
                    let change = Change::put_text(text).within(SOON);
                    store.change(format!("flag_{racer}"), change, &alice()).await.unwrap();
                }
            })
        })
        .collect();
    for racer in racers {
        racer.await.unwrap();
    }
    let head = store(&server).verify_history().await.unwrap().unwrap();
    assert_eq!(head.number, 200);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis, which tests/run.sh installs"]
async fn a_server_that_has_forgotten_its_scripts_is_told_again() {
    let server = Redis::start();
    let store = store(&server);
    for version in 1..4 {
        server.command(&[b"SCRIPT", b"FLUSH"]);
        assert_eq!(put(&store, "x", &format!(r#"{{"percentage": {version}}}"#)).await, version);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis, which tests/run.sh installs"]
async fn a_frozen_server_shows_within_ten_seconds_and_costs_nothing_else() {
    let server = Redis::start();
    let store = store(&server);
    put(&store, "x", "true").await;
    let source = Live::connect(store.clone()).await.unwrap();
    server.freeze();
    let start = Instant::now();
    soon("staleness", || source.status().freshness != Freshness::Fresh).await;
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert!(is_on(&source, "x"));
    let late = store.read("x").await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Unavailable);
    server.thaw();
    change(&store, "x", Change::kill()).await;
    soon("the server's return", || !is_on(&source, "x")).await;
    soon("freshness", || source.status().freshness == Freshness::Fresh).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis, which tests/run.sh installs"]
async fn connections_that_are_half_open_are_waited_for_once() {
    let server = Redis::start();
    let (address, line) = (server.address(), tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap());
    let store = RedisStore::new(&format!("redis://{}", line.local_addr().unwrap())).unwrap();
    let silence = tokio::sync::watch::Sender::new(());
    let silent = silence.clone();
    let line = tokio::spawn(async move {
        while let Ok((mut client, _)) = line.accept().await {
            let mut silent = silent.subscribe();
            tokio::spawn(async move {
                let mut server = tokio::net::TcpStream::connect(address).await.unwrap();
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                    _ = silent.changed() => std::future::pending().await,
                }
            });
        }
    });
    let (one, other) = tokio::join!(store.read("x"), store.read("x"));
    assert!(one.is_ok() && other.is_ok(), "two connections are there");
    silence.send_replace(());
    assert_eq!(store.read("x").await.unwrap_err().kind(), ErrorKind::Unavailable);
    let start = Instant::now();
    assert!(store.read("x").await.is_ok());
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    line.abort();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis, which tests/run.sh installs"]
async fn a_server_that_is_killed_or_not_there_yet_is_found_again() {
    let mut server = Redis::start();
    let store = store(&server);
    put(&store, "x", "true").await;
    server.kill();
    let start = Instant::now();
    let source = Live::connect(store.clone()).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert_eq!(source.status().freshness, Freshness::NeverLoaded);
    assert!(source.status().last_error.unwrap().contains("cannot be reached"));
    for _ in 0..3 {
        server.start_again();
        soon("the rules", || is_on(&source, "x")).await;
        soon("freshness", || source.status().freshness == Freshness::Fresh).await;
        change(&store, "x", Change::kill()).await;
        soon("an edit", || !is_on(&source, "x")).await;
        change(&store, "x", Change::restore()).await;
        server.kill();
        soon("the end", || source.status().freshness != Freshness::Fresh).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis, which tests/run.sh installs"]
async fn a_flag_that_was_killed_stays_off_when_an_older_copy_is_restored_until_somebody_restores_it() {
    let mut server = Redis::start_with(&["--appendonly", "no", "--save", ""]);
    // Of a process that is gone when its edits are lost, so that nobody writes them again.
    let editor = store(&server);
    put(&editor, "x", "true").await;
    put(&editor, "other", "true").await;
    server.command(&[b"SAVE"]);
    let store = store(&server);
    let source = Live::connect(store.clone()).await.unwrap();
    change(&editor, "x", Change::kill()).await;
    drop(editor);
    soon("the kill", || !is_on(&source, "x")).await;
    server.kill();
    server.start_again();
    soon("the older copy", || problems(&source).contains("revision 3 of the store or a later one, found revision 2"))
        .await;
    assert!(!is_on(&source, "x") && is_on(&source, "other"));
    assert_eq!(store.read("x").await.unwrap().version, 1, "it came back older");
    assert_eq!(change(&store, "x", Change::restore()).await, 2);
    soon("a restore", || is_on(&source, "x")).await;
}

fn run(server: &Redis, words: &[String]) {
    server.command(&words.iter().map(String::as_bytes).collect::<Vec<_>>());
}

/// A store as this user, in database 1.
fn store_of(server: &Redis, user: &str, password: &str) -> RedisStore {
    RedisStore::new(&format!("redis://{user}:{password}@{}/1", server.address())).unwrap()
}

/// Everything that a reader does: hear of a change, load, with a value of another type.
async fn use_as_reader(store: &RedisStore) -> Result<(), tower_flags::Error> {
    let _notices = store.subscribe().await?;
    assert_eq!(store.load(None).await?.unwrap().document.flags().count(), 1);
    Ok(())
}

/// Everything that an editor does.
async fn use_as_editor(store: &RedisStore, server: &Redis) -> Result<(), tower_flags::Error> {
    use_as_reader(store).await?;
    server.command_in("1", &[b"SCRIPT", b"FLUSH"]);
    for change in [
        Change::restore(),
        Change::kill(),
        Change::restore(),
        Change::remove(),
        Change::put_text("true").create_again(),
    ] {
        let changed = store.change("x", change, &alice()).await;
        changed.map_err(|error| match error {
            ChangeError::Store(error) => *error,
            error => panic!("{error}"),
        })?;
    }
    store.history(&HistoryPage::newest().of("x")).await?;
    assert!(store.verify_history().await?.is_ok());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis, which tests/run.sh installs"]
async fn users_need_what_the_docs_say_and_nothing_else() {
    let server = Redis::start();
    server.command_in("1", &[b"SET", b"feature:x", b"true"]);
    server.command_in("1", &[b"HSET", b"ff:broken", b"a", b"b"]);
    let (app, editor) = (documented_rules("app"), documented_rules("editor"));
    run(&server, &app);
    run(&server, &editor);
    use_as_reader(&store_of(&server, "app", "secret")).await.unwrap();
    use_as_editor(&store_of(&server, "editor", "secret"), &server).await.unwrap();

    for (user, password) in [("app", "wrong"), ("nobody", "secret")] {
        let store = store_of(&server, user, password);
        for error in [store.load(None).await.unwrap_err(), store.subscribe().await.err().unwrap()] {
            assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
            let said = format!("{error} {error:?} {store:?} {}", store.name());
            assert!(said.contains("not allowed") && !said.contains("wrong") && !said.contains("secret"), "{said}");
        }
    }

    // Without one of them something is denied, and the message names it.
    for (name, rules, is_editor) in [("app", &app, false), ("editor", &editor, true)] {
        for rule in rules.iter().filter(|rule| rule.starts_with('+')) {
            let command = rule.trim_start_matches('+');
            let without: Vec<String> = rules.iter().filter(|other| other != &rule).cloned().collect();
            run(&server, &["ACL", "DELUSER", name].map(str::to_owned));
            run(&server, &without);
            let store = store_of(&server, name, "secret");
            let outcome = if is_editor { use_as_editor(&store, &server).await } else { use_as_reader(&store).await };
            match outcome {
                Ok(()) => assert!(["info", "publish", "time"].contains(&command), "{name} does not need {command}"),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Denied, "{command}: {error}");
                    assert!(error.to_string().to_lowercase().contains(command), "{command}: {error}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis, which tests/run.sh installs"]
async fn who_may_only_read_is_told_when_editing() {
    let server = Redis::start();
    run(&server, &documented_rules("app"));
    let outcome = store_of(&server, "app", "secret").change("x", Change::put_text("true"), &alice()).await;
    let Err(ChangeError::Store(error)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
}

/// A file of the tests' own authority, which has vouched for `localhost`.
fn tls_file(name: &str) -> String {
    format!("{}/tests/data/tls/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis, which tests/run.sh installs"]
async fn tls_trusts_the_authorities_that_it_is_given() {
    let port = servers::free_port().to_string();
    let (certificate, key, authority) = (tls_file("server.pem"), tls_file("server.key"), tls_file("ca.pem"));
    let server = Redis::start_with(&[
        "--tls-port",
        &port,
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &authority,
        "--tls-auth-clients",
        "no",
    ]);
    run(&server, &documented_rules("editor"));
    let connect = |host: &str, authorities: Option<&str>| {
        let builder = RedisStore::builder(&format!("rediss://editor:secret@{host}:{port}/0"));
        match authorities {
            Some(file) => builder.authorities(std::fs::read(tls_file(file)).unwrap()).build().unwrap(),
            None => builder.build().unwrap(),
        }
    };
    let store = connect("localhost", Some("ca.pem"));
    put(&store, "x", "true").await;
    let source = Live::connect(store.clone()).await.unwrap();
    change(&store, "x", Change::kill()).await;
    soon("a kill", || !is_on(&source, "x")).await;
    for (host, authorities) in [("localhost", Some("other.pem")), ("localhost", None), ("127.0.0.1", Some("ca.pem"))] {
        let error = connect(host, authorities).load(None).await.unwrap_err();
        assert!(std::error::Error::source(&error).unwrap().to_string().contains("certificate"), "{error}");
    }
    assert!(rustls::crypto::CryptoProvider::get_default().is_none(), "nothing is installed for the process");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis, which tests/run.sh installs"]
async fn prefixes_can_be_others() {
    let server = Redis::start();
    let theirs = store(&server);
    let build = |prefix: &str| RedisStore::builder(&server.url()).prefix(prefix);
    let odd = build("shop*[1]:").switch_prefix("shop?:").build().unwrap();
    let alone = build("alone:").without_switches().build().unwrap();
    assert_eq!(odd.name(), format!("redis {}/0 shop*[1]:", server.address()));
    for store in [&theirs, &odd, &alone] {
        put(store, "x", "true").await;
    }
    set(&server, "shop?:switch", "true");
    set(&server, "shopX:no", "true");
    set(&server, "feature:x", "false");
    let flags = async |store: &RedisStore| {
        let document = store.load(None).await.unwrap().unwrap().document;
        document.flags().map(|(name, flag)| format!("{name} {}", flag.is_enabled())).collect::<Vec<_>>()
    };
    assert_eq!(flags(&theirs).await, ["x false"]);
    assert_eq!(flags(&odd).await, ["switch true", "x true"]);
    assert_eq!(flags(&alone).await, ["x true"]);
    assert_eq!(change(&alone, "x", Change::kill()).await, 2);
    assert_eq!(change(&alone, "x", Change::remove()).await, 3);
    let others = [build("").build(), build("ff.").build(), build("f:").switch_prefix("f:").build()];
    for refused in others.into_iter().chain([build("x:").switch_prefix("feature").build()]) {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Configuration);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis, which tests/run.sh installs"]
async fn many_and_large_definitions_are_all_there() {
    let server = Redis::start();
    let store = store(&server);
    let large = format!(r#"{{"enabled": true, "description": "{}"}}"#, "x".repeat(900_000));
    for number in 0..12 {
        set(&server, &format!("ff:large_{number}"), &large);
    }
    let many = |numbers: std::ops::Range<u32>, prefix: &str, text: &str| {
        let words = numbers.flat_map(|number| [format!("{prefix}flag_{number}"), text.to_owned()]);
        run(&server, &["MSET".to_owned()].into_iter().chain(words).collect::<Vec<_>>());
    };
    many(0..5000, "ff:", "true");
    many(0..5000, "feature:", "false");
    many(0..12_000, "ff:cache:", "true");
    let loaded = store.load(None).await.unwrap().unwrap();
    assert_eq!(loaded.document.flags().count(), 5012);
    assert_eq!(loaded.document.flags().filter(|(_, flag)| flag.is_enabled()).count(), 12);
    assert!(store.load(Some(&loaded.revision)).await.unwrap().is_none());
    let told = |text: &str| loaded.document.problems().iter().any(|problem| problem.to_string().contains(text));
    assert!(told("found at least 9990 more"));
    many(5000..10_000, "ff:", "true");
    let refused = store.load(None).await.unwrap_err();
    assert_eq!(refused.to_string().split(';').next(), Some("expected at most 10000 flags, found more"));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis, which tests/run.sh installs"]
async fn loads_that_are_given_up_do_no_harm() {
    let server = Redis::start();
    let store = store(&server);
    put(&store, "x", "true").await;
    for micros in (0..3000).step_by(20) {
        let _ = tokio::time::timeout(Duration::from_micros(micros), store.load(None)).await;
        let _ = tokio::time::timeout(Duration::from_micros(micros), store.read("x")).await;
    }
    let loaded = store.load(None).await.unwrap().unwrap();
    assert_eq!(loaded.document.flags().count(), 1);
    assert_eq!(store.read("x").await.unwrap().version, 1);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis, which tests/run.sh installs"]
async fn what_cannot_work_is_said_at_once() {
    let cluster = Redis::start_with(&["--cluster-enabled", "yes"]);
    let error = store(&cluster).read("x").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    assert!(error.to_string().contains("Redis Cluster"), "{error}");

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let old = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 1000]).unwrap();
        stream.write_all(b"-ERR unknown command `HELLO`, with args beginning with: `3`, \r\n").unwrap();
    });
    let error = RedisStore::new(&format!("redis://{address}")).unwrap().load(None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    assert!(error.to_string().contains("Redis 6 or newer"), "{error}");
    old.join().unwrap();
    assert_eq!(RedisStore::new("flags.example.com").unwrap_err().kind(), ErrorKind::Configuration);
}
