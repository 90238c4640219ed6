//! Four processes that edit one flag at once, some of which are killed in the midst of it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::mpsc;
use tower_flags::document::Edit;
use tower_flags::store::{Author, Change, HistoryPage, Store, StoreExt};

use crate::broken::GetAndSet;
use crate::counted::Counter;
use crate::dose::dose;
use crate::places::Kind;
use crate::servers::{Postgres, Redis};
use crate::support::Random;
use crate::urls::open;

const PROCESSES: usize = 4;
const KILLS: usize = 5;
const FLAG: &str = "raced";

/// Longest time one edit of four racing processes takes.
const WITHIN: Duration = Duration::from_secs(60);

/// The work of one of the processes, which are this program once more.
#[tokio::test]
#[ignore = "a part of the races, which start it with what it needs"]
async fn racer() {
    let Ok(url) = std::env::var("RACE_URL") else { return };
    let number = |name: &str| std::env::var(name).unwrap().parse::<usize>().unwrap();
    let (racer, from, to) = (number("RACE_RACER"), number("RACE_FROM"), number("RACE_TO"));
    let mut store = open(&url);
    if number("RACE_BROKEN") == 1 {
        store = Arc::new(GetAndSet(store));
    }
    let by = Author::new(format!("racer {racer}"));
    for edit in from..to {
        let change = Change::edit(Edit::new().set("description", format!("{racer} {edit}"))).within(WITHIN);
        println!("\nrace begin {edit}");
        store.change(FLAG, change, &by).await.unwrap();
        println!("\nrace made {edit}");
    }
    println!("\nrace over");
}

/// One racing process, and what it says.
struct Racer {
    process: Child,
    number: usize,
    /// The first edit that it has not begun.
    next: usize,
    /// What was acknowledged, and what was begun and not acknowledged by a process that was killed.
    made: Vec<usize>,
    in_doubt: Vec<usize>,
    is_over: bool,
}

/// The URL with a name by which PostgreSQL counts the connections of one process.
fn named(url: &str, name: &str) -> String {
    if url.starts_with("postgres:") { format!("{url}?application_name={name}") } else { url.to_owned() }
}

type Said = mpsc::UnboundedSender<(usize, String)>;

fn start(url: &str, is_broken: bool, number: usize, edits: std::ops::Range<usize>, said: Said) -> Child {
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["race::racer", "--exact", "--include-ignored", "--nocapture"])
        .env("RACE_URL", named(url, &format!("racer_{number}_from_{}", edits.start)))
        .env("RACE_RACER", number.to_string())
        .env("RACE_FROM", edits.start.to_string())
        .env("RACE_TO", edits.end.to_string())
        .env("RACE_BROKEN", u8::from(is_broken).to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(process.stdout.take().unwrap());
    std::thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            if let Some(words) = line.strip_prefix("race ") {
                // Nobody listens after the race.
                let _ = said.send((number, words.to_owned()));
            }
        }
        let _ = said.send((number, "ended".to_owned()));
    });
    process
}

