//! `X-Active-Flags`: what it names, how long it gets, and on which responses it stands.
#![allow(clippy::unwrap_used, reason = "a test that unwraps nothing fails, as it should")]

mod support;

use std::convert::Infallible;

use axum::Router;
use axum::extract::{Extension, Request};
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::get;
use tower::{Layer, ServiceExt, service_fn};
use tower_flags::engine::{Answers, Query};
use tower_flags::source::{Source, Status};
use tower_flags::{Document, Flag, FlagLayer, Flags, HeaderPolicy, Memory, flag, variant};

use support::{Reply, ask, document, flag_of, get_as, memory, serve};

const ACTIVE: &str = "x-active-flags";
const OMITTED: &str = "x-active-flags-omitted";

async fn reply_of(layer: FlagLayer) -> Reply {
    get_as(serve(Router::new().route("/", get(|| async { "body" })).layer(layer)).await, "/", "alice").await
}

/// The longest prefix of the list that fits, and how many are left: the rule, word for word.
fn prefix(names: &[String], limit: usize) -> (Option<String>, usize) {
    let longest = (1..=names.len()).take_while(|&count| names[..count].join(",").len() <= limit).last().unwrap_or(0);
    ((longest > 0).then(|| names[..longest].join(",")), names.len() - longest)
}

fn assert_header(reply: &Reply, expected: &(Option<String>, usize), title: &str) {
    assert_eq!((reply.status, reply.text()), (200, "body"), "{title}");
    assert_eq!(reply.lines(ACTIVE), expected.0.iter().collect::<Vec<_>>(), "{title}");
    let omitted = (expected.1 > 0).then(|| expected.1.to_string());
    assert_eq!(reply.lines(OMITTED), omitted.iter().collect::<Vec<_>>(), "{title}");
}

#[tokio::test]
async fn ten_to_ten_thousand_flags_are_one_sorted_line_that_fits() {
    for count in [10, 100, 1_000, 10_000] {
        let mut document = Document::new();
        let mut active = Vec::new();
        // Not in order, of different lengths, and one in ten off.
        for number in (0..count).rev() {
            let name = format!("{}{number}", ["flag_", "f", "another-flag.", "F"][number % 4]);
            document.insert(&name, number % 10 != 7).unwrap();
            if number % 10 != 7 {
                active.push(name);
            }
        }
        active.sort();
        let layer = FlagLayer::new(Memory::from(document));
        let reply = reply_of(layer.clone()).await;
        let expected = prefix(&active, 1024);
        assert_header(&reply, &expected, &format!("{count} flags"));
        let length = reply.active().unwrap().len();
        assert!(length <= 1024 && (count <= 100 || length > 1024 - 20), "{count} flags: {length} bytes");
        assert_eq!(expected.1 > 0, count > 100);
        assert_eq!(layer.counts().omitted_from_header, expected.1 as u64);
    }
}

#[tokio::test]
async fn names_of_the_greatest_length_are_cut_between_flags_and_never_within_one() {
    let names: Vec<String> = ('a'..='z').map(|letter| letter.to_string().repeat(128)).collect();
    let mut document = Document::new();
    for name in &names {
        document.insert(name, true).unwrap();
    }
    // Seven names and their commas are 902 bytes; an eighth would be 1 031.
    let reply = reply_of(FlagLayer::new(Memory::from(document))).await;
    assert_header(&reply, &(Some(names[..7].join(",")), 19), "long names");
}

