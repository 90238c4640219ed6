//! Documents at and above their limits: what is refused, in which words, and what stays in force.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tower_flags::document::Edit;
use tower_flags::engine::{Query, Reason};
use tower_flags::source::{Freshness, Live};
use tower_flags::store::{Author, BoxFuture, Change, Feed, FeedContent, MemoryStore, Notices, Store as _, StoreExt};
use tower_flags::{Context, Document, Error, Flag, FlagSet, Flags, Layered, Memory, Source, Timestamp};

const MAX_FLAGS: usize = 10_000;
const MAX_FLAG: usize = 1024 * 1024;
const MAX_DOCUMENT: usize = 4 * 1024 * 1024;

/// A document of so many flags, all as that text says, named from `{prefix}00000`.
fn many(prefix: &str, count: usize, flag: &str) -> String {
    let mut text = String::from("{\"flags\": {");
    for number in 0..count {
        let comma = if number > 0 { ", " } else { "" };
        write!(text, "{comma}\"{prefix}{number:05}\": {flag}").unwrap();
    }
    text + "}}"
}

/// A flag of exactly so many bytes that starts with these members.
fn of_size(bytes: usize, members: &str) -> String {
    let (start, end) = (format!("{{{members}, \"metadata\": {{\"x\": \""), "\"}}");
    let filling = "x".repeat(bytes - start.len() - end.len());
    start + &filling + end
}

fn document(text: &str) -> Document {
    Document::from_json(text).unwrap()
}

fn refusal(text: &str) -> String {
    Document::from_json(text).unwrap_err().to_string()
}

fn answers(source: &impl Source) -> Flags {
    answers_for(source, "alice")
}

fn answers_for(source: &impl Source, user: &str) -> Flags {
    source.answer(&Query::new(&Context::user(user), Timestamp::MIN)).into()
}

/// A store that is read every second, and hears of nothing.
#[derive(Clone)]
struct Store(Arc<Mutex<String>>);

impl Feed for Store {
    fn name(&self) -> &str {
        "store"
    }

    fn load<'a>(&'a self, _: Option<&'a str>) -> BoxFuture<'a, Result<Option<FeedContent>, Error>> {
        let text = self.0.lock().unwrap().clone();
        Box::pin(async move {
            let document = Document::from_json(&text).map_err(Error::refused)?;
            Ok(Some(FeedContent::new(document, text.len().to_string())))
        })
    }

    fn subscribe(&self) -> BoxFuture<'_, Result<Box<dyn Notices>, Error>> {
        struct Never;
        impl Notices for Never {
            fn next(&mut self) -> BoxFuture<'_, Result<(), Error>> {
                Box::pin(std::future::pending())
            }
        }
        Box::pin(async { Ok(Box::new(Never) as Box<dyn Notices>) })
    }

    fn resync_every(&self) -> Duration {
        Duration::from_secs(1)
    }
}

#[test]
fn a_document_of_10_000_flags_is_read_and_one_more_is_refused() {
    let whole = many("f", MAX_FLAGS, "true");
    let set = FlagSet::compile(&document(&whole), Timestamp::MIN);
    assert_eq!((set.len(), set.problems().len()), (MAX_FLAGS, 0));
    assert!(set.answer(&Query::new(&Context::anonymous(), Timestamp::MIN)).is_enabled("f09999"));

    let one_more = many("f", MAX_FLAGS + 1, "true");
    assert!(one_more.len() < MAX_DOCUMENT);
    assert_eq!(refusal(&one_more), "line 1, column 11: flags: expected at most 10000 flags, found 10001");
}

