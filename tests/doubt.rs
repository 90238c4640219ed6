//! Edits whose answer is lost: made once or not at all, and whoever asked is told which, or that nobody knows.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tower_flags::document::Edit;
use tower_flags::operate::rollout::{self, Rollout};
use tower_flags::store::{
    Author, BoxFuture, BreakKind, Capabilities, Change, ChangeError, Commit, Error, ErrorKind, Feed, FeedContent, Head,
    HistoryEntry, HistoryPage, MemoryStore, Notices, Store, StoreExt, Stored,
};

/// What happens to one commit.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    /// It never reaches the store.
    Lost,
    /// It is made, and the answer does not come back.
    AnswerLost,
    /// It is made, and nobody ever answers.
    Silence,
    /// Somebody else edits right after it was made, and the answer does not come back.
    AnswerLostAndOvertaken,
    /// The store answers that it did not make it.
    Rejected,
    /// The line breaks before the end of it is sent.
    Unsent,
    /// The store waits for something before it sends it, and goes on with that whether it is waited for or not.
    Waiting,
    /// The store has sent it, and nobody ever answers.
    Sent,
}

/// A store behind a line that breaks.
struct Doubtful {
    store: MemoryStore,
    /// The fates of the next commits, the last one first; later ones go through.
    fates: Mutex<Vec<Fate>>,
    /// Refuses us once an answer was lost.
    locks_out: AtomicBool,
    /// The end of the history that it speaks of, where it is not the real one.
    head: Mutex<Option<Head>>,
    /// The commit that it waits with.
    waits: Mutex<Option<Commit>>,
}

impl Doubtful {
    fn new(fates: &[Fate]) -> Self {
        Self {
            store: MemoryStore::new(),
            fates: Mutex::new(fates.iter().rev().copied().collect()),
            locks_out: AtomicBool::new(false),
            head: Mutex::default(),
            waits: Mutex::default(),
        }
    }
}

fn broken<T>() -> Result<T, Error> {
    Err(Error::new(ErrorKind::Unavailable, "the line is broken"))
}

impl Feed for Doubtful {
    fn name(&self) -> &str {
        "doubtful"
    }

    fn load<'a>(&'a self, known: Option<&'a str>) -> BoxFuture<'a, Result<Option<FeedContent>, Error>> {
        self.store.load(known)
    }

    fn subscribe(&self) -> BoxFuture<'_, Result<Box<dyn Notices>, Error>> {
        self.store.subscribe()
    }
}

impl Store for Doubtful {
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    fn read<'a>(&'a self, flag: &'a str) -> BoxFuture<'a, Result<Stored, Error>> {
        Box::pin(async move {
            if self.locks_out.load(Ordering::Relaxed) && self.fates.lock().unwrap().is_empty() {
                return Err(Error::new(ErrorKind::Denied, "locked out"));
            }
            let mut stored = self.store.read(flag).await?;
            if let Some(head) = self.head.lock().unwrap().clone() {
                stored.head = head;
            }
            Ok(stored)
        })
    }

    fn commit<'a>(&'a self, commit: &'a Commit) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move {
            let Some(fate) = self.fates.lock().unwrap().pop() else { return self.store.commit(commit).await };
            match fate {
                Fate::Lost => return broken(),
                Fate::Unsent => return Err(Error::new(ErrorKind::Unavailable, "the line broke early").unchanged()),
                Fate::Rejected => return Err(Error::rejected("doubtful", "the disk is full")),
                Fate::Waiting | Fate::Sent => {
                    commit.begin_preparing();
                    assert!(fate == Fate::Waiting || commit.begin_sending());
                    *self.waits.lock().unwrap() = Some(commit.clone());
                    return std::future::pending().await;
                }
                _ => {}
            }
            assert!(self.store.commit(commit).await?);
            match fate {
                Fate::Silence => std::future::pending().await,
                Fate::AnswerLostAndOvertaken => {
                    for _ in 0..3 {
                        let edit = Edit::new().set("owner", format!("{:?}", std::time::Instant::now()));
                        self.store.change("x", Change::edit(edit), &Author::new("bob")).await.unwrap();
                    }
                    broken()
                }
                _ => broken(),
            }
        })
    }

    fn history<'a>(&'a self, page: &'a HistoryPage) -> BoxFuture<'a, Result<Vec<HistoryEntry>, Error>> {
        self.store.history(page)
    }
}

fn alice() -> Author {
    Author::new("alice")
}

async fn made_by_alice(store: &Doubtful) -> usize {
    let entries = store.history(&HistoryPage::newest()).await.unwrap();
    assert_eq!(store.verify_history().await.unwrap().map(|head| head.number), Ok(entries.len() as u64));
    entries.iter().filter(|entry| entry.actor.as_deref() == Some("alice")).count()
}

