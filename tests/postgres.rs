//! The store in PostgreSQL, and somebody else's table as a feed, on a server that is killed, frozen and written by
//! others.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![cfg(all(feature = "postgres", feature = "testing"))]

#[path = "support/servers.rs"]
mod servers;

use std::sync::{Arc, Mutex, PoisonError, Weak};

use servers::Postgres;
use tower_flags::store::{Feed, PostgresStore};
use tower_flags::testing::{StoreFixture, check_store};

/// The server of all tests that do it no harm; the last one ends it.
fn server() -> Arc<Postgres> {
    static SERVER: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());
    let mut server = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
    server.upgrade().unwrap_or_else(|| {
        let started = Arc::new(Postgres::start());
        *server = Arc::downgrade(&started);
        started
    })
}

/// Databases of their own.
struct Databases {
    server: Arc<Postgres>,
}

impl Databases {
    fn url_of(&self, store: &PostgresStore) -> String {
        format!("postgres://postgres@{}", store.name().strip_prefix("postgres ").unwrap())
    }
}

impl StoreFixture for Databases {
    type Store = PostgresStore;

    async fn fresh(&self) -> PostgresStore {
        PostgresStore::new(&self.server.fresh()).unwrap()
    }

    async fn another(&self, store: &PostgresStore) -> PostgresStore {
        PostgresStore::new(&self.url_of(store)).unwrap()
    }

    async fn restarted(&self, store: PostgresStore) -> PostgresStore {
        // The server itself is killed in a test of its own.
        let url = self.url_of(&store);
        drop(store);
        PostgresStore::new(&url).unwrap()
    }

    async fn write_past(&self, store: &PostgresStore, flag: &str, text: Option<&[u8]>) {
        let statement = match text {
            Some(text) => {
                let text = String::from_utf8(text.to_vec()).unwrap().replace('\'', "''");
                format!(
                    "INSERT INTO tower_flags VALUES ('{flag}', '{text}') \
                     ON CONFLICT (name) DO UPDATE SET definition = excluded.definition"
                )
            }
            None => format!("DELETE FROM tower_flags WHERE name = '{flag}'"),
        };
        self.server.sql(&self.url_of(store), &statement);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL, which tests/run.sh installs"]
async fn the_store_keeps_the_contract() {
    let report = check_store(&Databases { server: server() }).await;
    print!("{report}");
    report.assert_passed();
    assert_eq!(report.skipped().count(), 0, "{report}");
}
