//! What costs much more to work out than to send: it is refused, costs no other flag, and changes nothing.

use std::net::SocketAddr;
use std::pin::pin;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpSocket};
use tower_flags::admin::Admin;
use tower_flags::source::Live;
#[cfg(feature = "file")]
use tower_flags::store::FileStore;
#[cfg(feature = "file")]
use tower_flags::{Layered, Memory};

use super::api::{Api, EDITOR, Operator, json, problem, request, request_over, store, tokens};
use super::support::{Client, Log, Reply};

/// So many patterns, each of which compiles to 90 KB, and no two alike.
fn expensive(count: usize, salt: &str) -> Value {
    let patterns: Vec<String> = (0..count).map(|number| format!(r"{salt}{number}\w{{5}}")).collect();
    json!([{ "when": [{ "attribute": "user_id", "op": "matches", "values": patterns }], "serve": true }])
}

fn flag(count: usize, salt: &str) -> Value {
    json!({ "enabled": true, "percentage": 0, "rules": expensive(count, salt) })
}

#[tokio::test]
async fn expensive_patterns_are_refused_by_every_edit() {
    let (api, _store) = Api::with(&[("x", "true"), ("y", "true")]).await;
    let etag = api.etag("x").await;
    let (put, patch) = (flag(64, "a").to_string(), json!({ "rules": expensive(64, "a") }).to_string());
    let import = json!({ "flags": { "x": flag(64, "a"), "y": false } }).to_string();
    for (method, path, body) in [("PUT", "flags/x", &put), ("PATCH", "flags/x", &patch), ("POST", "import", &import)] {
        // An import is made for everything.
        let headers = [("if-match", etag.as_str())];
        let headers = if path == "import" { &[][..] } else { &headers[..] };
        let reply = api.ask(method, path, headers, body).await;
        assert_eq!((reply.status, problem(&reply).as_str()), (422, "refused"), "{method} {path}: {}", reply.text());
        let found = json(&reply)["detail"].as_str().unwrap().to_owned();
        assert!(found.contains("regular expressions of one flag that compile to at most 2097152 bytes"), "{found}");
    }
    let flags = api.get("flags").await;
    assert!(flags["flags"].as_array().unwrap().iter().all(|flag| flag["version"] == 1));
}

#[tokio::test]
async fn a_flag_that_fits_alone_and_not_beside_the_others_is_refused() {
    let flags: Vec<(String, String)> =
        (0..8).map(|number| (format!("f{number}"), flag(22, &format!("f{number}")).to_string())).collect();
    let flags: Vec<(&str, &str)> = flags.iter().map(|(name, flag)| (name.as_str(), flag.as_str())).collect();
    let (api, _store) = Api::with(&flags).await;
    let put = async |count: usize| {
        let body = flag(count, "new").to_string();
        api.ask("PUT", "flags/new", &[("if-none-match", "*")], &body).await
    };
    let reply = put(20).await;
    assert_eq!((reply.status, problem(&reply).as_str()), (422, "refused"), "{}", reply.text());
    assert!(
        reply.text().contains("regular expressions of all flags that compile to at most 16777216 bytes"),
        "{}",
        reply.text()
    );
    // What is there goes on.
    let kill = api.ask("POST", "flags/f7/kill", &[], "").await;
    assert_eq!((kill.status, &json(&kill)["in_force"]["enabled"]), (200, &json!(false)), "{}", kill.text());
    assert_eq!(put(1).await.status, 201);
}

#[tokio::test]
async fn attributes_of_a_question_are_bounded() {
    let (api, _store) = Api::with(&[("x", "true")]).await;
    let ask = async |bytes: usize| {
        let question = json!({ "attributes": { "a": "x".repeat(bytes), "b": 1 } });
        api.ask("POST", "explain", &[], &question.to_string()).await
    };
    // Names count, and quotes.
    assert_eq!(ask(64 * 1024 - 5).await.status, 200);
    let reply = ask(64 * 1024 - 4).await;
    assert_eq!((reply.status, problem(&reply).as_str()), (400, "malformed"));
    assert!(
        reply.text().contains("attributes: expected at most 65536 bytes together, found 65537"),
        "{}",
        reply.text()
    );
    assert_eq!(ask(200_000).await.status, 413);
}

