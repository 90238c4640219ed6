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
use tower_flags::engine::{Answers, Query, Reason};
use tower_flags::request::{AcceptDecisions, OverrideToken, Overrides, SendDecisionsLayer, SigningKey};
use tower_flags::source::{Source, Status};
use tower_flags::{Context, FlagLayer, Flags, Timestamp};

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

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn key() -> SigningKey {
    SigningKey::new("a key for tests, of 32 bytes or more").unwrap()
}

fn other_key() -> SigningKey {
    SigningKey::new("another key for tests, also long enough").unwrap()
}

/// The shop's client for the payments.
fn sender<'a>(flags: impl IntoIterator<Item = &'a str>) -> SendDecisionsLayer {
    SendDecisionsLayer::new("shop", flags).to("payments", key(), ["payments.internal"]).clock(now)
}

fn request_to(uri: &str) -> Request<()> {
    Request::get(uri).body(()).unwrap()
}

/// A request to the payments.
fn onward() -> Request<()> {
    request_to("http://payments.internal/pay")
}

/// The header that a client with this layer sends to the payments.
async fn header_of(layer: &SendDecisionsLayer) -> String {
    let request = sent(layer, Some(&decided()), onward()).await;
    request.headers()["x-flag-decisions"].to_str().unwrap().to_owned()
}

fn decided() -> Flags {
    let decided = Flags::builder().on("new_checkout").off("old_cart").variant("pricing", "higher", 1.2);
    decided.on("killed").on("private").build(Context::user("alice"))
}

/// The request as it leaves a client with this layer, sent in the scope of these answers.
async fn sent(layer: &SendDecisionsLayer, flags: Option<&Flags>, request: Request<()>) -> Request<()> {
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
    header_of(&sender(flags)).await
}

fn accepting(accepted: AcceptDecisions) -> FlagLayer {
    FlagLayer::new(memory(RULES)).accept_decisions(accepted).clock(now)
}

/// The payments: they accept decisions about all flags but `private`.
fn layer() -> FlagLayer {
    accepting(payments(["new_checkout", "old_cart", "pricing", "killed"]).from("shop", key()))
}

/// The payments, before they know of any other service.
fn payments<'a>(flags: impl IntoIterator<Item = &'a str>) -> AcceptDecisions {
    AcceptDecisions::new("payments", flags)
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
    let nothing = sent(&sender(["no_such_flag"]), Some(&decided()), onward()).await;
    assert!(nothing.headers().is_empty(), "{nothing:?}");
}

