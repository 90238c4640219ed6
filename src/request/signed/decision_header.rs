//! What both sides of a decision between services agree on.

use std::time::Duration;

use http::HeaderName;

pub(in crate::request) static X_FLAG_DECISIONS: HeaderName = HeaderName::from_static("x-flag-decisions");
pub(in crate::request) const DECISIONS: &str = "tower-flags decisions 2";

/// Longest life of decisions, unless both sides are told otherwise.
pub(in crate::request) const LONGEST_LIFE: Duration = Duration::from_secs(60);

/// An empty name comes from an unset variable, and would be the name of every such service.
#[track_caller]
pub(in crate::request) fn service_name(name: String) -> String {
    assert!(!name.is_empty(), "expected the name of a service, found an empty text");
    name
}
