//! The store in an SQLite file, and somebody else's table as a feed, beside other writers of the file.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![cfg(all(feature = "sqlite", feature = "testing"))]

use std::path::{Path, PathBuf};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};
use tempfile::TempDir;
use tower_flags::store::SqliteStore;
use tower_flags::testing::{StoreFixture, check_store};

/// Files in a temporary folder.
struct Files {
    folder: TempDir,
    count: std::sync::atomic::AtomicU32,
}

impl Files {
    fn new() -> Self {
        Self { folder: TempDir::new().unwrap(), count: Default::default() }
    }

    fn path(&self) -> PathBuf {
        let number = self.count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.folder.path().join(format!("{number}.db"))
    }
}

fn path_of(store: &SqliteStore) -> PathBuf {
    use tower_flags::store::Feed;

    PathBuf::from(store.name().strip_prefix("sqlite ").unwrap())
}

async fn open(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path).connect().await.unwrap()
}

impl StoreFixture for Files {
    type Store = SqliteStore;

    async fn fresh(&self) -> SqliteStore {
        SqliteStore::at(self.path())
    }

    async fn another(&self, store: &SqliteStore) -> SqliteStore {
        SqliteStore::at(path_of(store))
    }

    async fn restarted(&self, store: SqliteStore) -> SqliteStore {
        let path = path_of(&store);
        drop(store);
        SqliteStore::at(path)
    }

    async fn write_past(&self, store: &SqliteStore, flag: &str, text: Option<&[u8]>) {
        let mut theirs = open(&path_of(store)).await;
        let query = match text {
            Some(text) => sqlx::query(
                "INSERT INTO tower_flags VALUES (?1, CAST(?2 AS TEXT)) \
                 ON CONFLICT (name) DO UPDATE SET definition = excluded.definition",
            )
            .bind(flag)
            .bind(text.to_vec()),
            None => sqlx::query("DELETE FROM tower_flags WHERE name = ?").bind(flag),
        };
        query.execute(&mut theirs).await.unwrap();
        theirs.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_keeps_the_contract() {
    let report = check_store(&Files::new()).await;
    print!("{report}");
    report.assert_passed();
    assert_eq!(report.skipped().count(), 0, "{report}");
}
