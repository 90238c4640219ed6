//! The example of a fleet, as a user runs it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![cfg(all(feature = "axum", feature = "postgres", feature = "redis"))]

#[path = "support/examples.rs"]
mod examples;
#[path = "support/servers.rs"]
mod servers;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use servers::{Postgres, Redis};

/// Runs it, and checks what it says and that its processes end with it.
fn run(arguments: &[&str]) {
    let output = Command::new(examples::example("fleet")).args(arguments).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 4, "{said}");
    let took = lines[3].strip_prefix("all 3 processes changed after ").and_then(|rest| rest.strip_suffix(" ms"));
    assert!(took.is_some_and(|took| took.parse::<u64>().is_ok()), "{said}");
    for line in &lines[..3] {
        let process = line.rsplit(' ').next().unwrap();
        let status = || std::fs::read_to_string(Path::new("/proc").join(process).join("stat")).unwrap_or_default();
        // It was killed, which takes a moment on a busy machine.
        let start = Instant::now();
        while !(status().is_empty() || status().contains(") Z")) {
            assert!(start.elapsed() < Duration::from_secs(30), "process {process} is left: {}", status());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn three_processes_on_one_sqlite_file_follow_a_change() {
    run(&[]);
}

#[test]
#[ignore = "needs Redis, which tests/run.sh installs"]
fn three_processes_on_redis_follow_a_change() {
    let redis = Redis::start();
    run(&[&redis.url()]);
    // Again on the same store, where the flag's name is remembered as removed.
    run(&[&redis.url()]);
}

#[test]
#[ignore = "needs PostgreSQL, which tests/run.sh installs"]
fn three_processes_on_postgresql_follow_a_change() {
    let postgres = Postgres::start();
    run(&[&postgres.url()]);
}

#[test]
fn a_url_of_no_store_is_refused_with_what_to_do() {
    for (arguments, expected) in [
        (&["mysql://127.0.0.1/"][..], "expected a URL of sqlite, redis or postgres, found one of \"mysql\""),
        (&["a", "b"], "expected no argument, or the URL of a store"),
        (&["redis://:secret@"], "expected a URL like redis://"),
    ] {
        let output = Command::new(examples::example("fleet")).args(arguments).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && said.starts_with(expected), "{said}");
        assert!(!said.contains("secret"), "{said}");
    }
}
