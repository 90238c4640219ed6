//! Flags in Redis, on real servers.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![cfg(all(feature = "redis", feature = "testing"))]

#[path = "support/servers.rs"]
mod servers;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use servers::Redis;
use tower_flags::store::{Feed, RedisStore};
use tower_flags::testing::{StoreFixture, check_store};

struct OnRedis {
    server: Mutex<Redis>,
    databases: AtomicU32,
}

/// The number of a store's database, from its name.
fn database(store: &RedisStore) -> String {
    store.name().split(['/', ' ']).nth(2).unwrap().to_owned()
}

impl OnRedis {
    fn store(&self, database: &str) -> RedisStore {
        RedisStore::new(format!("{}/{database}", self.server.lock().unwrap().url())).unwrap()
    }
}

impl StoreFixture for OnRedis {
    type Store = RedisStore;

    async fn fresh(&self) -> RedisStore {
        self.store(&self.databases.fetch_add(1, Ordering::Relaxed).to_string())
    }

    async fn another(&self, store: &RedisStore) -> RedisStore {
        self.store(&database(store))
    }

    async fn restarted(&self, store: RedisStore) -> RedisStore {
        let mut server = self.server.lock().unwrap();
        server.kill();
        server.start_again();
        store
    }

    async fn write_past(&self, store: &RedisStore, flag: &str, text: Option<&[u8]>) {
        let key = format!("ff:{flag}");
        let server = self.server.lock().unwrap();
        match text {
            Some(text) => server.command_in(&database(store), &[b"SET", key.as_bytes(), text]),
            None => server.command_in(&database(store), &[b"DEL", key.as_bytes()]),
        };
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis, which tests/run.sh installs"]
async fn contract() {
    let arguments = ["--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--databases", "100"];
    let fixture = OnRedis { server: Mutex::new(Redis::start_with(&arguments)), databases: AtomicU32::new(0) };
    let report = check_store(&fixture).await;
    print!("{report}");
    report.assert_passed();
    assert_eq!(report.skipped().count(), 0, "{report}");
}
