//! What every store has to do, as tests that anybody can run against theirs.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::caught::caught;
use super::keyed::Keyed;
use crate::document::{Definition, Edit, Flag};
use crate::store::{
    Author, BreakKind, Capabilities, Change, ChangeError, Commit, Feed, FeedContent, HistoryEntry, HistoryKeys,
    HistoryPage, Store, StoreExt, Stored,
};

/// How a store is made for tests, for [`check_store`].
///
/// ```
/// use tower_flags::store::MemoryStore;
/// use tower_flags::testing::{StoreFixture, check_store};
///
/// struct InMemory;
///
/// impl StoreFixture for InMemory {
///     type Store = MemoryStore;
///
///     async fn fresh(&self) -> MemoryStore {
///         MemoryStore::new()
///     }
/// }
///
/// # #[tokio::main]
/// # async fn main() {
/// let report = check_store(&InMemory).await;
/// assert_eq!(report.skipped().collect::<Vec<_>>(), [
///     "edits of other processes are seen: it is not shared",
///     "edits survive: it is not durable",
///     "what others wrote past it is seen: it has no foreign writers",
///     "what others broke costs that flag alone: it has no foreign writers",
/// ]);
/// report.assert_passed();
/// # }
/// ```
pub trait StoreFixture: Sync {
    /// The store under test.
    type Store: Store;

    /// An empty store that nobody else has.
    fn fresh(&self) -> impl Future<Output = Self::Store> + Send;

    /// The same store as another process has it, where [`Capabilities::is_shared`] says that it can.
    fn another(&self, store: &Self::Store) -> impl Future<Output = Self::Store> + Send {
        let _ = store;
        async { unimplemented_by("another", "is_shared") }
    }

    /// The same store after its own end and start, where [`Capabilities::is_durable`] says that it survives.
    fn restarted(&self, store: Self::Store) -> impl Future<Output = Self::Store> + Send {
        let _ = store;
        async { unimplemented_by("restarted", "is_durable") }
    }

    /// Writes, or removes, a flag by the store's own tools, where [`Capabilities::has_foreign_writers`] says that
    /// somebody may.
    fn write_past(&self, store: &Self::Store, flag: &str, text: Option<&[u8]>) -> impl Future<Output = ()> + Send {
        let _ = (store, flag, text);
        async { unimplemented_by("write_past", "has_foreign_writers") }
    }
}

fn unimplemented_by<T>(method: &str, capability: &str) -> T {
    panic!("the store says {capability}; its fixture needs `{method}` to show it")
}

/// What came of [`check_store`].
#[derive(Clone, Debug)]
#[must_use = "a report that nobody looks at shows nothing"]
pub struct Report {
    store: String,
    outcomes: Vec<(&'static str, CaseOutcome)>,
}

/// What came of one case.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CaseOutcome {
    /// As it should be.
    Passed,
    /// Not tried, since the store says that it cannot do it.
    Skipped(&'static str),
    /// Not as it should be.
    Failed(String),
}

impl Report {
    /// All cases, in order.
    pub fn outcomes(&self) -> impl Iterator<Item = (&'static str, &CaseOutcome)> {
        self.outcomes.iter().map(|(case, outcome)| (*case, outcome))
    }

    /// The cases that were not tried, each with the reason.
    pub fn skipped(&self) -> impl Iterator<Item = String> {
        self.outcomes().filter_map(|(case, outcome)| match outcome {
            CaseOutcome::Skipped(reason) => Some(format!("{case}: {reason}")),
            _ => None,
        })
    }

