//! Who asks: what headers may say, over raw sockets, and what goes before them.
#![allow(clippy::unwrap_used, reason = "a test that unwraps nothing fails, as it should")]

mod support;

use std::net::SocketAddr;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::get;
use http::HeaderName;
use tower_flags::request::RequestCounts;
use tower_flags::{Context, FlagLayer, Flags, Memory};

use support::{Client, Log, ask, get_as, memory, serve};

/// A handler's answer: the caller as the flags have it.
async fn whoami() -> String {
    let flags = Flags::current().unwrap();
    said(flags.context().user_id(), &flags.context().groups().collect::<Vec<_>>())
}

fn said(user: Option<&str>, groups: &[&str]) -> String {
    format!("{user:?} in {groups:?}")
}

fn layer() -> FlagLayer {
    FlagLayer::new(Memory::new())
}

async fn serve_whoami(layer: &FlagLayer) -> SocketAddr {
    serve(Router::new().route("/", get(whoami)).layer(layer.clone())).await
}

/// What was counted by one request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Counted {
    Nothing,
    UserId,
    Groups,
}

use Counted::{Groups, Nothing, UserId};

fn difference(before: RequestCounts, after: RequestCounts) -> Counted {
    match (after.refused_user_ids - before.refused_user_ids, after.refused_groups - before.refused_groups) {
        (0, 0) => Nothing,
        (1, 0) => UserId,
        (0, 1) => Groups,
        more => panic!("{more:?} in one request"),
    }
}

type Lines<'a> = Vec<(&'a str, &'a [u8])>;

/// Sends each case's header lines and compares the caller and what was counted.
async fn assert_callers(cases: Vec<(Lines<'_>, String, Counted)>) {
    let layer = layer();
    let mut client = Client::open(serve_whoami(&layer).await).await;
    for (lines, expected, counted) in cases {
        let title: String =
            format!("{:?}", String::from_utf8_lossy(&lines.concat_values())).chars().take(200).collect();
        let before = layer.counts();
        client.ask("GET", "/", &lines).await;
        let reply = client.reply().await;
        assert_eq!((reply.status, reply.text()), (200, expected.as_str()), "{title}");
        assert_eq!(difference(before, layer.counts()), counted, "{title}");
    }
}

trait ConcatValues {
    fn concat_values(&self) -> Vec<u8>;
}

impl ConcatValues for Lines<'_> {
    fn concat_values(&self) -> Vec<u8> {
        self.iter().flat_map(|(name, value)| [name.as_bytes(), b": ", *value, b"; "].concat()).collect()
    }
}

const ID: &str = "X-User-ID";
const IN: &str = "X-User-Groups";

/// About the longest value that the server takes: a little more, and it answers 431 itself.
const HUGE: usize = 400 * 1024;

#[tokio::test]
async fn a_user_id_is_taken_as_it_is_or_not_at_all() {
    let (longest, too_long) = ("a".repeat(256), "a".repeat(257));
    // 128 letters of two bytes each.
    let longest_in_bytes = "é".repeat(128);
    let too_long_in_bytes = format!("{longest_in_bytes}a");
    let huge = vec![b'a'; HUGE];
    let as_they_are = [
        "alice",
        "Alice",
        "alice,bob",
        "alice bob",
        "a\tb",
        "admin",
        "__proto__",
        "-",
        "0",
        "naïve",
        "nai\u{308}ve",
        "名前",
        "\u{202e}ecila",
        "a\u{200b}",
        "%00",
        "'; drop table users; --",
        &longest,
        &longest_in_bytes,
    ];
    let mut cases = Vec::new();
    for user in as_they_are {
        cases.push((vec![(ID, user.as_bytes())], said(Some(user), &[]), Nothing));
        cases.push((vec![(IN, b"a".as_slice()), (ID, user.as_bytes())], said(Some(user), &["a"]), Nothing));
    }
    let refused: [&[u8]; 10] = [
        b"",
        b" ",
        b"\t",
        b"  \t  ",
        too_long.as_bytes(),
        too_long_in_bytes.as_bytes(),
        &huge,
        b"\xff",
        b"al\xffice",
        b"\xc3",
    ];
    for user in refused {
        cases.push((vec![(ID, user)], said(None, &[]), UserId));
        cases.push((vec![(ID, user), (IN, b"staff")], said(None, &[]), UserId));
    }
    // What stands around a value is not part of it.
    cases.push((vec![(ID, b" \t alice \t ")], said(Some("alice"), &[]), Nothing));
    cases.push((vec![("x-uSER-iD", b"alice")], said(Some("alice"), &[]), Nothing));
    cases.push((vec![("X_User_ID", b"alice")], said(None, &[]), Nothing));
    cases.push((vec![], said(None, &[]), Nothing));
    assert_callers(cases).await;
}

