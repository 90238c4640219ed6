//! A JSON or TOML file as a feed.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::guarded;
use super::in_place::UNFINISHED;
use super::watch::Watch;
use crate::document::{Document, Format, MAX_DOCUMENT, Problem, Timestamp, utf_8};
use crate::error::{Error, ErrorKind};
use crate::store::feed::{BoxFuture, Condition, Feed, FeedContent, Notices};
use crate::store::history::digest_of;
use crate::store::parsing::Parsing;

/// How far apart the two reads are that have to agree.
pub(super) const SETTLING: Duration = Duration::from_millis(50);
/// Reads after which a file that never stays the same is given up for now.
pub(super) const MAX_READS: u32 = 20;
/// How often to look without a notice: they do not come from network file systems, nor from behind links to
/// other folders.
pub(super) const RESYNC: Duration = Duration::from_millis(800);
/// The last line that a TOML file keeps once it has had it.
const END_MARKER: &str = "# end";

/// The rules in a JSON or TOML file; [`File`](crate::source::File) is the source over it.
#[derive(Debug)]
pub struct FileFeed {
    shared: Arc<RulesFile>,
}

/// One file, and what was seen in it.
#[derive(Debug)]
pub(super) struct RulesFile {
    pub(super) path: PathBuf,
    pub(super) name: String,
    pub(super) format: Format,
    memory: Mutex<Memory>,
    pub(super) parsing: Parsing,
}

/// What was seen in the file before.
#[derive(Debug, Default)]
struct Memory {
    /// Whether it was read at all.
    has_read: bool,
    /// Digest of a content that was refused, so that it is not read again and again.
    refused: Option<(String, Problem)>,
    /// Whether an accepted content ended with [`END_MARKER`].
    has_end_marker: bool,
}

impl FileFeed {
    /// The file at a path that ends with `.json` or `.toml`. Nothing is read yet.
    ///
    /// # Errors
    ///
    /// Another ending, or a path without a file name.
    pub fn new(path: impl AsRef<Path>) -> Result<Self, Error> {
        RulesFile::at(path.as_ref()).map(|file| Self { shared: Arc::new(file) })
    }
}

impl Feed for FileFeed {
    fn name(&self) -> &str {
        &self.shared.name
    }

    fn load<'a>(&'a self, known: Option<&'a str>) -> BoxFuture<'a, Result<Option<FeedContent>, Error>> {
        Box::pin(async move {
            let is_first = self.shared.is_first();
            let mut earlier = self.shared.read().await?;
            if is_first && self.shared.is_whole(&earlier) {
                return self.shared.parsed(earlier).await;
            }
            for _ in 0..MAX_READS {
                if known == Some(earlier.digest.as_str()) {
                    return Ok(None);
                }
                if let Some(problem) = self.shared.refused_before(&earlier.digest) {
                    return Err(Error::refused(problem));
                }
                // A writer that writes in place is seen halfway; two equal reads say that it is done.
                tokio::time::sleep(SETTLING).await;
                let later = self.shared.read().await?;
                if later.digest == earlier.digest && !later.is_unfinished() {
                    return self.shared.parsed(later).await;
                }
                earlier = later;
            }
            if earlier.is_unfinished() {
                return self.shared.parsed(earlier).await;
            }
            let message = format!("{} changes faster than it can be read", self.shared.name);
            Err(Error::new(ErrorKind::Unavailable, message))
        })
    }

    fn subscribe(&self) -> BoxFuture<'_, Result<Box<dyn Notices>, Error>> {
        Box::pin(std::future::ready(self.shared.watched()))
    }

    fn condition(&self) -> BoxFuture<'_, Result<Condition, Error>> {
        Box::pin(async {
            let shared = Arc::clone(&self.shared);
            let asked = tokio::task::spawn_blocking(move || shared.condition()).await;
            asked.unwrap_or_else(|error| Err(self.shared.given_up(error)))
        })
    }

    fn resync_every(&self) -> Duration {
        RESYNC
    }
}

/// Found where a file is no longer at the place it was mounted from.
pub(super) const REPLACED_OUTSIDE: &str = "the file was replaced or removed where it was mounted from";

