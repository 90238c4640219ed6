//! The file as a store.

use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use super::feed::{Content, MAX_READS, REPLACED_OUTSIDE, RESYNC, RulesFile, SETTLING, is_replaced_outside};
use super::in_place::{self, Copies, WriteOutcome};
use super::journal::{Journal, JournalEdit, Line, News, append, take_back};
use super::mounted::is_mounted;
use super::replace::{PreparedFile, beside, lock, lock_itself, sync_folder};
use super::text;
use crate::document::{Problem, Severity, utf_8};
use crate::error::{Error, ErrorKind};
use crate::store::commit::{Commit, Stored};
use crate::store::feed::{BoxFuture, Condition, Feed, FeedContent, Notices};
use crate::store::history::{HistoryEntry, HistoryPage, digest_of};
use crate::store::history_keys::HistoryKeys;
use crate::store::random::random_share;
use crate::store::traits::{Capabilities, Store, identity_of};

/// How long another process may hold the lock before an edit is rejected. One edit takes milliseconds.
const LOCKED: Duration = Duration::from_millis(1500);
/// Longest wait for the other edits of this process. Callers give up before, unless they asked for more time.
const WRITTEN: Duration = Duration::from_secs(10);
/// How often to look whether another process has written the file.
const WRITING: Duration = Duration::from_millis(5);
/// Times that others may edit while something is read.
const MAX_ROUNDS: u32 = 1000;

/// A JSON or TOML file as a [`Store`]: the one that [`FileFeed`](super::FileFeed) and
/// [`File`](crate::source::File) read, edited without touching what an edit does not name. Clones are one store.
///
/// ```
/// use tower_flags::store::{Author, Change, FileStore, StoreExt};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("flags.toml");
/// std::fs::write(&path, "# ask payments first\n[flags.checkout]\nenabled = true # since May\npercentage = 10\n")?;
/// let store = FileStore::new(&path)?;
/// store.change("checkout", Change::kill(), &Author::new("alice").because("INC-17")).await?;
/// assert_eq!(
///     std::fs::read_to_string(&path)?,
///     "# ask payments first\n[flags.checkout]\nenabled = false # since May\npercentage = 10\n"
/// );
/// # Ok(())
/// # }
/// ```
///
/// 1. An edit changes the flag's own text in JSON, and in TOML the keys that become other ones. Comments, order
///    and spelling of everything else stay byte for byte. A new flag is written as the last one is; `# end` stays
///    the last line.
/// 2. The text of a flag ([`Stored::definition`]) is the one in a JSON file. A TOML file has none: it is the text
///    that the last edit wrote, as long as the file says the same, and else JSON made of what the file says, with
///    the digits of its numbers. Dates become texts, and so do `inf` and `nan`; they stay what they are
///    where an edit does not change them.
/// 3. What TOML cannot hold is refused: `null` inside of a value, and integers beyond 64 bits. A key of a
///    flag that is `null` is left out.
/// 4. A document that is refused as a whole cannot be edited until somebody has mended it.
///
/// # Where what is
///
/// | file | holds |
/// |---|---|
/// | `flags.json` | the flags; replaced as a whole by a rename, with its permissions, and its owner where that is allowed |
/// | `flags.json.history` | the history: one JSON line for an edit, and one that says that it was made |
/// | `flags.json.lock` | nothing: whoever edits holds a lock on it |
/// | `flags.json.new` | the next content, while an edit is made |
/// | `flags.json.old` | the content before, while a file that is mounted alone is written in place |
///
/// Only the owner of the file of flags may read and write the files beside it when they are made (mode 600), and in addition
/// its group or all others, if these may write the file of flags. Files that are there keep their permissions. A process
/// of another user that may only read the flags is a [`FileFeed`](super::FileFeed).
///
/// Where the path is a link they are beside the file that it leads to, which is the one that is replaced. Edits need
/// permission to write in that folder; loading and reading need none. A ConfigMap that Kubernetes has mounted
/// is read-only: it is a [`FileFeed`](super::FileFeed), and is edited where it comes from. Hard links are not kept.
///
/// # Two processes, and editors
///
/// Any number of processes on one machine may edit through this type: they hold the lock in turn. An editor takes no
/// lock. What it saves is found by comparing the whole file with what the edit was made of, right before the
/// rename: what is saved after that and before the rename, less than a millisecond, is lost. The other way
/// round an editor writes over edits that were made since it opened the file, as it does with everybody else's. Network
/// file systems often have neither locks nor notices, and are not for edits of several machines.
///
/// What was changed by hand is in force within a second, and becomes an entry of an unknown actor when the flag is
/// edited next. In JSON every change of a flag's text counts, also one of white space alone.
///
/// # Edits that are rejected
///
/// An edit ends at once as [`Rejected`](ErrorKind::Rejected) on a full disk, a used-up quota, a read-only file system,
/// missing permissions, or a lock that another process has held for 1.5 s. Nothing was changed, and the history has no
/// line of it. [`Error::is_permanent`] is `true` for permissions and read-only file systems.
///
/// # A file that is mounted alone
///
/// `docker run -v ./flags.json:/app/flags.json` mounts one file, as does a `subPath` of Kubernetes. No rename can replace
/// such a file. The store detects this, writes the file in place, and warns in the status. **Mount the folder instead**,
/// for these reasons:
///
/// * Readers may see a partial file for an instant. They reject it, since its first byte is U+0001 then, which neither
///   JSON nor TOML allows.
/// * The history and the lock are in a folder of the container, and are lost with it. Another container with the same
///   file has a history of its own, in which edits from here are foreign changes. The two take turns by a lock on the
///   file itself.
/// * If the file is replaced outside, this container keeps the old one. The source is stale then, and edits are rejected.
///
/// If the disk has no space for a longer content, the edit is rejected before anything is overwritten.
///
/// # Crashes
///
/// The line of the history is on the disk before the file is replaced. It says what digest the file had before and
/// has after; another line says that it was made. A file that is mounted alone has both contents beside it meanwhile, and
/// the next store that opens it finishes an interrupted edit; a later edit by hand is left alone. After
/// a kill or a power cut in between:
///
/// * a line that was torn off is left out by every reader, and the next edit sets it off;
/// * where the file has the digest of after, the edit was made; where it has the one of before, it was not;
/// * where it has neither, somebody has edited it by hand since. Then the flag itself tells: its text is the one
///   of before, and the edit was not made, or it is not, and the edit counts as made.
///
/// What was found is written into the history, so that it is decided once. An edit that was acknowledged is on the disk.
///
/// # Freshness
///
/// Changes are seen as by a [`FileFeed`](super::FileFeed). What an edit of any process has written is taken at once;
/// a change by another program, once two reads 50 ms apart agree. The first load needs one read of JSON, and of TOML that
/// ends with `# end`. Without the file, or with one that is refused, the last good rules stay.
#[derive(Clone, Debug)]
pub struct FileStore {
    shared: Arc<Shared>,
    keys: Option<HistoryKeys>,
}

