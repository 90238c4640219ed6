//! Acknowledged edits that a store has lost are written again by the process that made them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::time::sleep;
use tower_flags::store::{
    Author, BoxFuture, Capabilities, Change, Commit, Error, ErrorKind, Feed, FeedContent, Head, HistoryEntry,
    HistoryPage, Notices, RecentEdits, Store, StoreExt, Stored,
};

/// A server that can be killed and comes back with less.
#[derive(Default)]
struct Server {
    content: Mutex<Content>,
    /// How many commits have their answers lost from now on, after they were made.
    answers_lost: Mutex<u32>,
    /// How often it was asked while it was down, and what it answers then.
    asked_in_vain: AtomicU32,
    denies: AtomicBool,
}

#[derive(Clone, Default)]
struct Content {
    flags: BTreeMap<String, Stored>,
    history: Vec<HistoryEntry>,
    head: Head,
    run: u32,
    is_down: bool,
}

impl Server {
    fn start() -> Arc<Self> {
        Arc::default()
    }

    /// Its files as they are now.
    fn files(&self) -> Content {
        self.content.lock().unwrap().clone()
    }

    fn kill(&self) {
        self.content.lock().unwrap().is_down = true;
    }

    /// Starts it again with these files.
    fn start_with(&self, files: &Content) {
        let mut content = self.content.lock().unwrap();
        *content = Content { run: content.run + 1, is_down: false, ..files.clone() };
    }

    fn loses_what_came_after(&self, files: &Content) {
        self.kill();
        self.start_with(files);
    }

    /// A process with a handle of the store.
    fn open(self: &Arc<Self>) -> Arc<Handle> {
        Arc::new_cyclic(|handle: &Weak<Handle>| {
            let handle = handle.clone();
            let recent = RecentEdits::new(move || Some(handle.upgrade()? as Arc<dyn Store>));
            Handle { server: Arc::clone(self), recent }
        })
    }

    fn history(&self) -> Vec<HistoryEntry> {
        self.content.lock().unwrap().history.clone()
    }

    /// Writes a definition past the store, with the server's own tools, or deletes it.
    fn by_hand(&self, flag: &str, text: Option<&str>) {
        let mut content = self.content.lock().unwrap();
        content.flags.entry(flag.to_owned()).or_default().definition = text.map(str::to_owned);
    }
}

struct Handle {
    server: Arc<Server>,
    recent: RecentEdits,
}

impl Handle {
    fn content<T>(&self, read: impl FnOnce(&mut Content) -> T) -> Result<T, Error> {
        let mut content = self.server.content.lock().unwrap();
        if content.is_down {
            self.server.asked_in_vain.fetch_add(1, Ordering::Relaxed);
            let denies = self.server.denies.load(Ordering::Relaxed);
            let kind = if denies { ErrorKind::Denied } else { ErrorKind::Unavailable };
            return Err(Error::new(kind, "the server is down"));
        }
        Ok(read(&mut content))
    }
}

impl Feed for Handle {
    fn name(&self) -> &str {
        "forgetful"
    }

    fn load<'a>(&'a self, _: Option<&'a str>) -> BoxFuture<'a, Result<Option<FeedContent>, Error>> {
        Box::pin(async { Err(Error::new(ErrorKind::Unavailable, "nobody follows it")) })
    }

    fn subscribe(&self) -> BoxFuture<'_, Result<Box<dyn Notices>, Error>> {
        Box::pin(async { Err(Error::new(ErrorKind::Unavailable, "nobody follows it")) })
    }
}

impl Store for Handle {
    fn capabilities(&self) -> Capabilities {
        Capabilities::none()
    }

    fn read<'a>(&'a self, flag: &'a str) -> BoxFuture<'a, Result<Stored, Error>> {
        Box::pin(async move { self.content(|content| content.stored(flag)) })
    }