/// Whether no folder contains the file at this path any more: only a mount of the file itself outlives this. A file that a
/// rename is replacing is in no folder either for a moment, and then the path leads to its successor, which may have got
/// its number.
pub(super) fn is_replaced_outside(path: &Path, metadata: &std::fs::Metadata) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;

        let links =
            |metadata: &std::fs::Metadata| Links { file: (metadata.dev(), metadata.ino()), count: metadata.nlink() };
        stays_without_links(links(metadata), || {
            std::thread::sleep(BETWEEN_LOOKS);
            std::fs::metadata(path).ok().as_ref().map(links)
        })
    }
    #[cfg(not(unix))]
    {
        let _ = (path, metadata);
        false
    }
}

/// How long a rename may take between its steps.
#[cfg(unix)]
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// A file, and how many folders it is in.
#[cfg(unix)]
#[derive(Clone, Copy, Debug)]
struct Links {
    file: (u64, u64),
    count: u64,
}

#[cfg(unix)]
fn stays_without_links(found: Links, mut look_again: impl FnMut() -> Option<Links>) -> bool {
    found.count == 0 && (0..3).all(|_| look_again().is_some_and(|again| again.count == 0 && again.file == found.file))
}

/// What a file holds at one moment.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) bytes: Vec<u8>,
    /// SHA-256.
    pub(super) digest: String,
}

impl Content {
    /// Whether an edit that is written in place is unfinished, or was interrupted.
    pub(super) fn is_unfinished(&self) -> bool {
        self.bytes.first() == Some(&UNFINISHED)
    }
}

impl RulesFile {
    pub(super) fn at(path: &Path) -> Result<Self, Error> {
        let name = path.display().to_string();
        let format = match path.extension().and_then(|extension| extension.to_str()) {
            Some(extension) if extension.eq_ignore_ascii_case("json") => Format::Json,
            Some(extension) if extension.eq_ignore_ascii_case("toml") => Format::Toml,
            _ => {
                let message = format!("{name}: expected a file that ends with .json or .toml");
                return Err(Error::new(ErrorKind::Configuration, message));
            }
        };
        Ok(Self { path: path.to_owned(), name, format, memory: Mutex::default(), parsing: Parsing::default() })
    }

    /// Whether nothing was read before this call: then there is no earlier content that a writer may be replacing.
    pub(super) fn is_first(&self) -> bool {
        !std::mem::replace(&mut self.memory().has_read, true)
    }

    /// Whether a content shows by itself that it is complete: a JSON object that is closed, or [`END_MARKER`] in TOML. The
    /// first load then needs only one read.
    pub(super) fn is_whole(&self, content: &Content) -> bool {
        match self.format {
            Format::Json => {
                let is_object = content.bytes.trim_ascii_start().starts_with(b"{");
                is_object && serde_json::from_slice::<serde::de::IgnoredAny>(&content.bytes).is_ok()
            }
            Format::Toml => {
                let ends = |text| last_line(text).trim_end() == END_MARKER;
                !content.is_unfinished() && utf_8(&content.bytes).is_ok_and(ends)
            }
        }
    }

    async fn parsed(self: &Arc<Self>, content: Content) -> Result<Option<FeedContent>, Error> {
        // A large document takes a while, and other requests are served on this thread.
        let shared = Arc::clone(self);
        let parsed = self.parsing.run(&self.name, move || shared.parse(content)).await;
        parsed?.map(Some).map_err(Error::refused)
    }

    async fn read(self: &Arc<Self>) -> Result<Content, Error> {
        let shared = Arc::clone(self);
        let read = tokio::task::spawn_blocking(move || shared.read_blocking());
        read.await.unwrap_or_else(|error| Err(self.given_up(error)))
    }

    pub(super) fn watched(&self) -> Result<Box<dyn Notices>, Error> {
        Watch::start(&self.path).map(|watch| Box::new(watch) as Box<dyn Notices>).map_err(|cause| {
            Error::new(ErrorKind::Unavailable, format!("{} cannot be watched", self.name)).caused_by(cause)
        })
    }

    /// The condition of the file, which its content does not show.
    pub(super) fn condition(&self) -> Result<Condition, Error> {
        let metadata = std::fs::metadata(&self.path).map_err(|cause| {
            Error::new(ErrorKind::Unavailable, format!("{} cannot be read", self.name)).caused_by(cause)
        })?;
        let mut condition = Condition::default();
        if is_replaced_outside(&self.path, &metadata) {
            #[cfg(unix)]
            {
                let seconds = std::os::unix::fs::MetadataExt::ctime(&metadata);
                condition.stale_since = Some(Timestamp::from_unix_millis(seconds.saturating_mul(1000)));
            }
            let problem = Problem::new("the file that was mounted", REPLACED_OUTSIDE);
            let help = "edits made there are not seen here: restart the container, or mount the folder";
            condition.problems.push(problem.with_help(help));
        }
        Ok(condition)
    }

