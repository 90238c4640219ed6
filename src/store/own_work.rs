//! The part of a load that is the work of this process.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

tokio::task_local! {
    /// Of the load that this task is in.
    static OWN_WORK: OwnWork;
}

/// The work of this process in one load: reading what the store has answered. A deadline is for the store, and leaves it out:
/// the work is bounded by the sizes of documents, and a process that gets little of a processor would begin it again and
/// again, and never end it.
#[derive(Clone, Debug)]
pub(crate) struct OwnWork(Arc<watch::Sender<Work>>);

#[derive(Clone, Copy, Debug, Default)]
struct Work {
    /// What has ended took so long.
    took: Duration,
    /// When the work under way began.
    since: Option<Instant>,
}

impl OwnWork {
    /// Does this, and gives it up once everything but the work in it has taken so long.
    pub(crate) async fn bounded<T>(longest: Duration, load: impl Future<Output = T>) -> Option<T> {
        let own = Self(Arc::new(watch::Sender::default()));
        let (mut works, begun) = (own.0.subscribe(), Instant::now());
        let mut load = std::pin::pin!(OWN_WORK.scope(own, load));
        loop {
            let Work { took, since } = *works.borrow_and_update();
            let is_over = async {
                match since {
                    Some(_) => std::future::pending().await,
                    None => sleep_until(begun + longest + took).await,
                }
            };
            tokio::select! {
                biased;
                done = &mut load => return Some(done),
                Ok(()) = works.changed() => {}
                () = is_over => return None,
            }
        }
    }

    /// Does work that no deadline counts. Loads have one work at a time.
    pub(crate) async fn counted<T>(work: impl Future<Output = T>) -> T {
        let Ok(own) = OWN_WORK.try_with(Self::clone) else { return work.await };
        own.0.send_modify(|work| work.since = Some(Instant::now()));
        let _ends = WorkGuard(own);
        work.await
    }
}

/// Ends the work under way.
struct WorkGuard(OwnWork);

impl Drop for WorkGuard {
    fn drop(&mut self) {
        self.0.0.send_modify(|work| work.took += work.since.take().map(|since| since.elapsed()).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_deadline_leaves_out_the_work_of_this_process() {
        let longest = Duration::from_secs(10);
        let store = || tokio::time::sleep(Duration::from_secs(4));
        let work = || OwnWork::counted(tokio::time::sleep(Duration::from_secs(60)));
        let begun = Instant::now();
        let load = async {
            store().await;
            work().await;
            store().await;
            work().await;
            1
        };
        assert_eq!(OwnWork::bounded(longest, load).await, Some(1));
        assert!(begun.elapsed() >= Duration::from_secs(128), "{:?}", begun.elapsed());
        let slow = async {
            store().await;
            work().await;
            store().await;
            store().await;
        };
        let begun = Instant::now();
        assert_eq!(OwnWork::bounded(longest, slow).await, None, "the store took 12 s");
        assert_eq!(begun.elapsed().as_secs(), 70);
    }
}