#[derive(Debug)]
struct Shared {
    file: RulesFile,
    state: Mutex<State>,
    /// Held while an edit is written, so that edits of this process wait for each other and not for the lock, whose
    /// holder may never give it back.
    writing: Mutex<()>,
    /// Whether a rename over the file failed as it does on a mount.
    is_busy: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    journal: Journal,
    /// The digest of a content that two reads have agreed on.
    settled: String,
}

/// What the file and its journal held at one moment.
#[derive(Debug)]
struct Reading {
    content: Content,
    revision: String,
    /// Of the newest entry of the history.
    number: u64,
    /// Each flag of the journal with its version, and whether its last edit removed it.
    flags: Vec<(String, u64, bool)>,
}

impl Reading {
    fn loaded(self, file: &RulesFile) -> Result<FeedContent, Error> {
        let FeedContent { document, .. } = file.parse(self.content).map_err(Error::refused)?;
        let is_removed = |name: &str, is_empty: bool| is_empty && !document.flags.contains_key(name);
        let removed = self.flags.iter().filter(|(name, _, is_empty)| is_removed(name, *is_empty));
        let removed: Vec<&str> = removed.map(|(name, ..)| &**name).collect();
        let versions = self.flags.iter().map(|(name, version, _)| (&**name, *version));
        let loaded = FeedContent::new(document, self.revision).with_versions(versions).with_removed(removed);
        Ok(loaded.at_sequence(self.number))
    }
}

