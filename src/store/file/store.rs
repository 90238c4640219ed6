//! The file as a store.

use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::feed::{Content, MAX_READS, RESYNC, RulesFile, SETTLING};
use super::journal::{Edited, Journal, Line, News, append};
use super::replace::{Prepared, beside, lock, sync_folder};
use super::text;
use crate::engine::{Problem, utf_8};
use crate::store::error::{Error, ErrorKind};
use crate::store::feed::{BoxFuture, Feed, Loaded, Notices};
use crate::store::history::{HistoryEntry, digest_of};
use crate::store::traits::{Capabilities, Commit, HistoryPage, Store, Stored, identity_of};

/// How long others may have the lock before an edit is given up for now. One edit takes milliseconds.
const LOCKED: Duration = Duration::from_secs(2);
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
/// | `flags.json.history` | the history, one JSON line for an edit, only ever added to |
/// | `flags.json.lock` | nothing: whoever edits holds a lock on it |
/// | `flags.json.new` | the next content, while an edit is made |
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
/// # Crashes
///
/// The line of the history is on the disk before the file is replaced. It says what digest the file had before and
/// has after; another line says that it was made. After a kill or a power cut in between:
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
/// what somebody else has written, once two reads 50 ms apart agree; the first load needs one of JSON, and of TOML that ends
/// with `# end`. Without the file, or with one that is refused,
/// the last good rules stay.
#[derive(Clone, Debug)]
pub struct FileStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    file: RulesFile,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    journal: Journal,
    /// The digest of a content that two reads have agreed on.
    settled: String,
}

impl FileStore {
    /// The store in a file at a path that ends with `.json` or `.toml`. Nothing is read yet.
    ///
    /// # Errors
    ///
    /// Another ending, or a path without a file name.
    pub fn new(path: impl AsRef<Path>) -> Result<Self, Error> {
        let file = RulesFile::at(path.as_ref())?;
        Ok(Self { shared: Arc::new(Shared { file, state: Mutex::default() }) })
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

    fn load<'a>(&'a self, known: Option<&'a str>) -> BoxFuture<'a, Result<Option<Loaded>, Error>> {
        let known = known.map(str::to_owned);
        Box::pin(self.run(move |shared| shared.load(known.as_deref())))
    }

    fn subscribe(&self) -> BoxFuture<'_, Result<Box<dyn Notices>, Error>> {
        Box::pin(std::future::ready(self.shared.file.watched()))
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
        let commit = commit.clone();
        Box::pin(self.run(move |shared| shared.commit(&commit)))
    }

