//! Responses that were made for one request and are given to another: by a cache between two layers, or by a
//! handler that asks a router in process.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![cfg(feature = "axum")]

mod support;

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::response::Parts;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::get;
use tower::buffer::Buffer;
use tower::{Layer, ServiceExt, service_fn};
use tower_flags::engine::{Answers, Query};
use tower_flags::source::{Source, Status};
use tower_flags::{Context, FlagLayer, Flags, HeaderPolicy, Timestamp, flag};

use support::{Reply, document, get_as, memory, mine, serve};

/// What a cache keeps of each path, extensions included, for everybody.
type Kept = Arc<Mutex<HashMap<String, (Parts, Bytes)>>>;

async fn cache(State(kept): State<Kept>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let found = kept.lock().unwrap().get(&path).cloned();
    if let Some((parts, body)) = found {
        return Response::from_parts(parts, Body::from(body));
    }
    let (parts, body) = next.run(request).await.into_parts();
    let body = to_bytes(body, 1024).await.unwrap();
    kept.lock().unwrap().insert(path, (parts.clone(), body.clone()));
    Response::from_parts(parts, Body::from(body))
}

/// An access log: says in a header whose flags it found in the response.
async fn log(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let user = response.extensions().get::<Flags>().map(|flags| flags.context().user_id().unwrap_or("nobody"));
    let user = HeaderValue::from_str(user.unwrap_or("none")).unwrap();
    response.headers_mut().insert("x-logged", user);
    response
}

async fn page() -> &'static str {
    if flag("mine") { "alice's" } else { "others'" }
}

/// Around a page: a layer, a cache that serves everybody the same, a layer, an access log.
async fn cached_between(inner: FlagLayer, outer: FlagLayer) -> SocketAddr {
    let router = Router::new().route("/", get(page)).layer(inner);
    let router = router.layer(from_fn_with_state(Kept::default(), cache));
    serve(router.layer(outer).layer(from_fn(log))).await
}

fn layer() -> FlagLayer {
    FlagLayer::new(mine("alice")).trust_headers()
}

fn told(reply: &Reply) -> (&str, Option<&str>, Option<&str>) {
    (reply.text(), reply.active(), reply.header("x-logged"))
}

