//! Flags that a store has lost, told apart from those that were removed.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![cfg(feature = "file")]

#[path = "support/rewound.rs"]
mod rewound;

use tower_flags::engine::Query;
use tower_flags::source::{Env, File, Layered, Live, MissingFlag, Source};
use tower_flags::store::{Author, Change, FeedContent, FileStore, StoreExt};
use tower_flags::{Context, Flags, Timestamp};

use rewound::{Rewound, becomes, content, is_on, until};

fn problems(source: &Live) -> Vec<String> {
    source.status().problems.iter().map(ToString::to_string).collect()
}

/// Of a store that removes flags only by edits which it records.
fn recorded(revision: u64, flags: &[(&str, &str, u64)]) -> FeedContent {
    content(revision, flags).records_removals()
}

fn names(missing: &[MissingFlag]) -> Vec<(&str, bool)> {
    missing.iter().map(|missing| (&*missing.flag, missing.is_in_effect)).collect()
}

fn bob() -> Author {
    Author::new("bob").because("INC-17")
}

#[tokio::test]
async fn one_lost_flag_of_many_is_off_and_a_problem_until_it_is_back_or_an_edit_removed_it() {
    let all = [("a", "true", 3), ("b", "true", 1), ("c", "true", 1)];
    let store = Rewound::new(recorded(5, &all));
    let source = Live::connect(store.clone()).await.unwrap();
    assert_eq!(source.missing(), []);
    // With the record of the last edit, as after `DEL`; and without it, as where the record is lost, too.
    for versions in [vec![("a", 3), ("b", 1), ("c", 1)], vec![("b", 1), ("c", 1)]] {
        let mut lost = recorded(5, &all[1..]).with_versions(versions.clone());
        lost.revision = format!("lost {versions:?}");
        becomes(&store, &source, lost).await;
        assert!(!is_on(&source, "a") && is_on(&source, "b"));
        let missing = source.missing();
        assert_eq!((names(&missing), missing[0].version), (vec![("a", false)], Some(3)));
        assert!(missing[0].definition.as_ref().unwrap().is_enabled(), "as it was in effect");
        let found = problems(&source);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("flag \"a\"") && found[0].contains("no edit removed"), "{found:?}");
        becomes(&store, &source, recorded(5, &all)).await;
        assert!(is_on(&source, "a"));
        assert_eq!((source.missing(), problems(&source)), (vec![], vec![]), "it is back");
    }
    becomes(&store, &source, recorded(6, &all[1..]).with_removed(["a"]).with_versions([("a", 4), ("b", 1), ("c", 1)]))
        .await;
    assert_eq!((source.missing(), problems(&source)), (vec![], vec![]), "an edit removed it");
}

/// The flags that clients are told of.
fn visible(source: &impl Source) -> String {
    let flags = Flags::from(source.answer(&Query::new(&Context::user("alice"), Timestamp::MIN)));
    serde_json::to_string(&flags).unwrap()
}

