//! A request that a middleware between two layers builds anew, without its extensions, is the same request; one
//! that a handler makes in process is its own.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![cfg(feature = "axum")]

mod support;

use std::convert::Infallible;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::request::{Builder, Parts};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Router};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_flags::{Context, FlagLayer, Flags, Memory, RequireFlagLayer, flag};

use support::{Reply, ask, document, get_as, memory, mine, serve};

/// Builds a request from the parts of another one.
type Rebuild = fn(Parts) -> Builder;

/// Ways of building a request anew.
const REBUILDS: [(&str, Rebuild); 7] = [
    ("moved", |parts| {
        let mut builder = Request::builder().method(parts.method).uri(parts.uri);
        *builder.headers_mut().unwrap() = parts.headers;
        builder
    }),
    ("cloned", |parts| {
        let builder = Request::builder().method(&parts.method).uri(&parts.uri);
        parts.headers.iter().fold(builder, |builder, (name, value)| builder.header(name, value))
    }),
    ("copied as text", |parts| {
        let builder = Request::builder().method(parts.method.as_str()).uri(parts.uri.to_string());
        let lines = parts.headers.iter();
        lines.fold(builder, |builder, (name, value)| builder.header(name.as_str(), value.to_str().unwrap()))
    }),
    ("without headers", |parts| Request::builder().method(parts.method).uri(parts.uri)),
    ("with another path", |parts| {
        let mut builder = Request::builder().method(parts.method).uri("/rewritten");
        *builder.headers_mut().unwrap() = parts.headers;
        builder
    }),
    ("with another method and path, and some headers", |parts| {
        let builder = Request::builder().method("POST").uri("/rewritten");
        builder.header("x-user-id", &parts.headers["x-user-id"])
    }),
    ("with fewer headers", |mut parts| {
        for name in ["host", "x-user-id"] {
            parts.headers.remove(name);
        }
        let mut builder = Request::builder().method(parts.method).uri(parts.uri.path());
        *builder.headers_mut().unwrap() = parts.headers;
        builder.uri(parts.uri)
    }),
];

fn rebuilt(request: Request, rebuild: Rebuild) -> Request {
    let (parts, body) = request.into_parts();
    rebuild(parts).body(body).unwrap()
}

/// Between two layers.
fn with_rebuild(router: Router, rebuild: Rebuild) -> Router {
    router.layer(from_fn(move |request: Request, next: Next| next.run(rebuilt(request, rebuild))))
}

/// Who asks, which of the flags are on for them, and by which version.
async fn seen(flags: Flags) -> String {
    let user = flags.context().user_id().unwrap_or("nobody").to_owned();
    let names = ["mine", "killed", "needs_killed", "inner", "mallorys"];
    let on: Vec<&str> = names.into_iter().filter(|name| flag(name)).collect();
    format!("{user} {} {}", on.join(","), flags.version())
}

async fn log_in_as_alice(mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(Context::user("alice"));
    next.run(request).await
}

fn outer() -> FlagLayer {
    FlagLayer::new(memory(r#"{"mine": {"allowed_users": ["alice"]}, "killed": false}"#))
}

fn inner() -> FlagLayer {
    FlagLayer::new(memory(
        r#"{"killed": true, "needs_killed": {"enabled": true, "requires": ["killed"]}, "inner": true,
            "mallorys": {"allowed_users": ["mallory"]}}"#,
    ))
}

/// The answer to a client that calls itself mallory in a header.
async fn as_mallory(router: Router, path: &str) -> Reply {
    get_as(serve(router).await, path, "mallory").await
}

#[tokio::test]
async fn the_outer_kill_holds_and_the_header_of_the_client_is_not_read() {
    for (title, rebuild) in REBUILDS {
        for inner in [inner(), inner().trust_headers()] {
            for path in ["/", "/page", "/page?a=b"] {
                let is_known_by_its_path = matches!(title, "without headers" | "with fewer headers");
                if path == "/" && is_known_by_its_path {
                    // As the limitations say: every request may have this path.
                    continue;
                }
                let router = Router::new().fallback(seen).layer(inner.clone());
                let router = with_rebuild(router, rebuild).layer(outer()).layer(from_fn(log_in_as_alice));
                let reply = as_mallory(router, path).await;
                assert_eq!(reply.text(), "alice mine,inner 1", "{title} {path} {inner:?}");
                assert_eq!(reply.lines("x-active-flags"), ["inner,mine"], "{title} {path}");
            }
        }
    }
}

#[tokio::test]
async fn a_request_rebuilt_in_the_call_of_a_service_is_found_too() {
    for (title, rebuild) in REBUILDS {
        let service = ServiceBuilder::new()
            .layer(outer().identify(|_| Some(Context::user("alice"))))
            .map_request(move |request| rebuilt(request, rebuild))
            .layer(inner())
            .service(service_fn(|request: Request| async move {
                let flags = request.extensions().get::<Flags>().unwrap().clone();
                Ok::<_, Infallible>(http::Response::new(seen(flags).await))
            }));
        let request = Request::builder().uri("/page").header("x-user-id", "mallory").header("accept", "*/*");
        let response = service.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.headers()["x-active-flags"], "inner,mine", "{title}");
        let body = to_bytes(Body::new(response.into_body()), 100).await.unwrap();
        assert_eq!(body, "alice mine,inner 1", "{title}");
    }
}

