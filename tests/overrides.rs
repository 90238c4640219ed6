//! Testers' overrides: who may force what, until when, and what the response says of it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![cfg(all(feature = "axum", feature = "overrides"))]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::get;
use http::HeaderName;
use tower::ServiceExt;
use tower_flags::engine::{Answers, Query, Reason, SourceId};
use tower_flags::request::{OverrideToken, Overrides, SigningKey};
use tower_flags::source::{Source, Status};
use tower_flags::{Context, ErrorKind, FlagLayer, Flags, Memory, Timestamp};

use support::{Client, Log, Reply, ask, flips, memory, serve};

const NOW: &str = "2026-12-01T12:00:00Z";
const LATER: &str = "2026-12-01T18:00:00Z";

const RULES: &str = r#"{
    "new_checkout": {"percentage": 0, "overridable": true},
    "dark_mode": {"enabled": true, "overridable": true},
    "pricing": {"enabled": true, "overridable": true, "variants": {"control": 100, "higher": 0}},
    "secret": {"percentage": 0, "overridable": true, "hidden": true},
    "killed": {"enabled": false, "overridable": true},
    "fixed": {"percentage": 0}
}"#;

fn at(instant: &str) -> Timestamp {
    instant.parse().unwrap()
}

fn key() -> SigningKey {
    SigningKey::new("a key for tests, of 32 bytes or more").unwrap()
}

/// On for whoever has it, until later.
fn token() -> OverrideToken {
    OverrideToken::until(at(LATER)).on("new_checkout")
}

fn signed(token: &OverrideToken) -> String {
    token.sign_at(&key(), at(NOW)).unwrap()
}

/// Serves a page of everything that is on, and one that reads nothing, at noon.
async fn served(layer: FlagLayer) -> std::net::SocketAddr {
    serve(app().layer(layer.clock(|| at(NOW)).trust_headers())).await
}

fn app() -> Router {
    let everything = |flags: Flags| async move { serde_json::to_string(&flags).unwrap() };
    let kept = || async { ([(CACHE_CONTROL, "public, max-age=60")], "the same for everybody") };
    Router::new().route("/", get(everything)).route("/plain", get(|| async { "plain" })).route("/kept", get(kept))
}

fn layer() -> FlagLayer {
    FlagLayer::new(memory(RULES)).overrides(Overrides::new(key()))
}

/// What a flag reads as for the caller of this request.
fn answer(reply: &Reply, flag: &str) -> serde_json::Value {
    let flags: serde_json::Value = serde_json::from_slice(&reply.body).unwrap_or_else(|_| panic!("{reply:?}"));
    flags[flag].clone()
}

fn set_cookie(reply: &Reply) -> Option<&str> {
    reply.header("set-cookie")
}

#[tokio::test]
async fn a_link_sets_a_cookie_that_forces_the_flag_from_then_on() {
    let shop = served(layer()).await;
    let before = ask(shop, "/", &[]).await;
    assert_eq!(answer(&before, "new_checkout"), false);
    assert_eq!(before.header("x-flag-overrides"), None);

    let token = signed(&token());
    let opened = ask(shop, &format!("/?page=2&flag_override={token}"), &[]).await;
    assert_eq!(answer(&opened, "new_checkout"), true);
    let cookie = set_cookie(&opened).unwrap();
    assert_eq!(
        cookie,
        format!("flag_override={token}; Path=/; Max-Age=21600; HttpOnly; SameSite=Lax; Secure"),
        "it lasts as long as the token: six hours"
    );

    let sent = cookie.split(';').next().unwrap();
    let after = ask(shop, "/", &[("Cookie", &format!("theme=dark; {sent}; lang=en"))]).await;
    assert_eq!(answer(&after, "new_checkout"), true);
    assert_eq!(after.header("x-flag-overrides"), Some("new_checkout=on"));
    assert_eq!(after.active(), Some("dark_mode,new_checkout,pricing"));
    assert_eq!(after.header("cache-control"), Some("no-store"));
    assert_eq!(set_cookie(&after), None, "it is there already");

    let anybody = ask(shop, "/", &[]).await;
    assert_eq!(answer(&anybody, "new_checkout"), false, "nobody else is concerned");
}

