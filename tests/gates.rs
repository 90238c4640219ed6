//! Gates: a route that is closed answers as a path does that is not there.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![cfg(feature = "axum")]

mod support;

use std::net::SocketAddr;

use axum::Router;
use axum::handler::HandlerWithoutStateExt;
use axum::http::StatusCode;
use axum::routing::{MethodRouter, get, post};
use tower::Layer;
use tower_flags::request::reads_out_of_scope;
use tower_flags::{FlagLayer, HeaderPolicy, RequireFlagLayer, declare_flags};

use support::{Client, Log, Reply, get_as, memory, serve};

const METHODS: [&str; 11] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "PURGE", "get"];

/// Alice's beta, a killed one, and one without lists.
const RULES: &str = r#"{
    "beta": {"allowed_users": ["alice"]},
    "extra": {"allowed_users": ["alice", "bob"]},
    "nobody": {"percentage": 0},
    "everybody": {"percentage": 100},
    "pricing": {"enabled": true, "variants": {"a": 50, "b": 50}}
}"#;

async fn beta() -> &'static str {
    "welcome"
}

async fn nothing_here() -> (StatusCode, [(&'static str, &'static str); 1], &'static str) {
    (StatusCode::NOT_FOUND, [("x-page", "404")], "nothing here")
}

fn methods() -> MethodRouter {
    get(beta).post(beta)
}

fn layer() -> FlagLayer {
    FlagLayer::new(memory(RULES)).trust_headers()
}

/// The answer to any method but without what differs from one moment to the next.
async fn answer(client: &mut Client, method: &str, path: &str, user: &str) -> Reply {
    client.ask(method, path, &[("X-User-ID", user.as_bytes())]).await;
    let mut reply = if method == "HEAD" { client.head().await } else { client.reply().await };
    reply.headers.retain(|(name, _)| name != "date");
    reply
}

/// What is told to caches, taken out of an answer.
fn without_caches(mut reply: Reply) -> (Reply, Vec<(String, String)>) {
    let (caches, others) = reply.headers.into_iter().partition(|(name, _)| name == "vary" || name == "cache-control");
    reply.headers = others;
    (reply, caches)
}

async fn assert_is_hidden(router: Router, path: &str) {
    let server = serve(router).await;
    let mut client = Client::open(server).await;
    for method in METHODS {
        let open = answer(&mut client, method, path, "alice").await;
        let expected = if matches!(method, "GET" | "HEAD" | "POST") { 200 } else { 405 };
        assert_eq!(open.status, expected, "{method} by alice: {open:?}");

        let (missing, caches) = without_caches(answer(&mut client, method, "/missing", "bob").await);
        assert_eq!(caches, [("vary".into(), "x-user-id, x-user-groups".into())], "the header names some of bob's");
        let (closed, caches) = without_caches(answer(&mut client, method, path, "bob").await);
        assert_eq!(closed, missing, "{method}");
        let told = [("vary".into(), "x-user-id, x-user-groups".into()), ("cache-control".into(), "private".into())];
        assert_eq!(caches, told, "{method}: the one difference, for the flag that was read");
    }
}

#[tokio::test]
async fn a_closed_route_is_the_routers_own_404_byte_for_byte_for_every_method() {
    let hidden = RequireFlagLayer::new("beta").layer(methods());
    assert_is_hidden(Router::new().route_service("/beta", hidden).layer(layer()), "/beta").await;
}

#[tokio::test]
async fn with_a_fallback_it_is_the_applications_own_page_byte_for_byte_for_every_method() {
    let gate = RequireFlagLayer::new("beta").fallback(nothing_here.into_service());
    let router = Router::new().route_service("/beta", gate.layer(methods())).fallback(nothing_here);
    assert_is_hidden(router.layer(layer()), "/beta").await;
}

