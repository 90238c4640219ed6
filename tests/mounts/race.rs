//! Processes that edit a file that is mounted alone, and are killed over it.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tower_flags::document::Edit;
use tower_flags::store::{Author, Change, ErrorKind, Feed, FileFeed, FileStore, Store, StoreExt};

use super::harness::{Outcome, part};
use super::place::{Mounted, assert_chain, beside, history, read};

const RACERS: usize = 2;
const EDITS: usize = 40;
const KILLS: usize = 8;

/// Edits so many times, and notes what it has begun and what was acknowledged.
pub(crate) async fn racer() -> Outcome {
    let (racer, path) = (std::env::var("RACER").unwrap(), PathBuf::from(std::env::var("RACED").unwrap()));
    let notes = log_of(&path, &racer);
    let done = std::fs::read_to_string(&notes).unwrap_or_default().matches("done").count();
    let mut log = std::fs::File::options().append(true).create(true).open(notes).unwrap();
    let store = FileStore::new(&path).unwrap();
    for number in done..EDITS {
        // Another name in each life, and more and less text.
        let name = format!("{racer} {number} {} {}", std::process::id(), "x".repeat(number * 997 % 9000));
        log.write_all(format!("try {name}\n").as_bytes()).unwrap();
        let edit = Change::edit(Edit::new().set("description", &*name)).within(Duration::from_secs(60));
        store.change("raced", edit, &Author::new(&racer)).await.unwrap();
        log.write_all(format!("done {name}\n").as_bytes()).unwrap();
    }
    Outcome::Done
}

fn log_of(path: &Path, racer: &str) -> PathBuf {
    beside(path, &format!("log{racer}"))
}

fn random() -> u64 {
    let mut bytes = [0; 2];
    getrandom::fill(&mut bytes).unwrap();
    u64::from(u16::from_le_bytes(bytes))
}

pub(crate) async fn killed_at_random() -> Outcome {
    let filler = "y".repeat(30_000);
    let text =
        format!(r#"{{"flags": {{"raced": {{"enabled": true}}, "other": {{"on": true, "owner": "{filler}"}}}}}}"#);
    let file = Mounted::new("flags.json", &text);
    let path = file.path.clone();
    let raced = path.clone();
    let start = move |racer: usize| -> Child {
        let racer = racer.to_string();
        let mut command = part("racer", &[("RACER", &racer), ("RACED", raced.to_str().unwrap())]);
        command.stdin(Stdio::null()).spawn().unwrap()
    };
    // Somebody who only reads the file never takes a half of it.
    let is_over = Arc::new(AtomicBool::new(false));
    let reading = tokio::spawn({
        let (feed, is_over) = (FileFeed::new(&path).unwrap(), Arc::clone(&is_over));
        async move {
            let mut reads = 0;
            while !is_over.load(Ordering::Relaxed) {
                match feed.load(None).await {
                    Ok(loaded) => {
                        let document = loaded.unwrap().document;
                        assert!(document.flag("raced").is_some() && document.flag("other").is_some());
                        reads += 1;
                    }
                    Err(error) if error.kind() == ErrorKind::Unavailable => {}
                    Err(error) => assert!(error.to_string().contains("unfinished edit"), "{error}"),
                }
            }
            reads
        }
    });
    let racers = tokio::task::spawn_blocking(move || {
        let mut racers: Vec<Child> = (0..RACERS).map(&start).collect();
        for kill in 0..KILLS {
            std::thread::sleep(Duration::from_micros(100_000 + random() * 4));
            let racer = kill % RACERS;
            racers[racer].kill().unwrap();
            racers[racer].wait().unwrap();
            racers[racer] = start(racer);
        }
        racers.into_iter().all(|mut racer| racer.wait().unwrap().success())
    });
    assert!(racers.await.unwrap());
    is_over.store(true, Ordering::Relaxed);
    assert!(reading.await.unwrap() > 0);

    let logs: String = (0..RACERS).map(|racer| read(&log_of(&file.path, &racer.to_string()))).collect();
    let of = |kind: &str| -> BTreeSet<String> {
        logs.lines().filter_map(|line| line.strip_prefix(kind)).map(str::to_owned).collect()
    };
    let (tried, done) = (of("try "), of("done "));
    let store = file.store();
    let entries = history(&store, "raced").await;
    let made: Vec<String> = entries
        .iter()
        .filter(|entry| entry.actor.is_some())
        .map(|entry| {
            let definition: serde_json::Value = serde_json::from_str(entry.after.as_ref().unwrap()).unwrap();
            definition["description"].as_str().unwrap().to_owned()
        })
        .collect();
    let each: BTreeSet<String> = made.iter().cloned().collect();
    assert_eq!(each.len(), made.len(), "each once");
    assert!(done.len() == RACERS * EDITS && done.is_subset(&each), "lost: {}", done.difference(&each).count());
    assert!(each.is_subset(&tried), "from nowhere");
    let stored = store.read("raced").await.unwrap();
    assert_eq!((stored.version, &stored.definition), (entries.len() as u64, &entries[0].after));
    assert_chain(&store).await;
    assert!(read(&file.outside).contains(&filler));
    Outcome::Done
}
