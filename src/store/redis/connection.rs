//! Connections: made when they are needed, asked with deadlines, and never used again after anything went wrong.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, ErrorKind as Kind, Pipeline, PushInfo, RedisError, ServerErrorKind, Value};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::server::Server;
use crate::store::error::{Error, ErrorKind};

/// Longest time for connecting, TLS and login together.
const CONNECT: Duration = Duration::from_secs(2);
/// Longest time for an answer.
pub(super) const ANSWER: Duration = Duration::from_secs(2);
/// Longest time for an answer that is a part of everything, some megabytes.
pub(super) const LARGE_ANSWER: Duration = Duration::from_secs(5);
/// How many connections are kept for the next who needs one. More are made, and closed when they are done with.
const IDLE: usize = 2;

/// A connection of one task at a time.
pub(super) struct Connection {
    handle: MultiplexedConnection,
    driver: Driver,
    server: Arc<Server>,
    /// The server's rule for evicting keys, where it would evict flags.
    pub(super) evicts: Option<String>,
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
        Ok(Self { handle, driver, server: Arc::clone(server), evicts: None })
    }

    /// The answers to commands that are sent together. An answer may be an error.
    pub(super) async fn ask(&mut self, commands: &Pipeline, within: Duration) -> Result<Vec<Value>, Error> {
        let answers = self.handle.send_packed_commands(commands, 0, commands.len());
        match timeout(within, answers).await {
            Ok(answers) => answers.map_err(|cause| refused(&self.server.name, cause)),
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
    pub(super) fn odd(&self, to: &str) -> Error {
        Error::new(ErrorKind::Unavailable, format!("redis {}: an odd answer to {to}", self.server.name))
    }

    fn is_open(&self) -> bool {
        !self.driver.0.is_finished()
    }
}

/// Connections that nobody is using.
#[derive(Default)]
pub(super) struct Idle(Mutex<Vec<Connection>>);

impl Idle {
    fn all(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One for the caller alone; whether it is to be used again, the caller says by [`Leased::done`].
    pub(super) async fn lease(&self, server: &Arc<Server>) -> Result<Leased<'_>, Error> {
        let idle = {
            let mut all = self.all();
            all.retain(Connection::is_open);
            all.pop()
        };
        let connection = match idle {
            Some(connection) => connection,
            None => {
                let mut connection = Connection::new(server, None).await?;
                connection.evicts = eviction(&mut connection).await?;
                connection
            }
        };
        Ok(Leased { idle: self, connection: Some(connection) })
    }
}

/// A connection in use.
pub(super) struct Leased<'a> {
    idle: &'a Idle,
    /// There until it is given back.
    connection: Option<Connection>,
}

impl std::ops::Deref for Leased<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection.as_ref().expect("it is given back by value")
    }
}

impl std::ops::DerefMut for Leased<'_> {
    fn deref_mut(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("it is given back by value")
    }
}

impl Leased<'_> {
    /// Everything went well: the next may have it.
    pub(super) fn done(mut self) {
        let mut all = self.idle.all();
        if all.len() < IDLE {
            all.extend(self.connection.take());
        }
        // Else it is closed, and that is no sign of trouble.
        self.connection = None;
    }
}

impl Drop for Leased<'_> {
    fn drop(&mut self) {
        // What went wrong here, or was given up, may be wrong with the others too.
        if self.connection.is_some() {
            self.idle.all().clear();
        }
    }
}

/// How the server evicts keys when its memory is full, where that may cost a flag. A user who may not ask is not
/// told.
async fn eviction(connection: &mut Connection) -> Result<Option<String>, Error> {
    let mut info = Pipeline::with_capacity(1);
    info.cmd("INFO").arg("memory");
    let answers = connection.ask(&info, ANSWER).await?;
    let text = answers.first().and_then(text_of).unwrap_or_default();
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
    let has_limit = field("maxmemory").is_some_and(|limit| limit != "0");
    Ok(field("maxmemory_policy").filter(|policy| has_limit && policy.starts_with("allkeys")).map(str::to_owned))
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

/// What an error of the server means for the caller.
pub(super) fn refused(server: &str, cause: RedisError) -> Error {
    let said = cause.detail().unwrap_or_default();
    // How the versions say that a user may not do something, also from within scripts.
    let not_allowed = ["ACL failure", "no permissions", "can't run this command", "can't access", "the user needs"];
    let is_denied = matches!(cause.kind(), Kind::AuthenticationFailed | Kind::Server(ServerErrorKind::NoPerm))
        || matches!(cause.code(), Some("WRONGPASS" | "NOAUTH" | "NOPERM"))
        || not_allowed.iter().any(|text| said.contains(text));
    if is_denied {
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
    if cause.code() == Some("WRONGTYPE") || said.contains("smaller than the target stream top item") {
        let message = format!("redis {server}: the records of the store are not what was written: {said}");
        return Error::new(ErrorKind::Refused, message + "; restore them from a copy");
    }
    let problem = if cause.is_io_error() { "cannot be reached" } else { "does not do it now" };
    Error::new(ErrorKind::Unavailable, format!("redis {server} {problem}")).caused_by(cause)
}