#[tokio::test]
async fn an_edit_whose_answer_is_lost_is_made_once() {
    use Fate::{AnswerLost, AnswerLostAndOvertaken, Lost};
    for fates in [&[Lost][..], &[AnswerLost], &[Lost, AnswerLost], &[Lost, Lost, Lost], &[AnswerLostAndOvertaken]] {
        let store = Doubtful::new(fates);
        let changed = store.change("x", Change::put_text("true"), &alice()).await.unwrap();
        assert_eq!((changed.version, changed.definition.as_deref()), (1, Some("true")), "{fates:?}");
        assert_eq!(changed.entry.map(|entry| entry.number), Some(1), "{fates:?}");
        assert_eq!(made_by_alice(&store).await, 1, "{fates:?}");
    }
}

#[tokio::test]
async fn a_step_of_a_rollout_whose_answer_is_lost_is_made_once() {
    let planned = r#"{"schedule": [
        {"at": "2026-01-01T00:00:00Z", "percentage": 1}, {"at": "9000-01-01T00:00:00Z", "percentage": 2},
        {"at": "9100-01-01T00:00:00Z", "percentage": 3}
    ]}"#;
    let store = Doubtful::new(&[]);
    store.change("x", Change::put_text(planned), &Author::new("bob")).await.unwrap();
    store.fates.lock().unwrap().push(Fate::AnswerLost);
    let changed = store.change("x", rollout::advance(), &alice()).await.unwrap();
    let at = changed.entry.unwrap().at;
    let rollout = Rollout::of(&changed.definition.unwrap().parse().unwrap(), at).unwrap();
    assert_eq!((changed.version, rollout.current), (2, Some(1)));
    assert_eq!(made_by_alice(&store).await, 1);
}

#[tokio::test]
async fn an_edit_for_a_version_that_was_made_in_doubt_is_no_conflict_with_itself() {
    let store = Doubtful::new(&[Fate::AnswerLost]);
    let changed = store.change("x", Change::put_text("true").at_version(0), &alice()).await.unwrap();
    assert_eq!(changed.version, 1);
    assert_eq!(made_by_alice(&store).await, 1);
}

#[tokio::test(start_paused = true)]
async fn where_no_answer_comes_in_time_the_edit_is_in_doubt() {
    let store = Doubtful::new(&[Fate::Silence]);
    let change = Change::put_text("true").within(Duration::from_secs(2));
    match store.change("x", change, &alice()).await {
        Err(ChangeError::Store(error)) => {
            assert_eq!(error.kind(), ErrorKind::InDoubt, "{error}");
            assert!(error.to_string().contains("its history will tell"), "{error}");
        }
        other => panic!("expected doubt, found {other:?}"),
    }
    assert_eq!(made_by_alice(&store).await, 1, "it was made");
}