#[tokio::test]
async fn the_limit_is_exact_and_can_be_any() {
    let source = memory(r#"{"aa": true, "b": true, "cc": true, "dddd": {"enabled": true, "variants": {"vv": 100}}}"#);
    let names = ["aa", "b", "cc", "dddd=vv"].map(str::to_owned);
    for limit in (0..20).chain([1024, 1_000_000, usize::MAX]) {
        let layer = FlagLayer::new(source.clone()).header_limit(limit);
        let expected = prefix(&names, limit);
        assert_header(&reply_of(layer.clone()).await, &expected, &format!("limit {limit}"));
        assert_eq!(layer.counts().omitted_from_header, expected.1 as u64);
    }
}

#[tokio::test]
async fn every_limit_cuts_a_mixed_list_where_the_rule_says() {
    let (mut document, mut active) = (Document::new(), Vec::new());
    for number in 0..200 {
        let name = format!("{}_{number:03}", ["a", "bb", "a-longer-name", "c"][number * 7 % 4]);
        let definition = match number * number % 11 {
            0 => "false".to_owned(),
            1 => r#"{"enabled": true, "hidden": true}"#.to_owned(),
            3 => format!(r#"{{"enabled": true, "variants": {{"v{number}": 100}}}}"#),
            _ => "true".to_owned(),
        };
        document.insert(&name, definition.parse::<Flag>().unwrap()).unwrap();
        match number * number % 11 {
            0 | 1 => {}
            3 => active.push(format!("{name}=v{number}")),
            _ => active.push(name),
        }
    }
    active.sort_by(|a, b| a.split('=').next().cmp(&b.split('=').next()));
    let whole = active.join(",").len();
    for limit in (0..whole + 2).step_by(3).chain([whole - 1, whole]) {
        let layer = FlagLayer::new(Memory::from(document.clone())).header_limit(limit);
        let response = layer.layer(service_fn(async |_| Ok::<_, Infallible>(Response::new(String::new()))));
        let request = Request::get("/").header("x-user-id", "alice").body(()).unwrap();
        let response = response.oneshot(request).await.unwrap();
        let (line, omitted) = prefix(&active, limit);
        let found = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(found(ACTIVE), line, "limit {limit}");
        assert_eq!(found(OMITTED), (omitted > 0).then(|| omitted.to_string()), "limit {limit}");
    }
}

#[tokio::test]
async fn a_limit_above_them_all_names_ten_thousand_flags() {
    let names: Vec<String> = (0..10_000).map(|number| format!("flag_{number:05}")).collect();
    let mut document = Document::new();
    for name in &names {
        document.insert(name, true).unwrap();
    }
    let reply = reply_of(FlagLayer::new(Memory::from(document)).header_limit(usize::MAX)).await;
    assert_header(&reply, &(Some(names.join(",")), 0), "all");
}

#[tokio::test]
async fn what_comes_after_one_that_does_not_fit_is_left_out_even_if_it_would_fit() {
    let source = memory(r#"{"a": true, "bbbbbbbb": true, "c": true}"#);
    let reply = reply_of(FlagLayer::new(source).header_limit(4)).await;
    assert_header(&reply, &(Some("a".to_owned()), 2), "a prefix");
}

#[tokio::test]
async fn words_of_hidden_flags_are_not_named() {
    // One flag fewer than fill a word of results, as many, and one more.
    for count in [63, 64, 65, 127, 128] {
        for visible in [None, Some(0), Some(62), Some(count - 1)] {
            let name = |number: usize| format!("f{number:03}");
            let definition = |number| match Some(number) == visible {
                true => r#"{"percentage": 100}"#,
                false => r#"{"enabled": true, "hidden": true}"#,
            };
            let flags: Vec<String> = (0..count).map(|at| format!("\"{}\": {}", name(at), definition(at))).collect();
            for (policy, is_all) in [(HeaderPolicy::All, true), (HeaderPolicy::Read, false)] {
                let layer = FlagLayer::new(memory(&format!("{{{}}}", flags.join(",")))).header_policy(policy);
                // Answers that nobody has read are not decided before the header asks.
                let read: Vec<String> = (0..count).filter(|at| !is_all && at % 3 == 0).map(name).collect();
                let handler = move || async move {
                    assert!(read.iter().all(flag));
                    "body"
                };
                let router = Router::new().route("/", get(handler)).layer(layer);
                let reply = get_as(serve(router).await, "/", "alice").await;
                let named = visible.filter(|at| is_all || at % 3 == 0).map(name);
                assert_header(&reply, &(named, 0), &format!("{count} flags, {visible:?} visible, all: {is_all}"));
            }
        }
    }
}

#[tokio::test]
async fn flags_that_are_off_or_hidden_are_not_named() {
    let source = memory(
        r#"{"on": true, "off": false, "partly": {"percentage": 0}, "theirs": {"allowed_users": ["bob"]},
            "secret": {"enabled": true, "hidden": true}, "Zebra": true,
            "secret_variant": {"enabled": true, "hidden": true, "variants": {"a": 100}}}"#,
    );
    let reply = reply_of(FlagLayer::new(source).header_limit(9)).await;
    assert_header(&reply, &(Some("Zebra,on".to_owned()), 0), "hidden ones are not counted either");
}

#[tokio::test]
async fn a_flag_with_variants_is_named_with_the_one_served() {
    let source = memory(
        r#"{"page": {"enabled": true, "variants": {"control": 0, "higher": {"weight": 100, "value": 1.2}}},
            "off": {"enabled": false, "variants": {"a": 100}},
            "split": {"enabled": true, "variants": {"a": 50, "b": 50}}}"#,
    );
    let router = Router::new().route("/", get(|| async { variant("split").unwrap_or_default() }));
    let address = serve(router.layer(FlagLayer::new(source))).await;
    for user in ["alice", "bob", "carol", "dave"] {
        let reply = get_as(address, "/", user).await;
        assert_eq!(reply.active(), Some(format!("page=higher,split={}", reply.text()).as_str()));
    }
    let anonymous = ask(address, "/", &[]).await;
    assert_eq!(anonymous.active(), Some("page,split"), "on, and nothing to choose a variant by");
}

#[tokio::test]
async fn without_active_flags_there_is_no_header() {
    for source in
        [Memory::new(), memory(r#"{"off": false}"#), memory(r#"{"secret": {"enabled": true, "hidden": true}}"#)]
    {
        assert_header(&reply_of(FlagLayer::new(source)).await, &(None, 0), "none active");
    }
}

/// Answers with the headers that the request brought under other names.
async fn echo(headers: HeaderMap) -> (HeaderMap, &'static str) {
    let mut echoed = HeaderMap::new();
    for (from, to) in [("x-cache", "cache-control"), ("x-active", ACTIVE), ("x-omitted", OMITTED)] {
        for value in headers.get_all(from) {
            echoed.append(to, value.clone());
        }
    }
    (echoed, "body")
}

async fn echoing(layer: FlagLayer) -> std::net::SocketAddr {
    serve(Router::new().route("/", get(echo)).layer(layer)).await
}

#[tokio::test]
async fn a_header_that_the_handler_brought_is_replaced_or_removed() {
    let brought = [("x-active", "theirs"), ("x-active", "secret"), ("x-omitted", "12"), ("x-omitted", "13")];
    let public = [&brought[..], &[("x-cache", "public")]].concat();
    let on = || FlagLayer::new(memory(r#"{"mine": true}"#));
    let nothing = (None, 0);
    for (layer, headers, expected) in [
        (on(), &brought[..], &(Some("mine".to_owned()), 0)),
        (on().header_limit(0), &brought, &(None, 1)),
        (on(), &public, &nothing),
        (on().header_policy(HeaderPolicy::Never), &brought, &nothing),
        (on().header_policy(HeaderPolicy::when(|_| false)), &brought, &nothing),
        (FlagLayer::new(Memory::new()), &brought, &nothing),
    ] {
        let title = format!("{layer:?}");
        assert_header(&ask(echoing(layer).await, "/", headers).await, expected, &title);
    }
}

#[tokio::test]
async fn shared_responses_have_no_header() {
    let shared: [&[&str]; 13] = [
        &["public"],
        &["PUBLIC"],
        &["Public, max-age=60"],
        &["max-age=60, public"],
        &["max-age=60,public"],
        &["max-age=60 ,\tpublic\t, immutable"],
        &["s-maxage=60"],
        &["S-MaxAge=60"],
        &["max-age=60, s-maxage=0"],
        &["private", "public"],
        &["max-age=60", "s-maxage=60", "immutable"],
        &["no-store", "max-age=1,s-maxage=\"60\""],
        &["s-maxage = 60"],
    ];
    let own: [&[&str]; 13] = [
        &[],
        &[""],
        &["private"],
        &["no-store"],
        &["no-cache, max-age=60"],
        &["max-age=60"],
        &["publicity"],
        &["not-public"],
        &["x-s-maxage=60"],
        &["s-maxages=60"],
        &["max-age=60, stale-while-revalidate=30"],
        &["private, no-store", "must-revalidate"],
        &[",,,"],
    ];
    let source = memory(r#"{"mine": true}"#);
    let address = echoing(FlagLayer::new(source.clone())).await;
    let cut_short = echoing(FlagLayer::new(source).header_limit(0)).await;
    for (lines, is_written) in shared.map(|lines| (lines, false)).into_iter().chain(own.map(|lines| (lines, true))) {
        let headers: Vec<_> = lines.iter().map(|line| ("x-cache", *line)).collect();
        let reply = ask(address, "/", &headers).await;
        assert_header(&reply, &(is_written.then(|| "mine".to_owned()), 0), &format!("{lines:?}"));
        assert_eq!(reply.lines("cache-control"), lines, "what the handler said stays");
        let reply = ask(cut_short, "/", &headers).await;
        assert_header(&reply, &(None, usize::from(is_written)), &format!("{lines:?}"));
    }
}

#[tokio::test]
async fn a_cache_control_that_is_no_text_breaks_nothing() {
    async fn odd() -> ([(&'static str, HeaderValue); 1], &'static str) {
        ([("cache-control", HeaderValue::from_bytes(b"\xff, s-maxage=1").unwrap())], "body")
    }
    let router = Router::new().route("/", get(odd)).layer(FlagLayer::new(memory(r#"{"mine": true}"#)));
    let mut client = support::Client::open(serve(router).await).await;
    client.ask("HEAD", "/", &[]).await;
    let head = client.head().await;
    assert_eq!((head.status, head.active()), (200, None));
}

#[tokio::test]
async fn a_policy_says_on_which_responses_the_header_stands() {
    let source = memory(r#"{"mine": true}"#);
    let debug = HeaderPolicy::when(|request| request.headers.contains_key("x-debug") && request.uri.path() == "/");
    for (policy, plain, with_debug) in [
        (None, true, true),
        (Some(HeaderPolicy::All), true, true),
        (Some(HeaderPolicy::Never), false, false),
        (Some(debug), false, true),
    ] {
        let title = format!("{policy:?}");
        let layer = FlagLayer::new(source.clone());
        let layer = match policy {
            Some(policy) => layer.header_policy(policy),
            None => layer,
        };
        let address = echoing(layer).await;
        for (headers, is_written) in [(&[][..], plain), (&[("x-debug", "1")], with_debug)] {
            let reply = ask(address, "/", headers).await;
            assert_header(&reply, &(is_written.then(|| "mine".to_owned()), 0), &title);
        }
    }
}

#[tokio::test]
async fn a_policy_is_asked_before_the_handler_changes_anything_and_once() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let policy = HeaderPolicy::when(move |request| {
        count.fetch_add(1, Ordering::SeqCst);
        request.headers.contains_key("x-debug")
    });
    async fn undress(mut request: Request, next: Next) -> Response {
        request.headers_mut().clear();
        next.run(request).await
    }
    let router = Router::new()
        .route("/", get(echo))
        .layer(from_fn(undress))
        .layer(FlagLayer::new(memory(r#"{"mine": true}"#)).header_policy(policy));
    let reply = ask(serve(router).await, "/", &[("x-debug", "1")]).await;
    assert_eq!(reply.active(), Some("mine"));
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn writing_the_header_reads_no_flag() {
    /// Puts what was read until here into a header, after the layer has written its own.
    async fn tell(request: Request, next: Next) -> Response {
        let mut response = next.run(request).await;
        let flags = response.extensions().get::<Flags>().unwrap();
        assert!(format!("{flags:?}").contains("page"), "printing reads none either");
        let read = format!("{:?}", flags.read());
        response.headers_mut().insert("x-read", HeaderValue::from_str(&read).unwrap());
        response
    }
    let source = memory(r#"{"a": true, "b": true, "page": {"enabled": true, "variants": {"v": 100}}, "z": false}"#);
    let router = Router::new()
        .route("/none", get(|| async {}))
        .route("/one", get(|| async { flag("b").to_string() }))
        .route("/all", get(|Extension(flags): Extension<Flags>| async move { flags.active().count().to_string() }))
        .layer(FlagLayer::new(source).flags_in_response())
        .layer(from_fn(tell));
    let address = serve(router).await;
    for (path, read) in [("/none", "[]"), ("/one", r#"["b"]"#), ("/all", r#"["a", "b", "page", "z"]"#)] {
        let reply = get_as(address, path, "alice").await;
        assert_eq!(reply.active(), Some("a,b,page=v"));
        assert_eq!(reply.header("x-read"), Some(read), "{path}");
    }
}

#[tokio::test]
async fn an_edit_is_in_the_header_of_the_next_request() {
    let source = memory(r#"{"a": true}"#);
    let address = serve(Router::new().route("/", get(|| async {})).layer(FlagLayer::new(source.clone()))).await;
    assert_eq!(get_as(address, "/", "alice").await.active(), Some("a"));
    source.set("b", flag_of(r#"{"allowed_users": ["alice"]}"#)).unwrap();
    assert_eq!(get_as(address, "/", "alice").await.active(), Some("a,b"));
    assert_eq!(get_as(address, "/", "bob").await.active(), Some("a"));
    source.replace(document(r#"{"b": false}"#));
    assert_eq!(get_as(address, "/", "alice").await.active(), None);
}

/// A foreign engine, whose variants have names that no document could give them.
struct Foreign(&'static str);

impl Source for Foreign {
    fn answer(&self, query: &Query<'_>) -> Answers {
        let flags = Flags::builder().on("a").variant("page", self.0, 1).on("z");
        flags.answer(query)
    }

    fn status(&self) -> Status {
        Status::fresh()
    }
}

#[tokio::test]
async fn a_variant_that_no_header_can_carry_costs_the_other_flags_nothing_and_adds_none() {
    assert_eq!(reply_of(FlagLayer::new(Foreign("higher"))).await.active(), Some("a,page=higher,z"));
    for name in ["blue\r\nx-evil: 1", "blue\0", "blue,secret", "", "größer", "a b", "a=b"] {
        let reply = reply_of(FlagLayer::new(Foreign(name))).await;
        assert_eq!(reply.lines("x-evil"), [""; 0]);
        let named: Vec<_> = reply.active().unwrap_or_default().split(',').collect();
        assert_eq!(named, ["a", "page", "z"], "{name:?}");
    }
}
