//! A feed that is read more often than it asks for, so that a test need not wait for resyncs.

use std::time::Duration;

use tower_flags::store::{BoxFuture, Condition, Error, Feed, FeedContent, Notices};

/// A feed, and how often it is read.
pub(crate) struct Hasty<F>(pub(crate) F, pub(crate) Duration);

impl<F: Feed> Feed for Hasty<F> {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn load<'a>(&'a self, known: Option<&'a str>) -> BoxFuture<'a, Result<Option<FeedContent>, Error>> {
        self.0.load(known)
    }

    fn subscribe(&self) -> BoxFuture<'_, Result<Box<dyn Notices>, Error>> {
        self.0.subscribe()
    }

    fn condition(&self) -> BoxFuture<'_, Result<Condition, Error>> {
        self.0.condition()
    }

    fn identity(&self) -> BoxFuture<'_, Result<Option<String>, Error>> {
        self.0.identity()
    }

    fn resync_every(&self) -> Duration {
        self.1
    }
}
