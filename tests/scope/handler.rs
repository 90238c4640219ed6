//! Code that runs on the request's own task.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{Extension, Request};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Router, body::Body};
use futures_util::StreamExt;
use futures_util::future::join;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Barrier;
use tokio::task::yield_now;
use tower::{Layer, ServiceExt, service_fn};
use tower_flags::{Context, FlagLayer, Flags, flag, variant};

use super::support::{Client, ask, get_as, memory, mine, serve};
use super::{Eager, assert_callers_see_their_own_flags};

#[tokio::test]
async fn a_handler_and_the_functions_it_calls_see_the_flags_of_the_caller() {
    async fn deep_below() -> bool {
        yield_now().await;
        flag("mine")
    }
    let router = Router::new().route("/", get(|| async { (flag("mine") && deep_below().await).to_string() }));
    assert_callers_see_their_own_flags(router, "/").await;
}

#[tokio::test]
async fn joined_futures_see_the_flags() {
    async fn handler() -> String {
        let (a, (b, c)) = tokio::join!(async { flag("mine") }, async {
            yield_now().await;
            join(async { flag("mine") }, async { flag("mine") }).await
        });
        assert!(a == b && b == c);
        a.to_string()
    }
    assert_callers_see_their_own_flags(Router::new().route("/", get(handler)), "/").await;
}