/// Flags that are refused or null are flags, and a name that stands twice counts twice.
#[test]
fn every_member_counts_against_the_limit() {
    for flag in ["null", "17", "{\"percentge\": 5}"] {
        assert!(refusal(&many("f", MAX_FLAGS + 1, flag)).ends_with("found 10001"), "{flag}");
    }
    let twice = many("f", MAX_FLAGS, "true").replace("f00001", "f00000");
    assert_eq!(document(&twice).problems().len(), 1);
    let twice = many("f", MAX_FLAGS + 1, "true").replace("f00001", "f00000");
    assert!(refusal(&twice).ends_with("found 10001"));
}

#[test]
fn of_two_texts_for_one_flag_neither_is_used_but_a_kill_among_them_is_taken() {
    let texts = [("a", "true"), ("b", "false"), ("a", r#"{"percentage": 5}"#), ("b", "true")];
    let document = Document::from_texts(texts.map(|(name, text)| (name, text.as_bytes()))).unwrap();
    let said: Vec<String> = document.problems().iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "flag \"a\": expected each flag once, found \"a\" twice",
            "flag \"b\": expected each flag once, found \"b\" twice"
        ]
    );
    let in_force = document.after(&self::document(r#"{"flags": {"a": true, "b": true}}"#), false);
    let is_on = |name| in_force.flag(name).unwrap().is_enabled();
    assert_eq!((is_on("a"), is_on("b")), (true, false));
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_as_a_whole_leaves_the_last_good_rules_in_force() {
    let store = Store(Arc::new(Mutex::new(r#"{"flags": {"f00000": {"percentage": 100}, "other": true}}"#.into())));
    let live = Live::connect(store.clone()).await.unwrap();
    let version = live.status().version;
    let too_large = format!("{{\"flags\": {{\"f00000\": false}}}}{}", " ".repeat(MAX_DOCUMENT));
    for (refused, why) in [
        // Even a kill in it is not taken: nobody can say what else such a document means.
        (many("f", MAX_FLAGS + 1, "false"), "line 1, column 11: flags: expected at most 10000 flags, found 10001"),
        (too_large, "expected a document of at most 4194304 bytes, found one of 4194332"),
    ] {
        *store.0.lock().unwrap() = refused;
        tokio::time::sleep(Duration::from_secs(10)).await;
        let status = live.status();
        assert_eq!((status.version, status.flags), (version, 2));
        assert!(matches!(status.freshness, Freshness::StaleSince(_)), "{status:?}");
        assert_eq!(status.problems[0].to_string(), why);
        assert!(status.last_error.unwrap().contains(why));
        assert!(answers(&live).is_enabled("f00000") && answers(&live).is_enabled("other"));
    }
    *store.0.lock().unwrap() = many("f", MAX_FLAGS, "true");
    tokio::time::sleep(Duration::from_secs(10)).await;
    let status = live.status();
    assert_eq!((status.freshness, status.last_error), (Freshness::Fresh, None));
    assert!(answers(&live).is_enabled("f09999"));
}

#[test]
fn memory_takes_no_flag_above_the_limit_and_keeps_those_it_has() {
    let memory = Memory::from(document(&many("f", MAX_FLAGS, "true")));
    let version = memory.status().version;
    let problem = memory.set("one_more", true).unwrap_err();
    assert_eq!(problem.to_string(), "flag \"one_more\": expected at most 10000 flags, found one more");
    assert_eq!((memory.status().version, memory.status().flags), (version, MAX_FLAGS));
    assert_eq!(answers(&memory).evaluation("one_more").reason, Reason::Unknown);

    memory.set("f00000", false).unwrap();
    assert!(!answers(&memory).is_enabled("f00000"), "a flag that is there can be changed");
    assert!(memory.remove("f00001"));
    memory.set("one_more", true).unwrap();
    assert!(answers(&memory).is_enabled("one_more"));
}

#[test]
fn flags_that_stay_in_force_leave_no_room_for_all_new_ones() {
    let in_force = document(&many("m", 6_000, "true"));
    // Names on both sides of those in force; the last of the new ones go.
    let mut update = document(&many("a", 3_000, "true"));
    for (name, flag) in document(&many("z", 3_000, "true")).flags() {
        update.insert(name, flag.clone()).unwrap();
    }
    assert_eq!(update.flags().count(), 6_000);
    let after = update.after(&in_force, false);
    let problems: Vec<String> = after.problems().iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "flags: expected at least half of the 6000 flags in force, found 6000 of them missing \
             (m00000, m00001, m00002, m00003, m00004, …); \
             they stay in force; write back what was lost, or let the removal through by allow_shrink on the source or a restart",
            "flags: expected at most 10000 flags with those that stay in force, \
             found 2000 more (z01000 and those after it); the new ones are left out",
        ]
    );
    assert_eq!(after.flags().count(), MAX_FLAGS);
    for (name, is_there) in [("a00000", true), ("m00000", true), ("m05999", true), ("z00999", true), ("z01000", false)]
    {
        assert_eq!(after.flag(name).is_some(), is_there, "{name}");
    }
}

#[test]
fn a_flag_of_1_mib_is_read_and_one_byte_more_is_refused() {
    let of = |bytes| format!("{{\"flags\": {{\"small\": true,\n \"big\": {}}}}}", of_size(bytes, "\"enabled\": true"));
    assert_eq!(document(&of(MAX_FLAG)).problems(), []);
    assert!(document(&of(MAX_FLAG)).flag("big").is_some());

    let refused = document(&of(MAX_FLAG + 1));
    let problems: Vec<String> = refused.problems().iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        ["line 2, column 9: flag \"big\": expected a flag of at most 1048576 bytes, found one of 1048577"]
    );
    let flags = FlagSet::compile(&refused, Timestamp::MIN).answer(&Query::new(&Context::user("alice"), Timestamp::MIN));
    assert_eq!(flags.evaluation("big").reason, Reason::Problem);
    assert!(flags.is_enabled("small"));

    let alone = of_size(MAX_FLAG + 1, "\"enabled\": true").parse::<Flag>().unwrap_err();
    assert_eq!(alone.to_string(), "line 1, column 1: expected a flag of at most 1048576 bytes, found one of 1048577");
}

#[test]
fn a_kill_inside_a_flag_that_is_too_large_is_taken() {
    let good = document(r#"{"flags": {"big": {"enabled": true, "percentage": 7, "owner": "me"}}}"#);
    for kill in ["\"enabled\": false", "\"percentage\": 100, \"on\": false"] {
        let update = document(&format!("{{\"flags\": {{\"big\": {}}}}}", of_size(MAX_FLAG + 1, kill)));
        assert!(update.flag("big").is_none());
        let flags =
            FlagSet::compile(&update, Timestamp::MIN).answer(&Query::new(&Context::user("alice"), Timestamp::MIN));
        assert_eq!(flags.evaluation("big").reason, Reason::Disabled, "{kill}");

        let after = update.after(&good, false);
        let killed: Flag = r#"{"enabled": false, "percentage": 7, "owner": "me"}"#.parse().unwrap();
        assert_eq!(after.flag("big"), Some(&killed), "{kill}");
    }
    let update = document(&format!("{{\"flags\": {{\"big\": {}}}}}", of_size(MAX_FLAG + 1, "\"enabled\": true")));
    assert_eq!(update.after(&good, false).flag("big"), good.flag("big"));
}

#[test]
fn a_document_of_4_mib_is_read_and_one_byte_more_is_refused() {
    let start = r#"{"flags": {"a": true}}"#;
    let padded = |bytes: usize| start.to_owned() + &" ".repeat(bytes - start.len());
    assert!(document(&padded(MAX_DOCUMENT)).flag("a").is_some());
    let expected = "expected a document of at most 4194304 bytes, found one of 4194305";
    assert_eq!(refusal(&padded(MAX_DOCUMENT + 1)), expected);
    // It is not even looked at.
    assert_eq!(refusal(&"[".repeat(MAX_DOCUMENT + 1)), expected);
    #[cfg(feature = "file")]
    assert_eq!(Document::from_toml(&"\n".repeat(MAX_DOCUMENT + 1)).unwrap_err().to_string(), expected);
}

#[test]
fn layers_of_more_than_10_000_flags_keep_the_lower_ones_and_name_the_rest() {
    let split = r#"{"enabled": true, "variants": {"v": 100}}"#;
    let lower = Memory::from(document(&many("low", 6_000, split)));
    let upper = Memory::from(document(&many("up", 6_000, split)));
    // What both have is one flag, and the upper one decides on it, however full the set is.
    lower.set("zz", true).unwrap();
    upper.set("zz", false).unwrap();
    let layered = Layered::over(lower.clone()).with(upper.clone());
    let messages = || -> Vec<String> { layered.status().problems.iter().map(ToString::to_string).collect() };

    assert_eq!(
        messages(),
        ["expected at most 10000 flags in all parts, found 2001 more in upper ones, which are left out"]
    );
    assert_eq!(layered.status().flags, MAX_FLAGS);
    let flags = answers(&layered);
    assert_eq!(flags.iter().count(), MAX_FLAGS);
    assert_eq!(flags.read().len(), MAX_FLAGS);
    assert_eq!(flags.variant("low00000"), Some("v"));
    assert_eq!(flags.variant("low05999"), Some("v"));
    assert_eq!(flags.variant("up03998"), Some("v"));
    assert_eq!(flags.evaluation("up03999").reason, Reason::Unknown);
    assert_eq!(flags.evaluation("zz").reason, Reason::Disabled);
    assert_eq!(layered.part_of("up03999"), None);

    // Room that is made is taken at once, and the problem goes with the last that is left out.
    lower.replace(document(&many("low", 4_000, "true")));
    upper.remove("zz");
    assert_eq!(messages(), [""; 0]);
    let flags = answers(&layered);
    assert!(flags.is_enabled("up05999") && !flags.is_enabled("low04000"));
    assert_eq!(flags.iter().count(), MAX_FLAGS);
}

/// By how much longer this takes for ten times as much, by the best of five runs each. What compares everything with
/// everything else takes a hundred times as long.
fn growth<T>(prepared: impl Fn(usize) -> T, work: impl Fn(&T), small: usize) -> f64 {
    let best = |size: usize| {
        let prepared = prepared(size);
        let run = || {
            let started = Instant::now();
            work(&prepared);
            started.elapsed()
        };
        (0..5).map(|_| run()).min().unwrap()
    };
    best(small * 10).as_secs_f64() / best(small).as_secs_f64()
}

#[test]
fn the_status_of_layers_does_not_compare_every_problem_with_every_other() {
    let layers = |count: usize| {
        let rejected = Memory::from(document(&many("f", count, r#"{"enabled": true, "percentge": 1}"#)));
        let layered = Layered::over(rejected).with(Memory::new());
        assert_eq!(layered.status().problems.len(), count);
        layered
    };
    let growth = growth(layers, |layered| drop(layered.status()), 150);
    assert!(growth < 40.0, "{growth}");
}

/// A flag that is on for whom one of these patterns matches.
fn matching(patterns: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let patterns: Vec<String> = patterns.into_iter().map(|pattern| format!("{:?}", pattern.as_ref())).collect();
    let values = patterns.join(",");
    format!(
        r#"{{"rules": [{{"when": [{{"attribute": "user_id", "op": "matches", "values": [{values}]}}], "serve": true}}]}}"#
    )
}

/// Patterns that take much more to compile than to write, no two of them alike.
const EXPENSIVE: [fn(usize) -> String; 9] = [
    |number| format!(r"{number}\w{{5}}"),
    |number| format!(r"{number}\w{{99}}"),
    |number| format!("{number}{}", r"\w".repeat(250)),
    |number| format!("{number}{}", r"[\w--\d]".repeat(60)),
    |number| format!("{number}{}", r"\PC".repeat(160)),
    |number| format!("{number}{}", "x*".repeat(250)),
    |number| format!("{number}{}", "(?:a{200}){20}"),
    |number| format!("{}{number}{}x", "(?:".repeat(100), ")*".repeat(100)),
    |number| format!("(?i){number}{}", "ſk".repeat(160)),
];

fn refused(set: &FlagSet) -> Vec<&str> {
    set.problems().iter().filter_map(|problem| problem.flag.as_deref()).collect()
}

#[test]
fn a_flag_has_at_most_64_patterns_and_2_mib_of_them() {
    let flags = [
        ("sixty_four", matching((0..64).map(|number| format!("^a{number}$")))),
        ("sixty_five", matching((0..65).map(|number| format!("^a{number}$")))),
        ("large", matching((0..64).map(EXPENSIVE[0]))),
        ("too_large", matching([r"\w{100}"])),
        ("unknown", matching([r"\p{Klingon}"])),
        ("good", matching(["^alice$"])),
    ];
    let text = format!("{{\"flags\": {{{}}}}}", flags.map(|(name, flag)| format!("{name:?}: {flag}")).join(",\n"));
    let set = FlagSet::compile(&document(&text), Timestamp::MIN);
    let mut said: Vec<String> = set.problems().iter().map(ToString::to_string).collect();
    said.sort();
    assert_eq!(
        said,
        [
            "line 2, column 25: flag \"sixty_five\", rules: expected at most 64 regular expressions in one flag, found 65",
            "line 3, column 10: flag \"large\", rules: expected regular expressions of one flag that compile to at most \
             2097152 bytes, found more",
            "line 4, column 14: flag \"too_large\", rules.0.when.0.values.0: expected a regular expression that compiles \
             to at most 262144 bytes, found \"\\\\w{100}\"",
            "line 5, column 12: flag \"unknown\", rules.0.when.0.values.0: expected a regular expression, found \
             \"\\\\p{Klingon}\" (Unicode property not found)",
        ]
    );
    let alice = set.answer(&Query::new(&Context::user("alice"), Timestamp::MIN));
    assert!(alice.is_enabled("good") && !alice.is_enabled("sixty_four"));
    assert!(set.answer(&Query::new(&Context::user("a63"), Timestamp::MIN)).is_enabled("sixty_four"));
}

#[test]
fn a_flag_whose_patterns_an_upper_part_refuses_comes_from_the_lower_one() {
    let lower = Memory::from(document(r#"{"flags": {"search": {"allowed_users": ["alice"]}, "cart": true}}"#));
    let too_many = matching((0..30).map(|number| format!(r"a{number}\w{{5}}")));
    for upper_flag in [too_many, matching([r"\w{99}"]), matching([r"\p{Klingon}"])] {
        let upper = Memory::from(document(&format!(r#"{{"flags": {{"search": {upper_flag}, "own": true}}}}"#)));
        let layered = Layered::over(lower.clone()).with(upper.clone());
        let problems =
            |source: &dyn Source| -> Vec<String> { source.status().problems.iter().map(ToString::to_string).collect() };
        assert!(answers_for(&layered, "alice").is_enabled("search"), "{upper_flag}");
        assert_eq!(layered.part_of("search").as_deref(), Some("memory"));
        assert_eq!((problems(&upper).len(), problems(&layered).len()), (1, 1), "{:?}", problems(&layered));
        assert_eq!(layered.status().problems[0].flag.as_deref(), Some("search"));
        assert!(answers(&layered).is_enabled("own"));

        // What is legibly switched off there is off.
        let killed = upper_flag.replacen('{', r#"{"enabled": false, "#, 1);
        upper.replace(document(&format!(r#"{{"flags": {{"search": {killed}}}}}"#)));
        assert!(!answers_for(&layered, "alice").is_enabled("search"), "{upper_flag}");
        assert_eq!(problems(&layered).len(), 1, "{:?}", problems(&layered));

        // And a good definition ends the problem.
        upper.set("search", true).unwrap();
        assert!(answers(&layered).is_enabled("search"));
        assert_eq!(problems(&layered), [""; 0]);
    }
}

#[test]
fn an_upper_part_that_had_a_good_definition_keeps_it() {
    let lower = Memory::from(document(r#"{"flags": {"search": {"allowed_users": ["alice"]}}}"#));
    let upper = Memory::from(document(r#"{"flags": {"search": {"allowed_users": ["bob"]}}}"#));
    let layered = Layered::over(lower).with(upper.clone());
    upper.replace(document(&format!(r#"{{"flags": {{"search": {}}}}}"#, matching([r"\w{99}"]))));
    assert!(answers_for(&layered, "bob").is_enabled("search"));
    assert!(!answers_for(&layered, "alice").is_enabled("search"));
    assert_eq!(layered.status().problems.len(), 1);
    // It is the earlier one also for what comes after.
    upper.set("other", true).unwrap();
    assert!(answers_for(&layered, "bob").is_enabled("search"));
    assert_eq!(layered.status().problems.len(), 1);
}

/// However expensive the patterns of a document are, they cost themselves: other flags are decided, a kill is taken, and
/// compiling it again comes to the same.
#[test]
fn expensive_patterns_cost_no_other_flag() {
    for (kind, pattern) in EXPENSIVE.iter().enumerate() {
        for at_once in [1, 7, 64] {
            let (mut text, mut number, mut flags) = (String::new(), 0, 0);
            while text.len() < MAX_DOCUMENT / 64 {
                let patterns = (0..at_once).map(|at| pattern(number + at));
                write!(text, ",\n\"f{flags:05}\": {}", matching(patterns)).unwrap();
                (number, flags) = (number + at_once, flags + 1);
            }
            let with = |other: &str| {
                format!("{{\"flags\": {{\"other\": {other}, \"good\": {}{text}}}}}", matching(["^alice$"]))
            };
            let first = FlagSet::compile(&document(&with("true")), Timestamp::MIN);
            let answers = first.answer(&Query::new(&Context::user("alice"), Timestamp::MIN));
            assert!(answers.is_enabled("other") && answers.is_enabled("good"), "{kind}, {at_once} each");
            assert!(
                first.problems().iter().all(|problem| problem.flag.as_ref().is_some_and(|flag| flag.starts_with('f')))
            );
            let memory = Memory::new();
            memory.replace(document(&with("true")));
            memory.replace(document(&with("false")));
            assert!(!self::answers(&memory).is_enabled("other") && self::answers(&memory).is_enabled("good"));
            let again = FlagSet::compile(&document(&with("true")), Timestamp::MIN);
            assert_eq!(refused(&again), refused(&first), "{kind}, {at_once} each");
        }
    }
}

#[tokio::test]
async fn an_edit_with_expensive_patterns_changes_nothing() {
    let store = MemoryStore::new();
    let by = Author::new("mallory");
    store.change("x", Change::put_text("true"), &by).await.unwrap();
    let expensive = matching((0..64).map(EXPENSIVE[0]));
    let rules = serde_json::from_str::<serde_json::Value>(&expensive).unwrap()["rules"].clone();
    for change in [Change::put_text(expensive), Change::edit(Edit::new().set("rules", rules))] {
        let refused = store.change("x", change, &by).await.unwrap_err();
        assert!(refused.to_string().contains("compile to at most 2097152 bytes"), "{refused}");
    }
    let stored = store.read("x").await.unwrap();
    assert_eq!((stored.version, stored.definition.as_deref()), (1, Some("true")));
    // What is there already, past us, does not hold up a kill.
    assert!(store.change("x", Change::kill(), &by).await.is_ok());
}
