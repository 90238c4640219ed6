//! Logging in with a token. The client is not known yet, so size, time and number are bounded, and failures cost time.

use axum::body::Body;
use http::header::RETRY_AFTER;
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use super::call::{Answer, read_body};
use super::logins::BODY_WITHIN;
use super::page;
use super::peer::peer;
use super::problem::{Failure, Kind};
use super::reply;
use super::security;
use super::state::State;
use crate::document::Timestamp;

/// Most bytes of a login.
const MAX_BODY: usize = 4096;

#[derive(Deserialize)]
struct Credentials {
    token: String,
}

/// `{"token": "…"}` for a cookie.
pub(super) async fn log_in(state: &State, parts: &Parts, body: Body) -> Answer {
    let Some(tokens) = state.authorizer.tokens() else {
        return Err(Failure::new(Kind::NoLogin, "this page takes no token"));
    };
    let peer = peer(parts);
    let place = state.logins.enter(peer, Instant::now()).map_err(|wait| {
        let seconds = wait.as_secs_f64().ceil() as u64;
        state.security.login_waits(peer, seconds);
        let detail = format!("too many logins, or too many that failed: try again in {seconds} s");
        Failure::new(Kind::TooManyLogins, detail).with_header(RETRY_AFTER, HeaderValue::from(seconds))
    })?;
    let body = read_body(parts, body, MAX_BODY, BODY_WITHIN).await?;
    let Ok(Credentials { token }) = serde_json::from_slice(&body) else {
        return Err(Failure::new(Kind::Malformed, "expected {\"token\": \"…\"}"));
    };
    let (name, value, seconds) = match tokens.log_in(&token, Timestamp::now()) {
        Ok(session) => session,
        Err(known) => {
            security::login_failed(peer, place.failed(Instant::now()), known);
            return Err(Failure::unauthorized(known));
        }
    };
    place.succeeded();
    security::logged_in(peer, name);
    let mut response = reply::json(StatusCode::OK, json!({ "expires_in": seconds }));
    page::set_cookie(state, parts, &mut response, &value, seconds);
    Ok(response)
}