    /// # Panics
    ///
    /// If a case failed: with all of them.
    #[track_caller]
    pub fn assert_passed(&self) {
        let failed = self.outcomes.iter().filter(|(_, outcome)| matches!(outcome, CaseOutcome::Failed(_))).count();
        assert!(failed == 0, "{failed} cases failed\n{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the store {:?}", self.store)?;
        for (case, outcome) in &self.outcomes {
            match outcome {
                CaseOutcome::Passed => writeln!(f, "  passed   {case}"),
                CaseOutcome::Skipped(reason) => writeln!(f, "  skipped  {case}: {reason}"),
                CaseOutcome::Failed(message) => writeln!(f, "  FAILED   {case}: {message}"),
            }?;
        }
        Ok(())
    }
}

/// Longer than any case takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the contract of a [`Store`] against fresh stores of a fixture, on a tokio runtime with timers.
///
/// What a store does not claim to do ([`Store::capabilities`]) is skipped, and the report says so: a test should
/// compare [`Report::skipped`] with what is meant.
pub async fn check_store<F: StoreFixture>(fixture: &F) -> Report {
    let sample = fixture.fresh().await;
    let (store, capabilities) = (sample.name().to_owned(), sample.capabilities());
    drop(sample);
    let mut report = Report { store, outcomes: Vec::new() };
    let Capabilities { is_shared, is_durable, has_notices, has_foreign_writers } = capabilities;
    macro_rules! cases {
        ($($name:literal $case:ident $(if $capability:ident, $reason:literal)?;)*) => {$(
            let missing: [Option<&str>; _] = [$((!$capability).then_some($reason))?];
            let outcome = match missing.into_iter().flatten().next() {
                Some(reason) => CaseOutcome::Skipped(reason),
                None => match timeout(PATIENCE, caught($case(fixture))).await {
                    Ok(Ok(())) => CaseOutcome::Passed,
                    Ok(Err(message)) => CaseOutcome::Failed(message),
                    Err(_) => CaseOutcome::Failed(format!("it took longer than {PATIENCE:?}")),
                },
            };
            report.outcomes.push(($name, outcome));
        )*};
    }
    cases! {
        "an empty store is empty" an_empty_store;
        "a flag is kept as it was written" kept_as_written;
        "an edit leaves other keys as they are" other_keys;
        "an edit for another version is a conflict" conflicts;
        "a commit that expects something else changes nothing" stale_commits;
        "a refused edit changes nothing" refused;
        "an edit without effect is no edit" without_effect;
        "removed names are remembered" removed;
        "the history is paged, newest first" history;
        "the history is a chain" chain;
        "the history may be chained with keys" keyed_chain;
        "racing edits are all made, once each" races;
        "what is known is not loaded again" known;
        "the store can be told from others" identity;
        "changes are noticed" notices if has_notices, "it has no notices";
        "edits of other processes are seen" other_processes if is_shared, "it is not shared";
        "edits survive" survives if is_durable, "it is not durable";
        "what others wrote past it is seen" foreign_writers if has_foreign_writers, "it has no foreign writers";
        "what others broke costs that flag alone" garbage if has_foreign_writers, "it has no foreign writers";
    }
    report
}

fn alice() -> Author {
    Author::new("alice").because("a test, with \"quotes\", \u{1f600} and\na line")
}

fn flag(text: &str) -> Flag {
    text.parse().expect("this is a flag")
}

async fn changed(store: &impl Store, name: &str, change: Change) -> u64 {
    store.change(name, change.within(PATIENCE), &alice()).await.expect("the change is made").version
}

/// The stored state, without the run of the server.
async fn stored(store: &impl Store, name: &str) -> Stored {
    Stored { run: None, ..store.read(name).await.expect("the store is read") }
}

async fn text_of(store: &impl Store, name: &str) -> Option<String> {
    stored(store, name).await.definition
}

async fn entries(store: &impl Store, page: HistoryPage) -> Vec<HistoryEntry> {
    store.history(&page).await.expect("the history is read")
}

async fn loaded(store: &impl Store) -> FeedContent {
    store.load(None).await.expect("the store is loaded").expect("there is something to load")
}

async fn assert_chain(store: &impl Store) {
    let checked = store.verify_history().await.expect("the history is read");
    assert!(checked.is_ok(), "{checked:?}");
}

async fn an_empty_store<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    let found = loaded(&store).await;
    assert_eq!((found.document.flags().count(), found.document.problems()), (0, &[][..]));
    assert_eq!(stored(&store, "nothing").await, Stored::default());
    assert_eq!(entries(&store, HistoryPage::newest()).await, []);
    assert_chain(&store).await;
}

