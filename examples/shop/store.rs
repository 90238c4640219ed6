//! Where the rules are: the store at a URL.

use std::error::Error;
use std::sync::Arc;

use tower_flags::store::{SqliteStore, Store};

/// The store at a URL: `sqlite:shop.db`, or `redis://…` and `postgres://…` with their cargo features.
pub(crate) fn at(url: &str) -> Result<Arc<dyn Store>, Box<dyn Error>> {
    match url.split(':').next().unwrap_or_default() {
        "sqlite" => Ok(Arc::new(SqliteStore::new(url)?)),
        #[cfg(feature = "redis")]
        "redis" | "rediss" => Ok(Arc::new(tower_flags::store::RedisStore::new(url)?)),
        #[cfg(feature = "postgres")]
        "postgres" | "postgresql" => Ok(Arc::new(tower_flags::store::PostgresStore::new(url)?)),
        other => Err(format!(
            "expected a URL of sqlite, redis or postgres, found one of {other:?}; the last two need \
             `--features redis` or `--features postgres`"
        )
        .into()),
    }
}
