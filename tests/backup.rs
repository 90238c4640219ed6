//! A backup file: a start while the store is away, and kills that outlive the process.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![cfg(feature = "file")]

#[path = "support/rewound.rs"]
mod rewound;

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tower_flags::engine::Query;
use tower_flags::source::{Freshness, Live, Source};
use tower_flags::store::{
    Author, BoxFuture, Change, Error, ErrorKind, Feed, FeedContent, FileStore, MemoryStore, Notices, SqliteStore,
    Store, StoreExt,
};
use tower_flags::{Context, Document, Timestamp};

use rewound::{Rewound, becomes, content, is_on, until};

async fn connect(store: &Rewound, backup: &Path) -> Live {
    let builder = Live::builder(store.clone()).start_within(Duration::from_millis(200));
    builder.backup(backup).connect().await.unwrap()
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[tokio::test]
async fn without_the_store_the_last_rules_answer_until_it_is_back() {
    let (folder, store) = (folder(), Rewound::new(content(3, &[("a", "true", 1), ("b", r#"{"percentage": 0}"#, 2)])));
    let path = folder.path().join("flags.backup");
    let first = connect(&store, &path).await;
    assert_eq!(first.status().freshness, Freshness::Fresh);
    let revision = first.status().revision;
    drop(first);

    store.is_down(true);
    let second = connect(&store, &path).await;
    assert!(is_on(&second, "a") && !is_on(&second, "b"));
    let status = second.status();
    assert!(matches!(status.freshness, Freshness::StaleSince(_)), "{status:?}");
    assert_eq!((status.revision, status.last_error.as_deref()), (revision, Some("the store is down")));

    store.is_down(false);
    becomes(&store, &second, content(4, &[("a", "false", 2), ("b", "true", 3)])).await;
    assert!(!is_on(&second, "a") && is_on(&second, "b"));
    until(|| second.status().freshness == Freshness::Fresh).await;
}

#[tokio::test]
async fn without_a_backup_every_flag_is_off_until_the_store_is_there() {
    let store = Rewound::new(content(1, &[("a", "true", 1)]));
    store.is_down(true);
    let source = Live::builder(store.clone()).connect().await.unwrap();
    assert!(!is_on(&source, "a"));
    assert_eq!(source.status().freshness, Freshness::NeverLoaded);
    store.is_down(false);
    becomes(&store, &source, content(2, &[("a", "true", 1)])).await;
    assert!(is_on(&source, "a"));
}

#[tokio::test]
async fn a_kill_that_only_the_backup_has_seen_stands_against_a_store_that_came_back_older() {
    let (folder, store) = (folder(), Rewound::new(content(9, &[("checkout", "false", 7)])));
    let path = folder.path().join("flags.backup");
    drop(connect(&store, &path).await);

    // Restored from a copy while no process was there.
    store.becomes(content(8, &[("checkout", "true", 6)]));
    let started = connect(&store, &path).await;
    assert!(!is_on(&started, "checkout"));
    drop(started);
    let again = connect(&store, &path).await;
    assert!(!is_on(&again, "checkout"), "and after another start");
    becomes(&store, &again, content(9, &[("checkout", "true", 7)])).await;
    assert!(is_on(&again, "checkout"), "somebody has switched it on since");
}

#[cfg(unix)]
#[tokio::test]
async fn the_file_is_its_owners_alone_and_never_half_there() {
    use std::os::unix::fs::PermissionsExt;

    let (folder, store) = (folder(), Rewound::new(content(1, &[("a", "true", 1)])));
    let path = folder.path().join("flags.backup");
    let source = connect(&store, &path).await;
    for revision in 2..30 {
        becomes(&store, &source, content(revision, &[("a", "true", revision)])).await;
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        serde_json::from_slice::<serde_json::Value>(&std::fs::read(&path).unwrap()).unwrap();
    }
    // The last one may still be on its way.
    until(|| std::fs::read_dir(folder.path()).unwrap().count() == 1).await;
}

#[tokio::test]
async fn a_backup_that_cannot_be_read_or_written_costs_nothing_else() {
    let (folder, store) = (folder(), Rewound::new(content(1, &[("a", "true", 1)])));
    let path = folder.path().join("flags.backup");
    for garbage in
        ["", "{", "[]", r#"{"format": 99}"#, r#"{"format": 2, "revision": "", "seen": {}, "flags": {}, "removed": []}"#]
    {
        std::fs::write(&path, garbage).unwrap();
        let source = connect(&store, &path).await;
        assert!(is_on(&source, "a"), "{garbage}");
    }
    let nowhere = connect(&store, &folder.path().join("no/such/folder")).await;
    assert!(is_on(&nowhere, "a"));
}

/// Whatever stands in the place of the file, the process starts at once, does not believe it, says so, and leaves it alone.
#[cfg(unix)]
#[tokio::test]
async fn what_is_not_a_file_of_ours_is_not_believed_and_left_alone() {
    use std::fs::Permissions;
    use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown, symlink};

    let (folder, store) = (folder(), Rewound::new(content(3, &[("a", "true", 1), ("b", "true", 2)])));
    let good = folder.path().join("good");
    let source = connect(&store, &good).await;
    source.kill_here("b", &Author::new("bob")).await.unwrap();
    drop(source);
    let content = std::fs::read(&good).unwrap();
    let at = |name: &str| folder.path().join(name);
    let copy = |name: &str| std::fs::write(at(name), &content).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
    symlink("/dev/zero", at("device")).unwrap();
    symlink("good", at("link")).unwrap();
    std::fs::create_dir(at("folder")).unwrap();
    copy("open");
    std::fs::set_permissions(at("open"), Permissions::from_mode(0o666)).unwrap();
    copy("large");
    std::fs::File::options().write(true).open(at("large")).unwrap().set_len(64 * 1024 * 1024 + 1).unwrap();
    let mut cases = vec![
        ("pipe", "not a regular file"),
        ("device", "not a regular file"),
        ("link", "a link, not a regular file"),
        ("folder", "not a regular file"),
        ("open", "writable by everybody: chmod o-w"),
        ("large", "larger than 67108864 bytes"),
    ];
    // Only root can give a file away.
    copy("theirs");
    if chown(at("theirs"), Some(12345), None).is_ok() {
        cases.push(("theirs", "of the user 12345, and this process runs as 0"));
    }
    store.is_down(true);
    for (name, why) in cases {
        let source = connect(&store, &at(name)).await;
        assert!(!is_on(&source, "a") && source.local_kills().is_empty(), "{name}");
        let said = problems(&source).join("\n");
        assert!(said.contains("expected a backup file that can be read") && said.contains(why), "{name}: {said}");
        if name != "large" {
            assert!(source.kill_here("a", &Author::new("bob")).await.is_err(), "nothing is in effect");
        }
    }
    // With rules in effect there is something to write.
    store.is_down(false);
    for name in ["pipe", "device", "link", "open"] {
        let source = connect(&store, &at(name)).await;
        until(|| problems(&source).iter().any(|said| said.contains("expected a backup file that can be written")))
            .await;
        let kill = source.kill_here("a", &Author::new("bob")).await.unwrap();
        assert!(!source.survives_restart(&kill), "{name}");
    }
    assert!(at("pipe").metadata().unwrap().file_type().is_fifo());
    assert_eq!(std::fs::read_link(at("device")).unwrap(), Path::new("/dev/zero"));
    assert_eq!(std::fs::read_link(at("link")).unwrap(), Path::new("good"));
    assert_eq!(std::fs::read(&good).unwrap(), content);
    assert_eq!(std::fs::read(at("open")).unwrap(), content);
    // Mended, it is used again.
    std::fs::set_permissions(at("open"), Permissions::from_mode(0o644)).unwrap();
    store.is_down(true);
    let source = connect(&store, &at("open")).await;
    assert!(is_on(&source, "a") && !is_on(&source, "b"));
}

/// Never answers its first question.
struct SlowToStart(AtomicBool);

impl Feed for SlowToStart {
    fn name(&self) -> &str {
        "slow to start"
    }

    fn load<'a>(&'a self, _: Option<&'a str>) -> BoxFuture<'a, Result<Option<FeedContent>, Error>> {
        Box::pin(async {
            if !self.0.swap(true, Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
            Ok(Some(content(1, &[("a", "true", 1)])))
        })
    }

    fn subscribe(&self) -> BoxFuture<'_, Result<Box<dyn Notices>, Error>> {
        Box::pin(async { Err(Error::new(ErrorKind::Unavailable, "nobody can be listened to")) })
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_was_too_slow_at_the_start_is_asked_again_within_two_seconds() {
    let source = Live::connect(SlowToStart(AtomicBool::default())).await.unwrap();
    assert_eq!(source.status().freshness, Freshness::NeverLoaded);
    let start = tokio::time::Instant::now();
    while !is_on(&source, "a") {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(start.elapsed() <= Duration::from_millis(2100), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_kill_in_a_flag_that_was_refused_is_in_the_backup_too() {
    let (folder, texts) = (folder(), [("x", r#"{"enabled": false, "percentge": 1}"#, 1), ("b", "true", 1)]);
    let path = folder.path().join("flags.backup");
    let store = Rewound::new(content(2, &texts));
    let is_off =
        |source: &Live| !source.answer(&Query::new(&Context::user("alice"), Timestamp::MIN)).is_enabled_or("x", true);
    let first = connect(&store, &path).await;
    assert!(is_off(&first));
    drop(first);
    store.is_down(true);
    let second = connect(&store, &path).await;
    assert!(is_off(&second), "also where code says that it is on by default");
    // The same content as before: what is wrong with it is known again.
    store.is_down(false);
    until(|| second.status().freshness == Freshness::Fresh).await;
    assert!(is_off(&second));
    assert_eq!(second.status().problems.len(), 1);
}

/// Gives its rules once, and then nothing more.
struct Once(Mutex<Option<FeedContent>>);

impl Feed for Once {
    fn name(&self) -> &str {
        "once"
    }

    fn load<'a>(&'a self, _: Option<&'a str>) -> BoxFuture<'a, Result<Option<FeedContent>, Error>> {
        let loaded = self.0.lock().unwrap().take();
        Box::pin(async move {
            match loaded {
                Some(loaded) => Ok(Some(loaded)),
                None => std::future::pending().await,
            }
        })
    }

    fn subscribe(&self) -> BoxFuture<'_, Result<Box<dyn Notices>, Error>> {
        Box::pin(async { Err(Error::new(ErrorKind::Denied, "nobody listens")) })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_that_come_too_late_for_the_start_are_not_replaced_by_the_backup() {
    let (folder, filler) = (folder(), format!(r#"{{"percentage": 5, "description": "{}"}}"#, "d".repeat(200)));
    let path = folder.path().join("flags.backup");
    let names: Vec<String> = (0..5000).map(|number| format!("f{number}")).collect();
    let rules = |version: u64, x: &'static str| {
        let mut all: Vec<(&str, &str, u64)> = names.iter().map(|name| (&**name, &*filler, 1)).collect();
        all.push(("x", x, version));
        content(version, &all)
    };
    let feed = |loaded| Once(Mutex::new(Some(loaded)));
    let first = Live::builder(feed(rules(1, "true"))).backup(&path).start_within(Duration::from_secs(30));
    drop(first.connect().await.unwrap());
    let old = std::fs::read(&path).unwrap();
    // Bounds around the time that compiling takes, which goes on behind them.
    for bound in (2..120).step_by(6) {
        std::fs::write(&path, &old).unwrap();
        let source = Live::builder(feed(rules(2, "false"))).backup(&path).start_within(Duration::from_millis(bound));
        let source = source.connect().await.unwrap();
        until(|| !is_on(&source, "x")).await;
        assert!(source.status().revision.starts_with("2 "), "with {bound} ms");
    }
}

fn problems(source: &Live) -> Vec<String> {
    source.status().problems.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn a_backup_that_cannot_be_written_is_a_problem_until_it_can() {
    let (folder, store) = (folder(), Rewound::new(content(1, &[("a", "true", 1)])));
    // The first has no folder, the second is a folder itself.
    let (missing, taken) = (folder.path().join("missing/backup"), folder.path().join("taken"));
    std::fs::create_dir(&taken).unwrap();
    std::fs::write(taken.join("file"), "").unwrap();
    for path in [&missing, &taken] {
        let source = connect(&store, path).await;
        assert!(is_on(&source, "a"));
        let found = problems(&source);
        let expected = format!("rewound: expected a backup file that can be written, found {}: ", path.display());
        assert!(found.len() == 1 && found[0].starts_with(&expected), "{found:?}");
        assert!(found[0].contains("does not survive a restart"), "{found:?}");
        let kill = source.kill_here("a", &Author::new("alice")).await.unwrap();
        assert!(!source.survives_restart(&kill) && problems(&source).len() == 2);

        if *path == missing {
            std::fs::create_dir(folder.path().join("missing")).unwrap();
        } else {
            std::fs::remove_dir_all(&taken).unwrap();
        }
        // It is tried again with each load, also where nothing has changed.
        store.is_down(false);
        until(|| source.survives_restart(&kill)).await;
        assert_eq!(problems(&source).len(), 1, "the kill alone");
        drop(source);
        assert_eq!(connect(&store, path).await.local_kills(), [kill]);
    }
    // Without a backup file there is nothing to write, and nothing survives.
    let source = Live::connect(store).await.unwrap();
    let kill = source.kill_here("a", &Author::new("alice")).await.unwrap();
    assert!(!source.survives_restart(&kill) && problems(&source).len() == 1);
}

#[tokio::test]
async fn a_backup_that_would_be_too_large_to_read_is_not_written() {
    const MOST: usize = 64 * 1024 * 1024;

    // As much as a store may have together. The file has the names and versions beside the definitions.
    let (start, end) = (r#"{"enabled":true,"percentage":100,"metadata":{"x":""#, r#""}}"#);
    let text = format!("{start}{}{end}", "x".repeat(MOST / 67 - start.len() - end.len()));
    let names: Vec<String> = (0..67).map(|number| format!("flag_{number}")).collect();
    let flags: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), text.as_bytes())).collect();
    let document = Document::from_texts(flags).unwrap();
    assert_eq!(document.problems(), []);

    let (folder, store) = (folder(), Rewound::new(content(1, &[("flag_0", "true", 1)])));
    let path = folder.path().join("flags.backup");
    let source = connect(&store, &path).await;
    let before = std::fs::read(&path).unwrap();
    becomes(&store, &source, FeedContent::new(document, "large").at_sequence(2)).await;
    let expected = format!("backup file that can be written, found {}: larger than {MOST} bytes", path.display());
    let is_rejected = || problems(&source).iter().any(|found| found.contains(&expected));
    until(|| is_rejected() || path.metadata().unwrap().len() != before.len() as u64).await;
    assert!(std::fs::read(&path).unwrap() == before, "the previous one is still there");
}

/// Edits a store: `a` is killed, and `b` is on. Five edits.
#[tokio::test]
async fn two_processes_with_one_backup_file_are_told() {
    let is_told = |source: &Live| {
        let problems = problems(source);
        problems.iter().any(|problem| problem.contains("expected a backup file of its own for each process, found"))
    };
    let (folder, store) = (folder(), Rewound::new(content(1, &[("a", "true", 1)])));
    let path = folder.path().join("flags.backup");
    let first = connect(&store, &path).await;
    becomes(&store, &first, content(2, &[("a", "true", 2)])).await;
    assert_eq!(problems(&first), Vec::<String>::new(), "its own writing is no other's");

    let second = connect(&store, &path).await;
    first.kill_here("a", &Author::new("alice")).await.unwrap();
    second.kill_here("a", &Author::new("bob")).await.unwrap();
    until(|| is_told(&second)).await;
    drop(second);

    // The one that is left says it once more, since the file is not its own, and then it is.
    first.forget_kill("a").await;
    until(|| is_told(&first)).await;
    becomes(&store, &first, content(3, &[("a", "true", 3)])).await;
    until(|| problems(&first).is_empty()).await;
    let file = std::fs::read_to_string(&path).unwrap();
    assert!(!file.contains("bob"), "{file}");
}

async fn fill(store: &impl Store) {
    for (flag, change) in [
        ("a", Change::put_text("true")),
        ("b", Change::put_text("true")),
        ("a", Change::put_text(r#"{"percentage": 100}"#)),
        ("b", Change::put_text(r#"{"percentage": 100}"#)),
        ("a", Change::kill()),
    ] {
        store.change(flag, change, &Author::new("alice")).await.unwrap();
    }
}

/// A source over the store that has loaded it.
async fn start<S: Store + Clone>(store: &S, backup: &Path) -> Live {
    let builder = Live::builder(store.clone()).start_within(Duration::from_secs(30));
    builder.backup(backup).connect().await.unwrap()
}

/// A store that has lost everything, and a process that starts then: nothing is on, and nothing is forgotten.
async fn lost_everything<S: Store + Clone>(store: S, empty: S) {
    let folder = folder();
    let backup = folder.path().join("backup");
    fill(&store).await;
    drop(start(&store, &backup).await);
    drop(store);
    for (attempt, versions) in [("the first start", Some((3, 2))), ("another one", None)] {
        let source = start(&empty, &backup).await;
        assert!(!is_on(&source, "b"), "{attempt}: the store decides");
        let missing = source.missing();
        let found: Vec<_> =
            missing.iter().map(|missing| (&*missing.flag, missing.version, missing.is_in_effect)).collect();
        let (of_a, of_b) = versions.unzip();
        assert_eq!(found, [("a", of_a, false), ("b", of_b, false)], "{attempt}, {}", empty.name());
        let definition = missing[1].definition.as_ref().unwrap();
        assert_eq!(definition.to_stored(), r#"{"enabled":true,"percentage":100}"#, "{attempt}");
        assert!(!missing[0].definition.as_ref().unwrap().is_enabled(), "{attempt}");
        let found = problems(&source);
        let expected = if versions.is_some() { "none in the store, which had version 3" } else { "none in the store;" };
        assert!(found.len() == 2 && found[0].contains(expected), "{attempt}: {found:?}");
    }
    // While it is edited the others are not forgotten.
    empty.change("b", Change::put_text(r#"{"percentage": 100}"#), &Author::new("bob")).await.unwrap();
    let source = start(&empty, &backup).await;
    let missing: Vec<_> = source.missing().into_iter().map(|missing| missing.flag).collect();
    assert_eq!((is_on(&source, "b"), missing), (true, vec!["a".to_owned()]), "{}", empty.name());
    empty.change("a", Change::put_text("false"), &Author::new("bob")).await.unwrap();
    until(|| source.missing().is_empty()).await;
    assert_eq!(problems(&source), Vec::<String>::new());
}

#[tokio::test]
async fn what_a_store_lost_before_a_process_started_is_named_and_not_forgotten() {
    let folder = folder();
    let sqlite = |name: &str| SqliteStore::at(folder.path().join(name));
    lost_everything(sqlite("old.db"), sqlite("new.db")).await;
}

/// Another store at the same place in the set-up: its flags are what it says, and it is no older copy.
async fn is_another_store<S: Store + Clone>(old: S, new: S, records_removals: bool) {
    let folder = folder();
    let backup = folder.path().join("backup");
    fill(&old).await;
    let source = start(&old, &backup).await;
    assert!(!is_on(&source, "a") && is_on(&source, "b"));
    drop((source, old));

    // Without a single edit yet it may also be the old one, which has lost everything.
    let source = start(&new, &backup).await;
    assert_eq!(source.missing().len(), if records_removals { 2 } else { 0 }, "{}", new.name());
    assert!(problems(&source).iter().all(|problem| problem.contains("that no edit removed")), "{}", new.name());
    drop(source);
    let on_purpose = Live::builder(new.clone()).allow_shrink(true).start_within(Duration::from_secs(30));
    let source = on_purpose.backup(&backup).connect().await.unwrap();
    assert_eq!((source.status().flags, problems(&source)), (0, vec![]), "{}", new.name());
    drop(source);
    for flag in ["b", "a"] {
        new.change(flag, Change::put_text("true"), &Author::new("bob")).await.unwrap();
        let source = start(&new, &backup).await;
        assert_eq!((is_on(&source, flag), problems(&source)), (true, vec![]), "{}", new.name());
        drop(source);
    }
    // From now on it is the one that was seen, and one that comes back older.
    new.change("a", Change::kill(), &Author::new("bob")).await.unwrap();
    let source = start(&new, &backup).await;
    assert_eq!((is_on(&source, "a"), problems(&source)), (false, vec![]), "{}", new.name());
}

#[tokio::test]
async fn a_new_store_beside_an_old_backup_is_not_an_older_copy() {
    is_another_store(MemoryStore::new(), MemoryStore::new(), false).await;
    let folder = folder();
    let sqlite = |name: &str| SqliteStore::at(folder.path().join(name));
    is_another_store(sqlite("old.db"), sqlite("new.db"), true).await;
    let file = async |name: &str| FileStore::create(folder.path().join(name)).await.unwrap();
    is_another_store(file("old.json").await, file("new.json").await, false).await;
}

#[tokio::test]
async fn a_new_store_in_place_of_the_old_one_is_not_an_older_copy_for_a_process_that_runs() {
    let folder = folder();
    let (path, backup) = (folder.path().join("flags.json"), folder.path().join("backup"));
    let store = FileStore::create(&path).await.unwrap();
    fill(&store).await;
    let source = start(&store, &backup).await;

    let new = FileStore::create(folder.path().join("new.json")).await.unwrap();
    for flag in ["a", "b"] {
        new.change(flag, Change::put_text("true"), &Author::new("bob")).await.unwrap();
    }
    for ending in ["json.history", "json"] {
        std::fs::rename(folder.path().join(format!("new.{ending}")), path.with_extension(ending)).unwrap();
    }
    until(|| is_on(&source, "a")).await;
    assert_eq!(problems(&source), [""; 0]);
}

#[tokio::test]
async fn an_older_copy_of_the_same_store_is_one_whatever_was_there_in_between() {
    let folder = folder();
    let (path, backup) = (folder.path().join("flags.json"), folder.path().join("backup"));
    let store = FileStore::create(&path).await.unwrap();
    store.change("a", Change::put_text("true"), &Author::new("alice")).await.unwrap();
    let history = path.with_extension("json.history");
    let copies = [std::fs::read(&history).unwrap(), std::fs::read(&path).unwrap()];
    fill(&store).await;
    drop(start(&store, &backup).await);

    // Emptied first, and seen so by a process.
    std::fs::remove_file(&history).unwrap();
    std::fs::write(&path, r#"{"flags": {}}"#).unwrap();
    let source = start(&store, &backup).await;
    assert_eq!(problems(&source), [""; 0]);
    drop(source);

    std::fs::write(&history, &copies[0]).unwrap();
    std::fs::write(&path, &copies[1]).unwrap();
    let source = start(&store, &backup).await;
    assert!(!is_on(&source, "a"));
    let found = problems(&source);
    assert!(found.len() == 2 && found.iter().any(|problem| problem.contains("older copy")), "{found:#?}");
}

#[tokio::test]
async fn what_was_seen_off_stays_off_in_a_store_that_knows_of_no_edit_of_it() {
    let folder = folder();
    let (path, backup) = (folder.path().join("flags.json"), folder.path().join("backup"));
    let store = FileStore::create(&path).await.unwrap();
    fill(&store).await;
    drop(start(&store, &backup).await);

    // As a new image of a container has it: the file that was delivered, and no history.
    std::fs::remove_file(path.with_extension("json.history")).unwrap();
    std::fs::write(&path, r#"{"flags": {"a": true, "b": true}}"#).unwrap();
    for edited in [None, Some("b")] {
        if let Some(flag) = edited {
            store.change(flag, Change::put_text("false"), &Author::new("bob")).await.unwrap();
        }
        let source = start(&store, &backup).await;
        assert_eq!((is_on(&source, "a"), is_on(&source, "b")), (false, edited.is_none()));
        let found = problems(&source);
        assert!(found.len() == 1 && found[0].contains("flag \"a\"") && !found[0].contains("older copy"), "{found:#?}");
    }
    store.change("a", Change::restore(), &Author::new("bob")).await.unwrap();
    let source = start(&store, &backup).await;
    assert_eq!((is_on(&source, "a"), problems(&source)), (true, vec![]));
}
