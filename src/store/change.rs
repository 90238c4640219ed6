//! Edits, from what somebody wants to what a store is asked to write.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::author::Author;
use super::commit::{Commit, Stored};
use super::commit_over::{commit_over, killed_text, now};
use super::history::{Head, HistoryEntry, HistoryPage};
use super::random::random_share;
use super::traits::Store;
use super::verify::{HistoryBreak, Knowledge, Verification, verification};
use crate::document::{
    Edit, Flag, FlagName, Percentage, Problem, Timestamp, accepted_flag, flag_from_json, is_name, killed, not_a_name,
};
use crate::error::{Error, ErrorKind};

/// What is to become of one flag.
#[derive(Clone, Debug)]
#[must_use = "a change does nothing until it is applied"]
pub struct Change {
    to: To,
    expected: Option<u64>,
    /// What the change was worked out from.
    found: Option<Box<Stored>>,
    creates_again: bool,
    within: Duration,
}

#[derive(Clone, Debug)]
enum To {
    Edited(Edit),
    Killed,
    Restored,
    Computation {
        edit: Computation,
        /// Nothing that is wrong with a flag holds up a kill.
        is_kill: bool,
    },
    Definition(String),
    Removed,
}

/// Works an edit out from the definition as it is read, or cannot be, and the instant of the edit.
type Compute = dyn Fn(Result<Flag, Problem>, Timestamp) -> Result<Edit, Problem> + Send + Sync;

#[derive(Clone)]
struct Computation(Arc<Compute>);

impl fmt::Debug for Computation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}

impl Change {
    /// Changes some keys and leaves the others as they are, foreign ones too. A flag that is not there is
    /// made of the keys alone.
    pub fn edit(edit: Edit) -> Self {
        Self::to(To::Edited(edit))
    }

    /// An edit that follows from what is stored, worked out anew whenever somebody else was faster. The flag has
    /// to be there.
    pub(crate) fn computed(
        edit: impl Fn(Result<Flag, Problem>, Timestamp) -> Result<Edit, Problem> + Send + Sync + 'static,
    ) -> Self {
        Self::to(To::Computation { edit: Computation(Arc::new(edit)), is_kill: false })
    }

    /// Like that, for an edit that switches the flag off: where what is stored is no accepted flag, it is switched off
    /// in it all the same.
    pub(crate) fn computed_kill(
        edit: impl Fn(Result<Flag, Problem>, Timestamp) -> Result<Edit, Problem> + Send + Sync + 'static,
    ) -> Self {
        Self::to(To::Computation { edit: Computation(Arc::new(edit)), is_kill: true })
    }

    /// Sets `enabled`, and leaves everything else as it is. A flag that is not there is made on for everyone.
    pub fn enable() -> Self {
        Self::edit(Edit::new().set("enabled", true))
    }

    /// Sets the percentage, and leaves everything else as it is. A flag that is not there is made of it.
    ///
    /// ```
    /// use tower_flags::store::{MemoryStore, Store};
    /// use tower_flags::{Change, StoreExt};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = MemoryStore::new();
    /// store.change("new_cart", Change::percentage(25), "alice").await?;
    /// let changed = store.change("new_cart", Change::enable(), "bob").await?;
    /// assert_eq!(changed.definition.as_deref(), Some(r#"{"percentage":25,"enabled":true}"#));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// If it is not a number from 0 to 100 with at most three decimals.
    #[track_caller]
    pub fn percentage<P: TryInto<Percentage, Error: fmt::Display>>(percentage: P) -> Self {
        let percentage = serde_json::to_value(Percentage::literal(percentage)).unwrap_or_default();
        Self::edit(Edit::new().set("percentage", percentage))
    }

    /// Puts a whole definition in place of what is there.
    pub fn put(definition: &Flag) -> Self {
        Self::to(To::Definition(definition.to_stored()))
    }

    /// Puts a whole definition in place of what is there, byte for byte, keys included that are only carried
    /// along. It has to be a flag.
    pub fn put_text(definition: impl Into<String>) -> Self {
        Self::to(To::Definition(definition.into()))
    }

    /// Switches the flag off for everybody and keeps its settings; a schedule stands still. The flag has to be
    /// there. Where what is stored is no accepted flag, it is switched off in it all the same.
    pub fn kill() -> Self {
        Self::to(To::Killed)
    }

