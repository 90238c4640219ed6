//! Switching a flag off while the store cannot be written.
//!
//! 1. The store is asked first. Where this process does not go by the kill after 150 ms, since the store has not
//!    answered or this process has not heard of it, the flag is switched off here; the store may take 2 s in all.
//! 2. What it has not taken by then is in force here alone, is written once the store takes it, and becomes a
//!    question where somebody has edited the flag meanwhile.
//! 3. Attempts to write it keep the waits of a source in an outage, and come at once where the source loads again
//!    or another edit is made. The answer and the status say why it waits, and whether that ends by itself.
//! 4. Where only a person can decide, since the flag was edited or the store has lost it, the store is asked again at
//!    the pace of resyncs.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::StatusCode;
use tokio::time::{Instant, sleep, timeout};

use super::call::{Answer, Call, Precondition};
use super::definition::{Predecessor, is_killed};
use super::edits::{self, edited};
use super::missing;
use super::problem::{Failure, Kind};
use super::reply;
use super::security;
use super::shown;
use super::state::{STORE_WITHIN, State};
use super::write_back;
use crate::document::flag_from_json;
use crate::source::{LocalKill, Obstacle};
use crate::store::{Author, Backoff, Change, ChangeError, Error, ErrorKind, Feed, StoreExt, Stored};

/// How long requests may go on seeing the flag while the store makes up its mind: 200 ms are promised.
const AT_ONCE: Duration = Duration::from_millis(150);
/// How often to look whether there is a kill to write.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Longest wait for a store that rejects a kill until its set-up is changed.
const PERMANENT: Duration = Duration::from_secs(30);

/// Makes a change that switches a flag off: in the store, else in this process. `lost` are keys that the request
/// names beside it, which only the store could keep.
pub(super) async fn kill(
    call: &Call,
    precondition: &Precondition,
    lost: &[&str],
    make: impl Fn(&Stored, &Predecessor) -> Result<Change, Failure> + Send + Sync,
) -> Answer {
    let source = &call.state.source;
    let (name, author) = (&call.name, call.author());
    let writes_back = call.query.is_set("write_back")?;
    let started = Instant::now();
    let had_one = source.has_kill_of(name);
    let mut writing = pin!(edits::apply(call, STORE_WITHIN, precondition, make));
    let (outcome, held) = match timeout(AT_ONCE, &mut writing).await {
        Ok(outcome) => (outcome, None),
        Err(_) => {
            let (held, outcome) = tokio::join!(source.kill_here(name, &author), writing);
            (outcome, held.ok())
        }
    };
    match outcome {
        Ok(changed) => {
            call.state.settle(name, changed.version, AT_ONCE.saturating_sub(started.elapsed())).await;
            if source.has_reached(name, changed.version) {
                // The store has it, and this process goes by the store.
                source.forget_kill(name).await;
            } else if held.is_none() {
                // Ends by itself when this process has loaded it.
                let _ = source.kill_here(name, &author).await;
            }
            let is_broken = |text: &String| flag_from_json(Some(name), text).is_err();
            let not_taken = if changed.definition.as_ref().is_some_and(is_broken) { lost } else { &[] };
            edited(call, StatusCode::OK, &changed, not_taken).await
        }
        Err(failure) if failure.is_of_store() => {
            let held = match held {
                Some(held) => Some(held),
                None => source.kill_here(name, &author).await.ok(),
            };
            match held {
                Some(held) => Ok(here_alone(call, &held, &failure, lost)),
                None => Err(failure),
            }
        }
        Err(failure) if failure.kind == Kind::Missing => {
            let held = match held {
                Some(held) => Some(held),
                None => source.kill_here(name, &author).await.ok(),
            };
            let Some(held) = held else { return Err(failure) };
            if writes_back {
                return write_killed(call, &held, lost).await;
            }
            let detail =
                "the store has lost the flag, and no edit removed it; with ?write_back=true a kill is written to it";
            Ok(here_alone(call, &held, &Failure::new(Kind::Missing, detail), lost))
        }
        Err(failure) => {
            if held.is_some() && !had_one {
                source.forget_kill(name).await;
            }
            Err(failure)
        }
    }
}

