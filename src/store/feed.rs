//! Where rules can be read from, and hearing that they changed.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::document::{Document, Problem, Timestamp};
use crate::error::Error;

/// A future in a box, so that traits with asynchronous methods can be used behind a pointer.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A place that rules can be read from, as a whole, and that can say when they have changed.
///
/// A feed is made a [`Source`](crate::source::Source) by [`Live`](crate::source::Live), which calls
/// [`subscribe`](Self::subscribe) before [`load`](Self::load), so that no change falls between the
/// two, and loads again every [`resync_every`](Self::resync_every) in case a notice got lost.
///
/// ```
/// use tower_flags::store::{BoxFuture, Error, Feed, FeedContent, Notices};
/// use tower_flags::Document;
///
/// /// Rules that are compiled in and never change.
/// struct Fixed(&'static str);
///
/// impl Feed for Fixed {
///     fn name(&self) -> &str {
///         "built in"
///     }
///
///     fn load<'a>(&'a self, known: Option<&'a str>) -> BoxFuture<'a, Result<Option<FeedContent>, Error>> {
///         Box::pin(async move {
///             if known == Some("1") {
///                 return Ok(None);
///             }
///             let document = Document::from_json(self.0).map_err(Error::refused)?;
///             Ok(Some(FeedContent::new(document, "1")))
///         })
///     }
///
///     fn subscribe(&self) -> BoxFuture<'_, Result<Box<dyn Notices>, Error>> {
///         struct Never;
///         impl Notices for Never {
///             fn next(&mut self) -> BoxFuture<'_, Result<(), Error>> {
///                 Box::pin(std::future::pending())
///             }
///         }
///         Box::pin(async { Ok(Box::new(Never) as Box<dyn Notices>) })
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// use tower_flags::source::{Live, Source};
///
/// let source = Live::connect(Fixed(r#"{"flags": {"dark_mode": true}}"#)).await?;
/// assert_eq!(source.status().flags, 1);
/// # Ok(())
/// # }
/// ```
pub trait Feed: Send + Sync + 'static {
    /// What messages and the parts of [`Layered`](crate::source::Layered) call it.
    fn name(&self) -> &str;

    /// Reads everything. `known` is the revision of what the caller has; `Ok(None)` says that nothing
    /// else is there now.
    ///
    /// # Errors
    ///
    /// The feed cannot be read, or what it holds is refused as a whole. The caller keeps what it has
    /// and tries again.
    fn load<'a>(&'a self, known: Option<&'a str>) -> BoxFuture<'a, Result<Option<FeedContent>, Error>>;

    /// Starts to listen for changes.
    ///
    /// # Errors
    ///
    /// Nobody can be listened to now. The caller goes on loading from time to time, and tries again.
    fn subscribe(&self) -> BoxFuture<'_, Result<Box<dyn Notices>, Error>>;

    /// The condition of the store itself, which no document shows: a setting under which edits can be lost, a replica
    /// that is cut off, its clock. [`Live`](crate::source::Live) asks after it has connected and at each resync, and
    /// shows the answer in its status. By default there is nothing to report.
    ///
    /// # Errors
    ///
    /// The store cannot be asked now. The previous answer stays in the status.
    fn condition(&self) -> BoxFuture<'_, Result<Condition, Error>> {
        Box::pin(async { Ok(Condition::default()) })
    }

    /// Problems of how the feed was set up, known without asking the store: a password that would cross a network in plain
    /// text, for example. [`Live`](crate::source::Live) logs them at its start and shows them in its status, also while
    /// the store cannot be reached. None by default.
    fn setup_problems(&self) -> Vec<Problem> {
        Vec::new()
    }

    /// A text that identifies this store and never changes: the stores of this crate return the digest of the first entry
    /// of their history, and an empty text before there is one. Only a store that was seen before can have come back
    /// older; another store in its place is new. `None` by default, and if stores cannot be told apart.
    ///
    /// [`Live`](crate::source::Live) asks after it has connected, and when a load looks older.
    ///
    /// # Errors
    ///
    /// The store cannot be asked now, or does not allow it. It counts as the store that was seen before.
    fn identity(&self) -> BoxFuture<'_, Result<Option<String>, Error>> {
        Box::pin(async { Ok(None) })
    }

    /// How often to load without a notice; 30 s by default.
    fn resync_every(&self) -> Duration {
        Duration::from_secs(30)
    }
}

