//! Answers in JSON: they are written when it is known who sees them.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::header::{CONTENT_TYPE, ETAG};
use http::{HeaderValue, StatusCode};
use serde_json::Value;

use super::state::State;
use super::users;

/// The answer in JSON, in the extensions of the response until [`written`].
#[derive(Clone)]
struct PendingJson(Arc<Value>);

/// An answer in JSON, without its body yet.
pub(super) fn json(status: StatusCode, body: Value) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.extensions_mut().insert(PendingJson(Arc::new(body)));
    response
}

/// The weight from which an answer is written off the workers: about 64 KiB of text.
const LARGE: usize = 64 * 1024;

/// The response with its body, and users hidden in it if `hides`.
pub(super) async fn written(state: &State, response: Response, hides: bool) -> Response {
    let Some(PendingJson(body)) = response.extensions().get::<PendingJson>() else { return response };
    if outweighs(body, LARGE).is_some() {
        return written_here(response, hides);
    }
    State::off_workers(&state.answering, move || written_here(response, hides)).await
}

/// The rest of a weight after a value, which weighs its bytes and 16 more for each part. `None` where it is heavier.
fn outweighs(value: &Value, weight: usize) -> Option<usize> {
    let weight = weight.checked_sub(16)?;
    match value {
        Value::String(text) => weight.checked_sub(text.len()),
        Value::Array(items) => items.iter().try_fold(weight, |left, item| outweighs(item, left)),
        Value::Object(members) => {
            members.iter().try_fold(weight, |left, (key, value)| outweighs(value, left.checked_sub(key.len())?))
        }
        _ => Some(weight),
    }
}

fn written_here(mut response: Response, hides: bool) -> Response {
    let Some(PendingJson(body)) = response.extensions_mut().remove::<PendingJson>() else { return response };
    if !hides {
        *response.body_mut() = Body::from(body.to_string());
        return response;
    }
    let mut body = Arc::unwrap_or_clone(body);
    users::hide(&mut body);
    let etag = body["etag"].as_str().and_then(|etag| HeaderValue::from_str(etag).ok());
    if let (Some(etag), true) = (etag, response.headers().contains_key(ETAG)) {
        response.headers_mut().insert(ETAG, etag);
    }
    *response.body_mut() = Body::from(body.to_string());
    response
}
