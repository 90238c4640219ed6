//! What shared stores cost: how long a change takes from one process to another, and how long a process takes to
//! load 10,000 flags. On private servers of this machine: `cargo bench -p tower-flags-benches --bench stores`.
//!
//! A change counts from the call that makes it until the other process says, over a pipe, that its answer has
//! changed; the store's own acknowledgement lies in between.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tower_flags::engine::Query;
use tower_flags::source::{Live, Source};
use tower_flags::store::{Author, Change, PostgresStore, RedisStore, SqliteStore, Store, StoreExt};
use tower_flags::{Context, Timestamp as Now};

#[path = "../tests/support/servers.rs"]
mod servers;

use servers::{Postgres, Redis};

const CHANGES: u32 = 1000;
const FLAGS: usize = 10_000;
const LOADS: usize = 20;

fn open(url: &str) -> Arc<dyn Store> {
    match url.split(':').next() {
        Some("redis") => Arc::new(RedisStore::new(url).expect("this is a URL")),
        Some("postgres") => Arc::new(PostgresStore::new(url).expect("this is a URL")),
        _ => Arc::new(SqliteStore::new(url).expect("this is a URL")),
    }
}

fn definition(number: u32) -> String {
    format!(r#"{{"enabled": true, "variants": {{"number": {{"weight": 100, "value": {number}}}}}}}"#)
}

/// The other process: says every number that its answer becomes.
async fn follow(url: &str) {
    let source = Live::connect(open(url)).await.expect("there is a runtime");
    let mut changes = source.subscribe();
    println!("follows");
    while changes.next().await.is_some() {
        let flags = source.answer(&Query::new(&Context::user("somebody"), Now::from_unix_millis(0)));
        let number = flags.value::<u32>("counter").expect("it is a number");
        println!("{}", number.unwrap_or_default());
    }
}

struct Follower {
    process: Child,
    said: BufReader<std::process::ChildStdout>,
}

impl Follower {
    fn start(url: &str) -> Self {
        let program = std::env::current_exe().expect("this program has a path");
        let mut process =
            Command::new(program).args(["--follow", url]).stdout(Stdio::piped()).spawn().expect("it runs");
        let said = BufReader::new(process.stdout.take().expect("it is piped"));
        let mut follower = Self { process, said };
        assert_eq!(follower.line(), "follows");
        follower
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).expect("the other process speaks");
        line.trim_end().to_owned()
    }

    fn says(&mut self, number: u32) {
        while self.line().parse::<u32>().expect("a number") < number {}
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn measure(name: &str, url: &str) {
    let (store, by) = (open(url), Author::new("benchmark"));
    store.change("counter", Change::put_text(definition(0)), &by).await.expect("it is made");
    let mut follower = Follower::start(url);
    let mut took: Vec<Duration> = Vec::new();
    for number in 1..=CHANGES {
        let start = Instant::now();
        store.change("counter", Change::put_text(definition(number)), &by).await.expect("it is made");
        follower.says(number);
        took.push(start.elapsed());
        // So that the next change does not begin in the rest of this one.
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    drop(follower);
    took.sort_unstable();
    let of = |share: f64| took[((took.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;

    for number in 1..FLAGS {
        let text = format!(
            r#"{{"enabled": true, "percentage": {}.5, "allowed_groups": ["staff", "group_{number}"], "owner": "team_{}"}}"#,
            number % 100,
            number % 7
        );
        store.change(format!("flag_{number}"), Change::put_text(text), &by).await.expect("it is made");
    }
    let mut loads: Vec<Duration> = Vec::new();
    for _ in 0..LOADS {
        let start = Instant::now();
        let source = Live::builder(open(url)).start_within(Duration::from_secs(10)).connect().await.expect("it starts");
        loads.push(start.elapsed());
        assert_eq!(source.status().flags, FLAGS);
    }
    loads.sort_unstable();
    let load = loads[LOADS / 2].as_secs_f64() * 1e3;
    let slowest = loads[LOADS - 1].as_secs_f64() * 1e3;
    println!("| {name} | {:.2} | {:.2} | {:.2} | {load:.0} | {slowest:.0} |", of(0.5), of(0.99), of(1.0));
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, url] = arguments.as_slice()
        && flag == "--follow"
    {
        return follow(url).await;
    }
    println!("| store | change, median ms | 99th percentile | slowest | 10,000 flags loaded, median ms | slowest |");
    println!("|---|---|---|---|---|---|");
    let folder = TempDir::new().expect("there is a temporary folder");
    let redis = Redis::start();
    measure("Redis", &redis.url()).await;
    drop(redis);
    let postgres = Postgres::start();
    measure("PostgreSQL", &postgres.url()).await;
    drop(postgres);
    measure("SQLite", &format!("sqlite:{}", folder.path().join("flags.db").display())).await;
}
