//! Other layers inside and outside of this one.

use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use axum::error_handling::HandleErrorLayer;
use axum::extract::{Extension, Request};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{BoxError, Router};
use futures_util::FutureExt;
use futures_util::future::join_all;
use http::Request as HttpRequest;
use tokio::sync::Barrier;
use tower::buffer::Buffer;
use tower::limit::{ConcurrencyLimit, GlobalConcurrencyLimitLayer};
use tower::timeout::TimeoutLayer;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_flags::request::OutOfScopeError;
use tower_flags::{FlagLayer, Flags, flag, try_flag};

use super::support::{get_as, memory, mine, serve};

fn layer() -> FlagLayer {
    FlagLayer::new(mine("alice"))
}

#[tokio::test]
async fn a_concurrency_limit_inside_the_layer_holds_under_load() {
    const LIMIT: usize = 3;

    async fn handler(Extension((running, most)): Extension<(Arc<AtomicUsize>, Arc<AtomicUsize>)>) -> String {
        let now = running.fetch_add(1, Ordering::SeqCst) + 1;
        most.fetch_max(now, Ordering::SeqCst);
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        running.fetch_sub(1, Ordering::SeqCst);
        flag("mine").to_string()
    }

    let most = Arc::new(AtomicUsize::new(0));
    let router = Router::new()
        .route("/", get(handler))
        .layer(Extension((Arc::new(AtomicUsize::new(0)), Arc::clone(&most))))
        .layer(ServiceBuilder::new().layer(layer()).layer(GlobalConcurrencyLimitLayer::new(LIMIT)));
    let address = serve(router).await;
    let users = ["alice", "bob"].into_iter().cycle().take(60);
    let seen = join_all(users.map(|user| async move { (user, get_as(address, "/", user).await) })).await;
    for (user, reply) in seen {
        assert_eq!((reply.status, reply.text()), (200, if user == "alice" { "true" } else { "false" }));
    }
    assert_eq!(most.load(Ordering::SeqCst), LIMIT);
}

/// One service, readied and called again and again as a connection does it, with the calls under way
/// side by side.
async fn assert_limited_calls_see_flags(layer: FlagLayer) {
    let rendezvous = Arc::new(Barrier::new(2));
    let inner = service_fn(move |_: HttpRequest<()>| {
        let rendezvous = Arc::clone(&rendezvous);
        let in_call = try_flag("mine");
        async move {
            rendezvous.wait().await;
            let mut response = http::Response::new(());
            response.extensions_mut().insert((in_call, try_flag("mine")));
            Ok::<_, Infallible>(response)
        }
    });
    let ok: Result<bool, OutOfScopeError> = Ok(true);
    let mut service = layer.layer(ConcurrencyLimit::new(inner, 2));
    for _ in 0..20 {
        let first = service.ready().await.unwrap().call(HttpRequest::new(()));
        let second = service.ready().await.unwrap().call(HttpRequest::new(()));
        // Both permits are taken, also where the inner service has yet to be called.
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(service.poll_ready(&mut cx).is_pending());
        let (first, second) = tokio::join!(first, second);
        for response in [first.unwrap(), second.unwrap()] {
            assert_eq!(response.extensions().get(), Some(&(ok, ok)));
        }
    }
}

#[tokio::test]
async fn a_service_that_has_to_be_ready_is_called_ready_by_a_ready_source() {
    assert_limited_calls_see_flags(FlagLayer::new(memory(r#"{"mine": true}"#))).await;
}

/// What its `call` and its `poll` see.
fn call_and_poll()
-> impl Service<HttpRequest<()>, Response = http::Response<()>, Error = Infallible, Future: Send> + Clone + Send {
    service_fn(|_: HttpRequest<()>| {
        let in_call = try_flag("mine").is_ok();
        poll_fn(move |_| {
            let mut response = http::Response::new(());
            response.extensions_mut().insert((in_call, try_flag("mine").is_ok()));
            Poll::Ready(Ok::<_, Infallible>(response))
        })
    })
}

#[tokio::test]
async fn a_buffer_outside_the_layer_keeps_the_scope_and_one_inside_loses_it_for_call_alone() {
    let outside = Buffer::new(layer().layer(call_and_poll()), 4);
    let response = outside.oneshot(HttpRequest::new(())).await.unwrap();
    assert_eq!(response.extensions().get(), Some(&(true, true)));

    let inside = layer().layer(Buffer::new(call_and_poll(), 4));
    let response = inside.oneshot(HttpRequest::new(())).await.unwrap();
    assert_eq!(response.extensions().get(), Some(&(false, true)));
}

async fn catch_panics(request: Request, next: Next) -> Response {
    let outcome = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    outcome.unwrap_or_else(|_| (StatusCode::INTERNAL_SERVER_ERROR, seen()).into_response())
}

fn seen() -> &'static str {
    if Flags::current().is_some() { "in scope" } else { "out of scope" }
}

#[tokio::test]
async fn a_panic_caught_inside_the_layer_has_the_header_and_one_caught_outside_has_none() {
    async fn panics() {
        panic!("as the test wants");
    }
    let routes = || Router::new().route("/", get(panics));
    let inside = get_as(serve(routes().layer(from_fn(catch_panics)).layer(layer())).await, "/", "alice").await;
    assert_eq!((inside.status, inside.text(), inside.active()), (500, "in scope", Some("mine")));
    let outside = get_as(serve(routes().layer(layer()).layer(from_fn(catch_panics))).await, "/", "alice").await;
    assert_eq!((outside.status, outside.text(), outside.active()), (500, "out of scope", None));
}

#[tokio::test(start_paused = true)]
async fn a_timeout_inside_the_layer_keeps_scope_and_header_and_one_outside_loses_both() {
    async fn timed_out(_: BoxError) -> (StatusCode, &'static str) {
        (StatusCode::REQUEST_TIMEOUT, seen())
    }
    let timeout = || ServiceBuilder::new().layer(HandleErrorLayer::new(timed_out)).layer(TimeoutLayer::new(SECOND));
    const SECOND: Duration = Duration::from_secs(1);
    let routes = || Router::new().route("/", get(pending::<()>));
    let inside = get_as(serve(routes().layer(timeout()).layer(layer())).await, "/", "alice").await;
    assert_eq!((inside.status, inside.text(), inside.active()), (408, "in scope", Some("mine")));
    let outside = get_as(serve(routes().layer(layer()).layer(timeout())).await, "/", "alice").await;
    assert_eq!((outside.status, outside.text(), outside.active()), (408, "out of scope", None));
}

#[tokio::test]
async fn a_refusal_inside_the_layer_sees_flags_and_one_outside_has_none() {
    async fn refuse(_: Request, _: Next) -> Response {
        (StatusCode::UNAUTHORIZED, seen()).into_response()
    }
    let routes = || Router::new().route("/", get(|| async {}));
    let inside = get_as(serve(routes().layer(from_fn(refuse)).layer(layer())).await, "/", "alice").await;
    assert_eq!((inside.status, inside.text(), inside.active()), (401, "in scope", Some("mine")));
    let outside = get_as(serve(routes().layer(layer()).layer(from_fn(refuse))).await, "/", "alice").await;
    assert_eq!((outside.status, outside.text(), outside.active()), (401, "out of scope", None));
}
