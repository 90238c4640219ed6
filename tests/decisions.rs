//! Decisions that travel with a request: what is sent, what is taken, and what is refused.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![cfg(all(feature = "axum", feature = "overrides"))]

mod support;

use std::convert::Infallible;
use std::future::ready;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use http::{Request, Response};
use tokio::sync::mpsc::unbounded_channel;
use tower::{Layer, Service, service_fn};
use tower_flags::engine::Reason;
use tower_flags::request::{AcceptDecisions, OverrideToken, Overrides, SendDecisions, SigningKey};
use tower_flags::source::{Evaluation, Source, Status};
use tower_flags::{Context, FlagLayer, Flags, Instant};

use support::{Client, Log, Reply, ask, flips, memory, serve};

const NOW: &str = "2026-12-01T12:00:00Z";

/// What the second service decides by itself.
const RULES: &str = r#"{
    "new_checkout": {"percentage": 0},
    "old_cart": {"enabled": true},
    "pricing": {"enabled": true, "variants": {"control": 100, "higher": 0}},
    "killed": {"enabled": false},
    "private": {"percentage": 0}
}"#;

fn now() -> Instant {
    NOW.parse().unwrap()
}

fn key() -> SigningKey {
    SigningKey::new("a key for tests, of 32 bytes or more").unwrap()
}

fn sender<'a>(flags: impl IntoIterator<Item = &'a str>) -> SendDecisions {
    SendDecisions::new(key(), "shop", flags).clock(now)
}

fn decided() -> Flags {
    let decided = Flags::builder().on("new_checkout").off("old_cart").variant("pricing", "higher", 1.2);
    decided.on("killed").on("private").build(Context::user("alice"))
}

/// The request as it leaves a client with this layer, sent in the scope of these answers.
async fn sent(layer: &SendDecisions, flags: Option<&Flags>, request: Request<()>) -> Request<()> {
    let (send, mut receive) = unbounded_channel();
    let mut client = layer.layer(service_fn(move |request: Request<()>| {
        send.send(request).unwrap();
        ready(Ok::<_, Infallible>(Response::new(())))
    }));
    match flags {
        Some(flags) => flags.sync_scope(|| client.call(request)).await.unwrap(),
        None => client.call(request).await.unwrap(),
    };
    receive.recv().await.unwrap()
}

/// The header about these flags.
async fn header<'a>(flags: impl IntoIterator<Item = &'a str>) -> String {
    let request = sent(&sender(flags), Some(&decided()), Request::new(())).await;
    request.headers()["x-flag-decisions"].to_str().unwrap().to_owned()
}

fn accepting(accepted: AcceptDecisions) -> FlagLayer {
    FlagLayer::new(memory(RULES)).accept_decisions(accepted).clock(now)
}

/// A service behind: it takes decisions about all but `private`.
fn layer() -> FlagLayer {
    accepting(AcceptDecisions::new(key(), ["new_checkout", "old_cart", "pricing", "killed"]))
}

async fn served(layer: FlagLayer) -> SocketAddr {
    let everything = |flags: Flags| async move { serde_json::to_string(&flags).unwrap() };
    serve(Router::new().route("/", get(everything)).layer(layer)).await
}

async fn answers(service: SocketAddr, header: &str) -> Reply {
    ask(service, "/", &[("X-Flag-Decisions", header)]).await
}

const OWN: &str = r#"{"killed":false,"new_checkout":false,"old_cart":true,"pricing":true,"private":false}"#;

#[tokio::test]
async fn the_next_service_decides_as_the_first_did_about_the_flags_it_names() {
    let layer = layer();
    let service = served(layer.clone()).await;
    assert_eq!(ask(service, "/", &[]).await.text(), OWN);
    let all = header(["new_checkout", "old_cart", "pricing", "killed", "private"]).await;
    assert_eq!(
        answers(service, &all).await.text(),
        r#"{"killed":false,"new_checkout":true,"old_cart":false,"pricing":"higher","private":false}"#,
        "a kill is not undone, and private is not taken over"
    );
    assert_eq!(layer.counts().refused_decisions, 0);
}

