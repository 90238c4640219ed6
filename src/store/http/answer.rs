//! What an answer of a server means, without asking one.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, StatusCode, header};

use crate::document::{Document, MAX_DOCUMENT, Problem, Timestamp, quoted, utf_8};
use crate::error::ErrorKind;

/// Longest time that a server may ask to be left alone for.
const LONGEST_REST: Duration = Duration::from_secs(60 * 60);

/// A header as text, where it is there and is text.
pub(super) fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// How long the server asks to be left alone: seconds, or an HTTP date (RFC 9110, section 10.2.3).
pub(super) fn rest(status: StatusCode, headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    if !matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        return None;
    }
    let value = text(headers, header::RETRY_AFTER)?.trim();
    let rest = match value.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) if value.bytes().all(|byte| byte.is_ascii_digit()) && !value.is_empty() => LONGEST_REST,
        Err(_) => {
            let millis = instant(value)?.unix_millis().saturating_sub(Timestamp::from(now).unix_millis());
            Duration::from_millis(u64::try_from(millis).unwrap_or_default())
        }
    };
    Some(rest.min(LONGEST_REST))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`. The two obsolete forms are not read.
fn instant(date: &str) -> Option<Timestamp> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut parts = date.split_ascii_whitespace();
    let (_, day, month, year, time) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    if parts.next() != Some("GMT") {
        return None;
    }
    format!("{year}-{month:02}-{day}T{time}Z").parse().ok()
}

/// Why an answer that brings no document is none.
pub(super) fn refusal(status: StatusCode) -> (ErrorKind, String) {
    let reason = status.canonical_reason().map(|reason| format!(" {reason}")).unwrap_or_default();
    let answer = format!("the server answered {}{reason}", status.as_u16());
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
            (ErrorKind::Denied, format!("{answer}: it wants other credentials"))
        }
        StatusCode::NOT_FOUND | StatusCode::GONE => {
            (ErrorKind::Unavailable, format!("{answer}: there is no document at this URL"))
        }
        _ => (ErrorKind::Unavailable, answer),
    }
}

/// The problem of a document that is larger than any may be.
pub(super) fn too_large(found: &str) -> Problem {
    Problem::new(format!("a document of at most {MAX_DOCUMENT} bytes"), found)
}

/// Reads the body of an answer.
pub(super) fn document(body: &[u8], headers: &HeaderMap) -> Result<Document, Problem> {
    if let Some(encoding) = text(headers, header::CONTENT_ENCODING).filter(|encoding| *encoding != "identity") {
        let help = "the server must not compress what is asked for with \"Accept-Encoding: identity\"";
        return Err(Problem::new("an answer that is not compressed", quoted(encoding)).with_help(help));
    }
    let text_of_body = utf_8(body)?;
    Document::from_json(text_of_body).map_err(|problem| {
        if text_of_body.trim_start().starts_with('<') {
            let kind = text(headers, header::CONTENT_TYPE).map_or_else(String::new, |kind| format!(" ({kind})"));
            let problem = Problem::new("a JSON document", format!("a page of HTML or XML{kind}"));
            return problem.with_help("it may be a login or an error page");
        }
        problem
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rest_of(status: u16, value: &str) -> Option<u64> {
        let headers = HeaderMap::from_iter([(header::RETRY_AFTER, value.parse().unwrap())]);
        // 1994-11-06T08:49:37Z
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        rest(StatusCode::from_u16(status).unwrap(), &headers, now).map(|rest| rest.as_secs())
    }

    #[test]
    fn servers_ask_for_rest_in_seconds_or_until_a_date() {
        assert_eq!(rest_of(429, "7"), Some(7));
        assert_eq!(rest_of(503, " 0 "), Some(0));
        assert_eq!(rest_of(503, "Sun, 06 Nov 1994 08:50:00 GMT"), Some(23));
        assert_eq!(rest_of(503, "Sun, 06 Nov 1994 08:49:00 GMT"), Some(0), "that was before");
        for long in ["86400", "99999999999999999999999", "Fri, 31 Dec 9999 23:59:59 GMT"] {
            assert_eq!(rest_of(429, long), Some(3600), "{long}");
        }
        for other in [
            "",
            "soon",
            "-1",
            "1.5",
            "Sun, 06 Nov 1994",
            "Sun, 06 Nox 1994 08:50:00 GMT",
            "Sun, 06 Nov 1994 08:50:00 CET",
        ] {
            assert_eq!(rest_of(503, other), None, "{other}");
        }
        assert_eq!(rest_of(500, "7"), None, "only where it means that");
    }

    #[test]
    fn answers_that_bring_nothing_say_what_to_do() {
        let said = |status| refusal(StatusCode::from_u16(status).unwrap());
        assert_eq!(said(401).0, ErrorKind::Denied);
        let message = "the server answered 404 Not Found: there is no document at this URL";
        assert_eq!(said(404), (ErrorKind::Unavailable, message.to_owned()));
        assert_eq!(said(599), (ErrorKind::Unavailable, "the server answered 599".to_owned()));
    }

    #[test]
    fn what_is_no_document_is_named() {
        let html = HeaderMap::from_iter([(header::CONTENT_TYPE, "text/html".parse().unwrap())]);
        assert_eq!(
            document(b"\n<!doctype html>", &html).unwrap_err().to_string(),
            "expected a JSON document, found a page of HTML or XML (text/html); it may be a login or an error page"
        );
        let packed = HeaderMap::from_iter([(header::CONTENT_ENCODING, "gzip".parse().unwrap())]);
        let problem = document(b"\x1f\x8b", &packed).unwrap_err().to_string();
        assert!(problem.starts_with("expected an answer that is not compressed, found \"gzip\""), "{problem}");
    }
}
