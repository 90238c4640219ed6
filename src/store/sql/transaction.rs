//! Transactions of PostgreSQL that the server ends where we cannot any more.

use sqlx::Postgres;
use sqlx::postgres::PgConnection;

use super::lease::{ANSWER, Connections, Lease, late};
use super::trouble::Trouble;

/// Limits of the server for what is waited for [`ANSWER`]: a little less, so that it can say why. They hold within the
/// transaction alone, since the connection may be the application's, or a pooler's.
pub(super) const SHORT: &str = "SET LOCAL lock_timeout = '1500ms'; SET LOCAL statement_timeout = '1800ms'; \
     SET LOCAL idle_in_transaction_session_timeout = '5s'";
/// The same for what is waited for [`WHOLE`](super::lease::WHOLE).
const LONG: &str = "SET LOCAL lock_timeout = '1500ms'; SET LOCAL statement_timeout = '4500ms'; \
     SET LOCAL idle_in_transaction_session_timeout = '5s'";
/// An edit that was acknowledged is on the server's disk. Where the database is read-only, so is this.
const DURABLE: &str =
    "SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'";

/// What a transaction is for.
#[derive(Clone, Copy)]
pub(super) enum For {
    /// Reading what is at hand.
    Reading,
    /// Reading all of it.
    ReadingAll,
    Writing,
}

impl For {
    fn begin(self) -> String {
        match self {
            Self::Reading => format!("BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; {SHORT}"),
            Self::ReadingAll => format!("BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; {LONG}"),
            Self::Writing => format!("BEGIN ISOLATION LEVEL READ COMMITTED; {SHORT}; {DURABLE}"),
        }
    }
}

/// A transaction on a connection of its own. One that is dropped is rolled back.
pub(super) struct Transaction(Lease<Postgres>);

impl Transaction {
    pub(super) async fn begin(connections: &Connections<Postgres>, what_for: For) -> Result<Self, Trouble> {
        let mut lease = connections.lease().await?;
        let begin = sqlx::raw_sql(sqlx::AssertSqlSafe(what_for.begin()));
        late(ANSWER, begin.execute(lease.connection())).await?;
        Ok(Self(lease))
    }

    /// Of statements that begin and end one by themselves.
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

    /// Undoes what was written, if anything was. The connection goes on where the server has answered so far.
    pub(super) async fn roll_back(mut self) {
        if late(ANSWER, sqlx::raw_sql("ROLLBACK").execute(self.connection())).await.is_ok() {
            self.0.give_back();
        }
    }

    /// Ends it after something failed in it.
    pub(super) async fn fail(self, trouble: &Trouble) {
        // A connection that is silent or lost is closed.
        if trouble.is_answer::<Postgres>() {
            self.roll_back().await;
        }
    }

    /// Ends it after something was read in it.
    pub(super) async fn end<T>(self, read: Result<T, Trouble>) -> Result<T, Trouble> {
        match &read {
            // All that was asked for is here.
            Ok(_) => drop(self.commit().await),
            Err(trouble) => self.fail(trouble).await,
        }
        read
    }
}