#[tokio::test]
async fn two_user_ids_are_none() {
    let mut cases = Vec::new();
    for (first, second) in [("alice", "admin"), ("alice", "alice"), ("", "alice"), ("alice", "")] {
        let lines = vec![(ID, first.as_bytes()), (ID, second.as_bytes())];
        cases.push((lines.clone(), said(None, &[]), UserId));
        let apart = vec![(ID, first.as_bytes()), (IN, b"staff".as_slice()), ("x-user-id", second.as_bytes())];
        cases.push((apart, said(None, &[]), UserId));
    }
    cases.push((vec![(ID, b"alice"); 90], said(None, &[]), UserId));
    assert_callers(cases).await;
}

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("g{number}")).collect()
}

#[tokio::test]
async fn groups_are_taken_as_they_are_or_not_at_all() {
    let hundred = numbered(100);
    let hundred: Vec<&str> = hundred.iter().map(String::as_str).collect();
    let hundred_line = hundred.join(" , ");
    let too_many = numbered(101).join(",");
    let same_too_often = ["a"; 101].join(",");
    let long = "a".repeat(128);
    let too_long = "a".repeat(129);
    let long_of_many = format!("a,{too_long},b");
    // 63 groups of 127 bytes and one of 128, with the commas: 8 192 bytes, and one more.
    let full = "b".repeat(127);
    let mut at_limit = vec![full.as_str(); 63];
    at_limit.push(&long);
    let at_limit_line = at_limit.join(",");
    assert_eq!(at_limit_line.len(), 8192);
    let over_limit_line = format!("{at_limit_line},");
    let spread = format!("a{}b", " ,".repeat(2000));
    let huge = vec![b'a'; HUGE];
    let many_huge = b"a,".repeat(HUGE / 2);

    let taken: [(&[u8], &[&str]); 17] = [
        (b"staff", &["staff"]),
        (b"a,b", &["a", "b"]),
        (b" a ,\tb\t, c d ", &["a", "b", "c d"]),
        (b"", &[]),
        (b"   ", &[]),
        (b",", &[]),
        (b",,,", &[]),
        (b" , ,a, ,", &["a"]),
        (b"a,a,a", &["a", "a", "a"]),
        (b"Staff,staff", &["Staff", "staff"]),
        ("größe,名前".as_bytes(), &["größe", "名前"]),
        (b"a;b", &["a;b"]),
        (b"\"a,b\"", &["\"a", "b\""]),
        (hundred_line.as_bytes(), &hundred),
        (long.as_bytes(), &[&long]),
        (at_limit_line.as_bytes(), &at_limit),
        (spread.as_bytes(), &["a", "b"]),
    ];
    let mut cases = Vec::new();
    for (line, groups) in taken {
        cases.push((vec![(ID, b"alice".as_slice()), (IN, line)], said(Some("alice"), groups), Nothing));
        cases.push((vec![(IN, line)], said(None, groups), Nothing));
    }
    let refused: [&[u8]; 10] = [
        too_many.as_bytes(),
        same_too_often.as_bytes(),
        too_long.as_bytes(),
        long_of_many.as_bytes(),
        over_limit_line.as_bytes(),
        b"\xff",
        b"staff,\xff",
        b"staff,\xc3",
        &huge,
        &many_huge,
    ];
    for line in refused {
        cases.push((vec![(ID, b"alice".as_slice()), (IN, line)], said(Some("alice"), &[]), Groups));
        cases.push((vec![(IN, line)], said(None, &[]), Groups));
    }
    for (first, second) in [("a", "b"), ("a", "a"), ("", "a")] {
        let lines = vec![(IN, first.as_bytes()), (ID, b"alice".as_slice()), (IN, second.as_bytes())];
        cases.push((lines, said(Some("alice"), &[]), Groups));
    }
    cases.push((vec![(IN, b"a"); 90], said(None, &[]), Groups));
    assert_callers(cases).await;
}