#[tokio::test(start_paused = true)]
async fn where_the_time_ends_before_the_store_sends_the_edit_there_is_no_doubt() {
    for (fates, kind) in [
        (&[Fate::Waiting][..], ErrorKind::Unavailable),
        (&[Fate::Sent], ErrorKind::InDoubt),
        (&[Fate::Unsent, Fate::Waiting], ErrorKind::Unavailable),
        (&[Fate::Lost, Fate::Waiting], ErrorKind::InDoubt),
    ] {
        let store = Doubtful::new(fates);
        let change = Change::put_text("true").within(Duration::from_secs(2));
        let error = store.change("x", change, &alice()).await.unwrap_err();
        let ChangeError::Store(error) = error else { panic!("{error}") };
        let is_certain = kind == ErrorKind::Unavailable;
        assert_eq!((error.kind(), error.is_unchanged()), (kind, is_certain), "{fates:?}: {error}");
        assert_eq!(error.to_string().contains("nothing was changed, because"), is_certain, "{error}");
        // A store that goes on by itself must not send what was reported as not made.
        let commit = store.waits.lock().unwrap().take().unwrap();
        assert_eq!(commit.begin_sending(), fates.last() == Some(&Fate::Sent), "{fates:?}");
        assert_eq!(made_by_alice(&store).await, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn an_edit_that_never_reached_the_store_is_tried_again_and_is_not_in_doubt() {
    let store = Doubtful::new(&[Fate::Unsent, Fate::Unsent]);
    let changed = store.change("x", Change::put_text("true"), &alice()).await.unwrap();
    assert_eq!(changed.version, 1);
    assert_eq!(made_by_alice(&store).await, 1);

    let store = Doubtful::new(&[Fate::Unsent; 10_000]);
    match store.change("x", Change::put_text("true"), &alice()).await {
        Err(ChangeError::Store(error)) => {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            assert!(error.is_unchanged() && error.to_string().contains("nothing was changed, because"), "{error}");
            assert_eq!(
                std::error::Error::source(&error).map(ToString::to_string).as_deref(),
                Some("the line broke early")
            );
        }
        other => panic!("expected an error, found {other:?}"),
    }
    assert_eq!(made_by_alice(&store).await, 0);

    // One lost answer among them is in doubt all the same.
    let mut fates = [Fate::Unsent; 10_000];
    fates[1] = Fate::Lost;
    let store = Doubtful::new(&fates);
    let error = store.change("x", Change::put_text("true"), &alice()).await.unwrap_err();
    let ChangeError::Store(error) = error else { panic!("{error}") };
    assert!(error.kind() == ErrorKind::InDoubt && !error.is_unchanged(), "{error}");
}

#[tokio::test(start_paused = true)]
async fn where_the_store_is_gone_before_anything_was_written_there_is_no_doubt() {
    let store = Doubtful::new(&[]);
    store.change("x", Change::put_text("true"), &alice()).await.unwrap();
    let gone = Gone(store);
    match gone.change("x", Change::kill(), &alice()).await {
        Err(ChangeError::Store(error)) => {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            assert_eq!(
                std::error::Error::source(&error).map(ToString::to_string).as_deref(),
                Some("the line is broken")
            );
        }
        other => panic!("expected an error, found {other:?}"),
    }
}

/// A store that cannot even be read.
struct Gone(Doubtful);

impl Feed for Gone {
    fn name(&self) -> &str {
        "gone"
    }

    fn load<'a>(&'a self, _: Option<&'a str>) -> BoxFuture<'a, Result<Option<FeedContent>, Error>> {
        Box::pin(async { broken() })
    }

    fn subscribe(&self) -> BoxFuture<'_, Result<Box<dyn Notices>, Error>> {
        Box::pin(async { broken() })
    }
}

impl Store for Gone {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    fn read<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Stored, Error>> {
        Box::pin(async { broken() })
    }

    fn commit<'a>(&'a self, _: &'a Commit) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async { broken() })
    }

    fn history<'a>(&'a self, _: &'a HistoryPage) -> BoxFuture<'a, Result<Vec<HistoryEntry>, Error>> {
        Box::pin(async { broken() })
    }
}

#[tokio::test]
async fn what_goes_wrong_after_a_doubt_does_not_end_it() {
    let store = Doubtful::new(&[Fate::AnswerLost]);
    store.locks_out.store(true, Ordering::Relaxed);
    match store.change("x", Change::put_text("true"), &alice()).await {
        Err(ChangeError::Store(error)) => {
            assert_eq!(error.kind(), ErrorKind::InDoubt, "{error}");
            assert_eq!(std::error::Error::source(&error).map(ToString::to_string).as_deref(), Some("locked out"));
        }
        other => panic!("expected doubt, found {other:?}"),
    }
    store.locks_out.store(false, Ordering::Relaxed);
    assert_eq!(made_by_alice(&store).await, 1);
}

#[tokio::test]
async fn what_never_was_there_can_be_neither_killed_nor_restored() {
    let store = MemoryStore::new();
    for change in [Change::kill(), Change::restore()] {
        let missing = store.change("mistyped", change, &alice()).await;
        assert!(matches!(missing, Err(ChangeError::Missing)), "{missing:?}");
    }
    // Of what was removed nothing is left that they could be made of.
    store.change("gone", Change::put_text(r#"{"percentage": 5}"#), &alice()).await.unwrap();
    store.change("gone", Change::remove().within(Duration::MAX), &alice()).await.unwrap();
    for change in [Change::kill(), Change::restore(), Change::restore().create_again()] {
        let removed = store.change("gone", change, &alice()).await;
        assert!(matches!(removed, Err(ChangeError::Removed(_))), "{removed:?}");
    }
}

#[tokio::test]
async fn a_head_that_was_put_back_breaks_the_chain() {
    let store = Doubtful::new(&[]);
    for percentage in 1..=4 {
        let text = format!(r#"{{"percentage": {percentage}}}"#);
        store.change("x", Change::put_text(text), &alice()).await.unwrap();
    }
    let entries = store.history(&HistoryPage::newest()).await.unwrap();
    for head in [Head::of(&entries[2]), Head::default()] {
        *store.head.lock().unwrap() = Some(head.clone());
        let broken = store.verify_history().await.unwrap().unwrap_err();
        assert_eq!((broken.number, broken.problem), (head.number, BreakKind::Head));
    }
}

#[tokio::test(start_paused = true)]
async fn an_edit_that_the_store_rejects_ends_at_once_and_is_not_in_doubt() {
    let store = Doubtful::new(&[Fate::Rejected]);
    let started = tokio::time::Instant::now();
    let error = store.change("x", Change::put_text("true"), &alice()).await.unwrap_err();
    let ChangeError::Store(cause) = &error else { panic!("{error}") };
    assert_eq!((cause.kind(), cause.is_permanent()), (ErrorKind::Rejected, false));
    assert_eq!(error.to_string(), "doubtful: nothing was changed, because the disk is full");
    assert_eq!((made_by_alice(&store).await, started.elapsed()), (0, Duration::ZERO));

    // The next attempt goes through.
    store.change("x", Change::put_text("true"), &alice()).await.unwrap();
    assert_eq!(made_by_alice(&store).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_rejection_after_a_lost_answer_leaves_the_doubt() {
    let store = Doubtful::new(&[Fate::Lost, Fate::Rejected]);
    let error = store.change("x", Change::put_text("true"), &alice()).await.unwrap_err();
    let ChangeError::Store(error) = error else { panic!("{error}") };
    assert_eq!(error.kind(), ErrorKind::InDoubt);

    // The rejection stands behind it as the cause.
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(cause, "doubtful: nothing was changed, because the disk is full");
}
