//! Environment variables above other rules: which flags they define, and what they leave hidden.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![cfg(feature = "axum")]

mod support;

use axum::routing::get;
use axum::{Json, Router};
use tower_flags::document::Severity;
use tower_flags::source::{Env, Layered, Source};
use tower_flags::{Document, Flag, FlagLayer, Flags, Memory};

use support::{Reply, flag_of, get_as, memory, serve};

/// What the status says of flags that a variable alone defines.
fn foreign(source: &impl Source) -> Vec<String> {
    let problems = source.status().problems;
    problems.iter().filter(|problem| problem.severity == Severity::Warning).map(ToString::to_string).collect()
}

#[test]
fn a_variable_that_defines_a_flag_of_its_own_is_listed_with_its_name() {
    let rules = memory(r#"{"new_checkout": true, "dark-mode": true}"#);
    // As CI runners set them.
    let ci = [("FF_NETWORK_PER_BUILD", "true"), ("FF_USE_FASTZIP", "false"), ("FF_NEW_CHEKOUT", "off")];
    let known = [("FF_DARK_MODE", "off"), ("FF_DARK_MODE_PCT", "5"), ("OTHER", "on")];
    let source = Layered::over(rules.clone()).with(Env::from_pairs(ci.into_iter().chain(known)));
    let line = |flag: &str, variable: &str, help: &str| {
        format!(
            "env: flag {flag:?}, {variable}: expected the name of a flag that a part below defines, found {flag:?}; {help}"
        )
    };
    let help =
        "the variable defines a flag of its own, which clients see; Env::with_prefix leaves foreign variables out";
    let near = "did you mean \"new_checkout\"?";
    let expected = [
        line("network_per_build", "FF_NETWORK_PER_BUILD", help),
        line("new_chekout", "FF_NEW_CHEKOUT", near),
        line("use_fastzip", "FF_USE_FASTZIP", help),
    ];
    assert_eq!(foreign(&source), expected);
    assert_eq!(source.status().problems.len(), 3);

    rules.set("use_fastzip", true).unwrap();
    assert_eq!(foreign(&source), expected[..2], "it is known now");
    rules.remove("use_fastzip");
    rules.remove("new_checkout");
    assert_eq!(foreign(&source).len(), 3);
    assert!(foreign(&source)[1].ends_with(help), "nothing is near any more");
}

#[test]
fn variables_that_are_above_nothing_are_nobodys_mistake() {
    let env = || Env::from_pairs([("FF_A", "on")]);
    assert_eq!(foreign(&env()), [""; 0]);
    assert_eq!(foreign(&Layered::over(env())), [""; 0], "they are the rules");
    let upper = Env::from_pairs([("SHOP_A", "off"), ("SHOP_B", "off")]).with_prefix("SHOP_");
    let [of_b] = &foreign(&Layered::over(env()).with(upper))[..] else { panic!("one is not below") };
    assert!(of_b.contains("SHOP_B"), "{of_b}");
    let other_prefix = Layered::over(Memory::new()).with(env().with_prefix("SHOP_"));
    assert_eq!((foreign(&other_prefix), other_prefix.status().flags), (Vec::new(), 0));
}

/// What a client is told over HTTP: the header, and the names for a front end.
async fn told(source: impl Source) -> Reply {
    let handler = |flags: Flags| async move { Json(flags.clone()) };
    get_as(serve(Router::new().route("/", get(handler)).layer(FlagLayer::new(source))).await, "/", "alice").await
}

#[tokio::test]
async fn a_variable_over_a_hidden_flag_keeps_it_hidden() {
    let hidden = memory(r#"{"secret": {"enabled": true, "hidden": true}, "plain": true}"#);
    for pairs in [
        &[("FF_SECRET", "on")][..],
        &[("FF_SECRET", "on"), ("FF_SECRET_PCT", "100"), ("FF_SECRET_USERS", "alice")],
        &[("FF_SECRET", "off")],
        &[("FF_SECRET", "maybe")],
    ] {
        let source = Layered::over(hidden.clone()).with(Env::from_pairs(pairs.iter().copied()));
        let reply = told(source).await;
        assert_eq!((reply.active(), reply.text()), (Some("plain"), r#"{"plain":true}"#), "{pairs:?}");
    }
    // Above another variable, and above one that says that the flag is off.
    let first = Env::from_pairs([("FF_SECRET", "off")]);
    let second = Env::from_pairs([("SHOP_SECRET", "on")]).with_prefix("SHOP_");
    assert_eq!(told(Layered::over(hidden.clone()).with(first).with(second)).await.active(), Some("plain"));
}

#[tokio::test]
async fn it_is_hidden_as_long_as_the_flag_below_is() {
    let rules = memory(r#"{"secret": true}"#);
    let source = Layered::over(rules.clone()).with(Env::from_pairs([("FF_SECRET", "on")]));
    assert_eq!(told(source.clone()).await.active(), Some("secret"));
    rules.set("secret", flag_of(r#"{"enabled": false, "hidden": true}"#)).unwrap();
    assert_eq!(told(source.clone()).await.active(), None);
    rules.set("secret", Flag::on()).unwrap();
    assert_eq!(told(source.clone()).await.active(), Some("secret"));
}

#[tokio::test]
async fn a_hidden_flag_that_cannot_be_used_is_hidden_too() {
    let broken = Document::from_json(r#"{"flags": {"secret": {"percentage": 200, "hidden": true}}}"#).unwrap();
    let source = Layered::over(Memory::from(broken)).with(Env::from_pairs([("FF_SECRET", "on")]));
    assert_eq!(source.part_of("secret").as_deref(), Some("env"));
    let reply = told(source).await;
    assert_eq!((reply.active(), reply.text()), (None, "{}"));
}
