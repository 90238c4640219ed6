//! Roles: who may do what on every route, by every way to say who asks.

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use http::Response;
use serde_json::{Value, json};
use tower::ServiceExt;
use tower_flags::admin::{Admin, Token, Tokens};
use tower_flags::source::Live;
use tower_flags::store::{Author, HistoryPage, Store};

use super::api::{Api, EDITOR, RESPONDER, VIEWER, json, problem, store, tokens};

const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"];
const ROLES: [(&str, &str); 3] = [("viewer", VIEWER), ("responder", RESPONDER), ("editor", EDITOR)];
const UNKNOWN: &str = "nobody-0123456789abcdef0123456789ab";

type Headers = Vec<(&'static str, String)>;

/// Expired ones of each role.
fn expired() -> Tokens {
    let day = "2020-02-29".parse().unwrap();
    let old = |token: &str| format!("old-{token}");
    let tokens = tokens().with(Token::viewer("old-bob", old(VIEWER)).expires_on(day)).unwrap();
    let tokens = tokens.with(Token::responder("old-rita", old(RESPONDER)).expires_on(day)).unwrap();
    tokens.with(Token::editor("old-alice", old(EDITOR)).expires_on(day)).unwrap()
}

/// A request in this process: no socket is needed to ask ten thousand times.
async fn ask(router: &Router, method: &str, path: &str, headers: &[(&str, String)], body: &str) -> Response<Body> {
    let mut request = Request::builder().method(method).uri(format!("/{path}")).header("host", "test");
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    router.clone().oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap()
}

async fn session(router: &Router, token: &str) -> String {
    let body = json!({ "token": token }).to_string();
    let page = [("content-type", "application/json".to_owned()), ("sec-fetch-site", "same-origin".to_owned())];
    let reply = ask(router, "POST", "login", &page, &body).await;
    assert_eq!(reply.status(), 200);
    reply.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned()
}

/// What each method of each path takes, by the description; and paths that it has not.
fn operations(description: &Value) -> Vec<(String, String, Option<String>)> {
    let mut operations = Vec::new();
    let paths = description["paths"].as_object().unwrap();
    let unknown = ["nothing", "flags/a/b/c", "flags/a/kill/x", "flags//kill", "flags/a/KILL", "history/verify/x"];
    for path in paths.keys().map(|path| &path[1..]).chain(unknown) {
        for method in METHODS {
            let described = if method == "HEAD" { "GET" } else { method }.to_lowercase();
            let summary = paths.get(&format!("/{path}")).and_then(|path| path[described]["summary"].as_str());
            let is_public = path.is_empty() || ["app.js", "style.css"].contains(&path);
            let role = match summary {
                Some(summary) => summary
                    .rsplit_once("Takes a")
                    .map(|(_, role)| role.trim_start_matches('n').trim().trim_end_matches('.').to_owned()),
                None if matches!(method, "GET" | "HEAD" | "OPTIONS") => Some("viewer".to_owned()),
                None => Some("editor".to_owned()),
            };
            assert!(role.is_some() || is_public || path == "login", "{method} {path}: {summary:?}");
            for name in ["a", "lost%20name", "%ff"].iter().take(if path.contains("{name}") { 3 } else { 1 }) {
                operations.push((method.to_owned(), path.replace("{name}", name), role.clone()));
            }
        }
    }
    operations
}

#[tokio::test]
async fn every_route_and_method_takes_its_role_by_every_way_to_say_who_asks() {
    let store = store(&[("a", "true")]).await;
    let live = Live::connect(store.clone()).await.unwrap();
    let router = Admin::new(store.clone(), live.clone(), expired()).router();
    let editor = [("authorization", format!("Bearer {EDITOR}"))];
    let description = ask(&router, "GET", "openapi.json", &editor, "").await.into_body();
    let description = serde_json::from_slice(&axum::body::to_bytes(description, usize::MAX).await.unwrap()).unwrap();
    let operations = operations(&description);

    // Each way with the place of its role among the roles, or none where nobody is known.
    let page = [("content-type", "application/json".to_owned()), ("sec-fetch-site", "same-origin".to_owned())];
    let bearer = |token: &str| ("authorization", format!("Bearer {token}"));
    let mut ways: Vec<(Option<usize>, Headers)> = vec![(None, vec![])];
    for (place, (_, token)) in ROLES.into_iter().enumerate() {
        let session = ("cookie", session(&router, token).await);
        let old = bearer(&format!("old-{token}"));
        ways.push((Some(place), vec![bearer(token)]));
        ways.push((Some(place), vec![session.clone()]));
        ways.push((Some(place), vec![session.clone(), bearer(UNKNOWN)]));
        ways.push((Some(place), vec![session.clone(), old.clone()]));
        ways.push((Some(place), vec![("cookie", "tower_flags_admin=1.00".to_owned()), bearer(token)]));
        ways.push((None, vec![old]));
        ways.push((None, vec![("cookie", format!("{}0", session.1))]));
        ways.push((None, vec![bearer(&token[1..])]));
    }
    ways.push((None, vec![bearer(UNKNOWN)]));
    let mut tries = [0; 3];
    for (method, path, takes) in &operations {
        let Some(takes) = takes else { continue };
        let takes = ROLES.iter().position(|(role, _)| role == takes).unwrap_or_else(|| panic!("{takes}"));
        for (role, headers) in &ways {
            // Which ends the session that the others go by.
            if (method.as_str(), path.as_str()) == ("POST", "logout") && role.is_some() {
                continue;
            }
            let headers: Vec<(&str, String)> = headers.iter().chain(&page).cloned().collect();
            let reply = ask(&router, method, path, &headers, "{}").await;
            let status = reply.status().as_u16();
            // A stream of events does not end.
            if path != "events" {
                axum::body::to_bytes(reply.into_body(), usize::MAX).await.unwrap();
            }
            let case = format!("{method} {path} {headers:?}: {status}");
            match role {
                None => assert_eq!(status, 401, "{case}"),
                Some(role) if *role < takes => assert_eq!(status, 403, "{case}"),
                Some(_) => assert!(!matches!(status, 401 | 403 | 421 | 500..), "{case}"),
            }
            tries[match status {
                401 => 0,
                403 => 1,
                _ => 2,
            }] += 1;
        }
    }
    println!("{} operations, {} ways: {tries:?} tries were 401, 403, and let in", operations.len(), ways.len());
    assert!(tries.iter().sum::<usize>() > 8_000, "{tries:?}");

    // Nobody but an editor has changed anything but the switch.
    let history = store.history(&HistoryPage::newest().limit(1000)).await.unwrap();
    let by_rita: Vec<_> = history.iter().filter(|entry| entry.actor.as_deref() == Some("rita")).collect();
    assert!(by_rita.len() >= 2, "{history:?}");
    for entry in by_rita {
        let on = |text: &Option<String>| text.as_ref().unwrap().replace("false", "true");
        let [before, after] = [on(&entry.before), on(&entry.after)];
        let [before, after] = [before, after]
            .map(|text| if text == "true" { r#"{"enabled":true,"percentage":100}"#.into() } else { text });
        assert_eq!(before, after, "{entry:?}");
    }
    assert!(history.iter().all(|entry| entry.actor.as_deref() != Some("bob")));
}

#[tokio::test]
async fn a_responder_kills_and_restores_and_does_nothing_else() {
    let (api, store) = Api::with(&[("a", r#"{"enabled": true, "percentage": 25}"#)]).await;
    let rita = api.as_responder();
    assert_eq!(rita.get("status").await["you"], json!({"name": "rita", "role": "responder"}));
    let killed = rita.ask("POST", "flags/a/kill?reason=INC-17", &[], "").await;
    assert_eq!((killed.status, &json(&killed)["flag"]["enabled"]), (200, &json!(false)));
    let etag = rita.etag("a").await;
    let restored = rita.ask("POST", "flags/a/restore", &[("if-match", &etag)], "").await;
    assert_eq!((restored.status, &json(&restored)["flag"]["enabled"]), (200, &json!(true)));
    let stale = rita.ask("POST", "flags/a/restore", &[("if-match", &etag)], "").await;
    assert_eq!(problem(&stale), "stale");
    // What says the same by other ways is an edit like any other.
    for (method, path, body) in [
        ("PATCH", "flags/a", r#"{"enabled": false}"#),
        ("PATCH", "flags/a", r#"{"enabled": true}"#),
        ("PUT", "flags/a", r#"{"enabled": false, "percentage": 25}"#),
        ("POST", "flags/a/revert", r#"{"to": 2}"#),
        ("POST", "flags/a/rollout/roll-back", ""),
        ("POST", "flags/a/write-back", ""),
        ("POST", "write-back", ""),
        ("POST", "import?dry_run=true", r#"{"flags": {"a": false}}"#),
        ("DELETE", "flags/a", ""),
    ] {
        let reply = rita.ask(method, path, &[("if-match", "*")], body).await;
        assert_eq!(problem(&reply), "forbidden", "{method} {path}");
        assert_eq!(
            json(&reply)["detail"],
            "nothing was changed, because rita is a responder, and this takes an editor; a responder kills by POST \
             flags/{name}/kill, and restores by POST flags/{name}/restore"
        );
    }
    let viewer = api.as_viewer().ask("POST", "flags/a/kill", &[], "").await;
    let expected = "nothing was changed, because bob is a viewer, and this takes a responder";
    assert_eq!(json(&viewer)["detail"], expected);
    let history = store.history(&HistoryPage::newest()).await.unwrap();
    let made: Vec<_> = history.iter().map(|entry| (entry.version, entry.actor.as_deref().unwrap())).collect();
    assert_eq!(made, [(3, "rita"), (2, "rita"), (1, "setup")]);
}

#[tokio::test]
async fn a_responder_kills_without_the_store_and_takes_that_back() {
    let (api, _store) = Api::with(&[("a", "true")]).await;
    // Only in this process, as during an outage.
    api.source.kill_here("a", &Author::new("carol")).await.unwrap();
    let rita = api.as_responder();
    assert_eq!(rita.get("flags/a").await["local_kill"]["by"], "carol");
    assert_eq!(rita.ask("POST", "flags/a/forget-kill", &[], "").await.status, 200);
    assert_eq!(problem(&rita.ask("POST", "flags/a/forget-kill", &[], "").await), "no-local-kill");
    assert_eq!(problem(&api.as_viewer().ask("POST", "flags/a/forget-kill", &[], "").await), "forbidden");
}

#[tokio::test]
async fn an_expired_token_is_told_to_whoever_has_it_and_named_in_the_status() {
    let store = store(&[("a", "true")]).await;
    let live = Live::connect(store.clone()).await.unwrap();
    let text =
        format!("alice:editor:{EDITOR} old:editor-until-2020-02-29:old-{EDITOR} late:viewer-until-9999-12-31:{VIEWER}");
    let tokens: Tokens = text.parse().unwrap();
    let api = Api::at("", Admin::new(store, live.clone(), tokens).router(), live).await;
    let old = format!("Bearer old-{EDITOR}");
    let reply = api.ask_as("GET", "flags", &[("authorization", &old)], b"").await;
    assert_eq!((reply.status, problem(&reply).as_str()), (401, "unauthorized"));
    let expected = "the token of old has expired: it was good until the end of 2020-02-29 in UTC";
    assert_eq!(json(&reply)["detail"], expected);
    let page = [("content-type", "application/json"), ("sec-fetch-site", "same-origin")];
    let body = json!({ "token": format!("old-{EDITOR}") }).to_string();
    let login = api.ask_as("POST", "login", &page, body.as_bytes()).await;
    assert_eq!((login.status, &json(&login)["detail"]), (401, &json!(expected)));
    let other = api.ask_as("GET", "flags", &[("authorization", &old[..old.len() - 1])], b"").await;
    assert_eq!(json(&other)["detail"], "the token is unknown");
    assert_eq!(api.as_viewer().ask("GET", "flags", &[], "").await.status, 200, "a day to come");
    let status = api.get("status").await;
    assert_eq!(status["expiring_tokens"], json!([{"name": "old", "expires_on": "2020-02-29"}]));
    assert_eq!((&status["failed_bearers"], &status["failed_logins"]), (&json!(2), &json!(1)));
}
