//! Every store of the crate under the one contract.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![cfg(feature = "testing")]

use tower_flags::store::MemoryStore;
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