/// The condition of a store itself, from [`Feed::condition`].
///
/// ```
/// use tower_flags::Problem;
/// use tower_flags::store::Condition;
///
/// let mut condition = Condition::default();
/// condition.problems.push(Problem::new("the eviction policy noeviction", "allkeys-lru"));
/// assert!(condition.stale_since.is_none() && condition.clock.is_none());
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Condition {
    /// Settings or states of the store under which definitions or edits can be lost, each with its remedy.
    pub problems: Vec<Problem>,
    /// Since when its answers may be old although it answers, for example as a replica that its primary does not reach.
    /// The source is stale since then.
    pub stale_since: Option<Timestamp>,
    /// The store's own clock, where it has one. A difference of more than 30 s from the clock of this process becomes
    /// a problem in the status.
    pub clock: Option<Timestamp>,
}

/// Notices of changes, from [`Feed::subscribe`].
pub trait Notices: Send {
    /// Waits until something may have changed. Dropping the future loses no notice.
    ///
    /// # Errors
    ///
    /// There will be no more notices, and some may be lost: subscribe again and load.
    fn next(&mut self) -> BoxFuture<'_, Result<(), Error>>;
}

impl<F: Feed + ?Sized> Feed for Arc<F> {
    fn name(&self) -> &str {
        F::name(self)
    }

    fn load<'a>(&'a self, known: Option<&'a str>) -> BoxFuture<'a, Result<Option<FeedContent>, Error>> {
        F::load(self, known)
    }

    fn subscribe(&self) -> BoxFuture<'_, Result<Box<dyn Notices>, Error>> {
        F::subscribe(self)
    }

    fn condition(&self) -> BoxFuture<'_, Result<Condition, Error>> {
        F::condition(self)
    }

    fn setup_problems(&self) -> Vec<Problem> {
        F::setup_problems(self)
    }

    fn identity(&self) -> BoxFuture<'_, Result<Option<String>, Error>> {
        F::identity(self)
    }

    fn resync_every(&self) -> Duration {
        F::resync_every(self)
    }
}

/// What a [`Feed`] holds.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FeedContent {
    /// The definitions.
    pub document: Document,
    /// The store's own version or digest of them; equal revisions mean equal documents.
    pub revision: String,
    /// The versions of the flags, where the feed knows them; also of those that were removed.
    pub versions: BTreeMap<Arc<str>, u64>,
    /// Names that the feed itself remembers as removed: that they are missing is no accident.
    pub removed: BTreeSet<Arc<str>>,
    /// Whether the feed removes flags only by edits, and records them in [`removed`](Self::removed): any other missing flag
    /// was lost. In a document that people write as a whole, a flag is removed by leaving it out.
    pub records_removals: bool,
    /// A number that every edit raises, where the feed has one: a smaller one than before means that the store
    /// came back older.
    pub sequence: Option<u64>,
}

impl FeedContent {
    /// Definitions and what the store calls their version.
    #[must_use]
    pub fn new(document: Document, revision: impl Into<String>) -> Self {
        let revision = revision.into();
        Self {
            document,
            revision,
            versions: BTreeMap::new(),
            removed: BTreeSet::new(),
            records_removals: false,
            sequence: None,
        }
    }

    /// With the versions of the flags.
    #[must_use]
    pub fn with_versions<'a>(mut self, versions: impl IntoIterator<Item = (&'a str, u64)>) -> Self {
        self.versions = versions.into_iter().map(|(name, version)| (Arc::from(name), version)).collect();
        self
    }

    /// With the names that were removed by an edit.
    #[must_use]
    pub fn with_removed<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Self {
        self.removed = names.into_iter().map(Arc::from).collect();
        self
    }

    /// For a store that removes flags only by edits, which it records. [`Live`](crate::source::Live) reports a flag as lost
    /// if it is missing without such a record, and if an edit of the store is known to have left it there.
    #[must_use]
    pub fn records_removals(mut self) -> Self {
        self.records_removals = true;
        self
    }

    /// Of a store that other programs read too: warns of flags whose audience is named without a percentage, since
    /// services that compute the same buckets do not agree on what that means.
    #[must_use]
    pub fn shared_with_others(mut self) -> Self {
        self.document.warn_of_defaults();
        self
    }

    /// With the number that every edit raises.
    #[must_use]
    pub fn at_sequence(mut self, sequence: u64) -> Self {
        self.sequence = Some(sequence);
        self
    }
}
