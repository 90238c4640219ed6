//! A store that comes back older: reported, and nothing that was seen switched off is switched on by it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/rewound.rs"]
mod rewound;

use std::sync::Arc;

use tower_flags::source::{Live, Source};

use rewound::{Rewound, becomes, content, is_on};

fn problems(source: &Live) -> Vec<String> {
    source.status().problems.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn a_flag_that_was_seen_switched_off_stays_off_until_it_is_edited_again() {
    let store = Rewound::new(content(9, &[("checkout", "true", 5), ("search", "true", 4)]));
    let source = Live::connect(store.clone()).await.unwrap();
    assert!(is_on(&source, "checkout"));
    becomes(&store, &source, content(12, &[("checkout", "false", 7), ("search", "true", 5)])).await;
    assert!(!is_on(&source, "checkout"));

    // Restored from a copy of revision 9.
    becomes(&store, &source, content(9, &[("checkout", "true", 5), ("search", "true", 4)])).await;
    assert!(!is_on(&source, "checkout") && is_on(&source, "search"));
    let found = problems(&source);
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found.iter().any(|problem| problem.contains("revision 9") && problem.contains("older copy")), "{found:#?}");
    assert!(
        found.iter().any(|problem| problem.contains("checkout") && problem.contains("version above 5")),
        "{found:#?}"
    );

    // Other edits do not switch it on, and no more does a resync.
    becomes(&store, &source, content(10, &[("checkout", "true", 5), ("search", "false", 5)])).await;
    assert!(!is_on(&source, "checkout") && !is_on(&source, "search"));
    // Its own does, though the number is lower than what was seen.
    becomes(&store, &source, content(11, &[("checkout", "true", 6), ("search", "false", 5)])).await;
    assert!(is_on(&source, "checkout"));
    becomes(&store, &source, content(13, &[("checkout", "true", 6), ("search", "true", 6)])).await;
    assert!(is_on(&source, "search"), "a restore after it");
    assert_eq!(problems(&source), [""; 0], "as far as it was before");
}

#[tokio::test]
async fn a_store_that_goes_back_twice_is_held_to_the_lower_version() {
    let store = Rewound::new(content(9, &[("checkout", "false", 7)]));
    let source = Live::connect(store.clone()).await.unwrap();
    becomes(&store, &source, content(6, &[("checkout", "true", 5)])).await;
    becomes(&store, &source, content(3, &[("checkout", "true", 2)])).await;
    assert!(!is_on(&source, "checkout"));
    becomes(&store, &source, content(4, &[("checkout", "true", 3)])).await;
    assert!(is_on(&source, "checkout"), "edited since");
}

#[tokio::test]
async fn where_the_store_counts_no_edits_the_versions_of_its_flags_tell() {
    let without_revision = |flags: &[(&str, &str, u64)]| {
        let mut content = content(0, flags);
        content.sequence = None;
        content
    };
    let store = Rewound::new(without_revision(&[("checkout", "false", 7), ("search", "true", 3)]));
    let source = Live::connect(store.clone()).await.unwrap();
    becomes(&store, &source, without_revision(&[("checkout", "true", 6), ("search", "true", 3)])).await;
    assert!(!is_on(&source, "checkout"));
    // What is held off counts as switched off when the store goes back once more.
    becomes(&store, &source, without_revision(&[("search", "true", 2)])).await;
    becomes(&store, &source, without_revision(&[("checkout", "true", 6), ("search", "true", 4)])).await;
    assert!(is_on(&source, "checkout"), "above the version of the second time, when it was not there at all");
}

#[tokio::test]
async fn a_restore_by_somebody_who_knows_no_versions_takes_effect_where_nothing_went_back() {
    let store = Rewound::new(content(9, &[("checkout", "false", 7)]));
    let source = Live::connect(store.clone()).await.unwrap();
    becomes(&store, &source, content(9, &[("checkout", "true", 7)])).await;
    assert!(is_on(&source, "checkout"), "a foreign writer: reported elsewhere, not undone");
}

