//! A file that is mounted alone cannot be replaced: it is written in place.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::value::RawValue;
use tempfile::TempDir;
use tower_flags::source::{Freshness, Live, Source};
use tower_flags::store::{Change, ErrorKind, Feed, FileStore};
use tower_flags::testing::{StoreFixture, check_store};

use super::harness::{Outcome, part};
use super::place::{Mounted, alice, assert_chain, beside, change, history, mount, names_in, read, rejected, version};

const EMPTY: [(&str, &str); 2] = [("flags.json", "{\"flags\": {}}"), ("flags.toml", "[flags]\n")];

struct MountedFiles {
    name: &'static str,
    empty: &'static str,
    made: Mutex<Vec<Mounted>>,
}

impl StoreFixture for MountedFiles {
    type Store = FileStore;

    async fn fresh(&self) -> FileStore {
        let file = Mounted::new(self.name, self.empty);
        let store = file.store();
        self.made.lock().unwrap().push(file);
        store
    }

    async fn another(&self, store: &FileStore) -> FileStore {
        FileStore::new(store.name()).unwrap()
    }

    async fn restarted(&self, store: FileStore) -> FileStore {
        FileStore::new(store.name()).unwrap()
    }

    /// As an editor does that writes over the file; what is no flag of its format is a text in it.
    async fn write_past(&self, store: &FileStore, flag: &str, text: Option<&[u8]>) {
        let path = Path::new(store.name());
        let value = text.map(|text| match std::str::from_utf8(text) {
            Ok(text) if serde_json::from_str::<&RawValue>(text).is_ok() => text.to_owned(),
            _ => serde_json::to_string(&String::from_utf8_lossy(&text[..text.len().min(1024 * 1024)])).unwrap(),
        });
        let file = read(path);
        let is_json = path.extension().unwrap() == "json";
        std::fs::write(path, if is_json { in_json(&file, flag, value) } else { in_toml(&file, flag, value) }).unwrap();
    }
}

fn in_json(file: &str, flag: &str, value: Option<String>) -> String {
    type Flags = std::collections::BTreeMap<String, std::collections::BTreeMap<String, Box<RawValue>>>;
    let mut document: Flags = serde_json::from_str(file).unwrap();
    let flags = document.get_mut("flags").unwrap();
    flags.remove(flag);
    flags.extend(value.map(|value| (flag.to_owned(), RawValue::from_string(value).unwrap())));
    serde_json::to_string_pretty(&document).unwrap()
}

fn in_toml(file: &str, flag: &str, value: Option<String>) -> String {
    let (mut text, mut is_in_it) = ("[flags]\n".to_owned(), false);
    if let Some(value) = value {
        text += &format!("{flag} = {}\n", value.replace("\": ", "\" = "));
    }
    for line in file.lines().filter(|line| *line != "[flags]") {
        is_in_it = if line.starts_with('[') { line == format!("[flags.{flag}]") } else { is_in_it };
        if !is_in_it && !line.starts_with(&format!("{flag} =")) {
            text += &format!("{line}\n");
        }
    }
    text
}

pub(crate) async fn contract(ending: &str) -> Outcome {
    let (name, empty) = EMPTY.into_iter().find(|(name, _)| name.ends_with(ending)).unwrap();
    let report = check_store(&MountedFiles { name, empty, made: Mutex::default() }).await;
    print!("{report}");
    report.assert_passed();
    assert_eq!(report.skipped().count(), 0, "{report}");
    Outcome::Done
}

