//! The store: settings, and what a [`Store`] does.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use redis::{Pipeline, Script, ServerErrorKind, Value, cmd};
use tokio::time::{Instant, sleep};

use super::condition::{CutOff, condition, setting};
use super::connection::{ANSWER, AwaitsDisk, DISK, IdleConnections, LeasedConnection, bytes_of, on, text_of};
use super::key_content::{KeyContent, Pair, SwitchTo, a};
use super::keys::{Keys, Prefixes, entry_of, head_of, head_text, version_of, version_text};
use super::load::Content;
use super::notices::Tracking;
use super::server::Server;
use crate::document::{MAX_FLAG, Problem, is_name};
use crate::error::{Error, ErrorKind, without_values};
use crate::store::commit::{Commit, Stored};
use crate::store::feed::{BoxFuture, Condition, Feed, FeedContent, Notices};
use crate::store::history::{HistoryEntry, HistoryPage};
use crate::store::history_keys::HistoryKeys;
use crate::store::parsing::Parsing;
use crate::store::recent::RecentEdits;
use crate::store::traits::{Capabilities, Store, identity_of};

/// How many entries of the history are read in one go.
const ENTRIES: usize = 100;
/// How often one flag is read again because it was changed meanwhile.
const ATTEMPTS: usize = 10;
/// How long a server that came back without edits is given until the processes that made them have written them again.
const WRITTEN_AGAIN: Duration = Duration::from_secs(2);
/// How often it is asked in that time.
const ASK_EVERY: Duration = Duration::from_millis(20);

/// Flags in Redis: see the [module](super). Clones are one store.
#[derive(Clone)]
pub struct RedisStore {
    shared: Arc<Shared>,
}

struct Shared {
    name: String,
    server: Arc<Server>,
    keys: Keys,
    idle: IdleConnections,
    /// The last known end of the history, and the run of the server.
    newest: Mutex<(u64, Option<Arc<str>>)>,
    cut_off: CutOff,
    /// Whether an edit was not on the disk in time, and the user may not ask for the policy.
    is_unsynced: AtomicBool,
    recent: RecentEdits,
    history_keys: Option<HistoryKeys>,
    parsing: Parsing,
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").field("name", &self.shared.name).finish_non_exhaustive()
    }
}

/// Settings of a [`RedisStore`].
#[must_use = "a builder does nothing until it builds"]
pub struct RedisStoreBuilder {
    url: String,
    prefixes: Prefixes,
    authorities: Option<Vec<u8>>,
    allows_plaintext: bool,
    history_keys: Option<HistoryKeys>,
}

impl fmt::Debug for RedisStoreBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL holds the password.
        f.debug_struct("RedisStoreBuilder").field("prefixes", &self.prefixes).finish_non_exhaustive()
    }
}

impl RedisStoreBuilder {
    /// What the keys of definitions begin with; `ff:` unless set. It ends with `:`, which no flag's name has.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefixes.flags = prefix.into();
        self
    }

    /// What the keys of plain switches begin with, whose values are `true` and `false`; `feature:` unless set. It ends
    /// with `:`, too.
    pub fn switch_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefixes.switches = Some(prefix.into());
        self
    }

    /// Reads no plain switches.
    pub fn without_switches(mut self) -> Self {
        self.prefixes.switches = None;
        self
    }

    /// Certificates of the authorities, in PEM, from one of which the server's has to come; unless set, those that
    /// this machine trusts.
    pub fn authorities(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.authorities = Some(pem.into());
        self
    }

    /// Says that the password and the flags may cross the network in plain text. Without it, a password in a `redis://` URL
    /// is a problem in the status, unless the host is this machine. It changes nothing about the connection.
    ///
    /// ```
    /// use tower_flags::store::{Feed, RedisStore};
    ///
    /// let url = "redis://shop:secret@redis.internal";
    /// assert_eq!(RedisStore::new(url)?.setup_problems().len(), 1);
    /// assert!(RedisStore::builder(url).allow_plaintext().build()?.setup_problems().is_empty());
    /// # Ok::<(), tower_flags::Error>(())
    /// ```
    pub fn allow_plaintext(mut self) -> Self {
        self.allows_plaintext = true;
        self
    }

    /// Chains the history with keys, so that a client without them cannot rewrite it: see [`HistoryKeys`].
    /// Without them, unless set.
    pub fn history_keys(mut self, keys: HistoryKeys) -> Self {
        self.history_keys = Some(keys);
        self
    }

    /// The store. Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// A URL that is none, a prefix that does not end with `:`, prefixes that cover each other, or no certificates of
    /// authorities for TLS.
    pub fn build(self) -> Result<RedisStore, Error> {
        let mut server = Server::new(&self.url, self.authorities.as_deref())?;
        server.plaintext.take_if(|_| self.allows_plaintext);
        let server = Arc::new(server);
        let keys = Keys::new(self.prefixes)?;
        let name = format!("redis {} {}", server.name, keys.prefix());
        let history_keys = self.history_keys;
        let shared = Arc::new_cyclic(|shared: &Weak<Shared>| {
            let shared = shared.clone();
            let store = move || Some(Arc::new(RedisStore { shared: shared.upgrade()? }) as Arc<dyn Store>);
            Shared {
                name,
                server,
                keys,
                idle: IdleConnections::default(),
                newest: Mutex::default(),
                cut_off: CutOff::default(),
                is_unsynced: AtomicBool::new(false),
                recent: RecentEdits::new(store),
                history_keys,
                parsing: Parsing::default(),
            }
        });
        Ok(RedisStore { shared })
    }
}