    /// Switches the flag on again with the settings it had. A paused schedule stays paused. If its pause lies ahead, as
    /// written by a process whose clock runs ahead, it is paused from now on, and [`AppliedChange::notes`] says so. The flag
    /// has to be there.
    ///
    /// An edit also where the store says that the flag is on already: after a store came back older, sources hold
    /// off what they have seen switched off, and this tells them that somebody means it to be on.
    pub fn restore() -> Self {
        Self::to(To::Restored)
    }

    /// Takes the flag away. Its name is remembered: see [`create_again`](Self::create_again).
    pub fn remove() -> Self {
        Self::to(To::Removed)
    }

    fn to(to: To) -> Self {
        Self { to, expected: None, found: None, creates_again: false, within: Duration::from_secs(5) }
    }

    /// Only if the flag has this version: 0 for one that never was there. What somebody changed past us counts as a
    /// version: [`Stored::current_version`]. Without, the change goes onto the newest.
    pub fn at_version(mut self, version: u64) -> Self {
        self.expected = Some(version);
        self
    }

    /// Only onto this text and version, since the change was worked out from them. A foreign writer changes the
    /// text and not the version.
    #[cfg(feature = "admin")]
    pub(crate) fn over(mut self, found: &Stored) -> Self {
        self.found = Some(Box::new(found.clone()));
        self
    }

    fn is_for(&self, stored: &Stored) -> bool {
        self.expected.is_none_or(|version| version == stored.current_version())
            && self
                .found
                .as_ref()
                .is_none_or(|found| (found.version, &found.definition) == (stored.version, &stored.definition))
    }

    /// Says that a flag which was removed is meant to be there again. Without it such a change is refused: code
    /// that still asks for the old flag would wake up with the new one.
    pub fn create_again(mut self) -> Self {
        self.creates_again = true;
        self
    }

    /// How long to go on trying while others are faster or the store does not answer; 5 s unless set, a day at
    /// most.
    pub fn within(mut self, longest: Duration) -> Self {
        self.within = longest;
        self
    }

    /// The text after it, `None` for none. Its regular expressions are not compiled.
    fn text(&self, flag: &str, stored: &Stored, now: Timestamp) -> Result<Option<String>, Problem> {
        match &self.to {
            To::Edited(edit) => edit.text(flag, stored.definition.as_deref(), now).map(Some),
            To::Killed => Ok(Some(killed_text(flag, stored.definition.as_deref(), now))),
            To::Restored => Edit::new().set("enabled", true).apply(flag, stored.definition.as_deref(), now).map(Some),
            To::Computation { edit: Computation(edit), is_kill } => {
                let text = stored.definition.as_deref();
                let edited = edit(flag_from_json(Some(flag), text.unwrap_or_default()), now)
                    .map_err(|problem| problem.of_flag(flag))
                    .and_then(|edit| edit.apply(flag, text, now));
                match edited {
                    Err(_) if *is_kill => Ok(Some(killed(flag, text.unwrap_or_default()))),
                    edited => edited.map(Some),
                }
            }
            To::Definition(text) => flag_from_json(Some(flag), text).map(|_| Some(text.clone())),
            To::Removed => Ok(None),
        }
    }

    /// Whether the text after it may have regular expressions that the one before it does not have.
    fn brings_patterns(&self) -> bool {
        match &self.to {
            To::Edited(edit) => edit.brings_patterns(),
            To::Definition(_) => true,
            To::Killed | To::Restored | To::Computation { .. } | To::Removed => false,
        }
    }
}

/// Compiles the regular expressions of a definition to see that they keep to the limits. It takes up to 50 ms, and
/// requests are served on this thread.
async fn check_patterns(store: &str, flag: &str, definition: &str) -> Result<(), ChangeError> {
    if !flag_from_json(Some(flag), definition)?.has_patterns() {
        return Ok(());
    }
    let (named, definition) = (flag.to_owned(), definition.to_owned());
    let checked = tokio::task::spawn_blocking(move || accepted_flag(Some(&named), &definition).map(drop)).await;
    let checked = checked.map_err(|error| {
        let message = format!("{store}: nothing was changed, because compiling flag {flag:?} was given up");
        Error::new(ErrorKind::Unavailable, message).unchanged().caused_by(error)
    })?;
    Ok(checked?)
}

/// A change that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AppliedChange {
    /// The flag's version now.
    pub version: u64,
    /// The stored text now; `None` where the flag was removed.
    pub definition: Option<String>,
    /// What the history says of it; `None` where there was nothing to change.
    pub entry: Option<HistoryEntry>,
    /// Side effects of the edit, in words for people.
    pub notes: Vec<String>,
}