#[tokio::test]
async fn a_router_is_hidden_with_all_its_routes() {
    let inside = Router::new().route("/home", methods());
    let hidden = RequireFlagLayer::new("beta").layer(inside);
    let server = serve(Router::new().nest_service("/beta", hidden).layer(layer())).await;
    assert_eq!(get_as(server, "/beta/home", "alice").await.text(), "welcome");
    let mut client = Client::open(server).await;
    let missing = without_caches(answer(&mut client, "GET", "/missing", "bob").await).0;
    for path in ["/beta/home", "/beta", "/beta/missing"] {
        assert_eq!(without_caches(answer(&mut client, "GET", path, "bob").await).0, missing, "{path}");
    }
}

#[tokio::test]
async fn as_a_route_layer_it_hides_the_methods_that_the_route_has() {
    let router = Router::new().route("/beta", methods()).route_layer(RequireFlagLayer::new("beta"));
    let server = serve(router.route("/open", get(beta)).layer(layer())).await;
    let mut client = Client::open(server).await;
    for method in ["GET", "POST"] {
        assert_eq!(answer(&mut client, method, "/beta", "alice").await.status, 200);
        let missing = without_caches(answer(&mut client, method, "/missing", "bob").await).0;
        assert_eq!(without_caches(answer(&mut client, method, "/beta", "bob").await).0, missing, "{method}");
    }
    assert_eq!(get_as(server, "/open", "bob").await.status, 200, "a route that was added later");
    // What the documentation warns of: axum writes these after every layer.
    assert_eq!(answer(&mut client, "HEAD", "/beta", "bob").await.header("content-length"), Some("0"));
    assert_eq!(answer(&mut client, "HEAD", "/missing", "bob").await.header("content-length"), None);
    let given_away = answer(&mut client, "DELETE", "/beta", "bob").await;
    assert_eq!((given_away.status, given_away.header("allow")), (404, Some("GET,HEAD,POST")));
}

#[tokio::test]
async fn a_flag_that_is_the_same_for_everybody_leaves_no_difference_at_all() {
    let hidden = RequireFlagLayer::new("nobody").layer(methods());
    let server = serve(Router::new().route_service("/beta", hidden).layer(layer())).await;
    let mut client = Client::open(server).await;
    for method in METHODS {
        let missing = answer(&mut client, method, "/missing", "bob").await;
        assert_eq!(answer(&mut client, method, "/beta", "bob").await, missing, "{method}");
    }
}

async fn statuses(gate: RequireFlagLayer) -> [u16; 3] {
    let hidden = gate.layer(get(beta));
    let layer = layer().header_policy(HeaderPolicy::Never);
    let server = serve(Router::new().route_service("/", hidden).layer(layer)).await;
    [
        get_as(server, "/", "alice").await.status,
        get_as(server, "/", "bob").await.status,
        get_as(server, "/", "eve").await.status,
    ]
}

#[tokio::test]
async fn all_of_any_of_none_of_and_a_variant() {
    const NAMES: [&str; 2] = ["beta", "extra"];
    assert_eq!(statuses(RequireFlagLayer::all_of(NAMES)).await, [200, 404, 404]);
    assert_eq!(statuses(RequireFlagLayer::any_of(NAMES)).await, [200, 200, 404]);
    assert_eq!(statuses(RequireFlagLayer::none_of(NAMES)).await, [404, 404, 200]);
    assert_eq!(
        statuses(RequireFlagLayer::any_of(NAMES).and(RequireFlagLayer::none_of(["beta"]))).await,
        [404, 200, 404]
    );
    assert_eq!(statuses(RequireFlagLayer::all_of([""; 0])).await, [200, 200, 200]);
    assert_eq!(statuses(RequireFlagLayer::any_of([""; 0])).await, [404, 404, 404]);
    assert_eq!(statuses(RequireFlagLayer::new("no_such_flag")).await, [404, 404, 404]);

    let a = statuses(RequireFlagLayer::variant("pricing", "a")).await;
    let b = statuses(RequireFlagLayer::variant("pricing", "b")).await;
    assert_eq!(a.map(|status| 604 - status), b, "each of them has one of the two");
    assert!(a.contains(&200) && b.contains(&200), "{a:?} {b:?}");
    assert_eq!(statuses(RequireFlagLayer::variant("pricing", "c")).await, [404, 404, 404]);
}

declare_flags! {
    static DECLARED;
    /// In no rules.
    KEPT: bool = "kept" { kind: Ops, default: true };
    /// Alice's.
    BETA: bool = "beta";
}

