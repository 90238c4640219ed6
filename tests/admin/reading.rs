//! What can be seen: flags, answers, history, status, events.

use std::time::Duration;

use axum::body::Body;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use tower_flags::admin::Admin;
use tower_flags::source::{Env, Layered, Live};
use tower_flags::store::{Author, Change, StoreExt};

use super::api::{Api, EDITOR, VIEWER, json, problem, store, tokens};
use super::outage::{DOWN, Shaky, UP};
use super::support::{Client, memory};

#[tokio::test]
async fn an_edit_that_another_layer_hides_says_so() {
    let store = store(&[("a", "true"), ("b", "true")]).await;
    let live = Live::connect(store.clone()).await.unwrap();
    let layered = Layered::over(live.clone()).with(Env::from_pairs([("FF_A", "on")]));
    let router = Admin::new(store, live.clone(), tokens()).effective_in(layered).router();
    let api = Api::at("", router, live).await;
    let killed = json(&api.ask("POST", "flags/a/kill", &[], "").await);
    assert_eq!((&killed["effective"], &killed["shadowed_by"]), (&json!(false), &json!("env")));
    assert_eq!((&killed["flag"]["enabled"], &killed["in_force"]["enabled"]), (&json!(false), &json!(true)));
    let killed = json(&api.ask("POST", "flags/b/kill", &[], "").await);
    assert_eq!((&killed["effective"], &killed["shadowed_by"]), (&json!(true), &Value::Null));
    let listed = api.get("flags").await;
    assert_eq!((&listed["flags"][0]["shadowed_by"], &listed["flags"][1]["shadowed_by"]), (&json!("env"), &Value::Null));
    let answers = json(&api.ask("POST", "explain", &[], "{}").await);
    assert_eq!((&answers["flags"][0]["enabled"], &answers["flags"][0]["shadowed_by"]), (&json!(true), &json!("env")));
}

