//! URLs of stores: which of them may send a password in plain text, and that none is ever shown.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![cfg(all(feature = "axum", feature = "http", feature = "postgres", feature = "redis"))]

#[path = "support/chain.rs"]
mod chain;
#[path = "support/dose.rs"]
mod dose;
mod support;

use std::io;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chain::chain;
use dose::dose;
use support::Random;
use tower_flags::source::{Live, Source};
use tower_flags::store::{
    BoxFuture, Error, ErrorKind, Feed, FeedContent, HttpFeed, Notices, PostgresStore, PostgresTable, RedisStore,
    SqliteStore,
};

/// Everything that is logged on this thread, by any crate.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn open(&self) -> tracing::subscriber::DefaultGuard {
        let writer = self.clone();
        let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false);
        tracing::subscriber::set_default(subscriber.with_writer(move || writer.clone()).finish())
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

/// A store that is never reached: nothing is sent to its host.
struct Unreached<F>(F);

impl<F: Feed> Feed for Unreached<F> {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn load<'a>(&'a self, _: Option<&'a str>) -> BoxFuture<'a, Result<Option<FeedContent>, Error>> {
        Box::pin(async { Err(Error::new(ErrorKind::Unavailable, "not reached")) })
    }

    fn subscribe(&self) -> BoxFuture<'_, Result<Box<dyn Notices>, Error>> {
        Box::pin(async { Err(Error::new(ErrorKind::Unavailable, "not reached")) })
    }

    fn setup_problems(&self) -> Vec<tower_flags::Problem> {
        self.0.setup_problems()
    }
}

fn problems(feed: &impl Feed) -> Vec<String> {
    feed.setup_problems().iter().map(ToString::to_string).collect()
}

const POSTGRES: &str = "postgres://shop:secret@192.0.2.1/shop";
const REDIS: &str = "redis://shop:secret@192.0.2.1";

#[tokio::test]
async fn a_password_that_may_cross_a_network_is_in_the_log_and_in_the_status_of_a_store_that_is_away() {
    let postgres: Arc<dyn Feed> = Arc::new(PostgresStore::new(POSTGRES).unwrap());
    let table: Arc<dyn Feed> = Arc::new(PostgresTable::new(POSTGRES, "SELECT").unwrap());
    let redis: Arc<dyn Feed> = Arc::new(RedisStore::new(REDIS).unwrap());
    for (feed, found, words) in [
        (postgres, "found a URL without sslmode", ["sslmode=verify-full", "allow_plaintext()"]),
        (table, "found a URL without sslmode", ["sslmode=verify-full", "allow_plaintext()"]),
        (redis, "found a password in a redis:// URL", ["rediss://", "allow_plaintext()"]),
    ] {
        let log = Log::default();
        let open = log.open();
        let builder = Live::builder(Unreached(feed)).start_within(Duration::from_millis(50));
        let live = builder.connect().await.unwrap();
        let status = live.status();
        drop(open);
        assert!(status.last_error.is_some());
        let said: Vec<String> = status.problems.iter().map(ToString::to_string).collect();
        assert_eq!(said.len(), 1, "{said:?}");
        for part in [found, "expected a choice between TLS and plain text for 192.0.2.1"].iter().chain(&words) {
            assert!(said[0].contains(part), "{part}: {said:?}");
        }
        let lines = log.text();
        let warnings: Vec<&str> = lines.lines().filter(|line| line.contains("WARN") && line.contains(found)).collect();
        assert_eq!(warnings.len(), 1, "{lines}");
        assert!(!format!("{said:?} {lines}").contains("secret"), "{said:?} {lines}");
    }
}