#[tokio::test]
async fn only_flags_that_the_sender_lists_and_knows_are_sent() {
    let service = served(layer()).await;
    let some = header(["new_checkout", "no_such_flag"]).await;
    assert_eq!(answers(service, &some).await.text(), OWN.replace(r#""new_checkout":false"#, r#""new_checkout":true"#));
    let nothing = sent(&sender(["no_such_flag"]), Some(&decided()), Request::new(())).await;
    assert!(nothing.headers().is_empty(), "{nothing:?}");
}

#[tokio::test]
async fn decisions_are_sensitive_for_logs_and_header_compression() {
    let sent = sent(&sender(["new_checkout"]), Some(&decided()), Request::new(())).await;
    let header = sent.headers()["x-flag-decisions"].clone();
    assert!(header.is_sensitive() && !format!("{sent:?}").contains(header.to_str().unwrap()));

    for (layer, expected) in [(layer(), true), (FlagLayer::new(memory(RULES)), false)] {
        let sees = service_fn(|request: Request<()>| {
            let is_sensitive = request.headers().get_all("x-flag-decisions").iter().all(|line| line.is_sensitive());
            ready(Response::builder().header("x-seen", is_sensitive.to_string()).body(()))
        });
        for line in [header.to_str().unwrap(), "no token"] {
            let request = Request::builder().header("x-flag-decisions", line).body(()).unwrap();
            let response = layer.layer(sees).call(request).await.unwrap();
            assert_eq!(response.headers()["x-seen"], expected.to_string());
        }
    }
}

#[tokio::test]
async fn a_header_that_came_in_is_not_passed_on_by_accident() {
    let foreign = || Request::builder().header("x-flag-decisions", "foreign").body(()).unwrap();
    let outside = sent(&sender(["new_checkout"]), None, foreign()).await;
    assert!(outside.headers().is_empty(), "outside of a request nothing is decided");
    let inside = sent(&sender(["new_checkout"]), Some(&decided()), foreign()).await;
    let lines: Vec<_> = inside.headers().get_all("x-flag-decisions").iter().collect();
    assert_eq!(lines, [&header(["new_checkout"]).await], "one line, and ours");
}

#[tokio::test]
async fn a_header_with_any_bit_flipped_is_refused() {
    let layer = layer();
    let service = served(layer.clone()).await;
    let header = header(["new_checkout"]).await;
    let mut client = Client::open(service).await;
    let mut refused = 0;
    for (place, bit, flipped) in flips(&header) {
        client.ask("GET", "/", &[("X-Flag-Decisions", &flipped)]).await;
        let reply = client.reply().await;
        if reply.status == 400 {
            // No request at all for the HTTP parser.
            client = Client::open(service).await;
            continue;
        }
        assert_eq!(reply.text(), OWN, "bit {bit} of byte {place}");
        refused += 1;
    }
    assert!(refused > 6 * header.len() as u64, "{refused}");
    assert_eq!(layer.counts().refused_decisions, refused);
}

#[tokio::test]
async fn a_header_is_void_from_its_last_second_on() {
    let clock = Arc::new(AtomicI64::new(now().unix_millis() + 29_999));
    let layer = layer().clock({
        let clock = Arc::clone(&clock);
        move || Instant::from_unix_millis(clock.load(Ordering::Relaxed))
    });
    let service = served(layer.clone()).await;
    let header = header(["new_checkout"]).await;
    assert!(answers(service, &header).await.text().contains(r#""new_checkout":true"#), "30 s unless set");
    clock.fetch_add(1, Ordering::Relaxed);
    assert_eq!(answers(service, &header).await.text(), OWN);
    assert_eq!(layer.counts().refused_decisions, 1);

    let longer = sender(["new_checkout"]).valid_for(Duration::from_secs(31));
    let longer = sent(&longer, Some(&decided()), Request::new(())).await;
    let longer = longer.headers()["x-flag-decisions"].to_str().unwrap().to_owned();
    assert!(answers(service, &longer).await.text().contains(r#""new_checkout":true"#));
}

#[tokio::test]
async fn unsigned_foreign_oversized_and_double_headers_are_refused() {
    let only_shop = || AcceptDecisions::new(key(), ["new_checkout"]).from_services(["shop"]);
    let layer = accepting(only_shop());
    let service = served(layer.clone()).await;
    let good = header(["new_checkout"]).await;
    assert!(answers(service, &good).await.text().contains(r#""new_checkout":true"#), "the control");

    let payload = good.split('.').next().unwrap();
    let foreign_key = SendDecisions::new(
        SigningKey::new("another key for tests, also long enough").unwrap(),
        "shop",
        ["new_checkout"],
    )
    .clock(now);
    let foreign_service = SendDecisions::new(key(), "blog", ["new_checkout"]).clock(now);
    let mut refused = vec![payload.to_owned(), format!("{payload}."), ".".into(), "\u{e4}".into(), "A".repeat(2049)];
    for sender in [foreign_key, foreign_service] {
        let request = sent(&sender, Some(&decided()), Request::new(())).await;
        refused.push(request.headers()["x-flag-decisions"].to_str().unwrap().to_owned());
    }
    let override_token = OverrideToken::until("2026-12-02T00:00:00Z".parse().unwrap()).on("new_checkout");
    refused.push(override_token.sign(&key()).unwrap());
    for (before, header) in (0..).zip(&refused) {
        assert_eq!(layer.counts().refused_decisions, before);
        assert_eq!(answers(service, header).await.text(), OWN, "{header}");
    }
    let twice = [("X-Flag-Decisions", &*good), ("X-Flag-Decisions", &*good)];
    assert_eq!(ask(service, "/", &twice).await.text(), OWN, "which of two is meant nobody can say");
    assert_eq!(layer.counts().refused_decisions, refused.len() as u64 + 1);
}

#[tokio::test]
async fn decisions_are_no_overrides_and_overrides_come_first() {
    let rules = memory(r#"{"new_checkout": {"percentage": 0, "overridable": true}, "fixed": {"percentage": 0}}"#);
    let layer = FlagLayer::new(rules).overrides(Overrides::new(key()));
    let layer = layer.accept_decisions(AcceptDecisions::new(key(), ["new_checkout", "fixed"])).clock(now);
    let service = served(layer).await;
    let decisions = {
        let decided = Flags::builder().on("new_checkout").on("fixed").build(Context::anonymous());
        let request = sent(&sender(["new_checkout", "fixed"]), Some(&decided), Request::new(())).await;
        request.headers()["x-flag-decisions"].to_str().unwrap().to_owned()
    };
    let reply = ask(service, "/", &[("X-Flag-Override", &decisions)]).await;
    assert_eq!(reply.text(), r#"{"fixed":false,"new_checkout":false}"#, "signed for another purpose");

    let token = OverrideToken::until("2026-12-02T00:00:00Z".parse().unwrap()).off("new_checkout").off("fixed");
    let token = token.sign(&key()).unwrap();
    let reply = ask(service, "/", &[("X-Flag-Override", &token), ("X-Flag-Decisions", &decisions)]).await;
    assert_eq!(
        reply.text(),
        r#"{"fixed":true,"new_checkout":false}"#,
        "where a tester may force a flag her word counts, elsewhere the service's"
    );
    assert_eq!(reply.header("x-flag-overrides"), Some("new_checkout=off"));
}

#[tokio::test]
async fn without_the_option_nobody_looks() {
    let layer = FlagLayer::new(memory(RULES));
    let service = served(layer.clone()).await;
    assert_eq!(answers(service, &header(["new_checkout"]).await).await.text(), OWN);
    assert_eq!(layer.counts().refused_decisions, 0);
}

#[tokio::test]
async fn what_does_not_fit_is_left_out_from_the_end_with_one_warning() {
    let log = Log::open();
    let names: Vec<String> = (0..200).map(|number| format!("flag_{number:03}_{}", "x".repeat(20))).collect();
    let decided = names.iter().fold(Flags::builder(), |flags, name| flags.on(name)).build(Context::anonymous());
    let sender = sender(names.iter().map(String::as_str));
    for _ in 0..2 {
        let request = sent(&sender, Some(&decided), Request::new(())).await;
        let header = request.headers()["x-flag-decisions"].to_str().unwrap().to_owned();
        assert!(header.len() <= 2048 && header.len() > 1900, "{}", header.len());

        let rules: Vec<String> = names.iter().map(|name| format!(r#""{name}": {{"percentage": 0}}"#)).collect();
        let rules = memory(&format!("{{{}}}", rules.join(",")));
        let accepted = AcceptDecisions::new(key(), &names);
        let service = served(FlagLayer::new(rules).accept_decisions(accepted).clock(now)).await;
        let taken: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(&answers(service, &header).await.body).unwrap();
        let on: Vec<&String> = taken.iter().filter(|(_, answer)| **answer == true).map(|(name, _)| name).collect();
        assert!(on.len() > 30, "{}", on.len());
        assert_eq!(on, names[..on.len()].iter().collect::<Vec<_>>(), "the first ones of the list");
    }
    assert_eq!(log.lines("decisions for the next service take more than 2048 bytes").len(), 1, "{log:?}");
}

#[tokio::test]
async fn keys_can_be_changed() {
    let new = SigningKey::new("another key for tests, also long enough").unwrap();
    let layer = accepting(AcceptDecisions::new(new, ["new_checkout"]).also_accept(key()));
    let service = served(layer).await;
    assert!(answers(service, &header(["new_checkout"]).await).await.text().contains(r#""new_checkout":true"#));
}

#[tokio::test]
async fn refreshed_answers_keep_what_the_calling_service_decided() {
    let refreshed = |flags: Flags| async move { serde_json::to_string(&flags.refresh().await).unwrap() };
    let service = serve(Router::new().route("/", get(refreshed)).layer(layer())).await;
    let reply = answers(service, &header(["new_checkout"]).await).await;
    assert!(reply.text().contains(r#""new_checkout":true"#), "{reply:?}");
}

#[tokio::test]
async fn a_third_service_gets_what_the_first_decided_through_the_second() {
    let second = layer();
    let (send, mut passed_on) = unbounded_channel();
    let client = sender(["new_checkout"]);
    let relay = move |_: Request<axum::body::Body>| {
        let (send, client) = (send.clone(), client.clone());
        async move {
            let flags = Flags::current().unwrap();
            send.send(sent(&client, Some(&flags), Request::new(())).await).unwrap();
            "passed on"
        }
    };
    let service = serve(Router::new().route("/", get(relay)).layer(second)).await;
    answers(service, &header(["new_checkout"]).await).await;
    let onward = passed_on.recv().await.unwrap().headers()["x-flag-decisions"].to_str().unwrap().to_owned();
    let third = served(layer()).await;
    assert!(answers(third, &onward).await.text().contains(r#""new_checkout":true"#));
}

#[tokio::test]
async fn the_longest_header_is_made_at_once_and_as_full_as_it_goes() {
    let names: Vec<String> = (0..200).map(|number| format!("flag_{number:03}")).collect();
    let variant = "v".repeat(100);
    let decided =
        names.iter().fold(Flags::builder(), |flags, name| flags.variant(name, &variant, 1)).build(Context::anonymous());
    let request = sent(&sender(names.iter().map(String::as_str)), Some(&decided), Request::new(())).await;
    let header = request.headers()["x-flag-decisions"].to_str().unwrap();
    let one_more = (variant.len() + "flag_000".len() + r#""":"","#.len()) * 4 / 3;
    assert!(header.len() <= 2048 && header.len() + one_more > 2048 - 4, "{}", header.len());
}

#[tokio::test]
async fn a_service_name_that_leaves_no_room_is_said_once() {
    let log = Log::open();
    let sender = SendDecisions::new(key(), "x".repeat(3000), ["new_checkout"]).clock(now);
    for _ in 0..2 {
        assert!(sent(&sender, Some(&decided()), Request::new(())).await.headers().is_empty());
    }
    assert_eq!(log.lines("decisions for the next service take more than 2048 bytes").len(), 1, "{log:?}");
}

#[tokio::test]
async fn a_life_below_a_second_is_a_second() {
    let sender = sender(["new_checkout"]).valid_for(Duration::from_millis(900));
    let request = sent(&sender, Some(&decided()), Request::new(())).await;
    let header = request.headers()["x-flag-decisions"].to_str().unwrap();
    assert!(answers(served(layer()).await, header).await.text().contains(r#""new_checkout":true"#));
}

#[tokio::test]
async fn a_client_outside_of_a_request_is_counted_and_said_once() {
    let log = Log::open();
    let sender = sender(["new_checkout"]);
    let before = tower_flags::request::reads_out_of_scope();
    for _ in 0..3 {
        assert!(sent(&sender, None, Request::new(())).await.headers().is_empty());
    }
    assert!(tower_flags::request::reads_out_of_scope() >= before + 3);
    assert_eq!(log.lines("nothing is sent to the next service").len(), 1, "{log:?}");
}

#[tokio::test]
async fn over_a_foreign_engine_a_decision_counts_and_all_reads_agree() {
    struct Foreign;
    impl Source for Foreign {
        fn evaluate(&self, context: &Context, _: Instant) -> Evaluation {
            let flags = Flags::builder().off("new_checkout").off("killed").reason("killed", Reason::Disabled);
            Evaluation::Ready(flags.on("private").build(context.clone()))
        }

        fn status(&self) -> Status {
            Status::fresh()
        }
    }
    let read = |flags: Flags| async move {
        for name in ["new_checkout", "killed", "private"] {
            assert_eq!(flags.is_enabled(name), flags.evaluation(name).enabled, "{name}");
        }
        serde_json::to_string(&flags).unwrap()
    };
    let accepted = AcceptDecisions::new(key(), ["new_checkout", "killed", "private"]);
    let layer = FlagLayer::new(Foreign).accept_decisions(accepted).clock(now);
    let service = serve(Router::new().route("/", get(read)).layer(layer)).await;
    let reply = answers(service, &header(["new_checkout", "killed"]).await).await;
    assert_eq!(reply.text(), r#"{"killed":false,"new_checkout":true,"private":true}"#);
}
