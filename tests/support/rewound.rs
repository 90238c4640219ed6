//! A store whose content is set by hand, and which can be down.
#![allow(dead_code, reason = "each test program uses its own part")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::watch;
use tower_flags::engine::Query;
use tower_flags::source::{Live, Source};
use tower_flags::store::{BoxFuture, Error, ErrorKind, Feed, FeedContent, Notices};
use tower_flags::{Context, Document, Timestamp};

/// A store whose content is set by hand.
#[derive(Clone)]
pub(crate) struct Rewound {
    content: Arc<Mutex<FeedContent>>,
    is_down: Arc<AtomicBool>,
    changed: watch::Sender<()>,
}

impl Rewound {
    pub(crate) fn new(content: FeedContent) -> Self {
        Self { content: Arc::new(Mutex::new(content)), is_down: Arc::default(), changed: watch::Sender::new(()) }
    }

    /// Answers with errors from now on, or no longer.
    pub(crate) fn is_down(&self, is_down: bool) {
        self.is_down.store(is_down, Ordering::Relaxed);
        self.changed.send_replace(());
    }

    pub(crate) fn becomes(&self, content: FeedContent) {
        *self.content.lock().unwrap() = content;
        self.changed.send_replace(());
    }
}

impl Feed for Rewound {
    fn name(&self) -> &str {
        "rewound"
    }

    fn load<'a>(&'a self, known: Option<&'a str>) -> BoxFuture<'a, Result<Option<FeedContent>, Error>> {
        let content = self.content.lock().unwrap().clone();
        let is_down = self.is_down.load(Ordering::Relaxed);
        Box::pin(async move {
            if is_down {
                return Err(Error::new(ErrorKind::Unavailable, "the store is down"));
            }
            Ok(Some(content).filter(|content| known != Some(&content.revision)))
        })
    }

    fn subscribe(&self) -> BoxFuture<'_, Result<Box<dyn Notices>, Error>> {
        struct Changed(watch::Receiver<()>);
        impl Notices for Changed {
            fn next(&mut self) -> BoxFuture<'_, Result<(), Error>> {
                Box::pin(async {
                    self.0.changed().await.unwrap();
                    Ok(())
                })
            }
        }
        let changed = Changed(self.changed.subscribe());
        Box::pin(async { Ok(Box::new(changed) as Box<dyn Notices>) })
    }
}

/// Flags with their texts and versions, at a revision.
pub(crate) fn content(revision: u64, flags: &[(&str, &str, u64)]) -> FeedContent {
    let document = Document::from_texts(flags.iter().map(|(name, text, _)| (*name, text.as_bytes()))).unwrap();
    let versions = flags.iter().map(|(name, _, version)| (*name, *version));
    FeedContent::new(document, format!("{revision} {flags:?}")).with_versions(versions).at_sequence(revision)
}

pub(crate) fn is_on(source: &Live, name: &str) -> bool {
    let flags = source.answer(&Query::new(&Context::user("alice"), Timestamp::MIN));
    flags.is_enabled(name)
}

/// Waits until the content has been taken in.
pub(crate) async fn becomes(store: &Rewound, source: &Live, content: FeedContent) {
    let revision = content.revision.clone();
    store.becomes(content);
    until(|| source.status().revision == revision).await;
}

/// Waits for what another task brings about.
pub(crate) async fn until(condition: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !condition() {
        assert!(start.elapsed().as_secs() < 60, "not in a minute");
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}