#[tokio::test]
async fn decisions_are_sensitive_for_logs_and_header_compression() {
    let sent = sent(&sender(["new_checkout"]), Some(&decided()), onward()).await;
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
    let foreign = || {
        let mut request = onward();
        request.headers_mut().insert("x-flag-decisions", "foreign".parse().unwrap());
        request
    };
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
        move || Timestamp::from_unix_millis(clock.load(Ordering::Relaxed))
    });
    let service = served(layer.clone()).await;
    let header = header(["new_checkout"]).await;
    assert!(answers(service, &header).await.text().contains(r#""new_checkout":true"#), "30 s unless set");
    clock.fetch_add(1, Ordering::Relaxed);
    assert_eq!(answers(service, &header).await.text(), OWN);
    assert_eq!(layer.counts().refused_decisions, 1);

    let longer = header_of(&sender(["new_checkout"]).valid_for(Duration::from_secs(31))).await;
    assert!(answers(service, &longer).await.text().contains(r#""new_checkout":true"#));
}

#[tokio::test]
async fn unsigned_foreign_oversized_and_double_headers_are_refused() {
    let layer = accepting(payments(["new_checkout"]).from("shop", key()));
    let service = served(layer.clone()).await;
    let good = header(["new_checkout"]).await;
    assert!(answers(service, &good).await.text().contains(r#""new_checkout":true"#), "the control");

    let (unsigned, _) = good.rsplit_once('.').unwrap();
    let (_, without_id) = good.split_once('.').unwrap();
    let mut refused = vec![unsigned.to_owned(), format!("{unsigned}."), without_id.into(), ".".into(), "..".into()];
    refused.extend(["\u{e4}".into(), "A".repeat(2049)]);
    let named_alike = other_key().with_id(key().id()).unwrap();
    for foreign in [other_key(), named_alike] {
        let foreign = SendDecisionsLayer::new("shop", ["new_checkout"]).any_host("payments", foreign).clock(now);
        refused.push(header_of(&foreign).await);
    }
    let foreign_service = SendDecisionsLayer::new("blog", ["new_checkout"]).any_host("payments", key()).clock(now);
    refused.push(header_of(&foreign_service).await);
    let override_token = OverrideToken::until("2026-12-02T00:00:00Z".parse().unwrap()).on("new_checkout");
    refused.push(override_token.sign_at(&key(), now()).unwrap());
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
    let layer = layer.accept_decisions(payments(["new_checkout", "fixed"]).from("shop", key())).clock(now);
    let service = served(layer).await;
    let decisions = {
        let decided = Flags::builder().on("new_checkout").on("fixed").build(Context::anonymous());
        let request = sent(&sender(["new_checkout", "fixed"]), Some(&decided), onward()).await;
        request.headers()["x-flag-decisions"].to_str().unwrap().to_owned()
    };
    let reply = ask(service, "/", &[("X-Flag-Override", &decisions)]).await;
    assert_eq!(reply.text(), r#"{"fixed":false,"new_checkout":false}"#, "signed for another purpose");

    let token = OverrideToken::until("2026-12-02T00:00:00Z".parse().unwrap()).off("new_checkout").off("fixed");
    let token = token.sign_at(&key(), now()).unwrap();
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
        let request = sent(&sender, Some(&decided), onward()).await;
        let header = request.headers()["x-flag-decisions"].to_str().unwrap().to_owned();
        assert!(header.len() <= 2048 && header.len() > 1900, "{}", header.len());

        let rules: Vec<String> = names.iter().map(|name| format!(r#""{name}": {{"percentage": 0}}"#)).collect();
        let rules = memory(&format!("{{{}}}", rules.join(",")));
        let accepted = AcceptDecisions::new("payments", &names).from("shop", key());
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
async fn while_a_key_changes_both_are_accepted_and_an_unknown_one_is_named_in_the_log() {
    let log = Log::open();
    let (old, new) = (key(), other_key().with_id("2026-12").unwrap());
    let signed_by = |key: &SigningKey| {
        SendDecisionsLayer::new("shop", ["new_checkout"]).to("payments", key.clone(), ["payments.internal"]).clock(now)
    };
    let (by_old, by_new) = (header_of(&signed_by(&old)).await, header_of(&signed_by(&new)).await);
    assert!(by_old.starts_with(&format!("{}.", old.id())) && by_new.starts_with("2026-12."), "{by_old} {by_new}");

    let before = accepting(payments(["new_checkout"]).from("shop", old.clone()));
    let between = accepting(payments(["new_checkout"]).from("shop", old).from("shop", new.clone()));
    let after = accepting(payments(["new_checkout"]).from("shop", new));
    for (layer, header, is_taken) in [
        (&before, &by_old, true),
        (&before, &by_new, false),
        (&between, &by_old, true),
        (&between, &by_new, true),
        (&after, &by_old, false),
        (&after, &by_new, true),
    ] {
        let refused = layer.counts().refused_decisions;
        let reply = answers(served(layer.clone()).await, header).await;
        assert_eq!(reply.text().contains(r#""new_checkout":true"#), is_taken, "{header}");
        assert_eq!(layer.counts().refused_decisions - refused, u64::from(!is_taken));
    }
    let unknown = log.lines("no accepted key has the id that it names");
    assert!(unknown.iter().any(|line| line.contains("2026-12")), "{log:?}");
    assert_eq!(unknown.len(), 2, "{log:?}");
}

#[tokio::test]
async fn decisions_for_one_service_are_rejected_by_every_other() {
    let log = Log::open();
    let for_payments = header(["new_checkout"]).await;
    let stock = AcceptDecisions::new("stock", ["new_checkout"]).from("shop", key());
    let layer = accepting(stock);
    let service = served(layer.clone()).await;
    assert_eq!(answers(service, &for_payments).await.text(), OWN, "though the key is the same");
    assert_eq!(layer.counts().refused_decisions, 1);
    assert_eq!(log.lines("it is for another service").len(), 1, "{log:?}");

    let both = SendDecisionsLayer::new("shop", ["new_checkout"]).clock(now);
    let both = both.to("payments", key(), ["payments.internal"]).to("stock", key(), ["stock.internal:81"]);
    let request = sent(&both, Some(&decided()), request_to("http://stock.internal:81/")).await;
    let for_stock = request.headers()["x-flag-decisions"].to_str().unwrap().to_owned();
    assert!(answers(service, &for_stock).await.text().contains(r#""new_checkout":true"#));
    assert_eq!(answers(served(self::layer()).await, &for_stock).await.text(), OWN);
    assert_eq!(header_of(&both).await, for_payments, "one client for both, each by its host");
}

#[tokio::test]
async fn a_service_signs_in_its_own_name_alone() {
    let log = Log::open();
    let layer = accepting(payments(["new_checkout"]).from("shop", key()).from("blog", other_key()));
    let service = served(layer.clone()).await;
    let of = |name: &str, key: SigningKey| {
        SendDecisionsLayer::new(name, ["new_checkout"]).to("payments", key, ["payments.internal"]).clock(now)
    };
    for (name, key) in [("shop", key()), ("blog", other_key())] {
        let own = header_of(&of(name, key)).await;
        assert!(answers(service, &own).await.text().contains(r#""new_checkout":true"#), "{name}");
    }
    for (name, key) in [("shop", other_key()), ("blog", key()), ("cart", key())] {
        assert_eq!(answers(service, &header_of(&of(name, key)).await).await.text(), OWN, "{name} by a foreign key");
    }
    assert_eq!(layer.counts().refused_decisions, 3);
    assert_eq!(log.lines("its key is not the key of the service that it says it is from").len(), 1, "{log:?}");

    // Ids are no proof: two services may have named theirs alike.
    let (shop, blog) = (key().with_id("k1").unwrap(), other_key().with_id("k1").unwrap());
    let alike = accepting(payments(["new_checkout"]).from("shop", shop.clone()).from("blog", blog.clone()));
    let service = served(alike).await;
    for (name, key, is_taken) in [("shop", &shop, true), ("blog", &blog, true), ("shop", &blog, false)] {
        let reply = answers(service, &header_of(&of(name, key.clone())).await).await;
        assert_eq!(reply.text().contains(r#""new_checkout":true"#), is_taken, "{name}");
    }
}

#[tokio::test]
async fn a_header_that_lives_longer_than_the_receiver_allows_is_rejected() {
    let log = Log::open();
    let layer = layer();
    let service = served(layer.clone()).await;
    let valid_for = |seconds: u64| {
        let sender = sender(["new_checkout"]).longest_life(Duration::MAX);
        async move { header_of(&sender.valid_for(Duration::from_secs(seconds))).await }
    };
    for seconds in [1, 59, 60, 65] {
        let reply = answers(service, &valid_for(seconds).await).await;
        assert!(reply.text().contains(r#""new_checkout":true"#), "{seconds} s: 60 s, and 5 s that clocks differ by");
    }
    let too_long = [66, 3600, 1 << 32, 1 << 62, u64::MAX];
    for seconds in too_long {
        assert_eq!(answers(service, &valid_for(seconds).await).await.text(), OWN, "{seconds} s");
    }
    assert_eq!(layer.counts().refused_decisions, too_long.len() as u64);
    let lines = log.lines("it expires later than 60s from now; `longest_life` allows more");
    assert_eq!(lines.len(), 1, "{log:?}");

    let patient = payments(["new_checkout"]).from("shop", key()).longest_life(Duration::from_secs(3600));
    let service = served(accepting(patient)).await;
    assert!(answers(service, &valid_for(3605).await).await.text().contains(r#""new_checkout":true"#));
    assert_eq!(answers(service, &valid_for(3606).await).await.text(), OWN);
    let strict = payments(["new_checkout"]).from("shop", key()).longest_life(Duration::from_secs(10));
    let service = served(accepting(strict)).await;
    assert!(answers(service, &valid_for(15).await).await.text().contains(r#""new_checkout":true"#));
    assert_eq!(answers(service, &header(["new_checkout"]).await).await.text(), OWN, "30 s are too long here");
}

#[tokio::test]
async fn decisions_go_to_listed_hosts_alone() {
    let sender = SendDecisionsLayer::new("shop", ["new_checkout"]).clock(now);
    let sender = sender.to("payments", key(), ["payments.internal", "https://[::1]:8443", "10.0.0.7:8080"]);
    for (uri, is_sent) in [
        ("http://payments.internal/pay", true),
        ("https://PAYMENTS.internal:8443/pay", true),
        ("http://10.0.0.7:8080/", true),
        ("https://[::1]:8443/", true),
        ("http://[::1]:8443/", false),
        ("http://10.0.0.7/", false),
        ("http://10.0.0.7:8081/", false),
        ("http://evil.example/", false),
        ("http://payments.internal.evil.example/", false),
        ("http://payments.internal@evil.example/", false),
        ("http://payments.internal:80@evil.example/", false),
        ("http://evil.example/?host=payments.internal", false),
        ("http://sub.payments.internal/", false),
        ("/pay", false),
    ] {
        let mut request = request_to(uri);
        request.headers_mut().insert("host", "payments.internal".parse().unwrap());
        request.headers_mut().insert("x-flag-decisions", "foreign".parse().unwrap());
        let request = sent(&sender, Some(&decided()), request).await;
        let header = request.headers().get("x-flag-decisions");
        assert_eq!(header.is_some(), is_sent, "{uri}");
        assert!(header.is_none_or(|header| header != "foreign"), "{uri}: a foreign header is no more sent on");
    }
    assert!(sent(&sender, None, request_to("http://evil.example/")).await.headers().is_empty());

    let any = SendDecisionsLayer::new("shop", ["new_checkout"]).clock(now).any_host("payments", key());
    let any = any.to("stock", other_key(), ["stock.internal"]);
    for (uri, id) in [("http://10.1.1.1/", key()), ("/pay", key()), ("http://stock.internal/", other_key())] {
        let request = sent(&any, Some(&decided()), request_to(uri)).await;
        let header = request.headers()["x-flag-decisions"].to_str().unwrap().to_owned();
        assert!(header.starts_with(id.id()), "{uri}: {header}");
    }
}

#[tokio::test]
async fn a_client_that_can_send_nothing_says_so_once() {
    let log = Log::open();
    let nobody = SendDecisionsLayer::new("shop", ["new_checkout"]).clock(now);
    for _ in 0..2 {
        assert!(sent(&nobody, Some(&decided()), onward()).await.headers().is_empty());
        assert!(sent(&sender(["new_checkout"]), Some(&decided()), request_to("/pay")).await.headers().is_empty());
    }
    assert_eq!(log.lines("decisions are sent to no service").len(), 1, "{log:?}");
    assert_eq!(log.lines("the URI of the request names no host").len(), 2, "one for each client: {log:?}");
}

/// A client that follows redirects: from the first host to the next, with all headers of the request.
#[derive(Clone)]
struct Follower<C> {
    client: C,
    hops: &'static [&'static str],
}

impl<C> Follower<C>
where
    C: Service<Request<()>, Response = Response<()>, Error = Infallible>,
{
    async fn ask(&mut self, request: &Request<()>) {
        for hop in self.hops {
            let mut next = request_to(hop);
            next.headers_mut().extend(request.headers().clone());
            self.client.call(next).await.unwrap();
        }
    }
}

#[tokio::test]
async fn no_redirect_carries_decisions_to_a_host_that_is_not_listed() {
    let (send, mut receive) = unbounded_channel();
    let client = sender(["new_checkout"]).layer(service_fn(move |request: Request<()>| {
        let header = request.headers().get("x-flag-decisions").map(|value| value.to_str().unwrap().to_owned());
        send.send((request.uri().host().unwrap().to_owned(), header)).unwrap();
        ready(Ok::<_, Infallible>(Response::new(())))
    }));
    let hops = &["http://payments.internal/", "http://evil.example/", "http://payments.internal/again"];
    let mut follower = Follower { client, hops };
    // Also a header that is there already, from the service before or from a layer further out.
    for brought in [None, Some(header(["new_checkout"]).await)] {
        let mut request = onward();
        if let Some(brought) = &brought {
            request.headers_mut().insert("x-flag-decisions", brought.parse().unwrap());
        }
        decided().scope(follower.ask(&request)).await;
        let own = header(["new_checkout"]).await;
        for (host, header) in
            [("payments.internal", Some(&own)), ("evil.example", None), ("payments.internal", Some(&own))]
        {
            assert_eq!(receive.recv().await.unwrap(), (host.to_owned(), header.cloned()));
        }
    }
}

/// The message of a panic while configuring.
fn panic_of<T>(configure: impl FnOnce() -> T + std::panic::UnwindSafe) -> String {
    let panic = std::panic::catch_unwind(configure).map(drop).unwrap_err();
    panic.downcast_ref::<String>().cloned().unwrap_or_else(|| panic.downcast_ref::<&str>().unwrap().to_string())
}

#[test]
fn what_cannot_be_meant_is_rejected_while_configuring() {
    let minute = Duration::from_secs(60);
    let sender = || SendDecisionsLayer::new("shop", ["new_checkout"]);
    drop(sender().valid_for(minute));
    assert_eq!(
        panic_of(|| sender().valid_for(minute + Duration::from_millis(1))),
        "expected at most 60s, found 60.001s: receivers reject more, unless their `AcceptDecisions::longest_life` allows \
         it; then call `SendDecisionsLayer::longest_life` before `valid_for`"
    );
    drop(sender().longest_life(2 * minute).valid_for(2 * minute));
    assert!(panic_of(|| sender().longest_life(2 * minute).valid_for(3 * minute)).contains("at most 120s, found 180s"));
    assert!(panic_of(|| sender().longest_life(minute / 6)).contains("expected at least 30s"));
    drop(sender().valid_for(minute / 6).longest_life(minute / 6));

    for host in ["", "*", "*.internal", "https://payments.internal/pay", "user@payments.internal", "ftp://payments"] {
        let message = panic_of(|| sender().to("payments", key(), [host]));
        assert!(message.contains(&format!("found {host:?}; `any_host` sends to every host")), "{message}");
    }
    let none: [&str; 0] = [];
    assert!(panic_of(|| sender().to("payments", key(), none)).contains("expected a host of \"payments\", found none"));
    let twice = || sender().to("payments", key(), ["a", "b"]).to("stock", other_key(), ["c", "B"]);
    assert!(panic_of(twice).contains(r#"found "B" for "payments" and for "stock""#));
    let twice = || sender().any_host("payments", key()).any_host("stock", key());
    assert!(panic_of(twice).contains(r#"found "payments" and "stock""#));

    let shared = || payments(["new_checkout"]).from("shop", key()).from("shop", key()).from("blog", key());
    assert_eq!(
        panic_of(shared),
        "expected a key of its own for each service, found the same key for \"shop\" and \"blog\"; each could sign in \
         the name of the other"
    );
    let renamed = || payments(["new_checkout"]).from("shop", key()).from("blog", key().with_id("other").unwrap());
    assert!(panic_of(renamed).contains("the same key"), "an id makes no other key");
    let nameless = "expected the name of a service, found an empty text";
    assert_eq!(panic_of(|| AcceptDecisions::new("", ["a"])), nameless);
    assert_eq!(panic_of(|| payments(["a"]).from("", key())), nameless);
    assert_eq!(panic_of(|| SendDecisionsLayer::new("", ["a"])), nameless);
    assert_eq!(panic_of(|| sender().to("", key(), ["a"])), nameless);
    assert_eq!(panic_of(|| sender().any_host("", key())), nameless);
}

#[test]
fn ids_of_keys_have_one_form_and_errors_do_not_repeat_them() {
    assert_eq!(key().id(), key().id());
    assert_ne!(key().id(), other_key().id());
    assert_eq!(key().id().len(), 8);
    let longest = "k".repeat(32);
    for id in ["1", "2026-12", "shop_2", &longest] {
        assert_eq!(key().with_id(id).unwrap().id(), id);
    }
    let form = "expected a key id of 1 to 32 ASCII letters, digits, `-` and `_`, found";
    for (id, found) in [
        ("", "one of 0"),
        (&*"k".repeat(33), "one of 33"),
        ("a.b", "the character '.' in it"),
        ("a b", "the character ' ' in it"),
        ("\u{e4}", "the character '\u{e4}' in it"),
        ("a\n", "the character '\\n' in it"),
    ] {
        assert_eq!(key().with_id(id).unwrap_err().to_string(), format!("{form} {found}"));
    }
    let shown = format!("{:?} {:?}", key().with_id("k1").unwrap(), payments(["a"]).from("shop", key()));
    assert!(shown.contains("k1") && !shown.contains("tests") && !shown.contains("97, 32"), "{shown}");
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
            send.send(sent(&client, Some(&flags), onward()).await).unwrap();
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
    let request = sent(&sender(names.iter().map(String::as_str)), Some(&decided), onward()).await;
    let header = request.headers()["x-flag-decisions"].to_str().unwrap();
    let one_more = (variant.len() + "flag_000".len() + r#""":"","#.len()) * 4 / 3;
    assert!(header.len() <= 2048 && header.len() + one_more > 2048 - 4, "{}", header.len());
}

#[tokio::test]
async fn a_service_name_that_leaves_no_room_is_said_once() {
    let log = Log::open();
    let sender = SendDecisionsLayer::new("x".repeat(3000), ["new_checkout"]).any_host("payments", key()).clock(now);
    for _ in 0..2 {
        assert!(sent(&sender, Some(&decided()), onward()).await.headers().is_empty());
    }
    assert_eq!(log.lines("decisions for the next service take more than 2048 bytes").len(), 1, "{log:?}");
}

#[tokio::test]
async fn a_life_below_a_second_is_a_second() {
    let sender = sender(["new_checkout"]).valid_for(Duration::from_millis(900));
    let request = sent(&sender, Some(&decided()), onward()).await;
    let header = request.headers()["x-flag-decisions"].to_str().unwrap();
    assert!(answers(served(layer()).await, header).await.text().contains(r#""new_checkout":true"#));
}

#[tokio::test]
async fn a_client_outside_of_a_request_is_counted_and_said_once() {
    let log = Log::open();
    let sender = sender(["new_checkout"]);
    let before = tower_flags::request::reads_out_of_scope();
    for _ in 0..3 {
        assert!(sent(&sender, None, onward()).await.headers().is_empty());
    }
    assert!(tower_flags::request::reads_out_of_scope() >= before + 3);
    assert_eq!(log.lines("nothing is sent to the next service").len(), 1, "{log:?}");
}

#[tokio::test]
async fn over_a_foreign_engine_a_decision_counts_and_all_reads_agree() {
    struct Foreign;
    impl Source for Foreign {
        fn answer(&self, query: &Query<'_>) -> Answers {
            let flags = Flags::builder().off("new_checkout").off("killed").reason("killed", Reason::Disabled);
            flags.on("private").answer(query)
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
    let accepted = payments(["new_checkout", "killed", "private"]).from("shop", key());
    let layer = FlagLayer::new(Foreign).accept_decisions(accepted).clock(now);
    let service = serve(Router::new().route("/", get(read)).layer(layer)).await;
    let reply = answers(service, &header(["new_checkout", "killed"]).await).await;
    assert_eq!(reply.text(), r#"{"killed":false,"new_checkout":true,"private":true}"#);
}
