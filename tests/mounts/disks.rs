//! Disks that take no more: the edit is rejected, nothing is in doubt, and nothing is changed.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tower_flags::Context;
use tower_flags::engine::Query;
use tower_flags::source::{Freshness, Live, Source};
use tower_flags::store::{
    BoxFuture, Change, Error, ErrorKind, Feed, FeedContent, FileStore, MemoryStore, Notices, Store, StoreExt,
};

use super::harness::{Outcome, part};
use super::place::{
    Bound, Disk, Freezer, Mounted, alice, assert_chain, beside, change, history, names_in, read, rejected, version,
};
#[cfg(feature = "admin")]
use super::support::{Client, serve};

const TEXT: &str = r#"{"flags": {"a": true, "b": true}}"#;

/// A definition of several pages.
fn large() -> Change {
    Change::put_text(format!(r#"{{"enabled": true, "description": "{}"}}"#, "d".repeat(20_000)))
}

fn assert_rejected(error: &Error, is_permanent: bool, cause: &str) {
    assert_eq!((error.kind(), error.is_permanent()), (ErrorKind::Rejected, is_permanent), "{error}");
    assert!(error.to_string().contains(": nothing was changed, because "), "{error}");
    let source = std::error::Error::source(error).unwrap().to_string();
    assert!(source.contains(cause), "{error}: {source}");
}

/// What the folder and the files of a store hold.
fn everything(path: &Path) -> (Vec<String>, String, Option<String>) {
    (names_in(path.parent().unwrap()), read(path), std::fs::read_to_string(beside(path, "history")).ok())
}

pub(crate) async fn full() -> Outcome {
    for is_new in [true, false] {
        let disk = Disk::of_64_kib();
        let path = disk.at("flags.json");
        std::fs::write(&path, TEXT).unwrap();
        let store = FileStore::new(&path).unwrap();
        if !is_new {
            change(&store, "a", Change::kill()).await;
        }
        disk.fill();
        let mut before = everything(&path);
        for wanted in [Change::kill(), Change::restore(), large(), Change::remove()] {
            let error = rejected(&store, "b", wanted).await;
            assert_rejected(&error, false, "No space left on device");
            if is_new && before.0.len() == 2 {
                before.0.push("flags.json.lock".to_owned());
            }
            assert_eq!(everything(&path), before);
        }
        disk.free();
        assert_eq!(change(&store, "b", Change::kill()).await, 2);
        assert_eq!(history(&store, "b").await.len(), 2);
        assert_chain(&FileStore::new(&path).unwrap()).await;
    }
    Outcome::Done
}

pub(crate) async fn full_in_place() -> Outcome {
    let disk = Disk::of_64_kib();
    let outside = disk.at("flags.json");
    std::fs::write(&outside, TEXT).unwrap();
    let file = Mounted::from(&outside);
    let store = file.store();
    change(&store, "a", Change::restore()).await;
    disk.fill();
    let before = everything(&file.path);
    let error = rejected(&store, "b", large()).await;
    assert_rejected(&error, false, "No space left on device");
    assert_eq!(everything(&file.path), before);
    // What needs no more space is made.
    assert_eq!(change(&store, "b", Change::kill()).await, 2);
    disk.free();
    assert_eq!(change(&store, "b", large()).await, 3);
    assert_chain(&file.store()).await;
    Outcome::Done
}

pub(crate) async fn full_history() -> Outcome {
    let disk = Disk::of_64_kib();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flags.json");
    std::fs::write(&path, TEXT).unwrap();
    std::fs::write(disk.at("history"), "").unwrap();
    let _history = Bound::new(&disk.at("history"), beside(&path, "history"));
    for is_mounted in [false, true] {
        let file = is_mounted.then(|| Mounted::from(&path));
        let path = file.as_ref().map_or(path.clone(), |file| file.path.clone());
        let _history = is_mounted.then(|| Bound::new(&disk.at("history"), beside(&path, "history")));
        let store = FileStore::new(&path).unwrap();
        change(&store, "a", Change::restore()).await;
        disk.fill();
        let before = everything(&path);
        let error = rejected(&store, "b", large()).await;
        assert_rejected(&error, false, "No space left on device");
        assert_eq!(everything(&path), before);
        disk.free();
        change(&store, "b", Change::restore()).await;
        assert_chain(&FileStore::new(&path).unwrap()).await;
    }
    Outcome::Done
}

pub(crate) async fn read_only() -> Outcome {
    let disk = Disk::of_64_kib();
    let path = disk.at("flags.json");
    std::fs::write(&path, TEXT).unwrap();
    let file = Mounted::from(&path);
    disk.become_read_only();
    for path in [&path, &file.path] {
        let store = FileStore::new(path).unwrap();
        assert_eq!(version(&store, "a").await, 0);
        let start = Instant::now();
        let error = rejected(&store, "a", Change::kill().within(Duration::from_secs(60))).await;
        assert_rejected(&error, true, "Read-only file system");
        assert!(start.elapsed() < Duration::from_secs(30), "it is not tried again");
        assert!(!beside(path, "history").exists() && read(path) == TEXT);
    }
    Outcome::Done
}

/// Edits once, and expects to be rejected as `EXPECTED` says.
pub(crate) async fn edit_as_another_user() -> Outcome {
    let path = PathBuf::from(std::env::var("EDITED").unwrap());
    let (expected, is_permanent) = (std::env::var("EXPECTED").unwrap(), std::env::var("PERMANENT").is_ok());
    let store = FileStore::new(&path).unwrap();
    let before = (read(&path), std::fs::read_to_string(beside(&path, "history")).ok());
    for _ in 0..3 {
        let error = rejected(&store, "b", large()).await;
        assert_rejected(&error, is_permanent, &expected);
        assert_eq!((read(&path), std::fs::read_to_string(beside(&path, "history")).ok()), before);
    }
    Outcome::Done
}

const SOMEBODY: u32 = 65534;

/// Whether another user of this machine can be had, which takes more than a namespace of one's own.
fn can_be_another_user() -> bool {
    std::process::Command::new("true").uid(SOMEBODY).gid(SOMEBODY).status().is_ok_and(|status| status.success())
}

fn is_rejected_as_another_user(path: &Path, expected: &str, is_permanent: bool) {
    let path = path.to_str().unwrap();
    let mut variables = vec![("EDITED", path), ("EXPECTED", expected)];
    if is_permanent {
        variables.push(("PERMANENT", "1"));
    }
    let status = part("edit", &variables).uid(SOMEBODY).gid(SOMEBODY).status().unwrap();
    assert!(status.success(), "{path}");
}

pub(crate) async fn quota() -> Outcome {
    let options = "size=1m,mode=1777,usrquota,usrquota_block_hardlimit=16K";
    let Some(disk) = Disk::new(options).filter(|_| can_be_another_user()) else {
        return Outcome::Skipped("no quotas on tmpfs, or no other users");
    };
    let path = disk.at("flags.json");
    std::fs::write(&path, TEXT).unwrap();
    std::os::unix::fs::chown(&path, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    is_rejected_as_another_user(&path, "quota", false);
    Outcome::Done
}

/// In such a folder everybody may write, and nobody may replace what is another user's.
pub(crate) async fn never_made() -> Outcome {
    if !can_be_another_user() {
        return Outcome::Skipped("no other users");
    }
    let disk = Disk::new("size=1m,mode=1777").unwrap();
    let path = disk.at("flags.json");
    std::fs::write(&path, TEXT).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
    is_rejected_as_another_user(&path, "Operation not permitted", true);
    assert_eq!(names_in(disk.folder.path()), ["flags.json", "flags.json.lock"]);
    // With a history too, in which nothing is left.
    std::fs::remove_file(beside(&path, "lock")).unwrap();
    change(&FileStore::new(&path).unwrap(), "a", Change::kill()).await;
    is_rejected_as_another_user(&path, "Operation not permitted", true);
    assert_eq!(names_in(disk.folder.path()), ["flags.json", "flags.json.history", "flags.json.lock"]);
    assert_chain(&FileStore::new(&path).unwrap()).await;
    Outcome::Done
}

pub(crate) async fn backup() -> Outcome {
    let disk = Disk::of_64_kib();
    let store = MemoryStore::new();
    store.change("a", Change::put_text("true"), &alice()).await.unwrap();
    disk.fill();
    let path = disk.at("backup");
    let source = Live::builder(store.clone()).backup(&path).connect().await.unwrap();
    let problems = || source.status().problems.iter().map(ToString::to_string).collect::<Vec<_>>();
    let found = problems();
    assert!(found.len() == 1 && found[0].contains("No space left on device"), "{found:?}");
    let kill = source.kill_here("a", &alice()).await.unwrap();
    assert!(!source.survives_restart(&kill));
    disk.free();
    // With what changes next it is written.
    store.change("b", Change::put_text("true"), &alice()).await.unwrap();
    let start = Instant::now();
    while !source.survives_restart(&kill) {
        assert!(start.elapsed() < Duration::from_secs(30), "{:?}", problems());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(problems().len(), 1, "the kill alone");
    drop(source);
    assert_eq!(names_in(disk.folder.path()), ["backup"]);
    Outcome::Done
}

/// The problem that begins 5 s after a write of the backup: what is seen before it has not waited for the disk.
fn hangs(source: &Live) -> bool {
    source.status().problems.iter().any(|problem| problem.to_string().contains("not written within"))
}

async fn until(what: &str, source: &Live, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}: {:?}", source.status());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn is_on(source: &Live, flag: &str) -> bool {
    let flags = source.answer(&Query::new(&Context::user("u"), tower_flags::Timestamp::MIN));
    flags.is_enabled(flag)
}

async fn with_three_flags<S: Store>(store: &S) {
    for flag in ["a", "b", "c"] {
        store.change(flag, Change::put_text("true"), &alice()).await.unwrap();
    }
}

pub(crate) async fn hanging_backup() -> Outcome {
    let Some(disk) = Freezer::new() else { return Outcome::Skipped("no disk that can be frozen") };
    let store = MemoryStore::new();
    with_three_flags(&store).await;
    let source = Live::builder(store.clone()).backup(disk.at("backup")).connect().await.unwrap();
    disk.freeze();
    // As another process does it: one after the other, each seen before the next.
    for flag in ["b", "c"] {
        store.change(flag, Change::kill(), &alice()).await.unwrap();
        until("a kill of another process is seen", &source, || !is_on(&source, flag)).await;
        assert!(!hangs(&source), "the kill of {flag:?} has waited for the disk");
    }
    let kill = source.kill_here("a", &alice()).await.unwrap();
    assert!(!is_on(&source, "a") && !source.survives_restart(&kill));
    assert!(!hangs(&source), "the kill here has waited for the disk");
    until("the status says that the disk hangs", &source, || hangs(&source)).await;
    // What waits is written in the end, the newest of it.
    assert!(source.forget_kill("a").await && is_on(&source, "a"));
    let kill = source.kill_here("a", &alice()).await.unwrap();
    store.change("c", Change::restore(), &alice()).await.unwrap();
    until("rules are loaded", &source, || is_on(&source, "c")).await;
    disk.thaw();
    until("the backup is written", &source, || source.survives_restart(&kill) && !hangs(&source)).await;
    until("the newest is written", &source, || read(&disk.at("backup")).contains(r#""revision":"6""#)).await;
    drop(source);
    let backup = Live::builder(Silent).backup(disk.at("backup")).start_within(Duration::from_millis(50));
    let source = backup.connect().await.unwrap();
    assert_eq!(["a", "b", "c"].map(|flag| is_on(&source, flag)), [false, false, true]);
    Outcome::Done
}

/// Edits of one process wait for each other as long as their callers do: it is no other process that keeps the lock.
pub(crate) async fn edits_on_a_slow_disk() -> Outcome {
    let Some(disk) = Freezer::new() else { return Outcome::Skipped("no disk that can be frozen") };
    std::fs::write(disk.at("flags.json"), TEXT).unwrap();
    let store = FileStore::new(disk.at("flags.json")).unwrap();
    change(&store, "a", Change::kill()).await;
    disk.freeze();
    let edits = ["a", "b", "c"].map(|flag| {
        let (store, change) = (store.clone(), Change::put_text("true").within(Duration::from_secs(30)));
        async move { store.change(flag, change, &alice()).await }
    });
    let mut all = JoinSet::from_iter(edits);
    // Longer than another process may hold the lock.
    let ended = tokio::time::timeout(Duration::from_secs(3), all.join_next()).await;
    assert!(ended.is_err(), "no edit ends on a disk that hangs: {ended:?}");
    disk.thaw();
    for edit in all.join_all().await {
        edit.unwrap();
    }
    assert_chain(&store).await;
    Outcome::Done
}

/// A store that gives nothing.
struct Silent;

impl Feed for Silent {
    fn name(&self) -> &str {
        "silent"
    }

    fn load<'a>(&'a self, _: Option<&'a str>) -> BoxFuture<'a, Result<Option<FeedContent>, Error>> {
        Box::pin(std::future::pending())
    }

    fn subscribe(&self) -> BoxFuture<'_, Result<Box<dyn Notices>, Error>> {
        Box::pin(async { Err(Error::new(ErrorKind::Unavailable, "silent")) })
    }
}

/// The lock of the file is held, so that the kill is in effect in this process alone.
#[cfg(feature = "admin")]
pub(crate) async fn kill_over_hanging_backup() -> Outcome {
    use tower_flags::admin::{Admin, Tokens};

    const TOKEN: &str = "editor-0123456789abcdef0123456789";
    let Some(disk) = Freezer::new() else { return Outcome::Skipped("no disk that can be frozen") };
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::create(folder.path().join("flags.json")).await.unwrap();
    with_three_flags(&store).await;
    let source = Live::builder(store.clone()).backup(disk.at("backup")).connect().await.unwrap();
    let tokens = Tokens::new().editor("alice", TOKEN).unwrap();
    let address = serve(Admin::new(store.clone(), source.clone(), tokens).router()).await;
    let lock = std::fs::File::open(folder.path().join("flags.json.lock")).unwrap();
    lock.lock().unwrap();
    disk.freeze();
    let mut client = Client::open(address).await;
    client.ask("POST", "/flags/a/kill", &[("authorization", format!("Bearer {TOKEN}").as_bytes())]).await;
    until("the kill is in effect", &source, || !is_on(&source, "a")).await;
    let reply = client.reply().await;
    assert!(!hangs(&source), "the answer has waited for the disk: {}", reply.text());
    assert_eq!(reply.status, 202, "{}", reply.text());
    for part in ["does not survive a restart", "not written yet", r#""survives_restart":false"#] {
        assert!(reply.text().contains(part), "{part}: {}", reply.text());
    }
    disk.thaw();
    let kill = source.local_kills().remove(0);
    until("the backup is written", &source, || source.survives_restart(&kill)).await;
    Outcome::Done
}

/// No rename replaces such a file, and beside it nothing can be written here.
pub(crate) async fn mounted_backup() -> Outcome {
    for is_read_only in [false, true] {
        let file = Mounted::new("backup", "");
        if is_read_only {
            file.app_becomes_read_only();
        }
        let store = MemoryStore::new();
        with_three_flags(&store).await;
        let live = Live::builder(store.clone()).backup(&file.path).connect().await.unwrap();
        assert_eq!(live.status().problems, [], "in a folder that is read-only: {is_read_only}");
        let kill = live.kill_here("a", &alice()).await.unwrap();
        assert!(live.survives_restart(&kill));
        drop(live);
        // As a process starts while the store is away.
        let restarted = async || {
            let builder = Live::builder(Silent).backup(&file.path).start_within(Duration::from_millis(20));
            builder.connect().await.unwrap()
        };
        let live = restarted().await;
        assert_eq!(["a", "b", "c"].map(|flag| is_on(&live, flag)), [false, true, true]);
        assert_eq!(live.local_kills(), [kill]);
        drop(live);

        // Shorter than before.
        let live = Live::builder(store.clone()).backup(&file.path).connect().await.unwrap();
        live.forget_kill("a").await;
        drop(live);
        assert_eq!(read(&file.path), read(&file.outside));
        let live = restarted().await;
        assert_eq!((is_on(&live, "a"), live.local_kills()), (true, vec![]));
        drop(live);
        assert_eq!(names_in(&file.app()), ["backup"]);

        // What a crash leaves of it is recognised, and written again where the store is there.
        let whole = std::fs::read(&file.path).unwrap();
        for content in [&whole[..whole.len() / 2], &[&[1], &whole[1..]].concat(), &[&whole[..], &[0; 100]].concat()] {
            std::fs::write(&file.path, content).unwrap();
            let live = restarted().await;
            assert_eq!(live.status().freshness, Freshness::NeverLoaded);
            drop(live);
        }
        drop(Live::builder(store.clone()).backup(&file.path).connect().await.unwrap());
        assert!(is_on(&restarted().await, "a"));
    }
    Outcome::Done
}

/// A disk without space leaves the backup that is there.
pub(crate) async fn full_mounted_backup() -> Outcome {
    let disk = Disk::of_64_kib();
    std::fs::write(disk.at("backup"), "").unwrap();
    let file = Mounted::from(&disk.at("backup"));
    let store = MemoryStore::new();
    with_three_flags(&store).await;
    let live = Live::builder(store.clone()).backup(&file.path).connect().await.unwrap();
    let before = read(&file.path);
    assert!(before.contains(r#""revision":"3""#), "{before}");
    disk.fill();
    store.change("d", large(), &alice()).await.unwrap();
    until("the status says so", &live, || !live.status().problems.is_empty()).await;
    let found = live.status().problems[0].to_string();
    assert!(found.contains("No space left on device"), "{found}");
    assert_eq!(read(&file.path), before);
    disk.free();
    store.change("d", Change::restore(), &alice()).await.unwrap();
    until("it is written", &live, || read(&file.path).contains(r#""revision":"5""#)).await;
    Outcome::Done
}