#[tokio::test]
async fn a_variable_over_a_hidden_flag_keeps_it_hidden_when_the_store_has_lost_it() {
    let all = [("be-secret", r#"{"enabled": true, "hidden": true}"#, 3), ("b", "true", 1), ("c", "true", 1)];
    let store = Rewound::new(recorded(5, &all));
    let live = Live::connect(store.clone()).await.unwrap();
    let source = Layered::over(live.clone()).with(Env::from_pairs([("FF_BE_SECRET", "on"), ("FF_B", "on")]));
    let nested = Layered::over(Layered::over(live.clone())).with(Env::from_pairs([("FF_BE_SECRET", "on")]));
    for (number, left) in [&all[..], &all[1..], &all[..]].into_iter().enumerate() {
        let number = 5 + number as u64;
        becomes(&store, &live, recorded(number, left).with_versions(all.map(|(name, _, version)| (name, version))))
            .await;
        assert_eq!(visible(&source), r#"{"b":true,"c":true}"#, "{number}");
        assert_eq!(visible(&nested), r#"{"b":true,"c":true}"#, "{number}");
        assert!(source.answer(&Query::new(&Context::anonymous(), Timestamp::MIN)).is_enabled("be-secret"), "{number}");
        // It is known, under its name.
        let problems = source.status().problems;
        assert!(!problems.iter().any(|problem| problem.to_string().contains("did you mean")), "{problems:?}");
    }
}

#[tokio::test]
async fn what_was_lost_before_the_process_started_is_known_by_the_record_of_the_last_edit() {
    let left = recorded(5, &[("b", "true", 1)]).with_versions([("a", 3), ("b", 1)]);
    let source = Live::connect(Rewound::new(left)).await.unwrap();
    let missing = source.missing();
    assert_eq!((names(&missing), missing[0].version, &missing[0].definition), (vec![("a", false)], Some(3), &None));
    assert_eq!(problems(&source).len(), 1, "{:?}", problems(&source));
}

#[tokio::test]
async fn what_is_missing_with_more_than_half_stays_in_effect_until_each_is_back() {
    for records in [false, true] {
        let at = |revision: u64, flags: &[(&str, &str, u64)]| {
            let loaded = content(revision, flags);
            if records { loaded.records_removals() } else { loaded }
        };
        let all = [("a", "true", 1), ("b", "false", 2), ("c", "true", 1), ("d", r#"{"percentage": 100}"#, 1)];
        let store = Rewound::new(at(5, &all));
        let source = Live::connect(store.clone()).await.unwrap();
        becomes(&store, &source, at(0, &[])).await;
        assert_eq!(names(&source.missing()), [("a", true), ("b", true), ("c", true), ("d", true)]);
        assert!(is_on(&source, "a") && is_on(&source, "d") && !is_on(&source, "b"));
        // They come back one by one; those that are still missing are less than half soon.
        for back in 1..=3 {
            becomes(&store, &source, at(back, &all[..back as usize])).await;
            assert_eq!(source.missing().len(), 4 - back as usize, "records: {records}");
            assert!(is_on(&source, "a") && is_on(&source, "c") && is_on(&source, "d"), "records: {records}");
            assert!(problems(&source).iter().any(|problem| problem.contains('d') && problem.contains("missing")));
        }
        becomes(&store, &source, at(9, &all)).await;
        assert_eq!(source.missing(), []);
        assert!(problems(&source).iter().all(|problem| !problem.contains("missing")), "{:?}", problems(&source));
    }
}

#[tokio::test]
async fn a_flag_that_somebody_takes_out_of_a_file_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flags.json");
    let write = |flags: &str| std::fs::write(&path, format!("{{\"flags\": {{{flags}}}}}")).unwrap();
    write(r#""a": true, "b": true, "c": true"#);
    let reader = File::builder(&path).unwrap().connect().await.unwrap();
    // It knows of edits, and so does its history; taking a flag out by hand is none.
    let store = FileStore::new(&path).unwrap();
    let editor = Live::connect(store.clone()).await.unwrap();
    store.change("a", Change::put_text(r#"{"percentage": 100}"#), &bob()).await.unwrap();
    write(r#""b": true, "c": true"#);
    for source in [&reader, &editor] {
        until(|| !is_on(source, "a")).await;
        assert_eq!((source.missing(), problems(source)), (vec![], vec![]));
    }
    // More than half of what is left at once is a file that was cut.
    write("");
    for source in [&reader, &editor] {
        until(|| source.missing().len() == 2).await;
        assert!(is_on(source, "b") && is_on(source, "c"));
    }
}

#[tokio::test]
async fn a_kill_of_a_lost_flag_is_in_effect_at_once_and_when_the_flag_comes_back() {
    let all = [("a", "true", 3), ("b", "true", 1), ("c", "true", 1)];
    for left in [0, 1] {
        let store = Rewound::new(recorded(5, &all));
        let source = Live::connect(store.clone()).await.unwrap();
        let lost = if left == 0 { recorded(0, &[]) } else { recorded(5, &all[left..]) };
        becomes(&store, &source, lost).await;
        assert_eq!((is_on(&source, "a"), source.missing()[0].is_in_effect), (left == 0, left == 0));
        source.kill_here("a", &bob()).await.unwrap();
        assert!(!is_on(&source, "a"));
        // Another load, still without it.
        let lost = if left == 0 { recorded(1, &[]) } else { recorded(6, &all[left..]) };
        becomes(&store, &source, lost).await;
        assert!(!is_on(&source, "a"));
        if left == 0 {
            let found = problems(&source);
            assert!(found.iter().any(|problem| problem.contains("a kill by bob")), "{found:?}");
        }
        becomes(&store, &source, recorded(7, &all)).await;
        assert!(!is_on(&source, "a"), "it is back, and killed");
        assert!(source.forget_kill("a").await);
        assert!(is_on(&source, "a"));
    }
}

#[tokio::test]
async fn with_allow_shrink_nothing_is_missing() {
    let store = Rewound::new(recorded(5, &[("a", "true", 3), ("b", "true", 1)]));
    let source = Live::builder(store.clone()).allow_shrink(true).connect().await.unwrap();
    becomes(&store, &source, recorded(6, &[])).await;
    assert_eq!((source.missing(), is_on(&source, "a")), (vec![], false));
}

#[tokio::test]
async fn what_the_backup_file_has_and_the_store_has_lost_meanwhile_is_missing() {
    let all = [("a", "true", 3), ("b", "true", 1)];
    let (folder, store) = (tempfile::tempdir().unwrap(), Rewound::new(recorded(5, &all)));
    let path = folder.path().join("backup");
    drop(Live::builder(store.clone()).backup(&path).connect().await.unwrap());
    store.is_down(true);
    let source = Live::builder(store.clone()).backup(&path).connect().await.unwrap();
    assert!(is_on(&source, "a"));
    store.is_down(false);
    becomes(&store, &source, recorded(0, &[])).await;
    assert_eq!(names(&source.missing()), [("a", true), ("b", true)]);
    assert!(is_on(&source, "a") && is_on(&source, "b"));
}