#[tokio::test]
async fn what_the_server_itself_refuses_does_not_reach_the_layer() {
    let layer = layer();
    let address = serve_whoami(&layer).await;
    let megabyte = vec![b'a'; 1 << 20];
    let refused: [(&[u8], u16); 4] = [(b"a\0b", 400), (b"a\x7fb", 400), (b"a\rb", 400), (&megabyte, 431)];
    for (value, status) in refused {
        let mut client = Client::open(address).await;
        client.ask("GET", "/", &[(ID, value)]).await;
        assert_eq!(client.head().await.status, status);
    }
    assert_eq!(layer.counts(), RequestCounts::default());
    assert_eq!(get_as(address, "/", "alice").await.text(), said(Some("alice"), &[]));
}

#[tokio::test]
async fn a_refused_caller_is_in_no_allow_list_and_no_rollout() {
    let rules = r#"{"user": {"allowed_users": ["alice", "", " "]}, "group": {"allowed_groups": ["staff", ""]},
                    "most": {"percentage": 99.999}, "all": true}"#;
    let address = serve(Router::new().route("/", get(|| async {})).layer(FlagLayer::new(memory(rules)))).await;
    let fine = ask(address, "/", &[(ID, "alice"), (IN, "staff")]).await;
    assert_eq!(fine.active(), Some("all,group,most,user"));
    for lines in [
        vec![(ID, "alice"), (ID, "alice"), (IN, "staff")],
        vec![(ID, ""), (IN, "staff")],
        vec![(ID, " "), (IN, "staff")],
        vec![(IN, "staff"), (IN, "staff")],
        vec![(IN, ",,")],
        vec![],
    ] {
        assert_eq!(ask(address, "/", &lines).await.active(), Some("all"), "{lines:?}");
    }
    let groups_refused = ask(address, "/", &[(ID, "alice"), (IN, "staff"), (IN, "staff")]).await;
    assert_eq!(groups_refused.active(), Some("all,most,user"));
}

async fn insert(mut request: Request, next: Next) -> Response {
    let context = match request.uri().path() {
        "/carol" => Context::user("carol").in_groups(["staff"]),
        _ => Context::anonymous(),
    };
    request.extensions_mut().insert(context);
    next.run(request).await
}

#[tokio::test]
async fn a_context_in_the_extensions_ends_the_search_even_an_anonymous_one() {
    for layer in [
        layer(),
        layer().trust_headers(),
        layer().identify(|_| Some(Context::user("from the closure"))),
        layer().identify(|_| None).trust_headers(),
    ] {
        let router = Router::new().fallback(whoami).layer(layer.clone()).layer(from_fn(insert));
        let address = serve(router).await;
        for headers in [vec![(ID, "alice"), (IN, "admins")], vec![(ID, ""), (ID, "")], vec![]] {
            assert_eq!(ask(address, "/carol", &headers).await.text(), said(Some("carol"), &["staff"]));
            assert_eq!(ask(address, "/nobody", &headers).await.text(), said(None, &[]));
        }
        assert_eq!(layer.counts(), RequestCounts::default(), "headers that nobody reads are not judged");
    }
}

