//! The condition of the server: whether it can lose flags or edits, whether it is a replica that is cut off, and its
//! clock.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use redis::{Pipeline, ServerErrorKind, Value};

use super::connection::{ANSWER, Connection, DISK, bytes_of, field, text_of};
use crate::document::{Problem, Severity, Timestamp};
use crate::error::Error;
use crate::store::feed::Condition;

/// How often a primary sends something to its replicas, unless configured.
const PING_EVERY: u64 = 10;
/// How much later than that a replica may hear from its primary.
const LATE: u64 = 5;

/// Since when the server has been cut off, if it is a replica.
#[derive(Debug, Default)]
pub(super) struct CutOff(Mutex<Option<Timestamp>>);

/// The server's report of itself. Answers that the user may not ask for are `None`.
struct ServerReport {
    memory: Option<String>,
    persistence: Option<String>,
    replication: Option<String>,
    clock: Option<Timestamp>,
    appendfsync: Option<String>,
    ping_every: Option<u64>,
    waits: WaitAofSupport,
    /// Whether this user may edit, to whom it matters whether edits last.
    can_edit: bool,
}

/// Whether the server has `WAITAOF`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WaitAofSupport {
    Can,
    /// Before Redis 7.2.
    Cannot,
    MayNot,
}

/// What the server says of itself, with what that means for a store. `is_unsynced` says that an edit was not on its disk
/// in time.
pub(super) async fn condition(
    connection: &mut Connection,
    cut_off: &CutOff,
    is_unsynced: bool,
) -> Result<Condition, Error> {
    let said = ServerReport::ask(connection).await?;
    let now = Timestamp::from(SystemTime::now());
    let mut condition = Condition { clock: said.clock, ..Condition::default() };
    condition.problems.extend(said.eviction());
    let replication = said.replication.as_deref().unwrap_or_default();
    if field(replication, "role") == Some("slave") {
        let silent = said.silent_for(replication);
        condition.stale_since = cut_off.since(silent.as_ref().map(|(_, seconds)| before(now, *seconds)));
        condition.problems.extend(silent.map(|(found, _)| {
            let problem = Problem::new("a replica that its primary reaches", found);
            problem.with_help("its flags may be old: kills on the primary do not arrive")
        }));
    } else {
        cut_off.since(None);
        condition.problems.extend(said.durability(is_unsynced));
    }
    Ok(condition)
}

impl CutOff {
    /// Remembers the earliest instant of one silence.
    fn since(&self, found: Option<Timestamp>) -> Option<Timestamp> {
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *since = found.map(|found| since.map_or(found, |earlier| earlier.min(found)));
        *since
    }
}

