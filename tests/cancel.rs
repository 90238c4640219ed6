//! A request that is dropped at any moment leaves no answers behind.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![cfg(feature = "axum")]

mod support;

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use futures_util::{StreamExt, stream};
use http::Request;
use http_body::Body as _;
use tokio::task::yield_now;
use tower::Service;
use tower_flags::engine::Query;
use tower_flags::request::{BoxAnswers, Resolve, ResolveLayer};
use tower_flags::{Context, FlagLayer, FlagSet, Flags, FlagsExt, Memory, RequireFlagLayer, Source, Timestamp, flag};

use support::{Client, mine, serve};

/// Memory that answers after two polls, as an engine far away would.
struct Late(Memory);

impl Resolve for Late {
    fn resolve<'a>(&'a self, context: &'a Context, now: Timestamp) -> BoxAnswers<'a> {
        Box::pin(async move {
            yield_now().await;
            let answers = self.0.answer(&Query::new(context, now));
            yield_now().await;
            answers
        })
    }
}

/// The set in force, which answers keep alive.
fn set_of(rules: &Memory) -> Arc<FlagSet> {
    let flags = rules.answer(&Query::new(&Context::anonymous(), Timestamp::MIN));
    flags.flag_set().clone()
}

/// Waits in itself, in futures that carry the flags, and in a streamed body of five frames.
async fn handler(flags: Flags) -> Body {
    assert!(flag("mine"));
    yield_now().await;
    let refreshed = flags.refresh().await;
    async { yield_now().await }.in_flags(refreshed).await;
    tokio::join!(yield_now().in_current_flags(), flags.scope(yield_now()));
    Body::from_stream(stream::iter(0..5).then(|number| async move {
        yield_now().await;
        Ok::<_, Infallible>(format!("{number} {}", flag("mine")))
    }))
}

fn router(layer: FlagLayer) -> Router {
    let gate = RequireFlagLayer::new("mine");
    Router::new().route("/", get(handler)).route_layer(gate).layer(layer)
}

fn request() -> Request<Body> {
    Request::get("/").header("x-user-id", "alice").body(Body::empty()).unwrap()
}

/// Polls a request and its body this often, then drops what there is. `true` when it had come to its end.
fn is_done_after(polls: usize, router: &mut Router, request: Request<Body>) -> bool {
    let mut cx = TaskContext::from_waker(Waker::noop());
    let mut left = polls;
    let mut future = pin!(router.call(request));
    let response = loop {
        if left == 0 {
            return false;
        }
        left -= 1;
        if let Poll::Ready(response) = future.as_mut().poll(&mut cx) {
            break response.unwrap();
        }
    };
    assert_eq!(response.status(), 200);
    let mut body = pin!(response.into_body());
    loop {
        if left == 0 {
            return false;
        }
        left -= 1;
        if let Poll::Ready(None) = body.as_mut().poll_frame(&mut cx) {
            return true;
        }
    }
}

fn assert_nothing_is_left(rules: &Memory, layer: FlagLayer, at_least: usize) {
    assert_nothing_is_left_of(rules, router(layer), request, at_least);
}

fn assert_nothing_is_left_of(rules: &Memory, mut router: Router, request: impl Fn() -> Request<Body>, at_least: usize) {
    let set = set_of(rules);
    let before = Arc::strong_count(&set);
    let mut polls = 0;
    while !is_done_after(polls, &mut router, request()) {
        assert_eq!(Arc::strong_count(&set), before, "answers are left after {polls} polls");
        polls += 1;
    }
    assert!(polls >= at_least, "only {polls} moments");
    assert_eq!(Arc::strong_count(&set), before, "answers are left after the end");

    let weak = Arc::downgrade(&set);
    drop(set);
    rules.remove("mine");
    assert_eq!(weak.strong_count(), 0, "the rules of before are gone once others are in force");
}

#[tokio::test]
async fn dropped_at_any_await_point_a_request_leaves_no_answers_behind() {
    let rules = mine("alice");
    assert_nothing_is_left(&rules, FlagLayer::new(rules.clone()), 12);
}

#[tokio::test]
async fn dropped_while_its_engine_is_late_too() {
    let rules = mine("alice");
    let router = router(FlagLayer::new(Memory::new())).layer(ResolveLayer::new(Late(rules.clone())));
    assert_nothing_is_left_of(&rules, router, request, 14);
}

#[cfg(all(feature = "overrides", feature = "visitors"))]
#[tokio::test]
async fn with_tokens_and_visitors_too() {
    use std::time::SystemTime;

    use tower_flags::request::{OverrideToken, Overrides, SigningKey, Visitors};

    let rules = support::memory(r#"{"mine": {"percentage": 0, "overridable": true}}"#);
    let key = SigningKey::new("a key for tests, of 32 bytes or more").unwrap();
    let token =
        OverrideToken::until((SystemTime::now() + Duration::from_secs(3600)).into()).on("mine").sign(&key).unwrap();
    let layer = FlagLayer::new(rules.clone()).overrides(Overrides::new(key)).visitors(Visitors::new());
    let with_token = move || Request::get(format!("/?flag_override={token}")).body(Body::empty()).unwrap();
    assert_nothing_is_left_of(&rules, router(layer), with_token, 12);
}

#[tokio::test]
async fn with_a_gate_that_turns_away_too() {
    let rules = mine("somebody else");
    let waiting = tower::service_fn(|_: Request<Body>| async {
        yield_now().await;
        Ok::<_, Infallible>(axum::response::Response::new(Body::from("not here")))
    });
    let gate = RequireFlagLayer::new("mine").fallback(waiting);
    let router = Router::new().route("/", get(handler)).route_layer(gate).layer(FlagLayer::new(rules.clone()));
    assert_nothing_is_left_of(&rules, router, request, 3);
}

#[tokio::test]
async fn with_a_layer_inside_a_layer_too() {
    let rules = mine("alice");
    let set = set_of(&rules);
    let before = Arc::strong_count(&set);
    let other = support::memory(r#"{"other": true}"#);
    let mut router = router(FlagLayer::new(other)).layer(FlagLayer::new(rules));
    let mut polls = 0;
    while !is_done_after(polls, &mut router, request()) {
        assert_eq!(Arc::strong_count(&set), before, "answers are left after {polls} polls");
        polls += 1;
    }
    assert!(polls >= 12, "only {polls} moments");
}

#[tokio::test]
async fn a_client_that_hangs_up_leaves_no_answers_behind() {
    let rules = mine("alice");
    let set = set_of(&rules);
    let before = Arc::strong_count(&set);
    let stuck = || async {
        assert!(flag("mine"));
        std::future::pending::<()>().await;
    };
    let endless = || async { Body::from_stream(stream::repeat_with(|| Ok::<_, Infallible>(flag("mine").to_string()))) };
    let router = Router::new().route("/stuck", get(stuck)).route("/endless", get(endless));
    let server = serve(router.layer(FlagLayer::new(rules.clone()))).await;
    for path in ["/stuck", "/endless"] {
        for _ in 0..10 {
            let mut client = Client::open(server).await;
            client.ask("GET", path, &[("X-User-ID", b"alice")]).await;
            wait_until(|| Arc::strong_count(&set) > before, "the request has begun").await;
            drop(client);
            wait_until(|| Arc::strong_count(&set) == before, "the answers are gone").await;
        }
    }
}

async fn wait_until(condition: impl Fn() -> bool, what: &str) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(60), "not in a minute: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
