//! Rules from a file.

use std::path::Path;
use std::sync::{Arc, Weak};

use super::board::Subscriber;
use super::layered::{Definitions, sealed};
use super::live::{LONGEST_REFRESH, Live, LiveBuilder};
use super::traits::{Source, Status};
use crate::document::{Document, Flag};
use crate::engine::{Answers, Query, SourceId};
use crate::store::{Error, FileFeed};

/// Rules from a JSON or TOML file that can be edited while the service runs: a [`Live`] over a
/// [`FileFeed`].
///
/// * Stored where: in one file of at most 4 MiB whose name ends with `.json` or `.toml`. Links are
///   followed.
/// * Freshness: an edit is in force within one second, whether it is written in place, renamed over
///   the file, swapped by a link as Kubernetes does, or made by deleting and making it again. The
///   folder is watched, and the content is looked at every 0.8 s as well.
/// * A file is accepted once two reads 50 ms apart agree, so that a write is not seen halfway. The first load
///   needs one read of JSON, and of TOML whose last line is `# end`: both show by themselves that they are complete.
///   JSON that is cut off is rejected; TOML that is cut off can be seen only if its last line was `# end`, which
///   the file then has to keep.
/// * At start without the file: [`open`](Self::open) is an error, [`connect`](Self::connect) goes on
///   with every flag off.
/// * On a file that is missing or refused later: the last good rules stay, and
///   [`status`](Source::status) and one log line say why, with line and column.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use tower_flags::source::{Env, File, Layered};
/// use tower_flags::FlagLayer;
///
/// let file = File::open("flags.json").await?;
/// let layer = FlagLayer::new(Layered::over(file).with(Env::process()));
/// # let _ = layer;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct File {
    live: Live,
}

impl File {
    /// Opens a file and keeps its rules current. It waits for them for at most 10 s: without them there is no source, so a
    /// machine that is busy while many services start gets the time.
    ///
    /// # Errors
    ///
    /// The first load is not good as a whole: the file is missing, unreadable or refused. Single flags
    /// that are wrong are problems in [`status`](Source::status). Also where there is no tokio runtime.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let (live, first) = Self::builder(path)?.start_within(LONGEST_REFRESH).start().await?;
        first.map(|()| Self { live })
    }

    /// Like [`open`](Self::open), for services that should come up without their rules: every flag is
    /// off until the file is there and good.
    ///
    /// # Errors
    ///
    /// The path does not end with `.json` or `.toml`, or there is no tokio runtime.
    pub async fn connect(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::builder(path)?.connect().await.map(|live| Self { live })
    }

    /// Settings before connecting; what they make is a [`Live`].
    ///
    /// # Errors
    ///
    /// The path does not end with `.json` or `.toml`.
    pub fn builder(path: impl AsRef<Path>) -> Result<LiveBuilder, Error> {
        FileFeed::new(path).map(Live::builder)
    }
}

impl Source for File {
    fn answer(&self, query: &Query<'_>) -> Answers {
        self.live.answer(query)
    }

    fn status(&self) -> Status {
        self.live.status()
    }

    fn id(&self) -> Option<SourceId> {
        self.live.id()
    }
}

impl Definitions for File {
    fn name(&self) -> &str {
        self.live.name()
    }
}

impl sealed::Part for File {
    fn document(&self, below: Option<&Document>) -> Arc<Document> {
        sealed::Part::document(&self.live, below)
    }

    fn lost(&self) -> Vec<(Arc<str>, Arc<Flag>)> {
        sealed::Part::lost(&self.live)
    }

    fn on_change(&self, listener: Weak<dyn Subscriber>) {
        self.live.on_change(listener);
    }
}
