//! The file source over real files: every way an editor, a deployment or Kubernetes changes one.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![cfg(feature = "file")]

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tower_flags::engine::{Query, Reason};
use tower_flags::source::{File, Freshness, Live, Source};
use tower_flags::store::{ErrorKind, FileStore};
use tower_flags::{Context, Flags, Timestamp};

/// How long an edit may take to be in force.
const BOUND: Duration = Duration::from_secs(1);

const ON: &str = r#"{"flags": {"search": true}}"#;
const OFF: &str = r#"{"flags": {"search": false}}"#;

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn with(name: &str, text: &str) -> (Self, PathBuf) {
        let folder = Self::new();
        let path = folder.path(name);
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }
}

fn rename_over(path: &Path, text: &str) {
    let beside = path.with_extension("tmp");
    std::fs::write(&beside, text).unwrap();
    std::fs::rename(beside, path).unwrap();
}

fn flags(source: &impl Source) -> Flags {
    source.answer(&Query::new(&Context::anonymous(), Timestamp::MIN)).into()
}

/// Waits until the source says so, asking it again and again, and returns how long it took.
async fn until(source: &impl Source, what: &str, is_so: impl Fn(&Flags) -> bool) -> Duration {
    let start = Instant::now();
    while !is_so(&flags(source)) {
        assert!(start.elapsed() < Duration::from_secs(10), "never seen: {what}; {:?}", source.status());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    start.elapsed()
}

async fn seen_in_time(source: &impl Source, what: &str, is_on: bool) {
    let took = until(source, what, |flags| flags.is_enabled("search") == is_on).await;
    // The bound is the product's promise and is held in the median; a busy machine may pause for longer.
    if took > BOUND {
        eprintln!("{what} took {took:?}");
    }
    assert!(took < 3 * BOUND, "{what} took {took:?}");
}

async fn until_status(source: &impl Source, what: &str, is_so: impl Fn(&tower_flags::source::Status) -> bool) {
    let start = Instant::now();
    while !is_so(&source.status()) {
        assert!(start.elapsed() < Duration::from_secs(10), "never seen: {what}; {:?}", source.status());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn an_edit_in_place_is_seen() {
    let (_folder, path) = Folder::with("flags.json", ON);
    let source = File::open(&path).await.unwrap();
    assert!(flags(&source).is_enabled("search"));
    for (round, text) in [OFF, ON, OFF].into_iter().enumerate() {
        std::fs::write(&path, text).unwrap();
        seen_in_time(&source, "an edit in place", text == ON).await;
        assert_eq!(flags(&source).version(), round as u64 + 2);
    }
}

#[tokio::test]
async fn a_file_renamed_over_it_is_seen_again_and_again() {
    let (_folder, path) = Folder::with("flags.json", ON);
    let source = File::open(&path).await.unwrap();
    for text in [OFF, ON, OFF, ON] {
        rename_over(&path, text);
        seen_in_time(&source, "an atomic rename", text == ON).await;
    }
}

#[tokio::test]
async fn a_link_swapped_as_kubernetes_does_is_seen_again_and_again() {
    let folder = Folder::new();
    let publish = |version: usize, text: &str| {
        let data = folder.path(&format!("..2026_{version}"));
        std::fs::create_dir(&data).unwrap();
        std::fs::write(data.join("flags.json"), text).unwrap();
        let temporary = folder.path("..data_tmp");
        symlink(format!("..2026_{version}"), &temporary).unwrap();
        std::fs::rename(&temporary, folder.path("..data")).unwrap();
        if version > 0 {
            std::fs::remove_dir_all(folder.path(&format!("..2026_{}", version - 1))).unwrap();
        }
    };
    publish(0, ON);
    let path = folder.path("flags.json");
    symlink("..data/flags.json", &path).unwrap();
    let source = File::open(&path).await.unwrap();
    for version in 1..6 {
        let text = if version % 2 == 0 { ON } else { OFF };
        publish(version, text);
        seen_in_time(&source, "a ..data swap", text == ON).await;
    }
}

#[tokio::test]
async fn a_file_deleted_and_made_again_is_seen_and_missed_meanwhile() {
    let (_folder, path) = Folder::with("flags.json", ON);
    let source = File::open(&path).await.unwrap();
    for text in [OFF, ON] {
        let before = flags(&source).is_enabled("search");
        std::fs::remove_file(&path).unwrap();
        until_status(&source, "stale", |status| matches!(status.freshness, Freshness::StaleSince(_))).await;
        assert_eq!(flags(&source).is_enabled("search"), before, "the last good rules stay");
        let error = source.status().last_error.unwrap();
        assert!(error.contains("flags.json cannot be read: No such file"), "{error}");
        std::fs::write(&path, text).unwrap();
        seen_in_time(&source, "a file made again", text == ON).await;
        until_status(&source, "fresh", |status| status.freshness == Freshness::Fresh).await;
        assert_eq!(source.status().last_error, None);
    }
}

#[tokio::test]
async fn a_file_behind_a_link_to_another_folder_is_seen() {
    let (_elsewhere, target) = Folder::with("rules.json", ON);
    let folder = Folder::new();
    symlink(&target, folder.path("flags.json")).unwrap();
    let source = File::open(folder.path("flags.json")).await.unwrap();
    rename_over(&target, OFF);
    seen_in_time(&source, "an edit behind a link", false).await;
}

#[tokio::test]
async fn the_folder_itself_may_go_and_come_back() {
    let folder = Folder::new();
    let inner = folder.path("config");
    std::fs::create_dir(&inner).unwrap();
    let path = inner.join("flags.json");
    std::fs::write(&path, ON).unwrap();
    let source = File::open(&path).await.unwrap();
    std::fs::remove_dir_all(&inner).unwrap();
    until_status(&source, "stale", |status| matches!(status.freshness, Freshness::StaleSince(_))).await;
    std::fs::create_dir(&inner).unwrap();
    std::fs::write(&path, OFF).unwrap();
    until(&source, "a folder made again", |flags| !flags.is_enabled("search")).await;
}

#[tokio::test]
async fn what_is_refused_as_a_whole_changes_nothing_and_is_said_with_its_place() {
    let (_folder, path) = Folder::with("flags.json", ON);
    let source = File::open(&path).await.unwrap();
    let revision = source.status().revision;
    let name = path.display();
    for (text, message) in [
        ("", format!("{name}, line 1, column 1: expected a JSON document, found nothing")),
        (
            "{\"flags\": {\n  \"search\": fals",
            format!(
                "{name}, line 2, column 16: expected a JSON document, found its end in the middle of a value; it looks cut off"
            ),
        ),
        ("{}", format!("{name}, line 1, column 1: expected an object with the key \"flags\", found an object of 0")),
    ] {
        rename_over(&path, text);
        until_status(&source, &message, |status| status.last_error.as_deref() == Some(&message)).await;
        let status = source.status();
        assert!(matches!(status.freshness, Freshness::StaleSince(_)));
        assert_eq!(status.problems[0].to_string(), message);
        assert_eq!((status.version, &status.revision), (1, &revision));
        assert!(flags(&source).is_enabled("search"));
    }
    rename_over(&path, ON);
    until_status(&source, "fresh", |status| status.freshness == Freshness::Fresh).await;
    assert_eq!(source.status().problems, []);
}

#[tokio::test]
async fn a_kill_inside_a_refused_flag_takes_effect() {
    let (_folder, path) = Folder::with("flags.json", ON);
    let source = File::open(&path).await.unwrap();
    rename_over(&path, r#"{"flags": {"search": {"enabled": false, "percentage": 200}}}"#);
    seen_in_time(&source, "a kill inside a refused flag", false).await;
    assert_eq!(flags(&source).evaluation("search").reason, Reason::Disabled);
    assert_eq!(source.status().problems.len(), 1);
    assert_eq!(source.status().freshness, Freshness::Fresh);
}

#[tokio::test]
async fn a_shrunken_update_removes_nothing_but_its_kills_take_effect() {
    let many = |search: bool, rest: usize| {
        let rest: String = (0..rest).map(|number| format!(r#", "flag_{number}": true"#)).collect();
        format!(r#"{{"flags": {{"search": {search}{rest}}}}}"#)
    };
    let (_folder, path) = Folder::with("flags.json", &many(true, 9));
    let source = File::open(&path).await.unwrap();
    rename_over(&path, &many(false, 0));
    seen_in_time(&source, "a kill inside a shrunken update", false).await;
    assert!(flags(&source).is_enabled("flag_8"));
    let problem = source.status().problems[0].to_string();
    assert!(problem.contains("9 of them missing (flag_0, flag_1, flag_2, flag_3, flag_4, …)"), "{problem}");

    let source = File::builder(&path).unwrap().allow_shrink(true).connect().await.unwrap();
    rename_over(&path, &many(true, 9));
    seen_in_time(&source, "flags back", true).await;
    rename_over(&path, r#"{"flags": {}}"#);
    seen_in_time(&source, "an allowed removal", false).await;
    assert!(!flags(&source).is_enabled("flag_8"));
}

#[tokio::test]
async fn a_toml_file_keeps_its_end_marker() {
    let on = "[flags.search]\nenabled = true\npercentage = 100\n# end\n";
    let (_folder, path) = Folder::with("flags.toml", on);
    let source = File::open(&path).await.unwrap();
    let cut = "[flags.search]\nenabled = false\n";
    rename_over(&path, cut);
    let message = format!(
        "{}, line 2, column 1: expected the last line \"# end\", which the file had, found another one; it looks cut \
         off",
        path.display()
    );
    until_status(&source, &message, |status| status.last_error.as_deref() == Some(&message)).await;
    assert!(flags(&source).is_enabled("search"));
    rename_over(&path, &format!("{cut}# end"));
    seen_in_time(&source, "the marker back", false).await;
}

#[tokio::test]
async fn a_file_that_is_missing_or_bad_at_start_is_an_error_or_waited_for() {
    let folder = Folder::new();
    let path = folder.path("flags.json");
    let error = File::open(&path).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(error.to_string(), format!("{} cannot be read", path.display()));

    std::fs::write(&path, "{").unwrap();
    let error = File::open(&path).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert_eq!(error.problem().unwrap().line, Some(1));

    let source = File::connect(&path).await.unwrap();
    assert_eq!(source.status().freshness, Freshness::NeverLoaded);
    assert_eq!(flags(&source).evaluation("search").reason, Reason::NotLoaded);
    rename_over(&path, ON);
    seen_in_time(&source, "the first good file", true).await;

    let error = File::open(folder.path("flags.yaml")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
}

#[tokio::test]
async fn what_is_no_readable_text_is_refused() {
    let (folder, path) = Folder::with("flags.json", "");
    std::fs::write(&path, b"{\"flags\": {\"\xFF\": true}}").unwrap();
    let error = File::open(&path).await.unwrap_err().to_string();
    assert!(error.ends_with("line 1, column 13: expected UTF-8, found the byte 0xff"), "{error}");
    std::fs::write(&path, vec![b' '; 4 * 1024 * 1024 + 1]).unwrap();
    let error = File::open(&path).await.unwrap_err().to_string();
    assert!(error.ends_with("expected a document of at most 4194304 bytes, found one of 4194305"), "{error}");

    let directory = folder.path("directory.json");
    std::fs::create_dir(&directory).unwrap();
    let looping = folder.path("looping.json");
    symlink("looping.json", &looping).unwrap();
    let pipe = folder.path("pipe.json");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for path in [directory, looping, pipe] {
        let error = File::open(&path).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    }
}

#[tokio::test]
async fn a_writer_in_place_is_never_seen_halfway() {
    let text = |number: usize| {
        let rest: String = (0..500).map(|flag| format!(r#", "flag_{flag}": {{"percentage": {number}}}"#)).collect();
        format!(r#"{{"flags": {{"search": true{rest}}}}}"#)
    };
    let (_folder, path) = Folder::with("flags.json", &text(0));
    let source = File::open(&path).await.unwrap();
    let writer = {
        let path = path.clone();
        std::thread::spawn(move || {
            use std::io::Write;
            for number in 1..=40 {
                let mut file = std::fs::File::create(&path).unwrap();
                for chunk in text(number).as_bytes().chunks(1000) {
                    file.write_all(chunk).unwrap();
                }
                std::thread::sleep(Duration::from_millis(number as u64 * 3));
            }
        })
    };
    while !writer.is_finished() {
        let flags = flags(&source);
        assert_eq!(flags.flag_set().len(), 501);
        let first = flags.flag_set().flag("flag_0").unwrap();
        assert_eq!(Some(first), flags.flag_set().flag("flag_499"));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    writer.join().unwrap();
    until(&source, "the last write", |flags| {
        flags.flag_set().flag("flag_0").is_some_and(|flag| flag.percentage_at(Timestamp::MIN).to_string() == "40")
    })
    .await;
}

/// How long a start takes when nothing else holds it up: the fastest of many.
async fn fastest_start(path: &Path) -> Duration {
    let mut fastest = Duration::MAX;
    for _ in 0..40 {
        let start = Instant::now();
        let source = File::open(path).await.unwrap();
        fastest = fastest.min(start.elapsed());
        assert!(flags(&source).is_enabled("search"));
    }
    fastest
}

#[tokio::test]
async fn a_file_that_is_whole_by_itself_needs_no_second_reading_at_the_start() {
    let settling = Duration::from_millis(50);
    for (name, text) in [
        ("flags.json", ON),
        ("flags.JSON", &format!("\n{ON}\n\n")),
        ("flags.toml", "[flags]\nsearch = true\n# end"),
        ("flags.toml", "[flags]\nsearch = true\n# end  \n\n"),
    ] {
        let (_folder, path) = Folder::with(name, text);
        let took = fastest_start(&path).await;
        assert!(took < settling, "{text:?} took {took:?}");
    }
    for text in ["[flags]\nsearch = true\n", "# end\n[flags]\nsearch = true\n", "[flags]\nsearch = true # end\n"] {
        let (_folder, path) = Folder::with("flags.toml", text);
        let took = fastest_start(&path).await;
        assert!(took >= settling, "{text:?} may be cut off: {took:?}");
    }
}

#[tokio::test]
async fn changes_after_the_first_load_need_two_readings() {
    // Each content is whole by itself; the first of each two is not what the writer means, and never comes again.
    let json = |number: usize, is_on: bool| format!(r#"{{"flags": {{"search": {is_on}, "round_{number}": true}}}}"#);
    let toml = |number: usize, is_on: bool| format!("[flags]\nsearch = {is_on}\nround_{number} = true\n# end\n");
    for (name, text) in [("flags.json", &json as &dyn Fn(usize, bool) -> String), ("flags.toml", &toml)] {
        let (_folder, path) = Folder::with(name, &text(0, true));
        let source = File::open(&path).await.unwrap();
        for number in 1..20 {
            let written = Instant::now();
            std::fs::write(&path, text(number, false)).unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
            std::fs::write(&path, text(number, true)).unwrap();
            let took = written.elapsed();
            tokio::time::sleep(Duration::from_millis(60)).await;
            // A writer that is itself held up for longer than the two readings are apart proves nothing.
            assert!(flags(&source).is_enabled("search") || took >= Duration::from_millis(50), "{name}: seen halfway");
        }
    }
}

#[tokio::test]
async fn a_file_that_is_cut_off_at_the_start_is_read_again() {
    let (_folder, path) = Folder::with("flags.json", &ON[..ON.len() - 1]);
    let writer = {
        let path = path.clone();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(10));
            std::fs::write(&path, ON).unwrap();
        })
    };
    let source = File::connect(&path).await.unwrap();
    writer.join().unwrap();
    seen_in_time(&source, "the rest of the file", true).await;
}

#[tokio::test]
async fn dropping_the_last_clone_ends_the_task() {
    let (_folder, path) = Folder::with("flags.json", ON);
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let source: Live = File::builder(&path).unwrap().connect().await.unwrap();
    let clone = source.clone();
    drop(source);
    assert!(tasks() > before);
    drop(clone);
    while tasks() > before {
        tokio::task::yield_now().await;
    }
}

#[test]
fn without_a_runtime_opening_says_what_is_missing() {
    let feed = tower_flags::store::FileFeed::new("flags.json").unwrap();
    let waker = std::task::Waker::noop();
    let mut connecting = Box::pin(Live::connect(feed));
    let std::task::Poll::Ready(Err(error)) = connecting.as_mut().poll(&mut std::task::Context::from_waker(waker))
    else {
        panic!("it has to say so at once")
    };
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("a tokio runtime has to be there"), "{error}");
}

/// What goes wrong in the environment has no other place to be seen than the log.
#[test]
fn problems_of_the_environment_are_logged_once() {
    #[derive(Clone, Default)]
    struct Log(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);
    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(subscriber, || {
        let memory = tower_flags::Memory::new();
        for name in ["a-b", "a.b"] {
            memory.set(name, true).unwrap();
        }
        let env = tower_flags::Env::from_pairs([("FF_SEARCH", "disable"), ("FF_A_B", "off")]);
        let source = tower_flags::Layered::over(memory.clone()).with(env);
        memory.set("other", true).unwrap();
        drop(source);
    });
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert_eq!(log.matches("FF_SEARCH: expected true, false, 1, 0, on or off, found \"disable\"").count(), 1, "{log}");
    assert_eq!(log.matches("FF_A_B: expected a name that matches one flag").count(), 1, "{log}");
}

/// A renamed flag that thousands require must not hold up a kill in the same file.
#[tokio::test]
async fn a_missing_required_flag_holds_up_no_kill() {
    let text = |search: bool| {
        let flags: String = (0..9_999)
            .map(|n| format!(r#", "some_flag_{n}": {{"enabled": true, "requires": ["some_flag_gone"]}}"#))
            .collect();
        format!(r#"{{"flags": {{"search": {search}{flags}}}}}"#)
    };
    let (_folder, path) = Folder::with("flags.json", &text(true));
    let source = File::connect(&path).await.unwrap();
    until_status(&source, "all faults", |status| status.problems.len() == 9_999).await;
    rename_over(&path, &text(false));
    until(&source, "a kill beside 9 999 faults", |flags| !flags.is_enabled("search")).await;
}

struct Stubborn(std::sync::atomic::AtomicU32);

impl tower_flags::store::Feed for Stubborn {
    fn name(&self) -> &str {
        "stubborn"
    }

    fn load<'a>(
        &'a self,
        _: Option<&'a str>,
    ) -> tower_flags::store::BoxFuture<'a, Result<Option<tower_flags::store::FeedContent>, tower_flags::Error>> {
        let round = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Box::pin(async move {
            match round {
                1 => std::future::pending().await,
                2 => panic!("a feed of somebody else's"),
                _ => {
                    let document = tower_flags::Document::from_json(if round == 0 { ON } else { OFF }).unwrap();
                    Ok(Some(tower_flags::store::FeedContent::new(document, round.to_string())))
                }
            }
        })
    }

    fn subscribe(
        &self,
    ) -> tower_flags::store::BoxFuture<'_, Result<Box<dyn tower_flags::store::Notices>, tower_flags::Error>> {
        let error = tower_flags::Error::new(ErrorKind::Unavailable, "nobody to listen to");
        Box::pin(std::future::ready(Err(error)))
    }
}

#[tokio::test(start_paused = true)]
async fn a_feed_that_hangs_or_panics_is_stale_and_asked_again() {
    let source = Live::connect(Stubborn(0.into())).await.unwrap();
    assert!(flags(&source).is_enabled("search"));
    for error in ["stubborn gave no answer within 10s", "stubborn panicked while it was read"] {
        while source.status().last_error.is_none_or(|last| !last.starts_with(error)) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(matches!(source.status().freshness, Freshness::StaleSince(_)));
        assert!(flags(&source).is_enabled("search"), "the last good rules stay");
    }
    while flags(&source).is_enabled("search") {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A document of flags whose patterns are as expensive as the limits of a set allow, and more, no two of them alike.
fn expensive(salt: usize, is_on: bool) -> String {
    let flags: Vec<String> = (0..12)
        .map(|flag| {
            let patterns: Vec<String> = (0..24).map(|number| format!(r#""{salt}x{flag}x{number}\\w{{5}}""#)).collect();
            let condition =
                format!(r#"{{"attribute": "user_id", "op": "matches", "values": [{}]}}"#, patterns.join(","));
            format!(r#""expensive{flag}": {{"rules": [{{"when": [{condition}], "serve": true}}]}}"#)
        })
        .collect();
    format!(r#"{{"flags": {{"search": {is_on}, {}}}}}"#, flags.join(", "))
}

#[tokio::test]
async fn a_kill_beside_expensive_patterns_takes_effect() {
    let (_folder, path) = Folder::with("flags.json", &expensive(0, true));
    let store = FileStore::new(&path).unwrap();
    let (file, live) = (File::open(&path).await.unwrap(), Live::connect(store).await.unwrap());
    for round in 1..5 {
        let is_on = round % 2 == 0;
        std::fs::write(&path, expensive(round, is_on)).unwrap();
        until(&file, "an edit of a file", |flags| flags.is_enabled("search") == is_on).await;
        until(&live, "an edit of a store", |flags| flags.is_enabled("search") == is_on).await;
    }
    // Of 16 MiB of compiled patterns in a set there is no more, and the rest is named.
    let problems = file.status().problems;
    assert!(
        !problems.is_empty() && problems.iter().all(|problem| problem.to_string().contains("expensive")),
        "{problems:?}"
    );
}
