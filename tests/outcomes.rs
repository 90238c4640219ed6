//! Observers: one outcome per request, whatever becomes of it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![cfg(feature = "axum")]

mod support;

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use futures_util::{StreamExt, stream};
use http::{Request, Response, StatusCode};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tower::{Layer, ServiceExt, service_fn};
use tower_flags::observe::{Failure, Outcome};
use tower_flags::{Context, FlagLayer, Flags, RequireFlagLayer, flag};

use support::{Client, Log, get_as, memory, serve};

/// What a test compares of an outcome.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    status: Option<u16>,
    failure: Option<Failure>,
    reads: Vec<(String, bool)>,
    user: Option<String>,
}

fn seen(outcome: &Outcome<'_>) -> Seen {
    assert!(outcome.to_response.is_none_or(|time| time <= outcome.to_end));
    assert_eq!(outcome.to_response.is_some(), outcome.status.is_some());
    Seen {
        status: outcome.status.map(|status| status.as_u16()),
        failure: outcome.failure,
        reads: outcome.reads().iter().map(|read| (read.name.to_owned(), read.enabled)).collect(),
        user: outcome.context().user_id().map(str::to_owned),
    }
}

/// A layer with an observer, and what it sees.
fn observed() -> (FlagLayer, UnboundedReceiver<Seen>) {
    let rules = memory(r#"{"mine": {"allowed_users": ["alice"]}, "other": true}"#);
    let (send, receive) = unbounded_channel();
    let layer = FlagLayer::new(rules).trust_headers().observe(move |outcome: &Outcome<'_>| {
        send.send(seen(outcome)).unwrap();
    });
    (layer, receive)
}

fn read(name: &str, enabled: bool) -> (String, bool) {
    (name.to_owned(), enabled)
}

#[tokio::test]
async fn each_request_has_one_outcome_with_what_was_read_until_the_end_of_its_body() {
    let (layer, mut outcomes) = observed();
    let stream = || async {
        let frames = stream::iter(0..3).map(|number| Ok::<_, Infallible>(format!("{number} {}", flag("mine"))));
        Body::from_stream(frames)
    };
    let router = Router::new()
        .route("/plain", get(|| async { flag("other").to_string() }))
        .route("/empty", get(|| async {}))
        .route("/none", get(|| async { StatusCode::NO_CONTENT }))
        .route("/broken", get(|| async { StatusCode::BAD_GATEWAY }))
        .route("/stream", get(stream));
    let server = serve(router.layer(layer)).await;
    for (path, status, reads) in [
        ("/plain", 200, vec![read("other", true)]),
        ("/empty", 200, vec![]),
        ("/none", 204, vec![]),
        ("/broken", 502, vec![]),
        ("/stream", 200, vec![read("mine", true)]),
        ("/unknown", 404, vec![]),
    ] {
        get_as(server, path, "alice").await;
        let expected = Seen { status: Some(status), failure: None, reads, user: Some("alice".to_owned()) };
        assert_eq!(outcomes.recv().await.unwrap(), expected, "{path}");
    }
    let mut client = Client::open(server).await;
    client.ask("HEAD", "/plain", &[("x-user-id", b"bob")]).await;
    let head = outcomes.recv().await.unwrap();
    assert_eq!((head.status, head.failure, head.user.as_deref()), (Some(200), None, Some("bob")));
    assert!(outcomes.try_recv().is_err(), "one each");
}

#[tokio::test]
async fn a_client_that_goes_away_drops_the_request() {
    let (layer, mut outcomes) = observed();
    let (asked, mut asks) = unbounded_channel();
    let waiting = move || {
        asked.send(flag("mine")).unwrap();
        std::future::pending::<()>()
    };
    let endless = || async { Body::from_stream(stream::pending::<Result<String, Infallible>>()) };
    let router = Router::new().route("/waiting", get(waiting)).route("/endless", get(endless)).layer(layer);
    let server = serve(router).await;
    let mut client = Client::open(server).await;
    client.ask("GET", "/waiting", &[("x-user-id", b"alice")]).await;
    asks.recv().await.unwrap();
    drop(client);
    let dropped = outcomes.recv().await.unwrap();
    assert_eq!((dropped.status, dropped.failure), (None, Some(Failure::Dropped)));
    assert_eq!(dropped.reads, [read("mine", true)]);

    let mut client = Client::open(server).await;
    client.ask("GET", "/endless", &[]).await;
    assert_eq!(client.head().await.status, 200);
    drop(client);
    let dropped = outcomes.recv().await.unwrap();
    assert_eq!((dropped.status, dropped.failure), (Some(200), Some(Failure::Dropped)));
}

