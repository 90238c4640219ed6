//! The condition of a PostgreSQL server.

use std::sync::PoisonError;
use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{Postgres, Row};
use tokio::time::sleep;

use super::lease::{ANSWER, late};
use super::postgres_server::Server;
use super::postgres_tables::Schema;
use super::transaction::{Purpose, Transaction};
use super::trouble::Trouble;
use crate::document::{Problem, Timestamp};
use crate::store::{Condition, Error};

/// How far a standby may be behind its primary.
const MAX_LAG: Duration = Duration::from_secs(10);
/// How long a standby has to replay what it has already received.
const REPLAY: Duration = Duration::from_millis(500);
/// The margin for a silent primary, which the receiver asks after half of its timeout.
const HEARD: Duration = Duration::from_secs(5);
const OLDEST: i32 = 140_000;

/// Milliseconds since 1970 of an expression.
macro_rules! millis {
    ($time:literal) => {
        concat!("(extract(epoch FROM ", $time, ") * 1000)::bigint")
    };
}

impl Server {
    pub(super) async fn condition(&self, has_tables: bool) -> Result<Condition, Error> {
        let condition = self.ask(has_tables).await;
        condition.map_err(|trouble| trouble.into_error::<Postgres>(&self.name, "its condition cannot be read"))
    }

    async fn ask(&self, has_tables: bool) -> Result<Condition, Trouble> {
        let mut transaction = Transaction::begin(&self.connections, Purpose::Reading).await?;
        let found = self.ask_in(transaction.connection(), has_tables).await;
        transaction.end(found).await
    }

    async fn ask_in(&self, connection: &mut PgConnection, has_tables: bool) -> Result<Condition, Trouble> {
        const STATEMENT: &str = concat!(
            "SELECT ",
            millis!("clock_timestamp()"),
            ", pg_is_in_recovery(), current_setting('server_version_num')::int, current_setting('server_version'), \
             current_setting('fsync'), current_setting('full_page_writes')"
        );
        let schema = if has_tables { Schema::find(connection).await? } else { None };
        // Operators of another role could be a better match than the system's.
        let path = sqlx::raw_sql("SET LOCAL search_path = pg_catalog, pg_temp");
        late(ANSWER, path.execute(&mut *connection)).await?;
        let row = late(ANSWER, sqlx::query(STATEMENT).fetch_one(&mut *connection)).await?;
        let mut condition =
            Condition { clock: Some(Timestamp::from_unix_millis(row.try_get(0)?)), ..Condition::default() };
        if row.try_get::<i32, _>(2)? < OLDEST {
            let found = row.try_get::<String, _>(3)?;
            let problem = Problem::new("PostgreSQL 14 or later", found);
            condition.problems.push(problem.with_help("install a maintained version"));
        }
        for (column, setting) in [(4, "fsync"), (5, "full_page_writes")] {
            if row.try_get::<String, _>(column)? == "off" {
                let problem = Problem::new(format!("{setting} = on"), format!("{setting} = off"));
                condition.problems.push(problem.with_help(
                    "a crash of the machine can lose or damage acknowledged edits; set it in postgresql.conf",
                ));
            }
        }
        if let Some(schema) = schema {
            condition.problems.extend(wrong_with_the_tables(&mut *connection, &schema).await?);
        }
        if row.try_get(1)? {
            self.follow(&Replay::read(connection).await?, &mut condition);
        }
        Ok(condition)
    }

    /// Reports whether a standby has everything that its primary has, and since when it has not.
    fn follow(&self, replay: &Replay, condition: &mut Condition) {
        let now = Timestamp::now();
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((found, help)) = replay.trouble() else {
            *current = Some(now);
            return;
        };
        // Everything that was committed until then is here.
        let since = current.max(replay.replayed_at(now)).unwrap_or(now).min(now);
        condition.stale_since = Some(since);
        condition.problems.push(Problem::new("a standby that follows its primary", found).with_help(help));
    }
}

/// How a standby follows its primary. All times are by clocks of servers, and may be far from the time of this process.
struct Replay {
    /// What time it was for the standby.
    clock: Timestamp,
    /// It was asked to stand still.
    is_paused: bool,
    has_receiver: bool,
    /// When the receiver last heard from the primary; `None` if this role may not know.
    heard: Option<Timestamp>,
    receiver_timeout: Duration,
    /// Data that was received a while ago is still not replayed.
    is_behind: bool,
    /// When the last replayed transaction was committed.
    replayed: Option<Timestamp>,
}

impl Replay {
    async fn read(connection: &mut PgConnection) -> Result<Self, Trouble> {
        const STATEMENT: &str = concat!(
            "SELECT pg_get_wal_replay_pause_state() <> 'not paused', \
             EXISTS (SELECT FROM pg_stat_wal_receiver), \
             (SELECT ",
            millis!("last_msg_receipt_time"),
            " FROM pg_stat_wal_receiver), ",
            millis!("current_setting('wal_receiver_timeout')::interval"),
            ", pg_last_wal_receive_lsn()::text, ",
            millis!("pg_last_xact_replay_timestamp()"),
            ", ",
            millis!("clock_timestamp()"),
        );
        let row = late(ANSWER, sqlx::query(STATEMENT).fetch_one(&mut *connection)).await?;
        let instant = |column: usize| -> Result<Option<Timestamp>, Trouble> {
            Ok(row.try_get::<Option<i64>, _>(column)?.map(Timestamp::from_unix_millis))
        };
        let received: Option<String> = row.try_get(4)?;
        let mut is_behind = false;
        let mut replayed = instant(5)?;
        if let Some(received) = received {
            // Data that arrives right now needs a moment.
            for pause in [Duration::ZERO, REPLAY] {
                sleep(pause).await;
                let statement = concat!(
                    "SELECT pg_last_wal_replay_lsn() < $1::pg_lsn, ",
                    millis!("pg_last_xact_replay_timestamp()")
                );
                let row = late(ANSWER, sqlx::query(statement).bind(&received).fetch_one(&mut *connection)).await?;
                is_behind = row.try_get::<Option<bool>, _>(0)?.unwrap_or_default();
                replayed = row.try_get::<Option<i64>, _>(1)?.map(Timestamp::from_unix_millis);
                if !is_behind {
                    break;
                }
            }
        }
        Ok(Self {
            clock: Timestamp::from_unix_millis(row.try_get(6)?),
            is_paused: row.try_get(0)?,
            has_receiver: row.try_get(1)?,
            heard: instant(2)?,
            receiver_timeout: Duration::from_millis(row.try_get::<i64, _>(3)?.unsigned_abs()),
            is_behind,
            replayed,
        })
    }