#[tokio::test]
async fn a_response_from_a_cache_has_the_flags_of_whoever_gets_it() {
    let source = mine("alice");
    for (inner, outer) in [
        (layer(), layer().flags_in_response()),
        (FlagLayer::new(source.clone()), FlagLayer::new(source).trust_headers().flags_in_response()),
        (FlagLayer::new(memory(r#"{"inner": {"allowed_users": ["alice"]}}"#)), layer().flags_in_response()),
    ] {
        let title = format!("{inner:?}");
        let server = cached_between(inner, outer).await;
        let alice = get_as(server, "/", "alice").await;
        assert!(alice.active().unwrap().ends_with("mine"), "{title}");
        assert_eq!(alice.header("x-logged"), Some("alice"));
        let bob = get_as(server, "/", "bob").await;
        assert_eq!(told(&bob), ("alice's", None, Some("bob")), "the cache's page, and bob's flags; {title}");
    }
}

#[tokio::test]
async fn a_response_from_a_cache_says_nothing_to_other_caches_of_what_was_read_for_it() {
    let inner = layer().leave_cache_headers();
    let server = cached_between(inner, FlagLayer::new(memory("{}")).ignore_headers()).await;
    let made = get_as(server, "/", "alice").await;
    let caches = |reply: &Reply| (reply.lines("vary").len(), reply.lines("cache-control").len());
    assert_eq!(caches(&made), (1, 1), "it was made for this request, from a flag of the caller: {made:?}");
    let kept = get_as(server, "/", "bob").await;
    assert_eq!(caches(&kept), (0, 0), "nothing was read for this one: {kept:?}");
}

#[tokio::test]
async fn a_response_from_a_cache_has_the_rules_of_now() {
    let source = mine("alice");
    let inner = FlagLayer::new(source.clone());
    let server = cached_between(inner, FlagLayer::new(source.clone()).trust_headers()).await;
    assert_eq!(get_as(server, "/", "alice").await.active(), Some("mine"));
    source.replace(document(r#"{"newer": true, "mine": false}"#));
    assert_eq!(get_as(server, "/", "alice").await.active(), Some("newer"), "the same caller, another request");
}

/// Has one value for each caller, and gives it to all requests.
struct Shared(HashMap<&'static str, Answers>);

impl Shared {
    fn new() -> Self {
        let of = |user, flag| {
            let context = Context::user(user);
            (user, Flags::builder().on(flag).answer(&Query::new(&context, Timestamp::now())))
        };
        Self([of("alice", "hers"), of("bob", "his")].into())
    }
}

impl Source for Shared {
    fn answer(&self, query: &Query<'_>) -> Answers {
        self.0[query.context.user_id().unwrap()].clone()
    }

    fn status(&self) -> Status {
        Status::fresh()
    }
}

#[tokio::test]
async fn one_value_for_many_requests_is_told_apart_too() {
    let outer = FlagLayer::new(Shared::new()).trust_headers().header_policy(HeaderPolicy::Read);
    let inner = FlagLayer::new(memory("{}"));
    let router = Router::new()
        .route("/reads", get(|| async { flag("hers").to_string() }))
        .route("/plain", get(|| async { "plain" }))
        .layer(inner)
        .layer(from_fn_with_state(Kept::default(), cache));
    let server = serve(router.layer(outer)).await;
    let first = get_as(server, "/reads", "alice").await;
    assert_eq!((first.text(), first.active()), ("true", Some("hers")));
    assert_eq!(get_as(server, "/plain", "alice").await.active(), None, "another request has read it");
    assert_eq!(get_as(server, "/reads", "alice").await.active(), None, "the cache has answered");
}

#[tokio::test]
async fn an_access_log_gets_no_flags_of_a_request_that_a_handler_made_in_process() {
    let theirs = || FlagLayer::new(memory(r#"{"theirs": true}"#)).flags_in_response();
    let inside = Router::new().route("/", get(|| async { "in process" })).layer(theirs());
    let handler = || async { inside.oneshot(Request::new(Body::empty())).await.unwrap() };
    let router = Router::new().route("/", get(handler));
    for (layer, logged) in [(layer(), "none"), (layer().flags_in_response(), "alice")] {
        let server = serve(router.clone().layer(layer).layer(from_fn(log))).await;
        assert_eq!(told(&get_as(server, "/", "alice").await), ("in process", Some("mine"), Some(logged)));
    }
}

#[tokio::test]
async fn an_access_log_keeps_the_flags_that_the_application_put_there() {
    async fn put(request: Request, next: Next) -> Response {
        let flags = Flags::current().unwrap();
        let mut response = next.run(request).await;
        response.extensions_mut().insert(flags.refresh().await);
        response
    }
    let router = Router::new().route("/", get(page)).layer(from_fn(put)).layer(layer()).layer(from_fn(log));
    assert_eq!(get_as(serve(router).await, "/", "alice").await.header("x-logged"), Some("alice"));
}

#[tokio::test]
async fn what_an_inner_layer_reports_counts_behind_a_buffer_too() {
    let page = service_fn(|_: http::Request<()>| async { Ok::<_, Infallible>(http::Response::new(())) });
    let inner = FlagLayer::new(memory(r#"{"inner": true}"#)).layer(page);
    let service = FlagLayer::new(memory(r#"{"outer": true}"#)).layer(Buffer::new(inner, 1));
    let response = service.oneshot(http::Request::new(())).await.unwrap();
    assert_eq!(response.headers()["x-active-flags"], "inner,outer");
}

/// Puts answers of the application's own into the request.
async fn put(mut request: Request, next: Next) -> Response {
    let flags = Flags::builder().on("put").build(Context::user(request.headers()["x-user-id"].to_str().unwrap()));
    request.extensions_mut().insert(flags);
    next.run(request).await
}

#[tokio::test]
async fn answers_that_the_application_puts_into_a_request_are_part_of_it() {
    let router = Router::new().route("/", get(page)).layer(FlagLayer::new(memory(r#"{"inner": true}"#)));
    let reply = get_as(serve(router.layer(from_fn(put)).layer(layer())).await, "/", "alice").await;
    assert_eq!(reply.active(), Some("inner,put"), "what the handler sees");

    let router = Router::new().route("/", get(page)).layer(layer().leave_cache_headers());
    let router = router.layer(from_fn_with_state(Kept::default(), cache));
    let server = serve(router.layer(FlagLayer::new(memory("{}"))).layer(from_fn(put))).await;
    for (user, caches) in [("alice", (1, 1)), ("bob", (0, 0))] {
        let reply = get_as(server, "/", user).await;
        assert_eq!((reply.lines("vary").len(), reply.lines("cache-control").len()), caches, "{user}: {reply:?}");
    }
}