#[tokio::test]
async fn failures_of_the_service_and_of_the_body_and_panics_are_told_apart() {
    let (layer, mut outcomes) = observed();
    let failing = layer.layer(service_fn(|_: Request<()>| async { Err::<Response<()>, _>("broken") }));
    failing.oneshot(Request::new(())).await.unwrap_err();
    let outcome = outcomes.recv().await.unwrap();
    assert_eq!((outcome.status, outcome.failure), (None, Some(Failure::Service)));

    let broken =
        || async { Body::from_stream(stream::once(async { Err::<String, _>(std::io::Error::other("broken")) })) };
    let panicking = || async { assert!(!flag("other"), "broken") };
    let router = Router::new().route("/body", get(broken)).route("/panic", get(panicking)).layer(layer);
    let response = router.clone().oneshot(Request::get("/body").body(Body::empty()).unwrap()).await.unwrap();
    axum::body::to_bytes(response.into_body(), 100).await.unwrap_err();
    let outcome = outcomes.recv().await.unwrap();
    assert_eq!((outcome.status, outcome.failure), (Some(200), Some(Failure::Body)));

    let request = Request::get("/panic").body(Body::empty()).unwrap();
    tokio::spawn(router.oneshot(request)).await.unwrap_err();
    let outcome = outcomes.recv().await.unwrap();
    assert_eq!((outcome.status, outcome.failure), (None, Some(Failure::Panicked)));
    assert_eq!(outcome.reads, [read("other", true)]);
}

#[tokio::test]
async fn layers_inside_of_layers_have_their_own_observers_and_see_the_same_reads() {
    let (outer, mut outside) = observed();
    let (inner, mut inside) = observed();
    let handler = |flags: Flags| async move { (flags.is_enabled("mine") && flag("other")).to_string() };
    let gate = RequireFlagLayer::new("other");
    let router = Router::new().route("/", get(handler)).route_layer(gate).layer(inner).layer(outer);
    get_as(serve(router).await, "/", "alice").await;
    let (inside, outside) = (inside.recv().await.unwrap(), outside.recv().await.unwrap());
    assert_eq!(inside, outside);
    assert_eq!(inside.reads, [read("mine", true), read("other", true)]);
}

#[tokio::test]
async fn what_is_skipped_has_no_outcome_and_an_observer_that_panics_costs_nothing() {
    let log = Log::open();
    let (layer, mut outcomes) = observed();
    let layer = layer.skip(|request| request.uri.path() == "/health").observe(|_: &Outcome<'_>| panic!("broken"));
    let (send, mut last) = unbounded_channel();
    let layer = layer.observe(move |outcome: &Outcome<'_>| send.send(seen(outcome)).unwrap());
    let router = Router::new().route("/", get(|| async {})).route("/health", get(|| async {})).layer(layer.clone());
    let server = serve(router).await;
    for path in ["/health", "/", "/"] {
        assert_eq!(get_as(server, path, "alice").await.status, 200);
    }
    for _ in 0..2 {
        assert_eq!(outcomes.recv().await, last.recv().await);
    }
    assert!(outcomes.try_recv().is_err());
    assert_eq!(layer.counts().closure_panics, 2);
    assert_eq!(log.lines("an observer panicked").len(), 1, "{log:?}");
}

#[tokio::test]
async fn an_observer_sees_reasons_times_and_versions_and_marks_nothing() {
    let rules = memory(r#"{"mine": {"allowed_users": ["alice"]}}"#);
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&kept);
    let layer = FlagLayer::new(rules.clone()).observe(move |outcome: &Outcome<'_>| {
        let reason = outcome.evaluation("mine").unwrap().reason.to_string();
        assert!(outcome.evaluation("unknown").is_none() && outcome.reads().is_empty(), "explaining reads nothing");
        assert!(!outcome.is_failure());
        keep.lock().unwrap().push((reason, outcome.version(), outcome.to_response.unwrap()));
    });
    let service = layer.layer(service_fn(|_: Request<()>| async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        Ok::<_, Infallible>(Response::new(Body::empty()))
    }));
    let mut request = Request::new(());
    request.extensions_mut().insert(Context::user("alice"));
    drop(service.oneshot(request).await.unwrap());
    let (reason, version, time) = kept.lock().unwrap().pop().unwrap();
    assert_eq!((reason.as_str(), version), ("User", 1));
    assert!(time >= Duration::from_millis(1), "{time:?}");
}
