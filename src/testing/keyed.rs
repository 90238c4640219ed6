//! A store as a process has it that chains the history with keys.

use std::sync::Arc;

use crate::store::{
    BoxFuture, Capabilities, Commit, Error, Feed, FeedContent, HistoryEntry, HistoryKeys, HistoryPage, Notices, Store,
    Stored,
};

/// Any store with these keys.
#[derive(Debug)]
pub(super) struct Keyed<S> {
    store: Arc<S>,
    keys: HistoryKeys,
}

impl<S> Keyed<S> {
    pub(super) fn new(store: Arc<S>, keys: HistoryKeys) -> Self {
        Self { store, keys }
    }
}

impl<S: Store> Feed for Keyed<S> {
    fn name(&self) -> &str {
        self.store.name()
    }

    fn load<'a>(&'a self, known: Option<&'a str>) -> BoxFuture<'a, Result<Option<FeedContent>, Error>> {
        self.store.load(known)
    }

    fn subscribe(&self) -> BoxFuture<'_, Result<Box<dyn Notices>, Error>> {
        self.store.subscribe()
    }
}

impl<S: Store> Store for Keyed<S> {
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    fn read<'a>(&'a self, flag: &'a str) -> BoxFuture<'a, Result<Stored, Error>> {
        self.store.read(flag)
    }

    fn commit<'a>(&'a self, commit: &'a Commit) -> BoxFuture<'a, Result<bool, Error>> {
        self.store.commit(commit)
    }

    fn history<'a>(&'a self, page: &'a HistoryPage) -> BoxFuture<'a, Result<Vec<HistoryEntry>, Error>> {
        self.store.history(page)
    }

    fn history_keys(&self) -> Option<&HistoryKeys> {
        Some(&self.keys)
    }
}
