//! The page, its form, and the description of the API.

use axum::body::Body;
use axum::extract::OriginalUri;
use axum::response::Response;
use http::header::{CONTENT_TYPE, SET_COOKIE};
use http::request::Parts;
use http::{HeaderValue, StatusCode, Uri};

use super::call::{Answer, Call};
use super::session::COOKIE_NAME;
use super::state::State;

const INDEX: &str = include_str!("page/index.html");
pub(super) const DESCRIPTION: &str = include_str!("openapi.json");

/// Where a token is traded for a cookie.
pub(super) const LOGIN: &str = "login";

/// A file of the page: path below the nesting, content type, content.
type File = (&'static str, &'static str, &'static str);

/// A module of the page's script.
macro_rules! module {
    ($name:literal) => {
        ($name, "text/javascript; charset=utf-8", include_str!(concat!("page/", $name)))
    };
}

/// The public files, which hold no data.
const FILES: &[File] = &[
    ("", "text/html; charset=utf-8", INDEX),
    ("style.css", "text/css; charset=utf-8", include_str!("page/style.css")),
    module!("about.js"),
    module!("api.js"),
    module!("app.js"),
    module!("audience.js"),
    module!("banners.js"),
    module!("changes.js"),
    module!("chart.js"),
    module!("create.js"),
    module!("dialog.js"),
    module!("diff.js"),
    module!("dom.js"),
    module!("edit.js"),
    module!("events.js"),
    module!("explain.js"),
    module!("flag.js"),
    module!("focus.js"),
    module!("history.js"),
    module!("json.js"),
    module!("list.js"),
    module!("live.js"),
    module!("plan.js"),
    module!("power.js"),
    module!("press.js"),
    module!("redraw.js"),
    module!("rule.js"),
    module!("rules.js"),
    module!("share.js"),
    module!("transfer.js"),
    module!("variants.js"),
    module!("words.js"),
];

pub(super) fn is_file(path: &str) -> bool {
    FILES.iter().any(|(name, ..)| *name == path)
}

pub(super) fn file(path: &str, parts: &Parts) -> Option<Response> {
    let (name, kind, content) = FILES.iter().find(|(name, ..)| *name == path)?;
    let body = if name.is_empty() { Body::from(index_at(parts)) } else { Body::from(*content) };
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    Some(response)
}

/// The page with its files found from where it was asked for: below `/admin` as well as `/admin/`.
fn index_at(parts: &Parts) -> String {
    let last = original(parts).path().rsplit('/').next().unwrap_or_default();
    // Segments of a path have none of these as they are, but nothing is left to that.
    if last.is_empty() || last.contains(['"', '<', '>', '&', '\'']) {
        return INDEX.to_owned();
    }
    let mut page = INDEX.to_owned();
    for (name, ..) in FILES.iter().filter(|(name, ..)| !name.is_empty()) {
        page = page.replace(&format!("\"{name}\""), &format!("\"./{last}/{name}\""));
    }
    page
}

pub(super) async fn description(_: Call) -> Answer {
    let mut response = Response::new(Body::from(DESCRIPTION));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

pub(super) async fn log_out(call: Call) -> Answer {
    if let Some(tokens) = call.state.authorizer.tokens() {
        tokens.log_out(&call.parts);
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    set_cookie(&call.state, &call.parts, &mut response, "", 0);
    Ok(response)
}

pub(super) fn set_cookie(state: &State, parts: &Parts, response: &mut Response, value: &str, seconds: u64) {
    let nested = nested_at(parts);
    let path = if nested.is_empty() { "/" } else { &nested };
    let secure = if state.has_insecure_cookie { "" } else { "; Secure" };
    let cookie = format!("{COOKIE_NAME}={value}; Path={path}; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    // A path that a header cannot carry is no path of this router.
    if let Ok(mut cookie) = HeaderValue::from_str(&cookie) {
        cookie.set_sensitive(true);
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
}

/// The path at which the router is nested, without a slash at its end; empty at the root.
fn nested_at(parts: &Parts) -> String {
    prefix_of(original(parts), &parts.uri).trim_end_matches('/').to_owned()
}

/// The target before nesting took a part of it away.
fn original(parts: &Parts) -> &Uri {
    parts.extensions.get::<OriginalUri>().map_or(&parts.uri, |uri| &uri.0)
}

fn prefix_of<'a>(original: &'a Uri, inner: &Uri) -> &'a str {
    let inner = inner.path().trim_start_matches('/');
    original.path().strip_suffix(inner).unwrap_or_default()
}