#[tokio::test]
async fn what_forces_flags_is_sensitive_for_logs_and_header_compression() {
    let sees = |headers: HeaderMap| async move {
        let is_sensitive = |name: &str| headers.get_all(name).iter().map(HeaderValue::is_sensitive).collect::<Vec<_>>();
        format!("{:?} {:?}", is_sensitive("x-flag-override"), is_sensitive("cookie"))
    };
    let layer = || layer().clock(|| at(NOW));
    let app = Router::new().route("/", get(sees));
    let token = signed(&token());
    let answered = async |app: &Router, uri: &str, headers: &[(&str, &str)]| {
        let request = headers.iter().fold(Request::get(uri), |request, (name, value)| request.header(*name, *value));
        let response = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        (parts.headers, String::from_utf8(to_bytes(body, 1000).await.unwrap().to_vec()).unwrap())
    };
    let tester = app.clone().layer(layer());

    let link = format!("/?flag_override={token}");
    let (headers, _) = answered(&tester, &link, &[]).await;
    assert_eq!(headers["x-flag-overrides"], "new_checkout=on");
    assert!(headers["x-flag-overrides"].is_sensitive() && headers["set-cookie"].is_sensitive(), "{headers:?}");
    let shown = format!("{headers:?}");
    assert!(!shown.contains(&token) && !shown.contains("new_checkout=on"), "{shown}");
    let (headers, _) = answered(&tester, "/?flag_override=", &[]).await;
    assert!(headers.get_all("set-cookie").iter().all(HeaderValue::is_sensitive), "{headers:?}");

    // On the way in, for loggers inside and for clients that send headers on.
    let cookie = format!("a=b; flag_override={token}");
    let brought = [("x-flag-override", &*token), ("cookie", &*cookie), ("cookie", "theme=dark")];
    assert_eq!(answered(&tester, "/", &brought).await.1, "[true] [true, false]");
    let refused = [("x-flag-override", "no token"), ("x-flag-override", "nor this")];
    assert_eq!(answered(&tester, "/", &refused).await.1, "[true, true] []");
    let without = app.layer(FlagLayer::new(memory(RULES)));
    assert_eq!(answered(&without, "/", &brought).await.1, "[false] [false, false]", "nothing there reads them");
}

#[tokio::test]
async fn a_cookie_can_hold_for_all_hosts_of_a_domain() {
    let shop = served(FlagLayer::new(memory(RULES)).overrides(Overrides::new(key()).domain("example.com"))).await;
    let token = signed(&token());
    let opened = ask(shop, &format!("/?flag_override={token}"), &[]).await;
    let alone = "flag_override=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax";
    let cookie =
        format!("flag_override={token}; Path=/; Max-Age=21600; HttpOnly; SameSite=Lax; Domain=example.com; Secure");
    assert_eq!(opened.lines("set-cookie"), [alone, &cookie], "one of this host alone would come before it");
    let ended = ask(shop, "/?flag_override=", &[("Cookie", &format!("flag_override={token}"))]).await;
    let everywhere = "flag_override=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax; Domain=example.com";
    assert_eq!(ended.lines("set-cookie"), [alone, everywhere]);
    assert_eq!(ended.header("cache-control"), Some("no-store"));
}

#[test]
fn domains_that_no_cookie_can_have_are_rejected() {
    assert_eq!(format!("{:?}", Overrides::new(key()).domain(".Example.com")).matches("example.com").count(), 1);
    for domain in ["", ".", "a b", "a;Secure", "a..b", "ex\u{e4}mple.com", "-a.com", "a-.com", "127.0.0.1", "[::1]"] {
        let rejected = std::panic::catch_unwind(|| Overrides::new(key()).domain(domain)).unwrap_err();
        let message = rejected.downcast_ref::<String>().unwrap();
        assert!(message.starts_with("expected a domain such as example.com, found "), "{message}");
    }
}

#[tokio::test]
async fn a_page_that_reads_no_flag_sets_the_cookie_too() {
    let shop = served(layer()).await;
    let opened = ask(shop, &format!("/plain?flag_override={}", signed(&token())), &[]).await;
    assert_eq!(opened.text(), "plain");
    assert!(set_cookie(&opened).unwrap().starts_with("flag_override="));
    assert_eq!(opened.header("cache-control"), Some("no-store"));
    assert_eq!(opened.header("x-flag-overrides"), Some("new_checkout=on"));
}

