//! Connections that live long: their answers stay, and `refresh` decides their caller again.
#![cfg(feature = "axum")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Extension;
use axum::routing::get;
use futures_util::{FutureExt, stream};
use http::{Request, Response};
use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tower::{Layer, Service, service_fn};
use tower_flags::engine::{Answers, Query};
use tower_flags::source::{Source, Status};
use tower_flags::{Context, FlagLayer, Flags, Memory, Timestamp, flag};

use support::{Client, Log, memory, mine, serve};

/// The answers of a request through these layers, the outermost first, kept beyond it.
async fn kept(layers: &[&FlagLayer], context: Context) -> Flags {
    let (send, mut receive) = unbounded_channel();
    let keep = service_fn(move |request: Request<()>| {
        send.send(request.extensions().get::<Flags>().unwrap().clone()).unwrap();
        ready(Ok::<_, Infallible>(Response::new(())))
    });
    let mut request = Request::new(());
    request.extensions_mut().insert(context);
    match layers {
        [layer] => drop(layer.layer(keep).call(request).await),
        [outer, inner] => drop(outer.layer(inner.layer(keep)).call(request).await),
        _ => unreachable!("one or two"),
    }
    receive.recv().await.unwrap()
}

#[tokio::test]
async fn a_stream_of_events_sees_a_change_once_it_refreshes() {
    type Turns = Extension<Arc<Mutex<UnboundedReceiver<bool>>>>;

    async fn events(flags: Flags, Extension(turns): Turns) -> Body {
        Body::from_stream(stream::unfold((flags, turns), async |(flags, turns)| {
            let refreshes = turns.lock().await.recv().await?;
            let flags = if refreshes { flags.refresh().await } else { flags };
            let below = flags.scope(async { flag("mine") }).await;
            let line = format!("{} {below} {}\n", flag("mine"), flags.version());
            Some((Ok::<_, Infallible>(line), (flags, turns)))
        }))
    }

    let rules = mine("alice");
    let (turn, turns) = unbounded_channel();
    let router = Router::new().route("/", get(events)).layer(Extension(Arc::new(Mutex::new(turns))));
    let address = serve(router.layer(FlagLayer::new(rules.clone()))).await;
    let mut client = Client::open(address).await;
    client.ask("GET", "/", &[("X-User-ID", b"alice")]).await;
    let before = rules.status().version;
    turn.send(false).unwrap();
    client.head().await;
    assert_eq!(client.frame().await.unwrap(), format!("true true {before}\n").into_bytes());
    rules.set("mine", false).unwrap();
    turn.send(false).unwrap();
    assert_eq!(client.frame().await.unwrap(), format!("true true {before}\n").into_bytes());
    turn.send(true).unwrap();
    let line = format!("true false {}\n", before + 1);
    assert_eq!(client.frame().await.unwrap(), line.into_bytes(), "the scope of the request stays as it is");
    drop(turn);
    assert_eq!(client.frame().await, None);
}

#[tokio::test]
async fn refreshing_decides_the_same_caller_at_the_instant_of_now() {
    let rules = memory(
        r#"{"plan": {"schedule": [{"at": "2026-12-01T00:00:00Z", "percentage": 100}]}, "pro": {"rules": [{"when":
        [{"attribute": "tier", "op": "equals", "values": ["pro"]}], "serve": true}]}}"#,
    );
    let now = Arc::new(std::sync::Mutex::new("2026-11-30T23:59:59Z".parse::<Timestamp>().unwrap()));
    let clock = Arc::clone(&now);
    let layer = FlagLayer::new(rules).clock(move || *clock.lock().unwrap());
    let flags = kept(&[&layer], Context::user("alice").with_attribute("tier", "pro")).await;
    assert_eq!(flags.active().collect::<Vec<_>>(), ["pro"]);
    *now.lock().unwrap() = "2026-12-01T00:00:00Z".parse().unwrap();
    let again = flags.refresh().await;
    assert_eq!(again.active().collect::<Vec<_>>(), ["plan", "pro"]);
    assert_eq!(again.context(), flags.context());
    assert_eq!(flags.active().collect::<Vec<_>>(), ["pro"], "the old ones stay");
    assert_eq!(again.refresh().await.active().count(), 2, "and so on");
}

#[tokio::test]
async fn a_layer_inside_a_layer_refreshes_both_sources() {
    let (outside, inside) = (memory(r#"{"out": true, "both": true}"#), memory(r#"{"in": true, "both": true}"#));
    let (outer, inner) = (FlagLayer::new(outside.clone()), FlagLayer::new(inside.clone()));
    let flags = kept(&[&outer, &inner], Context::anonymous()).await;
    assert_eq!(flags.active().collect::<Vec<_>>(), ["both", "in", "out"]);
    outside.set("both", false).unwrap();
    inside.set("new", true).unwrap();
    outside.set("newer", true).unwrap();
    let again = flags.refresh().await;
    assert_eq!(again.active().collect::<Vec<_>>(), ["in", "new", "newer", "out"], "a kill outside counts inside");
}

#[tokio::test]
async fn answers_keep_no_source_alive_and_stay_when_it_is_gone() {
    /// Says when it is dropped.
    struct Told(Memory, tokio::sync::mpsc::UnboundedSender<()>);

    impl Drop for Told {
        fn drop(&mut self) {
            self.1.send(()).unwrap();
        }
    }

    impl Source for Told {
        fn answer(&self, query: &Query<'_>) -> Answers {
            self.0.answer(query)
        }

        fn status(&self) -> Status {
            self.0.status()
        }
    }

    let log = Log::open();
    let rules = memory(r#"{"mine": true}"#);
    let (send, mut dropped) = unbounded_channel();
    let layer = FlagLayer::new(Told(rules.clone(), send));
    let flags = kept(&[&layer], Context::user("alice")).await;
    rules.set("mine", false).unwrap();
    drop(layer);
    assert_eq!(dropped.recv().now_or_never(), Some(Some(())), "nothing else holds the source");
    for _ in 0..2 {
        let again = flags.refresh().await;
        assert!(again.ptr_eq(&flags) && again.is_enabled("mine"));
    }
    // The warning is logged once in a process, and no other test of this file drops its layer.
    let lines = log.lines("were not refreshed");
    assert_eq!(lines.len(), 1, "{log:?}");
    assert!(lines[0].contains("WARN") && lines[0].contains("Keep a clone of the `FlagLayer`"), "{lines:?}");
}

#[tokio::test]
async fn a_stream_refreshes_its_flags_though_its_router_is_gone() {
    let rules = memory(r#"{"mine": true}"#);
    let (go, wait) = tokio::sync::oneshot::channel::<()>();
    let wait = Arc::new(std::sync::Mutex::new(Some(wait)));
    let handler = move |flags: Flags| {
        let wait = wait.lock().unwrap().take().unwrap();
        async move {
            Body::from_stream(stream::once(async move {
                wait.await.unwrap();
                Ok::<_, Infallible>(flags.refresh().await.is_enabled("mine").to_string())
            }))
        }
    };
    let app = Router::new().route("/", get(handler)).layer(FlagLayer::new(rules.clone()));
    let response = tower::ServiceExt::oneshot(app, Request::new(Body::empty())).await.unwrap();
    rules.set("mine", false).unwrap();
    go.send(()).unwrap();
    assert_eq!(axum::body::to_bytes(response.into_body(), 100).await.unwrap(), "false");
}
