//! What has to hold of a reply, whatever was asked.

use tower_flags::engine::{Evaluation, Reason};

use crate::model::{Overridden, Wanted};
use crate::service::{FLAGS, Known, Reply};

/// The answers are those of the same caller who wants nothing, but for what is forced. `forced` says how a
/// flag is to be, for those alone that may be forced by this reason.
pub fn answers<'a>(reply: &Reply, plain: &Reply, by: Reason, forced: impl Fn(&Known) -> Option<&'a Wanted>) {
    for (position, known) in FLAGS.iter().enumerate() {
        let (answer, plain) = (&reply.answers[position], &plain.answers[position]);
        assert!(!known.is_killed || *answer == switched_off(answer), "{} is switched off: {answer:?}", known.name);
        match forced(known).filter(|_| !known.is_killed) {
            Some(wanted) => is_forced(known, answer, by, wanted),
            None if known.requires.is_some_and(|other| on(reply, other)) => {
                assert!(answer.enabled, "{} has what it requires: {answer:?}", known.name);
                assert_eq!(answer.reason, Reason::Static, "{} is forced by nobody", known.name);
            }
            None => assert_eq!(answer, plain, "{} is forced by nobody", known.name),
        }
    }
}

fn is_forced(known: &Known, answer: &Evaluation, by: Reason, wanted: &Wanted) {
    assert_eq!(answer.reason, by, "{} is to be {wanted:?}", known.name);
    assert_eq!(answer.enabled, *wanted != Wanted::Off, "{} is to be {wanted:?}", known.name);
    match wanted {
        Wanted::Variant(name) if known.variants.contains(&name.as_str()) => {
            assert_eq!(answer.variant.as_ref(), Some(name), "{}", known.name);
        }
        // All callers here have something to hash, so that the weights have an answer.
        _ => {
            let has_one = answer.variant.as_deref().is_some_and(|variant| known.variants.contains(&variant));
            assert_eq!(has_one, answer.enabled && !known.variants.is_empty(), "{}: {answer:?}", known.name);
            assert!(has_one || answer.variant.is_none(), "{}: {answer:?}", known.name);
        }
    }
}

fn switched_off(answer: &Evaluation) -> Evaluation {
    let mut off = answer.clone();
    (off.enabled, off.variant, off.value, off.reason) = (false, None, None, Reason::Disabled);
    off
}

fn on(reply: &Reply, name: &str) -> bool {
    FLAGS.iter().zip(&reply.answers).any(|(known, answer)| known.name == name && answer.enabled)
}

/// The headers say what the handler saw, and no more; of the overrides, what the model says of them.
pub fn headers(reply: &Reply, overridden: &Overridden, visitor_cookie: Option<&str>) {
    let visible = || FLAGS.iter().zip(&reply.answers).filter(|(known, _)| !known.is_hidden);
    let active = visible().filter(|(_, answer)| answer.enabled).map(|(known, answer)| match &answer.variant {
        Some(variant) => format!("{}={variant}", known.name),
        None => known.name.to_owned(),
    });
    assert_eq!(lines(reply, "x-active-flags"), joined(active));

    let forced = visible().filter(|(_, answer)| answer.reason == Reason::Override).map(|(known, answer)| {
        let switch = if answer.enabled { "on" } else { "off" };
        format!("{}={}", known.name, answer.variant.as_deref().unwrap_or(switch))
    });
    assert_eq!(lines(reply, "x-flag-overrides"), joined(forced));

    let is_stored = overridden.claims.is_none() && overridden.set_cookie.is_none();
    assert_eq!(lines(reply, "cache-control"), [if is_stored { "private" } else { "no-store" }]);

    let cookies: Vec<&str> = overridden.set_cookie.as_deref().into_iter().chain(visitor_cookie).collect();
    assert_eq!(lines(reply, "set-cookie"), cookies);

    let mut varies = vec!["x-user-id, x-user-groups", "cookie", "x-flag-decisions"];
    varies.retain(|by| *by != "cookie" || reply.visitor.is_some());
    assert_eq!(lines(reply, "vary"), varies);

    let expected = ["x-active-flags", "x-flag-overrides", "cache-control", "set-cookie", "vary"];
    for (name, value) in &reply.headers {
        assert!(expected.contains(&name.as_str()), "nobody has asked for {name}");
        let value = value.to_str().unwrap_or_else(|_| panic!("{name} is not plain text: {value:?}"));
        // A cookie holds what the tester has sent, who may know what it names.
        assert!(name == "set-cookie" || !value.contains("secret"), "{name} names a hidden flag: {value}");
    }
}

fn joined(items: impl Iterator<Item = String>) -> Vec<String> {
    let line = items.collect::<Vec<_>>().join(",");
    if line.is_empty() { Vec::new() } else { vec![line] }
}

fn lines<'a>(reply: &'a Reply, name: &str) -> Vec<&'a str> {
    reply.headers.get_all(name).iter().map(|value| value.to_str().expect("responses are plain text")).collect()
}
