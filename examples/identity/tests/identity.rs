//! Each service over requests as a browser or a client sends them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use axum::Router;
use axum::body::Body;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, SET_COOKIE};
use axum::http::{HeaderName, Request, StatusCode};
use http_body_util::BodyExt;
use tower::ServiceExt;
use tower_flags_identity_example::{jwt, login, sessions};

async fn get(app: &Router, path: &str, header: Option<(HeaderName, &str)>) -> String {
    let mut request = Request::get(path);
    if let Some((name, value)) = header {
        request = request.header(name, value);
    }
    let response = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK, "{path}");
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

/// Logs in, and returns the status and the cookie of the session.
async fn log_in(app: &Router, form: &str) -> (StatusCode, Option<String>) {
    let request = Request::post("/login").header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    let response = app.clone().oneshot(request.body(Body::from(form.to_owned())).unwrap()).await.unwrap();
    let cookie = response.headers().get(SET_COOKIE).and_then(|value| value.to_str().ok()?.split(';').next());
    (response.status(), cookie.map(str::to_owned))
}

#[tokio::test]
async fn the_user_of_a_session_gets_their_flags() {
    let app = sessions::app().unwrap();
    assert_eq!(get(&app, "/", None).await, "the usual page for a guest\n");
    let (status, alice) = log_in(&app, "id=7&plan=pro").await;
    assert_eq!(status, StatusCode::OK);
    let alice = alice.unwrap();
    assert_eq!(get(&app, "/", Some((COOKIE, &alice))).await, "the beta for 7\n");
    assert_eq!(get(&app, "/plan", Some((COOKIE, &alice))).await, "pro\n");
    let bob = log_in(&app, "id=8&plan=free").await.1.unwrap();
    assert_eq!(get(&app, "/", Some((COOKIE, &bob))).await, "the usual page for 8\n");
    assert_eq!(get(&app, "/", Some((COOKIE, "id=AAAAAAAAAAAAAAAAAAAAAA"))).await, "the usual page for a guest\n");
    assert_eq!(get(&app, "/health", Some((COOKIE, &alice))).await, "fine\n");
}

#[tokio::test]
async fn the_user_that_axum_login_has_loaded_gets_their_flags() {
    let app = login::app().unwrap();
    assert_eq!(get(&app, "/", None).await, "the usual page for a guest\n");
    assert_eq!(log_in(&app, "name=alice&password=wrong").await, (StatusCode::UNAUTHORIZED, None));
    let (status, alice) = log_in(&app, "name=alice&password=correct+horse").await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(get(&app, "/", Some((COOKIE, &alice.unwrap()))).await, "the beta for 7\n");
    let bob = log_in(&app, "name=bob&password=correct+horse").await.1.unwrap();
    assert_eq!(get(&app, "/", Some((COOKIE, &bob))).await, "the usual page for 8\n");
    assert_eq!(get(&app, "/health", None).await, "fine\n");
}

#[tokio::test]
async fn the_subject_of_a_token_gets_their_flags() {
    let app = jwt::app().unwrap();
    let token = format!("Bearer {}", jwt::token(7, "pro").unwrap());
    assert_eq!(get(&app, "/", Some((AUTHORIZATION, &token))).await, "the beta for 7\n");
    assert_eq!(get(&app, "/plan", Some((AUTHORIZATION, &token))).await, "pro\n");
    // One letter of the signature is another one.
    let last = if token.ends_with('A') { 'B' } else { 'A' };
    let mut forged = token.clone();
    let at = forged.len() - 5;
    forged.replace_range(at..=at, &last.to_string());
    if forged == token {
        forged.replace_range(at..=at, "_");
    }
    for (what, header) in [("forged", Some(forged.as_str())), ("none", None)] {
        let header = header.map(|value| (AUTHORIZATION, value));
        assert_eq!(get(&app, "/", header).await, "the usual page for a guest\n", "{what}");
    }
    assert_eq!(get(&app, "/health", Some((AUTHORIZATION, &token))).await, "fine\n");
}
