//! Flags that are switched off in one process while the store cannot be written.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/rewound.rs"]
mod rewound;

use tower_flags::source::{Layered, Live, Source};
use tower_flags::store::{Author, ErrorKind};

use rewound::{Rewound, becomes, content, is_on};

fn problems(source: &Live) -> Vec<String> {
    source.status().problems.iter().map(ToString::to_string).collect()
}

fn bob() -> Author {
    Author::new("bob").because("INC-17")
}

#[tokio::test]
async fn a_kill_without_the_store_holds_until_the_store_says_the_same() {
    let store = Rewound::new(content(9, &[("checkout", "true", 5), ("search", "true", 4)]));
    let source = Live::connect(store.clone()).await.unwrap();
    let layered = Layered::over(source.clone());
    let mut changes = source.subscribe();
    store.is_down(true);

    let kill = source.kill_here("checkout", &bob()).await.unwrap();
    assert_eq!(
        (&*kill.flag, kill.version, &*kill.by, kill.reason.as_deref()),
        ("checkout", Some(5), "bob", Some("INC-17"))
    );
    assert!(!is_on(&source, "checkout") && is_on(&source, "search"));
    assert_eq!(layered.status().version, 2, "who is built on it has heard");
    let change = changes.next().await.unwrap().unwrap();
    assert_eq!((&*change.flag, change.after.unwrap().is_enabled()), ("checkout", false));
    assert_eq!(source.local_kills(), std::slice::from_ref(&kill));
    assert_eq!(problems(&source).len(), 1);
    assert!(problems(&source)[0].contains("flag \"checkout\"") && problems(&source)[0].contains("by bob"));

    // Back, and nobody has told it: by a resync, by an edit of another flag, by one of this flag.
    store.is_down(false);
    becomes(&store, &source, content(10, &[("checkout", "true", 5), ("search", "false", 5)])).await;
    assert!(!is_on(&source, "checkout") && !is_on(&source, "search"));
    becomes(&store, &source, content(11, &[("checkout", r#"{"percentage": 100}"#, 6), ("search", "false", 5)])).await;
    assert!(!is_on(&source, "checkout"));
    assert!(problems(&source)[0].contains("from version 5 to 6"), "{:?}", problems(&source));
    // What is no flag any more keeps it off too.
    becomes(&store, &source, content(12, &[("checkout", r#"{"percentage": "x"}"#, 7), ("search", "false", 5)])).await;
    becomes(&store, &source, content(13, &[("checkout", r#"{"percentage": 100}"#, 8), ("search", "false", 5)])).await;
    assert!(!is_on(&source, "checkout"));

    becomes(&store, &source, content(14, &[("checkout", "false", 9), ("search", "false", 5)])).await;
    assert_eq!((source.local_kills(), problems(&source)), (vec![], vec![]), "the store says so itself");
    becomes(&store, &source, content(15, &[("checkout", "true", 10), ("search", "false", 5)])).await;
    assert!(is_on(&source, "checkout"), "and so a restore in the store is one here");
}

#[tokio::test]
async fn a_kill_that_is_forgotten_leaves_what_the_store_says() {
    let store = Rewound::new(content(9, &[("checkout", r#"{"percentage": 100}"#, 5), ("off", "false", 1)]));
    let source = Live::connect(store.clone()).await.unwrap();
    source.kill_here("checkout", &bob()).await.unwrap();
    source.kill_here("checkout", &Author::new("carol")).await.unwrap();
    assert_eq!(source.local_kills()[0].by, "carol", "the last one");
    assert_eq!(problems(&source).len(), 1);
    assert!(source.forget_kill("checkout").await);
    assert!(is_on(&source, "checkout"));
    assert_eq!((source.local_kills(), problems(&source)), (vec![], vec![]));
    assert!(!source.forget_kill("checkout").await, "there is none any more");

    source.kill_here("checkout", &bob()).await.unwrap();
    becomes(&store, &source, content(10, &[("checkout", r#"{"allowed_users": ["alice"]}"#, 6), ("off", "false", 1)]))
        .await;
    assert!(source.forget_kill("checkout").await);
    assert!(is_on(&source, "checkout"), "by what the store said meanwhile");
}

#[tokio::test]
async fn what_is_no_flag_cannot_be_killed() {
    let source = Live::connect(Rewound::new(content(1, &[("bad", "[]", 1)]))).await.unwrap();
    for name in ["nothing", "bad", "a b"] {
        let refused = source.kill_here(name, &bob()).await.unwrap_err();
        assert!(refused.to_string().contains("a flag that is in force"), "{refused}");
        assert!(refused.kind() == ErrorKind::Missing && refused.is_unchanged(), "{refused:?}");
    }
    assert_eq!(source.local_kills(), []);
}

#[cfg(feature = "file")]
#[tokio::test]
async fn a_kill_without_the_store_outlives_the_process() {
    let (folder, store) = (tempfile::tempdir().unwrap(), Rewound::new(content(9, &[("checkout", "true", 5)])));
    let path = folder.path().join("flags.backup");
    let connect = || Live::builder(store.clone()).backup(&path).connect();
    let first = connect().await.unwrap();
    store.is_down(true);
    let kill = first.kill_here("checkout", &bob()).await.unwrap();
    drop(first);

    let second = connect().await.unwrap();
    assert!(!is_on(&second, "checkout"));
    assert_eq!(second.local_kills(), [kill]);
    drop(second);

    store.is_down(false);
    let third = connect().await.unwrap();
    assert!(!is_on(&third, "checkout"), "the store knows nothing of it");
    assert!(third.forget_kill("checkout").await);
    assert!(is_on(&third, "checkout"));
    drop(third);
    store.is_down(true);
    let fourth = connect().await.unwrap();
    assert!(is_on(&fourth, "checkout"), "what was forgotten is forgotten");
}

#[tokio::test]
async fn forgetting_a_kill_switches_nothing_on_that_is_held_off_for_another_reason() {
    let store = Rewound::new(content(2, &[("x", "false", 2), ("b", "true", 1)]));
    let source = Live::connect(store.clone()).await.unwrap();
    source.kill_here("x", &bob()).await.unwrap();
    // An older copy, in which the store's own kill is missing.
    becomes(&store, &source, content(1, &[("x", "true", 1), ("b", "true", 1)])).await;
    assert!(!is_on(&source, "x"));
    source.forget_kill("x").await;
    assert!(!is_on(&source, "x"));
}