impl FileStore {
    /// The store in a file at a path that ends with `.json` or `.toml`. Nothing is read yet.
    ///
    /// # Errors
    ///
    /// Another ending, or a path without a file name.
    pub fn new(path: impl AsRef<Path>) -> Result<Self, Error> {
        let file = RulesFile::at(path.as_ref())?;
        Ok(Self {
            shared: Arc::new(Shared {
                file,
                state: Mutex::default(),
                writing: Mutex::default(),
                is_busy: AtomicBool::default(),
            }),
            keys: None,
        })
    }

    /// Chains the history with keys, so that a process without them cannot rewrite it: see [`HistoryKeys`]. Without
    /// them, unless set.
    #[must_use]
    pub fn with_history_keys(mut self, keys: HistoryKeys) -> Self {
        self.keys = Some(keys);
        self
    }

    /// Like [`new`](Self::new), and makes a file without flags where there is none. A file that went missing is
    /// therefore a store without flags: a service that only reads should use [`new`](Self::new).
    ///
    /// # Errors
    ///
    /// The same, and where the file cannot be made.
    pub async fn create(path: impl AsRef<Path>) -> Result<Self, Error> {
        let store = Self::new(path)?;
        store.run(|shared| shared.create()).await?;
        Ok(store)
    }

    /// Runs what blocks where it may.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let shared = Arc::clone(&self.shared);
        let outcome = tokio::task::spawn_blocking(move || work(&shared)).await;
        outcome.unwrap_or_else(|error| Err(self.shared.file.given_up(error)))
    }
}

impl Feed for FileStore {
    fn name(&self) -> &str {
        &self.shared.file.name
    }

    fn load<'a>(&'a self, known: Option<&'a str>) -> BoxFuture<'a, Result<Option<FeedContent>, Error>> {
        let known = known.map(str::to_owned);
        Box::pin(async move {
            let Some(reading) = self.run(move |shared| shared.reading(known.as_deref())).await? else {
                return Ok(None);
            };
            let (shared, file) = (Arc::clone(&self.shared), &self.shared.file);
            file.parsing.run(&file.name, move || reading.loaded(&shared.file)).await?.map(Some)
        })
    }

    fn subscribe(&self) -> BoxFuture<'_, Result<Box<dyn Notices>, Error>> {
        Box::pin(std::future::ready(self.shared.file.watched()))
    }

    fn condition(&self) -> BoxFuture<'_, Result<Condition, Error>> {
        Box::pin(self.run(|shared| shared.condition()))
    }

    fn resync_every(&self) -> Duration {
        RESYNC
    }

    fn identity(&self) -> BoxFuture<'_, Result<Option<String>, Error>> {
        Box::pin(identity_of(self))
    }
}

impl Store for FileStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities { is_shared: true, is_durable: true, has_notices: true, has_foreign_writers: true }
    }

    fn read<'a>(&'a self, flag: &'a str) -> BoxFuture<'a, Result<Stored, Error>> {
        let flag = flag.to_owned();
        Box::pin(self.run(move |shared| {
            let (state, content) = shared.snapshot()?;
            shared.stored(&state.journal, &content, &flag)
        }))
    }

    fn commit<'a>(&'a self, commit: &'a Commit) -> BoxFuture<'a, Result<bool, Error>> {
        // The thread goes on where the future is dropped.
        commit.begin_preparing();
        let commit = commit.clone();
        Box::pin(self.run(move |shared| shared.commit(&commit)))
    }

    fn history<'a>(&'a self, page: &'a HistoryPage) -> BoxFuture<'a, Result<Vec<HistoryEntry>, Error>> {
        let page = page.clone();
        Box::pin(self.run(move |shared| {
            let (mut state, _) = shared.snapshot()?;
            if let Ok(found) = state.journal.page(&page) {
                return Ok(found);
            }
            // Changed in place since it was read: where its lines are has to be found again.
            state.journal = Journal::default();
            drop(state);
            let (state, _) = shared.snapshot()?;
            state.journal.page(&page).map_err(|error| shared.unreadable_history(error))
        }))
    }

    fn history_keys(&self) -> Option<&HistoryKeys> {
        self.keys.as_ref()
    }
}

/// The right to edit a file, and the file.
struct Turn {
    /// The file itself, where the path is a link.
    target: PathBuf,
    like: Metadata,
    is_mounted: bool,
    _locks: [Option<std::fs::File>; 2],
}