/// Callers with a key are known, with what the key says of them.
fn by_key(request: &http::request::Parts) -> Option<Context> {
    let key = request.headers.get("x-key")?.to_str().ok()?;
    Some(Context::user(key).with_attribute("plan", "pro").with_attribute("path", request.uri.path()))
}

#[tokio::test]
async fn a_closure_names_callers_with_attributes_and_turns_headers_off() {
    let rules = r#"{"pro": {"rules": [{"when": [{"attribute": "plan", "op": "equals", "values": ["pro"]},
                                                {"attribute": "path", "op": "equals", "values": ["/"]}], "serve": true}]}}"#;
    let layer = FlagLayer::new(memory(rules)).identify(by_key);
    let address = serve_whoami(&layer).await;
    let known = ask(address, "/", &[("x-key", "k1"), (ID, "alice"), (IN, "staff")]).await;
    assert_eq!((known.text(), known.active()), (said(Some("k1"), &[]).as_str(), Some("pro")));
    for headers in [vec![(ID, "alice"), (IN, "staff")], vec![(ID, "")], vec![]] {
        let unknown = ask(address, "/", &headers).await;
        assert_eq!((unknown.text(), unknown.active()), (said(None, &[]).as_str(), None));
    }
    assert_eq!(layer.counts(), RequestCounts::default());
}

#[tokio::test]
async fn a_closure_beside_trusted_headers_goes_before_them() {
    for layer in [layer().identify(by_key).trust_headers(), layer().trust_headers().identify(by_key)] {
        let address = serve_whoami(&layer).await;
        let both = ask(address, "/", &[("x-key", "k1"), (ID, "alice"), (IN, "staff")]).await;
        assert_eq!(both.text(), said(Some("k1"), &[]));
        let headers_alone = ask(address, "/", &[(ID, "alice"), (IN, "staff")]).await;
        assert_eq!(headers_alone.text(), said(Some("alice"), &["staff"]));
        assert_eq!(ask(address, "/", &[]).await.text(), said(None, &[]));
        assert_eq!(ask(address, "/", &[(ID, "")]).await.text(), said(None, &[]));
        assert_eq!(layer.counts().refused_user_ids, 1);
    }
}

#[tokio::test]
async fn ignored_headers_name_nobody() {
    let layer = layer().ignore_headers();
    let address = serve_whoami(&layer).await;
    for headers in [vec![(ID, "alice"), (IN, "staff")], vec![(ID, "")], vec![(IN, "a"), (IN, "b")]] {
        assert_eq!(ask(address, "/", &headers).await.text(), said(None, &[]));
    }
    assert_eq!(layer.counts(), RequestCounts::default());
}

#[tokio::test]
async fn renamed_headers_are_read_in_place_of_the_usual_ones() {
    let layer = layer()
        .user_header(HeaderName::from_static("x-auth-request-user"))
        .groups_header(HeaderName::from_static("x-auth-request-groups"));
    let address = serve_whoami(&layer).await;
    let usual = ask(address, "/", &[(ID, "alice"), (IN, "staff")]).await;
    assert_eq!(usual.text(), said(None, &[]));
    let renamed = ask(
        address,
        "/",
        &[("X-Auth-Request-User", "carol"), ("X-Auth-Request-Groups", "a,b"), (ID, "alice"), (IN, "staff")],
    )
    .await;
    assert_eq!(renamed.text(), said(Some("carol"), &["a", "b"]));
    let twice = ask(address, "/", &[("X-Auth-Request-User", "carol"), ("X-Auth-Request-User", "dave")]).await;
    assert_eq!(twice.text(), said(None, &[]));
    assert_eq!(layer.counts().refused_user_ids, 1);
}

