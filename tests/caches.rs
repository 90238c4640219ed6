//! What caches are told of responses that depend on the caller.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![cfg(feature = "axum")]

mod support;

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{CACHE_CONTROL, VARY};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::get;
use futures_util::stream;
use tower::ServiceExt;
use tower_flags::request::{BoxAnswers, Resolve, ResolveLayer};
use tower_flags::{Context, FlagLayer, Flags, HeaderPolicy, Memory, RequireFlagLayer, Timestamp, flag, variant};

use support::{Reply, ask, get_as, memory, serve};

/// `list`, `share`, `rule` and `split` depend on who asks, and `child` by what it requires. So does `same`:
/// anonymous callers have no variant. The others do not.
const RULES: &str = r#"{
    "list": {"allowed_users": ["alice"]},
    "share": {"percentage": 50},
    "rule": {"rules": [{"when": [{"attribute": "plan", "op": "equals", "values": ["pro"]}], "serve": true}]},
    "split": {"enabled": true, "variants": {"a": 50, "b": 50}},
    "child": {"enabled": true, "requires": ["list"]},
    "everybody": {"enabled": true},
    "nobody": {"percentage": 0},
    "killed": {"enabled": false, "allowed_users": ["alice"]},
    "same": {"enabled": true, "variants": {"a": 100, "b": 0}}
}"#;

const NAMES: &str = "x-user-id, x-user-groups";

fn layer() -> FlagLayer {
    FlagLayer::new(memory(RULES)).trust_headers().header_policy(HeaderPolicy::Never)
}

/// What a response says to caches: the lines of `Vary`, and of `Cache-Control`.
fn told(reply: &Reply) -> (Vec<&str>, Vec<&str>) {
    (reply.lines("vary"), reply.lines("cache-control"))
}

