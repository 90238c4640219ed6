//! Requests that the layer leaves alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use futures_util::stream;
use http::StatusCode;
use tower_flags::engine::{Answers, Query};
use tower_flags::source::{Source, Status};
use tower_flags::{FlagLayer, Flags, Memory, try_flag};

use super::support::{get_as, mine, serve};

/// Counts what it is asked.
#[derive(Clone)]
struct Counting(Memory, Arc<AtomicU64>);

impl Source for Counting {
    fn answer(&self, query: &Query<'_>) -> Answers {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.answer(query)
    }

    fn status(&self) -> Status {
        self.0.status()
    }
}

async fn seen(flags: Option<Flags>) -> String {
    let streamed = Flags::current().is_some();
    format!("{} {streamed} {}", flags.is_some(), try_flag("mine").is_ok())
}

#[tokio::test]
async fn a_request_that_is_skipped_is_not_decided_and_has_neither_scope_nor_header() {
    let source = Counting(mine("alice"), Arc::default());
    let asked = Arc::clone(&source.1);
    let layer = FlagLayer::new(source).skip(|request| {
        let path = request.uri.path();
        path == "/health" || path.starts_with("/assets/")
    });
    let body = || async {
        Body::from_stream(stream::once(async { Ok::<_, std::io::Error>(Flags::current().is_some().to_string()) }))
    };
    let router = Router::new()
        .route("/", get(seen))
        .route("/health", get(seen))
        .route("/assets/body", get(body))
        .fallback(|| async { StatusCode::NOT_FOUND })
        .layer(layer);
    let server = serve(router).await;

    let page = get_as(server, "/", "alice").await;
    assert_eq!((page.text(), page.active(), asked.load(Ordering::Relaxed)), ("true true true", Some("mine"), 1));
    let health = get_as(server, "/health", "alice").await;
    assert_eq!((health.text(), health.active()), ("false false false", None));
    assert_eq!(health.lines("vary"), [""; 0]);
    assert_eq!(get_as(server, "/assets/body", "alice").await.text(), "false");
    assert_eq!(get_as(server, "/assets/nothing", "alice").await.active(), None);
    assert_eq!(get_as(server, "/healthy", "alice").await.active(), Some("mine"), "another path");
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_skip_of_an_inner_layer_leaves_the_answers_of_the_outer_one() {
    let inner = FlagLayer::new(mine("nobody")).skip(|_| true);
    let router = Router::new().route("/", get(seen)).layer(inner).layer(FlagLayer::new(mine("alice")));
    let reply = get_as(serve(router).await, "/", "alice").await;
    assert_eq!((reply.text(), reply.active()), ("true true true", Some("mine")));
}
