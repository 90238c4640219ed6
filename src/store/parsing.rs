//! Reading large documents beside the threads that serve requests, one at a time.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::own_work::OwnWork;
use super::{Error, ErrorKind};

/// The place of one source in which it reads documents. A load that is given up because it takes too long leaves its reading
/// behind; the next one waits for that, so that no two of one source run at a time.
#[derive(Clone, Debug)]
pub(super) struct Parsing(Arc<Semaphore>);

impl Default for Parsing {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl Parsing {
    /// Does this work on a thread of its own; `name` is the source's.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let done = OwnWork::counted(async {
            let place = Arc::clone(&self.0).acquire_owned().await.expect("it is never closed");
            let work = move || {
                let _place = place;
                work()
            };
            tokio::task::spawn_blocking(work).await
        });
        done.await.map_err(|cause| {
            Error::new(ErrorKind::Unavailable, format!("{name}: reading was given up")).caused_by(cause)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn what_was_given_up_ends_before_the_next_begins() {
        let (parsing, (end, ends)) = (Parsing::default(), mpsc::channel::<()>());
        let (begin, mut begins) = tokio::sync::mpsc::unbounded_channel();
        let given_up = parsing.run("a", move || {
            begin.send(()).unwrap();
            ends.recv().unwrap();
        });
        tokio::select! {
            _ = given_up => unreachable!("it waits"),
            _ = begins.recv() => {}
        }
        let mut next = std::pin::pin!(parsing.run("a", || 1));
        assert!(timeout(Duration::from_millis(50), &mut next).await.is_err(), "the first one goes on");
        end.send(()).unwrap();
        assert_eq!(next.await.unwrap(), 1);
        let panicked = parsing.run("a", || panic!("as a test")).await;
        assert_eq!(panicked.unwrap_err().to_string(), "a: reading was given up");
        assert_eq!(parsing.run("a", || 2).await.unwrap(), 2, "a panic leaves the place");
    }
}
