//! The examples as a newcomer meets them: started as programs and asked over HTTP.
#![cfg(all(unix, feature = "axum", feature = "file", feature = "overrides"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod agreement;
#[path = "../support/examples.rs"]
mod examples;
mod operated;
mod program;
#[path = "../support/servers.rs"]
mod servers;
mod services;
#[path = "../support/mod.rs"]
mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use examples::example;
use program::{Program, RULES, command, json, output};
use serde_json::{Value, json};
use support::Client;

const ALICE: &[(&str, &str)] = &[("X-User-ID", "alice")];
const BOB: &[(&str, &str)] = &[("X-User-ID", "bob")];

#[tokio::test]
async fn two_users_get_two_checkouts_and_the_header_says_why() {
    let shop = Program::shop();
    let alice = shop.ask("POST /checkout", ALICE).await;
    assert_eq!(json(&alice), json!({ "product": "teapot", "price": 3000, "checkout": "one page" }));
    assert_eq!(alice.active(), Some("dark_mode,new_checkout,pricing_page=higher"));
    let bob = shop.ask("POST /checkout", BOB).await;
    assert_eq!(json(&bob)["checkout"], "three pages");
    assert_eq!(bob.active(), Some("dark_mode,new_search,pricing_page=control"));
    let employee = shop.ask("POST /checkout", &[("X-User-ID", "bob"), ("X-User-Groups", "employees")]).await;
    assert_eq!(json(&employee)["checkout"], "one page");

    assert_eq!(json(&shop.ask("GET /search", ALICE).await)["engine"], "old");
    let found = json(&shop.ask("GET /search", BOB).await);
    assert_eq!(found, json!({ "engine": "new", "products": ["saucer", "cup", "teapot"] }));
}

#[tokio::test]
async fn prices_follow_the_variant() {
    let shop = Program::shop();
    for (user, variant, teapot) in [("alice", "higher", 3600), ("bob", "control", 3000), ("carol", "lower", 2400)] {
        let pricing = json(&shop.ask("GET /pricing", &[("X-User-ID", user)]).await);
        assert_eq!((&pricing["variant"], &pricing["products"]["teapot"]), (&json!(variant), &json!(teapot)));
    }
    let nobody = json(&shop.ask("GET /pricing", &[]).await);
    assert_eq!((&nobody["variant"], &nobody["products"]["teapot"]), (&Value::Null, &json!(3000)));
}

#[tokio::test]
async fn the_printed_lines_do_what_they_say() {
    let mut shop = Program::shop();
    let mut is_killed = false;
    for line in shop.printed().into_iter().filter(|line| line.starts_with("curl ")) {
        // The kill switch is at the dashboard's address.
        let address = if line.contains("PATCH") { shop.admin } else { shop.address };
        let call = curl(&line, &format!("http://{address}"));
        let headers: Vec<(&str, &str)> = call.headers.iter().filter_map(|header| header.split_once(": ")).collect();
        let mut client = Program::send_to(address, &call.request, &headers, &call.body).await;
        if call.request == "GET /events" {
            assert_eq!(client.head().await.status, 200, "{line}");
            continue;
        }
        let reply = client.reply().await;
        assert_eq!(reply.status, 200, "{line}");
        if call.request.starts_with("PATCH ") {
            is_killed = !is_killed;
            let checkout = if is_killed { "three pages" } else { "one page" };
            assert_eq!(json(&shop.ask("POST /checkout", ALICE).await)["checkout"], checkout, "on the next request");
        } else if is_killed {
            assert_eq!(json(&reply)["reason"], "off: the flag is switched off");
        }
    }
    let rules = std::fs::read_to_string(shop.rules()).unwrap();
    assert_eq!((is_killed, rules.as_str()), (false, RULES), "the second edit undoes the first");
}

/// A line for curl.
struct Curl {
    request: String,
    headers: Vec<String>,
    body: String,
}

