//! Changes as they land, as server-sent events.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::Response;
use futures_core::Stream;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, interval, timeout};

use super::call::{Answer, Call, Principal};
use super::missing;
use super::problem::{Failure, Kind};
use super::shown;
use super::state::State;
use super::users;
use crate::source::{FlagChange, MissedChanges};

/// How long somebody may read nothing while events wait.
const TAKEN_WITHIN: Duration = Duration::from_secs(30);
/// How often the status is looked at, and whether whoever listens still may.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often something is sent at least, so that a connection that is gone shows.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(15);
/// Events that wait for somebody who reads slowly; behind that, changes wait at the source and are counted.
const WAITING: usize = 16;

pub(super) async fn events(call: Call) -> Answer {
    let Call { state, parts, who, .. } = call;
    let Ok(seat) = state.listeners.admit(&who.name) else {
        return Err(Failure::new(Kind::TooManyStreams, "look at the flags from time to time instead"));
    };
    let (sender, receiver) = mpsc::channel(WAITING);
    if parts.method != http::Method::HEAD {
        tokio::spawn(async move {
            tokio::select! {
                // The client has disconnected, or may no longer read: the stream ends.
                _ = tell(&state, &parts, &sender) => {}
                () = state.shutdown.begun() => {}
            }
            drop(seat);
        });
    }
    let mut response = Response::new(Body::from_stream(Receiver(receiver)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // Proxies that collect answers would hold events back.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

type Sender = mpsc::Sender<Result<Bytes, std::convert::Infallible>>;

async fn tell(state: &Arc<State>, parts: &Parts, sender: &Sender) -> Result<(), mpsc::error::SendError<()>> {
    let mut changes = state.source.subscribe();
    let mut look = interval(LOOK_EVERY);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut last_status, mut last_exceptions, mut last_sent) = (Arc::new(Value::Null), 0, Instant::now());
    let (mut was_shared, answering) = (false, Arc::clone(&state.answering));
    loop {
        let event = tokio::select! {
            () = sender.closed() => return Ok(()),
            change = changes.next() => match change {
                None => return Ok(()),
                Some(Ok(change)) => Some(Event::Change(change)),
                Some(Err(MissedChanges(count))) => Some(Event::Missed(count)),
            },
            _ = look.tick() => {
                // The application has dropped the source: it shuts down.
                let is_shared = state.is_source_shared();
                if was_shared && !is_shared {
                    return Ok(());
                }
                was_shared = is_shared;
                let exceptions = state.source.exceptions();
                let is_same = exceptions == last_exceptions;
                let (state, last) = (Arc::clone(state), Arc::clone(&last_status));
                // A kill that came and went since the last look changes no definition where the store killed the flag,
                // so that no other event follows the one that brought it.
                let find = move || Some(status_of(&state)).filter(|now| !is_same || *now != *last).map(Arc::new);
                last_exceptions = exceptions;
                // There may be 10,000 problems.
                let status = State::off_workers(&answering, find).await;
                status.map(|status| {
                    last_status = Arc::clone(&status);
                    Event::Status(status)
                })
            }
        };
        // A session ends, and a login of the application's may be withdrawn.
        let Ok(who) = Principal::of(state.authorizer.authorize(parts)) else { return Ok(()) };
        let text = match event {
            None if last_sent.elapsed() < HEARTBEAT_EVERY => continue,
            None => ": still here\n\n".to_owned(),
            Some(event) => {
                let hides = state.hides_users(who.role);
                State::off_workers(&answering, move || event.to_text(hides)).await
            }
        };
        send(sender, text).await?;
        last_sent = Instant::now();
    }
}

async fn send(sender: &Sender, event: String) -> Result<(), mpsc::error::SendError<()>> {
    match timeout(TAKEN_WITHIN, sender.send(Ok(event.into()))).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(mpsc::error::SendError(())),
    }
}

/// One event.
enum Event {
    Change(FlagChange),
    Missed(u64),
    Status(Arc<Value>),
}

impl Event {
    /// The event as it is sent; JSON has no line breaks.
    fn to_text(&self, hides: bool) -> String {
        let (name, mut data) = match self {
            Self::Change(change) => ("change", change_of(change)),
            Self::Missed(count) => ("missed", json!({ "count": count })),
            Self::Status(status) if !hides => return format!("event: status\ndata: {status}\n\n"),
            Self::Status(status) => ("status", Value::clone(status)),
        };
        if hides {
            users::hide(&mut data);
        }
        format!("event: {name}\ndata: {data}\n\n")
    }
}

fn change_of(change: &FlagChange) -> Value {
    json!({
        "flag": change.flag,
        "version": change.flag_version,
        "rules": change.version,
        "before": change.before,
        "after": change.after,
    })
}

/// What a page shows at its top. Without the number of the rules, which every change has told.
fn status_of(state: &State) -> Value {
    let kills: Vec<Value> = state.source.local_kills().iter().map(|kill| shown::local_kill(state, kill)).collect();
    let status = state.answers().status();
    json!({
        "freshness": status.freshness,
        "last_error": status.last_error,
        "problems": status.problems,
        "store_problems": shown::store_problems(state),
        "local_kills": kills,
        "missing": missing::summary(state),
    })
}

/// What a task sends, as a body.
pub(super) struct Receiver<T>(pub(super) mpsc::Receiver<T>);

impl<T> Stream for Receiver<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.0.poll_recv(cx)
    }
}
