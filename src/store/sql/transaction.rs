//! Transactions of PostgreSQL that the server ends when we no longer can.

use sqlx::Postgres;
use sqlx::postgres::PgConnection;

use super::lease::{ANSWER, Connections, Lease, late};
use super::trouble::Trouble;

/// The server's limits for requests that we wait [`ANSWER`] for: a little less, so that the server can say why. They hold
/// within the transaction alone, since the connection may belong to the application or a pooler.
pub(super) const SHORT: &str = "SET LOCAL lock_timeout = '1500ms'; SET LOCAL statement_timeout = '1800ms'; \
     SET LOCAL idle_in_transaction_session_timeout = '5s'";
/// The same for requests that we wait [`WHOLE`](super::lease::WHOLE) for.
const LONG: &str = "SET LOCAL lock_timeout = '1500ms'; SET LOCAL statement_timeout = '4500ms'; \
     SET LOCAL idle_in_transaction_session_timeout = '5s'";
/// Makes sure that an acknowledged edit is on the server's disk. It also works in a read-only database. The search path may
/// prefer functions and operators of another role.
const DURABLE: &str = "SELECT pg_catalog.set_config('synchronous_commit', 'on', true) \
     WHERE pg_catalog.current_setting('synchronous_commit') OPERATOR(pg_catalog.=) 'off'";

/// The purpose of a transaction.
#[derive(Clone, Copy)]
pub(super) enum Purpose {
    /// Reading what is at hand.
    Reading,
    /// Reading all of it.
    ReadingAll,
    Writing,
}

impl Purpose {
    fn begin(self) -> String {
        match self {
            Self::Reading => format!("BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; {SHORT}"),
            Self::ReadingAll => format!("BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; {LONG}"),
            Self::Writing => format!("BEGIN ISOLATION LEVEL READ COMMITTED; {SHORT}; {DURABLE}"),
        }
    }
}

/// A transaction on its own connection. It is rolled back on drop.
pub(super) struct Transaction(Lease<Postgres>);

impl Transaction {
    pub(super) async fn begin(connections: &Connections<Postgres>, what_for: Purpose) -> Result<Self, Trouble> {
        let mut lease = connections.lease().await?;
        let begin = sqlx::raw_sql(sqlx::AssertSqlSafe(what_for.begin()));
        late(ANSWER, begin.execute(lease.connection())).await?;
        Ok(Self(lease))
    }

    /// For statements that begin and end a transaction themselves.
    pub(super) fn over(lease: Lease<Postgres>) -> Self {
        Self(lease)
    }

    pub(super) fn connection(&mut self) -> &mut PgConnection {
        self.0.connection()
    }

    pub(super) async fn commit(mut self) -> Result<(), Trouble> {
        late(ANSWER, sqlx::raw_sql("COMMIT").execute(self.connection())).await?;
        self.0.give_back();
        Ok(())
    }

    /// Undoes its writes, if there are any. The connection is used again if the server has answered so far.
    pub(super) async fn roll_back(mut self) {
        if late(ANSWER, sqlx::raw_sql("ROLLBACK").execute(self.connection())).await.is_ok() {
            self.0.give_back();
        }
    }

    /// Ends it after a failure in it.
    pub(super) async fn fail(self, trouble: &Trouble) {
        // A connection that is silent or lost is closed. An error of ours is about an answer that has arrived.
        if trouble.is_answer::<Postgres>() || matches!(trouble, Trouble::Ours(_)) {
            self.roll_back().await;
        }
    }

    /// Ends it after something was read in it.
    pub(super) async fn end<T>(self, read: Result<T, Trouble>) -> Result<T, Trouble> {
        match &read {
            // All answers have arrived.
            Ok(_) => drop(self.commit().await),
            Err(trouble) => self.fail(trouble).await,
        }
        read
    }
}