#[tokio::test]
async fn the_first_caller_named_by_a_header_that_nobody_vouched_for_is_one_warning() {
    const WARNING: &str = "anybody can send them";
    let log = Log::open();
    let address = serve_whoami(&layer()).await;
    ask(address, "/", &[]).await;
    ask(address, "/", &[(ID, "")]).await;
    assert_eq!(log.lines(WARNING).len(), 0, "nobody is named: {log:?}");
    for user in ["alice", "bob", "carol"] {
        get_as(address, "/", user).await;
        assert_eq!(log.lines(WARNING).len(), 1, "{log:?}");
    }
    let line = &log.lines(WARNING)[0];
    assert!(line.contains("WARN") && line.contains("x-user-id") && line.contains("trust_headers()"), "{line}");
    assert!(!line.contains("alice"), "{line}");

    // Another layer is another place that may be wrong.
    ask(serve_whoami(&layer()).await, "/", &[(IN, "staff")]).await;
    assert_eq!(log.lines(WARNING).len(), 2, "{log:?}");
}

#[tokio::test]
async fn callers_named_otherwise_are_no_warning() {
    let log = Log::open();
    for layer in [
        layer().trust_headers(),
        layer().ignore_headers(),
        layer().identify(by_key),
        layer().identify(by_key).trust_headers(),
    ] {
        let address = serve_whoami(&layer).await;
        ask(address, "/", &[("x-key", "k1")]).await;
        get_as(address, "/", "alice").await;
    }
    let router = Router::new().fallback(whoami).layer(layer()).layer(from_fn(insert));
    get_as(serve(router).await, "/carol", "alice").await;
    assert_eq!(log.lines(""), [""; 0]);
}

#[tokio::test]
async fn refused_headers_are_counted_each_and_logged_once_without_their_values() {
    let log = Log::open();
    let layer = layer().trust_headers();
    let address = serve_whoami(&layer).await;
    for _ in 0..3 {
        ask(address, "/", &[(ID, "secret-1"), (ID, "secret-2")]).await;
        ask(address, "/", &[(IN, "secret-3"), (IN, "secret-4")]).await;
    }
    let counts = layer.counts();
    assert_eq!((counts.refused_user_ids, counts.refused_groups), (3, 3));
    for part in ["a user id was refused", "groups were refused"] {
        assert_eq!(log.lines(part).len(), 1, "{log:?}");
    }
    assert_eq!(log.lines("").len(), 2, "{log:?}");
    assert_eq!(log.lines("secret").len(), 0, "{log:?}");
}

#[tokio::test]
async fn a_layer_inside_another_has_its_caller_unless_told_otherwise() {
    let outer = || layer().identify(by_key);
    let inner_layers = [
        (layer(), said(Some("k1"), &[])),
        (layer().ignore_headers(), said(Some("k1"), &[])),
        (layer().identify(|_| None), said(Some("k1"), &[])),
        (layer().identify(|_| Some(Context::anonymous())), said(None, &[])),
        (layer().identify(|_| Some(Context::user("carol"))), said(Some("carol"), &[])),
        (layer().trust_headers(), said(Some("alice"), &["staff"])),
    ];
    for (inner, expected) in inner_layers {
        let address = serve(Router::new().route("/", get(whoami)).layer(inner.clone()).layer(outer())).await;
        let reply = ask(address, "/", &[("x-key", "k1"), (ID, "alice"), (IN, "staff")]).await;
        assert_eq!(reply.text(), expected);
        assert_eq!(inner.counts(), RequestCounts::default());
    }
}

#[tokio::test]
async fn a_refused_header_is_counted_by_the_layer_that_reads_it() {
    let (inner, outer) = (layer(), layer());
    let address = serve(Router::new().route("/", get(whoami)).layer(inner.clone()).layer(outer.clone())).await;
    assert_eq!(ask(address, "/", &[(ID, "alice"), (ID, "bob")]).await.text(), said(None, &[]));
    assert_eq!((inner.counts().refused_user_ids, outer.counts().refused_user_ids), (0, 1));
}
