//! Ends the streams of events when the application shuts down.

use std::pin::Pin;
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

type Signal = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Waits for the application to shut down.
#[derive(Default)]
pub(super) struct Shutdown {
    /// Until a task waits for it.
    signal: Mutex<Option<Signal>>,
    has_begun: watch::Sender<bool>,
}

impl Shutdown {
    pub(super) fn on(signal: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { signal: Mutex::new(Some(Box::pin(signal))), ..Self::default() }
    }

    /// Waits until the application shuts down; forever if no signal was configured.
    pub(super) async fn begun(&self) {
        // The sender is in `self`, so it cannot be gone.
        let _ = self.has_begun.subscribe().wait_for(|has_begun| *has_begun).await;
    }

    /// Starts to wait for the signal, once, where there is a runtime, until `end` changes.
    pub(super) fn watch(&self, mut end: watch::Receiver<()>) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let Some(signal) = self.signal.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        let has_begun = self.has_begun.clone();
        runtime.spawn(async move {
            tokio::select! {
                () = signal => {
                    has_begun.send_replace(true);
                }
                _ = end.changed() => {}
            }
        });
    }
}