#[tokio::test]
async fn declared_flags_open_gates_by_their_defaults_too() {
    assert_eq!(DECLARED.len(), 2);
    assert_eq!(statuses(RequireFlagLayer::new(KEPT)).await, [200, 200, 200]);
    assert_eq!(statuses(RequireFlagLayer::all_of([KEPT, BETA])).await, [200, 404, 404]);
}

#[tokio::test]
async fn a_fallback_reads_flags_as_the_route_does() {
    let fallback = || async { if tower_flags::flag("extra") { "not yet" } else { "nothing" } };
    let gate = RequireFlagLayer::new("beta").fallback(fallback.into_service());
    let server = serve(Router::new().route("/", post(beta).get_service(gate.layer(get(beta)))).layer(layer())).await;
    assert_eq!(get_as(server, "/", "alice").await.text(), "welcome");
    assert_eq!(get_as(server, "/", "bob").await.text(), "not yet");
    assert_eq!(get_as(server, "/", "eve").await.text(), "nothing");
}

#[tokio::test]
async fn without_a_layer_around_every_gate_is_closed_and_that_is_counted() {
    let server: SocketAddr =
        serve(Router::new().route_service("/", RequireFlagLayer::new("everybody").layer(get(beta)))).await;
    let before = reads_out_of_scope();
    assert_eq!(get_as(server, "/", "alice").await.status, 404);
    assert!(reads_out_of_scope() > before);
}

#[tokio::test]
async fn a_closed_gate_names_no_flag_under_any_policy() {
    let rules = || memory(r#"{"on": true, "off": {"percentage": 0}, "list": {"allowed_users": ["alice"]}}"#);
    for policy in [HeaderPolicy::Read, HeaderPolicy::All, HeaderPolicy::Never] {
        for gate in [
            RequireFlagLayer::all_of(["on", "off"]),
            RequireFlagLayer::none_of(["on"]),
            RequireFlagLayer::any_of(["off"]),
        ] {
            let layer = FlagLayer::new(rules()).ignore_headers().header_policy(policy.clone());
            let server = serve(Router::new().route_service("/beta", gate.layer(methods())).layer(layer)).await;
            let mut client = Client::open(server).await;
            for method in METHODS {
                let missing = answer(&mut client, method, "/missing", "bob").await;
                assert_eq!(answer(&mut client, method, "/beta", "bob").await, missing, "{method} {policy:?}");
            }
        }
    }
    let layer = FlagLayer::new(rules()).trust_headers().header_policy(HeaderPolicy::Read);
    let gate = RequireFlagLayer::all_of(["on", "list"]);
    let server = serve(Router::new().route_service("/", gate.layer(methods())).layer(layer)).await;
    assert_eq!(get_as(server, "/", "alice").await.active(), Some("list,on"), "an open one tells which it has read");
    assert_eq!(get_as(server, "/", "bob").await.active(), None);
}

#[tokio::test]
async fn each_gate_without_a_layer_says_so_once() {
    let log = Log::open();
    let [one, two] = ["one_gate", "two_gate"].map(|name| RequireFlagLayer::new(name).layer(get(beta)));
    let server = serve(Router::new().route_service("/one", one).route_service("/two", two)).await;
    for path in ["/one", "/two", "/one", "/two"] {
        assert_eq!(get_as(server, path, "alice").await.status, 404);
    }
    let lines = log.lines("a gate is closed to everybody");
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(lines[0].contains("one_gate") && lines[1].contains("two_gate"), "{lines:#?}");
}

#[test]
#[should_panic(
    expected = r#"expected one of the declared variants ["control", "higher"] of flag "pricing", found "highr""#
)]
fn a_gate_for_a_variant_that_is_not_declared_is_refused() {
    declare_flags! {
        static ALL;
        /// What the pricing page shows.
        PRICING: enum Pricing { Control = "control", Higher = "higher" } = "pricing";
    }
    let _ = RequireFlagLayer::variant(PRICING, Pricing::Higher);
    let _ = RequireFlagLayer::variant(PRICING, "highr");
}
