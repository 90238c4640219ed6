//! Stores by their URLs, each opened as another process opens it.
#![allow(dead_code, reason = "each test program uses its own part")]

use std::sync::Arc;

use tower_flags::store::{SqliteStore, Store};

/// Another handle of the store at a URL; `file:` and a path for a document.
pub(crate) fn open(url: &str) -> Arc<dyn Store> {
    match url.split_once(':').unwrap() {
        #[cfg(feature = "redis")]
        ("redis", _) => Arc::new(tower_flags::store::RedisStore::new(url).unwrap()),
        #[cfg(feature = "postgres")]
        ("postgres", _) => Arc::new(tower_flags::store::PostgresStore::new(url).unwrap()),
        #[cfg(feature = "file")]
        ("file", path) => Arc::new(tower_flags::store::FileStore::new(path).unwrap()),
        ("sqlite", _) => Arc::new(SqliteStore::new(url).unwrap()),
        (other, _) => panic!("{other}"),
    }
}
