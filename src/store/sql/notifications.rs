//! Notices from a task that listens.

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::store::{BoxFuture, Error, ErrorKind, Notices};

/// Notices of a task that owns its connection: waiting for the next one can be given up at any time, and
/// nothing is lost on the way.
pub(super) struct Notifications {
    heard: mpsc::Receiver<Result<(), Error>>,
    task: JoinHandle<()>,
}

/// Where the task says that something has changed.
pub(super) struct Notifier {
    notices: mpsc::Sender<Result<(), Error>>,
}

impl Notifier {
    pub(super) fn changed(&self) {
        // Full means that a notice is waiting already.
        let _ = self.notices.try_send(Ok(()));
    }
}

impl Notifications {
    /// Listens until it fails or the notices are dropped.
    pub(super) fn start<F>(listen: impl FnOnce(Notifier) -> F) -> Self
    where
        F: Future<Output = Error> + Send + 'static,
    {
        let (notices, heard) = mpsc::channel(1);
        let listening = listen(Notifier { notices: notices.clone() });
        let task = tokio::spawn(async move {
            let error = listening.await;
            let _ = notices.send(Err(error)).await;
        });
        Self { heard, task }
    }
}

impl Notices for Notifications {
    fn next(&mut self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async {
            let ended = || Err(Error::new(ErrorKind::Unavailable, "nobody listens for changes any more"));
            self.heard.recv().await.unwrap_or_else(ended)
        })
    }
}

impl Drop for Notifications {
    fn drop(&mut self) {
        self.task.abort();
    }
}