impl RedisStore {
    /// The flags at `ff:{name}`, and the plain switches at `feature:{name}`, of the server with this URL:
    /// `redis://user:password@host:6379/0`, or `rediss://` for TLS. Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// A URL that is none, or no certificates of authorities for TLS on this machine.
    pub fn new(url: &str) -> Result<Self, Error> {
        Self::builder(url).build()
    }

    /// Settings before that.
    pub fn builder(url: &str) -> RedisStoreBuilder {
        RedisStoreBuilder {
            url: url.to_owned(),
            prefixes: Prefixes::default(),
            authorities: None,
            allows_plaintext: false,
            history_keys: None,
        }
    }
}

impl Shared {
    async fn connection(&self) -> Result<LeasedConnection<'_>, Error> {
        self.idle.lease(&self.server).await
    }

    /// Both keys of a flag, and what the store knows of it.
    async fn read(&self, connection: &mut LeasedConnection<'_>, name: &str) -> Result<(Pair, Stored), Error> {
        for _ in 0..ATTEMPTS {
            if let Some(read) = self.try_to_read(connection, name).await? {
                return Ok(read);
            }
        }
        let message = format!("{} changes faster than it can be read", self.name);
        Err(Error::new(ErrorKind::Unavailable, message))
    }

    /// `None` where it was changed meanwhile. No transaction: a server refuses those when it is short of memory.
    async fn try_to_read(
        &self,
        connection: &mut LeasedConnection<'_>,
        name: &str,
    ) -> Result<Option<(Pair, Stored)>, Error> {
        let mut version = on("HGET", &self.keys.versions);
        version.arg(name);
        let mut commands = Pipeline::with_capacity(9);
        commands.add_command(on("GET", &self.keys.head)).add_command(version);
        let keys = [Some(self.keys.flag(name)), self.keys.switch(name)];
        // Nothing else can be asked of what is no flag's name: the head, by those who want to know only that.
        for key in keys.iter().flatten().filter(|_| is_name(name)) {
            let mut range = on("GETRANGE", key);
            range.arg(0).arg(MAX_FLAG);
            commands.add_command(on("TYPE", key)).add_command(on("STRLEN", key)).add_command(range);
        }
        commands.add_command(on("GET", &self.keys.head));
        let mut answers = connection.ask(&commands, ANSWER).await?;
        let head_after = answers.pop();
        let [head, version, held @ ..] = &answers[..] else { return Err(connection.odd("GET")) };
        if head_after.as_ref() != Some(head) {
            return Ok(None);
        }
        let record = |answer: &Value, key: &str| match answer {
            Value::Nil => Ok(None),
            answer => {
                let answer = connection.checked(answer.clone())?;
                text_of(&answer).map(|text| Some(text.to_owned())).ok_or_else(|| unreadable(key))
            }
        };
        let head = record(head, &self.keys.head)?;
        let head = head_of(head.as_deref()).ok_or_else(|| unreadable(&self.keys.head))?;
        let version = record(version, &self.keys.versions)?;
        let version = version_of(version.as_deref()).ok_or_else(|| unreadable(&self.keys.versions))?;
        let mut pair = Pair::default();
        for (held, answers) in [&mut pair.flag, &mut pair.switch].into_iter().zip(held.chunks_exact(3)) {
            // Errors are those of another type, which the type tells; or of missing permission.
            let kind = connection.checked(answers[0].clone())?;
            match KeyContent::of(&kind, &answers[1], &answers[2]) {
                Some(found) => *held = found,
                None => {
                    for answer in &answers[1..] {
                        connection.checked(answer.clone())?;
                    }
                    return Ok(None);
                }
            }
        }
        for (held, key) in [&pair.flag, &pair.switch].into_iter().zip(keys.iter().flatten()) {
            if let KeyContent::Other(kind) = held {
                let problem = Problem::new("a string", a(kind)).of_flag(name).in_source(key);
                let help = format!("an edit would destroy it: move it away, or DEL {key}");
                return Err(Error::refused(problem.with_help(help)));
            }
        }
        let run = connection.run.clone();
        let stored =
            Stored { definition: pair.definition(name), version: version.0, content: version.1.to_owned(), head, run };
        self.saw(stored.head.number, &stored.run);
        Ok(Some((pair, stored)))
    }

    /// Remembers where the history ends.
    fn saw(&self, number: u64, run: &Option<Arc<str>>) {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        // The end of an earlier run counts until a load has waited for it.
        if number >= newest.0 || newest.1 == *run {
            *newest = (number, run.clone());
        }
    }

    /// If a killed server came back without edits that were seen, waits some time for the processes that made them to
    /// write them again. Otherwise the rules go back to older ones.
    async fn await_lost_edits(&self, connection: &mut LeasedConnection<'_>, mut number: u64) -> Result<bool, Error> {
        let (newest, run) = self.newest.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if number >= newest || connection.run == run {
            self.saw(number, &connection.run);
            return Ok(false);
        }
        let deadline = Instant::now() + WRITTEN_AGAIN;
        while number < newest && Instant::now() < deadline {
            sleep(ASK_EVERY).await;
            let head = connection.ask_one(on("GET", &self.keys.head), ANSWER).await?;
            number = head_of(text_of(&head)).unwrap_or_default().number;
        }
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = (number, connection.run.clone());
        Ok(true)
    }

    async fn commit(&self, commit: &Commit) -> Result<bool, Error> {
        // Until the script is sent, it is certain that nothing was changed.
        commit.begin_preparing();
        let mut connection = self.connection().await.map_err(Error::unchanged)?;
        // What is there now, byte for byte: the text that is expected may be made of two.
        let read = self.read(&mut connection, &commit.flag).await;
        let (pair, mut stored) = read.map_err(Error::unchanged)?;
        if commit.expected.run.is_none() {
            stored.run = None;
        }
        if stored != commit.expected || !commit.begin_sending() {
            return Ok(false);
        }
        self.look_at_disk(&mut connection).await.map_err(Error::unchanged)?;
        let is_made = self.write(&mut connection, commit, &pair).await?;
        if is_made {
            self.await_disk(&mut connection).await?;
        }
        Ok(is_made)
    }

    /// Lets edits wait for the disk again where the last one on this connection has arrived there after all.
    async fn look_at_disk(&self, connection: &mut LeasedConnection<'_>) -> Result<(), Error> {
        if connection.awaits_disk == AwaitsDisk::Unsynced && is_synced(&wait_aof(connection, 0, Duration::ZERO).await?)
        {
            connection.awaits_disk = AwaitsDisk::Yes;
            self.is_unsynced.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Waits until the server has on its disk what was written on this connection, where it can tell.
    async fn await_disk(&self, connection: &mut LeasedConnection<'_>) -> Result<(), Error> {
        if connection.awaits_disk == AwaitsDisk::Unknown {
            connection.awaits_disk = match policy(connection).await? {
                // It leaves syncing to the machine then, and waiting takes half a minute.
                Some(policy) if policy == "no" => AwaitsDisk::No,
                None if self.is_unsynced.load(Ordering::Relaxed) => AwaitsDisk::Unsynced,
                _ => AwaitsDisk::Yes,
            };
        }
        if connection.awaits_disk != AwaitsDisk::Yes {
            return Ok(());
        }
        match wait_aof(connection, 1, DISK).await? {
            answer if is_synced(&answer) => Ok(()),
            Value::Array(_) => {
                // Syncing may have been turned off meanwhile.
                connection.awaits_disk = AwaitsDisk::Unknown;
                if policy(connection).await?.is_none() {
                    connection.awaits_disk = AwaitsDisk::Unsynced;
                    self.is_unsynced.store(true, Ordering::Relaxed);
                }
                let message =
                    format!("{}: the edit was made, but is not on the server's disk after {DISK:?}", self.name);
                Err(Error::new(ErrorKind::InDoubt, message))
            }
            Value::ServerError(error) => {
                let is_off = error.details().is_some_and(|said| said.contains("appendonly"));
                connection.awaits_disk = if is_off { AwaitsDisk::Unknown } else { AwaitsDisk::No };
                Ok(())
            }
            _ => Err(connection.odd("WAITAOF")),
        }
    }

    async fn write(&self, connection: &mut LeasedConnection<'_>, commit: &Commit, pair: &Pair) -> Result<bool, Error> {
        let (keys, Commit { flag, expected, definition, version, content, entries, head, .. }) = (&self.keys, commit);
        // Without plain switches there is no such key, and the one that is named in its place is only read.
        let switch_key = keys.switch(flag);
        let write = |run: &str, script: &str| {
            let mut run = cmd(run);
            run.arg(script).arg(6).arg(keys.flag(flag)).arg(switch_key.as_deref().unwrap_or(&keys.changes));
            run.arg(&keys.versions).arg(&keys.head).arg(&keys.history).arg(&keys.entries).arg(flag);
            for held in [&pair.flag, &pair.switch] {
                match held {
                    KeyContent::Text { length, bytes } => run.arg(*length).arg(bytes),
                    _ => run.arg(-1).arg(""),
                };
            }
            run.arg(version_text(expected.version, &expected.content)).arg(head_text(&expected.head));
            run.arg(version_text(*version, content)).arg(head_text(head));
            match definition {
                Some(text) => run.arg("set").arg(text),
                None => run.arg("del").arg(""),
            };
            match pair.switch_beside(flag, definition.as_deref()) {
                SwitchTo::Becomes(text) => run.arg("set").arg(text),
                SwitchTo::Goes => run.arg("del").arg(""),
                SwitchTo::Stays => run.arg("keep").arg(""),
            };
            run.arg(&keys.changes).arg(format!("{flag} {version}"));
            for entry in entries {
                run.arg(entry.number).arg(serde_json::to_string(entry).expect("texts and numbers are JSON"));
            }
            run
        };
        let script = script();
        let mut by_digest = Pipeline::with_capacity(1);
        by_digest.add_command(write("EVALSHA", script.get_hash()));
        let mut answer = connection.ask(&by_digest, ANSWER).await?.pop().unwrap_or_default();
        // The server forgets scripts when it restarts, or is told to.
        if matches!(&answer, Value::ServerError(error) if error.kind() == Some(ServerErrorKind::NoScript)) {
            let mut whole = Pipeline::with_capacity(1);
            whole.add_command(write("EVAL", SCRIPT));
            answer = connection.ask(&whole, ANSWER).await?.pop().unwrap_or_default();
        }
        match connection.edited(answer)? {
            Value::Int(1) => Ok(true),
            Value::Int(0) => Ok(false),
            _ => Err(connection.odd("the script of an edit")),
        }
    }

    /// At most `limit` entries before this number, newest first, and before which number there may be more. An entry that
    /// was removed from the stream hides no older ones.
    async fn entries(
        &self,
        connection: &mut LeasedConnection<'_>,
        flag: Option<&str>,
        before: Option<u64>,
        limit: usize,
    ) -> Result<(Vec<HistoryEntry>, Option<u64>), Error> {
        let (found, mut last) = match flag {
            None => {
                let mut range = on("XREVRANGE", &self.keys.history);
                range.arg(before.map_or("+".to_owned(), |before| format!("({before}-0"))).arg("-");
                range.arg("COUNT").arg(limit);
                (vec![connection.ask_one(range, ANSWER).await?], None)
            }
            Some(flag) => {
                let mut range = on("ZREVRANGEBYLEX", &self.keys.entries);
                let end = before.map_or(format!("({flag}!"), |before| format!("({}", entry_of(flag, before)));
                range.arg(end).arg(format!("[{flag} ")).arg("LIMIT").arg(0).arg(limit);
                let numbers = connection.ask_one(range, ANSWER).await?;
                let Value::Array(numbers) = numbers else { return Err(connection.odd("ZREVRANGEBYLEX")) };
                let (mut ranges, mut last) = (Pipeline::with_capacity(numbers.len()), None);
                for number in &numbers {
                    let number = text_of(number).and_then(|member| member.rsplit(' ').next()?.parse::<u64>().ok());
                    let number = number.ok_or_else(|| unreadable(&self.keys.entries))?;
                    ranges.add_command(on("XRANGE", &self.keys.history)).arg(number).arg(number);
                    last = Some(number);
                }
                let found = if numbers.is_empty() { Vec::new() } else { connection.ask(&ranges, ANSWER).await? };
                (found, last.filter(|_| numbers.len() == limit))
            }
        };
        let mut entries = Vec::new();
        for answer in found {
            let Value::Array(found) = connection.checked(answer)? else { return Err(connection.odd("XRANGE")) };
            for entry in &found {
                entries.push(self.entry(entry)?);
            }
        }
        if flag.is_none() && entries.len() == limit {
            last = entries.last().map(|entry| entry.number);
        }
        Ok((entries, last))
    }

    /// One entry of the stream: its id, and its fields with their values.
    fn entry(&self, entry: &Value) -> Result<HistoryEntry, Error> {
        let (id, fields) = match entry {
            Value::Array(entry) => (entry.first().and_then(text_of), entry.get(1)),
            _ => (None, None),
        };
        let text = match fields {
            Some(Value::Array(fields)) => fields.get(1).and_then(bytes_of),
            Some(Value::Map(fields)) => fields.first().and_then(|(_, text)| bytes_of(text)),
            _ => None,
        };
        let text = text.ok_or_else(|| unreadable(&self.keys.history))?;
        let mut entry: HistoryEntry = serde_json::from_slice(text)
            .map_err(|cause| unreadable(&self.keys.history).caused_by(without_values(&cause)))?;
        // Its place decides, so that pages follow each other whatever a changed text says. Its digest shows the change.
        if let Some(number) = id.and_then(|id| id.split_once('-')?.0.parse().ok()) {
            entry.number = number;
        }
        Ok(entry)
    }

    async fn history(&self, page: &HistoryPage) -> Result<Vec<HistoryEntry>, Error> {
        if page.before == Some(0) {
            // For which the server has no word.
            return Ok(Vec::new());
        }
        let mut connection = self.connection().await?;
        let (mut entries, mut before): (Vec<HistoryEntry>, _) = (Vec::new(), page.before);
        while entries.len() < page.limit {
            let limit = ENTRIES.min(page.limit - entries.len());
            let (found, last) = self.entries(&mut connection, page.flag.as_deref(), before, limit).await?;
            entries.extend(found);
            if last.is_none() {
                break;
            }
            before = last;
        }
        Ok(entries)
    }
}

/// The `appendfsync` of the server; `None` where the user may not ask.
async fn policy(connection: &mut LeasedConnection<'_>) -> Result<Option<String>, Error> {
    let mut ask = Pipeline::with_capacity(1);
    ask.cmd("CONFIG").arg("GET").arg("appendfsync");
    Ok(connection.ask(&ask, ANSWER).await?.pop().as_ref().and_then(setting))
}

/// The answer of the server when so many of its disks, 0 or 1, have what was written on this connection, or after this
/// time.
async fn wait_aof(connection: &mut LeasedConnection<'_>, disks: u8, within: Duration) -> Result<Value, Error> {
    let mut wait = Pipeline::with_capacity(1);
    wait.cmd("WAITAOF").arg(disks).arg(0).arg(within.as_millis() as u64);
    Ok(connection.ask(&wait, within + ANSWER).await?.pop().unwrap_or_default())
}

/// Whether the server's disk has it, by the answer to `WAITAOF`.
fn is_synced(answer: &Value) -> bool {
    matches!(answer, Value::Array(counts) if matches!(counts.first(), Some(Value::Int(1..))))
}

const SCRIPT: &str = include_str!("script.lua");

/// The script with its digest, which is computed once.
fn script() -> &'static Script {
    static ONCE: OnceLock<Script> = OnceLock::new();
    ONCE.get_or_init(|| Script::new(SCRIPT))
}