impl AppliedChange {
    /// The answer for a flag that is as it was.
    #[cfg(feature = "admin")]
    pub(crate) fn nothing(stored: &Stored) -> Self {
        Self { version: stored.version, definition: stored.definition.clone(), entry: None, notes: Vec::new() }
    }
}

/// Why a change was not made: nothing was changed, and the message says so. Only where [`Store`](Self::Store) has an
/// error of the kind [`InDoubt`](ErrorKind::InDoubt), the store's answer was lost, and the change may have been made.
///
/// ```
/// use tower_flags::store::{Author, Change, MemoryStore, StoreExt};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let error = MemoryStore::new().change("x", Change::kill(), &Author::new("alice")).await.unwrap_err();
/// assert_eq!(error.to_string(), "nothing was changed, because there is no flag of this name");
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum ChangeError {
    /// The flag has another version than the change was made for.
    Conflict(Box<Stored>),
    /// What would come out is no flag, or the name is none.
    Refused(Box<Problem>),
    /// The flag was removed, by an edit or outside of the history, and the change does not say that it should be there
    /// again.
    Removed(Box<Stored>),
    /// There is no such flag to remove, or to act on.
    Missing,
    /// The store does not answer, or others were always faster.
    Store(Box<Error>),
}

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // These state the outcome of the edit themselves.
            Self::Store(error) if matches!(error.kind(), ErrorKind::InDoubt | ErrorKind::Rejected) => {
                return error.fmt(f);
            }
            _ => f.write_str("nothing was changed, because ")?,
        }
        match self {
            Self::Conflict(stored) => {
                write!(f, "the flag was changed meanwhile: it has version {}", stored.current_version())
            }
            Self::Refused(problem) => problem.fmt(f),
            Self::Removed(stored) => {
                let what = if stored.content.is_empty() { "removed" } else { "removed outside of the history" };
                write!(
                    f,
                    "a flag of this name was {what} (version {}); choose another name, or put a definition with \
                     `create_again`",
                    stored.version
                )
            }
            Self::Missing => f.write_str("there is no flag of this name"),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ChangeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Store(error) => error.source(),
            _ => None,
        }
    }
}

impl From<Error> for ChangeError {
    fn from(error: Error) -> Self {
        Self::Store(Box::new(error))
    }
}

impl From<Problem> for ChangeError {
    fn from(problem: Problem) -> Self {
        Self::Refused(Box::new(problem))
    }
}

/// More than anybody waits, and less than clocks can hold.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Editing of every [`Store`].
pub trait StoreExt: Store {
    /// Changes one flag, and writes into the history who did it and why, in one transaction.
    ///
    /// Where others change the store at the same time it is tried again on what they have left, so that none
    /// of both is lost; with [`Change::at_version`] only as long as nobody has changed this flag. Where
    /// the answer of the store is lost, the history tells whether the change was made, so it is never made
    /// twice.
    ///
    /// ```
    /// use tower_flags::store::{Author, Change, MemoryStore, StoreExt};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = MemoryStore::new();
    /// let alice = Author::new("alice").because("launch");
    /// store.change("new_checkout", Change::put(&r#"{"percentage": 10}"#.parse()?), &alice).await?;
    /// let killed = store.change("new_checkout", Change::kill(), &Author::new("bob")).await?;
    /// assert_eq!(killed.version, 2);
    /// assert_eq!(killed.definition.as_deref(), Some(r#"{"enabled":false,"percentage":10}"#));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// See [`ChangeError`]. Of a kind [`InDoubt`](ErrorKind::InDoubt) it may have been made all the same.
    fn change(
        &self,
        flag: impl FlagName + Send,
        change: Change,
        by: impl Into<Author>,
    ) -> impl Future<Output = Result<AppliedChange, ChangeError>> + Send {
        let (flag, by) = (flag.name().to_owned(), by.into());
        async move { Attempts::new(self, flag, change, &by).run().await }
    }

