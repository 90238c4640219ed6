//! Stores that are broken on purpose, so that the tests show that they would find it.

use std::sync::Arc;
use std::time::Duration;

use tower_flags::store::{
    BoxFuture, Capabilities, Commit, Error, Feed, FeedContent, HistoryEntry, HistoryPage, Notices, Store, Stored,
};

/// A store that believes in notices: nothing is read without one, and it does not see that they have ended.
pub(crate) struct NoResync(pub(crate) Arc<dyn Store>);

impl Feed for NoResync {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn load<'a>(&'a self, known: Option<&'a str>) -> BoxFuture<'a, Result<Option<FeedContent>, Error>> {
        self.0.load(known)
    }

    fn subscribe(&self) -> BoxFuture<'_, Result<Box<dyn Notices>, Error>> {
        Box::pin(async { Ok(Box::new(Believed(Some(self.0.subscribe().await?))) as Box<dyn Notices>) })
    }

    fn resync_every(&self) -> Duration {
        Duration::from_secs(24 * 60 * 60)
    }
}

struct Believed(Option<Box<dyn Notices>>);

impl Notices for Believed {
    fn next(&mut self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async {
            if let Some(notices) = &mut self.0
                && notices.next().await.is_ok()
            {
                return Ok(());
            }
            self.0 = None;
            std::future::pending().await
        })
    }
}

/// A store of plain get and set: what an edit expects is not compared with what is there.
pub(crate) struct GetAndSet(pub(crate) Arc<dyn Store>);

impl Feed for GetAndSet {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn load<'a>(&'a self, known: Option<&'a str>) -> BoxFuture<'a, Result<Option<FeedContent>, Error>> {
        self.0.load(known)
    }

    fn subscribe(&self) -> BoxFuture<'_, Result<Box<dyn Notices>, Error>> {
        self.0.subscribe()
    }
}

impl Store for GetAndSet {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    fn read<'a>(&'a self, flag: &'a str) -> BoxFuture<'a, Result<Stored, Error>> {
        self.0.read(flag)
    }

    fn commit<'a>(&'a self, commit: &'a Commit) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move {
            let mut commit = commit.clone();
            loop {
                commit.expected = self.0.read(&commit.flag).await?;
                // What is written is what the editor thought, whatever has come between.
                if let Some(entry) = commit.entries.last_mut() {
                    entry.number = commit.expected.head.number + 1;
                    entry.previous.clone_from(&commit.expected.head.digest);
                    commit.head = tower_flags::store::Head::of(entry);
                }
                if self.0.commit(&commit).await? {
                    return Ok(true);
                }
            }
        })
    }

    fn history<'a>(&'a self, page: &'a HistoryPage) -> BoxFuture<'a, Result<Vec<HistoryEntry>, Error>> {
        self.0.history(page)
    }
}
