//! Anonymous visitors with an id in a cookie.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![cfg(all(feature = "axum", feature = "visitors"))]

mod support;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header::CACHE_CONTROL;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::get;
use tower::ServiceExt;
use tower_flags::engine::Query;
use tower_flags::request::Visitors;
use tower_flags::{Context, FlagLayer, FlagSet, Flags, HeaderPolicy, Memory, Timestamp, flag};

use support::{Reply, ask, document, memory, serve};

const ID: &str = "0123456789abcdef0123456789abcdef";

const RULES: &str = r#"{
    "half": {"percentage": 50},
    "split": {"enabled": true, "variants": {"a": 50, "b": 50}},
    "listed": {"allowed_users": ["0123456789abcdef0123456789abcdef"]},
    "rule": {"rules": [{"when": [{"attribute": "user_id", "op": "exists"}], "serve": true}]},
    "by_plan": {"percentage": 50, "bucket_by": "plan"}
}"#;

fn layer() -> FlagLayer {
    FlagLayer::new(memory(RULES)).trust_headers().header_policy(HeaderPolicy::Never).visitors(Visitors::new())
}

async fn served(layer: FlagLayer) -> SocketAddr {
    let everything = |flags: Flags| async move { serde_json::to_string(&flags).unwrap() };
    let kept = || async { ([(CACHE_CONTROL, "public, max-age=60")], flag("half").to_string()) };
    let router = Router::new().route("/", get(everything)).route("/plain", get(|| async { "plain" }));
    serve(router.route("/kept", get(kept)).layer(layer)).await
}

fn set_cookie(reply: &Reply) -> Option<&str> {
    reply.header("set-cookie")
}

/// The id that a response gives.
fn given(reply: &Reply) -> String {
    let cookie = set_cookie(reply).unwrap_or_else(|| panic!("{reply:?}"));
    let (id, rest) = cookie.strip_prefix("visitor=").unwrap().split_once("; ").unwrap();
    assert_eq!(rest, "Path=/; Max-Age=31536000; HttpOnly; SameSite=Lax; Secure");
    assert!(id.len() == 32 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "{id}");
    id.to_owned()
}

async fn again(server: SocketAddr, id: &str) -> Reply {
    ask(server, "/", &[("Cookie", &format!("visitor={id}"))]).await
}

#[tokio::test]
async fn a_visitor_keeps_an_id_and_with_it_what_is_shown() {
    let server = served(layer()).await;
    let mut seen = BTreeSet::new();
    for _ in 0..40 {
        let first = ask(server, "/", &[]).await;
        let id = given(&first);
        let second = again(server, &id).await;
        assert_eq!(second.text(), first.text(), "the new id counts at once, and stays");
        assert_eq!(set_cookie(&second), None);
        assert_eq!(first.text(), &again(server, &id).await.text().to_owned());
        seen.insert((id, first.text().to_owned()));
    }
    assert_eq!(seen.len(), 40, "no two are alike");
    let shown: BTreeSet<_> = seen.iter().map(|(_, shown)| shown).collect();
    assert_eq!(shown.len(), 4, "half and half of both flags, independently: {shown:?}");
}