#[tokio::test]
async fn no_cache_may_keep_what_a_tester_sees_whatever_the_page_says() {
    let shop = served(layer()).await;
    assert_eq!(ask(shop, "/kept", &[]).await.header("cache-control"), Some("public, max-age=60"));
    for token in [signed(&token()), signed(&OverrideToken::until(at(LATER)).on("fixed"))] {
        let reply = ask(shop, "/kept", &[("X-Flag-Override", &token)]).await;
        assert_eq!(reply.header("cache-control"), Some("no-store"));
    }
    let cleared = ask(shop, "/kept?flag_override=", &[]).await;
    assert_eq!(cleared.header("cache-control"), Some("no-store"), "a cookie goes with it");
}

#[tokio::test]
async fn a_token_switches_on_and_off_and_chooses_variants() {
    let shop = served(layer()).await;
    let token = signed(&token().off("dark_mode").variant("pricing", "higher").on("secret"));
    let reply = ask(shop, "/", &[("X-Flag-Override", &token)]).await;
    assert_eq!(answer(&reply, "new_checkout"), true);
    assert_eq!(answer(&reply, "dark_mode"), false);
    assert_eq!(answer(&reply, "pricing"), "higher");
    assert_eq!(
        reply.header("x-flag-overrides"),
        Some("dark_mode=off,new_checkout=on,pricing=higher"),
        "a hidden flag is forced and not named"
    );
    assert_eq!(set_cookie(&reply), None, "only links set cookies");
}

