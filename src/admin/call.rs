//! One request, taken apart.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::Response;
use http::HeaderValue;
use http::header::{CONTENT_LENGTH, IF_MATCH, IF_NONE_MATCH};
use http::request::Parts;
use http_body::Body as _;
use serde_json::Value;

use super::access::{Access, MAX_NAME, Role};
use super::problem::{Failure, Kind};
use super::state::State;
use super::tokens::Identification;
use crate::document::{Problem, json as node_of};
use crate::store::Author;

/// What a handler comes to.
pub(super) type Answer = Result<Response, Failure>;

/// Most bytes of a request's body.
pub(super) const MAX_BODY: usize = 1024 * 1024;
/// How long a body may take to arrive.
pub(super) const BODY_WITHIN: Duration = Duration::from_secs(30);
/// Most characters of a reason.
const MAX_REASON: usize = 1000;

/// Whoever asks.
#[derive(Clone, Debug)]
pub(super) struct Principal {
    pub(super) name: String,
    pub(super) role: Role,
}

impl Principal {
    /// Who asks, or why they may not.
    pub(super) fn of(access: Access) -> Result<Self, Failure> {
        let (name, role) = match access {
            Access::None => return Err(Failure::unauthorized(Identification::Nobody)),
            Access::Denied => return Err(Failure::new(Kind::Forbidden, "the caller may not see flags")),
            Access::Viewer(name) => (name, Role::Viewer),
            Access::Responder(name) => (name, Role::Responder),
            Access::Editor(name) => (name, Role::Editor),
        };
        // Every entry of the history has it.
        let length = name.chars().count();
        if !(1..=MAX_NAME).contains(&length) || name.contains(char::is_control) {
            let detail = format!(
                "the application's authorizer names who asks: expected a name of 1 to {MAX_NAME} characters without \
                 control characters, found one of {length}"
            );
            return Err(Failure::new(Kind::Forbidden, detail));
        }
        Ok(Self { name, role })
    }
}

/// A request that may be answered.
pub(super) struct Call {
    pub(super) state: Arc<State>,
    pub(super) who: Principal,
    pub(super) parts: Parts,
    /// What the route does, in a word.
    pub(super) action: &'static str,
    /// What stands for `{name}` in the route; empty where it has none.
    pub(super) name: String,
    pub(super) query: Query,
    pub(super) body: Bytes,
}

impl Call {
    /// The same call about one flag, without a body.
    pub(super) fn of_flag(&self, name: &str) -> Self {
        Self {
            state: Arc::clone(&self.state),
            who: self.who.clone(),
            parts: self.parts.clone(),
            action: self.action,
            name: name.to_owned(),
            query: self.query.clone(),
            body: Bytes::new(),
        }
    }

    /// Whether users that flags name are hidden from the caller.
    pub(super) fn hides_users(&self) -> bool {
        self.state.hides_users(self.who.role)
    }

    /// Who edits, and why.
    pub(super) fn author(&self) -> Author {
        let author = Author::new(&self.who.name);
        match self.query.get("reason").filter(|reason| !reason.is_empty()) {
            Some(reason) => author.because(reason),
            None => author,
        }
    }

    /// The body as text that is JSON: nested within bounds, each key once.
    pub(super) fn json(&self) -> Result<(&str, Value), Failure> {
        let refuse = |problem: Problem| {
            Failure::new(Kind::Malformed, problem.to_string()).with("problems", serde_json::json!([problem]))
        };
        let text = std::str::from_utf8(&self.body)
            .map_err(|error| refuse(Problem::new("UTF-8", format!("another byte after {}", error.valid_up_to()))))?;
        let value = node_of(text).map_err(refuse)?.to_value();
        let value = value.ok_or_else(|| {
            let found = "deeper nesting, a key twice, a broken escape or a number beyond all bounds";
            refuse(Problem::new("JSON of at most 127 levels", found))
        })?;
        Ok((text, value))
    }

    /// For actions that take everything from the URL: what would be overlooked is refused.
    pub(super) fn no_body(&self) -> Result<(), Failure> {
        if self.body.is_empty() || self.body.trim_ascii() == b"{}" {
            return Ok(());
        }
        let detail = "expected no body: the reason of an action stands in the URL, as ?reason=";
        Err(Failure::new(Kind::Malformed, detail))
    }

    pub(super) fn precondition(&self) -> Result<Precondition, Failure> {
        let line = |name| -> Result<Option<String>, Failure> {
            let values: Result<Vec<&str>, _> =
                self.parts.headers.get_all(&name).iter().map(HeaderValue::to_str).collect();
            let values =
                values.map_err(|_| Failure::new(Kind::Malformed, format!("{name}: expected ASCII characters")))?;
            Ok((!values.is_empty()).then(|| values.join(",")))
        };
        match (line(IF_MATCH)?, line(IF_NONE_MATCH)?) {
            (None, None) => Ok(Precondition::None),
            (Some(tags), None) if tags.trim() == "*" => Ok(Precondition::IsThere),
            (Some(tags), None) => Ok(Precondition::IsOneOf(tags.split(',').map(|tag| as_given(tag.trim())).collect())),
            (None, Some(tags)) if tags.trim() == "*" => Ok(Precondition::IsMissing),
            _ => {
                let detail = "expected If-Match with the flag's ETag, or If-None-Match: * for a flag that is to be new";
                Err(Failure::new(Kind::Malformed, detail))
            }
        }
    }
}