    /// Reads the whole history, page by page, and checks its chain: [`verification`](Self::verification) in short, with
    /// the end of the history or the oldest break.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    fn verify_history(&self) -> impl Future<Output = Result<Result<Head, HistoryBreak>, Error>> + Send {
        async move {
            let found = self.verification().await?;
            Ok(found.oldest_break().cloned().map_or(Ok(found.head), Err))
        }
    }

    /// Reads the whole history and checks its chain, with the store's [keys](super::HistoryKeys) where it has them. At most 64
    /// entries are in memory at a time.
    ///
    /// ```
    /// use tower_flags::store::{Author, Change, MemoryStore, StoreExt};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = MemoryStore::new();
    /// store.change("search", Change::put_text("true"), &Author::new("alice")).await?;
    /// let found = store.verification().await?;
    /// assert!(found.is_intact());
    /// assert_eq!((found.entries, found.head.number), (1, 1));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    fn verification(&self) -> impl Future<Output = Result<Verification, Error>> + Send {
        verification(self, Knowledge::default())
    }
}

impl<S: Store + ?Sized> StoreExt for S {}

/// One change, tried until it is made, cannot be made, or takes too long.
struct Attempts<'a, S: ?Sized> {
    store: &'a S,
    flag: String,
    change: Change,
    by: &'a Author,
    /// Commits whose fate is not known: the connection broke in the midst of them.
    in_doubt: Vec<Commit>,
}

impl<'a, S: Store + ?Sized> Attempts<'a, S> {
    fn new(store: &'a S, flag: String, change: Change, by: &'a Author) -> Self {
        Self { store, flag, change, by, in_doubt: Vec::new() }
    }

    async fn run(mut self) -> Result<AppliedChange, ChangeError> {
        if !is_name(&self.flag) {
            return Err(not_a_name(&self.flag).into());
        }
        let deadline = Instant::now() + self.change.within.min(LONGEST);
        let mut last_error = None;
        for attempt in 0_u32.. {
            match timeout_at(deadline, self.attempt()).await {
                Ok(Ok(Some(mut changed))) => {
                    if !matches!(self.change.to, To::Definition(_) | To::Removed) {
                        let entry = changed.entry.as_ref();
                        changed.notes.extend(entry.and_then(|entry| note_of_pause(entry, entry.before.as_deref())));
                    }
                    return Ok(changed);
                }
                Ok(Ok(None)) => {}
                // While an edit is in doubt, the store is asked for it as long as there is time.
                Ok(Err(ChangeError::Store(error)))
                    if error.kind() == ErrorKind::Unavailable && !(error.is_answer() && self.in_doubt.is_empty()) =>
                {
                    last_error = Some(*error);
                }
                Ok(Err(ChangeError::Store(error))) if error.kind() == ErrorKind::Unavailable => {
                    return Err(error.into_rejected(self.store.name()).into());
                }
                Ok(Err(ChangeError::Store(error))) if !self.in_doubt.is_empty() => {
                    last_error = Some(*error);
                    break;
                }
                Ok(Err(error)) => return Err(error),
                Err(_) => break,
            }
            // Others go first now and then, the more the longer it takes.
            let most = Duration::from_millis(1 << attempt.min(6));
            let pause = most.mul_f64(random_share());
            if Instant::now() + pause >= deadline {
                break;
            }
            sleep(pause).await;
        }
        Err(self.given_up(last_error).into())
    }

    fn given_up(&mut self, cause: Option<Error>) -> Error {
        self.in_doubt.retain(|commit| !commit.give_up());
        // As people say it: what another deadline has left is rarely whole.
        let tenths = u64::try_from(self.change.within.as_millis().div_ceil(100)).unwrap_or(u64::MAX);
        let within = Duration::from_millis(tenths.saturating_mul(100));
        let (store, flag) = (self.store.name(), &self.flag);
        let error = if self.in_doubt.is_empty() {
            let message =
                format!("{store}: nothing was changed, because flag {flag:?} could not be changed within {within:?}");
            Error::new(ErrorKind::Unavailable, message).unchanged()
        } else {
            let message = format!(
                "{store}: no answer within {within:?} whether flag {flag:?} was changed; its history will tell"
            );
            Error::new(ErrorKind::InDoubt, message)
        };
        match cause {
            Some(cause) => error.caused_by(cause),
            None => error,
        }
    }