async fn race(url: &str, edits: usize, is_broken: bool) -> Result<(), String> {
    let store = open(url);
    store.change(FLAG, Change::put_text(r#"{"enabled": true}"#), &Author::new("starter")).await.unwrap();
    let (said, mut heard) = mpsc::unbounded_channel();
    let mut racers: Vec<Racer> = (0..PROCESSES)
        .map(|number| {
            let process = start(url, is_broken, number, 0..edits, said.clone());
            Racer { process, number, next: 0, made: Vec::new(), in_doubt: Vec::new(), is_over: false }
        })
        .collect();
    let mut random = Random(edits as u64);
    let all = PROCESSES * edits;
    // Somewhere in the race, and not at its end, when fewer are left.
    let mut kills: Vec<usize> = (0..KILLS).map(|_| random.below(all * 3 / 4)).collect();
    kills.sort_unstable_by(|a, b| b.cmp(a));
    let mut made = 0;
    while !racers.iter().all(|racer| racer.is_over) {
        let heard = tokio::time::timeout(Duration::from_secs(120), heard.recv()).await;
        let (number, words) = heard.map_err(|_| format!("nothing happens after {made} edits"))?.unwrap();
        let racer = &mut racers[number];
        match words.split_once(' ') {
            Some(("begin", edit)) => racer.next = edit.parse::<usize>().unwrap() + 1,
            Some(("made", edit)) => {
                racer.made.push(edit.parse().unwrap());
                made += 1;
                if kills.last().is_some_and(|kill| made >= *kill) {
                    kills.pop();
                    // Any of those that run; what it said before is still heard.
                    let running: Vec<usize> = (0..PROCESSES).filter(|number| !racers[*number].is_over).collect();
                    racers[running[random.below(running.len())]].process.kill().unwrap();
                }
            }
            None if words == "over" => racer.is_over = true,
            None if words == "ended" => {
                let status = tokio::task::block_in_place(|| racer.process.wait().unwrap());
                if racer.is_over {
                    continue;
                }
                if status.code().is_some() {
                    return Err(format!("racer {number} failed"));
                }
                if racer.next > 0 && racer.made.last() != Some(&(racer.next - 1)) {
                    racer.in_doubt.push(racer.next - 1);
                }
                racer.process = start(url, is_broken, number, racer.next..edits, said.clone());
            }
            _ => return Err(format!("racer {number} says {words:?}")),
        }
    }
    check(&*store, &racers).await
}

async fn check(store: &dyn Store, racers: &[Racer]) -> Result<(), String> {
    let text = |error: tower_flags::store::Error| error.to_string();
    store.verify_history().await.map_err(text)?.map_err(|broken| broken.to_string())?;
    let mut times = BTreeMap::<String, usize>::new();
    let mut page = HistoryPage::newest().of(FLAG).limit(1000);
    loop {
        let entries = store.history(&page).await.map_err(text)?;
        let Some(last) = entries.last() else { break };
        page = page.before(last.number);
        for entry in &entries {
            let after = entry.after.as_deref().unwrap_or_default();
            let description = after.split(r#""description":"#).nth(1).and_then(|rest| rest.split('"').nth(1));
            *times.entry(description.unwrap_or_default().to_owned()).or_default() += 1;
        }
    }
    // The edit that made the flag.
    times.remove("");
    let (mut made, mut doubts) = (0, 0);
    for racer in racers {
        for edit in &racer.made {
            match times.remove(&format!("{} {edit}", racer.number)) {
                Some(1) => made += 1,
                other => return Err(format!("edit {edit} of racer {} is there {other:?} times", racer.number)),
            }
        }
        for edit in &racer.in_doubt {
            match times.remove(&format!("{} {edit}", racer.number)) {
                None => {}
                Some(1) => doubts += 1,
                other => return Err(format!("edit {edit} of racer {} is there {other:?} times", racer.number)),
            }
        }
    }
    if !times.is_empty() {
        return Err(format!("edits that nobody made: {times:?}"));
    }
    let version = store.read(FLAG).await.map_err(text)?.version;
    if version != 1 + made + doubts {
        return Err(format!("version {version} after {made} edits and {doubts} that were in doubt"));
    }
    println!("{}: {made} edits acknowledged, {doubts} in doubt and made: version {version}", store.name());
    Ok(())
}

/// Where all of them race, and what has to live as long.
struct Places {
    urls: Vec<String>,
    _servers: (Redis, Postgres, TempDir),
    counter: Counter,
}

fn places() -> Places {
    let (redis, postgres, folder) = (Redis::start(), Postgres::start(), TempDir::new().unwrap());
    let path = |name: &str| -> PathBuf { folder.path().join(name) };
    std::fs::write(path("flags.json"), r#"{"flags": {}}"#).unwrap();
    let urls = vec![
        redis.url(),
        postgres.url(),
        format!("sqlite:{}", path("flags.db").display()),
        format!("file:{}", path("flags.json").display()),
    ];
    let counter = Counter::start(Kind::Postgres, Postgres::address(&postgres));
    Places { urls, _servers: (redis, postgres, folder), counter }
}

async fn races(edits: usize, is_broken: bool) -> Vec<(String, Result<(), String>)> {
    let places = tokio::task::block_in_place(places);
    let running: Vec<_> = places
        .urls
        .iter()
        .cloned()
        .map(|url| (url.clone(), tokio::spawn(async move { race(&url, edits, is_broken).await })))
        .collect();
    let mut outcomes = Vec::new();
    for (url, running) in running {
        outcomes.push((url, running.await.unwrap_or_else(|panic| Err(panic.to_string()))));
    }
    if !is_broken {
        outcomes.push(("connections".to_owned(), places.counter.end()));
    }
    outcomes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs Redis and PostgreSQL, which tests/run.sh installs"]
async fn racing_processes_lose_no_edit_and_make_none_twice() {
    let outcomes = races(dose(500, 2500), false).await;
    assert!(outcomes.iter().all(|(_, outcome)| outcome.is_ok()), "{outcomes:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs Redis and PostgreSQL, which tests/run.sh installs"]
async fn stores_of_plain_get_and_set_are_found_by_a_race() {
    let outcomes = races(50, true).await;
    println!("found, as it should be: {outcomes:#?}");
    // Edits that are lost, or there more than once, whichever is seen first.
    let is_found = |said: &String| said.contains(" edits and ") || said.contains(" times") || said.contains("entry");
    assert!(outcomes.iter().all(|(_, outcome)| outcome.as_ref().is_err_and(is_found)), "{outcomes:#?}");
}