#[tokio::test]
async fn a_kill_beats_a_token_and_so_does_a_flag_that_may_not_be_forced() {
    let rules = memory(RULES);
    let shop = served(FlagLayer::new(rules.clone()).overrides(Overrides::new(key()))).await;
    let token = signed(&token().on("killed").on("fixed").on("no_such_flag"));
    let reply = ask(shop, "/", &[("X-Flag-Override", &token)]).await;
    assert_eq!(answer(&reply, "killed"), false);
    assert_eq!(answer(&reply, "fixed"), false);
    assert_eq!(reply.header("x-flag-overrides"), Some("new_checkout=on"));

    rules.set("new_checkout", support::flag_of(r#"{"enabled": false, "overridable": true}"#)).unwrap();
    let reply = ask(shop, "/", &[("X-Flag-Override", &token)]).await;
    assert_eq!(answer(&reply, "new_checkout"), false);
    assert_eq!(reply.header("x-flag-overrides"), None);
    assert_eq!(reply.header("cache-control"), Some("no-store"), "the token is valid all the same");
}

#[tokio::test]
async fn the_empty_parameter_ends_it() {
    let shop = served(layer()).await;
    let cookie = format!("flag_override={}", signed(&token()));
    let ended = ask(shop, "/?flag_override=", &[("Cookie", &cookie)]).await;
    assert_eq!(answer(&ended, "new_checkout"), false, "at once");
    assert_eq!(set_cookie(&ended), Some("flag_override=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"));
}

#[tokio::test]
async fn the_link_comes_before_the_header_and_the_header_before_the_cookie() {
    let shop = served(layer()).await;
    let until = OverrideToken::until(at(LATER));
    let link = signed(&until.variant("pricing", "higher"));
    let header = signed(&OverrideToken::until(at(LATER)).off("pricing"));
    let cookie = format!("flag_override={}", signed(&OverrideToken::until(at(LATER)).off("dark_mode")));

    let both = [("Cookie", &*cookie), ("X-Flag-Override", &*header)];
    let reply = ask(shop, &format!("/?flag_override={link}"), &both).await;
    assert_eq!(reply.header("x-flag-overrides"), Some("pricing=higher"));
    let reply = ask(shop, "/", &both).await;
    assert_eq!(reply.header("x-flag-overrides"), Some("pricing=off"));
    let reply = ask(shop, "/?flag_override=stale.link", &[("Cookie", &cookie)]).await;
    assert_eq!(reply.header("x-flag-overrides"), Some("dark_mode=off"), "a bad one hides no good one");
}

#[tokio::test]
async fn a_token_with_any_bit_flipped_is_refused() {
    let layer = layer();
    let shop = served(layer.clone()).await;
    let mut client = Client::open(shop).await;
    let token = signed(&token().for_user("alice"));
    let (mut asked, mut bad_requests) = (0, 0);
    for (place, bit, flipped) in flips(&token) {
        client.ask("GET", "/", &[("X-User-ID", b"alice"), ("X-Flag-Override", &flipped)]).await;
        let reply = client.reply().await;
        asked += 1;
        if reply.status == 400 {
            bad_requests += 1;
            client = Client::open(shop).await;
            continue;
        }
        assert_eq!(answer(&reply, "new_checkout"), false, "bit {bit} of byte {place}");
        assert_eq!(reply.header("x-flag-overrides"), None);
    }
    assert!(asked > 8 * 100 - 10 && bad_requests < asked / 4, "{asked} asked, {bad_requests} no requests at all");
    assert_eq!(layer.counts().refused_overrides, asked - bad_requests);
    client.ask("GET", "/", &[("X-User-ID", b"alice"), ("X-Flag-Override", token.as_bytes())]).await;
    assert_eq!(answer(&client.reply().await, "new_checkout"), true, "as it is, it is taken");
}

#[tokio::test]
async fn a_cookie_and_a_link_with_any_bit_flipped_are_refused() {
    let shop = served(layer()).await;
    let mut client = Client::open(shop).await;
    let token = signed(&token());
    for (place, bit, flipped) in flips(&token) {
        let flipped = String::from_utf8_lossy(&flipped).into_owned();
        // What browsers cannot send is of no use to anybody; `#` would end the address in one.
        if flipped.bytes().any(|byte| byte <= b' ' || byte == 0x7f || byte > 0x7f) {
            continue;
        }
        let cookie = format!("flag_override={flipped}");
        let by_cookie = client.get("/", &[("Cookie", &cookie)]).await;
        assert_eq!(answer(&by_cookie, "new_checkout"), false, "bit {bit} of byte {place} of the cookie");
        if flipped.contains(['#', '"', '<', '>', '`', '{', '}', '|', '\\', '^', '[', ']']) {
            continue;
        }
        let by_link = client.get(&format!("/?flag_override={flipped}"), &[]).await;
        assert_eq!(answer(&by_link, "new_checkout"), false, "bit {bit} of byte {place} of the link");
        assert_eq!(set_cookie(&by_link), None);
    }
}

#[tokio::test]
async fn a_token_is_void_from_its_last_second_on() {
    let now = Arc::new(AtomicI64::new(at(LATER).unix_millis() - 1));
    let clock = Arc::clone(&now);
    let layer = layer().clock(move || Timestamp::from_unix_millis(clock.load(Ordering::Relaxed)));
    let shop = serve(app().layer(layer.clone())).await;
    let token = signed(&token());
    let opened = ask(shop, &format!("/?flag_override={token}"), &[]).await;
    assert_eq!(answer(&opened, "new_checkout"), true);
    assert!(set_cookie(&opened).unwrap().contains("; Max-Age=1;"), "{opened:?}");

    now.fetch_add(1, Ordering::Relaxed);
    let late = ask(shop, &format!("/?flag_override={token}"), &[]).await;
    assert_eq!(answer(&late, "new_checkout"), false);
    assert_eq!(set_cookie(&late), None);
    assert_eq!(layer.counts().refused_overrides, 1);
}

#[tokio::test]
async fn a_token_for_one_user_serves_nobody_else() {
    let layer = layer();
    let shop = served(layer.clone()).await;
    let cookie = format!("flag_override={}", signed(&token().for_user("alice")));
    let as_user = |user: &'static str| [("Cookie", cookie.clone()), ("X-User-ID", user.to_owned())];
    for (user, is_on) in [("alice", true), ("bob", false), ("Alice", false), ("alice2", false)] {
        let headers = as_user(user);
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(answer(&ask(shop, "/", &headers).await, "new_checkout"), is_on, "{user}");
    }
    assert_eq!(answer(&ask(shop, "/", &[("Cookie", &cookie)]).await, "new_checkout"), false, "nobody at all");
    assert_eq!(layer.counts().refused_overrides, 4);
}

#[tokio::test]
async fn keys_can_be_changed_and_another_key_opens_nothing() {
    let log = Log::open();
    let other = SigningKey::new("another key for tests, also long enough").unwrap().with_id("2026-12").unwrap();
    let layer = FlagLayer::new(memory(RULES)).overrides(Overrides::new(other.clone()).also_accept(key()));
    let shop = served(layer.clone()).await;
    for key in [&other, &key()] {
        let token = token().sign_at(key, at(NOW)).unwrap();
        assert!(token.starts_with(&format!("{}.", key.id())), "{token}");
        assert_eq!(answer(&ask(shop, "/", &[("X-Flag-Override", &token)]).await, "new_checkout"), true);
    }
    let third = SigningKey::new("a third key, which no layer ever accepts").unwrap();
    for (third, reason) in [
        (third.clone(), "no accepted key has the id that it names"),
        (third.with_id("2026-12").unwrap(), "no accepted key has signed it as it is"),
    ] {
        let before = layer.counts().refused_overrides;
        let foreign = token().sign_at(&third, at(NOW)).unwrap();
        assert_eq!(answer(&ask(shop, "/", &[("X-Flag-Override", &foreign)]).await, "new_checkout"), false);
        assert_eq!(layer.counts().refused_overrides, before + 1);
        let lines = log.lines(reason);
        assert!(lines.len() == 1 && lines[0].contains(third.id()), "{log:?}");
    }
}

#[tokio::test]
async fn a_token_that_lives_longer_than_the_layer_allows_is_rejected() {
    const DAY: i64 = 24 * 60 * 60;
    let log = Log::open();
    let layer = layer();
    let shop = served(layer.clone()).await;
    let until = |seconds: i64| Timestamp::from_unix_millis(at(NOW).unix_millis() + seconds * 1000);
    let living = |seconds: i64| {
        let token = OverrideToken::until(until(seconds)).longest_life(Duration::MAX).on("new_checkout");
        signed(&token)
    };
    for seconds in [1, DAY, 30 * DAY, 30 * DAY + 5] {
        let reply = ask(shop, "/", &[("X-Flag-Override", &living(seconds))]).await;
        assert_eq!(answer(&reply, "new_checkout"), true, "{seconds} s: 30 days, and 5 s that clocks differ by");
    }
    for token in [living(30 * DAY + 6), living(365 * DAY), signed_until("9999-12-31T23:59:59Z")] {
        let cookie = format!("flag_override={token}");
        for (path, headers) in [
            ("/", vec![("X-Flag-Override", &*token)]),
            ("/", vec![("Cookie", &*cookie)]),
            (&*format!("/?flag_override={token}"), vec![]),
        ] {
            let reply = ask(shop, path, &headers).await;
            assert_eq!(
                (answer(&reply, "new_checkout"), set_cookie(&reply)),
                (false.into(), None),
                "{path} {headers:?}"
            );
        }
    }
    assert_eq!(layer.counts().refused_overrides, 9);
    assert_eq!(log.lines("it expires later than 30 days from now; `longest_life` allows more").len(), 1, "{log:?}");

    let year = Duration::from_secs(366 * DAY as u64);
    let shop = served(FlagLayer::new(memory(RULES)).overrides(Overrides::new(key()).longest_life(year))).await;
    let reply = ask(shop, "/", &[("X-Flag-Override", &living(365 * DAY))]).await;
    assert_eq!(answer(&reply, "new_checkout"), true);
}

/// Until long after what a layer accepts.
fn signed_until(expires_at: &str) -> String {
    signed(&OverrideToken::until(at(expires_at)).longest_life(Duration::MAX).on("new_checkout"))
}

#[tokio::test]
async fn without_a_key_there_are_no_overrides() {
    let layer = FlagLayer::new(memory(RULES));
    let shop = served(layer.clone()).await;
    let token = signed(&token());
    let cookie = format!("flag_override={token}");
    let everywhere = [("Cookie", &*cookie), ("X-Flag-Override", &*token)];
    let reply = ask(shop, &format!("/?flag_override={token}"), &everywhere).await;
    assert_eq!(answer(&reply, "new_checkout"), false);
    assert_eq!(set_cookie(&reply), None);
    assert_eq!(reply.header("x-flag-overrides"), None);
    assert_eq!(layer.counts().refused_overrides, 0, "nobody looked");
}

#[tokio::test]
async fn what_the_inner_service_says_of_overrides_is_replaced() {
    let boast = || async { [(HeaderName::from_static("x-flag-overrides"), "fixed=on")] };
    let shop = serve(Router::new().route("/", get(boast)).layer(layer().clock(|| at(NOW)))).await;
    let reply = ask(shop, "/", &[("X-Flag-Override", &signed(&token()))]).await;
    assert_eq!(reply.header("x-flag-overrides"), Some("new_checkout=on"));
}

#[test]
fn tokens_that_no_layer_would_take_are_not_signed() {
    let many = (0..200).fold(OverrideToken::until(at(LATER)), |token, number| token.on(format!("flag_{number}")));
    let error = many.sign_at(&key(), at(NOW)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    let (expected, then) = ("expected a token of at most 1024 bytes, found ", "; name fewer flags");
    let found = error.to_string();
    let len = found.strip_prefix(expected).and_then(|rest| rest.strip_suffix(then)).map(str::parse::<usize>);
    assert!(matches!(len, Some(Ok(1025..))), "{found}");
    assert_eq!(
        SigningKey::new("31 bytes, and thus one too few.").unwrap_err().to_string(),
        "expected a key of at least 32 bytes, found 31; `openssl rand -hex 32` makes one"
    );
}

#[test]
fn tokens_that_live_too_long_are_not_signed() {
    let living = |days: u64, now: Timestamp| {
        let seconds = i64::try_from(days * 24 * 60 * 60).unwrap();
        OverrideToken::until(Timestamp::from_unix_millis(now.unix_millis() + seconds * 1000)).on("new_checkout")
    };
    assert!(living(30, at(NOW)).sign_at(&key(), at(NOW)).is_ok());
    let error = living(31, at(NOW)).sign_at(&key(), at(NOW)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "expected a token that expires within 30 days, found one that expires at 2027-01-01T12:00:00Z; sign it for a \
         shorter time, or allow more by `longest_life` of both `Overrides` and `OverrideToken`"
    );
    let ninety = Duration::from_secs(90 * 24 * 60 * 60);
    assert!(living(90, at(NOW)).longest_life(ninety).sign_at(&key(), at(NOW)).is_ok());
    assert!(living(91, at(NOW)).longest_life(ninety).sign_at(&key(), at(NOW)).is_err());

    let now = Timestamp::from(SystemTime::now());
    assert!(living(29, now).sign(&key()).is_ok(), "by the system's clock");
    assert!(living(31, now).sign(&key()).is_err());
    assert!(OverrideToken::until(Timestamp::MAX).sign(&key()).is_err());
}

#[tokio::test]
async fn a_text_longer_than_any_token_is_not_looked_at() {
    let layer = layer();
    let shop = served(layer.clone()).await;
    let long = format!("{}.{}", "A".repeat(4000), "A".repeat(43));
    let reply = ask(shop, "/", &[("X-Flag-Override", &long)]).await;
    assert_eq!(answer(&reply, "new_checkout"), false);
    assert_eq!(layer.counts().refused_overrides, 1);
}

#[tokio::test]
async fn refreshed_answers_keep_what_is_forced() {
    let rules = memory(RULES);
    let changed = rules.clone();
    let refreshed = move |flags: Flags| {
        let rules = changed.clone();
        async move {
            rules.set("dark_mode", support::flag_of("false")).unwrap();
            let flags = flags.refresh().await;
            serde_json::to_string(&flags).unwrap()
        }
    };
    let layer = FlagLayer::new(rules).overrides(Overrides::new(key())).clock(|| at(NOW));
    let shop = serve(Router::new().route("/", get(refreshed)).layer(layer)).await;
    let reply = ask(shop, "/", &[("X-Flag-Override", &signed(&token().on("dark_mode")))]).await;
    assert_eq!(answer(&reply, "new_checkout"), true);
    assert_eq!(answer(&reply, "dark_mode"), false, "killed since");
}

async fn login_as_bob(mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(Context::user("bob"));
    next.run(request).await
}

#[tokio::test]
async fn a_token_for_one_user_serves_nobody_else_in_a_layer_inside() {
    let rules = memory(RULES);
    let layer = || FlagLayer::new(rules.clone()).overrides(Overrides::new(key())).clock(|| at(NOW));
    let router = app().layer(layer()).layer(from_fn(login_as_bob)).layer(layer().trust_headers());
    let shop = serve(router).await;
    let bound = signed(&token().for_user("alice"));
    for user in ["alice", "bob"] {
        let reply = ask(shop, "/", &[("X-User-ID", user), ("X-Flag-Override", &bound)]).await;
        assert_eq!(answer(&reply, "new_checkout"), false, "bob is logged in, whatever the header said: {user}");
    }
    let unbound = signed(&token());
    let reply = ask(shop, "/", &[("X-User-ID", "alice"), ("X-Flag-Override", &unbound)]).await;
    assert_eq!(answer(&reply, "new_checkout"), true, "whoever has the link");
}

#[tokio::test]
async fn a_kill_of_a_layer_around_stays_beside_a_token_for_another_flag() {
    let around = FlagLayer::new(memory(r#"{"x": false}"#));
    let source = memory(r#"{"x": {"enabled": true}, "y": {"percentage": 0, "overridable": true}}"#);
    let with_tokens = FlagLayer::new(source.clone()).overrides(Overrides::new(key())).clock(|| at(NOW));
    let read = |flags: Flags| async move {
        assert_eq!(flags.is_enabled("x"), flags.evaluation("x").enabled);
        serde_json::to_string(&flags).unwrap()
    };
    let around = around.clock(|| at(NOW));
    let router = Router::new().route("/", get(read)).layer(with_tokens).layer(FlagLayer::new(source)).layer(around);
    let shop = serve(router).await;
    let token = signed(&OverrideToken::until(at(LATER)).on("y").on("x"));
    let reply = ask(shop, "/", &[("X-Flag-Override", &token)]).await;
    assert_eq!((answer(&reply, "x"), answer(&reply, "y")), (false.into(), true.into()));
}

/// Memory that counts how often it is asked.
struct Counting {
    memory: Memory,
    calls: AtomicUsize,
}

impl Source for Counting {
    fn answer(&self, query: &Query<'_>) -> Answers {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.memory.answer(query)
    }

    fn status(&self) -> Status {
        self.memory.status()
    }

    fn id(&self) -> Option<SourceId> {
        self.memory.id()
    }
}

#[tokio::test]
async fn a_source_is_asked_once_for_a_request_however_many_layers_and_tokens_it_passes() {
    let source = Arc::new(Counting { memory: memory(RULES), calls: AtomicUsize::new(0) });
    let plain = || FlagLayer::new(Arc::clone(&source)).clock(|| at(NOW));
    let with_tokens = || plain().overrides(Overrides::new(key()));
    let outer_only = app().layer(plain()).layer(with_tokens());
    let both = app().layer(with_tokens()).layer(with_tokens());
    // The inner layer decides again by the rules that the request has pinned.
    let inner_only = app().layer(with_tokens()).layer(plain());
    let token = signed(&token());
    for (name, app) in
        [("one", app().layer(with_tokens())), ("outer", outer_only), ("both", both), ("inner", inner_only)]
    {
        let shop = serve(app).await;
        for (headers, is_on) in [(&[][..], false), (&[("X-Flag-Override", &*token)][..], true)] {
            let before = source.calls.load(Ordering::SeqCst);
            let reply = ask(shop, "/", headers).await;
            assert_eq!(
                (answer(&reply, "new_checkout"), answer(&reply, "dark_mode")),
                (is_on.into(), true.into()),
                "{name}"
            );
            assert_eq!(source.calls.load(Ordering::SeqCst) - before, 1, "{name} {headers:?}");
        }
    }
}

/// What a foreign engine has decided, one flag of it switched off.
struct Foreign;

impl Source for Foreign {
    fn answer(&self, query: &Query<'_>) -> Answers {
        let flags = Flags::builder().off("new_checkout").overridable("new_checkout").off("fixed");
        let flags = flags.off("killed").overridable("killed").reason("killed", Reason::Disabled);
        flags.answer(query)
    }

    fn status(&self) -> Status {
        Status::fresh()
    }
}

#[tokio::test]
async fn over_a_foreign_engine_all_reads_agree_and_what_it_has_switched_off_stays_off() {
    let read = |flags: Flags| async move {
        for name in ["new_checkout", "fixed", "killed"] {
            assert_eq!(flags.is_enabled(name), flags.evaluation(name).enabled, "{name}");
        }
        serde_json::to_string(&flags).unwrap()
    };
    let layer = FlagLayer::new(Foreign).overrides(Overrides::new(key())).clock(|| at(NOW));
    let shop = serve(Router::new().route("/", get(read)).layer(layer)).await;
    let token = signed(&token().on("fixed").on("killed"));
    let reply = ask(shop, "/", &[("X-Flag-Override", &token)]).await;
    assert_eq!(reply.text(), r#"{"fixed":false,"killed":false,"new_checkout":true}"#);
    assert_eq!(reply.header("x-flag-overrides"), Some("new_checkout=on"));
}

#[tokio::test]
async fn a_bad_cookie_before_a_good_one_hides_nothing_and_two_headers_are_none() {
    let layer = layer();
    let shop = served(layer.clone()).await;
    let good = signed(&token());
    let cookies = format!("flag_override=stale.x; flag_override={good}");
    assert_eq!(answer(&ask(shop, "/", &[("Cookie", &cookies)]).await, "new_checkout"), true);
    assert_eq!(layer.counts().refused_overrides, 1);
    let many = format!("{}flag_override={good}", "flag_override=stale.x; ".repeat(4));
    assert_eq!(answer(&ask(shop, "/", &[("Cookie", &many)]).await, "new_checkout"), false, "four are looked at");
    let twice = [("X-Flag-Override", &*good), ("X-Flag-Override", &*good)];
    assert_eq!(answer(&ask(shop, "/", &twice).await, "new_checkout"), false, "which is meant nobody can say");
}

#[tokio::test]
async fn a_refresh_after_the_tokens_end_no_longer_forces() {
    let now = Arc::new(AtomicI64::new(at(NOW).unix_millis()));
    let clock = Arc::clone(&now);
    let later = Arc::clone(&now);
    let refreshed = move |flags: Flags| {
        let now = Arc::clone(&later);
        async move {
            let before = flags.refresh().await.is_enabled("new_checkout");
            now.store(at(LATER).unix_millis(), Ordering::Relaxed);
            format!("{before} {}", flags.refresh().await.is_enabled("new_checkout"))
        }
    };
    let layer = layer().clock(move || Timestamp::from_unix_millis(clock.load(Ordering::Relaxed)));
    let shop = serve(Router::new().route("/", get(refreshed)).layer(layer)).await;
    assert_eq!(ask(shop, "/", &[("X-Flag-Override", &signed(&token()))]).await.text(), "true false");
}

#[tokio::test]
async fn what_others_say_of_overrides_is_taken_away_without_a_token_too() {
    let boast = || async { [(HeaderName::from_static("x-flag-overrides"), "secret=on")] };
    for layer in [layer(), FlagLayer::new(memory(RULES))] {
        let shop = serve(Router::new().route("/", get(boast)).layer(layer)).await;
        assert_eq!(ask(shop, "/", &[]).await.header("x-flag-overrides"), None);
    }
}

#[tokio::test]
async fn the_headers_of_the_longest_token_pass_the_usual_proxies() {
    let names: Vec<String> = (0..100).map(|number| format!("f{number:02}")).collect();
    let rules: Vec<String> =
        names.iter().map(|name| format!(r#""{name}": {{"percentage": 0, "overridable": true}}"#)).collect();
    let layer = FlagLayer::new(memory(&format!("{{{}}}", rules.join(",")))).overrides(Overrides::new(key()));
    let shop = served(layer).await;
    let all = |count: usize| names[..count].iter().fold(OverrideToken::until(at(LATER)), |token, name| token.on(name));
    let count = (1..100).take_while(|count| all(*count).sign(&key()).is_ok()).last().unwrap();
    let token = signed(&all(count));
    assert!(token.len() > 1000, "{}", token.len());
    let reply = ask(shop, &format!("/?flag_override={token}"), &[]).await;
    let size: usize = reply.headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
    assert!(size < 3900, "{size} bytes: nginx takes about as many for all headers");
}

#[tokio::test]
async fn each_reason_of_a_refusal_is_logged_once() {
    let log = Log::open();
    let shop = served(layer()).await;
    let expired = signed(&OverrideToken::until(at(NOW)).on("new_checkout"));
    let bound = signed(&token().for_user("alice"));
    for _ in 0..2 {
        for token in ["x.y", &expired, &bound] {
            ask(shop, "/", &[("X-Flag-Override", token)]).await;
        }
    }
    let lines = log.lines("a flag override was refused");
    assert_eq!(lines.len(), 3, "{lines:#?}");
    for reason in ["no accepted key has signed it as it is", "it has expired", "it is for another user"] {
        assert!(lines.iter().any(|line| line.contains(reason)), "{lines:#?}");
    }
}

#[tokio::test]
async fn a_token_that_forces_nothing_says_so_in_the_log() {
    let log = Log::open();
    let shop = served(layer()).await;
    ask(shop, "/", &[("X-Flag-Override", &signed(&OverrideToken::until(at(LATER)).on("fixed")))]).await;
    assert_eq!(log.lines("a valid override token forces nothing").len(), 1, "{log:?}");
}
