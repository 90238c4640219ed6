//! What a request is refused with: problem documents of RFC 9457.

use axum::body::Body;
use axum::response::Response;
use http::header::{CONTENT_TYPE, ETAG, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

use super::tokens::Identification;
use super::users;
use crate::document::Problem;
use crate::store::{ChangeError, Error, ErrorKind, Stored};

const NOTHING_CHANGED: &str = "nothing was changed, because ";

/// The kinds of problems: what a client tells them apart by never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Malformed,
    Unauthorized,
    Forbidden,
    CrossOrigin,
    WrongHost,
    NoSuchRoute,
    NoSuchFlag,
    NoSuchVersion,
    NoLocalKill,
    Missing,
    NoLogin,
    WrongMethod,
    SlowBody,
    Removed,
    Stale,
    TooLarge,
    MediaType,
    Refused,
    PreconditionRequired,
    TooManyLogins,
    TooManyStreams,
    StoreUnavailable,
    StoreRejected,
    InDoubt,
    Incomplete,
}

impl Kind {
    #[cfg(test)]
    pub(super) const ALL: [Self; 25] = [
        Self::Malformed,
        Self::Unauthorized,
        Self::Forbidden,
        Self::CrossOrigin,
        Self::WrongHost,
        Self::NoSuchRoute,
        Self::NoSuchFlag,
        Self::NoSuchVersion,
        Self::NoLocalKill,
        Self::Missing,
        Self::NoLogin,
        Self::WrongMethod,
        Self::SlowBody,
        Self::Removed,
        Self::Stale,
        Self::TooLarge,
        Self::MediaType,
        Self::Refused,
        Self::PreconditionRequired,
        Self::TooManyLogins,
        Self::TooManyStreams,
        Self::StoreUnavailable,
        Self::StoreRejected,
        Self::InDoubt,
        Self::Incomplete,
    ];

    /// Status, the end of the type, and title.
    pub(super) fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Malformed => (StatusCode::BAD_REQUEST, "malformed", "The request cannot be read"),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "unauthorized", "Who asks is not known"),
            Self::Forbidden => (StatusCode::FORBIDDEN, "forbidden", "Who asks may not do this"),
            Self::CrossOrigin => (StatusCode::FORBIDDEN, "cross-origin", "The request comes from another site"),
            Self::WrongHost => (StatusCode::MISDIRECTED_REQUEST, "wrong-host", "The request is for another host"),
            Self::NoSuchRoute => (StatusCode::NOT_FOUND, "no-such-route", "Nothing is here"),
            Self::NoSuchFlag => (StatusCode::NOT_FOUND, "no-such-flag", "There is no flag of this name"),
            Self::NoSuchVersion => (StatusCode::NOT_FOUND, "no-such-version", "The flag never had this version"),
            Self::NoLocalKill => (StatusCode::NOT_FOUND, "no-local-kill", "The flag is not switched off here alone"),
            Self::Missing => (StatusCode::CONFLICT, "missing", "The store has lost this flag"),
            Self::NoLogin => (StatusCode::NOT_FOUND, "no-login", "The application has a login of its own"),
            Self::WrongMethod => (StatusCode::METHOD_NOT_ALLOWED, "wrong-method", "This cannot be done here"),
            Self::SlowBody => (StatusCode::REQUEST_TIMEOUT, "slow-body", "The request did not arrive in time"),
            Self::Removed => (StatusCode::CONFLICT, "removed", "A flag of this name was removed"),
            Self::Stale => (StatusCode::PRECONDITION_FAILED, "stale", "The flag is another than the edit was made for"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The request is too large"),
            Self::MediaType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "media-type", "The request is no JSON"),
            Self::Refused => (StatusCode::UNPROCESSABLE_ENTITY, "refused", "What would come out is not accepted"),
            Self::PreconditionRequired => {
                (StatusCode::PRECONDITION_REQUIRED, "precondition-required", "The edit has to say what it is made for")
            }
            Self::TooManyLogins => (StatusCode::TOO_MANY_REQUESTS, "too-many-logins", "Logins have to wait"),
            Self::TooManyStreams => {
                (StatusCode::SERVICE_UNAVAILABLE, "too-many-streams", "Too many are listening already")
            }
            Self::StoreUnavailable => {
                (StatusCode::SERVICE_UNAVAILABLE, "store-unavailable", "The store cannot be used now")
            }
            Self::StoreRejected => {
                (StatusCode::SERVICE_UNAVAILABLE, "store-rejected", "The store rejected the edit; nothing was changed")
            }
            Self::InDoubt => {
                (StatusCode::SERVICE_UNAVAILABLE, "in-doubt", "The answer was lost: the edit may have been made")
            }
            Self::Incomplete => (StatusCode::SERVICE_UNAVAILABLE, "incomplete", "Only a part of it was done"),
        }
    }

    /// The header that goes with it.
    fn header(self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Self::Unauthorized => Some((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"flags\""))),
            Self::StoreUnavailable | Self::TooManyStreams => Some((RETRY_AFTER, HeaderValue::from_static("2"))),
            _ => None,
        }
    }

    /// The end of the type.
    pub(super) fn name(self) -> &'static str {
        self.parts().1
    }

    pub(super) fn uri(self) -> String {
        format!("urn:tower-flags:{}", self.name())
    }
}