async fn kept_as_written<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    let names = ["a", "A", "a.b_c-d", "9", &"n".repeat(128), "constructor", "null"];
    for (number, name) in names.into_iter().enumerate() {
        let text = format!(r#"{{"percentage": {number}.125, "description": "ünïcødé \u0000 \\ ' % {number}"}}"#);
        assert_eq!(changed(&store, name, Change::put_text(&text)).await, 1);
        assert_eq!(text_of(&store, name).await, Some(text));
    }
    let large = format!(r#"{{"enabled": true, "description": "{}"}}"#, "x".repeat(500_000));
    changed(&store, "large", Change::put_text(&large)).await;
    let found = loaded(&store).await;
    assert_eq!(found.document.problems(), []);
    let mut expected: Vec<&str> = names.into_iter().chain(["large"]).collect();
    expected.sort_unstable();
    assert_eq!(found.document.flags().map(|(name, _)| name).collect::<Vec<_>>(), expected);
    assert_eq!(found.document.flag("large"), Some(&flag(&large)));
    assert!(found.versions.values().all(|version| *version == 1) && found.versions.len() == expected.len());
}

async fn other_keys<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    changed(&store, "x", Change::put_text(r#"{"enabled": true, "rollout_stages": [1, 2], "owner": "pay"}"#)).await;
    let before = text_of(&store, "x").await.expect("it is there");
    assert_eq!(changed(&store, "x", Change::edit(Edit::new().set("percentage", 12.5))).await, 2);
    let after = text_of(&store, "x").await.expect("it is there");
    for key in [r#""rollout_stages": [1, 2]"#, r#""owner": "pay""#] {
        assert!(before.contains(key) && after.contains(key), "{before} {after}");
    }
    assert_eq!(loaded(&store).await.document.flag("x"), Some(&flag(&after)));
}

async fn conflicts<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    let on = || Change::put_text("true");
    assert_eq!(changed(&store, "x", on().at_version(0)).await, 1);
    for stale in [0, 2, u64::MAX] {
        match store.change("x", Change::kill().at_version(stale), &alice()).await {
            Err(ChangeError::Conflict(current)) => {
                assert_eq!((current.version, current.definition), (1, Some("true".into())));
            }
            other => panic!("expected a conflict at version {stale}, found {other:?}"),
        }
    }
    assert_eq!(changed(&store, "x", Change::kill().at_version(1)).await, 2);
    assert_eq!(entries(&store, HistoryPage::newest()).await.len(), 2);
}

/// A commit as `change` would make it, but for what the test breaks.
async fn commit_of(store: &impl Store, name: &str) -> Commit {
    let expected = stored(store, name).await;
    let now = "2026-12-01T12:00:00Z".parse().expect("this is an instant");
    Commit::new(name, expected, Some("false".to_owned()), &alice(), now)
}

async fn stale_commits<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    changed(&store, "x", Change::put_text("true")).await;
    let good = commit_of(&store, "x").await;
    let mut other_text = good.clone();
    other_text.expected.definition = Some("{\"enabled\":true}".to_owned());
    let mut no_text = good.clone();
    no_text.expected.definition = None;
    let mut other_version = good.clone();
    other_version.expected.version += 1;
    let mut other_head = good.clone();
    other_head.expected.head.digest = "0".repeat(64);
    let mut other_number = good.clone();
    other_number.expected.head.number += 1;
    for stale in [other_text, no_text, other_version, other_head, other_number] {
        let before = (stored(&store, "x").await, entries(&store, HistoryPage::newest()).await);
        assert!(!store.commit(&stale).await.expect("the store answers"), "{:?}", stale.expected);
        assert_eq!((stored(&store, "x").await, entries(&store, HistoryPage::newest()).await), before);
    }
    assert!(store.commit(&good).await.expect("the store answers"));
    assert!(!store.commit(&good).await.expect("the store answers"), "a second time");
    assert_eq!(stored(&store, "x").await.version, 2);
    assert_chain(&store).await;
}