impl Turn {
    fn history(&self) -> PathBuf {
        beside(&self.target, "history")
    }
}

/// The content that a commit makes, and the one that it was made from.
struct Edit<'a> {
    before: &'a Content,
    after: &'a [u8],
}

/// The next content beside the file.
enum NextContent {
    Renamed(PreparedFile),
    InPlace(Copies),
}

impl Edit<'_> {
    fn prepared(&self, turn: &Turn) -> io::Result<NextContent> {
        let Turn { target, like, is_mounted, .. } = turn;
        if *is_mounted {
            Copies::new(target, like, &self.before.bytes, self.after).map(NextContent::InPlace)
        } else {
            PreparedFile::for_file(target, "new", like, self.after).map(NextContent::Renamed)
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Whatever was taken in halfway is compared with the files before it is used.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file itself, where the path is a link.
    fn target(&self) -> Result<PathBuf, Error> {
        std::fs::canonicalize(&self.file.path).map_err(|error| {
            Error::new(ErrorKind::Unavailable, format!("{} cannot be read", self.file.name)).caused_by(error)
        })
    }

    fn create(&self) -> Result<(), Error> {
        use std::io::Write;

        let text = match self.file.format {
            crate::document::Format::Json => "{\n  \"flags\": {\n  }\n}\n",
            crate::document::Format::Toml => "[flags]\n\n# end\n",
        };
        let path = &self.file.path;
        let made = std::fs::OpenOptions::new().write(true).create_new(true).open(path).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            sync_folder(path)
        });
        match made {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(self.rejected("it cannot be made", error))
            }
            _ => Ok(()),
        }
    }

    /// History and file as they are at one moment. Nobody is kept from editing meanwhile: where somebody has,
    /// both are read again.
    fn glance(&self) -> Result<(MutexGuard<'_, State>, Content), Error> {
        let mut reads = 0;
        let is_first = self.file.is_first();
        for _ in 0..MAX_ROUNDS {
            let history = beside(&self.target()?, "history");
            let mut state = self.state();
            let mut catch_up = || state.journal.catch_up(&history).map_err(|error| self.unreadable_history(error));
            catch_up()?;
            let content = self.file.read_blocking()?;
            if catch_up()? == News::Some {
                continue;
            }
            if state.settled == content.digest || state.journal.knows(&content.digest) {
                return Ok((state, content));
            }
            if is_first && reads == 0 && self.file.is_whole(&content) {
                state.settled.clone_from(&content.digest);
                return Ok((state, content));
            }
            drop(state);
            // A writer that writes in place is seen halfway; two equal reads say that it is done.
            reads += 1;
            if reads == MAX_READS {
                break;
            }
            std::thread::sleep(SETTLING);
            if self.file.read_blocking()?.digest == content.digest {
                self.state().settled = content.digest;
            }
        }
        let message = format!("{} changes faster than it can be read", self.file.name);
        Err(Error::new(ErrorKind::Unavailable, message))
    }

    /// The same, with every edit of the history decided upon.
    fn snapshot(&self) -> Result<(MutexGuard<'_, State>, Content), Error> {
        let start = Instant::now();
        loop {
            let (mut state, content) = self.glance()?;
            let Some(pending) = state.journal.pending() else { return Ok((state, content)) };
            if pending.file_after == content.digest {
                state.journal.decide(true);
                return Ok((state, content));
            }
            drop(state);
            // Another process is making it right now and holds the lock, or was killed during it.
            let is_decided = self.decide();
            let (mut state, content) = self.glance()?;
            let Some(pending) = state.journal.pending() else { return Ok((state, content)) };
            if content.is_unfinished() {
                drop(state);
                if start.elapsed() < LOCKED {
                    std::thread::sleep(WRITING);
                    continue;
                }
                let error = Error::new(ErrorKind::Unavailable, format!("{}: an edit is not finished", self.file.name));
                return Err(match is_decided {
                    Ok(()) => error,
                    Err(cause) => error.caused_by(cause),
                });
            }
            let is_made = self.is_made(pending, &content);
            if is_made == Some(true) {
                state.journal.decide(true);
            } else if let Err(error) = is_decided {
                tracing::debug!(source = self.file.name, "the history cannot be mended: {}", error.chain());
            }
            return Ok((state, content));
        }
    }

    /// Decides on an edit whose process was killed over it, and writes that down; nothing where somebody has the
    /// lock.
    fn decide(&self) -> Result<(), Error> {
        let Some(turn) = self.turn(Duration::ZERO)? else { return Ok(()) };
        let (mut state, content) = self.glance()?;
        self.decide_in_turn(&mut state.journal, content, &turn).map(drop)
    }

    /// The same, but also finishes a half-written file; returns the content after that.
    fn decide_in_turn(&self, journal: &mut Journal, mut content: Content, turn: &Turn) -> Result<Content, Error> {
        let Some(pending) = journal.pending() else { return Ok(content) };
        let JournalEdit { file_before, file_after, .. } = pending;
        if ![file_before, file_after].contains(&&content.digest) {
            in_place::finish(&turn.target, &content.bytes, file_before, file_after).map_err(|cause| {
                let message = format!("{}: an interrupted edit cannot be finished", self.file.name);
                Error::new(ErrorKind::Unavailable, message).caused_by(cause)
            })?;
            content = self.file.read_blocking()?;
        }
        let Some(is_made) = self.is_made(pending, &content) else { return Ok(content) };
        let head = pending.head();
        let number = head.number;
        tracing::warn!(source = self.file.name, number, is_made, "an edit was broken off, and is decided upon now");
        self.append(turn, &if is_made { Line::Applied(head) } else { Line::NotApplied(head) })?;
        journal.decide(is_made);
        in_place::remove_copies(&turn.target);
        Ok(content)
    }

    /// Whether an edit has come to be in the file; `None` where that cannot be read.
    fn is_made(&self, edited: &JournalEdit, content: &Content) -> Option<bool> {
        if edited.file_after == content.digest {
            return Some(true);
        }
        if edited.file_before == content.digest {
            return Some(false);
        }
        let (first, last) = (edited.entries.first()?, edited.entries.last()?);
        let format = self.file.format;
        let found = text::flag(utf_8(&content.bytes).ok()?, format, &first.flag).ok()?;
        let is = |text: &Option<String>| match (text, &found) {
            (Some(text), Some(found)) => text::is_what_became_of(text, found, format),
            (text, found) => text.is_none() && found.is_none(),
        };
        Some(is(&last.after) || !is(&last.before))
    }

    /// What a load has to parse; `None` where nothing has changed since `known`.
    fn reading(&self, known: Option<&str>) -> Result<Option<Reading>, Error> {
        let (state, content) = self.snapshot()?;
        let head = state.journal.head();
        let (number, digest) = (head.number, &head.digest);
        let revision = digest_of(format!("{} {number} {digest}", content.digest).as_bytes());
        if known == Some(revision.as_str()) {
            return Ok(None);
        }
        if let Some(problem) = self.file.refused_before(&content.digest) {
            return Err(Error::refused(problem));
        }
        let flags =
            state.journal.flags().map(|(name, known)| (name.to_owned(), known.version, known.content.is_empty()));
        let flags = flags.collect();
        Ok(Some(Reading { content, revision, number, flags }))
    }

    fn stored(&self, journal: &Journal, content: &Content, flag: &str) -> Result<Stored, Error> {
        let head = journal.head().clone();
        if flag.is_empty() {
            return Ok(Stored { head, ..Stored::default() });
        }
        let format = self.file.format;
        let found = utf_8(&content.bytes).and_then(|file| text::flag(file, format, flag));
        let mut definition = found.map_err(|problem| self.refused(problem))?;
        let known = journal.flag(flag);
        if let (Some(found), Some(known)) = (&definition, known)
            && !known.content.is_empty()
            && known.content != digest_of(found.as_bytes())
        {
            let written = journal.last_text(known).map_err(|error| self.unreadable_history(error))?;
            let written = written.filter(|written| text::is_what_became_of(written, found, format));
            definition = written.or(definition);
        }
        let (version, content) = known.map(|known| (known.version, known.content.clone())).unwrap_or_default();
        Ok(Stored { definition, version, content, head, run: None })
    }

    fn commit(&self, commit: &Commit) -> Result<bool, Error> {
        // Until the file is written nothing is in doubt.
        let Some(_writing) = self.writing() else {
            let because = format!("an earlier edit of this process has not been written for {WRITTEN:?}");
            return Err(Error::rejected(&self.file.name, because));
        };
        let turn = self.turn(LOCKED).map_err(Error::unchanged)?;
        let Some(turn) = turn else { return self.locked_out(commit) };
        if is_replaced_outside(&turn.target, &turn.like) {
            return Err(Error::rejected(&self.file.name, REPLACED_OUTSIDE).permanent());
        }
        let content = {
            let (mut state, content) = self.glance().map_err(Error::unchanged)?;
            let content = self.decide_in_turn(&mut state.journal, content, &turn).map_err(Error::unchanged)?;
            let stored = self.stored(&state.journal, &content, &commit.flag).map_err(Error::unchanged)?;
            if stored != commit.expected {
                return Ok(false);
            }
            content
        };
        let edited = self.edited(&content, commit).map_err(|problem| self.refused(problem.of_flag(&commit.flag)))?;
        let edit = Edit { before: &content, after: edited.as_bytes() };
        let prepared = edit
            .prepared(&turn)
            .map_err(|error| self.rejected("its next content cannot be written beside it", error))?;
        let line = Line::Edit(JournalEdit {
            file_before: content.digest.clone(),
            file_after: digest_of(edit.after),
            digest: Some(commit.head.digest.clone()),
            entries: commit.entries.clone(),
        });
        if !commit.begin_sending() {
            return Ok(false);
        }
        let added = line.text().and_then(|line| append(&turn.history(), &turn.like, &line, true));
        let before = added.map_err(|error| self.rejected("its history cannot be written", error))?;
        let made = self.make(&edit, prepared, &turn);
        match &made {
            // The digests say the same; this stays true whatever later happens to the file.
            Ok(true) => self.append(&turn, &Line::Applied(commit.head.clone())).unwrap_or_else(|error| {
                tracing::warn!(source = self.file.name, "{}", error.chain());
            }),
            Err(error) if error.kind() != ErrorKind::Rejected => {}
            Ok(false) | Err(_) => {
                if take_back(&turn.history(), before).is_err() {
                    // It is decided on later, in the same way.
                    let _ = self.append(&turn, &Line::NotApplied(commit.head.clone()));
                }
            }
        }
        made
    }

    /// Replaces the content that the next one was made from; `false` if the file has changed since.
    fn make(&self, edit: &Edit<'_>, prepared: NextContent, turn: &Turn) -> Result<bool, Error> {
        let target = &turn.target;
        if !self.file.read_blocking().is_ok_and(|now| now.digest == edit.before.digest) {
            return Ok(false);
        }
        let copies = match prepared {
            NextContent::Renamed(next) => match next.persist(target) {
                Ok(()) => {
                    // The edit is made, and the next read finds it.
                    return sync_folder(target).map(|()| true).map_err(|cause| {
                        let message = format!("{}: its folder cannot be synced after an edit", self.file.name);
                        Error::new(ErrorKind::Unavailable, message).caused_by(cause)
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy && !self.is_busy.load(Ordering::Relaxed) => {
                    // A mount that the system has not reported: the next attempt writes in place.
                    self.is_busy.store(true, Ordering::Relaxed);
                    return Ok(false);
                }
                Err(error) => return Err(self.rejected("it cannot be replaced", error)),
            },
            NextContent::InPlace(copies) => copies,
        };
        match copies.persist(target, &edit.before.bytes, edit.after) {
            WriteOutcome::Whole if self.file.read_blocking().is_ok_and(|now| now.digest == digest_of(edit.after)) => {
                Ok(true)
            }
            // The flag itself shows the outcome.
            WriteOutcome::Whole => {
                let message = format!("{}: another program has written it at the same time", self.file.name);
                Err(Error::new(ErrorKind::Unavailable, message))
            }
            WriteOutcome::Undone(error) => Err(self.rejected("it cannot be written", error)),
            WriteOutcome::Broken(error) => {
                let message =
                    format!("{}: it is half written, and will be finished when that is possible", self.file.name);
                Err(Error::new(ErrorKind::Unavailable, message).caused_by(error))
            }
        }
    }

    fn edited(&self, content: &Content, commit: &Commit) -> Result<String, Problem> {
        let before = utf_8(&content.bytes)?;
        text::with_flag(before, self.file.format, &commit.flag, commit.definition.as_deref())
    }

    fn append(&self, turn: &Turn, line: &Line) -> Result<(), Error> {
        let added = line.text().and_then(|line| append(&turn.history(), &turn.like, &line, false));
        added.map(drop).map_err(|error| self.rejected("its history cannot be written", error))
    }

    /// The right to edit; `None` where another process has it for the whole time.
    fn turn(&self, within: Duration) -> Result<Option<Turn>, Error> {
        let target = self.target()?;
        let like = std::fs::metadata(&target).map_err(|error| {
            Error::new(ErrorKind::Unavailable, format!("{} cannot be read", self.file.name)).caused_by(error)
        })?;
        let no_lock = |error| self.rejected("its lock cannot be opened", error);
        let Some(lock) = lock(&beside(&target, "lock"), &like, within).map_err(no_lock)? else { return Ok(None) };
        let is_mounted = is_mounted(&target) || self.is_busy.load(Ordering::Relaxed);
        let mut locks = [Some(lock), None];
        if is_mounted {
            // A process that has it mounted elsewhere uses another lock beside it.
            locks[1] = lock_itself(&target, within).map_err(no_lock)?;
            if locks[1].is_none() {
                return Ok(None);
            }
        }
        Ok(Some(Turn { target, like, is_mounted, _locks: locks }))
    }

    /// The turn among the edits of this process. `None` if one of them takes too long, as on a disk that hangs.
    fn writing(&self) -> Option<MutexGuard<'_, ()>> {
        let start = Instant::now();
        loop {
            match self.writing.try_lock() {
                Ok(writing) => return Some(writing),
                // What was written is in the files, whatever became of the writer.
                Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) if start.elapsed() < WRITTEN => {
                    std::thread::sleep(Duration::from_micros(200).mul_f64(1.0 + 4.0 * random_share()));
                }
                Err(TryLockError::WouldBlock) => return None,
            }
        }
    }

    /// If the lock changed hands meanwhile, other edits came first; else one process keeps the lock.
    fn locked_out(&self, commit: &Commit) -> Result<bool, Error> {
        let (state, _) = self.glance().map_err(Error::unchanged)?;
        if state.journal.pending().is_some() || *state.journal.head() != commit.expected.head {
            return Ok(false);
        }
        let lock = beside(&self.target()?, "lock");
        let because =
            format!("another process has held the lock {0} for {LOCKED:?}; `fuser {0}` names it", lock.display());
        Err(Error::rejected(&self.file.name, because))
    }

    fn condition(&self) -> Result<Condition, Error> {
        let mut condition = self.file.condition()?;
        if is_mounted(&self.target()?) || self.is_busy.load(Ordering::Relaxed) {
            let problem = Problem::new("a folder that is mounted", "a file that is mounted alone").with_help(
                "edits cannot replace it and are written in place, so that readers may see a partial file for an \
                 instant; mount the folder",
            );
            condition.problems.push(Problem { severity: Severity::Warning, ..problem });
        }
        Ok(condition)
    }

    fn refused(&self, problem: Problem) -> Error {
        Error::refused(problem.in_source(&self.file.name))
    }

    fn unreadable_history(&self, error: io::Error) -> Error {
        let help = match error.kind() {
            io::ErrorKind::PermissionDenied => {
                "; only those who may write the flags may read it, and a process that only reads the flags needs FileFeed"
            }
            _ => "",
        };
        let message = format!("{}: its history cannot be read{help}", self.file.name);
        Error::new(ErrorKind::Unavailable, message).caused_by(error)
    }

    /// The error of an edit that was certainly not made.
    fn rejected(&self, what: &str, error: io::Error) -> Error {
        let (help, is_permanent) = match error.kind() {
            io::ErrorKind::StorageFull => ("; free space on its disk", false),
            io::ErrorKind::QuotaExceeded => ("; the disk quota of this user is used up", false),
            io::ErrorKind::PermissionDenied => ("; edits need permission to write in its folder", true),
            io::ErrorKind::ReadOnlyFilesystem => ("; edits need a writable file system", true),
            _ => ("", false),
        };
        let rejected = Error::rejected(&self.file.name, format!("{what}{help}")).caused_by(error);
        if is_permanent { rejected.permanent() } else { rejected }
    }
}
