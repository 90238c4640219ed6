//! Edits: what they make, what they are refused for, and that none is lost.

use serde_json::json;
use tower_flags::document::Edit;
use tower_flags::store::{Author, Change, HistoryPage, Store, StoreExt};

use super::api::{Api, Place, in_every_place, json, problem};
use super::outage::until;

in_every_place! {
    the_rollback_is_one_line
    a_patch_keeps_what_it_does_not_name
    edits_say_what_they_were_made_for
    a_tag_that_a_proxy_has_changed_while_compressing_names_the_same_version
    flags_are_made_removed_and_made_again_on_purpose
    what_is_not_accepted_is_refused_with_its_places
    kill_and_restore_keep_the_settings_and_let_a_plan_stand
    reverting_never_switches_on_what_is_off
}

async fn the_rollback_is_one_line(place: Place) {
    let (api, store) = place.with(&[("new-checkout", "true")]).await;
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let reply = api.ask("PATCH", "flags/new-checkout?reason=INC-17%20%C3%BC", &form, r#"{"enabled": false}"#).await;
    let body = json(&reply);
    assert_eq!(reply.status, 200, "{body}");
    assert_eq!((&body["version"], &body["stored"], &body["changed"]), (&json!(2), &json!(true), &json!(true)));
    assert_eq!(body["flag"], json!({"enabled": false, "percentage": 100}));
    let in_force = json!({"version": 2, "enabled": false, "percentage": 100});
    // Elsewhere it is there as soon as the store tells of it.
    assert!(place != Place::Memory || body["in_force"] == in_force, "{body}");
    until(async || api.get("flags/new-checkout").await["in_force"] == in_force).await;
    assert_eq!(reply.header("etag"), body["etag"].as_str());
    let entry = store.history(&HistoryPage::newest()).await.unwrap().remove(0);
    assert_eq!((entry.actor.as_deref(), entry.reason.as_deref()), (Some("alice"), Some("INC-17 ü")));
}

async fn a_patch_keeps_what_it_does_not_name(place: Place) {
    let stored = r#"{ "on": true, "rollout_percentage": 25.0, "rollout_stages": [ 1, 2 ] }"#;
    let (api, store) = place.with(&[("search", stored)]).await;
    let reply = api.ask("PATCH", "flags/search", &[], r#"{"percentage": 50, "owner": "me"}"#).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let text = store.read("search").await.unwrap().definition.unwrap();
    assert_eq!(text, r#"{ "on": true, "rollout_percentage": 50, "rollout_stages": [ 1, 2 ], "owner": "me" }"#);
    assert_eq!(json(&reply)["text"], text);
}

async fn edits_say_what_they_were_made_for(place: Place) {
    let (api, store) = place.with(&[("a", "true")]).await;
    let old = api.etag("a").await;
    let put = |etag: Option<String>, body: &'static str| {
        let api = api.clone();
        async move {
            let headers: Vec<(&str, &str)> = etag.iter().map(|etag| ("if-match", etag.as_str())).collect();
            api.ask("PUT", "flags/a", &headers, body).await
        }
    };
    assert_eq!(problem(&put(None, "false").await), "precondition-required");
    let reply = put(Some(old.clone()), r#"{"percentage": 5}"#).await;
    assert_eq!((reply.status, json(&reply)["version"].as_u64()), (200, Some(2)));
    let new = reply.header("etag").unwrap().to_owned();
    assert_eq!(json(&reply)["text"], r#"{"percentage": 5,"enabled": true}"#);

    let stale = put(Some(old.clone()), "false").await;
    assert_eq!((stale.status, problem(&stale).as_str()), (412, "stale"));
    assert_eq!((stale.header("etag"), json(&stale)["current"]["etag"].as_str()), (Some(&*new), Some(&*new)));
    for (method, path, body) in [
        ("PATCH", "flags/a", r#"{"percentage": 6}"#),
        ("DELETE", "flags/a", ""),
        ("POST", "flags/a/kill", ""),
        ("POST", "flags/a/restore", ""),
        ("POST", "flags/a/revert", r#"{"to": 1}"#),
    ] {
        let reply = api.ask(method, path, &[("if-match", &old)], body).await;
        assert_eq!((reply.status, problem(&reply).as_str()), (412, "stale"), "{method} {path}");
    }
    assert_eq!(problem(&api.ask("DELETE", "flags/a", &[], "").await), "precondition-required");
    assert_eq!(store.read("a").await.unwrap().version, 2, "nothing changed");
    assert_eq!(put(Some(format!("\"x\", {new}")), "false").await.status, 200, "one of several does");
}

async fn a_tag_that_a_proxy_has_changed_while_compressing_names_the_same_version(place: Place) {
    let (api, _store) = place.with(&[("a", "true"), ("b", "true")]).await;
    // What nginx, Apache, Jetty and others make of a tag.
    let changed = |etag: &str| {
        let inner = etag.trim_matches('"');
        let suffixes = ["", "-gzip", "--gzip", ";gzip", "-br", "-zstd", "-deflate"];
        let strong = suffixes.map(|suffix| format!("\"{inner}{suffix}\""));
        let weak = strong.clone().map(|tag| format!("W/{tag}"));
        let list = ["W/\"other\", ".to_owned() + &weak[0], weak[0].clone() + ",\"other\""];
        strong.into_iter().chain(weak).chain(list)
    };
    let mut percentage = 0;
    for number in 0..changed("").count() {
        for (method, path) in [("PUT", "flags/a"), ("PATCH", "flags/a"), ("POST", "flags/a/restore")] {
            percentage += 1;
            let tag = changed(&api.etag("a").await).nth(number).unwrap();
            let body = if method == "POST" { String::new() } else { format!(r#"{{"percentage": {percentage}}}"#) };
            let reply = api.ask(method, path, &[("if-match", &tag)], &body).await;
            assert_eq!(reply.status, 200, "{method} {tag}: {}", reply.text());
        }
        let dry = json(&api.ask("POST", "import?dry_run=true", &[], r#"{"flags": {"b": false}}"#).await);
        let tag = changed(dry["etag"].as_str().unwrap()).nth(number).unwrap();
        let import = api.ask("POST", "import", &[("if-match", &tag)], r#"{"flags": {"b": false}}"#).await;
        assert_eq!(import.status, 200, "{tag}: {}", import.text());
    }
    let old = api.etag("a").await;
    assert_eq!(api.ask("PATCH", "flags/a", &[], r#"{"percentage": 99}"#).await.status, 200);
    let new = api.etag("a").await;
    let bare = new.trim_matches('"').to_owned();
    let not_it = ["w/".to_owned() + &new, format!("W/ {new}"), format!("W/{bare}"), format!("\"{bare}-x\"")];
    for tag in changed(&old).chain(not_it).chain([bare, "W/*".into(), "\"-gzip\"".into()]) {
        let reply = api.ask("PATCH", "flags/a", &[("if-match", &tag)], r#"{"percentage": 1}"#).await;
        assert_eq!((reply.status, problem(&reply).as_str()), (412, "stale"), "{tag}");
    }
    let removed = api.ask("DELETE", "flags/a", &[("if-match", &format!("W/{new}"))], "").await;
    assert_eq!(removed.status, 200, "{}", removed.text());
}

async fn flags_are_made_removed_and_made_again_on_purpose(place: Place) {
    let (api, _store) = place.with(&[]).await;
    let new = [("if-none-match", "*")];
    let reply = api.ask("PUT", "flags/a", &new, "true").await;
    assert_eq!((reply.status, json(&reply)["version"].as_u64()), (201, Some(1)), "{}", reply.text());
    assert_eq!(problem(&api.ask("PUT", "flags/a", &new, "true").await), "stale");
    let etag = api.etag("a").await;
    let removed = api.ask("DELETE", "flags/a", &[("if-match", &etag)], "").await;
    assert_eq!(removed.status, 200, "{}", removed.text());
    assert_eq!((&json(&removed)["flag"], removed.header("etag")), (&json!(null), None));
    for (method, path, body) in
        [("GET", "flags/a", ""), ("PATCH", "flags/a", r#"{"enabled": true}"#), ("POST", "flags/a/kill", "")]
    {
        assert_eq!(problem(&api.ask(method, path, &[], body).await), "no-such-flag", "{method}");
    }
    assert_eq!(problem(&api.ask("PUT", "flags/a", &new, "true").await), "removed");
    let again = api.ask("PUT", "flags/a?create_again=true", &new, "true").await;
    assert_eq!((again.status, json(&again)["version"].as_u64()), (201, Some(3)), "{}", again.text());
}

async fn what_is_not_accepted_is_refused_with_its_places(place: Place) {
    let (api, store) = place.with(&[("a", "true"), ("b", "true")]).await;
    let etag = api.etag("a").await;
    let put = |body: &'static str| {
        let (api, etag) = (api.clone(), etag.clone());
        async move { api.ask("PUT", "flags/a", &[("if-match", &etag)], body).await }
    };
    let reply = put(r#"{"percentage": 101, "rules": [{"when": []}]}"#).await;
    assert_eq!(problem(&reply), "refused");
    let problems = json(&reply)["problems"].as_array().unwrap().clone();
    let paths: Vec<&str> = problems.iter().map(|problem| problem["path"].as_str().unwrap()).collect();
    assert!(paths.contains(&"percentage") && paths.iter().any(|path| path.starts_with("rules.0")), "{paths:?}");
    assert_eq!(problem(&put(r#"{"enabled": true, "requires": ["nope"]}"#).await), "refused");
    let nothing = put("null").await;
    assert!(nothing.text().contains("expected a flag, found null"), "{}", nothing.text());
    let requires = api.ask("PATCH", "flags/b", &[], r#"{"requires": ["a"]}"#).await;
    assert_eq!(requires.status, 200, "{}", requires.text());
    assert_eq!(problem(&put(r#"{"enabled": true, "requires": ["b"]}"#).await), "refused", "a circle");
    let patch = api.ask("PATCH", "flags/a", &[], r#"{"requires": ["nope"]}"#).await;
    assert_eq!(problem(&patch), "refused");
    for (body, kind) in [
        ("{\"percentage\": ", "malformed"),
        ("{\"enabled\": true, \"enabled\": false}", "malformed"),
        ("", "malformed"),
        ("\u{feff}{}", "malformed"),
        ("[]", "refused"),
        ("true", "refused"),
        (r#"{"enabled": null}"#, "refused"),
        (r#"{"percentge": 5}"#, "refused"),
        (r#"{"percentage": 0.0001}"#, "refused"),
    ] {
        assert_eq!(problem(&api.ask("PATCH", "flags/a", &[], body).await), kind, "{body}");
    }
    assert_eq!(store.read("a").await.unwrap().version, 1);
}

#[tokio::test]
async fn a_foreign_write_makes_an_edit_stale_though_the_version_stays() {
    let store = super::outage::Shaky::default();
    store.store.change("a", Change::put_text("true"), &Author::new("setup")).await.unwrap();
    let api = Api::over(store.clone()).await;
    let etag = api.etag("a").await;
    store.write_past("a", r#"{"percentage": 5}"#);
    let reply = api.ask("PUT", "flags/a", &[("if-match", &etag)], "false").await;
    assert_eq!(problem(&reply), "stale");
    let current = &json(&reply)["current"];
    assert_eq!((&current["version"], &current["changed_outside"]), (&json!(1), &json!(true)), "{current}");
}

#[tokio::test]
async fn a_kill_is_taken_also_of_a_text_that_is_refused() {
    let store = super::outage::Shaky::default();
    store.store.change("a", Change::put_text(r#"{"percentage": 30}"#), &Author::new("setup")).await.unwrap();
    let api = Api::over(store.clone()).await;
    store.write_past("a", r#"{"percentage": 300}"#);
    let reply = api.ask("POST", "flags/a/kill", &[], "").await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(json(&reply)["text"], r#"{"percentage": 300,"enabled": false}"#, "the rest is for whoever mends it");
    assert_eq!(json(&reply)["in_force"]["enabled"], false);
}

async fn kill_and_restore_keep_the_settings_and_let_a_plan_stand(place: Place) {
    let plan = r#"{"enabled":true,"schedule":[{"at":"2026-01-01T00:00:00Z","percentage":5}]}"#;
    let (api, _store) = place.with(&[("a", plan)]).await;
    let killed = json(&api.ask("POST", "flags/a/kill", &[], "").await);
    assert_eq!(killed["flag"]["enabled"], false);
    assert!(killed["flag"]["paused_at"].is_string(), "{killed}");
    let taken_away = api.ask("PATCH", "flags/a", &[], r#"{"enabled": null}"#).await;
    assert_eq!(problem(&taken_away), "refused", "it would be on without the key");
    let restored = json(&api.ask("POST", "flags/a/restore", &[], "{}").await);
    assert_eq!((&restored["flag"]["enabled"], &restored["version"]), (&json!(true), &json!(3)));
    assert_eq!(restored["flag"]["paused_at"], killed["flag"]["paused_at"]);
    let reply = api.ask("POST", "flags/a/kill", &[], r#"{"reason": "lost"}"#).await;
    assert_eq!(problem(&reply), "malformed", "a reason that would be lost");
    let typo = api.ask("POST", "flags/a/kill?raeson=x", &[], "").await;
    assert_eq!(problem(&typo), "malformed");
}

async fn reverting_never_switches_on_what_is_off(place: Place) {
    let (api, store) = place.with(&[("a", r#"{"percentage": 10}"#)]).await;
    let change = Change::edit(Edit::new().set("percentage", 50));
    store.change("a", change, &Author::new("x")).await.unwrap();
    let back = json(&api.ask("POST", "flags/a/revert", &[], r#"{"to": 1}"#).await);
    assert_eq!(
        (&back["version"], &back["flag"]["percentage"], &back["flag"]["enabled"]),
        (&json!(3), &json!(10), &json!(true))
    );
    store.change("a", Change::kill(), &Author::new("x")).await.unwrap();
    let back = json(&api.ask("POST", "flags/a/revert", &[], r#"{"to": 2}"#).await);
    assert_eq!(
        (&back["version"], &back["flag"]["percentage"], &back["flag"]["enabled"]),
        (&json!(5), &json!(50), &json!(false))
    );
    for (body, kind) in [(r#"{"to": 99}"#, "no-such-version"), (r#"{"to": "1"}"#, "malformed"), ("{}", "malformed")] {
        assert_eq!(problem(&api.ask("POST", "flags/a/revert", &[], body).await), kind, "{body}");
    }
    store.change("a", Change::remove(), &Author::new("x")).await.unwrap();
    assert_eq!(problem(&api.ask("POST", "flags/a/revert", &[], r#"{"to": 1}"#).await), "removed");
    assert_eq!(problem(&api.ask("POST", "flags/a/revert", &[], r#"{"to": 6}"#).await), "refused", "its removal");
    let again = json(&api.ask("POST", "flags/a/revert?create_again=true", &[], r#"{"to": 1}"#).await);
    assert_eq!((&again["version"], &again["flag"]["enabled"]), (&json!(7), &json!(false)), "off as it was removed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_thousand_patches_at_once_none_is_lost() {
    let names = ["a", "b", "c"];
    let (api, store) = Api::with(&names.map(|name| (name, r#"{"enabled":true,"metadata":{}}"#))).await;
    let clients = (0..4).map(|client| {
        let api = api.clone();
        tokio::spawn(async move {
            for number in 0..250 {
                let path = format!("flags/{}", names[number % names.len()]);
                // A key of its own each time: a lost edit is a missing key.
                let patch = format!(r#"{{"metadata": {{"c{client}n{number}": {number}}}}}"#);
                let reply = api.ask("PATCH", &path, &[], &patch).await;
                assert_eq!(reply.status, 200, "{}", reply.text());
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
    let mut keys = 0;
    for name in names {
        keys += api.get(&format!("flags/{name}")).await["flag"]["metadata"].as_object().unwrap().len();
    }
    assert_eq!(keys, 1000);
    assert_eq!(store.verify_history().await.unwrap().unwrap().number, 1003);
}
