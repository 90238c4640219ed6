//! All flags at once, in and out.

use std::time::Duration;

use axum::body::Body;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use tower_flags::admin::{Admin, Tokens};
use tower_flags::source::Live;
use tower_flags::store::{Author, Change, HistoryPage, MemoryStore, Store, StoreExt};

use super::api::{Api, EDITOR, Place, in_every_place, json, problem};
use super::outage::{Shaky, until};
use super::support::Client;

in_every_place! {
    an_import_says_first_what_it_would_do_and_then_does_just_that
    a_document_with_an_error_changes_nothing
    a_name_that_was_removed_comes_back_on_purpose_alone
    what_is_exported_can_be_imported
}

async fn an_import_says_first_what_it_would_do_and_then_does_just_that(place: Place) {
    let flags = [
        ("kept", r#"{"enabled":true,"percentage":5}"#),
        ("more", r#"{"on": true, "rollout_percentage": 5, "rollout_stages": [1], "owner": "me"}"#),
        ("killed", r#"{"enabled":false,"percentage":50}"#),
        ("gone", "true"),
    ];
    let (api, store) = place.with(&flags).await;
    let document = json!({"flags": {
        "kept": {"percentage": 5},
        "more": {"enabled": true, "percentage": 10},
        "killed": {"enabled": true, "percentage": 60},
        "new": true,
    }})
    .to_string();
    let dry = json(&api.ask("POST", "import?dry_run=true&remove=true", &[], &document).await);
    let actions: Vec<(&str, &str)> = dry["flags"]
        .as_array()
        .unwrap()
        .iter()
        .map(|flag| (flag["name"].as_str().unwrap(), flag["action"].as_str().unwrap()))
        .collect();
    assert_eq!(
        actions,
        [("gone", "remove"), ("kept", "none"), ("killed", "change"), ("more", "change"), ("new", "create")]
    );
    assert_eq!(dry["flags"][2]["changes"], json!([{"key": "percentage", "before": 50, "after": 60}]));
    assert_eq!(dry["flags"][2]["kept_off"], true);
    assert_eq!(
        dry["flags"][3]["changes"],
        json!([{"key": "owner", "before": "me", "after": null}, {"key": "percentage", "before": 5, "after": 10}])
    );
    assert_eq!(store.history(&HistoryPage::newest()).await.unwrap().len(), 4, "nothing was done");

    let done = json(&api.ask("POST", "import?reason=move", &[], &document).await);
    assert_eq!((&done["complete"], &done["dry_run"]), (&json!(true), &json!(false)), "{done}");
    assert_eq!(done["flags"].as_array().unwrap().len(), 4, "nothing is removed unless asked");
    assert!(store.read("gone").await.unwrap().definition.is_some());
    let more = store.read("more").await.unwrap().definition.unwrap();
    assert_eq!(more, r#"{"on": true, "rollout_percentage": 10, "rollout_stages": [1]}"#);
    let killed = api.get("flags/killed").await;
    assert_eq!((&killed["flag"]["enabled"], &killed["flag"]["percentage"]), (&json!(false), &json!(60)));
    let entry = store.history(&HistoryPage::newest()).await.unwrap().remove(0);
    assert_eq!((entry.actor.as_deref(), entry.reason.as_deref()), (Some("alice"), Some("move")));
    let again = json(&api.ask("POST", "import?remove=true", &[], &document).await);
    let actions: Vec<&Value> = again["flags"].as_array().unwrap().iter().map(|flag| &flag["action"]).collect();
    assert_eq!(actions, ["remove", "none", "none", "none", "none"]);
    assert!(store.verify_history().await.unwrap().is_ok());
}

async fn a_document_with_an_error_changes_nothing(place: Place) {
    let (api, store) = place.with(&[("a", "true")]).await;
    for (document, kind) in [
        (r#"{"flags": {"a": false, "b": {"percentage": 101}}}"#, "refused"),
        (r#"{"flags": {"a": false, "b": {"enabled": true, "requires": ["c"]}}}"#, "refused"),
        (r#"{"flags": {"a": false, "-b": true}}"#, "refused"),
        (r#"{"flags": {"a": false, "a": true}}"#, "malformed"),
        (r#"{"a": false}"#, "refused"),
        (r#"{"flags": {"a": fal"#, "malformed"),
    ] {
        let reply = api.ask("POST", "import", &[], document).await;
        assert_eq!(problem(&reply), kind, "{document}");
        assert!(json(&reply)["problems"].as_array().is_some_and(|problems| !problems.is_empty()), "{}", reply.text());
    }
    let typo = api.ask("POST", "import?dryrun=true", &[], r#"{"flags": {"a": false}}"#).await;
    assert_eq!(problem(&typo), "malformed");
    assert_eq!(store.read("a").await.unwrap().version, 1);
}

async fn a_name_that_was_removed_comes_back_on_purpose_alone(place: Place) {
    let (api, store) = place.with(&[("a", "true")]).await;
    store.change("a", Change::remove(), &Author::new("x")).await.unwrap();
    let document = r#"{"flags": {"a": true, "b": true}}"#;
    let dry = json(&api.ask("POST", "import?dry_run=true", &[], document).await);
    assert_eq!((&dry["complete"], &dry["flags"][0]["action"]), (&json!(false), &json!("refused")));
    let reply = api.ask("POST", "import", &[], document).await;
    assert_eq!((reply.status, problem(&reply).as_str()), (409, "removed"));
    assert!(store.read("b").await.unwrap().definition.is_none(), "all or nothing");
    assert_eq!(json(&reply)["flags"][0]["error"]["type"], "urn:tower-flags:removed");
    let reply = api.ask("POST", "import?create_again=true", &[], document).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(store.read("a").await.unwrap().definition.is_some());
}

async fn what_is_exported_can_be_imported(place: Place) {
    let (api, _store) = place.with(&[("a", r#"{"users":["u"]}"#), ("b", "false")]).await;
    let reply = api.ask("GET", "export", &[], "").await;
    assert_eq!(reply.header("content-disposition"), Some("attachment; filename=\"flags.json\""));
    let (other, _store) = place.with(&[]).await;
    assert_eq!(other.ask("POST", "import", &[], reply.text()).await.status, 200);
    assert_eq!(other.get("export").await, {
        // Whoever else reads the store sees the percentage that was meant.
        json!({"flags": {"a": {"enabled": true, "allowed_users": ["u"], "percentage": 0}, "b": {"enabled": false, "percentage": 100}}})
    });
    let again = json(&api.ask("POST", "import?dry_run=true", &[], reply.text()).await);
    assert!(again["flags"].as_array().unwrap().iter().all(|flag| flag["action"] != "create"), "{again}");
}

#[tokio::test]
async fn an_import_is_made_for_what_was_looked_at() {
    let (api, store) = Api::with(&[("a", r#"{"percentage": 10}"#), ("b", "true")]).await;
    let document = r#"{"flags": {"a": {"percentage": 20}}}"#;
    let dry = api.ask("POST", "import?dry_run=true", &[], document).await;
    let etag = json(&dry)["etag"].as_str().unwrap().to_owned();
    assert_eq!(
        (dry.header("etag"), &json(&api.ask("GET", "flags", &[], "").await)["etag"]),
        (Some(&*etag), &json!(etag))
    );
    let by_bob = r#"{"percentage": 1, "owner": "bob"}"#;
    assert_eq!(api.ask("PATCH", "flags/a", &[], by_bob).await.status, 200);
    let late = api.ask("POST", "import", &[("if-match", &etag)], document).await;
    assert_eq!((late.status, problem(&late).as_str()), (412, "stale"));
    assert_eq!(store.read("a").await.unwrap().version, 2, "nothing was changed");
    let etag = json(&late)["etag"].as_str().unwrap().to_owned();
    assert_eq!(api.ask("POST", "import", &[("if-match", &etag)], document).await.status, 200);
    assert_eq!(store.read("a").await.unwrap().version, 3);
}

#[tokio::test]
async fn flags_that_others_require_stay() {
    let needs = r#"{"enabled": true, "requires": ["a"]}"#;
    let (api, store) = Api::with(&[("a", "true"), ("needs", needs)]).await;
    let removed = api.ask("DELETE", "flags/a", &[("if-match", "*")], "").await;
    assert_eq!(problem(&removed), "refused");
    assert!(removed.text().contains("needs"), "{}", removed.text());
    let only = format!(r#"{{"flags": {{"needs": {needs}}}}}"#);
    assert_eq!(problem(&api.ask("POST", "import?remove=true", &[], &only).await), "refused");
    assert!(store.read("a").await.unwrap().definition.is_some());
    assert_eq!(api.ask("DELETE", "flags/needs", &[("if-match", "*")], "").await.status, 200);
    assert_eq!(api.ask("DELETE", "flags/a", &[("if-match", "*")], "").await.status, 200);
    // Past the API anything can be removed; then the flag says what is wrong with it.
    let (api, store) = Api::with(&[("a", "true"), ("needs", needs)]).await;
    store.change("a", Change::remove(), &Author::new("x")).await.unwrap();
    until(async || !api.get("flags/needs").await["problems"].as_array().unwrap().is_empty()).await;
    let shown = api.get("flags/needs").await;
    assert_eq!(shown["problems"][0]["flag"], "needs", "{shown}");
    assert_eq!(api.get("flags").await["flags"][0]["problems"], shown["problems"]);
}

#[tokio::test]
async fn an_export_has_what_is_refused_and_says_what_it_has_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("flags.json");
    let text = r#"{"flags": {"good": true, "wrong": {"percentage": 300, "metadata": {"a": 1.50}}, "bäd": true}}"#;
    std::fs::write(&file, text).unwrap();
    let api = Api::over(tower_flags::store::FileStore::new(&file).unwrap()).await;
    let reply = api.ask("GET", "export", &[], "").await;
    assert_eq!(
        reply.text(),
        r#"{"flags":{"good":{"enabled":true,"percentage":100},"wrong":{"percentage": 300, "metadata": {"a": 1.50}}}}"#
    );
    assert_eq!((reply.header("x-left-out"), reply.header("x-left-out-count")), (Some("b%C3%A4d"), Some("1")));
    let (other, _store) = Api::with(&[]).await;
    let imported = other.ask("POST", "import", &[], reply.text()).await;
    assert_eq!(problem(&imported), "refused");
    assert!(imported.text().contains("wrong"), "{}", imported.text());
}

#[tokio::test]
async fn large_entries_come_in_small_pages() {
    let (api, _store) = Api::with(&[("a", "true")]).await;
    for round in 0..24 {
        let patch = json!({ "description": format!("{round}{}", "x".repeat(300_000)) }).to_string();
        assert_eq!(api.ask("PATCH", "flags/a", &[], &patch).await.status, 200);
    }
    let (mut numbers, mut before) = (Vec::new(), None);
    loop {
        let query = before.map_or(String::new(), |before: u64| format!("&before={before}"));
        let reply = api.ask("GET", &format!("history?limit=1000{query}"), &[], "").await;
        let page = json(&reply);
        assert!(page["entries"].as_array().unwrap().len() <= 10, "a page has as many as are read at once");
        numbers.extend(page["entries"].as_array().unwrap().iter().map(|entry| entry["number"].as_u64().unwrap()));
        before = page["next"].as_u64();
        if before.is_none() {
            break;
        }
    }
    assert_eq!(numbers, (1..=25).rev().collect::<Vec<u64>>());
    let lines = api.ask("GET", "history/export?format=jsonl", &[], "").await;
    assert_eq!(lines.text().lines().count(), 25);
}

#[tokio::test]
async fn an_import_that_is_begun_is_ended_though_nobody_waits_for_the_answer() {
    let shaky = Shaky::default();
    let api = Api::over(shaky.clone()).await;
    let flags: serde_json::Map<String, Value> = (0..50).map(|number| (format!("f{number}"), json!(true))).collect();
    let body = json!({ "flags": flags }).to_string();
    let mut client = Client::open(api.address).await;
    let (bearer, length) = (format!("Bearer {EDITOR}"), body.len().to_string());
    client.ask("POST", "/import", &[("authorization", bearer.as_bytes()), ("content-length", length.as_bytes())]).await;
    client.send(body.as_bytes()).await;
    until(async || shaky.store.read("f0").await.unwrap().version == 1).await;
    drop(client);
    until(async || api.get("flags").await["flags"].as_array().unwrap().len() == 50).await;
}

#[tokio::test(start_paused = true)]
async fn an_export_that_nobody_reads_ends_and_makes_room_for_others() {
    let store = MemoryStore::new();
    for number in 0..2_500 {
        let put = Change::put_text(if number % 2 == 0 { "true" } else { "false" });
        store.change("a", put, &Author::new("alice")).await.unwrap();
    }
    let source = Live::connect(store.clone()).await.unwrap();
    let callers = ["a", "b", "c", "d", "e"];
    let token = |name: &str| format!("{name}-0123456789abcdef0123456789abcdef");
    let tokens = callers.iter().fold(Tokens::new(), |tokens, name| tokens.viewer(*name, token(name)).unwrap());
    let router = Admin::new(store, source, tokens).router();
    let export = async |name: &str| {
        let request = http::Request::get("/history/export").header("authorization", format!("Bearer {}", token(name)));
        let reply = router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        (reply.status().as_u16(), reply.into_body())
    };
    let mut unread = Vec::new();
    for name in &callers[..4] {
        let (status, body) = export(name).await;
        assert_eq!(status, 200);
        unread.push(body);
        if *name == "a" {
            let (status, body) = export(name).await;
            let said = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
            assert_eq!(status, 503, "one who does not read keeps no other out");
            assert!(said.contains("a fetches the whole history already"), "{said}");
        }
    }
    tokio::time::sleep(Duration::from_secs(29)).await;
    let (status, body) = export("e").await;
    let said = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    assert!(status == 503 && said.contains("others fetch the whole history just now"), "as many as may: {said}");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (status, body) = export("a").await;
    assert_eq!(status, 200, "who does not read keeps nobody out");
    let whole = body.collect().await.unwrap().to_bytes();
    assert_eq!(whole.iter().filter(|byte| **byte == b'\n').count(), 2_501);
    for body in unread {
        assert!(body.collect().await.is_err(), "what breaks off is not taken for the whole");
    }
}