#[tokio::test]
async fn without_the_option_anonymous_callers_are_in_no_partial_rollout() {
    let server = served(FlagLayer::new(memory(RULES))).await;
    let reply = ask(server, "/", &[("Cookie", &format!("visitor={ID}"))]).await;
    assert_eq!(reply.text(), r#"{"by_plan":false,"half":false,"listed":false,"rule":false,"split":true}"#);
    assert_eq!(set_cookie(&reply), None);
}

#[tokio::test]
async fn an_id_enters_the_hash_and_nothing_else() {
    let server = served(layer()).await;
    let visitor: serde_json::Value = serde_json::from_slice(&again(server, ID).await.body).unwrap();
    let user: serde_json::Value = serde_json::from_slice(&ask(server, "/", &[("X-User-ID", ID)]).await.body).unwrap();
    assert_eq!(visitor["half"], user["half"], "the same bucket");
    assert_eq!(visitor["split"], user["split"]);
    assert_eq!((&visitor["listed"], &user["listed"]), (&false.into(), &true.into()), "in no list");
    assert_eq!((&visitor["rule"], &user["rule"]), (&false.into(), &true.into()), "in no rule");
    assert_eq!(visitor["by_plan"], false, "it is nobody's plan");
}

#[tokio::test]
async fn a_user_id_takes_over() {
    let server = served(layer()).await;
    let cookie = format!("visitor={ID}");
    for user in ["alice", "bob", "carol", "dave"] {
        let known = ask(server, "/", &[("X-User-ID", user), ("Cookie", &cookie)]).await;
        let without = ask(server, "/", &[("X-User-ID", user)]).await;
        assert_eq!(known.text(), without.text());
        assert_eq!((set_cookie(&known), set_cookie(&without)), (None, None), "who has a name needs no number");
    }
}

#[tokio::test]
async fn a_cookie_of_another_form_is_replaced() {
    let server = served(layer()).await;
    for foreign in
        ["", "1", &ID[1..], &format!("{ID}0"), &ID.to_uppercase(), &ID.replace('0', "g"), &format!("\"{ID}\"")]
    {
        let reply = ask(server, "/", &[("Cookie", &format!("visitor={foreign}"))]).await;
        assert_ne!(given(&reply), foreign);
    }
    for cookies in [format!("a=b; visitor={ID};c=d"), format!("  visitor={ID}"), format!("myvisitor=x; visitor={ID}")] {
        assert_eq!(set_cookie(&ask(server, "/", &[("Cookie", &cookies)]).await), None, "{cookies}");
    }
    let beside = format!("visitor=of-another-application; visitor={ID}");
    assert_eq!(set_cookie(&ask(server, "/", &[("Cookie", &beside)]).await), None, "of a parent domain");
    let lines = [("Cookie", "a=b"), ("Cookie", &*format!("visitor={ID}"))];
    assert_eq!(set_cookie(&ask(server, "/", &lines).await), None, "HTTP/2 sends one line for each");
}

#[tokio::test]
async fn shared_caches_keep_no_id() {
    let server = served(layer()).await;
    let kept = ask(server, "/kept", &[]).await;
    assert_eq!((set_cookie(&kept), kept.header("cache-control")), (None, Some("public, max-age=60")));
    let plain = ask(server, "/plain", &[]).await;
    assert!(set_cookie(&plain).is_some());
    assert_eq!(plain.header("cache-control"), Some("private"), "though it read no flag");
    let again = ask(server, "/plain", &[("Cookie", &format!("visitor={ID}"))]).await;
    assert_eq!(
        (again.lines("cache-control"), again.lines("vary")),
        (vec![], vec![]),
        "nothing of the visitor is in it"
    );
}

#[tokio::test]
async fn a_page_that_read_a_flag_varies_by_the_cookie() {
    let server = served(layer()).await;
    let reply = again(server, ID).await;
    assert_eq!(reply.lines("vary"), ["x-user-id, x-user-groups, cookie"]);
    assert_eq!(reply.header("cache-control"), Some("private"));
}

#[tokio::test]
async fn name_age_and_security_of_the_cookie_can_be_set() {
    let visitors = Visitors::new().cookie("shop_id").max_age(Duration::from_secs(90)).insecure_cookie();
    let server = served(layer().visitors(visitors)).await;
    let reply = ask(server, "/", &[]).await;
    let (id, rest) = set_cookie(&reply).unwrap().strip_prefix("shop_id=").unwrap().split_once("; ").unwrap();
    assert_eq!(rest, "Path=/; Max-Age=90; HttpOnly; SameSite=Lax");
    assert_eq!(set_cookie(&ask(server, "/", &[("Cookie", &format!("shop_id={id}"))]).await), None);
}

#[test]
#[should_panic(expected = r#"expected a cookie's name of letters, digits, - and _, found "a=b""#)]
fn names_that_no_cookie_has_are_refused() {
    let _ = Visitors::new().cookie("a=b");
}

#[tokio::test]
async fn a_layer_inside_keeps_the_id_of_the_layer_around() {
    let handler = |flags: Flags| async move { flags.is_enabled("inner").to_string() };
    let inner = document(r#"{"inner": {"percentage": 50}}"#);
    let rules = Arc::new(FlagSet::compile(&inner, Timestamp::MIN));
    let inner = FlagLayer::new(Memory::from(inner));
    // A second auth layer says what it knows of a caller without a name.
    let knows_more = inner.clone().identify(|_| Some(Context::anonymous().with_attribute("plan", "free")));
    for inner in [inner, knows_more] {
        let nested = serve(Router::new().route("/", get(handler)).layer(inner).layer(layer())).await;
        let mut seen = BTreeSet::new();
        for number in 0..40 {
            let id = format!("{number:032x}");
            let answer = again(nested, &id).await.text().to_owned();
            let expected = rules.answer(&Query::new(&Context::anonymous().with_visitor(&*id), Timestamp::MIN));
            assert_eq!(answer, expected.is_enabled("inner").to_string(), "{id}");
            seen.insert(answer);
        }
        assert_eq!(seen.len(), 2);
    }
}

#[tokio::test]
async fn two_layers_give_one_id() {
    async fn login(mut request: Request, next: Next) -> Response {
        request.extensions_mut().insert(Context::anonymous().with_attribute("plan", "free"));
        next.run(request).await
    }
    let handler = |flags: Flags| async move { flags.context().visitor().unwrap().to_owned() };
    let router = Router::new().route("/", get(handler)).layer(layer()).layer(from_fn(login)).layer(layer());
    let server = serve(router).await;
    let reply = ask(server, "/", &[]).await;
    assert_eq!(given(&reply), reply.text(), "one cookie, and the handler saw that id");
}

#[tokio::test]
async fn an_id_is_sensitive_for_logs_and_header_compression() {
    let sees = |headers: HeaderMap| async move { headers["cookie"].is_sensitive().to_string() };
    let app = Router::new().route("/", get(|| async {})).route("/sees", get(sees)).layer(layer());
    let answered = async |request: Request| app.clone().oneshot(request).await.unwrap();
    let first = answered(Request::new(Body::empty())).await;
    let cookie = &first.headers()["set-cookie"];
    let id = cookie.to_str().unwrap().split([';', '=']).nth(1).unwrap().to_owned();
    assert!(cookie.is_sensitive() && !format!("{:?}", first.headers()).contains(&id));
    for (cookie, expected) in [(format!("visitor={id}"), "true"), ("theme=dark".to_owned(), "false")] {
        let request = Request::get("/sees").header("cookie", cookie).body(Body::empty()).unwrap();
        let body = to_bytes(answered(request).await.into_body(), 10).await.unwrap();
        assert_eq!(body, expected.as_bytes());
    }
}

#[tokio::test]
async fn an_id_can_hold_for_all_hosts_of_a_domain() {
    let visitors = Visitors::new().domain("shop.example.com").insecure_cookie();
    let server = served(layer().visitors(visitors)).await;
    let reply = ask(server, "/", &[]).await;
    let (_, rest) = set_cookie(&reply).unwrap().split_once("; ").unwrap();
    assert_eq!(rest, "Path=/; Max-Age=31536000; HttpOnly; SameSite=Lax; Domain=shop.example.com");
    assert_eq!(set_cookie(&again(server, ID).await), None);
}

#[test]
#[should_panic(expected = r#"expected a domain such as example.com, found "example.com; Max-Age=0""#)]
fn domains_that_no_cookie_can_have_are_rejected() {
    let _ = Visitors::new().domain("example.com; Max-Age=0");
}

#[test]
#[should_panic(expected = r#"a cookie named "__Host-id" cannot have a domain"#)]
fn browsers_reject_a_host_cookie_with_a_domain() {
    let _ = Visitors::new().domain("example.com").cookie("__Host-id");
}

#[tokio::test]
async fn where_assets_are_skipped_the_page_alone_gives_an_id() {
    let handler = || async { "page" };
    let router = Router::new().route("/", get(handler)).route("/assets/{name}", get(handler));
    let server = serve(router.layer(layer().skip(|request| request.uri.path().starts_with("/assets/")))).await;
    let (page, script, style) =
        tokio::join!(ask(server, "/", &[]), ask(server, "/assets/a.js", &[]), ask(server, "/assets/a.css", &[]));
    given(&page);
    assert_eq!((set_cookie(&script), set_cookie(&style)), (None, None));
}