/// How long a request takes to be answered, and for how long meanwhile nothing else runs on the only worker.
async fn longest_hold(request: impl Future<Output = Reply>) -> (Reply, Duration, Duration) {
    let mut request = pin!(request);
    let started = Instant::now();
    let (mut last, mut longest) = (started, Duration::ZERO);
    loop {
        tokio::select! {
            reply = &mut request => return (reply, started.elapsed(), longest.max(last.elapsed())),
            () = tokio::time::sleep(Duration::from_millis(1)) => {
                longest = longest.max(last.elapsed());
                last = Instant::now();
            }
        }
    }
}

/// Asks for what takes a while to work out, and checks that others are served meanwhile.
async fn holds_up_no_other(
    whom: &Operator,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
    status: u16,
) {
    let mut seen = Vec::new();
    // Another program may take the processor from the worker, but not at each attempt.
    for _ in 0..5 {
        let (reply, took, held) = longest_hold(whom.ask(method, path, headers, body)).await;
        assert_eq!(reply.status, status, "{path}: {}", reply.text());
        if held * 3 < took {
            return;
        }
        seen.push((took, held));
    }
    panic!("{method} {path}: {seen:?}");
}

/// Nested lists of about this many bytes. Each level is read by itself.
fn nested(bytes: usize) -> String {
    let one = format!("{}{}", "[".repeat(110), "]".repeat(110));
    format!("[{}]", vec![one.as_str(); bytes / 221].join(","))
}

