//! Who gets in: every path and method, every credential.

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use serde_json::json;
use tower::ServiceExt;
use tower_flags::admin::{self, Access, Admin, Authorizer, Tokens};
use tower_flags::source::Live;
use tower_flags::store::{HistoryPage, Store};

use super::api::{Api, EDITOR, VIEWER, json, problem, request, store, tokens};
use super::support::{Reply, flips};

const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"];

/// Every path that the description has, and some that it has not.
async fn paths(api: &Api) -> Vec<(String, Vec<String>)> {
    let described = api.get("openapi.json").await["paths"].as_object().unwrap().clone();
    let known = described.iter().map(|(path, methods)| {
        let methods = methods.as_object().unwrap().keys().filter(|key| *key != "parameters");
        (path[1..].replace("{name}", "a"), methods.map(|method| method.to_uppercase()).collect())
    });
    let unknown =
        ["nothing", "flags/a/b/c", "flags/a/kill/x", "../etc/passwd", "%2e%2e/flags", "app.js/x", "flags//kill"];
    known.chain(unknown.map(|path| (path.to_owned(), Vec::new()))).collect()
}

fn is_public(method: &str, path: &str) -> bool {
    matches!((method, path), ("GET" | "HEAD", "" | "app.js" | "style.css") | ("POST", "login"))
}

