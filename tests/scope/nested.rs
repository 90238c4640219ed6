//! Layers inside layers: one caller's request through several of them.

use axum::Router;
use axum::extract::{Extension, Request};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tower_flags::engine::Reason;
use tower_flags::{Context, Document, FlagLayer, Flags, HeaderPolicy, Memory, flag};

use super::support::{document, get_as, memory, mine, serve};

/// What the layers outside of a point made of the request.
#[derive(Clone)]
struct Outer(Flags);

async fn remember(mut request: Request, next: Next) -> Response {
    let outer = Outer(Flags::current().unwrap());
    request.extensions_mut().insert(outer);
    next.run(request).await
}

async fn log_in_as_alice(mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(Context::user("alice"));
    next.run(request).await
}

/// Switches `mine` off for everybody, between an outer layer and an inner one.
async fn reload(Extension(source): Extension<Memory>, request: Request, next: Next) -> Response {
    source.replace(document(r#"{"mine": false}"#));
    next.run(request).await
}

#[tokio::test]
async fn the_same_source_and_caller_twice_are_one_value_and_one_header() {
    async fn handler(flags: Flags, Extension(Outer(outer)): Extension<Outer>) -> String {
        (flags.ptr_eq(&outer) && flags.ptr_eq(&Flags::current().unwrap()) && flag("mine")).to_string()
    }
    let source = mine("alice");
    let router = Router::new()
        .route("/", get(handler))
        .layer(FlagLayer::new(source.clone()))
        .layer(from_fn(remember))
        .layer(FlagLayer::new(source));
    let reply = get_as(serve(router).await, "/", "alice").await;
    assert_eq!((reply.text(), reply.lines("x-active-flags")), ("true", vec!["mine"]));
}

#[tokio::test]
async fn a_reload_between_two_layers_is_not_seen_by_the_inner_one() {
    async fn handler(flags: Flags, Extension(Outer(outer)): Extension<Outer>) -> String {
        format!("{} {} {}", flag("mine"), flags.version(), flags.ptr_eq(&outer))
    }
    let source = mine("alice");
    let router = Router::new()
        .route("/", get(handler))
        .layer(FlagLayer::new(source.clone()))
        .layer(from_fn(reload))
        .layer(Extension(source.clone()))
        .layer(from_fn(remember))
        .layer(FlagLayer::new(source));
    let address = serve(router).await;
    let reply = get_as(address, "/", "alice").await;
    assert_eq!((reply.text(), reply.active()), ("true 1 true", Some("mine")));
    let reply = get_as(address, "/", "alice").await;
    assert_eq!((reply.text(), reply.active()), ("false 2 true", None));
}

#[tokio::test]
async fn another_caller_between_two_layers_is_decided_from_the_rules_that_the_outer_one_pinned() {
    async fn handler(flags: Flags, Extension(Outer(outer)): Extension<Outer>) -> String {
        format!(
            "{:?} {} {}, outside {:?} {} {}",
            flags.context().user_id(),
            flag("mine"),
            flags.version(),
            outer.context().user_id(),
            outer.is_enabled("mine"),
            outer.version(),
        )
    }
    let source = mine("alice");
    let router = Router::new()
        .route("/", get(handler))
        .layer(FlagLayer::new(source.clone()))
        .layer(from_fn(log_in_as_alice))
        .layer(from_fn(reload))
        .layer(Extension(source.clone()))
        .layer(from_fn(remember))
        .layer(FlagLayer::new(source));
    let reply = get_as(serve(router).await, "/", "bob").await;
    assert_eq!(reply.text(), r#"Some("alice") true 1, outside Some("bob") false 1"#);
    assert_eq!(reply.lines("x-active-flags"), ["mine"], "the header says what the handler saw");
}

#[tokio::test]
async fn a_refusal_between_two_layers_has_the_header_of_the_outer_one() {
    async fn refuse(_: Request, _: Next) -> Response {
        StatusCode::UNAUTHORIZED.into_response()
    }
    let router = Router::new()
        .route("/", get(|| async {}))
        .layer(FlagLayer::new(memory(r#"{"inner": true}"#)))
        .layer(from_fn(refuse))
        .layer(FlagLayer::new(memory(r#"{"outer": true}"#)));
    let reply = get_as(serve(router).await, "/", "alice").await;
    assert_eq!((reply.status, reply.active()), (401, Some("outer")));
}

/// A router with two sources around its one handler, which says what it sees of the names given.
fn two_sources(outer: &Memory, inner: &Memory, names: &'static [&'static str]) -> Router {
    let handler = move || async move {
        let on: Vec<&str> = names.iter().copied().filter(|name| flag(name)).collect();
        on.join(",")
    };
    Router::new().route("/", get(handler)).layer(FlagLayer::new(inner.clone())).layer(FlagLayer::new(outer.clone()))
}

#[tokio::test]
async fn an_inner_source_answers_first_and_the_outer_one_for_names_it_does_not_know() {
    let outer =
        memory(r#"{"both": true, "only_outer": true, "on_inside": {"percentage": 0}, "off": {"percentage": 0}}"#);
    let inner = memory(r#"{"both": {"percentage": 0}, "only_inner": true, "on_inside": true}"#);
    let names = &["both", "only_outer", "only_inner", "on_inside", "off", "in_neither"];
    let reply = get_as(serve(two_sources(&outer, &inner, names)).await, "/", "alice").await;
    assert_eq!(reply.text(), "only_outer,only_inner,on_inside");
    assert_eq!(reply.lines("x-active-flags"), ["on_inside,only_inner,only_outer"]);
}

#[tokio::test]
async fn a_flag_disabled_in_either_source_is_off_and_the_inner_flags_that_require_it_too() {
    let outer = memory(r#"{"killed_outside": false, "killed_inside": true}"#);
    let inner = memory(
        r#"{"killed_outside": true, "killed_inside": false,
            "needs_killed_outside": {"enabled": true, "requires": ["killed_outside"]},
            "needs_that": {"enabled": true, "requires": ["needs_killed_outside"]},
            "needs_killed_inside": {"enabled": true, "requires": ["killed_inside"]}}"#,
    );
    let names = &["killed_outside", "killed_inside", "needs_killed_outside", "needs_that", "needs_killed_inside"];
    let reply = get_as(serve(two_sources(&outer, &inner, names)).await, "/", "alice").await;
    assert_eq!((reply.text(), reply.active()), ("", None));
}

#[tokio::test]
async fn a_flag_disabled_outside_is_not_left_to_its_reader_where_the_inner_definition_is_rejected() {
    async fn handler(flags: Flags) -> String {
        format!("{} {}", flags.is_enabled_or("search", true), flags.evaluation("search").reason)
    }
    let rejected = Memory::from(Document::from_json(r#"{"flags": {"search": {"percentage": 250}}}"#).unwrap());
    for (rules, expected) in [(r#"{"search": false}"#, "false Disabled"), (r#"{"search": true}"#, "true Problem")] {
        let router = Router::new().route("/", get(handler)).layer(FlagLayer::new(rejected.clone()));
        let reply = get_as(serve(router.layer(FlagLayer::new(memory(rules)))).await, "/", "alice").await;
        assert_eq!(reply.text(), expected);
    }
}

#[tokio::test]
async fn an_outer_flag_is_off_when_an_inner_source_disables_what_it_requires() {
    let outer = memory(
        r#"{"payments": true, "checkout": {"enabled": true, "requires": ["payments"]},
            "upsell": {"enabled": true, "requires": ["checkout"]}}"#,
    );
    let inner = memory(r#"{"payments": false}"#);
    let address = serve(two_sources(&outer, &inner, &["payments", "checkout", "upsell"])).await;
    let reply = get_as(address, "/", "alice").await;
    assert_eq!((reply.text(), reply.active()), ("", None));
}

#[tokio::test]
async fn reasons_say_which_source_switched_a_flag_off() {
    async fn handler(flags: Flags) -> String {
        ["killed_outside", "needs_it", "only_outer", "in_neither"]
            .map(|name| flags.evaluation(name).reason.to_string())
            .join(" ")
    }
    let router = Router::new()
        .route("/", get(handler))
        .layer(FlagLayer::new(memory(
            r#"{"killed_outside": true, "needs_it": {"enabled": true, "requires": ["killed_outside"]}}"#,
        )))
        .layer(FlagLayer::new(memory(r#"{"killed_outside": false, "only_outer": true}"#)));
    let reasons = [Reason::Disabled, Reason::Prerequisite, Reason::Static, Reason::Unknown];
    let reply = get_as(serve(router).await, "/", "alice").await;
    assert_eq!(reply.text(), reasons.map(|reason| reason.to_string()).join(" "));
}

#[tokio::test]
async fn a_flag_hidden_in_either_source_is_not_named() {
    let outer =
        memory(r#"{"hidden_outside": {"enabled": true, "hidden": true}, "hidden_inside": true, "plain": true}"#);
    let inner = memory(r#"{"hidden_outside": true, "hidden_inside": {"enabled": true, "hidden": true}}"#);
    let names = &["hidden_outside", "hidden_inside", "plain"];
    let reply = get_as(serve(two_sources(&outer, &inner, names)).await, "/", "alice").await;
    assert_eq!(reply.text(), "hidden_outside,hidden_inside,plain");
    assert_eq!(reply.active(), Some("plain"));
}

#[tokio::test]
async fn a_reload_of_the_outer_source_between_two_sources_is_not_seen() {
    let (outer, inner) = (mine("alice"), memory(r#"{"other": true}"#));
    let router = Router::new()
        .route("/", get(|| async { format!("{} {}", flag("mine"), flag("other")) }))
        .layer(FlagLayer::new(inner))
        .layer(from_fn(reload))
        .layer(Extension(outer.clone()))
        .layer(FlagLayer::new(outer));
    let reply = get_as(serve(router).await, "/", "alice").await;
    assert_eq!((reply.text(), reply.active()), ("true true", Some("mine,other")));
}

#[tokio::test]
async fn a_third_layer_over_the_first_source_uses_the_rules_that_the_first_one_pinned() {
    let (first, second) = (mine("alice"), memory(r#"{"other": true}"#));
    let router = Router::new()
        .route(
            "/",
            get(|flags: Flags| async move { format!("{} {} {}", flag("mine"), flag("other"), flags.version()) }),
        )
        .layer(FlagLayer::new(first.clone()))
        .layer(from_fn(log_in_as_alice))
        .layer(from_fn(reload))
        .layer(Extension(first.clone()))
        .layer(FlagLayer::new(second))
        .layer(FlagLayer::new(first));
    let reply = get_as(serve(router).await, "/", "bob").await;
    assert_eq!(reply.text(), "true true 1");
    assert_eq!(reply.lines("x-active-flags"), ["mine,other"]);
}

#[tokio::test]
async fn the_outermost_layer_alone_decides_about_the_header() {
    let source = mine("alice");
    let silent = || FlagLayer::new(source.clone()).header_policy(HeaderPolicy::Never);
    let routes = || Router::new().route("/", get(|| async {}));
    let outer_silent = serve(routes().layer(FlagLayer::new(source.clone())).layer(silent())).await;
    assert_eq!(get_as(outer_silent, "/", "alice").await.active(), None);
    let inner_silent = serve(routes().layer(silent()).layer(FlagLayer::new(source.clone()))).await;
    assert_eq!(get_as(inner_silent, "/", "alice").await.active(), Some("mine"));
}

#[tokio::test]
async fn all_layers_of_a_request_decide_for_one_instant() {
    let start = "2026-12-01T09:00:00Z".parse().unwrap();
    let later = "2030-01-01T00:00:00Z".parse().unwrap();
    let planned = r#"{"planned": {"schedule": [{"at": "2028-01-01T00:00:00Z", "percentage": 100}]}}"#;
    let router = Router::new()
        .route("/", get(|flags: Flags| async move { format!("{} {}", flag("planned"), flags.instant()) }))
        .layer(FlagLayer::new(memory(planned)).clock(move || later))
        .layer(FlagLayer::new(mine("alice")).clock(move || start));
    assert_eq!(get_as(serve(router).await, "/", "alice").await.text(), "false 2026-12-01T09:00:00Z");
}

#[tokio::test]
async fn an_in_process_response_of_another_layer_does_not_speak_for_the_handler() {
    use axum::body::Body;
    use tower::ServiceExt;

    async fn handler() -> Response {
        let inside = Router::new().route("/", get(|| async {})).layer(FlagLayer::new(memory(r#"{"theirs": true}"#)));
        inside.oneshot(Request::new(Body::empty())).await.unwrap()
    }
    let router = Router::new().route("/", get(handler)).layer(FlagLayer::new(mine("alice")));
    assert_eq!(get_as(serve(router).await, "/", "alice").await.lines("x-active-flags"), ["mine"]);
}