/// Writes a flag back that the store has lost, switched off. Whatever comes of it, the kill is in effect here.
async fn write_killed(call: &Call, held: &LocalKill, lost: &[&str]) -> Answer {
    let Some(missing) = missing::flag(&call.state, &call.name).await else {
        let detail = "the flag was not written back, because the store does not answer, or has the flag again";
        return Ok(here_alone(call, held, &Failure::new(Kind::Missing, detail), lost));
    };
    match write_back::write(call, &missing, true, STORE_WITHIN).await {
        Ok((changed, _)) => edited(call, StatusCode::OK, &changed, lost).await,
        Err(failure) => Ok(here_alone(call, held, &failure, lost)),
    }
}

fn here_alone(call: &Call, held: &LocalKill, failure: &Failure, lost: &[&str]) -> axum::response::Response {
    let source = &call.state.source;
    security::edited(&held.flag, call.action, &call.who.name, None);
    source
        .kill_waits(&held.flag, Obstacle { error: failure.detail().to_owned(), is_permanent: failure.is_permanent() });
    let missing = source.missing().into_iter().find(|missing| missing.flag == call.name);
    let shown = missing.map(|missing| missing::shown(&call.state, &missing));
    let mut shown = shown.or_else(|| shown::in_force_alone(&call.state, &call.name)).unwrap_or_default();
    shown["stored"] = false.into();
    shown["changed"] = true.into();
    shown["scope"] = "this process".into();
    shown["in_doubt"] = (failure.kind == Kind::InDoubt).into();
    shown["error"] = failure.detail().into();
    shown["permanent"] = failure.is_permanent().into();
    shown["not_taken"] = serde_json::json!(lost);
    shown["warning"] = serde_json::json!(warning(call, held));
    shown["local_kill"] = shown::local_kill(&call.state, held);
    reply::json(StatusCode::ACCEPTED, shown)
}

/// A warning for the answer to a kill in this process alone.
fn warning(call: &Call, held: &LocalKill) -> Option<String> {
    let source = &call.state.source;
    if source.survives_restart(held) {
        return None;
    }
    let because = match source.backup_problem() {
        Some(problem) => format!("its backup file cannot be written, {}", problem.found),
        None if source.has_backup() => "its backup file is not written yet".to_owned(),
        None => "it has no backup file; LiveBuilder::backup names one".to_owned(),
    };
    Some(format!("the kill does not survive a restart of this process: {because}"))
}

/// Starts to write kills into the store once it is back, once per router, where there is a runtime. It ends with
/// the router.
pub(super) fn watch(state: &Arc<State>) {
    // One receiver is the task's.
    if state.end.receiver_count() > 0 {
        return;
    }
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    let mut end = state.end.subscribe();
    let state = Arc::downgrade(state);
    runtime.spawn(async move {
        let mut writer = Writer::default();
        loop {
            tokio::select! {
                _ = end.changed() => return,
                () = sleep(LOOK_EVERY) => {}
            }
            if writer.look(&state).await.is_none() {
                return;
            }
        }
    });
}

/// Writes the kills of one process into the store.
#[derive(Default)]
struct Writer {
    /// Kills that wait for a person, by their flags.
    questions: BTreeMap<String, Question>,
    backoff: Backoff,
    /// When the next attempt is due, if one has failed.
    next: Option<Instant>,
    /// Whether the source loaded at the last look.
    loaded: bool,
}

/// A kill that waits for a person.
struct Question {
    kill: LocalKill,
    /// Whether the store has lost the flag, which somebody may write back.
    is_missing: bool,
    /// When the store is asked again.
    next: Instant,
}

/// What became of a kill that was to be written.
enum WriteOutcome {
    Now(u64),
    /// The store says by itself that the flag is off.
    Predecessor,
    /// The store has lost the flag. The kill is written when an operator confirms it, or when the flag is back.
    Missing,
}