async fn refused<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    changed(&store, "x", Change::put_text("true")).await;
    let before = stored(&store, "x").await;
    for edit in [Edit::new().set("percentage", 101), Edit::new().set("percentge", 1), Edit::new().set("rules", "x")] {
        let refused = store.change("x", Change::edit(edit), &alice()).await;
        assert!(matches!(refused, Err(ChangeError::Refused(_))), "{refused:?}");
    }
    for name in ["", "a b", "-", "ä", &"n".repeat(129)] {
        let refused = store.change(name, Change::put_text("true"), &alice()).await;
        assert!(matches!(refused, Err(ChangeError::Refused(_))), "{name:?}: {refused:?}");
    }
    let missing = store.change("nothing", Change::remove(), &alice()).await;
    assert!(matches!(missing, Err(ChangeError::Missing)), "{missing:?}");
    assert_eq!(stored(&store, "x").await, before);
}

async fn without_effect<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    changed(&store, "x", Change::put_text("false")).await;
    let again = store.change("x", Change::put_text("false"), &alice()).await.expect("nothing is refused");
    assert_eq!((again.version, again.entry), (1, None));
    assert_eq!(entries(&store, HistoryPage::newest()).await.len(), 1);
    changed(&store, "x", Change::restore()).await;
    assert_eq!(changed(&store, "x", Change::restore()).await, 3, "a restore is always one");
    assert_chain(&store).await;
}

async fn removed<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    changed(&store, "x", Change::put_text("true")).await;
    changed(&store, "y", Change::put_text("true")).await;
    assert_eq!(changed(&store, "x", Change::remove()).await, 2);
    let found = loaded(&store).await;
    assert_eq!(found.document.flags().map(|(name, _)| name).collect::<Vec<_>>(), ["y"]);
    assert_eq!(found.removed, BTreeSet::from([Arc::from("x")]));
    assert_eq!((text_of(&store, "x").await, stored(&store, "x").await.version), (None, 2));
    for change in [Change::put_text("true"), Change::restore(), Change::put_text("true").at_version(2)] {
        let again = store.change("x", change, &alice()).await;
        assert!(matches!(again, Err(ChangeError::Removed(_))), "{again:?}");
    }
    assert_eq!(changed(&store, "x", Change::put_text("false").create_again()).await, 3);
    assert_eq!(loaded(&store).await.removed, BTreeSet::new());
    assert_chain(&store).await;
}

async fn history<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    for percentage in 1..=12 {
        let name = if percentage % 3 == 0 { "third" } else { "other" };
        let text = format!(r#"{{"enabled": true, "percentage": {percentage}}}"#);
        changed(&store, name, Change::put_text(&text)).await;
    }
    let all = entries(&store, HistoryPage::newest()).await;
    assert_eq!(all.iter().map(|entry| entry.number).collect::<Vec<_>>(), (1..=12).rev().collect::<Vec<_>>());
    let newest = &all[0];
    assert_eq!((&*newest.flag, newest.version, newest.actor.as_deref()), ("third", 4, Some("alice")));
    assert_eq!(newest.reason.as_deref(), Some("a test, with \"quotes\", \u{1f600} and\na line"));
    assert_eq!((&newest.before, &newest.after), (&all[3].after, &text_of(&store, "third").await));
    assert_eq!(all[11].before, None);

    let mut page = HistoryPage::newest().of("other").limit(3);
    let mut numbers = Vec::new();
    loop {
        let found = entries(&store, page.clone()).await;
        let Some(last) = found.last() else { break };
        assert!(found.len() <= 3);
        page = page.before(last.number);
        numbers.extend(found.iter().map(|entry| entry.number));
    }
    assert_eq!(numbers, [11, 10, 8, 7, 5, 4, 2, 1]);
    assert_eq!(entries(&store, HistoryPage::newest().of("nothing")).await, []);
    assert_eq!(entries(&store, HistoryPage::newest().limit(0)).await, []);
    assert_eq!(entries(&store, HistoryPage::newest().before(0)).await, []);
    assert_eq!(entries(&store, HistoryPage::newest().of("other").before(1)).await, []);
}