    fn commit<'a>(&'a self, commit: &'a Commit) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move {
            let is_made = self.content(|content| content.commit(commit))?;
            let mut answers_lost = self.server.answers_lost.lock().unwrap();
            if is_made && *answers_lost > 0 {
                *answers_lost -= 1;
                return Err(Error::new(ErrorKind::Unavailable, "the answer is lost"));
            }
            Ok(is_made)
        })
    }

    fn history<'a>(&'a self, page: &'a HistoryPage) -> BoxFuture<'a, Result<Vec<HistoryEntry>, Error>> {
        Box::pin(async move {
            self.content(|content| {
                let entries = content.history.iter().rev().filter(|entry| page.has(entry));
                entries.take(page.limit).cloned().collect()
            })
        })
    }

    fn recent_edits(&self) -> Option<&RecentEdits> {
        Some(&self.recent)
    }
}

impl Content {
    fn stored(&self, flag: &str) -> Stored {
        let mut stored = self.flags.get(flag).cloned().unwrap_or_default();
        stored.head = self.head.clone();
        stored.run = Some(self.run.to_string().into());
        stored
    }

    fn commit(&mut self, commit: &Commit) -> bool {
        if self.stored(&commit.flag) != commit.expected {
            return false;
        }
        let mut stored = Stored::default();
        stored.definition.clone_from(&commit.definition);
        stored.version = commit.version;
        stored.content.clone_from(&commit.content);
        self.flags.insert(commit.flag.clone(), stored);
        self.history.extend(commit.entries.iter().cloned());
        self.head = commit.head.clone();
        true
    }
}

fn alice() -> Author {
    Author::new("alice").because("INC-17")
}