    pub(super) fn given_up(&self, error: tokio::task::JoinError) -> Error {
        Error::new(ErrorKind::Unavailable, format!("{}: reading was given up", self.name)).caused_by(error)
    }

    pub(super) fn read_blocking(&self) -> Result<Content, Error> {
        let unreadable = |cause: std::io::Error| {
            Error::new(ErrorKind::Unavailable, format!("{} cannot be read", self.name)).caused_by(cause)
        };
        let mut bytes = Vec::new();
        let file = guarded::open(&self.path, std::fs::OpenOptions::new().read(true)).map_err(unreadable)?;
        // One byte over the limit is enough to refuse it.
        file.take(MAX_DOCUMENT as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        Ok(Content { digest: digest_of(&bytes), bytes })
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn refused_before(&self, digest: &str) -> Option<Problem> {
        let memory = self.memory();
        memory.refused.as_ref().filter(|(refused, _)| refused == digest).map(|(_, problem)| problem.clone())
    }

    pub(super) fn parse(&self, content: Content) -> Result<FeedContent, Problem> {
        let mut memory = self.memory();
        match self.document(&content.bytes, &mut memory.has_end_marker) {
            Ok(document) => {
                memory.refused = None;
                Ok(FeedContent::new(document, content.digest))
            }
            Err(problem) => {
                let problem = problem.in_source(&self.name);
                memory.refused = Some((content.digest, problem.clone()));
                Err(problem)
            }
        }
    }

    pub(super) fn document(&self, bytes: &[u8], has_end_marker: &mut bool) -> Result<Document, Problem> {
        let text = utf_8(bytes)?;
        if bytes.first() == Some(&UNFINISHED) {
            let problem = Problem::new("a complete file", "one with an unfinished edit");
            let help = "a FileStore that opens it with its history finishes the edit";
            return Err(problem.with_help(help).at_offset(text, 0));
        }
        let ends_with_marker = last_line(text).trim_end() == END_MARKER;
        if self.format == Format::Toml && *has_end_marker && !ends_with_marker {
            let expected = format!("the last line {END_MARKER:?}, which the file had");
            // Not which: it may name users, and the message reaches those who do not see them.
            let problem = Problem::new(expected, "another one");
            let start = text.trim_end().rfind('\n').map_or(0, |end| end + 1);
            return Err(problem.with_help("it looks cut off").at_offset(text, start));
        }
        let mut document = Document::from_text(text, self.format)?;
        *has_end_marker = ends_with_marker;
        document.name_source(&self.name);
        Ok(document)
    }
}

/// The last line that is not empty.
fn last_line(text: &str) -> &str {
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_file_is_lost_only_if_its_place_stays_without_links() {
        let links = |inode: u64, count: u64| Links { file: (1, inode), count };
        let looks = |found: Links, again: [Option<Links>; 3]| {
            let mut again = again.into_iter();
            stays_without_links(found, || again.next().unwrap())
        };
        let lost = links(7, 0);
        assert!(looks(lost, [Some(lost); 3]));
        assert!(!looks(links(7, 1), [None; 3]), "it is where it was");
        assert!(!looks(lost, [Some(links(8, 1)), None, None]), "its successor");
        assert!(!looks(lost, [Some(links(7, 1)), None, None]), "its successor, which has got its number");
        assert!(!looks(lost, [Some(lost), Some(links(7, 1)), None]), "the rename took a while");
        assert!(!looks(lost, [None; 3]), "it was removed");
    }

    #[test]
    fn every_cut_of_a_file_that_ends_with_its_marker_is_refused() {
        let text = "[flags]\ndark_mode = true\n\n[flags.search]\npercentage = 12.5\nusers = [\"ünal\"]\n# end\n\n";
        let shared = FileFeed::new("flags.toml").unwrap().shared;
        let mut has_end_marker = false;
        assert_eq!(shared.document(text.as_bytes(), &mut has_end_marker).unwrap().flags().count(), 2);
        assert!(has_end_marker);
        let whole = text.trim_end().len();
        for end in 0..whole {
            assert!(shared.document(&text.as_bytes()[..end], &mut has_end_marker).is_err(), "{end}");
        }
        for end in whole..=text.len() {
            assert!(shared.document(&text.as_bytes()[..end], &mut has_end_marker).is_ok(), "{end}");
        }
    }
}
