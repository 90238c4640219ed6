//! The check of the whole history: scheduled, and on request.
//!
//! 1. The first check begins 1 to 5 minutes after the start, at random, so that a fleet does not read its store at once.
//!    Further ones follow once a day, at most a tenth earlier or later. A check that failed is tried again after 10 minutes.
//! 2. `GET history/verify?fresh=true` begins one now. There is one at a time, and concurrent requests share its result. It
//!    begins after a pause of nine times what the last one took: checks take at most a tenth of the store's time.
//! 3. Every 5 minutes the head alone is read. The furthest one is remembered until the process ends, so that an end that was cut
//!    off shows although what is left is a whole chain; a check then begins at once.
//! 4. Breaks that a served page shows count like those of a check, until the next one.
//! 5. A break is logged when it is found for the first time, and is a problem in the status as long as it is there.
//! 6. All of this ends with the router.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::call::{Answer, Call};
use super::reply;
use super::security;
use super::state::{STORE_WITHIN, State};
use crate::document::{Problem, Timestamp};
use crate::store::{
    BrokenBy, BrokenLink, Error, Feed, Head, Knowledge, Store, Verification, random_share, verification,
};

/// When the first check begins after the start: after this time and, at random, up to four times more.
const FIRST_AFTER: Duration = Duration::from_secs(60);
/// From the end of a check to the next one.
const EVERY: Duration = Duration::from_secs(24 * 60 * 60);
/// From a check that failed to the next one.
const AGAIN_AFTER: Duration = Duration::from_secs(10 * 60);
/// How often the head is read.
const LOOK_EVERY: Duration = Duration::from_secs(5 * 60);
/// Pause before a check that is asked for, in multiples of what the last one took.
const PAUSE: u32 = 9;
/// How long a request waits for the check that it asks for.
const WAIT: Duration = Duration::from_secs(30);
/// Most breaks of served pages that are remembered.
const MAX_FOUND: usize = 100;
/// Most breaks that are problems of their own in the status.
const MAX_PROBLEMS: usize = 10;

/// In problems of a broken history. The page shows them in a banner of their own.
const EXPECTED: &str = "a history as it was written";

/// The checks of one router.
#[derive(Default)]
pub(super) struct Verifier {
    progress: watch::Sender<Progress>,
    /// A check is requested.
    wanted: Notify,
    is_watched: AtomicBool,
}

/// How far the checks are.
#[derive(Default)]
struct Progress {
    /// How many checks have ended.
    ended: u64,
    is_running: bool,
    last: Option<Completion>,
    /// Why the last check failed, and whether the next one will.
    error: Option<(String, bool)>,
    /// Breaks that served pages have shown since the last check.
    found: Vec<BrokenLink>,
    known: Knowledge,
    next: Option<Timestamp>,
}

/// A check that has ended.
struct Completion {
    at: Timestamp,
    took: Duration,
    found: Verification,
}

impl Progress {
    fn breaks(&self) -> impl Iterator<Item = &BrokenLink> {
        self.last.iter().flat_map(|last| &last.found.breaks).chain(&self.found)
    }

    fn has(&self, broken: &BrokenLink) -> bool {
        self.breaks().any(|other| {
            other.problem == broken.problem && other.number <= broken.number && broken.through <= other.through
        })
    }

    fn log_new(&self, store: &str, breaks: &[BrokenLink]) {
        for broken in breaks.iter().filter(|broken| !self.has(broken)) {
            security::broken(store, broken);
        }
    }
}

impl Verifier {
    /// The knowledge of earlier checks, for a check of a part.
    pub(super) fn known(&self) -> Knowledge {
        self.progress.borrow().known.clone()
    }

