//! What must hold of every set of answers, whatever the rules say.

use std::collections::BTreeSet;

use serde_json::Value;
use tower_flags::document::Severity;
use tower_flags::engine::{Answers, Reason};
use tower_flags::{FlagSet, Flags};

/// The names of the flags that a set has refused.
pub fn refused_names(set: &FlagSet) -> BTreeSet<String> {
    let errors = set.problems().iter().filter(|problem| problem.severity == Severity::Error);
    errors.filter_map(|problem| problem.flag.clone()).collect()
}

/// Whether everything a flag requires is as required, by the answers themselves.
pub fn is_met(flags: &Answers, name: &str) -> bool {
    let Some(flag) = flags.flag_set().flag(name) else { return true };
    flag.requires().all(|(required, variant)| {
        let answer = flags.evaluation(required);
        answer.enabled && (variant.is_none() || answer.variant.as_deref() == variant)
    })
}

/// All ways to ask for a flag agree, whether it is decided alone or with all others, and every answer agrees with its reason.
///
/// # Panics
///
/// Where they do not; `shown` says what was asked of whom.
pub fn assert_coherent(flags: &Answers, shown: &dyn Fn() -> String) {
    // Answers that nobody has looked at are not decided yet.
    let unread = flags.clone();
    let set = flags.flag_set();
    let entries: Vec<_> = flags.iter().collect();
    let of_request = Flags::from(flags.clone());
    assert_eq!(of_request.iter().collect::<Vec<_>>(), entries, "a request has the same: {}", shown());
    assert_eq!(entries.len(), set.len(), "{}", shown());
    assert!(entries.is_sorted_by(|a, b| a.name < b.name), "{}", shown());
    let active: Vec<&str> = flags.active().collect();
    let mut active = active.into_iter().peekable();
    for entry in &entries {
        let name = entry.name;
        let at = || format!("flag {name:?}: {}", shown());
        let answer = flags.evaluation(name);
        assert_eq!(entry.enabled, answer.enabled, "listed otherwise than evaluated, {}", at());
        assert_eq!(entry.variant, answer.variant.as_deref(), "listed otherwise than evaluated, {}", at());
        assert_eq!(active.next_if_eq(&name).is_some(), answer.enabled, "active otherwise than evaluated, {}", at());
        assert_eq!(flags.is_enabled(name), answer.enabled, "answered otherwise than evaluated, {}", at());
        assert_eq!(flags.variant(name), answer.variant.as_deref(), "answered otherwise than evaluated, {}", at());
        assert_eq!(unread.clone().is_enabled(name), answer.enabled, "alone otherwise than with all, {}", at());
        assert_eq!(unread.clone().variant(name), answer.variant.as_deref(), "alone otherwise than with all, {}", at());
        assert_eq!(unread.clone().evaluation(name), answer, "alone otherwise than with all, {}", at());
        assert_eq!(flags.value::<Value>(name).ok().flatten(), answer.value, "{}", at());
        let or_default = if answer.reason.is_default() { true } else { answer.enabled };
        assert_eq!(flags.is_enabled_or(name, true), or_default, "{}", at());

        let definition = set.flag(name);
        assert_eq!(answer.bucket.is_some(), answer.percentage.is_some(), "{}", at());
        match answer.reason {
            Reason::Disabled => assert!(definition.is_none_or(|flag| !flag.is_enabled()), "{}", at()),
            Reason::Problem => assert!(definition.is_none(), "{}", at()),
            Reason::Prerequisite => assert!(!is_met(flags, name), "{}", at()),
            Reason::Override | Reason::Upstream => {
                assert!(definition.is_some_and(|flag| flag.is_enabled()), "{}", at())
            }
            _ => assert!(definition.is_some_and(|flag| flag.is_enabled()) && is_met(flags, name), "{}", at()),
        }
        if matches!(answer.reason, Reason::Disabled | Reason::Problem | Reason::Prerequisite | Reason::Anonymous) {
            assert!(!answer.enabled, "{}", at());
        }
        let served = answer.variant.as_deref();
        assert!(answer.enabled || served.is_none(), "a variant of a flag that is off, {}", at());
        let variants = definition.map(|flag| flag.variants()).unwrap_or_default();
        let variant = variants.iter().find(|variant| Some(variant.name()) == served);
        assert_eq!(variant.map(|variant| variant.name()), served, "a variant that the flag has not, {}", at());
        assert_eq!(variant.and_then(|variant| variant.value()), answer.value.as_ref(), "{}", at());
    }
    assert_eq!(active.next(), None, "{}", shown());
    let unknown = flags.evaluation("no such flag");
    assert_eq!((unknown.enabled, unknown.reason), (false, Reason::Unknown));
}