#[tokio::test]
async fn removals_that_the_store_remembers_are_no_accident() {
    let flags: Vec<(String, &str, u64)> = (0..10).map(|number| (format!("f{number}"), "true", 1)).collect();
    let all: Vec<(&str, &str, u64)> = flags.iter().map(|(name, text, version)| (&**name, *text, *version)).collect();
    let store = Rewound::new(content(10, &all));
    let source = Live::connect(store.clone()).await.unwrap();
    let removed =
        |count: usize| content(10 + count as u64, &all[count..]).with_removed(all[..count].iter().map(|flag| flag.0));
    becomes(&store, &source, removed(8)).await;
    assert_eq!((source.status().flags, problems(&source)), (2, vec![]), "eight of ten, on purpose");
    becomes(&store, &source, content(19, &[]).with_removed(all[..8].iter().map(|flag| flag.0))).await;
    assert_eq!(source.status().flags, 2, "the last two are missing, and nobody has removed them");
    assert_eq!(problems(&source).len(), 1);
}

#[tokio::test]
async fn whoever_subscribes_hears_of_each_flag_that_changed() {
    let store = Rewound::new(content(1, &[("a", "true", 1), ("b", "true", 1), ("c", "true", 1)]));
    let source = Live::connect(store.clone()).await.unwrap();
    let mut changes = source.subscribe();
    store.becomes(content(4, &[("a", "true", 1), ("b", "false", 2), ("d", "true", 1)]).with_removed(["c"]));
    let mut heard = Vec::new();
    for _ in 0..3 {
        let change = changes.next().await.unwrap().unwrap();
        let is_on = |flag: &Option<Arc<tower_flags::Flag>>| flag.as_ref().map(|flag| flag.is_enabled());
        heard.push((
            change.flag.clone(),
            is_on(&change.before),
            is_on(&change.after),
            change.flag_version,
            change.version,
        ));
    }
    assert_eq!(
        heard,
        [
            ("b".to_owned(), Some(true), Some(false), Some(2), 2),
            ("c".to_owned(), Some(true), None, None, 2),
            ("d".to_owned(), None, Some(true), Some(1), 2),
        ]
    );
    let many: Vec<String> = (0..2000).map(|number| format!("f{number}")).collect();
    let flags: Vec<(&str, &str, u64)> = many.iter().map(|name| (&**name, "true", 1)).collect();
    becomes(&store, &source, content(5, &flags)).await;
    // One comes after the other, so that with these in force the changes before have been told.
    becomes(&store, &source, content(6, &flags)).await;
    let missed = changes.next().await.unwrap().unwrap_err();
    assert!(missed.0 > 900, "{missed}");
    assert!(changes.next().await.unwrap().is_ok(), "it goes on behind them");
    drop(source);
    while let Some(change) = changes.next().await {
        assert!(change.is_ok());
    }
}

#[tokio::test]
async fn edits_made_after_a_store_came_back_older_are_edits_like_any() {
    let store = Rewound::new(content(10, &[("a", "true", 5), ("y", "true", 1)]));
    let source = Live::connect(store.clone()).await.unwrap();
    becomes(&store, &source, content(5, &[("a", "true", 2), ("y", "true", 1)])).await;
    becomes(&store, &source, content(6, &[("a", "true", 2), ("y", "false", 2)])).await;
    assert!(!is_on(&source, "y"));
    becomes(&store, &source, content(7, &[("a", "true", 2), ("y", "true", 3)])).await;
    assert!(is_on(&source, "y"), "killed and restored while the store still has fewer edits than it had");
    assert_eq!(problems(&source).len(), 1, "which is still reported");
}

#[tokio::test]
async fn a_flag_that_was_switched_off_and_then_removed_is_not_switched_on_by_an_older_copy() {
    let all = |x: &'static str, version| content(version, &[("x", x, version), ("b", "true", 1), ("c", "true", 1)]);
    let store = Rewound::new(all("true", 1));
    let source = Live::connect(store.clone()).await.unwrap();
    becomes(&store, &source, all("false", 2)).await;
    let removed = content(3, &[("b", "true", 1), ("c", "true", 1)]);
    let removed = removed.with_versions([("x", 3), ("b", 1), ("c", 1)]).with_removed(["x"]);
    becomes(&store, &source, removed).await;
    becomes(&store, &source, all("true", 1)).await;
    assert!(!is_on(&source, "x"));
    // Made again on purpose, without an older copy in between, it is on.
    becomes(&store, &source, all("true", 2)).await;
    assert!(is_on(&source, "x"));
}