    /// When the last transaction that was replayed was committed, by a clock that says `now`.
    fn replayed_at(&self, now: Timestamp) -> Option<Timestamp> {
        let ahead = now.unix_millis() - self.clock.unix_millis();
        self.replayed.map(|replayed| Timestamp::from_unix_millis(replayed.unix_millis().saturating_add(ahead)))
    }

    /// What is wrong, and what to do.
    fn trouble(&self) -> Option<(String, &'static str)> {
        if self.is_paused {
            return Some((
                "one whose replay is paused".to_owned(),
                "run SELECT pg_wal_replay_resume() on it; until then its flags may be old",
            ));
        }
        if !self.has_receiver {
            return Some((
                "one that receives nothing from it".to_owned(),
                "check its primary_conninfo, its log and the primary; until then its flags may be old",
            ));
        }
        let silence = self.heard.map(|heard| self.clock.saturating_duration_since(heard)).unwrap_or_default();
        if !self.receiver_timeout.is_zero() && silence > self.receiver_timeout / 2 + HEARD {
            let found = format!("one that has heard nothing from it for {} s", silence.as_secs());
            return Some((found, "check the primary and the network; until then its flags may be old"));
        }
        let lag = self.replayed.map_or(Duration::MAX, |replayed| self.clock.saturating_duration_since(replayed));
        if self.is_behind && lag > MAX_LAG {
            return Some((
                "one whose replay lags behind".to_owned(),
                "check it for long queries and recovery_min_apply_delay; until then its flags may be old",
            ));
        }
        None
    }
}

/// Problems of the tables that were changed by hand.
async fn wrong_with_the_tables(connection: &mut PgConnection, schema: &Schema) -> Result<Vec<Problem>, Trouble> {
    let statement = "SELECT c.relname::text, c.relpersistence = 'u', \
         c.relname <> 'tower_flags' OR EXISTS (SELECT FROM pg_trigger t \
             WHERE t.tgrelid = c.oid AND t.tgname = 'tower_flags_notify' AND t.tgenabled IN ('O', 'A')) \
         FROM pg_class c WHERE c.relnamespace = $1::bigint::oid AND c.relkind = 'r' AND c.relname IN \
             ('tower_flags', 'tower_flags_versions', 'tower_flags_history', 'tower_flags_head') ORDER BY 1";
    let rows = late(ANSWER, sqlx::query(statement).bind(schema.oid).fetch_all(connection)).await?;
    let mut problems = Vec::new();
    for row in rows {
        let table: String = row.try_get(0)?;
        if row.try_get(1)? {
            let problem = Problem::new(format!("the table {table} as a logged one"), "an unlogged one");
            let help = format!("a crash of the server empties it: ALTER TABLE {table} SET LOGGED");
            problems.push(problem.with_help(help));
        }
        if !row.try_get::<bool, _>(2)? {
            let problem = Problem::new(format!("the trigger tower_flags_notify on {table}"), "none that is enabled");
            problems.push(problem.with_help(
                "changes are seen only after up to 30 s; run PostgresStore::MIGRATION, or enable the trigger",
            ));
        }
    }
    Ok(problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(from: Timestamp, seconds: i64) -> Timestamp {
        Timestamp::from_unix_millis(from.unix_millis() + 1000 * seconds)
    }

    #[test]
    fn a_standby_is_judged_by_its_own_clock() {
        let now = Timestamp::from_unix_millis(1_800_000_000_000);
        // How far the standby is from this process, in seconds.
        for skew in [-86_400, -36, 0, 36, 86_400] {
            let clock = seconds(now, skew);
            let standby = |silence: i64, is_behind: bool, lag: i64| Replay {
                clock,
                is_paused: false,
                has_receiver: true,
                heard: Some(seconds(clock, -silence)),
                receiver_timeout: Duration::from_secs(60),
                is_behind,
                replayed: Some(seconds(clock, -lag)),
            };
            assert_eq!(standby(34, false, 3600).trouble(), None, "{skew}");
            assert_eq!(standby(1, true, 9).trouble(), None, "{skew}");
            let (found, _) = standby(36, false, 40).trouble().unwrap();
            assert_eq!(found, "one that has heard nothing from it for 36 s", "{skew}");
            let (found, _) = standby(1, true, 11).trouble().unwrap();
            assert_eq!(found, "one whose replay lags behind", "{skew}");
            // The status says since when by this process's clock.
            assert_eq!(standby(36, false, 40).replayed_at(now), Some(seconds(now, -40)), "{skew}");
        }
    }
}