/// A record of ours that is not what we write.
fn unreadable(key: &str) -> Error {
    let problem = Problem::new("the records of the store", "something else").in_source(key);
    Error::refused(problem.with_help("restore the key from a copy"))
}

impl Feed for RedisStore {
    fn name(&self) -> &str {
        &self.shared.name
    }

    fn load<'a>(&'a self, known: Option<&'a str>) -> BoxFuture<'a, Result<Option<FeedContent>, Error>> {
        Box::pin(async move {
            // A server that cannot be reached is not asked twice.
            drop(self.shared.connection().await?);
            // What it has lost is written again before it is read.
            let lost = self.shared.recent.problems(self).await;
            let mut connection = self.shared.connection().await?;
            let mut content = Content::read(&mut connection, &self.shared.keys).await?;
            if let Some(number) = content.number()
                && self.shared.await_lost_edits(&mut connection, number).await?
            {
                content = Content::read(&mut connection, &self.shared.keys).await?;
            }
            drop(connection);
            let (shared, known) = (Arc::clone(&self.shared), known.map(str::to_owned));
            // A large document takes a while, and other requests are served on this thread.
            let loaded = self.shared.parsing.run(&self.shared.name, move || {
                // They are not part of what all processes share, but the caller has to see that they have changed.
                let said: String = lost.iter().map(|problem| format!(" {problem}")).collect();
                let revision = content.revision() + &said;
                if known.as_ref() == Some(&revision) {
                    return Ok(None);
                }
                let mut loaded = content.loaded(revision, &shared.keys)?;
                loaded.document.problems.splice(0..0, lost);
                Ok(Some(loaded))
            });
            loaded.await?
        })
    }