    fn history<'a>(&'a self, page: &'a HistoryPage) -> BoxFuture<'a, Result<Vec<HistoryEntry>, Error>> {
        let page = page.clone();
        Box::pin(self.run(move |shared| {
            let (state, _) = shared.snapshot()?;
            state.journal.page(&page).map_err(|error| shared.unreadable_history(error))
        }))
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
            crate::engine::Format::Json => "{\n  \"flags\": {\n  }\n}\n",
            crate::engine::Format::Toml => "[flags]\n\n# end\n",
        };
        let path = &self.file.path;
        let made = std::fs::OpenOptions::new().write(true).create_new(true).open(path).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            sync_folder(path)
        });
        match made {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(self.not_editable("it cannot be made", error))
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
        let (mut state, content) = self.glance()?;
        let Some(pending) = state.journal.pending() else { return Ok((state, content)) };
        if pending.file_after == content.digest {
            state.journal.decide(true);
            return Ok((state, content));
        }
        drop(state);
        // Either somebody is making it right now, and has the lock, or was killed over it.
        let is_decided = self.decide();
        let (mut state, content) = self.glance()?;
        if let Some(pending) = state.journal.pending() {
            let is_made = self.is_made(pending, &content);
            if is_made == Some(true) {
                state.journal.decide(true);
            } else if let Err(error) = is_decided {
                tracing::debug!(source = self.file.name, "the history cannot be mended: {}", error.chain());
            }
        }
        Ok((state, content))
    }

    /// Decides on an edit whose process was killed over it, and writes that down; nothing where somebody has the
    /// lock.
    fn decide(&self) -> Result<(), Error> {
        let (target, like) = self.target_and_its_metadata()?;
        let lock = lock(&beside(&target, "lock"), &like, Duration::ZERO);
        let Some(_lock) = lock.map_err(|error| self.not_editable("its lock cannot be opened", error))? else {
            return Ok(());
        };
        let (mut state, content) = self.glance()?;
        self.decide_locked(&mut state.journal, &content, &target, &like)
    }

    fn decide_locked(
        &self,
        journal: &mut Journal,
        content: &Content,
        target: &Path,
        like: &Metadata,
    ) -> Result<(), Error> {
        let Some(pending) = journal.pending() else { return Ok(()) };
        let Some(is_made) = self.is_made(pending, content) else { return Ok(()) };
        let head = pending.head();
        let number = head.number;
        tracing::warn!(source = self.file.name, number, is_made, "an edit was broken off, and is decided upon now");
        let line = if is_made { Line::Applied(head) } else { Line::NotApplied(head) };
        self.append(target, like, &line, false)?;
        journal.decide(is_made);
        Ok(())
    }

    /// Whether an edit has come to be in the file; `None` where that cannot be read.
    fn is_made(&self, edited: &Edited, content: &Content) -> Option<bool> {
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

    fn load(&self, known: Option<&str>) -> Result<Option<Loaded>, Error> {
        let (state, content) = self.snapshot()?;
        let head = state.journal.head().clone();
        let origin = digest_of(format!("{} {} {}", content.digest, head.number, head.digest).as_bytes());
        if known == Some(origin.as_str()) {
            return Ok(None);
        }
        if let Some(problem) = self.file.refused_before(&content.digest) {
            return Err(Error::refused(problem));
        }
        let names: Vec<(String, u64, bool)> = state
            .journal
            .flags()
            .map(|(name, known)| (name.to_owned(), known.version, known.content.is_empty()))
            .collect();
        drop(state);
        let Loaded { document, .. } = self.file.parse(content).map_err(Error::refused)?;
        let is_removed = |name: &str, is_empty: bool| is_empty && !document.flags.contains_key(name);
        let removed: Vec<&str> =
            names.iter().filter(|(name, _, is_empty)| is_removed(name, *is_empty)).map(|(name, ..)| &**name).collect();
        let versions = names.iter().map(|(name, version, _)| (&**name, *version));
        let loaded = Loaded::new(document, origin).with_versions(versions).with_removed(removed);
        Ok(Some(loaded.at_revision(head.number)))
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
        let (target, like) = self.target_and_its_metadata()?;
        let path = beside(&target, "lock");
        let lock = lock(&path, &like, LOCKED).map_err(|error| self.not_editable("its lock cannot be opened", error))?;
        let Some(_lock) = lock else {
            let message = format!("{}: others have the lock {} for {LOCKED:?}", self.file.name, path.display());
            return Err(Error::new(ErrorKind::Unavailable, message));
        };
        let content = {
            let (mut state, content) = self.glance()?;
            self.decide_locked(&mut state.journal, &content, &target, &like)?;
            if self.stored(&state.journal, &content, &commit.flag)? != commit.expected {
                return Ok(false);
            }
            content
        };
        let edited = self.edited(&content, commit).map_err(|problem| self.refused(problem.of_flag(&commit.flag)))?;
        let prepared = Prepared::for_file(&target, &like, edited.as_bytes())
            .map_err(|error| self.not_editable("its next content cannot be written beside it", error))?;
        let line = Line::Edit(Edited {
            file_before: content.digest.clone(),
            file_after: digest_of(edited.as_bytes()),
            entries: commit.entries.clone(),
        });
        self.append(&target, &like, &line, true)?;
        let is_same = self.file.read_blocking().is_ok_and(|now| now.digest == content.digest);
        let is_replaced = if is_same { prepared.persist(&target).map(|()| true) } else { Ok(false) };
        if matches!(is_replaced, Ok(true)) {
            // The edit is made, and whoever asks again finds it.
            sync_folder(&target).map_err(|cause| {
                let message = format!("{}: its folder cannot be synced after an edit", self.file.name);
                Error::new(ErrorKind::Unavailable, message).caused_by(cause)
            })?;
        }
        let decided = match is_replaced {
            Ok(true) => Line::Applied(commit.head.clone()),
            _ => Line::NotApplied(commit.head.clone()),
        };
        // The digests say the same; this keeps it true whatever is done to the file later.
        if let Err(error) = self.append(&target, &like, &decided, false) {
            tracing::warn!(source = self.file.name, "{}", error.chain());
        }
        is_replaced.map_err(|error| self.not_editable("it cannot be replaced", error))
    }

    fn edited(&self, content: &Content, commit: &Commit) -> Result<String, Problem> {
        let before = utf_8(&content.bytes)?;
        text::with_flag(before, self.file.format, &commit.flag, commit.definition.as_deref())
    }

    fn append(&self, target: &Path, like: &Metadata, line: &Line, sync: bool) -> Result<(), Error> {
        let added = line.text().and_then(|line| append(&beside(target, "history"), like, &line, sync));
        added.map_err(|error| self.not_editable("its history cannot be written", error))
    }

    fn target_and_its_metadata(&self) -> Result<(PathBuf, Metadata), Error> {
        let target = self.target()?;
        let like = std::fs::metadata(&target).map_err(|error| {
            Error::new(ErrorKind::Unavailable, format!("{} cannot be read", self.file.name)).caused_by(error)
        })?;
        Ok((target, like))
    }

    fn refused(&self, problem: Problem) -> Error {
        Error::refused(problem.in_source(&self.file.name))
    }

    fn unreadable_history(&self, error: io::Error) -> Error {
        Error::new(ErrorKind::Unavailable, format!("{}: its history cannot be read", self.file.name)).caused_by(error)
    }

    fn not_editable(&self, what: &str, error: io::Error) -> Error {
        let (kind, help) = match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                (ErrorKind::Denied, "; edits need permission to write in its folder")
            }
            _ => (ErrorKind::Unavailable, ""),
        };
        Error::new(kind, format!("{} cannot be edited: {what}{help}", self.file.name)).caused_by(error)
    }
}
