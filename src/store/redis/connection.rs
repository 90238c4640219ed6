//! Connections: made when they are needed, asked with deadlines, and never used again after anything went wrong.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, ErrorKind as Kind, Pipeline, PushInfo, RedisError, ServerErrorKind, Value};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::server::Server;
use crate::error::{Error, ErrorKind};

/// Longest time for connecting, TLS and login together.
const CONNECT: Duration = Duration::from_secs(2);
/// Longest time for an answer.
pub(super) const ANSWER: Duration = Duration::from_secs(2);
/// Longest time for an answer that is a part of everything, some megabytes.
pub(super) const LARGE_ANSWER: Duration = Duration::from_secs(5);
/// How long an edit that is made waits until the server has it on its disk: less than a change takes at most.
pub(super) const DISK: Duration = Duration::from_secs(4);
/// How many connections are kept for the next who needs one. More are made, and closed when they are done with.
const IDLE: usize = 2;

/// A connection of one task at a time.
pub(super) struct Connection {
    handle: MultiplexedConnection,
    driver: Driver,
    server: Arc<Server>,
    /// Whether the next task can use it: every answer has arrived, and each was a valid Redis answer.
    is_in_order: bool,
    /// Which run of the server this is, if the user may ask: a restart or a failover begins another.
    pub(super) run: Option<Arc<str>>,
    /// Whether edits on this connection wait until the server has them on its disk.
    pub(super) awaits_disk: AwaitsDisk,
}

/// Whether the server can tell when an edit is on its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AwaitsDisk {
    /// Not asked yet on this connection.
    Unknown,
    Yes,
    /// An edit on this connection was not synced in time, or one before it, and the user may not ask for the policy.
    Unsynced,
    /// It has no `WAITAOF`, has no append-only file, or never syncs it by itself.
    No,
}

/// The task that reads and writes; ends with this value.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Connection {
    /// Connects. `pushed` gets what the server says without being asked, and when the connection has ended.
    pub(super) async fn new(
        server: &Arc<Server>,
        pushed: Option<Box<dyn Fn(PushInfo) + Send + Sync>>,
    ) -> Result<Self, Error> {
        let connecting = async {
            let stream = server.stream().await.map_err(RedisError::from)?;
            let mut config = AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
            if let Some(pushed) = pushed {
                config = config.set_push_sender(move |push| {
                    pushed(push);
                    Ok::<(), ()>(())
                });
            }
            MultiplexedConnection::new_with_config(&server.login, stream, config).await
        };
        let (handle, driver) = match timeout(CONNECT, connecting).await {
            Ok(connected) => connected.map_err(|cause| refused(&server.name, cause))?,
            Err(_) => return Err(late(&server.name, CONNECT)),
        };
        let driver = Driver(tokio::spawn(driver));
        let server = Arc::clone(server);
        Ok(Self { handle, driver, server, is_in_order: true, run: None, awaits_disk: AwaitsDisk::Unknown })
    }

    /// The answers to commands that are sent together. An answer may be an error.
    pub(super) async fn ask(&mut self, commands: &Pipeline, within: Duration) -> Result<Vec<Value>, Error> {
        // Until all of them are there, also where waiting for them is given up.
        self.is_in_order = false;
        let answers = self.handle.send_packed_commands(commands, 0, commands.len());
        match timeout(within, answers).await {
            Ok(Ok(answers)) => {
                self.is_in_order = true;
                Ok(answers)
            }
            Ok(Err(cause)) => Err(refused(&self.server.name, cause)),
            Err(_) => Err(late(&self.server.name, within)),
        }
    }

    /// The answer to one command, which may not be an error.
    pub(super) async fn ask_one(&mut self, command: Cmd, within: Duration) -> Result<Value, Error> {
        let mut pipeline = Pipeline::with_capacity(1);
        pipeline.add_command(command);
        let answer = self.ask(&pipeline, within).await?.pop();
        self.checked(answer.unwrap_or_default())
    }

    /// An answer that may not be an error.
    pub(super) fn checked(&self, answer: Value) -> Result<Value, Error> {
        answer.extract_error().map_err(|cause| refused(&self.server.name, cause))
    }

    /// An answer that no Redis server gives.
    pub(super) fn odd(&mut self, to: &str) -> Error {
        self.is_in_order = false;
        Error::new(ErrorKind::Unavailable, format!("redis {}: an odd answer to {to}", self.server.name))
    }

    /// The answer of the script of an edit, which may be an error, as the caller gets it.
    pub(super) fn edited(&mut self, answer: Value) -> Result<Value, Error> {
        answer.extract_error().map_err(|cause| {
            // Another server is the primary by now: a new connection may reach it.
            self.is_in_order = cause.kind() != Kind::Server(ServerErrorKind::ReadOnly);
            rejected(&self.server.name, cause)
        })
    }

    fn is_open(&self) -> bool {
        !self.driver.0.is_finished()
    }
}