/// The request that a line for curl asks for, so that no curl has to be there.
fn curl(line: &str, url: &str) -> Curl {
    let print = line.replacen("curl", "printf '%s\\n'", 1);
    let (mut method, mut path) = ("GET".to_owned(), String::new());
    let (mut headers, mut body) = (Vec::new(), String::new());
    let words = output(Command::new("sh").args(["-c", &print]));
    let mut words = words.lines();
    while let Some(word) = words.next() {
        match word {
            "-i" | "-N" => {}
            "-X" => method = words.next().unwrap().to_owned(),
            "-H" => headers.push(words.next().unwrap().to_owned()),
            "-d" => words.next().unwrap().clone_into(&mut body),
            word => path = word.strip_prefix(url).unwrap_or_else(|| panic!("{word} in {line}")).to_owned(),
        }
    }
    Curl { request: format!("{method} {path}"), headers, body }
}

#[tokio::test]
async fn a_tester_switches_a_flag_for_herself_by_opening_a_link() {
    let mut shop = Program::start("shop", RULES, &[("OVERRIDE_KEY", "32-bytes-or-more-that-nobody-knows")]);
    let lines = shop.printed();
    let mut links = lines.iter().filter(|line| line.contains("flag_override="));
    let [opens, ends] = [(); 2].map(|()| curl(links.next().unwrap(), &format!("http://{}", shop.address)).request);
    assert_eq!(json(&shop.ask("GET /search", ALICE).await)["engine"], "old");

    let opened = shop.ask(&opens, ALICE).await;
    assert_eq!(json(&opened)["engine"], "new");
    assert_eq!(opened.header("x-flag-overrides"), Some("new_search=on"));
    let cookie = opened.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let with_cookie = [ALICE[0], ("Cookie", &cookie)];
    assert_eq!(json(&shop.ask("GET /search", &with_cookie).await)["engine"], "new", "from then on");
    assert_eq!(json(&shop.ask("GET /search", ALICE).await)["engine"], "old", "nobody else is concerned");

    let ended = shop.ask(&ends, &with_cookie).await;
    assert_eq!(json(&ended)["engine"], "old");
    assert!(ended.header("set-cookie").unwrap().starts_with("flag_override=; "));

    let another = Program::start("shop", RULES, &[("OVERRIDE_KEY", "another-key-of-at-least-32-bytes!!")]);
    assert_eq!(json(&another.ask(&opens, ALICE).await)["engine"], "old", "a link of a shop with another key");
}

#[test]
fn a_weak_key_for_links_is_said_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("flags.json");
    std::fs::write(&rules, RULES).unwrap();
    let mut shop = command("shop");
    let output = shop
        .env("ADDR", "127.0.0.1:0")
        .env("ADMIN_ADDR", "127.0.0.1:0")
        .env("FLAGS_FILE", rules)
        .env("OVERRIDE_KEY", "secret")
        .output()
        .unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("OVERRIDE_KEY: expected a key of at least 32 bytes, found 6"), "{said}");
}

#[tokio::test]
async fn a_stream_of_events_reads_flags() {
    let shop = Program::shop();
    for (groups, expected) in [("friends, members", "everything at half price"), ("friends", "no offers")] {
        let mut client = shop.send("GET /events", &[("X-User-Groups", groups)], "").await;
        assert_eq!(client.head().await.header("content-type"), Some("text/event-stream"));
        let event = String::from_utf8(client.frame().await.unwrap()).unwrap();
        assert_eq!(event, format!("event: offer\ndata: {expected}\n\n"));
    }
}

#[tokio::test]
async fn ctrl_c_ends_streams_of_events_and_then_the_shop() {
    let mut shop = Program::shop();
    let mut client = shop.send("GET /events", &[], "").await;
    client.head().await;
    client.frame().await.unwrap();
    shop.interrupt();
    while let Some(event) = client.frame().await {
        assert!(event.starts_with(b"event: "), "{event:?}");
    }
    assert!(shop.ended_within(Duration::from_secs(5)).await.success());
}

#[tokio::test]
async fn ctrl_c_does_not_wait_for_the_rest_of_a_request() {
    let mut shop = Program::shop();
    let headers = [("content-length", "5"), ("expect", "100-continue")];
    let mut unsent_body = shop.send("POST /checkout", &headers, "").await;
    assert_eq!(unsent_body.head().await.status, 100, "the handler waits for the body");
    let mut unsent_head = Client::open(shop.address).await;
    unsent_head.send(b"GET /search HTTP/1.1\r\nhost").await;
    let start = Instant::now();
    shop.interrupt();
    assert!(shop.ended_within(Duration::from_secs(10)).await.success());
    assert!(start.elapsed() >= Duration::from_secs(2), "requests had no time to end");
    for client in [&mut unsent_body, &mut unsent_head] {
        assert_eq!(client.rest().await, b"");
    }
}

