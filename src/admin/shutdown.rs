//! Ends the streams of events when the application shuts down.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::state::State;

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
}

/// Starts to wait for the signal, once per router, where there is a runtime. It ends with the router.
pub(super) fn watch(state: &Arc<State>) {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    let shutdown = &state.shutdown;
    let Some(signal) = shutdown.signal.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
    let has_begun = shutdown.has_begun.clone();
    let mut end = state.end.subscribe();
    runtime.spawn(async move {
        tokio::select! {
            () = signal => {
                has_begun.send_replace(true);
            }
            _ = end.changed() => {}
        }
    });
}