#[tokio::test]
async fn without_credentials_nothing_is_seen_or_changed_on_any_route() {
    let (api, store) = Api::with(&[("a", "true")]).await;
    let paths = paths(&api).await;
    assert!(paths.len() > 25, "{paths:?}");
    let json_type = ("content-type", "application/json");
    for (path, _) in &paths {
        for method in METHODS.iter().filter(|method| !is_public(method, path)) {
            for headers in [
                &[json_type][..],
                &[json_type, ("authorization", "Bearer wrong-0123456789abcdef0123456789")],
                &[json_type, ("authorization", "Basic YWxpY2U6eA==")],
                &[json_type, ("authorization", "")],
                &[json_type, ("cookie", "tower_flags_admin=99999999999999.00"), ("sec-fetch-site", "same-origin")],
            ] {
                let reply = api.ask_as(method, path, headers, b"{}").await;
                assert_eq!(reply.status, 401, "{method} {path} {headers:?}");
                assert_eq!(reply.header("www-authenticate"), Some("Bearer realm=\"flags\""));
                assert!(!reply.body.windows(6).any(|part| part == b"\"flag\""), "{reply:?}");
            }
        }
    }
    assert_eq!(store.history(&HistoryPage::newest()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_viewer_sees_everything_and_changes_nothing() {
    let (api, store) = Api::with(&[("a", "true")]).await;
    let viewer = api.as_viewer();
    for (path, methods) in paths(&api).await {
        for method in METHODS.iter().filter(|method| !is_public(method, &path)) {
            if (*method, path.as_str()) == ("GET", "events") {
                continue;
            }
            let reply = viewer.ask(method, &path, &[("content-type", "application/json")], "{}").await;
            let is_safe = matches!(*method, "GET" | "HEAD" | "OPTIONS");
            let may = is_safe || matches!((*method, path.as_str()), ("POST", "explain" | "logout"));
            assert_eq!(reply.status == 403, !may, "{method} {path}: {}", reply.status);
            let described = if *method == "HEAD" { "GET" } else { method };
            if may && *method != "OPTIONS" && methods.iter().any(|known| known == described) {
                assert!(matches!(reply.status, 200 | 204), "{method} {path}: {}", reply.status);
            } else if may && *method != "OPTIONS" {
                assert!(matches!(reply.status, 404 | 405), "{method} {path}: {}", reply.status);
            }
        }
    }
    assert_eq!(store.history(&HistoryPage::newest()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn other_methods_are_named_and_readers_may_ask_for_the_head() {
    let (api, _store) = Api::with(&[("a", "true")]).await;
    for (path, methods) in paths(&api).await.into_iter().filter(|(_, methods)| !methods.is_empty()) {
        let options = api.ask("OPTIONS", &path, &[], "").await;
        assert_eq!(options.status, 204, "{path}");
        let allowed: Vec<&str> = options.header("allow").unwrap().split(", ").collect();
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            let is_known = methods.iter().any(|known| known == method);
            assert_eq!(allowed.contains(&method), is_known, "{method} {path}");
            if !is_known {
                let reply = api.ask(method, &path, &[], "").await;
                assert_eq!((reply.status, problem(&reply).as_str()), (405, "wrong-method"), "{method} {path}");
                assert_eq!(reply.header("allow"), options.header("allow"));
            }
        }
        if methods.iter().any(|known| known == "GET") {
            let head = api.ask("HEAD", &path, &[], "").await;
            assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
        }
    }
    assert_eq!(problem(&api.ask("GET", "nothing", &[], "").await), "no-such-route");
}

#[tokio::test]
async fn a_token_with_any_bit_flipped_is_nobodys() {
    let (api, store) = Api::with(&[("a", "true")]).await;
    for (place, bit, bytes) in flips(EDITOR) {
        let bearer = [b"Bearer ", &bytes[..]].concat();
        let reply =
            request(api.address, "PATCH", "/flags/a", &[("authorization", &bearer)], b"{\"enabled\":false}").await;
        // A byte that no header may have is the server's to refuse.
        assert!(matches!(reply.status, 400 | 401), "byte {place}, bit {bit}: {}", reply.status);
    }
    for token in [&EDITOR[1..], &EDITOR[..EDITOR.len() - 1], &format!("{EDITOR}x"), &EDITOR.to_uppercase(), ""] {
        let reply = api.ask_as("GET", "flags", &[("authorization", &format!("Bearer {token}"))], b"").await;
        assert_eq!(reply.status, 401, "{token}");
    }
    let twice = [("authorization", "Bearer x"), ("authorization", &format!("Bearer {EDITOR}") as &str)];
    assert_eq!(api.ask_as("GET", "flags", &twice, b"").await.status, 401);
    assert_eq!(api.ask_as("GET", "flags", &[("authorization", &format!("bearer {EDITOR}"))], b"").await.status, 200);
    assert_eq!(store.read("a").await.unwrap().version, 1);
}

const PAGE: [(&str, &str); 2] = [("content-type", "application/json"), ("sec-fetch-site", "same-origin")];

async fn log_in(api: &Api, token: &str) -> Reply {
    api.ask_as("POST", "login", &PAGE, json!({ "token": token }).to_string().as_bytes()).await
}

fn cookie(reply: &Reply) -> String {
    reply.header("set-cookie").unwrap().split(';').next().unwrap().to_owned()
}

#[tokio::test]
async fn the_form_trades_a_token_for_a_cookie_that_does_not_give_it_away() {
    let (api, _store) = Api::with(&[("a", "true")]).await;
    let reply = log_in(&api, EDITOR).await;
    assert_eq!((reply.status, &json(&reply)["expires_in"]), (200, &json!(36000)));
    let line = reply.header("set-cookie").unwrap();
    assert!(line.ends_with("; Path=/; Max-Age=36000; HttpOnly; SameSite=Strict; Secure"), "{line}");
    assert!(!line.contains(EDITOR));
    let cookie = cookie(&reply);
    let with = |extra: &[(&'static str, &'static str)]| -> Vec<(&'static str, String)> {
        let own = [("cookie", format!("other=1; {cookie}; more=2"))];
        extra.iter().map(|(name, value)| (*name, (*value).to_owned())).chain(own).collect()
    };
    let ask = |method: &'static str, path: &'static str, headers: Vec<(&'static str, String)>, body: &'static str| {
        let api = api.clone();
        async move {
            let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            api.ask_as(method, path, &headers, body.as_bytes()).await
        }
    };
    assert_eq!(ask("GET", "flags", with(&[]), "").await.status, 200);
    let off = r#"{"enabled":false}"#;
    assert_eq!(ask("PATCH", "flags/a", with(&PAGE), off).await.status, 200);
    let same = [("content-type", "application/json; charset=utf-8"), ("origin", "http://test")];
    assert_eq!(ask("PATCH", "flags/a", with(&same), off).await.status, 200);

    let json_type = ("content-type", "application/json");
    for (headers, kind) in [
        (vec![json_type], "cross-origin"),
        (vec![json_type, ("origin", "https://evil.example")], "cross-origin"),
        (vec![json_type, ("origin", "http://test.evil.example")], "cross-origin"),
        (vec![json_type, ("origin", "http://test:8080")], "cross-origin"),
        (vec![json_type, ("origin", "null")], "cross-origin"),
        (vec![json_type, ("sec-fetch-site", "cross-site")], "cross-origin"),
        (vec![json_type, ("sec-fetch-site", "same-site"), ("origin", "http://test")], "cross-origin"),
        (vec![json_type, ("sec-fetch-site", "none")], "cross-origin"),
        (vec![("sec-fetch-site", "same-origin")], "media-type"),
        (vec![("sec-fetch-site", "same-origin"), ("content-type", "text/plain")], "media-type"),
        (vec![("sec-fetch-site", "same-origin"), ("content-type", "application/x-www-form-urlencoded")], "media-type"),
        (vec![("sec-fetch-site", "same-origin"), ("content-type", "text/plain;application/json")], "media-type"),
    ] {
        for (method, path) in
            [("PATCH", "flags/a"), ("POST", "flags/a/restore"), ("DELETE", "flags/a"), ("POST", "logout")]
        {
            assert_eq!(problem(&ask(method, path, with(&headers), "").await), kind, "{method} {path} {headers:?}");
        }
        let body = json!({ "token": EDITOR }).to_string();
        assert_eq!(problem(&api.ask_as("POST", "login", &headers, body.as_bytes()).await), kind, "{headers:?}");
    }
    let out = ask("POST", "logout", with(&PAGE), "").await;
    assert_eq!(out.status, 204);
    assert!(out.header("set-cookie").unwrap().contains("Max-Age=0"));
    assert_eq!(ask("GET", "flags", with(&[]), "").await.status, 401, "the session is over");
}

#[tokio::test]
async fn a_bearer_of_a_proxy_does_not_end_a_session_and_spares_it_no_check() {
    let (api, _store) = Api::with(&[("a", "true")]).await;
    let cookie = cookie(&log_in(&api, EDITOR).await);
    let (off, unknown) = (br#"{"enabled":false}"#, "Bearer eyJhbGciOiJub25lIn0.e30.");
    for bearer in [unknown, "Bearer ", "bearer x", &format!("Bearer {EDITOR}x"), "Negotiate x"] {
        let with = |more: &[(&'static str, &'static str)]| {
            let own = [("cookie", cookie.clone()), ("authorization", bearer.to_owned())];
            let more = more.iter().map(|(name, value)| (*name, (*value).to_owned()));
            own.into_iter().chain(more).collect::<Vec<(&str, String)>>()
        };
        let ask = async |method: &str, path: &str, headers: Vec<(&str, String)>, body: &[u8]| {
            let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            api.ask_as(method, path, &headers, body).await
        };
        assert_eq!(ask("GET", "flags", with(&[]), b"").await.status, 200, "{bearer}");
        assert_eq!(ask("PATCH", "flags/a", with(&PAGE), off).await.status, 200, "{bearer}");
        // No page of another site gets further by a bearer that a proxy adds.
        for (more, kind) in [
            (&[("content-type", "application/json")][..], "cross-origin"),
            (&[("content-type", "application/json"), ("sec-fetch-site", "cross-site")], "cross-origin"),
            (&[("content-type", "text/plain"), ("sec-fetch-site", "same-origin")], "media-type"),
        ] {
            assert_eq!(problem(&ask("PATCH", "flags/a", with(more), off).await), kind, "{bearer} {more:?}");
        }
        for path in ["flags", "events", "export"] {
            let foreign = with(&[("sec-fetch-site", "cross-site")]);
            assert_eq!(problem(&ask("GET", path, foreign, b"").await), "cross-origin", "{bearer} {path}");
        }
        let without = [("authorization", bearer), PAGE[0], PAGE[1]];
        assert_eq!(api.ask_as("PATCH", "flags/a", &without, off).await.status, 401, "{bearer} alone");
    }
    // A bearer of ours decides, whoever the cookie is for, and needs no origin.
    let viewer = format!("Bearer {VIEWER}");
    let both = [("cookie", cookie.as_str()), ("authorization", &viewer), PAGE[0], PAGE[1]];
    assert_eq!(problem(&api.ask_as("PATCH", "flags/a", &both, off).await), "forbidden");
    let editor = format!("Bearer {EDITOR}");
    let program = [("cookie", cookie.as_str()), ("authorization", &editor)];
    assert_eq!(api.ask_as("PATCH", "flags/a", &program, off).await.status, 200);
    // Logging out ends the session all the same.
    let out = [("cookie", cookie.as_str()), ("authorization", unknown), PAGE[0], PAGE[1]];
    assert_eq!(api.ask_as("POST", "logout", &out, b"").await.status, 204);
    assert_eq!(api.ask_as("GET", "flags", &out, b"").await.status, 401);
}

#[tokio::test]
async fn a_session_is_sensitive_for_logs_and_header_compression() {
    let store = store(&[]).await;
    let source = Live::connect(store.clone()).await.unwrap();
    let router = Admin::new(store, source, tokens()).router();
    let request = Request::post("/login").header("content-type", "application/json");
    let request =
        request.header("sec-fetch-site", "same-origin").body(Body::from(json!({ "token": EDITOR }).to_string()));
    let response = router.oneshot(request.unwrap()).await.unwrap();
    assert!(response.headers()["set-cookie"].is_sensitive(), "{response:?}");
}

#[tokio::test]
async fn a_cookie_is_good_as_it_was_given_alone() {
    let (api, _store) = Api::with(&[("a", "true")]).await;
    assert_eq!(log_in(&api, "wrong").await.status, 401);
    for body in ["", "x", "{}", "[]", r#"{"token": 1}"#] {
        assert_eq!(problem(&api.ask_as("POST", "login", &PAGE, body.as_bytes()).await), "malformed", "{body}");
    }
    let cookie = cookie(&log_in(&api, VIEWER).await);
    assert_eq!(api.ask_as("GET", "flags", &[("cookie", &cookie)], b"").await.status, 200);
    let value = cookie.split_once('=').unwrap().1;
    for (place, bit, bytes) in flips(value) {
        let line = [b"tower_flags_admin=", &bytes[..]].concat();
        let reply = request(api.address, "GET", "/flags", &[("cookie", &line)], b"").await;
        assert!(matches!(reply.status, 400 | 401), "byte {place}, bit {bit}: {}", reply.status);
    }
    let viewer = [("cookie", cookie.as_str()), PAGE[0], PAGE[1]];
    assert_eq!(problem(&api.ask_as("POST", "flags/a/kill", &viewer, b"").await), "forbidden");
    // Another process with the same tokens knows it, one with others does not.
    let (other, _store) = Api::with(&[]).await;
    assert_eq!(other.ask_as("GET", "flags", &[("cookie", &cookie)], b"").await.status, 200);
    let live = Live::connect(store(&[]).await).await.unwrap();
    let others = Tokens::new().viewer("bob", format!("{VIEWER}2")).unwrap();
    let third = Api::at("", admin::router(store(&[]).await, live.clone(), others), live).await;
    assert_eq!(third.ask_as("GET", "flags", &[("cookie", &cookie)], b"").await.status, 401);
}

#[tokio::test]
async fn cookies_and_credentials_of_others_on_the_same_host_lock_nobody_out() {
    let (api, _store) = Api::with(&[("a", "true")]).await;
    let cookie = cookie(&log_in(&api, EDITOR).await);
    let stale = "tower_flags_admin=1.00";
    for line in [
        format!("{stale}; {cookie}"),
        format!("{cookie}; {stale}"),
        format!("tower_flags_admin=; tower_flags_admin=x; {cookie}"),
        format!("tower_flags_admin_more={stale}; {cookie}"),
    ] {
        assert_eq!(api.ask_as("GET", "flags", &[("cookie", &line)], b"").await.status, 200, "{line}");
    }
    let bytes = [b"name=\xfc; ", cookie.as_bytes()].concat();
    assert_eq!(request(api.address, "GET", "/flags", &[("cookie", &bytes)], b"").await.status, 200);
    let behind_a_proxy = [("cookie", cookie.as_str()), ("authorization", "Basic YWxpY2U6eA==")];
    assert_eq!(api.ask_as("GET", "flags", &behind_a_proxy, b"").await.status, 200);
    let write = api.ask_as("POST", "flags/a/kill", &behind_a_proxy, b"").await;
    assert_eq!(problem(&write), "cross-origin", "it goes by the cookie, and is checked like one");
    let many = format!("{}{cookie}", format!("{stale}; ").repeat(10_000));
    assert!(matches!(api.ask_as("GET", "flags", &[("cookie", &many)], b"").await.status, 401 | 431));
}

#[tokio::test]
async fn logging_out_ends_sessions_of_ones_own_alone() {
    let (api, _store) = Api::with(&[("a", "true")]).await;
    let [editor, viewer] = [cookie(&log_in(&api, EDITOR).await), cookie(&log_in(&api, VIEWER).await)];
    let status = async |cookie: &str| api.ask_as("GET", "flags", &[("cookie", cookie)], b"").await.status;
    let forged = format!("tower_flags_admin={}.{}", i64::MAX, editor.rsplit('.').next().unwrap());
    let bearer = format!("Bearer {VIEWER}");
    for line in [forged.as_str(), "tower_flags_admin=1.x"] {
        let headers = [("authorization", bearer.as_str()), ("cookie", line)];
        assert_eq!(api.ask_as("POST", "logout", &headers, b"").await.status, 204);
    }
    assert_eq!((status(&editor).await, status(&viewer).await), (200, 200));
    let out = [("cookie", editor.as_str()), PAGE[0], PAGE[1]];
    assert_eq!(api.ask_as("POST", "logout", &out, b"").await.status, 204);
    assert_eq!((status(&editor).await, status(&viewer).await), (401, 200));
}

#[tokio::test]
async fn pages_of_other_sites_read_nothing_with_a_cookie() {
    let (api, _store) = Api::with(&[("a", "true")]).await;
    let cookie = cookie(&log_in(&api, EDITOR).await);
    for path in ["flags", "status", "events", "export", "history/export"] {
        for site in ["cross-site", "same-site", "x"] {
            let reply = api.ask_as("GET", path, &[("cookie", &cookie), ("sec-fetch-site", site)], b"").await;
            assert_eq!(problem(&reply), "cross-origin", "{path} {site}");
        }
    }
    for site in ["same-origin", "none"] {
        let reply = api.ask_as("GET", "flags", &[("cookie", &cookie), ("sec-fetch-site", site)], b"").await;
        assert_eq!(reply.status, 200, "{site}");
    }
    let bearer = format!("Bearer {EDITOR}");
    let program = [("authorization", bearer.as_str()), ("sec-fetch-site", "cross-site")];
    assert_eq!(api.ask_as("GET", "flags", &program, b"").await.status, 200, "no browser adds a bearer");
}

#[tokio::test]
async fn an_application_with_a_login_of_its_own_decides() {
    let store = store(&[("a", "true")]).await;
    let live = Live::connect(store.clone()).await.unwrap();
    let who = |request: &http::request::Parts| match request.headers.get("x-login").map(|value| value.as_bytes()) {
        Some(b"root") => Access::Editor("root".into()),
        Some(b"guest") => Access::Denied,
        Some(name) => Access::Viewer(String::from_utf8_lossy(name).into_owned()),
        None => Access::None,
    };
    let api = Api::at("", admin::router(store, live.clone(), Authorizer::by_credentials(who)), live).await;
    let status = async |login: &str, method: &str, path: &str, more: &[(&'static str, &'static str)]| {
        let mut headers = vec![("x-login", login)];
        headers.extend_from_slice(more);
        api.ask_as(method, path, &headers, b"").await.status
    };
    assert_eq!(status("guest", "GET", "flags", &[]).await, 403);
    assert_eq!(status("carol", "GET", "flags", &[]).await, 200);
    assert_eq!(status("carol", "POST", "flags/a/kill", &PAGE).await, 403);
    assert_eq!(status("root", "POST", "flags/a/kill", &[]).await, 403, "its login may be a cookie");
    assert_eq!(status("root", "POST", "flags/a/kill", &PAGE).await, 200);
    // A bearer says that no page of another site asks; not where the login may go by a cookie that comes along.
    let bearer = ("authorization", "Bearer x");
    assert_eq!(status("root", "POST", "flags/a/kill", &[bearer]).await, 200);
    assert_eq!(status("root", "POST", "flags/a/kill", &[bearer, ("cookie", "session=1")]).await, 403);
    assert_eq!(problem(&api.ask_as("POST", "login", &PAGE, b"{\"token\":\"x\"}").await), "no-login");
}

#[tokio::test]
async fn large_deep_and_slow_bodies_are_refused() {
    let (api, store) = Api::with(&[("a", "true")]).await;
    let large = format!(r#"{{"description": "{}"}}"#, "x".repeat(1024 * 1024));
    // Refused by its announced length, before it is sent.
    let bearer = format!("Bearer {EDITOR}");
    let headers = [("authorization", bearer.as_bytes()), ("content-length", b"1048577")];
    let reply = request(api.address, "PATCH", "/flags/a", &headers, b"").await;
    assert_eq!((reply.status, problem(&reply).as_str()), (413, "too-large"));
    let mut client = super::support::Client::open(api.address).await;
    client.ask("PATCH", "/flags/a", &[("authorization", bearer.as_bytes()), ("transfer-encoding", b"chunked")]).await;
    client.send(format!("{:x}\r\n{large}\r\n0\r\n\r\n", large.len()).as_bytes()).await;
    assert_eq!(problem(&client.reply().await), "too-large");
    for depth in [128, 1000, 200_000] {
        let deep = format!(r#"{{"metadata": {}1{}}}"#, r#"{"a":"#.repeat(depth), "}".repeat(depth));
        for (method, path) in
            [("PATCH", "flags/a"), ("POST", "import"), ("POST", "explain"), ("POST", "flags/a/revert")]
        {
            let reply = api.ask(method, path, &[], &deep[..deep.len().min(1024 * 1024)]).await;
            assert!(matches!(reply.status, 400 | 413), "{method} {path} {depth}: {}", reply.text());
        }
        let reply = api.ask_as("POST", "login", &PAGE, &deep.as_bytes()[..deep.len().min(1024 * 1024)]).await;
        assert_eq!(problem(&reply), if depth == 128 { "malformed" } else { "too-large" });
    }
    assert_eq!(store.read("a").await.unwrap().version, 1);
}

#[tokio::test]
async fn it_works_wherever_it_is_nested() {
    for (base, page) in [("", "/"), ("/admin", "/admin"), ("/admin", "/admin/"), ("/a/b", "/a/b"), ("/a/b", "/a/b/")] {
        for nests_router in [false, true] {
            let store = store(&[("a", "true")]).await;
            let live = Live::connect(store.clone()).await.unwrap();
            let admin = Admin::new(store, live.clone(), tokens()).router();
            let router = match (base, nests_router) {
                ("", _) => admin,
                (base, false) => Router::new().nest_service(base, admin),
                // axum itself answers nothing below `/admin/` then.
                (_, true) if page.ends_with('/') => continue,
                (base, true) => Router::new().nest(base, admin),
            };
            let api = Api::at(base, router, live).await;
            let reply = request(api.address, "GET", page, &[], b"").await;
            assert_eq!(reply.status, 200, "{page}");
            let html = reply.text();
            // What a browser makes of the links, relative to where it got the page.
            let folder = &page[..=page.rfind('/').unwrap()];
            for (attribute, file) in [("src=\"", "app.js"), ("href=\"", "style.css")] {
                let links = html.split(attribute).skip(1).map(|rest| rest.split('"').next().unwrap());
                let link = links.filter(|link| link.ends_with(file)).last().unwrap();
                let link = link.strip_prefix("./").unwrap_or(link);
                let found = request(api.address, "GET", &format!("{folder}{link}"), &[], b"").await;
                assert_eq!(found.status, 200, "{folder}{link}");
            }
            assert_eq!(api.get("flags/a").await["name"], "a");
            assert_eq!(api.get("flags/").await["flags"].as_array().unwrap().len(), 1);
            let line = log_in(&api, EDITOR).await.header("set-cookie").unwrap().to_owned();
            let path = if base.is_empty() { "/" } else { base };
            assert!(line.contains(&format!("; Path={path};")), "{line}");
            assert_eq!(problem(&api.ask_as("GET", "nothing", &[], b"").await), "unauthorized");
        }
    }
}

#[tokio::test]
async fn the_modules_of_the_page_are_public_and_as_they_are_in_the_repository() {
    let (api, _store) = Api::with(&[("a", "true")]).await;
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/admin/page");
    let mut found = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name == "index.html" {
            continue;
        }
        let reply = api.ask_as("GET", name, &[], b"").await;
        assert_eq!((reply.status, reply.text()), (200, std::fs::read_to_string(&path).unwrap().as_str()), "{name}");
        for method in METHODS.iter().filter(|method| !is_public(method, "app.js")) {
            assert_eq!(api.ask_as(method, name, &PAGE, b"{}").await.status, 401, "{method} {name}");
        }
        found += 1;
    }
    assert!(found > 20, "{found}");
}

#[tokio::test]
async fn every_answer_has_the_headers_that_keep_it_private() {
    let (api, _store) = Api::with(&[("a", "true")]).await;
    for (method, path) in
        [("GET", ""), ("GET", "app.js"), ("GET", "flags"), ("GET", "x"), ("PUT", "flags"), ("GET", "history/export")]
    {
        for reply in [api.ask(method, path, &[], "").await, api.ask_as(method, path, &[], b"").await] {
            assert_eq!(reply.header("cache-control"), Some("no-store"), "{path}");
            assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
            assert_eq!(reply.header("referrer-policy"), Some("no-referrer"));
            let policy = reply.header("content-security-policy").unwrap();
            assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'"), "{policy}");
            assert!(policy.ends_with("frame-ancestors 'none'") && !policy.contains("unsafe"), "{policy}");
        }
    }
    let page = api.ask_as("GET", "", &[], b"").await;
    assert!(!page.text().contains("<script>") && !page.text().contains("style="), "{}", page.text());
}

#[tokio::test]
async fn a_closure_names_callers_within_bounds() {
    let store = store(&[("a", "true")]).await;
    let live = Live::connect(store.clone()).await.unwrap();
    let who = |request: &http::request::Parts| {
        let length = request.headers.get("x-length").and_then(|length| length.to_str().ok()?.parse().ok());
        Access::Editor(length.map_or_else(|| "a\nb".to_owned(), |length: usize| "ü".repeat(length)))
    };
    let api = Api::at("", admin::router(store.clone(), live.clone(), Authorizer::by_credentials(who)), live).await;
    let kill = async |length: &str| {
        let headers = [("x-length", length), PAGE[0], PAGE[1]];
        api.ask_as("POST", "flags/a/kill", &headers, b"").await
    };
    for (length, status) in [("0", 403), ("1", 200), ("200", 200), ("201", 403), ("none", 403)] {
        assert_eq!(kill(length).await.status, status, "{length}");
    }
    assert!(kill("201").await.text().contains("expected a name of 1 to 200 characters"));
    let token = "0123456789abcdef0123456789abcdef";
    assert!(Tokens::new().viewer("a".repeat(200), token).is_ok());
    let error = Tokens::new().viewer("a".repeat(201), token).unwrap_err();
    assert_eq!(error.to_string(), "expected a name of at most 200 characters, found 201");
}