#[tokio::test]
async fn the_list_of_flags_is_for_the_caller_and_without_hidden_ones() {
    let shop = Program::shop();
    let expected = json!({
        "flags": {
            "dark_mode": true, "flash_sale": false, "new_checkout": true, "new_search": false, "pricing_page": true,
        },
        "variants": { "pricing_page": "higher" },
        "version": 1,
    });
    assert_eq!(json(&shop.ask("GET /flags", ALICE).await), expected);
    let nobody = json(&shop.ask("GET /flags", &[]).await);
    assert_eq!((&nobody["flags"]["new_checkout"], &nobody["variants"]), (&json!(false), &json!({})));
}

#[tokio::test]
async fn one_flag_says_why_it_is_as_it_is() {
    let shop = Program::shop();
    let expected = json!({
        "flag": "pricing_page", "enabled": true, "variant": "higher", "value": 1.2,
        "reason": "on with variant higher: it is on for everyone", "code": "Static",
    });
    assert_eq!(json(&shop.ask("GET /flags/pricing_page", ALICE).await), expected);
    let expected = json!({
        "flag": "new_checkout", "enabled": false, "variant": null, "value": false,
        "reason": "off: a partial rollout, bucket 12.222 is not below 10 %", "code": "Rollout",
    });
    assert_eq!(json(&shop.ask("GET /flags/new_checkout", BOB).await), expected);
}

