//! What costs much more to work out than to send: it is refused, costs no other flag, and changes nothing.

use serde_json::{Value, json};

use super::api::{Api, json, problem};

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
