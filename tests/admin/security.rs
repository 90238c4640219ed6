//! What security people look for: events with names, and nothing that was in a flag or a token.

use axum::Router;
use serde_json::json;
use tower_flags::admin::{Admin, AllowedHosts, Token};
use tower_flags::source::Live;
use tower_flags::store::Author;

use super::api::{Api, EDITOR, VIEWER, problem, store, tokens};
use super::support::{Client, Log};

/// The events of one kind.
fn events(log: &Log, kind: &str) -> Vec<String> {
    let mut lines = log.lines(&format!("event=\"{kind}\""));
    lines.retain(|line| line.contains("tower_flags::security"));
    lines
}

#[tokio::test]
async fn logins_refusals_and_edits_are_events_with_names_and_without_values() {
    let log = Log::open();
    let store = store(&[("a", "true")]).await;
    let live = Live::connect(store.clone()).await.unwrap();
    let old = Token::editor("olga", format!("old-{EDITOR}")).expires_on("2020-02-29".parse().unwrap());
    let admin = Admin::new(store, live.clone(), tokens().with(old).unwrap());
    let router = admin.allowed_hosts(AllowedHosts::new(["test"]).unwrap()).router();
    let api = Api::at("/admin", Router::new().nest_service("/admin", router), live).await;
    let page = [("content-type", "application/json"), ("sec-fetch-site", "same-origin")];
    let log_in =
        async |token: &str| api.ask_as("POST", "login", &page, json!({ "token": token }).to_string().as_bytes()).await;
    let cookie = log_in(VIEWER).await.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    log_in("wrong-secret").await;
    log_in(&format!("old-{EDITOR}")).await;
    assert!(events(&log, "login")[0].contains(r#"name="bob""#));
    let failed = events(&log, "login_failed");
    assert!(
        failed[0].contains("unknown token")
            && failed[1].contains(r#"expired token"#)
            && failed[1].contains(r#"name="olga""#),
        "{failed:?}"
    );

    let viewer = [("cookie", cookie.as_str()), page[0], page[1]];
    assert_eq!(problem(&api.ask_as("POST", "flags/a/kill", &viewer, b"").await), "forbidden");
    let foreign = [("cookie", cookie.as_str()), ("sec-fetch-site", "cross-site")];
    assert_eq!(problem(&api.ask_as("GET", "flags", &foreign, b"").await), "cross-origin");
    let other_login = [page[0], ("origin", "https://evil.example")];
    assert_eq!(problem(&api.ask_as("POST", "login", &other_login, b"{}").await), "cross-origin");
    let mut client = Client::open(api.address).await;
    client.send(b"GET /admin/flags HTTP/1.1\r\nhost: evil.example\r\n\r\n").await;
    assert_eq!(problem(&client.reply().await), "wrong-host");
    let refused = events(&log, "refused");
    assert_eq!(refused.len(), 4, "{refused:?}");
    for (line, parts) in refused.iter().zip([
        [r#"kind="forbidden""#, r#"name="bob""#, r#"path="/flags/a/kill""#],
        [r#"kind="cross-origin""#, r#"name="bob""#, r#"path="/flags""#],
        [r#"kind="cross-origin""#, r#"method="POST""#, r#"path="/login""#],
        [r#"kind="wrong-host""#, r#"method="GET""#, r#"host="evil.example""#],
    ]) {
        assert!(line.contains("WARN") && parts.iter().all(|part| line.contains(part)), "{line}");
    }

    for (method, path, body, action) in [
        ("PATCH", "flags/a?reason=secret-reason", r#"{"percentage": 5, "allowed_users": ["secret-user"]}"#, "patch"),
        ("POST", "flags/a/kill", "", "kill"),
        ("POST", "flags/a/restore", "", "restore"),
        ("POST", "flags/a/rollout/start", r#"{"stages": [{"percentage": 50}]}"#, "rollout/start"),
        ("POST", "flags/a/revert", r#"{"to": 1}"#, "revert"),
        ("POST", "import", r#"{"flags": {"b": {"allowed_users": ["secret-user"]}}}"#, "import"),
        ("DELETE", "flags/a", "", "delete"),
    ] {
        let headers = if method == "DELETE" { &[("if-match", "*")][..] } else { &[] };
        let reply = api.ask(method, path, headers, body).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        let edits = events(&log, "edit");
        let last = edits.last().unwrap();
        let flag = if action == "import" { "b" } else { "a" };
        let expected = format!(r#"flag="{flag}" action="{action}" actor="alice" version="#);
        assert!(last.contains(&expected) && last.contains("stored=true"), "{last}");
    }
    assert_eq!(api.ask("POST", "flags/b/kill", &[], "").await.status, 200);
    let before = events(&log, "edit").len();
    assert_eq!(api.ask("POST", "flags/b/kill", &[], "").await.status, 200, "nothing to change");
    assert_eq!(events(&log, "edit").len(), before);
    let all = log.lines("");
    assert!(
        !all.iter().any(|line| line.contains("secret-") || line.contains(EDITOR) || line.contains(VIEWER)),
        "{all:?}"
    );
}

#[tokio::test]
async fn tokens_that_let_nobody_in_are_counted_and_a_flood_of_them_is_not_logged() {
    let log = Log::open();
    let (api, _store) = Api::with(&[("a", "true")]).await;
    let ask = async |headers: &[(&str, &str)]| api.ask_as("GET", "flags", headers, b"").await.status;
    let counted = async || api.get("status").await["failed_bearers"].as_u64().unwrap();
    assert_eq!(ask(&[]).await, 401);
    assert_eq!(ask(&[("authorization", "Basic YTpi")]).await, 401);
    assert_eq!((counted().await, events(&log, "bearer").len()), (0, 0), "no token is no attempt");
    assert_eq!(ask(&[("authorization", "Bearer guessed-secret")]).await, 401);
    assert_eq!(counted().await, 1);
    let line = events(&log, "bearer").pop().unwrap();
    assert!(line.contains("WARN") && line.contains(r#"reason="unknown" count=1 suppressed=0"#), "{line}");

    // A proxy's own beside a session is fine.
    let page = [("content-type", "application/json"), ("sec-fetch-site", "same-origin")];
    let login = api.ask_as("POST", "login", &page, json!({ "token": VIEWER }).to_string().as_bytes()).await;
    let cookie = login.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let proxied = [("authorization", "Bearer eyJhbGciOiJub25lIn0.e30."), ("cookie", cookie.as_str())];
    for _ in 0..20 {
        assert_eq!(ask(&proxied).await, 200);
    }
    assert_eq!(counted().await, 1);
    for _ in 0..200 {
        assert_eq!(ask(&[("authorization", "Bearer guessed-secret")]).await, 401);
    }
    assert_eq!(counted().await, 201);
    let logged = events(&log, "bearer").len();
    // Minutes may begin meanwhile on a slow machine.
    assert!((60..201).contains(&logged), "{logged}");
    assert!(!log.lines("").iter().any(|line| line.contains("guessed-secret") || line.contains("eyJ")));
}

#[tokio::test]
async fn a_kill_in_this_process_alone_is_an_event() {
    let log = Log::open();
    let (api, _store) = Api::with(&[("a", "true")]).await;
    api.source.kill_here("a", &Author::new("carol")).await.unwrap();
    assert_eq!(api.as_responder().ask("POST", "flags/a/forget-kill", &[], "").await.status, 200);
    let line = events(&log, "edit").pop().unwrap();
    assert!(line.contains(r#"flag="a" action="forget-kill" actor="rita" stored=false"#), "{line}");
}
