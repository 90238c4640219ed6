//! The file as a store: edited by several processes and by hand, and cut down in the midst of it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![cfg(all(feature = "file", feature = "testing"))]

#[path = "support/dose.rs"]
mod dose;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use serde_json::value::RawValue;
use tempfile::TempDir;
use tower_flags::Context;
use tower_flags::document::Edit;
use tower_flags::engine::Query;
use tower_flags::source::{Freshness, Live, Source};
use tower_flags::store::{
    Author, Change, ChangeError, ErrorKind, Feed, FileStore, HistoryEntry, HistoryPage, Store, StoreExt,
};
use tower_flags::testing::{StoreFixture, check_store};

fn alice() -> Author {
    Author::new("alice")
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    PathBuf::from(format!("{}.{ending}", path.display()))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// As editors do that replace the file.
fn save(path: &Path, text: &[u8]) {
    let temporary = beside(path, "editor");
    std::fs::write(&temporary, text).unwrap();
    std::fs::rename(temporary, path).unwrap();
}

/// Files in folders that go with the fixture.
struct Files {
    name: &'static str,
    empty: &'static str,
    made: Mutex<Vec<TempDir>>,
}

impl Files {
    fn new(name: &'static str, empty: &'static str) -> Self {
        Self { name, empty, made: Mutex::default() }
    }
}

impl StoreFixture for Files {
    type Store = FileStore;

    async fn fresh(&self) -> FileStore {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(self.name);
        self.made.lock().unwrap().push(folder);
        std::fs::write(&path, self.empty).unwrap();
        FileStore::new(&path).unwrap()
    }

    async fn another(&self, store: &FileStore) -> FileStore {
        FileStore::new(store.name()).unwrap()
    }

    async fn restarted(&self, store: FileStore) -> FileStore {
        let path = store.name().to_owned();
        drop(store);
        FileStore::new(path).unwrap()
    }

    /// What is no JSON breaks a file as a whole, which other tests here show. What somebody can put in the place of
    /// one flag is a text that says it, at most as large as the file may be.
    async fn write_past(&self, store: &FileStore, flag: &str, text: Option<&[u8]>) {
        let path = Path::new(store.name());
        let value = text.map(|text| match std::str::from_utf8(text) {
            Ok(text) if serde_json::from_str::<&RawValue>(text).is_ok() => text.to_owned(),
            _ => serde_json::to_string(&String::from_utf8_lossy(&text[..text.len().min(2 * 1024 * 1024)])).unwrap(),
        });
        let edited = match path.extension().unwrap().to_str() {
            Some("json") => by_hand_in_json(&read(path), flag, value),
            _ => by_hand_in_toml(&read(path), flag, value),
        };
        save(path, edited.as_bytes());
    }
}

fn by_hand_in_json(file: &str, flag: &str, value: Option<String>) -> String {
    type Flags = BTreeMap<String, BTreeMap<String, Box<RawValue>>>;
    let mut document: Flags = serde_json::from_str(file).unwrap();
    let flags = document.get_mut("flags").unwrap();
    match value {
        Some(value) => drop(flags.insert(flag.to_owned(), RawValue::from_string(value).unwrap())),
        None => drop(flags.remove(flag)),
    }
    serde_json::to_string_pretty(&document).unwrap()
}

/// Takes out the flag's table or line, and puts a line in.
fn by_hand_in_toml(file: &str, flag: &str, value: Option<String>) -> String {
    let mut lines = Vec::new();
    let mut is_in_it = false;
    for line in file.lines().filter(|line| *line != "[flags]") {
        if line.starts_with('[') {
            is_in_it = line == format!("[flags.{flag}]");
        }
        if !is_in_it && !line.starts_with(&format!("{flag} =")) {
            lines.push(line.to_owned());
        }
    }
    let line = value.map(|value| format!("{flag} = {}", value.replace("\": ", "\" = ")));
    ["[flags]".to_owned()].into_iter().chain(line).chain(lines).collect::<Vec<_>>().join("\n") + "\n"
}

async fn passes(fixture: Files) {
    let report = check_store(&fixture).await;
    print!("{report}");
    report.assert_passed();
    assert_eq!(report.skipped().count(), 0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn json_keeps_the_contract() {
    passes(Files::new("flags.json", "{\"flags\": {}}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn toml_keeps_the_contract() {
    passes(Files::new("flags.toml", "[flags]\n")).await;
}

/// A file that was edited through a store.
struct Edited {
    _folder: TempDir,
    path: PathBuf,
    store: FileStore,
}

impl Edited {
    fn new(name: &str, text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        let store = FileStore::new(&path).unwrap();
        Self { _folder: folder, path, store }
    }

    async fn change(&self, flag: &str, change: Change) -> u64 {
        self.store.change(flag, change, &alice()).await.unwrap().version
    }

    fn history_path(&self) -> PathBuf {
        beside(&self.path, "history")
    }

    /// Another process, which has nothing in memory.
    fn reopened(&self) -> FileStore {
        FileStore::new(&self.path).unwrap()
    }
}

async fn history(store: &FileStore, flag: &str) -> Vec<HistoryEntry> {
    store.history(&HistoryPage::newest().of(flag).limit(1000)).await.unwrap()
}

async fn version(store: &FileStore, flag: &str) -> u64 {
    store.read(flag).await.unwrap().version
}

async fn assert_chain(store: &FileStore) {
    assert!(store.verify_history().await.unwrap().is_ok());
}

#[tokio::test]
async fn an_edit_in_json_changes_the_flags_own_text_alone() {
    let text = "{ \"$schema\":\"s\",\n\t\"flags\" : {\n\t\t\"a\" : {\"enabled\": true,\n\t\t\t\"percentage\": 2.50e1 , \"rollout_stages\": [ 1.0 ]},\n\n\t\t\"b\" : true } }\n\n";
    let file = Edited::new("flags.json", text);
    file.change("a", Change::kill()).await;
    let killed = text.replace("\"enabled\": true", "\"enabled\": false");
    assert_eq!(read(&file.path), killed);
    file.change("c", Change::put_text(r#"{"percentage":5}"#)).await;
    let added = killed.replace("\"b\" : true", "\"b\" : true,\n\n\t\t\"c\" : {\"percentage\":5}");
    assert_eq!(read(&file.path), added);
    file.change("c", Change::remove()).await;
    assert_eq!(read(&file.path), killed);
    assert_chain(&file.store).await;
}

#[tokio::test]
async fn an_edit_in_toml_keeps_comments_order_and_spelling() {
    let text = "# ask payments\n[flags.pay] # all of it\nenabled = true # since May\npercentage = 1_0.50\n\
                limit = 0x10\nrollout_started = 2026-05-01T07:32:00Z # their time\nrollout_stages = [inf, 5]\n\n\
                # small ones\n[flags]\nb = true # night\nc = { on = true, 'percentage' = 5 }\n# end\n";
    let text = text.replace("limit = 0x10\n", "");
    let file = Edited::new("flags.toml", &text);
    file.change("pay", Change::kill()).await;
    let killed = text.replace("enabled = true #", "enabled = false #");
    assert_eq!(read(&file.path), killed);
    file.change("c", Change::kill()).await;
    file.change("b", Change::put_text("false")).await;
    let all = killed.replace("on = true", "on = false").replace("b = true #", "b = false #");
    assert_eq!(read(&file.path), all);
    file.change("d", Change::put_text(r#"{"percentage": 12.5}"#)).await;
    let added = all.replace("# end", "d = { percentage = 12.5 }\n# end");
    assert_eq!(read(&file.path), added);
    assert_eq!(file.store.read("d").await.unwrap().definition.as_deref(), Some(r#"{"percentage": 12.5}"#));
    let loaded = file.store.load(None).await.unwrap().unwrap();
    assert_eq!(loaded.document.problems(), []);
    assert_chain(&file.store).await;
}

#[tokio::test]
async fn a_number_that_no_toml_reader_has_to_take_costs_no_edit() {
    let text = "[flags.pay]\nenabled = true\npercentage = 50\nmetadata = { id = 9_223_372_036_854_775_808 } # theirs\n\n[flags.old]\n\
                rules = [{ when = [{ attribute = \"account\", op = \"equals\", values = [18446744073709551615] }], serve = true }]\n";
    let file = Edited::new("flags.toml", text);
    file.change("pay", Change::kill()).await;
    let killed = text.replace("enabled = true", "enabled = false");
    assert_eq!(read(&file.path), killed);
    // Of the flag itself all other settings can be edited, too.
    let owned = Change::edit(Edit::new().set("owner", "payments"));
    file.change("pay", owned).await;
    file.change("old", Change::kill()).await;
    let stored = file.store.read("old").await.unwrap().definition.unwrap();
    assert!(stored.contains("[18446744073709551615]") && stored.contains(r#""enabled": false"#), "{stored}");
    assert!(read(&file.path).contains("id = 9_223_372_036_854_775_808 } # theirs\n"), "{}", read(&file.path));
    let loaded = file.store.load(None).await.unwrap().unwrap();
    assert_eq!(loaded.document.problems(), []);
    assert_chain(&file.store).await;
}

#[tokio::test]
async fn what_toml_cannot_hold_is_refused_and_changes_nothing() {
    let file = Edited::new("flags.toml", "[flags]\na = true\n");
    let change = Change::put_text(r#"{"enabled": true, "metadata": {"deep": null}}"#);
    let refused = file.store.change("a", change, &alice()).await.unwrap_err();
    let ChangeError::Store(error) = refused else { panic!("{refused}") };
    assert_eq!(error.kind(), ErrorKind::Refused);
    let name = file.path.display();
    assert_eq!(
        error.to_string(),
        format!("{name}: flag \"a\": expected a value that TOML has, found null; leave the key out")
    );
    assert_eq!(read(&file.path), "[flags]\na = true\n");
    assert!(!file.history_path().exists());
}

#[tokio::test]
async fn what_somebody_saves_between_reading_and_writing_stays() {
    let file = Edited::new("flags.json", r#"{"flags": {"a": true, "b": true}}"#);
    for number in 1..20 {
        let before = file.store.read("a").await.unwrap();
        save(
            &file.path,
            by_hand_in_json(&read(&file.path), "hand", Some(format!("{{\"percentage\": {number}}}"))).as_bytes(),
        );
        file.change(
            "a",
            Change::put_text(format!(r#"{{"percentage": {number}}}"#)).at_version(before.current_version()),
        )
        .await;
        let hand = file.store.read("hand").await.unwrap().definition.unwrap();
        assert_eq!(hand, format!("{{\"percentage\": {number}}}"));
    }
    assert_eq!(history(&file.store, "a").await.len(), 20, "the first text was somebody else's");
    assert_chain(&file.store).await;
}

#[tokio::test]
async fn a_file_that_is_whole_by_itself_needs_no_second_reading_at_the_start() {
    let settling = Duration::from_millis(50);
    for (name, text, is_whole) in [
        ("flags.json", "{\"flags\": {\"a\": true}}", true),
        ("flags.toml", "[flags]\na = true\n# end\n", true),
        ("flags.toml", "[flags]\na = true\n", false),
    ] {
        let file = Edited::new(name, text);
        let mut fastest = Duration::MAX;
        for _ in 0..40 {
            let store = FileStore::new(&file.path).unwrap();
            let start = std::time::Instant::now();
            assert!(store.load(None).await.unwrap().is_some());
            fastest = fastest.min(start.elapsed());
        }
        assert_eq!(fastest < settling, is_whole, "{text:?} took {fastest:?}");
    }
}

#[tokio::test]
async fn a_file_that_is_written_in_place_is_not_edited_halfway() {
    let flags: String = (0..200).map(|number| format!("[flags.flag_{number}]\nenabled = true\n")).collect();
    let file = Edited::new("flags.toml", &flags);
    file.change("flag_0", Change::kill()).await;
    for _ in 0..5 {
        let by_hand = format!("# by hand\n{}", read(&file.path));
        let (begun, is_begun) = tokio::sync::oneshot::channel();
        let writer = {
            let (path, by_hand) = (file.path.clone(), by_hand.clone());
            std::thread::spawn(move || {
                let mut open = std::fs::File::create(path).unwrap();
                // Each part ends where a table does, so that all of them are files of their own.
                let parts: Vec<&str> = by_hand.split_inclusive("true\n").collect();
                open.write_all(parts[..2].concat().as_bytes()).unwrap();
                begun.send(()).unwrap();
                // Longer than an edit takes, and less than the two reads are apart.
                std::thread::sleep(Duration::from_millis(20));
                open.write_all(parts[2..].concat().as_bytes()).unwrap();
            })
        };
        is_begun.await.unwrap();
        file.change("flag_1", Change::edit(Edit::new().set("description", by_hand.len().to_string()))).await;
        writer.join().unwrap();
        let edited = read(&file.path);
        assert!(edited.starts_with("# by hand\n") && edited.contains("flag_199"), "{}", edited.len());
    }
    // What came too late in one attempt leaves nothing in the history.
    assert!(!read(&file.history_path()).contains("not_applied"));
    assert_chain(&file.store).await;
}

/// The state of both files after an edit, as a crash between two steps of it leaves them.
struct Steps {
    before: Vec<u8>,
    after: Vec<u8>,
    /// The history before, its line for the edit, and the line that says what came of it.
    history: (String, String, String),
}

async fn steps_of(file: &Edited, flag: &str, change: Change) -> Steps {
    let before = std::fs::read(&file.path).unwrap();
    let history_before = read(&file.history_path());
    file.change(flag, change).await;
    let after = std::fs::read(&file.path).unwrap();
    let history = read(&file.history_path());
    let (edit, applied) = history[history_before.len()..].split_once('\n').unwrap();
    assert!(edit.starts_with("{\"edit\":") && applied.starts_with("{\"applied\":"), "{edit} {applied}");
    Steps { before, after, history: (history_before, format!("{edit}\n"), applied.to_owned()) }
}

async fn three_edits(name: &str, empty: &str) -> Edited {
    let file = Edited::new(name, empty);
    for text in [r#"{"percentage": 1}"#, r#"{"percentage": 2}"#] {
        file.change("a", Change::put_text(text)).await;
    }
    file.change("b", Change::put_text("true")).await;
    file
}

const KINDS: [(&str, &str); 2] = [("flags.json", "{\"flags\": {}}"), ("flags.toml", "[flags]\n")];

#[tokio::test]
async fn an_edit_that_died_before_the_rename_was_not_made_and_is_marked_so() {
    for (name, empty) in KINDS {
        let file = three_edits(name, empty).await;
        let steps = steps_of(&file, "a", Change::kill()).await;
        save(&file.path, &steps.before);
        std::fs::write(file.history_path(), format!("{}{}", steps.history.0, steps.history.1)).unwrap();

        let store = file.reopened();
        let loaded = store.load(None).await.unwrap().unwrap();
        assert_eq!((loaded.versions["a"], loaded.sequence), (2, Some(3)));
        assert_eq!(version(&store, "a").await, 2);
        assert_eq!(history(&store, "a").await.len(), 2);
        let lines = read(&file.history_path());
        let last = lines.lines().last().unwrap();
        assert!(last.starts_with(r#"{"not_applied":{"number":4,"digest":""#), "{last}");
        assert_chain(&store).await;
        // The process that was thought dead has it in memory otherwise, and reads it again.
        assert_eq!(version(&file.store, "a").await, 2);
        assert_eq!(store.change("a", Change::kill(), &alice()).await.unwrap().version, 3);
        assert_eq!(version(&file.store, "a").await, 3);
        assert_chain(&file.reopened()).await;
    }
}

#[tokio::test]
async fn an_edit_that_died_after_the_rename_was_made() {
    for (name, empty) in KINDS {
        let file = three_edits(name, empty).await;
        let steps = steps_of(&file, "a", Change::remove()).await;
        std::fs::write(file.history_path(), format!("{}{}", steps.history.0, steps.history.1)).unwrap();
        let store = file.reopened();
        assert_eq!(version(&store, "a").await, 3);
        assert_eq!(store.load(None).await.unwrap().unwrap().removed.len(), 1);
        assert_eq!(std::fs::read(&file.path).unwrap(), steps.after);
        assert_chain(&store).await;
        store.change("b", Change::kill(), &alice()).await.unwrap();
        assert_eq!(version(&file.reopened(), "a").await, 3);
        assert_chain(&file.reopened()).await;
    }
}

#[tokio::test]
async fn where_somebody_has_edited_since_the_flag_itself_tells() {
    for (name, empty) in KINDS {
        for (is_made, percentage_by_hand, versions) in
            [(true, None, 3), (false, None, 2), (true, Some("77"), 3), (false, Some("77"), 3)]
        {
            let file = three_edits(name, empty).await;
            let steps = steps_of(&file, "a", Change::put_text(r#"{"percentage": 3}"#)).await;
            let text = String::from_utf8(if is_made { steps.after } else { steps.before }).unwrap();
            // By hand: another flag, or this one too.
            let mut by_hand = text.replace("true", "false");
            if let Some(percentage) = percentage_by_hand {
                let old = if is_made { "3" } else { "2" };
                for separator in [": ", " = "] {
                    let key =
                        |value| format!("percentage{}{separator}{value}", if separator == ": " { "\"" } else { "" });
                    by_hand = by_hand.replace(&key(old), &key(percentage));
                }
            }
            save(&file.path, by_hand.as_bytes());
            std::fs::write(file.history_path(), format!("{}{}", steps.history.0, steps.history.1)).unwrap();
            let store = file.reopened();
            assert_eq!(version(&store, "a").await, versions, "{name} {is_made} {percentage_by_hand:?}");
            let loaded = store.load(None).await.unwrap().unwrap();
            assert_eq!(loaded.versions["a"], versions);
            // Decided once: what is done to the file later changes nothing about it.
            save(&file.path, b"");
            save(&file.path, by_hand.as_bytes());
            store.change("a", Change::put_text("true"), &alice()).await.unwrap();
            let foreign = u64::from(percentage_by_hand.is_some());
            assert_eq!(version(&file.reopened(), "a").await, versions + foreign + 1);
            assert_chain(&file.reopened()).await;
        }
    }
}

/// A line that was taken back, and in its place one of the same length that ends in the same way: the edit was tried
/// again.
#[tokio::test]
async fn a_reader_of_a_line_that_was_taken_back_goes_on_from_the_one_in_its_place() {
    // Whether the reader finds the line that says that the edit was made.
    for is_killed in [false, true] {
        let file = three_edits("flags.json", "{\"flags\": {}}").await;
        let history_before = read(&file.history_path());
        let before = std::fs::read(&file.path).unwrap();
        let kill = || Change::edit(Edit::new().set("owner", "me").set("enabled", false));
        let first = steps_of(&file, "a", kill()).await;
        let second = loop {
            save(&file.path, &before);
            std::fs::write(file.history_path(), &history_before).unwrap();
            let second = steps_of(&file, "a", kill()).await;
            let (one, other) = (&first.history.1, &second.history.1);
            if one.len() == other.len() && one != other {
                break second;
            }
        };
        assert!(first.history.1.ends_with(&second.history.1[second.history.1.len() - 128..]));
        save(&file.path, &before);
        std::fs::write(file.history_path(), format!("{history_before}{}", first.history.1)).unwrap();

        // Nobody decides on an edit while another process makes it.
        let lock = std::fs::File::open(beside(&file.path, "lock")).unwrap();
        lock.lock().unwrap();
        let reader = file.reopened();
        assert_eq!(version(&reader, "a").await, 2);
        let applied = if is_killed { "" } else { second.history.2.as_str() };
        std::fs::write(file.history_path(), format!("{history_before}{}{applied}", second.history.1)).unwrap();
        save(&file.path, &second.after);
        lock.unlock().unwrap();
        assert_eq!(version(&reader, "a").await, 3);
        reader.change("b", Change::kill(), &alice()).await.unwrap();
        for store in [&reader, &file.reopened()] {
            assert_eq!(store.verify_history().await.unwrap().unwrap().number, 5, "killed: {is_killed}");
        }
    }
}

#[tokio::test]
async fn an_acknowledged_edit_stays_in_the_history_where_somebody_puts_the_old_file_back() {
    let file = three_edits(KINDS[0].0, KINDS[0].1).await;
    let steps = steps_of(&file, "a", Change::kill()).await;
    save(&file.path, &steps.before);
    let store = file.reopened();
    assert_eq!(version(&store, "a").await, 3);
    store.change("a", Change::kill(), &alice()).await.unwrap();
    let actors: Vec<Option<String>> = history(&store, "a").await.into_iter().map(|entry| entry.actor).collect();
    assert_eq!(actors[..3], [Some("alice".into()), None, Some("alice".into())]);
    assert_eq!(version(&store, "a").await, 5);
    assert_chain(&store).await;
}

#[tokio::test]
async fn a_line_that_was_torn_off_is_left_out_and_set_off_by_the_next_edit() {
    let file = three_edits(KINDS[0].0, KINDS[0].1).await;
    let steps = steps_of(&file, "a", Change::put_text("true")).await;
    let (before, edit, _) = &steps.history;
    for torn in (1..edit.len()).step_by(7).chain([edit.len() - 1]) {
        save(&file.path, &steps.before);
        std::fs::write(file.history_path(), format!("{before}{}", &edit[..torn])).unwrap();
        let store = file.reopened();
        assert_eq!(version(&store, "a").await, 2, "{torn}");
        assert_eq!(read(&file.history_path()).len(), before.len() + torn, "readers leave it alone");
        assert_eq!(store.change("a", Change::kill(), &alice()).await.unwrap().version, 3);
        assert_eq!(store.change("a", Change::remove(), &alice()).await.unwrap().version, 4);
        let made = history(&file.reopened(), "a").await;
        assert!(made.len() == 4 && made.iter().all(|entry| entry.actor.is_some()), "{made:?}");
        assert_chain(&file.reopened()).await;
    }
    // The mark alone may be torn as well.
    std::fs::write(file.history_path(), format!("{before}{edit}{{\"appl")).unwrap();
    save(&file.path, &steps.after);
    assert_eq!(version(&file.reopened(), "a").await, 3);
    file.reopened().change("a", Change::kill(), &alice()).await.unwrap();
    assert_chain(&file.reopened()).await;
}

#[tokio::test]
async fn a_history_that_was_changed_shows_in_its_chain() {
    let file = three_edits(KINDS[0].0, KINDS[0].1).await;
    let whole = read(&file.history_path());
    for (edited, number) in [
        (whole.replacen("alice", "mallory", 1), 1),
        (whole.lines().skip(2).map(|line| format!("{line}\n")).collect(), 1),
        (whole.replacen("{\\\"percentage\\\": 2}", "{\\\"percentage\\\": 9}", 1), 2),
    ] {
        assert_ne!(edited, whole);
        std::fs::write(file.history_path(), edited).unwrap();
        let broken = file.reopened().verify_history().await.unwrap().unwrap_err();
        assert_eq!(broken.number, number);
        // The store that had read it before looks again, too.
        assert_eq!(file.store.verify_history().await.unwrap().unwrap_err().number, number);
    }
}

#[tokio::test]
async fn permissions_and_links_stay() {
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let target = elsewhere.path().join("rules.json");
    std::fs::write(&target, r#"{"flags": {}}"#).unwrap();
    std::fs::set_permissions(&target, std::fs::Permissions::from_mode(0o640)).unwrap();
    // Only root may give files away.
    let owner = std::os::unix::fs::chown(&target, Some(65534), Some(65534)).map_or(None, |()| Some((65534, 65534)));
    let link = folder.path().join("flags.json");
    symlink(&target, &link).unwrap();
    let store = FileStore::new(&link).unwrap();
    store.change("a", Change::put_text("true"), &alice()).await.unwrap();
    let found = std::fs::symlink_metadata(&target).unwrap();
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(read(&link), r#"{"flags": {"a": true}}"#);
    assert_eq!(found.mode() & 0o7777, 0o640);
    if let Some(owner) = owner {
        assert_eq!((found.uid(), found.gid()), owner);
    }
    let history = beside(&target, "history");
    assert_eq!(std::fs::metadata(&history).unwrap().mode() & 0o7777, 0o600, "nobody else may write the flags");
    let names: Vec<_> = std::fs::read_dir(elsewhere.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 3, "the file, its history, its lock: {names:?}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// Nobody else makes files of these names: a link leads to what is not ours, and a pipe to somebody who waits.
#[tokio::test]
async fn links_and_pipes_beside_the_file_are_not_followed() {
    for name in ["lock", "history"] {
        for makes in ["link", "pipe"] {
            let folder = tempfile::tempdir().unwrap();
            let (path, theirs) = (folder.path().join("flags.json"), folder.path().join("theirs"));
            std::fs::write(&path, r#"{"flags": {"a": true}}"#).unwrap();
            std::fs::write(&theirs, "theirs").unwrap();
            if makes == "link" {
                symlink(&theirs, beside(&path, name)).unwrap();
            } else {
                let made = Command::new("mkfifo").arg(beside(&path, name)).status();
                assert!(made.unwrap().success());
            }
            let refused = match FileStore::new(&path) {
                Ok(store) => store.change("a", Change::kill(), &alice()).await.unwrap_err().to_string(),
                Err(error) => error.to_string(),
            };
            assert!(refused.contains("flags.json"), "{name}, {makes}: {refused}");
            assert_eq!((read(&path).as_str(), read(&theirs).as_str()), (r#"{"flags": {"a": true}}"#, "theirs"));
        }
    }
}

#[tokio::test]
async fn an_edit_whose_time_ends_while_another_process_has_the_lock_is_certainly_not_made() {
    let file = three_edits("flags.json", "{\"flags\": {}}").await;
    let before = (read(&file.path), read(&file.history_path()));
    let lock = std::fs::File::open(beside(&file.path, "lock")).unwrap();
    lock.lock().unwrap();
    let kill = Change::kill().within(Duration::from_millis(300));
    let Err(ChangeError::Store(error)) = file.store.change("a", kill, &alice()).await else { panic!("it is locked") };
    assert_eq!((error.kind(), error.is_unchanged()), (ErrorKind::Unavailable, true), "{error}");
    assert_eq!((read(&file.path), read(&file.history_path())), before);
    // Nor where its thread gets the lock after all.
    lock.unlock().unwrap();
    file.change("b", Change::kill()).await;
    assert_eq!(version(&file.store, "a").await, 2);
    assert_chain(&file.store).await;
}

#[tokio::test]
async fn while_another_process_keeps_the_lock_edits_are_rejected_and_reads_go_on() {
    let file = three_edits(KINDS[0].0, KINDS[0].1).await;
    let lock = std::fs::File::open(beside(&file.path, "lock")).unwrap();
    lock.lock().unwrap();
    let before = read(&file.history_path());
    let change = Change::kill().within(Duration::from_secs(60));
    let ChangeError::Store(error) = file.store.change("a", change, &alice()).await.unwrap_err() else { panic!() };
    // Nothing is in doubt, and it may be tried again.
    assert_eq!((error.kind(), error.is_permanent()), (ErrorKind::Rejected, false), "{error}");
    let lock_path = beside(&file.path, "lock");
    let because = format!("nothing was changed, because another process has held the lock {} for", lock_path.display());
    assert!(error.to_string().contains(&because), "{error}");
    assert_eq!((version(&file.store, "a").await, read(&file.history_path())), (2, before));
    lock.unlock().unwrap();
    assert_eq!(file.change("a", Change::kill()).await, 3);
}

#[tokio::test]
async fn a_file_that_is_broken_as_a_whole_keeps_the_last_good_rules_and_is_named() {
    let file = three_edits(KINDS[0].0, KINDS[0].1).await;
    let good = read(&file.path);
    let source = Live::connect(file.store.clone()).await.unwrap();
    let is_on = || source.answer(&Query::new(&Context::anonymous(), tower_flags::Timestamp::MIN)).is_enabled("b");
    let too_large = format!("{{\"flags\": {{\"b\": false}}}}{}", " ".repeat(5 * 1024 * 1024));
    for (broken, said) in [
        (&good.as_bytes()[..good.len() / 2], "it looks cut off"),
        (b"{\"flags\": {\"b\": \xFF}}", "expected UTF-8"),
        (b"{\"flags\": []}", "an object from names to flags"),
        (too_large.as_bytes(), "at most 4194304 bytes"),
    ] {
        save(&file.path, broken);
        until(&source, |source| source.status().last_error.is_some_and(|error| error.contains(said))).await;
        assert!(is_on());
        let refused = file.store.change("b", Change::kill(), &alice()).await.unwrap_err();
        let ChangeError::Store(error) = refused else { panic!("{refused}") };
        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
        assert_eq!(std::fs::read(&file.path).unwrap(), broken, "nobody writes over it");
    }
    save(&file.path, good.as_bytes());
    until(&source, |source| source.status().freshness == Freshness::Fresh).await;
    file.change("b", Change::kill()).await;
    until(&source, |_| !is_on()).await;
    assert_chain(&file.store).await;
}

async fn until(source: &Live, is_so: impl Fn(&Live) -> bool) {
    let start = std::time::Instant::now();
    while !is_so(source) {
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", source.status());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn a_file_that_is_not_there_is_an_error_and_can_be_made() {
    let folder = tempfile::tempdir().unwrap();
    for (name, _) in KINDS {
        let path = folder.path().join(name);
        let store = FileStore::new(&path).unwrap();
        assert_eq!(store.load(None).await.unwrap_err().kind(), ErrorKind::Unavailable);
        let store = FileStore::create(&path).await.unwrap();
        store.change("a", Change::put_text(r#"{"percentage": 5}"#), &alice()).await.unwrap();
        let again = FileStore::create(&path).await.unwrap();
        assert_eq!(version(&again, "a").await, 1);
    }
    assert_eq!(read(&folder.path().join("flags.json")), "{\n  \"flags\": {\n    \"a\": {\"percentage\": 5}\n  }\n}\n");
    assert_eq!(read(&folder.path().join("flags.toml")), "[flags]\n\n[flags.a]\npercentage = 5\n\n# end\n");
}

/// This test binary again, for one test that does something only there.
fn child(test: &str, variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).envs(variables.iter().copied());
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

#[test]
fn a_folder_that_may_not_be_written_is_said_and_its_file_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flags.json");
    std::fs::write(&path, r#"{"flags": {"a": true}}"#).unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o555)).unwrap();
    let mut command = child("in_a_folder_that_may_not_be_written", &[("READ_ONLY", path.to_str().unwrap())]);
    if std::fs::metadata(&path).unwrap().uid() == 0 {
        // Root may write everywhere.
        command.uid(65534).gid(65534);
    }
    assert!(command.status().unwrap().success());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn in_a_folder_that_may_not_be_written() {
    let Ok(path) = std::env::var("READ_ONLY") else { return };
    let store = FileStore::new(&path).unwrap();
    assert_eq!(store.load(None).await.unwrap().unwrap().document.flags().count(), 1);
    assert!(store.subscribe().await.is_ok());
    let ChangeError::Store(error) = store.change("a", Change::kill(), &alice()).await.unwrap_err() else { panic!() };
    assert_eq!((error.kind(), error.is_permanent()), (ErrorKind::Rejected, true));
    let because = "its lock cannot be opened; edits need permission to write in its folder";
    assert_eq!(error.to_string(), format!("{path}: nothing was changed, because {because}"));
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(cause, "Permission denied (os error 13)");
}

/// How a racer edits.
const THROUGH_THE_STORE: &str = "store";
const AS_A_PLAIN_FILE: &str = "plain";

const RACERS: usize = 4;
const KILLS: usize = 5;

/// Edits of each racer.
fn dose() -> usize {
    dose::dose(500, 2500)
}

#[tokio::test]
async fn a_racer() {
    let Ok(racer) = std::env::var("RACER") else { return };
    let path = PathBuf::from(std::env::var("RACED").unwrap());
    let edits: usize = std::env::var("EDITS").unwrap().parse().unwrap();
    let is_plain = std::env::var("RACE_BY").unwrap() == AS_A_PLAIN_FILE;
    // What outlives a kill is what was handed to the system.
    let mut log = std::fs::File::options().append(true).create(true).open(beside(&path, &racer)).unwrap();
    let done = read(&beside(&path, &racer)).lines().filter(|line| line.starts_with("done")).count();
    let store = FileStore::new(&path).unwrap();
    for number in done..edits {
        // Another name in each life, so that an edit in doubt is not taken for its repetition.
        let name = format!("{racer} {number} {}", std::process::id());
        log.write_all(format!("try {name}\n").as_bytes()).unwrap();
        if is_plain {
            let mut document: serde_json::Value = serde_json::from_str(&read(&path)).unwrap();
            let count = &mut document["flags"]["raced"]["metadata"]["edits"];
            *count = (count.as_u64().unwrap() + 1).into();
            let temporary = beside(&path, &format!("{racer}.new"));
            std::fs::write(&temporary, document.to_string()).unwrap();
            std::fs::rename(temporary, &path).unwrap();
        } else {
            let edit = Edit::new().set("description", name.clone());
            let change = Change::edit(edit).within(Duration::from_secs(60));
            store.change("raced", change, &Author::new(&racer)).await.unwrap();
        }
        log.write_all(format!("done {name}\n").as_bytes()).unwrap();
    }
}

/// Four processes that edit one flag, one of which is killed at random and started again, five times.
struct Race {
    _folder: TempDir,
    path: PathBuf,
    /// What racers had begun, and what was acknowledged to them.
    tried: BTreeSet<String>,
    done: BTreeSet<String>,
}

impl Race {
    fn run(name: &str, text: &str, by: &str, edits: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        let start = |racer: usize| -> Child {
            let (racer, edits) = (racer.to_string(), edits.to_string());
            let raced = path.to_str().unwrap();
            child("a_racer", &[("RACER", &racer), ("RACED", raced), ("EDITS", &edits), ("RACE_BY", by)])
                .spawn()
                .unwrap()
        };
        let log = |racer: usize| std::fs::read_to_string(beside(&path, &racer.to_string())).unwrap_or_default();
        let mut racers: Vec<Child> = (0..RACERS).map(start).collect();
        for kill in 1..=KILLS {
            let racer = usize::from(random() % RACERS as u8);
            // Somewhere in the kill's own part of the race, and in the midst of whatever it does.
            let lines = edits * 2 * kill / (KILLS + 1);
            while log(racer).lines().count() < lines && racers[racer].try_wait().unwrap().is_none() {
                std::thread::sleep(Duration::from_millis(1));
            }
            std::thread::sleep(Duration::from_micros(u64::from(random()) * 40));
            racers[racer].kill().unwrap();
            racers[racer].wait().unwrap();
            racers[racer] = start(racer);
        }
        for mut racer in racers {
            assert!(racer.wait().unwrap().success());
        }
        let logs: String = (0..RACERS).map(log).collect();
        let of = |kind: &str| logs.lines().filter_map(|line| line.strip_prefix(kind)).map(str::to_owned).collect();
        let (tried, done) = (of("try "), of("done "));
        Self { _folder: folder, path, tried, done }
    }
}

fn random() -> u8 {
    let mut byte = [0];
    getrandom::fill(&mut byte).unwrap();
    byte[0]
}

async fn races_lose_nothing(name: &str, text: &str) {
    let race = Race::run(name, text, THROUGH_THE_STORE, dose());
    assert!(race.done.len() >= RACERS * dose(), "{}", race.done.len());
    let store = FileStore::new(&race.path).unwrap();
    let mut entries = Vec::new();
    let mut page = HistoryPage::newest().of("raced").limit(1000);
    loop {
        let found = store.history(&page).await.unwrap();
        let Some(last) = found.last() else { break };
        page = page.before(last.number);
        entries.extend(found);
    }
    let made: Vec<String> = entries
        .iter()
        .filter(|entry| entry.actor.is_some())
        .map(|entry| {
            let definition: serde_json::Value = serde_json::from_str(entry.after.as_ref().unwrap()).unwrap();
            definition["description"].as_str().unwrap().to_owned()
        })
        .collect();
    // The text that was there first is somebody else's; every other one has its entry, whoever was killed.
    assert_eq!(entries.iter().filter(|entry| entry.actor.is_none()).count(), 1);
    let each: BTreeSet<String> = made.iter().cloned().collect();
    assert_eq!(each.len(), made.len(), "each once");
    assert!(race.done.is_subset(&each), "lost: {:?}", race.done.difference(&each));
    assert!(each.is_subset(&race.tried), "from nowhere: {:?}", each.difference(&race.tried));
    assert!(made.len() <= race.done.len() + KILLS, "{} {}", made.len(), race.done.len());
    let stored = store.read("raced").await.unwrap();
    assert_eq!(stored.version, entries.len() as u64);
    assert_eq!(stored.definition, entries[0].after, "the file has the last of them");
    assert_chain(&store).await;
    let others = store.load(None).await.unwrap().unwrap().document;
    assert!(others.flag("other").is_some() && others.problems().is_empty());
}

#[tokio::test]
async fn processes_that_race_and_are_killed_lose_no_acknowledged_edit_in_json() {
    races_lose_nothing("flags.json", r#"{"flags": {"raced": {"enabled": true}, "other": true}}"#).await;
}

#[tokio::test]
async fn processes_that_race_and_are_killed_lose_no_acknowledged_edit_in_toml() {
    races_lose_nothing("flags.toml", "[flags.raced]\nenabled = true\n\n[flags.other]\nenabled = true\n# end\n").await;
}

/// What shows that the test above would find a loss.
#[test]
fn processes_that_write_the_file_plainly_do_lose_edits() {
    let text = r#"{"flags": {"raced": {"enabled": true, "metadata": {"edits": 0}}}}"#;
    let race = Race::run("flags.json", text, AS_A_PLAIN_FILE, 100);
    let document: serde_json::Value = serde_json::from_str(&read(&race.path)).unwrap();
    let made = document["flags"]["raced"]["metadata"]["edits"].as_u64().unwrap();
    assert!(made < race.done.len() as u64, "{made} of {}", race.done.len());
}
