//! A hidden flag is never named to a client, whatever it asks.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![cfg(all(feature = "axum", feature = "overrides", feature = "visitors"))]

mod support;

use std::convert::Infallible;
use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::routing::get;
use axum::{Json, Router};
use futures_util::{StreamExt, stream};
use http::Request;
use tower::{Layer, Service, service_fn};
use tower_flags::request::{AcceptDecisions, OverrideToken, Overrides, SendDecisionsLayer, SigningKey, Visitors};
use tower_flags::{Context, FlagLayer, Flags, RequireFlagLayer, flag};

use support::{Client, Random, memory, serve};

const RULES: &str = r#"{
    "secret": {"enabled": true, "hidden": true, "overridable": true},
    "secret_split": {"percentage": 50, "hidden": true, "variants": {"secret_a": 50, "secret_b": 50}},
    "secret_list": {"allowed_groups": ["staff"], "hidden": true, "overridable": true},
    "open": {"enabled": true, "requires": ["secret"], "overridable": true},
    "split": {"percentage": 50, "variants": {"a": 50, "b": 50}}
}"#;

fn app() -> Router {
    let all_read = || async { (flag("secret") && flag("secret_split") && flag("secret_list")).to_string() };
    let streamed = || async {
        Body::from_stream(stream::iter(0..3).map(|_| Ok::<_, Infallible>(flag("secret_list").to_string())))
    };
    let gated = RequireFlagLayer::new("secret_list").layer(get(all_read));
    Router::new()
        .route("/", get(all_read).post(all_read))
        .route("/flags", get(|flags: Flags| async { Json(flags) }))
        .route("/why", get(|flags: Flags| async move { flags.evaluation("open").to_string() }))
        .route("/streamed", get(streamed))
        .route("/kept", get(|| async { ([(CACHE_CONTROL, "public")], flag("secret").to_string()) }))
        .route("/same", get(|| async { (StatusCode::NOT_MODIFIED, flag("secret_list").to_string()) }))
        .route("/broken", get(|| async { (StatusCode::INTERNAL_SERVER_ERROR, "broken") }))
        .route_service("/gated", gated)
}

/// How long tokens and decisions have to last for all requests.
const HOUR: Duration = Duration::from_secs(3600);

/// The header by which a calling service says what it has decided.
async fn decisions(key: SigningKey, decided: &Flags) -> String {
    let sender = SendDecisionsLayer::new("shop", ["secret", "secret_list", "open"]).any_host("payments", key);
    let echo = service_fn(|request: Request<()>| async move { Ok::<_, Infallible>(request.headers().clone()) });
    let mut client = sender.longest_life(HOUR).valid_for(HOUR).layer(echo);
    let headers = decided.sync_scope(|| client.call(Request::new(()))).await.unwrap();
    headers["x-flag-decisions"].to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_thousand_responses_none_names_a_hidden_flag() {
    let key = SigningKey::new("a key for tests, of 32 bytes or more").unwrap();
    let accepted = AcceptDecisions::new("payments", ["secret", "secret_list", "open"]).from("shop", key.clone());
    let accepted = accepted.longest_life(HOUR);
    let layer = FlagLayer::new(memory(RULES))
        .trust_headers()
        .visitors(Visitors::new())
        .overrides(Overrides::new(key.clone()))
        .accept_decisions(accepted);
    let server = serve(app().layer(layer)).await;
    let until = (SystemTime::now() + HOUR).into();
    let token = OverrideToken::until(until).on("secret_list").off("open").variant("secret", "secret_a");
    let token = token.sign(&key).unwrap();
    let cookie = format!("flag_override={token}; visitor=0123456789abcdef0123456789abcdef");

    let decided = Flags::builder().on("secret").on("secret_list").off("open").build(Context::anonymous());
    let decisions = decisions(key, &decided).await;

    let mut numbers = Random(0x9e37_79b9_7f4a_7c15);
    let mut client = Client::open(server).await;
    let mut statuses = std::collections::BTreeSet::new();
    for _ in 0..100_000 {
        let method = numbers.of(&["GET", "GET", "GET", "GET", "HEAD", "POST", "OPTIONS", "TRACE"]);
        let paths =
            ["/", "/flags", "/why", "/streamed", "/kept", "/broken", "/same", "/gated", "/missing", "/?flag_override="];
        let path = numbers.of(&paths);
        let user = format!("user-{}", numbers.below(1000));
        let groups = numbers.of(&["staff", "staff, friends", "friends", "", ","]);
        let candidates = [
            ("X-User-ID", &*user),
            ("X-User-Groups", groups),
            ("Cookie", &*cookie),
            ("X-Flag-Override", &*token),
            ("X-Flag-Decisions", &*decisions),
        ];
        let headers: Vec<_> = candidates.iter().filter(|_| numbers.below(2) == 0).collect();
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        client.ask(method, path, &headers).await;
        let reply = if method == "HEAD" { client.head().await } else { client.reply().await };
        statuses.insert(reply.status);
        let everything = format!("{:?} {:?} {}", reply.headers, reply.trailers, String::from_utf8_lossy(&reply.body));
        assert!(!everything.contains("secret"), "{method} {path} {headers:?}: {everything}");
    }
    assert_eq!(statuses.into_iter().collect::<Vec<_>>(), [200, 304, 404, 405, 500]);
}
