//! Numbers that a 64-bit float does not hold: they come out of an edit, an export and an answer as they went in.

use serde_json::json;

use super::api::{Place, in_every_place, json, problem};

in_every_place! {
    an_edit_keeps_the_digits_of_its_neighbours
    rules_have_the_numbers_that_were_sent
    a_number_that_no_comparison_holds_is_refused_and_nothing_is_changed
    an_explanation_is_about_the_number_that_was_asked_for
}

/// A rule that lets in one account.
fn rule(number: &str) -> String {
    format!(r#"[{{"when":[{{"attribute":"account","op":"equals","values":[{number}]}}],"serve":true}}]"#)
}

async fn an_edit_keeps_the_digits_of_its_neighbours(place: Place) {
    let stored = r#"{"enabled": true, "percentage": 50.00, "metadata": {"long": 123456789012345678901234567890, "pi": 3.14159265358979323846, "trailing": 1.10, "n": 1}, "variants": {"a": {"weight": 50, "value": [18446744073709551615, 2.50]}, "b": 50.0}}"#;
    let (api, store) = place.with(&[("x", stored)]).await;
    let patch = r#"{"metadata": {"n": 987654321987654321}, "variants": {"a": {"weight": 49.5}, "b": 50.500}}"#;
    let reply = api.ask("PATCH", "flags/x", &[], patch).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let text = store.read("x").await.unwrap().definition.unwrap();
    assert_eq!(
        text,
        r#"{"enabled": true, "percentage": 50.00, "metadata": {"long":123456789012345678901234567890,"pi":3.14159265358979323846,"trailing":1.10,"n":987654321987654321}, "variants": {"a":{"weight":49.5,"value":[18446744073709551615,2.50]},"b":50.500}}"#
    );
    // What is taken away takes nothing else along.
    let reply = api.ask("PATCH", "flags/x", &[], r#"{"metadata": {"pi": null}}"#).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let text = store.read("x").await.unwrap().definition.unwrap();
    assert!(
        text.contains(r#"{"long":123456789012345678901234567890,"trailing":1.10,"n":987654321987654321}"#),
        "{text}"
    );
}

async fn rules_have_the_numbers_that_were_sent(place: Place) {
    let (api, store) = place.with(&[("x", r#"{"enabled": true, "percentage": 0}"#)]).await;
    let numbers = "1234567890123456789,18446744073709551615,-9223372036854775808,9007199254740993,0.1,18.50";
    let reply = api.ask("PATCH", "flags/x", &[], &format!(r#"{{"rules": {}}}"#, rule(numbers))).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let text = store.read("x").await.unwrap().definition.unwrap();
    assert!(text.contains(&format!("[{numbers}]")), "{text}");
    let exact = numbers.replace("18.50", "18.5");
    for path in ["flags/x", "flags", "export", "flags/x/history"] {
        let reply = api.ask("GET", path, &[], "").await;
        assert!(reply.text().contains(&format!("[{exact}]")), "{path}: {}", reply.text());
    }
    let put = format!(r#"{{"enabled": true, "percentage": 0, "rules": {}}}"#, rule("1234567890123456788"));
    let etag = api.etag("x").await;
    assert_eq!(api.ask("PUT", "flags/x", &[("if-match", &etag)], &put).await.status, 200);
    assert_eq!(store.read("x").await.unwrap().definition.unwrap(), put);
    let etag = api.etag("x").await;
    let import = format!(r#"{{"flags": {{"x": {}}}}}"#, put.replace("788", "789"));
    let reply = api.ask("POST", "import", &[("if-match", &etag)], &import).await;
    assert_eq!(reply.status, 412, "{}", reply.text());
    let reply = api.ask("POST", "import", &[], &import).await;
    assert_eq!(json(&reply)["flags"][0]["action"], "change", "neighbours are two numbers: {}", reply.text());
    assert!(store.read("x").await.unwrap().definition.unwrap().contains("[1234567890123456789]"));
}

async fn a_number_that_no_comparison_holds_is_refused_and_nothing_is_changed(place: Place) {
    let stored = r#"{"enabled": true, "percentage": 0}"#;
    let (api, store) = place.with(&[("x", stored)]).await;
    for number in [
        "18446744073709551616",
        "-9223372036854775809",
        "1e20",
        "9007199254740993.0",
        "1234567890123456789.5",
        "0.10000000000000000555",
    ] {
        let patch = format!(r#"{{"rules": {}}}"#, rule(number));
        for (method, headers, body) in
            [("PATCH", [("x-a", "b")], patch.clone()), ("PUT", [("if-match", "*")], patch.clone())]
        {
            let reply = api.ask(method, "flags/x", &headers, &body).await;
            assert_eq!((reply.status, problem(&reply).as_str()), (422, "refused"), "{method} {number}");
            assert!(reply.text().contains(&format!("found {number}")), "what was typed: {}", reply.text());
        }
        let import = format!(r#"{{"flags": {{"x": {patch}}}}}"#);
        assert_eq!(problem(&api.ask("POST", "import", &[], &import).await), "refused", "{number}");
    }
    let value = r#"{"variants": {"a": {"weight": 100, "value": 18446744073709551616}}}"#;
    let reply = api.ask("PATCH", "flags/x", &[], value).await;
    assert_eq!(problem(&reply), "refused", "{}", reply.text());
    let after = store.read("x").await.unwrap();
    assert_eq!((after.definition.as_deref(), after.version), (Some(stored), 1));
}

async fn an_explanation_is_about_the_number_that_was_asked_for(place: Place) {
    let rules = format!(r#"{{"enabled": true, "percentage": 0, "rules": {}}}"#, rule("1234567890123456789"));
    let value = r#"{"enabled": true, "variants": {"a": {"weight": 100, "value": 18446744073709551615}}}"#;
    let (api, _store) = place.with(&[("x", &rules), ("y", value)]).await;
    let ask = async |number: &str| {
        let question = format!(r#"{{"user_id": "u", "attributes": {{"account": {number}}}}}"#);
        api.ask("POST", "explain", &[], &question).await
    };
    let said = json(&ask("1234567890123456789").await);
    assert_eq!((&said["flags"][0]["enabled"], &said["flags"][0]["reason"]), (&json!(true), &json!("Rule(0)")));
    assert_eq!(said["flags"][1]["value"], u64::MAX);
    for neighbour in ["1234567890123456788", "1234567890123456790", "[1234567890123456788]", "1234567890123456700"] {
        let said = json(&ask(neighbour).await);
        assert_eq!(said["flags"][0]["enabled"], false, "{neighbour}");
    }
    for lost in ["18446744073709551616", "[1, -9223372036854775809]"] {
        let reply = ask(lost).await;
        assert_eq!((reply.status, problem(&reply).as_str()), (400, "malformed"), "{lost}");
        assert!(reply.text().contains("account"), "{}", reply.text());
    }
}
