//! Connections that are used by one task at a time, and never again after something went wrong on them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{ConnectOptions, Connection, Database, Pool};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::trouble::Trouble;

/// How long connecting, and any answer, may take.
pub(super) const ANSWER: Duration = Duration::from_secs(2);
/// How long everything may take that is read at once, and making the tables.
pub(super) const WHOLE: Duration = Duration::from_secs(5);
/// Connections that a store without the application's pool has at most, beside the one that hears of changes.
const MOST: usize = 4;

type Options<DB> = <<DB as Database>::Connection as Connection>::Options;

/// Where connections come from.
pub(super) enum Connections<DB: Database> {
    /// Made when they are needed. A pool of `sqlx` would hide for two seconds that nobody listens, and why.
    Own(Own<DB>),
    /// The application's.
    Pool(Pool<DB>),
}

pub(super) struct Own<DB: Database> {
    options: Options<DB>,
    free: Semaphore,
    idle: Mutex<Vec<DB::Connection>>,
    /// Raised when what is open is of no use any more.
    generation: AtomicU64,
}

impl<DB: Database> Connections<DB> {
    pub(super) fn own(options: Options<DB>) -> Self {
        let (free, idle, generation) = (Semaphore::new(MOST), Mutex::default(), AtomicU64::new(0));
        Self::Own(Own { options, free, idle, generation })
    }

    /// How to connect beside them.
    pub(super) fn options(&self) -> Options<DB> {
        match self {
            Self::Own(own) => own.options.clone(),
            Self::Pool(pool) => Options::<DB>::clone(&pool.connect_options()),
        }
    }

    /// A connection that answers.
    pub(super) async fn lease(&self) -> Result<Lease<'_, DB>, Trouble> {
        let held = match self {
            Self::Own(own) => own.held().await?,
            // Its own limit is for requests of the application, mostly 30 s.
            Self::Pool(pool) => {
                let acquired = timeout(ANSWER, pool.acquire()).await;
                Held::Pooled(acquired.unwrap_or(Err(sqlx::Error::PoolTimedOut))?)
            }
        };
        Ok(Lease { held: Some(held) })
    }

    /// Opens new connections from now on.
    #[cfg(feature = "sqlite")]
    pub(super) fn forget_open(&self) {
        if let Self::Own(own) = self {
            own.generation.fetch_add(1, Ordering::AcqRel);
            own.idle().clear();
        }
    }
}

impl<DB: Database> Own<DB> {
    fn idle(&self) -> MutexGuard<'_, Vec<DB::Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn held(&self) -> Result<Held<'_, DB>, Trouble> {
        let permit = timeout(ANSWER, self.free.acquire()).await.map_err(|_| Trouble::Late(ANSWER))?;
        let generation = self.generation.load(Ordering::Acquire);
        let permit = permit.map_err(|_| sqlx::Error::PoolClosed)?;
        loop {
            let Some(mut idle) = self.idle().pop() else { break };
            // One that the server has closed meanwhile is replaced; one that is silent says that the server is.
            if late(ANSWER, idle.ping()).await.map(|()| true).or_else(Trouble::unless_late)? {
                return Ok(Held::Own { connection: idle, own: self, generation, _permit: permit });
            }
        }
        let connection = late(ANSWER, self.options.connect()).await?;
        Ok(Held::Own { connection, own: self, generation, _permit: permit })
    }
}

/// What is not given back is closed: a connection on which something went wrong, or was not waited for, may
/// still hold an answer to it.
pub(super) struct Lease<'a, DB: Database> {
    held: Option<Held<'a, DB>>,
}

enum Held<'a, DB: Database> {
    Own { connection: DB::Connection, own: &'a Own<DB>, generation: u64, _permit: SemaphorePermit<'a> },
    Pooled(PoolConnection<DB>),
}

impl<DB: Database> Lease<'_, DB> {
    pub(super) fn connection(&mut self) -> &mut DB::Connection {
        match self.held.as_mut().expect("it is held until it is given back") {
            Held::Own { connection, .. } => connection,
            Held::Pooled(connection) => connection,
        }
    }

    /// For the next one; nothing is under way on it.
    pub(super) fn give_back(mut self) {
        match self.held.take() {
            Some(Held::Own { connection, own, generation, .. }) => {
                let mut idle = own.idle();
                if own.generation.load(Ordering::Acquire) == generation {
                    idle.push(connection);
                }
            }
            Some(Held::Pooled(connection)) => drop(connection),
            None => {}
        }
    }
}

impl<DB: Database> Drop for Lease<'_, DB> {
    fn drop(&mut self) {
        if let Some(Held::Pooled(connection)) = self.held.take() {
            drop(connection.detach());
        }
    }
}

/// What comes within this time.
pub(super) async fn late<T>(
    longest: Duration,
    answer: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, Trouble> {
    match timeout(longest, answer).await {
        Ok(outcome) => outcome.map_err(Trouble::from),
        Err(_) => Err(Trouble::Late(longest)),
    }
}
