//! A store in the memory of one process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::commit::{Commit, Stored};
use super::feed::{BoxFuture, Feed, FeedContent, Notices};
use super::history::{Head, HistoryEntry, HistoryPage};
use super::history_keys::HistoryKeys;
use super::parsing::Parsing;
use super::traits::{Capabilities, Store, identity_of};
use crate::document::{Document, Problem};
use crate::error::{Error, ErrorKind};

/// A [`Store`] in memory: for tests, and where edits may be lost with the process. Clones are one store.
///
/// Nobody else writes it, and nothing outlives the last clone.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    shared: Arc<Shared>,
    keys: Option<HistoryKeys>,
}

#[derive(Debug, Default)]
struct Shared {
    content: Mutex<Content>,
    parsing: Parsing,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Content {
    flags: BTreeMap<String, StoredFlag>,
    history: Vec<HistoryEntry>,
    head: Head,
}

#[derive(Clone, Debug, Default)]
struct StoredFlag {
    definition: Option<String>,
    version: u64,
    content: String,
}

impl MemoryStore {
    /// A store without flags and history.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Chains the history with keys from now on; clones that are made before have none.
    #[must_use]
    pub fn with_history_keys(mut self, keys: HistoryKeys) -> Self {
        self.keys = Some(keys);
        self
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        // Nothing panics while it is written.
        self.shared.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Content {
    fn stored(&self, flag: &str) -> Stored {
        let StoredFlag { definition, version, content } = self.flags.get(flag).cloned().unwrap_or_default();
        Stored { definition, version, content, head: self.head.clone(), run: None }
    }
}

/// Parses what the store held when these flags were copied.
fn loaded(flags: &BTreeMap<String, StoredFlag>, number: u64) -> Result<FeedContent, Problem> {
    let definitions = flags.iter().filter_map(|(name, kept)| Some((&**name, kept.definition.as_ref()?.as_bytes())));
    let loaded = FeedContent::new(Document::from_texts(definitions)?, number.to_string());
    let removed = flags.iter().filter(|(_, kept)| kept.definition.is_none()).map(|(name, _)| &**name);
    let loaded = loaded.with_versions(flags.iter().map(|(name, kept)| (&**name, kept.version))).with_removed(removed);
    Ok(loaded.at_sequence(number))
}

impl Feed for MemoryStore {
    fn name(&self) -> &str {
        "memory"
    }

    fn load<'a>(&'a self, known: Option<&'a str>) -> BoxFuture<'a, Result<Option<FeedContent>, Error>> {
        Box::pin(async move {
            let (flags, number) = {
                let content = self.content();
                if known == Some(&*content.head.number.to_string()) {
                    return Ok(None);
                }
                (content.flags.clone(), content.head.number)
            };
            let loaded = self.shared.parsing.run(self.name(), move || loaded(&flags, number)).await?;
            loaded.map(Some).map_err(Error::refused)
        })
    }

    fn subscribe(&self) -> BoxFuture<'_, Result<Box<dyn Notices>, Error>> {
        let notices = self.shared.changed.subscribe();
        Box::pin(async { Ok(Box::new(notices) as Box<dyn Notices>) })
    }

    fn identity(&self) -> BoxFuture<'_, Result<Option<String>, Error>> {
        Box::pin(identity_of(self))
    }
}

impl Notices for watch::Receiver<()> {
    fn next(&mut self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async {
            self.changed().await.map_err(|_| Error::new(ErrorKind::Unavailable, "the store in memory is gone"))
        })
    }
}

impl Store for MemoryStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities { has_notices: true, ..Capabilities::none() }
    }

    fn read<'a>(&'a self, flag: &'a str) -> BoxFuture<'a, Result<Stored, Error>> {
        Box::pin(async move { Ok(self.content().stored(flag)) })
    }

    fn commit<'a>(&'a self, commit: &'a Commit) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move {
            let mut content = self.content();
            if content.stored(&commit.flag) != commit.expected {
                return Ok(false);
            }
            let Commit { flag, definition, version, content: digest, entries, head, .. } = commit.clone();
            content.flags.insert(flag, StoredFlag { definition, version, content: digest });
            content.history.extend(entries);
            content.head = head;
            drop(content);
            self.shared.changed.send_replace(());
            Ok(true)
        })
    }

    fn history<'a>(&'a self, page: &'a HistoryPage) -> BoxFuture<'a, Result<Vec<HistoryEntry>, Error>> {
        Box::pin(async move {
            let content = self.content();
            let end = page
                .before
                .map_or(content.history.len(), |before| content.history.partition_point(|entry| entry.number < before));
            let entries = content.history[..end].iter().rev().filter(|entry| page.has(entry));
            Ok(entries.take(page.limit).cloned().collect())
        })
    }

    fn history_keys(&self) -> Option<&HistoryKeys> {
        self.keys.as_ref()
    }
}
