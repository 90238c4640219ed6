//! What the checks of the history have found: see [`verification`](super::verification).

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

use super::security;
use crate::document::{Problem, Timestamp};
use crate::store::{BreakKind, Error, Head, HistoryBreak, Knowledge, Verification};

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
    pub(super) wanted: Notify,
    pub(super) is_watched: AtomicBool,
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
    found: Vec<HistoryBreak>,
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
    fn breaks(&self) -> impl Iterator<Item = &HistoryBreak> {
        self.last.iter().flat_map(|last| &last.found.breaks).chain(&self.found)
    }

    fn has(&self, broken: &HistoryBreak) -> bool {
        self.breaks().any(|other| {
            other.problem == broken.problem && other.number <= broken.number && broken.through <= other.through
        })
    }

    fn log_new(&self, store: &str, breaks: &[HistoryBreak]) {
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
    pub(super) fn found(&self, store: &str, breaks: &[HistoryBreak]) {
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

    /// Whether a break is known of which the head alone would show.
    pub(super) fn has_lost_its_end(&self) -> bool {
        let is_of_end = |broken: &HistoryBreak| matches!(broken.problem, BreakKind::CutOff | BreakKind::Replaced);
        self.progress.borrow().breaks().any(is_of_end)
    }

    /// The breaks as problems of the status.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let progress = self.progress.borrow();
        let breaks: Vec<&HistoryBreak> = progress.breaks().collect();
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
    pub(super) async fn verify_now(&self) -> bool {
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

    pub(super) fn begin(&self) -> Knowledge {
        self.progress.send_modify(|progress| progress.is_running = true);
        self.known()
    }

    pub(super) fn end(&self, store: &str, outcome: Result<Verification, Error>, took: Duration) {
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

    pub(super) fn is_next_at(&self, next: Instant) {
        let wait = next.saturating_duration_since(Instant::now());
        self.progress.send_modify(|progress| progress.next = Timestamp::now().checked_add(wait));
    }
}

fn problem_of(broken: &HistoryBreak) -> Problem {
    let help = match broken.problem {
        BreakKind::Unkeyed | BreakKind::UnknownKey => {
            "all processes that edit this store need the same history keys; if they have them, it was written past them"
        }
        BreakKind::CutOff | BreakKind::Replaced => {
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
pub(super) fn shown(broken: &HistoryBreak) -> Value {
    let HistoryBreak { number, through, problem, .. } = broken;
    json!({ "number": number, "through": through, "by": problem.name(), "words": broken.to_string() })
}