async fn put(store: &Handle, flag: &str, percentage: u32) {
    let text = format!(r#"{{"percentage": {percentage}}}"#);
    store.change(flag, Change::put_text(text), &alice()).await.unwrap();
}

async fn kill(store: &Handle, flag: &str) {
    store.change(flag, Change::kill(), &alice()).await.unwrap();
}

/// The stored text, and whether the whole history is sound.
async fn text(store: &Handle, flag: &str) -> Option<String> {
    assert!(store.verify_history().await.unwrap().is_ok());
    store.read(flag).await.unwrap().definition
}

async fn problems(store: &Handle) -> Vec<String> {
    store.recent.problems(store).await.iter().map(ToString::to_string).collect()
}

/// Longer than it takes to see what became of an edit. Time stands still but for waiting.
async fn a_while() {
    sleep(Duration::from_secs(5)).await;
}

#[tokio::test(start_paused = true)]
async fn lost_edits_are_written_again_as_they_were_though_nothing_else_happens() {
    let (server, store) = (Server::start(), Server::open);
    let store = store(&server);
    put(&store, "x", 1).await;
    let files = server.files();
    for percentage in 2..9 {
        put(&store, "x", percentage).await;
        put(&store, "y", percentage).await;
    }
    kill(&store, "y").await;
    store.change("x", Change::remove(), &alice()).await.unwrap();
    let made = server.history();
    server.loses_what_came_after(&files);
    assert_eq!(server.history().len(), 1);
    a_while().await;
    assert_eq!(server.history(), made, "author, reason, time and digest");
    assert_eq!(text(&store, "x").await, None);
    assert_eq!(text(&store, "y").await.as_deref(), Some(r#"{"percentage": 8,"enabled": false}"#));
    assert_eq!(problems(&store).await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn they_are_written_again_after_an_outage_and_after_each_of_several() {
    let server = Server::start();
    let store = server.open();
    for outage in 0..5 {
        let files = server.files();
        put(&store, "x", outage + 1).await;
        sleep(Duration::from_secs(1)).await;
        kill(&store, "x").await;
        let made = server.history();
        server.kill();
        sleep(Duration::from_secs(10 * u64::from(outage))).await;
        server.start_with(&files);
        a_while().await;
        assert_eq!(server.history(), made, "outage {outage}");
        store.change("x", Change::restore(), &alice()).await.unwrap();
        sleep(Duration::from_secs(20)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_next_edit_goes_onto_those_that_were_lost() {
    let server = Server::start();
    let store = server.open();
    put(&store, "x", 1).await;
    let files = server.files();
    kill(&store, "x").await;
    server.loses_what_came_after(&files);
    // At once, before the process has looked by itself.
    let edit = tower_flags::document::Edit::new().set("percentage", 7);
    let changed = store.change("x", Change::edit(edit), &Author::new("bob")).await.unwrap();
    assert_eq!(changed.definition.as_deref(), Some(r#"{"percentage": 7,"enabled": false}"#));
    assert_eq!(changed.version, 3);
    assert!(text(&store, "x").await.is_some());
}

#[tokio::test(start_paused = true)]
async fn what_is_newer_stays_and_the_lost_edit_is_named_until_the_flag_is_edited() {
    let server = Server::start();
    let (store, another) = (server.open(), server.open());
    for flag in ["x", "y", "z"] {
        put(&store, flag, 1).await;
    }
    sleep(Duration::from_secs(20)).await;
    let files = server.files();
    put(&store, "y", 2).await;
    put(&store, "z", 2).await;
    kill(&store, "x").await;
    server.loses_what_came_after(&files);
    put(&another, "x", 50).await;
    put(&another, "y", 60).await;
    a_while().await;
    assert_eq!(text(&store, "x").await.as_deref(), Some(r#"{"percentage": 50}"#));
    assert_eq!(text(&store, "y").await.as_deref(), Some(r#"{"percentage": 60}"#));
    assert_eq!(text(&store, "z").await.as_deref(), Some(r#"{"percentage": 2}"#), "nothing newer is there");
    let told = problems(&store).await;
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with("flag \"x\": expected the kill by alice at 20"), "the kill first: {told:?}");
    assert!(told[0].contains("found version 2 of the flag, which is newer; it is not written again"), "{told:?}");
    assert!(told[1].starts_with("flag \"y\": expected the edit by alice at 20"), "{told:?}");
    // A new entry says what it is.
    let entry = server.history().into_iter().rfind(|entry| entry.flag == "z").unwrap();
    assert_eq!(entry.actor.as_deref(), Some("alice"));
    let reason = entry.reason.unwrap();
    assert!(reason.starts_with("INC-17 (written again: the store has lost entry 5 of 20"), "{reason}");

    kill(&another, "x").await;
    assert_eq!(problems(&store).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_restore_after_the_loss_is_newer_than_the_kill_before_it() {
    let server = Server::start();
    let (store, another) = (server.open(), server.open());
    put(&store, "x", 1).await;
    let files = server.files();
    kill(&store, "x").await;
    server.loses_what_came_after(&files);
    // The flag is on there already; somebody says that it is meant to be.
    another.change("x", Change::restore(), &Author::new("bob")).await.unwrap();
    a_while().await;
    assert_eq!(text(&store, "x").await.as_deref(), Some(r#"{"percentage": 1,"enabled": true}"#));
    assert_eq!(problems(&store).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_written_by_hand_since_the_loss_stays() {
    let by_hand = [Some(r#"{"enabled":false}"#), Some(r#"{"percentage": 3}"#), None, Some("no flag")];
    for text_by_hand in by_hand {
        // The edit's flag alone; with another edit of it after; and with newer entries of other flags in the store.
        for (is_edited_twice, has_newer) in [(false, false), (true, false), (false, true)] {
            let server = Server::start();
            let (store, another) = (server.open(), server.open());
            put(&store, "x", 1).await;
            let files = server.files();
            put(&store, "x", 100).await;
            if is_edited_twice {
                put(&store, "x", 99).await;
            }
            server.loses_what_came_after(&files);
            server.by_hand("x", text_by_hand);
            if has_newer {
                put(&another, "y", 1).await;
            }
            a_while().await;
            assert_eq!(text(&store, "x").await.as_deref(), text_by_hand, "{is_edited_twice} {has_newer}");
            let told = problems(&store).await;
            assert_eq!(told.len(), 1 + usize::from(is_edited_twice), "{told:?}");
            assert!(told[0].starts_with("flag \"x\": expected the edit by alice at 20"), "{told:?}");
            assert!(
                told[0].contains("found a change past the store, which may be newer; it is not written again"),
                "{told:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_restore_is_not_written_over_a_kill_by_hand_that_reads_like_the_one_before() {
    let server = Server::start();
    let store = server.open();
    put(&store, "x", 1).await;
    let files = server.files();
    kill(&store, "x").await;
    let killed = text(&store, "x").await;
    store.change("x", Change::restore(), &alice()).await.unwrap();
    server.loses_what_came_after(&files);
    server.by_hand("x", killed.as_deref());
    a_while().await;
    assert_eq!(text(&store, "x").await, killed);
    assert_eq!(problems(&store).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_lost_kill_switches_off_what_was_written_by_hand_since_the_loss() {
    let cases = [
        (Some(r#"{"percentage": 50}"#), r#"{"percentage": 50,"enabled": false}"#),
        (Some(r#"{"enabled": false, "percentage": 7}"#), r#"{"enabled": false, "percentage": 7}"#),
        (None, r#"{"percentage": 1,"enabled": false}"#),
    ];
    for (text_by_hand, expected) in cases {
        let server = Server::start();
        let store = server.open();
        put(&store, "x", 1).await;
        let files = server.files();
        kill(&store, "x").await;
        server.loses_what_came_after(&files);
        server.by_hand("x", text_by_hand);
        a_while().await;
        assert_eq!(text(&store, "x").await.as_deref(), Some(expected));
        assert_eq!(problems(&store).await, [""; 0]);
        // What was written by hand is in the history, as that of an unknown author.
        let history = server.history();
        let [_, by_hand, kill] = &history[..] else { panic!("{history:#?}") };
        assert_eq!((by_hand.actor.as_deref(), by_hand.after.as_deref()), (None, text_by_hand));
        assert_eq!((kill.actor.as_deref(), kill.after.as_deref()), (Some("alice"), Some(expected)));
    }
}

#[tokio::test(start_paused = true)]
async fn edits_over_a_text_by_hand_that_is_still_there_are_written_again() {
    let server = Server::start();
    let (store, another) = (server.open(), server.open());
    put(&store, "x", 1).await;
    server.by_hand("x", Some(r#"{"percentage": 2}"#));
    let files = server.files();
    put(&store, "x", 3).await;
    put(&store, "x", 4).await;
    server.loses_what_came_after(&files);
    put(&another, "y", 1).await;
    a_while().await;
    assert_eq!(text(&store, "x").await.as_deref(), Some(r#"{"percentage": 4}"#));
    assert_eq!(problems(&store).await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn of_many_lost_edits_kills_are_written_first() {
    let server = Server::start();
    let store = server.open();
    put(&store, "x", 1).await;
    let files = server.files();
    for flag in 0..100 {
        put(&store, &format!("flag_{flag}"), 5).await;
    }
    kill(&store, "x").await;
    server.loses_what_came_after(&files);
    a_while().await;
    let history = server.history();
    assert_eq!(history.len(), 102);
    assert_eq!(
        (history[1].flag.as_str(), history[1].after.as_deref()),
        ("x", Some(r#"{"percentage": 1,"enabled": false}"#))
    );
    assert!(text(&store, "flag_99").await.is_some());
    assert_eq!(problems(&store).await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn two_editors_that_lost_edits_of_one_flag_leave_its_newest() {
    // In every order in which they may look at the store again.
    for first in [0, 1] {
        let server = Server::start();
        let editors = [server.open(), server.open()];
        put(&editors[0], "x", 1).await;
        let files = server.files();
        for percentage in 2..8 {
            put(&editors[percentage as usize % 2], "x", percentage).await;
            put(&editors[percentage as usize % 2], "y", percentage).await;
        }
        let made = server.history();
        server.loses_what_came_after(&files);
        // One of them begins at once, the other within a second.
        let unchanged = Change::put_text(r#"{"percentage": 9}"#);
        editors[first].change("z", unchanged, &Author::new("bob")).await.unwrap();
        a_while().await;
        assert_eq!(text(&editors[0], "x").await.as_deref(), Some(r#"{"percentage": 7}"#), "{first}");
        assert_eq!(text(&editors[0], "y").await.as_deref(), Some(r#"{"percentage": 7}"#), "{first}");
        let history = server.history();
        assert!(history.len() <= made.len() + 1, "none is made twice: {history:#?}");
        for editor in &editors {
            assert_eq!(problems(editor).await, [""; 0], "{first}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn two_editors_that_look_at_the_same_time_make_the_history_that_was() {
    let server = Server::start();
    let editors = [server.open(), server.open()];
    put(&editors[0], "x", 1).await;
    let files = server.files();
    for percentage in 2..8 {
        put(&editors[percentage as usize % 2], "x", percentage).await;
    }
    let made = server.history();
    server.loses_what_came_after(&files);
    a_while().await;
    assert_eq!(server.history(), made);
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_is_restored_later_stays_as_it_is() {
    // Long after the edits; and minutes after the server was stopped.
    for (before, outage, is_reported) in [(13, 1, false), (60, 30, false), (1, 61, true), (5, 3600, true)] {
        let server = Server::start();
        let store = server.open();
        put(&store, "x", 1).await;
        let files = server.files();
        kill(&store, "x").await;
        put(&store, "y", 1).await;
        sleep(Duration::from_secs(before)).await;
        server.kill();
        sleep(Duration::from_secs(outage)).await;
        server.start_with(&files);
        sleep(Duration::from_secs(30)).await;
        assert_eq!(server.history().len(), 1, "{before} s, {outage} s");
        let told = problems(&store).await;
        assert_eq!(told.len(), if is_reported { 2 } else { 0 }, "{told:?}");
        assert!(!is_reported || told[0].contains("found a store that came back without it after "), "{told:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_kill_is_named_first_and_by_the_first_who_asks() {
    // The kill before, among and after more edits than are named.
    for at in [0, 65, 130] {
        let server = Server::start();
        let store = server.open();
        put(&store, "x", 1).await;
        let files = server.files();
        for edit in 0..=130 {
            if edit == at {
                kill(&store, "x").await;
            }
            put(&store, &format!("flag_{edit}"), 5).await;
        }
        server.kill();
        sleep(Duration::from_secs(65)).await;
        server.start_with(&files);
        // Time stands still: nobody has looked since the server is back.
        let told = problems(&store).await;
        assert!(told[0].starts_with("flag \"x\": expected the kill by alice at 20"), "{at}: {}", told[0]);
        assert_eq!(told.len(), 101, "{at}: the kill, and the last hundred others");
        assert!(told[100].starts_with("flag \"flag_130\""), "{at}: {}", told[100]);
        assert_eq!(server.history().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_kill_stays_named_though_more_edits_are_lost_after_it() {
    let server = Server::start();
    let (store, another) = (server.open(), server.open());
    put(&store, "x", 1).await;
    for flag in 0..130 {
        put(&store, &format!("flag_{flag}"), 1).await;
    }
    sleep(Duration::from_secs(20)).await;
    let files = server.files();
    // First the kill alone is lost to a newer edit, then all others are.
    kill(&store, "x").await;
    server.loses_what_came_after(&files);
    put(&another, "x", 2).await;
    a_while().await;
    let files = server.files();
    for flag in 0..130 {
        put(&store, &format!("flag_{flag}"), 2).await;
    }
    server.loses_what_came_after(&files);
    for flag in 0..130 {
        server.by_hand(&format!("flag_{flag}"), Some("true"));
    }
    a_while().await;
    let told = problems(&store).await;
    assert_eq!(told.len(), 101);
    assert!(told[0].starts_with("flag \"x\": expected the kill by alice at 20"), "{}", told[0]);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_is_asked_seldom_and_for_a_minute_at_most() {
    // By what it answers: how often it may be asked within 10 s, and until it is given up.
    for (denies, soon, ever) in [(false, 12, 62), (true, 1, 1)] {
        let server = Server::start();
        let store = server.open();
        put(&store, "x", 1).await;
        let files = server.files();
        kill(&store, "x").await;
        server.denies.store(denies, Ordering::Relaxed);
        server.kill();
        let asked = || server.asked_in_vain.load(Ordering::Relaxed);
        sleep(Duration::from_secs(10)).await;
        assert!((1..=soon).contains(&asked()), "{denies}: {}", asked());
        sleep(Duration::from_secs(3600)).await;
        assert!(asked() <= ever, "{denies}: {}", asked());
        server.start_with(&files);
        sleep(Duration::from_secs(3600)).await;
        assert_eq!(server.history().len(), 1);
        // The next edit looks, and the memory is as it was at the start.
        put(&store, "y", 1).await;
        assert_eq!(problems(&store).await.len(), 1);
        let files = server.files();
        put(&store, "y", 2).await;
        server.loses_what_came_after(&files);
        a_while().await;
        assert_eq!(text(&store, "y").await.as_deref(), Some(r#"{"percentage": 2}"#));
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_without_a_loss_leaves_nothing_behind() {
    let server = Server::start();
    let store = server.open();
    put(&store, "x", 1).await;
    let run = server.files().run;
    server.kill();
    sleep(Duration::from_secs(120)).await;
    // The line was cut; the server is the same.
    *server.content.lock().unwrap() = Content { run, is_down: false, ..server.files() };
    put(&store, "y", 1).await;
    assert_eq!(problems(&store).await, [""; 0]);
    // An edit that is lost now is written again, as if there had been no outage.
    let files = server.files();
    kill(&store, "x").await;
    server.loses_what_came_after(&files);
    a_while().await;
    assert_eq!(text(&store, "x").await.as_deref(), Some(r#"{"percentage": 1,"enabled": false}"#));
}

#[tokio::test(start_paused = true)]
async fn what_somebody_removes_from_a_running_server_stays_away() {
    let server = Server::start();
    let store = server.open();
    put(&store, "x", 1).await;
    {
        let mut content = server.content.lock().unwrap();
        let run = content.run;
        *content = Content { run, ..Content::default() };
    }
    a_while().await;
    assert_eq!(server.history().len(), 0);
    put(&store, "y", 1).await;
    a_while().await;
    assert_eq!((server.history().len(), text(&store, "x").await), (1, None));
}

#[tokio::test(start_paused = true)]
async fn an_editor_that_is_gone_writes_nothing() {
    let server = Server::start();
    let (store, another) = (server.open(), server.open());
    put(&another, "x", 1).await;
    sleep(Duration::from_secs(20)).await;
    let files = server.files();
    kill(&store, "x").await;
    drop(store);
    server.loses_what_came_after(&files);
    a_while().await;
    assert_eq!(server.history().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_edit_is_written_again_once_though_the_answer_is_lost_again() {
    for lost in 1..4 {
        let server = Server::start();
        let store = server.open();
        put(&store, "x", 1).await;
        let files = server.files();
        kill(&store, "x").await;
        put(&store, "y", 1).await;
        let made = server.history();
        *server.answers_lost.lock().unwrap() = lost;
        server.loses_what_came_after(&files);
        a_while().await;
        assert_eq!(server.history(), made, "{lost}");
    }
}