    /// Takes notice of breaks that a served page shows.
    pub(super) fn found(&self, store: &str, breaks: &[BrokenLink]) {
        let is_new = |progress: &Progress| breaks.iter().any(|broken| !progress.has(broken));
        if breaks.is_empty() || !is_new(&self.progress.borrow()) {
            return;
        }
        self.progress.send_if_modified(|progress| {
            progress.log_new(store, breaks);
            for broken in breaks {
                if !progress.has(broken) && progress.found.len() < MAX_FOUND {
                    progress.found.push(broken.clone());
                }
            }
            false
        });
    }

    /// Remembers the furthest end. Whether this one lies before it, or is another one at its place.
    pub(super) fn has_gone_back(&self, head: &Head) -> bool {
        let mut has_gone_back = false;
        self.progress.send_if_modified(|progress| {
            let seen = &mut progress.known.seen;
            has_gone_back = head.number < seen.number || head.number == seen.number && head.digest != seen.digest;
            if head.number > seen.number {
                seen.clone_from(head);
            }
            false
        });
        has_gone_back
    }

    /// The breaks as problems of the status.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let progress = self.progress.borrow();
        let breaks: Vec<&BrokenLink> = progress.breaks().collect();
        let mut problems: Vec<Problem> = breaks.iter().take(MAX_PROBLEMS).map(|broken| problem_of(broken)).collect();
        if breaks.len() > MAX_PROBLEMS {
            let found = format!("{} more breaks", breaks.len() - MAX_PROBLEMS);
            problems.push(Problem::new(EXPECTED, found).with_help("GET history/verify lists them"));
        }
        if let Some((error, true)) = &progress.error {
            let help = "nothing is known of the history until it can be read";
            problems.push(Problem::new("a history that can be verified", error.clone()).with_help(help));
        }
        problems
    }

    pub(super) fn shown(&self) -> Value {
        let progress = self.progress.borrow();
        let verified = progress.last.as_ref().map(|Completion { at, took, found }| {
            json!({
                "at": at,
                "took_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
                "entries": found.entries,
                "head": found.head,
                "keyed_from": found.keyed_from,
                "broken": found.broken,
                "breaks": found.breaks.iter().map(shown).collect::<Vec<_>>(),
            })
        });
        json!({
            "verified": verified,
            "found_since": progress.found.iter().map(shown).collect::<Vec<_>>(),
            "running": progress.is_running,
            "error": progress.error.as_ref().map(|(error, _)| error),
            "next": progress.next,
        })
    }

    /// Begins a check, unless one is running, and waits for its end. Whether it ended in time.
    async fn verify_now(&self) -> bool {
        let mut progress = self.progress.subscribe();
        let (ended, is_running) = {
            let progress = progress.borrow_and_update();
            (progress.ended, progress.is_running)
        };
        if !is_running {
            self.wanted.notify_one();
        }
        matches!(timeout(WAIT, progress.wait_for(|progress| progress.ended > ended)).await, Ok(Ok(_)))
    }

    fn begin(&self) -> Knowledge {
        self.progress.send_modify(|progress| progress.is_running = true);
        self.known()
    }

    fn end(&self, store: &str, outcome: Result<Verification, Error>, took: Duration) {
        self.progress.send_modify(|progress| {
            progress.is_running = false;
            progress.ended += 1;
            match outcome {
                Ok(found) => {
                    progress.log_new(store, &found.breaks);
                    let known = &mut progress.known;
                    known.keyed_from = known.keyed_from.into_iter().chain(found.keyed_from).min();
                    if found.head.number > known.seen.number {
                        known.seen = found.head.clone();
                    }
                    if found.broken == 0 {
                        known.verified = found.head.clone();
                    }
                    (progress.error, progress.found) = (None, Vec::new());
                    progress.last = Some(Completion { at: Timestamp::now(), took, found });
                }
                Err(error) => {
                    let is_permanent = error.is_permanent();
                    let error = error.chain();
                    if progress.error.as_ref().is_none_or(|(last, _)| *last != error) {
                        tracing::warn!(store, "the history cannot be verified: {error}");
                    }
                    progress.error = Some((error, is_permanent));
                }
            }
        });
    }

    fn is_next_at(&self, next: Instant) {
        let wait = next.saturating_duration_since(Instant::now());
        self.progress.send_modify(|progress| progress.next = Timestamp::now().checked_add(wait));
    }
}

