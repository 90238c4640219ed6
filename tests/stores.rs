//! Every store of the crate under the one contract.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![cfg(feature = "testing")]

use tower_flags::Document;
use tower_flags::store::{FeedContent, MemoryStore};
use tower_flags::testing::{StoreFixture, check_store};

struct InMemory;

impl StoreFixture for InMemory {
    type Store = MemoryStore;

    async fn fresh(&self) -> MemoryStore {
        MemoryStore::new()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory() {
    let report = check_store(&InMemory).await;
    print!("{report}");
    report.assert_passed();
    assert_eq!(report.skipped().count(), 4, "{report}");
}

#[test]
fn flags_that_other_services_would_read_otherwise_are_named() {
    let texts = [
        ("by_list", r#"{"enabled": true, "allowed_users": ["a"]}"#),
        ("by_empty_list", r#"{"enabled": true, "enabled_for_users": []}"#),
        ("by_rules", r#"{"rules": [{"when": [{"attribute": "a", "op": "exists"}], "serve": true}]}"#),
        ("killed", r#"{"enabled": false, "allowed_users": ["a"]}"#),
        ("clear", r#"{"enabled": true, "allowed_users": ["a"], "percentage": 0}"#),
        ("planned", r#"{"allowed_users": ["a"], "schedule": [{"at": "2026-12-01T09:00:00Z", "percentage": 1}]}"#),
        ("plain", "true"),
    ];
    let document = Document::from_texts(texts.map(|(name, text)| (name, text.as_bytes()))).unwrap();
    assert_eq!(document.problems(), []);
    let loaded = FeedContent::new(document, "1").shared_with_others();
    let named: Vec<_> = loaded.document.problems().iter().filter_map(|problem| problem.flag.as_deref()).collect();
    assert_eq!(named, ["by_empty_list", "by_list", "by_rules"]);
    assert_eq!(
        loaded.document.problems()[1].to_string(),
        "flag \"by_list\", percentage: expected \"percentage\" beside a list or rules, since others read the same \
         store, found none; it counts as 0 here; some services that read such flags take them for on for everybody"
    );
    assert_eq!(loaded.document.flags().count(), 7, "they are used all the same");
}