#[test]
fn one_word_says_yes_and_this_machine_needs_none() {
    for (url, is_reported) in [
        ("postgres://shop:secret@db.example.com/shop", true),
        ("postgres://shop@db.example.com", true),
        ("postgresql://[2001:db8::1]/shop", true),
        ("postgres://10.0.0.1/shop?application_name=shop", true),
        ("postgres://localhost/shop?host=db.example.com", true),
        ("postgres://localhost/shop?hostaddr=192.0.2.1", true),
        ("postgres://db.example.com/shop?sslmode=verify-full", false),
        ("postgres://db.example.com/shop?ssl-mode=require", false),
        ("postgres://db.example.com/shop?sslmode=prefer", false),
        ("postgres://db.example.com/shop?ssl%6Dode=disable", false),
        ("postgres://shop:secret@localhost/shop", false),
        ("postgres://shop:secret@127.8.9.10:5433/shop", false),
        ("postgres://shop:secret@[::1]/shop", false),
        ("postgres://shop:secret@%2Frun%2Fpostgresql/shop", false),
        ("postgres://db.example.com/shop?host=/run/postgresql", false),
    ] {
        let store = PostgresStore::new(url).unwrap();
        assert_eq!(problems(&store).len(), usize::from(is_reported), "{url}");
        assert_eq!(problems(&PostgresTable::new(url, "SELECT").unwrap()), problems(&store), "{url}");
        assert_eq!(problems(&store.allow_plaintext()), [""; 0], "{url}");
        assert_eq!(problems(&PostgresTable::new(url, "SELECT").unwrap().allow_plaintext()), [""; 0], "{url}");
    }
    for (url, is_reported) in [
        ("redis://shop:secret@redis.example.com", true),
        ("redis://:secret@10.0.0.1:7000/3", true),
        ("valkey://:secret@redis.example.com", true),
        ("redis://redis.example.com", false),
        ("redis://shop@redis.example.com", false),
        ("redis://:secret@localhost", false),
        ("redis://:secret@127.0.0.2", false),
        ("redis://:secret@[::1]", false),
        ("redis+unix:///run/redis.sock?pass=secret", false),
    ] {
        assert_eq!(problems(&RedisStore::new(url).unwrap()).len(), usize::from(is_reported), "{url}");
        assert_eq!(problems(&RedisStore::builder(url).allow_plaintext().build().unwrap()), [""; 0], "{url}");
    }
    let pem = std::fs::read("tests/data/tls/ca.pem").ok();
    let encrypted = RedisStore::builder("rediss://:secret@redis.example.com");
    let encrypted = if let Some(pem) = pem { encrypted.authorities(pem) } else { encrypted };
    // Without authorities on this machine there is no such store.
    if let Ok(store) = encrypted.build() {
        assert_eq!(problems(&store), [""; 0]);
    }
}

/// Run again by itself in another environment.
#[test]
fn the_environment_may_choose_too() {
    let expected = std::env::var("EXPECTED_PROBLEMS").ok();
    if let Some(expected) = expected {
        assert_eq!(problems(&PostgresStore::new(POSTGRES).unwrap()).len().to_string(), expected);
        return;
    }
    for (mode, expected) in [("require", "0"), ("prefer", "0"), ("no such mode", "1"), ("", "1")] {
        let mut again = Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", "the_environment_may_choose_too"]).env("PGSSLMODE", mode);
        let output = again.env("EXPECTED_PROBLEMS", expected).output().unwrap();
        assert!(output.status.success(), "{mode}: {}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn parameters_that_are_not_known_are_errors_without_their_values() {
    let log = Log::default();
    let open = log.open();
    for (url, part) in [
        ("postgres://db/shop?passwd=s3cret", "found \"passwd\"; known are application_name, dbname, "),
        ("postgres://db/shop?sslmode=require&channel_binding=s3cret", "found \"channel_binding\"; known are "),
        ("postgres://db/shop?s%73l=s3cret", "found \"ssl\"; known are "),
        ("postgres://db/shop?options[a=s3cret", "found another; known are "),
        (
            "postgres://db/shop?sslmode=s3cret",
            "expected one of disable, allow, prefer, require, verify-ca, verify-full",
        ),
        ("postgres://u:a/s3cret@db/shop", "in a password write / as %2F, ? as %3F, # as %23 and @ as %40"),
        ("postgres://u:12/s3cret@db/shop", "found an @ after the host; in a password write / as %2F"),
        ("postgres://u:12?s3cret&x=1@db/shop", "found an @ after the host"),
        ("postgres://u@v:12?s3cret&x=1@db/shop", "found another; known are "),
        ("postgres://u:#s3cret@db/shop", "found one with a #"),
        ("postgres://db/shop?pass\nword=s3cret", "found one with white space"),
    ] {
        let errors = [PostgresStore::new(url).unwrap_err(), PostgresTable::new(url, "SELECT").map(drop).unwrap_err()];
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::Configuration, "{url}");
            let said = chain(&error);
            assert!(said.contains(part), "{url}: {said}");
            assert!(!format!("{said} {error:?}").contains("s3cret"), "{url}: {said}");
        }
    }
    for (url, part) in [
        ("redis://cache?timeout=s3cret", "found the parameter \"timeout\"; known are protocol"),
        ("redis://cache/0?protocol=resp3&s3cret", "found another parameter; known are protocol"),
        ("redis://cache?protocol=s3cret", "found another protocol than resp3"),
        (
            "redis+unix:///run/redis.sock?password=s3cret",
            "found the parameter \"password\"; known are db, user, pass, ",
        ),
        ("sqlite://flags.db?mode=s3cret", "with no parameters but mode=ro|rw|rwc, "),
        ("sqlite://flags.db?cache=s3cret", "with no parameters but mode=ro|rw|rwc, "),
        ("sqlite://flags.db?s3cret", "with no parameters but mode=ro|rw|rwc, "),
    ] {
        let opened =
            if url.starts_with("sqlite") { SqliteStore::new(url).map(drop) } else { RedisStore::new(url).map(drop) };
        let error = opened.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{url}");
        let said = chain(&error);
        assert!(said.contains(part), "{url}: {said}");
        assert!(!format!("{said} {error:?}").contains("s3cret"), "{url}: {said}");
    }
    for url in ["redis://cache?protocol=resp3", "redis+unix:///run/redis.sock?db=2&user=a&pass=b"] {
        RedisStore::new(url).unwrap();
    }
    drop(open);
    assert!(!log.text().contains("s3cret"), "{}", log.text());
}