fn problem_of(broken: &BrokenLink) -> Problem {
    let help = match broken.problem {
        BrokenBy::Unkeyed | BrokenBy::UnknownKey => {
            "all processes that edit this store need the same history keys; if they have them, it was written past them"
        }
        BrokenBy::CutOff | BrokenBy::Replaced => {
            "if the store was not restored from an older copy, compare the history with an export or a backup, and change \
             the credentials of the store; it is reported until this process ends"
        }
        _ => {
            "compare it with an export or a backup, and find out who can write to the store directly; GET history/verify \
             lists up to 100 breaks"
        }
    };
    Problem::new(EXPECTED, broken.to_string()).with_help(help)
}

/// A break, for programs and for people.
pub(super) fn shown(broken: &BrokenLink) -> Value {
    let BrokenLink { number, through, problem, .. } = broken;
    json!({ "number": number, "through": through, "by": problem.name(), "words": broken.to_string() })
}

/// The result of the last check; `?fresh=true` begins one first.
pub(super) async fn verify(call: Call) -> Answer {
    let is_fresh = call.query.is_set("fresh")? && call.parts.method != Method::HEAD;
    let verifier = &call.state.verifier;
    let status = if is_fresh && !verifier.verify_now().await { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok(reply::json(status, verifier.shown()))
}

/// Starts the checks, once per router, where there is a runtime. They end with the router.
pub(super) fn watch(state: &Arc<State>) {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    if state.verifier.is_watched.swap(true, Ordering::Relaxed) {
        return;
    }
    let (verifier, end) = (Arc::clone(&state.verifier), state.end.subscribe());
    let state = Arc::downgrade(state);
    runtime.spawn(async move {
        // Ended by dropping it, wherever it is: what it holds of the store goes with it.
        let mut end = end;
        tokio::select! {
            _ = end.changed() => {}
            () = keep_verifying(&state, &verifier) => {}
        }
    });
}

async fn keep_verifying(state: &Weak<State>, verifier: &Verifier) {
    let store = || Some(Arc::clone(&state.upgrade()?.store));
    let mut next = Instant::now() + FIRST_AFTER + (FIRST_AFTER * 4).mul_f64(random_share());
    let (mut look, mut earliest) = (Instant::now() + LOOK_EVERY, Instant::now());
    loop {
        verifier.is_next_at(next);
        let is_due = tokio::select! {
            () = sleep_until(next) => true,
            () = verifier.wanted.notified() => true,
            () = sleep_until(look) => false,
        };
        let Some(store) = store() else { return };
        if !is_due {
            look = Instant::now() + LOOK_EVERY;
            let stored = timeout(STORE_WITHIN, store.read("")).await;
            if !matches!(stored, Ok(Ok(stored)) if verifier.has_gone_back(&stored.head)) {
                continue;
            }
            // A break that was found already starts no further checks.
            let is_known = |broken: &BrokenLink| matches!(broken.problem, BrokenBy::CutOff | BrokenBy::Replaced);
            if verifier.progress.borrow().breaks().any(is_known) {
                continue;
            }
        }
        // Requests from here on share the result.
        let known = verifier.begin();
        sleep_until(earliest).await;
        let started = Instant::now();
        let outcome = verification(&*store, known).await;
        let took = started.elapsed();
        let wait = if outcome.is_ok() { EVERY.mul_f64(0.9 + 0.2 * random_share()) } else { AGAIN_AFTER };
        verifier.end(Feed::name(&store), outcome, took);
        (next, earliest) = (Instant::now() + wait, Instant::now() + took * PAUSE);
    }
}
