//! How many connections each store has to PostgreSQL, counted by the server all the time.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sqlx::{Connection, PgConnection};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::places::Kind;

/// What the docs promise of a store: at most four, and one that listens.
pub(crate) const PROMISED: i64 = 5;

/// Asks the server until it is dropped.
pub(crate) struct Counter {
    most: Arc<Mutex<BTreeMap<String, i64>>>,
    counts: Arc<Mutex<u64>>,
    counting: Option<JoinHandle<()>>,
}

impl Counter {
    /// Counts on this server, where it is PostgreSQL.
    pub(crate) fn start(kind: Kind, address: SocketAddr) -> Self {
        let (most, counts) = (Arc::default(), Arc::default());
        let url = (kind == Kind::Postgres).then(|| kind.url(address));
        let counting = url.map(|url| tokio::spawn(count(url, Arc::clone(&most), Arc::clone(&counts))));
        Self { most, counts, counting }
    }

    /// The most connections that any store has had at once, where there are more than the docs promise.
    pub(crate) fn end(self) -> Result<(), String> {
        let (most, counts) = (self.most.lock().unwrap(), *self.counts.lock().unwrap());
        if self.counting.is_some() {
            println!("connections at most, counted {counts} times: {most:?}");
        }
        match most.iter().find(|(_, count)| **count > PROMISED) {
            Some((store, count)) => Err(format!("{store} had {count} connections, and not {PROMISED} at most")),
            None if self.counting.is_some() && most.is_empty() => Err("no connection was counted".to_owned()),
            None => Ok(()),
        }
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        if let Some(counting) = &self.counting {
            counting.abort();
        }
    }
}

/// Goes on where the server is killed and comes back.
async fn count(url: String, most: Arc<Mutex<BTreeMap<String, i64>>>, counts: Arc<Mutex<u64>>) {
    loop {
        if let Ok(mut connection) = PgConnection::connect(&url).await {
            while let Ok(found) = ask(&mut connection).await {
                for (store, count) in found {
                    let mut most = most.lock().unwrap();
                    let before = most.entry(store).or_default();
                    *before = count.max(*before);
                }
                *counts.lock().unwrap() += 1;
                sleep(Duration::from_millis(20)).await;
            }
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// Reads no catalogue, which others may have locked.
async fn ask(connection: &mut PgConnection) -> Result<Vec<(String, i64)>, sqlx::Error> {
    let statement = "SELECT application_name, count(*) FROM pg_stat_get_activity(NULL) \
         WHERE backend_type = 'client backend' AND application_name <> '' GROUP BY 1";
    sqlx::query_as(statement).fetch_all(connection).await
}