/// A password with this in it, whatever is around.
const MARK: &str = "hunter2";

/// Characters that mean something in URLs, and some that mean nothing.
const ODD: [&str; 34] = [
    "/", "?", "#", "@", ":", "&", "=", "%", "%40", "%2F", "%zz", "%ff", "+", " ", "\n", "\t", "\0", "[", "]", "\\",
    "'", "\"", ";", ",", "ü", "😱", "\u{202e}", "1", "12", "a", "..", "-", "options[", "",
];

fn password(random: &mut Random, odd: &[&str]) -> String {
    let mut text = String::new();
    for _ in 0..random.below(4) {
        text += random.of(odd);
    }
    text += MARK;
    for _ in 0..random.below(4) {
        text += random.of(odd);
    }
    text
}

/// A URL of any of the stores with a password somewhere.
fn url(random: &mut Random) -> String {
    let scheme = random.of(&[
        "postgres://",
        "postgresql://",
        "redis://",
        "rediss://",
        "valkey://",
        "redis+unix://",
        "unix://",
        "http://",
        "https://",
        "sqlite://",
        "sqlite:",
        "mysql://",
        "postgres:",
        "Postgres://",
        "",
    ]);
    // A `/` ends the host, also for users: what follows is a path, which messages of URLs of documents show.
    let is_document = scheme.starts_with("http");
    let odd: Vec<&str> = ODD.iter().copied().filter(|odd| !is_document || !["/", "\\"].contains(odd)).collect();
    let secret = password(random, &odd);
    let user = random.of(&["", "shop", "a%40b", "12"]);
    let host =
        random.of(&["db.example.com", "localhost", "[::1]", "127.0.0.1:1", "", "%2Frun", "h:99999", "host:port"]);
    let path = random.of(&["", "/", "/0", "/flags", "/a/b.json", "/x?mode=rwc"]);
    let more = random.of(&["", "?", "?sslmode=require", "?application_name=x", "&port=1", "?mode=ro", "?db=1"]);
    let parameter = random.of(&[
        "password",
        "pass",
        "passwd",
        "sslmode",
        "port",
        "key",
        "unknown",
        "options[x",
        "hostaddr",
        "mode",
        "cache",
        "db",
    ]);
    match random.below(if is_document || scheme.starts_with("sqlite") { 2 } else { 3 }) {
        0 | 1 => format!("{scheme}{user}:{secret}@{host}{path}{more}"),
        _ => {
            // A value that ends where it should; what follows an unescaped & is a name.
            let secret: String = secret.chars().filter(|character| !"&#?/@".contains(*character)).collect();
            format!("{scheme}{user}@{host}{path}?{parameter}={secret}")
        }
    }
}

#[test]
fn whatever_a_url_looks_like_nothing_panics_and_nothing_shows_its_password() {
    let log = Log::default();
    let open = log.open();
    let mut random = Random(0x5DEE_CE66_D012_3457);
    let (count, mut accepted) = (dose(20_000, 500_000), 0);
    for _ in 0..count {
        let url = url(&mut random);
        let said =
            |outcome: Result<String, Error>| outcome.unwrap_or_else(|error| format!("{} {error:?}", chain(&error)));
        let shown = |feed: &dyn Feed| format!("{} {:?}", feed.name(), feed.setup_problems());
        let outcomes = [
            PostgresStore::new(&url).map(|store| format!("{store:?} {}", shown(&store))),
            PostgresTable::new(&url, "SELECT").map(|table| format!("{table:?} {}", shown(&table))),
            if url.starts_with("rediss:") {
                let builder = RedisStore::builder(&url).authorities("none");
                builder.build().map(|store| format!("{store:?} {}", shown(&store)))
            } else {
                RedisStore::new(&url).map(|store| format!("{store:?} {}", shown(&store)))
            },
            SqliteStore::new(&url).map(|store| format!("{store:?} {}", shown(&store))),
            if random.one_in(200) {
                HttpFeed::new(&url).map(|feed| format!("{feed:?} {}", shown(&feed)))
            } else {
                Err(Error::new(ErrorKind::Configuration, "making a client takes long"))
            },
        ];
        for outcome in outcomes {
            accepted += usize::from(outcome.is_ok());
            let said = said(outcome);
            assert!(!said.contains(MARK), "{url:?}: {said}");
        }
        let mut lines = log.0.lock().unwrap();
        assert!(!String::from_utf8_lossy(&lines).contains(MARK), "{url:?}: {}", String::from_utf8_lossy(&lines));
        lines.clear();
    }
    drop(open);
    println!("{count} URLs, {accepted} of them accepted");
    assert!(accepted > count / 40, "{accepted}");
}