/// Connections that nobody is using.
#[derive(Default)]
pub(super) struct IdleConnections(Mutex<Vec<Connection>>);

impl IdleConnections {
    fn all(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection for the caller alone.
    pub(super) async fn lease(&self, server: &Arc<Server>) -> Result<LeasedConnection<'_>, Error> {
        let idle = {
            let mut all = self.all();
            all.retain(Connection::is_open);
            all.pop()
        };
        let connection = match idle {
            Some(connection) => connection,
            None => {
                let mut connection = Connection::new(server, None).await?;
                connection.run = run_of(&mut connection).await?;
                connection
            }
        };
        Ok(LeasedConnection { idle: self, connection: Some(connection) })
    }
}

/// A connection in use.
pub(super) struct LeasedConnection<'a> {
    idle: &'a IdleConnections,
    /// There until this is dropped.
    connection: Option<Connection>,
}

impl std::ops::Deref for LeasedConnection<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection.as_ref().expect("it is there until this is dropped")
    }
}

impl std::ops::DerefMut for LeasedConnection<'_> {
    fn deref_mut(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("it is there until this is dropped")
    }
}

impl Drop for LeasedConnection<'_> {
    fn drop(&mut self) {
        let mut all = self.idle.all();
        match self.connection.take() {
            Some(connection) if connection.is_in_order => {
                if all.len() < IDLE {
                    all.push(connection);
                }
            }
            // A failed or abandoned connection suggests that the others are broken too.
            _ => all.clear(),
        }
    }
}

/// Which run of the server this is; `None` if the user may not ask.
async fn run_of(connection: &mut Connection) -> Result<Option<Arc<str>>, Error> {
    let mut info = Pipeline::with_capacity(1);
    info.cmd("INFO").arg("server");
    let answers = connection.ask(&info, ANSWER).await?;
    let text = answers.first().and_then(text_of).unwrap_or_default();
    Ok(field(text, "run_id").map(Arc::from))
}

/// A field in the answer to `INFO`.
pub(super) fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// A command on one key.
pub(super) fn on(command: &str, key: &str) -> Cmd {
    let mut command = redis::cmd(command);
    command.arg(key);
    command
}

/// The bytes of a text, `None` for anything else.
pub(super) fn bytes_of(answer: &Value) -> Option<&[u8]> {
    match answer {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text.as_bytes()),
        _ => None,
    }
}

pub(super) fn text_of(answer: &Value) -> Option<&str> {
    std::str::from_utf8(bytes_of(answer)?).ok()
}

fn late(server: &str, within: Duration) -> Error {
    Error::new(ErrorKind::Unavailable, format!("redis {server}: no answer within {within:?}"))
}