    fn subscribe(&self) -> BoxFuture<'_, Result<Box<dyn Notices>, Error>> {
        Box::pin(async {
            let reports = self.shared.recent.reports();
            let tracking = Tracking::start(&self.shared.server, &self.shared.keys, reports).await?;
            Ok(Box::new(tracking) as Box<dyn Notices>)
        })
    }

    fn identity(&self) -> BoxFuture<'_, Result<Option<String>, Error>> {
        Box::pin(identity_of(self))
    }

    fn setup_problems(&self) -> Vec<Problem> {
        self.shared.server.plaintext.iter().cloned().collect()
    }

    fn condition(&self) -> BoxFuture<'_, Result<Condition, Error>> {
        Box::pin(async {
            let mut connection = self.shared.connection().await?;
            let is_unsynced = self.shared.is_unsynced.load(Ordering::Relaxed);
            condition(&mut connection, &self.shared.cut_off, is_unsynced).await
        })
    }
}

impl Store for RedisStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities { is_shared: true, is_durable: true, has_notices: true, has_foreign_writers: true }
    }

    fn read<'a>(&'a self, flag: &'a str) -> BoxFuture<'a, Result<Stored, Error>> {
        Box::pin(async move {
            let mut connection = self.shared.connection().await?;
            let (_, stored) = self.shared.read(&mut connection, flag).await?;
            Ok(stored)
        })
    }

    fn commit<'a>(&'a self, commit: &'a Commit) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(self.shared.commit(commit))
    }

    fn history<'a>(&'a self, page: &'a HistoryPage) -> BoxFuture<'a, Result<Vec<HistoryEntry>, Error>> {
        Box::pin(self.shared.history(page))
    }

    fn recent_edits(&self) -> Option<&RecentEdits> {
        Some(&self.shared.recent)
    }

    fn history_keys(&self) -> Option<&HistoryKeys> {
        self.shared.history_keys.as_ref()
    }
}