/// Alice's answer of a page that has these headers and does this.
async fn page(layer: FlagLayer, headers: &[(HeaderName, &'static str)], read: fn()) -> Reply {
    let mut lines = HeaderMap::new();
    for (name, value) in headers {
        lines.append(name, HeaderValue::from_static(value));
    }
    let handler = move || async move {
        read();
        (lines, "page")
    };
    get_as(serve(Router::new().route("/", get(handler)).layer(layer)).await, "/", "alice").await
}

fn nothing() {}

fn reads_list() {
    assert!(flag("list"));
}

#[tokio::test]
async fn a_page_that_read_a_flag_of_the_caller_is_theirs() {
    for name in ["list", "share", "rule", "split", "child", "same"] {
        let handler = move || async move { flag(name).to_string() };
        let server = serve(Router::new().route("/", get(handler)).layer(layer())).await;
        assert_eq!(told(&get_as(server, "/", "alice").await), (vec![NAMES], vec!["private"]), "{name}");
        assert_eq!(told(&ask(server, "/", &[]).await), (vec![NAMES], vec!["private"]), "{name}, anonymous");
    }
    let read = || assert!(variant("split").is_some());
    assert_eq!(told(&page(layer(), &[], read).await), (vec![NAMES], vec!["private"]));
    let read = || assert!(Flags::current().unwrap().active().count() > 1);
    assert_eq!(told(&page(layer(), &[], read).await), (vec![NAMES], vec!["private"]));
}

#[tokio::test]
async fn a_page_that_read_nothing_of_the_caller_is_everybodys() {
    assert_eq!(told(&page(layer(), &[], nothing).await), (vec![], vec![]));
    for name in ["everybody", "nobody", "killed", "no_such_flag"] {
        let handler = move || async move { flag(name).to_string() };
        let server = serve(Router::new().route("/", get(handler)).layer(layer())).await;
        assert_eq!(told(&get_as(server, "/", "alice").await), (vec![], vec![]), "{name}");
    }
}

#[tokio::test]
async fn what_the_page_says_itself_is_kept() {
    for said in [
        "no-store",
        "private",
        "PRIVATE, max-age=5",
        "public",
        "max-age=1, s-maxage = 60",
        "Public",
        "x=\"a, b\", public",
    ] {
        let reply = page(layer(), &[(CACHE_CONTROL, said)], reads_list).await;
        assert_eq!(told(&reply), (vec![NAMES], vec![said]));
    }
    for said in [
        "max-age=60",
        "no-cache",
        "x-public",
        "x=\"private\"",
        "x=\"a, public, b\"",
        "x=\"\\\", public\"",
        "private=\"x-a\"",
    ] {
        let reply = page(layer(), &[(CACHE_CONTROL, said)], reads_list).await;
        assert_eq!(told(&reply), (vec![NAMES], vec![&*format!("private, {said}")]));
    }
    let reply = page(layer(), &[(VARY, "accept-encoding")], reads_list).await;
    assert_eq!(told(&reply).0, [format!("accept-encoding, {NAMES}")], "appended, never replaced");
    for said in ["*", NAMES] {
        assert_eq!(told(&page(layer(), &[(VARY, said)], reads_list).await).0, [said], "that says it all");
    }
}

#[tokio::test]
async fn a_cache_that_reads_the_first_line_alone_reads_everything() {
    // `HeaderMap::get`, as some caches use it.
    for (said, merged) in [
        (&["max-age=60", "must-revalidate"][..], "private, max-age=60, must-revalidate"),
        (&["max-age=60", "private"], "max-age=60, private"),
        (&["max-age=60", "no-store"], "max-age=60, no-store"),
        (&["max-age=60", "", "s-maxage=9"], "max-age=60, s-maxage=9"),
        (&["x=\"a", "private"], "private, x=\"a, private"),
        (&["x=\"a"], "private, x=\"a"),
    ] {
        let said: Vec<_> = said.iter().map(|line| (CACHE_CONTROL, *line)).collect();
        let reply = page(layer(), &said, reads_list).await;
        assert_eq!(told(&reply), (vec![NAMES], vec![merged]), "{said:?}");
        assert_eq!(page(layer(), &said, nothing).await.lines("cache-control").len(), said.len(), "nothing was read");
    }
    for (said, merged) in [
        (&["accept-encoding", "Origin"][..], "accept-encoding, Origin, x-user-id, x-user-groups"),
        (&["X-User-ID, accept"], "X-User-ID, accept, x-user-groups"),
        (&["accept", "X-USER-GROUPS,x-user-id"], "accept, X-USER-GROUPS,x-user-id"),
        (&["accept", "*"], "*"),
        (&["accept, *"], "*"),
    ] {
        let said: Vec<_> = said.iter().map(|line| (VARY, *line)).collect();
        assert_eq!(told(&page(layer(), &said, reads_list).await).0, [merged], "{said:?}");
    }
}

#[tokio::test]
async fn two_layers_write_one_line_each() {
    let other = |user, groups| {
        let (user, groups) = (HeaderName::from_static(user), HeaderName::from_static(groups));
        FlagLayer::new(memory(r#"{"inner": {"allowed_users": ["alice"]}}"#)).user_header(user).groups_header(groups)
    };
    let handler = || async { ([(CACHE_CONTROL, "max-age=60")], (flag("inner"), flag("list")).1.to_string()) };
    let router = Router::new().route("/", get(handler)).layer(other("x-user-id", "x-teams").trust_headers());
    let reply = get_as(serve(router.layer(layer())).await, "/", "alice").await;
    let vary = "x-user-id, x-teams, x-user-groups";
    assert_eq!((reply.text(), told(&reply)), ("true", (vec![vary], vec!["private, max-age=60"])));
}

#[tokio::test]
async fn where_the_header_could_be_another_for_others_the_response_varies_too() {
    let all = || layer().header_policy(HeaderPolicy::All);
    let reply = page(all(), &[], nothing).await;
    assert_eq!((reply.active().is_some(), told(&reply)), (true, (vec![NAMES], vec![])));

    let none_is_on = FlagLayer::new(memory(r#"{"beta": {"allowed_users": ["bob"]}}"#)).trust_headers();
    let reply = page(none_is_on, &[], nothing).await;
    assert_eq!((reply.active(), told(&reply)), (None, (vec![NAMES], vec![])), "bob's has one");

    let accepts = HeaderPolicy::when(|request| request.uri.path() == "/other");
    assert_eq!(told(&page(layer().header_policy(accepts), &[], nothing).await).0, [NAMES]);

    let reply = page(all(), &[(CACHE_CONTROL, "public")], nothing).await;
    assert_eq!((reply.active(), told(&reply)), (None, (vec![], vec!["public"])), "it is never there");
    for same in [r#"{"everybody": true}"#, r#"{"hidden": {"percentage": 50, "hidden": true}}"#] {
        let reply = page(FlagLayer::new(memory(same)).trust_headers(), &[], nothing).await;
        assert_eq!(told(&reply), (vec![], vec![]), "{same}: the same for everybody");
    }
}

#[tokio::test]
async fn callers_that_no_header_names_are_not_told_apart_by_headers() {
    let by_closure = || layer().identify(|_| Some(Context::user("alice")));
    for layer in [by_closure(), layer().ignore_headers().identify(|_| Some(Context::user("alice")))] {
        assert_eq!(told(&page(layer, &[], reads_list).await), (vec![], vec!["private"]));
    }
    let named_nobody = layer().ignore_headers();
    assert_eq!(told(&page(named_nobody, &[], || assert!(!flag("list"))).await), (vec![], vec!["private"]));
    let falls_back = layer().identify(|_| None).trust_headers();
    assert_eq!(told(&page(falls_back, &[], reads_list).await), (vec![NAMES], vec!["private"]));
}

#[tokio::test]
async fn other_headers_that_name_the_caller_are_named() {
    let layer = layer().user_header(HeaderName::from_static("x-account"));
    let layer = layer.groups_header(HeaderName::from_static("x-teams"));
    let reply = page(layer, &[], || assert!(!flag("list"))).await;
    assert_eq!(told(&reply).0, ["x-account, x-teams"]);
}

#[tokio::test]
async fn it_can_be_turned_off() {
    let layer = layer().header_policy(HeaderPolicy::All).leave_cache_headers();
    let reply = page(layer, &[(CACHE_CONTROL, "max-age=60"), (VARY, "accept")], reads_list).await;
    assert_eq!(told(&reply), (vec!["accept"], vec!["max-age=60"]));
    assert!(reply.active().unwrap().starts_with("child,everybody,list,"));
}

#[tokio::test]
async fn reads_in_the_body_come_too_late() {
    let body = || async {
        Body::from_stream(stream::once(async { Ok::<_, Infallible>(if flag("list") { "alice" } else { "others" }) }))
    };
    let server = serve(Router::new().route("/", get(body)).layer(layer())).await;
    let reply = get_as(server, "/", "alice").await;
    assert_eq!((reply.text(), told(&reply)), ("alice", (vec![], vec![])), "as the limitations say");
}

/// Never has an answer in time.
struct Silent;

impl Resolve for Silent {
    fn resolve<'a>(&'a self, _: &'a Context, _: Timestamp) -> BoxAnswers<'a> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test]
async fn answers_of_an_engine_that_is_late_are_not_kept_for_others() {
    let late = async |read: fn()| {
        let layer = FlagLayer::new(Memory::new()).trust_headers().header_policy(HeaderPolicy::Never);
        let handler = move || async move { read() };
        let router = Router::new().route("/", get(handler)).layer(layer);
        let late = ResolveLayer::new(Silent).deadline(Duration::ZERO).trust_headers();
        get_as(serve(router.layer(late)).await, "/", "alice").await
    };
    let reply = late(|| assert!(!flag("list"))).await;
    assert_eq!(told(&reply), (vec![NAMES], vec!["private"]));
    assert_eq!(told(&late(|| {}).await), (vec![], vec![]), "nothing was asked");
}

#[tokio::test]
async fn what_a_layer_inside_read_counts_too() {
    let inner = FlagLayer::new(memory(r#"{"inner": {"allowed_users": ["alice"]}}"#));
    let handler = || async { flag("inner").to_string() };
    let router = Router::new().route("/", get(handler)).layer(inner).layer(layer());
    let reply = get_as(serve(router).await, "/", "alice").await;
    assert_eq!((reply.text(), told(&reply)), ("true", (vec![NAMES], vec!["private"])));

    let inner = FlagLayer::new(memory(r#"{"inner": true}"#));
    let handler = || async { (flag("inner") && flag("list")).to_string() };
    let router = Router::new().route("/", get(handler)).layer(inner).layer(layer());
    let reply = get_as(serve(router).await, "/", "alice").await;
    assert_eq!((reply.text(), told(&reply)), ("true", (vec![NAMES], vec!["private"])), "of the layer around");

    let same = layer();
    let handler = || async { flag("list").to_string() };
    let router = Router::new().route("/", get(handler)).layer(same.clone()).layer(same);
    let reply = get_as(serve(router).await, "/", "alice").await;
    assert_eq!((reply.text(), told(&reply)), ("true", (vec![NAMES], vec!["private"])), "once, not twice");
}

#[tokio::test]
async fn the_header_can_name_those_flags_alone_that_were_read() {
    let read = || layer().header_policy(HeaderPolicy::Read);
    let reply = page(read(), &[], nothing).await;
    assert_eq!((reply.active(), told(&reply)), (None, (vec![], vec![])));
    let reply =
        page(read(), &[], || assert!(flag("list") && flag("everybody") && !flag("nobody") && !flag("no_such"))).await;
    assert_eq!((reply.active(), told(&reply)), (Some("everybody,list"), (vec![NAMES], vec!["private"])));
    let reply = page(read(), &[], || assert_eq!(variant("same").as_deref(), Some("a"))).await;
    assert_eq!(reply.active(), Some("same=a"));
    let reply = page(read(), &[], || assert!(flag("everybody"))).await;
    assert_eq!((reply.active(), told(&reply)), (Some("everybody"), (vec![], vec![])), "the same for everybody");

    let inner = FlagLayer::new(memory(r#"{"inner": {"enabled": true}, "unread": true}"#));
    let handler = || async { (flag("inner") && flag("list")).to_string() };
    let router = Router::new().route("/", get(handler)).layer(inner).layer(read());
    let reply = get_as(serve(router).await, "/", "alice").await;
    assert_eq!((reply.text(), reply.active()), ("true", Some("inner,list")));
}

async fn login(mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(Context::user("account-1"));
    next.run(request).await
}

#[tokio::test]
async fn what_was_read_between_two_layers_counts_too() {
    let rules = memory(RULES);
    let layer = || FlagLayer::new(rules.clone()).trust_headers().header_policy(HeaderPolicy::Never);
    let router = Router::new().route("/", get(|| async { "secret page" })).layer(layer()).layer(from_fn(login));
    let router = router.layer(RequireFlagLayer::new("list")).layer(layer());
    let reply = get_as(serve(router).await, "/", "alice").await;
    assert_eq!((reply.text(), told(&reply)), ("secret page", (vec![NAMES], vec!["private"])));

    // A kill inside makes the inner answers a copy; what is read outside of it after the call is on the first.
    async fn reads_after(request: Request, next: Next) -> Response {
        let mut response = next.run(request).await;
        let whose = if flag("list") { "alice's" } else { "others'" };
        response.headers_mut().insert("x-whose", HeaderValue::from_static(whose));
        response
    }
    let inner = FlagLayer::new(memory(r#"{"everybody": false}"#)).header_policy(HeaderPolicy::Never);
    let router = Router::new().route("/", get(|| async { "page" })).layer(inner).layer(from_fn(reads_after));
    let reply = get_as(serve(router.clone().layer(layer())).await, "/", "alice").await;
    assert_eq!((reply.header("x-whose"), told(&reply)), (Some("alice's"), (vec![NAMES], vec!["private"])));

    let reply = get_as(serve(router.layer(layer().header_policy(HeaderPolicy::Read))).await, "/", "alice").await;
    assert_eq!(reply.active(), Some("list"), "and the header names it");
}

#[tokio::test]
async fn a_response_of_a_router_that_a_handler_has_called_says_nothing_of_the_handler() {
    let theirs = FlagLayer::new(memory(r#"{"theirs": true}"#)).flags_in_response();
    let inside = Router::new().route("/", get(|| async { "in process" }));
    for inside in [inside.clone().layer(theirs.clone()), inside.layer(theirs.clone()).layer(theirs.clone())] {
        let handler = move || {
            let inside = inside.clone();
            async move {
                assert!(flag("list"));
                inside.oneshot(Request::new(Body::empty())).await.unwrap()
            }
        };
        let router = Router::new().route("/", get(handler)).layer(layer().header_policy(HeaderPolicy::All));
        let reply = get_as(serve(router).await, "/", "alice").await;
        assert!(reply.active().unwrap().starts_with("child,everybody,list"), "{reply:?}");
        assert_eq!(told(&reply), (vec![NAMES], vec!["private"]));
    }
}

#[tokio::test]
async fn headers_that_name_the_caller_to_a_layer_inside_are_named_too() {
    let inner = FlagLayer::new(memory(RULES)).trust_headers();
    let outer = FlagLayer::new(memory("{}")).ignore_headers();
    let router = Router::new().route("/", get(|| async { "page" })).layer(inner).layer(outer);
    let server = serve(router).await;
    for user in ["alice", "bob"] {
        assert_eq!(told(&get_as(server, "/", user).await), (vec![NAMES], vec![]), "{user}: the header differs");
    }
}

#[cfg(feature = "overrides")]
#[tokio::test]
async fn where_a_calling_service_may_decide_the_response_varies_by_that() {
    use tower_flags::request::{AcceptDecisions, SigningKey};

    let key = SigningKey::new("a key for tests, of 32 bytes or more").unwrap();
    let accepting = || {
        let accepted = AcceptDecisions::new("payments", ["nobody"]).from("shop", key.clone());
        FlagLayer::new(memory(RULES)).ignore_headers().accept_decisions(accepted)
    };
    let reply = page(accepting(), &[], nothing).await;
    assert_eq!(told(&reply), (vec!["x-flag-decisions"], vec![]), "the header could name it");
    let reply = page(accepting().header_policy(HeaderPolicy::Never), &[], nothing).await;
    assert_eq!(told(&reply), (vec![], vec![]));
    let reply = page(accepting().header_policy(HeaderPolicy::Never), &[], || assert!(!flag("nobody"))).await;
    assert_eq!(told(&reply), (vec!["x-flag-decisions"], vec!["private"]), "though it is the same for all by its rules");
    let reply = page(accepting().header_policy(HeaderPolicy::Never), &[], || assert!(flag("everybody"))).await;
    assert_eq!(told(&reply), (vec![], vec![]), "nobody decides about that one");
}