async fn chain<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    for number in 0..5 {
        changed(&store, &format!("flag_{number}"), Change::put_text("true")).await;
        changed(&store, "shared", Change::put_text(format!(r#"{{"percentage": {number}}}"#))).await;
    }
    changed(&store, "flag_1", Change::remove()).await;
    let head = store.verify_history().await.expect("the history is read").expect("the chain holds");
    assert_eq!((head.number, &head), (11, &stored(&store, "whatever").await.head));
}

async fn keyed_chain<F: StoreFixture>(fixture: &F) {
    let store = Arc::new(fixture.fresh().await);
    let edit = |number: u32| Change::put_text(format!(r#"{{"percentage": {number}}}"#));
    changed(&store, "x", edit(1)).await;
    changed(&store, "x", edit(2)).await;
    // The longest id that a key can have.
    let id = "k".repeat(32);
    let keys = HistoryKeys::new(&id, "6f0e5c1f4b7d4a0f9c3b2e1d0a9f8e7d").expect("this is a key");
    let keyed = Keyed::new(Arc::clone(&store), keys);
    for number in 3..6 {
        changed(&keyed, "x", edit(number)).await;
    }
    assert!(stored(&store, "x").await.head.digest.starts_with(&format!("{id}:")), "the head keeps the digest as it is");
    let found = keyed.verification().await.expect("the history is read");
    assert_eq!((found.entries, found.keyed_from, &found.breaks[..]), (5, Some(3), &[][..]));
    let broken = async |store: &dyn Store| {
        let found = store.verification().await.expect("the history is read");
        found.breaks.iter().map(|broken| (broken.problem, broken.number, broken.through)).collect::<Vec<_>>()
    };
    assert_eq!(broken(&store).await, [(BreakKind::UnknownKey, 3, 5)], "without the key");
    // An edit is made all the same, and found by those who have the key.
    changed(&store, "x", Change::kill()).await;
    assert_eq!(broken(&keyed).await, [(BreakKind::Unkeyed, 6, 6)]);
    changed(&keyed, "x", Change::restore()).await;
    assert_eq!(broken(&keyed).await, [(BreakKind::Unkeyed, 6, 6)]);
}

/// Tasks that edit one flag at once.
const RACERS: usize = 4;
const EDITS: usize = 25;

async fn race<S: Store>(stores: Vec<S>) -> S {
    let stores: Vec<Arc<S>> = stores.into_iter().map(Arc::new).collect();
    changed(&stores[0], "raced", Change::put_text(r#"{"enabled": true, "metadata": {}}"#)).await;
    let racers: Vec<_> = (0..RACERS)
        .map(|racer| {
            let store = Arc::clone(&stores[racer % stores.len()]);
            tokio::spawn(async move {
                for edit in 0..EDITS {
                    let description = format!("{racer} {edit}");
                    changed(&store, "raced", Change::edit(Edit::new().set("description", description))).await;
                }
            })
        })
        .collect();
    for racer in racers {
        racer.await.expect("no racer fails");
    }
    let store = stores.into_iter().next().expect("there is one");
    let edits = (RACERS * EDITS) as u64;
    assert_eq!(stored(&store, "raced").await.version, edits + 1);
    let all = entries(&store, HistoryPage::newest().of("raced").limit(1000)).await;
    let versions: Vec<u64> = all.iter().map(|entry| entry.version).collect();
    assert_eq!(versions, (1..=edits + 1).rev().collect::<Vec<_>>(), "each version once");
    let made: BTreeSet<&str> = all.iter().filter_map(|entry| entry.after.as_deref()).collect();
    assert_eq!(made.len() as u64, edits + 1, "each edit once");
    assert_chain(&store).await;
    Arc::try_unwrap(store).unwrap_or_else(|_| panic!("the racers are done"))
}

async fn races<F: StoreFixture>(fixture: &F) {
    race(vec![fixture.fresh().await]).await;
}

async fn known<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    changed(&store, "x", Change::put_text("true")).await;
    let first = loaded(&store).await;
    assert!(store.load(Some(&first.revision)).await.expect("it is loaded").is_none());
    changed(&store, "x", Change::kill()).await;
    let second = store.load(Some(&first.revision)).await.expect("it is loaded").expect("it has changed");
    assert_ne!(second.revision, first.revision);
    assert!(second.sequence >= first.sequence);
    assert!(second.document.flag("x").is_some_and(|flag| !flag.is_enabled()));
}

/// A store that cannot be told from others returns `None`, and is checked no further.
async fn identity<F: StoreFixture>(fixture: &F) {
    let (store, other) = (fixture.fresh().await, fixture.fresh().await);
    let Some(before) = store.identity().await.expect("it is asked") else { return };
    assert_eq!((before.as_str(), other.identity().await.expect("it is asked").as_deref()), ("", Some("")));
    changed(&store, "x", Change::put_text("true")).await;
    changed(&other, "y", Change::put_text("true")).await;
    let first = store.identity().await.expect("it is asked");
    assert!(first.as_ref().is_some_and(|first| !first.is_empty()), "{first:?}");
    assert_ne!(first, other.identity().await.expect("it is asked"), "another store has another one");
    for change in [Change::kill(), Change::remove(), Change::put_text("true").create_again()] {
        changed(&store, "x", change).await;
        assert_eq!(store.identity().await.expect("it is asked"), first, "it never changes");
    }
}

async fn notices<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    let mut notices = store.subscribe().await.expect("changes can be heard of");
    for text in ["true", "false", r#"{"percentage": 5}"#] {
        changed(&store, "x", Change::put_text(text)).await;
        timeout(PATIENCE / 4, notices.next()).await.expect("a change is heard of").expect("the notices go on");
        assert_eq!(text_of(&store, "x").await, Some(text.to_owned()));
    }
}

async fn other_processes<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    let another = fixture.another(&store).await;
    let mut notices = another.subscribe().await.expect("changes can be heard of");
    changed(&store, "x", Change::put_text("true")).await;
    timeout(PATIENCE / 4, notices.next()).await.expect("a change is heard of").expect("the notices go on");
    drop(notices);
    assert_eq!(text_of(&another, "x").await.as_deref(), Some("true"));
    assert_eq!(changed(&another, "x", Change::kill().at_version(1)).await, 2);
    assert_eq!(stored(&store, "x").await, stored(&another, "x").await);
    assert_eq!(loaded(&store).await.revision, loaded(&another).await.revision);
    let shared = fixture.fresh().await;
    let other = fixture.another(&shared).await;
    race(vec![shared, other]).await;
}

async fn survives<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    changed(&store, "x", Change::put_text(r#"{"percentage": 5}"#)).await;
    changed(&store, "gone", Change::put_text("true")).await;
    changed(&store, "gone", Change::remove()).await;
    let before = (stored(&store, "x").await, entries(&store, HistoryPage::newest()).await);
    let store = fixture.restarted(store).await;
    assert_eq!((stored(&store, "x").await, entries(&store, HistoryPage::newest()).await), before);
    assert_eq!(loaded(&store).await.removed, BTreeSet::from([Arc::from("gone")]));
    assert_eq!(changed(&store, "x", Change::kill()).await, 2);
    assert_chain(&store).await;
}

async fn foreign_writers<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    changed(&store, "x", Change::put_text(r#"{"enabled": true, "percentage": 5}"#)).await;
    let before = loaded(&store).await;
    fixture.write_past(&store, "x", Some(br#"{"enabled": true, "percentage": 50}"#)).await;
    fixture.write_past(&store, "theirs", Some(b"true")).await;
    let after = loaded(&store).await;
    assert_ne!(after.revision, before.revision, "it is seen");
    assert_eq!(after.document.flag("x"), Some(&flag(r#"{"enabled": true, "percentage": 50}"#)));
    assert_eq!(after.document.flag("theirs"), Some(&flag("true")));
    assert_eq!(after.versions.get("x"), Some(&1), "versions outlive it");

    // What an editor has open is another version than what they left.
    assert_eq!((stored(&store, "x").await.current_version(), stored(&store, "theirs").await.current_version()), (2, 1));
    for (name, stale) in [("x", 1), ("theirs", 0)] {
        let conflict = store.change(name, Change::put_text("true").at_version(stale), &alice()).await;
        assert!(matches!(conflict, Err(ChangeError::Conflict(_))), "{name}: {conflict:?}");
    }
    assert_eq!(changed(&store, "x", Change::kill().at_version(2)).await, 3, "theirs is an edit too");
    assert_eq!(changed(&store, "theirs", Change::kill()).await, 2);
    let all = entries(&store, HistoryPage::newest().of("x")).await;
    let actors: Vec<Option<&str>> = all.iter().map(|entry| entry.actor.as_deref()).collect();
    assert_eq!(actors, [Some("alice"), None, Some("alice")]);
    assert_eq!(all[1].before, all[2].after);
    assert_eq!(all[1].after.as_deref(), Some(r#"{"enabled": true, "percentage": 50}"#));
    assert_eq!(all[0].before, all[1].after);

    // A kill over a kill by others is one all the same: it is what stands in the history.
    fixture.write_past(&store, "theirs", Some(br#"{"enabled": false, "percentage": 7}"#)).await;
    assert_eq!(changed(&store, "theirs", Change::kill()).await, 4);
    let newest = entries(&store, HistoryPage::newest().of("theirs").limit(2)).await;
    assert_eq!((newest[0].actor.as_deref(), newest[1].actor.as_deref()), (Some("alice"), None));

    fixture.write_past(&store, "x", None).await;
    assert!(loaded(&store).await.document.flag("x").is_none());
    assert_eq!(changed(&store, "x", Change::put_text("true").create_again()).await, 5);
    assert_chain(&store).await;
}

async fn garbage<F: StoreFixture>(fixture: &F) {
    let store = fixture.fresh().await;
    changed(&store, "good", Change::put_text(r#"{"percentage": 5}"#)).await;
    let broken: [(&str, Vec<u8>); 6] = [
        ("half", br#"{"enabled": tr"#.to_vec()),
        ("list", b"[1, 2]".to_vec()),
        ("key", br#"{"enabled": true, "percentge": 1}"#.to_vec()),
        ("killed", br#"{"enabled": false, "percentage": "x"}"#.to_vec()),
        ("empty", Vec::new()),
        ("large", vec![b' '; 5 * 1024 * 1024]),
    ];
    for (name, text) in &broken {
        fixture.write_past(&store, name, Some(text)).await;
    }
    let found = loaded(&store).await;
    assert_eq!(found.document.flags().map(|(name, _)| name).collect::<Vec<_>>(), ["good"]);
    let named: BTreeSet<&str> =
        found.document.problems().iter().filter_map(|problem| problem.flag.as_deref()).collect();
    assert_eq!(named, broken.iter().map(|(name, _)| *name).collect::<BTreeSet<_>>());
    let is_off = |name: &str| found.document.flags.get(name).is_some_and(Definition::is_killed);
    assert!(is_off("killed") && !is_off("half"), "a kill that can be read is taken");
    // Nothing that is wrong with a flag holds up a kill, and what can be kept is.
    changed(&store, "key", Change::kill()).await;
    changed(&store, "list", Change::kill()).await;
    let key = text_of(&store, "key").await.expect("it is there");
    assert!(key.contains("percentge") && text_of(&store, "list").await.as_deref() == Some("false"), "{key}");
    let killed = loaded(&store).await.document;
    assert!(["key", "list"].iter().all(|name| killed.flags.get(*name).is_some_and(Definition::is_killed)));
    // A good definition mends it.
    assert_eq!(changed(&store, "half", Change::put_text("true")).await, 2);
    assert!(loaded(&store).await.document.flag("half").is_some());
    assert_chain(&store).await;
}