impl Writer {
    /// Writes the kills that are due. `None` if the router is gone.
    async fn look(&mut self, state: &Weak<State>) -> Option<()> {
        let state = state.upgrade()?;
        let kills = state.source.local_kills();
        self.questions.retain(|_, question| {
            let Question { kill, is_missing, .. } = question;
            state.source.has_kill(kill) && (!*is_missing || state.source.has_missing(&kill.flag))
        });
        let (loads, loaded) = (state.source.loads_well(), self.loaded);
        self.loaded = loads;
        let has_written = state.has_written.swap(false, Ordering::Relaxed);
        let is_back = has_written || loads && !loaded;
        if kills.is_empty() {
            (self.backoff, self.next) = (Backoff::default(), None);
        } else if is_back || self.next.is_none_or(|next| next <= Instant::now()) {
            self.write_all(&state, kills, is_back).await;
        }
        Some(())
    }

    async fn write_all(&mut self, state: &State, kills: Vec<LocalKill>, is_back: bool) {
        let mut failed = None;
        for kill in kills {
            let waits_until = self.questions.get(&kill.flag).map(|question| question.next);
            if !is_back && waits_until.is_some_and(|next| next > Instant::now()) {
                continue;
            }
            let _turn = state.turn().await;
            if !state.source.has_kill(&kill) {
                continue;
            }
            let mut author = Author::new(&kill.by);
            if let Some(reason) = &kill.reason {
                author = author.because(reason);
            }
            match write(state, &kill, &author).await {
                Ok(WriteOutcome::Now(version)) => {
                    tracing::info!(flag = kill.flag, by = kill.by, "the kill is in the store now");
                    security::edited(&kill.flag, "kill", &kill.by, Some(version));
                }
                Ok(WriteOutcome::Predecessor) => state.source.look_now(),
                Ok(WriteOutcome::Missing) => self.ask(state, kill, None),
                Err(ChangeError::Store(error)) => {
                    let waits = Obstacle { error: error.chain(), is_permanent: error.is_permanent() };
                    if state.source.waits_of(&kill.flag).as_ref() != Some(&waits) {
                        tracing::warn!(
                            flag = kill.flag,
                            permanent = waits.is_permanent,
                            "the kill waits: {}",
                            waits.error
                        );
                        state.source.kill_waits(&kill.flag, waits);
                    }
                    let is_away = matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Denied);
                    failed = Some(error);
                    if is_away {
                        break;
                    }
                }
                Err(error) => self.ask(state, kill, Some(&error)),
            }
        }
        let now = Instant::now();
        match failed {
            Some(error) => {
                self.backoff.failed(now, error.kind());
                let wait = self.backoff.wait(now).unwrap_or_default();
                let is_denied = error.kind() == ErrorKind::Denied;
                let least = if error.is_permanent() && !is_denied { PERMANENT.mul_f64(0.5) } else { Duration::ZERO };
                self.next = now.checked_add(wait.max(least));
            }
            None => {
                self.backoff.succeeded(now);
                self.next = None;
            }
        }
    }

    /// Leaves a kill to a person, since the store has lost the flag or for this reason; the status asks.
    fn ask(&mut self, state: &State, kill: LocalKill, because: Option<&ChangeError>) {
        if let Some(error) = because.filter(|_| !self.questions.contains_key(&kill.flag)) {
            tracing::warn!(flag = kill.flag, by = kill.by, "a kill is in this process alone: {error}");
        }
        let next = Instant::now() + Feed::resync_every(&state.store);
        let flag = kill.flag.clone();
        self.questions.insert(flag, Question { kill, is_missing: because.is_none(), next });
    }
}

/// Onto what the kill was made for, or not at all.
async fn write(state: &State, kill: &LocalKill, author: &Author) -> Result<WriteOutcome, ChangeError> {
    let stored = match timeout(STORE_WITHIN, state.store.read(&kill.flag)).await {
        Ok(stored) => stored?,
        Err(_) => return Err(Error::new(ErrorKind::Unavailable, "no answer in time").into()),
    };
    let Some(text) = &stored.definition else {
        if state.source.has_missing(&kill.flag) {
            return Ok(WriteOutcome::Missing);
        }
        return Err(ChangeError::Conflict(Box::new(stored)));
    };
    if is_killed(&kill.flag, text) {
        return Ok(WriteOutcome::Predecessor);
    }
    if stored.version != kill.version.unwrap_or_default() {
        return Err(ChangeError::Conflict(Box::new(stored)));
    }
    let change = Change::kill().over(&stored).within(STORE_WITHIN);
    state.store.change(&kill.flag, change, author).await.map(|changed| WriteOutcome::Now(changed.version))
}