pub(crate) async fn seen_outside() -> Outcome {
    let text = "# ask payments\n[flags.pay] # all of it\nenabled = true # since May\npercentage = 10\n# end\n";
    let file = Mounted::new("flags.toml", text);
    let inode = std::fs::metadata(&file.outside).unwrap().ino();
    let store = file.store();
    change(&store, "pay", Change::kill()).await;
    let killed = text.replace("enabled = true", "enabled = false");
    assert_eq!((read(&file.outside), read(&file.path)), (killed.clone(), killed.clone()));
    // Longer, and as long as before again.
    change(&store, "b", Change::put_text(format!(r#"{{"percentage": 5, "owner": "{}"}}"#, "o".repeat(9000)))).await;
    assert!(read(&file.outside).len() > 9000 && read(&file.outside).ends_with("# end\n"));
    change(&store, "b", Change::remove()).await;
    assert_eq!(read(&file.outside), killed);
    assert_eq!(std::fs::metadata(&file.path).unwrap().ino(), inode);
    assert_eq!(names_in(&file.app()), ["flags.toml", "flags.toml.history", "flags.toml.lock"]);
    assert_eq!(names_in(file.outside.parent().unwrap()), ["flags.toml"]);
    let lines = read(&file.history_path());
    let kinds: Vec<&str> = lines.lines().map(|line| &line[..6]).collect();
    assert_eq!(kinds, ["{\"edit", "{\"appl"].repeat(3), "one line an edit, and one that it was made");
    assert_chain(&store).await;
    Outcome::Done
}

pub(crate) async fn mounted_later() -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let (path, other) = (folder.path().join("flags.json"), folder.path().join("other.json"));
    for path in [&path, &other] {
        std::fs::write(path, r#"{"flags": {"a": true}}"#).unwrap();
    }
    let store = FileStore::new(&path).unwrap();
    change(&store, "a", Change::kill()).await;
    mount(["--bind", other.to_str().unwrap(), path.to_str().unwrap()]);
    change(&store, "b", Change::put_text("true")).await;
    assert_eq!(read(&other), r#"{"flags": {"a": true,"b": true}}"#);
    std::process::Command::new("umount").arg(&path).status().unwrap();
    assert_eq!(read(&path), r#"{"flags": {"a": {"enabled":false,"percentage":100}}}"#);
    Outcome::Done
}

/// Edits, in a namespace without the list of mounts.
pub(crate) async fn edit_of_an_untold_mount() -> Outcome {
    assert!(!Path::new("/proc/self/mountinfo").exists());
    let store = FileStore::new(std::env::var("UNTOLD").unwrap()).unwrap();
    let source = Live::connect(store.clone()).await.unwrap();
    assert_eq!(change(&store, "a", Change::kill()).await, 2);
    assert_eq!(change(&store, "b", Change::put_text("true")).await, 1);
    until(&source, |source| problems(source).iter().any(|problem| problem.contains("mount the folder"))).await;
    Outcome::Done
}

pub(crate) async fn untold() -> Outcome {
    let file = Mounted::new("flags.json", r#"{"flags": {"a": {"percentage": 5}}}"#);
    let again = part("untold", &[("UNTOLD", file.path.to_str().unwrap())]);
    let mut command = std::process::Command::new("unshare");
    command.args(["--mount", "sh", "-c", "mount -t tmpfs none /proc && exec \"$0\""]).arg(again.get_program());
    command.envs(again.get_envs().filter_map(|(name, value)| Some((name, value?))));
    assert!(command.status().unwrap().success());
    let lines = read(&file.history_path());
    let kinds: Vec<&str> = lines.lines().map(|line| line.split('"').nth(1).unwrap()).collect();
    assert_eq!(kinds, ["edit", "applied"].repeat(2), "nothing is left of the first attempt");
    assert!(read(&file.outside).contains(r#""b": true"#), "{}", read(&file.outside));
    assert_chain(&file.store()).await;
    Outcome::Done
}

async fn until(source: &Live, is_so: impl Fn(&Live) -> bool) {
    let start = Instant::now();
    while !is_so(source) {
        assert!(start.elapsed() < Duration::from_secs(30), "{:?}", source.status());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn problems(source: &Live) -> Vec<String> {
    source.status().problems.iter().map(ToString::to_string).collect()
}

pub(crate) async fn status() -> Outcome {
    let file = Mounted::new("flags.json", r#"{"flags": {"a": true}}"#);
    let source = Live::connect(file.store()).await.unwrap();
    until(&source, |source| !source.status().problems.is_empty()).await;
    let found = problems(&source);
    assert_eq!(found.len(), 1, "{found:?}");
    for part in [file.path.to_str().unwrap(), "partial file", "mount the folder"] {
        assert!(found[0].contains(part), "{part}: {found:?}");
    }
    assert_eq!(source.status().freshness, Freshness::Fresh);
    // The same file where it is not mounted.
    let source = Live::connect(FileStore::new(&file.outside).unwrap()).await.unwrap();
    change(&file.store(), "a", Change::kill()).await;
    until(&source, |source| source.status().version == 2).await;
    assert_eq!(problems(&source), [""; 0]);
    Outcome::Done
}

/// What an edit leaves at its end, from which every state on the way is made.
struct Steps {
    before: Vec<u8>,
    after: Vec<u8>,
    /// The history before, its line for the edit, and the one that says that it was made.
    history: (String, String, String),
}

async fn steps_of(file: &Mounted, store: &FileStore, flag: &str, wanted: Change) -> Steps {
    let (before, history) = (std::fs::read(&file.path).unwrap(), read(&file.history_path()));
    change(store, flag, wanted).await;
    let now = read(&file.history_path());
    let (edit, applied) = now[history.len()..].split_once('\n').unwrap();
    assert!(edit.starts_with("{\"edit\":") && applied.starts_with("{\"applied\":"), "{edit} {applied}");
    let after = std::fs::read(&file.path).unwrap();
    Steps { before, after, history: (history.clone(), format!("{edit}\n"), applied.to_owned()) }
}

/// The first byte of a file while it is written.
const UNFINISHED: u8 = 1;

/// Every kind of content that a kill or a power cut can leave, with whether the edit was made in the end.
fn states(before: &[u8], after: &[u8]) -> Vec<(String, Vec<u8>, bool)> {
    let padded = [before, &b" ".repeat(after.len().saturating_sub(before.len()))].concat();
    let mut states = vec![("nothing".to_owned(), before.to_vec(), false)];
    if padded.len() > before.len() {
        states.push(("a part of the space".to_owned(), padded[..before.len() + 1].to_vec(), true));
        states.push(("the space".to_owned(), padded.clone(), true));
    }
    for written in [1, 2, after.len() / 2, after.len() - 1, after.len()] {
        let mut content = padded.clone();
        content[..written].copy_from_slice(&after[..written]);
        content[0] = UNFINISHED;
        states.push((format!("{written} bytes"), content.clone(), true));
        // A power cut keeps pages in any order.
        content[written / 2..written].fill(0);
        content[0] = UNFINISHED;
        states.push((format!("{written} bytes, some of which were lost"), content, true));
    }
    let marked = [&[UNFINISHED], &after[1..]].concat();
    states.push(("all but the first byte".to_owned(), marked, true));
    states.push(("everything".to_owned(), after.to_vec(), true));
    states
}

pub(crate) async fn crash_points() -> Outcome {
    let long = format!(r#"{{"percentage": 7, "owner": "{}"}}"#, "payments ".repeat(1000));
    for (name, empty) in EMPTY {
        for (label, wanted) in
            [("longer", Change::put_text(&*long)), ("shorter", Change::remove()), ("kill", Change::kill())]
        {
            let file = Mounted::new(name, empty);
            let store = file.store();
            change(&store, "b", Change::put_text("true")).await;
            change(&store, "a", Change::put_text(r#"{"percentage": 5, "owner": "me"}"#)).await;
            let steps = steps_of(&file, &store, "a", wanted).await;
            for (state, content, is_made) in states(&steps.before, &steps.after) {
                let case = format!("{name}, {label}, {state}");
                std::fs::write(&file.path, &content).unwrap();
                std::fs::write(beside(&file.path, "old"), &steps.before).unwrap();
                std::fs::write(beside(&file.path, "new"), &steps.after).unwrap();
                let (before, edit, _) = &steps.history;
                std::fs::write(file.history_path(), format!("{before}{edit}")).unwrap();

                let opened = file.store();
                let loaded = opened.load(None).await.unwrap_or_else(|error| panic!("{case}: {error}")).unwrap();
                let expected = if is_made { 2 } else { 1 };
                assert_eq!((loaded.versions["a"], loaded.document.problems()), (expected, &[][..]), "{case}");
                let wanted = if is_made { &steps.after } else { &steps.before };
                assert!(std::fs::read(&file.path).unwrap() == *wanted, "{case}");
                assert_eq!(history(&opened, "a").await.len() as u64, expected, "{case}");
                assert_chain(&opened).await;
                // Decided once, and nothing is left of it.
                change(&opened, "b", Change::restore()).await;
                let lines = read(&file.history_path());
                let kinds: Vec<&str> =
                    lines.strip_prefix(before).unwrap().lines().map(|line| line.split('"').nth(1).unwrap()).collect();
                match state.as_str() {
                    "nothing" => assert_eq!(kinds, ["edit", "not_applied", "edit", "applied"], "{case}"),
                    // The file itself shows that it was made.
                    "everything" => assert_eq!(kinds, ["edit", "edit", "applied"], "{case}"),
                    _ => assert_eq!(kinds, ["edit", "applied", "edit", "applied"], "{case}"),
                }
                assert_eq!(names_in(&file.app()).len(), 3, "{case}: {:?}", names_in(&file.app()));
                assert_eq!(version(&file.store(), "a").await, expected, "{case}");
                assert_chain(&file.store()).await;
            }
        }
    }
    Outcome::Done
}

pub(crate) async fn by_hand_after_crash() -> Outcome {
    for by_hand in [r#"{"flags": {"a": {"percentage": 9}}}"#, "", r#"{"flags": {"a": {"percentage": 5"#] {
        let file = Mounted::new("flags.json", r#"{"flags": {"a": true, "b": true}}"#);
        let store = file.store();
        change(&store, "a", Change::put_text(r#"{"percentage": 5}"#)).await;
        let steps = steps_of(&file, &store, "a", Change::put_text(r#"{"percentage": 75}"#)).await;
        let (before, edit, _) = &steps.history;
        std::fs::write(file.history_path(), format!("{before}{edit}")).unwrap();
        std::fs::write(beside(&file.path, "old"), &steps.before).unwrap();
        std::fs::write(beside(&file.path, "new"), &steps.after).unwrap();
        std::fs::write(&file.path, by_hand).unwrap();

        let opened = file.store();
        let loaded = opened.load(None).await;
        assert_eq!(read(&file.path), by_hand, "nothing is written over it");
        if by_hand.ends_with("}}}") {
            let document = loaded.unwrap().unwrap().document;
            assert!(document.flag("a").is_some());
        } else {
            // Half of what somebody is writing.
            assert_eq!(loaded.unwrap_err().kind(), ErrorKind::Refused);
            std::fs::write(&file.path, r#"{"flags": {"a": {"percentage": 9}}}"#).unwrap();
        }
        change(&opened, "a", Change::kill()).await;
        assert_eq!(names_in(&file.app()).len(), 3);
        assert!(read(&file.path).contains(r#""percentage": 9"#), "{}", read(&file.path));
        assert_chain(&file.store()).await;
    }
    Outcome::Done
}

pub(crate) async fn replaced_outside() -> Outcome {
    let file = Mounted::new("flags.json", r#"{"flags": {"a": true}}"#);
    let source = Live::connect(file.store()).await.unwrap();
    let plain = tower_flags::File::open(&file.path).await.unwrap();
    let new = beside(&file.outside, "editor");
    std::fs::write(&new, r#"{"flags": {"a": false}}"#).unwrap();
    std::fs::rename(&new, &file.outside).unwrap();
    until(&source, |source| matches!(source.status().freshness, Freshness::StaleSince(_))).await;
    let found = problems(&source);
    assert!(
        found.iter().any(|problem| problem.contains("replaced") && problem.contains("mount the folder")),
        "{found:?}"
    );
    until(&source, |_| matches!(plain.status().freshness, Freshness::StaleSince(_))).await;

    let error = rejected(&file.store(), "a", Change::kill()).await;
    assert_eq!((error.kind(), error.is_permanent()), (ErrorKind::Rejected, true));
    assert!(error.to_string().contains("nothing was changed, because"), "{error}");
    assert_eq!(read(&file.path), r#"{"flags": {"a": true}}"#);
    assert!(!file.history_path().exists());
    Outcome::Done
}

/// Two containers with one file have a folder, a history and a lock each.
pub(crate) async fn two_mounts() -> Outcome {
    const EDITS: usize = 40;
    let folder: TempDir = tempfile::tempdir().unwrap();
    let outside: PathBuf = folder.path().join("flags.json");
    std::fs::write(&outside, r#"{"flags": {}}"#).unwrap();
    let mounts = [Mounted::from(&outside), Mounted::from(&outside)];
    let edits = mounts.iter().map(|file| {
        let store = file.store();
        let owner = if std::ptr::eq(file, &mounts[0]) { "first" } else { "second" };
        tokio::spawn(async move {
            use tower_flags::store::StoreExt;
            for number in 0..EDITS {
                let put = Change::put_text("true").within(Duration::from_secs(60));
                store.change(format!("{owner}_{number}"), put, &alice()).await.unwrap();
            }
        })
    });
    for edit in edits.collect::<Vec<_>>() {
        edit.await.unwrap();
    }
    let loaded = mounts[0].store().load(None).await.unwrap().unwrap();
    assert_eq!(loaded.document.flags().count(), 2 * EDITS, "none is lost");
    for file in &mounts {
        assert_chain(&file.store()).await;
        assert_eq!(read(&file.history_path()).lines().count(), 2 * EDITS, "{}", read(&file.history_path()));
    }
    Outcome::Done
}
