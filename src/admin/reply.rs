//! Answers in JSON: they are written when it is known who sees them.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::header::{CONTENT_TYPE, ETAG};
use http::{HeaderValue, StatusCode};
use serde_json::Value;

use super::users;

/// The answer in JSON, in the extensions of the response until [`written`].
#[derive(Clone)]
struct Unwritten(Arc<Value>);

/// An answer in JSON, without its body yet.
pub(super) fn json(status: StatusCode, body: Value) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.extensions_mut().insert(Unwritten(Arc::new(body)));
    response
}

/// The response with its body, and users hidden in it if `hides`.
pub(super) fn written(mut response: Response, hides: bool) -> Response {
    let Some(Unwritten(body)) = response.extensions_mut().remove::<Unwritten>() else { return response };
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