#[tokio::test]
async fn deep_questions_hold_up_no_other_request() {
    let (api, _store) = Api::with(&[("x", "true")]).await;
    let question = format!(r#"{{"attributes": {{"a": {}}}}}"#, nested(60_000));
    holds_up_no_other(&api.as_viewer(), "POST", "explain", &[], &question, 200).await;
    let too_much = format!(r#"{{"groups": [], "attributes": {{"a": {}}}}}"#, nested(100_000));
    let reply = api.as_viewer().ask("POST", "explain", &[], &too_much).await;
    assert_eq!((reply.status, problem(&reply).as_str()), (400, "malformed"));
    assert!(reply.text().contains("expected at most 65536 bytes together"), "{}", reply.text());
}

#[tokio::test]
async fn deep_definitions_hold_up_no_other_request() {
    let (api, _store) = Api::with(&[("x", "true")]).await;
    let definition = format!(r#"{{"enabled": true, "percentage": 0, "metadata": {{"a": {}}}}}"#, nested(40_000));
    let document = format!(r#"{{"flags": {{"x": {definition}}}}}"#);
    holds_up_no_other(&api, "PUT", "flags/x", &[("if-match", "*")], &definition, 200).await;
    holds_up_no_other(&api, "PATCH", "flags/x", &[], &definition, 200).await;
    holds_up_no_other(&api, "POST", "import", &[], &document, 200).await;
}

#[cfg(feature = "file")]
#[tokio::test]
async fn thousands_of_rejected_flags_hold_up_no_other_request() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flags.json");
    let flags: Vec<String> =
        (0..9_990).map(|number| format!(r#""f{number}": {{"enabled": true, "percentge": 1}}"#)).collect();
    std::fs::write(&path, format!(r#"{{"flags": {{"on": true, {}}}}}"#, flags.join(","))).unwrap();
    let store = FileStore::new(&path).unwrap();
    let live = Live::builder(store.clone()).start_within(Duration::from_secs(30)).connect().await.unwrap();
    let layered = Layered::over(live.clone()).with(Memory::new());
    let api = Api::at("", Admin::new(store, live.clone(), tokens()).effective_in(layered).router(), live).await;
    assert_eq!(api.get("status").await["rules"]["problems"].as_array().unwrap().len(), 9_990);
    for path in ["status", "flags"] {
        holds_up_no_other(&api.as_viewer(), "GET", path, &[], "", 200).await;
    }
}

const PAGE: [(&str, &[u8]); 2] = [("sec-fetch-site", b"same-origin"), ("content-type", b"application/json")];

/// A login whose body does not end.
async fn begun(address: SocketAddr, length: &[u8]) -> Client {
    let mut client = Client::open(address).await;
    let headers = [PAGE[0], PAGE[1], ("content-length", length)];
    client.ask("POST", "/login", &headers).await;
    client.send(b"{").await;
    client
}

async fn log_in(api: &Api, token: &str) -> Reply {
    let body = json!({ "token": token }).to_string();
    request(api.address, "POST", "/login", &PAGE, body.as_bytes()).await
}

#[tokio::test]
async fn a_login_is_small_and_slow_ones_leave_room_for_everything_else() {
    let (api, _store) = Api::with(&[("x", "true")]).await;
    let reply = request(api.address, "POST", "/login", &PAGE, &[b' '; 4097]).await;
    assert_eq!((reply.status, problem(&reply).as_str()), (413, "too-large"));
    let mut slow = Vec::new();
    for _ in 0..8 {
        slow.push(begun(api.address, b"100").await);
    }
    // The ninth is told to come again, once all eight are under way; who is known, and the page, are served.
    let mut refused = None;
    for _ in 0..100 {
        let mut client = begun(api.address, b"2").await;
        client.send(b"}").await;
        let reply = client.reply().await;
        if reply.status != 400 {
            refused = Some(reply);
            break;
        }
    }
    let refused = refused.expect("eight are under way");
    assert_eq!((refused.status, problem(&refused).as_str()), (429, "too-many-logins"));
    assert_eq!(refused.header("retry-after"), Some("5"));
    assert_eq!(api.get("flags").await["flags"].as_array().unwrap().len(), 1);
    assert_eq!(request(api.address, "GET", "/", &[], b"").await.status, 200);
    for mut client in slow {
        let reply = client.reply().await;
        assert_eq!((reply.status, problem(&reply).as_str()), (408, "slow-body"));
        assert!(reply.text().contains("no whole body within 5s"), "{}", reply.text());
    }
    assert_eq!(log_in(&api, EDITOR).await.status, 200);
}

#[tokio::test]
async fn logins_that_fail_are_counted_logged_and_have_to_wait() {
    let log = Log::open();
    let store = store(&[("x", "true")]).await;
    let source = Live::connect(store.clone()).await.unwrap();
    let router = Admin::new(store, source.clone(), tokens()).router();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(axum::serve(listener, router.into_make_service_with_connect_info::<SocketAddr>()).into_future());
    let try_token = async |from: &str, token: &str| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
        let mut client = Client::over(socket.connect(address).await.unwrap());
        let body = json!({ "token": token }).to_string();
        request_over(&mut client, "POST", "/login", &PAGE, body.as_bytes()).await
    };
    // However slow this machine is, the waits get longer than it takes to try.
    let mut failed = 0;
    let refused = loop {
        let reply = try_token("127.0.0.1", "wrong").await;
        if reply.status == 429 {
            break reply;
        }
        assert_eq!((reply.status, problem(&reply).as_str()), (401, "unauthorized"));
        failed += 1;
        assert!(failed < 10, "16 s are enough");
    };
    assert!(failed >= 4, "people mistype");
    assert_eq!(problem(&refused), "too-many-logins");
    let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=16).contains(&seconds), "{seconds}");
    let waits = log.lines("logging in has to wait");
    assert!(waits[0].contains("tower_flags::security") && waits[0].contains("from=127.0.0.1"), "{waits:?}");
    // Another address does not wait.
    assert_eq!(try_token("127.0.0.2", EDITOR).await.status, 200);
    let operator = Operator::at(address, "", EDITOR);
    assert_eq!(operator.get("status").await["failed_logins"], failed);
    let failures = log.lines("a login with an unknown token");
    assert_eq!(failures.len(), failed, "{failures:?}");
    let expected = format!("from=127.0.0.1 failures={failed}");
    let last = failures.last().unwrap();
    assert!(last.contains("tower_flags::security") && last.contains(&expected), "{last}");
    assert!(!log.lines("").iter().any(|line| line.contains("wrong") || line.contains(EDITOR)));
    // In time it is heard again.
    while try_token("127.0.0.1", EDITOR).await.status == 429 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(log.lines("a login ").len(), failed + 2);
}
