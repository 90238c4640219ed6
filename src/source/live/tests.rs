use std::sync::atomic::AtomicU64;
use std::sync::mpsc;

use super::*;
use crate::document::Document;
use crate::store::{BoxFuture, MemoryStore};

/// A feed whose rules are new with each load.
#[derive(Default)]
struct Counted(AtomicU64);

impl Feed for Counted {
    fn name(&self) -> &str {
        "counted"
    }

    fn load<'a>(&'a self, _: Option<&'a str>) -> BoxFuture<'a, Result<Option<FeedContent>, Error>> {
        let number = self.0.fetch_add(1, Relaxed) + 1;
        Box::pin(async move { Ok(Some(FeedContent::new(Document::new(), number.to_string()))) })
    }

    fn subscribe(&self) -> BoxFuture<'_, Result<Box<dyn Notices>, Error>> {
        Box::pin(async { Err(Error::new(ErrorKind::Unavailable, "it notifies nobody")) })
    }
}

#[tokio::test]
async fn nothing_is_loaded_while_an_earlier_load_is_compiled() {
    let live = Live::connect(MemoryStore::new()).await.unwrap();
    let feed = Arc::new(Counted::default());
    let mut keeper = Keeper::new(Arc::clone(&feed) as Arc<dyn Feed>, Arc::clone(&live.shared));

    // Stands for a set that takes long to compile.
    let (begin, begins) = mpsc::channel();
    let (end, ends) = mpsc::channel::<()>();
    let shared = Arc::clone(&live.shared);
    let slow = std::thread::spawn(move || {
        shared.board.publish(|_| {
            begin.send(()).unwrap();
            ends.recv().unwrap();
            None
        });
    });
    begins.recv().unwrap();

    keeper.start_within(Duration::from_millis(10)).await.unwrap_err();
    assert_eq!((feed.0.load(Relaxed), live.shared.board.set().revision()), (1, "0"), "it is not compiled yet");
    {
        let mut again = std::pin::pin!(keeper.refresh());
        assert!(tokio::time::timeout(Duration::from_millis(50), &mut again).await.is_err());
        assert_eq!(feed.0.load(Relaxed), 1, "the first load is still compiled");
        end.send(()).unwrap();
        let _ = again.await;
    }
    slow.join().unwrap();
    assert_eq!((feed.0.load(Relaxed), live.shared.board.set().revision()), (2, "2"));
}