#[tokio::test]
async fn flags_that_another_part_alone_defines_are_listed_and_shown() {
    let store = Shaky::default();
    store.store.change("b", Change::put_text("true"), &Author::new("alice")).await.unwrap();
    let live = Live::connect(store.clone()).await.unwrap();
    let env = Env::from_pairs([("FF_B", "on"), ("FF_A", "on"), ("FF_A_PCT", "25"), ("FF_C", "off")]);
    let below = memory(r#"{"d": {"enabled": true, "description": "built in"}}"#);
    let layered = Layered::over(below).with(live.clone()).with(env);
    let router = Admin::new(store.clone(), live.clone(), tokens()).effective_in(layered).router();
    let api = Api::at("", router, live).await;
    for (is_up, of_store) in [(true, "store"), (false, "this process")] {
        store.is(if is_up { UP } else { DOWN });
        let listed = api.get("flags").await;
        let flags = listed["flags"].as_array().unwrap();
        let seen: Vec<(&str, &str, &Value)> = flags
            .iter()
            .map(|flag| (flag["name"].as_str().unwrap(), flag["from"].as_str().unwrap(), &flag["shadowed_by"]))
            .collect();
        let (none, env) = (&Value::Null, &json!("env"));
        assert_eq!(seen, [("a", "env", none), ("b", of_store, env), ("c", "env", none), ("d", "memory", none)]);
        let a = &flags[0];
        assert_eq!((&a["flag"]["percentage"], &a["percentage"], &a["version"]), (&json!(25), &json!(25), &json!(0)));
        assert_eq!((&a["in_force"]["enabled"], &a["effective"]), (&json!(true), &json!(true)));
        assert_eq!(a["problems"][0]["path"], "FF_A", "its variable");

        let shown = api.get("flags/a").await;
        assert_eq!((&shown["from"], &shown["text"], &shown["etag"]), (&json!("env"), &Value::Null, &Value::Null));
        assert_eq!(shown["problems"], a["problems"]);
        assert_eq!(api.get("flags/d").await["flag"]["description"], "built in");
        assert_eq!(
            problem(&api.ask("GET", "flags/never", &[], "").await),
            if is_up { "no-such-flag" } else { "store-unavailable" }
        );
    }
    store.is(UP);
    assert_eq!(api.get("flags/a/history").await["entries"], json!([]));
    for (method, path, body) in [
        ("POST", "flags/a/kill", ""),
        ("PATCH", "flags/a", r#"{"enabled": false}"#),
        ("PATCH", "flags/a", r#"{"percentage": 5}"#),
        ("POST", "flags/a/restore", ""),
        ("POST", "flags/a/rollout/pause", ""),
        ("DELETE", "flags/a", ""),
    ] {
        let any = [("if-match", "*")];
        let reply = api.ask(method, path, if method == "DELETE" { &any } else { &[] }, body).await;
        if method == "DELETE" {
            assert_eq!(problem(&reply), "stale", "{method} {path}");
            continue;
        }
        assert_eq!(problem(&reply), "no-such-flag", "{method} {path}");
        let detail = json(&reply)["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("nothing was changed") && detail.contains("env"), "{detail}");
    }
    // One of that name may be made for other processes.
    let made = api.ask("PUT", "flags/a", &[("if-none-match", "*")], "true").await;
    assert_eq!((made.status, &json(&made)["shadowed_by"], &json(&made)["from"]), (201, &json!("env"), &json!("store")));
    assert_eq!(api.get("flags").await["flags"].as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn what_would_this_user_get() {
    let flags = [
        ("beta", r#"{"enabled":true,"allowed_groups":["staff"]}"#),
        ("half", r#"{"enabled":true,"percentage":50,"variants":{"x":100}}"#),
        ("later", r#"{"enabled":true,"schedule":[{"at":"2099-01-01T00:00:00Z","percentage":100}]}"#),
        ("off", "false"),
        ("pro", r#"{"rules":[{"when":[{"attribute":"plan","op":"equals","values":["pro"]}],"serve":true}]}"#),
    ];
    let (api, _store) = Api::with(&flags).await;
    let explain = async |context: Value| json(&api.ask("POST", "explain", &[], &context.to_string()).await);
    let answers = explain(json!({"user_id": "u", "groups": ["staff"], "attributes": {"plan": "pro"}})).await;
    let of = |answers: &Value, number: usize| answers["flags"][number].clone();
    assert_eq!((of(&answers, 0)["reason"].clone(), of(&answers, 0)["enabled"].clone()), (json!("Group"), json!(true)));
    assert_eq!(of(&answers, 0)["words"], "on: a group of the caller is in allowed_groups");
    let half = of(&answers, 1);
    assert_eq!((&half["reason"], &half["percentage"]), (&json!("Rollout"), &json!(50)));
    assert_eq!(half["enabled"], half["bucket"].as_f64().unwrap() < 50.0);
    assert_eq!(of(&answers, 2)["enabled"], false);
    assert_eq!(of(&answers, 3)["reason"], "Disabled");
    assert_eq!(of(&answers, 4)["reason"], "Rule(0)");
    let later = explain(json!({"at": "2099-01-02T00:00:00+01:00"})).await;
    assert_eq!((of(&later, 2)["enabled"].clone(), of(&later, 1)["reason"].clone()), (json!(true), json!("Anonymous")));
    let visitor = explain(json!({"visitor": "v"})).await;
    assert_eq!(of(&visitor, 1)["reason"], "Rollout");
    assert_eq!(of(&explain(json!({})).await, 2)["enabled"], false, "looking ahead changed nothing");
    for bad in
        ["", "[]", r#"{"user": "u"}"#, r#"{"groups": "g"}"#, r#"{"attributes": {"user_id": "u"}}"#, r#"{"at": "soon"}"#]
    {
        assert_eq!(problem(&api.ask("POST", "explain", &[], bad).await), "malformed", "{bad}");
    }
}

#[tokio::test]
async fn the_history_comes_in_pages_with_what_each_change_was() {
    let (api, store) = Api::with(&[("a", r#"{"percentage": 1}"#), ("b", "true")]).await;
    for percentage in 2..=5 {
        let patch = format!(r#"{{"percentage": {percentage}}}"#);
        assert_eq!(api.ask("PATCH", "flags/a?reason=more", &[], &patch).await.status, 200);
    }
    let first = api.get("flags/a/history?limit=2").await;
    assert_eq!((&first["entries"][0]["version"], &first["next"]), (&json!(5), &json!(5)));
    assert_eq!(first["entries"][0]["changes"], json!([{"key": "percentage", "before": 4, "after": 5}]));
    assert_eq!((&first["entries"][0]["actor"], &first["entries"][0]["reason"]), (&json!("alice"), &json!("more")));
    let second = api.get("flags/a/history?limit=1000&before=5").await;
    let versions: Vec<&Value> = second["entries"].as_array().unwrap().iter().map(|entry| &entry["version"]).collect();
    assert_eq!((versions, &second["next"]), (vec![&json!(3), &json!(2), &json!(1)], &Value::Null));
    assert_eq!(api.get("history").await["entries"].as_array().unwrap().len(), 6);
    assert_eq!(api.get("history?before=18446744073709551615").await["entries"].as_array().unwrap().len(), 6);
    for bad in ["limit=0", "limit=1001", "limit=x", "before=-1", "offset=3"] {
        assert_eq!(problem(&api.ask("GET", &format!("history?{bad}"), &[], "").await), "malformed", "{bad}");
    }
    store.change("b", Change::remove(), &Author::new("x")).await.unwrap();
    let removed = api.get("flags/b/history").await["entries"][0].clone();
    assert_eq!((&removed["after"], &removed["changes"][0]["after"]), (&Value::Null, &Value::Null));
    assert_eq!(problem(&api.ask("GET", "flags/never/history", &[], "").await), "no-such-flag");
}

#[tokio::test]
async fn the_status_says_who_asks_and_how_the_store_is() {
    let (api, _store) = Api::with(&[("a", "true")]).await;
    let status = api.as_viewer().get("status").await;
    assert_eq!(status["you"], json!({"name": "bob", "role": "viewer"}));
    assert_eq!((&status["store"]["name"], &status["store"]["head"]["number"]), (&json!("memory"), &json!(1)));
    assert_eq!((&status["rules"]["freshness"], &status["rules"]["flags"]), (&json!("fresh"), &json!(1)));
}

/// The next event that is not a comment: its name and data.
async fn next(client: &mut Client) -> Option<(String, Value)> {
    loop {
        let frame = String::from_utf8(client.frame().await?).unwrap();
        if let Some((name, data)) = frame.strip_prefix("event: ").and_then(|rest| rest.split_once("\ndata: ")) {
            return Some((name.to_owned(), serde_json::from_str(data.trim_end()).unwrap()));
        }
    }
}

async fn listen(api: &Api, header: (&str, &str)) -> Client {
    let mut client = Client::open(api.address).await;
    client.ask("GET", "/events", &[(header.0, header.1.as_bytes())]).await;
    let head = client.head().await;
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
    client
}

#[tokio::test]
async fn changes_are_told_as_they_land() {
    let (api, store) = Api::with(&[("a", "true")]).await;
    let mut client = listen(&api, ("authorization", &format!("Bearer {EDITOR}"))).await;
    let (name, status) = next(&mut client).await.unwrap();
    assert_eq!((name.as_str(), &status["freshness"]), ("status", &json!("fresh")));
    store.change("a", Change::kill(), &Author::new("carol")).await.unwrap();
    let (name, change) = next(&mut client).await.unwrap();
    assert_eq!((name.as_str(), &change["flag"], &change["version"]), ("change", &json!("a"), &json!(2)));
    assert_eq!((&change["before"]["enabled"], &change["after"]["enabled"]), (&json!(true), &json!(false)));
    api.source.kill_here("a", &Author::new("x")).await.unwrap();
    let (name, status) = next(&mut client).await.unwrap();
    assert_eq!((name.as_str(), &status["local_kills"][0]["by"]), ("status", &json!("x")));
}

#[tokio::test]
async fn a_kill_that_came_and_went_between_two_looks_is_told() {
    let (api, store) = Api::with(&[("a", "true")]).await;
    store.change("a", Change::kill(), &Author::new("carol")).await.unwrap();
    let mut client = listen(&api, ("authorization", &format!("Bearer {EDITOR}"))).await;
    next(&mut client).await.unwrap();
    // The definition is the same before, meanwhile and after: the status alone has the kill.
    api.source.kill_here("a", &Author::new("x")).await.unwrap();
    api.source.forget_kill("a").await;
    let is_told = async { while next(&mut client).await.unwrap().1["local_kills"] != json!([]) {} };
    tokio::time::timeout(Duration::from_secs(30), is_told).await.expect("a status follows");
}

#[tokio::test]
async fn whoever_may_no_longer_listen_hears_no_more() {
    let (api, store) = Api::with(&[("a", "true")]).await;
    let page = [("content-type", "application/json"), ("sec-fetch-site", "same-origin")];
    let token = json!({ "token": EDITOR }).to_string();
    let reply = api.ask_as("POST", "login", &page, token.as_bytes()).await;
    let cookie = reply.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let mut client = listen(&api, ("cookie", &cookie)).await;
    next(&mut client).await.unwrap();
    let out = [page[0], page[1], ("cookie", &cookie)];
    assert_eq!(api.ask_as("POST", "logout", &out, b"").await.status, 204);
    store.change("a", Change::kill(), &Author::new("carol")).await.unwrap();
    assert_eq!(next(&mut client).await, None);
}

#[tokio::test]
async fn somebody_with_many_windows_keeps_nobody_out_and_a_place_is_free_again() {
    let (api, _store) = Api::with(&[]).await;
    let bearer = format!("Bearer {EDITOR}");
    let mut clients = Vec::new();
    for _ in 0..32 {
        clients.push(listen(&api, ("authorization", &bearer)).await);
    }
    let reply = api.ask("GET", "events", &[], "").await;
    assert_eq!((reply.status, problem(&reply).as_str()), (503, "too-many-streams"));
    drop(listen(&api, ("authorization", &format!("Bearer {VIEWER}"))).await);
    clients.pop();
    let start = std::time::Instant::now();
    loop {
        let mut client = Client::open(api.address).await;
        client.ask("GET", "/events", &[("authorization", bearer.as_bytes())]).await;
        if client.head().await.status == 200 {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_no_events_loses_its_place() {
    let store = store(&[("a", "true")]).await;
    let source = Live::connect(store.clone()).await.unwrap();
    let router = Admin::new(store, source, tokens()).router();
    let listen = async || {
        let request = http::Request::get("/events").header("authorization", format!("Bearer {EDITOR}"));
        let reply = router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        (reply.status().as_u16(), reply.into_body())
    };
    let mut unread = Vec::new();
    for _ in 0..32 {
        let (status, body) = listen().await;
        assert_eq!(status, 200);
        unread.push(body);
    }
    // 16 events wait for each: a status, and a sign of life every 15 s. The next one waits 30 s for room.
    tokio::time::sleep(Duration::from_secs(4 * 60)).await;
    assert_eq!(listen().await.0, 503, "as many as may");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(listen().await.0, 200);
}

#[tokio::test]
async fn hostile_texts_stay_texts() {
    let hostile = [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "\u{1b}[2J\u{202e}",
        "data: x\n\nevent: change\ndata: {}",
        "=cmd|' /C calc'!A0",
        "\u{0}\u{7f}\u{9b}",
        "\r\nset-cookie: a=b",
    ];
    let (api, store) = Api::with(&[("a", "true")]).await;
    let mut client = listen(&api, ("authorization", &format!("Bearer {EDITOR}"))).await;
    next(&mut client).await.unwrap();
    for text in hostile {
        let patch = json!({"description": text, "owner": text, "metadata": {"x": text}}).to_string();
        let reply = api.ask("PATCH", "flags/a", &[], &patch).await;
        assert_eq!(json(&reply)["flag"]["metadata"]["x"], *text, "{}", reply.text());
        let (name, change) = next(&mut client).await.unwrap();
        assert_eq!((name.as_str(), &change["after"]["description"]), ("change", &json!(text)));
        let author = Author::new(text).because(text);
        store
            .change("b", Change::put_text(json!({"enabled": true, "owner": text}).to_string()), &author)
            .await
            .unwrap();
        next(&mut client).await.unwrap();
    }
    let reply = api.ask("GET", "flags/%3Cscript%3E", &[], "").await;
    assert_eq!(
        (problem(&reply).as_str(), reply.header("content-type")),
        ("no-such-flag", Some("application/problem+json"))
    );
    for format in ["csv", "jsonl"] {
        let reply = api.ask("GET", &format!("history/export?format={format}"), &[], "").await;
        let text = reply.text();
        assert!(!text.chars().any(|c| c.is_control() && c != '\n' && c != '\r'), "{format}");
        assert!(!text.contains(['\u{202e}', '\u{9b}', '\u{7f}']), "{format}");
        if format == "csv" {
            assert!(text.contains("\"'=cmd|' /C calc'!A0\""), "{text}");
            assert!(text.split("\r\n").skip(1).all(|row| row.is_empty() || row.as_bytes()[0].is_ascii_digit()));
        } else {
            let entries: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert_eq!(entries.len(), 1 + 2 * hostile.len());
            assert_eq!(entries[0]["actor"], *hostile.last().unwrap(), "it means the same");
        }
    }
}