/// A tag as the server sent it. Proxies that compress make it weak, or add the name of the encoding; it still names
/// one version, whatever the bytes of the response were.
fn as_given(tag: &str) -> String {
    let strong = tag.strip_prefix("W/\"").and_then(|rest| rest.strip_suffix('"'));
    let Some(inner) = strong.or_else(|| tag.strip_prefix('"')?.strip_suffix('"')) else { return tag.to_owned() };
    // Apache httpd's mod_deflate and mod_brotli, Jetty, lighttpd.
    let suffixes = ["--gzip", "-gzip", ";gzip", "-br", "-deflate", "-zstd"];
    let inner = suffixes.iter().find_map(|suffix| inner.strip_suffix(suffix)).unwrap_or(inner);
    format!("\"{inner}\"")
}

/// What a flag has to be for an edit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Precondition {
    None,
    IsThere,
    IsMissing,
    IsOneOf(Vec<String>),
}

/// The parameters of a URL.
#[derive(Clone, Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Each of the known ones once, and no other: a misspelt `dry_run` must not become an edit.
    pub(super) fn parse(text: &str, known: &[&str]) -> Result<Self, Failure> {
        let malformed = |detail: String| Failure::new(Kind::Malformed, detail);
        let mut found: Vec<(String, String)> = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decoded = |text: &str| {
                decoded(&text.replace('+', " ")).ok_or_else(|| malformed("the query is not UTF-8 in %-escapes".into()))
            };
            let (key, value) = (decoded(key)?, decoded(value)?);
            if !known.contains(&key.as_str()) {
                let known = if known.is_empty() { "no parameters".into() } else { known.join(", ") };
                return Err(malformed(format!(
                    "expected {known} in the query, found {}",
                    crate::document::quoted(&key)
                )));
            }
            if found.iter().any(|(other, _)| *other == key) {
                return Err(malformed(format!("{key} stands twice in the query")));
            }
            found.push((key, value));
        }
        let query = Self(found);
        if query.get("reason").is_some_and(|reason| reason.chars().count() > MAX_REASON) {
            return Err(malformed(format!("reason: expected at most {MAX_REASON} characters")));
        }
        Ok(query)
    }

    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(found, _)| found == key).map(|(_, value)| value.as_str())
    }

    /// `true` or `false`, and `false` where it is not given.
    pub(super) fn is_set(&self, key: &str) -> Result<bool, Failure> {
        match self.get(key) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Failure::new(Kind::Malformed, format!("{key}: expected true or false"))),
        }
    }

    pub(super) fn number(&self, key: &str) -> Result<Option<u64>, Failure> {
        let Some(text) = self.get(key) else { return Ok(None) };
        let digits = Some(text).filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()));
        match digits.and_then(|digits| digits.parse().ok()) {
            Some(number) => Ok(Some(number)),
            None => Err(Failure::new(Kind::Malformed, format!("{key}: expected a whole number"))),
        }
    }
}

/// A text without its %-escapes; `None` where one is broken, or it is not UTF-8.
pub(super) fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                digit(rest.next()?)? * 16 + digit(rest.next()?)?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

/// Reads a whole body, within bounds of size and time.
pub(super) async fn read_body(parts: &Parts, body: Body, most: usize, within: Duration) -> Result<Bytes, Failure> {
    let too_large = || Failure::new(Kind::TooLarge, format!("expected a body of at most {most} bytes"));
    let length = parts.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > most as u64) {
        return Err(too_large());
    }
    let reading = async {
        let (mut body, mut bytes) = (std::pin::pin!(body), Vec::new());
        while let Some(frame) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            let frame = frame.map_err(|_| Failure::new(Kind::Malformed, "the body broke off"))?;
            if let Ok(data) = frame.into_data() {
                if bytes.len() + data.len() > most {
                    return Err(too_large());
                }
                bytes.extend_from_slice(&data);
            }
        }
        Ok(bytes.into())
    };
    let read = tokio::time::timeout(within, reading).await;
    read.unwrap_or_else(|_| Err(Failure::new(Kind::SlowBody, format!("no whole body within {within:?}"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_read_strictly() {
        let query = Query::parse("reason=INC%2D17+%C3%BC&dry_run=true", &["reason", "dry_run"]).unwrap();
        assert_eq!(query.get("reason"), Some("INC-17 ü"));
        assert!(query.is_set("dry_run").unwrap());
        for bad in ["dryrun=true", "reason=a&reason=b", "reason=%ff", "reason=%4", "reason=%zz"] {
            assert!(Query::parse(bad, &["reason", "dry_run"]).is_err(), "{bad}");
        }
        assert!(Query::parse("limit=-1", &["limit"]).unwrap().number("limit").is_err());
        assert!(Query::parse("limit=%2B1", &["limit"]).unwrap().number("limit").is_err());
    }
}