#[tokio::test]
async fn whatever_goes_wrong_is_said_in_json() {
    let shop = Program::shop();
    let is_json = [("content-type", "application/json")];
    for (line, headers, body, status, error) in [
        ("GET /flags/fraud_check", &[][..], "", 404, r#"no flag "fraud_check""#),
        ("GET /flags/no_such_flag", &[], "", 404, r#"no flag "no_such_flag""#),
        ("GET /flags/%FF", &[], "", 400, "Invalid URL: Invalid UTF-8 in `name`"),
        ("GET /nowhere", &[], "", 404, "no such page"),
        ("GET /checkout", &[], "", 405, "no such method here"),
        ("POST /health", &[], "", 405, "no such method here"),
        ("POST /checkout", &is_json, r#"{"product": "bicycle"}"#, 422, r#"no product "bicycle""#),
        ("POST /checkout", &is_json, r#"{"product": "#, 400, "Failed to parse the request body as JSON"),
        ("POST /checkout", &is_json, r#"{"product": 1}"#, 422, "Failed to deserialize the JSON body"),
        ("POST /checkout", &[], "teapot", 400, "Failed to parse the request body as JSON"),
    ] {
        let reply = shop.send(line, headers, body).await.reply().await;
        assert_eq!(reply.status, status, "{line} {body}");
        let found = json(&reply);
        assert!(found["error"].as_str().unwrap().starts_with(error), "{line} {body}: {found}");
    }
    for headers in [&is_json[..], &[]] {
        let sold = shop.send("POST /checkout", headers, r#"{"product": "cup"}"#).await.reply().await;
        assert_eq!((sold.status, &json(&sold)["price"]), (200, &json!(900)));
    }
}

#[tokio::test]
async fn the_environment_goes_before_the_file() {
    let shop = Program::start("shop", RULES, &[("FF_NEW_CHECKOUT", "off"), ("FF_NEW_SEARCH", "on")]);
    assert_eq!(json(&shop.ask("POST /checkout", ALICE).await)["checkout"], "three pages");
    assert_eq!(json(&shop.ask("GET /search", ALICE).await)["engine"], "new");
    std::fs::write(shop.rules(), RULES.replace("\"dark_mode\": true", "\"dark_mode\": false")).unwrap();
    shop.ask_until("GET /flags", ALICE, |found| found["flags"]["dark_mode"] == false).await;
    let flags = json(&shop.ask("GET /flags", ALICE).await);
    assert_eq!((&flags["flags"]["new_checkout"], &flags["flags"]["new_search"]), (&json!(false), &json!(true)));
}

#[tokio::test]
async fn health_shows_what_operators_need() {
    let shop = Program::start("shop", r#"{"flags": {"good": true, "bad": {"percentge": 5}}}"#, &[]);
    shop.ask("GET /flags", &[("X-User-ID", "a"), ("X-User-ID", "b")]).await;
    let reply = shop.ask("GET /health", &[]).await;
    assert_eq!(reply.active(), None);
    let health = json(&reply);
    assert_eq!(health["source"]["freshness"], "fresh");
    assert_eq!(health["source"]["problems"][0]["flag"], "bad");
    assert_eq!(health["requests"]["refused_user_ids"], 1);

    std::fs::write(shop.rules(), "{").unwrap();
    let is_stale = |found: &Value| found["source"]["freshness"]["stale_since"].is_string();
    shop.ask_until("GET /health", &[], is_stale).await;
    let health = json(&shop.ask("GET /health", &[]).await);
    assert!(health["source"]["last_error"].as_str().unwrap().contains("flags.json, line 1"), "{health}");
    let flags = json(&shop.ask("GET /flags", &[]).await);
    assert_eq!(flags["flags"]["good"], true, "the last good rules stay");
}

#[test]
fn a_shop_that_cannot_start_says_why_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("flags.json");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let fails_at = |address: &str, admin_address: &str, expected: &str| {
        let output = command("shop")
            .env("ADDR", address)
            .env("ADMIN_ADDR", admin_address)
            .env("FLAGS_FILE", &rules)
            .output()
            .unwrap();
        assert_eq!((output.status.code(), output.stdout), (Some(1), Vec::new()));
        let log = String::from_utf8(output.stderr).unwrap();
        assert!(log.lines().last().unwrap().starts_with(expected), "{expected}: {log}");
    };
    let fails_with = |expected: &str| fails_at(&address, "127.0.0.1:0", expected);
    let path = rules.display();
    fails_with(&format!("{path} cannot be read: No such file"));
    std::fs::write(&rules, "{").unwrap();
    fails_with(&format!("{path}, line 1, column 1: expected a JSON document"));
    std::fs::write(&rules, RULES).unwrap();
    fails_with(&format!("the shop cannot listen on ADDR, {address}: Address already in use"));
    let expected = format!("the dashboard cannot listen on ADMIN_ADDR, {address}: Address already in use");
    fails_at("127.0.0.1:0", &address, &expected);

    // Unless it is told otherwise. The port is taken, by this test or by another program.
    let _taken = std::net::TcpListener::bind("127.0.0.1:3001");
    let mut shop = command("shop");
    let output = shop.env("ADDR", "127.0.0.1:0").env("FLAGS_FILE", &rules).env_remove("ADMIN_ADDR").output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    let expected = "the dashboard cannot listen on ADMIN_ADDR, 127.0.0.1:3001: Address already in use";
    assert!(log.lines().last().unwrap().starts_with(expected), "{log}");
}

#[tokio::test]
async fn behind_an_auth_layer_headers_name_nobody() {
    let service = Program::start("auth", "{}", &[]);
    let spoofed = [("X-User-ID", "alice"), ("X-User-Groups", "staff"), ("authorization", "Bearer bob-token")];
    assert_eq!(service.ask("GET /", &spoofed).await.text(), "the usual page for bob\n");
    assert_eq!(service.ask("GET /", &spoofed[..2]).await.text(), "the usual page for nobody\n");
    let alice = [("X-User-ID", "bob"), ("authorization", "Bearer alice-token")];
    let alice = service.ask("GET /", &alice).await;
    assert_eq!((alice.text(), alice.active()), ("the beta for alice\n", Some("beta")));
}

#[test]
fn flags_work_without_axum() {
    assert_eq!(
        output(&mut Command::new(example("plain_tower"))),
        "HELLO ALICE (rules version 2), X-Active-Flags: Some(\"shout\")\n\
         hello bob (rules version 2), X-Active-Flags: None\n"
    );
}