fn before(now: Timestamp, seconds: u64) -> Timestamp {
    let millis = i64::try_from(Duration::from_secs(seconds).as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_unix_millis(now.unix_millis().saturating_sub(millis))
}

impl ServerReport {
    async fn ask(connection: &mut Connection) -> Result<Self, Error> {
        let mut commands = Pipeline::with_capacity(8);
        for section in ["memory", "persistence", "replication"] {
            commands.cmd("INFO").arg(section);
        }
        commands.cmd("TIME");
        for setting in ["appendfsync", "repl-ping-replica-period"] {
            commands.cmd("CONFIG").arg("GET").arg(setting);
        }
        // Waits for nothing, and runs nothing: asks whether it could be asked.
        commands.cmd("WAITAOF").arg(0).arg(0).arg(1);
        commands.cmd("EVALSHA").arg("0".repeat(40)).arg(0);
        let answers = connection.ask(&commands, ANSWER).await?;
        let answer = |at: usize| answers.get(at).unwrap_or(&Value::Nil);
        let text = |at: usize| text_of(answer(at)).map(str::to_owned);
        Ok(Self {
            memory: text(0),
            persistence: text(1),
            replication: text(2),
            clock: clock(answer(3)),
            appendfsync: setting(answer(4)),
            ping_every: setting(answer(5)).and_then(|seconds| seconds.parse().ok()),
            waits: match answer(6) {
                Value::ServerError(error) if error.details().is_some_and(|said| said.contains("unknown command")) => {
                    WaitAofSupport::Cannot
                }
                Value::ServerError(error) if error.code() == "NOPERM" => WaitAofSupport::MayNot,
                _ => WaitAofSupport::Can,
            },
            can_edit: matches!(answer(7), Value::ServerError(error) if error.kind() == Some(ServerErrorKind::NoScript)),
        })
    }

    /// Flags have no expiry, so a policy for keys with an expiry evicts none. But another program may set an expiry, and
    /// the policy of a cache is seldom meant for flags.
    fn eviction(&self) -> Option<Problem> {
        let memory = self.memory.as_deref()?;
        let policy = field(memory, "maxmemory_policy").filter(|policy| *policy != "noeviction")?;
        let has_limit = field(memory, "maxmemory").is_some_and(|limit| limit != "0");
        let evicts = has_limit && policy.starts_with("allkeys");
        let problem = Problem::new("maxmemory-policy noeviction", format!("maxmemory-policy {policy}"));
        let when = if has_limit { "when its memory is full" } else { "as soon as maxmemory is set" };
        let help = format!("a server with this policy evicts keys {when}: CONFIG SET maxmemory-policy noeviction");
        let severity = if evicts { Severity::Error } else { Severity::Warning };
        Some(Problem { severity, ..problem.with_help(help) })
    }

    /// Whether acknowledged edits survive the death of the server.
    fn durability(&self, is_unsynced: bool) -> Option<Problem> {
        let problem = |found: &str, help: &str| {
            let problem = Problem::new("a server that keeps acknowledged edits when it is killed", found);
            Some(problem.with_help(help))
        };
        let has_file = field(self.persistence.as_deref()?, "aof_enabled")? == "1";
        if !has_file {
            return problem("appendonly no", "CONFIG SET appendonly yes and CONFIG SET appendfsync always");
        }
        match (self.appendfsync.as_deref(), self.waits) {
            (None, WaitAofSupport::Can) if is_unsynced => problem(
                &format!(
                    "an edit that was not on its disk after {DISK:?}, and an appendfsync that this user may not read"
                ),
                "CONFIG SET appendfsync always or everysec; edits do not wait for the disk until one has arrived there",
            ),
            (Some("always"), _) | (Some("everysec") | None, WaitAofSupport::Can) => None,
            (Some("everysec"), WaitAofSupport::MayNot) => problem(
                "appendfsync everysec, and a user who may not call WAITAOF",
                "ACL SETUSER … +waitaof, or CONFIG SET appendfsync always",
            ),
            (Some(policy), _) => problem(
                &format!("appendfsync {policy}"),
                "CONFIG SET appendfsync always, or use Redis 7.2 or newer with everysec, where edits wait for the disk",
            ),
            (None, _) if self.can_edit => problem(
                "an appendfsync that this user may not ask for",
                "set appendfsync always, or let the user call CONFIG GET, or WAITAOF of Redis 7.2 or newer",
            )
            .map(|problem| Problem { severity: Severity::Warning, ..problem }),
            (None, _) => None,
        }
    }

    /// How a replica has lost its primary, and how many seconds ago it last received something.
    fn silent_for(&self, replication: &str) -> Option<(String, u64)> {
        let seconds = |name: &str| field(replication, name).and_then(|text| text.parse::<u64>().ok());
        if field(replication, "master_link_status") != Some("up") {
            // -1 if it never had one.
            return Some((
                "master_link_status:down".to_owned(),
                seconds("master_link_down_since_seconds").unwrap_or(0),
            ));
        }
        let silence = seconds("master_last_io_seconds_ago")?;
        let ping_every = self.ping_every.unwrap_or(PING_EVERY);
        (silence > ping_every + LATE).then(|| (format!("master_last_io_seconds_ago:{silence}"), silence))
    }
}

/// The answer to `TIME`: seconds and microseconds.
fn clock(answer: &Value) -> Option<Timestamp> {
    let Value::Array(parts) = answer else { return None };
    let [seconds, micros] = &parts[..] else { return None };
    let number = |part: &Value| text_of(part)?.parse::<i64>().ok();
    Some(Timestamp::from_unix_millis(number(seconds)?.checked_mul(1000)?.checked_add(number(micros)? / 1000)?))
}

/// The value in the answer to `CONFIG GET` of one setting.
pub(super) fn setting(answer: &Value) -> Option<String> {
    let value = match answer {
        Value::Map(pairs) => pairs.first().map(|(_, value)| value),
        Value::Array(parts) => parts.get(1),
        _ => None,
    };
    value.and_then(bytes_of).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
}
