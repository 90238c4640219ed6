//! Somebody leaves a lock in PostgreSQL, on what the stores read, write, or need to connect. They say so, and take
//! no connections from others meanwhile.

use std::sync::Arc;
use std::time::Duration;

use sqlx::{Connection, Executor, PgConnection};
use tokio::task::block_in_place;
use tokio::time::{Instant, sleep};
use tower_flags::store::Feed;

use crate::counted::{Counter, PROMISED};
use crate::dose::dose;
use crate::fleet::Fleet;
use crate::hasty::Hasty;
use crate::places::{Kind, Server};
use crate::servers::Postgres;

const PROCESSES: usize = 4;

/// How often a store is read, so that two minutes of resyncs take some seconds.
const EVERY: Duration = Duration::from_millis(300);

/// Four processes and an editor, while somebody holds a lock.
async fn locked(lock: &str, lasts: Duration) -> Result<(), String> {
    let server = block_in_place(|| Postgres::start_with(&["max_connections=40"]));
    let counter = Counter::start(Kind::Postgres, Server::address(&server));
    let feeds = (0..PROCESSES).map(|_| Arc::new(Hasty(server.open(None), EVERY)) as Arc<dyn Feed>).collect();
    let fleet = Fleet::start(server.open(None), feeds).await;
    fleet.edits(10).await?;

    let mut theirs = PgConnection::connect(&server.url()).await.unwrap();
    let mut watching = PgConnection::connect(&server.url()).await.unwrap();
    theirs.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(format!("BEGIN; {lock}")))).await.unwrap();
    let start = Instant::now();
    while start.elapsed() < lasts {
        // What the server forks is counted too before it has found out who asks.
        let backends = block_in_place(|| server.backends());
        let most = (PROCESSES + 1) * PROMISED as usize + 3;
        if backends > most {
            return Err(format!("{backends} connections after {:?}, expected at most {most}", start.elapsed()));
        }
        watching.execute("SELECT 1").await.map_err(|error| error.to_string())?;
        sleep(Duration::from_millis(50)).await;
    }
    theirs.execute("ROLLBACK").await.unwrap();
    fleet.edits(10).await?;
    // Attempts that failed have made the waits longer.
    fleet.is_current_within(Duration::from_secs(31)).await?;
    fleet.is_fresh_within(Duration::from_secs(31)).await?;
    fleet.end().await?;
    counter.end()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs PostgreSQL, which tests/run.sh installs"]
async fn a_lock_that_somebody_leaves_costs_no_connection_of_others() {
    let lasts = Duration::from_secs(dose(12, 120) as u64);
    let running = [
        "LOCK TABLE tower_flags IN ACCESS EXCLUSIVE MODE",
        "LOCK TABLE tower_flags_head IN ACCESS EXCLUSIVE MODE",
        "LOCK TABLE tower_flags_history IN EXCLUSIVE MODE",
        // Connecting waits, and everybody has to connect.
        "LOCK TABLE pg_catalog.pg_authid IN ACCESS EXCLUSIVE MODE; \
         SELECT pg_terminate_backend(pid) FROM pg_stat_get_activity(NULL) WHERE application_name LIKE 'store_%'",
    ]
    .map(|lock| (lock, tokio::spawn(locked(lock, lasts))));
    let mut outcomes = Vec::new();
    for (lock, running) in running {
        outcomes.push((lock, running.await.unwrap_or_else(|panic| Err(panic.to_string()))));
    }
    assert!(outcomes.iter().all(|(_, outcome)| outcome.is_ok()), "{outcomes:#?}");
}