/// An answer that refuses.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) kind: Kind,
    detail: String,
    /// Whether the store itself said no, rather than being out of reach.
    is_answer: bool,
    /// Members beside those of the standard.
    more: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Failure {
    pub(super) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), is_answer: false, more: Map::new(), headers: Vec::new() }
    }

    pub(super) fn with(mut self, member: &str, value: impl Into<Value>) -> Self {
        self.more.insert(member.to_owned(), value.into());
        self
    }

    pub(super) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The caller is unknown. Only a caller with an expired token learns that it has expired.
    pub(super) fn unauthorized(known: Identification<'_>) -> Self {
        let detail = match known {
            Identification::Expired { name, day } => {
                format!("the token of {name} has expired: it was good until the end of {day} in UTC")
            }
            Identification::Unknown | Identification::Current { .. } => "the token is unknown".to_owned(),
            Identification::Nobody => "expected a token, as `Authorization: Bearer` or from the page".to_owned(),
        };
        Self::new(Kind::Unauthorized, detail)
    }

    /// The same without the users that it names.
    pub(super) fn without_users(mut self) -> Self {
        let mut is_hidden = false;
        for (member, value) in &mut self.more {
            match value {
                Value::Array(problems) if member == "problems" => {
                    for problem in problems {
                        is_hidden |= users::hide_in_problem(problem);
                    }
                }
                value => users::hide(value),
            }
        }
        if is_hidden {
            self.detail = "nothing was changed, because the definition is not accepted; an editor sees why".to_owned();
        }
        let etag = self.more.get("current").and_then(|current| HeaderValue::from_str(current["etag"].as_str()?).ok());
        for (name, value) in &mut self.headers {
            if *name == ETAG
                && let Some(etag) = &etag
            {
                *value = etag.clone();
            }
        }
        self
    }

    /// A document that is not accepted, with everything that is wrong with it.
    pub(super) fn refused(problems: &[Problem]) -> Self {
        let detail = problems.first().map_or_else(String::new, ToString::to_string);
        Self::new(Kind::Refused, detail).with("problems", json!(problems))
    }

    /// An edit for a flag that is another one by now.
    pub(super) fn stale(detail: impl Into<String>, current: Value) -> Self {
        let etag = current["etag"].as_str().and_then(|etag| HeaderValue::from_str(etag).ok());
        let failure = Self::new(Kind::Stale, detail).with("current", current);
        match etag {
            Some(etag) => failure.with_header(ETAG, etag),
            None => failure,
        }
    }

    /// Whether the store, and not the request, is the reason.
    pub(super) fn is_of_store(&self) -> bool {
        matches!(self.kind, Kind::StoreUnavailable | Kind::StoreRejected | Kind::InDoubt)
    }

    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    /// Whether the store keeps answering like this until its set-up or the edit is changed.
    pub(super) fn is_permanent(&self) -> bool {
        self.more.get("permanent") == Some(&Value::Bool(true))
    }

    /// Of an edit that was not made: says that nothing was changed, and whether the store itself said no.
    pub(super) fn of_edit(mut self) -> Self {
        if self.kind != Kind::StoreUnavailable {
            return self;
        }
        if !self.detail.contains(NOTHING_CHANGED) {
            self.detail = format!("{NOTHING_CHANGED}{}", self.detail);
        }
        if self.is_answer {
            self.kind = Kind::StoreRejected;
        }
        self
    }

    pub(super) fn to_value(&self) -> Value {
        let (status, _, title) = self.kind.parts();
        let mut body = self.more.clone();
        body.insert("type".into(), self.kind.uri().into());
        body.insert("title".into(), title.into());
        body.insert("status".into(), status.as_u16().into());
        body.insert("detail".into(), self.detail.clone().into());
        Value::Object(body)
    }

    pub(super) fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.to_value().to_string()));
        *response.status_mut() = self.kind.parts().0;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.extend(self.kind.header());
        headers.extend(self.headers);
        response
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        if error.kind() == ErrorKind::InDoubt {
            let detail = format!("{}; look at the flag and its history before trying again", error.chain());
            return Self::new(Kind::InDoubt, detail);
        }
        let failure = Self::new(Kind::StoreUnavailable, error.chain()).with("permanent", error.is_permanent());
        Self { is_answer: error.is_answer(), ..failure }
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::refused(&[problem])
    }
}

impl From<ChangeError> for Failure {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Refused(problem) => (*problem).into(),
            ChangeError::Store(error) => Self::from(*error).of_edit(),
            ChangeError::Missing => Self::new(Kind::NoSuchFlag, "there is no flag of this name"),
            ChangeError::Removed(stored) => Self::removed(&stored),
            conflict @ ChangeError::Conflict(_) => Self::new(Kind::StoreUnavailable, conflict.to_string()),
        }
    }
}

impl Failure {
    pub(super) fn removed(stored: &Stored) -> Self {
        let what = if stored.content.is_empty() { "removed" } else { "taken away past the history" };
        let detail = format!(
            "a flag of this name was {what}, and code that still asks for it would wake up with the new one; \
             ?create_again=true says that this is meant"
        );
        Self::new(Kind::Removed, detail).with("version", stored.version)
    }
}
