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

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::{Method, StatusCode};
use tokio::time::{Instant, sleep_until, timeout};

use super::call::{Answer, Call};
use super::reply;
use super::state::{STORE_WITHIN, State};
use super::verifier::Verifier;
use crate::store::{Feed, Store, random_share, verification};

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
            if verifier.has_lost_its_end() {
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