/// The meaning of an error for a caller who reads.
pub(super) fn refused(server: &str, cause: RedisError) -> Error {
    let said = cause.detail().unwrap_or_default();
    if is_denied(&cause) {
        return Error::new(ErrorKind::Denied, format!("redis {server}: not allowed: {said}"));
    }
    let is_cluster = matches!(
        cause.kind(),
        Kind::Server(
            ServerErrorKind::Moved | ServerErrorKind::Ask | ServerErrorKind::CrossSlot | ServerErrorKind::ClusterDown
        )
    );
    if is_cluster {
        let message = format!("redis {server}: expected a server of its own, found a Redis Cluster");
        return Error::new(ErrorKind::Configuration, message).caused_by(cause);
    }
    if cause.kind() == Kind::RESP3NotSupported || said.contains("unknown command") || said.contains("NOPROTO") {
        let message = format!("redis {server}: expected Redis 6 or newer");
        return Error::new(ErrorKind::Configuration, message).caused_by(cause);
    }
    if said.contains("DB index is out of range") {
        let message = format!("redis {server}: the server has no database of this number");
        return Error::new(ErrorKind::Configuration, message).caused_by(cause);
    }
    if are_records_broken(&cause) {
        let message = format!("redis {server}: the records of the store are not what was written: {said}");
        return Error::new(ErrorKind::Refused, message + "; restore them from a copy");
    }
    let problem = if cause.is_io_error() { "cannot be reached" } else { "does not do it now" };
    Error::new(ErrorKind::Unavailable, format!("redis {server} {problem}")).caused_by(cause)
}

/// The meaning of an error that the server answered to the script of an edit. The script has then written nothing.
fn rejected(server: &str, cause: RedisError) -> Error {
    let said = cause.detail().unwrap_or_default().to_owned();
    let store = format!("redis {server}");
    if is_denied(&cause) {
        let message = format!("{store}: nothing was changed, because this is not allowed: {said}");
        return Error::new(ErrorKind::Denied, message).unchanged();
    }
    if are_records_broken(&cause) {
        let because = format!("the records of the store are not what was written: {said}; restore them from a copy");
        return Error::new(ErrorKind::Refused, format!("{store}: nothing was changed, because {because}")).unchanged();
    }
    // Before 7.0 the code of an error within a script is part of its text.
    let is = |code: &str| cause.code() == Some(code) || said.contains(&format!("-{code} "));
    let (because, is_permanent) = if is("OOM") {
        ("the server is out of memory: raise maxmemory or free memory", false)
    } else if is("READONLY") {
        ("the server is a replica: edits have to go to its primary", true)
    } else if is("MISCONF") {
        ("the server cannot write to its disk", false)
    } else if is("NOREPLICAS") {
        ("the server has fewer good replicas than min-replicas-to-write", false)
    } else if is("LOADING") {
        ("the server is still loading its data", false)
    } else if is("BUSY") {
        ("the server is busy with a script of another client", false)
    } else if is("MASTERDOWN") {
        ("the server is a replica that has lost its primary", true)
    } else if matches!(cause.code(), Some("MOVED" | "ASK" | "CROSSSLOT" | "CLUSTERDOWN")) {
        ("the server is part of a Redis Cluster, which is not supported", true)
    } else {
        ("the server answered with an error", false)
    };
    let error = Error::rejected(&store, because).caused_by(cause);
    if is_permanent { error.permanent() } else { error }
}

/// Whether the server does not accept the user, or denies it a permission.
fn is_denied(cause: &RedisError) -> bool {
    let said = cause.detail().unwrap_or_default();
    // The wording of missing permissions in different versions, also within scripts.
    let not_allowed = ["ACL failure", "no permissions", "can't run this command", "can't access", "the user needs"];
    matches!(cause.kind(), Kind::AuthenticationFailed | Kind::Server(ServerErrorKind::NoPerm))
        || matches!(cause.code(), Some("WRONGPASS" | "NOAUTH" | "NOPERM"))
        || not_allowed.iter().any(|text| said.contains(text))
}

fn are_records_broken(cause: &RedisError) -> bool {
    let said = cause.detail().unwrap_or_default();
    cause.code() == Some("WRONGTYPE") || said.contains("smaller than the target stream top item")
}