    /// One try. `None` where somebody else was faster.
    async fn attempt(&mut self) -> Result<Option<AppliedChange>, ChangeError> {
        let mut stored = self.store.read(&self.flag).await?;
        let recent = self.store.recent_edits();
        if let Some(recent) = recent
            && recent.may_be_lost(&stored)
        {
            // This edit builds on those before it.
            recent.check(self.store).await?;
            stored = self.store.read(&self.flag).await?;
        }
        if let Some(commit) = self.made_in_doubt(&stored.head).await? {
            return Ok(Some(self.acknowledged(commit, stored.run)));
        }
        let (is_there, is_foreign) = (stored.definition.is_some(), stored.is_foreign());
        if !self.change.is_for(&stored) {
            return Err(ChangeError::Conflict(Box::new(stored)));
        }
        let needs_it = match self.change.to {
            To::Removed | To::Computation { .. } => true,
            // One that was removed is told as such.
            To::Killed | To::Restored => stored.version == 0,
            To::Edited(_) | To::Definition(_) => false,
        };
        if !is_there && needs_it {
            return Err(ChangeError::Missing);
        }
        // There is nothing left that could be switched on or off again.
        let creates_again = self.change.creates_again && !matches!(self.change.to, To::Killed | To::Restored);
        if !is_there && stored.version > 0 && !creates_again {
            return Err(ChangeError::Removed(Box::new(stored)));
        }
        let now = now();
        let definition = self.change.text(&self.flag, &stored, now)?;
        if self.change.brings_patterns()
            && let Some(definition) = &definition
        {
            check_patterns(self.store.name(), &self.flag, definition).await?;
        }
        // What somebody else wrote becomes an entry also where nothing is to be done beside it.
        let is_edit = definition != stored.definition || is_foreign || matches!(self.change.to, To::Restored);
        if !is_edit {
            return Ok(Some(AppliedChange { version: stored.version, definition, entry: None, notes: Vec::new() }));
        }
        let commit = commit_over(self.store, &self.flag, stored, definition, self.by, now).await?;
        // In doubt until there is an answer. Where it is not waited for, the store says whether it was sent.
        self.in_doubt.push(commit);
        let outcome = match self.in_doubt.last() {
            Some(commit) => self.store.commit(commit).await,
            None => Ok(false),
        };
        let is_answered = match &outcome {
            Ok(_) => true,
            Err(error) => error.is_unchanged() || !matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::InDoubt),
        };
        let commit = if is_answered { self.in_doubt.pop() } else { None };
        let is_made = outcome?;
        Ok(commit.filter(|_| is_made).map(|commit| {
            let run = commit.expected.run.clone();
            self.acknowledged(commit, run)
        }))
    }

    /// The answer for a commit that was made, in this run of the server.
    fn acknowledged(&self, commit: Commit, run: Option<Arc<str>>) -> AppliedChange {
        if let Some(recent) = self.store.recent_edits() {
            recent.add(&commit, run);
        }
        let Commit { version, definition, mut entries, .. } = commit;
        AppliedChange { version, definition, entry: entries.pop(), notes: Vec::new() }
    }

    /// The commit that was made, of those whose answer was lost.
    async fn made_in_doubt(&mut self, head: &Head) -> Result<Option<Commit>, Error> {
        let Some(first) = self.in_doubt.iter().map(|commit| commit.head.number).min() else { return Ok(None) };
        // Of the entries since then, a few are the flag's.
        let since = usize::try_from(head.number.saturating_sub(first) + 1).unwrap_or(usize::MAX).min(100);
        let mut page = HistoryPage::newest().of(&self.flag).limit(since).before(head.number.saturating_add(1));
        while page.before.is_some_and(|before| before > first) {
            let entries = self.store.history(&page).await?;
            let Some(last) = entries.last() else { break };
            page = page.before(last.number);
            let made = self
                .in_doubt
                .iter()
                .position(|commit| commit.entries.last().is_some_and(|last| entries.contains(last)));
            if let Some(made) = made {
                return Ok(Some(self.in_doubt.swap_remove(made)));
            }
        }
        Ok(None)
    }
}

/// Pauses that lie ahead by less than this count as now.
const MIN_AHEAD: Duration = Duration::from_secs(1);

/// Says that an edit has brought a pause that lay ahead to the present. `before` is what the edit was made of.
pub(crate) fn note_of_pause(entry: &HistoryEntry, before: Option<&str>) -> Option<String> {
    let ahead = |text: Option<&str>| {
        let paused_at = flag_from_json(Some(&entry.flag), text?).ok()?.paused_at()?;
        Some(paused_at.saturating_duration_since(entry.at)).filter(|ahead| *ahead > MIN_AHEAD)
    };
    let before = ahead(before)?;
    ahead(entry.after.as_deref()).is_none().then(|| {
        format!(
            "the plan's pause was {} s ahead, as a process writes it whose clock runs ahead; it counts from now",
            before.as_secs()
        )
    })
}