#[tokio::test]
async fn futures_unordered_see_the_flags() {
    async fn handler() -> String {
        let futures: FuturesUnordered<_> = (0..8)
            .map(|turns| async move {
                for _ in 0..turns {
                    yield_now().await;
                }
                flag("mine")
            })
            .collect();
        let seen: Vec<bool> = futures.collect().await;
        assert_eq!(seen, [seen[0]; 8]);
        seen[0].to_string()
    }
    assert_callers_see_their_own_flags(Router::new().route("/", get(handler)), "/").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocking_in_place_sees_the_flags() {
    async fn handler() -> String {
        tokio::task::block_in_place(|| flag("mine")).to_string()
    }
    assert_callers_see_their_own_flags(Router::new().route("/", get(handler)), "/").await;
}

#[tokio::test]
async fn turning_a_value_into_a_response_sees_the_flags() {
    struct Page;

    impl IntoResponse for Page {
        fn into_response(self) -> Response {
            flag("mine").to_string().into_response()
        }
    }

    assert_callers_see_their_own_flags(Router::new().route("/", get(|| async { Page })), "/").await;
}

#[tokio::test]
async fn code_inside_the_call_of_a_service_sees_the_flags() {
    let service = FlagLayer::new(mine("alice")).layer(Eager);
    let address = serve(Router::new().route_service("/", service)).await;
    assert_eq!(get_as(address, "/", "alice").await.text(), "true");
    assert_eq!(get_as(address, "/", "bob").await.text(), "false");
}

#[tokio::test]
async fn a_handler_sees_its_variant() {
    let source = memory(r#"{"page": {"enabled": true, "variants": {"control": 0, "higher": 100}}}"#);
    let router = Router::new().route("/", get(|| async { format!("{:?} {:?}", variant("page"), variant("nothing")) }));
    let address = serve(router.layer(FlagLayer::new(source))).await;
    assert_eq!(get_as(address, "/", "alice").await.text(), r#"Some("higher") None"#);
}

#[tokio::test]
async fn extractor_extension_and_scope_are_one_value() {
    async fn handler(flags: Flags, Extension(extension): Extension<Flags>, optional: Option<Flags>) -> String {
        let current = Flags::current().unwrap();
        assert!(flags.ptr_eq(&current) && flags.ptr_eq(&extension) && flags.ptr_eq(&optional.unwrap()));
        assert_eq!(extension.read(), [""; 0]);
        assert!(flag("mine"));
        assert_eq!(extension.read(), ["mine"]);
        format!("{:?}", flags.context().user_id())
    }
    let address = serve(Router::new().route("/", get(handler)).layer(FlagLayer::new(mine("alice")))).await;
    assert_eq!(get_as(address, "/", "alice").await.text(), r#"Some("alice")"#);
}

#[tokio::test]
async fn without_a_layer_the_extractor_says_which_line_is_missing() {
    let router = Router::new()
        .route("/required", get(|_: Flags| async { "reached" }))
        .route("/optional", get(|flags: Option<Flags>| async move { flags.is_none().to_string() }));
    let address = serve(router).await;
    let refused = ask(address, "/required", &[]).await;
    assert_eq!(refused.status, 500);
    assert!(refused.text().contains(".layer(FlagLayer::new(source))"), "{}", refused.text());
    assert_eq!(ask(address, "/optional", &[]).await.text(), "true");
}

#[tokio::test]
async fn requests_interleaved_on_one_thread_keep_their_own_flags() {
    async fn handler(Extension(barrier): Extension<Arc<Barrier>>) -> String {
        let mut seen = Vec::new();
        for _ in 0..10 {
            seen.push(flag("mine"));
            // Both requests are halfway here each time, and wake in either order.
            barrier.wait().await;
        }
        assert_eq!(seen, [seen[0]; 10]);
        seen[0].to_string()
    }
    let router = Router::new().route("/", get(handler)).layer(Extension(Arc::new(Barrier::new(2))));
    let address = serve(router.layer(FlagLayer::new(mine("alice")))).await;
    let (alice, bob) = tokio::join!(get_as(address, "/", "alice"), get_as(address, "/", "bob"));
    assert_eq!((alice.text(), bob.text()), ("true", "false"));
}

#[tokio::test]
async fn requests_of_one_connection_do_not_see_each_others_flags() {
    let router = Router::new().route("/", get(|| async { flag("mine").to_string() }));
    let address = serve(router.layer(FlagLayer::new(mine("alice")))).await;
    let mut client = Client::open(address).await;
    for (user, seen) in [("alice", "true"), ("bob", "false"), ("alice", "true"), ("", "false")] {
        let reply = client.get("/", &[("X-User-ID", user)]).await;
        assert_eq!((reply.text(), reply.active()), (seen, (seen == "true").then_some("mine")), "{user:?}");
    }
}

#[tokio::test]
async fn a_handler_that_calls_a_router_in_process_has_its_own_flags_afterwards() {
    async fn handler() -> String {
        let inside = Router::new()
            .route("/", get(|| async { format!("{} {}", flag("mine"), flag("theirs")) }))
            .layer(FlagLayer::new(memory(r#"{"theirs": true}"#)));
        let before = flag("mine");
        let response = inside.oneshot(Request::new(Body::empty())).await.unwrap();
        let said = axum::body::to_bytes(response.into_body(), 100).await.unwrap();
        format!("{before} ({}) {} {}", std::str::from_utf8(&said).unwrap(), flag("mine"), flag("theirs"))
    }
    let address = serve(Router::new().route("/", get(handler)).layer(FlagLayer::new(mine("alice")))).await;
    assert_eq!(get_as(address, "/", "alice").await.text(), "true (false true) true false");
}

#[tokio::test]
async fn a_context_from_a_layer_outside_decides() {
    async fn login(mut request: Request, next: Next) -> Response {
        request.extensions_mut().insert(Context::user("alice"));
        next.run(request).await
    }
    let router = Router::new()
        .route("/", get(|| async { flag("mine").to_string() }))
        .layer(FlagLayer::new(mine("alice")))
        .layer(from_fn(login));
    assert_eq!(get_as(serve(router).await, "/", "bob").await.text(), "true");
}

#[tokio::test]
async fn a_service_made_of_a_function_sees_the_flags() {
    let service = service_fn(|_: Request| {
        let in_call = flag("mine");
        async move { Ok::<_, Infallible>(format!("{in_call} {}", flag("mine")).into_response()) }
    });
    let router = Router::new().route_service("/", FlagLayer::new(mine("alice")).layer(service));
    assert_eq!(get_as(serve(router).await, "/", "alice").await.text(), "true true");
}