#[tokio::test]
async fn the_rules_that_the_outer_layer_pinned_hold_over_rebuilds_and_several_layers() {
    async fn reload(Extension(source): Extension<Memory>, request: Request, next: Next) -> Response {
        source.replace(document(r#"{"mine": false, "newer": true}"#));
        next.run(request).await
    }
    for (title, rebuild) in REBUILDS {
        let source = mine("alice");
        let layer = || FlagLayer::new(source.clone());
        let router = with_rebuild(Router::new().fallback(seen).layer(layer()), rebuild);
        let router = with_rebuild(router.layer(layer()), rebuild);
        let router = router.layer(from_fn(reload)).layer(Extension(source.clone()));
        let router = router.layer(layer()).layer(from_fn(log_in_as_alice));
        let reply = as_mallory(router, "/page").await;
        assert_eq!((reply.text(), reply.active()), ("alice mine 1", Some("mine")), "{title}");
    }
}

#[tokio::test]
async fn who_is_named_after_the_rebuild_is_the_caller() {
    let (_, rebuild) = REBUILDS[0];
    let router = Router::new().fallback(seen).layer(inner()).layer(from_fn(log_in_as_alice));
    let reply = as_mallory(with_rebuild(router, rebuild).layer(outer()), "/page").await;
    assert_eq!(reply.text(), "alice inner 1", "by an extension: flags of the outer layer are still mallory's");

    let router = Router::new().fallback(seen).layer(inner().trust_headers());
    let reply = as_mallory(with_rebuild(router, rebuild).layer(outer().ignore_headers()), "/page").await;
    assert_eq!(reply.text(), "mallory inner,mallorys 1", "by a header that the inner layer alone trusts");
}

#[tokio::test]
async fn a_gate_behind_a_rebuild_goes_by_the_outer_kill() {
    for (title, rebuild) in REBUILDS {
        let gate = RequireFlagLayer::new("killed").layer(get(|| async { "hidden" }));
        let router = Router::new().fallback_service(gate).layer(inner());
        let reply = as_mallory(with_rebuild(router, rebuild).layer(outer()), "/page").await;
        assert_eq!(reply.status, 404, "{title}");
    }
}

/// Asks a router with a layer of its own from within a handler.
async fn in_process(request: Rebuild) -> Reply {
    let inside = Router::new().fallback(seen).layer(inner());
    let handler =
        move |parts: Parts| async move { inside.oneshot(request(parts).body(Body::empty()).unwrap()).await.unwrap() };
    let router = Router::new().fallback(handler).layer(outer()).layer(from_fn(log_in_as_alice));
    let headers = [("X-User-ID", "mallory"), ("Accept", "*/*"), ("Cookie", "a=b")];
    ask(serve(router).await, "/page", &headers).await
}

#[tokio::test]
async fn a_request_that_a_handler_makes_is_its_own() {
    let own: [(&str, Rebuild, &str); 4] = [
        ("empty", |_| Request::builder(), "nobody"),
        ("same path", |_| Request::builder().uri("/page"), "nobody"),
        ("named", |_| Request::builder().uri("/page").header("x-user-id", "bob"), "bob"),
        ("cookie", |_| Request::builder().uri("/other").header("accept", "*/*").header("cookie", "a=b"), "nobody"),
    ];
    for (title, request, caller) in own {
        let reply = in_process(request).await;
        let text = format!("{caller} killed,needs_killed,inner 1");
        assert_eq!((reply.text(), reply.active()), (&*text, Some("mine")), "{title}");
    }
}

#[tokio::test]
async fn a_request_of_a_handler_that_hands_the_clients_on_is_the_clients() {
    let reply = in_process(|parts| {
        let mut builder = Request::builder().uri("/other");
        *builder.headers_mut().unwrap() = parts.headers;
        builder
    });
    let reply = reply.await;
    assert_eq!(
        (reply.text(), reply.active()),
        ("alice mine,inner 1", Some("inner,mine")),
        "a forged header is not read"
    );
}
